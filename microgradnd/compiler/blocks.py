"""Chains of elementwise steps over large arrays, run block by block.

Owns: which steps form a chain, and how many rows are a block.
Must not own: where the values live (`buffers.py`), or how the loop is written (`fast.py`).
Read next: `buffers.py`.

An elementwise step over an array that doesn't fit into the processor's cache takes as long as it takes to read and
write memory. A chain of them that is taken for a few rows at a time reads and writes memory once, and what is in
between never leaves the cache. The results are equal to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from microgradnd.compiler.program import Program, Step, Value
from microgradnd.compiler.traits import traits

LARGE = 2**17  # elements from which an array is taken in blocks
BLOCK = 2**16  # bytes of an array that are taken at a time


@dataclass(frozen=True, eq=False)
class Chain:
    """Elementwise steps that are taken together; called, it takes them one by one, which gives the same.

    Attributes
    ----------
    program : Program
        From the operands to those values that other steps use.
    shape : tuple of int
        Of all values that are computed.
    rows : int
        How many are taken at a time.
    """

    program: Program
    shape: tuple[int, ...]
    rows: int

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        return self.program.run(*arrays)

    @property
    def is_even(self) -> bool:
        """Whether every block has the same number of rows."""
        return self.shape[0] % self.rows == 0

    def is_sliced(self, value: Value) -> bool:
        """Return whether a block takes rows of an operand, not the whole."""
        return len(value.shape) == len(self.shape) and value.shape[0] == self.shape[0]

    def last_use(self, value: Value) -> int:
        """Return the number of the last step that reads an operand, -1 if none does."""
        return max((i for i, step in enumerate(self.program.steps) if value in step.operands()), default=-1)

    def index(self, out: Value) -> int:
        """Return the number of the step that computes a value."""
        return next(i for i, step in enumerate(self.program.steps) if step.out is out)


def blocks(program: Program) -> Program:
    """Put elementwise steps over large arrays together, as far as the others let them."""
    uses = program.uses()
    steps: list[Step] = []
    group: list[Step] = []

    def close() -> None:
        if len(group) > 1 or any(is_slow(step) for step in group):
            steps.append(chained(group, uses))
        else:
            steps.extend(group)
        group.clear()

    for step in program.steps:
        inside = {out for other in group for out in other.outs()}
        if is_member(step):
            if group and group[0].out.shape != step.out.shape:  # type: ignore[union-attr]
                close()
            group.append(step)
        elif any(v in inside for v in step.operands()):
            close()
            steps.append(step)
        else:
            steps.append(step)  # before the chain, which it doesn't need
    close()
    return replace(program, steps=tuple(steps))


def is_member(step: Step) -> bool:
    """Return whether a step can be taken row by row, and is worth it."""
    out = step.out
    if not isinstance(out, Value) or out.size < LARGE or out.shape[0] < 2 or step.kwargs:
        return False
    if not traits(step.function).is_elementwise or math.prod(out.shape[1:]) * out.dtype.itemsize > 4 * BLOCK:
        return False
    return any(isinstance(a, Value) and a.shape == out.shape for a in step.args)


def is_slow(step: Step) -> bool:
    """Return whether a step alone gains by blocks: the maximum with a number, see `spelling.py`."""
    return step.function is np.maximum and any(type(a) in (int, float) and a == 0 for a in step.args)


def chained(group: list[Step], uses: dict[Value, int]) -> Step:
    """Return one step for a group of them."""
    made = {step.out for step in group}
    inner: dict[Value, int] = {}
    for step in group:
        for value in step.operands():
            inner[value] = inner.get(value, 0) + 1
    inputs = tuple(value for value in inner if value not in made)
    outputs = tuple(
        step.out for step in group if isinstance(step.out, Value) and uses[step.out] > inner.get(step.out, 0)
    )
    shape: tuple[int, ...] = outputs[0].shape
    width = max(v.dtype.itemsize for v in (*made, *inputs) if isinstance(v, Value) and v.shape == shape)
    wanted = max(1, BLOCK // (width * math.prod(shape[1:])))
    rows = next((n for n in range(wanted, wanted // 2, -1) if shape[0] % n == 0), wanted)
    chain = Chain(Program(inputs, tuple(group), outputs), shape, rows)
    return Step(chain, inputs, {}, outputs, group[-1].where)
