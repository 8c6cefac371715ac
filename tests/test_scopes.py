"""What is recorded for pictures: scopes of modules and of `mg.scope`, and lines of
code. Outside of them, nothing.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn
from microgradnd.tape import Operation, current


def marks(t: Any) -> list[str]:
    return [name for _, _, name in t._node.note.marks] if t._node.note else []


def test_operations_are_marked_in_scopes_only() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    before = x * 2
    with mg.scope("outer"):
        first = x * 2
        with mg.scope("inner"):
            second = x + first
        third = np.tanh(second)
    after = x * 2
    assert before._node.note is after._node.note is None  # type: ignore[union-attr]
    assert marks(first) == marks(third) == ["outer"]
    assert marks(second) == ["outer", "inner"]
    assert current().record is Operation


def test_each_entering_is_a_scope_of_its_own() -> None:
    x = mg.tensor(1.0, requires_grad=True)
    part = mg.scope("part")
    starts = []
    for _ in range(2):
        with part, part:
            starts += [start for start, _, _ in (x * 2)._node.note.marks]  # type: ignore[union-attr]
    assert len(set(starts)) == 4
    assert starts == sorted(starts)


def test_a_scope_decorates() -> None:
    @mg.scope("twice")
    def twice(x: Any) -> Any:
        return 2 * x

    assert marks(twice(mg.tensor(1.0, requires_grad=True))) == ["twice"]


def test_a_scope_does_not_record_what_is_not_recorded() -> None:
    x = mg.tensor(1.0, requires_grad=True)
    with mg.no_grad(), mg.scope("quiet"):
        assert not (x * 2).requires_grad
    with mg.scope("outer"), mg.no_grad():
        assert not (x * 2).requires_grad
        with mg.enable_grad():
            assert marks(x * 2) == ["outer"]


def test_a_compiled_function_may_have_scopes() -> None:
    def f(x: Any) -> Any:
        with mg.scope("part"):
            return np.sum(x * 2)

    assert mg.compile(mg.grad(f))(np.ones(2)).tolist() == [2.0, 2.0]


def test_a_scope_has_a_name() -> None:
    with pytest.raises(TypeError, match="name must be a string, the name of a part of the computation, got 3"):
        mg.scope(3)  # type: ignore[arg-type]


def test_lines_are_noted_on_demand() -> None:
    x = mg.tensor(2.0, requires_grad=True)
    with mg.scope("a"):
        assert (x * 2)._node.note.line is None  # type: ignore[union-attr]
    with mg.scope("a", lines=True), mg.scope("b"):
        y = np.sum(x * 2)
    for node in (y._node, y._node.parents[0]):
        filename, line = node.note.line
        assert filename == __file__
        with open(filename, encoding="utf-8") as file:
            assert file.readlines()[line - 1].strip() == "y = np.sum(x * 2)"


def test_anomalies_name_the_line_and_keep_scopes() -> None:
    x = mg.tensor([1.0, 0.0], requires_grad=True)
    with mg.scope("loss"), mg.detect_anomaly():
        y = np.sqrt(x)
    assert marks(y) == ["loss"]
    assert y._node.note.line[0] == __file__  # type: ignore[union-attr]
    with mg.detect_anomaly(), mg.scope("loss"):
        assert marks(x * 2) == ["loss"]
        message = r"log made .* \(.*test_scopes.py, line \d+: np.log\(x\)\)"
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
            np.log(x)
    message = r"of sqrt made .*line \d+: y = np.sqrt"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message), mg.detect_anomaly():
        y.sum().backward()


class Pair(nn.Module):
    def __init__(self) -> None:
        self.inner = nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        h = self.inner(x)
        return h, {"tanh": [np.tanh(h)], "x": x, "length": 2}


def test_calls_of_modules_are_marked_on_what_they_return() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    x = mg.tensor(np.ones((3, 2)), requires_grad=True)
    y = model(x)
    linear = y._node.parents[0]
    assert [name for _, _, name in linear.note.marks] == ["Linear"]
    assert marks(y) == ["Tanh", "Sequential"]
    start = y._node.note.marks[1][0]
    assert x._node.position < start < linear.position  # type: ignore[union-attr]
    assert y._node.note.marks[1][1]() is model


def test_modules_may_return_structures() -> None:
    x = mg.tensor(np.ones((3, 2)), requires_grad=True) * 1
    h, rest = Pair()(x)
    assert marks(h) == ["Linear", "Pair"]
    assert marks(rest["tanh"][0]) == ["Pair"]
    assert marks(x) == []  # what it only passed on isn't its own


def test_a_module_that_keeps_its_output_is_freed_with_it() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            self.last = self.inner(x)
            return self.last

    gc.disable()
    try:
        model = Remembers()
        out = model(np.ones((3, 2)))
        alive = weakref.ref(out), weakref.ref(model)
        del model, out
        assert [ref() for ref in alive] == [None, None]
    finally:
        gc.enable()


def test_modules_cost_nothing_where_nothing_is_recorded() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with mg.no_grad():
        assert model(np.ones((3, 2)))._node is None
