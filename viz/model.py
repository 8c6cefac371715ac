"""The graph of a computation as plain data, independent of how it is drawn.

Owns: `Graph` and its parts.
Must not own: how they are made from the tape (`graph.py`), how they are drawn
(`dot.py`), or references to arrays or nodes of the tape: a picture must not keep a
computation alive.
Read next: `graph.py`; `labels.py`, the words of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from microgradnd.viz.record import ScopeKind
from microgradnd.viz.values import Values

Kind = Literal["parameter", "input", "constant", "operation", "result", "fold"]
View = Literal["forward", "backward", "both"]
Direction = Literal["TB", "LR", "BT", "RL"]

T = TypeVar("T")
VIEWS: tuple[View, ...] = get_args(View)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True)
class Node:
    """One thing in the picture.

    Attributes
    ----------
    id : str
        The same in every drawing of the same computation, before and after
        `backward()`, folded or not: `n12` is the thirteenth variable or operation in
        the order of the program, `n12_0` the array that is its first argument, `result`
        the tensor that was asked for, and a fold has the id of the scope that it stands
        for.
    kind : str
        "parameter" (a leaf that requires a gradient), "input" (a leaf that doesn't),
        "constant" (an array that is no variable), "operation", "result" (the tensor
        that is drawn), or "fold" (one node for a whole scope).
    name : str or None
        The user's name for it; for a fold, its scope's path.
    text, detail : str
        An operation in mathematical notation with its constants (`@`, `× 2`), and the
        options of the call (`axis=0`). For a fold, its scope's label and a summary of
        its contents.
    function : str or None
        The name of an operation's function.
    shape, dtype : tuple of int and str, or None
        Of the array; None for a function with several results and for a fold.
    values, grad : Values or None
        The value, if the tape still has it, and its gradient, if there is one. For a
        fold: the gradients of all parameters in it together, and the values only if
        some aren't finite.
    accumulated : Values or None
        The `.grad` of a variable or value, if it isn't known to be the gradient of this
        computation.
    scope : tuple of str
        The ids of the scopes around it (keys of `Graph.scopes`), outermost first.
    line : tuple of str and int, or None
        File and line of the user's code that made it, if recorded.
    memory : int
        Bytes of its array; for a fold, of the arrays of all its operations.
    members : int
        How many operations it stands for: 1, more for a fold, 0 for a variable or
        constant.
    parameters : int
        How many trained numbers it holds.
    last_norm : float or None
        For an operation in a repeated scope: the norm of the gradient in its last copy;
        `grad` is from the first.
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
    accumulated: Values | None = None
    scope: tuple[str, ...] = ()
    line: tuple[str, int] | None = None
    memory: int = 0
    members: int = 0
    parameters: int = 0
    last_norm: float | None = None


@dataclass(frozen=True)
class Edge:
    """Node `source` is argument number `position` of node `target`.

    Attributes
    ----------
    flows : bool
        Whether a cotangent flows back along it.
    rule : str
        Its rule, as written in the table: `g * np.cos(x)`. Empty if no cotangent flows,
        and for edges into a fold.
    text : str
        The rule with the names of the operands: `g * np.cos(angle)`.
    numbers : str
        The rule with numbers and its result, if all are single numbers: `1 *
        np.cos(0.5) = 0.8776`.
    summed : tuple of int
        The axes of the target over which the cotangent is summed, since the argument
        was broadcast along them.
    grad : Values or None
        The cotangent itself, if the graph was made with `backward=True` and the tape
        still has the arrays.
    carried : bool
        Whether it runs from one copy of a repeated scope to the next; in the folded
        picture it points backward.
    """

    source: str
    target: str
    position: int = 0
    flows: bool = False
    rule: str = ""
    text: str = ""
    numbers: str = ""
    summed: tuple[int, ...] = ()
    grad: Values | None = None
    carried: bool = False


@dataclass(frozen=True)
class Scope:
    """A part of the computation that is framed, or folded to one node.

    Attributes
    ----------
    id : str
        Its key in `Graph.scopes`: the path, followed by `#2` for the second call of the
        same module.
    parent : str
        The id of the scope around it; empty for an outermost one.
    kind : str
        "module" (a call of an `nn.Module`), "scope" (a `with mg.scope(...)`), "repeat"
        (a part of a loop), or "stretch" (consecutive operations that have nothing else
        in common).
    path : str
        Its name for the user: `encoder.layers.3`; empty for an outermost module.
    label : str
        Its kind: `Linear(3, 32)`, `attention`.
    repeat : int
        How many consecutive copies it stands for; it shows the first.
    last : str
        The path of the last of these copies.
    operations, parameters, memory : int
        How many operations are in it, how many trained numbers that are used nowhere
        else, and how many bytes the results take. All its copies count, but only the
        first copy of the scopes around it.
    grad : Values or None
        The gradients of these parameters together.
    """

    id: str
    parent: str
    kind: ScopeKind
    path: str
    label: str
    repeat: int = 1
    last: str = ""
    operations: int = 0
    parameters: int = 0
    memory: int = 0
    grad: Values | None = None


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
        Outer ones before those within them. Folded ones are not among them: they are
        nodes of the same id.
    notes : list of str
        Sentences for the reader of the picture, mostly about folding.
    operations, parameters, memory : int
        How many operations and trained numbers there are, and how many bytes the
        results take, folded or not.
    grad : Values or None
        The gradients of all parameters together.
    """

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    scopes: dict[str, Scope] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    operations: int = 0
    parameters: int = 0
    memory: int = 0
    grad: Values | None = None


def nested(
    things: Iterable[tuple[tuple[str, ...], T]],
    scopes: Mapping[str, Scope],
    key: Callable[[T | Scope], Any] | None = None,
) -> Iterator[tuple[tuple[str, ...], T | Scope | None]]:
    """Yield things scope by scope: each scope, its contents, then None.

    Parameters
    ----------
    things : iterable of (tuple of str, thing)
        Each with the ids of the scopes around it, outermost first.
    scopes : dict of str to Scope
    key : callable, optional
        The key by which the contents of a scope are sorted; by default, they keep the
        order of `things`.

    Yields
    ------
    chain, thing : tuple of str, and a thing, a Scope or None
        The ids of the scopes around it.

    Examples
    --------
    >>> from microgradnd.viz.model import Scope, nested
    >>> scopes = {"a": Scope("a", "", "scope", "a", "a")}
    >>> things = [(("a",), 1), ((), 2), (("a",), 3)]
    >>> [getattr(thing, "id", thing) for chain, thing in nested(things, scopes)]
    ['a', 1, 3, None, 2]
    """
    inside: dict[tuple[str, ...], list[T | Scope]] = {(): []}
    for chain, thing in things:
        for depth in range(len(chain)):
            if chain[: depth + 1] not in inside:
                inside[chain[: depth + 1]] = []
                inside[chain[:depth]].append(scopes[chain[depth]])
        inside[chain].append(thing)
    todo: list[tuple[tuple[str, ...], T | Scope | None]] = []

    def enter(chain: tuple[str, ...]) -> None:
        contents = sorted(inside[chain], key=key) if key else inside[chain]
        todo.extend((chain, thing) for thing in reversed(contents))

    enter(())
    while todo:
        chain, thing_ = todo.pop()
        yield chain, thing_
        if isinstance(thing_, Scope):
            todo.append((chain, None))
            enter((*chain, thing_.id))
