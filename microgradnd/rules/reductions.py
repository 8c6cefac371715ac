"""Derivatives of the functions that reduce along axes.

Owns: sums, means, products, extremes, and the cumulative forms.
Must not own: linear algebra (`linalg.py`).
Read next: `shape.py`.

A cotangent of the result is spread over the elements that were reduced by `primitives.expand`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.primitives import expand
from microgradnd.registry import composite, defjvp, defvjp, linear, plain


def count(shape: tuple[int, ...], axis: Any) -> int:
    """Return how many elements a reduction over `axis` puts into one."""
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return int(np.prod([shape[a] for a in axes], dtype=int)) if shape else 1


linear(np.sum, lambda g, out, x, axis=None, dtype=None, *, keepdims=False: expand(g, x.shape, axis, keepdims))
linear(
    np.mean,
    lambda g, out, x, axis=None, dtype=None, *, keepdims=False: expand(
        g / count(x.shape, axis), x.shape, axis, keepdims
    ),
)


def extreme(g: Any, out: Any, x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Share the cotangent equally among the elements that are equal to the extreme one."""
    chosen = x == expand(out, x.shape, axis, keepdims)
    ties = np.sum(chosen, axis=axis, keepdims=keepdims)
    return expand(g / ties, x.shape, axis, keepdims) * chosen


def extreme_tangent(t: Any, out: Any, x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Return the mean tangent of the elements that are equal to the extreme one."""
    chosen = x == expand(out, x.shape, axis, keepdims)
    return np.sum(t * chosen, axis=axis, keepdims=keepdims) / np.sum(chosen, axis=axis, keepdims=keepdims)


for function in (np.max, np.min):
    defvjp(function, extreme)
    defjvp(function, extreme_tangent)


@composite(np.var)
def var(x: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    """Spell np.var: the mean squared deviation."""
    deviation = x - np.mean(x, axis=axis, keepdims=True)
    return np.sum(deviation * deviation, axis=axis, keepdims=keepdims) / (count(x.shape, axis) - ddof)


@composite(np.std)
def std(x: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    """Spell np.std: the root of the variance."""
    return np.sqrt(np.var(x, axis=axis, ddof=ddof, keepdims=keepdims))


plain((np.argmax, np.argmin, np.argsort, np.any, np.all, np.count_nonzero, np.nonzero))
