"""Derivatives of ufunc methods (`np.add.reduce`), and of calls with `where=`.

Owns: the methods written with other functions, and running maxima and minima
(`np.maximum.accumulate`).
Must not own: the ufuncs themselves (`elementwise.py`).
Read next: `exclusions.py`.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from microgradnd.primitives import array, expand, masked, scatter
from microgradnd.registry import JVPS, VJPS, composite, defjvp, defvjp, primitive, variadic
from microgradnd.rules.reductions import mask_of
from microgradnd.rules.values import in_dtype


def with_default_axis(function: Any) -> Any:
    """Return a reduction as a ufunc's method: over the first axis by default."""

    def reduce(x: Any, axis: Any = 0, dtype: Any = None, out: Any = None, **options: Any) -> Any:
        if dtype is not None and function in (np.max, np.min):
            x = in_dtype(array(x), dtype)
        elif dtype is not None:
            options["dtype"] = dtype
        if "where" in options and not hasattr(x, "__primitive__"):  # NumPy's own function would call us again
            options["where"] = np.asarray(mask_of(options["where"]))
        return function(x, axis=axis, **options)

    return reduce


for ufunc, reduction in ((np.add, np.sum), (np.multiply, np.prod), (np.maximum, np.max), (np.minimum, np.min)):
    composite(ufunc.reduce)(with_default_axis(reduction))
for ufunc, accumulation in ((np.add, np.cumsum), (np.multiply, np.cumprod)):
    composite(ufunc.accumulate)(with_default_axis(accumulation))


@primitive
def shares(x: Any, axis: Any) -> Any:
    """Return each exponential's share of their sum: 0 for -inf, all for inf."""
    if not x.size:
        return x  # NumPy has no maximum of nothing
    highest = np.max(x, axis=axis, keepdims=True)
    with np.errstate(invalid="ignore"):
        e = np.exp(np.where(x == highest, 0, x - highest))
    return np.where(x == -np.inf, 0, e) / np.sum(e, axis=axis, keepdims=True)


def shares_moved(t: Any, out: Any, x: Any, axis: Any) -> Any:
    """Return the change of the shares, like a softmax's; it is its own transpose."""
    return out * (t - np.sum(out * t, axis=axis, keepdims=True))


defvjp(shares, shares_moved)
defjvp(shares, shares_moved)
log_sum_exp: Any = primitive(np.logaddexp.reduce)


def log_sum_exp_cotangent(g: Any, out: Any, x: Any, axis: Any = 0, keepdims: bool = False) -> Any:
    """Return the cotangent times the share of each element."""
    return expand(g, x.shape, axis, keepdims) * shares(x, axis)


def log_sum_exp_tangent(t: Any, out: Any, x: Any, axis: Any = 0, keepdims: bool = False) -> Any:
    """Return the mean of the tangents, weighted by the shares of the elements."""
    return np.sum(t * shares(x, axis), axis=axis, keepdims=keepdims)


defvjp(log_sum_exp, log_sum_exp_cotangent)
defjvp(log_sum_exp, log_sum_exp_tangent)


@composite(np.logaddexp.reduce)
def reduce_logaddexp(x: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    """Compute np.logaddexp.reduce: log(sum(exp(x))) without overflow."""
    result = log_sum_exp(x, axis=axis, keepdims=keepdims)
    return result if dtype is None else in_dtype(result, dtype)


def winners(out: Any, x: Any, axis: int) -> Any:
    """Return the flat position, by rows, of each running extreme's first element."""
    axis %= x.ndim
    places = np.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    rest, before = ((slice(None),) * axis + (s,) for s in (slice(1, None), slice(None, -1)))
    is_record = np.concatenate([np.ones(first(x.shape, axis), bool), x[rest] != out[before]], axis) & (x == out)
    step = math.prod(x.shape[axis + 1 :])
    rows = np.arange(x.size).reshape(x.shape) - places * step
    return rows + np.maximum.accumulate(np.where(is_record, places, 0), axis=axis) * step


def first(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Return the shape of the first slice along an axis."""
    return (*shape[:axis], min(1, shape[axis]), *shape[axis + 1 :])


def extreme_cotangent(g: Any, out: Any, x: Any, axis: int = 0) -> Any:
    """Return the cotangents at the elements that the extremes came from, added up."""
    return np.reshape(scatter(np.ravel(g), np.ravel(winners(out, x, axis)), (x.size,)), x.shape)


for function in (np.maximum.accumulate, np.minimum.accumulate):
    defvjp(function, extreme_cotangent)
    defjvp(function, lambda t, out, x, axis=0: np.take(t, winners(out, x, axis)))


def masked_part(table: Any, position: int, g: Any, out: Any, ufunc: Any, mask: Any, *inputs: Any) -> Any:
    """Return the ufunc's own rule where the mask is true, 0 elsewhere."""
    safe, *safe_inputs = (np.where(mask, x, 1) for x in (out, *inputs))  # masked elements may be poles of the rule
    return np.where(mask, table[ufunc][position - 2](g, safe, *safe_inputs), 0)


variadic(masked, functools.partial(masked_part, VJPS), functools.partial(masked_part, JVPS))
