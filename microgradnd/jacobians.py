"""Whole matrices of derivatives, and derivatives element by element.

Owns: `jacobian`, `hessian` and `elementwise_grad`, and how rows and columns of complex numbers are put together.
Must not own: how a function is traced and walked through (`transforms.py`).
Read next: `transforms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from microgradnd.annotations import P
from microgradnd.transforms import Function, Trace, check_numbers, grad, on_trace, plain
from microgradnd.trees import Tree


def jacobian(f: Function, argnums: int | Sequence[int] = 0, mode: Literal["rev", "fwd"] | None = None) -> Function:
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

    def body(trace: Trace) -> Tree:
        check_numbers(f, trace.outputs)
        fix_lengths(trace)
        outputs, inputs = [np.asarray(plain(out)) for out in trace.outputs], [t._array for t in trace.inputs]
        by_rows = mode == "rev" or (mode is None and sum(o.size for o in outputs) <= sum(x.size for x in inputs))
        if by_rows:
            rows = [[row(trace, basis, out) for basis in unit_vectors(outputs, k)] for k, out in enumerate(outputs)]
            parts = [[[row[j] for row in rows[k]] for j in range(len(inputs))] for k in range(len(outputs))]
        else:
            columns = [[column(trace, basis, x) for basis in unit_vectors(inputs, j)] for j, x in enumerate(inputs)]
            parts = [[[column[k] for column in columns[j]] for j in range(len(inputs))] for k in range(len(outputs))]
        blocks = [
            [
                joined(part, 0 if by_rows else -1, out.shape + x.shape, x.dtype)
                for part, x in zip(block, inputs, strict=True)
            ]
            for block, out in zip(parts, outputs, strict=True)
        ]
        return trace.form_of_outputs.rebuild([trace.arguments(block, isinstance(argnums, int)) for block in blocks])

    return on_trace(f, argnums, body)


def hessian(f: Callable[P, Any], argnums: int = 0) -> Callable[P, Any]:
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

    def body(trace: Trace) -> Tree:
        check_numbers(f, trace.outputs)
        fix_lengths(trace)
        outputs = [np.asarray(plain(out)) for out in trace.outputs]
        ones = [np.ones(out.shape, out.dtype) for out in outputs]
        return trace.arguments(row(trace, ones, np.asarray(sum(np.zeros((), out.dtype) for out in outputs))), True)

    return on_trace(f, 0, body)


def fix_lengths(trace: Trace) -> None:
    """Let no length stay open in a compiled function: there is one walk for each element."""
    for x in (*trace.inputs, *trace.outputs):
        for n in np.shape(x):
            int(n)


def row(trace: Trace, basis: list[Any], out: Any) -> list[Any]:
    """Return the derivatives of one element of a result by all inputs.

    What arrives at a real input is a real part; the cotangent -i gives the imaginary part of a complex element.
    """
    row = trace.pull(basis)
    if out.dtype.kind != "c" or all(t.dtype.kind == "c" for t in trace.inputs):
        return row
    turned = trace.pull([-1j * b if b.dtype.kind == "c" else b for b in basis])
    return [g if t.dtype.kind == "c" else g + 1j * h for t, g, h in zip(trace.inputs, row, turned, strict=True)]


def column(trace: Trace, basis: list[Any], x: Any) -> list[Any]:
    """Return the derivatives of all results by one element of an input.

    By a complex one it is d/dx - i d/dy of the real part, which is what arrives there backwards, and for
    holomorphic functions the derivative.
    """
    column = trace.push(basis)
    if x.dtype.kind != "c":
        return column
    turned = trace.push([1j * b if b.dtype.kind == "c" else b for b in basis])
    return [np.real(t) - 1j * np.real(u) for t, u in zip(column, turned, strict=True)]


def unit_vectors(arrays: Sequence[np.ndarray[Any, Any]], k: int) -> Iterator[list[np.ndarray[Any, Any]]]:
    """Yield, for each element of one of the arrays, arrays that are 1 there and 0 elsewhere."""
    for i in range(arrays[k].size):
        basis = [np.zeros(a.shape, a.dtype if a.dtype.kind in "fc" else np.float64) for a in arrays]
        basis[k].flat[i] = 1
        yield basis


def joined(parts: list[Any], axis: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """Put the rows or columns of a Jacobian together."""
    return np.reshape(np.stack(parts, axis=axis), shape) if parts else np.zeros(shape, dtype)
