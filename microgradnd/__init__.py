"""microgradnd: reverse-mode automatic differentiation in pure Python over NumPy.

Owns: the public names and the version. Modules that a first program rarely needs are
loaded when a name from them is used.
Must not own: the objects behind the names.
Read next: `tensor.py`.
"""

import importlib
from typing import TYPE_CHECKING

from microgradnd import rules
from microgradnd.anew import anew
from microgradnd.anomaly import detect_anomaly
from microgradnd.batching import defvmap
from microgradnd.failures import explained
from microgradnd.jacobians import elementwise_grad, hessian, hvp, jacobian
from microgradnd.modes import enable_grad, no_grad
from microgradnd.outdated import Outdated
from microgradnd.recompute import checkpoint
from microgradnd.registry import defjvp, defvjp, elementwise, linear, primitive
from microgradnd.scan import scan
from microgradnd.scopes import scope
from microgradnd.tensor import Tensor, tensor
from microgradnd.transforms import grad, jvp, value_and_grad, vjp
from microgradnd.trees import register_tree
from microgradnd.vectorizing import vmap

__version__ = "0.1.0"

Tensor.outdated = Outdated  # here, because the two files would import each other

__all__ = [
    "Tensor",
    "__version__",
    "anew",
    "checkpoint",
    "compile",
    "data",
    "defjvp",
    "defvjp",
    "defvmap",
    "detect_anomaly",
    "distributed",
    "elementwise",
    "elementwise_grad",
    "enable_grad",
    "explain",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "linear",
    "load",
    "nn",
    "no_grad",
    "onnx",
    "optim",
    "primitive",
    "register_tree",
    "rules",
    "save",
    "scan",
    "scope",
    "static",
    "tensor",
    "testing",
    "value_and_grad",
    "viz",
    "vjp",
    "vmap",
]

if TYPE_CHECKING:  # type checkers see names, not __getattr__, which would allow any name
    from microgradnd import data, distributed, nn, onnx, optim, testing, viz
    from microgradnd.compiler import compile, static
    from microgradnd.reasons import explain
    from microgradnd.saving import load, save
else:
    for made in (tensor, primitive, grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp, elementwise_grad, vmap):
        globals()[made.__name__] = explained(made)  # here: internal calls have the right arguments
        globals()[made.__name__].__module__ = __name__  # where pickle finds it
    del made
    LATER = {
        "compile": "compiler",
        "data": "data",
        "distributed": "distributed",
        "explain": "reasons",
        "load": "saving",
        "nn": "nn",
        "onnx": "onnx",
        "optim": "optim",
        "save": "saving",
        "static": "compiler",
        "testing": "testing",
        "viz": "viz",
    }

    def __getattr__(name):
        if name not in LATER:
            advice = importlib.import_module("microgradnd.advice")
            raise AttributeError(advice.missing_attribute("microgradnd", name, __all__))
        module = importlib.import_module(f"microgradnd.{LATER[name]}")
        return module if name == LATER[name] else getattr(module, name)

    def __dir__():
        return sorted(__all__)
