"""A computation as text, for a terminal.

Owns: `table`.
Must not own: the graph (`graph.py`), or the format of single numbers (`labels.py`).
Read next: `graph.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from microgradnd.failures import explained
from microgradnd.tensor import Tensor
from microgradnd.viz.graph import graph
from microgradnd.viz.labels import ALARM_SIGN, alarm_text, scope_text, shape_text, short_name, title
from microgradnd.viz.model import Graph, Node, nested
from microgradnd.viz.signs import counted, number
from microgradnd.viz.values import Values

HEADINGS = ("operation", "shape", "memory", "‖grad‖")
INDENT = "  "
UNITS = ("B", "kB", "MB", "GB", "TB")
Row = tuple[str, str, str, str]


class Text(str):
    """Text that a prompt shows without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


@explained
def table(t: Tensor, *, depth: int | None = None, max_nodes: int | None = 200, backward: bool = True) -> str:
    """Return a computation as a table of operations, shapes, memory and gradients.

    Parameters
    ----------
    t : Tensor
        Of any shape.
    depth, max_nodes : int or None
        Limits for folding, as for `draw`.
    backward : bool
        Whether to compute all gradients, if the tape still has the arrays. Otherwise
        only variables have theirs, from `.grad`.

    Returns
    -------
    str
        A line for each variable, operation and scope, and one for the whole. Memory is
        the size of the arrays (1 kB is 1000 bytes). A scope has the sum over its
        operations, and the gradient norm of all its parameters.

    Raises
    ------
    TypeError
        If `t` isn't a Tensor.
    ValueError
        If `depth` or `max_nodes` is too small.

    See Also
    --------
    draw : the same as a picture.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> w = mg.tensor(np.ones((3, 2)), requires_grad=True, name="w")
    >>> with mg.scope("model"):
    ...     y = np.tanh(np.ones((4, 3)) @ w)
    >>> viz.table(y.sum())
    operation                          shape   memory   ‖grad‖
    constant                           (4, 3)    96 B
    model                                       128 B  0.09667
      w                                (3, 2)    48 B  0.09667
      @                                (4, 2)    64 B  0.02791
      tanh                             (4, 2)    64 B    2.828
    Σ                                             8 B        1
    total: 3 operations, 6 parameters           136 B  0.09667
    """
    model = graph(t, max_nodes, depth, backward)
    rows = [HEADINGS, *_rows(model)]
    total = f"total: {counted(model.operations, 'operation')}, {counted(model.parameters, 'parameter')}"
    rows.append((total, "", _bytes(model.memory), _norm(model.grad)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = []
    for name, shape, memory, grad in rows:
        cells = (name.ljust(widths[0]), shape.ljust(widths[1]), memory.rjust(widths[2]), grad.rjust(widths[3]))
        lines.append("  ".join(cells).rstrip())
    return Text("\n".join([*lines, *model.notes]))


def _rows(model: Graph) -> Iterator[Row]:
    """Yield a row for each scope and, below it, for each of its nodes."""
    things = ((node.scope, node) for node in model.nodes if node.kind != "result")
    for chain, thing in nested(things, model.scopes):
        if isinstance(thing, Node):
            yield _row(thing)
        elif thing is not None:
            name = INDENT * len(chain) + scope_text(thing, model.scopes[chain[-1]].path if chain else "")
            yield name, "", _bytes(thing.memory), _norm(thing.grad)


def _row(node: Node) -> Row:
    words = [word.text for word in title(node)] + ([short_name(node)] if node.kind == "operation" else [])
    text = INDENT * len(node.scope) + (" ".join(filter(None, words)) or node.kind)
    if alarm := alarm_text(node.values):
        text += f"  {ALARM_SIGN}{alarm}"
    memory = _bytes(node.memory) if node.shape is not None or node.members else ""
    return text, shape_text(node.shape, node.dtype), memory, _norm(node.grad)


def _norm(grad: Values | None) -> str:
    return "" if grad is None else alarm_text(grad) or number(grad.norm)


def _bytes(count: int) -> str:
    """Return a number of bytes in the largest unit that fits."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {UNITS[unit]}"
