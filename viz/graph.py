"""From the tape to the graph that a picture shows.

Owns: how `Graph` and its parts are made from the tape.
Must not own: what they are (`model.py`), or how they are drawn (`dot.py`).
Read next: `record.py`, the tape as a list; `fold.py`, which folds it; `signs.py` and
`rules.py`, the texts of operations and derivatives; `dot.py`.

`graph(t, max_nodes=200, depth=None, backward=False, to=None)` returns a `Graph`: nodes,
edges and scopes as plain data that JSON can hold. With `max_nodes=None` nothing is
folded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np

from microgradnd.registry import Results, name_of
from microgradnd.tape import Leaf, Operation
from microgradnd.tape import Node as TapeNode
from microgradnd.tensor import Tensor
from microgradnd.viz import signs
from microgradnd.viz.fold import fold, operations_of, shown
from microgradnd.viz.labels import repeated_text
from microgradnd.viz.loops import gathered
from microgradnd.viz.model import Edge, Graph, Kind, Node, Scope
from microgradnd.viz.names import Names
from microgradnd.viz.record import Part, Parts, Record, Thing, tree
from microgradnd.viz.rules import Template, is_formula, parameters_of, rule_text, summed_axes
from microgradnd.viz.signs import counted, number
from microgradnd.viz.values import Values, together, values_of

Arrays = dict[str, tuple[Any, Any]]

FEWEST = 4  # nodes: a fold, an operation with its operand, and the result
MOST_NAMED = 3_000  # operations; in larger graphs, rules have no names of operands
MOST_BESIDE = 2  # arrays or parameters that are shown next to a fold that has no other input
NO_GRADIENTS = (
    "Intermediate gradients are missing, since backward() freed the arrays: draw before it, or call "
    "backward(retain_graph=True)."
)


def graph(
    t: Tensor,
    max_nodes: int | None = 200,
    depth: int | None = None,
    backward: bool = False,
    to: Tensor | None = None,
    arrays: Arrays | None = None,
    unrolled: bool = False,
) -> Graph:
    """Return the graph of the computation that made a tensor.

    Parameters
    ----------
    t : Tensor
        The result, of any shape. If it wasn't computed, it is the only node.
    max_nodes : int or None
        The most nodes. A larger graph is folded: repeated parts to their first copy,
        then scopes to single nodes, the deepest first, then a stretch of the outermost
        level. Above 40 nodes, repeated parts are folded in any case. None folds
        nothing.
    depth : int or None
        Scopes nested this deep are folded.
    backward : bool
        Whether to compute the cotangent on each edge, if the tape still has the arrays.
    to : Tensor or None
        Keep only the paths from this tensor to the result.
    arrays : dict or None
        Filled with the value and the gradient of each node that is no fold, by id; None
        for missing or freed arrays. They are no copies: don't write to them.
    unrolled : bool
        Nothing is folded. Loops are scopes, and so is each of their iterations.

    Returns
    -------
    Graph

    Raises
    ------
    TypeError
        If `t` or `to` isn't a Tensor.
    ValueError
        If `max_nodes` or `depth` is too small, or `to` isn't part of the computation.

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
    >>> [(edge.source, edge.target, edge.rule) for edge in graph(2 * x + 1).edges]
    [('n0', 'n1', 'g * x'), ('n1', 'n2', 'g'), ('n2', 'result', '')]
    >>> arrays = {}
    >>> model = graph(2 * x + 1, backward=True, arrays=arrays)
    >>> [float(array) for array in arrays["n0"]]
    [3.0, 2.0]
    """
    _check(t, max_nodes, depth)
    if not isinstance(t._node, Operation):
        if to is not None and to is not t:
            raise _unconnected(to)
        kind: Kind = "parameter" if t.requires_grad else "input"
        node = _variable("n0", kind, t.data, t.name, None, t.grad)
        if arrays is not None:
            arrays["n0"] = t.data, _plain(t.grad)
        return Graph([node], parameters=node.parameters)
    return _Builder(t, max_nodes, depth, backward, to, arrays, unrolled).graph()


def changed_text(record: Record, backward: bool) -> list[str]:
    """Return a note on the variables that changed after they had been used."""
    changed = record.changed()
    if not changed:
        return []
    names = [repr(leaf.name) if leaf.name else f"a variable of shape {leaf.shape}" for leaf in changed[:3]]
    said = ", ".join(names) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    lost = ", so the gradients can't be computed" if backward and not record.is_over else ""
    return [f"Changed since the computation: {said}. The new values are shown{lost}."]


def kept_by(node: TapeNode) -> Any:
    """Return the `.grad` of a variable, or of a value that retains its gradient."""
    return _plain(node.grad if isinstance(node, Leaf) else node.note and node.note.grad)


def _plain(g: Any) -> Any:
    return g.data if isinstance(g, Tensor) else g


def _array(out: Any) -> Any:
    return None if isinstance(out, tuple) else out


def _check(t: Any, max_nodes: int | None, depth: int | None) -> None:
    if not isinstance(t, Tensor):
        what = f"an array of shape {t.shape}" if isinstance(t, np.ndarray) else f"a {type(t).__name__}"
        raise TypeError(
            f"pictures are drawn of Tensors, which know how they were computed, got {what}; compute with "
            f"mg.tensor(..., requires_grad=True) and draw the result (of a module, a function or vmap: what it returns)"
        )
    if isinstance(t._node, Operation) and not t.requires_grad:
        raise ValueError(
            "a value inside mg.compile has no computation to draw, since only the program that it becomes is recorded; "
            "draw the result of the function that isn't compiled"
        )
    if max_nodes is not None and not (isinstance(max_nodes, Real) and max_nodes >= FEWEST):
        raise ValueError(f"max_nodes must be at least {FEWEST}, or None for all nodes, got {max_nodes!r}")
    if depth is not None and not (isinstance(depth, Real) and depth >= 0):
        raise ValueError(f"depth must be 0 (fold every scope) or more, or None (fold none), got {depth!r}")


def _unconnected(to: Any) -> ValueError:
    return ValueError(
        f"{repr(to.name) if to.name else 'the tensor'} of shape {to.shape} isn't part of the computation of this "
        f"result: pass a tensor that it was computed from, or draw the whole with viz.draw(t)"
    )


@dataclass
class _Outside:
    """A leaf or constant, with its uses as pairs of target and position."""

    id: str
    kind: Kind
    data: Any
    leaf: Leaf | None
    edges: dict[tuple[int | Part, int], None] = field(default_factory=dict)

    def targets(self) -> list[int | Part]:
        return list(dict.fromkeys(target for target, _ in self.edges))


@dataclass
class _Total:
    """The contents of a scope, added up."""

    operations: int = 0
    parameters: int = 0
    memory: int = 0
    grads: list[Any] = field(default_factory=list)

    def grad(self) -> Values | None:
        return together(self.grads)


class _Builder:
    """Puts a graph together.

    Attributes
    ----------
    things : list of int or Part
        The drawn things in order: operations by their indices, and folded scopes.
    stands_for : list of int or Part
        What is drawn for each operation: itself, its original in the first copy, or a
        fold.
    copies : dict of int to tuple
        The copies of repeated scopes that each operation lies in.
    home : dict of int to Part
        The innermost scope of each drawn operation.
    """

    def __init__(
        self,
        t: Any,
        max_nodes: int | None,
        depth: int | None,
        backward: bool,
        to: Any,
        arrays: Arrays | None,
        unrolled: bool,
    ) -> None:
        self.t, self.arrays, self.backward = t, arrays, backward
        self.record = Record(t._node)
        self.start = None if to is None else self.node_of(to)
        self.among = set(range(len(self.record.operations))) if to is None else self.record.between(to._node)
        self.root = gathered(self.record) if unrolled else tree(self.record, self.among)
        self.notes = [] if unrolled else fold(self.record, self.root, max_nodes, depth)
        self.most = math.inf if max_nodes is None else max_nodes
        self.things = shown(self.root)
        parts = self.root.parts(is_shown=True)
        self.repeated = {part.id for part in parts if part.repeat > 1 and not unrolled}
        self.copies_of_loops = {
            part.id: part for part in parts if unrolled and part.parent and part.parent.kind == "repeat"
        }
        self.ends: dict[Any, Any] | None = None  # the cotangents of leaves, if the picture walked back
        self.arrived: dict[int, Values | None] = {}
        self.last_norms: dict[Any, Values | None] = {}
        self.sent: dict[Any, tuple[Any, Values | None]] = {}  # the last part sent to each node, often the only one
        self.parts: dict[Any, Any] = {}  # the cotangent on each edge, by (operation, position) or (operation, fold)
        self.rules: dict[Any, tuple[str, Template, list[str]]] = {}
        self.called = Names(self.record)
        self.texts: dict[int, tuple[str, str]] = {}
        self.passed: dict[Any, Any] = {}  # the cotangents of values that retain their gradients

    def walk(self) -> None:
        """Find what is drawn for each operation, and which gradients flow there."""
        backward = self.backward
        self.locate()
        self.notes += changed_text(self.record, backward)
        keeping = [node for node in self.record.operations if kept_by(node) is not None]
        if backward:
            self.let_flow()
        elif self.record.can_flow() and (keeping or any(leaf.grad is not None for leaf in self.record.leaf_ids)):
            self.ends = self.record.flow(self.look_at_kept)
        nodes: list[TapeNode] = [*self.record.leaf_ids, *keeping]
        self.gradients = {node: self.gradient(node, backward) for node in nodes}

    def gradient(self, node: TapeNode, backward: bool) -> tuple[Any, Any]:
        """Return a node's gradient in this computation, and its `.grad` if it differs.

        Without a walk, `.grad` is trusted only if `backward()` has freed this
        computation. Without `backward`, the walk only tells whether `.grad` is right.
        """
        kept = kept_by(node)
        if self.ends is None:
            return (kept, None) if self.record.operations[-1].args is None else (None, kept)
        g = self.passed.get(node, self.ends.get(node))
        if g is not None and np.iscomplexobj(g):
            g = np.conj(g)  # as `.grad` is
        if kept is None:
            return g if backward else None, None
        is_same = g is not None and np.array_equal(g, kept, equal_nan=True)
        return g if backward or is_same else None, None if is_same else kept

    def node_of(self, to: Any) -> Any:
        """Return the node of `to`, where the drawn paths begin."""
        if not isinstance(to, Tensor):
            raise TypeError(f"to= must be a Tensor that the result was computed from, got a {type(to).__name__}")
        if to._node not in self.record.index and to._node not in self.record.leaf_ids:
            raise _unconnected(to)
        return to._node

    def locate(self) -> None:
        """Find what is drawn for each operation, and the copies that it lies in."""
        self.stands_for: list[Any] = list(range(len(self.record.operations)))
        self.copies: dict[int, tuple[Any, ...]] = {}
        self.home: dict[int, Part] = {}
        for part in [self.root, *self.root.parts(is_shown=True)]:
            self.home.update((child, part) for child in part.children if isinstance(child, int))
            if part.is_folded:
                for i in part.operations():
                    self.stands_for[i] = part
            elif part.hidden:
                first = [i for child in part.children for i in operations_of(child)]
                for number, copy in enumerate([first, *part.hidden]):
                    place = ((part, number),)
                    for i, original in zip(copy, first, strict=True):
                        self.copies[i] = self.copies[i] + place if i in self.copies else place
                        if number:
                            self.stands_for[i] = original
        for i, thing in enumerate(self.stands_for):  # an original is older than its copies, so it has been dealt with
            if isinstance(thing, int) and thing != i:
                self.stands_for[i] = self.stands_for[thing]

    def is_copy(self, i: int) -> bool:
        """Return whether another operation is drawn in the place of this one."""
        return isinstance(self.stands_for[i], int) and self.stands_for[i] != i

    def carries(self, p: int, q: int) -> bool:
        """Return whether two operations lie in different copies of the same scope."""
        ours, theirs = self.copies.get(q), self.copies.get(p)
        if ours is None or theirs is None or ours is theirs:
            return False
        numbers = dict(theirs)
        return any(numbers.get(part, number) != number for part, number in ours)

    def let_flow(self) -> None:
        """Walk back, and note the cotangents of everything that is drawn."""
        record = self.record
        if record.is_over:
            self.notes.append(NO_GRADIENTS)
        elif record.can_flow():
            if record.operations[-1].shape != ():
                self.notes.append("The gradients are those of the sum of the result's elements.")
            if any(leaf.requires_grad and leaf.dtype.kind == "c" for leaf in record.leaf_ids):
                self.notes.append("The gradient of a complex variable is the conjugate of what the rules give.")
            self.drawn = {thing for thing in self.things if isinstance(thing, int)}
            self.ends = record.flow(self.look_at)
            self.parts = {k: v if isinstance(v, Values | None) else values_of(v) for k, v in self.parts.items()}

    def look_at_kept(self, node: Operation, g: Any, parts: Parts) -> None:
        """Note the cotangent of an operation that retains its gradient."""
        if kept_by(node) is not None:
            self.passed[node] = g

    def look_at(self, node: Operation, g: Any, parts: Parts) -> None:
        """Note the cotangents of a drawn operation and of its arguments."""
        self.look_at_kept(node, g, parts)
        q = self.record.index[node]
        target = self.stands_for[q]
        if self.arrays is not None and (q in self.drawn or q == len(self.stands_for) - 1):
            self.arrays[self.record.ids[q]] = _array(node.out), _array(g)
        if q in self.drawn:
            alone, said = self.sent.pop(node, (None, None))
            self.arrived[q] = said if alone is g else values_of(g)
        elif target in self.drawn and all(number == part.repeat - 1 for part, number in self.copies[q]):
            self.last_norms[target] = values_of(g)
        for k, new in parts:
            parent = node.parents[k]
            if target == q:
                self.parts[q, k] = values_of(new)
                self.sent[parent] = new, self.parts[q, k]
            elif isinstance(target, Part) and (
                isinstance(parent, Leaf) or self.stands_for[self.record.index[parent]] is not target
            ):
                key = parent, target
                self.parts[key] = self.parts[key] + new if key in self.parts else new

    def graph(self) -> Graph:
        """Return the graph."""
        self.walk()
        record = self.record
        self.add_up()
        lines = self.lines()
        outside = self.outside({target for _, target, _, _ in lines})
        grouped = self.grouped(outside)
        self.offsets: dict[tuple[str, Any], int] = {
            (id, i): n for id, part in self.copies_of_loops.items() for n, i in enumerate(part.operations())
        }
        self.alike = Counter(use for thing in outside if thing.kind != "parameter" for _, use in self.uses(thing))
        starts: dict[Any, list[_Outside]] = {}
        order = {thing: number for number, thing in enumerate(self.things)}
        for outsider in outside:
            starts.setdefault(min(outsider.targets(), key=lambda target: order[target]), []).append(outsider)
        nodes, into = [], dict[Any, list[Edge]]()
        for (source, target, k, carried), p in lines.items():
            into.setdefault(target, []).append(self.edge(self.id_of(source), record.operations[p], target, k, carried))
        for outsider in outside:
            for target, k in outsider.edges:
                into.setdefault(target, []).append(self.edge(outsider.id, outsider.leaf, target, k))
        for thing in self.things:
            nodes += [self.outside_node(leaf) for leaf in starts.get(thing, ())]
            if isinstance(thing, int) and thing in grouped:
                id = f"{self.id_of(thing)}_more"
                nodes.append(replace(grouped[thing], id=id, scope=self.scope_of(thing)))
                count = len(record.operations[thing].parents)
                into.setdefault(thing, []).append(Edge(id, self.id_of(thing), count, grouped[thing].parameters > 0))
            nodes.append(self.fold_node(thing) if isinstance(thing, Part) else self.operation_node(thing))
        edges = [edge for thing in self.things for edge in sorted(into.get(thing, ()), key=lambda edge: edge.position)]
        last = self.stands_for[-1]
        nodes.append(self.result_node())
        edges.append(Edge(self.id_of(last), "result", 0, True))
        whole = self.totals[self.root]
        count = len(record.operations)
        return Graph(nodes, edges, self.scopes(), self.said(), count, whole.parameters, whole.memory, whole.grad())

    def add_up(self) -> None:
        """Add up what is in each scope that is drawn, of a repeated one in all copies,
        and in the whole.

        Of what lies within a repeated scope the first copy counts, for that is what is
        drawn.
        """
        self.totals = {part: _Total() for part in [self.root, *self.root.parts(is_shown=True)]}
        chains: dict[Any, list[Part]] = {}
        users: dict[Leaf, list[Part]] = {}
        for i, node in enumerate(self.record.operations):
            thing = next((part for part, number in self.copies.get(i, ()) if number), self.stands_for[i])
            place = thing if isinstance(thing, Part) else self.home.get(thing, self.root)
            if place not in chains:
                chains[place] = place.ancestors()
            memory = _memory(node)
            for part in chains[place]:
                self.totals[part].operations += 1
                self.totals[part].memory += memory
            for parent in node.parents:
                if isinstance(parent, Leaf) and parent.requires_grad:
                    known = users.setdefault(parent, chains[place])
                    if known is not chains[place]:
                        users[parent] = [a for a, b in zip(known, chains[place], strict=False) if a is b]
        for leaf, parts in users.items():
            for part in parts:
                self.totals[part].parameters += leaf.data.size
                self.totals[part].grads.append(self.gradients[leaf][0])

    def lines(self) -> dict[tuple[Any, Any, int, bool], int]:
        """Return the edges by source, target, position and whether they are carried."""
        record, found = self.record, dict[tuple[Any, Any, int, bool], int]()
        pairs: dict[tuple[Any, Any], int] = {}  # the first copy that each pair stands for
        for q in sorted(self.among):
            target = self.stands_for[q]
            for k, parent in enumerate(record.operations[q].parents):
                p = record.index.get(parent)
                if p not in self.among:
                    continue
                source = self.stands_for[p]
                carried = self.carries(p, q)
                within = source is target and isinstance(target, Part)
                repeated = not carried and p in self.copies and self.is_copy(q) and self.is_copy(p)  # in the first copy
                if within or repeated:
                    continue
                if pairs.setdefault((source, target), p) != p and self.is_copy(p):
                    continue  # all copies go into, say, one np.concatenate
                found.setdefault((source, target, 0 if isinstance(target, Part) else k, carried), p)
        return found

    def outside(self, reached: set[Any]) -> list[_Outside]:
        """Return the leaves and constants that are drawn.

        A leaf or constant that only one fold uses lies in it. An input stays outside,
        and so does the start of a fold that has no other input.
        """
        found: dict[Thing, _Outside] = {}
        for q in sorted(self.among):
            target = self.stands_for[q]
            for k, operand in enumerate(() if self.is_copy(q) else self.record.operands(q)):
                if operand is None or isinstance(operand, Operation) or self.start not in (None, operand):
                    continue
                if operand not in found:
                    found[operand] = self.outsider(operand, q, k)
                found[operand].edges[target, 0 if isinstance(target, Part) else k] = None
        drawn = []
        inside: dict[Part, list[_Outside]] = {}
        for thing in found.values():
            fold_, *others = thing.targets()
            if not others and isinstance(fold_, Part) and thing.kind != "input":
                inside.setdefault(fold_, []).append(thing)
            else:
                drawn.append(thing)
        reached = reached.union(*(thing.targets() for thing in drawn))
        for fold_, things in inside.items():
            if fold_ not in reached:
                constants = [thing for thing in things if thing.kind == "constant"]
                drawn += (constants or things)[:MOST_BESIDE]
        return drawn

    def outsider(self, operand: Any, q: int, k: int) -> _Outside:
        node = self.record.operations[q]
        if isinstance(operand, Leaf):
            kind: Kind = "parameter" if operand.requires_grad else "input"
            return _Outside(self.record.leaf_ids[operand], kind, operand.data, operand)
        return _Outside(f"{self.record.ids[q]}_{k}", "constant", node.args and node.args[k], None)

    def grouped(self, outside: list[_Outside]) -> dict[Any, Node]:
        """Group surplus leaves, starting with the operations that have most."""
        groups: dict[Any, Node] = {}
        own: dict[Any, list[_Outside]] = {}
        for thing in outside:
            target, *others = thing.targets()
            if not others:
                own.setdefault(target, []).append(thing)
        away: set[int] = set()
        for target, things in sorted(own.items(), key=lambda item: -len(item[1])):
            excess = len(self.things) + len(outside) - len(away) + len(groups) + 1 - self.most
            if excess <= 0:
                break
            if isinstance(target, Part):  # the fold holds them
                away.update(map(id, things))
                continue
            rest = things[max(len(things) - int(excess) - 1, 0) :]
            if len(rest) == 1:
                continue
            away.update(map(id, rest))
            word = "parameters" if all(thing.kind == "parameter" for thing in rest) else "inputs"
            numbers = sum(np.size(thing.data) for thing in rest if thing.kind == "parameter")
            groups[target] = Node("", "fold", text=f"{len(rest):,} more {word}", parameters=numbers)
        outside[:] = [thing for thing in outside if id(thing) not in away]
        return groups

    def edge(self, source: str, parent: Any, target: Any, k: int, carried: bool = False) -> Edge:
        flows = parent is not None and parent.requires_grad
        if isinstance(target, Part):
            return Edge(source, target.id, k, flows, grad=self.parts.get((parent, target)), carried=carried)
        node = self.record.operations[target]
        if not flows:
            return Edge(source, self.record.ids[target], k, carried=carried)
        rule, template, letters = self.rule_of(target, k)
        grad = self.parts.get((target, k))
        text, numbers = "", ""
        if rule and len(self.things) <= MOST_NAMED:
            names = self.called.in_rule(node, letters)
            text = template.put(names)
            numbers = self.numbers(target, template, letters, names, grad)
        return Edge(source, self.record.ids[target], k, flows, rule, text, numbers, summed_axes(node, k), grad, carried)

    def rule_of(self, i: int, k: int) -> tuple[str, Template, list[str]]:
        """Return an argument's rule, as text and as a template, and its letters."""
        node = self.record.operations[i]
        shapes = tuple(p and p.shape for p in node.parents)
        key = node.function, k, node.shape, shapes, self.written(i)
        if key not in self.rules:
            rule, letters = rule_text(node, k), parameters_of(node.function, k)
            text = rule
            for letter, shape in zip(letters, shapes, strict=False):
                text = text.replace(f"{letter}.shape", str(shape)) if shape is not None else text
            words = [*letters, *node.kwargs]
            if not is_formula(text):
                words = [letter for letter, parent in zip(letters, node.parents, strict=False) if parent is not None]
            self.rules[key] = rule, Template(text, ["g", "out", *words]), letters
        return self.rules[key]

    def numbers(
        self, i: int, template: Template, letters: list[str], names: dict[str, str], grad: Values | None
    ) -> str:
        """Return a rule with numbers and its result; empty if one is an array."""
        node, g = self.record.operations[i], self.arrived.get(i)
        if node.shape != () or node.args is None or grad is None or g is None or not isinstance(grad.elements, float):
            return ""
        known = {"g": g.elements, "out": np.asarray(node.out).item()}
        known |= {
            letter: arg.item()
            for letter, arg in zip(letters, node.args, strict=False)
            if np.shape(arg) == () and isinstance(arg, np.ndarray | np.generic)
        }
        made = {word: number(known[word]) for word in template.words if isinstance(known.get(word), float)}
        computed = {letter for letter, parent in zip(letters, node.parents, strict=False) if parent is not None}
        if template.words & {"g", "out", *computed} - set(made):
            return ""
        put, result = template.put(names | made), number(grad.elements)
        return f"{put} = {result}" if put != result and is_formula(put) else result

    def written(self, i: int) -> tuple[str, str]:
        """Return the sign of an operation and the details of the call."""
        if i not in self.texts:
            self.texts[i] = signs.written(self.record.operations[i])
        return self.texts[i]

    # The texts and numbers of each thing

    def id_of(self, thing: int | Part) -> str:
        return thing.id if isinstance(thing, Part) else self.record.ids[thing]

    def scope_of(self, thing: int | Part) -> tuple[str, ...]:
        """Return the ids of the scopes around a thing that is drawn."""
        part = thing.parent if isinstance(thing, Part) else self.home[thing]
        return part.chain() if part is not None else ()

    def scopes(self) -> dict[str, Scope]:
        """Return the scopes that are drawn as such."""
        found = {}
        for part in self.root.parts(is_shown=True):
            if not part.is_folded:
                total = self.totals[part]
                outer = part.parent.id if part.parent is not None else ""
                counts = total.operations, total.parameters, total.memory, total.grad()
                found[part.id] = Scope(
                    part.id, outer, part.kind, part.path, part.label, part.repeat, part.last, *counts
                )
        return found

    def common(self, thing: _Outside) -> tuple[str, ...]:
        """Return the ids of the scopes around all uses of a leaf or constant."""
        scopes = [self.scope_of(target) for target in thing.targets()]
        return tuple(ids[0] for ids in zip(*scopes, strict=False) if len(set(ids)) == 1)

    def uses(self, thing: _Outside) -> Iterator[tuple[int, Any]]:
        """Yield the depth of each iteration that alone uses a leaf or constant, and the
        place of this use in the body of the loop.
        """
        target, position = next(iter(thing.edges))
        for depth, id in enumerate(self.common(thing)):
            if (part := self.copies_of_loops.get(id)) is not None:
                yield depth, (part.parent, self.offsets[id, target], position)

    def outside_node(self, thing: _Outside) -> Node:
        common = self.common(thing)
        if thing.kind != "parameter":  # it comes from outside, unless each copy of a repeated scope has its own
            own = [depth for depth, id in enumerate(common) if thing.kind == "constant" and id in self.repeated]
            own += [depth for depth, use in self.uses(thing) if self.alike[use] > 1]
            common = common[: own[-1] + 1] if own else ()
        grad, accumulated = (None, None) if thing.leaf is None else self.gradients[thing.leaf]
        if self.arrays is not None:
            self.arrays[thing.id] = thing.data, grad
        return _variable(thing.id, thing.kind, thing.data, thing.leaf and thing.leaf.name, grad, accumulated, common)

    def operation_node(self, i: int) -> Node:
        node = self.record.operations[i]
        text, detail = self.written(i)
        last = self.last_norms.get(i)
        grad, accumulated = self.grads_of(i)
        if self.arrays is not None:
            self.arrays.setdefault(self.record.ids[i], (_array(node.out), self.gradients.get(node, (None, None))[0]))
        return Node(
            self.record.ids[i],
            "operation",
            node.name,
            text=text,
            detail=detail,
            function=name_of(node.function),
            shape=node.shape,
            dtype=None if node.dtype is None else str(node.dtype),
            values=values_of(node.out),
            grad=grad,
            accumulated=accumulated,
            scope=self.scope_of(i),
            line=node.note.line if node.note else None,
            memory=_memory(node),
            members=1,
            last_norm=None if last is None else last.norm,
        )

    def fold_node(self, part: Part) -> Node:
        """Return the node for a whole scope: its size, gradients and alarms."""
        total = self.totals[part]
        said = counted(total.operations, "operation") + (" between" if part.kind == "stretch" else "")
        if total.parameters:
            said += f", {counted(total.parameters, 'parameter')}"
        outs = (_array(self.record.operations[i].out) for i in part.operations())
        return Node(
            part.id,
            "fold",
            part.path if part.last == part.path else f"{part.path} … {part.last}",
            text=repeated_text(part.label, part.repeat),
            detail=said,
            values=together(outs, only_bad=True),
            grad=total.grad(),
            scope=self.scope_of(part),
            memory=total.memory,
            members=total.operations,
            parameters=total.parameters,
        )

    def result_node(self) -> Node:
        t, (grad, other) = self.t, self.grads_of(len(self.record.operations) - 1)
        if self.arrays is not None:
            self.arrays["result"] = t.data, self.arrays.get(self.record.ids[-1], (None, None))[1]
        seen = values_of(t.data)
        shape, dtype = t.shape, str(t.dtype)
        return Node("result", "result", t.name, shape=shape, dtype=dtype, values=seen, grad=grad, accumulated=other)

    def grads_of(self, i: int) -> tuple[Values | None, Values | None]:
        """Return the gradient of an operation, and its `.grad` if that is another."""
        g, other = self.gradients.get(self.record.operations[i], (None, None))
        return self.arrived.get(i) or values_of(g), values_of(other)

    def said(self) -> list[str]:
        """Return the sentences for the reader of the picture."""
        drawn, count = sum(isinstance(thing, int) for thing in self.things), len(self.among)
        if drawn == count:
            return self.notes
        return [f"{count:,} operations, of which {drawn:,} {'is' if drawn == 1 else 'are'} drawn.", *self.notes]


def _memory(node: Operation) -> int:
    if type(node.out) is Results:
        return sum(part.nbytes for part in node.out)
    return 0 if node.shape is None else math.prod(node.shape) * node.dtype.itemsize


def _variable(
    id: str, kind: Kind, data: Any, name: str | None, grad: Any, accumulated: Any, scope: tuple[str, ...] = ()
) -> Node:
    if data is None:  # `backward()` freed it
        return Node(id, kind, scope=scope)
    size = int(np.size(data))
    return Node(
        id,
        kind,
        name,
        shape=np.shape(data),
        dtype=str(data.dtype),
        values=values_of(data),
        grad=values_of(grad),
        accumulated=values_of(accumulated),
        scope=scope,
        memory=size * data.dtype.itemsize,
        parameters=size if kind == "parameter" else 0,
    )
