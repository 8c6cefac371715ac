"""Whose the results are: the caller's.

Owns: which results are copied, because they would share memory with something else;
which arrays lie below results; the check that what a program updates shares memory with
nothing else.
Must not own: the plan of the buffers (`buffers.py`), which no result is in.
Read next: `buffers.py`.

What a call returns must not change by the next call, nor by a change to an argument,
and the caller may write to it. So a result is copied if it is an input, a view of one,
a constant, or a view that NumPy locks, as it does those that repeat elements. Results
of one call may be views of one another, as they are in the function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.buffers import may_share
from microgradnd.compiler.program import Constant, Program, Step, Value, mapped
from microgradnd.compiler.traits import traits

WORK: Any = 10_000  # how hard to look for an overlap of interleaved views before one is assumed


def own_results(program: Program) -> Program:
    """Return a program that copies the results that would share memory with anything
    outside, or within themselves.
    """
    borrowed: set[Value] = set(program.inputs)
    for step in program.steps:
        first = step.args[0] if step.args else None
        outside = any(v in borrowed for v in step.operands()) or isinstance(first, np.ndarray | Constant)
        outside = outside or is_foreign(step.function)  # which may keep what it returns
        if traits(step.function).memory == "locked" or (outside and may_share(step)):
            borrowed.update(step.outs())
    copies: list[Step] = []
    handed: set[Value] = set()

    def owned(result: Any) -> Any:
        """Return a result, or a copy of a borrowed one, or of one that is another
        result as well.
        """
        if not isinstance(result, Value | np.ndarray | Constant):
            return result
        if isinstance(result, Value) and result not in borrowed and result not in handed:
            handed.add(result)
            return result
        copy = Value(result.shape, result.dtype, getattr(result, "name", None))
        copies.append(Step(np.copy, (result,), {}, copy))
        if result.shape:
            return copy
        number = Value((), result.dtype)  # a number, as every other result without axes is
        copies.append(Step(primitives.getitem, (copy, ()), {}, number))
        return number

    outputs = mapped(owned, program.outputs)
    return replace(program, steps=(*program.steps, *copies), outputs=outputs)


def lenders(values: Iterable[Value], base: Mapping[Value, Value], calls: Sequence[Step]) -> set[Value]:
    """Return the arrays in whose memory values may lie, if NumPy has taken some steps,
    which may give views.
    """
    found = {base[value] for value in values}
    for step in reversed(calls):
        if not found.isdisjoint(step.outs()) and may_share(step):
            found.update(base[value] for value in step.operands())
    return found


def is_foreign(function: Any) -> bool:
    """Return whether a function is neither NumPy's nor ours."""
    return str(getattr(function, "__module__", "")).partition(".")[0] not in ("numpy", "microgradnd")


def check_apart(names: Sequence[str], arrays: Sequence[Any], updated: Iterable[int]) -> None:
    """Raise if an array that a program updates shares memory with another that it is
    given.
    """
    for i in updated:
        for j, other in enumerate(arrays):
            if i != j and isinstance(other, np.ndarray) and np.may_share_memory(arrays[i], other, WORK):
                raise ValueError(
                    f"a compiled function that updates {names[i]!r} in place was given an array for it that shares "
                    f"memory with {names[j]!r}, so that the update would change that too; pass a copy of one of them"
                )
