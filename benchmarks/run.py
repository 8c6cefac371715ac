"""Times the workloads side by side and prints each library's time as a ratio to NumPy by hand.

Owns: the method (one process, one thread, interleaved rounds, medians) and the report.
Must not own: the programs that are timed (`workloads.py`).
Read next: `workloads.py`.

    python benchmarks/run.py [W1 W2 ...] [--rounds 15] [--json out/benchmarks.json]

Every library's numbers are compared with NumPy's before its time counts. Within a round the libraries take turns, so
that a busy machine slows all of them; the ratio is taken within each round, and its median over the rounds is reported.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is imported: its BLAS reads them then

import argparse
import gc
import importlib.util
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import workloads

CHECKED_STEPS = 3
ROUND_SECONDS = 0.05


def check(steps: dict[str, Callable[[], float]]) -> None:
    """Run a few steps of every library and raise unless they give NumPy's numbers."""
    expected = [steps["numpy"]() for _ in range(CHECKED_STEPS)]
    for library, step in steps.items():
        if library != "numpy":
            for want in expected:
                got = step()
                if not math.isclose(got, want, rel_tol=1e-4):
                    raise AssertionError(f"{library} gives {got!r} where NumPy gives {want!r}")


def seconds(step: Callable[[], float], repeats: int) -> float:
    """Return the time of one step, measured over several."""
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def compare(steps: dict[str, Callable[[], float]], rounds: int) -> dict[str, dict[str, float]]:
    """Return, for each library, its median time and the median and quartiles of its ratio to NumPy."""
    repeats = {library: max(1, round(ROUND_SECONDS / seconds(step, 2))) for library, step in steps.items()}
    times: dict[str, list[float]] = {library: [] for library in steps}
    for _ in range(rounds):
        gc.collect()
        for library, step in steps.items():
            times[library].append(seconds(step, repeats[library]))
    report = {}
    for library, measured in times.items():
        ratios = [t / n for t, n in zip(measured, times["numpy"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        report[library] = {
            "ratio": statistics.median(ratios),
            "low": low,
            "high": high,
            "seconds": statistics.median(measured),
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(workloads.WORKLOADS), help="workloads, by default all")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, default=Path("out/benchmarks.json"))
    options = parser.parse_args()
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
    libraries = [name for name in ("numpy", "torch") if importlib.util.find_spec(name)]
    results = {}
    print(f"{'':4} {'library':12} {'ratio to NumPy':>15} {'(quartiles)':>15} {'of PyTorch':>11}")
    for name in options.names:
        steps = workloads.WORKLOADS[name]()
        check(steps)
        results[name] = report = compare(steps, options.rounds)
        for library, row in report.items():
            quartiles = f"({row['low']:.2f}-{row['high']:.2f})"
            of_torch = f"{row['seconds'] / report['torch']['seconds']:11.2f}" if "torch" in report else f"{'-':>11}"
            print(f"{name:4} {library:12} {row['ratio']:15.2f} {quartiles:>15} {of_torch}")
    environment = {"python": platform.python_version(), "machine": platform.machine(), "threads": 1}
    environment |= {library: version(library) for library in libraries}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps({"environment": environment, "rounds": options.rounds, "results": results}, indent=1)
    )
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
