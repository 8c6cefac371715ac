"""The loss over a plane in the space of the parameters, and the path that training took on it.

Owns: `plot_surface`.
Must not own: the training that is shown.
Read next: `canvas.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.modes import no_grad
from microgradnd.nn import Module
from microgradnd.tensor import Tensor, tensor
from microgradnd.trees import flatten
from microgradnd.viz.plots.canvas import LARGEST, RED, SURFACE, Array, canvas, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = 6  # steps of the path that have their numbers beside them, about


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
    Loss Landscape of Neural Nets, 2018). Of a path that leaves the plane, the shadow on it is drawn; it has arrows, and
    the numbers of some steps. Where the loss
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

    labels = (name or given for name, given in zip((xlabel, ylabel), default, strict=True))
    with canvas(ax, title, *labels) as (figure, ax):
        ax.grid(False)
        _contours(figure, ax, across, up, heights, log)
        if len(points):
            _path(ax, coordinates)
        ax.set(xlim=(x0, x1), ylim=(y0, y1))
        legend(figure, ax)
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


def _round(count: float) -> int:
    """Return the least of 1, 2, 5, 10, 20, ... that isn't less."""
    power = 10 ** max(math.ceil(math.log10(count)) - 1, 0) if count > 1 else 1
    return int(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= count))


def _path(ax: Axes, coordinates: Array) -> None:
    """Draw the path, with the numbers of some steps and the direction that it has there."""
    from matplotlib import patheffects

    whole = np.flatnonzero(np.all(np.isfinite(coordinates), axis=1))
    if not len(whole):
        return
    halo = [patheffects.withStroke(linewidth=3.5, foreground="black")]
    x, y = coordinates.T
    lost = f", lost after step {whole[-1]}: not finite" if whole[-1] < len(coordinates) - 1 else ""
    dots = "o" if len(coordinates) <= 80 else ""
    every = _round(len(whole) / MARKS)
    size = np.ptp(coordinates[whole], axis=0).max() or 1.0
    marked = np.full((1, 2), np.inf)
    for step in whole[whole > 0]:
        move = coordinates[step] - coordinates[step - 1]
        nearest = np.min(np.linalg.norm(marked - coordinates[step], axis=1))
        if step % every or not np.all(np.isfinite(move)) or nearest < 0.06 * size:
            continue
        marked = np.vstack([marked, coordinates[step]])
        if np.any(move):
            arrow = {"arrowstyle": "-|>", "color": "white", "mutation_scale": 20, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", coordinates[step], coordinates[step - 1], arrowprops=arrow | {"path_effects": halo})
        text = [patheffects.withStroke(linewidth=2.5, foreground="black")]
        place: dict[str, Any] = {"xytext": (6, 6), "textcoords": "offset points", "path_effects": text}
        ax.annotate(str(step), coordinates[step], color="white", fontsize=8, **place)
    ax.plot(x, y, color="white", marker=dots, markersize=3, path_effects=halo, label=f"path of descent{lost}")
    edge: dict[str, Any] = {"color": "white", "markeredgecolor": "black", "linestyle": "", "zorder": 5}
    ax.plot(x[whole[0]], y[whole[0]], marker="s", markersize=8, label="start", **edge)
    ax.plot(x[whole[-1]], y[whole[-1]], marker="*", markersize=14, label="end", **edge)
