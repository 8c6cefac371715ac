"""The backward pass, walked once more for a picture: what arrives at each operation, and what each rule makes of it.

Owns: the walk as pictures need it.
Must not own: the walk over the tape itself (`../microgradnd/tape.py`), or what is said of a gradient (`graph.py`).
Read next: `graph.py`.

It is the walk of `gradients.backward`, without what is around it there: no `.grad` is set, no hook is called, and no
array is freed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd import tape
from microgradnd.registry import Results
from microgradnd.tape import Node, Operation

Arrival = tuple[Operation, Any, list[tuple[int, Any]]]


def can_flow(operations: list[Operation]) -> bool:
    """Return whether the tape still has all arrays that the rules need, and none of them was changed since."""
    return all(
        node.args is not None and all(parent is None or parent.position < node.position for parent in node.parents)
        for node in operations
    )


def flow(operations: list[Operation], ends: dict[Node, Any]) -> list[Arrival]:
    """Walk from the last operation back to the leaves, the derivative of the last with respect to itself being 1.

    Parameters
    ----------
    operations : list of Operation
        All that lead to the last of them, in order.
    ends : dict of Node to array
        Is filled with what has arrived at the leaves in the end.

    Returns
    -------
    list of (Operation, array, list)
        Each operation that the walk came through, what arrived at it, and what its rules made of that: a list of
        (position, array), for the argument at each position that has a derivative.
    """
    last, steps = operations[-1], []
    if type(last.out) is not Results:
        with np.errstate(all="ignore"):
            ends.update(tape.walk([(last, np.ones_like(last.out))], done=lambda *step: steps.append(step)))
    return steps
