"""Networks, under PyTorch's names: modules, functions, initial values.

Owns: the public names of `microgradnd.nn`.
Must not own: any code.
Read next: `module.py`.
"""

from typing import TYPE_CHECKING

from microgradnd.nn import functional, init
from microgradnd.nn.activations import ReLU, Sigmoid, Tanh
from microgradnd.nn.containers import Sequential
from microgradnd.nn.dropout import Dropout
from microgradnd.nn.embedding import Embedding
from microgradnd.nn.linear import Bilinear, Identity, Linear
from microgradnd.nn.losses import CrossEntropyLoss, MSELoss, SSELoss
from microgradnd.nn.module import Module, Parameter
from microgradnd.nn.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm

# Modules of Python: who writes nn.linear means nn.Linear or functional.linear
del activations, containers, dropout, embedding, linear, losses, normalization  # type: ignore[name-defined]  # noqa: F821

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "Bilinear",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "GroupNorm",
    "Identity",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "Module",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "SSELoss",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "functional",
    "init",
]

if not TYPE_CHECKING:

    def __getattr__(name):
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("nn", name, __all__))
