"""Sums that are always 0, as in the derivative of a stable softmax.

Owns: the algebra that finds such sums, and removing them.
Must not own: the derivative of a maximum (`../rules/reductions.py`), other spellings
(`spelling.py`).
Read next: `spelling.py`.

In `e = np.exp(x - np.max(x, axis=-1, keepdims=True)); p = e / np.sum(e, axis=-1,
keepdims=True)`, the cotangent of the maximum is minus the sum of the cotangent of `x -
max`. With s for the sum of e, and g for the cotangent of p, the latter is `(g / s -
sum(g * p / s)) * e`. Multiplied out, and with factors that are equal along the axis
taken out of sums, its sum is `sum(g * e) / s - sum(g * e) / s / s * s`, which is 0.
This file multiplies out the steps of the derivative, not those of the function. So it
assumes nothing about cotangents from outside or about values detached or hooked on the
way: they lead to other sums.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.program import Constant, Made, Program, Step, Value, rewritten

TERMS, FACTORS = 8, 16  # beyond these numbers the algebra gives up


class Factor(NamedTuple):
    """A factor of a product, and its shape.

    It is a value; or the dtype and bytes of a constant; or an axis, counted from the
    last, and the factors that are multiplied and then summed along it.
    """

    what: Any
    shape: tuple[int, ...]


def factor(what: Any, shape: Sequence[int]) -> Factor:
    """Return a factor without leading axes of length 1, which don't matter."""
    first = next((i for i, n in enumerate(shape) if n != 1), len(shape))
    return Factor(what, tuple(shape[first:]))


Powers = frozenset[tuple[Factor, int]]
Terms = dict[Powers, Fraction]  # products of powers, and how often each is added


def added(x: Terms, y: Terms, sign: int = 1) -> Terms:
    """Return a sum or a difference."""
    total = {key: x.get(key, Fraction()) + sign * y.get(key, Fraction()) for key in x | y}
    return {key: count for key, count in total.items() if count}


def multiplied(x: Terms, y: Terms, sign: int = 1) -> Terms:
    """Return a product, or with sign -1 the quotient by a single term."""
    total: Terms = {}
    for (left, a), (right, b) in product(x.items(), y.items()):
        powers = Counter(dict(left))
        powers.update({one: sign * n for one, n in right})
        key = frozenset(power for power in powers.items() if power[1])
        total = added(total, {key: a * b**sign})
    return total


ARITHMETIC: dict[Any, Callable[[Terms, Terms], Terms]] = {
    np.add: added,
    np.subtract: lambda x, y: added(x, y, -1),
    np.negative: lambda x, _: added({}, x, -1),
    np.multiply: multiplied,
    np.divide: lambda x, y: multiplied(x, y, -1),
}


def length(shape: tuple[int, ...], axis: int) -> int:
    """Return the length along an axis that is counted from the last."""
    return shape[axis] if -axis <= len(shape) else 1


def summed(x: Terms, shape: tuple[int, ...], axis: int) -> Terms:
    """Return the sum along an axis, which remains with length 1."""
    total: Terms = {}
    for powers, count in x.items():
        along = frozenset(power for power in powers if length(power[0].shape, axis) != 1)
        rest: Terms = {powers - along: count * (1 if along else length(shape, axis))}
        [(what, lengths), power] = next(iter(along)) if len(along) == 1 else (Factor(None, ()), 0)
        if power == 1 and isinstance(what, tuple) and isinstance(what[0], str):  # its sums are too
            array = np.frombuffer(what[1], what[0]).reshape(lengths)
            rest = multiplied(rest, terms_of(np.sum(array, axis=axis, keepdims=True), {}))
        elif along:
            kept = list(np.broadcast_shapes(*(one.shape for one, _ in along)))
            kept[axis] = 1
            rest = multiplied(rest, {frozenset({(factor((axis, along), kept), 1)}): Fraction(1)})
        total = added(total, rest)
    return total


def moved(x: Terms, old: tuple[int, ...], new: tuple[int, ...]) -> Terms | None:
    """Return an array's terms in a shape that differs only by axes of length 1."""
    if [n for n in old if n != 1] != [n for n in new if n != 1]:
        return None

    def shape_of(shape: tuple[int, ...]) -> tuple[int, ...]:
        lengths = iter((1,) * (len(old) - len(shape)) + shape)
        kept = iter([n for n, whole in zip(lengths, old, strict=True) if whole != 1])
        return tuple(1 if n == 1 else next(kept) for n in new)

    return {frozenset((factor(one.what, shape_of(one.shape)), n) for one, n in powers): c for powers, c in x.items()}


def terms_of(x: Any, known: Mapping[Value, Terms]) -> Terms:
    """Return the terms of an operand."""
    if type(x) is int or (type(x) is float and math.isfinite(x)):
        return {frozenset(): Fraction(x)} if x else {}
    if isinstance(x, Value) and x in known:
        return known[x]
    sign, array = 1, np.asarray(x) if isinstance(x, np.ndarray | np.generic | Constant) else x
    if isinstance(array, np.ndarray) and array.size and array.dtype.kind in "biuf" and array.dtype.char != "g":
        if np.isfinite(array).all() and (array == array.flat[0]).all():  # as one number, whatever its shape
            return terms_of(array.flat[0].item() + 0, known)
        sign = -1 if array.flat[np.argmax(array != 0)] < 0 else 1  # negated constants are computed while tracing
        array = array * sign + 0
        x = (array.dtype.str, array.tobytes())
    what = x if isinstance(x, Value | tuple) else id(x)
    return {frozenset({(factor(what, getattr(array, "shape", ())), 1)}): Fraction(sign)}


def result(step: Step, known: Mapping[Value, Terms]) -> Terms | None:
    """Return the terms of a step's result, None if it isn't a sum of products."""
    function, out, x = step.function, step.out, step.args[0] if step.args else None
    if not isinstance(out, Value) or out.dtype.kind != "f":
        return None
    if function in ARITHMETIC and not step.kwargs:
        left, right = terms_of(x, known), terms_of(step.args[-1], known)
        return ARITHMETIC[function](left, right) if function is not np.divide or len(right) == 1 else None
    if not isinstance(x, Value) or x.dtype != out.dtype:
        return None
    terms, old, new = terms_of(x, known), list(x.shape), list(out.shape)
    if function in (np.sum, np.mean):
        given = dict(zip(("a", "axis"), step.args, strict=False)) | dict(step.kwargs)
        if set(given) - {"a", "axis", "keepdims"}:
            return None
        if function is np.mean and x.size:
            terms = multiplied(terms, {frozenset(): Fraction(out.size, x.size)})
        for axis in axes_of(given.get("axis"), len(old)):
            terms = summed(terms, tuple(old), axis)
            old[axis] = 1
    elif function is primitives.expand:
        given = dict(zip(("g", "shape", "axis"), step.args, strict=False)) | dict(step.kwargs)
        for axis in axes_of(given.get("axis"), len(new)):
            new[axis] = 1
    elif not keeps_order(step):
        return None
    return moved(terms, tuple(old), tuple(new))


def keeps_order(step: Step) -> bool:
    """Return whether a step only adds or removes axes of length 1."""
    if step.function not in (primitives.getitem, primitives.scatter):
        return step.function is np.reshape
    index = step.args[1] if isinstance(step.args[1], tuple) else (step.args[1],)
    return all(i is None or i is ... or (type(i) is slice and i == slice(None)) for i in index)


def axes_of(axis: Any, rank: int) -> list[int]:
    """Return axes counted from the last, the last one first."""
    axes = range(rank) if axis is None or not rank else axis if isinstance(axis, tuple) else (axis,)
    return sorted((a % rank - rank for a in axes), reverse=True)


def is_centred(x: Terms) -> bool:
    """Return whether x is the difference of something and its sum, with factors.

    If one element of it is NaN or infinite, so are all along the axis.
    """
    sums = {f: f.what[1] for powers in x for f, _ in powers if isinstance(f.what, tuple) and isinstance(f.what[0], int)}
    return bool(sums) and all(
        any(f in sums for f, _ in powers) or any(along <= powers for along in sums.values()) for powers in x
    )


def without_zeros(program: Program) -> Program:
    """Remove sums that are 0 from the derivatives of extremes, means and sums."""
    known: dict[Value, Terms] = {}
    exponentials = {step.out for step in program.steps if step.function is np.exp}

    def rule(step: Step, made: Made, uses: dict[Value, int]) -> Value | None:
        out, found = step.out, result(step, known)
        if found is not None and len(found) <= TERMS and all(len(powers) <= FACTORS for powers in found):
            known[out] = found
        if step.function is not np.add or step.where is not None or known.get(out) is None:
            return None
        for x, y in (step.args, step.args[::-1]):
            if not isinstance(x, Value) or not isinstance(y, Value) or (x.shape, x.dtype) != (out.shape, out.dtype):
                continue
            # next to a NaN all are NaN; so is the exponential, and so are deviations
            terms = known.get(x, {}) if known.get(y) == {} else {}
            if is_centred(terms) or any(f.what in exponentials for powers in terms for f, _ in powers):
                return x
        return None

    return rewritten(program, rule)
