"""Where a loop writes its values: over those that it carries, and into rows of arrays.

Owns: `Carrying`, which names a loop's values by their purpose, and `InPlace`, its body
as a program that writes in place.
Must not own: how a loop is printed (`source.py`, `fast.py`, `turns.py`), or found
(`runs.py`).
Read next: `fast.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.bodies import Row, is_free
from microgradnd.compiler.buffers import may_share
from microgradnd.compiler.program import Program, Step, Value
from microgradnd.compiler.spelling import assigned_at
from microgradnd.compiler.traits import traits


class Carried(NamedTuple):
    """A value that a loop carries.

    Attributes
    ----------
    inside, following : Value
        It in a turn, and in the next one.
    begin : Value or constant
        Its initial value.
    out : Value
        The loop's result: its last value, or an array of all of them.
    has_rows : bool
        Whether all of them are kept.
    """

    inside: Value
    following: Value
    begin: Any
    out: Value
    has_rows: bool


class Carrying:
    """The values of a loop.

    Attributes
    ----------
    same : list of (Value, Value or constant)
        Those that are the same in all turns, inside and outside.
    body, count
        The loop's.
    carried : list of Carried
    kept, last : list of (Value, Value)
        Those that are kept from all turns or from the last, outside and inside.
    """

    def __init__(self, step: Step) -> None:
        loop, outs = step.function, step.outs()
        nexts, kept, last = loop.body.outputs
        n, inputs = len(loop.rows), loop.body.inputs
        self.body, self.count = loop.body, loop.count
        self.same = [*zip(inputs[n:], step.args[n:], strict=True)]
        self.carried = [*map(Carried, inputs[:n], nexts, step.args[:n], outs[:n], loop.rows)]
        self.kept = [*zip(outs[n : n + len(kept)], kept, strict=True)]
        self.last = [*zip(outs[n + len(kept) :], last, strict=True)]


class InPlace(Carrying):
    """A loop whose body writes in place.

    Attributes
    ----------
    places : dict of Value to (Value, int or None)
        The inputs of the body that are results of the loop: the whole result, or
        the row that many turns ahead.
    ends : list of (Value, int, Value)
        The numbers that are kept: the array, the row as above, and the number.
    numbers : list of Carried
        Those that are numbers.
    results : list of (Value, Value)
        The numbers that outlive the loop, outside and inside.

    If `named` is true, numbers that a turn hands on are values of their own.
    """

    def __init__(self, step: Step, named: bool) -> None:
        super().__init__(step)
        self.named = named
        self.places: dict[Value, tuple[Value, int | None]] = {}
        self.ends: list[tuple[Value, int, Value]] = []
        self.steps = [*self.body.steps]
        self.fixed = {v for s in self.steps if not may_share(s) and not is_free(s) for v in s.outs()}
        self.base: dict[Value, Value] = {}  # the array that a step has changed in place
        self.updates: dict[Value, Value] = {}
        self.numbers: list[Carried] = []
        self.results: list[tuple[Value, Value]] = []

    def lay_out(self) -> None:
        """Find a place for each value that outlives a turn."""
        self.numbers += [c._replace(following=self.number(c.following)) for c in self.carried if not c.inside.shape]
        self.results += [(c.out, c.inside) for c in self.numbers if not c.has_rows]
        self.results += [(out, self.number(value)) for out, value in self.last if not value.shape]
        for c in self.carried:
            if c.inside.shape:
                self.places[c.inside] = c.out, 0 if c.has_rows else None
            if c.has_rows:
                self.keep(c.out, c.following, 1)
            elif c.inside.shape:
                self.write(c.inside, c.following)
        for out, value in self.kept:
            self.keep(out, value, 0)
        for out, value in self.last:
            if value.shape:
                self.write(self.place(out, value, None), value)

    def program(self) -> Program:
        """Return the body, whose updates are written to places."""
        inputs = dict.fromkeys([*self.body.inputs, *self.places])
        ends = [*[c.following for c in self.numbers], *[v for _, v in self.results], *[v for *_, v in self.ends]]
        return Program((*inputs,), tuple(self.steps), tuple(dict.fromkeys(ends)), self.updates)

    def place(self, out: Value, like: Value, ahead: int | None) -> Row:
        """Return an input for a result, or a row of it, that a value is written to."""
        row = Row(like.shape, like.dtype, like.name)
        self.places[row] = out, ahead
        return row

    def keep(self, out: Value, value: Value, ahead: int) -> None:
        """Keep a value of each turn in a row of an array."""
        if value.shape:
            self.write(self.place(out, value, ahead), value)
        else:
            self.ends.append((out, ahead, self.number(value)))

    def number(self, value: Value) -> Value:
        """Return a number that a turn hands on."""
        return self.copied(value) if self.named and value not in self.fixed else value

    def copied(self, value: Value) -> Value:
        """Return a copy of a value, made at the end of a turn."""
        out = Value(value.shape, value.dtype, value.name)
        self.steps.append(Step(np.copy, (value,), {}, out))
        return out

    def write(self, target: Value, value: Value) -> None:
        """See that a value is in its place at the end of a turn."""
        base = self.base.get(value)
        is_own = value in self.fixed if base is None else base is target or base not in self.body.inputs
        self.updates[target] = value if is_own else self.copied(value)


def in_place(step: Step, changes: Callable[[Step], bool], named: bool = False) -> InPlace:
    """Return a loop whose body writes in place.

    `changes` tells which steps change their first operand.
    """
    laid = InPlace(step, named)
    for inner in laid.steps:
        if changes(inner):
            laid.base[inner.outs()[0]] = laid.base.get(inner.args[0], inner.args[0])
    laid.lay_out()
    return laid


def assigned_in_place(program: Program, own: Sequence[Value]) -> Program:
    """Assign to elements in place where nothing reads the array before it later.

    Steps may write over the values in `own`. Arrays that the next turn of a loop takes
    over are assigned to at the end of a turn, when the old ones have been read.
    """
    late = {*program.results()} if own else set()
    late -= {v for step in program.steps for v in step.operands()}
    steps = sorted(program.steps, key=lambda step: step.function is primitives.setitem and step.out in late)
    program = replace(program, steps=tuple(steps))
    found, fresh = readings(program), {*own}
    for i, step in enumerate(steps):
        base = step.args[0] if step.function is primitives.setitem else None
        has_axes = isinstance(base, Value) and base.shape  # others are numbers, without items
        if has_axes and base in fresh and all(j == i or end <= i for j, end in found[base].items()):
            steps[i] = replace(step, function=assigned_at)
        if steps[i].function is assigned_at or traits(step.function).memory == "fresh":
            fresh.update(step.outs())
    return replace(program, steps=tuple(steps))


def readings(program: Program) -> dict[Value, dict[int, int]]:
    """Return the steps that read each value, and the last ones where each may do so.

    A value that is used once may be read where its user's result is, and a value whose
    memory a result shares wherever that is read. The program's results are read last.
    """
    end = len(program.steps)
    uses, found = program.uses(), {value: {end: end} for value in program.results()}
    for i, step in reversed(list(enumerate(program.steps))):
        ends = {j: last for out in step.outs() for j, last in found.get(out, {}).items()}
        is_inlined = all(uses.get(out, 0) <= 1 for out in step.outs()) and end not in ends
        outlives = (is_inlined or may_share(step)) and step.function is not primitives.setitem
        last = max([i, *ends.values()]) if outlives else i
        for value in step.operands():
            found.setdefault(value, {})[i] = last
    return found
