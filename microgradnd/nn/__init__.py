"""Networks, under PyTorch's names: modules, functions, initial values.

Owns: the public names of `microgradnd.nn`.
Must not own: any code.
Read next: `module.py`.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from microgradnd.nn import functional, init
from microgradnd.nn.activations import (
    ELU,
    GELU,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from microgradnd.nn.attention import MultiheadAttention, TransformerEncoderLayer
from microgradnd.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from microgradnd.nn.convolution import Conv1d, Conv2d, ConvTranspose2d
from microgradnd.nn.dropout import Dropout
from microgradnd.nn.embedding import Embedding
from microgradnd.nn.fit import fit
from microgradnd.nn.linear import Bilinear, Identity, Linear
from microgradnd.nn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    GaussianNLLLoss,
    HingeEmbeddingLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MarginRankingLoss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
    SSELoss,
)
from microgradnd.nn.module import Module, Parameter
from microgradnd.nn.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from microgradnd.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AvgPool1d,
    AvgPool2d,
    Flatten,
    MaxPool1d,
    MaxPool2d,
)
from microgradnd.nn.recurrent import GRU, LSTM, RNN
from microgradnd.nn.summaries import summary

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNLLLoss",
    "GroupNorm",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MarginRankingLoss",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "PReLU",
    "Parameter",
    "ParameterList",
    "RMSNorm",
    "ReLU",
    "SSELoss",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Tanh",
    "TransformerEncoderLayer",
    "fit",
    "functional",
    "init",
    "summary",
]

# The files stay out of the way: who writes nn.linear means nn.Linear or functional.linear
for _file in [name for name, value in globals().items() if isinstance(value, ModuleType) and name not in __all__]:
    del globals()[_file]

if not TYPE_CHECKING:

    def __getattr__(name):
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("nn", name, __all__))
