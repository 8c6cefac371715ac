"""Loops over a few numbers: short carried vectors are split into their elements.

Owns: rewriting loops whose arrays are all so short that Python's arithmetic is faster
than NumPy calls.
Must not own: how a loop is found (`runs.py`), or printed (`source.py`, `fast.py`,
`turns.py`).
Read next: `rolling.py`.

A NumPy call takes as long as a dozen operations on Python numbers. So the state of a
differential equation with a few unknowns is better kept as numbers. The results are
equal to the last bit, because these operations round correctly, in arrays and alone.
Only the zeros around a scattered value aren't added, as in all compiled programs.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.bodies import Loop
from microgradnd.compiler.program import Listed, Program, Step, Turn, Value, moves
from microgradnd.compiler.traits import traits

SHORT = 4  # elements of a vector
ZERO = 0.0  # an element that nothing was scattered to


class UnfitError(Exception):
    """A loop can't be written in some way."""


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
                steps += apart(step, step.function, columns)
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
    parts = [scalar() for _ in columns]
    picked = [
        Step(primitives.getitem, (column, step.args[1]), {}, part) for column, part in zip(columns, parts, strict=True)
    ]
    return [*picked, *joined(parts, step.outs()[0], step.where)]


def joined(parts: list[Value], array: Value, where: Any) -> list[Step]:
    """Return the steps that build an array from its elements or its columns."""
    shape = (*parts[0].shape, len(parts))
    whole = array if array.shape == shape else Value(shape, array.dtype)
    function, args = (np.stack, (parts, 1)) if parts[0].shape else (np.array, (tuple(parts),))
    steps = [Step(function, args, {}, whole, where)]
    return steps if whole is array else [*steps, Step(np.reshape, (whole, array.shape), {}, array, where)]


def scalar(name: str | None = None) -> Value:
    return Value((), np.float64, name)


def scalars(like: Value, name: str | None = None) -> Any:
    """Return new elements in the shape of a value."""
    return shaped([scalar(name) for _ in range(like.size)], like.shape)


def shaped(elements: Iterable[Any], shape: tuple[int, ...]) -> Any:
    """Return an array of elements, which are values and numbers."""
    return np.fromiter(elements, object).reshape(shape)


class Apart:
    """Splits the vectors of one loop.

    Attributes
    ----------
    elements : dict of Value to array
        The elements of each short vector, and of each number that was an element:
        values, and numbers.
    steps : list of Step
        The steps that replace the loop.
    """

    def __init__(self, outside: dict[Value, Any], columns: dict[Value, list[Value]]) -> None:
        self.outside, self.columns, self.elements = outside, columns, dict[Value, Any]()
        self.inside: list[Step] = []
        self.steps: list[Step] = []
        self.fixed: dict[Value, Value] = {}  # the value outside for each further input
        self.outs: list[Value] = []
        self.rows: list[bool] = []

    def loop(self, step: Step, loop: Loop) -> None:
        """Split the vectors of a loop."""
        n, body, outs = len(loop.rows), loop.body, step.outs()
        inputs: list[Value] = []
        begins: list[Any] = []
        for value, begin in zip(body.inputs[:n], step.args, strict=False):
            if is_short(value):
                self.elements[value] = scalars(value, value.name)
                inputs += self.elements[value].flat
                begins += self.picked(begin, value)
            elif value.shape or value.dtype.kind == "c":
                raise UnfitError
            else:
                inputs.append(value)
                begins.append(begin)
        for inner in body.steps:
            self.take(inner)
        nexts, kept, last = body.outputs
        after: list[Step] = []
        new_nexts = self.results(nexts, outs, loop.rows, after)
        rows = tuple(self.rows)
        new_kept = self.results(kept, outs[n:], [True] * len(kept), after)
        new_last = self.results(last, outs[n + len(kept) :], [False] * len(last), after)
        new = Program((*inputs, *self.fixed), tuple(self.inside), (new_nexts, new_kept, new_last))
        function = Loop(loop.count, new, rows)
        self.steps += [Step(function, (*begins, *self.fixed.values()), {}, tuple(self.outs), step.where), *after]

    def results(
        self, values: Sequence[Value], arrays: Sequence[Value], keeps: Sequence[bool], after: list[Step]
    ) -> tuple[Any, ...]:
        """Return a turn's results as elements; note how to build arrays of them."""
        found: list[Any] = []
        for value, array, keep in zip(values, arrays, keeps, strict=False):
            if not is_short(value):
                found.append(self.now(value))
                self.outs.append(array)
                self.rows.append(keep)
                continue
            found += map(self.named, self.elements_of(value).flat)
            length = array.shape[: len(array.shape) - len(value.shape)]
            own = [Value(length, array.dtype, array.name) for _ in range(value.size)]
            self.outs += own
            self.rows += [keep] * len(own)
            if length:
                self.columns[array] = own
            after += joined(own, array, None)
        return tuple(found)

    def picked(self, array: Any, like: Value) -> list[Any]:
        """Return the elements of an array before the loop as values of their own."""
        parts = []
        for index in np.ndindex(*like.shape):
            parts.append(scalar())
            self.steps.append(Step(primitives.getitem, (array, index[0] if len(index) == 1 else index), {}, parts[-1]))
        return parts

    def now(self, value: Any) -> Any:
        """Return the value or number that replaces an operand without axes."""
        if not isinstance(value, Value):
            return value
        if value in self.elements:
            return self.elements[value].item()
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

    def elements_of(self, value: Any) -> Any:
        """Return the elements of an operand as an array."""
        if not np.shape(value):
            return shaped([self.now(value)], ())
        if isinstance(value, np.ndarray):
            if value.dtype != np.float64:
                raise UnfitError
            return value.astype(object)
        if value in self.outside and value not in self.elements and is_short(value):
            self.elements[value] = scalars(value)
            self.fixed.update(zip(self.elements[value].flat, self.picked(self.outside[value], value), strict=True))
        if value not in self.elements:
            raise UnfitError
        return self.elements[value]

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
        out, args = step.out, step.args
        if isinstance(out, tuple):
            raise UnfitError
        if not out.shape and not any(v.shape for v in step.operands()):
            self.inside.append(replace(step, args=tuple(map(self.now, args))))
        elif step.function is not primitives.getitem or args[0] in self.elements or is_short(args[0]):
            self.elements[out] = self.computed(step, out)
        else:
            self.elements[out] = self.row(step, out)

    def computed(self, step: Step, out: Value) -> Any:
        """Return the elements of a result that a step computes."""
        function, args, kwargs = step.function, step.args, step.kwargs
        vectors = [v for v in step.operands() if v.shape]
        moving = function in (primitives.getitem, primitives.scatter) and moves(args[1])
        if moving or kwargs.keys() - {"axis"} or any(v.dtype != np.float64 for v in (*vectors, out)):
            raise UnfitError
        is_part = function is primitives.getitem and primitives.is_basic(args[1])
        if is_part or traits(function).is_view or function is np.copy:
            return np.asarray(function(self.elements_of(args[0]), *args[1:], **kwargs), object)
        if function is np.sum and len(args) == 1 and not out.shape and kwargs.get("axis") is None:
            add = replace(step, function=np.add)
            total = functools.reduce(lambda x, y: self.apply(add, (x, y)), self.elements_of(args[0]).flat)
            return shaped([total], ())
        if not is_short(out):
            raise UnfitError
        if function is primitives.concatenate:
            return np.concatenate([self.elements_of(arg) for arg in args[2:]], args[0])
        if function is primitives.scatter and primitives.is_basic(args[1]):
            elements = shaped([ZERO] * out.size, out.shape)
            elements[args[1]] = self.elements_of(args[0])[()]  # a number itself, not an array of it
            return elements
        if function in (primitives.expand, np.broadcast_to) and not args[0].shape:
            return np.broadcast_to(self.elements_of(args[0]), out.shape)
        if function is np.square:
            function, args = np.multiply, (args[0], args[0])
        if not traits(function).scalar or function is np.float_power:
            raise UnfitError
        columns = [np.broadcast_to(self.elements_of(arg), out.shape).flat for arg in args]
        each = replace(step, function=function)
        return shaped([self.apply(each, part) for part in zip(*columns, strict=True)], out.shape)

    def row(self, step: Step, out: Value) -> Any:
        """Return the elements of a row of an array outside, or one element of it."""
        source, index = step.args
        index = index if isinstance(index, tuple) else (index,)
        is_number = not out.shape
        fits = source in self.outside and (is_short(out) or is_number) and out.dtype == np.float64
        if not fits or not all(isinstance(part, int) for part in index):
            raise UnfitError
        whole = self.outside[source]
        columns = self.columns.get(whole) if len(index) == 1 and isinstance(whole, Value) else None
        if columns is None:
            self.fixed[source] = whole
        found = scalars(out, out.name if is_number else None)
        for i, rest in enumerate(np.ndindex(*out.shape)):
            place = (*index, *rest) if columns is None else index
            array = source if columns is None else self.shared(columns[i])
            args = array, place if len(place) > 1 else place[0]
            self.inside.append(Step(primitives.getitem, args, {}, found[rest], step.where))
        return found

    def shared(self, column: Value) -> Value:
        """Return the value inside for a column outside, which all turns share."""
        known = next((inner for inner, outer in self.fixed.items() if outer is column), None)
        inner = known or Value(column.shape, column.dtype, column.name)
        self.fixed[inner] = column
        return inner


def apart(step: Step, loop: Loop, columns: dict[Value, list[Value]]) -> list[Step]:
    """Return the steps that replace a loop, with its vectors split."""
    if not any(is_short(out) for inner in loop.body.steps for out in inner.outs()):
        raise UnfitError
    n = len(loop.rows)
    split = Apart(dict(zip(loop.body.inputs[n:], step.args[n:], strict=True)), columns)
    split.loop(step, loop)
    return split.steps
