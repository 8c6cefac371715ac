"""How calls are recorded: not at all, again, or with every value checked.

Owns: `no_grad`, `enable_grad` and `detect_anomaly`, and what they share: contexts that change the mode and restore it.
Must not own: the recording itself (`tape.py`, `tensor.py`).
Read next: `tensor.py`.
"""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from collections.abc import Callable, Generator
from typing import Any, ParamSpec, TypeVar

import numpy as np

from microgradnd import operands
from microgradnd.lines import quoted_line, user_line
from microgradnd.registry import Function, name_of
from microgradnd.tape import MODE, Mode, Operation, current, describe

P = ParamSpec("P")
R = TypeVar("R")


class Recording:
    """A context that changes the mode, of this thread or asyncio task, and restores it; also a decorator.

    A decorated generator or coroutine runs its own steps in the mode, and leaves it while it is suspended. One object
    may be entered recursively, and by several threads.
    """

    def __init__(self, *wrong: Any) -> None:
        if wrong:
            name = type(self).__name__
            raise TypeError(
                f"mg.{name}() takes no arguments, got {wrong[0]!r}; write `with mg.{name}():`, or @mg.{name}() with "
                f"parentheses above a function"
            )

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
        decorated: Any = function

        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return decorated(*args, **kwargs)

        def generator(*args: Any, **kwargs: Any) -> Any:
            return (yield from self.stepwise(decorated(*args, **kwargs)))

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await types.coroutine(self.stepwise)(decorated(*args, **kwargs))

        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            steps, step = decorated(*args, **kwargs), types.coroutine(self.stepwise)
            following = steps.asend(None)
            while True:
                try:
                    out = await step(following)
                except StopAsyncIteration:
                    return
                try:
                    following = steps.asend((yield out))
                except GeneratorExit:
                    await step(steps.aclose())
                    raise
                except BaseException as error:
                    following = steps.athrow(error)

        wrapper: Any = (
            generator
            if inspect.isgeneratorfunction(function)
            else coroutine
            if inspect.iscoroutinefunction(function)
            else async_generator
            if inspect.isasyncgenfunction(function)
            else call
        )
        return functools.wraps(function)(wrapper)

    def stepwise(self, steps: Any) -> Generator[Any, Any, Any]:
        """Run a generator or coroutine, each of its steps in this mode."""
        resume, value = steps.send, None
        while True:
            try:
                with self:
                    out = resume(value)
            except StopIteration as stop:
                return stop.value
            try:
                resume, value = steps.send, (yield out)
            except GeneratorExit:
                with self:
                    steps.close()
                raise
            except BaseException as error:
                resume, value = steps.throw, error


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
        return super().changed(mode)._replace(is_transformed=mode.trace is None)


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
        """Record a call as without this context, check its result, and lock and remember all arrays that it used."""
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
            line = quoted_line(node.note.line if node.note else None)
            raise FloatingPointError(
                f"the derivative of {name_of(node.function)} made a NaN or Inf, for {describe(node)}{line}"
            )

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        arrays = [array for reference in self.locked if (array := reference()) is not None]
        self.locked.clear()
        for array in sorted(arrays, key=lambda array: array.base is not None):  # a view after what it is a view of
            array.flags.writeable = True
            operands.LOCKED.pop(id(array), None)


def _finite(value: Any) -> bool:
    parts = value if isinstance(value, tuple) else (value,)
    return all(bool(np.all(np.isfinite(p))) for p in parts if getattr(getattr(p, "dtype", None), "kind", "-") in "fc")
