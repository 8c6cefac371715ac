"""Derivatives of the functions that put elements in order.

Owns: sorting, and interpolating between sorted elements: medians and quantiles.
Must not own: maximum and minimum (`reductions.py`).
Read next: `statistics.py`.

A sorted array is a permutation of the original: each place passes its gradient to the
element that moved there. Equal elements keep their order, so each has one place.
Indices (`np.argsort`) have no derivative.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from microgradnd.primitives import array
from microgradnd.registry import Function, composite, defjvp, defvjp, elementwise, plain, primitive
from microgradnd.rules.axes import axes_of, count, numbered
from microgradnd.rules.values import holds, in_dtype, instead, is_recorded, of_floats, on_arrays, picked

plain((np.argsort, np.argpartition, np.lexsort, np.searchsorted, np.digitize))


def along(order: Any, axis: int) -> tuple[Any, ...]:
    """Return the index that takes the elements that `order` names along an axis."""
    index = [numbered(order, i) for i in range(order.ndim)]
    index[axis] = order
    return tuple(index)


def sort_jvp(t: Any, out: Any, x: Any, axis: int | None = -1, *_: Any, **__: Any) -> Any:
    """Return the tangent in the order of the sorted elements."""
    return np.take_along_axis(t, np.argsort(x, axis=axis, kind="stable"), axis)


def sort_vjp(g: Any, out: Any, x: Any, axis: int | None = -1, *_: Any, **__: Any) -> Any:
    """Return the cotangent in the elements' original order."""
    places = np.argsort(np.argsort(x, axis=axis, kind="stable"), axis=axis)  # the inverse of a permutation
    return np.reshape(picked(g, places), x.shape) if axis is None else picked(g, along(places, axis))


defvjp(np.sort, sort_vjp)
defjvp(np.sort, sort_jvp)


@composite(np.partition)
def partition(a: Any, kth: Any, axis: int | None = -1, kind: Any = "introselect", order: None = None) -> Any:
    """Compute np.partition by the indices of np.argpartition."""
    places = np.argpartition(a, kth, axis=axis, kind=kind)
    return np.ravel(a)[places] if axis is None else a[along(places, axis)]


@of_floats(np.sort_complex)
def sort_complex(a: Any) -> Any:
    """Compute np.sort_complex: sort, and convert to complex."""
    return in_dtype(np.sort(a), a.dtype if a.dtype.kind == "c" else np.complex128)


# Medians and quantiles lie between neighbours in the sorted array, so no other element
# has a derivative. Below, the "columns" are the elements of each result, sorted along
# the first axis; NaN come last.


def in_columns(x: Any, axis: Any) -> Any:
    """Return x with the elements of each result, sorted, along the first axis."""
    reduced = list(axes_of(axis, x.ndim))
    kept = [a for a in range(x.ndim) if a not in reduced]
    columns = np.reshape(np.transpose(x, reduced + kept), (count(x.shape, axis), *(x.shape[a] for a in kept)))
    if not columns.shape[0]:
        raise ValueError(f"a median or quantile needs at least one element, got axis={axis} of shape {x.shape}")
    return np.sort(columns, axis=0)


def last(columns: Any, skip_nan: bool) -> Any:
    """Return the index of each column's last element, or the last that isn't NaN."""
    if not skip_nan:
        return columns.shape[0] - 1
    return np.maximum(np.sum(~np.isnan(columns), axis=0), 1) - 1


def at(columns: Any, places: Any) -> Any:
    """Return the columns' elements at `places`, which ends in the columns' axes."""
    return columns[(places, *np.indices(columns.shape[1:], sparse=True))]


def back(values: Any, columns: Any, x: Any, axis: Any, keepdims: bool, skip_nan: bool) -> Any:
    """Return results in their shape; NaN where an element is NaN, unless skipped."""
    if not skip_nan:
        values = values * in_dtype(np.where(np.isnan(columns[-1]), np.nan, 1), values.dtype)  # and so is the derivative
    if not keepdims:
        return values
    reduced = axes_of(axis, x.ndim)
    shape = tuple(1 if a in reduced else n for a, n in enumerate(x.shape))
    return np.reshape(values, values.shape[: values.ndim - columns.ndim + 1] + shape)


def middle(a: Any, axis: Any, keepdims: bool, skip_nan: bool) -> Any:
    """Return the mean of the two middle elements; for an odd number they are one."""
    columns = in_columns(a, axis)
    if skip_nan and holds(np.any(np.all(np.isnan(columns), axis=0))):
        warnings.warn("All-NaN slice encountered", RuntimeWarning, stacklevel=2)
    end = last(columns, skip_nan)
    return back((at(columns, end // 2) + at(columns, (end + 1) // 2)) / 2, columns, a, axis, keepdims, skip_nan)


@of_floats(np.median)
def median(a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """Compute np.median."""
    return middle(a, axis, keepdims, False)


@of_floats(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """Compute np.nanmedian: the median of the other elements."""
    return middle(a, axis, keepdims, True)


@primitive
def place(q: Any, n: int, method: Any) -> Any:
    """Return the place of the quantile `q` among n sorted elements.

    It lies between the elements floor(place) and floor(place) + 1. NumPy computes it:
    the elements of 0, 1, ..., n - 1 are their own places.
    """
    return np.quantile(np.arange(n, dtype=np.float64), q, method=method)


# How much more than n the place moves from q = 0 to q = 1; methods not named here
# choose an element
STRETCH = {
    "linear": -1.0,
    "hazen": 0.0,
    "interpolated_inverted_cdf": 0.0,
    "median_unbiased": 1 / 3,
    "normal_unbiased": 1 / 4,
    "weibull": 1.0,
}


def place_slope(g: Any, out: Any, q: Any, n: int, method: Any) -> Any:
    """Return g times the derivative of the place by `q`; 0 beyond the end elements."""
    return g * ((out > 0) & (out < n - 1)) * (n + STRETCH.get(method, -n))


elementwise(place, place_slope)


def interpolated(a: Any, q: Any, axis: Any, method: Any, keepdims: bool, weights: Any, skip_nan: bool) -> Any:
    """Return quantiles: the two elements next to their place, weighted by nearness."""
    if weights is not None:
        raise NotImplementedError(
            "quantiles with weights= have no derivative here; sort the elements and their weights (np.argsort, "
            "np.cumsum) and interpolate with np.interp"
        )
    columns = in_columns(a, axis)
    end = last(columns, skip_nan)
    behind = tuple(range(-(columns.ndim - 1), 0))
    where: Any = np.zeros(())
    ends = range(columns.shape[0]) if is_recorded(end) else np.unique(end).tolist()
    for end_n in ends:  # the place depends on the number of elements, which differs with NaN
        place_n = np.expand_dims(place(q, end_n + 1, method), behind)
        where = np.where(end == end_n, place_n, where) if skip_nan else place_n
    before = np.floor(where).astype(int)
    like = np.quantile(np.zeros(1, a.dtype), q if isinstance(q, int | float) else np.zeros(1, q.dtype), method=method)
    fraction = (where - before).astype(like.dtype)
    low, high = at(columns, before), at(columns, np.minimum(before + 1, end))
    return back(low + (high - low) * fraction, columns, a, axis, keepdims, skip_nan)


def quantiles(function: Function, highest: float, skip_nan: bool) -> None:
    """Define np.quantile or a relative, whose quantiles go from 0 to `highest`."""
    numpys = on_arrays(function)

    @of_floats(function)
    def spelled(
        a: Any,
        q: Any,
        axis: Any = None,
        out: None = None,
        overwrite_input: bool = False,
        method: Any = "linear",
        keepdims: bool = False,
        *,
        weights: Any = None,
    ) -> Any:
        a, q = array(a), q if isinstance(q, int | float) else array(q)
        found = interpolated(a, q if highest == 1 else q / highest, axis, method, keepdims, weights, skip_nan)
        return instead(numpys(a, q, axis=axis, method=method, keepdims=keepdims), found)


quantiles(np.quantile, 1, False)
quantiles(np.nanquantile, 1, True)
quantiles(np.percentile, 100, False)
quantiles(np.nanpercentile, 100, True)
