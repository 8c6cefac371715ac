"""The few operations that NumPy has no differentiable function for.

Owns: functions of arrays that rules and Tensors need in addition to NumPy's, each
recorded as one operation.
Must not own: derivatives (`rules/` holds theirs too), or any knowledge of `Tensor`.
Read next: `rules/indexing.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from microgradnd import refusals
from microgradnd.registry import ORDINARY, primitive

ARRAYS = (np.ndarray, np.generic)
BASIC = {int, slice, type(None), type(...), *(np.dtype(code).type for code in "bBhHiIlLqQ")}  # parts of an index


@primitive
def identity(x: Any) -> Any:
    """Return the array itself: the same value under a new identity on the tape."""
    return x


@primitive
def astype(x: Any, dtype: Any) -> Any:
    """Return `x` in another dtype."""
    return x.astype(dtype)


@primitive
def relu(x: Any) -> Any:
    """Return max(x, 0), with derivative 0 at 0, where `np.maximum` shares a tie."""
    return np.maximum(x, 0)


@primitive
def select(results: Any, index: int) -> Any:
    """Return one of a function's several results."""
    return results[index]


@primitive
def masked(ufunc: Any, mask: Any, *inputs: Any) -> Any:
    """Return `ufunc(*inputs)` where the mask is true, 0 elsewhere: its `where=`."""
    shape = np.broadcast_shapes(np.shape(mask), *(np.shape(x) for x in inputs))
    dtype = np.result_type(ufunc(*(np.ones((), x.dtype) if hasattr(x, "dtype") else type(x)(1) for x in inputs)))
    return ufunc(*inputs, out=np.zeros(shape, dtype), where=mask)


@primitive
def concatenate(axis: int, ends: tuple[int, ...], *arrays: Any) -> Any:
    """Return `np.concatenate(arrays, axis)`, with arrays as separate arguments.

    They end at `ends` along the axis.
    """
    return np.concatenate(arrays, axis=axis)


@primitive
def getitem(x: Any, index: Any) -> Any:
    """Return `x[index]`."""
    return x[index]


@primitive
def scatter(values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros with `values` added at an index: the transpose of `getitem`."""
    if not isinstance(values, ARRAYS):
        return scatter_in_rounds(values, index, shape)
    wide = values.astype(np.float32) if values.dtype.char == "e" else values  # float16 sums stop growing at 2048
    out = np.zeros(shape, wide.dtype)
    index = np.array(index, int if index == [] else None) if type(index) is list else index
    if is_basic(index) or (type(index) is np.ndarray and index.dtype == bool):
        out[index] = wide  # no element occurs twice
    elif values.size > 256 and len(shape) > 1 and (type(index) is np.ndarray or out.size <= 4 * values.size):
        # np.add.at is ten times faster along a single axis
        np.add.at(out.reshape(-1), places(index, shape).reshape(-1), wide.reshape(-1))
    else:
        np.add.at(out, index, wide)
    return out if wide is values else out.astype(values.dtype)


def places(index: Any, shape: tuple[int, ...]) -> Any:
    """Return the flat positions, by rows, of the elements that an index picks."""
    if type(index) is np.ndarray and index.dtype.kind in "iu":
        width = math.prod(shape[1:])
        return index.astype(np.intp)[..., None] * width + np.arange(width)
    return np.arange(math.prod(shape)).reshape(shape)[index]


def scatter_in_rounds(values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Scatter into a read-only array (Dask's): gather once per repeat of a place."""
    size, named = math.prod(shape), places(index, shape).reshape(-1)
    pool = np.concatenate([np.reshape(values, (-1,)), np.zeros_like(values, shape=(1,))])
    total = np.zeros_like(values, shape=shape)
    left = np.arange(named.size)
    while left.size:
        source = np.full(size, named.size)  # by default the zero at the end of the pool
        source[named[left]] = left
        total = total + np.reshape(pool[source], shape)
        left = left[source[named[left]] != left]
    return total


@primitive
def setitem(x: Any, index: Any, value: Any) -> Any:
    """Return a copy of `x` in which `x[index] = value`."""
    out = np.array(x) if isinstance(x, ARRAYS) else x.copy()
    assign(out, index, value)
    return out


def assign(x: Any, index: Any, value: Any) -> None:
    """Do `x[index] = value`, or raise if the value's shape or dtype doesn't fit."""
    if type(value) is not float or x.dtype.kind not in "fc":
        value = np.asarray(value) if isinstance(value, list | tuple) else value
        kind = np.result_type(x.dtype, value) if isinstance(value, int | float | complex) else value.dtype
        if not np.can_cast(kind, x.dtype, "same_kind"):
            raise TypeError(f"t[index] = value: numbers of dtype {kind} don't fit in a tensor of dtype {x.dtype}")
    try:
        x[index] = value
    except (TypeError, ValueError) as error:
        raise refusals.unfit_part(type(error), np.shape(value), x[index].shape, x.shape) from error


def array(x: Any) -> Any:
    """Return an array or Tensor unchanged, lists as an array, with Tensors stacked."""
    if hasattr(x, "dtype"):
        return x
    nested = isinstance(x, list | tuple) and any(type(part) not in ORDINARY for part in x)
    return np.stack([array(part) for part in x]) if nested else np.asarray(x)


def is_basic(index: Any) -> bool:
    """Return whether an index has only integers, slices, None and ...: no repeats."""
    return BASIC.issuperset(map(type, index)) if type(index) is tuple else type(index) in BASIC


@primitive
def expand(g: Any, shape: tuple[int, ...], axis: Any = None, keepdims: bool = False) -> Any:
    """Return `g`, the result of a reduction over `axis`, in the shape before it.

    For an array, it is a read-only view with strides of 0, which takes no memory and a
    tenth of the time of `np.broadcast_to`.
    """
    if axis is None and g.ndim == 0 and isinstance(g, ARRAYS):
        view: Any = np.ndarray(shape, g.dtype, g, 0, (0,) * len(shape))
        view.flags.writeable = False
        return view
    reduced = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = {a % len(shape) for a in reduced if shape}
    if isinstance(g, ARRAYS) and g.flags.forc:
        kept = g.strides if not keepdims else [step for i, step in enumerate(g.strides) if i not in axes]
        steps = iter(kept)
        strides = tuple(0 if i in axes else next(steps) for i in range(len(shape)))
        view = np.ndarray(shape, g.dtype, g, 0, strides)
        view.flags.writeable = False
        return view
    return np.broadcast_to(g if keepdims else np.expand_dims(g, tuple(axes)), shape)
