"""Settings of layers, optimizers and schedules: checks, and tables in class bodies.

Owns: the checks of single settings and their messages; `setting`, and the table that a
class makes of it.
Must not own: which layer or optimizer has which setting, or where an optimizer stores
its settings (`optim/groups.py`).
Read next: `optim/groups.py`.

A check takes a name for its message and a value, and returns the value to store.
Optimizers and schedules list their settings as a dataclass lists its fields, as in
`lr: float = setting(not_negative, default=1e-3)`. The table determines the checks and
the signature of the class, for people and type checkers.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from microgradnd.signatures import check_call
from microgradnd.tensor import Tensor

Check = Callable[[str, Any], Any]  # (name, value) -> the value to store, or an error
NEEDED = inspect.Parameter.empty


class Setting(property):
    """A setting as an attribute; its object checks and stores an assigned value."""

    def __init__(self, check: Check, default: Any, kw_only: bool) -> None:
        self.check, self.default = check, default
        self.kind = inspect.Parameter.KEYWORD_ONLY if kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD

    def __set_name__(self, owner: type, name: str) -> None:
        super().__init__(lambda thing: thing.setting(name), lambda thing, value: thing.configure(**{name: value}))


def setting(check: Check, *, default: Any = NEEDED, kw_only: bool = False) -> Any:
    """Return a row in the table of settings: its check, and its default if any."""
    return Setting(check, default, kw_only)


@dataclass_transform(field_specifiers=(setting,), eq_default=False)
class Configured:
    """The base of everything with a table of settings.

    Attributes
    ----------
    subject : str
        The name of the argument before the settings.
    table : dict of str to Setting
        The settings, in the order in which they are passed and shown.
    of_settings : inspect.Signature
        The parameters of an `__init__` that takes the subject and the settings.
    """

    subject: ClassVar[str]
    table: ClassVar[Mapping[str, Setting]] = {}
    of_settings: ClassVar[inspect.Signature]
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        added = {name: row for name, row in vars(cls).items() if isinstance(row, Setting)}
        cls.table = dict(sorted({**cls.table, **added}.items(), key=lambda item: item[1].kind))
        first = inspect.Parameter(cls.subject, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        rows = [inspect.Parameter(name, row.kind, default=row.default) for name, row in cls.table.items()]
        cls.of_settings = inspect.Signature([first, *rows])
        own = list(inspect.signature(cls.__init__).parameters.values())[1:]
        takes_settings = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in own)
        cls.__signature__ = cls.of_settings if takes_settings else inspect.Signature(own)

    @classmethod
    def given(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call's arguments with defaults, or raise if they don't fit."""
        check_call(cls, tuple(args), dict(kwargs), signature=cls.of_settings)
        bound = cls.of_settings.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    @classmethod
    def row(cls, name: str) -> Setting:
        """Return a setting's row in the table, or raise."""
        if name not in cls.table:
            raise KeyError(f"{cls.__name__} has no setting {name!r}; use one of {', '.join(cls.table)}")
        return cls.table[name]

    @classmethod
    def checked(cls, settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings as they are stored, or raise if one is wrong or conflicts."""
        found = {name: cls.row(name).check(f"{cls.__name__}: {name}", value) for name, value in settings.items()}
        cls.check_together({**others, **found})
        return found

    @classmethod
    def check_together(cls, settings: Mapping[str, Any]) -> None:
        """Raise if settings that are valid one by one conflict."""


def as_number(value: Any) -> Any:
    """Return a number, or an array or Tensor of one, as a Python number, or None.

    A number that only a compiled program will compute stays a Tensor.
    """
    if isinstance(value, Tensor | np.ndarray | np.generic):
        value = value.item() if value.size == 1 and not is_variable(value) else None
    if isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype == bool):
        return None
    if isinstance(value, int | float | Tensor):
        return value
    return float(value) if isinstance(value, numbers.Real) else None


def as_integer(value: Any) -> int | None:
    """Return an integer as a Python int; None if it isn't one."""
    number = as_number(value)
    return number if isinstance(number, int) else None


def is_variable(value: Any) -> bool:
    """Return whether a value is a Tensor that would lose its gradient as a number."""
    return isinstance(value, Tensor) and value.requires_grad


def shown(value: Any) -> str:
    """Return a value in a few words, for a message."""
    if is_variable(value):
        return "a Tensor that requires a gradient; pass t.item()"
    return f"{type(value).__name__} of shape {value.shape}" if getattr(value, "ndim", 0) else repr(value)


def check_of(expected: str, read: Callable[[Any], Any], fits: Callable[[Any], bool] = lambda value: True) -> Check:
    """Return a check, from a function that reads a value and one that tests it.

    The first returns None for a value of a wrong type. A number that only a compiled
    program will compute isn't tested.
    """

    def checked(name: str, value: Any) -> Any:
        found = read(value)
        if found is None or not (isinstance(found, Tensor) or fits(found)):
            raise (TypeError if found is None else ValueError)(f"{name} must be {expected}, got {shown(value)}")
        return found

    return checked


def number_check(expected: str, fits: Callable[[int | float], bool]) -> Check:
    """Return the check of a number; a message says what is expected."""
    return check_of(expected, as_number, fits)


def one_of(*names: str) -> Check:
    """Return the check of a name among several."""
    expected = f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"
    return check_of(expected, lambda value: str(value) if isinstance(value, str) else None, names.__contains__)


def integers(expected: str, least: float = -math.inf) -> Check:
    """Return the check of an integer or a tuple of them; None is "unchanged"."""

    def listed(value: Any) -> list[Any]:
        return [n for n in (value if isinstance(value, tuple | list) else [value]) if n is not None]

    def read(value: Any) -> Any:
        return value if all(as_integer(n) is not None for n in listed(value)) else None

    return check_of(expected, read, lambda value: all(n >= least for n in listed(value)))


def optional(checked: Check) -> Check:
    """Return a check that also accepts None."""
    return lambda name, value: None if value is None else checked(name, value)


number = number_check("a number, such as 0.5", lambda x: not math.isnan(x))
positive = number_check("a finite number greater than 0", lambda x: 0 < x < math.inf)
not_negative = number_check("a finite number, 0 or more", lambda x: 0 <= x < math.inf)
fraction = number_check("a number from 0 to below 1", lambda x: 0 <= x < 1)
share = number_check("a number from 0 to 1", lambda x: 0 <= x <= 1)
probability = number_check("a probability, from 0 to 1", lambda x: 0 <= x <= 1)
count = check_of("a positive integer", as_integer, lambda n: n >= 1)
integer = check_of("an integer, such as 1", as_integer)
switch = check_of(
    "a switch, either True or False", lambda value: bool(value) if isinstance(value, bool | np.bool_) else None
)


def as_floating_dtype(value: Any) -> np.dtype[Any] | None:
    """Return a floating-point or complex dtype; None if it isn't one."""
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError):
        return None
    return dtype if dtype.kind in "fc" else None


floating_dtype = check_of("a floating-point dtype such as np.float32; all arrays are on the CPU", as_floating_dtype)


def pair(name: str, value: Any) -> tuple[int | float, int | float]:
    """Return a pair of numbers from 0 to below 1."""
    listed = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not listed and not (isinstance(value, np.ndarray | Tensor) and value.shape == (2,)):
        raise TypeError(f"{name} must be a pair of numbers, such as (0.9, 0.999), got {shown(value)}")
    return fraction(f"{name}[0]", value[0]), fraction(f"{name}[1]", value[1])
