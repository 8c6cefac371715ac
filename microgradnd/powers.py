"""Powers as repeated products, or by a root.

Owns: which powers are computed this way, and in which order.
Must not own: derivatives (`rules/elementwise.py`).
Read next: `rules/elementwise.py`.

`np.power` takes ten to eighty times as long as a product. So the third to eighth powers
of float32 or float64 arrays are computed by squaring: `x**3` is `(x * x) * x`, and
`x**6` is `(x * x) * ((x * x) * (x * x))`. Each product rounds once, so the result is
within n/2 units in the last place of the exact power; NumPy's is within one. It
overflows, and is 0, infinite or NaN, exactly where NumPy's does. `x**-0.5` is `1 /
np.sqrt(x)` if all elements are positive, which rounds twice. Compiled programs compute
the same numbers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from microgradnd.registry import BODIES

SMALL = 128  # elements up to which a power is NumPy's own
LARGEST = 8  # up to this exponent the error is small, and products are faster


def is_product(dtype: np.dtype[Any], shape: tuple[int, ...], exponent: Any) -> bool:
    """Return whether a power of an array is computed by products."""
    whole = type(exponent) in (int, float) and 3 <= exponent <= LARGEST and exponent == int(exponent)
    return whole and dtype.char in "fd" and math.prod(shape) > SMALL


def products(x: Any, exponent: float, multiply: Callable[[Any, Any], Any] = np.multiply) -> Any:
    """Return an integer power of x: a product of its repeated squares."""
    n, out, square = int(exponent), None, x
    while True:
        if n % 2:
            out = square if out is None else multiply(out, square)
        n //= 2
        if not n:
            return out
        square = multiply(square, square)


def is_inverse_root(dtype: np.dtype[Any], shape: tuple[int, ...], exponent: Any) -> bool:
    """Return whether a power of an array is computed by a root."""
    return type(exponent) is float and exponent == -0.5 and math.prod(shape) > SMALL and dtype.char in "fd"


def inverse_root(x: Any, out: Any = None) -> Any:
    """Return x**-0.5; for 0, negative numbers and NaN as NumPy's power."""
    if not x.min() > 0:
        return np.power(x, -0.5, out=out)
    out = np.sqrt(x, out=out)
    return np.divide(1, out, out=out)


def power(x: Any, exponent: Any, run: Callable[[Any, Any], Any] = operator.pow) -> Any:
    """Return x**exponent."""
    if type(x) is np.ndarray and is_product(x.dtype, x.shape, exponent):
        return products(x, exponent)
    if type(x) is np.ndarray and is_inverse_root(x.dtype, x.shape, exponent):
        return inverse_root(x)
    return run(x, exponent)


def ufunc(x: Any, exponent: Any, **options: Any) -> Any:
    """Return np.power(x, exponent)."""
    return np.power(x, exponent, **options) if options else power(x, exponent, np.power)


BODIES[np.power] = ufunc  # for the arrays of Tensors
