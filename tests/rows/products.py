"""Rows of products: see `microgradnd/rules/products.py`.

Owns: the combinations of ranks, axes and subscripts.
Must not own: anything else.
Read next: `linalg.py`.
"""

import numpy as np

from tests.rows import ANY, Row, case

COMPLEX = np.complex128

MATMUL = {
    "matrix-matrix": ((2, 3), (3, 4)),
    "matrix-vector": ((2, 3), (3,)),
    "vector-matrix": ((3,), (3, 4)),
    "vector-vector": ((3,), (3,)),
    "stack-matrix": ((2, 2, 3), (3, 2)),
    "matrix-stack": ((2, 3), (2, 3, 2)),
    "stack-stack": ((2, 1, 2, 3), (2, 3, 2)),
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
    "scalar-matrix": ((), (2, 3)),
    "matrix-scalar": ((2, 3), ()),
    "scalar-scalar": ((), ()),
    "stack-matrix": ((2, 2, 3), (3, 2)),
    "stack-stack": ((2, 2, 3), (2, 3, 2)),
}
INNER = {
    "vector-vector": ((3,), (3,)),
    "matrix-vector": ((2, 3), (3,)),
    "matrix-stack": ((2, 3), (2, 2, 3)),
    "scalar-matrix": ((), (2, 3)),
    "matrix-scalar": ((2, 3), ()),
}
TENSORDOT = {
    "one": ((2, 3), (3, 4), 1),
    "two": ((2, 3, 4), (3, 4, 2), 2),
    "none": ((2,), (3,), 0),
    "crossed": ((2, 3, 4), (4, 2, 3), ([2, 0], [0, 1])),
    "negative": ((2, 3), (4, 3), (-1, -1)),
}
EINSUM = {
    "matmul": ("ij,jk->ik", (2, 3), (3, 2)),
    "implicit": ("ij,jk", (2, 3), (3, 2)),
    "implicit-sorted": ("ba", (2, 3)),
    "spaces": (" i j , j -> i ", (2, 3), (3,)),
    "inner": ("i,i->", (3,), (3,)),
    "outer": ("i,j->ij", (2,), (3,)),
    "scalars": (",ij->ij", (), (2, 3)),
    "transpose": ("ijk->kij", (2, 3, 2)),
    "sum": ("ij->i", (2, 3)),
    "sum-all": ("ij->", (2, 3)),
    "trace": ("ii->", (3, 3)),
    "trace-implicit": ("ii", (3, 3)),
    "diagonal": ("ii->i", (3, 3)),
    "thrice": ("iii->i", (2, 2, 2)),
    "diagonal-of-stack": ("iji->ij", (2, 3, 2)),
    "trace-of-product": ("ij,ji->", (2, 3), (3, 2)),
    "diagonal-times": ("ii,i->i", (3, 3), (3,)),
    "lone-index": ("ij,k->i", (2, 3), (2,)),
    "stack": ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
    "three": ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)),
    "quadratic-form": ("i,ij,j", (3,), (3, 3), (3,)),
    "ellipsis": ("...ij,...jk->...ik", (2, 2, 3), (3, 2)),
    "ellipsis-implicit": ("...i,...i", (2, 3), (3,)),
    "ellipsis-first": ("i...,ij->j...", (3, 2), (3, 2)),
    "ellipsis-diagonal": ("...ii->...i", (2, 3, 3)),
    "ellipsis-moved": ("...ij->ji...", (2, 2, 3)),
    "ellipsis-broadcast": ("...,...", (2, 1), (1, 3)),
    "ones-broadcast": ("ij,jk->ik", (2, 1), (3, 2)),
    "ones-kept": ("ij,ij->ij", (1, 3), (2, 1)),
    "ones-alone": ("ij,ij->i", (2, 3), (2, 1)),
    "empty": ("ij,jk->ik", (2, 0), (0, 2)),
}


def einsum(subscripts):
    return lambda *operands: np.einsum(subscripts, *operands)


def complex_pair(function, name, call, *shapes):
    return case(function, name, call, *((shape, ANY, COMPLEX) for shape in shapes))


ROWS: list[Row] = [
    *(case(np.matmul, name, np.matmul, *shapes) for name, shapes in MATMUL.items()),
    complex_pair(np.matmul, "complex", np.matmul, (2, 3), (3, 2)),
    case(np.matmul, "list-vector", lambda x: np.matmul([[1.0, 2.0], [3.0, 4.0]], x), (2,)),
    case(np.linalg.matmul, "matrix-matrix", np.linalg.matmul, (2, 3), (3, 2)),
    case(np.linalg.matmul, "list-right", lambda x: np.linalg.matmul(x, [[1.0], [2.0]]), (2, 2, 2)),
    *(case(np.dot, name, np.dot, *shapes) for name, shapes in DOT.items()),
    case(np.dot, "list", lambda x: np.dot([[1.0, 2.0], [3.0, 4.0]], x) + np.dot(x, [5.0, 6.0]), (2,)),
    complex_pair(np.dot, "complex", np.dot, (3,), (3,)),
    *(case(np.inner, name, np.inner, *shapes) for name, shapes in INNER.items()),
    *(
        case(np.tensordot, name, lambda x, y, axes=axes: np.tensordot(x, y, axes), x, y)
        for name, (x, y, axes) in TENSORDOT.items()
    ),
    case(np.linalg.tensordot, "axes", lambda x, y: np.linalg.tensordot(x, y, axes=1), (2, 3), (3, 2)),
    case(np.vdot, "vectors", np.vdot, (3,), (3,)),
    complex_pair(np.vdot, "complex", np.vdot, (2, 2), (4,)),
    case(np.vecdot, "stack", np.vecdot, (2, 1, 3), (2, 3)),
    case(np.vecdot, "axis", lambda x, y: np.vecdot(x, y, axis=0), (3,), (3, 2)),
    case(np.vecdot, "keepdims", lambda x, y: np.vecdot(x, y, axis=0, keepdims=True), (3, 2), (3,)),
    complex_pair(np.vecdot, "complex", np.vecdot, (2, 3), (3,)),
    case(np.linalg.vecdot, "axis", lambda x, y: np.linalg.vecdot(x, y, axis=-2), (2, 3, 2), (3, 2)),
    case(np.outer, "vectors", np.outer, (2,), (3,)),
    case(np.outer, "flattened", np.outer, (2, 2), ()),
    complex_pair(np.linalg.outer, "complex", np.linalg.outer, (2,), (3,)),
    case(np.kron, "matrices", np.kron, (2, 3), (2, 1)),
    case(np.kron, "vector-stack", np.kron, (2,), (2, 1, 2)),
    case(np.kron, "scalar", np.kron, (), (2,)),
    case(np.cross, "vectors", np.cross, (3,), (3,)),
    case(np.cross, "stack", np.cross, (2, 3), (3,)),
    case(np.cross, "axes", lambda x, y: np.cross(x, y, axisa=0, axisb=1, axisc=0), (3,), (2, 3)),
    case(np.cross, "axis", lambda x, y: np.cross(x, y, axis=0), (3, 2), (3, 2)),
    case(np.cross, "moved", lambda x, y: np.cross(x, y, 0, -1, 1), (3, 2), (2, 2, 3)),
    case(np.linalg.cross, "axis", lambda x, y: np.linalg.cross(x, y, axis=-2), (3, 2), (2, 3, 2)),
    *(case(np.einsum, name, einsum(subscripts), *shapes) for name, (subscripts, *shapes) in EINSUM.items()),
    complex_pair(np.einsum, "complex", einsum("ij,ji->i"), (2, 3), (3, 2)),
    case(np.einsum, "real-complex", einsum("ij,j->i"), (2, 3), ((3,), ANY, COMPLEX)),
    case(np.einsum, "sublists", lambda x, y: np.einsum(x, [0, 1], y, [1, 26], [26, 0]), (2, 3), (3, 2)),
    case(np.einsum, "sublists-implicit", lambda x, y: np.einsum(x, [1, 0], y, [1, 2]), (2, 3), (2, 2)),
    case(np.einsum, "sublists-ellipsis", lambda x: np.einsum(x, [..., 0, 0], [0, ...]), (2, 3, 3)),
    case(np.einsum, "same-twice", lambda x: np.einsum("ij,kj->ik", x, x), (2, 3)),
    case(np.einsum, "list", lambda x: np.einsum("ij,j", [[1.0, 2.0], [3.0, 4.0]], x), (2,)),
    case(
        np.einsum,
        "optimize",
        lambda x, y, z: np.einsum("ij,jk,kl->il", x, y, z, optimize=True),
        (2, 3),
        (3, 2),
        (2, 2),
    ),
    case(
        np.einsum,
        "optimize-path",
        lambda x, y, z: np.einsum("ij,jk,kl->il", x, y, z, optimize=["einsum_path", (0, 1), (0, 1)]),
        (2, 3),
        (3, 2),
        (2, 2),
    ),
]

if hasattr(np, "matvec"):  # NumPy 2.2
    ROWS += [
        case(np.matvec, "stack", np.matvec, (2, 1, 2, 3), (2, 3)),
        complex_pair(np.matvec, "complex", np.matvec, (2, 3), (3,)),
        case(np.vecmat, "stack", np.vecmat, (2, 1, 3), (2, 3, 2)),
        complex_pair(np.vecmat, "complex", np.vecmat, (2, 3), (3, 2)),
    ]
