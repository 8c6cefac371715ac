"""Derivatives of discrete calculus: differences, integrals, interpolation and
convolution of sampled functions.

Owns: what slides along an axis, and grids between two ends.
Must not own: cumulative sums (`reductions.py`), polynomials (`polynomials.py`).
Read next: `polynomials.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.primitives import array, getitem
from microgradnd.registry import LOOKING, composite, defjvp, defvjp, linear, primitive
from microgradnd.rules.axes import axes_of
from microgradnd.rules.values import in_dtype, instead, of_floats, on_arrays, surely

# Differences


def part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """Return x[start:stop] along an axis."""
    return x[(slice(None),) * (axis % x.ndim) + (slice(start, stop),)]


@of_floats(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Spell np.diff: each element less the one before, n times."""
    a = array(a)
    if n < 0:
        raise ValueError(f"diff: n={n}; differences are taken 0 or more times")
    if n == 0:
        return a
    edge = tuple(1 if i == axis % a.ndim else size for i, size in enumerate(a.shape))
    parts = [array(x) for x in (prepend, a, append) if x is not None]
    if len(parts) > 1:
        a = np.concatenate([x if x.ndim else np.broadcast_to(x, edge) for x in parts], axis=axis)
    for _ in range(n):
        a = part(a, axis, 1, None) - part(a, axis, None, -1)
    return a


@of_floats(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Spell np.ediff1d: the differences of all elements in a row, between given
    ends.
    """
    parts = [np.ravel(x) for x in (to_begin, np.diff(np.ravel(ary)), to_end) if x is not None]
    return in_dtype(np.concatenate(parts), ary.dtype)


numpys_gradient = on_arrays(np.gradient)


@composite(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Spell np.gradient: second-order differences, one array for each axis.

    Inside it is the mean of the slopes before and after, each weighted by the step of
    the other; at the edges the nearest slope (`edge_order` 1), or the line through the
    two nearest slopes, taken on (2).
    """
    f = array(f)
    if f.dtype.kind == "b":
        raise TypeError("gradient of booleans, which NumPy doesn't subtract; pass f.astype(float)")
    f = f if f.dtype.kind in "fc" else in_dtype(f, np.float64)
    axes, spacings = axes_of(axis, f.ndim), varargs or (1.0,)
    if len(spacings) == 1 and np.ndim(spacings[0]) == 0:
        spacings = spacings * len(axes)
    if len(spacings) != len(axes):
        raise TypeError(
            f"gradient was given {len(varargs)} spacings for {len(axes)} axes; it needs one for each, or one"
        )
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order={edge_order}; the edges are taken to order 1 or 2")
    results = tuple(gradient_along(f, i, h, edge_order) for i, h in zip(axes, spacings, strict=True))
    values = numpys_gradient(f, *varargs, axis=axes, edge_order=edge_order)
    if len(results) == 1:
        return instead(values, results[0])
    return tuple(instead(value, result) for value, result in zip(values, results, strict=True))


def gradient_along(f: Any, axis: int, spacing: Any, edge_order: int) -> Any:
    """Return the derivative along one axis, from the distance of the elements or from
    their coordinates.
    """
    f, size = np.moveaxis(f, axis, -1), f.shape[axis]
    if size < edge_order + 1:
        raise ValueError(f"gradient: axis {axis} of length {size} is too short; it needs edge_order + 1 elements")
    if np.ndim(spacing) == 0:
        steps = spacing * np.ones(size - 1, np.finfo(f.dtype).dtype)
    elif np.shape(spacing) == (size,):
        steps = np.diff(array(spacing))
    else:
        raise ValueError(
            f"gradient: spacing of shape {np.shape(spacing)} for axis {axis} of length {size}; it is a number, or the "
            f"coordinate of each element"
        )
    slopes = np.diff(f) / steps
    if edge_order == 1:
        first, last = slopes[..., :1], slopes[..., -1:]
    else:
        first = slopes[..., :1] - steps[:1] * (slopes[..., 1:2] - slopes[..., :1]) / (steps[:1] + steps[1:2])
        last = slopes[..., -1:] + steps[-1:] * (slopes[..., -1:] - slopes[..., -2:-1]) / (steps[-1:] + steps[-2:-1])
    before, after = steps[:-1], steps[1:]
    inner = (after * slopes[..., :-1] + before * slopes[..., 1:]) / (before + after)
    return np.moveaxis(in_dtype(np.concatenate([first, inner, last], axis=-1), f.dtype), -1, axis)


# Integrals and interpolation


@of_floats(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Spell np.trapezoid: the mean of neighbours times their distance, added up."""
    y, width = array(y), dx
    if x is not None:
        width = np.diff(x) if np.ndim(x) == 1 else np.diff(x, axis=axis)
        if np.ndim(x) == 1:
            width = np.reshape(width, [-1 if i == axis % y.ndim else 1 for i in range(y.ndim)])
    return np.sum(width * (part(y, axis, 1, None) + part(y, axis, None, -1)) / 2.0, axis=axis)


@composite(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    """Spell np.interp: straight lines between points.

    At a point its derivative is the slope of the line to the right, at the last point
    of that to the left.
    """
    x, xp, fp = array(x), array(xp), array(fp)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(
            f"interp: points xp of shape {xp.shape} and fp of shape {fp.shape}; they are vectors of a length"
        )
    if "c" in (x.dtype.kind, xp.dtype.kind):
        raise TypeError(f"interp: x and xp must be real, got {x.dtype} and {xp.dtype}; pass np.real(x) and np.real(xp)")
    x, xp = in_dtype(x, np.float64), in_dtype(xp, np.float64)  # as NumPy does
    fp = in_dtype(fp, np.complex128 if fp.dtype.kind == "c" else np.float64)
    if period is not None:
        if surely(np.any(np.equal(period, 0))):
            raise ValueError("interp: period=0; it is the distance after which the function repeats itself")
        period, left, right = np.abs(period), None, None
        x, xp = np.remainder(x, period), np.remainder(xp, period)
        order = np.argsort(xp)
        xp, fp = getitem(xp, order), getitem(fp, order)
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    last = xp.size - 1
    i = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, max(last - 1, 0))
    j = np.minimum(i + 1, last)
    x_i, x_j, f_i, f_j = getitem(xp, i), getitem(xp, j), getitem(fp, i), getitem(fp, j)
    width = x_j - x_i
    inside = np.clip(x, xp[0], xp[-1])  # so that infinity stays out of the products
    line = f_i + (f_j - f_i) / np.where(width == 0, 1, width) * (inside - x_i)
    result = np.where(width == 0, f_j, line)
    result = np.where(x < xp[0], fp[0] if left is None else left, result)
    result = np.where(x > xp[-1], fp[-1] if right is None else right, result)
    return in_dtype(result, np.complex128 if result.dtype.kind == "c" else np.float64)


# Convolution


def uncropped(g: Any, n: int, m: int, mode: str) -> Any:
    """Return g with the zeros around it that it has in the full convolution of n with m
    elements.
    """
    if mode == "full":
        return g
    before = min(n, m) - 1 if mode == "valid" else (min(n, m) - 1) // 2
    return np.concatenate([np.zeros(before, g.dtype), g, np.zeros(n + m - 1 - before - g.size, g.dtype)])


linear(
    np.convolve,
    lambda g, out, a, v, mode="full": np.convolve(
        uncropped(g, np.size(a), np.size(v), mode), np.ravel(v)[::-1], "valid"
    ),
    lambda g, out, a, v, mode="full": np.convolve(
        uncropped(g, np.size(a), np.size(v), mode), np.ravel(a)[::-1], "valid"
    ),
)


numpys_correlate = on_arrays(np.correlate)


@of_floats(np.correlate)
def correlate(a: Any, v: Any, mode: Any = "valid") -> Any:
    """Spell np.correlate: the convolution with the conjugate of v, backwards."""
    n, m = np.size(a), np.size(v)
    backwards = np.conj(np.ravel(v))[::-1]
    if mode == "same" and n < m:  # the middle of an even number of elements is the other one, seen backwards
        spelled = np.convolve(a, backwards)[n // 2 : n // 2 + m]
    else:
        spelled = np.convolve(a, backwards, mode)
    return instead(numpys_correlate(a, v, mode), spelled)


# Grids between two ends, both of which move the points


@primitive
def between(start: Any, stop: Any, num: int, endpoint: bool) -> Any:
    """Return np.linspace(start, stop, num, endpoint), the points in front of the axes
    of the ends.
    """
    return np.linspace(start, stop, num, endpoint)


def way(out: Any, num: int, endpoint: bool) -> Any:
    """Return how far along each point is, from 0 to 1."""
    steps = np.linspace(0.0, 1.0, num, endpoint=endpoint, dtype=np.finfo(out.dtype).dtype)
    return np.reshape(steps, (-1,) + (1,) * (out.ndim - 1))


defvjp(
    between,
    lambda g, out, start, stop, num, endpoint: np.sum(g * (1 - way(out, num, endpoint)), axis=0),
    lambda g, out, start, stop, num, endpoint: np.sum(g * way(out, num, endpoint), axis=0),
)
defjvp(
    between,
    lambda t, out, start, stop, num, endpoint: t * (1 - way(out, num, endpoint)),
    lambda t, out, start, stop, num, endpoint: t * way(out, num, endpoint),
)


@of_floats(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: str | None = None,
) -> Any:
    """Spell np.linspace: points that both ends move."""
    start, stop = (array(end) if isinstance(end, list | tuple) else end for end in (start, stop))
    points = np.moveaxis(between(start, stop, num, endpoint), 0, axis)
    if dtype is not None:
        points = in_dtype(np.floor(points) if np.issubdtype(dtype, np.integer) else points, dtype)
    gaps = num - 1 if endpoint else num
    return (points, (1.0 * stop - 1.0 * start) / gaps if gaps > 0 else np.nan) if retstep else points


@of_floats(np.logspace)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    """Spell np.logspace: powers of the base."""
    if np.ndim(base):
        axes = max(np.ndim(start), np.ndim(stop), np.ndim(base))
        start, stop, base = (np.reshape(x, (1,) * (axes - np.ndim(x)) + np.shape(x)) for x in (start, stop, base))
        base = np.expand_dims(base, axis)
    powers = np.power(base, np.linspace(start, stop, num, endpoint=endpoint, axis=axis))
    return powers if dtype is None else in_dtype(powers, dtype)


@of_floats(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """Spell np.geomspace: from the start, a power of the ratio to the stop."""
    start, stop = array(start), array(stop)
    if surely(np.any(np.equal(start, 0))) or surely(np.any(np.equal(stop, 0))):
        raise ValueError("geomspace: start and stop must not be 0, which no factor leads to or from")
    inner = np.result_type(start.dtype, stop.dtype, float(num), np.zeros((), dtype).dtype)
    start, stop = in_dtype(start, inner), in_dtype(stop, inner)
    sign = np.sign(start)
    start, stop = start / sign, stop / sign
    points = np.logspace(np.log10(start), np.log10(stop), num, endpoint)
    if num > 0:  # the ends as they are, not by their logarithms
        first, last = (np.broadcast_to(end, points.shape[1:])[None] for end in (start, stop))
        points = np.concatenate([first, points[1:-1], last] if endpoint and num > 1 else [first, points[1:]])
    points = np.moveaxis(points * sign, 0, axis)
    return points if dtype is None else in_dtype(points, dtype)


LOOKING.update({np.interp, np.linspace, np.logspace, np.geomspace})
