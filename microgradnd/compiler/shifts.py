"""Maxima that are only subtracted so that nothing overflows: the result doesn't change with them.

Owns: finding them, and leaving out what derivative rules compute for them.
Must not own: the derivative of a maximum (`../rules/reductions.py`), other spellings (`spelling.py`).
Read next: `spelling.py`.

In `e = np.exp(x - np.max(x, axis=-1, keepdims=True)); e / np.sum(e, axis=-1, keepdims=True)` the maximum cancels. If it
were larger by c, `x - max` would be shifted by -c, `e` and its sum scaled by exp(-c), and their quotient the same. So
the derivative by the maximum is 0, and what the rule of `np.max` makes of it is rounding. It is left out if every way
from the maximum ends in values that don't change with it. Ways to values that the program doesn't return count too: so
this pass comes before dead steps are dropped, and after equal ones have been joined. They must end in single numbers,
such as a loss: the cotangent of an array may be anything.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.program import Program, Step, Value


class Change(NamedTuple):
    """How a value changes if the maximum grows by c: by c times `shift`, or by a factor of exp(c * `scale`)."""

    shift: float = 0
    scale: float = 0


NONE = Change()


def of_sum(x: Change, y: Change, sign: int) -> Change | None:
    """Return how a sum changes, or a difference; None if neither as a shift nor as a scale."""
    if x.scale or y.scale:
        return x if x == y else None
    return Change(x.shift + sign * y.shift)


def of_product(x: Change, y: Change, sign: int) -> Change | None:
    """Return the same of a product or a quotient."""
    return None if x.shift or y.shift else Change(0, x.scale + sign * y.scale)


RULES: dict[Any, Callable[..., Change | None]] = {
    np.add: lambda x, y: of_sum(x, y, 1),
    np.subtract: lambda x, y: of_sum(x, y, -1),
    np.multiply: lambda x, y: of_product(x, y, 1),
    np.divide: lambda x, y: of_product(x, y, -1),
    np.negative: lambda x: Change(-x.shift, x.scale),
    np.exp: lambda x: None if x.scale else Change(0, x.shift),
    np.log: lambda x: None if x.shift else Change(x.scale),
    np.sum: lambda x: None if x.shift else x,
    np.mean: lambda x: x,
    primitives.astype: lambda x, _: x,
}


def axes_of(step: Step) -> Any:
    """Return the axes of a reduction that stay with length 1, None where there is more to it."""
    x = step.args[0]
    given = dict(zip(("a", "axis"), step.args, strict=False)) | dict(step.kwargs)
    if set(given) - {"a", "axis", "keepdims"} or given.get("keepdims") is not True or not isinstance(x, Value):
        return None
    axis = given.get("axis")
    axes = range(len(x.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return {a % len(x.shape) for a in axes}


def changed(step: Step, changes: dict[Value, Change], axes: set[int]) -> Change | None:
    """Return how the result of a step changes, None if that can't be told."""
    rule = RULES.get(step.function)
    known = [changes.get(a, NONE) if isinstance(a, Value) else NONE for a in step.args]
    if rule is None or any(v in changes and not any(v is a for a in step.args) for v in step.operands()):
        return None
    if step.function in (np.sum, np.mean):
        summed = axes_of(step)
        return rule(known[0]) if summed is not None and summed <= axes else None
    return None if step.kwargs else rule(*known)


def cancels(largest: Step, program: Program, users: dict[Value, list[int]]) -> bool:
    """Return whether nothing that the user's own lines compute in the end changes with a maximum."""
    axes, results = axes_of(largest), set(program.results())
    if axes is None or largest.where is None or not isinstance(largest.out, Value):
        return False
    changes = {largest.out: Change(1)}
    todo = users[largest.out].copy()
    while todo:
        step = program.steps[i := heapq.heappop(todo)]
        while todo and todo[0] == i:
            heapq.heappop(todo)
        if step.where is None:  # of a derivative, which doesn't change either
            continue
        change = changed(step, changes, axes)
        if change is None or not isinstance(step.out, Value) or (change != NONE and step.out not in users):
            return False
        if change != NONE:
            changes[step.out] = change
            for user in users.get(step.out, ()):
                heapq.heappush(todo, user)
    return results.isdisjoint(changes)


def without_shifts(program: Program) -> Program:
    """Return a program that leaves out the derivatives by maxima that cancel."""
    users: dict[Value, list[int]] = {}
    for i, step in enumerate(program.steps):
        for value in step.operands():
            users.setdefault(value, []).append(i)
    seen: set[Any] = set()  # what the user's lines make several numbers of, whose cotangents may come from outside
    for step in reversed(program.steps):
        ahead = [program.steps[i] for out in step.outs() for i in users.get(out, ()) if program.steps[i].where]
        ends = not ahead and any(out.size != 1 for out in step.outs())
        if step.where and (ends or any(out in seen for other in ahead for out in other.outs())):
            seen.update(step.outs())
    replacements: dict[Value, Any] = {}
    for largest in program.steps:
        if largest.function is not np.max or largest.out not in users or largest.out in seen:
            continue
        if cancels(largest, program, users):
            replacements |= totals(largest.out, program, users)
    for total, rest in replacements.items():
        while rest in replacements:
            rest = replacements[rest]
        replacements[total] = rest
    return program.substitute(replacements) if replacements else program


def totals(largest: Value, program: Program, users: dict[Value, list[int]]) -> dict[Value, Value]:
    """Return the sums to which the derivatives by a maximum are added, with what they are added to.

    A maximum that was computed twice has two derivatives, of which only the sum is 0: so it is all of them, or none.
    """

    def used(values: list[Value], function: Any) -> list[Any]:
        """Return the results of the steps of derivatives that use some values by a function."""
        steps = [program.steps[i] for value in values for i in users.get(value, ())]
        return [step.out for step in steps if step.function is function and step.where is None]

    chosen = used([largest], np.equal)
    chosen += used(chosen, primitives.astype)
    parts = used(chosen, np.multiply)
    found = {}
    for part in parts:
        step = program.steps[users[part][0]] if len(users.get(part, ())) == 1 else None
        rest = [a for a in step.args if isinstance(a, Value) and a is not part] if step else []
        out: Any = step.out if step else None
        if step is None or step.function is not np.add or step.where is not None or len(rest) != 1:
            return {}
        if rest[0] in parts or (rest[0].shape, rest[0].dtype) != (out.shape, out.dtype):
            return {}
        found[out] = rest[0]
    return found
