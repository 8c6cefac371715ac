"""Rolled loops as source for numba: turns, and within each turn loops over elements.

Owns: how a `Loop` is printed as one compiled function.
Must not own: the loops of a straight line (`loops.py`), or how a loop is found
(`runs.py`).
Read next: `loops.py`.

A value that a turn reads from or keeps in a row of an array is that array with one more
index. A carried number is a local variable; a carried array is written over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.bodies import Loop as Rolled
from microgradnd.compiler.bodies import Row
from microgradnd.compiler.carrying import Carried, InPlace, in_place
from microgradnd.compiler.fusion import Access, Lowering, Op
from microgradnd.compiler.loops import LETTERS, Layout, Part, in_order, laid_out, literal
from microgradnd.compiler.passes import drop_dead, loop_of, uniform
from microgradnd.compiler.program import Listed, Program, Step, Turn, Value, moves
from microgradnd.compiler.scalars import UnfitError
from microgradnd.compiler.source import Writer
from microgradnd.compiler.spelling import added_at, scattered, spell
from microgradnd.compiler.traits import CALL

Index = list[tuple[bool, str]]  # for each axis: whether one place is taken, and which place, or the start


class Turns(Part):
    """Prints a rolled loop as one function."""

    def __init__(self, name: str) -> None:
        nothing = Program((), (), ())
        super().__init__(Layout(nothing, Lowering()), name)
        self.writer = Writer(nothing, self.names, {})
        self.bound: dict[Value, tuple[Value, Index]] = {}
        self.pinned: set[Value] = set()
        self.constants: dict[Value, Any] = {}
        self.scratch: list[Value] = []
        self.numbers: list[Value] = []

    def write(self, step: Step) -> None:
        """Print the loop."""
        for value in (*step.args, *step.outs()):
            if isinstance(value, Value) and value not in self.parameters:
                self.parameters[value] = self.names.value(value)
        self.numbers += [value for value in step.outs() if not value.shape]
        self.turns(step, 1)
        self.text = self.function()

    def type_of(self, base: Value) -> str:
        axes = len(self.shape_of(base)) or int(base in self.numbers)
        return f"{base.dtype.name}[{':, ' * (axes - 1)}::1]" if axes else base.dtype.name

    def shape_of(self, base: Value) -> tuple[int, ...]:
        """Return the shape of a parameter."""
        return (tuple(base.shape[i] for i in self.kept[base]) or (1,)) if base in self.scratch else base.shape

    def turns(self, step: Step, depth: int) -> None:
        """Print a loop whose operands and results already have names."""
        counter, loop = self.names.new("t"), step.function
        with self.writer.inside(counter):
            laid = in_place(adding(step), is_added, True)
            for inside, outside in laid.same:
                self.share(inside, outside)
            for place, (out, ahead) in laid.places.items():
                self.bound[place] = out, [] if ahead is None else [(True, f"{counter} + 1" if ahead else counter)]
            for carried in laid.carried:
                self.initial(carried, depth)
            before = self.layout
            self.line(depth, f"for {counter} in range({loop.count}):")
            self.turn(unmoved(self, laid), depth + 1)
            if laid.numbers:
                targets = ", ".join(self.names.of[c.inside] for c in laid.numbers)
                self.line(depth + 1, f"{targets} = {', '.join(self.number(c.following) for c in laid.numbers)}")
            self.texts.clear()
            for out, inside in laid.results:
                text = self.number(inside)
                if out in self.parameters:
                    self.line(depth, f"{self.parameters[out]}[0] = {text}")
                else:
                    self.names.of[out] = text
            self.layout = before

    def turn(self, body: Unmoved, depth: int) -> None:
        """Print a turn."""
        program = body.program()
        self.layout = layout = laid_out(program)
        layout.over = {new: old for new, old in layout.over.items() if old not in body.partly}
        layout.arrays -= {v for v in layout.arrays if not v.shape and v not in program.inputs}
        for part in layout.parts:
            if isinstance(part, Op) and not isinstance(part.step.function, Rolled):
                raise UnfitError(part.text)
        for value, array in layout.lowering.constants.items():
            self.constants[value] = np.ascontiguousarray(array)
            self.parameters[value] = self.names.value(value)
        self.pinned |= {layout.base[v] for v in program.outputs}
        for part in layout.parts:
            for op in [part] if isinstance(part, Op) else in_order(part):
                self.take(op)
        for part in layout.parts:
            if isinstance(part, Op):
                self.texts.clear()
                self.turns(part.step, depth)
            else:
                self.emit(part, depth)
        for old, new in program.updates.items():
            if new not in layout.over:
                self.copied(old, new, depth)
        for place, value in body.ends:
            self.line(depth, f"{place} = {self.number(value)}")

    def share(self, inside: Value, outside: Any) -> None:
        """Take a value that is the same in all turns."""
        if inside.shape or (isinstance(outside, Value) and outside in self.bound):
            self.bound[inside] = self.whole(outside), []
        else:
            self.names.of[inside] = self.number(outside)

    def initial(self, carried: Carried, depth: int) -> None:
        """Print the initial value of a carried one, in its place or the first row."""
        inside, _, begin, out, has_rows = carried
        first = Row(inside.shape, inside.dtype)
        self.bound[first] = out, [(True, "0")] * has_rows
        if inside.shape:
            self.copied(first, begin, depth)
            return
        if has_rows:
            self.line(depth, f"{self.place(first, [])} = {self.number(begin)}")
        name = self.names.new(inside.name or "n")
        self.line(depth, f"{name} = {self.number(begin)}")
        self.names.of[inside] = name

    def moving(self, number: Any) -> tuple[str, int]:
        """Return a number that differs between turns as source."""
        if type(number) is not Listed:
            return self.writer.expression(number)
        table = Value((len(number.numbers),), np.float64, "numbers")
        self.constants[table] = np.array(number.numbers)
        self.parameters[table] = self.names.value(table)
        return f"{self.parameters[table]}[{self.writer.counters[~number.level]}]", CALL

    def number(self, value: Any) -> str:
        """Return a number as text."""
        if not isinstance(value, Value):
            return repr(value.item() if isinstance(value, np.ndarray) else value)
        base = self.layout.base.get(value, value)
        axes = () if base is value else self.layout.lowering.access(value, ()).axes
        return self.place(base, [str(axes[n].start) for n in self.kept.get(base, range(len(axes)))] if axes else [])

    def parameter(self, base: Value) -> None:
        if base in self.kept:
            return
        self.kept[base] = self.layout.kept_axes(base) if base.shape else []
        over = self.layout.over.get(base)
        if over is not None:
            self.parameter(over)
            self.bound[base] = over, []
        elif base not in self.bound and base not in self.parameters and not self.is_scalar(base):
            self.scratch.append(base)
            self.parameters[base] = self.names.value(base)

    def is_scalar(self, base: Value) -> bool:
        return base not in self.bound and (not base.shape or super().is_scalar(base))

    def place(self, base: Value, axes: Sequence[str]) -> str:
        """Return an element of an array, or of one row of it."""
        axes = list(axes)
        while base in self.bound:
            base, index = self.bound[base]
            rest = iter(axes)
            axes = [text if single else within(text, next(rest)) for single, text in index] + list(rest)
        name = self.names.of.get(base) or self.names.value(base)
        return f"{name}[{', '.join(axes)}]" if axes else name

    def reference(self, op: Op, access: Access) -> str:
        base = access.base
        if not base.shape and base not in self.bound:
            return self.names.of.get(base) or self.names.value(base)
        if self.is_scalar(base):
            return self.names.value(base)
        if access.flat:
            raise UnfitError("it is read as a flat array")
        axes = [self.axis(op, access.axes[n]) for n in self.kept[base]]
        if base in self.scratch and not axes:
            axes = ["0"]
        return self.place(base, axes)

    def may_inline(self, op: Op, reader: Op, text: str) -> bool:
        return op.out.base not in self.pinned and super().may_inline(op, reader, text)

    def copied(self, target: Value, value: Any, depth: int) -> None:
        """Print a copy of an array, unless it is in its place already."""
        if isinstance(value, Value) and self.place(value, []) == self.place(target, []):
            return
        names = [self.names.own(LETTERS[depth - 1 + i]) for i in range(len(target.shape))]
        for i, n in enumerate(target.shape):
            self.line(depth + i, f"for {names[i]} in range({n}):")
        number = None if isinstance(value, Value) else uniform(getattr(value, "array", value))
        text = self.place(self.whole(value), names) if number is None else literal(number, target.dtype)[0]
        self.line(depth + len(names), f"{self.place(target, names)} = {text}")

    def whole(self, value: Any) -> Value:
        """Return an array, unless it is a view of one."""
        if not isinstance(value, Value) or self.layout.base.get(value, value) is not value:
            raise UnfitError("it carries in a view or a constant")
        return value


def within(text: str, place: str) -> str:
    """Return the place in an array of a place in a part of it."""
    return f"{text}({place})" if text.endswith(("- ", "* ")) and not place.isalnum() else f"{text}{place}"


def adding(step: Step) -> Step:
    """Return a loop that adds in place to rows of the arrays that it carries."""
    loop = step.function
    pairs = zip(loop.body.outputs[0], loop.body.inputs, loop.rows, strict=False)
    carried_by = {following: inside for following, inside, has_rows in pairs if not has_rows}

    def to_row(inner: Step, made: Any, uses: Any) -> list[Step] | None:
        """Add to a row of an array in place, if only the next turn reads it."""
        is_carried = carried_by.get(inner.out) in inner.operands() and uses[inner.out] == 1
        scatters = [made[v] for v in inner.operands() if v in made and made[v].function is primitives.scatter]
        return scattered(inner, made, uses) if is_carried and moves([s.args[1] for s in scatters]) else None

    body = spell(loop.body, {"added": to_row}, [*carried_by.values()])
    return replace(step, function=replace(loop, body=drop_dead(body)))


def is_added(step: Step) -> bool:
    """Return whether a step adds to a row of an array in place."""
    return step.function is added_at and moves(step.args[1])


class Unmoved:
    """The body of a loop without moving indices: parts of arrays are inputs.

    Attributes
    ----------
    inputs, steps, updates
        Of its program.
    partly : set of Value
        Arrays that other inputs are parts of, which a turn reads at any time.
    ends : list of (str, Value)
        The numbers that are kept, and where.
    """

    def __init__(self, turns: Turns, program: Program, ends: Sequence[tuple[Value, int, Value]]) -> None:
        self.turns, self.outputs = turns, program.outputs
        self.inputs, self.steps, self.updates = [*program.inputs], list[Step](), dict(program.updates)
        self.partly: set[Value] = set()
        counter = turns.writer.counters[-1]
        self.ends = [(f"{turns.names.of[out]}[{counter}{' + 1' * ahead}]", value) for out, ahead, value in ends]

    def program(self) -> Program:
        """Return it as a program that gives the numbers that a turn hands on."""
        made = {out for step in self.steps for out in step.outs()}
        numbers = [*self.outputs, *[value for _, value in self.ends]]
        outputs = tuple([value for value in dict.fromkeys(numbers) if value in made])
        return Program(tuple(self.inputs), tuple(self.steps), outputs, self.updates)

    def add(self, step: Step) -> None:
        """Take a sum over that adds to a row of a carried array."""
        array, index, values = step.args
        row, old, new = (Value(values.shape, values.dtype) for _ in range(3))
        self.turns.bound[row] = self.turns.bound[old] = array, self.index(array, index)
        self.inputs += [row, old]
        self.steps.append(Step(np.add, (old, values), {}, new, step.where))
        del self.updates[array]
        if values.shape:
            self.updates[row] = new
        else:
            self.ends.append((self.turns.place(row, []), new))

    def index(self, array: Value, index: Any) -> Index:
        """Return a moving index, axis by axis."""
        parts: Index = []
        for part, length in zip(index if isinstance(index, tuple) else (index,), array.shape, strict=False):
            if isinstance(part, int):
                parts.append((True, self.turns.writer.text(part)))
            elif isinstance(part, slice) and not moves(part):
                start, _, stride = part.indices(length)
                times = {1: "+ ", -1: "- "}.get(stride, f"+ {stride} * ")
                parts.append((False, "" if (start, stride) == (0, 1) else f"{start} {times}"))
            elif isinstance(part, slice) and part.step is None and isinstance(part.start, int) and part.start >= 0:
                parts.append((False, f"{self.turns.writer.text(part.start)} + "))
            else:
                raise UnfitError("it has a moving index of this kind")
        return parts

    def take(self, step: Step) -> None:
        """Take a step over, with its moving parts as inputs."""
        if is_added(step):
            self.add(step)
            return
        if not moves(step.args):
            self.steps.append(step)
            return
        bound, out = self.turns.bound, step.out
        if step.function is primitives.getitem and step.args[0] in self.inputs and isinstance(out, Value):
            bound[out] = step.args[0], self.index(*step.args)
            self.inputs.append(out)
            self.partly.add(step.args[0])
            return
        if not isinstance(step.function, np.ufunc):
            raise UnfitError("one of its arguments moves")
        args = list(step.args)
        for i, arg in enumerate(args):
            if isinstance(arg, Turn | Listed):
                dtype = loop_of(step.function, step.args)[i]
                args[i] = number = Value((), dtype)
                self.inputs.append(number)
                self.turns.names.of[number] = f"np.{dtype.name}({self.turns.moving(arg)[0]})"
        self.steps.append(replace(step, args=tuple(args)))


def unmoved(turns: Turns, laid: InPlace) -> Unmoved:
    """Return the body of a loop without moving indices."""
    program = laid.program()
    body = Unmoved(turns, program, laid.ends)
    for step in program.steps:
        body.take(step)
    return body
