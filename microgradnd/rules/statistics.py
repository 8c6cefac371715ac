"""Derivatives of statistics with weights, or of several variables.

Owns: weighted averages, covariances, correlations, and counts with weights.
Must not own: means, variances (`reductions.py`), medians and quantiles (`sorting.py`).
Read next: `calculus.py`.

A count has no derivative by the counted numbers: the bin of a number jumps. It has one
by their weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.primitives import array
from microgradnd.registry import composite, linear, plain, primitive
from microgradnd.rules.axes import axes_of
from microgradnd.rules.values import holds, in_dtype, instead, of_floats, on_arrays


@composite(np.average)
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """Compute np.average: the weighted mean, and on request the sum of the weights."""
    a = array(a)
    axes = None if axis is None else axes_of(axis, a.ndim)
    if weights is None:
        mean = np.mean(a, axis=axes, keepdims=keepdims)
        total: Any = np.full(mean.shape, a.size // max(mean.size, 1), mean.dtype)
    else:
        weights = shaped_like(array(weights), a, axis)
        dtype = np.result_type(a.dtype, weights.dtype, *([] if a.dtype.kind in "fc" else [np.float64]))
        weights = in_dtype(weights, dtype)
        total = np.sum(weights, axis=axes, keepdims=keepdims)
        if holds(np.any(total == 0)):
            raise ZeroDivisionError(
                f"average: the weights must not add up to 0 (axis={axis}); a mean divides by their sum"
            )
        mean = np.sum(a * weights, axis=axes, keepdims=keepdims) / total
    return (mean, np.broadcast_to(total, mean.shape)) if returned else mean


def shaped_like(weights: Any, a: Any, axis: Any) -> Any:
    """Return the weights in the shape of `a`, from that or its averaged axes."""
    if weights.shape == a.shape:
        return weights
    axes = () if axis is None else axes_of(axis, a.ndim)
    if axis is None or weights.shape != tuple(a.shape[i] for i in axes):
        raise ValueError(
            f"average: weights must have the shape of the array, {a.shape}, or of the axes to average ({axis=}), "
            f"got shape {weights.shape}"
        )
    shape = [n if i in axes else 1 for i, n in enumerate(a.shape)]
    return np.reshape(np.transpose(weights, np.argsort(axes)), shape)


@composite(np.cov)
def covariance(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """Compute np.cov: weighted products of deviations, over the degrees of freedom.

    With frequencies f and weights a, let w = f a and V = sum(w). It is the sum of w d
    d' over V - ddof sum(w a) / V, as NumPy documents it.
    """
    x = variables(m, rowvar)
    if y is not None:
        x = np.concatenate([x, variables(y, rowvar)])
    x = in_dtype(x, np.result_type(x.dtype, np.float64) if dtype is None else dtype)
    ddof = (0 if bias else 1) if ddof is None else ddof
    if ddof != int(ddof):
        raise ValueError(f"cov: ddof, the degrees of freedom to subtract, must be an integer, got {ddof}")
    weights: Any = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is not None:
            given = weights_of(name, given, x.shape[1])
            weights = given if weights is None else weights * given
    mean, total = np.average(x, axis=1, weights=weights, returned=True)
    if weights is None:
        freedom: Any = x.shape[1] - ddof
    elif aweights is None or ddof == 0:
        freedom = total[0] - ddof
    else:
        freedom = total[0] - ddof * np.sum(weights * aweights) / total[0]
    deviation = x - np.expand_dims(mean, 1)
    weighted = deviation if weights is None else deviation * weights
    products = np.dot(deviation, np.conj(weighted.T))
    return np.squeeze(in_dtype(products * np.true_divide(1, np.maximum(freedom, 0)), products.dtype))


def weights_of(name: str, given: Any, count: int) -> Any:
    """Return one weight for each observation, or raise as NumPy does."""
    weights = in_dtype(array(given), np.float64)
    if weights.shape != (count,):
        raise RuntimeError(f"cov: {name} must have one weight for each observation, {count}, got shape {weights.shape}")
    if name == "fweights" and holds(np.any(weights != np.around(weights))):
        raise TypeError(f"cov: fweights say how often each observation occurs, so they must be integers, got {given}")
    if holds(np.any(weights < 0)):
        raise ValueError(f"cov: {name} must not be negative, got {given}")
    return weights


def variables(m: Any, rowvar: bool) -> Any:
    """Return observations with one variable per row."""
    m = array(m)
    if m.ndim > 2:
        raise ValueError(f"cov and corrcoef: observations must be a vector or a matrix, got shape {m.shape}")
    if m.ndim < 2:
        return np.reshape(m, (1, -1))
    return m if rowvar else m.T


@composite(np.corrcoef)
def correlations(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """Compute np.corrcoef: covariances over standard deviations, clipped to [-1, 1]."""
    c = np.cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    diagonal = np.arange(c.shape[0])
    deviations = np.sqrt(np.real(c[diagonal, diagonal]))
    c = c / np.expand_dims(deviations, 1) / deviations
    if c.dtype.kind == "c":
        return np.clip(np.real(c), -1, 1) + 1j * np.clip(np.imag(c), -1, 1)
    return np.clip(c, -1, 1)


# Counts

count_into = primitive(np.bincount)
linear(count_into, None, lambda g, out, x, weights, minlength=0: g[x])


@composite(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """Compute np.bincount: count, or add up the weights."""
    return count_into(x, weights, minlength)


plain((np.histogram_bin_edges,))  # constants read off the data, like indices


@on_arrays
def heights(a: Any, bins: Any, range: Any, density: Any, weights: Any) -> Any:
    """Return the numbers in the bins of np.histogram, without the edges."""
    return np.histogram(a, bins, range, density, weights)[0]


@of_floats(np.histogram)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Any, Any]:
    """Compute np.histogram: which bin a number is in is constant; each adds up weights.

    Edges that are passed are returned, and density divides by their differences.
    """
    weights = None if weights is None else array(weights)
    edges = array(bins) if np.ndim(bins) else np.histogram_bin_edges(a, bins, range)
    bin_of = np.searchsorted(edges, np.ravel(a), side="right") - 1
    bin_of = np.where(np.ravel(a) == edges[-1], len(edges) - 2, bin_of)  # the last bin includes its end
    bin_of = np.where((bin_of >= 0) & (bin_of < len(edges) - 1), bin_of, len(edges) - 1)  # numbers outside are left out
    sums: Any = np.bincount(bin_of, None if weights is None else np.ravel(weights), len(edges))[:-1]
    if density:
        sums = sums / np.diff(edges) / np.sum(sums)
    elif weights is not None:
        sums = in_dtype(sums, weights.dtype)
    return instead(heights(a, bins, range, density, weights), sums), edges
