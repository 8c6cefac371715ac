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
from microgradnd.compiler.guards import contents, same
from microgradnd.compiler.ownership import apart
from microgradnd.compiler.trace import Traced
from microgradnd.tape import Leaf, mode, next_position
from microgradnd.tensor import Tensor

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
        self.names: dict[str, Any] = {"MISS": MISS, "function": function, "mode": mode, "next_position": next_position}
        self.checks = ["mode.trace is None"]
        inputs, leaves = self.inputs(args), Arguments(args)
        given = [inputs[i] for i in leaves.inputs]
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
        self.apart(args, given, updated)
        result = f"function({', '.join(given)})"
        if traced.rebuild is not None:
            result = f"{self.name(traced.rebuild)}(list({result}))"
        newer = [owner for i in updated if (owner := owners[i])]
        arguments = "".join(f"a{i}, " for i in range(len(args)))
        lines = [
            "def dispatch(args):",
            "    try:",
            f"        ({arguments}) = args",
            f"        if not ({' and '.join(self.checks)}):",
            "            return MISS",
            "    except (AttributeError, TypeError, ValueError):",
            "        return MISS",
            f"    result = {result}",
            *([f"    {' = '.join(f'{owner}.position' for owner in newer)} = next_position()"] if newer else []),
            "    return result",
        ]
        self.source = "\n".join(lines)

    def apart(self, args: Sequence[Any], given: Sequence[str], updated: Sequence[int]) -> None:
        """Check that the arguments that the program updates share memory with no other; quickly, if none are views."""
        numbers = {f"a{i}" for i, arg in enumerate(args) if type(arg) not in (np.ndarray, Tensor)}
        arrays = [expression for expression in given if expression not in numbers]
        for i in updated:
            array = given[i]
            if array not in [f"a{j}" for j in range(len(args))]:
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

    def inputs(self, args: Sequence[Any]) -> list[str]:
        """Check the arguments, and return an expression for the array of each leaf."""
        expressions = []
        for i, arg in enumerate(args):
            if type(arg) is np.ndarray:
                shape, dtype = self.name(arg.shape), self.name(arg.dtype)
                self.checks.append(f"type(a{i}) is {self.name(np.ndarray)}")
                self.checks.append(f"a{i}.shape == {shape} and a{i}.dtype is {dtype}")
                expressions.append(f"a{i}")
            elif type(arg) in (float, np.float64):
                self.checks.append(f"type(a{i}) is {self.name(type(arg))}")
                expressions.append(f"a{i}")
            else:
                self.checks.append(f"a{i} is {self.name(arg)}")
                if isinstance(arg, Tensor):
                    self.checks.append("not mode.outer")  # a transform may want it recorded
                else:
                    self.checks.append(f"a{i}.__form__() == {self.name(arg.__form__())}")
                held = [arg] if isinstance(arg, Tensor) else arg.__variables__()[0]
                expressions += [self.variable(tensor) for tensor in held]
        return expressions

    def variable(self, tensor: Tensor) -> str:
        """Check that a Tensor stands for the same array and node, and return an expression for the array."""
        name, node = self.name(tensor), self.name(tensor._node)
        array = self.name(tensor._data)
        self.checks.append(f"{name}._data is {array} and {name}._node is {node}")
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
        elif read.func is getattr:
            self.checks.append(f"{self.name(read.args[0])}.{read.args[1]} is {self.name(value)}")
        else:
            self.checks.append(f"{self.name(read.func)}({read.args[0]!r}) is {self.name(value)}")

    def compiled(self) -> Callable[[tuple[Any, ...]], Any]:
        """Return the function, which returns MISS for a call that is unlike the first."""
        exec(compile(self.source, "<dispatch>", "exec"), self.names)
        return self.names["dispatch"]


def is_mutable(tree: Any) -> bool:
    """Return whether something in a tree can be replaced by something else."""
    return isinstance(tree, list | dict) or (isinstance(tree, tuple) and any(map(is_mutable, tree)))


def dispatcher(args: Sequence[Any], traced: Traced, function: Any, updated: list[int]) -> Callable[[Any], Any] | None:
    """Return the quick way for calls like this one, None where there is none."""
    quick = all(type(a) in (np.ndarray, np.float64, float, Tensor) or hasattr(a, "__form__") for a in args)
    reads = all(isinstance(read, functools.partial) for _, read, _ in traced.surroundings.bindings)
    return Dispatcher(args, traced, function, updated).compiled() if quick and reads else None
