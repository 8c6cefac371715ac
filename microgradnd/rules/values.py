"""Numbers as the rules of every family treat them: conjugates, dtypes, quotients at a
kink, values not known yet.

Owns: what a rule needs to know of a value, the quotient that is 0 by convention, and
NumPy's value in place of a spelling's.
Must not own: any rule of a NumPy function.
Read next: `elementwise.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from microgradnd.primitives import astype
from microgradnd.registry import JVPS, VJPS, Function, composite, elementwise, plain, primitive


def is_recorded(x: Any) -> bool:
    """Return whether what is computed from a value is recorded, so that it may be
    differentiated or compiled.

    It holds for Tensors, and for every value of a function that is being compiled,
    whose numbers aren't known.
    """
    return hasattr(x, "__primitive__")


def surely(condition: Any) -> bool:
    """Return whether a condition holds; no, where it is known only when a compiled
    program runs, or Dask computes.
    """
    return isinstance(condition, bool | np.bool_ | np.ndarray) and bool(condition)


def in_dtype(x: Any, dtype: Any) -> Any:
    """Return x in a dtype."""
    return x if x.dtype == dtype else astype(x, np.dtype(dtype))


def conj(x: Any) -> Any:
    """Return the complex conjugate; real numbers as they are, without a copy."""
    return x if hasattr(x, "dtype") and x.dtype.kind != "c" else np.conj(x)


def real(x: Any) -> Any:
    """Return the real part; real numbers as they are."""
    return np.real(x) if x.dtype.kind == "c" else x


def total(x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """Return np.sum(x, axis), of half-precision numbers in single precision: they
    overflow at 65,504 ones.
    """
    if x.dtype == np.float16:
        return np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float32)
    return np.sum(x, axis=axis, keepdims=keepdims)


@primitive
def ratio(x: Any, y: Any, undefined: Any) -> Any:
    """Return x / y, and 0 where the quotient is `undefined`: the value that a
    derivative takes at a kink.

    How it changes there isn't known, so its own derivative is NaN: a second derivative
    at a kink is never a number that only the convention made.
    """
    return np.where(undefined, 0, x / np.where(undefined, 1, y))


elementwise(
    ratio,
    lambda g, out, x, y, undefined: g / np.where(undefined, np.nan, y),
    lambda g, out, x, y, undefined: -g * out / np.where(undefined, np.nan, y),
    None,
)


def of_floats(function: Function) -> Callable[[Function], Function]:
    """Enter a spelling, as `composite` does, for floating-point and complex numbers
    only.

    NumPy's own function takes Tensors of integers and booleans, which have no
    derivative and whose sums and differences wrap around.
    """
    numpys = primitive(function)
    VJPS[numpys] = JVPS[numpys] = ()

    def enter(spelling: Function) -> Function:
        @functools.wraps(spelling)
        def call(*args: Any, **kwargs: Any) -> Any:
            kinds = {x.dtype.kind for x in (*args, *kwargs.values()) if hasattr(x, "__primitive__")}
            return (numpys if kinds and not kinds & {"f", "c"} else spelling)(*args, **kwargs)

        composite(function)(call)
        return spelling

    return enter


def on_arrays(function: Function) -> Function:
    """Return a NumPy function as one that is called on the arrays of Tensors and gives
    plain results.
    """
    own = primitive(function)
    plain([own])
    return own


@primitive
def instead(value: Any, x: Any) -> Any:
    """Return `value`, NumPy's own, in place of x, which is the same but for rounding,
    and has the derivative.
    """
    return np.positive(value)


elementwise(instead, None, lambda g, out, value, x: g)
