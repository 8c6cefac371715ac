"""Normalization: to mean 0 and variance 1, then scaled and shifted by parameters.

Owns: `batch_norm`, `layer_norm`, `group_norm`, `rms_norm` with their rule, and the
layers that call them.
Must not own: how a module keeps its buffers (`module.py`).
Read next: `module.py`.

The four functions differ only in the axes of the mean and the variance. So one
operation, `normalized`, with one rule serves all. Mean and variance are computed before
it, as plain arrays: the rule takes into account how they depend on x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from microgradnd import refusals
from microgradnd.nn.arguments import array_like, like, of_several, operand, summed, transposed
from microgradnd.nn.calls import check_settings, checked
from microgradnd.nn.module import Module, Parameter
from microgradnd.recompute import is_again
from microgradnd.registry import JVPS, VJPS, Joint, plain, primitive
from microgradnd.tensor import Tensor

Axes = tuple[int, ...]  # negative, so that they name the same axes of a weight
MANY = 2**12  # elements from which np.einsum is faster


def total_along(x: Any, axes: Axes, y: Any = None) -> Any:
    """Return the sum of x, or of x * y, along axes, which keep length 1."""
    if type(x) is not np.ndarray or x.size < MANY or x.dtype.kind != "f" or x.dtype.char == "e":
        return summed(x if y is None else x * y, axis=axes, keepdims=True)
    every = range(x.ndim)  # einsum is up to 10 times as fast as a product and np.add.reduce
    kept = [axis for axis in every if axis - x.ndim not in axes]
    total = np.einsum(x, every, kept) if y is None else np.einsum(x, every, y, every, kept)
    return total.reshape([n if axis in kept else 1 for axis, n in enumerate(x.shape)])


def count(x: Any, axes: Axes) -> int:
    """Return the number of elements along axes, at least 1: an empty mean is 0 here."""
    return max(math.prod(x.shape[axis] for axis in axes), 1)


def mean_along(x: Any, axes: Axes, y: Any = None) -> Any:
    """Return the mean of x, or of x * y, along axes, which keep length 1."""
    return total_along(x, axes, y) / count(x, axes)


def variance_along(x: Any, mean: Any, axes: Axes) -> Any:
    """Return the mean of (x - mean)^2 along axes, which keep length 1; None means 0."""
    x = x.astype(np.float32) if x.dtype == np.float16 else x
    difference = x if mean is None else x - mean
    return mean_along(difference, axes, difference)


# Versions without gradients: the rule of `normalized` accounts for them
mean_of, variance_of = primitive(mean_along), primitive(variance_along)
plain([mean_of, variance_of])


@primitive
def normalized(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, axes: Axes, eps: float) -> Any:
    """Return (x - mean) / sqrt(variance + eps) * weight + bias.

    mean and variance are those of x along axes.
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
    """Return (x - mean) / sqrt(variance + eps) and 1 / sqrt(variance + eps).

    If x is recorded, mean and variance are computed again as functions of x.
    """
    if hasattr(x, "__primitive__"):
        mean = None if mean is None else mean_along(x, axes)
        variance = variance_along(x, mean, axes)
    scale = 1 / np.sqrt(variance + eps)
    return (x if mean is None else x - mean) * scale, scale


def projected(v: Any, z: Any, mean: Any, axes: Axes) -> Any:
    """Return v minus its mean and its component along z, as neither affects z.

    v stands on the left of a product: an array of another library may take a Tensor on
    its right for a number.
    """
    v = v - mean_along(v, axes, z) * z
    return v if mean is None else v - mean_along(v, axes)


def normalized_cotangents(
    g: Any, out: Any, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, axes: Axes, eps: float
) -> list[Any]:
    """Return the cotangents of x, weight and bias."""
    z, scale = standardized(x, mean, variance, axes, eps)
    if weight is None or varies(weight, axes):
        of_x = projected(g if weight is None else g * weight, z, mean, axes) * scale
    else:
        of_x = projected(g, z, mean, axes) * (scale * weight)
    return [of_x, total_of_copies(g, weight, z), total_of_copies(g, bias)]


def total_of_copies(g: Any, original: Any, y: Any = None) -> Any:
    """Return the sum of g, or of g * y, along the axes that `original` lacked."""
    if original is None:
        return None
    total = total_along(g, tuple(a for a in range(-g.ndim, 0) if not varies(original, (a,))), y)
    return np.reshape(total, original.shape)


VJPS[normalized], JVPS[normalized] = Joint(normalized_cotangents), Joint(transposed(normalized_cotangents))


def normalize(x: Any, weight: Any, bias: Any, axes: Axes, eps: float, centred: bool = True) -> tuple[Any, Any, Any]:
    """Return x normalized along axes, with its mean and variance as plain arrays.

    The mean is None if x isn't centred.
    """
    weight, bias = (array if array is None else array_like(array) for array in (weight, bias))
    mean = mean_of(x, axes) if centred else None
    variance = variance_of(x, mean, axes)
    return normalized(x, weight, bias, mean, variance, axes, eps), mean, variance


def check_shapes(function: str, x: Any, expected: tuple[int, ...], **arrays: Any) -> None:
    """Raise unless all arrays that aren't None have the expected shape."""
    for name, array in arrays.items():
        if array is not None and np.shape(array) != expected:
            raise ValueError(
                f"{function}: {name} must have shape {expected} for x of shape {x.shape}, got {np.shape(array)}"
            )


def as_channels(array: Any, x: Any) -> Any:
    """Return one number per channel in a shape that broadcasts against x."""
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
    """Normalize each channel over the batch.

    The result is (x - mean) / sqrt(var + eps) * weight + bias.

    Parameters
    ----------
    x : array_like of shape (batch, channels, ...)
    running_mean, running_var : array of shape (channels,), optional
        In training they are updated in place. Otherwise they are used instead of the
        mean and variance of x.
    weight, bias : array_like of shape (channels,), optional
    training : bool
        Whether to use the mean and variance of x.
    momentum : float
        The weight of the new statistics in the running ones.
    eps : float
        Added to the variance.

    Returns
    -------
    array or Tensor of the shape of x

    Raises
    ------
    ValueError
        If shapes don't fit, if a channel has only one number in training, or if
        running statistics are missing.

    Notes
    -----
    Ioffe and Szegedy (2015), "Batch normalization". x is divided by the root of its
    biased variance; the running variance is updated with the unbiased one.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.batch_norm(np.array([[1.0], [3.0]]), training=True).round(3)
    array([[-1.],
           [ 1.]])
    """
    x = operand("batch_norm", x, kinds="f")
    check_settings("batch_norm", eps=eps, training=training)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x must have axes (batch, channels, ...), got shape {x.shape}")
    statistics = {"running_mean": running_mean, "running_var": running_var}
    check_shapes("batch_norm", x, x.shape[1:2], **statistics, weight=weight, bias=bias)
    if training:
        for name, running in statistics.items():
            if isinstance(running, np.ndarray) and not running.flags.writeable:
                raise ValueError(f"batch_norm: {name} is read-only, and training updates it; pass np.array({name})")
        axes = tuple(axis for axis in range(-x.ndim, 0) if axis != 1 - x.ndim)
        n = x.size // max(x.shape[1], 1)
        if n == 1:
            raise ValueError(
                f"batch_norm: x must have more than one number per channel in training, got shape {x.shape}; train "
                f"with larger batches (drop_last=True leaves out a small last one), or call eval() to use running "
                f"statistics"
            )
        out, *new = normalize(x, as_channels(weight, x), as_channels(bias, x), axes, eps)
        for running, statistic, factor in zip(statistics.values(), new, (1, n / max(n - 1, 1)), strict=True):
            if running is not None and n and not is_again():
                share = momentum * (factor * np.reshape(statistic, (-1,)))
                try:
                    running[...] = ((1 - momentum) * running + share).astype(running.dtype)
                except refusals.OneExampleError:
                    raise refusals.OneExampleError(
                        "batch_norm: in training, each example of vmap would change the running statistics; call "
                        "eval(), or make the layer with track_running_stats=False"
                    ) from None
        return out
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm: pass running_mean and running_var, or training=True to use the batch's own")
    scale = 1 / np.sqrt(running_var + eps)
    out = (x - as_channels(running_mean, x)) * as_channels(scale if weight is None else scale * weight, x)
    return like(out if bias is None else out + as_channels(bias, x), x)


def trailing(function: str, x: Any, normalized_shape: Any) -> tuple[Any, tuple[int, ...], Axes]:
    """Return x, the shape of its last axes, and these axes, or raise if they differ."""
    x = operand(function, x, kinds="f")
    shape = shape_of(function, normalized_shape)
    if x.shape[-len(shape) :] != shape:
        raise ValueError(f"{function}: the last axes of x must have shape {shape}, got x of shape {x.shape}")
    return x, shape, tuple(range(-len(shape), 0))


def shape_of(function: str, normalized_shape: Any) -> tuple[int, ...]:
    """Return the shape of the normalized axes as a tuple, or raise."""
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
        The lengths of the axes to normalize over.
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
    check_settings("layer_norm", eps=eps)
    check_shapes("layer_norm", x, shape, weight=weight, bias=bias)
    return normalize(x, weight, bias, axes, eps)[0]


@of_several
def rms_norm(x: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """Divide by the root mean square over the last axes.

    The result is x / sqrt(mean(x^2) + eps) * weight.

    Parameters
    ----------
    x : array_like of shape (..., *normalized_shape)
    normalized_shape : int or sequence of int
        The lengths of the axes to normalize over.
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
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    check_settings("rms_norm", eps=eps)
    check_shapes("rms_norm", x, shape, weight=weight)
    return normalize(x, weight, None, axes, eps, centred=False)[0]


@of_several
def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalize each group of channels of each observation.

    The result is (x - mean) / sqrt(var + eps) * weight + bias. One group normalizes all
    channels together; as many groups as channels normalize each channel by itself.

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
        If the shapes don't fit, or the groups don't have equal sizes.

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
    check_settings("group_norm", eps=eps)
    if x.ndim < 2:
        raise ValueError(f"group_norm: x must have axes (batch, channels, ...), got shape {x.shape}")
    check_groups("group_norm", num_groups, x.shape[1])
    check_shapes("group_norm", x, x.shape[1:2], weight=weight, bias=bias)
    grouped = np.reshape(x, (x.shape[0], num_groups, x.shape[1] // num_groups, math.prod(x.shape[2:])))
    weight, bias = (v if v is None else np.reshape(v, (num_groups, -1, 1)) for v in (weight, bias))
    return np.reshape(normalize(grouped, weight, bias, (-2, -1), eps)[0], x.shape)


def check_groups(function: str, num_groups: Any, num_channels: int) -> None:
    """Raise unless the channels can be split into groups of equal size."""
    check_settings(function, num_groups=num_groups)
    if num_channels % num_groups:
        raise ValueError(
            f"{function}: the number of channels must be a multiple of num_groups, got {num_channels} channels and "
            f"{num_groups} groups"
        )


def set_affine(layer: Module, shape: int | tuple[int, ...], weight: bool, bias: bool, dtype: DTypeLike) -> None:
    """Give a layer a weight of ones and a bias of zeros, or None in place of either."""
    layer.weight = Parameter(np.ones(shape), dtype) if weight else None
    layer.bias = Parameter(np.zeros(shape), dtype) if bias else None


class BatchNorm(Module):
    """The base class of `BatchNorm1d` and `BatchNorm2d`."""

    _shown = "{num_features}, eps={eps}, momentum={momentum}"
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any
    shapes: ClassVar[dict[int, str]]  # the allowed shapes of x, by its number of axes

    @checked
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
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        set_affine(self, num_features, affine, affine, dtype)
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.register_buffer("running_mean", np.zeros(num_features, dtype))
            self.register_buffer("running_var", np.ones(num_features, dtype))
            self.register_buffer("num_batches_tracked", np.array(0))

    def forward(self, x: Any) -> Any:
        """Return x normalized, in training by its own statistics."""
        name = type(self).__name__
        x = operand(name, x, kinds="f")
        if x.ndim not in self.shapes or x.shape[1] != self.num_features:
            shapes = " or ".join(self.shapes.values())
            raise ValueError(
                f"{name}: x must have shape {shapes} with {self.num_features} channels, got {x.shape}; reshape x, or "
                f"pass another num_features"
            )
        training = self.training or self.running_mean is None
        counted = self.num_batches_tracked + 1 if training and self.num_batches_tracked is not None else None
        momentum: Any = 1 / counted if self.momentum is None and counted is not None else self.momentum
        running = self.running_mean, self.running_var
        out = batch_norm(x, *running, self.weight, self.bias, training, momentum, self.eps)
        if counted is not None and not is_again():  # a batch that was refused doesn't count
            self.num_batches_tracked = counted
        return out


class BatchNorm1d(BatchNorm):
    """Normalizes each channel over the batch; see `functional.batch_norm`.

    In training it uses the batch's mean and variance, and updates running ones. In
    evaluation it uses the running ones.

    Parameters
    ----------
    num_features : int
        The number of channels.
    eps : float
        Added to the variance.
    momentum : float or None
        The weight of each batch in the running statistics; None for the average over
        all batches.
    affine : bool
        Whether to have a weight and a bias.
    track_running_stats : bool
        Whether to have running statistics. Without them, evaluation uses the batch's
        statistics too.
    dtype : dtype
        The dtype of parameters and buffers, by default float64.

    Attributes
    ----------
    weight, bias : Tensor of shape (num_features,), or None
    running_mean, running_var : array of shape (num_features,), or None
        Buffers, as is `num_batches_tracked`.

    Raises
    ------
    ValueError
        If num_features isn't a positive integer. In a call, if the shape of x doesn't
        fit, or a channel has only one number in training.

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
    """Normalizes each channel of images over the batch.

    See Also
    --------
    BatchNorm1d : has the same parameters.
    GroupNorm

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
        Whether to have a weight and a bias.
    bias : bool
        If False, there is only a weight.
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

    _shown = "{normalized_shape}, eps={eps}"
    weight: Tensor | None
    bias: Tensor | None

    @checked
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float64,
    ) -> None:
        self.normalized_shape, self.eps = shape_of("LayerNorm", normalized_shape), eps
        set_affine(self, self.normalized_shape, elementwise_affine, elementwise_affine and bias, dtype)

    def forward(self, x: Any) -> Any:
        """Return x normalized over its last axes."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    """Divides by the root mean square over the last axes; see `functional.rms_norm`.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of these axes.
    eps : float, optional
        Added to the mean square; by default the machine epsilon of x.
    elementwise_affine : bool
        Whether to have a weight.
    dtype : dtype
        The dtype of the weight, by default float64.

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

    _shown = "{normalized_shape}, eps={eps}"
    weight: Tensor | None

    @checked
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike = np.float64,
    ) -> None:
        self.normalized_shape, self.eps = shape_of("RMSNorm", normalized_shape), eps
        self.weight = Parameter(np.ones(self.normalized_shape), dtype) if elementwise_affine else None

    def forward(self, x: Any) -> Any:
        """Return x divided by its root mean square."""
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """Normalizes groups of channels; see `functional.group_norm`.

    Parameters
    ----------
    num_groups, num_channels : int
        The number of groups, and the number of channels, which must be a multiple of
        it.
    eps : float
        Added to the variance.
    affine : bool
        Whether to have a weight and a bias.
    dtype : dtype
        The dtype of the parameters, by default float64.

    Attributes
    ----------
    weight, bias : Tensor of shape (num_channels,), or None

    Raises
    ------
    ValueError
        If the groups don't have equal sizes.

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

    _shown = "{num_groups}, {num_channels}, eps={eps}"
    weight: Tensor | None
    bias: Tensor | None

    @checked
    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: DTypeLike = np.float64,
    ) -> None:
        check_groups("GroupNorm", num_groups, num_channels)
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        set_affine(self, num_channels, affine, affine, dtype)

    def forward(self, x: Any) -> Any:
        """Return x with each group of its channels normalized."""
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
