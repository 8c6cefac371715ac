"""The operators of a Tensor, and NumPy's ufuncs on it: the fast path to the tape.

Owns: the third of the four files of the class `Tensor`: `+`, `@`, `**` and the rest,
and `__array_ufunc__`.
Must not own: calls of other functions (`tensor.py`), which take the general path.
Read next: `tensor.py`.

A small network spends half of its time in operators, so theirs is the only path written
for speed. It does what `tensor.apply` does, for one or two operands without keywords.
"""

from __future__ import annotations

import array
import functools
import numbers
import operator
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from microgradnd import powers, primitives, registry
from microgradnd.annotations import Like
from microgradnd.assignment import Assignable, plain_index
from microgradnd.batching import Batched, highest
from microgradnd.conversions import Count
from microgradnd.failures import fail
from microgradnd.forms import with_options
from microgradnd.inplace import let_go
from microgradnd.operands import (
    COPIED,
    KINDS,
    SCALARS,
    admitted,
    check_kind,
    copied,
    is_foreign,
    operand,
    record_kept,
    refuse_nested,
)
from microgradnd.registry import VJPS, name_of
from microgradnd.tape import Operation, current, traceable

new_object = object.__new__
ndarray, maximum = np.ndarray, np.maximum
NO_KEYWORDS: dict[str, Any] = {}
SEQUENCES = (list, tuple)
# Or refused: their own operators, which repeat and join them, don't decide
TAKEN = (np.ndarray, np.generic, numbers.Number, array.array, *SEQUENCES, str, bytes, bytearray)


def in_mode(result: Any, record: Any, function: Any, values: tuple[Any, ...], parents: tuple[Any, ...]) -> Any:
    """Return an operator's result in an unusual mode: off, with checks, in a trace."""
    if (trace := current().trace) is not None:
        return trace.variable._computed(function, values, NO_KEYWORDS, parents, result._array)
    result._node = record and record(function, values, NO_KEYWORDS, parents, result._array)
    return result


def _binary(function: Any, run: Callable[[Any, Any], Any], swap: bool = False) -> Callable[[Like, Any], Like]:
    """Make the method of a binary operator.

    `run` is Python's operator, which takes a tenth of the ufunc's time on NumPy
    scalars.
    """
    reflected = "" if swap else f"__r{run.__name__.strip('_')}__"  # which the other operand may define
    reads = function not in (np.add, np.subtract)  # whether a rule reads the operands' elements

    def method(self: Any, other: Any) -> Any:
        kind, own = type(other), type(self)
        if kind is own:
            y, other_node = other._array, other._node
        elif kind is float or kind in SCALARS:
            y, other_node = other, None
        elif kind is ndarray:
            if other.dtype.kind in KINDS:
                check_kind(function, other)
            y, other_node = other, None
        elif kind is Count:
            y, other_node = int(other), None
        elif kind is complex:
            # Python would multiply it with a np.float64 itself, and return its own
            # number
            return self.__array_function__(function, (), (other, self) if swap else (self, other), NO_KEYWORDS)
        elif isinstance(other, Operators):  # either is outdated
            y, other_node = other._array, other._node
        elif isinstance(other, TAKEN) or not hasattr(kind, reflected) or is_foreign(other):
            if isinstance(other, SEQUENCES):
                refuse_nested(function, other)
            y, other_node = operand(function, other), None
        else:
            admitted(function, other)  # raises before the other operand's operator is tried
            return NotImplemented
        x, node = self._array, self._node
        if swap:
            x, y, node, other_node = y, x, other_node, node
        result = new_object(own)
        try:
            result._array = out = run(x, y)
        except Exception as error:
            fail(function, (other, self) if swap else (self, other), NO_KEYWORDS, error)
        if (node is not None and node.requires_grad) or (other_node is not None and other_node.requires_grad):
            if (record := current().record) is None:
                result._node = None
            elif record is not Operation:
                keep = functools.partial(record_kept, record) if reads else record
                return in_mode(result, keep, function, (x, y), (node, other_node))
            elif reads and type(plain := y if other_node is None else x if node is None else None) is ndarray:
                if plain.nbytes > COPIED:
                    result._node = record_kept(record, function, (x, y), NO_KEYWORDS, (node, other_node), out)
                else:
                    pair = (x, copied(y)) if other_node is None else (copied(x), y)
                    result._node = Operation(function, pair, NO_KEYWORDS, (node, other_node), out)
            else:
                result._node = Operation(function, (x, y), NO_KEYWORDS, (node, other_node), out)
        elif (node is None and other_node is None) or current().trace is None:
            result._node = None
        else:
            return in_mode(result, None, function, (x, y), (node, other_node))
        return result

    method.__doc__ = f"Return np.{function.__name__}({'other, self' if swap else 'self, other'})."
    return method


def _pair(function: Any, run: Callable[[Any, Any], Any]) -> tuple[Callable[[Like, Any], Like], ...]:
    """Make the methods of a binary operator; the second has the Tensor on the right."""
    return _binary(function, run), _binary(function, run, swap=True)


def _unary(function: Any, run: Callable[[Any], Any] | None = None) -> Callable[[Like], Like]:
    """Make the method of a unary operator; `run` is a faster equivalent."""
    run = run or function

    def method(self: Any) -> Any:
        node, result = self._node, new_object(type(self))
        try:
            result._array = out = run(self._array)
        except Exception as error:
            fail(function, (self,), NO_KEYWORDS, error)
        if node is None or (record := current().record) is None:
            result._node = None
        elif record is not Operation:
            return in_mode(result, record if node.requires_grad else None, function, (self._array,), (node,))
        else:
            result._node = (
                Operation(function, (self._array,), NO_KEYWORDS, (node,), out) if node.requires_grad else None
            )
        return result

    method.__doc__ = f"Return {name_of(function)}(self)."
    return method


@functools.lru_cache(16)
def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a read-only array of zeros."""
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


def positive_part(x: Any) -> Any:
    """Return `np.maximum(x, 0)`, by the loop for two arrays: it is vectorised."""
    small = type(x) is ndarray and 64 <= x.size <= 2**14 and x.dtype.kind == "f"
    return maximum(x, zeros(x.shape, x.dtype) if small else 0)


class Operators(Assignable):
    """A variable with operators."""

    __slots__ = ()

    __add__, __radd__ = _pair(np.add, operator.add)
    __sub__, __rsub__ = _pair(np.subtract, operator.sub)
    __mul__, __rmul__ = _pair(np.multiply, operator.mul)
    __truediv__, __rtruediv__ = _pair(np.divide, operator.truediv)
    __matmul__, __rmatmul__ = _pair(np.matmul, operator.matmul)
    __mod__, __rmod__ = _pair(np.remainder, operator.mod)
    __floordiv__, __rfloordiv__ = _pair(np.floor_divide, operator.floordiv)
    _square = _unary(np.square)
    _power, __rpow__ = _pair(np.power, powers.power)
    _element = _binary(primitives.getitem, operator.getitem)

    __and__, __rand__ = _pair(np.bitwise_and, operator.and_)
    __lshift__, __rlshift__ = _pair(np.left_shift, operator.lshift)
    __rshift__, __rrshift__ = _pair(np.right_shift, operator.rshift)
    __or__, __ror__ = _pair(np.bitwise_or, operator.or_)
    __xor__, __rxor__ = _pair(np.bitwise_xor, operator.xor)

    def __rdivmod__(self, other: Any) -> Any:
        return self.__array_ufunc__(np.divmod, "__call__", other, self)

    def __pow__(self, exponent: Any) -> Self:
        """Return np.power(self, exponent); for an exponent of 2, the square.

        Integers to the power 2.0 are floats, in NumPy as well.
        """
        is_number = type(exponent) is int or (type(exponent) is float and self._array.dtype.kind in "fc")
        return self._square() if is_number and exponent == 2 else self._power(exponent)

    __neg__, __pos__, __abs__ = _unary(np.negative), _unary(np.positive), _unary(np.absolute)
    __invert__ = _unary(np.invert)

    _total = _unary(np.sum, operator.methodcaller("sum"))
    relu = _unary(primitives.relu, positive_part)

    def sum(self, *args: Any, **kwargs: Any) -> Self:
        """Return np.sum(self, ...), as the array's own method does.

        Nearly every loss ends in a sum of everything.
        """
        return self.__array_function__(np.sum, (), (self, *args), kwargs) if args or kwargs else self._total()

    def __getitem__(self, index: Any) -> Self:
        if type(index) is int and self._array.ndim == 1:  # a number, which is no view
            picked = self._element(index)
        else:
            if type(index) in SEQUENCES and not primitives.is_basic(index):
                if highest(index) is not None:
                    return Batched.__primitive__(primitives.getitem, (self, index), NO_KEYWORDS)
                index = self._one_argument(index)
            picked = self.__array_function__(primitives.getitem, (), (self, index), NO_KEYWORDS)
        let_go(picked)
        return picked

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs:
            if ufunc in BINARY:  # array + tensor, or np.add(...)
                forward, swapped = BINARY[ufunc]
                return forward(*inputs) if isinstance(inputs[0], Operators) else swapped(inputs[1], inputs[0])
            if ufunc in UNARY and ufunc in VJPS:
                return UNARY[ufunc](*inputs)
            return self.__array_function__(ufunc, (), inputs, NO_KEYWORDS)
        if method == "outer":
            x, y = (part if hasattr(part, "ndim") else np.asarray(part) for part in inputs)  # a number's dtype counts
            return ufunc(np.reshape(x, (*np.shape(x), *(1,) * np.ndim(y))), y, **kwargs)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        if ufunc in registry.PLAIN:
            return self._call_plain(function, inputs, {k: plain_index(v) for k, v in kwargs.items()})
        if method == "__call__" and ufunc.signature is None:
            return with_options(ufunc, inputs, kwargs)
        return self.__array_function__(function, (), inputs, kwargs)

    @traceable
    def _call_plain(self, function: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function without a derivative on the arrays."""
        return function(*map(plain_index, inputs), **kwargs)


BINARY: dict[Any, tuple[Any, Any]] = {
    np.add: (Operators.__add__, Operators.__radd__),
    np.subtract: (Operators.__sub__, Operators.__rsub__),
    np.multiply: (Operators.__mul__, Operators.__rmul__),
    np.divide: (Operators.__truediv__, Operators.__rtruediv__),
    np.matmul: (Operators.__matmul__, Operators.__rmatmul__),
}
UNARY = {f: _unary(f) for f in vars(np).values() if isinstance(f, np.ufunc) and "d->d" in f.types}  # np.exp(tensor)
