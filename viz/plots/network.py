"""A network as neurons and lines, and weights as images.

Owns: `draw_network` and `draw_weights`.
Must not own: pictures of a computation (`../dot.py`).
Read next: `canvas.py`.

Positive numbers are blue, negative ones orange. Lines of negative weights are dashed,
and neurons have numbers if there is room, so that colour alone says nothing.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from microgradnd.failures import explained
from microgradnd.modes import no_grad
from microgradnd.nn import Conv1d, Conv2d, Linear, Module
from microgradnd.viz.plots.canvas import BLUE, ORANGE, RED, SKY, Array, array_of, figure_of, plain
from microgradnd.viz.signs import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RADIUS, GAP, APART = 0.32, 0.9, 3.0  # the radius of a neuron, and the distances of neurons and of layers
STEEPEST = 0.22  # layers of many neurons are further apart, to keep their lines flat
MOST_NUMBERS = 17  # rows of the longest layer, if its neurons have numbers in them
FAINTEST = 0.03  # of the greatest weight of a layer; smaller ones have no line
MOST_LINES = 300  # between two layers, those of the greatest weights
WIDEST = 3.0  # points
POSITIVE: dict[str, Any] = {"color": BLUE, "linestyle": "solid"}
NEGATIVE: dict[str, Any] = {"color": ORANGE, "linestyle": (0, (3, 1.2))}
INCHES, NARROWEST = 0.42, 4.0  # of a unit of the drawing, and of a figure
ELLIPSIS = "⋮"


class Layer(NamedTuple):
    """A column of neurons.

    Attributes
    ----------
    title : str
        Its heading.
    values : array of shape (units,)
        The activations.
    weights : array of shape (units, units of the layer before), or None
        None for the input.
    """

    title: str
    values: Array
    weights: Array | None


@explained
def draw_network(model: Module, x: Any, *, most: int = 16, title: str | None = None) -> Figure:
    """Draw a network as neurons and lines: colour is activation, width is weight.

    Parameters
    ----------
    model : Module
        A chain of `nn.Linear` layers, with only layers between them that keep the
        number of units. It is called once, in evaluation mode and under `no_grad()`.
    x : array_like, shape (features,) or (n, features)
        One observation, or several, whose mean activations are drawn.
    most : int
        The most neurons of a layer; a larger layer shows its first and last ones.
    title : str, optional
        The title.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("network.svg")` writes it to a file.

    Raises
    ------
    TypeError
        If `model` isn't a Module.
    ValueError
        If `model` isn't such a chain, or `most` is less than 2.
    ImportError
        If matplotlib isn't installed.

    See Also
    --------
    draw : the operations of any network.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn, viz
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    >>> figure = viz.draw_network(model, np.array([0.5, -1.0]))
    >>> [text.get_text() for text in figure.axes[0].texts][:4]
    ['0.5', '-1', 'input', '2']
    """
    if not isinstance(model, Module):
        raise TypeError(f"draw_network: model must be an nn.Module, got a {type(model).__name__}")
    if most < 2:
        raise ValueError(f"draw_network: most must be at least 2, the first neuron and the last, got {most}")
    x = array_of(x)
    if not x.size:
        raise ValueError(f"draw_network: x must hold at least one observation, got shape {x.shape}")
    layers = _layers(model, x)
    shown = [_shown(len(layer.values), most) for layer in layers]
    tallest = max(map(len, shown))
    apart = max(APART, STEEPEST * tallest)
    width, top = (len(layers) - 1) * apart + 2.4, GAP * tallest / 2 + 0.1
    heights = [-GAP * (np.arange(len(units)) - (len(units) - 1) / 2) for units in shown]
    counts = []
    with figure_of(title, figsize=(max(width * INCHES, NARROWEST), (2 * top + 2.8) * INCHES)) as figure:
        ax = figure.subplots()
        ax.set_axis_off()
        ax.set_aspect("equal")
        for k, layer in enumerate(layers):
            if layer.weights is not None:
                counts.append(
                    _lines(ax, (k - 1) * apart, k * apart, layer.weights, shown[k - 1 : k + 1], heights[k - 1 : k + 1])
                )
            _neurons(ax, k * apart, layer.values, shown[k], heights[k], tallest <= MOST_NUMBERS)
            ax.text(k * apart, top, plain(layer.title).replace(", ", "\n"), ha="center", va="bottom", fontsize=9)
            ax.text(k * apart, -top, f"{len(layer.values):,}", ha="center", va="top", fontsize=9)
        ax.set(xlim=(-1.2, width - 1.2), ylim=(-top - 0.8, top + 1.6))
        ax.plot([], [], label="positive", **POSITIVE)
        ax.plot([], [], label="negative", **NEGATIVE)
        note = f"the {MOST_LINES} greatest weights of a layer" if max(counts) > MOST_LINES else None
        figure.legend(loc="outside lower center", ncols=2, fontsize=8, title=note)
    return figure


def _layers(model: Module, x: Array) -> list[Layer]:
    """Call a model and return its layers."""
    calls: list[tuple[str, Module, Array, Array]] = []

    def seen(path: str, layer: Module, args: tuple[Any, ...], output: Any) -> None:
        given, made = args[0] if args else x, output[0] if isinstance(output, tuple) else output
        calls.append((f"{path} {type(layer).__name__}".strip(), layer, array_of(given), array_of(made)))

    model = copy.deepcopy(model).eval()  # the original gets no hooks
    for path, layer in model.named_modules():
        if not list(layer.children()):
            layer.register_forward_hook(functools.partial(seen, path))
    with no_grad():
        out = model(x)
    layers = [Layer("input", x, None)]
    for title, layer, given, made in calls:
        before = layers[-1]
        weights = array_of(layer.weight) if isinstance(layer, Linear) else None
        if given.shape[-1:] != before.values.shape[-1:] or (weights is None and made.shape != given.shape):
            raise ValueError(
                f"draw_network: {title} takes shape {given.shape} and returns {made.shape}; only chains of nn.Linear "
                f"with layers between that keep the shape have such a picture: use viz.draw(model(x)), or draw_weights"
            )
        if weights is not None:
            layers[-1] = before._replace(values=given)  # the model may have changed it in between
            layers.append(Layer(title, made, weights))
        else:
            name = before.title if before.weights is None else f"{before.title}, {title}"
            layers[-1] = Layer(name, made, before.weights)
    if len(layers) == 1:
        raise ValueError("draw_network: the model called no nn.Linear, so there are no neurons to draw; use viz.draw")
    last = array_of(out)
    if last.shape == layers[-1].values.shape:
        layers[-1] = layers[-1]._replace(values=last)
    with np.errstate(all="ignore"):
        return [
            layer._replace(values=layer.values.reshape(-1, layer.values.shape[-1]).mean(axis=0)) for layer in layers
        ]


def _shown(count: int, most: int) -> list[int]:
    """Return the drawn neurons of a layer; -1 stands for the others.

    Examples
    --------
    >>> from microgradnd.viz.plots.network import _shown
    >>> _shown(3, 4), _shown(100, 4)
    ([0, 1, 2], [0, 1, -1, 98, 99])
    """
    if count <= most:
        return list(range(count))
    return [*range(most - most // 2), -1, *range(count - most // 2, count)]


def _greatest(array: Array) -> float:
    """Return the greatest finite magnitude in an array, or 1 without any."""
    finite = np.abs(array[np.isfinite(array)])
    return float(np.max(finite, initial=0.0)) or 1.0


def _lines(ax: Axes, left: float, right: float, weights: Array, shown: list[list[int]], heights: list[Array]) -> int:
    """Draw the greatest weights between two layers; return how many have a line."""
    from matplotlib.collections import LineCollection

    starts, ends = (list(zip(*both, strict=True)) for both in zip(shown, heights, strict=True))
    found, greatest = [], _greatest(weights)
    for (i, y0), (j, y1) in itertools.product(starts, ends):
        weight = float(weights[j, i]) / greatest if min(i, j) >= 0 else 0.0
        if abs(weight) > FAINTEST:
            found.append(
                (abs(weight), POSITIVE if weight > 0 else NEGATIVE, [(left + RADIUS, y0), (right - RADIUS, y1)])
            )
    greater = sorted(found, key=lambda line: line[0])[-MOST_LINES:]
    looks: dict[str, Any] = {
        "linewidths": [WIDEST * size for size, _, _ in greater],
        "colors": [look["color"] for _, look, _ in greater],
        "linestyles": [look["linestyle"] for _, look, _ in greater],
    }
    ax.add_collection(LineCollection([line for _, _, line in greater], alpha=0.8, zorder=1, **looks))
    return len(found)


def _neurons(ax: Axes, x: float, values: Array, shown: list[int], heights: Array, has_numbers: bool) -> None:
    """Draw the neurons of a layer."""
    from matplotlib.patches import Circle

    place: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 3}
    for i, y in zip(shown, heights, strict=True):
        if i < 0:
            ground: Any = {"facecolor": ax.figure.get_facecolor(), "edgecolor": "none", "pad": 0.5}
            ax.text(x, y, f"{ELLIPSIS} {len(values) - len(shown) + 1:,} more", fontsize=8, bbox=ground, **place)
            continue
        value = float(values[i])
        look: Any = {"facecolor": "white", "edgecolor": RED, "hatch": "xxxx"}
        if math.isfinite(value):
            look = {"facecolor": _colours()((value / _greatest(values) + 1) / 2), "edgecolor": "#333333"}
        ax.add_patch(Circle((x, y), RADIUS, zorder=2, **look))
        if has_numbers:
            ground = None if math.isfinite(value) else {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            ax.text(x, y, number(value, 2), fontsize=6, color="black", bbox=ground, **place)


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    # Black numbers are legible on all of these
    return LinearSegmentedColormap.from_list("signs", [ORANGE, "white", SKY])


@explained
def draw_weights(
    layer: Module, shape: tuple[int, int] | None = None, *, most: int = 64, title: str | None = None
) -> Figure:
    """Draw the weights of a first layer as images, one for each unit or channel.

    Parameters
    ----------
    layer : Module
        A linear or convolutional layer, or a network that contains one.
    shape : tuple of (int, int), optional
        The height and width of the images that a linear layer takes; by default a
        square.
    most : int
        The most units that are drawn.
    title : str, optional
        The title.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("weights.png")` writes it to a file.

    Raises
    ------
    TypeError
        If `layer` isn't a Module.
    ValueError
        If there is no such layer, or its weights don't form images of that shape.
    ImportError
        If matplotlib isn't installed.

    See Also
    --------
    draw_network : neurons and lines.

    Examples
    --------
    >>> from microgradnd import nn, viz
    >>> figure = viz.draw_weights(nn.Sequential(nn.Linear(64, 10), nn.ReLU()))
    >>> len(figure.axes)  # ten images and the colour bar
    11
    """
    if not isinstance(layer, Module):
        raise TypeError(f"draw_weights: layer must be an nn.Module, got a {type(layer).__name__}")
    first = next((m for m in layer.modules() if isinstance(m, Linear | Conv1d | Conv2d)), None)
    if first is None:
        raise ValueError(f"draw_weights: {type(layer).__name__} has no linear or convolutional layer; use viz.draw")
    if most < 1:
        raise ValueError(f"draw_weights: most, the number of units that are drawn, must be at least 1, got {most}")
    weights = array_of(first.weight)
    if weights.ndim == 2:
        side = math.isqrt(weights.shape[1])
        shape = shape or (side, side)
        if math.prod(shape) != weights.shape[1]:
            raise ValueError(
                f"draw_weights: {weights.shape[1]} features make no image of shape {shape}; pass shape=(height, width)"
            )
        images = weights.reshape(-1, *shape)
    else:  # (channels, input channels, ...): their mean; a 1-dimensional kernel is one row
        images = weights.mean(axis=1)
        images = images[:, None] if images.ndim == 2 else images
    count = min(len(images), most)
    columns = min(count, 8 if count > 4 else 4)
    rows = -(-count // columns)
    limit, colours = _greatest(images), _colours().with_extremes(bad=RED)
    with figure_of(title, figsize=(max(0.85 * columns + 0.9, NARROWEST), 0.95 * rows + 0.4)) as figure:
        axes = [figure.add_subplot(rows, columns, k + 1) for k in range(count)]
        for k, part in enumerate(axes):
            picture = part.imshow(np.ma.masked_invalid(images[k]), cmap=colours, vmin=-limit, vmax=limit)
            part.set_title(str(k), fontsize=8, pad=2)
            part.set_axis_off()
        figure.colorbar(picture, ax=axes, label="weight", aspect=30)
        if len(images) > count:
            figure.supxlabel(f"{len(images) - count:,} more", fontsize=8)
    return figure
