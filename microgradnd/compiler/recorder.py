"""The tracer: it records operations on traced values, and refuses what a program can't
do.

Owns: `Recorder`, which the mode holds while a function is traced, and the refusals.
Must not own: reads of surroundings (`watch.py`), or the translation of recorded
operations (`translation.py`).
Read next: `trace.py`.

During a trace comparisons, integers and operations under `no_grad` are recorded too,
and turning a traced value into a number raises. A variable is the same `Leaf` however
the function reaches it. Values and gradients that the function assigns to it last until
the end of the trace; then they are undone, and the program assigns them in each call.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import ref

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.scanning import UnscannedError, scan_once
from microgradnd.compiler.traced import TracedTensor
from microgradnd.compiler.traits import traits
from microgradnd.inplace import leaf_to_update
from microgradnd.lines import is_users, quoted_line, user_line
from microgradnd.primitives import is_basic
from microgradnd.refusals import freed
from microgradnd.registry import COMPOSITES, PLAIN, Results, name_of
from microgradnd.tape import Leaf, Node, Operation, current, describe, next_position
from microgradnd.tensor import Tensor, apply, wrap
from microgradnd.views import Family, overlap, picked

INDEXED = (primitives.getitem, primitives.scatter)
ADVICE = (
    "Choose between arrays with np.where, compute with the Tensor itself, pick from a plain array as a Tensor "
    "(mg.tensor(array)[index]), or "
    "give what decides as an argument that isn't an array (an int, a bool, a str) or as mg.static(value)"
)


class TraceError(TypeError):
    """Something that can't be done in a function whose program is being written."""

    has_happened = False  # an effect on what is around the function, which a second trace may not show


class TracedOperation(Operation):
    """An operation that also knows where in the user's code it was made, and whether a
    derivative can pass it.
    """

    __slots__ = ("requires_grad", "where")
    where: tuple[str, int] | None


class IndexParts:
    """Stands for an index with traced parts among the parents of an operation: no
    derivative passes it.
    """

    requires_grad = False
    name = None
    position = 0  # what it stands for can't change while a call is traced

    def __init__(self, parts: Any) -> None:
        self.parts = parts


class Gradient:
    """The `.grad` of a variable, as an input of a program."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf

    @property
    def data(self) -> Any:
        return self.leaf.grad

    def set(self, value: Any) -> None:
        """Leave an array, or None, in its place."""
        self.leaf.grad = value


class Buffer:
    """An attribute of a Module: a buffer, as an input of a program, or what is left in
    it.
    """

    def __init__(self, owner: Any, attribute: str) -> None:
        self.owner, self.attribute = owner, attribute

    @property
    def data(self) -> Any:
        return vars(self.owner)[self.attribute]

    def set(self, value: Any) -> None:
        """Leave an array in its place, as a Tensor if it isn't a buffer."""
        is_buffer = self.owner._kinds.get(self.attribute) == "buffer"
        vars(self.owner)[self.attribute] = value if is_buffer else wrap(value)


class Recorder:
    """The tracer while a function is traced.

    Attributes
    ----------
    operations : list of TracedOperation
        What was recorded, in order.
    assigned : dict
        The Tensors that were assigned to, by their id: each with the node and array
        that it had before.
    gradients : dict of Leaf to array or None
        The gradients that were looked at or set, as they were before.
    read : set of Leaf
        Those of them that were looked at before they were set.
    stand_ins : dict of Leaf to Gradient or Buffer
        Leaves that were made for arrays which aren't Tensors: what they stand for.
    walked : set of Node
        The operations that a backward pass has freed.
    refused, caught : TraceError or None
        What was raised in the function because a program can't do it; what to raise if
        an error that an operation raised doesn't get out of the function.
    """

    variable = TracedTensor

    def __init__(self, sizes: Any = None, scans: bool = False) -> None:
        self.sizes = sizes  # the open lengths, if there are any
        self.scans = scans  # whether one turn of `scan` may stand for all
        self.has_scanned = False
        self.formals: set[Any] = set()  # leaves that stand for what a turn is given
        self.operations: list[TracedOperation] = []
        self.cotangents: list[tuple[Any, Node]] = []
        self.assigned: dict[int, tuple[Tensor, Node | None, Any]] = {}
        self.stands_for: dict[Leaf, Any] = {}  # a leaf made by an update: the node of the value that it was given
        self.before: dict[Leaf, Leaf] = {}  # the leaf that such a one took the place of
        self.gradients: dict[Leaf, Any] = {}
        self.read: set[Leaf] = set()
        self.stand_ins: dict[Leaf, Gradient | Buffer] = {}
        self.walked: set[Any] = set()
        self.things: dict[int, Any] = {}
        self.arrays: dict[int, tuple[Any, Node]] = {}  # given to a function as they are, and what they stand for
        self.masks: list[Any] = []  # captured, as an index: how many elements they pick is part of the program
        self.positions: dict[Leaf, int] = {}  # of leaves that were updated, as they were before the trace
        self.given: set[Any] = set()  # leaves for arrays among the arguments, which may be changed as arrays may
        self.refused: TraceError | UnscannedError | None = None
        self.caught: TraceError | None = None
        self.start = next_position()
        self.outside = np.geterr(), warnings.filters, warnings.showwarning

    # Operations

    def record(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> TracedOperation:
        """Record a call as `Operation` does; a derivative passes it if it can and
        may.
        """
        node = self.record_constant(function, args, kwargs, parents, out)
        parts = out if type(out) is Results else (out,)
        differentiable = function not in PLAIN and any(part.dtype.kind in "fc" for part in parts)
        fresh = function is primitives.identity  # a new variable, as a transform makes them of its arguments
        node.requires_grad = differentiable and (fresh or any(p is not None and p.requires_grad for p in parents))
        return node

    def record_constant(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> TracedOperation:
        """Record a call that no derivative passes, as under `no_grad`."""
        self.refuse_shapes(function, args, kwargs, parents, out)
        self.refuse_handlers()
        if kwargs:  # as Tensors, so that rules don't compute with the arrays of this one call
            kwargs = {k: wrap(*self.arrays[id(v)]) if id(v) in self.arrays else v for k, v in kwargs.items()}
        node = TracedOperation(function, args, kwargs, parents, out)
        node.requires_grad = False
        node.where = user_line()
        self.operations.append(node)
        if self.sizes is not None:
            self.sizes.follow(node, self.stands_for)
        return node

    def plain(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Record a call of a function that has no derivative."""
        if function.__name__ == "at":
            raise self.refusal(f"np.{function.__self__.__name__}.at()", "Write x[index] = ..., or np.where")
        values = tuple(arg._array if isinstance(arg, Tensor) else arg for arg in args)
        parents = tuple(arg._node if isinstance(arg, Tensor) else None for arg in args)
        out = function(*values, **kwargs)
        return wrap(out, self.record_constant(function, values, kwargs, parents, out))

    def array(self, tensor: Any) -> Any:
        """Return the array of a Tensor for an argument that is plain, by which the
        Tensor will be known again.
        """
        array = np.asarray(tensor._array)
        array = array.view() if array is tensor._array else array
        if tensor._node is not None:
            self.arrays[id(array)] = array, tensor._node
        return array

    def index(self, index: Any) -> Any:
        """Return an index, parts of which may be traced, as one argument."""
        if not any(isinstance(part, Tensor | list | tuple) for part in index):
            return index
        if isinstance(index, list):
            if any(isinstance(part, Tensor) for part in index):
                raise self.refusal("a list of Tensors as an index", "Join them first, with np.stack")
            return index
        plain = tuple(part._array if isinstance(part, Tensor) else part for part in index)
        parts: Any = IndexParts(index)
        return wrap(plain, parts) if any(isinstance(part, Tensor) for part in index) else index

    def scan(self, f: Any, init: Any, xs: Sequence[Any], form: Any, count: int) -> Any:
        """Return what `scan` returns, or None if it is to take the turns one by one."""
        try:
            return scan_once(f, init, xs, form, count)
        except Exception as error:
            self.refused = UnscannedError()  # which nobody may catch
            raise self.refused from error

    # Variables

    def close(self, values: Iterable[tuple[Any, Any]]) -> None:
        """Pin the lengths of arrays, each with its node: a turn is recorded for one
        shape.
        """
        if self.sizes is not None:
            self.sizes.close(values, self.stands_for)

    def is_of_turn(self, node: Any) -> bool:
        """Return whether a node that the program doesn't compute is of a turn that
        stands for all.
        """
        recorded = isinstance(node, TracedOperation) and node.position >= self.start
        return node in self.formals or (self.has_scanned and recorded)

    def changes(self) -> tuple[int, ...]:
        """Return what is another after a variable or a gradient was changed."""
        changed: tuple[Any, ...] = self.assigned, self.gradients, self.before, self.walked, self.positions
        return tuple(map(len, changed))

    def assign(self, variable: Tensor, value: Tensor, index: Any = ...) -> None:
        """Let a variable stand for a new value, which differs at an index, for the rest
        of the trace.
        """
        if type(variable._node) is Leaf:
            outdate_views(variable, index)
        if current().record == self.record and variable._node not in self.given:
            leaf_to_update(variable)  # which raises for a leaf that requires a gradient, as elsewhere
        self.assigned.setdefault(id(variable), (variable, variable._node, variable._array))
        old, node = variable._node, value._node
        if type(old) is Leaf and not (node is not None and node.requires_grad):
            leaf = Leaf(
                value._array, old.requires_grad, old.name
            )  # an optimizer's step: what was a leaf goes on being one
            leaf.grad, leaf.hooks = old.grad, old.hooks
            self.stands_for[leaf], self.before[leaf], node = node, old, leaf
            if old.requires_grad:  # whose uses are of a value that it no longer has
                self.positions.setdefault(old, old.position)
                old.position = next_position()
        variable._array, variable._node = value._array, node

    def gradient(self, leaf: Leaf) -> Any:
        """Return the gradient of a variable; one from before the trace is an input of
        the program.
        """
        if leaf not in self.gradients:
            self.gradients[leaf] = leaf.grad
            self.read.add(leaf)
            if leaf.grad is not None and self.is_outer(leaf):
                leaf.grad = self.stand_in(Gradient(leaf), np.asarray(getattr(leaf.grad, "_array", leaf.grad)))
        return leaf.grad

    def stand_in(self, thing: Gradient | Buffer, array: Any) -> Tensor:
        """Return a Tensor for an array around the function that isn't the array of
        one.
        """
        leaf = Leaf(array, False)
        leaf.position = 0  # it is older than the trace
        self.stand_ins[leaf] = thing
        return wrap(array, leaf)

    def arrived(self, node: Node, g: Any, is_last: bool) -> None:
        """Note that `g` is the cotangent of a node: for its name, and for what happens
        to the node afterwards.
        """
        if is_last and isinstance(node, Leaf):
            self.gradient(node)
        elif is_last:
            if node in self.walked:
                raise freed(describe(node))
            self.walked.add(node)
        if isinstance(g, Tensor) and g._node is not None:
            self.cotangents.append((g._node, node))

    def depends(self, thing: Any) -> None:
        """Note that the program depends on what an object's `__form__` returns."""
        self.things[id(thing)] = thing

    def gradients_left(self) -> dict[Leaf, Any]:
        """Return the gradients that variables from before the trace have now, where
        they were changed.
        """
        latest: dict[Leaf, Leaf] = {}
        for leaf in self.before:
            latest[self.first(leaf)] = leaf
        found = {}
        for leaf in [*self.gradients, *latest]:
            first = self.first(leaf)
            if self.is_outer(first):
                now, before = latest.get(first, first).grad, self.gradients.get(first, first.grad)
                stand_in = self.stand_ins.get(now._node) if isinstance(now, Tensor) else None  # type: ignore[arg-type]
                if now is not before and not (isinstance(stand_in, Gradient) and stand_in.leaf is first):
                    found[first] = now
                elif first in self.gradients and first not in self.read and now is None:
                    found[first] = now  # set to None whatever it was
        return found

    def is_outer(self, leaf: Leaf) -> bool:
        """Return whether a variable is from before the trace."""
        return self.positions.get(leaf, leaf.position) < self.start

    def first(self, leaf: Leaf) -> Leaf:
        """Return the leaf that a variable had before the trace."""
        while leaf in self.before:
            leaf = self.before[leaf]
        return leaf

    def restore(self) -> None:
        """Put the variables and their gradients back to what they were."""
        for variable, node, array in self.assigned.values():
            variable._node, variable._array = node, array
        for leaf, gradient in self.gradients.items():
            leaf.grad = gradient
        for leaf, position in self.positions.items():
            leaf.position = position

    # What can't be done

    def refusal(self, what: str, advice: str = "") -> TraceError:
        """Return the error for looking at a value while the program that will compute
        it is being written.
        """
        refused = TraceError(
            f"{what}{needed_by()} of a value inside a compiled function{quoted_line(last_line())}: the program is "
            f"written once, for all values, so it can't depend on this one. {advice or ADVICE}"
        )
        self.refused = refused
        return refused

    def failed(self, error: Exception) -> None:
        """Note what a call raised: whether it does may depend on values, so nobody may
        catch it.
        """
        if not isinstance(error, TraceError):
            self.caught = TraceError(
                f"{type(error).__name__} was raised and caught inside a compiled function{quoted_line(last_line())} "
                f"({error}): whether it is raised depends on values, which the program is written once for all of. "
                f"Choose with np.where, or catch it outside, around the call of the compiled function"
            )

    def refuse_handlers(self) -> None:
        """Raise if floating-point errors or warnings are handled by the function
        itself.
        """
        errors, filters, show = self.outside
        if warnings.showwarning is not show or (
            warnings.filters is not filters and any(f[0] == "error" and f not in filters for f in warnings.filters)
        ):
            raise self.refusal("warnings.catch_warnings()", "Put it around the call of the compiled function")
        before: Any = errors
        now = np.geterr()
        if now != before and any(how in ("raise", "call", "log") and before[kind] != how for kind, how in now.items()):
            raise self.refusal("np.errstate()", "Put it around the call of the compiled function")

    def refuse_shapes(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> None:
        """Raise if the shape of a result depends on values that the program is to
        compute.
        """
        if function in INDEXED:
            for part, is_traced in index_parts(args[1], parents[1]):
                if isinstance(part, np.ndarray) and part.dtype.kind == "b":
                    if is_traced:
                        raise self.refusal(
                            "a mask as an index",
                            "It picks a number of elements that depends on the values: keep the shape, with "
                            "np.where(mask, x, 0) or where=mask, or pass the mask as mg.static(tuple)",
                        )
                    self.masks.append(part)
        elif traits(function).counts or (function is np.where and len(args) == 1):
            raise self.refusal(f"np.{function.__name__}()", "How many there are depends on the values: use np.where")
        elif function is np.repeat and len(parents) > 1 and parents[1] is not None:
            raise self.refusal("np.repeat() with the count", "Give the counts as integers that aren't traced")
        elif getattr(function, "__name__", "") == "bincount" and parents[0] is not None:
            if out.size > (kwargs.get("minlength") or (*args, 0, 0)[2]):
                raise self.refusal("np.bincount()", "How many bins there are depends on the values: give minlength=")
        elif function is np.histogram_bin_edges and any(isinstance(a, str) for a in (*args, *kwargs.values())):
            raise self.refusal("np.histogram() with a rule for the bins", "Give the number of the bins, or their edges")

    def is_value(self, function: Any, result: Any) -> bool:
        """Return whether what a function gave is to be computed by the program, or
        raise if it can't be.
        """
        if isinstance(result, np.ndarray | np.generic):
            return True
        if traits(function).of_shapes or result is None:
            return False
        if isinstance(result, tuple) and all(isinstance(part, np.ndarray | np.generic) for part in result):
            return True
        raise self.refusal(f"np.{function.__name__}()", traits(function).instead)


def outdate_views(variable: Tensor, index: Any) -> None:
    """Let the views that were taken of a leaf in the trace be used no more: its array
    will change, and they with it.
    """
    family: Any = getattr(variable, "_family", None)
    old = variable._array
    changed = picked(old, index) if is_basic(index) else old
    others = [reference() for reference in family.tensors] if type(family) is Family else []
    views: list[Any] = [other for other in others if type(other) is TracedTensor and other is not variable]
    for view in views:
        if overlap(changed, view._array):
            view._family = family, ref(variable), old
            view.__class__ = variable.outdated


def index_parts(index: Any, parent: Any) -> list[tuple[Any, bool]]:
    """Return the parts of an index, and which of them are traced."""
    if isinstance(parent, IndexParts):
        return [
            (part._array, part._node is not None) if isinstance(part, Tensor) else (part, False)
            for part in parent.parts
        ]
    return [(part, parent is not None) for part in (index if isinstance(index, tuple) else (index,))]


def needed_by() -> str:
    """Return which function of NumPy it is that needs to look at a value, if one that
    is spelled in others.
    """
    frame: Any = sys._getframe(1)
    name = ""
    while frame is not None and not is_users(frame.f_code):
        function = frame.f_locals.get("function") if frame.f_code is apply.__code__ else None
        name = f", as np.{name_of(function)} does it," if function in COMPOSITES else name
        frame = frame.f_back
    return name


def last_line() -> tuple[str, int] | None:
    """Return the line of the user's code that is being executed, or that the backward
    pass was started from.
    """
    frame: Any = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


@contextmanager
def gradients_observed(recorder: Recorder) -> Iterator[None]:
    """Have the recorder know which gradients this thread reads and sets."""
    before = Tensor.__dict__["grad"]

    def read(tensor: Any) -> Any:
        node = tensor._node
        return recorder.gradient(node) if type(node) is Leaf and current().trace is recorder else before.fget(tensor)

    def write(tensor: Any, value: Any) -> None:
        node = tensor._node
        if type(node) is Leaf and current().trace is recorder:
            recorder.gradients.setdefault(node, node.grad)
        before.fset(tensor, value)

    with replaced(Tensor, "grad", property(read, write)):
        yield


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Let an attribute of a class or module be another for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
