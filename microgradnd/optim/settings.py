"""Settings of optimizers and schedules: a table in the body of a class, checked whenever one is set.

Owns: `setting`, what it makes of a class, the checks of single settings, and the messages when they fail.
Must not own: which optimizer has which setting, or where an optimizer keeps them (`groups.py`).
Read next: `groups.py`.

A class lists its settings as a dataclass lists its fields: `lr: float = setting(not_negative, default=1e-3)`. Its
signature follows from the table, for people and for type checkers, and so do the checks.
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

Check = Callable[[str, Any], Any]  # (name, value) -> the value to keep, or an error
NEEDED = inspect.Parameter.empty


class Setting(property):
    """A setting as an attribute: what is set is checked by the object, which knows where it is kept."""

    def __init__(self, check: Check, default: Any, kw_only: bool) -> None:
        self.check, self.default = check, default
        self.kind = inspect.Parameter.KEYWORD_ONLY if kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD

    def __set_name__(self, owner: type, name: str) -> None:
        super().__init__(lambda thing: thing.setting(name), lambda thing, value: thing.configure(**{name: value}))


def setting(check: Check, *, default: Any = NEEDED, kw_only: bool = False) -> Any:
    """Return a row in the table of settings: its check, and its default unless it must be given."""
    return Setting(check, default, kw_only)


@dataclass_transform(field_specifiers=(setting,), eq_default=False)
class Configured:
    """The base of everything with a table of settings.

    Attributes
    ----------
    subject : str
        The name of the argument before the settings.
    table : dict of str to Setting
        The settings, in the order in which they are given and shown.
    """

    subject: ClassVar[str]
    table: ClassVar[Mapping[str, Setting]] = {}
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        own = {name: row for name, row in vars(cls).items() if isinstance(row, Setting)}
        cls.table = dict(sorted({**cls.table, **own}.items(), key=lambda item: item[1].kind))
        first = inspect.Parameter(cls.subject, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        rows = [inspect.Parameter(name, row.kind, default=row.default) for name, row in cls.table.items()]
        cls.__signature__ = inspect.Signature([first, *rows])

    @classmethod
    def given(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an object is made with, defaults included, or raise and say what doesn't fit."""
        check_call(cls, tuple(args), dict(kwargs), signature=cls.__signature__)
        bound = cls.__signature__.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    @classmethod
    def row(cls, name: str) -> Setting:
        """Return a setting's row in the table, or raise."""
        if name not in cls.table:
            raise KeyError(f"{cls.__name__} has no setting {name!r}; it has {', '.join(cls.table)}")
        return cls.table[name]

    @classmethod
    def checked(cls, settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings as they are kept, or raise if one of them is wrong, or doesn't go with the others."""
        found = {name: cls.row(name).check(f"{cls.__name__}: {name}", value) for name, value in settings.items()}
        cls.check_together({**others, **found})
        return found

    @classmethod
    def check_together(cls, settings: Mapping[str, Any]) -> None:
        """Raise if settings that are right one by one don't go together."""


def as_number(name: str, value: Any) -> int | float | None:
    """Return a number, or an array or Tensor of one number, as Python's; None if it isn't a number."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise TypeError(f"{name} must be a number, got a Tensor that requires a gradient; pass t.item()")
        value = value.item() if value.size == 1 else None
    elif isinstance(value, np.ndarray | np.generic):
        value = value.item() if value.size == 1 else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    return float(value) if isinstance(value, numbers.Real) else None


def shown(value: Any) -> str:
    """Return what came, in a few words."""
    return f"{type(value).__name__} of shape {value.shape}" if getattr(value, "ndim", 0) else repr(value)


def number_check(expected: str, fits: Callable[[int | float], bool]) -> Check:
    """Return the check of a number, which a message calls what is expected."""

    def check(name: str, value: Any) -> int | float:
        number = as_number(name, value)
        if number is None or not fits(number):
            raise (TypeError if number is None else ValueError)(f"{name} must be {expected}, got {shown(value)}")
        return number

    return check


positive = number_check("a finite number greater than 0", lambda x: 0 < x < math.inf)
not_negative = number_check("a finite number, 0 or more", lambda x: 0 <= x < math.inf)
fraction = number_check("a number from 0 to below 1", lambda x: 0 <= x < 1)
count = number_check("a whole number, 1 or more", lambda x: isinstance(x, int) and x >= 1)


def pair(name: str, value: Any) -> tuple[int | float, int | float]:
    """Return a pair of numbers from 0 to below 1."""
    listed = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not listed and not (isinstance(value, np.ndarray | Tensor) and value.shape == (2,)):
        raise TypeError(f"{name} must be a pair of numbers, such as (0.9, 0.999), got {shown(value)}")
    return fraction(f"{name}[0]", value[0]), fraction(f"{name}[1]", value[1])


def switch(name: str, value: Any) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be one of True and False, got {shown(value)}")
    return bool(value)


def one_of(*names: str) -> Check:
    """Return the check of a name among several."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, names))}, got {shown(value)}")
        return str(value)

    return check
