"""Tensors that an assignment to another one has left behind, since the two share
memory.

Owns: the class of such a Tensor: every use of it is an error, except for one assignment
that makes it usable again.
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
    """Raise: the value of this tensor isn't what it would be in NumPy."""
    error = RuntimeError(
        "this tensor is outdated: it shares memory with another (one is a view of the other: a slice, .T, reshape, "
        "detach) that was assigned to since; in NumPy that changes both, but it is recorded for that one only. Take "
        "views after the assignment, or assign to a copy (t.copy())"
    )
    if (trace := current().trace) is not None:
        trace.failed(error)
    try:
        raise error
    finally:
        del error  # which holds this frame, and so would hold itself


class Outdated(Tensor):
    """A Tensor whose elements were assigned to through another that shares its memory;
    see `assignment.py`.
    """

    __slots__ = ()
    _array = _node = property(refuse_outdated)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.__class__ = Tensor  # type: ignore[assignment]
        if not resume(self, index, value):  # t[i] += v ends here: it is view = t[i]; view += v; t[i] = view
            self.__class__ = Outdated
            refuse_outdated(self)
        self[index] = value

    def __repr__(self) -> str:
        return "tensor(<outdated>)"


def resume(tensor: Any, index: Any, value: Any) -> bool:
    """Make an outdated Tensor usable again if it is about to be assigned all that
    outdated it, where that belongs.
    """
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
