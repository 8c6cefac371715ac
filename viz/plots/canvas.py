"""The common parts of all plots: figures, colours, lines, legends, axes.

Owns: the style of the plots, and their building blocks.
Must not own: any plot.
Read next: `history.py`.

pyplot's state isn't touched: a figure belongs to its caller, needs no display and is
freed with its last reference. Numbers that can't be drawn to scale, such as a NaN, are
marked at the edge of the picture.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from microgradnd.tensor import Tensor
from microgradnd.viz.labels import clean

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

INSTALL = 'pip install "microgradnd[viz]"'

# The palette of Okabe and Ito, which the colour-blind can tell apart; dashes tell lines
# apart in black and white
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#767676",
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY, "#8C510A")  # red is for errors
LOOKS: list[dict[str, Any]] = [{"color": COLOURS[i % 7], "linestyle": ("-", "--", "-.", ":")[i % 4]} for i in range(28)]
SURFACE = "cividis"  # the same for the colour-blind, and from dark to light in black and white
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
}
DARK: list[Any] = ["dark_background", {"grid.color": "#444444"}]
LINE = {"linewidth": 1.8, "markersize": 5}
PIXELS = 96  # per inch, in a notebook

# Decades of a logarithmic axis: the most with ticks between powers of ten, and with
# plain numbers
FEW_DECADES, MOST_DECADES = 3, 9
LONGEST_NAME, MOST_LABELS = 60, 16  # characters of a name; names in a column
LABEL = 0.22  # inches: the height of a row of names below a picture
LARGEST = 1e200  # matplotlib's own arithmetic overflows beyond


@functools.cache
def figure_class() -> Any:
    """Return matplotlib's Figure class, with a picture for Jupyter without pyplot."""
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"plots need the package matplotlib: {INSTALL}") from error

    class Plot(Figure):
        """A figure that shows itself in Jupyter and keeps its style."""

        def __init__(self, looks: list[Any], **options: Any) -> None:
            super().__init__(**options)
            self._looks = looks

        def draw(self, renderer: Any) -> None:
            # Ticks are only made in draw(), and margins overflow beyond 1e300
            with style.context(self._looks), np.errstate(all="ignore"):
                super().draw(renderer)

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            data = io.BytesIO()
            self.savefig(data, format="png")
            width, height = self.get_size_inches() * PIXELS
            return data.getvalue(), {"width": round(width), "height": round(height)}

    return Plot


@contextlib.contextmanager
def figure_of(title: str | None = None, **options: Any) -> Iterator[Figure]:
    """Yield a new figure, with matplotlib in the style of the plots."""
    make = figure_class()
    from matplotlib import style

    looks = ["default", STYLE, *(DARK if is_dark() else [])]
    with style.context(looks):
        figure = make(looks, **options)
        if title:
            figure.suptitle(plain(title))
        yield figure


@contextlib.contextmanager
def canvas(ax: Axes | None, title: str | None, xlabel: str, ylabel: str) -> Iterator[tuple[Figure, Axes]]:
    """Yield the axes, made with a new figure if there are none, and their figure."""
    with contextlib.ExitStack() as stack:
        if ax is None:
            ax = stack.enter_context(figure_of()).subplots()
        ax.set(title=plain(title or ""), xlabel=plain(xlabel), ylabel=plain(ylabel))
        figure: Any = ax.figure.canvas.figure  # the whole figure, if the axes are in a part of it
        yield figure, ax


def is_dark() -> bool:
    """Return whether matplotlib's current style has a dark background."""
    from matplotlib import colors, rcParams

    return sum(colors.to_rgb(rcParams["figure.facecolor"])) < 1.5


def line(
    ax: Axes, x: Array, y: Array, log: bool, name: str, steps: str, smooth: Array | None = None, **style: Any
) -> None:
    """Draw a line, perhaps smoothed; mark undrawable numbers at the edge."""
    finite = np.isfinite(y)
    marks = [
        (np.isnan(y), "NaN", "x", 0.97),
        (y == np.inf, "Inf", "^", 0.97),
        (y == -np.inf, "−Inf", "v", 0.03),
        (finite & (y > LARGEST), f"over {LARGEST:g}", "^", 0.97),
        (finite & (y < -LARGEST) & (not log), f"under −{LARGEST:g}", "v", 0.03),
        (log & finite & (y <= 0), "0" if np.all(y[finite] >= 0) else "0 or less", "v", 0.03),
    ]
    style = LINE | style
    shown = np.where(np.logical_or.reduce([where for where, *_ in marks]), np.nan, y)
    if smooth is not None:
        ax.plot(x, shown, **style | {"alpha": 0.3})
        shown = np.where(np.abs(smooth) <= LARGEST, smooth, np.nan)
    there = np.pad(np.isfinite(shown), 1)
    alone = np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:])
    if alone.size and not style.get("marker"):  # no line connects these
        style |= {"marker": "o", "markevery": alone.tolist()}
    ax.plot(x, shown, label=plain(name) if name else None, **style)
    for where, what, marker, height in marks:
        if not where.any():
            continue
        at = np.flatnonzero(where)
        first, last = x[at[0]], x[at[-1]]
        told = f"{steps} {first:.6g}" if at.size == 1 else f"{at.size:,} times, {steps} {first:.6g} to {last:.6g}"
        label = f"{plain(name)}: {what} ({told})" if name else f"{what} ({told})"
        breaks = np.diff(at) > 1
        starts, ends = x[at[np.append(True, breaks)]], x[at[np.append(breaks, True)]]
        look: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": RED, "clip_on": False}
        ax.plot(starts, np.full(starts.size, height), linestyle="", marker=marker, label=label, **look)
        ax.hlines(np.full(starts.size, height), starts, ends, linewidth=3, **look)


def lines(figure: Figure, ax: Axes, table: Mapping[str, Sequence[float | None]], missing: str = "") -> None:
    """Draw a line for each series of measurements, and name missing values."""
    for i, (name, values) in enumerate(table.items()):
        there = np.array([value is not None for value in values])
        steps, numbers = np.flatnonzero(there) + 1, np.array([value for value in values if value is not None], float)
        if steps.size:
            line(ax, steps, numbers, ax.get_yscale() == "log", name, ax.get_xlabel(), **look(i))
        if missing and not there.all():
            said = f"{plain(name)}: {missing} ({(~there).sum():,} of {there.size:,} times)"
            ax.plot([], [], label=said, **look(i))
    whole_numbers(ax)
    legend(figure, ax)


def legend(figure: Figure, ax: Axes, handles: Sequence[Artist] = ()) -> None:
    """Add a legend; on our own figures, it stands outside the plot."""
    handles = list(handles) or ax.get_legend_handles_labels()[0]
    if not handles:
        return
    labels = [str(handle.get_label()) for handle in handles]
    longest = max(map(len, labels))
    if figure.axes[0] is not ax or not isinstance(figure, figure_class()):
        made = ax.legend(handles, labels)
    elif longest <= 20 and len(figure.axes) == 1:
        aside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}
        made = ax.legend(handles, labels, ncols=-(-len(labels) // MOST_LABELS), **aside)
    else:
        columns = max(1, min(len(labels), 100 // (longest + 6)))
        made = figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        figure.set_figheight(figure.get_figheight() + LABEL * (-(-len(labels) // columns) - 1))
    for handle in filter(None, made.legend_handles):  # pale points have clear marks here
        handle.set_alpha(1.0)


def log_ticks(axis: Any) -> None:
    """Write plain numbers on a logarithmic axis, with more ticks if it is short."""
    from matplotlib import ticker

    low, high = map(float, axis.get_data_interval())
    decades = math.log10(high) - math.log10(low) if 0 < low <= high < math.inf else math.inf
    if decades > MOST_DECADES:
        return  # powers of ten are shorter
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if decades < FEW_DECADES else (1.0,)))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def whole_numbers(ax: Axes) -> None:
    """Allow only whole numbers on the horizontal axis."""
    from matplotlib import ticker

    ax.xaxis.set_major_locator(ticker.MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def plain(text: str) -> str:
    """Escape a name that matplotlib would read as mathematics or hide."""
    text = clean(text, LONGEST_NAME).replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def look(i: int) -> dict[str, Any]:
    """Return the look of one of several lines."""
    return LOOKS[i % len(LOOKS)]


def along(share: float) -> dict[str, Any]:
    """Return the look of one of many ordered lines, which fade from first to last."""
    import matplotlib

    return {"color": matplotlib.colormaps[SURFACE](1 - 0.65 * share if is_dark() else 0.7 * share), "linewidth": 1.0}


def array_of(values: Any) -> Array:
    """Return the numbers of a Tensor or of any array_like."""
    return np.asarray(values.data if isinstance(values, Tensor) else values)
