"""`mg.scan` in a compiled function: one turn is traced for all turns.

Owns: the operation `scanned`, which is the whole loop, and the loops that are its
derivatives.
Must not own: the loop of an eager call (`scan.py`), or how a loop becomes a step of a
program (`translation.py`).
Read next: `translation.py`.

The function is called once, with Tensors in place of carried values and of rows of
`xs`, and its operations are recorded separately. The derivative walks that record. The
values that the walk needs from each turn become further results of the loop. The loop
of the walk receives them by rows, like `xs`; it runs backward over reversed rows. Sums
over the turns are carried: the cotangents of values that are the same in all turns.

If something prevents this (a Python number that counts turns, a variable that a turn
changes, a draw), the function is traced again with plain loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.batching import Batched
from microgradnd.compiler.program import FEWEST, parts_of
from microgradnd.compiler.traced import TracedTensor
from microgradnd.compiler.traits import gives_view
from microgradnd.compiler.weak import is_number, weak
from microgradnd.registry import JVPS, VJPS, Joint, Results, primitive
from microgradnd.tape import Leaf, Node, Path, current, forward, walk
from microgradnd.tensor import Tensor, lift, wrap
from microgradnd.trees import flatten


class UnscannedError(Exception):
    """A turn can't stand for all turns."""


class Turn:
    """One recorded turn of a loop.

    Attributes
    ----------
    count : int
        The number of turns.
    carried, rows : list of Node
        The nodes for the carried values, and for the rows of arrays.
    operations : list of Operation
        The operations of the turn, in order.
    following : list of (array, node)
        The next turn's carried values: examples, and the nodes that compute them,
        or None.
    kept : list of (array, node)
        The values kept from each turn. Derivatives add to them.
    outside : list of (array, Node)
        Other values that the turn depends on.
    """

    def __init__(self, count: int, carried: Sequence[Any], rows: Sequence[Any]) -> None:
        self.count = count
        self.carried = [t._node for t in carried]
        self.rows = [t._node for t in rows]
        self.operations: list[Any] = []
        self.following: list[tuple[Any, Any]] = []
        self.kept: list[tuple[Any, Any]] = []
        self.outside: list[tuple[Any, Node]] = []

    def recorded(self, following: Iterable[Any], kept: Iterable[Any]) -> None:
        """Note the turn's results, and find out what it depends on."""
        self.following, self.kept = [pair(x) for x in following], [pair(x) for x in kept]
        inside = {None, *self.carried, *self.rows, *self.operations}
        reads = [p for o in self.operations for p in zip(o.args, o.parents, strict=True)]
        ends = [*reads, *self.following, *self.kept]
        found = {node: array for array, node in ends if node not in inside and not hasattr(node, "parts")}
        self.outside = [(array, node) for node, array in found.items()]
        current().trace.close(self.outside)  # type: ignore[union-attr]

    def results(self) -> list[tuple[Any, Any]]:
        """Return the values carried on, then those kept, each with its node."""
        return [*self.following, *self.kept]

    def loop(self, carried: Sequence[Any], rows: Sequence[Any]) -> Any:
        """Return the results of all turns, for the first turn's arguments."""
        operands = [*carried, *rows, *[lift(array, node) for array, node in self.outside]]
        if all(pair(x)[1] is None for x in operands):
            raise UnscannedError  # the loop wouldn't be recorded: plain turns compute its results
        return scanned(self, *operands)


@primitive
def scanned(turn: Turn, *operands: Any) -> Any:
    """Return examples of a loop's results, as only the program runs all turns."""
    kept = [np.broadcast_to(array, (turn.count, *array.shape)) for array, _ in turn.kept]
    return (*[array for array, _ in turn.following], *kept)


def pair(value: Any) -> tuple[Any, Any]:
    """Return the array and the node of a Tensor, or another value and None."""
    return (value._array, value._node) if isinstance(value, Tensor) else (value, None)


def formal(like: Any, requires_grad: bool, name: str | None = None) -> Tensor:
    """Return a Tensor that stands for an argument of a turn."""
    array = np.array(getattr(like, "_array", like))
    made = wrap(array, Leaf(array, requires_grad and array.dtype.kind in "fc", name))
    made.__class__ = TracedTensor
    current().trace.formals.add(made._node)  # type: ignore[union-attr]
    return made


@contextmanager
def apart(recorder: Any, operations: list[Any]) -> Iterator[None]:
    """Record into a separate list."""
    before, recorder.operations = recorder.operations, operations
    try:
        yield
    finally:
        recorder.operations = before


def scan_once(f: Callable[[Any, Any], Any], init: Any, xs: Sequence[Any], form: Any, count: int) -> Any:
    """Do what `scan` does by one call of the function.

    Return None if the turns had better be traced one by one.
    """
    recorder: Any = current().trace
    if not recorder.scans or count < FEWEST:
        return None
    recorder.has_scanned = True
    begins, form_of_carry = flatten(init)
    arrays = [x for x in xs if x is not None]
    if any(isinstance(x, Batched) for x in (*begins, *arrays)):
        raise UnscannedError
    recorder.close(map(pair, (*begins, *arrays)))
    numbers = [i for i, x in enumerate(begins) if is_number(x)]
    before, first_kept, staying = recorder.changes(), list[Any](), set[int]()
    watch = None if recorder.watch is None else recorder.watch.of_made(f)
    for _ in range(2 if numbers else 1):  # the first call shows what a number becomes
        carried = [None if x is None else x if i in numbers else formal(x, True, name(x)) for i, x in enumerate(begins)]
        for i in staying:
            carried[i] = weak(formal(begins[i], False))
        rows = [formal(pair(x)[0][0], getattr(x, "requires_grad", False), name(x)) for x in arrays]
        rest = iter(rows)
        turn = Turn(count, [x for x in carried if isinstance(x, Tensor)], rows)
        with apart(recorder, turn.operations):
            new, y = f(form_of_carry.rebuild(carried), form.rebuild([None if x is None else next(rest) for x in xs]))
        (following, new_form), (kept, form_of_ys) = flatten(new), flatten(y)
        if new_form != form_of_carry or recorder.changes() != before:
            raise UnscannedError
        for i in numbers:
            if is_number(following[i]) and np.result_type(following[i]).kind in "ib":
                raise UnscannedError  # it counts turns, or may grow beyond 64 bits
            begins[i] = primitives.array(begins[i]).astype(getattr(following[i], "dtype", np.result_type(begins[i])))
        staying |= {i for i in numbers if is_number(following[i])}
        if any(is_number(x) != (i in staying) for i, x in enumerate(following)):
            raise UnscannedError
        numbers, first_kept = [], first_kept or kept
    if watch is not None:
        watch.check()
        if watch.changed:
            raise UnscannedError
    given, followed = ([x for x in leaves if x is not None] for leaves in (begins, following))
    kept_values = [x for x in kept if x is not None]
    kinds = [(getattr(a, "dtype", type(a)), b.dtype) for a, b in zip(first_kept, kept, strict=True) if b is not None]
    if any((kind if isinstance(kind, np.dtype) else np.result_type(kind, dtype)) != dtype for kind, dtype in kinds):
        raise UnscannedError  # a number that was passed is among the results, or has raised their precision
    alike = [(a.shape, a.dtype) == (b.shape, b.dtype) for a, b in zip(given, followed, strict=True)]
    if not all(alike) or not all(isinstance(x, Tensor) and x._node is not None for x in (*followed, *kept_values)):
        raise UnscannedError
    if any(type(operation.function) is Anew for operation in turn.operations):
        raise UnscannedError
    notes = [*turn.carried, *turn.rows, *(o.note for o in turn.operations if o.note is not None)]
    if any(note.hooks or getattr(note, "retain_grad", False) for note in notes):
        raise UnscannedError  # each turn calls its hooks, and has gradients of its own
    turn.recorded(followed, kept_values)
    if not turn.outside and all(pair(x)[1] is None for x in (*given, *arrays)):
        return None  # plain arrays, as in a primitive's own body
    results = iter(turn.loop(given, arrays) if turn.results() else ())
    ends = [None if x is None else next(results) for x in begins]
    carry = form_of_carry.rebuild([weak(x) if i in staying else x for i, x in enumerate(ends)])
    return carry, form_of_ys.rebuild([None if x is None else next(results) for x in kept])


def name(value: Any) -> str | None:
    return getattr(value, "name", None)


# Derivatives: loops that walk through a turn


def derived(
    turn: Turn,
    operands: Sequence[Any],
    carried: Sequence[Any],
    rows: Sequence[Any],
    step: Callable[[list[Tensor], list[Tensor]], tuple[list[Any], list[Any]]],
    reverse: bool,
) -> Any:
    """Return the results of a loop that walks through each turn of another.

    `step(carried, rows)` walks, and returns the carried and the kept values. The values
    of the turn that it reads become rows too, except for those that need no loop: these
    are computed again.
    """
    recorder: Any = current().trace
    if any(isinstance(x, Batched) for x in (*operands, *carried, *rows)):
        raise UnscannedError
    first, others = [formal(x, True, name(x)) for x in carried], [formal(pair(x)[0][0], True) for x in rows]
    walked = Turn(turn.count, first, others)
    with apart(recorder, walked.operations):
        following, kept = step(first, others)
    n = len(turn.carried)
    again, needed = read_from(turn, walked.operations, [node for _, node in map(pair, (*following, *kept))])
    known = {node: i for i, (_, node) in enumerate(turn.kept)}
    for node in needed:
        if node not in known:
            known[node] = len(turn.kept)
            turn.kept.append((example(node), node))
    columns = [*operands[n : n + len(turn.rows)]]
    if needed:
        results = scanned(turn, *operands)
        columns += [results[n + known[node]] for node in needed]
    if any(isinstance(x, Batched) for x in (*following, *kept)):
        raise UnscannedError
    walked.operations[:0] = sorted(again, key=lambda node: node.position)
    walked.rows += [*turn.rows, *needed]
    walked.recorded(following, kept)
    columns = [column[::-1] if reverse else column for column in (*rows, *columns)]
    results = walked.loop(carried, columns)
    return [x[::-1] if reverse and i >= len(following) else x for i, x in enumerate(results)]


def read_from(turn: Turn, operations: Sequence[Any], ends: Sequence[Any]) -> tuple[set[Any], list[Any]]:
    """Return which of a turn's operations run again in the loop that walks through it,
    and the values of the turn that this loop reads.
    """
    recorder, made = current().trace, set(turn.operations)
    varies = {*turn.carried, *turn.rows}
    for node in turn.operations:
        if not varies.isdisjoint(sources(node, recorder)):
            varies.add(node)
    again: set[Any] = set()
    needed: dict[Any, None] = {}
    todo = [*[x for node in operations for x in sources(node, recorder)], *ends]
    while todo:
        node = todo.pop()
        if node in made and (node not in varies or type(node.out) is Results or is_view(node)):
            if node not in again:
                again.add(node)
                todo += sources(node, recorder)
        elif node in made or node in turn.carried:
            needed[node] = None
    return again, list(needed)


def sources(node: Any, recorder: Any) -> list[Any]:
    """Return the nodes that an operation reads."""
    return nodes_in((node.args, tuple(node.parents), node.kwargs), recorder)


def nodes_in(tree: Any, recorder: Any) -> list[Any]:
    """Return the nodes in an argument, those of recorded arrays too."""
    found = []
    for part in parts_of(tree):
        if isinstance(part, Tensor):
            found.append(part._node)
        elif isinstance(part, np.ndarray):
            found.append(recorder.arrays.get(id(part), (None, None))[1])
        elif hasattr(part, "parts"):  # an index of several parts
            found += nodes_in(part.parts, recorder)
        elif isinstance(part, Node):
            found.append(part)
    return [node for node in found if node is not None]


def is_view(node: Any) -> bool:
    """Return whether an operation gives a view, which costs nothing."""
    return gives_view(node.function, node.args, sum(parent is not None for parent in node.parents))


def example(node: Any) -> Any:
    return node.data if type(node) is Leaf else node.out


def cotangents(g: Any, out: Any, turn: Turn, *operands: Any) -> list[Any]:
    """Return the cotangents of a loop's operands."""
    n, ends = len(turn.carried), turn.results()[: len(out)]
    outside = [node for _, node in turn.outside if node.requires_grad]
    real = [node for node in (*turn.carried, *turn.rows, *outside) if node.requires_grad]
    path = Path([node for _, node in ends if node is not None], real)
    later = [i for i, (_, node) in enumerate(ends) if i >= n and node is not None and node.requires_grad]

    def step(carried: list[Tensor], rows: list[Tensor]) -> tuple[list[Any], list[Any]]:
        following, sums = carried[:n], carried[n:]
        seeds = [(node, g) for (_, node), g in zip(turn.following, following, strict=True)]
        seeds += [(ends[i][1], g) for i, g in zip(later, rows, strict=True)]
        found = walk([(x, g) for x, g in seeds if x is not None and x.requires_grad], True, lift, path)
        before = [found.get(node, np.zeros(g.shape, g.dtype)) for node, g in zip(turn.carried, carried, strict=False)]
        totals = [total + found[node] if node in found else total for node, total in zip(outside, sums, strict=True)]
        each = [found.get(node, np.zeros_like(example(node))) for node in turn.rows if node.requires_grad]
        return [*before, *totals], each

    begins = [*g[:n], *[np.zeros(x.shape, x.dtype) for x, node in turn.outside if node.requires_grad]]
    results = derived(turn, operands, begins, [g[i] for i in later], step, reverse=True)
    sums, columns = iter(results[n : len(begins)]), iter(results[len(begins) :])
    of_rows = [next(columns) if node.requires_grad else None for node in turn.rows]
    return [None, *results[:n], *of_rows, *[next(sums) if node.requires_grad else None for _, node in turn.outside]]


def tangents(given: Sequence[Any], out: Any, turn: Turn, *operands: Any) -> Any:
    """Return the tangents of a loop's results."""
    n, m, ends = len(turn.carried), len(turn.rows), turn.results()[: len(out)]
    t = given[1:]
    outside = {node: x for (_, node), x in zip(turn.outside, t[n + m :], strict=True) if x is not None}
    moving = [i for i in range(m) if t[n + i] is not None]

    def step(carried: list[Tensor], rows: list[Tensor]) -> tuple[list[Any], list[Any]]:
        known: dict[Any, Any] = dict(zip(turn.carried, carried, strict=True))
        known |= {turn.rows[i]: x for i, x in zip(moving, rows, strict=True)} | outside
        known = {node: x for node, x in known.items() if node.requires_grad}
        found = forward(Path([node for _, node in ends], known), known, lift)
        new = [found.get(node, np.zeros(array.shape, array.dtype)) for array, node in ends]
        return new[:n], new[n:]

    begins = [np.zeros(x.shape, x.dtype) if part is None else part for part, x in zip(t, operands[:n], strict=False)]
    return Results(derived(turn, operands, begins, [t[n + i] for i in moving], step, reverse=False))


VJPS[scanned], JVPS[scanned] = Joint(cotangents), Joint(tangents)
