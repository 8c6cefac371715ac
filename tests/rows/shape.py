"""Rows of the functions that move elements about: see `microgradnd/rules/shape.py`.

Owns: the ways of calling them.
Must not own: anything else.
Read next: `indexing.py`.
"""

import numpy as np

from microgradnd import primitives
from tests.rows import Row, case

ROWS: list[Row] = [
    case(np.reshape, "tuple", lambda x: np.reshape(x, (3, 4)), (2, 6)),
    case(np.reshape, "minus-one", lambda x: np.reshape(x, -1), (2, 3)),
    case(np.reshape, "0-d", lambda x: np.reshape(x, (1, 1)), ()),
    case(np.reshape, "Fortran", lambda x: np.reshape(x, (3, 4), order="F"), (2, 6)),
    case(np.ravel, "all", np.ravel, (2, 3)),
    case(np.ravel, "Fortran", lambda x: np.ravel(x, order="F"), (2, 3)),
    case(np.squeeze, "all", np.squeeze, (1, 3, 1)),
    case(np.squeeze, "axis", lambda x: np.squeeze(x, axis=0), (1, 3, 1)),
    case(np.expand_dims, "axis", lambda x: np.expand_dims(x, 1), (2, 3)),
    case(np.expand_dims, "axes", lambda x: np.expand_dims(x, (0, -1)), (2, 3)),
    case(np.transpose, "reverse", np.transpose, (2, 3, 4)),
    case(np.transpose, "axes", lambda x: np.transpose(x, (1, -1, 0)), (2, 3, 4)),
    case(np.matrix_transpose, "stack", np.matrix_transpose, (2, 3, 4)),
    case(np.swapaxes, "negative", lambda x: np.swapaxes(x, 0, -1), (2, 3, 4)),
    case(np.moveaxis, "one", lambda x: np.moveaxis(x, 0, -1), (2, 3, 4)),
    case(np.moveaxis, "two", lambda x: np.moveaxis(x, (0, 1), (2, 0)), (2, 3, 4)),
    case(np.broadcast_to, "rows", lambda x: np.broadcast_to(x, (2, 3)), (3,)),
    case(np.broadcast_to, "0-d", lambda x: np.broadcast_to(x, (2, 3)), ()),
    case(primitives.expand, "all", lambda x: primitives.expand(x, (2, 3)), ()),
    case(primitives.expand, "axis", lambda x: primitives.expand(x, (2, 3), 0), (3,)),
    case(primitives.expand, "keepdims", lambda x: primitives.expand(x, (2, 3), -1, True), (2, 1)),
    case(np.concatenate, "rows", lambda x, y: np.concatenate([x, y]), (2, 3), (1, 3)),
    case(np.concatenate, "columns", lambda x, y: np.concatenate([x, y, x], axis=-1), (2, 3), (2, 2)),
    case(np.concatenate, "flat", lambda x, y: np.concatenate((x, y), axis=None), (2, 3), (2,)),
    case(primitives.concatenate, "rows", lambda x, y: primitives.concatenate(0, x, y), (2, 3), (1, 3)),
    case(np.stack, "first", lambda x, y: np.stack([x, y]), (2, 3), (2, 3)),
    case(np.stack, "last", lambda x, y: np.stack([x, y], axis=-1), (2, 3), (2, 3)),
]
