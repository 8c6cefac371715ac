"""Rows of products and linear algebra: see `microgradnd/rules/linalg.py`.

Owns: the combinations of ranks, and matrices for which the derivatives exist.
Must not own: anything else.
Read next: `tests/test_laws.py`.
"""

import numpy as np

from tests.rows import Row, case

MATMUL = {
    "matrix-matrix": ((2, 3), (3, 4)),
    "matrix-vector": ((2, 3), (3,)),
    "vector-matrix": ((3,), (3, 4)),
    "vector-vector": ((3,), (3,)),
    "stack-matrix": ((2, 2, 3), (3, 4)),
    "matrix-stack": ((2, 3), (2, 3, 4)),
    "stack-stack": ((2, 1, 2, 3), (3, 3, 2)),
    "stack-vector": ((2, 2, 3), (3,)),
    "vector-stack": ((3,), (2, 3, 2)),
    "empty": ((0, 3), (3, 2)),
    "inner-empty": ((2, 0), (0, 2)),
}
DOT = {
    "matrix-matrix": ((2, 3), (3, 4)),
    "matrix-vector": ((2, 3), (3,)),
    "vector-matrix": ((3,), (3, 4)),
    "vector-vector": ((3,), (3,)),
    "scalar-matrix": ((), (3, 4)),
    "matrix-scalar": ((3, 4), ()),
    "stack-matrix": ((2, 2, 3), (3, 4)),
    "stack-stack": ((2, 2, 3), (4, 3, 2)),
}

TENSORDOT = {
    "one": ((2, 3), (3, 4), 1),
    "two": ((2, 3, 4), (3, 4, 2), 2),
    "none": ((2,), (3,), 0),
    "crossed": ((2, 3, 4), (4, 2, 3), ([2, 0], [0, 1])),
    "negative": ((2, 3), (4, 3), (-1, -1)),
}

ROWS: list[Row] = [
    *(case(np.matmul, name, np.matmul, *shapes) for name, shapes in MATMUL.items()),
    *(
        case(np.tensordot, name, lambda x, y, axes=axes: np.tensordot(x, y, axes), x, y)
        for name, (x, y, axes) in TENSORDOT.items()
    ),
    *(case(np.dot, name, np.dot, *shapes) for name, shapes in DOT.items()),
]
