"""Rows of indexing: see `microgradnd/rules/indexing.py`.

Owns: every form of index, read and assigned to.
Must not own: anything else.
Read next: `linalg.py`.
"""

import numpy as np

from microgradnd import primitives
from microgradnd.rules.indexing import added_at, subtracted_at
from tests.rows import ANY, Row, case

MASK = np.arange(12).reshape(3, 4) % 3 == 0
INDICES = {
    "integer": 1,
    "negative": -1,
    "number": (2, 3),
    "slice": slice(None, None, 2),
    "reversed": slice(None, None, -1),
    "out-of-range": slice(2, 9),
    "no-elements": slice(1, 1),
    "newaxis": (None, 0),
    "ellipsis": (..., 1),
    "everything": ...,
    "nothing": (),
    "tuple": (0, slice(1, 3)),
    "numpy-integer": np.int32(1),
    "array": np.array([0, 2, 0, 0]),  # repeated elements: their gradients add
    "negative-array": np.array([-1, 2, -3]),
    "unsigned": np.array([1, 2], dtype=np.uint8),
    "list": [2, 1],
    "nested-list": [[2, 1], [0, 0]],
    "0-d-array": np.array(1),
    "mask": np.array([True, False, True]),
    "full-mask": MASK,
    "mask-list": [True, False, False],
    "all-or-nothing": np.array(True),
    "no-mask": np.zeros((3, 4), bool),
    "arrays": (np.array([[0], [2]]), np.array([1, 1])),
    "open-mesh": np.ix_([0, 2], [3, 1, 1]),
    "mixed": (slice(None), np.array([0, 0, 3])),
    "mixed-reversed": (slice(None, None, -2), [3, 3]),
    "array-and-number": (np.array([2, 2]), 1),
    "array-and-newaxis": (None, np.array([2, 2])),
    "apart": (np.array([0, 0]), None, np.array([1, 1])),
    "mask-and-slice": (np.array([True, False, True]), slice(1, None)),
    "mask-and-number": (np.array([True, False, True]), 2),
    "slice-and-mask": (slice(None), np.array([True, False, True, True])),
    "empty": np.array([], dtype=int),
    "empty-list": [],
}
SMALL_INDICES = {name: INDICES[name] for name in ("array", "nested-list", "mixed", "full-mask", "apart", "slice")}
# the assigned value, in the shape of the index or broadcast
VALUES = {"whole": lambda shape: shape, "number": lambda shape: (), "ones": lambda shape: (1,) * len(shape)}
PICKED = {name: np.zeros((3, 4))[index].shape for name, index in INDICES.items()}


def assigning(x, *call, by=None):
    """Assign to a copy, and return it."""
    out = np.copy(x, "C")
    by(out, *call)
    return out


def mutation(function, name, call, *specs):
    """Return a row of a function that changes its first argument."""
    return case(function, name, lambda x, *args: assigning(x, *args, by=call), *specs)


ROWS: list[Row] = [
    *(case(primitives.getitem, name, lambda x, i=i: primitives.getitem(x, i), (3, 4)) for name, i in INDICES.items()),
    case(primitives.getitem, "stack", lambda x: primitives.getitem(x, (slice(None), [1, 1], ..., 0)), (2, 2, 2, 2)),
    case(primitives.getitem, "0-d", lambda x: primitives.getitem(x, (None, ...)), ()),
    case(primitives.getitem, "complex", lambda x: primitives.getitem(x, [0, 0, 1]), ((2, 2), ANY, np.complex128)),
    *(
        case(
            primitives.scatter,
            name,
            lambda v, i=i: primitives.scatter(v, i, (3, 4)),
            np.zeros((3, 4))[i].shape,
        )
        for name, i in SMALL_INDICES.items()
    ),
    *(
        case(
            primitives.setitem,
            f"{name}-{how}",
            lambda x, v, i=i: primitives.setitem(x, i, v),
            (3, 4),
            shape(PICKED[name]),
        )
        for name, i in INDICES.items()
        for how, shape in VALUES.items()
        if how == "whole" or name in SMALL_INDICES
    ),
    case(primitives.setitem, "more-axes", lambda x, v: primitives.setitem(x, 0, v), (2, 3), (1, 1, 3)),
    case(primitives.setitem, "0-d", lambda x, v: primitives.setitem(x, ..., v), (), ()),
    case(primitives.setitem, "constant", lambda x: primitives.setitem(x, [0, 0], 1.0), (3,)),
    case(primitives.setitem, "into-constant", lambda v: primitives.setitem(np.ones((2, 3)), 1, v), (3,)),
    case(
        primitives.setitem,
        "complex",
        lambda x, v: primitives.setitem(x, slice(1, None), v),
        ((3,), ANY, np.complex128),
        (2,),
    ),
    case(np.full_like, "both", lambda x, v: np.full_like(x, v, shape=(2, 2)) * x[0], (3,), ()),
    # Picking by position
    case(np.take, "flat", lambda x: np.take(x, [0, 5, 5, -1]), (2, 3)),
    case(np.take, "number", lambda x: np.take(x, 1, axis=0), (2, 3)),
    case(np.take, "axis", lambda x: np.take(x, np.array([[0, 2], [1, 1]]), axis=-1), (2, 3)),
    case(np.take, "wrap", lambda x: np.take(x, [4, -5], mode="wrap"), (3,)),
    case(np.take, "clip", lambda x: np.take(x, [4, -5, 1], 0, mode="clip"), (3, 2)),
    case(np.take, "method", lambda x: x.take([0, 0], axis=1), (2, 3)),
    case(np.take_along_axis, "axis", lambda x: np.take_along_axis(x, np.array([[0, 2], [1, 1]]), axis=1), (2, 3)),
    case(np.take_along_axis, "broadcast", lambda x: np.take_along_axis(x, np.array([[1, 1, 0]]), axis=-1), (2, 3)),
    case(np.take_along_axis, "flat", lambda x: np.take_along_axis(x, np.array([0, 4, 4]), axis=None), (2, 3)),
    case(np.compress, "flat", lambda x: np.compress([True, False, True], x), (2, 3)),
    case(np.compress, "axis", lambda x: np.compress([0, 1, 1], x, axis=1), (2, 3)),
    case(np.extract, "mask", lambda x: np.extract(MASK, x), (3, 4)),
    # Functions that change their first argument
    mutation(np.copyto, "all", lambda x, v: np.copyto(x, v), (2, 3), (3,)),
    mutation(np.copyto, "where", lambda x, v: np.copyto(x, v, where=[True, False, True]), (2, 3), (2, 1)),
    mutation(np.copyto, "casting", lambda x, v: np.copyto(x, v, "unsafe"), (2, 3), (2, 1)),
    mutation(np.put, "numbers", lambda x, v: np.put(x, [0, -1, 3], v), (2, 3), (3,)),
    mutation(np.put, "fewer-values", lambda x, v: np.put(x, [[0, 1], [2, 2]], v), (2, 3), (3,)),
    mutation(np.put, "wrap", lambda x, v: np.put(x, [7, -8], v, mode="wrap"), (2, 3), (2,)),
    mutation(np.put, "clip", lambda x, v: np.put(x, [7, -8], v, mode="clip"), (2, 3), (2,)),
    mutation(np.put, "nothing", lambda x, v: np.put(x, [], v), (2, 3), (2,)),
    mutation(np.putmask, "same-shape", lambda x, v: np.putmask(x, MASK, v), (3, 4), (3, 4)),
    mutation(np.putmask, "fewer-values", lambda x, v: np.putmask(x, MASK, v), (3, 4), (5,)),
    mutation(np.place, "mask", lambda x, v: np.place(x, MASK, v), (3, 4), (3,)),
    mutation(
        np.put_along_axis,
        "axis",
        lambda x, v: np.put_along_axis(x, np.array([[0, 2], [1, 1]]), v, axis=1),
        (2, 3),
        (2, 2),
    ),
    mutation(np.put_along_axis, "flat", lambda x, v: np.put_along_axis(x, np.array([0, 4]), v, None), (2, 3), (2,)),
    case(added_at, "repeated", lambda x, v: added_at(x, [0, 0, 1], v), (2, 3), (3, 3)),
    case(subtracted_at, "mask", lambda x, v: subtracted_at(x, MASK, v), (3, 4), ()),
    mutation(np.add.at, "repeated", lambda x, v: np.add.at(x, [0, 0, 1], v), (2, 3), (3, 3)),
    mutation(np.add.at, "number", lambda x, v: np.add.at(x, (slice(None), [0, 0]), v), (2, 3), ()),
    mutation(np.subtract.at, "mask", lambda x, v: np.subtract.at(x, MASK, v), (3, 4), (4,)),
    mutation(np.fill_diagonal, "number", lambda x, v: np.fill_diagonal(x, v), (3, 2), ()),
    mutation(np.fill_diagonal, "values", lambda x, v: np.fill_diagonal(x, v), (3, 3), (3,)),
    mutation(np.fill_diagonal, "wrap", lambda x, v: np.fill_diagonal(x, v, wrap=True), (5, 2), (2,)),
    mutation(np.fill_diagonal, "cube", lambda x, v: np.fill_diagonal(x, v), (2, 2, 2), (2,)),
]
