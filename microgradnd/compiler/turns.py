"""Rolled loops as source for numba: turns, and within each turn loops over elements.

Owns: how a `Loop` is printed as one compiled function.
Must not own: the loops of a straight line (`loops.py`), or how a loop is found
(`rolling.py`).
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
from microgradnd.compiler.buffers import may_share
from microgradnd.compiler.fusion import Access, Op
from microgradnd.compiler.loops import LETTERS, Layout, Part, in_order, literal
from microgradnd.compiler.passes import loop_of, uniform
from microgradnd.compiler.program import Listed, Program, Step, Turn, Value, moves
from microgradnd.compiler.rolling import Loop as Rolled
from microgradnd.compiler.rolling import Row, is_free
from microgradnd.compiler.source import Writer
from microgradnd.compiler.traits import CALL

Index = list[tuple[bool, str]]  # for each axis: whether one place is taken, and which place, or the start


class UnfitError(Exception):
    """A part of a loop that can't be machine code."""


class Turns(Part):
    """Prints a rolled loop as one function.

    Attributes
    ----------
    given : list of (Value or array)
            What its parameters are in the program that calls it.
    """

    def __init__(self, step: Step, name: str) -> None:
        super().__init__(Layout(Program((), (), ())), name)
        self.writer = Writer(Program((), (), ()), self.names, {})
        self.bound: dict[Value, tuple[Value, Index]] = {}
        self.pinned: set[Value] = set()
        self.constants: dict[Value, Any] = {}
        self.scratch: list[Value] = []
        for value in (*step.args, *step.outs()):
            if isinstance(value, Value) and value not in self.parameters:
                self.parameters[value] = self.names.value(value)
        self.numbers = [value for value in step.outs() if not value.shape]
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
        loop = step.function
        assert isinstance(loop, Rolled)
        counter = self.names.new("t")
        with self.writer.inside(counter, [self.moving(number) for number in step.kwargs.get("numbers", ())]):
            self.in_turns(loop, step, counter, depth)

    def in_turns(self, loop: Rolled, step: Step, counter: str, depth: int) -> None:
        body = InPlace(self, loop, step, counter)
        for text, begin in body.firsts:
            self.line(depth, f"{text} = {self.number(begin)}")
        for inside, begin in body.carried:
            name = self.names.new(inside.name or "n")
            self.line(depth, f"{name} = {self.number(begin)}")
            self.names.of[inside] = name
        for array, begin in body.arrays:
            self.copied(array, begin, depth)
        before = self.layout
        self.layout = layout = Layout(body.program)
        layout.over = {new: old for new, old in layout.over.items() if old not in body.partly}
        layout.arrays -= {v for v in layout.arrays if not v.shape and v not in body.program.inputs}
        for part in layout.parts:
            if isinstance(part, Op) and not isinstance(part.step.function, Rolled):
                raise UnfitError(part.text)
        for value, array in layout.lowering.constants.items():
            self.constants[value] = np.ascontiguousarray(array)
            self.parameters[value] = self.names.value(value)
        self.pinned |= {layout.base[v] for v in body.numbers}
        self.line(depth, f"for {counter} in range({loop.count}):")
        for part in layout.parts:
            ops = [part] if isinstance(part, Op) else list(in_order(part))
            for op in ops:
                self.take(op)
        for part in layout.parts:
            if isinstance(part, Op):
                self.texts.clear()
                self.turns(part.step, depth + 1)
            else:
                self.emit(part, depth + 1)
        for old, new in body.program.updates.items():
            if new not in layout.over:
                self.copied(old, new, depth + 1)
        for place, value in body.ends:
            self.line(depth + 1, f"{place} = {self.number(value)}")
        if body.carried:
            targets = ", ".join(self.names.of[inside] for inside, _ in body.carried)
            values = ", ".join(self.number(following) for following in body.following)
            self.line(depth + 1, f"{targets} = {values}")
        self.texts.clear()
        for inside, out in body.results:  # numbers that outlive the loop
            text = self.number(inside)
            if out in self.parameters:
                self.line(depth, f"{self.parameters[out]}[0] = {text}")
            else:
                self.names.of[out] = text
        self.layout = before

    def moving(self, number: Any) -> tuple[str, int]:
        """Return a number that differs between turns as source."""
        if type(number) is not Listed:
            return self.writer.expression(number)
        table = Value((len(number.numbers),), np.float64, "numbers")
        self.constants[table] = np.array(number.numbers)
        self.parameters[table] = self.names.value(table)
        return f"{self.parameters[table]}[{self.writer.counter}]", CALL

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
            axes = [text if single else f"{text}{next(rest)}" for single, text in index] + list(rest)
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
        """Print a copy of an array."""
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


class InPlace:
    """The body of a loop as a program that writes over carried values, and into rows.

    Attributes
    ----------
    program : Program
    carried, following : list
            The numbers that are carried, each with its initial value, and their values
            in the next turn.
    arrays : list
            The arrays that are carried, with their initial values.
    ends : list of (str, Value)
            The numbers that are kept, and where.
    results : list of (Value, Value)
        The numbers that outlive the loop, inside and outside.
    firsts : list of (str, Value)
            The initial numbers of those that are kept, and where.
    numbers : set of Value
            The values that need a name at the end of a turn.
    """

    def __init__(self, turns: Turns, loop: Rolled, step: Step, counter: str) -> None:
        self.turns, self.counter, self.uses = turns, counter, loop.body.uses()
        self.carried: list[tuple[Value, Any]] = []
        self.following: list[Value] = []
        self.arrays: list[tuple[Value, Any]] = []
        self.ends: list[tuple[str, Value]] = []
        self.firsts: list[tuple[str, Any]] = []
        self.results: list[tuple[Value, Value]] = []
        self.inputs: list[Value] = []
        self.partly: set[Value] = set()  # arrays that other values are parts of, which a turn reads at any time
        self.updates: dict[Value, Value] = {}
        self.late: dict[Value, Step] = {}  # sums in place, instead of sums of whole arrays
        self.skipped: set[Value] = set()
        self.steps: list[Step] = []
        self.copies: list[Step] = []
        self.made = {out: s for s in loop.body.steps for out in s.outs()}
        self.fixed = {v for s in loop.body.steps if not may_share(s) and not is_free(s) for v in s.outs()}
        n, outs = len(loop.rows), step.outs()
        nexts, kept, last = loop.body.outputs
        for inside, outside in zip(loop.body.inputs[n:], step.args[n:], strict=True):
            self.share(inside, outside)
        for carry in zip(loop.body.inputs[:n], nexts, step.args, outs, loop.rows, strict=False):
            self.carry(*carry)
        for out, value in zip(outs[n:], kept, strict=False):
            self.keep(out, value, counter)
        for out, value in zip(outs[n + len(kept) :], last, strict=True):
            if value.shape:
                self.updates[self.place(value, out, [])] = self.settled(value)
            else:
                self.results.append((self.settled(value), out))
        for s in loop.body.steps:
            self.take(s)
        self.steps += self.copies
        numbers = (*self.following, *(v for _, v in self.ends), *(v for v, _ in self.results))
        outputs = tuple(v for v in dict.fromkeys(numbers) if any(v in s.outs() for s in self.steps))
        self.numbers = set(outputs)
        self.program = Program(tuple(self.inputs), tuple(self.steps), outputs, self.updates)

    def share(self, inside: Value, outside: Any) -> None:
        """Take a value that is the same in all turns."""
        self.inputs.append(inside)
        if inside.shape or (isinstance(outside, Value) and outside in self.turns.bound):
            self.turns.bound[inside] = self.turns.whole(outside), []
        else:
            self.turns.names.of[inside] = self.turns.number(outside)

    def carry(self, inside: Value, following: Value, begin: Any, out: Value, has_rows: bool) -> None:
        """Carry a value on, in a local variable or an array, or in rows of one."""
        bound, next_row = self.turns.bound, f"{self.counter} + 1"
        self.inputs.append(inside)
        if not inside.shape:
            following = self.settled(following)
            self.carried.append((inside, begin))
            self.following.append(following)
            if has_rows:
                self.firsts.append((f"{self.turns.names.of[out]}[0]", begin))
                self.ends.append((f"{self.turns.names.of[out]}[{next_row}]", following))
            else:
                self.results.append((inside, out))
        elif has_rows:
            bound[inside] = out, [(True, self.counter)]
            bound[first := Row(inside.shape, inside.dtype)] = out, [(True, "0")]
            self.arrays.append((first, begin))
            self.keep(out, following, next_row)
        else:
            bound[inside] = out, []
            self.arrays.append((inside, begin))
            if not self.added(inside, following):
                self.updates[inside] = self.settled(following)

    def keep(self, out: Value, value: Value, row: str) -> None:
        """Keep a value of each turn in a row of an array."""
        if value.shape:
            self.updates[self.place(value, out, [(True, row)])] = self.settled(value)
        else:
            self.ends.append((f"{self.turns.names.of[out]}[{row}]", self.settled(value)))

    def place(self, like: Value, array: Value, index: Index) -> Row:
        """Return a part of an array that a value of the turn is written to."""
        place = Row(like.shape, like.dtype)
        self.turns.bound[place] = array, index
        self.inputs.append(place)
        return place

    def settled(self, value: Value) -> Value:
        """Return a value that the turn computes and nothing writes over."""
        if value in self.fixed and value in self.made:
            return value
        self.copies.append(Step(np.copy, (value,), {}, Value(value.shape, value.dtype)))
        return self.copies[-1].out  # type: ignore[return-value]

    def added(self, carried: Value, following: Value) -> bool:
        """Add in place to a row of a carried array, if nothing else happens to it."""
        uses, step = self.uses, self.made.get(following)
        if step is None or step.function is not np.add or uses[following] != 1 or uses[carried] != 1:
            return False
        y = step.args[1] if step.args[0] is carried else step.args[0]
        scattering = self.made.get(y) if isinstance(y, Value) and carried in step.args and uses[y] == 1 else None
        if scattering is None or scattering.function is not primitives.scatter or not moves(scattering.args[1]):
            return False
        values, index, _ = scattering.args
        old, new = Value(values.shape, values.dtype), Value(values.shape, values.dtype)
        row = self.place(values, carried, self.index(index))
        self.turns.bound[old] = self.turns.bound[row]
        self.inputs.append(old)
        self.late[following] = Step(np.add, (old, values), {}, new, step.where)
        self.skipped |= {following, y}
        if values.shape:
            self.updates[row] = new
        else:
            self.ends.append((self.turns.place(row, []), new))
        return True

    def index(self, index: Any) -> Index:
        """Return a moving index, axis by axis."""
        parts: Index = []
        for part in index if isinstance(index, tuple) else (index,):
            if isinstance(part, int):
                parts.append((True, self.turns.writer.text(part)))
            elif isinstance(part, slice) and part.step is None and part.start is None and part.stop is None:
                parts.append((False, ""))
            elif isinstance(part, slice) and part.step is None and isinstance(part.start, int) and part.start >= 0:
                parts.append((False, f"{self.turns.writer.text(part.start)} + "))
            else:
                raise UnfitError("it has a moving index of this kind")
        return parts

    def take(self, step: Step) -> None:
        """Take a step over, with its moving parts as inputs."""
        if not self.skipped.isdisjoint(step.outs()):
            self.steps += [self.late[out] for out in step.outs() if out in self.late]
            return
        if not moves(step.args):
            self.steps.append(step)
            return
        bound, out = self.turns.bound, step.out
        if step.function is primitives.getitem and step.args[0] in self.inputs and isinstance(out, Value):
            bound[out] = step.args[0], self.index(step.args[1])
            self.inputs.append(out)
            self.partly.add(step.args[0])
            return
        if not isinstance(step.function, np.ufunc):
            raise UnfitError("one of its arguments moves")
        args = list(step.args)
        for i, arg in enumerate(args):
            if isinstance(arg, Turn | Listed):
                dtype = loop_of(step, step.args)[i]
                args[i] = number = Value((), dtype)
                self.inputs.append(number)
                self.turns.names.of[number] = f"np.{dtype.name}({self.turns.moving(arg)[0]})"
        self.steps.append(replace(step, args=tuple(args)))
