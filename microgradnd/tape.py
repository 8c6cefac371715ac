"""The recorded program: the operations in order, and the two walks over them.

Owns: the nodes of the computation graph (`Leaf`, `Operation`), their positions, the
walks over them (backward with VJP rules, forward with JVP rules), and the mode in which
calls are recorded.
Must not own: `Tensor` (a walk that is itself recorded receives a function that makes
Tensors), or any rule.
Read next: `tensor.py`, which records; `registry.py`, where the rules are looked up.

Each operation refers to its operands, and only these references keep the tape alive, so
it is freed as soon as nothing can reach it. Every new node takes the next number: its
position. An operand is always older than its result, so "newest first" is a valid order
for backpropagation, and a heap of positions does all the sorting. A variable that is
updated in place takes a new position, and so does every node that shares its memory. An
operation that is older than its operand used another value; both walks refuse it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any, Concatenate, NamedTuple, Protocol, final
from weakref import ref

import numpy as np

from microgradnd import refusals
from microgradnd.annotations import P, R
from microgradnd.broadcasting import fit, fit_tangent
from microgradnd.failures import fail_rule
from microgradnd.registry import JVPS, VJPS, Function, Joint, Placed, Results, name_of, rule_for

ndarray, float64 = np.ndarray, np.float64  # NumPy looks its names up by a function, which takes time
next_position = itertools.count(1).__next__

Lift = Callable[[Any, "Node"], Any]  # (array, node) -> an object that records its use
KEPT_SIZE = 8  # outputs this small are kept for pictures; their shape alone would take as much memory
POSITION = attrgetter("position")
WORK: Any = 10_000  # the effort to rule out an overlap of interleaved views


@final
class Leaf:
    """A variable: an array that was not computed on the tape, and its gradient.

    `aliases` are weak references to the nodes whose arrays share its memory, itself
    included; None if no view of it was ever taken. `is_input` says that it is the fresh
    input of a transform.
    """

    __slots__ = ("__weakref__", "aliases", "data", "grad", "hooks", "is_input", "name", "position", "requires_grad")

    def __init__(self, data: Any, requires_grad: bool, name: str | None = None, is_input: bool = False) -> None:
        self.data, self.is_input = data, is_input
        self.requires_grad = requires_grad
        self.name = name
        self.grad: Any = None
        self.hooks: dict[int, Callable[[Any], Any]] | None = None
        self.aliases: list[ref[Node]] | None = None
        self.position = next_position()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype


class Note:
    """Extra data about an operation. Few operations have any, so it shares one slot.

    A mark is (position, module, name). A `mg.scope` marks each operation recorded in
    it, without a module. A module's call marks its results, with a weak reference to
    the module and its class's name; the call includes everything behind its results
    that is newer than the position.
    """

    name: str | None = None
    grad: Any = None
    retain_grad = False
    hooks: dict[int, Callable[[Any], Any]] | None = None
    marks: tuple[tuple[int, Any, str], ...] = ()
    line: tuple[str, int] | None = None  # of the user's code, if asked for
    recorded: int | None = None  # its first position, if a change of its memory gave it a newer one
    check: Callable[[Operation], None] | None = None  # raises if an array that it used has changed
    is_walked = False  # whether backward() was called on it


class Operation:
    """A value: one recorded call `out = function(*args, **kwargs)` on arrays.

    `parents` mirrors `args`: the node of each argument, None for a constant. Once
    `backward()` has freed the arrays, `args` is None, and `out` is (shape, dtype)
    unless it was small.
    """

    __slots__ = ("__weakref__", "args", "function", "kwargs", "note", "out", "parents", "position")
    requires_grad = True

    def __init__(
        self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], parents: tuple[Any, ...], out: Any
    ) -> None:
        self.function = function
        self.args: tuple[Any, ...] | None = args
        self.kwargs = kwargs
        self.parents = parents
        self.out = out
        self.note: Note | None = None
        self.position = next_position()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the output; None for several results."""
        return self.out[0] if type(self.out) is tuple else self.out.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the output; None for several results."""
        return self.out[1] if type(self.out) is tuple else self.out.dtype

    @property
    def name(self) -> str | None:
        return self.note.name if self.note else None

    @property
    def recorded(self) -> int:
        """Its position when it was recorded: the order of the program."""
        return self.position if self.note is None or self.note.recorded is None else self.note.recorded

    def annotate(self) -> Note:
        """Return the note of this operation, a new one if it has none."""
        if self.note is None:
            self.note = Note()
        return self.note


Node = Leaf | Operation


def touch(leaf: Leaf) -> None:
    """Note a change of a variable in place: all that shares its memory is new.

    A recorded view becomes older than the variable that it was taken from, so no walk
    passes it any more.
    """
    for reference in leaf.aliases or ():
        node = reference()
        if node is None or node is leaf:
            continue
        array = node.data if isinstance(node, Leaf) else node.out
        if isinstance(array, np.ndarray) and np.may_share_memory(array, leaf.data, WORK):
            if isinstance(node, Operation):
                node.annotate().recorded = node.recorded
            node.position = next_position()
    leaf.position = next_position()


class Tracer(Protocol):
    """The engine's interface to a tracer, which writes a call down as a program.

    A trace records everything, also calls without a derivative. Nothing may look at a
    value, because the program is for all values. The class `variable` holds everything
    that a Tensor does differently in a trace. See `compiler/`.
    """

    @property
    def variable(self) -> Any:
        """The subclass of Tensor for computed values; its methods take any Tensor."""

    def record(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> Operation:
        """Return the node of a call, as `Operation` does."""

    def record_constant(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> Operation:
        """Return the node of a call without a derivative, as under `no_grad`."""

    def fold(self) -> None:
        """Shorten what has been recorded, before a walk through it begins."""

    def arrived(self, node: Node, g: Any, is_last: bool) -> None:
        """Note that a cotangent is complete: `g`, a Tensor, belongs to this node.

        If `is_last`, no other walk can pass the operation, or g will be added to the
        leaf's gradient.
        """

    def is_value(self, function: Any, result: Any) -> bool:
        """Return whether the program computes a result that has no derivative.

        If not, the result is known now.
        """

    def failed(self, error: Exception) -> None:
        """Note an exception: nothing may catch it, for it depends on values."""

    def assign(self, variable: Any, value: Any, index: Any = ...) -> None:
        """Let a variable stand for a new value, which differs from the old at an index.

        This holds for the rest of the trace.
        """

    def depends(self, thing: Any) -> None:
        """Note that the program depends on the result of an object's `__form__`."""

    def number(self, value: Any, node: Node) -> Any:
        """Return a Tensor for a Python number, which keeps an array's dtype."""

    def array(self, tensor: Any) -> Any:
        """Return a Tensor's array for a plain argument, recognisable as the Tensor."""

    def refusal(self, what: str, advice: str = "") -> Exception:
        """Return the error for an operation that would look at a value."""


class Mode(NamedTuple):
    """How calls are recorded.

    `record` makes the node of a call; it is None if nothing is recorded. `anomaly` is
    called with each cotangent and the operation whose rule made it; it is None unless
    `detect_anomaly` is on. `trace` is None unless a call is being traced.
    `is_transformed` says whether a function runs under a transform, where a number that
    leaves the tape loses its derivative. `entered` are the contexts that led to this
    mode, each with the mode before it.
    """

    record: Callable[..., Operation] | None = Operation
    anomaly: Callable[[Any, Operation], None] | None = None
    trace: Tracer | None = None
    is_transformed: bool = False
    entered: tuple[tuple[Any, Any], ...] = ()


MODE: ContextVar[Mode] = ContextVar("mode", default=Mode())  # noqa: B039 -- a NamedTuple is immutable
current = MODE.get  # the mode of this thread or asyncio task


def traceable(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Let the tracer's class of Tensor take a method over while a call is traced.

    Values of the trace belong to that class anyway; this is for variables from outside.
    """
    name = method.__name__

    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if (trace := current().trace) is None:
            return method(self, *args, **kwargs)
        return getattr(trace.variable, name)(self, *args, **kwargs)

    return call


def describe(node: Node) -> str:
    """Return a node's name and shape, as messages put them."""
    unnamed = "a leaf" if isinstance(node, Leaf) else f"the result of {name_of(node.function)}"
    what = f"'{node.name}'" if node.name else unnamed
    return what if node.shape is None else f"{what} of shape {node.shape}"


def arrays_of(node: Operation) -> tuple[Any, ...]:
    """Return the arguments of an operation, or raise if they have been freed."""
    if node.args is None:
        raise refusals.freed(describe(node))
    return node.args


def check_ages(node: Operation) -> None:
    """Raise if an operand is newer than its result, which used another array."""
    for parent in node.parents:
        if parent is not None and parent.position >= node.position:
            raise refusals.changed(describe(parent), name_of(node.function))


def lifted(lift: Lift, args: tuple[Any, ...], parents: tuple[Any, ...]) -> list[Any]:
    """Return the arguments of an operation, those with a node lifted."""
    return [arg if parent is None else lift(arg, parent) for arg, parent in zip(args, parents, strict=True)]


class Path:
    """The part of the tape between some inputs and some outputs.

    Attributes
    ----------
    inputs : set of nodes
        The start.
    outside : list of Node
        Other nodes that the outputs depend on, from the surrounding program: leaves,
        and nodes older than `start`.
    has_inner : bool
        Whether the outputs also depend on the inputs of a transform within, which needs
        no derivative by them any more.
    reached : set of nodes
        All nodes that the outputs depend on, back to the inputs and `outside`,
        included, and None.
    nodes : set of nodes
        The inputs, the operations between them and the outputs, and None.
    """

    def __init__(self, outputs: Iterable[Node], inputs: Iterable[Node], start: int = 0) -> None:
        self.inputs: set[Any] = set(inputs)
        self.outside: list[Node] = []
        self.has_inner = False
        self.reached: set[Any] = {None, *self.inputs}
        reached, todo = self.reached, list(outputs)
        for node in todo:  # which grows meanwhile
            if node in reached or not node.requires_grad:
                continue
            if type(node) is not Leaf and node.position >= start:
                reached.add(node)
                todo += node.parents
            elif type(node) is Leaf and node.is_input and node.position >= start > 0:
                self.has_inner = True
            else:
                reached.add(node)
                self.outside.append(node)
        self.nodes = reached  # everything leads to the inputs
        if self.outside or self.has_inner:
            self.nodes = nodes = set(self.inputs)
            for node in sorted(reached.difference(nodes, self.outside, [None]), key=POSITION):
                if not nodes.isdisjoint(node.parents):
                    nodes.add(node)
            nodes.add(None)

    @functools.cached_property
    def operations(self) -> list[Operation]:
        """The operations among the nodes, oldest first."""
        return sorted(self.nodes.difference(self.inputs, [None]), key=POSITION)


def walk(
    seeds: Iterable[tuple[Node, Any]],
    retain: bool = True,
    lift: Lift | None = None,
    path: Path | None = None,
    arrive: Callable[[Operation, Any], Any] | None = None,
    done: Callable[[Operation, Any, list[tuple[int, Any]]], None] | None = None,
) -> dict[Node, Any]:
    """Walk the tape backward from the seeds, newest operation first, by VJP rules.

    Parameters
    ----------
    seeds : iterable of (node, cotangent)
        The start, with cotangents of the nodes' shapes and dtypes.
    retain : bool
        Keep the arrays of each operation for another walk. By default they are freed
        once they are used.
    lift : callable or None
        `lift(array, node)` makes the arguments of the rules, to record the walk; by
        default they are the arrays.
    path : Path or None
        Walk only along this path, to its inputs; by default walk everywhere, to the
        leaves.
    arrive : callable or None
        `arrive(node, g)` is called at operations with hooks or a gradient to keep, and
        at every operation if a trace records the walk. It returns the cotangent to use.
    done : callable or None
        `done(node, g, parts)` is called after each operation. `parts` is a list of
        (position, cotangent): the results of its rules for g, by the position of each
        argument with a derivative.

    Returns
    -------
    dict of node to cotangent
        The cotangents where the walk ended.
    """
    cotangents: dict[Node, Any] = {}  # of the nodes to come; in the end, those where the walk ended
    owned: set[Node] = set()  # nodes whose cotangent is an array of this walk only
    heap: list[tuple[int, Operation]] = []  # of (-position, node): the newest comes first
    is_traced = lift is not None and current().trace is not None
    stops: Any = () if path is None else path.inputs
    on_path = None if path is None else path.nodes
    for node, g in seeds:
        if node in cotangents:
            cotangents[node] = cotangents[node] + g
        else:
            cotangents[node] = g
            if type(node) is not Leaf and node not in stops:
                heappush(heap, (-node.position, node))
    while heap:
        node = heappop(heap)[1]
        g = cotangents.pop(node)
        if (note := node.note) is not None or is_traced:
            g = arrive(node, g) if arrive and (is_traced or (note and (note.hooks or note.retain_grad))) else g
            if note is not None and note.check is not None:
                note.check(node)
        out, position, kwargs = node.out, node.position, node.kwargs
        args: Any = node.args or arrays_of(node)
        values = args
        if (kind := type(out)) is Results:
            g = g.filled(out)
        rules, parents = VJPS[node.function], node.parents
        if lift is not None:
            values, out = lifted(lift, args, parents), lift(out, node)
            args = values if is_traced else args  # where a trace leaves lengths open
        i, parts = -1, []
        try:
            if type(rules) is not tuple:
                check_ages(node)  # of all operands: one rule may serve them all
                if type(rules) is Placed and lift is None and done is None:
                    parent = parents[0]
                    if parent in owned and rules.add(cotangents.get(parent), g, *args):
                        parents = ()
                    owned.add(parent)  # its cotangent is now new: zeros with g at some places, or a sum
                elif type(rules) is Joint:
                    made = rules.rule(g, out, *values, **kwargs)
                    rules, values, kwargs = [lambda g, out, part=part: part for part in made], (), {}
            call = (g, out, *values)
            for parent in parents:
                i += 1
                if parent is None:
                    continue
                if parent.position >= position:
                    check_ages(node)
                if not parent.requires_grad if on_path is None else parent not in on_path:
                    continue
                try:
                    rule = rules[i]
                except IndexError:
                    rule = rule_for(VJPS, node.function, i)
                new = rule(*call, **kwargs) if kwargs else rule(*call)
                arg = args[i]
                if not (type(new) is float64 is type(arg)) and (new.shape != arg.shape or new.dtype is not arg.dtype):
                    new = fit(new, arg)
                if done is not None:
                    parts.append((i, new))
                if parent in cotangents:
                    cotangents[parent] = cotangents[parent] + new
                else:
                    cotangents[parent] = new
                    if type(parent) is not Leaf and parent not in stops:
                        heappush(heap, (-parent.position, parent))
        except Exception as error:
            fail_rule(node, i, "vjp", error)
        if done is not None:
            done(node, g, parts)
        if not retain:
            node.args = None
            if kind is ndarray and (out.size > KEPT_SIZE or out.base is not None):
                node.out = (out.shape, out.dtype)
            elif kind is Results:
                node.out = (None, None)
    return cotangents


def forward(path: Path, tangents: dict[Node, Any], lift: Lift | None = None) -> dict[Node, Any]:
    """Walk the tape forward along a path, oldest operation first, by JVP rules.

    Parameters
    ----------
    path : Path
        The operations to walk through.
    tangents : dict of node to tangent
        The tangents of the path's inputs, of the nodes' shapes and dtypes.
    lift : callable or None
        As for `backward`.

    Returns
    -------
    dict of node to tangent
        The tangent of every node of the path that depends on these inputs.
    """
    tangents = dict(tangents)
    for node in path.operations:
        out, position, kwargs = node.out, node.position, node.kwargs
        values: Any = node.args or arrays_of(node)
        if (note := node.note) is not None and note.check is not None:
            note.check(node)
        rules, parents = JVPS.get(node.function, ()), node.parents
        if lift is not None:
            values, out = lifted(lift, values, parents), lift(out, node)
        several, total = type(out) is Results, None
        try:
            if type(rules) is Joint:
                check_ages(node)
                given = [tangents.get(parent) for parent in parents]
                if any(t is not None for t in given):
                    total = fit_tangent(rules.rule(given, out, *values, **kwargs), out)
                parents = ()
            i, count = -1, len(rules)
            for parent in parents:
                i += 1
                if parent is None:
                    continue
                if parent.position >= position:
                    check_ages(node)
                if (t := tangents.get(parent)) is not None:
                    rule = rules[i] if i < count else rule_for(JVPS, node.function, i)
                    part = rule(t, out, *values, **kwargs) if kwargs else rule(t, out, *values)
                    if not several and (part.shape != out.shape or part.dtype is not out.dtype):
                        part = fit_tangent(part, out)
                    total = part if total is None else total + part
        except Exception as error:
            fail_rule(node, -1, "jvp", error)
        if total is not None:  # it depends only on inputs without a tangent
            tangents[node] = total
    return tangents
