"""Normalization: subtract a mean, divide by a standard deviation, then scale and shift
by parameters.

Owns: `batch_norm`, `layer_norm`, `group_norm`, `rms_norm` with their rule, and the
layers that call them.
Must not own: how a module keeps its buffers (`module.py`).
Read next: `module.py`.

The four differ only in the axes over which the mean and the variance are taken. So
there is one operation, `normalized`, with one rule. The mean and the variance are
computed first, without a derivative: the rule knows how they depend on x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from microgradnd.failures import explained
from microgradnd.nn.arguments import like, of_several, operand, summed, transposed
from microgradnd.nn.calls import check_settings
from microgradnd.nn.module import Module, Parameter
from microgradnd.registry import JVPS, VJPS, Joint, plain, primitive
from microgradnd.tensor import Tensor

Axes = tuple[int, ...]  # counted from the last, as -1: then they name the same axes of a weight


def total_along(x: Any, axes: Axes, y: Any = None) -> Any:
    """Return the sum of x, or of x * y, along axes, which are kept."""
    if type(x) is not np.ndarray or x.dtype.kind != "f" or x.dtype.char == "e":
        return summed(x if y is None else x * y, axis=axes, keepdims=True)
    every = range(x.ndim)  # einsum takes a tenth to a half of the time of a product and np.add.reduce
    kept = [axis for axis in every if axis - x.ndim not in axes]
    total = np.einsum(x, every, kept) if y is None else np.einsum(x, every, y, every, kept)
    return total.reshape([n if axis in kept else 1 for axis, n in enumerate(x.shape)])


def count(x: Any, axes: Axes) -> int:
    """Return how many elements there are along axes, and 1 for none: the mean of
    nothing is 0 here.
    """
    return max(math.prod(x.shape[axis] for axis in axes), 1)


def mean_along(x: Any, axes: Axes, y: Any = None) -> Any:
    """Return the mean of x, or of x * y, along axes, which are kept."""
    return total_along(x, axes, y) / count(x, axes)


def variance_along(x: Any, mean: Any, axes: Axes) -> Any:
    """Return the mean of (x - mean)^2 along axes, which are kept; a mean of None stands
    for 0.
    """
    x = x.astype(np.float32) if x.dtype == np.float16 else x
    difference = x if mean is None else x - mean
    return mean_along(difference, axes, difference)


# The same as plain results: how they depend on x, the rule of `normalized` knows
mean_of, variance_of = primitive(mean_along), primitive(variance_along)
plain([mean_of, variance_of])


@primitive
def normalized(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, axes: Axes, eps: float) -> Any:
    """Return (x - mean) / sqrt(variance + eps) * weight + bias, for the mean and
    variance of x along axes.
    """
    z = x if mean is None else x - mean
    scale = 1 / np.sqrt(variance + eps)
    if weight is None or varies(weight, axes):
        out = z * scale if weight is None else z * scale * weight
    else:
        out = z * (scale * weight)
    return like(out if bias is None else out + bias, x)


def varies(weight: Any, axes: Axes) -> bool:
    """Return whether elements that share a mean have different weights."""
    return any(-axis <= weight.ndim and weight.shape[axis] != 1 for axis in axes)


def standardized(x: Any, mean: Any, variance: Any, axes: Axes, eps: float) -> tuple[Any, Any]:
    """Return (x - mean) / sqrt(variance + eps) and 1 / sqrt(variance + eps), as
    functions of x where it is recorded.
    """
    if hasattr(x, "__primitive__"):
        mean = None if mean is None else mean_along(x, axes)
        variance = variance_along(x, mean, axes)
    scale = 1 / np.sqrt(variance + eps)
    return (x if mean is None else x - mean) * scale, scale


def projected(v: Any, z: Any, mean: Any, axes: Axes) -> Any:
    """Return v less its mean and less its share of z: neither changes what is
    normalized.
    """
    v = v - z * mean_along(v, axes, z)
    return v if mean is None else v - mean_along(v, axes)


def normalized_cotangents(
    g: Any, out: Any, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, axes: Axes, eps: float
) -> list[Any]:
    """Return the cotangents of x, weight and bias."""
    z, scale = standardized(x, mean, variance, axes, eps)
    if weight is None or varies(weight, axes):
        of_x = scale * projected(g if weight is None else g * weight, z, mean, axes)
    else:
        of_x = (scale * weight) * projected(g, z, mean, axes)
    return [of_x, total_of_copies(g, weight, z), total_of_copies(g, bias)]


def total_of_copies(g: Any, original: Any, y: Any = None) -> Any:
    """Return the sum of g, or of g * y, along the axes along which an argument was
    broadcast.
    """
    if original is None:
        return None
    total = total_along(g, tuple(a for a in range(-g.ndim, 0) if not varies(original, (a,))), y)
    return np.reshape(total, original.shape)


VJPS[normalized], JVPS[normalized] = Joint(normalized_cotangents), Joint(transposed(normalized_cotangents))


def normalize(x: Any, weight: Any, bias: Any, axes: Axes, eps: float, centred: bool = True) -> tuple[Any, Any, Any]:
    """Return x normalized along axes, and its mean (None if not centred) and variance,
    which are plain arrays.
    """
    mean = mean_of(x, axes) if centred else None
    variance = variance_of(x, mean, axes)
    return normalized(x, weight, bias, mean, variance, axes, eps), mean, variance


def check_shapes(function: str, x: Any, expected: tuple[int, ...], **arrays: Any) -> None:
    """Raise unless parameters and statistics that are given have a shape."""
    for name, array in arrays.items():
        if array is not None and np.shape(array) != expected:
            raise ValueError(
                f"{function}: {name} has shape {np.shape(array)}; for x of shape {x.shape} it must have {expected}"
            )


def as_channels(array: Any, x: Any) -> Any:
    """Return an array of one number per channel with axes of length 1 for the axes of x
    that follow the channels.
    """
    return None if array is None else np.reshape(array, (-1, *(1,) * (x.ndim - 2)))


@of_several
def batch_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Normalize each channel over the batch: (x - mean) / sqrt(var + eps) * weight +
    bias.

    Parameters
    ----------
    x : array_like of shape (batch, channels, ...)
    running_mean, running_var : array of shape (channels,), optional
        In training they are updated in place, without it they take the place of the
        mean and variance of x.
    weight, bias : array_like of shape (channels,), optional
    training : bool
        Whether to use the mean and variance of x.
    momentum : float
        The share of the new statistics in the running ones.
    eps : float
        Added to the variance.

    Returns
    -------
    array or Tensor of the shape of x

    Raises
    ------
    ValueError
        If shapes don't fit, if there is one number per channel in training, or if
        running statistics are missing.

    Notes
    -----
    Ioffe and Szegedy (2015), "Batch normalization". The variance of x is the biased one; the running variance takes
    its share of the unbiased one.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.batch_norm(np.array([[1.0], [3.0]]), training=True).round(3)
    array([[-1.],
           [ 1.]])
    """
    x = operand("batch_norm", x, kinds="f")
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x must have axes (batch, channels, ...), got shape {x.shape}")
    statistics = {"running_mean": running_mean, "running_var": running_var}
    check_shapes("batch_norm", x, x.shape[1:2], **statistics, weight=weight, bias=bias)
    if training:
        axes = tuple(axis for axis in range(-x.ndim, 0) if axis != 1 - x.ndim)
        n = x.size // max(x.shape[1], 1)
        if n == 1:
            raise ValueError(
                f"batch_norm: x of shape {x.shape} has one number per channel, whose variance is 0; train with larger "
                f"batches, or call eval() to use the running statistics"
            )
        out, *new = normalize(x, as_channels(weight, x), as_channels(bias, x), axes, eps)
        for running, statistic, factor in zip(statistics.values(), new, (1, n / max(n - 1, 1)), strict=True):
            if running is not None and n:
                share = momentum * (factor * np.reshape(statistic, (-1,)))
                running[...] = ((1 - momentum) * running + share).astype(running.dtype)
        return out
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm: without training=True it needs running_mean and running_var")
    scale = 1 / np.sqrt(running_var + eps)
    out = (x - as_channels(running_mean, x)) * as_channels(scale if weight is None else scale * weight, x)
    return like(out if bias is None else out + as_channels(bias, x), x)


def trailing(function: str, x: Any, normalized_shape: Any) -> tuple[Any, tuple[int, ...], Axes]:
    """Return x, the shape of its last axes, and these axes, or raise if it has
    others.
    """
    x = operand(function, x, kinds="f")
    shape = shape_of(function, normalized_shape)
    if x.shape[-len(shape) :] != shape:
        raise ValueError(f"{function}: the last axes of x must have shape {shape}, got x of shape {x.shape}")
    return x, shape, tuple(range(-len(shape), 0))


def shape_of(function: str, normalized_shape: Any) -> tuple[int, ...]:
    """Return the shape of the axes that are normalized as a tuple."""
    shape = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
    if not shape or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise ValueError(
            f"{function}: normalized_shape must be a positive integer or a tuple of them, got {normalized_shape!r}"
        )
    return tuple(int(n) for n in shape)


@of_several
def layer_norm(
    x: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Normalize over the last axes: (x - mean) / sqrt(var + eps) * weight + bias.

    Parameters
    ----------
    x : array_like of shape (..., *normalized_shape)
    normalized_shape : int or sequence of int
        The lengths of the axes that the mean and the variance are taken over.
    weight, bias : array_like of shape normalized_shape, optional
    eps : float
        Added to the variance.

    Returns
    -------
    array or Tensor of the shape of x

    Raises
    ------
    ValueError
        If the shapes don't fit.

    Notes
    -----
    Ba, Kiros and Hinton (2016), "Layer normalization".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.layer_norm(np.array([[1.0, 3.0], [5.0, 5.0]]), 2).round(3)
    array([[-1.,  1.],
           [ 0.,  0.]])
    """
    x, shape, axes = trailing("layer_norm", x, normalized_shape)
    check_shapes("layer_norm", x, shape, weight=weight, bias=bias)
    return normalize(x, weight, bias, axes, eps)[0]


@of_several
def rms_norm(x: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """Divide by the root of the mean square over the last axes: x / sqrt(mean(x^2) +
    eps) * weight.

    Parameters
    ----------
    x : array_like of shape (..., *normalized_shape)
    normalized_shape : int or sequence of int
        The lengths of the axes that the mean is taken over.
    weight : array_like of shape normalized_shape, optional
    eps : float, optional
        Added to the mean square; by default the machine epsilon of x.

    Returns
    -------
    array or Tensor of the shape of x

    Raises
    ------
    ValueError
        If the shapes don't fit.

    Notes
    -----
    Zhang and Sennrich (2019), "Root mean square layer normalization".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.rms_norm(np.array([1.0, 7.0]), 2)
    array([0.2, 1.4])
    """
    x, shape, axes = trailing("rms_norm", x, normalized_shape)
    check_shapes("rms_norm", x, shape, weight=weight)
    return normalize(x, weight, None, axes, float(np.finfo(x.dtype).eps) if eps is None else eps, centred=False)[0]


@of_several
def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalize each group of channels of each observation: (x - mean) / sqrt(var +
    eps) * weight + bias.

    With one group it normalizes all channels together, with as many groups as channels
    each channel by itself.

    Parameters
    ----------
    x : array_like of shape (batch, channels, ...)
    num_groups : int
        A divisor of the number of channels.
    weight, bias : array_like of shape (channels,), optional
    eps : float
        Added to the variance.

    Returns
    -------
    array or Tensor of the shape of x

    Raises
    ------
    ValueError
        If the shapes don't fit, or the groups aren't equally large.

    Notes
    -----
    Wu and He (2018), "Group normalization".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.group_norm(np.array([[1.0, 3.0, 5.0, 7.0]]), 2).round(3)
    array([[-1.,  1., -1.,  1.]])
    """
    x = operand("group_norm", x, kinds="f")
    if x.ndim < 2:
        raise ValueError(f"group_norm: x must have axes (batch, channels, ...), got shape {x.shape}")
    check_groups("group_norm", num_groups, x.shape[1])
    check_shapes("group_norm", x, x.shape[1:2], weight=weight, bias=bias)
    grouped = np.reshape(x, (x.shape[0], num_groups, x.shape[1] // num_groups, math.prod(x.shape[2:])))
    weight, bias = (v if v is None else np.reshape(v, (num_groups, -1, 1)) for v in (weight, bias))
    return np.reshape(normalize(grouped, weight, bias, (-2, -1), eps)[0], x.shape)


def check_groups(function: str, num_groups: Any, num_channels: int) -> None:
    """Raise unless channels can be split into groups of the same size."""
    check_settings(function, num_groups=num_groups)
    if num_channels % num_groups:
        raise ValueError(
            f"{function}: the number of channels must be a multiple of num_groups, got {num_channels} channels and "
            f"{num_groups} groups"
        )


def set_affine(layer: Module, shape: int | tuple[int, ...], weight: bool, bias: bool, dtype: DTypeLike) -> None:
    """Give a layer a weight of ones and a bias of zeros, or None in the place of
    either.
    """
    layer.weight = Parameter(np.ones(shape), dtype) if weight else None
    layer.bias = Parameter(np.zeros(shape), dtype) if bias else None


class BatchNorm(Module):
    """Batch norm for input of any number of axes: the base of `BatchNorm1d` and
    `BatchNorm2d`.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any
    shapes: ClassVar[dict[int, str]]  # what x may be, by its number of axes

    @explained
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DTypeLike = np.float64,
    ) -> None:
        check_settings(type(self).__name__, num_features=num_features)
        check_settings(type(self).__name__, eps=eps, momentum=momentum)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        set_affine(self, num_features, affine, affine, dtype)
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.register_buffer("running_mean", np.zeros(num_features, dtype))
            self.register_buffer("running_var", np.ones(num_features, dtype))
            self.register_buffer("num_batches_tracked", np.array(0))

    def forward(self, x: Any) -> Any:
        """Return x normalized, by its own statistics in training, else by the running
        ones if there are any.
        """
        name = type(self).__name__
        x = operand(name, x, kinds="f")
        if x.ndim not in self.shapes or x.shape[1] != self.num_features:
            shapes = " or ".join(self.shapes.values())
            raise ValueError(f"{name}: x must have shape {shapes} with {self.num_features} channels, got {x.shape}")
        training = self.training or self.running_mean is None
        momentum: Any = self.momentum
        if training and self.num_batches_tracked is not None:
            self.num_batches_tracked = self.num_batches_tracked + 1
            momentum = 1 / self.num_batches_tracked if momentum is None else momentum
        running = self.running_mean, self.running_var
        return batch_norm(x, *running, self.weight, self.bias, training, momentum, self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(BatchNorm):
    """Normalizes each channel over the batch; see `functional.batch_norm`.

    In training it uses the mean and variance of the batch and keeps running ones, which
    it uses in evaluation.

    Parameters
    ----------
    num_features : int
        The number of channels.
    eps : float
        Added to the variance.
    momentum : float or None
        The share of each batch in the running statistics; None for the average over all
        batches.
    affine : bool
        Whether there are a weight and a bias.
    track_running_stats : bool
        Whether there are running statistics; without them evaluation uses those of the
        batch too.
    dtype : dtype
        Of the parameters and buffers, by default float64.

    Attributes
    ----------
    weight, bias : Tensor of shape (num_features,), or None
    running_mean, running_var : array of shape (num_features,), or None
        Buffers, as is `num_batches_tracked`.

    Raises
    ------
    ValueError
        If num_features isn't a positive integer; when it is called, if the shape of x
        doesn't fit, or there is one number per channel in training.

    See Also
    --------
    BatchNorm2d, LayerNorm, GroupNorm

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> norm = nn.BatchNorm1d(1)
    >>> norm(np.array([[1.0], [3.0]])).data.round(3).ravel()
    array([-1.,  1.])
    >>> norm.running_mean, norm.running_var
    (array([0.2]), array([1.1]))
    """

    shapes: ClassVar = {2: "(batch, channels)", 3: "(batch, channels, length)"}


class BatchNorm2d(BatchNorm):
    """Normalizes each channel of images over the batch; the parameters are those of
    `BatchNorm1d`.

    See Also
    --------
    BatchNorm1d, GroupNorm

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.BatchNorm2d(3)(np.ones((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    shapes: ClassVar = {4: "(batch, channels, height, width)"}


class LayerNorm(Module):
    """Normalizes over the last axes; see `functional.layer_norm`.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of these axes.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether there is a weight, and a bias with `bias`.
    bias : bool
    dtype : dtype
        The dtype of the parameters, by default float64.

    Attributes
    ----------
    weight, bias : Tensor of shape normalized_shape, or None

    Raises
    ------
    ValueError
        If normalized_shape isn't a shape of positive integers.

    See Also
    --------
    RMSNorm, BatchNorm1d

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.LayerNorm(2)(np.array([[1.0, 3.0]])).data.round(3)
    array([[-1.,  1.]])
    """

    weight: Tensor | None
    bias: Tensor | None

    @explained
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float64,
    ) -> None:
        check_settings("LayerNorm", eps=eps)
        self.normalized_shape, self.eps = shape_of("LayerNorm", normalized_shape), eps
        set_affine(self, self.normalized_shape, elementwise_affine, elementwise_affine and bias, dtype)

    def forward(self, x: Any) -> Any:
        """Return x normalized over its last axes."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.normalized_shape}, eps={self.eps}"


class RMSNorm(Module):
    """Divides by the root of the mean square over the last axes; see
    `functional.rms_norm`.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of these axes.
    eps : float, optional
        Added to the mean square; by default the machine epsilon of x.
    elementwise_affine : bool
        Whether there is a weight.
    dtype : dtype
        Of the weight, by default float64.

    Attributes
    ----------
    weight : Tensor of shape normalized_shape, or None

    Raises
    ------
    ValueError
        If normalized_shape isn't a shape of positive integers.

    See Also
    --------
    LayerNorm

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.RMSNorm(2)(np.array([1.0, 7.0])).data
    array([0.2, 1.4])
    """

    weight: Tensor | None

    @explained
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike = np.float64,
    ) -> None:
        check_settings("RMSNorm", eps=0.0 if eps is None else eps)
        self.normalized_shape, self.eps = shape_of("RMSNorm", normalized_shape), eps
        self.weight = Parameter(np.ones(self.normalized_shape), dtype) if elementwise_affine else None

    def forward(self, x: Any) -> Any:
        """Return x over its root mean square."""
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """Normalizes each group of channels of each observation; see
    `functional.group_norm`.

    Parameters
    ----------
    num_groups, num_channels : int
        The number of groups, and the number of channels, which is a multiple of it.
    eps : float
        Added to the variance.
    affine : bool
        Whether there are a weight and a bias.
    dtype : dtype
        The dtype of the parameters, by default float64.

    Attributes
    ----------
    weight, bias : Tensor of shape (num_channels,), or None

    Raises
    ------
    ValueError
        If the groups aren't equally large.

    See Also
    --------
    BatchNorm2d, LayerNorm

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.GroupNorm(2, 4)(np.array([[1.0, 3.0, 5.0, 7.0]])).data.round(3)
    array([[-1.,  1., -1.,  1.]])
    """

    weight: Tensor | None
    bias: Tensor | None

    @explained
    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: DTypeLike = np.float64,
    ) -> None:
        check_settings("GroupNorm", num_channels=num_channels)
        check_groups("GroupNorm", num_groups, num_channels)
        check_settings("GroupNorm", eps=eps)
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        set_affine(self, num_channels, affine, affine, dtype)

    def forward(self, x: Any) -> Any:
        """Return x with each group of its channels normalized."""
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"
