"""Losses: how far predictions are from what was observed.

Owns: the functions with their rules, and the modules that call them.
Must not own: activations (`activations.py`).
Read next: `../optim/optimizer.py`.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from microgradnd import primitives
from microgradnd.failures import explained
from microgradnd.nn.activations import largest, total
from microgradnd.nn.arguments import is_half, like, of_several, operand, summed
from microgradnd.nn.module import Module
from microgradnd.registry import defjvp, defvjp, name_of, plain, primitive
from microgradnd.tape import current
from microgradnd.tensor import Tensor

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS = ("mean", "sum", "none")


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


class SSELoss(Module):
    """The sum of squared errors; see `functional.sse_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.SSELoss()(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    4.0
    """

    def forward(self, y_pred: Any, y: Any) -> Tensor | Any:
        """Return sum((y_pred - y)^2)."""
        return sse_loss(y_pred, y)


class Reduced(Module):
    """What the losses with a reduction share: the setting."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        if not isinstance(reduction, str):
            kind = type(self).__name__
            raise TypeError(
                f"{kind}: reduction must be 'mean', 'sum' or 'none', got {type(reduction).__name__}; make the loss "
                f"first, then call it: nn.{kind}()(prediction, target)"
            )
        check_reduction(type(self).__name__, reduction)
        self.reduction = reduction

    def extra_repr(self) -> str:
        """Return the reduction."""
        return f"reduction={self.reduction!r}"


class MSELoss(Reduced):
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

    def forward(self, y_pred: Any, y: Any) -> Tensor | Any:
        """Return mean((y_pred - y)^2)."""
        return mse_loss(y_pred, y, self.reduction)


class CrossEntropyLoss(Reduced):
    """The cross-entropy of integer labels; see `functional.cross_entropy`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> round(float(nn.CrossEntropyLoss()(np.zeros((4, 10)), np.arange(4))), 3)  # log(10)
    2.303
    """

    def forward(self, logits: Any, labels: Any) -> Tensor | Any:
        """Return mean(-log softmax(logits)[label])."""
        return cross_entropy(logits, labels, self.reduction)


# doctest takes a decorated function for a foreign one, so it is told of it
__test__ = {name_of(f): f for f in (sse_loss,)}
