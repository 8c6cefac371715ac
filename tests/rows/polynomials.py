"""Rows of the functions of polynomials: see `microgradnd/rules/polynomials.py`.

Owns: the ways of calling them.
Must not own: anything else.
Read next: `shape.py`.
"""

import numpy as np

from microgradnd.rules.polynomials import powers
from tests.rows import ANY, DISTINCT, POSITIVE, Domain, Row, case

COMPLEX = ((3,), ANY, np.complex128)
TINY = Domain(-0.1, 0.1)
CUBIC = np.array([1.0, -1.5, -5.5, 3.0])  # (x + 2) (x - 0.5) (x - 3); its coefficients move by less than 0.1
CIRCLE = np.array([1.0, 0.5, 2.0])  # complex roots
PLACES = np.array([-1.0, 0.0, 0.5, 2.0, 3.0])

ROWS: list[Row] = [
    case(np.polyval, "both", np.polyval, (4,), (2, 3)),
    case(np.polyval, "list", lambda x: np.polyval([1, 2, 3], x), (2,)),
    case(np.polyval, "at-number", lambda p: np.polyval(p, 2.0), (3,)),
    case(np.polyval, "complex", np.polyval, COMPLEX, (2,)),
    case(np.polyadd, "longer", np.polyadd, (4,), (2,)),
    case(np.polyadd, "list", lambda p: np.polyadd([1.0, 2.0, 3.0], p), (2,)),
    case(np.polyadd, "0-d", np.polyadd, (2,), ()),
    case(np.polysub, "shorter", np.polysub, (2,), (3,)),
    case(np.polymul, "both", np.polymul, ((3,), POSITIVE), ((2,), POSITIVE)),
    case(np.polymul, "leading-zeros", lambda p: np.polymul([0.0, 0.0, 2.0, 1.0], p), ((3,), POSITIVE)),
    case(np.polymul, "zeros", lambda p: np.polymul([0.0, 0.0], p), ((3,), POSITIVE)),
    case(np.polyder, "once", np.polyder, (4,)),
    case(np.polyder, "twice", lambda p: np.polyder(p, 2), (4,)),
    case(np.polyder, "none", lambda p: np.polyder(p, m=0), (4,)),
    case(np.polyder, "constant", np.polyder, (1,)),
    case(np.polyint, "once", np.polyint, (3,)),
    case(np.polyint, "constant", lambda p, k: np.polyint(p, 2, k), (3,), ()),
    case(np.polyint, "constants", lambda p: np.polyint(p, m=2, k=[3.0, 4.0]), (3,)),
    case(np.polydiv, "both", np.polydiv, (4,), ((2,), POSITIVE)),
    case(np.polydiv, "short", np.polydiv, ((1,), POSITIVE), ((2,), POSITIVE)),
    case(np.polydiv, "exact", lambda p: np.polydiv(np.polymul(p, [1.0, 2.0]), [1.0, 2.0]), ((2,), POSITIVE)),
    case(powers, "cubic", lambda x: powers(x, 4), (3,)),
    case(np.vander, "square", np.vander, (3,)),
    case(np.vander, "increasing", lambda x: np.vander(x, 4, increasing=True), (2,)),
    case(np.vander, "none", lambda x: np.vander(x, 0), (2,)),
    case(np.vander, "complex", lambda x: np.vander(x, N=3), ((2,), DISTINCT, np.complex128)),
    case(np.poly, "roots", np.poly, (3,)),
    case(np.poly, "complex", np.poly, ((3,), POSITIVE, np.complex128)),
    case(np.poly, "pairs", lambda x: np.poly(np.concatenate([x + 1j, x - 1j])), (2,)),
    case(np.poly, "matrix", lambda x: np.poly(x + np.diag([0.0, 5.0])), ((2, 2), Domain(0.1, 1.0))),
    case(np.roots, "real", lambda p: np.roots(CUBIC + p), ((4,), TINY)),
    case(np.roots, "complex", lambda p: np.roots(CIRCLE + p), ((3,), TINY)),
    case(np.roots, "zeros", lambda p: np.roots(np.concatenate([[0.0], CUBIC[:2] + p, [0.0, 0.0]])), ((2,), TINY)),
    case(np.polyfit, "integers", lambda y: np.polyfit([0, 1, 2, 3], y, 1), (4,)),
    case(np.polyfit, "y", lambda y: np.polyfit(PLACES, y, 2), (5,)),
    case(np.polyfit, "x", lambda x, y: np.polyfit(PLACES + x, y, 1), ((5,), TINY), (5, 2)),
    case(np.polyfit, "weights", lambda y, w: np.polyfit(PLACES, y, 1, w=w), (5,), ((5,), POSITIVE)),
    case(np.polyfit, "weights-columns", lambda y, w: np.polyfit(PLACES, y, 1, w=w), (5, 2), ((5,), POSITIVE)),
    case(np.polyfit, "full", lambda y: np.polyfit(PLACES, y, 1, full=True)[:2], (5,)),
    case(np.polyfit, "covariance", lambda x, y: np.polyfit(PLACES + x, y, 1, cov=True), ((5,), TINY), (5,)),
    case(np.polyfit, "covariances", lambda y: np.polyfit(PLACES, y, 1, cov=True), (5, 2)),
    case(np.polyfit, "unscaled", lambda x: np.polyfit(PLACES + x, PLACES, 1, cov="unscaled")[1], ((5,), TINY)),
]
