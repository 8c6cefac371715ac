"""Pooling: the largest element or the mean of each window; and `Flatten`.

Owns: the functions with their rules, and the layers that call them.
Must not own: how windows are counted (`windows.py`).
Read next: `windows.py`.

Ties: among equal largest elements of a window, the first gets the whole gradient, as in
PyTorch (`np.max` shares it). NaN: a window with a NaN gives NaN, and its first NaN gets
the gradient.

Two operations give all derivatives: `picked` takes one element from each window, or
without taps the window's sum; `returned` adds elements at the places they came from.
Each is the transpose of the other.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.nn.arguments import COMPLEX, X, floating, of_one, operand
from microgradnd.nn.calls import Calls, check_settings
from microgradnd.nn.module import Module
from microgradnd.nn.windows import (
    Padding,
    Sizes,
    batch_first,
    batch_last,
    border,
    check_windows,
    counts,
    images,
    taps,
    windows,
)
from microgradnd.registry import defjvp, defvjp, linear, plain, primitive

FEW = 9  # taps for which a program has steps of their own


def seen(x: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, fill: float = 0) -> list[Any]:
    """Return the elements that the windows see at each tap of a padded array."""
    x = x if math.prod(kernel) <= FEW else np.asarray(x)  # refuses a trace, so that a program calls this as a whole
    sizes = windows(x.shape[1:-1], kernel, stride, padding, dilation)
    inside, wide = border(x.shape[1:-1], padding)
    x = x if wide == x.shape[1:-1] else padded(x, inside, wide, fill)
    return [x[:, *tap] for tap in taps(kernel, sizes, stride, dilation)]


@primitive
def padded(x: Any, inside: tuple[slice, ...], wide: Sizes, fill: float) -> Any:
    """Return an array with a border around it."""
    x = np.asarray(x)
    out = np.full_like(x, fill, shape=(len(x), *wide, x.shape[-1]))
    out[:, *inside] = x
    return out


@primitive
def max_pool_last(x: Any, **how: Any) -> Any:
    """Return `max_pool` of an array whose last axis is the batch."""
    first, *others = seen(x, **how, fill=-np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min)
    return functools.reduce(np.maximum, others or [first], first)


@primitive
def winners_last(x: Any, largest: Any, **how: Any) -> Any:
    """Return `winners` of arrays whose last axis is the batch."""
    parts = seen(x, **how, fill=np.nan)
    places = leading([part != largest for part in parts[:-1] or parts], np.min_scalar_type(len(parts)))
    return winners_of_nan(places, x, largest, **how)


@primitive
def winners_of_nan(places: Any, x: Any, largest: Any, **how: Any) -> Any:
    """Return the winners, with that of each window with a NaN replaced by its first."""
    nan = np.asarray(largest) != largest
    if not nan.any():
        return places
    return np.where(nan, leading([part == part for part in seen(x, **how)], places.dtype), places)


def leading(conditions: list[Any], dtype: Any) -> Any:
    """Return, for each element, how many boolean arrays are true before a false one."""
    true = conditions[0]
    number = true.astype(dtype)
    for condition in conditions[1:]:
        true = true & condition
        number = number + true
    return number


@primitive
def picked_last(x: Any, winner: Any, **how: Any) -> Any:
    """Return `picked` of arrays whose last axis is the batch."""
    parts = enumerate(seen(x, **how))
    return functools.reduce(np.add, (part if winner is None else part * (winner == tap) for tap, part in parts), 0)


@primitive
def returned_last(g: Any, winner: Any, shape: Sizes, **how: Any) -> Any:
    """Return `returned` of arrays whose last axis is the batch."""
    kernel, stride, dilation = how["kernel"], how["stride"], how["dilation"]
    filled = tuple(n * k for n, k in zip(g.shape[1:-1], kernel, strict=True))
    rest = tuple((low, n - m - low) for n, m, (low, _) in zip(shape, filled, how["padding"], strict=True))
    if stride != kernel or set(dilation) != {1} or any(low or high < 0 for low, high in rest):
        return returned_any(g, winner, shape, **how)
    # Each element is in one window: axes of windows and of taps make up those of x
    split = (len(g), *itertools.chain(*((n, 1) for n in g.shape[1:-1])), g.shape[-1])
    number = np.ones((1, *itertools.chain(*((1, k) for k in kernel)), 1), g.dtype if winner is None else winner.dtype)
    number.flat[:] = 1 if winner is None else range(number.size)
    share = number if winner is None else (np.reshape(winner, split) == number).astype(g.dtype)
    out = np.reshape(np.reshape(g, split) * share, (len(g), *filled, g.shape[-1]))
    return out if filled == shape else padded(out, border(filled, rest)[0], shape, 0)


@primitive
def returned_any(
    g: Any, winner: Any, shape: Sizes, *, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    """Return `returned_last` where windows overlap, or leave out elements."""
    g = np.asarray(g)
    like = g if winner is None else winner
    laid = np.empty_like(like, g.dtype)  # in the memory order of x
    laid[...] = g
    inside, wide = border(shape, padding)
    out: Any = np.zeros_like(like, g.dtype, shape=(len(g), *wide, g.shape[-1]))
    for tap, place in enumerate(taps(kernel, g.shape[1:-1], stride, dilation)):
        out[:, *place] += laid if winner is None else laid * (winner == tap)
    return out[:, *inside]


@primitive
def max_pool(x: Any, **how: Any) -> Any:
    """Return the largest element of each window."""
    return batch_first(max_pool_last(batch_last(x), **how))


@primitive
def winners(x: Any, largest: Any, **how: Any) -> Any:
    """Return the tap of each window's largest element: the first one, or first NaN."""
    return batch_first(winners_last(batch_last(x), batch_last(largest), **how))


@primitive
def picked(x: Any, winner: Any, **how: Any) -> Any:
    """Return each window's element at a tap, or its sum if there is no tap."""
    return batch_first(picked_last(batch_last(x), None if winner is None else batch_last(winner), **how))


@primitive
def returned(g: Any, winner: Any, shape: Sizes, **how: Any) -> Any:
    """Return an array with each element of g added at one tap of its window, or all."""
    return batch_first(returned_last(batch_last(g), None if winner is None else batch_last(winner), shape, **how))


plain([winners])
# Only the operations above call these, and have the rules
plain([padded, max_pool_last, winners_last, winners_of_nan, picked_last, returned_last, returned_any])
defvjp(max_pool, lambda g, out, x, **how: returned(g, winners(x, out, **how), x.shape[2:], **how))
defjvp(max_pool, lambda t, out, x, **how: picked(t, winners(x, out, **how), **how))
linear(picked, lambda g, out, x, winner, **how: returned(g, winner, x.shape[2:], **how))
linear(returned, lambda g, out, z, winner, shape, **how: picked(g, winner, **how))


def settings(
    function: str, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Any]:
    """Return the checked settings of windows over the last axes of x."""
    check_settings(function, ceil_mode=ceil_mode)
    kernel = counts(function, "kernel_size", kernel_size)
    steps = kernel if stride is None else counts(function, "stride", stride)
    spacing, edges = counts(function, "dilation", dilation), counts(function, "padding", padding, least=0)
    pads = []
    for n, k, s, p, d in zip(x.shape[2:], kernel, steps, edges, spacing, strict=True):
        reach = d * (k - 1) + 1
        if p > reach // 2:
            raise ValueError(f"{function}: padding must be at most half of kernel_size={kernel}, got {padding!r}")
        room = n + 2 * p - reach
        last = (-(-room // s) if ceil_mode else room // s) * s  # where the last window begins, counted from the padding
        last -= s * (last >= n + p)
        pads.append((p, last + reach - n - p))
    check_windows(function, x, kernel, steps, tuple(pads), spacing)
    return {"kernel": kernel, "stride": steps, "padding": tuple(pads), "dilation": spacing}


def max_pooling(function: str, x: Any, *options: Any) -> Any:
    """Return the largest element of each window."""
    x, is_single = images(function, x, "iuf")
    out = max_pool(x, **settings(function, x, *options))
    return out[0] if is_single else out


def avg_pooling(
    function: str, x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool
) -> Any:
    """Return the mean of each window."""
    x, is_single = images(function, floating(function, x, kinds=COMPLEX))  # sums of small integers could wrap
    how = settings(function, x, kernel_size, stride, padding, 1, ceil_mode)
    check_settings(function, count_include_pad=count_include_pad)
    counted = [low if count_include_pad else 0 for low, _ in how["padding"]]  # of the padding
    shape = [n + 2 * edge for n, edge in zip(x.shape[2:], counted, strict=True)]
    rest = tuple((low - edge, high - edge) for (low, high), edge in zip(how["padding"], counted, strict=True))
    ones = np.ones((1, 1, *shape), x.dtype)
    out = picked(x, None, **how) / picked(ones, None, **how | {"padding": rest})
    return out[0] if is_single else out


def adaptive_avg_pooling(function: str, x: Any, output_size: Any) -> Any:
    """Return the means of a given number of windows, one axis after the other."""
    x, is_single = images(function, x)
    given = output_size if isinstance(output_size, tuple | list) else (output_size,) * (x.ndim - 2)
    if len(given) == x.ndim - 2:
        given = [n if size is None else size for n, size in zip(x.shape[2:], given, strict=True)]
    if 0 in x.shape[2:]:
        raise ValueError(f"{function}: x must have elements to average, got shape {x.shape}; leave such arrays out")
    for axis, m in enumerate(counts(function, "output_size", given), start=2):
        n, before = x.shape[axis], (slice(None),) * axis
        parts = [x[*before, i * n // m : -(-(i + 1) * n // m)] for i in range(m)]
        x = np.concatenate([np.mean(part, axis=axis, keepdims=True) for part in parts], axis=axis)
    return x[0] if is_single else x


@of_one
def max_pool1d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """Return the largest element of each window.

    Among equal elements, the first gets the gradient. A window with a NaN gives NaN,
    and the gradient goes to its first NaN.

    Parameters
    ----------
    x : array_like of shape (batch, channels, length), or without batch
    kernel_size : int
    stride : int, optional
        The distance from one window to the next, by default kernel_size.
    padding : int
        How far windows reach over the edges; the padding is never the largest element.
    dilation : int
        The distance between neighbouring elements of a window.
    ceil_mode : bool
        Whether the last window may reach over the end, so that no element is left out.

    Returns
    -------
    array or Tensor of shape (batch, channels, windows), or without batch

    Raises
    ------
    ValueError
        If the shapes don't fit, or the padding is more than half of kernel_size.

    See Also
    --------
    avg_pool1d : the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.max_pool1d(np.array([[[1.0, 3.0, 2.0, 5.0]]]), 2)
    array([[[3., 5.]]])
    """
    return max_pooling("max_pool1d", x, kernel_size, stride, padding, dilation, ceil_mode)


@of_one
def avg_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """Return the mean of each window.

    Parameters
    ----------
    x : array_like of shape (batch, channels, length), or without batch
    kernel_size : int
    stride : int, optional
        The distance from one window to the next, by default kernel_size.
    padding : int
        The number of zeros around x.
    ceil_mode : bool
        Whether the last window may reach over the end, so that no element is left out.
    count_include_pad : bool
        Whether the zeros of the padding count in the mean.

    Returns
    -------
    array or Tensor of shape (batch, channels, windows), or without batch

    Raises
    ------
    ValueError
        If the shapes don't fit, or the padding is more than half of kernel_size.

    See Also
    --------
    max_pool1d : the largest element.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.avg_pool1d(np.array([[[1.0, 3.0, 2.0, 5.0]]]), 2)
    array([[[2. , 3.5]]])
    """
    return avg_pooling("avg_pool1d", x, kernel_size, stride, padding, ceil_mode, count_include_pad)


@of_one
def adaptive_avg_pool1d(x: Any, output_size: Any) -> Any:
    """Return the means of a given number of windows that divide the elements evenly.

    Of n elements, window i of m has those from floor(i n / m) to before
    ceil((i + 1) n / m).

    Parameters
    ----------
    x : array_like of shape (batch, channels, length), or without batch
    output_size : int
        The number of windows.

    Returns
    -------
    array or Tensor of shape (batch, channels, output_size), or without batch

    Raises
    ------
    ValueError
        If the shapes don't fit.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.adaptive_avg_pool1d(np.array([[[1.0, 3.0, 2.0, 5.0]]]), 2)
    array([[[2. , 3.5]]])
    """
    return adaptive_avg_pooling("adaptive_avg_pool1d", x, output_size)


@of_one
def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """Return the largest element of each window.

    Among equal elements, the first gets the gradient. A window with a NaN gives NaN,
    and the gradient goes to its first NaN.

    Parameters
    ----------
    x : array_like of shape (batch, channels, height, width), or without batch
    kernel_size : int or tuple of two
    stride : int or tuple of two, optional
        The distance from one window to the next, by default kernel_size.
    padding : int or tuple of two
        How far windows reach over the edges; the padding is never the largest element.
    dilation : int or tuple of two
        The distance between neighbouring elements of a window.
    ceil_mode : bool
        Whether the last window may reach over the end, so that no element is left out.

    Returns
    -------
    array or Tensor of shape (batch, channels, rows, columns), or without batch

    Raises
    ------
    ValueError
        If the shapes don't fit, or the padding is more than half of kernel_size.

    See Also
    --------
    avg_pool2d : the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    return max_pooling("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)


@of_one
def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """Return the mean of each window.

    Parameters
    ----------
    x : array_like of shape (batch, channels, height, width), or without batch
    kernel_size : int or tuple of two
    stride : int or tuple of two, optional
        The distance from one window to the next, by default kernel_size.
    padding : int or tuple of two
        The number of zeros around x.
    ceil_mode : bool
        Whether the last window may reach over the end, so that no element is left out.
    count_include_pad : bool
        Whether the zeros of the padding count in the mean.

    Returns
    -------
    array or Tensor of shape (batch, channels, rows, columns), or without batch

    Raises
    ------
    ValueError
        If the shapes don't fit, or the padding is more than half of kernel_size.

    See Also
    --------
    max_pool2d : the largest element.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    return avg_pooling("avg_pool2d", x, kernel_size, stride, padding, ceil_mode, count_include_pad)


@of_one
def adaptive_avg_pool2d(x: Any, output_size: Any) -> Any:
    """Return the means of a given number of windows that divide the elements evenly.

    Of n elements, window i of m has those from floor(i n / m) to before
    ceil((i + 1) n / m).

    Parameters
    ----------
    x : array_like of shape (batch, channels, height, width), or without batch
    output_size : int, or tuple of two int or None
        The number of windows along each axis; None leaves the axis unchanged.

    Returns
    -------
    array or Tensor of shape (batch, channels, *output_size), or without batch

    Raises
    ------
    ValueError
        If the shapes don't fit.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.adaptive_avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 1)
    array([[[[7.5]]]])
    """
    return adaptive_avg_pooling("adaptive_avg_pool2d", x, output_size)


class Pool(Calls):
    """The base class of pooling modules."""

    if TYPE_CHECKING:

        def forward(self, x: X) -> X:
            """Return the function of x."""


class MaxPool(Pool):
    """The settings of `MaxPool1d` and `MaxPool2d`."""

    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = 1
    ceil_mode: bool = False


class AvgPool(Pool):
    """The settings of `AvgPool1d` and `AvgPool2d`."""

    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    padding: int | tuple[int, ...] = 0
    ceil_mode: bool = False
    count_include_pad: bool = True


class MaxPool1d(MaxPool, function=max_pool1d):
    """The largest element of each window.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode
        As in `functional.max_pool1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.MaxPool1d(2)(np.ones((5, 3, 8))).shape
    (5, 3, 4)
    """


class AvgPool1d(AvgPool, function=avg_pool1d):
    """The mean of each window.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As in `functional.avg_pool1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.AvgPool1d(2)(np.ones((5, 3, 8))).shape
    (5, 3, 4)
    """


class AdaptiveAvgPool1d(Pool, function=adaptive_avg_pool1d):
    """The means of a given number of windows, for inputs of any size.

    Parameters
    ----------
    output_size
        As in `functional.adaptive_avg_pool1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.AdaptiveAvgPool1d(1)(np.ones((5, 3, 8))).shape
    (5, 3, 1)
    """

    output_size: int


class MaxPool2d(MaxPool, function=max_pool2d):
    """The largest element of each window.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode
        As in `functional.max_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.MaxPool2d(2)(np.ones((5, 3, 8, 8))).shape
    (5, 3, 4, 4)
    """


class AvgPool2d(AvgPool, function=avg_pool2d):
    """The mean of each window.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As in `functional.avg_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.AvgPool2d(2)(np.ones((5, 3, 8, 8))).shape
    (5, 3, 4, 4)
    """


class AdaptiveAvgPool2d(Pool, function=adaptive_avg_pool2d):
    """The means of a given number of windows, for inputs of any size.

    Parameters
    ----------
    output_size
        As in `functional.adaptive_avg_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.AdaptiveAvgPool2d(1)(np.ones((5, 3, 8, 8))).shape
    (5, 3, 1, 1)
    """

    output_size: int | tuple[int | None, int | None]


class Flatten(Module):
    """Joins axes to one, by default all but the first: each example becomes a vector.

    Parameters
    ----------
    start_dim, end_dim : int
        The first and the last axis to join.

    Raises
    ------
    ValueError
        If the input has no such axes, or they are in the wrong order.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Flatten()(np.ones((5, 3, 2, 2))).shape
    (5, 12)
    """

    _shown = "start_dim={start_dim}, end_dim={end_dim}"

    @explained
    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        check_settings("Flatten", start_dim=start_dim, end_dim=end_dim)
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        """Return x with axes joined."""
        x = operand("Flatten", x)
        start, end = (dim + x.ndim if dim < 0 else dim for dim in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < x.ndim:
            raise ValueError(
                f"Flatten: x must have axes {self.start_dim} to {self.end_dim}, got shape {x.shape}; put the batch "
                f"first, or pass other start_dim and end_dim"
            )
        return np.reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))
