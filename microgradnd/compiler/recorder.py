"""The tracer: it records operations on traced values and refuses impossible ones.

Owns: `Recorder`, which the mode holds while a function is traced, the refusals, and
what else than variables a program gets and sets (gradients, buffers, attributes).
Must not own: reads of surroundings (`watch.py`), or the translation of recorded
operations (`translation.py`).
Read next: `trace.py`.

During a trace, comparisons, integers and operations under `no_grad` are recorded too,
and turning a traced value into a number raises. A variable is the same `Leaf` however
the function reaches it. When the function assigns values or gradients to a variable,
they last until the end of the trace. Then they are undone, and the program assigns them
in each call.
"""

from __future__ import annotations

import operator
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any
from weakref import ref

import numpy as np
from numpy import geterr  # NumPy's own: while a function is traced, `np.geterr` is watched

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.compiler.bytecode import names_at
from microgradnd.compiler.folding import fold
from microgradnd.compiler.places import MISSING
from microgradnd.compiler.program import mapped
from microgradnd.compiler.scanning import UnscannedError, scan_once
from microgradnd.compiler.traced import MASKED, TracedTensor, traced
from microgradnd.compiler.traits import traits
from microgradnd.compiler.weak import NUMBERS, TracedNumber, is_countable, number
from microgradnd.forms import refuse_out
from microgradnd.inplace import leaf_to_update
from microgradnd.lines import is_users, is_users_file, quoted_line, user_line
from microgradnd.modes import no_grad
from microgradnd.operands import COPIED, arrays_in, sample
from microgradnd.primitives import is_basic
from microgradnd.refusals import freed
from microgradnd.registry import COMPOSITES, ORDINARY, PLAIN, Results, name_of
from microgradnd.tape import MODE, Leaf, Node, Operation, current, describe, next_position
from microgradnd.tensor import Tensor, apply, lift, wrap
from microgradnd.trees import flatten, is_module
from microgradnd.views import Family, overlap, picked, replace

INDEXED = (primitives.getitem, primitives.scatter)
ADVICE = (
    "Choose between arrays with np.where or np.minimum, join Tensors with np.stack instead of np.array, compute with "
    "the Tensor itself (t.item() is a number without a derivative), make a plain array a Tensor to pick from it "
    "(mg.tensor(array)[index]) or to fill it (t[index] = value), or pass the deciding value as a non-array argument "
    "(an int, a bool, a str) or as mg.static(value)"
)


class TraceError(TypeError):
    """An error for code that a function can't contain while its program is written."""

    has_happened = False  # an effect outside the function, which a second trace may not show


class TracedOperation(Operation):
    """An operation with its line in the user's code and whether it can be derived."""

    __slots__ = ("requires_grad", "where")
    where: tuple[str, int] | None


class IndexParts:
    """An index with traced parts, as a parent of an operation; no derivative passes."""

    requires_grad = False
    name = None
    position = 0  # an index can't change while a call is traced

    def __init__(self, parts: Any) -> None:
        self.parts = parts


WITHOUT_ARRAYS = ORDINARY - {np.ndarray, tuple}  # classes of arguments that hold no array
LISTS = {list, dict}  # arguments that are copied, as the function may change them later
STAND_INS = (TracedTensor, TracedNumber)
OF_WARNINGS = vars(warnings)  # read for each operation, and faster than attributes
UNBOUND = re.compile(r"\(\) (takes|missing|got)")  # in the error for a call that doesn't fit a function's parameters


class Gradient:
    """The `.grad` of a variable, as an input of a program."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.place = id(leaf), "grad"

    @property
    def data(self) -> Any:
        return self.leaf.grad

    def set(self, value: Any) -> None:
        """Set it to an array, or to None."""
        self.leaf.grad = value


class Buffer:
    """A buffer of a Module, as an input or a result of a program."""

    def __init__(self, owner: Any, attribute: str) -> None:
        self.owner, self.attribute = owner, attribute
        self.place = id(owner), attribute

    @property
    def data(self) -> Any:
        return vars(self.owner)[self.attribute]

    def set(self, value: Any) -> None:
        """Set it to an array: every program that reads it gets it as an input."""
        vars(self.owner)[self.attribute] = value


class Attribute(Buffer):
    """Another attribute, which the function sets to a computed value.

    `made` makes the value from an array: a Tensor, an array or a number.
    """

    def __init__(self, owner: Any, attribute: str, made: Callable[[Any], Any] = np.ndarray.item) -> None:
        super().__init__(owner, attribute)
        self.made = made

    def set(self, value: Any) -> None:
        """Set it, and let a module notice."""
        setattr(self.owner, self.attribute, self.made(value))


class Counter(Attribute):
    """An attribute with a number that the function reads and sets."""

    @property
    def data(self) -> Any:
        value = getattr(self.owner, self.attribute, None)
        return NUMBERS[type(value)](value) if is_countable(value) else np.array(None)  # which fits no program


class Setting:
    """A number or text that the function assigns to an attribute unread."""

    def __init__(self, owner: Any, attribute: str, constant: Any) -> None:
        self.owner, self.attribute, self.constant = owner, attribute, constant

    def set(self, value: None) -> None:
        """Set it; no value is computed for it."""
        if getattr(self.owner, self.attribute, self) is not self.constant:  # modules count how often one is set
            setattr(self.owner, self.attribute, self.constant)


class Recorder:
    """The tracer while a function is traced.

    Attributes
    ----------
    operations : list of TracedOperation
        What was recorded, in order.
    assigned : dict
        The Tensors that were assigned to, by their id: each with its earlier node
        and array.
    gradients : dict of Leaf to array or None
        The earlier values of gradients that were read or set, by their first leaves.
    read : set of Leaf
        The leaves whose gradients were read before they were set.
    stand_ins : dict of Leaf to Gradient or Buffer
        Leaves made for arrays that aren't Tensors, and what each stands for.
    walked : set of Node
        The operations that a backward pass has freed.
    refused, caught : TraceError or None
        `refused` was raised in the function because a program can't do something.
        `caught` is to be raised if the function catches an error that an operation
        raised.
    """

    variable = TracedTensor
    number, traced = staticmethod(number), staticmethod(traced)

    def __init__(self, sizes: Any = None, scans: bool = False) -> None:
        self.sizes = sizes  # the open lengths, if any
        self.scans = scans  # whether one turn of `scan` may stand for all
        self.has_scanned = False
        self.watch: Any = None  # what watches the surroundings while the user's function runs
        self.passed = 0  # how many operations existed at the last walk, whose path may lead through them
        self.formals: set[Any] = set()  # leaves that stand for the arguments of a turn
        self.operations: list[TracedOperation] = []
        self.cotangents: list[tuple[Any, Node]] = []
        self.assigned: dict[int, tuple[Tensor, Node | None, Any]] = {}
        self.stands_for: dict[Leaf, Any] = {}  # a leaf made in the trace: the node of its value
        self.firsts: dict[Leaf, Leaf] = {}  # a leaf made by an update: the one before the trace
        self.gradients: dict[Leaf, Any] = {}
        self.read: set[Leaf] = set()
        self.stand_ins: dict[Leaf, Gradient | Buffer] = {}
        self.from_outside: list[Tensor] = []  # the buffers and gradients that `stand_ins` are the leaves of
        self.walked: set[Any] = set()
        self.things: dict[int, Any] = {}
        self.arrays: dict[int, tuple[Any, Node]] = {}  # arrays passed to a function as they are, and their nodes
        self.drawing: list[Any] = []  # watches on the functions that were passed to `mg.anew`
        self.used: dict[int, tuple[Any, bytes, Any]] = {}  # arrays that the function has made: contents and line of use
        self.masks: list[Any] = []  # captured indices: how many elements they pick is part of the program
        self.positions: dict[Leaf, int] = {}  # the positions that updated leaves had before the trace
        self.values: dict[int, tuple[Tensor, Tensor]] = {}  # what `.data` returned, and of which variable
        self.needing: set[Any] = set()  # the operations with a variable among their operands, or theirs
        self.transformed: set[Any] = set()  # the operations inside of a transform
        self.parts: dict[int, tuple[Any, Any]] = {}  # references to what computed indices have picked, and the index
        self.given: dict[Any, type] = {}  # leaves for arrays and numbers among the arguments, and their classes
        self.of_numpy: set[Any] = set()  # the nodes of values that would be arrays and numbers without compiling
        self.refused: TraceError | UnscannedError | None = None
        self.caught: TraceError | None = None
        self.catching: set[int] = set()  # the ids of the users' codes that may catch an error
        self.ignored: set[str] = set()  # the kinds of floating-point errors that `np.errstate` hid
        self.start = next_position()
        self.outside = geterr(), warnings.filters, warned_by(), written_by()

    @contextmanager
    def active(self, record: Any = None) -> Iterator[None]:
        """Record in this thread, without derivatives unless `record` passes them."""
        token = MODE.set(current()._replace(record=record or self.record_constant, trace=self))
        try:
            yield
        finally:
            MODE.reset(token)

    # Operations

    def record(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> TracedOperation:
        """Record a call as `Operation` does; a derivative passes if it can and may."""
        node = self.record_constant(function, args, kwargs, parents, out)
        kinds = {part.dtype.kind for part in out} if type(out) is Results else out.dtype.kind
        if ("f" in kinds or "c" in kinds) and function not in PLAIN:
            node.requires_grad = function is primitives.identity  # a new variable, as transforms make them
            for parent in parents:
                if parent is not None and parent.requires_grad:
                    node.requires_grad = True
        return node

    def record_constant(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> TracedOperation:
        """Record a call that no derivative passes, as under `no_grad`."""
        if type(function) is not np.ufunc:
            self.refuse_shapes(function, args, kwargs, parents, out)
        self.refuse_handlers()
        if type(function) is Anew and self.watch is not None:
            self.drawing.append(self.watch.of_drawing(function.function))
        plain = [arg for arg, parent in zip(args, parents, strict=True) if parent is None]
        if kwargs or not WITHOUT_ARRAYS.issuperset(map(type, plain)):
            self.refuse_changes(plain, kwargs)
            # As Tensors, so that rules don't compute with the arrays of this call alone
            kwargs = {k: lift(*self.arrays[id(v)]) if id(v) in self.arrays else v for k, v in kwargs.items()}
            if not LISTS.isdisjoint(map(type, (*plain, *kwargs.values()))):
                args, kwargs = mapped(lambda part: part, (args, kwargs))
        node = TracedOperation(function, args, kwargs, parents, out)
        node.requires_grad = False
        node.where = user_line(3)
        if any(map(self.needs_gradient, parents)):
            self.needing.add(node)
        is_variable = function is primitives.identity  # also what `detach()` returns
        if function in PLAIN or not (is_variable or any(map(self.is_tensor, parents))):
            self.of_numpy.add(node)
        if current().is_transformed:
            self.transformed.add(node)
        self.operations.append(node)
        if self.sizes is not None:
            self.sizes.follow(node)
        return node

    def plain(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Record a call of a function that has no derivative."""
        refuse_out(function, kwargs)
        if function.__name__ == "at":
            raise self.refusal(f"np.{function.__self__.__name__}.at()", "Write x[index] = ..., or np.where")
        values = tuple(arg._array if isinstance(arg, Tensor) else arg for arg in args)
        parents = tuple(arg._node if isinstance(arg, Tensor) else None for arg in args)
        out = function(*values, **kwargs)
        return traced(out, self.record_constant(function, values, kwargs, parents, out))

    def array(self, tensor: Any) -> Any:
        """Return a Tensor's array as a plain argument that the tracer recognises."""
        is_float = type(tensor) is TracedNumber and tensor.dtype.kind in "fc"
        array = tensor._array.item() if is_float else np.asarray(tensor._array).view()  # a new object
        if tensor._node is not None:
            self.arrays[id(array)] = array, tensor._node
        return array

    def index(self, index: Any) -> Any:
        """Return an index, parts of which may be traced, as one argument."""
        index = mapped(lambda part: part, index)  # the function may change its lists
        if not any(isinstance(part, Tensor | list | tuple) for part in index):
            return index
        if isinstance(index, list):
            return primitives.array(index) if any(isinstance(part, Tensor) for part in index) else index
        index = tuple(self.index(part) if isinstance(part, list) else part for part in index)
        plain = tuple(part._array if isinstance(part, Tensor) else part for part in index)
        parts: Any = IndexParts(index)
        return wrap(plain, parts) if any(isinstance(part, Tensor) for part in index) else index

    def scan(self, f: Any, init: Any, xs: Sequence[Any], form: Any, count: int) -> Any:
        """Return the result of `scan`, or None to trace its turns one by one."""
        try:
            return scan_once(f, init, xs, form, count)
        except Exception as error:
            self.refused = UnscannedError()  # nobody may catch this
            raise self.refused from error

    def fold(self, results: Iterable[Any] = ()) -> None:
        """Replace a long loop among the operations since the last walk by one
        operation, if no result is computed in its middle.
        """
        passed, self.passed = self.passed, len(self.operations)
        if self.scans and not self.has_scanned:
            fold(self, passed, {*results})

    # Variables

    def close(self, values: Iterable[tuple[Any, Any]]) -> None:
        """Pin the lengths of arrays, given with their nodes: a turn has one shape."""
        if self.sizes is not None:
            self.sizes.close(values)

    def is_of_turn(self, node: Any) -> bool:
        """Return whether an uncomputed node belongs to the turn that stands for all."""
        recorded = isinstance(node, TracedOperation) and node.position >= self.start
        return node in self.formals or (self.has_scanned and recorded)

    def is_tensor(self, node: Any) -> bool:
        """Return whether a value would be a Tensor, or may be, without compiling."""
        if node is None or type(node) is IndexParts or node in self.of_numpy or node in self.given:
            return False
        # What a transform has returned is an array or number, unless a variable is used
        return current().is_transformed or node not in self.transformed or self.needs_gradient(node)

    def maker(self, value: Tensor) -> Callable[[Any], Any]:
        """Return what makes a value as it would be without compiling from an array."""
        if value._node is None or self.is_tensor(value._node):
            return wrap
        return np.asarray if type(value._array) is np.ndarray else operator.itemgetter(())

    def needs_gradient(self, node: Any) -> bool:
        """Return whether a value depends on a variable, not only on the input of a
        transform.
        """
        return node in self.needing or (type(node) is Leaf and node.requires_grad and not node.is_input)

    def changes(self) -> tuple[int, ...]:
        """Return a key that differs after a variable or a gradient was changed."""
        changed: tuple[Any, ...] = self.assigned, self.gradients, self.firsts, self.walked, self.positions
        return tuple(map(len, changed))

    def values_of(self, variable: Tensor) -> Tensor:
        """Return a variable's `.data`: no derivative passes, and changes reach both."""
        values = traced(variable._array, self.without_derivative(variable))
        self.values[id(values)] = values, variable
        self.of_numpy.add(values._node)
        return values

    def without_derivative(self, value: Tensor) -> Any:
        if isinstance(value._node, Operation) and not value._node.requires_grad:
            return value._node
        return self.record_constant(primitives.identity, (value._array,), {}, (value._node,), value._array)

    def set_values(self, variable: Tensor, value: Tensor, index: Any = ..., in_place: bool = False) -> None:
        """Assign to a variable's `.data`, or change that array in place."""
        if isinstance(variable._node, Operation) and variable._node.requires_grad:
            raise self.refusal("a change of the .data of a computed value", "Compute a new value from it")
        with no_grad():
            self.assign(variable, wrap(value._array, self.without_derivative(value)), index, in_place)

    def assign(self, variable: Tensor, value: Tensor, index: Any = ..., in_place: bool | None = None) -> None:
        """Give a variable a new value, changed at an index, until the trace ends.

        Only a change in place reaches what `.data` returned before: an update of a
        variable that requires a gradient is one, unless `in_place` says otherwise.
        """
        if id(variable) in self.values:
            self.set_values(self.values[id(variable)][1], value, index, in_place=True)
            return
        if type(variable._node) is Leaf:
            outdate_views(variable, index)
        if current().record == self.record and variable._node not in self.given:
            leaf_to_update(variable)  # raises for a leaf that requires a gradient, as in eager code
        self.assigned.setdefault(id(variable), (variable, variable._node, variable._array))
        old, node = variable._node, value._node
        if type(old) is Leaf and not (node is not None and node.requires_grad):
            leaf = Leaf(value._array, old.requires_grad, old.name)  # an optimizer's step: a leaf remains a leaf
            leaf.grad, leaf.hooks = old.grad, old.hooks
            self.stand_for(leaf, node)
            self.firsts[leaf], node = self.first(old), leaf
            if old.requires_grad:  # its uses had a value that it no longer has
                self.positions.setdefault(old, old.position)
                old.position = next_position()
        variable._array, variable._node = value._array, node
        in_place = type(old) is Leaf and old.requires_grad if in_place is None else in_place
        if not in_place:
            self.refuse_views()
            self.values = {key: pair for key, pair in self.values.items() if pair[1] is not variable}
        for values, owner in self.values.values():
            if owner is variable:
                for other in replace(values, value._array, index)[1]:
                    other.__class__ = variable.outdated
                values._node = self.without_derivative(value)

    def stand_for(self, leaf: Leaf, node: Any) -> None:
        """Note that a leaf made in the trace stands for the value of a node."""
        self.stands_for[leaf] = node
        if self.sizes is not None:
            self.sizes.alias(leaf, node)

    def gradient(self, leaf: Leaf) -> Any:
        """Return a variable's gradient; an earlier one is an input of the program."""
        first = self.first(leaf)
        if first not in self.gradients:
            self.gradients[first] = first.grad
            self.read.add(first)
            if first.grad is not None and self.is_outer(first):
                made = self.stand_in(Gradient(first), np.asarray(getattr(first.grad, "_array", first.grad)))
                leaf.grad = first.grad = made
        return leaf.grad

    def stand_in(self, thing: Gradient | Buffer, array: Any) -> Tensor:
        """Return a Tensor for an array outside the function that belongs to no leaf."""
        leaf = Leaf(array, False)
        leaf.position = 0  # it is older than the trace
        self.stand_ins[leaf] = thing
        self.of_numpy.add(leaf)
        self.from_outside.append(traced(array, leaf))
        return self.from_outside[-1]

    def arrived(self, node: Node, g: Any, is_last: bool) -> None:
        """Note that `g` is a node's cotangent, for its name and to free the node."""
        if is_last and isinstance(node, Leaf):
            self.gradient(node)
        elif is_last:
            if node in self.walked:
                raise freed(describe(node))
            self.walked.add(node)
        if isinstance(g, Tensor) and g._node is not None:
            self.cotangents.append((g._node, node))

    def depends(self, thing: Any) -> None:
        """Note that the program depends on the result of an object's `__form__`."""
        self.things[id(thing)] = thing

    def gradients_left(self) -> dict[Leaf, Any]:
        """Return the changed gradients of variables from before the trace."""
        latest = {first: leaf for leaf, first in self.firsts.items()}
        found = {}
        for first in map(self.first, [*self.gradients, *latest]):
            if self.is_outer(first):
                now, before = latest.get(first, first).grad, self.gradients.get(first, first.grad)
                stand_in = self.stand_ins.get(now._node) if isinstance(now, Tensor) else None  # type: ignore[arg-type]
                if now is not before and not (isinstance(stand_in, Gradient) and stand_in.leaf is first):
                    found[first] = now
                elif first in self.gradients and first not in self.read and now is None:
                    found[first] = now  # set to None, whatever it was before
        return found

    def is_outer(self, leaf: Leaf) -> bool:
        """Return whether a variable is from before the trace."""
        return self.positions.get(leaf, leaf.position) < self.start

    def is_new_variable(self, value: Any) -> bool:
        """Return whether a value is a variable that the function has made."""
        leaf = value._node if isinstance(value, Tensor) else None
        return isinstance(leaf, Leaf) and leaf.requires_grad and not self.is_outer(self.first(leaf))

    def first(self, leaf: Leaf) -> Leaf:
        """Return the leaf that a variable had before the trace."""
        return self.firsts.get(leaf, leaf)

    def restore(self) -> None:
        """Restore the variables and their gradients."""
        for variable, node, array in self.assigned.values():
            broken: Any = variable
            kind: type = type(broken)
            if kind is Tensor.outdated:  # the function has assigned to a view of it
                broken.__class__, broken._family = Tensor, broken._family[0]
            if type(node) is type(variable._node) is Leaf:
                node.requires_grad = variable._node.requires_grad  # which the watch may refuse
            variable._node, variable._array = node, array
        for leaf, gradient in self.gradients.items():
            leaf.grad = gradient
        for leaf, position in self.positions.items():
            leaf.position = position

    # Refusals

    def refuse_changes(self, *operands: Any) -> None:
        """Raise if an array that the function has made was changed after its use."""
        known = None if self.watch is None else self.watch.known
        for array in arrays_in(operands):
            if known is not None and array.flags.writeable and known.keys().isdisjoint((id(array), id(array.base))):
                now = array.tobytes() if array.nbytes <= COPIED else sample(array)
                _, before, where = self.used.setdefault(id(array), (array, now, user_line()))
                if now != before:
                    self.refused = self.refused or TraceError(
                        f"a plain array of shape {array.shape} was changed in a compiled function after an operation "
                        f"had used it{quoted_line(where)}, and the program would use what it holds in the end. Make a "
                        f"new array for each value (array = array + 1), or pass the operation a copy (array.copy())"
                    )
                    raise self.refused

    def refuse_views(self, is_over: bool = False) -> None:
        """Raise if a view of `.data` has changed, but nothing was assigned to that.

        When the function has returned, the same holds for views of variables, buffers
        and gradients.
        """
        seen = [values for values, _ in self.values.values()]
        if is_over:
            leaves = [(x, node) for x, node, _ in self.assigned.values() if type(node) is Leaf]
            seen += [x for x, node in leaves if node in self.given or self.is_outer(node)]  # which the caller sees
            seen += [*self.from_outside, *(leaf.grad for leaf in (*self.gradients, *self.firsts))]
        if any(type(values) is TracedTensor.outdated for values in seen):
            advice = "Assign to the variable itself, as in t.data[i] = value, or to the whole buffer or gradient"
            raise self.refusal("a change of a view of .data, a buffer or a gradient", advice)

    def refusal(self, what: str, advice: str = "", where: tuple[str, int] | None = None) -> TraceError:
        """Return the error for code that a program can't contain.

        Without `advice`, the code reads a value that only the program computes.
        """
        what, why = (what, "and can't do that") if advice else (f"{what} of a value", "so it can't depend on this one")
        refused = TraceError(
            f"{what}{needed_by()} inside a compiled function{quoted_line(where or last_line())}: the program is "
            f"written once, for all values, {why}. {advice or ADVICE}"
        )
        self.refused = self.refused or refused
        return refused

    def not_taken(self, error: Exception) -> TraceError:
        """Return the error for an operation that a Tensor lacks, as `memoryview(t)`."""
        lines = [(f.f_code.co_filename, line) for f, line in traceback.walk_tb(error.__traceback__)]
        where = next((line for line in reversed(lines) if is_users_file(line[0])), None)
        text = str(error)
        for kind in STAND_INS:
            text = text.replace(kind.__name__, "Tensor")
        return TraceError(
            f"{text} inside a compiled function{quoted_line(where)}: "
            f"arrays and numbers are Tensors there, as the program is written once, for all values. {ADVICE}"
        )

    def observe(self, frame: Any, event: str, arg: Any) -> Any:
        """Note an error that the user's code may catch: see `sys.settrace`."""
        if event == "call":
            if id(frame.f_code) not in self.catching:
                return None
            frame.f_trace_lines = False
        elif event == "exception" and self.caught is None and (names_stand_in(arg[1]) or has_stand_in(*arg[1:])):
            self.caught = self.not_taken(arg[1])
        return self.observe

    def shows(self) -> bool:
        """Return whether texts and warnings go where they went before the trace."""
        return self.outside[2:] == (warned_by(), written_by())

    def failed(self, error: Exception) -> None:
        """Note an error of a call: it may depend on values, so nobody may catch it."""
        if not isinstance(error, TraceError):
            self.caught = TraceError(
                f"{type(error).__name__} was raised and caught inside a compiled function{quoted_line(last_line())} "
                f"({error}): the program is written once, for all values, so it can't depend on this error. "
                f"Choose with np.where, or catch the error around the call of the compiled function"
            )

    def refuse_handlers(self) -> None:
        """Raise if the function itself handles floating-point errors or warnings.

        It may hide floating-point errors, which is noted for the program.
        """
        errors, filters, shown, _ = self.outside
        if warned_by() != shown or (
            warnings.filters is not filters and any(f[0] == "error" and f not in filters for f in warnings.filters)
        ):
            raise self.refusal("warnings.catch_warnings()", "Put it around the call of the compiled function")
        before: Any = errors
        if (now := geterr()) == before:
            return
        changed = {kind: how for kind, how in now.items() if how != before[kind]}
        if not {"raise", "call", "log"}.isdisjoint(changed.values()):
            raise self.refusal("np.errstate()", "Put it around the call of the compiled function")
        self.ignored |= {kind for kind, how in changed.items() if how == "ignore"}

    def refuse_shapes(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> None:
        """Raise if the shape of a result depends on values that are traced."""
        if function in INDEXED:
            for part, is_traced in index_parts(args[1], parents[1]):
                if isinstance(part, np.ndarray) and part.dtype.kind == "b":
                    if is_traced:
                        raise self.refusal("a mask as an index", MASKED)
                    self.masks.append(part)
        elif traits(function).counts or (function is np.where and len(args) == 1):
            raise self.refusal(f"np.{function.__name__}()", "Its length depends on the values: use np.where")
        elif (function is np.repeat or traits(function).is_reduction) and (
            any(parent is not None for parent in parents[1:2]) or id(kwargs.get("axis")) in self.arrays
        ):
            what = "the count" if function is np.repeat else "the axis"
            raise self.refusal(f"np.{name_of(function)}() with {what}", "Pass it as integers that aren't traced")
        elif getattr(function, "__name__", "") == "bincount" and parents[0] is not None:
            if out.size > (kwargs.get("minlength") or (*args, 0, 0)[2]):
                raise self.refusal("np.bincount()", "The number of bins depends on the values: pass minlength=")
        elif function is np.histogram_bin_edges and any(isinstance(a, str) for a in (*args, *kwargs.values())):
            raise self.refusal("np.histogram() with a rule for the bins", "Pass the number of bins, or their edges")

    def is_value(self, function: Any, result: Any) -> bool:
        """Return whether the program computes a result; raise if it can't."""
        if isinstance(result, np.ndarray | np.generic):
            return True
        if traits(function).of_shapes or result is None:
            return False
        if isinstance(result, tuple) and all(isinstance(part, np.ndarray | np.generic) for part in result):
            return True
        raise self.refusal(f"np.{function.__name__}()", traits(function).instead)


def outdate_views(variable: Tensor, index: Any) -> None:
    """Make the views of a leaf unusable: its array, and so they, will change."""
    family: Any = getattr(variable, "_family", None)
    old = variable._array
    changed = picked(old, index) if is_basic(index) else old
    others = [reference() for reference in family.tensors] if type(family) is Family else []
    views: list[Any] = [other for other in others if type(other) is TracedTensor and other is not variable]
    for view in views:
        if overlap(changed, view._array):
            view._family = family, ref(variable), old, type(view)
            view.__class__ = variable.outdated


def index_parts(index: Any, parent: Any) -> list[tuple[Any, bool]]:
    """Return the parts of an index, and whether each is traced."""
    if isinstance(parent, IndexParts):
        return [
            (part._array, part._node is not None) if isinstance(part, Tensor) else (part, False)
            for part in parent.parts
        ]
    return [(part, parent is not None) for part in (index if isinstance(index, tuple) else (index,))]


def names_stand_in(error: Exception) -> bool:
    """Return whether an error says that something can't take a Tensor."""
    return type(error) in (TypeError, AttributeError) and any(kind.__name__ in str(error) for kind in STAND_INS)


def has_stand_in(error: Exception, trace: Any) -> bool:
    """Return whether a call with a traced value has raised an error."""
    found = trace
    while trace is not None:
        found = trace if is_users(trace.tb_frame.f_code) else found
        trace = trace.tb_next
    if type(error) not in (TypeError, ValueError) or UNBOUND.search(str(error)):
        return False
    scope = found.tb_frame.f_locals
    operands = [scope[name] for name in names_at(found.tb_frame.f_code, found.tb_lasti) if name in scope]
    return any(type(leaf) in STAND_INS for leaf in flatten(operands, is_module)[0])


def warned_by() -> tuple[Any, Any]:
    """Return the functions that show warnings, which `catch_warnings` replaces."""
    return OF_WARNINGS["showwarning"], OF_WARNINGS.get("_showwarnmsg_impl")


def written_by() -> tuple[Any, ...]:
    """Return the files and the log handlers that texts go to."""
    log = sys.modules.get("logging")
    handlers = [reference() for reference in getattr(log, "_handlerList", ())]
    return sys.stdout, sys.stderr, *(handler for handler in handlers if handler is not getattr(log, "lastResort", None))


def needed_by() -> str:
    """Return the composite NumPy function, if any, that needs to read a value."""
    composites = [function for function in called() if function in COMPOSITES]
    return f", as np.{name_of(composites[-1])} does it," if composites else ""


def called() -> list[Any]:
    """Return the functions that the user's code is calling, the innermost first."""
    frame: Any = sys._getframe(1)
    functions = []
    while frame is not None and not is_users(frame.f_code):
        if frame.f_code is apply.__code__:
            functions.append(frame.f_locals["function"])
        frame = frame.f_back
    return functions


def last_line() -> tuple[str, int] | None:
    """Return the user's line that is running, or that started the backward pass."""
    frame: Any = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


@contextmanager
def gradients_observed(recorder: Recorder) -> Iterator[None]:
    """Let the recorder see which gradients this thread reads and sets."""
    before = Tensor.__dict__["grad"]

    def read(tensor: Any) -> Any:
        node = tensor._node
        return recorder.gradient(node) if type(node) is Leaf and current().trace is recorder else before.fget(tensor)

    def write(tensor: Any, value: Any) -> None:
        node = tensor._node
        if type(node) is Leaf and current().trace is recorder:
            recorder.gradients.setdefault(recorder.first(node), recorder.first(node).grad)
        before.fset(tensor, value)

    with replaced(Tensor, "grad", property(read, write)):
        yield


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a class or module for a while."""
    before = vars(owner).get(name, MISSING) if isinstance(owner, type) else getattr(owner, name)
    if isinstance(function := value.fget if isinstance(value, property) else value, FunctionType):
        vars(function)["replaces"] = before
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name) if before is MISSING else setattr(owner, name, before)
