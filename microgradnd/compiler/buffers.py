"""Which array holds which value: buffers planned by liveness.

Owns: the plan of a program's buffers.
Must not own: rewriting (`passes.py`) or printing (`source.py`).
Read next: `source.py`.

A value that no result needs is written into a buffer that was allocated once, by the `out=` of its step. When nothing
will read a buffer any more, the next value of its shape and dtype takes it; a ufunc may write over its own operand. A
view keeps the buffer of its base alive. What the caller gets is never a buffer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from microgradnd.compiler.program import Program, Step, Value

TAKES_OUT = {np.dot, np.matmul}


@dataclass
class Plan:
    """Where values live.

    Attributes
    ----------
    buffer_of : dict of Value to int
        The number of its buffer, for each value that lives in one.
    buffers : list of (shape, dtype)
        The buffers to allocate.
    """

    buffer_of: dict[Value, int] = field(default_factory=dict)
    buffers: list[tuple[tuple[int, ...], Any]] = field(default_factory=list)


def may_be_view(step: Step) -> bool:
    """Return whether a result may share memory with an operand."""
    return not isinstance(step.function, np.ufunc) and not is_reducer(step.function) and step.function not in TAKES_OUT


def is_reducer(function: Any) -> bool:
    """Return whether a function is the `reduce` of a ufunc."""
    return isinstance(getattr(function, "__self__", None), np.ufunc) and function.__name__ == "reduce"


def takes_out(step: Step) -> bool:
    """Return whether a step can write its result, an array, into one that it is given."""
    if isinstance(step.out, tuple) or not step.out.shape or step.out.size == 0:
        return False
    if step.function in TAKES_OUT:
        return all(isinstance(a, Value) and len(a.shape) == 2 and a.dtype == step.out.dtype for a in step.args)
    if is_reducer(step.function):
        return True
    return isinstance(step.function, np.ufunc) and step.function.nout == 1 and step.function.signature is None


def plan(program: Program) -> Plan:
    """Return buffers for the values of a program."""
    owners: dict[Value, set[Value]] = {}  # of a value that may be a view: the values whose memory it may share
    for step in program.steps:
        shared = {o for v in step.operands() for o in owners.get(v, {v})} if may_be_view(step) else set()
        for out in step.outs():
            owners[out] = shared or {out}
    last: dict[Value, int] = {}
    for i, step in enumerate(program.steps):
        for value in step.operands():
            for owner in owners.get(value, {value}):
                last[owner] = i
    kept = {owner for value in program.results() for owner in owners.get(value, {value})}
    result = Plan()
    free: dict[tuple[tuple[int, ...], Any], list[int]] = {}
    for i, step in enumerate(program.steps):
        dying = [v for v in dict.fromkeys(step.operands()) if last.get(v) == i and v in result.buffer_of]
        if takes_out(step) and isinstance(step.out, Value) and step.out not in kept:
            key = (step.out.shape, step.out.dtype)
            elementwise = isinstance(step.function, np.ufunc)
            operands = [v for v in dying if elementwise and (v.shape, v.dtype) == key]
            if operands:
                result.buffer_of[step.out] = result.buffer_of[operands[0]]
                dying.remove(operands[0])
            elif free.get(key):
                result.buffer_of[step.out] = free[key].pop()
            else:
                result.buffer_of[step.out] = len(result.buffers)
                result.buffers.append(key)
        for owner, end in last.items():
            if end == i and owner in result.buffer_of and (owner in dying or owner not in step.operands()):
                number = result.buffer_of[owner]
                if number != result.buffer_of.get(step.out if isinstance(step.out, Value) else None):  # type: ignore[arg-type]
                    free.setdefault(result.buffers[number], []).append(number)
    return result
