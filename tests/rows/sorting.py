"""Rows of the functions that put elements in order: see `microgradnd/rules/sorting.py`.

Owns: the ways of calling them, and the promised values for equal elements.
Must not own: anything else.
Read next: `statistics.py`.
"""

import numpy as np

from microgradnd.rules.sorting import place
from tests.rows import DISTINCT, Domain, Row, case, reduction

TIE = np.array([1.0, 0.0, 1.0])
ONE_NAN = np.array([1.0, np.nan, 0.0, 3.0])
HOLES = np.array([[0.0, np.nan, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [np.nan, np.nan, 0.0, 0.0]])
MATRIX = ((3, 4), DISTINCT)
Q = np.array([[0.1, 0.5], [0.77, 1.0]])
METHODS = [
    *("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull"),
    *("linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest"),
]


def quantile(x, **options):
    return np.quantile(x, 0.3, **options)


ROWS: list[Row] = [
    # Equal elements keep their order
    case(np.sort, "vector", lambda x: np.sort(x) * np.arange(5), ((5,), DISTINCT)),
    case(
        np.sort,
        "default",
        lambda x: np.sort(x) * np.arange(3.0),
        ((2, 3), DISTINCT),
        kinks=[((TIE,), (np.array([1.0, 0.0, 2.0]),))],
    ),
    case(np.sort, "axis", lambda x: np.sort(x, axis=0), MATRIX),
    case(np.sort, "flat", lambda x: np.sort(x, None), MATRIX),
    case(np.sort, "stable", lambda x: np.sort(x, -2, kind="stable"), ((2, 3, 2), DISTINCT)),
    case(np.sort, "complex", lambda x: np.sort(x, axis=0), ((3, 2), DISTINCT, np.complex128)),
    case(np.sort, "empty", lambda x: np.sort(x, axis=0), (0, 2)),
    case(np.sort_complex, "real", np.sort_complex, ((2, 3), DISTINCT)),
    case(np.sort_complex, "complex", np.sort_complex, ((3,), DISTINCT, np.complex128)),
    case(np.partition, "smallest", lambda x: np.sort(np.partition(x, 1)[..., :2]), MATRIX),
    case(np.partition, "axis", lambda x: np.partition(x, [0, 2], axis=0), ((3, 2), DISTINCT)),
    case(np.partition, "flat", lambda x: np.partition(x, (5, 6), axis=None)[5:7], MATRIX),
    # Medians: an even number of elements has two in the middle
    *reduction(np.median, DISTINCT, min_side=1, kinks=[((np.array([1.0, np.nan]),), (np.full(2, np.nan),))]),
    case(np.median, "odd", lambda x: np.median(x, axis=0), ((3, 2), DISTINCT)),
    case(np.median, "positions", lambda x: np.median(x, 1, None, False, True), MATRIX),
    case(np.median, "infinite", lambda x: np.median(np.concatenate([x, [np.inf, np.inf]])), ((3,), DISTINCT)),
    *reduction(np.nanmedian, DISTINCT, min_side=1, kinks=[((ONE_NAN,), (np.array([1.0, 0.0, 0.0, 0.0]),))]),
    case(np.nanmedian, "holes", lambda x: np.nanmedian(x + HOLES, axis=1, keepdims=True), MATRIX),
    case(np.nanmedian, "holes-axis-0", lambda x: np.nanmedian(x + HOLES, axis=0), MATRIX),
    # Quantiles
    *reduction(quantile, DISTINCT, min_side=1),
    *(case(np.quantile, m, lambda x, m=m: np.quantile(x, Q, axis=1, method=m), MATRIX) for m in METHODS),
    case(
        np.quantile,
        "positions",
        lambda x: np.quantile(x, [0.2, 0.9], (0, 2), None, False, "hazen", True),
        ((2, 3, 2), DISTINCT),
    ),
    *(
        case(
            np.quantile,
            f"of-{m}",
            lambda x, q, m=m: np.quantile(x, q, axis=0, method=m),
            MATRIX,
            ((2,), Domain(0.55, 0.65)),
        )
        for m in ("linear", "weibull", "median_unbiased", "lower")
    ),
    case(np.percentile, "several", lambda x: np.percentile(x, [10, 50.0, 99], axis=-1, keepdims=True), MATRIX),
    case(np.percentile, "of-q", lambda x, q: np.percentile(x, q), MATRIX, ((), Domain(20.0, 25.0))),
    case(np.nanquantile, "holes", lambda x: np.nanquantile(x + HOLES, 0.3, axis=1), MATRIX),
    case(np.nanquantile, "several", lambda x: np.nanquantile(x + HOLES, Q, 0, method="weibull", keepdims=True), MATRIX),
    case(np.nanquantile, "of-q", lambda x, q: np.nanquantile(x + HOLES, q, axis=0), MATRIX, ((2,), Domain(0.6, 0.9))),
    case(np.nanpercentile, "holes", lambda x: np.nanpercentile(x + HOLES, 30), MATRIX),
    # 0 beyond the elements
    case(
        place,
        "hazen",
        lambda q: place(q, 5, "hazen"),
        ((3,), Domain(0.12, 0.88)),
        kinks=[((np.array([0.01, 0.99]),), (np.zeros(2),))],
    ),
]
