"""Histograms over training: how activations, gradients and weights are spread, layer by layer and step by step.

Owns: `plot_monitor`.
Must not own: what is measured (`../monitor.py`).
Read next: `canvas.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from microgradnd.failures import explained
from microgradnd.viz.monitor import BINS, Monitor, Spread
from microgradnd.viz.plots.canvas import (
    GREY,
    RED,
    SURFACE,
    Array,
    canvas,
    figure_of,
    is_dark,
    legend,
    line,
    look,
    plain,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

What = Literal["activations", "gradients", "weights", "updates", "dead", "saturated"]

HISTOGRAMS = ("activations", "gradients", "weights")
MOST_ROWS, MOST_COLUMNS, HEIGHT = 8, 300, 80  # maps below one another; steps and stretches of values of a map
WIDTH, ROW = 7.2, 1.25  # inches
USUAL = 1e-3  # the ratio of update to weight that many networks learn well with
LABELS = {
    "updates": "norm of the update / norm of the weights",
    "dead": "share of dead units",
    "saturated": "share of saturated outputs",
}


@explained
def plot_monitor(
    monitor: Monitor, what: What = "activations", *, only: list[str] | None = None, title: str | None = None
) -> Figure:
    """Plot what a `Monitor` has seen, over the steps of training.

    Activations, gradients and weights are histograms: each column is one of a step, the darker the more numbers lie
    there. The others are a line for each parameter or layer. What isn't finite is marked in red.

    Parameters
    ----------
    monitor : Monitor
    what : str
        "activations", "gradients", "weights", "updates" (relative to the weights, on a logarithmic scale, with a line
        at 0.001, which is a usual value), "dead" or "saturated".
    only : list of str, optional
        Layers, or parameters, by their names; by default all, of many histograms eight from the first to the last.
    title : str, optional
        What is written above.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("activations.png")` writes it to a file.

    Raises
    ------
    TypeError
        If `monitor` isn't a Monitor.
    ValueError
        If nothing was measured, or `what` or a name is unknown.
    ImportError
        If matplotlib isn't installed.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn, viz
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.Tanh())
    >>> monitor = viz.Monitor(model)
    >>> for _ in range(3):
    ...     loss = np.sum(model(np.ones((4, 2))))
    ...     monitor.step()
    >>> [ax.get_title() for ax in viz.plot_monitor(monitor).axes[:2]]
    ['0 (Linear)', '1 (Tanh)']
    """
    if not isinstance(monitor, Monitor):
        raise TypeError(f"plot_monitor: monitor must be a viz.Monitor, got a {type(monitor).__name__}")
    if what not in get_args(What):
        raise ValueError(f"plot_monitor: what must be one of {', '.join(get_args(What))}, got {what!r}")
    table: dict[str, list[Any]] = getattr(monitor, what)
    if unknown := [name for name in only or () if name not in table]:
        raise ValueError(f"plot_monitor: {unknown[0]!r} is unknown; choose among {', '.join(table)}")
    table = {name: row for name, row in table.items() if any(value is not None for value in row)}
    table = {name: table[name] for name in only if name in table} if only is not None else table
    if not table:
        raise ValueError(
            f"plot_monitor: there are no {what} to plot; call monitor.step() after each step of a model that has them"
        )
    if what in HISTOGRAMS:
        return _maps(monitor, table, what, title)
    steps = np.arange(1.0, monitor.steps + 1)
    with canvas(None, title, "step", LABELS[what]) as (figure, ax):
        if what == "updates":
            ax.set_yscale("log")
            ax.axhline(USUAL, color=GREY, linewidth=1, linestyle=(0, (1, 3)), label=f"{USUAL:g}, a usual value")
        else:
            ax.set_ylim(-0.02, 1.02)
        for i, (name, row) in enumerate(table.items()):
            values = np.array([np.nan if value is None else value for value in row])
            there = np.array([value is not None for value in row])
            called = monitor._called(name) if what != "updates" else name
            line(ax, steps[there], values[there], what == "updates", called, "step", **look(i))
        whole_numbers(ax, [steps])
        legend(figure, ax)
    return figure


def _maps(monitor: Monitor, table: dict[str, list[Spread | None]], what: str, title: str | None) -> Figure:
    from matplotlib import colors

    names = list(table)
    rows = sorted({round(i) for i in np.linspace(0, len(names) - 1, MOST_ROWS)})
    size = (WIDTH, ROW * len(rows) + 0.9)
    with figure_of(title or f"{what} over training", figsize=size) as figure:
        axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
        colours = SURFACE if is_dark() else SURFACE + "_r"  # many numbers stand out from the ground
        for ax, row in zip(axes, rows, strict=True):
            name = names[row]
            shares, low, high = _shares(table[name])
            ax.grid(False)
            place = (0.5, monitor.steps + 0.5, low, high)
            shown = np.ma.masked_where(shares == 0, shares)
            norm = colors.PowerNorm(0.5, 0, float(shares.max()) or 1.0)
            image = ax.imshow(shown, origin="lower", aspect="auto", extent=place, cmap=colours, norm=norm)
            ax.set_title(plain(monitor._called(name) if what == "activations" else name), fontsize=10, loc="center")
            bad = [k + 1 for k, spread in enumerate(table[name]) if spread is not None and spread.bad]
            if bad:
                look: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": RED, "clip_on": False}
                label = f"not finite (from step {bad[0]})"
                ax.plot(bad, np.full(len(bad), 1.0), linestyle="", marker="x", label=label, **look)
                ax.legend(loc="upper left", fontsize=8)
        axes[-1].set_xlabel("step")
        whole_numbers(axes[-1], [np.arange(monitor.steps)])
        bar = figure.colorbar(image, ax=list(axes), label="few → many", ticks=[], aspect=60, pad=0.02)
        bar.ax.minorticks_off()
    return figure


def _shares(row: list[Spread | None]) -> tuple[Array, float, float]:
    """Return the histograms of all steps on one scale, shape (HEIGHT, steps), and from where to where that runs.

    It runs over all values but for the outermost hundredth of all steps, so that one step can't make the others flat.
    """
    at = np.unique(np.linspace(0, len(row) - 1, min(len(row), MOST_COLUMNS)).round().astype(int))
    spreads = [row[k] for k in at]
    there = [spread for spread in spreads if spread is not None and spread.counts.any()]
    lows, highs = ([getattr(spread, end) for spread in there] for end in ("low", "high"))
    low, high = 0.0, 1.0
    if there:
        low, high = float(np.quantile(lows, 0.01, method="lower")), float(np.quantile(highs, 0.99, method="higher"))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, HEIGHT + 1)
    shares = np.zeros((HEIGHT, len(spreads)))
    for k, spread in enumerate(spreads):
        if spread is not None and spread.counts.any():
            below = np.concatenate([[0], np.cumsum(spread.counts)]) / spread.counts.sum()
            ends = np.linspace(spread.low, spread.high, BINS + 1)
            if not spread.high > spread.low:  # equal numbers fill one stretch
                start = min(max(spread.low, low), high - (high - low) / HEIGHT)
                below, ends = np.array([0.0, 1.0]), np.array([start, start + (high - low) / HEIGHT])
            shares[:, k] = np.diff(np.interp(edges, ends, below))
    return shares, low, high
