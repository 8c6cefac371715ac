"""The analytic gradients of simple models, formula by formula, for any shape.

Owns: the formulas, written by hand in NumPy, and their comparison with ours.
Must not own: runs over many epochs (`test_oracle_runs.py`), rules of single functions
(`test_laws.py`).
Read next: `test_oracle_runs.py`.
"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.testing import arrays, shapes

often = settings(max_examples=max(40, settings.default.max_examples))  # these are quick
sizes = st.integers(1, 7)


def close(got, want):
    """Compare to rounding: relative to the largest element, since sums cancel."""
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12 * (1 + np.max(np.abs(want), initial=0)))


@st.composite
def regressions(draw):
    """Draw X (n, p), y, and weights (p, q), or (p,) for a single target."""
    n, p, q = draw(st.integers(0, 7)), draw(sizes), draw(sizes)
    columns = draw(st.sampled_from([(), (1,), (q,)]))
    return draw(arrays((n, p))), draw(arrays((n, *columns))), draw(arrays((p, *columns)))


@often
@given(regressions())
def test_gradient_of_least_squares(problem):
    """The gradient of sum((X b - y)^2) is 2 X'(X b - y)."""
    x, y, b = problem
    b = mg.tensor(b, requires_grad=True)
    np.sum((x @ b - y) ** 2).backward()
    close(b.grad, 2 * x.T @ (x @ b.data - y))


@often
@given(regressions())
def test_gradient_of_the_single_layer(problem):
    """The gradient of sum((y - X w)^2) is -2 X'(y - X w)."""
    x, y, w = problem
    gradient = mg.grad(lambda w: np.sum((y - x @ w) ** 2))(w)
    close(gradient, -2 * x.T @ (y - x @ w))


@often
@given(regressions())
def test_hessian_of_least_squares(problem):
    """The Hessian of sum((X b - y)^2) times v is 2 X'X v, for any b and y."""
    x, y, b = problem
    v = np.cos(np.arange(b.size)).reshape(b.shape)
    close(mg.hvp(lambda b: np.sum((x @ b - y) ** 2))(b, v), 2 * x.T @ (x @ v))


@often
@given(regressions(), st.floats(1e-6, 1e-3))
def test_a_small_step_against_the_gradient_lowers_the_loss_by_its_square(problem, rate):
    """For a quadratic, f(b - rate f') = f(b) - rate |f'|^2 + rate^2 f' X'X f'."""
    x, y, b = problem

    def loss(b):
        return np.sum((x @ b - y) ** 2)

    gradient = mg.grad(loss)(b)
    predicted = loss(b) - rate * np.sum(gradient**2) + rate**2 * np.sum((x @ gradient) ** 2)
    np.testing.assert_allclose(loss(b - rate * gradient), predicted, rtol=1e-10, atol=1e-10)


def two_layers_by_hand(x, y, w1, b1, w2, b2):
    """Return the gradients of the SSE of relu(x w1 + b1) w2 + b2, by the chain rule."""
    h = x @ w1 + b1
    h_relu = np.maximum(h, 0)
    grad_y_pred = 2 * (h_relu @ w2 + b2 - y)
    grad_h = np.where(h > 0, grad_y_pred @ w2.T, 0)
    return {
        "w1": x.T @ grad_h,
        "b1": grad_h.sum(axis=0, keepdims=True),
        "w2": h_relu.T @ grad_y_pred,
        "b2": grad_y_pred.sum(axis=0, keepdims=True),
    }


@st.composite
def two_layer_networks(draw, dead_row=None):
    """Draw data and weights; a row of zeros may make pre-activations exactly 0."""
    n, d_in, d_hidden, d_out = (draw(sizes) for _ in range(4))
    x, y = draw(arrays((n, d_in))), draw(arrays((n, d_out)))
    w1, w2 = draw(arrays((d_in, d_hidden))), draw(arrays((d_hidden, d_out)))
    b1, b2 = draw(arrays((1, d_hidden))), draw(arrays((1, d_out)))
    if draw(st.booleans()) if dead_row is None else dead_row:
        x[draw(st.integers(0, n - 1))] = 0
        b1[:] = 0
    return x, y, w1, b1, w2, b2


# The activation in NumPy's or nn's terms: a tie of np.maximum would share its
# gradient, so where decides.
ACTIVATIONS = {
    "relu": mg.nn.functional.relu,
    "where": lambda h: np.where(h > 0, h, 0.0),
    "module": mg.nn.ReLU(),
}


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
@often
@given(two_layer_networks())
def test_every_gradient_of_the_two_layer_network(activation, network):
    x, y, *weights = network
    parameters = {
        name: mg.tensor(value, requires_grad=True)
        for name, value in zip(("w1", "b1", "w2", "b2"), weights, strict=True)
    }
    h = x @ parameters["w1"] + parameters["b1"]
    y_pred = activation(h) @ parameters["w2"] + parameters["b2"]
    np.sum((y_pred - y) ** 2).backward()
    for name, expected in two_layers_by_hand(*network).items():
        close(parameters[name].grad, expected)


@often
@given(two_layer_networks(dead_row=True))
def test_a_pre_activation_of_zero_passes_no_gradient(network):
    x, y, w1, b1, w2, b2 = network
    dead = np.flatnonzero(~x.any(axis=1))

    def loss(h):
        return np.sum((mg.nn.functional.relu(h) @ w2 + b2 - y) ** 2)

    assert not np.any((x @ w1 + b1)[dead])
    assert not np.any(mg.grad(loss)(x @ w1 + b1)[dead])


@often
@given(two_layer_networks())
def test_the_gradient_with_respect_to_the_data(network):
    """The chain rule's last factor: grad_h w1'."""
    x, y, w1, b1, w2, b2 = network
    h = x @ w1 + b1
    grad_h = np.where(h > 0, 2 * (np.maximum(h, 0) @ w2 + b2 - y) @ w2.T, 0)
    gradient = mg.grad(lambda x: np.sum((mg.nn.functional.relu(x @ w1 + b1) @ w2 + b2 - y) ** 2))(x)
    close(gradient, grad_h @ w1.T)


pairs = shapes().flatmap(lambda shape: st.tuples(arrays(shape), arrays(shape)))


@often
@given(pairs)
@example((np.array(3.0), np.array(1.0)))
def test_gradient_of_the_sum_of_squared_errors(pair):
    """The gradient of sum((y_pred - y)^2) with respect to y_pred is 2 (y_pred - y)."""
    y_pred, y = pair
    for loss in (lambda p: np.sum((p - y) ** 2), lambda p: mg.nn.functional.sse_loss(p, y)):
        close(mg.grad(loss)(y_pred), 2 * (y_pred - y))
