"""A network as neurons and lines, and weights as images: what is where, and in which
colour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.viz.plots import network
from microgradnd.viz.plots.canvas import BLUE, ORANGE, SKY


def linear(*rows: list[float]) -> nn.Linear:
    """Return a layer with these weights, without a bias."""
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = np.array(rows)
    return layer


def columns(figure: Figure) -> list[list[Circle]]:
    """Return the neurons of each layer, from top to bottom."""
    found: dict[float, list[Circle]] = {}
    for patch in figure.axes[0].patches:
        assert isinstance(patch, Circle)
        found.setdefault(patch.center[0], []).append(patch)
    return [sorted(found[x], key=lambda neuron: -neuron.center[1]) for x in sorted(found)]


def lines(figure: Figure) -> list[LineCollection]:
    return [part for part in figure.axes[0].collections if isinstance(part, LineCollection)]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_neurons_lines_and_words() -> None:
    model = nn.Sequential(linear([2.0, -1.0], [0.0, 0.5], [1.0, 1.0]), nn.ReLU(), linear([1.0, 0.0, -2.0]))
    figure = viz.draw_network(model, np.array([1.0, -1.0]), title="small")
    assert [len(column) for column in columns(figure)] == [2, 3, 1]
    words = texts(figure)
    assert words == ["1", "-1", "input", "2", "3", "0", "0", "0 Linear\n1 ReLU", "3", "3", "2 Linear", "1"]
    assert figure.get_suptitle() == "small"
    first, second = lines(figure)
    weights = {
        tuple(colour[:3]): width for colour, width in zip(first.get_colors(), first.get_linewidths(), strict=True)
    }
    assert len(first.get_segments()) == 5  # the weight that is 0 has none
    assert set(weights) == {to_rgb(BLUE), to_rgb(ORANGE)}
    assert max(first.get_linewidths()) == network.WIDEST
    widths = sorted(second.get_linewidths())
    assert widths == [network.WIDEST / 2, network.WIDEST]
    assert {str(style[1] is None) for style in second.get_linestyles()} == {"True", "False"}  # solid, and dashes


def test_lines_end_at_the_neurons_of_their_weight() -> None:
    figure = viz.draw_network(linear([0.0, 3.0], [0.0, 0.0]), [1.0, 1.0])
    (line,) = lines(figure)[0].get_segments()
    inputs, outputs = columns(figure)
    assert line[0].tolist() == [inputs[1].center[0] + network.RADIUS, inputs[1].center[1]]
    assert line[1].tolist() == [outputs[0].center[0] - network.RADIUS, outputs[0].center[1]]


def test_activations_are_colours() -> None:
    figure = viz.draw_network(linear([1.0], [-1.0], [0.0]), [2.0])
    faces = [neuron.get_facecolor()[:3] for neuron in columns(figure)[1]]
    assert np.allclose(faces, [to_rgb(SKY), to_rgb(ORANGE), (1, 1, 1)], atol=0.01)


def test_numbers_can_be_read() -> None:
    figure = viz.draw_network(linear(*([float(w)] for w in np.linspace(-1, 1, 16))), [1.0])
    faces = [neuron.get_facecolor()[:3] for neuron in columns(figure)[1]]
    inks = [to_rgb(text.get_color()) for text in figure.axes[0].texts if text.get_fontsize() == 6][1:]

    def luminance(colour: Any) -> float:
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
        return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)

    for face, ink in zip(faces, inks, strict=True):
        low, high = sorted((luminance(face), luminance(ink)))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_the_mean_of_several_observations() -> None:
    figure = viz.draw_network(linear([1.0, 0.0]), np.array([[1.0, 5.0], [3.0, 7.0]], np.float32))
    assert texts(figure)[:2] == ["2", "6"]


def test_what_the_module_does_between_its_layers_counts() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.first, self.second = linear([1.0], [2.0]), linear([1.0, 1.0])

        def forward(self, x: Any) -> Any:
            return np.tanh(self.second(self.first(x) * 10))

    figure = viz.draw_network(Model(), mg.tensor([1.0]))
    assert texts(figure)[3:5] == ["10", "20"]
    assert texts(figure)[-3:] == ["1", "second Linear", "1"]  # tanh of 30


def test_of_a_large_layer_the_first_and_the_last() -> None:
    figure = viz.draw_network(nn.Sequential(nn.Linear(500, 100), nn.Tanh(), nn.Linear(100, 3)), np.ones(500))
    assert [len(column) for column in columns(figure)] == [16, 16, 3]
    assert [word for word in texts(figure) if "more" in word] == ["⋮ 484 more", "⋮ 84 more"]
    assert [word for word in texts(figure) if word in ("500", "100")] == ["500", "100"]
    figure = viz.draw_network(nn.Linear(40, 40), np.ones(40), most=40)
    assert len(lines(figure)[0].get_segments()) == network.MOST_LINES
    assert figure.legends[0].get_title().get_text() == "the 300 greatest weights of a layer"


def test_what_is_not_finite_is_red() -> None:
    with np.errstate(all="ignore"):
        figure = viz.draw_network(linear([np.nan, 1.0], [1.0, 1.0]), [1.0, np.inf])
    assert [neuron.get_hatch() for neuron in columns(figure)[1]] == ["xxxx", "xxxx"]
    assert len(lines(figure)[0].get_segments()) == 3
    assert "Inf" in texts(figure)


def test_the_model_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1))
    model[1].eval()
    viz.draw_network(model, np.ones((4, 2)))
    assert [layer.training for layer in model.modules()] == [True, True, False, True]
    assert not any(layer.forward_hooks for layer in model.modules())


def test_weights_as_images() -> None:
    model = nn.Sequential(linear([1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -2.0, np.nan]), nn.ReLU(), nn.Linear(2, 1))
    figure = viz.draw_weights(model, title="first")
    images = [ax.images[0] for ax in figure.axes[:-1]]
    assert [ax.get_title() for ax in figure.axes[:-1]] == ["0", "1"]
    assert np.ma.filled(images[1].get_array(), 9).tolist() == [[0.0, 0.0], [-2.0, 9.0]]
    assert images[0].get_clim() == images[1].get_clim() == (-2.0, 2.0)
    wide = viz.draw_weights(model, (1, 4))
    assert wide.axes[0].images[0].get_array().shape == (1, 4)


@pytest.mark.parametrize(
    ("layer", "count", "shape"),
    [
        (nn.Conv2d(3, 5, (3, 2)), 5, (3, 2)),
        (nn.Conv1d(1, 2, 7), 2, (1, 7)),
        (nn.Linear(9, 100), 64, (3, 3)),
        (nn.Linear(1, 1, dtype=np.float32), 1, (1, 1)),
    ],
)
def test_images_of_any_layer(layer: Any, count: int, shape: tuple[int, int]) -> None:
    figure = viz.draw_weights(layer)
    assert len(figure.axes) == count + 1
    assert figure.axes[0].images[0].get_array().shape == shape
    assert (figure.get_supxlabel() == "36 more") == (count == 64)


def test_a_layer_with_left_out_neurons_has_numbers_too() -> None:
    figure = viz.draw_network(nn.Linear(500, 1), np.ones(500))
    assert [text.get_text() for text in figure.axes[0].texts][:17] == ["1"] * 8 + ["⋮ 484 more"] + ["1"] * 8
