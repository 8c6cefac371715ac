"""A computation as a page to walk through: one HTML file that works offline.

Owns: the data of such a page (`document`), and how its parts become one file
(`explore`).
Must not own: the graph (`graph.py`), or the page's behaviour (`page/`, in JavaScript).
Read next: `loops.py`, then `page/graph.js` and `page/page.js`.

Making a page needs only NumPy. Third-party code is in `page/parts/`, with its licences.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import linecache
import math
import os
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.registry import VJPS, name_of
from microgradnd.saving import as_path
from microgradnd.tape import Operation
from microgradnd.tensor import Tensor
from microgradnd.viz import signs
from microgradnd.viz.graph import Arrays, graph
from microgradnd.viz.labels import called, clean, repeated_text, seed_text, shape_text, summed_text
from microgradnd.viz.model import Graph, Node, Scope
from microgradnd.viz.record import Record
from microgradnd.viz.rules import parameters_of
from microgradnd.viz.values import Values

PAGE = Path(__file__).parent / "page"
PARTS = ("dispatch", "timer", "ease", "color", "interpolate", "selection", "transition", "drag", "zoom")
SCRIPTS = ("numbers", "graph", "layout", "picture", "panel", "export", "page")  # each imports from earlier ones only
FOLDED = 2_000  # nodes, of a graph that is too large to be shown whole
MOST_IN_NOTEBOOK = 2_000  # operations; a larger page is written only on request
LONGEST = 400  # characters of a name or a line of code
BINS = 24  # of a histogram
NOT_FINITE = 255  # the level of NaN and Inf; the others are 0 (the lowest) to 254 (the highest)
MOST_DETAILED = 3_000  # nodes; larger graphs have no numbers in their rules
# By the most nodes: the rows and columns of a heat map, the elements given as numbers,
# and their digits
DETAILS = ((400, 48, 64, 6), (MOST_DETAILED, 24, 64, 6), (math.inf, 8, 8, 4))

SIGNS = set(signs.BETWEEN.values())
WRITTEN_OUT = {text for text in signs.ALONE.values() if "x" in text}  # as x² and |x| are
SUPERSCRIPTS = set("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ʸⁿˣ")
SHARED = ("kind", "text", "detail", "function", "shape", "dtype", "memory", "members", "parameters")  # by many nodes
SHARED_BY_EDGES = ("position", "flows", "rule", "carried")
COUNTS = ("operations", "parameters", "memory")  # of a graph and of a scope

Json = Any


@explained
def explore(
    t: Tensor, path: str | os.PathLike[str] = "graph.html", *, title: str | None = None, max_nodes: int = 30_000
) -> Path:
    """Write a page to step through a computation, forward and backward.

    The page is a single file that needs no server and no network. It opens with the
    whole computation in view, folded until you can read it. Every array has its
    numbers, a heat map and a histogram. A slider steps through the forward pass, then
    through the backward pass, operation by operation, with the incoming gradient, the
    rule and the product. The address of a step (`#step=12`) is a link to it, and you
    can save the picture.

    Parameters
    ----------
    t : Tensor
        A tensor of any shape, best before `backward()`, which frees the arrays. As long
        as they exist, the gradients are computed for the page (of the sum, if `t` has
        several elements); no `.grad` changes.
    path : path-like
        Where to write the page. Missing folders are created.
    title : str or None
        The title of the page; by default the name of `t`.
    max_nodes : int
        For a computation with more operations, the page shows what repeats once, keeps
        other parts folded, and leaves out intermediate gradients.

    Returns
    -------
    Path
        The path of the page. As the last line of a notebook cell, it shows the page.

    See Also
    --------
    draw : a still picture.

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
    path = as_path("viz.explore(t, path)", path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a page can't be written to {path.name!r}: the path must end in .html")
    text = page(document(t, title=title, max_nodes=max_nodes))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return Page(path)


if sys.platform == "win32":
    from pathlib import WindowsPath as FilePath
else:
    from pathlib import PosixPath as FilePath


class Page(FilePath):
    """The path of a page; a notebook shows the page itself."""

    def _repr_html_(self) -> str | None:
        return framed(self.read_text(encoding="utf-8")) if self.is_file() else None


def in_notebook(t: Tensor) -> str | None:
    """Return the text of a Tensor for a notebook, with a page that opens on a click.

    Parameters
    ----------
    t : Tensor

    Returns
    -------
    str or None
        HTML; None if `t` wasn't computed, or took more than `MOST_IN_NOTEBOOK`
        operations.
    """
    if not isinstance(t._node, Operation) or len(Record(t._node).operations) > MOST_IN_NOTEBOOK:
        return None
    told = document(t)
    summary = f"How it was computed: {signs.counted(told['operations'], 'operation')}"
    frame = framed(page(told))
    return f"<pre>{html.escape(repr(t))}</pre><details><summary>{summary}</summary>{frame}</details>"


def framed(text: str) -> str:
    """Return a page as a sandboxed frame."""
    inner = text.replace("&", "&amp;").replace("'", "&#39;")
    rights = "allow-scripts allow-downloads allow-modals"
    style = "width: 100%; height: 640px; border: 1px solid #8888; border-radius: 8px"
    return f'<iframe sandbox="{rights}" style="{style}" loading="lazy" srcdoc=\'{inner}\'></iframe>'


def page(told: dict[str, Json]) -> str:
    """Return the HTML of a page with this data."""
    parts = ("dagre.min.js", *(f"d3-{name}.min.js" for name in PARTS))
    # A part may say where its source map is; there is none here
    libraries = [re.sub(r"\n//# sourceMappingURL=.*", "", _read(f"parts/{part}")) for part in parts]
    put = {
        "title": html.escape(told["title"]),
        "style": _read("page.css"),
        "licences": html.escape(_read("parts/LICENCES.txt")),
        # Only "<" can end a script element, and JSON strings can escape it
        "data": json.dumps(told, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "libraries": "\n".join(libraries),
        "script": bundled(),
    }
    return re.sub(r"@@(\w+)@@", lambda found: put[found[1]], _read("page.html"))


def bundled() -> str:
    """Return the page's modules as one, since a single file can't import its parts.

    They are in the order of their imports, so the import statements can go; no two
    modules use a name differently.
    """
    modules = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    alone = re.sub(r'^import \{[^}]*\} from "\./\w+\.js";\n', "", modules, flags=re.MULTILINE)
    return re.sub(r"^export (?=(?:async )?function|class|const)", "", alone, flags=re.MULTILINE)


def _read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def document(t: Tensor, title: str | None = None, max_nodes: int = 30_000) -> dict[str, Json]:
    """Return the data of a page: the graph of `graph.py`, and views of its arrays.

    Parameters
    ----------
    t : Tensor
    title : str or None
    max_nodes : int

    Returns
    -------
    dict
        `title`; `freed`, whether `backward()` has freed arrays; `cut`, whether the
        graph was too large; `notes`, `operations`, `parameters` and `memory` as in
        `Graph`; and the graph in compact form:

        - `scopes`: outer ones before inner ones, with their titles; `parent` is a place
          in this list, or -1 for an outermost scope;
        - `kinds`: attributes that several nodes share: those of `Node` that
          are `SHARED`, `called` (what one without a name is called), its `size` (shape
          and dtype), the `formula` (how the call is written), and the `place` and
          `code` of the user's line;
        - `nodes`: the `id`; as `is`, the place in `kinds`; as `in`, the place of the
          innermost scope; and if there are any, `name`, `values`, `grad` and
          `accumulated`;
        - `rules`: attributes that several edges share: those of `Edge`, and
          the `letter` that stands for the value in the formula and in the rule;
        - `edges`: for each the places of its source and its target in `nodes` and of
          its rule in `rules`; then, if there are any, the `numbers` of the rule in a
          small graph, and the `grad` that flows along it, unless that is all of the
          gradient of its source.

        For the form of an array, see `described`.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.viz.explore import document
    >>> w = mg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True, name="w")
    >>> told = document(np.sum(w**2))
    >>> [told["kinds"][node["is"]]["formula"] for node in told["nodes"]]
    ['', 'x²', 'Σ(x)', '']
    >>> told["edges"][0], told["rules"][0]["rule"]
    ([0, 1, 0], 'g * (2 * x)')
    """
    last = getattr(t, "_node", None)
    is_whole = not isinstance(last, Operation) or len(Record(last).operations) <= max_nodes
    of: Arrays = {}
    model = graph(
        t, max_nodes=None if is_whole else min(max_nodes, FOLDED), backward=is_whole, arrays=of, unrolled=is_whole
    )
    count = len(model.nodes)
    details = next(details for most, *details in DETAILS if count <= most)

    def shown(values: Values | None, array: Any = None) -> Json:
        return None if values is None else described(values, array, *details)

    place = {id: number for number, id in enumerate(("", *model.scopes), -1)}
    letters = _letters(model)
    numbers = {node.id: number for number, node in enumerate(model.nodes)}
    gradients = Counter(edge.source for edge in model.edges if edge.flows)  # the number of terms of each
    operands: dict[str, str] = {}
    rules: dict[Any, int] = {}
    edges = []
    for edge, letter in zip(model.edges, letters, strict=True):
        operands[edge.target] = f"{operands.get(edge.target, '')}{letter} "
        shared = (*(getattr(edge, name) for name in SHARED_BY_EDGES), edge.summed, edge.text, letter)
        told: list[Json] = [numbers[edge.source], numbers[edge.target], rules.setdefault(shared, len(rules))]
        own: dict[str, Json] = {"grad": shown(edge.grad)} if edge.grad and gradients[edge.source] > 1 else {}
        if edge.numbers and count <= MOST_DETAILED:
            own["numbers"] = clean(edge.numbers, LONGEST)
        edges.append([*told, own] if own else told)
    kinds: dict[Any, int] = {}
    examples: list[Node] = []  # the first node of each kind
    nodes = []
    for node in model.nodes:
        kind = (*(getattr(node, name) for name in SHARED), operands.get(node.id, ""), node.line)
        if kind not in kinds:
            kinds[kind] = len(kinds)
            examples.append(node)
        array, grad = of.get(node.id, (None, None))
        seen = {
            "name": node.name and clean(node.name, LONGEST),
            "values": shown(node.values, array),
            "grad": shown(node.grad, grad),
            "accumulated": shown(node.accumulated),
        }
        known = {key: value for key, value in seen.items() if value not in (None, "")}
        nodes.append({"id": node.id, "is": kinds[kind], "in": place[node.scope[-1] if node.scope else ""], **known})
    return {
        "title": clean(title or t.name or "computation", LONGEST),
        "seed": seed_text(t.name),
        "cut": not is_whole,
        **{name: getattr(model, name) for name in ("notes", *COUNTS)},
        "freed": any(n.kind == "operation" and n.shape is not None and n.values is None for n in model.nodes),
        "scopes": [_scope(scope, place[scope.parent], is_whole) for scope in model.scopes.values()],
        "kinds": [_kind(node, operands.get(node.id, "").split()) for node in examples],
        "nodes": nodes,
        "rules": [
            dict(zip(SHARED_BY_EDGES, shared, strict=True))
            | {"text": clean(text, LONGEST), "letter": letter, "summed": summed_text(summed)}
            for *shared, summed, text, letter in rules
        ],
        "edges": edges,
    }


def _kind(node: Node, letters: list[str]) -> dict[str, Json]:
    """Return the data that all nodes like this one share."""
    told = {name: getattr(node, name) for name in SHARED} | {"formula": formula(node, letters), "place": "", "code": ""}
    told |= {"text": clean(node.text, LONGEST), "detail": clean(node.detail, LONGEST)}
    told |= {"called": called(replace(node, name=None), LONGEST), "size": shape_text(node.shape, node.dtype)}
    if node.kind != "fold":
        told["members"] = 0
    if node.line is not None:  # without the folders, which are private
        file, number = node.line
        code = linecache.getline(file, number).strip()
        told |= {"place": f"{Path(file).name}, line {number}", "code": clean(code, LONGEST)}
    return told


def _scope(scope: Scope, parent: int, is_whole: bool) -> dict[str, Json]:
    """Return the data of a scope, with its counts if some of its copies are missing."""
    told = {"parent": parent, "kind": scope.kind, "path": clean(scope.path, LONGEST), "repeat": scope.repeat}
    told |= {} if is_whole else {name: getattr(scope, name) for name in COUNTS}
    return told | {"title": repeated_text(clean(scope.label or scope.path or scope.kind, LONGEST), scope.repeat)}


@np.errstate(all="ignore")  # a longdouble may be too large for a float
def described(values: Values, array: Any, side: int, in_full: int, digits: int = 6) -> Json:
    """Return the data of one array: its summary, and its elements or views of them.

    A single number is itself, or "NaN", "Infinity" or "-Infinity". A larger array has
    the attributes of `Values` that aren't None or 0. Unless it has `elements`, it has a
    `histogram` (counts between the lowest and the highest number) and `heat`: `rows`
    and `columns` of `levels`, one byte each in base64 (0 for the lowest number, 254 for
    the highest, 255 for NaN and Inf), and the `shape` of the matrix that they show.
    """
    if values.size == 1 and isinstance(values.elements, bool | int | float):
        return _finite(values.elements, digits)
    told: dict[str, Json] = {
        key: _finite(value, digits)
        for key, value in vars(values).items()
        if value is not None and (value or key not in ("nan", "inf", "zeros"))
    }
    if isinstance(array, Tensor):
        array = array.data
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or values.lowest is None:
        return told
    if array.size <= in_full:
        numbers = array if array.dtype.itemsize <= 8 else array.astype(np.float64)
        return told | {"elements": _finite(numbers.tolist(), digits)}
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
    """Return the levels of an array: 0 (lowest) to 254 (highest), or 255."""
    low, high = values.lowest or 0.0, values.highest or 0.0
    numbers = array.astype(np.float64)
    finite = np.isfinite(numbers)
    scale = max(abs(low), abs(high)) or 1.0  # divided by it, no difference overflows
    span = high / scale - low / scale or 1.0
    share = (np.where(finite, numbers, low) / scale - low / scale) * (254 / span)
    return np.where(finite, np.rint(share), NOT_FINITE).astype(np.int32)


def _smaller(levels: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """Return at most `side` rows, each a mean of several; NaN and Inf stay visible."""
    if len(levels) <= side:
        return levels
    starts = np.arange(side) * len(levels) // side
    means = np.add.reduceat(levels, starts) // np.diff([*starts, len(levels)])[:, None]
    return np.where(np.maximum.reduceat(levels, starts) == NOT_FINITE, NOT_FINITE, means)


def _finite(value: Json, digits: int) -> Json:
    """Return numbers for JSON, rounded; complex, NaN and Inf become strings."""
    if isinstance(value, list):
        return [_finite(part, digits) for part in value]
    if isinstance(value, complex):
        return f"{value:.4g}"
    if isinstance(value, float):
        if math.isfinite(value):
            return float(f"{value:.{digits}g}")
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def formula(node: Node, letters: list[str]) -> str:
    """Return a call in the notation of mathematics or Python, with operand letters.

    Examples
    --------
    >>> from microgradnd.viz.explore import formula
    >>> from microgradnd.viz.model import Node
    >>> for text, letters in (("@", "xy"), ("2 −", "x"), ("[0]", "x"), ("tanh", "x")):
    ...     print(formula(Node("n1", "operation", text=text), list(letters)))
    x @ y
    2 − x
    x[0]
    tanh(x)
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
    """Return the letter of each edge's operand: the rule's name for it, or x, y, z."""
    rules: dict[str | None, Any] = {name_of(function): function for function in VJPS}
    functions = {node.id: node.function for node in model.nodes}

    @functools.cache
    def letter(function: str | None, position: int) -> str:
        names = parameters_of(rules.get(function), position)
        return [*names, *"xyz"[len(names) :], *(f"x{i}" for i in range(max(len(names), 3), position + 1))][position]

    return [letter(functions[edge.target], edge.position) for edge in model.edges]
