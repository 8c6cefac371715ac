"""Pictures: the model made from the tape, the DOT made from the model, the files made
from DOT.
"""

from __future__ import annotations

import gc
import html
import json
import re
import stat
import sys
import weakref
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.forms import parameters_of
from microgradnd.nn import functional as F
from microgradnd.primitives import relu
from microgradnd.tape import Operation
from microgradnd.viz import dot, render, signs
from microgradnd.viz import labels as labels_
from microgradnd.viz import values as values_module
from microgradnd.viz.graph import graph
from microgradnd.viz.model import VIEWS, Graph, Node
from microgradnd.viz.values import values_of

NAMED = bool(parameters_of(np.where))  # in NumPy 2.0 its parameters have no names
MAGIC = {"svg": b"<?xml", "png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF", "dot": b"digraph {"}


class Seed:
    """The documents' two-layer network on named Tensors."""

    def __init__(self, named_data: bool = True) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((100, 3)), rng.standard_normal((100, 1))
        self.x: Any = mg.tensor(x, name="x") if named_data else x
        self.y: Any = mg.tensor(y, name="y") if named_data else y
        shapes = {"w1": (3, 32), "b1": (1, 32), "w2": (32, 1), "b2": (1, 1)}
        self.parameters = {
            name: mg.tensor(rng.standard_normal(shape), requires_grad=True, name=name) for name, shape in shapes.items()
        }

    def loss(self) -> mg.Tensor:
        w1, b1, w2, b2 = self.parameters.values()
        h = self.x @ w1 + b1
        h.name = "h"
        y_pred = relu(h) @ w2 + b2
        y_pred.name = "y_pred"
        loss: mg.Tensor = ((y_pred - self.y) ** 2).sum()
        loss.name = "loss"
        return loss


def by_name(model: Graph) -> dict[str | None, Node]:
    return {node.name: node for node in model.nodes}


def by_id(model: Graph) -> dict[str, Node]:
    return {node.id: node for node in model.nodes}


def text_of(label: str) -> str:
    """Return the text of an HTML-like label, which must be well-formed XML."""
    return "".join(ElementTree.fromstring(f"<label>{label}</label>").itertext()).replace("\xa0", "")


def labels(source: str) -> dict[str, str]:
    """Return the texts of a DOT program: nodes by their ids, edges by `a -> b`."""
    found = re.findall(r"^\t(\S+) \[.*?label=<(.*?)>(?:, tooltip=.*)?\]$", source, re.MULTILINE)
    return {re.sub(r"(\w+)_to_(\w+)_\d", r"\1 -> \2", subject): text_of(label) for subject, label in found}


@pytest.fixture
def no_dot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave no program to be found."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


# The model


def test_the_model_of_the_seed_network() -> None:
    model = graph(Seed().loss())
    assert [(node.id, node.kind, node.name, node.text, node.shape) for node in model.nodes] == [
        ("n0", "input", "x", "", (100, 3)),
        ("n1", "parameter", "w1", "", (3, 32)),
        ("n2", "operation", None, "@", (100, 32)),
        ("n3", "parameter", "b1", "", (1, 32)),
        ("n4", "operation", "h", "+", (100, 32)),
        ("n5", "operation", None, "relu", (100, 32)),
        ("n6", "parameter", "w2", "", (32, 1)),
        ("n7", "operation", None, "@", (100, 1)),
        ("n8", "parameter", "b2", "", (1, 1)),
        ("n9", "operation", "y_pred", "+", (100, 1)),
        ("n10", "input", "y", "", (100, 1)),
        ("n11", "operation", None, "−", (100, 1)),
        ("n12", "operation", None, "x²", (100, 1)),
        ("n13", "operation", "loss", "Σ", ()),
        ("result", "result", "loss", "", ()),
    ]
    assert [(edge.source, edge.target, edge.position) for edge in model.edges] == [
        ("n0", "n2", 0),
        ("n1", "n2", 1),
        ("n2", "n4", 0),
        ("n3", "n4", 1),
        ("n4", "n5", 0),
        ("n5", "n7", 0),
        ("n6", "n7", 1),
        ("n7", "n9", 0),
        ("n8", "n9", 1),
        ("n9", "n11", 0),
        ("n10", "n11", 1),
        ("n11", "n12", 0),
        ("n12", "n13", 0),
        ("n13", "result", 0),
    ]
    assert (model.operations, model.notes, model.scopes) == (8, [], {})


@pytest.mark.parametrize("named_data", [True, False])
def test_after_backward_the_same_graph_has_gradients(named_data: bool) -> None:
    seed = Seed(named_data)
    loss = seed.loss()
    before = graph(loss)
    loss.backward()
    after = graph(loss)
    assert isinstance(loss._node, Operation)
    assert loss._node.args is None
    if named_data:
        assert [(n.id, n.kind, n.name, n.text, n.shape) for n in after.nodes] == [
            (n.id, n.kind, n.name, n.text, n.shape) for n in before.nodes
        ]
        assert after.edges == before.edges
    else:  # y was freed with the subtraction: only a constant is left
        assert by_id(before)["n1_0"].shape == (100, 3)
        assert by_id(after)["n1_0"] == Node("n1_0", "constant")
        assert "− const" in [node.text for node in after.nodes]
    nodes = by_name(after)
    for name, parameter in seed.parameters.items():
        values, grad = nodes[name].values, nodes[name].grad
        assert values is not None
        assert grad is not None
        assert grad.norm == pytest.approx(float(np.linalg.norm(parameter.grad)), rel=1e-12)
        assert values.mean == pytest.approx(float(parameter.data.mean()), rel=1e-9)
        assert (values.lowest, values.highest) == (parameter.data.min(), parameter.data.max())
    assert nodes["loss"].values is not None
    assert nodes["loss"].values.elements == loss.item()


def test_an_axis_that_was_let_go_of_is_no_operand() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    joined = np.concatenate([x, x])
    ids = [node.id for node in graph(joined).nodes]
    joined.backward(np.ones(4))
    assert [node.id for node in graph(joined).nodes] == ids == ["n0", "n1", "result"]


def test_a_constant_that_was_let_go_of_is_called_one() -> None:
    y = np.ones((3, 2)) @ mg.tensor([1.0, 2.0], requires_grad=True)
    y.backward(np.ones(3))
    assert labels(viz.draw(y).source)["n1_0"] == "constant"


def test_an_optimizer_step_changes_the_values_but_not_the_ids() -> None:
    seed = Seed()
    loss = seed.loss()
    loss.backward()
    before = graph(loss)
    with mg.no_grad():
        for parameter in seed.parameters.values():
            parameter -= 0.01 * parameter.grad
    after = graph(loss)
    assert [(n.id, n.name, n.text) for n in after.nodes] == [(n.id, n.name, n.text) for n in before.nodes]
    values = by_name(after)["w1"].values
    assert values is not None
    assert values.highest == seed.parameters["w1"].data.max()


def test_two_drawings_of_one_computation_are_equal() -> None:
    assert viz.draw(Seed().loss()).source == viz.draw(Seed().loss()).source


def test_gradients_of_results_that_retain_them() -> None:
    x = mg.tensor(3.0, requires_grad=True)
    y = x * x
    y.name = "y"
    y.retain_grad()
    z = 2 * y
    z.retain_grad()
    z.backward()
    nodes = by_id(graph(z))
    assert nodes["n1"].grad is not None
    assert nodes["n1"].grad.elements == 2.0
    assert nodes["result"].grad is not None
    assert nodes["result"].grad.elements == 1.0
    assert labels(viz.draw(z).source)["n1 -> n2"] == "y = 9grad 2"


def test_gradients_that_are_tensors() -> None:
    x = mg.tensor(3.0, requires_grad=True, name="x")
    (x**3).backward(create_graph=True)
    node = graph(x).nodes[0]
    assert node.accumulated is not None
    assert node.accumulated.elements == 27.0


@given(
    values=arrays(
        np.float64,
        array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements=st.floats(allow_nan=True, allow_infinity=True),
    )
)
@example(values=np.array([1e308, 1e308, -1e308, 3.0, 4.0]))
@example(values=np.array([5e-324, 0.0, 0.0, 0.0, -5e-324]))
@example(values=np.zeros((0, 3)))
def test_what_is_said_of_an_array_is_true(values: Any) -> None:
    said = values_of(values)
    assert said is not None
    finite = values[np.isfinite(values)]
    assert (said.size, said.nan, said.inf) == (values.size, np.isnan(values).sum(), np.isinf(values).sum())
    if values.size <= 4:
        np.testing.assert_array_equal(np.reshape(said.elements, values.shape), values)
    else:
        assert said.elements is None
    if finite.size:
        assert said.lowest is not None
        assert said.mean is not None
        assert said.highest is not None
        assert (said.lowest, said.highest) == (finite.min(), finite.max())
        assert said.lowest <= said.mean <= said.highest
        exact = float(np.mean(finite.astype(np.longdouble)))
        assert said.mean == pytest.approx(exact, rel=1e-9, abs=1e-12 * float(np.abs(finite).max()))
    else:
        assert (said.lowest, said.mean, said.highest) == (None, None, None)
    if not said.nan and not said.inf:
        exact = float(np.sqrt(np.sum(np.square(values.astype(np.longdouble)))))
        assert said.norm == pytest.approx(exact, rel=1e-9, abs=1e-323)
    labels_.values_text(said)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.complex128])
def test_a_large_array_is_looked_at_in_parts(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values: Any = np.arange(-30, 30).reshape(5, 12).T[::-1].astype(dtype)
    whole = values_of(values)
    monkeypatch.setattr(values_module, "BLOCK", 7)
    parts = values_of(values)
    assert whole is not None
    assert parts is not None
    assert (whole.size, whole.lowest, whole.highest, whole.zeros) == (60, parts.lowest and -30, parts.highest and 29, 1)
    assert (parts.size, parts.zeros, parts.nan) == (60, 1, 0)
    assert parts.norm == pytest.approx(whole.norm)
    assert parts.mean == pytest.approx(whole.mean)
    if dtype is np.float32:
        values[3, 3], values[4, 4] = np.nan, -np.inf
        said = values_of(values)
        assert said is not None
        assert (said.nan, said.inf, np.isnan(said.norm)) == (1, 1, True)


def test_the_mean_of_a_large_array_with_holes() -> None:
    """What isn't finite counts for nothing, wherever it lies."""
    block = values_module.BLOCK
    values = np.concatenate([np.full(block // 2, np.nan), np.full(block // 2, 2.0), np.full(block, 8.0), [np.inf]])
    said = values_of(values)
    assert said is not None
    assert said.mean == pytest.approx((2.0 * (block // 2) + 8.0 * block) / (1.5 * block))
    assert (said.size, said.nan, said.inf, said.zeros) == (values.size, block // 2, 1, 0)
    assert (said.lowest, said.highest) == (2.0, 8.0)
    assert np.isnan(said.norm)
    nothing = values_of(np.full(block + 1, np.nan))
    assert nothing is not None
    assert (nothing.lowest, nothing.mean, nothing.highest) == (None, None, None)


def test_a_mean_lies_between_the_lowest_and_the_highest() -> None:
    for count in range(3, 60):
        said = values_of(np.full(count, 0.1))
        assert said is not None
        assert said.lowest == said.mean == said.highest == 0.1


def test_norms_of_numbers_whose_squares_are_lost() -> None:
    for values, norm in (([3e-170, 4e-170], 5e-170), ([3e170, 4e170], 5e170), ([3e-320] * 2, 4.2e-320)):
        said = values_of(np.array(values))
        assert said is not None
        assert said.norm == pytest.approx(norm, rel=1e-2)
    parts = values_module.together([np.array([3e170]), np.array([4e170])])
    assert parts is not None
    assert parts.norm == pytest.approx(5e170)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.array(2.5), "2.5"),
        (np.array([[1.0, -2.0], [0.125, 1e-9]]), "[[1, -2], [0.125, 1e-09]]"),
        (np.arange(5.0), "min 0  mean 2  max 4"),
        (np.full((3, 3), 0.1), "all 0.1"),
        (np.zeros((0, 2)), "[]"),
        (np.array([True, False]), "[True, False]"),
        (np.array([1 + 2j]), "1+2j"),
        (np.full(9, 3j), "‖·‖ 9"),
        (np.array([np.nan, 1.0]), "[NaN, 1]"),
        (np.array([np.nan, -np.inf, 1, 2, 3, np.inf]), "1 NaN, 2 Inf of 6"),
        (np.array([10**18, 0]), "[1e+18, 0]"),
        (10**400, None),
        (np.array(["text"]), None),
        ("text", None),
    ],
)
def test_numbers_in_words(values: Any, text: str | None) -> None:
    said = values_of(values)
    assert (said and labels_.values_text(said)) == text


def test_the_model_keeps_no_array_alive() -> None:
    w = mg.tensor(np.ones(1000), requires_grad=True)
    loss = (w * np.arange(1000.0)).sum()
    arrays_ = [weakref.ref(w.data), weakref.ref(loss._node.parents[0].out)]  # type: ignore[union-attr]
    gc.disable()
    try:
        model = graph(loss)
        drawing = viz.draw(loss)
        del w, loss
        assert [array() for array in arrays_] == [None, None]
    finally:
        gc.enable()
    assert len(model.nodes) == 5
    assert "(1000,)" in drawing.source


# Operations in words


@pytest.mark.parametrize(
    ("compute", "before", "after"),
    [
        (lambda x: x + 2, "+ 2", "+ const"),
        (lambda x: 2 - x, "2 −", "const −"),
        (lambda x: x * np.float32(0.1), "× 0.1", "× const"),
        (lambda x: x / np.array([4.0]), "÷ 4", "÷ const"),
        (lambda x: x * np.ones(2), "×", "× const"),
        (lambda x: x * x, "×", "×"),
        (lambda x: np.ones((3, 2)) @ x, "@", "@"),
        (lambda x: x**2, "x²", "x²"),
        (lambda x: x**-3, "x⁻³", "xⁿ"),
        (lambda x: x**0.5, "x^0.5", "xⁿ"),
        (lambda x: 2**x, "2ˣ", "aˣ"),
        (lambda x: x**x, "xʸ", "xʸ"),
        (lambda x: -x, "−x", "−x"),
        (lambda x: abs(x), "|x|", "|x|"),
        (lambda x: np.exp(x), "eˣ", "eˣ"),
        (lambda x: np.sqrt(x), "√x", "√x"),
        (lambda x: x.T, "xᵀ", "xᵀ"),
        (lambda x: np.tanh(x), "tanh", "tanh"),
        (lambda x: relu(x), "relu", "relu"),
        (lambda x: np.maximum(x, 0), "maximum 0", "maximum const"),
        (lambda x: x.sum(), "Σ", "Σ"),
        (lambda x: x.sum(axis=0), "Σ axis=0", "Σ axis=0"),
        (lambda x: np.mean(x, axis=0, keepdims=True), "mean axis=0", "mean axis=0"),
        (lambda x: x[0], "[0]", "[…]"),
        (lambda x: x[None, ::-1], "[None, ::-1]", "[…]"),
        (lambda x: x[..., 1:], "[…, 1:]", "[…]"),
        (lambda x: x[np.array([0, 1])], "[array]", "[…]"),
        (lambda x: x[[0, 1, 1]], "[[0, 1, 1]]", "[…]"),
        (lambda x: x[[0] * 9], "[list]", "[…]"),
        (lambda x: x.astype(np.float32), "float32", "astype"),
        (lambda x: x.sum(axis=None), "Σ", "Σ"),
        (lambda x: x.reshape(2, 1), "reshape", "reshape"),
        (lambda x: np.where(np.array([True, False]), x, 0.0), f"where {'y=' * NAMED}0", "where"),
        (lambda x: np.swapaxes(x[None], 0, 1), "swapaxes axis1=0 axis2=1", "swapaxes"),
    ],
)
def test_operations_are_written_as_in_mathematics(compute: Any, before: str, after: str) -> None:
    y = compute(mg.tensor([1.0, 2.0], requires_grad=True))
    assert " ".join(filter(None, signs.written(y._node))) == before
    y.backward(np.ones(y.shape))
    assert " ".join(filter(None, signs.written(y._node))) == after


def test_a_users_own_operation_goes_by_its_name() -> None:
    @mg.primitive
    def scaled(x: Any, by: float, label: str = "") -> Any:
        return x * by

    mg.defvjp(scaled, lambda g, out, x, by, label="": g * by)
    y = scaled(mg.tensor([1.0, 2.0], requires_grad=True), 3.0, label="<b>")
    assert signs.written(y._node) == ("scaled", "by=3 label=<b>")
    assert labels(viz.draw(y).source)["n1"] == "scaledby=3 label=<b>"


def test_options_are_brief() -> None:
    x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    assert signs.written(np.einsum("ij,ij->i", x, x)._node) == ("einsum", "ij,ij->i")
    [part] = [node for node in graph(mg.checkpoint(np.sin)(x)).nodes if node.function == "recompute"]
    assert (part.text, part.detail) == ("recompute", "")

    class Setting:
        pass

    @mg.primitive
    def by(x: Any, setting: Any) -> Any:
        return x * 1

    mg.defvjp(by, lambda g, out, x, setting: g)
    assert signs.written(by(x, Setting())._node) == ("by", "setting=Setting")


def test_numbers_that_no_float_can_hold() -> None:
    assert signs.number(10**400) == "1e400"
    assert signs.number(-(10**400)) == "-1e400"


# What isn't a computation


def test_a_leaf_is_drawn_alone() -> None:
    model = graph(mg.tensor([1.0, 2.0], requires_grad=True, name="w"))
    assert [(node.kind, node.name) for node in model.nodes] == [("parameter", "w")]
    assert labels(viz.draw(mg.tensor([1.0, 2.0], name="x")).source) == {"n0": "x  (2,)[1, 2]"}


def test_a_tensor_computed_under_no_grad_is_drawn_alone() -> None:
    w = mg.tensor(2.0, requires_grad=True)
    with mg.no_grad():
        y = w * w
    assert [(node.kind, node.name) for node in graph(y).nodes] == [("input", None)]
    assert labels(viz.draw(y).source) == {"n0": "4"}


@pytest.mark.parametrize(
    ("thing", "what"),
    [(np.ones((2, 3)), r"an array of shape \(2, 3\)"), (3.0, "a float"), ([1.0], "a list"), (None, "a NoneType")],
)
def test_only_tensors_are_drawn(thing: Any, what: str, tmp_path: Path) -> None:
    for attempt in (lambda: viz.draw(thing), lambda: viz.save(thing, tmp_path / "a.svg")):
        with pytest.raises(TypeError, match=rf"drawn of Tensors.*got {what}; compute with mg.tensor"):
            attempt()


@pytest.mark.parametrize("max_nodes", [3, 0, -1])
def test_something_must_be_left_to_draw(max_nodes: int) -> None:
    with pytest.raises(ValueError, match=f"max_nodes must be at least 4, .* got {max_nodes}"):
        viz.draw(Seed().loss(), max_nodes=max_nodes)


def test_directions(tmp_path: Path) -> None:
    loss = Seed().loss()
    for rankdir in ("TB", "LR", "BT", "RL"):
        assert re.search(rf'rankdir="?{rankdir}', viz.draw(loss, rankdir=rankdir).source)
    for attempt in (lambda: viz.draw(loss, rankdir="up"), lambda: viz.save(loss, tmp_path / "a.dot", rankdir="up")):
        with pytest.raises(ValueError, match="rankdir must be one of TB, LR, BT, RL, got 'up'"):
            attempt()


# Large graphs


def test_an_array_that_is_used_twice_is_one_node() -> None:
    x, w = np.ones((4, 3)), mg.tensor(np.ones((3, 2)), requires_grad=True)
    model = graph((x @ w) * (x @ w + 1))
    assert [node.id for node in model.nodes if node.kind == "constant"] == ["n1_0"]


def test_far_uses_of_a_weight_start_from_a_tag() -> None:
    w, h = mg.tensor(np.ones((2, 2)), requires_grad=True, name="w"), mg.tensor(np.ones((3, 2)), name="h")
    for _ in range(40):
        h = np.tanh(h @ w)
    source = viz.draw(h, max_nodes=None).source
    starts = re.findall(r"^\t(n1(?:_\S+)?) -> ", source, re.MULTILINE)
    assert len(starts) == len(set(starts)) + starts.count("n1") - 1 == 40
    assert 1 < starts.count("n1") < 10
    assert {labels(source)[tag] for tag in starts if tag != "n1"} == {"w"}


def test_a_residual_connection_is_one_line() -> None:
    x = h = mg.tensor(np.ones((3, 2)), requires_grad=True, name="x")
    for _ in range(10):
        h = np.tanh(h)
    assert "n0 -> n11" in viz.draw(h + x).source


# DOT


def test_the_dot_of_the_seed_network_shows_the_numbers() -> None:
    seed = Seed()
    loss = seed.loss()
    loss.backward()
    said = labels(viz.draw(loss).source)
    w1, b2 = seed.parameters["w1"], seed.parameters["b2"]
    low, mean, high = (f"{value:.3g}" for value in (w1.data.min(), w1.data.mean(), w1.data.max()))
    norm = np.sqrt(np.sum(w1.grad**2))
    assert said["n1"] == f"w1  (3, 32)min {low}  mean {mean}  max {high}‖grad‖ {norm:.4g}"
    assert said["n8"] == f"b2  (1, 1){b2.item():.4g}grad {b2.grad.item():.4g}"
    assert said["result"] == f"loss{loss.item():.4g}"
    assert said["n4 -> n5"] == "h (100, 32)"
    assert said["n9 -> n11"] == "y_pred (100, 1)"
    assert said["n2"] == "@"


def test_a_scalar_expression_shows_its_values() -> None:
    a, b = (mg.tensor(value, requires_grad=True, name=name) for name, value in (("a", -4.0), ("b", 2.0)))
    c = a * b
    c.name = "c"
    said = labels(viz.draw(c + b**3).source)
    assert said["n0"] == "a-4"
    assert said["n2 -> n4"] == "c = -8"
    assert said["result"] == "0"


def test_both_parts_of_a_product_of_a_value_with_itself_are_shown() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = np.sin(x)
    z = y * y
    for view in ("backward", "both"):
        said = re.findall(r"_to_\S+ \[.*label=<(.*)>\]$", viz.draw(z.sum(), view).source, re.MULTILINE)
        edges = [text_of(label) for label in said]
        parts = f"part {labels_.elements_text(y.data.tolist())}"
        products = [edge for edge in edges if "g * sin" in edge]
        assert [parts in edge for edge in products] == [True, True]
        assert not any("part" in edge for edge in edges if "cos" in edge)
    table = viz.table(z.sum()).splitlines()
    assert [line.split()[0] for line in table[1:5]] == ["x", "sin", "×", "Σ"]
    gradient = np.linalg.norm(2 * y.data)
    assert table[2].endswith(f"{gradient:.4g}")
    assert table[1].endswith(f"{np.linalg.norm(2 * y.data * np.cos(x.data)):.4g}")


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "8 B"), (124, "992 B"), (125, "1 kB"), (1250, "10 kB"), (124_999, "1e+03 kB"), (125_000, "1 MB"),
     (312_500, "2.5 MB")],
)  # fmt: skip
def test_memory_in_a_table_is_in_steps_of_1000(count: int, text: str) -> None:
    line = viz.table(mg.tensor(np.zeros(count), requires_grad=True, name="w")).splitlines()[1]
    assert re.split(r"\s{2,}", line.strip()) == ["w", f"({count},)", text]


def test_memory_of_a_table_adds_up() -> None:
    w = mg.tensor(np.ones((50, 25)), requires_grad=True, name="w")
    with mg.scope("inner"):
        y = np.tanh(np.ones((4, 50), np.float32) @ w)
    table = [re.split(r"\s{2,}", line.strip()) for line in viz.table(y.sum(), backward=False).splitlines()]
    assert table[0] == ["operation", "shape", "memory", "‖grad‖"]
    rows = {row[0]: row[1:] for row in table[1:]}
    assert rows["inner"] == ["1.6 kB"]  # of its operations, not of its parameters
    assert rows["w"] == ["(50, 25)", "10 kB"]
    assert rows["@"] == rows["tanh"] == ["(4, 25)", "800 B"]
    assert rows["constant"] == ["(4, 50) float32", "800 B"]
    assert rows["total: 3 operations, 1,250 parameters"] == ["1.61 kB"]


def test_operands_of_a_difference_arrive_in_their_order() -> None:
    a, b = (mg.tensor(1.0, requires_grad=True) for _ in "ab")
    for rankdir, (first, second) in dot.SIDES.items():
        source = viz.draw(a - b, rankdir=rankdir).source
        assert f"n0 -> n2:{first} " in source
        assert f"n1 -> n2:{second} " in source
    assert "n0 -> n2 " in viz.draw(a + b).source


def test_shape_and_colour_tell_the_same() -> None:
    assert len({look["color"] for look in dot.LOOKS.values()}) == len(dot.LOOKS)
    forms = {(look["shape"], look["style"], look.get("peripheries")) for look in dot.LOOKS.values()}
    assert len(forms) == len(dot.LOOKS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_red(bad: float) -> None:
    w = mg.tensor(np.ones(5), requires_grad=True, name="w")
    x = mg.tensor([1.0, 2.0, 3.0, 4.0, bad], name="x")
    h = w * x
    loss = h.sum()
    source = viz.draw(loss).source
    word = "NaN" if np.isnan(bad) else "Inf"
    lines = {line.split(" [")[0].strip(): line for line in source.splitlines()}
    for subject in ("n1", "n2", "n3", "result", "n2 -> n2_to_n3_0", "n2_to_n3_0 -> n3"):
        assert f'color="{dot.ALARM}"' in lines[subject]
    for subject in ("n1", "n2_to_n3_0"):
        assert f"<b>✗ 1 {word} of 5</b>" in lines[subject].replace("\xa0", "")
    assert dot.ALARM not in lines["n0"]
    loss.backward()
    lines = {line.split(" [")[0].strip(): line for line in viz.draw(loss).source.splitlines()}
    assert f'color="{dot.ALARM}", fillcolor' in lines["n0"]
    assert 'penwidth="2.5"' in lines["n0"]
    assert f"grad 1 {word} of 5" in lines["n0"]


def test_dtypes_are_named_where_they_are_not_the_default() -> None:
    w = mg.tensor(np.ones(5), requires_grad=True, dtype=np.float32, name="w")
    assert labels(viz.draw(w * 2).source)["n0"].startswith("w  (5,) float32")


NASTY = [
    'say "no"',
    "<b>bold</b>",
    "a & b &amp; c",
    "two\nlines\ttab",
    "\\N \\G \\l",
    "🎉 日本 ∂",
    "x" * 10_000,
    "\x00\ud800\u202e",
]


@given(name=st.text(min_size=1, max_size=60), value=st.floats(allow_nan=False))
@example(name=NASTY[0], value=1.0)
@example(name=NASTY[1], value=1.0)
@example(name=NASTY[2], value=1.0)
@example(name=NASTY[3], value=1.0)
@example(name=NASTY[4], value=1.0)
@example(name=NASTY[5], value=1.0)
@example(name=NASTY[6], value=1.0)
@example(name=NASTY[7], value=1.0)
@example(name=" ", value=1.0)
@example(name="w", value=np.inf)
def test_any_name_can_be_drawn(name: str, value: float) -> None:
    w = mg.tensor([value, value], requires_grad=True, name=name)
    y = w * 1.0
    y.name = name
    source = viz.draw(y + 1).source
    shown = labels_.clean(name)
    assert len(shown) <= labels_.LONGEST
    expected = f"{shown}  (2,)" if shown else "(2,)"
    assert labels(source)["n0"].startswith(expected)
    assert labels(source)["n1 -> n2"].startswith(" ".join(filter(None, (shown, "(2,)"))))
    assert source.encode()
    assert all(line.count('"') % 2 == 0 for line in source.replace("\\\\", "").replace('\\"', "").splitlines())


@pytest.mark.usefixtures("no_dot")
def test_nasty_names_come_out_of_graphviz_as_they_went_in() -> None:
    parts = [mg.tensor(np.ones(9), requires_grad=True, name=name) for name in NASTY]
    svg = ElementTree.fromstring(render.render(viz.draw(np.concatenate(parts)).source, "svg"))
    texts = [(text.text or "").replace("\xa0", " ").strip() for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {labels_.clean(name) for name in NASTY if "\\" not in name} <= set(texts)
    assert "x" * 39 + "…" in texts
    first = texts.index("\\")  # a backslash is a text of its own, for \\N would become the node's id
    assert "".join(texts[first : first + 6]) == "\\N\\G\\l"


# Files


@pytest.mark.usefixtures("no_dot")
@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf", ".dot", ".PNG"])
def test_files_are_written_without_the_program_dot(suffix: str, tmp_path: Path) -> None:
    loss = Seed().loss()
    path = viz.save(loss, tmp_path / "new" / "folder" / f"graph{suffix}")
    assert path.read_bytes().startswith(MAGIC[suffix[1:].lower()])
    again = viz.save(viz.draw(loss), str(tmp_path / f"drawing{suffix}"))
    assert again.read_bytes().startswith(MAGIC[suffix[1:].lower()])


@pytest.mark.usefixtures("no_dot")
def test_the_numbers_are_in_the_svg(tmp_path: Path) -> None:
    seed = Seed()
    loss = seed.loss()
    loss.backward()
    text = html.unescape(viz.save(loss, tmp_path / "graph.svg").read_text(encoding="utf-8")).replace("\xa0", " ")
    assert f">{loss.item():.4g}</text>" in text
    for name, parameter in seed.parameters.items():
        assert f">{name}</text>" in text
        norm = float(np.linalg.norm(parameter.grad))
        assert f">‖grad‖ {norm:.4g}<" in text or f">grad {parameter.grad.item():.4g}<" in text


@pytest.mark.usefixtures("no_dot")
def test_an_svg_is_dark_on_dark_pages(tmp_path: Path) -> None:
    text = viz.save(Seed().loss(), tmp_path / "graph.svg").read_text(encoding="utf-8")
    svg = ElementTree.fromstring(text)
    assert svg.attrib["class"] == "microgradnd"
    style = svg.find("{http://www.w3.org/2000/svg}style")
    assert style is not None
    dark, _, paper = (style.text or "").partition("@media print{")
    assert paper.startswith(".microgradnd{max-width:100%")  # a large picture isn't cut at the edge
    rules = dark.removeprefix("@media screen and (prefers-color-scheme: dark){")
    assert all(rule.startswith(".microgradnd [") for rule in rules.split("}") if rule)  # no other picture changes
    used = set(re.findall(r'(?:fill|stroke)="([^"]+)"', text)) - {"none", "transparent"}
    unchanged = used - {c.lower() for c in dot.DARK}
    assert unchanged <= {dot.LINE, "#767676", "#9a9a9a", "#e69f00"}  # lines, which can be seen on both


def test_what_a_relu_lets_through_is_shown_in_percent() -> None:
    x = mg.tensor([1.0, -1.0, -2.0, 0.0, 3.0], requires_grad=True)
    assert "(5,) 40% active" in labels(viz.draw(relu(x) * 2).source)["n1 -> n2"]


def test_inputs_lie_outside_of_scopes_and_names_are_short_within() -> None:
    model = nn.Sequential(nn.Linear(2, 2, rng=np.random.default_rng(0)))
    x = mg.tensor(np.ones((3, 2)), name="x")
    source = viz.draw(model(x)).source
    inside = source[source.index("subgraph") : source.rindex("\t}")]
    assert "<b>weight</b>" in inside
    assert "<b>x</b>" not in inside
    assert "0 · Linear(2, 2)" in inside


@pytest.mark.usefixtures("no_dot")
def test_letters_are_letters() -> None:
    first, second = (render.render(f'digraph {{a [label="{letter}"]}}', "png") for letter in "bd")
    assert first != second  # without a font both are the same box


@pytest.mark.usefixtures("no_dot")
def test_a_drawing_shows_itself_in_jupyter() -> None:
    drawing = viz.draw(Seed().loss())
    bundle = drawing._repr_mimebundle_()
    assert "y_pred" in bundle["image/svg+xml"]
    assert drawing.pipe(format="png").startswith(MAGIC["png"])
    assert drawing.copy().source == drawing.source


@pytest.mark.usefixtures("no_dot")
def test_a_drawing_can_be_restyled() -> None:
    drawing = viz.draw(mg.tensor(1.0, requires_grad=True) * 2)
    drawing.attr(bgcolor="#123456")
    assert b"#123456" in render.render(drawing.source, "svg")


@pytest.mark.parametrize("path", ["graph.gif", "graph", "folder.svg/graph"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in one of \.svg, \.png, \.pdf, \.dot"):
        viz.save(Seed().loss(), tmp_path / path)
    assert list(tmp_path.iterdir()) == []


def test_options_of_draw_are_those_of_save(tmp_path: Path) -> None:
    loss = Seed().loss()
    for options in ({"view": "backward"}, {"depth": 0, "show": ("shapes",)}, {"view": "both", "max_nodes": 5}):
        text = viz.save(loss, tmp_path / "graph.dot", **options).read_text(encoding="utf-8")
        assert text.splitlines()[4:] == viz.draw(loss, **options).source.splitlines()[4:]  # type: ignore[arg-type]


def test_a_drawing_takes_no_options(tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match=r"rankdir: a finished drawing can't be changed; pass such options to viz.draw\(\)"
    ):
        viz.save(viz.draw(Seed().loss()), tmp_path / "graph.svg", rankdir="LR")
    with pytest.raises(TypeError, match="colour"):
        viz.save(Seed().loss(), tmp_path / "graph.svg", colour="red")


def test_the_program_dot_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "dot"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv[1:], sys.stdin.read()[:9])\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = viz.save(Seed().loss(), tmp_path / "graph.png")
    assert path.read_text() == f"['-Tpng', '-Gdpi={render.PIXELS_PER_INCH}', '-Gsize=40,40'] digraph {{\n"
    assert "digraph" in viz.draw(Seed().loss()).pipe(format="svg", encoding="utf-8")


@pytest.mark.usefixtures("no_dot")
def test_what_graphviz_cannot_draw_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"Graphviz couldn't draw this graph .*syntax error"):
        render.render("digraph { a -> }", "svg")


# Missing packages


def test_without_graphviz_draw_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "graphviz", None)
    render._drawing_class.cache_clear()
    loss = Seed().loss()
    with pytest.raises(ImportError, match=r'graphviz: pip install "microgradnd\[viz\]"'):
        viz.draw(loss)
    assert viz.save(loss, tmp_path / "graph.dot").read_bytes().startswith(MAGIC["dot"])
    monkeypatch.setenv("PATH", "")
    assert viz.save(loss, tmp_path / "graph.svg").read_bytes().startswith(MAGIC["svg"])


@pytest.mark.usefixtures("no_dot")
def test_without_any_layout_save_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    loss = Seed().loss()
    with pytest.raises(ImportError, match=r'needs Graphviz: pip install "microgradnd\[viz\]", or install .* dot'):
        viz.save(loss, tmp_path / "graph.svg")
    assert viz.save(loss, tmp_path / "graph.dot").read_bytes().startswith(MAGIC["dot"])


def test_without_matplotlib_the_fonts_of_the_system_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FONTCONFIG_FILE", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with render._fonts() as environment:
        assert "FONTCONFIG_FILE" not in environment


def test_fonts_that_the_user_has_configured_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FONTCONFIG_FILE", "mine")
    with render._fonts() as environment:
        assert environment["FONTCONFIG_FILE"] == "mine"


# Gradients of this computation


def test_the_walk_of_the_picture_wins_over_what_has_accumulated() -> None:
    w = mg.tensor(3.0, requires_grad=True, name="w")
    (w * w).backward()
    y = 10 * w + 1
    backward, forward = (by_id(graph(y, backward=b))["n0"] for b in (True, False))
    assert (backward.grad.elements, backward.accumulated.elements) == (10.0, 6.0)  # type: ignore[union-attr]
    assert (forward.grad, forward.accumulated.elements) == (None, 6.0)  # type: ignore[union-attr]
    assert "accumulated 6" in viz.draw(y).source
    w.grad = None
    y.backward(retain_graph=True)
    for b in (True, False):
        node = by_id(graph(y, backward=b))["n0"]
        assert (node.grad.elements, node.accumulated) == (10.0, None)  # type: ignore[union-attr]
    y.backward()
    assert by_id(graph(y))["n0"].grad.elements == 20.0  # type: ignore[union-attr]  # nobody can tell


def test_the_gradient_of_a_complex_variable_is_that_of_backward() -> None:
    z = mg.tensor([1 + 2j, 3 - 1j], requires_grad=True, name="z")
    y = np.sum(np.real(z * z * 1j))
    y.backward(retain_graph=True)
    node = by_id(graph(y, backward=True))["n0"]
    assert node.accumulated is None
    assert node.grad.elements == z.grad.tolist()  # type: ignore[union-attr]


# What is rendered


def rendered(t: Any, **options: Any) -> dict[str, tuple[float, str]]:
    """Return of each node in an SVG its left edge and its text."""
    svg = ElementTree.fromstring(render.render(viz.draw(t, **options).source, "svg"))
    found = {}
    for group in svg.iter("{http://www.w3.org/2000/svg}g"):
        if group.get("class") == "node":
            texts = list(group.iter("{http://www.w3.org/2000/svg}text"))
            title = group.find("{http://www.w3.org/2000/svg}title")
            assert title is not None
            words = " ".join("".join(text.itertext()) for text in texts)
            found[str(title.text)] = min([float(text.get("x", "0")) for text in texts], default=0.0), words
    return found


@pytest.mark.parametrize("view", ["forward", "backward", "both"])
def test_no_box_is_empty(view: Any) -> None:
    x = mg.tensor(3.0, requires_grad=True, name="speed")
    unnamed = mg.tensor(2.0, requires_grad=True)
    boxes = rendered(np.tanh(x * x) + unnamed, view=view)
    assert all(text.strip() for _, text in boxes.values())
    assert "speed" in boxes["n0"][1]


def test_what_graphviz_cannot_read_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="syntax error"):
        render.render("digraph {a [label=<<font></font>>]}", "svg")


@pytest.mark.parametrize("f", [np.subtract, np.multiply, np.divide, np.arctan2, np.power, np.maximum])
def test_operands_stand_in_their_order(f: Any) -> None:
    a, b = (mg.tensor(value, requires_grad=True, name=name) for value, name in ((2.0, "a"), (3.0, "b")))
    for y in (f(a, b), f(b, a), f(np.sin(a), b), f(a, np.sin(b)) * 2):
        for view in ("forward", "both"):
            model, boxes = graph(y), rendered(y, view=view)
            call = next(n.id for n in model.nodes if n.function == f.__name__)
            first, second = (edge.source for edge in model.edges if edge.target == call)
            assert boxes[first][0] < boxes[second][0]


def test_a_slide_has_the_form_of_a_screen_and_large_type() -> None:
    source = viz.draw(Seed().loss(), "both", style="slide").source
    assert "mean" not in "".join(labels(source).values())  # no statistics
    png = render.render(source, "png")
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert max(width / 1920, height / 1080) == 1.0
    assert smallest_type(source) >= 28
    assert smallest_type(viz.draw(transformer(), "both", style="slide").source) >= 28
    assert min(width / 1920, height / 1080) > 0.85
    h = mg.tensor(np.ones((2, 3)), requires_grad=True, name="x")
    for i in range(30):
        with mg.scope(f"part{i % 2}"):
            h = np.tanh(h * float(i)) + h
    assert len(rendered(h.sum(), style="slide")) <= render.FOLDED_ON_SLIDE
    h = long_short_term_memory(50)  # once folded, it is folded further
    assert len(rendered(h, style="slide")) < len(rendered(h, style="slide", max_nodes=render.MOST_ON_SLIDE))


def smallest_type(source: str) -> float:
    """Return the size of the smallest letters of a slide, in pixels of 1920 by 1080."""
    svg = render.render(source, "svg").decode()
    width, height = (float(x) for x in re.findall(r'<svg [^>]*?width="([\d.]+)pt" height="([\d.]+)pt"', svg)[0])
    scale = float(re.findall(r"scale\(([\d.]+)", svg)[0])
    sizes = map(float, re.findall(r'font-size="([\d.]+)"', svg))
    return min(sizes) * scale * min(1920 / width, 1080 / height)


def test_a_line_is_as_wide_as_its_gradient() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = np.sum(1e-4 * np.sin(x) + 0 * np.cos(x))
    lines = {line.split(" [")[0].strip(): line for line in viz.draw(y, "backward").source.splitlines()}
    texts = {node.text: node.id for node in graph(y).nodes}
    widths = {
        name: float(found[1]) for name, line in lines.items() if (found := re.search(r'penwidth="([\d.]+)"', line))
    }
    to_x = {sign: f"n0_to_{texts[sign]}_0 -> n0" for sign in ("sin", "cos")}
    assert dot.NARROWEST == widths[to_x["cos"]] < widths[to_x["sin"]] < max(widths.values()) == dot.WIDEST
    assert 'style="dotted"' in lines[to_x["cos"]]
    assert "stroke-width:3.6px" in viz.mermaid(y, "backward")


def contrast(one: str, other: str) -> float:
    """Return the ratio of two colours' luminance, as the WCAG defines it."""

    def luminance(colour: str) -> float:
        colour = "#ffffff" if colour == "white" else colour
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_text_can_be_read_on_every_ground() -> None:
    grounds = {"white", dot.CLUSTER["fillcolor"], *(look["fillcolor"] for look in dot.LOOKS.values())}
    for ground in grounds:
        for ink in (dot.INK, dot.QUIET, dot.GRADIENT, dot.ALARM):
            assert contrast(ink, ground) >= 4.5
            assert contrast(dot.DARK[ink], dot.DARK[ground]) >= 4.5


def test_the_alarm_is_no_gradient_for_the_colour_blind() -> None:
    """Under Machado's matrices for deuteranopia and protanopia the two differ in hue:
    one is bluer than it is green.
    """
    for colours in ((dot.ALARM, dot.GRADIENT), (dot.DARK[dot.ALARM], dot.DARK[dot.GRADIENT])):
        (_, green, blue), (_, green_, blue_) = ([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours)
        assert blue - green > 50
        assert green_ - blue_ > 50


# Numbers of every kind


@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble, np.float16, np.complex64, np.int8, bool])
def test_every_kind_of_number_can_be_written(dtype: Any) -> None:
    for shape in ((), (3,), (9,)):
        w = mg.tensor(np.ones(shape), requires_grad=True, name="w")
        t = np.sum(np.abs(w * mg.tensor(np.ones(shape, dtype), name="x")))
        assert json.loads(viz.to_json(t, "both"))
        assert viz.draw(t, "both").source


@given(st.floats() | st.integers(-(2**62), 2**62) | st.booleans())
def test_a_single_number_is_looked_at_as_an_array_is(value: Any) -> None:
    assert repr(values_of(np.array(value))) == repr(values_module._said(np.array(value)))


def test_what_is_not_finite_draws_without_a_warning() -> None:
    w = mg.tensor([1.0, -2.0, 0.0, np.inf, 1e300], requires_grad=True)
    with np.errstate(all="ignore"):
        loss = np.sum(np.log(w)) + np.sum(1 / w) + np.prod(w * w)
    with np.errstate(all="raise"):
        for view in ("forward", "backward", "both"):
            assert viz.draw(loss, view).source  # type: ignore[arg-type]
        assert viz.table(loss)
        assert mg.explain(loss)


@pytest.mark.parametrize("numbers", [["1e3000", "1"], ["5e-324", "0"], ["1e300", "-1e300"]])
@pytest.mark.parametrize("dtype", [np.longdouble, np.complex128])
def test_numbers_of_every_size_draw_without_a_warning(tmp_path: Path, numbers: list[str], dtype: Any) -> None:
    with np.errstate(all="ignore"):
        w = mg.tensor(np.array(numbers, np.longdouble).astype(dtype), requires_grad=True)
        loss = np.sum(np.real(w * w))
    with np.errstate(all="raise"):
        assert viz.draw(loss, "both").source
        assert viz.to_json(loss, view="backward")
        viz.explore(loss, tmp_path / "graph.html")


def test_what_a_layer_computes_for_itself_is_no_constant() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 4, rng=rng), nn.LayerNorm(4), nn.BatchNorm1d(4))
    loss = F.cross_entropy(model(mg.tensor(rng.normal(size=(5, 3)), name="x")), np.array([0, 1, 2, 3, 0]))
    assert [node.dtype for node in graph(loss).nodes if node.kind == "constant"] == ["int64"]  # the classes
    loss.backward()
    assert [node for node in graph(loss).nodes if node.kind == "constant"] == []


def test_a_picture_says_that_complex_gradients_are_conjugates() -> None:
    for value, is_said in ((1.0 + 2.0j, True), (1.0, False)):
        z = mg.tensor(value, requires_grad=True, name="z")
        notes = graph(z * (2.0 - 1.0j), backward=True).notes
        assert any("conjugate" in note for note in notes) == is_said


def test_a_slide_has_no_statistics_of_a_fold_and_its_notes_can_be_read() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(3, 3, rng=rng), nn.Tanh()) for _ in range(12)))
    source = viz.draw(np.sum(model(np.ones((2, 3)))), "both", style="slide", depth=1).source
    assert "box3d" in source
    assert "‖grad‖" not in source
    assert "fontsize=16" in source.splitlines()[1]  # of the sentences below the picture
    layer = np.sum(nn.Linear(3, 3, rng=rng)(np.ones((2, 3))))
    frames = [viz.draw(layer, style=style).source.count("subgraph") for style in dot.STYLES]
    assert frames == [1, 0]


def test_the_label_of_an_alarm_says_part_only_where_there_are_several() -> None:
    w = mg.tensor([1.0, -2.0, 0.5, 1.0, 2.0], requires_grad=True, name="w")
    with np.errstate(all="ignore"):
        source = viz.draw(np.sum(np.sqrt(w)), "both").source
        assert "part" not in source
        assert "grad 1 NaN of 5" in source
        assert "part 1 NaN of 5" in viz.draw(np.sum(np.sqrt(w) + w), "both").source


@pytest.mark.parametrize("view", ["forward", "backward"])
def test_a_retained_gradient_may_be_another_computations(view: Any) -> None:
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    h = w * 2
    h.retain_grad()
    np.sum(h**2).backward(retain_graph=True)
    node = next(node for node in graph(np.sum(3 * h), backward=view == "backward").nodes if node.text == "× 2")
    assert (node.grad and node.grad.elements) == ([3.0, 3.0] if view == "backward" else None)
    assert node.accumulated is not None
    assert node.accumulated.elements == [4.0, 8.0]


def test_the_gradient_of_a_branch_is_not_that_of_another_one() -> None:
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    h = w * 2
    other = np.sum(3 * h)
    np.sum(h**2).backward()  # frees what both need
    node = graph(other, backward=True).nodes[0]
    assert node.grad is None
    assert node.accumulated is not None


# Labels on lines


def long_short_term_memory(steps: int) -> mg.Tensor:
    rng = np.random.default_rng(0)
    gates = [mg.tensor(rng.normal(size=(7, 4)), requires_grad=True, name=f"w_{gate}") for gate in "ifog"]
    h = c = mg.tensor(np.zeros((2, 4)), name="start")
    for x in rng.normal(size=(steps, 2, 3)):
        z = np.concatenate([x, h], axis=1)
        i, f, o = (F.sigmoid(z @ w) for w in gates[:3])
        c = f * c + i * np.tanh(z @ gates[3])
        h = o * np.tanh(c)
    return np.sum(h**2)


def transformer() -> mg.Tensor:
    rng = np.random.default_rng(0)
    blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, rng=rng) for _ in range(12)))
    return np.sum(blocks(mg.tensor(rng.normal(size=(2, 5, 8)), name="x")) ** 2)


def single_numbers() -> mg.Tensor:
    a, b = (mg.tensor(value, requires_grad=True, name=name) for value, name in ((0.5, "a"), (2.0, "b")))
    return np.tanh(a * b - a / b) + a**2


class Drawn(NamedTuple):
    """A node, a label or a line of an SVG: the points of its outlines, shape (n, 2),
    their fills, and where its texts begin.
    """

    kind: str
    title: str
    points: Any
    fills: list[str]
    texts: Any


def numbers_of(part: Any, *names: str) -> list[tuple[float, float]]:
    found = re.findall(r"(-?[\d.]+)[, ]+(-?[\d.]+)", " ".join(str(part.get(name, "")) for name in names))
    return [(float(x), float(y)) for x, y in found]


def drawn(source: str) -> list[Drawn]:
    """Return what an SVG shows, in the order in which it is painted."""
    found = []
    for group in ElementTree.fromstring(render.render(source, "svg")).iterfind(".//{*}g[@class]"):
        kind, title = str(group.get("class")).split()[-1], str(group.findtext("{*}title"))
        shapes = [part for part in group.iter() if part.tag.endswith(("polygon", "path"))]
        points = [point for part in shapes for point in numbers_of(part, "points", "d")]
        for part in group.iter("{http://www.w3.org/2000/svg}ellipse"):
            ((x, y), (rx, ry)) = numbers_of(part, "cx", "cy", "rx", "ry")
            points += [(x - rx, y - ry), (x + rx, y + ry)]
        texts = [point for part in group.iter() if part.tag.endswith("text") for point in numbers_of(part, "x", "y")]
        if kind not in ("graph", "cluster"):
            found.append(Drawn(kind, title, np.array(points), [str(part.get("fill")) for part in shapes], texts))
    return found


@pytest.mark.parametrize(
    ("make", "options"),
    [
        *((lambda: Seed().loss(), {"view": view, "style": style}) for view in VIEWS for style in dot.STYLES),
        *((lambda: Seed().loss(), {"view": "both", "rankdir": rankdir}) for rankdir in ("LR", "BT")),
        (single_numbers, {"view": "both"}),
        *((lambda: long_short_term_memory(3), {"view": "both", "rankdir": rankdir}) for rankdir in ("TB", "LR")),
        *((lambda: long_short_term_memory(50), {"view": view, "style": "page"}) for view in VIEWS),
        *((transformer, {"view": "both", "style": style}) for style in dot.STYLES),
    ],
)
def test_no_line_crosses_a_label_and_each_label_is_on_its_own(make: Any, options: Any) -> None:
    """Labels have an opaque ground above all lines, and touch nothing else; the lines
    of a label meet below it.
    """
    parts = drawn(viz.draw(make(), **options).source)
    kinds = [part.kind for part in parts]
    assert "edge" not in kinds[kinds.index("node") :]  # lines are painted first
    boxes = [(part.title, part.points.min(axis=0), part.points.max(axis=0)) for part in parts if part.kind != "edge"]
    lines = [part for part in parts if part.kind == "edge"]
    said = [part for part in parts if part.kind == "label"]
    assert said
    for label in said:
        assert set(label.fills) <= {"white", dot.CLUSTER["fillcolor"]}
        low, high = label.points.min(axis=0), label.points.max(axis=0)
        assert len(label.texts) >= len(label.fills) >= 1  # a row may have several texts
        assert np.all((low <= label.texts) & (label.texts < high))
        overlaps = [title for title, a, b in boxes if title != label.title and np.all((low < b - 1) & (a < high - 1))]
        assert overlaps == []
        own = [line for line in lines if label.title in line.title.split("->")]
        assert len(own) == 2
        assert all(np.any(np.all((low < line.points) & (line.points < high), axis=1)) for line in own)
