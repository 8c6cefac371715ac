"""Whole matrices of derivatives, their products, and derivatives element by element.

Owns: `jacobian`, `hessian`, `hvp` and `elementwise_grad`, and combining the rows and
columns of complex numbers.
Must not own: tracing and walking through a function (`transforms.py`).
Read next: `transforms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from microgradnd import primitives
from microgradnd.annotations import P
from microgradnd.batching import Batched, Level, next_number, running, without
from microgradnd.contraction import identity
from microgradnd.failures import as_function, explained
from microgradnd.matching import alone, check_numbers, matching, one_for, plain
from microgradnd.modes import transformed
from microgradnd.tape import Leaf, current
from microgradnd.tensor import lift
from microgradnd.transforms import Function, Trace, on_trace, traced
from microgradnd.trees import Tree, flatten

MOST = 2**24  # elements of the largest array in one walk, which takes as many rows as fit


def jacobian(f: Function, argnums: int | Sequence[int] = 0, mode: Literal["rev", "fwd"] | None = None) -> Function:
    """Return the Jacobian of `f` as a function: every output by every input.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them.
    argnums : int or sequence of int
        The positions of the arguments to differentiate; for a sequence, the result is a
        tuple.
    mode : {"rev", "fwd"}, optional
        By rows (backward, one per output element) or by columns (forward, one per input
        element); by default the fewer. They take one walk over the tape, or several to
        save memory.

    Returns
    -------
    callable
        Takes what `f` takes; returns an array of shape `output.shape + input.shape`, in
        the structure of the output and, within that, of the argument.

    See Also
    --------
    hessian : the second derivatives of one number.
    vjp, jvp : one row, one combination of columns.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    if mode not in (None, "rev", "fwd"):
        raise ValueError(f"jacobian: mode must be 'rev', 'fwd' or None, got {mode!r}")

    def body(trace: Trace) -> Tree:
        check_numbers(f, trace.outputs)
        fix_lengths(trace)
        blocks = [trace.arguments(block, isinstance(argnums, (int, np.integer))) for block in matrices(trace, mode)]
        return trace.form_of_outputs.rebuild(blocks)

    return on_trace(f, argnums, body)


def hessian(f: Callable[P, Any], argnums: int = 0) -> Callable[P, Any]:
    """Return the Hessian of `f` as a function, by forward mode over reverse mode.

    One walk computes all columns.

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

    See Also
    --------
    hvp : its product with a vector, without forming it.
    jacobian : first derivatives.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """

    def body(trace: Trace) -> Tree:
        differentiate(trace)
        fix_lengths(trace)
        single = isinstance(argnums, (int, np.integer))
        return trace.arguments([trace.arguments(block, single) for block in matrices(trace, "fwd")], single)

    return on_trace(f, argnums, body)


def hvp(f: Function) -> Function:
    """Return a function of `(x, v)`: the Hessian of `f` at x times v, never formed.

    Parameters
    ----------
    f : callable
        Takes one argument and returns one real number.

    Returns
    -------
    callable
        Takes x and v, with the structure and shapes of x; returns the product in that
        structure.

    See Also
    --------
    hessian : the whole matrix.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.hvp(lambda x: np.sum(x**3))(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """

    @explained
    def product(x: Tree, v: Tree) -> Tree:
        trace = traced(as_function(f, "hvp: f"), (x,), {}, (0,))
        differentiate(trace)
        vectors = matching(*flatten((v,)), trace.examples(trace.inputs), trace.form, "hvp: v")
        return trace.arguments(trace.push(vectors), True)

    return product


def elementwise_grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """Return the derivative of an elementwise `f`.

    Parameters
    ----------
    f : callable
        Each element of its result depends on one element of the argument. (For other
        functions, you get the gradient of the sum of the result.)
    argnums : int or sequence of int
        The positions of the arguments to differentiate; for a sequence, the result is a
        tuple.

    Returns
    -------
    callable
        Takes what `f` takes; returns the derivatives, with the shape of the argument.

    See Also
    --------
    grad : for one number.
    vmap : for a function of one example.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.elementwise_grad(np.square)(np.array([1.0, 2.0]))
    array([2., 4.])
    """

    def body(trace: Trace) -> Tree:
        check_numbers(f, trace.outputs)
        fix_lengths(trace)
        outputs = [primitives.array(plain(out)) for out in trace.outputs]
        ones = [np.ones(out.shape, out.dtype) for out in outputs]
        gradients = row(trace, ones, primitives.array(sum(np.zeros((), out.dtype) for out in outputs)))
        return trace.arguments(gradients, isinstance(argnums, (int, np.integer)))

    return on_trace(f, argnums, body)


def matrices(trace: Trace, mode: str | None) -> list[list[Any]]:
    """Return the derivatives of each output by each input."""
    outputs = [primitives.array(plain(out)) for out in trace.outputs]
    inputs = trace.examples([t._array for t in trace.inputs])
    if mode == "rev" or (mode is None and sum([o.size for o in outputs]) <= sum([x.size for x in inputs])):
        parts = [every(trace, row, outputs, k) for k in range(len(outputs))]
    else:
        columns = [every(trace, column, inputs, j) for j in range(len(inputs))]
        parts = [[turned(c[k]) if c else c for c in columns] for k in range(len(outputs))]
    return [
        [
            part.reshape(out.shape + x.shape) if len(part) else np.zeros(out.shape + x.shape, x.dtype)
            for part, x in zip(block or [()] * len(inputs), inputs, strict=True)
        ]
        for block, out in zip(parts, outputs, strict=True)
    ]


def differentiate(trace: Trace) -> None:
    """Turn the trace of a function into that of its gradient, behind it on the tape."""
    one = one_for(trace.function, trace.outputs)
    with transformed.key:
        trace.lift, trace.is_passed = lift, True
        trace.outputs, trace.form_of_outputs = trace.pull([one]), trace.form
    trace.connect()


def fix_lengths(trace: Trace) -> None:
    """Fix every open length of a compiled function: each element takes a walk."""
    if current().trace is None:  # only a compiled function has open lengths
        return
    for x in (*trace.inputs, *trace.outputs):
        for n in np.shape(x):
            int(n)


def row(trace: Trace, basis: list[Any], out: Any) -> list[Any]:
    """Return the derivatives of one element of a result by all inputs.

    The cotangent at a real input is a real part; the cotangent -i gives the imaginary
    part of a complex element.
    """
    row = trace.pull(basis)
    if out.dtype.kind != "c" or all(t.dtype.kind == "c" for t in trace.inputs):
        return row
    turned = trace.pull([-1j * b if b is not None and b.dtype.kind == "c" else b for b in basis])
    return [g if t.dtype.kind == "c" else g + 1j * h for t, g, h in zip(trace.inputs, row, turned, strict=True)]


def column(trace: Trace, basis: list[Any], x: Any) -> list[Any]:
    """Return the derivatives of all results by one element of an input.

    By a complex element it is d/dx - i d/dy of the real part. That is the cotangent
    that a backward pass gives, and the derivative if the function is holomorphic.
    """
    column = trace.push(basis)
    if x.dtype.kind != "c":
        return column
    turned = trace.push([1j * b if b is not None else b for b in basis])
    return [np.real(t) - 1j * np.real(u) for t, u in zip(column, turned, strict=True)]


def turned(x: Any) -> Any:
    """Return an array with its first axis last, sooner than np.moveaxis."""
    return x.transpose((*range(1, x.ndim), 0))


def every(trace: Trace, derive: Callable[..., list[Any]], arrays: Sequence[Any], k: int) -> list[Any]:
    """Return the derivatives of, or by, every element of one array, along a first axis.

    One walk carries as many elements as memory allows. Some operations can't do that,
    such as a user's rule that needs a NumPy array. Then each element takes a walk.
    """
    n, first = arrays[k].size, 0
    some = at_once(trace, n)
    parts: list[list[Any]] = []
    while first < n:
        units = unit_vectors(arrays[k], first, min(some, n - first))
        if some > 1:
            try:
                parts.append(in_one_walk(trace, derive, arrays, k, units))
                first += some
                continue
            except Exception:  # a rule may raise anything; its error comes again below
                some, units = 1, units[:1]
        made = derive(trace, [units[0] if i == k else None for i in range(len(arrays))], arrays[k])
        parts.append([np.expand_dims(x, 0) for x in made])
        first += 1
    return parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]


def at_once(trace: Trace, n: int) -> int:
    """Return how many of n elements one walk carries: as many as memory allows.

    Hooks, `retain_grad` and `detect_anomaly` must see one cotangent at a time.
    """
    widest = 1
    for node in trace.path.nodes:
        if type(node) is Leaf:
            if node.hooks:
                return 1
        elif node is not None:
            if node.note is not None and (node.note.hooks or node.note.retain_grad):
                return 1
            widest = max(widest, getattr(node.out, "size", 1))
    return 1 if current().anomaly is not None else min(n, max(1, MOST // widest))


def in_one_walk(trace: Trace, derive: Callable[..., list[Any]], arrays: Sequence[Any], k: int, units: Any) -> list[Any]:
    """Return the results of `derive` for several unit vectors, along a first axis."""
    level = Level(next_number(), len(units))
    with running(level):
        basis: list[Any] = [None] * len(arrays)
        basis[k] = Batched(units, level.number)
        made = [without(x, level) for x in derive(trace, basis, arrays[k])]
    return [alone(made.pop(0)) for _ in range(len(made))]  # popped: a reference here would make it a copy


def unit_vectors(array: Any, first: int, count: int) -> Any:
    """Return unit vectors of an array's shape, stacked: 1 at one element each."""
    dtype = array.dtype if array.dtype.kind in "fc" else np.float64
    if count == array.size <= 2**8 and array.ndim == 1:
        return identity(count, np.dtype(dtype))
    return np.reshape(np.eye(count, array.size, first, dtype), (count, *array.shape))
