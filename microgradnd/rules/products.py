"""Derivatives of products of matrices, vectors and arrays.

Owns: `np.matmul`, `np.dot` and their relatives, `np.einsum`, and the same functions in
`np.linalg`.
Must not own: elementwise products (`elementwise.py`), linear algebra (`linalg.py`),
computing products (`contraction.py`).
Read next: `linalg.py`.

A product is linear in each argument, so its JVP is the product itself, with one
argument replaced by its tangent. Its VJP is a product too: of the cotangent with
everything else, over the axes that the argument doesn't have.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from microgradnd.contraction import (
    dot,
    einsum,
    explicit,
    inner,
    on_rows,
    rows,
    subscripts_of,
    summed_axes,
    unused,
)
from microgradnd.primitives import array
from microgradnd.registry import composite, defjvp, defvjp, linear, plain, variadic
from microgradnd.rules.matrices import column, mT, row, vector
from microgradnd.rules.values import conj


def refuse_axes(axes: Any) -> None:
    """Raise if the axes of a product aren't the last ones."""
    if axes is not None:
        raise NotImplementedError("axes= has no derivative rule; move the axes to the end with np.moveaxis instead")


# Matrices and vectors, in stacks of any shape


def matmul_left(g: Any, out: Any, x: Any, y: Any, *, axes: Any = None, **_: Any) -> Any:
    """Return the cotangent of x in x @ y: g @ y'; a vector is a one-row matrix."""
    if x.ndim == 2 == getattr(y, "ndim", 0) and axes is None:
        return on_rows(g, y.T)  # np.dot is several times faster than @ where one dimension is 1
    refuse_axes(axes)
    y = array(y)
    if y.ndim == 1:
        return column(g) * y
    if x.ndim == 1:
        return y @ g if y.ndim == 2 else vector(y @ column(g))
    if x.ndim == 2:  # used in every matrix of the stack: the product includes the sum over them
        summed = (*range(g.ndim - 2), -1)
        return np.tensordot(g, y, (summed, summed))
    return g @ mT(y)


def matmul_right(g: Any, out: Any, x: Any, y: Any, *, axes: Any = None, **_: Any) -> Any:
    """Return the cotangent of y in x @ y: x' @ g; a vector is a one-column matrix."""
    if y.ndim == 2 == getattr(x, "ndim", 0) and axes is None:
        return on_rows(x.T, g)
    refuse_axes(axes)
    x = array(x)
    if x.ndim == 1:
        return column(x) * row(g) if y.ndim > 1 else x * g
    if y.ndim <= 2:
        return np.dot(rows(x).T, np.ravel(g) if y.ndim == 1 else rows(g))
    return mT(x) * g if x.shape[-2] == 1 else mT(x) @ g  # NumPy multiplies columns by rows ten times as fast


def matvec_left(g: Any, out: Any, x: Any, y: Any, *, axes: Any = None, **_: Any) -> Any:
    """Return the cotangent of the matrix in np.matvec(x, y): the outer product g y'."""
    refuse_axes(axes)
    return column(g) * row(array(y))


def matvec_right(g: Any, out: Any, x: Any, y: Any, **_: Any) -> Any:
    """Return the cotangent of the vector in np.matvec(x, y): x' g."""
    return np.matvec(mT(array(x)), g)


def vecmat_left(g: Any, out: Any, x: Any, y: Any, *, axes: Any = None, **_: Any) -> Any:
    """Return the cotangent of the vector, conjugated in np.vecmat(x, y): conj(y g)."""
    refuse_axes(axes)
    return conj(np.matvec(y, g))


def vecmat_right(g: Any, out: Any, x: Any, y: Any, **_: Any) -> Any:
    """Return the cotangent of the matrix in np.vecmat(x, y): the outer conj(x) g'."""
    return column(conj(array(x))) * row(g)


def vecdot_other(g: Any, x: Any, y: Any, axis: int, keepdims: bool) -> Any:
    """Return g * y with the summed axis at its place in x.

    It is counted from the end, so that stacks broadcast.
    """
    spread = column(np.squeeze(g, axis) if keepdims else g)
    return np.moveaxis(spread * np.moveaxis(array(y), axis, -1), -1, axis % x.ndim - x.ndim)


def vecdot_left(
    g: Any, out: Any, x: Any, y: Any, *, axis: int = -1, keepdims: bool = False, axes: Any = None, **_: Any
) -> Any:
    """Return the cotangent of x in np.vecdot(x, y), where x is conjugated."""
    refuse_axes(axes)
    return conj(vecdot_other(g, x, y, axis, keepdims))


def vecdot_right(
    g: Any, out: Any, x: Any, y: Any, *, axis: int = -1, keepdims: bool = False, axes: Any = None, **_: Any
) -> Any:
    """Return the cotangent of y in np.vecdot(x, y)."""
    refuse_axes(axes)
    return vecdot_other(g, y, conj(x), axis, keepdims)


for product in (np.matmul, np.linalg.matmul):
    defvjp(product, matmul_left, matmul_right)
    defjvp(
        product,
        lambda t, out, x, y, product=product, **how: product(t, y, **how),
        lambda t, out, x, y, product=product, **how: product(x, t, **how),
    )
linear(np.vecdot, vecdot_left, vecdot_right)
linear(np.linalg.vecdot, vecdot_left, vecdot_right)
if hasattr(np, "matvec"):  # NumPy 2.2
    linear(np.matvec, matvec_left, matvec_right)
    linear(np.vecmat, vecmat_left, vecmat_right)
linear(
    np.vdot,
    lambda g, out, x, y: conj(g * np.reshape(y, x.shape)),
    lambda g, out, x, y: g * np.reshape(conj(x), y.shape),
)


# Sums over chosen axes


def tensordot_left(g: Any, out: Any, x: Any, y: Any, axes: Any = 2) -> Any:
    """Return the cotangent of x: contract g with y over the axes that came from y."""
    y = array(y)
    of_x, of_y = summed_axes(axes, x.ndim, y.ndim)
    free_x, free_y = ([a for a in range(t.ndim) if a not in of] for t, of in ((x, of_x), (y, of_y)))
    parts = np.tensordot(g, y, (list(range(len(free_x), g.ndim)), free_y))
    return np.transpose(parts, np.argsort(free_x + [of_x[of_y.index(a)] for a in sorted(of_y)]).tolist())


def tensordot_right(g: Any, out: Any, x: Any, y: Any, axes: Any = 2) -> Any:
    """Return the cotangent of y: contract x with g over the axes that came from x."""
    x = array(x)
    of_x, of_y = summed_axes(axes, x.ndim, y.ndim)
    free_x, free_y = ([a for a in range(t.ndim) if a not in of] for t, of in ((x, of_x), (y, of_y)))
    parts = np.tensordot(x, g, (free_x, list(range(len(free_x)))))
    return np.transpose(parts, np.argsort([of_y[of_x.index(a)] for a in sorted(of_x)] + free_y).tolist())


linear(np.tensordot, tensordot_left, tensordot_right)
linear(np.linalg.tensordot, tensordot_left, tensordot_right)


def dot_left(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of x in np.dot(x, y); a 0-d argument multiplies."""
    if x.ndim == 2 == getattr(y, "ndim", 0):
        return on_rows(g, y.T)
    y = array(y)
    if x.ndim == 0 or y.ndim == 0:
        return np.sum(g * y) if x.ndim == 0 else g * y
    if y.ndim == 2:
        return on_rows(g, y.T)
    return tensordot_left(g, out, x, y, (-1, max(y.ndim - 2, 0)))


def dot_right(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of y in np.dot(x, y)."""
    if y.ndim == 2 == getattr(x, "ndim", 0):
        return on_rows(x.T, g)
    x = array(x)
    if x.ndim == 0 or y.ndim == 0:
        return np.sum(g * x) if y.ndim == 0 else g * x
    if y.ndim == 2:
        return np.dot(rows(x).T, rows(g))
    return tensordot_right(g, out, x, y, (-1, max(y.ndim - 2, 0)))


def inner_left(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of x in np.inner(x, y): np.dot(x, y') over the last axes."""
    y = array(y)
    return dot_left(g, out, x, y) if x.ndim == 0 or y.ndim == 0 else tensordot_left(g, out, x, y, (-1, -1))


def inner_right(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of y in np.inner(x, y)."""
    x = array(x)
    return dot_right(g, out, x, y) if x.ndim == 0 or y.ndim == 0 else tensordot_right(g, out, x, y, (-1, -1))


defvjp(np.dot, dot_left, dot_right)
defjvp(np.dot, lambda t, out, x, y: dot(t, y), lambda t, out, x, y: dot(x, t))
defvjp(np.inner, inner_left, inner_right)
defjvp(np.inner, lambda t, out, x, y: inner(t, y), lambda t, out, x, y: inner(x, t))


# Outer and cross products


def outer_left(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of x in np.outer(x, y), which flattens both."""
    return np.reshape(np.dot(g, np.ravel(y)), x.shape)


def outer_right(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of y in np.outer(x, y)."""
    return np.reshape(np.dot(np.ravel(x), g), y.shape)


linear(np.outer, outer_left, outer_right)
linear(np.linalg.outer, outer_left, outer_right)


@composite(np.kron)
def kron(a: Any, b: Any) -> Any:
    """Compute np.kron: an outer product whose axes are joined in pairs."""
    a, b = array(a), array(b)
    ndim = max(a.ndim, b.ndim)
    a, b = (np.reshape(x, (1,) * (ndim - x.ndim) + x.shape) for x in (a, b))
    pairs = np.expand_dims(a, tuple(range(1, 2 * ndim, 2))) * np.expand_dims(b, tuple(range(0, 2 * ndim, 2)))
    return np.reshape(pairs, tuple(m * n for m, n in zip(a.shape, b.shape, strict=True)))


def cross_axes(x: Any, y: Any, axes: tuple[int, int, int], axis: int | None) -> tuple[int, int, int]:
    """Return the axes of the vectors in x, y and their cross product.

    Raises unless the vectors have three elements. The axes of x and y are counted from
    the end, so that stacks broadcast.
    """
    of_x, of_y, of_out = axes if axis is None else (axis,) * 3
    if 2 in (x.shape[of_x], y.shape[of_y]):
        raise NotImplementedError(
            "np.cross of vectors with two elements has no derivative rule; write x[..., 0] * y[..., 1] - "
            "x[..., 1] * y[..., 0], or give them a third element"
        )
    return of_x % x.ndim - x.ndim, of_y % y.ndim - y.ndim, of_out


def cross_left(
    g: Any, out: Any, x: Any, y: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """Return the cotangent of x: g . (dx x y) = dx . (y x g)."""
    y = array(y)
    of_x, of_y, of_out = cross_axes(x, y, (axisa, axisb, axisc), axis)
    return np.cross(y, g, of_y, of_out, of_x)


def cross_right(
    g: Any, out: Any, x: Any, y: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """Return the cotangent of y: g . (x x dy) = dy . (g x x)."""
    x = array(x)
    of_x, of_y, of_out = cross_axes(x, y, (axisa, axisb, axisc), axis)
    return np.cross(g, x, of_out, of_x, of_y)


linear(np.cross, cross_left, cross_right)
linear(np.linalg.cross, cross_left, cross_right)


# np.einsum


@functools.lru_cache(maxsize=4096)
def einsum_plan(subscripts: str, shapes: tuple[tuple[int, ...], ...], which: int) -> tuple[str, list[int], list[int]]:
    """Return the subscripts of one operand's cotangent, and the sizes of extra arrays.

    The cotangent of an operand is the contraction of the result's cotangent with all
    other operands, to the operand's own indices. An index that occurs in none of them
    was summed: it takes a vector of ones. An index that the operand repeats took a
    diagonal: each repetition takes an identity matrix.
    """
    words, result = explicit(subscripts, [len(shape) for shape in shapes])
    fresh = iter(unused(subscripts + "".join(words)))

    others = [i for i in range(len(words)) if i != which]
    lengths = {c for i in others for c, n in zip(words[i], shapes[i], strict=True) if n != 1}  # a 1 may broadcast
    target, lone, repeated = "", {}, {}
    for c, n in zip(words[which], shapes[which], strict=True):
        if c in target:
            copy = next(fresh)
            repeated[c + copy] = n
        elif c not in result and c not in lengths:
            lone[c] = n
        target += copy if c in target else c
    inputs = [result, *(words[i] for i in others), *lone, *repeated]
    return f"{','.join(inputs)}->{target}", list(lone.values()), list(repeated.values())


def einsum_cotangent(position: int, g: Any, out: Any, *args: Any, optimize: Any = False, **_: Any) -> Any:
    """Return the cotangent of one operand of np.einsum, an einsum by `einsum_plan`."""
    subscripts, operands = subscripts_of(args)
    which = position - 1 if isinstance(args[0], str) else position // 2
    plan, ones, eyes = einsum_plan(subscripts, tuple([np.shape(x) for x in operands]), which)
    masks = [np.ones(n, out.dtype) for n in ones] + [np.eye(n, dtype=out.dtype) for n in eyes]
    others = operands[:which] + operands[which + 1 :]
    # the contraction order of the product doesn't suit its derivative
    optimize = optimize if isinstance(optimize, bool | str) else "greedy"
    return einsum(plan, g, *others, *masks, optimize=optimize)


def einsum_tangent(position: int, t: Any, out: Any, *args: Any, **kwargs: Any) -> Any:
    """Return np.einsum with one operand replaced by its tangent."""
    return einsum(*args[:position], t, *args[position + 1 :], **kwargs)


variadic(np.einsum, einsum_cotangent, einsum_tangent)
plain([np.einsum_path])
