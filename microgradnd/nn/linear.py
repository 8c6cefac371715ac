"""The affine map and its layer; the bilinear map and its layer.

Owns: `linear` with its rules, `bilinear`; `Linear`, `Bilinear`, `Identity`.
Must not own: the order of layers (`containers.py`).
Read next: `activations.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import DTypeLike

from microgradnd.anew import Rng
from microgradnd.contraction import on_rows
from microgradnd.nn.arguments import X, of_several, operand, rows, summed
from microgradnd.nn.calls import checked
from microgradnd.nn.init import generator
from microgradnd.nn.module import Module, Parameter
from microgradnd.operators import NO_KEYWORDS
from microgradnd.registry import defjvp, defvjp, primitive
from microgradnd.tensor import Tensor, apply


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
    if (
        type(x) is type(weight) is type(bias) is ndarray
        and (dtype := x.dtype) is weight.dtype is bias.dtype
        and dtype.kind == "f"
        and x.ndim == weight.ndim == 2
        and x.shape[1] == weight.shape[1]
        and bias.shape == weight.shape[:1]
    ):  # the usual call; a small training step makes several
        out = x.dot(weight.T)
        return np.add(out, bias, out)  # another array would take a tenth of the time of a small layer
    if not (type(x) is type(weight) is ndarray and x.dtype.kind == weight.dtype.kind == "f"):
        x, weight = operand("linear", x), operand("linear", weight, "weight")
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: x must have shape (..., in_features) and weight (out_features, in_features), got {x.shape} and "
            f"{weight.shape}; the last axes must have equal lengths"
        )
    if bias is None:
        return on_rows(x, weight.T)
    if type(bias) is not ndarray or bias.dtype.kind != "f":
        bias = operand("linear", bias, "bias")
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear: bias must have shape {weight.shape[:1]} for weight of shape {weight.shape}, got {bias.shape}"
        )
    return on_rows(x, weight.T) + bias


defvjp(
    linear,
    lambda g, out, x, weight, bias=None: on_rows(g, weight),
    lambda g, out, x, weight, bias=None: on_rows(rows(g).T, rows(x)),
    lambda g, out, x, weight, bias=None: summed(g if g.ndim == 2 else rows(g), axis=0),
)
defjvp(
    linear,
    lambda t, out, x, weight, bias=None: on_rows(t, weight.T),
    lambda t, out, x, weight, bias=None: on_rows(x, t.T),
    lambda t, out, x, weight, bias=None: t,
)


class Linear(Module):
    """The affine map x W' + b.

    Parameters
    ----------
    in_features, out_features : int
        The lengths of the last axes of input and output.
    bias : bool
        Whether to add b.
    dtype : dtype
        The dtype of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        The generator for initial values, by default a new one with fresh entropy. They
        are uniform on +-1/sqrt(in_features), as in PyTorch.

    Attributes
    ----------
    weight : Tensor of shape (out_features, in_features)
    bias : Tensor of shape (out_features,), or None

    Raises
    ------
    ValueError
        If a number of features isn't a positive integer.
    TypeError
        If `rng` isn't a Generator.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
    >>> layer
    Linear(3, 2, weight=(2, 3), bias=(2,))  # 8 parameters
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    _shown = "{in_features}, {out_features}"
    weight: Tensor
    bias: Tensor | None

    @checked
    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: DTypeLike = np.float64, rng: Rng = None
    ) -> None:
        rng = generator(rng)
        self.in_features = in_features
        self.out_features = out_features
        bound = 1 / math.sqrt(in_features)
        self.weight = Parameter(rng.uniform(-bound, bound, (out_features, in_features)), dtype)
        self.bias = Parameter(rng.uniform(-bound, bound, out_features), dtype) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return x W' + b, for x of shape (..., in_features)."""
        weight = self.weight
        if type(weight) is Tensor:  # skips the search for a Tensor in linear
            return apply(linear, (x, weight, self.bias), NO_KEYWORDS)
        return linear(x, weight, self.bias)


@of_several
def bilinear(x1: Any, x2: Any, weight: Any, bias: Any = None) -> Any:
    """Return x1' W x2 + b over the last axes, for each matrix W of a stack.

    Parameters
    ----------
    x1 : array_like of shape (..., in1_features)
    x2 : array_like of shape (..., in2_features)
    weight : array_like of shape (out_features, in1_features, in2_features)
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
    >>> F.bilinear(np.array([[1.0, 2.0]]), np.array([[3.0]]), np.ones((1, 2, 1)))
    array([[9.]])
    """
    x1, x2, weight = (operand("bilinear", *named) for named in ((x1, "x1"), (x2, "x2"), (weight, "weight")))
    batch = x1.shape[:-1]
    if weight.ndim != 3 or not x1.ndim or (x1.shape, x2.shape) != tuple((*batch, n) for n in weight.shape[1:]):
        raise ValueError(
            f"bilinear: x1 must have shape (..., in1_features), x2 (..., in2_features) and weight (out_features, "
            f"in1_features, in2_features), got {x1.shape}, {x2.shape} and {weight.shape}"
        )
    if bias is not None and np.shape(bias) != weight.shape[:1]:
        raise ValueError(
            f"bilinear: bias must have shape {weight.shape[:1]}, one number for each output, got {np.shape(bias)}"
        )
    n_out, n_in, n_other = weight.shape
    by_x1 = np.dot(rows(x1), np.reshape(np.transpose(weight, (1, 0, 2)), (n_in, n_out * n_other)))
    by_both = np.matmul(np.reshape(by_x1, (-1, n_out, n_other)), rows(x2)[:, :, None])
    out = np.reshape(by_both, (*batch, n_out))
    return out if bias is None else out + bias


class Bilinear(Module):
    """The map x1' W x2 + b, with a matrix W for each output; see `functional.bilinear`.

    Parameters
    ----------
    in1_features, in2_features, out_features : int
        The lengths of the last axes of both inputs and of the output.
    bias : bool
        Whether to add b.
    dtype : dtype
        The dtype of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        The generator for initial values, by default a new one with fresh entropy. They
        are uniform on +-1/sqrt(in1_features), as in PyTorch.

    Attributes
    ----------
    weight : Tensor of shape (out_features, in1_features, in2_features)
    bias : Tensor of shape (out_features,), or None

    Raises
    ------
    ValueError
        If a number of features isn't a positive integer.
    TypeError
        If `rng` isn't a Generator.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Bilinear(3, 2, 4)(np.ones((5, 3)), np.ones((5, 2))).shape
    (5, 4)
    """

    _shown = "{in1_features}, {in2_features}, {out_features}"
    weight: Tensor
    bias: Tensor | None

    @checked
    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        rng = generator(rng)
        bound = 1 / math.sqrt(in1_features)
        self.weight = Parameter(rng.uniform(-bound, bound, (out_features, in1_features, in2_features)), dtype)
        self.bias = Parameter(rng.uniform(-bound, bound, out_features), dtype) if bias else None

    def forward(self, x1: Any, x2: Any) -> Tensor:
        """Return x1' W x2 + b for (..., in1_features) and (..., in2_features)."""
        return bilinear(x1, x2, self.weight, self.bias)


class Identity(Module):
    """A layer that returns its input, for use where a layer is expected.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Identity()(np.array([0.0, 1.0]))
    array([0., 1.])
    """

    def forward(self, x: X) -> X:
        """Return x."""
        return x
