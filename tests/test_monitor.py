"""A network watched while it learns: what is measured, what is said of it, and what is
on the plots.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

import microgradnd as mg
from microgradnd import nn, optim, viz
from microgradnd.nn import functional as F
from microgradnd.viz import monitor as plot
from microgradnd.viz.monitor import BINS, FLAT, SATURATED, Spread, spread_of
from microgradnd.viz.plots.canvas import RED


def network(*layers: Any) -> nn.Sequential:
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(2, 4, rng=rng), *layers, nn.Linear(4, 1, rng=rng))


def train(model: nn.Module, scales: list[float], lr: float = 0.01) -> viz.Monitor:
    """Train a model with an input of a size for each step, and return what was seen."""
    optimizer, monitor, rng = optim.SGD(model.parameters(), lr=lr), viz.Monitor(model), np.random.default_rng(1)
    for scale in scales:
        loss = np.mean(model(scale * rng.normal(size=(8, 2))) ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step()
    return monitor


def texts(figure: Figure) -> list[str]:
    found = figure.legends or [legend for ax in figure.axes if (legend := ax.get_legend())]
    return [text.get_text() for legend in found for text in legend.get_texts()]


@settings(max_examples=30)
@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3) | st.sampled_from([np.nan, np.inf])))
def test_a_spread_counts_every_number_once(values: Any) -> None:
    spread = spread_of(values)
    finite = values[np.isfinite(values)]
    assert spread.counts.shape == (BINS,)
    assert spread.counts.sum() == finite.size
    assert spread.bad == values.size - finite.size
    if finite.size:
        assert (spread.low, spread.high) == (finite.min(), finite.max())


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.array([-1e308, 1e308]), np.array(3, np.float32), np.zeros(0)])
def test_a_spread_of_odd_arrays(values: Any) -> None:
    assert spread_of(values).counts.sum() == values.size


def test_a_spread_is_a_histogram() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    counts, _ = np.histogram(values, BINS)
    np.testing.assert_array_equal(spread_of(values).counts, counts)


@pytest.mark.parametrize("function", SATURATED)
def test_saturated_is_where_the_derivative_is_small(function: Any) -> None:
    x = np.linspace(-8, 8, 2001)
    slope = mg.elementwise_grad(function)(x)
    np.testing.assert_array_equal(SATURATED[function](function(x)), slope < FLAT * slope.max())


def test_what_a_step_measures() -> None:
    model = network(nn.Tanh())
    before = np.array(model[0].weight.data)
    monitor = train(model, [1.0])
    assert list(monitor.activations) == ["0", "1", "2"]
    assert list(monitor.weights) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    after = model[0].weight.data
    (ratio,) = monitor.updates["0.weight"]
    assert ratio == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before))
    (spread,) = monitor.weights["0.weight"]
    assert spread is not None
    assert (spread.low, spread.high) == (after.min(), after.max())
    (gradient,) = monitor.gradients["0.weight"]
    assert gradient is not None
    assert (gradient.low, gradient.high) == (model[0].weight.grad.min(), model[0].weight.grad.max())
    (seen,) = monitor.activations["1"]
    assert seen is not None
    assert -1 < seen.low < seen.high < 1
    assert repr(monitor) == "Monitor(Sequential, 1 steps)"


def test_the_share_of_dead_units() -> None:
    model = network(nn.ReLU())
    model[0].bias.data = np.array([-100.0, -100.0, -100.0, 100.0])
    monitor = train(model, [1.0])
    assert monitor.dead["1"] == [0.75]
    assert monitor.dead["0"] == [None]
    assert monitor.saturated["1"] == [None]


def test_explain_says_from_which_step_on_a_layer_is_saturated() -> None:
    said = mg.explain(train(network(nn.Tanh()), [1.0] * 3 + [1e4] * 2 + [0.1] * 3 + [1e4] * 4, lr=0.0))
    assert said[0].startswith("1 (Tanh) is saturated from step 9 on: ")
    said = mg.explain(train(network(nn.Sigmoid()), [1.0] * 2 + [1e4] * 3, lr=0.0))
    assert said[0].startswith("1 (Sigmoid) is saturated from step 3 on: ")


def test_explain_says_what_else_is_remarkable() -> None:
    model = network(nn.ReLU())
    model[0].bias.data = np.full(4, -100.0)
    said = mg.explain(train(model, [1.0] * 2))
    assert said[0] == (
        "1 (ReLU) is dead from step 1 on: 100% of its units at the end, which are 0 for every observation."
    )
    assert "'0.weight' hardly changes from step 1 on: by 0 of its norm in a step." in said
    said = mg.explain(train(network(nn.Tanh()), [1.0] * 3, lr=100.0))
    assert any("try a smaller lr" in sentence and "'2.weight' changes by" in sentence for sentence in said)
    with np.errstate(all="ignore"):
        said = mg.explain(train(network(nn.ReLU()), [1.0, np.nan]))
    assert said[0] == "The weights of '0.weight' aren't all finite from step 2 on."
    assert mg.explain(viz.Monitor(model)) == [
        "No step has been watched yet: call monitor.step() after each step of the optimizer."
    ]
    assert mg.explain(train(network(nn.Tanh()), [1.0] * 2)) == [
        "Nothing is wrong in 2 steps: all is finite, and nothing is saturated or dead."
    ]


def test_only_training_counts_and_hooks_can_be_removed() -> None:
    model = network(nn.Tanh())
    monitor = viz.Monitor(model)
    model.eval()
    model(np.ones((3, 2)))
    monitor.step()
    assert monitor.activations["1"] == [None]
    model.train()
    model(np.ones((3, 2)))
    monitor.remove()
    model(np.full((3, 2), 1e9))
    monitor.step()
    seen = monitor.activations["0"][-1]
    assert seen is not None
    assert seen.high < 10
    assert all(not layer.forward_hooks for layer in model.modules())


@pytest.mark.parametrize("way", ["eager", "grad", "compiled"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_way_to_train(way: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(2, 3, rng=rng, dtype=dtype), nn.Tanh(), nn.Linear(3, 1, rng=rng, dtype=dtype))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = rng.normal(size=(5, 2)).astype(dtype)
    monitor = viz.Monitor(model)

    def loss(model: Any) -> Any:
        return F.mse_loss(model(x), x[:, :1])

    def step() -> None:
        value = loss(model)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    run = mg.compile(step) if way == "compiled" else step
    for _ in range(3):
        if way == "grad":
            gradients = mg.grad(loss)(model)
            with mg.no_grad():
                for p, g in zip(model.parameters(), gradients.parameters(), strict=True):
                    p -= 0.1 * g
        else:
            run()
        monitor.step()
    assert all(ratio is not None and 0 < ratio < 1 for ratio in monitor.updates["0.weight"])
    assert (monitor.activations["1"] == [None] * 3) == (way == "compiled")
    viz.plot_monitor(monitor, "weights")


@pytest.mark.parametrize("what", ["activations", "gradients", "weights", "updates", "dead", "saturated"])
def test_each_plot_has_its_layers(what: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.Tanh())
    figure = viz.plot_monitor(train(model, [1.0] * 5), what)
    layers = ["0 (Linear)", "1 (ReLU)", "2 (Linear)", "3 (Tanh)"]
    parameters = ["0.weight", "0.bias", "2.weight", "2.bias"]
    if what in plot.HISTOGRAMS:
        titles = [ax.get_title() for ax in figure.axes[:-1]]
        assert titles == (layers if what == "activations" else parameters)
        assert figure.get_suptitle() == f"{what} over training"
    else:
        expected = {"dead": layers[1:2], "saturated": layers[3:], "updates": ["0.001, a usual value", *parameters]}
        assert [str(line.get_label()) for line in figure.axes[0].lines] == expected[what]
    assert figure.axes[-2 if what in plot.HISTOGRAMS else -1].get_xlabel() == "step"


def test_a_histogram_is_where_the_numbers_are() -> None:
    spreads: list[Spread | None] = [spread_of(np.array([0.0, 0.0, 0.0, 10.0])), None, spread_of(np.full(5, 10.0))]
    shares, low, high = plot._shares(spreads)
    assert (low, high) == (0.0, 10.0)
    assert shares[:2, 0].sum() == pytest.approx(0.75)  # two stretches of values to a stretch of the histogram
    assert shares[-2:, 0].sum() == pytest.approx(0.25)
    assert not shares[:, 1].any()
    assert shares[-1, 2] == pytest.approx(1)
    many: list[Spread | None] = [spread_of(np.array([0.0, 1.0]))] * 200
    many[7] = spread_of(np.array([-1e9, 1e9]))  # one step doesn't make the others flat
    assert plot._shares(many)[1:] == (0.0, 1.0)


def test_only_some_and_of_many_eight() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    monitor = train(model, [1.0])
    titles = [ax.get_title() for ax in viz.plot_monitor(monitor).axes[:-1]]
    assert len(titles) == 8
    assert (titles[0], titles[-1]) == ("0 (Linear)", "19 (Linear)")
    figure = viz.plot_monitor(monitor, "weights", only=["3.weight"], title="$mine$")
    assert [ax.get_title() for ax in figure.axes[:-1]] == ["3.weight"]
    assert figure.get_suptitle() == r"\$mine\$"


def test_what_is_not_finite_is_marked() -> None:
    with np.errstate(all="ignore"):
        monitor = train(network(nn.ReLU()), [1.0, 1.0, np.nan, 1.0])
    figure = viz.plot_monitor(monitor, "weights")
    assert figure.axes[0].get_title() == "0.weight: not finite from step 3 on"
    assert [line.get_color() for line in figure.axes[0].lines] == [RED]
    assert "0.weight: NaN (2 times, step 3 to 4)" in texts(viz.plot_monitor(monitor, "updates"))
