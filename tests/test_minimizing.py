"""Minimisation by SciPy's methods: all methods, all parameters, exact derivatives.

Owns: the behaviour of `microgradnd/optim/minimizing.py`.
Must not own: messages (`test_messages.py`).
Read next: `test_optim.py`.
"""

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.optim import minimizing

pytest.importorskip("scipy", reason='optim.minimize needs SciPy: pip install "microgradnd[scipy]"')


def valley(p, height=100.0):
    return np.sum((p["a"] - 1) ** 2 + height * (p["b"] - p["a"] ** 2) ** 2)


def residuals(p, height=100.0):
    return np.stack([p["a"] - 1, np.sqrt(height) * (p["b"] - p["a"] ** 2)])


@pytest.mark.parametrize("method", [*minimizing.GRADIENTS, *minimizing.PRODUCTS, *minimizing.RESIDUALS])
def test_every_method_finds_the_minimum(method):
    loss = residuals if method in minimizing.RESIDUALS else valley
    start = {"a": np.array([-1.0, 2.0]), "b": np.array([0.5, 0.5])}
    result = optim.minimize(loss, start, (30.0,), method=method)
    assert result.success
    assert result.x.keys() == start.keys()
    np.testing.assert_allclose(np.concatenate([result.x["a"], result.x["b"]]), 1.0, rtol=2e-3)
    assert start["a"].tolist() == [-1.0, 2.0]


def test_scipy_gets_exact_derivatives():
    """A gradient by finite differences would cost a call for each parameter."""
    calls = []

    def loss(x):
        calls.append(x)
        return np.sum((x - 3) ** 4)

    result = optim.minimize(loss, np.zeros(200), method="L-BFGS-B")
    assert len(calls) == result.nfev
    result = optim.minimize(loss, np.zeros(200), method="trust-ncg")
    assert result.nhev > 0
    np.testing.assert_allclose(result.x, 3, atol=0.2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["LBFGS", "trust-ncg", "trf"])
def test_a_module_ends_at_the_minimum(dtype, method):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(2, 3, rng=rng, dtype=dtype), nn.Linear(3, 1, rng=rng, dtype=dtype))
    model[0].bias.requires_grad = False
    frozen, x = model[0].bias.data.copy(), rng.normal(size=(20, 2)).astype(dtype)
    y = x @ np.array([[1.0], [2.0]], dtype) + 0.5

    def loss(model, x, y):
        return model(x) - y if method == "trf" else nn.functional.mse_loss(model(x), y)

    used = np.sum(model[0].weight * 2)
    result = optim.minimize(loss, model, (x, y), method=method)
    assert result.x is model
    assert nn.functional.mse_loss(model(x), y).item() < 1e-4
    assert model[1].weight.dtype == dtype
    assert model[0].bias.data.tolist() == frozen.tolist()
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(RuntimeError, match="was changed"):
        used.backward()


def test_containers_of_everything():
    rng = np.random.default_rng(0)
    model, free, x = (
        nn.Linear(2, 1, rng=rng),
        nn.Parameter([0.0]),
        rng.normal(size=(9, 2)),
    )
    params = {"model": model, "rest": (free, [1.0, np.float32(2.0), np.zeros((2, 1))])}

    def loss(p):
        free, (number, single, matrix) = p["rest"]
        error = p["model"](x) + free - x @ (matrix + number * single)
        return np.mean(error**2) + np.sum((matrix - 1) ** 2) + (number - 2) ** 2 + (single - 3) ** 2

    result = optim.minimize(loss, params)
    assert result.x["model"] is model
    assert result.x["rest"][0] is free
    number, single, matrix = result.x["rest"][1]
    assert (type(number), single.dtype, matrix.shape) == (float, np.float32, (2, 1))
    np.testing.assert_allclose([number, single, *matrix.ravel()], [2, 3, 1, 1], atol=1e-3)
    np.testing.assert_allclose(model.weight.data, [[7, 7]], atol=0.05)


def test_bounds_and_options_are_scipys():
    result = optim.minimize(lambda x: np.sum((x - 3) ** 2), np.zeros(2), bounds=[(0, 1), (0, 5)], tol=1e-10)
    np.testing.assert_allclose(result.x, [1, 3], rtol=1e-6)
    assert optim.minimize(valley, {"a": -1.0, "b": 2.0}, options={"maxiter": 2}).nit == 2


def test_parameters_stay_if_the_loss_raises():
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    calls = []

    def loss(w):
        calls.append(w)
        if len(calls) == 3:
            raise RuntimeError("no data")
        return np.sum(w**2)

    with pytest.raises(RuntimeError, match="no data"):
        optim.minimize(loss, w)
    assert w.data.tolist() == [1.0, 2.0]
    assert optim.minimize(loss, w).x is w
    np.testing.assert_allclose(w.data, 0, atol=1e-6)


def test_a_single_argument_needs_no_tuple():
    found = optim.minimize(lambda p, a: np.sum((p - a) ** 2), np.zeros(2), np.array([1.0, 2.0]))
    np.testing.assert_allclose(found.x, [1, 2], atol=1e-6)


def test_a_compiled_loss():
    loss = mg.compile(lambda x: np.sum((x - 3) ** 2))
    np.testing.assert_allclose(optim.minimize(loss, np.zeros(3)).x, 3, rtol=1e-6)
