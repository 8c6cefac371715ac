"""Writing to the array itself: the update of a leaf, and assignments that nobody could
tell from a new value.

Owns: whether an assignment may write to the array of a variable, and what must be noted
then.
Must not own: what an assignment means (`assignment.py`), or which Tensors see the same
memory (`views.py`).
Read next: `assignment.py`.

An assignment records a new value, which takes a copy of the array. There are two cases
without one: a leaf that requires a gradient is updated under `no_grad()`, as optimizers
do it; and an array that nothing but its variable can see may be written to, so that a
loop of assignments costs what it assigns.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from microgradnd import primitives, tape
from microgradnd.arraylike import ArrayLike
from microgradnd.operands import LOCKED, protected
from microgradnd.tape import Leaf, Operation, current

COPIED = 256  # elements: arrays that are smaller are copied by each assignment, which costs next to nothing


class Update:
    """Gives a leaf's array to be changed in place, and makes the leaf newer than
    everything that used the old value.
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
            array.flags.writeable = True  # of detect_anomaly, which catches changes that the tape isn't told of
        return array

    def __exit__(self, *_: object) -> None:
        tape.touch(self.leaf)
        if self.locked is not None:
            self.locked.flags.writeable = False


def leaf_to_update(tensor: ArrayLike) -> Leaf | None:
    """Return the leaf that an assignment is to update in place, None if it makes a new
    value, or raise.
    """
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


def assign_in_place(tensor: ArrayLike, index: Any, value: Any) -> bool:
    """Write to the array itself, if nothing else can see it: not an operation, not a
    view, not the user.

    This makes a loop of assignments cost what they assign, not a copy of the array
    each. The operation recorded needs no old elements: its rules, and those of the
    assignment before, use the shape and dtype only.
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


def let_go(number: Any) -> None:
    """Keep no array that a number was picked from: the rule needs its shape and dtype
    only.

    So a loop that reads numbers of the array that it assigns to need not copy it.
    """
    node = number._node
    if type(node) is Operation and node.args is not None and node.args[0].size >= COPIED:
        array, index = node.args
        node.args = (primitives.expand(np.zeros((), array.dtype), array.shape), index)


class Holder:
    """Holds an array as a Tensor does."""

    __slots__ = ("_array",)
    _array: Any


_alone = Holder()
_alone._array = np.zeros(1)
UNSEEN = sys.getrefcount(_alone._array)  # references to an array that a Tensor alone holds, as assign_in_place counts
