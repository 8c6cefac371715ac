"""Long sums, such as that of a gradient's terms over the turns of a loop.

Owns: rewriting them so that all of their terms are added in the same way.
Must not own: how the turns are found (`runs.py`).
Read next: `runs.py`.

A backward pass adds each term of a gradient to the terms before it, except for the
first. So the steps of the first turn differ from those of the others, and it couldn't
be part of the loop. Here the first term is added to zero; if no loop comes of it, the
addition is dropped again.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.program import FEWEST, Constant, Program, Step, Value

MINUS_ZERO = -0.0  # this object; a user's number is another


class Zero(Constant):
    """An array to which the first term of a sum is added."""


@functools.cache
def zero(shape: tuple[int, ...], dtype: Any, is_scattered: bool) -> Any:
    """Return the zero that a sum may begin with: -0.0 + x is x for every x.

    Where values are scattered, all other elements are 0.0.
    """
    if not shape:
        return MINUS_ZERO
    number = 0.0 if is_scattered else MINUS_ZERO
    kind = "" if dtype == np.float64 else f", np.{dtype.name}"
    text = f"np.zeros({shape}{kind})" if is_scattered else f"np.full({shape}, -0.0{kind})"
    return Zero(text, primitives.expand(dtype.type(number), shape))


def is_begin(step: Step) -> bool:
    """Return whether a step adds a first term to zero."""
    first = step.args[0] if step.function is np.add else None
    return isinstance(first, Zero) or first is MINUS_ZERO


def begun(program: Program) -> Program:
    """Add the first term of each long sum to zero."""
    uses, made = program.uses(), {out: step for step in program.steps for out in step.outs()}
    head_of: dict[Any, Step] = {}  # the first addition of each sum, by each of its partial sums
    sums: dict[Step, list[Step]] = {}
    for step in program.steps:
        if step.function is np.add and len(step.operands()) == 2 and is_float(step.out):
            total = step.operands()[0]
            head_of[step.out] = head = head_of.get(total, step) if uses[total] == 1 else step
            sums.setdefault(head, []).append(step)
    begins: dict[Any, list[Step]] = {}  # by the first term
    heads: dict[Step, Step] = {}
    for head, steps in sums.items():
        x, y = map(made.get, head.operands())
        is_long = len(steps) + 1 >= FEWEST
        if is_long and x is not None and y is not None and is_like(x, y) and is_float(x.out):
            out = Value(x.outs()[0].shape, x.outs()[0].dtype)
            begin = zero(out.shape, out.dtype, x.function is primitives.scatter)
            begins.setdefault(x.out, []).append(Step(np.add, (begin, x.out), {}, out, head.where))
            heads[head] = replace(head, args=(out, head.args[1]))
    parts = [[heads.get(step, step), *begins.get(step.out, ())] for step in program.steps]
    return replace(program, steps=tuple(itertools.chain.from_iterable(parts)))


def unbegun(program: Program) -> Program:
    """Undo `begun` for the sums that no loop computes."""
    program = program.substitute({step.outs()[0]: step.args[1] for step in program.steps if is_begin(step)})
    return replace(program, steps=tuple([step for step in program.steps if not is_begin(step)]))


def is_float(value: Any) -> bool:
    """Return whether a value is an array of floats, or like a Python float."""
    return isinstance(value, Value) and value.dtype.kind == "f" and (bool(value.shape) or value.dtype == np.float64)


def is_like(x: Step, y: Step) -> bool:
    """Return whether two steps may belong to two turns of a loop."""
    alike = (x.function, x.where) == (y.function, y.where)
    return alike and isinstance(x.out, Value) and isinstance(y.out, Value) and x.out.shape == y.out.shape
