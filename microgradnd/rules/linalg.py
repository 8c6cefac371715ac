"""Derivatives of products of matrices and vectors, and of linear algebra.

Owns: `np.matmul`, `np.dot` and `np.linalg`.
Must not own: elementwise products (`elementwise.py`).
Read next: `../tape.py`, which uses all of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.registry import linear


def matmul_left(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of x in x @ y: g @ y', a vector being a matrix with one row."""
    if x.ndim == y.ndim == 2:
        return np.dot(g, y.T)  # np.dot is several times faster than @ where one dimension is 1
    if y.ndim == 1:
        return np.expand_dims(g, -1) * y
    if x.ndim == 1:
        return (y @ np.expand_dims(g, -1))[..., 0]
    return g @ y.mT


def matmul_right(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of y in x @ y: x' @ g, a vector being a matrix with one column."""
    if x.ndim == y.ndim == 2:
        return np.dot(x.T, g)
    if x.ndim == 1:
        return np.expand_dims(x, -1) * np.expand_dims(g, -2) if y.ndim > 1 else x * g
    if y.ndim == 1:
        return (x.mT @ np.expand_dims(g, -1))[..., 0]
    return x.mT @ g


linear(np.matmul, matmul_left, matmul_right)


def summed_axes(axes: Any, x: Any, y: Any) -> tuple[list[int], list[int]]:
    """Return the pairs of axes that np.tensordot sums over, counted from the front."""
    if isinstance(axes, int):
        return list(range(x.ndim - axes, x.ndim)), list(range(axes))
    of_x, of_y = ((a,) if isinstance(a, int) else a for a in axes)
    return [a % x.ndim for a in of_x], [a % y.ndim for a in of_y]


def tensordot_left(g: Any, out: Any, x: Any, y: Any, axes: Any = 2) -> Any:
    """Return the cotangent of x: contract g with y over the axes that came from y."""
    of_x, of_y = summed_axes(axes, x, y)
    free_x, free_y = ([a for a in range(t.ndim) if a not in of] for t, of in ((x, of_x), (y, of_y)))
    parts = np.tensordot(g, y, (list(range(len(free_x), g.ndim)), free_y))
    return np.transpose(parts, np.argsort(free_x + [of_x[of_y.index(a)] for a in sorted(of_y)]))


def tensordot_right(g: Any, out: Any, x: Any, y: Any, axes: Any = 2) -> Any:
    """Return the cotangent of y: contract x with g over the axes that came from x."""
    of_x, of_y = summed_axes(axes, x, y)
    free_x, free_y = ([a for a in range(t.ndim) if a not in of] for t, of in ((x, of_x), (y, of_y)))
    parts = np.tensordot(x, g, (free_x, list(range(len(free_x)))))
    return np.transpose(parts, np.argsort([of_y[of_x.index(a)] for a in sorted(of_x)] + free_y))


linear(np.tensordot, tensordot_left, tensordot_right)


def dot_axes(x: Any, y: Any) -> tuple[int, int]:
    """Return the axes that np.dot sums over: the last of x and the second last of y."""
    return x.ndim - 1, max(y.ndim - 2, 0)


def dot_left(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of x in np.dot(x, y); a 0-d argument multiplies."""
    if x.ndim == 0 or y.ndim == 0:
        return np.sum(g * y) if x.ndim == 0 else g * y
    return np.dot(g, y.T) if x.ndim == y.ndim == 2 else tensordot_left(g, out, x, y, dot_axes(x, y))


def dot_right(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of y in np.dot(x, y)."""
    if x.ndim == 0 or y.ndim == 0:
        return np.sum(g * x) if y.ndim == 0 else g * x
    return np.dot(x.T, g) if x.ndim == y.ndim == 2 else tensordot_right(g, out, x, y, dot_axes(x, y))


linear(np.dot, dot_left, dot_right)
