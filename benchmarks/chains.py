"""Chains of scalar operations: time and memory per operation, besides arithmetic.

Owns: the programs of W6 (a chain of 2,000) and W7 (from 1,000 to 1,000,000).
Must not own: timing of W6 and the report (`run.py`).
Read next: `run.py`.

    python benchmarks/chains.py torch 100000     # one measurement of W7, as JSON

W7 runs each library and length in a process of its own, because a process keeps memory
that it used once. Bytes per operation are the growth of the resident set: from before
the chain to its end, when everything recorded is alive, and to the peak of the backward
pass.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workloads import Candidate

OPERATIONS = 2000
LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
DEEPEST = 100_000  # Python's recursion limit where a library recurses
LONGEST = 90  # seconds of one measurement, after which it counts as failed
QUICK = 10  # seconds of a chain that is measured again with the garbage collector off


def chain(x: Any, operations: int) -> Any:
    """Return the end of a chain with this number of operations, four to a turn."""
    y = x
    for _ in range(operations // 4):
        y = y * 1.0001 + x
        y = (y - 0.5) / 1.5
    return y


def by_hand(operations: int) -> Any:
    """Return the value and the derivative in NumPy scalars."""
    x = np.float64(0.5)
    y = chain(x, operations)
    g, grad = np.float64(1.0), np.float64(0.0)
    for _ in range(operations // 4):
        g = g / 1.5
        grad = grad + g
        g = g * 1.0001
    return y, grad + g


def eager() -> Any:
    import microgradnd as mg

    return (
        lambda: mg.tensor(0.5, requires_grad=True),
        lambda y: y.backward(),
        lambda x, y: (y.item(), float(x.grad)),
    )


def torch() -> Any:
    import torch

    torch.set_num_threads(1)
    return (
        lambda: torch.tensor(0.5, dtype=torch.float64, requires_grad=True),
        lambda y: y.backward(),
        lambda x, y: (y.item(), x.grad.item()),
    )


def mygrad() -> Any:
    import mygrad

    mygrad.turn_memory_guarding_off()
    return (
        lambda: mygrad.tensor(0.5),
        lambda y: y.backward(),
        lambda x, y: (y.item(), float(x.grad)),
    )


def micrograd() -> Any:
    from micrograd.engine import Value

    sys.setrecursionlimit(DEEPEST)  # it sorts the graph by recursion, and would fail at 1,000
    return (lambda: Value(0.5), lambda y: y.backward(), lambda x, y: (y.data, x.grad))


BACKWARD: dict[str, Callable[[], Any]] = {"eager": eager, "torch": torch, "mygrad": mygrad, "micrograd": micrograd}


def autograd(operations: int) -> Any:
    """Return the value and the derivative by HIPS autograd."""
    import autograd

    return autograd.value_and_grad(lambda x: chain(x, operations))(0.5)


def advect(operations: int) -> Any:
    """Return the value and the derivative by advect."""
    import advect as ad

    return ad.value_and_grad(lambda x: chain(x, operations))(np.float64(0.5))


TRANSFORMS: dict[str, Callable[[int], Any]] = {"numpy": by_hand, "autograd": autograd, "advect": advect}


def candidate(library: str) -> Candidate:
    """Return a library's program of W6."""
    if library in TRANSFORMS:
        program = TRANSFORMS[library]
        program(4)
        return Candidate(lambda: program(OPERATIONS))
    leaf, backward, numbers = BACKWARD[library]()

    def step() -> Any:
        x = leaf()
        y = chain(x, OPERATIONS)
        backward(y)
        return numbers(x, y)

    return Candidate(step)


def resident(which: str = "VmRSS") -> int:
    """Return the resident bytes of this process, now or ("VmHWM") at most (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


def measure(library: str, operations: int) -> dict[str, float]:
    """Return the seconds and bytes per operation of one chain, forward and backward."""
    one_program = TRANSFORMS.get(library)
    if one_program is None:
        leaf, backward, numbers = BACKWARD[library]()

    def run(operations: int) -> tuple[float, int, Any]:
        start = time.perf_counter()
        if one_program is not None:  # the end of the chain can be seen from inside of the function only
            got = one_program(operations)
            return time.perf_counter() - start, 0, got
        x = leaf()
        y = chain(x, operations)
        held = resident()
        backward(y)
        seconds = time.perf_counter() - start
        return seconds, held, numbers(x, y)

    run(200)
    gc.collect()
    before = resident()
    seconds, held, got = run(operations)
    result = {"bytes at the peak": (resident("VmHWM") - before) / operations}
    if held:
        result["bytes recorded"] = (held - before) / operations
    repeats = min(20, 100_000 // operations)  # the first, if it is the only one, includes getting memory
    result["seconds"] = statistics.median([run(operations)[0] for _ in range(repeats)] or [seconds]) / operations
    if seconds < QUICK:
        gc.disable()
        again = statistics.median(run(operations)[0] for _ in range(max(1, repeats)))
        result["seconds without the collector"] = again / operations
        gc.enable()
    if not np.allclose(got, by_hand(operations), rtol=1e-9):
        raise AssertionError(f"{library} gives {got} where NumPy gives {by_hand(operations)}")
    return result


def depths(libraries: list[str]) -> dict[str, dict[str, Any]]:
    """Return the result of `measure`, or its failure, by library and length."""
    found: dict[str, dict[str, Any]] = {}
    if not Path("/proc/self/status").exists():
        return found
    for library in libraries:
        found[library] = {}
        for operations in LENGTHS:
            command = [sys.executable, __file__, library, str(operations)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, env=os.environ)
            except subprocess.TimeoutExpired:
                found[library][str(operations)] = {"failed": f"not done after {LONGEST} s"}
                break
            if done.returncode:
                reason = done.stderr.strip().splitlines()[-1:] or [f"ended by signal {-done.returncode}"]
                found[library][str(operations)] = {"failed": reason[0].split(":")[0]}
                break
            found[library][str(operations)] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
