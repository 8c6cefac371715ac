"""What a traced function asks Python and the system for: modules, files, the clock.

Owns: noticing it while the function runs.
Must not own: what is watched besides (`watch.py`), random numbers (`draws.py`).
Read next: `watch.py`.

While a function is traced, the functions by which it can ask are replaced by those that
take note of it. A module that is imported, a file that is opened or looked for, and an
answer that may be another one later are watched from then on. The clock is different in
each call, so reading it is an error.
"""

from __future__ import annotations

import builtins
import decimal
import functools
import gc
import importlib
import io
import locale
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from microgradnd.compiler.natives import frozen, settings_of
from microgradnd.compiler.places import MISSING
from microgradnd.compiler.recorder import TraceError, last_line, replaced
from microgradnd.lines import is_users, quoted_line
from microgradnd.tape import current

Way = Callable[[Any, Callable[..., Any]], Callable[..., Any]]

CLOCKS = ("time", "perf_counter", "monotonic", "process_time", "thread_time")
# Instructions of a line that reads the clock by a method of a date.
READ_DATE = {f"LOAD_{kind} {name}" for kind in ("ATTR", "METHOD") for name in ("now", "today", "utcnow")}
PRINTING = sys.modules[np.set_printoptions.__globals__["__name__"]]  # makes the texts of arrays
FOR_OTHERS = (os, "getcwd"), (PRINTING, "_make_options_dict")  # packages ask for their callers
stat = os.stat


@contextmanager
def noticed(watch: Any) -> Iterator[None]:
    """Notice what a function asks for while it runs."""
    with ExitStack() as stack:
        for owner, name, way in WAYS:
            stack.enter_context(replaced(owner, name, way(watch, getattr(owner, name))))
        yield


def is_noted(watch: Any) -> bool:
    return current().trace is watch.recorder and not watch.is_looking


def importing(watch: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(name, *args, **kwargs)
        finally:
            if is_noted(watch) and is_users(sys._getframe(1).f_code):
                with replaced(watch, "is_looking", True):
                    watch.look_up(sys.modules, name, name)
                    watch.look_at_all()

    return call


def asking(note: Callable[..., None], by_anybody: bool = False) -> Way:
    """Return a way to notice calls of a function by the user's code, or by any."""

    def way(watch: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if is_noted(watch) and (by_anybody or is_users(sys._getframe(1).f_code)):
                note(watch, function, *args, **kwargs)
            return function(*args, **kwargs)

        return call

    return way


def note_file(watch: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    path = next(iter((*args, *(kwargs[key] for key in ("file", "path") if key in kwargs), ".")))
    if isinstance(path, str | os.PathLike) and not os.fspath(path).endswith(".py"):
        watch.place(("file", os.fspath(path)), os.fspath(path), functools.partial(state_of_file, path))


def state_of_file(path: Any) -> Any:
    """Return what changes if a file or a folder is written to."""
    try:
        found = stat(path)
    except OSError:
        return MISSING
    return found.st_mtime_ns, found.st_size, found.st_ino


def note_clock(watch: Any, function: Callable[..., Any]) -> None:
    watch.recorder.refused = watch.recorder.refused or of_the_clock(last_line())


def of_the_clock(where: tuple[str, int] | None) -> TraceError:
    """Return the error for a program that would use one time for ever."""
    return TraceError(
        f"inside a compiled function{quoted_line(where)}, the clock is read, which the program does not repeat; read "
        f"it outside and pass the time, or write mg.anew(time.time)"
    )


def note_answer(watch: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    read = functools.partial(answer, READ_BY.get(function.__name__, function))
    watch.place(("", function), function.__name__, read, follows=False)


def answer(read: Callable[[], Any]) -> Any:
    """Return what can be compared of the answer to a question."""
    found = read()
    if isinstance(found, threading.Thread):
        return found, found.name
    return settings_of(found) if isinstance(found, decimal.Context) else frozen(found)


ANSWER, FILE, CLOCK = asking(note_answer), asking(note_file, by_anybody=True), asking(note_clock)
READ_BY: dict[str, Callable[[], Any]] = {
    "localcontext": decimal.getcontext,
    "setlocale": functools.partial(locale.setlocale, locale.LC_ALL),
    "_make_options_dict": np.get_printoptions,
}
WAYS: tuple[tuple[Any, str, Way], ...] = (
    (builtins, "__import__", importing),
    (importlib, "import_module", importing),
    *((owner, "open", FILE) for owner in (builtins, io)),
    *((os, name, FILE) for name in ("stat", "listdir", "scandir")),
    *((time, f"{name}{unit}", CLOCK) for name in CLOCKS for unit in ("", "_ns")),
    *((owner, name, asking(note_answer, by_anybody=True)) for owner, name in FOR_OTHERS if hasattr(owner, name)),
    *((np, name, ANSWER) for name in ("geterr", "geterrcall", "getbufsize", "get_printoptions")),
    *((threading, name, ANSWER) for name in ("get_ident", "get_native_id", "current_thread")),
    *((decimal, name, ANSWER) for name in ("getcontext", "localcontext")),
    *((os, "getpid", ANSWER), (sys, "getrecursionlimit", ANSWER), (gc, "get_threshold", ANSWER)),
    *((locale, name, ANSWER) for name in ("getlocale", "localeconv", "setlocale")),
    *((np.random, "get_state", ANSWER), (random, "getstate", ANSWER)),
)
ASKED = {getattr(owner, name): way for owner, name, way in WAYS}  # by the function itself
