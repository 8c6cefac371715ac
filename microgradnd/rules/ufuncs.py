"""Derivatives of the methods of ufuncs (`np.add.reduce`, `np.maximum.accumulate`) and of calls with `where=`.

Owns: the methods that are spelled in other functions, and running maxima and minima.
Must not own: the ufuncs themselves (`elementwise.py`).
Read next: `exclusions.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.primitives import masked, scatter
from microgradnd.registry import VJPS, composite, defjvp, defvjp, variadic


def with_default_axis(function: Any) -> Any:
    """Return a reduction as the method of a ufunc does it: over the first axis, if none is named."""

    def reduce(x: Any, axis: Any = 0, dtype: Any = None, out: Any = None, **options: Any) -> Any:
        if dtype is not None:
            options["dtype"] = dtype
        return function(x, axis=axis, **options)

    return reduce


for ufunc, reduction in ((np.add, np.sum), (np.multiply, np.prod), (np.maximum, np.max), (np.minimum, np.min)):
    composite(ufunc.reduce)(with_default_axis(reduction))
for ufunc, accumulation in ((np.add, np.cumsum), (np.multiply, np.cumprod)):
    composite(ufunc.accumulate)(with_default_axis(accumulation))


@composite(np.logaddexp.reduce)
def log_sum_exp(x: Any, axis: Any = 0, *, keepdims: bool = False) -> Any:
    """Spell np.logaddexp.reduce: m + log(sum(exp(x - m))) with the maximum m, so that nothing overflows."""
    highest = np.max(x, axis=axis, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0)
    total = np.log(np.sum(np.exp(x - highest), axis=axis, keepdims=True)) + highest
    return total if keepdims else np.squeeze(total, axis=axis)


def winners(out: Any, x: Any, axis: int) -> tuple[Any, ...]:
    """Return the index of the element that each running extreme comes from: the first one to reach it."""
    axis %= x.ndim
    places = np.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    rest, before = ((slice(None),) * axis + (s,) for s in (slice(1, None), slice(None, -1)))
    is_record = np.concatenate([np.ones(first(x.shape, axis), bool), x[rest] != out[before]], axis) & (x == out)
    index = list(np.ogrid[tuple(slice(n) for n in x.shape)])
    index[axis] = np.maximum.accumulate(np.where(is_record, places, 0), axis=axis)
    return tuple(index)


def first(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Return the shape of the first slice along an axis."""
    return (*shape[:axis], min(1, shape[axis]), *shape[axis + 1 :])


for function in (np.maximum.accumulate, np.minimum.accumulate):
    defvjp(function, lambda g, out, x, axis=0: scatter(g, winners(out, x, axis), x.shape))
    defjvp(function, lambda t, out, x, axis=0: t[winners(out, x, axis)])


def masked_part(position: int, g: Any, out: Any, ufunc: Any, mask: Any, *inputs: Any) -> Any:
    """Return what the ufunc's own rule gives where the mask lets it through, 0 elsewhere."""
    safe, *safe_inputs = (np.where(mask, x, 1) for x in (out, *inputs))  # what is masked out may be a pole of the rule
    return np.where(mask, VJPS[ufunc][position - 2](g, safe, *safe_inputs), 0)


variadic(masked, masked_part, masked_part)
