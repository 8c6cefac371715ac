"""Functions of functions: gradients and products with Jacobians, of any order.

Owns: `grad` and its family, and how their arguments are taken apart (tuples, lists, dicts) and put together again.
Must not own: the walks over the tape (`tape.py`).
Read next: `testing.py`, which checks what these return.

Each transform gives its inputs fresh identities on the tape: a derivative is taken with respect to this use of a
variable in this call, so an inner derivative never mistakes an outer variable for its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from microgradnd import primitives, tape
from microgradnd.tape import Leaf, Path
from microgradnd.tensor import Tensor, check_differentiable, lift, wrap

Tree = Any  # an array, a number, a Tensor, an nn.Module, or tuples, lists and dicts of them
Function = Callable[..., Any]


def flatten(tree: Tree) -> tuple[list[Any], Callable[[Sequence[Any]], Tree]]:
    """Take a tree apart: return its leaves, and a function that puts a tree of the same form together from others."""
    if hasattr(tree, "__flatten__"):  # nn.Module: its parameters
        return tree.__flatten__()
    if isinstance(tree, dict):
        keys, children = list(tree), list(tree.values())
    elif isinstance(tree, tuple | list):
        keys, children = None, list(tree)
    else:
        return [tree], lambda leaves: leaves[0]
    parts = [flatten(child) for child in children]

    def rebuild(leaves: Sequence[Any]) -> Tree:
        rest, built = list(leaves), []
        for part, rebuild_part in parts:
            built.append(rebuild_part(rest[: len(part)]))
            del rest[: len(part)]
        if keys is not None:
            return type(tree)(zip(keys, built, strict=True))
        return type(tree)(*built) if hasattr(tree, "_fields") else type(tree)(built)

    return [leaf for part, _ in parts for leaf in part], rebuild


class Trace:
    """One call of a function, recorded from fresh inputs to outputs.

    Attributes
    ----------
    inputs : list of Tensor
        The fresh identities of the arrays in the arguments that are differentiated.
    outputs : list
        The arrays, Tensors and numbers in the result.
    path : Path
        What leads from the ones to the others.
    lift : callable or None
        What the walks are recorded with; None where nothing outside of this call would need that.
    """

    def __init__(
        self, function: Function, args: Sequence[Tree], kwargs: dict[str, Any], positions: Sequence[int]
    ) -> None:
        self.originals: list[Any] = []
        self.inputs: list[Tensor] = []
        self.rebuilds: list[tuple[int, Callable[[Sequence[Any]], Tree]]] = []
        fresh_args = list(args)
        nested = tape.mode.record is not None
        with tape.enable_grad():
            for position in positions:
                leaves, rebuild = flatten(args[position])
                fresh = [fresh_input(leaf, name_of_function(function), position) for leaf in leaves]
                self.originals += leaves
                self.inputs += fresh
                self.rebuilds.append((len(leaves), rebuild))
                fresh_args[position] = rebuild(fresh)
            self.result = function(*fresh_args, **kwargs)
        self.outputs, self.rebuild_outputs = flatten(self.result)
        self.nodes = [t._node for t in self.inputs if t._node is not None]
        tracked = [t._node for t in self.outputs if isinstance(t, Tensor) and t._node is not None]
        self.path = Path(tracked, self.nodes)
        outside = self.path.reaches_outside or any(type(node) is not Leaf for node in self.nodes)
        self.lift = lift if nested and outside else None

    def value(self) -> Tree:
        """Return the result of the call, of arrays unless something outside depends on it."""
        return self.rebuild_outputs([out if self.lift else plain(out) for out in self.outputs])

    def arguments(self, leaves: Sequence[Any], single: bool) -> Any:
        """Return what belongs to each input in the structure of the arguments: a tuple of them, or the only one."""
        rest, trees = list(leaves), []
        for length, rebuild in self.rebuilds:
            trees.append(rebuild(rest[:length]))
            del rest[:length]
        return trees[0] if single else tuple(trees)

    def pull(self, cotangents: Sequence[Any], retain: bool) -> list[Any]:
        """Return the cotangents of the inputs for cotangents of the outputs."""
        seeds = [
            (out._node, g)
            for out, g in zip(self.outputs, cotangents, strict=True)
            if g is not None and isinstance(out, Tensor) and out._node in self.path.nodes
        ]
        recording = tape.enable_grad() if self.lift else tape.no_grad()
        with recording:
            if self.lift:
                seeds = [(node, g if isinstance(g, Tensor) else wrap(g)) for node, g in seeds]
            ends = tape.backward(seeds, retain or self.lift is not None, self.lift, self.path)
        return [
            self.finish(ends[node] if node in ends else np.zeros(t.shape, t.dtype), original)
            for node, t, original in zip(self.nodes, self.inputs, self.originals, strict=True)
        ]

    def push(self, tangents: Sequence[Any]) -> list[Any]:
        """Return the tangents of the outputs for tangents of the inputs."""
        recording = tape.enable_grad() if self.lift else tape.no_grad()
        with recording:
            start = {
                node: wrap(t) if self.lift and not isinstance(t, Tensor) else t
                for node, t in zip(self.nodes, tangents, strict=True)
            }
            ends = tape.forward(self.path, start, self.lift)
        return [
            self.finish(ends[out._node], out._data)
            if isinstance(out, Tensor) and out._node in ends
            else np.zeros_like(plain(out))
            for out in self.outputs
        ]

    def finish(self, g: Any, original: Any) -> Any:
        """Return a derivative as the caller knows its variable: a number for a number, else an array of its own."""
        if isinstance(g, Tensor):
            return g
        if isinstance(original, float | complex | np.generic):
            return g[()]
        return np.array(g)


def fresh_input(leaf: Any, function: str, position: int) -> Tensor:
    """Return a Tensor with the value of an argument and an identity of its own."""
    if isinstance(leaf, Tensor) and leaf.requires_grad:
        return primitives.identity(leaf)
    array = np.asarray(leaf.data if isinstance(leaf, Tensor) else leaf)
    try:
        check_differentiable(array.dtype)
    except TypeError as error:
        error.add_note(f"This was argument {position} of {function}, which is differentiated; see argnums=.")
        raise
    return wrap(array, Leaf(array, True, leaf.name if isinstance(leaf, Tensor) else None))


def plain(value: Any) -> Any:
    """Return a value without its Tensor."""
    return value.data if isinstance(value, Tensor) else value


def name_of_function(function: Function) -> str:
    return getattr(function, "__name__", "the function")


def scalar_output(trace: Trace, transform: str, outputs: Sequence[Any]) -> None:
    """Raise unless a function returned one real number, so that its gradient is defined."""
    if len(outputs) != 1 or np.size(plain(outputs[0])) != 1:
        shapes = ", ".join(str(np.shape(plain(out))) for out in outputs)
        raise TypeError(
            f"{transform} needs a function that returns one number, not {len(outputs)} result(s) of shape {shapes}; "
            f"reduce the result, as with np.sum, or use mg.jacobian, mg.vjp or mg.elementwise_grad"
        )
    if np.asarray(plain(outputs[0])).dtype.kind == "c":
        raise TypeError(
            f"{transform} needs a real result, not a complex one; take np.real or np.abs of it, or use mg.vjp"
        )


def value_and_grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return a function that returns both the value of `f` and its gradient.

    Parameters
    ----------
    f : callable
        Takes arrays, numbers, or tuples, lists and dicts of them; returns one real number.
    argnums : int or sequence of int
        The positions of the arguments to differentiate; for a sequence the gradient is a tuple.
    has_aux : bool
        Whether `f` returns `(value, aux)`, where `aux` is passed on undifferentiated.

    Returns
    -------
    callable
        Takes what `f` takes; returns `(value, gradient)`, or `((value, aux), gradient)`. A gradient has the structure,
        shapes and dtypes of its argument.

    Raises
    ------
    TypeError
        When called: if `f` doesn't return one real number, or an argument to differentiate holds integers.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> value, gradient = mg.value_and_grad(lambda w: np.sum(w**2))(np.array([1.0, 2.0]))
    >>> float(value), gradient
    (5.0, array([2., 4.]))
    """

    @functools.wraps(f, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def differentiated(*args: Tree, **kwargs: Any) -> Any:
        trace = Trace(f, args, kwargs, positions(argnums, args, f))
        main = trace.outputs
        if has_aux:
            whole = trace.result
            if not (isinstance(whole, tuple) and len(whole) == 2):
                raise TypeError("value_and_grad(has_aux=True) needs a function that returns (value, aux)")
            main = flatten(whole[0])[0]
        scalar_output(trace, "a gradient", main)
        one = np.ones(np.shape(plain(main[0])), getattr(main[0], "dtype", np.float64))
        gradients = trace.pull([one] + [None] * (len(trace.outputs) - 1), retain=False)
        return trace.value(), trace.arguments(gradients, isinstance(argnums, int))

    return differentiated


def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return a function that returns the gradient of `f`.

    Parameters
    ----------
    f : callable
        Takes arrays, numbers, or tuples, lists and dicts of them; returns one real number.
    argnums : int or sequence of int
        The positions of the arguments to differentiate; for a sequence the gradient is a tuple.
    has_aux : bool
        Whether `f` returns `(value, aux)`; the result is then `(gradient, aux)`.

    Returns
    -------
    callable
        Takes what `f` takes; returns the gradient, with the structure, shapes and dtypes of the argument.

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

    @functools.wraps(f, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def differentiated(*args: Tree, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return differentiated


def vjp(f: Function, *primals: Tree) -> tuple[Tree, Callable[[Tree], tuple[Tree, ...]]]:
    """Call a function, and return with its value a function for products of vectors with its Jacobian.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them.
    *primals : array_like
        The arguments at which to call it; all are differentiated.

    Returns
    -------
    value : as `f` returns it
    pullback : callable
        Takes a cotangent with the structure and shapes of the value and returns a tuple, one gradient per primal.
        May be called again.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> value, pullback = mg.vjp(np.multiply, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    >>> pullback(np.array([1.0, 10.0]))
    (array([ 3., 40.]), array([ 1., 20.]))
    """
    trace = Trace(f, primals, {}, range(len(primals)))

    def pullback(g: Tree) -> tuple[Tree, ...]:
        cotangents = [fitting(c, out, "pullback: a cotangent") for c, out in matched(g, trace, "pullback")]
        return trace.arguments(trace.pull(cotangents, retain=True), False)

    return trace.value(), pullback


def jvp(f: Function, primals: Sequence[Tree], tangents: Sequence[Tree]) -> tuple[Tree, Tree]:
    """Call a function, and return with its value the product of its Jacobian with a vector.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them.
    primals : sequence
        The arguments at which to call it.
    tangents : sequence
        The directions in which to move them, with their structure and shapes.

    Returns
    -------
    value, tangent : as `f` returns it
        The value, and its rate of change in that direction.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> value, tangent = mg.jvp(np.square, (np.array([1.0, 2.0]),), (np.array([1.0, 10.0]),))
    >>> tangent
    array([ 2., 40.])
    """
    if len(primals) != len(tangents):
        raise ValueError(
            f"jvp was given {len(primals)} primals and {len(tangents)} tangents; it needs one tangent for each"
        )
    trace = Trace(f, primals, {}, range(len(primals)))
    moves = [leaf for tree in tangents for leaf in flatten(tree)[0]]
    if len(moves) != len(trace.inputs):
        raise ValueError(
            f"jvp was given {len(moves)} tangent arrays for {len(trace.inputs)} arrays; "
            f"their structures must be the same"
        )
    out = trace.push([fitting(t, x, "jvp: a tangent") for t, x in zip(moves, trace.inputs, strict=True)])
    return trace.value(), trace.rebuild_outputs(out)


def jacobian(f: Function, argnums: int | Sequence[int] = 0, mode: str | None = None) -> Function:
    """Return a function that returns the Jacobian of `f`: the derivative of every output by every input.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them.
    argnums : int or sequence of int
        The positions of the arguments to differentiate; for a sequence the result is a tuple.
    mode : {"rev", "fwd"}, optional
        By rows (one backward walk per output element) or by columns (one forward walk per input element); by default
        whichever are fewer.

    Returns
    -------
    callable
        Takes what `f` takes; returns an array of shape `output.shape + input.shape`, in the structure of the output
        and, within that, of the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    if mode not in (None, "rev", "fwd"):
        raise ValueError(f"jacobian: mode is 'rev', 'fwd' or None, not {mode!r}")

    @functools.wraps(f, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def differentiated(*args: Tree, **kwargs: Any) -> Tree:
        trace = Trace(f, args, kwargs, positions(argnums, args, f))
        outputs = [np.asarray(plain(out)) for out in trace.outputs]
        by_rows = sum(o.size for o in outputs) <= sum(t.size for t in trace.inputs) if mode is None else mode == "rev"
        if by_rows:
            rows = [[trace.pull(basis, retain=True) for basis in unit_vectors(outputs, k)] for k in range(len(outputs))]
            blocks = [
                [
                    joined([row[j] for row in rows[k]], 0, out.shape + t.shape, t.dtype)
                    for j, t in enumerate(trace.inputs)
                ]
                for k, out in enumerate(outputs)
            ]
        else:
            arrays = [t.data for t in trace.inputs]
            columns = [[trace.push(basis) for basis in unit_vectors(arrays, j)] for j in range(len(arrays))]
            blocks = [
                [
                    joined([column[k] for column in columns[j]], -1, out.shape + t.shape, out.dtype)
                    for j, t in enumerate(trace.inputs)
                ]
                for k, out in enumerate(outputs)
            ]
        return trace.rebuild_outputs([trace.arguments(block, isinstance(argnums, int)) for block in blocks])

    return differentiated


def hessian(f: Function, argnums: int = 0) -> Function:
    """Return a function that returns the Hessian of `f`: forward mode over reverse mode, one walk per input element.

    Parameters
    ----------
    f : callable
        Returns one real number.
    argnums : int
        The position of the argument to differentiate twice.

    Returns
    -------
    callable
        Takes what `f` takes; returns an array of shape `input.shape + input.shape`.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    return jacobian(grad(f, argnums), argnums, mode="fwd")


def hvp(f: Function) -> Function:
    """Return a function of `(x, v)` that returns the Hessian of `f` at x times v, without forming the Hessian.

    Parameters
    ----------
    f : callable
        Takes one argument and returns one real number.

    Returns
    -------
    callable
        Takes x and v, with the structure and shapes of x; returns the product in the same form.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.hvp(lambda x: np.sum(x**3))(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """
    return lambda x, v: jvp(grad(f), (x,), (v,))[1]


def elementwise_grad(f: Function) -> Function:
    """Return a function that returns, element by element, the derivative of an elementwise `f` by its first argument.

    Parameters
    ----------
    f : callable
        Each element of its result depends on one element of its first argument. (For other functions this is the
        gradient of the sum of the result.)

    Returns
    -------
    callable
        Takes what `f` takes; returns the derivatives, with the shape of the first argument.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.elementwise_grad(np.square)(np.array([1.0, 2.0]))
    array([2., 4.])
    """

    @functools.wraps(f, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def differentiated(*args: Tree, **kwargs: Any) -> Tree:
        trace = Trace(f, args, kwargs, (0,))
        ones = [np.ones(np.shape(plain(out)), getattr(out, "dtype", np.float64)) for out in trace.outputs]
        return trace.arguments(trace.pull(ones, retain=False), True)

    return differentiated


def positions(argnums: int | Sequence[int], args: Sequence[Any], f: Function) -> list[int]:
    """Return the positions of the arguments to differentiate, counted from the front."""
    wanted = [argnums] if isinstance(argnums, int) else list(argnums)
    if not wanted or any(not -len(args) <= i < len(args) for i in wanted):
        raise ValueError(
            f"argnums={argnums} doesn't name positional arguments of {name_of_function(f)}, "
            f"which was called with {len(args)}"
        )
    return [i % len(args) for i in wanted]


def matched(tree: Tree, trace: Trace, what: str) -> list[tuple[Any, Any]]:
    """Pair the leaves of a tree with the outputs of a trace."""
    leaves = flatten(tree)[0]
    if len(leaves) != len(trace.outputs):
        raise ValueError(
            f"{what}: {len(leaves)} arrays were given for a value of {len(trace.outputs)}; "
            f"their structures must be the same"
        )
    return list(zip(leaves, trace.outputs, strict=True))


def fitting(vector: Any, like: Any, what: str) -> Any:
    """Return a cotangent or tangent in the dtype of its value, or raise if it has another shape."""
    vector = vector if isinstance(vector, Tensor) else np.asarray(vector)
    if vector.shape != np.shape(plain(like)):
        raise ValueError(
            f"{what} of shape {vector.shape} was given for a value of shape {np.shape(plain(like))}; "
            f"the two must be the same"
        )
    return tape.cast(vector, like.dtype) if isinstance(like, Tensor) else vector


def unit_vectors(arrays: Sequence[np.ndarray[Any, Any]], k: int) -> Iterator[list[np.ndarray[Any, Any]]]:
    """Yield, for each element of one of the arrays, arrays that are 1 there and 0 elsewhere."""
    for i in range(arrays[k].size):
        basis = [np.zeros(a.shape, a.dtype if a.dtype.kind in "fc" else np.float64) for a in arrays]
        basis[k].flat[i] = 1
        yield basis


def joined(parts: list[Any], axis: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """Put the rows or columns of a Jacobian together."""
    return np.reshape(np.stack(parts, axis=axis), shape) if parts else np.zeros(shape, dtype)
