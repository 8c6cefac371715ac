"""Rows of the elementwise functions: see `microgradnd/rules/elementwise.py`.

Owns: their domains and the values promised at their kinks.
Must not own: anything else.
Read next: `choice.py`.
"""

import numpy as np

from microgradnd import primitives
from microgradnd.rules.elementwise import DEPRECATED, i0_derivative, leg, share_of, sinc_derivative
from microgradnd.rules.values import ratio
from tests.rows import ANY, NONZERO, POSITIVE, UNIT, Domain, Row, case, ufunc

INTEGERS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
SMOOTH_STEPS = Domain(avoid=INTEGERS)
HALVES = Domain(avoid=(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5))
# -inf gets nothing, even if both are -inf; inf gets all, and two share it
LOGADDEXP_ENDS = [
    ((-np.inf, 1.0), (0.0, 1.0)),
    ((-np.inf, -np.inf), (0.0, 0.0)),
    ((np.inf, 1.0), (1.0, 0.0)),
    ((1.0, np.inf), (0.0, 1.0)),
    ((np.inf, np.inf), (0.5, 0.5)),
    ((np.nan, 1.0), (np.nan, np.nan)),
]
# an infinite leg is all of the hypotenuse; two have equal parts
HALF = np.sqrt(0.5)
HYPOT_ENDS = [
    ((0.0, 0.0), (0.0, 0.0)),
    ((np.inf, 1.0), (1.0, 0.0)),
    ((2.0, -np.inf), (0.0, -1.0)),
    ((-np.inf, np.inf), (-HALF, HALF)),
    ((np.nan, 1.0), (np.nan, np.nan)),
    ((np.inf, np.nan), (1.0, 0.0)),
]
ARCTAN2_ENDS = [
    ((0.0, 0.0), (0.0, 0.0)),
    ((np.inf, 1.0), (0.0, 0.0)),
    ((1.0, np.inf), (0.0, 0.0)),
    ((1.0, -np.inf), (0.0, 0.0)),
    ((np.nan, 1.0), (np.nan, np.nan)),
]
# the number if the other is NaN; NaN if the result is NaN
FMAX_ENDS = [
    ((1.0, 1.0), (0.5, 0.5)),
    ((1.0, np.nan), (1.0, 0.0)),
    ((np.nan, 1.0), (0.0, 1.0)),
    ((np.nan, np.nan), (np.nan, np.nan)),
    ((np.inf, np.inf), (0.5, 0.5)),
]
MAXIMUM_ENDS = [
    ((1.0, 1.0), (0.5, 0.5)),
    ((np.inf, np.inf), (0.5, 0.5)),
    ((np.nan, 1.0), (np.nan, np.nan)),
    ((1.0, np.nan), (np.nan, np.nan)),
]

ROWS: list[Row] = [
    # Arithmetic
    *ufunc(np.add, ANY, ANY, complex_too=True),
    *ufunc(np.subtract, ANY, ANY, complex_too=True),
    *ufunc(np.multiply, ANY, ANY, complex_too=True),
    *ufunc(np.divide, ANY, Domain(0.3, 3.0), complex_too=True),
    *ufunc(np.negative, ANY, complex_too=True),
    *ufunc(np.positive, ANY, complex_too=True),
    *ufunc(np.reciprocal, Domain(0.3, 3.0), complex_too=True),
    *ufunc(np.square, ANY, complex_too=True),
    *ufunc(np.sqrt, POSITIVE, complex_too=True),
    *ufunc(np.cbrt, POSITIVE),
    # a jump where x / y is an integer: x stays within one period of y
    *ufunc(np.remainder, Domain(0.1, 0.9), Domain(1.0, 3.0)),
    # 1.0 / 0.1 is rounded up to 10, but 0.1 goes only 9 times into 1.0
    *ufunc(
        np.fmod,
        Domain(-0.9, -0.1),
        Domain(1.0, 3.0),
        kinks=[(tuple(np.array([[1.0], [0.1]])), tuple(np.array([[1.0], [-9.0]])))],
    ),
    *ufunc(np.divmod, Domain(0.1, 0.9), Domain(1.0, 3.0)),
    case(np.divmod, "operator", lambda x: np.divmod(x, 1.0)[1], ((2, 3), Domain(0.1, 0.9))),
    case(np.ldexp, "exponents", lambda x: np.ldexp(x, np.array([2, 0, -1])), (2, 3)),
    # the mantissa and the exponent jump where x is a power of 2
    case(np.frexp, "both", np.frexp, ((2, 3), Domain(0.55, 0.95))),
    case(np.frexp, "mantissa", lambda x: np.frexp(x)[0] ** 2, ((2, 3), Domain(2.1, 3.9))),
    *ufunc(np.modf, SMOOTH_STEPS),
    # 0**0: constant in the base, and 0**y is 0 for y > 0, so both derivatives are 0
    *ufunc(
        np.power,
        POSITIVE,
        ANY,
        complex_too=True,
        kinks=[
            ((0.0, 0.0), (0.0, 0.0)),
            ((0.0, 1.0), (1.0, 0.0)),
            ((0.0, 2.0), (0.0, 0.0)),
            ((2.0, 0.0), (0.0, np.log(2.0))),
            ((-2.0, 0.0), (0.0, np.nan)),  # defined at integer exponents only
        ],
    ),
    case(np.power, "to-1", lambda x: x**1, (2, 3), kinks=[((0.0,), (1.0,))]),
    case(np.power, "to-0", lambda x: x**0, (2, 3), kinks=[((0.0,), (0.0,))]),
    case(np.power, "negative", lambda x: x**-1.5, ((2, 3), POSITIVE)),
    case(np.power, "exponents", lambda x: x ** np.array([0, 1, 2]), (2, 3), kinks=[((np.zeros(3),), ([0, 1, 0],))]),
    *ufunc(np.float_power, POSITIVE, ANY, kinks=[((0.0, 0.0), (0.0, 0.0))]),
    case(np.power, "square", lambda x: x**2, (3, 2)),
    case(np.power, "cube-of-negative", lambda x: x**3, ((3, 2), Domain(-2.0, -0.5))),
    # Exponentials and logarithms
    *ufunc(np.exp, ANY, complex_too=True),
    *ufunc(np.exp2, ANY, complex_too=True),
    *ufunc(np.expm1, ANY, complex_too=True),
    *ufunc(np.log, POSITIVE, complex_too=True),
    *ufunc(np.log2, POSITIVE, complex_too=True),
    *ufunc(np.log10, POSITIVE, complex_too=True),
    *ufunc(np.log1p, Domain(-0.6, 3.0), complex_too=True),
    *ufunc(np.logaddexp, ANY, ANY, kinks=LOGADDEXP_ENDS),
    *ufunc(np.logaddexp2, ANY, ANY, kinks=LOGADDEXP_ENDS),
    # Trigonometric and hyperbolic functions
    *ufunc(np.sin, ANY, complex_too=True),
    *ufunc(np.cos, ANY, complex_too=True),
    *ufunc(np.tan, Domain(-1.2, 1.2), complex_too=True),
    *ufunc(np.arcsin, UNIT, complex_too=True),
    *ufunc(np.arccos, UNIT, complex_too=True),
    *ufunc(np.arctan, Domain(-0.8, 0.8), complex_too=True),
    *ufunc(np.arctan2, POSITIVE, NONZERO, kinks=ARCTAN2_ENDS),
    *ufunc(np.sinh, ANY, complex_too=True),
    *ufunc(np.cosh, ANY, complex_too=True),
    *ufunc(np.tanh, Domain(-1.2, 1.2), complex_too=True),
    *ufunc(np.arcsinh, Domain(-0.8, 0.8), complex_too=True),
    *ufunc(np.arccosh, Domain(1.3, 3.0), complex_too=True),
    case(np.arccosh, "complex-left", np.arccosh, ((2, 3), Domain(-3.0, -1.3), np.complex128)),
    case(np.arcsin, "complex-far", np.arcsin, ((2, 3), Domain(1.3, 3.0), np.complex128)),
    case(np.arctan, "complex-left", np.arctan, ((2, 3), Domain(-3.0, -1.3), np.complex128)),
    case(np.arcsinh, "complex-left", np.arcsinh, ((2, 3), Domain(-3.0, -1.3), np.complex128)),
    case(np.arctanh, "complex-left", np.arctanh, ((2, 3), Domain(-3.0, -1.3), np.complex128)),
    case(
        np.power,
        "complex-exponent",
        lambda z: np.power(np.array([-2.0, 0.0, 3.0]), z + 4),
        ((3,), POSITIVE, np.complex128),
    ),
    case(
        np.power, "negative-base", lambda x, z: np.power(x, z), ((3,), Domain(-3.0, -0.3)), ((3,), ANY, np.complex128)
    ),
    *ufunc(np.arctanh, Domain(-0.8, 0.8), complex_too=True),
    *ufunc(np.deg2rad, ANY),
    *ufunc(np.radians, ANY),
    *ufunc(np.rad2deg, ANY),
    *ufunc(np.degrees, ANY),
    # Kinks
    *ufunc(np.absolute, NONZERO, kinks=[((0.0,), (0.0,)), ((np.array([0.0, -2.0]),), (np.array([0.0, -1.0]),))]),
    case(np.absolute, "complex", np.absolute, ((2, 3), POSITIVE, np.complex128), kinks=[((0j,), (0j,))]),
    *ufunc(np.fabs, NONZERO, kinks=[((0.0,), (0.0,))]),
    *ufunc(primitives.relu, NONZERO, kinks=[((0.0,), (0.0,)), ((-0.0,), (0.0,))]),
    *ufunc(np.maximum, Domain(-3.0, -0.1), Domain(0.1, 3.0), kinks=MAXIMUM_ENDS),
    *ufunc(np.maximum, Domain(0.1, 3.0), Domain(-3.0, -0.1)),
    *ufunc(np.minimum, Domain(-3.0, -0.1), Domain(0.1, 3.0), kinks=MAXIMUM_ENDS),
    *ufunc(np.minimum, Domain(0.1, 3.0), Domain(-3.0, -0.1)),
    *ufunc(np.fmax, Domain(-3.0, -0.1), Domain(0.1, 3.0), kinks=FMAX_ENDS),
    *ufunc(np.fmin, Domain(0.1, 3.0), Domain(-3.0, -0.1), kinks=FMAX_ENDS),
    *ufunc(np.hypot, POSITIVE, ANY, kinks=HYPOT_ENDS),
    *ufunc(leg, POSITIVE, ANY, kinks=[((0.0, 0.0), (np.nan, np.nan))]),
    case(share_of, "equal", lambda x, y: share_of(x, y, 1.0), (2, 3), (3,), kinks=[((1.0, 1.0), (0.25, -0.25))]),
    case(
        ratio,
        "defined",
        lambda x, y: ratio(x, y, y == 0),
        (2, 3),
        ((3,), NONZERO),
        kinks=[((1.0, 0.0), (np.nan, np.nan))],
    ),
    *ufunc(np.copysign, NONZERO, NONZERO, kinks=[((0.0, 1.0), (0.0, 0.0))]),
    *ufunc(np.heaviside, NONZERO, ANY, kinks=[((0.0, 0.5), (0.0, 1.0))]),
    # Flat between jumps
    *ufunc(np.sign, NONZERO, kinks=[((0.0,), (0.0,))]),
    case(
        np.sign,
        "complex",
        lambda x: np.real(np.sign(x)),
        ((2, 3), POSITIVE, np.complex128),
        kinks=[((0j,), (np.nan * 1j,))],
    ),
    *ufunc(np.floor, SMOOTH_STEPS),
    *ufunc(np.ceil, SMOOTH_STEPS),
    *ufunc(np.trunc, SMOOTH_STEPS),
    *([] if DEPRECATED else ufunc(np.fix, SMOOTH_STEPS)),
    *ufunc(np.rint, HALVES),
    case(np.round, "decimals", lambda x: np.round(x, 0), ((2, 3), HALVES)),
    case(np.round, "method", lambda x: x.round(), ((2, 3), HALVES)),
    case(np.around, "decimals", lambda x: np.around(x, decimals=0), ((2, 3), HALVES)),
    *ufunc(np.floor_divide, Domain(0.1, 0.9), Domain(1.0, 3.0)),
    # Special functions: smooth at 0, where their formulas divide by 0
    *ufunc(
        np.sinc,
        ANY,
        complex_too=True,
        kinks=[((0.0,), (0.0,)), ((np.array([1e-9]),), (np.array([-(np.pi**2) / 3e9]),))],
    ),
    case(sinc_derivative, "second", lambda x: sinc_derivative(x, 2), (2, 3)),
    case(sinc_derivative, "third-at-0", lambda x: sinc_derivative(x, 3), (2, 3), kinks=[((0.0,), (np.pi**4 / 5,))]),
    *ufunc(np.i0, ANY, kinks=[((0.0,), (0.0,))]),
    case(i0_derivative, "third", lambda x: i0_derivative(x, 3), (2, 3)),
    # Complex numbers
    case(np.real, "real", np.real, (2, 3)),
    case(np.real, "complex", np.real, ((2, 3), ANY, np.complex128)),
    case(np.imag, "complex", np.imag, ((2, 3), ANY, np.complex128)),
    *ufunc(np.conjugate, ANY, complex_too=True),
    case(np.angle, "complex", np.angle, ((2, 3), POSITIVE, np.complex128), kinks=[((0j,), (0j,))]),
    case(np.angle, "degrees", lambda z: np.angle(z, deg=True), ((2, 3), Domain(-3.0, -0.3), np.complex128)),
    case(np.angle, "real", np.angle, ((2, 3), NONZERO)),
    case(np.real_if_close, "real", np.real_if_close, (2, 3)),
    case(np.real_if_close, "complex", np.real_if_close, ((2, 3), POSITIVE, np.complex128)),
    case(np.real_if_close, "close", lambda x: np.real_if_close(x + 1e-15j), (2, 3)),
    case(np.real_if_close, "tolerance", lambda x: np.real_if_close(x + 0.01j, tol=0.1), (2, 3)),
    # The same value in another form
    *ufunc(primitives.identity, ANY),
    case(primitives.astype, "complex", lambda x: primitives.astype(x, np.dtype(np.complex128)), (2, 3)),
    *([case(np.astype, "complex", lambda x: np.astype(x, complex), (2, 3))] if hasattr(np, "astype") else []),
    case(np.copy, "copy", np.copy, (2, 3)),
    case(np.copy, "order", lambda x: np.copy(x, "C"), (2, 3)),
    case(np.unwrap, "jumps", lambda x: np.unwrap(x + np.array([0.0, 7.0, 1.0])), ((2, 3), UNIT)),
    case(np.unwrap, "axis", lambda x: np.unwrap(4 * x, axis=0, period=2.0), ((4, 2), Domain(0.0, 0.2))),
    case(np.nan_to_num, "finite", np.nan_to_num, (2, 3), kinks=[((np.nan,), (0.0,)), ((np.inf,), (0.0,))]),
    case(np.nan_to_num, "options", lambda x: np.nan_to_num(x, True, nan=1.0, posinf=2.0), (2, 3)),
    case(np.nan_to_num, "complex", np.nan_to_num, ((2, 3), ANY, np.complex128)),
    case(
        np.nan_to_num,
        "parts",
        lambda x: np.real(np.nan_to_num(x)) + np.imag(np.nan_to_num(x)),
        ((2, 3), ANY, np.complex128),
        kinks=[((complex(np.nan, 1.0),), (-1j,)), ((complex(1.0, np.inf),), (1 + 0j,))],
    ),
]
