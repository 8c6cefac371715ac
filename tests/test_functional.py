"""`nn.functional`: values, gradients in closed form, stable tails, and messages.

Owns: the peculiarities of each function.
Must not own: the laws that all rules obey (`test_laws.py`, with the rows in
`rows/functional.py`).
Read next: `test_optim.py`.
"""

import inspect
import warnings
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import contraction, nn
from microgradnd.nn import functional as F
from microgradnd.nn.activations import MANY_ROWS
from microgradnd.nn.calls import Reduction
from microgradnd.testing import arrays, check_grads, shapes

often = settings(max_examples=max(40, settings.default.max_examples))  # these are quick
pairs = shapes(max_side=4).flatmap(lambda shape: st.tuples(arrays(shape), arrays(shape)))


@st.composite
def classified(draw, low=-40.0, high=40.0):
    """Draw logits and labels, and a reduction."""
    n, classes = draw(st.integers(0, 6)), draw(st.integers(1, 6))
    logits = draw(arrays((n, classes), low=low, high=high))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    return logits, np.array(labels, dtype=draw(st.sampled_from([np.int64, np.int8, np.uint8])))


def probabilities(logits):
    e = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


# The values, and the gradients in closed form


@often
@given(pairs)
@example((np.array(1.5), np.array(-2.0)))
@example((np.zeros((0, 2)), np.zeros((0, 2))))
def test_squared_errors(pair):
    y_pred, y = pair
    error = y_pred - y
    value, (g_pred, g_y) = mg.value_and_grad(F.sse_loss, (0, 1))(y_pred, y)
    np.testing.assert_allclose(value, np.sum(error**2), rtol=1e-13)
    np.testing.assert_allclose(g_pred, 2 * error, rtol=1e-13)
    np.testing.assert_allclose(g_y, -2 * error, rtol=1e-13)
    np.testing.assert_allclose(F.mse_loss(y_pred, y, reduction="none"), error**2, rtol=1e-13)
    np.testing.assert_allclose(F.mse_loss(y_pred, y, reduction="sum"), np.sum(error**2), rtol=1e-13)
    if y.size:
        value, gradient = mg.value_and_grad(F.mse_loss)(y_pred, y)
        np.testing.assert_allclose(value, np.mean(error**2), rtol=1e-13)
        np.testing.assert_allclose(gradient, 2 * error / y.size, rtol=1e-13)


@often
@given(classified())
def test_the_gradient_of_cross_entropy_is_softmax_minus_onehot(batch):
    logits, labels = batch
    n, classes = logits.shape
    expected = probabilities(logits) - np.eye(classes)[labels.astype(int)]
    gradient = mg.grad(lambda x: F.cross_entropy(x, labels, "sum"))(logits)
    np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-14)
    if n:
        gradient = mg.grad(F.cross_entropy)(logits, labels)
        np.testing.assert_allclose(gradient, expected / n, rtol=1e-11, atol=1e-14)


@often
@given(classified())
def test_cross_entropy_is_the_negative_log_softmax_of_the_label(batch):
    logits, labels = batch
    each = F.cross_entropy(logits, labels, "none")
    assert each.shape == labels.shape
    chosen = F.log_softmax(logits)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(each, -chosen, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(F.cross_entropy(logits, labels, "sum"), np.sum(each), rtol=1e-13)
    if len(labels):
        np.testing.assert_allclose(F.cross_entropy(logits, labels), np.mean(each), rtol=1e-13)
    for x, label, loss in zip(logits, labels, each, strict=True):  # one observation, without a batch
        for reduction in get_args(Reduction):
            alone = F.cross_entropy(x, label, reduction)
            assert np.shape(alone) == ()
            np.testing.assert_allclose(alone, loss, rtol=1e-13, atol=1e-13)


@given(classified(-3.0, 3.0))
def test_second_derivatives_of_the_losses(batch):
    logits, labels = batch
    if len(labels):
        check_grads(lambda x: F.cross_entropy(x, labels), logits, order=2)
        check_grads(lambda x: F.mse_loss(x, np.ones_like(logits)), logits, order=2)


def test_the_hessian_of_cross_entropy():
    """diag(p) - p p', for one observation."""
    x = np.array([0.3, -1.0, 2.0])
    p = probabilities(x[None])[0]
    hessian = mg.hessian(lambda x: F.cross_entropy(x, 1))(x)
    np.testing.assert_allclose(hessian, np.diag(p) - np.outer(p, p), rtol=1e-13, atol=1e-15)


@often
@given(arrays(low=-30, high=30))
def test_sigmoid(x):
    value = F.sigmoid(x)
    np.testing.assert_allclose(value, 0.5 * (1 + np.tanh(x / 2)), rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(mg.elementwise_grad(F.sigmoid)(x), value * (1 - value), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(MANY_ROWS, 5), (2, MANY_ROWS, 3), (MANY_ROWS - 1, 4)])
def test_many_rows_take_a_faster_path_to_the_same_values(shape, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(dtype) * 50
    x[..., 0, :] = np.nan
    x[..., 1, 1] = -np.inf
    x[..., 2, :] = 1000
    g = rng.normal(size=shape).astype(dtype)
    close = 1e-5 if dtype == np.float32 else 1e-12
    for function in (F.softmax, F.log_softmax):
        out, pullback = mg.vjp(function, x)
        (grad,) = pullback(g)
        assert out.dtype == grad.dtype == dtype
        for i in np.ndindex(shape[:-1]):  # a single row, with its axis in a tuple, takes the other path
            row, pullback_row = mg.vjp(lambda row, f=function: f(row, axis=(0,)), x[i])
            np.testing.assert_allclose(out[i], row, rtol=close, atol=close)
            np.testing.assert_allclose(grad[i], pullback_row(g[i])[0], rtol=close, atol=close * 10)


@often
@given(arrays((3, 4), low=-30, high=30), st.sampled_from([0, 1, -1, (0, 1)]))
def test_softmax_and_its_logarithm(x, axis):
    p = F.softmax(x, axis)
    np.testing.assert_allclose(np.sum(p, axis), 1.0, rtol=1e-13)
    np.testing.assert_allclose(np.log(p), F.log_softmax(x, axis), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(F.softmax(x + 1e3, axis), p, rtol=1e-11)


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("x", [3.0, np.array(-2.0), mg.tensor(0.5)], ids=["number", "array", "Tensor"])
def test_softmax_of_a_single_logit(x, axis):
    assert F.softmax(x, axis).item() == 1.0
    assert F.log_softmax(x, axis).item() == 0.0


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("function", [F.softmax, F.log_softmax], ids=["softmax", "log_softmax"])
def test_softmax_of_many_rows_along_any_axis(function, axis):
    """Value, VJP and JVP for 200 rows, whose maxima are found in another way."""
    rng = np.random.default_rng(0)
    x, g, t = (rng.normal(size=(200, 3, 4)) for _ in range(3))
    e = np.exp(x)
    p = e / np.sum(e, axis=axis, keepdims=True)
    if function is F.softmax:
        value, along = p, p * (t - np.sum(p * t, axis=axis, keepdims=True))
        back = p * (g - np.sum(p * g, axis=axis, keepdims=True))
    else:
        value, along = np.log(p), t - np.sum(p * t, axis=axis, keepdims=True)
        back = g - p * np.sum(g, axis=axis, keepdims=True)
    np.testing.assert_allclose(function(x, axis), value, rtol=1e-10)
    np.testing.assert_allclose(mg.jvp(lambda x: function(x, axis), (x,), (t,))[1], along, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mg.vjp(lambda x: function(x, axis), x)[1](g)[0], back, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("wrong", [None, "a", ["a", "b"], np.array([1.0, None], object), {}], ids=repr)
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (F.relu, "relu: x"),
        (F.tanh, "tanh: x"),
        (F.sigmoid, "sigmoid: x"),
        (F.softmax, "softmax: x"),
        (F.log_softmax, "log_softmax: x"),
        (lambda x: F.mse_loss(x, [1.0, 2.0]), "mse_loss: the prediction"),
        (lambda x: F.mse_loss([1.0, 2.0], x), "mse_loss: the target"),
        (lambda x: F.sse_loss(x, [1.0, 2.0]), "sse_loss: the prediction"),
        (lambda x: F.linear(x, np.ones((1, 2))), "linear: x"),
        (lambda x: F.linear(np.ones((1, 2)), x), "linear: weight"),
        (lambda x: F.linear(np.ones((1, 2)), np.ones((1, 2)), "a" if x is None else x), "linear: bias"),
        (nn.ReLU(), "relu: x"),
        (nn.Tanh(), "tanh: x"),
    ],
)
def test_a_value_that_is_no_array_of_numbers_is_named(function, name, wrong):
    with pytest.raises(TypeError, match=rf"^({name}) must be an array or Tensor of (real )?numbers, got .*np.asarray"):
        function(wrong)


def test_lists_of_numbers_are_arrays_of_plain_functions():
    for function in (F.relu, F.tanh, F.sigmoid, F.softmax, F.log_softmax):
        np.testing.assert_array_equal(function([1.0, -2.0]), function(np.array([1.0, -2.0])))
        np.testing.assert_array_equal(function(np.array([1, -2])), function(np.array([1.0, -2.0])))
    layer = nn.Linear(2, 1)
    np.testing.assert_array_equal(layer([[1.0, 2.0]]).data, layer(np.array([[1.0, 2.0]])).data)
    np.testing.assert_array_equal(F.linear([[1.0, 2.0]], [[3.0, 4.0]], [5.0]), [[16.0]])


@given(arrays((2, 3)), arrays((4, 3)), arrays((4,)))
def test_linear(x, weight, bias):
    np.testing.assert_allclose(F.linear(x, weight, bias), x @ weight.T + bias, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(F.linear(x[0], weight), weight @ x[0], rtol=1e-13, atol=1e-13)


def test_relu_and_tanh_compute_what_their_names_say():
    x = mg.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    y = F.relu(x)
    y.sum().backward()
    assert y.tolist() == [0.0, 0.0, 2.0]
    assert x.grad.tolist() == [0.0, 0.0, 1.0]
    assert F.tanh(x).tolist() == np.tanh(x.data).tolist()


# In the tails


def test_no_overflow_and_no_warning_in_the_tails():
    big = np.array([[1e4, -1e4, 0.0], [-np.inf, 0.0, 1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert F.sigmoid(np.array([-1e4, 1e4, -np.inf, np.inf])).tolist() == [0.0, 1.0, 0.0, 1.0]
        assert F.softmax(big[0]).tolist() == [1.0, 0.0, 0.0]
        assert F.log_softmax(big[0]).tolist() == [0.0, -2e4, -1e4]
        value, gradient = mg.value_and_grad(lambda x: F.cross_entropy(x, np.array([1, 2])))(big)
    np.testing.assert_allclose(value, 0.5 * (2e4 + np.log(1 + np.exp(-1))), rtol=1e-14)
    p = 1 / (1 + np.exp(1.0))
    np.testing.assert_allclose(gradient, [[0.5, -0.5, 0.0], [0.0, p / 2, -p / 2]], rtol=1e-14)


def test_a_common_offset_costs_no_precision():
    """Differences of large logits are exact, even in single precision."""
    x = np.array([[0.0, 1.0, 2.0]], np.float32)
    shifted = x + np.float32(2**20)
    loss, gradient = mg.value_and_grad(lambda x: F.cross_entropy(x, np.array([0])))(x)
    far_loss, far_gradient = mg.value_and_grad(lambda x: F.cross_entropy(x, np.array([0])))(shifted)
    assert far_loss == loss
    np.testing.assert_array_equal(far_gradient, gradient)


def test_sigmoid_is_exact_where_it_is_tiny():
    np.testing.assert_allclose(F.sigmoid(-40.0), np.exp(-40.0), rtol=1e-15)
    np.testing.assert_allclose(mg.grad(F.sigmoid)(-40.0), np.exp(-40.0), rtol=1e-15)


def test_the_divergence_of_an_impossible_event_is_0():
    log_q, p = np.log([[0.25, 0.75]]), np.array([[0.0, 1.0]])
    value, (by_q, by_p) = mg.value_and_grad(lambda q, p: F.kl_div(q, p, "sum"), (0, 1))(log_q, p)
    np.testing.assert_allclose(value, -np.log(0.75))
    np.testing.assert_array_equal(by_q, -p)
    np.testing.assert_allclose(by_p, [[np.log(4), 1 - np.log(0.75)]])  # p log(p) has slope 0 at 0, by convention


# NaN passes through


@pytest.mark.parametrize(
    "f",
    [
        lambda x: F.relu(x),
        lambda x: F.tanh(x),
        lambda x: F.sigmoid(x),
        lambda x: F.softmax(x),
        lambda x: F.log_softmax(x),
        lambda x: F.linear(x, np.ones((2, 3))),
        lambda x: F.sse_loss(x, np.zeros((2, 3))),
        lambda x: F.sse_loss(np.zeros((2, 3)), x),
        lambda x: F.mse_loss(x, np.zeros((2, 3))),
        lambda x: F.cross_entropy(x, np.array([0, 1])),
    ],
)
def test_nan_is_never_hidden(f):
    x = np.zeros((2, 3))
    x[1, 1] = np.nan
    out = np.asarray(f(x))
    assert np.isnan(out).any()
    assert np.isnan(f(mg.tensor(x, requires_grad=True)).data).any()


SMALL = np.array([[1, 0, 3, 127]], np.int8)


@pytest.mark.parametrize(
    "x", [SMALL, -SMALL - 1, SMALL.astype(np.uint8) * 2, SMALL > 0], ids=["+", "-", "uint8", "bool"]
)
@pytest.mark.parametrize(
    "function",
    [F.sigmoid, F.silu, F.elu, F.softplus, F.gelu, F.softmax, F.log_softmax, lambda x: F.avg_pool1d(x, 2)],
    ids=["sigmoid", "silu", "elu", "softplus", "gelu", "softmax", "log_softmax", "avg_pool1d"],
)
def test_small_integers_do_not_wrap(function, x):
    """-x and x - y of uint8, and -x of -128, are other numbers."""
    if x.dtype == bool and function in (F.softmax, F.log_softmax):
        with pytest.raises(TypeError, match="bool"):
            function(x)
        return
    expected = function(x.astype(float))
    for found in (function(x), function(mg.tensor(x)).data, mg.compile(function)(x)):
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, expected)


def test_linear_multiplies_matrices_only(monkeypatch):
    """NumPy computes np.dot of more axes without BLAS, several times slower."""
    products, dot = [], np.dot
    monkeypatch.setattr(contraction, "ndarray", None)  # a method of arrays would be called instead
    monkeypatch.setattr(np, "dot", lambda x, y: products.append((np.ndim(x), np.ndim(y))) or dot(x, y))
    x, weight = mg.tensor(np.ones((2, 4, 3)), requires_grad=True), mg.tensor(np.ones((5, 3)), requires_grad=True)
    F.linear(x, weight).sum().backward()
    mg.jvp(F.linear, (np.ones((2, 4, 3)), np.ones((5, 3))), (np.ones((2, 4, 3)), np.ones((5, 3))))
    assert len(products) == 6
    assert set(products) == {(2, 2)}
    np.testing.assert_array_equal(x.grad, np.full((2, 4, 3), 5.0))
    np.testing.assert_array_equal(weight.grad, np.full((5, 3), 8.0))


# Arrays, Tensors, precision


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_give_arrays_tensors_give_tensors_and_the_precision_stays(dtype):
    x, y = np.ones((4, 3), dtype), np.zeros((4, 3), dtype)
    weight, bias, labels = np.ones((2, 3), dtype), np.ones(2, dtype), np.array([0, 1, 2, 0])
    for f in (
        lambda x: F.linear(x, weight, bias),
        F.relu,
        F.tanh,
        F.sigmoid,
        F.softmax,
        F.log_softmax,
        lambda x: F.sse_loss(x, y),
        lambda x: F.mse_loss(x, y),
        lambda x: F.mse_loss(x, y, "none"),
        lambda x: F.cross_entropy(x, labels),
        lambda x: F.cross_entropy(x, labels, "none"),
    ):
        plain = f(x)
        assert isinstance(plain, np.ndarray | np.generic)
        assert plain.dtype == dtype
        t = mg.tensor(x, requires_grad=True)
        out = f(t)
        assert isinstance(out, mg.Tensor)
        assert out.dtype == dtype
        np.testing.assert_array_equal(out.data, plain)
        np.sum(out).backward()
        assert t.grad.dtype == dtype


def test_labels_may_be_a_tensor_or_a_list():
    x = mg.tensor([[0.0, 1.0], [2.0, 0.0]], requires_grad=True)
    losses = [F.cross_entropy(x, labels).item() for labels in (np.array([0, 1]), mg.tensor([0, 1]), [0, 1])]
    assert losses[0] == losses[1] == losses[2]


def test_targets_can_be_differentiated_too():
    y = mg.tensor([1.0, 2.0], requires_grad=True)
    F.mse_loss(np.array([0.0, 0.0]), y).backward()
    assert y.grad.tolist() == [1.0, 2.0]


# Refusals


@pytest.mark.parametrize("loss", [F.sse_loss, F.mse_loss], ids=["sse_loss", "mse_loss"])
@pytest.mark.parametrize(
    ("a", "b", "advice"),
    [((5,), (5, 1), True), ((5, 1), (5,), True), ((5, 1), (1, 5), True), ((5, 2), (5,), False), ((3,), (4,), False)]
    + [((1,), (5,), False), ((), (5,), False)],
)
@pytest.mark.parametrize("kind", [np.zeros, lambda shape: mg.tensor(np.zeros(shape), requires_grad=True)])
def test_a_loss_refuses_shapes_that_only_broadcast(loss, a, b, advice, kind):
    with pytest.raises(ValueError, match="a loss compares them one to one") as caught:
        loss(kind(a), np.zeros(b))
    message = str(caught.value)
    assert message.startswith(f"{loss.__name__}: prediction and target must have the same shape,")
    assert f"got {a} and {b}" in message
    assert (f"y.reshape({a})" in message) == advice


LOGITS = np.zeros((4, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.cross_entropy(LOGITS, np.zeros(4)),
            TypeError,
            r"labels must be integers from 0, got float64; .*astype",
        ),
        (lambda: F.cross_entropy(LOGITS, np.zeros(4, bool)), TypeError, "labels must be integers from 0, got bool"),
        (lambda: F.cross_entropy(LOGITS, LOGITS > 0), TypeError, r"probabilities as floats of the shape .* \(4, 3\)"),
        (
            lambda: F.cross_entropy(LOGITS.astype(int), np.zeros(4, int)),
            TypeError,
            "must be floating-point numbers, got int64",
        ),
        (
            lambda: F.cross_entropy(LOGITS, np.zeros((4, 1), int)),
            ValueError,
            r"labels \(4, 1\) and logits \(4, 3\); .*ravel",
        ),
        (lambda: F.cross_entropy(LOGITS, np.zeros(3, int)), ValueError, r"labels \(3,\) and logits \(4, 3\)"),
        (lambda: F.cross_entropy(LOGITS[None], np.zeros((1, 4), int)), ValueError, r"logits\.reshape\(-1, classes\)"),
        (lambda: F.cross_entropy(np.array(0.0), np.array(0)), ValueError, r"labels \(\) and logits \(\)"),
        (
            lambda: F.cross_entropy(LOGITS, [0, 1, 2, 3]),
            ValueError,
            "labels must be from 0 to 2, got values from 0 to 3",
        ),
        (
            lambda: F.cross_entropy(LOGITS, [0, 1, 2, -1]),
            ValueError,
            "labels must be from 0 to 2, got values from -1 to 2",
        ),
        (lambda: F.cross_entropy(LOGITS, [0, 1, 2, 0], "avg"), ValueError, "'mean', 'sum' or 'none', got 'avg'"),
        (lambda: F.cross_entropy(LOGITS[0], 0, "avg"), ValueError, "'mean', 'sum' or 'none', got 'avg'"),
        (lambda: F.mse_loss(LOGITS, LOGITS, "avg"), ValueError, "mse_loss: reduction must be 'mean', 'sum' or 'none'"),
        (lambda: F.sse_loss(np.ones(2, int), np.ones(2, int)), TypeError, "must be floating-point numbers, got int64"),
        (lambda: F.mse_loss(np.ones(2, int), [1, 2]), TypeError, "mse_loss: predictions must be floating-point"),
        (lambda: F.l1_loss(np.uint8([1]), np.uint8([2])), TypeError, "l1_loss: .* floating-point numbers, got uint8"),
        (lambda: F.binary_cross_entropy([1, 0], [0.5, 0.5]), TypeError, "prediction .* floating-point .* got int64"),
        (
            lambda: F.binary_cross_entropy_with_logits([1, 2], [0.5, 0.5]),
            TypeError,
            "the prediction must be .* of floating-point numbers, got int64",
        ),
        *(
            (lambda loss=loss, y=y: loss(LOGITS, y, np.ones(3)), TypeError, "reduction must be .* got ndarray of shape")
            for loss, y in (
                (F.mse_loss, LOGITS),
                (F.sse_loss, LOGITS),
                (F.l1_loss, LOGITS),
                (F.cross_entropy, np.zeros(4, int)),
                (F.nll_loss, np.zeros(4, int)),
            )
        ),
        (lambda: F.batch_norm(LOGITS, training=True, eps=-1), ValueError, "batch_norm: eps must be .*, got -1"),
        (lambda: F.group_norm(LOGITS, 1, eps="small"), TypeError, "group_norm: eps must be .*, got 'small'"),
        (lambda: F.layer_norm(LOGITS, 3, eps=None), TypeError, "layer_norm: eps must be .*, got None"),
        (lambda: F.rms_norm(LOGITS, 3, eps=-1e-5), ValueError, "rms_norm: eps must be .*, got -1e-05"),
        (lambda: F.linear(np.ones((2, 4)), np.ones((5, 3))), ValueError, r"got \(2, 4\) and \(5, 3\)"),
        (lambda: F.linear(np.array(1.0), np.ones((5, 3))), ValueError, r"got \(\) and \(5, 3\)"),
        (lambda: F.linear(np.ones(3), np.ones(3)), ValueError, r"weight \(out_features, in_features\), got"),
        (lambda: F.linear(np.ones(3), np.ones((5, 3)), np.ones((1, 5))), ValueError, r"bias must have shape \(5,\)"),
    ],
)
def test_bad_input_is_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_layer_names_the_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"linear: x must have shape .* got \(5, 2\)"):
        mg.nn.Linear(3, 1)(np.ones((5, 2)))


@pytest.mark.parametrize("shape", [(200, 3, 4), (3, 200, 4), (200, 200)])
@pytest.mark.parametrize("axis", [0, 1, -1, (0, 1)])
def test_softmax_along_any_axis_of_many_rows(shape, axis):
    x = np.random.default_rng(0).normal(size=shape)
    e = np.exp(x)
    p = e / np.sum(e, axis=axis, keepdims=True)
    np.testing.assert_allclose(F.softmax(x, axis), p, rtol=1e-12)
    np.testing.assert_allclose(F.log_softmax(x, axis), np.log(p), rtol=1e-11)
    g = np.cos(x)
    right = p * (g - np.sum(g * p, axis=axis, keepdims=True))
    np.testing.assert_allclose(mg.vjp(lambda x: F.softmax(x, axis), x)[1](g)[0], right, rtol=1e-9, atol=1e-14)


# Logits far from 0, and labels that can't be


@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 1e7), (np.float64, 1e15), (np.float16, 1000.0)])
def test_cross_entropy_of_logits_far_from_0(dtype, far):
    """The top two differ by 1 for any logit of the label."""
    x = np.array([[far, far + 1, 0.0], [0.0, -far, 0.0]], dtype)
    p = 1 / (1 + np.exp(-1.0))
    gradient = mg.grad(lambda x: F.cross_entropy(x, np.array([2, 1]), "sum"))(x)
    right = np.array([[1 - p, p, -1.0], [0.5, -1.0, 0.5]])
    np.testing.assert_allclose(gradient.astype(float), right, rtol=4 * float(np.finfo(dtype).eps))
    tangent = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype)
    moved = mg.jvp(lambda x: F.cross_entropy(x, np.array([2, 1]), "sum"), (x,), (tangent,))[1]
    np.testing.assert_allclose(float(moved), 1 - p + 0.5, rtol=4 * float(np.finfo(dtype).eps))


def test_cross_entropy_of_an_impossible_label():
    x = np.array([[-np.inf, 0.0, 0.0], [0.0, -np.inf, 1.0]])
    value, gradient = mg.value_and_grad(lambda x: F.cross_entropy(x, np.array([0, 0]), "sum"))(x)
    assert value == np.inf
    p = 1 / (1 + np.e)
    np.testing.assert_allclose(gradient, [[-1.0, 0.5, 0.5], [p - 1, 0.0, 1 - p]], rtol=1e-12)


# Half precision: sums are wider than their terms


def test_losses_and_layers_in_half_precision():
    n = 70_000
    y, target = np.full(n, 30.0, np.float16), np.zeros(n, np.float16)
    value, gradient = mg.value_and_grad(F.mse_loss)(y, target)
    assert (value.dtype, gradient.dtype) == (np.float16, np.float16)
    assert float(value) == 900.0
    np.testing.assert_allclose(gradient.astype(float), 60 / n, rtol=1e-3)
    assert float(mg.jvp(lambda y: F.mse_loss(y, target), (y,), (np.ones_like(y),))[1]) == 60.0
    logits = np.zeros((n, 2), np.float16)
    value, gradient = mg.value_and_grad(lambda x: F.cross_entropy(x, np.zeros(n, int)))(logits)
    np.testing.assert_allclose(float(value), np.log(2), rtol=1e-3)
    np.testing.assert_allclose(gradient[0].astype(float), [-0.5 / n, 0.5 / n], rtol=2e-2)
    x, weight, bias = np.ones((5000, 2), np.float16), np.ones((3, 2), np.float16), np.zeros(3, np.float16)
    np.testing.assert_array_equal(mg.grad(lambda b: F.linear(x, weight, b).sum())(bias), np.float16([5000.0] * 3))
    many = np.zeros(n, np.float16)
    np.testing.assert_allclose(F.softmax(many).astype(float), 1 / n, rtol=2e-2)
    np.testing.assert_allclose(F.log_softmax(many).astype(float), -np.log(n), rtol=1e-3)


def test_dropout() -> None:
    x = np.arange(1.0, 10001.0)
    rng = np.random.default_rng(0)
    got = F.dropout(mg.tensor(x, requires_grad=True), 0.25, rng=rng)
    kept = got.data != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_allclose(got.data[kept], x[kept] / 0.75)
    assert F.dropout(x.astype(np.float32), 0.25).dtype == np.float32
    assert F.dropout(x, 0.25, training=False) is x
    assert not F.dropout(x, 1.0).any()
    gradient = mg.grad(lambda x: np.sum(F.dropout(x, 0.5, rng=np.random.default_rng(1))))(x)
    np.testing.assert_array_equal(gradient, 2.0 * (np.random.default_rng(1).random(x.shape) >= 0.5))
    for wrong in (-0.1, 1.5):
        with pytest.raises(ValueError, match="p must be a probability"):
            F.dropout(x, wrong)
        with pytest.raises(ValueError, match="p must be a probability"):
            nn.Dropout(wrong)
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator, got int"):
        F.dropout(x, rng=0)


@pytest.mark.parametrize("reduction", get_args(Reduction))
def test_the_sum_of_squares_has_the_reductions_of_the_mean(reduction):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 4, 3))
    assert_equal = np.testing.assert_allclose
    assert_equal(F.sse_loss(x, y, reduction), F.mse_loss(x, y, reduction), rtol=1e-14)
    assert_equal(nn.SSELoss(reduction)(x, y), nn.MSELoss(reduction)(x, y), rtol=1e-14)
    ours, others = (
        mg.grad(lambda x, loss=loss: np.sum(np.sin(loss(x, y, reduction)))) for loss in (F.sse_loss, F.mse_loss)
    )
    assert_equal(ours(x), others(x), rtol=1e-13)
    assert_equal(mg.compile(ours)(x), others(x), rtol=1e-13)
    with pytest.raises(ValueError, match=r"^sse_loss: reduction must be 'mean', 'sum' or 'none', got 'max'"):
        F.sse_loss(x, y, "max")


def test_the_cosine_of_one_vector_with_many():
    rng = np.random.default_rng(0)
    one, many = rng.normal(size=3), rng.normal(size=(4, 3))
    cosines = many @ one / np.sqrt(np.sum(many**2, axis=1) * np.sum(one**2))
    for query in (one, one[None]):
        np.testing.assert_allclose(F.cosine_similarity(query, many), cosines, rtol=1e-13)


OF_ONE = [f for name, f in vars(F).items() if name in F.__all__ and len(inspect.signature(f).parameters) == 1]


@pytest.mark.parametrize("dtype", [complex, np.complex64, float, np.float16, int, np.int8, bool])
@pytest.mark.parametrize("f", OF_ONE, ids=lambda f: f.__name__)
def test_functions_take_the_same_dtypes_of_arrays_and_tensors_compiled_or_not(f, dtype):
    def outcome(f, x):
        try:
            result = f(x)
        except TypeError:
            return "refused"
        return np.asarray(result.data if isinstance(result, mg.Tensor) else result).dtype

    x = np.array([[1, 0], [1, 1]]).astype(dtype)
    want = outcome(f, x)
    for wrapped in (f, mg.compile(f)):
        for argument in (x, mg.tensor(x)):
            assert outcome(wrapped, argument) == want


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_binary_cross_entropy_of_certain_predictions_has_no_nan(dtype):
    """A probability that is rounded to 0 or 1 has a finite slope in every precision."""
    logits, y = np.array([40, -40, 0.5], dtype), np.array([0.5, 0.5, 1], dtype)
    with np.errstate(all="ignore"):
        by_logits = mg.grad(lambda x: F.binary_cross_entropy(F.sigmoid(x), y, reduction="sum"))(logits)
        by_p = mg.grad(lambda p: F.binary_cross_entropy(p, y, reduction="sum"))(np.array([0, 1, 0.5], dtype))
    assert np.isfinite(by_logits).all()
    assert np.isfinite(by_p).all()
    np.testing.assert_allclose(by_p[2], -2, 1e-2)


def test_parameters_of_a_norm_may_be_lists():
    x = np.arange(6.0).reshape(2, 3)
    for norm in (F.layer_norm, F.rms_norm):
        assert np.array_equal(norm(x, 3, [1, 2, 3]), norm(x, 3, np.array([1.0, 2.0, 3.0])))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.avg_pool1d(x, 2, ceil_mode=np.ones(3)),
        lambda x: F.avg_pool1d(x, 2, count_include_pad="yes"),
        lambda x: F.max_pool1d(x, 2, ceil_mode=None),
        lambda x: F.batch_norm(x, training="yes"),
        lambda x: F.conv1d(x, np.ones((2, 3, 3)), padding=np.ones(3)),
        lambda x: F.cross_entropy(x[0], [0, 1, 2], ignore_index=np.ones(3)),
        lambda x: F.cross_entropy(x[0], [0, 1, 2], label_smoothing=None),
        lambda x: nn.Conv1d(2, True, 3),
    ],
)
def test_settings_of_a_wrong_kind_are_refused(call):
    with pytest.raises((TypeError, ValueError), match=r"must be .*, got "):
        call(np.ones((2, 3, 8)))
