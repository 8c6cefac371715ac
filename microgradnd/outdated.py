"""Tensors left behind by an assignment to another Tensor that shares their memory.

Owns: the class of such a Tensor. Every use of it is an error, except for one
assignment, which makes it usable again.
Must not own: which Tensors an assignment outdates (`views.py`).
Read next: `views.py`.
"""

from __future__ import annotations

from typing import Any

from microgradnd.primitives import is_basic
from microgradnd.tape import current
from microgradnd.tensor import Tensor
from microgradnd.views import picked, where


def refuse_outdated(tensor: Any) -> Any:
    """Raise: this tensor's value differs from its value in NumPy."""
    error = RuntimeError(
        "this tensor is outdated: it shares memory with another (one is a view of the other: a slice, .T, reshape, "
        "detach) that was assigned to since. In NumPy that changes both, but only the other records it; take views "
        "after the assignment, or assign to a copy (t.copy())"
    )
    if (trace := current().trace) is not None:
        trace.failed(error)
    try:
        raise error
    finally:
        del error  # it holds this frame, which would hold it


class Outdated(Tensor):
    """A Tensor changed through another that shares its memory; see `assignment.py`."""

    __slots__ = ()
    _array = _node = property(refuse_outdated)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.__class__ = Tensor  # type: ignore[assignment]
        if not resume(self, index, value):  # t[i] += v ends here, as view = t[i]; view += v; t[i] = view
            self.__class__ = Outdated
            refuse_outdated(self)
        self[index] = value

    def __repr__(self) -> str:
        return "tensor(<outdated>)"


def resume(tensor: Any, index: Any, value: Any) -> bool:
    """Make an outdated Tensor usable again if the assignment completes its value."""
    family, cause, seen, kind = tensor._family
    if cause is None or cause() is not value:
        return False
    trace = current().trace
    if is_basic(index):
        is_complete = where(picked(tensor._array, index)) == where(seen)
    else:
        is_complete = trace is not None and trace.variable.is_part(value, index)
    if is_complete:
        tensor._family, tensor.__class__ = family, kind
    return is_complete
