"""Rows of the functions that choose among arrays: see `microgradnd/rules/choice.py`.

Owns: the ways of calling them and the values promised where a choice is close.
Must not own: anything else.
Read next: `reductions.py`.
"""

import numpy as np

from microgradnd.rules.choice import clip
from tests.rows import ANY, NONZERO, UNIT, Domain, Row, case, ufunc

MASK = np.array([[True], [False]])
HIGH, LOW = Domain(1.1, 3.0), Domain(-3.0, -1.1)
INDEX = np.array([[0, 1, 2], [2, 2, 0]])
AWAY = Domain(avoid=(-1.0, 1.0))

ROWS: list[Row] = [
    case(np.where, "mask", lambda x, y: np.where(MASK, x, y), (2, 3), (3,)),
    case(np.where, "scalar", lambda x: np.where(np.array([True, False, True]), x, 0.0), (2, 3)),
    case(np.where, "number-first", lambda x: np.where(x > 0, 1.0, x), ((2, 3), NONZERO)),
    case(np.where, "condition", lambda c, x: np.where(c, x, 2 * x), ((2, 3), Domain(0.1, 1.0)), (2, 1)),
    case(np.where, "complex", lambda x, y: np.where(MASK, x, y), ((2, 3), ANY, np.complex128), (3,)),
    # At a bound the gradient goes to the value; where the bounds cross, to the upper
    # bound
    *ufunc(clip, UNIT, LOW, HIGH),
    *ufunc(clip, LOW, UNIT, HIGH),
    *ufunc(
        clip,
        HIGH,
        LOW,
        UNIT,
        kinks=[
            ((1.0, 1.0, 2.0), (1.0, 0.0, 0.0)),
            ((2.0, 1.0, 2.0), (1.0, 0.0, 0.0)),
            ((0.0, 3.0, 2.0), (0.0, 0.0, 1.0)),
            ((np.nan, 1.0, 2.0), (np.nan, np.nan, np.nan)),
            ((1.0, np.nan, 2.0), (np.nan, np.nan, np.nan)),
        ],
    ),
    case(np.clip, "numbers", lambda x: np.clip(x, -1.0, 1.0), ((2, 3), AWAY)),
    case(np.clip, "lower", lambda x: np.clip(x, -1.0, None), ((2, 3), AWAY)),
    case(np.clip, "upper", lambda x: np.clip(x, None, 1), ((2, 3), AWAY)),
    case(np.clip, "names", lambda x, y: np.clip(x, a_min=y, a_max=y + 1), ((2, 3), HIGH), ((3,), LOW)),
    case(np.clip, "method", lambda x: x.clip(-1.0, None), ((2, 3), AWAY)),
    case(np.clip, "array", lambda y: np.clip(np.array([-2.0, 0.0, 2.0]), -y, y), ((2, 3), Domain(0.1, 0.9))),
    case(
        np.select,
        "two",
        lambda x, y: np.select([x > 1, x < -1], [x * y, y], default=x),
        ((2, 3), AWAY),
        (3,),
        kinks=[((1.0, 5.0), (1.0, 0.0))],
    ),
    case(np.select, "first-wins", lambda x: np.select([x > -9, x > -9], [x, 2 * x]), (2, 3)),
    case(np.choose, "arrays", lambda x, y, z: np.choose(INDEX, [x, y, z]), (2, 3), (3,), ()),
    case(np.choose, "wrap", lambda x, y: np.choose(INDEX, (x, y), mode="wrap"), (2, 3), (3,)),
    case(np.choose, "clip", lambda x, y: np.choose(INDEX - 1, [x, y], mode="clip"), (2, 3), (3,)),
    case(
        np.piecewise,
        "otherwise",
        lambda x: np.piecewise(x, [x < -1, x > 1], [np.square, 3.0, lambda v: v**3]),
        ((2, 3), AWAY),
    ),
    case(
        np.piecewise, "root", lambda x: np.piecewise(x, [x > 0], [np.sqrt]), ((2, 3), NONZERO), kinks=[((0.0,), (0.0,))]
    ),
    case(np.piecewise, "0-d", lambda x: np.piecewise(x, [x > 0, x <= 0], [np.sqrt, np.negative]), ((), NONZERO)),
    case(
        np.piecewise,
        "arguments",
        lambda x: np.piecewise(x, [x > 9, x > -9], [np.log, lambda v, a, b: a * v + b], 2.0, b=1.0),
        (2, 3),
    ),
]

if hasattr(np, "cumulative_sum"):  # NumPy 2.1, which named the bounds
    ROWS += [
        case(np.clip, "keywords", lambda x, y: np.clip(x, max=y), ((2, 3), HIGH), ((3,), UNIT)),
        case(np.clip, "lists", lambda x: np.clip(x, min=[-1.0, -1.0, -9.0], max=[1.0, 9.0, 1.0]), ((2, 3), AWAY)),
    ]
