"""Python numbers in a trace: they take the dtype of the array that they meet.

Owns: the class of a traced Python number, and the dtype in which it enters a call.
Must not own: the conversion in the program (`translation.py`), or which arguments are
numbers (`arguments.py`).
Read next: `traced.py`.

Python computes among numbers in double precision, and gives a number. NumPy casts such
a number to the dtype of an array (NEP 50), but not a `np.float64`. So a traced number
is a value of float64 that stays a number in Python's operators. Where it meets an
array, the call is made and recorded with the Python number itself, and NumPy decides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.compiler.places import lookup
from microgradnd.compiler.traced import Picked, TracedTensor, is_inside, traced
from microgradnd.rules.values import on_arrays
from microgradnd.tensor import Tensor

NUMBERS: dict[type, type] = {float: np.float64, complex: np.complex128, int: np.int64, bool: np.bool_}
LOGICAL = ("and", "or", "xor", "lshift", "rshift")
ARITHMETIC = ("add", "sub", "mul", "truediv", "matmul", "mod", "floordiv", "divmod", "pow")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


class TracedNumber(TracedTensor):
    """A Python number that a program will compute, or that it gets."""

    __slots__ = ()
    is_weak = True

    def _class_outside(self) -> Any:
        return type(self._array.item())

    def __getattr__(self, name: str) -> Any:
        kind = self._class_outside()
        if not hasattr(kind, name):
            raise AttributeError(
                f"a Python {kind.__name__} doesn't have {name!r}; pass an array, np.asarray(number), or call a NumPy "
                f"function of it"
            )
        return super().__getattr__(name)

    def __getitem__(self, index: Any) -> Any:
        if not is_inside():
            kind = self._class_outside()
            raise TypeError(f"a Python {kind.__name__} can't be indexed; pass an array, np.asarray(number)")
        return super().__getitem__(index)

    def _entering(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Return what NumPy computes with: the Python number, if it meets an array."""
        others = [x for x in args if not is_number(x)]
        meets = isinstance(function, np.ufunc) or any(isinstance(x, Tensor | np.ndarray | np.generic) for x in others)
        return self._array.item() if others and meets else self._array

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if function is np.result_type:
            args = tuple(x._array.item() if type(x) is TracedNumber else x for x in args)
        if function is np.isreal:
            return np.imag(*args) == 0
        result = super().__array_function__(function, types, args, kwargs)
        return weak(result) if function in (np.real, np.imag) else result

    def __round__(self, digits: int | None = None) -> Any:
        return super().__round__() if digits is None else weak(rounded(self, digits))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":  # it makes arrays of them
            inputs = tuple(np.positive(x) if type(x) is TracedNumber else x for x in inputs)
        elif not kwargs and not all(map(is_number, inputs)):
            inputs = tuple(map(entered, inputs))
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)

    def __deepcopy__(self, memo: Any) -> Any:
        return self


@on_arrays
def rounded(x: Any, digits: int) -> Any:
    """Do what Python's round() does, which is more exact than np.round."""
    return np.asarray(round(np.asarray(x).item(), digits))[()]


def is_number(value: Any) -> bool:
    """Return whether a value is a Python number, traced or not."""
    return type(value) is TracedNumber or type(value) in NUMBERS


def is_countable(value: Any) -> bool:
    """Return whether a value is a Python number that a program can hold and change."""
    return type(value) is float or (type(value) is int and -(2**63) <= value < 2**63)


def number(value: Any, node: Any) -> Any:
    """Return the Python number that a node of the tape stands for."""
    return traced(np.asarray(value), node, TracedNumber)


def entered(value: Any) -> Any:
    """Return an operand for a call with arrays: a traced number has no dtype there."""
    return traced(value._array.item(), value._node) if type(value) is TracedNumber else value


def weak(result: Any) -> Any:
    """Return the result of an operator between Python numbers: a number again."""
    if isinstance(result, Tensor):
        return number(result._array, result._node)
    return tuple(map(weak, result)) if isinstance(result, tuple) else result


def _between(name: str, counts: bool) -> Any:
    """Make an operator's method: NumPy computes the same in double precision.

    If `counts` is true, a bool is 0 or 1, as in Python.
    """
    plain = getattr(TracedTensor, name)

    def method(self: Any, other: Any) -> Any:
        if is_number(other):
            return weak(plain(self.astype(int) if counts and self.dtype == bool else self, other))
        if not hasattr(type(other), "__array__") or type(other) is Picked:  # as a list or a text
            return NotImplemented
        return plain(entered(self) if isinstance(other, Tensor | np.ndarray | np.generic) else self, other)

    return method


def _unary(name: str) -> Any:
    plain = getattr(TracedTensor, name)
    return lambda self: weak(plain(self.astype(int) if self.dtype == bool else self))  # as in Python


def _hidden(name: str) -> property:
    """Hide from the user's code what an array has, but not a number."""
    plain: Any = lookup(TracedTensor, name)

    def read(self: Any) -> Any:
        if not is_inside():
            raise AttributeError(name)
        return plain.__get__(self, TracedNumber)

    return property(read)


for _name in dir(TracedTensor):
    if not _name.startswith("_") and not hasattr(int, _name) and _name != "outdated":
        setattr(TracedNumber, _name, _hidden(_name))
for _name in (*ARITHMETIC, *LOGICAL, *COMPARISONS):
    setattr(TracedNumber, f"__{_name}__", _between(f"__{_name}__", _name in ARITHMETIC))
for _name in (*ARITHMETIC, *LOGICAL):
    setattr(TracedNumber, f"__r{_name}__", _between(f"__r{_name}__", _name in ARITHMETIC))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(TracedNumber, f"__{_name}__", _unary(f"__{_name}__"))
TracedNumber.conjugate = _unary("conj")  # type: ignore[attr-defined]
