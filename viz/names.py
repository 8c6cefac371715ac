"""The names of values in the text of a rule: `relu.T @ g`.

Owns: the names that rules show for operands.
Must not own: the rules (`rules.py`), or the signs of operations (`signs.py`).
Read next: `graph.py`.

A value goes by its own name, or by the function that made it. A simple calculation with
such names is spelled out: `(pred - y).T @ g`. Otherwise the rule's own letter stays,
unless it names something else in the computation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from microgradnd.registry import name_of
from microgradnd.tape import Leaf, Operation
from microgradnd.viz import signs
from microgradnd.viz.record import Record

FORMS: dict[Any, str] = {
    np.add: "{} + {}",
    np.subtract: "{} - {}",
    np.multiply: "{} * {}",
    np.divide: "{} / {}",
    np.matmul: "{} @ {}",
    np.power: "{}**{}",
    np.square: "{}**2",
}
LONGEST = 24  # characters of a name, or of a calculation that is spelled out
SUBSCRIPT = "₁₂₃₄₅₆₇₈₉"


def short(name: str | None) -> str:
    """Return a name without its module's path, in quotes unless it is one word.

    Examples
    --------
    >>> from microgradnd.viz.names import short
    >>> short("encoder.0.weight"), short("two words"), short(None)
    ('weight', "'two words'", '')
    """
    if not name:
        return ""
    last = name.rpartition(".")[2] if re.fullmatch(r"[\w.]+", name) else name
    last = last if last and not last.isdecimal() else name
    last = last if len(last) <= LONGEST else last[: LONGEST - 1] + "…"
    is_word = re.fullmatch(r"[^\W\d][\w.]*…?", last) and last not in ("g", "out")
    return last if is_word else f"'{last}'"


class Names:
    """The names of all values of a computation.

    Parameters
    ----------
    record : Record
    """

    def __init__(self, record: Record) -> None:
        nodes: list[Leaf | Operation] = [*record.leaf_ids, *record.operations]
        self.taken = {short(node.name) for node in nodes if node.name}
        self.known: dict[Any, str] = {}

    def of(self, node: Leaf | Operation, depth: int = 1) -> str:
        """Return the name of a value; empty if neither it nor its operation has one."""
        if node.name:
            return short(node.name)
        if not isinstance(node, Operation):
            return ""
        if depth and node.function in (*FORMS, np.negative):
            args = node.args or (None,) * len(node.parents)
            sides = [self.operand(parent, arg, 0) for parent, arg in zip(node.parents, args, strict=True)]
            text = FORMS.get(node.function, "-{}").format(*sides)
            return text if all(sides) and len(text) <= LONGEST else ""
        if node.function in FORMS:
            return ""
        word = name_of(node.function)
        return word if word.isidentifier() and node.function not in signs.UNNAMED else ""

    def operand(self, parent: Leaf | Operation | None, arg: Any, depth: int = 1) -> str:
        """Return the name of an operand; a constant number is its own name."""
        if parent is None:
            return "" if arg is None or signs.is_array(arg) else signs.brief(arg)
        if parent not in self.known or not depth:
            name = self.of(parent, depth)
            if not depth:
                return name
            self.known[parent] = name
        return self.known[parent]

    def in_rule(self, node: Operation, letters: Sequence[str]) -> dict[str, str]:
        """Return the name that replaces each letter of a rule."""
        args = node.args or (None,) * len(node.parents)
        found: dict[str, str] = {}
        owners: dict[str, list[Any]] = {}
        for letter, parent, arg in zip(letters, node.parents, args, strict=False):
            name = self.operand(parent, arg)
            if not name and letter in self.taken:
                name = name_of(parent.function) if isinstance(parent, Operation) else "const" if parent is None else ""
                name = name or ("parameter" if parent.requires_grad else "input")
            found[letter] = name or letter
            if parent is not None and parent not in (same := owners.setdefault(found[letter], [])):
                same.append(parent)
                if len(same) > 1 and len(same) <= len(SUBSCRIPT):
                    found[letter] += SUBSCRIPT[len(same) - 1]
        return found | {key: signs.brief(value) for key, value in node.kwargs.items()}
