"""The rows that call NumPy's functions once for a whole batch.

Owns: the rows of the table in `batching.py`, one for each function that can do better
than a loop.
Must not own: derivatives: a call on a whole batch is recorded, and has those of its
function.
Read next: `vectorizing.py`.

The examples are along the first axis. In a row, `flags` says which arguments are
batches. Functions written with other functions need no row, and ufuncs get theirs from
their signatures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from microgradnd import primitives
from microgradnd.batching import RULES, aligned, highest, ndim_of, stacked
from microgradnd.contraction import einsum, explicit, is_identity, of_axes, on_rows, subscripts_of, summed_axes, unused
from microgradnd.forms import parameters_of
from microgradnd.registry import Function
from microgradnd.rules import choice, linalg, reductions, values
from microgradnd.rules import elementwise as table

Rule = Callable[..., Any]
WHOLE = slice(None)
function: Any  # the variable of the loops below


def rows(*functions: Function) -> Callable[[Rule], Rule]:
    """Add one row for several functions."""

    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, rule))
        return rule

    return enter


# Functions of one element, and functions of shapes alone

for function in (
    *(np.fix, np.round, np.around, np.sinc, np.i0, np.real, np.imag, np.copy, np.nan_to_num, np.isclose, np.iscomplex),
    *(np.isreal, np.isposinf, np.isneginf, primitives.relu, primitives.identity, primitives.astype, choice.clip),
    *(table.share_of, table.share_of_maximum, table.leg, table.sinc_derivative, table.i0_derivative, reductions.root),
    *(values.ratio, values.instead, primitives.masked),
):
    RULES[function] = stacked(function)


@rows(np.where)
def where(flags: list[Any], *args: Any) -> Any:
    """Choose; a condition alone has no row, because examples differ in their counts."""
    return stacked(np.where)(flags, *args) if len(args) == 3 else NotImplemented


for function in (np.zeros_like, np.ones_like):
    RULES[function] = lambda flags, x, *args, function=function, **kwargs: (
        NotImplemented if args or "shape" in kwargs else function(x, **kwargs)
    )
RULES[np.empty_like] = RULES[np.zeros_like]

# Functions along axes


def shifted(axis: Any, ndim: int) -> Any:
    """Return axes of an example as axes of the batch."""
    if isinstance(axis, tuple | list | range):
        return tuple(normalize_axis_index(a, ndim) + 1 for a in axis)
    return normalize_axis_index(axis, ndim) + 1


def along(*functions: Function, names: tuple[str, ...] = ("axis",), of_all: str = "several") -> None:
    """Add the row of functions of their first argument along axes.

    `of_all` says how axis=None treats an example: as "several" axes, or as a single
    "flat" one.
    """
    for function in functions:
        parameters = parameters_of(function)[1:]

        def rule(
            flags: list[Any], x: Any, *rest: Any, function: Any = function, of: Any = parameters, **kwargs: Any
        ) -> Any:
            if any(flags[1:]) or x.ndim == 1:
                return NotImplemented
            given = dict(zip([p.name for p in of], rest, strict=False)) | kwargs
            for name in names:
                axis = given[name] if name in given else next(p.default for p in of if p.name == name)
                if axis is None and of_all == "flat":
                    if given.get("keepdims"):
                        return NotImplemented
                    x, given[name] = np.reshape(x, (x.shape[0], -1)), 1
                else:
                    given[name] = shifted(range(x.ndim - 1) if axis is None else axis, x.ndim - 1)
            return function(x, *[given.pop(p.name) for p in of[: len(rest)]], **given)

        RULES[function] = rule


along(np.sum, np.prod, np.mean, np.max, np.min, np.any, np.all, np.count_nonzero, np.flip)
along(reductions.var, reductions.std)
along(np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.cumsum, np.cumprod, np.repeat, of_all="flat")
along(np.sort, np.argsort, np.argpartition, of_all="flat")
along(np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft)
along(np.fft.fftshift, np.fft.ifftshift, np.rot90, names=("axes",))
along(np.swapaxes, np.diagonal, names=("axis1", "axis2"))
along(np.moveaxis, names=("source", "destination"))


@rows(primitives.expand)
def expand(flags: list[Any], g: Any, shape: tuple[int, ...], axis: Any = None, keepdims: bool = False) -> Any:
    """Spread the results of a reduction over the axes of each example."""
    axis = tuple(range(len(shape))) if axis is None else axis
    return primitives.expand(g, (g.shape[0], *shape), shifted(axis, len(shape)) if shape else (), keepdims)


@rows(reductions.recurrence)
def recurrence(flags: list[Any], a: Any, b: Any) -> Any:
    """Run along the first axis of each example."""
    a, b = (np.swapaxes(x, 0, 1) if flag else np.expand_dims(x, 1) for x, flag in zip((a, b), flags, strict=True))
    a, b = np.broadcast_arrays(a, b)
    return np.swapaxes(reductions.recurrence(a, b), 0, 1)


# The same elements in another shape or order


@rows(np.reshape)
def reshape(flags: list[Any], x: Any, shape: Any, order: str = "C", **_: Any) -> Any:
    """Keep the first axis."""
    if order != "C":
        return NotImplemented
    return np.reshape(x, (x.shape[0], *(shape if isinstance(shape, tuple | list) else (shape,))))


@rows(np.transpose)
def transpose(flags: list[Any], x: Any, axes: Any = None) -> Any:
    """Keep the first axis in front."""
    ndim = x.ndim - 1
    return np.transpose(x, (0, *(range(ndim, 0, -1) if axes is None else shifted(tuple(axes), ndim))))


for function in (np.matrix_transpose, np.tril, np.triu):
    RULES[function] = lambda flags, x, *args, function=function, **kwargs: (
        NotImplemented if x.ndim < 3 or any(flags[1:]) else function(x, *args, **kwargs)
    )


@rows(np.expand_dims)
def expand_dims(flags: list[Any], x: Any, axis: Any) -> Any:
    """Count the new axes in the result."""
    return np.expand_dims(x, shifted(axis, x.ndim - 1 + (len(axis) if isinstance(axis, tuple | list) else 1)))


@rows(np.squeeze)
def squeeze(flags: list[Any], x: Any, axis: Any = None) -> Any:
    """Keep the first axis, even if its length is 1."""
    ones = tuple(i for i in range(1, x.ndim) if x.shape[i] == 1)
    return np.squeeze(x, ones if axis is None else shifted(axis, x.ndim - 1))


@rows(np.broadcast_to)
def broadcast_to(flags: list[Any], x: Any, shape: Any, subok: bool = False) -> Any:
    """Add axes after the first."""
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    return np.broadcast_to(aligned(x, True, len(shape)), (x.shape[0], *shape))


@rows(np.roll)
def roll(flags: list[Any], x: Any, shift: Any, axis: Any = None) -> Any:
    """Roll each example, as one row if no axis is given."""
    if any(flags[1:]):
        return NotImplemented
    if axis is not None:
        return np.roll(x, shift, shifted(axis, x.ndim - 1))
    return np.reshape(np.roll(np.reshape(x, (x.shape[0], -1)), shift, 1), x.shape)


@rows(np.tile)
def tile(flags: list[Any], x: Any, reps: Any) -> Any:
    """Repeat each example."""
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    ndim = max(x.ndim - 1, len(reps))
    return np.tile(aligned(x, True, ndim), (1,) * (ndim + 1 - len(reps)) + reps)


@rows(primitives.concatenate)
def concatenate(flags: list[Any], axis: int, ends: tuple[int, ...], *arrays: Any) -> Any:
    """Repeat the arrays that are the same for all examples."""
    size = next(x.shape[0] for x, flag in zip(arrays, flags[2:], strict=True) if flag)
    whole = [x if flag else np.broadcast_to(x, (size, *x.shape)) for x, flag in zip(arrays, flags[2:], strict=True)]
    return primitives.concatenate(axis + 1, ends, *whole)


# Products


@rows(np.matmul, np.linalg.matmul)
def matmul(flags: list[Any], x: Any, y: Any, **options: Any) -> Any:
    """Multiply vectors and matrices, in stacks."""
    x, y = primitives.array(x), primitives.array(y)
    nx, ny = x.ndim - flags[0], y.ndim - flags[1]
    return NotImplemented if options or not nx or not ny else product(flags, x, y, nx, ny)


def product(flags: list[Any], x: Any, y: Any, nx: int, ny: int) -> Any:
    """Multiply all rows at once if one factor is the same for all examples."""
    if not flags[1] and ny <= 2:
        return y if is_identity(x) else np.dot(x, y) if ny == 1 else on_rows(x, y)
    if not flags[0] and ny == 1:
        if is_identity(y) and nx <= 2:  # where a Jacobian starts
            return x.T
        return np.dot(y, x) if nx == 1 else on_rows(y, x.T) if nx == 2 else NotImplemented
    x = np.expand_dims(x, -2) if nx == 1 else x
    y = np.expand_dims(y, -1) if ny == 1 else y
    ndim = max(nx, ny, 2)
    out = np.matmul(aligned(x, flags[0], ndim), aligned(y, flags[1], ndim))
    gone = (-2,) * (nx == 1) + (-1,) * (ny == 1)
    return np.squeeze(out, gone) if gone else out


@rows(np.dot)
def dot(flags: list[Any], x: Any, y: Any) -> Any:
    """Multiply numbers, vectors and matrices; larger arrays as sums over axes."""
    x, y = primitives.array(x), primitives.array(y)
    nx, ny = x.ndim - flags[0], y.ndim - flags[1]
    if not nx or not ny:
        return stacked(np.multiply)(flags, x, y)
    return product(flags, x, y, nx, ny) if nx <= 2 and ny <= 2 else tensordot(flags, x, y, ([nx - 1], [max(ny - 2, 0)]))


@rows(np.inner)
def inner(flags: list[Any], x: Any, y: Any) -> Any:
    """Sum over the last axes."""
    x, y = primitives.array(x), primitives.array(y)
    nx, ny = ndim_of(x, flags[0]), ndim_of(y, flags[1])
    return tensordot(flags, x, y, ([nx - 1], [ny - 1])) if nx and ny else stacked(np.multiply)(flags, x, y)


@rows(np.tensordot, np.linalg.tensordot)
def tensordot(flags: list[Any], x: Any, y: Any, axes: Any = 2) -> Any:
    """Sum over pairs of axes, as np.einsum does."""
    x, y = primitives.array(x), primitives.array(y)
    nx, ny = ndim_of(x, flags[0]), ndim_of(y, flags[1])
    axes = axes if isinstance(axes, int | np.integer) else [(a,) if np.ndim(a) == 0 else a for a in axes]
    of_x, of_y = summed_axes(axes, nx, ny)
    return sums_of_products([False, *flags[:2]], of_axes(nx, ny, tuple(of_x), tuple(of_y)), x, y)


@rows(np.einsum)
def sums_of_products(flags: list[Any], *args: Any, **options: Any) -> Any:
    """Give the batches and the result one more index."""
    subscripts, operands = subscripts_of(args)
    flags = flags[1:] if isinstance(args[0], str) else flags[: len(operands) * 2 : 2]
    words, result = explicit(subscripts, [ndim_of(x, flag) for x, flag in zip(operands, flags, strict=True)])
    c = unused("".join(words) + result)[0]
    left = ",".join(c * bool(flag) + word for word, flag in zip(words, flags, strict=True))
    return einsum(f"{left}->{c}{result}", *operands, **options)


@rows(np.outer, np.linalg.outer)
def outer(flags: list[Any], x: Any, y: Any) -> Any:
    """Multiply each element of one example by each element of the other."""
    x, y = (np.reshape(v, (v.shape[0], -1) if flag else (1, -1)) for v, flag in zip((x, y), flags, strict=True))
    return np.expand_dims(x, 2) * np.expand_dims(y, 1)


@rows(np.vdot)
def vdot(flags: list[Any], x: Any, y: Any) -> Any:
    """Sum the products of all elements."""
    x, y = (np.reshape(v, (v.shape[0] if flag else 1, -1)) for v, flag in zip((x, y), flags, strict=True))
    return np.sum(values.conj(x) * y, axis=1)


@rows(np.cross, np.linalg.cross)
def cross(flags: list[Any], x: Any, y: Any, *axes: Any, **options: Any) -> Any:
    """Multiply vectors along the last axis."""
    return NotImplemented if axes or options else stacked(np.cross)(flags, x, y)


# Linear algebra, which NumPy computes in stacks

for function in (
    *(np.linalg.inv, np.linalg.pinv, np.linalg.det, np.linalg.slogdet, np.linalg.cholesky, np.linalg.eigh),
    *(np.linalg.eigvalsh, np.linalg.eig, np.linalg.eigvals, np.linalg.svd, linalg.tall_qr),
):
    RULES[function] = stacked(function, 2)


@rows(np.linalg.solve)
def solve(flags: list[Any], a: Any, b: Any) -> Any:
    """Treat a vector as a one-column matrix: it lacks an axis only per example."""
    if ndim_of(b, flags[1]) != 1:
        return stacked(np.linalg.solve, 2, 2)(flags, a, b)
    return np.squeeze(stacked(np.linalg.solve, 2, 2)(flags, a, np.expand_dims(b, -1)), -1)


@rows(np.linalg.norm)
def norm(flags: list[Any], x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Take the norm of vectors or matrices along axes, or of all elements.

    It is of all elements if neither an axis nor an order is given.
    """
    if axis is None and ord is None and not keepdims:
        return np.linalg.norm(np.reshape(x, (x.shape[0], -1)), axis=1)
    axis = tuple(range(x.ndim - 1)) if axis is None else axis
    return np.linalg.norm(x, ord, shifted(axis, x.ndim - 1), keepdims)


# Indexing


def of_batch(flags: Any, index: Any, shape: tuple[int, ...], size: int) -> tuple[tuple[Any, ...], int, int] | None:
    """Return an index of examples as an index of their batch, and where its axes go.

    The result is (index, to, count): `count` axes must move from 1 to `to`. None means
    that no such index is known.
    """
    index = values.parts_of(index)
    parts, flags = (index, flags) if type(index) is tuple else ((index,), [flags])
    flags = flags if isinstance(flags, list) else [False] * len(parts)
    if any(isinstance(flag, list) for flag in flags):  # a list with a number of each example
        return None
    parts = tuple(np.asarray(part, None if part else int) if type(part) is list else part for part in parts)
    if any(part is ... for part in parts):
        i = next(i for i, part in enumerate(parts) if part is ...)
        used = sum(axes_taken(part, flag) for part, flag in zip(parts, flags, strict=True) if part is not ...)
        fill = len(shape) - used
        parts, flags = parts[:i] + (WHOLE,) * fill + parts[i + 1 :], flags[:i] + [False] * fill + flags[i + 1 :]
    if primitives.is_basic(parts):
        return (WHOLE, *parts), 0, 0
    at = [i for i, part in enumerate(parts) if not (part is None or isinstance(part, slice))]
    together = at == list(range(at[0], at[-1] + 1))
    if together and not any(flags):
        return joined((WHOLE, *parts)), 0, 0
    if any(part.dtype == bool for i in at if hasattr(part := parts[i], "dtype")):
        return None
    count = max(ndim_of(parts[i], flags[i]) for i in at)
    moved = tuple(aligned(part, flag, count) for part, flag in zip(parts, flags, strict=True))
    first = np.reshape(np.arange(size), (size,) + (1,) * count)
    return joined((first, *moved)), (at[0] if together else 0), count


def joined(index: tuple[Any, ...]) -> Any:
    """Return an index as one argument, unless other maps have to take it apart."""
    return index if highest(index) is not None else values.as_one(index)


def axes_taken(part: Any, flag: Any) -> int:
    """Return the number of an example's axes that a part of an index takes."""
    if part is None:
        return 0
    return ndim_of(part, flag) if getattr(part, "dtype", None) is np.dtype(bool) else 1


@rows(primitives.getitem)
def getitem(flags: list[Any], x: Any, index: Any) -> Any:
    """Index each example, with its own numbers if the index is a batch."""
    if not flags[0]:
        size = size_of(flags[1], index)
        x = np.broadcast_to(x, (size, *x.shape))
    if (found := of_batch(flags[1], index, x.shape[1:], x.shape[0])) is None:
        return NotImplemented
    index, to, count = found
    picked = values.picked(x, index)
    return np.moveaxis(picked, range(1, 1 + count), range(1 + to, 1 + to + count)) if to else picked


def size_of(flags: Any, index: Any) -> int:
    """Return the number of examples of an index, some part of which is a batch."""
    parts = zip(flags, index, strict=True) if isinstance(flags, list) else [(flags, index)]
    flag, part = next(pair for pair in parts if pair[0])
    return size_of(flag, part) if isinstance(flag, list) else int(part.shape[0])


@rows(primitives.scatter)
def scatter(flags: list[Any], x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Add the elements of each example at its index: the transpose of `getitem`."""
    if not flags[0]:
        x = np.broadcast_to(x, (size_of(flags[1], index), *x.shape))
    if (found := of_batch(flags[1], index, shape, x.shape[0])) is None:
        return NotImplemented
    index, to, count = found
    x = np.moveaxis(x, range(1 + to, 1 + to + count), range(1, 1 + count)) if to else x
    return primitives.scatter(x, index, (x.shape[0], *shape))


@rows(primitives.setitem)
def setitem(flags: list[Any], x: Any, index: Any, value: Any) -> Any:
    """Assign to each example, unless its index moves axes."""
    size = x.shape[0] if flags[0] else value.shape[0] if flags[2] else size_of(flags[1], index)
    x = x if flags[0] else np.broadcast_to(x, (size, *x.shape))
    found = of_batch(flags[1], index, x.shape[1:], size)
    if found is None or found[1]:
        return NotImplemented
    if flags[2]:
        picked = values.picked(x, found[0]).ndim - 1
        if value.ndim - 1 > picked:  # the extra axes have length 1
            value = np.reshape(value, (size, *value.shape[value.ndim - picked :]))
        value = aligned(value, True, picked)
    return primitives.setitem(x, found[0], value)
