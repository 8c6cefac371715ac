"""Nothing stays behind: the scenarios of `benchmarks/leaks.py`, a few times each.

Owns: which scenarios are known to leave something.
Must not own: the scenarios.
Read next: `../benchmarks/leaks.py`.
"""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parent.parent / "benchmarks" / "leaks.py"
SPEC = importlib.util.spec_from_file_location("leaks", FILE)
leaks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(leaks)

RUNS, STEPS = 6, 300

# What leaves reference cycles, for the garbage collector to free
CYCLES = {
    "a recorded gradient that stays": "a leaf whose gradient was recorded holds the graph that holds the leaf",
}


@pytest.mark.parametrize(
    "name",
    [
        # a known cycle, with its reason there; strict, so that a cure is noticed
        pytest.param(name, marks=pytest.mark.xfail(reason=CYCLES[name], strict=True)) if name in CYCLES else name
        for name in leaks.SCENARIOS
    ],
)
def test_nothing_is_left(name):
    found = leaks.left_by(leaks.SCENARIOS[name], RUNS)
    assert not leaks.leaks(found, RUNS), f"of each run: {found[0]} objects in cycles, {found[1]} bytes held"


def test_training_leaves_nothing():
    found = leaks.training(STEPS)
    assert not leaks.leaks(found, STEPS), f"of each step: {found[0]} objects in cycles, {found[1]} bytes held"


def test_what_is_left_is_found():
    kept = []
    assert leaks.leaks(leaks.left_by(lambda: kept.append(leaks.leaf()), RUNS), RUNS)

    def cycle():
        parts = [leaks.leaf()]
        parts.append(parts)

    assert leaks.leaks(leaks.left_by(cycle, RUNS), RUNS)
