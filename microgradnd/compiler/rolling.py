"""Loops: runs of equal steps in a program, rolled up.

Owns: `Loop`, a step that takes a body some number of times, and the search for what can be one.
Must not own: how a loop is printed (`source.py`, `fast.py`), or rewriting of straight lines (`passes.py`).
Read next: `passes.py`.

A trace of `for t in range(T): h = np.tanh(x[t] @ w + h @ u)` is T copies of the same steps, and its backward pass T
copies in reverse. A run of copies becomes one step if each operand is the same in every turn, comes from this turn or
an earlier one, or is part of an array at a place that moves evenly. Every value of a turn that is used after the loop
is kept in an array, a row for each turn; so what a backward loop needs of a forward one is such a part as well. Views
cost nothing: they are taken anew where they are used, and belong to the operand.

Whatever doesn't fit stays as it is. Results are equal to the last bit: the same steps are taken in the same order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.compiler.passes import drop_dead, share_equal, uniform
from microgradnd.compiler.program import Constant, Listed, Program, Step, Turn, Value, in_turn, moves
from microgradnd.compiler.traits import traits

FEWEST = 4  # turns of a loop
NUMBER = "number"  # a Python number, or one that is computed: what is summed up may begin as 0
INDEXED = (primitives.getitem, primitives.scatter, primitives.setitem)
OUTSIDE = -(10**9)
CONTEXTS = (1, 8, 64)  # how many steps in a row are compared in the search for a period


primitives.BASIC.add(Turn)  # an index that moves names one element in each turn


@dataclass(frozen=True, eq=False)
class Loop:
    """Steps that are taken several times; called, it takes them one by one.

    Attributes
    ----------
    count : int
        How many turns there are.
    body : Program
        From what is carried from turn to turn, then what is the same in all of them, to what the next turn is
        given, what is kept of each, and what is kept of the last.
    rows : tuple of bool
        For each value that is carried, whether its values in all turns are kept, the first included, or only the last.
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
            steps = tuple(replace(s, args=in_turn(s.args, turn)) for s in self.body.steps)
            carried, new, last = replace(self.body, steps=steps).run(*carried, *rest)
            for values, value in (*zip(seen, carried, strict=True), *zip(kept, new, strict=True)):
                values.append(value)
        carries = [np.stack(values) if rows else values[-1] for values, rows in zip(seen, self.rows, strict=True)]
        return (*carries, *map(np.stack, kept), *last)

    def key(self) -> Any:
        """Return what is equal for loops that do the same."""
        numbers = {value: i for i, value in enumerate(self.body.inputs)}

        def shown(tree: Any) -> Any:
            if isinstance(tree, Value):
                return "value", numbers.setdefault(tree, len(numbers))
            if isinstance(tree, tuple | list):
                return (type(tree), *map(shown, tree))
            if isinstance(tree, slice):
                return "slice", shown(tree.start), shown(tree.stop), shown(tree.step)
            return id(tree) if isinstance(tree, np.ndarray) else repr(tree)

        steps = tuple(
            (function_key(s.function), s.where, shown(s.args), shown(tuple(s.kwargs.items())), shown(s.outs()))
            for s in self.body.steps
        )
        return self.count, self.rows, steps, shown(self.body.outputs)


class Row(Value):
    """A place for a value of this turn, which nothing in the turn reads."""

    __slots__ = ()


def in_bodies(rewrite: Callable[[Program, Sequence[Value]], Program], program: Program, own: Any = ()) -> Program:
    """Return a program that is rewritten, and so are the bodies of its loops, which may write over what they carry."""
    steps = []
    for step in program.steps:
        if isinstance(loop := step.function, Loop):
            carried = [v for v, rows in zip(loop.body.inputs, loop.rows, strict=False) if v.shape and not rows]
            step = replace(step, function=replace(loop, body=in_bodies(rewrite, loop.body, carried)))
        steps.append(step)
    return rewrite(replace(program, steps=tuple(steps)), own)


def hoisted(program: Program) -> Program:
    """Take steps that do the same in every turn before the loop."""
    steps: list[Step] = []
    for step in program.steps:
        if isinstance(loop := step.function, Loop):
            n, body = len(loop.rows), hoisted(loop.body)
            outside = dict(zip(body.inputs[n:], step.args[n:], strict=True))
            inside, results = list[Step](), set(body.results())
            for inner in body.steps:
                fixed = not isinstance(inner.function, Anew) and results.isdisjoint(inner.outs())
                if fixed and not moves(inner.args) and outside.keys() >= set(inner.operands()):
                    outs = tuple(Value(v.shape, v.dtype, v.name) for v in inner.outs())
                    out = outs if isinstance(inner.out, tuple) else outs[0]
                    steps.append(replace(inner.substitute(outside), out=out))
                    outside.update(zip(inner.outs(), outs, strict=True))
                else:
                    inside.append(inner)
            used = {v for inner in inside for v in inner.operands()} | results
            fixed_inputs = [v for v in outside if v in used]
            body = replace(body, inputs=(*body.inputs[:n], *fixed_inputs), steps=tuple(inside))
            args = (*step.args[:n], *(outside[v] for v in fixed_inputs))
            step = replace(step, function=replace(loop, body=body), args=args)
        steps.append(step)
    return replace(program, steps=tuple(steps))


def function_key(function: Any) -> Any:
    return function.key() if isinstance(function, Loop) else function


# What a step is, apart from its operands


class Entry(NamedTuple):
    """A step that computes, in the search.

    Attributes
    ----------
    step : Step
    token : hashable
        Equal for steps that differ in their leaves alone.
    leaves : list
        Its operands, and the numbers among its arguments that may differ from turn to turn.
    """

    step: Step
    token: Any
    leaves: list[Any]


def is_free(step: Step) -> bool:
    """Return whether a step gives a view, so that it can be taken anew wherever its result is used."""
    if isinstance(step.out, tuple) or not step.args or not isinstance(step.args[0], Value):
        return False
    if step.function is primitives.getitem:
        return primitives.is_basic(step.args[1])
    return traits(step.function).memory in ("view", "locked") and len(step.operands()) == 1


def numbers_of(step: Step) -> tuple[type, ...]:
    """Return the types of the numbers among the arguments of a step that may be others in each turn."""
    if step.function in INDEXED:
        return (int,)
    if not isinstance(step.function, np.ufunc):
        return ()
    return (int, float, np.float64) if all(out.dtype == np.float64 for out in step.outs()) else (int, float)


def taken_apart(tree: Any, leaves: list[Any], varies: tuple[type, ...]) -> Any:
    """Return the form of an argument, and collect its leaves."""
    kind = type(tree)
    if kind is Value or (isinstance(tree, np.ndarray | Constant) and tree.shape):
        leaves.append(tree)
        return NUMBER if np.float64 in varies and kind is Value and not tree.shape else (Value, tree.shape, tree.dtype)
    if kind in varies:
        leaves.append(tree)
        return kind if np.float64 not in varies else NUMBER
    if kind is tuple or kind is list:
        return (kind, *[taken_apart(part, leaves, varies) for part in tree])
    if kind is slice:
        return (kind, *[taken_apart(part, leaves, varies) for part in (tree.start, tree.stop, tree.step)])
    if kind is dict:
        return (kind, *[(key, taken_apart(part, leaves, ())) for key, part in tree.items()])
    return kind, repr(tree) if kind in (float, complex, Turn, Listed) else tree if hashable(tree) else id(tree)


def hashable(tree: Any) -> bool:
    try:
        hash(tree)
    except TypeError:
        return False
    return True


def entry_of(step: Step) -> Entry:
    """Return a step as the search compares it."""
    leaves: list[Any] = []
    varies = numbers_of(step)
    form = taken_apart(step.args, leaves, varies)
    options = taken_apart(dict(step.kwargs), leaves, ()) if step.kwargs else None
    outs = tuple([(out.shape, out.dtype) for out in step.outs()])
    return Entry(step, (function_key(step.function), step.where, form, options, outs), leaves)


def put_together(tree: Any, leaves: Iterator[Any], varies: tuple[type, ...]) -> Any:
    """Return an argument with other leaves."""
    kind = type(tree)
    if kind is Value or (isinstance(tree, np.ndarray | Constant) and tree.shape) or kind in varies:
        return next(leaves)
    if kind is tuple or kind is list:
        return kind([put_together(part, leaves, varies) for part in tree])
    if kind is slice:
        return slice(*[put_together(part, leaves, varies) for part in (tree.start, tree.stop, tree.step)])
    return {key: put_together(part, leaves, ()) for key, part in tree.items()} if kind is dict else tree


def with_leaves(step: Step, leaves: Sequence[Any], outs: Sequence[Value]) -> Step:
    """Return a step with other leaves and results."""
    rest = iter(leaves)
    varies = numbers_of(step)
    args = put_together(step.args, rest, varies)
    kwargs = put_together(dict(step.kwargs), rest, ())
    return replace(step, args=args, kwargs=kwargs, out=tuple(outs) if isinstance(step.out, tuple) else outs[0])


# The search


class Search:
    """A program, as the search for loops sees it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.entries: list[Entry] = []
        self.views: dict[Value, Step] = {}
        self.view_entries: dict[Value, Entry] = {}
        self.place: dict[Value, int] = {}  # which entry computes a value
        self.index: list[int] = []  # where an entry is among the steps
        known: dict[Any, int] = {}
        tokens = []
        for i, step in enumerate(program.steps):
            if is_free(step):
                assert isinstance(step.out, Value)
                self.views[step.out] = step
                continue
            entry = entry_of(step)
            form = (entry.token, tuple([self.form(leaf) for leaf in entry.leaves]))
            tokens.append(known.setdefault(form, len(known)))
            self.place.update(dict.fromkeys(step.outs(), len(self.entries)))
            self.entries.append(entry)
            self.index.append(i)
        self.tokens = np.array(tokens, int)

    def root(self, value: Any) -> Any:
        """Return what a value is a view of."""
        while type(value) is Value and value in self.views:
            value = self.views[value].args[0]
        return value

    def form(self, leaf: Any) -> Any:
        """Return by which views a leaf is made."""
        step = self.views.get(leaf) if type(leaf) is Value else None
        if step is None:
            return None
        if leaf not in self.view_entries:
            self.view_entries[leaf] = entry_of(step)
        entry = self.view_entries[leaf]
        return entry.token[0], entry.token[2:4], self.form(entry.leaves[0])

    def periods(self) -> list[int]:
        """Return after how many steps what was done may be done again, the shortest first."""
        found: set[int] = set()
        for context in CONTEXTS:
            if context > len(self.tokens):
                break
            grams = np.zeros(len(self.tokens) - context + 1, np.uint64)
            for i in range(context):
                grams = grams * np.uint64(0x9E3779B97F4A7C15) + self.tokens[i : i + len(grams)].astype(np.uint64)
            order = np.argsort(grams, kind="stable")
            distances = np.diff(order)[np.diff(grams[order]) == 0]
            lengths, counts = np.unique(distances, return_counts=True)
            found.update(int(n) for n in lengths[counts >= FEWEST - 1])
        return sorted(found)

    def runs(self, period: int) -> list[tuple[int, int]]:
        """Return from where to where the steps repeat after a period, often enough."""
        same = self.tokens[:-period] == self.tokens[period:]
        edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
        runs = [(int(start), int(stop) + period) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
        return [(start, stop) for start, stop in runs if stop - start >= FEWEST * period]


class Column:
    """What an operand, or a number among the arguments, is in each turn of a run.

    Attributes
    ----------
    kind : str
        "same", "computed" (in this turn or `ago` turns before), "view" (of `parts`), "number", or "" for none of these.
    fits : array of bool
        In which turns it is so; one that was computed `ago` turns before has other values in the first ones.
    """

    def __init__(self, search: Search, run: Run, leaves: list[Any]) -> None:
        self.leaves = leaves
        self.kind, self.ago, self.parts = "", 0, list[Column]()
        self.source: tuple[int, int] = (0, 0)
        middle = leaves[len(leaves) // 2]
        if type(middle) in (int, float, np.float64):
            self.number(middle)
            return
        known = identity_of(middle)
        same = np.array([leaf is middle or (type(leaf) is not Value and identity_of(leaf) == known) for leaf in leaves])
        if same[len(leaves) // 2 - 1 : len(leaves) // 2 + 2].all():
            root = run.root(middle)
            made = search.place.get(root, -1) if type(root) is Value else -1
            if made >= run.start:  # in a turn of this run
                same[: (made - run.start) // run.period + 1] = False
            self.kind, self.fits = "same", same
            return
        self.fits = np.zeros(len(leaves), bool)
        if type(middle) is not Value:
            return
        if middle in search.views:
            self.view(search, run, middle)
        elif middle in search.place:
            offsets = np.array([run.offset(leaf, turn) for turn, leaf in enumerate(leaves)])
            offset = offsets[len(leaves) // 2]
            if offset == OUTSIDE:
                return
            self.fits = offsets == offset
            self.kind, self.ago = "computed", int(-(offset // run.period))
            entry = search.place[middle]
            self.source = int(offset % run.period), search.entries[entry].step.outs().index(middle)

    def number(self, middle: Any) -> None:
        """Find out whether a number moves evenly."""
        leaves, at = self.leaves, len(self.leaves) // 2
        self.kind = "number"
        self.fits = np.array([type(leaf) is type(middle) for leaf in leaves])
        if type(middle) is int:
            stride = leaves[at + 1] - middle if type(leaves[at + 1]) is int else 0
            self.fits = np.array([leaf == middle + stride * (i - at) for i, leaf in enumerate(leaves)])

    def view(self, search: Search, run: Run, middle: Value) -> None:
        """Look at what a view is made of."""
        entries = [search.view_entries.get(leaf) if type(leaf) is Value else None for leaf in self.leaves]
        token = search.view_entries[middle]
        at = len(self.leaves) // 2
        alike = np.array(
            [e is not None and e.token[0] is token.token[0] and e.token[2:] == token.token[2:] for e in entries]
        )
        fill = [e.leaves if e is not None and ok else token.leaves for e, ok in zip(entries, alike, strict=True)]
        self.parts = [Column(search, run, [leaves[i] for leaves in fill]) for i in range(len(token.leaves))]
        self.fits = alike
        for part in self.parts:
            self.fits = self.fits & part.fits
        self.kind = "view" if all(part.kind for part in self.parts) and self.fits[at] else ""

    def varies(self) -> bool:
        """Return whether it is another number in each turn."""
        return self.kind == "number" and self.leaves[0] != self.leaves[1]

    def all(self) -> Iterator[Column]:
        """Yield it and its parts."""
        yield self
        for part in self.parts:
            yield from part.all()


def identity_of(leaf: Any) -> Any:
    """Return what is equal for arrays that are the same: by number, if they consist of one that can't change."""
    number = uniform(leaf)
    return id(leaf) if number is None else (repr(number), leaf.shape, leaf.dtype)


class Run:
    """A run of equal steps, and the loop that it can be."""

    def __init__(self, search: Search, start: int, stop: int, period: int) -> None:
        self.search, self.start, self.period = search, start, period
        self.turns = (stop - start) // period
        self.stop = start + self.turns * period

    def root(self, value: Any) -> Any:
        return self.search.root(value)

    def offset(self, leaf: Any, turn: int) -> int:
        """Return how many steps after the beginning of a turn a value is computed."""
        place = self.search.place.get(leaf, None) if type(leaf) is Value else None
        return OUTSIDE if place is None or place < self.start else place - self.start - turn * self.period

    def looked_at(self) -> bool:
        """Find out what the operands are; return whether there is a loop, and where."""
        entries, period = self.search.entries, self.period
        if all(entries[self.start + j].step.function is np.copy for j in range(period)):
            return False  # results that are equal, each of which is to be an array of its own
        self.columns: list[list[Column]] = []
        steady, fits = np.ones(self.turns, bool), np.ones(self.turns, bool)
        for j in range(period):
            rows = [entries[self.start + t * period + j].leaves for t in range(self.turns)]
            if isinstance(rows[0], list) and isinstance(entries[self.start + j].step.function, Anew):
                return False
            columns = [Column(self.search, self, list(leaves)) for leaves in zip(*rows, strict=True)]
            for column in columns:
                for part in column.all():
                    if not part.kind:
                        return False
                    if part.kind == "computed" and part.ago:
                        fits &= part.fits
                    elif part.kind != "view":
                        steady &= part.fits
            self.columns.append(columns)
            if not (steady & fits).any():
                return False
        return self.window(steady, fits)

    def window(self, steady: Any, fits: Any) -> bool:
        """Choose the longest part of the run in which all fits; the first turn may be given other carried values."""
        best, t = (0, 0), 0
        while t < self.turns:
            end = t
            while end < self.turns and steady[end] and (end == t or fits[end]):
                end += 1
            best = max(best, (t, end), key=lambda w: w[1] - w[0])
            t = max(end, t + 1)
        self.first, self.end = best
        while self.end - self.first >= FEWEST and not self.begins():
            self.first += 1
        return self.end - self.first >= FEWEST

    def begins(self) -> bool:
        """Return whether each value that is carried begins as one thing, whoever reads it."""
        known: dict[Any, Any] = {}
        for column in (part for columns in self.columns for whole in columns for part in whole.all()):
            if column.kind != "computed" or not column.ago:
                continue
            (j, o), leaf = column.source, column.leaves[self.first]
            own = [(column.ago, leaf if isinstance(leaf, int | float) else identity_of(leaf))]
            for before in range(1, column.ago):
                if before > self.first:
                    return False
                place = self.start + (self.first - before) * self.period + j
                own.append((before, id(self.search.entries[place].step.outs()[o])))
            if any(known.setdefault((j, o, ago), begin) != begin for ago, begin in own):
                return False
        return True

    # What it becomes

    def names(self, j: int, o: int) -> str | None:
        """Return what the user calls a value, in any turn."""
        places = (self.start + t * self.period + j for t in reversed(range(self.first, self.end)))
        return next((n for i in places if (n := self.search.entries[i].step.outs()[o].name)), None)

    def places(self) -> range:
        """Return which entries are in the loop."""
        return range(self.start + self.first * self.period, self.start + self.end * self.period)


class Rolling:
    """Writes a program in which runs are loops."""

    def __init__(self, search: Search, runs: Sequence[Run]) -> None:
        self.search = search
        self.steps: list[Step] = []
        self.emitted: set[Value] = set()
        self.instead: dict[Value, tuple[Value, Any]] = {}  # a value of a loop: the array it is in, and its place there
        self.taken: dict[Any, Value] = {}
        self.run_of = {place: run for run in runs for place in run.places()}
        self.wanted = self.used_outside()
        program, entries = search.program, search.entries
        place = 0
        while place < len(entries):
            if (run := self.run_of.get(place)) is not None:
                self.loop(run)
                place = run.places().stop
            else:
                self.steps.append(self.replaced(entries[place].step))
                place += 1
        results = {value: self.use(value) for value in program.results()}
        self.program = replace(program, steps=tuple(self.steps)).substitute(results)

    def used_outside(self) -> set[Value]:
        """Return the values of loops that are used elsewhere."""
        search, found = self.search, set[Value]()
        for i, entry in enumerate(search.entries):
            run = self.run_of.get(i)
            for leaf in entry.leaves:
                root = search.root(leaf)
                made = search.place.get(root, -1) if type(root) is Value else -1
                if made >= 0 and self.run_of.get(made) is not None and self.run_of.get(made) is not run:
                    found.add(root)
        roots = map(search.root, search.program.results())
        return found | {root for root in roots if search.place.get(root, -1) in self.run_of}

    def use(self, value: Any) -> Any:
        """Return what a value is now; see to it that it is there."""
        if type(value) is not Value:
            return value
        if value in self.instead:
            array, index = self.instead[value]
            if index is None:
                return array
            if (array, index) not in self.taken:
                self.taken[array, index] = Value(value.shape, value.dtype, value.name)
                where = self.search.entries[self.search.place[value]].step.where if value in self.search.place else None
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

    def loop(self, run: Run) -> None:
        """Write a run as one step."""
        body = Body(self, run)
        step = body.step()
        self.steps.append(step)
        self.instead.update(body.instead)


class Body:
    """Writes the body of a loop."""

    def __init__(self, rolling: Rolling, run: Run) -> None:
        self.rolling, self.run, self.search = rolling, run, rolling.search
        self.count = run.end - run.first
        self.base = run.places().start
        self.inputs: dict[Any, tuple[Value, Any]] = {}  # what is the same in each turn: what it is inside, and outside
        self.carried: dict[tuple[int, int, int], tuple[Value, Any]] = {}  # how it is called inside, and how it begins
        self.steps: list[Step] = []
        self.outs: list[tuple[Value, ...]] = []
        self.instead: dict[Value, tuple[Value, Any]] = {}
        for j in range(run.period):
            step = self.entry(j, 0).step
            leaves = [self.argument(column) for column in run.columns[j]]
            outs = tuple(Value(v.shape, v.dtype, run.names(j, o)) for o, v in enumerate(step.outs()))
            self.outs.append(outs)
            self.steps.append(with_leaves(step, leaves, outs))

    def entry(self, j: int, turn: int) -> Entry:
        return self.search.entries[self.base + turn * self.run.period + j]

    def argument(self, column: Column) -> Any:
        """Return an operand inside of the loop."""
        first = column.leaves[self.run.first]
        if column.kind == "number":
            leaves = column.leaves[self.run.first : self.run.end]
            if all(leaf == first and repr(leaf) == repr(first) for leaf in leaves):
                return first
            return Turn(first, leaves[1] - first) if type(first) is int else Listed(tuple(map(float, leaves)))
        if column.kind == "same":
            leaf = column.leaves[self.run.first + 1]
            return self.outside(leaf)
        if column.kind == "view":
            return self.view(column)
        j, o = column.source
        if not column.ago:
            return self.outs[j][o]
        return self.carry(j, o, column.ago, column.leaves[self.run.first])

    def outside(self, leaf: Any) -> Any:
        """Return what is the same in all turns."""
        if type(leaf) is not Value:
            return leaf
        if leaf not in self.inputs:
            now = self.rolling.use(leaf)
            self.inputs[leaf] = Value(leaf.shape, leaf.dtype, now.name or leaf.name), now
        return self.inputs[leaf][0]

    def carry(self, j: int, o: int, ago: int, begin: Any) -> Value:
        """Return what a turn is given by an earlier one."""
        if (j, o, ago) not in self.carried:
            like = self.entry(j, 0).step.outs()[o]
            inside = Value(like.shape, like.dtype, self.run.names(j, o))
            begin = begin if isinstance(begin, Value | np.ndarray | Constant) else float(begin)
            self.carried[j, o, ago] = inside, begin
            for before in range(1, ago):  # which hand it on
                value = self.search.entries[self.base - before * self.run.period + j].step.outs()[o]
                self.carry(j, o, before, value)
        return self.carried[j, o, ago][0]

    def view(self, column: Column) -> Any:
        """Return a view that is taken in each turn."""
        step = self.search.views[column.leaves[self.run.first + 1]]
        base, *rest = column.parts
        index = step.args[1] if step.function is primitives.getitem else None
        if base.kind == "same" and type(index) is tuple and index and all(type(part) in (int, slice) for part in index):
            return self.element(step, base, rest, index)
        leaves = [self.argument(part) for part in column.parts]
        out = Value(step.out.shape, step.out.dtype, step.out.name)  # type: ignore[union-attr]
        self.steps.append(with_leaves(step, leaves, (out,)))
        return out

    def element(self, step: Step, base: Column, rest: list[Column], index: tuple[Any, ...]) -> Any:
        """Return a part of an array; the part of its place that doesn't move is taken before the loop."""
        columns = iter(rest)
        fixed: list[Any] = []
        moving: list[Any] = []
        for part in index:
            numbers = [part] if type(part) is int else [part.start, part.stop, part.step]
            own = [self.argument(next(columns)) if type(number) is int else number for number in numbers]
            moves = any(type(number) is Turn for number in own)
            now = own[0] if type(part) is int else slice(*own)
            fixed.append(slice(None) if moves else now)
            moving += [now] if moves else [slice(None)] if type(part) is slice else []
        source = base.leaves[self.run.first + 1]
        if all(part == slice(None) for part in fixed):
            inside = self.outside(source)
        else:
            key = (source, tuple(map(repr, fixed)))
            if key not in self.inputs:
                where = tuple(fixed)
                array = self.rolling.use(source)
                shape = np.empty(source.shape, bool)[where].shape
                outer = Value(shape, source.dtype, None)
                self.rolling.steps.append(Step(primitives.getitem, (array, where), {}, outer))
                self.inputs[key] = Value(shape, source.dtype, None), outer
            inside = self.inputs[key][0]
        while moving and moving[-1] == slice(None):
            moving.pop()
        out = Value(step.out.shape, step.out.dtype, step.out.name)  # type: ignore[union-attr]
        place = moving[0] if len(moving) == 1 else tuple(moving)
        self.steps.append(Step(primitives.getitem, (inside, place), {}, out, step.where))
        return out

    def step(self) -> Step:
        """Return the whole loop as a step, and note where its values are afterwards."""
        run, wanted = self.run, self.rolling.wanted
        begins = [self.rolling.use(begin) for _, begin in self.carried.values()]
        nexts = [self.outs[j][o] if ago == 1 else self.carried[j, o, ago - 1][0] for j, o, ago in self.carried]
        rows = [False] * len(nexts)
        kept: list[tuple[int, int]] = []
        last: list[tuple[int, int]] = []
        order = list(self.carried)
        used = {}
        for j in range(run.period):
            for o in range(len(self.outs[j])):
                turns = [t for t in range(self.count) if self.entry(j, t).step.outs()[o] in wanted]
                if not turns:
                    continue
                used[j, o] = turns
                if (j, o, 1) in self.carried:
                    rows[order.index((j, o, 1))] = turns != [self.count - 1]
                elif turns == [self.count - 1]:
                    last.append((j, o))
                else:
                    kept.append((j, o))
        outs = []
        for (j, o, ago), row in zip(order, rows, strict=True):
            inside, begin = self.carried[j, o, ago]
            name = run.names(j, o)
            shape = (self.count + 1, *inside.shape) if row else inside.shape
            outs.append(Value(shape, inside.dtype, plural(name) if row else name))
            if row:
                for t in used[j, o]:
                    self.instead[self.entry(j, t).step.outs()[o]] = outs[-1], t + 1
                if type(begin) is Value:
                    self.instead[begin] = outs[-1], 0
            elif (j, o) in used and ago == 1:
                self.instead[self.entry(j, self.count - 1).step.outs()[o]] = outs[-1], None
        for j, o in kept:
            inside = self.outs[j][o]
            outs.append(Value((self.count, *inside.shape), inside.dtype, plural(inside.name)))
            for t in used[j, o]:
                self.instead[self.entry(j, t).step.outs()[o]] = outs[-1], t
        for j, o in last:
            inside = self.outs[j][o]
            outs.append(Value(inside.shape, inside.dtype, inside.name))
            self.instead[self.entry(j, self.count - 1).step.outs()[o]] = outs[-1], None
        inputs = (*[inside for inside, _ in self.carried.values()], *[inside for inside, _ in self.inputs.values()])
        results = tuple(nexts), tuple(self.outs[j][o] for j, o in kept), tuple(self.outs[j][o] for j, o in last)
        body = share_equal(Program(inputs, tuple(self.steps), results))
        args = (*begins, *[outer for _, outer in self.inputs.values()])
        where = self.entry(0, 0).step.where
        return Step(Loop(self.count, body, tuple(rows)), args, {}, tuple(outs), where)


def plural(name: str | None) -> str:
    """Return a name for the values that a variable has in all turns."""
    return f"{name}s" if name else "rows"


def rolled(program: Program) -> Program:
    """Roll up what can be."""
    while True:
        search = Search(program)
        periods, tried = search.periods(), set[int]()
        while periods:
            period = heapq.heappop(periods)
            if period in tried:
                continue
            tried.add(period)
            runs, free = [], 0
            for start, stop in search.runs(period):
                run = Run(search, max(start, free), stop, period)
                if run.turns >= FEWEST and run.looked_at():
                    runs.append(run)
                    free = run.places().stop
                elif run.turns >= 2 * FEWEST:  # steps may be alike that differ in where their operands come from
                    heapq.heappush(periods, 2 * period)
                    heapq.heappush(periods, 3 * period)
            if runs:
                program = Rolling(search, runs).program
                break
        else:
            return restacked(program)


def restacked(program: Program) -> Program:
    """Take rows that stand in an array already as they stand there, where they are put together again."""
    made = {step.out: step for step in program.steps if isinstance(step.out, Value)}
    steps: list[Step] = []

    def row(part: Any) -> tuple[Any, Any]:
        """Return the array of which an operand is a row, and which."""
        outer = made.get(part) if isinstance(part, Value) else None
        if outer is None or outer.function is not np.expand_dims or outer.args[1] not in (0, (0,)) or outer.kwargs:
            return None, None
        inner = made.get(outer.args[0])
        if inner is None or inner.function is not primitives.getitem or type(inner.args[1]) is not int:
            return None, None
        return inner.args

    for step in program.steps:
        if step.function is primitives.concatenate and step.args[0] == 0 and isinstance(step.out, Value):
            parts: list[Any] = []
            for part in step.args[2:]:
                array, i = row(part)
                if array is not None and parts and parts[-1][0] is array and parts[-1][2] == i:
                    parts[-1][2] += 1
                else:
                    parts.append([array, i, None if i is None else i + 1, part])
            if any(array is not None and stop - start > 1 for array, start, stop, _ in parts):
                ends, arrays = [0], []
                for array, start, stop, part in parts:
                    count = part.shape[0] if array is None else stop - start
                    if count > 1 and array is not None:
                        part = Value((count, *part.shape[1:]), part.dtype)
                        steps.append(Step(primitives.getitem, (array, slice(start, stop)), {}, part, step.where))
                    ends.append(ends[-1] + count)
                    arrays.append(part)
                if len(arrays) == 1:
                    step = replace(steps.pop(), out=step.out)
                else:
                    step = replace(step, args=(0, ends, *arrays))
        steps.append(step)
    return program if tuple(steps) == program.steps else drop_dead(replace(program, steps=tuple(steps)))
