"""How a graph looks: the model as text in the DOT language.

Owns: shapes, colours, words and numbers in the picture, and the escaping of whatever users call their tensors.
Must not own: the walk over the tape (`graph.py`), or how DOT becomes an image (`render.py`). Needs no other package.
Read next: `render.py`.

The colours are Okabe and Ito's, which the colour-blind can tell apart, and a shape goes with each, so that a print in
black and white says the same: parameters are rounded and blue, inputs have corners, operations are circles, the result
is framed twice, in orange. What isn't finite is red, bold and thick.
"""

from __future__ import annotations

import html
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

from microgradnd.viz import signs
from microgradnd.viz.graph import Edge, Graph, Node, Values
from microgradnd.viz.signs import number

Attributes = dict[str, str]

FONT = "Helvetica,Arial,sans-serif"
INK, QUIET, GRADIENT, ALARM = "#1a1a1a", "#5a5a5a", "#a84a00", "#d00000"
GRAPH: Attributes = {"bgcolor": "white", "fontname": FONT, "nodesep": "0.3", "ranksep": "0.35", "pad": "0.15"}
NODE: Attributes = {"fontname": FONT, "fontsize": "11", "fontcolor": INK, "margin": "0.1,0.05", "height": "0.3"}
EDGE: Attributes = {"color": "#8a8a8a", "arrowsize": "0.6", "fontname": FONT, "fontsize": "9", "fontcolor": QUIET}
LOOKS: dict[str, Attributes] = {
    "parameter": {"shape": "box", "style": "rounded,filled", "color": "#0072B2", "fillcolor": "#eaf3fa"},
    "input": {"shape": "box", "style": "filled", "color": "#767676", "fillcolor": "white"},
    "operation": {
        "shape": "ellipse",
        "style": "filled",
        "color": "#9a9a9a",
        "fillcolor": "#f2f2f2",
        "width": "0.36",
        "margin": "0.03,0",
    },
    "result": {
        "shape": "box",
        "style": "rounded,filled",
        "color": "#E69F00",
        "fillcolor": "#fdf3dd",
        "peripheries": "2",
        "penwidth": "1.5",
    },
    "constant": {"shape": "box", "style": "filled,dashed", "color": "#767676", "fillcolor": "white"},
    "fold": {"shape": "box", "style": "dashed", "color": "#767676"},
}
CIRCLE: Attributes = {"shape": "circle", "fixedsize": "true", "width": "0.36", "height": "0.36", "margin": "0"}
CLUSTER: Attributes = {
    "style": "rounded,filled",
    "color": "#d9d9d9",
    "fillcolor": "#fafafa",
    "fontsize": "10",
    "fontcolor": QUIET,
    "labeljust": "l",
}
SIDES = {
    "TB": ("nw", "ne"),
    "LR": ("nw", "sw"),
    "BT": ("sw", "se"),
    "RL": ("ne", "se"),
}  # where x and y in x - y arrive
SMALL = 9
REACH, LEAF_REACH = 40, 12  # rows: a residual connection is worth seeing, the tenth use of a weight is not
LONGEST = 40  # characters of a name that are shown


def clean(text: str, longest: int = LONGEST) -> str:
    """Return a user's text on one line, of a bearable length, without characters that XML or a reader can't take.

    Examples
    --------
    >>> from microgradnd.viz.dot import clean
    >>> clean("two\\nlines \\x00"), clean("w" * 10_000, longest=10)
    ('two lines \ufffd', 'wwwwwwwww…')
    """
    text = " ".join(text[: 8 * longest].split())
    text = "".join(c if _is_printable(c) else "\ufffd" for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _is_printable(c: str) -> bool:
    # Format characters (Cf) can turn the direction of the text round; only the joiner within emoji is harmless
    return c == "\u200d" or (unicodedata.category(c) not in ("Cc", "Cf", "Cs") and ord(c) & 0xFFFE != 0xFFFE)


def quoted(text: str) -> str:
    """Return text as a string of the DOT language.

    Examples
    --------
    >>> from microgradnd.viz.dot import quoted
    >>> print(quoted('a "b"'))
    "a \\"b\\""
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def styled(text: str, bold: bool = False, color: str = "", size: int = 0) -> str:
    """Return text, escaped, as part of an HTML-like label."""
    result = html.escape(text).replace("\\", "<font>&#92;</font>")  # Graphviz takes a backslash and N for the node's id
    if bold:
        result = f"<b>{result}</b>"
    marks = (f' color="{color}"' if color else "") + (f' point-size="{size}"' if size else "")
    return f"<font{marks}>{result}</font>" if marks else result


def statement(subject: str, attributes: Attributes) -> str:
    """Return a line of DOT; a label that starts with `<` is HTML-like, anything else is quoted."""
    parts = (f"{key}={v if key == 'label' and v[:1] == '<' else quoted(v)}" for key, v in attributes.items())
    return f"\t{subject} [{', '.join(parts)}]\n"


def shape_text(shape: tuple[int, ...] | None, dtype: str | None) -> str:
    """Return a shape, and the dtype where it isn't NumPy's default: `(100, 3)`, `(5,) float32`.

    Examples
    --------
    >>> from microgradnd.viz.dot import shape_text
    >>> shape_text((100, 3), "float64"), shape_text((5,), "float32"), shape_text((), "float64")
    ('(100, 3)', '(5,) float32', '')
    """
    parts = (str(shape) if shape else "", "" if dtype == "float64" else dtype or "")
    return " ".join(filter(None, parts))


def elements_text(elements: Any) -> str:
    """Return numbers in nested brackets, in four digits each."""
    if isinstance(elements, list):
        return f"[{', '.join(map(elements_text, elements))}]"
    return number(elements)


def values_text(values: Values) -> str:
    """Return the numbers of an array in a few words: in full, or their range and mean.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.dot import values_text
    >>> from microgradnd.viz.graph import values_of
    >>> values_text(values_of(np.array([1.0, 0.5]))), values_text(values_of(np.arange(9.0)))
    ('[1, 0.5]', 'min 0  mean 4  max 8')
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


def grad_text(grad: Values) -> str:
    """Return a gradient in a few words: in full, or its norm."""
    if grad.elements is not None:
        return f"grad {elements_text(grad.elements)}"
    return f"grad {alarm_text(grad)}" if alarm_text(grad) else f"‖grad‖ {number(grad.norm)}"


def alarm_text(values: Values | None) -> str:
    """Return how many numbers aren't finite; nothing where all are."""
    if values is None or not (values.nan or values.inf):
        return ""
    counts = [f"{count} {word}" for count, word in ((values.nan, "NaN"), (values.inf, "Inf")) if count]
    return f"{', '.join(counts)} of {values.size}"


def is_alarming(node: Node) -> bool:
    """Return whether there is a NaN or Inf among a node's numbers, or those of its gradient."""
    return bool(alarm_text(node.values) or alarm_text(node.grad))


def _small(text: str, values: Values, color: str) -> str:
    alarming = bool(alarm_text(values))
    return styled(text, alarming, ALARM if alarming else color, SMALL)


def box_label(node: Node) -> str:
    """Return the label of a leaf or a result: name and shape, numbers, gradient, one below the other."""
    name, shape = clean(node.name or ""), shape_text(node.shape, node.dtype)
    title = "  ".join(filter(None, (name and styled(name, True), shape and styled(shape, not name, name and QUIET))))
    rows = [title] if title else []
    if node.shape is None:
        rows.append(styled("constant", color=QUIET))  # `backward()` has let go of it
    if node.values is not None:
        text = values_text(node.values)
        if node.kind == "result" and node.values.elements is not None:
            rows.append(styled(text, True, ALARM if alarm_text(node.values) else ""))
        else:
            rows.append(_small(text, node.values, QUIET if title else INK))
    if node.grad is not None:
        rows.append(_small(grad_text(node.grad), node.grad, GRADIENT))
    return f"<{'<br/>'.join(rows)}>"


def edge_label(source: Node) -> str:
    """Return the label of the edges that leave an operation: the name, shape, and small values of what it made."""
    name, shape = clean(source.name or ""), shape_text(source.shape, source.dtype)
    parts = [styled(name, True, INK)] if name else []
    if shape:
        parts.append(styled(shape))
    if source.values is not None and (source.values.elements is not None or alarm_text(source.values)):
        parts.append(("= " if name and not shape else "") + _small(values_text(source.values), source.values, QUIET))
    rows = [" ".join(parts)] if parts else []
    if source.grad is not None:
        rows.append(_small(grad_text(source.grad), source.grad, GRADIENT))
    space = "&#160;"  # the text would touch the edge
    return f"<{'<br/>'.join(space + row + space for row in rows)}>" if rows else ""


def node_statement(node: Node, left_out: int = 0) -> str:
    """Return the line of DOT that draws a node."""
    look = dict(LOOKS[node.kind])
    if node.kind == "operation":
        text, detail = clean(node.text), clean(node.detail)
        if len(text) <= 2:
            look["fontsize"] = "13"
            if not detail:
                look |= CIRCLE
        label = f"<{styled(text)}{detail and f'<br/>{styled(detail, color=QUIET, size=SMALL)}'}>"
    elif node.kind == "fold":
        label = f"<{styled(f'… {left_out:,} older nodes, not drawn', color=QUIET)}>"
    else:
        label = box_label(node)
    if is_alarming(node):
        look |= {"color": ALARM, "penwidth": "2.5"}
    return statement(node.id, look | {"label": label, "tooltip": _tooltip(node)})


def _tooltip(node: Node) -> str:
    what = node.function if node.kind == "operation" else node.kind
    words = (what or "", clean(node.name or "", 200), "" if node.shape is None else str(node.shape), node.dtype or "")
    return " ".join(filter(None, words)) if node.kind != "fold" else "older nodes"


def tag_statement(id: str, source: Node) -> str:
    """Return the line of DOT that draws a tag: it stands for a node that is far away."""
    look = dict(LOOKS[source.kind])
    look["style"] = f"{look['style'].removesuffix(',filled')},dashed".removeprefix("filled,")
    words = clean(source.name or source.text) or shape_text(source.shape, source.dtype) or "…"
    if source.kind not in ("parameter", "input") and source.shape:
        words += f" {source.shape}"
    look |= {"margin": "0.05,0.02", "label": f"<{styled(words, size=SMALL)}>", "tooltip": _tooltip(source)}
    return statement(id, look)


def edge_statement(start: str, edge: Edge, source: Node, labelled: bool = True, side: str = "") -> str:
    """Return the line of DOT that draws an edge, from `source` or from a tag that stands for it, to a side."""
    look: Attributes = {}
    if source.kind == "fold":
        look["style"] = "dashed"
    if alarm_text(source.values):
        look["color"] = ALARM
    if labelled and source.kind == "operation" and (label := edge_label(source)):
        look["label"] = label
    line = f"{start} -> {edge.target}{side and ':' + side}"
    return statement(line, look) if look else f"\t{line}\n"


def tagged(graph: Graph) -> set[tuple[str, str]]:
    """Return the pairs of source and target that are too far apart for a line between them.

    Long lines make a picture hard to read, and the layout slow beyond bearing: 200 uses of one weight took minutes.
    The lines that leave a node, the shortest first, may be so many rows long together; the others start from a tag.
    """
    targets: dict[str, set[str]] = {node.id: set() for node in graph.nodes}
    for edge in graph.edges:
        targets[edge.source].add(edge.target)
    row: dict[str, int] = {}  # counted upwards from the result
    for node in reversed(graph.nodes):
        row[node.id] = 1 + max((row[target] for target in targets[node.id]), default=0)
    far: set[tuple[str, str]] = set()
    for node in graph.nodes:
        reach = REACH if node.kind == "operation" else LEAF_REACH
        for target in sorted(targets[node.id], key=lambda target: (-row[target], target)):
            reach -= row[node.id] - row[target]
            if reach < 0:
                far.add((node.id, target))
    return far


def body(graph: Graph, rankdir: str = "TB") -> Iterator[str]:
    """Return the lines of DOT between the braces: the nodes, module by module, and the edges."""
    by_id = {node.id: node for node in graph.nodes}
    tags = {(source, target): f"{source}_for_{target}" for source, target in tagged(graph)}
    modules: dict[tuple[str, ...], list[str]] = {}
    for node in graph.nodes:
        for depth in range(len(node.scope) + 1):
            modules.setdefault(node.scope[:depth], [])
        modules[node.scope].append(node_statement(node, graph.left_out))
    for edge in graph.edges:
        if tag := tags.get((edge.source, edge.target)):
            line = tag_statement(tag, by_id[edge.source])
            if line not in (members := modules[by_id[edge.target].scope]):
                members.append(line)
    open_: tuple[str, ...] = ()
    for count, scope in enumerate(sorted(modules)):  # an outer module comes before the modules within it
        while open_ != scope[: len(open_)]:
            open_ = open_[:-1]
            yield "\t}\n"
        if scope:
            open_ = scope
            yield f"\tsubgraph cluster_{count} {{\n"
            yield statement("graph", {"label": f"<{styled(clean(scope[-1]))}>", **CLUSTER})
        yield from modules[scope]
    yield "\t}\n" * len(open_)
    said: set[tuple[str, str]] = set()
    lines = Counter(edge.target for edge in graph.edges)
    for edge in graph.edges:
        ends = (edge.source, edge.target)
        labelled = ends not in said and edge.target != "result"  # x * x has two edges; the result says it in its box
        has_order = by_id[edge.target].function in signs.IN_ORDER and lines[edge.target] == 2
        side = SIDES[rankdir][edge.position > 0] if has_order else ""
        yield edge_statement(tags.get(ends, edge.source), edge, by_id[edge.source], labelled, side)
        said.add(ends)


def text(graph: Graph, rankdir: str = "TB") -> str:
    """Return a graph as a program in the DOT language.

    Parameters
    ----------
    graph : Graph
    rankdir : str
        Which way the computation runs: "TB" (from top to bottom), "LR", "BT" or "RL".

    Returns
    -------
    str

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd.viz import dot
    >>> from microgradnd.viz.graph import graph
    >>> x = mg.tensor(3.0, requires_grad=True, name="x")
    >>> for line in dot.text(graph(2 * x + 1)).splitlines():
    ...     if "->" in line:
    ...         print(line.strip())
    n0 -> n1
    n1 -> n2 [label=<&#160;<font color="#5a5a5a" point-size="9">6</font>&#160;>]
    n2 -> result
    """
    defaults = (statement(*both) for both in (("graph", GRAPH | {"rankdir": rankdir}), ("node", NODE), ("edge", EDGE)))
    return "".join(("digraph {\n", *defaults, *body(graph, rankdir), "}\n"))
