"""Derivatives over the whole range of each dtype: no rule overflows, underflows or
cancels where its function doesn't.

Owns: the derivative of each elementwise function as a formula, computed in a wider
dtype, at numbers of every size.
Must not own: kinks and infinities (`tests/rows/`), which have no size.
Read next: `test_rules.py`.

The wider dtype of float64 is NumPy's longdouble, where that is wider; a formula that
squares x is right there.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg

WIDE = np.longdouble
WIDER = np.finfo(WIDE).maxexp > np.finfo(np.float64).maxexp
DTYPES = [np.float16, np.float32, *([np.float64] if WIDER else [])]
LN2, LN10 = np.log(WIDE(2)), np.log(WIDE(10))


def all_numbers(size, sign):
    return sign * size


def positive(size, sign):
    return size


def inside_1(size, sign):
    """Numbers up to the last one below 1."""
    small = np.minimum(size, 1 / size)
    return sign * (small if sign > 0 else np.maximum(1 - small, np.finfo(size.dtype).epsneg)).astype(size.dtype)


def above_1(size, sign):
    return np.maximum(1 + size, 1 + np.finfo(size.dtype).eps).astype(size.dtype)


# The domain of the arguments, and the derivative by each
FORMULAS = {
    np.divide: (all_numbers, lambda x, y: 1 / y, lambda x, y: -x / y / y),
    np.reciprocal: (all_numbers, lambda x: -1 / x / x),
    np.square: (all_numbers, lambda x: 2 * x),
    np.sqrt: (positive, lambda x: 1 / (2 * np.sqrt(x))),
    np.cbrt: (all_numbers, lambda x: 1 / (3 * np.cbrt(x) ** 2)),
    np.exp: (all_numbers, np.exp),
    np.exp2: (all_numbers, lambda x: LN2 * np.exp2(x)),
    np.expm1: (all_numbers, np.exp),
    np.log: (positive, lambda x: 1 / x),
    np.log2: (positive, lambda x: 1 / (LN2 * x)),
    np.log10: (positive, lambda x: 1 / (LN10 * x)),
    np.log1p: (positive, lambda x: 1 / (1 + x)),
    np.logaddexp: (all_numbers, lambda x, y: 1 / (1 + np.exp(y - x)), lambda x, y: 1 / (1 + np.exp(x - y))),
    np.logaddexp2: (all_numbers, lambda x, y: 1 / (1 + np.exp2(y - x)), lambda x, y: 1 / (1 + np.exp2(x - y))),
    np.power: (positive, lambda x, y: y * x ** (y - 1), lambda x, y: np.log(x) * x**y),
    np.float_power: (positive, lambda x, y: y * x ** (y - 1), lambda x, y: np.log(x) * x**y),
    np.arcsin: (inside_1, lambda x: 1 / np.sqrt((1 - x) * (1 + x))),
    np.arccos: (inside_1, lambda x: -1 / np.sqrt((1 - x) * (1 + x))),
    np.arctan: (all_numbers, lambda x: 1 / (1 + x * x)),
    np.arctan2: (all_numbers, lambda x, y: y / (x * x + y * y), lambda x, y: -x / (x * x + y * y)),
    np.hypot: (all_numbers, lambda x, y: x / np.sqrt(x * x + y * y), lambda x, y: y / np.sqrt(x * x + y * y)),
    np.sinh: (all_numbers, np.cosh),
    np.cosh: (all_numbers, np.sinh),
    np.arcsinh: (all_numbers, lambda x: 1 / np.sqrt(1 + x * x)),
    np.arccosh: (above_1, lambda x: 1 / np.sqrt((x - 1) * (x + 1))),
    np.arctanh: (inside_1, lambda x: 1 / ((1 - x) * (1 + x))),
    np.remainder: (positive, lambda x, y: 1 + 0 * x, lambda x, y: -np.floor(x / y)),
    np.fmod: (all_numbers, lambda x, y: 1 + 0 * x, lambda x, y: -np.trunc(x / y)),
}
# As parts of what the dtype has: any, near 1, and at the end of the range
exponents = st.one_of(st.floats(-1, 1), st.floats(-0.01, 0.01), st.sampled_from([-1.0, 1.0]))
signs = st.sampled_from([1, -1])


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("function", FORMULAS, ids=lambda f: f.__name__)
def test_derivatives_of_numbers_of_every_size(function, dtype):
    domain, *formulas = FORMULAS[function]
    limits = np.finfo(dtype)

    @given(st.lists(st.tuples(exponents, exponents, signs, signs, st.booleans()), min_size=20, max_size=40))
    def law(drawn):
        columns = []
        for exponent, sign in ((0, 2), (1, 3)):
            most = np.log2(WIDE(limits.max))
            sizes = [WIDE(2) ** (d[exponent] * (most if d[exponent] > 0 else limits.maxexp - 2)) for d in drawn]
            columns.append([domain(dtype(s), d[sign]) for s, d in zip(sizes, drawn, strict=True)])
        for i, d in enumerate(drawn):
            if d[4]:  # of a size with the other
                columns[1][i] = columns[0][i] * dtype(0.75)
        args = [np.array(c, dtype) for c in columns[: len(formulas)]]
        with np.errstate(all="ignore"):
            out = function(*args)
            gradients = mg.grad(lambda *xs: np.sum(function(*xs)), tuple(range(len(args))))(*args)
            for got, formula in zip(gradients, formulas, strict=True):
                right = formula(*(x.astype(WIDE) for x in args))
                error = np.abs(got.astype(WIDE) - right)
                # an exponential has the rounding of its argument, which is its
                # logarithm, as a relative error
                digits = 200 + np.abs(np.log(np.abs(right)))
                allowed = np.where(right == 0, 0, digits * limits.eps * np.abs(right)) + 8 * limits.smallest_subnormal
                # where the function and its derivative are finite, and the function
                # isn't rounded to few digits
                counts = np.isfinite(out) & (np.abs(out) >= limits.tiny) & (np.abs(right) <= limits.max)
                wrong = counts & ~(error <= allowed)
                assert not wrong.any(), [(x[wrong], got[wrong], right[wrong]) for x in args]

    law()


def test_a_mean_of_large_numbers_in_half_precision():
    x = np.linspace(-10, 10, 41, dtype=np.float16)
    derivative = mg.elementwise_grad(np.i0)
    right = derivative(x.astype(np.float64))
    assert np.all(np.abs(right) < np.finfo(np.float16).max)
    np.testing.assert_allclose(derivative(x), right, rtol=2e-3)


@pytest.mark.parametrize(
    "pick",
    [
        lambda x, i: x[i],
        lambda x, i: np.take(x, i),
        lambda x, i: np.tile(x, len(i) // 3),
        lambda x, i: np.pad(x, (0, len(i) - 3), "wrap"),
        lambda x, i: np.stack([x[part] for part in np.split(i, 15)]),
    ],
)
def test_many_uses_of_an_element_are_counted_in_half_precision(pick):
    i = np.arange(15_000) % 3
    gradient = mg.grad(lambda x: np.sum(pick(x, i)) / np.float16(100))
    for differentiate in (gradient, mg.compile(gradient)):
        np.testing.assert_allclose(differentiate(np.zeros(3, np.float16)), 50.0, rtol=2e-3)
