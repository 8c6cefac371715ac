"""Observations of one variable, and what was fitted to them.

Owns: `plot_fit`.
Must not own: the fit itself.
Read next: `canvas.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.modes import no_grad
from microgradnd.tensor import Tensor
from microgradnd.viz.plots.canvas import COLOURS, GREY, ORANGE, Array, canvas, legend, line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 500  # points: more are small and let others show through
GRID = 400  # points of a curve that is drawn from a function


@explained
def plot_fit(
    x: Any,
    y: Any = None,
    fitted: Any = None,
    *,
    truth: Any = None,
    title: str | None = None,
    xlabel: str = "x",
    ylabel: str = "y",
    ax: Axes | None = None,
) -> Figure:
    """Plot observations of one variable, what was fitted to them and, where it is known, the truth.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, 1)
        Where the observations are.
    y : array_like, shape (n,) or (n, 1), optional
        The observations.
    fitted : callable, array_like of n numbers, or mapping of str to either; optional
        A function or a module is drawn as a curve over the range of `x`: it is called once, under `no_grad()`, with
        400 numbers in a column, shape (400, 1), if `x` is a column, and else of shape (400,). An array holds the
        values at `x`.
    truth : callable or array_like, optional
        What the observations scatter around, in the same form.
    title, xlabel, ylabel : str
        What is written on the picture.
    ax : matplotlib Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("fit.png")` writes it to a file.

    Raises
    ------
    ValueError
        If the shapes don't agree.
    ImportError
        If matplotlib isn't installed.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn, viz
    >>> x = np.linspace(-5, 5, 20)[:, None]
    >>> figure = viz.plot_fit(x, np.sin(x), {"before training": nn.Linear(1, 1)}, truth=np.sin)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['truth', 'observed', 'before training']
    """
    x = np.asarray(x.data if isinstance(x, Tensor) else x)
    places = _column(x, "x")
    if not places.size or not np.all(np.isfinite(places)):
        raise ValueError(
            f"plot_fit: x must be finite numbers, at least one, got {places.size} numbers, some not finite"
        )
    low, high = float(places.min()), float(places.max())
    margin = 0.0 if high > low else 0.5
    dtype = x.dtype if x.dtype.kind == "f" else np.float64
    grid = np.linspace(low - margin, high + margin, GRID).astype(dtype)

    def curve(source: Any, what: str) -> tuple[Array, Array]:
        if callable(source):
            with no_grad():
                values = _column(source(grid[:, None] if x.ndim == 2 else grid), f"the result of {what}")
            return grid, _as_many(values, grid, f"the result of {what}")
        order = np.argsort(places, kind="stable")
        return places[order], _as_many(_column(source, what), places, what)[order]

    curves: dict[str, Any] = {"truth": truth} if truth is not None else {}
    fits = dict(fitted) if isinstance(fitted, Mapping) else {"fitted": fitted} if fitted is not None else {}
    lines = {name: curve(source, name) for name, source in (curves | fits).items()}
    observed = None if y is None else _as_many(_column(y, "y"), places, "y")

    with canvas(ax, title, xlabel, ylabel) as (figure, ax):
        if truth is not None:
            line(ax, *lines["truth"], False, "truth", xlabel, color=GREY, linestyle="--")
        if observed is not None:
            dots: dict[str, Any] = {"color": ORANGE, "linestyle": "", "marker": "o"}
            line(ax, places, observed, False, "observed", xlabel, **dots | _dots(places.size))
        for name, (colour, dash) in zip(fits, _fit_styles(len(fits)), strict=True):
            line(ax, *lines[name], False, name, xlabel, color=colour, linestyle=dash)
        legend(figure, ax)
    return figure


def _dots(count: int) -> dict[str, Any]:
    """Return how so many points are drawn, so that where they are dense can be seen, and the file stays small."""
    if count <= MANY:
        return {}
    return {"markersize": 2.5, "markeredgewidth": 0, "alpha": max(MANY / count, 0.03) ** 0.5, "rasterized": True}


def _fit_styles(count: int) -> list[tuple[str, Any]]:
    colours = [colour for colour in COLOURS if colour not in (ORANGE, GREY)]  # those of the observations and the truth
    return [(colours[i % len(colours)], ("-", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))[i % 4]) for i in range(count)]


def _column(values: Any, what: str) -> Array:
    """Return numbers of shape (n,) or (n, 1) with shape (n,)."""
    array = np.asarray(values.data if isinstance(values, Tensor) else values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"plot_fit: {what} must be real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
        raise ValueError(f"plot_fit: {what} must have shape (n,) or (n, 1), one variable, got shape {array.shape}")
    return array.astype(np.float64).reshape(-1)


def _as_many(values: Array, places: Array, what: str) -> Array:
    if values.shape != places.shape:
        raise ValueError(f"plot_fit: {what} must be {places.size} numbers, as many as x has, got {values.size}")
    return values
