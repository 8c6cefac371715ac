"""The text of a rule is what the table says, for the way that the call takes."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import numpy as np
import pytest

import microgradnd as mg
from microgradnd.nn import activations
from microgradnd.nn import functional as F
from microgradnd.nn import losses as nn_losses
from microgradnd.registry import VJPS, rule_for
from microgradnd.rules import elementwise
from microgradnd.tape import Operation, walk
from microgradnd.viz.graph import graph
from microgradnd.viz.rules import TEXTS, parameters_of, rule_text, summed_axes
from microgradnd.viz.signs import BETWEEN


def variable(*shape: int) -> Any:
    return mg.tensor(np.random.default_rng(0).uniform(0.5, 1.0, shape), requires_grad=True)


def written(y: Any, position: int = 0) -> str:
    assert isinstance(y._node, Operation)
    return rule_text(y._node, position)


X, W = variable(3, 4), variable(4, 2)


@pytest.mark.parametrize(
    ("compute", "texts"),
    [
        (lambda: np.sin(X), ["g * np.cos(x)"]),
        (lambda: X * X, ["g * y", "g * x"]),
        (lambda: X / X, ["g / y", "-g * out / y"]),
        (lambda: X**2, ["g * (2 * x)"]),
        (lambda: X**3, ["g * (y * x**(y - 1))"]),
        (lambda: F.relu(X), ["g * (out > 0)"]),
        (lambda: abs(X), ["g * np.sign(x)"]),
        (lambda: X @ W, ["g @ y.T", "x.T @ g"]),
        (lambda: X[None] @ W, ["g @ y.mT", "x.reshape(-1, 4).T @ g.reshape(-1, 2)"]),
        (lambda: X.sum(), ["np.broadcast_to(g, x.shape)"]),
        (lambda: X.sum(axis=0), ["np.broadcast_to(np.expand_dims(g, axis), x.shape)"]),
        (lambda: X.mean(axis=1), ["np.broadcast_to(np.expand_dims(g * 0.25, axis), x.shape)"]),
        (lambda: X.reshape(2, 6), ["np.reshape(g, x.shape)"]),
        (lambda: np.flip(X), ["np.flip(g)"]),
        (lambda: np.flip(X, axis=1), ["np.flip(g, axis)"]),
        (lambda: F.linear(X, W.T), ["g @ weight", "g.T @ x"]),
        (lambda: np.where(X.data > 0.7, X, 0.0), ["", "np.where(c, g, 0)"]),
    ],
)
def test_rules_as_they_are_written(compute: Any, texts: list[str]) -> None:
    y = compute()
    for position, text in enumerate(texts):
        if text:
            assert written(y, position) == text
            ast.parse(text)


def test_what_backward_has_let_go_of_changes_nothing() -> None:
    for y in (np.sin(X), X @ W, X.mean(axis=1), X * X, F.linear(X, W.T), np.swapaxes(X, 0, 1), np.flip(X, 1)):
        before = [written(y, i) for i in range(2) if i < len(y._node.parents)]
        y.backward(np.ones(y.shape))
        assert [written(y, i) for i in range(2) if i < len(y._node.parents)] == before


def test_a_users_rules_are_read_too() -> None:
    @mg.primitive
    def power(x: Any, n: int) -> Any:
        return x**n

    mg.defvjp(power, lambda g, out, x, n: g * n * out / x)  # fmt: skip
    assert written(power(X, 3)) == "g * n * out / x"
    two = [lambda g, out, x, n: g * n, lambda g, out, x, n: n * g]
    for rule in two:
        mg.defvjp(power, rule)
        assert written(power(X, 3)) == ast.unparse(ast.parse("g * n" if rule is two[0] else "n * g"))


def test_what_has_no_source_goes_by_its_name() -> None:
    @mg.primitive
    def shifted(x: Any) -> Any:
        return x + 1

    names: dict[str, Any] = {}
    exec("def hidden(g, out, x):\n    return g", names)
    mg.defvjp(shifted, names["hidden"])
    assert written(shifted(X)) == "derivative of shifted, times g"
    mg.defvjp(shifted, eval("lambda g, out, x: g"))
    assert written(shifted(X)) == "derivative of shifted, times g"
    names["hidden"].text = "g, whatever x"
    mg.defvjp(shifted, names["hidden"])
    assert written(shifted(X)) == "g, whatever x"


def test_what_is_no_formula_is_said_in_words() -> None:
    values, _ = np.linalg.eigh(variable(2, 2))
    assert written(values) == "g for this result, 0 for the others"


def test_an_argument_without_a_rule_has_no_text() -> None:
    y = X.astype(np.float32)
    assert written(y, 1) == ""


V, S, ONE = variable(4), variable(2, 3, 4), variable(1, 3, 4)
NUMPYS = [f for f in vars(np).values() if isinstance(f, np.ufunc)]  # other tests may register SciPy's
UFUNCS = [f for f in dict.fromkeys(NUMPYS) if VJPS.get(f) and f.signature is None and f.nout == 1]
EVERY_UFUNC = [
    pytest.param(f, arrays, id=f"{f.__name__}-{arrays[0].ndim}")
    for f in sorted(UFUNCS, key=lambda f: f.__name__)
    if f not in (np.arccosh, np.ldexp)  # they take other numbers
    for arrays in {1: [(X,)], 2: [(X, V), (ONE, X)]}[f.nin]
]
CALLS: list[Any] = [
    lambda: X @ W,
    lambda: V @ W,
    lambda: X @ V,
    lambda: S @ W,
    lambda: S @ V,
    lambda: V @ np.swapaxes(S, 1, 2),
    lambda: np.swapaxes(S, 1, 2) @ ONE,
    lambda: ONE @ np.swapaxes(S, 1, 2),
    lambda: np.dot(V, W),
    lambda: np.dot(S, W),
    lambda: F.linear(V, W.T, V[:2]),
    lambda: F.linear(X, W.T, V[:2]),
    lambda: F.linear(S, W.T, V[:2]),
    lambda: np.reshape(X, (2, 6)),
    lambda: np.reshape(X, (2, 6), order="F"),
    lambda: np.ravel(X, order="F"),
    lambda: np.broadcast_to(V, (3, 4)),
    lambda: np.tril(V),
    lambda: np.where(V.data > 0.7, X, V),
    lambda: np.clip(V, 0.6, np.ones((3, 4))),
    lambda: F.leaky_relu(X, 0.1),
    lambda: F.softplus(X),
    lambda: F.binary_cross_entropy_with_logits(X, np.ones((3, 4)), reduction="none"),
    *(lambda f=f, axis=axis: f(S, axis=axis) for f in (np.sum, np.mean) for axis in (0, -1)),
    lambda: np.arccosh(X + 1),
    lambda: np.sum(S),
    lambda: np.mean(S, axis=(0, 2), keepdims=True),
    lambda: np.flip(S, axis=1),
    lambda: np.roll(X, 2, axis=1),
    lambda: np.swapaxes(S, 0, 2),
    lambda: np.moveaxis(S, 0, 2),
    lambda: np.trace(X),
]


@pytest.mark.parametrize(("function", "arrays"), [*EVERY_UFUNC, *((call, ()) for call in CALLS)])
def test_a_formula_says_what_the_rule_computes(function: Any, arrays: Any) -> None:
    """NumPy evaluates each text that is a formula to the gradient in the picture."""
    y = function(*arrays)

    def compare(node: Operation, g: Any, parts: list[tuple[int, Any]]) -> None:
        for position, part in parts:
            text = rule_text(node, position)
            try:
                formula = compile(text, "", "eval")
            except SyntaxError:  # words
                continue
            rule = rule_for(VJPS, node.function, position)
            names = {"np": np, "g": g, "out": node.out} | getattr(rule, "__globals__", {})
            names |= {k: p.default for k, p in inspect.signature(rule).parameters.items() if p.default is not p.empty}
            names |= dict(zip(parameters_of(node.function, position), node.args or (), strict=False)) | node.kwargs
            value = np.asarray(eval(formula, names | {"g": g}))
            axes = summed_axes(node, position)
            if axes:
                value = np.sum(np.broadcast_to(value, np.broadcast_shapes(value.shape, part.shape)), axis=axes)
            np.testing.assert_allclose(value.reshape(part.shape), part, rtol=2e-3, err_msg=f"{node!r}: {text}")

    g = np.random.default_rng(1).normal(size=y.shape)
    walk([(y._node, g)], done=compare)


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (lambda: F.linear(S, W.T, V[:2]), "np.sum(g.reshape(-1, 2), axis=0)"),
        (lambda: S @ W, "x.reshape(-1, 4).T @ g.reshape(-1, 2)"),
        (lambda: np.ravel(X, order="F"), "np.reshape(g, x.shape, order='F')"),
        (lambda: np.prod(S, axis=1), "g times the product of the others"),
        (lambda: F.softmax(S), "out * (g - sum of g * out per softmax)"),
    ],
)
def test_arrays_of_more_axes_have_texts_that_are_true_of_them(compute: Any, text: str) -> None:
    y = compute()
    position = max(i for i, parent in enumerate(y._node.parents) if parent is not None)
    assert written(y, position) == text


def test_words_are_not_taken_for_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text in words may use a word that is an option's name."""
    monkeypatch.setitem(TEXTS, "transpose", "g with its axes put back")
    x = named("x", 2, 2)
    assert texts(np.sum(np.transpose(x, axes=(1, 0))))["transpose", 0][0] == "g with its axes put back"
    assert texts(np.sum(np.var(x, ddof=1)))["var", 0][0] == "g * 2 * (x - mean) / (n - 1)"


@pytest.mark.parametrize(
    ("compute", "shares"),
    [
        (lambda x: np.max(x), [0.5, 0.5, 0.0]),
        (lambda x: np.maximum(x, mg.tensor([1.0, 0.0, 2.0])), [0.5, 1.0, 0.0]),
        (lambda x: F.max_pool1d(x[None, None], 3), [1.0, 0.0, 0.0]),
    ],
)
def test_the_words_for_ties_are_those_of_the_rules(compute: Any, shares: list[float]) -> None:
    x = mg.tensor([1.0, 1.0, 0.0], requires_grad=True)
    y = compute(x)
    position = next(i for i, parent in enumerate(y._node.parents) if parent is not None)
    says_shared = "shared" in written(y, position) or "g / 2 at ties" in written(y, position)
    np.sum(y).backward()
    assert x.grad.tolist() == shares
    assert says_shared == (0.5 in shares)
    assert says_shared or "first" in rule_text(y._node, position)


def test_a_rule_may_call_the_gradient_what_it_likes() -> None:
    @mg.primitive
    def halved(x: Any) -> Any:
        return x / 2

    mg.defvjp(halved, lambda grad, ans, x: grad * ans / x)
    x = mg.tensor(3.0, requires_grad=True, name="x")
    assert texts(halved(x))["halved", 0] == ("g * out / x", "1 * 1.5 / 3 = 0.5")


@pytest.mark.parametrize(
    ("compute", "position", "axes"),
    [
        (lambda b: X + b, 1, (0,)),
        (lambda b: b * X, 0, (0,)),
        (lambda b: np.where(X.data > 0, X, b), 2, (0,)),
        (lambda b: X + X, 1, ()),
        (lambda b: X @ W, 1, ()),
        (lambda b: np.broadcast_to(b, (3, 4)), 0, (0,)),
        (lambda b: nn_losses.logistic_loss(X, b), 1, (0,)),
        (lambda b: b[:, None] @ variable(5, 1, 2), 0, ()),
        (lambda b: ONE @ variable(5, 4, 2), 0, (0,)),
        (lambda b: b @ variable(5, 4, 2), 0, (0,)),
        (lambda b: variable(5, 3, 4) @ b, 1, ()),
        (lambda b: X.sum() + b.sum(), 1, ()),
        (lambda b: b.sum() * X, 0, (0, 1)),
    ],
)
def test_where_a_broadcast_is_summed_away(compute: Any, position: int, axes: tuple[int, ...]) -> None:
    y = compute(variable(4))
    assert summed_axes(y._node, position) == axes
    y.backward(np.ones(y.shape))
    assert summed_axes(y._node, position) == axes


def test_a_leaf_that_was_given_other_data_is_no_error() -> None:
    b = variable(4)
    y = X + b
    y.backward(np.ones((3, 4)))
    b._node.data = np.ones(7)
    assert summed_axes(y._node, 1) == ()  # type: ignore[arg-type]


def test_the_constant_that_a_loop_starts_with_may_be_freed() -> None:
    """The first copy of a folded loop has a constant where the others have the result
    of the copy before.
    """
    w, h = variable(3), np.zeros(3)
    for _ in range(20):
        h = np.tanh(h * w) + 1
    loss = np.sum(h)
    loss.backward()
    (edge,) = (edge for edge in graph(loss).edges if edge.carried)
    assert edge.rule == "g * y"
    assert edge.summed == ()


def test_every_rule_of_the_table_has_a_text() -> None:
    """No rule is so odd that reading it raises; most can be read."""
    read, all_ = 0, 0
    for function, rules in VJPS.items():
        if not isinstance(rules, tuple):
            continue
        node = Operation(function, (X.data, X.data), {}, (X._node, X._node), X.data)
        for position in range(min(len(rules), 2)):
            text = rule_text(node, position)
            all_ += 1
            read += "derivative of" not in text and bool(text)
    assert read > 0.6 * all_


def test_a_rule_for_all_arguments_is_named() -> None:
    x = mg.tensor(np.ones((2, 3)), requires_grad=True)
    joined = np.concatenate([x, x])
    assert rule_text(joined._node, 1) == "its slice of g"
    norm = mg.nn.functional.layer_norm(x, (3,))
    assert rule_text(norm._node, 0) == "derivative of normalized, times g"


def texts(y: Any) -> dict[tuple[str, int], tuple[str, str]]:
    """Return what pictures show of each rule: by function and position the text, and
    the same with numbers.
    """
    model = graph(y, backward=True)
    functions = {node.id: node.function or "" for node in model.nodes}
    return {(functions[e.target], e.position): (e.text, e.numbers) for e in model.edges if e.rule}


def named(name: str, *shape: int) -> Any:
    return mg.tensor(np.full(shape, 0.5), requires_grad=True, name=name)


def test_rules_have_the_names_of_their_operands() -> None:
    x, w1, w2 = named("x", 5, 3), named("w1", 3, 4), named("w2", 4, 2)
    found = texts(np.sum(F.relu(x @ w1) @ w2))
    assert found["matmul", 1] == ("relu.T @ g", "")
    assert found["matmul", 0] == ("g @ w2.T", "")
    assert found["sum", 0] == ("np.broadcast_to(g, (5, 2))", "")


@pytest.mark.parametrize(
    ("compute", "key", "text"),
    [
        (lambda x, y: np.sin(x - y), ("sin", 0), "g * np.cos(x - y)"),
        (lambda x, y: (x - y) ** 2 @ x.T, ("matmul", 1), "square.T @ g"),
        (lambda x, y: np.tanh(x) * np.tanh(y), ("multiply", 0), "g * tanh₂"),
        (lambda x, y: np.sin((x * y + x) * y), ("sin", 0), "g * np.cos(multiply)"),
        (lambda x, y: x**3, ("power", 0), "g * (3 * x**(3 - 1))"),
        (lambda x, y: y * -2.0, ("multiply", 0), "g * (-2)"),
        (lambda x, y: np.concatenate([x, y]), ("concatenate", 2), "its slice of g"),
        (lambda x, y: np.max(x) * 1.0, ("max", 0), "g shared by the maxima of x, else 0"),
    ],
)
def test_operands_without_a_name(compute: Any, key: Any, text: str) -> None:
    assert texts(np.sum(compute(named("x", 2, 2), named("y", 2, 2))))[key][0] == text


def test_names_that_are_no_words_stand_in_quotes() -> None:
    x, y = named("a - b", 2), named("encoder.0.weight", 2)
    found = texts(np.sum(x * y))
    assert found["multiply", 0][0] == "g * weight"
    assert found["multiply", 1][0] == "g * 'a - b'"


def test_single_numbers_are_put_in() -> None:
    a, b = (mg.tensor(value, requires_grad=True, name=name) for value, name in ((0.5, "a"), (-3.0, "b")))
    found = texts(np.tanh(a) * b)
    assert found["multiply", 0] == ("g * b", "1 * (-3) = -3")
    assert found["tanh", 0] == ("g * (1 - out**2)", "(-3) * (1 - 0.4621**2) = -2.359")
    assert texts(a + b)["add", 0] == ("g", "1")


SCALARS = [f for f in UFUNCS if f not in (np.arccosh, np.ldexp)]
CALLED: list[Any] = [*SCALARS, F.relu, F.elu, F.leaky_relu, F.sigmoid, F.softplus, F.gelu, F.silu, np.sum, np.mean]


@pytest.mark.parametrize("function", CALLED, ids=lambda f: f.__name__)
def test_the_numbers_put_into_a_rule_give_the_gradient(function: Any) -> None:
    a, b = (mg.tensor(value, requires_grad=True) for value in (0.7, -0.4 if function in BETWEEN else 0.4))
    y = 3.0 * function(*(a, b)[: getattr(function, "nin", 1)])
    for _, numbers in texts(y).values():
        expression, equals, result = numbers.rpartition(" = ")
        names = {"np": np} | vars(activations) | vars(elementwise)
        assert not equals or eval(expression, names) == pytest.approx(float(result), rel=2e-3, abs=1e-3)


def test_a_text_in_words_has_only_its_result() -> None:
    x = mg.tensor(2.0, requires_grad=True, name="x")
    assert texts(3.0 * np.maximum(x, 2.0))["maximum", 0] == ("g where it is larger, g / 2 at ties, else 0", "1.5")


def test_options_at_their_defaults_are_numbers_too() -> None:
    x = mg.tensor(-1.0, requires_grad=True, name="x")
    assert "alpha" not in texts(F.elu(x))["elu", 0][0]


def test_a_negative_number_alone_needs_no_brackets() -> None:
    x = mg.tensor(2.0, requires_grad=True, name="x")
    assert texts(-3.0 * (x + 1))["add", 0] == ("g", "-3")
    assert texts(0.0 * -(x + 1))["add", 0] == ("g", "0")


def test_two_calls_of_one_function_have_their_own_constants() -> None:
    x = named("x", 2)
    model = graph(np.sum(x**3.5 + x**4.5), backward=True)
    assert {edge.text for edge in model.edges if edge.source == "n0"} == {
        "g * (3.5 * x**(3.5 - 1))",
        "g * (4.5 * x**(4.5 - 1))",
    }


def test_no_text_shows_what_only_the_library_knows() -> None:
    for function, rules in VJPS.items():
        node = Operation(function, (X.data, X.data), {}, (X._node, X._node), X.data)
        for position in range(min(len(rules), 2)):
            assert not re.search(r"\bfor\b.* in |\bif\b|\bposition\b|[(,] ?\*\w|lambda|…", rule_text(node, position))
