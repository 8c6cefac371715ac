"""Convolution, its transpose, and their layers.

Owns: `conv1d`, `conv2d`, `conv_transpose2d` with their rules; `Conv1d`, `Conv2d`,
`ConvTranspose2d`.
Must not own: how windows are counted (`windows.py`), pooling (`pooling.py`).
Read next: `pooling.py`.

The kernel isn't flipped: strictly speaking this is correlation, as in other libraries.
Three operations, for any number of axes, are derivatives of each other: sum(g * conv(x,
w)) is linear in g, in x and in w, and its derivatives with respect to them are
`conv(x, w)`, `conv_transpose(g, w)` and `conv_weight(x, g)`. So one line for each
argument gives derivatives of every order.

Arrays have the shape (batch, channels, height, width). In memory, the results of these
operations are laid out as (channels, height, width, batch), and NumPy keeps this order
in later operations. So the work is done by functions of arrays whose last axis is the
batch: a program calls these, and computes everything between them in this order too
(`../compiler/layouts.py`).

The windows of one row of the output are the columns of a matrix. One copy for each tap
of a row of the kernel makes the matrices of all rows: where windows overlap, so do the
matrices. They are made and used in blocks that fit into the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from microgradnd.anew import Rng
from microgradnd.failures import explained
from microgradnd.nn.arguments import of_several, operand, summed
from microgradnd.nn.calls import check_settings
from microgradnd.nn.init import generator
from microgradnd.nn.module import Module, Parameter
from microgradnd.nn.windows import (
    Padding,
    Sizes,
    axes_of,
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
from microgradnd.tensor import Tensor

ALL = slice(None)
NONE = ((0, 0),)
BLOCK = 2**19  # bytes of the matrices made at a time
SHORT = 16  # elements of a row, below which a product of each row takes longer than making one matrix


def padded(x: Any, padding: Padding) -> Any:
    """Return x as a contiguous array (channels, *sizes, batch) with zeros around it."""
    x = np.asarray(x)
    inside, wide = border(x.shape[1:-1], padding)
    if wide == x.shape[1:-1]:
        return np.ascontiguousarray(x)
    out = np.zeros((len(x), *wide, x.shape[-1]), x.dtype)
    out[ALL, *inside] = x
    return out


def rows(
    x: Any, kernel: Sizes, sizes: Sizes, stride: Sizes, dilation: Sizes, groups: int
) -> Iterator[tuple[slice, Any]]:
    """Yield blocks of windows: their places, and a matrix for each group and each row.

    The columns of a matrix are the windows of one row of the output. The next matrix
    shares most of its rows, and their memory. Short rows are joined to one.
    """
    width = math.prod(sizes[1:]) * x.shape[-1]
    if width < SHORT or dilation[0] > 1:
        x, width = x[:, None], width * sizes[0]
        kernel, sizes, stride, dilation = ((1, *axes) for axes in (kernel, sizes, stride, dilation))
    seen = taps(kernel[1:], sizes[1:], stride[1:], dilation[1:])
    shape = len(seen), len(x) // groups, *sizes[1:], x.shape[-1]
    x = x.reshape(groups, len(x) // groups, *x.shape[1:]).swapaxes(1, 2)  # the channels follow the rows
    count = max(BLOCK // (math.prod(shape) * groups * stride[0] * x.itemsize or 1), 2 * kernel[0])
    for start in range(0, sizes[0], count):
        number = min(count, sizes[0] - start)
        first, reach = start * stride[0], (number - 1) * stride[0] + kernel[0]
        block = np.empty((groups, reach, *shape), x.dtype)
        for tap, place in enumerate(seen):
            block[:, :, tap] = x[:, first : first + reach, :, *place]
        group, row, *_ = block.strides
        size = kernel[0] * len(seen) * shape[1]
        strides = group, row * stride[0], width * x.itemsize, x.itemsize
        matrix = np.ndarray((groups, number, size, width), x.dtype, block, strides=strides)
        yield slice(start * width, (start + number) * width), matrix


def by_row(x: Any, place: slice, matrix: Any) -> Any:
    """Return the elements for a block of windows: a matrix for each group and row."""
    return x[..., place].reshape(*x.shape[:2], matrix.shape[1], matrix.shape[3]).swapaxes(1, 2)


def channels_last(weight: Any) -> Any:
    return weight.transpose(0, *range(2, weight.ndim), 1)


def channels_second(weight: Any) -> Any:
    return weight.transpose(0, -1, *range(1, weight.ndim - 1))


def matrices(x: Any, groups: int) -> Any:
    """Return an array as a matrix for each group of its rows."""
    return x.reshape(groups, len(x) // groups, math.prod(x.shape[1:]))


@primitive
def conv_last(
    x: Any, weight: Any, bias: Any = None, *, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Any:
    """Return `conv` of arrays whose last axis is the batch."""
    kernel, dtype = weight.shape[2:], np.result_type(*(a for a in (x, weight, bias) if a is not None))
    sizes = windows(x.shape[1:-1], kernel, stride, padding, dilation)
    out = np.empty((len(weight), *sizes, x.shape[-1]), dtype)
    w, flat = matrices(channels_last(weight), groups)[:, None], matrices(out, groups)
    for place, matrix in rows(padded(x, padding), kernel, sizes, stride, dilation, groups):
        np.matmul(w, matrix, out=by_row(flat, place, matrix))
    if bias is not None:
        flat += bias.reshape(groups, -1, 1)
    return out


@primitive
def conv_transpose_last(
    g: Any, weight: Any, shape: Sizes, *, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Any:
    """Return `conv_transpose` of arrays whose last axis is the batch.

    If the stride is 1, it is a convolution with the weight turned around.
    """
    g, kernel, inputs = padded(g, NONE * len(shape)), weight.shape[2:], weight.shape[1]
    axes = zip(shape, g.shape[1:-1], kernel, padding, dilation, strict=True)
    around = tuple((d * (k - 1) - low, n - m + low) for n, m, k, (low, _), d in axes)
    w = weight.reshape(groups, len(weight) // groups, inputs, *kernel).swapaxes(1, 2)
    if set(stride) == {1} and min(map(min, around)) >= 0:
        turned = np.flip(w, axis=tuple(range(3, w.ndim))).reshape(groups * inputs, *w.shape[2:])
        return conv_last(g, turned, stride=stride, padding=around, dilation=dilation, groups=groups)
    inside, wide = border(shape, padding)
    out = np.zeros((groups, inputs, *wide, g.shape[-1]), np.result_type(g, weight))
    w = w.transpose(0, *range(3, w.ndim), 1, 2).reshape(groups, math.prod(kernel) * inputs, w.shape[2])
    sizes = g.shape[1:]
    parts = np.matmul(w, matrices(g, groups)).reshape(groups, math.prod(kernel), inputs, *sizes)
    for tap, place in enumerate(taps(kernel, sizes[:-1], stride, dilation)):
        out[:, :, *place] += parts[:, tap]
    return out.reshape(groups * inputs, *out.shape[2:])[ALL, *inside]


@primitive
def conv_weight_last(
    x: Any, g: Any, kernel: Sizes, *, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Any:
    """Return `conv_weight` of arrays whose last axis is the batch."""
    flat = matrices(padded(g, NONE * len(kernel)), groups)
    found = rows(padded(x, padding), kernel, g.shape[1:-1], stride, dilation, groups)
    total = sum(np.matmul(matrix, by_row(flat, place, matrix).mT).sum(axis=1) for place, matrix in found)
    return np.ascontiguousarray(channels_second(total.mT.reshape(len(g), *kernel, len(x) // groups)))


@primitive
def conv(x: Any, weight: Any, bias: Any = None, **how: Any) -> Any:
    """Return the products of the weight with all windows of x.

    x has the shape (batch, channels, *sizes), and the weight
    (outputs, channels of a group, *kernel).
    """
    return batch_first(conv_last(batch_last(x), weight, bias, **how))


@primitive
def conv_transpose(g: Any, weight: Any, shape: Sizes, **how: Any) -> Any:
    """Return, for each element of x, the sum of g times the weights that it met.

    The result has the shape (batch, channels, *shape).
    """
    return batch_first(conv_transpose_last(batch_last(g), weight, shape, **how))


@primitive
def conv_weight(x: Any, g: Any, kernel: Sizes, **how: Any) -> Any:
    """Return, for each channel of g, the sum of all windows of x times g: a kernel."""
    return conv_weight_last(batch_last(x), batch_last(g), kernel, **how)


plain([conv_last, conv_transpose_last, conv_weight_last])  # only the operations above call them, and have the rules
defvjp(
    conv,
    lambda g, out, x, weight, bias=None, **how: conv_transpose(g, weight, x.shape[2:], **how),
    lambda g, out, x, weight, bias=None, **how: conv_weight(x, g, weight.shape[2:], **how),
    lambda g, out, x, weight, bias=None, **how: summed(g, axis=(0, *range(2, g.ndim))),
)
defjvp(
    conv,
    lambda t, out, x, weight, bias=None, **how: conv(t, weight, **how),
    lambda t, out, x, weight, bias=None, **how: conv(x, t, **how),
    lambda t, out, x, weight, bias=None, **how: np.reshape(t, (-1,) + (1,) * (x.ndim - 2)),
)
linear(
    conv_transpose,
    lambda g, out, z, weight, shape, **how: conv(g, weight, **how),
    lambda g, out, z, weight, shape, **how: conv_weight(g, z, weight.shape[2:], **how),
)
linear(
    conv_weight,
    lambda g, out, x, z, kernel, **how: conv_transpose(z, g, x.shape[2:], **how),
    lambda g, out, x, z, kernel, **how: conv(x, g, **how),
)


def checked(
    function: str, weight: Any, bias: Any, stride: Any, dilation: Any, groups: Any
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the checked weight, bias and settings, except for the padding."""
    weight, ndim = operand(function, weight, "weight"), axes_of(function) + 2
    bias = None if bias is None else operand(function, bias, "bias")
    if weight.ndim != ndim:
        raise ValueError(
            f"{function}: weight must have {ndim} axes, the first two for channels, got shape {weight.shape}"
        )
    (number,) = counts(function, "groups", groups, 1)
    if len(weight) % number:
        raise ValueError(
            f"{function}: groups must divide the first axis of weight, got groups={number} for shape {weight.shape}"
        )
    how = {"stride": counts(function, "stride", stride), "dilation": counts(function, "dilation", dilation)}
    return weight, bias, {**how, "groups": number}


def check_channels(function: str, x: Any, weight: Any, bias: Any, groups: int, inputs: int, outputs: int) -> None:
    """Raise unless x and bias have as many channels as the weight requires."""
    if x.shape[1] != inputs:
        raise ValueError(
            f"{function}: x must have shape (batch, {inputs}, ...), {inputs} channels for a weight of shape "
            f"{weight.shape} and groups={groups}, got {x.shape}; if its channels are last, pass np.moveaxis(x, -1, 1)"
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(
            f"{function}: bias must have shape ({outputs},), one number for each output channel, got {bias.shape}"
        )


def paddings(function: str, padding: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Padding:
    """Return the numbers of zeros before and after each axis."""
    if isinstance(padding, str) and padding == "same":
        if set(stride) != {1}:
            raise ValueError(f"{function}: padding='same' needs stride=1, got stride={stride}; pass a number of zeros")
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str) and padding != "valid":
        raise ValueError(f"{function}: padding must be 'same', 'valid' or a number of zeros, got {padding!r}")
    return tuple(
        (n, n) for n in counts(function, "padding", 0 if isinstance(padding, str) else padding, len(kernel), 0)
    )


def convolution(
    function: str, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> Any:
    """Return the convolution over the number of axes that the function's name gives."""
    x, is_single = images(function, x)
    weight, bias, how = checked(function, weight, bias, stride, dilation, groups)
    check_channels(function, x, weight, bias, how["groups"], weight.shape[1] * how["groups"], len(weight))
    kernel, steps, spacing = weight.shape[2:], how["stride"], how["dilation"]
    how["padding"] = paddings(function, padding, kernel, steps, spacing)
    check_windows(function, x, kernel, steps, how["padding"], spacing)
    out = conv(x, weight, bias, **how)
    return out[0] if is_single else out


@of_several
def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Return the sum of weights times elements in each window of a sequence.

    Parameters
    ----------
    x : array_like of shape (batch, in_channels, length), or without batch
    weight : array_like of shape (out_channels, in_channels / groups, kernel_size)
    bias : array_like of shape (out_channels,), optional
    stride : int
        The distance from one window to the next.
    padding : int, "same" or "valid"
        The number of zeros before and after x. "same" gives as many windows as x has
        elements; "valid" means 0.
    dilation : int
        The distance between neighbouring elements of a window.
    groups : int
        The number of groups of channels; each group of outputs sees one group of
        inputs.

    Returns
    -------
    array or Tensor of shape (batch, out_channels, windows), or without batch

    Raises
    ------
    ValueError
        If the shapes don't fit, or a setting isn't positive.

    See Also
    --------
    conv2d : for images.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.conv1d(np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([[[-1.0, 1.0]]]))
    array([[1., 2., 4.]])
    """
    return convolution("conv1d", x, weight, bias, stride, padding, dilation, groups)


@of_several
def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Return the sum of weights times elements in each window of an image.

    With the default settings, out[b, o, i, j] = bias[o] + the sum over c, u, v of
    weight[o, c, u, v] x[b, c, i + u, j + v].

    Parameters
    ----------
    x : array_like of shape (batch, in_channels, height, width), or without batch
    weight : array_like of shape (out_channels, in_channels / groups, *kernel_size)
    bias : array_like of shape (out_channels,), optional
    stride : int or tuple of two
        The distance from one window to the next.
    padding : int or tuple of two, "same" or "valid"
        The number of zeros around x. "same" gives an output of the size of x; "valid"
        means 0.
    dilation : int or tuple of two
        The distance between neighbouring elements of a window.
    groups : int
        The number of groups of channels; each group of outputs sees one group of
        inputs.

    Returns
    -------
    array or Tensor of shape (batch, out_channels, rows, columns), or without batch
        In memory, the batch is the last axis.

    Raises
    ------
    ValueError
        If the shapes don't fit, or a setting isn't positive.

    See Also
    --------
    conv_transpose2d : its transpose.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.conv2d(np.arange(9.0).reshape(1, 3, 3), np.ones((1, 1, 2, 2)))
    array([[[ 8., 12.],
            [20., 24.]]])
    """
    return convolution("conv2d", x, weight, bias, stride, padding, dilation, groups)


@of_several
def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """Return an image to which each element of x adds its multiple of the weights.

    It is the transpose of `conv2d`.

    Parameters
    ----------
    x : array_like of shape (batch, in_channels, height, width), or without batch
    weight : array_like of shape (in_channels, out_channels / groups, *kernel_size)
    bias : array_like of shape (out_channels,), optional
    stride : int or tuple of two
        The distance between the weights of one element and of the next.
    padding : int or tuple of two
        The number of elements to cut off the result at each edge.
    output_padding : int or tuple of two
        The number of elements to add at one end, less than stride or dilation. It
        chooses among the sizes for which `conv2d` gives an output of the size of x.
    groups : int
        The number of groups of channels.
    dilation : int or tuple of two
        The distance between neighbouring weights.

    Returns
    -------
    array or Tensor of shape (batch, out_channels, rows, columns), or without batch
        rows = (height - 1) stride - 2 padding + dilation (kernel_size - 1)
        + output_padding + 1

    Raises
    ------
    ValueError
        If the shapes don't fit, a setting isn't positive, or `output_padding` is too
        large.

    See Also
    --------
    conv2d : its transpose.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.conv_transpose2d(np.array([[[1.0, 2.0]]]), np.ones((1, 1, 1, 2)), stride=2)
    array([[[1., 1., 2., 2.]]])
    """
    function = "conv_transpose2d"
    x, is_single = images(function, x)
    weight, bias, how = checked(function, weight, bias, stride, dilation, groups)
    check_channels(function, x, weight, bias, how["groups"], len(weight), weight.shape[1] * how["groups"])
    shape, pads = [], []
    cut, more = (counts(function, *a, least=0) for a in (("padding", padding), ("output_padding", output_padding)))
    for n, k, s, d, p, m in zip(x.shape[2:], weight.shape[2:], how["stride"], how["dilation"], cut, more, strict=True):
        if m >= max(s, d):
            raise ValueError(
                f"{function}: output_padding must be less than stride or dilation, got {output_padding!r} for "
                f"stride={s} and dilation={d}"
            )
        shape.append((n - 1) * s - 2 * p + d * (k - 1) + m + 1)
        pads.append((p, p - m))
    if min(shape) < 1:
        raise ValueError(
            f"{function}: padding={padding!r} cuts off the whole result for x of shape {x.shape}; pass a smaller one"
        )
    out = conv_transpose(x, weight, tuple(shape), **how, padding=tuple(pads))
    out = out if bias is None else out + np.reshape(bias, (-1, 1, 1))
    return out[0] if is_single else out


class Convolution(Module):
    """The base class of convolution layers."""

    _shown = (
        "{in_channels}, {out_channels}, kernel_size={kernel_size}, stride={stride}, padding={padding}, "
        "dilation={dilation}, groups={groups}"
    )
    is_transposed = False
    weight: Tensor
    bias: Tensor | None

    @explained
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        layer, rng = type(self).__name__, generator(rng)
        check_settings(layer, bias=bias, dtype=dtype)
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            counts(layer, name, value, 1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{layer}: groups must divide in_channels and out_channels, got groups={groups} for {in_channels} and "
                f"{out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = counts(layer, "kernel_size", kernel_size)
        self.stride, self.dilation = counts(layer, "stride", stride), counts(layer, "dilation", dilation)
        self.padding = padding
        paddings(layer, padding, self.kernel_size, self.stride, self.dilation)
        first, second = (in_channels, out_channels) if self.is_transposed else (out_channels, in_channels)
        shape = (first, second // groups, *self.kernel_size)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = Parameter(rng.uniform(-bound, bound, shape), dtype)
        self.bias = Parameter(rng.uniform(-bound, bound, out_channels), dtype) if bias else None


class Conv1d(Convolution):
    """A convolution over sequences.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int
    stride, padding, dilation, groups
        As in `functional.conv1d`.
    bias : bool
        Whether to add a number to each output channel.
    dtype : dtype
        The dtype of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        The generator for initial values, by default a new one with fresh entropy. They
        are uniform on +-1/sqrt(in_channels / groups * elements of the kernel), as in
        PyTorch.

    Attributes
    ----------
    weight : Tensor of shape (out_channels, in_channels / groups, *kernel_size)
    bias : Tensor of shape (out_channels,), or None

    Raises
    ------
    ValueError
        If a number isn't a positive integer, or `groups` doesn't divide the channels.
    TypeError
        If `rng` isn't a Generator.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.Conv1d(3, 8, 3, padding=1, rng=np.random.default_rng(0))
    >>> layer(np.ones((5, 3, 10))).shape
    (5, 8, 10)
    """

    def forward(self, x: Any) -> Tensor:
        """Return the convolution of x, ([batch,] in_channels, length)."""
        return conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(Convolution):
    """A convolution over images.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or tuple of two
    stride, padding, dilation, groups
        As in `functional.conv2d`.
    bias : bool
        Whether to add a number to each output channel.
    dtype : dtype
        The dtype of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        The generator for initial values, by default a new one with fresh entropy. They
        are uniform on +-1/sqrt(in_channels / groups * elements of the kernel), as in
        PyTorch.

    Attributes
    ----------
    weight : Tensor of shape (out_channels, in_channels / groups, *kernel_size)
    bias : Tensor of shape (out_channels,), or None

    Raises
    ------
    ValueError
        If a number isn't a positive integer, or `groups` doesn't divide the channels.
    TypeError
        If `rng` isn't a Generator.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.Conv2d(3, 8, 3, padding=1, rng=np.random.default_rng(0))
    >>> layer(np.ones((5, 3, 10, 10))).shape
    (5, 8, 10, 10)
    """

    def forward(self, x: Any) -> Tensor:
        """Return the convolution of x, ([batch,] in_channels, height, width)."""
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(Convolution):
    """The transpose of a convolution over images, which enlarges them.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or tuple of two
    stride, padding, output_padding, groups, dilation
        As in `functional.conv_transpose2d`.
    bias : bool
        Whether to add a number to each output channel.
    dtype : dtype
        The dtype of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        The generator for initial values, by default a new one with fresh entropy. They
        are uniform on +-1/sqrt(out_channels / groups * elements of the kernel), as in
        PyTorch.

    Attributes
    ----------
    weight : Tensor of shape (in_channels, out_channels / groups, *kernel_size)
    bias : Tensor of shape (out_channels,), or None

    Raises
    ------
    ValueError
        If a number isn't a positive integer, or `groups` doesn't divide the channels.
    TypeError
        If `rng` isn't a Generator.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.ConvTranspose2d(8, 3, 2, stride=2, rng=np.random.default_rng(0))
    >>> layer(np.ones((5, 8, 4, 4))).shape
    (5, 3, 8, 8)
    """

    is_transposed = True

    @explained
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, dtype=dtype, rng=rng
        )
        self.padding = counts("ConvTranspose2d", "padding", padding, least=0)
        self.output_padding = counts("ConvTranspose2d", "output_padding", output_padding, least=0)

    def forward(self, x: Any) -> Tensor:
        """Return an image enlarged from x, ([batch,] in_channels, height, width)."""
        options = self.stride, self.padding, self.output_padding, self.groups, self.dilation
        return conv_transpose2d(x, self.weight, self.bias, *options)
