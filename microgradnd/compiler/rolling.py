"""Rolled loops: runs of equal steps in a program become one step.

Owns: how a run is written as a loop, what becomes of its values after it, and that
long sums add all their terms in the same way.
Must not own: how runs are found (`runs.py`), or how a loop is printed (`source.py`,
`fast.py`, `turns.py`).
Read next: `carrying.py`.

A trace of `for t in range(T): h = np.tanh(x[t] @ w + h @ u)` is T copies of the same
steps, and its backward pass T copies in reverse. Such a copy is a turn. A run of turns
becomes one step if each operand is the same in every turn, comes from this turn or an
earlier one, or is part of an array at a place that moves evenly. Every value of a turn
that is used after the loop is kept in an array with a row for each turn; so the values
that a backward loop needs from a forward one are also parts that move evenly. Views
cost nothing: they are taken again where they are used, and belong to the operand.

Steps that don't fit stay unchanged. Results are equal to the last bit, because the same
steps run in the same order.

A backward pass adds each term of a gradient to the terms before it, except for the
first. So the steps of the first turn differ from those of the others, and it couldn't
be part of the loop. Therefore the first term is added to zero; if no loop comes of it,
the addition is dropped again.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.bodies import Loop, in_bodies, plural
from microgradnd.compiler.passes import drop_dead, share_equal
from microgradnd.compiler.program import (
    FEWEST,
    Constant,
    Listed,
    Made,
    Program,
    Step,
    Turn,
    Value,
    mapped,
    moved,
    rewritten,
)
from microgradnd.compiler.runs import FAR, Run, Search, is_array, may_vary, numbers_of, search_of

MINUS_ZERO = -0.0  # this object; a user's number is another


def rolled(program: Program) -> Program:
    """Roll up every run that can be a loop, in the bodies of loops too."""
    return in_bodies(lambda body, _: with_loops(body), program)


def with_loops(program: Program) -> Program:
    """Roll up the runs of a program's own steps."""
    found, is_rolled = begun(program), False
    while runs := (search := search_of(found)).runs():
        found, is_rolled = Rolling(search, runs).written(), True
    if is_rolled:
        program = in_bodies(lambda body, _: share_equal(rewritten(body, unbegun)), found)
    return drop_dead(rewritten(program, stacked))


class Rolling:
    """Writes a program whose runs are loops."""

    def __init__(self, search: Search, runs: Sequence[Run]) -> None:
        self.search, self.runs = search, runs
        self.steps: list[Step] = []
        self.emitted: set[Value] = set()
        self.instead: dict[Value, tuple[Value, Any]] = {}  # a value of a loop: the array it is in, and its place there
        self.taken: dict[Any, Value] = {}

    def written(self) -> Program:
        """Write the whole program."""
        search, run_of, place = self.search, {run.places().start: run for run in self.runs}, 0
        wanted = self.used_outside()
        while place < len(search.steps):
            if (run := run_of.get(place)) is not None:
                self.steps.append(Body(self, run).written(wanted[run.has(wanted)] - run.code(0, 0)))
                place = run.places().stop
            else:
                self.steps.append(self.replaced(search.steps[place]))
                place += 1
        results = {value: self.use(value) for value in search.program.results()}
        ends = replace(search.program, steps=()).substitute(results)  # the steps before a loop keep its first values
        return replace(ends, steps=tuple(self.steps))

    def used_outside(self) -> Any:
        """Return the codes of loops' values that are used outside their loop."""
        search = self.search
        loop = np.full(len(search.steps) + 1, -1)
        for i, run in enumerate(self.runs):
            loop[run.places().start : run.places().stop] = i
        reader = np.repeat(loop[:-1], np.diff(search.starts))
        made = loop[np.where(search.codes // FAR == 0, search.codes // search.width, -1)]
        results = [search.code_of.get(search.root(value), -1) for value in search.program.results()]
        return np.unique([*search.codes[(made >= 0) & (made != reader)], *results])

    def use(self, value: Any) -> Any:
        """Return the value that replaces another now; add the step that makes it."""
        if type(value) is not Value:
            return value
        if value in self.instead:
            array, index = self.instead[value]
            if index is None:
                return array
            if (array, index) not in self.taken:
                self.taken[array, index] = Value(value.shape, value.dtype, value.name)
                made = self.search.code_of[value]
                where = self.search.steps[made // self.search.width].where if made >= 0 else None
                self.steps.append(Step(primitives.getitem, (array, index), {}, self.taken[array, index], where))
            return self.taken[array, index]
        step = self.search.views.get(value)
        if step is not None and value not in self.emitted:
            self.emitted.add(value)
            self.steps.append(self.replaced(step))
        return value

    def replaced(self, step: Step) -> Step:
        changed = {value: now for value in step.operands() if (now := self.use(value)) is not value}
        return step.substitute(changed) if changed else step


class Body:
    """Writes a run as one step."""

    def __init__(self, rolling: Rolling, run: Run) -> None:
        self.rolling, self.run, self.search = rolling, run, rolling.search
        self.count = run.end - run.first
        self.inputs: dict[Value, tuple[Value, Any]] = {}  # values that are the same in each turn: inside, outside
        self.carried: dict[tuple[int, int], Value] = {}  # the carried values, as they are inside
        self.steps: list[Step] = []
        self.made: dict[int, Value] = {}
        self.leaves = itertools.count()  # the number of the next leaf
        self.wanted: dict[int, list[int]] = {}  # the turns of each value that are used outside

    def written(self, codes: Any) -> Step:
        """Write the loop as a step; codes tell which values are used outside of it."""
        for code in codes.tolist():
            self.wanted.setdefault(code % self.run.stride, []).append(code // self.run.stride)
        for j in range(self.run.period):
            step = self.inside(self.run.step(j))
            first = j * self.search.width
            outs = tuple(Value(v.shape, v.dtype, self.run.name(o)) for o, v in enumerate(step.outs(), first))
            self.made.update(enumerate(outs, first))
            self.steps.append(replace(step, out=outs if isinstance(step.out, tuple) else outs[0]))
        return self.whole()

    def inside(self, step: Step, depth: int = 0) -> Step:
        """Return a step as it is inside the loop, and inside `depth` loops in it."""
        function, varies = step.function, numbers_of(step)
        if isinstance(function, Loop):
            body = function.body
            steps = tuple([self.inside(inner, depth + 1) for inner in body.steps])
            body = replace(body, steps=steps, outputs=self.argument(body.outputs, (), depth + 1))
            function = replace(function, body=body)
        args, kwargs = self.argument(step.args, varies, depth), self.argument(dict(step.kwargs), (), depth)
        return replace(step, function=function, args=args, kwargs=kwargs)

    def argument(self, tree: Any, varies: tuple[type, ...], depth: int) -> Any:
        """Return an argument inside the loop."""

        def changed(part: Any) -> Any:
            if type(part) is Value and part in self.search.inner:
                return part
            if type(part) is Value and part in self.search.views:
                return self.added(self.inside(self.search.views[part]))
            if type(part) is Value or is_array(part) or isinstance(part, Turn | Listed) or may_vary(part, varies):
                return self.leaf(next(self.leaves), depth)
            return part

        return mapped(changed, tree)

    def leaf(self, i: int, depth: int) -> Any:
        """Return a leaf inside the loop."""
        run = self.run
        kind, first, second = run.kind[i], run.leaf(i, 0), run.leaf(i, 1)
        if kind == "number":
            codes = run.codes[run.first : run.end, i]
            if (codes == codes[0]).all():
                return first
            if type(first) is int:
                return Turn(first, second - first, depth)
            return Listed(tuple([float(run.leaf(i, turn)) for turn in range(self.count)]), depth)
        if kind == "same":
            if isinstance(second, Turn | Listed):
                return moved(second, second.level >= depth)
            return self.outside(second)
        if kind == "row":
            other = run.lists[i]
            turns = (run.codes[run.first + 1 : run.first + 3, i] - other.code(0, 0)) // other.stride
            rows, place = other.rows[int(run.codes[run.first + 1, i] - other.code(0, 0)) % other.stride]
            step = int(turns[1] - turns[0])
            place = Turn(place + int(turns[0]) - step, step)
            return self.added(Step(primitives.getitem, (self.outside(rows), place), {}, second))
        source, ago = int(run.source[i]), int(run.ago[i])
        return self.carry(source, ago) if ago else self.made[source]

    def added(self, step: Step) -> Value:
        """Add a step that makes a view, and return the view."""
        self.steps.append(replace(step, out=Value(step.out.shape, step.out.dtype, step.out.name)))
        return self.steps[-1].out

    def outside(self, value: Any) -> Any:
        """Return the value inside for one that is the same in all turns."""
        if type(value) is not Value:
            return value
        if value not in self.inputs:
            now = self.rolling.use(value)
            self.inputs[value] = Value(now.shape, now.dtype, now.name or value.name), now
        return self.inputs[value][0]

    def carry(self, source: int, ago: int) -> Value:
        """Return a value of an earlier turn; the turns in between pass it on."""
        for before in range(ago, 0, -1):
            if (source, before) not in self.carried:
                like = self.search.thing(self.run.code(source, 0))
                self.carried[source, before] = Value(like.shape, like.dtype, self.run.name(source))
        return self.carried[source, ago]

    def whole(self) -> Step:
        """Return the loop as a step, once the steps of its body are written."""
        run, search = self.run, self.search
        carried = {source for source, ago in self.carried if ago == 1}
        in_rows = {source for source, turns in self.wanted.items() if turns != [self.count - 1]}
        kept, last = sorted(in_rows - carried), sorted(self.wanted.keys() - in_rows - carried)
        rows = tuple(ago == 1 and source in in_rows for source, ago in self.carried)
        begins = [search.thing(run.begins[key]) for key in self.carried]
        args = [*map(self.rolling.use, begins), *[outer for _, outer in self.inputs.values()]]
        outs = [
            self.result(source, 1 if has_rows else None) if ago == 1 else Value(value.shape, value.dtype, value.name)
            for ((source, ago), value), has_rows in zip(self.carried.items(), rows, strict=True)
        ]
        first = [(begin, (out, 0)) for begin, out, has_rows in zip(begins, outs, rows, strict=True) if has_rows]
        self.rolling.instead.update(pair for pair in first if type(pair[0]) is Value)
        outs += [self.result(source, 0) for source in kept] + [self.result(source, None) for source in last]
        nexts = tuple(self.made[s] if ago == 1 else self.carried[s, ago - 1] for s, ago in self.carried)
        ends = [tuple(self.made[source] for source in sources) for sources in (kept, last)]
        inputs = (*self.carried.values(), *[inside for inside, _ in self.inputs.values()])
        loop = Loop(self.count, Program(inputs, tuple(self.steps), (nexts, *ends)), rows)
        return Step(loop, tuple(args), {}, tuple(outs), run.step(0).where)

    def result(self, source: int, first: int | None) -> Value:
        """Return a result of the loop: an array in which a row, or no row, is the first
        turn's value; note where the values are.
        """
        value, run = self.made[source], self.run
        out = Value(value.shape, value.dtype, value.name)
        if first is not None:
            out = Value((self.count + first, *value.shape), value.dtype, plural(value.name))
            run.rows[source] = out, first
        for turn in self.wanted.get(source, ()):
            thing = self.search.thing(run.code(source, turn))
            self.rolling.instead[thing] = out, None if first is None else turn + first
        return out


def stacked(step: Step, made: Made, uses: Mapping[Value, int]) -> list[Step] | None:
    """Return the steps of a concatenation whose parts are rows of an array."""
    if step.function is not primitives.concatenate or step.args[0] != 0:
        return None
    parts = step.args[2:]
    rows = [row_of(part, made) for part in parts]
    from_one = [k if array is None else (array, i - k) for k, (array, i) in enumerate(rows)]
    groups = [[*group] for _, group in itertools.groupby(range(len(parts)), from_one.__getitem__)]
    if len(groups) == len(parts):
        return None
    steps, arrays = list[Step](), [parts[first] for first, *_ in groups]
    for n, group in enumerate(groups):
        if len(group) > 1:
            array, start = rows[group[0]]
            arrays[n] = Value((len(group), *arrays[n].shape[1:]), arrays[n].dtype)
            steps.append(Step(primitives.getitem, (array, slice(start, start + len(group))), {}, arrays[n], step.where))
    if len(arrays) == 1:
        return [replace(steps[0], out=step.out)]
    ends = [*itertools.accumulate([x.shape[0] for x in arrays], initial=0)]
    return [*steps, replace(step, args=(0, ends, *arrays))]


def row_of(part: Any, made: Made) -> tuple[Any, Any]:
    """Return the array that an operand is a row of, and the row's number."""
    outer = made.get(part) if isinstance(part, Value) else None
    if outer is None or outer.function is not np.expand_dims or outer.args[1] not in (0, (0,)) or outer.kwargs:
        return None, None
    inner = made.get(outer.args[0])
    if inner is None or inner.function is not primitives.getitem or type(inner.args[1]) is not int:
        return None, None
    return inner.args[0], inner.args[1]


# Long sums


class Zero(Constant):
    """An array to which the first term of a sum is added."""


@functools.cache
def zero(shape: tuple[int, ...], dtype: Any, is_scattered: bool) -> Any:
    """Return the zero that a sum may begin with: -0.0 + x is x for every x.

    Where values are scattered, all other elements are 0.0.
    """
    if not shape:
        return MINUS_ZERO
    number = 0.0 if is_scattered else MINUS_ZERO
    kind = "" if dtype == np.float64 else f", np.{dtype.name}"
    text = f"np.zeros({shape}{kind})" if is_scattered else f"np.full({shape}, -0.0{kind})"
    return Zero(text, primitives.expand(dtype.type(number), shape))


def unbegun(step: Step, made: Made, uses: Mapping[Value, int]) -> Any:
    """Undo `begun` for a sum that no loop computes: its first term is added to zero."""
    first = step.args[0] if step.function is np.add else None
    return step.args[1] if isinstance(first, Zero) or first is MINUS_ZERO else None


def begun(program: Program) -> Program:
    """Add the first term of each long sum to zero."""
    uses, made = program.uses(), {out: step for step in program.steps for out in step.outs()}
    head_of: dict[Any, Step] = {}  # the first addition of each sum, by each of its partial sums
    sums: dict[Step, list[Step]] = {}
    for step in program.steps:
        if step.function is np.add and len(step.operands()) == 2 and is_float(step.out):
            total = step.operands()[0]
            head_of[step.out] = head = head_of.get(total, step) if uses[total] == 1 else step
            sums.setdefault(head, []).append(step)
    begins: dict[Any, list[Step]] = {}  # by the first term
    heads: dict[Step, Step] = {}
    for head, steps in sums.items():
        x, y = map(made.get, head.operands())
        is_long = len(steps) + 1 >= FEWEST
        if is_long and x is not None and y is not None and is_like(x, y) and is_float(x.out):
            out = Value(x.outs()[0].shape, x.outs()[0].dtype)
            begin = zero(out.shape, out.dtype, x.function is primitives.scatter)
            begins.setdefault(x.out, []).append(Step(np.add, (begin, x.out), {}, out, head.where))
            heads[head] = replace(head, args=(out, head.args[1]))
    parts = [[heads.get(step, step), *begins.get(step.out, ())] for step in program.steps]
    return replace(program, steps=tuple(itertools.chain.from_iterable(parts)))


def is_float(value: Any) -> bool:
    """Return whether a value is an array of floats, or like a Python float."""
    return isinstance(value, Value) and value.dtype.kind == "f" and (bool(value.shape) or value.dtype == np.float64)


def is_like(x: Step, y: Step) -> bool:
    """Return whether two steps may belong to two turns of a loop."""
    alike = (x.function, x.where) == (y.function, y.where)
    return alike and isinstance(x.out, Value) and isinstance(y.out, Value) and x.out.shape == y.out.shape
