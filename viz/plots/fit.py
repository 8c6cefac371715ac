"""Observations of one variable, and fits to them.

Owns: `plot_fit`.
Must not own: the fit itself.
Read next: `canvas.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.modes import no_grad
from microgradnd.viz.plots.canvas import GREY, LOOKS, ORANGE, Array, array_of, canvas, legend, line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 500  # points; more are drawn small and translucent
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
    """Plot observations of one variable, fits to them, and the truth if known.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, 1)
        The places of the observations.
    y : array_like, shape (n,) or (n, 1), optional
        The observations.
    fitted : callable, array_like of n numbers, or mapping of str to either; optional
        A function or a module is drawn as a curve over the range of `x`. It is called
        once, under `no_grad()`, with 400 numbers: a column of shape (400, 1) if `x` is
        a column, else shape (400,). An array holds the values at `x`.
    truth : callable or array_like, optional
        The function behind the noisy observations, in the same form.
    title, xlabel, ylabel : str
        The texts of the picture.
    ax : matplotlib Axes, optional
        Where to draw; by default on a new figure.

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

    See Also
    --------
    plot_history : the losses on the way.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn, viz
    >>> x = np.linspace(-5, 5, 20)[:, None]
    >>> fits = {"before training": nn.Linear(1, 1)}
    >>> figure = viz.plot_fit(x, np.sin(x), fits, truth=np.sin)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['truth', 'observed', 'before training']
    """
    x = array_of(x)
    places = _column(x, "x")
    if not places.size or not np.all(np.isfinite(places)):
        raise ValueError(
            f"plot_fit: x must hold at least one number, all finite, got {places.size} numbers, of which "
            f"{np.count_nonzero(~np.isfinite(places))} aren't finite"
        )
    low, high = float(places.min()), float(places.max())
    margin = 0.0 if high > low else 0.5
    dtype = x.dtype if x.dtype.kind == "f" else np.float64
    grid = np.linspace(low - margin, high + margin, GRID).astype(dtype)

    def curve(source: Any, what: str) -> tuple[Array, Array]:
        if callable(source):
            with no_grad():
                values = source(grid[:, None] if x.ndim == 2 else grid)
            return grid, _column(values, f"the result of {what}", grid.size)
        order = np.argsort(places, kind="stable")
        return places[order], _column(source, what, places.size)[order]

    fits = fitted if isinstance(fitted, Mapping) else {} if fitted is None else {"fitted": fitted}
    curves = {name: curve(source, name) for name, source in fits.items()}
    true = None if truth is None else curve(truth, "truth")
    observed = None if y is None else _column(y, "y", places.size)
    dots: dict[str, Any] = {"color": ORANGE, "linestyle": "", "marker": "o"}
    if places.size > MANY:  # dense places show, and the file stays small
        alpha = max(MANY / places.size, 0.03) ** 0.5
        dots |= {"markersize": 2.5, "markeredgewidth": 0, "alpha": alpha, "rasterized": True}
    looks = itertools.cycle(look for look in LOOKS if look["color"] not in (ORANGE, GREY))
    with canvas(ax, title, xlabel, ylabel) as (figure, ax):
        if true is not None:
            line(ax, *true, False, "truth", xlabel, color=GREY, linestyle="--")
        if observed is not None:
            line(ax, places, observed, False, "observed", xlabel, **dots)
        for (name, points), look in zip(curves.items(), looks, strict=False):
            line(ax, *points, False, name, xlabel, **look)
        legend(figure, ax)
    return figure


def _column(values: Any, what: str, count: int | None = None) -> Array:
    """Return numbers of shape (n,) or (n, 1) with shape (n,), or raise."""
    array = array_of(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"plot_fit: {what} must be real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
        raise ValueError(f"plot_fit: {what} must have shape (n,) or (n, 1), one variable, got shape {array.shape}")
    if count is not None and array.size != count:
        raise ValueError(f"plot_fit: {what} must be {count} numbers, as many as x has, got {array.size}")
    return array.astype(np.float64).reshape(-1)
