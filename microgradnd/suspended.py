"""Modes entered in a generator: they hold while it runs, not while it is suspended.

Owns: which contexts are open in which generator, and the mode that they make.
Must not own: the contexts (`modes.py`), or decorated generators (`decorators.py`),
which leave the mode at each step.
Read next: `modes.py`.

Python doesn't report that a generator is suspended. So a context that is entered in a
generator isn't part of the mode but of a table, by the generator's frame. The mode is
replaced by a `Bound`, which checks at each access whether that frame is among the
callers. This costs about a microsecond, and only where such a context is open.

A generator under `contextlib.contextmanager`, or a fixture, is suspended while the body
of its `with` runs, but the mode is meant for that body. Such a generator is recognised
by its caller. The context then belongs to the code that entered the body, as it does
through an `ExitStack`.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from sys import _getframe  # used often
from types import FrameType
from typing import Any

from microgradnd.tape import MODE, Mode, current

COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE
STEPPED = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR | COROUTINE  # flags of functions that can be suspended
CONTEXTLIB = vars(contextlib)
# Modules whose functions run a generator on behalf of their callers
MANAGERS = {"contextlib", "_pytest.fixtures", "pluggy._callers", "pytest_asyncio.plugin"}


class Entered:
    """A context open in a generator, and the last mode that it made of another."""

    __slots__ = ("around", "context", "within")

    def __init__(self, context: Any) -> None:
        self.context = context
        self.around: Mode | None = None
        self.within: Any = None


OPEN: dict[FrameType, list[Entered]] = {}  # by the generator's frame


class Bound:
    """Stands for the mode while contexts are open in generators.

    Its attributes are those of the mode at the place of the access. `base` is the mode
    without these contexts; `owners` are the frames of generators that may be running.
    """

    __slots__ = ("base", "owners")

    def __init__(self, base: Mode, owners: set[FrameType]) -> None:
        self.base = base
        self.owners = owners

    def __getattr__(self, name: str) -> Any:
        return getattr(self.here(), name)

    def here(self) -> Mode:
        """Return the mode at this place."""
        if self.owners.isdisjoint(OPEN):  # all are closed, perhaps by another thread
            latest: Any = current()
            if latest is self:
                MODE.set(self.base)
            return self.base
        running, frame = [], _getframe(1)  # a plain loop, because each operation runs it
        while frame := frame.f_back:  # type: ignore[assignment]
            if frame in self.owners:
                running.append(frame)
        mode = self.base
        for frame in reversed(running):  # outermost first
            for entered in OPEN.get(frame, ()):
                if entered.around is not mode:
                    entered.around, entered.within = mode, entered.context.within(mode)
                mode = entered.within
        return mode


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame, its caller, and so on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def resolved(mode: Any) -> Mode:
    """Return the mode that a mode or a `Bound` stands for."""
    return mode.here() if type(mode) is Bound else mode


def enter(context: Any) -> None:
    """Enter a context: in the mode, or in the table if a generator entered it.

    The generator may have entered it through a function that it called.
    """
    mode: Any = current()
    frame = _getframe(2)  # the frame that entered it
    if not frame.f_code.co_flags & STEPPED and type(mode) is Mode and frame.f_globals is not CONTEXTLIB:
        MODE.set(context.within(mode))  # the usual case, which must be fast
        return
    base, owners = (mode.base, mode.owners) if type(mode) is Bound else (mode, set())
    owner = owner_of(frame) or next((running for running in callers(frame) if running in owners), None)
    if owner is None:
        base = context.within(base)
    else:
        OPEN.setdefault(owner, []).append(Entered(context))
        owners.add(owner)
    put(base, owners)


def leave(context: Any) -> None:
    """Leave a context, wherever it was entered."""
    mode: Any = current()
    if not OPEN and type(mode) is Mode and (entered := mode.entered) and entered[-1][0] is context:
        MODE.set(entered[-1][1])
        return
    base, owners = (mode.base, mode.owners) if type(mode) is Bound else (mode, set())
    for owner in callers(_getframe(2)):
        opened = OPEN.get(owner, [])
        if places := [i for i, entered in enumerate(opened) if entered.context is context]:
            del opened[places[-1]]
            if not opened:
                del OPEN[owner]
            break
    else:
        base = without(base, context)
    put(base, owners)


def put(base: Mode, owners: set[FrameType]) -> None:
    """Set the mode, with the contexts that generators have open on top of it."""
    owners &= OPEN.keys()
    MODE.set(Bound(base, owners) if owners else base)  # type: ignore[arg-type]  # it has a Mode's attributes


def without(mode: Mode, context: Any) -> Mode:
    """Return the mode without a context, which may not be the last one entered."""
    places = [i for i, (entered, _) in enumerate(mode.entered) if entered is context]
    if not places:  # it was entered in another thread or task
        return mode
    since = mode.entered[places[-1] + 1 :]
    mode = mode.entered[places[-1]][1]
    for entered, _ in since:
        mode = entered.within(mode)
    return mode


def owner_of(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the generator that owns a context, or None.

    The context was entered in the given frame.
    """
    while frame is not None:
        flags = frame.f_code.co_flags
        if not is_manager(frame):
            if not flags & STEPPED or (flags & COROUTINE and is_task()):
                return None
            if frame.f_back is None or not is_manager(frame.f_back):
                return frame
        frame = frame.f_back
    return None


def is_manager(frame: FrameType) -> bool:
    """Return whether a function enters contexts or runs generators for its caller."""
    return frame.f_globals.get("__name__") in MANAGERS


def is_task() -> bool:
    """Return whether coroutines run here in asyncio's tasks.

    A task has its own mode, which it shares with everything that it starts.
    """
    asyncio: Any = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
