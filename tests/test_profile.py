"""Flame graphs: what is measured, where it is added up, and what is written on the
boxes.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.nn import functional as F

module: Any = sys.modules["microgradnd.viz.profile"]
X, W = np.ones((40, 30)), np.ones((30, 20))


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each operation take a second."""
    monkeypatch.setattr(module, "clock", lambda: lambda: 1.0)


def boxes(figure: Figure, which: int = 0) -> list[tuple[str, float, float, int]]:
    """Return the boxes with a name: what is written up to the size, from where to
    where, and in which row.
    """
    ax = figure.axes[which]
    patches = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    found = []
    for text in ax.texts:
        x, y = text.get_position()
        (box,) = [p for p in patches if 0 <= x - p.get_x() <= p.get_width() and 0 <= y - p.get_y() <= p.get_height()]
        name = text.get_text().partition(" · ")[0]
        found.append((name, box.get_x(), box.get_x() + box.get_width(), round(-y - 0.5)))
    return sorted(found, key=lambda box: (box[3], box[1]))


def names(figure: Figure, which: int = 0) -> set[str]:
    return {name for name, *_ in boxes(figure, which)}


def scoped(w: Any) -> Any:
    with mg.scope("outer"):
        y = X @ w
        with mg.scope("inner"):
            y = np.tanh(np.tanh(y))
    return np.sum(y)


def test_boxes_lie_below_what_they_are_part_of(ticks: None) -> None:
    figure = viz.profile(scoped, mg.tensor(W, requires_grad=True), title="$4")
    assert boxes(figure) == [
        ("total", 0, 8, 0),
        ("forward", 0, 4, 1),
        ("backward", 4, 8, 1),
        ("outer", 0, 3, 2),
        ("Σ", 3, 4, 2),
        ("Σ", 4, 5, 2),
        ("outer", 5, 8, 2),
        ("@", 0, 1, 3),
        ("inner", 1, 3, 3),
        ("inner", 5, 7, 3),
        ("@", 7, 8, 3),
        ("tanh ×2", 1, 3, 4),
        ("tanh ×2", 5, 7, 4),
    ]
    assert figure.get_suptitle() == r"\$4"
    assert figure.axes[0].get_title(loc="left") == "time: 8,000.000 ms (forward 4,000.000 ms, backward 4,000.000 ms)"


def test_frames_add_up() -> None:
    whole = module.Frame("total")
    for path, size in ((("forward", "a", "+"), 2.0), (("forward", "+"), 1.0), (("backward", "a", "+"), 3.0)):
        whole.add(path, size)
    whole.add(("forward", "a", "+"), 0.5)
    assert (whole.size, whole.count) == (6.5, 4)
    forward = whole.within["forward"]
    assert (forward.size, forward.count, list(forward.within)) == (3.5, 3, ["a", "+"])
    assert (forward.within["a"].size, forward.within["a"].within["+"].count) == (2.5, 2)


def test_the_quickest_of_several_runs_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = iter([1.0] * 6 + [9.0, 5.0, 1.0, 9.0, 7.0, 2.0] + [9.0, 4.0, 2.0, 9.0, 3.0, 2.0])
    monkeypatch.setattr(module, "clock", lambda: lambda: next(reads))
    figure = viz.profile(lambda w: np.sum(w * 2), mg.tensor(W, requires_grad=True), repeat=2)
    assert figure.axes[0].get_title(loc="left") == "time: 11,000.000 ms (forward 6,000.000 ms, backward 5,000.000 ms)"


def test_memory_is_what_was_needed_in_addition() -> None:
    size = 200_000
    big = mg.tensor(np.ones(size), requires_grad=True)
    _, forward, backward = module._measured(lambda: np.sum(np.tanh(big)), (), lambda: 0.0)
    tracemalloc.start()
    try:
        _, forward, backward = module._measured(lambda: np.sum(np.tanh(big)), (), module.allocated())
    finally:
        tracemalloc.stop()
    (_, tanh), (_, total) = forward
    assert 8 * size <= tanh < 8.2 * size
    assert total < 0.1 * size
    assert [node.function for node, _ in backward] == [np.sum, np.tanh]
    assert 8 * size <= backward[1][1] < 33 * size


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (scoped, (mg.tensor(W.astype(np.float32), requires_grad=True),)),
        (lambda x, k: np.tanh(x) * k, (mg.tensor(W, requires_grad=True), 3)),  # not one number: its sum
        (mg.compile(scoped), (mg.tensor(W, requires_grad=True),)),
        (lambda: F.mse_loss(nn.Linear(30, 2)(X), np.ones((40, 2))), ()),
        (lambda x: np.linalg.eigh(x @ x.T)[0], (mg.tensor(W[:3], requires_grad=True),)),
        (lambda x: x.reshape(-1)[:0], (mg.tensor(W, requires_grad=True),)),
    ],
)
def test_any_function(f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    figure = viz.profile(f, *args, repeat=1)
    assert {"total", "forward", "backward"} <= names(figure) | names(figure, 1)
    assert [ax.get_title(loc="left").split(":")[0] for ax in figure.axes] == ["time", "memory"]


def test_modules_are_called_by_their_paths(ticks: None) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            self.mlp = nn.Sequential(nn.Linear(30, 30), nn.Tanh())

        def forward(self, x: Any) -> Any:
            with mg.scope("half"):
                return x + self.mlp(x)

    model = nn.Sequential(Block())
    assert {"Sequential", "0 Block", "half", "mlp", "0 Linear", "1 Tanh"} <= names(
        viz.profile(lambda: np.sum(model(X)))
    )


def test_it_leaves_no_trace() -> None:
    w = mg.tensor(W, requires_grad=True)
    w.register_hook(lambda g: 1 / 0)
    viz.profile(scoped, w, repeat=1)
    assert w.grad is None
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        viz.profile(scoped, w, repeat=1)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
