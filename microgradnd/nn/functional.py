"""Layers, activations and losses as plain functions of arrays and Tensors.

Owns: the public names of `microgradnd.nn.functional`.
Must not own: any code.
Read next: `activations.py`.
"""

from typing import TYPE_CHECKING

from microgradnd.nn.activations import (
    elu,
    gelu,
    hardtanh,
    leaky_relu,
    log_softmax,
    prelu,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from microgradnd.nn.dropout import dropout
from microgradnd.nn.embedding import embedding
from microgradnd.nn.linear import bilinear, linear
from microgradnd.nn.losses import cross_entropy, mse_loss, softmax_cross_entropy, sse_loss
from microgradnd.nn.normalization import batch_norm, group_norm, layer_norm, rms_norm

__all__ = [
    "batch_norm",
    "bilinear",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "group_norm",
    "hardtanh",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "prelu",
    "relu",
    "rms_norm",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "sse_loss",
    "tanh",
]

if not TYPE_CHECKING:

    def __getattr__(name):
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("nn.functional", name, __all__))
