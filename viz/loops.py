"""Where the parts of an unrolled loop lie: every copy of what repeats is kept, in one
scope to be opened.

Owns: the scopes of `viz.explore`: those of the program, and around what repeats one
more, with a scope for each copy.
Must not own: finding what repeats (`fold.py`, so that a page opens folded as a drawing
is), or what a page is told.
Read next: `fold.py`, then `explore.py`.
"""

from __future__ import annotations

from collections import Counter

from microgradnd.viz import signs
from microgradnd.viz.fold import READABLE, WORTH, gather, signatures, size
from microgradnd.viz.model import Graph
from microgradnd.viz.record import Part, Record, tree

MOST_SIGNS = 5  # operations that the title of a loop names


def gathered(record: Record) -> Part:
    """Return the scopes of a record, with what repeats in scopes of kind "repeat" whose
    children are the copies.

    Parameters
    ----------
    record : Record

    Returns
    -------
    Part
        The root. `repeat` of a scope of kind "repeat" is the number of its copies. Each
        copy is a scope: one of the program's, or one of kind "stretch" that is labelled
        "iteration 3".

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
    for part in reversed(root.parts()):  # inner loops first: the outer ones name them
        if part.kind == "repeat":
            part.label = _title(record, part)
    return root


def all_copies(record: Record, part: Part, copies: list[list[int | Part]]) -> Part:
    """Return a part of kind "repeat" whose children are the copies, each a scope."""
    loop = Part("repeat", "", "", part)
    loop.repeat = len(copies)
    if len(copies[0]) == 1 and isinstance(copies[0][0], Part):
        return loop.around([scope for (scope,) in copies])
    labels = (f"iteration {i}" for i in range(1, len(copies) + 1))
    return loop.around([Part("stretch", "", label, loop).around(c) for label, c in zip(labels, copies, strict=True)])


def _title(record: Record, loop: Part) -> str:
    """Return what is in the body of a loop: the scopes of the program if there are any,
    else its operations.
    """
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
        f"({child.label}) × {child.repeat}" if isinstance(child, Part) else signs.written(record.operations[child])[0]
        for child in first
    ]
    return ", ".join(texts[:MOST_SIGNS] + ["…"] * (len(texts) > MOST_SIGNS))


def places(record: Record, root: Part, model: Graph) -> dict[str, Part]:
    """Return the innermost scope around each node of a whole graph.

    A parameter lies where all its uses lie, and so does an array, unless the scope
    begins with it; an input comes from outside, except for what each iteration of a
    loop has of its own.
    """
    found = {record.ids[i]: part for part in [root, *root.parts()] for i in part.children if isinstance(i, int)}
    found["result"] = root
    chain = {part: tuple(part.ancestors()) for part in set(found.values())}
    used: dict[str, list[tuple[str, int]]] = {}
    for edge in model.edges:
        used.setdefault(edge.source, []).append((edge.target, edge.position))
    others = []
    reached: set[Part] = set()  # scopes that a result of something outside leads to
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
    """Return whether a scope is one of the copies of what repeats."""
    return part.parent is not None and part.parent.kind == "repeat"
