"""Results belong to the caller: they share memory with nothing else.

Owns: which results are copied because they would share memory; which arrays own the
memory of results; the check that an array that a program updates shares memory with
nothing else.
Must not own: the plan of the buffers (`buffers.py`), which never hold a result.
Read next: `buffers.py`.

The next call, or a change to an argument, must not change a call's results, and the
caller may write to them. So a result is copied if it is an input, a view of an input, a
constant, a view of another result, or a view that NumPy locks, such as one that repeats
elements. The parts of a joined vector (`joining.py`) have no element in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from microgradnd import primitives
from microgradnd.compiler.buffers import may_share
from microgradnd.compiler.program import Constant, Program, Step, Value, mapped
from microgradnd.compiler.traits import traits
from microgradnd.compiler.weak import NUMBERS

WORK: Any = 10_000  # the effort spent on interleaved views before an overlap is assumed


def own_results(program: Program, parts: Set[Value] = frozenset()) -> Program:
    """Copy results that would share memory with anything else, or one another.

    New values of inputs are copied too if they are views of other inputs that get new
    values, as when two inputs are exchanged. `parts` are views that never overlap.
    """
    borrowed: set[Value] = set(program.inputs)
    lent: dict[Value, set[Value]] = {}  # the values that a value may be a view of
    for step in program.steps:
        first = step.args[0] if step.args else None
        outside = any(v in borrowed for v in step.operands()) or isinstance(first, np.ndarray | Constant)
        outside = outside or is_foreign(step.function)  # it may keep its result
        if traits(step.function).memory == "locked" or (outside and may_share(step)):
            borrowed.update(step.outs())
        if may_share(step) and step.out not in parts:
            lent |= dict.fromkeys(step.outs(), set().union(*(lent.get(v, {v}) for v in step.operands())))
    numbers = {step.out for step in program.steps if step.function in NUMBERS}  # Python numbers own no memory
    copies: list[Step] = []
    handed: set[Value] = set()

    def copied(value: Any) -> Value:
        copy = Value(value.shape, value.dtype, getattr(value, "name", None))
        copies.append(Step(np.copy, (value,), {}, copy))
        return copy

    def owned(result: Any) -> Any:
        """Return a result, or a copy if it is borrowed or shares its memory."""
        if not isinstance(result, Value | np.ndarray | Constant) or (isinstance(result, Value) and result in numbers):
            return result
        if isinstance(result, Value) and result not in borrowed and handed.isdisjoint(lent.get(result, {result})):
            handed.update(lent.get(result, {result}))
            return result
        copy = copied(result)
        if result.shape or result.dtype.hasobject:
            return copy
        number = Value((), result.dtype)  # a number, like every other result without axes
        copies.append(Step(primitives.getitem, (copy, ()), {}, number))
        return number

    olds = program.updates.keys()
    updates = {old: copied(new) if lent.get(new, {new}) & olds - {old} else new for old, new in program.updates.items()}
    outputs = mapped(owned, program.outputs)
    return replace(program, steps=(*program.steps, *copies), outputs=outputs, updates=updates)


def lenders(values: Iterable[Value], base: Mapping[Value, Value], calls: Sequence[Step]) -> set[Value]:
    """Return the arrays that may own the memory of values; NumPy may return views."""
    found = {base[value] for value in values}
    for step in reversed(calls):
        if not found.isdisjoint(step.outs()) and may_share(step):
            found.update(base[value] for value in step.operands())
    return found


def is_foreign(function: Any) -> bool:
    """Return whether a function is neither NumPy's nor ours."""
    if isinstance(function, np.ufunc):  # those of NumPy 2.0 name no module
        return getattr(np, function.__name__, None) is not function
    return str(getattr(function, "__module__", "")).partition(".")[0] not in ("numpy", "microgradnd")


def check_apart(names: Sequence[str], arrays: Sequence[Any], updated: Sequence[int]) -> None:
    """Raise if an array that a program updates shares memory with another argument."""
    spans = [(*byte_bounds(x), i) for i, x in enumerate(arrays) if isinstance(x, np.ndarray)]
    before: list[tuple[int, int]] = []  # where the arrays end in whose spans the latest one begins
    for low, high, i in sorted(spans):
        before = [(end, j) for end, j in before if end > low]
        for _, j in before:
            first, second = sorted((i, j), key=lambda number: (number not in updated, number))
            if first in updated and np.may_share_memory(arrays[i], arrays[j], WORK):
                raise ValueError(
                    f"a compiled function updates {names[first]!r} in place, but the array passed for it shares "
                    f"memory with {names[second]!r}, so the update would change both; pass a copy of one of them"
                )
        before.append((high, i))
