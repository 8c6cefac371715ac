"""From the tape to a program.

Owns: the translation of what was recorded into steps and values, and the names that the user's code has for them.
Must not own: how it was recorded (`trace.py`), or rewriting (`passes.py`).
Read next: `program.py`.
"""

from __future__ import annotations

import ast
import contextlib
import linecache
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.passes import uniform
from microgradnd.compiler.program import Program, Step, Value, constant_of
from microgradnd.compiler.recorder import IndexParts, Recorder, TracedOperation, TraceError
from microgradnd.compiler.sizes import OF_SHAPES, sizes_in
from microgradnd.compiler.traits import traits
from microgradnd.registry import Results
from microgradnd.tape import MODE, Leaf, current
from microgradnd.tensor import Tensor, wrap


class Translation:
    """Turns what was recorded into a program.

    Attributes
    ----------
    values : dict
        The value that stands for each node, and for each captured array (by its id).
    captured : list
        The inputs of the program besides the arguments: leaves, gradients, buffers and arrays.
    """

    def __init__(self, recorder: Recorder, inputs: dict[int, Tensor], names: Sequence[str]) -> None:
        self.recorder = recorder
        self.captured: list[Any] = []
        self.owned = owned_arrays(recorder.operations)
        self.given = dict(recorder.arrays)
        self.inputs = [Value(self.shape(t._node, t._array), t.dtype, t.name or names[i]) for i, t in inputs.items()]
        self.values: dict[Any, Value] = {t._node: v for t, v in zip(inputs.values(), self.inputs, strict=True)}
        names_of = statement_names(recorder.operations)
        self.steps: list[Step] = []
        for operation in recorder.operations:
            self.steps.extend(self.translated(operation, names_of.get(operation)))
        for g, node in recorder.cotangents:
            target, source = self.values.get(g), self.values.get(node)
            if isinstance(target, Value) and target.name is None and isinstance(source, Value) and source.name:
                target.name = f"grad_{source.name}"

    def program(self, outputs: Any, updated: Sequence[tuple[Leaf, Any, Any]]) -> Program:
        """Return the program that gives these outputs, and lets variables have these values in the end."""
        updates = {}
        for leaf, node, array in updated:
            new = self.argument(array, node)
            updates[self.argument(leaf.data, leaf)] = new
        inputs = (*self.inputs, *(self.values[key_of(thing)] for thing in self.captured))
        return Program(inputs, tuple(self.steps), outputs, updates)

    def shape(self, node: Any, array: Any) -> tuple[Any, ...]:
        """Return the shape of the value of a node, with the lengths that are open."""
        sizes = self.recorder.sizes
        return array.shape if sizes is None else sizes.shape_of(node, array, self.recorder.stands_for)

    def translated(self, node: TracedOperation, name: str | None) -> list[Step]:
        """Translate one operation: a step, or several for a primitive whose body NumPy can spell."""
        body = getattr(node.function, "body", None)
        if node.function in OF_SHAPES and not sizes_in(self.shape(node, node.out)):
            self.values[node] = constant_of(node.out)
            return []
        if body is None or traits(node.function).is_step or type(node.out) is Results:
            return [self.step(node, name)]
        sizes = self.recorder.sizes
        recorder = Recorder(sizes)
        inside = [
            arg if parent is None or isinstance(parent, IndexParts) else wrap(arg, Leaf(arg, False))
            for arg, parent in zip(node.args or (), node.parents, strict=True)
        ]
        if sizes is not None:
            for tensor, arg, parent in zip(inside, node.args or (), node.parents, strict=True):
                if isinstance(tensor, Tensor) and tensor is not arg:
                    sizes.alias(tensor._node, parent, self.recorder.stands_for)
        token = MODE.set(current()._replace(record=recorder.record_constant, trace=recorder))
        try:
            with contextlib.nullcontext() if sizes is None else sizes.tentative():
                result = body(*inside, **node.kwargs)
        except (TraceError, TypeError):  # it looks at values, or isn't NumPy: it stays one call
            return [self.step(node, name)]
        finally:
            MODE.reset(token)
        itself = any(inner.function is node.function for inner in recorder.operations)  # a composite that ends in it
        if itself or not isinstance(result, Tensor) or not isinstance(result._node, TracedOperation):
            return [self.step(node, name)]
        for tensor, arg, parent in zip(inside, node.args or (), node.parents, strict=True):
            if isinstance(tensor, Tensor) and tensor is not arg:
                self.values[tensor._node] = self.argument(arg, parent)
        result._node.annotate().name = node.name or name
        self.given.update(recorder.arrays)
        steps = []
        self.owned |= owned_arrays(recorder.operations)
        for inner in recorder.operations:
            inner.where = node.where
            steps += self.translated(inner, None)
        self.values[node] = self.values[result._node]
        return steps

    def step(self, node: TracedOperation, name: str | None) -> Step:
        """Translate one operation."""
        args = tuple(self.argument(arg, parent) for arg, parent in zip(node.args or (), node.parents, strict=True))
        kwargs = {key: self.argument(arg, None) for key, arg in node.kwargs.items()}
        out: Any
        if type(node.out) is Results:
            shapes = self.recorder.sizes.shapes.get(node) if self.recorder.sizes is not None else None
            shapes = shapes or [part.shape for part in node.out]
            out = tuple(Value(shape, part.dtype) for shape, part in zip(shapes, node.out, strict=True))
        else:
            same = args[0].name if node.function is primitives.identity and isinstance(args[0], Value) else None
            out = Value(self.shape(node, node.out), node.out.dtype, node.name or name or same)
        self.values[node] = out
        if node.function is primitives.select:  # one of several values that have been computed by now
            assert node.args is not None
            self.values[node] = out = args[0][node.args[1]]
            return Step(primitives.identity, (out,), {}, Value(out.shape, out.dtype), node.where)
        return Step(node.function, args, kwargs, out, node.where)

    def argument(self, arg: Any, parent: Any) -> Any:
        """Translate an argument: a value of the program, a captured array, or a constant."""
        if isinstance(parent, IndexParts):
            return self.constant(parent.parts)
        if parent is None:
            return self.constant(arg)
        if parent in self.recorder.stands_for:
            return self.argument(arg, self.recorder.stands_for[parent])
        if parent not in self.values:
            if not isinstance(parent, Leaf):  # computed before the function was called
                self.values[parent] = self.capture(arg, arg) if isinstance(arg, np.ndarray) else arg
            elif not self.recorder.is_outer(parent) and parent not in self.recorder.stand_ins:
                return constant_of(parent.data.copy())  # of a variable that the function made
            else:
                thing = self.recorder.stand_ins.get(parent, parent)
                self.values[parent] = self.capture(thing, parent.data, parent.name)
        return self.values[parent]

    def constant(self, arg: Any) -> Any:
        """Translate an argument that wasn't given as a Tensor; the array of one is its value all the same."""
        if isinstance(arg, Tensor):
            return self.argument(arg._array, arg._node)
        if isinstance(arg, np.ndarray) and id(arg) in self.given:
            return self.argument(*self.given[id(arg)])
        if isinstance(arg, np.ndarray) and uniform(arg) is None:  # no number spread out, which can't change
            return constant_of(arg) if id(arg) in self.owned else self.capture(arg, arg)
        return type(arg)(map(self.constant, arg)) if type(arg) in (tuple, list) else arg

    def capture(self, thing: Any, array: Any, name: str | None = None) -> Value:
        """Make an array of the surrounding program an input of this one; of a row of one, the whole."""
        whole = getattr(thing, "base", None) if isinstance(thing, np.ndarray) else None
        if isinstance(whole, np.ndarray) and whole.ndim == array.ndim + 1 and is_row(array, whole):
            rows = self.capture(whole, whole)
            step = (array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // whole.strides[0]
            if (rows, step) not in self.values:
                self.values[rows, step] = Value(array.shape, array.dtype, name)
                self.steps.append(Step(primitives.getitem, (rows, step), {}, self.values[rows, step]))
            return self.values[rows, step]
        key = key_of(thing)
        if key not in self.values:
            self.captured.append(thing)
            self.values[key] = Value(array.shape, array.dtype, name)
        return self.values[key]


def is_row(array: Any, whole: Any) -> bool:
    """Return whether an array is x[i] of another, which doesn't change its shape."""
    alike = array.shape == whole.shape[1:] and array.strides == whole.strides[1:] and array.dtype == whole.dtype
    offset = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    has_rows = type(whole) is np.ndarray and whole.size > 0 and whole.strides[0] > 0
    return bool(alike and has_rows and offset % whole.strides[0] == 0)


def key_of(thing: Any) -> Any:
    return id(thing) if isinstance(thing, np.ndarray) else thing


def owned_arrays(operations: Sequence[TracedOperation]) -> set[int]:
    """Return which arrays nothing but these operations refers to: rules made them, so that they can never change."""
    todo: list[Any] = []
    for node in operations:
        todo.append(node.args or ())
        todo.extend(p.parts for p in node.parents if isinstance(p, IndexParts) and type(p.parts) in (tuple, list))
    seen: dict[int, Any] = {}
    while todo:
        container = todo.pop()
        if id(container) not in seen:
            seen[id(container)] = container
            todo.extend(part for part in container if type(part) in (tuple, list))
    containers = list(seen.values())
    counts = Counter(id(part) for container in containers for part in container)
    return {
        id(container[i])
        for container in containers
        for i in range(len(container))
        if type(container[i]) is np.ndarray and container[i].base is None
        if sys.getrefcount(container[i]) == counts[id(container[i])] + 1
    }


def statement_names(operations: Sequence[TracedOperation]) -> dict[TracedOperation, str]:
    """Return the names to which the user's statements assign: the last operation of a line `h = ...` is called h."""
    runs: list[tuple[tuple[str, int], TracedOperation]] = []
    for node in operations:
        if node.where is not None and node.function is not primitives.identity:
            if runs and runs[-1][0] == node.where:
                runs[-1] = (node.where, node)
            else:
                runs.append((node.where, node))
    return {node: name for where, node in runs if (name := assigned_name(*where))}


def assigned_name(filename: str, line: int) -> str | None:
    """Return the name that a line of code assigns to, if it is a single one."""
    text = linecache.getline(filename, line).strip()
    try:
        [statement] = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None
