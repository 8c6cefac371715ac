"""Unrolled loops as scopes that open: every copy of a repeated part is kept.

Owns: the scopes of `viz.explore`: the program's own, and one around each loop, with a
scope for each copy.
Must not own: finding repetitions (`fold.py`, so that pages and drawings fold alike), or
the data of a page.
Read next: `fold.py`, then `explore.py`.
"""

from __future__ import annotations

from collections import Counter

from microgradnd.viz import signs
from microgradnd.viz.fold import READABLE, WORTH, gather, signatures, size
from microgradnd.viz.labels import repeated_text
from microgradnd.viz.model import Graph
from microgradnd.viz.record import Part, Record, tree

MOST_SIGNS = 5  # operations in the title of a loop


def gathered(record: Record) -> Part:
    """Return the scopes of a record, with loops as scopes of kind "repeat".

    Parameters
    ----------
    record : Record

    Returns
    -------
    Part
        The root. The children of a loop are its `repeat` copies. Each copy is a scope:
        one of the program's, or one of kind "stretch" with the label "iteration 3".

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.viz.loops import gathered
    >>> from microgradnd.viz.record import Record
    >>> x = mg.tensor(1.0, requires_grad=True)
    >>> for _ in range(50):
    ...     x = np.sin(x) + 1
    >>> (loop,) = gathered(Record(x._node)).children
    >>> loop.label, loop.repeat, loop.children[2].label, loop.children[2].children
    ('sin, + 1', 50, 'iteration 3', [4, 5])
    """
    root = tree(record)
    if size(record, root, READABLE) <= READABLE:
        return root
    kind_of = signatures(record, root)
    for part in [*reversed(root.parts()), root]:
        if any(isinstance(child, Part) for child in part.children):
            gather(record, part, kind_of, 1, all_copies, chains=True, scopes=True)
    todo = [root]
    while todo:
        part = todo.pop()
        if part.kind != "repeat" and len(part.children) > WORTH:
            gather(record, part, kind_of, WORTH, all_copies)
        todo += [child for child in part.children if isinstance(child, Part)]
    for part in reversed(root.parts()):  # inner loops first, since outer titles contain theirs
        if part.kind == "repeat":
            part.label = _title(record, part)
    return root


def all_copies(record: Record, part: Part, copies: list[list[int | Part]]) -> Part:
    """Return a part of kind "repeat" with a scope for each copy."""
    loop = Part("repeat", "", "", part)
    loop.repeat = len(copies)
    if len(copies[0]) == 1 and isinstance(copies[0][0], Part):
        return loop.around([scope for (scope,) in copies])
    labels = (f"iteration {i}" for i in range(1, len(copies) + 1))
    return loop.around([Part("stretch", "", label, loop).around(c) for label, c in zip(labels, copies, strict=True)])


def _title(record: Record, loop: Part) -> str:
    """Return the title of a loop: the scopes in its body, or else its operations."""
    first, last = (
        [copy] if isinstance(copy, Part) and copy.kind != "stretch" else getattr(copy, "children", [])
        for copy in (loop.children[0], loop.children[-1])
    )
    names = [
        (a.label or a.path, b.label or b.path)
        for a, b in zip(first, last, strict=True)
        if isinstance(a, Part) and isinstance(b, Part) and a.kind != "repeat"
    ]
    if names:
        return ", ".join(a if a == b else f"{a} … {b}" for a, b in names[:MOST_SIGNS])
    texts = [
        repeated_text(child.label, child.repeat)
        if isinstance(child, Part)
        else signs.written(record.operations[child])[0]
        for child in first
    ]
    return ", ".join(texts[:MOST_SIGNS] + ["…"] * (len(texts) > MOST_SIGNS))


def places(record: Record, root: Part, model: Graph) -> dict[str, Part]:
    """Return the innermost scope around each node of a whole graph.

    A parameter lies in the innermost scope around all its uses, and so does a constant,
    unless the scope begins with it. An input lies outside, unless each iteration of a
    loop has its own.
    """
    found = {record.ids[i]: part for part in [root, *root.parts()] for i in part.children if isinstance(i, int)}
    found["result"] = root
    chain = {part: tuple(part.ancestors()) for part in set(found.values())}
    used: dict[str, list[tuple[str, int]]] = {}
    for edge in model.edges:
        used.setdefault(edge.source, []).append((edge.target, edge.position))
    others = []
    reached: set[Part] = set()  # scopes that use a result from outside
    for node in model.nodes:
        targets = [chain[found[target]] for target, _ in used.get(node.id, ())]
        if node.id in found:
            reached.update(part for parts in targets for part in parts if part not in chain[found[node.id]])
            continue
        common = [parts[0] for parts in zip(*targets, strict=False) if len(set(parts)) == 1] or [root]
        found[node.id] = common[-1]
        if node.kind != "parameter":
            others.append((node, common, used.get(node.id, [("", 0)])[0]))
    copies = {part for _, common, _ in others for part in common if is_copy(part)}
    offsets = {(part, record.ids[i]): number for part in copies for number, i in enumerate(part.operations())}
    alike = Counter((p.parent, offsets[p, use[0]], use[1]) for _, common, use in others for p in common if p in copies)
    for node, common, (target, position) in others:
        own = [p for p in common if p in copies and alike[p.parent, offsets[p, target], position] > 1]
        begin = common.index(own[-1]) if own else 0
        if node.kind == "input" or not reached.issuperset(common[begin + 1 : begin + 2]):
            found[node.id] = common[begin]
    return found


def is_copy(part: Part) -> bool:
    """Return whether a scope is one copy in a loop."""
    return part.parent is not None and part.parent.kind == "repeat"
