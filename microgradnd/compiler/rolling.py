"""Rolled loops: runs of equal steps in a program become one step.

Owns: `Loop`, a step that runs a body a number of times, and the search for runs that
can become one.
Must not own: how a loop is printed (`source.py`, `fast.py`), or rewriting of straight
lines (`passes.py`).
Read next: `passes.py`.

A trace of `for t in range(T): h = np.tanh(x[t] @ w + h @ u)` is T copies of the same
steps, and its backward pass T copies in reverse. Such a copy is a turn. A run of turns
becomes one step if each operand is the same in every turn, comes from this turn or an
earlier one, or is part of an array at a place that moves evenly. Every value of a turn
that is used after the loop is kept in an array with a row for each turn; so the values
that a backward loop needs from a forward one are also parts that move evenly. Views
cost nothing: they are taken again where they are used, and belong to the operand.

Steps that don't fit stay unchanged. Results are equal to the last bit, because the same
steps run in the same order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.compiler.passes import drop_dead, share_equal, uniform
from microgradnd.compiler.program import (
    FEWEST,
    Constant,
    Listed,
    Program,
    Step,
    Turn,
    Value,
    mapped,
    parts_of,
)
from microgradnd.compiler.sums import begun, unbegun
from microgradnd.compiler.traits import gives_view, traits

NUMBER = "number"  # the form of a Python or computed number: a running sum may begin with the number 0
FAR = 1 << 58  # separates the codes of computed values, integers, numbers, and other arrays
NUMBERS = (int, float, np.float64)  # the types of numbers that may differ between turns
INDEXED = (primitives.getitem, primitives.scatter, primitives.setitem)
CONTEXTS = (1, 8, 64)  # how many consecutive steps the search for a period compares


primitives.BASIC.add(Turn)  # an index that moves names one element in each turn


@dataclass(frozen=True, eq=False)
class Loop:
    """A body of steps that runs several times; calling it interprets the steps.

    Attributes
    ----------
    count : int
            The number of turns.
    body : Program
            Its inputs are the carried values, then those that are the same in every
            turn. Its outputs are the next turn's carried values, those kept from each
            turn, and those kept from the last.
    rows : tuple of bool
            For each carried value: True if the initial value and the values of all
            turns are kept, False if only the last is.
    """

    count: int
    body: Program
    rows: tuple[bool, ...]

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        carried, rest = list(arrays[: len(self.rows)]), arrays[len(self.rows) :]
        seen: list[list[Any]] = [[x] for x in carried]
        kept: list[list[Any]] = [[] for _ in self.body.outputs[1]]
        last: tuple[Any, ...] = ()
        for turn in range(self.count):
            steps = tuple(in_turn(step, turn) for step in self.body.steps)
            carried, new, last = replace(self.body, steps=steps).run(*carried, *rest)
            for values, value in (*zip(seen, carried, strict=True), *zip(kept, new, strict=True)):
                values.append(value)
        carries = [np.stack(values) if rows else values[-1] for values, rows in zip(seen, self.rows, strict=True)]
        return (*carries, *map(np.stack, kept), *last)


class Row(Value):
    """A place for a value of this turn, which nothing in the turn reads."""

    __slots__ = ()


def in_bodies(rewrite: Callable[[Program, Sequence[Value]], Program], program: Program, own: Any = ()) -> Program:
    """Return a program with its own steps and the bodies of its loops rewritten.

    A body may write over the values that it carries.
    """
    steps = []
    for step in program.steps:
        if isinstance(loop := step.function, Loop):
            carried = [v for v, rows in zip(loop.body.inputs, loop.rows, strict=False) if v.shape and not rows]
            step = replace(step, function=replace(loop, body=in_bodies(rewrite, loop.body, carried)))
        steps.append(step)
    return rewrite(replace(program, steps=tuple(steps)), own)


def with_body(step: Step, rewrite: Callable[[Program], Program]) -> Step:
    """Return a loop with another body."""
    loop: Any = step.function
    return replace(step, function=replace(loop, body=rewrite(loop.body)))


def with_turns(step: Step, change: Callable[[Any, int], Any], depth: int = 0) -> Step:
    """Return a step in which the numbers that count turns of loops around it differ.

    `change(number, depth)` also gets the number of loops in the step around it.
    """

    def changed(part: Any) -> Any:
        return change(part, depth) if isinstance(part, Turn | Listed) and part.level >= depth else part

    function = step.function
    if isinstance(function, Loop):
        steps = tuple(with_turns(inner, change, depth + 1) for inner in function.body.steps)
        function = replace(function, body=replace(function.body, steps=steps))
    return replace(step, function=function, args=mapped(changed, step.args), kwargs=mapped(changed, dict(step.kwargs)))


def in_turn(step: Step, turn: int) -> Step:
    """Return a step of a loop as it is in one turn."""
    return with_turns(step, lambda number, depth: number.at(turn) if number.level == depth else number)


def levels(step: Step) -> set[int]:
    """Return which loops' turns a step reads: 0 is the innermost loop around it."""
    own = {part.level for part in parts_of((step.args, dict(step.kwargs))) if isinstance(part, Turn | Listed)}
    inner = step.function.body.steps if isinstance(step.function, Loop) else ()
    return own.union(*({level - 1 for level in levels(one) if level} for one in inner))


def hoisted(program: Program) -> Program:
    """Move steps that do the same in every turn before the loop."""
    steps: list[Step] = []
    for step in program.steps:
        steps += hoisted_from(step) if isinstance(step.function, Loop) else [step]
    return replace(program, steps=tuple(steps))


def hoisted_from(step: Step) -> list[Step]:
    """Return the steps that a loop needs only once, and the rest of the loop."""
    loop: Any = step.function
    n, body = len(loop.rows), hoisted(loop.body)
    outside = dict(zip(body.inputs[n:], step.args[n:], strict=True))
    before, inside, results = list[Step](), list[Step](), set(body.results())
    products = [s for s in body.steps if traits(s.function).lowering == "product" and is_matrix(s.out)]
    factors = {v for s in products for v in s.operands()}
    for inner in body.steps:
        is_fixed = not isinstance(inner.function, Anew) and results.isdisjoint(inner.outs()) and 0 not in levels(inner)
        if not is_fixed or not outside.keys() >= set(inner.operands()):
            inside.append(inner)
            continue
        outs = tuple(Value(v.shape, v.dtype, v.name) for v in inner.outs())
        outer = with_turns(inner.substitute(outside), lambda number, _: number.moved(-1))
        before.append(replace(outer, out=outs if isinstance(inner.out, tuple) else outs[0]))
        if inner.function in (np.transpose, np.matrix_transpose) and factors & {*inner.outs()}:
            outs = (Value(outs[0].shape, outs[0].dtype, outs[0].name),)  # quicker than a transposed view
            before.append(Step(np.ascontiguousarray, before[-1].outs(), {}, outs[0], step.where))
        outside.update(zip(inner.outs(), outs, strict=True))
    used = {v for inner in inside for v in inner.operands()} | results
    fixed_inputs = [v for v in outside if v in used]
    body = replace(body, inputs=(*body.inputs[:n], *fixed_inputs), steps=tuple(inside))
    args = (*step.args[:n], *(outside[v] for v in fixed_inputs))
    return [*before, replace(step, function=replace(loop, body=body), args=args)]


def is_matrix(value: Any) -> bool:
    """Return whether a product has the same bits for operands in any memory order."""
    return isinstance(value, Value) and len(value.shape) == 2 and min(value.shape) > 1


# The search


def is_free(step: Step) -> bool:
    """Return whether a step gives a view, which can be taken again at each use."""
    if isinstance(step.out, tuple) or not step.args or not isinstance(step.args[0], Value):
        return False
    return gives_view(step.function, step.args, len(step.operands()))


def is_last_row(step: Step) -> bool:
    """Return whether a step picks the last row of an array, by its number."""
    is_row = step.function is primitives.getitem and type(step.args[1]) is int
    return is_row and step.args[1] == step.args[0].shape[0] - 1


def numbers_of(step: Step) -> tuple[type, ...]:
    """Return the types of a step's number arguments that may differ between turns."""
    if step.function in INDEXED:
        return (int,)
    if not isinstance(step.function, np.ufunc):
        return ()
    return NUMBERS if all(out.dtype == np.float64 for out in step.outs()) else (int, float)


def is_array(tree: Any) -> bool:
    return isinstance(tree, np.ndarray | Constant) and bool(tree.shape)


def may_vary(tree: Any, varies: tuple[type, ...]) -> bool:
    """Return whether an argument is a number that may differ between turns."""
    return type(tree) in varies and (type(tree) is not int or abs(tree) < FAR // 4)


def hashable(tree: Any) -> bool:
    try:
        hash(tree)
    except TypeError:
        return False
    return True


def identity_of(array: Any) -> Any:
    """Return a key for an array: the number of a constant uniform one, or its id."""
    number = uniform(array)
    return (id(array),) if number is None else (repr(number), array.shape, array.dtype)


def periods(tokens: Any) -> list[int]:
    """Return the numbers of steps after which work may repeat, shortest first."""
    found: set[int] = set()
    for context in CONTEXTS:
        if context > len(tokens):
            break
        grams = np.zeros(len(tokens) - context + 1, np.uint64)
        for i in range(context):
            grams = grams * np.uint64(0x9E3779B97F4A7C15) + tokens[i : i + len(grams)].astype(np.uint64)
        order = np.argsort(grams, kind="stable")
        distances = np.diff(order)[np.diff(grams[order]) == 0]
        lengths, counts = np.unique(distances, return_counts=True)
        found.update(int(n) for n in lengths[counts >= FEWEST - 1])
    return sorted(found)


def repeated(tokens: Any, period: int) -> list[tuple[int, int]]:
    """Return where steps repeat often enough after a period: starts and ends."""
    same = tokens[:-period] == tokens[period:]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    runs = [(int(start), int(stop) + period) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    return [(start, stop) for start, stop in runs if stop - start >= FEWEST * period]


class Search:
    """A program as arrays of integers, in which runs of equal steps can be found.

    Attributes
    ----------
    steps : list of Step
            The steps that compute. Views are taken again wherever they are used.
    tokens : array of int
            For each step, a number; it is equal for steps that differ only in their
            leaves.
    leaves : list
            The leaves of all steps in order: arrays, with a view replaced by its base,
            and the number arguments that may differ between turns.
    codes : array of int
            A code for each leaf. The code of a value is `width` times its step, plus
            its place in the result.
    starts : array of int
        Where the leaves of each step begin.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.width = max([1, *(len(step.outs()) for step in program.steps)])
        self.steps: list[Step] = []
        self.views: dict[Value, Step] = {}
        self.code_of: dict[Any, int] = {}  # of computed values, and of everything else
        self.things: dict[int, Any] = {}  # everything that isn't computed
        self.leaves: list[Any] = []
        self.read_codes: list[int] = []
        self.spread: dict[Value, tuple[Any, list[Any], list[int]]] = {}  # the form, leaves and codes of a view
        self.inner: dict[Value, int] = {}  # values in the bodies of loops: their numbers in the step
        known: dict[Any, int] = {}
        rows: set[Value] = set()  # arrays with all values of a carried one
        tokens, starts = [], [0]
        for step in program.steps:
            if is_free(step) and not (step.args[0] in rows and is_last_row(step)):
                self.views[step.out] = step  # type: ignore[index]
                continue
            self.numbers = itertools.count()
            form, outs = self.form(step), step.outs()
            token = (form, step.where, *[(out.shape, out.dtype) for out in outs])
            tokens.append(known.setdefault(token, len(known)))
            for code, out in enumerate(outs, len(self.steps) * self.width):
                self.code_of[out] = code
            self.steps.append(step)
            if isinstance(step.function, Loop):
                rows.update(itertools.compress(outs, step.function.rows))
            starts.append(len(self.leaves))
        self.tokens, self.starts, self.codes = np.array(tokens, int), starts, np.array(self.read_codes, int)

    def form(self, step: Step) -> Any:
        """Return what a step does apart from its leaves; note these."""
        function = self.form_of_loop(step.function) if isinstance(step.function, Loop) else step.function
        varies = numbers_of(step)
        return function, self.form_of(step.args, varies), self.form_of(dict(step.kwargs), ())

    def form_of_loop(self, loop: Loop) -> Any:
        """Return what a loop does apart from the leaves in its body; note these."""
        self.inner.update(zip(loop.body.inputs, self.numbers, strict=False))
        forms = []
        for step in loop.body.steps:
            forms.append((step.where, self.form(step)))
            self.inner.update(zip(step.outs(), self.numbers, strict=False))
        return loop.count, loop.rows, tuple(forms), self.form_of(loop.body.outputs, ())

    def form_of(self, tree: Any, varies: tuple[type, ...]) -> Any:
        """Return the form of an argument, and note its leaves."""
        kind = type(tree)
        if kind is Value:
            if tree in self.inner:
                return self.inner[tree]
            form = NUMBER if not tree.shape and np.float64 in varies else (tree.shape, tree.dtype)
            return (form, self.view(tree)) if tree in self.views else self.noted(tree, tree, form)
        if is_array(tree):
            return self.noted(tree, identity_of(tree), (tree.shape, tree.dtype))
        if isinstance(tree, Turn | Listed):  # of a loop around
            return self.noted(tree, repr(tree), NUMBER if np.float64 in varies else int)
        if may_vary(tree, varies):
            key = tree if kind is int else (kind, repr(tree))
            return self.noted(tree, key, NUMBER if np.float64 in varies else kind)
        if kind is tuple or kind is list:
            return (kind, *[self.form_of(part, varies) for part in tree])
        if kind is slice:
            return (kind, *[self.form_of(part, varies) for part in (tree.start, tree.stop, tree.step)])
        if kind is dict:
            return (kind, *[(key, self.form_of(part, varies)) for key, part in tree.items()])
        return kind, repr(tree) if kind in (float, complex) else tree if hashable(tree) else id(tree)

    def noted(self, leaf: Any, key: Any, form: Any) -> Any:
        """Note a leaf, with a key that is equal for equal leaves; return the form."""
        if type(key) is int:
            code = 3 * FAR // 2 + key
        elif key in self.code_of:
            code = self.code_of[key]
        else:
            kind = {float: -2, np.float64: -3}.get(type(leaf), -1)
            code = self.code_of[key] = kind * FAR + len(self.code_of)
            self.things[code] = leaf
        self.leaves.append(leaf)
        self.read_codes.append(code)
        return form

    def view(self, value: Value) -> Any:
        """Return the form of a view; note its base and its index's numbers."""
        if value not in self.spread:
            start = len(self.leaves)
            form = self.form(self.views[value])
            self.spread[value] = form, self.leaves[start:], self.read_codes[start:]
            return form
        form, leaves, codes = self.spread[value]
        self.leaves += leaves
        self.read_codes += codes
        return form

    def root(self, value: Value) -> Any:
        """Return the array that a value is a view of."""
        while value in self.views:
            value = self.views[value].args[0]
        return value

    def thing(self, code: int) -> Any:
        """Return the thing that has a code."""
        if code // FAR == 0:
            return self.steps[code // self.width].outs()[code % self.width]
        return float(code - 3 * FAR // 2) if code > 0 else self.things[code]

    def runs(self) -> list[Run]:
        """Return the disjoint runs that can be loops, shortest periods first."""
        found: list[Run] = []
        self.loop_of = np.full(len(self.steps), -1)  # the number of the run that each step belongs to
        todo = periods(self.tokens)
        while todo:
            count, failed = len(found), set[int]()
            unfit = np.zeros(len(self.steps), int)  # the shortest period with which steps repeat in vain
            for period in todo:
                for start, stop in repeated(self.tokens, period):
                    shortest = unfit[start:stop]
                    if shortest[0] and period % shortest[0] == 0 and (shortest == shortest[0]).all():
                        continue
                    if not self.take(start, stop, period, found):
                        unfit[start:stop] = period
                        failed.add(period)
            if len(found) > count:  # others may read rows of these
                todo = sorted(failed)
            else:  # equal steps may differ in where their operands come from
                todo = sorted({k * period for period in failed for k in (2, 3)})
                todo = [period for period in todo if period * FEWEST <= len(self.steps)]
        return found

    def take(self, start: int, stop: int, period: int, found: list[Run]) -> bool:
        """Find the runs in a repetition; return whether there are any."""
        free, count = start, len(found)
        for first, last in self.stretches(start, stop, period):
            run = Run(self, max(free, start, first - period), min(last + period, stop), period, first)
            if run.turns >= FEWEST and run.fits(found):
                places = run.places()
                free = places.stop
                self.tokens[places.start : free] = -1 - np.arange(places.start, free)
                self.loop_of[places.start : free] = len(found)
                found.append(run)
        return len(found) > count

    def stretches(self, start: int, stop: int, period: int) -> list[tuple[int, int]]:
        """Return the parts of a repetition in which every leaf moves evenly."""
        begin, n = self.starts[start], self.starts[start + period] - self.starts[start]
        codes = self.codes[begin : self.starts[stop]]
        kinds = codes // FAR
        loops = np.where(kinds == 0, self.loop_of[np.where(kinds == 0, codes // self.width, 0)], kinds)
        moved = codes[n:] - codes[:-n]
        even = (moved[n:] == moved[:-n]) | (kinds[n:-n] < -1)
        even &= (loops[2 * n :] == loops[n:-n]) & (loops[n:-n] == loops[: -2 * n])
        uneven = np.concatenate([[0], np.cumsum(~even)])
        ends = np.array(self.starts[start : stop - 2 * period + 1]) - begin
        steady = np.concatenate([[False], uneven[ends[1:]] == uneven[ends[:-1]], [False]])
        edges = start + np.flatnonzero(np.diff(steady.astype(np.int8)))
        found = [(int(a), int(b) + 2 * period) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        return [(a, b) for a, b in found if b - a >= (FEWEST - 1) * period]  # the first turn may differ


class Run:
    """A run of equal steps, and the loop that it may become.

    Attributes
    ----------
    codes : array of int, shape (turns, leaves)
            The codes of the leaves of each turn. For each leaf there are also:
    kind : array of int
            "same" in every turn; "own", computed in this turn or `ago` turns before; in
            a "row" that another run has computed; or a "number".
    source : array of int
            Which value of a turn it is: its code in a program of only one turn.
    begins : dict of (int, int) to int
            The code of each carried value's initial value, by its source and the number
            of turns for which it is carried.
    first, end : int
            The turns that become the loop.
    """

    def __init__(self, search: Search, start: int, stop: int, period: int, steady: int) -> None:
        self.search, self.start, self.period = search, start, period
        self.turns = (stop - start) // period
        self.steady = max(0, -((start - steady) // period))  # the first turn in which every leaf moves evenly
        self.leaves_at = search.starts[start]
        self.stride = period * search.width  # the difference between the codes of one turn and the next

    def fits(self, others: Sequence[Run]) -> bool:
        """Classify the leaves; return whether there is a loop, and note where."""
        search, middle, zero = self.search, max(self.steady, self.turns // 2 - 1), self.start * self.search.width
        self.rows: dict[int, tuple[Value, int]] = {}  # each source's array, and the row of its first value
        functions = {search.steps[self.start + j].function for j in range(self.period)}
        if functions == {np.copy} or any(isinstance(function, Anew) for function in functions):
            return False  # equal results that must be arrays of their own, or random draws
        stop = search.starts[self.start + self.turns * self.period]
        self.codes = codes = search.codes[self.leaves_at : stop].reshape(self.turns, -1)
        turns, at, strides = np.arange(self.turns)[:, None], codes[middle], codes[middle + 1] - codes[middle]
        evenly, kinds, made = at + (turns - middle) * strides, at // FAR, (at - zero) // self.stride
        inside = (kinds == 0) & (at >= zero)
        is_own, is_same = inside & (strides == self.stride), (strides == 0) & ((kinds == -1) | (kinds == 0))
        self.kind = np.full(len(at), "", object)
        self.kind[is_same], self.kind[is_own], self.kind[(kinds < -1) | (kinds == 1)] = "same", "own", "number"
        agree = np.where(kinds < -1, codes // FAR == kinds, codes == evenly)
        agree &= ~is_own | (codes >= zero)
        agree &= ~(inside & is_same) | (turns > made)
        self.ago, self.source = middle - made, (at - zero) % self.stride
        self.lists: dict[int, Run] = {}  # the run that computed a row
        loops = np.where(kinds == 0, search.loop_of[np.where(kinds == 0, at // search.width, 0)], -1)
        for number in np.unique(loops[loops >= 0]).tolist():
            other = others[number]
            rows = np.flatnonzero((loops == number) & (strides != 0) & (strides % other.stride == 0))
            self.kind[rows] = "row"
            self.lists.update(dict.fromkeys(rows.tolist(), other))
            agree[:, rows] &= other.has(codes[:, rows])
            agree[:, rows] |= codes[:, rows] == other.beginning(evenly[:, rows])
        self.carried = is_own & (self.ago > 0)
        return bool((self.kind != "").all()) and self.window(agree)

    def window(self, agree: Any) -> bool:
        """Choose the turns that become the loop; return whether they are enough.

        Only turns at the ends can fail. The first may be given other carried values.
        """
        fits = agree.all(1)
        self.end = self.turns - (not fits[-1])
        self.first = max(np.flatnonzero(~fits[: self.end]).tolist(), default=0)
        self.first += not agree[self.first, ~self.carried].all()
        while self.end - self.first >= FEWEST and not self.begin():
            self.first += 1
        return self.end - self.first >= FEWEST

    def begin(self) -> bool:
        """Return whether each carried value has one initial value for all readers."""
        self.begins: dict[tuple[int, int], int] = {}
        for leaf in np.flatnonzero(self.carried):
            source, ago, code = int(self.source[leaf]), int(self.ago[leaf]), int(self.codes[self.first, leaf])
            if ago > self.first + 1 or self.has(code):  # the first turn itself computes it
                return False
            codes = {ago: code}
            codes |= {before: self.code(source, -before) for before in range(1, ago)}  # the values that are passed on
            if any(self.begins.setdefault((source, before), code) != code for before, code in codes.items()):
                return False
        return True

    def code(self, source: int, turn: int) -> int:
        """Return the code of a value in a turn of the loop."""
        return self.start * self.search.width + (self.first + turn) * self.stride + source

    def places(self) -> range:
        """Return the range of steps in the loop."""
        return range(self.start + self.first * self.period, self.start + self.end * self.period)

    def has(self, codes: Any) -> Any:
        """Return which codes belong to values of the loop."""
        places, width = self.places(), self.search.width
        return (codes >= places.start * width) & (codes < places.stop * width)

    def beginning(self, codes: Any) -> Any:
        """Return the initial values' codes, for codes of the turn before the loop."""
        begins = np.full(self.stride, -FAR * 9)
        for (source, ago), code in self.begins.items():
            if ago == 1 and type(self.search.thing(code)) is Value:
                begins[source] = code
        sources = codes - self.code(0, -1)
        return np.where((sources >= 0) & (sources < self.stride), begins[sources % self.stride], -FAR * 9)

    def step(self, j: int, turn: int = 1) -> Step:
        """Return a step of one turn of the loop."""
        return self.search.steps[self.places().start + turn * self.period + j]

    def leaf(self, i: int, turn: int) -> Any:
        """Return a leaf of one turn of the loop."""
        return self.search.leaves[self.leaves_at + (self.first + turn) * self.codes.shape[1] + i]

    def name(self, source: int) -> str | None:
        """Return the user's name for a value, from any turn."""
        count = self.end - self.first
        values = [self.search.thing(self.code(source, turn)) for turn in (count - 1, count // 2, 0)]
        return next((value.name for value in values if value.name), None)


class Rolling:
    """Writes a program whose runs are loops."""

    def __init__(self, search: Search, runs: Sequence[Run]) -> None:
        self.search = search
        self.steps: list[Step] = []
        self.emitted: set[Value] = set()
        self.instead: dict[Value, tuple[Value, Any]] = {}  # a value of a loop: the array it is in, and its place there
        self.taken: dict[Any, Value] = {}
        run_of = {run.places().start: run for run in runs}
        self.wanted = self.used_outside(runs)
        place = 0
        while place < len(search.steps):
            if (run := run_of.get(place)) is not None:
                Body(self, run)
                place = run.places().stop
            else:
                self.steps.append(self.replaced(search.steps[place]))
                place += 1
        results = {value: self.use(value) for value in search.program.results()}
        ends = replace(search.program, steps=()).substitute(results)  # the steps before a loop keep its first values
        self.program = replace(ends, steps=tuple(self.steps))

    def used_outside(self, runs: Sequence[Run]) -> Any:
        """Return the codes of loops' values that are used outside their loop."""
        search = self.search
        loop = np.full(len(search.steps) + 1, -1)
        for i, run in enumerate(runs):
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
        for j in range(run.period):
            step = self.inside(run.step(j))
            first = j * self.search.width
            outs = tuple(Value(v.shape, v.dtype, run.name(o)) for o, v in enumerate(step.outs(), first))
            self.made.update(enumerate(outs, first))
            self.steps.append(replace(step, out=outs if isinstance(step.out, tuple) else outs[0]))
        self.write()

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
                return second.moved(second.level >= depth)
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
        self.steps.append(replace(step, out=Value(step.out.shape, step.out.dtype, step.out.name)))  # type: ignore[union-attr]
        return self.steps[-1].out  # type: ignore[return-value]

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

    def write(self) -> None:
        """Write the whole loop as a step, and note where its values are afterwards."""
        run, search, instead, last_turn = self.run, self.search, self.rolling.instead, self.count - 1
        codes = self.rolling.wanted[run.has(self.rolling.wanted)]
        wanted: dict[int, list[int]] = {}  # the turns of each value that are used outside
        for code in (codes - run.code(0, 0)).tolist():
            wanted.setdefault(code % run.stride, []).append(code // run.stride)
        ends = {source for source, turns in wanted.items() if turns == [last_turn]}  # only the last value is needed
        nexts = [self.made[s] if ago == 1 else self.carried[s, ago - 1] for s, ago in self.carried]
        kept = [source for source in sorted(wanted) if source not in ends and (source, 1) not in self.carried]
        last = [source for source in sorted(ends) if (source, 1) not in self.carried]
        rows = tuple(ago == 1 and source in wanted and source not in ends for source, ago in self.carried)
        outs: list[Value] = []

        def result(source: int, count: int | None, first: int) -> None:
            """Add a result, and note which of its rows, if any, hold the values."""
            value = self.made[source]
            shape, name = ((count, *value.shape), plural(value.name)) if count else (value.shape, value.name)
            outs.append(Value(shape, value.dtype, name))
            run.rows[source] = outs[-1], first
            for turn in wanted.get(source, ()):
                instead[search.thing(run.code(source, turn))] = outs[-1], turn + first if count else None

        begins = [search.thing(run.begins[key]) for key in self.carried]
        args = [self.rolling.use(begin) for begin in begins]
        for (source, ago), begin, has_rows in zip(self.carried, begins, rows, strict=True):
            if ago > 1:
                value = self.carried[source, ago]
                outs.append(Value(value.shape, value.dtype, value.name))
                continue
            result(source, self.count + 1 if has_rows else None, 1)
            if has_rows and type(begin) is Value:
                instead[begin] = outs[-1], 0
        for source in kept:
            result(source, self.count, 0)
        for source in last:
            result(source, None, 0)
        inputs = (*self.carried.values(), *[inside for inside, _ in self.inputs.values()])
        results = tuple(nexts), tuple(self.made[source] for source in kept), tuple(self.made[source] for source in last)
        loop = Loop(self.count, Program(inputs, tuple(self.steps), results), rows)
        args += [outer for _, outer in self.inputs.values()]
        self.rolling.steps.append(Step(loop, tuple(args), {}, tuple(outs), run.step(0).where))


def plural(name: str | None) -> str:
    """Return a name for the values of a variable in all turns."""
    return f"{name}s" if name else "rows"


def rolled(program: Program) -> Program:
    """Roll up every run that can be a loop."""
    steps = [with_body(step, rolled) if isinstance(step.function, Loop) else step for step in program.steps]
    program = begun(replace(program, steps=tuple(steps)))
    while runs := (search := Search(program)).runs():
        program = Rolling(search, runs).program
    return restacked(in_bodies(lambda body, _: share_equal(unbegun(body)), program))


def restacked(program: Program) -> Program:
    """Take adjacent rows of an array by one slice, where they are stacked again."""
    made = {step.out: step for step in program.steps if isinstance(step.out, Value)}
    steps: list[Step] = []
    for step in program.steps:
        is_stack = step.function is primitives.concatenate and step.args[0] == 0
        steps += stacked(step, made) if is_stack else [step]
    return drop_dead(replace(program, steps=tuple(steps)))


def stacked(step: Step, made: Mapping[Value, Step]) -> list[Step]:
    """Return the steps of a concatenation whose parts may be rows of an array."""
    parts = step.args[2:]
    rows = [row_of(part, made) for part in parts]
    from_one = [k if array is None else (array, i - k) for k, (array, i) in enumerate(rows)]
    groups = [[*group] for _, group in itertools.groupby(range(len(parts)), from_one.__getitem__)]
    if len(groups) == len(parts):
        return [step]
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


def row_of(part: Any, made: Mapping[Value, Step]) -> tuple[Any, Any]:
    """Return the array that an operand is a row of, and the row's number."""
    outer = made.get(part) if isinstance(part, Value) else None
    if outer is None or outer.function is not np.expand_dims or outer.args[1] not in (0, (0,)) or outer.kwargs:
        return None, None
    inner = made.get(outer.args[0])
    if inner is None or inner.function is not primitives.getitem or type(inner.args[1]) is not int:
        return None, None
    return inner.args[0], inner.args[1]
