"""microgradnd: reverse-mode automatic differentiation in pure Python over NumPy.

Owns: the public names, nothing else; `compile`, `explain` and `testing` are loaded when they are first named.
Must not own: any code but that.
Read next: `tensor.py`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from microgradnd import nn, optim, rules
from microgradnd.modes import detect_anomaly, enable_grad, no_grad
from microgradnd.recompute import checkpoint
from microgradnd.registry import defjvp, defvjp, primitive
from microgradnd.scopes import scope
from microgradnd.tensor import Tensor, tensor
from microgradnd.transforms import elementwise_grad, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

if TYPE_CHECKING:
    from microgradnd import testing
    from microgradnd.compiler import compile, static
    from microgradnd.reasons import explain

__all__ = [
    "Tensor",
    "checkpoint",
    "compile",
    "defjvp",
    "defvjp",
    "detect_anomaly",
    "elementwise_grad",
    "enable_grad",
    "explain",
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
    "scope",
    "static",
    "tensor",
    "testing",
    "value_and_grad",
    "vjp",
]


def __getattr__(name: str) -> Any:
    if name in ("compile", "static"):
        return getattr(importlib.import_module("microgradnd.compiler"), name)
    if name == "explain":
        return importlib.import_module("microgradnd.reasons").explain
    if name == "testing":
        return importlib.import_module("microgradnd.testing")
    raise AttributeError(f"module 'microgradnd' has no attribute {name!r}")
