"""The graph of a computation as plain data: what a picture shows, before anybody decides how it looks.

Owns: `Graph` and its parts, and the walk over the tape that makes one.
Must not own: how a thing is drawn (`dot.py`), or a reference to an array or a node of the tape: a picture must not keep
a computation alive.
Read next: `signs.py`, which writes an operation down; `dot.py`.

`graph(t, max_nodes=200, depth=None, backward=False, to=None)` returns a `Graph`: nodes, edges and scopes with what is
written below of each, as plain data that JSON can hold. `max_nodes=None` returns the whole, nothing folded.
`arrays(t, backward=False)` returns the arrays themselves: of each id in the whole graph its value and its gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from microgradnd import tape
from microgradnd.registry import name_of
from microgradnd.tape import Leaf, Operation
from microgradnd.tensor import Tensor
from microgradnd.viz import signs

Kind = Literal["parameter", "input", "constant", "operation", "result", "fold"]
ScopeKind = Literal["module", "scope", "repeat", "stretch"]
Thing = tape.Node | int  # what can become a node of the graph; an array that is no variable goes by its id()
Numbers = Any  # a number, or nested lists of them

IN_FULL = 4  # arrays of up to so many elements are shown element by element
MOST_LINES = 5  # per node
DEEPEST_SCOPE = 8


@dataclass(frozen=True)
class Values:
    """What a picture says of the numbers in an array.

    Attributes
    ----------
    size : int
        How many there are.
    elements : number or nested list, or None
        All of them, if there are at most `IN_FULL`; a plain number for a single one.
    lowest, mean, highest : float or None
        Of the finite ones; None where there are none, and for complex numbers, which have no order.
    norm : float
        The root of the sum of the squared magnitudes; NaN or Inf if one of them is.
    nan, inf : int
        How many are NaN, and how many infinite.
    """

    size: int
    elements: Numbers
    lowest: float | None
    mean: float | None
    highest: float | None
    norm: float
    nan: int
    inf: int


@dataclass(frozen=True)
class Node:
    """One thing in the picture.

    Attributes
    ----------
    id : str
        The same in every drawing of the same computation, before and after `backward()`, folded or not: `n12` is the
        thirteenth variable or operation in the order of the program, `n12_0` the array that is its first argument,
        `result` the tensor that was asked for, and a fold has the id of the scope that it stands for.
    kind : str
        "parameter" (a leaf that requires a gradient), "input" (a leaf that doesn't), "constant" (an array that is no
        variable), "operation", "result" (the tensor that was asked for), or "fold" (one node for a whole scope).
    name : str or None
        What the user called it; of a fold its scope's path.
    text, detail : str
        An operation as mathematics writes it, with the constants that belong to it: `@`, `× 2`; and the options of the
        call: `axis=0`. Of a fold its scope's label, and what is in it.
    function : str or None
        The name of an operation's function.
    shape, dtype : tuple of int and str, or None
        Of the array; None for a function with several results, and for a fold.
    values, grad : Values or None
        The numbers, where the tape still has them, and those of the gradient, where there is one. Of a fold: the
        gradients of the parameters in it taken together, and the values only where one of them isn't finite.
    scope : tuple of str
        The ids of the scopes that it lies in (keys of `Graph.scopes`), outermost first.
    line : tuple of str and int, or None
        File and line of the user's code that made it, where that was recorded.
    memory : int
        How many bytes its array takes; of a fold, the arrays of its operations together.
    members : int
        How many operations it stands for: 1, but for a fold; 0 for what isn't computed.
    parameters : int
        How many numbers it holds that are trained.
    """

    id: str
    kind: Kind
    name: str | None = None
    text: str = ""
    detail: str = ""
    function: str | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    values: Values | None = None
    grad: Values | None = None
    scope: tuple[str, ...] = ()
    line: tuple[str, int] | None = None
    memory: int = 0
    members: int = 0
    parameters: int = 0


@dataclass(frozen=True)
class Edge:
    """A value on its way: node `source` is argument number `position` of node `target`.

    Attributes
    ----------
    rule : str
        The derivative that flows back along it, as the table has it: `g * np.cos(x)`. Empty where none flows.
    summed : tuple of int
        The axes of the target over which that derivative is summed, since the argument was broadcast along them.
    grad : Values or None
        The derivative itself, where the graph was made with `backward=True` and the tape still has the arrays.
    carried : bool
        Whether it goes from one copy of a repeated scope to the next one: in the folded picture, backwards.
    """

    source: str
    target: str
    position: int = 0
    rule: str = ""
    summed: tuple[int, ...] = ()
    grad: Values | None = None
    carried: bool = False


@dataclass(frozen=True)
class Scope:
    """A part of the computation that belongs together, to be framed, or folded to one node.

    Attributes
    ----------
    id : str
        Its key in `Graph.scopes`: the path, with `#2` behind it for the second call of the same module.
    parent : str
        The id of the scope that it lies in; empty for an outermost one.
    kind : str
        "module" (a call of an `nn.Module`), "scope" (a `with mg.scope(...)`), "repeat" (a part of a loop), or "stretch"
        (operations that were recorded one after another, for want of anything better).
    path : str
        What the user knows it by: `encoder.layers.3`; empty for an outermost module.
    label : str
        What it is: `Linear(3, 32)`, `attention`.
    repeat : int
        How many copies of it in a row it stands for: what it shows is the first.
    last : str
        The path of the last of these copies.
    """

    id: str
    parent: str
    kind: ScopeKind
    path: str
    label: str
    repeat: int = 1
    last: str = ""


@dataclass(frozen=True)
class Graph:
    """A computation, oldest node first.

    Attributes
    ----------
    nodes : list of Node
        In topological order: operands before their results.
    edges : list of Edge
        By target, in the order of its arguments.
    scopes : dict of str to Scope
        Outer ones before those within them. Folded ones are not among them: they are nodes of the same id.
    notes : list of str
        What a reader of the picture should know about it, in sentences: above all what was folded.
    operations : int
        How many there are, folded or not.
    """

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    scopes: dict[str, Scope] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    operations: int = 0
    left_out: int = 0


def graph(t: Tensor, max_nodes: int | None = 200) -> Graph:
    """Return the graph of the computation that made a tensor.

    Parameters
    ----------
    t : Tensor
        Of any shape. If it wasn't computed, it is the graph's only node.
    max_nodes : int or None
        How many nodes to keep, beside the result: the newest operations, and what goes into them. None for all.

    Returns
    -------
    Graph

    Raises
    ------
    TypeError
        If `t` isn't a Tensor.
    ValueError
        If `max_nodes` is less than 1.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd.viz.graph import graph
    >>> x = mg.tensor(3.0, requires_grad=True, name="x")
    >>> for node in graph(2 * x + 1).nodes:
    ...     print(node.id, node.kind, node.name or node.text, node.values.elements)
    n0 parameter x 3.0
    n1 operation 2 × 6.0
    n2 operation + 1 7.0
    result result  7.0
    """
    if not isinstance(t, Tensor):
        what = f"an array of shape {t.shape}" if isinstance(t, np.ndarray) else f"a {type(t).__name__}"
        raise TypeError(
            f"a picture is drawn of a Tensor, which knows how it was computed, not of {what}; compute with "
            f"mg.tensor(..., requires_grad=True) and draw the result (of a module or a function: what it returns)"
        )
    if max_nodes is not None and max_nodes < 1:
        raise ValueError(f"max_nodes={max_nodes} leaves nothing to draw; give at least 1, or None for all")
    last = t._node
    if not isinstance(last, Operation):
        return Graph([_leaf("n0", t.data, t.requires_grad, t.name, t.grad)])
    order = topological(last)
    kept, dropped = _newest(order, max_nodes)
    ids: dict[Thing, str] = {}
    nodes = [Node("older", "fold")] if dropped else []
    edges: list[Edge] = []
    for number, node in enumerate(order):
        if node not in kept:
            continue
        here = ids[node] = f"n{number}"
        if isinstance(node, Leaf):
            nodes.append(_leaf(here, node.data, node.requires_grad, node.name, node.grad))
            continue
        sources: list[str] = []
        for i, operand in enumerate(operands(node)):
            if operand in kept and operand not in ids:
                ids[operand] = f"{here}_{i}"
                nodes.append(Node(ids[operand], "input") if node.args is None else _leaf(ids[operand], node.args[i]))
            source = "" if operand is None else ids.get(operand, "older")
            if source and not (source == "older" and source in sources):  # one line is enough for all that is left out
                sources.append(source)
                edges.append(Edge(source, here, i))
        nodes.append(_operation(here, node))
    mixed = {ids[node] for node in kept if isinstance(node, Operation) and signs.has_constants(node)}
    nodes = _with_scopes(nodes, edges, mixed)
    grad = last.note.grad if last.note else None
    nodes.append(
        Node("result", "result", t.name, "", "", None, t.shape, str(t.dtype), values_of(t.data), values_of(grad))
    )
    edges.append(Edge(ids[last], "result"))
    return Graph(nodes, edges, dropped)


def topological(last: tape.Node) -> list[tape.Node]:
    """Return the nodes that lead to one, operands first, in the order in which a reader would compute it.

    Not by their positions: an optimizer's step makes a parameter newer than the results that were computed from it.
    """
    order: list[tape.Node] = []
    seen: set[tape.Node] = set()
    todo: list[tuple[tape.Node, bool]] = [(last, False)]
    while todo:
        node, operands_done = todo.pop()
        if operands_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            todo.append((node, True))
            if isinstance(node, Operation):
                todo.extend((p, False) for p in reversed(node.parents) if p is not None and p not in seen)
    return order


def operands(node: Operation) -> list[Thing | None]:
    """Return what goes into an operation: nodes, arrays by their identity, None for what its own text says."""
    if node.args is None:  # what `backward()` has let go of goes by a number that no id() can be
        return [p or (-node.position if signs.was_operand(node, i) else None) for i, p in enumerate(node.parents)]
    return [
        parent if parent is not None else id(arg) if signs.is_array(arg) else None
        for parent, arg in zip(node.parents, node.args, strict=True)
    ]


def _newest(order: list[tape.Node], max_nodes: int | None) -> tuple[set[Thing], int]:
    """Return the newest operations, with the leaves and arrays among their operands, and how many others there are.

    At most `max_nodes` are kept, of all together.
    """
    limit = math.inf if max_nodes is None else max_nodes
    lines = 0
    kept: set[Thing] = set()
    refused: set[int] = set()
    operations = [node for node in order if isinstance(node, Operation)]
    for node in sorted(operations, key=lambda node: -node.position):
        if len(kept) >= limit or lines > MOST_LINES * limit:
            break
        kept.add(node)
        lines += len(node.parents)
        for operand in operands(node):
            if operand is None or isinstance(operand, Operation):
                continue
            if len(kept) < limit:
                kept.add(operand)
            elif isinstance(operand, int) and operand not in kept:
                refused.add(operand)
    return kept, len(order) - sum(not isinstance(thing, int) for thing in kept) + len(refused)


def _leaf(id: str, data: Any, requires_grad: bool = False, name: str | None = None, grad: Any = None) -> Node:
    return Node(
        id,
        "parameter" if requires_grad else "input",
        name,
        shape=np.shape(data),
        dtype=str(data.dtype),
        values=values_of(data),
        grad=values_of(grad),
        scope=_scope_of(name) if requires_grad else (),
    )


def _operation(id: str, node: Operation) -> Node:
    text, detail = signs.written(node)
    dtype = node.dtype
    return Node(
        id,
        "operation",
        node.name,
        text=text,
        detail=detail,
        function=name_of(node.function),
        shape=node.shape,
        dtype=None if dtype is None else str(dtype),
        values=values_of(node.out),
        grad=values_of(node.note.grad) if node.note else None,
    )


def _scope_of(name: str | None) -> tuple[str, ...]:
    """Return the modules of a parameter whose name is a path: `("encoder", "encoder.0")` for `encoder.0.weight`."""
    parts = (name or "").split(".")
    if not all(part.isidentifier() or part.isdecimal() for part in parts):
        return ()
    return tuple(".".join(parts[:depth]) for depth in range(1, min(len(parts), DEEPEST_SCOPE + 1)))


def _with_scopes(nodes: list[Node], edges: list[Edge], mixed: set[str]) -> list[Node]:
    """Put each operation into the module whose parameters it uses, or between whose operations it lies.

    A value that was made of the parameters of one module alone (a transposed weight) counts as a parameter of it; one
    of the operations in `mixed` isn't made of them alone. A module between whose operations lie those of another (its
    parameters are used in two places) is given up: no frame can be drawn around it.
    """
    scopes = {node.id: node.scope for node in nodes if node.scope}
    if not scopes:
        return nodes
    operands: dict[str, list[str]] = {node.id: [] for node in nodes}
    for edge in edges:
        operands[edge.target].append(edge.source)
    owned = set(scopes)  # what only the parameters of one module went into
    for node in nodes:
        found = {scopes[source] for source in operands[node.id] if source in owned}
        if len(found) == 1:
            scopes[node.id] = found.pop()
            if node.id not in mixed and owned.issuperset(operands[node.id]):
                owned.add(node.id)
    for module in sorted({module for scope in scopes.values() for module in scope}, key=lambda m: -m.count(".")):
        outer = _scope_of(module)
        for id in (between := _between(module, scopes, operands)):
            if scopes.get(id, ()) != outer[: len(scopes.get(id, ()))]:
                scopes = {id: tuple(m for m in scope if m != module) for id, scope in scopes.items()}
                break
        else:
            scopes |= dict.fromkeys(between, (*outer, module))
    return [replace(node, scope=scopes.get(node.id, ())) for node in nodes]


def _between(module: str, scopes: dict[str, tuple[str, ...]], operands: dict[str, list[str]]) -> list[str]:
    """Return the ids of what isn't part of a module, but depends on it and is needed for it."""
    members = {id for id, scope in scopes.items() if module in scope}
    depend: set[str] = set()
    for id, sources in operands.items():
        if any(source in members or source in depend for source in sources):
            depend.add(id)
    needed: set[str] = set()
    for id in reversed(operands):
        if id in members or id in needed:
            needed.update(operands[id])
    return [id for id in operands if id in depend and id in needed and id not in members]


def values_of(array: Any) -> Values | None:
    """Return what to say of an array's numbers; None if it isn't there any more, or doesn't hold numbers.

    Parameters
    ----------
    array : array, Tensor, number, or what is left of one

    Returns
    -------
    Values or None

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.graph import values_of
    >>> values = values_of(np.array([3.0, 4.0, np.nan, 0.0, 5.0]))
    >>> values.elements, values.lowest, values.mean, values.highest, values.nan
    (None, 0.0, 3.0, 5.0, 1)
    """
    if isinstance(array, Tensor):
        array = array.data
    if not isinstance(array, np.ndarray | np.generic | int | float | complex):
        return None
    array = np.asarray(array)
    if array.dtype.kind not in "biufc":
        return None
    numbers = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    bad = ~np.isfinite(numbers)
    nan = int(np.isnan(numbers).sum())
    elements = array.item() if array.size == 1 else array.tolist() if array.size <= IN_FULL else None
    finite = numbers[~bad] if bad.any() else numbers
    largest = float(np.max(np.abs(finite), initial=0.0)) or 1.0  # sums of quotients by it can't overflow
    lowest = mean = highest = None
    if finite.size and array.dtype.kind != "c":
        lowest, highest = float(finite.min()), float(finite.max())
        mean = min(max(float(np.mean(finite / largest)) * largest, lowest), highest)
    norm = float(np.linalg.norm(finite / largest)) * largest
    if bad.any():
        norm = math.nan if nan else math.inf
    return Values(array.size, elements, lowest, mean, highest, norm, nan, int(bad.sum()) - nan)
