"""Derivatives of linear algebra.

Owns: `np.linalg`, except for its products of matrices and vectors.
Must not own: products (`products.py`).
Read next: `../tape.py`, which uses all of these.

Unless another source is named, the formulas follow M. Giles, "Collected matrix
derivative results for forward and reverse mode algorithmic differentiation" (2008),
extended here to stacks and to complex numbers. A function that isn't holomorphic is
easier to derive with the conjugate G = conj(g) of its cotangent. For G, Re sum(g * d)
is the inner product <G, d>, so the transpose of d -> U d V is G -> U* G V* with
adjoints U*, V*.

Conventions
- `cholesky`, `eigh`, `eigvalsh`, and `svd` and `pinv` with hermitian=True, read one
  triangle of a matrix that they take for Hermitian. Their derivatives are those of f((a
  + a*) / 2), so gradients are Hermitian too, as in PyTorch and JAX.
- Eigenvectors and singular vectors are defined up to a sign or phase, and up to a
  rotation for repeated values. Their derivatives are those of vectors that don't turn
  within that freedom: use them for functions that don't depend on it. For values that
  repeat exactly, a function of the vectors has no such derivative: it is infinite or
  NaN, and NumPy warns of the division by zero. A function of the values alone has its
  usual derivative there.
- norm'(0) = 0; entries that tie for a maximum or minimum share the gradient; singular
  values have derivative 0 where they are 0, like |x|.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from microgradnd import primitives, triangular
from microgradnd.primitives import array
from microgradnd.registry import Results, composite, defjvp, defvjp, elementwise, plain, primitive, variadic
from microgradnd.rules.axes import axes_of, count
from microgradnd.rules.matrices import adjoint, column, mT, row, vector
from microgradnd.rules.values import (
    conj,
    holds,
    in_dtype,
    instead,
    is_recorded,
    of_floats,
    on_arrays,
    ratio,
    real,
    total,
)

# Vocabulary of the rules; each function takes stacks of matrices


def hermitian_part(a: Any) -> Any:
    """Return (a + a*) / 2."""
    return (a + adjoint(a)) / 2


def diagonal(a: Any) -> Any:
    """Return the diagonal of square matrices."""
    return np.einsum("...ii->...i", a)


def times_diagonal(a: Any, d: Any) -> Any:
    """Return a @ diag(d)."""
    return a * row(d)


def as_diagonal(d: Any) -> Any:
    """Return diag(d)."""
    return column(d) * np.eye(d.shape[-1], dtype=d.dtype)


def over(a: Any, b: Any) -> Any:
    """Return a / b, where 0 / 0 is 0, because b doesn't matter there."""
    return a / (b + ((a == 0) & (b == 0)))


def off_diagonal(a: Any) -> Any:
    """Return square matrices with zeros on the diagonal."""
    return a * ~np.eye(a.shape[-1], dtype=bool)


def differences(values: Any) -> Any:
    """Return the matrix of values[j] - values[i]."""
    return row(values) - column(values)


# Inverses and systems of equations

defvjp(np.linalg.inv, lambda g, out, a: -(mT(out) @ g @ mT(out)))
defjvp(np.linalg.inv, lambda t, out, a: -(out @ t @ out))


def columns(x: Any, b: Any) -> Any:
    """Return np.linalg.solve's operand or result as a matrix; a vector is a column."""
    return column(x) if b.ndim == 1 else x


def like_right(x: Any, b: Any) -> Any:
    """Return such a matrix in the form of b."""
    return vector(x) if b.ndim == 1 else x


def solve(a: Any, b: Any) -> Any:
    """Return np.linalg.solve(a, b); by substitution for arrays with triangular a."""
    return np.linalg.solve(a, b) if is_recorded(a) or is_recorded(b) else triangular.solve(a, b)


def solve_triangular(a: Any, b: Any, lower: bool) -> Any:
    """Return np.linalg.solve(a, b) for a triangular matrix a."""
    recorded = is_recorded(a) or is_recorded(b)
    return np.linalg.solve(a, b) if recorded else triangular.solve_triangular(a, b, lower)


def solve_left(g: Any, out: Any, a: Any, b: Any) -> Any:
    """Return the cotangent of a in solve(a, b): -(the cotangent of b) out'."""
    b = array(b)
    return -solve(mT(a), columns(g, b)) @ mT(columns(out, b))


def solve_right(g: Any, out: Any, a: Any, b: Any) -> Any:
    """Return the cotangent of b: the solution x of a' x = g."""
    return like_right(solve(mT(array(a)), columns(g, b)), b)


def solve_left_tangent(t: Any, out: Any, a: Any, b: Any) -> Any:
    """Return -inv(a) t out."""
    b = array(b)
    return like_right(-solve(a, t @ columns(out, b)), b)


defvjp(np.linalg.solve, solve_left, solve_right)
defjvp(np.linalg.solve, solve_left_tangent, lambda t, out, a, b: solve(a, t))


def pinv_cotangent(g: Any, out: Any, a: Any, rcond: Any = None, hermitian: bool = False, **_: Any) -> Any:
    """Return the transpose of `pinv_tangent`."""
    p, h = adjoint(out), mT(g)
    first, second = h @ out @ p, p @ out @ h
    total = first - a @ (out @ first) + second - (second @ out) @ a - p @ conj(g) @ p
    return conj(hermitian_part(total) if hermitian else total)


def pinv_tangent(t: Any, out: Any, a: Any, rcond: Any = None, hermitian: bool = False, **_: Any) -> Any:
    """Return dP = P P* dA* (I - A P) + (I - P A) dA* P* P - P dA P, for constant rank.

    Golub & Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
    problems whose variables separate" (1973).
    """
    t = hermitian_part(t) if hermitian else t
    first, second = out @ adjoint(t @ out), adjoint(out @ t) @ out
    return first - (first @ a) @ out + second - out @ (a @ second) - out @ t @ out


defvjp(np.linalg.pinv, pinv_cotangent)
defjvp(np.linalg.pinv, pinv_tangent)


numpys_lstsq, numpys_qr = on_arrays(np.linalg.lstsq), on_arrays(np.linalg.qr)


@of_floats(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: float | None = None) -> Any:
    """Compute np.linalg.lstsq by the pseudo-inverse; the rank is a plain integer.

    A compiled program can't leave the residuals out if the rank isn't full; then they
    are NaN.
    """
    a, b = array(a), array(b)
    m, n = a.shape
    eps = float(np.finfo(np.result_type(a.dtype, b.dtype)).eps)
    rcond = eps * max(m, n) if rcond is None else eps if rcond < 0 else rcond
    s = np.linalg.svdvals(a)
    rank: Any = np.sum(s > rcond * s[:1], dtype=np.int32)
    rank = rank if is_recorded(rank) else int(rank)
    x = np.linalg.pinv(a, rcond) @ b
    rest = columns(b - a @ x, b)
    residuals = np.zeros(0, s.dtype)
    if n < m and not holds(rank != n):
        residuals = real(np.sum(conj(rest) * rest, axis=0))
        residuals = residuals if holds(rank == n) else np.where(rank == n, residuals, np.nan)
    values = numpys_lstsq(a, b, rcond)
    if not is_recorded(rank):
        residuals = instead(values[1], residuals) if residuals.size else residuals
    return instead(values[0], x), residuals, rank, instead(values[3], s)


@composite(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """Compute np.linalg.tensorinv: the first `ind` axes are the rows of a matrix."""
    if ind <= 0:
        raise ValueError(f"tensorinv: ind, the number of axes that are rows, must be positive, got {ind}")
    rows, cols = a.shape[:ind], a.shape[ind:]
    size = int(np.prod(cols, dtype=int))
    return np.reshape(np.linalg.inv(np.reshape(a, (-1, size))), cols + rows)


@composite(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """Compute np.linalg.tensorsolve: the last axes of `a` are columns of a matrix.

    The axes `axes` are moved there first.
    """
    a, b = array(a), array(b)
    order = [axis for axis in range(a.ndim) if axis not in (axes or ())]
    a = np.transpose(a, order + list(axes or ()))
    shape = a.shape[b.ndim :]
    size = int(np.prod(shape, dtype=int))
    if a.size != size**2:
        raise np.linalg.LinAlgError(f"tensorsolve: a must be a square matrix for b of shape {b.shape}, got {a.shape}")
    return np.reshape(np.linalg.solve(np.reshape(a, (size, size)), np.ravel(b)), shape)


# Determinants


def others(values: Any) -> Any:
    """Return, for each singular value, the product of the others.

    It is computed by logarithms, so that no product overflows on the way.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(values.astype(np.float64))
    rest = np.where(np.eye(values.shape[-1], dtype=bool), 0, row(logs))
    return np.exp(np.sum(rest, axis=-1)).astype(values.dtype)


@primitive
def minors(a: Any) -> Any:
    """Return the cofactors of any matrix: the determinant's derivatives by element.

    For A = U S V* they are det(U) det(V*) conj(U) P V'. P is diagonal, and holds for
    each singular value the product of the others. No inverse is needed, and nothing is
    lost if the matrix is singular.
    """
    u, s, vh = np.linalg.svd(a)
    unit = np.expand_dims(np.linalg.det(u) * np.linalg.det(vh), (-2, -1))
    return unit * (times_diagonal(conj(u), others(s)) @ conj(vh))


def minors_moved(t: Any, a: Any) -> Any:
    """Return how the cofactors change: they are linear in any two rows and columns.

    Between the singular vectors, where T is t, the change is sum over j of q[i, j] T[j,
    j] on the diagonal, and -q[i, j] T[j, i] off it. Here q[i, j] is the product of all
    singular values except those two.
    """
    u, s, vh = np.linalg.svd(a)
    unit = np.expand_dims(np.linalg.det(u) * np.linalg.det(vh), (-2, -1))
    inner = adjoint(u) @ t @ adjoint(vh)
    q = off_diagonal(others(np.where(np.eye(s.shape[-1], dtype=bool), 1, row(s))))
    moved = as_diagonal(np.sum(q * row(diagonal(inner)), axis=-1)) - q * mT(inner)
    return unit * (conj(u) @ moved @ conj(vh))


# The second derivative of the determinant is symmetric, so this serves both modes
elementwise(minors, lambda g, out, a: minors_moved(g, a))


def regular_part(a: Any, singular: Any) -> Any:
    """Return matrices, with the identity in place of singular ones."""
    return np.where(singular, np.eye(a.shape[-1], dtype=a.dtype), a)


def cofactors(det: Any, a: Any) -> Any:
    """Return the derivative of the determinant by each element: det inv(a)'.

    It comes from the singular values if the matrix is nearly singular, or if the
    determinant is beyond the range of its dtype. Nearly singular means a determinant
    far below its bound by Hadamard, the product of the lengths of the rows: the inverse
    would lose digits, and a second derivative twice as many. If the determinant
    overflows, its bound is infinite.
    """
    size, limits = np.abs(det), np.finfo(a.dtype)
    bound = np.prod(np.linalg.norm(a, axis=-1), axis=-1)
    regular = (size >= limits.tiny) & (size > float(limits.eps) ** 0.5 * bound)
    singular = np.expand_dims(~regular, (-2, -1))
    det = np.expand_dims(det, (-2, -1))
    if holds(~np.any(singular)):
        return det * mT(np.linalg.inv(a))
    if holds(np.all(singular)):
        return minors(a)
    return np.where(singular, minors(a), det * mT(np.linalg.inv(regular_part(a, singular))))


defvjp(np.linalg.det, lambda g, out, a: np.expand_dims(g, (-2, -1)) * cofactors(out, a))
defjvp(np.linalg.det, lambda t, out, a: np.sum(cofactors(out, a) * t, axis=(-2, -1)))


def log_slope(sign: Any, a: Any) -> Any:
    """Return the derivative of log det(a) by each element, inv(a)'.

    It is NaN for a singular matrix, whose log det is -inf.
    """
    singular = np.expand_dims(sign == 0, (-2, -1))
    if holds(~np.any(singular)):
        return mT(np.linalg.inv(a))
    return np.where(singular, np.nan, mT(np.linalg.inv(regular_part(a, singular))))


def slogdet_cotangent(g: Any, out: Any, a: Any) -> Any:
    """Return the transpose of `slogdet_tangent`."""
    slope = g[1] if a.dtype.kind != "c" else g[1] + np.imag(g[0] * out[0]) * 1j
    return np.expand_dims(slope, (-2, -1)) * log_slope(out[0], a)


def slogdet_tangent(t: Any, out: Any, a: Any) -> Any:
    """Return d sign = i sign Im(r) and d logabsdet = Re(r), where r = tr(inv(a) t)."""
    rate = np.sum(log_slope(out[0], a) * t, axis=(-2, -1))
    return Results((out[0] * np.imag(rate) * 1j if a.dtype.kind == "c" else 0 * out[0], real(rate)))


defvjp(np.linalg.slogdet, slogdet_cotangent)
defjvp(np.linalg.slogdet, slogdet_tangent)


# Decompositions


def lower_half(a: Any) -> Any:
    """Return the lower triangle of square matrices with half of the diagonal."""
    return a * triangular.half_mask(a.shape[-1], np.finfo(a.dtype).dtype, lower=True)


def multiply_triangular(a: Any, b: Any, lower: bool) -> Any:
    """Return a @ b for a triangular matrix a."""
    recorded = is_recorded(a) or is_recorded(b)
    return a @ b if recorded else triangular.multiply_triangular(a, b, lower)


def unscale(a: Any, s: Any, lower: bool) -> Any:
    """Return inv(a) s inv(a)* for a triangular matrix a and a Hermitian matrix s."""
    if is_recorded(a) or is_recorded(s):
        return np.linalg.solve(a, adjoint(np.linalg.solve(a, s)))
    return triangular.unscale(a, s, lower)


def cholesky_cotangent(g: Any, out: Any, a: Any, *, upper: bool = False) -> Any:
    """Return the transpose of `cholesky_tangent`."""
    lower, g = (adjoint(out), mT(g)) if upper else (out, conj(g))
    transposed = adjoint(lower)
    inner = hermitian_part(lower_half(multiply_triangular(transposed, g, False)))
    return conj(unscale(transposed, inner, False))


def cholesky_tangent(t: Any, out: Any, a: Any, *, upper: bool = False) -> Any:
    """Return dL = L Phi(inv(L) dA inv(L)*).

    Phi takes the lower triangle and half of the diagonal.
    """
    lower = adjoint(out) if upper else out
    tangent = multiply_triangular(lower, lower_half(unscale(lower, hermitian_part(t), True)), True)
    return adjoint(tangent) if upper else tangent


defvjp(np.linalg.cholesky, cholesky_cotangent)
defjvp(np.linalg.cholesky, cholesky_tangent)


@primitive
def tall_qr(a: Any) -> Any:
    """Return `np.linalg.qr(a)` for at least as many rows as columns: the basic case."""
    return np.linalg.qr(a)


def qr_cotangent(g: Any, out: Any, a: Any) -> Any:
    """Return the transpose of `qr_tangent`: (G_Q + Q K) inv(R)*.

    K is Hermitian, with the upper half of R G_R* - Q* G_Q.
    """
    (q, r), (g_q, g_r) = out, (conj(part) for part in g)
    half = adjoint(lower_half(adjoint(g_r @ adjoint(r) - adjoint(q) @ g_q)))
    return conj((g_q + q @ (half + adjoint(half))) @ adjoint(np.linalg.inv(r)))


def qr_tangent(t: Any, out: Any, a: Any) -> Any:
    """Return dR = (C - W) R and dQ = Q W + (dA inv(R) - Q C), with C = Q* dA inv(R).

    W is the skew-Hermitian matrix that makes C - W upper triangular with a real
    diagonal. Walter & Lehmann, "Algorithmic differentiation of linear algebra functions
    with application in optimum experimental design" (2010), section 3.
    """
    q, r = out
    moved = t @ np.linalg.inv(r)
    c = adjoint(q) @ moved
    below = lower_half(c)
    skew = below - adjoint(below)
    return Results((q @ (skew - c) + moved, (c - skew) @ r))


defvjp(tall_qr, qr_cotangent)
defjvp(tall_qr, qr_tangent)


@composite(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """Compute np.linalg.qr; a wide A = [A1, A2] has A1's Q and R = [R1, Q* A2]."""
    m, n = a.shape[-2:]
    if mode not in ("reduced", "r") and not (mode == "complete" and m <= n):
        raise NotImplementedError(
            f"np.linalg.qr(mode={mode!r}) of a matrix of shape {(m, n)} cannot be differentiated. Use mode='reduced' "
            f"or 'r', or 'complete' with at least as many columns as rows; the projection on the rest of the space is "
            f"I - Q Q* with the Q of mode='reduced'"
        )
    result = tall_qr(a if m >= n else a[..., :m])
    if m < n:
        wide = np.concatenate([result.R, adjoint(result.Q) @ a[..., m:]], axis=-1)
        values = numpys_qr(a)
        result = result._replace(Q=instead(values[0], result.Q), R=instead(values[1], wide))
    return result.R if mode == "r" else result


def eigh_cotangent(g: Any, out: Any, a: Any, UPLO: Any = "L") -> Any:
    """Return the transpose of `eigh_tangent`."""
    (w, v), (g_w, g_v) = out, g
    turn = over(off_diagonal(adjoint(v) @ conj(g_v)), differences(w))
    return conj(hermitian_part(v @ (as_diagonal(g_w) + turn) @ adjoint(v)))


def eigh_tangent(t: Any, out: Any, a: Any, UPLO: Any = "L") -> Any:
    """Return dw = diag(P) and dV = V (F * P), where P = V* dA V.

    Off the diagonal, F[i, j] = 1 / (w[j] - w[i]).
    """
    w, v = out
    inner = adjoint(v) @ hermitian_part(t) @ v
    return Results((real(diagonal(inner)), v @ over(off_diagonal(inner), differences(w))))


def eigvalsh_cotangent(g: Any, out: Any, a: Any, UPLO: Any = "L") -> Any:
    """Return V diag(g) V*, which needs no transpose."""
    _, v = np.linalg.eigh(a, UPLO)
    return conj(times_diagonal(v, g) @ adjoint(v))


def eigvalsh_tangent(t: Any, out: Any, a: Any, UPLO: Any = "L") -> Any:
    """Return dw = diag(V* dA V)."""
    _, v = np.linalg.eigh(a, UPLO)
    return real(diagonal(adjoint(v) @ hermitian_part(t) @ v))


defvjp(np.linalg.eigh, eigh_cotangent)
defjvp(np.linalg.eigh, eigh_tangent)
defvjp(np.linalg.eigvalsh, eigvalsh_cotangent)
defjvp(np.linalg.eigvalsh, eigvalsh_tangent)


def eig_cotangent(g: Any, out: Any, a: Any) -> Any:
    """Return the transpose of `eig_tangent`."""
    (w, v), (g_w, g_v) = out, g
    g_v = g_v - conj(v) * real(np.sum(g_v * v, axis=-2, keepdims=True))
    inner = as_diagonal(g_w) + over(off_diagonal(mT(v) @ g_v), differences(w))
    return np.linalg.solve(mT(v), inner) @ mT(v)


def eig_tangent(t: Any, out: Any, a: Any) -> Any:
    """Return dw and dV as in `eigh_tangent`, with P = inv(V) dA V.

    The columns of V keep their length 1.
    """
    w, v = out
    inner = np.linalg.solve(v, t @ v)
    moved = v @ over(off_diagonal(inner), differences(w))
    return Results((diagonal(inner), moved - v * real(np.sum(conj(v) * moved, axis=-2, keepdims=True))))


defvjp(np.linalg.eig, eig_cotangent)
defjvp(np.linalg.eig, eig_tangent)
composite(np.linalg.eigvals)(lambda a: np.linalg.eig(a)[0])  # NumPy's eigvals may order them differently


def square_differences(s: Any) -> Any:
    """Return the matrix of s[j]**2 - s[i]**2."""
    return differences(s) * (row(s) + column(s))


def positive(s: Any) -> Any:
    """Return 1 for a positive singular value, 0 at 0: it has a kink there, like |x|."""
    return ratio(s, s, s == 0)


def outside(g: Any, u: Any, s: Any) -> Any:
    """Return (I - U U*) g diag(1 / s): the part outside the span of U's columns."""
    scaled = over(g, row(s))
    return scaled - u @ (adjoint(u) @ scaled)


def onto_first(u: Any, g: Any, k: int) -> tuple[Any, Any]:
    """Return the first k columns of a unitary U, and a cotangent of U for theirs.

    The other columns, U2, only turn to stay orthogonal to the first, U1: dU2 = -U1 dU1*
    U2.
    """
    if u.shape[-1] == k:
        return u, g
    first, rest = u[..., :k], u[..., k:]
    return first, g[..., :k] - rest @ (adjoint(g[..., k:]) @ first)


def with_rest(u: Any, moved: Any, k: int) -> Any:
    """Return the tangent of a unitary matrix from that of its first k columns."""
    if u.shape[-1] == k:
        return moved
    return np.concatenate([moved, -(u[..., :k] @ (adjoint(moved) @ u[..., k:]))], axis=-1)


def svd_cotangent(
    g: Any, out: Any, a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Return the transpose of `svd_tangent`."""
    if not compute_uv:
        u, s, vh = np.linalg.svd(a, full_matrices=False, hermitian=hermitian)
        return conj(times_diagonal(u, g * positive(s)) @ vh)
    (u, s, vh), k = out, out[1].shape[-1]
    u, g_u = onto_first(u, conj(g[0]), k)
    v, g_v = onto_first(adjoint(vh), mT(g[2]), k)
    spread = square_differences(s)
    inner_u, inner_v = (adjoint(u) @ g_u, adjoint(v) @ g_v)
    turn_u, turn_v = (over(off_diagonal(inner), spread) for inner in (inner_u, inner_v))
    middle = times_diagonal(turn_u + adjoint(turn_u), s) + column(s) * (turn_v + adjoint(turn_v))
    middle = middle + as_diagonal(g[1])
    if a.dtype.kind == "c":
        middle = middle + as_diagonal(over(np.imag(diagonal(inner_u)), s)) * 1j
    total = u @ middle @ adjoint(v)
    if a.shape[-2] > k:
        total = total + outside(g_u, u, s) @ adjoint(v)
    if a.shape[-1] > k:
        total = total + u @ adjoint(outside(g_v, v, s))
    return conj(hermitian_part(total) if hermitian else total)


def svd_tangent(
    t: Any, out: Any, a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Return dS, dU and dV of a singular value decomposition.

    With P = U* dA V, dS = Re diag(P) and dU = U (F * (P S + S P*)) + (I - U U*) dA V
    inv(S); for dV, P and S change places. Off the diagonal, F[i, j] = 1 / (s[j]**2 -
    s[i]**2). The phase that the two vectors of a pair share goes to U.

    J. Townsend, "Differentiating the singular value decomposition" (2016); for complex
    matrices, Wan & Zhang, "Automatic differentiation for complex valued SVD" (2019).
    """
    t = hermitian_part(t) if hermitian else t
    if not compute_uv:
        u, s, vh = np.linalg.svd(a, full_matrices=False, hermitian=hermitian)
        return real(diagonal(adjoint(u) @ t @ adjoint(vh))) * positive(s)
    (u_all, s, vh), k = out, out[1].shape[-1]
    v_all = adjoint(vh)
    u, v = u_all[..., :k], v_all[..., :k]
    inner, spread = adjoint(u) @ t @ v, square_differences(s)
    right, left = times_diagonal(inner, s), column(s) * inner
    turn_u, turn_v = (over(off_diagonal(half + adjoint(half)), spread) for half in (right, left))
    if a.dtype.kind == "c":
        turn_u = turn_u + as_diagonal(over(np.imag(diagonal(inner)), s)) * 1j
    moved_u, moved_v = u @ turn_u, v @ turn_v
    if a.shape[-2] > k:
        moved_u = moved_u + outside(t @ v, u, s)
    if a.shape[-1] > k:
        moved_v = moved_v + outside(adjoint(t) @ u, v, s)
    return Results((with_rest(u_all, moved_u, k), real(diagonal(inner)), adjoint(with_rest(v_all, moved_v, k))))


defvjp(np.linalg.svd, svd_cotangent)
defjvp(np.linalg.svd, svd_tangent)
composite(np.linalg.svdvals)(lambda x: np.linalg.svd(x, compute_uv=False))


# Norms


def is_euclidean(ord: Any, axes: tuple[int, ...]) -> bool:
    """Return whether a norm is the root of the sum of squares."""
    return ord in (None, "fro", "f") or (ord == 2 and len(axes) == 1)


def norm_slope(out: Any, x: Any, ord: Any, axes: tuple[int, ...]) -> Any:
    """Return the derivative of any other norm by each element; its axes are kept."""
    if len(axes) == 2 and ord in (2, -2, "nuc"):
        return np.moveaxis(singular_slope(np.moveaxis(x, axes, (-2, -1)), ord), (-2, -1), axes)
    size = np.abs(x)
    direction = np.conj(np.sign(x)) if x.dtype.kind == "c" else np.sign(x)
    if len(axes) == 2:  # the largest or smallest column or row sum
        summed, compared = axes if abs(ord) == 1 else axes[::-1]
        sums = np.sum(size, axis=summed, keepdims=True)
        return direction * extreme_share(sums, ord, compared)
    if ord in (np.inf, -np.inf):
        return direction * extreme_share(size, ord, axes[0])
    if ord in (0, 1):
        return ord * direction
    if ord > 2:  # smooth where an element is 0
        return direction * ratio(size, out, out == 0) ** (ord - 1)
    kink = (size == 0) | (out == 0)
    return direction * ratio(size, out, kink) ** np.where(kink, 1, ord - 1)


def extreme_share(values: Any, ord: Any, axis: int) -> Any:
    """Return each value's share of the maximum along an axis; minimum for `ord` < 0.

    NaN equals no number, which leaves 0 / 0.
    """
    if not values.shape[axis]:
        return values  # nothing to share, and NumPy has no maximum of nothing
    chosen = values == (np.max if ord > 0 else np.min)(values, axis=axis, keepdims=True)
    ties = np.sum(chosen, axis=axis, keepdims=True, dtype=np.result_type(values.dtype, np.float32))
    return chosen * in_dtype(1 / np.where(ties == 0, np.nan, ties), values.dtype)


def singular_slope(x: Any, ord: Any) -> Any:
    """Return the derivative of a sum, maximum or minimum of singular values.

    In the sum, a singular value counts as 0 if `np.linalg.matrix_rank` counts it as 0,
    because its vectors are arbitrary.
    """
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    if ord == "nuc":
        rounding = max(x.shape[-2:]) * float(np.finfo(s.dtype).eps)
        share = ratio(s, s, ~(s > np.max(s, axis=-1, keepdims=True, initial=0) * rounding))
    else:
        share = positive(s) * extreme_share(s, ord, -1)
    return conj(times_diagonal(u, share) @ vh)


@primitive
def ends(x: Any, odd: Any, axes: Any) -> Any:
    """Return vectors along some axes, but the direction of each that is odd: 0 or
    infinite.

    There only the infinite elements count, and all count equally.
    """
    if holds(~odd.any()):  # so nobody looks at every element of x
        return x
    far = np.where(np.isinf(x), np.sign(x), 0)
    counted = np.sum(np.abs(far), axes, keepdims=True)
    return np.where(odd, far / np.sqrt(np.maximum(counted, 1)), x)


plain([ends])  # `direction` has the derivative


@primitive
def direction(x: Any, length: Any, axes: Any) -> Any:
    """Return x / length, the direction of vectors along some axes; 0 for length 0.

    `length` keeps these axes.
    """
    odd = (length == 0) | np.isinf(length)
    return ends(x, odd, axes) / np.where(odd, 1, length)


defvjp(
    direction,
    lambda g, out, x, length, axes: g / unless_zero(length),
    lambda g, out, x, length, axes: -np.sum(g * out, axes, keepdims=True) / unless_zero(length),
)
defjvp(
    direction,
    lambda t, out, x, length, axes: t / unless_zero(length),
    lambda t, out, x, length, axes: -t * out / unless_zero(length),
)


def unless_zero(length: Any) -> Any:
    """Return a length; NaN for 0, where the direction has no derivative."""
    return np.where(length == 0, np.nan, length)


def norm_cotangent(g: Any, out: Any, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the norm's derivatives times its cotangent; if Euclidean, g x / out."""
    axes = axes_of(axis, x.ndim)
    if not keepdims:
        g, out = np.expand_dims(g, axes), np.expand_dims(out, axes)
    if is_euclidean(ord, axes):
        return conj(direction(x, out, axes)) * g
    return g * norm_slope(out, x, ord, axes)


def norm_tangent(t: Any, out: Any, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the sum of the derivatives by each element, times their tangents."""
    axes = axes_of(axis, x.ndim)
    length = out if keepdims else np.expand_dims(out, axes)
    slope = conj(direction(x, length, axes)) if is_euclidean(ord, axes) else norm_slope(length, x, ord, axes)
    return real(total(slope * t, axes, keepdims))


defvjp(np.linalg.norm, norm_cotangent)
defjvp(np.linalg.norm, norm_tangent)


@composite(np.linalg.vector_norm)
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Compute np.linalg.vector_norm: several axes are joined into one."""
    axes = axes_of(axis, x.ndim)
    if len(axes) == 1:
        return np.linalg.norm(x, ord, axes[0], keepdims)
    rest = [a for a in range(x.ndim) if a not in axes]
    joined = np.reshape(np.transpose(x, [*axes, *rest]), (count(x.shape, axes), *(x.shape[a] for a in rest)))
    out = np.linalg.norm(joined, ord, 0)
    return np.expand_dims(out, axes) if keepdims else out


@composite(np.linalg.matrix_norm)
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Compute np.linalg.matrix_norm: the norm over the last two axes."""
    return np.linalg.norm(x, ord, (-2, -1), keepdims)


@of_floats(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """Compute np.linalg.cond; it and its derivative are infinite if x is singular."""
    if 0 in x.shape[-2:]:
        raise np.linalg.LinAlgError(f"cond: matrices must have at least one element, got shape {x.shape[-2:]}")
    if p in (None, 2, -2):
        s = np.linalg.svdvals(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    inverse = np.linalg.inv(in_dtype(x, np.result_type(x.dtype, np.float64)))  # as NumPy does
    out = np.linalg.norm(x, p, (-2, -1)) * np.linalg.norm(inverse, p, (-2, -1))
    return in_dtype(out, np.finfo(x.dtype).dtype)


# Products, powers and views


@primitive
def chain_product(*matrices: Any) -> Any:
    """Return `np.linalg.multi_dot(matrices)`, with separate arguments."""
    return np.linalg.multi_dot(matrices)


def chain_cotangent(position: int, g: Any, out: Any, *matrices: Any) -> Any:
    """Return the cotangent of one factor: g between the others, transposed.

    They are again multiplied in the best order.
    """
    before, after = ([mT(m) for m in reversed(part)] for part in (matrices[:position], matrices[position + 1 :]))
    return chain_product(*before, g, *after)


def chain_tangent(position: int, t: Any, out: Any, *matrices: Any) -> Any:
    """Return the product with one factor replaced by its tangent."""
    return chain_product(*matrices[:position], t, *matrices[position + 1 :])


variadic(chain_product, chain_cotangent, chain_tangent)


@composite(np.linalg.multi_dot)
def multi_dot(arrays: Any) -> Any:
    """Compute np.linalg.multi_dot of separate arguments; the ends may be vectors."""
    if len(arrays) < 2:
        raise ValueError(f"multi_dot: there must be at least two arrays, got {len(arrays)}; pass them as one list")
    first, *middle, last = (array(a) for a in arrays)
    if not middle:
        return np.dot(first, last)
    out = chain_product(row(first) if first.ndim == 1 else first, *middle, column(last) if last.ndim == 1 else last)
    return out if first.ndim == last.ndim == 2 else np.reshape(out, first.shape[:-1] + last.shape[1:])


@composite(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """Compute np.linalg.matrix_power by squaring; the power 0 has derivative 0."""
    if not isinstance(n, int | np.integer):
        raise TypeError(f"matrix_power: the power must be an integer, got {n!r}; for other powers use np.linalg.eigh")
    power = operator.index(n)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"matrix_power: matrices must be square, got shape {a.shape}")
    if power == 0:
        return np.where(False, a, np.eye(a.shape[-1], dtype=a.dtype))
    square, out = (a if power > 0 else np.linalg.inv(a)), None
    if abs(power) == 3:
        return (square @ square) @ square
    for i, bit in enumerate(reversed(f"{abs(power):b}")):
        square = square if i == 0 else square @ square
        if bit == "1":
            out = square if out is None else out @ square
    return primitives.identity(a) if out is a else out  # NumPy returns the array itself: the same memory, a new value


composite(np.linalg.matrix_transpose)(np.matrix_transpose)


@composite(np.linalg.diagonal)
def matrix_diagonal(x: Any, *, offset: int = 0) -> Any:
    """Compute np.linalg.diagonal, along the last two axes."""
    return np.diagonal(x, offset, -2, -1)


@composite(np.linalg.trace)
def matrix_trace(x: Any, *, offset: int = 0, dtype: Any = None) -> Any:
    """Compute np.linalg.trace, along the last two axes."""
    return np.trace(x, offset, -2, -1, dtype)
