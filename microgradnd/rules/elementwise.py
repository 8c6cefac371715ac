"""Derivatives of the elementwise functions.

Owns: one line per NumPy ufunc (and related elementwise functions): the partial
derivative by each argument, times `g`.
Must not own: broadcasting, which the tape undoes for all of them; choosing among arrays
(`choice.py`).
Read next: `choice.py`.

`g` is the cotangent of the result, `out` the result. An elementwise Jacobian is
diagonal, so each line is the JVP rule too. At a kink, the line says which value it
takes. NumPy's warnings at poles (1/0, log 0) are kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib import NumpyVersion

from microgradnd import primitives
from microgradnd.powers import power
from microgradnd.registry import LOOKING, Results, composite, defjvp, defvjp, elementwise, linear, plain, primitive
from microgradnd.rules.values import holds, in_dtype, of_floats, ratio

LOG2, LOG10 = float(np.log(2.0)), float(np.log(10.0))

# Arithmetic

elementwise(np.add, lambda g, out, x, y: g, lambda g, out, x, y: g)
elementwise(np.subtract, lambda g, out, x, y: g, lambda g, out, x, y: -g)
elementwise(np.multiply, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)
elementwise(np.divide, lambda g, out, x, y: g / y, lambda g, out, x, y: -g * out / y)
elementwise(np.negative, lambda g, out, x: -g)
elementwise(np.positive, lambda g, out, x: g)
elementwise(np.reciprocal, lambda g, out, x: -g * out * out)
elementwise(np.square, lambda g, out, x: g * (2 * x))
elementwise(np.sqrt, lambda g, out, x: g / (2 * out))
elementwise(np.cbrt, lambda g, out, x: g / (3 * out * out))
elementwise(np.remainder, lambda g, out, x, y: g, lambda g, out, x, y: -g * np.floor_divide(x, y))
elementwise(  # the quotient's sign apart, because x / y may round up to the next integer
    np.fmod,
    lambda g, out, x, y: g,
    lambda g, out, x, y: -g * (np.sign(x) * np.sign(y) * np.floor_divide(np.abs(x), np.abs(y))),
)
elementwise(np.ldexp, lambda g, out, x, exponent: np.ldexp(g, exponent), None)
defvjp(np.frexp, lambda g, out, x: np.ldexp(g[0], -out[1]))  # the exponent is an integer
defjvp(np.frexp, lambda t, out, x: Results((np.ldexp(t, -out[1]), None)))
defvjp(np.modf, lambda g, out, x: g[0])
defjvp(np.modf, lambda t, out, x: Results((t, 0 * t)))
composite(np.divmod)(lambda x, y, /: (np.floor_divide(x, y), np.remainder(x, y)))


def power_base(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return g * y * x**(y - 1), 0 for y = 0; from the result if that saves a power."""
    if type(y) in (int, float):
        if y == 0.5:
            return g * (0.5 / out)
        return g * (y * (out / x if y < 0 else power(x, y - 1))) if y else 0 * g
    if getattr(y, "requires_grad", False):  # a variable: its derivative, at 0 too, is the formula's
        return g * (y * x ** np.where((y == 0) & (x == 0), 1.0, y - 1))
    return g * (y * x ** (y - 1 + (y == 0)))


def power_exponent(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return g * log(x) * x**y, which is 0 for x = 0 and y >= 0.

    That is the limit, except at y = 0. The logarithm is complex if the power is: then a
    negative base has a logarithm too.
    """
    return g * (np.log(in_dtype(np.where((x == 0) & (np.real(y) >= 0), 1.0, x), out.dtype)) * out)


elementwise(np.power, power_base, power_exponent)
elementwise(np.float_power, power_base, power_exponent)

# Exponentials and logarithms

elementwise(np.exp, lambda g, out, x: g * out)
elementwise(np.exp2, lambda g, out, x: g * (LOG2 * out))
elementwise(np.expm1, lambda g, out, x: g * np.exp(x))
elementwise(np.log, lambda g, out, x: g / x)
elementwise(np.log2, lambda g, out, x: g * (1 / LOG2) / x)  # in this order, so that no product overflows
elementwise(np.log10, lambda g, out, x: g * (1 / LOG10) / x)
elementwise(np.log1p, lambda g, out, x: g / (x + 1))


@primitive
def share_of(x: Any, y: Any, unit: float) -> Any:
    """Return 1 / (1 + exp(unit * (y - x))): a share of exp(unit * x) + exp(unit * y).

    The share of x comes from the difference of the two, not from their sum, which is
    rounded. Equal infinities share equally, but -inf has no share.
    """
    with np.errstate(invalid="ignore"):
        d = np.where(x == y, 0, np.subtract(x, y))
    e = np.exp(-unit * np.abs(d))
    return np.where((x == y) & (x == -np.inf), 0, np.where(d >= 0, 1, e) / (1 + e))


elementwise(
    share_of,
    lambda g, out, x, y, unit: g * (unit * out * share_of(y, x, unit)),
    lambda g, out, x, y, unit: -g * (unit * out * share_of(y, x, unit)),
    None,
)
for function, unit in ((np.logaddexp, 1.0), (np.logaddexp2, LOG2)):
    elementwise(
        function,
        lambda g, out, x, y, unit=unit: g * share_of(x, y, unit),
        lambda g, out, x, y, unit=unit: g * share_of(y, x, unit),
    )

# Trigonometric and hyperbolic functions

elementwise(np.sin, lambda g, out, x: g * np.cos(x))
elementwise(np.cos, lambda g, out, x: -g * np.sin(x))
elementwise(np.tan, lambda g, out, x: g * (1 + out * out))
elementwise(np.arcsin, lambda g, out, x: g / (np.sqrt(1 - x) * np.sqrt(1 + x)))
elementwise(np.arccos, lambda g, out, x: -g / (np.sqrt(1 - x) * np.sqrt(1 + x)))
elementwise(
    np.arctan,
    lambda g, out, x: g / (1 + 1j * x) / (1 - 1j * x) if x.dtype.kind == "c" else g / np.hypot(1, x) / np.hypot(1, x),
)


@primitive
def leg(x: Any, y: Any) -> Any:
    """Return x / hypot(x, y), the sine of the angle opposite x; 0 where both are 0.

    An infinite leg has all of the hypotenuse. Two have equal parts: the angle between
    them is that of np.arctan2.
    """
    x, y = 0.5 * x, 0.5 * y  # so that the hypotenuse of finite legs is finite
    length = np.hypot(x, y)
    infinite = length == np.inf
    x, y = (np.where(infinite, np.where(np.isinf(v), np.copysign(1, v), 0), v) for v in (x, y))
    length = np.where(infinite, np.hypot(x, y), length)
    return x / np.where(length == 0, 1, length)


# At (0, 0) the derivative of a leg is 0 / 0, NaN
elementwise(
    leg,
    lambda g, out, x, y: g * leg(y, x) * (leg(y, x) / np.hypot(x, y)),
    lambda g, out, x, y: -g * out * (leg(y, x) / np.hypot(x, y)),
)


def turn(x: Any, y: Any) -> Any:
    """Return x / (x * x + y * y), the turn of np.arctan2 by y; 0 where both are 0."""
    length = np.hypot(0.5 * x, 0.5 * y)  # half of it, which can't overflow
    return ratio(0.5 * leg(x, y), length, length == 0)


elementwise(np.arctan2, lambda g, out, x, y: g * turn(y, x), lambda g, out, x, y: -g * turn(x, y))
elementwise(np.sinh, lambda g, out, x: g * np.cosh(x))
elementwise(np.cosh, lambda g, out, x: g * np.sinh(x))
elementwise(np.tanh, lambda g, out, x: g * (1 - np.square(out)))
elementwise(
    np.arcsinh,
    lambda g, out, x: g / (np.sqrt(1 + 1j * x) * np.sqrt(1 - 1j * x) if x.dtype.kind == "c" else np.hypot(1, x)),
)
elementwise(np.arccosh, lambda g, out, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
elementwise(np.arctanh, lambda g, out, x: g / (1 - x) / (1 + x))
elementwise(np.deg2rad, lambda g, out, x: g * (np.pi / 180))
elementwise(np.radians, lambda g, out, x: g * (np.pi / 180))
elementwise(np.rad2deg, lambda g, out, x: g * (180 / np.pi))
elementwise(np.degrees, lambda g, out, x: g * (180 / np.pi))

# Kinks: abs'(0) = 0, relu'(0) = 0; arguments that tie for the maximum or minimum share
# the gradient. A NaN result passes NaN on.


def share(g: Any, out: Any, tie: Any, wins: Any) -> Any:
    """Return g where an argument wins, half of it in a tie, NaN where the result is."""
    if holds(~(np.any(tie) | np.any(np.isnan(out)))):
        return g * wins
    return np.where(np.isnan(out), np.nan, np.where(tie, 0.5 * g, g * wins))


@primitive
def share_of_maximum(x: Any, y: Any) -> Any:
    """Return x's share in max(x, y): 1, 0, 1/2 where they are equal, or NaN for NaN."""
    wins, loses = np.greater(x, y), np.less(x, y)
    share, decided = wins.astype(np.result_type(x, y)), wins | loses
    if isinstance(decided, np.ndarray | np.bool_) and decided.all():
        return share
    return np.where(decided, share, np.where(np.equal(x, y), 0.5, np.nan)).astype(share.dtype)


elementwise(np.absolute, lambda g, out, x: g * (np.conj(np.sign(x)) if x.dtype.kind == "c" else np.sign(x)))
elementwise(np.fabs, lambda g, out, x: g * np.sign(x))
elementwise(
    np.maximum,
    lambda g, out, x, y: g * share_of_maximum(x, y),
    lambda g, out, x, y: g * share_of_maximum(y, x),
)
elementwise(
    np.minimum,
    lambda g, out, x, y: g * share_of_maximum(y, x),
    lambda g, out, x, y: g * share_of_maximum(x, y),
)
elementwise(
    np.fmax,
    lambda g, out, x, y: share(g, out, x == y, (x > y) | np.isnan(y)),
    lambda g, out, x, y: share(g, out, x == y, (y > x) | np.isnan(x)),
)
elementwise(
    np.fmin,
    lambda g, out, x, y: share(g, out, x == y, (x < y) | np.isnan(y)),
    lambda g, out, x, y: share(g, out, x == y, (y < x) | np.isnan(x)),
)
elementwise(primitives.relu, lambda g, out, x: g * (out > 0))
elementwise(np.hypot, lambda g, out, x, y: g * leg(x, y), lambda g, out, x, y: g * leg(y, x))  # 0 at (0, 0)
elementwise(np.copysign, lambda g, out, x, y: g * (np.copysign(1.0, y) * np.sign(x)), lambda g, out, x, y: 0 * g)
elementwise(np.heaviside, lambda g, out, x, y: 0 * g, lambda g, out, x, y: g * (x == 0))
DEPRECATED = NumpyVersion(np.__version__) >= "2.5.0"  # np.fix, in favour of np.trunc
for step in (np.floor, np.ceil, np.trunc, np.rint, *(() if DEPRECATED else (np.fix,))):
    elementwise(step, lambda g, out, x: 0 * g)  # flat between its jumps
elementwise(np.floor_divide, lambda g, out, x, y: 0 * g, lambda g, out, x, y: 0 * g)
for rounding in (np.round, np.around):
    elementwise(rounding, lambda g, out, x, decimals=0: 0 * g)


def sign_tangent(t: Any, out: Any, x: Any) -> Any:
    """Return the part of t that turns a complex direction; 0 / 0 has none.

    A real number has no direction to turn.
    """
    return (t - out * np.real(np.conj(out) * t)) / length_of(x) if x.dtype.kind == "c" else 0 * t


def sign_cotangent(g: Any, out: Any, x: Any) -> Any:
    """Return the transpose of `sign_tangent`."""
    return (g - np.conj(out) * np.real(out * g)) / length_of(x) if x.dtype.kind == "c" else 0 * g


def length_of(x: Any) -> Any:
    """Return |x| of complex numbers, NaN for 0: there is no direction to turn."""
    length = np.abs(x)
    return np.where(length == 0, np.nan, length)


defvjp(np.sign, sign_cotangent)
defjvp(np.sign, sign_tangent)

# Special functions


@primitive
def sinc_derivative(x: Any, order: int) -> Any:
    """Return a derivative of sinc(x) = sin(pi x) / (pi x).

    Near 0 it is that of the Taylor series, elsewhere it comes by recursion:
    differentiating x sinc(x) = sin(pi x) / pi n times gives x f_n + n f_(n-1) =
    pi**(n-1) sin(pi x + n pi / 2), which loses all digits near 0.
    """
    near = np.abs(x) < 1
    small, large = np.where(near, x, 0), np.where(near, 1, x)
    series = sum(
        (-1) ** k * math.pi ** (2 * k) / (2 * k + 1) / math.factorial(2 * k - order) * small ** (2 * k - order)
        for k in range((order + 1) // 2, order // 2 + 16)
    )
    f = np.sinc(large)
    for n in range(1, order + 1):
        f = (math.pi ** (n - 1) * np.sin(math.pi * large + n * math.pi / 2) - n * f) / large
    return np.where(near, series, f)


@primitive
def i0_derivative(x: Any, order: int) -> Any:
    """Return a derivative of I0, the modified Bessel function.

    It is the mean of c**order * exp(x c) over c = cos(angle), taken over 128 angles
    (Gauss-Chebyshev quadrature). This is exact up to rounding wherever I0 is finite; c
    and -c are combined.
    """
    cosines = np.cos(math.pi * (np.arange(64) + 0.5) / 128).tolist()
    part = np.sinh if order % 2 else np.cosh
    wide = in_dtype(x, np.float32) if x.dtype == np.float16 else x  # the sum overflows long before the mean
    return in_dtype(sum(c**order * part(wide * c) for c in cosines) / 64, x.dtype)


elementwise(np.sinc, lambda g, out, x: g * sinc_derivative(x, 1))
elementwise(sinc_derivative, lambda g, out, x, order: g * sinc_derivative(x, order + 1))
elementwise(np.i0, lambda g, out, x: g * i0_derivative(x, 1))
elementwise(i0_derivative, lambda g, out, x, order: g * i0_derivative(x, order + 1))

# Complex numbers: cotangents are not conjugated, so holomorphic functions need nothing
# special

linear(np.real, lambda g, out, x: g)
linear(np.imag, lambda g, out, x: g * -1j)
linear(np.conjugate, lambda g, out, x: np.conj(g))


@of_floats(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """Compute np.angle; its derivative is 0 at 0."""
    radians = np.arctan2(np.imag(z), np.real(z))
    return radians * (180 / math.pi) if deg else radians


@composite(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    """Compute np.real_if_close: the real part, if the imaginary is mere rounding."""
    if a.dtype.kind != "c":
        return np.copy(a) if np.isscalar(a) else a  # an array, also of a number
    allowed = tol * np.finfo(a.dtype).eps if tol > 1 else tol
    return np.real(a) if np.all(np.abs(np.imag(a)) < allowed) else a


# The same value in another form

elementwise(primitives.identity, lambda g, out, x: g)
elementwise(primitives.astype, lambda g, out, x, dtype: g)  # the tape casts it back
elementwise(np.copy, lambda g, out, x, *_, **__: g)
if hasattr(np, "astype"):  # since NumPy 2.1
    composite(np.astype)(lambda x, dtype, /, **_: primitives.astype(x, np.dtype(dtype)))
elementwise(np.unwrap, lambda g, out, p, *_, **__: g)  # it adds whole periods


def where_finite(g: Any, out: Any, x: Any, *_: Any, **__: Any) -> Any:
    """Return g where x is finite; values that np.nan_to_num replaces are constant.

    Each part of a complex number counts by itself.
    """
    if x.dtype.kind == "c":
        return np.real(g) * np.isfinite(np.real(x)) + 1j * (np.imag(g) * np.isfinite(np.imag(x)))
    return g * np.isfinite(x)


elementwise(np.nan_to_num, where_finite)

plain(
    [np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.isclose, np.allclose]
    + [np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.isfinite, np.isinf, np.isnan, np.signbit]
    + [share_of_maximum, np.array_equal, np.shape, np.ndim, np.size, np.array_repr, np.array_str, np.array2string]
)

LOOKING.update({np.real_if_close})
