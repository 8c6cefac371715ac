"""The checker is checked: planted wrong rules must not pass.

Owns: `check_grads` and the strategies.
Must not own: the rules themselves (`test_laws.py`).
Read next: `rows/__init__.py`.
"""

import numpy as np
import pytest
from hypothesis import given, settings

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


def test_a_wrong_small_element_is_found_beside_a_large_one():
    """What is allowed is relative to each element, not to the largest."""

    def slightly(g, out, x):
        return g * 3 * x**2 * np.where(np.abs(x) < 1, 1.01, 1.0)

    x = np.array([0.5, 100.0])
    check_grads(planted(RIGHT), x)
    for rules in ((slightly, RIGHT), (RIGHT, slightly)):
        with pytest.raises(GradientError, match="index 0"):
            check_grads(planted(*rules), x, order=1)


def test_a_wrong_imaginary_part_is_found():
    """Along real directions alone, a VJP without its imaginary part, or with that of
    the conjugate, looks right.
    """
    z = np.array([0.5 + 1j, -1.0 + 0.25j])
    check_grads(planted(RIGHT), z)
    for wrong in (lambda g, out, x: np.real(g * 3 * x**2) + 0j, lambda g, out, x: np.conj(g * 3 * x**2)):
        for rules in ((wrong, RIGHT), (RIGHT, wrong)):
            with pytest.raises(GradientError, match="disagrees"):
                check_grads(planted(*rules), z, order=1)


def test_any_wrong_combination_of_modes_is_found_at_second_order():
    """A rule may be right in value, and its derivative wrong in one mode alone."""

    def constant(x):
        return x.data if isinstance(x, mg.Tensor) else x

    flat = lambda g, out, x: g * 3 * constant(x) ** 2  # noqa: E731
    for rules, modes in ((flat, RIGHT), ("rev",)), ((RIGHT, flat), ("fwd",)):
        check_grads(planted(*rules), np.array([0.5, 2.0]), order=1)
        with pytest.raises(GradientError, match="over"):
            check_grads(planted(*rules), np.array([0.5, 2.0]), order=2, modes=modes)
    squared = np.array([0.25, 4.0])
    for wrong, words in (("vjp", "reverse mode over forward mode"), ("jvp", "forward mode over forward mode")):

        @mg.primitive
        def area(x):
            return x**2

        right, zero = (lambda g, out, x: g * 2 * x), (lambda g, out, x: g * 0 * x)
        mg.defvjp(area, zero if wrong == "vjp" else right)
        mg.defjvp(area, zero if wrong == "jvp" else right)
        cube = planted(RIGHT, lambda t, out, x, area=area: t * 3 * area(x))
        check_grads(cube, squared, order=1)
        with pytest.raises(GradientError, match=words):
            check_grads(cube, squared, order=2)


def test_how_much_is_allowed():
    """1e-6 of 1 + |difference quotient| in float64, 1e-3 in float32, or what is asked
    for.
    """

    def off_by(share):
        return planted(lambda g, out, x: g * (3 * x**2 + share * (1 + 3 * x**2)))

    x = np.array([0.1, 0.25])
    for share, options, is_right in (
        (5e-7, {}, True),
        (5e-6, {}, False),
        (5e-6, {"tolerance": 1e-5}, True),
        (5e-5, {"tolerance": 1e-5}, False),
        (5e-4, {"dtype": np.float32}, True),
        (5e-3, {"dtype": np.float32}, False),
        (5e-4, {"dtype": np.float32, "tolerance": 1e-4}, False),
        (5e-5, {"dtype": np.float32, "tolerance": 1e-4}, True),
    ):
        point, given_options = x.astype(options.get("dtype", float)), {k: v for k, v in options.items() if k != "dtype"}
        if is_right:
            check_grads(off_by(share), point, order=1, **given_options)
        else:
            with pytest.raises(GradientError):
                check_grads(off_by(share), point, order=1, **given_options)


def test_every_argument_and_every_result_is_compared():
    @mg.primitive
    def product(x, y):
        return x * y

    mg.defvjp(product, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x * 1.01)
    mg.defjvp(product, lambda t, out, x, y: t * y, lambda t, out, x, y: t * x)
    x = np.array([0.5, 2.0])
    with pytest.raises(GradientError, match="argument 1"):
        check_grads(product, x, x + 1, order=1)
    cube = planted(RIGHT, lambda t, out, x: t * 3.01 * x**2)
    with pytest.raises(GradientError, match="result 1"):
        check_grads(lambda x: (np.sin(x), cube(x)), x, order=1)


def test_an_element_of_very_many_that_is_wrong_in_a_direction_is_found():
    """Of large arrays a sample is compared one by one, and the tangent along random
    numbers whole.
    """
    many = np.linspace(0.5, 1.5, 1000)
    wrong = planted(lambda g, out, x: g * 3 * x**2 * 1.01)
    with pytest.raises(GradientError, match="64 of 64 elements"):
        check_grads(wrong, many, order=1, modes=("rev",))
    first = np.random.default_rng(7)
    with pytest.raises(GradientError, match="of 64 elements"):
        check_grads(wrong, many, order=1, rng=first)


def test_the_failure_says_where_and_how_to_see_it_again():
    cube = planted(lambda g, out, x: g * np.where(np.arange(3) == 1, 0, 3 * x**2))
    with pytest.raises(GradientError) as caught:
        check_grads(cube, np.array([0.5, 2.0, -1.0]), order=1, modes=("rev",))
    message = str(caught.value)
    assert "check_grads(cube): reverse mode" in message
    assert "1 of 3 elements" in message
    assert "argument 0, index 1" in message
    assert "mg.testing.check_grads(cube, np.array([ 0.5,  2. , -1. ]), order=1, modes=('rev',))" in message


def test_wrong_shapes_of_tangents_and_cotangents_are_found():
    """By the walk itself, which brings all else into the shapes and dtypes of what it
    belongs to.
    """
    wrong = lambda g, out, x: np.ones((4, 2))  # noqa: E731
    with pytest.raises(ValueError, match=r"tangent of shape \(4, 2\) for a result of shape \(3,\)"):
        check_grads(planted(RIGHT, wrong), np.ones(3), order=1, modes=("fwd",))
    with pytest.raises(ValueError, match=r"cotangent of shape \(4, 2\) for an argument of shape \(3,\)"):
        check_grads(planted(wrong, RIGHT), np.ones(3), order=1, modes=("rev",))


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


def test_arrays_come_in_every_layout_and_reach_their_bounds():
    seen, values = set(), []

    @settings(max_examples=200, derandomize=True)
    @given(arrays((3, 2), low=-1, high=2))
    def look(x):
        seen.add((x.flags.c_contiguous, x.flags.f_contiguous, x.strides[0] < 0))
        values.append(x)

    look()
    assert {(True, False, False), (False, True, False), (False, False, False)} <= seen
    assert any(reverse for _, _, reverse in seen)
    assert min(x.min() for x in values) < -0.9
    assert max(x.max() for x in values) > 1.9
    assert all(((x >= -1) & (x <= 2)).all() for x in values)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (0.3, 0.7), (-0.7, -0.1), (1 / 3, 2 / 3)])
def test_bounds_hold_in_single_precision(low, high):
    """The least and the greatest numbers are within the bounds, which may lie between
    two of single precision.
    """
    seen = []

    @settings(max_examples=300, derandomize=True)
    @given(arrays((3,), dtype=np.float32, low=low, high=high))
    def look(x):
        assert x.dtype == np.float32
        seen.extend(x.astype(np.float64).tolist())

    look()
    assert low <= min(seen) <= low + 1e-7
    assert high - 1e-7 <= max(seen) <= high


@given(arrays((5,), distinct=True, avoid=(0.0,), margin=0.2))
def test_distinct_arrays_avoid_kinks_too(x):
    assert len(set(x.tolist())) == 5
    assert np.all(np.abs(x) >= 0.2)


@given(shapes(max_dims=2, min_side=1))
def test_shapes(shape):
    assert len(shape) <= 2
    assert 0 not in shape


def test_any_element_of_a_large_array_may_be_compared():
    """A rule is wrong at the last 192 of 256 elements, of which 64 are drawn."""
    wrong = np.r_[np.ones(64), np.full(192, 1.5)]
    rule = planted(lambda g, out, x: 3 * g * x**2 * wrong)
    with pytest.raises(GradientError, match="reverse mode"):
        check_grads(rule, np.linspace(1, 2, 256), order=1, modes=("rev",))


@pytest.mark.parametrize("mode", ["rev", "fwd"])
def test_cotangents_and_tangents_have_imaginary_parts(mode):
    """These rules are right for real vectors."""
    double = mg.primitive(lambda x: 2 * x)
    mg.defvjp(double, lambda g, out, x: 2 * np.conj(g))
    mg.defjvp(double, lambda t, out, x: 2 * np.conj(t))
    with pytest.raises(GradientError):
        check_grads(double, np.array([1.0 + 2.0j, -0.5j]), order=1, modes=(mode,))
