"""Axes as NumPy's functions take them: one integer, several, or None for all.

Owns: reading `axis=`, counting and indexing along one axis.
Must not own: any rule.
Read next: `values.py`.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from microgradnd.registry import plain, primitive

WHOLE = slice(None)


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes that `axis=` names, counted from the front."""
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, tuple | list):
        return tuple(normalize_axis_index(operator.index(a), ndim) for a in axis)
    return (normalize_axis_index(operator.index(axis), ndim),)


def count(shape: tuple[int, ...], axis: Any) -> int:
    """Return the number of elements that a reduction over `axis` combines into one."""
    return math.prod([shape[a] for a in axes_of(axis, len(shape))]) if shape else 1


@primitive
def numbered(x: Any, axis: int = 0) -> Any:
    """Return 0, 1, ... along an axis of `x`, in a shape that broadcasts with it."""
    return np.arange(x.shape[axis]).reshape((-1,) + (1,) * (x.ndim - 1 - axis))


plain([numbered])


def at_axis(index: Any, axis: int) -> tuple[Any, ...]:
    """Return the index for `index` along one axis, and everything before it."""
    return (WHOLE,) * axis + (index,)
