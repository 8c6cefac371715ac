"""Embedding: a learned vector for each symbol.

Owns: `embedding` with its rules, and the layer.
Must not own: adding the gradients of rows that are picked several times
(`../primitives.py`).
Read next: `linear.py`.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from microgradnd.anew import Rng
from microgradnd.nn.arguments import in_range, of_several, operand
from microgradnd.nn.calls import checked
from microgradnd.nn.init import generator
from microgradnd.nn.module import Module, Parameter
from microgradnd.primitives import scatter
from microgradnd.registry import defjvp, defvjp, primitive
from microgradnd.tensor import Tensor


@primitive
def looked_up(weight: Any, indices: Any, padding_idx: int | None) -> Any:
    """Return the rows of a weight at certain indices, without checks."""
    return weight[indices]


def unpadded(g: Any, indices: Any, padding_idx: int | None) -> Any:
    """Return cotangents or tangents of rows, with 0 for padding."""
    return g if padding_idx is None else g * (indices != padding_idx).astype(g.dtype)[..., None]


defvjp(
    looked_up,
    lambda g, out, weight, indices, padding_idx: scatter(unpadded(g, indices, padding_idx), indices, weight.shape),
)
defjvp(looked_up, lambda t, out, weight, indices, padding_idx: unpadded(t[indices], indices, padding_idx))


@of_several
def embedding(indices: Any, weight: Any, padding_idx: int | None = None) -> Any:
    """Return the row of a weight for each index.

    Parameters
    ----------
    indices : array_like of int
        Of any shape, from 0.
    weight : array_like of shape (num_embeddings, embedding_dim)
    padding_idx : int, optional
        The index whose row gets no gradient; a negative one counts from the end.

    Returns
    -------
    array or Tensor of shape (*indices.shape, embedding_dim)

    Raises
    ------
    TypeError
        If the indices aren't integers.
    ValueError
        If an index has no row, or the weight isn't a matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.embedding(np.array([1, 0, 1]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[3., 4.],
           [1., 2.],
           [3., 4.]])
    """
    weight = operand("embedding", weight, "weight")
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must have shape (num_embeddings, embedding_dim), got {weight.shape}")
    indices = operand("embedding", indices, "the indices")
    if indices.dtype.kind not in "iu" and indices.size:
        raise TypeError(f"embedding: indices must be integers, got {indices.dtype}; convert them with .astype(int)")
    indices = in_range(indices if indices.size else indices.astype(int), "embedding", "indices", len(weight))
    return looked_up(weight, indices, padding_of("embedding", padding_idx, len(weight)))


def padding_of(function: str, padding_idx: Any, n: int) -> int | None:
    """Return the index of padding, counted from 0, or raise if there is no such row."""
    if padding_idx is None:
        return None
    if not isinstance(padding_idx, int | np.integer) or not -n <= padding_idx < n:
        raise ValueError(f"{function}: padding_idx must be an integer from {-n} to {n - 1}, got {padding_idx!r}")
    return operator.index(padding_idx) % n


class Embedding(Module):
    """A learned vector for each symbol; see `functional.embedding`.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        The number of symbols, and the length of their vectors.
    padding_idx : int, optional
        The symbol whose vector starts as zeros and gets no gradient; a negative one
        counts from the end.
    dtype : dtype
        The dtype of the vectors, by default float64.
    rng : numpy.random.Generator, optional
        The generator for initial values, by default a new one with fresh entropy. They
        are standard normal, as in PyTorch.

    Attributes
    ----------
    weight : Tensor of shape (num_embeddings, embedding_dim)

    Raises
    ------
    ValueError
        If a size isn't a positive integer, or padding_idx is no symbol.
    TypeError
        If `rng` isn't a Generator.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.Embedding(10, 3, padding_idx=0)
    >>> layer
    Embedding(10, 3, padding_idx=0, weight=(10, 3))  # 30 parameters
    >>> layer(np.array([[1, 2, 0], [4, 0, 0]])).shape
    (2, 3, 3)
    """

    weight: Tensor

    @checked
    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_of("Embedding", padding_idx, num_embeddings)
        start = generator(rng).normal(size=(num_embeddings, embedding_dim))
        if self.padding_idx is not None:
            start[self.padding_idx] = 0
        self.weight = Parameter(start, dtype)

    def forward(self, indices: Any) -> Tensor:
        """Return the vector of each index."""
        return embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the sizes."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
