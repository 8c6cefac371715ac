"""Which Tensors see the same memory, as NumPy's views do, and what an assignment to one of them does to the others.

Owns: the weak record of Tensors that are views of one another, and which of them an assignment leaves behind; whether
an array is seen by anything else.
Must not own: what is recorded (`tensor.py`).
Read next: `tensor.py`.

Assigning to an array changes every view of these elements. Assigning to a Tensor records a new value for that Tensor
alone, in an array of its own. The two agree as long as no other Tensor sees the elements; one that does is outdated,
and using it is an error. (A plain array taken with `t.data` isn't recorded here: it keeps the old value.)
"""

from __future__ import annotations

import sys
from typing import Any
from weakref import ref

import numpy as np

from microgradnd.primitives import is_basic
from microgradnd.tape import Leaf

WORK: Any = 10_000  # how hard to look for an overlap of interleaved views before one is assumed


HELD = 3  # references to an array that only its user has: a variable, the parameter here, and that of getrefcount


def is_alone(array: Any) -> bool:
    """Return whether nothing but one variable of the caller refers to an array, or to its memory."""
    owner = type(array) is np.ndarray and array.base is None and array.flags.writeable
    return owner and sys.getrefcount(array) <= HELD


class Family(list["ref[Any]"]):
    """Tensors that share memory. Those that have gone are dropped whenever their number has doubled."""

    limit = 16

    def prune(self) -> None:
        self[:] = [reference for reference in self if reference() is not None]
        self.limit = 2 * len(self) + 16


def share(view: Any, args: tuple[Any, ...]) -> None:
    """Record of which of the Tensors that a new one was made from it is a view, if of any."""
    array = view._array
    base = array.base
    for arg in args:
        seen = getattr(arg, "_array", None)
        if seen is not None and (
            seen is base or seen is array or (base is not None and base is getattr(seen, "base", None))
        ):
            try:
                family = arg._family
            except AttributeError:
                family = arg._family = Family([ref(arg)])
            view._family = family
            family.append(ref(view))
            if len(family) > family.limit:
                family.prune()
            return


def replace(tensor: Any, array: Any, index: Any) -> list[Any]:
    """Give a Tensor a new array, which differs from its old one at an index; return the Tensors that this outdates."""
    old, family = tensor._array, getattr(tensor, "_family", ())
    sharing = []
    for other in [reference() for reference in family]:
        if other is None or other is tensor:
            continue
        if type(other._family) is tuple:
            other._family = family, None, None  # outdated before, and now by more than one assignment
        elif overlap(old, other._array):
            sharing.append(other)
    tensor._array = array
    if not sharing:
        return []
    changed = picked(old, index) if is_basic(index) else old
    movable = old.base is None and array.strides == old.strides
    outdated = []
    for other in sharing:
        if movable and not overlap(changed, other._array):  # its elements stay, but go on being those of this one
            move(other, old, array)
        else:
            other._family = family, ref(tensor), old
            outdated.append(other)
    return outdated


def resume(tensor: Any, index: Any, value: Any) -> bool:
    """Make an outdated Tensor usable again if it is about to be assigned all that outdated it, where that belongs."""
    family, cause, seen = tensor._family
    if (
        cause is None
        or cause() is not value
        or not is_basic(index)
        or where(picked(tensor._array, index)) != where(seen)
    ):
        return False
    tensor._family = family
    return True


def picked(array: Any, index: Any) -> Any:
    """Return `array[index]` for a basic index as a view, even where it picks one element."""
    index = index if type(index) is tuple else (index,)
    return array[index if ... in index else (*index, ...)]


def where(array: Any) -> tuple[Any, ...]:
    """Return the place in memory that an array shows."""
    return array.__array_interface__["data"][0], array.shape, array.strides


def overlap(x: Any, y: Any) -> bool:
    """Return whether two arrays have an element in common; assume so if it is hard to tell."""
    return np.may_share_memory(x, y, WORK)


def move(view: Any, old: Any, new: Any) -> None:
    """Make a view of an array the same view of another of the same layout."""
    array = view._array
    offset = where(array)[0] - where(old)[0]
    view._array = np.ndarray(array.shape, array.dtype, new.ravel("K"), offset, array.strides)
    if isinstance(view._node, Leaf):
        view._node.data = view._array
