"""Windows that slide over the last axes of an array, for convolution and pooling.

Owns: the checks of kernel sizes, strides and paddings, the number of windows, and the
slices that they see.
Must not own: computations on windows (`convolution.py`, `pooling.py`).
Read next: `convolution.py`.

A *tap* is one position in the kernel. At one tap, all windows together see a slice of
the array with the stride as its step. So a loop over the taps needs only a few NumPy
calls on large slices, however many windows there are.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from microgradnd.nn.arguments import operand
from microgradnd.operands import is_foreign

Sizes = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]  # before and after each axis


def axes_of(function: str) -> int:
    """Return the number of axes in the name of a function or layer: 2 for conv2d."""
    return int(function[-2])


def counts(function: str, name: str, value: Any, axes: int | None = None, least: int = 1) -> Sizes:
    """Return an argument that is one integer, or one for each axis, as a tuple."""
    axes = axes or axes_of(function)
    values = value if isinstance(value, tuple | list) else (value,) * axes
    if len(values) != axes or not all(
        type(n) is not bool and isinstance(n, int | np.integer) and n >= least for n in values
    ):
        kind = "a positive integer" if least else "a non-negative integer"
        raise ValueError(
            f"{function}: {name} must be {kind}{f', or {axes} of them' if axes > 1 else ''}, got {value!r}"
        )
    return tuple(map(int, values))


def images(function: str, x: Any, kinds: str = "biufc") -> tuple[Any, bool]:
    """Return x with a batch axis, and whether this axis was missing."""
    x, axes = operand(function, x, kinds=kinds), axes_of(function)
    if x.ndim not in (axes + 1, axes + 2):
        form = "batch, channels, height, width" if axes == 2 else "batch, channels, length"
        raise ValueError(
            f"{function}: x must have shape ({form}), or the same without batch, got {x.shape}; write x[None] to add "
            f"an axis for one channel"
        )
    return (x, False) if x.ndim == axes + 2 else (np.expand_dims(x, 0), True)


def batch_last(x: Any) -> Any:
    """Return an array with its batch axis at the end, another library's as NumPy's."""
    x = np.asarray(x) if is_foreign(x) else x
    return np.transpose(x, (*range(1, x.ndim), 0))


def batch_first(x: Any) -> Any:
    """Return an array with its last axis, the batch, in front."""
    return np.transpose(x, (x.ndim - 1, *range(x.ndim - 1)))


@functools.lru_cache(maxsize=1024)
def windows(shape: Sizes, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes) -> Sizes:
    """Return the number of windows along each axis."""
    return tuple(
        (n + sum(pad) - d * (k - 1) - 1) // s + 1
        for n, k, s, pad, d in zip(shape, kernel, stride, padding, dilation, strict=True)
    )


@functools.lru_cache(maxsize=1024)
def border(shape: Sizes, padding: Padding) -> tuple[tuple[slice, ...], Sizes]:
    """Return the place of an array within its padding, and the padded shape.

    The padding after an axis may be negative: then no window reaches the last elements.
    """
    axes = tuple(zip(shape, padding, strict=True))
    inside = tuple(slice(low, low + n) for n, (low, _) in axes)
    return inside, tuple(low + n + max(high, 0) for n, (low, high) in axes)


@functools.lru_cache(maxsize=1024)
def taps(kernel: Sizes, sizes: Sizes, stride: Sizes, dilation: Sizes) -> tuple[tuple[slice, ...], ...]:
    """Return, for each tap, the slices of the array that the windows see there."""
    axes = [
        [slice(i * d, i * d + (n - 1) * s + 1, s) for i in range(k)]
        for k, n, s, d in zip(kernel, sizes, stride, dilation, strict=True)
    ]
    return tuple(itertools.product(*axes))


def check_windows(function: str, x: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes) -> None:
    """Raise if the kernel is larger than the padded array, so that no window fits."""
    if min(windows(x.shape[2:], kernel, stride, padding, dilation)) < 1:
        reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
        raise ValueError(
            f"{function}: the kernel must fit into the padded x, got a kernel that covers {reach} elements for x of "
            f"shape {x.shape}; pass a smaller kernel or a larger padding"
        )
