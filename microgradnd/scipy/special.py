"""Derivatives of `scipy.special`.

Owns: the rules of its functions.
Must not own: functions that SciPy doesn't have.
Read next: `linalg.py`.

Most of these functions are ufuncs. Here they are SciPy's own objects, so
`scipy.special.erf(t)` works on a Tensor too once this module is imported. The
derivatives are those of the NIST Digital Library of Mathematical Functions
(https://dlmf.nist.gov): error functions 7.2 and 7.10, gamma functions 5.2 and 5.15,
Bessel functions 10.6 and 10.29.

Conventions
- The order of a Bessel function or polygamma function has no derivative; that includes
  the first argument of `polygamma`.
- `xlogy(x, y)` at x = y = 0, and `xlog1py(x, y)` at x = 0, y = -1, have derivative 0 in
  both arguments, and second derivative NaN.
- `logit` at 0 and 1, `erfinv` at -1 and 1, and `ndtri` at 0 and 1 have infinite
  derivatives. Outside its domain, and at a pole, the derivative of a function is NaN or
  infinite, like the function.
- `logsumexp` has derivative 0 where all elements are -inf; elements that are inf share
  the gradient equally. `np.logaddexp` does the same.
- In the tails, the derivatives of `log_ndtr`, `log_expit`, `erfc` and `expit` are as
  exact as elsewhere. The second derivative of `log_ndtr` loses twice as many digits as
  its argument has before the decimal point.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.primitives import array, expand
from microgradnd.registry import defjvp, defvjp, elementwise, primitive
from microgradnd.rules.values import holds, ratio, real, total
from microgradnd.scipy import missing, scipys

sp = scipys("special")

__all__ = [
    "beta",
    "betaln",
    "digamma",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "expit",
    "gamma",
    "gammaln",
    "i0",
    "i1",
    "iv",
    "j0",
    "j1",
    "jv",
    "k0",
    "k1",
    "kv",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "softmax",
    "xlog1py",
    "xlogy",
    "y0",
    "y1",
    "yv",
]

if not TYPE_CHECKING:

    def __getattr__(name):
        raise missing("special", name, __all__)


ROOT_2, ROOT_PI, ROOT_2PI = math.sqrt(2), math.sqrt(math.pi), math.sqrt(2 * math.pi)

# The logistic function

expit, log_expit, logit = sp.expit, sp.log_expit, sp.logit

elementwise(expit, lambda g, out, x: g * (out * expit(-x)))
elementwise(log_expit, lambda g, out, x: g * expit(-x))
elementwise(logit, lambda g, out, x: g / (x * (1 - x)))

# Error functions, and the normal distribution

erf, erfc, erfcx, erfinv, erfcinv = sp.erf, sp.erfc, sp.erfcx, sp.erfinv, sp.erfcinv
ndtr, log_ndtr, ndtri = sp.ndtr, sp.log_ndtr, sp.ndtri


def erfcx_slope(out: Any, x: Any) -> Any:
    """Return 2 x erfcx(x) - 2 / sqrt(pi); where that cancels, its asymptotic series."""
    far = 1 / np.where(x > 50, x, 50)
    half = 0.5 * far * far
    series = far * far / -ROOT_PI * (1 - half * (3 - half * (15 - half * (105 - half * 945))))
    return np.where(x > 50, series, 2 * x * out - 2 / ROOT_PI)


elementwise(erf, lambda g, out, x: g * (2 / ROOT_PI * np.exp(-x * x)))
elementwise(erfc, lambda g, out, x: g * (-2 / ROOT_PI * np.exp(-x * x)))
elementwise(erfcx, lambda g, out, x: g * erfcx_slope(out, x))
elementwise(erfinv, lambda g, out, x: g * (ROOT_PI / 2 * np.exp(out * out)))
elementwise(erfcinv, lambda g, out, x: g * (-ROOT_PI / 2 * np.exp(out * out)))
elementwise(ndtr, lambda g, out, x: g * (np.exp(-0.5 * x * x) / ROOT_2PI))
elementwise(log_ndtr, lambda g, out, x: g * (2 / ROOT_2PI / erfcx(x / -ROOT_2)))
elementwise(ndtri, lambda g, out, x: g * (ROOT_2PI * np.exp(0.5 * out * out)))

# Gamma and beta functions

gamma, gammaln, digamma, psi, beta, betaln = sp.gamma, sp.gammaln, sp.digamma, sp.psi, sp.beta, sp.betaln


@primitive
def polygamma(n: Any, x: Any) -> Any:
    """Return the derivative of the digamma function of order n.

    Parameters
    ----------
    n : int or array_like of int
        The order, 0 for the digamma function itself; it has no derivative.
    x : array_like
        Real numbers, of a shape that broadcasts with n.

    Returns
    -------
    array or Tensor

    See Also
    --------
    digamma : the derivative of gammaln.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import special
    >>> special.polygamma(1, 1.0) == mg.grad(special.digamma)(1.0)
    np.True_
    """
    order = array(n) + 1.0
    others = (-1.0) ** order * sp.gamma(order) * sp.zeta(order, x)  # SciPy's formula, in ufuncs, which Dask supports
    return np.where(order == 1, sp.psi(x), others)


elementwise(polygamma, None, lambda g, out, n, x: g * polygamma(array(n) + 1, x))
elementwise(gammaln, lambda g, out, x: g * digamma(x))
elementwise(gamma, lambda g, out, x: g * (out * digamma(x)))
elementwise(digamma, lambda g, out, x: g * polygamma(1, x))
elementwise(
    beta,
    lambda g, out, a, b: g * (out * (digamma(a) - digamma(a + b))),
    lambda g, out, a, b: g * (out * (digamma(b) - digamma(a + b))),
)
elementwise(
    betaln,
    lambda g, out, a, b: g * (digamma(a) - digamma(a + b)),
    lambda g, out, a, b: g * (digamma(b) - digamma(a + b)),
)

# x log y

xlogy, xlog1py = sp.xlogy, sp.xlog1py

elementwise(
    xlogy,
    lambda g, out, x, y: xlogy(np.where((x == 0) & (y == 0), 0, g), y),
    lambda g, out, x, y: g * ratio(x, y, (x == 0) & (y == 0)),
)
elementwise(
    xlog1py,
    lambda g, out, x, y: xlog1py(np.where((x == 0) & (y == -1), 0, g), y),
    lambda g, out, x, y: g * ratio(x, 1 + y, (x == 0) & (y == -1)),
)

# Bessel functions

j0, j1, jv, y0, y1, yv = sp.j0, sp.j1, sp.jv, sp.y0, sp.y1, sp.yv
i0, i1, iv, k0, k1, kv = sp.i0, sp.i1, sp.iv, sp.k0, sp.k1, sp.kv

elementwise(j0, lambda g, out, x: -g * j1(x))
elementwise(j1, lambda g, out, x: g * (0.5 * (j0(x) - jv(2, x))))
elementwise(jv, None, lambda g, out, v, x: g * (0.5 * (jv(v - 1, x) - jv(v + 1, x))))
elementwise(y0, lambda g, out, x: -g * y1(x))
elementwise(y1, lambda g, out, x: g * (0.5 * (y0(x) - yv(2, x))))
elementwise(yv, None, lambda g, out, v, x: g * (0.5 * (yv(v - 1, x) - yv(v + 1, x))))
elementwise(i0, lambda g, out, x: g * i1(x))
elementwise(i1, lambda g, out, x: g * (0.5 * (i0(x) + iv(2, x))))
elementwise(iv, None, lambda g, out, v, x: g * (0.5 * (iv(v - 1, x) + iv(v + 1, x))))
elementwise(k0, lambda g, out, x: -g * k1(x))
elementwise(k1, lambda g, out, x: g * (-0.5 * (k0(x) + kv(2, x))))
elementwise(kv, None, lambda g, out, v, x: g * (-0.5 * (kv(v - 1, x) + kv(v + 1, x))))

# Sums of exponentials


@primitive
def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    """Return log(sum(b * exp(a))), without overflow.

    Parameters
    ----------
    a : array_like
    axis : int or tuple of int, optional
        The axes to sum over; by default all.
    b : array_like, optional
        Weights, of a shape that broadcasts with a; by default 1.
    keepdims : bool
        Whether to keep the axes, with length 1.
    return_sign : bool
        Must be False: a second result has no derivative here.

    Returns
    -------
    array or Tensor

    Raises
    ------
    NotImplementedError
        If `return_sign` is true.

    See Also
    --------
    softmax : its derivative.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import special
    >>> mg.grad(special.logsumexp)(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    if return_sign:
        raise NotImplementedError(
            "logsumexp: return_sign=True has no derivative here; leave it out if the sum is positive, or call "
            "scipy.special.logsumexp on arrays"
        )
    if b is None and isinstance(a, np.ndarray) and a.dtype in (np.float32, np.float64) and a.ndim and a.size:
        return of_floats(a, axis, keepdims)
    return sp.logsumexp(a, axis, b, keepdims)


def of_floats(a: Any, axis: Any, keepdims: bool) -> Any:
    """Return logsumexp by SciPy's formula, in a tenth of its time for small arrays."""
    with np.errstate(all="ignore"):
        highest = np.max(a, axis=axis, keepdims=True)
        is_highest = a == highest
        ties = np.sum(is_highest, axis=axis, keepdims=True, dtype=a.dtype)
        others = np.sum(np.where(is_highest, a.dtype.type(0), np.exp(a - highest)), axis=axis, keepdims=True)
        out = np.log1p(others / ties) + np.log(ties) + highest
    return out if keepdims else np.squeeze(out, axis)[()]


def terms(out: Any, a: Any, axis: Any, b: Any, keepdims: bool) -> Any:
    """Return exp(a - out), the terms of a sum over their sum.

    They are divided by their own weighted sum, which is 1 except for out's rounding.
    Where both are inf, the terms share 1 equally; where both are -inf, they are 0.
    """
    shape = np.broadcast_shapes(a.shape, np.shape(b))
    whole = expand(out, shape, axis, keepdims)
    if holds(np.all(np.isfinite(out))):
        found = np.exp(a - whole)
        return found / total(found if b is None else b * found, axis, keepdims=True)
    ties = np.isinf(whole) & (a == whole)
    found = np.where(ties, real(whole) > 0, np.exp(np.where(ties, 0, a) - np.where(ties, 0, whole)))
    sums = total(found if b is None else b * found, axis, keepdims=True)
    return found / np.where(np.isfinite(sums) & (sums != 0), sums, 1)


def weighted_terms(out: Any, a: Any, axis: Any, b: Any, keepdims: bool) -> Any:
    """Return b * exp(a - out); an element with weight 0 doesn't count."""
    return (
        terms(out, a, axis, None, keepdims)
        if b is None
        else b * terms(out, np.where(array(b) == 0, -np.inf, a), axis, b, keepdims)
    )


def spread_out(g: Any, a: Any, axis: Any, b: Any, keepdims: bool) -> Any:
    """Return the value for a sum, repeated for each of its terms."""
    return expand(g, np.broadcast_shapes(np.shape(a), np.shape(b)), axis, keepdims)


defvjp(
    logsumexp,
    lambda g, out, a, axis=None, b=None, keepdims=False, return_sign=False: (
        spread_out(g, a, axis, b, keepdims) * weighted_terms(out, a, axis, b, keepdims)
    ),
    None,
    lambda g, out, a, axis=None, b=None, keepdims=False, return_sign=False: (
        spread_out(g, a, axis, b, keepdims) * terms(out, array(a), axis, b, keepdims)
    ),
)
defjvp(
    logsumexp,
    lambda t, out, a, axis=None, b=None, keepdims=False, return_sign=False: total(
        t * weighted_terms(out, a, axis, b, keepdims), axis, keepdims
    ),
    None,
    lambda t, out, a, axis=None, b=None, keepdims=False, return_sign=False: total(
        t * terms(out, array(a), axis, b, keepdims), axis, keepdims
    ),
)


@primitive
def softmax(x: Any, axis: Any = None) -> Any:
    """Return exp(x) / sum(exp(x)), without overflow.

    Parameters
    ----------
    x : array_like
    axis : int or tuple of int, optional
        The axes to sum over; by default all.

    Returns
    -------
    array or Tensor of the shape of x

    See Also
    --------
    microgradnd.nn.functional.softmax : by default over the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import special
    >>> mg.jacobian(special.softmax)(np.array([0.0, 0.0]))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    return sp.softmax(x, axis)


@primitive
def log_softmax(x: Any, axis: Any = None) -> Any:
    """Return log(softmax(x)), exact even where softmax rounds to 0 or 1.

    Parameters
    ----------
    x : array_like
    axis : int or tuple of int, optional
        The axes to sum over; by default all.

    Returns
    -------
    array or Tensor of the shape of x

    See Also
    --------
    microgradnd.nn.functional.log_softmax : by default over the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import special
    >>> mg.grad(lambda x: special.log_softmax(x)[0])(np.array([0.0, 0.0]))
    array([ 0.5, -0.5])
    """
    return sp.log_softmax(x, axis)


def softmax_slope(v: Any, out: Any, x: Any, axis: Any = None) -> Any:
    """Return the Jacobian of softmax, which is symmetric, times v."""
    return out * (v - total(v * out, axis, keepdims=True))


elementwise(softmax, softmax_slope)
defvjp(log_softmax, lambda g, out, x, axis=None: g - np.exp(out) * total(g, axis, keepdims=True))
defjvp(log_softmax, lambda t, out, x, axis=None: t - total(np.exp(out) * t, axis, keepdims=True))
