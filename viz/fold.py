"""Folding of large computations: repeated parts, deep scopes, long stretches.

Owns: finding repeated parts, and the order in which parts are folded until a picture is
small enough.
Must not own: the scopes themselves (`record.py`), or the words about a node
(`graph.py`).
Read next: `graph.py`.

Layout takes 10 s for 1,000 nodes and over a minute for 3,000, and nobody can read that
many. A loop of 4,000 steps becomes its body and a number.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from microgradnd.viz.record import Part, Record

Kinds = Callable[[int | Part], int]  # equal numbers for things that do the same
Make = Callable[[Record, Part, list[list[int | Part]]], Part]

READABLE = 40  # nodes; a graph of at most this size shows repeated parts in full
COPIES = 3  # the fewest that are folded to one
WORTH = 10  # nodes that folding a loop must save
LONGEST_BODY = 64  # operations of a loop's body; a longer body must have an operation that occurs once in it
MOST_LOOPS = 20  # in one scope
MOST_LINES = 5  # per node


def fold(record: Record, root: Part, max_nodes: int | None, depth: int | None) -> list[str]:
    """Fold a tree of scopes to at most `max_nodes` nodes, and return notes about it.

    Parameters
    ----------
    record : Record
    root : Part
        The tree, which is changed.
    max_nodes : int or None
        None for no limit: then only `depth` folds.
    depth : int or None
        Scopes nested this deep are folded in any case.

    Returns
    -------
    list of str
    """
    notes = []
    most = float("inf") if max_nodes is None else max_nodes
    if max_nodes is not None and size(record, root, READABLE) > READABLE:
        kind_of = gather_scopes(record, root, first_copy)
        if depth is not None:
            fold_deeper(root, depth)
        todo, is_large = [root, *root.parts()], size(record, root, READABLE) > READABLE
        while todo and is_large:
            part = todo.pop(0)
            before = len(part.children)
            made = gather(record, part, kind_of, WORTH, first_copy, chains=size(record, root, most) <= most)
            todo += [loop for loop in made if loop.kind == "repeat"]
            is_large = len(part.children) == before or size(record, root, READABLE) > READABLE
    if size(record, root, most) > most:  # more levels make more nodes: find the most that fit
        deepest = max(depths(root).values(), default=0) if depth is None else depth

        def is_too_large(depth: int) -> bool:
            fold_deeper(root, depth)
            return size(record, root, most) > most

        depth = bisect.bisect_left(range(1, deepest + 1), True, key=is_too_large)
    if depth is not None:
        fold_deeper(root, depth)
        if any(part.is_folded and part.kind in ("module", "scope") for part in root.parts()):
            others = f"{depth} others" if depth > 1 else "another"
            notes.append(f"Scopes within {others} are folded." if depth else "All scopes are folded.")
    if size(record, root, most) > most:
        assert max_nodes is not None
        fold_stretch(record, root, max_nodes)
    return notes + [note for part in root.parts(is_shown=True) if (note := said(part))]


def said(part: Part) -> str:
    """Return a sentence about a part that stands for several copies; else nothing."""
    if part.repeat == 1 or part.is_folded:
        return ""
    if part.kind == "repeat" and not part.path:
        count = len(operations_of(part)) // part.repeat
        what = "1 operation is" if count == 1 else f"{count:,} operations are"
        return f"{what} repeated {part.repeat:,} times in a row; the first time is shown."
    if part.last == part.path:
        return f"{part.path or part.label} is repeated {part.repeat:,} times in a row; the first time is shown."
    return f"{part.path} to {part.last} are alike, {part.repeat:,} in a row; the first is shown."


def shown(root: Part) -> list[int | Part]:
    """Return the nodes in order: visible operations and folded scopes."""
    return [thing for thing in root.inside(is_shown=True) if isinstance(thing, int) or thing.is_folded]


def size(record: Record, root: Part, enough: float) -> int:
    """Return the number of nodes in a picture, or any number beyond `enough`."""
    things = shown(root)
    if len(things) >= enough:
        return len(things) + 1
    around: set[Any] = set()
    for thing in things:
        if isinstance(thing, int):
            around.update(o for o in record.operands(thing) if o is not None and o not in record.index)
    return len(things) + len(around) + 1


def signatures(record: Record, root: Part) -> Kinds:
    """Return a function with equal values for operations or scopes that do the same."""
    kinds: dict[Any, int] = {}
    of_operation = [
        kinds.setdefault((node.function, node.shape, node.dtype, len(node.parents)), len(kinds))
        for node in record.operations
    ]
    of_part: dict[Part, int] = {}
    for part in reversed(root.parts()):
        inside = tuple(of_operation[c] if isinstance(c, int) else of_part[c] for c in part.children)
        of_part[part] = kinds.setdefault((part.kind, re.sub(r"\d+", "#", part.label), inside), len(kinds))

    def kind_of(child: int | Part) -> int:
        if isinstance(child, int):
            return of_operation[child]
        return of_part.get(child, -1 - id(child) % 2**60)  # a part made by folding is unique

    return kind_of


def gather_scopes(record: Record, root: Part, make: Make) -> Kinds:
    """Gather repeated scopes, the innermost first; return which things do the same."""
    kind_of = signatures(record, root)
    for part in [*reversed(root.parts()), root]:
        if any(isinstance(child, Part) for child in part.children):
            gather(record, part, kind_of, 1, make, chains=True, scopes=True)
    return kind_of


def gather(
    record: Record, part: Part, kind_of: Kinds, worth: int, make: Make, chains: bool = False, scopes: bool = False
) -> list[Part]:
    """Gather repeated children of a scope in new parts, the largest savings first.

    `make(record, part, copies)` returns the part that stands for some copies, which are
    lists of children. With `scopes`, only repetitions that contain a scope count; with
    `chains`, only those in which each copy feeds the next: three parallel branches (the
    query, key and value of an attention) do the same but mean different things.
    """
    made: list[Part] = []
    refused: set[int | Part] = set()
    for _ in range(MOST_LOOPS if len(part.children) >= COPIES else 0):
        kinds = np.array([kind_of(child) for child in part.children], dtype=np.int64)
        wanted = None
        if chains:
            is_wanted = ((isinstance(child, Part) or not scopes) and child not in refused for child in part.children)
            wanted = np.array(list(is_wanted), dtype=bool)
        start, period, count = longest_run(kinds, wanted)
        if (count - 1) * period < worth:
            break
        end = start + count * period
        if chains and not is_chain(record, part.children[start : start + 2 * period]):
            refused.update(part.children[start:end])
            continue
        made.append(make(record, part, [part.children[i : i + period] for i in range(start, end, period)]))
        part.children[start:end] = made[-1:]
    return made


def first_copy(record: Record, part: Part, copies: list[list[int | Part]]) -> Part:
    """Return the first copy, to stand for all: a scope, or a part of kind "repeat"."""
    first, last = copies[0], copies[-1]
    inner = [child for child in first if isinstance(child, Part)]
    if len(first) == len(inner) == 1 and inner[0].repeat == 1:
        loop = inner[0]
    else:
        inside = [i for child in first for i in operations_of(child)]
        loop = Part("repeat", "", "repeated", part).around(first)
        loop.id = f"repeat_{record.ids[inside[0]]}_{len(inside)}"
        loop.path = inner[0].path if len(inner) == 1 else ""
    if len(inner) == 1:
        alike = last[first.index(inner[0])]
        loop.last = alike.path if isinstance(alike, Part) else ""
    loop.repeat = len(copies)
    loop.hidden += [[i for child in copy for i in operations_of(child)] for copy in copies[1:]]
    return loop


def is_chain(record: Record, children: list[int | Part]) -> bool:
    """Return whether the second half of some children uses a result of the first."""
    half = len(children) // 2
    first, second = ([i for c in part for i in operations_of(c)] for part in (children[:half], children[half:]))
    results = {record.operations[i] for i in first}
    return any(parent in results for i in second for parent in record.operations[i].parents)


def operations_of(child: int | Part) -> list[int]:
    """Return the operations of a child."""
    return [child] if isinstance(child, int) else child.operations()


def longest_run(kinds: Any, wanted: Any = None) -> tuple[int, int, int]:
    """Return the repetition in a sequence that saves most: start, period and copies.

    Parameters
    ----------
    kinds : array of int
        The sequence.
    wanted : array of bool, optional
        At least one element of the period must be wanted.

    Returns
    -------
    start, period, copies : int
        (0, 0, 0) if nothing occurs `COPIES` times in a row.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.fold import longest_run
    >>> longest_run(np.array([7, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 9]))
    (1, 3, 3)
    """
    best, saved = (0, 0, 0), 0
    for period in sorted(periods(kinds)):
        equal = np.concatenate([[False], kinds[:-period] == kinds[period:], [False]])
        edges = np.flatnonzero(equal[1:] != equal[:-1])
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        copies = lengths // period + 1
        worth = np.where(copies >= COPIES, (copies - 1) * period, 0)
        for run in np.argsort(-worth, kind="stable")[:COPIES]:
            start = int(starts[run])
            if worth[run] > saved and (wanted is None or wanted[start : start + period].any()):
                best, saved = (start, period, int(copies[run])), int(worth[run])
                break
    return best


def periods(kinds: Any) -> set[int]:
    """Return the periods worth trying: short ones, and distances of equal elements."""
    longest = len(kinds) // COPIES
    found = set(range(1, min(longest, LONGEST_BODY) + 1))
    order = np.argsort(kinds, kind="stable")
    same = kinds[order[1:]] == kinds[order[:-1]]
    gaps = (order[1:] - order[:-1])[same]
    gaps = gaps[(gaps > LONGEST_BODY) & (gaps <= longest)]
    distances, counts = np.unique(gaps, return_counts=True)
    found.update(distances[np.argsort(-counts * distances, kind="stable")[:LONGEST_BODY]].tolist())
    return found


def depths(root: Part) -> dict[Part, int]:
    """Return the depth of each scope: the number of scopes around it."""
    found = {root: -1}
    for part in root.parts():
        assert part.parent is not None
        found[part] = found[part.parent] + 1
    del found[root]
    return found


def fold_deeper(root: Part, depth: int) -> None:
    """Fold exactly the scopes at a depth of `depth` or more."""
    for part, level in depths(root).items():
        part.is_folded = level >= depth


def fold_stretch(record: Record, root: Part, max_nodes: int) -> None:
    """Fold the middle of the outermost level to one node."""
    lines, end = 0, len(root.children)
    around: set[Any] = set()
    begin, first = 0, set[Any]()
    while begin < end and begin + len(first) < max_nodes // 4:
        first |= _around(record, root.children[begin])
        begin += 1
    begin = max(begin - 1, 0)
    left = max_nodes - 2 - begin - len(first)  # besides the fold and the result
    while end > begin:
        child = root.children[end - 1]
        around |= _around(record, child)
        lines += 1 if isinstance(child, Part) else len(record.operands(child))
        count = len(root.children) - end + 1
        if count > 1 and (count + len(around) > left or lines > MOST_LINES * max_nodes):
            break
        end -= 1
    if end > begin:
        stretch = Part("stretch", "", "…", root)
        stretch.id = "stretch"
        stretch.children = root.children[begin:end]
        stretch.is_folded = True
        root.children[begin:end] = [stretch]


def _around(record: Record, child: int | Part) -> set[Any]:
    if isinstance(child, Part):
        return set()
    return {o for o in record.operands(child) if o is not None and o not in record.index}
