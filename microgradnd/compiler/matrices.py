"""Faster linear algebra for matrices whose structure a program's steps reveal.

Owns: the spellings of linear algebra.
Must not own: the routines (`../triangular.py`), other spellings (`spelling.py`).
Read next: `spelling.py`.

The steps may show that a matrix is triangular, Hermitian, or an inverse. A Cholesky
factor is triangular, and so are its transpose and the results of `np.tril` and
`np.triu`. The numbers are NumPy's up to rounding, with one exception: an infinity or a
NaN spreads only to those elements of a solution that depend on it in the triangular
system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import triangular
from microgradnd.compiler.program import Made, Program, Step, Value

TRANSPOSED = (np.transpose, np.matrix_transpose)
CHOLESKY = (np.linalg.cholesky, triangular.cholesky)
FACTORED = {
    np.linalg.solve: triangular.solve_factored,
    np.linalg.inv: triangular.inverse,
    np.linalg.slogdet: triangular.slogdet,
}
SOLVES = (np.linalg.solve, triangular.solve_triangular)


def step_of(x: Any, made: Made, *functions: Any) -> Step | None:
    """Return the step that computes a value, if it calls one of some functions."""
    step = made.get(x) if isinstance(x, Value) else None
    return step if step is not None and step.function in functions else None


def transposed(x: Any, made: Made) -> Any:
    """Return the matrix that a plain step transposes, or None."""
    step = step_of(x, made, *TRANSPOSED)
    return step.args[0] if step and len(step.args) == 1 and not step.kwargs and len(x.shape) == 2 else None


def untransposed(x: Any, made: Made) -> tuple[Any, bool]:
    """Return the matrix below x's transposes, and whether their number is odd."""
    odd = False
    while (inner := transposed(x, made)) is not None:
        x, odd = inner, not odd
    return x, odd


def triangle_of(x: Any, made: Made) -> bool | None:
    """Return True for a lower triangular matrix, False for an upper one, else None."""
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
    """Return whether a real matrix is a multiple of a sum with its own transpose."""
    if step := step_of(x, made, np.multiply, np.divide):
        return any(is_hermitian(a, made) for a in step.args[:1]) and not isinstance(step.args[1], Value)
    step = step_of(x, made, np.add)
    return step is not None and any(a is transposed(b, made) for a, b in (step.args, step.args[::-1]))


def factored(step: Step, made: Made) -> Any:
    """Return the matrix whose factors a step needs."""
    a = step.args[0] if step.function in FACTORED and not step.kwargs else None
    if step.function is np.linalg.solve:
        a, _ = untransposed(a, made)
    if step.function is np.linalg.inv and (choice := step_of(a, made, np.where)) and len(choice.args) == 3:
        a = regular(choice.args[0], choice.args[2], made) or a
    fits = isinstance(a, Value) and len(a.shape) == 2 and a.shape[0] >= triangular.SMALL
    if not fits or a.dtype.char not in triangular.PREFIXES:  # type: ignore[union-attr]
        return None
    return a if triangle_of(a, made) is None else None


def regular(mask: Any, a: Any, made: Made) -> Any:
    """Return the matrix whose determinant a mask compares with 0, as in slogdet's rule.

    Return None for other masks.
    """
    spread = step_of(mask, made, np.expand_dims)
    is_zero = step_of(spread.args[0], made, np.equal) if spread else None
    of_a = step_of(is_zero.args[0], made, np.linalg.slogdet) if is_zero else None
    sign = of_a is not None and of_a.args[0] is a and of_a.outs()[0] is is_zero.args[0]  # type: ignore[union-attr]
    return a if sign and repr(is_zero.args[1]) == "0" else None  # type: ignore[union-attr]


def share_factors(program: Program) -> Program:
    """Factor a general matrix once for all systems, inverses and determinants of it."""
    made = {out: step for step in program.steps for out in step.outs()}
    bases = [factored(step, made) for step in program.steps]
    uses = Counter(base for base in bases if base is not None)
    known: dict[Value, tuple[Value, Value]] = {}
    steps = []
    for step, base in zip(program.steps, bases, strict=True):
        if uses[base] < 2:
            steps.append(step)
            continue
        if base not in known:
            known[base] = Value(base.shape, base.dtype), Value(base.shape[:1], np.int32)
            steps.append(Step(triangular.factored, (base,), {}, known[base], step.where))
        args: tuple[Any, ...] = (step.args[0], *known[base])
        if step.function is np.linalg.solve:
            args = (base, *known[base], step.args[1], untransposed(step.args[0], made)[1])
        steps.append(replace(step, function=FACTORED[step.function], args=args))
    return replace(program, steps=tuple(steps)) if known else program


def cholesky(step: Step, made: Made, uses: Mapping[Value, int]) -> list[Step] | None:
    """Factor by the routine that copies less."""
    return [replace(step, function=triangular.cholesky)]


def solve(step: Step, made: Made, uses: Mapping[Value, int]) -> list[Step] | None:
    """Solve by substitution.

    Where a Hermitian matrix is between two triangular ones, solve for both sides at
    once.
    """
    a, b = step.args
    lower = triangle_of(a, made)
    if lower is None:
        return None
    inner = step_of(transposed(b, made), made, *SOLVES)
    if inner and inner.args[0] is a and uses[inner.out] == uses[b] == 1 and is_hermitian(inner.args[1], made):
        return [replace(step, function=triangular.unscale, args=(a, inner.args[1], lower))]
    return [replace(step, function=triangular.solve_triangular, args=(a, b, lower))]


def product(step: Step, made: Made, uses: Mapping[Value, int]) -> list[Step] | None:
    """Solve a system instead of multiplying by an inverse that nothing else needs.

    In a product with a triangular matrix, leave out the triangle of zeros.
    """
    a, b = step.args
    if len(a.shape) != 2 or len(b.shape) > 2 or step.kwargs:
        return None
    inverse = step_of(a, made, np.linalg.inv)
    if inverse and uses[a] == 1:
        return [replace(step, function=np.linalg.solve, args=(inverse.args[0], b))]
    lower = triangle_of(a, made) if step.where is None and len(b.shape) == 2 else None  # NumPy's zeros make NaN of inf
    return None if lower is None else [replace(step, function=triangular.multiply_triangular, args=(a, b, lower))]
