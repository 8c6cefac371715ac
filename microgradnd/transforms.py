"""Functions of functions: gradients and products with Jacobians, of any order.

Owns: `grad` and its family, and taking their arguments (tuples, lists, dicts) apart and
putting them together again.
Must not own: the walks over the tape (`tape.py`).
Read next: `testing.py`, which checks these derivatives.

Each transform gives its inputs fresh identities on the tape. A derivative is taken with
respect to this use of a variable in this call, so an inner derivative never mistakes an
outer variable for its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from microgradnd import gradients, operands, primitives, refusals, tape
from microgradnd.annotations import P, R
from microgradnd.batching import LEVELS, UNCHANGED, above, full, innermost, per_example
from microgradnd.failures import as_function, explained
from microgradnd.matching import COMPUTED, check_numbers, chosen, ended, matching, name_of_function, one_for, own, plain
from microgradnd.modes import enable_grad, no_grad, transformed
from microgradnd.tape import Leaf, current
from microgradnd.tensor import Tensor, lift, wrap
from microgradnd.trees import Form, Tree, flatten

Function = Callable[..., Any]


class Trace:
    """One call of a function, recorded from fresh inputs to outputs.

    Attributes
    ----------
    inputs : list of Tensor
        The fresh identities of the arrays in the differentiated arguments.
    outputs : list
        The arrays, Tensors and numbers in the result.
    path : Path
        The path from the inputs to the outputs.
    lift : callable or None
        Records the walks; None where nothing outside this call needs them recorded.
    is_passed : bool
        Whether derivatives of something outside pass the walks. They don't if the call
        is traced under `no_grad`, though the trace records them.
    levels : tuple of Level
        The running `vmap` calls. Under one, each input, output and vector is that of
        one example, but `self.ends` and the values on the tape are whole batches.
    """

    def __init__(self, function: Function, which: Sequence[int], originals: Sequence[Any], form: Form) -> None:
        self.function, self.which, self.originals, self.form = function, which, originals, form
        self.levels, self.watched = LEVELS.get(), list[Any]()
        self.start = tape.next_position()  # older nodes belong to the program around it

    def call(self, args: Sequence[Tree], kwargs: dict[str, Any]) -> None:
        """Call the function on fresh inputs."""
        recording = (mode := current()).record is not None
        with UNCHANGED if recording and mode.is_transformed and mode.trace is None else transformed.key:
            try:
                self.inputs = [fresh_input(full(leaf, self.levels), self.watched) for leaf in self.originals]
            except TypeError as error:
                where = ", ".join(map(str, self.which))
                error.add_note(f"This was in argument {where} of {name_of_function(self.function)}, see argnums=.")
                raise
            fresh = zip(self.which, self.form.rebuild(self.examples(self.inputs)), strict=True)
            self.result = self.function(*(dict(enumerate(args)) | dict(fresh)).values(), **kwargs)
        self.seen = [operands.sample(array) for array in self.watched]
        self.outputs, self.form_of_outputs = flatten(self.result)
        self.nodes = [t._node for t in self.inputs if t._node is not None]

    def connect(self) -> None:
        """Find the path from the inputs to the outputs, and what its walks must do."""
        is_on = mode.record is not None if (mode := current()).trace is None else mode.record == mode.trace.record
        levels, outputs = self.levels, self.outputs
        self.ends = [full(o, levels) if isinstance(o, COMPUTED) else o for o in outputs] if levels else outputs
        ends = [t._node for t in self.ends if isinstance(t, Tensor) and t._node is not None]
        self.path = gradients.path_to(ends, self.nodes, self.start)
        self.outside = self.path.outside or mode.trace or not {Leaf}.issuperset(map(type, self.nodes))
        self.is_passed = bool(is_on and self.outside)
        self.lift = lift if self.is_passed else None if mode.trace is None else lambda *x: ended(lift(*x), True)

    def value(self) -> Tree:
        """Return the result of the call; copied unless something depends on it."""
        values = [out if self.is_passed else ended(out, self.lift is not None) for out in self.ends]
        return self.form_of_outputs.rebuild(self.results(values))

    def check(self) -> None:
        """Raise if a large array among the arguments has changed since the call."""
        for array, seen in zip(self.watched, self.seen, strict=True):
            if operands.sample(array) != seen:
                raise refusals.changed_argument(name_of_function(self.function), array.shape)

    def arguments(self, leaves: Sequence[Any], single: bool) -> Any:
        """Return one value per input, in the structure of the arguments."""
        trees = self.form.rebuild(leaves)
        return trees[0] if single else trees

    def pull(self, cotangents: Sequence[Any], retain: bool = True) -> list[Any]:
        """Return the inputs' cotangents for those of the outputs; None for zero."""
        path = self.path if self.outside or self.path.has_inner else None
        seeds = []
        for out, g in zip(self.ends, cotangents, strict=True):
            if g is not None and isinstance(out, Tensor) and out._node is not None and out._node in self.path.nodes:
                seeds.append((out._node, full(g, self.levels)))
        self.check()
        with self.recording(cotangents), above(self.levels):
            ends = gradients.backward(seeds, retain or self.lift is not None, self.lift, path)
            gradients.run_hooks_of_inputs(self.nodes, ends)
        parts = zip(self.nodes, self.inputs, self.originals, strict=True)
        return self.examples([own(ends.pop(n) if n in ends else self.zeros(t), like) for n, t, like in parts])

    def push(self, tangents: Sequence[Any]) -> list[Any]:
        """Return the tangents of the outputs for tangents of the inputs."""
        self.check()
        with self.recording(tangents), above(self.levels):
            pairs = zip(self.nodes, tangents, strict=True)
            ends = tape.forward(self.path, {n: full(t, self.levels) for n, t in pairs if t is not None}, self.lift)
        found = [(out._node if isinstance(out, Tensor) else None, out) for out in self.ends]
        return self.results([own(ends[node], plain(out)) if node in ends else self.zeros(out) for node, out in found])

    def zeros(self, like: Any) -> Any:
        """Return the derivative of an output, or by an input, that isn't connected."""
        return np.zeros_like(like if self.lift else plain(like))

    def examples(self, values: list[Any]) -> list[Any]:
        """Return whole batches as the examples that the function sees."""
        return [per_example(value, self.levels) for value in values] if self.levels else values

    def results(self, values: list[Any]) -> list[Any]:
        """Return one value per output as examples, where outputs differ by example."""
        if not self.levels:
            return values
        pairs = zip(values, self.outputs, strict=True)
        return [per_example(v, self.levels) if isinstance(out, COMPUTED) else v for v, out in pairs]

    def recording(self, vectors: Sequence[Any]) -> AbstractContextManager[Any]:
        """Return the mode for a walk: recorded if something outside depends on it."""
        needed = self.is_passed or any(isinstance(v, Tensor) and v.requires_grad for v in map(innermost, vectors))
        if self.is_passed and ((mode := current()).record is None or mode.trace is not None):
            return enable_grad.key
        return UNCHANGED if needed else no_grad.key


def traced(function: Function, args: Sequence[Tree], kwargs: dict[str, Any], which: Sequence[int]) -> Trace:
    """Call a function, and return its trace from the arguments at some positions."""
    trace = Trace(function, which, *flatten(tuple([args[i] for i in which])))
    trace.call(args, kwargs)
    trace.connect()
    return trace


def fresh_input(leaf: Any, watched: list[Any]) -> Tensor:
    """Return a Tensor with the value of an argument and an identity of its own.

    Its array is read-only: a copy of a small one, or a view of a large one, which is
    also added to `watched`.
    """
    if isinstance(leaf, Tensor) and (leaf.requires_grad or (current().trace is not None and leaf.dtype.kind in "fc")):
        return primitives.identity(leaf)
    array = operands.as_array(operands.operand("a transform", plain(leaf)))
    operands.check_differentiable(array.dtype)
    if current().trace is None and isinstance(array, np.ndarray):
        if array.nbytes <= operands.COPIED:
            array = array.copy("K")
        else:
            watched.append(array)
            array = array.view()
        array.flags.writeable = False
    return wrap(array, Leaf(array, True, leaf.name if isinstance(leaf, Tensor) else None, is_input=True))


def on_trace(f: Callable[P, Any], argnums: int | Sequence[int], body: Callable[[Trace], R]) -> Callable[P, R]:
    """Return a function like `f` that traces it and returns `body` of the trace."""

    @functools.wraps(as_function(f, "a transform's f"), assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def differentiated(*args: P.args, **kwargs: P.kwargs) -> R:
        return body(traced(f, args, kwargs, chosen(f, argnums, len(args))))

    return differentiated


def value_and_grad(
    f: Callable[P, R], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[P, tuple[R, Any]]:
    """Return a function that returns both the value of `f` and its gradient.

    Parameters
    ----------
    f : callable
        Takes arrays, numbers, or tuples, lists and dicts of them; returns one real
        number.
    argnums : int or sequence of int
        The positions of the arguments to differentiate; for a sequence, the gradient is
        a tuple.
    has_aux : bool
        Whether `f` returns `(value, aux)`; `aux` is returned undifferentiated.

    Returns
    -------
    callable
        Takes what `f` takes; returns `(value, gradient)`, or `((value, aux),
        gradient)`. A gradient has the structure, shapes and dtypes of its argument.

    Raises
    ------
    TypeError
        When called: if `f` doesn't return one real number, or if an argument to
        differentiate holds integers.

    See Also
    --------
    grad : the gradient alone.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> loss = lambda w: np.sum(w**2)
    >>> value, gradient = mg.value_and_grad(loss)(np.array([1.0, 2.0]))
    >>> float(value), gradient
    (5.0, array([2., 4.]))
    """

    def body(trace: Trace) -> Any:
        result = trace.result
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError("value_and_grad(has_aux=True) needs a function that returns (value, aux)")
        one = one_for(f, flatten(result[0] if has_aux else result)[0])
        gradients = trace.pull([one] + [None] * (len(trace.outputs) - 1), retain=False)
        return trace.value(), trace.arguments(gradients, isinstance(argnums, (int, np.integer)))

    return on_trace(f, argnums, body)


def grad(f: Callable[P, Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[P, Any]:
    """Return a function that returns the gradient of `f`.

    Parameters
    ----------
    f : callable
        Takes arrays, numbers, or tuples, lists and dicts of them; returns one real
        number.
    argnums : int or sequence of int
        The positions of the arguments to differentiate; for a sequence, the gradient is
        a tuple.
    has_aux : bool
        Whether `f` returns `(value, aux)`; the result is then `(gradient, aux)`.

    Returns
    -------
    callable
        Takes what `f` takes; returns the gradient, with the structure, shapes and
        dtypes of the argument.

    See Also
    --------
    value_and_grad : the value too.
    elementwise_grad : for a function with many results.
    jacobian : the derivatives of each result.
    compile : the same as a program.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> float(mg.grad(mg.grad(mg.grad(np.sin)))(0.0))
    -1.0
    >>> float(mg.grad(lambda x: x * mg.grad(lambda y: x * y)(x))(3.0))
    6.0
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(both)
    def differentiated(*args: P.args, **kwargs: P.kwargs) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return differentiated


def vjp(f: Callable[..., R], *primals: Tree) -> tuple[R, Callable[[Tree], tuple[Tree, ...]]]:
    """Call a function, and return its value and its pullback.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them.
    *primals : array_like
        The arguments of the call; all are differentiated.

    Returns
    -------
    value : as `f` returns it
    pullback : callable
        Multiplies a vector by the Jacobian: it takes a cotangent with the structure and
        shapes of the value, and returns a tuple with one gradient per primal. You may
        call it again.

    See Also
    --------
    jvp : forward mode.
    jacobian : all cotangents at once.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    >>> value, pullback = mg.vjp(np.multiply, x, y)
    >>> pullback(np.array([1.0, 10.0]))
    (array([ 3., 40.]), array([ 1., 20.]))
    """
    trace = traced(as_function(f, "vjp: f"), primals, {}, range(len(primals)))
    check_numbers(f, trace.outputs)

    def pullback(g: Tree) -> tuple[Tree, ...]:
        cotangents = matching(*flatten(g), trace.outputs, trace.form_of_outputs, "pullback: a cotangent")
        return trace.arguments(trace.pull(cotangents), False)

    return trace.value(), explained(pullback)


def jvp(f: Callable[..., R], primals: Sequence[Tree], tangents: Sequence[Tree]) -> tuple[R, R]:
    """Call a function, and return its value and the Jacobian times a vector.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them.
    primals : sequence
        The arguments of the call.
    tangents : sequence
        The directions in which they move, with their structure and shapes.

    Returns
    -------
    value, tangent : as `f` returns it
        The value, and its rate of change in that direction.

    See Also
    --------
    vjp : reverse mode.
    hvp : a direction through a gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> x, direction = np.array([1.0, 2.0]), np.array([1.0, 10.0])
    >>> value, tangent = mg.jvp(np.square, (x,), (direction,))
    >>> tangent
    array([ 2., 40.])
    """
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise TypeError(f"jvp: {what} must be a tuple with one entry for each argument, got {type(given).__name__}")
    if len(primals) != len(tangents):
        raise ValueError(f"jvp: each primal needs one tangent, got {len(primals)} primals and {len(tangents)} tangents")
    trace = traced(as_function(f, "jvp: f"), primals, {}, range(len(primals)))
    check_numbers(f, trace.outputs)
    out = trace.push(matching(*flatten(tuple(tangents)), trace.examples(trace.inputs), trace.form, "jvp: a tangent"))
    return trace.value(), trace.form_of_outputs.rebuild(out)
