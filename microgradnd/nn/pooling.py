"""Pooling: the largest element of each window, or the mean; and `Flatten`, which comes after it.

Owns: the functions with their rules, and the layers that call them.
Must not own: how windows are counted (`windows.py`).
Read next: `windows.py`.

Ties: the first of the largest elements of a window gets the whole gradient, as in PyTorch (`np.max` shares it). NaN: the
result of a window with a NaN is NaN, and the first NaN gets the gradient.

Two operations give all derivatives: `picked` takes an element from each window or, told no taps, their sum; `returned`
adds elements to where they came from. Each is the transpose of the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from microgradnd.failures import explained
from microgradnd.nn.arguments import X, of_one, operand
from microgradnd.nn.module import Module
from microgradnd.nn.windows import Padding, Sizes, border, check_windows, counts, images, taps, windows
from microgradnd.registry import defjvp, defvjp, linear, name_of, plain, primitive


def seen(x: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, fill: float = 0) -> list[Any]:
    """Return what the windows see at each tap of an array with a number around it."""
    x = np.asarray(x)
    sizes = windows(x.shape[2:], kernel, stride, padding, dilation)
    inside, wide = border(x.shape[2:], padding)
    if wide != x.shape[2:]:
        inner, x = x, np.full_like(x, fill, shape=(*x.shape[:2], *wide))
        x[..., *inside] = inner
    return [x[..., *tap] for tap in taps(kernel, sizes, stride, dilation)]


@primitive
def maximum(x: Any, **how: Any) -> Any:
    """Return the largest element of each window."""
    out, *others = seen(x, **how, fill=-np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min)
    out = np.copy(out, order="K")
    for part in others:
        np.maximum(out, part, out=out)
    return out


@primitive
def winners(x: Any, out: Any, **how: Any) -> Any:
    """Return the tap of the largest element of each window: of the first one, or of the first NaN."""
    out = np.asarray(out)
    places = leading(part != out for part in seen(x, **how, fill=np.nan))
    nan = out != out
    return np.where(nan, leading(part == part for part in seen(x, **how)), places) if nan.any() else places


def leading(conditions: Iterator[Any]) -> Any:
    """Return how many boolean arrays are true before the first that isn't, for each element."""
    true = next(conditions)
    number = true.astype(np.int16)
    for condition in conditions:
        true &= condition
        number += true
    return number


@primitive
def picked(x: Any, winner: Any, **how: Any) -> Any:
    """Return the element of each window at a tap, or the sum of all if there is none."""
    parts = seen(x, **how)
    out = np.zeros_like(parts[0])
    for tap, part in enumerate(parts):
        out += part if winner is None else part * (winner == tap)
    return out


@primitive
def returned(
    g: Any, winner: Any, shape: Sizes, *, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> Any:
    """Return an array with each element of g added at a tap of its window, or at all of them."""
    g = np.asarray(g)
    inside, wide = border(shape, padding)
    out = np.zeros_like(g if winner is None else winner, g.dtype, shape=(*g.shape[:2], *wide))
    for tap, place in enumerate(taps(kernel, g.shape[2:], stride, dilation)):
        out[..., *place] += g if winner is None else g * (winner == tap)
    return out[..., *inside]


plain([winners])
defvjp(maximum, lambda g, out, x, **how: returned(g, winners(x, out, **how), x.shape[2:], **how))
defjvp(maximum, lambda t, out, x, **how: picked(t, winners(x, out, **how), **how))
linear(picked, lambda g, out, x, winner, **how: returned(g, winner, x.shape[2:], **how))
linear(returned, lambda g, out, z, winner, shape, **how: picked(g, winner, **how))


def settings(
    function: str, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Any]:
    """Return the checked settings of windows over the last axes of x."""
    shape = x.shape[2:]
    kernel = counts(function, "kernel_size", kernel_size, len(shape))
    stride = kernel if stride is None else counts(function, "stride", stride, len(shape))
    dilation = counts(function, "dilation", dilation, len(shape))
    pads = counts(function, "padding", padding, len(shape), least=0)
    ends = []
    for n, k, s, p, d in zip(shape, kernel, stride, pads, dilation, strict=True):
        reach = d * (k - 1) + 1
        if p > reach // 2:
            raise ValueError(
                f"{function}: padding must be at most half of kernel_size, so that no window is all padding, got "
                f"padding={padding!r} and kernel_size={kernel_size!r}"
            )
        steps = n + 2 * p - reach
        number = -(-steps // s) if ceil_mode else steps // s
        number -= number * s >= n + p  # a window that would begin after the end
        ends.append((p, number * s + reach - n - p))
    how = {"kernel": kernel, "stride": stride, "padding": tuple(ends), "dilation": dilation}
    check_windows(function, x, **how)
    return how


def max_pool(function: str, axes: int, x: Any, *options: Any) -> Any:
    """Return the largest element of each window over the last axes."""
    x, is_single = images(function, x, axes, "biuf")
    out = maximum(x, **settings(function, x, *options))
    return out[0] if is_single else out


def avg_pool(
    function: str, axes: int, x: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool
) -> Any:
    """Return the mean of each window over the last axes."""
    x, is_single = images(function, x, axes)
    how = settings(function, x, kernel, stride, padding, 1, ceil_mode)
    edges = [low if count_include_pad else 0 for low, _ in how["padding"]]
    out = picked(x, None, **how) / lengths(x, edges, **how)
    return out[0] if is_single else out


def lengths(x: Any, edges: Sequence[int], kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes) -> Any:
    """Return how many elements each window has that are at most so far from the edges of x."""
    numbers = windows(x.shape[2:], kernel, stride, padding, dilation)
    axes = []
    for n, edge, k, s, (low, _), number in zip(x.shape[2:], edges, kernel, stride, padding, numbers, strict=True):
        starts = np.arange(number) * s - low
        axes.append(np.minimum(starts + k, n + edge) - np.maximum(starts, -edge))
    return math.prod(np.ix_(*axes)).astype(x.dtype if x.dtype.kind in "fc" else float)


def adaptive_avg_pool(function: str, axes: int, x: Any, output_size: Any) -> Any:
    """Return the means over the last axes of as many windows as wanted, which share out the elements."""
    x, is_single = images(function, x, axes)
    sizes = output_size if isinstance(output_size, tuple | list) else (output_size,) * axes
    if len(sizes) == axes:
        sizes = [n if size is None else size for n, size in zip(x.shape[2:], sizes, strict=True)]
    for axis, size in enumerate(counts(function, "output_size", sizes, axes), start=2):
        n = x.shape[axis]
        ends = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
        parts = [np.mean(x[(slice(None),) * axis + (slice(*end),)], axis=axis, keepdims=True) for end in ends]
        x = np.concatenate(parts, axis=axis)
    return x[0] if is_single else x


@of_one
@explained
def max_pool1d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """Return the largest element of each window.

    Of equal elements the first gets the gradient. A window with a NaN gives NaN, whose gradient goes to the first NaN.

    Parameters
    ----------
    x : array_like of shape (batch, channels, length), or without batch
    kernel_size : int
    stride : int, optional
        How far a window is from the next, by default kernel_size.
    padding : int
        How far windows reach over the edges; what they see there is never the largest.
    dilation : int
        How far the elements of a window are from each other.
    ceil_mode : bool
        Whether a last window may reach over the end, so that no element is left out.

    Returns
    -------
    array or Tensor of shape (batch, channels, windows), or without batch

    Raises
    ------
    ValueError
        If the shapes don't fit, or the padding is more than half of kernel_size.

    See Also
    --------
    avg_pool1d : the mean instead.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.max_pool1d(np.array([[[1.0, 3.0, 2.0, 5.0]]]), 2)
    array([[[3., 5.]]])
    """
    return max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode)


@of_one
@explained
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
        How far a window is from the next, by default kernel_size.
    padding : int
        How many zeros are around x.
    ceil_mode : bool
        Whether a last window may reach over the end, so that no element is left out.
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
    max_pool1d : the largest instead.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.avg_pool1d(np.array([[[1.0, 3.0, 2.0, 5.0]]]), 2)
    array([[[2. , 3.5]]])
    """
    return avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


@of_one
@explained
def adaptive_avg_pool1d(x: Any, output_size: Any) -> Any:
    """Return the means of as many windows as wanted, which share out the elements evenly.

    Window i of m goes from element floor(i n / m) to before element ceil((i + 1) n / m) of n.

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
    return adaptive_avg_pool("adaptive_avg_pool1d", 1, x, output_size)


@of_one
@explained
def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """Return the largest element of each window.

    Of equal elements the first gets the gradient. A window with a NaN gives NaN, whose gradient goes to the first NaN.

    Parameters
    ----------
    x : array_like of shape (batch, channels, height, width), or without batch
    kernel_size : int or tuple of two
    stride : int or tuple of two, optional
        How far a window is from the next, by default kernel_size.
    padding : int or tuple of two
        How far windows reach over the edges; what they see there is never the largest.
    dilation : int or tuple of two
        How far the elements of a window are from each other.
    ceil_mode : bool
        Whether a last window may reach over the end, so that no element is left out.

    Returns
    -------
    array or Tensor of shape (batch, channels, rows, columns), or without batch

    Raises
    ------
    ValueError
        If the shapes don't fit, or the padding is more than half of kernel_size.

    See Also
    --------
    avg_pool2d : the mean instead.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    return max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode)


@of_one
@explained
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
        How far a window is from the next, by default kernel_size.
    padding : int or tuple of two
        How many zeros are around x.
    ceil_mode : bool
        Whether a last window may reach over the end, so that no element is left out.
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
    max_pool2d : the largest instead.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    return avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


@of_one
@explained
def adaptive_avg_pool2d(x: Any, output_size: Any) -> Any:
    """Return the means of as many windows as wanted, which share out the elements evenly.

    Window i of m goes from element floor(i n / m) to before element ceil((i + 1) n / m) of n.

    Parameters
    ----------
    x : array_like of shape (batch, channels, height, width), or without batch
    output_size : int, or tuple of two int or None
        The number of windows along each axis; None keeps the axis as it is.

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
    return adaptive_avg_pool("adaptive_avg_pool2d", 2, x, output_size)


class MaxPool(Module):
    """What the layers of `max_pool1d` and `max_pool2d` have in common."""

    function: ClassVar[Any]

    @explained
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, ceil_mode: bool = False
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def forward(self, x: X) -> X:
        """Return the largest element of each window."""
        return self.function(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        """Return the settings."""
        return listed(self, "kernel_size", "stride", "padding", "dilation", "ceil_mode")


class AvgPool(Module):
    """What the layers of `avg_pool1d` and `avg_pool2d` have in common."""

    function: ClassVar[Any]

    @explained
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, x: X) -> X:
        """Return the mean of each window."""
        return self.function(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        """Return the settings."""
        return listed(self, "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")


class AdaptiveAvgPool(Module):
    """What the layers of `adaptive_avg_pool1d` and `adaptive_avg_pool2d` have in common."""

    function: ClassVar[Any]

    @explained
    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def forward(self, x: X) -> X:
        """Return the means of as many windows as wanted."""
        return self.function(x, self.output_size)

    def extra_repr(self) -> str:
        """Return the settings."""
        return listed(self, "output_size")


def listed(module: Module, *names: str) -> str:
    """Return settings as they are written in a call."""
    return ", ".join(f"{name}={getattr(module, name)!r}" for name in names)


class MaxPool1d(MaxPool):
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

    function = staticmethod(max_pool1d)


class AvgPool1d(AvgPool):
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

    function = staticmethod(avg_pool1d)


class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """The means of as many windows as wanted, whatever the size of the input.

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

    function = staticmethod(adaptive_avg_pool1d)


class MaxPool2d(MaxPool):
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

    function = staticmethod(max_pool2d)


class AvgPool2d(AvgPool):
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

    function = staticmethod(avg_pool2d)


class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """The means of as many windows as wanted, whatever the size of the input.

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

    function = staticmethod(adaptive_avg_pool2d)


class Flatten(Module):
    """Joins axes to one: by default all but the first, so that each element of a batch becomes a vector.

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

    @explained
    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: X) -> X:
        """Return x with axes joined."""
        x = operand("Flatten", x)
        axes = range(x.ndim)
        if not all(-x.ndim <= dim < x.ndim for dim in (self.start_dim, self.end_dim)):
            raise ValueError(
                f"Flatten: an input of shape {x.shape} has no axes from {self.start_dim} to {self.end_dim}; put the "
                f"batch first, or pass other start_dim and end_dim"
            )
        start, end = axes[self.start_dim], axes[self.end_dim]
        if start > end:
            raise ValueError(f"Flatten: start_dim={self.start_dim} must not come after end_dim={self.end_dim}")
        return np.reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))

    def extra_repr(self) -> str:
        """Return the settings."""
        return listed(self, "start_dim", "end_dim")


# doctest takes a decorated function for a foreign one, so it is told of these
__test__ = {
    name_of(f): f for f in (max_pool1d, max_pool2d, avg_pool1d, avg_pool2d, adaptive_avg_pool1d, adaptive_avg_pool2d)
}
