"""Rows of indexing: see `microgradnd/rules/indexing.py`.

Owns: every form of index.
Must not own: anything else.
Read next: `linalg.py`.
"""

import numpy as np

from microgradnd import primitives
from tests.rows import Row, case

INDICES = {
    "integer": 1,
    "negative": -1,
    "slice": slice(None, None, 2),
    "backwards": slice(None, None, -1),
    "newaxis": (None, 0),
    "ellipsis": (..., 1),
    "tuple": (0, slice(1, 3)),
    "array": np.array([0, 2, 0, 0]),  # repeated elements: their gradients add
    "list": [2, 1],
    "mask": np.array([True, False, True]),
    "full-mask": np.arange(12).reshape(3, 4) % 3 == 0,
    "arrays": (np.array([[0], [2]]), np.array([1, 1])),
    "mixed": (slice(None), np.array([0, 0, 3])),
    "empty": np.array([], dtype=int),
}

ROWS: list[Row] = [
    *(case(primitives.getitem, name, lambda x, i=i: primitives.getitem(x, i), (3, 4)) for name, i in INDICES.items()),
    case(primitives.scatter, "slice", lambda g: primitives.scatter(g, slice(0, 2), (3, 4)), (2, 4)),
    case(primitives.scatter, "repeated", lambda g: primitives.scatter(g, np.array([0, 0]), (3, 4)), (2, 4)),
]
