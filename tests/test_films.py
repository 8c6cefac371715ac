"""Films of training: what is on their frames, how many there are, and that the model
stays as it is.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.viz import films

X = np.linspace(-1.0, 1.0, 9)[:, None]
PLANE = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def line(slope: float, dtype: Any = float) -> nn.Linear:
    """Return a model that multiplies by a number."""
    model = nn.Linear(1, 1, bias=False, dtype=dtype)
    model.weight.data = np.array([[slope]], dtype)
    return model


def plane(*weights: list[float]) -> nn.Linear:
    """Return a model of two variables with these rows of weights."""
    model = nn.Linear(2, len(weights), bias=False)
    model.weight.data = np.array(weights)
    return model


def captions(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text.count('class="step"') == text.count("data:image/png")
    found: list[str] = json.loads(re.findall(r"const captions = (\[.*\]);", text)[0])
    return found


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the axes that films are drawn on."""
    made: list[Any] = []
    canvas = films.canvas

    @contextlib.contextmanager
    def collect(*args: Any) -> Any:
        with canvas(*args) as (figure, ax):
            made.append(ax)
            yield figure, ax

    monkeypatch.setattr(films, "canvas", collect)
    return made


def test_the_curve_after_each_epoch(axes: list[Any], tmp_path: Path) -> None:
    states = [line(slope).state_dict() for slope in (0.0, 1.0, 2.0)]
    model = line(7.0)
    path = viz.animate_training(
        states, tmp_path / "film.html", model, X, 2 * X, truth=lambda x: 2 * x, losses=[5, 2.5], title="a line"
    )
    assert captions(path) == ["epoch 0", "epoch 1, loss 5", "epoch 2, loss 2.5"]
    (ax,) = axes
    drawn = {str(artist.get_label()): artist for artist in ax.lines}
    assert list(drawn) == ["observed", "truth", "model"]
    x, y = drawn["model"].get_data()
    np.testing.assert_allclose(y, 2 * x)
    assert (x[0], x[-1]) == (-1.16, 1.16)
    assert ax.get_ylim() == (-2.32, 2.32)
    assert ax.get_title(loc="left") == "a line: epoch 2, loss 2.5"
    assert model.weight.data.tolist() == [[7.0]]
    assert model.training


@pytest.mark.parametrize(
    ("models", "y", "right"),
    [
        ([plane([0, 0], [-1, 1]), plane([0, 0], [1, 1])], [0, 1, 1, 1], ["50%", "100%"]),  # two outputs: the greater
        ([plane([-1, 1]), plane([0.3, 0.3])], [0, 1, 1, 1], ["50%", "100%"]),  # a single one: above 0
        ([plane([-1, 1]), plane([1, 1])], [-1, 1, 1, 1], ["50%", "100%"]),
        ([plane([0.1, 0.1], [-1, 1], [1, -1])], [0, 1, 2, 0], ["100%"]),
    ],
)
def test_the_classes_after_each_epoch(
    models: list[nn.Linear], y: list[int], right: list[str], axes: list[Any], tmp_path: Path
) -> None:
    states = [model.state_dict() for model in models]
    path = viz.animate_training(states, tmp_path / "film.html", models[0], PLANE, y)
    assert captions(path) == [f"epoch {k}, {share} right" for k, share in enumerate(right)]
    (ax,) = axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == sorted({str(v) for v in y})
    assert len({artist.get_marker() for artist in ax.lines}) == len(set(y)) + (
        "o" not in {a.get_marker() for a in ax.lines}
    )


def test_wrong_observations_have_a_ring(axes: list[Any], tmp_path: Path) -> None:
    viz.animate_training([plane([-1, 1]).state_dict()], tmp_path / "film.gif", plane([0, 0]), PLANE, [0, 1, 1, 1])
    rings = axes[0].lines[-1]
    assert rings.get_markerfacecolor() == "none"
    assert np.column_stack(rings.get_data()).tolist() == [[1.0, 0.0], [1.0, 1.0]]


def test_shares_are_above_a_half(tmp_path: Path) -> None:
    model = nn.Sequential(plane([1, 1]), nn.Sigmoid())
    path = viz.animate_training([model.state_dict()], tmp_path / "film.html", model, PLANE - 0.25, [0, 1, 1, 1])
    assert captions(path) == ["epoch 0, 100% right"]
    assert model.training


def test_of_many_epochs_some_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(films, "MOST_FRAMES", 5)
    states = [line(slope, np.float32).state_dict() for slope in np.linspace(0, 2, 100)]
    path = viz.animate_training(
        states, tmp_path / "film.gif", line(0, np.float32), X[:, 0].astype(np.float32)[:, None], X
    )
    with Image.open(path) as film:
        assert film.n_frames == 5


def test_a_training_that_fails_has_a_film(tmp_path: Path) -> None:
    states = [line(slope).state_dict() for slope in (1.0, np.inf, np.nan)]
    path = viz.animate_training(states, tmp_path / "film.html", line(0.0), X, X, losses=[1.0, np.inf, np.nan])
    assert captions(path) == ["epoch 0, loss 1", "epoch 1, loss inf, not finite", "epoch 2, loss nan, not finite"]


def test_tensors_and_vectors(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            self.slope = nn.Parameter(2.0)

        def forward(self, x: Any) -> Any:
            assert x.ndim == 1
            return self.slope * x

    model = Scaled()
    path = viz.animate_training([model.state_dict()], tmp_path / "film.html", model, mg.tensor(X[:, 0]), mg.tensor(X))
    assert captions(path) == ["epoch 0"]
