"""Times the workloads side by side, as ratios to NumPy by hand.

Owns: the method (one process, one thread, interleaved rounds, medians), checking, and
the JSON.
Must not own: the programs (`by_hand.py`, `ours.py`, `peers.py`, `chains.py`), tables
and plots (`report.py`).
Read next: `workloads.py`.

    python benchmarks/run.py [W1 W2 ...] [--only eager torch ...] [--rounds 11]
    [--threads 1] [--json FILE]

Every program's numbers are compared with those of NumPy by hand, step by step, before
its time counts. Within a round the programs take turns, in an order that changes, so
that a busy machine slows all of them; the ratio is taken within each round, and its
median over the rounds is reported. Libraries that
aren't installed are left out and listed.
"""

import argparse

from pinned import pin


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="workloads, by default all")
    parser.add_argument("--only", nargs="+", help="programs besides NumPy by hand, by default all that can run")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1, help="threads and cores that are used")
    parser.add_argument("--kernels", default="", help="OpenBLAS's kernels, such as Haswell; by default its own choice")
    parser.add_argument("--json", default="out/benchmarks.json", help="where the results go")
    return parser.parse_args()


if __name__ == "__main__":
    OPTIONS = options()
    pin(OPTIONS.threads, OPTIONS.kernels)

import gc
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import by_hand
import chains
import lines
import ours
import peers
import spellings
from workloads import WORKLOADS, Candidate

CHECKED_STEPS = 3
ROUND_SECONDS = 0.05
SLICES = 5  # of a round; their median counts, as another process may have had the core during one
PROGRAMS: dict[str, tuple[str, Callable[..., Candidate]]] = {  # what must be installed, and what makes the program
    "numpy": ("numpy", by_hand.idiomatic),
    "numpy out=": ("numpy", by_hand.planned),
    "eager": ("numpy", ours.eager),
    "eager nn": ("numpy", ours.eager_nn),
    "compiled": ("numpy", ours.compiled),
    "numba": ("numba", ours.numba),
    "torch": ("torch", peers.torch_eager),
    "torch.compile": ("torch", peers.torch_compiled),
    "jax": ("jax", peers.jax_jit),
    "autograd": ("autograd", peers.hips_autograd),
    "mygrad": ("mygrad", peers.mygrad_),
    "advect": ("advect", peers.advect),
    "advect staged": ("advect", peers.advect_staged),
}
CHAINS = {  # W6 and W7
    "numpy": "numpy",
    "eager": "numpy",
    "torch": "torch",
    "micrograd": "micrograd",
    "autograd": "autograd",
    "mygrad": "mygrad",
    "advect": "advect",
}
TITLES = {
    "W6": "a chain of 2,000 scalar operations, forward and backward",
    "W7": "chains of 1,000 to 1,000,000 scalar operations",
}
LIBRARIES = ("microgradnd", "numpy", "numba", "torch", "jax", "autograd", "mygrad", "advect", "micrograd")


def installed(module: str) -> bool:
    """Return whether a module could be imported."""
    return importlib.util.find_spec(module) is not None


def arrays(tree: Any) -> Iterator[Any]:
    """Yield the numbers and arrays of nested results, as arrays."""
    if isinstance(tree, tuple | list):
        for part in tree:
            yield from arrays(part)
    else:
        yield np.asarray(tree)


def results(candidate: Candidate) -> list[Any]:
    """Do a step and return copies of everything that it returned and changed."""
    return [a.copy() for a in arrays([candidate.step(), list(candidate.state())])]


def agree(program: str, found: list[Any], expected: list[Any], tolerance: float) -> None:
    """Raise unless a step's numbers equal those of NumPy by hand."""
    if len(found) != len(expected):
        raise AssertionError(f"{program} gives {len(found)} arrays where NumPy gives {len(expected)}")
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if a.shape != b.shape or (b.ndim and a.dtype != b.dtype):
            raise AssertionError(f"{program}: array {i} is {a.dtype}{a.shape}, NumPy's {b.dtype}{b.shape}")
        error = np.max(np.abs(a - b), initial=0) / max(np.max(np.abs(b), initial=0), np.finfo(b.dtype).tiny)
        if not error <= tolerance:
            raise AssertionError(f"{program}: array {i} differs by {error:.1e} of its largest element")


def check(make: dict[str, Callable[[], Candidate]], tolerance: float) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Return the programs that agree with NumPy, and why the others don't count."""
    candidates = {"numpy": make["numpy"]()}
    expected = [results(candidates["numpy"]) for _ in range(CHECKED_STEPS)]
    failed = {}
    for program, maker in make.items():
        if program == "numpy":
            continue
        try:
            start = time.perf_counter()
            candidate = maker()
            found = results(candidate)
            candidate.first = time.perf_counter() - start
            agree(program, found, expected[0], tolerance)
            for want in expected[1:]:
                agree(program, results(candidate), want, tolerance)
            candidates[program] = candidate
        except Exception as error:  # a library may raise anything: report it, and measure the others
            failed[program] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    return candidates, failed


def seconds(step: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return the seconds of one step, measured over several, and the busy cores."""
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        step()
    wall = time.perf_counter() - start
    return wall / repeats, (time.process_time() - cpu) / wall


def compare(candidates: dict[str, Candidate], rounds: int) -> dict[str, dict[str, float]]:
    """Return each program's ratio to NumPy (with quartiles), its time, the cores it
    kept busy, and the time of its first step.
    """
    gc.collect()
    gc.freeze()  # so that the collector doesn't walk the other libraries' objects while one of them runs
    steps = {program: candidate.step for program, candidate in candidates.items()}
    repeats = {}
    for program, step in steps.items():
        seconds(step, 2)
        repeats[program] = ROUND_SECONDS / seconds(step, 2)[0]
    times: dict[str, list[float]] = {program: [] for program in steps}
    cores: dict[str, list[float]] = {program: [] for program in steps}
    order, shuffle = list(steps), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        gc.collect()
        for program in order:
            step = steps[program]
            candidates[program].restart()
            step()  # a first step brings its arrays into the cache
            slices = max(1, min(SLICES, round(repeats[program])))
            measured = [seconds(step, max(1, round(repeats[program] / slices))) for _ in range(slices)]
            times[program].append(statistics.median(time_ for time_, _ in measured))
            cores[program].append(statistics.median(busy for _, busy in measured))
    gc.unfreeze()
    report = {}
    for program, of_rounds in times.items():
        ratios = [t / n for t, n in zip(of_rounds, times["numpy"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        report[program] = {
            "ratio": statistics.median(ratios),
            "low": low,
            "high": high,
            "seconds": statistics.median(of_rounds),
            "cores": statistics.median(cores[program]),
            "first": candidates[program].first,
        }
    return report


def makers(name: str, only: list[str] | None) -> tuple[dict[str, Callable[[], Candidate]], dict[str, str], float]:
    """Return the makers of a workload's programs, why others are missing, the
    tolerance.
    """
    make: dict[str, Callable[[], Candidate]] = {}
    left_out: dict[str, str] = {}
    if name == "W6":
        for program in CHAINS:
            make[program] = lambda program=program: chains.candidate(program)
        return {p: m for p, m in make.items() if wanted(p, CHAINS[p], only)}, left_out, 1e-9
    work = WORKLOADS[name]()
    for program, (module, maker) in PROGRAMS.items():
        if not wanted(program, module, only) or (program == "eager nn" and name != "W1"):
            continue  # the eager programs of the other networks have modules anyway
        if (program, name) in peers.UNABLE:
            left_out[program] = peers.UNABLE[program, name]
        elif program == "numba" and "backend" not in inspect.signature(ours.mg.compile).parameters:
            left_out[program] = "this version has no backend of that name"
        else:
            make[program] = lambda maker=maker: maker(name, work)
    return make, left_out, work.tolerance


def wanted(program: str, module: str, only: list[str] | None) -> bool:
    """Return whether a program takes part."""
    return program == "numpy" or (installed(module) and (only is None or program in only))


def memory() -> dict[str, Any]:
    """Return the memory of a step of W4, measured in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("memory.py"))]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def environment(options: argparse.Namespace) -> dict[str, Any]:
    """Return the environment that the ratios depend on."""
    found = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    found |= {
        "threads": options.threads,
        "processor": processor(),
        "kernels": options.kernels,
    }
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = None
    return found


def processor() -> str:
    """Return the processor's name, if the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def show(name: str, report: dict[str, dict[str, float]], failed: dict[str, str]) -> None:
    """Print one workload's ratios."""
    for program, row in report.items():
        busy = f"  {row['cores']:.1f} cores" if row["cores"] > 1.1 else ""
        begun = f"  first step {row['first']:.2g} s" if program != "numpy" else ""
        spread = f"({row['low']:.2f}-{row['high']:.2f})"
        print(f"{name:4} {program:14} {row['ratio']:8.2f}  {spread}{begun}{busy}", flush=True)
    for program, reason in failed.items():
        print(f"{name:4} {program:14} {'-':>8}  {reason}", flush=True)


def main(options: argparse.Namespace) -> int:
    names = options.names or [*WORKLOADS, "W6", "W7", "memory", "lines", "spellings"]
    found = environment(options)
    missing = sorted({module for module, _ in PROGRAMS.values() if not installed(module)})
    if missing:
        print(f"not installed, and so left out: {', '.join(missing)}")
    out: dict[str, Any] = {"environment": found, "rounds": options.rounds, "titles": {}, "results": {}, "failed": {}}
    start = time.perf_counter()
    cache = tempfile.TemporaryDirectory()
    os.environ["MICROGRADND_CACHE"] = cache.name  # an empty one, so that numba's first step compiles
    for name in names:
        if name == "memory":
            out["memory"] = memory()
            for program, row in out["memory"].items():
                print(f"W4 memory {program:12} {row['steady'] / 2**20:6.1f} MiB, peak {row['peak'] / 2**20:6.1f} MiB")
        elif name == "lines":
            out["lines"] = {name: lines.profile(name) for name in WORKLOADS}
        elif name == "spellings":
            out["spellings"] = spellings.measure()
        elif name == "W7":
            programs = [p for p, module in CHAINS.items() if wanted(p, module, options.only)]
            out["titles"]["W7"] = TITLES["W7"]
            out["depths"] = chains.depths(programs)
            for program, rows in out["depths"].items():
                for operations, row in rows.items():
                    print(f"W7   {program:12} {operations:>8} {row}", flush=True)
        else:
            make, left_out, tolerance = makers(name, options.only)
            candidates, failed = check(make, tolerance)
            out["titles"][name] = TITLES.get(name) or WORKLOADS[name]().title
            out["results"][name] = compare(candidates, options.rounds)
            out["failed"][name] = left_out | failed
            show(name, out["results"][name], out["failed"][name])
    path = Path(options.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(out, indent=1))
    print(f"written to {path} after {time.perf_counter() - start:.0f} s")
    wrong = [f"{p} in {w}" for w, rows in out["failed"].items() for p, why in rows.items() if "Error:" in why]
    if wrong:
        print(f"without a valid result: {', '.join(wrong)}", file=sys.stderr)
    return 1 if any(p.startswith(("numpy", "eager", "compiled", "numba")) for p in wrong) else 0


if __name__ == "__main__":
    sys.exit(main(OPTIONS))
