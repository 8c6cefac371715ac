"""Writing to an array itself: updates of leaves, and assignments nobody can notice.

Owns: whether anything else refers to an array; whether an assignment may write to a
variable's array, and the bookkeeping that follows.
Must not own: the meaning of an assignment (`assignment.py`), or which Tensors share
memory (`views.py`).
Read next: `assignment.py`.

An assignment records a new value, which usually takes a copy of the array. Two cases
need no copy. A leaf that requires a gradient is updated under `no_grad()`, as
optimizers do. And an array that only its variable can see may be written to, so a loop
of assignments costs only the elements that it assigns.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from microgradnd import primitives, tape
from microgradnd.arraylike import ArrayLike
from microgradnd.operands import LOCKED, protected
from microgradnd.tape import Leaf, Operation, current

ndarray = np.ndarray
COPIED = 256  # elements: copying a smaller array at each assignment costs next to nothing


class Update:
    """Yields a leaf's array for a change in place, and marks the leaf as changed.

    Later, operations that used the old value can tell.
    """

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
            array.flags.writeable = True  # locked by detect_anomaly against unrecorded changes
        return array

    def __exit__(self, *_: object) -> None:
        tape.touch(self.leaf)
        if self.locked is not None:
            self.locked.flags.writeable = False


def leaf_to_update(tensor: ArrayLike) -> Leaf | None:
    """Return the leaf that an assignment updates in place, or None, or raise.

    None if the assignment makes a new value.
    """
    node = tensor._node
    if node is None or not node.requires_grad:
        return None
    if isinstance(node, Leaf):
        if current().record is None:
            return node
        raise RuntimeError(
            f"{tape.describe(node)} requires a gradient, and changing it in place would lose it; update it under "
            f"mg.no_grad(), or make a new value (w = w + ..., or w = w.copy() to assign to)"
        )
    if current().record is not None:
        return None
    raise RuntimeError(
        f"{tape.describe(node)} was computed from tensors that require a gradient, which an assignment under no_grad() "
        f"would lose; assign outside of it, or to t.detach().copy()"
    )


def assign_in_place(tensor: ArrayLike, index: Any, value: Any) -> bool:
    """Write to the array itself, if no operation, view or user can see it.

    A loop of assignments then costs only the elements that it assigns, not a copy of
    the array each time. The recorded operation needs no old elements: its rules, and
    those of the assignment before, use only the shape and dtype.
    """
    array, node = tensor._array, tensor._node
    after = type(node) is Operation and node.function is primitives.setitem and node.out is array
    del array
    if not (node is None or after) or sys.getrefcount(tensor._array) != UNSEEN + after:
        return False
    array, other = tensor._array, value._node if isinstance(value, ArrayLike) else None
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


def let_go(picked: Any) -> None:
    """Release the array that a number was picked from.

    The rule needs only its shape and dtype. So a loop that reads numbers of the array
    that it assigns to needs no copies.
    """
    node = getattr(picked, "_node", None)  # a batch has none
    if type(node) is not Operation or not isinstance(picked._array, np.generic):
        return
    if node.args is not None and node.args[0].size >= COPIED:
        array, index = node.args
        node.args = (primitives.expand(np.zeros((), array.dtype), array.shape), index)


def is_alone(array: Any) -> bool:
    """Return whether only one variable of the caller refers to an array's memory."""
    return type(array) is ndarray and array.base is None and array.flags.writeable and sys.getrefcount(array) <= HELD


# How many references there are depends on the Python: 3.14 doesn't count those that
# a call only borrows. So they are counted here as they are above.


class Holder:
    """Holds an array as a Tensor does."""

    __slots__ = ("_array",)
    _array: Any


def references(array: Any) -> int:
    """Return the number of references to an array, counted as in `is_alone`."""
    return sys.getrefcount(array)


def references_of_a_variable() -> int:
    """Return the number of references to an array that only a variable holds."""
    array = np.zeros(1)
    return references(array)


HELD = references_of_a_variable()
_alone = Holder()
_alone._array = np.zeros(1)
UNSEEN = sys.getrefcount(_alone._array)  # as in assign_in_place, where only a Tensor holds the array
