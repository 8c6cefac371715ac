"""`mg.compile`: a function and its derivative as one NumPy program.

Owns: `compile`, the programs of a function, one for each signature, and how they are called.
Must not own: tracing (`trace.py`), rewriting (`passes.py`), printing (`source.py`).
Read next: `trace.py`.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from microgradnd.compiler.buffers import plan
from microgradnd.compiler.passes import late, optimized, spell
from microgradnd.compiler.source import HELPERS, Names, fast, readable
from microgradnd.compiler.trace import Traced
from microgradnd.tape import Leaf
from microgradnd.tensor import Tensor
from microgradnd.transforms import flatten, plain

__all__ = ["CacheInfo", "Compiled", "compile"]


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
        program = optimized(traced.program)
        names = Names()
        if optimize:
            program = late(spell(program))
            buffers = plan(program)
            text = fast(program, name, names, buffers)
        else:
            buffers = None
            text = readable(program, name, names)
        self.program = program
        self.constants = names.constants
        helpers = "".join(f"{HELPERS[helper]}\n\n" for helper in HELPERS if helper in names.helpers)
        self.source = f"import numpy as np\n\n\n{helpers}{allocation(buffers)}{text}"
        namespace: dict[str, Any] = dict(names.constants)
        exec(builtins_compile(self.source, f"<compiled {name}>", "exec"), namespace)
        self.function = namespace[name]

    def captured(self) -> list[Any]:
        """Return the arrays of the surrounding program as they are now."""
        return [thing.data if isinstance(thing, Leaf) else thing for thing in self.traced.captured]


def builtins_compile(source: str, filename: str, mode: str) -> Any:
    import builtins

    return builtins.compile(source, filename, mode)


def allocation(buffers: Any) -> str:
    """Return the source that allocates the buffers of one call; a pool of them serves calls from several threads."""
    if buffers is None or not buffers.buffers:
        return ""
    rows = "".join(f"        np.empty({shape}, np.{dtype.name}),\n" for shape, dtype in buffers.buffers)
    return f"_pool = []\n\n\ndef _allocate():\n    return (\n{rows}    )\n\n\n"


class Compiled:
    """A function that runs as NumPy programs, one for each signature of its arguments; made by `compile`."""

    def __init__(self, function: Callable[..., Any], optimize: bool, maxsize: int) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.optimize = optimize
        self.maxsize = maxsize
        self._entries: OrderedDict[Any, Entry] = OrderedDict()
        self._hits = self._misses = 0
        self._latest: Entry | None = None
        self._quick: dict[Any, Entry] = {}  # the latest program of arrays alone, found without taking arguments apart

    def __call__(self, *args: Any) -> Any:
        quick = tuple([(a.shape, a.dtype) if type(a) is np.ndarray else None for a in args])
        entry = self._quick.get(quick)
        if entry is not None:
            self._hits += 1
            return entry.function(*args)
        leaves, rebuild = flatten(args)
        key = (structure(args), tuple(signature(leaf) for leaf in leaves))
        entry = self._entries.get(key)
        if entry is None:
            entry = self._trace(args, leaves, rebuild)
            self._entries[key] = entry
            self._misses += 1
            if len(self._entries) > self.maxsize:
                self._entries.popitem(last=False)
        else:
            self._hits += 1
            self._entries.move_to_end(key)
        self._latest = entry
        if None not in quick and not entry.traced.captured and entry.traced.rebuild is None:
            self._quick = {quick: entry}
        arrays = [plain(leaf) for leaf in leaves if is_dynamic(leaf)]
        results = entry.function(*arrays, *entry.captured())
        return results if entry.traced.rebuild is None else entry.traced.rebuild(list(results))

    def _trace(self, args: Any, leaves: Sequence[Any], rebuild: Any) -> Entry:
        dynamic = [i for i, leaf in enumerate(leaves) if is_dynamic(leaf)]
        names = input_names(self.function, args)

        def call(function: Any, inputs: list[Tensor]) -> Any:
            whole = list(leaves)
            for i, tensor in zip(dynamic, inputs, strict=True):
                whole[i] = tensor
            return function(*rebuild(whole))

        traced = Traced(self.function, [plain(leaves[i]) for i in dynamic], [names[i] for i in dynamic], call)
        return Entry(
            traced, getattr(self.function, "__name__", "program").replace("<lambda>", "program"), self.optimize
        )

    @property
    def source(self) -> str:
        """The source of the program that ran last."""
        if self._latest is None:
            raise RuntimeError("nothing has been traced yet: call the compiled function once, then read .source")
        return self._latest.source

    def cache_info(self) -> CacheInfo:
        """Return hits, misses, and the largest and present number of programs."""
        return CacheInfo(self._hits, self._misses, self.maxsize, len(self._entries))


def is_dynamic(leaf: Any) -> bool:
    """Return whether an argument is an input of the program; integers, texts and the like are part of it."""
    return isinstance(leaf, np.ndarray | np.generic | Tensor | float | complex)


def signature(leaf: Any) -> Any:
    """Return what of an argument a program depends on."""
    if is_dynamic(leaf):
        value = plain(leaf)
        return (value.shape, value.dtype) if hasattr(value, "dtype") else type(value)
    return type(leaf), leaf


def structure(tree: Any) -> Any:
    """Return the form of nested arguments, as something hashable."""
    if isinstance(tree, tuple | list):
        return (type(tree), *(structure(part) for part in tree))
    if isinstance(tree, dict):
        return (dict, *((key, structure(part)) for key, part in tree.items()))
    return type(tree) if hasattr(tree, "__flatten__") else None


def input_names(function: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """Return a name for each leaf of the arguments: that of the parameter, with the path inside of it."""
    try:
        parameters = [p.name for p in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        parameters = []
    parameters += [f"x{i}" for i in range(len(parameters), len(args))]
    names: list[str] = []

    def walk(tree: Any, name: str) -> None:
        if isinstance(tree, dict):
            for key, part in tree.items():
                walk(part, str(key))
        elif isinstance(tree, tuple | list):
            for i, part in enumerate(tree):
                walk(part, f"{name}_{i}")
        elif hasattr(tree, "__flatten__"):
            leaves = flatten(tree)[0]
            names.extend((leaf.name if isinstance(leaf, Tensor) and leaf.name else name) for leaf in leaves)
        else:
            names.append(tree.name if isinstance(tree, Tensor) and tree.name else name)

    for parameter, arg in zip(parameters, args, strict=False):
        walk(arg, parameter)
    return names


def compile(function: Callable[..., Any], *, optimize: bool = True, maxsize: int = 32) -> Compiled:
    """Turn a function of arrays into NumPy programs that run without this library.

    Parameters
    ----------
    function : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them.
    optimize : bool
        Whether to write into planned buffers; otherwise the source is what a person would write.
    maxsize : int
        How many programs, one for each signature of the arguments, are kept.

    Returns
    -------
    Compiled
        Called like the function; `.source` is the program that ran last.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> step = mg.compile(lambda x: np.sum(x * x))
    >>> float(step(np.array([3.0, 4.0])))
    25.0
    """
    return Compiled(function, optimize, maxsize)
