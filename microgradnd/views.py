"""Which Tensors see the same memory, as NumPy's views do, and what an assignment to one
of them does to the others.

Owns: the weak record of Tensors that are views of one another, and which of them an
assignment leaves behind; whether an array is seen by anything else.
Must not own: what is recorded (`tensor.py`).
Read next: `tensor.py`.

Assigning to an array changes every view of these elements. Assigning to a Tensor
records a new value for that Tensor alone, in an array of its own. The two agree as long
as no other Tensor sees the elements; one that does is outdated, and using it is an
error. (A plain array taken with `t.data` isn't recorded here: it keeps the old value.)
"""

from __future__ import annotations

import sys
from typing import Any
from weakref import ref

import numpy as np

from microgradnd.primitives import is_basic
from microgradnd.tape import WORK, Leaf, Node, current

ndarray = np.ndarray
HELD = 3  # references to an array that only its user has: a variable, the parameter here, and that of getrefcount


def is_alone(array: Any) -> bool:
    """Return whether nothing but one variable of the caller refers to an array, or to
    its memory.
    """
    return type(array) is ndarray and array.base is None and array.flags.writeable and sys.getrefcount(array) <= HELD


class Family:
    """Tensors that share memory, and their nodes, which may outlive them; weakly, so
    that none is kept alive.
    """

    limit = 16

    def __init__(self) -> None:
        self.tensors: list[ref[Any]] = []
        self.nodes: list[ref[Node]] = []

    def join(self, tensor: Any) -> None:
        """Take in a Tensor; one without a node gets one where others have, for a change
        of the memory to reach it.
        """
        tensor._family = self
        self.tensors.append(ref(tensor))
        if tensor._node is None and self.nodes and current().trace is None:
            tensor._node = Leaf(tensor._array, False)
        if (node := tensor._node) is not None:
            self.nodes.append(ref(node))
            if type(node) is Leaf:
                node.aliases = self.nodes
        if len(self.nodes) + len(self.tensors) > self.limit:
            self.tensors[:] = [reference for reference in self.tensors if reference() is not None]
            self.nodes[:] = [reference for reference in self.nodes if reference() is not None]
            self.limit = 2 * (len(self.nodes) + len(self.tensors)) + 16


def share(view: Any, args: tuple[Any, ...]) -> None:
    """Record of which of the Tensors that a new one was made from it is a view, if of
    any.
    """
    array = view._array
    base = array.base
    for arg in args:
        seen = getattr(arg, "_array", None)
        if seen is not None and (
            seen is base or seen is array or (base is not None and base is getattr(seen, "base", None))
        ):
            family = getattr(arg, "_family", None)
            if family is None:
                family = Family()
                family.join(arg)
            family.join(view)
            return


def make_leaf(tensor: Any, requires_grad: bool, name: str | None = None) -> Leaf:
    """Give a Tensor that was neither made a variable nor recorded the node of a
    variable.
    """
    tensor._node = leaf = Leaf(np.asarray(tensor._array), requires_grad, name)
    family = getattr(tensor, "_family", None)
    if type(family) is Family:
        family.join(tensor)
    return leaf


def replace(tensor: Any, array: Any, index: Any) -> tuple[list[Any], list[Any]]:
    """Give a Tensor a new array, which differs from its old one at an index.

    Returns
    -------
    moved, outdated : list of Tensor
        Those that are views of the new array now, and those that this outdates.
    """
    old, family = tensor._array, getattr(tensor, "_family", None)
    sharing = []
    for other in [reference() for reference in family.tensors] if family is not None else ():
        if other is None or other is tensor:
            continue
        if type(other._family) is tuple:
            other._family = family, None, None  # outdated before, and now by more than one assignment
        elif overlap(old, other._array):
            sharing.append(other)
    tensor._array = array
    changed = picked(old, index) if sharing and is_basic(index) else old
    movable = old.base is None and array.strides == old.strides
    moved, outdated = [], []
    for other in sharing:
        if movable and not overlap(changed, other._array):  # its elements stay, but go on being those of this one
            move(other, old, array)
            moved.append(other)
        else:
            other._family = family, ref(tensor), old
            outdated.append(other)
    return moved, outdated


def regroup(tensor: Any, moved: list[Any]) -> None:
    """Let a Tensor with a new array and node leave its family, together with the views
    that it has taken along.
    """
    if getattr(tensor, "_family", None) is not None:
        tensor._family = None
        family = Family()
        for member in (tensor, *moved) if moved else ():
            family.join(member)


def picked(array: Any, index: Any) -> Any:
    """Return `array[index]` for a basic index as a view, even where it picks one
    element.
    """
    index = index if type(index) is tuple else (index,)
    return array[index if ... in index else (*index, ...)]


def where(array: Any) -> tuple[Any, ...]:
    """Return the place in memory that an array shows."""
    return array.__array_interface__["data"][0], array.shape, array.strides


def overlap(x: Any, y: Any) -> bool:
    """Return whether two arrays have an element in common; assume so if it is hard to
    tell.
    """
    return np.may_share_memory(x, y, WORK)


def move(view: Any, old: Any, new: Any) -> None:
    """Make a view of an array the same view of another of the same layout."""
    array = view._array
    offset = where(array)[0] - where(old)[0]
    view._array = np.ndarray(array.shape, array.dtype, new.ravel("K"), offset, array.strides)
    if isinstance(view._node, Leaf):
        view._node.data = view._array
