"""Changing a Tensor: `t[i] = v`, `t += v`, and the update of a leaf in place.

Owns: the second of the four files of the class `Tensor`, and when an assignment may write to the array itself.
Must not own: which Tensors see the same memory (`views.py`), or recording (`tensor.py`).
Read next: `views.py`.

A Tensor is a variable, a recorded operation is a value. So an assignment records a new value, and lets the variable
stand for it. Only a leaf that requires a gradient is itself changed, under `no_grad()`, as optimizers do it.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from microgradnd import primitives, tape, views
from microgradnd.arraylike import ArrayLike
from microgradnd.failures import fail
from microgradnd.operands import LOCKED, operand, protected
from microgradnd.registry import name_of
from microgradnd.tape import Leaf, Node, Operation, current, traceable

COPIED = 256  # elements: arrays that are smaller are copied by each assignment, which costs next to nothing


def _in_place(function: Any, run: Callable[[Any, Any], Any]) -> Any:
    """Make the method of an augmented assignment: a new value for the same variable."""

    def method(self: Assignable, other: Any) -> Assignable:
        node = self._node
        mode = current()
        if type(node) is Leaf and mode.record is None and node.requires_grad and mode.anomaly is None:
            try:  # what optimizers written out do
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
    """Return the new value of an augmented assignment, or raise if it doesn't fit in the variable."""
    result = tensor.__array_function__(function, (), (tensor, other), {})
    if result.shape != tensor.shape or not np.can_cast(result.dtype, tensor.dtype, "same_kind"):
        raise (ValueError if result.shape != tensor.shape else TypeError)(
            f"{name_of(function)}: the result of shape {result.shape} and dtype {result.dtype} doesn't fit in a "
            f"tensor of shape {tensor.shape} and dtype {tensor.dtype}; go on with a new value (t = t + ...)"
        )
    return result if result.dtype == tensor.dtype else result.astype(tensor.dtype)


class Update:
    """Gives a leaf's array to be changed in place, and makes the leaf newer than everything that used the old value."""

    __slots__ = ("leaf", "locked")
    locked: Any

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf

    def __enter__(self) -> Any:
        array: Any = self.leaf.data
        self.locked = None
        if not array.flags.writeable:
            self.locked = array
            if LOCKED.get(id(array), self) is not array:
                raise protected(self.leaf)
            array.flags.writeable = True  # of detect_anomaly, which catches changes that the tape isn't told of
        return array

    def __exit__(self, *_: object) -> None:
        tape.touch(self.leaf)
        if self.locked is not None:
            self.locked.flags.writeable = False


class Assignable(ArrayLike):
    """An array-like variable: it may stand for another value later."""

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
        """Return an index of several parts as one argument."""
        return plain_index(index)

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        node = self._node
        if node is not None and node.requires_grad and current().is_transformed:
            return self.__array_function__(np.copy, (), (self,), {})  # a leaf of its own would lose the derivative
        if node is not None and not isinstance(node, Leaf):
            raise RuntimeError(
                "only a leaf can be copied as a variable of its own; "
                "write t.copy() to record a copy, or detach() it first"
            )
        return variable(
            type(self),
            np.array(self._known("copy.copy() (t.copy() is recorded)")),
            node is not None and node.requires_grad,
            node and node.name,
        )

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
        """Return a context that gives a leaf's array, to be changed in place, and makes the tensor newer than its uses.

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
    """Return the array or number of what an array is changed by; an array of another kind would take it over."""
    if type(value) is np.ndarray or type(value) is float:
        return value
    return value._array if isinstance(value, ArrayLike) else operand(function, value)


def variable(cls: type[Any], array: Any, requires_grad: bool, name: str | None) -> Any:
    """Make a variable over an array as it is; a leaf if it needs one."""
    made = object.__new__(cls)
    made._array = array
    made._node = Leaf(array, requires_grad, name) if requires_grad or name else None
    return made


def leaf_to_update(tensor: Assignable) -> Leaf | None:
    """Return the leaf that an assignment is to update in place, None if it makes a new value, or raise."""
    node = tensor._node
    if node is None or not node.requires_grad:
        return None
    if isinstance(node, Leaf):
        if current().record is None:
            return node
        raise RuntimeError(
            f"{tape.describe(node)} requires a gradient, and changing it in place would lose it; update it under "
            f"mg.no_grad(), or go on with a new value (w = w + ..., or w = w.copy() to assign to)"
        )
    if current().record is not None:
        return None
    raise RuntimeError(
        f"{tape.describe(node)} was computed from tensors that require a gradient, which an assignment under no_grad() "
        f"would lose; assign outside of it, or to t.detach().copy()"
    )


def become(tensor: Any, value: Assignable, index: Any) -> None:
    """Let a variable stand for a new value, which differs from the old one at an index."""
    name = tensor.name
    array = value._array
    array = np.asarray(array) if isinstance(array, np.generic) else array  # of which views can be taken
    moved, outdated = views.replace(tensor, array, index)
    for other in outdated:
        other.__class__ = tensor.outdated
    tensor._node = value._node
    views.regroup(tensor, moved)
    if name is not None:
        tensor.name = name


def assign_in_place(tensor: Assignable, index: Any, value: Any) -> bool:
    """Write to the array itself, if nothing else can see it: not an operation, not a view, not the user.

    This makes a loop of assignments cost what they assign, not a copy of the array each. The operation recorded
    needs no old elements: its rules, and those of the assignment before, use the shape and dtype only.
    """
    array, node = tensor._array, tensor._node
    after = type(node) is Operation and node.function is primitives.setitem and node.out is array
    del array
    if not (node is None or after) or sys.getrefcount(tensor._array) != UNSEEN + after:
        return False
    array, other = tensor._array, value._node if isinstance(value, Assignable) else None
    recorded = after or (other is not None and other.requires_grad)
    if type(array) is not np.ndarray or array.base is not None or array.size < COPIED or not array.flags.writeable:
        return False
    if recorded and (node is None or current().record is not Operation):
        return False
    value = value._array if isinstance(value, ArrayLike) else value
    primitives.assign(array, index, value)
    if type(node) is Operation:
        node.out = primitives.expand(np.zeros((), array.dtype), array.shape)
        tensor._node = Operation(primitives.setitem, (node.out, index, value), {}, (node, None, other), array)
    return True


def let_go(number: Any) -> None:
    """Keep no array that a number was picked from: the rule needs its shape and dtype only.

    So a loop that reads numbers of the array that it assigns to need not copy it.
    """
    node = number._node
    if type(node) is Operation and node.args is not None and node.args[0].size >= COPIED:
        array, index = node.args
        node.args = (primitives.expand(np.zeros((), array.dtype), array.shape), index)


def refuse_outdated(tensor: Any) -> Any:
    """Raise: the value of this tensor isn't what it would be in NumPy."""
    raise RuntimeError(
        "this tensor is outdated: it shares memory with another (one is a view of the other: a slice, .T, reshape, "
        "detach) that was assigned to since; in NumPy that changes both, but it is recorded for that one only. Take "
        "views after the assignment, or assign to a copy (t.copy())"
    )


def plain_index(index: Any) -> Any:
    """Return an index with the arrays of the Tensors in it: an index is data, not something to differentiate."""
    if type(index) is tuple:
        return index if primitives.is_basic(index) else tuple(map(plain_index, index))
    if isinstance(index, list) and any(isinstance(part, ArrayLike) for part in index):
        return [plain_index(part) for part in index]
    if not isinstance(index, ArrayLike):
        return index
    return np.asarray(index._array) if (trace := current().trace) is None else trace.array(index)


_alone = Assignable()
_alone._array = np.zeros(1)
UNSEEN = sys.getrefcount(_alone._array)  # references to an array that a Tensor alone holds, as assign_in_place counts
