"""The affine map, and the layer that has its weights.

Owns: `linear` with its rules; `Linear`, `Identity`.
Must not own: the order of layers (`containers.py`).
Read next: `activations.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from microgradnd.failures import explained
from microgradnd.nn.arguments import X, of_several, operand, rows, summed
from microgradnd.nn.init import generator
from microgradnd.nn.module import Module, Parameter
from microgradnd.operators import NO_KEYWORDS
from microgradnd.registry import defjvp, defvjp, name_of, primitive
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


class Linear(Module):
    """The affine map x W' + b.

    Parameters
    ----------
    in_features, out_features : int
        The lengths of the last axes of input and output.
    bias : bool
        Whether there is a b.
    dtype : dtype
        Of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        For the initial values, which are uniform on +-1/sqrt(in_features), as in PyTorch; fresh entropy without one.

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

    weight: Tensor
    bias: Tensor | None

    @explained
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = np.float64,
        rng: np.random.Generator | None = None,
    ) -> None:
        for name, number in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(number, int | np.integer) or number < 1:
                raise ValueError(f"Linear: {name} must be a positive integer, got {number!r}")
        rng = generator(rng)
        self.in_features = in_features
        self.out_features = out_features
        bound = 1 / math.sqrt(in_features)
        self.weight = Parameter(rng.uniform(-bound, bound, (out_features, in_features)), dtype)
        self.bias = Parameter(rng.uniform(-bound, bound, out_features), dtype) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return x W' + b, for x of shape (..., in_features)."""
        weight = self.weight
        if type(weight) is Tensor:  # as linear does, once it has looked for a Tensor among its arguments
            return apply(linear, (x, weight, self.bias), NO_KEYWORDS)
        return linear(x, weight, self.bias)

    def extra_repr(self) -> str:
        """Return the numbers of features."""
        return f"{self.in_features}, {self.out_features}"


class Identity(Module):
    """x itself: a layer that does nothing, where one is expected.

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


# doctest takes a decorated function for a foreign one, so it is told of it
__test__ = {name_of(f): f for f in (linear,)}
