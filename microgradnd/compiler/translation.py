"""From the tape to a program.

Owns: the translation of recorded operations into steps and values, and the names that
the user's code gives them.
Must not own: how they are recorded (`trace.py`), or rewriting (`passes.py`).
Read next: `program.py`.
"""

from __future__ import annotations

import ast
import contextlib
import linecache
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.bodies import Loop, plural
from microgradnd.compiler.buffers import may_share
from microgradnd.compiler.opened import closed
from microgradnd.compiler.passes import loop_of, share_equal, uniform
from microgradnd.compiler.program import Program, Step, Turn, Value, constant_of, shared
from microgradnd.compiler.recorder import IndexParts, Recorder, TracedOperation, TraceError
from microgradnd.compiler.scanning import UnscannedError, scanned
from microgradnd.compiler.sizes import OF_SHAPES, sizes_in
from microgradnd.compiler.traits import traits
from microgradnd.compiler.weak import NUMBERS, TracedNumber, number
from microgradnd.registry import BODIES, Results
from microgradnd.scan import LOOPS
from microgradnd.tape import Leaf
from microgradnd.tensor import Tensor, wrap

CHOOSING = (np.where, np.clip)  # no ufuncs, but a Python number doesn't decide their dtype either


class Translation:
    """Turns recorded operations into a program.

    Attributes
    ----------
    values : dict
        The value for each node, and for each captured array (by `key_of`).
    captured : list
        The inputs of the program besides the arguments: leaves, gradients, buffers
        and arrays.
    """

    def __init__(self, recorder: Recorder, inputs: dict[int, Tensor], names: Sequence[str]) -> None:
        self.recorder = recorder
        self.captured: list[Any] = []
        operations = with_turns(recorder.operations)
        self.owned = owned_arrays(operations)
        self.given = dict(recorder.arrays)
        self.inputs = [Value(self.shape(t._node, t._array), t.dtype, t.name or names[i]) for i, t in inputs.items()]
        self.values: dict[Any, Value] = {t._node: v for t, v in zip(inputs.values(), self.inputs, strict=True)}
        self.names = statement_names(operations)
        self.constants: dict[Any, Any] = {}  # arrays that never change, by their content
        self.loops: dict[Any, tuple[Value, ...]] = {}  # the results of each loop
        self.steps: list[Step] = []

    def translate(self) -> None:
        """Turn the operations into steps."""
        for operation in self.recorder.operations:
            self.steps.extend(self.translated(operation, self.names.get(operation)))
        for g, node in self.recorder.cotangents:
            target, source = self.values.get(g), self.values.get(node)
            if isinstance(target, Value) and target.name is None and isinstance(source, Value) and source.name:
                target.name = f"grad_{source.name}"

    def program(self, outputs: Any, updated: Sequence[tuple[Leaf, Any, Any]]) -> Program:
        """Return the program with these outputs and final values of variables."""
        updates = {}
        for leaf, node, array in updated:
            new = self.argument(array, node)
            updates[self.argument(leaf.data, leaf)] = new
        inputs = (*self.inputs, *(self.values[key_of(thing)] for thing in self.captured))
        return Program(inputs, tuple(self.steps), outputs, updates, frozenset(self.recorder.ignored))

    def shape(self, node: Any, array: Any) -> tuple[Any, ...]:
        """Return the shape of a node's value, including open lengths."""
        sizes = self.recorder.sizes
        return array.shape if sizes is None else sizes.shape_of(node, array)

    def translated(self, node: TracedOperation, name: str | None) -> list[Step]:
        """Translate an operation: to a step, or several if NumPy can spell its body."""
        if node.function is scanned:
            return self.loop(node)
        if node.function is primitives.select:  # one of several values that have already been computed
            results, number = node.args or ()
            self.values[node] = self.argument(results, node.parents[0])[number]
            return []
        if node.function in OF_SHAPES and not sizes_in(self.shape(node, node.out)):
            self.values[node] = constant_of(node.out)
            return []
        body = getattr(node.function, "body", None)
        if body is None or node.function in LOOPS or traits(node.function).is_step or type(node.out) is Results:
            return self.step(node, name)
        steps = self.of_body(node, body, name)
        return self.step(node, name) if steps is None else steps

    def of_body(self, node: TracedOperation, body: Any, name: str | None) -> list[Step] | None:
        """Return the steps of an operation's body; None if it must stay one call."""
        sizes = self.recorder.sizes
        recorder = Recorder(sizes)
        operands = [*zip(node.args or (), node.parents, strict=True)]
        inside = [
            arg if parent is None or isinstance(parent, IndexParts) else stand_in(arg) for arg, parent in operands
        ]
        formals = [(x._node, *operand) for x, operand in zip(inside, operands, strict=True) if x is not operand[0]]
        if sizes is not None:
            for formal, _, parent in formals:
                sizes.alias(formal, parent)
        try:
            with contextlib.nullcontext() if sizes is None else sizes.tentative(), recorder.active():
                result = body(*inside, **node.kwargs)
        except (TraceError, TypeError, NotImplementedError):  # it looks at values, or has no rule
            return None
        itself = any(inner.function is node.function for inner in recorder.operations)  # a composite that calls itself
        for x, operand in zip(inside, operands, strict=True):
            if x is result and isinstance(result, Tensor):
                self.values[node] = self.argument(*operand)
                return []
        if itself or not isinstance(result, Tensor) or not isinstance(result._node, TracedOperation):
            return None
        for formal, arg, parent in formals:
            self.values[formal] = self.argument(arg, parent)
        result._node.annotate().name = node.name or name
        self.given.update(recorder.arrays)
        self.owned |= owned_arrays(recorder.operations)
        self.recorder.ignored |= recorder.ignored
        steps = []
        for inner in recorder.operations:
            inner.where = node.where
            steps += self.translated(inner, None)
        self.values[node] = self.values[result._node]
        return steps

    def step(self, node: TracedOperation, name: str | None) -> list[Step]:
        """Translate one operation; casts of its Python numbers come first."""
        values, steps = self.values, list[Step]()
        args: list[Any] = [
            values[parent] if parent in values else self.argument(arg, parent)
            for arg, parent in zip(node.args or (), node.parents, strict=True)
        ]
        kwargs = {key: self.argument(arg, None) for key, arg in node.kwargs.items()}
        for place, dtype in numbers_met(node):
            operands: Any = kwargs if isinstance(place, str) else args
            if (given := operands[place]).dtype != dtype:
                operands[place] = Value((), dtype)
                steps.append(Step(primitives.astype, (given, dtype), {}, operands[place], node.where))
        out: Any
        if type(node.out) is Results:
            shapes = self.recorder.sizes.shapes.get(node) if self.recorder.sizes is not None else None
            shapes = shapes or [part.shape for part in node.out]
            out = tuple(Value(shape, part.dtype) for shape, part in zip(shapes, node.out, strict=True))
        else:
            same = args[0].name if node.function is primitives.identity and isinstance(args[0], Value) else None
            out = Value(self.shape(node, node.out), node.out.dtype, node.name or name or same)
        self.values[node] = out
        return [*steps, Step(node.function, tuple(args), kwargs, out, node.where)]

    def loop(self, node: TracedOperation) -> list[Step]:
        """Translate a loop recorded as one turn: a step, and views of its results."""
        turn, *operands = node.args or ()
        args = [self.argument(arg, parent) for arg, parent in zip(operands, node.parents[1:], strict=True)]
        key = (turn, *[arg if isinstance(arg, Value) else id(arg) for arg in args])
        steps: list[Step] = []
        if key not in self.loops:
            steps, self.loops[key] = self.rolled(turn, args, node.where)
        self.values[node] = self.loops[key][: len(node.out)]  # type: ignore[assignment]
        return steps

    def rolled(self, turn: Any, args: list[Any], where: Any) -> tuple[list[Step], tuple[Any, ...]]:
        """Return the steps that run a loop, and all its results."""
        names = [
            value.name or self.names.get(end) for value, (_, end) in zip(turn.carried, turn.following, strict=True)
        ]
        carried = [Value(x.shape, x.dtype, name) for x, name in zip(turn.carried, names, strict=True)]
        before, steps, same, nexts, kept = self.turn(turn, carried, args)
        outs: dict[Value, Value] = {}
        parts: dict[Value, tuple[Value, slice]] = {}  # where the rows of a carried value hold a kept one
        for value, end in nexts.items():
            if value in kept or (end in kept and end not in parts):
                outs[value] = out = Value((turn.count + 1, *value.shape), value.dtype, plural(value.name))
                parts[value] = out, slice(0, turn.count)
                parts.setdefault(end, (out, slice(1, turn.count + 1)))
            else:
                outs[value] = Value(value.shape, value.dtype, value.name)
        views, results = list[Step](), list[Any]()

        def view(array: Value, index: Any, like: Value, length: tuple[int, ...]) -> None:
            results.append(Value((*length, *like.shape), like.dtype, None if length else like.name))
            views.append(Step(primitives.getitem, (array, index), {}, results[-1], where))

        for value in carried:
            if value in parts:
                view(outs[value], turn.count, value, ())
            else:
                results.append(same[value] if value in same else outs[value])
        each: dict[Value, Value] = {}
        for value in kept:
            if value in parts:
                view(*parts[value], value, (turn.count,))
            else:
                each.setdefault(value, Value((turn.count, *value.shape), value.dtype, plural(value.name)))
                results.append(each[value])
        begins = [self.begin(arg, value, before) for arg, value in zip(args, carried, strict=False) if value in nexts]
        outside = {v: Value(v.shape, v.dtype, v.name) for step in steps for v in step.operands()}
        for value in (*nexts, *[out for step in steps for out in step.outs()]):
            outside.pop(value, None)
        body = Program((*nexts, *outside.values()), tuple(steps), (tuple(nexts.values()), tuple(each), ()))
        body = body.substitute(outside)
        body = body if self.recorder.sizes is None else closed(body, self.recorder.sizes.hints)
        loop = Loop(turn.count, share_equal(body), tuple(value in parts for value in nexts))
        step = Step(loop, (*begins, *outside), {}, (*outs.values(), *each.values()), where)
        return [*before, step, *views], tuple(results)

    def turn(self, turn: Any, carried: list[Value], args: list[Any]) -> Any:
        """Translate one turn.

        Return the steps before the loop and those of a turn, the carried values that
        are the same in all turns, the next turn's values of the others, and the values
        that are kept from each turn.
        """
        self.values.update(zip(turn.carried, carried, strict=True))
        before, steps = self.rows(turn.rows, args[len(carried) :])
        for operation in turn.operations:
            steps += self.translated(operation, self.names.get(operation))
        following, kept = ([self.argument(*end) for end in ends] for ends in (turn.following, turn.kept))
        for node in (*turn.carried, *turn.rows, *turn.operations):
            self.values.pop(node, None)
        given = zip(carried, following, args, strict=False)
        same = {value: arg for value, end, arg in given if end is value and value not in kept}
        steps = [step.substitute(same) for step in steps]
        made = {out for step in steps if not may_share(step) for out in step.outs()}

        def own(value: Any, like: Any, others: Sequence[Value] = ()) -> Value:
            """Return a turn's result: its own value, or a copy of another."""
            value = same.get(value, value) if isinstance(value, Value) else value
            is_own = isinstance(value, Value) and (value in made or value in others)
            return value if is_own else copied(value, like, steps)

        ends = zip(carried, following, turn.following, strict=True)
        nexts = {value: own(end, array) for value, end, (array, _) in ends if value not in same}
        kept = [own(value, array, carried) for value, (array, _) in zip(kept, turn.kept, strict=True)]
        return before, steps, same, nexts, kept

    def rows(self, nodes: Sequence[Any], arrays: Sequence[Any]) -> tuple[list[Step], list[Step]]:
        """Return the steps that pick the rows of a turn, and steps before the loop."""
        before, steps = list[Step](), list[Step]()
        for row, whole in zip(nodes, arrays, strict=False):
            number = None if isinstance(whole, Value) else uniform(whole)
            self.values[row] = out = Value(row.shape, row.dtype, row.name)
            if number is not None and row.shape:
                self.values[row] = primitives.expand(whole.dtype.type(number), row.shape)
                continue
            whole = whole if isinstance(whole, Value) else copied(whole, whole, before)
            steps.append(Step(primitives.getitem, (whole, Turn(0, 1)), {}, out))
        return before, steps

    def begin(self, arg: Any, like: Value, steps: list[Step]) -> Any:
        """Return a loop's initial value: a Python float for a number, else a value."""
        if isinstance(arg, Value) or like.shape:
            return arg
        if like.dtype == np.float64:
            return float(arg)
        return copied(arg, like, steps)

    def argument(self, arg: Any, parent: Any) -> Any:
        """Translate an argument: a value of the program, a capture, or a constant."""
        if isinstance(parent, IndexParts):
            return self.constant(parent.parts)
        if parent is None:
            return self.constant(arg)
        if parent in self.recorder.stands_for:
            return self.argument(arg, self.recorder.stands_for[parent])
        if parent not in self.values:
            if self.recorder.is_of_turn(parent):
                raise UnscannedError
            if not isinstance(parent, Leaf):  # computed before the function was called
                self.values[parent] = self.capture(arg, arg) if isinstance(arg, np.ndarray) else arg
            elif not self.recorder.is_outer(parent) and parent not in self.recorder.stand_ins:
                return constant_of(parent.data.copy())  # a variable that the function made
            else:
                thing = self.recorder.stand_ins.get(parent, parent)
                self.values[parent] = self.capture(thing, parent.data, parent.name)
        return self.values[parent]

    def constant(self, arg: Any) -> Any:
        """Translate a plain argument; a Tensor's array becomes the Tensor's value."""
        if isinstance(arg, Tensor):
            return self.argument(arg._array, arg._node)
        if isinstance(arg, np.ndarray) and id(arg) in self.given:
            return self.argument(*self.given[id(arg)])
        if isinstance(arg, np.ndarray) and uniform(arg) is None:  # not a spread-out number, which can't change
            return shared(arg, self.constants) if id(arg) in self.owned else self.capture(arg, arg)
        return type(arg)(map(self.constant, arg)) if type(arg) in (tuple, list) else arg

    def result(self, leaf: Any) -> Any:
        """Translate a part of the function's result; a Python number stays one."""
        value = self.constant(leaf)
        if type(leaf) is TracedNumber:
            given, value = value, Value((), leaf.dtype)
            self.steps.append(Step(type(leaf._array.item()), (given,), {}, value))
        return value

    def capture(self, thing: Any, array: Any, name: str | None = None) -> Value:
        """Make an outside array an input of the program; for a row, its whole array."""
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


def stand_in(arg: Any) -> Tensor:
    """Return a stand-in for an argument of a body."""
    array = np.asarray(arg)
    return number(arg, Leaf(array, False)) if type(arg) in NUMBERS else wrap(arg, Leaf(array, False))


def numbers_met(node: TracedOperation) -> list[tuple[Any, np.dtype[Any]]]:
    """Return which arguments, by position or keyword, are Python numbers that meet an
    array, and the dtypes that NumPy gives them.
    """
    args: Any = node.args or ()
    numbers: list[Any] = [i for i, arg in enumerate(args) if type(arg) in NUMBERS and node.parents[i] is not None]
    if numbers and isinstance(node.function, np.ufunc):
        dtypes = loop_of(node.function, args)
        return [(i, dtypes[i]) for i in numbers]
    kept = [(i, np.dtype(NUMBERS[type(args[i])])) for i in numbers]
    kept += [(key, arg.dtype) for key, arg in node.kwargs.items() if type(arg) is TracedNumber]
    outs = node.out if type(node.out) is Results else (node.out,)
    if getattr(node.function, "body", node.function) in CHOOSING:
        values = [(i, dtype) for i, dtype in kept if i or node.function is not np.where]  # whose first is a condition
        return [(i, node.out.dtype) for i, dtype in values if np.result_type(dtype, node.out.dtype) != node.out.dtype]
    results = [out.dtype for out in outs if out.dtype.kind in "fc"]
    casts = {"f": np.finfo(max(results)).dtype, "c": max(results)} if results else {}
    met = [(place, casts[dtype.kind], dtype) for place, dtype in kept if dtype.kind in casts]
    return [(place, cast) for place, cast, dtype in met if np.can_cast(cast, dtype)]


def copied(thing: Any, like: Any, steps: list[Step]) -> Value:
    """Add a step that copies a value or a constant, and return its result."""
    out = Value(like.shape, like.dtype)
    steps.append(Step(np.copy if isinstance(thing, Value) else np.array, (thing,), {}, out))
    return out


def in_turns(program: Program) -> Program:
    """Replace each primitive that is a loop by the loop that its body runs."""
    steps: list[Step] = []
    replaced: dict[Value, Any] = {}
    for step in program.steps:
        step = step.substitute(replaced)
        if step.function in LOOPS:
            inner, results = turns_of(step)
            replaced.update(zip(step.outs(), results, strict=True))
            steps += inner
        else:
            steps.append(step)
    return replace(program, steps=tuple(steps)).substitute(replaced)


def turns_of(step: Step, scans: bool = True) -> tuple[list[Step], Sequence[Any]]:
    """Return the steps of the body of a primitive that is a loop, and its results.

    The loop is one step if `scans` is true; otherwise its turns follow one another.
    """
    recorder = Recorder(scans=scans)
    given = {i: np.zeros(x.shape, x.dtype) for i, x in enumerate(step.args) if isinstance(x, Value)}
    inputs = {i: wrap(array, Leaf(array, False)) for i, array in given.items()}
    with recorder.active():
        result = BODIES[step.function](*[inputs.get(i, x) for i, x in enumerate(step.args)])
    translation = Translation(recorder, inputs, [""] * len(step.args))
    translation.translate()
    results = translation.constant(result if isinstance(result, tuple) else (result,))
    operands = [*[step.args[i] for i in inputs], *map(constant_of, translation.captured)]
    body = translation.program(results, ())
    body = body.substitute(dict(zip(body.inputs, operands, strict=True)))
    return [replace(inner, where=step.where) for inner in body.steps], body.outputs


def is_row(array: Any, whole: Any) -> bool:
    """Return whether an array is x[i] of another that doesn't change its shape."""
    alike = array.shape == whole.shape[1:] and array.strides == whole.strides[1:] and array.dtype == whole.dtype
    offset = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    has_rows = type(whole) is np.ndarray and whole.size > 0 and whole.strides[0] > 0
    return bool(alike and has_rows and offset % whole.strides[0] == 0)


def key_of(thing: Any) -> Any:
    """Return what an input is: a variable, or an array's elements; views made anew by
    each turn of a loop, as by `w.T`, have the same.
    """
    if not isinstance(thing, np.ndarray):
        return thing
    return thing.__array_interface__["data"][0], thing.shape, thing.strides, thing.dtype


def with_turns(operations: Sequence[Any]) -> list[Any]:
    """Return operations, including those of the turns of loops among them."""
    found = []
    for node in operations:
        found.append(node)
        if node.function is scanned:
            found += with_turns(node.args[0].operations)
    return found


def holders(node: TracedOperation) -> Iterator[Any]:
    """Yield the tuples and lists of an operation that may hold constant arrays."""
    for arg, parent in zip(node.args or (), node.parents, strict=True):
        if type(arg) in (tuple, list) or (parent is None and type(arg) is np.ndarray):
            yield node.args
        if type(parent) is IndexParts and type(parent.parts) in (tuple, list):
            yield parent.parts


def owned_arrays(operations: Sequence[TracedOperation]) -> set[int]:
    """Return the arrays that only these operations refer to: they never change."""
    containers = {id(holder): holder for node in operations for holder in holders(node)}
    todo = list(containers.values())
    while todo:
        parts = {id(part): part for part in todo.pop() if type(part) in (tuple, list)}
        todo += [part for key, part in parts.items() if key not in containers]
        containers |= parts
    arrays = [part for container in containers.values() for part in container if type(part) is np.ndarray]
    counts = Counter(map(id, arrays))
    return {
        id(arrays[i])
        for i in range(len(arrays))
        if arrays[i].base is None and sys.getrefcount(arrays[i]) == 2 * counts[id(arrays[i])] + 1
    }


def statement_names(operations: Sequence[TracedOperation]) -> dict[TracedOperation, str]:
    """Return the user's names for operations: `h = ...` names its last one h."""
    runs: list[tuple[tuple[str, int], TracedOperation]] = []
    for node in operations:
        if node.where is not None and node.function is not primitives.identity:
            if runs and runs[-1][0] == node.where:
                runs[-1] = (node.where, node)
            else:
                runs.append((node.where, node))
    names = {where: assigned_name(*where) for where in {where for where, _ in runs}}
    return {node: name for where, node in runs if (name := names[where])}


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
