"""A computation as a page to walk through: one HTML file that works offline.

Owns: what such a page is told (`document`), and how its parts become one file (`explore`).
Must not own: the graph (`graph.py`), or what the page does with it (`page/`, in JavaScript).
Read next: `page/graph.js`, then `page/page.js`.

Nothing but NumPy is needed to make a page. What it contains of others is in `page/parts/`, with the licences.
"""

from __future__ import annotations

import base64
import html
import inspect
import json
import linecache
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.registry import VJPS, name_of, rule_for
from microgradnd.tape import Operation
from microgradnd.tensor import Tensor
from microgradnd.viz import signs
from microgradnd.viz.graph import arrays, graph
from microgradnd.viz.labels import clean
from microgradnd.viz.model import Edge, Graph, Node, Scope
from microgradnd.viz.record import Record
from microgradnd.viz.values import Values

PAGE = Path(__file__).parent / "page"
PARTS = ("dispatch", "timer", "ease", "color", "interpolate", "selection", "transition", "drag", "zoom")
SCRIPTS = ("numbers", "graph", "layout", "picture", "panel", "page")
FOLDED = 2_000  # nodes that a graph is folded to when it is too large to be shown whole
LONGEST = 400  # characters of a name or a line of code
BINS = 24  # of a histogram
NOT_FINITE = 255  # the level of what isn't a number; the others are 0 (the lowest) to 254 (the highest)
SIDES = ((400, 48), (3_000, 24), (math.inf, 8))  # up to so many nodes, heat maps have so many rows and columns
IN_FULL = ((3_000, 64), (math.inf, 8))  # and up to so many elements are given as numbers

SIGNS = set(signs.BETWEEN.values())
WRITTEN_OUT = {text for text in signs.ALONE.values() if "x" in text}  # as x² and |x| are
SUPERSCRIPTS = set("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ʸⁿˣ")
USUAL: dict[str, Any] = {  # what goes without saying; page/graph.js has the same list
    "kind": "operation",
    "name": "",
    "text": "",
    "detail": "",
    "function": None,
    "shape": None,
    "dtype": "float64",
    "values": None,
    "grad": None,
    "scope": (),
    "memory": 0,
    "members": 0,
    "parameters": 0,
    "last_norm": None,
    "formula": "",
    "place": "",
    "code": "",
    "position": 0,
    "flows": False,
    "rule": "",
    "summed": (),
    "carried": False,
    "letter": "x",
    "elements": None,
    "nan": 0,
    "inf": 0,
    "zeros": 0,
}
TOLD = {*USUAL, "id", "source", "target", "parent", "path", "label", "repeat", "operations"}

Json = Any


@explained
def explore(
    t: Tensor, path: str | os.PathLike[str] = "graph.html", *, title: str | None = None, max_nodes: int = 30_000
) -> Path:
    """Write a page on which one can walk through a computation, forward and backward.

    The page is one file, which needs no server and no network: the graph to zoom and to fold, every array with its
    numbers, a heat map and a histogram, and a slider that goes through the forward pass, then through the backward
    pass, operation by operation, with the incoming gradient, the rule and the product.

    Parameters
    ----------
    t : Tensor
        Of any shape; best before `backward()`, which lets go of the arrays. If they are still there, the gradients are
        computed for the page (of the sum, if `t` has several elements), and nobody's `.grad` changes.
    path : path-like
        The file to write. Folders on the way are made.
    title : str or None
        What the page is called; by default the name of `t`.
    max_nodes : int
        Of a computation with more operations than that, the page says less: what repeats is shown once, other parts
        stay folded, and the gradients between are left out.

    Returns
    -------
    Path
        Where the page is.

    Raises
    ------
    TypeError
        If `t` isn't a Tensor.
    ValueError
        If the path doesn't end in `.html` or `.htm`, or `max_nodes` is less than 1.

    Examples
    --------
    >>> import tempfile
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> x = mg.tensor(3.0, requires_grad=True, name="x")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = viz.explore(x * x, folder + "/square.html")
    ...     path.read_text(encoding="utf-8").startswith("<!doctype html>")
    True
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a page can't be written to {path.name!r}: the path must end in .html")
    text = page(document(t, title=title, max_nodes=max_nodes))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def page(told: dict[str, Json]) -> str:
    """Return the HTML of a page that is told this."""
    parts = ("dagre.min.js", *(f"d3-{name}.min.js" for name in PARTS))
    # A part may say where its source map is; there is none here
    libraries = [re.sub(r"\n//# sourceMappingURL=.*", "", _read(f"parts/{part}")) for part in parts]
    own = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    put = {
        "title": html.escape(told["title"]),
        "style": _read("page.css"),
        "licences": html.escape(_read("parts/LICENCES.txt")),
        # Within a script element nothing but "<" can end it, and a string in JSON may spell it otherwise
        "data": json.dumps(told, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "script": "\n".join([*libraries, f"(() => {{\n'use strict';\n{own}\n}})();"]),
    }
    return re.sub(r"@@(\w+)@@", lambda found: put[found[1]], _read("page.html"))


def _read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def document(t: Tensor, title: str | None = None, max_nodes: int = 30_000) -> dict[str, Json]:
    """Return what a page is told, as plain data: the graph of `graph.py`, and what there is to see of its arrays.

    Parameters
    ----------
    t : Tensor
    title : str or None
    max_nodes : int

    Returns
    -------
    dict
        `title`; `freed`, whether `backward()` has let go of arrays; `cut`, whether the graph was too large; `notes`,
        `operations`, `parameters`, `memory`, `nodes`, `edges` and `scopes` with the attributes of `Graph`, `Node`,
        `Edge` and `Scope`, but for those that are `USUAL`, where

        - a node has a `formula` (how the call is written), the `place` and the `code` of the user's line;
        - an edge has the `letter` that stands for its value in the formula and in the rule; its `grad` is left out
          where it is all of the gradient of its source;
        - `values` and `grad` are the attributes of `Values`, with "NaN", "Infinity" and "-Infinity" for what isn't
          finite. If the `elements` aren't there, or too many, there is a `histogram` (counts between the lowest and
          the highest number) and `heat`: `rows` and `columns` of `levels`, a byte for each in base64 (0 for the lowest
          number, 254 for the highest, 255 for what isn't finite), and the `shape` of the matrix that they show.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.viz.explore import document
    >>> w = mg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True, name="w")
    >>> told = document(np.sum(w**2))
    >>> [node["formula"] for node in told["nodes"] if "formula" in node]
    ['x²', 'Σ(x)']
    """
    is_whole = not isinstance(last := getattr(t, "_node", None), Operation) or len(Record(last).operations) <= max_nodes
    model = graph(t, max_nodes=None if is_whole else min(max_nodes, FOLDED), backward=is_whole)
    of = arrays(t, backward=is_whole)
    count = len(model.nodes)
    side = next(side for most, side in SIDES if count <= most)
    in_full = next(size for most, size in IN_FULL if count <= most)

    digits = 6 if count <= 3_000 else 4

    def shown(values: Values | None, array: Any = None) -> Json:
        return None if values is None else described(values, array, side, in_full, digits)

    letters = _letters(model)
    operands: dict[str, list[str]] = {node.id: [] for node in model.nodes}
    gradients = Counter(edge.source for edge in model.edges if edge.flows)  # how many each node's is the sum of
    edges = []
    for edge, letter in zip(model.edges, letters, strict=True):
        operands[edge.target].append(letter)
        grad = shown(edge.grad) if gradients[edge.source] > 1 else None
        edges.append(_told(edge, grad=grad, letter=letter))
    nodes = []
    for node in model.nodes:
        array, grad = of.get(node.id, (None, None))
        words = {key: clean(getattr(node, key) or "", LONGEST) for key in ("name", "text", "detail")}
        seen = {"values": shown(node.values, array), "grad": shown(node.grad, grad)}
        known = {"formula": formula(node, operands[node.id]), "last_norm": _finite(node.last_norm, digits)}
        members = node.members if node.kind == "fold" else 0
        nodes.append(_told(node, **words, **seen, **known, **_place(node), members=members))
    scopes = {
        scope.id: _told(
            scope, label=clean(scope.label, LONGEST), path=clean(scope.path, LONGEST), grad=shown(scope.grad)
        )
        for scope in model.scopes.values()
    }
    name = title or t.name or "computation"
    return {
        "title": clean(name, LONGEST),
        "cut": not is_whole,
        "notes": list(model.notes),
        "operations": model.operations,
        "parameters": model.parameters,
        "memory": model.memory,
        "freed": any(
            node.kind == "operation" and node.shape is not None and node.values is None for node in model.nodes
        ),
        "nodes": nodes,
        "edges": edges,
        "scopes": scopes,
    }


def _told(thing: Node | Edge | Scope, **others: Json) -> dict[str, Json]:
    """Return the attributes of a part of the graph, some of them otherwise, without what goes without saying."""
    return _unusual({key: value for key, value in vars(thing).items() if key in TOLD} | others)


def _unusual(told: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in told.items() if key not in USUAL or value != USUAL[key]}


def described(values: Values, array: Any, side: int, in_full: int, digits: int = 6) -> dict[str, Json]:
    """Return what a page is told of one array: its numbers in a few words, and as much as there is to see of them."""
    told: dict[str, Json] = _unusual({key: _finite(value, digits) for key, value in vars(values).items()})
    if isinstance(array, Tensor):
        array = array.data
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or values.lowest is None or array.size == 1:
        return told
    if array.size <= in_full:
        return told | {"elements": _finite(array.tolist(), digits)}
    levels = _levels(array, values)
    matrix = levels.reshape(-1, array.shape[-1])
    small = _smaller(_smaller(matrix, side).T, side).T
    told["histogram"] = np.bincount(levels.ravel() * BINS // NOT_FINITE, minlength=BINS)[:BINS].tolist()
    told["heat"] = {
        "rows": small.shape[0],
        "columns": small.shape[1],
        "shape": matrix.shape,
        "levels": base64.b64encode(small.astype(np.uint8).tobytes()).decode("ascii"),
    }
    return told


def _levels(array: np.ndarray[Any, Any], values: Values) -> np.ndarray[Any, Any]:
    """Return the numbers of an array as levels between its lowest (0) and its highest (254); 255 where not finite."""
    low, high = values.lowest or 0.0, values.highest or 0.0
    numbers = array.astype(np.float64)
    finite = np.isfinite(numbers)
    scale = max(abs(low), abs(high)) or 1.0  # differences of quotients by it can't overflow
    span = high / scale - low / scale or 1.0
    share = (np.where(finite, numbers, low) / scale - low / scale) * (254 / span)
    return np.where(finite, np.rint(share), NOT_FINITE).astype(np.int32)


def _smaller(levels: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """Return at most so many rows, each the mean of some; where one isn't finite, that shows."""
    if len(levels) <= side:
        return levels
    starts = np.arange(side) * len(levels) // side
    means = np.add.reduceat(levels, starts) // np.diff([*starts, len(levels)])[:, None]
    return np.where(np.maximum.reduceat(levels, starts) == NOT_FINITE, NOT_FINITE, means)


def _finite(value: Json, digits: int) -> Json:
    """Return numbers as JSON can hold them: in so many digits, complex ones and those that aren't finite as words."""
    if isinstance(value, list):
        return [_finite(part, digits) for part in value]
    if isinstance(value, complex):
        return f"{value:.4g}"
    if isinstance(value, float):
        if math.isfinite(value):
            return float(f"{value:.{digits}g}")
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _place(node: Node) -> dict[str, str]:
    """Return where in the user's code a node was made, without the folders that are nobody's business."""
    if node.line is None:
        return {}
    file, number = node.line
    code = linecache.getline(file, number).strip()
    return {"place": f"{Path(file).name}, line {number}", "code": clean(code, LONGEST)}


def formula(node: Node, letters: list[str]) -> str:
    """Return a call as mathematics or Python writes it, with a letter for each operand.

    Examples
    --------
    >>> from microgradnd.viz.explore import formula
    >>> from microgradnd.viz.model import Node
    >>> for text, letters in (("@", "xy"), ("× 2", "x"), ("2 −", "x"), ("[0]", "x"), ("tanh", "x"), ("x²", "x")):
    ...     print(formula(Node("n1", "operation", text=text), list(letters)))
    x @ y
    x × 2
    2 − x
    x[0]
    tanh(x)
    x²
    """
    text = clean(node.text, LONGEST)
    if node.kind != "operation":
        return ""
    words = text.split(" ")
    if len(words) == 1 and text in SIGNS and len(letters) == 2:
        return f"{letters[0]} {text} {letters[1]}"
    if letters and len(words) == 2 and words[0] in SIGNS:
        return f"{letters[0]} {text}"
    if letters and len(words) == 2 and words[1] in SIGNS:
        return f"{text} {letters[0]}"
    if letters and text.startswith("["):
        return letters[0] + text
    if text in WRITTEN_OUT or set(text) & SUPERSCRIPTS:
        return text
    return f"{text}({', '.join([*letters, *filter(None, [clean(node.detail, LONGEST)])])})"


def _letters(model: Graph) -> list[str]:
    """Return what stands for the operand of each edge: what the rule calls it."""
    rules: dict[str | None, Any] = {name_of(function): function for function in VJPS}
    functions = {node.id: node.function for node in model.nodes}
    found: dict[tuple[str | None, int], str] = {}
    for edge in model.edges:
        call = functions[edge.target], edge.position
        if call not in found:
            found[call] = _parameter(rules.get(call[0]), edge.position)
    return [found[functions[edge.target], edge.position] for edge in model.edges]


def _parameter(function: Any, position: int) -> str:
    """Return how the rule of an argument calls it; x, y, z, where no rule says."""
    try:
        names = list(inspect.signature(rule_for(VJPS, function, position)).parameters.values())[2:]
    except (TypeError, ValueError):
        names = []
    if position < len(names) and names[position].kind == inspect.Parameter.POSITIONAL_OR_KEYWORD:
        return names[position].name
    return "xyz"[position] if position < 3 else f"x{position}"
