"""Large graphs and scopes: what is folded, that the rest is the truth, and that it
never takes long.
"""

from __future__ import annotations

import gc
import json
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.tape import Operation
from microgradnd.viz import dot, labels, render
from microgradnd.viz.fold import longest_run
from microgradnd.viz.graph import graph
from microgradnd.viz.model import Graph, Node
from microgradnd.viz.record import Record

STEPS: list[Any] = [np.tanh, np.sin, lambda x: x * 0.5, lambda x: x + np.ones(3), lambda x: x - x.mean()]


class Block(nn.Module):
    """A residual block: a scope whose copies follow one another."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.linear = nn.Linear(4, 4, rng=rng)
        self.activation = nn.Tanh()

    def forward(self, x: Any) -> Any:
        return x + self.activation(self.linear(x)) * 0.5


class Net(nn.Module):
    def __init__(self, blocks: int = 6) -> None:
        rng = np.random.default_rng(0)
        self.first = nn.Linear(3, 4, rng=rng)
        self.blocks = nn.Sequential(*[Block(rng) for _ in range(blocks)])
        self.last = nn.Linear(4, 1, rng=rng)

    def forward(self, x: Any) -> Any:
        return self.last(self.blocks(self.first(x)))


def net_loss(blocks: int = 12) -> tuple[Net, mg.Tensor]:
    net = Net(blocks)
    x = mg.tensor(np.random.default_rng(1).standard_normal((5, 3)), name="x")
    loss: mg.Tensor = (net(x) ** 2).sum()
    loss.name = "loss"
    return net, loss


def recurrent(steps: int) -> mg.Tensor:
    rng = np.random.default_rng(0)
    u, w, b = (
        mg.tensor(0.1 * rng.standard_normal(shape), requires_grad=True, name=name)
        for name, shape in (("u", (3, 4)), ("w", (4, 4)), ("b", (4,)))
    )
    h: Any = mg.tensor(np.zeros((2, 4)), name="h")
    for x in rng.standard_normal((steps, 2, 3)):
        h = np.tanh(x @ u + h @ w + b)
    loss: mg.Tensor = (h**2).sum()
    return loss


def by_id(model: Graph) -> dict[str, Node]:
    return {node.id: node for node in model.nodes}


def texts(model: Graph) -> list[str]:
    return [node.text for node in model.nodes if node.kind == "operation"]


def assert_sound(model: Graph, max_nodes: float = float("inf")) -> None:
    """Check what must hold for any graph."""
    place = {node.id: i for i, node in enumerate(model.nodes)}
    assert len(place) == len(model.nodes) <= max_nodes
    for edge in model.edges:
        assert edge.carried or place[edge.source] < place[edge.target]
        assert edge.flows or not edge.rule
    assert model.nodes[-1].id == "result"
    for node in model.nodes:
        assert set(node.scope) <= set(model.scopes)
        assert all(model.scopes[i].parent == o for o, i in zip(("", *node.scope), node.scope, strict=False))
    assert all(scope.parent in ("", *model.scopes) for scope in model.scopes.values())
    for view in ("forward", "backward", "both"):
        source = dot.text(dot.body(model, dot.Look(view)), dot.Look(view))  # type: ignore[arg-type]
        assert source.count("{\n") == source.count("}\n")


# Scopes


def test_calls_of_modules_are_scopes() -> None:
    rng = np.random.default_rng(0)
    block = nn.Sequential(nn.Linear(2, 3, rng=rng), nn.Tanh(), nn.Linear(3, 2, rng=rng))
    net = nn.Sequential(block, nn.Linear(2, 1, rng=rng))
    model = graph(net(np.ones((4, 2))).sum())
    assert {node.name: node.scope for node in model.nodes if node.kind == "parameter"} == {
        "0.0.weight": ("Sequential", "0", "0.0"),
        "0.0.bias": ("Sequential", "0", "0.0"),
        "0.2.weight": ("Sequential", "0", "0.2"),
        "0.2.bias": ("Sequential", "0", "0.2"),
        "1.weight": ("Sequential", "1"),
        "1.bias": ("Sequential", "1"),
    }
    assert next(node.scope for node in model.nodes if node.text == "tanh") == ("Sequential", "0", "0.1")
    assert next(node.scope for node in model.nodes if node.text == "Σ") == ()
    assert [(s.path, s.label) for s in model.scopes.values()][:3] == [
        ("", "Sequential"),
        ("0", "Sequential"),
        ("0.0", "Linear(2, 3)"),
    ]
    assert [node.scope for node in model.nodes if node.kind == "constant"] == [()]  # what is put in comes from outside


def test_scopes_of_modules_and_of_the_user_lie_in_one_another() -> None:
    layer = nn.Linear(2, 2, rng=np.random.default_rng(0))

    class Twice(nn.Module):
        def __init__(self) -> None:
            self.layer = layer

        def forward(self, x: Any) -> Any:
            with mg.scope("first"):
                x = self.layer(x)
            return np.tanh(self.layer(x))

    twice = Twice()
    with mg.scope("all"):
        y = twice(np.ones((3, 2)))
    model = graph(y)
    assert [node.scope for node in model.nodes if node.kind == "operation"] == [
        ("all", "Twice", "Twice/first", "layer"),
        ("all", "Twice", "layer#2"),
        ("all", "Twice"),
    ]
    weight = next(node for node in model.nodes if node.name == "layer.weight")
    assert weight.scope == ("all", "Twice")  # where both calls are


def test_a_module_that_is_called_twice_is_two_scopes() -> None:
    layer = nn.Linear(2, 2, rng=np.random.default_rng(0))
    model = graph(layer(layer(np.ones((3, 2)))))
    assert list(model.scopes) == ["Linear(2, 2)", "Linear(2, 2)#2"]


def test_any_name_of_a_scope_can_be_drawn() -> None:
    names = [
        "",
        "n1",
        "result",
        "stretch",
        "a",
        "a#2",
        'say "no"',
        "<b>",
        "two\nlines",
        "🎉 \x00 \\N",
        "a\\",
        "\\",
        "x" * 10_000,
        "a",
        "{}[]|",
    ]
    y: Any = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    for name in names:
        with mg.scope(name), mg.scope(name):
            y = np.sin(y)
    for depth in (None, 0, 1):
        model = graph(y.sum(), depth=depth)
        assert_sound(model)
        source = viz.draw(y.sum(), depth=depth).source
        svg = ElementTree.fromstring(render.render(source, "svg"))
        shown = " ".join(text.text or "" for text in svg.iter("{http://www.w3.org/2000/svg}text"))
        for text in ('say "no"', "<b>", "two lines", "{}[]|", "x" * 39 + "…"):
            assert text in shown
    assert len(graph(y.sum()).scopes) == 2 * len(names)


@pytest.mark.parametrize("name", ["a\\", "\\", "a\\n", '"\\"', "\\\\"])
def test_a_backslash_in_the_name_of_a_scope_is_seen(name: str) -> None:
    with mg.scope(name):
        y = np.sin(mg.tensor([1.0, 2.0], requires_grad=True, name="x")) * 2
    for depth in (None, 0):
        svg = ElementTree.fromstring(render.render(viz.draw(y.sum(), depth=depth).source, "svg"))
        texts = [text.text or "" for text in svg.iter("{http://www.w3.org/2000/svg}text")]
        assert name in "".join(texts)
    assert name in viz.table(y.sum())
    assert name in json.loads(viz.to_json(y.sum()))["scopes"][0]["path"]


def test_scopes_outlive_their_module() -> None:
    y = nn.Sequential(nn.Linear(2, 2, rng=np.random.default_rng(0)), nn.Tanh())(np.ones((3, 2)))
    gc.collect()
    assert [scope.label for scope in graph(y).scopes.values()] == ["Sequential", "Linear", "Tanh"]


# What repeats


def test_a_chain_of_blocks_is_folded_to_the_first() -> None:
    _, loss = net_loss(12)
    model = graph(loss)
    assert_sound(model, 200)
    block = model.scopes["blocks.0"]
    assert (block.label, block.repeat, block.path, block.last) == ("Block", 12, "blocks.0", "blocks.11")
    assert (block.operations, block.parameters) == (12 * 4, 12 * 20)
    assert model.scopes["blocks.0.linear"].operations == 1  # within a repeated scope the first copy counts
    assert texts(model) == ["linear", "linear", "tanh", "× 0.5", "+", "linear", "x²", "Σ"]
    assert [(e.source, e.target) for e in model.edges if e.carried] == [("n9", "n6"), ("n9", "n9")]
    assert "blocks.0 to blocks.11 are alike, 12 in a row; the first is shown." in model.notes
    assert "52 operations, of which 8 are drawn." in model.notes
    assert "0 … 11 · Block ×12" in viz.draw(loss).source


def test_a_small_network_is_drawn_in_full() -> None:
    _, loss = net_loss(3)
    assert not any(scope.repeat > 1 for scope in graph(loss).scopes.values())


def test_all_is_drawn_on_demand() -> None:
    _, loss = net_loss(12)
    model = graph(loss, max_nodes=None)
    assert_sound(model)
    assert len(texts(model)) == model.operations == 52
    assert model.notes == []


def test_different_operations_in_a_row_are_no_repetition() -> None:
    functions = [(np.sin, np.cos, np.tanh)[i] for i in np.random.default_rng(0).integers(0, 3, 60)]
    y: Any = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    for function in functions:
        y = function(y)
    model = graph(y.sum(), max_nodes=30)
    assert not any("repeated" in note for note in model.notes)
    assert not any(scope.repeat > 8 for scope in model.scopes.values())


def test_what_goes_on_within_a_copy_is_not_carried() -> None:
    """Copies in copies: only what goes from one copy to the next is drawn as carried
    on.
    """
    y: Any = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    for i in range(4):
        with mg.scope(f"outer{i}"):
            for j in range(4):
                with mg.scope(f"inner{j}"):
                    y = np.tanh(np.sin(y) * 2)
            y = np.exp(-y)
    model = graph(y.sum())
    texts = {node.id: node.text for node in model.nodes}
    carried = {(texts[edge.source], texts[edge.target]) for edge in model.edges if edge.carried}
    assert carried == {("tanh", "sin"), ("eˣ", "sin")}
    together = {(texts[edge.source], texts[edge.target]) for edge in model.edges if not edge.carried}
    assert {("sin", "× 2"), ("× 2", "tanh"), ("−x", "eˣ")} <= together


def test_branches_side_by_side_are_not_folded() -> None:
    """A query, a key and a value are computed alike, but they aren't alike."""
    rng = np.random.default_rng(0)
    x = mg.tensor(np.ones((3, 4)), name="x")
    heads = []
    for _ in range(8):
        q, k, v = (nn.Linear(4, 4, rng=rng)(x) for _ in range(3))
        heads.append((q @ k.T) @ v)
    model = graph(sum(heads[1:], heads[0]))
    assert all(scope.repeat == 1 for scope in model.scopes.values())


def test_a_recurrent_net_is_its_body() -> None:
    loss = recurrent(4000)
    model = graph(loss, backward=True)
    assert_sound(model, 200)
    assert model.operations == 20_002
    assert texts(model) == ["@", "@", "+", "+", "tanh", "x²", "Σ"]
    [scope] = model.scopes.values()
    assert (scope.kind, scope.repeat, scope.operations) == ("repeat", 4000, 20_000)
    assert [(e.source, e.target) for e in model.edges if e.carried] == [("n8", "n4")]
    assert "5 operations are repeated 4,000 times in a row; the first time is shown." in model.notes
    last = by_id(model)["n8"].last_norm
    assert last is not None
    assert last == pytest.approx(float(np.linalg.norm(2 * loss._node.parents[0].args[0])))  # type: ignore[union-attr]
    assert "next" in viz.draw(loss).source


def test_copies_that_go_into_one_result_are_one_line() -> None:
    parts = [mg.tensor(np.ones(2), requires_grad=True) * 2 for _ in range(1000)]
    model = graph(np.concatenate(parts))
    assert_sound(model, 200)
    assert texts(model) == ["× 2", "concatenate"]
    assert len(model.edges) == 3


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ([], (0, 0, 0)),
        ([1, 1], (0, 0, 0)),
        ([1, 1, 1], (0, 1, 3)),
        ([5, 1, 2, 1, 2, 1, 2, 1, 5], (1, 2, 3)),
        ([1, 1, 2, 1, 1, 2, 1, 1, 2], (0, 3, 3)),
        ([*range(100)] * 4, (0, 100, 4)),
    ],
)
def test_longest_run(kinds: list[int], found: tuple[int, int, int]) -> None:
    assert longest_run(np.array(kinds, dtype=np.int64)) == found


# Folds


def test_depth_folds_what_lies_in_so_many_scopes() -> None:
    net, loss = net_loss(12)
    loss.backward()
    model = graph(loss, depth=0)
    assert [node.kind for node in model.nodes] == ["input", "fold", "operation", "operation", "result"]
    fold = model.nodes[1]
    assert (fold.id, fold.text, fold.members, fold.parameters) == ("Net", "Net", 50, 261)
    assert fold.grad is not None
    norm = np.sqrt(sum(np.sum(p.grad**2) for p in net.parameters()))
    assert fold.grad.norm == pytest.approx(float(norm))
    assert model.scopes == {}
    assert "All scopes are folded." in model.notes
    blocks = by_id(graph(loss, depth=2))["blocks.0"]
    assert (blocks.text, blocks.name, blocks.members) == ("Block ×12", "blocks.0 … blocks.11", 48)
    for depth in range(5):
        assert_sound(graph(loss, depth=depth))
    assert "Scopes within 2 others are folded." in graph(loss, depth=2).notes


def test_a_fold_that_holds_something_infinite_is_red() -> None:
    x = mg.tensor([1.0, 0.0], requires_grad=True)
    with mg.scope("inner"), np.errstate(divide="ignore"):
        y = np.log(x).sum()
    source = viz.draw(y * 1.0, depth=0).source
    line = next(line for line in source.splitlines() if line.startswith("\tinner ["))
    assert dot.ALARM in line
    assert "2 Inf of 3" in line


def test_above_max_nodes_the_deepest_scopes_are_folded_first() -> None:
    rng = np.random.default_rng(0)
    x = mg.tensor(np.ones(3), requires_grad=True, name="x")
    y: Any = x
    for i in range(3):
        with mg.scope(f"outer {'abc'[i]}"):
            for j in range(6):
                with mg.scope(f"inner {'abcdef'[j]}"):
                    for k in range(4 + (i + j) % 3):
                        y = STEPS[(i * j + k * k) % 3](y)
    del rng
    shallow = graph(y.sum(), 50)
    assert_sound(shallow, 50)
    assert {node.kind for node in shallow.nodes} == {"parameter", "fold", "operation", "result"}
    assert [scope.path for scope in shallow.scopes.values()] == ["outer a", "outer b", "outer c"]
    assert "Scopes within another are folded." in shallow.notes
    assert len(graph(y.sum(), 200).scopes) == 21


def test_without_scopes_the_middle_is_folded() -> None:
    rng = np.random.default_rng(0)
    y: Any = mg.tensor(np.ones(3), requires_grad=True, name="x")
    for i in rng.integers(0, 3, 2000):
        y = STEPS[i](y)
    model = graph(y, 30)
    assert_sound(model, 30)
    stretch = by_id(model)["stretch"]
    assert stretch.members > 1900
    assert len(model.nodes) > 20
    assert "operations between" in stretch.detail
    assert_sound(graph(y, 4), 4)


@pytest.mark.parametrize("compute", [lambda h: h * h, lambda h: h - h, lambda h: np.concatenate([h, h])])
def test_the_result_of_a_loop_is_each_operand_that_it_is(compute: Any) -> None:
    """One line stands for all copies of a loop, but not for two uses of one copy."""
    h: Any = mg.tensor(np.ones(3), requires_grad=True)
    for _ in range(60):
        h = np.tanh(h) * 2.0
    model = graph(compute(h))
    (last,) = {edge.source for edge in model.edges if edge.target == "result"}
    assert len([edge for edge in model.edges if edge.target == last]) == 2


@pytest.mark.parametrize(("x", "nan", "inf"), [(1.0, 0, 0), (0.0, 1, 0), (-1.0, 0, 2)])
def test_a_fold_has_values_only_to_warn(x: float, nan: int, inf: int) -> None:
    with mg.scope("inside"), np.errstate(all="ignore"):
        y: Any = mg.tensor([x, 1.0], requires_grad=True)
        y = np.divide(1.0 if x else 0.0, np.maximum(y, 0.0)) * 2.0
    values = by_id(graph(y, depth=0))["inside"].values
    found = (0, 0, 0) if values is None else (values.nan, values.inf, values.size)
    assert found == ((nan + nan, inf, 6) if nan or inf else (0, 0, 0))


def test_very_many_variables_of_one_operation_are_folded() -> None:
    model = graph(np.concatenate([mg.tensor(np.ones(2), requires_grad=True) for _ in range(1000)]))
    assert_sound(model, 200)
    [fold] = [node for node in model.nodes if node.kind == "fold"]
    assert fold.text == "803 more parameters"
    assert fold.parameters == 1606


def test_operations_with_very_many_operands() -> None:
    x: Any = [mg.tensor(np.ones(2), requires_grad=True)]
    for i in range(60):
        x.append(STEPS[i % 3](np.concatenate(x)[:2]))
    model = graph(x[-1], max_nodes=100)
    assert_sound(model, 100)
    assert len(model.edges) <= 10 * 100


def test_a_deep_graph_recurses_nowhere() -> None:
    y: Any = mg.tensor(1.5, requires_grad=True, name="x")
    for i in range(20_000):
        y = y * 1.0 if i % 3 else np.tanh(y)
    assert_sound(graph(y, backward=True), 200)
    with mg.scope("0"):
        pass
    entered = [mg.scope(str(i)) for i in range(3000)]
    for one in entered:
        one.__enter__()
    z = y * 2
    for one in reversed(entered):
        one.__exit__(None, None, None)
    assert len(graph(z, depth=2).nodes) < 200
    for one in entered:
        one.__enter__()
    for _ in range(100):
        y = np.sin(y * 2)
    for one in reversed(entered):
        one.__exit__(None, None, None)
    assert_sound(graph(y, 50), 50)


@st.composite
def programs(draw: st.DrawFn) -> Any:
    """Return a program: steps, scopes and loops in one another."""
    leaves = st.integers(0, len(STEPS) - 1)
    nested = st.recursive(
        st.lists(leaves, min_size=1, max_size=4),
        lambda inner: st.lists(
            st.one_of(leaves, st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, 3, 20]), inner)), max_size=4
        ),
        max_leaves=6,
    )
    return draw(nested)


def run(program: Any, x: Any) -> Any:
    for step in program:
        if isinstance(step, int):
            x = STEPS[step](x)
        else:
            name, times, body = step
            for _ in range(times):
                with mg.scope(name):
                    x = run(body, x)
    return x


@given(program=programs(), max_nodes=st.sampled_from([4, 10, 50, 200]), depth=st.sampled_from([None, 0, 1]))
def test_a_folded_graph_is_part_of_the_whole(program: Any, max_nodes: int, depth: int | None) -> None:
    x = mg.tensor(np.array([0.1, 0.2, 0.3]), requires_grad=True, name="x")
    y = run(program, x * 1.0).sum()
    whole = graph(y, None, backward=True)
    part = graph(y, max_nodes, depth, backward=True)
    assert_sound(whole)
    assert_sound(part, max_nodes)
    assert whole.operations == part.operations == sum(node.members for node in whole.nodes)
    known = by_id(whole)
    for node in part.nodes:
        if node.kind == "operation":
            here = known[node.id]
            assert (node.text, node.shape, node.values, node.grad) == (here.text, here.shape, here.values, here.grad)
    held = {scope.id: scope.operations for scope in part.scopes.values()}
    for scope in part.scopes.values():
        assert held[scope.id] >= sum(n.members for n in part.nodes if scope.id in n.scope) * (scope.repeat > 1 or 1)


# Backwards


def test_what_flows_is_what_backward_computes() -> None:
    net, loss = net_loss(3)
    x = net.first.weight
    values: Any = {}
    model = graph(loss, backward=True, arrays=values)
    assert all(parameter.grad is None for parameter in net.parameters())  # nothing was changed
    loss.backward()
    for node in model.nodes:
        if node.kind == "parameter":
            [parameter] = [p for name, p in net.named_parameters() if name == node.name]
            assert node.grad is not None
            assert node.grad.norm == pytest.approx(float(np.linalg.norm(parameter.grad)))
            np.testing.assert_allclose(values[node.id][1], parameter.grad)
    assert x.grad is not None
    after = graph(loss, backward=True)
    assert [node.id for node in after.nodes] == [node.id for node in model.nodes]
    assert any("retain_graph=True" in note for note in after.notes)


def test_parts_of_a_gradient_add_up() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = np.sum(x * x + 3 * x)
    model = graph(y, backward=True)
    parts = [edge.grad.elements for edge in model.edges if edge.source == "n0" and edge.grad]
    assert parts == [[1.0, 2.0], [1.0, 2.0], [3.0, 3.0]]
    assert by_id(model)["n0"].grad.elements == [5.0, 7.0]  # type: ignore[union-attr]


def test_of_a_result_with_several_elements_the_sum_is_differentiated() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    model = graph(x * 2, backward=True)
    assert by_id(model)["n0"].grad.elements == [2.0, 2.0]  # type: ignore[union-attr]
    assert "The gradients are those of the sum of the result's elements." in model.notes


def test_a_step_after_the_computation_is_told() -> None:
    net, loss = net_loss(3)
    assert not any("Changed" in note for note in graph(loss, backward=True).notes)
    with mg.no_grad():
        for parameter in net.parameters():
            parameter -= 0.1
    [note] = [note for note in graph(loss, backward=True).notes if "Changed" in note]
    assert note.startswith(
        "Changed since the computation: 'first.weight', 'first.bias', 'blocks.0.linear.weight' and 7 more."
    )


@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize("name", ["w", "x"])
def test_every_view_tells_that_a_variable_has_new_values(name: str, is_over: bool) -> None:
    variables = {"w": mg.tensor([1.0, 2.0], requires_grad=True, name="w"), "x": mg.tensor([3.0, 4.0], name="x")}
    loss = np.sum(variables["w"] * variables["x"])
    if is_over:
        loss.backward()
    variables[name].data = np.zeros(2)
    for backward in (False, True):
        notes = graph(loss, backward=backward).notes
        lost = ", so the gradients can't be computed" if backward and not is_over else ""
        assert notes[0] == f"Changed since the computation: {name!r}. The new values are shown{lost}."
        assert any("backward() freed" in note for note in notes) == (backward and is_over)


def test_functions_of_several_results_flow() -> None:
    x = mg.tensor(np.array([[2.0, 1.0], [1.0, 3.0]]), requires_grad=True, name="x")
    values, _ = np.linalg.eigh(x)
    model = graph(values.sum(), backward=True)
    np.testing.assert_allclose(by_id(model)["n0"].grad.elements, np.eye(2), atol=1e-12)  # type: ignore[union-attr]
    assert_sound(model)


def test_the_backward_view_shows_rules_and_norms() -> None:
    x = mg.tensor(np.ones((5, 3)), name="x")
    w = mg.tensor(np.ones((3, 2)), requires_grad=True, name="w")
    b = mg.tensor(np.zeros(2), requires_grad=True, name="b")
    loss = np.sum(np.sin(x @ w + b))
    loss.name = "loss"
    source = viz.draw(loss, "backward").source
    assert "∂loss/∂loss" in source
    for rule in ("np.broadcast_to(g, (5, 2))", "g * np.cos(add)", "x.T @ g"):
        assert rule in source
    assert "summed over axis 0" in source
    assert "style=&quot;dashed" in source or 'style="dashed"' in source
    assert "<b>x</b>" not in source  # no derivative flows to an input
    assert "result -> n6" in source
    assert "n2 -> n1_to_n2_1" in source
    assert "n1_to_n2_1 -> n1 " in source
    both = viz.draw(loss, "both").source
    assert "n1 -> n1_to_n2_1" in both
    assert "n1_to_n2_1 -> n2:ne" in both
    assert "g * np.cos(add)" in both
    assert "<b>x</b>" in both


def test_details_are_shown_on_demand() -> None:
    w = mg.tensor(np.ones(5), requires_grad=True, name="w")
    with mg.scope("part", lines=True):
        loss = np.sum(np.sin(w))
    loss.backward()
    full = viz.draw(loss, show=labels.DETAILS).source
    for text in ("float64", "40 bytes", "test_viz_fold.py:", "all 1", "‖grad‖"):
        assert text in full
    bare = re.sub('tooltip=".*?"', "", viz.draw(loss, "backward", show=()).source)
    for text in ("(5,)", "all 1", "np.cos"):
        assert text not in bare
    assert "(5,)" in viz.draw(loss, show="shapes").source
    with pytest.raises(ValueError, match="show must be made of shapes, dtypes"):
        viz.draw(loss, show=["colours"])
    with pytest.raises(ValueError, match="view must be one of forward, backward, both, got 'sideways'"):
        viz.draw(loss, "sideways")
    with pytest.raises(ValueError, match=r"depth must be 0 .* got -1"):
        viz.draw(loss, depth=-1)


# Paths


def test_a_path_shows_what_connects_two_tensors() -> None:
    net, loss = net_loss(3)
    source = viz.path(loss, net.first.weight).source
    assert "first.weight" in [node.name for node in graph(loss, to=net.first.weight).nodes]
    model = graph(loss, None, to=net.last.weight)
    assert [node.name for node in model.nodes if node.kind == "parameter"] == ["last.weight"]
    assert texts(model) == ["linear", "x²", "Σ"]
    assert_sound(model)
    whole = by_id(graph(loss, None))
    assert all(node.id in whole for node in model.nodes)
    assert "<b>bias</b>" not in source
    loss.backward()
    assert texts(graph(loss, None, to=net.last.weight)) == texts(model)


def test_a_path_may_start_at_a_value() -> None:
    x = mg.tensor(3.0, requires_grad=True, name="x")
    y = x * 2
    z = np.sin(y) + x
    assert texts(graph(z, to=y)) == ["× 2", "sin", "+"]


def test_a_path_needs_a_connection() -> None:
    x, other = mg.tensor(3.0, requires_grad=True, name="x"), mg.tensor(3.0, requires_grad=True, name="other")
    for to in (other, other * 2, mg.tensor(1.0)):
        with pytest.raises(ValueError, match="isn't part of the computation of this result"):
            viz.path(x * 2, to)
    with pytest.raises(ValueError, match="'other' of shape"):
        viz.path(x, other)
    with pytest.raises(TypeError, match="to= must be a Tensor that the result was computed from, got a float"):
        viz.path(x * 2, 3.0)  # type: ignore[arg-type]


def test_ids_do_not_depend_on_what_is_folded() -> None:
    loss = recurrent(100)
    assert isinstance(loss._node, Operation)
    record = Record(loss._node)
    assert len(set(record.ids) | set(record.leaf_ids.values())) == len(record.ids) + 4
    whole, part = by_id(graph(loss, None)), by_id(graph(loss))
    assert {i for i, node in part.items() if node.kind != "fold"} <= set(whole)


def test_a_loop_without_scopes_is_folded_as_soon_as_it_is_long() -> None:
    x = mg.tensor(np.ones(3), requires_grad=True, name="x")
    w = mg.tensor(np.ones((3, 3)), requires_grad=True, name="w")
    y = x
    for _ in range(20):
        y = np.tanh(w @ y) + x
    model = graph(y.sum())
    assert [scope.repeat for scope in model.scopes.values()] == [20]
    assert len(model.nodes) < 10


def test_every_line_to_the_next_copy_is_drawn() -> None:
    h = mg.tensor(np.ones((2, 3)), requires_grad=True, name="x")
    for i in range(12):
        layer = nn.Linear(3, 3, rng=np.random.default_rng(i))
        with mg.scope("block"):
            h = h + np.tanh(layer(h))
    carried = [edge for edge in graph(h.sum()).edges if edge.carried]
    assert len(carried) == 2
    for edge in carried:  # the layout has no circle
        label = dot.label_id(edge)
        assert f"{edge.target} -> {label}" in viz.draw(h.sum()).source
        assert f"{edge.source} -> {label}" in viz.draw(h.sum(), "backward").source
    for source in (viz.draw(h.sum()).source, viz.mermaid(h.sum())):
        assert len(re.findall(r"\bnext\b", source)) == 2
