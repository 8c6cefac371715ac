"""Pictures of training: losses, fits, surfaces of the loss, norms of the gradients.

Owns: the plots, which are matplotlib figures, and their style.
Must not own: pictures of a computation (`dot.py`), or the training that is shown.
Read next: `render.py`.

No state of pyplot is made or changed: a figure belongs to whoever asked for it, needs no display and is freed with its
last name. Numbers that can't be drawn to scale, such as a loss that is NaN, are marked at the edge of the picture.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from microgradnd.failures import explained
from microgradnd.modes import no_grad
from microgradnd.nn import Module
from microgradnd.tensor import Tensor, tensor
from microgradnd.trees import flatten
from microgradnd.viz.values import values_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

INSTALL = 'pip install "microgradnd[viz]"'

# From the palette of Okabe and Ito, which the colour-blind can tell apart; in grey, the dashes tell them apart
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#666666",
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY, "black")  # red is for what went wrong
DASHES = ("-", "--", "-.", ":")
SURFACE = "cividis"  # equal to the colour-blind and, from dark to light, in grey
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
LINE = {"linewidth": 1.8, "markersize": 5}
PIXELS = 96  # per inch, in a notebook

MOST_POINTS = 4000  # of one line; more can't be seen
MOST_LINES = 8  # more gradients than these are a map
MOST_COLUMNS, MOST_ROWS = 500, 100  # of a map; of more rows, only some have their names beside them
GRID = 400  # points of a curve that is drawn from a function
LONGEST_NAME, MOST_LABELS = 60, 16  # characters; names below one another
LARGEST = 1e300  # matplotlib's own arithmetic overflows beyond


# Losses


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
    figure, ax = _canvas(ax, title, xlabel, ylabel)
    if log:
        ax.set_yscale("log")
    for i, (name, (steps, values)) in enumerate(drawn.items()):
        sparse = isinstance(series[name], Mapping) or len(steps) == 1
        style = {"marker": "o", "linewidth": 0.8} if sparse else {}
        _line(ax, steps, values, log, name, xlabel, color=_colour(i), linestyle=_dash(i), **style)
    _whole_numbers(ax, [steps for steps, _ in drawn.values()])
    _legend(figure, ax)
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


# Fits


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

    figure, ax = _canvas(ax, title, xlabel, ylabel)
    if truth is not None:
        _line(ax, *lines["truth"], False, "truth", xlabel, color=GREY, linestyle="--")
    if observed is not None:
        _line(ax, places, observed, False, "observed", xlabel, color=ORANGE, linestyle="", marker="o")
    for name, (colour, dash) in zip(fits, _fit_styles(len(fits)), strict=True):
        _line(ax, *lines[name], False, name, xlabel, color=colour, linestyle=dash)
    _legend(figure, ax)
    return figure


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


# The surface of a loss


@explained
def plot_surface(
    loss: Callable[[Any], Any],
    path: Any = None,
    *,
    at: Any = None,
    directions: tuple[Any, Any] | None = None,
    extent: tuple[tuple[float, float], tuple[float, float]] | None = None,
    steps: int = 51,
    log: bool = False,
    rng: np.random.Generator | None = None,
    title: str | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot the loss over two parameters or along two directions, with the path that gradient descent took on it.

    A model of two parameters is seen whole. Of a larger one a plane is seen, `at + a * directions[0] + b *
    directions[1]`: by default the plane in which the path moves most (its first two principal components), or without
    a path one along two random directions, each parameter's as long as the parameter is (Li et al., Visualizing the
    Loss Landscape of Neural Nets, 2018). Of a path that leaves the plane, the shadow on it is drawn. Where the loss
    isn't finite, the surface is hatched.

    Parameters
    ----------
    loss : callable
        Takes the parameters and returns one real number. It is called `steps` squared times, under `no_grad()`.
    path : sequence, optional
        The parameters before training and after each step: arrays, or tuples, lists or dicts of them; of a module its
        `state_dict()`s.
    at : array, Tensor, module, or a structure of them, optional
        Parameters in the middle of the plane; by default the last of the path. It is needed for a module, in whose
        form `loss` then gets the parameters, and where there is no path.
    directions : tuple of two, optional
        In the structure of the parameters.
    extent : ((float, float), (float, float)), optional
        From where to where the axes run: values of two parameters, else multiples of the directions. By default so far
        that the path is in the picture.
    steps : int
        How many values of the loss each axis gets.
    log : bool
        Whether colours and contours follow the logarithm of the loss; else they stand closer where it is low.
    rng : numpy Generator, optional
        What random directions are drawn with; needed only for these.
    title, xlabel, ylabel : str, optional
        What is written on the picture.
    ax : matplotlib Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("surface.png")` writes it to a file.

    Raises
    ------
    ValueError
        If neither a path nor a place is given, structures or shapes don't agree, or the loss isn't one number.
    ImportError
        If matplotlib isn't installed.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> def loss(w):
    ...     return (w[0] - 1) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2
    >>> path = [np.array([-1.0, 1.0])]
    >>> for _ in range(50):
    ...     path.append(path[-1] - 0.01 * mg.grad(loss)(path[-1]))
    >>> figure = viz.plot_surface(loss, path, log=True)
    >>> figure.axes[0].get_xlabel(), figure.axes[1].get_ylabel()
    ('parameter 0', 'loss')
    """
    if steps < 2:
        raise ValueError(f"plot_surface: steps must be at least 2 to make a surface, got {steps}")
    points = [] if path is None else list(path)
    if at is None:
        if not points:
            raise ValueError("plot_surface needs a path, or at=, the parameters in the middle of the picture")
        at = next((point for point in reversed(points) if _is_finite(point)), points[-1])
    leaves, form = flatten(at)
    shapes = [np.shape(leaf.data if isinstance(leaf, Tensor) else leaf) for leaf in leaves]
    middle = _vector(at, shapes, at, "at")
    track = np.array([_vector(point, shapes, at, "the path") for point in points]).reshape(len(points), middle.size)
    names = [xlabel, ylabel]
    if middle.size == 2 and directions is None:
        plane, middle = np.eye(2), np.zeros(2)
        default = ["parameter 0", "parameter 1"]
    else:
        plane, default = _plane(middle, track, directions, shapes, at, rng)
    onto = np.linalg.pinv(plane)
    with np.errstate(invalid="ignore"):  # a path may end at infinity
        coordinates, here = (track - middle) @ onto, (_vector(at, shapes, at, "at") - middle) @ onto
    (x0, x1), (y0, y1) = _extent(coordinates, here) if extent is None else extent
    across, up = np.linspace(x0, x1, steps), np.linspace(y0, y1, steps)

    def value(a: float, b: float) -> float:
        vector = middle + a * plane[0] + b * plane[1]
        return _number(loss(form.rebuild(_parts(vector, leaves, shapes))))

    with no_grad(), np.errstate(all="ignore"):  # what overflows out there is hatched
        heights = np.array([[value(a, b) for a in across] for b in up])

    figure, ax = _canvas(ax, title, *(name or given for name, given in zip(names, default, strict=True)))
    ax.grid(False)
    _contours(figure, ax, across, up, heights, log)
    if len(points):
        _path(ax, coordinates)
    ax.set(xlim=(x0, x1), ylim=(y0, y1))
    _legend(figure, ax)
    return figure


def _is_finite(tree: Any) -> bool:
    return all(np.all(np.isfinite(leaf.data if isinstance(leaf, Tensor) else leaf)) for leaf in flatten(tree)[0])


def _vector(tree: Any, shapes: Sequence[tuple[int, ...]], like: Any, what: str) -> Array:
    """Return the parameters one after the other, shape (d,), or raise if they haven't the structure of `like`."""
    if isinstance(tree, Mapping) and isinstance(like, Module | Mapping):  # by name: the order may differ
        names = [name for name, _ in like.named_parameters()] if isinstance(like, Module) else list(like)
        if missing := [str(name) for name in names if name not in tree]:
            raise ValueError(f"plot_surface: {what} lacks the parameters {', '.join(missing)}")
        tree = [tree[name] for name in names]
    found = [np.asarray(leaf.data if isinstance(leaf, Tensor) else leaf) for leaf in flatten(tree)[0]]
    if [array.shape for array in found] != list(shapes):
        raise ValueError(
            f"plot_surface: {what} must hold arrays of the shapes of the parameters, {list(shapes)}, "
            f"got {[array.shape for array in found]}"
        )
    if any(array.dtype.kind not in "biuf" for array in found):
        raise ValueError(f"plot_surface: {what} must hold real numbers, got {[str(array.dtype) for array in found]}")
    return np.concatenate([np.zeros(0), *(array.astype(np.float64).reshape(-1) for array in found)])


def _parts(vector: Array, leaves: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Return the parameters in a vector, each of the type and dtype of its leaf."""
    parts: list[Any] = []
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    for leaf, shape, array in zip(leaves, shapes, np.split(vector, ends[:-1]), strict=True):
        dtype = leaf.dtype if getattr(leaf, "dtype", np.dtype(int)).kind == "f" else np.float64
        part = array.reshape(shape).astype(dtype)
        parts.append(tensor(part, name=leaf.name) if isinstance(leaf, Tensor) else part)
    return parts


def _number(value: Any) -> float:
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"plot_surface: the loss must be one real number, got {array.dtype} of shape {array.shape}")
    return float(array.reshape(()))


def _plane(
    middle: Array,
    track: Array,
    directions: tuple[Any, Any] | None,
    shapes: Sequence[tuple[int, ...]],
    like: Any,
    rng: np.random.Generator | None,
) -> tuple[Array, list[str]]:
    """Return two directions in the space of the parameters, shape (2, d), and what to call them."""
    if middle.size < 2:
        raise ValueError(f"plot_surface needs at least two parameters, got {middle.size}")
    if directions is not None:
        if len(directions) != 2:
            raise ValueError(f"plot_surface: directions must be two sets of parameters, got {len(directions)}")
        plane = np.array([_vector(direction, shapes, like, "a direction") for direction in directions])
        if np.linalg.matrix_rank(plane) < 2:
            raise ValueError("plot_surface: the two directions span no plane: they are parallel, or one is zero")
        return plane, ["direction 0", "direction 1"]
    moved = track[np.all(np.isfinite(track), axis=1)] - middle
    if len(moved) > 1 and not np.any(moved):
        raise ValueError("plot_surface: the path doesn't move; append copies to it, such as model.state_dict()")
    if len(moved) and np.linalg.matrix_rank(moved) >= 2:
        _, spread, axes = np.linalg.svd(moved, full_matrices=False)
        share = spread**2 / np.sum(spread**2)
        return axes[:2], [f"direction {i}: {share[i]:.0%} of the path's variation" for i in range(2)]
    if rng is None:
        raise ValueError(
            "plot_surface: the path moves in fewer than two directions, which span no plane; pass "
            "directions=(a, b), or rng=np.random.default_rng(0) for two random ones"
        )
    rows = []
    for _ in range(2):
        parts = [rng.standard_normal(math.prod(shape)) for shape in shapes]
        sizes = np.split(middle, np.cumsum([part.size for part in parts])[:-1])
        rows.append(
            np.concatenate(
                [
                    part * (np.linalg.norm(size) / (np.linalg.norm(part) or 1))
                    for part, size in zip(parts, sizes, strict=True)
                ]
            )
        )
    plane = np.array(rows)
    if np.linalg.matrix_rank(plane) < 2:  # all parameters are zero
        plane = rng.standard_normal(plane.shape)
    return plane, ["random direction 0", "random direction 1"]


def _extent(coordinates: Array, here: Array) -> list[tuple[float, float]]:
    """Return from where to where the axes run: over the path, with a margin; around one point, one unit each way."""
    shown = np.vstack([coordinates[np.all(np.isfinite(coordinates), axis=1)], here])
    low, high = shown.min(axis=0), shown.max(axis=0)
    widest = float(np.max(high - low))
    half = np.maximum(high - low, 0.3 * widest) * 0.625 if widest else np.ones(2)
    centre = (low + high) / 2
    return [(float(c - h), float(c + h)) for c, h in zip(centre, half, strict=True)]


def _contours(figure: Figure, ax: Axes, across: Array, up: Array, heights: Array, log: bool) -> None:
    from matplotlib import colors, patches, ticker

    shown = np.ma.masked_where(~(np.abs(heights) <= LARGEST), heights)
    if np.ma.is_masked(shown):
        ax.set_facecolor("white")
        corner, width, height = (across[0], up[0]), across[-1] - across[0], up[-1] - up[0]
        hatched = patches.Rectangle(
            corner, width, height, fill=False, hatch="xxx", edgecolor=RED, linewidth=0, zorder=0
        )
        hatched.set_label(
            "loss is not finite" + f", or over {LARGEST:g}" * bool(np.isfinite(shown.data[shown.mask]).any())
        )
        ax.add_patch(hatched)
    if not shown.count():
        return
    low, high = float(shown.min()), float(shown.max())
    if log and low <= 0:
        raise ValueError(f"plot_surface: a loss of {low:.4g} has no logarithm; use log=False")
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    # Of a bowl, contours at squares are as far apart everywhere
    levels = np.geomspace(low, high, 17) if log else low + (high - low) * np.linspace(0, 1, 17) ** 2
    norm = colors.LogNorm(low, high) if log else colors.PowerNorm(0.5, low, high)
    filled = ax.contourf(across, up, shown, levels=levels, norm=norm, cmap=SURFACE)
    ax.contour(across, up, shown, levels=levels, colors="white", linewidths=0.6, linestyles="solid", alpha=0.6)
    bar = figure.colorbar(filled, ax=ax, label="loss", ticks=levels[::2])
    bar.ax.yaxis.set_major_formatter(
        ticker.FuncFormatter(lambda value, _: f"{value:.{3 if abs(value) < 1000 else 4}g}".replace("-", "−"))
    )
    bar.ax.minorticks_off()


def _path(ax: Axes, coordinates: Array) -> None:
    from matplotlib import patheffects

    whole = np.flatnonzero(np.all(np.isfinite(coordinates), axis=1))
    if not len(whole):
        return
    halo = [patheffects.withStroke(linewidth=3.5, foreground="black")]
    x, y = coordinates.T
    lost = f", lost after step {whole[-1]}: not finite" if whole[-1] < len(coordinates) - 1 else ""
    dots = "o" if len(coordinates) <= 80 else ""
    ax.plot(x, y, color="white", marker=dots, markersize=3, path_effects=halo, label=f"path of descent{lost}")
    edge: dict[str, Any] = {"color": "white", "markeredgecolor": "black", "linestyle": "", "zorder": 5}
    ax.plot(x[whole[0]], y[whole[0]], marker="s", markersize=8, label="start", **edge)
    ax.plot(x[whole[-1]], y[whole[-1]], marker="*", markersize=14, label="end", **edge)


# Gradients


@explained
def gradient_norms(parameters: Any) -> dict[str, float | None]:
    """Return the norm of each parameter's gradient, to be collected step by step for `plot_gradients`.

    Parameters
    ----------
    parameters : module or iterable of Tensors

    Returns
    -------
    dict of str to float or None
        By the names of the parameters; the root of the sum of the gradient's squares, None where there is none.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> w, b = mg.tensor([3.0, 4.0], requires_grad=True, name="w"), mg.tensor(0.0, requires_grad=True, name="b")
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
    """Plot the norms of the gradients, parameter by parameter, over the steps of training, on a logarithmic scale.

    Up to 8 parameters are lines; more are the rows of a map, where a row that stays dark learns little. Norms that are
    0, NaN or infinite are marked.

    Parameters
    ----------
    norms : sequence of dict, or mapping of str to sequence of float
        What `gradient_norms` returned after each step; or the norms of each parameter by its name. None where there
        was no gradient.
    title, xlabel, ylabel : str
        What is written on the picture.
    ax : matplotlib Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("gradients.png")` writes it to a file.

    Raises
    ------
    ValueError
        If there are no norms, or one is negative.
    ImportError
        If matplotlib isn't installed.

    Examples
    --------
    >>> from microgradnd import viz
    >>> figure = viz.plot_gradients([{"w": 3.0, "b": 0.5}, {"w": 1.0, "b": 0.2}, {"w": 0.3, "b": 0.1}])
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['w', 'b']
    """
    table = _table_of_norms(norms)
    figure, ax = _canvas(ax, title, xlabel, ylabel)
    steps = np.arange(1.0, len(next(iter(table.values()))) + 1)
    if len(table) > MOST_LINES:
        _norm_map(figure, ax, table, ylabel)
        return figure
    ax.set_yscale("log")
    for i, (name, norm) in enumerate(table.items()):
        there = ~np.ma.getmaskarray(norm)
        style: dict[str, Any] = {"color": _colour(i), "linestyle": _dash(i), "marker": "o" if there.sum() == 1 else ""}
        if there.any():
            _line(ax, steps[there], norm.data[there], True, name, xlabel, **style)
        if not there.all():
            ax.plot([], [], label=f"{_plain(name)}: no gradient ({(~there).sum():,} of {there.size:,} times)", **style)
    _whole_numbers(ax, [steps])
    _legend(figure, ax)
    return figure


def _table_of_norms(norms: Any) -> dict[str, np.ma.MaskedArray[Any, Any]]:
    """Return the norms of each parameter, all of shape (steps,), masked where there was no gradient."""
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
        if len(values) != longest:
            raise ValueError(f"plot_gradients: {name!r} has {len(values)} norms where another parameter has {longest}")
        missing = [value is None for value in values]
        try:
            numbers = np.array([0.0 if value is None else float(value) for value in values])
        except (TypeError, ValueError) as error:
            raise ValueError(f"plot_gradients: the norms of {name!r} must be one number for each step") from error
        if np.any(numbers < 0):
            raise ValueError(f"plot_gradients: a norm of {name!r} is negative ({numbers.min():.4g})")
        table[name] = np.ma.MaskedArray(numbers, missing)
    return table


def _norm_map(figure: Figure, ax: Axes, table: dict[str, np.ma.MaskedArray[Any, Any]], label: str) -> None:
    from matplotlib import collections, colors, patches

    norms = np.ma.stack(list(table.values()))
    count = norms.shape[1]
    edges = np.unique(np.linspace(0, count, min(count, MOST_COLUMNS) + 1).astype(int))[:-1]
    missing = np.logical_and.reduceat(np.ma.getmaskarray(norms), edges, axis=1)
    cells = np.maximum.reduceat(norms.filled(0), edges, axis=1)  # NaN wins
    bad, zero = ~np.isfinite(cells), (cells == 0) & ~missing
    good = np.ma.masked_where(bad | zero | missing, cells)
    ax.grid(False)
    ax.set_ylabel("")  # it is said at the scale of colours
    names = [_plain(name) for name in table]
    every = -(-len(names) // MOST_ROWS)
    ax.set_yticks(range(0, len(names), every), names[::every], fontsize=8 if len(names) <= 24 else 6)
    if figure.axes == [ax]:  # it is ours, and may grow
        figure.set_figheight(max(figure.get_figheight(), 0.11 * min(len(names), MOST_ROWS) + 1.2))
    place = (0.5, count + 0.5, len(table) - 0.5, -0.5)
    if good.count():
        scale = colors.LogNorm(float(good.min()), max(float(good.max()), float(good.min()) * (1 + 1e-9)))
        image = ax.imshow(good, aspect="auto", interpolation="none", extent=place, norm=scale, cmap=SURFACE)
        figure.colorbar(image, ax=ax, label=label)
    handles: list[Artist] = []
    for where, colour, hatch, text in (
        (zero, GREY, None, "0"),
        (bad, RED, "xxxxx", "NaN or Inf"),
        (missing, GREY, "////", "no gradient"),
    ):
        look: dict[str, Any] = {"facecolor": "white", "edgecolor": colour, "hatch": hatch, "linewidth": 0.8}
        if where.any():
            boxes = [patches.Rectangle((x0, row - 0.5), x1 - x0, 1) for row, x0, x1 in _runs(where, edges, count)]
            ax.add_collection(collections.PatchCollection(boxes, label=text, **look))
            handles.append(patches.Patch(label=text, **look))
    ax.set(xlim=place[:2], ylim=place[2:])
    _whole_numbers(ax, [np.arange(count)])
    _legend(figure, ax, handles)


def _runs(where: Array, edges: Array, count: int) -> Iterator[tuple[int, float, float]]:
    """Yield the stretches of a map that are True: the row, and from where to where."""
    ends = np.append(edges, count) + 0.5
    for row, line in enumerate(where):
        starts = np.flatnonzero(np.diff(line, prepend=False, append=False)).reshape(-1, 2)
        yield from ((row, float(ends[i]), float(ends[j])) for i, j in starts)


# What the plots share


@functools.cache
def _figure_class() -> Any:
    """Return matplotlib's Figure, with a face for Jupyter; the one it has there needs pyplot."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"plots need the package matplotlib: {INSTALL}") from error

    class Plot(Figure):
        """A figure that shows itself in Jupyter."""

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            data = io.BytesIO()
            self.savefig(data, format="png")
            width, height = self.get_size_inches() * PIXELS
            return data.getvalue(), {"width": round(width), "height": round(height)}

    return Plot


def _canvas(ax: Axes | None, title: str | None, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Return the axes to draw on, of a new figure if there are none, and their figure."""
    if ax is None:
        make = _figure_class()
        from matplotlib import style

        with style.context(["default", STYLE]):
            ax = make().subplots()
    ax.set(title=_plain(title or ""), xlabel=_plain(xlabel), ylabel=_plain(ylabel))
    figure: Any = ax.figure.canvas.figure  # the whole one, if these are in a part of it
    return figure, ax


def _line(ax: Axes, x: Array, y: Array, log: bool, name: str, steps: str, **style: Any) -> None:
    """Draw a line, and mark at the edge what has no place on it."""
    marks = [
        (np.isnan(y), "NaN", "x", 0.97),
        (y == np.inf, "Inf", "^", 0.97),
        (y == -np.inf, "−Inf", "v", 0.03),
        (np.isfinite(y) & (y > LARGEST), f"over {LARGEST:g}", "^", 0.97),
        (np.isfinite(y) & (y < -LARGEST) & (not log), f"under −{LARGEST:g}", "v", 0.03),
        (log & np.isfinite(y) & (y <= 0), "0" if np.all(y[np.isfinite(y)] >= 0) else "0 or less", "v", 0.03),
    ]
    off = np.logical_or.reduce([where for where, *_ in marks])
    shown = np.where(off, np.nan, y)
    kept = _outline(shown)
    ax.plot(x[kept], shown[kept], label=_plain(name) if name else None, **LINE | style)
    for where, what, marker, height in marks:
        if not where.any():
            continue
        at = np.flatnonzero(where)
        first, last = x[at[0]], x[at[-1]]
        told = f"{steps} {first:.4g}" if at.size == 1 else f"{at.size:,} times, {steps} {first:.6g} to {last:.6g}"
        label = f"{_plain(name)}: {what} ({told})" if name else f"{what} ({told})"
        breaks = np.diff(at) > 1
        starts, ends = x[at[np.append(True, breaks)]], x[at[np.append(breaks, True)]]
        look: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": RED, "clip_on": False}
        ax.plot(starts, np.full(starts.size, height), linestyle="", marker=marker, label=label, **look)
        stretches = np.column_stack([starts, ends, np.full(starts.size, np.nan)]).reshape(-1)
        ax.plot(stretches, np.full(stretches.size, height), linewidth=3, label="_", **look)


def _outline(values: Array) -> Array:
    """Return the indices of the points to draw: all, or the least and greatest of each stretch of very many."""
    if values.size <= MOST_POINTS:
        return np.arange(values.size)
    length = -(-2 * values.size // MOST_POINTS)
    padded = np.concatenate([values, np.full(-values.size % length, values[-1])]).reshape(-1, length)
    starts = np.arange(len(padded)) * length
    low = starts + np.argmin(np.where(np.isnan(padded), np.inf, padded), axis=1)
    high = starts + np.argmax(np.where(np.isnan(padded), -np.inf, padded), axis=1)
    return np.unique(np.minimum(np.concatenate([low, high, [0, values.size - 1]]), values.size - 1))


def _legend(figure: Figure, ax: Axes, handles: Sequence[Artist] = ()) -> None:
    """Explain what has a name: on a figure of our own beside the picture, where nothing is covered."""
    handles = list(handles) or ax.get_legend_handles_labels()[0]
    labels = [str(handle.get_label()) for handle in handles]
    if len(labels) < 2 and not any(getattr(handle, "get_color", str)() == RED for handle in handles):
        return
    if figure.axes[0] is not ax or not isinstance(figure, _figure_class()):
        ax.legend(handles, labels)
    elif max(map(len, labels)) <= 20 and len(figure.axes) == 1:
        columns = -(-len(labels) // MOST_LABELS)
        figure.legend(handles, labels, loc="outside right upper", ncols=columns, frameon=False)
    else:
        columns = max(1, min(len(labels), 100 // (max(map(len, labels)) + 6)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _whole_numbers(ax: Axes, steps: Iterable[Array]) -> None:
    from matplotlib import ticker

    if all(np.all(array == np.round(array)) for array in steps):
        ax.xaxis.set_major_locator(ticker.MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def _plain(text: str) -> str:
    """Return a name as matplotlib shows it letter by letter: not taken for mathematics, nor for one to hide."""
    text = " ".join(text.split())
    if len(text) > LONGEST_NAME:
        text = text[: LONGEST_NAME - 1] + "…"
    text = text.replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _dash(i: int) -> str:
    return DASHES[i % len(DASHES)]
