"""Times NumPy's ways to spell one step: the basis of the compiler's choices.

Owns: those comparisons.
Must not own: whole workloads (`workloads.py`).
Read next: `../docs/performance.md`.

    python benchmarks/spellings.py

The first spelling of each group is the obvious one; the others are shown as ratios to
it. All results are compared.
"""

import statistics
import timeit
from typing import Any

from pinned import pin

if __name__ == "__main__":
    pin(1)

import numpy as np

ROUNDS = 15
SECONDS = 0.01
SHAPES = (((100, 32), np.float64), ((128, 128), np.float32), ((2048, 64), np.float32), ((1024, 1024), np.float32))
GROUPS = {
    "max(h, 0)": (
        "np.maximum(h, zero, out=o)",
        "np.maximum(h, row_of_zeros, out=o)",
        "np.maximum(h, zeros, out=o)",
    ),
    "g where h > 0": (
        "np.copyto(o, np.where(h > 0, g, 0))",
        "np.greater(h, zero, out=mask); np.multiply(g, mask, out=o)",
        "np.greater(h, zero, out=mask); np.copyto(o, mask); np.multiply(g, o, out=o)",
    ),
    "h + bias": (
        "np.add(h, bias, out=o)",
        "np.copyto(o, bias); np.add(h, o, out=o)",
    ),
    "sum over rows": (
        "np.add.reduce(g, axis=0, out=across)",
        "np.dot(ones, g, out=across)",
        "np.einsum('ij->j', g, out=across)",
    ),
    "sum of each row": (
        "np.add.reduce(g, axis=1, out=down)",
        "np.dot(g, ones_down, out=down)",
        "np.einsum('ij->i', g, out=down)",
        "np.vecdot(g, ones_down, out=down)",
    ),
    "sum of each row of a product": (
        "np.multiply(g, h, out=o); np.add.reduce(o, axis=1, out=down)",
        "np.vecdot(g, h, out=down)",
        "np.einsum('ij,ij->i', g, h, out=down)",
    ),
    "maximum of each row": (
        "np.maximum.reduce(h, axis=1, out=down)",
        "np.argmax(h, axis=1, out=places); np.add(places, starts, out=places); h.take(places, out=down, mode='clip')",
    ),
    "square": ("np.power(h, 2, out=o)", "np.square(h, out=o)", "np.multiply(h, h, out=o)"),
}


def arrays(shape: tuple[int, int], dtype: Any) -> dict[str, Any]:
    """Return the arrays that the spellings use."""
    rng = np.random.default_rng(0)
    rows, columns = shape
    return {
        "np": np,
        "h": rng.normal(size=shape).astype(dtype),
        "g": rng.normal(size=shape).astype(dtype),
        "bias": rng.normal(size=columns).astype(dtype),
        "o": np.empty(shape, dtype),
        "mask": np.empty(shape, bool),
        "zero": np.array(0, dtype),
        "zeros": np.zeros(shape, dtype),
        "row_of_zeros": np.zeros(columns, dtype),
        "ones": np.ones(rows, dtype),
        "ones_down": np.ones(columns, dtype),
        "across": np.empty(columns, dtype),
        "down": np.empty(rows, dtype),
        "places": np.empty(rows, np.intp),
        "starts": np.arange(0, rows * columns, columns),
    }


def result(spelling: str, names: dict[str, Any]) -> Any:
    """Return the value of a spelling."""
    exec(spelling, names)
    target = "down" if "out=down" in spelling else "across" if "out=across" in spelling else "o"
    return names[target].copy()


def compare(spellings: tuple[str, ...], names: dict[str, Any]) -> list[float]:
    """Return each spelling's median time as a ratio to the first; all must agree."""
    expected = result(spellings[0], names)
    for spelling in spellings:
        np.testing.assert_allclose(result(spelling, names), expected, rtol=1e-4, atol=1e-4, err_msg=spelling)
    timers = [timeit.Timer(spelling, globals=names) for spelling in spellings]
    repeats = [max(1, int(SECONDS / timer.timeit(3) * 3)) for timer in timers]
    rounds = []
    for _ in range(ROUNDS):
        times = [timer.timeit(n) / n for timer, n in zip(timers, repeats, strict=True)]
        rounds.append([t / times[0] for t in times])
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def measure() -> dict[str, Any]:
    """Return the shapes, and the ratios of each group's spellings for each shape."""
    found = []
    for title, spellings in GROUPS.items():
        columns = [compare(spellings, arrays(*shape)) for shape in SHAPES]
        rows = [[column[i] for column in columns] for i in range(len(spellings))]
        found.append({"title": title, "rows": list(zip(spellings, rows, strict=True))})
    shapes = [f"{rows} × {columns} {np.dtype(dtype).name}" for (rows, columns), dtype in SHAPES]
    return {"shapes": shapes, "groups": found}


def main() -> None:
    found = measure()
    print(f"{'':114} {'  '.join(found['shapes'])}")
    for group in found["groups"]:
        print(group["title"])
        for spelling, row in group["rows"]:
            print(f"    {spelling:112} {'  '.join(f'{r:14.2f}' for r in row)}")


if __name__ == "__main__":
    main()
