"""Derivatives of the functions that only move elements about.

Owns: reshaping, permuting, repeating and joining. Each is linear, and its VJP moves the elements back.
Must not own: indexing (`indexing.py`).
Read next: `indexing.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.primitives import expand
from microgradnd.registry import composite, linear, variadic


def fixed(order: Any) -> Any:
    """Return an order of elements that doesn't depend on how the array happens to lie in memory, or raise."""
    if order not in ("C", "F"):
        raise NotImplementedError(f"order={order!r} depends on the memory layout; use order='C' or 'F'")
    return order


def inverse(axes: Any, ndim: int) -> Any:
    """Return the permutation of axes that undoes another."""
    return None if axes is None else tuple(np.argsort([a % ndim for a in axes]))


linear(np.reshape, lambda g, out, x, shape=None, order="C", **_: np.reshape(g, x.shape, order=fixed(order)))
linear(np.ravel, lambda g, out, x, order="C": np.reshape(g, x.shape, order=fixed(order)))
linear(np.squeeze, lambda g, out, x, axis=None: np.reshape(g, x.shape))
linear(np.expand_dims, lambda g, out, x, axis: np.reshape(g, x.shape))
linear(np.transpose, lambda g, out, x, axes=None: np.transpose(g, inverse(axes, x.ndim)))
linear(np.matrix_transpose, lambda g, out, x: np.matrix_transpose(g))
linear(np.swapaxes, lambda g, out, x, a, b: np.swapaxes(g, a, b))
linear(np.moveaxis, lambda g, out, x, source, destination: np.moveaxis(g, destination, source))
linear(np.broadcast_to, lambda g, out, x, *_, **__: g)  # the tape sums the copies
linear(expand, lambda g, out, x, shape, axis=None, keepdims=False: np.sum(g, axis=axis, keepdims=keepdims))


def concatenated_part(position: int, g: Any, out: Any, axis: int, *arrays: Any) -> Any:
    """Return the slice of the cotangent that belongs to one of the arrays."""
    start = sum(a.shape[axis] for a in arrays[: position - 1])
    stop = start + arrays[position - 1].shape[axis]
    return g[(slice(None),) * (axis % g.ndim) + (slice(start, stop),)]


def concatenated_tangent(position: int, t: Any, out: Any, axis: int, *arrays: Any) -> Any:
    """Return the tangent of the joined array that the tangent of one part causes: zeros everywhere else."""
    parts = [t if i == position - 1 else np.zeros(a.shape, t.dtype) for i, a in enumerate(arrays)]
    return np.concatenate(parts, axis=axis)


variadic(primitives.concatenate, concatenated_part, concatenated_tangent)


@composite(np.concatenate)
def concatenate(arrays: Any, axis: int | None = 0) -> Any:
    """Spell np.concatenate with its arrays as arguments of their own, where the tape sees them."""
    if axis is None:
        return primitives.concatenate(0, *(np.ravel(a) for a in arrays))
    return primitives.concatenate(axis, *arrays)


@composite(np.stack)
def stack(arrays: Any, axis: int = 0) -> Any:
    """Spell np.stack: concatenate along a new axis."""
    return np.concatenate([np.expand_dims(a, axis) for a in arrays], axis=axis)
