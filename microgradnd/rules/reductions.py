"""Derivatives of the functions that reduce along axes.

Owns: sums, means, products, variances, extremes, their cumulative forms, and the forms
that skip NaN.
Must not own: sorting (`sorting.py`), statistics of several arrays (`statistics.py`),
linear algebra (`linalg.py`).
Read next: `sorting.py`.

`primitives.expand` spreads a result's cotangent over the elements that were reduced. A
rule's parameters are NumPy's, except for `to`, which stands for NumPy's `out`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.primitives import expand
from microgradnd.registry import composite, defjvp, defvjp, elementwise, plain, primitive
from microgradnd.rules.axes import axes_of, count
from microgradnd.rules.values import (
    holds,
    in_dtype,
    instead,
    is_recorded,
    number_or_array,
    of_floats,
    on_arrays,
    ratio,
    total,
)

# Sums and means


def mask_of(where: Any) -> Any:
    """Return a mask as NumPy reads it: numbers, also in lists, are truth values."""
    if where is True or isinstance(where, np.ndarray) or np.result_type(getattr(where, "dtype", float)).kind == "b":
        return where
    return np.asarray(where, dtype=bool)


def share(x: Any, axis: Any, keepdims: Any, where: Any, ddof: float = 0) -> Any:
    """Return 1 / (n - ddof) for each result of n elements, 0 if they are too few."""
    if where is True:
        n = count(x.shape, axis) - ddof
        return 1 / n if n > 0 else 0
    if mask_of(where) is not where:
        where = np.asarray(where).astype(np.intp)  # NumPy adds up numbers
    n = np.sum(np.broadcast_to(where, x.shape), axis=axis, keepdims=keepdims) - ddof
    return np.where(n > 0, 1 / np.where(n > 0, n, 1), 0).astype(np.finfo(x.dtype).dtype)


def only(x: Any, where: Any) -> Any:
    """Return x with 0 for the elements that a reduction leaves out."""
    return x if where is True else np.where(where, x, 0)


def times(x: Any, factor: Any) -> Any:
    """Return x times a factor; what a mask leaves out is 0 even if x is infinite."""
    return only(x, factor) if factor.dtype == bool else x * factor


def masked(where: Any) -> dict[str, Any]:
    """Return the keywords for a NumPy mask: none without one, as Dask requires."""
    return {} if where is True else {"where": where}


def reduction(function: Any, factors: Any) -> None:
    """Define both rules of a reduction, whose derivative is a product of factors.

    `factors` takes the result and NumPy's own parameters. It returns a factor for each
    result (or None for 1), a factor for each element (or None for 1), and the `axis`
    and `keepdims` of the call.
    """

    def vjp(g: Any, out: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        of_result, of_element, axis, keepdims = factors(out, x, *args, **kwargs)
        spread = expand(g if of_result is None else g * of_result, x.shape, axis, keepdims)
        return spread if of_element is None else times(spread, of_element)

    def jvp(t: Any, out: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        of_result, of_element, axis, keepdims = factors(out, x, *args, **kwargs)
        moved = total(t if of_element is None else times(t, of_element), axis, keepdims)
        return moved if of_result is None else moved * of_result

    defvjp(function, vjp)
    defjvp(function, jvp)


def sum_factors(
    out: Any,
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    to: Any = None,
    keepdims: Any = False,
    initial: Any = 0,
    where: Any = True,
) -> Any:
    """Return the factors of a sum: 1, except for elements that are left out."""
    return None, None if where is True else mask_of(where), axis, keepdims


def mean_factors(
    out: Any, x: Any, axis: Any = None, dtype: Any = None, to: Any = None, keepdims: Any = False, where: Any = True
) -> Any:
    """Return the factors of a mean: 1 / n."""
    return share(x, axis, keepdims, where), None if where is True else mask_of(where), axis, keepdims


def sum_cotangent(
    g: Any,
    out: Any,
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    to: Any = None,
    keepdims: Any = False,
    initial: Any = 0,
    where: Any = True,
) -> Any:
    """Return g for each element of its sum: faster than `reduction`, for every loss."""
    spread = expand(g, x.shape, axis, keepdims)
    return spread if where is True else only(spread, mask_of(where))


reduction(np.sum, sum_factors)
defvjp(np.sum, sum_cotangent)
reduction(np.mean, mean_factors)

# Variances: the mean of |d|**2 over the deviations d from the mean. The deviations add
# up to 0, so the change of the mean itself cancels in the derivative.

var, std = primitive(np.var), primitive(np.std)


def var_factors(
    out: Any, x: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: Any = False, where: Any = True
) -> Any:
    """Return the factors of a variance: 2 conj(d) / (n - ddof)."""
    deviation = x - np.mean(x, axis=axis, keepdims=True, **masked(where))
    if x.dtype.kind == "c":
        deviation = np.conj(deviation)
    return 2 * share(x, axis, keepdims, where, ddof), only(deviation, where), axis, keepdims


def std_factors(
    out: Any, x: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: Any = False, where: Any = True
) -> Any:
    """Return a standard deviation's factors: conj(d) / ((n - ddof) std).

    They are 0 where all elements are equal. Because the mean is rounded, the standard
    deviation of equal elements can be a rounding error instead of 0.
    """
    of_result, of_element, *rest = var_factors(out, x, axis, dtype, ddof, keepdims, where)
    rounding = np.finfo(out.dtype).eps * np.abs(np.mean(x, axis=axis, keepdims=keepdims, **masked(where)))
    return ratio(of_result, 2 * out, out <= rounding), of_element, *rest


reduction(var, var_factors)
reduction(std, std_factors)


def var_about(mean: Any, x: Any, axis: Any, dtype: Any, ddof: float, keepdims: Any, where: Any) -> Any:
    """Compute np.var with the caller's mean, which may depend on other variables."""
    deviation = only(x - mean, where)
    squares = np.square(np.real(deviation))
    if deviation.dtype.kind == "c":
        squares = squares + np.square(np.imag(deviation))
    n: Any = count(x.shape, axis)
    if where is not True:
        n = np.sum(np.broadcast_to(where, x.shape), axis=axis, keepdims=keepdims)
    found = np.sum(squares, axis=axis, dtype=dtype, keepdims=keepdims)
    return in_dtype(found / np.maximum(n - ddof, 0), found.dtype)


def std_about(*args: Any) -> Any:
    """Compute np.std with the caller's mean; its derivative is 0 where it is 0."""
    return root(var_about(*args))


@primitive
def root(x: Any) -> Any:
    """Return the square root, as an operation with derivative 0 at 0."""
    return np.sqrt(x)


elementwise(root, lambda g, out, x: g * ratio(0.5, out, out == 0))


def deviating(function: Any, about: Any) -> Any:
    """Return a definition of np.var or np.std: with a rule, unless given a mean."""

    def spelled(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        ddof: float = 0,
        keepdims: Any = False,
        *,
        where: Any = True,
        mean: Any = None,
        correction: Any = None,
    ) -> Any:
        if ddof and correction is not None:
            raise ValueError(
                f"{function.__name__}: ddof and correction are one thing; pass ddof={ddof} or {correction=}"
            )
        ddof = ddof if correction is None else correction
        if mask_of(where) is not where and np.asarray(where).dtype != bool:
            raise TypeError(
                f"{function.__name__}: where= must hold booleans, because NumPy would add up numbers; pass "
                f"np.asarray(where, dtype=bool)"
            )
        if mean is not None:
            return about(mean, a, axis, dtype, ddof, keepdims, where)
        return function(a, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims, **masked(where))

    return spelled


of_floats(np.var)(deviating(var, var_about))
of_floats(np.std)(deviating(std, std_about))

# Extremes: elements that tie share the gradient equally, including the initial value


def extreme_factors(
    out: Any, x: Any, axis: Any = None, to: Any = None, keepdims: Any = False, initial: Any = None, where: Any = True
) -> Any:
    """Return the factors of a maximum or minimum: 1 / ties for equal elements."""
    chosen = x == expand(out, x.shape, axis, keepdims)
    plain = initial is None and where is True and not is_recorded(x)
    if plain and holds(np.all(out == out) & (np.count_nonzero(chosen) == out.size)):
        return None, chosen, axis, keepdims  # without NaN, each result is one element
    chosen = in_dtype(chosen if where is True else chosen & mask_of(where), np.result_type(out.dtype, np.float32))
    ties = np.sum(chosen, axis=axis, keepdims=keepdims)
    ties = np.where(ties == 0, np.nan, ties) if initial is None else np.maximum(ties + (out == initial), 1)
    # NaN doesn't equal itself: no element is chosen, and the gradient is NaN
    return in_dtype(1 / ties, out.dtype), chosen, axis, keepdims


reduction(np.max, extreme_factors)
reduction(np.min, extreme_factors)
composite(np.amax)(lambda *args, **kwargs: np.max(*args, **kwargs))
composite(np.amin)(lambda *args, **kwargs: np.min(*args, **kwargs))


@composite(np.ptp)
def ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Compute np.ptp: the maximum minus the minimum."""
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


# Products, without dividing by an element that may be 0


@primitive
def recurrence(a: Any, b: Any) -> Any:
    """Return s with s[i] = a[i] * s[i - 1] + b[i] along the first axis, from s[-1] = 0.

    The derivative of cumulative products needs it, and its own derivative needs only
    itself.
    """
    steps: list[Any] = []
    for a_i, b_i in zip(a, b, strict=True):
        steps.append(a_i * steps[-1] + b_i if steps else b_i)
    return np.stack(steps) if steps else np.zeros(b.shape, b.dtype)


def previous(x: Any, start: float) -> Any:
    """Return the element before each along the first axis; `start` before the first."""
    return np.concatenate([np.full((1, *x.shape[1:]), start, x.dtype), x])[:-1]


def reversed_recurrence(a: Any, g: Any) -> Any:
    """Return the transpose of `recurrence` by b: h[i] = a[i + 1] * h[i + 1] + g[i]."""
    return recurrence(previous(a[::-1], 0), g[::-1])[::-1]


defvjp(
    recurrence,
    lambda g, out, a, b: reversed_recurrence(a, g) * previous(out, 0),
    lambda g, out, a, b: reversed_recurrence(a, g),
)
defjvp(recurrence, lambda t, out, a, b: recurrence(a, t * previous(out, 0)), lambda t, out, a, b: recurrence(a, t))


def along_first(x: Any, axis: int | None) -> Any:
    """Return x with a cumulative function's axis in front; None joins all axes."""
    return np.ravel(x) if axis is None else np.moveaxis(x, axis, 0)


def back_in_place(x: Any, shape: tuple[int, ...], axis: int | None) -> Any:
    """Undo `along_first`."""
    return np.reshape(x, shape) if axis is None else np.moveaxis(x, 0, axis)


def cumprod_vjp(g: Any, out: Any, x: Any, axis: int | None = None, dtype: Any = None, to: Any = None) -> Any:
    """Return each factor's cotangent: the product before it, times its effect after."""
    axis = axis if x.ndim else None
    g, out = (y if axis is None else np.moveaxis(y, axis, 0) for y in (g, out))
    return back_in_place(reversed_recurrence(along_first(x, axis), g) * previous(out, 1), x.shape, axis)


def cumprod_jvp(t: Any, out: Any, x: Any, axis: int | None = None, dtype: Any = None, to: Any = None) -> Any:
    """Return the tangent of each product from the one before, by the product rule."""
    axis = axis if x.ndim else None
    before = previous(out if axis is None else np.moveaxis(out, axis, 0), 1)
    moved = recurrence(along_first(x, axis), along_first(t, axis) * before)
    return back_in_place(moved, out.shape, axis)


defvjp(np.cumprod, cumprod_vjp)
defjvp(np.cumprod, cumprod_jvp)


def cumsum_vjp(g: Any, out: Any, x: Any, axis: int | None = None, dtype: Any = None, to: Any = None) -> Any:
    """Return the sum of the cotangents from each element on."""
    g = g if axis is None else np.moveaxis(g, axis, 0)
    return back_in_place(np.cumsum(g[::-1], axis=0)[::-1], x.shape, axis)


defvjp(np.cumsum, cumsum_vjp)
defjvp(np.cumsum, lambda t, out, x, axis=None, dtype=None, to=None: np.cumsum(t, axis=axis))


def others(x: Any, axis: Any) -> Any:
    """Return, for each element, the product of the others in its reduction."""
    if not x.ndim:  # NumPy still reduces it along axis 0 or -1
        return np.ones_like(x)
    reduced = axes_of(axis, x.ndim)
    first = tuple(range(len(reduced)))
    front = np.moveaxis(x, reduced, first)
    factors = np.reshape(front, (count(x.shape, axis), *front.shape[len(reduced) :]))
    before = np.cumprod(previous(factors, 1), axis=0)
    after = np.cumprod(previous(factors[::-1], 1), axis=0)[::-1]
    return np.moveaxis(np.reshape(before * after, front.shape), first, reduced)


def prod_factors(
    out: Any,
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    to: Any = None,
    keepdims: Any = False,
    initial: Any = 1,
    where: Any = True,
) -> Any:
    """Return the factors of a product: the product of all other elements."""
    rest = others(x if where is True else np.where(where, x, 1), axis)
    return None if initial == 1 else initial, only(rest, where), axis, keepdims


reduction(np.prod, prod_factors)


def cumulative(function: Any, start: float) -> Any:
    """Return a definition of np.cumulative_sum or np.cumulative_prod.

    It may include the initial value.
    """

    def spelled(
        x: Any, /, *, axis: int | None = None, dtype: Any = None, out: None = None, include_initial: bool = False
    ) -> Any:
        x = np.reshape(x, (1,)) if x.ndim == 0 else x
        if axis is None and x.ndim > 1:
            raise ValueError(f"cumulative_{function.__name__[3:]} of a tensor of shape {x.shape} needs axis=")
        result = function(np.moveaxis(x, axis or 0, 0), axis=0, dtype=dtype)
        if include_initial:
            result = np.concatenate([np.full((1, *result.shape[1:]), start, result.dtype), result])
        return np.moveaxis(result, 0, axis or 0)

    return spelled


if hasattr(np, "cumulative_sum"):  # NumPy 2.1
    composite(np.cumulative_sum)(cumulative(np.cumsum, 0))
    composite(np.cumulative_prod)(cumulative(np.cumprod, 1))

# NaN left out: it has no gradient


def number_where(x: Any, where: Any) -> Any:
    """Return the mask of the elements that are neither NaN nor left out."""
    return ~np.isnan(x) if where is True else ~np.isnan(x) & mask_of(where)


def skipping(function: Any, neutral: float) -> Any:
    """Return a definition of a function that replaces NaN by a neutral element."""
    return lambda a, *args, **kwargs: function(np.where(np.isnan(a), neutral, a), *args, **kwargs)


for skips_nan, function, neutral in (
    (np.nansum, np.sum, 0),
    (np.nanprod, np.prod, 1),
    (np.nancumsum, np.cumsum, 0),
    (np.nancumprod, np.cumprod, 1),
):
    composite(skips_nan)(skipping(function, neutral))


@composite(np.nanmean)
def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    """Compute np.nanmean: the mean of the other elements."""
    return np.mean(a, axis=axis, dtype=dtype, keepdims=keepdims, where=number_where(a, where))


numpys_nanvar, numpys_nanstd = on_arrays(np.nanvar), on_arrays(np.nanstd)


@composite(np.nanvar)
def nanvar(a: Any, *args: Any, where: Any = True, **kwargs: Any) -> Any:
    """Compute np.nanvar: the variance of the other elements."""
    found = np.var(a, *args, where=number_where(a, where), **kwargs)
    return instead(numpys_nanvar(a, *args, where=where, **kwargs), found)


@composite(np.nanstd)
def nanstd(a: Any, *args: Any, where: Any = True, **kwargs: Any) -> Any:
    """Compute np.nanstd: the standard deviation of the other elements."""
    found = np.std(a, *args, where=number_where(a, where), **kwargs)
    return instead(numpys_nanstd(a, *args, where=where, **kwargs), found)


def nan_extreme(function: Any, least: float) -> Any:
    """Return a definition of np.nanmax or np.nanmin; NaN if all elements are NaN."""

    def spelled(
        a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None, where: Any = True
    ) -> Any:
        if initial is None and a.size == 0:  # an error, unless no result is asked for either
            return function(a, axis=axis, keepdims=keepdims)
        mask = number_where(a, where)
        start = least if initial is None else initial
        result = function(a, axis=axis, keepdims=keepdims, initial=start, where=mask)
        if initial is not None:
            return result
        return number_or_array(np.where(np.any(mask, axis=axis, keepdims=keepdims), result, np.nan))

    return spelled


of_floats(np.nanmax)(nan_extreme(np.max, -np.inf))
of_floats(np.nanmin)(nan_extreme(np.min, np.inf))

plain((np.argmax, np.argmin, np.argsort, np.any, np.all, np.count_nonzero, np.nonzero, np.nanargmax, np.nanargmin))
