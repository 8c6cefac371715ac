"""Gradient norms over the steps of training: lines, or a map if there are many.

Owns: `gradient_norms` and `plot_gradients`.
Must not own: the training itself.
Read next: `canvas.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.nn import Module
from microgradnd.tensor import Tensor
from microgradnd.viz.plots.canvas import (
    GREY,
    LARGEST,
    RED,
    SURFACE,
    Array,
    canvas,
    legend,
    lines,
    log_ticks,
    plain,
    whole_numbers,
)
from microgradnd.viz.plots.history import steps_and_numbers
from microgradnd.viz.values import values_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 8  # more gradients are a map
MOST_COLUMNS, MOST_ROWS = 500, 100  # of a map; of more rows, only some are named


@explained
def gradient_norms(parameters: Any) -> dict[str, float | None]:
    """Return the norm of each parameter's gradient, for `plot_gradients`.

    Parameters
    ----------
    parameters : module or iterable of Tensors

    Returns
    -------
    dict of str to float or None
        The norm by parameter name; None if there is no gradient.

    See Also
    --------
    plot_gradients : draws them.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> w = mg.tensor([3.0, 4.0], requires_grad=True, name="w")
    >>> b = mg.tensor(0.0, requires_grad=True, name="b")
    >>> (w**2).sum().backward()
    >>> viz.gradient_norms([w, b])
    {'w': 10.0, 'b': None}
    """
    if isinstance(parameters, Module):
        named = list(parameters.named_parameters())
    else:
        tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if wrong := [p for p in tensors if not isinstance(p, Tensor)]:
            raise TypeError(
                f"gradient_norms takes a module or its parameters, got a {type(wrong[0]).__name__}; pass model, or "
                f"model.parameters()"
            )
        names = [t.name or f"parameter {i}" for i, t in enumerate(tensors)]
        named = [
            (name if names.count(name) == 1 else f"{name} ({i})", t)
            for i, (name, t) in enumerate(zip(names, tensors, strict=True))
        ]
    said = {name: values_of(tensor.grad) for name, tensor in named}
    return {name: None if values is None else values.norm for name, values in said.items()}


@explained
def plot_gradients(
    norms: Any,
    *,
    title: str | None = None,
    xlabel: str = "step",
    ylabel: str = "norm of the gradient",
    ax: Axes | None = None,
) -> Figure:
    """Plot the norm of each parameter's gradient over the steps of training.

    The scale is logarithmic. Up to 8 parameters are lines; more are the rows of a map,
    in which a dark row learns little. Norms that are 0, NaN or infinite are marked.

    Parameters
    ----------
    norms : sequence of dict, or mapping of str to sequence of float
        The result of `gradient_norms` after each step; or the norms of each parameter,
        by name. None stands for a missing gradient.
    title, xlabel, ylabel : str
        The texts of the picture.
    ax : matplotlib Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("gradients.png")` writes it to a
        file.

    Raises
    ------
    ValueError
        If there are no norms, or one is negative.
    ImportError
        If matplotlib isn't installed.

    See Also
    --------
    gradient_norms : measures them. plot_monitor : histograms of layers.

    Examples
    --------
    >>> from microgradnd import viz
    >>> figure = viz.plot_gradients([{"w": 3.0, "b": 0.5}, {"w": 1.0, "b": 0.2}])
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['w', 'b']
    """
    table = _table_of_norms(norms)
    with canvas(ax, title, xlabel, ylabel) as (figure, ax):
        if len(table) > MOST_LINES:
            _norm_map(figure, ax, table, ylabel)
        else:
            ax.set_yscale("log")
            lines(figure, ax, {name: norms.tolist() for name, norms in table.items()}, "no gradient")
            log_ticks(ax.yaxis)
    return figure


def _table_of_norms(norms: Any) -> dict[str, np.ma.MaskedArray[Any, Any]]:
    """Return each parameter's norms, shape (steps,), masked without a gradient."""
    if isinstance(norms, Mapping):
        columns = {str(name): list(np.atleast_1d(values)) for name, values in norms.items()}
    else:
        rows = list(norms)
        if wrong := [row for row in rows if not isinstance(row, Mapping)]:
            raise ValueError(
                f"plot_gradients takes a list of the dicts that viz.gradient_norms(model) returned after each step, "
                f"got one of {type(wrong[0]).__name__}"
            )
        columns = {str(name): [row.get(name) for row in rows] for name in dict.fromkeys(n for row in rows for n in row)}
    longest = max((len(values) for values in columns.values()), default=0)
    if not longest:
        raise ValueError("plot_gradients: there are no norms to plot; pass viz.gradient_norms(model) of each step")
    table = {}
    for name, values in columns.items():
        given = [0.0 if value is None else value for value in values]
        _, numbers = steps_and_numbers(given, f"plot_gradients: the norms of {name!r}")
        if numbers.size != longest:
            raise ValueError(f"plot_gradients: {name!r} has {numbers.size} norms where another parameter has {longest}")
        if np.any(numbers < 0):
            raise ValueError(f"plot_gradients: a norm of {name!r} is negative ({numbers.min():.4g})")
        table[name] = np.ma.MaskedArray(numbers, [value is None for value in values])
    return table


def _norm_map(figure: Figure, ax: Axes, table: dict[str, np.ma.MaskedArray[Any, Any]], label: str) -> None:
    from matplotlib import collections, colors, patches

    norms = np.ma.stack(list(table.values()))
    count = norms.shape[1]
    edges = np.unique(np.linspace(0, count, min(count, MOST_COLUMNS) + 1).astype(int))[:-1]
    missing = np.logical_and.reduceat(np.ma.getmaskarray(norms), edges, axis=1)
    cells = np.maximum.reduceat(norms.filled(0), edges, axis=1)  # NaN wins
    bad, zero = ~(cells <= LARGEST), (cells == 0) & ~missing
    is_huge = bool(np.isfinite(cells[bad]).any())
    good = np.ma.masked_where(bad | zero | missing, cells)
    ax.grid(False)
    ax.set_ylabel("")  # the colour bar says it
    names = [plain(name) for name in table]
    every = -(-len(names) // MOST_ROWS)
    ax.set_yticks(range(0, len(names), every), names[::every], fontsize=8 if len(names) <= 24 else 6)
    if figure.axes == [ax]:  # our own figure may grow
        figure.set_figheight(max(figure.get_figheight(), 0.11 * min(len(names), MOST_ROWS) + 1.2))
    place = (0.5, count + 0.5, len(table) - 0.5, -0.5)
    if good.count():
        low = max(float(good.min()), 1 / LARGEST)  # a colour bar can't show less
        scale = colors.LogNorm(low, max(float(good.max()), 2 * low))
        image = ax.imshow(good, aspect="auto", interpolation="none", extent=place, norm=scale, cmap=SURFACE)
        figure.colorbar(image, ax=ax, label=label, extend="min" if good.min() < low else "neither")
    handles: list[Artist] = []
    for where, ink, hatch, text in (
        (zero, GREY, None, "0"),
        (bad, RED, "xxxxx", "NaN or Inf" + f", or over {LARGEST:g}" * is_huge),
        (missing, GREY, "////", "no gradient"),
    ):
        look: dict[str, Any] = {"facecolor": "white", "edgecolor": ink, "hatch": hatch, "linewidth": 0.8}
        if where.any():
            boxes = [patches.Rectangle((x0, row - 0.5), x1 - x0, 1) for row, x0, x1 in _runs(where, edges, count)]
            ax.add_collection(collections.PatchCollection(boxes, label=text, **look))
            handles.append(patches.Patch(label=text, **look))
    ax.set(xlim=place[:2], ylim=place[2:])
    whole_numbers(ax)
    legend(figure, ax, handles)


def _runs(where: Array, edges: Array, count: int) -> Iterator[tuple[int, float, float]]:
    """Yield the runs of True in a map: the row, the start and the end."""
    ends = np.append(edges, count) + 0.5
    for row, marked in enumerate(where):
        starts = np.flatnonzero(np.diff(marked, prepend=False, append=False)).reshape(-1, 2)
        yield from ((row, float(ends[i]), float(ends[j])) for i, j in starts)
