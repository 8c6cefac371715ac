"""Layers, activations and losses as plain functions of arrays and Tensors.

Owns: the public names of `microgradnd.nn.functional`.
Must not own: any code.
Read next: `activations.py`.
"""

from typing import TYPE_CHECKING

from microgradnd.absent import advise as _advise
from microgradnd.nn.activations import elu as elu
from microgradnd.nn.activations import gelu as gelu
from microgradnd.nn.activations import hardtanh as hardtanh
from microgradnd.nn.activations import leaky_relu as leaky_relu
from microgradnd.nn.activations import log_softmax as log_softmax
from microgradnd.nn.activations import prelu as prelu
from microgradnd.nn.activations import relu as relu
from microgradnd.nn.activations import sigmoid as sigmoid
from microgradnd.nn.activations import silu as silu
from microgradnd.nn.activations import softmax as softmax
from microgradnd.nn.activations import softplus as softplus
from microgradnd.nn.activations import tanh as tanh
from microgradnd.nn.attention import scaled_dot_product_attention as scaled_dot_product_attention
from microgradnd.nn.convolution import conv1d as conv1d
from microgradnd.nn.convolution import conv2d as conv2d
from microgradnd.nn.convolution import conv_transpose2d as conv_transpose2d
from microgradnd.nn.dropout import dropout as dropout
from microgradnd.nn.embedding import embedding as embedding
from microgradnd.nn.linear import bilinear as bilinear
from microgradnd.nn.linear import linear as linear
from microgradnd.nn.losses import binary_cross_entropy as binary_cross_entropy
from microgradnd.nn.losses import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from microgradnd.nn.losses import cosine_embedding_loss as cosine_embedding_loss
from microgradnd.nn.losses import cosine_similarity as cosine_similarity
from microgradnd.nn.losses import cross_entropy as cross_entropy
from microgradnd.nn.losses import gaussian_nll_loss as gaussian_nll_loss
from microgradnd.nn.losses import hinge_embedding_loss as hinge_embedding_loss
from microgradnd.nn.losses import huber_loss as huber_loss
from microgradnd.nn.losses import kl_div as kl_div
from microgradnd.nn.losses import l1_loss as l1_loss
from microgradnd.nn.losses import margin_ranking_loss as margin_ranking_loss
from microgradnd.nn.losses import mse_loss as mse_loss
from microgradnd.nn.losses import nll_loss as nll_loss
from microgradnd.nn.losses import smooth_l1_loss as smooth_l1_loss
from microgradnd.nn.losses import softmax_cross_entropy as softmax_cross_entropy
from microgradnd.nn.losses import sse_loss as sse_loss
from microgradnd.nn.normalization import batch_norm as batch_norm
from microgradnd.nn.normalization import group_norm as group_norm
from microgradnd.nn.normalization import layer_norm as layer_norm
from microgradnd.nn.normalization import rms_norm as rms_norm
from microgradnd.nn.pooling import adaptive_avg_pool1d as adaptive_avg_pool1d
from microgradnd.nn.pooling import adaptive_avg_pool2d as adaptive_avg_pool2d
from microgradnd.nn.pooling import avg_pool1d as avg_pool1d
from microgradnd.nn.pooling import avg_pool2d as avg_pool2d
from microgradnd.nn.pooling import max_pool1d as max_pool1d
from microgradnd.nn.pooling import max_pool2d as max_pool2d
from microgradnd.tensor import Tensor as _Tensor

__all__ = sorted(name for name in globals() if name[0] != "_" and name != "TYPE_CHECKING")

_advise(_Tensor, __all__)  # t.softmax() is PyTorch's

if not TYPE_CHECKING:

    def __getattr__(name):
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("nn.functional", name, __all__))
