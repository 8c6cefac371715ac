"""Cotangents and tangents in the shapes and dtypes that they belong to.

Owns: undoing broadcasting, here and nowhere else, and casts.
Must not own: the walks (`tape.py`).
Read next: `tape.py`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

add, ndarray = np.add.reduce, np.ndarray


def fit(g: Any, like: Any) -> Any:
    """Give a cotangent the shape and dtype of its argument: this undoes broadcasting,
    here and nowhere else.

    An argument that was broadcast was used several times, so its cotangent is the sum
    over the copies.
    """
    if g.shape != like.shape:
        wide = g.astype(np.float32) if g.dtype.char == "e" else g  # whose sums stop growing at 2048
        total = add if type(wide) is ndarray else np.sum  # which Dask knows, and takes longer
        g = total(wide, axis=copied_axes(g.shape, like.shape), keepdims=True)
        if g.shape != like.shape:
            g = g.reshape(like.shape)
    return g if g.dtype is like.dtype else cast(g, like.dtype)


@functools.lru_cache(maxsize=4096)
def copied_axes(shape: tuple[int, ...], original: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes along which broadcasting an array of shape `original` to `shape`
    copied it.
    """
    extra = len(shape) - len(original)
    if extra < 0 or any(n not in (1, m) for m, n in zip(shape[extra:], original, strict=True)):
        raise ValueError(f"the rule gave a cotangent of shape {shape} for an argument of shape {original}")
    return (*range(extra), *(i + extra for i, n in enumerate(original) if n == 1 != shape[i + extra]))


def spread(t: Any, shape: tuple[int, ...]) -> Any:
    """Give a tangent the shape of the result: an argument that was broadcast has its
    tangent broadcast too.
    """
    if t.shape == shape:
        return t
    if len(t.shape) > len(shape) or any(n not in (1, m) for n, m in zip(t.shape[::-1], shape[::-1], strict=False)):
        raise ValueError(f"the rule gave a tangent of shape {t.shape} for a result of shape {shape}")
    return np.broadcast_to(t, shape)


def cast(g: Any, dtype: np.dtype[Any]) -> Any:
    """Give a cotangent or tangent a dtype; in a real one an imaginary part has nowhere
    to go.
    """
    if g.dtype == dtype:
        return g
    return (np.real(g) if g.dtype.kind == "c" != dtype.kind else g).astype(dtype)
