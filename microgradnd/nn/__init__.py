"""Networks, under PyTorch's names: modules, functions, initial values.

Owns: the public names of `microgradnd.nn`.
Must not own: any code.
Read next: `module.py`.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from microgradnd.nn import functional as functional
from microgradnd.nn import init as init
from microgradnd.nn.activations import ELU as ELU
from microgradnd.nn.activations import GELU as GELU
from microgradnd.nn.activations import Hardtanh as Hardtanh
from microgradnd.nn.activations import LeakyReLU as LeakyReLU
from microgradnd.nn.activations import LogSoftmax as LogSoftmax
from microgradnd.nn.activations import PReLU as PReLU
from microgradnd.nn.activations import ReLU as ReLU
from microgradnd.nn.activations import Sigmoid as Sigmoid
from microgradnd.nn.activations import SiLU as SiLU
from microgradnd.nn.activations import Softmax as Softmax
from microgradnd.nn.activations import Softplus as Softplus
from microgradnd.nn.activations import Tanh as Tanh
from microgradnd.nn.attention import MultiheadAttention as MultiheadAttention
from microgradnd.nn.attention import TransformerEncoderLayer as TransformerEncoderLayer
from microgradnd.nn.containers import ModuleDict as ModuleDict
from microgradnd.nn.containers import ModuleList as ModuleList
from microgradnd.nn.containers import ParameterList as ParameterList
from microgradnd.nn.containers import Sequential as Sequential
from microgradnd.nn.convolution import Conv1d as Conv1d
from microgradnd.nn.convolution import Conv2d as Conv2d
from microgradnd.nn.convolution import ConvTranspose2d as ConvTranspose2d
from microgradnd.nn.dropout import Dropout as Dropout
from microgradnd.nn.embedding import Embedding as Embedding
from microgradnd.nn.fit import fit as fit
from microgradnd.nn.linear import Bilinear as Bilinear
from microgradnd.nn.linear import Identity as Identity
from microgradnd.nn.linear import Linear as Linear
from microgradnd.nn.losses import BCELoss as BCELoss
from microgradnd.nn.losses import BCEWithLogitsLoss as BCEWithLogitsLoss
from microgradnd.nn.losses import CosineEmbeddingLoss as CosineEmbeddingLoss
from microgradnd.nn.losses import CrossEntropyLoss as CrossEntropyLoss
from microgradnd.nn.losses import GaussianNLLLoss as GaussianNLLLoss
from microgradnd.nn.losses import HingeEmbeddingLoss as HingeEmbeddingLoss
from microgradnd.nn.losses import HuberLoss as HuberLoss
from microgradnd.nn.losses import KLDivLoss as KLDivLoss
from microgradnd.nn.losses import L1Loss as L1Loss
from microgradnd.nn.losses import MarginRankingLoss as MarginRankingLoss
from microgradnd.nn.losses import MSELoss as MSELoss
from microgradnd.nn.losses import NLLLoss as NLLLoss
from microgradnd.nn.losses import SmoothL1Loss as SmoothL1Loss
from microgradnd.nn.losses import SSELoss as SSELoss
from microgradnd.nn.module import Module as Module
from microgradnd.nn.module import Parameter as Parameter
from microgradnd.nn.normalization import BatchNorm1d as BatchNorm1d
from microgradnd.nn.normalization import BatchNorm2d as BatchNorm2d
from microgradnd.nn.normalization import GroupNorm as GroupNorm
from microgradnd.nn.normalization import LayerNorm as LayerNorm
from microgradnd.nn.normalization import RMSNorm as RMSNorm
from microgradnd.nn.pooling import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from microgradnd.nn.pooling import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from microgradnd.nn.pooling import AvgPool1d as AvgPool1d
from microgradnd.nn.pooling import AvgPool2d as AvgPool2d
from microgradnd.nn.pooling import Flatten as Flatten
from microgradnd.nn.pooling import MaxPool1d as MaxPool1d
from microgradnd.nn.pooling import MaxPool2d as MaxPool2d
from microgradnd.nn.recurrent import GRU as GRU
from microgradnd.nn.recurrent import LSTM as LSTM
from microgradnd.nn.recurrent import RNN as RNN
from microgradnd.nn.summaries import summary as summary

# Hide the files: someone who writes nn.linear means nn.Linear or functional.linear
for _file in {name for name, value in globals().items() if isinstance(value, ModuleType)} - {"functional", "init"}:
    del globals()[_file]

__all__ = sorted(name for name in globals() if name[0] != "_" and name not in ("TYPE_CHECKING", "ModuleType"))

if not TYPE_CHECKING:

    def __getattr__(name):
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("nn", name, __all__))
