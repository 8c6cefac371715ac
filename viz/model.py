"""The graph of a computation as plain data: what a picture shows, before anybody
decides how it looks.

Owns: `Graph` and its parts.
Must not own: how they are made from the tape (`graph.py`), how a thing is drawn
(`dot.py`), or a reference to an array or a node of the tape: a picture must not keep a
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
        that was asked for), or "fold" (one node for a whole scope).
    name : str or None
        What the user called it; of a fold its scope's path.
    text, detail : str
        An operation as mathematics writes it, with the constants that belong to it:
        `@`, `× 2`; and the options of the call: `axis=0`. Of a fold its scope's label,
        and what is in it.
    function : str or None
        The name of an operation's function.
    shape, dtype : tuple of int and str, or None
        Of the array; None for a function with several results, and for a fold.
    values, grad : Values or None
        The numbers, where the tape still has them, and those of the gradient, where
        there is one. Of a fold: the gradients of the parameters in it taken together,
        and the values only where one of them isn't finite.
    accumulated : Values or None
        What a variable's `.grad` holds, where it isn't the gradient of this
        computation, or nobody can tell.
    scope : tuple of str
        The ids of the scopes that it lies in (keys of `Graph.scopes`), outermost first.
    line : tuple of str and int, or None
        File and line of the user's code that made it, where that was recorded.
    memory : int
        How many bytes its array takes; of a fold, the arrays of its operations
        together.
    members : int
        How many operations it stands for: 1, or more for a fold; 0 for what isn't
        computed.
    parameters : int
        How many numbers it holds that are trained.
    last_norm : float or None
        Of an operation in a repeated scope: the norm of the gradient of its last copy;
        `grad` is that of the first.
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
    """A value on its way: node `source` is argument number `position` of node `target`.

    Attributes
    ----------
    flows : bool
        Whether a derivative flows back along it.
    rule : str
        That derivative, as the table has it: `g * np.cos(x)`. Empty where none flows,
        and into a fold.
    text : str
        The same with the names of the operands: `g * np.cos(angle)`.
    numbers : str
        The same with numbers, and what comes of them, where all are single: `1 *
        np.cos(0.5) = 0.8776`.
    summed : tuple of int
        The axes of the target over which that derivative is summed, since the argument
        was broadcast along them.
    grad : Values or None
        The derivative itself, where the graph was made with `backward=True` and the
        tape still has the arrays.
    carried : bool
        Whether it goes from one copy of a repeated scope to the next one: in the folded
        picture, backwards.
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
    """A part of the computation that belongs together, to be framed, or folded to one
    node.

    Attributes
    ----------
    id : str
        Its key in `Graph.scopes`: the path, with `#2` behind it for the second call of
        the same module.
    parent : str
        The id of the scope that it lies in; empty for an outermost one.
    kind : str
        "module" (a call of an `nn.Module`), "scope" (a `with mg.scope(...)`), "repeat"
        (a part of a loop), or "stretch" (operations that were recorded one after
        another, for want of anything better).
    path : str
        What the user knows it by: `encoder.layers.3`; empty for an outermost module.
    label : str
        What it is: `Linear(3, 32)`, `attention`.
    repeat : int
        How many copies of it in a row it stands for: what it shows is the first.
    last : str
        The path of the last of these copies.
    operations, parameters, memory : int
        How many operations are in it, how many numbers that are trained and go into
        nothing else, and how many bytes the operations' results take: of all its copies
        together, but of the first copy of those that it lies in.
    grad : Values or None
        The gradients of these parameters taken together.
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
        What a reader of the picture should know about it, in sentences: above all what
        was folded.
    operations, parameters, memory : int
        How many operations there are, how many numbers that are trained, and how many
        bytes the operations' results take: of the whole, folded or not.
    grad : Values or None
        The gradients of all parameters taken together.
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
    """Yield what lies in scopes, scope by scope: each scope before what is in it, and
    None behind it.

    Parameters
    ----------
    things : iterable of (tuple of str, thing)
        With the ids of the scopes around each, outermost first.
    scopes : dict of str to Scope
    key : callable, optional
        By what the contents of a scope are sorted; by default they stand in the order
        of `things`.

    Yields
    ------
    chain, thing : tuple of str, and a thing, a Scope or None
        The ids of the scopes around it.

    Examples
    --------
    >>> from microgradnd.viz.model import Scope, nested
    >>> scopes = {"a": Scope("a", "", "scope", "a", "a")}
    >>> [getattr(thing, "id", thing) for chain, thing in nested([(("a",), 1), ((), 2), (("a",), 3)], scopes)]
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
