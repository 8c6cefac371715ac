"""Numbers in the rules of every family: conjugates, dtypes, quotients at a kink.

Owns: what a rule must know of a value, the quotient that is 0 by convention, values
that aren't known yet, and NumPy's value in place of a formula's.
Must not own: any rule of a NumPy function.
Read next: `elementwise.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from microgradnd.primitives import astype, getitem
from microgradnd.registry import JVPS, VJPS, Function, composite, elementwise, plain, primitive


def is_recorded(x: Any) -> bool:
    """Return whether computations with a value are recorded.

    They are for Tensors, and for every value of a function that is being compiled,
    whose numbers aren't known.
    """
    return hasattr(x, "__primitive__")


def holds(condition: Any) -> bool:
    """Return whether a condition is known to hold now.

    It isn't if its value is known only when a compiled program runs, or Dask computes.
    """
    return isinstance(condition, bool | np.bool_ | np.ndarray) and bool(condition)


def picked(x: Any, index: Any) -> Any:
    """Return `x[index]`, even of a plain array at an index that is recorded."""
    return x[index] if is_recorded(x) else getitem(x, as_one(index))


def as_one(index: Any) -> Any:
    """Return an index, of which some parts may be recorded, as a single argument."""
    recorded = [part for part in index if hasattr(part, "_one_argument")] if type(index) is tuple else []
    return recorded[0]._one_argument(index) if recorded else index


def parts_of(index: Any) -> Any:
    """Undo `as_one`."""
    return index._node.parts if type(getattr(index, "_array", None)) is tuple else index


def in_dtype(x: Any, dtype: Any) -> Any:
    """Return x in a dtype."""
    return x if x.dtype == dtype else astype(x, np.dtype(dtype))


def number_or_array(x: Any) -> Any:
    """Return a number for an array without axes, as NumPy's functions do."""
    return x if np.ndim(x) else x[()]


def conj(x: Any) -> Any:
    """Return the complex conjugate; real numbers unchanged, without a copy."""
    return x if hasattr(x, "dtype") and x.dtype.kind != "c" else np.conj(x)


def real(x: Any) -> Any:
    """Return the real part; real numbers unchanged."""
    return np.real(x) if x.dtype.kind == "c" else x


def total(x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """Return np.sum(x, axis); half precision is summed in single precision.

    Otherwise 65,504 ones overflow.
    """
    if x.dtype == np.float16:
        return np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float32)
    return np.sum(x, axis=axis, keepdims=keepdims)


@primitive
def ratio(x: Any, y: Any, undefined: Any) -> Any:
    """Return x / y, and 0 where it is `undefined`: a derivative's value at a kink.

    Its change there isn't known, so its own derivative is NaN. A second derivative at a
    kink is never a number that only the convention made.
    """
    return np.where(undefined, 0, x / np.where(undefined, 1, y))


elementwise(
    ratio,
    lambda g, out, x, y, undefined: g / np.where(undefined, np.nan, y),
    lambda g, out, x, y, undefined: -g * out / np.where(undefined, np.nan, y),
    None,
)


def of_floats(function: Function) -> Callable[[Function], Function]:
    """Define a function, as `composite` does, for floating-point and complex numbers.

    NumPy's own function takes Tensors of integers and booleans, which have no
    derivative, and whose sums and differences wrap around.
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
    """Return a NumPy function that is called on the arrays, with plain results."""
    own = primitive(function)
    plain([own])
    return own


@primitive
def instead(value: Any, x: Any) -> Any:
    """Return NumPy's `value` for x, which differs by rounding and has a derivative."""
    return np.positive(value)


elementwise(instead, None, lambda g, out, value, x: g)
