"""Training as a film: a fitted curve or class boundary after each epoch.

Owns: the pictures of each frame.
Must not own: the format of a film (`frames.py`), or the training itself.
Read next: `frames.py`; `plots/canvas.py`, the style.
"""

from __future__ import annotations

import copy
import functools
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.modes import no_grad
from microgradnd.nn import Module
from microgradnd.viz.frames import film_path, write_film
from microgradnd.viz.plots.canvas import BLUE, COLOURS, GREY, ORANGE, Array, array_of, canvas, legend, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Outputs = Callable[[Array], list[Array]]  # the outputs of a model for some x, in each of several states

MOST_FRAMES = 30
GRID = 120  # points along each axis of a map of classes
CURVE = 400  # points of a curve
MARGIN = 0.08  # around the observations, of their range
LAST = 2.0  # seconds: the least time of the last frame
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
SIZE, DOTS_PER_INCH = (6.0, 4.0), 96


@explained
def animate_training(
    history: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    model: Module,
    x: Any,
    y: Any,
    *,
    truth: Callable[[Any], Any] | None = None,
    losses: Sequence[float] | None = None,
    seconds: float = 0.15,
    title: str = "",
) -> Path:
    """Write a film of training: the model's outputs after each epoch, over the data.

    With one variable, the film shows the fitted curve. With two, it colours the plane
    by the predicted class: the greatest of several outputs, or whether a single output
    is above 0 (above 0.5 if all outputs are from 0 to 1). Wrongly classified
    observations have a ring around them.

    Parameters
    ----------
    history : sequence of dict
        The model's `state_dict()` before training and after each epoch. Of more than
        30, only 30 are shown.
    path : path-like
        Ends in `.gif`, `.mp4` (which needs the program ffmpeg) or `.html`, a page with
        a slider.
    model : Module
        The trained model. A copy of it is called in evaluation mode, with arrays of the
        shape and dtype of `x`.
    x : array_like, shape (n,), (n, 1) or (n, 2)
        The observations.
    y : array_like of n numbers
        The targets; with two variables, the classes.
    truth : callable, optional
        With one variable, the function behind the noisy observations.
    losses : sequence of float, optional
        One for each state, or for each except the first.
    seconds : float
        The duration of each epoch.
    title : str
        The title, before the epoch.

    Returns
    -------
    Path
        The path of the film.

    Raises
    ------
    ValueError
        If there is no state, shapes don't agree, or the path has another suffix.
    TypeError
        If `model` isn't a Module.
    FileNotFoundError
        If the program ffmpeg is needed but missing.
    ImportError
        If matplotlib isn't installed.

    See Also
    --------
    plot_fit : one picture of the result.
    animate : a film of one backward pass.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from microgradnd import nn, optim, viz
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = nn.Linear(1, 1, rng=np.random.default_rng(0))
    >>> states = [model.state_dict()]
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> for _ in range(3):
    ...     loss = nn.functional.mse_loss(model(x), 2 * x)
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     states.append(model.state_dict())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = viz.animate_training(states, folder + "/line.html", model, x, 2 * x)
    ...     page.read_text(encoding="utf-8").count('class="step"')
    4
    """
    film = film_path(path, "viz.animate_training")
    states = list(history)
    if not states:
        raise ValueError("viz.animate_training: history is empty; it must hold model.state_dict() after each epoch")
    if not isinstance(model, Module):
        raise TypeError(f"viz.animate_training: model must be an nn.Module, got a {type(model).__name__}")
    if not seconds > 0:
        raise ValueError(f"viz.animate_training: seconds must be positive, got {seconds}")
    missing = 0 if losses is None else len(states) - len(losses)
    if missing not in (0, 1):
        raise ValueError(
            f"viz.animate_training: losses must be as many as the states, {len(states)}, or one fewer, "
            f"got {len(states) - missing}"
        )
    x, y = array_of(x), array_of(y)
    columns = x.shape[1] if x.ndim == 2 else x.ndim
    if columns not in (1, 2) or x.ndim not in (1, 2) or y.size != len(x) or not len(x):
        raise ValueError(
            f"viz.animate_training: x must have shape (n,), (n, 1) or (n, 2) and y n numbers, got x of shape {x.shape} "
            f"and y of shape {y.shape}; of more variables there is no such picture"
        )
    chosen = sorted(set(np.linspace(0, len(states) - 1, MOST_FRAMES).round().astype(int).tolist()))
    outputs = functools.partial(_outputs, copy.deepcopy(model).eval(), [states[k] for k in chosen], x.dtype)
    pictures, captions = [], []
    with canvas(None, None, *(("x", "y") if columns == 1 else ("x₁", "x₂"))) as (figure, ax):
        figure.set_size_inches(*SIZE)
        ys = y.reshape(-1)
        show = _curves(ax, x, ys, outputs, truth) if columns == 1 else _classes(ax, x, ys, outputs)
        legend(figure, ax)
        for i, k in enumerate(chosen):
            said = f"loss {float(losses[k - missing]):.4g}" if losses is not None and k >= missing else ""
            captions.append(", ".join(filter(None, (f"epoch {k}", said, show(i)))))
            ax.set_title(plain(": ".join(filter(None, (title, captions[-1])))), loc="left")
            data = io.BytesIO()
            figure.savefig(data, format="png", dpi=DOTS_PER_INCH)
            pictures.append(data.getvalue())
            figure.set_layout_engine("none")  # keep the layout of the first frame, so that nothing moves
    times = [seconds] * len(pictures)
    times[-1] = max(seconds, LAST)
    write_film(film, pictures, times, captions)
    return film


def _outputs(model: Module, states: Sequence[Mapping[str, Any]], dtype: Any, x: Array) -> list[Array]:
    """Return the model's outputs for each state, of shape (n, outputs)."""
    x = x.astype(dtype if dtype.kind == "f" else float)
    found = []
    for state in states:
        model.load_state_dict(state)
        with no_grad(), np.errstate(all="ignore"):  # a failed training deserves a film too
            out = array_of(model(x)).astype(float)
        if out.size % len(x) or out.ndim > 2:
            raise ValueError(
                f"viz.animate_training: the model must return one row for each row of x, got shape {out.shape} for x "
                f"of shape {x.shape}"
            )
        found.append(out.reshape(len(x), -1))
    return found


def _range(values: Array) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    margin = MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def _curves(ax: Axes, x: Array, y: Array, outputs: Outputs, truth: Any) -> Callable[[int], str]:
    """Draw data of one variable; return a function that draws a state's curve."""
    low, high = _range(x)
    grid = np.linspace(low, high, CURVE)
    curves = outputs(grid[:, None] if x.ndim == 2 else grid)
    if curves[0].shape[1] != 1:
        raise ValueError(
            f"viz.animate_training: the model must return one number for each number of x, got {curves[0].shape[1]}"
        )
    ax.set(xlim=(low, high), ylim=_range(y.astype(float)))
    ax.plot(x.reshape(-1), y, linestyle="", marker="o", markersize=4, color=ORANGE, label="observed")
    if truth is not None:
        ax.plot(grid, np.reshape(truth(grid), -1), linestyle="--", color=GREY, label="truth")
    (line,) = ax.plot(grid, curves[0][:, 0], color=BLUE, linewidth=2.5, label="model")

    def show(i: int) -> str:
        line.set_ydata(curves[i][:, 0])
        return "" if np.all(np.isfinite(curves[i])) else "not finite"

    return show


def _classes(ax: Axes, x: Array, y: Array, outputs: Outputs) -> Callable[[int], str]:
    """Draw data of two variables; return a function that draws a state's classes."""
    from matplotlib import colors

    kinds = np.unique(y)
    (left, right), (low, high) = _range(x[:, 0]), _range(x[:, 1])
    across, up = np.linspace(left, right, GRID), np.linspace(low, high, GRID)
    plane = np.column_stack([part.reshape(-1) for part in np.meshgrid(across, up)])
    maps, given = outputs(plane), outputs(x)
    count = max(2, maps[0].shape[1])
    if len(kinds) > min(count, len(COLOURS)):
        raise ValueError(
            f"viz.animate_training: y must hold at most {min(count, len(COLOURS))} classes for this model, "
            f"got {len(kinds)} different values"
        )
    is_share = all(np.all((m >= 0) & (m <= 1)) for m in (*maps, *given))

    def decided(outputs: Array) -> Array:
        if outputs.shape[1] > 1:
            return np.argmax(outputs, axis=1)
        return (outputs[:, 0] > (0.5 if is_share else 0)).astype(int)

    index = y.astype(int) if np.isin(kinds, np.arange(count)).all() else np.searchsorted(kinds, y)
    pale = colors.ListedColormap(COLOURS[:count])
    ink = ax.xaxis.label.get_color()
    ax.grid(False)
    for k in np.unique(index):
        where, marker = index == k, MARKERS[k % len(MARKERS)]
        ax.plot(
            *x[where].T, linestyle="", marker=marker, color=COLOURS[k], markeredgecolor="black", label=f"{y[where][0]}"
        )
    (rings,) = ax.plot([], [], linestyle="", marker="o", markersize=13, markerfacecolor="none", markeredgecolor=ink)
    ax.set(xlim=(left, right), ylim=(low, high))
    drawn: list[Any] = []

    def show(i: int) -> str:
        while drawn:
            drawn.pop().remove()
        chosen = decided(maps[i]).reshape(GRID, GRID)
        drawn.append(ax.pcolormesh(across, up, chosen, cmap=pale, vmin=-0.5, vmax=count - 0.5, alpha=0.3, zorder=0))
        levels = [k + 0.5 for k in range(count - 1) if chosen.min() <= k < chosen.max()]
        if levels:
            drawn.append(ax.contour(across, up, chosen, levels=levels, colors=ink, linewidths=1.2, zorder=1))
        wrong = decided(given[i]) != index
        rings.set_data(*x[wrong].T)
        return f"{1 - wrong.mean():.0%} right"

    return show
