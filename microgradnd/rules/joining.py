"""Derivatives of the functions that join arrays, or pad one.

Owns: concatenating, stacking, blocks, inserting and deleting, padding.
Must not own: taking arrays apart (`shape.py`).
Read next: `indexing.py`.

A list of arrays can't be an argument of an operation. Functions that take one are
written with `primitives.concatenate`, which takes the arrays as separate arguments.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from microgradnd import primitives
from microgradnd.primitives import array
from microgradnd.registry import JVPS, VJPS, Function, Joint, composite
from microgradnd.rules.axes import at_axis
from microgradnd.rules.values import instead, of_floats, on_arrays


def concatenated_parts(g: Any, out: Any, axis: int, ends: tuple[int, ...], *arrays: Any) -> list[Any]:
    """Return the slices of the cotangent that belong to the arrays."""
    return [None, None, *(g[at_axis(slice(*place), axis)] for place in pairwise(ends))]


def concatenated_tangent(tangents: list[Any], out: Any, axis: int, ends: tuple[int, ...], *arrays: Any) -> Any:
    """Return the tangent of the joined array: zeros for a part without one."""
    parts = zip(tangents[2:], arrays, strict=True)
    return primitives.concatenate(axis, ends, *(np.zeros_like(a) if t is None else t for t, a in parts))


VJPS[primitives.concatenate], JVPS[primitives.concatenate] = Joint(concatenated_parts), Joint(concatenated_tangent)


@composite(np.concatenate)
def concatenate(
    arrays: Any, /, axis: int | None = 0, out: None = None, *, dtype: Any = None, casting: Any = "same_kind"
) -> Any:
    """Compute np.concatenate with separate arguments, which the tape can see."""
    parts = [np.ravel(array(a)) if axis is None else array(a) for a in arrays]
    if dtype is not None:
        for part in parts:
            if not np.can_cast(part.dtype, dtype, casting):
                raise TypeError(f"concatenate: {part.dtype} can't be cast to {np.dtype(dtype)} by the rule {casting!r}")
        parts = [primitives.astype(part, np.dtype(dtype)) for part in parts]
    if not parts or not all(part.ndim for part in parts):
        raise ValueError("concatenate: arrays must have at least one axis; np.stack joins numbers and 0-d tensors")
    axis = normalize_axis_index(axis or 0, parts[0].ndim)
    ends = (0, *accumulate([part.shape[axis] if axis < part.ndim else 0 for part in parts]))
    return primitives.concatenate(axis, ends, *parts)


@composite(np.stack)
def stack(arrays: Any, axis: int = 0, out: None = None, **options: Any) -> Any:
    """Compute np.stack: concatenate along a new axis."""
    parts = [array(a) for a in arrays]
    shapes = sorted({part.shape for part in parts})
    if len(shapes) > 1:
        raise ValueError(f"stack: all arrays must have the same shape, got {', '.join(map(str, shapes))}")
    return concatenate([np.expand_dims(part, axis) for part in parts], axis, **options)


@composite(np.vstack)
def vstack(tup: Any, **options: Any) -> Any:
    """Compute np.vstack: vectors are rows."""
    return np.concatenate([np.atleast_2d(a) for a in tup], axis=0, **options)


@composite(np.hstack)
def hstack(tup: Any, **options: Any) -> Any:
    """Compute np.hstack: join along the second axis; vectors along their only axis."""
    parts = [np.atleast_1d(a) for a in tup]
    return np.concatenate(parts, axis=0 if parts and parts[0].ndim == 1 else 1, **options)


@composite(np.dstack)
def dstack(tup: Any) -> Any:
    """Compute np.dstack: join along the third axis."""
    return np.concatenate([np.atleast_3d(a) for a in tup], 2)


@composite(np.column_stack)
def column_stack(tup: Any) -> Any:
    """Compute np.column_stack: vectors are columns."""
    return np.concatenate([a if np.ndim(a) > 1 else np.reshape(a, (-1, 1)) for a in tup], 1)


@composite(np.block)
def block(arrays: Any) -> Any:
    """Compute np.block: join the innermost lists along the last axis.

    The lists around them are joined along the axis before, and so on.
    """
    nested = depth(arrays)
    ndim = max(nested, *map(np.ndim, leaves(arrays)), 0)
    return join(arrays, -nested, ndim) if nested else np.copy(arrays)


def depth(tree: Any) -> int:
    """Return how deep lists are nested, which must be the same everywhere."""
    if not isinstance(tree, list):
        return 0
    depths = {depth(branch) for branch in tree}
    if len(depths) != 1:
        raise ValueError("block: the lists must not be empty, and must all be nested equally deep")
    return 1 + depths.pop()


def leaves(tree: Any) -> list[Any]:
    """Return the elements of nested lists, in a row."""
    return [leaf for branch in tree for leaf in leaves(branch)] if isinstance(tree, list) else [tree]


def join(tree: Any, axis: int, ndim: int) -> Any:
    """Join nested lists along `axis`, inner lists along the axes after it."""
    if not isinstance(tree, list):
        return np.reshape(tree, (1,) * (ndim - np.ndim(tree)) + np.shape(tree))
    return np.concatenate([join(branch, axis + 1, ndim) for branch in tree], axis)


@composite(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Compute np.append: concatenate, flattened unless an axis is given."""
    return np.concatenate((arr, values), axis)


def untracked(obj: Any) -> Any:
    """Return where to insert or delete, as NumPy takes it: the array of a Tensor."""
    return np.asarray(obj) if hasattr(obj, "dtype") else obj


@composite(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """Compute np.insert on positions, and move the elements accordingly."""
    arr, values = np.ravel(arr) if axis is None else array(arr), array(values)
    places = np.arange(arr.size).reshape(arr.shape)
    new = np.arange(arr.size, arr.size + values.size).reshape(values.shape)
    moved = np.insert(places, untracked(obj), new, 0 if axis is None else axis)
    return np.concatenate((np.ravel(arr), primitives.astype(np.ravel(values), arr.dtype)))[moved]


@composite(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """Compute np.delete: pick the elements that are kept."""
    arr, axis = (np.ravel(arr), 0) if axis is None else (arr, normalize_axis_index(axis, arr.ndim))
    return arr[at_axis(np.delete(np.arange(arr.shape[axis]), untracked(obj)), axis)]


# Padding: one axis after another, each of which sees the result of those before

STATISTICS: dict[str, Function] = {"maximum": np.max, "minimum": np.min, "mean": np.mean, "median": np.median}


numpys_pad = on_arrays(np.pad)


@of_floats(np.pad)
def pad(x: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    """Compute np.pad, each mode in its own way.

    A callable mode writes into its array, which can't be recorded.
    """
    if callable(mode):
        raise NotImplementedError("pad: a callable mode writes into its array; join the parts with np.concatenate")
    np.pad(np.zeros((1,) * x.ndim), 0, mode, **options)  # raises for an unknown mode or option
    widths = pairs(pad_width, x.ndim)
    if any(not isinstance(w, int) or w < 0 for pair in widths for w in pair):
        raise ValueError(f"pad: pad_width must hold integers of 0 or more, got {pad_width!r}")
    own = {name: pairs(value, x.ndim) for name, value in options.items() if name != "reflect_type"}
    padded = x
    for axis, width in enumerate(widths):
        if any(width):
            per_axis = {name: value[axis] for name, value in own.items()}
            padded = pad_axis(padded, axis, width, mode, per_axis, options.get("reflect_type", "even"))
    if padded is x:
        return np.copy(x)
    return padded if mode in ("constant", "empty") else instead(numpys_pad(x, pad_width, mode, **options), padded)


def pairs(value: Any, ndim: int) -> list[tuple[Any, Any]]:
    """Return (before, after) for each axis, as np.pad reads its options."""
    if value is None:
        return [(None, None)] * ndim
    if isinstance(value, dict):
        every: list[tuple[Any, Any]] = [(0, 0)] * ndim
        for axis, pair in value.items():
            every[axis] = tuple(np.broadcast_to(pair, 2).tolist())
        return every
    return [(before, after) for before, after in np.broadcast_to(np.asarray(value), (ndim, 2)).tolist()]


def pad_axis(x: Any, axis: int, width: tuple[int, int], mode: Any, own: dict[str, Any], reflect_type: str) -> Any:
    """Pad along one axis."""
    n = x.shape[axis]
    if mode in ("constant", "empty"):
        shapes = [(*x.shape[:axis], w, *x.shape[axis + 1 :]) for w in width]
        values = own.get("constant_values", (0, 0))
        sides = [np.full(shape, value, x.dtype) for shape, value in zip(shapes, values, strict=True)]
        return np.concatenate([sides[0], x, sides[1]], axis)
    if mode in STATISTICS:
        before, after = (n if length is None else min(length, n) for length in own.get("stat_length", (None, None)))
        nearest = (x[at_axis(part, axis)] for part in (slice(before), slice(n - after, None)))
        sides = [STATISTICS[mode](part, axis=axis, keepdims=True) for part in nearest]
        return np.concatenate([np.repeat(sides[0], width[0], axis), x, np.repeat(sides[1], width[1], axis)], axis)
    if mode != "linear_ramp" and reflect_type == "even":
        return x[at_axis(np.pad(np.arange(n), width, mode), axis)]
    # The rest is linear: its matrix is the padded identity
    how: Any = {"end_values": 0} if mode == "linear_ramp" else {"reflect_type": "odd"}
    matrix = np.pad(np.eye(n, dtype=x.dtype), (width, (0, 0)), mode, **how)
    padded = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    if "end_values" not in own:
        return padded
    ramp = np.pad(np.zeros(n, x.dtype), width, mode, end_values=own["end_values"])
    return padded + np.reshape(ramp, (-1,) + (1,) * (x.ndim - 1 - axis))
