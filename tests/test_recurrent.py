"""Recurrent layers: values step by step, every mode, and messages.

Owns: `RNN`, `GRU`, `LSTM`.
Must not own: derivatives of their operations (`test_laws.py`, with the rows in
`rows/recurrent.py`); agreement with PyTorch (`test_torch_recurrent.py`).
Read next: `test_attention.py`.
"""

import runpy
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.nn import functional as F
from microgradnd.nn.recurrent import through_time
from microgradnd.tape import Leaf

RNG = np.random.default_rng(0)
LAYERS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
often = settings(max_examples=max(40, settings.default.max_examples))  # these are quick
every_layer = pytest.mark.parametrize("kind", LAYERS.values(), ids=LAYERS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def after(layer, x, h, c, end):
    """Return the state after one time step of one sequence, as documented."""
    w_ih, w_hh, b_ih, b_hh = (
        getattr(layer, f"{kind}{end}").data for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    inputs, hidden = w_ih @ x + b_ih, w_hh @ h + b_hh
    if isinstance(layer, nn.RNN):
        return (np.tanh if layer.mode == "RNN_TANH" else F.relu)(inputs + hidden), c
    if isinstance(layer, nn.GRU):
        (i_r, i_z, i_n), (h_r, h_z, h_n) = np.split(inputs, 3), np.split(hidden, 3)
        z = sigmoid(i_z + h_z)
        return (1 - z) * np.tanh(i_n + sigmoid(i_r + h_r) * h_n) + z * h, c
    i, f, g, o = np.split(inputs + hidden, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def by_hand(layer, x):
    """Return the outputs for one sequence (time, features), and each pass's (h, c)."""
    last = []
    for i in range(layer.num_layers):
        directions = []
        for end in (f"_l{i}", f"_l{i}_reverse")[: 1 + layer.bidirectional]:
            h, c = np.zeros((2, layer.hidden_size))
            states = []
            for row in x[::-1] if "reverse" in end else x:
                h, c = after(layer, row, h, c, end)
                states.append(h)
            directions.append(states[::-1] if "reverse" in end else states)
            last.append((h, c))
        x = np.concatenate(directions, axis=1)
    return x, last


@st.composite
def configured(draw):
    """Draw a layer and a batch of sequences for it."""
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    kind = draw(st.sampled_from([*LAYERS.values(), lambda *args, **kw: nn.RNN(*args, nonlinearity="relu", **kw)]))
    time, batch, features, hidden = (draw(st.integers(1, 4)) for _ in range(4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return kind(features, hidden, rng=rng, **options), rng.normal(size=(time, batch, features))


@often
@given(configured())
def test_layers_step_by_step(drawn):
    layer, x = drawn
    output, last = layer(np.swapaxes(x, 0, 1) if layer.batch_first else x)
    output = np.swapaxes(output.data, 0, 1) if layer.batch_first else output.data
    parts = last if isinstance(layer, nn.LSTM) else (last,)
    for i in range(x.shape[1]):
        expected, states = by_hand(layer, x[:, i])
        np.testing.assert_allclose(output[:, i], expected, rtol=1e-10, atol=1e-13)
        for part, of_part in zip(parts, zip(*states, strict=True), strict=False):
            np.testing.assert_allclose(part.data[:, i], of_part, rtol=1e-10, atol=1e-13)


@often
@given(configured(), st.integers(1, 3))
def test_a_sequence_may_be_cut_in_two(drawn, where):
    layer, x = drawn
    if layer.bidirectional or layer.num_layers > 1 or len(x) <= where:
        return
    batched = (lambda x: np.swapaxes(x, 0, 1)) if layer.batch_first else (lambda x: x)
    whole, last = layer(batched(x))
    first, state = layer(batched(x[:where]))
    second, end = layer(batched(x[where:]), state)
    np.testing.assert_allclose(
        np.concatenate([first, second], axis=int(layer.batch_first)).data, whole.data, rtol=1e-12
    )
    for a, b in zip(end, last, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)


@every_layer
def test_one_sequence_is_a_batch_of_one(kind):
    layer = kind(3, 4, num_layers=2, bidirectional=True, batch_first=True, rng=RNG)
    x = RNG.normal(size=(5, 3))
    (one, last), (batch, of_batch) = layer(x), layer(x[None])
    np.testing.assert_array_equal(one.data, batch.data[0])
    parts = zip(last, of_batch, strict=True) if kind is nn.LSTM else [(last, of_batch)]
    for part, full in parts:
        np.testing.assert_array_equal(part.data, full.data[:, 0])
        assert part.shape == (4, 4)
    again, _ = layer(x, (np.zeros((4, 4)),) * 2 if kind is nn.LSTM else np.zeros((4, 4)))
    np.testing.assert_array_equal(again.data, one.data)


@every_layer
def test_no_sequence_at_all(kind):
    layer = kind(3, 4, rng=RNG)
    x = mg.tensor(np.zeros((5, 0, 3)), requires_grad=True)
    output, _ = layer(x)
    np.sum(output).backward()
    assert output.shape == (5, 0, 4)
    assert x.grad.shape == (5, 0, 3)
    assert all(np.all(p.grad == 0) for p in layer.parameters())


@every_layer
def test_initial_values_and_names(kind):
    layer = kind(2, 16, num_layers=2, bidirectional=True, rng=np.random.default_rng(1))
    ends = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert [name for name, _ in layer.named_parameters()] == [f"{k}{end}" for end in ends for k in kinds]
    assert layer.weight_ih_l1.shape[1] == 32
    values = np.concatenate([p.data.ravel() for p in layer.parameters()])
    assert 0.24 < np.max(np.abs(values)) < 0.25
    assert abs(np.mean(values)) < 0.01
    without = kind(2, 16, bias=False, dtype=np.float32, rng=np.random.default_rng(1))
    assert [name for name, _ in without.named_parameters()] == ["weight_ih_l0", "weight_hh_l0"]
    assert {p.dtype for p in without.parameters()} == {np.dtype(np.float32)}


@every_layer
def test_single_precision_stays_single(kind):
    layer = kind(3, 4, num_layers=2, bidirectional=True, dtype=np.float32, rng=RNG)
    x = mg.tensor(RNG.normal(size=(5, 2, 3)).astype(np.float32), requires_grad=True)
    output, _ = layer(x)
    np.sum(output**2).backward()
    assert output.dtype == x.grad.dtype == np.float32
    assert {p.grad.dtype for p in layer.parameters()} == {np.dtype(np.float32)}


@every_layer
def test_dropout_acts_between_layers_and_only_in_training(kind):
    layer = kind(3, 4, num_layers=2, dropout=1.0, rng=RNG)
    x, y = RNG.normal(size=(2, 5, 2, 3))
    np.testing.assert_array_equal(layer(x)[0].data, layer(y)[0].data)  # the second layer sees only zeros
    layer.eval()
    assert np.all(layer(x)[0].data != layer(y)[0].data)
    with pytest.warns(UserWarning, match="dropout acts between layers"):
        alone = kind(3, 4, dropout=1.0, rng=RNG)
    assert np.all(alone(x)[0].data != alone(y)[0].data)
    made = [kind(3, 4, num_layers=2, dropout=0.5, rng=np.random.default_rng(3))(x)[0].data for _ in range(2)]
    np.testing.assert_array_equal(*made)


def length(node):
    """Return the number of operations that lead to a node."""
    seen, todo = set(), [node]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen and not isinstance(node, Leaf):
            seen.add(node)
            todo += node.parents
    return len(seen)


@every_layer
def test_the_loop_over_time_is_one_operation(kind):
    layer = kind(3, 4, rng=RNG)
    few, many = (length(layer(np.ones((time, 2, 3)))[0]._node) for time in (2, 50))
    assert few == many <= 4


def loss(layer, x):
    output, last = layer(x)
    parts = last if isinstance(layer, nn.LSTM) else (last,)
    return np.sum(np.sin(output)) + sum(np.sum(part * part) for part in parts)


@pytest.mark.parametrize(
    ("kind", "backend"),
    [*((kind, "numpy") for kind in LAYERS.values()), (nn.GRU, "numba")],  # numba takes seconds to compile one
)
def test_compiled_layers(kind, backend):
    if backend == "numba":
        pytest.importorskip("numba", reason='fused loops: pip install "microgradnd[numba]"')
    layer, x = kind(3, 4, batch_first=True, rng=RNG), RNG.normal(size=(2, 5, 3))
    expected, gradients = mg.value_and_grad(loss)(layer, x)
    program = mg.compile(mg.value_and_grad(loss), backend=backend)
    for _ in range(2):
        value, grads = program(layer, x)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        for p, q in zip(grads.parameters(), gradients.parameters(), strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-11, atol=1e-13)


@every_layer
def test_a_compiled_program_is_as_long_for_any_number_of_steps(kind):
    layer = kind(3, 4, rng=RNG)
    sources = []
    for time in (4, 9):  # fewer turns aren't a loop
        program = mg.compile(mg.grad(loss))
        program(layer, np.ones((time, 2, 3)))
        sources.append(program.source)
    assert len(sources[0].splitlines()) == len(sources[1].splitlines())


@every_layer
def test_a_compiled_program_is_a_loop_in_each_direction(kind):
    layer = kind(3, 4, rng=RNG)
    program = mg.compile(mg.grad(loss))
    program(layer, np.ones((5, 2, 3)))
    lines = [line.strip() for line in program.source.splitlines()]
    assert sum(line.startswith("for ") for line in lines) == 2
    assert sum("np.dot(" in line and "weight_hh" in line for line in lines) <= 2  # the loops', nothing computed twice
    assert not any(name in program.source for name in ("recurrent", "recalled", "through_time"))


def test_a_compiled_network_can_be_saved(tmp_path):
    layer, x = nn.GRU(3, 4, rng=RNG), RNG.normal(size=(5, 2, 3))

    @mg.compile
    def program(x):
        return layer(x)[0]

    expected = program(x)
    program.save(tmp_path / "program.py")
    np.testing.assert_array_equal(runpy.run_path(str(tmp_path / "program.py"))["program"](x), expected.data)


@every_layer
def test_transforms(kind):
    layer = kind(3, 4, bidirectional=True, rng=RNG).requires_grad_(False)
    x, v = RNG.normal(size=(2, 4, 2, 3))
    gradient = mg.grad(lambda x: loss(layer, x))(x)
    value, tangent = mg.jvp(lambda x: loss(layer, x), (x,), (v,))
    np.testing.assert_allclose(value, loss(layer, x), rtol=1e-13)
    np.testing.assert_allclose(tangent, np.sum(gradient * v), rtol=1e-10)
    compiled = mg.compile(lambda x, v: mg.jvp(lambda x: loss(layer, x), (x,), (v,))[1])
    np.testing.assert_allclose(compiled(x, v), tangent, rtol=1e-10)
    curved = mg.hvp(lambda x: loss(layer, x))(x, v)
    np.testing.assert_allclose(curved, mg.jvp(mg.grad(lambda x: loss(layer, x)), (x,), (v,))[1], rtol=1e-9, atol=1e-12)
    step = 1e-5
    ahead, back = (mg.grad(lambda x: loss(layer, x))(x + s * v) for s in (step, -step))
    np.testing.assert_allclose(curved, (ahead - back) / (2 * step), rtol=1e-5, atol=1e-7)


def test_a_picture_shows_one_operation_for_all_steps():
    layer = nn.GRU(3, 4, rng=RNG)
    pictures = [viz.draw(np.sum(layer(np.ones((time, 2, 3)))[0])).source for time in (2, 9)]
    assert "recurrent" in pictures[0]
    assert len(pictures[0].splitlines()) == len(pictures[1].splitlines())


def test_the_pieces_of_a_linear_recurrence():
    moved, slopes, carried = (
        RNG.normal(size=(3, 1, 1, 1)),
        RNG.normal(size=(2, 1, 1, 1, 1)),
        RNG.normal(size=(2, 1, 1, 1)),
    )
    y, first = through_time(moved, slopes, carried, np.array([[0.7]])).ravel(), moved[0, 0, 0, 0]
    one = moved[1, 0, 0, 0] + (0.7 * slopes[0].item() + carried[0].item()) * first
    two = moved[2, 0, 0, 0] + (0.7 * slopes[1].item() + carried[1].item()) * one
    np.testing.assert_allclose(y, [first, one, two], rtol=1e-13)


MISTAKES = {
    "features": (lambda: nn.GRU(3, 4)(np.ones((5, 2, 2))), ValueError, "GRU.*(time, batch, 3).*got (5, 2, 2)"),
    "axes": (lambda: nn.RNN(3, 4, batch_first=True)(np.ones(3)), ValueError, "RNN.*(batch, time, 3).*got (3,)"),
    "no step": (lambda: nn.LSTM(3, 4)(np.ones((0, 2, 3))), ValueError, "LSTM.*at least one time step.*(0, 2, 3)"),
    "no step in a batch": (lambda: nn.GRU(3, 4, batch_first=True)(np.ones((2, 0, 3))), ValueError, "GRU.*(2, 0, 3)"),
    "state": (lambda: nn.GRU(3, 4)(np.ones((5, 2, 3)), np.ones((1, 3, 4))), ValueError, "GRU.*(1, 2, 4).*(1, 3, 4)"),
    "state of one": (lambda: nn.GRU(3, 4)(np.ones((5, 3)), np.ones((1, 1, 4))), ValueError, "GRU.*(1, 4).*(1, 1, 4)"),
    "no pair": (lambda: nn.LSTM(3, 4)(np.ones((5, 2, 3)), np.ones((1, 2, 4))), TypeError, "LSTM.*pair (h, c).*ndarray"),
    "text": (lambda: nn.RNN(3, 4)(np.array([["a"] * 3])), TypeError, "RNN.*input must be.*<U1"),
    "size": (lambda: nn.RNN(3, 0), ValueError, "RNN: hidden_size must be a positive integer, got 0"),
    "layers": (lambda: nn.GRU(3, 4, num_layers=1.5), TypeError, "GRU: num_layers must be a positive integer, got 1.5"),
    "dropout": (lambda: nn.LSTM(3, 4, 2, dropout=2), ValueError, "LSTM: dropout must be a probability"),
    "nonlinearity": (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ValueError, "RNN: nonlinearity.*'tanh'.*'gelu'"),
}


@pytest.mark.parametrize(("call", "error", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(call, error, words):
    with warnings.catch_warnings(), pytest.raises(error, match=words.replace("(", r"\(").replace(")", r"\)")):
        call()
