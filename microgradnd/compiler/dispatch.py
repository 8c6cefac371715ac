"""The quick way from a call to its program.

Owns: the function that checks whether a call is like the one before, and if so runs the same program.
Must not own: the checks that take arguments apart (`arguments.py`), or what surroundings are (`guards.py`).
Read next: `__init__.py`.

A small step takes a few microseconds, and a loop over its arguments would be a good part of that. So the checks are
written out as one expression, like the program itself. Arrays are told by shape and dtype, numbers by type; objects
that hold variables (a Module, an optimizer), and Tensors, must be the same, in the same form, and hold the same arrays.
Whatever fails a check here is looked at again slowly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microgradnd.compiler.arguments import Arguments
from microgradnd.compiler.guards import MUTABLE, contents, same
from microgradnd.compiler.ownership import apart
from microgradnd.compiler.trace import Traced
from microgradnd.tape import Leaf, mode, next_position, touch
from microgradnd.tensor import Tensor

NUMBERS = (float, np.float64, np.float32)  # inputs that are told by their types
CONSTANTS = (bool, int, str, type(None))  # parts of the program
MISS = object()  # what a dispatcher returns for a call that it doesn't know


class Dispatcher:
    """Writes the quick way for calls like one that was made.

    Parameters
    ----------
    args : sequence
        The arguments of that call.
    traced : Traced
        What was traced for it.
    function : callable
        The program.
    updated : list of int
        Which of the program's inputs it updates.
    """

    def __init__(self, args: Sequence[Any], traced: Traced, function: Callable[..., Any], updated: list[int]) -> None:
        self.names: dict[str, Any] = {"MISS": MISS, "function": function, "mode": mode, "touch": touch}
        self.names["next_position"] = next_position
        self.checks = ["mode.trace is None"]
        self.arrays: list[str] = []  # the names of arrays among the arguments, and in them
        self.parts: list[str] = []
        inputs, leaves = [leaf for i, arg in enumerate(args) for leaf in self.look(f"a{i}", arg)], Arguments(args)
        given = [inputs[i] for i in leaves.inputs]
        for n, i in enumerate(leaves.inputs):
            if type(leaves.leaves[i]) in leaves.numbers:
                given[n] = f"{self.name(leaves.numbers[type(leaves.leaves[i])])}({given[n]})"
        owners = [
            self.name(x._node) if isinstance(x, Tensor) else None for x in (leaves.leaves[i] for i in leaves.inputs)
        ]
        for thing in traced.captured:
            name = self.name(thing)
            given.append(f"{name}.data" if isinstance(thing, Leaf) else name)
            owners.append(name if isinstance(thing, Leaf) else None)
        for _, read, value in traced.surroundings.bindings:
            self.guard(read, value)
        if traced.surroundings.kept:
            self.checks.append(f"not {self.name(traced.surroundings.arrays_changed)}()")
        for thing, form in traced.depends:
            self.checks.append(f"{self.name(thing)}.__form__() == {self.name(form)}")
        self.apart(given, updated)
        result = f"function({', '.join(given)})"
        if traced.rebuild is not None:
            result = f"{self.name(traced.rebuild)}(list({result}))"
        newer = [owner for i in updated if (owner := owners[i])]
        arguments = "".join(f"a{i}, " for i in range(len(args)))
        lines = [
            "def dispatch(args):",
            "    try:",
            f"        ({arguments}) = args",
            *(f"        {line}" for line in self.parts),
            f"        if not ({' and '.join(self.checks)}):",
            "            return MISS",
            "    except (AttributeError, LookupError, TypeError, ValueError):",
            "        return MISS",
            f"    result = {result}",
            *([f"    {' = '.join(f'{owner}.position' for owner in newer)} = next_position()"] if newer else []),
            *(f"    if {owner}.aliases is not None: touch({owner})" for owner in newer),
            "    return result",
        ]
        self.source = "\n".join(lines)

    def apart(self, given: Sequence[str], updated: Sequence[int]) -> None:
        """Check that the arguments that the program updates share memory with no other; quickly, if none are views."""
        arrays = [expression for expression in given if not expression.startswith("a") or expression in self.arrays]
        for i in updated:
            array = given[i]
            if array not in self.arrays:
                continue  # of a Tensor, which was looked at the first time
            others = [other for other in arrays if other != array]
            distinct = "".join(f" and {x} is not {array} is not {x}.base" for x in others)
            slowly = f"{self.name(apart)}({array}, ({''.join(f'{x}, ' for x in others)}))"
            self.checks.append(f"({array}.base is None{distinct} or {slowly})")

    def name(self, thing: Any) -> str:
        """Return a name for an object."""
        name = f"x{len(self.names)}"
        self.names[name] = thing
        return name

    def look(self, name: str, arg: Any) -> list[str]:
        """Check an argument, or a part of one, and return an expression for the array of each leaf."""
        kind = type(arg)
        if kind is np.ndarray:
            self.checks.append(f"type({name}) is {self.name(kind)}")
            self.checks.append(f"{name}.shape == {self.name(arg.shape)} and {name}.dtype is {self.name(arg.dtype)}")
            self.arrays.append(name)
        elif kind in NUMBERS:
            self.checks.append(f"type({name}) is {self.name(kind)}")
        elif kind in CONSTANTS:
            self.checks.append(f"type({name}) is {self.name(kind)} and {name} == {self.name(arg)}")
        elif kind is dict or isinstance(arg, list | tuple):
            same = f"list({name}) == {self.name(list(arg))}" if kind is dict else f"len({name}) == {len(arg)}"
            self.checks.append(f"type({name}) is {self.name(kind)} and {same}")
            parts = list(arg.items() if kind is dict else enumerate(arg))
            self.parts += [f"{name}_{i} = {name}[{key!r}]" for i, (key, _) in enumerate(parts)]
            return [leaf for i, (_, part) in enumerate(parts) for leaf in self.look(f"{name}_{i}", part)]
        else:
            self.checks.append(f"{name} is {self.name(arg)}")
            if isinstance(arg, Tensor):
                self.checks.append("not mode.entered")  # a transform may want it recorded
                return [self.variable(arg)]
            self.checks.append(f"{name}.__form__() == {self.name(arg.__form__())}")
            return [self.variable(tensor) for tensor in arg.__variables__()[0]]
        return [name]

    def variable(self, tensor: Tensor) -> str:
        """Check that a Tensor stands for the same array and node, and return an expression for the array."""
        name, node = self.name(tensor), self.name(tensor._node)
        array = self.name(tensor._array)
        self.checks.append(f"{name}._array is {array} and {name}._node is {node}")
        if tensor._node is not None:
            self.checks.append(f"{node}.requires_grad is {tensor._node.requires_grad}")
        return array

    def guard(self, read: Any, value: Any) -> None:
        """Check that a name outside stands for what it did."""
        if read.func is contents:
            tree = read.args[0]
            if is_mutable(tree):
                inside = f"{self.name(contents)}({self.name(tree)})"
                self.checks.append(f"{self.name(same)}({self.name(value)}, {inside})")
        elif read.func is getattr and read.args[1].isidentifier():
            self.checks.append(f"{self.name(read.args[0])}.{read.args[1]} is {self.name(value)}")
        else:
            self.checks.append(f"{self.name(read)}() is {self.name(value)}")

    def compiled(self) -> Callable[[tuple[Any, ...]], Any]:
        """Return the function, which returns MISS for a call that is unlike the first."""
        exec(compile(self.source, "<dispatch>", "exec"), self.names)
        function: Callable[[tuple[Any, ...]], Any] = self.names.pop("dispatch")  # not to hold itself
        return function


def is_mutable(tree: Any) -> bool:
    """Return whether something in a tree can be replaced by something else."""
    return isinstance(tree, MUTABLE) or (isinstance(tree, tuple | frozenset) and any(map(is_mutable, tree)))


def is_quick(arg: Any) -> bool:
    """Return whether an argument can be checked by an expression."""
    if type(arg) is dict:
        return all(type(key) in (str, int) for key in arg) and all(map(is_quick, arg.values()))
    if isinstance(arg, list | tuple):
        return all(map(is_quick, arg))
    return type(arg) in {np.ndarray, Tensor, *NUMBERS, *CONSTANTS} or hasattr(arg, "__form__")


def dispatcher(args: Sequence[Any], traced: Traced, function: Any, updated: list[int]) -> Callable[[Any], Any] | None:
    """Return the quick way for calls like this one, None where there is none."""
    quick = all(map(is_quick, args))
    reads = all(isinstance(read, functools.partial) for _, read, _ in traced.surroundings.bindings)
    return Dispatcher(args, traced, function, updated).compiled() if quick and reads else None
