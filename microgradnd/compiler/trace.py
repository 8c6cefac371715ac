"""Tracing: one call of a function, written down as a program.

Owns: what records the call, the names and lines that it finds for the values, and the translation of the tape.
Must not own: rewriting (`passes.py`) or printing (`source.py`).
Read next: `program.py`.

A derivative rule is NumPy on Tensors, so the backward pass is on the tape like everything else. While `mode.trace` is
set, what is otherwise plain (comparisons, integers, what happens under `no_grad`) is recorded too, and what would turn
a traced value into a number of this one call raises.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.guards import Surroundings
from microgradnd.compiler.passes import uniform
from microgradnd.compiler.program import Constant, Program, Step, Value
from microgradnd.lines import is_users, quoted_line, user_line
from microgradnd.registry import COMPOSITES, PLAIN, Results, name_of
from microgradnd.tape import Leaf, Node, Operation, mode, next_position
from microgradnd.tensor import Tensor, apply, wrap
from microgradnd.transforms import plain
from microgradnd.trees import flatten

KEPT = {  # primitives that source has a spelling of its own for
    *(primitives.identity, primitives.astype, primitives.select, primitives.getitem),
    *(primitives.concatenate, primitives.expand, primitives.scatter, primitives.setitem),
}
# Functions whose results have a shape that depends on the values of their argument
COUNTING = (np.nonzero, np.flatnonzero, np.argwhere)
INDEXED = (primitives.getitem, primitives.scatter)
# Functions that are called on the arrays and give what depends on their shapes and dtypes only
OF_SHAPES = {
    *(np.shape, np.ndim, np.size, np.iscomplexobj, np.isrealobj, np.isscalar, np.iterable, np.can_cast, np.common_type),
    *(np.result_type, np.isfortran, np.tril_indices_from, np.triu_indices_from, np.diag_indices_from),
    *(np.may_share_memory, np.shares_memory),
}
ADVICE = (
    "Choose between arrays with np.where, compute with the Tensor itself, pick from a plain array as a Tensor "
    "(mg.tensor(array)[index]), or "
    "give what decides as an argument that isn't an array (an int, a bool, a str) or as mg.static(value)"
)
INSTEAD = {
    np.allclose: "Write np.all(np.isclose(x, y)), and np.where to choose by it",
    np.array_equal: "Write np.all(x == y), and np.where to choose by it",
    np.array_equiv: "Write np.all(x == y), and np.where to choose by it",
}
OWN_REFERENCES = 3  # to a variable: the record of what was assigned, a name for it, and the argument of getrefcount


class TraceError(TypeError):
    """Something that can't be done with a value that a program is to compute."""


class TracedOperation(Operation):
    """An operation that also knows where in the user's code it was made, and whether a derivative can pass it."""

    __slots__ = ("requires_grad", "where")
    where: tuple[str, int] | None


class IndexParts:
    """Stands for an index with traced parts among the parents of an operation: no derivative passes it."""

    requires_grad = False
    name = None
    position = 0  # what it stands for can't change while a call is traced

    def __init__(self, parts: Any) -> None:
        self.parts = parts


class Recorder:
    """What `mode.trace` holds while a function is traced."""

    def __init__(self) -> None:
        self.operations: list[TracedOperation] = []
        self.cotangents: list[tuple[Any, Node]] = []
        self.gradients: dict[Leaf, Any] = {}
        self.assigned: dict[int, tuple[Tensor, Node | None, Any]] = {}
        self.stands_for: dict[Leaf, Any] = {}  # a leaf made by an update: the node of the value that it was given
        self.things: dict[int, Any] = {}
        self.arrays: dict[int, tuple[Any, Node]] = {}  # given to a function as they are, and what they stand for
        self.masks: list[Any] = []  # captured, as an index: how many elements they pick is part of the program
        self.start = next_position()

    def depends(self, thing: Any) -> None:
        """Note that the program depends on the form of an object outside."""
        self.things[id(thing)] = thing

    def record(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> TracedOperation:
        """Record a call as `Operation` does; a derivative passes it if it can and may."""
        node = self.record_constant(function, args, kwargs, parents, out)
        parts = out if type(out) is Results else (out,)
        differentiable = function not in PLAIN and any(part.dtype.kind in "fc" for part in parts)
        fresh = function is primitives.identity  # a new variable, as a transform makes them of its arguments
        node.requires_grad = differentiable and (fresh or any(p is not None and p.requires_grad for p in parents))
        return node

    def record_constant(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> TracedOperation:
        """Record a call that no derivative passes, as under `no_grad`."""
        self.refuse_shapes(function, args, kwargs, parents, out)
        if kwargs:  # as Tensors, so that rules don't compute with the arrays of this one call
            kwargs = {k: wrap(*self.arrays[id(v)]) if id(v) in self.arrays else v for k, v in kwargs.items()}
        node = TracedOperation(function, args, kwargs, parents, out)
        node.requires_grad = False
        node.where = user_line()
        self.operations.append(node)
        return node

    def arrived(self, node: Node, g: Any) -> None:
        """Note that `g` is the cotangent of a node, for its name; and a leaf's gradient, to put it back in the end."""
        if isinstance(node, Leaf):
            if node.grad is not None and not isinstance(node.grad, Tensor):
                raise self.refusal(
                    f"adding to a gradient that {node.name or 'a tensor'} had before (call zero_grad() first)"
                )
            self.gradients.setdefault(node, node.grad)
        if isinstance(g, Tensor) and g._node is not None:
            self.cotangents.append((g._node, node))

    def refusal(self, what: str, advice: str = "") -> TraceError:
        """Return the error for looking at a value while the program that will compute it is being written."""
        return TraceError(
            f"{what}{needed_by()} of a value inside a compiled function{quoted_line(last_line())}: the program is "
            f"written once, for all values, so it can't depend on this one. {advice or ADVICE}"
        )

    def refuse_shapes(self, function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> None:
        """Raise if the shape of a result depends on values that the program is to compute."""
        traced = [parent is not None for parent in parents]
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
        elif function in COUNTING or (function is np.where and len(args) == 1):
            raise self.refusal(f"np.{function.__name__}()", "How many there are depends on the values: use np.where")
        elif function is np.repeat and traced[1:2] == [True]:
            raise self.refusal("np.repeat() with the count", "Give the counts as integers that aren't traced")
        elif getattr(function, "__name__", "") == "bincount" and traced[0]:
            if out.size > (kwargs.get("minlength") or (*args, 0, 0)[2]):
                raise self.refusal("np.bincount()", "How many bins there are depends on the values: give minlength=")
        elif function is np.histogram_bin_edges and any(isinstance(a, str) for a in (*args, *kwargs.values())):
            raise self.refusal("np.histogram() with a rule for the bins", "Give the number of the bins, or their edges")

    def is_value(self, function: Any, result: Any) -> bool:
        """Return whether what a function gave is to be computed by the program, or raise if it can't be."""
        if isinstance(result, np.ndarray | np.generic):
            return True
        if function in OF_SHAPES or result is None:
            return False
        if isinstance(result, tuple) and all(isinstance(part, np.ndarray | np.generic) for part in result):
            return True
        raise self.refusal(f"np.{function.__name__}()", INSTEAD.get(function, ""))

    def plain(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Record a call of a function that has no derivative."""
        if function.__name__ == "at":
            raise self.refusal(f"np.{function.__self__.__name__}.at()", "Write x[index] = ..., or np.where")
        values = tuple(arg._array if isinstance(arg, Tensor) else arg for arg in args)
        parents = tuple(arg._node if isinstance(arg, Tensor) else None for arg in args)
        out = function(*values, **kwargs)
        return wrap(out, self.record_constant(function, values, kwargs, parents, out))

    def array(self, tensor: Any) -> Any:
        """Return the array of a Tensor for an argument that is plain, by which the Tensor will be known again."""
        array = np.asarray(tensor._array)
        array = array.view() if array is tensor._array else array
        if tensor._node is not None:
            self.arrays[id(array)] = array, tensor._node
        return array

    def detached(self, tensor: Tensor) -> Tensor:
        """Return the same value, through which no derivative passes."""
        return wrap(tensor._array) if tensor._node is None else self.plain(primitives.identity, (tensor,), {})

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

    def assign(self, variable: Tensor, value: Tensor) -> None:
        """Let a variable stand for a new value, for the rest of the trace."""
        self.assigned.setdefault(id(variable), (variable, variable._node, variable._array))
        old, node = variable._node, value._node
        if type(old) is Leaf and old.requires_grad and not (node is not None and node.requires_grad):
            leaf = Leaf(value._array, True, old.name)  # an optimizer's step: what was a leaf goes on being one
            self.stands_for[leaf], node = node, leaf
        variable._array, variable._node = value._array, node


def index_parts(index: Any, parent: Any) -> list[tuple[Any, bool]]:
    """Return the parts of an index, and which of them are traced."""
    if isinstance(parent, IndexParts):
        return [
            (part._array, part._node is not None) if isinstance(part, Tensor) else (part, False)
            for part in parent.parts
        ]
    return [(part, parent is not None) for part in (index if isinstance(index, tuple) else (index,))]


def needed_by() -> str:
    """Return which function of NumPy it is that needs to look at a value, if one that is spelled in others."""
    frame: Any = sys._getframe(1)
    name = ""
    while frame is not None and not is_users(frame.f_code):
        function = frame.f_locals.get("function") if frame.f_code is apply.__code__ else None
        name = f", as np.{name_of(function)} does it," if function in COMPOSITES else name
        frame = frame.f_back
    return name


def last_line() -> tuple[str, int] | None:
    """Return the line of the user's code that is being executed, or that the backward pass was started from."""
    frame: Any = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


def recorded(call: Callable[[], Any]) -> tuple[Recorder, Any, dict[int, Any]]:
    """Call a function while everything is recorded.

    Returns
    -------
    recorder : Recorder
    result : (list, callable)
        The leaves of what the function returned, and what puts them together.
    final : dict
        The node and array of each variable that was assigned to, at the end.
    """
    recorder = Recorder()
    before = mode.record, mode.trace
    mode.record, mode.trace = recorder.record, recorder
    try:
        leaves, form = flatten(call())
        leaves = [wrap(leaf._array, leaf._node) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        leaves, form = flatten(form.rebuild(leaves))  # so that nothing holds on to the Tensors of the function
    except ValueError as error:  # NumPy's, of an assignment to a part of a plain array
        if isinstance(error.__cause__, TraceError):
            raise error.__cause__ from None
        raise
    finally:
        mode.record, mode.trace = before
        final = {id(v): (v._node, v._array) for v, _, _ in recorder.assigned.values()}
        for variable, node, data in recorder.assigned.values():
            variable._node, variable._array = node, data
        for leaf, gradient in recorder.gradients.items():
            leaf.grad = gradient
    for variable, node, _ in recorder.assigned.values():
        if node is None and sys.getrefcount(variable) > OWN_REFERENCES:  # not one that the function made
            raise TraceError(
                f"a Tensor of shape {variable.shape} from outside was assigned to inside a compiled function; make it "
                f"a variable by a name (mg.tensor(..., name=)), or pass it as an argument"
            )
    return recorder, (leaves, form.rebuild), final


class Traced:
    """A program, and what it takes to call it.

    Attributes
    ----------
    program : Program
        Its inputs are the arrays among the arguments, then the captured ones.
    depends : list of (object, form)
        Modules and optimizers outside, and what the program supposes of them.
    captured : list
        Arrays, and leaves of Tensors, of the surrounding program. They are looked up anew in each call.
    rebuild : callable or None
        Puts the outputs together as the function returned them, where source can't.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        leaves: Sequence[Any],
        names: Sequence[str],
        call: Callable[[Any, list[Tensor]], Any],
        others: Iterable[Any] = (),
    ) -> None:
        # the arrays are views, so that none of them is an array that the function captures as well
        arrays = [np.asarray(plain(leaf)).view() for leaf in leaves]
        required = [
            array.dtype.kind in "fc" and getattr(leaf, "requires_grad", True)
            for array, leaf in zip(arrays, leaves, strict=True)
        ]
        self.surroundings = Surroundings(function, others)
        made: list[Any] = []

        def record() -> None:
            inputs = [wrap(a, Leaf(a, needed, name)) for a, needed, name in zip(arrays, required, names, strict=True)]
            made[:] = inputs, *recorded(lambda: call(function, inputs))

        what, where = self.surroundings.watch(record)
        if what is not None:
            raise TraceError(
                f"inside a compiled function{quoted_line(where)}, {what}. The function itself runs once; afterwards "
                f"its program runs"
            )
        inputs, recorder, result, final = made
        self.depends = [(thing, thing.__form__()) for thing in recorder.things.values()]
        self.stands_for = recorder.stands_for
        self.captured: list[Any] = []
        self.owned = owned_arrays(recorder.operations)
        self.values: dict[Any, Value] = {}
        self.given = dict(recorder.arrays)
        self.input_values = [self.value_of_leaf(t._node, name) for t, name in zip(inputs, names, strict=True)]
        names_of = statement_names(recorder.operations)
        steps = [step for node in recorder.operations for step in self.steps(node, names_of.get(node))]
        for g, node in recorder.cotangents:
            target, source = self.values.get(g), self.values.get(node)
            if isinstance(target, Value) and target.name is None and isinstance(source, Value) and source.name:
                target.name = f"grad_{source.name}"
        updates = {
            self.values[node]: self.argument(final[key][1], final[key][0])
            for key, (_, node, _) in recorder.assigned.items()
            if node in self.values and final[key][0] is not node and type(node) is Leaf
            if node.position < recorder.start  # a leaf that the function made is another in each call
        }
        leaves, rebuild = result
        is_plain = is_plain_tree(rebuild(leaves))
        hollow = rebuild([np.zeros(()) for _ in leaves])  # which holds nothing of what was computed
        self.rebuild = None if is_plain else flatten(hollow)[1].rebuild
        results = self.outputs(rebuild(leaves)) if is_plain else tuple(map(self.outputs, leaves))
        self.surroundings.keep(lambda array: id(array) in self.values, recorder.masks)
        self.program = Program((*self.input_values, *self.captured_values()), tuple(steps), results, updates)
        for table in (self.values, self.given, self.stands_for):  # which hold every array that was computed
            table.clear()

    def outputs(self, tree: Any) -> Any:
        """Return a result with values in the place of Tensors."""
        if isinstance(tree, Tensor):
            return self.argument(tree._array, tree._node)
        if isinstance(tree, dict):
            return {key: self.outputs(part) for key, part in tree.items()}
        if isinstance(tree, np.ndarray):
            return self.constant(tree)
        return type(tree)(map(self.outputs, tree)) if isinstance(tree, tuple | list) else tree

    def captured_values(self) -> list[Value]:
        """Return the values of what was captured, in its order."""
        return [self.values[key_of(thing)] for thing in self.captured]

    def value_of_leaf(self, node: Any, name: str | None) -> Value:
        value = self.values[node] = Value(node.data.shape, node.data.dtype, name)
        return value

    def steps(self, node: TracedOperation, name: str | None) -> list[Step]:
        """Translate one operation: a step, or several for a primitive whose body NumPy can spell."""
        body = getattr(node.function, "body", None)
        if body is None or node.function in KEPT or type(node.out) is Results:
            return [self.step(node, name)]
        recorder = Recorder()
        inside = [
            arg if parent is None or isinstance(parent, IndexParts) else wrap(arg, Leaf(arg, False))
            for arg, parent in zip(node.args or (), node.parents, strict=True)
        ]
        before = mode.record, mode.trace
        mode.record, mode.trace = recorder.record_constant, recorder
        try:
            result = body(*inside, **node.kwargs)
        except (TraceError, TypeError):  # it looks at values, or isn't NumPy: it stays one call
            return [self.step(node, name)]
        finally:
            mode.record, mode.trace = before
        itself = any(inner.function is node.function for inner in recorder.operations)  # a composite that ends in it
        if itself or not isinstance(result, Tensor) or not isinstance(result._node, TracedOperation):
            return [self.step(node, name)]
        for tensor, arg, parent in zip(inside, node.args or (), node.parents, strict=True):
            if isinstance(tensor, Tensor) and tensor is not arg:
                self.values[tensor._node] = self.argument(arg, parent)
        result._node.annotate().name = node.name or name
        self.given.update(recorder.arrays)
        steps = []
        self.owned |= owned_arrays(recorder.operations)
        for inner in recorder.operations:
            inner.where = node.where
            steps += self.steps(inner, None)
        self.values[node] = self.values[result._node]
        return steps

    def step(self, node: TracedOperation, name: str | None) -> Step:
        """Translate one operation."""
        args = tuple(self.argument(arg, parent) for arg, parent in zip(node.args or (), node.parents, strict=True))
        kwargs = {key: self.argument(arg, None) for key, arg in node.kwargs.items()}
        out: Any
        if type(node.out) is Results:
            out = tuple(Value(part.shape, part.dtype) for part in node.out)
        else:
            same = args[0].name if node.function is primitives.identity and isinstance(args[0], Value) else None
            out = Value(node.out.shape, node.out.dtype, node.name or name or same)
        self.values[node] = out
        if node.function is primitives.select:  # one of several values that have been computed by now
            assert node.args is not None
            self.values[node] = out = args[0][node.args[1]]
            return Step(primitives.identity, (out,), {}, Value(out.shape, out.dtype), node.where)
        return Step(node.function, args, kwargs, out, node.where)

    def argument(self, arg: Any, parent: Any) -> Any:
        """Translate an argument: a value of the program, a captured array, or a constant."""
        if isinstance(parent, IndexParts):
            return self.constant(parent.parts)
        if parent is None:
            return self.constant(arg)
        if parent in self.stands_for:
            return self.argument(arg, self.stands_for[parent])
        if parent not in self.values:
            assert isinstance(parent, Leaf)
            return self.capture(parent, parent.data)
        return self.values[parent]

    def constant(self, arg: Any) -> Any:
        """Translate an argument that wasn't given as a Tensor; the array of one is its value all the same."""
        if isinstance(arg, Tensor):
            return self.argument(arg._array, arg._node)
        if isinstance(arg, np.ndarray) and id(arg) in self.given:
            return self.argument(*self.given[id(arg)])
        if isinstance(arg, np.ndarray) and not is_immutable(arg):
            return constant_of(arg) if id(arg) in self.owned else self.capture(arg, arg)
        return type(arg)(map(self.constant, arg)) if type(arg) in (tuple, list) else arg

    def capture(self, thing: Any, array: Any) -> Value:
        """Make an array of the surrounding program an input of this one."""
        key = key_of(thing)
        if key not in self.values:
            self.captured.append(thing)
            self.values[key] = Value(array.shape, array.dtype, getattr(thing, "name", None))
        return self.values[key]


def is_plain_tree(tree: Any) -> bool:
    """Return whether a result is made of tuples, lists and dicts alone, so that source can spell it."""
    if isinstance(tree, dict):
        return type(tree) is dict and all(isinstance(k, str | int) and is_plain_tree(v) for k, v in tree.items())
    if isinstance(tree, tuple | list):
        return type(tree) in (tuple, list) and all(map(is_plain_tree, tree))
    return not hasattr(tree, "__flatten__")


def owned_arrays(operations: Sequence[TracedOperation]) -> set[int]:
    """Return which arrays nothing but these operations refers to: rules made them, so that they can never change."""
    todo: list[Any] = []
    for node in operations:
        todo.append(node.args or ())
        todo.extend(p.parts for p in node.parents if isinstance(p, IndexParts) and type(p.parts) in (tuple, list))
    seen: dict[int, Any] = {}
    while todo:
        container = todo.pop()
        if id(container) not in seen:
            seen[id(container)] = container
            todo.extend(part for part in container if type(part) in (tuple, list))
    containers = list(seen.values())
    counts: dict[int, int] = {}
    for container in containers:
        for i in range(len(container)):
            counts[id(container[i])] = counts.get(id(container[i]), 0) + 1
    return {
        id(container[i])
        for container in containers
        for i in range(len(container))
        if type(container[i]) is np.ndarray and container[i].base is None
        if sys.getrefcount(container[i]) == counts[id(container[i])] + 1
    }


def constant_of(array: Any) -> Any:
    """Return an array that can't change as a constant: a number spread out, a range, or the array."""
    if array.dtype.kind in "fiu" and array.size > 1 and np.isfinite(array).all() and (array == array.flat[0]).all():
        return primitives.expand(array.flat[0], array.shape)
    if array.ndim == 1 and array.dtype == np.arange(0).dtype and np.array_equal(array, np.arange(array.size)):
        return Constant(f"np.arange({array.size})", array)
    return array


def key_of(thing: Any) -> Any:
    return thing if isinstance(thing, Leaf) else id(thing)


def is_immutable(array: Any) -> bool:
    """Return whether an array can't change: a number spread out, as `primitives.expand` does it."""
    return uniform(array) is not None


def statement_names(operations: Sequence[TracedOperation]) -> dict[TracedOperation, str]:
    """Return the names to which the user's statements assign: the last operation of a line `h = ...` is called h."""
    runs: list[tuple[tuple[str, int], TracedOperation]] = []
    for node in operations:
        if node.where is not None and node.function is not primitives.identity:
            if runs and runs[-1][0] == node.where:
                runs[-1] = (node.where, node)
            else:
                runs.append((node.where, node))
    return {node: name for where, node in runs if (name := assigned_name(*where))}


def assigned_name(filename: str, line: int) -> str | None:
    """Return the name that a line of code assigns to, if it is a single one."""
    text = linecache.getline(filename, line).strip()
    try:
        [statement] = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None
