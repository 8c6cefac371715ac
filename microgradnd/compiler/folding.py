"""Long loops: the turns that were recorded become one operation before they are
differentiated.

Owns: finding such a loop among the recorded operations, and recording it as `mg.scan`
would be.
Must not own: the derivatives of that operation (`scanning.py`), or loops that are found
in a finished program (`runs.py`).
Read next: `scanning.py`.

Recording the backward pass of a loop takes several times as long as the loop itself,
and all of it would be rolled up afterwards. If the turns of a long loop do the same, a
single turn is kept instead, and its derivative is a loop from the start. This is
possible if the code after the loop uses only what the last turn hands on, and values of
all turns that are stacked. If a value of another turn is used later on, the function is
traced again, without folding. A loop that isn't differentiated is folded at the end of
the trace, which takes half as long as rolling up the finished program.
"""

from __future__ import annotations

import functools
from collections.abc import Set
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.passes import POWERS, key_of
from microgradnd.compiler.program import FEWEST
from microgradnd.compiler.runs import periods, repeated
from microgradnd.compiler.scanning import Turn, apart, formal, pair, sources
from microgradnd.registry import Results
from microgradnd.tape import MODE, current
from microgradnd.tensor import wrap

ARRAYS = (np.ndarray, np.generic)
TRIED = 3  # of many equal loops, these tell whether they are loops
LONG = 1_000  # operations; a loop with fewer of them stays as it was recorded


def fold(recorder: Any, start: int, results: Set[Any] = frozenset()) -> None:
    """Replace the first long loop among the operations from `start` on, if there is one
    in whose middle none of the results is computed. Loops within loops stay.
    """
    if len(recorder.operations) - start < LONG:
        return
    known: dict[Any, int] = {}
    kinds = map(kind_of, recorder.operations[start:])
    tokens = np.array([known.setdefault(kind, len(known)) for kind in kinds])
    places = {node: i for i, node in enumerate(recorder.operations)}
    run_of = functools.partial(Run, recorder, results, places)
    inner: list[int] = []  # where loops begin that are repeated themselves
    for period in periods(tokens):
        ranges = repeated(tokens, period)
        if len(ranges) >= FEWEST:
            tried = ranges[:TRIED]
            inner += [first for first, stop in tried if run_of(period, start + first, start + stop).fits()]
            continue
        for first, stop in ranges:
            if stop - first < LONG or any(first <= place < stop for place in inner):
                continue
            for begin in (first, first + period):  # the first turn may have another dtype or shape
                run = run_of(period, start + begin, start + stop)
                if run.fits():
                    run.replace()
                    return


def kind_of(node: Any) -> Any:
    """Return a key that is equal for operations which differ in their operands only."""
    out, note = node.out, node.note
    options = key_of(node.kwargs) if node.kwargs else ()
    shapes = [(part.shape, part.dtype) for part in out] if type(out) is Results else [out.shape, out.dtype]
    if note is not None and vars(note).keys() <= {"marks"}:  # for pictures
        note = None
    return (node.function, node.where, note, options, len(node.args), *shapes)


class Run:
    """Turns of equal operations, recorded one after another.

    Attributes
    ----------
    places : dict of node to int
        The numbers of all operations.
    begins : dict of int to (array or number, node)
        The initial values of what a turn hands on to the next, by the place in the turn
        of the operation that computes it.
    rows : dict of int to (index, int)
        For each operation that picks another part of an array in each turn: the index
        of all these parts, and the axis along which they lie.
    series : dict of (int, int) to array
        The constants that differ between turns: by the place of the operation and that
        of the argument, an array with a row for each turn.
    stacks : list of (int, node, int)
        The values that are stacked after the loop: the place in the turn, the
        concatenation, and the number of arrays that precede them in it.
    expanded : set of node
        The operations that give these values another axis, which become superfluous.
    """

    def __init__(
        self, recorder: Any, results: Set[Any], places: dict[Any, int], period: int, start: int, stop: int
    ) -> None:
        self.operations, self.recorder, self.results, self.places = recorder.operations, recorder, results, places
        self.start, self.period, self.count = start, period, (stop - start) // period
        self.stop = start + self.count * period
        self.begins: dict[int, tuple[Any, Any]] = {}
        self.rows: dict[int, tuple[Any, int]] = {}
        self.series: dict[tuple[int, int], Any] = {}
        self.stacks: list[tuple[int, Any, int]] = []
        self.expanded: set[Any] = set()
        self.others: dict[Any, int] = {}

    def turn(self, number: int) -> list[Any]:
        """Return the operations of a turn."""
        first = self.start + number * self.period
        return self.operations[first : first + self.period]

    def code(self, arg: Any, parent: Any) -> int:
        """Return a negative number, equal for equal arguments, where no operation
        computes them.
        """
        key = key_of(arg) if parent is None else parent
        return self.others.setdefault(id(arg) if key is None else key, ~len(self.others))

    def fits(self) -> bool:
        """Return whether the turns can be one operation."""
        count = self.count
        inside = self.operations[self.start : self.stop]
        args, parents = ([*chain.from_iterable(map(attrgetter(name), inside))] for name in ("args", "parents"))
        made = map(self.places.get, parents)
        leaves = zip(args, parents, made, strict=True)
        codes = np.array([self.code(arg, parent) if i is None else i for arg, parent, i in leaves])
        flags = np.array([node.requires_grad for node in inside]).reshape(count, -1)
        if (flags[1:] != flags[1]).any():  # initial values may have no derivative
            return False
        codes = codes.reshape(count, -1)
        strides = codes[2] - codes[1]
        strides[(np.diff(codes[1:], axis=0) != strides).any(axis=0)] = -1
        places = [(i, k) for i, node in enumerate(self.turn(0)) for k in range(len(node.args))]
        columns = zip(places, codes[0].tolist(), codes[1].tolist(), strides.tolist(), strict=True)
        return all(self.argument(*column) for column in columns) and bool(self.begins) and self.is_closed()

    def argument(self, place: tuple[int, int], first: int, second: int, stride: int) -> bool:
        """Return whether a loop can have an argument with these codes in the first two
        turns; note how.
        """
        (i, k), made = place, second - self.start - self.period  # from 0 on, it is computed in the same turn
        node = self.operations[self.start + i]
        if stride == self.period and 0 <= made < self.period:
            return first == second - stride
        if stride == self.period and -self.period <= made < 0:
            source, begin = made + self.period, (node.args[k], node.parents[k])
            known, like = self.begins.setdefault(source, begin), self.operations[self.start + source].out
            if type(begin[0]) in (int, float):
                fits = like.shape == () and like.dtype.kind == "f"
            else:
                fits = isinstance(begin[0], ARRAYS) and (begin[0].shape, begin[0].dtype) == (like.shape, like.dtype)
            return fits and known[1] is begin[1] and (begin[1] is not None or key_of(known) == key_of(begin))
        if stride == 0 and first == second:
            return not self.start <= first < self.stop
        nodes = self.operations[self.start + i : self.stop : self.period]
        if any(other.parents[k] is not None for other in nodes):
            return False
        values = [other.args[k] for other in nodes]
        if node.function is primitives.getitem and k == 1:
            found: Any = moving(values)
            self.rows[i] = found
            whole = node.parents[0]
            return found is not None and whole is not None and all(other.parents[0] is whole for other in nodes)
        found = self.series[i, k] = rows_of(values) if type(values[0]) is np.ndarray else numbers(values, node)
        return found is not None

    def is_closed(self) -> bool:
        """Return whether the operations after the loop use only what the last turn
        hands on, and stacked values of all turns.
        """
        after = self.operations[self.stop :]
        for node in after:
            if node.function is primitives.concatenate and node.args[0] == 0:
                self.note_stack(node)
        last, joining = self.turn(self.count - 1), {node for _, node, _ in self.stacks}
        hidden = self.expanded.union(self.operations[self.start : self.stop]).difference(last[j] for j in self.begins)
        others = [node for node in after if node not in self.expanded and node not in joining]
        return hidden.isdisjoint(self.results) and all(
            hidden.isdisjoint(sources(node, self.recorder)) for node in others
        )

    def note_stack(self, node: Any) -> None:
        """Note whether a concatenation contains one value of all turns."""
        parts = node.parents[2:]
        made = [self.places.get(p.parents[0], -1) if is_row_of_one(p) else -1 for p in parts]
        for at in range(len(made) - self.count + 1):
            places = range(made[at], made[at] + self.count * self.period, self.period)
            if self.start <= made[at] < self.start + self.period and made[at : at + self.count] == [*places]:
                self.stacks.append((made[at] - self.start, node, at))
                self.expanded.update(parts[at : at + self.count])
                return

    def replace(self) -> None:
        """Replace the turns by one operation."""
        recorder, before, members, last = self.recorder, self.turn(0), self.turn(1), self.turn(self.count - 1)
        recorder.has_scanned = True
        added: list[Any] = []
        token = MODE.set(current()._replace(record=recorder.record))
        try:
            with apart(recorder, added):
                begins = [
                    np.asarray(x, before[j].out.dtype) if parent is None else wrap(x, parent)
                    for j, (x, parent) in self.begins.items()
                ]
                arrays = []
                for i, (index, axis) in self.rows.items():
                    whole: Any = wrap(members[i].args[0], members[i].parents[0])
                    full = slice(None), slice(0, whole.shape[axis], 1)
                    is_all = len(index) > axis and index[axis] == full[1] and all(part in full for part in index)
                    part = whole if is_all else whole[index]
                    arrays.append(np.moveaxis(part, axis, 0) if axis else part)
                rows = [wrap(members[i].out, members[i]) for i in self.rows]
                for (i, k), array in self.series.items():
                    arrays.append(array)
                    row: Any = formal(array[0], False)
                    row._node.position = 0  # older than the operation that uses it
                    rows.append(row)
                    node = members[i]
                    node.args = (*node.args[:k], row._array, *node.args[k + 1 :])
                    node.parents = (*node.parents[:k], row._node, *node.parents[k + 1 :])
                recorder.close(map(pair, (*begins, *arrays)))
                turn = Turn(self.count, [wrap(before[j].out, before[j]) for j in self.begins], rows)
                turn.operations = [node for i, node in enumerate(members) if i not in self.rows]
                values = [wrap(members[j].out, members[j]) for j in (*self.begins, *[j for j, _, _ in self.stacks])]
                n = len(begins)
                turn.recorded(values[:n], values[n:])
                results = turn.loop(begins, arrays)
        finally:
            MODE.reset(token)
        for node, result in zip([last[j] for j in self.begins], results, strict=False):
            become(node, result._node)
        for (_, node, at), result in zip(self.stacks, results[n:], strict=True):
            axis, ends, *parts = node.args
            new = (ends[: at + 1] + ends[at + self.count :], *parts[:at], result._array, *parts[at + self.count :])
            node.args = axis, *new
            node.parents = (*node.parents[: at + 2], result._node, *node.parents[at + 2 + self.count :])
        for node, place in zip(added, self.operations[self.start + self.period : self.stop], strict=False):
            node.position, node.where = place.position, members[0].where
        after = [node for node in self.operations[self.stop :] if node not in self.expanded]
        self.operations[self.start :] = [*added, *[last[j] for j in self.begins], *after]


def is_row_of_one(node: Any) -> bool:
    """Return whether an operation adds a first axis, as np.stack does."""
    return getattr(node, "function", None) is np.expand_dims and node.args[1] in (0, (0,))


def become(node: Any, other: Any) -> None:
    """Turn an operation into another, at its own position."""
    node.function, node.args, node.kwargs, node.parents = other.function, other.args, other.kwargs, other.parents


def moving(indices: list[Any]) -> tuple[Any, int] | None:
    """Return one index for several that differ in one integer, which changes by a
    constant; and the axis that takes its place.
    """
    if len({len(index) if type(index) is tuple else 0 for index in indices}) > 1:
        return None
    table = [index if type(index) is tuple else (index,) for index in indices]
    if any(type(part) not in (int, slice) for row in table for part in row):
        return None
    columns = list(zip(*table, strict=True))
    moves = [k for k, column in enumerate(columns) if any(part != column[0] for part in column)]
    if len(moves) != 1:
        return None
    column, k = columns[moves[0]], moves[0]
    if any(type(part) is not int or part < 0 for part in column) or len({*np.diff(column).tolist()}) > 1:
        return None
    step = column[1] - column[0]
    stop = column[-1] + step
    index = (*table[0][:k], slice(column[0], stop if stop >= 0 else None, step), *table[0][k + 1 :])
    return index, sum(type(part) is slice for part in index[:k])


def numbers(values: list[Any], node: Any) -> Any:
    """Return Python numbers as an array, if the operation computes the same with its
    elements; None otherwise.
    """
    others = {arg.dtype for arg in node.args if isinstance(arg, np.ndarray | np.generic)} | {node.out.dtype}
    alike = len(others) == 1 and node.out.dtype.kind == "f" and {type(value) for value in values} <= {int, float}
    is_exact = isinstance(node.function, np.ufunc) and node.function not in POWERS
    return np.array(values, node.out.dtype) if alike and is_exact else None


def rows_of(arrays: list[Any]) -> Any:
    """Return views of one array, at a constant distance, as the rows of another view;
    None if they aren't.
    """
    first, places = arrays[0], [x.__array_interface__["data"][0] for x in arrays]
    alike = all(
        (x.base is first.base, x.shape, x.strides, x.dtype) == (True, first.shape, first.strides, first.dtype)
        for x in arrays
    )
    steps = {*np.diff(places).tolist()}
    if first.base is None or not alike or len(steps) > 1:
        return None
    strides = (*steps, *first.strides)
    return np.lib.stride_tricks.as_strided(first, (len(arrays), *first.shape), strides, writeable=False)
