"""microgradnd: reverse-mode automatic differentiation in pure Python over NumPy.

Owns: the public names, nothing else.
Must not own: any code.
Read next: `tensor.py`.
"""

from microgradnd import nn, optim, rules, testing
from microgradnd.compiler import compile
from microgradnd.modes import detect_anomaly, enable_grad, no_grad
from microgradnd.recompute import checkpoint
from microgradnd.registry import defjvp, defvjp, primitive
from microgradnd.tensor import Tensor, tensor
from microgradnd.transforms import elementwise_grad, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

__all__ = [
    "Tensor",
    "checkpoint",
    "compile",
    "defjvp",
    "defvjp",
    "detect_anomaly",
    "elementwise_grad",
    "enable_grad",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "nn",
    "no_grad",
    "optim",
    "primitive",
    "rules",
    "tensor",
    "testing",
    "value_and_grad",
    "vjp",
]
