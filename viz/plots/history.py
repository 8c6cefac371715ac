"""Losses over the epochs or steps of training.

Owns: `plot_history`.
Must not own: the training itself.
Read next: `canvas.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.tensor import Tensor
from microgradnd.viz.plots.canvas import Array, along, canvas, legend, line, log_ticks, look, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 12  # curves; more are coloured from dark to light, and only some are named


@explained
def plot_history(
    losses: Any,
    *,
    log: bool = False,
    log_x: bool = False,
    smooth: float = 0.0,
    title: str | None = None,
    xlabel: str = "epoch",
    ylabel: str = "loss",
    ax: Axes | None = None,
) -> Figure:
    """Plot losses over the epochs or steps of training.

    Losses that are NaN or infinite, or that don't fit on a logarithmic scale, are
    marked in red at the edge of the picture.

    Parameters
    ----------
    losses : sequence of float, or mapping
        The loss of each epoch, counted from 1, or several such sequences by name.
        Instead of a sequence, a mapping from epochs to losses is for values that
        weren't measured in every epoch.
    log, log_x : bool
        Whether the losses and the epochs have a logarithmic scale.
    smooth : float
        The decay of a moving average, from 0 (none) to less than 1: the weight of a
        loss shrinks by this factor with each later epoch. The measured losses are then
        pale.
    title, xlabel, ylabel : str
        The texts of the picture.
    ax : matplotlib Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("loss.png")` writes it to a file.

    Raises
    ------
    ValueError
        If there are no losses, they aren't one number each, or `smooth` isn't from 0 to
        less than 1.
    ImportError
        If matplotlib isn't installed.

    See Also
    --------
    plot_gradients : norms of gradients.
    plot_surface : the loss around the path.

    Examples
    --------
    >>> from microgradnd import viz
    >>> losses = {"training": [3.0, 1.0, 0.5], "validation": {1: 3.2, 3: 0.9}}
    >>> figure = viz.plot_history(losses, log=True)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['training', 'validation']
    """
    is_named = isinstance(losses, Mapping) and all(isinstance(key, str) for key in losses)
    series: Mapping[str, Any] = losses if is_named else {"": losses}
    if not series:
        raise ValueError("plot_history: the mapping is empty; it must hold the losses of at least one step")
    drawn = {
        name: steps_and_numbers(values, f"plot_history: the losses {name!r}" if name else "plot_history: the losses")
        for name, values in series.items()
    }
    if not 0 <= smooth < 1:
        raise ValueError(f"plot_history: smooth must be from 0 to less than 1, got {smooth}")
    if log_x and any(np.any(steps <= 0) for steps, _ in drawn.values()):
        raise ValueError("plot_history: log_x needs epochs above 0, which have logarithms; use log_x=False")
    with canvas(ax, title, xlabel, ylabel) as (figure, ax):
        ax.set(xscale="log" if log_x else "linear", yscale="log" if log else "linear")
        for i, (name, (steps, values)) in enumerate(drawn.items()):
            sparse = isinstance(series[name], Mapping) or len(steps) == 1
            style = look(i) | ({"marker": "o", "linewidth": 0.8} if sparse else {})
            if len(drawn) > MANY:
                style |= along(i / (len(drawn) - 1))
            line(ax, steps, values, log, name, xlabel, _smoothed(values, smooth) if smooth else None, **style)
        for axis, is_log in ((ax.xaxis, log_x), (ax.yaxis, log)):
            if is_log:
                log_ticks(axis)
        if not log_x and all(np.all(steps == np.round(steps)) for steps, _ in drawn.values()):
            whole_numbers(ax)
        _explain(figure, ax, len(drawn))
    return figure


def _smoothed(values: Array, smooth: float) -> Array:
    """Return moving averages; NaN and Inf stay, and affect no others."""
    found, total, weight = values.copy(), 0.0, 0.0
    for i in np.flatnonzero(np.isfinite(values)):
        total, weight = smooth * total + values[i], smooth * weight + 1.0
        found[i] = total / weight
    return found


def _explain(figure: Figure, ax: Axes, count: int) -> None:
    """Name the curves; of many, only the first, the last and some between."""
    handles = list(ax.get_legend_handles_labels()[0])
    if count > MANY:
        every = -(-len(handles) // MANY)
        handles = handles[::every] + handles[-1:] * ((len(handles) - 1) % every > 0)
    legend(figure, ax, handles)


def steps_and_numbers(values: Any, what: str) -> tuple[Array, Array]:
    """Return the steps and the values of a curve, both of shape (n,) and float64."""
    steps: Any = None
    if isinstance(values, Mapping):
        steps, values = list(values), list(values.values())
    if isinstance(values, Tensor):
        values = values.data
    values = [value.data if isinstance(value, Tensor) else value for value in values] if np.iterable(values) else values
    try:
        numbers = np.asarray(values, dtype=np.float64)
        steps = np.arange(1.0, numbers.size + 1) if steps is None else np.asarray(steps, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what} must be real numbers, one for each step, got {values!r:.40}") from error
    if numbers.ndim != 1 or steps.shape != numbers.shape:
        raise ValueError(f"{what} must be one number for each step, of shape (n,), got shape {numbers.shape}")
    if not numbers.size:
        raise ValueError(f"{what} are empty; there must be at least one number to plot")
    return steps, numbers
