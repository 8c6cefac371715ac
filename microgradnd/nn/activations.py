"""Activations: functions of each element, and softmax along an axis.

Owns: the functions with their rules, and the modules that call them.
Must not own: losses (`losses.py`).
Read next: `losses.py`.

Some functions are a single NumPy call. The others are operations of their own, each
with its rule right below it: so they are faster, exact in the tails, and one node in a
picture. The rules are plain NumPy as everywhere, so these functions work on arrays and
Tensors, in both modes and to any order. The axis is called `axis`, as in NumPy, and is
the last by default.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from microgradnd import primitives
from microgradnd.nn.arguments import COMPLEX, REAL, X, floating, like, of_one, of_several, operand, rows, summed
from microgradnd.nn.calls import Calls, check_settings, checked
from microgradnd.nn.module import Module, Parameter
from microgradnd.registry import defjvp, defvjp, elementwise, primitive
from microgradnd.tensor import Tensor

MANY_ROWS = 128  # from this many rows on, argmax and indexing find each row's maximum faster


@of_one
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
    is_real = isinstance(x, Tensor) and x.dtype.kind != "c"
    return x.relu() if is_real else primitives.relu(operand("relu", x, kinds=REAL))


@of_one
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent of x, like `np.tanh`.

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
    """Return 1 / (1 + exp(-x)), which doesn't overflow for any x.

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
    x = floating("sigmoid", x, kinds=COMPLEX)
    with np.errstate(over="ignore"):  # exp(1000) is inf, and 1 / (1 + inf) is 0, as it should be
        return 1 / (1 + np.exp(np.negative(x)))


elementwise(sigmoid, lambda g, out, x: g * (out * (1 - out)))


@of_one
def silu(x: Any) -> Any:
    """Return x * sigmoid(x), also known as swish.

    Parameters
    ----------
    x : array_like

    Returns
    -------
    array or Tensor of the shape of x

    Notes
    -----
    Elfwing, Uchibe and Doya (2018), "Sigmoid-weighted linear units".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.silu(np.array([-1000.0, 0.0, 1.0])).round(3)
    array([-0.   ,  0.   ,  0.731])
    """
    x = operand("silu", x, kinds=REAL)
    return x * sigmoid(x)


@primitive
def leaky(x: Any, slope: Any) -> Any:
    """Return x where it is positive, slope * x elsewhere."""
    return np.where(x > 0, x, slope * x)


elementwise(
    leaky,
    lambda g, out, x, slope: np.where(x > 0, g, slope * g),
    lambda g, out, x, slope: np.where(x > 0, 0, g * x),
)


@of_one
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """Return x where it is positive, negative_slope * x elsewhere.

    The derivative at 0 is negative_slope.

    Parameters
    ----------
    x : array_like
    negative_slope : float

    Returns
    -------
    array or Tensor of the shape of x

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.leaky_relu(np.array([-1.0, 2.0]))
    array([-0.01,  2.  ])
    """
    x = operand("leaky_relu", x, kinds=REAL)
    check_settings("leaky_relu", negative_slope=negative_slope)
    return leaky(x, negative_slope)


@of_several
def prelu(x: Any, weight: Any) -> Any:
    """Return x where it is positive, weight * x elsewhere, with a learned weight.

    The derivative at 0 is the weight.

    Parameters
    ----------
    x : array_like of shape (batch, channels, ...), or any shape for a single weight
    weight : array_like of shape (channels,) or (1,)

    Returns
    -------
    array or Tensor of the shape of x

    Raises
    ------
    ValueError
        If the number of weights is neither 1 nor the number of channels.

    Notes
    -----
    He, Zhang, Ren and Sun (2015), "Delving deep into rectifiers".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.prelu(np.array([[-1.0, -2.0]]), np.array([0.5, 0.25]))
    array([[-0.5, -0.5]])
    """
    x, weight = operand("prelu", x, kinds=REAL), operand("prelu", weight, "weight", kinds=REAL)
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.shape not in ((1,), (channels,)):
        raise ValueError(
            f"prelu: weight must have shape (1,) or ({channels},), one for each channel of x of shape {x.shape}, got "
            f"{weight.shape}"
        )
    return leaky(x, np.reshape(weight, (-1, *(1,) * (x.ndim - 2))) if x.ndim else weight[0])


@of_one
@primitive
def elu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where it is positive, alpha * (exp(x) - 1) elsewhere.

    The derivative at 0 is alpha.

    Parameters
    ----------
    x : array_like
    alpha : float
        The negative of the limit as x goes to minus infinity.

    Returns
    -------
    array or Tensor of the shape of x

    Notes
    -----
    Clevert, Unterthiner and Hochreiter (2016), "Exponential linear units".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.elu(np.array([-1000.0, 0.0, 2.0]))
    array([-1.,  0.,  2.])
    """
    x = floating("elu", x)
    check_settings("elu", alpha=alpha)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


# out + alpha is the same in theory, but rounds to 0 for x < -37, and for x < -17 in
# single precision
elementwise(elu, lambda g, out, x, alpha=1.0: g * np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0))), None)


@primitive
def log1p_exp(x: Any) -> Any:
    """Return log(1 + exp(x)), which doesn't overflow for any x."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


elementwise(log1p_exp, lambda g, out, x: g * sigmoid(x))


@of_one
def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """Return log(1 + exp(beta * x)) / beta, a smooth relu that doesn't overflow.

    Parameters
    ----------
    x : array_like
    beta : float
        The sharpness of the bend.
    threshold : float
        Where beta * x exceeds it, the result is x itself, as in PyTorch.

    Returns
    -------
    array or Tensor of the shape of x

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.softplus(np.array([-1000.0, 0.0, 1000.0])).round(3)
    array([0.00e+00, 6.93e-01, 1.00e+03])
    """
    x = floating("softplus", x)
    check_settings("softplus", beta=beta, threshold=threshold)
    z = x if beta == 1 else x * beta
    out = log1p_exp(z)
    return np.where(z > threshold, x, out if beta == 1 else out / beta)


@of_one
@primitive
def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """Return x where it is between two bounds, and the nearer bound elsewhere.

    The derivative on a bound is 0.

    Parameters
    ----------
    x : array_like
    min_val, max_val : float
        The bounds.

    Returns
    -------
    array or Tensor of the shape of x

    Raises
    ------
    ValueError
        If min_val isn't less than max_val.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.hardtanh(np.array([-2.0, 0.5, 1.0]))
    array([-1. ,  0.5,  1. ])
    """
    x = operand("hardtanh", x, kinds=REAL)
    check_settings("hardtanh", min_val=min_val, max_val=max_val)
    if min_val >= max_val:
        raise ValueError(f"hardtanh: min_val must be less than max_val, got {min_val} and {max_val}")
    return np.minimum(np.maximum(x, min_val), max_val)


elementwise(
    hardtanh,
    lambda g, out, x, min_val=-1.0, max_val=1.0: np.where((x > min_val) & (x < max_val), g, 0),
    None,
    None,
)


@functools.cache
def tail_coefficients(degree: int) -> list[float]:
    """Return the coefficients of a polynomial for (z + 3) exp(z^2) erfc(z), z >= 0.

    The polynomial is in t = (z - 3) / (z + 3). The function is smooth, even at
    infinity, so interpolation at Chebyshev points converges quickly. Degree 22 is
    accurate to a few units in the last place of float64, and degree 10 to a few in that
    of float32. After Schonfelder (1978), "Chebyshev expansions for the error and
    related functions".
    """
    t = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    z = (3 * (1 + t) / (1 - t)).astype(np.float32).astype(np.float64)  # so that z * z isn't rounded
    values = [(v + 3) * scaled_erfc(v) for v in z.tolist()]
    return np.linalg.solve(np.vander((z - 3) / (z + 3)), values).tolist()


def scaled_erfc(z: float) -> float:
    """Return exp(z^2) erfc(z), by its asymptotic series where erfc(z) underflows."""
    if z < 25:
        return math.exp(z * z) * math.erfc(z)
    terms = itertools.accumulate(range(1, 10), lambda term, n: term * (1 - 2 * n) / (2 * z * z), initial=1.0)
    return sum(terms) / (z * math.sqrt(math.pi))


@primitive
def normal_cdf(x: Any) -> Any:
    """Return the normal distribution function, accurate in the tails too.

    It is (1 + erf(x / sqrt(2))) / 2.
    """
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    z = np.abs(wide) * math.sqrt(0.5)
    u = 1 / (z + 3)
    t = 1 - 6 * u
    first, second, *others = tail_coefficients(22 if z.dtype == np.float64 else 10)
    p = first * t + second
    for coefficient in others:
        p = p * t + coefficient
    with np.errstate(over="ignore"):  # where the square overflows, the exponential is 0
        tail = p * u * (0.5 * np.exp(-0.5 * (wide * wide)))
    return like(np.where(x < 0, tail, 1 - tail), x)


@primitive
def normal_density(x: Any) -> Any:
    """Return exp(-x^2 / 2) / sqrt(2 pi)."""
    with np.errstate(over="ignore"):
        return np.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))


@primitive
def logistic_cdf(x: Any) -> Any:
    """Return (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, close to `normal_cdf`."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(x * (-BEND - BEND * CUBIC * (x * x))))


BEND, CUBIC = math.sqrt(8 / math.pi), 0.044715
elementwise(normal_cdf, lambda g, out, x: g * normal_density(x))
elementwise(normal_density, lambda g, out, x: -g * (x * out))
elementwise(  # beyond 100 the product is 0 anyway, and the square may overflow
    logistic_cdf,
    lambda g, out, x: g * (out * (1 - out)) * (BEND + 3 * BEND * CUBIC * np.minimum(np.abs(x), 100) ** 2),
)


@of_one
def gelu(x: Any, approximate: str = "none") -> Any:
    """Return x times the standard normal distribution function of x.

    That is the probability that a standard normal number is less than x.

    Parameters
    ----------
    x : array_like
    approximate : {"none", "tanh"}
        "tanh" replaces the probability by the faster approximation
        (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.

    Returns
    -------
    array or Tensor of the shape of x

    Raises
    ------
    ValueError
        If `approximate` is neither.

    Notes
    -----
    Hendrycks and Gimpel (2016), "Gaussian error linear units".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.gelu(np.array([-10.0, 0.0, 1.0]))
    array([-7.61985302e-23,  0.00000000e+00,  8.41344746e-01])
    """
    x = floating("gelu", x)
    check_settings("gelu", approximate=approximate)
    return x * (normal_cdf(x) if approximate == "none" else logistic_cdf(x))


def largest(x: Any, axis: Any) -> Any:
    """Return the largest element along an axis, which keeps length 1."""
    if type(x) is np.ndarray and x.ndim and axis in (-1, x.ndim - 1) and x.size >= MANY_ROWS * x.shape[-1] > 0:
        flat = rows(x)
        where = np.argmax(flat, axis=1)  # several times as fast as the maximum, and NaN counts as largest
        return flat[np.arange(len(flat)), where].reshape((*x.shape[:-1], 1))
    empty: Any = {} if x.size else {"initial": 0}
    return np.max(x, axis=axis, keepdims=True, **empty)


def along(function: str, x: Any, axis: Any) -> Any:
    """Return an array or Tensor of numbers, or raise unless it has the axis or axes."""
    x = floating(function, x, kinds="iufc")
    if type(axis) is not int:
        check_settings(function, axis=axis)
    axes, ends = (axis, x.ndim) if isinstance(axis, tuple | list) else ((axis,), max(x.ndim, 1))
    if not all(-ends <= a < ends for a in axes):
        raise ValueError(f"{function}: axis must be an axis of x, got axis={axis} for x of shape {x.shape}")
    return x


def shifted(x: Any, axis: Any) -> Any:
    """Return x minus its maximum along an axis, whose exponential can't overflow."""
    return x - largest(x, axis)


def total(x: Any, axis: Any) -> Any:
    """Return the sum along an axis, which keeps length 1."""
    return summed(x, axis=axis, keepdims=True)


def product_total(x: Any, y: Any, axis: Any) -> Any:
    """Return the sum of x * y along an axis, which keeps length 1."""
    if type(x) is type(y) is np.ndarray and x.ndim and axis in (-1, x.ndim - 1) and x.dtype.kind == "f":
        return np.vecdot(x, y)[..., None]
    return total(x * y, axis)


@of_one
@primitive
def softmax(x: Any, axis: Any = -1) -> Any:
    """Return exp(x) / sum(exp(x)), positive numbers that sum to 1 along an axis.

    Parameters
    ----------
    x : array_like
        Logits of any size; minus infinity gets probability 0.
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
    x = along("softmax", x, axis)
    e = np.exp(shifted(x, axis))
    return like(e / total(e, axis), x)


defvjp(softmax, lambda g, out, x, axis=-1: out * (g - product_total(g, out, axis)))
defjvp(softmax, lambda t, out, x, axis=-1: out * (t - product_total(t, out, axis)))


@of_one
@primitive
def log_softmax(x: Any, axis: Any = -1) -> Any:
    """Return the logarithm of `softmax`.

    It stays accurate where the probability itself would round to 0 or 1.

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
    x = along("log_softmax", x, axis)
    z = shifted(x, axis)
    return like(z - (np.log(total(np.exp(z), axis)) if x.size else 0), x)


defvjp(log_softmax, lambda g, out, x, axis=-1: g - np.exp(out) * total(g, axis))
defjvp(log_softmax, lambda t, out, x, axis=-1: t - total(np.exp(out) * t, axis))


class Activation(Calls):
    """The base class of modules that take one array."""

    if TYPE_CHECKING:

        def forward(self, x: X) -> X:
            """Return the function of x."""


class ReLU(Activation, function=relu):
    """max(x, 0), whose derivative at 0 is 0; see `functional.relu`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """


class Tanh(Activation, function=tanh):
    """The hyperbolic tangent; see `functional.tanh`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Tanh()(np.array([0.0, 100.0]))
    array([0., 1.])
    """


class Sigmoid(Activation, function=sigmoid):
    """1 / (1 + exp(-x)); see `functional.sigmoid`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Sigmoid()(np.array([0.0, 100.0]))
    array([0.5, 1. ])
    """


class SiLU(Activation, function=silu):
    """x * sigmoid(x); see `functional.silu`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.SiLU()(np.array([0.0, 100.0]))
    array([  0., 100.])
    """


class LeakyReLU(Activation, function=leaky_relu):
    """x if it is positive, else negative_slope * x; see `functional.leaky_relu`.

    Parameters
    ----------
    negative_slope : float

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.LeakyReLU(0.1)(np.array([-1.0, 2.0]))
    array([-0.1,  2. ])
    """

    negative_slope: float = 0.01


class ELU(Activation, function=elu):
    """x if it is positive, else alpha * (exp(x) - 1); see `functional.elu`.

    Parameters
    ----------
    alpha : float

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.ELU()(np.array([-100.0, 2.0]))
    array([-1.,  2.])
    """

    alpha: float = 1.0


class GELU(Activation, function=gelu):
    """x times the standard normal distribution function; see `functional.gelu`.

    Parameters
    ----------
    approximate : {"none", "tanh"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.GELU("tanh")(np.array([0.0, 10.0]))
    array([ 0., 10.])
    """

    approximate: str = "none"


class Softplus(Activation, function=softplus):
    """log(1 + exp(beta * x)) / beta, a smooth relu; see `functional.softplus`.

    Parameters
    ----------
    beta : float
        The sharpness of the bend.
    threshold : float
        Where beta * x exceeds it, the result is x itself.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Softplus()(np.array([-1000.0, 1000.0]))
    array([   0., 1000.])
    """

    beta: float = 1.0
    threshold: float = 20.0


class Hardtanh(Activation, function=hardtanh):
    """x between two bounds, and the nearer bound elsewhere; see `functional.hardtanh`.

    Parameters
    ----------
    min_val, max_val : float
        The bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Hardtanh()(np.array([-2.0, 0.5]))
    array([-1. ,  0.5])
    """

    min_val: float = -1.0
    max_val: float = 1.0


class Softmax(Activation, function=softmax):
    """exp(x) / sum(exp(x)) along an axis; see `functional.softmax`.

    Parameters
    ----------
    axis : int or tuple of int
        The axis or axes over which the probabilities sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Softmax()(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """

    axis: int | tuple[int, ...] = -1


class LogSoftmax(Activation, function=log_softmax):
    """The logarithm of `Softmax`; see `functional.log_softmax`.

    Parameters
    ----------
    axis : int or tuple of int
        The axis or axes over which the probabilities sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.LogSoftmax()(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """

    axis: int | tuple[int, ...] = -1


class PReLU(Module):
    """x if it is positive, else weight * x, with learned weights.

    Parameters
    ----------
    num_parameters : int
        1, or the number of channels for a weight per channel.
    init : float
        The initial value of the weights.
    dtype : dtype
        The dtype of the weights, by default float64.

    Attributes
    ----------
    weight : Tensor of shape (num_parameters,)

    Raises
    ------
    ValueError
        If num_parameters isn't a positive integer.

    See Also
    --------
    microgradnd.nn.functional.prelu : the function.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.PReLU()(np.array([-1.0, 2.0])).data
    array([-0.25,  2.  ])
    """

    _shown = "{num_parameters}"
    weight: Tensor

    @checked
    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: DTypeLike = np.float64) -> None:
        self.num_parameters = num_parameters
        self.weight = Parameter(np.full(num_parameters, init), dtype)

    def forward(self, x: Any) -> Tensor:
        """Return x, with its negative elements multiplied by the weight."""
        return prelu(x, self.weight)
