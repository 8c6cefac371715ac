"""Triangular systems and Cholesky factors, by the routines made for them.

Owns: choosing the fastest of these routines, and finding out whether a matrix is
triangular.
Must not own: derivatives (`rules/linalg.py`).
Read next: `rules/linalg.py`.

`np.linalg.solve` treats a triangular matrix like any other, which takes twenty to a
hundred and fifty times as long at 500 rows. SciPy has the routines of BLAS and LAPACK
for triangular matrices. It is loaded with the first matrix of `SMALL` rows or more;
where it isn't installed, NumPy solves the system block by block.

The results differ from those of `np.linalg` by rounding. Results for matrices of fewer
than `SMALL` rows equal NumPy's to the last bit.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from microgradnd.registry import BODIES, Function

SMALL = 16  # rows from which SciPy's routines are faster than np.linalg's
STACKED = 64  # the same for each matrix of a stack
BLOCK = 64  # rows up to which np.linalg.solve is used, without SciPy
TWO_SIDED = 128  # rows from which one routine for both sides is faster than two systems
PREFIXES = {"f": "s", "d": "d", "F": "c", "D": "z"}  # of BLAS and LAPACK names, by dtype


@functools.cache
def scipys() -> Any:
    """Return scipy.linalg, or None where SciPy isn't installed."""
    try:
        return importlib.import_module("scipy.linalg")
    except ImportError:
        return None


def routine(name: str, dtype: np.dtype[Any], rows: int) -> Any:
    """Return SciPy's routine for a dtype, or None if NumPy's is as good or alone."""
    if rows < SMALL or dtype.char not in PREFIXES or (linalg := scipys()) is None:
        return None
    name = PREFIXES[dtype.char] + name
    return getattr(linalg.blas, name, None) or getattr(linalg.lapack, name)


def for_fortran(a: Any, lower: bool) -> tuple[Any, bool, int]:
    """Return a matrix that Fortran takes without a copy.

    Returns also which triangle it then has, and whether it is transposed.
    """
    return (a.T, not lower, 1) if a.flags.c_contiguous else (a, lower, 0)


def is_singular(a: Any) -> bool:
    """Return whether a triangular matrix has no inverse; then NumPy raises."""
    return not a.diagonal(0, -2, -1).all()  # the methods take a third of the functions' time


def in_numpy(plain: Function) -> Callable[[Function], Function]:
    """Attach a function's pure NumPy version, for programs saved to a file."""

    def enter(function: Function) -> Function:
        function.in_numpy = plain  # type: ignore[attr-defined]
        return function

    return enter


# Triangular systems


def solve_in_numpy(a: Any, b: Any, lower: bool) -> Any:
    """Solve a x = b for triangular matrices a."""
    return np.linalg.solve(a, b)


@in_numpy(solve_in_numpy)
def solve_triangular(a: Any, b: Any, lower: bool) -> Any:
    """Solve a x = b for triangular a, with np.linalg.solve's shapes and errors."""
    n, dtype = a.shape[-1], np.result_type(a, b)
    fits = a.shape[-2:] == (n, n) and b.shape[-2:][:1] == (n,)
    if n < SMALL or dtype.char not in PREFIXES or not fits or not b.size or is_singular(a):
        return np.linalg.solve(a, b)
    if a.ndim == 2 >= b.ndim and scipys() is not None:
        return solve_one(a, b, lower, dtype)
    if n < STACKED:
        return np.linalg.solve(a, b)
    if scipys() is None:
        return solve_in_blocks(a, b[:, None], lower)[..., 0] if b.ndim == 1 else solve_in_blocks(a, b, lower)
    stack = a.shape[:-2] if b.ndim == 1 else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    part = b.shape if b.ndim == 1 else b.shape[-2:]
    a, b = np.broadcast_to(a, (*stack, n, n)), np.broadcast_to(b, (*stack, *part))
    out = np.empty(b.shape, dtype)
    for i in np.ndindex(stack):
        out[i] = solve_one(a[i], b[i], lower, dtype)
    return out


def solve_one(a: Any, b: Any, lower: bool, dtype: Any) -> Any:
    """Solve one system by BLAS."""
    a, lower, transposed = for_fortran(a, lower)
    if b.ndim == 1:
        return routine("trsv", dtype, len(b))(a, b, lower=lower, trans=transposed)
    trsm = routine("trsm", dtype, len(b))
    if b.flags.c_contiguous:  # x' a' = b'
        return trsm(1, a, b.T, side=1, lower=lower, trans_a=1 - transposed).T
    return trsm(1, a, b, lower=lower, trans_a=transposed)


def solve_in_blocks(a: Any, b: Any, lower: bool) -> Any:
    """Solve systems by halves of the matrix: first one, then the other."""
    n = a.shape[-1]
    if n <= BLOCK:
        return np.linalg.solve(a, b)
    half = n // 2
    first, second = (slice(half), slice(half, n)) if lower else (slice(half, n), slice(half))
    x = solve_in_blocks(a[..., first, first], b[..., first, :], lower)
    y = solve_in_blocks(a[..., second, second], b[..., second, :] - a[..., second, first] @ x, lower)
    return np.concatenate([x, y] if lower else [y, x], axis=-2)


@functools.lru_cache(maxsize=8)
def above(n: int) -> Any:
    """Return a mask of the elements above the diagonal, for n rows."""
    return ~np.tri(n, dtype=bool)


def triangle_of(a: Any) -> bool | None:
    """Return True for lower triangular matrices, False for upper, None for neither.

    The first row and column mostly rule a general matrix out.
    """
    n = a.shape[-1] if a.ndim > 1 else 0
    if n < SMALL or a.shape[-2] != n or a.dtype.char not in PREFIXES:
        return None
    for lower, view in ((True, a), (False, a.mT)):
        if not view[..., 0, 1:].any() and not ((view != 0) & above(n)).any():
            return lower
    return None


def solve(a: Any, b: Any) -> Any:
    """Return np.linalg.solve(a, b), by substitution for triangular matrices."""
    lower = triangle_of(a) if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else None
    return np.linalg.solve(a, b) if lower is None else solve_triangular(a, b, lower)


# Products


def multiply_in_numpy(a: Any, b: Any, lower: bool) -> Any:
    """Return a @ b for a triangular matrix a."""
    return a @ b


@in_numpy(multiply_in_numpy)
def multiply_triangular(a: Any, b: Any, lower: bool) -> Any:
    """Return a @ b for a triangular matrix a."""
    fits = a.ndim == b.ndim == 2 and a.shape == (len(b), len(b)) and b.size
    trmm = routine("trmm", np.result_type(a, b), len(a)) if fits else None
    if trmm is None:
        return a @ b
    a, lower, transposed = for_fortran(a, lower)
    if b.flags.c_contiguous:
        return trmm(1, a, b.T, side=1, lower=lower, trans_a=1 - transposed).T
    return trmm(1, a, b, lower=lower, trans_a=transposed)


def unscale_in_numpy(a: Any, s: Any, lower: bool) -> Any:
    """Return inv(a) @ s @ inv(a)* for triangular a and Hermitian s."""
    return np.linalg.solve(a, np.conj(np.linalg.solve(a, s)).mT)


@in_numpy(unscale_in_numpy)
def unscale(a: Any, s: Any, lower: bool) -> Any:
    """Return inv(a) @ s @ inv(a)* for triangular matrices a and Hermitian matrices s.

    LAPACK has one routine for it, for a lower triangular matrix; an upper one is lower
    with its axes reversed.
    """
    n, dtype = a.shape[-1], np.result_type(a, s)
    sygst = routine("sygst", dtype, n) if a.ndim == s.ndim == 2 and n >= TWO_SIDED and dtype.kind == "f" else None
    if sygst is None or is_singular(a):
        return solve_triangular(a, np.conj(solve_triangular(a, s, lower)).mT, lower)
    if not lower:
        a, s = a[::-1, ::-1], s[::-1, ::-1]
    out = sygst(np.asfortranarray(s.T), np.asfortranarray(a), lower=1)[0].T  # in its upper triangle
    out *= half_mask(n, dtype, lower=False)
    out = out + out.T
    return out if lower else out[::-1, ::-1]


@functools.lru_cache(maxsize=8)
def half_mask(n: int, dtype: Any, lower: bool) -> Any:
    """Return the mask that selects one triangle, with half the diagonal."""
    mask = (np.tri(n) if lower else np.tri(n).T.copy()) - np.eye(n) / 2
    mask = mask.astype(dtype)
    mask.flags.writeable = False
    return mask


# One factorisation for several uses


def factored_in_numpy(a: Any) -> Any:
    """Return a matrix, and nothing to use again."""
    return a, np.zeros(0, np.int32)


@in_numpy(factored_in_numpy)
def factored(a: Any) -> Any:
    """Return triangular factors of a matrix's transpose, and row exchanges.

    The factors share one array. For a singular matrix, and without SciPy, it returns
    the matrix itself and no exchanges; functions that need factors then compute them.
    """
    getrf = routine("getrf", a.dtype, len(a))
    if getrf is not None:
        factors, exchanges, fault = getrf(a.T)
        if not fault:
            return factors, exchanges
    return a, np.zeros(0, np.int32)


def solve_factored_in_numpy(a: Any, factors: Any, exchanges: Any, b: Any, transposed: bool) -> Any:
    """Solve a x = b, or a' x = b."""
    return np.linalg.solve(a.T if transposed else a, b)


@in_numpy(solve_factored_in_numpy)
def solve_factored(a: Any, factors: Any, exchanges: Any, b: Any, transposed: bool) -> Any:
    """Solve a x = b, or a' x = b, for a matrix with known factors."""
    if not exchanges.size or b.shape[:1] != (len(a),) or b.ndim > 2 or not b.size:
        return np.linalg.solve(a.T if transposed else a, b)
    getrs = routine("getrs", a.dtype, len(a))
    return getrs(factors, exchanges, b, trans=int(not transposed))[0]


def inverse_in_numpy(a: Any, factors: Any, exchanges: Any) -> Any:
    """Return np.linalg.inv(a)."""
    return np.linalg.inv(a)


@in_numpy(inverse_in_numpy)
def inverse(a: Any, factors: Any, exchanges: Any) -> Any:
    """Return np.linalg.inv(a) from the factors; by NumPy if the matrix is singular."""
    if not exchanges.size:
        return np.linalg.inv(a)
    return routine("getri", a.dtype, len(a))(factors, exchanges, lwork=BLOCK * len(a))[0].T


def slogdet(a: Any, factors: Any, exchanges: Any) -> Any:
    """Return np.linalg.slogdet(a) from the factors."""
    if not exchanges.size or a.dtype.kind == "c":
        return np.linalg.slogdet(a)
    diagonal = np.diagonal(factors)
    swaps = np.count_nonzero(exchanges != np.arange(len(a))) + np.count_nonzero(diagonal < 0)
    return a.dtype.type(-1 if swaps % 2 else 1), np.sum(np.log(np.abs(diagonal)))


# Cholesky factors


def factor_in_numpy(a: Any, *, upper: bool = False) -> Any:
    """Return np.linalg.cholesky(a)."""
    return np.linalg.cholesky(a, upper=True) if upper else np.linalg.cholesky(a)


@in_numpy(factor_in_numpy)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """Return np.linalg.cholesky(a), by LAPACK, without reordered copies of a."""
    array = isinstance(a, np.ndarray) and a.ndim == 2 and a.shape[0] == a.shape[1] and not upper
    potrf = routine("potrf", a.dtype, len(a)) if array else None
    if potrf is not None:
        transposed, lower, _ = for_fortran(a, True)
        factor, fault = potrf(transposed, lower=lower, clean=1)
        if not fault:
            return factor if lower else factor.T
    return factor_in_numpy(a, upper=upper)


BODIES.update({np.linalg.solve: solve, np.linalg.cholesky: cholesky})  # for the arrays of Tensors
