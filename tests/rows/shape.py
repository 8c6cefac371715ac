"""Rows of the functions that only move elements: see `microgradnd/rules/shape.py`.

Owns: the ways of calling them.
Must not own: anything else.
Read next: `joining.py`.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from microgradnd import primitives
from microgradnd.testing import shapes
from tests.rows import ANY, NONZERO, Row, case

LENGTHS = np.array([2, 0, 1])
TRIMMED = np.array([0.0, 1.0, 0.0, -2.0, 0.0, 0.0])


def lists(function, *args, **kwargs):
    """Call a function that returns a list or tuple, which must hold arrays."""
    return lambda x: list(function(x, *args, **kwargs))


def product(x, axis=None):
    """Return a nonlinear function of a line, whose second derivative isn't 0."""
    return np.sum(x * x, axis=axis)


ROWS: list[Row] = [
    # The same elements in another shape
    case(np.reshape, "tuple", lambda x: np.reshape(x, (3, 4)), (2, 6)),
    case(np.reshape, "minus-one", lambda x: np.reshape(x, -1), (2, 3)),
    case(np.reshape, "0-d", lambda x: np.reshape(x, (1, 1)), ()),
    case(np.reshape, "Fortran", lambda x: np.reshape(x, (3, 4), order="F"), (2, 6)),
    case(np.reshape, "method", lambda x: x.reshape(3, 4), (2, 6)),
    case(np.ravel, "all", np.ravel, shapes(max_side=3)),
    case(np.ravel, "Fortran", lambda x: np.ravel(x, order="F"), (2, 3)),
    case(np.squeeze, "all", np.squeeze, (1, 3, 1)),
    case(np.squeeze, "axis", lambda x: np.squeeze(x, axis=0), (1, 3, 1)),
    case(np.squeeze, "axes", lambda x: np.squeeze(x, axis=(0, -1)), (1, 3, 1)),
    case(np.expand_dims, "axis", lambda x: np.expand_dims(x, 1), (2, 3)),
    case(np.expand_dims, "axes", lambda x: np.expand_dims(x, (0, -1)), (2, 3)),
    *(
        case(function, name, function, shape)
        for function in (np.atleast_1d, np.atleast_2d, np.atleast_3d)
        for name, shape in {"0-d": (), "vector": (2,), "matrix": (2, 3), "stack": (2, 1, 2)}.items()
    ),
    *(
        case(function, "several", lambda x, y, f=function: f(x, 1.0, y), (), (2, 3))
        for function in (np.atleast_1d, np.atleast_2d, np.atleast_3d)
    ),
    # The same elements along other axes
    case(np.transpose, "reverse", np.transpose, (2, 3, 4)),
    case(np.transpose, "axes", lambda x: np.transpose(x, (1, -1, 0)), (2, 3, 4)),
    case(np.transpose, "method", lambda x: x.transpose(1, 2, 0), (2, 3, 4)),
    case(np.matrix_transpose, "stack", np.matrix_transpose, (2, 3, 4)),
    case(np.swapaxes, "negative", lambda x: np.swapaxes(x, 0, -1), (2, 3, 4)),
    case(np.moveaxis, "one", lambda x: np.moveaxis(x, 0, -1), (2, 3, 4)),
    case(np.moveaxis, "two", lambda x: np.moveaxis(x, (0, 1), (2, 0)), (2, 3, 4)),
    *(
        case(np.rollaxis, f"{axis}-{start}", lambda x, a=axis, s=start: np.rollaxis(x, a, s), (2, 3, 4))
        for axis, start in ((2, 0), (0, 2), (0, 3), (-1, 1), (1, -1), (1, 1), (1, 2))
    ),
    # The same elements in another order
    *(case(np.flip, str(axis), lambda x, axis=axis: np.flip(x, axis), (2, 3)) for axis in (None, 0, -1, (0, 1))),
    case(np.fliplr, "matrix", np.fliplr, (2, 3)),
    case(np.flipud, "matrix", np.flipud, (2, 3)),
    *(case(np.rot90, str(k), lambda x, k=k: np.rot90(x, k), (2, 3)) for k in (0, 1, 2, 3, -1, 6)),
    case(np.rot90, "axes", lambda x: np.rot90(x, 1, axes=(2, 0)), (2, 3, 4)),
    case(np.roll, "flat", lambda x: np.roll(x, 2), (2, 3)),
    case(np.roll, "axis", lambda x: np.roll(x, -1, axis=1), (2, 3)),
    case(np.roll, "axes", lambda x: np.roll(x, (1, 2), axis=(0, 1)), (2, 3)),
    case(np.roll, "one-shift-two-axes", lambda x: np.roll(x, 1, axis=(0, -1)), (2, 3)),
    case(np.roll, "twice-the-same-axis", lambda x: np.roll(x, (1, 1), axis=(1, 1)), (2, 3)),
    # Elements repeated or left out
    case(np.broadcast_to, "rows", lambda x: np.broadcast_to(x, (2, 3)), (3,)),
    case(np.broadcast_to, "0-d", lambda x: np.broadcast_to(x, (2, 3)), ()),
    case(np.broadcast_to, "empty", lambda x: np.broadcast_to(x, (0, 3)), (3,)),
    case(np.broadcast_arrays, "two", lambda x, y: np.broadcast_arrays(x, y), (2, 1), (3,)),
    case(np.broadcast_arrays, "plain", lambda x: np.broadcast_arrays(x, np.ones((2, 3)), 1.0)[0], (3,)),
    case(primitives.expand, "all", lambda x: primitives.expand(x, (2, 3)), ()),
    case(primitives.expand, "axis", lambda x: primitives.expand(x, (2, 3), 0), (3,)),
    case(primitives.expand, "keepdims", lambda x: primitives.expand(x, (2, 3), -1, True), (2, 1)),
    case(np.tile, "number", lambda x: np.tile(x, 3), (2,)),
    case(np.tile, "fewer", lambda x: np.tile(x, 2), (2, 3)),
    case(np.tile, "tuple", lambda x: np.tile(x, (2, 3)), (2, 2)),
    case(np.tile, "more", lambda x: np.tile(x, (2, 1, 3)), (2, 2)),
    case(np.tile, "0-d", lambda x: np.tile(x, (2, 3)), ()),
    case(np.tile, "none", lambda x: np.tile(x, (0, 2)), (2, 2)),
    case(np.repeat, "flat", lambda x: np.repeat(x, 2), (2, 3)),
    case(np.repeat, "0-d", lambda x: np.repeat(x, 3), ()),
    case(np.repeat, "axis", lambda x: np.repeat(x, 3, axis=-1), (2, 3)),
    case(np.repeat, "first-axis", lambda x: np.repeat(x, [2], axis=0), (2, 3)),
    case(np.repeat, "none", lambda x: np.repeat(x, 0, axis=0), (2, 3)),
    case(np.repeat, "array", lambda x: np.repeat(x, LENGTHS, axis=1), (2, 3)),
    case(np.repeat, "flat-array", lambda x: np.repeat(x, LENGTHS), (3,)),
    case(np.resize, "larger", lambda x: np.resize(x, (3, 4)), (2, 3)),
    case(np.resize, "smaller", lambda x: np.resize(x, 4), (2, 3)),
    case(np.resize, "empty", lambda x: np.resize(x, (0, 2)), (2, 3)),
    case(np.resize, "of-empty", lambda x: np.resize(x, (2, 2)), (0,)),
    *(
        case(function, f"k{k}", lambda x, f=function, k=k: f(x, k), (3, 4))
        for function in (np.tril, np.triu)
        for k in (0, 1, -2)
    ),
    *(case(function, "stack", function, (2, 3, 2)) for function in (np.tril, np.triu)),
    case(np.tril, "vector", np.tril, (3,)),
    case(np.diag, "vector", np.diag, (3,)),
    case(np.diag, "vector-above", lambda x: np.diag(x, 1), (3,)),
    case(np.diag, "matrix", np.diag, (3, 4)),
    case(np.diag, "matrix-below", lambda x: np.diag(x, k=-1), (3, 4)),
    case(np.diagflat, "matrix", np.diagflat, (2, 2)),
    case(np.diagflat, "below", lambda x: np.diagflat(x, -1), (3,)),
    case(np.diagonal, "matrix", np.diagonal, (3, 4)),
    case(np.diagonal, "offset", lambda x: np.diagonal(x, -1), (3, 4)),
    case(np.diagonal, "stack", lambda x: np.diagonal(x, 1, axis1=-1, axis2=0), (3, 2, 4)),
    case(np.diagonal, "outside", lambda x: np.diagonal(x, 7), (3, 4)),
    case(np.trace, "matrix", np.trace, (3, 4)),
    case(np.trace, "stack", lambda x: np.trace(x, -1, 1, 2), (2, 3, 3)),
    case(np.trace, "dtype", lambda x: np.trace(x, dtype=np.float64), (3, 3)),
    case(sliding_window_view, "vector", lambda x: sliding_window_view(x, 3), (5,)),
    case(sliding_window_view, "axis", lambda x: sliding_window_view(x, 2, axis=1), (2, 4)),
    case(sliding_window_view, "matrix", lambda x: sliding_window_view(x, (2, 3)), (3, 4)),
    case(np.trim_zeros, "both", lambda x: np.trim_zeros(x * TRIMMED), ((6,), NONZERO)),
    case(np.trim_zeros, "front", lambda x: np.trim_zeros(x * TRIMMED, "f"), ((6,), NONZERO)),
    case(np.trim_zeros, "back", lambda x: np.trim_zeros(x * TRIMMED, "B"), ((6,), NONZERO)),
    case(np.trim_zeros, "nothing-left", lambda x: np.trim_zeros(x * 0), (3,)),
    # Grids
    case(np.meshgrid, "xy", lists(lambda x: np.meshgrid(x, x[:2], [1.0, 2.0])), (3,)),
    case(np.meshgrid, "ij", lambda x, y: np.meshgrid(x, y, indexing="ij"), (2,), (3,)),
    case(np.meshgrid, "sparse", lambda x, y: np.meshgrid(x, y, sparse=True, copy=False), (2,), (3,)),
    case(np.meshgrid, "one", lists(np.meshgrid), (2,)),
    case(np.meshgrid, "0-d", lambda x, y: np.meshgrid(x, y), (), (2,)),
    case(np.ix_, "two", lambda x, y: np.ix_(x, y), (2,), (3,)),
    case(np.ix_, "with-integers", lambda x: np.ix_(x, [2, 0]), (3,)),
    # One array as several
    case(np.split, "equal", lists(np.split, 3), (6, 2)),
    case(np.split, "indices", lists(np.split, [1, 4], axis=-1), (2, 5)),
    case(np.split, "out-of-order", lists(np.split, [3, 1, 9]), (5,)),
    case(np.array_split, "unequal", lists(np.array_split, 4), (6,)),
    case(np.array_split, "more-than-there-are", lists(np.array_split, 3, axis=1), (2, 2)),
    case(np.hsplit, "matrix", lists(np.hsplit, 2), (2, 4)),
    case(np.hsplit, "vector", lists(np.hsplit, 2), (4,)),
    case(np.vsplit, "matrix", lists(np.vsplit, [1]), (3, 2)),
    case(np.dsplit, "stack", lists(np.dsplit, 2), (1, 2, 4)),
    # Functions of lines and axes
    case(np.apply_along_axis, "number", lambda x: np.apply_along_axis(product, 0, x), (3, 2)),
    case(np.apply_along_axis, "vector", lambda x: np.apply_along_axis(np.cumsum, -1, x * x), (2, 3)),
    case(
        np.apply_along_axis,
        "matrix",
        lambda x: np.apply_along_axis(lambda line, by: np.outer(line, line) * by, 1, x, 2.0),
        (2, 2, 3),
    ),
    case(np.apply_over_axes, "sum", lambda x: np.apply_over_axes(product, x, (0, -1)), (2, 3, 2)),
    case(np.apply_over_axes, "one", lambda x: np.apply_over_axes(np.cumsum, x, 1), (2, 3)),
]
if hasattr(np, "unstack"):  # NumPy 2.1
    ROWS += [
        case(np.reshape, "keyword", lambda x: np.reshape(x, shape=(6,)), (2, 3)),
        case(np.unstack, "first", lists(np.unstack), (2, 3)),
        case(np.unstack, "last", lists(np.unstack, axis=-1), (2, 3)),
    ]
ROWS += [
    case(np.roll, "complex", lambda x: np.roll(x, 1), ((3,), ANY, np.complex128)),
    case(np.diagonal, "complex", np.diagonal, ((2, 2), ANY, np.complex128)),
]
