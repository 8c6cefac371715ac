"""The loss over a plane of parameters, and the path of training on it.

Owns: `plot_surface`.
Must not own: the training itself.
Read next: `canvas.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.modes import no_grad
from microgradnd.nn import Module
from microgradnd.tensor import Tensor, tensor
from microgradnd.trees import flatten
from microgradnd.viz.plots.canvas import LARGEST, RED, SURFACE, Array, array_of, canvas, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = 5  # the most intervals between numbered steps of a path


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
    """Plot the loss over two parameters or directions, with the path of training.

    A model of two parameters is shown whole. A larger one is shown on a plane, `at + a
    * directions[0] + b * directions[1]`: by default the plane in which the path moves
    most (its first two principal components), or without a path a plane along two
    random directions, scaled to the norm of each parameter (Li et al., Visualizing the
    Loss Landscape of Neural Nets, 2018). A path is projected onto the plane; it has
    arrows and some step numbers. The surface is hatched where the loss isn't finite.

    Parameters
    ----------
    loss : callable
        A function of the parameters that returns one real number. It is called `steps`
        squared times, under `no_grad()`.
    path : sequence, optional
        The parameters before training and after each step: arrays, or tuples, lists or
        dicts of them; for a module, its `state_dict()`s.
    at : array, Tensor, module, or a structure of them, optional
        The parameters in the middle of the plane; by default the end of the path. A
        module is required if `loss` takes one, and something is required without a
        path.
    directions : tuple of two, optional
        Two directions, structured like the parameters.
    extent : ((float, float), (float, float)), optional
        The ranges of the axes: values of two parameters, or multiples of the
        directions. By default the path fits into them.
    steps : int
        The number of loss values along each axis.
    log : bool
        Whether colours and contours follow the logarithm of the loss; otherwise they
        are denser where it is low.
    rng : numpy Generator, optional
        The generator of random directions; needed only for these.
    title, xlabel, ylabel : str, optional
        The texts of the picture.
    ax : matplotlib Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("surface.png")` writes it to a file.

    Raises
    ------
    ValueError
        If neither a path nor a place is given, structures or shapes don't agree, or the
        loss isn't one number.
    ImportError
        If matplotlib isn't installed.

    See Also
    --------
    plot_history : the losses along the path.

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
        raise ValueError(f"plot_surface: steps, the points along each axis, must be at least 2, got {steps}")
    points = [] if path is None else list(path)
    if at is None:
        if not points:
            raise ValueError("plot_surface needs a path, or at=, the parameters in the middle of the picture")
        at = next((point for point in reversed(points) if _is_finite(point)), points[-1])
    space = _Space(at)
    middle = here = space.vector(at, "at")
    track = np.array([space.vector(point, "the path") for point in points]).reshape(len(points), middle.size)
    if middle.size == 2 and directions is None:
        plane, middle, default = np.eye(2), np.zeros(2), ["parameter 0", "parameter 1"]
    else:
        plane, default = _plane(space, middle, track, directions, rng)
    onto = np.linalg.pinv(plane)
    with np.errstate(invalid="ignore"):  # the end of a path may be infinite
        coordinates, centre = (track - middle) @ onto, (here - middle) @ onto
    (x0, x1), (y0, y1) = _extent(coordinates, centre) if extent is None else extent
    across, up = np.linspace(x0, x1, steps), np.linspace(y0, y1, steps)

    def value(a: float, b: float) -> float:
        return _number(loss(space.parameters(middle + a * plane[0] + b * plane[1])))

    with no_grad(), np.errstate(all="ignore"):  # overflows far out are hatched
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
    return all(np.all(np.isfinite(array_of(leaf))) for leaf in flatten(tree)[0])


class _Space:
    """Parameters as vectors, one after the other.

    Parameters
    ----------
    at : array, Tensor, module, or a structure of them
        An example of the parameters.
    """

    def __init__(self, at: Any) -> None:
        self.leaves, self.form = flatten(at)
        self.shapes = [np.shape(array_of(leaf)) for leaf in self.leaves]
        self.names: list[Any] | None = None  # by which parameters are matched, whatever their order
        if isinstance(at, Module | Mapping):
            self.names = [name for name, _ in at.named_parameters()] if isinstance(at, Module) else list(at)

    def vector(self, tree: Any, what: str) -> Array:
        """Return parameters with shape (d,), or raise if their structure differs."""
        if isinstance(tree, Mapping) and self.names is not None:
            if missing := [str(name) for name in self.names if name not in tree]:
                raise ValueError(f"plot_surface: {what} lacks the parameters {', '.join(missing)}")
            tree = [tree[name] for name in self.names]
        found = [array_of(leaf) for leaf in flatten(tree)[0]]
        if (shapes := [array.shape for array in found]) != self.shapes:
            raise ValueError(
                f"plot_surface: {what} must hold arrays of the shapes of the parameters, {self.shapes}, got {shapes}"
            )
        if any(array.dtype.kind not in "biuf" for array in found):
            dtypes = [str(array.dtype) for array in found]
            raise ValueError(f"plot_surface: {what} must hold real numbers, got {dtypes}")
        return np.concatenate([np.zeros(0), *(array.astype(np.float64).reshape(-1) for array in found)])

    def split(self, vector: Array) -> list[Array]:
        """Return the part of each parameter, a view of shape (size,)."""
        return np.split(vector, np.cumsum([math.prod(shape) for shape in self.shapes])[:-1])

    def parameters(self, vector: Array) -> Any:
        """Return the parameters in a vector, each of the type and dtype of its leaf."""
        parts: list[Any] = []
        for leaf, shape, array in zip(self.leaves, self.shapes, self.split(vector), strict=True):
            dtype = leaf.dtype if getattr(leaf, "dtype", np.dtype(int)).kind == "f" else np.float64
            part = array.reshape(shape).astype(dtype)
            parts.append(tensor(part, name=leaf.name) if isinstance(leaf, Tensor) else part)
        return self.form.rebuild(parts)


def _number(value: Any) -> float:
    array = array_of(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"plot_surface: the loss must be one real number, got {array.dtype} of shape {array.shape}")
    return float(array.reshape(()))


def _plane(
    space: _Space,
    middle: Array,
    track: Array,
    directions: tuple[Any, Any] | None,
    rng: np.random.Generator | None,
) -> tuple[Array, list[str]]:
    """Return two directions of parameters, shape (2, d), and their names."""
    if middle.size < 2:
        raise ValueError(f"plot_surface needs at least two parameters, got {middle.size}")
    if directions is not None:
        if len(directions) != 2:
            raise ValueError(f"plot_surface: directions must be two sets of parameters, got {len(directions)}")
        plane = np.array([space.vector(direction, "a direction") for direction in directions])
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
    plane = rng.standard_normal((2, middle.size))
    for direction in plane:
        for part, parameter in zip(space.split(direction), space.split(middle), strict=True):
            part *= np.linalg.norm(parameter) / (np.linalg.norm(part) or 1)
    if np.linalg.matrix_rank(plane) < 2:  # all parameters are zero
        plane = rng.standard_normal(plane.shape)
    return plane, ["random direction 0", "random direction 1"]


def _extent(coordinates: Array, here: Array) -> list[tuple[float, float]]:
    """Return the ranges of the axes: the path with a margin, or one unit around it."""
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
        is_huge = bool(np.isfinite(shown.data[shown.mask]).any())
        what = "loss is not finite" + f", or over {LARGEST:g}" * is_huge
        look: dict[str, Any] = {"fill": False, "hatch": "xxx", "edgecolor": RED, "linewidth": 0, "zorder": 0}
        ax.add_patch(patches.Rectangle((0, 0), 1, 1, transform=ax.transAxes, label=what, **look))
    if not shown.count():
        return
    low, high = float(shown.min()), float(shown.max())
    if log and low <= 0:
        raise ValueError(f"plot_surface: a loss of {low:.4g} has no logarithm; use log=False")
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    # On a bowl, contours at squares are evenly spaced
    levels = np.geomspace(low, high, 17) if log else low + (high - low) * np.linspace(0, 1, 17) ** 2
    norm = colors.LogNorm(low, high) if log else colors.PowerNorm(0.5, low, high)
    filled = ax.contourf(across, up, shown, levels=levels, norm=norm, cmap=SURFACE)
    ax.contour(across, up, shown, levels=levels, colors="white", linewidths=0.6, linestyles="solid", alpha=0.6)
    bar = figure.colorbar(filled, ax=ax, label="loss", ticks=levels[::2])
    bar.ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.3g}" if max(-low, high) < 1000 else "{x:.4g}"))
    bar.ax.minorticks_off()


def _path(ax: Axes, coordinates: Array) -> None:
    """Draw the path, with numbers and arrows at some steps."""
    from matplotlib import patheffects, ticker

    whole = np.flatnonzero(np.all(np.isfinite(coordinates), axis=1))
    if not len(whole):
        return
    halo = [patheffects.withStroke(linewidth=3, foreground="black")]
    arrow = {"arrowstyle": "-|>,head_length=0.6", "color": "white", "mutation_scale": 20, "shrinkA": 0, "shrinkB": 0}
    place: dict[str, Any] = {"xytext": (6, 6), "textcoords": "offset points", "path_effects": halo}
    size = np.ptp(coordinates[whole], axis=0).max() or 1.0
    marked = [np.full(2, np.inf)]
    steps = ticker.MaxNLocator(MARKS, steps=[1, 2, 5, 10], integer=True).tick_values(0, whole[-1])
    for step in map(int, steps):
        if step not in whole[1:] or np.linalg.norm(np.array(marked) - coordinates[step], axis=1).min() < 0.06 * size:
            continue
        marked.append(coordinates[step])
        before = coordinates[step - 1]
        if np.all(np.isfinite(before)) and np.any(coordinates[step] != before):
            ax.annotate("", coordinates[step], before, arrowprops=arrow | {"path_effects": halo})
        ax.annotate(str(step), coordinates[step], color="white", fontsize=8, **place)
    x, y = coordinates.T
    lost = f", lost after step {whole[-1]}: not finite" if whole[-1] < len(coordinates) - 1 else ""
    dots = "o" if len(coordinates) <= 80 else ""
    ax.plot(x, y, color="white", marker=dots, markersize=3, path_effects=halo, label=f"path of descent{lost}")
    edge: dict[str, Any] = {"color": "white", "markeredgecolor": "black", "linestyle": "", "zorder": 5}
    ax.plot(x[whole[0]], y[whole[0]], marker="s", markersize=8, label="start", **edge)
    ax.plot(x[whole[-1]], y[whole[-1]], marker="*", markersize=14, label="end", **edge)
