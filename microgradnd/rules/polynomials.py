"""Derivatives of NumPy's polynomial functions, on vectors of coefficients.

Owns: `np.polyval` and its relatives; all are written with other functions. The highest
power comes first.
Must not own: convolution (`calculus.py`), eigenvalues and least squares (`linalg.py`).
Read next: `shape.py`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from microgradnd.primitives import array
from microgradnd.registry import LOOKING, composite, defjvp, defvjp, primitive
from microgradnd.rules.values import holds, in_dtype, of_floats


@composite(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """Compute np.polyval by Horner's rule."""
    if isinstance(x, np.poly1d):
        raise TypeError("polyval: x must be numbers, got a poly1d, which NumPy composes; pass x.coeffs to compute with")
    p, x = array(p), array(x)
    y: Any = np.zeros(x.shape, x.dtype)
    for coefficient in p:
        y = y * x + coefficient
    return y


def added(a1: Any, a2: Any) -> Any:
    """Return the sum of two polynomials, with leading zeros for the shorter one."""
    a1, a2 = np.atleast_1d(a1, a2)
    length = max(len(a1), len(a2))
    a1, a2 = (a if len(a) == length else np.concatenate([np.zeros(length - len(a), a.dtype), a]) for a in (a1, a2))
    return a1 + a2


composite(np.polyadd)(lambda a1, a2: added(a1, a2))
composite(np.polysub)(lambda a1, a2: added(a1, np.negative(a2)))
composite(np.polymul)(lambda a1, a2: np.convolve(without_leading_zeros(a1), without_leading_zeros(a2)))


def without_leading_zeros(p: Any) -> Any:
    """Return a polynomial without leading zeros, but at least one coefficient."""
    p = np.ravel(p)
    return p[np.append(np.flatnonzero(p), p.size - 1)[0] :]


@composite(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """Compute np.polyder: each coefficient times its power, m times."""
    if m < 0:
        raise ValueError(f"polyder: m, the number of derivatives, must be 0 or more, got {m}; see np.polyint")
    p = array(p)
    for _ in range(m):
        p = p[:-1] * np.arange(p.size - 1, 0, -1)
    return p


@composite(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """Compute np.polyint: each coefficient over its new power, m times."""
    if m < 0:
        raise ValueError(f"polyint: m, the number of integrals, must be 0 or more, got {m}; see np.polyder")
    p, constants = array(p), np.ravel(0.0 if k is None else k)
    if constants.size not in (1, m) and constants.size < m:
        raise ValueError(f"polyint: k must be one constant, or one per integral, got {constants.size} for m={m}")
    for i in range(m):
        j = 0 if constants.size == 1 else i
        p = np.concatenate([p / np.arange(p.size, 0, -1), constants[j : j + 1]])
    return p


@composite(np.polydiv)
def polydiv(u: Any, v: Any) -> tuple[Any, Any]:
    """Compute np.polydiv: long division."""
    u, v = np.ravel(u) + 0.0, np.ravel(v) + 0.0
    excess, scale = u.size - v.size, 1.0 / v[0]
    remainder, quotient = u + 0 * v[0], []
    for k in range(excess + 1):
        quotient.append(scale * remainder[k])
        subtracted = quotient[-1] * v
        remainder = remainder - np.concatenate([np.zeros(k, v.dtype), subtracted, np.zeros(excess - k, v.dtype)])
    while remainder.size > 1 and np.allclose(remainder[0], 0, rtol=1e-14):
        remainder = remainder[1:]
    return np.stack(quotient) if quotient else np.zeros(1, remainder.dtype), remainder


@primitive
def powers(x: Any, n: int) -> Any:
    """Return np.vander(x, n, increasing=True): rows of 1, x, x**2, ..."""
    return np.vander(x, n, increasing=True)


def slopes(out: Any) -> Any:
    """Return the derivatives of increasing powers: each times the next exponent.

    A 0 comes first.
    """
    return np.concatenate([np.zeros_like(out[:, :1]), out[:, :-1] * np.arange(1, out.shape[1])], axis=1)


defvjp(powers, lambda g, out, x, n: np.sum(g * slopes(out), axis=1) if n else np.zeros_like(x))
defjvp(powers, lambda t, out, x, n: np.expand_dims(t, 1) * slopes(out) if n else out)


@composite(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Compute np.vander: the powers of each element in a row."""
    found = powers(x, x.size if N is None else N)
    return found if increasing else found[:, ::-1]


@of_floats(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    """Compute np.poly: the product of x - root; a matrix gives its eigenvalues."""
    roots = np.linalg.eigvals(seq_of_zeros) if np.ndim(seq_of_zeros) == 2 else np.ravel(seq_of_zeros)
    roots = in_dtype(roots, np.float64) if roots.dtype == np.float16 else roots  # as NumPy does
    product: Any = np.ones(1, roots.dtype)
    for root in roots:
        product = np.convolve(product, np.stack([np.ones((), roots.dtype), -root]))
    in_pairs = roots.dtype.kind == "c" and np.all(np.sort(roots) == np.sort(np.conj(roots)))
    return np.real(product) if in_pairs else product


@composite(np.roots)
def roots(p: Any) -> Any:
    """Compute np.roots: eigenvalues of the companion matrix, and a 0 per trailing 0."""
    p = np.ravel(p)
    places = np.flatnonzero(p)
    if not places.size:
        return np.zeros(0)
    at_zero = p.size - 1 - places[-1]
    p = p[places[0] : places[-1] + 1]
    if p.size == 1:
        return np.zeros(at_zero)
    first = np.expand_dims(-p[1:] / p[0], 0)
    found = np.linalg.eigvals(np.concatenate([first, np.eye(p.size - 2, p.size - 1, dtype=p.dtype)]))
    if found.dtype.kind == "c" != p.dtype.kind and np.all(np.imag(found) == 0):
        found = np.real(found)  # as np.roots does since NumPy 2.5, whose eigenvalues are always complex
    return np.concatenate([found, np.zeros(at_zero, found.dtype)])


@composite(np.polyfit)
def polyfit(
    x: Any, y: Any, deg: int, rcond: float | None = None, full: bool = False, w: Any = None, cov: Any = False
) -> Any:
    """Compute np.polyfit: least squares with powers of x, each scaled to length 1."""
    x, y = array(x) + 0.0, array(y) + 0.0
    order = int(deg) + 1
    left, right = np.vander(x, order), y
    if w is not None:
        left = left * np.expand_dims(w, 1)
        right = right * (np.expand_dims(w, 1) if y.ndim == 2 else w)
    scale = np.sqrt(np.sum(left * left, axis=0))
    left = left / scale
    rcond = x.size * np.finfo(x.dtype).eps if rcond is None else rcond
    solution, residuals, rank, values = np.linalg.lstsq(left, right, rcond)
    coefficients = (solution.T / scale).T
    if full:
        return coefficients, residuals, rank, values, rcond
    if holds(rank != order):
        warnings.warn("Polyfit may be poorly conditioned", np.exceptions.RankWarning, stacklevel=3)
    if not cov:
        return coefficients
    covariance = np.linalg.inv(np.dot(left.T, left)) / np.outer(scale, scale)
    if not (isinstance(cov, str) and cov == "unscaled"):
        if x.size <= order:
            raise ValueError(
                f"polyfit: scaling the covariance needs more points than coefficients, got {x.size} and {order}"
            )
        factor = residuals / (x.size - order)
        covariance = covariance * factor if y.ndim == 1 else np.expand_dims(covariance, 2) * factor
    elif y.ndim == 2:
        covariance = np.expand_dims(covariance, 2) * 1
    return coefficients, covariance


LOOKING.update({np.poly, np.polydiv, np.roots})
