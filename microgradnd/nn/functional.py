"""Layers, activations and losses as plain functions of arrays and Tensors.

Owns: what the modules in `layers.py` compute, and the derivative rules of those functions that NumPy spells in many
calls or in unstable ones.
Must not own: parameters or any other state.
Read next: `layers.py`.

A function of one NumPy call is that call. The others are operations of their own, with their rules right below them:
faster, exact in the tails, and one node in a picture. The rules are plain NumPy as everywhere, so these functions work
on arrays and Tensors, in both modes and to any order. Axes are NumPy's: `axis=`, the last by default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Literal, Protocol, overload

import numpy as np
import numpy.typing as npt

from microgradnd import primitives
from microgradnd.anew import anew
from microgradnd.annotations import P
from microgradnd.failures import explained
from microgradnd.nn.init import generator
from microgradnd.operands import admitted
from microgradnd.registry import defjvp, defvjp, elementwise, name_of, plain, primitive
from microgradnd.tape import current
from microgradnd.tensor import Tensor

__all__ = [
    "cross_entropy",
    "dropout",
    "linear",
    "log_softmax",
    "mse_loss",
    "relu",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "sse_loss",
    "tanh",
]

if not TYPE_CHECKING:

    def __getattr__(name):
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("nn.functional", name, __all__))


Plain = npt.NDArray[Any] | Sequence[Any] | complex
Reduction = Literal["mean", "sum", "none"]


class OfOne(Protocol[P]):
    """What type checkers know of a function of one array: it gives a Tensor for a Tensor, else an array."""

    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: Plain, /, *args: P.args, **kwargs: P.kwargs) -> npt.NDArray[Any]: ...


class OfSeveral(Protocol[P]):
    """What type checkers know of a function of several arrays: it gives a Tensor if the first is one."""

    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: Plain, /, *args: P.args, **kwargs: P.kwargs) -> Any: ...


def of_one(function: Callable[Concatenate[Any, P], Any]) -> OfOne[P]:
    """Declare the types of an activation."""
    return function


def of_several(function: Callable[Concatenate[Any, P], Any]) -> OfSeveral[P]:
    """Declare the types of a layer or a loss."""
    return function


REDUCTIONS = ("mean", "sum", "none")
MANY_ROWS = 128  # from which on the way to the largest element of each by its place is the shorter one


def rows(x: Any) -> Any:
    """Return an array of vectors as a matrix with a vector in each row."""
    return x if x.ndim == 2 else np.reshape(x, (-1, x.shape[-1]))


def operand(function: str, x: Any, name: str = "x", kinds: str = "biufc") -> Any:
    """Return an array or Tensor as it is, lists and numbers as an array; raise unless they are numbers of these kinds.

    `function` and `name` say in the message what x is.
    """
    x = x if type(x) is np.ndarray else admitted(function, x)
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if x.dtype.kind not in kinds:
        numbers = "numbers" if "c" in kinds else "real numbers"
        found = "None" if x.ndim == 0 and x[()] is None else x.dtype
        raise TypeError(
            f"{function}: {name} must be an array or Tensor of {numbers}, got {found}; convert it with "
            f"np.asarray(..., dtype=float)"
        )
    return x


@of_several
@primitive
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """Return the affine map x W' + b of the last axis.

    Parameters
    ----------
    x : array_like of shape (..., in_features)
    weight : array_like of shape (out_features, in_features)
    bias : array_like of shape (out_features,), optional

    Returns
    -------
    array or Tensor of shape (..., out_features)

    Raises
    ------
    ValueError
        If the shapes don't fit.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), np.array([0.5]))
    array([[11.5]])
    """
    if not (type(x) is type(weight) is np.ndarray and x.dtype.kind == weight.dtype.kind == "f"):
        x, weight = operand("linear", x), operand("linear", weight, "weight")
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: the last axis of x, of shape {x.shape}, must be as long as the second of weight, of shape "
            f"{weight.shape}: weight is (out_features, in_features), x is (observations, in_features)"
        )
    if bias is None:
        return np.dot(x, weight.T)
    if type(bias) is not np.ndarray or bias.dtype.kind != "f":
        bias = operand("linear", bias, "bias")
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear: bias has shape {bias.shape} and weight {weight.shape}; bias must have shape {weight.shape[:1]}"
        )
    return np.dot(x, weight.T) + bias


def summed(x: Any, **axes: Any) -> Any:
    """Return the sum along axes, of half-precision numbers in single precision: they stop growing at 2048 ones."""
    return np.add.reduce(x, dtype=np.float32, **axes) if x.dtype == np.float16 else np.add.reduce(x, **axes)


defvjp(
    linear,
    lambda g, out, x, weight, bias=None: np.dot(g, weight),
    lambda g, out, x, weight, bias=None: np.dot(rows(g).T, rows(x)),
    lambda g, out, x, weight, bias=None: summed(rows(g), axis=0),
)
defjvp(
    linear,
    lambda t, out, x, weight, bias=None: np.dot(t, weight.T),
    lambda t, out, x, weight, bias=None: np.dot(x, t.T),
    lambda t, out, x, weight, bias=None: t,
)

# Activations


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


def is_half(x: Any) -> bool:
    """Return whether an array or Tensor is in half precision."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and dtype.char == "e"


def like(x: Any, original: Any) -> Any:
    """Return x in half precision if the argument that it was computed from is: its sums are wider."""
    return x.astype(np.float16) if is_half(original) and not is_half(x) else x


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

# Losses


def check_alike(loss: str, y_pred: Any, y: Any) -> None:
    """Raise if predictions and observations differ in shape, even where they would broadcast."""
    a, b = operand(loss, y_pred, "the prediction").shape, operand(loss, y, "the target").shape
    if a != b:
        advice = f"; reshape the target with y.reshape({a})" if math.prod(a) == math.prod(b) else ""
        raise ValueError(
            f"{loss}: the prediction has shape {a} and the target {b}; a loss compares them one to one, so the shapes "
            f"must be the same{advice}"
        )


def check_reduction(loss: str, reduction: Any) -> None:
    """Raise unless a loss has a reduction of this name."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{loss}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def reduced(loss: str, losses: Any, reduction: Reduction) -> Any:
    """Return the losses of the elements of a batch as one number, or as they are."""
    if reduction == "none":
        return losses
    check_reduction(loss, reduction)
    if reduction == "mean":  # in half precision NumPy adds up wider numbers for a mean, not for a sum
        return np.mean(losses) if losses.dtype == np.float16 else np.sum(losses) / losses.size
    return np.sum(losses)


@of_several
@primitive
def sse_loss(y_pred: Any, y: Any) -> Any:
    """Return the sum of squared errors, sum((y_pred - y)^2), whose gradient is 2 (y_pred - y).

    Parameters
    ----------
    y_pred, y : array_like of the same shape
        Predictions and observations. NaN in either makes the loss NaN.

    Returns
    -------
    number or Tensor of shape ()

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast.
    TypeError
        If neither holds floating-point numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> float(F.sse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    4.0
    """
    check_alike("sse_loss", y_pred, y)
    error = np.subtract(y_pred, y)
    if error.dtype.kind not in "fc":
        raise TypeError(f"sse_loss: predictions are floating-point numbers, not {error.dtype}; convert them to float")
    return np.add.reduce(error * error, axis=None)


defvjp(
    sse_loss,
    lambda g, out, y_pred, y: (2 * g) * np.subtract(y_pred, y),
    lambda g, out, y_pred, y: (2 * g) * np.subtract(y, y_pred),
)
defjvp(
    sse_loss,
    lambda t, out, y_pred, y: np.sum(2 * np.subtract(y_pred, y) * t),
    lambda t, out, y_pred, y: np.sum(2 * np.subtract(y, y_pred) * t),
)


@of_several
@explained
def mse_loss(y_pred: Any, y: Any, reduction: Reduction = "mean") -> Any:
    """Return the mean squared error, mean((y_pred - y)^2) over all elements.

    Parameters
    ----------
    y_pred, y : array_like of the same shape
        Predictions and observations. NaN in either makes the loss NaN.
    reduction : {"mean", "sum", "none"}
        Whether to average the squared errors, to add them up, or to return them.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast; if the reduction is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> float(F.mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    check_alike("mse_loss", y_pred, y)
    if reduction == "mean":
        if is_half(y_pred) and is_half(y):  # the sum overflows long before the mean does
            wide = (primitives.astype(primitives.array(v), np.dtype(np.float32)) for v in (y_pred, y))
            return primitives.astype(mse_loss(*wide), np.dtype(np.float16))
        return sse_loss(y_pred, y) / np.size(y)
    if reduction == "sum":
        return sse_loss(y_pred, y)
    return reduced("mse_loss", np.square(np.subtract(y_pred, y)), reduction)


@primitive
def onehot(labels: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a matrix that is 1 at the label of each row and 0 elsewhere."""
    hot = np.zeros(shape, dtype)
    hot[np.arange(len(labels)), labels] = 1
    return hot


defvjp(onehot, None)


def picked(logits: Any, labels: Any) -> Any:
    """Return the logit of each row's label."""
    return logits[np.arange(len(labels)), labels]


@primitive
def highest(logits: Any) -> Any:
    """Return the largest logit of each row, as a plain column: what is shifted by it doesn't depend on it."""
    return largest(logits, 1)


plain([highest])


@of_several
@primitive
def softmax_cross_entropy(logits: Any, labels: Any, highest: Any) -> Any:
    """Return -log softmax(logits)[label] for each row; `cross_entropy` checks its arguments and reduces its result.

    Parameters
    ----------
    logits : array_like of shape (n, classes)
    labels : array of int of shape (n,)
    highest : array of shape (n, 1)
        The largest logit of each row, by which all are shifted, here and in the derivative.

    Returns
    -------
    array or Tensor of shape (n,)
    """
    z = logits - highest
    return like(np.log(summed(np.exp(z), axis=1)) - picked(z, labels), logits)


def softmax_less_onehot(logits: Any, labels: Any, highest: Any) -> Any:
    """Return softmax(logits) - onehot(labels), the gradient of each row's cross-entropy."""
    e = np.exp(logits - highest)
    return e / total(e, 1) - onehot(labels, logits.shape, logits.dtype)


defvjp(
    softmax_cross_entropy,
    lambda g, out, logits, labels, highest: g[:, None] * softmax_less_onehot(logits, labels, highest),
)
defjvp(
    softmax_cross_entropy,
    lambda t, out, logits, labels, highest: np.sum(t * softmax_less_onehot(logits, labels, highest), axis=1),
)


@explained
def dropout(x: Any, p: float = 0.5, training: bool = True, *, rng: np.random.Generator | None = None) -> Any:
    """Set elements to 0 with probability p, and divide the others by 1 - p, so that the expectation stays.

    In a compiled function the elements are chosen anew in each call.

    Parameters
    ----------
    x : array_like or Tensor
        Of any shape.
    p : float
        The probability, from 0 to below 1; or 1, for zeros.
    training : bool
        Without it x is returned as it is.
    rng : numpy.random.Generator, optional
        What draws; by default one with fresh entropy.

    Returns
    -------
    Tensor or array
        Of the shape and dtype of x.

    Raises
    ------
    ValueError
        If p isn't a probability.
    TypeError
        If `rng` isn't a Generator.

    Notes
    -----
    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.dropout(np.ones(4), 0.5, rng=np.random.default_rng(0))
    array([2., 0., 0., 0.])
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be a probability, from 0 to 1, got {p!r}")
    given = None if rng is None else generator(rng)
    if not training or p == 0:
        return x
    x = x if isinstance(x, Tensor) else np.asarray(admitted("dropout", x))
    shape, dtype = x.shape, x.dtype
    scale = 1 / (1 - p) if p < 1 else 0.0

    def mask() -> Any:
        return np.where(generator(given).random(shape) >= p, scale, 0).astype(dtype)

    return x * anew(mask, shape, dtype)


@of_several
@explained
def cross_entropy(logits: Any, labels: Any, reduction: Reduction = "mean") -> Any:
    """Return the cross-entropy -log softmax(logits)[label] of integer labels, computed without overflow.

    Its gradient with respect to the logits is softmax(logits) - onehot(labels), divided by n for the mean.

    Parameters
    ----------
    logits : array_like of shape (n, classes) or (classes,)
        Unnormalised log-probabilities: what comes before the softmax. NaN makes the loss NaN.
    labels : array_like of int of shape (n,) or ()
        The class of each row, from 0.
    reduction : {"mean", "sum", "none"}
        Whether to average over the rows, to add them up, or to return the loss of each.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of the labels

    Raises
    ------
    TypeError
        If the labels aren't integers, or the logits aren't floating-point numbers.
    ValueError
        If the shapes don't fit, a label isn't the number of a class, or the reduction is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> logits = np.array([[2.0, 0.0, 0.0], [0.0, 1000.0, 0.0]])
    >>> F.cross_entropy(logits, np.array([0, 1]), reduction="none").round(3)
    array([0.24, 0.  ])
    """
    if not isinstance(labels, Tensor):
        labels = np.asarray(labels)
    elif current().trace is None:  # else it stands for all labels, which a program doesn't look at
        labels = labels.data
    if not isinstance(logits, Tensor):
        logits = np.asarray(logits)
    check_labels(logits, labels)
    if labels.ndim == 0:
        logits = logits[None, :]
        losses = softmax_cross_entropy(logits, labels[None], highest(logits))
        return reduced("cross_entropy", losses[0], "none" if reduction in REDUCTIONS else reduction)
    return reduced("cross_entropy", softmax_cross_entropy(logits, labels, highest(logits)), reduction)


def check_labels(logits: Any, labels: Any) -> None:
    """Raise unless the labels are numbers of classes, one for each row of logits."""
    if logits.dtype.kind != "f":
        raise TypeError(f"cross_entropy: logits are floating-point numbers, not {logits.dtype}; convert them to float")
    if labels.dtype.kind not in "iu":
        advice = (
            "for one-hot rows or probabilities pass labels.argmax(axis=1)"
            if labels.shape == logits.shape
            else "convert them with labels.astype(int)"
        )
        raise TypeError(f"cross_entropy: labels are integers from 0, not {labels.dtype}; {advice}")
    if logits.ndim not in (1, 2) or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: logits of shape (n, classes) need labels of shape (n,), but the logits have shape "
            f"{logits.shape} and the labels {labels.shape}; flatten the labels with labels.ravel(), and leading axes "
            f"of the logits with logits.reshape(-1, classes)"
        )
    # As unsigned numbers negative labels are huge, so one comparison finds both ends.
    if (
        isinstance(labels, np.ndarray)
        and labels.size
        and np.maximum.reduce(labels.astype(np.uintp), axis=None) >= logits.shape[-1]
    ):
        raise ValueError(
            f"cross_entropy: labels of {logits.shape[-1]} classes go from 0 to {logits.shape[-1] - 1}, "
            f"but there are labels from {labels.min()} to {labels.max()}"
        )


# doctest takes a decorated function for a foreign one, so it is told of these
__test__ = {name_of(f): f for f in (linear, sigmoid, softmax, log_softmax, sse_loss)}
