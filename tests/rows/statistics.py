"""Rows of weighted and joint statistics: see `microgradnd/rules/statistics.py`.

Owns: the ways of calling them.
Must not own: anything else.
Read next: `calculus.py`.
"""

import numpy as np

from microgradnd.rules.statistics import count_into
from tests.rows import DISTINCT, POSITIVE, Domain, Row, case

BINS = np.array([[2, 0, 2], [3, 0, 0]])
VALUES = np.array([[0.0, 1.0, 2.5], [1.9, 9.0, 3.0]])
BETWEEN = np.array([-1.0, 1.2, 2.2, 5.0])  # edges of bins that hold them
FREQUENCIES = [2, 0, 1, 1]
COMPLEX = ((2, 4), DISTINCT, np.complex128)
INSIDE_BINS = Domain(0.1, 0.9)

ROWS: list[Row] = [
    case(np.average, "all", np.average, (2, 3)),
    case(np.average, "returned", lambda x: np.average(x, 0, None, True), (2, 3)),
    case(np.average, "weights", lambda x, w: np.average(x, weights=w), (2, 3), ((2, 3), POSITIVE)),
    case(np.average, "list", lambda x: np.average(x, -1, [1.0, 2.0, 3.0], keepdims=True), (2, 3)),
    case(np.average, "axis", lambda x, w: np.average(x, axis=-2, weights=w, returned=True), (2, 3), ((2,), POSITIVE)),
    case(np.average, "axes", lambda x, w: np.average(x, axis=(2, 0), weights=w), (2, 3, 4), ((4, 2), POSITIVE)),
    case(np.average, "complex", lambda x, w: np.average(x, axis=1, weights=w), COMPLEX, ((4,), POSITIVE)),
    case(np.average, "of-constants", lambda w: np.average(VALUES, axis=0, weights=w), ((2,), POSITIVE)),
    case(np.cov, "matrix", np.cov, (2, 4)),
    case(np.cov, "vector", np.cov, (4,)),
    case(np.cov, "two", lambda x, y: np.cov(x, y, bias=True), (2, 4), (4,)),
    case(np.cov, "columns", lambda x, y: np.cov(x, y, rowvar=False, ddof=0), (4, 2), (4, 1)),
    case(np.cov, "frequencies", lambda x: np.cov(x, fweights=FREQUENCIES), (2, 4)),
    case(np.cov, "weights", lambda x, w: np.cov(x, aweights=w), (2, 4), ((4,), POSITIVE)),
    case(np.cov, "both", lambda x, w: np.cov(x, None, True, False, 1, FREQUENCIES, w), (2, 4), ((4,), POSITIVE)),
    case(np.cov, "dtype", lambda x: np.cov(x, dtype=np.complex128), (2, 4)),
    case(np.cov, "complex", np.cov, COMPLEX),
    case(np.corrcoef, "matrix", np.corrcoef, ((2, 4), DISTINCT)),
    case(np.corrcoef, "vector", np.corrcoef, ((4,), DISTINCT)),
    case(np.corrcoef, "columns", lambda x, y: np.corrcoef(x, y, rowvar=False), ((4, 2), DISTINCT), ((4,), DISTINCT)),
    case(np.corrcoef, "complex", np.corrcoef, COMPLEX),
    # Counts: by their weights
    case(np.bincount, "weights", lambda w: np.bincount([2, 0, 2, 4], w, minlength=7), (4,)),
    case(np.bincount, "keyword", lambda w: np.bincount(np.array([2, 0, 2, 4]), weights=w), (4,)),
    case(count_into, "primitive", lambda w: count_into(np.array([1, 0]), w), (2,)),
    case(np.histogram, "weights", lambda w: np.histogram(VALUES, bins=3, weights=w)[0], (2, 3)),
    case(np.histogram, "edges", lambda w: np.histogram(VALUES, [0.0, 1.0, 1.5, 2.5], weights=w)[0], (2, 3)),
    case(
        np.histogram,
        "varied edges",
        lambda e: np.multiply(*(part[-3:] for part in np.histogram(VALUES, BETWEEN + 0.1 * np.sin(e), density=True))),
        (4,),
    ),
    case(np.histogram, "range", lambda w: np.histogram(VALUES, 4, (1.0, 3.0), weights=w)[0], (2, 3)),
    case(np.histogram, "density", lambda w: np.histogram(VALUES, 3, None, True, w)[0], ((2, 3), POSITIVE)),
    case(np.histogram, "values", lambda x: np.histogram(x, [0.0, 1.0, 2.0])[0] * x[0], ((3,), INSIDE_BINS)),
]
