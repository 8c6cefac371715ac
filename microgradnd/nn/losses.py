"""Losses: how far predictions are from observations.

Owns: the functions with their rules, and the modules that call them.
Must not own: activations (`activations.py`).
Read next: `../optim/optimizer.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd import primitives
from microgradnd.nn.activations import along, largest, log1p_exp, log_softmax, sigmoid, total
from microgradnd.nn.arguments import (
    COMPLEX,
    REAL,
    array_like,
    broadcasts,
    floating,
    in_range,
    is_half,
    like,
    of_several,
    operand,
    summed,
)
from microgradnd.nn.calls import Calls, KLReduction, Reduction, check_settings
from microgradnd.nn.embedding import looked_up
from microgradnd.primitives import array
from microgradnd.registry import defjvp, defvjp, elementwise, plain, primitive
from microgradnd.rules.axes import numbered
from microgradnd.tape import current
from microgradnd.tensor import Tensor

IGNORED = (
    "; a function that is compiled or under vmap can't use the default ignore_index=-100: mark the rows with another "
    "number, and pass it as ignore_index="
)


def check_alike(loss: str, y_pred: Any, y: Any, kinds: str = REAL, reduction: Any = "mean") -> None:
    """Raise if predictions and observations differ in shape, even if they broadcast.

    Two arrays of integers are refused too: their differences can wrap.
    """
    y_pred = operand(loss, y_pred, "the prediction", kinds)
    y = operand(loss, y, "the target", COMPLEX if "c" in kinds else REAL)
    a, b = y_pred.shape, y.shape
    if a != b:
        advice = f"; reshape the target with y.reshape({a})" if math.prod(a) == math.prod(b) else ""
        raise ValueError(
            f"{loss}: prediction and target must have the same shape, since a loss compares them one to one, got {a} "
            f"and {b}{advice}"
        )
    if y_pred.dtype.kind not in "fc" and y.dtype.kind not in "fc":
        raise TypeError(f"{loss}: predictions must be floating-point numbers, got {y_pred.dtype}; convert to float")
    if type(reduction) is not str:  # before it is compared with a string: an array would compare each element
        check_settings(loss, reduction=reduction)


def reduced(loss: str, losses: Any, reduction: Reduction) -> Any:
    """Return the losses of the elements of a batch as one number, or unchanged."""
    check_settings(loss, reduction=reduction)
    if reduction == "none":
        return losses
    if reduction == "mean":  # for half precision np.mean adds in single precision; np.sum doesn't
        return np.mean(losses) if losses.dtype == np.float16 else np.sum(losses) / losses.size
    return np.sum(losses)


@of_several
@primitive
def sse_loss(y_pred: Any, y: Any, reduction: Reduction = "sum") -> Any:
    """Return the sum of squared errors, sum((y_pred - y)^2).

    Its gradient is 2 (y_pred - y).

    Parameters
    ----------
    y_pred, y : array_like of the same shape
        Predictions and observations. NaN in either makes the loss NaN.
    reduction : {"mean", "sum", "none"}
        Whether to return the mean, the sum or each of the squared errors.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

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
    check_alike("sse_loss", y_pred, y, COMPLEX, reduction)
    error = np.subtract(y_pred, y)
    if reduction == "sum":
        squares = error * error
        return np.add.reduce(squares, axis=None) if type(squares) is np.ndarray else np.sum(squares)
    return reduced("sse_loss", error * error, reduction)


defvjp(
    sse_loss,
    lambda g, out, y_pred, y, reduction="sum": (
        (2 * g if reduction != "mean" else g / (math.prod(np.shape(y)) / 2)) * np.subtract(y_pred, y)
    ),
    lambda g, out, y_pred, y, reduction="sum": (
        (2 * g if reduction != "mean" else g / (math.prod(np.shape(y)) / 2)) * np.subtract(y, y_pred)
    ),
)
defjvp(
    sse_loss,
    lambda t, out, y_pred, y, reduction="sum": reduced("sse_loss", 2 * np.subtract(y_pred, y) * t, reduction),
    lambda t, out, y_pred, y, reduction="sum": reduced("sse_loss", 2 * np.subtract(y, y_pred) * t, reduction),
)


@of_several
def mse_loss(y_pred: Any, y: Any, reduction: Reduction = "mean") -> Any:
    """Return the mean squared error, mean((y_pred - y)^2) over all elements.

    Parameters
    ----------
    y_pred, y : array_like of the same shape
        Predictions and observations. NaN in either makes the loss NaN.
    reduction : {"mean", "sum", "none"}
        Whether to return the mean, the sum or each of the squared errors.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast, or the reduction is
        unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> float(F.mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    check_alike("mse_loss", y_pred, y, COMPLEX, reduction)
    if reduction == "mean":
        if is_half(y_pred) and is_half(y):  # the sum would overflow long before the mean
            wide = (primitives.astype(primitives.array(v), np.dtype(np.float32)) for v in (y_pred, y))
            return primitives.astype(mse_loss(*wide), np.dtype(np.float16))
        return sse_loss(y_pred, y) / np.size(y)
    if reduction == "sum":
        return sse_loss(y_pred, y)
    return reduced("mse_loss", np.square(np.subtract(y_pred, y)), reduction)


@primitive
def onehot(labels: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a matrix with 1 at each row's label and 0 elsewhere."""
    hot = np.zeros(shape, dtype)
    hot[np.arange(len(labels)), labels] = 1
    return hot


defvjp(onehot, None)


def picked(logits: Any, labels: Any) -> Any:
    """Return the logit of each row's label."""
    return logits[numbered(labels), labels]


@primitive
def highest(logits: Any) -> Any:
    """Return the largest logit of each row as a plain column.

    It gets no gradient: the loss doesn't depend on the shift.
    """
    return largest(logits, 1)


plain([highest])


@of_several
@primitive
def softmax_cross_entropy(logits: Any, labels: Any, highest: Any) -> Any:
    """Return -log softmax(logits)[label] for each row, without checks.

    Parameters
    ----------
    logits : array_like of shape (n, classes)
    labels : array of int of shape (n,)
    highest : array of shape (n, 1)
        The largest logit of each row, subtracted from all logits here and in the
        derivative.

    Returns
    -------
    array or Tensor of shape (n,)
    """
    z = logits - highest
    return like(np.log(summed(np.exp(z), axis=1)) - picked(z, labels), logits)


def softmax_less_onehot(logits: Any, labels: Any, highest: Any) -> Any:
    """Return softmax(logits) - onehot(labels): the gradient of the cross-entropy."""
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


@of_several
def l1_loss(y_pred: Any, y: Any, reduction: Reduction = "mean") -> Any:
    """Return the mean absolute error, mean(|y_pred - y|).

    Where prediction and observation are equal, the derivative is 0.

    Parameters
    ----------
    y_pred, y : array_like of the same shape
        Predictions and observations.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast, or a setting is out of
        range.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> float(F.l1_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    1.0
    """
    check_alike("l1_loss", y_pred, y, COMPLEX)
    return reduced("l1_loss", np.abs(np.subtract(y_pred, y)), reduction)


@primitive
def bent(error: Any, delta: float) -> Any:
    """Return error^2 / 2 up to delta, and beyond it the line that continues this."""
    size = np.abs(error)
    return np.where(size < delta, 0.5 * (error * error), delta * (size - 0.5 * delta))


elementwise(bent, lambda g, out, error, delta: g * np.clip(error, -delta, delta), None)


@of_several
def huber_loss(y_pred: Any, y: Any, reduction: Reduction = "mean", delta: float = 1.0) -> Any:
    """Return half the squared error, continued by a straight line beyond delta.

    Parameters
    ----------
    y_pred, y : array_like of the same shape
        Predictions and observations.
    reduction : {"mean", "sum", "none"}
    delta : float
        The absolute error at which the line begins.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast, or a setting is out of
        range.

    Notes
    -----
    Huber (1964), "Robust estimation of a location parameter".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.huber_loss(np.array([1.0, 5.0]), np.array([0.0, 0.0]), "none")
    array([0.5, 4.5])
    """
    check_alike("huber_loss", y_pred, y)
    check_settings("huber_loss", delta=delta)
    return reduced("huber_loss", bent(np.subtract(y_pred, y), delta), reduction)


@of_several
def smooth_l1_loss(y_pred: Any, y: Any, reduction: Reduction = "mean", beta: float = 1.0) -> Any:
    """Return the absolute error minus beta / 2, with a parabola in place of the kink.

    This is `huber_loss` with delta = beta, divided by beta; for beta = 0 it is
    `l1_loss`.

    Parameters
    ----------
    y_pred, y : array_like of the same shape
        Predictions and observations.
    reduction : {"mean", "sum", "none"}
    beta : float
        The absolute error at which the parabola ends.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast, or a setting is out of
        range.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.smooth_l1_loss(np.array([1.0, 5.0]), np.array([0.0, 0.0]), "none", beta=2.0)
    array([0.25, 4.  ])
    """
    check_settings("smooth_l1_loss", beta=beta)
    if beta == 0:
        return l1_loss(y_pred, y, reduction)
    check_alike("smooth_l1_loss", y_pred, y)
    return reduced("smooth_l1_loss", bent(np.subtract(y_pred, y), beta) / beta, reduction)


@primitive
def binary_entropy(p: Any, y: Any) -> Any:
    """Return -y log(p) - (1 - y) log(1 - p), where logarithms are at least -100."""
    with np.errstate(divide="ignore"):
        return -(y * np.maximum(np.log(p), -100) + (1 - y) * np.maximum(np.log1p(-p), -100))


elementwise(
    binary_entropy,
    lambda g, out, p, y: g * ((p - y) / np.maximum(p * (1 - p), max(1e-12, 1 / float(np.finfo(p.dtype).max)))),
    lambda g, out, p, y: g * (np.maximum(np.log1p(-p), -100) - np.maximum(np.log(p), -100)),
)


@of_several
def binary_cross_entropy(p: Any, y: Any, reduction: Reduction = "mean", *, weight: Any = None) -> Any:
    """Return the cross-entropy -y log(p) - (1 - y) log(1 - p) of probabilities.

    Logarithms below -100 count as -100.

    Parameters
    ----------
    p : array_like
        Probabilities that the observation is 1. If you have logits,
        `binary_cross_entropy_with_logits` is more accurate.
    y : array_like of the shape of p
        Observations, from 0 to 1.
    reduction : {"mean", "sum", "none"}
    weight : array_like, optional
        A factor for each element, of a shape that broadcasts to that of p.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes don't fit, p holds numbers that aren't probabilities, or the
        reduction is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.binary_cross_entropy(np.array([0.5, 0.9]), np.ones(2), "none").round(3)
    array([0.693, 0.105])
    """
    check_alike("binary_cross_entropy", p, y, "f")
    p = array(p)
    if np.any((seen(p) < 0) | (seen(p) > 1)):
        raise ValueError(
            f"binary_cross_entropy: probabilities must be from 0 to 1, got values from {np.min(seen(p))} to "
            f"{np.max(seen(p))}; pass logits to binary_cross_entropy_with_logits"
        )
    losses = binary_entropy(p, in_dtype_of(p, shares("binary_cross_entropy", y)))
    return reduced("binary_cross_entropy", times("binary_cross_entropy", losses, weight), reduction)


@primitive
def logistic_loss(x: Any, y: Any) -> Any:
    """Return y log(1 + exp(-x)) + (1 - y) log(1 + exp(x)), without cancellation."""
    return np.log1p(np.exp(-np.abs(x))) + np.abs(x) * np.where(x > 0, 1 - y, y)


elementwise(logistic_loss, lambda g, out, x, y: g * (sigmoid(x) - y), lambda g, out, x, y: -g * x)


@of_several
def binary_cross_entropy_with_logits(
    logits: Any, y: Any, reduction: Reduction = "mean", *, weight: Any = None, pos_weight: Any = None
) -> Any:
    """Return the cross-entropy -y log(p) - (1 - y) log(1 - p) of p = sigmoid(logits).

    It doesn't overflow for large logits.

    Parameters
    ----------
    logits : array_like
    y : array_like of the shape of the logits
        Observations, from 0 to 1.
    reduction : {"mean", "sum", "none"}
    weight : array_like, optional
        A factor for each element, of a shape that broadcasts to that of the logits.
    pos_weight : array_like, optional
        A factor for the first term, that of observations of 1.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast, or a setting is out of
        range.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> logits, y = np.array([-1.0, 1000.0]), np.array([1.0, 0.0])
    >>> F.binary_cross_entropy_with_logits(logits, y, "none").round(3)
    array([   1.313, 1000.   ])
    """
    name = "binary_cross_entropy_with_logits"
    check_alike(name, logits, y, "f")
    x = array(logits)
    y = in_dtype_of(x, shares(name, y))
    if pos_weight is None:
        losses = logistic_loss(x, y)
    else:
        losses = times(name, y * log1p_exp(-x), pos_weight, "pos_weight") + (1 - y) * log1p_exp(x)
    return reduced(name, times(name, losses, weight), reduction)


def shares(loss: str, y: Any) -> Any:
    """Return the targets of two classes, or raise unless they are from 0 to 1."""
    y = array(y)
    if np.any((seen(y) < 0) | (seen(y) > 1)):
        raise ValueError(
            f"{loss}: targets must be from 0 to 1, got values from {np.min(seen(y))} to {np.max(seen(y))}; for labels "
            f"-1 and 1 pass (y + 1) / 2, for more than two classes use cross_entropy"
        )
    return y


def seen(x: Any) -> Any:
    """Return the array of x, or an empty one for a tracer: compiled or under vmap."""
    x = x.data if isinstance(x, Tensor) and current().trace is None else x
    return np.zeros(0) if hasattr(type(x), "__primitive__") else np.asarray(x)


def times(loss: str, losses: Any, weight: Any, name: str = "weight") -> Any:
    """Return losses multiplied by weights, if there are any."""
    if weight is None:
        return losses
    weight = operand(loss, weight, name, kinds=REAL)
    if not broadcasts(weight.shape, losses.shape):
        raise ValueError(f"{loss}: {name} must broadcast to shape {losses.shape}, got shape {weight.shape}")
    return losses * in_dtype_of(losses, weight)


def in_dtype_of(x: Any, weight: Any) -> Any:
    """Return weights in the dtype of x, so that a product with x keeps this dtype."""
    return weight if weight.dtype == x.dtype else weight.astype(x.dtype)


@of_several
def cross_entropy(
    logits: Any,
    labels: Any,
    reduction: Reduction = "mean",
    *,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Any:
    """Return the cross-entropy -log softmax(logits)[label], computed without overflow.

    Its gradient with respect to the logits is softmax(logits) - onehot(labels), divided
    by n for the mean.

    Parameters
    ----------
    logits : array_like of shape (n, classes), (classes,) or (n, classes, ...)
        Unnormalised log-probabilities: the inputs of a softmax. NaN makes the loss NaN.
    labels : array_like of int of shape (n,), () or (n, ...), or of float
        The class of each row, from 0; or, as floats of the shape of the logits, the
        probabilities of all classes.
    reduction : {"mean", "sum", "none"}
        Whether to return the mean, the sum or each of the rows' losses.
    weight : array_like of shape (classes,), optional
        A factor for each class; the mean becomes a weighted mean.
    ignore_index : int
        A label whose rows are ignored.
    label_smoothing : float
        The share of the probability, from 0 to 1, that is spread over all classes.

    Returns
    -------
    number or Tensor of shape (), or for "none" one number for each row

    Raises
    ------
    TypeError
        If the labels are neither integers nor probabilities, or the logits aren't
        floating-point numbers.
    ValueError
        If the shapes don't fit, a label isn't the number of a class, or a setting is
        out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> logits = np.array([[2.0, 0.0, 0.0], [0.0, 1000.0, 0.0]])
    >>> F.cross_entropy(logits, np.array([0, 1]), reduction="none").round(3)
    array([0.24, 0.  ])
    """
    # Skipped for the defaults: it takes a tenth of a small batch's time
    types = type(label_smoothing), type(ignore_index), type(reduction)
    if types != (float, int, str) or label_smoothing or ignore_index != -100:
        settings = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "reduction": reduction}
        check_settings("cross_entropy", **settings)
    logits = array_like(logits)
    labels = array_like(labels)
    weight = class_weights("cross_entropy", weight, logits)
    if labels.shape == logits.shape and labels.dtype.kind == "f" == logits.dtype.kind and logits.ndim:
        return of_probabilities(logits, labels, weight, label_smoothing, reduction)
    rows, labels, kept, shape = classified("cross_entropy", logits, labels, ignore_index)
    losses = softmax_cross_entropy(rows, labels, highest(rows))
    losses, count = weighed(losses, labels, kept, weight)
    if label_smoothing:
        log_p = log_softmax(rows) if weight is None else log_softmax(rows) * weight
        spread = np.sum(log_p, axis=1) if kept is None else np.where(kept, np.sum(log_p, axis=1), 0)
        losses = (1 - label_smoothing) * losses - (label_smoothing / rows.shape[1]) * spread
    return averaged("cross_entropy", losses, count, shape, reduction)


def of_probabilities(logits: Any, p: Any, weight: Any, label_smoothing: float, reduction: Reduction) -> Any:
    """Return the cross-entropy where the targets are probabilities of classes."""
    axis = min(logits.ndim - 1, 1)
    classes = logits.shape[axis]
    if label_smoothing:
        p = p * (1 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        p = p * np.reshape(weight, (classes, *(1,) * (logits.ndim - 1 - axis)))
    return reduced("cross_entropy", -np.sum(p * log_softmax(logits, axis), axis=axis), reduction)


def class_weights(loss: str, weight: Any, logits: Any) -> Any:
    """Return the weights of classes in the logits' dtype, or raise on a wrong shape."""
    if weight is None:
        return None
    weight = operand(loss, weight, "weight", kinds=REAL)
    if weight.shape != logits.shape[min(logits.ndim - 1, 1) :][:1]:
        raise ValueError(
            f"{loss}: weight must have one number for each class, got shape {weight.shape} for logits of shape "
            f"{logits.shape}"
        )
    return in_dtype_of(logits, weight)


def classified(loss: str, logits: Any, labels: Any, ignore_index: int) -> tuple[Any, Any, Any, tuple[int, ...]]:
    """Return the logits as rows, their labels, a mask, and the shape of the labels.

    The mask says which rows count; None means all. Ignored rows get the label 0.
    """
    if isinstance(labels, Tensor) and current().trace is None:
        labels = labels.data
    check_labels(loss, logits, labels)
    shape, classes = labels.shape, logits.shape[min(logits.ndim - 1, 1)]
    if logits.ndim != 2:
        logits = np.moveaxis(logits, 1, -1) if logits.ndim > 1 else logits
        logits, labels = np.reshape(logits, (labels.size, classes)), np.reshape(labels, (labels.size,))
    kept = None
    # Cast to unsigned, negative labels are huge: one comparison checks both ends
    if unknown := hasattr(type(labels), "__primitive__"):  # a tracer, whose values are unknown
        kept = None if ignore_index == -100 else labels != ignore_index
    elif 0 <= ignore_index < classes or (labels.size and np.maximum.reduce(labels.astype(np.uintp)) >= classes):
        kept = labels != ignore_index
    else:
        return logits, labels, None, shape
    labels = labels if kept is None else labels * kept
    advice = IGNORED if unknown else ""
    return logits, in_range(labels, loss, "labels", classes, advice), kept, shape


def weighed(losses: Any, labels: Any, kept: Any, weight: Any) -> tuple[Any, Any]:
    """Return losses times class weights, 0 for ignored rows, and a mean's divisor."""
    share = None if weight is None else looked_up(weight, labels, None)  # a tracer can't index a plain array
    losses = losses if share is None else losses * share
    if kept is None:
        return losses, losses.size if share is None else np.sum(share)
    share = np.where(kept, share, 0) if share is not None else kept
    return np.where(kept, losses, 0), np.sum(share, dtype=losses.dtype)


def averaged(loss: str, losses: Any, count: Any, shape: tuple[int, ...], reduction: Reduction) -> Any:
    """Return weighted losses as one number, or in the shape of the labels."""
    if reduction == "none" or shape == ():
        losses = np.reshape(losses, shape)
    is_plain = reduction != "mean" or isinstance(count, int)
    return reduced(loss, losses, reduction) if is_plain else np.sum(losses) / count


def check_labels(loss: str, logits: Any, labels: Any) -> None:
    """Raise unless the labels are integers, one for each row of logits."""
    if logits.dtype.kind != "f":
        raise TypeError(f"{loss}: logits must be floating-point numbers, got {logits.dtype}; convert them to float")
    if labels.dtype.kind not in "iu":
        other = f", or pass probabilities as floats of the shape of the logits, {logits.shape}"
        raise TypeError(
            f"{loss}: labels must be integers from 0, got {labels.dtype}; convert them with labels.astype(int)"
            f"{other if loss == 'cross_entropy' else ''}"
        )
    if not logits.ndim or labels.shape != logits.shape[:1] * (logits.ndim > 1) + logits.shape[2:]:
        advice = (
            "flatten the labels with labels.ravel(), and leading axes of the logits with logits.reshape(-1, classes)"
        )
        raise ValueError(
            f"{loss}: labels must have shape (n,) for logits (n, classes), or (n, ...) for (n, classes, ...), got "
            f"labels {labels.shape} and logits {logits.shape}; "
            f"{'make labels of one-hot rows with y.argmax(1)' if labels.shape == logits.shape else advice}"
        )


@of_several
def nll_loss(
    log_p: Any, labels: Any, reduction: Reduction = "mean", *, weight: Any = None, ignore_index: int = -100
) -> Any:
    """Return the negative log-likelihood -log_p[label].

    With log_p from `log_softmax`, it is the cross-entropy.

    Parameters
    ----------
    log_p : array_like of shape (n, classes), (classes,) or (n, classes, ...)
        Logarithms of probabilities.
    labels : array_like of int of shape (n,), () or (n, ...)
        The class of each row, from 0.
    reduction : {"mean", "sum", "none"}
    weight : array_like of shape (classes,), optional
        A factor for each class; the mean becomes a weighted mean.
    ignore_index : int
        A label whose rows are ignored.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of the labels

    Raises
    ------
    ValueError
        If the shapes don't fit, a label isn't the number of a class, or the reduction
        is unknown.
    TypeError
        If the labels aren't integers.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> float(F.nll_loss(np.log([[0.25, 0.75]]), np.array([1])).round(3))
    0.288
    """
    check_settings("nll_loss", ignore_index=ignore_index, reduction=reduction)
    log_p = array_like(log_p)
    labels = array_like(labels)
    weight = class_weights("nll_loss", weight, log_p)
    rows, labels, kept, shape = classified("nll_loss", log_p, labels, ignore_index)
    losses = -rows[numbered(labels), labels]
    losses, count = weighed(losses, labels, kept, weight)
    return averaged("nll_loss", losses, count, shape, reduction)


@of_several
def kl_div(log_q: Any, p: Any, reduction: KLReduction = "mean", *, log_target: bool = False) -> Any:
    """Return the Kullback-Leibler divergence, p (log(p) - log_q), or 0 where p is 0.

    Parameters
    ----------
    log_q : array_like
        Logarithms of the predicted probabilities.
    p : array_like of the shape of log_q
        The true probabilities, or their logarithms with `log_target`.
    reduction : {"mean", "sum", "none", "batchmean"}
        "batchmean" is the sum divided by the length of the first axis: the divergence
        itself.
    log_target : bool

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast, or a setting is out of
        range.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> log_q, p = np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]])
    >>> float(F.kl_div(log_q, p, "batchmean").round(3))
    0.693
    """
    check_alike("kl_div", log_q, p)
    check_settings("kl_div", reduction=reduction, log_target=log_target)
    log_q, p = array(log_q), array(p)
    if not log_target and np.any(seen(p) < 0):
        raise ValueError(
            f"kl_div: probabilities must not be negative, got {np.min(seen(p))} among them; if they are logarithms, "
            f"pass log_target=True"
        )
    losses = np.exp(p) * (p - log_q) if log_target else p * np.log(np.where(p == 0, 1, p)) - p * log_q
    if reduction == "batchmean":
        return np.sum(losses) / (losses.shape[0] if losses.ndim else 1)
    return reduced("kl_div", losses, reduction)


def signs(loss: str, y: Any, x: Any) -> Any:
    """Return targets in the dtype of x, or raise unless all are 1 or -1."""
    y = operand(loss, y, "the target", kinds=REAL)
    if np.any(wrong := np.abs(seen(y)) != 1):
        raise ValueError(f"{loss}: targets must be 1 or -1, got {seen(y)[wrong].flat[0]} among them")
    return in_dtype_of(x, y)


@of_several
def hinge_embedding_loss(x: Any, y: Any, reduction: Reduction = "mean", *, margin: float = 1.0) -> Any:
    """Return x where y is 1, and max(0, margin - x) where y is -1.

    Parameters
    ----------
    x : array_like
        Distances.
    y : array_like of the shape of x
        1 or -1.
    reduction : {"mean", "sum", "none"}
    margin : float

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast, or a setting is out of
        range.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.hinge_embedding_loss(np.array([0.2, 0.2]), np.array([1, -1]), "none")
    array([0.2, 0.8])
    """
    check_alike("hinge_embedding_loss", x, y)
    check_settings("hinge_embedding_loss", margin=margin)
    x = array(x)
    losses = np.where(signs("hinge_embedding_loss", y, x) == 1, x, np.clip(margin - x, 0, None))
    return reduced("hinge_embedding_loss", losses, reduction)


@of_several
def margin_ranking_loss(x1: Any, x2: Any, y: Any, reduction: Reduction = "mean", *, margin: float = 0.0) -> Any:
    """Return max(0, margin - y (x1 - x2)).

    x1 should be larger by the margin where y is 1, and x2 where y is -1.

    Parameters
    ----------
    x1, x2 : array_like of the same shape
    y : array_like of their shape
        1 or -1.
    reduction : {"mean", "sum", "none"}
    margin : float

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes differ, even where they would broadcast, or a setting is out of
        range.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> x1, x2 = np.array([3.0, 3.0]), np.array([1.0, 1.0])
    >>> F.margin_ranking_loss(x1, x2, np.array([1, -1]), "none")
    array([0., 2.])
    """
    check_alike("margin_ranking_loss", x1, x2)
    check_alike("margin_ranking_loss", x1, y)
    check_settings("margin_ranking_loss", margin=margin)
    lead = np.subtract(x1, x2)
    losses = np.clip(margin - signs("margin_ranking_loss", y, lead) * lead, 0, None)
    return reduced("margin_ranking_loss", losses, reduction)


@of_several
def cosine_similarity(x1: Any, x2: Any, axis: int = 1, eps: float = 1e-8) -> Any:
    """Return the cosine of the angle between vectors along an axis.

    It is x1 . x2 / (max(|x1|, eps) max(|x2|, eps)).

    Parameters
    ----------
    x1, x2 : array_like
        Of shapes that broadcast: one vector can be compared with many.
    axis : int
        An axis of the shape that both broadcast to.
    eps : float
        The least divisor.

    Returns
    -------
    array or Tensor of that shape without the axis

    Raises
    ------
    ValueError
        If the shapes don't broadcast, or lack the axis.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.cosine_similarity(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]]))
    array([0.96])
    """
    check_settings("cosine_similarity", eps=eps, axis=axis)
    x1, x2 = (floating("cosine_similarity", x, name) for x, name in ((x1, "x1"), (x2, "x2")))
    if x1.shape != x2.shape:
        try:
            shape = np.broadcast_shapes(x1.shape, x2.shape)
        except ValueError:
            raise ValueError(
                f"cosine_similarity: x1 and x2 must have shapes that broadcast, got {x1.shape} and {x2.shape}; an axis "
                f"of length 1 compares one vector with many"
            ) from None
        x1, x2 = np.broadcast_to(x1, shape), np.broadcast_to(x2, shape)
    x1, x2 = (along("cosine_similarity", x, axis) for x in (x1, x2))
    x1, x2 = (x / np.maximum(np.linalg.norm(x, axis=axis, keepdims=True), eps) for x in (x1, x2))
    return np.sum(x1 * x2, axis=axis)


@of_several
def cosine_embedding_loss(x1: Any, x2: Any, y: Any, reduction: Reduction = "mean", *, margin: float = 0.0) -> Any:
    """Return 1 - cos where y is 1, and max(0, cos - margin) where y is -1.

    cos is the cosine of the angle between x1 and x2.

    Parameters
    ----------
    x1, x2 : array_like of shape (n, features) or (features,)
    y : array_like of shape (n,) or ()
        1 or -1.
    reduction : {"mean", "sum", "none"}
    margin : float

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes don't fit, or y holds numbers other than 1 and -1.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> x1, x2, y = np.eye(2), np.ones((2, 2)), np.array([1, -1])
    >>> F.cosine_embedding_loss(x1, x2, y, "none").round(3)
    array([0.293, 0.707])
    """
    name = "cosine_embedding_loss"
    check_alike(name, x1, x2)
    check_settings(name, margin=margin)
    x1, x2 = array(x1), array(x2)
    y = signs(name, y, x1)
    if x1.ndim not in (1, 2) or y.shape != x1.shape[:-1]:
        raise ValueError(
            f"{name}: targets must have shape (n,) for vectors (n, features), got targets {y.shape} and vectors "
            f"{x1.shape}"
        )
    squares = [np.sum(x * x, axis=-1) + 1e-12 for x in (x1, x2)]
    cosine = np.sum(x1 * x2, axis=-1) / np.sqrt(squares[0] * squares[1])
    return reduced(name, np.where(y == 1, 1 - cosine, np.clip(cosine - margin, 0, None)), reduction)


@primitive
def lacking(x: Any, least: float) -> Any:
    """Return how far numbers are below `least`, as a plain array without gradients."""
    return np.maximum(least - x, 0)


plain([lacking])


@of_several
def gaussian_nll_loss(
    mean: Any, y: Any, var: Any, reduction: Reduction = "mean", *, full: bool = False, eps: float = 1e-6
) -> Any:
    """Return the negative log-likelihood of a normal distribution.

    It is (log(var) + (mean - y)^2 / var) / 2.

    Parameters
    ----------
    mean, y : array_like of the same shape
        Predicted means, and observations.
    var : float or array_like
        Predicted variances, of the shape of the means or with a last axis of length 1.
    reduction : {"mean", "sum", "none"}
    full : bool
        Whether to add the constant log(2 pi) / 2.
    eps : float
        The least variance. Smaller variances are raised to it, but get gradients as if
        they weren't.

    Returns
    -------
    number or Tensor of shape (), or for "none" of the shape of y

    Raises
    ------
    ValueError
        If the shapes don't fit, or a variance is negative.

    Notes
    -----
    Nix and Weigend (1994), "Estimating the mean and variance of the target probability
    distribution".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> float(F.gaussian_nll_loss(np.zeros(2), np.array([1.0, 3.0]), np.ones(2)))
    2.5
    """
    name = "gaussian_nll_loss"
    check_alike(name, mean, y)
    check_settings(name, full=full, eps=eps)
    error = np.subtract(mean, y)
    var = floating(name, var, "var")
    if var.shape == error.shape[:-1] and var.ndim:
        var = var[..., None]
    if var.ndim and var.shape not in (error.shape, (*error.shape[:-1], 1)):
        raise ValueError(f"{name}: var must have shape {error.shape} or {(*error.shape[:-1], 1)}, got {var.shape}")
    if np.any(seen(var) < 0):
        raise ValueError(f"{name}: variances must not be negative, got {np.min(seen(var))}")
    var = var + lacking(var, eps)
    losses = 0.5 * (np.log(var) + error * error / var)
    return reduced(name, losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


class Loss(Calls):
    """The base class of losses that take predictions and observations."""

    if TYPE_CHECKING:

        def forward(self, y_pred: Any, y: Any) -> Tensor | Any:
            """Return the loss."""


class SSELoss(Loss, function=sse_loss):
    """The sum of squared errors; see `functional.sse_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.SSELoss()(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    4.0
    """

    reduction: Reduction = "sum"


class MSELoss(Loss, function=mse_loss):
    """The mean squared error; see `functional.mse_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.MSELoss()(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """

    reduction: Reduction = "mean"


class L1Loss(Loss, function=l1_loss):
    """The mean absolute error; see `functional.l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.L1Loss()(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    1.0
    """

    reduction: Reduction = "mean"


class HuberLoss(Loss, function=huber_loss):
    """Half the squared error, or a line beyond delta; see `functional.huber_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    delta : float

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.HuberLoss()(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    0.75
    """

    reduction: Reduction = "mean"
    delta: float = 1.0


class SmoothL1Loss(Loss, function=smooth_l1_loss):
    """The absolute error without the kink; see `functional.smooth_l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    beta : float

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.SmoothL1Loss(beta=0.5)(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    0.875
    """

    reduction: Reduction = "mean"
    beta: float = 1.0


class BCELoss(Loss, function=binary_cross_entropy):
    """Two classes' cross-entropy; see `functional.binary_cross_entropy`.

    Parameters
    ----------
    weight : array_like, optional
        Kept as a buffer of this name.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.BCELoss()(np.array([0.5]), np.array([1.0])).round(3))
    0.693
    """

    weight: Any = None
    reduction: Reduction = "mean"


class BCEWithLogitsLoss(Loss, function=binary_cross_entropy_with_logits):
    """Two classes' cross-entropy; see `functional.binary_cross_entropy_with_logits`.

    Parameters
    ----------
    weight : array_like, optional
        Kept as a buffer of this name.
    reduction : {"mean", "sum", "none"}
    pos_weight : array_like, optional
        Kept as a buffer of this name.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.BCEWithLogitsLoss()(np.array([0.0]), np.array([1.0])).round(3))
    0.693
    """

    weight: Any = None
    reduction: Reduction = "mean"
    pos_weight: Any = None


class CrossEntropyLoss(Loss, function=cross_entropy):
    """The cross-entropy of logits and labels; see `functional.cross_entropy`.

    Parameters
    ----------
    weight : array_like, optional
        Kept as a buffer of this name.
    ignore_index : int
    reduction : {"mean", "sum", "none"}
    label_smoothing : float

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> loss = nn.CrossEntropyLoss()(np.zeros((4, 10)), np.arange(4))
    >>> round(float(loss), 3)  # log(10)
    2.303
    """

    weight: Any = None
    ignore_index: int = -100
    reduction: Reduction = "mean"
    label_smoothing: float = 0.0


class NLLLoss(Loss, function=nll_loss):
    """The negative log-likelihood of labels; see `functional.nll_loss`.

    Parameters
    ----------
    weight : array_like, optional
        Kept as a buffer of this name.
    ignore_index : int
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.NLLLoss()(np.log([[0.5, 0.5]]), np.array([1])).round(3))
    0.693
    """

    weight: Any = None
    ignore_index: int = -100
    reduction: Reduction = "mean"


class KLDivLoss(Loss, function=kl_div):
    """The Kullback-Leibler divergence; see `functional.kl_div`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none", "batchmean"}
    log_target : bool

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> loss = nn.KLDivLoss("batchmean")
    >>> float(loss(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]])).round(3))
    0.693
    """

    reduction: KLReduction = "mean"
    log_target: bool = False


class HingeEmbeddingLoss(Loss, function=hinge_embedding_loss):
    """Distances, to be small or beyond a margin; see `functional.hinge_embedding_loss`.

    Parameters
    ----------
    margin : float
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.HingeEmbeddingLoss()(np.array([0.25, 0.25]), np.array([1, -1])))
    0.5
    """

    margin: float = 1.0
    reduction: Reduction = "mean"


class MarginRankingLoss(Calls, function=margin_ranking_loss):
    """A loss for wrong orders of two numbers; see `functional.margin_ranking_loss`.

    Parameters
    ----------
    margin : float
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.MarginRankingLoss()(np.array([1.0]), np.array([3.0]), np.array([1])))
    2.0
    """

    margin: float = 0.0
    reduction: Reduction = "mean"


class CosineEmbeddingLoss(Calls, function=cosine_embedding_loss):
    """A loss for the angle of vectors; see `functional.cosine_embedding_loss`.

    Parameters
    ----------
    margin : float
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> x = np.ones((1, 2))
    >>> float(nn.CosineEmbeddingLoss()(x, x, np.array([-1])).round(3))
    1.0
    """

    margin: float = 0.0
    reduction: Reduction = "mean"


class GaussianNLLLoss(Calls, function=gaussian_nll_loss):
    """Normal negative log-likelihood; see `functional.gaussian_nll_loss`.

    Parameters
    ----------
    full : bool
    eps : float
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.GaussianNLLLoss()(np.zeros(2), np.array([1.0, 3.0]), np.ones(2)))
    2.5
    """

    full: bool = False
    eps: float = 1e-6
    reduction: Reduction = "mean"
