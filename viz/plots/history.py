"""Losses over the epochs or steps of training.

Owns: `plot_history`.
Must not own: the training that is shown.
Read next: `canvas.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.tensor import Tensor
from microgradnd.viz.plots.canvas import Array, canvas, colour, dash, legend, line, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@explained
def plot_history(
    losses: Any,
    *,
    log: bool = False,
    title: str | None = None,
    xlabel: str = "epoch",
    ylabel: str = "loss",
    ax: Axes | None = None,
) -> Figure:
    """Plot losses over the epochs or steps of training.

    Losses that are NaN or infinite are marked in red at the edge of the picture, and so are those that a logarithmic
    scale has no place for. Of more than 4,000 losses, the least and greatest of each stretch are drawn.

    Parameters
    ----------
    losses : sequence of float, or mapping
        The loss of each epoch, the first of which is 1; or several such by name; or, in the place of a sequence, a
        mapping from epochs to losses, for what wasn't measured in every epoch.
    log : bool
        Whether the losses are on a logarithmic scale.
    title, xlabel, ylabel : str
        What is written on the picture.
    ax : matplotlib Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("loss.png")` writes it to a file.

    Raises
    ------
    ValueError
        If there are no losses, or they aren't one number each.
    ImportError
        If matplotlib isn't installed.

    Examples
    --------
    >>> from microgradnd import viz
    >>> figure = viz.plot_history({"training": [3.0, 1.0, 0.5], "validation": {1: 3.2, 3: 0.9}}, log=True)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['training', 'validation']
    """
    series = _by_name(losses)
    drawn = {
        name: _series(values, f"plot_history: the losses {name!r}" if name else "plot_history: the losses")
        for name, values in series.items()
    }
    figure, ax = canvas(ax, title, xlabel, ylabel)
    if log:
        ax.set_yscale("log")
    for i, (name, (steps, values)) in enumerate(drawn.items()):
        sparse = isinstance(series[name], Mapping) or len(steps) == 1
        style = {"marker": "o", "linewidth": 0.8} if sparse else {}
        line(ax, steps, values, log, name, xlabel, color=colour(i), linestyle=dash(i), **style)
    whole_numbers(ax, [steps for steps, _ in drawn.values()])
    legend(figure, ax)
    return figure


def _by_name(losses: Any) -> dict[str, Any]:
    """Return the curves by name; a single one that has none goes by the empty name."""
    if not isinstance(losses, Mapping):
        return {"": losses}
    if not losses:
        raise ValueError("plot_history: the mapping is empty; it must hold the losses of at least one step")
    if all(isinstance(key, str) for key in losses):
        return dict(losses)
    return {"": losses}


def _series(values: Any, what: str) -> tuple[Array, Array]:
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
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be real numbers, one for each step, got {values!r:.40}") from error
    if numbers.ndim != 1 or steps.shape != numbers.shape:
        raise ValueError(f"{what} must be one number for each step, of shape (n,), got shape {numbers.shape}")
    if not numbers.size:
        raise ValueError(f"{what} are empty; there must be at least one number to plot")
    return steps, numbers
