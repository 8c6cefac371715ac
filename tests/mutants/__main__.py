"""Plant faults, run the tests that must notice each, print survivors: `make mutants`.

Owns: the copies of the tree, planting, running, and the report.
Must not own: the table (`__init__.py`).
Read next: `compiler.py`, one of the tables.

The tests run against a copy of the tree, never against the tree itself. Each process
has its own copy. First the tests run once without a fault, because a test that fails
anyway notices nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutants import FAULTS, Fault

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".git", ".venv*", ".hypothesis", ".*_cache", "__pycache__", "out", "dist", "build", "*.egg-info", "shared")
LEAST = 0.95  # of the faults must be noticed
SECONDS = 300  # after which the tests of one fault count as hanging, so the fault is noticed
PASSED, FAILED, INTERRUPTED, NOTHING = 0, 1, 2, 5  # exit statuses of pytest; with any other, no test has run


class Tree:
    """A copy of the repository in which faults are planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.edits = 0
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        # an installed package finds microgradnd.viz in its folder; in the repository it
        # lies next to it
        (folder / "microgradnd" / "viz").symlink_to(folder / "viz", target_is_directory=True)

    def write(self, path: Path, text: str) -> None:
        """Change a file and its time stamp: Python compares whole seconds and sizes."""
        path.write_text(text, encoding="utf-8")
        self.edits += 1
        stamp = time.time() + 10 * self.edits
        os.utime(path, (stamp, stamp))

    def run(self, tests: Sequence[str], jobs: int = 0) -> tuple[int | None, str]:
        """Run tests, on some processes or in one; return pytest's exit status (None if
        they hang) and output.
        """
        env = os.environ | {"PYTHONPATH": str(self.folder), "HYPOTHESIS_PROFILE": "unshrunk"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "--tb=line",
            "-p",
            "no:cacheprovider",
            f"-n{jobs}",
            *tests,
        ]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=SECONDS * (1 + len(tests) // 10))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that the tests have started
            return None, process.communicate()[0]
        return process.returncode, output

    def outcome(self, fault: Fault) -> tuple[str, str]:
        """Plant a fault, run its tests, and undo it; return outcome and output."""
        path = self.folder / fault.file
        text = path.read_text(encoding="utf-8")
        if text.count(fault.old) != 1:
            return "stale", f"the piece occurs {text.count(fault.old)} times"
        self.write(path, text.replace(fault.old, fault.new))
        try:
            status, output = self.run(fault.tests.split())
        finally:
            self.write(path, text)
        if status is None:
            return "caught", "the tests hang"
        if status == PASSED and " passed" in output:
            return "survived", output
        if status in (PASSED, NOTHING) and " skipped" in output:
            return "skipped", output
        return ("caught" if status in (FAILED, INTERRUPTED) else "broken"), output


def is_there(name: str) -> bool:
    """Return whether a module or a program is installed."""
    return not name or shutil.which(name) is not None or importlib.util.find_spec(name) is not None


def chosen(given: argparse.Namespace) -> list[Fault]:
    """Return the faults to plant: those that match, or a sample of them."""
    faults = [f for f in FAULTS if any(part in f"{f.file} {f.tests} {f.old}" for part in given.match or [""])]
    faults = faults[given.start :]
    missing = [fault for fault in faults if not is_there(fault.needs)]
    for fault in missing:
        print(f"skipped, {fault.needs} isn't installed: {fault}")
    faults = [fault for fault in faults if is_there(fault.needs)]
    if given.sample is None or given.sample >= len(faults):
        return faults
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"{given.sample} of {len(faults)} faults, drawn with --seed {seed}")
    return random.Random(seed).sample(faults, given.sample)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=str(__doc__).partition("\n")[0])
    parser.add_argument("match", nargs="*", help="plant only faults whose file, tests or text contain one of these")
    parser.add_argument("--sample", type=int, help="plant only this many, drawn at random")
    parser.add_argument("--seed", type=int, help="repeat the sample of an earlier run")
    parser.add_argument("--start", type=int, default=0, help="leave out this many at the start")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="faults planted at a time")
    parser.add_argument(
        "--verbose", action="store_true", help="print the time of each fault, and the output of survivors' tests"
    )
    given = parser.parse_args()
    faults = chosen(given)
    if not faults:
        print("no fault to plant")
        return 1
    begun = time.perf_counter()
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        trees = [Tree(Path(scratch, str(i))) for i in range(min(given.jobs, len(faults)))]
        tests = sorted({test for fault in faults for test in fault.tests.split()})
        status, output = trees[0].run([t for t in tests if t.partition("::")[0] not in {*tests} - {t}], len(trees))
        if status != PASSED:
            print(f"{output}\nwithout any fault, the tests must pass")
            return 1
        print(f"the tests pass without a fault, after {time.perf_counter() - begun:.0f} s")
        todo: queue.SimpleQueue[Fault] = queue.SimpleQueue()
        for fault in faults:
            todo.put(fault)

        def work(tree: Tree) -> None:
            while True:
                try:
                    fault = todo.get_nowait()
                except queue.Empty:
                    return
                start = time.perf_counter()
                outcome, output = tree.outcome(fault)
                found[outcome] += 1
                if given.verbose:
                    print(f"{time.perf_counter() - start:6.1f} s  {outcome:8}  {fault}", flush=True)
                if outcome != "caught":
                    print(f"{outcome.upper()}: {fault}\n    {fault.tests}", flush=True)
                    if given.verbose or outcome == "broken":
                        print(output, flush=True)

        threads = [threading.Thread(target=work, args=(tree,)) for tree in trees]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    planted = found["caught"] + found["survived"]
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()))
    print(f"{len(faults)} faults: {said}, after {time.perf_counter() - begun:.0f} s")
    return int(bool(found["stale"] or found["broken"]) or found["caught"] < LEAST * planted)


if __name__ == "__main__":
    sys.exit(main())
