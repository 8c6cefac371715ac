"""Networks, under PyTorch's names: modules, functions, initial values.

Owns: the public names of `microgradnd.nn`.
Must not own: any code.
Read next: `module.py`.
"""

from typing import TYPE_CHECKING

from microgradnd.nn import functional, init
from microgradnd.nn.layers import (
    CrossEntropyLoss,
    Dropout,
    Identity,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    Sigmoid,
    SSELoss,
    Tanh,
)
from microgradnd.nn.module import Module, Parameter

__all__ = [
    "CrossEntropyLoss",
    "Dropout",
    "Identity",
    "Linear",
    "MSELoss",
    "Module",
    "Parameter",
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
