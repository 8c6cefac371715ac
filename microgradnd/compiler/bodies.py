"""Loops as steps of a program, and changes of their bodies.

Owns: `Loop`, a step that runs a body a number of times; how a pass is applied to all
bodies; steps that a loop needs only once.
Must not own: which steps are a loop (`runs.py`), how a loop is printed (`source.py`,
`fast.py`, `turns.py`), or rewriting of straight lines (`passes.py`).
Read next: `runs.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.compiler.program import Listed, Program, Step, Turn, Value, mapped, moved, parts_of
from microgradnd.compiler.traits import gives_view

primitives.BASIC.add(Turn)  # an index that moves names one element in each turn


@dataclass(frozen=True, eq=False)
class Loop:
    """A body of steps that runs several times.

    Attributes
    ----------
    count : int
        The number of turns.
    body : Program
        Its inputs are the carried values, then those that are the same in every
        turn. Its outputs are the next turn's carried values, those kept from each
        turn, and those kept from the last.
    rows : tuple of bool
        For each carried value: True if the initial value and the values of all
        turns are kept, False if only the last is.
    """

    count: int
    body: Program
    rows: tuple[bool, ...]


class Row(Value):
    """A place for a value of this turn, which nothing in the turn reads."""

    __slots__ = ()


def is_free(step: Step) -> bool:
    """Return whether a step gives a view, which can be taken again at each use."""
    if isinstance(step.out, tuple) or not step.args or not isinstance(step.args[0], Value):
        return False
    return gives_view(step.function, step.args, len(step.operands()))


def plural(name: str | None) -> str:
    """Return a name for the values of a variable in all turns."""
    return f"{name}s" if name else "rows"


def in_bodies(rewrite: Callable[[Program, Sequence[Value]], Program], program: Program, own: Any = ()) -> Program:
    """Return a program with its own steps and the bodies of its loops rewritten.

    A body may write over the values that it carries.
    """
    steps = []
    for step in program.steps:
        if isinstance(loop := step.function, Loop):
            carried = [v for v, rows in zip(loop.body.inputs, loop.rows, strict=False) if v.shape and not rows]
            step = replace(step, function=replace(loop, body=in_bodies(rewrite, loop.body, carried)))
        steps.append(step)
    return rewrite(replace(program, steps=tuple(steps)), own)


def with_turns(step: Step, change: Callable[[Any, int], Any], depth: int = 0) -> Step:
    """Return a step with the numbers that count turns of outer loops replaced.

    `change(number, depth)` gives a new number; `depth` is the number of the step's own
    loops around it.
    """

    def changed(part: Any) -> Any:
        return change(part, depth) if isinstance(part, Turn | Listed) and part.level >= depth else part

    function = step.function
    if isinstance(function, Loop):
        steps = tuple(with_turns(inner, change, depth + 1) for inner in function.body.steps)
        function = replace(function, body=replace(function.body, steps=steps))
    return replace(step, function=function, args=mapped(changed, step.args), kwargs=mapped(changed, dict(step.kwargs)))


def levels(step: Step) -> set[int]:
    """Return which loops' turns a step reads: 0 is the innermost loop around it."""
    own = {part.level for part in parts_of((step.args, dict(step.kwargs))) if isinstance(part, Turn | Listed)}
    inner = step.function.body.steps if isinstance(step.function, Loop) else ()
    return own.union(*({level - 1 for level in levels(one) if level} for one in inner))


def hoisted(program: Program) -> Program:
    """Move steps that do the same in every turn before the loop."""
    steps: list[Step] = []
    for step in program.steps:
        steps += hoisted_from(step) if isinstance(step.function, Loop) else [step]
    return replace(program, steps=tuple(steps))


def hoisted_from(step: Step) -> list[Step]:
    """Return the steps that a loop needs only once, and the rest of the loop."""
    loop = step.function
    n, body = len(loop.rows), hoisted(loop.body)
    outside = dict(zip(body.inputs[n:], step.args[n:], strict=True))
    before, inside, results = list[Step](), list[Step](), set(body.results())
    for inner in body.steps:
        is_fixed = not isinstance(inner.function, Anew) and results.isdisjoint(inner.outs()) and 0 not in levels(inner)
        if not is_fixed or not outside.keys() >= set(inner.operands()):
            inside.append(inner)
            continue
        outs = tuple(Value(v.shape, v.dtype, v.name) for v in inner.outs())
        outer = with_turns(inner.substitute(outside), lambda number, _: moved(number, -1))
        before.append(replace(outer, out=outs if isinstance(inner.out, tuple) else outs[0]))
        outside.update(zip(inner.outs(), outs, strict=True))
    used = {v for inner in inside for v in inner.operands()} | results
    fixed_inputs = [v for v in outside if v in used]
    body = replace(body, inputs=(*body.inputs[:n], *fixed_inputs), steps=tuple(inside))
    args = (*step.args[:n], *(outside[v] for v in fixed_inputs))
    return [*before, replace(step, function=replace(loop, body=body), args=args)]
