"""Which array holds which value: buffers planned by liveness.

Owns: the plan of a program's buffers.
Must not own: rewriting (`passes.py`) or printing (`source.py`).
Read next: `source.py`.

A value that isn't returned is written by its step's `out=` into a buffer that is
allocated once. When nothing will read a buffer any more, the next value of its size and
dtype takes it; a ufunc may write over its own operand. A view of a buffer is made once,
with the buffer, and keeps it in use. The parts of a joined vector are computed in their
places in it. The new value of an updated input is written over the old one if nothing
reads that any more. The caller never gets a buffer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.blocks import SUM, Chain
from microgradnd.compiler.bodies import Loop, Row
from microgradnd.compiler.program import Program, Step, Value, as_arrays, moves, values_in
from microgradnd.compiler.spelling import IN_PLACE
from microgradnd.compiler.traits import is_reducer, traits


@dataclass
class Plan:
    """Where values live.

    Attributes
    ----------
    buffers : list of (shape, dtype)
        The buffers to allocate.
    buffer_of : dict of Value to int
        The number of the buffer of each value that has its own.
    block_of : dict of Value to int
        The same for values inside chains, which have one block at a time.
    term_of : dict of Value to int
        The same for the terms that each block of a chain adds to a sum.
    part_of : dict of Value to (Value, int, int)
        The vector that a value is a part of, and where it starts and stops.
    over : dict of Value to Value
        The input that a new value is written over.
    views : list of Step
        The views of buffers, which are made with them.
    joined : set of Value
        The vectors whose parts are computed in place.
    """

    buffers: list[tuple[tuple[int, ...], Any]] = field(default_factory=list)
    buffer_of: dict[Value, int] = field(default_factory=dict)
    block_of: dict[Value, int] = field(default_factory=dict)
    term_of: dict[Value, int] = field(default_factory=dict)
    part_of: dict[Value, tuple[Value, int, int]] = field(default_factory=dict)
    over: dict[Value, Value] = field(default_factory=dict)
    views: list[Step] = field(default_factory=list)
    joined: set[Value] = field(default_factory=set)


def may_share(step: Step) -> bool:
    """Return whether a result may share memory with an operand."""
    if step.function is primitives.getitem and isinstance(step.out, Value) and step.out.shape == ():
        return not picks_one(step)
    return not isinstance(step.function, Chain | Loop) and traits(step.function).memory != "fresh"


def takes_out(step: Step) -> bool:
    """Return whether a step can write its result into an existing array."""
    if isinstance(step.out, tuple) or not step.out.shape or step.out.size == 0:
        return False
    if traits(step.function).is_product:
        return all(len(getattr(a, "shape", ())) > 0 for a in step.args)
    return is_reducer(step.function) or traits(step.function).is_elementwise


def picks_one(step: Step) -> bool:
    """Return whether an index gives a number, not an array without axes."""
    index = step.args[1]
    return all(isinstance(part, int | np.integer) for part in (index if isinstance(index, tuple) else (index,)))


class Planner:
    """Plans one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.made = {out: i for i, step in enumerate(program.steps) for out in step.outs()}
        self.plan = Plan()
        self.exact: dict[Value, Step] = {}  # values that are certainly views of another, if that is contiguous
        self.owners: dict[Value, set[Value]] = {}  # of a value that may be a view: those whose memory it may share
        self.kept: set[Value] = set()  # the owners of the results' memory
        self.last: dict[Value, int] = {}  # the last step that reads an owner's memory

    def planned(self) -> Plan:
        """Return where the values live."""
        program = self.program
        for step in program.steps:
            self.look_at(step)
        outputs = set(values_in(program.outputs))
        self.kept = {owner for value in outputs for owner in self.owners_of(value)}
        for step in program.steps:
            if step.function is primitives.concatenate:
                self.join(step)
        for i, step in enumerate(program.steps):
            for value in step.operands():
                for owner in self.owners_of(value):
                    self.last[owner] = i
        for value in program.updates.values():  # copied at the end unless written over the old ones
            for owner in self.owners_of(value):
                self.last[owner] = len(program.steps)
        self.place_updates()
        self.place_buffers()
        return self.plan

    def owners_of(self, value: Value) -> set[Value]:
        return self.owners.get(value, {value})

    def look_at(self, step: Step) -> None:
        """Find out whether a step makes a view, and of which value."""
        operands = list(values_in(step.args[:1] if step.function in IN_PLACE else step.args))
        out, function = step.out, step.function
        view = traits(function).is_view or (function is primitives.getitem and primitives.is_basic(step.args[1]))
        may = view and len(operands) == 1 and not (step.kwargs or moves(step.args))
        if may and isinstance(out, Value) and out.shape and self.stays_view(operands[0], step):
            self.exact[out] = step
        shared = {o for v in operands for o in self.owners_of(v)} if may_share(step) else set()
        for value in step.outs():
            self.owners[value] = shared or {value}

    def stays_view(self, base: Value, step: Step) -> bool:
        """Return whether a view of a buffer's value really is one: try it."""
        root = self.root(base)
        array: Any = np.empty(root.shape, root.dtype)
        for inner in self.chain(base):
            array = inner.function(array, *as_arrays(inner.args[1:]))
        view = step.function(array, *as_arrays(step.args[1:]))
        return array.size > 0 and np.may_share_memory(array, view)

    def chain(self, value: Value) -> list[Step]:
        """Return the views between a computed array and a value."""
        steps: list[Step] = []
        while value in self.exact:
            steps.append(self.exact[value])
            value = self.exact[value].args[0]
        return steps[::-1]

    def root(self, value: Value) -> Value:
        """Return the value that a value is a view of."""
        return next((step.args[0] for step in self.chain(value)), value)

    def join(self, step: Step) -> None:
        """Compute the parts of a vector in their places, where possible."""
        out = step.out
        parts = step.args[2:]
        if len(out.shape) != 1 or out in self.kept:
            return
        start, found = 0, dict[Value, tuple[Value, int, int]]()
        for part in parts:
            source = self.root(part) if isinstance(part, Value) else part
            flat = isinstance(source, Value) and all(s.function is np.reshape for s in self.chain(part))
            i = self.made.get(source, -1) if isinstance(source, Value) else -1
            fits = flat and i >= 0 and source.dtype == out.dtype and source not in self.kept | set(found)
            if not fits or source in self.plan.part_of or not takes_out(self.program.steps[i]):
                return
            found[source] = (out, start, start + source.size)
            start += source.size
        self.plan.part_of.update(found)
        self.plan.joined.add(out)
        for value, owners in self.owners.items():
            if owners & found.keys():
                self.owners[value] = (owners - found.keys()) | {out}

    def place_updates(self) -> None:
        """Write new values over the old ones where these are no longer read."""
        for old, new in self.program.updates.items():
            i = self.made.get(new, -1)
            elsewhere = new in self.kept or new in self.plan.over or new in self.plan.part_of
            if i < 0 or elsewhere or self.last.get(old, -1) > i:
                continue
            if self.may_cover(self.program.steps[i], new, old):
                self.plan.over[new] = old

    def may_cover(self, step: Step, new: Value, old: Value) -> bool:
        """Return whether a step may overwrite a value that nothing reads later."""
        if isinstance(old, Row):  # nobody reads it
            return takes_out(step)
        if not isinstance(step.function, Chain):
            return traits(step.function).is_elementwise and not step.kwargs and takes_out(step)
        chain = step.function
        seen_otherwise = any(v is not old and old in self.owners_of(v) for v in step.operands())
        return not seen_otherwise and chain.may_cover(new, old)

    def place_buffers(self) -> None:
        """Give the other values buffers, step by step; reuse them when unused."""
        plan, free = self.plan, dict[Any, list[int]]()
        ends: dict[int, list[Value]] = {}
        for owner, i in self.last.items():
            ends.setdefault(i, []).append(owner)
        for i, step in enumerate(self.program.steps):
            ending = ends.get(i, [])
            for out in step.outs():
                self.place(out, step, ending, free)
            if isinstance(step.function, Chain):
                self.place_blocks(step.function, free)
            for owner in ending:
                if owner in plan.buffer_of:
                    shape, dtype = plan.buffers[plan.buffer_of[owner]]
                    free.setdefault((math.prod(shape), dtype), []).append(plan.buffer_of[owner])

    def place(self, out: Value, step: Step, ending: list[Value], free: dict[Any, list[int]]) -> None:
        """Give a value a buffer; that of an operand in `ending`, if it may cover it."""
        plan, fills = self.plan, isinstance(step.function, Chain | Loop) and out.shape
        if out in plan.part_of:
            vector = plan.part_of[out][0]
            if vector not in plan.buffer_of:
                plan.buffer_of[vector] = self.buffer(vector.shape, vector.dtype, free)
        elif (fills or takes_out(step)) and out not in self.kept and out not in plan.over:
            dying = [v for v in step.operands() if v in ending and v in plan.buffer_of]
            same = [v for v in dying if (v.shape, v.dtype) == (out.shape, out.dtype)]
            covered = next((v for v in same if self.may_cover(step, out, v)), None)
            if covered is not None:
                plan.buffer_of[out] = plan.buffer_of[covered]
                ending.remove(covered)
            else:
                plan.buffer_of[out] = self.buffer(out.shape, out.dtype, free)
        elif out in self.exact and plan.part_of.get(root := self.root(out), (root,))[0] in plan.buffer_of:
            plan.views.append(step)

    def place_blocks(self, chain: Chain, free: dict[Any, list[int]]) -> None:
        """Give the values inside a chain buffers of a block's size while it runs."""
        used: list[int] = []
        idle: dict[Any, list[int]] = {}

        def take(value: Value, shape: tuple[int, ...]) -> int:
            if not idle.get((shape, value.dtype)):
                used.append(self.buffer(shape, value.dtype, free, has_shape=True))
                return used[-1]
            return idle[shape, value.dtype].pop()

        def give_back(number: int) -> None:
            idle.setdefault(self.plan.buffers[number], []).append(number)

        for i, step in enumerate(chain.program.steps):
            out = step.out
            viewed = [view.args[0] for view in map(chain.views.get, step.operands()) if view]
            read = dict.fromkeys([*viewed, *step.operands()])
            ending = [self.plan.block_of[v] for v in read if v in self.plan.block_of and chain.last_use(v) == i]
            if traits(step.function).is_elementwise:  # it may write over its operand
                for number in ending:
                    give_back(number)
            if chain.axes[out] == SUM and out.shape:
                self.plan.term_of[out] = take(out, out.shape)
                give_back(self.plan.term_of[out])
            elif chain.axes[out] == 0 and out not in chain.program.outputs:
                self.plan.block_of[out] = take(out, (chain.rows, *out.shape[1:]))
            if not traits(step.function).is_elementwise:
                for number in ending:
                    give_back(number)
        for number in used:
            shape, dtype = self.plan.buffers[number]
            free.setdefault((math.prod(shape), dtype), []).append(number)

    def buffer(self, shape: tuple[int, ...], dtype: Any, free: dict[Any, list[int]], has_shape: bool = False) -> int:
        """Return a free buffer of this size, or shape, or a new one."""
        numbers = free.get((math.prod(shape), dtype), [])
        fitting = [i for i in numbers if not has_shape or self.plan.buffers[i][0] == shape]
        if fitting:
            numbers.remove(fitting[-1])
            return fitting[-1]
        self.plan.buffers.append((shape, dtype))
        return len(self.plan.buffers) - 1


def plan(program: Program) -> Plan:
    """Return buffers for the values of a program."""
    return Planner(program).planned()
