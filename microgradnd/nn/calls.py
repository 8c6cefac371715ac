"""Modules that call one function with settings: each is a row, a class without code.

Owns: `Calls`, which makes such a class from a function and its settings; the table of
checks of settings, and `checked`, which applies it to the arguments of a call.
Must not own: any function, or any row (`activations.py`, `losses.py`).
Read next: `activations.py`.

    class LeakyReLU(Activation, function=leaky_relu):
        negative_slope: float = 0.01

The settings are the annotations of the class and its bases, in PyTorch's order. They
have the names of the function's arguments.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from numbers import Number
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar, dataclass_transform, get_args

import numpy as np

from microgradnd import settings as check
from microgradnd.failures import explained
from microgradnd.nn.arguments import operand
from microgradnd.nn.module import Module
from microgradnd.signatures import check_call
from microgradnd.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")
Fan = Literal["fan_in", "fan_out"]
Nonlinearity = Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
Reduction = Literal["mean", "sum", "none"]
KLReduction = Literal["mean", "sum", "none", "batchmean"]
ARRAYS = ("weight", "pos_weight")  # settings that are arrays, or None: they become buffers, part of the state

SIZES = check.integers("a positive integer, or a tuple of them", 1)
# The key is the name of a setting, or the names of a function and a setting where that
# function differs from the others
SETTINGS: dict[str | tuple[str, str], check.Check] = {
    **dict.fromkeys(
        ("negative_slope", "alpha", "threshold", "min_val", "max_val", "margin", "a", "b", "mean", "init"), check.number
    ),
    **dict.fromkeys(("beta", "delta"), check.number_check("a positive number", lambda x: x > 0)),
    **dict.fromkeys(("eps", "layer_norm_eps", "std", "gain"), check.not_negative),
    **dict.fromkeys(("full", "log_target", "ceil_mode", "count_include_pad"), check.switch),
    **dict.fromkeys(("bias", "batch_first", "bidirectional", "norm_first", "training", "is_causal"), check.switch),
    **dict.fromkeys(("affine", "elementwise_affine", "track_running_stats"), check.switch),
    **dict.fromkeys(("p", "dropout", "dropout_p"), check.probability),
    **dict.fromkeys(("in_features", "in1_features", "in2_features", "out_features", "num_parameters"), check.count),
    **dict.fromkeys(("num_features", "num_channels", "num_groups", "num_embeddings", "embedding_dim"), check.count),
    **dict.fromkeys(("input_size", "hidden_size", "num_layers", "embed_dim", "num_heads"), check.count),
    **dict.fromkeys(("d_model", "nhead", "dim_feedforward"), check.count),
    **dict.fromkeys(("kdim", "vdim"), check.optional(check.count)),
    **dict.fromkeys(("epochs", "batch_size", "accumulate"), check.count),
    **dict.fromkeys(("shuffle", "drop_last", "resume", "compile"), check.switch),
    "patience": check.optional(check.count),
    "max_norm": check.optional(check.positive),
    "progress": check.optional(check.switch),
    **dict.fromkeys(("kernel_size", "dilation"), SIZES),
    **dict.fromkeys(("stride", "output_size"), check.optional(SIZES)),
    "padding": check.integers("a non-negative integer, or a tuple of them", 0),
    "axis": check.integers("an integer or a tuple of them"),
    **dict.fromkeys(("ignore_index", "start_dim", "end_dim"), check.integer),
    "val": check.check_of(
        "a number, the value of all elements", lambda value: value if isinstance(value, Number) else None
    ),
    "param": check.optional(check.number),
    "approximate": check.one_of("none", "tanh"),
    "activation": check.check_of(
        "'relu', 'gelu' or a function",
        lambda value: value if callable(value) or isinstance(value, str) else None,
        lambda value: callable(value) or value in ("relu", "gelu"),
    ),
    "dtype": check.floating_dtype,
    "tensor": check.check_of(
        "a Tensor, which is filled in place (nn.Parameter makes one)",
        lambda value: value if isinstance(value, Tensor) else None,
    ),
    "nonlinearity": check.one_of(*get_args(Nonlinearity)),
    "mode": check.one_of(*get_args(Fan)),
    "reduction": check.one_of(*get_args(Reduction)),
    **dict.fromkeys(("label_smoothing", "sparsity"), check.share),
    "momentum": check.optional(check.share),
    ("trunc_normal_", "std"): check.positive,
    ("orthogonal_", "gain"): check.number,
    ("RNN", "nonlinearity"): check.one_of("tanh", "relu"),
    ("RMSNorm", "eps"): check.optional(check.not_negative),
    **dict.fromkeys((("kl_div", "reduction"), ("KLDivLoss", "reduction")), check.one_of(*get_args(KLReduction))),
    **dict.fromkeys((("smooth_l1_loss", "beta"), ("SmoothL1Loss", "beta")), check.not_negative),
}


def check_settings(function: str, **settings: Any) -> None:
    """Raise unless each setting is valid."""
    for name, value in settings.items():
        (SETTINGS.get((function, name)) or SETTINGS[name])(f"{function}: {name}", value)


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the settings among a call's arguments by the table; explain other errors.

    The function may be the `__init__` of a layer.
    """
    owner, _, name = function.__qualname__.rpartition(".")
    names, run = list(inspect.signature(function).parameters), explained(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        shown = type(args[0]).__name__ if owner and args else name
        for setting, value in {**dict(zip(names, args, strict=False)), **kwargs}.items():
            if found := SETTINGS.get((owner or name, setting)) or SETTINGS.get(setting):
                found(f"{shown}: {setting}", value)
        return run(*args, **kwargs)

    return call


@dataclass_transform(eq_default=False)  # so type checkers know the arguments of such a class
class Calls(Module):
    """The base class of modules that call a function with their settings."""

    _function: ClassVar[Callable[..., Any]]
    _settings: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, function: Callable[..., Any] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if function is None:  # a base of rows, or a subclass of a row
            return
        rows = [base for base in reversed(cls.__mro__) if issubclass(base, Calls) and base is not Calls]
        names = tuple(dict.fromkeys(name for row in rows for name in vars(row).get("__annotations__", ())))

        def __init__(self: Calls, *args: Any, **kwargs: Any) -> None:
            check_call(cls, args, kwargs)
            usual = {name: getattr(cls, name) for name in names if hasattr(cls, name)}
            set_up(self, usual | dict(zip(names, args, strict=False)) | kwargs)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        own = [inspect.Parameter(name, kind, default=getattr(cls, name, inspect.Parameter.empty)) for name in names]
        __init__.__signature__ = inspect.Signature([inspect.Parameter("self", kind), *own])  # type: ignore[attr-defined]
        cls._function, cls._settings = staticmethod(function), names
        cls.__init__ = __init__  # type: ignore[assignment]
        bare = function if hasattr(function, "body") else inspect.unwrap(function)  # saves a call
        cls.forward = called if names else staticmethod(bare)  # type: ignore[assignment]

    def extra_repr(self) -> str:
        """Return the settings."""
        shown = {name: getattr(self, name) for name in self._settings if name not in ARRAYS}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def set_up(module: Calls, settings: dict[str, Any]) -> None:
    """Check the settings of a module, and set them."""
    kind = type(module).__name__
    for name, value in settings.items():
        if name in ARRAYS and value is not None:
            module.register_buffer(name, operand(kind, value, name, kinds="iuf"))
            continue
        if isinstance(value, np.ndarray | Tensor):
            raise TypeError(
                f"{kind}: {name} must be a setting of the module, got {type(value).__name__}; make the module, then "
                f"call it: nn.{kind}()(...)"
            )
        if name not in ARRAYS:
            check_settings(kind, **{name: value})
        setattr(module, name, value)


def called(self: Calls, *inputs: Any, **named: Any) -> Any:
    """Return the function of the inputs, with the settings."""
    return self._function(*inputs, **({name: getattr(self, name) for name in self._settings} | named))
