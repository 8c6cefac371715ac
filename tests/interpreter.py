"""Runs a program step by step: slow, and the reference for the generated source.

Owns: the meaning of a step, of a loop and of a chain.
Must not own: programs to run (`programs.py`), or how their results are compared.
Read next: `test_passes.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd.compiler.blocks import Chain
from microgradnd.compiler.bodies import Loop, with_turns
from microgradnd.compiler.program import Program, Step, Value, as_arrays, substituted


def run(program: Program, *arrays: Any) -> tuple[Any, ...]:
    """Return the results of a program."""
    known: dict[Value, Any] = dict(zip(program.inputs, arrays, strict=True))
    for step in program.steps:
        args, kwargs = substituted((step.args, dict(step.kwargs)), known)
        args, kwargs = as_arrays(args), as_arrays(kwargs)
        if isinstance(step.function, Chain):
            result: Any = run(step.function.program, *args)
        elif isinstance(step.function, Loop):
            result = run_turns(step.function, args)
        else:
            result = step.function(*args, **kwargs)
        known.update(zip(step.outs(), result if isinstance(step.out, tuple) else (result,), strict=True))
    return substituted(program.outputs, known)


def run_turns(loop: Loop, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the results of a loop."""
    carried, rest = list(arrays[: len(loop.rows)]), arrays[len(loop.rows) :]
    seen: list[list[Any]] = [[x] for x in carried]
    kept: list[list[Any]] = [[] for _ in loop.body.outputs[1]]
    last: tuple[Any, ...] = ()
    for turn in range(loop.count):
        steps = tuple(in_turn(step, turn) for step in loop.body.steps)
        carried, new, last = run(replace(loop.body, steps=steps), *carried, *rest)
        for values, value in (*zip(seen, carried, strict=True), *zip(kept, new, strict=True)):
            values.append(value)
    carries = [np.stack(values) if rows else values[-1] for values, rows in zip(seen, loop.rows, strict=True)]
    return (*carries, *map(np.stack, kept), *last)


def in_turn(step: Step, turn: int) -> Step:
    """Return a step of a loop as it is in one turn."""
    return with_turns(step, lambda number, depth: number.at(turn) if number.level == depth else number)
