"""Derivatives of `scipy.linalg`.

Owns: the rules of its functions that NumPy has no counterpart for.
Must not own: functions of `np.linalg` (`../rules/linalg.py`).
Read next: `../rules/linalg.py`.

All functions except `toeplitz` and `block_diag` take stacks of matrices where SciPy
does, since 1.16. `overwrite_a` and `overwrite_b` allow SciPy to use an argument's
memory; here it never does.

Conventions
- `solve_triangular` reads one triangle of its matrix, and so does its derivative: the
  other triangle has gradient 0, and so has the diagonal with `unit_diagonal`.
- `cho_factor` takes its matrix for Hermitian: its derivative is that of f((a + a*) /
  2), like the derivative of `np.linalg.cholesky`. According to SciPy, the other
  triangle of its result holds random data: it has no derivative, and `cho_solve`
  doesn't read it.
- The derivative of a matrix function f in a direction e is the corner of f([[a, e], [0,
  a]]) (N. Higham, "Functions of Matrices", 2008, theorem 3.6). `sqrtm` and `logm` have
  one if no eigenvalue is 0 or negative.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.primitives import array
from microgradnd.registry import defjvp, defvjp, primitive
from microgradnd.rules.linalg import cholesky_cotangent, cholesky_tangent, columns, like_right
from microgradnd.rules.matrices import adjoint, mT
from microgradnd.rules.values import conj, real
from microgradnd.scipy import missing, scipys

sp = scipys("linalg")

__all__ = ["block_diag", "cho_factor", "cho_solve", "expm", "logm", "solve_triangular", "sqrtm", "toeplitz"]

if not TYPE_CHECKING:

    def __getattr__(name):
        raise missing("linalg", name, __all__)


# Triangular systems


@primitive
def solve_triangular(
    a: Any,
    b: Any,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    """Solve a x = b for a triangular matrix a.

    Parameters
    ----------
    a : array_like of shape (..., n, n)
    b : array_like of shape (n,) or (..., n, k)
    trans : {0, 1, 2, "N", "T", "C"}
        Whether the matrix of the system is a, its transpose, or its conjugate
        transpose.
    lower : bool
        Whether to read the lower triangle of a; by default the upper one.
    unit_diagonal : bool
        Whether to take the diagonal to be 1, without reading it.
    overwrite_b : bool
        Without effect: b is never changed.
    check_finite : bool
        Whether to raise for NaN and infinities in a or b, in either triangle.

    Returns
    -------
    array or Tensor of the shape of b

    Raises
    ------
    ValueError
        If `trans` is none of these, or the shapes don't fit.

    See Also
    --------
    cho_solve : for a matrix with a known Cholesky factor.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import linalg
    >>> a = np.array([[2.0, 1.0], [0.0, 4.0]])
    >>> mg.grad(lambda a: linalg.solve_triangular(a, [2.0, 4.0]).sum())(a)
    array([[-0.25 , -0.5  ],
           [ 0.   , -0.125]])
    """
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ValueError(f"solve_triangular: trans must be 0, 1, 2, 'N', 'T' or 'C', got {trans!r}")
    return sp.solve_triangular(a, b, trans, lower, unit_diagonal, check_finite=check_finite)


def triangle(x: Any, lower: bool, unit_diagonal: bool = False) -> Any:
    """Return one triangle of matrices, without the diagonal if that is unit."""
    return np.tril(x, -int(unit_diagonal)) if lower else np.triu(x, int(unit_diagonal))


def system(a: Any, trans: int | str) -> Any:
    """Return the matrix of a system of equations."""
    return a if trans in (0, "N") else mT(a) if trans in (1, "T") else adjoint(a)


def solve_transposed(g: Any, a: Any, trans: int | str, lower: bool, unit_diagonal: bool) -> Any:
    """Solve the transposed system, for the cotangent of b."""
    if trans in (2, "C"):
        return conj(solve_triangular(a, conj(g), 0, lower, unit_diagonal, check_finite=False))
    return solve_triangular(a, g, 1 if trans in (0, "N") else 0, lower, unit_diagonal, check_finite=False)


def triangular_right(
    g: Any, out: Any, a: Any, b: Any, trans: Any = 0, lower: Any = False, unit_diagonal: Any = False, *_: Any, **__: Any
) -> Any:
    """Return the cotangent of b."""
    b = array(b)
    return like_right(solve_transposed(columns(g, b), array(a), trans, lower, unit_diagonal), b)


def triangular_left(
    g: Any, out: Any, a: Any, b: Any, trans: Any = 0, lower: Any = False, unit_diagonal: Any = False, *_: Any, **__: Any
) -> Any:
    """Return the cotangent of a: -(the cotangent of b) out', in the triangle read."""
    b = array(b)
    of_system = -(solve_transposed(columns(g, b), a, trans, lower, unit_diagonal) @ mT(columns(out, b)))
    return triangle(system(of_system, trans), lower, unit_diagonal)


def triangular_left_tangent(
    t: Any, out: Any, a: Any, b: Any, trans: Any = 0, lower: Any = False, unit_diagonal: Any = False, *_: Any, **__: Any
) -> Any:
    """Return -inv(a) t out."""
    b = array(b)
    moved = system(triangle(t, lower, unit_diagonal), trans) @ columns(out, b)
    return like_right(-solve_triangular(a, moved, trans, lower, unit_diagonal, check_finite=False), b)


defvjp(solve_triangular, triangular_left, triangular_right)
defjvp(
    solve_triangular,
    triangular_left_tangent,
    lambda t, out, a, b, *args, **kwargs: solve_triangular(a, t, *args, **kwargs),
)


# Cholesky factors


def cho_factor(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Any, bool]:
    """Return the Cholesky factor of a Hermitian, positive definite matrix.

    Parameters
    ----------
    a : array_like of shape (..., n, n)
    lower : bool
        Whether to read the lower triangle of a and return a lower triangular factor; by
        default upper.
    overwrite_a : bool
        Without effect: a is never changed.
    check_finite : bool
        Whether to raise for NaN and infinities in a.

    Returns
    -------
    c : array or Tensor of the shape of a
        The factor. Its other triangle isn't part of it: it isn't zero, and has no
        derivative.
    lower : bool

    See Also
    --------
    cho_solve : solves a system with the factor.
    numpy.linalg.cholesky : the factor with zeros in the other triangle.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.scipy import linalg
    >>> c, lower = linalg.cho_factor(np.array([[4.0, 2.0], [2.0, 10.0]]))
    >>> np.triu(c)
    array([[2., 1.],
           [0., 3.]])
    """
    return factor(a, lower, check_finite), lower


@primitive
def factor(a: Any, lower: bool, check_finite: bool) -> Any:
    """Return the result of scipy.linalg.cho_factor without `lower`."""
    return sp.cho_factor(a, lower, check_finite=check_finite)[0]


defvjp(
    factor,
    lambda g, out, a, lower, check_finite: cholesky_cotangent(
        triangle(g, lower), triangle(out, lower), a, upper=not lower
    ),
)
defjvp(
    factor,
    lambda t, out, a, lower, check_finite: triangle(
        cholesky_tangent(t, triangle(out, lower), a, upper=not lower), lower
    ),
)


def cho_solve(c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False, check_finite: bool = True) -> Any:
    """Solve a x = b for a matrix a whose Cholesky factor `cho_factor` returned.

    Parameters
    ----------
    c_and_lower : tuple of (array_like, bool)
        The result of `cho_factor`.
    b : array_like of shape (n,) or (..., n, k)
    overwrite_b : bool
        Without effect: b is never changed.
    check_finite : bool
        Whether to raise for NaN and infinities in c or b.

    Returns
    -------
    array or Tensor of the shape of b

    See Also
    --------
    cho_factor : returns the factor.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import linalg
    >>> b = np.array([4.0, 2.0])
    >>> def form(a):
    ...     return b @ linalg.cho_solve(linalg.cho_factor(a), b)
    >>> mg.grad(form)(np.array([[4.0, 2.0], [2.0, 10.0]]))
    array([[-1.,  0.],
           [ 0.,  0.]])
    """
    c, lower = c_and_lower
    return solve_factored(c, b, lower, check_finite)


@primitive
def solve_factored(c: Any, b: Any, lower: bool, check_finite: bool) -> Any:
    """Return the result of scipy.linalg.cho_solve."""
    return sp.cho_solve((c, lower), b, check_finite=check_finite)


def lower_factor(c: Any, lower: bool) -> Any:
    """Return L with a = L L*."""
    return np.tril(c) if lower else adjoint(np.triu(c))


def factored_left(g: Any, out: Any, c: Any, b: Any, lower: bool, check_finite: bool) -> Any:
    """Return c's cotangent, through that of a = L L*: -(the cotangent of b) out'."""
    b, low = array(b), lower_factor(c, lower)
    of_a = -(columns(factored_right(g, out, c, b, lower, check_finite), b) @ mT(columns(out, b)))
    of_factor = of_a @ conj(low) + conj(mT(of_a) @ low)
    return triangle(of_factor if lower else adjoint(of_factor), lower)


def factored_right(g: Any, out: Any, c: Any, b: Any, lower: bool, check_finite: bool) -> Any:
    """Return the cotangent of b: the solution x of conj(a) x = g."""
    b = array(b)
    return like_right(conj(solve_factored(c, conj(columns(g, b)), lower, False)), b)


def factored_left_tangent(t: Any, out: Any, c: Any, b: Any, lower: bool, check_finite: bool) -> Any:
    """Return -inv(a) da out, with da = dL L* + L dL*."""
    b = array(b)
    half = lower_factor(t, lower) @ adjoint(lower_factor(c, lower))
    return like_right(-solve_factored(c, (half + adjoint(half)) @ columns(out, b), lower, False), b)


defvjp(solve_factored, factored_left, factored_right)
defjvp(
    solve_factored,
    factored_left_tangent,
    lambda t, out, c, b, lower, check_finite: solve_factored(c, t, lower, False),
)


# Functions of matrices


def of_matrices(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make a function of square matrices an operation, with rules for power series."""

    @functools.wraps(function)
    def checked(A: Any) -> Any:
        shape = np.shape(A)
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ValueError(f"{function.__name__}: A must be a square matrix or a stack of them, got shape {shape}")
        return function(A)

    recorded = primitive(checked)

    def derivative(a: Any, e: Any, out: Any) -> Any:
        n, zeros = a.shape[-1], np.zeros_like(a)
        both = np.concatenate([np.concatenate([a, e], axis=-1), np.concatenate([zeros, a], axis=-1)], axis=-2)
        corner = recorded(both)[..., :n, n:]
        return corner if out.dtype.kind == "c" else real(corner)

    defvjp(recorded, lambda g, out, A: derivative(A.mT, g, out))
    defjvp(recorded, lambda t, out, A: derivative(A, t, out))
    return recorded


@of_matrices
def expm(A: Any) -> Any:
    """Return the exponential of a matrix, the sum of A**k / k!.

    Parameters
    ----------
    A : array_like of shape (..., n, n)

    Returns
    -------
    array or Tensor of the shape of A

    Raises
    ------
    ValueError
        If A isn't square.

    See Also
    --------
    logm : its inverse.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import linalg
    >>> nilpotent = np.array([[0.0, 1.0], [0.0, 0.0]])
    >>> mg.grad(lambda t: linalg.expm(t * nilpotent).sum())(2.0)
    np.float64(1.0)
    """
    return sp.expm(A)


@of_matrices
def logm(A: Any) -> Any:
    """Return the principal logarithm of a matrix.

    Parameters
    ----------
    A : array_like of shape (..., n, n)
        Without eigenvalues that are 0 or negative.

    Returns
    -------
    array or Tensor of the shape of A

    Raises
    ------
    ValueError
        If A isn't square.

    See Also
    --------
    expm : its inverse.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import linalg
    >>> a = np.array([[2.0, 0.0], [0.0, 4.0]])
    >>> mg.grad(lambda a: np.trace(linalg.logm(a)))(a).round(12)
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    state = np.random.get_state()  # noqa: NPY002 -- SciPy draws from it to estimate norms
    try:
        return sp.logm(A)
    finally:
        np.random.set_state(state)  # noqa: NPY002


@of_matrices
def sqrtm(A: Any) -> Any:
    """Return the principal square root of a matrix.

    Parameters
    ----------
    A : array_like of shape (..., n, n)
        Without eigenvalues that are 0 or negative.

    Returns
    -------
    array or Tensor of the shape of A

    Raises
    ------
    ValueError
        If A isn't square.

    See Also
    --------
    logm : the logarithm.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import linalg
    >>> a = np.array([[4.0, 0.0], [0.0, 1.0]])
    >>> mg.grad(lambda a: np.trace(linalg.sqrtm(a)))(a).round(12)
    array([[0.25, 0.  ],
           [0.  , 0.5 ]])
    """
    return sp.sqrtm(A)


# Matrices made of other arrays


def toeplitz(c: Any, r: Any = None) -> Any:
    """Return the matrix of constant diagonals with first column c and first row r.

    Parameters
    ----------
    c : array_like of shape (..., m)
    r : array_like of shape (..., n), optional
        By default the conjugate of c. Its first element isn't read: the diagonal is
        that of c.

    Returns
    -------
    array or Tensor of shape (..., m, n)

    See Also
    --------
    block_diag : another matrix made of parts.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import linalg
    >>> linalg.toeplitz([1, 2], [1, 4, 5])
    array([[1, 4, 5],
           [2, 1, 4]])
    >>> mg.grad(lambda c: linalg.toeplitz(c).sum())(np.array([1.0, 2.0]))
    array([2., 2.])
    """
    column = at_least(c, 1)
    row = conj(column) if r is None else at_least(r, 1)
    stack = np.broadcast_shapes(column.shape[:-1], row.shape[:-1])
    m, n = column.shape[-1], row.shape[-1]
    diagonals = np.concatenate(
        [np.flip(stacked(row, (*stack, n))[..., 1:], axis=-1), stacked(column, (*stack, m))], axis=-1
    )
    return diagonals[..., np.arange(m)[:, None] - np.arange(n) + max(n - 1, 0)]


def block_diag(*arrs: Any) -> Any:
    """Return a matrix with the given matrices along its diagonal, and zeros elsewhere.

    Parameters
    ----------
    *arrs : array_like
        Matrices or stacks of them; a vector is a matrix of one row.

    Returns
    -------
    array or Tensor

    See Also
    --------
    toeplitz : another matrix made of parts.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.scipy import linalg
    >>> linalg.block_diag([[1, 2]], 3)
    array([[1, 2, 0],
           [0, 0, 3]])
    >>> mg.grad(lambda a: (linalg.block_diag(a, a) ** 2).sum())(np.array([[3.0]]))
    array([[12.]])
    """
    blocks = [at_least(a, 2) for a in arrs or ([],)]
    stack = np.broadcast_shapes(*(block.shape[:-2] for block in blocks))
    width, before, rows = sum(block.shape[-1] for block in blocks), 0, []
    for block in blocks:
        m, n = block.shape[-2:]
        left, right = (np.zeros((*stack, m, k), block.dtype) for k in (before, width - before - n))
        rows.append(np.concatenate([left, stacked(block, (*stack, m, n)), right], axis=-1))
        before += n
    return np.concatenate(rows, axis=-2)


def at_least(x: Any, ndim: int) -> Any:
    """Return an array or Tensor with at least `ndim` axes; new ones come first."""
    x = array(x)
    return x if x.ndim >= ndim else np.reshape(x, (1,) * (ndim - x.ndim) + x.shape)


def stacked(x: Any, shape: tuple[int, ...]) -> Any:
    """Return an array or Tensor repeated along the front axes to a shape."""
    return x if x.shape == shape else np.broadcast_to(x, shape)
