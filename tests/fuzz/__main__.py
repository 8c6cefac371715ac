"""`python -m tests.fuzz`: random programs for some minutes, and a summary of what came
of them.

Owns: the command line, the clock, and the summary.
Must not own: anything else.
Read next: `draw.py`.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter
from typing import Any

import numpy as np

from tests.fuzz import contract, torch_side
from tests.fuzz.check import Verdict, check
from tests.fuzz.draw import draw_program
from tests.fuzz.operations import OPERATIONS
from tests.fuzz.programs import Operation, Program
from tests.fuzz.questions import QUESTIONS, torch_text
from tests.fuzz.shrink import kind_of, script, shrink

MOST_REFUSALS = 20  # that the summary lists
DISTINCT = 12  # failures that are made smaller and printed; of others only the number is known


class Session:
    """Programs drawn from one seed, and what came of them.

    Parameters
    ----------
    seed : int
        The n-th program depends on this and n alone.
    operations : sequence of Operation
    names : dict
        More names that the texts of ours and plain arrays may use.
    """

    def __init__(
        self, seed: int, operations: list[Operation] | None = None, names: dict[str, Any] | None = None
    ) -> None:
        self.seed, self.operations, self.names = seed, operations or OPERATIONS, names
        self.kinds: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.questions: Counter[str] = Counter()
        self.oracles: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.failures: dict[str, tuple[int, Program, Verdict]] = {}
        self.again = 0

    def run(self, n: int, mutations: bool) -> None:
        """Draw and check program number n."""
        p = draw_program(np.random.default_rng([self.seed, n]), self.operations, mutations=mutations)
        if p is None:
            self.kinds["unsuitable"] += 1
            return
        try:
            verdict = check(p, self.names)
        except Exception:
            print(script(p, Verdict("broken")), torch_text(p), sep="\n\n")
            raise
        self.kinds[verdict.kind] += 1
        if verdict.kind == "unsuitable":
            return
        self.used.update(p.operations())
        self.questions[p.question] += 1
        self.oracles.update(verdict.oracles)
        if verdict.kind == "refused":
            self.refusals[kind_of(verdict)] += 1
        if verdict.failed and len(self.failures) < DISTINCT:
            small, verdict = shrink(p, verdict, 20.0, self.names)
            key = kind_of_failure(small, verdict)
            if key in self.failures:
                self.again += 1
            else:
                self.failures[key] = (n, small, verdict)
                print(self.report(n, small, verdict), flush=True)
        elif verdict.failed:
            self.again += 1

    def report(self, n: int, p: Program, verdict: Verdict) -> str:
        """Return a failure as text: what it is, and a program to paste."""
        text = script(p, verdict, self.names)
        return f"\n# {verdict.kind}: {verdict.reason}\n# (program {n} of seed {self.seed})\n{text}\n"

    def summary(self, seconds: float) -> str:
        """Return what was done, in a few lines."""
        checked = sum(n for kind, n in self.kinds.items() if kind != "unsuitable")
        wrong = len(self.failures) + self.again
        lines = [
            f"seed {self.seed}: {checked} programs in {seconds:.0f} s, {sum(self.used.values())} operations of "
            f"{len(self.used)} kinds, {len(self.questions)} ways of asking",
            "compared with " + ", ".join(f"{name}: {n}" for name, n in sorted(self.oracles.items())),
            f"{self.kinds['agrees']} agree, {self.kinds['refused']} refused, {wrong} disagree"
            + (f" ({len(self.failures)} of them distinct)" if wrong else ""),
        ]
        lines += [f"  refused {n} times: {message}" for message, n in self.refusals.most_common(MOST_REFUSALS)]
        return "\n".join(lines)


def kind_of_failure(p: Program, verdict: Verdict) -> str:
    """Return the same for programs that fail for the same reason, as far as can be
    told.
    """
    if verdict.kind == "crashed" or "retained" in verdict.reason:
        return kind_of(verdict)
    return f"{QUESTIONS[p.question].order}: {' '.join(sorted(set(p.operations())))}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="by default a fresh one, which is printed")
    parser.add_argument("--only", type=int, default=None, help="run this program of the seed alone")
    parser.add_argument("--mutations", choices=("yes", "no", "only"), default="yes", help="inputs changed after use")
    parser.add_argument("--surroundings", action="store_true", help="programs that are run as they are and compiled")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    session: Any = contract.Session(seed) if options.surroundings else Session(seed)
    if torch_side.torch() is None and not options.surroundings:
        print("PyTorch isn't installed: finite differences alone (pip install -e '.[oracle]')")
    start, n = time.monotonic(), options.only or 0
    print(f"seed {seed}", flush=True)
    while True:
        session.run(n, {"yes": n % 3 == 2, "no": False, "only": True}[options.mutations])
        n += 1
        seconds = time.monotonic() - start
        if options.only is not None or seconds > 60 * options.minutes:
            break
    print(session.summary(seconds))
    return 1 if session.failures else 0


if __name__ == "__main__":
    sys.exit(main())
