"""Derivatives of the elementwise functions.

Owns: one line per NumPy ufunc (and its elementwise relatives): the partial derivative for each argument, times `g`.
Must not own: broadcasting, which the tape undoes for all of them.
Read next: `reductions.py`.

`g` is the cotangent of the result, `out` the result. An elementwise Jacobian is diagonal, so each line is the JVP
rule too. At a kink the line says which value it takes; NumPy's warnings at poles (1/0, log 0) come through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.registry import defjvp, defvjp, elementwise, linear, plain

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
elementwise(np.fmod, lambda g, out, x, y: g, lambda g, out, x, y: -g * np.trunc(x / y))


def power_base(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return g * y * x**(y - 1), which is 0 for x = y = 0."""
    return g * (y * x ** np.where((x == 0) & (y == 0), 1.0, y - 1))


def power_exponent(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return g * log(x) * x**y, which is 0 for x = 0, its limit for y > 0."""
    return g * (np.log(np.where(x == 0, 1.0, x)) * out)


elementwise(np.power, power_base, power_exponent)
elementwise(np.float_power, power_base, power_exponent)

# Exponentials and logarithms

elementwise(np.exp, lambda g, out, x: g * out)
elementwise(np.exp2, lambda g, out, x: g * (LOG2 * out))
elementwise(np.expm1, lambda g, out, x: g * (out + 1))
elementwise(np.log, lambda g, out, x: g / x)
elementwise(np.log2, lambda g, out, x: g / (LOG2 * x))
elementwise(np.log10, lambda g, out, x: g / (LOG10 * x))
elementwise(np.log1p, lambda g, out, x: g / (x + 1))
elementwise(np.logaddexp, lambda g, out, x, y: g * np.exp(x - out), lambda g, out, x, y: g * np.exp(y - out))
elementwise(np.logaddexp2, lambda g, out, x, y: g * np.exp2(x - out), lambda g, out, x, y: g * np.exp2(y - out))

# Trigonometric and hyperbolic functions

elementwise(np.sin, lambda g, out, x: g * np.cos(x))
elementwise(np.cos, lambda g, out, x: -g * np.sin(x))
elementwise(np.tan, lambda g, out, x: g * (1 + out * out))
elementwise(np.arcsin, lambda g, out, x: g / np.sqrt(1 - x * x))
elementwise(np.arccos, lambda g, out, x: -g / np.sqrt(1 - x * x))
elementwise(np.arctan, lambda g, out, x: g / (1 + x * x))
elementwise(np.arctan2, lambda g, out, x, y: g * (y / (x * x + y * y)), lambda g, out, x, y: -g * (x / (x * x + y * y)))
elementwise(np.sinh, lambda g, out, x: g * np.cosh(x))
elementwise(np.cosh, lambda g, out, x: g * np.sinh(x))
elementwise(np.tanh, lambda g, out, x: g * (1 - out * out))
elementwise(np.arcsinh, lambda g, out, x: g / np.sqrt(x * x + 1))
elementwise(np.arccosh, lambda g, out, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
elementwise(np.arctanh, lambda g, out, x: g / (1 - x * x))
elementwise(np.deg2rad, lambda g, out, x: g * (np.pi / 180))
elementwise(np.radians, lambda g, out, x: g * (np.pi / 180))
elementwise(np.rad2deg, lambda g, out, x: g * (180 / np.pi))
elementwise(np.degrees, lambda g, out, x: g * (180 / np.pi))

# Kinks: abs'(0) = 0, relu'(0) = 0; where two arguments tie for the maximum or minimum they share the gradient


def share(g: Any, x: Any, y: Any, wins: Any) -> Any:
    """Return g where x wins over y, half of it where they tie."""
    return np.where(x == y, 0.5 * g, g * wins)


elementwise(np.absolute, lambda g, out, x: g * (np.conj(sign(x, out)) if x.dtype.kind == "c" else np.sign(x)))
elementwise(np.fabs, lambda g, out, x: g * np.sign(x))
elementwise(np.maximum, lambda g, out, x, y: share(g, x, y, x > y), lambda g, out, x, y: share(g, x, y, y > x))
elementwise(np.minimum, lambda g, out, x, y: share(g, x, y, x < y), lambda g, out, x, y: share(g, x, y, y < x))
elementwise(
    np.fmax,
    lambda g, out, x, y: share(g, x, y, (x > y) | np.isnan(y)),
    lambda g, out, x, y: share(g, x, y, (y > x) | np.isnan(x)),
)
elementwise(
    np.fmin,
    lambda g, out, x, y: share(g, x, y, (x < y) | np.isnan(y)),
    lambda g, out, x, y: share(g, x, y, (y < x) | np.isnan(x)),
)
elementwise(primitives.relu, lambda g, out, x: g * (out > 0))
# hypot'(0, 0) = 0, as for the norm: x and y are 0 there, so any divisor will do
elementwise(
    np.hypot,
    lambda g, out, x, y: g * (x / np.where(out == 0, 1, out)),
    lambda g, out, x, y: g * (y / np.where(out == 0, 1, out)),
)
elementwise(np.copysign, lambda g, out, x, y: g * (np.copysign(1.0, y) * np.sign(x)), lambda g, out, x, y: 0 * g)
elementwise(np.heaviside, lambda g, out, x, y: 0 * g, lambda g, out, x, y: g * (x == 0))
for step in (np.floor, np.ceil, np.trunc, np.rint, np.fix):
    elementwise(step, lambda g, out, x: 0 * g)  # flat between its jumps
elementwise(np.floor_divide, lambda g, out, x, y: 0 * g, lambda g, out, x, y: 0 * g)
elementwise(np.round, lambda g, out, x, decimals=0: 0 * g)


def sign(x: Any, magnitude: Any) -> Any:
    """Return x / |x|, the direction of a complex number, spelled so that it can be differentiated; 0 for 0."""
    return x / np.where(magnitude == 0, 1, magnitude)


def sign_tangent(t: Any, out: Any, x: Any) -> Any:
    """Return what of t turns the direction of a complex number; a real one has no direction to turn."""
    return (t - out * np.real(np.conj(out) * t)) / np.abs(x) if x.dtype.kind == "c" else 0 * t


def sign_cotangent(g: Any, out: Any, x: Any) -> Any:
    """Return the transpose of `sign_tangent`."""
    return (g - np.conj(out) * np.real(out * g)) / np.abs(x) if x.dtype.kind == "c" else 0 * g


defvjp(np.sign, sign_cotangent)
defjvp(np.sign, sign_tangent)

# Choice: no gradient for the condition

elementwise(np.where, None, lambda g, out, c, x, y: np.where(c, g, 0), lambda g, out, c, x, y: np.where(c, 0, g))
elementwise(np.nan_to_num, lambda g, out, x, **_: g * np.isfinite(x))

# Complex numbers: cotangents are unconjugated, so holomorphic functions need nothing special

linear(np.real, lambda g, out, x: g)
linear(np.imag, lambda g, out, x: -1j * g)
linear(np.conjugate, lambda g, out, x: np.conj(g))

# The same value in another guise

elementwise(primitives.identity, lambda g, out, x: g)
elementwise(primitives.astype, lambda g, out, x, dtype: g)  # the tape casts it back
elementwise(np.copy, lambda g, out, x, **_: g)

plain(
    [np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.isclose, np.allclose]
    + [np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.isfinite, np.isinf, np.isnan, np.signbit]
    + [np.array_equal, np.shape, np.ndim, np.size, np.array_repr, np.array_str, np.array2string]
    + [np.zeros_like, np.ones_like, np.empty_like, np.full_like]
)
