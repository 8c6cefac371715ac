"""Derivatives of the functions that only move elements about.

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


def reshaped(a: Any, shape: Any, order: Any = "C", **copy: Any) -> Any:
    """Return np.reshape(a, shape): the method of Dask's arrays takes a number as a
    shape, the function doesn't.
    """
    return a.reshape(shape) if order == "C" and not copy else np.reshape(a, shape, order, **copy)


def copied(a: Any, *args: Any, **kwargs: Any) -> Any:
    """Return np.copy(a, ...), which would compute Dask's array."""
    return np.copy(a, *args, **kwargs) if isinstance(a, np.ndarray | np.generic) else a.copy()


def fixed(order: Any) -> Any:
    """Return the keyword for an order of elements, or raise if that depends on how the
    array lies in memory.
    """
    if order not in ("C", "F"):
        raise NotImplementedError(f"order={order!r} depends on the memory layout; use order='C' or 'F'")
    return {} if order == "C" else {"order": order}  # C's order is every array's, and not all arrays take the keyword


# The same elements in another shape

linear(np.squeeze, lambda g, out, x, axis=None: np.reshape(g, x.shape))
linear(np.expand_dims, lambda g, out, x, axis: np.reshape(g, x.shape))
defvjp(np.reshape, lambda g, out, x, shape, order="C", **_: np.reshape(g, x.shape, **fixed(order)))
defjvp(np.reshape, lambda t, out, x, shape, order="C", **_: np.reshape(t, out.shape, **fixed(order)))


@composite(np.ravel)
def ravel(a: Any, order: Any = "C") -> Any:
    """Spell np.ravel: one axis, of any length."""
    return np.reshape(a, -1, **fixed(order))


def at_least(ndim: int, place: Callable[[int], tuple[int, ...]]) -> Callable[..., Any]:
    """Return one of np.atleast_1d and its like, which put new axes where `place` says
    for an array of so many axes.
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
linear(np.matrix_transpose, lambda g, out, x: mT(g))
BODIES.update({np.matrix_transpose: mT, np.reshape: reshaped, np.copy: copied})
linear(np.swapaxes, lambda g, out, x, axis1, axis2: np.swapaxes(g, axis1, axis2))
linear(np.moveaxis, lambda g, out, x, source, destination: np.moveaxis(g, destination, source))


@composite(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """Spell np.rollaxis: move an axis to before another."""
    axis, start = axis % a.ndim, start + a.ndim if start < 0 else start
    return np.moveaxis(a, axis, start - (start > axis))


# The same elements in another order: what undoes it is the opposite move

linear(np.flip, lambda g, out, x, axis=None: np.flip(g, axis))
linear(np.fliplr, lambda g, out, x: np.fliplr(g))
linear(np.flipud, lambda g, out, x: np.flipud(g))
linear(np.rot90, lambda g, out, x, k=1, axes=(0, 1): np.rot90(g, -k, axes))
linear(np.roll, lambda g, out, x, shift, axis=None: np.roll(g, np.negative(shift), axis))

# Elements repeated or left out


def placed(g: Any, places: Any, x: Any) -> Any:
    """Return each element of a cotangent where it came from in `x`, by its place there,
    counted along the rows.
    """
    return np.reshape(scatter(np.ravel(g), np.ravel(places), (x.size,)), x.shape)


def back_to_places(function: Any) -> Rule:
    """Return the VJP rule of any function that only moves elements: where to, its
    result for their places shows.
    """

    def rule(g: Any, out: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        return placed(g, function(np.arange(x.size).reshape(x.shape), *args, **kwargs), x)

    return rule


def diag_cotangent(g: Any, out: Any, v: Any, k: int = 0) -> Any:
    """Return the cotangent of v in np.diag(v, k), which makes a matrix of a vector and
    a vector of a matrix.
    """
    return np.diagonal(g, k) if v.ndim == 1 else back_to_places(np.diag)(g, out, v, k)


def tile_cotangent(g: Any, out: Any, x: Any, reps: Any) -> Any:
    """Return the sum over the tiles: (r0 * n0, ...) seen as (r0, n0, ...), summed over
    the r.
    """
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    ndim = max(x.ndim, len(reps))
    lengths = (1,) * (ndim - x.ndim) + x.shape
    pairs = [n for pair in zip((1,) * (ndim - len(reps)) + reps, lengths, strict=True) for n in pair]
    return np.reshape(np.sum(np.reshape(g, pairs), axis=tuple(range(0, 2 * ndim, 2))), x.shape)


def repeat_cotangent(g: Any, out: Any, x: Any, repeats: Any, axis: Any = None) -> Any:
    """Return the sum over the copies of each element: (n * r) seen as (n, r), if each
    has as many.
    """
    if np.size(repeats) != 1:
        return back_to_places(np.repeat)(g, out, x, repeats, axis)
    shape, axis = ((x.size,), 0) if axis is None or not x.ndim else (x.shape, normalize_axis_index(axis, x.ndim))
    copies = np.reshape(g, (*shape[: axis + 1], int(np.sum(repeats)), *shape[axis + 1 :]))
    return np.reshape(np.sum(copies, axis=axis + 1), x.shape)


linear(np.broadcast_to, lambda g, out, x, *_, **__: g)  # the tape sums the copies
linear(expand, lambda g, out, x, shape, axis=None, keepdims=False: np.sum(g, axis=axis, keepdims=keepdims))
linear(np.tile, tile_cotangent)
linear(np.repeat, repeat_cotangent)
linear(np.tril, lambda g, out, x, k=0: np.tril(g, k))
linear(np.triu, lambda g, out, x, k=0: np.triu(g, k))
linear(np.diag, diag_cotangent)
linear(np.diagonal, back_to_places(np.diagonal))
linear(sliding_window_view, back_to_places(sliding_window_view))


@composite(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """Spell np.diagflat: the elements, in a row, as a diagonal."""
    return np.diag(np.ravel(v), k)


@composite(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None) -> Any:
    """Spell np.trace: the sum of the diagonal."""
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@composite(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """Spell np.resize: the elements, in a row, as often as it takes."""
    shape = (new_shape,) if np.ndim(new_shape) == 0 else tuple(new_shape)
    size = int(np.prod(shape))
    if size < 0 or any(n < 0 for n in shape):
        raise ValueError(f"resize: all lengths of the new shape {shape} must be non-negative")
    if not a.size:
        return np.zeros_like(a, shape=shape)
    return np.reshape(np.tile(np.ravel(a), -(-size // a.size))[:size], shape)


@composite(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    """Spell np.broadcast_arrays: each to the shape that all have in common."""
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(a, shape) for a in args)


@composite(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    """Spell np.meshgrid: each vector along an axis of its own."""
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
    """Spell np.trim_zeros: the slices that reach from the first to the last element
    that isn't 0.
    """
    if set(trim.lower()) - {"f", "b"}:
        raise ValueError(f"trim_zeros: trim must be made of 'f' and 'b', got {trim!r}")
    kept = [(n.min(), n.max() + 1) if n.size else (0, 0) for n in np.nonzero(filt)]
    axes = axes_of(axis, filt.ndim)
    index = [WHOLE] * filt.ndim
    for a in axes:
        first, end = kept[a]
        if not end:  # nothing but zeros: all of them are trimmed
            first, end = (filt.shape[a], None) if "f" in trim.lower() else (0, 0)
        index[a] = slice(first if "f" in trim.lower() else None, end if "b" in trim.lower() else None)
    return filt[tuple(index)]


# One array as several


def split_by(function: Any) -> Callable[..., Any]:
    """Return np.split or np.array_split spelled in slices: which, the function's result
    for the places shows.
    """

    def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
        axis = normalize_axis_index(axis, ary.ndim)
        parts = function(np.arange(ary.shape[axis]), indices_or_sections)
        return [ary[at_axis(slice(p[0], p[-1] + 1) if p.size else slice(0), axis)] for p in parts]

    return split


composite(np.split)(split_by(np.split))
composite(np.array_split)(split_by(np.array_split))


def splitting(function: Any, axis: int, ndim: int) -> None:
    """Spell one of np.vsplit and its like: np.split along a fixed axis of an array of
    at least so many.
    """

    @composite(function)
    def split(ary: Any, indices_or_sections: Any) -> Any:
        if ary.ndim < ndim:
            raise ValueError(f"{function.__name__} needs an array of {ndim} or more axes, not of shape {ary.shape}")
        return np.split(ary, indices_or_sections, axis=0 if ary.ndim == 1 else axis)


splitting(np.vsplit, 0, 2)
splitting(np.hsplit, 1, 1)
splitting(np.dsplit, 2, 3)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """Spell np.unstack: the slices along an axis."""
    return tuple(np.moveaxis(x, axis, 0))


if hasattr(np, "unstack"):  # since NumPy 2.1
    composite(np.unstack)(unstack)

# Functions of lines and axes


@composite(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """Spell np.apply_along_axis: a function of one line, called for each, its results
    along that axis.
    """
    moved = np.moveaxis(arr, axis, -1)
    if not moved.size:
        raise ValueError(f"apply_along_axis: there is no line along axis {axis} of an array of shape {arr.shape}")
    lines = np.reshape(moved, (-1, moved.shape[-1]))
    results = np.stack([func1d(line, *args, **kwargs) for line in lines])
    out = np.reshape(results, moved.shape[:-1] + results.shape[1:])
    axis, found = axis % arr.ndim, results.ndim - 1
    return np.moveaxis(out, range(out.ndim - found, out.ndim), range(axis, axis + found))


@composite(np.apply_over_axes)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    """Spell np.apply_over_axes: a function of an array and an axis, over one axis after
    the other.
    """
    for axis in (axes,) if np.ndim(axes) == 0 else axes:
        axis = normalize_axis_index(axis, a.ndim)
        result = func(a, axis)
        if result.ndim not in (a.ndim, a.ndim - 1):
            raise ValueError(
                f"apply_over_axes: the function made an array of shape {result.shape} of one of shape {a.shape}"
            )
        a = result if result.ndim == a.ndim else np.expand_dims(result, axis)
    return a


# New arrays of a Tensor's shape, to be filled by assignment

constant([np.zeros_like, np.ones_like, np.empty_like])

LOOKING.update({np.trim_zeros})
