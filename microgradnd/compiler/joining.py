"""Equal formulas of several small arrays, computed once for a vector of all of them.

Owns: finding such formulas, and joining them.
Must not own: which memory a vector and its parts have (`buffers.py`).
Read next: `blocks.py`.

An optimizer that is written out updates each array of a list by the same formula. For a
small array, most of the time of a NumPy call passes before the first element. If all
arrays are parts of one vector, a formula takes as many calls as for a single array.
Each element is computed as before, so the results are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.buffers import takes_out
from microgradnd.compiler.passes import key_of, simplify
from microgradnd.compiler.program import Program, Step, Value, call
from microgradnd.compiler.traits import traits

# Times, in that of a call with a small array: to make a vector, for each of its parts,
# and to copy a part into an input that is updated
VECTOR, PART, COPY = 2.0, 0.4, 1.0

LONGEST = 2**14  # bytes of a vector: a result that is a part of one keeps all of it

Formula = list[Step]  # elementwise steps over arrays of one shape, connected by their values


def joined(program: Program) -> tuple[Program, set[Value]]:
    """Return a program in which equal formulas are one formula of vectors.

    Return the parts of these vectors too, which the rest of the program uses. Of
    formulas that aren't worth their vectors, those steps are joined that take arrays
    which can be computed in their places in one.
    """
    program, parts = join(program)
    program, more = join(program, computed_in_place(program))
    return program, parts | more


def computed_in_place(program: Program) -> set[Value]:
    """Return the values that can be computed in their places in a vector."""
    found: set[Value] = set()
    for step in program.steps:
        if step.function is np.reshape and step.args[0] in found:
            found.remove(step.args[0])
            found.update(step.outs())
        elif takes_out(step):
            found.update(step.outs())
        elif step.function is primitives.concatenate:  # they are parts of another vector
            found.difference_update(step.operands())
    return found - {*program.results(), *program.updates.values()}


def join(program: Program, free: Set[Value] = frozenset()) -> tuple[Program, set[Value]]:
    """Join formulas; if there are arrays whose vector costs nothing, formulas of these
    alone.
    """
    at = {step: i for i, step in enumerate(program.steps)}
    ready = {out: i for step, i in at.items() for out in step.outs()}
    readers: dict[Value, list[Step]] = {}
    for step in program.steps:
        for value in step.operands():
            readers.setdefault(value, []).append(step)
    updated, results = set(program.updates.values()), set(program.results())
    placed: dict[int, list[Step]] = {}  # the steps that come after one of the program's
    gone: set[Step] = set()
    for group in groups(formulas(program, free)):
        members, inside = {step for one in group for step in one}, {out for one in group for out in made(one)}
        after = max((ready.get(v, -1) for step in members for v in step.operands() if v not in inside), default=-1)
        outside = {v: [at[step] for step in readers.get(v, ()) if step not in members] for v in inside}
        before = min((i for places in outside.values() for i in places), default=len(at))
        needed = {v for v in inside if outside[v] or v in results}
        copied = len(needed & updated)
        vectors = 0 if free else len(leaves(group[0]))
        cost = vectors * (VECTOR + PART * len(group)) + PART * (len(needed) - copied) + COPY * copied
        if after < before and cost < len(members) - len(group[0]):
            placed.setdefault(after, []).extend(of_vectors(group, needed))
            gone |= members
            at |= dict.fromkeys(members, after)
            ready |= dict.fromkeys(inside, after)
    steps = placed.get(-1, [])
    for i, step in enumerate(program.steps):
        steps += [*([] if step in gone else [step]), *placed.get(i, ())]
    parts = (step for after in placed.values() for step in after if step.function is primitives.getitem)
    program = simplify(replace(program, steps=tuple(steps))) if gone else program
    return program, {out for step in parts for out in step.outs()}


def formulas(program: Program, free: Set[Value] = frozenset()) -> list[Formula]:
    """Return the formulas of small arrays in a program, or of some of its values."""
    home: dict[Value, Formula] = {}
    for step in filter(is_small, program.steps):
        if free and not all(v in free or v in home for v in step.operands() if v.shape):
            continue
        parts = {id(home[v]): home[v] for v in step.operands() if v in home}.values()
        whole = max(parts, key=len, default=[])
        for part in [[step], *(part for part in parts if part is not whole)]:
            whole += part
            home.update(dict.fromkeys(made(part), whole))
    order = {step: i for i, step in enumerate(program.steps)}
    return [sorted(one, key=order.__getitem__) for one in {id(one): one for one in home.values()}.values()]


def is_small(step: Step) -> bool:
    """Return whether a step computes a small array from such arrays and numbers."""
    out, arrays = step.out, [a for a in step.args if getattr(a, "shape", ())]
    if not isinstance(step.function, np.ufunc) or not traits(step.function).is_elementwise or step.kwargs:
        return False
    fits = isinstance(out, Value) and 0 < out.size * out.dtype.itemsize <= LONGEST // 2
    return fits and bool(arrays) and all(isinstance(a, Value) and a.shape == out.shape for a in arrays)


def made(formula: Formula) -> list[Value]:
    """Return the values that a formula computes."""
    return [out for step in formula for out in step.outs()]


def leaves(formula: Formula) -> list[Value]:
    """Return the arrays that a formula takes, in the order of their first use."""
    inside = set(made(formula))
    return list(dict.fromkeys(v for step in formula for v in step.operands() if v.shape and v not in inside))


def groups(found: Sequence[Formula]) -> list[list[Formula]]:
    """Return equal formulas in groups, each with no more than a vector may hold."""
    every: list[list[Formula]] = []
    latest: dict[Any, list[Formula]] = {}
    room: dict[Any, int] = {}  # bytes left in the vector of the latest group
    for one in found:
        places = {v: i for i, v in enumerate([*leaves(one), *made(one)])}
        args = [[places.get(a, a) if isinstance(a, Value) else (a,) for a in step.args] for step in one]
        key = key_of((args, [v.dtype for v in places], [step.function for step in one])) or one[0]
        size = max(v.size * v.dtype.itemsize for v in places)
        if room.get(key, 0) < size:
            every.append([])
            latest[key], room[key] = every[-1], LONGEST
        latest[key].append(one)
        room[key] -= size
    return every


def of_vectors(group: Sequence[Formula], needed: Set[Value]) -> list[Step]:
    """Return the steps of a group as one formula, and those that take it apart."""
    first = group[0]
    ends = tuple(accumulate(made(one)[0].size for one in group))
    vectors = {v: Value(ends[-1:], v.dtype) for v in (*leaves(first), *made(first))}
    steps: list[Step] = []
    for leaf, values in zip(leaves(first), zip(*map(leaves, group), strict=True), strict=True):
        flat = [call(np.reshape, v, (v.size,), like=first[0], shape=(v.size,), dtype=v.dtype) for v in values]
        parts = [part.out for part in flat]
        steps += [*flat, Step(primitives.concatenate, (0, ends, *parts), {}, vectors[leaf], first[0].where)]
    steps += [replace(step.substitute(vectors), out=vectors[step.outs()[0]]) for step in first]
    for one, start, end in zip(group, (0, *ends), ends, strict=False):
        for vector, value in zip(map(vectors.get, made(first)), made(one), strict=True):
            if value in needed:
                part = Value((value.size,), value.dtype)
                steps.append(Step(primitives.getitem, (vector, slice(start, end)), {}, part))
                steps.append(Step(np.reshape, (part, value.shape), {}, value))
    return steps
