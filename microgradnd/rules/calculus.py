"""Derivatives of discrete calculus: differences, integrals, interpolation, convolution.

Owns: functions of neighbours along an axis, and grids between two ends.
Must not own: cumulative sums (`reductions.py`), polynomials (`polynomials.py`).
Read next: `polynomials.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from microgradnd.primitives import array, getitem
from microgradnd.registry import LOOKING, composite, defjvp, defvjp, linear, primitive
from microgradnd.rules.axes import at_axis, axes_of
from microgradnd.rules.values import holds, in_dtype, instead, of_floats, on_arrays

# Differences


def part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """Return x[start:stop] along an axis."""
    return x[at_axis(slice(start, stop), normalize_axis_index(axis, x.ndim))]


@of_floats(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Compute np.diff: each element minus the one before, n times."""
    a = array(a)
    if n < 0:
        raise ValueError(f"diff: n, the number of differences, must be 0 or more, got {n}")
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
    """Compute np.ediff1d: differences of all elements in a row, between given ends."""
    parts = [np.ravel(x) for x in (to_begin, np.diff(np.ravel(ary)), to_end) if x is not None]
    for part in parts:
        if not np.can_cast(part.dtype, ary.dtype, "same_kind"):
            raise TypeError(
                f"ediff1d: the ends must have a dtype that fits {ary.dtype}, that of the array, got {part.dtype}"
            )
    return in_dtype(np.concatenate(parts), ary.dtype)


numpys_gradient = on_arrays(np.gradient)


@composite(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Compute np.gradient: second-order differences, one array per axis.

    Inside, it is the mean of the slopes before and after, each weighted by the step of
    the other. At the edges, it is the nearest slope (`edge_order` 1), or an
    extrapolation of the two nearest slopes (2).
    """
    f = array(f)
    if f.dtype.kind == "b":
        raise TypeError("gradient: f must be numbers, got booleans, which NumPy can't subtract; pass f.astype(float)")
    f = f if f.dtype.kind in "fc" else in_dtype(f, np.float64)
    axes, spacings = axes_of(axis, f.ndim), varargs or (1.0,)
    if len(spacings) == 1 and np.ndim(spacings[0]) == 0:
        spacings = spacings * len(axes)
    if len(spacings) != len(axes):
        raise TypeError(
            f"gradient: there must be one spacing, or one per axis, got {len(varargs)} for {len(axes)} axes"
        )
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order, the order at the edges, must be 1 or 2, got {edge_order}")
    results = tuple(gradient_along(f, i, h, edge_order) for i, h in zip(axes, spacings, strict=True))
    values = numpys_gradient(f, *varargs, axis=axes, edge_order=edge_order)
    if len(results) == 1:
        return instead(values, results[0])
    return tuple(instead(value, result) for value, result in zip(values, results, strict=True))


def gradient_along(f: Any, axis: int, spacing: Any, edge_order: int) -> Any:
    """Return the derivative along one axis, from distances or coordinates."""
    f, size = np.moveaxis(f, axis, -1), f.shape[axis]
    if size < edge_order + 1:
        raise ValueError(f"gradient: axis {axis} must have at least edge_order + 1 elements, got {size}")
    if np.ndim(spacing) == 0:
        steps = spacing * np.ones(size - 1, np.finfo(f.dtype).dtype)
    elif np.shape(spacing) == (size,):
        steps = np.diff(array(spacing))
    else:
        raise ValueError(
            f"gradient: spacing along axis {axis} must be a number, or the coordinates of its {size} elements, got "
            f"shape {np.shape(spacing)}"
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
    """Compute np.trapezoid: the sum of the means of neighbours times their distance."""
    y, width = array(y), dx
    if x is not None:
        width = np.diff(x) if np.ndim(x) == 1 else np.diff(x, axis=axis)
        if np.ndim(x) == 1:
            width = np.reshape(width, [-1 if i == axis % y.ndim else 1 for i in range(y.ndim)])
    return np.sum(width * (part(y, axis, 1, None) + part(y, axis, None, -1)) / 2.0, axis=axis)


numpys_interp = on_arrays(np.interp)


@composite(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    """Compute np.interp: straight lines between points.

    The derivative at a point is the slope of the line to its right; at the last point,
    of the line to its left. Towards an infinite point, the line is flat.
    """
    x, xp, fp = array(x), array(xp), array(fp)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(f"interp: xp and fp must be vectors of equal length, got shapes {xp.shape} and {fp.shape}")
    if "c" in (x.dtype.kind, xp.dtype.kind):
        raise TypeError(f"interp: x and xp must be real, got {x.dtype} and {xp.dtype}; pass np.real(x) and np.real(xp)")
    x, xp = in_dtype(x, np.float64), in_dtype(xp, np.float64)  # as NumPy does
    fp = in_dtype(fp, np.complex128 if fp.dtype.kind == "c" else np.float64)
    if period is not None and holds(np.any(np.equal(period, 0))):
        raise ValueError("interp: period must not be 0; it is the length after which the function repeats")
    value = numpys_interp(x, xp, fp, left, right, period)
    if period is not None:
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
    has_slope = (width != 0) & np.isfinite(width)
    inside = np.where(has_slope, np.clip(x, xp[0], xp[-1]) - x_i, 0)  # keeps infinity out of the products
    line = f_i + (f_j - f_i) / np.where(has_slope, width, 1) * inside
    at_end = (width == 0) | (x == np.inf) | ((x_i == -np.inf) & (x > x_i))
    result = np.where(at_end, f_j, line)
    result = np.where(x < xp[0], fp[0] if left is None else left, result)
    result = np.where(x > xp[-1], fp[-1] if right is None else right, result)
    return instead(value, in_dtype(result, np.complex128 if result.dtype.kind == "c" else np.float64))


# Convolution


def name_of_mode(mode: Any) -> Any:
    """Return the name of a mode, which NumPy also takes as a number."""
    return mode if isinstance(mode, str) else ("valid", "same", "full")[mode]


def uncropped(g: Any, n: int, m: int, mode: Any) -> Any:
    """Return g with the zeros around it that the full convolution has.

    The convolution is of n elements with m.
    """
    mode = name_of_mode(mode)
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
    """Compute np.correlate: convolution with the reversed conjugate of v."""
    n, m = np.size(a), np.size(v)
    reversed_v = np.conj(np.ravel(v))[::-1]
    if name_of_mode(mode) == "same" and n < m:  # reversed, an even number of elements has another middle
        spelled = np.convolve(a, reversed_v)[n // 2 : n // 2 + m]
    else:
        spelled = np.convolve(a, reversed_v, mode)
    return instead(numpys_correlate(a, v, mode), spelled)


# Grids between two ends, which both move the points


@primitive
def between(start: Any, stop: Any, num: int, endpoint: bool) -> Any:
    """Return np.linspace(start, stop, num, endpoint), with the points along axis 0."""
    return np.linspace(start, stop, num, endpoint)


def way(out: Any, num: int, endpoint: bool) -> Any:
    """Return each point's position from start to stop, as a number from 0 to 1."""
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
    """Compute np.linspace: points that both ends move."""
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
    """Compute np.logspace: powers of the base."""
    if np.ndim(base):
        axes = max(np.ndim(start), np.ndim(stop), np.ndim(base))
        start, stop, base = (np.reshape(x, (1,) * (axes - np.ndim(x)) + np.shape(x)) for x in (start, stop, base))
        base = np.expand_dims(base, axis)
    powers = np.power(base, np.linspace(start, stop, num, endpoint=endpoint, axis=axis))
    return powers if dtype is None else in_dtype(powers, dtype)


@of_floats(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """Compute np.geomspace: the start times powers of a ratio, up to the stop."""
    start, stop = array(start), array(stop)
    if holds(np.any(np.equal(start, 0))) or holds(np.any(np.equal(stop, 0))):
        raise ValueError("geomspace: start and stop must not be 0, because no factor leads to or from 0")
    inner = np.result_type(start.dtype, stop.dtype, float(num), np.zeros((), dtype).dtype)
    start, stop = in_dtype(start, inner), in_dtype(stop, inner)
    sign = np.sign(start)
    start, stop = start / sign, stop / sign
    points = np.logspace(np.log10(start), np.log10(stop), num, endpoint)
    if num > 0:  # the exact ends, not via their logarithms
        first, last = (np.broadcast_to(end, points.shape[1:])[None] for end in (start, stop))
        points = np.concatenate([first, points[1:-1], last] if endpoint and num > 1 else [first, points[1:]])
    points = np.moveaxis(points * sign, 0, axis)
    return points if dtype is None else in_dtype(points, dtype)


LOOKING.update({np.interp, np.linspace, np.logspace, np.geomspace})
