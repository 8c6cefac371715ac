"""Optimizers, learning rate schedules, clipping and minimisation, as in PyTorch.

Owns: the public names of `microgradnd.optim`.
Must not own: any code.
Read next: `optimizer.py`.
"""

from typing import TYPE_CHECKING

from microgradnd.optim import lr_scheduler
from microgradnd.optim.adagrad import Adadelta, Adagrad, RMSprop
from microgradnd.optim.adam import Adam, AdamW, NAdam
from microgradnd.optim.clipping import clip_grad_norm_, clip_grad_value_
from microgradnd.optim.minimizing import minimize
from microgradnd.optim.optimizer import Optimizer
from microgradnd.optim.sgd import SGD, Lion

del adagrad, adam, sgd  # type: ignore[name-defined]  # noqa: F821  # modules: someone who writes optim.adam means optim.Adam

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
    "lr_scheduler",
    "minimize",
]

if not TYPE_CHECKING:

    def __getattr__(name):
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("optim", name, __all__))
