"""Runs: steps of a program that repeat and can become a loop.

Owns: the search for them.
Must not own: the loops that they become (`rolling.py`).
Read next: `rolling.py`.

The search works on numbers. Steps that differ in their leaves alone have one token, and
each leaf has a code. So the leaves of a run are a matrix with a row for each turn, and
each column tells whether its leaf is the same in all turns, comes from this turn or an
earlier one, is a row of what another run has computed, or is a number.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.compiler.bodies import Loop, is_free
from microgradnd.compiler.passes import key_of, uniform
from microgradnd.compiler.program import FEWEST, Constant, Listed, Program, Step, Turn, Value

NUMBER = "number"  # the form of a Python or computed number: a running sum may begin with the number 0
FAR = 1 << 58  # separates the codes of computed values, integers, numbers, and other arrays
VARYING = (int, float, np.float64)  # the types of numbers that may differ between turns
NARROW = {np.dtype(np.float16), np.dtype(np.float32)}  # with these, a Python float and an np.float64 compute otherwise
INDEXED = (primitives.getitem, primitives.scatter, primitives.setitem)
CONTEXTS = (1, 8, 64)  # how many consecutive steps the search for a period compares


def numbers_of(step: Step) -> tuple[type, ...]:
    """Return the types of a step's number arguments that may differ between turns."""
    if step.function in INDEXED:
        return (int,)
    if not isinstance(step.function, np.ufunc):
        return ()
    is_double = all(out.dtype == np.float64 for out in step.outs())
    is_narrow = any(getattr(arg, "dtype", None) in NARROW for arg in step.args)
    return VARYING if is_double and not is_narrow else (int, float)


def is_array(tree: Any) -> bool:
    return isinstance(tree, np.ndarray | Constant) and bool(tree.shape)


def may_vary(tree: Any, varies: tuple[type, ...]) -> bool:
    """Return whether an argument is a number that may differ between turns."""
    return type(tree) in varies and (type(tree) is not int or abs(tree) < FAR // 4)


def identity_of(array: Any) -> Any:
    """Return a key for an array: the number of a constant uniform one, or its id."""
    number = uniform(array)
    return (id(array),) if number is None else (repr(number), array.shape, array.dtype)


def is_last_row(step: Step) -> bool:
    """Return whether a step picks the last row of an array, by its number."""
    is_row = step.function is primitives.getitem and type(step.args[1]) is int
    return is_row and step.args[1] == step.args[0].shape[0] - 1


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
        self.inner: dict[Value, int] = {}  # values in the bodies of loops: their numbers in the step
        self.rows: set[Value] = set()  # arrays with all values of a carried one
        self.forms: dict[Any, int] = {}  # the token for each form
        self.starts = [0]
        self.tokens = self.codes = np.zeros(0, int)

    def read(self) -> None:
        """Turn the steps into numbers."""
        tokens = [self.token(step) for step in self.program.steps if not self.is_view(step)]
        self.tokens, self.codes = np.array(tokens, int), np.array(self.read_codes, int)
        self.loop_of = np.full(len(self.steps), -1)  # the number of the run that each step belongs to

    def is_view(self, step: Step) -> bool:
        """Return whether a step is a view, and note it; the last row ends a loop."""
        if not is_free(step) or (step.args[0] in self.rows and is_last_row(step)):
            return False
        self.views[step.out] = step
        return True

    def token(self, step: Step) -> int:
        """Return the token of a step, and note the step."""
        self.numbers = itertools.count()
        form, outs = self.form(step), step.outs()
        for code, out in enumerate(outs, len(self.steps) * self.width):
            self.code_of[out] = code
        self.steps.append(step)
        if isinstance(step.function, Loop):
            self.rows.update(itertools.compress(outs, step.function.rows))
        self.starts.append(len(self.leaves))
        token = (form, step.where, *[(out.shape, out.dtype) for out in outs])
        return self.forms.setdefault(token, len(self.forms))

    def form(self, step: Step) -> Any:
        """Return what a step does apart from its leaves; note these."""
        function = self.form_of_loop(step.function) if isinstance(step.function, Loop) else step.function
        args = self.form_of(step.args, numbers_of(step))
        return function, args, self.form_of(dict(step.kwargs), ()) if step.kwargs else ()

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
            return (form, self.form(self.views[tree])) if tree in self.views else self.noted(tree, tree, form)
        if is_array(tree):
            return self.noted(tree, identity_of(tree), (tree.shape, tree.dtype))
        if isinstance(tree, Turn | Listed):  # it counts the turns of an outer loop
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
        key = key_of(tree)
        return id(tree) if key is None else key

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
        todo = periods(self.tokens)
        while todo:
            count, failed = len(found), set[int]()
            unfit = np.zeros(len(self.steps), int)  # the shortest period that gave no loop
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
        free, count = start + int(np.sum(self.loop_of[start : start + period] >= 0)), len(found)  # others may end here
        for first, last in self.stretches(start, stop, period):
            run = Run(self, max(free, first - period), min(last + period, stop), period, first)
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


def search_of(program: Program) -> Search:
    """Return a program as arrays of integers."""
    search = Search(program)
    search.read()
    return search


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
