"""Derivatives of the functions that choose among arrays, element by element.

Owns: `np.where`, the functions written with it, and `np.clip`.
Must not own: maximum and minimum (`elementwise.py`), indexing (`indexing.py`).
Read next: `reductions.py`.

Elements that were not chosen get gradient 0; a condition or an index has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microgradnd.primitives import astype, scatter
from microgradnd.registry import LOOKING, composite, elementwise, primitive
from microgradnd.rules.values import number_or_array

LARGE = 2**12  # elements from which a product takes a quarter of the time of np.where
WORDS = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}  # as large as a float


def kept(g: Any, mask: Any, wanted: bool) -> Any:
    """Return g where a mask is as wanted, and 0 elsewhere.

    Large arrays are multiplied as integers, since 0 times infinity or NaN isn't 0.
    """
    plain = type(g) is type(mask) is np.ndarray and mask.dtype == bool
    if plain and g.size >= LARGE and g.dtype in WORDS:
        return np.multiply(g.view(WORDS[g.dtype]), mask if wanted else ~mask).view(g.dtype)
    return np.where(mask, g, 0) if wanted else np.where(mask, 0, g)


elementwise(
    np.where,
    lambda g, out, c, x, y: 0 * g,
    lambda g, out, c, x, y: kept(g, c, True),
    lambda g, out, c, x, y: kept(g, c, False),
)

# Clipping. At a bound the gradient goes to the value, as in PyTorch; if the bounds
# cross, the upper one wins.

clip = primitive(np.clip)


def between(x: Any, low: Any, high: Any) -> Any:
    """Return where low <= x <= high; a bound of None is no bound."""
    above = True if low is None else np.greater_equal(x, low)
    return above if high is None else above & np.less_equal(x, high)


def unless_nan(out: Any, g: Any) -> Any:
    """Return a gradient; NaN where the result is NaN, because nothing was chosen."""
    return np.where(np.isnan(out), np.nan, g)


elementwise(
    clip,
    lambda g, out, x, low, high: unless_nan(out, g * between(x, low, high)),
    lambda g, out, x, low, high: unless_nan(out, g * (np.less(x, low) & between(low, None, high))),
    lambda g, out, x, low, high: unless_nan(out, g * (np.greater(x, high) | np.logical_not(between(high, low, None)))),
)


@composite(np.clip)
def clip_between(
    a: Any, a_min: Any = None, a_max: Any = None, out: None = None, *, min: Any = None, max: Any = None
) -> Any:
    """Compute np.clip with its bounds by position, under whichever names they came."""
    if (min is not None or max is not None) and (a_min is not None or a_max is not None):
        raise TypeError("clip: bounds must be min= and max=, or a_min and a_max, not both; pass each bound once")
    return clip(a, a_min if min is None else min, a_max if max is None else max)


# Choices, written with np.where


@composite(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """Compute np.select: the first condition that holds decides."""
    if len(condlist) != len(choicelist):
        raise ValueError(
            f"select: each condition needs one choice, got {len(condlist)} conditions and {len(choicelist)} choices"
        )
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return result


@composite(np.choose)
def choose(a: Any, choices: Sequence[Any], out: None = None, mode: str = "raise") -> Any:
    """Compute np.choose: each index chooses an array; indices have no gradient."""
    count = len(choices)
    if mode == "wrap":
        a = np.remainder(a, count)
    elif mode == "clip":
        a = np.clip(a, 0, count - 1)
    elif np.any(np.less(a, 0)) or np.any(np.greater_equal(a, count)):
        raise ValueError(f"choose: each index must be one of its {count} choices, from 0; see mode='wrap' or 'clip'")
    result = choices[-1]
    for i in reversed(range(count - 1 or 1)):
        result = np.where(np.equal(a, i), choices[i], result)
    return number_or_array(result)


@composite(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Compute np.piecewise: each function sees only the elements of its condition."""
    x = x if hasattr(x, "shape") else np.asarray(x)
    single = np.ndim(condlist) == 0 or (x.ndim > 0 and not isinstance(condlist[0], list | np.ndarray))
    conditions = [np.asarray(c, bool) for c in ([condlist] if single else condlist)]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(conditions, axis=0))
    if len(funclist) != len(conditions):
        raise ValueError(
            f"piecewise: each condition needs one function, and one more is allowed for the rest, "
            f"got {len(conditions)} conditions and {len(funclist)} functions"
        )
    result = np.zeros(x.shape, x.dtype)
    for condition, function in zip(conditions, funclist, strict=True):
        value: Any = function
        if callable(function):
            if not np.any(condition):
                continue
            where = np.nonzero(np.broadcast_to(condition, x.shape)) if x.ndim else ()
            found = function(x[where], *args, **kw)
            value = scatter(np.broadcast_to(found, np.shape(x[where])), where, x.shape)
        result = np.where(condition, value, result)
    return result if result.dtype == x.dtype else astype(result, x.dtype)


LOOKING.update({np.choose, np.piecewise})
