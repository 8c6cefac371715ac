"""What a program's own steps tell of a matrix: that it is triangular, Hermitian, or an inverse; and what that saves.

Owns: the spellings of linear algebra.
Must not own: the routines (`../triangular.py`), other spellings (`spelling.py`).
Read next: `spelling.py`.

A factor of Cholesky's is triangular, and so are its transpose and what `np.tril` and `np.triu` return. The numbers are
NumPy's but for rounding, and for infinities and NaN: what a triangular system says doesn't depend on them stays finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import triangular
from microgradnd.compiler.program import Step, Value

Made = Mapping[Value, Step]
TRANSPOSED = (np.transpose, np.matrix_transpose)
CHOLESKY = (np.linalg.cholesky, triangular.cholesky)
SOLVES = (np.linalg.solve, triangular.solve_triangular)


def step_of(x: Any, made: Made, *functions: Any) -> Step | None:
    """Return the step that computes a value, if it calls one of some functions."""
    step = made.get(x) if isinstance(x, Value) else None
    return step if step is not None and step.function in functions else None


def transposed(x: Any, made: Made) -> Any:
    """Return what a matrix is the transpose of, if that is all that is known of it."""
    step = step_of(x, made, *TRANSPOSED)
    return step.args[0] if step and len(step.args) == 1 and not step.kwargs and len(x.shape) == 2 else None


def triangle_of(x: Any, made: Made) -> bool | None:
    """Return whether a matrix is lower triangular, False if it is upper triangular, None if neither is known."""
    if step := step_of(x, made, *CHOLESKY):
        return not step.kwargs.get("upper")
    if step := step_of(x, made, np.tril, np.triu):
        k = (*step.args, step.kwargs.get("k", 0))[1]
        lower = step.function is np.tril
        return lower if type(k) is int and (k <= 0 if lower else k >= 0) else None
    if step := step_of(x, made, np.conjugate):
        return triangle_of(step.args[0], made)
    other = triangle_of(inner, made) if (inner := transposed(x, made)) is not None else None
    return None if other is None else not other


def is_hermitian(x: Any, made: Made) -> bool:
    """Return whether a real matrix is the sum of another and its transpose, or a multiple of that."""
    if step := step_of(x, made, np.multiply, np.divide):
        return any(is_hermitian(a, made) for a in step.args[:1]) and not isinstance(step.args[1], Value)
    step = step_of(x, made, np.add)
    return step is not None and any(a is transposed(b, made) for a, b in (step.args, step.args[::-1]))


def cholesky(step: Step, made: Made, uses: Mapping[Value, int]) -> list[Step] | None:
    """Factor by the routine that copies less."""
    return [replace(step, function=triangular.cholesky)]


def solve(step: Step, made: Made, uses: Mapping[Value, int]) -> list[Step] | None:
    """Solve by substitution; both sides at once where a Hermitian matrix is between two triangular ones."""
    a, b = step.args
    lower = triangle_of(a, made)
    if lower is None:
        return None
    inner = step_of(transposed(b, made), made, *SOLVES)
    if inner and inner.args[0] is a and uses[inner.out] == uses[b] == 1 and is_hermitian(inner.args[1], made):  # type: ignore[index]
        return [replace(step, function=triangular.unscale, args=(a, inner.args[1], lower))]
    return [replace(step, function=triangular.solve_triangular, args=(a, b, lower))]


def product(step: Step, made: Made, uses: Mapping[Value, int]) -> list[Step] | None:
    """Solve a system rather than multiply by an inverse, which nothing else needs; leave out a triangle of zeros."""
    a, b = step.args
    if len(a.shape) != 2 or len(b.shape) > 2 or step.kwargs:
        return None
    inverse = step_of(a, made, np.linalg.inv)
    if inverse and uses[a] == 1:
        return [replace(step, function=np.linalg.solve, args=(inverse.args[0], b))]
    lower = triangle_of(a, made) if step.where is None and len(b.shape) == 2 else None  # NumPy's zeros make NaN of inf
    return None if lower is None else [replace(step, function=triangular.multiply_triangular, args=(a, b, lower))]
