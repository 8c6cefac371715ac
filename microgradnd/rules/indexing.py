"""Derivatives of indexing.

Owns: `x[index]`, `x[index] = value`, and the functions written with them.
Must not own: the operations themselves (`primitives.py`).
Read next: `linalg.py`.

Picking and scattering are transposes of each other: the cotangent of a picked element
goes back to its place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from microgradnd.primitives import ARRAYS, array, astype, getitem, is_basic, scatter, select, setitem
from microgradnd.registry import VJPS, Placed, Results, composite, defjvp, defvjp, linear, plain, primitive
from microgradnd.rules.axes import at_axis
from microgradnd.rules.values import is_recorded, on_arrays, picked

linear(getitem, lambda g, out, x, index: scatter(g, index, x.shape))


def add_picked(total: Any, g: Any, x: Any, index: Any) -> bool:
    """Add the cotangent of `x[index]` to that of x, if no element occurs twice."""
    can = type(total) is np.ndarray and isinstance(g, ARRAYS) and is_basic(index)
    if can:
        total[index] += g
    return can


VJPS[getitem] = Placed(VJPS[getitem])
VJPS[getitem].add = add_picked
linear(scatter, lambda g, out, values, index, shape: picked(g, index))
defvjp(select, lambda g, out, results, index: Results(g if i == index else None for i in range(len(results))))
defjvp(select, lambda t, out, results, index: t[index])

# x[index] = value: overwritten elements get no gradient


def remaining(index: Any, shape: tuple[int, ...]) -> Any:
    """Return which elements put at an index are still there: the last at each place."""
    named = () if is_basic(index) else getitem(np.broadcast_to(False, shape), index).shape
    if not named:
        return None
    order = np.arange(math.prod(named)).reshape(named)
    left = getitem(setitem(np.zeros(shape, int), index, order), index) == order
    return None if type(left) is np.ndarray and left.all() else left


def put_cotangent(g: Any, out: Any, x: Any, index: Any, value: Any) -> Any:
    """Return the cotangent of the value: that of the places where it was put."""
    found, left = picked(g, index), remaining(index, x.shape)
    found = found if left is None else np.where(left, found, 0)
    return np.reshape(found, (1,) * (value.ndim - found.ndim) + found.shape)  # the tape undoes broadcasting


defvjp(setitem, lambda g, out, x, index, value: setitem(g, index, 0), None, put_cotangent)
defjvp(
    setitem,
    lambda t, out, x, index, value: setitem(t, index, 0),
    None,
    lambda t, out, x, index, value: setitem(np.zeros_like(out), index, t),
)


@composite(np.full_like)
def full_like(a: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
    """Compute np.full_like: a new array, filled with the value in its dtype."""
    empty, value = np.zeros_like(a, dtype=dtype, **options), array(fill_value)
    return setitem(empty, ..., value if value.dtype == empty.dtype else astype(value, empty.dtype))


# Picking by position


def numbers(index: Any, n: int, mode: str) -> Any:
    """Return positions along an axis of length n; `mode` treats those outside."""
    index = array(index)
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(f"mode must be 'raise', 'wrap' or 'clip', got {mode!r}")
    if index.dtype.kind not in "iu" and index.size:
        raise TypeError(f"an index must hold integers, the positions of elements, got dtype {index.dtype}")
    index = index.astype(int)
    return index if mode == "raise" else index % n if mode == "wrap" else np.clip(index, 0, n - 1)


@composite(np.take)
def take(a: Any, indices: Any, axis: int | None = None, out: None = None, mode: str = "raise") -> Any:
    """Compute np.take: index along one axis."""
    a, axis = (
        (np.ravel(a), 0)
        if axis is None or (not a.ndim and axis in (0, -1))
        else (a, normalize_axis_index(axis, a.ndim))
    )
    taken = picked(a, at_axis(numbers(indices, a.shape[axis], mode), axis))
    return taken if axis == 0 else np.copy(taken, order="C")  # in NumPy's memory layout, which views of it depend on


def along(indices: Any, shape: tuple[int, ...], axis: int) -> tuple[Any, ...]:
    """Return np.take_along_axis's index: one position for each line along an axis."""
    indices = array(indices)
    if indices.ndim != len(shape) or indices.dtype.kind not in "iu":
        raise ValueError(
            f"indices must be integers with as many axes as the array of shape {shape}, got shape {indices.shape} and "
            f"dtype {indices.dtype}"
        )
    index: list[Any] = list(np.ogrid[tuple(slice(n) for n in shape)])
    index[normalize_axis_index(axis, len(shape))] = indices
    return tuple(index)


@composite(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """Compute np.take_along_axis: index each line along an axis by itself."""
    arr, axis = (np.ravel(arr), 0) if axis is None else (arr, axis)
    return picked(arr, along(indices, arr.shape, axis))


@composite(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None, out: None = None) -> Any:
    """Compute np.compress: take elements where a condition, maybe short, is true."""
    return np.take(a, np.flatnonzero(condition), axis)


@composite(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    """Compute np.extract: take the elements where a condition is true."""
    return np.take(arr, np.flatnonzero(condition))


plain([np.flatnonzero, np.argwhere])


mesh = on_arrays(np.ix_)


@composite(np.ix_)
def ix_(*args: Any) -> tuple[Any, ...]:
    """Compute np.ix_: each vector along an axis of its own."""
    found = zip(args, mesh(*args), strict=True)
    return tuple(np.reshape(a, part.shape) if is_recorded(a) and a.dtype.kind in "fc" else part for a, part in found)


# Functions that change their first argument: they assign to it, which is recorded for a
# Tensor


@composite(np.copyto)
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """Run np.copyto: assign where a condition is true."""
    if casting != "same_kind":
        src = array(src)
        if not np.can_cast(src.dtype, dst.dtype, casting):
            raise TypeError(f"copyto: {src.dtype} can't be cast to {dst.dtype} by the rule {casting!r}")
        src = astype(src, dst.dtype)
    dst[...] = src if where is True else np.where(np.not_equal(where, 0), src, dst)


def unravelled(places: Any, shape: tuple[int, ...]) -> Any:
    """Return an index from flat positions, by rows; negative: from the end."""
    return np.unravel_index(np.arange(int(np.prod(shape)))[places], shape)


@composite(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """Run np.put: assign to flat positions, by rows, repeating the values as needed."""
    places = np.ravel(numbers(ind, a.size, mode))
    if places.size and np.size(v):  # as in NumPy, no values change nothing
        a[unravelled(places, a.shape)] = np.resize(array(v), places.shape)


@composite(np.putmask)
def putmask(a: Any, /, mask: Any, values: Any) -> None:
    """Run np.putmask: assign where a mask is true; values repeat over the array."""
    if np.size(values):
        a[...] = np.where(np.not_equal(mask, 0), np.resize(array(values), a.shape), a)


@composite(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    """Run np.place: assign where a mask is true, repeating the values as needed."""
    mask = np.not_equal(mask, 0)
    if not np.size(vals) and np.any(mask):
        raise ValueError("place: vals must hold at least one value to place, got none")
    arr[mask] = np.resize(array(vals), int(np.count_nonzero(mask)))


@composite(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None = -1) -> None:
    """Run np.put_along_axis: assign to each line along an axis by its own positions."""
    if axis is None:
        arr[unravelled(numbers(indices, arr.size, "raise"), arr.shape)] = values
    else:
        arr[along(indices, arr.shape, axis)] = values


def accumulating(ufunc: Any) -> Any:
    """Make np.add.at or np.subtract.at a linear operation, on a copy."""

    @primitive
    def at(x: Any, index: Any, b: Any) -> Any:
        """Return a copy of x, with b added or subtracted at an index."""
        out = np.array(x)
        ufunc.at(out, index, b)
        return out

    at.__name__ = f"{ufunc.__name__}_at"
    sign = ufunc(0, 1)

    def gathered(g: Any, out: Any, x: Any, index: Any, b: Any) -> Any:
        return sign * picked(g, index)

    def spread(t: Any, out: Any, x: Any, index: Any, b: Any) -> Any:
        named = getitem(np.broadcast_to(False, x.shape), index).shape
        return scatter(sign * np.broadcast_to(t, named), index, x.shape)

    defvjp(at, lambda g, out, x, index, b: g, None, gathered)
    defjvp(at, lambda t, out, x, index, b: t, None, spread)
    return at


added_at, subtracted_at = accumulating(np.add), accumulating(np.subtract)


@composite(np.add.at)
def add_at(a: Any, indices: Any, b: Any, /) -> None:
    """Run np.add.at: add, repeatedly to elements that the index repeats."""
    a[...] = added_at(a, indices, b)


@composite(np.subtract.at)
def subtract_at(a: Any, indices: Any, b: Any, /) -> None:
    """Run np.subtract.at: subtract, repeatedly from elements that the index repeats."""
    a[...] = subtracted_at(a, indices, b)


@composite(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """Run np.fill_diagonal, at the places that it fills in an array of positions."""
    marks = np.zeros(a.shape, bool)
    np.fill_diagonal(marks, True, wrap)
    places = np.nonzero(marks)
    a[places] = np.resize(array(val), places[0].shape)
