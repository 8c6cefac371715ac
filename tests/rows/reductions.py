"""Rows of the reductions: see `microgradnd/rules/reductions.py`.

Owns: their domains and the values promised at their kinks.
Must not own: anything else.
Read next: `sorting.py`.
"""

import numpy as np

from microgradnd.rules.reductions import recurrence, root, std, var
from tests.rows import ANY, DISTINCT, POSITIVE, Domain, Row, case, reduction

TIE = np.array([1.0, 3.0, 3.0])
NAN = np.array([1.0, np.nan, 3.0])
MASK = np.array([[True, False, True], [True, True, True]])
HOLES = np.array([[0.0, np.nan, 0.0], [0.0, 0.0, np.nan]])  # added, so that the tests see NaN there
ZEROS = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])  # factors: rows with one 0, two, none
COMPLEX = ((2, 3), ANY, np.complex128)
NEAR_1 = Domain(0.5, 1.5)


def options(function, domain=ANY, mask=MASK, **initial):
    """Return the rows of a reduction's other parameters, `where` and `initial`."""
    return [
        case(function, "where", lambda x: function(x, where=mask, **initial), ((2, 3), domain)),
        case(function, "where-axis", lambda x: function(x, 1, where=mask[:, :1], **initial), ((2, 3), domain)),
        case(
            function,
            "where-keepdims",
            lambda x: function(x, -1, keepdims=True, where=mask, **initial),
            ((2, 3), domain),
        ),
    ]


ROWS: list[Row] = [
    *reduction(np.sum),
    *options(np.sum),
    case(np.sum, "initial", lambda x: np.sum(x, axis=0, initial=2.0), (2, 3)),
    case(np.sum, "positions", lambda x: np.sum(x, 1, np.float64, None, True, 2.0, MASK), (2, 3)),
    case(np.sum, "complex", lambda x: np.sum(x, axis=0), COMPLEX),
    case(np.sum, "to-complex", lambda x: np.sum(x, axis=0, dtype=np.complex128), (2, 3)),
    *reduction(np.mean, min_side=1),
    *options(np.mean, mask=MASK),
    case(np.mean, "positions", lambda x: np.mean(x, (0, 1), np.float64, None, True), (2, 3)),
    case(np.mean, "complex", lambda x: np.mean(x, axis=0), COMPLEX),
    *reduction(np.max, DISTINCT, kinks=[((TIE,), (np.array([0.0, 0.5, 0.5]),)), ((NAN,), (NAN * np.nan,))], min_side=1),
    *options(np.max, DISTINCT, initial=0.3),
    case(
        np.max,
        "initial",
        lambda x: np.max(x, initial=3.0),
        ((2, 3), Domain(3.1, 9.0, distinct=True)),
        kinks=[((TIE,), (np.array([0.0, 1 / 3, 1 / 3]),)), ((-TIE,), (np.zeros(3),))],
    ),
    case(np.max, "positions", lambda x: np.max(x, 1, None, True), ((2, 3), DISTINCT)),
    case(np.max, "complex", lambda x: np.max(x, axis=0), ((2, 3), DISTINCT, np.complex128)),
    *reduction(np.min, DISTINCT, kinks=[((-TIE,), (np.array([0.0, 0.5, 0.5]),))], min_side=1),
    *options(np.min, DISTINCT, initial=0.3),
    case(np.amax, "axis", lambda x: np.amax(x, axis=1), ((2, 3), DISTINCT)),
    case(np.amin, "axis", lambda x: np.amin(x, 1, keepdims=True), ((2, 3), DISTINCT)),
    case(np.ptp, "all", np.ptp, ((2, 3), DISTINCT), kinks=[((TIE,), (np.array([-1.0, 0.5, 0.5]),))]),
    case(np.ptp, "rows", lambda x: np.ptp(x, axis=1), ((2, 3), DISTINCT)),
    case(
        np.max,
        "where-tie",
        lambda x: np.max(x, axis=1, where=MASK, initial=-9.0),
        ((2, 3), DISTINCT),
        kinks=[((np.ones((2, 3)),), (np.array([[0.5, 0.0, 0.5], [1 / 3, 1 / 3, 1 / 3]]),))],
    ),
    case(
        np.min,
        "where-tie",
        lambda x: np.min(x, axis=1, where=MASK, initial=9.0),
        ((2, 3), DISTINCT),
        kinks=[((np.ones((2, 3)),), (np.array([[0.5, 0.0, 0.5], [1 / 3, 1 / 3, 1 / 3]]),))],
    ),
    case(np.ptp, "axis", lambda x: np.ptp(x, axis=0, keepdims=True), ((2, 3), DISTINCT)),
    # Variances
    *reduction(np.var, min_side=1),
    *options(np.var),
    case(np.var, "ddof", lambda x: np.var(x, axis=0, ddof=1), (4, 2)),
    case(np.var, "positions", lambda x: np.var(x, 0, np.float64, None, 1, True), (4, 2)),
    case(np.var, "complex", lambda x: np.var(x, axis=0, ddof=0.5), ((3, 2), ANY, np.complex128)),
    case(np.var, "mean", lambda x, m: np.var(x, axis=1, mean=m, where=MASK), (2, 3), (2, 1)),
    case(np.var, "own-mean", lambda x: np.var(x, axis=1, mean=np.mean(x, axis=1, keepdims=True)), (2, 3)),
    case(np.var, "complex-mean", lambda x, m: np.var(x, mean=m), COMPLEX, ((1, 1), ANY, np.complex128)),
    case(np.var, "method", lambda x: x.var(axis=-1, ddof=1), (2, 3)),
    case(var, "primitive", lambda x: var(x, axis=0), (3, 2)),
    # 0 where all elements are equal, even if their mean is rounded
    *reduction(np.std, DISTINCT, min_side=2)[1:4],
    *options(np.std, DISTINCT),
    case(
        np.std,
        "all",
        np.std,
        ((4,), DISTINCT),
        kinks=[((np.full(3, 0.1),), (np.zeros(3),)), ((2.0,), (0.0,))],
    ),
    case(np.std, "ddof", lambda x: np.std(x, axis=0, ddof=1), ((4, 2), DISTINCT)),
    case(np.std, "complex", lambda x: np.std(x, axis=0), ((3, 2), DISTINCT, np.complex128)),
    case(
        np.std,
        "mean",
        lambda x: np.std(x, axis=-1, mean=np.mean(x, axis=-1, keepdims=True)),
        ((2, 3), DISTINCT),
        kinks=[((np.ones((2, 3)),), (np.zeros((2, 3)),))],
    ),
    case(root, "of-0", root, ((2, 3), POSITIVE), kinks=[((0.0,), (0.0,))]),
    case(std, "primitive", lambda x: std(x, axis=0), ((3, 2), DISTINCT)),
    # Products: exact with zeros, one or two
    *reduction(np.prod, NEAR_1),
    *options(np.prod, initial=2.0),
    case(
        np.prod,
        "zeros",
        lambda x: np.prod(x * ZEROS, axis=1),
        ((3, 3), POSITIVE),
        kinks=[((np.ones((3, 3)),), (np.array([[0.0, 0, 0], [0, 0, 0], [1, 1, 1]]),))],
    ),
    case(np.prod, "at-one-zero", np.prod, (2, 2), kinks=[((np.array([2.0, 0.0, 3.0]),), (np.array([0.0, 6.0, 0.0]),))]),
    case(np.prod, "at-two-zeros", np.prod, (3,), kinks=[((np.array([2.0, 0.0, 0.0]),), (np.zeros(3),))]),
    case(np.prod, "complex", lambda x: np.prod(x, axis=0), COMPLEX),
    case(np.cumprod, "all", np.cumprod, (2, 3), kinks=[((np.array([2.0, 0.0, 3.0]),), (np.array([1.0, 8.0, 0.0]),))]),
    case(np.cumprod, "axis", lambda x: np.cumprod(x, axis=0), (3, 2)),
    case(np.cumprod, "negative-axis", lambda x: np.cumprod(x, -1), (2, 3, 2)),
    case(np.cumprod, "zeros", lambda x: np.cumprod(x * ZEROS, axis=1), (3, 3)),
    case(np.cumprod, "empty", lambda x: np.cumprod(x, axis=0), (0, 2)),
    case(np.cumprod, "0-d", np.cumprod, ()),
    case(np.cumprod, "complex", lambda x: np.cumprod(x, axis=1), COMPLEX),
    case(np.cumprod, "method", lambda x: x.cumprod(axis=1), (2, 3)),
    case(recurrence, "columns", recurrence, (3, 2), (3, 2)),
    # Cumulative sums
    case(np.cumsum, "all", np.cumsum, (2, 3)),
    case(np.cumsum, "axis", lambda x: np.cumsum(x, axis=0), (3, 2)),
    case(np.cumsum, "negative-axis", lambda x: np.cumsum(x, -2, np.float64), (2, 3, 2)),
    case(np.cumsum, "empty", lambda x: np.cumsum(x, axis=1), (2, 0)),
    case(np.cumsum, "0-d", np.cumsum, ()),
    case(np.cumsum, "complex", lambda x: np.cumsum(x, axis=1), COMPLEX),
    # Without NaN, which has gradient 0
    *reduction(np.nansum),
    *options(np.nansum),
    case(np.nansum, "holes", lambda x: np.nansum(x + HOLES, axis=0), (2, 3), kinks=[((HOLES,), (~np.isnan(HOLES),))]),
    *reduction(np.nanprod, NEAR_1),
    case(np.nanprod, "holes", lambda x: np.nanprod(x + HOLES, axis=1), (2, 3)),
    case(np.nancumsum, "holes", lambda x: np.nancumsum(x + HOLES, axis=1), (2, 3)),
    case(np.nancumprod, "holes", lambda x: np.nancumprod(x + HOLES), (2, 3)),
    *reduction(np.nanmean, min_side=1, kinks=[((NAN,), (np.array([0.5, 0.0, 0.5]),))]),
    *options(np.nanmean),
    case(np.nanmean, "holes", lambda x: np.nanmean(x + HOLES, axis=1, keepdims=True), (2, 3)),
    case(np.nanvar, "holes", lambda x: np.nanvar(x + HOLES, axis=1, ddof=1), (2, 3)),
    case(np.nanvar, "keepdims", lambda x: np.nanvar(x, 0, np.float64, None, 0, True), (2, 3)),
    case(np.nanvar, "where", lambda x: np.nanvar(x + HOLES, where=MASK), (2, 3)),
    case(np.nanstd, "holes", lambda x: np.nanstd(x + HOLES, axis=1), ((2, 3), DISTINCT)),
    case(np.nanstd, "where", lambda x: np.nanstd(x + HOLES, where=MASK, keepdims=True), ((2, 3), DISTINCT)),
    *reduction(np.nanmax, DISTINCT, min_side=1, kinks=[((NAN,), (np.array([0.0, 0.0, 1.0]),))]),
    case(np.nanmax, "holes", lambda x: np.nanmax(x + HOLES, axis=1), ((2, 3), DISTINCT)),
    case(np.nanmax, "options", lambda x: np.nanmax(x, 1, None, True, 0.3, MASK), ((2, 3), DISTINCT)),
    *reduction(np.nanmin, DISTINCT, min_side=1),
    case(np.nanmin, "holes", lambda x: np.nanmin(x + HOLES, axis=1), ((2, 3), DISTINCT)),
]

if hasattr(np, "cumulative_sum"):  # NumPy 2.1
    ROWS += [
        case(np.cumulative_sum, "vector", np.cumulative_sum, (3,)),
        case(np.cumulative_sum, "initial", lambda x: np.cumulative_sum(x, axis=1, include_initial=True), (2, 3)),
        case(np.cumulative_sum, "0-d", np.cumulative_sum, ()),
        case(np.cumulative_prod, "vector", np.cumulative_prod, (3,)),
        case(np.cumulative_prod, "initial", lambda x: np.cumulative_prod(x, axis=-2, include_initial=True), (3, 2)),
    ]
