"""Modes of recording: turned off, or on again.

Owns: `no_grad`, `enable_grad`, and the parts that all modes share: contexts that change
the mode and restore it.
Must not own: the recording itself (`tape.py`, `tensor.py`), or the checks of
`detect_anomaly` (`anomaly.py`).
Read next: `tensor.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from microgradnd import refusals
from microgradnd.annotations import P, R
from microgradnd.decorators import decorated
from microgradnd.suspended import enter, leave
from microgradnd.tape import Mode, Operation


class Recording:
    """A context, or decorator, that changes the mode of this thread or asyncio task.

    In a generator or coroutine, decorated or around a `yield` of its body, it holds for
    the steps of that generator, not while it is suspended (`suspended.py`). You may
    enter one object recursively, and in several threads.
    """

    def __init__(self, *wrong: Any) -> None:
        if wrong:
            raise refusals.takes_nothing(type(self).__name__, wrong[0])

    def changed(self, mode: Mode) -> Mode:
        """Return the mode within, given the mode outside."""
        return mode

    @property
    def key(self) -> Any:
        """The key by which an entered context is found again."""
        return self

    def within(self, mode: Mode) -> Mode:
        """Return the mode within, which remembers the mode outside."""
        record, anomaly, trace, is_transformed, entered = self.changed(mode)
        return Mode(record, anomaly, trace, is_transformed, (*entered, (self.key, mode)))

    def __enter__(self) -> Any:
        enter(self.key)

    def __exit__(self, *_: object) -> None:
        leave(self.key)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return decorated(self, function)


class Equal(Recording):
    """A kind of context of which all are equal.

    The first stands for all of them. The class remembers a mode and the mode within,
    since every step of a training enters the same.
    """

    key: Any  # these two are set below, for each class
    latest: tuple[Any, Any]

    def within(self, mode: Mode) -> Mode:
        around, within = self.latest
        if around is not mode:
            within = super().within(mode)
            type(self).latest = (mode, within) if mode.trace is None else (None, None)  # a trace would be kept alive
        return within


class no_grad(Equal):
    """Record nothing in this thread while it is entered.

    Under it, `w -= lr * w.grad` updates a leaf in place.

    See Also
    --------
    enable_grad : records within it again.

    Examples
    --------
    >>> import microgradnd as mg
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> with mg.no_grad():
    ...     (w * w).requires_grad
    False
    """

    def changed(self, mode: Mode) -> Mode:
        return mode._replace(record=None if mode.trace is None else mode.trace.record_constant)


class enable_grad(Equal):
    """Record again, in this thread, inside a `no_grad`.

    See Also
    --------
    no_grad : records nothing.

    Examples
    --------
    >>> import microgradnd as mg
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> with mg.no_grad(), mg.enable_grad():
    ...     (w * w).requires_grad
    True
    """

    def changed(self, mode: Mode) -> Mode:
        record = mode.record if mode.trace is None else mode.trace.record
        if record is None:  # as before: with checks, if it had checks
            outer = (before.record for _, before in reversed(mode.entered) if before.record is not None)
            record = next(outer, Operation)
        return mode if record is mode.record else mode._replace(record=record)


class transformed(enable_grad):
    """Record a function for a transform: a number that leaves the tape is an error."""

    def changed(self, mode: Mode) -> Mode:
        return super().changed(mode)._replace(is_transformed=True)


for kind in (no_grad, enable_grad, transformed):
    kind.key, kind.latest = kind(), (None, None)
