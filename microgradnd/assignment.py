"""Changing a Tensor: `t[i] = v`, `t += v`, and the update of a leaf in place.

Owns: the second of the four files of the class `Tensor`.
Must not own: whether an assignment may write to the array itself (`inplace.py`), which
Tensors share memory (`views.py`), or recording (`tensor.py`).
Read next: `views.py`.

A Tensor is a variable, and a recorded operation is a value. An assignment therefore
records a new value, which the variable stands for from then on. Only a leaf that
requires a gradient changes itself, under `no_grad()`, as in an optimizer's step.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from microgradnd import primitives, refusals, tape, views
from microgradnd.arraylike import ArrayLike
from microgradnd.conversions import variable
from microgradnd.failures import fail
from microgradnd.inplace import Update, assign_in_place, leaf_to_update
from microgradnd.operands import as_array, operand, protected
from microgradnd.registry import name_of
from microgradnd.tape import Leaf, Node, current, traceable


def _in_place(function: Any, run: Callable[[Any, Any], Any]) -> Any:
    """Make an augmented assignment's method: a new value for the same variable."""

    def method(self: Assignable, other: Any) -> Assignable:
        node = self._node
        mode = current()
        if type(node) is Leaf and mode.record is None and node.requires_grad and mode.anomaly is None:
            try:  # as hand-written optimizers do
                run(node.data, other if type(other) is np.ndarray else entering(function, other))
            except ValueError as error:
                if node.data.flags.writeable:
                    fail(function, (self, other), {}, error)
                raise protected(node) from None
            node.position = tape.next_position()
            if node.aliases is not None:
                tape.touch(node)
            return self
        if mode.trace is not None:
            return mode.trace.variable._changed(self, function, other)
        if leaf_to_update(self) is not None:
            with self.updating() as array:
                run(array, entering(function, other))
            return self
        become(self, fitting(self, function, other), ...)
        return self

    method.__doc__ = f"Set self to np.{function.__name__}(self, other)."
    return method


def fitting(tensor: Assignable, function: Any, other: Any) -> Assignable:
    """Return the new value of an augmented assignment, or raise if it doesn't fit."""
    result = tensor.__array_function__(function, (), (tensor, other), {})
    if result.shape != tensor.shape or not np.can_cast(result.dtype, tensor.dtype, "same_kind"):
        raise refusals.unfit_result(name_of(function), result, tensor)
    return result if result.dtype == tensor.dtype else result.astype(tensor.dtype)


class Assignable(ArrayLike):
    """An array-like variable: later it may stand for another value."""

    __slots__ = ("_array", "_node")
    _node: Node | None
    outdated: type

    __iadd__, __isub__ = _in_place(np.add, operator.iadd), _in_place(np.subtract, operator.isub)
    __imul__, __itruediv__ = _in_place(np.multiply, operator.imul), _in_place(np.divide, operator.itruediv)
    __ipow__, __imatmul__ = _in_place(np.power, operator.ipow), _in_place(np.matmul, operator.imatmul)
    __imod__, __ifloordiv__ = _in_place(np.remainder, operator.imod), _in_place(np.floor_divide, operator.ifloordiv)

    def __setitem__(self, index: Any, value: Any) -> None:
        if (trace := current().trace) is not None:
            trace.variable.__setitem__(self, index, value)
            return
        index = plain_index(index) if type(index) in (tuple, list) else index
        value = primitives.array(value) if type(value) in (tuple, list) else value
        value = value if isinstance(value, ArrayLike) else entering("an assignment t[i] = value", value)
        if leaf_to_update(self) is not None:
            with self.updating() as array:
                primitives.assign(array, index, value._array if isinstance(value, ArrayLike) else value)
        elif not assign_in_place(self, index, value):
            become(self, self.__array_function__(primitives.setitem, (), (self, index, value), {}), index)

    @traceable
    def _one_argument(self, index: Any) -> Any:
        """Return an index of several parts as a single argument."""
        return plain_index(index)

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    @traceable
    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        node = self._node
        if node is not None and node.requires_grad and current().is_transformed:
            return self.__array_function__(np.copy, (), (self,), {})  # a new leaf would lose the derivative
        if node is not None and not isinstance(node, Leaf):
            raise refusals.not_a_variable()
        return variable(type(self), np.array(self._array), node is not None and node.requires_grad, node and node.name)

    def __reduce__(self) -> Any:
        node = self._node
        if node is not None and (type(node) is not Leaf or (node.requires_grad and current().is_transformed)):
            raise RuntimeError("a tape can't be pickled, and a derivative would be lost; detach() the tensor first")
        data = np.asarray(self._known("pickling"))
        return variable, (type(self), data, node is not None and node.requires_grad, node and node.name)

    def fill(self, value: Any) -> None:
        """Assign one value to every element."""
        self[...] = value

    @traceable
    def updating(self) -> Update:
        """Return a context that yields a leaf's array, for a change in place.

        Afterwards the tensor counts as newer than its uses.

        Returns
        -------
        context manager of numpy.ndarray

        Raises
        ------
        RuntimeError
            If the tensor was computed.

        Examples
        --------
        >>> import microgradnd as mg
        >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
        >>> with w.updating() as array:
        ...     array -= 1.0
        >>> w.data
        array([0., 1.])
        """
        node = self._node
        if node is None:
            become(self, self.__array_function__(np.copy, (), (self,), {}), ...)  # operations may hold the old array
            node = views.make_leaf(self, False)
        if not isinstance(node, Leaf):
            raise RuntimeError(f"{tape.describe(node)} was computed; only a leaf can be updated in place")
        return Update(node)


def entering(function: Any, value: Any) -> Any:
    """Return the array or number of an operand of an in-place change.

    An array of another library would otherwise take the operation over.
    """
    if type(value) is np.ndarray or type(value) is float:
        return value
    return value._array if isinstance(value, ArrayLike) else operand(function, value)


def become(tensor: Any, value: Assignable, index: Any) -> None:
    """Let a variable stand for a new value, which differs from the old at an index."""
    old, name = tensor._node, tensor.name
    array = value._array
    array = np.asarray(array) if isinstance(array, np.generic) else array  # which can have views
    moved, outdated = views.replace(tensor, array, index)
    for other in outdated:
        other.__class__ = tensor.outdated
    tensor._node = value._node
    views.regroup(tensor, moved)
    if type(old) is Leaf and tensor._node is None:  # a frozen variable stays a variable
        views.make_leaf(tensor, False, name).grad = old.grad
    elif name is not None:
        tensor.name = name


def plain_index(index: Any) -> Any:
    """Return an index with plain arrays for Tensors: an index isn't differentiated."""
    if type(index) is tuple:
        return index if primitives.is_basic(index) else tuple(map(plain_index, index))
    if isinstance(index, list) and any(isinstance(part, ArrayLike) for part in index):
        return [plain_index(part) for part in index]
    if not isinstance(index, ArrayLike):
        return index
    return as_array(index._array) if (trace := current().trace) is None else trace.array(index)
