"""Which Tensors share memory, as NumPy's views do, and which an assignment outdates.

Owns: the weak record of Tensors that are views of one another, and of the Tensors that
an assignment leaves behind.
Must not own: what is recorded (`tensor.py`), or whether anything else refers to an
array (`inplace.py`).
Read next: `tensor.py`.

Assigning to an array changes every view of the same elements. Assigning to a Tensor
records a new value for that Tensor alone, in an array of its own. The two agree unless
another Tensor sees the elements. Such a Tensor is outdated, and using it is an error.
(A plain array taken with `t.data` isn't recorded here: it keeps the old value.)
"""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np

from microgradnd.primitives import is_basic
from microgradnd.tape import WORK, Leaf, Node, current


class Family:
    """Tensors that share memory, and their nodes, which may outlive them.

    The references are weak, so none is kept alive.
    """

    limit = 16

    def __init__(self) -> None:
        self.tensors: list[ref[Any]] = []
        self.nodes: list[ref[Node]] = []

    def join(self, tensor: Any) -> None:
        """Add a Tensor; it gets a node if others have one, so that changes reach it."""
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
    """Record which of the arguments a new Tensor is a view of, if any."""
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
    """Give a Tensor without a node the node of a variable."""
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
        The views of the new array, and the Tensors that this outdates.
    """
    old, family = tensor._array, getattr(tensor, "_family", None)
    sharing = []
    for other in [reference() for reference in family.tensors] if family is not None else ():
        if other is None or other is tensor:
            continue
        if type(other._family) is tuple:
            other._family = family, None, None, None  # now outdated by several assignments
        elif overlap(old, other._array):
            sharing.append(other)
    tensor._array = array
    changed = picked(old, index) if sharing and is_basic(index) else old
    movable = old.base is None and array.strides == old.strides
    moved, outdated = [], []
    for other in sharing:
        if movable and not overlap(changed, other._array):  # unchanged, so it stays a view of this one
            move(other, old, array)
            moved.append(other)
        else:
            other._family = family, ref(tensor), old, type(other)
            outdated.append(other)
    return moved, outdated


def regroup(tensor: Any, moved: list[Any]) -> None:
    """Move a Tensor with a new array and node, and its views, to a new family."""
    if getattr(tensor, "_family", None) is not None:
        tensor._family = None
        family = Family()
        for member in (tensor, *moved) if moved else ():
            family.join(member)


def picked(array: Any, index: Any) -> Any:
    """Return `array[index]` for a basic index as a view, even for one element."""
    index = index if type(index) is tuple else (index,)
    return array[index if ... in index else (*index, ...)]


def where(array: Any) -> tuple[Any, ...]:
    """Return the place in memory of an array's elements."""
    return array.__array_interface__["data"][0], array.shape, array.strides


def overlap(x: Any, y: Any) -> bool:
    """Return whether two arrays share an element; True if that is hard to find out."""
    return np.may_share_memory(x, y, WORK)


def move(view: Any, old: Any, new: Any) -> None:
    """Turn a view of an array into the same view of another of the same layout."""
    array = view._array
    offset = where(array)[0] - where(old)[0]
    view._array = np.ndarray(array.shape, array.dtype, new.ravel("K"), offset, array.strides)
    if isinstance(view._node, Leaf):
        view._node.data = view._array
