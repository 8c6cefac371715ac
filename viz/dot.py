"""How a graph looks: the model as text in the DOT language.

Owns: shapes, colours, lines, and the arrangement of the picture.
Must not own: the walk over the tape (`graph.py`), the words (`labels.py`), or how DOT
becomes an image (`render.py`). It needs no other package.
Read next: `render.py`.

The colour-blind can tell the colours apart, and each has a second sign, so that black
and white shows the same: parameters are rounded and blue, inputs have corners,
constants a dotted frame, operations are circles, a fold is a box with depth, the result
has a double orange frame. NaN and Inf are red, bold and thick, with a cross. Gradients
are brown, with open arrowheads; in the backward view, lines grow wider with the
gradient and are dotted where it is 0. Operands arrive in order, from left to right. The
text of a line is a node on it, with an opaque ground: no other line can cross it.
"""

from __future__ import annotations

import html
import math
import re
import textwrap
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

from microgradnd.viz import signs
from microgradnd.viz.labels import (
    DETAILS,
    SHOWN,
    Detail,
    Role,
    Row,
    Word,
    alarm_text,
    clean,
    edge_labels,
    is_alarming,
    node_rows,
    scope_text,
    shape_text,
    text_of,
)
from microgradnd.viz.model import DIRECTIONS, VIEWS, Direction, Edge, Graph, Node, Scope, View, nested

Attributes = dict[str, str]
FONT = "Helvetica,Arial,sans-serif"
CODE = "DejaVu Sans Mono,Menlo,Consolas,monospace"
INK, QUIET, GRADIENT, ALARM, LINE = "#1a1a1a", "#5a5a5a", "#a84a00", "#c8004b", "#6b6b6b"
Style = Literal["page", "slide"]
STYLES: tuple[Style, ...] = get_args(Style)
SLIDE: Attributes = {"size": "12,6.75!", "ratio": "fill", "nodesep": "0.15", "ranksep": "0.1", "pad": "0.1"}
TYPE = re.compile(r'\b(point-size|fontsize)="(\d+)"')
LARGER = {"9": "16", "10": "16", "11": "16", "13": "19"}  # type sizes on a page, and on a slide
GRAPH: Attributes = {
    "bgcolor": "white",
    "fontname": FONT,
    "fontsize": "9",
    "fontcolor": QUIET,
    "nodesep": "0.25",
    "ranksep": "0.18",
    "pad": "0.15",
    "outputorder": "edgesfirst",  # lines lie below labels
    "labelloc": "b",
    "labeljust": "l",
}
NODE: Attributes = {"fontname": FONT, "fontsize": "11", "fontcolor": INK, "margin": "0.1,0.05", "height": "0.3"}
EDGE: Attributes = {"color": LINE, "arrowsize": "0.6", "dir": "both", "arrowtail": "none"}
LABEL: Attributes = {"class": "label", "shape": "plain", "fontsize": "9", "fontcolor": QUIET}
TABLE = '<table border="0" cellborder="0" cellspacing="0" cellpadding="0">'
LOOKS: dict[str, Attributes] = {
    "parameter": {"shape": "box", "style": "rounded,filled", "color": "#0072B2", "fillcolor": "#eaf3fa"},
    "input": {"shape": "box", "style": "filled", "color": "#6c6c6c", "fillcolor": "white"},
    "constant": {"shape": "box", "style": "filled,dotted", "color": "#6d6d6d", "fillcolor": "white"},
    "operation": {
        "shape": "ellipse",
        "style": "filled",
        "color": "#6e6e6e",
        "fillcolor": "#f2f2f2",
        "width": "0.36",
        "margin": "0.03,0",
    },
    "result": {
        "shape": "box",
        "style": "rounded,filled",
        "color": "#8f6400",
        "fillcolor": "#fdf3dd",
        "peripheries": "2",
        "penwidth": "1.5",
    },
    "fold": {"shape": "box3d", "style": "filled", "color": "#5b7f6f", "fillcolor": "#edf5f1"},
}
DARK = {  # what the colours above become on dark pages
    "white": "#17191c",
    INK: "#f0f0f0",
    QUIET: "#b4b4b4",
    GRADIENT: "#ff9d57",
    ALARM: "#ff5c9e",
    LINE: "#a8a8a8",
    "#6c6c6c": "#a8a8a8",
    "#6d6d6d": "#a8a8a8",
    "#6e6e6e": "#a8a8a8",
    "#8f6400": "#e69f00",
    "#5b7f6f": "#8fb8a5",
    "#eaf3fa": "#12303f",
    "#f2f2f2": "#2c2f33",
    "#fdf3dd": "#3b2d0d",
    "#edf5f1": "#1d332a",
    "#fafafa": "#1d2024",
    "#0072b2": "#56b4e9",
    "#d9d9d9": "#4a4d52",
}
CIRCLE: Attributes = {"shape": "circle", "fixedsize": "true", "width": "0.36", "height": "0.36", "margin": "0"}
CLUSTER: Attributes = {
    "style": "rounded,filled",
    "color": "#d9d9d9",
    "fillcolor": "#fafafa",
    "fontsize": "10",
    "fontcolor": QUIET,
    "labeljust": "l",
    "labelloc": "t",
}
SIDES = {
    "TB": ("nw", "ne"),
    "LR": ("nw", "sw"),
    "BT": ("sw", "se"),
    "RL": ("ne", "se"),
}  # where x and y in x - y arrive
SMALL = 9
WIDEST, NARROWEST, FADING = 3.6, 0.7, 0.6  # points: line widths, and the decrease for each power of ten
ROLES: dict[Role, dict[str, Any]] = {
    "name": {"bold": True},
    "text": {},
    "result": {"bold": True},
    "shape": {"color": QUIET},
    "note": {"color": QUIET, "size": SMALL},
    "values": {"color": QUIET, "size": SMALL},
    "grad": {"color": GRADIENT, "size": SMALL},
    "rule": {"color": GRADIENT, "size": SMALL},
    "alarm": {"color": ALARM, "size": SMALL, "bold": True},
}
REACH, LEAF_REACH = 40, 12  # rows: a residual connection is worth a line, the tenth use of a weight isn't
LONGEST_ID = 80
LONGEST_ROW = 38  # characters of a label on a slide, which is wide
LINE_WIDTH = 100  # characters of the sentences below a picture


class Look(NamedTuple):
    """How a graph is drawn; the attributes are the options of `draw`."""

    view: View = "forward"
    show: Collection[Detail] = SHOWN
    rankdir: Direction = "TB"
    style: Style = "page"


def checked(
    view: View = "forward",
    show: Collection[Detail] | None = None,
    rankdir: Direction | None = None,
    style: Style = "page",
) -> Look:
    """Return how to draw a graph, or raise if an option makes no sense."""
    if show is None:
        show = ("shapes", "numbers", "rules") if style == "slide" else SHOWN
    look = Look(view, [*((show,) if isinstance(show, str) else show)], rankdir or "TB", style)
    for name, given, known in (
        ("rankdir", [look.rankdir], DIRECTIONS),
        ("view", [look.view], VIEWS),
        ("style", [look.style], STYLES),
        ("show", look.show, DETAILS),
    ):
        if wrong := [value for value in given if value not in known]:
            of = "made of" if name == "show" else "one of"
            raise ValueError(f"{name} must be {of} {', '.join(known)}, got {wrong[0]!r}")
    return look


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
    """Return escaped text for an HTML-like label, without empty elements."""
    if not text:
        return ""
    result = html.escape(text).replace("\\", "<font>&#92;</font>")  # Graphviz replaces \\N with the node's id
    if bold:
        result = f"<b>{result}</b>"
    marks = (f' color="{color}"' if color else "") + (f' point-size="{size}"' if size else "")
    return f"<font{marks}>{result}</font>" if marks else result


class Statement(NamedTuple):
    """A line of DOT.

    Attributes
    ----------
    subject : str
        `graph`, the id of a node, or `a -> b`.
    attributes : dict of str to str
        A label that starts with `<` is HTML-like.
    ends : tuple of (str, str)
        For a line in the picture, or the label on it, the nodes that the line connects;
        for another node, its id twice.
    """

    subject: str
    attributes: Attributes
    ends: tuple[str, str] = ("", "")

    def __str__(self) -> str:
        parts = (f"{key}={v if key == 'label' and v[:1] == '<' else quoted(v)}" for key, v in self.attributes.items())
        return f"\t{self.subject} [{', '.join(parts)}]\n"

    def changed(self, attributes: Attributes) -> Statement:
        """Return this line with other attributes, besides its own."""
        return self._replace(attributes=self.attributes | attributes)


Line = Statement | str  # a brace is a str


def label(rows: list[Row]) -> str:
    """Return the HTML-like label of a node."""
    return f"<{'<br/>'.join('  '.join(map(worded, row)) for row in rows)}>"


def label_on_line(rows: list[Row], ground: str) -> str:
    """Return the HTML-like label of a line, each row on an opaque ground."""
    cells = []
    for first, *others in rows:
        *before, last = [Word(f"\xa0{first.text}", first.role), *others]  # lines keep a distance
        text = " ".join(map(worded, [*before, Word(f"{last.text}\xa0", last.role)]))
        cells.append(f'<tr><td bgcolor="{ground}">{text}</td></tr>')
    return f"<{TABLE}{''.join(cells)}</table>>"


def worded(word: Word) -> str:
    """Return a word in the font, size and colour of its role."""
    look = ROLES[word.role]
    text = styled(word.text, **look)
    return f'<font face="{CODE}">{text}</font>' if word.role == "rule" else text


def node_statement(node: Node, look: Look) -> Statement:
    """Return the line of DOT that draws a node."""
    drawn, rows = dict(LOOKS[node.kind]), arranged(node_rows(node, look.view, look.show), look)
    is_back = look.view == "backward"
    if look.style == "slide" and node.kind == "operation":
        rows = rows[:1]  # without options that need another row
    if not is_back or node.function in signs.IN_ORDER:
        drawn["ordering"] = "out" if is_back else "in"  # operands stand in their order
    if node.kind == "operation" and is_back:
        drawn |= {"shape": "box", "style": "rounded,filled", "margin": "0.1,0.03"}
    elif node.kind == "operation" and len(clean(node.text)) <= 2:
        drawn |= {"fontsize": "13"} | (CIRCLE if len(rows) == 1 else {})
    if is_alarming(node):
        drawn |= {"color": ALARM, "penwidth": "2.5"}
    id = quoted_id(node.id)
    return Statement(id, drawn | {"label": label(rows), "tooltip": _tooltip(node)}, (id, id))


def _tooltip(node: Node) -> str:
    what = node.function if node.kind == "operation" else node.kind
    where = f"{node.line[0]}:{node.line[1]}" if node.line else ""
    scope = node.scope[-1] if node.scope else ""
    shape = "" if node.shape is None else str(node.shape)
    words = (what or "", clean(node.name or "", 200), shape, node.dtype or "", scope, where)
    return clean(" ".join(filter(None, words)), 400)


def tag_statement(id: str, source: Node) -> Statement:
    """Return the line of DOT for a tag, which stands for a distant node."""
    look = dict(LOOKS[source.kind])
    look["style"] = f"{look['style'].removesuffix(',filled')},dashed".removeprefix("filled,")
    words = clean(source.name or source.text) or shape_text(source.shape, source.dtype) or "…"
    if source.kind not in ("parameter", "input") and source.shape:
        words += f" {source.shape}"
    look |= {"margin": "0.05,0.02", "width": "0.3", "label": f"<{styled(words, size=SMALL)}>"}
    return Statement(id, look | {"tooltip": _tooltip(source)}, (id, id))


def width(norm: float, largest: float) -> float:
    """Return the width of a line for the norm of its gradient and the largest norm.

    Examples
    --------
    >>> from microgradnd.viz.dot import width
    >>> width(5.0, 5.0), round(width(0.05, 5.0), 2), width(1e-30, 5.0)
    (3.6, 2.4, 0.7)
    """
    if not 0 < norm < math.inf:
        return NARROWEST
    return max(WIDEST + FADING * math.log10(norm / largest), NARROWEST)


def largest_norm(graph: Graph) -> float:
    """Return the norm of the largest gradient on an edge; 0 if there is none."""
    norms = (edge.grad.norm for edge in graph.edges if edge.grad is not None)
    return max((norm for norm in norms if math.isfinite(norm)), default=0.0)


def edge_look(edge: Edge, source: Node, view: View, largest: float = 0.0) -> Attributes:
    """Return the look of a line; `largest` is the largest norm in the picture."""
    look: Attributes = {}
    if view == "backward":
        look["color"] = GRADIENT
        if edge.grad is not None and largest:
            look["penwidth"] = f"{width(edge.grad.norm, largest):.2g}"
        if edge.summed:
            look["style"] = "dashed"
        if edge.grad is not None and edge.grad.norm == 0:
            look["style"] = "dotted"
    elif view == "both" and edge.flows:
        look["color"] = f"{LINE}:{GRADIENT}"
    if edge.carried:
        look["style"] = "dashed"
    if alarm_text(edge.grad if view == "backward" else source.values):
        look |= {"color": ALARM, "penwidth": "2.5"}
    return look


def label_id(edge: Edge) -> str:
    """Return the id of the label on an edge."""
    return quoted_id(f"{edge.source}_to_{edge.target}_{edge.position}{'_next' if edge.carried else ''}")


def line_statements(
    edge: Edge, start: str, label: str, end: str, look: Attributes, view: View
) -> Iterator[tuple[str, Attributes]]:
    """Return subject and attributes of an edge in DOT, of two parts with a label.

    Its direction in the layout is that of the computation, or in the backward view that
    of the gradients; an edge to the next copy of a scope points against it.
    """
    at_start = "onormal" if view == "backward" or (view == "both" and edge.flows) else "none"
    at_end = "none" if view == "backward" else "normal"
    if (view == "backward") != edge.carried:
        start, at_start, end, at_end = end, at_end, start, at_start
    if not label:
        yield f"{start} -> {end}", look | {"minlen": "2", "arrowtail": at_start, "arrowhead": at_end}
        return
    yield f"{start} -> {label}", look | {"arrowtail": at_start, "arrowhead": "none", "headclip": "false"}
    yield f"{label} -> {end}", look | {"arrowhead": at_end, "tailclip": "false"}


def tagged(graph: Graph) -> set[tuple[str, str]]:
    """Return the pairs of source and target that are too far apart for a line.

    Long lines make a picture hard to read and the layout very slow: 200 uses of one
    weight took minutes. The lines from a node, the shortest first, may together span
    `REACH` rows; the others start from a tag.
    """
    targets: dict[str, set[str]] = {node.id: set() for node in graph.nodes}
    for edge in graph.edges:
        if not edge.carried:
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


def turned(graph: Graph, labels: list[list[Row]]) -> tuple[Graph, list[list[Row]]]:
    """Return the part that the backward pass visits, and the texts on its edges."""
    order = {node.id: i for i, node in enumerate(graph.nodes)}
    flowing = [pair for pair in zip(graph.edges, labels, strict=True) if pair[0].flows]
    flowing.sort(key=lambda pair: (-order[pair[0].target], pair[0].position))
    ids = {id for edge, _ in flowing for id in (edge.source, edge.target)}
    nodes = [node for node in reversed(graph.nodes) if node.id in ids]
    return replace(graph, nodes=nodes, edges=[edge for edge, _ in flowing]), [rows for _, rows in flowing]


def frames_of(graph: Graph, look: Look) -> dict[str, tuple[str, ...]]:
    """Return the framed scopes of each node.

    A one-operation module has no frame, except on a page for its parameters.
    """
    holding = {id for node in graph.nodes if node.kind == "parameter" and look.style == "page" for id in node.scope}
    holding.update(id for id, s in graph.scopes.items() if s.kind != "module" or s.operations > 1 or s.repeat > 1)
    return {node.id: tuple(id for id in node.scope if id in holding) for node in graph.nodes}


def body(graph: Graph, look: Look) -> Iterator[Line]:
    """Return the lines of DOT between the braces: nodes by scope, then edges."""
    if look.style == "page":
        yield from _body(graph, look)
        return
    for line in _body(replace(graph, notes=[" ".join(graph.notes)]), look):
        yield TYPE.sub(lambda found: f'{found[1]}="{LARGER[found[2]]}"', str(line))


def arranged(rows: list[Row], look: Look) -> list[Row]:
    """Return the rows of a label; on a slide, which is wide, they are joined."""
    found: list[Row] = []
    for row in rows:
        if look.style == "slide" and found and len(text_of(found[-1])) + len(text_of(row)) < LONGEST_ROW:
            found[-1] = [*found[-1], *row]
        else:
            found.append(row)
    return found


def _body(graph: Graph, look: Look) -> Iterator[Line]:
    labels = edge_labels(graph, look.view, look.show)
    if any(graph.notes):
        notes = "".join(f'{styled(line)}<br align="left"/>' for line in below(graph.notes))
        yield Statement("graph", {"label": f"<{notes}>"})
    tags = {(source, target): quoted_id(f"{source}_for_{target}") for source, target in tagged(graph)}
    is_back = look.view == "backward"
    if is_back:
        graph, labels = turned(graph, labels)
    by_id = {node.id: node for node in graph.nodes}
    frames = frames_of(graph, look)
    nodes = [(frames[node.id], node_statement(node, look)) for node in graph.nodes]
    far = [pair for pair in dict.fromkeys((edge.source, edge.target) for edge in graph.edges) if pair in tags]
    nodes += [(frames[target], tag_statement(tags[source, target], by_id[source])) for source, target in far]
    lines: list[Statement] = []
    arriving = Counter(edge.target for edge in graph.edges)
    largest = largest_norm(graph)
    for edge, rows in zip(graph.edges, labels, strict=True):
        start, end = ends = tags.get((edge.source, edge.target)) or quoted_id(edge.source), quoted_id(edge.target)
        if rows:
            ground = CLUSTER["fillcolor"] if frames[edge.target] else "white"
            said = LABEL | {"label": label_on_line(arranged(rows, look), ground)}
            nodes.append((frames[edge.target], Statement(label_id(edge), said, ends)))
        if not is_back and by_id[edge.target].function in signs.IN_ORDER and arriving[edge.target] == 2:
            end += f":{SIDES[look.rankdir][edge.position > 0]}"
        drawn = edge_look(edge, by_id[edge.source], look.view, largest)
        parts = line_statements(edge, start, label_id(edge) if rows else "", end, drawn, look.view)
        lines += [Statement(*part, ends) for part in parts]
    yield from clusters(nodes, graph.scopes)
    yield from lines


def clusters(nodes: Iterable[tuple[tuple[str, ...], Statement]], scopes: dict[str, Scope]) -> Iterator[Line]:
    """Return the lines of DOT with nested frames around the nodes of each scope."""
    order = {id: place for place, id in enumerate(scopes)}
    count = 0
    for chain, thing in nested(nodes, scopes, lambda thing: order[thing.id] if isinstance(thing, Scope) else -1):
        if isinstance(thing, Scope):
            count += 1
            title = styled(scope_text(thing, scopes[chain[-1]].path if chain else ""), thing.repeat > 1)
            yield f"\tsubgraph cluster_{count} {{\n"
            yield Statement("graph", {"label": f"<{title}>", **CLUSTER})
        else:
            yield "\t}\n" if thing is None else thing


def below(notes: list[str]) -> list[str]:
    """Return the notes below a picture, wrapped."""
    return [line for note in notes for line in textwrap.wrap(clean(note, 4 * LINE_WIDTH), LINE_WIDTH)]


def quoted_id(id: str) -> str:
    """Return the id of a node for DOT: quoted if needed; a long one is cut and hashed.

    Examples
    --------
    >>> from microgradnd.viz.dot import quoted_id
    >>> quoted_id("n1"), quoted_id("blocks.0"), len(quoted_id("x" * 10_000))
    ('n1', '"blocks.0"', 91)
    """
    if id.isidentifier() and id.isascii() and len(id) <= LONGEST_ID:
        return id
    name = clean(id, LONGEST_ID)
    return quoted(name if name == id else f"{name} {zlib.crc32(id.encode(errors='surrogatepass')):08x}")


def defaults(rankdir: Direction = "TB", style: Style = "page") -> tuple[Attributes, Attributes, Attributes]:
    """Return the default attributes of the graph, its nodes and its edges."""
    graph = GRAPH | {"rankdir": rankdir}
    if style == "slide":
        large = {"fontsize": LARGER[NODE["fontsize"]]}
        return graph | large | SLIDE, NODE | large, EDGE | {"penwidth": "1.5"}
    return graph, NODE, EDGE


def text(lines: Iterable[Line], look: Look) -> str:
    """Return the lines of `body` as a program in the DOT language.

    Parameters
    ----------
    lines : iterable of Statement or str
    look : Look

    Returns
    -------
    str

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd.viz import dot
    >>> from microgradnd.viz.graph import graph
    >>> x = mg.tensor(3.0, requires_grad=True, name="x")
    >>> look = dot.Look("forward", rankdir="LR")
    >>> for line in dot.text(dot.body(graph(2 * x + 1), look), look).splitlines():
    ...     if "->" in line:
    ...         print(line.strip().partition(" [")[0])
    n0 -> n1
    n1 -> n1_to_n2_0
    n1_to_n2_0 -> n2
    n2 -> result
    """
    usual = zip(("graph", "node", "edge"), defaults(look.rankdir, look.style), strict=True)
    return "".join(map(str, ("digraph {\n", *(Statement(*both) for both in usual), *lines, "}\n")))
