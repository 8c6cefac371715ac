"""Activations: functions of each element, and softmax along an axis.

Owns: the functions with their rules, and the modules that call them.
Must not own: losses (`losses.py`).
Read next: `losses.py`.

A function of one NumPy call is that call. The others are operations of their own, with their rules right below them:
faster, exact in the tails, and one node in a picture. The rules are plain NumPy as everywhere, so these functions work
on arrays and Tensors, in both modes and to any order. Axes are NumPy's: `axis=`, the last by default.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.failures import explained
from microgradnd.nn.arguments import X, like, of_one, operand, rows, summed
from microgradnd.nn.module import Module
from microgradnd.registry import defjvp, defvjp, elementwise, name_of, primitive
from microgradnd.tensor import Tensor

MANY_ROWS = 128  # from which on the way to the largest element of each by its place is the shorter one


@of_one
@explained
def relu(x: Any) -> Any:
    """Return max(x, 0), whose derivative at 0 is 0.

    Parameters
    ----------
    x : array_like

    Returns
    -------
    array or Tensor of the shape of x

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return x.relu() if isinstance(x, Tensor) else primitives.relu(operand("relu", x, kinds="biuf"))


@of_one
@explained
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent: `np.tanh`, under the name it has among activations.

    Parameters
    ----------
    x : array_like

    Returns
    -------
    array or Tensor of the shape of x

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.tanh(np.array([0.0, 100.0]))
    array([0., 1.])
    """
    return np.tanh(operand("tanh", x))


@of_one
@primitive
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)), without an overflow for any x.

    Parameters
    ----------
    x : array_like

    Returns
    -------
    array or Tensor of the shape of x

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    x = operand("sigmoid", x)
    with np.errstate(over="ignore"):  # exp(1000) is inf, and 1 / (1 + inf) is the 0 that is meant
        return 1 / (1 + np.exp(np.negative(x)))


elementwise(sigmoid, lambda g, out, x: g * (out * (1 - out)))


def largest(x: Any, axis: Any) -> Any:
    """Return the largest element along an axis, which is kept."""
    if type(x) is np.ndarray and axis in (-1, x.ndim - 1) and x.size >= MANY_ROWS * x.shape[-1] > 0:
        flat = rows(x)
        where = np.argmax(flat, axis=1)  # several times as quick as the maximum, NaN included
        return flat[np.arange(len(flat)), where].reshape((*x.shape[:-1], 1))
    return np.maximum.reduce(x, axis=axis, keepdims=True)


def shifted(x: Any, axis: Any) -> Any:
    """Return x less its largest element along an axis: exponentials of that can't overflow."""
    return x - largest(x, axis)


def total(x: Any, axis: Any) -> Any:
    """Return the sum along an axis, which is kept."""
    return summed(x, axis=axis, keepdims=True)


def product_total(x: Any, y: Any, axis: Any) -> Any:
    """Return the sum of x * y along an axis, which is kept."""
    if type(x) is type(y) is np.ndarray and axis in (-1, x.ndim - 1) and x.dtype.kind == "f":
        return np.vecdot(x, y)[..., None]
    return total(x * y, axis)


@of_one
@primitive
def softmax(x: Any, axis: Any = -1) -> Any:
    """Return exp(x) / sum(exp(x)), positive numbers that sum to 1 along an axis.

    Parameters
    ----------
    x : array_like
        Logits of any size; an infinitely negative one gets probability 0.
    axis : int or tuple of int
        The axis or axes over which the probabilities sum to 1.

    Returns
    -------
    array or Tensor of the shape of x

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.softmax(np.array([1000.0, 1000.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    x = operand("softmax", x)
    e = np.exp(shifted(x, axis))
    return like(e / total(e, axis), x)


defvjp(softmax, lambda g, out, x, axis=-1: out * (g - product_total(g, out, axis)))
defjvp(softmax, lambda t, out, x, axis=-1: out * (t - product_total(t, out, axis)))


@of_one
@primitive
def log_softmax(x: Any, axis: Any = -1) -> Any:
    """Return the logarithm of `softmax`, exact where the probability itself would round to 0 or 1.

    Parameters
    ----------
    x : array_like
        Logits of any size.
    axis : int or tuple of int
        The axis or axes over which the probabilities sum to 1.

    Returns
    -------
    array or Tensor of the shape of x

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    x = operand("log_softmax", x)
    z = shifted(x, axis)
    return like(z - np.log(total(np.exp(z), axis)), x)


defvjp(log_softmax, lambda g, out, x, axis=-1: g - np.exp(out) * total(g, axis))
defjvp(log_softmax, lambda t, out, x, axis=-1: t - total(np.exp(out) * t, axis))


class ReLU(Module):
    """max(x, 0), whose derivative at 0 is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, x: X) -> X:
        """Return max(x, 0)."""
        return x.relu() if type(x) is Tensor else relu(x)


class Tanh(Module):
    """The hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Tanh()(np.array([0.0, 100.0]))
    array([0., 1.])
    """

    def forward(self, x: X) -> X:
        """Return tanh(x)."""
        return tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Sigmoid()(np.array([0.0, 100.0]))
    array([0.5, 1. ])
    """

    def forward(self, x: X) -> X:
        """Return 1 / (1 + exp(-x))."""
        return sigmoid(x)


# doctest takes a decorated function for a foreign one, so it is told of these
__test__ = {name_of(f): f for f in (sigmoid, softmax, log_softmax)}
