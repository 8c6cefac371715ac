"""Initial values for parameters, set in place, under PyTorch's names.

Owns: the distributions of initial weights.
Must not own: which layer uses which of them (`linear.py`, ...).
Read next: `linear.py`.

Every random function takes `rng=`, a `numpy.random.Generator`; by default it makes one
with fresh entropy. To make a run repeatable, make one generator and pass it everywhere.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from microgradnd.anew import Rng
from microgradnd.anew import generator as generator  # for users who look for it here
from microgradnd.nn.calls import Fan, Nonlinearity, checked
from microgradnd.tensor import Tensor

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2.0), "selu": 0.75}


def fill(tensor: Tensor, values: Any) -> Tensor:
    """Set every element of a leaf in place."""
    with tensor.updating() as array:
        array[...] = values
    return tensor


@checked
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, rng: Rng = None) -> Tensor:
    """Draw from the uniform distribution on [a, b).

    Parameters
    ----------
    tensor : Tensor
        A leaf, filled in place.
    a, b : float
        The bounds.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Tensor
        `tensor` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> w = nn.Parameter(np.empty((2, 3)))
    >>> nn.init.uniform_(w, -0.1, 0.1, rng=np.random.default_rng(0)).shape
    (2, 3)
    """
    if a > b:
        raise ValueError(f"uniform_: the lower bound a must be at most b, got a={a} and b={b}")
    return fill(tensor, generator(rng).uniform(a, b, tensor.shape))


@checked
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, rng: Rng = None) -> Tensor:
    """Draw from the normal distribution.

    Parameters
    ----------
    tensor : Tensor
        A leaf, filled in place.
    mean, std : float
        The mean and the standard deviation.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Tensor
        `tensor` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.init.normal_(nn.Parameter(np.empty(3)), std=0.0).data
    array([0., 0., 0.])
    """
    return fill(tensor, generator(rng).normal(mean, std, tensor.shape))


@checked
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every element to one value.

    Parameters
    ----------
    tensor : Tensor
        A leaf, filled in place.
    val : float

    Returns
    -------
    Tensor
        `tensor` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.init.constant_(nn.Parameter(np.empty(2)), 0.5).data
    array([0.5, 0.5])
    """
    return fill(tensor, val)


@checked
def zeros_(tensor: Tensor) -> Tensor:
    """Set every element to 0.

    Parameters
    ----------
    tensor : Tensor
        A leaf, filled in place.

    Returns
    -------
    Tensor
        `tensor` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.init.zeros_(nn.Parameter(np.empty(2))).data
    array([0., 0.])
    """
    return fill(tensor, 0.0)


@checked
def ones_(tensor: Tensor) -> Tensor:
    """Set every element to 1.

    Parameters
    ----------
    tensor : Tensor
        A leaf, filled in place.

    Returns
    -------
    Tensor
        `tensor` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.init.ones_(nn.Parameter(np.empty(2))).data
    array([1., 1.])
    """
    return fill(tensor, 1.0)


@checked
def calculate_gain(nonlinearity: Nonlinearity, param: float | None = None) -> float:
    """Return the factor of weights that makes up for a nonlinearity's smaller outputs.

    Parameters
    ----------
    nonlinearity : {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"}
    param : float, optional
        The negative slope of "leaky_relu", by default 0.01.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For an unknown nonlinearity.

    Examples
    --------
    >>> from microgradnd import nn
    >>> round(nn.init.calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    return GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return fan-in and fan-out: inputs for each output, and outputs for each input."""
    if tensor.ndim < 2:
        raise ValueError(
            f"nn.init: tensor must have axes (out_features, in_features) for a fan-in and a fan-out, got shape "
            f"{tensor.shape}; use nn.init.uniform_ or nn.init.normal_"
        )
    field = math.prod(tensor.shape[2:])  # positions that each output of a convolution sees
    return tensor.shape[1] * field, tensor.shape[0] * field


@checked
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, rng: Rng = None) -> Tensor:
    """Draw from U(-a, a) with a = gain * sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    tensor : Tensor of shape (out_features, in_features, ...)
        A leaf, filled in place.
    gain : float
        See `calculate_gain`.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Tensor
        `tensor` itself.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 axes.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> w = nn.init.xavier_uniform_(nn.Parameter(np.empty((2, 4))))
    >>> bool(np.all(np.abs(w.data) <= 1.0))
    True
    """
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, rng)


@checked
def xavier_normal_(tensor: Tensor, gain: float = 1.0, rng: Rng = None) -> Tensor:
    """Draw from N(0, s^2) with s = gain * sqrt(2 / (fan_in + fan_out)).

    Parameters
    ----------
    tensor : Tensor of shape (out_features, in_features, ...)
        A leaf, filled in place.
    gain : float
        See `calculate_gain`.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Tensor
        `tensor` itself.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 axes.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.init.xavier_normal_(nn.Parameter(np.empty((2, 4)))).shape
    (2, 4)
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), rng)


def kaiming_scale(tensor: Tensor, a: float, mode: Fan, nonlinearity: Nonlinearity) -> float:
    """Return the standard deviation that preserves variance from layer to layer."""
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(tensor)[mode == "fan_out"])


@checked
def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: Fan = "fan_in", nonlinearity: Nonlinearity = "leaky_relu", rng: Rng = None
) -> Tensor:
    """Draw from U(-b, b) with b = gain * sqrt(3 / fan) (He et al., 2015).

    Parameters
    ----------
    tensor : Tensor of shape (out_features, in_features, ...)
        A leaf, filled in place.
    a : float
        The negative slope, for "leaky_relu".
    mode : {"fan_in", "fan_out"}
        Whether to preserve the variance of activations or of gradients.
    nonlinearity : str
        The activation after the layer; see `calculate_gain`.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Tensor
        `tensor` itself.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 axes, or the mode or nonlinearity is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> w = nn.init.kaiming_uniform_(nn.Parameter(np.empty((2, 6))))
    >>> bool(np.all(np.abs(w.data) <= 1.0))
    True
    """
    bound = math.sqrt(3.0) * kaiming_scale(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, rng)


@checked
def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: Fan = "fan_in", nonlinearity: Nonlinearity = "leaky_relu", rng: Rng = None
) -> Tensor:
    """Draw from N(0, s^2) with s = gain / sqrt(fan) (He et al., 2015).

    Parameters
    ----------
    tensor : Tensor of shape (out_features, in_features, ...)
        A leaf, filled in place.
    a : float
        The negative slope, for "leaky_relu".
    mode : {"fan_in", "fan_out"}
        Whether to preserve the variance of activations or of gradients.
    nonlinearity : str
        The activation after the layer; see `calculate_gain`.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Tensor
        `tensor` itself.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 axes, or the mode or nonlinearity is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> w = nn.Parameter(np.empty((2, 6)))
    >>> w = nn.init.kaiming_normal_(w, nonlinearity="relu")
    >>> w.shape
    (2, 6)
    """
    return normal_(tensor, 0.0, kaiming_scale(tensor, a, mode, nonlinearity), rng)


@checked
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, rng: Rng = None
) -> Tensor:
    """Draw from the normal distribution, truncated to the interval from a to b.

    Parameters
    ----------
    tensor : Tensor
        A leaf, filled in place.
    mean, std : float
        The mean and the standard deviation before truncation.
    a, b : float
        The bounds.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Tensor
        `tensor` itself.

    Raises
    ------
    ValueError
        If fewer than one number in a thousand would lie between the bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> w = nn.init.trunc_normal_(nn.Parameter(np.empty(100)), std=0.1, a=-0.2, b=0.2)
    >>> bool(np.all(np.abs(w.data) <= 0.2))
    True
    """
    low, high = (math.erfc((mean - bound) / (std * math.sqrt(2))) / 2 for bound in (a, b))
    if high - low < 1e-3:
        raise ValueError(
            f"trunc_normal_: almost no number drawn with mean={mean} and std={std} lies between a={a} and b={b}; pass "
            f"other bounds"
        )
    rng = generator(rng)
    values = rng.normal(mean, std, tensor.shape)
    while np.any(outside := (values < a) | (values > b)):
        values[outside] = rng.normal(mean, std, np.count_nonzero(outside))
    return fill(tensor, values)


@checked
def orthogonal_(tensor: Tensor, gain: float = 1.0, rng: Rng = None) -> Tensor:
    """Draw a matrix with orthonormal rows or columns, whichever are fewer, times gain.

    Parameters
    ----------
    tensor : Tensor of shape (out_features, ...)
        A leaf, filled in place; all axes after the first count as columns.
    gain : float
        See `calculate_gain`.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Tensor
        `tensor` itself.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 axes.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> w = nn.init.orthogonal_(nn.Parameter(np.empty((2, 3)))).data
    >>> bool(np.allclose(w @ w.T, np.eye(2)))
    True
    """
    fans(tensor)  # raises for a vector
    n, m = tensor.shape[0], math.prod(tensor.shape[1:])
    q, r = np.linalg.qr(generator(rng).normal(size=(max(n, m), min(n, m))))
    q = q * np.where(np.diagonal(r) < 0, -1, 1)  # makes every orthogonal matrix equally likely
    return fill(tensor, gain * (q if n >= m else q.T).reshape(tensor.shape))


@checked
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, rng: Rng = None) -> Tensor:
    """Draw from N(0, std^2), and set a share of each column to 0.

    Parameters
    ----------
    tensor : Tensor of shape (out_features, in_features)
        A leaf, filled in place.
    sparsity : float
        The share of zeros, from 0 to 1, rounded up to whole elements.
    std : float
        The standard deviation of the other elements.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Tensor
        `tensor` itself.

    Raises
    ------
    ValueError
        If the tensor isn't a matrix, or sparsity isn't a share.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> w = nn.init.sparse_(nn.Parameter(np.empty((4, 3))), 0.5)
    >>> np.count_nonzero(w.data == 0, axis=0)
    array([2, 2, 2])
    """
    if tensor.ndim != 2:
        raise ValueError(f"sparse_: tensor must be a matrix, got shape {tensor.shape}")
    rng = generator(rng)
    values = rng.normal(0.0, std, tensor.shape)
    places = np.argsort(rng.random(tensor.shape), axis=0)[: math.ceil(sparsity * tensor.shape[0])]
    np.put_along_axis(values, places, 0, axis=0)
    return fill(tensor, values)
