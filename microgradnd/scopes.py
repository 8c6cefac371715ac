"""Names for parts of a computation, for pictures and tables.

Owns: `scope`.
Must not own: drawing scopes (`microgradnd.viz`), or the scopes of modules
(`nn/module.py` marks their calls).
Read next: `modes.py`, whose contexts are similar.

Without a scope, nothing is recorded for scopes: entering one exchanges the function
that records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from microgradnd.failures import explained
from microgradnd.lines import user_line
from microgradnd.modes import Recording
from microgradnd.tape import Mode, Operation, next_position


class scope(Recording):
    """Name the operations recorded while it is entered, for pictures and tables.

    Parameters
    ----------
    name : str
        The name. Scopes can be nested, also inside calls of modules.
    lines : bool
        Whether to note the line of the user's code for each operation, which takes
        longer than recording it.

    Raises
    ------
    TypeError
        If the name isn't a string.

    See Also
    --------
    viz.draw : shows scopes.
    viz.profile : shows the time of each scope.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.viz.graph import graph
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> with mg.scope("energy"):
    ...     energy = np.sum(w**2)
    >>> nodes = [node for node in graph(energy).nodes if node.kind == "operation"]
    >>> [(node.text, node.scope) for node in nodes]
    [('x²', ('energy',)), ('Σ', ('energy',))]
    """

    @explained
    def __init__(self, name: str, lines: bool = False) -> None:
        if not isinstance(name, str):
            raise TypeError(f"mg.scope: name must be a string, the name of a part of the computation, got {name!r}")
        self.name = name
        self.lines = lines

    def changed(self, mode: Mode) -> Mode:
        if mode.record is None:
            return mode
        return mode._replace(record=Marking(mode.record, (next_position(), None, self.name), self.lines))


class Marking:
    """Records as another function does, and marks each operation.

    In nested scopes, the innermost adds the marks of all.
    """

    __slots__ = ("lines", "marks", "record")

    @explained
    def __init__(self, record: Callable[..., Operation], mark: tuple[int, Any, str], lines: bool) -> None:
        self.marks: tuple[tuple[int, Any, str], ...] = (mark,)
        self.record = record
        self.lines = lines
        if isinstance(record, Marking):
            self.marks = (*record.marks, mark)
            self.record = record.record
            self.lines = lines or record.lines

    def __call__(self, *call: Any) -> Operation:
        node = self.record(*call)
        note = node.annotate()
        note.marks += self.marks
        if self.lines and note.line is None:
            note.line = user_line()
        return node
