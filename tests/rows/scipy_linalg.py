"""Rows of `scipy.linalg`: see `microgradnd/scipy/linalg.py`.

Owns: matrices that are well conditioned.
Must not own: anything else.
Read next: `../test_laws.py`.
"""

import itertools
import warnings

import numpy as np
import scipy

from microgradnd.scipy import linalg
from tests.rows import UNIT, Domain, Row, case

COMPLEX = np.complex128
EYE = np.eye(3)
SMALL = Domain(-0.4, 0.4)


def strong(a):
    """Return a matrix with a strong diagonal."""
    return 0.3 * a + np.array(2 * EYE, a.dtype)


def positive(a):
    """Return a Hermitian, positive definite matrix."""
    return a @ np.conj(a).mT + np.array(EYE, a.dtype)


def spectrum(a):
    """Return a matrix with distinct eigenvalues, far from 0 and negative numbers."""
    return a + np.array(np.diag([2.0, 3.0, 4.0]), a.dtype)


def logm(a):
    """Return the logarithm, without SciPy's warning."""
    with warnings.catch_warnings():
        # SciPy expects the accuracy of double precision even from single precision
        warnings.filterwarnings("ignore", "logm result may be inaccurate")
        return linalg.logm(a)


def solving(**options):
    return lambda a, b: linalg.solve_triangular(strong(a), b, **options)


def factoring(lower):
    def call(a):
        c, _ = linalg.cho_factor(positive(a), lower)
        return np.tril(c) if lower else np.triu(c)

    return call


def solving_positive(lower):
    return lambda a, b: linalg.cho_solve(linalg.cho_factor(positive(a), lower), b)


def solving_factored(lower):
    return lambda c, b: linalg.cho_solve((strong(c), lower), b)


def specs(*shapes):
    """Return the same shapes with real and with complex numbers."""
    return {"": [(shape, UNIT) for shape in shapes], "-complex": [(shape, UNIT, COMPLEX) for shape in shapes]}


ROWS: list[Row] = [
    *(
        case(
            linalg.solve_triangular,
            f"{trans}-{'lower' if lower else 'upper'}{'-unit' if unit else ''}{name}",
            solving(trans=trans, lower=lower, unit_diagonal=unit),
            *spec,
        )
        for trans, lower, unit in itertools.product((0, 1, 2), (False, True), (False, True))
        for name, spec in specs((3, 3), (3, 2)).items()
    ),
    case(linalg.solve_triangular, "vector", solving(), ((3, 3), UNIT), ((3,), UNIT)),
    case(linalg.solve_triangular, "letter", solving(trans="C", lower=True), *specs((3, 3), (3,))["-complex"]),
    case(
        linalg.solve_triangular,
        "by-position",
        lambda a, b: linalg.solve_triangular(strong(a), b, "T", True, True, True, False),
        ((3, 3), UNIT),
        ((3,), UNIT),
    ),
    case(linalg.solve_triangular, "real-complex", solving(), ((3, 3), UNIT), ((3, 2), UNIT, COMPLEX)),
    case(
        linalg.solve_triangular, "list", lambda a: linalg.solve_triangular(strong(a), [1.0, 2.0, 3.0]), ((3, 3), UNIT)
    ),
    case(
        linalg.solve_triangular,
        "list-left",
        lambda b: linalg.solve_triangular([[1.0, 2.0], [0.0, 3.0]], b),
        ((2,), UNIT),
    ),
    case(linalg.solve_triangular, "empty", lambda a, b: linalg.solve_triangular(a, b), (0, 0), (0, 2)),
    *(
        case(linalg.factor, f"{'lower' if lower else 'upper'}{name}", factoring(lower), *spec)
        for lower in (False, True)
        for name, spec in specs((3, 3)).items()
    ),
    *(
        case(linalg.solve_factored, f"{way}-{'lower' if lower else 'upper'}{name}", call(lower), *spec)
        for lower in (False, True)
        for way, call in {"factored": solving_factored, "positive": solving_positive}.items()
        for name, spec in specs((3, 3), (3, 2)).items()
    ),
    case(linalg.solve_factored, "vector", solving_positive(True), ((3, 3), UNIT), ((3,), UNIT)),
    *(case(linalg.expm, f"matrix{name}", linalg.expm, *spec) for name, spec in specs((3, 3)).items()),
    case(linalg.expm, "stack", linalg.expm, (2, 2, 2)),
    case(linalg.expm, "one", linalg.expm, (1, 1)),
    case(linalg.expm, "empty", linalg.expm, (0, 0)),
    *(
        case(function, f"matrix{name}", lambda a, call=call: call(spectrum(a)), *[(s, SMALL, *t) for s, _, *t in spec])
        for function, call in {linalg.logm: logm, linalg.sqrtm: linalg.sqrtm}.items()
        for name, spec in specs((3, 3)).items()
    ),
    case(linalg.logm, "one", lambda a: logm(a + 2.0), ((1, 1), UNIT)),
    case(linalg.sqrtm, "one", lambda a: linalg.sqrtm(a + 2.0), ((1, 1), UNIT)),
    case(linalg.toeplitz, "column", linalg.toeplitz, (3,)),
    case(linalg.toeplitz, "complex", linalg.toeplitz, ((3,), UNIT, COMPLEX)),
    case(linalg.toeplitz, "both", linalg.toeplitz, (3,), (2,)),
    case(linalg.toeplitz, "list", lambda r: linalg.toeplitz([1.0, 2.0], r), (4,)),
    case(linalg.toeplitz, "number", linalg.toeplitz, ()),
    case(linalg.toeplitz, "stack", linalg.toeplitz, (2, 3), (1, 2)),
    case(linalg.toeplitz, "empty", linalg.toeplitz, (0,)),
    case(linalg.block_diag, "matrices", linalg.block_diag, (2, 3), (1, 2), (2, 1)),
    case(linalg.block_diag, "vector-number", linalg.block_diag, (2,), (), (2, 2)),
    case(linalg.block_diag, "list", lambda a: linalg.block_diag([[1.0, 2.0]], a, 3.0), (2, 2)),
    case(linalg.block_diag, "stack", linalg.block_diag, (2, 1, 2), (2, 2)),
    case(linalg.block_diag, "empty", linalg.block_diag, (0, 2), (2, 1)),
]

if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 16):  # stacks
    ROWS += [
        case(linalg.solve_triangular, "stack", solving(lower=True), ((2, 3, 3), UNIT), ((2, 3, 2), UNIT)),
        case(linalg.solve_triangular, "stack-broadcast", solving(trans=1), ((2, 1, 3, 3), UNIT), ((2, 3, 2), UNIT)),
        case(linalg.solve_triangular, "stack-vector", solving(), ((2, 3, 3), UNIT), ((3,), UNIT)),
        case(linalg.factor, "stack", factoring(True), ((2, 3, 3), UNIT)),
        case(linalg.solve_factored, "stack", solving_positive(False), ((2, 3, 3), UNIT), ((2, 3, 2), UNIT)),
        case(linalg.solve_factored, "stack-vector", solving_factored(True), ((2, 3, 3), UNIT), ((3,), UNIT)),
        case(linalg.logm, "stack", lambda a: logm(spectrum(a)), ((2, 3, 3), SMALL)),
        case(linalg.sqrtm, "stack", lambda a: linalg.sqrtm(spectrum(a)), ((2, 3, 3), SMALL)),
    ]
