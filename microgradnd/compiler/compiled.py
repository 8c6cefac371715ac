"""`mg.compile`: a function and its derivative as one NumPy program.

Owns: `compile`, the programs of a function, and which of them a call needs.
Must not own: tracing (`trace.py`), or how a program is made and called (`programs.py`).
Read next: `trace.py`.

A signature may have several programs for different states of its captures: a layer that
trains or doesn't, a setting that goes back and forth. A call takes the latest program
that fits.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, overload

import numpy as np

from microgradnd.annotations import P, R
from microgradnd.batching import LEVELS, LOOPED, bound
from microgradnd.compiler.arguments import Arguments
from microgradnd.compiler.dispatch import MISS, dispatcher
from microgradnd.compiler.programs import Entry, entry_of
from microgradnd.compiler.saving import write
from microgradnd.compiler.sizes import LEAST
from microgradnd.compiler.source import identifier
from microgradnd.compiler.trace import Traced, traced
from microgradnd.compiler.watch import WRAPPERS
from microgradnd.failures import explained
from microgradnd.tape import current

Backend = Literal["numpy", "numba", "auto"]
OpenSizes = Literal["auto", "fixed"]
SYMBOLS = "nmklpqrsuvw"  # for open lengths

LONG = 3.0  # seconds of tracing, after which a note says how long the rest takes
RETRACES = 8  # calls in a row that find the same thing changed, after which it is an error
TRACING = threading.RLock()  # in a trace, captured variables have other values; no other trace may see them
if hasattr(os, "register_at_fork"):  # nor may a forked process, in which the trace would never end
    os.register_at_fork(before=TRACING.acquire, after_in_parent=TRACING.release, after_in_child=TRACING.release)


class CacheInfo(NamedTuple):
    """How often programs were found, and how often made."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class Compiled(Generic[P, R]):
    """A function that runs as NumPy programs, one per signature; made by `compile`."""

    # What changes with each call, and isn't watched; `vars()` has the settings and the
    # attributes that a user sets
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_compares",
        "_dispatch",
        "_entries",
        "_hits",
        "_latest",
        "_lock",
        "_misses",
        "_streak",
    )

    def __init__(
        self,
        function: Callable[P, R],
        optimize: bool,
        maxsize: int,
        backend: Backend = "numpy",
        sizes: OpenSizes = "auto",
    ) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function: Callable[..., Any] = function
        self.optimize = optimize
        self.backend, self.sizes = backend, sizes
        self.maxsize = maxsize
        self._lock = threading.RLock()
        self._entries: list[tuple[Any, Entry]] = []
        self._hits = self._misses = 0
        self._latest: Entry | None = None
        self._dispatch: Callable[..., Any] | None = None
        self._streak: tuple[int, dict[str, int]] = 0, {}
        self._compares = False  # whether a trace has found that it compares objects

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if (dispatch := self._dispatch) is not None:
            result: Any = dispatch(args, kwargs)
            if result is not MISS:
                self._hits += 1
                return result
        return self._find(args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        is_unbound = instance is None or isinstance(self.function, staticmethod)
        return self if is_unbound else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        """Pickle it like its function: by its name, or by what it was made from."""
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for name in getattr(self, "__qualname__", "").split("."):
            found = getattr(found, name, None)
        if found is self:
            return self.__qualname__
        return Compiled, (self.function, self.optimize, self.maxsize, self.backend, self.sizes)

    def _find(self, args: Any, kwargs: dict[str, Any]) -> Any:
        """Find the program for a call, or trace the function, and run the program."""
        arguments = Arguments(args, kwargs, self._compares)
        mode = current()
        is_recorded = mode.trace is not None or mode.is_transformed or LEVELS.get()  # by a function or a transform
        if is_recorded or mode.anomaly is not None:  # which looks at every operation
            args, kwargs = arguments.rebuilt({})
            return self.function(*args, **kwargs)
        key = arguments.signature, mode.record is None
        with self._lock:
            entry: Entry | None = None
            changes: list[str] = []
            related = [entry for known, entry in self._entries if known == key]
            for candidate in reversed([entry for entry in related if entry.fits(arguments)]):
                if not (changed := candidate.changes()):
                    entry = candidate
                    self._hits += 1
                    break
                changes = changes or changed
        if entry is None:
            entry = self._trace(arguments, key, changes, related)
            if entry.traced.compares and not self._compares:
                self._compares = True
                return self._find(args, kwargs)
        self._latest = entry
        self._dispatch = dispatch = dispatcher(self.function, arguments, entry)
        return dispatch(args, kwargs, is_known=True)

    def _trace(self, arguments: Arguments, key: Any, changes: list[str], related: list[Entry]) -> Entry:
        self._check_streak(changes)
        name, is_fixed = identifier_of(self.function), self.sizes == "fixed"
        before = next((entry for entry in reversed(related) if may_open(entry, arguments)), None)
        with TRACING, uncollected(), bound(LOOPED, set()) as names:
            if before is None:
                places = {} if is_fixed else to_open(arguments, [entry.traced for entry in related])
                start = time.perf_counter()
                found = traced(self.function, arguments, places)
                if (seconds := time.perf_counter() - start) > LONG:  # the rest takes about as long
                    what = f"{name}, {len(found.program.steps)} steps"
                    print(f"microgradnd: compiling {what}, takes about {seconds:.0f} s ...", file=sys.stderr)
                if found.sizes is None and related:  # lengths that an earlier trace has pinned stay pinned
                    found = found._replace(sizes=related[-1].traced.sizes)
            else:
                found = before.traced
            opening = bool(related) and not is_fixed
            entry = entry_of(found, name, self.optimize, self.backend, arguments, opening, before)
        if names:
            listed = ", ".join(sorted(names))
            entry = entry._replace(report=f"{entry.report}\nvmap: called for each example: {listed}")
        with self._lock:
            self._misses += 1
            self._entries.append((key, entry))
            del self._entries[: -self.maxsize]
        return entry

    def _check_streak(self, changes: list[str]) -> None:
        """Raise if the same capture has changed in many calls in a row."""
        since = [] if self._latest is None else self._latest.changes()  # other programs may be older than a change
        changes = [name for name in changes if name in since]
        hits, streak = self._streak
        self._streak = self._hits, {name: (streak.get(name, 0) if hits == self._hits else 0) + 1 for name in changes}
        often = [name for name, times in self._streak[1].items() if times >= RETRACES]
        if often:
            self._streak = self._hits, {}
            raise RuntimeError(
                f"{identifier_of(self.function)} is compiled, and the captured {often[0]!r} had changed in {RETRACES} "
                f"calls in a row, so each of them traced it again; pass {often[0]!r} as an argument (a float or an "
                f"array), keep it in a Tensor (mg.tensor) and assign to that, or write mg.anew(function, shape) for "
                f"a value that a function returns anew in each call"
            )

    @property
    def source(self) -> str:
        """The source of the program that ran last."""
        return self._ran("read .source").source

    @property
    def compile_seconds(self) -> float:
        """The seconds spent on compiling the latest program's loops, not on tracing."""
        return 0.0 if self._latest is None else self._latest.seconds

    def report(self) -> str:
        """Return which parts of the latest program are loops or NumPy calls and why."""
        return self._ran("read .report()").report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program that ran last to a Python file that runs with NumPy alone.

        Its function takes the arrays among the arguments, with the shapes and dtypes of
        that call. Arrays that the compiled function captured, such as the parameters of
        a model, are saved in a file of the same name with the suffix `.npz`.

        Parameters
        ----------
        path : str or path
            The file's name; it ends in `.py`.

        Raises
        ------
        RuntimeError
            If the function hasn't been called, or its surroundings have changed since.
        TypeError
            If the program calls a function that can't be written to a file.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> import numpy as np
        >>> import microgradnd as mg
        >>> gradient = mg.compile(mg.grad(lambda x: np.sum(np.sin(x))))
        >>> _ = gradient(np.zeros(3))
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "gradient.py"
        >>> gradient.save(path)
        >>> "import microgradnd" in path.read_text()
        False
        """
        path = Path(path)
        if path.suffix != ".py":
            raise ValueError(f"save: path must end in .py, got {path.name!r}; write '{path.name}.py'")
        entry = self._ran("save it")
        if changed := entry.changes():
            raise RuntimeError(
                f"save: the captured {changed[0]!r} has changed since the program was traced, so the next call needs "
                f"another program; call the compiled function again, then save that one"
            )
        write(path, entry.written, entry.captured(), entry.left())

    def _ran(self, what: str) -> Entry:
        if self._latest is None:
            raise RuntimeError(f"nothing has been traced yet: call the compiled function once, then {what}")
        return self._latest

    def cache_info(self) -> CacheInfo:
        """Return hits, misses, and the largest and current numbers of programs."""
        return CacheInfo(self._hits, self._misses, self.maxsize, len(self._entries))

    def cache_clear(self) -> None:
        """Forget all programs."""
        with self._lock:
            self._entries.clear()
            self._hits = self._misses = 0
            self._latest = self._dispatch = None
            self._streak = 0, {}


WRAPPERS[Compiled] = ()  # what it calls is in `vars()`


def may_open(entry: Entry, arguments: Arguments) -> bool:
    """Return whether a program for fixed lengths may become one for all lengths."""
    sizes = entry.traced.sizes if entry.sizes is None and entry.traced.general is not None else None
    fits = sizes is not None and sizes.open and sizes.serves(arguments.shapes) and entry.is_for(arguments)
    return bool(fits) and not entry.changes()


def to_open(arguments: Arguments, before: Sequence[Traced]) -> dict[str, list[tuple[int, int]]]:
    """Return the axes of arguments that have had several lengths, by their new symbols.

    Axes that have always had equal lengths share a symbol. An axis whose length a trace
    has pinned stays closed. In the first call, arrays of equal length are assumed to be
    a batch, whose length will change sooner or later.
    """
    shapes: Sequence[Any] = arguments.shapes
    if not before:
        batch = [(i, 0) for i, x in enumerate(arguments.leaves) if isinstance(x, np.ndarray) and x.ndim]
        lengths_of = {shapes[i][0] for i, _ in batch}
        return {SYMBOLS[0]: batch} if len(lengths_of) == 1 and min(lengths_of) >= LEAST else {}
    closed = {
        place
        for traced in before
        if traced.sizes
        for name in traced.sizes.pinned
        for place in traced.sizes.places[name]
    }
    lengths: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for i, shape in enumerate(shapes):
        for axis, n in enumerate(shape):
            history = (n, *(traced.shapes[i][axis] for traced in before))
            if n >= LEAST and len({*history}) > 1 and (i, axis) not in closed:
                lengths.setdefault(history, []).append((i, axis))
    return {(SYMBOLS[j] if j < len(SYMBOLS) else f"n{j}"): places for j, places in enumerate(lengths.values())}


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector, which would walk through the trace repeatedly."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def identifier_of(function: Callable[..., Any]) -> str:
    """Return a name for the programs of a function."""
    return identifier(str(getattr(function, "__name__", "program")).replace("<lambda>", "program"))


@overload
def compile(
    function: Callable[P, R],
    *,
    optimize: bool = True,
    maxsize: int = 32,
    backend: Backend = "numpy",
    sizes: OpenSizes = "auto",
) -> Compiled[P, R]: ...
@overload
def compile(
    *, optimize: bool = True, maxsize: int = 32, backend: Backend = "numpy", sizes: OpenSizes = "auto"
) -> Callable[[Callable[P, R]], Compiled[P, R]]: ...
@explained
def compile(
    function: Callable[..., Any] | None = None,
    *,
    optimize: bool = True,
    maxsize: int = 32,
    backend: Backend = "numpy",
    sizes: OpenSizes = "auto",
) -> Any:
    """Turn a function of arrays into NumPy programs that do without this library.

    Parameters
    ----------
    function : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them. With
        only options, `compile` returns a decorator.
    optimize : bool
        Whether to write into planned buffers; otherwise the source reads as if
        written by hand.
    maxsize : int
        How many programs to keep; each signature of the arguments and state of the
        captures has its own.
    backend : {"numpy", "numba", "auto"}
        "numpy" calls NumPy; "numba" compiles loops, and calls NumPy where it can't;
        "auto" times both on the first arguments of each signature, and keeps the
        faster. `.report()` says which.
    sizes : {"auto", "fixed"}
        "auto" leaves an axis open if it turns out to have several lengths, so that
        one program serves all of them; with "fixed", each length has a program of
        its own.

    Returns
    -------
    Compiled
        Called like the function; `.source` is the program that ran last.

    Raises
    ------
    TypeError
        If `function` isn't callable; when called, for what a program can't do.
    ValueError
        If `maxsize` isn't a positive integer, or an option isn't listed above.

    See Also
    --------
    static : an argument that is part of the program.
    anew : a value that is computed anew in each call.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> step = mg.compile(lambda x: np.sum(x * x))
    >>> float(step(np.array([3.0, 4.0])))
    25.0
    >>> @mg.compile(optimize=False)
    ... def double(x):
    ...     return 2 * x
    >>> double(np.array([3.0, 4.0]))
    array([6., 8.])
    """
    if not isinstance(maxsize, int) or maxsize < 1:
        raise ValueError(f"mg.compile: maxsize must be a positive integer, got {maxsize!r}: it counts programs to keep")
    if backend not in ("numpy", "numba", "auto"):
        raise ValueError(f"mg.compile: backend must be 'numpy', 'numba' or 'auto', got {backend!r}")
    if sizes not in ("auto", "fixed"):
        raise ValueError(f"mg.compile: sizes must be 'auto' or 'fixed', got {sizes!r}: 'auto' lets lengths stay open")
    if function is None:
        return lambda function: compile(function, optimize=optimize, maxsize=maxsize, backend=backend, sizes=sizes)
    if not callable(function):
        raise TypeError(
            f"mg.compile: function must be callable, got {function!r}; write a def or a lambda, and compile that"
        )
    return Compiled(function, optimize, maxsize, backend, sizes)
