"""Finding the first NaN or Inf, and every array changed behind the tape's back.

Owns: `detect_anomaly`, which is slow, for debugging.
Must not own: the parts that modes share (`modes.py`), or noticing a change
(`operands.py`).
Read next: `reasons.py`, which looks back from a wrong gradient.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from microgradnd import operands
from microgradnd.lines import quoted_line, user_line
from microgradnd.modes import Recording
from microgradnd.registry import Function, name_of
from microgradnd.tape import Mode, Operation, current, describe


class detect_anomaly(Recording):
    """Find the first NaN or Inf in this thread; slow, for debugging.

    While it is entered, it checks every recorded result and every cotangent. It locks
    the arrays on the tape, so writing to one behind the tape's back raises NumPy's
    "read-only" error. Each operation also notes its line in the user's code, for
    messages and pictures.

    Raises
    ------
    FloatingPointError
        By the operation that made the value; the message names it.

    See Also
    --------
    explain : says afterwards why a gradient is zero, missing or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> x = mg.tensor([1.0, 0.0], requires_grad=True)
    >>> with mg.detect_anomaly(), np.errstate(divide="ignore"):
    ...     np.log(x)
    Traceback (most recent call last):
    FloatingPointError: log made a NaN or Inf of shape (2,) from finite arguments...
    """

    def __init__(self, *wrong: Any) -> None:
        super().__init__(*wrong)
        self.locked: list[weakref.ref[Any]] = []

    def changed(self, mode: Mode) -> Mode:
        record = mode.record
        if record is not None and mode.trace is None:
            record = functools.partial(self.checked, record)
        return mode._replace(record=record, anomaly=self.anomaly)

    def checked(
        self,
        record: Callable[..., Operation],
        function: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parents: tuple[Any, ...],
        out: Any,
    ) -> Operation:
        """Record a call, check its result, and lock the arrays that it used."""
        node = record(function, args, kwargs, parents, out)
        note = node.annotate()
        note.line = note.line or user_line()
        if not _finite(out):
            made = (
                f"made a NaN or Inf of shape {node.shape} from finite"
                if all(map(_finite, args))
                else "was given a NaN or Inf in its"
            )
            marks = getattr(current().record, "marks", ())
            raise FloatingPointError(f"{name_of(function)} {made} arguments{in_scope(marks)}{quoted_line(note.line)}")
        arrays = [array for array in operands.arrays_in((*args, kwargs, out)) if array.size]
        operands.watch(node, arrays, np.ndarray.tobytes)
        for array in arrays:
            if array.flags.writeable:
                operands.LOCKED[id(array)] = array
                array.flags.writeable = False
                self.locked.append(weakref.ref(array))
        return node

    def anomaly(self, g: Any, node: Operation) -> None:
        if not _finite(g):
            where = in_scope(node.note.marks) + quoted_line(node.note.line) if node.note else ""
            raise FloatingPointError(
                f"the derivative of {name_of(node.function)} made a NaN or Inf, for {describe(node)}{where}"
            )

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        arrays = [array for reference in self.locked if (array := reference()) is not None]
        self.locked.clear()
        for array in sorted(arrays, key=lambda array: array.base is not None):  # a view after its base
            array.flags.writeable = True
            operands.LOCKED.pop(id(array), None)


def in_scope(marks: tuple[tuple[int, Any, str], ...]) -> str:
    """Return an operation's innermost scope, as messages put it; '' without one."""
    names = [name for _, module, name in marks if module is None]
    return f", in {names[-1]!r}" if names else ""


def _finite(value: Any) -> bool:
    parts = value if isinstance(value, tuple) else (value,)
    return all(bool(np.all(np.isfinite(p))) for p in parts if getattr(getattr(p, "dtype", None), "kind", "-") in "fc")
