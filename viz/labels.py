"""The words and numbers in a picture: the texts of nodes and edges.

Owns: how names, shapes, values and gradients are written, where each stands, and the
cleaning of users' names.
Must not own: their looks (`dot.py`, `exchange.py`).
Read next: `dot.py`.

`node_rows` and `edge_labels` return rows of words, each with a role: DOT gives each
role a font and a colour; Mermaid and JSON take the text.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple, get_args

from microgradnd.viz.model import Edge, Graph, Node, Scope, View
from microgradnd.viz.signs import number
from microgradnd.viz.values import Values

Detail = Literal["shapes", "dtypes", "values", "numbers", "gradients", "rules", "lines", "memory"]
Role = Literal["name", "text", "result", "shape", "note", "values", "grad", "rule", "alarm"]

DETAILS: tuple[Detail, ...] = get_args(Detail)
SHOWN: tuple[Detail, ...] = ("shapes", "values", "gradients", "rules")
NEXT = "next"  # on an edge to the next copy of a repeated scope
ALARM_SIGN = "✗ "
LONGEST_RULE, SHORT_RULE = 56, 18  # characters: the most of a rule, and of a rule that shares a row with its numbers
LONGEST = 40  # characters of a name


def clean(text: str, longest: int = LONGEST) -> str:
    """Return a user's text on one short line, without characters that XML forbids.

    Examples
    --------
    >>> from microgradnd.viz.labels import clean
    >>> clean("two\\nlines \\x00"), clean("w" * 10_000, longest=10)
    ('two lines \ufffd', 'wwwwwwwww…')
    """
    text = " ".join(text[: 8 * longest].split())
    text = "".join(c if _is_printable(c) else "\ufffd" for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _is_printable(c: str) -> bool:
    # Format characters (Cf) can reverse the direction of the text; only the joiner
    # within emoji is harmless
    return c == "\u200d" or (unicodedata.category(c) not in ("Cc", "Cf", "Cs") and ord(c) & 0xFFFE != 0xFFFE)


def shape_text(shape: tuple[int, ...] | None, dtype: str | None, always: bool = False) -> str:
    """Return a shape, with its dtype unless that is float64: `(5,) float32`.

    Examples
    --------
    >>> from microgradnd.viz.labels import shape_text
    >>> shape_text((100, 3), "float64"), shape_text((5,), "float32")
    ('(100, 3)', '(5,) float32')
    """
    parts = (str(shape) if shape else "", dtype or "" if always or dtype != "float64" else "")
    return " ".join(filter(None, parts))


def elements_text(elements: Any) -> str:
    """Return numbers in nested brackets, with four digits each."""
    if isinstance(elements, list):
        return f"[{', '.join(map(elements_text, elements))}]"
    return number(elements)


def values_text(values: Values) -> str:
    """Return the numbers of an array as a short text: in full, or range and mean.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.labels import values_text
    >>> from microgradnd.viz.values import values_of
    >>> values_text(values_of(np.array([1.0, 0.5])))
    '[1, 0.5]'
    >>> values_text(values_of(np.arange(9.0)))
    'min 0  mean 4  max 8'
    """
    if values.elements is not None:
        return elements_text(values.elements)
    if alarm := alarm_text(values):
        return alarm
    if values.lowest is None or values.highest is None or values.mean is None:
        return f"‖·‖ {number(values.norm)}" if values.size else "empty"
    if values.lowest == values.highest:
        return f"all {number(values.lowest)}"
    low, mean, high = (number(value, 3) for value in (values.lowest, values.mean, values.highest))
    return f"min {low}  mean {mean}  max {high}"


def grad_text(grad: Values, last_norm: float | None = None) -> str:
    """Return a gradient as a short text: in full, or its norms."""
    if last_norm is not None:
        return f"‖grad‖ {number(grad.norm)} … {number(last_norm)}"
    if grad.elements is not None:
        return f"grad {elements_text(grad.elements)}"
    return f"grad {alarm_text(grad)}" if alarm_text(grad) else f"‖grad‖ {number(grad.norm)}"


def alarm_text(values: Values | None) -> str:
    """Return how many numbers aren't finite; empty if all are."""
    if values is None or not (values.nan or values.inf):
        return ""
    counts = [f"{count} {word}" for count, word in ((values.nan, "NaN"), (values.inf, "Inf")) if count]
    return f"{', '.join(counts)} of {values.size}"


def active_text(values: Values | None) -> str:
    """Return the share of numbers that aren't 0, as for the output of a ReLU.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.labels import active_text
    >>> from microgradnd.viz.values import values_of
    >>> active_text(values_of(np.array([0.0, 3.0, 0.0, 0.5, 2.0])))
    '60% active'
    """
    if values is None or not values.size:
        return ""
    return f"{100 * (1 - values.zeros / values.size):.0f}% active"


def scope_text(scope: Scope, outer: str = "") -> str:
    """Return the title of a scope: its path in the outer one, label, and copies.

    Examples
    --------
    >>> from microgradnd.viz.model import Scope
    >>> from microgradnd.viz.labels import scope_text
    >>> scope_text(Scope("blocks.0", "", "module", "blocks.0", "Block", 6, "blocks.5"))
    'blocks.0 … blocks.5 · Block ×6'
    """
    first, last = (clean(path.removeprefix(f"{outer}.")) for path in (scope.path, scope.last))
    path = first if last == first else f"{first} … {last}"
    label = "" if scope.label == scope.path else clean(scope.label)
    return repeated_text(" · ".join(filter(None, (path, label))), scope.repeat)


def repeated_text(title: str, count: int) -> str:
    """Return the title of something that stands for several copies.

    Examples
    --------
    >>> from microgradnd.viz.labels import repeated_text
    >>> repeated_text("Block", 6), repeated_text("sin, + 1", 4_000)
    ('Block ×6', '(sin, + 1) ×4,000')
    """
    if count == 1:
        return title
    return f"({title}) ×{count:,}" if ", " in title else f"{title} ×{count:,}"


def summed_text(axes: tuple[int, ...]) -> str:
    """Return the axes over which the gradient of a broadcast argument is summed.

    Examples
    --------
    >>> from microgradnd.viz.labels import summed_text
    >>> summed_text((0,)), summed_text((0, 2)), summed_text(())
    ('summed over axis 0', 'summed over axes 0, 2', '')
    """
    if not axes:
        return ""
    return f"summed over ax{'e' if len(axes) > 1 else 'i'}s {', '.join(map(str, axes))}"


# The rows of nodes and edges


class Word(NamedTuple):
    """A piece of a row.

    Attributes
    ----------
    text : str
    role : str
        "name" (the user's), "text" (the sign of an operation), "result" (the numbers of
        the result), "shape", "note" (other details), "values", "grad", "rule", or
        "alarm" (a NaN or Inf is among the numbers).
    """

    text: str
    role: Role


Row = list[Word]


def words(*pairs: tuple[str, Role]) -> list[Row]:
    """Return one row of the nonempty words, or none."""
    row = [Word(*pair) for pair in pairs if pair[0]]
    return [row] if row else []


def _numbers(text: str, values: Values, role: Role, show: Collection[str], detail: Detail, one: bool) -> list[Row]:
    """Return a row of numbers if `show` wants it, or if one isn't finite."""
    if alarm_text(values):
        return words((ALARM_SIGN + text, "alarm"))
    return words((text, role)) if detail in show or ("numbers" in show and one) else []


def is_alarming(node: Node) -> bool:
    """Return whether a node's value or gradient has a NaN or Inf."""
    return bool(alarm_text(node.values) or alarm_text(node.grad))


def called(node: Node, longest: int = LONGEST) -> str:
    """Return what a node is called in a sentence: its name, its call, or its kind."""
    return clean(node.name or " ".join(filter(None, (node.text, node.detail))) or node.kind, longest)


def seed_text(name: str | None) -> str:
    """Return the gradient with which a backward pass begins, for a result's name.

    Examples
    --------
    >>> from microgradnd.viz.labels import seed_text
    >>> seed_text("loss"), seed_text(None)
    ('∂loss/∂loss = 1', '∂result/∂result = 1')
    """
    said = clean(name or "result", 16)
    return f"∂{said}/∂{said} = 1"


def title(node: Node) -> list[Word]:
    """Return the words for what a node is, without numbers: its name, its call."""
    name, text = short_name(node), clean(node.text)
    if node.kind == "operation":
        return [Word(text, "text"), Word(clean(node.detail), "note")]
    if node.kind == "fold":
        called = [Word(text, "name")] if name in ("", text) else [Word(name, "name"), Word(text, "text")]
        return [*called, Word(clean(node.detail, 60), "note")]
    return [Word(name, "name")]


def shape_of(node: Node, show: Collection[str] = SHOWN) -> str:
    """Return a node's shape and dtype, as far as `show` wants them."""
    if "dtypes" in show:
        return shape_text(node.shape if "shapes" in show else (), node.dtype, always=True)
    return shape_text(node.shape, node.dtype) if "shapes" in show else ""


def short_name(node: Node) -> str:
    """Return a node's name without the path of its scope."""
    outer = node.scope[-1].partition("#")[0] + "." if node.scope else "."
    name = node.name or ""
    if node.kind == "fold":
        name = name.replace("… " + outer, "… ")
    return clean(name.removeprefix(outer))


def node_rows(node: Node, view: View = "forward", show: Collection[str] = SHOWN) -> list[Row]:
    """Return the text of a node, row by row.

    Examples
    --------
    >>> from microgradnd.viz.labels import node_rows
    >>> from microgradnd.viz.model import Node
    >>> node = Node("n0", "parameter", "w", shape=(3, 4), dtype="float32")
    >>> [[word.text for word in row] for row in node_rows(node)]
    [['w', '(3, 4) float32']]
    """
    rows = list(_backward_rows(node, show) if view == "backward" and node.kind != "fold" else _forward_rows(node, show))
    if "memory" in show and node.memory:
        rows += words((f"{node.memory:,} bytes", "note"))
    if "lines" in show and node.line:
        rows += words((f"{clean(node.line[0].rpartition('/')[2])}:{node.line[1]}", "note"))
    return rows


def _forward_rows(node: Node, show: Collection[str]) -> Iterator[Row]:
    shape, said = shape_of(node, show), title(node)
    if node.kind in ("operation", "fold"):
        yield from (row for word in said for row in words(word))
        if node.kind == "operation":
            return
        if alarm := alarm_text(node.values):
            yield from words((ALARM_SIGN + alarm, "alarm"))
    else:
        name = said[0].text
        row = words((name, "name"), (shape, "shape" if name else "name"))
        if node.shape is None and not name:  # `backward()` freed it
            row = words(("constant", "note"))
        yield from row
        if node.values is not None:
            role: Role = "result" if node.kind == "result" and node.values.elements is not None else "values"
            enough = show if row else {*show, "values"}  # a box isn't empty
            yield from _numbers(values_text(node.values), node.values, role, enough, "values", node.shape == ())
    yield from _grad_rows(node, show)


def _backward_rows(node: Node, show: Collection[str]) -> Iterator[Row]:
    """Yield the rows of a node in the backward view: name, shape and gradient."""
    shape = shape_of(node, show)
    if node.kind == "result":
        yield from words((seed_text(node.name), "name"))
        yield from words((shape if node.shape else "", "shape"))
        return
    if node.kind == "operation":
        yield from words((clean(node.text), "text"))
        yield from words((shape, "shape"))
    else:
        yield from words(("grad", "text"), (short_name(node), "name"), (shape, "shape"))
    yield from _grad_rows(node, show, is_title_grad=True)


def _grad_rows(node: Node, show: Collection[str], is_title_grad: bool = False) -> Iterator[Row]:
    if node.grad is not None:
        text = grad_text(node.grad, node.last_norm)
        text = text.removeprefix("grad ").replace("‖grad‖", "‖g‖") if is_title_grad else text
        yield from _numbers(text, node.grad, "grad", show, "gradients", node.shape == ())
    if node.accumulated is not None:
        text = grad_text(node.accumulated).replace("grad", "accumulated")
        yield from _numbers(text, node.accumulated, "note", show, "gradients", node.shape == ())


def value_rows(source: Node, show: Collection[str] = SHOWN) -> list[Row]:
    """Return the text on the edge from an operation: name, shape, small values."""
    if source.kind != "operation":
        return []
    name, shape, values = clean(source.name or ""), shape_of(source, show), source.values
    numbers: list[Row] = []
    if values is not None:
        text = values_text(values) if values.elements is not None or alarm_text(values) else ""
        if not text and source.function == "relu":
            text = active_text(values)
        numbers = _numbers(text, values, "values", show, "values", source.shape == ()) if text else []
    equals = "=" if name and not shape and numbers else ""
    row = words((name, "name"), (shape, "shape"), (equals, "shape"), *(numbers[0] if numbers else ()))
    return row + list(_grad_rows(source, show))


def rule_rows(edge: Edge, several: bool, show: Collection[str] = SHOWN) -> list[Row]:
    """Return the backward text on an edge: the rule, the summed axes, a part's norm.

    Parameters
    ----------
    edge : Edge
    several : bool
        Whether other edges add to the same gradient.
    show : collection of str
    """
    rows: list[Row] = []
    if "rules" in show:
        text, numbers = clean(edge.text or edge.rule, LONGEST_RULE), clean(edge.numbers, LONGEST_RULE)
        numbers = f"= {numbers}" if numbers else ""
        if len(text) + len(numbers) < SHORT_RULE:
            text, numbers = f"{text} {numbers}".rstrip(), ""
        rows += words((text, "rule"))
        rows += words((numbers, "rule"))
    rows += words((summed_text(edge.summed), "grad"))
    if edge.grad is not None and several and not (edge.numbers and rows):
        text = grad_text(edge.grad).replace("‖grad‖", "‖·‖").replace("grad", "part")
        rows += _numbers(text, edge.grad, "grad", show, "gradients", edge.grad.size == 1)
    return rows


def edge_labels(graph: Graph, view: View = "forward", show: Collection[str] = SHOWN) -> list[list[Row]]:
    """Return the text on each edge of a graph, row by row."""
    by_id = {node.id: node for node in graph.nodes}
    arriving = Counter(edge.source for edge in graph.edges if edge.flows)  # in the backward pass
    said: set[str] = set()
    found: list[list[Row]] = []
    for edge in graph.edges:
        rows: list[Row] = []
        if view != "backward" and edge.target != "result" and edge.source not in said:
            rows = value_rows(by_id[edge.source], show)
            said.add(edge.source)
        if view != "forward" and edge.flows:
            is_several = arriving[edge.source] > 1
            if edge.numbers and not is_several:
                rows = rows[:1]  # the rule says what the gradient is
            rows[1:1] = rule_rows(edge, is_several, show)
        if edge.carried and view != "backward":
            rows = [*words((NEXT, "note")), *rows]
        found.append(rows)
    return found


def text_of(row: Row) -> str:
    """Return a row as plain text."""
    return " ".join(word.text for word in row)
