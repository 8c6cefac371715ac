"""The tape behind a tensor as a list of operations, with ids and scopes.

Owns: the list, the ids, the results of the backward walk, and the tree of scopes.
Must not own: folding (`fold.py`), or the words about a node (`graph.py`).
Read next: `fold.py`.

Nothing here recurses, and each operation takes only a few steps: a tape may hold a
million.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np

from microgradnd.tape import Leaf, Node, Operation, Path, walk
from microgradnd.viz import signs

ScopeKind = Literal["module", "scope", "repeat", "stretch"]
Parts = list[tuple[int, Any]]  # by position
Thing = Node | int  # it can become a node of the graph; an array that is no variable goes by its id()

RESERVED = re.compile(r"n\d+(_\w+)?|result|stretch|repeat_\w+|.*_more")  # ids that no scope of the user may have


class Record:
    """The operations that lead to a result, oldest first.

    Attributes
    ----------
    operations : list of Operation
        In the order in which the program called them.
    index : dict of Operation to int
        The place of each in that list.
    ids : list of str
        The id of each operation. Variables are counted too, each just before its first
        use.
    leaf_ids : dict of Leaf to str
    is_over : bool
        Whether `backward()` has freed arrays.
    """

    def __init__(self, last: Operation) -> None:
        reached = [node for node in Path([last], ()).reached if isinstance(node, Operation)]
        self.operations = operations = sorted(reached, key=lambda node: node.recorded)
        self.index = {node: i for i, node in enumerate(operations)}
        self.is_over = any(node.args is None for node in operations)
        self.leaf_ids: dict[Leaf, str] = {}
        self.ids: list[str] = []
        count = 0
        for node in operations:
            for parent in node.parents:
                if isinstance(parent, Leaf) and parent not in self.leaf_ids:
                    self.leaf_ids[parent] = f"n{count}"
                    count += 1
            self.ids.append(f"n{count}")
            count += 1

    def operands(self, i: int) -> list[Thing | None]:
        """Return the operands: nodes, arrays by identity, None if the text says it."""
        node = self.operations[i]
        if node.args is None:  # an array that `backward()` freed goes by a number that no id() can be
            return [p or (-node.position if signs.was_operand(node, k) else None) for k, p in enumerate(node.parents)]
        return [
            parent if parent is not None else id(node.args[k]) if signs.is_constant(node, k) else None
            for k, parent in enumerate(node.parents)
        ]

    def changed(self) -> list[Leaf]:
        """Return the variables whose values changed after they had been used."""
        used = ((p, node) for node in self.operations for p in node.parents if isinstance(p, Leaf))
        return list(dict.fromkeys(leaf for leaf, node in used if leaf.position > node.position))

    def can_flow(self) -> bool:
        """Return whether the tape still has all arrays of the rules, unchanged."""
        return not self.is_over and not self.changed()

    def flow(self, step: Callable[[Operation, Any, Parts], None] | None = None) -> dict[Node, Any]:
        """Walk back from the result, without setting any `.grad` or calling hooks.

        Parameters
        ----------
        step : callable, optional
            `step(node, g, parts)` is called for each operation on the way. `g` is its
            incoming cotangent, and `parts` are the cotangents of its arguments: a list
            of (position, array).

        Returns
        -------
        dict of Node to array
            The cotangent of each leaf.
        """
        last = self.operations[-1]
        with np.errstate(all="ignore"):
            return walk([(last, np.ones_like(last.out))], done=step)

    def between(self, start: Node) -> set[int]:
        """Return which operations depend on a node, itself included."""
        found = {start}
        for node in self.operations:
            if not found.isdisjoint(node.parents):
                found.add(node)
        return {self.index[node] for node in found if isinstance(node, Operation)}


class Part:
    """A scope, with the operations and scopes within it.

    Attributes
    ----------
    children : list of int or Part
        In the order of the program; an operation by its index.
    repeat, last : int and str
        How many consecutive copies it stands for, and the path of the last.
    hidden : list of list of int
        The operations of each of these copies except the first.
    is_folded : bool
        Whether it is drawn as one node.
    """

    def __init__(self, kind: ScopeKind, path: str = "", label: str = "", parent: Part | None = None) -> None:
        self.kind = kind
        self.path = path
        self.label = label
        self.parent = parent
        self.id = ""
        self.children: list[int | Part] = []
        self.repeat = 1
        self.last = path
        self.hidden: list[list[int]] = []
        self.is_folded = False
        self.module: Any = None  # a weak reference

    def inside(self, is_shown: bool = False) -> Iterator[int | Part]:
        """Yield the operations and scopes within it, outer before inner.

        A scope that stands for several copies yields the first. With `is_shown`, the
        contents of folds are left out.
        """
        todo = list(reversed(self.children))
        while todo:
            thing = todo.pop()
            yield thing
            if isinstance(thing, Part) and not (is_shown and thing.is_folded):
                todo += reversed(thing.children)

    def parts(self, is_shown: bool = False) -> list[Part]:
        """Return the scopes within it in order, outer before inner."""
        return [thing for thing in self.inside(is_shown) if isinstance(thing, Part)]

    def operations(self) -> list[int]:
        """Return the indices of all operations within it, originals before copies."""
        found: list[int] = []
        todo: list[int | Part | list[list[int]]] = [self]
        while todo:
            thing = todo.pop()
            if isinstance(thing, int):
                found.append(thing)
            elif isinstance(thing, list):
                found += [i for copy in thing for i in copy]
            else:
                todo.append(thing.hidden)
                todo += reversed(thing.children)
        return found

    def ancestors(self) -> list[Part]:
        """Return the scopes around it, from the root to itself."""
        found, part = [self], self.parent
        while part is not None:
            found.append(part)
            part = part.parent
        return found[::-1]

    def around(self, children: list[int | Part]) -> Part:
        """Return this part, with new contents."""
        self.children = children
        for child in children:
            if isinstance(child, Part):
                child.parent = self
        return self

    def chain(self) -> tuple[str, ...]:
        """Return the ids of the scopes from the outermost to this one."""
        return tuple(part.id for part in self.ancestors()[1:])


def tree(record: Record, among: Iterable[int] | None = None) -> Part:
    """Return the scopes of a record and their operations, under one root.

    Parameters
    ----------
    record : Record
    among : iterable of int, optional
        The operations to take; all by default.
    """
    root = Part("scope")
    chains, marks = chains_of_marks(record)
    parts: dict[tuple[int, Part], Part] = {}
    for i in range(len(record.operations)) if among is None else sorted(among):
        part = root
        for start in chains.get(i, ()):
            if (start, part) not in parts:
                module, name = marks[start]
                inner = parts[start, part] = Part("scope" if module is None else "module", "", name, part)
                inner.module = module
                part.children.append(inner)
            part = parts[start, part]
        part.children.append(i)
    _name(root)
    _identify(root)
    return root


def chains_of_marks(record: Record) -> tuple[dict[int, list[int]], dict[int, tuple[Any, str]]]:
    """Return where the scopes of each operation were entered, and these scopes.

    A scope that is entered while another is open lies within it, so sorted positions
    run from outside to inside.
    """
    chains: dict[int, list[int]] = {}
    marks: dict[int, tuple[Any, str]] = {}
    returned: dict[int, list[Operation]] = {}
    for i, node in enumerate(record.operations):
        for start, module, name in node.note.marks if node.note else ():
            marks[start] = module, name
            if module is None:
                chains.setdefault(i, []).append(start)
            else:
                returned.setdefault(start, []).append(node)
    for start, todo in returned.items():
        seen = set(todo)
        while todo:
            node = todo.pop()
            chains.setdefault(record.index[node], []).append(start)
            for parent in node.parents:
                if isinstance(parent, Operation) and parent.position > start and parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
    for chain in chains.values():
        chain.sort()
    return chains, marks


def _name(root: Part) -> None:
    """Give modules their paths in the outermost module, and labels with settings."""
    paths: dict[int, dict[int, str]] = {}
    for part in root.parts():
        if part.kind == "scope":
            part.path = part.last = part.label
            continue
        module = part.module()
        if module is None:
            continue
        settings = str(module.extra_repr())
        part.label += f"({settings})" if settings else ""
        outer = part.parent
        while outer is not None:
            owner = outer.module() if outer.module is not None else None
            if owner is not None:
                if id(owner) not in paths:
                    paths[id(owner)] = {id(inner): path for path, inner in owner.named_modules()}
                part.path = paths[id(owner)].get(id(module), part.path)
            outer = outer.parent
        part.last = part.path


def _identify(root: Part) -> None:
    """Give each scope a unique id: its path, followed by a number if that is taken."""
    counts: dict[str, int] = {}
    taken: set[str] = set()
    for part in root.parts():
        name = part.path or part.label or "scope"
        if part.kind == "scope" and part.parent is not None and part.parent is not root:
            name = f"{part.parent.id}/{name}"
        if RESERVED.fullmatch(name):
            name = f"scope {name}"
        part.id = name
        while part.id in taken:
            counts[name] = counts.get(name, 1) + 1
            part.id = f"{name}#{counts[name]}"
        taken.add(part.id)
