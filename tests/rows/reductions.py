"""Rows of the reductions: see `microgradnd/rules/reductions.py`.

Owns: their domains and the values promised at their kinks.
Must not own: anything else.
Read next: `shape.py`.
"""

import numpy as np

from tests.rows import DISTINCT, Domain, Row, case, reduction

TIE = np.array([1.0, 3.0, 3.0])

ROWS: list[Row] = [
    *reduction(np.sum),
    *reduction(np.mean, min_side=1),
    *reduction(np.max, DISTINCT, kinks=[((TIE,), (np.array([0.0, 0.5, 0.5]),))], min_side=1),
    *reduction(np.min, DISTINCT, kinks=[((-TIE,), (np.array([0.0, 0.5, 0.5]),))], min_side=1),
    *reduction(np.var, min_side=1),
    *reduction(np.std, DISTINCT, min_side=2)[1:4],
    case(np.var, "ddof", lambda x: np.var(x, axis=0, ddof=1), (4, 2)),
    case(np.std, "ddof", lambda x: np.std(x, axis=0, ddof=1), ((4, 2), Domain(distinct=True))),
]
