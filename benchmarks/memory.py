"""The memory that a training step of W4 needs.

Owns: that measurement.
Must not own: the programs (`by_hand.py`, `ours.py`, `peers.py`).
Read next: `run.py`, which starts this file in a process of its own.

NumPy reports its arrays to `tracemalloc`, which therefore counts everything that a
program allocates, planned buffers included: the bytes between two steps (`steady`), and
the most within one (`peak`). Data and starting values, which all programs share, don't
count; a program's own copy of the parameters does. OpenBLAS's work space doesn't show,
but is the same for all.
"""

import gc
import importlib.util
import inspect
import json
import tracemalloc
from typing import Any

import by_hand
import ours
import peers
from workloads import WORKLOADS

PROGRAMS = {  # those that keep their arrays in NumPy
    "numpy": ("numpy", by_hand.idiomatic),
    "numpy out=": ("numpy", by_hand.planned),
    "eager": ("numpy", ours.eager),
    "compiled": ("numpy", ours.compiled),
    "numba": ("numba", ours.numba),
    "autograd": ("autograd", peers.hips_autograd),
    "mygrad": ("mygrad", peers.mygrad_),
}


def measure(make: Any, work: Any) -> dict[str, int]:
    """Return the bytes that a program holds between steps, and its peak in a step."""
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    candidate = make("W4", work)
    for _ in range(3):
        candidate.step()
    gc.collect()
    steady, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    candidate.step()
    _, peak = tracemalloc.get_traced_memory()
    return {"steady": steady - before, "peak": peak - before}


def main() -> None:
    work = WORKLOADS["W4"]()
    tracemalloc.start()
    found = {}
    for program, (module, make) in PROGRAMS.items():
        known = program != "numba" or "backend" in inspect.signature(ours.mg.compile).parameters
        if importlib.util.find_spec(module) and known:
            measure(make, work)  # imports and permanent caches are no part of a step
            found[program] = measure(make, work)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
