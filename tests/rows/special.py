"""Rows of `scipy.special`: see `microgradnd/scipy/special.py`.

Owns: the domain of each function, away from its poles, and the conventions at its
kinks.
Must not own: anything else.
Read next: `scipy_linalg.py`.
"""

from dataclasses import replace

import numpy as np

from microgradnd.scipy import special as sp
from tests.rows import ANY, POSITIVE, UNIT, Domain, Row, case, ufunc

INSIDE = Domain(0.1, 0.9)
TAILS = Domain(-30.0, 3.0)
BETWEEN_POLES = Domain(-2.9, 2.9, avoid=(-2.0, -1.0, 0.0))
COMPLEX = np.complex128
INF = np.inf


def of_order(function, order, domain):
    return case(function, f"order-{order}", lambda x: function(order, x), ((2, 3), domain))


ROWS: list[Row] = [
    *ufunc(sp.expit, Domain(-20.0, 20.0)),
    *ufunc(sp.log_expit, Domain(-20.0, 20.0)),
    *ufunc(sp.logit, INSIDE),
    *ufunc(sp.erf, ANY, complex_too=True),
    *ufunc(sp.erfc, ANY, complex_too=True),
    *ufunc(sp.erfcx, ANY, complex_too=True),
    *ufunc(sp.erfinv, UNIT),
    *ufunc(sp.erfcinv, Domain(0.1, 1.9)),
    *ufunc(sp.ndtr, ANY),
    *ufunc(sp.log_ndtr, TAILS),
    *ufunc(sp.ndtri, INSIDE),
    *ufunc(sp.gamma, BETWEEN_POLES),
    *ufunc(sp.gammaln, Domain(-2.9, 20.0, avoid=(-2.0, -1.0, 0.0))),
    *ufunc(sp.digamma, Domain(-2.9, 20.0, avoid=(-2.0, -1.0, 0.0))),
    *ufunc(sp.beta, POSITIVE, POSITIVE),
    *ufunc(sp.betaln, POSITIVE, POSITIVE),
    *ufunc(sp.xlogy, ANY, POSITIVE, kinks=[((np.array([0.0, 0.0]), np.array([0.0, 2.0])), ([0, np.log(2)], [0, 0]))]),
    *ufunc(
        sp.xlog1py, ANY, POSITIVE, kinks=[((np.array([0.0, 0.0]), np.array([-1.0, 1.0])), ([0, np.log(2)], [0, 0]))]
    ),
    *ufunc(sp.j0, ANY),
    *ufunc(sp.j1, ANY, kinks=[((0.0,), (0.5,))]),
    *(replace(row, name="special.i0") for row in ufunc(sp.i0, ANY)),  # np.i0 has the same name
    *ufunc(sp.i1, ANY, kinks=[((0.0,), (0.5,))]),
    *(row for function in (sp.y0, sp.y1, sp.k0, sp.k1) for row in ufunc(function, POSITIVE)),
    *(of_order(function, order, ANY) for function in (sp.jv, sp.iv) for order in (0, 1, 3)),
    *(of_order(function, order, POSITIVE) for function in (sp.jv, sp.iv, sp.yv, sp.kv) for order in (0.5, -1.5)),
    *(of_order(function, 2, POSITIVE) for function in (sp.yv, sp.kv)),
    case(sp.jv, "orders", lambda x: sp.jv(np.array([[0.0], [1.0], [2.5]]), x), ((3,), POSITIVE)),
    case(sp.jv, "complex", lambda z: sp.jv(1.5, z), ((3,), POSITIVE, COMPLEX)),
    *(case(sp.polygamma, f"{n}", lambda x, n=n: sp.polygamma(n, x), ((2, 3), POSITIVE)) for n in (0, 1, 3)),
    case(sp.polygamma, "orders", lambda x: sp.polygamma([[0], [1]], x), ((3,), POSITIVE)),
    case(sp.polygamma, "number", lambda x: sp.polygamma(1, x), ((), POSITIVE)),
    case(sp.polygamma, "empty", lambda x: sp.polygamma(1, x), (0, 2)),
    *(
        case(function, name, lambda x, f=function, axis=axis: f(x, axis), (2, 3, 2))
        for function in (sp.logsumexp, sp.softmax, sp.log_softmax)
        for name, axis in {"all": None, "axis": 1, "negative-axis": -1, "axes": (0, 2)}.items()
    ),
    *(
        case(function, "keyword", lambda x, f=function: f(x, axis=0), (2, 3))
        for function in (sp.softmax, sp.log_softmax)
    ),
    *(case(f, "number", f, ()) for f in (sp.logsumexp, sp.softmax, sp.log_softmax)),
    *(case(f, "empty", lambda x, f=f: f(x, axis=1), (0, 2)) for f in (sp.logsumexp, sp.softmax, sp.log_softmax)),
    *(
        case(f, "wide", lambda x, f=f: f(x, axis=1), ((2, 4), Domain(-800.0, 800.0)), order=1)
        for f in (sp.logsumexp, sp.log_softmax)
    ),
    case(
        sp.logsumexp,
        "keepdims",
        lambda x: sp.logsumexp(x, axis=-2, keepdims=True),
        (2, 3, 2),
        kinks=[
            ((np.array([[-INF, -INF]]).T,), (np.array([[0.0, 0.0]]).T,)),
            ((np.array([[INF, 1.0, INF, -INF]]).T,), (np.array([[0.5, 0.0, 0.5, 0.0]]).T,)),
            ((np.array([[-INF, 1.0, 1.0]]).T,), (np.array([[0.0, 0.5, 0.5]]).T,)),
        ],
    ),
    case(sp.logsumexp, "complex", sp.logsumexp, ((4,), UNIT, COMPLEX)),
    case(sp.logsumexp, "weights", lambda x, b: sp.logsumexp(x, 1, b), (2, 3), ((2, 3), POSITIVE)),
    case(sp.logsumexp, "weights-broadcast", lambda x, b: sp.logsumexp(x, axis=1, b=b), (2, 3), ((3,), POSITIVE)),
    case(sp.logsumexp, "weights-wider", lambda x, b: sp.logsumexp(x, axis=0, b=b), (3,), ((2, 3), POSITIVE)),
    case(
        sp.logsumexp,
        "weights-zero",
        lambda x: sp.logsumexp(x, axis=0, b=np.array([1.0, 0.0, 2.0]), keepdims=True),
        (3,),
        kinks=[((np.array([0.0, INF, -INF]),), (np.array([1.0, 0.0, 0.0]),))],
    ),
]
