"""Rows of discrete calculus: see `microgradnd/rules/calculus.py`.

Owns: the ways of calling them, and the promised values where pieces meet.
Must not own: anything else.
Read next: `polynomials.py`.
"""

import numpy as np

from microgradnd.rules.calculus import between
from tests.rows import ANY, POSITIVE, Domain, Row, case

COMPLEX = ((4,), ANY, np.complex128)
XP, FP = np.array([0.0, 1.0, 3.0]), np.array([2.0, 5.0, 1.0])
POINTS = Domain(-1.0, 4.0, avoid=(0.0, 1.0, 3.0))
UP = np.arange(4.0)  # added to coordinates that move by less than 1
SMALL = Domain(0.0, 0.9)
START, STOP = Domain(0.5, 1.0), Domain(2.0, 3.0)

CONVOLVE = {
    "shorter": (5, 3),
    "shorter-even": (5, 2),
    "longer": (2, 5),
    "longer-even": (4, 6),
    "one": (1, 3),
    "alike": (3, 3),
}

ROWS: list[Row] = [
    # Differences
    case(np.diff, "default", np.diff, (2, 4)),
    case(np.diff, "twice", lambda x: np.diff(x, 2, axis=0), (4, 2)),
    case(np.diff, "none", lambda x: np.diff(x, n=0), (3,)),
    case(np.diff, "ends", lambda x, y, z: np.diff(x, axis=1, prepend=y, append=z), (2, 3), (2, 2), ()),
    case(np.diff, "number", lambda x: np.diff(x, prepend=0.0), (2, 3)),
    case(np.diff, "short", lambda x: np.diff(x), (2, 1)),
    case(np.diff, "list", lambda y: np.diff([1.0, 2.0], append=y), (2,)),
    case(np.ediff1d, "all", np.ediff1d, (2, 3)),
    case(np.ediff1d, "ends", lambda x, y: np.ediff1d(x, to_end=y, to_begin=[1.0, 2.0]), (2, 3), (2,)),
    case(np.gradient, "vector", np.gradient, (5,)),
    case(np.gradient, "matrix", np.gradient, (3, 4)),
    case(np.gradient, "number", lambda x, h: np.gradient(x, h), (3, 2), ((), POSITIVE)),
    case(np.gradient, "numbers", lambda x, h: np.gradient(x, 0.5, h), (3, 2), ((), POSITIVE)),
    case(np.gradient, "axis", lambda x: np.gradient(x, 2, axis=-1), (2, 3)),
    case(np.gradient, "axes", lambda x: np.gradient(x, axis=(1, 0), edge_order=2), (3, 4)),
    case(np.gradient, "coordinates", lambda f, x: np.gradient(f, UP + x, axis=1), (2, 4), ((4,), SMALL)),
    case(np.gradient, "second-order", lambda f, x: np.gradient(f, UP + x, edge_order=2), (4,), ((4,), SMALL)),
    case(np.gradient, "mixed", lambda f, x: np.gradient(f, 0.1, UP + x, edge_order=2), (3, 4), ((4,), SMALL)),
    case(np.gradient, "of-integers", lambda x: np.gradient([0, 1, 4, 9], UP + x), ((4,), SMALL)),
    case(np.gradient, "even", lambda f: np.gradient(f, [0.0, 0.5, 1.0, 1.5], edge_order=2), (4,)),
    case(np.gradient, "short", np.gradient, (2,)),
    case(np.gradient, "complex", np.gradient, COMPLEX),
    # Integrals and interpolation
    case(np.trapezoid, "default", np.trapezoid, (2, 4)),
    case(np.trapezoid, "dx", lambda y, dx: np.trapezoid(y, dx=dx, axis=0), (3, 2), ()),
    case(np.trapezoid, "x", np.trapezoid, (2, 4), (4,)),
    case(np.trapezoid, "x-axis", lambda y, x: np.trapezoid(y, x, axis=-2), (3, 2), (3,)),
    case(np.trapezoid, "x-matrix", lambda y, x: np.trapezoid(y, x, 1.0, 1), (2, 3), (2, 3)),
    case(np.trapezoid, "list", lambda y: np.trapezoid(y, [0.0, 1.0, 3.0]), (3,)),
    # At a point, the slope to its right; at the last point, to its left
    case(
        np.interp,
        "x",
        lambda x: np.interp(x, XP, FP),
        ((2, 3), POINTS),
        kinks=[((np.array([0.0, 1.0, 3.0, np.inf, -np.inf]),), (np.array([3.0, -2.0, -2.0, 0.0, 0.0]),))],
    ),
    case(
        np.interp,
        "values",
        lambda fp: np.interp(np.array([0.5, np.inf, -np.inf, 3.5]), XP, fp),
        (3,),
        kinks=[((FP,), (np.array([1.5, 0.5, 2.0]),))],
    ),
    case(np.interp, "0-d", lambda x: np.interp(x, [0, 1, 3], [2, 5, 1]), ((), Domain(0.1, 0.9))),
    case(
        np.interp,
        "all",
        lambda x, xp, fp: np.interp(x, UP + xp, fp),
        ((3,), Domain(1.3, 1.9)),
        ((4,), Domain(0.0, 0.2)),
        (4,),
    ),
    case(
        np.interp,
        "points",
        lambda xp, fp: np.interp([-1.0, 0.95, 2.0, 9.0], UP + xp, fp),
        ((4,), Domain(0.1, 0.9)),
        (4,),
    ),
    case(np.interp, "outside", lambda x, a, b: np.interp(x, XP, FP, a, right=b), ((5,), POINTS), (), ()),
    case(np.interp, "complex", lambda x, fp: np.interp(x, XP, fp), ((5,), POINTS), ((3,), ANY, np.complex128)),
    case(
        np.interp, "period", lambda x, fp: np.interp(x, [3.5, 0.5, 1.0], fp, period=2), ((5,), Domain(0.55, 0.95)), (3,)
    ),
    case(
        np.interp,
        "of-period",
        lambda x, p: np.interp(x, XP, FP, period=p),
        ((2,), Domain(6.1, 6.9)),
        ((), Domain(4.0, 5.0)),
    ),
    case(np.interp, "one-point", lambda x, fp: np.interp(x, [1.0], fp), ((3,), Domain(2.0, 3.0)), (1,)),
    # Convolution
    *(
        case(np.convolve, f"{name}-{mode}", lambda a, v, mode=mode: np.convolve(a, v, mode), (n,), (m,))
        for name, (n, m) in CONVOLVE.items()
        for mode in ("full", "same", "valid")
    ),
    case(np.convolve, "default", np.convolve, (3,), (2,)),
    case(np.convolve, "list", lambda a: np.convolve(a, [1, 2, 1], mode="same"), (4,)),
    case(np.convolve, "number", lambda a: np.convolve(a, 2.0), (4,)),
    case(np.convolve, "0-d", np.convolve, (3,), ()),
    case(np.convolve, "complex", lambda a, v: np.convolve(a, v, "same"), COMPLEX, ((2,), ANY, np.complex128)),
    *(
        case(np.correlate, f"{name}-{mode}", lambda a, v, mode=mode: np.correlate(a, v, mode), (n,), (m,))
        for name, (n, m) in CONVOLVE.items()
        for mode in ("full", "same", "valid")
    ),
    case(np.correlate, "default", np.correlate, (3,), (2,)),
    case(np.correlate, "list", lambda v: np.correlate([1.0, 2.0, 3.0], v, "full"), (2,)),
    case(np.correlate, "complex", lambda a, v: np.correlate(a, v, "full"), COMPLEX, ((2,), ANY, np.complex128)),
    case(np.correlate, "complex-same", lambda a, v: np.correlate(a, v, "same"), ((2,), ANY, np.complex128), COMPLEX),
    # Grids
    case(between, "vectors", lambda a, b: between(a, b, 4, False), (2, 1), (3,)),
    case(np.linspace, "numbers", lambda a, b: np.linspace(a, b, 5), (), ()),
    case(np.linspace, "one", lambda a: np.linspace(a, 2.0), ()),
    case(np.linspace, "vectors", lambda a, b: np.linspace(a, b, 4, False, axis=-1), (2, 1), (3,)),
    case(np.linspace, "step", lambda a, b: np.linspace(a, b, 4, retstep=True), (2,), ()),
    case(np.linspace, "single", lambda a, b: np.linspace(a, b, num=1), (), ()),
    case(np.linspace, "none", lambda a, b: np.linspace(a, b, num=0), (), ()),
    case(np.linspace, "list", lambda a: np.linspace(a, [1.0, 2.0], 3, dtype=np.complex128), (2,)),
    case(np.linspace, "complex", lambda a, b: np.linspace(a, b, 3), ((2,), ANY, np.complex128), (2,)),
    case(np.logspace, "default", lambda a, b: np.logspace(a, b, 5), ((), START), ((), START)),
    case(np.logspace, "base", lambda a, b: np.logspace(a, 1.0, 3, base=b), ((2,), START), ((), START)),
    case(np.logspace, "bases", lambda a, b, c: np.logspace(a, b, 3, False, c, axis=1), (), (), ((2,), START)),
    case(np.logspace, "dtype", lambda a: np.logspace(a, 1.0, 3, dtype=np.float64), ((), START)),
    case(np.geomspace, "numbers", lambda a, b: np.geomspace(a, b, 5), ((), START), ((), STOP)),
    case(np.geomspace, "negative", lambda a, b: np.geomspace(-a, -b, 4, endpoint=False), ((2,), START), ((2,), STOP)),
    case(
        np.geomspace, "complex", lambda a, b: np.geomspace(a, b, 4, axis=-1), ((2,), START, np.complex128), ((), STOP)
    ),
    case(np.geomspace, "dtype", lambda a: np.geomspace(a, 8.0, 3, dtype=np.complex128), ((), START)),
]
