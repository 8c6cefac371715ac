"""The checker is checked: planted wrong rules must not pass.

Owns: `check_grads` and the strategies.
Must not own: the rules themselves (`test_laws.py`).
Read next: `rows/__init__.py`.
"""

import numpy as np
import pytest
from hypothesis import given

import microgradnd as mg
from microgradnd.testing import GradientError, arrays, broadcastable_arrays, check_grads, shapes


def planted(vjp, jvp=None):
    @mg.primitive
    def cube(x):
        return x**3

    mg.defvjp(cube, vjp)
    mg.defjvp(cube, jvp or vjp)
    return cube


RIGHT = lambda g, out, x: g * 3 * x**2  # noqa: E731 -- a rule is a lambda
WRONG = {
    "sign": lambda g, out, x: -g * 3 * x**2,
    "factor": lambda g, out, x: g * 3.001 * x**2,
    "power": lambda g, out, x: g * 3 * x,
    "zero": lambda g, out, x: 0 * g,
    "nan": lambda g, out, x: g * np.nan,
    "one element": lambda g, out, x: g * 3 * x**2 * np.where(np.arange(x.size).reshape(x.shape) == 1, 2, 1),
    "forgets g": lambda g, out, x: 3 * x**2,
}


@pytest.mark.parametrize("rule", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("mode", ["rev", "fwd"])
def test_wrong_rules_are_found(rule, mode):
    cube = planted(rule, RIGHT) if mode == "rev" else planted(RIGHT, rule)
    check_grads(planted(RIGHT), np.array([0.5, 2.0, -1.0]))
    with pytest.raises(GradientError, match="disagrees with finite differences"):
        check_grads(cube, np.array([0.5, 2.0, -1.0]), order=1)
    other = "fwd" if mode == "rev" else "rev"
    check_grads(cube, np.array([0.5, 2.0, -1.0]), order=1, modes=(other,))


def test_a_rule_right_in_value_and_wrong_in_derivative_is_found():
    cube = planted(lambda g, out, x: g * 3 * (x.data if isinstance(x, mg.Tensor) else x) ** 2)
    check_grads(cube, 2.0, order=1)
    with pytest.raises(GradientError, match="over"):
        check_grads(cube, 2.0, order=2)


def test_the_failure_says_where_and_how_to_see_it_again():
    cube = planted(lambda g, out, x: g * np.where(np.arange(3) == 1, 0, 3 * x**2))
    with pytest.raises(GradientError) as caught:
        check_grads(cube, np.array([0.5, 2.0, -1.0]), order=1, modes=("rev",))
    message = str(caught.value)
    assert "check_grads(cube): reverse mode" in message
    assert "1 of 3 elements" in message
    assert "argument 0, index 1" in message
    assert "mg.testing.check_grads(cube, np.array([ 0.5,  2. , -1. ]), order=1, modes=('rev',))" in message


def test_wrong_shapes_and_dtypes_of_tangents_are_found():
    cube = planted(RIGHT, lambda t, out, x: np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"tangent of shape \(4, 3\) for a result of shape \(3,\)"):
        check_grads(cube, np.ones(3), order=1, modes=("fwd",))


def test_bad_input():
    with pytest.raises(TypeError, match="float"):
        check_grads(np.sin, np.arange(3))
    with pytest.raises(ValueError, match="modes"):
        check_grads(np.sin, 1.0, modes=("reverse",))
    with pytest.raises(ValueError, match="order"):
        check_grads(np.sin, 1.0, order=0)


def test_what_it_takes():
    check_grads(lambda x, y: {"a": x @ y, "b": (np.sum(x), 3.0)}, np.ones((2, 3)), np.ones(3))
    check_grads(np.exp, np.array(0.5, np.float32))
    check_grads(np.exp, np.array([0.5 + 1j]))
    check_grads(np.sin, np.zeros((0, 2)))
    check_grads(np.sin, np.linspace(0, 1, 200), order=3, modes=("rev",))
    assert check_grads(np.sin, 1.0, rng=np.random.default_rng(3)) is None


@given(arrays(low=-2, high=2, avoid=(0.0, 1.0), margin=0.1))
def test_arrays_avoid_kinks(x):
    assert x.dtype == np.float64
    assert np.all(np.abs(x) >= 0.1)
    assert np.all(np.abs(x - 1) >= 0.1)
    assert np.all(np.abs(x) <= 2)


@given(arrays((3, 2), distinct=True))
def test_distinct_arrays(x):
    assert len(set(x.ravel())) == 6


@given(arrays(dtype=np.complex64))
def test_complex_arrays(x):
    assert x.dtype == np.complex64


@given(broadcastable_arrays(3, low=[0.0, 1.0, 2.0], high=3.0))
def test_broadcastable_arrays(parts):
    np.broadcast_shapes(*(p.shape for p in parts))
    assert all(np.all(p >= low) for p, low in zip(parts, (0, 1, 2), strict=True))


@given(shapes(max_dims=2, min_side=1))
def test_shapes(shape):
    assert len(shape) <= 2
    assert 0 not in shape
