"""Loops over a few numbers: short carried vectors are split into their elements.

Owns: rewriting loops whose arrays are all so short that Python's arithmetic is faster
than NumPy calls.
Must not own: how a loop is found (`rolling.py`), or printed (`source.py`, `fast.py`,
`turns.py`).
Read next: `rolling.py`.

A NumPy call takes as long as a dozen operations on Python numbers. So the state of a
differential equation with a few unknowns is better kept as numbers. The results are
equal to the last bit, because these operations round correctly, in arrays and alone.
Only the zeros around a scattered value aren't added, as in all compiled programs.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.program import Listed, Program, Step, Turn, Value
from microgradnd.compiler.rolling import Loop
from microgradnd.compiler.traits import traits

SHORT = 4  # elements of a vector
SAME = (np.reshape, np.expand_dims, np.squeeze, primitives.identity, np.copy)
ZERO = 0.0  # an element that nothing was scattered to


class UnfitError(Exception):
    """A step that needs whole arrays."""


def is_short(value: Any) -> bool:
    """Return whether a value is a vector to be split."""
    shape = getattr(value, "shape", ())
    return isinstance(value, Value) and value.dtype == np.float64 and len(shape) >= 1 and 0 < math.prod(shape) <= SHORT


def on_numbers(program: Program) -> Program:
    """Return a program whose loops work on numbers, where they can."""
    steps: list[Step] = []
    columns: dict[Value, list[Value]] = {}  # of an array with a row for each turn
    for step in program.steps:
        if isinstance(step.function, Loop):
            with contextlib.suppress(UnfitError):  # the loop stays unchanged
                steps += Apart(step, step.function, columns).steps
                continue
        is_row = step.function is primitives.getitem and isinstance(step.args[0], Value) and step.args[0] in columns
        if is_row and type(step.args[1]) is int:
            steps += row_of(columns[step.args[0]], step)
            continue
        if is_row and type(step.args[1]) is slice and isinstance(step.out, Value):
            wholes = columns[step.args[0]]
            columns[step.out] = [Value(step.out.shape[:1], whole.dtype, whole.name) for whole in wholes]
            pairs = zip(wholes, columns[step.out], strict=True)
            steps += [Step(primitives.getitem, (whole, step.args[1]), {}, part) for whole, part in pairs]
        steps.append(step)
    return replace(program, steps=tuple(steps))


def row_of(columns: list[Value], step: Step) -> list[Step]:
    """Return the steps that build a row of an array from its columns."""
    parts = [Step(primitives.getitem, (column, step.args[1]), {}, scalar()) for column in columns]
    joined = tuple(part.out for part in parts)
    assert isinstance(step.out, Value)
    if len(step.out.shape) == 1:
        return [*parts, Step(np.array, (joined,), {}, step.out, step.where)]
    flat = Value((len(joined),), step.out.dtype)
    return [*parts, Step(np.array, (joined,), {}, flat), Step(np.reshape, (flat, step.out.shape), {}, step.out)]


def scalar(name: str | None = None) -> Value:
    return Value((), np.float64, name)


class Apart:
    """Splits the vectors of one loop.

    Attributes
    ----------
    elements : dict of Value to list
            The elements of each short vector: values, and numbers.
    steps : list of Step
            The steps that replace the loop.
    """

    def __init__(self, step: Step, loop: Loop, columns: dict[Value, list[Value]]) -> None:
        if not any(is_short(out) for inner in loop.body.steps for out in inner.outs()):
            raise UnfitError
        self.columns, self.elements = columns, dict[Value, list[Any]]()
        self.outside: dict[Value, Value] = {}
        self.inside: list[Step] = []
        self.steps: list[Step] = []
        self.fixed: dict[Value, Value] = {}  # the value outside for each further input
        self.replaced: dict[Value, Any] = {}
        n, body = len(loop.rows), loop.body
        inputs: list[Value] = []
        begins: list[Any] = []
        self.outside = dict(zip(body.inputs[n:], step.args[n:], strict=True))
        for value, begin in zip(body.inputs[:n], step.args, strict=False):
            if is_short(value):
                self.elements[value] = [scalar(value.name) for _ in range(value.size)]
                inputs += self.elements[value]
                begins += self.picked(begin, value, self.steps)
            else:
                self.check(value)
                inputs.append(value)
                begins.append(begin)
        for inner in body.steps:
            self.take(inner)
        nexts, kept, last = body.outputs
        outs: list[Value] = []
        rows: list[bool] = []
        joined: list[Step] = []

        def results(values: Any, arrays: Any, keeps: Any) -> tuple[Any, ...]:
            """Return a turn's results as elements; note how to rebuild whole arrays."""
            found: list[Any] = []
            for value, array, keep in zip(values, arrays, keeps, strict=True):
                parts = [self.named(part) for part in self.elements_of(value)] if is_short(value) else [self.now(value)]
                found += parts
                length = array.shape[: len(array.shape) - len(value.shape)]
                own = [Value(length, array.dtype, array.name) for _ in parts] if is_short(value) else [array]
                outs.extend(own)
                rows.extend([keep] * len(parts))
                if is_short(value) and length:
                    self.columns[array] = own
                    stacked = Value((*length, len(own)), array.dtype) if len(value.shape) > 1 else array
                    joined.append(Step(np.stack, (own, 1), {}, stacked, step.where))
                    if stacked is not array:
                        joined.append(Step(np.reshape, (stacked, array.shape), {}, array, step.where))
                elif is_short(value):
                    whole = Value((len(own),), array.dtype) if len(value.shape) > 1 else array
                    joined.append(Step(np.array, (tuple(own),), {}, whole, step.where))
                    if whole is not array:
                        joined.append(Step(np.reshape, (whole, array.shape), {}, array, step.where))
            return tuple(found)

        carried = results(nexts, step.outs()[:n], loop.rows)
        new_rows = tuple(rows)
        keeps = results(kept, step.outs()[n : n + len(kept)], [True] * len(kept))
        lasts = results(last, step.outs()[n + len(kept) :], [False] * len(last))
        new = Program((*inputs, *self.fixed), tuple(self.inside), (carried, keeps, lasts))
        function = Loop(loop.count, new, new_rows)
        self.steps.append(Step(function, (*begins, *self.fixed.values()), {}, tuple(outs), step.where))
        self.steps += joined

    def check(self, value: Value) -> None:
        if value.shape or value.dtype.kind == "c":
            raise UnfitError

    def picked(self, array: Any, like: Value, steps: list[Step]) -> list[Any]:
        """Return the elements of an array as values of their own."""
        parts = []
        for index in np.ndindex(*like.shape):
            parts.append(scalar())
            steps.append(Step(primitives.getitem, (array, index[0] if len(index) == 1 else index), {}, parts[-1]))
        return parts

    def now(self, value: Any) -> Any:
        """Return the value that replaces an operand without axes."""
        if not isinstance(value, Value):
            return value
        if value in self.replaced:
            return self.replaced[value]
        if value in self.outside:
            self.fixed[value] = self.outside[value]
        return value

    def named(self, part: Any) -> Value:
        """Return a value for an element that may be a number."""
        if isinstance(part, Value):
            return part
        out = scalar()
        self.inside.append(Step(np.multiply, (part, 1.0), {}, out))
        return out

    def elements_of(self, value: Any) -> list[Any]:
        """Return the elements of a vector."""
        if value not in self.elements:
            if value not in self.outside or not is_short(value):
                raise UnfitError
            array = self.outside[value]
            parts = self.picked(array, value, self.steps)
            self.elements[value] = [scalar() for _ in parts]
            self.fixed.update(zip(self.elements[value], parts, strict=True))
        return self.elements[value]

    def aligned(self, arg: Any, out: Value) -> list[Any]:
        """Return an operand's element for each element of a result."""
        if isinstance(arg, np.ndarray):
            if arg.dtype != np.float64:
                raise UnfitError
            return [float(x) for x in np.broadcast_to(arg, out.shape).reshape(-1)]
        if not isinstance(arg, Value):
            return [arg] * out.size
        if not arg.shape:
            return [self.now(arg)] * out.size
        places = np.broadcast_to(np.arange(arg.size).reshape(arg.shape), out.shape).reshape(-1)
        parts = self.elements_of(arg)
        return [parts[i] for i in places]

    def apply(self, step: Step, args: tuple[Any, ...]) -> Any:
        """Compute one element."""
        if step.function is np.add and len(args) == 2:
            for x, y in (args, args[::-1]):
                if x is ZERO:
                    return y
        if not any(isinstance(a, Value | Turn | Listed) for a in args):
            return float(step.function(*args))
        out = scalar()
        self.inside.append(Step(step.function, args, {}, out, step.where))
        return out

    def take(self, step: Step) -> None:
        """Split a step into elements."""
        function, out, args = step.function, step.out, step.args
        vectors = [v for v in step.operands() if v.shape]
        if isinstance(out, tuple):
            raise UnfitError
        if not vectors and not out.shape:
            self.inside.append(replace(step, args=tuple(map(self.now, args))))
            return
        if function is primitives.getitem and primitives.is_basic(args[1]):
            self.pick(step, out)
            return
        if step.kwargs.keys() - {"axis"} or any(v.dtype != np.float64 for v in (*vectors, out)):
            raise UnfitError
        if function is np.square and is_short(out):
            function, args = np.multiply, (args[0], args[0])
        row = traits(function)
        if function in SAME or (row.is_equal and row.memory == "view"):
            parts = self.elements_of(args[0]) if args[0].shape else [self.now(args[0])]
        elif row.scalar and is_short(out) and function is not np.float_power:
            columns = [self.aligned(arg, out) for arg in args]
            parts = [self.apply(replace(step, function=function), part) for part in zip(*columns, strict=True)]
        elif function is primitives.concatenate and is_short(out) and len(out.shape) == 1:
            parts = [part for arg in args[2:] for part in self.elements_of(arg)]
        elif function is primitives.scatter and is_short(out) and primitives.is_basic(args[1]):
            parts = self.scattered(step, out)
        elif function in (primitives.expand, np.broadcast_to) and is_short(out) and not args[0].shape:
            parts = [self.now(args[0])] * out.size
        elif function is np.sum and len(args) == 1 and not out.shape and step.kwargs.get("axis") is None:
            first, *rest = self.elements_of(args[0])
            for part in rest:
                first = self.apply(Step(np.add, (), {}, out, step.where), (first, part))
            parts = [first]
        else:
            raise UnfitError
        if out.shape:
            self.elements[out] = parts
        else:
            self.replaced[out] = parts[0]

    def scattered(self, step: Step, out: Value) -> list[Any]:
        places = np.arange(out.size).reshape(out.shape)[step.args[1]].reshape(-1)
        values = step.args[0]
        found = self.elements_of(values) if values.shape else [self.now(values)]
        parts: list[Any] = [ZERO] * out.size
        for place, part in zip(places, found, strict=True):
            parts[int(place)] = part
        return parts

    def pick(self, step: Step, out: Value) -> None:
        """Take elements from a vector, or from a row of an array outside."""
        source, index = step.args
        if source in self.elements or is_short(source):
            parts = self.elements_of(source)
            places = np.arange(source.size).reshape(source.shape)[index].reshape(-1)
            found = [parts[int(i)] for i in places]
        elif source in self.outside and (is_short(out) or not out.shape) and out.dtype == np.float64:
            index = index if isinstance(index, tuple) else (index,)
            if not all(isinstance(part, int) for part in index):
                raise UnfitError
            found = []
            whole = self.outside[source]
            columns = self.columns.get(whole) if len(index) == 1 and isinstance(whole, Value) else None
            for number, rest in enumerate(np.ndindex(*out.shape)):
                found.append(scalar(step.out.name if len(out.shape) == 0 else None))  # type: ignore[union-attr]
                if columns is not None:
                    column = columns[number]
                    inner = next((v for v, o in self.fixed.items() if o is column), None)
                    if inner is None:
                        inner = Value(column.shape, column.dtype, column.name)
                        self.fixed[inner] = column
                    self.inside.append(Step(primitives.getitem, (inner, index[0]), {}, found[-1], step.where))
                else:
                    self.fixed[source] = self.outside[source]
                    place = (*index, *rest)
                    place = place if len(place) > 1 else place[0]
                    self.inside.append(Step(primitives.getitem, (source, place), {}, found[-1], step.where))
        else:
            raise UnfitError
        if out.shape:
            self.elements[out] = found
        else:
            self.replaced[out] = found[0]
