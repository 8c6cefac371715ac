"""How calls are recorded: not at all, or again.

Owns: `no_grad`, `enable_grad`, and what all modes share: contexts that change the mode and restore it.
Must not own: the recording itself (`tape.py`, `tensor.py`), or the checks of `detect_anomaly` (`anomaly.py`).
Read next: `tensor.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from microgradnd import refusals
from microgradnd.annotations import P, R
from microgradnd.decorators import decorated
from microgradnd.tape import MODE, Mode, Operation, current


class Recording:
    """A context that changes the mode, of this thread or asyncio task, and restores it; also a decorator.

    A decorated generator or coroutine runs its own steps in the mode, and leaves it while it is suspended. One object
    may be entered recursively, and by several threads.
    """

    def __init__(self, *wrong: Any) -> None:
        if wrong:
            raise refusals.takes_nothing(type(self).__name__, wrong[0])

    def changed(self, mode: Mode) -> Mode:
        """Return the mode within, given that around it."""
        return mode

    @property
    def key(self) -> Any:
        """What it is known by among the contexts that are entered."""
        return self

    def within(self, mode: Mode) -> Mode:
        """Return the mode within, which remembers that around it."""
        record, anomaly, trace, is_transformed, entered = self.changed(mode)
        return Mode(record, anomaly, trace, is_transformed, (*entered, (self.key, mode)))

    def __enter__(self) -> Any:
        MODE.set(self.within(current()))

    def __exit__(self, *_: object) -> None:
        entered = current().entered
        context, mode = entered[-1]
        if context is not self.key:  # entered since and still open: suspended generators end in any order
            last = max(i for i, (context, _) in enumerate(entered) if context is self.key)
            mode = entered[last][1]
            for context, _ in entered[last + 1 :]:
                mode = context.within(mode)
        MODE.set(mode)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return decorated(self, function)


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

    key: Any = None  # set below: all contexts of this kind are equal
    latest: tuple[Any, Any] = (None, None)  # a mode, and that within it, as every step of a training needs them

    def changed(self, mode: Mode) -> Mode:
        return mode._replace(record=None if mode.trace is None else mode.trace.record_constant)

    def __enter__(self) -> None:
        mode, (around, within) = current(), no_grad.latest
        if around is not mode:
            within = self.within(mode)
            no_grad.latest = mode, within
        MODE.set(within)


no_grad.key = no_grad()


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

    def changed(self, mode: Mode) -> Mode:
        if mode.trace is not None:
            return mode._replace(record=mode.trace.record)
        outer = (before.record for _, before in reversed(mode.entered) if before.record is not None)
        return mode._replace(record=mode.record or next(outer, Operation))  # as it was: checked, if it was checked


class transformed(enable_grad):
    """Record a function that is being transformed, in which a number that leaves the tape loses its derivative."""

    def changed(self, mode: Mode) -> Mode:
        return super().changed(mode)._replace(is_transformed=True)
