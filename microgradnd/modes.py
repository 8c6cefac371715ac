"""How this thread records: not at all, again, or with every value checked.

Owns: `no_grad`, `enable_grad` and `detect_anomaly`, which set what `tape.mode` holds and restore it.
Must not own: the recording itself (`tape.py`, `tensor.py`).
Read next: `tensor.py`.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from microgradnd.lines import quoted_line, user_line
from microgradnd.registry import Function, name_of
from microgradnd.tape import Operation, describe, mode


class Recording(contextlib.ContextDecorator):
    """Sets how this thread records, and restores it; one object may be entered recursively, and by several threads."""

    record: Callable[..., Operation] | None = Operation
    anomaly: Callable[[Any, Operation], None] | None = None

    def __enter__(self) -> None:
        mode.outer.append((mode.record, mode.anomaly))
        if mode.trace is not None:  # all is recorded, also what is constant for derivatives
            mode.record = mode.trace.record_constant if self.record is None else mode.trace.record
        elif self.record is Operation:  # again, and as it was: checked, if it was checked
            mode.record = next((record for record, _ in reversed(mode.outer) if record is not None), Operation)
        else:
            mode.record = self.record
        if self.anomaly is not None:
            mode.anomaly = self.anomaly

    def __exit__(self, *_: object) -> None:
        mode.record, mode.anomaly = mode.outer.pop()


class no_grad(Recording):
    """Record nothing, in this thread, while it is entered; under it, `w -= lr * w.grad` updates a leaf in place.

    Examples
    --------
    >>> import microgradnd as mg
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> with mg.no_grad():
    ...     (w * w).requires_grad
    False
    """

    record = None


class enable_grad(Recording):
    """Record again, in this thread, within a `no_grad`.

    Examples
    --------
    >>> import microgradnd as mg
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> with mg.no_grad(), mg.enable_grad():
    ...     (w * w).requires_grad
    True
    """


class detect_anomaly(Recording):
    """Find the first NaN or Inf, in this thread, while it is entered; slow, for debugging.

    Every recorded result and every cotangent is checked, and the arrays on the tape are locked until the context
    is left, so that writing to one behind the tape's back raises NumPy's "read-only" error. Each operation also notes
    which line of the user's code it comes from, for messages and pictures.

    Raises
    ------
    FloatingPointError
        By the operation that made the value, naming it.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> x = mg.tensor([1.0, 0.0], requires_grad=True)
    >>> with mg.detect_anomaly(), np.errstate(divide="ignore"):
    ...     np.log(x)
    Traceback (most recent call last):
    FloatingPointError: log made a NaN or Inf of shape (2,) from finite arguments (..., line 2: np.log(x))
    """

    def __init__(self) -> None:
        self.locked: list[weakref.ref[Any]] = []

    def __enter__(self) -> None:
        record = mode.record
        super().__enter__()
        if mode.trace is None:
            mode.record = None if record is None else functools.partial(self.checked, record)

    def checked(
        self,
        record: Callable[..., Operation],
        function: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parents: tuple[Any, ...],
        out: Any,
    ) -> Operation:
        """Record a call as without this context, and check its result."""
        node = record(function, args, kwargs, parents, out)
        note = node.annotate()
        note.line = note.line or user_line()
        if not _finite(out):
            made = (
                f"made a NaN or Inf of shape {node.shape} from finite"
                if all(map(_finite, args))
                else "was given a NaN or Inf in its"
            )
            raise FloatingPointError(f"{name_of(function)} {made} arguments{quoted_line(note.line)}")
        for array in (*args, out):
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array.flags.writeable = False
                self.locked.append(weakref.ref(array))
        return node

    def anomaly(self, g: Any, node: Operation) -> None:
        if not _finite(g):
            line = quoted_line(node.note.line if node.note else None)
            raise FloatingPointError(
                f"the derivative of {name_of(node.function)} made a NaN or Inf, for {describe(node)}{line}"
            )

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        while self.locked:
            if (array := self.locked.pop()()) is not None:
                array.flags.writeable = True


def _finite(value: Any) -> bool:
    parts = value if isinstance(value, tuple) else (value,)
    return all(bool(np.all(np.isfinite(p))) for p in parts if getattr(getattr(p, "dtype", None), "kind", "-") in "fc")
