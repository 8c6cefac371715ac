"""Layers, activations and losses as plain functions of arrays and Tensors.

Owns: the public names of `microgradnd.nn.functional`.
Must not own: any code.
Read next: `activations.py`.
"""

from typing import TYPE_CHECKING

from microgradnd.nn.activations import log_softmax, relu, sigmoid, softmax, tanh
from microgradnd.nn.convolution import conv1d, conv2d, conv_transpose2d
from microgradnd.nn.dropout import dropout
from microgradnd.nn.embedding import embedding
from microgradnd.nn.linear import bilinear, linear
from microgradnd.nn.losses import cross_entropy, mse_loss, softmax_cross_entropy, sse_loss
from microgradnd.nn.normalization import batch_norm, group_norm, layer_norm, rms_norm
from microgradnd.nn.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "bilinear",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "embedding",
    "group_norm",
    "layer_norm",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "mse_loss",
    "relu",
    "rms_norm",
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
