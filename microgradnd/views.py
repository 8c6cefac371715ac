"""Which Tensors see the same memory, as NumPy's views do, and what an assignment to one of them does to the others.

Owns: the weak record of Tensors that are views of one another, and which of them an assignment leaves behind.
Must not own: what is recorded (`tensor.py`).
Read next: `tensor.py`.

Assigning to an array changes every view of these elements. Assigning to a Tensor records a new value for that Tensor
alone, in an array of its own. The two agree as long as no other Tensor sees the elements; one that does is outdated,
and using it is an error. (A plain array taken with `t.data` isn't recorded here: it keeps the old value.)
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from microgradnd.primitives import is_basic
from microgradnd.tape import Leaf

WORK: Any = 10_000  # how hard to look for an overlap of interleaved views before one is assumed

# The living Tensors that share memory, each with the one whose assignment has outdated it
Family = dict["weakref.ref[Any]", "weakref.ref[Any] | None"]


def share(view: Any, args: tuple[Any, ...]) -> None:
    """Record of which of the Tensors that a new one was made from it is a view, if of any."""
    array = view._data
    owner = array if array.base is None else array.base
    for arg in args:
        seen = getattr(arg, "_data", None)
        if seen is owner or (seen is not None and owner is getattr(seen, "base", None)):
            try:
                family: Family = arg._family
            except AttributeError:
                family = arg._family = {}
                family[weakref.ref(arg, family.pop)] = None  # it leaves when it goes
            family[weakref.ref(view, family.pop)] = None
            view._family = family
            return


def replace(tensor: Any, array: Any, index: Any) -> list[Any]:
    """Give a Tensor a new array, which differs from its old one at an index; return the Tensors that this outdates."""
    old, cls = tensor._data, type(tensor)
    family: Family = getattr(tensor, "_family", {})
    living: list[tuple[Any, Any]] = [(reference, reference()) for reference in family]
    sharing = [
        (reference, other)
        for reference, other in living
        if other is not tensor and type(other) is cls and overlap(old, other._data)
    ]
    tensor._data = array
    if not sharing:
        return []
    changed = old
    if is_basic(index):
        index = index if type(index) is tuple else (index,)
        changed = old[index if ... in index else (*index, ...)]  # an array even where the index picks one element
    movable = old.base is None and array.strides == old.strides
    outdated = []
    for reference, other in sharing:
        if movable and not overlap(changed, other._data):  # its elements stay, but go on being those of this one
            move(other, old, array)
        else:
            family[reference] = weakref.ref(tensor)
            outdated.append(other)
    return outdated


def overlap(x: Any, y: Any) -> bool:
    """Return whether two arrays have an element in common; assume so if it is hard to tell."""
    return np.may_share_memory(x, y, WORK)


def move(view: Any, old: Any, new: Any) -> None:
    """Make a view of an array the same view of another of the same layout."""
    array = view._data
    offset = array.__array_interface__["data"][0] - old.__array_interface__["data"][0]
    view._data = np.ndarray(array.shape, array.dtype, new.ravel("K"), offset, array.strides)
    if isinstance(view._node, Leaf):
        view._node.data = view._data


def outdated_by(tensor: Any, value: Any) -> bool:
    """Return whether a Tensor is outdated by an assignment to another one, and by that alone."""
    family: Family = tensor._family
    return any(reference() is tensor and cause is not None and cause() is value for reference, cause in family.items())
