"""Unrolled loops as scopes that open: every copy of a repeated part is kept.

Owns: the scopes of `viz.explore`: the program's own, and one around each loop, with a
scope for each copy.
Must not own: finding repetitions (`fold.py`, so that pages and drawings fold alike), or
the data of a page.
Read next: `fold.py`, then `explore.py`.
"""

from __future__ import annotations

from microgradnd.viz import signs
from microgradnd.viz.fold import READABLE, WORTH, gather, gather_scopes, operations_of, size
from microgradnd.viz.labels import repeated_text
from microgradnd.viz.record import Part, Record, tree

MOST_SIGNS = 3  # operations in the title of a loop


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
    kind_of = gather_scopes(record, root, all_copies)
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
    first = [i for child in copies[0] for i in operations_of(child)]
    loop.id = f"repeat_{record.ids[first[0]]}_{len(first)}"
    if len(copies[0]) == 1 and isinstance(copies[0][0], Part):
        return loop.around([scope for (scope,) in copies])
    made: list[int | Part] = []
    for number, copy in enumerate(copies, 1):
        iteration = Part("stretch", "", f"iteration {number}", loop).around(copy)
        iteration.id = f"{loop.id}_{number}"
        made.append(iteration)
    return loop.around(made)


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
