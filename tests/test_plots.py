"""Pictures of training: what is on them, what is said of what can't be drawn, and that
no state is left behind.
"""

from __future__ import annotations

import gc
import io
import json
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.nn import functional as F
from microgradnd.viz.plots import canvas

RED = canvas.RED
NORMS = [{"w": 3.0, "b": 0.5}, {"w": 1.0, "b": 0.2}]

# Every kind of plot, small
KINDS: dict[str, Callable[[], Figure]] = {
    "history": lambda: viz.plot_history([3.0, 2.0, 1.0]),
    "fit": lambda: viz.plot_fit([0.0, 1.0], [0.0, 1.0], np.square, truth=np.sin),
    "surface": lambda: viz.plot_surface(bowl, [np.ones(2), np.zeros(2)], steps=5),
    "gradients": lambda: viz.plot_gradients(NORMS),
}


def bowl(w: Any) -> Any:
    return w[0] ** 2 + 3 * w[1] ** 2


def lines(figure: Figure) -> dict[str, Any]:
    """Return the lines that have a name."""
    found = {str(line.get_label()): line for line in figure.axes[0].lines}
    return {name: line for name, line in found.items() if not name.startswith("_")}


def legend(figure: Figure) -> list[str]:
    found = figure.legends or [legend for ax in figure.axes if (legend := ax.get_legend())]
    return [text.get_text() for legend in found for text in legend.get_texts()]


def marks(figure: Figure) -> list[str]:
    """Return what the red marks at the edge stand for."""
    return [name for name, line in lines(figure).items() if line.get_color() == RED]


def pixels(figure: Figure) -> Any:
    """Return what is seen, shape (height, width, 3), the top row first."""
    surface = FigureCanvasAgg(figure)
    surface.draw()
    return np.asarray(surface.buffer_rgba())[..., :3]


def colour_at(figure: Figure, x: float, y: float, reach: int = 4) -> tuple[int, ...]:
    """Return the colour that is seen at a place of the picture, in its own coordinates,
    except for thin bright lines.
    """
    seen = pixels(figure)
    column, row = (round(place) for place in figure.axes[0].transData.transform((x, y)))
    row = len(seen) - 1 - row
    around = seen[row - reach : row + reach + 1, column - reach : column + reach + 1].reshape(-1, 3)
    return tuple(int(part) for part in around[np.argmin(around.sum(axis=1))])


def rgb(colour: Any) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in to_rgb(colour))


def shows(figure: Figure, colour: str) -> bool:
    """Return whether some of the picture has just this colour."""
    return bool(np.any(np.all(pixels(figure) == rgb(colour), axis=-1)))


def png(figure: Figure) -> bytes:
    return figure._repr_png_()[0]  # type: ignore[attr-defined]


# Figures


@pytest.mark.parametrize("kind", KINDS)
def test_a_plot_is_a_figure_that_shows_itself_in_jupyter(kind: str) -> None:
    figure = KINDS[kind]()
    assert isinstance(figure, Figure)
    data, size = figure._repr_png_()  # type: ignore[attr-defined]
    assert data.startswith(b"\x89PNG")
    assert size == {"width": 691, "height": 384}


@pytest.mark.parametrize("kind", KINDS)
def test_plots_leave_no_state_behind(kind: str) -> None:
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"axes.facecolor": "black"}):
        figure = KINDS[kind]()
    assert dict(matplotlib.rcParams) == before
    assert figure.axes[0].get_facecolor() == (1, 1, 1, 1)  # it looks the same whatever the user's style
    gone = weakref.ref(figure)
    del figure
    gc.collect()
    assert gone() is None


def test_pyplot_isnt_needed() -> None:
    program = (
        "import sys; from microgradnd import viz; figure = viz.plot_history([1.0, 0.5]); figure._repr_png_()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_package_is_named_with_its_installation(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(canvas, "figure_class", canvas.figure_class.__wrapped__)
    with pytest.raises(ImportError, match=r'plots need the package matplotlib: pip install "microgradnd\[viz\]"'):
        KINDS[kind]()


def test_plots_on_axes_of_ones_own() -> None:
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert viz.plot_history({"a": [1.0], "b": [2.0]}, ax=axes[0]) is figure
    assert viz.plot_surface(bowl, [np.ones(2), np.zeros(2)], steps=5, ax=axes[1]) is figure
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["a", "b"]
    assert not figure.legends
    part = figure.subfigures(2, 1)[0].subplots()
    assert viz.plot_fit([0.0, 1.0], [0.0, 1.0], np.sin, ax=part) is figure
    assert not figure.legends


def test_titles_and_labels() -> None:
    ax = viz.plot_history([1.0], title="It $learns$", xlabel="step", ylabel="nats").axes[0]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == (r"It \$learns\$", "step", "nats")


@pytest.mark.parametrize("name", ["_hidden", "$x", "a$b$c", r"\alpha_$", "two\nlines", "x" * 10_000, '<b>"&'])
def test_any_name_is_shown_letter_by_letter(name: str) -> None:
    figure = viz.plot_history({name: [1.0, 2.0], "other": [2.0, 1.0]})
    png(figure)
    shown = legend(figure)[0].replace("\u200b", "").replace(r"\$", "$")
    assert shown == (" ".join(name.split()) if len(name) < 60 else "x" * 59 + "…")


@pytest.mark.parametrize("name", ["a\ud800b", "a\0b", "a\u202eb"])
def test_what_no_font_can_draw_is_replaced(name: str) -> None:
    figure = viz.plot_history({name: [1.0, 2.0]}, title=name)
    png(figure)
    assert figure.axes[0].get_title() == "a\ufffdb"


# Losses


def test_losses_over_epochs() -> None:
    figure = viz.plot_history([3.0, 2.0, 1.5])
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 3.0], [2, 2.0], [3, 1.5]])
    assert figure.axes[0].get_yscale() == "linear"
    assert legend(figure) == []


def test_several_losses_and_those_of_some_epochs() -> None:
    figure = viz.plot_history({"training": [3.0, 2.0, 1.0], "validation": {1: 4.0, 3: 2.0}}, log=True)
    np.testing.assert_array_equal(lines(figure)["validation"].get_xydata(), [[1, 4.0], [3, 2.0]])
    assert lines(figure)["validation"].get_marker() == "o"
    assert legend(figure) == ["training", "validation"]
    assert figure.axes[0].get_yscale() == "log"


def test_losses_as_tensors_arrays_and_by_step() -> None:
    w = mg.tensor(2.0, requires_grad=True)
    for losses in ([w * 1, w * 2], np.array([2.0, 4.0]), mg.tensor([2.0, 4.0]), (2, 4), iter([2, 4])):
        np.testing.assert_array_equal(viz.plot_history(losses).axes[0].lines[0].get_ydata(), [2.0, 4.0])
    np.testing.assert_array_equal(viz.plot_history({10: 1.0, 20: 2.0}).axes[0].lines[0].get_xdata(), [10, 20])


def test_lines_differ_without_colour() -> None:
    figure = viz.plot_history({f"seed {i}": [1.0, 2.0] for i in range(28)})
    styles = [(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines]
    assert len(set(styles)) == 28
    assert RED not in [colour for colour, _ in styles]
    assert len({dash for _, dash in styles[:4]}) == 4
    assert figure.axes[0].get_position().width > 0.3
    assert png(figure)


def test_losses_that_are_not_finite_are_marked() -> None:
    losses = [3.0, 2.0, np.inf, np.nan, np.nan, 1.0, np.nan, -np.inf]
    figure = viz.plot_history(losses)
    assert marks(figure) == ["NaN (3 times, epoch 4 to 7)", "Inf (epoch 3)", "−Inf (epoch 8)"]
    assert legend(figure) == marks(figure)
    nan = lines(figure)["NaN (3 times, epoch 4 to 7)"]
    np.testing.assert_array_equal(nan.get_xdata(), [4, 7])  # where each stretch begins
    stretches = figure.axes[0].collections[0].get_segments()  # type: ignore[attr-defined]
    np.testing.assert_allclose(stretches, [[[4, 0.97], [5, 0.97]], [[7, 0.97], [7, 0.97]]])
    low, high = figure.axes[0].get_xlim()
    assert low < 1
    assert high > 8
    png(figure)


def test_very_many_losses_that_are_not_finite() -> None:
    losses = np.ones(100_000)
    losses[::2] = np.nan
    figure = viz.plot_history({"x" * 100: losses})
    assert marks(figure) == ["x" * 59 + "…: NaN (50,000 times, epoch 1 to 99999)"]
    assert len(figure.axes[0].lines) == 2
    assert png(figure)


def test_marks_are_at_the_edge_that_they_lie_beyond() -> None:
    drawn = lines(viz.plot_history([1.0, -np.inf, np.inf, np.nan, 2.0]))
    heights = {name.split()[0]: line.get_ydata()[0] for name, line in drawn.items() if line.get_color() == RED}
    assert heights == {"−Inf": 0.03, "Inf": 0.97, "NaN": 0.97}


def test_losses_without_a_logarithm_are_marked() -> None:
    assert marks(viz.plot_history([1.0, 0.0, 0.1], log=True)) == ["0 (epoch 2)"]
    assert marks(viz.plot_history({"a": [1.0, -1.0, 0.0]}, log=True)) == ["a: 0 or less (2 times, epoch 2 to 3)"]
    assert marks(viz.plot_history([1.0, 0.0, -1.0])) == []
    assert marks(viz.plot_history({12_345: np.nan, 12_346: 1.0})) == ["NaN (epoch 12345)"]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "losses", [[np.nan] * 3, [0.0], [np.inf, 1.0], [1.0], [1e308, -1e308], [5e-324], [1e-300, 1e199]]
)
def test_odd_losses_are_drawn(losses: list[float], log: bool) -> None:
    assert png(viz.plot_history(losses, log=log))


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(allow_nan=True, allow_infinity=True)), st.booleans())
def test_every_loss_is_drawn_or_marked(losses: Any, log: bool) -> None:
    figure = viz.plot_history(losses, log=log)
    drawn = figure.axes[0].lines[0].get_ydata()
    off = ~(np.abs(losses) <= canvas.LARGEST) | (log & (losses <= 0))
    np.testing.assert_array_equal(drawn[~off], losses[~off])
    assert np.all(np.isnan(drawn[off]))
    assert bool(marks(figure)) == bool(off.any())


def test_very_many_losses_are_drawn_in_a_small_file() -> None:
    losses = np.random.default_rng(0).standard_normal(200_000)
    losses[70_000] = np.nan
    figure = viz.plot_history(losses)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), losses)
    svg = io.BytesIO()
    figure.savefig(svg, format="svg")
    assert len(svg.getvalue()) < 1e6


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([], "the losses are empty; there must be at least one number"),
        ({}, "the mapping is empty; it must hold the losses"),
        ({"training": []}, "the losses 'training' are empty"),
        ([[1.0, 2.0]], r"must be one number for each step, of shape \(n,\), got shape \(1, 2\)"),
        (3.0, r"must be one number for each step, of shape \(n,\), got shape \(\)"),
        (["low"], "must be real numbers, one for each step"),
        ([1j], "must be real numbers, one for each step"),
        ([[1.0], [1.0, 2.0]], "must be real numbers, one for each step"),
    ],
)
def test_what_isnt_a_history(losses: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        viz.plot_history(losses)


# Fits


def test_truth_observations_and_fits() -> None:
    x = np.array([2.0, 0.0, 1.0])
    figure = viz.plot_fit(x, x**2, {"line": 2 * x, "square": np.square}, truth=np.sin)
    drawn = lines(figure)
    assert list(drawn) == legend(figure) == ["truth", "observed", "line", "square"]
    np.testing.assert_array_equal(drawn["observed"].get_xydata(), np.column_stack([x, x**2]))
    np.testing.assert_array_equal(drawn["line"].get_xydata(), [[0, 0], [1, 2], [2, 4]])  # in the order of x
    places, heights = drawn["square"].get_data()
    assert (places.shape, places.min(), places.max()) == ((400,), 0.0, 2.0)
    np.testing.assert_array_equal(heights, places**2)
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn.values()}) == 4


def test_a_fit_is_told_from_the_truth_and_from_what_was_observed() -> None:
    x = np.linspace(0.0, 3.0, 4)
    fits = dict.fromkeys("abcdef", np.square)
    figure = viz.plot_fit(x, x**2, fits, truth=np.sin)
    drawn = lines(figure)
    assert (drawn["truth"].get_color(), drawn["truth"].get_linestyle()) == (canvas.GREY, "--")
    assert (drawn["observed"].get_color(), drawn["observed"].get_marker()) == (canvas.ORANGE, "o")
    assert drawn["observed"].get_linestyle() == "None"
    looks = [
        (drawn[name].get_color(), drawn[name].get_linestyle(), drawn[name]._unscaled_dash_pattern) for name in fits
    ]
    assert len({str(look) for look in looks}) == len(fits)
    assert not {colour for colour, *_ in looks} & {canvas.GREY, canvas.ORANGE, RED}
    assert drawn["a"].get_color() == canvas.BLUE
    alone = viz.plot_fit(x, x**2, np.square)
    assert shows(alone, canvas.BLUE)
    assert shows(alone, canvas.ORANGE)
    assert not shows(alone, RED)
    assert not shows(viz.plot_fit(x, truth=np.square), canvas.BLUE)


def test_a_module_is_called_with_a_column_and_records_nothing() -> None:
    seen = []

    class Line(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(1, 1, dtype=np.float32)

        def forward(self, x: Any) -> Any:
            y = self.linear(x)
            seen.append((x.shape, x.dtype, y.requires_grad))
            return y

    viz.plot_fit(np.zeros((5, 1), np.float32), np.zeros(5), Line())
    assert seen == [((400, 1), np.float32, False)]


def test_a_single_place_is_a_fit_too() -> None:
    places = lines(viz.plot_fit([3], [1.0], np.sin))["fitted"].get_xdata()
    assert (places[0], places[-1]) == (2.5, 3.5)
    assert list(lines(viz.plot_fit([1.0, 2.0], truth=np.sin))) == ["truth"]


def test_gaps_in_a_fit_are_marked() -> None:
    figure = viz.plot_fit([0.0, 1.0, 2.0], [1.0, np.nan, 2.0], [1.0, 2.0, np.inf])
    assert marks(figure) == ["observed: NaN (x 1)", "fitted: Inf (x 2)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((4, 2)), np.zeros(4)), r"x must have shape \(n,\) or \(n, 1\), one variable, got shape \(4, 2\)"),
        ((np.zeros(4), np.zeros(3)), "y must be 4 numbers, as many as x has, got 3"),
        ((np.zeros(4), np.zeros(4), np.zeros(5)), "fitted must be 4 numbers, as many as x has, got 5"),
        ((np.zeros(4), np.zeros(4), {"net": np.sum}), r"the result of net must have shape .* got shape \(\)"),
        ((np.zeros(4), np.zeros(4), lambda x: x[:7]), "the result of fitted must be 400 numbers, .* got 7"),
        ((np.array(["a"]), None), "x must be real numbers"),
        ((np.array([np.nan]), None), "x must hold at least one number, all finite, got 1 numbers"),
        (([], []), "x must hold at least one number"),
    ],
)
def test_what_isnt_a_fit(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        viz.plot_fit(*arguments)


# Surfaces


def two_weights() -> tuple[Any, list[Any]]:
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(50), rng.standard_normal(50)])
    y = x @ np.array([0.1, 0.9]) + 0.4 * rng.standard_normal(50)

    def loss(w: Any) -> Any:
        return np.sum((x @ w - y) ** 2)

    path = [np.ones(2)]
    for _ in range(40):
        path.append(path[-1] - 2e-3 * mg.grad(loss)(path[-1]))
    return loss, path


def test_the_surface_of_a_model_of_two_weights() -> None:
    loss, path = two_weights()
    seen = []
    figure = viz.plot_surface(lambda w: seen.append(w) or loss(w), path, steps=11, xlabel="intercept")
    assert len(seen) == 121
    assert all(isinstance(w, np.ndarray) and w.shape == (2,) for w in seen)
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("intercept", "parameter 1")
    np.testing.assert_allclose(lines(figure)["path of descent"].get_xydata(), path, rtol=1e-12)
    assert list(lines(figure)) == legend(figure) == ["path of descent", "start", "end"]
    corners = np.array([seen[0], seen[-1]])
    np.testing.assert_allclose(corners.T, [ax.get_xlim(), ax.get_ylim()])
    assert np.all(corners[0] < np.min(path, axis=0))
    assert np.all(corners[1] > np.max(path, axis=0))
    assert png(figure)


def test_two_weights_in_any_structure() -> None:
    def loss(p: Any) -> Any:
        return bowl((p["w"][0], p["b"]))

    path = [{"w": np.array([1.0]), "b": 2.0}, {"b": 1.0, "w": np.array([0.5])}]
    figure = viz.plot_surface(loss, path, at=path[0], extent=((-3, 3), (-4, 4)), steps=5, log=False)
    np.testing.assert_allclose(lines(figure)["path of descent"].get_xydata(), [[1, 2], [0.5, 1]])
    assert (figure.axes[0].get_xlim(), figure.axes[0].get_ylim()) == ((-3, 3), (-4, 4))


def network() -> tuple[nn.Module, Callable[[Any], Any], list[Any]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 1)).astype(np.float32)
    model = nn.Sequential(nn.Linear(1, 4, rng=rng, dtype=np.float32), nn.Tanh(), nn.Linear(4, 1, rng=rng))

    def loss(model: Any) -> Any:
        return F.mse_loss(model(x), np.sin(x))

    path = [model.state_dict()]
    for _ in range(5):
        loss(model).backward()
        with mg.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
        model.zero_grad()
        path.append(model.state_dict())
    return model, loss, path


def test_the_surface_of_a_network_in_the_plane_of_its_path() -> None:
    model, loss, path = network()
    before = model.state_dict()
    seen = []
    figure = viz.plot_surface(lambda m: seen.append(m) or loss(m), path, at=model, steps=5)
    assert figure.axes[0].get_xlabel().startswith("direction 0: ")
    assert lines(figure)["path of descent"].get_xydata().shape == (6, 2)
    np.testing.assert_allclose(lines(figure)["end"].get_xydata(), [[0, 0]], atol=1e-6)
    assert [p.dtype for p in seen[0].parameters()] == [p.dtype for p in model.parameters()]
    assert not any(p.requires_grad for p in seen[0].parameters())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_the_plane_holds_the_path_where_it_can() -> None:
    """A path in a plane keeps its shape: distances between its points are those in the
    space of the parameters.
    """
    rng = np.random.default_rng(2)
    directions = np.linalg.qr(rng.standard_normal((7, 2)))[0].T
    path = [rng.standard_normal(2) @ directions + 1 for _ in range(6)]
    shadow = lines(viz.plot_surface(lambda w: np.sum(w**2), path, steps=3))["path of descent"].get_xydata()
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(shadow, axis=0), axis=1), np.linalg.norm(np.diff(path, axis=0), axis=1), rtol=1e-9
    )


def test_the_share_of_the_paths_variation_is_told() -> None:
    path = [np.array([2.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.zeros(3)]
    ax = viz.plot_surface(lambda w: np.sum(w**2), path, steps=3).axes[0]
    assert ax.get_xlabel() == "direction 0: 80% of the path's variation"
    assert ax.get_ylabel() == "direction 1: 20% of the path's variation"


def test_directions_of_ones_own() -> None:
    middle, a, b = np.ones(3), np.array([1.0, 0, 0]), np.array([0, 0, 2.0])
    seen = []
    figure = viz.plot_surface(lambda w: seen.append(w) or np.sum(w), [middle + a + b], at=middle, directions=(a, b),
                              steps=2, extent=((-1, 1), (-1, 1)))  # fmt: skip
    np.testing.assert_array_equal(seen, [[0, 1, -1], [2, 1, -1], [0, 1, 3], [2, 1, 3]])
    np.testing.assert_allclose(lines(figure)["path of descent"].get_xydata(), [[1, 1]])
    assert figure.axes[0].get_xlabel() == "direction 0"


def test_random_directions_are_as_long_as_the_parameters() -> None:
    at = {"w": np.full((2, 3), 2.0), "v": np.full(4, 0.5)}
    seen: list[Any] = []
    viz.plot_surface(lambda p: seen.append(p) or 1.0, at=at, rng=np.random.default_rng(0), steps=3)
    steps = {name: seen[4][name] - seen[3][name] for name in at}  # from the left to the middle: one unit
    for name, step in steps.items():
        assert np.linalg.norm(step) == pytest.approx(np.linalg.norm(at[name]))
    zero = viz.plot_surface(np.sum, at=np.zeros(5), rng=np.random.default_rng(0), steps=3)
    assert png(zero)
    nothing = {"w": np.ones(3), "v": np.zeros((0, 2))}
    assert png(viz.plot_surface(lambda p: np.sum(p["w"]), at=nothing, rng=np.random.default_rng(0), steps=3))
    again: list[Any] = []
    viz.plot_surface(lambda p: again.append(p) or 1.0, at=at, rng=np.random.default_rng(0), steps=3)
    np.testing.assert_array_equal(again[0]["w"], seen[0]["w"])


def test_where_the_loss_isnt_finite_the_surface_is_hatched() -> None:
    figure = viz.plot_surface(lambda w: np.log(w[0]) + w[1], [np.ones(2), np.array([0.1, 0.5])], steps=9)
    assert "loss is not finite" in legend(figure)
    assert png(figure)
    nothing = viz.plot_surface(lambda w: np.nan, [np.ones(2)], steps=3)
    assert "loss is not finite" in legend(nothing)
    assert png(nothing)


def test_a_path_that_got_lost() -> None:
    path = [np.ones(2), np.zeros(2), np.full(2, np.nan)]
    figure = viz.plot_surface(bowl, path, steps=3)
    assert legend(figure)[0] == "path of descent, lost after step 1: not finite"
    assert png(figure)
    beyond = [np.ones(3), np.eye(3)[0], np.eye(3)[1], np.full(3, np.inf)]
    assert "lost after step 2" in legend(viz.plot_surface(np.sum, beyond, steps=3))[0]
    everywhere = viz.plot_surface(bowl, [np.full(2, np.nan)], at=np.ones(2), steps=3)
    assert legend(everywhere) == []


def test_where_a_path_starts_and_ends() -> None:
    whole = [np.array([1.0, 1.0]), np.array([0.5, -0.25]), np.array([-1.0, 0.25])]
    for path, last in (
        (whole, 2),
        ([*whole, np.full(2, np.nan), np.array([np.inf, 0.0])], 2),
        ([whole[0], np.full(2, np.nan), whole[2]], 2),
        ([whole[0], whole[1], np.full(2, np.nan)], 1),
    ):
        drawn = lines(viz.plot_surface(bowl, path, at=whole[0], steps=3))
        np.testing.assert_allclose(drawn["start"].get_xydata(), [whole[0]])
        np.testing.assert_allclose(drawn["end"].get_xydata(), [whole[last]])
        assert (drawn["start"].get_marker(), drawn["end"].get_marker()) == ("s", "*")
    assert colour_at(viz.plot_surface(bowl, whole, steps=9), *whole[2], reach=0) == (255, 255, 255)


def test_colours_of_a_surface_follow_the_loss() -> None:
    """From dark, where the loss is low, to light; the lowest and the highest of the
    scale are those of the loss.
    """
    for log, loss in ((False, bowl), (True, lambda w: bowl(w) + 0.01)):
        figure = viz.plot_surface(loss, at=np.zeros(2), extent=((-1, 1), (-1, 1)), steps=41, log=log)
        bar = figure.axes[1]
        low, high = loss(np.zeros(2)), loss(np.ones(2))
        np.testing.assert_allclose(bar.get_ylim(), (low, high))
        light = [sum(colour_at(figure, 0.02 + r, 0.9 * r)) for r in (0.0, 0.5, 0.9)]
        assert light == sorted(light)
        assert light[0] < 200 < 400 < light[2]
        across, up = (sum(colour_at(figure, *place)) for place in ((0.9, 0.03), (0.03, 0.9)))
        assert across < up  # three times as steep upwards


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("loss", [lambda w: 1.0, lambda w: 1e300 * bowl(w) + 1, lambda w: mg.tensor([bowl(w) + 1e-9])])
def test_odd_surfaces_are_drawn(loss: Any, log: bool) -> None:
    assert png(viz.plot_surface(loss, [np.ones(2), np.zeros(2)], steps=5, log=log))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs a path, or at=, the parameters in the middle"),
        ({"path": []}, "needs a path, or at=, the parameters in the middle"),
        ({"path": [np.ones(2), np.ones(3)]}, r"the path must hold arrays of the shapes .* \[\(3,\)\], got \[\(2,\)\]"),
        ({"at": np.ones(1)}, "needs at least two parameters, got 1"),
        ({"at": np.ones(3)}, "the path moves in fewer than two directions, which span no plane; pass directions"),
        ({"at": np.ones(3), "path": [np.ones(3), np.zeros(3)]}, "which span no plane"),
        ({"path": [np.ones(3)] * 3}, r"the path doesn't move; append copies to it, such as model\.state_dict\(\)"),
        ({"at": np.ones(3), "directions": (np.ones(3),)}, "directions must be two sets of parameters, got 1"),
        ({"at": np.ones(3), "directions": (np.ones(3), np.ones(3))}, "the two directions span no plane"),
        ({"at": np.ones(3), "directions": (np.ones(3), np.ones(4))}, "a direction must hold arrays of the shapes"),
        ({"at": np.ones(2), "steps": 1}, "steps.* must be at least 2, got 1"),
        ({"at": np.ones(2), "log": True}, r"a loss of -\S+ has no logarithm; use log=False"),
        ({"at": np.array([1j, 2])}, r"at must hold real numbers, got \['complex128'\]"),
        ({"at": np.ones(2), "loss": lambda w: w}, r"the loss must be one real number, got float64 of shape \(2,\)"),
        ({"at": nn.Linear(1, 1), "path": [{"weight": np.ones((1, 1))}]}, "the path lacks the parameters bias"),
    ],
)
def test_what_isnt_a_surface(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        viz.plot_surface(**{"loss": lambda w: bowl(w) - 100, "steps": 3} | arguments)


# Gradients


def test_norms_of_gradients() -> None:
    model = nn.Linear(2, 1)
    assert viz.gradient_norms(model) == {"weight": None, "bias": None}
    model(np.array([[3.0, 4.0]])).sum().backward()
    assert viz.gradient_norms(model) == viz.gradient_norms(model.parameters()) == {"weight": 5.0, "bias": 1.0}
    json.dumps(viz.gradient_norms(model))
    x, y = (mg.tensor([1.0, 1.0], requires_grad=True) for _ in range(2))
    (x * np.nan).sum().backward()
    norms = viz.gradient_norms([x, y])
    assert list(norms) == ["parameter 0", "parameter 1"]
    assert np.isnan(norms["parameter 0"])  # type: ignore[arg-type]
    x.name = y.name = "w"
    assert list(viz.gradient_norms([x, y])) == ["w (0)", "w (1)"]
    (x**2).sum().backward(create_graph=True)
    assert list(viz.gradient_norms(x)) == ["w"]
    with pytest.raises(
        TypeError, match=r"takes a module or its parameters, got a float; pass model, or model\.parameters"
    ):
        viz.gradient_norms([1.0])


def test_gradients_over_steps() -> None:
    figure = viz.plot_gradients(NORMS)
    assert figure.axes[0].get_yscale() == "log"
    np.testing.assert_array_equal(lines(figure)["b"].get_xydata(), [[1, 0.5], [2, 0.2]])
    same = viz.plot_gradients({"w": [3.0, 1.0], "b": np.array([0.5, 0.2])})
    np.testing.assert_array_equal(lines(same)["b"].get_xydata(), lines(figure)["b"].get_xydata())


def test_gradients_that_are_zero_missing_or_not_finite() -> None:
    norms = [{"w": 1.0, "b": None, "c": 0.0}, {"w": np.nan, "b": None, "c": 1.0}, {"w": 1.0, "b": None}]
    figure = viz.plot_gradients(norms)
    assert list(lines(figure)) == [
        "w",
        "w: NaN (step 2)",
        "b: no gradient (3 of 3 times)",
        "c",
        "c: 0 (step 1)",
        "c: no gradient (1 of 3 times)",
    ]
    np.testing.assert_array_equal(lines(figure)["c"].get_xdata(), [1, 2])
    assert png(figure)
    assert png(viz.plot_gradients([{"w": None}]))


def many(steps: int, layers: int = 12) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {f"{i}.weight": np.exp(rng.standard_normal(steps) - i) for i in range(layers)}


def boxes(figure: Figure) -> dict[str, list[tuple[float, ...]]]:
    """Return what is marked on a map: the row, and from where to where."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for collection in figure.axes[0].collections:
        for path in collection.get_paths():
            (x0, y0), (x1, _) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            found.setdefault(str(collection.get_label()), []).append((y0 + 0.5, x0, x1))
    return found


def test_many_gradients_are_a_map() -> None:
    norms: Any = many(20)
    norms["1.weight"][5:] = np.nan
    norms["2.weight"][:] = 0
    norms["3.weight"] = [None] * 20
    figure = viz.plot_gradients(norms)
    ax, bar = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == list(norms)
    assert bar.get_ylabel() == "norm of the gradient"
    assert legend(figure) == ["0", "NaN or Inf", "no gradient"]
    (image,) = ax.images
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()).sum(axis=1), [0, 15, 20, 20] + [0] * 8)
    assert boxes(figure) == {
        "0": [(2, 0.5, 20.5)],
        "NaN or Inf": [(1, 5.5, 20.5)],
        "no gradient": [(3, 0.5, 20.5)],
    }
    assert png(figure)


def test_colours_of_a_map_follow_the_norms() -> None:
    norms: Any = {str(i): [10.0**-i, 10.0 ** (i - 9), 1e-3] for i in range(9)}
    norms["4"] = [0.0, np.nan, 5.0]
    norms["8"][2] = 30.0
    figure = viz.plot_gradients(norms)
    (image,) = figure.axes[0].images
    assert (image.norm.vmin, image.norm.vmax) == (1e-9, 30.0)
    np.testing.assert_allclose(figure.axes[1].get_ylim(), (1e-9, 30.0))
    colours = matplotlib.colormaps[canvas.SURFACE]
    for row, column in ((0, 0), (8, 0), (0, 1), (8, 2), (3, 2), (4, 2)):
        share = np.log(norms[str(row)][column] / 1e-9) / np.log(30.0 / 1e-9)
        seen, wanted = colour_at(figure, column + 1, row), rgb(colours(share))
        assert np.abs(np.subtract(seen, wanted)).max() <= 3, (row, column)
    same = viz.plot_gradients({str(i): [2.0, 2.0] for i in range(9)})
    assert png(same)


def test_a_map_of_very_many_steps_loses_no_nan() -> None:
    norms = many(10_000)
    norms["4.weight"][7777] = np.inf
    norms["5.weight"][3] = np.nan
    figure = viz.plot_gradients(norms)
    (image,) = figure.axes[0].images
    assert image.get_array().shape == (12, 500)  # type: ignore[union-attr]
    assert boxes(figure) == {"NaN or Inf": [(4, 7760.5, 7780.5), (5, 0.5, 20.5)]}
    assert image.get_array()[0].max() == norms["0.weight"].max()
    assert png(viz.plot_gradients({str(i): [0.0, np.nan] for i in range(9)}))
    tall = viz.plot_gradients({str(i): [1.0, 2.0] for i in range(250)})
    assert [text.get_text() for text in tall.axes[0].get_yticklabels()][:3] == ["0", "3", "6"]
    assert tall.get_figheight() > 2 * figure.get_figheight()


@pytest.mark.parametrize("norms", [[5e-324], [1e-300, 1.0], [1e300, 1e-300, np.inf], [1e199, 1e-199], [1e308]])
def test_norms_of_every_size_are_a_map(norms: list[float]) -> None:
    figure = viz.plot_gradients({str(i): norms for i in range(9)})
    assert png(figure)
    assert any("over 1e+200" in text.get_text() for text in figure.legends[0].texts) if max(norms) > 1e200 else True


def test_a_stretch_of_a_map_has_a_gradient_if_one_of_its_steps_has() -> None:
    norms: Any = many(1000)
    norms["3.weight"] = [None if i % 2 else 1.0 for i in range(1000)]
    norms["4.weight"] = [None if i < 500 else 1.0 for i in range(1000)]
    figure = viz.plot_gradients(norms)
    assert boxes(figure) == {"no gradient": [(4, 0.5, 500.5)]}


@pytest.mark.parametrize(
    ("norms", "message"),
    [
        ([], "there are no norms to plot"),
        ({}, "there are no norms to plot"),
        ({"w": []}, "there are no norms to plot"),
        (
            [1.0, 2.0],
            r"takes a list of the dicts that viz.gradient_norms\(model\) returned after each step, got one of float",
        ),
        ({"w": [1.0, 2.0], "b": [1.0]}, "'b' has 1 norms where another parameter has 2"),
        ({"w": [-1.0]}, r"a norm of 'w' is negative \(-1\)"),
        ({"w": [[1.0, 2.0]]}, "the norms of 'w' must be one number for each step"),
        ({"w": ["much"]}, "the norms of 'w' must be real numbers, one for each step"),
    ],
)
def test_what_arent_norms(norms: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        viz.plot_gradients(norms)


# Smooth curves, many curves, many points, dark grounds


def test_a_smooth_curve_is_a_weighted_mean_of_what_was_before() -> None:
    losses = np.array([4.0, np.nan, 2.0, 1.0])
    figure = viz.plot_history({"a": losses}, smooth=0.5)
    assert marks(figure) == ["a: NaN (epoch 2)"]
    lines = figure.axes[0].lines
    pale, smooth = (np.asarray(line.get_ydata()) for line in lines if len(np.asarray(line.get_xdata())) == 4)
    np.testing.assert_array_equal(pale, losses)
    weights = 0.5 ** np.arange(3)[::-1]
    expected = [4.0, np.nan, (0.5 * 4 + 2) / 1.5, np.sum(weights * [4.0, 2.0, 1.0]) / weights.sum()]
    np.testing.assert_allclose(smooth, expected)


def test_a_logarithmic_axis_has_plain_numbers() -> None:
    figure = viz.plot_history(np.linspace(0.2, 3.0, 200), log=True, log_x=True)
    pixels(figure)
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        texts = [label.get_text() for label in labels]
        assert {"1", "2"} <= set(texts)
        assert not any("$" in text for text in texts)


def test_a_long_legend_takes_no_room_from_the_picture() -> None:
    names = [f"a curve with quite a long name {i}" for i in range(12)]
    figure = viz.plot_history({name: [1.0, 2.0] for name in names}, ylabel="norm of the update / norm of the weights")
    pixels(figure)
    label = figure.axes[0].yaxis.label.get_window_extent()
    assert 0 < label.y0 < label.y1 < figure.bbox.y1
    assert legend(viz.plot_history({"the only one": [1.0, 2.0]})) == ["the only one"]


def test_of_very_many_curves_some_are_named() -> None:
    figure = viz.plot_history({f"run {i}": [1.0, float(i)] for i in range(40)})
    names = legend(figure)
    assert len(figure.axes[0].lines) == 40
    assert len(names) <= 13
    assert (names[0], names[-1]) == ("run 0", "run 39")


def test_all_of_very_many_observations_are_drawn() -> None:
    x = np.random.default_rng(0).permutation(20_000) / 1e3
    (observed,) = (line for line in viz.plot_fit(x, np.sin(x)).axes[0].lines if len(np.asarray(line.get_xdata())) > 400)
    assert len(np.asarray(observed.get_xdata())) == 20_000
    (handle,) = observed.axes.get_legend().legend_handles
    assert handle.get_alpha() == 1.0
    assert 0 < float(observed.get_alpha() or 1.0) < 0.5


@pytest.mark.parametrize("style", ["dark_background", "default"])
def test_a_plot_can_be_read_on_its_ground(style: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    monitor = viz.Monitor(model)
    loss = np.sum(model(np.ones((2, 4))))
    monitor.step()
    with matplotlib.style.context(style):
        figures = [
            viz.plot_history({"train": [1.0, 0.5, np.nan], "test": [2.0, 1.0, 1.0]}, log=True),
            viz.plot_gradients([{f"w{i}": 10.0**-i for i in range(9)}] * 3),
            viz.plot_surface(lambda w: np.sum(w**2), [np.ones(2), np.zeros(2)], steps=5),
            viz.plot_monitor(monitor),
            viz.plot_monitor(monitor, "updates"),
            viz.draw_network(model, np.ones(4), title="T"),
            viz.draw_weights(model, title="T"),
            viz.profile(lambda: np.sum(model(np.ones((2, 4)))), repeat=1, title="T"),
        ]
    assert loss.requires_grad
    for figure in figures:
        pixels(figure)
        ground = sum(to_rgb(figure.get_facecolor()))  # type: ignore[arg-type]
        assert (ground < 1.5) == (style == "dark_background")
        texts = [text for text in figure.findobj(Text) if text.get_text() and not text.get_path_effects()]
        boxes = [box for ax in figure.axes for box in ax.patches]
        for text in texts:
            x, y = text.get_window_extent().get_points().mean(axis=0)
            behind = [box.get_facecolor() for box in boxes if box.get_window_extent().contains(x, y)]
            below = sum(to_rgb(behind[-1])) if behind else ground
            assert abs(sum(to_rgb(text.get_color())) - below) > 1.2, text


def test_a_path_says_which_step_is_where() -> None:
    path = [np.array([np.cos(i / 9), np.sin(i / 9)]) for i in range(31)]
    texts = [text for text in viz.plot_surface(lambda w: np.sum(w**2), path, steps=5).axes[0].texts if text.get_text()]
    assert [text.get_text() for text in texts] == ["10", "20", "30"]
    np.testing.assert_allclose([text.xy for text in texts], path[10::10])  # type: ignore[attr-defined]
