"""Derivatives of the functions that only move elements.

Owns: reshaping, permuting, repeating and taking apart. Each is linear, and its VJP
moves the elements back.
Must not own: joining arrays (`joining.py`), indexing (`indexing.py`).
Read next: `joining.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.stride_tricks import sliding_window_view

from microgradnd.primitives import expand, scatter
from microgradnd.registry import BODIES, LOOKING, Rule, composite, constant, defjvp, defvjp, linear
from microgradnd.rules.axes import WHOLE, at_axis, axes_of
from microgradnd.rules.matrices import mT
from microgradnd.rules.values import total


def reshaped(a: Any, shape: Any, order: Any = "C", **copy: Any) -> Any:
    """Return np.reshape(a, shape), which also takes a number for Dask's arrays.

    Their own method doesn't.
    """
    return a.reshape(shape) if order == "C" and not copy else np.reshape(a, shape, order, **copy)


def widened(a: Any, axis: Any) -> Any:
    """Return np.expand_dims(a, axis): for a first axis, in a quarter of its time."""
    return a[None] if type(axis) is int and axis == 0 else np.expand_dims(a, axis)


def narrowed(g: Any, x: Any) -> Any:
    """Return np.reshape(g, x.shape); a number if x is one, which computes faster."""
    return g.reshape(())[()] if type(g) is np.ndarray and not x.shape else np.reshape(g, x.shape)


def copied(a: Any, *args: Any, **kwargs: Any) -> Any:
    """Return np.copy(a, ...), which would compute a Dask array."""
    return np.copy(a, *args, **kwargs) if isinstance(a, np.ndarray | np.generic) else a.copy()


def fixed(order: Any) -> Any:
    """Return the keyword for an element order; raise if it depends on memory layout."""
    if order in ("K", "A"):
        raise NotImplementedError(f"order={order!r} depends on the memory layout; use order='C' or 'F'")
    if order not in ("C", "F"):
        raise TypeError(
            f"order must be 'C', by rows, or 'F', by columns, got {order!r}; reshape() merges only some axes"
        )
    return {} if order == "C" else {"order": order}  # every array has C's order, but not all take the keyword


# The same elements in another shape

linear(np.squeeze, lambda g, out, x, axis=None: np.reshape(g, x.shape))
linear(np.expand_dims, lambda g, out, x, axis: narrowed(g, x))
defvjp(np.reshape, lambda g, out, x, shape, order="C", **_: np.reshape(g, x.shape, **fixed(order)))
defjvp(np.reshape, lambda t, out, x, shape, order="C", **_: np.reshape(t, out.shape, **fixed(order)))


@composite(np.ravel)
def ravel(a: Any, order: Any = "C") -> Any:
    """Compute np.ravel: one axis, of any length."""
    return np.reshape(a, -1, **fixed(order))


def at_least(ndim: int, place: Callable[[int], tuple[int, ...]]) -> Callable[..., Any]:
    """Return a definition of np.atleast_1d or a relative.

    `place` says where an array of that many axes gets new ones.
    """

    def widen(*arys: Any) -> Any:
        arrays = [a if hasattr(a, "ndim") else np.asarray(a) for a in arys]
        wide = [a if a.ndim >= ndim else np.expand_dims(a, place(a.ndim)) for a in arrays]
        return wide[0] if len(wide) == 1 else tuple(wide)

    return widen


composite(np.atleast_1d)(at_least(1, lambda ndim: (0,)))
composite(np.atleast_2d)(at_least(2, lambda ndim: (0, 1)[: 2 - ndim]))
composite(np.atleast_3d)(at_least(3, lambda ndim: ((0, 1, 2), (0, 2), (2,))[ndim]))

# The same elements along other axes


def inverse(axes: Any, ndim: int) -> Any:
    """Return the permutation of axes that undoes another."""
    return None if axes is None else tuple(np.argsort([a % ndim for a in axes]))


linear(np.transpose, lambda g, out, x, axes=None: np.transpose(g, inverse(axes, x.ndim)))
defvjp(np.matrix_transpose, lambda g, out, x: mT(g))
defjvp(np.matrix_transpose, lambda t, out, x: mT(t))
BODIES.update({np.matrix_transpose: mT, np.reshape: reshaped, np.expand_dims: widened, np.copy: copied})
linear(np.swapaxes, lambda g, out, x, axis1, axis2: np.swapaxes(g, axis1, axis2))
linear(np.moveaxis, lambda g, out, x, source, destination: np.moveaxis(g, destination, source))


@composite(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """Compute np.rollaxis: move an axis before another."""
    axis, start = axis % a.ndim, start + a.ndim if start < 0 else start
    return np.moveaxis(a, axis, start - (start > axis))


# The same elements in another order: the opposite move undoes it

linear(np.flip, lambda g, out, x, axis=None: np.flip(g, axis))
linear(np.fliplr, lambda g, out, x: np.fliplr(g))
linear(np.flipud, lambda g, out, x: np.flipud(g))
linear(np.rot90, lambda g, out, x, k=1, axes=(0, 1): np.rot90(g, -k, axes))
linear(np.roll, lambda g, out, x, shift, axis=None: np.roll(g, np.negative(shift), axis))

# Elements repeated or left out


def placed(g: Any, places: Any, x: Any) -> Any:
    """Return each element of a cotangent at its flat place in `x`, by rows."""
    return np.reshape(scatter(np.ravel(g), np.ravel(places), (x.size,)), x.shape)


def back_to_places(function: Any) -> Rule:
    """Return the VJP rule of any function that only moves elements.

    Its result for their places shows where they go.
    """

    def rule(g: Any, out: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        return placed(g, function(np.arange(x.size).reshape(x.shape), *args, **kwargs), x)

    return rule


def diag_cotangent(g: Any, out: Any, v: Any, k: int = 0) -> Any:
    """Return the cotangent of v in np.diag(v, k), whether v is a vector or a matrix."""
    return np.diagonal(g, k) if v.ndim == 1 else back_to_places(np.diag)(g, out, v, k)


def tile_cotangent(g: Any, out: Any, x: Any, reps: Any) -> Any:
    """Return the sum over the tiles: (r0 * n0, ...) as (r0, n0, ...), over r."""
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    ndim = max(x.ndim, len(reps))
    lengths = (1,) * (ndim - x.ndim) + x.shape
    pairs = [n for pair in zip((1,) * (ndim - len(reps)) + reps, lengths, strict=True) for n in pair]
    return np.reshape(total(np.reshape(g, pairs), axis=tuple(range(0, 2 * ndim, 2))), x.shape)


def repeat_cotangent(g: Any, out: Any, x: Any, repeats: Any, axis: Any = None) -> Any:
    """Return the sum over each element's copies: (n * r) as (n, r), if all have r."""
    if np.size(repeats) != 1:
        return back_to_places(np.repeat)(g, out, x, repeats, axis)
    shape, axis = ((x.size,), 0) if axis is None or not x.ndim else (x.shape, normalize_axis_index(axis, x.ndim))
    copies = np.reshape(g, (*shape[: axis + 1], int(np.sum(repeats)), *shape[axis + 1 :]))
    return np.reshape(np.sum(copies, axis=axis + 1), x.shape)


linear(np.broadcast_to, lambda g, out, x, *_, **__: g)  # the tape sums the copies
linear(expand, lambda g, out, x, shape, axis=None, keepdims=False: total(g, axis, keepdims))
linear(np.tile, tile_cotangent)
linear(np.repeat, repeat_cotangent)
linear(np.tril, lambda g, out, x, k=0: np.tril(g, k))
linear(np.triu, lambda g, out, x, k=0: np.triu(g, k))
linear(np.diag, diag_cotangent)
linear(np.diagonal, back_to_places(np.diagonal))
linear(sliding_window_view, back_to_places(sliding_window_view))


@composite(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """Compute np.diagflat: the elements, in a row, as a diagonal."""
    return np.diag(np.ravel(v), k)


@composite(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None) -> Any:
    """Compute np.trace: the sum of the diagonal."""
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@composite(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """Compute np.resize: the elements in a row, repeated as needed."""
    shape = (new_shape,) if np.ndim(new_shape) == 0 else tuple(new_shape)
    size = int(np.prod(shape))
    if size < 0 or any(n < 0 for n in shape):
        raise ValueError(f"resize: all lengths of the new shape must be 0 or more, got {shape}")
    if not a.size:
        return np.zeros_like(a, shape=shape)
    return np.reshape(np.tile(np.ravel(a), -(-size // a.size))[:size], shape)


@composite(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    """Compute np.broadcast_arrays: each in the shape common to all."""
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(a, shape) for a in args)


@composite(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    """Compute np.meshgrid: each vector along its own axis."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    axes = list(range(len(xi)))
    if indexing == "xy":
        axes[:2] = reversed(axes[:2])
    grid: Any = tuple(np.reshape(x, (1,) * a + (-1,) + (1,) * (len(xi) - 1 - a)) for x, a in zip(xi, axes, strict=True))
    if not sparse:
        grid = np.broadcast_arrays(*grid)
    return tuple(map(np.copy, grid)) if copy else grid


@composite(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """Compute np.trim_zeros: the slices from the first to the last nonzero element."""
    if set(trim.lower()) - {"f", "b"}:
        raise ValueError(f"trim_zeros: trim must be made of 'f' and 'b', got {trim!r}")
    kept = [(n.min(), n.max() + 1) if n.size else (0, 0) for n in np.nonzero(filt)]
    axes = axes_of(axis, filt.ndim)
    index = [WHOLE] * filt.ndim
    for a in axes:
        first, end = kept[a]
        if not end:  # only zeros: all are trimmed
            first, end = (filt.shape[a], None) if "f" in trim.lower() else (0, 0)
        index[a] = slice(first if "f" in trim.lower() else None, end if "b" in trim.lower() else None)
    return filt[tuple(index)]


# One array as several


def split_by(function: Any) -> Callable[..., Any]:
    """Return np.split or np.array_split as slices, from its result for the places."""

    def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
        axis = normalize_axis_index(axis, ary.ndim)
        if not isinstance(indices_or_sections, int | list | tuple):
            indices_or_sections = np.asarray(indices_or_sections)  # a Tensor would come here again
        parts = function(np.arange(ary.shape[axis]), indices_or_sections)
        return [ary[at_axis(slice(p[0], p[-1] + 1) if p.size else slice(0), axis)] for p in parts]

    return split


composite(np.split)(split_by(np.split))
composite(np.array_split)(split_by(np.array_split))


def splitting(function: Any, axis: int, ndim: int) -> None:
    """Define np.vsplit or a relative: np.split along a fixed axis."""

    @composite(function)
    def split(ary: Any, indices_or_sections: Any) -> Any:
        if ary.ndim < ndim:
            raise ValueError(f"{function.__name__}: the array must have {ndim} or more axes, got shape {ary.shape}")
        return np.split(ary, indices_or_sections, axis=0 if ary.ndim == 1 else axis)


splitting(np.vsplit, 0, 2)
splitting(np.hsplit, 1, 1)
splitting(np.dsplit, 2, 3)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """Compute np.unstack: the slices along an axis."""
    return tuple(np.moveaxis(x, axis, 0))


if hasattr(np, "unstack"):  # since NumPy 2.1
    composite(np.unstack)(unstack)

# Functions of lines and axes


@composite(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """Compute np.apply_along_axis: call a function on each line along an axis."""
    moved = np.moveaxis(arr, axis, -1)
    if not moved.size:
        raise ValueError(f"apply_along_axis: the array must have a line along axis {axis}, got shape {arr.shape}")
    lines = np.reshape(moved, (-1, moved.shape[-1]))
    results = np.stack([func1d(line, *args, **kwargs) for line in lines])
    out = np.reshape(results, moved.shape[:-1] + results.shape[1:])
    axis, found = axis % arr.ndim, results.ndim - 1
    return np.moveaxis(out, range(out.ndim - found, out.ndim), range(axis, axis + found))


@composite(np.apply_over_axes)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    """Compute np.apply_over_axes: a function over one axis after another."""
    for axis in (axes,) if np.ndim(axes) == 0 else axes:
        axis = normalize_axis_index(axis, a.ndim)
        result = func(a, axis)
        if result.ndim not in (a.ndim, a.ndim - 1):
            raise ValueError(
                f"apply_over_axes: the result must have the axes of shape {a.shape}, or one less, got {result.shape}"
            )
        a = result if result.ndim == a.ndim else np.expand_dims(result, axis)
    return a


# New arrays of a Tensor's shape, to fill by assignment

constant([np.zeros_like, np.ones_like, np.empty_like])

LOOKING.update({np.trim_zeros})
