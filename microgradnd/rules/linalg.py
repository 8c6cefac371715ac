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


def dot_left(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of x in np.dot(x, y), which sums over the last axis of x and the second last of y."""
    if x.ndim == 0 or y.ndim == 0:
        return np.sum(g * y) if x.ndim == 0 else g * y
    if x.ndim == y.ndim == 2:
        return np.dot(g, y.T)
    summed = range(g.ndim - max(y.ndim - 1, 0), g.ndim)
    others = [a for a in range(y.ndim) if a != max(y.ndim - 2, 0)]
    return np.tensordot(g, y, (tuple(summed), tuple(others)))


def dot_right(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of y in np.dot(x, y)."""
    if x.ndim == 0 or y.ndim == 0:
        return np.sum(g * x) if y.ndim == 0 else g * x
    if x.ndim == y.ndim == 2:
        return np.dot(x.T, g)
    rows = tuple(range(x.ndim - 1))
    return np.moveaxis(np.tensordot(x, g, (rows, rows)), 0, max(y.ndim - 2, 0))


linear(np.dot, dot_left, dot_right)
