"""How the examples show what they do: a progress bar, and figures in `out/`.

Owns: what every example needs and none is about.
Must not own: anything that a reader must know to follow an example.
Read next: `ols_gradient_descent.py`, the first example.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import matplotlib
    from tqdm import tqdm
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(f'{missing}; the examples need: pip install "microgradnd[examples]"') from missing

matplotlib.use("Agg")  # pictures go to files: no window, no display

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

OUT = Path("out")

# From the palette of Okabe and Ito, which the colour-blind can tell apart
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7F7F7F"

STYLE = {
    "figure.figsize": (7.2, 4.0),
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E5E5E5",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


def progress(count: int, unit: str = "epochs") -> tqdm[int]:
    """Return the numbers 1, 2, ... behind a bar if the output is a terminal; `write` prints a line above it."""
    return tqdm(range(1, count + 1), unit=f" {unit}", disable=None, leave=False)


@contextmanager
def figure(name: str, title: str, x: str, y: str) -> Iterator[Axes]:
    """Give axes to draw on, with labels, and write the figure to `out/` at the end."""
    OUT.mkdir(exist_ok=True)
    with plt.rc_context(STYLE):
        drawing, axes = plt.subplots()
        axes.set(title=title, xlabel=x, ylabel=y)
        yield axes
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        drawing.savefig(OUT / name)
        plt.close(drawing)
    print(f"wrote {OUT / name}")
