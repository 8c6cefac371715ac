"""Rows of the methods of ufuncs and of `where=`: see `microgradnd/rules/ufuncs.py`.

Owns: the ways of calling them.
Must not own: anything else.
Read next: `tests/test_laws.py`.
"""

import numpy as np

from microgradnd import primitives
from microgradnd.rules.ufuncs import log_sum_exp, shares
from tests.rows import DISTINCT, POSITIVE, Domain, Row, case

MASK = np.array([[True, False, True], [False, True, True]])

ROWS: list[Row] = [
    case(np.add.reduce, "default", np.add.reduce, (2, 3)),
    case(np.add.reduce, "all", lambda x: np.add.reduce(x, axis=None, keepdims=True), (2, 3)),
    case(np.multiply.reduce, "axis", lambda x: np.multiply.reduce(x, axis=1), (2, 3)),
    case(np.maximum.reduce, "default", np.maximum.reduce, ((2, 3), DISTINCT)),
    case(np.minimum.reduce, "default", np.minimum.reduce, ((2, 3), DISTINCT)),
    case(np.logaddexp.reduce, "default", np.logaddexp.reduce, (2, 3)),
    case(np.logaddexp.reduce, "axes", lambda x: np.logaddexp.reduce(x, axis=(0, 1), keepdims=True), (2, 3)),
    case(
        np.logaddexp.reduce,
        "all",
        lambda x: np.logaddexp.reduce(x, axis=None),
        (2, 3),
        kinks=[
            ((np.array([-np.inf, 0.0]),), (np.array([0.0, 1.0]),)),
            ((np.array([-np.inf, -np.inf]),), (np.zeros(2),)),
            ((np.array([np.inf, 1.0]),), (np.array([1.0, 0.0]),)),
            ((np.array([np.inf, 1.0, np.inf]),), (np.array([0.5, 0.0, 0.5]),)),
            ((np.array([np.nan, 1.0]),), (np.full(2, np.nan),)),
            ((np.array([1e16, 1e16]),), (np.array([0.5, 0.5]),)),
        ],
    ),
    case(shares, "axis", lambda x: shares(x, 1), (2, 3), kinks=[((np.zeros((2, 3)),), (np.zeros((2, 3)),))]),
    case(log_sum_exp, "middle", lambda x: log_sum_exp(x, axis=1), (2, 3, 2)),
    case(np.add.accumulate, "default", np.add.accumulate, (3, 2)),
    case(np.multiply.accumulate, "axis", lambda x: np.multiply.accumulate(x, axis=-1), (2, 3)),
    case(
        np.maximum.accumulate,
        "default",
        np.maximum.accumulate,
        ((5, 2), DISTINCT),
        kinks=[((np.array([1.0, 0.0, 1.0, 2.0]),), (np.array([3.0, 0.0, 0.0, 1.0]),))],
    ),
    case(np.minimum.accumulate, "axis", lambda x: np.minimum.accumulate(x, axis=-1), ((2, 5), DISTINCT)),
    case(np.add, "outer", np.add.outer, (2,), (2, 3)),
    case(np.multiply, "outer", np.multiply.outer, (2, 3), ()),
    case(np.power, "outer", np.power.outer, ((2,), POSITIVE), (3,)),
    case(np.multiply, "dtype", lambda x, y: np.multiply(x, y, dtype=np.float64), (2, 3), (3,)),
    case(primitives.masked, "multiply", lambda x, y: primitives.masked(np.multiply, MASK, x, y), (2, 3), (3,)),
    case(
        primitives.masked,
        "log",
        lambda x: primitives.masked(np.log, x > 0, x),
        ((2, 3), Domain(-3.0, 3.0, avoid=(0.0,))),
        kinks=[((np.array([0.0, 2.0]),), (np.array([0.0, 0.5]),))],
    ),
]
