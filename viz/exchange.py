"""A graph for other programs: as Mermaid, which READMEs show as a picture, and as JSON.

Owns: the two formats, and the escaping of users' names in them.
Must not own: the walk over the tape (`graph.py`), or the words in a picture
(`labels.py`). It needs no other package.
Read next: `render.py`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from microgradnd.failures import explained
from microgradnd.tensor import Tensor
from microgradnd.viz import dot
from microgradnd.viz.graph import graph
from microgradnd.viz.labels import clean, edge_labels, is_alarming, node_rows, scope_text, text_of
from microgradnd.viz.model import Direction, Edge, Graph, Node, Scope, View, nested
from microgradnd.viz.values import Values

VERSION = 2  # of the JSON; it grows when a key goes or changes its meaning, not when one is added

# The brackets around the label of each kind of node; the colours are those of `dot.py`
BRACKETS = {
    "parameter": ("([", "])"),
    "input": ("[/", "/]"),
    "constant": ("[", "]"),
    "operation": ("(", ")"),
    "result": ("[[", "]]"),
    "fold": ("{{", "}}"),
}
CLASSES = {kind: (look["fillcolor"], look["color"]) for kind, look in dot.LOOKS.items()}
LONGEST = 100  # characters of a line
SURROGATES = re.compile(r"[\ud800-\udfff]")  # lone halves of characters, which no file can hold
# The start of a list or a ruler in Markdown, and syntax of Mermaid, HTML or Markdown
START = re.compile(r"\s*(?:\d+([.)])|([-+]))(?=\s|$)|\s*([-=])\3\3")
SIGNS = re.compile(r"[#;&<>\"`*~\\$|]|(?<!\w)_|_(?!\w)|\](?=\()|:(?=fa-)|(?<=\w)://(?=\w)")


# Mermaid


@explained
def mermaid(
    t: Tensor,
    view: View = "forward",
    *,
    depth: int | None = None,
    max_nodes: int | None = 200,
    to: Tensor | None = None,
    rankdir: Direction = "TB",
) -> str:
    """Return a computation as a flow chart in the Mermaid language.

    GitHub, GitLab and many editors show it as a picture if you put it in a Markdown
    code block with the language `mermaid`. They refuse charts of more than 500 edges or
    50,000 characters.

    Parameters
    ----------
    t : Tensor
        The result, of any shape; before `backward()` or, with its gradients, after it.
    view : str
        "forward", "backward" or "both", as for `draw`.
    depth, max_nodes : int or None
        Limits for folding, as for `draw`.
    to : Tensor, optional
        Keep only the paths from this tensor to the result.
    rankdir : str
        The direction of the computation: "TB" (top to bottom), "LR", "BT" or "RL".

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If `t` isn't a Tensor.
    ValueError
        If an option makes no sense.

    See Also
    --------
    to_json : for other programs.
    draw : with values and gradients.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> x = mg.tensor(3.0, requires_grad=True, name="x")
    >>> for line in viz.mermaid(2 * x + 1).splitlines()[:7]:
    ...     print(line)
    flowchart TB
      n0(["x<br>3"]):::parameter
      n1("2 ×"):::operation
      n2("#43; 1"):::operation
      result[["7"]]:::result
      n0 --> n1
      n1 -->|"6"| n2
    """
    look = dot.checked(view, rankdir=rankdir)
    model = graph(t, max_nodes, depth, view != "forward", to)
    return "\n".join(_mermaid_lines(model, look)) + "\n"


def _mermaid_lines(model: Graph, look: dot.Look) -> Iterator[str]:
    view = look.view
    labels = edge_labels(model, view)
    if view == "backward":
        model, labels = dot.turned(model, labels)
    ids = _plain_ids(model)
    order = {id: place for place, id in enumerate(model.scopes)}

    yield f"flowchart {look.rankdir}"
    used: list[str] = []
    things = ((node.scope, node) for node in model.nodes)
    for chain, thing in nested(things, model.scopes, lambda thing: order.get(thing.id, len(order))):
        space = "  " * (len(chain) + 1)
        if thing is None:
            yield f"{space}end"
        elif isinstance(thing, Scope):
            yield f"{space}subgraph {ids[thing.id]}[{_label([scope_text(thing)])}]"
            used.append(ids[thing.id])
        else:
            left, right = BRACKETS[thing.kind]
            rows = [text_of(row) for row in node_rows(thing, view)]
            yield f"{space}{ids[thing.id]}{left}{_label(rows)}{right}:::{_class(thing)}"
    if model.notes:
        yield f"  notes>{_label(model.notes)}]"
        yield f"  style notes fill:white,stroke:{dot.LINE},color:{dot.QUIET}"

    largest = dot.largest_norm(model)
    for i, (edge, said) in enumerate(zip(model.edges, labels, strict=True)):
        rows = [text_of(row) for row in said]
        ends = [ids[edge.source], ids[edge.target]]
        dotted, both = edge.carried or (view == "backward" and edge.summed), view == "both" and edge.flows
        arrow = ("<" if both else "") + ("-.->" if dotted else "-->") + (f"|{_label(rows)}|" if rows else "")
        yield f"  {f' {arrow} '.join(reversed(ends) if view == 'backward' else ends)}"
        if view == "backward" and edge.grad is not None and largest:
            yield f"  linkStyle {i} stroke-width:{dot.width(edge.grad.norm, largest):.2g}px"

    if used:
        yield f"  class {','.join(used)} scope"
        yield f"  classDef scope fill:{dot.CLUSTER['fillcolor']},stroke:{dot.CLUSTER['color']},color:{dot.QUIET}"
    for name in dict.fromkeys(map(_class, model.nodes)):
        if name == "alarm":
            yield f"  classDef alarm fill:#fff0f0,stroke:{dot.ALARM},color:{dot.ALARM},stroke-width:3px"
        else:
            fill, stroke = CLASSES[name]
            yield f"  classDef {name} fill:{fill},stroke:{stroke},color:{dot.INK}"


def _class(node: Node) -> str:
    return "alarm" if is_alarming(node) else node.kind


def _label(rows: list[str]) -> str:
    """Return lines as a quoted label, which mustn't be empty."""
    lines = filter(None, (_escaped(clean(row, LONGEST)) for row in rows))
    return '"' + ("<br>".join(lines) or " ") + '"'


def _escaped(text: str) -> str:
    """Escape text: syntax of Mermaid, HTML or Markdown becomes character codes."""
    if start := START.match(text):
        i = start.start(start.lastindex or 0)
        return f"{_escaped(text[:i])}#{ord(text[i])};{_escaped(text[i + 1 :])}"
    return SIGNS.sub(lambda found: "".join(f"#{ord(c)};" for c in found[0]), text)


def _plain_ids(model: Graph) -> dict[str, str]:
    """Return unique ids of nodes and scopes as words, as Mermaid requires."""
    ids: dict[str, str] = {}
    taken: set[str] = {"notes"}
    for id in [*(node.id for node in model.nodes), *model.scopes]:
        plain = id if re.fullmatch(r"n\d+(_\d+)?|result", id) else "s_" + re.sub(r"\W", "_", id, flags=re.ASCII)
        while plain in taken:
            plain += "_"
        taken.add(plain)
        ids[id] = plain
    return ids


# JSON


@explained
def to_json(
    t: Tensor,
    view: View = "forward",
    *,
    depth: int | None = None,
    max_nodes: int | None = 200,
    to: Tensor | None = None,
    indent: int | None = None,
) -> str:
    """Return a computation as JSON; `docs/how-to/graph-json.md` describes every key.

    NaN and the infinities, which JSON lacks, are the strings "NaN", "Infinity" and
    "-Infinity".

    Parameters
    ----------
    t : Tensor
        The result, of any shape; before `backward()` or, with its gradients, after it.
    view : str
        "backward" and "both" compute the gradients on the edges, if the tape still has
        the arrays.
    depth, max_nodes : int or None
        Limits for folding, as for `draw`.
    to : Tensor, optional
        Keep only the paths from this tensor to the result.
    indent : int, optional
        Spaces of indentation; by default everything is on one line.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If `t` isn't a Tensor.
    ValueError
        If an option makes no sense.

    See Also
    --------
    mermaid : for a README.
    save : writes either to a file.

    Examples
    --------
    >>> import json
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> x = mg.tensor(3.0, requires_grad=True, name="x")
    >>> model = json.loads(viz.to_json(2 * x + 1))
    >>> for node in model["nodes"]:
    ...     print(node["id"], node["kind"], node["name"] or node["text"])
    n0 parameter x
    n1 operation 2 ×
    n2 operation + 1
    result result
    """
    dot.checked(view)
    model = graph(t, max_nodes, depth, view != "forward", to)
    return json.dumps(as_json(model, view), indent=indent, ensure_ascii=False, allow_nan=False)


def as_json(model: Graph, view: View = "forward") -> dict[str, Any]:
    """Return a graph as JSON types, with the labels of a picture."""
    plain: dict[str, Any] = {"format": "microgradnd.graph", "version": VERSION}
    plain |= {field.name: _plain(getattr(model, field.name)) for field in dataclasses.fields(model)}
    for node, told in zip(model.nodes, plain["nodes"], strict=True):
        told["label"] = [_plain(text_of(row)) for row in node_rows(node, view)]
    for rows, told in zip(edge_labels(model, view), plain["edges"], strict=True):
        told["label"] = [_plain(text_of(row)) for row in rows]
    return plain | {"scopes": [_plain(scope) for scope in model.scopes.values()]}


def _plain(value: Any) -> Any:
    if isinstance(value, Node | Edge | Scope | Values):
        named = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, Values) and not isinstance(value.elements, list | None):
            named["elements"] = [named["elements"]]
        if isinstance(value, Node) and value.line is not None:
            named["line"] = {"file": value.line[0], "line": value.line[1]}
        return named
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, complex):
        return {"real": _plain(value.real), "imag": _plain(value.imag)}
    if isinstance(value, str):
        return SURROGATES.sub("\ufffd", value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
