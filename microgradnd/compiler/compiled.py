"""`mg.compile`: a function and its derivative as one NumPy program.

Owns: `compile`, the programs of a function, and which of them a call needs.
Must not own: tracing (`trace.py`), or how a program is made and called (`programs.py`).
Read next: `trace.py`.

A signature may have several programs, for different states of what is around the
function: a layer that trains or doesn't, a setting that goes back and forth. A call
takes the latest that fits.
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
from microgradnd.batching import LEVELS, looped
from microgradnd.compiler.arguments import Arguments
from microgradnd.compiler.dispatch import MISS, dispatcher
from microgradnd.compiler.programs import Entry, entry_of
from microgradnd.compiler.saving import write
from microgradnd.compiler.sizes import LEAST
from microgradnd.compiler.source import identifier
from microgradnd.compiler.trace import Traced, traced
from microgradnd.failures import explained
from microgradnd.tape import current

Backend = Literal["numpy", "numba", "auto"]
OpenSizes = Literal["auto", "fixed"]
SYMBOLS = "nmklpqrsuvw"  # for open lengths

LONG = 3.0  # seconds of tracing from which on a note says how long the rest takes
RETRACES = 8  # calls in a row that find the same thing changed, after which it is an error
TRACING = threading.RLock()  # a trace lets captured variables stand for other values, which no other trace may see


class CacheInfo(NamedTuple):
    """How often programs were found, and made."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class Compiled(Generic[P, R]):
    """A function that runs as NumPy programs, one for each signature of its arguments;
    made by `compile`.
    """

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

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if (dispatch := self._dispatch) is not None:
            result: Any = dispatch(args, kwargs)
            if result is not MISS:
                self._hits += 1
                return result
        return self._find(args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        """Pickle it as its function is: by its name, or as what it was made of."""
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for name in getattr(self, "__qualname__", "").split("."):
            found = getattr(found, name, None)
        if found is self:
            return self.__qualname__
        return Compiled, (self.function, self.optimize, self.maxsize, self.backend, self.sizes)

    def _find(self, args: Any, kwargs: dict[str, Any]) -> Any:
        """Find the program for a call, or trace it, and run it."""
        arguments = Arguments(args, kwargs)
        mode = current()
        if mode.trace is not None or mode.is_transformed or LEVELS.get():  # another function or transform records it
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
        self._latest = entry
        self._dispatch = dispatch = dispatcher(self.function, arguments, entry)
        return dispatch(args, kwargs, is_known=True)

    def _trace(self, arguments: Arguments, key: Any, changes: list[str], related: list[Entry]) -> Entry:
        self._check_streak(changes)
        name, is_fixed = identifier_of(self.function), self.sizes == "fixed"
        before = next((entry for entry in reversed(related) if may_open(entry, arguments)), None)
        with TRACING, uncollected(), looped() as names:
            if before is None:
                places = {} if is_fixed else to_open(arguments, [entry.traced for entry in related])
                start = time.perf_counter()
                found = traced(self.function, arguments, places)
                if (seconds := time.perf_counter() - start) > LONG:  # what follows takes about as long
                    what = f"{name}, {len(found.program.steps)} steps"
                    print(f"microgradnd: compiling {what}, takes about {seconds:.0f} s ...", file=sys.stderr)
                if found.sizes is None and related:  # what an earlier trace has pinned stays so
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
        """Raise if the same thing had changed in many calls in a row."""
        hits, streak = self._streak
        self._streak = self._hits, {name: (streak.get(name, 0) if hits == self._hits else 0) + 1 for name in changes}
        often = [name for name, times in self._streak[1].items() if times >= RETRACES]
        if often:
            self._streak = self._hits, {}
            raise RuntimeError(
                f"{identifier_of(self.function)} is compiled, and {often[0]!r}, which it takes from around it, had "
                f"changed in {RETRACES} calls in a row, so that it was traced anew in each; pass it as an argument (a "
                f"float or an array), keep it in a Tensor (mg.tensor) and assign to that, or for what a function gives "
                f"in each call write mg.anew(function, shape)"
            )

    @property
    def source(self) -> str:
        """The source of the program that ran last."""
        return self._ran("read .source").source

    @property
    def compile_seconds(self) -> float:
        """How many seconds compiling the loops of the latest program took, tracing not
        included.
        """
        return 0.0 if self._latest is None else self._latest.seconds

    def report(self) -> str:
        """Return which parts of the program that ran last are loops, which are calls of
        NumPy, and why.
        """
        return self._ran("read .report()").report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program that ran last to a Python file, which runs with NumPy
        alone.

        Its function takes the arrays among the arguments. It is for the shapes and
        dtypes of that call. Arrays that the compiled function took from around it, such
        as the parameters of a model, are saved in a file of the same name that ends in
        `.npz`.

        Parameters
        ----------
        path : str or path
            Ends in `.py`.

        Raises
        ------
        RuntimeError
            If the function hasn't been called.
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
            raise ValueError(f"a program is saved as a Python file; write the name as '{path.name}.py'")
        entry = self._ran("save it")
        write(path, entry.written, entry.captured())

    def _ran(self, what: str) -> Entry:
        if self._latest is None:
            raise RuntimeError(f"nothing has been traced yet: call the compiled function once, then {what}")
        return self._latest

    def cache_info(self) -> CacheInfo:
        """Return hits, misses, and the largest and present number of programs."""
        return CacheInfo(self._hits, self._misses, self.maxsize, len(self._entries))

    def cache_clear(self) -> None:
        """Forget all programs."""
        with self._lock:
            self._entries.clear()
            self._hits = self._misses = 0
            self._latest = self._dispatch = None
            self._streak = 0, {}


def may_open(entry: Entry, arguments: Arguments) -> bool:
    """Return whether a program for some lengths may become one for any, among them
    those of some arguments.
    """
    sizes = entry.traced.sizes if entry.sizes is None and entry.traced.general is not None else None
    fits = sizes is not None and sizes.open and sizes.serves(arguments.shapes) and entry.is_for(arguments)
    return bool(fits) and not entry.changes()


def to_open(arguments: Arguments, before: Sequence[Traced]) -> dict[str, list[tuple[int, int]]]:
    """Return the axes of arguments that have had other lengths before, by the symbols
    that these get.

    Axes that have always been equally long share one. An axis whose length a trace has
    pinned stays closed. In the first call, arrays that are equally long are taken for a
    batch, whose length will be another sooner or later.
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
    """Keep the garbage collector from going through what is made, again and again: all
    of it is in use, or freed.
    """
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
    """Turn a function of arrays into NumPy programs that do what it does, without this
    library in the loop.

    Parameters
    ----------
    function : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them. Without
        it, with options alone, what is returned takes the function: a decorator.
    optimize : bool
        Whether to write into planned buffers; otherwise the source is what a person
        would write.
    maxsize : int
        How many programs, one for each signature of the arguments and state of what is
        around, are kept.
    backend : {"numpy", "numba", "auto"}
        Whether the program is calls of NumPy, or loops that numba compiles, with calls
        of NumPy where there are none; "auto" times both on the first arguments of each
        signature, and keeps the faster. `.report()` tells.
    sizes : {"auto", "fixed"}
        Whether an axis of an array that turns out to have several lengths is left open,
        so that one program serves all of them, or each length has a program of its own.

    Returns
    -------
    Compiled
        Called like the function; `.source` is the program that ran last.

    Raises
    ------
    TypeError
        If it isn't given a function; when called, for what a program can't do.
    ValueError
        If `maxsize` isn't a positive integer, or `backend` is none of these.

    See Also
    --------
    static : an argument that is part of the program.
    anew : what is another in each call.

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
        raise ValueError(
            f"mg.compile: sizes must be 'auto' or 'fixed', got {sizes!r}: they say whether lengths may stay open"
        )
    if function is None:
        return lambda function: compile(function, optimize=optimize, maxsize=maxsize, backend=backend, sizes=sizes)
    if not callable(function):
        raise TypeError(
            f"mg.compile takes a function of arrays, got {function!r}; write a def or a lambda, and compile that"
        )
    return Compiled(function, optimize, maxsize, backend, sizes)
