"""Rows of the elementwise functions: see `microgradnd/rules/elementwise.py`.

Owns: their domains and the values promised at their kinks.
Must not own: anything else.
Read next: `reductions.py`.
"""

import numpy as np

from microgradnd import primitives
from tests.rows import ANY, NONZERO, POSITIVE, UNIT, Domain, Row, case, ufunc

INTEGERS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
SMOOTH_STEPS = Domain(avoid=INTEGERS)
HALVES = Domain(avoid=(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5))

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
    *ufunc(np.fmod, Domain(-0.9, -0.1), Domain(1.0, 3.0)),
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
        ],
    ),
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
    *ufunc(np.logaddexp, ANY, ANY),
    *ufunc(np.logaddexp2, ANY, ANY),
    # Trigonometric and hyperbolic functions
    *ufunc(np.sin, ANY, complex_too=True),
    *ufunc(np.cos, ANY, complex_too=True),
    *ufunc(np.tan, Domain(-1.2, 1.2), complex_too=True),
    *ufunc(np.arcsin, UNIT, complex_too=True),
    *ufunc(np.arccos, UNIT, complex_too=True),
    *ufunc(np.arctan, Domain(-0.8, 0.8), complex_too=True),
    *ufunc(np.arctan2, POSITIVE, NONZERO),
    *ufunc(np.sinh, ANY, complex_too=True),
    *ufunc(np.cosh, ANY, complex_too=True),
    *ufunc(np.tanh, Domain(-1.2, 1.2), complex_too=True),
    *ufunc(np.arcsinh, Domain(-0.8, 0.8), complex_too=True),
    *ufunc(np.arccosh, Domain(1.3, 3.0), complex_too=True),
    *ufunc(np.arctanh, Domain(-0.8, 0.8), complex_too=True),
    *ufunc(np.deg2rad, ANY),
    *ufunc(np.radians, ANY),
    *ufunc(np.rad2deg, ANY),
    *ufunc(np.degrees, ANY),
    # Kinks
    *ufunc(np.absolute, NONZERO, kinks=[((0.0,), (0.0,)), ((np.array([0.0, -2.0]),), (np.array([0.0, -1.0]),))]),
    case(np.absolute, "complex", np.absolute, ((2, 3), Domain(0.3, 3.0), np.complex128)),
    *ufunc(np.fabs, NONZERO, kinks=[((0.0,), (0.0,))]),
    *ufunc(primitives.relu, NONZERO, kinks=[((0.0,), (0.0,)), ((-0.0,), (0.0,))]),
    *ufunc(np.maximum, Domain(-3.0, -0.1), Domain(0.1, 3.0), kinks=[((1.0, 1.0), (0.5, 0.5))]),
    *ufunc(np.minimum, Domain(-3.0, -0.1), Domain(0.1, 3.0), kinks=[((1.0, 1.0), (0.5, 0.5))]),
    *ufunc(
        np.fmax, Domain(-3.0, -0.1), Domain(0.1, 3.0), kinks=[((1.0, 1.0), (0.5, 0.5)), ((1.0, np.nan), (1.0, 0.0))]
    ),
    *ufunc(
        np.fmin, Domain(0.1, 3.0), Domain(-3.0, -0.1), kinks=[((1.0, 1.0), (0.5, 0.5)), ((np.nan, 1.0), (0.0, 1.0))]
    ),
    *ufunc(np.hypot, POSITIVE, ANY, kinks=[((0.0, 0.0), (0.0, 0.0))]),
    *ufunc(np.copysign, NONZERO, NONZERO, kinks=[((0.0, 1.0), (0.0, 0.0))]),
    *ufunc(np.heaviside, NONZERO, ANY, kinks=[((0.0, 0.5), (0.0, 1.0))]),
    # Flat between jumps
    *ufunc(np.sign, NONZERO, kinks=[((0.0,), (0.0,))]),
    *ufunc(np.floor, SMOOTH_STEPS),
    *ufunc(np.ceil, SMOOTH_STEPS),
    *ufunc(np.trunc, SMOOTH_STEPS),
    *ufunc(np.fix, SMOOTH_STEPS),
    *ufunc(np.rint, HALVES),
    case(np.round, "decimals", lambda x: np.round(x, 0), ((2, 3), HALVES)),
    *ufunc(np.floor_divide, Domain(0.1, 0.9), Domain(1.0, 3.0)),
    # Choice
    case(np.where, "mask", lambda x, y: np.where(np.array([[True], [False]]), x, y), (2, 3), (3,)),
    case(np.where, "scalar", lambda x: np.where(np.array([True, False, True]), x, 0.0), (2, 3)),
    case(np.nan_to_num, "finite", np.nan_to_num, (2, 3), kinks=[((np.nan,), (0.0,)), ((np.inf,), (0.0,))]),
    # Complex numbers
    case(np.real, "real", np.real, (2, 3)),
    case(np.real, "complex", np.real, ((2, 3), ANY, np.complex128)),
    case(np.imag, "complex", np.imag, ((2, 3), ANY, np.complex128)),
    *ufunc(np.conjugate, ANY, complex_too=True),
    # The same value in another guise
    *ufunc(primitives.identity, ANY),
    case(primitives.astype, "complex", lambda x: primitives.astype(x, np.dtype(np.complex128)), (2, 3)),
    case(np.copy, "copy", np.copy, (2, 3)),
]
