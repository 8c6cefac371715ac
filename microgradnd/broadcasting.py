"""Giving cotangents and tangents the shapes and dtypes of their values.

Owns: undoing broadcasting, which happens nowhere else, and casts.
Must not own: the walks (`tape.py`).
Read next: `tape.py`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

add, ndarray = np.add.reduce, np.ndarray


def fit(g: Any, like: Any) -> Any:
    """Give a cotangent the shape and dtype of its argument: this undoes broadcasting.

    An argument that was broadcast was used several times, so its cotangent is the sum
    over the copies. This happens nowhere else.
    """
    if g.shape != like.shape:
        check_numbers(g)
        wide = g.astype(np.float32) if g.dtype.char == "e" else g  # float16 sums stop growing at 2048
        total = add if type(wide) is ndarray else np.sum  # slower, but Dask supports it
        g = total(wide, axis=copied_axes(g.shape, like.shape), keepdims=True)
        if g.shape != like.shape:
            g = g.reshape(like.shape)
    return g if g.dtype is like.dtype else cast(g, like.dtype)


@functools.lru_cache(maxsize=4096)
def copied_axes(shape: tuple[int, ...], original: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes along which broadcasting `original` to `shape` made copies."""
    extra = len(shape) - len(original)
    if extra < 0 or any(n not in (1, m) for m, n in zip(shape[extra:], original, strict=True)):
        raise ValueError(f"the rule gave a cotangent of shape {shape} for an argument of shape {original}")
    return (*range(extra), *(i + extra for i, n in enumerate(original) if n == 1 != shape[i + extra]))


def fit_tangent(t: Any, like: Any) -> Any:
    """Give a tangent the shape and dtype of its result; several stay as they are."""
    return t if like.shape is None else cast(spread(t, like.shape), like.dtype)


def spread(t: Any, shape: tuple[int, ...]) -> Any:
    """Give a tangent the shape of the result, broadcasting it as its argument was."""
    if t.shape == shape:
        return t
    if len(t.shape) > len(shape) or any(n not in (1, m) for n, m in zip(t.shape[::-1], shape[::-1], strict=False)):
        raise ValueError(f"the rule gave a tangent of shape {t.shape} for a result of shape {shape}")
    return np.broadcast_to(t, shape)


def cast_given(g: Any, dtype: np.dtype[Any], what: str) -> Any:
    """Return a user's cotangent or tangent in the dtype of its value, or raise."""
    if g.dtype.kind == "c" != dtype.kind:
        raise TypeError(f"{what} of a real value, of dtype {dtype}, must be real, got {g.dtype}; pass its real part")
    return cast(g, dtype)


def check_numbers(g: Any) -> None:
    """Raise if a rule's result isn't an array of numbers."""
    if g.dtype.kind not in "fciub":
        raise ValueError(f"the rule gave a derivative of dtype {g.dtype}, which doesn't hold numbers")


def cast(g: Any, dtype: np.dtype[Any]) -> Any:
    """Give a cotangent or tangent a dtype; a real dtype drops the imaginary part."""
    if g.dtype == dtype:
        return g
    check_numbers(g)
    return (np.real(g) if g.dtype.kind == "c" != dtype.kind else g).astype(dtype)
