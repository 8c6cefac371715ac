"""`mg.compile`: a function and its derivative as one NumPy program.

Owns: `compile`, the programs of a function, one for each signature, and how they are called.
Must not own: tracing (`trace.py`), rewriting (`passes.py`), printing (`source.py`).
Read next: `trace.py`.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from microgradnd.compiler.arguments import Arguments, static
from microgradnd.compiler.buffers import plan
from microgradnd.compiler.fast import fast
from microgradnd.compiler.passes import drop_dead, late, optimized
from microgradnd.compiler.source import HELPERS, Names, readable, spelled
from microgradnd.compiler.spelling import spell
from microgradnd.compiler.trace import Traced
from microgradnd.tape import Leaf, mode, next_position
from microgradnd.tensor import Tensor

__all__ = ["CacheInfo", "Compiled", "compile", "static"]

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
        program = optimized(traced.program)
        names = Names()
        if optimize:
            program = late(drop_dead(spell(program)))
            allocation, text = fast(program, name, names, plan(program))
        else:
            allocation, text = "", readable(program, name, names)
        self.program = program
        self.constants = names.constants
        numbers = {value: i for i, value in enumerate(program.inputs)}
        self.updated = [numbers[value] for value in program.updates]
        helpers = "".join(f"{HELPERS[helper]}\n\n" for helper in HELPERS if helper in names.helpers)
        made = [(constant, spelled(thing)) for constant, thing in names.constants.items()]
        constants = "".join(f"{constant} = {expression}\n" for constant, expression in made if expression)
        constants += "\n\n" if constants else ""
        self.source = f"import numpy as np\n\n\n{helpers}{constants}{allocation}{text}"
        namespace: dict[str, Any] = dict(names.constants)
        exec(builtins_compile(self.source, f"<compiled {name}>", "exec"), namespace)
        self.function = namespace[name]

    def run(self, arrays: list[Any], owners: Sequence[Tensor | None]) -> Any:
        """Run the program on arrays, and tell the Tensors that hold those it has updated."""
        captured = self.traced.captured
        if captured:
            arrays = arrays + [thing.data if isinstance(thing, Leaf) else thing for thing in captured]
        results = self.function(*arrays)
        for i in self.updated:
            owner = owners[i] if i < len(owners) else captured[i - len(owners)]
            leaf = owner._node if isinstance(owner, Tensor) else owner
            if type(leaf) is Leaf:
                leaf.position = next_position()
        return results if self.traced.rebuild is None else self.traced.rebuild(list(results))

    def stale(self) -> bool:
        """Return whether something that the program depends on, beside its inputs, isn't as it was."""
        return self.traced.surroundings.changed() or any(
            thing.__form__() != form for thing, form in self.traced.depends
        )


def builtins_compile(source: str, filename: str, mode: str) -> Any:
    import builtins

    return builtins.compile(source, filename, mode)


class Binding:
    """The arguments of the latest call, so that the next one with the same objects need not take them apart.

    Arrays are told by shape and dtype, numbers by type; objects that hold variables (a Module, an optimizer), and
    Tensors, must be the same, in the same form, and hold the same arrays.
    """

    def __init__(self, args: Sequence[Any], entry: Entry) -> None:
        self.entry = entry
        self.key = binding_key(args)
        self.objects = [(i, arg, arg.__form__()) for i, arg in enumerate(args) if hasattr(arg, "__form__")]
        self.held = {i: list(arg.__variables__()[0]) for i, arg, _ in self.objects}
        self.held.update({i: [arg] for i, arg in enumerate(args) if isinstance(arg, Tensor)})
        inputs = Arguments(args)
        self.arrays = inputs.arrays()
        self.owners = [inputs.leaves[i] if isinstance(inputs.leaves[i], Tensor) else None for i in inputs.inputs]
        places = {i: n for n, i in enumerate(inputs.inputs)}
        self.variables = [(n, t, t._data) for n, t in enumerate(self.owners) if t is not None]
        leaf, self.plain = 0, []  # (place among the inputs, number of the argument)
        for i in range(len(args)):
            if i not in self.held:
                if leaf in places:
                    self.plain.append((places[leaf], i))
                leaf += 1
            else:
                leaf += len(self.held[i])

    def inputs(self, args: Sequence[Any]) -> list[Any] | None:
        """Return the arrays for the program, or None if something isn't as it was."""
        for i, thing, form in self.objects:
            if args[i] is not thing or thing.__form__() != form:
                return None
        arrays = self.arrays
        for _, tensor, array in self.variables:
            if tensor._data is not array:
                return None
        arrays = arrays.copy()
        for n, i in self.plain:
            arrays[n] = args[i]
        return arrays


def binding_key(args: Sequence[Any]) -> Any:
    """Return what tells calls apart quickly; None where only taking the arguments apart does."""
    return tuple([(a.shape, a.dtype) if type(a) is np.ndarray else float if type(a) is float else id(a) for a in args])


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
        self._binding: Binding | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        binding = self._binding
        if binding is not None and not kwargs and binding.key == binding_key(args):
            arrays = binding.inputs(args)
            if arrays is not None and mode.trace is None and not binding.entry.stale():
                self._hits += 1
                return binding.entry.run(arrays, binding.owners)
        return self._find(args, kwargs)

    def _find(self, args: Any, kwargs: dict[str, Any]) -> Any:
        """Find the program for a signature, or trace it, and run it."""
        arguments = Arguments((*args, kwargs) if kwargs else args)
        inside = (
            mode.outer and mode.record is not None and any(getattr(x, "requires_grad", 0) for x in arguments.leaves)
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
        if not kwargs and all(type(a) in (np.ndarray, float, Tensor) or hasattr(a, "__form__") for a in args):
            self._binding = Binding(args, entry)
        return entry.run(arguments.arrays(), owners)

    def _trace(self, arguments: Arguments, keywords: bool) -> Entry:
        def call(function: Any, inputs: list[Tensor]) -> Any:
            args = arguments.rebuilt(inputs)
            return function(*args[:-1], **args[-1]) if keywords else function(*args)

        leaves = [arguments.leaves[i] for i in arguments.inputs]
        with TRACING:
            names, others = arguments.names(self.function), arguments.parts_of_the_program()
            traced = Traced(self.function, leaves, names, call, others)
        name = getattr(self.function, "__name__", "program").replace("<lambda>", "program")
        return Entry(traced, name, self.optimize)

    @property
    def source(self) -> str:
        """The source of the program that ran last."""
        if self._latest is None:
            raise RuntimeError("nothing has been traced yet: call the compiled function once, then read .source")
        return self._latest.source

    def cache_info(self) -> CacheInfo:
        """Return hits, misses, and the largest and present number of programs."""
        return CacheInfo(self._hits, self._misses, self.maxsize, len(self._entries))


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
