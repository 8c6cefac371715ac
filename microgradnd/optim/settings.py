"""What a setting of an optimizer may be.

Owns: the checks of single settings, and the messages when they fail.
Must not own: which optimizer has which setting (`sgd.py`, `adam.py`), or where it is kept (`optimizer.py`).
Read next: `optimizer.py`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microgradnd.tensor import Tensor

Check = Callable[[str, Any], Any]  # (name, value) -> the value to keep, or an error


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


def wrong(name: str, expected: str, value: Any, number: int | float | None) -> Exception:
    """Return the error for a setting: of its type, or of its value."""
    return (TypeError if number is None else ValueError)(f"{name} must be {expected}, got {shown(value)}")


def not_negative(name: str, value: Any) -> int | float:
    """Return a finite number, 0 or more."""
    number = as_number(name, value)
    if number is None or not 0 <= number < math.inf:
        raise wrong(name, "a finite number, 0 or more", value, number)
    return number


def fraction(name: str, value: Any) -> int | float:
    """Return a number from 0 to below 1."""
    number = as_number(name, value)
    if number is None or not 0 <= number < 1:
        raise wrong(name, "a number from 0 to below 1", value, number)
    return number


def two_fractions(name: str, value: Any) -> tuple[int | float, int | float]:
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
