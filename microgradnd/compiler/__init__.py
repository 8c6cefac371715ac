"""`mg.compile`: a function and its derivative as one NumPy program.

Owns: `compile`, the programs of a function, one for each signature, and how they are called.
Must not own: tracing (`trace.py`), rewriting (`passes.py`), printing (`source.py`).
Read next: `trace.py`.
"""

from __future__ import annotations

import functools
import os
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple

from microgradnd.annotations import P, R
from microgradnd.compiler.arguments import Arguments, static
from microgradnd.compiler.blocks import blocks
from microgradnd.compiler.buffers import plan
from microgradnd.compiler.dispatch import MISS, dispatcher
from microgradnd.compiler.fast import fast
from microgradnd.compiler.machine import Loops, race
from microgradnd.compiler.ownership import check_apart, own_results
from microgradnd.compiler.passes import drop_dead, late, optimized
from microgradnd.compiler.saving import Written, write
from microgradnd.compiler.source import HELPERS, Names, loaded, readable
from microgradnd.compiler.spelling import spell
from microgradnd.compiler.trace import Traced
from microgradnd.failures import explained
from microgradnd.tape import Leaf, mode, touch
from microgradnd.tensor import Tensor

__all__ = ["CacheInfo", "Compiled", "compile", "static"]

Backend = Literal["numpy", "numba", "auto"]

TRACING = threading.RLock()  # a trace lets captured variables stand for other values, which no other trace may see


class CacheInfo(NamedTuple):
    """How often programs were found, and made."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class Entry:
    """One program: what was traced, and the function that its source defines."""

    def __init__(self, traced: Traced, name: str, optimize: bool) -> None:
        self.traced = traced
        program = own_results(optimized(traced.program))
        names = Names(name)
        inputs = [(value, names.value(value, "x")) for value in program.inputs]
        self.report, self.seconds = f"{name}: every step is a call of NumPy", 0.0
        if optimize:
            program = late(blocks(drop_dead(spell(program))))
            allocation, text = fast(program, name, names, plan(program))
        else:
            allocation, text = "", readable(program, name, names)
        self.program = program
        self.constants = names.constants
        numbers = {value: i for i, value in enumerate(program.inputs)}
        self.updated = [numbers[value] for value in program.updates]
        helpers = "".join(f"{HELPERS[helper]}\n\n" for helper in HELPERS if helper in names.helpers)
        self.written = Written(name, inputs, names.constants, helpers, allocation + text)
        self.source = self.written.source()
        self.function = loaded(self.source, name, names.constants)

    def use_loops(self, name: str, backend: Backend, arrays: Sequence[Any]) -> None:
        """Run a program's loops instead of NumPy's; with `backend="auto"` if they are faster on these arrays."""
        try:
            loops = Loops(own_results(optimized(self.traced.program)), name)
        except ImportError as error:
            if backend != "auto":
                raise
            self.report += f"; {error}"
            return
        if backend == "auto":
            takes_numpy, takes_loops = race((self.function, loops.function), [*arrays, *self.captured()])
            measured = f"loops take {takes_loops:.3g} us, NumPy {takes_numpy:.3g} us"
            if takes_numpy <= takes_loops:
                self.report += f": {measured}"
                return
            loops.report = f"{measured}: loops\n{loops.report}"
        self.program, self.constants, self.source = loops.program, loops.constants, loops.source
        self.function, self.report, self.seconds = loops.function, loops.report, loops.seconds

    def captured(self) -> list[Any]:
        """Return the arrays of the surrounding program as they are now."""
        return [thing.data if isinstance(thing, Leaf) else thing for thing in self.traced.captured]

    def run(self, arrays: list[Any], owners: Sequence[Tensor | None]) -> Any:
        """Run the program on arrays, and tell the Tensors that hold those it has updated."""
        captured = self.traced.captured
        arrays = [*arrays, *self.captured()]
        if self.updated:
            check_apart([value.name or "an argument" for value in self.traced.program.inputs], arrays, self.updated)
        results = self.function(*arrays)
        for i in self.updated:
            owner = owners[i] if i < len(owners) else captured[i - len(owners)]
            leaf = owner._node if isinstance(owner, Tensor) else owner
            if type(leaf) is Leaf:
                touch(leaf)
        return results if self.traced.rebuild is None else self.traced.rebuild(list(results))

    def stale(self) -> bool:
        """Return whether something that the program depends on, beside its inputs, isn't as it was."""
        return self.traced.surroundings.changed() or any(
            thing.__form__() != form for thing, form in self.traced.depends
        )


class Compiled(Generic[P, R]):
    """A function that runs as NumPy programs, one for each signature of its arguments; made by `compile`."""

    def __init__(self, function: Callable[P, R], optimize: bool, maxsize: int, backend: Backend = "numpy") -> None:
        functools.update_wrapper(self, function, updated=())
        self.function: Callable[..., Any] = function
        self.optimize = optimize
        self.backend = backend
        self.maxsize = maxsize
        self._entries: OrderedDict[Any, Entry] = OrderedDict()
        self._hits = self._misses = 0
        self._latest: Entry | None = None
        self._dispatch: Callable[[Any], Any] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._dispatch is not None and not kwargs:
            result = self._dispatch(args)
            if result is not MISS:
                self._hits += 1
                return result
        return self._find(args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def _find(self, args: Any, kwargs: dict[str, Any]) -> Any:
        """Find the program for a signature, or trace it, and run it."""
        arguments = Arguments((*args, kwargs) if kwargs else args)
        inside = (
            mode.entered and mode.record is not None and any(getattr(x, "requires_grad", 0) for x in arguments.leaves)
        )
        if mode.trace is not None or inside:  # of another compiled function, or of a transform, which records it
            args = arguments.rebuilt()
            return self.function(*args[:-1], **args[-1]) if kwargs else self.function(*args)
        key = arguments.signature
        entry = self._entries.get(key)
        if entry is None or entry.stale():
            entry = self._entries[key] = self._trace(arguments, bool(kwargs))
            self._misses += 1
            if len(self._entries) > self.maxsize:
                self._entries.popitem(last=False)
        else:
            self._hits += 1
        self._entries.move_to_end(key)
        self._latest = entry
        owners = [arguments.leaves[i] if isinstance(arguments.leaves[i], Tensor) else None for i in arguments.inputs]
        if not kwargs:
            self._dispatch = dispatcher(args, entry.traced, entry.function, entry.updated)
        return entry.run(arguments.arrays(), owners)

    def _trace(self, arguments: Arguments, keywords: bool) -> Entry:
        def call(function: Any, inputs: list[Tensor]) -> Any:
            args = arguments.rebuilt(inputs)
            return function(*args[:-1], **args[-1]) if keywords else function(*args)

        leaves = [arguments.number(arguments.leaves[i]) for i in arguments.inputs]
        with TRACING:
            names, others = arguments.names(self.function), arguments.parts_of_the_program()
            traced = Traced(self.function, leaves, names, call, others)
        name = getattr(self.function, "__name__", "program").replace("<lambda>", "program")
        entry = Entry(traced, name, self.optimize)
        if self.backend != "numpy":
            entry.use_loops(name, self.backend, arguments.arrays())
        return entry

    @property
    def source(self) -> str:
        """The source of the program that ran last."""
        return self._ran().source

    @property
    def compile_seconds(self) -> float:
        """How long compiling the loops of the program that ran last took, beside the tracing."""
        return 0.0 if self._latest is None else self._latest.seconds

    def report(self) -> str:
        """Return which parts of the program that ran last are loops, which are calls of NumPy, and why."""
        if self._latest is None:
            raise RuntimeError("nothing has been traced yet: call the compiled function once, then read .report()")
        return self._latest.report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program that ran last to a Python file, which runs with NumPy alone.

        Its function takes arrays: for a Module or an optimizer those that it holds, in their order. It is for the
        shapes and dtypes of that call. Arrays that the compiled function took from around it are saved in a file of
        the same name that ends in `.npz`.

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
        write(path, self._ran().written, self._ran().captured())

    def _ran(self) -> Entry:
        if self._latest is None:
            raise RuntimeError(
                "nothing has been traced yet: call the compiled function once, then read .source or save it"
            )
        return self._latest

    def cache_info(self) -> CacheInfo:
        """Return hits, misses, and the largest and present number of programs."""
        return CacheInfo(self._hits, self._misses, self.maxsize, len(self._entries))


@explained
def compile(
    function: Callable[P, R], *, optimize: bool = True, maxsize: int = 32, backend: Backend = "numpy"
) -> Compiled[P, R]:
    """Turn a function of arrays into NumPy programs that run without this library.

    Parameters
    ----------
    function : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them.
    optimize : bool
        Whether to write into planned buffers; otherwise the source is what a person would write.
    maxsize : int
        How many programs, one for each signature of the arguments, are kept.
    backend : {"numpy", "numba", "auto"}
        Whether the program is calls of NumPy, or loops that numba compiles, with calls of NumPy where there are none;
        "auto" times both on the first arguments of each signature, and keeps the faster. `.report()` tells.

    Returns
    -------
    Compiled
        Called like the function; `.source` is the program that ran last.

    Raises
    ------
    TypeError
        If it isn't given a function.
    ValueError
        If `maxsize` isn't a positive integer, or `backend` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> step = mg.compile(lambda x: np.sum(x * x))
    >>> float(step(np.array([3.0, 4.0])))
    25.0
    """
    if not callable(function):
        raise TypeError(
            f"mg.compile takes a function of arrays, got {function!r}; write a def or a lambda, and compile that"
        )
    if not isinstance(maxsize, int) or maxsize < 1:
        raise ValueError(f"mg.compile: maxsize must be a positive integer, got {maxsize!r}: it counts programs to keep")
    if backend not in ("numpy", "numba", "auto"):
        raise ValueError(f"mg.compile: backend must be 'numpy', 'numba' or 'auto', got {backend!r}")
    return Compiled(function, optimize, maxsize, backend)
