"""How the examples show their results: a progress bar, and figures in `out/`.

Owns: code that every example needs, but that isn't its topic.
Must not own: code that you must know to follow an example.
Read next: `ols_gradient_descent.py`, the first example.
"""

from __future__ import annotations

from pathlib import Path

try:
    from matplotlib.figure import Figure
    from tqdm import tqdm
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(f'{missing}; the examples need: pip install "microgradnd[examples]"') from missing

OUT = Path("out")


def progress(count: int, unit: str = "epochs") -> tqdm[int]:
    """Return the numbers 1, 2, ... with a progress bar, if the output is a terminal."""
    return tqdm(range(1, count + 1), unit=f" {unit}", disable=None, leave=False)


def write(figure: Figure, name: str) -> None:
    """Write a figure to `out/`."""
    OUT.mkdir(exist_ok=True)
    figure.savefig(OUT / name)
    print(f"wrote {OUT / name}")
