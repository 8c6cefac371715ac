"""Attention: each position of a sequence takes a weighted mean over other positions.

Owns: `scaled_dot_product_attention` with its rules; `MultiheadAttention`,
`TransformerEncoderLayer`.
Must not own: normalisation (`normalization.py`), or the affine maps (`linear.py`).
Read next: `embedding.py`.

Attention is one operation: the (queries, keys) matrix of weights doesn't stay on the
tape. The rule computes the weights again, which is cheaper than storing them.

Masks come in PyTorch's three forms. Internally, a mask is added to the scores: 0 where
a query sees a key, minus infinity where it doesn't. A query that sees no key at all
gets zeros, and no gradient, where a softmax would give NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from microgradnd.anew import Rng
from microgradnd.nn import init
from microgradnd.nn.activations import gelu, largest, product_total, relu, total
from microgradnd.nn.arguments import broadcasts, of_several, operand, transposed
from microgradnd.nn.calls import check_settings, checked
from microgradnd.nn.dropout import Dropout, dropout
from microgradnd.nn.linear import Linear, linear
from microgradnd.nn.module import Module, Parameter
from microgradnd.nn.normalization import LayerNorm
from microgradnd.registry import JVPS, VJPS, Joint, primitive
from microgradnd.rules.matrices import mT
from microgradnd.settings import number
from microgradnd.tensor import Tensor

ACTIVATIONS = {"relu": relu, "gelu": gelu}


@primitive
def attention_weights(query: Any, key: Any, mask: Any, scale: float) -> Any:
    """Return softmax(scale query key' + mask), or zeros where no key is visible."""
    scores = np.matmul(query * scale, mT(key))
    if mask is not None:
        scores += mask
    scores -= np.maximum(
        largest(scores, -1), np.finfo(scores.dtype).min
    )  # at least the minimum, since -inf - -inf is NaN
    e = np.exp(scores)
    sums = total(e, -1)
    e /= sums + (sums == 0)
    return e


def scores_cotangents(of_scores: Any, query: Any, key: Any, scale: float) -> tuple[Any, Any, Any]:
    """Return the cotangents of query, key and mask from that of the scores."""
    return np.matmul(of_scores, key) * scale, np.matmul(mT(of_scores), query) * scale, of_scores


def weights_cotangents(g: Any, out: Any, query: Any, key: Any, mask: Any, scale: float) -> Any:
    return *scores_cotangents(out * (g - product_total(g, out, -1)), query, key, scale), None


@primitive
def attention(query: Any, key: Any, value: Any, mask: Any, kept: Any, scale: float) -> Any:
    """Return weights @ value; dropout multiplies the weights by `kept`, unless None."""
    weights = attention_weights(query, key, mask, scale)
    return np.matmul(weights if kept is None else weights * kept, value)


def attention_cotangents(g: Any, out: Any, query: Any, key: Any, value: Any, mask: Any, kept: Any, scale: float) -> Any:
    weights = attention_weights(query, key, mask, scale)
    used, of_weights = weights, np.matmul(g, mT(value))
    if kept is not None:
        used, of_weights = weights * kept, of_weights * kept
    # The sum of weights * of_weights over the keys equals the sum of out * g over the
    # features, which are fewer
    of_query, of_key, of_mask = scores_cotangents(weights * (of_weights - product_total(out, g, -1)), query, key, scale)
    return of_query, of_key, np.matmul(mT(used), g), of_mask, None, None


for function, rule in ((attention_weights, weights_cotangents), (attention, attention_cotangents)):
    VJPS[function], JVPS[function] = Joint(rule), Joint(transposed(rule))


@functools.lru_cache(maxsize=64)
def causal_mask(queries: int, keys: int, dtype: np.dtype[Any]) -> Any:
    """Return the mask that lets a query see the keys up to its own position."""
    mask = np.where(np.tri(queries, keys, dtype=bool), 0, -np.inf).astype(dtype)
    mask.flags.writeable = False
    return mask


def added_mask(
    function: str, name: str, mask: Any, shape: tuple[int, ...], dtype: Any, *, shows: bool, may_broadcast: bool = False
) -> Any:
    """Return a mask in the form that is added to the scores, or raise.

    `shows` says whether True lets a query see a key, or hides the key.
    """
    mask = operand(function, mask, name)
    if mask.dtype.kind not in "bf":
        raise TypeError(f"{function}: {name} must be boolean or floating-point, got {mask.dtype}; pass mask != 0")
    if mask.shape != shape and not (may_broadcast and broadcasts(mask.shape, shape)):
        form = "broadcast to" if may_broadcast else "have"
        raise ValueError(f"{function}: {name} must {form} shape {shape}, got {mask.shape}")
    if mask.dtype.kind == "f":
        return mask
    zero, infinity = dtype.type(0), dtype.type(-np.inf)
    return np.where(mask, zero, infinity) if shows else np.where(mask, infinity, zero)


@of_several
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    *,
    rng: Rng = None,
) -> Any:
    """Return softmax(scale query key' + mask) value: a weighted mean for each query.

    Parameters
    ----------
    query : array_like of shape (..., queries, features)
    key : array_like of shape (..., keys, features)
    value : array_like of shape (..., keys, outputs)
        The leading axes broadcast.
    attn_mask : array_like that broadcasts to (..., queries, keys), optional
        Booleans, true where a query sees a key; or numbers to add to the scores.
    dropout_p : float
        The probability with which a weight is set to 0. A layer passes 0 in evaluation.
    is_causal : bool
        Whether the i-th query sees only the first i keys. With `attn_mask`, both apply.
    scale : float, optional
        The factor of the scores, by default 1/sqrt(features).
    rng : numpy.random.Generator, optional
        The generator for dropout; by default a new one with fresh entropy.

    Returns
    -------
    array or Tensor of shape (..., queries, outputs)
        Zeros for a query that sees no key, and its gradients are zeros too.

    Raises
    ------
    ValueError
        If the shapes don't fit, or `dropout_p` isn't a probability.
    TypeError
        If the mask is neither boolean nor floating-point.

    See Also
    --------
    microgradnd.nn.MultiheadAttention : the layer.

    Notes
    -----
    Vaswani et al. (2017), "Attention is all you need". The backward pass computes the
    weights again, so they take up no memory before it.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> x = np.array([[0.0, 1.0], [2.0, 0.0]])
    >>> F.scaled_dot_product_attention(x, x, x, is_causal=True).round(2)
    array([[0.  , 1.  ],
           [1.89, 0.06]])
    """
    name = "scaled_dot_product_attention"
    check_settings(name, dropout_p=dropout_p, is_causal=is_causal)
    query, key, value = (
        operand(name, x, what, "biuf") for x, what in ((query, "query"), (key, "key"), (value, "value"))
    )
    a, b, c = query.shape, key.shape, value.shape
    try:
        if min(len(a), len(b), len(c)) < 2 or a[-1] != b[-1] or b[-2] != c[-2]:
            raise ValueError
        # Equal lengths stay open if compiled; np.broadcast_shapes needs numbers
        stack = a[:-2] if a[:-2] == b[:-2] == c[:-2] else np.broadcast_shapes(a[:-2], b[:-2], c[:-2])
        shape = (*stack, a[-2], b[-2])
    except ValueError:
        raise ValueError(
            f"{name}: query, key and value must have shapes (..., queries, features), (..., keys, features) and "
            f"(..., keys, outputs), got {a}, {b} and {c}"
        ) from None
    dtype = np.result_type(query.dtype, key.dtype, np.float16)
    mask = causal_mask(*shape[-2:], dtype) if is_causal else None
    if attn_mask is not None:
        given = added_mask(name, "attn_mask", attn_mask, shape, dtype, shows=True, may_broadcast=True)
        mask = given if mask is None else mask + given
    kept = dropout(np.ones(shape, dtype), dropout_p, rng=rng) if dropout_p else None
    scale = 1 / math.sqrt(max(a[-1], 1)) if scale is None else number(f"{name}: scale", scale)
    return attention(query, key, value, mask, kept, scale)


class MultiheadAttention(Module):
    """Attention in several parallel heads.

    Each head has its own projections to embed_dim / num_heads features.

    Parameters
    ----------
    embed_dim, num_heads : int
        The number of features, and the number of heads that share them.
    dropout : float
        The probability with which a weight is set to 0 in training.
    bias : bool
        Whether the projections have a bias.
    kdim, vdim : int, optional
        The numbers of features of keys and values, by default embed_dim.
    batch_first : bool
        Whether input and output have the shape (batch, positions, features) rather than
        (positions, batch, features).
    dtype : dtype
        The dtype of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        The generator for initial values, distributed as in PyTorch, and for dropout.

    Attributes
    ----------
    in_proj_weight : Tensor of shape (3 embed_dim, embed_dim), or None
        The projections of query, key and value. With another `kdim` or `vdim` they are
        separate: `q_proj_weight`, `k_proj_weight` and `v_proj_weight`.
    in_proj_bias : Tensor of shape (3 embed_dim,), or None
    out_proj : Linear

    Raises
    ------
    ValueError
        If a size isn't a positive integer, or the heads don't divide the features.

    See Also
    --------
    microgradnd.nn.functional.scaled_dot_product_attention : the function.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = np.ones((3, 5, 8))
    >>> output, weights = layer(x, x, x, is_causal=True)
    >>> output.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    >>> weights.data[0, 1].round(2)
    array([0.5, 0.5, 0. , 0. , 0. ])
    """

    _shown = "{embed_dim}, {num_heads}"
    in_proj_weight: Tensor | None
    in_proj_bias: Tensor | None
    q_proj_weight: Tensor | None
    k_proj_weight: Tensor | None
    v_proj_weight: Tensor | None

    @checked
    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        kdim, vdim = (embed_dim if size is None else size for size in (kdim, vdim))
        if embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: embed_dim must be a multiple of num_heads, got {embed_dim} and {num_heads}"
            )
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.rng = rng = init.generator(rng)
        self.head_dim = embed_dim // num_heads
        is_packed = kdim == vdim == embed_dim
        for name, shape in {
            "in_proj_weight": (3 * embed_dim, embed_dim),
            "q_proj_weight": (embed_dim, embed_dim),
            "k_proj_weight": (embed_dim, kdim),
            "v_proj_weight": (embed_dim, vdim),
        }.items():
            is_used = is_packed == (name == "in_proj_weight")
            setattr(self, name, init.xavier_uniform_(Parameter(np.zeros(shape), dtype), rng=rng) if is_used else None)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim), dtype) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype, rng=rng)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """Return the projected results of all heads, and the weights.

        Parameters
        ----------
        query : array_like of shape (queries, batch, embed_dim)
            With `batch_first`, (batch, queries, embed_dim). A single sequence has no
            batch axis.
        key : array_like of shape (keys, batch, kdim)
        value : array_like of shape (keys, batch, vdim)
        key_padding_mask : array_like of shape (batch, keys), optional
            Booleans, true where a key is padding, which no query may see; or numbers to
            add to the scores.
        need_weights : bool
            Whether to return the weights. Without them, None is returned instead, which
            saves memory and time.
        attn_mask : array_like, optional
            Of shape (queries, keys) or (batch * num_heads, queries, keys): booleans,
            true where a query may *not* see a key, as in PyTorch; or numbers to add to
            the scores.
        average_attn_weights : bool
            Whether to return the mean of the weights over the heads, or the weights of
            each head.
        is_causal : bool
            Whether the i-th query sees only the first i keys; `attn_mask` may hide
            more.

        Returns
        -------
        output : Tensor of the shape of the query
            A query that sees no key gets the bias of `out_proj` alone.
        weights : Tensor of shape (batch, queries, keys), or None
            With an axis for the heads after the batch, if they aren't averaged.

        Raises
        ------
        ValueError
            If the shapes don't fit.
        TypeError
            If a mask is neither boolean nor floating-point.
        """
        name = "MultiheadAttention"
        given = [operand(name, x, what, "biuf") for x, what in ((query, "query"), (key, "key"), (value, "value"))]
        is_single, is_swapped = given[0].ndim == 2, not self.batch_first
        inputs = [x[None] if is_single else x.swapaxes(0, 1) if is_swapped and x.ndim == 3 else x for x in given]
        weights, biases = self._projections()
        sizes, (q, k, v) = [weight.shape[1] for weight in weights], [x.shape for x in inputs]
        if {len(q), len(k), len(v)} != {3} or (q, k, v) != tuple(
            (q[0], a[1], n) for a, n in zip((q, k, k), sizes, strict=True)
        ):
            axes = "(batch, positions, features)" if self.batch_first else "(positions, batch, features)"
            raise ValueError(
                f"{name}: query, key and value must have shape {axes} with {sizes[0]}, {sizes[1]} and {sizes[2]} "
                f"features and equal batch sizes, key and value with equal positions, got {given[0].shape}, "
                f"{given[1].shape} and {given[2].shape}"
            )
        n, queries, keys = q[0], q[1], k[1]
        query, key, value = (
            linear(x, weight, bias).reshape((n, x.shape[1], self.num_heads, self.head_dim)).swapaxes(1, 2)
            for x, weight, bias in zip(inputs, weights, biases, strict=True)
        )
        dtype, n_heads = query.dtype, self.num_heads
        masks = [causal_mask(queries, keys, dtype)] if is_causal else []
        if attn_mask is not None:
            of_heads = np.ndim(attn_mask) == 3
            needed = (n * n_heads, queries, keys) if of_heads else (queries, keys)
            mask = added_mask(name, "attn_mask", attn_mask, needed, dtype, shows=False)
            masks.append(mask.reshape((n, n_heads, queries, keys)) if of_heads else mask)
        if key_padding_mask is not None:
            by_key = (keys,) if is_single else (n, keys)
            mask = added_mask(name, "key_padding_mask", key_padding_mask, by_key, dtype, shows=False)
            masks.append(mask.reshape((n, 1, 1, keys)))
        mask = functools.reduce(np.add, masks) if masks else None
        p, seen = self.dropout if self.training else 0.0, None
        if need_weights:
            seen = dropout(attention_weights(query, key, mask, 1 / math.sqrt(self.head_dim)), p, rng=self.rng)
            out = seen @ value
            seen = np.mean(seen, axis=1) if average_attn_weights else seen
            seen = seen[0] if is_single else seen
        else:
            out = scaled_dot_product_attention(query, key, value, mask, p, rng=self.rng)
        out = self.out_proj(out.swapaxes(1, 2).reshape((n, queries, self.embed_dim)))
        return out[0] if is_single else out.swapaxes(0, 1) if is_swapped else out, seen

    def _projections(self) -> tuple[Any, Any]:
        """Return the weights and the biases of query, key and value."""
        parts = [slice(i * self.embed_dim, (i + 1) * self.embed_dim) for i in range(3)]
        packed, bias = self.in_proj_weight, self.in_proj_bias
        own = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        return own if packed is None else [packed[p] for p in parts], [bias if bias is None else bias[p] for p in parts]


class TransformerEncoderLayer(Module):
    """Self-attention, then a two-layer network at each position, with residuals.

    The output of each of these two parts is added to its input.

    Parameters
    ----------
    d_model, nhead : int
        The number of features, and the number of attention heads.
    dim_feedforward : int
        The width of the network's hidden layer.
    dropout : float
        The probability with which elements are set to 0 in training: of the attention
        weights, of the hidden layer, and of the output of each part.
    activation : {"relu", "gelu"} or callable
        The activation of the hidden layer.
    layer_norm_eps : float
        The number that `LayerNorm` adds to a variance.
    batch_first : bool
        Whether input and output have the shape (batch, positions, features) rather than
        (positions, batch, features).
    norm_first : bool
        Whether to normalise the input of each part, instead of each sum.
    bias : bool
        Whether affine maps and normalisations have a bias.
    dtype : dtype
        The dtype of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        The generator for initial values and dropout.

    Raises
    ------
    ValueError
        If a size isn't a positive integer, the heads don't divide the features, or the
        activation is unknown.

    See Also
    --------
    MultiheadAttention : its first part.

    Notes
    -----
    Vaswani et al. (2017), "Attention is all you need"; with `norm_first`, Xiong et al.
    (2020), "On layer normalization in the Transformer architecture".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> layer(np.ones((3, 5, 8)), is_causal=True).shape
    (3, 5, 8)
    """

    @checked
    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        rng = init.generator(rng)
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype, rng=rng
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype, rng=rng)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1, self.dropout2 = Dropout(dropout, rng=rng), Dropout(dropout, rng=rng)
        self.activation: Any = activation if callable(activation) else ACTIVATIONS[activation]
        self.norm_first = norm_first

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        """Return new features for each position; see `MultiheadAttention` for masks."""

        def attended(x: Any) -> Any:
            masks = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask, "is_causal": is_causal}
            return self.dropout1(self.self_attn(x, x, x, need_weights=False, **masks)[0])

        def processed(x: Any) -> Any:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            x = src + attended(self.norm1(src))
            return x + processed(self.norm2(x))
        x = self.norm1(src + attended(src))
        return self.norm2(x + processed(x))
