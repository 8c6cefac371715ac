"""Rows of the functions that put arrays together: see `microgradnd/rules/joining.py`.

Owns: the ways of calling them.
Must not own: anything else.
Read next: `indexing.py`.
"""

import numpy as np

from microgradnd import primitives
from tests.rows import ANY, DISTINCT, Row, case

PAD = {
    "constant": {},
    "constant-values": {"mode": "constant", "constant_values": ((1.0, 2.0), (3.0, 4.0))},
    "edge": {"mode": "edge"},
    "linear_ramp": {"mode": "linear_ramp"},
    "linear_ramp-end_values": {"mode": "linear_ramp", "end_values": ((1.0, 2.0), (3.0, 4.0))},
    "mean": {"mode": "mean"},
    "mean-stat_length": {"mode": "mean", "stat_length": 2},
    "reflect": {"mode": "reflect"},
    "reflect-odd": {"mode": "reflect", "reflect_type": "odd"},
    "symmetric": {"mode": "symmetric"},
    "symmetric-odd": {"mode": "symmetric", "reflect_type": "odd"},
    "wrap": {"mode": "wrap"},
}
PAD_CHOOSING = {
    "maximum": {"mode": "maximum"},
    "maximum-stat_length": {"mode": "maximum", "stat_length": ((2, 1), (3, 9))},
    "minimum": {"mode": "minimum"},
    "median": {"mode": "median"},
    "median-stat_length": {"mode": "median", "stat_length": 2},
}
WIDTHS = ((1, 2), (4, 0))

ROWS: list[Row] = [
    case(np.concatenate, "rows", lambda x, y: np.concatenate([x, y]), (2, 3), (1, 3)),
    case(np.concatenate, "columns", lambda x, y: np.concatenate([x, y, x], axis=-1), (2, 3), (2, 2)),
    case(np.concatenate, "flat", lambda x, y: np.concatenate((x, y), axis=None), (2, 3), (2,)),
    case(np.concatenate, "plain", lambda x: np.concatenate([[1.0, 2.0], x, np.zeros(2)]), (3,)),
    case(np.concatenate, "empty", lambda x, y: np.concatenate([x, y]), (0, 2), (1, 2)),
    case(np.concatenate, "one-array", np.concatenate, (2, 3)),
    case(np.concatenate, "dtype", lambda x, y: np.concatenate([x, y], dtype=np.complex128), (2,), (1,)),
    case(primitives.concatenate, "ends", lambda x, y: primitives.concatenate(0, [0, 2, 3], x, y), (2, 3), (1, 3)),
    case(np.stack, "first", lambda x, y: np.stack([x, y]), (2, 3), (2, 3)),
    case(np.stack, "last", lambda x, y: np.stack([x, y], axis=-1), (2, 3), (2, 3)),
    case(np.stack, "numbers", lambda x, y: np.stack([x, 2.0, y]), (), ()),
    case(np.stack, "dtype", lambda x: np.stack([x, x], dtype=np.float64), (2,)),
    *(
        case(function, name, lambda x, y, f=function: f([x, y]), first, second)
        for function, named in {
            np.vstack: {"0-d": ((), ()), "vectors": ((3,), (3,)), "matrices": ((2, 3), (1, 3))},
            np.hstack: {"0-d": ((), ()), "vectors": ((2,), (3,)), "matrices": ((2, 1), (2, 3))},
            np.dstack: {"vectors": ((3,), (3,)), "matrices": ((2, 3), (2, 3)), "stacks": ((1, 2, 1), (1, 2, 2))},
            np.column_stack: {"0-d": ((), ()), "vectors": ((3,), (3,)), "matrices": ((2, 1), (2, 3))},
        }.items()
        for name, (first, second) in named.items()
    ),
    case(np.vstack, "dtype", lambda x, y: np.vstack([x, y], dtype=np.float64), (2,), (2,)),
    case(np.hstack, "mixed", lambda x: np.hstack((x, [1.0], 2.0)), (2,)),
    case(np.block, "matrix", lambda x, y: np.block([[x, np.eye(2)], [np.zeros((1, 2)), y]]), (2, 2), (1, 2)),
    case(np.block, "row", lambda x, y: np.block([x, 1.0, y]), (), (2,)),
    case(np.block, "deep", lambda x, y: np.block([[[x], [x]], [[y], [y]]]), (2,), (1, 1, 2)),
    case(np.block, "no-list", lambda x: np.block(x), (2,)),
    case(np.append, "flat", lambda x, y: np.append(x, y), (2, 2), (3,)),
    case(np.append, "axis", lambda x, y: np.append(x, y, axis=1), (2, 2), (2, 1)),
    case(np.append, "number", lambda x: np.append([1.0], x), ()),
    case(np.append, "list", lambda x: np.append(x, [x[0], 3.0]), (2,)),
    case(np.insert, "number", lambda x, y: np.insert(x, 1, y), (3,), ()),
    case(np.insert, "flat", lambda x, y: np.insert(x, [1, 1, 4], y), (2, 2), (3,)),
    case(np.insert, "axis", lambda x, y: np.insert(x, 2, y, axis=1), (2, 3), (2,)),
    case(np.insert, "rows", lambda x, y: np.insert(x, [0, 2], y, axis=0), (2, 3), (3,)),
    case(np.insert, "slice", lambda x, y: np.insert(x, slice(0, 3, 2), y), (3,), (2,)),
    case(np.delete, "number", lambda x: np.delete(x, 1), (2, 2)),
    case(np.delete, "axis", lambda x: np.delete(x, -1, axis=1), (2, 3)),
    case(np.delete, "numbers", lambda x: np.delete(x, [0, 2, 2], axis=0), (4, 2)),
    case(np.delete, "slice", lambda x: np.delete(x, slice(None, None, 2), 1), (2, 3)),
    case(np.delete, "mask", lambda x: np.delete(x, np.array([True, False, True])), (3,)),
    case(np.delete, "nothing", lambda x: np.delete(x, []), (3,)),
    *(
        case(np.pad, name, lambda x, o=options: np.pad(x, WIDTHS, **o), ((3, 2), domain))
        for named, domain in ((PAD, ANY), (PAD_CHOOSING, DISTINCT))
        for name, options in named.items()
    ),
    case(np.pad, "number", lambda x: np.pad(x, 1), (2, 3)),
    case(np.pad, "pair", lambda x: np.pad(x, (0, 2), "edge"), (2, 3)),
    case(np.pad, "nothing", lambda x: np.pad(x, 0), (2, 3)),
    case(np.pad, "0-d", lambda x: np.pad(x, 0), ()),
    case(np.pad, "complex", lambda x: np.pad(x, 1, "linear_ramp", end_values=2.0), ((2, 2), ANY, np.complex128)),
]
