"""Optimizers, under PyTorch's names and in its conventions.

Owns: the public names of `microgradnd.optim`.
Must not own: any code.
Read next: `optimizer.py`.
"""

from microgradnd.optim.adam import Adam
from microgradnd.optim.optimizer import Optimizer
from microgradnd.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
