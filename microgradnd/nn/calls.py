"""Modules that call one function with settings: an activation or a loss is a row, a class statement without code.

Owns: `Calls`, which makes such a class from its function and its settings; what each setting may be.
Must not own: any function, or any row (`activations.py`, `losses.py`).
Read next: `activations.py`.

    class LeakyReLU(Activation, function=leaky_relu):
        negative_slope: float = 0.01

The settings are what the class annotates, in PyTorch's order, under the names that the function has for them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Integral, Number, Real
from typing import Any, ClassVar, NamedTuple, dataclass_transform

import numpy as np

from microgradnd.nn.arguments import operand
from microgradnd.nn.module import Module
from microgradnd.signatures import check_call
from microgradnd.tensor import Tensor

ARRAYS = ("weight", "pos_weight")  # settings that are arrays, or None: they become buffers, part of the state


class Setting(NamedTuple):
    """What a setting must be: of a type, and in a range, both of which `words` tell."""

    type: Any
    words: str
    range: Callable[[Any], bool] = lambda value: True


def one_of(*names: str) -> Setting:
    """Return a setting with a few values."""
    return Setting(str, " or ".join([", ".join(map(repr, names[:-1])), repr(names[-1])]), lambda v: v in names)


def whole(least: int) -> Callable[[Any], bool]:
    """Return whether a value is an integer that is at least so large, or several of them."""
    return lambda v: all(
        isinstance(n, int | np.integer) and n >= least
        for n in (v if isinstance(v, tuple | list) else (v,))
        if n is not None
    )


NUMBER, FLAG = Setting(Real, "a number", lambda v: not math.isnan(v)), Setting(bool | np.bool_, "True or False")
REDUCTIONS = ("mean", "sum", "none")
NOT_NEGATIVE = Setting(Real, "a number from 0", lambda v: v >= 0)
POSITIVE = Setting(Real, "a positive number", lambda v: v > 0)
SIZES = Setting(Integral | tuple | list, "a positive integer, or a tuple of them", whole(1))
SETTINGS: dict[str | tuple[str, str], Setting] = {
    **dict.fromkeys(("negative_slope", "alpha", "threshold", "min_val", "max_val", "margin"), NUMBER),
    **dict.fromkeys(("beta", "delta"), POSITIVE),
    "eps": NOT_NEGATIVE,
    **dict.fromkeys(("a", "b", "mean"), NUMBER),
    "val": Setting(Number, "a number, which all elements get"),
    "std": NOT_NEGATIVE,
    "param": Setting(Real | None, "a number, or None"),
    **dict.fromkeys(("full", "log_target", "ceil_mode", "count_include_pad"), FLAG),
    **dict.fromkeys(("kernel_size", "dilation"), SIZES),
    **dict.fromkeys(("stride", "output_size"), SIZES._replace(type=SIZES.type | None)),
    "padding": SIZES._replace(words="an integer that isn't negative, or a tuple of them", range=whole(0)),
    "approximate": one_of("none", "tanh"),
    "axis": Setting(Integral | tuple, "an integer or a tuple of them"),
    "ignore_index": Setting(Integral, "an integer"),
    "label_smoothing": Setting(Real, "a number from 0 to 1", lambda v: 0 <= v <= 1),
    "reduction": one_of(*REDUCTIONS),
    "momentum": Setting(Real | None, "a number from 0 to 1, or None", lambda v: v is None or 0 <= v <= 1),
    # Where a function has a setting of its own under the same name
    ("trunc_normal_", "std"): POSITIVE,
    **dict.fromkeys((("kl_div", "reduction"), ("KLDivLoss", "reduction")), one_of(*REDUCTIONS, "batchmean")),
    **dict.fromkeys((("smooth_l1_loss", "beta"), ("SmoothL1Loss", "beta")), NOT_NEGATIVE),
}


def check_settings(function: str, advice: str = "", **settings: Any) -> None:
    """Raise unless each setting is what it must be."""
    for name, value in settings.items():
        setting = SETTINGS.get((function, name)) or SETTINGS[name]
        if not isinstance(value, setting.type):
            is_data = isinstance(value, np.ndarray | Tensor)
            got = f"{type(value).__name__}{advice}" if is_data else repr(value)
            raise TypeError(f"{function}: {name} must be {setting.words}, got {got}")
        if not setting.range(value):
            raise ValueError(f"{function}: {name} must be {setting.words}, got {value!r}")


@dataclass_transform(eq_default=False)  # so type checkers know what such a class is made with
class Calls(Module):
    """A module that calls a function with its settings."""

    _function: ClassVar[Callable[..., Any]]
    _settings: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, function: Callable[..., Any] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if function is None:  # a base of rows, or a subclass of a row
            return
        names = tuple(vars(cls).get("__annotations__", ()))

        def __init__(self: Calls, *args: Any, **kwargs: Any) -> None:
            check_call(cls, args, kwargs)
            usual = {name: getattr(cls, name) for name in names if hasattr(cls, name)}
            set_up(self, usual | dict(zip(names, args, strict=False)) | kwargs)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        own = [inspect.Parameter(name, kind, default=getattr(cls, name, inspect.Parameter.empty)) for name in names]
        __init__.__signature__ = inspect.Signature([inspect.Parameter("self", kind), *own])  # type: ignore[attr-defined]
        cls._function, cls._settings = staticmethod(function), names
        cls.__init__ = __init__  # type: ignore[assignment]
        bare = function if hasattr(function, "body") else inspect.unwrap(function)  # which saves a call in small steps
        cls.forward = called if names else staticmethod(bare)  # type: ignore[assignment]

    def extra_repr(self) -> str:
        """Return the settings."""
        shown = {name: getattr(self, name) for name in self._settings if name not in ARRAYS}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def set_up(module: Calls, settings: dict[str, Any]) -> None:
    """Check the settings of a module and set them."""
    kind = type(module).__name__
    arrays = {name: settings.pop(name) for name in ARRAYS if name in settings}
    check_settings(kind, f"; make it first, then call it: nn.{kind}()(...)", **settings)
    for name, value in settings.items():
        setattr(module, name, value)
    for name, value in arrays.items():
        if value is None:
            setattr(module, name, None)
        else:
            module.register_buffer(name, operand(kind, value, name, kinds="iuf"))


def called(self: Calls, *inputs: Any, **named: Any) -> Any:
    """Return the function of inputs, with the settings."""
    return self._function(*inputs, **({name: getattr(self, name) for name in self._settings} | named))
