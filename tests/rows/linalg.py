"""Rows of linear algebra: see `microgradnd/rules/linalg.py`.

Owns: matrices for which the derivatives exist, and forms of the results that don't
depend on a sign, phase or rotation.
Must not own: anything else.
Read next: `tests/test_laws.py`.
"""

import numpy as np

from microgradnd.rules import linalg as rules
from tests.rows import ANY, Domain, Row, case

SMALL = Domain(-0.4, 0.4)
AWAY = Domain(0.5, 3.0)
OFF_ZERO = Domain(-3.1, 2.3, distinct=True, avoid=(0.0,))  # and no two of the same absolute value
COMPLEX = np.complex128
LA = np.linalg
SQUARE, STACK = (3, 3), (2, 2, 2)


def base(shape):
    """Return matrices whose eigenvalues and elements stay apart when SMALL is added."""
    m, n = shape[-2:]
    return np.broadcast_to(np.eye(m, n) * (3.0 * np.arange(1, n + 1) - 0.5) + 0.5, shape)


def near(function):
    """Call a function near `base`."""
    return lambda x: function(x + base(x.shape).astype(x.dtype))


def hermitian(function):
    """Call a function on a positive definite Hermitian matrix."""
    return near(lambda a: function((a + np.conj(a).mT) / 2))


def small(function, name, call, shape, dtype=np.float64, **options):
    return case(function, name, call, (shape, SMALL, dtype), **options)


def forms(function, call, *shapes, complex_shape=None):
    """Return one row for each shape, and one of complex matrices."""
    names = {2: "matrix", 3: "stack"}
    rows = [small(function, f"{names[len(s)]}-{s[-2]}x{s[-1]}", call, s) for s in shapes]
    return rows + [small(function, "complex", call, complex_shape or shapes[0], COMPLEX)]


# Results that don't depend on the freedom of the vectors


def eigh_form(a, UPLO="L"):
    w, v = LA.eigh(a, UPLO)
    return w, (v * np.expand_dims(np.sin(w), -2)) @ np.conj(v).mT


def eig_form(a):
    w, v = LA.eig(a)
    return np.sum(w * w, axis=-1), (v * np.expand_dims(np.sin(w), -2)) @ LA.inv(v), np.abs(v) ** 2


def svd_form(a, **options):
    u, s, vh = LA.svd(a, **options)
    k = s.shape[-1]
    return s, (u[..., :k] * np.expand_dims(np.sin(s), -2)) @ vh[..., :k, :]


def qr_form(a):
    """Return Q and R with a positive diagonal; LAPACK may change its sign abruptly."""
    q, r = LA.qr(a)
    signs = np.sign(np.real(np.einsum("...ii->...i", r[..., : q.shape[-1]])))
    return q * np.expand_dims(signs, -2), r * np.expand_dims(signs, -1)


def complements(a):
    """Return the projections on the rest of the space beyond the singular vectors."""
    u, s, vh = LA.svd(a)
    k = s.shape[-1]
    return u[..., k:] @ np.conj(u[..., k:]).mT + 0, np.conj(vh[..., k:, :]).mT @ vh[..., k:, :]


def lstsq(a, b):
    """Return the results of np.linalg.lstsq without the rank, an integer."""
    x, residuals, _, s = LA.lstsq(a + base(a.shape).astype(a.dtype), b)
    return x, residuals, s


def solve(a, b):
    return LA.solve(a + base(a.shape).astype(a.dtype), b)


def norm(ord, **options):
    return lambda x: LA.norm(x, ord, **options)


def at(*points):
    """Return kinks of a function called near `base`, from (matrix, gradient) pairs."""
    return [((matrix - base(matrix.shape),), (gradient,)) for matrix, gradient in points]


RANK_1, COFACTORS = np.array([[1.0, 2.0], [2.0, 4.0]]), np.array([[4.0, -2.0], [-2.0, 1.0]])
ONES, ZERO, EYE = np.ones((2, 2)), np.zeros((2, 2)), np.eye(2)
ROTATION = np.array([[0.0, -2.0], [2.0, 0.0]])

VECTOR_ORDS = (None, 1, 2, 3, 1.5, 0.5, 0, -1, -2, np.inf, -np.inf)
MATRIX_ORDS = (None, "fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf)
NO_VECTOR = ((ZERO[0],), (ZERO[0],))
ONE_ZERO = ((np.array([0.0, -2.0]),), (np.array([0.0, -1.0]),))
TIE = ((np.array([2.0, -2.0]),), (np.array([0.5, -0.5]),))
INFINITE = [
    ((np.array([1.0, -np.inf]),), (np.array([0.0, -1.0]),)),
    ((np.array([np.inf, np.inf]),), (np.sqrt(ONES[0] / 2),)),
    ((np.array([1.0, np.nan]),), (ZERO[0] * np.nan,)),
]
UNDERFLOW = ((np.array([1e-300, 1e100]),), (np.array([0.0, 1.0]),))
VECTOR_KINKS = {
    None: [NO_VECTOR, *INFINITE],
    1: [NO_VECTOR, ONE_ZERO],
    2: [NO_VECTOR, ONE_ZERO, *INFINITE],
    3: [NO_VECTOR, ONE_ZERO, UNDERFLOW],
    1.5: [NO_VECTOR, ONE_ZERO],
    0.5: [NO_VECTOR, ONE_ZERO],
    np.inf: [NO_VECTOR, TIE],
    -np.inf: [NO_VECTOR, TIE],
}
MATRIX_KINKS = {
    None: at((ZERO, ZERO)),
    "nuc": at((ZERO, ZERO), (2 * ONES, ONES / 2)),
    2: at((ZERO, ZERO), (EYE, EYE / 2)),
    -2: at((ZERO, ZERO), (EYE, EYE / 2)),
    1: at((ZERO, ZERO), (ONES, ONES / 2)),
    -1: at((ZERO, ZERO), (ONES, ONES / 2)),
    np.inf: at((ZERO, ZERO), (ONES, ONES / 2)),
}

ROWS: list[Row] = [
    # Inverses and systems of equations
    *forms(LA.inv, near(LA.inv), SQUARE, STACK),
    case(LA.inv, "empty", LA.inv, (2, 0, 0)),
    case(LA.solve, "vector", solve, (SQUARE, SMALL), (3,)),
    case(LA.solve, "matrix", solve, (SQUARE, SMALL), (3, 2)),
    case(LA.solve, "stack-vector", solve, (STACK, SMALL), (2,)),
    case(LA.solve, "matrix-stack", solve, ((2, 2), SMALL), (2, 2, 1)),
    case(LA.solve, "complex", solve, (SQUARE, SMALL, COMPLEX), ((3,), ANY, COMPLEX)),
    case(LA.solve, "real-complex", solve, ((2, 2), SMALL), ((2,), ANY, COMPLEX)),
    case(LA.solve, "list-left", lambda b: LA.solve([[2.0, 1.0], [0.0, 3.0]], b), (2,)),
    small(LA.solve, "list-right", near(lambda a: LA.solve(a, [1.0, 2.0])), (2, 2)),
    *forms(LA.pinv, near(LA.pinv), (3, 2), (2, 3), STACK),
    small(LA.pinv, "hermitian", hermitian(lambda a: LA.pinv(a, hermitian=True)), (2, 2), COMPLEX),
    case(LA.pinv, "rank-1", lambda x, y: LA.pinv(np.outer(x, y), rcond=1e-6), ((3,), AWAY), ((2,), AWAY)),
    case(LA.lstsq, "vector", lstsq, ((3, 2), SMALL), (3,)),
    case(LA.lstsq, "matrix", lstsq, ((3, 2), SMALL), (3, 2)),
    case(LA.lstsq, "underdetermined", lstsq, ((2, 3), SMALL), (2,)),
    case(LA.lstsq, "complex", lstsq, ((3, 2), SMALL, COMPLEX), ((3,), ANY, COMPLEX)),
    small(LA.tensorinv, "one", near(lambda a: LA.tensorinv(np.reshape(a, (2, 2, 1)), ind=1)), (2, 2)),
    small(LA.tensorinv, "default", near(lambda a: LA.tensorinv(np.reshape(a, (2, 1, 1, 2)))), (2, 2)),
    case(
        LA.tensorsolve,
        "default",
        lambda a, b: LA.tensorsolve(np.reshape(a + base(a.shape), (2, 1, 2)), b),
        ((2, 2), SMALL),
        (2, 1),
    ),
    case(
        LA.tensorsolve,
        "axes",
        lambda a, b: LA.tensorsolve(np.reshape(a + base(a.shape), (2, 2, 1)), b, axes=(1, 0)),
        ((2, 2), SMALL),
        (1, 2),
    ),
    # Determinants
    *forms(LA.det, near(LA.det), SQUARE, STACK),
    small(
        LA.det,
        "singular",
        near(LA.det),
        (2, 2),
        kinks=at(
            (RANK_1, COFACTORS),
            (ZERO, ZERO),
            (np.stack([RANK_1, EYE]), np.stack([COFACTORS, EYE])),
        ),
    ),
    *forms(rules.minors, near(rules.minors), SQUARE, STACK),
    *forms(LA.slogdet, near(LA.slogdet), SQUARE, STACK),
    # Decompositions
    *forms(LA.cholesky, hermitian(LA.cholesky), SQUARE, STACK),
    small(LA.cholesky, "upper", hermitian(lambda a: LA.cholesky(a, upper=True)), (2, 2), COMPLEX),
    *forms(LA.qr, near(LA.qr), (3, 2), (2, 3), STACK, complex_shape=(3, 2)),
    small(LA.qr, "complex-square", near(qr_form), (2, 2), COMPLEX),
    small(LA.qr, "complex-wide", near(qr_form), (2, 3), COMPLEX),
    small(LA.qr, "r", near(lambda a: LA.qr(a, mode="r")), (3, 2)),
    small(LA.qr, "complete", near(lambda a: LA.qr(a, mode="complete")), (2, 3)),
    small(rules.tall_qr, "tall", near(rules.tall_qr), (3, 2)),
    *forms(LA.eigh, hermitian(eigh_form), SQUARE, STACK),
    small(LA.eigh, "upper", hermitian(lambda a: eigh_form(a, "U")), (2, 2)),
    *forms(LA.eigvalsh, hermitian(LA.eigvalsh), SQUARE, STACK),
    *forms(LA.eig, near(eig_form), SQUARE, STACK),
    small(LA.eig, "complex-values", lambda a: np.real(eig_form(a + ROTATION.astype(a.dtype))[1]), (2, 2)),
    *forms(LA.eigvals, near(LA.eigvals), SQUARE, STACK),
    *forms(LA.svd, near(svd_form), (3, 2), (2, 3), STACK),
    small(LA.svd, "complex-thin", near(lambda a: svd_form(a, full_matrices=False)), (2, 3), COMPLEX),
    small(LA.svd, "complements", near(complements), (3, 2)),
    small(LA.svd, "complements-wide", near(complements), (1, 3), COMPLEX),
    small(LA.svd, "values", near(lambda a: LA.svd(a, compute_uv=False)), (2, 3)),
    small(LA.svd, "hermitian", hermitian(lambda a: svd_form(a, hermitian=True)), (2, 2), COMPLEX),
    small(LA.svd, "hermitian-values", hermitian(lambda a: LA.svd(-a, compute_uv=False, hermitian=True)), (2, 2)),
    *forms(LA.svdvals, near(LA.svdvals), (3, 2), STACK),
    small(LA.svdvals, "square", near(LA.svdvals), (2, 2), kinks=at((ZERO, ZERO))),
    # Norms
    *(
        case(LA.norm, f"vector-{ord}", norm(ord), ((3,), OFF_ZERO), kinks=VECTOR_KINKS.get(ord, ()))
        for ord in VECTOR_ORDS
    ),
    *(case(LA.norm, f"axis-{ord}", norm(ord, axis=0, keepdims=True), ((2, 3), OFF_ZERO)) for ord in VECTOR_ORDS),
    *(small(LA.norm, f"matrix-{ord}", near(norm(ord)), (2, 2), kinks=MATRIX_KINKS.get(ord, ())) for ord in MATRIX_ORDS),
    *(
        small(LA.norm, f"axes-{ord}", near(lambda x, ord=ord: LA.norm(x[:, None], ord, axis=(-1, 0))), (3, 2))
        for ord in MATRIX_ORDS
    ),
    case(LA.norm, "stack", LA.norm, ((2, 2, 2), OFF_ZERO), kinks=[((np.zeros((1, 2, 1)),), (np.zeros((1, 2, 1)),))]),
    case(LA.norm, "keepdims", lambda x: LA.norm(x, keepdims=True), ((2, 2), OFF_ZERO)),
    case(
        rules.direction,
        "columns",
        lambda x, length: rules.direction(x, length, (0,)),
        (3, 2),
        ((1, 2), AWAY),
        kinks=[((np.array([1.0, np.inf]), np.array([np.inf])), (np.zeros(2), np.zeros(1)))],
    ),
    case(LA.norm, "empty", LA.norm, (0,)),
    *(
        case(
            LA.norm,
            f"complex-{ord}",
            norm(ord),
            ((2,), OFF_ZERO, COMPLEX),
            kinks=[((np.zeros(2, COMPLEX),), (0 * ZERO[0],))],
        )
        for ord in (None, 1, 3)
    ),
    *(case(LA.norm, f"complex-axis-{ord}", norm(ord, axis=1), ((2, 2), AWAY, COMPLEX)) for ord in (None, 2, 1, 3)),
    case(LA.norm, "complex-inf", lambda x: LA.norm(x * np.array([1, 9]), np.inf), ((2,), AWAY, COMPLEX)),
    *(small(LA.norm, f"complex-matrix-{ord}", near(norm(ord)), (2, 2), COMPLEX) for ord in ("nuc", 2, 1)),
    case(LA.vector_norm, "all", LA.vector_norm, ((2, 2), OFF_ZERO), kinks=[((ZERO,), (ZERO,))]),
    case(LA.vector_norm, "0-d", LA.vector_norm, ((), OFF_ZERO)),
    case(
        LA.vector_norm, "axes", lambda x: LA.vector_norm(x, axis=(0, -1), keepdims=True, ord=3), ((2, 2, 2), OFF_ZERO)
    ),
    case(LA.vector_norm, "axis", lambda x: LA.vector_norm(x, axis=1, ord=np.inf), ((2, 3), OFF_ZERO)),
    small(LA.matrix_norm, "stack", near(LA.matrix_norm), STACK),
    small(LA.matrix_norm, "ord", near(lambda x: LA.matrix_norm(x, ord="nuc", keepdims=True)), (2, 3)),
    *(small(LA.cond, f"{p}", near(lambda x, p=p: LA.cond(x, p)), (2, 2)) for p in (None, 2, -2, "fro", 1, np.inf)),
    small(LA.cond, "stack", near(LA.cond), (2, 3, 2)),
    # Products, powers and views
    case(LA.multi_dot, "two", lambda *factors: LA.multi_dot(factors), (2, 3), (3, 2)),
    case(LA.multi_dot, "three", lambda *factors: LA.multi_dot(factors), (2, 2), (2, 1), (1, 2)),
    case(LA.multi_dot, "vectors", lambda *factors: LA.multi_dot(factors), (2,), (2, 1), (1, 2), (2,)),
    case(LA.multi_dot, "first-vector", lambda x, y: LA.multi_dot([x, y, y.T]), (2,), (2, 2)),
    case(rules.chain_product, "complex", rules.chain_product, ((2, 3), ANY, COMPLEX), ((3, 2), ANY, COMPLEX), (2, 2)),
    *(small(LA.matrix_power, str(n), near(lambda a, n=n: LA.matrix_power(a, n)), (2, 2)) for n in (0, 1, 2, 3, -1, -2)),
    small(LA.matrix_power, "stack", lambda a: LA.matrix_power(a, 5), STACK, COMPLEX),
    case(LA.matrix_transpose, "stack", LA.matrix_transpose, (2, 3, 2)),
    case(LA.diagonal, "stack", LA.diagonal, (2, 3, 2)),
    case(LA.diagonal, "offset", lambda x: LA.diagonal(x, offset=-1), (3, 3)),
    case(LA.trace, "stack", LA.trace, (2, 3, 2)),
    case(LA.trace, "offset", lambda x: LA.trace(x, offset=1), (3, 3)),
]
