"""Two computations side by side, with what differs marked.

Owns: pairing the nodes of two graphs, how they differ, and the marks.
Must not own: the look of a graph (`dot.py`).
Read next: `render.py`.

Operations are paired like lines in a comparison of two texts: those that do the same in
the same order.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.tape import Operation
from microgradnd.tensor import Tensor
from microgradnd.viz import dot
from microgradnd.viz.graph import Arrays, graph
from microgradnd.viz.labels import SHOWN, Detail, alarm_text, called, clean
from microgradnd.viz.model import Direction, Graph, Node, Scope
from microgradnd.viz.record import Record
from microgradnd.viz.render import drawing_of
from microgradnd.viz.signs import number

if TYPE_CHECKING:
    import graphviz

DIFFERS = "#8f2d8f"  # violet, unlike the red of NaN and the brown of gradients
SIGN = "≠"  # marks a difference without colour
MARK = {"color": DIFFERS, "penwidth": "2.5", "fixedsize": "false", "margin": "0.12,0.05"}
HEADING = {"style": "filled", "color": "transparent", "margin": "16", "fontsize": "15", "fontcolor": dot.INK}
Pair = tuple[Node | None, Node | None]


@explained
def compare(
    a: Tensor,
    b: Tensor,
    labels: tuple[str, str] = ("first", "second"),
    *,
    rtol: float = 0.0,
    show: Collection[Detail] = SHOWN,
    depth: int | None = None,
    max_nodes: int = 60,
    rankdir: Direction = "TB",
) -> graphviz.Digraph:
    """Draw two computations side by side, with differences marked.

    Parameters
    ----------
    a, b : Tensor
        Results, such as losses before and after a step, in float32 and float64, or of a
        working and a broken version.
    labels : tuple of two str
        Their titles.
    rtol : float
        The tolerance, relative to the largest value.
    show, depth, rankdir
        As for `draw`.
    max_nodes : int
        The most nodes of each; a larger graph is folded, as for `draw`.

    Returns
    -------
    graphviz.Digraph
        It shows itself in Jupyter; `viz.save(drawing, "both.svg")` writes it to a file.

    Raises
    ------
    TypeError
        If one of them isn't a Tensor.
    ValueError
        If an option makes no sense, or a variable has changed since it was used, so
        that its value is lost.
    ImportError
        If the package graphviz isn't installed.

    See Also
    --------
    draw : one computation.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> def loss(slope):
    ...     w = mg.tensor(slope, requires_grad=True, name="w")
    ...     return (w * 3 + 1) ** 2
    >>> drawing = viz.compare(loss(1.0), loss(2.0), ("before", "after"))
    >>> "The first difference: w (values differ by 50%" in drawing.source
    True
    """
    look = dot.checked("forward", show, rankdir)
    if len(labels) != 2:
        raise ValueError(f"viz.compare: labels must be two, one for each computation, got {len(labels)}")
    if not isinstance(rtol, float | int) or not rtol >= 0:
        raise ValueError(f"viz.compare: rtol must be 0 or more, how far apart values may be, got {rtol!r}")
    for t, label in zip((a, b), labels, strict=True):
        _check_unchanged(t, label)
    known: list[Arrays] = [{}, {}]
    models = [_flat(graph(t, max_nodes, depth, True, arrays=of)) for t, of in zip((a, b), known, strict=True)]
    differences: dict[str, str] = {}
    said: list[str] = []
    pairs = _pairs(*models)
    for first, second in pairs:
        what = _difference(first, second, known, rtol)
        for node, side in ((first, "a"), (second, "b")):
            if what and node is not None:
                differences[dot.quoted_id(f"{side}_{node.id}")] = what
        if what:
            node = first or second
            assert node is not None
            said.append(f"{called(node)} ({what})")
    notes = [f"The first difference: {said[0]}."] if said else ["There is no difference."]
    notes += [f"{len(said)} of {len(pairs)} nodes differ."] if said else []
    sides = [_side(*both) for both in zip(models, "ab", labels, strict=True)]
    whole = Graph(
        [node for side in sides for node in side.nodes],
        [edge for side in sides for edge in side.edges],
        sides[0].scopes | sides[1].scopes,
        [*notes, *(note for side in sides for note in side.notes)],
    )
    body = _marked(dot.body(whole, look), differences)
    return drawing_of([dot.Statement("graph", {"newrank": "true"}), *body, *_ranks(pairs)], look)


def _check_unchanged(t: Tensor, label: str) -> None:
    """Raise if values that a computation used have changed since."""
    if isinstance(t, Tensor) and isinstance(t._node, Operation) and (changed := Record(t._node).changed()):
        name = repr(changed[0].name) if changed[0].name else f"a variable of shape {changed[0].shape}"
        raise ValueError(
            f"viz.compare: {name} was changed after {label!r} was computed, so its value isn't there any more; compute "
            f"that one with a copy: copy.deepcopy(model) before the step"
        )


def _flat(model: Graph) -> Graph:
    """Return a graph without scopes; repeated nodes have their count."""
    nodes = []
    for node in model.nodes:
        times = math.prod(model.scopes[id].repeat for id in node.scope)
        detail = f"{node.detail} ×{times:,}".strip() if times > 1 and node.kind != "fold" else node.detail
        nodes.append(replace(node, detail=detail, scope=()))
    return replace(model, nodes=nodes, scopes={})


def _pairs(a: Graph, b: Graph) -> list[Pair]:
    """Return the pairs of nodes, in order; None for a missing partner."""
    keys = [list(map(_key, model.nodes)) for model in (a, b)]
    found: list[Pair] = []
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    for what, i0, i1, j0, j1 in matcher.get_opcodes():
        if what == "equal" or (what == "replace" and i1 - i0 == j1 - j0):
            found += zip(a.nodes[i0:i1], b.nodes[j0:j1], strict=True)
        else:
            found += [(node, None) for node in a.nodes[i0:i1]]
            found += [(None, node) for node in b.nodes[j0:j1]]
    return found


def _key(node: Node) -> tuple[str, ...]:
    """Return the key that paired nodes share."""
    is_variable = node.kind in ("parameter", "input")
    return node.kind, node.function or "", node.name or "" if is_variable else node.text[:1]


def _difference(a: Node | None, b: Node | None, known: list[dict[str, tuple[Any, Any]]], rtol: float) -> str:
    """Return how two nodes differ, as a short text; empty if they don't."""
    if a is None or b is None:
        return "only here"
    said = []
    for what in ("text", "detail", "shape", "dtype"):
        first, second = (getattr(node, what) or ("()" if what == "shape" else "nothing") for node in (a, b))
        if first != second:
            said.append(f"{first} {SIGN} {second}")
    alarms = [alarm_text(node.values) or "all finite" for node in (a, b)]
    if alarms[0] != alarms[1]:
        said.append(f"{alarms[0]} {SIGN} {alarms[1]}")
    else:
        (x, gx), (y, gy) = (side.get(node.id, (None, None)) for side, node in zip(known, (a, b), strict=True))
        said += filter(None, (_apart(x, y, rtol, "values"), _apart(gx, gy, rtol, "gradients")))
    return ", ".join(map(clean, said))


def _apart(x: Any, y: Any, rtol: float, what: str) -> str:
    """Return the relative difference of two arrays as text; empty up to rtol."""
    if x is None or y is None:  # freed, or a fold
        return ""
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or not x.size or x.dtype.kind not in "biufc" or y.dtype.kind not in "biufc":
        return ""
    x, y = (v if v.dtype.kind == "c" else v.astype(np.float64) for v in (x, y))
    with np.errstate(all="ignore"):
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        largest = float(np.max(np.maximum(np.abs(x), np.abs(y)), where=np.isfinite(x) & np.isfinite(y), initial=0.0))
        apart = float(np.max(np.where(same, 0.0, np.abs(x - y)))) / (largest or 1.0)
    if not apart > rtol:
        return ""
    return f"{what} differ by {number(100 * apart, 3)}%"


def _side(model: Graph, side: str, label: str) -> Graph:
    """Return a graph with unique ids, all in one frame."""
    nodes = [replace(node, id=f"{side}_{node.id}", scope=(side,)) for node in model.nodes]
    edges = [replace(e, source=f"{side}_{e.source}", target=f"{side}_{e.target}") for e in model.edges]
    name = clean(label)
    scope = Scope(side, "", "scope", name, name, last=name)
    return replace(model, nodes=nodes, edges=edges, scopes={side: scope})


def _marked(body: Iterable[dot.Line], differences: dict[str, str]) -> Iterator[dot.Line]:
    """Return the lines of DOT with a border and a text for each difference."""
    for line in body:
        if isinstance(line, str):
            yield line
        elif what := differences.get(line.subject):
            sign = "" if SIGN in what else f"{SIGN} "
            row = dot.styled(f"{sign}{what}", True, DIFFERS, dot.SMALL)
            label = f"{line.attributes['label'].removesuffix('>')}<br/>{row}>"
            yield line.changed(MARK | {"shape": "box", "label": label})
        elif line.subject == "graph" and "fillcolor" in line.attributes:  # a frame, which labels would overlap
            yield line.changed(HEADING)
        else:
            yield line


def _ranks(pairs: list[Pair]) -> Iterator[str]:
    """Yield the lines of DOT that put paired operations on one level."""
    for a, b in pairs:
        if a is not None and b is not None and a.kind in ("operation", "fold"):
            yield f"\t{{rank=same; {dot.quoted_id(f'a_{a.id}')}; {dot.quoted_id(f'b_{b.id}')}}}\n"
