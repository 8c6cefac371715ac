"""The backward pass, walked once more for a picture: what arrives at each operation, and what each rule makes of it.

Owns: the walk.
Must not own: the rules (`../microgradnd/registry.py`), or what is said of a gradient (`graph.py`).
Read next: `graph.py`.

It is the walk of `tape.backward`, over the same rules, but it changes nothing: no `.grad`, no hooks are called, and no
arrays are let go of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from microgradnd import tape
from microgradnd.registry import VJPS, Results, rule_for
from microgradnd.tape import Leaf, Operation

Arrival = tuple[Operation, Any, list[tuple[int, Any]]]


def can_flow(operations: list[Operation]) -> bool:
    """Return whether the tape still has all arrays that the rules need."""
    return all(node.args is not None for node in operations)


def flow(operations: list[Operation], ends: dict[Leaf, Any]) -> Iterator[Arrival]:
    """Walk from the last operation back to the leaves, the derivative of the last with respect to itself being 1.

    Parameters
    ----------
    operations : list of Operation
        All that lead to the last of them, in order.
    ends : dict of Leaf to array
        Is filled with what has arrived at the leaves in the end.

    Yields
    ------
    node : Operation
    g : array
        What arrived at it.
    parts : list of (int, array)
        What its rules make of that, for the argument at each position that has a derivative.
    """
    last = operations[-1]
    if type(last.out) is Results:
        return
    arrived: dict[Operation, Any] = {last: np.ones_like(last.out)}
    for node in reversed(operations):
        g = arrived.pop(node, None)
        if g is None:
            continue
        if type(node.out) is Results:
            g = g.filled(node.out)
        args: Any = node.args
        parts = []
        for i, parent in enumerate(node.parents):
            if parent is None or not parent.requires_grad:
                continue
            with np.errstate(all="ignore"):
                new = rule_for(VJPS, node.function, i)(g, node.out, *args, **node.kwargs)
            if type(args[i]) is not Results and (new.shape != args[i].shape or new.dtype is not args[i].dtype):
                new = tape.fit(new, args[i])
            parts.append((i, new))
            if isinstance(parent, Leaf):
                ends[parent] = ends[parent] + new if parent in ends else new
            else:
                arrived[parent] = arrived[parent] + new if parent in arrived else new
        yield node, g, parts
