"""Steps over large arrays, run block by block.

Owns: which steps form a chain, along which axis of each value it takes rows, and how
many rows are a block.
Must not own: where the values live (`buffers.py`), or how the loop is written
(`fast.py`).
Read next: `buffers.py`.

A step over an array that doesn't fit into the processor's cache takes as long as
reading and writing memory. A chain of steps over a few rows at a time reads and writes
memory once, and the values in between never leave the cache. Elementwise steps give the
same result to the last bit. Where an array has thousands of rows, products of rows with
a small matrix join the chain, and so do sums over the rows, added block by block: a
whole training step reads its data once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from microgradnd.compiler.program import Constant, Program, Step, Value, fills
from microgradnd.compiler.traits import traits

LARGE = 2**17  # elements from which an array is taken in blocks
BLOCK = 2**16  # bytes of an array that a block takes at a time
TALL = 2**13  # rows from which products and sums join a chain
SMALL = 2**14  # largest size of a matrix that rows are multiplied with, and of a sum over rows
CACHE = 2**21  # bytes of all arrays in a block with products, as if each had its own memory
SUM = -1  # instead of an axis: a value that is summed over the blocks


@dataclass(frozen=True, eq=False)
class Chain:
    """Steps that run together, block by block.

    Attributes
    ----------
    program : Program
        From the operands to the values that other steps use.
    axes : mapping of Value to int
        The axis along which a block takes rows of an operand or of a computed
        value; SUM for a sum over all blocks. Operands that every block takes whole
        have none.
    count, rows : int
        The number of rows, and the number of rows in a block.
    """

    program: Program
    axes: Mapping[Value, int]
    count: int
    rows: int

    @functools.cached_property
    def views(self) -> dict[Value, Step]:
        """The transposes that each block makes, by value."""
        return {out: step for step in self.program.steps if is_view(step) for out in step.outs()}

    def last_use(self, value: Value) -> int:
        """Return the number of the last step that reads a value or its view, or -1."""
        seen = {value, *(out for out, step in self.views.items() if value in step.operands())}
        return max((i for i, s in enumerate(self.program.steps) if not seen.isdisjoint(s.operands())), default=-1)

    def index(self, out: Value) -> int:
        """Return the number of the step that computes a value."""
        return next(i for i, step in enumerate(self.program.steps) if step.out is out)

    def may_cover(self, new: Value, old: Value) -> bool:
        """Return whether blocks of a value may overwrite an otherwise unread one."""
        i, last = self.index(new), self.last_use(old)
        if self.axes[new] != 0 or (last >= 0 and self.axes.get(old) != 0):
            return False
        return last < i or (last == i and traits(self.program.steps[i].function).is_elementwise)


class Group:
    """Steps collected for a chain while the program is traversed.

    Attributes
    ----------
    steps : list of Step
    axes : dict of Value to int or None
        As in a chain; None for operands that are taken whole.
    later : list of Step
        Steps that need one of these, but can't be taken row by row; they come after
        the chain.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.axes: dict[Value, int | None] = {}
        self.later: list[Step] = []
        self.made: set[Value] = set()
        self.made_later: dict[Value, Step] = {}
        self.used: dict[Value, int] = {}  # how often the steps of the group use a value
        self.count = 0

    def needs(self, step: Step) -> bool:
        """Return whether a step uses a value that this group computes."""
        return any(v in self.made or v in self.made_later for v in step.operands())

    def take(self, step: Step) -> bool:
        """Take a step into the group if it goes row by row like the others."""
        views = {v: self.made_later[v] for v in step.operands() if v in self.made_later}
        if not all(is_view(view) and view.args[0] in self.made for view in views.values()):
            return False
        mine = {v: Value(v.shape, v.dtype, v.name) for v in views}  # the view may be needed after the chain too
        count = self.count or step.out.shape[0]
        turned = {mine[v]: 1 - (self.axes[view.args[0]] or 0) for v, view in views.items()}
        taken = step.substitute(mine)
        found = axes_of(taken, count, {**self.axes, **turned})
        if found is None:
            return False
        self.note(step)
        self.steps += [replace(view, out=mine[v]) for v, view in views.items()] + [taken]
        self.made.update(out for s in self.steps for out in s.outs())
        self.axes |= {**turned, **found}
        self.count = count
        return True

    def postpone(self, step: Step) -> None:
        """Put a step off until after the chain."""
        self.later.append(step)
        self.made_later.update((out, step) for out in step.outs())

    def note(self, step: Step) -> None:
        """Count a step's uses of values inside the group."""
        for value in step.operands():
            self.used[value] = self.used.get(value, 0) + 1

    def closed(self, uses: Mapping[Value, int]) -> list[Step]:
        """Return the steps, as a chain if that is faster."""
        for view in [step for step in self.later if is_view(step) and self.used.get(step.out) == uses[step.out]]:
            self.later.remove(view)  # each block makes its own
            self.note(view)
        gains = len(self.steps) > 1 or any(is_slow(step) for step in self.steps)
        gains = gains and any(traits(step.function).is_elementwise for step in self.steps)
        return [*([self.chain(uses)] if gains else self.steps), *self.later]

    def chain(self, uses: Mapping[Value, int]) -> Step:
        """Return one step for all of them."""
        inputs = dict.fromkeys(v for step in self.steps for v in step.operands() if v not in self.made)
        made = [out for step in self.steps if not is_view(step) for out in step.outs()]
        outputs = tuple(out for out in made if uses.get(out, 0) > self.used.get(out, 0))
        axes = {value: axis for value, axis in self.axes.items() if axis is not None}
        chain = Chain(Program(tuple(inputs), tuple(self.steps), outputs), axes, self.count, self.rows(axes))
        return Step(chain, tuple(inputs), {}, outputs, self.steps[-1].where)

    def rows(self, axes: Mapping[Value, int]) -> int:
        """Return the rows of a block, a nearby divisor of the number of rows if any."""
        widths = [v.size // self.count * v.dtype.itemsize for v, axis in axes.items() if axis != SUM]
        plain = all(traits(step.function).is_elementwise for step in self.steps)
        wanted = max(1, BLOCK // max(widths) if plain else min(CACHE // sum(widths), BLOCK // max(widths) * 4))
        wanted = min(wanted, self.count)
        return next((n for n in range(wanted, wanted // 2, -1) if self.count % n == 0), wanted)


def blocks(program: Program) -> Program:
    """Form chains of steps over large arrays, as far as other steps let them."""
    uses = program.uses()
    steps: list[Step] = []
    group = Group()
    for step in program.steps:
        if (group.steps or starts(step)) and group.take(step):
            continue
        if starts(step):
            steps += group.closed(uses)
            group = Group()
            if group.take(step):
                continue
        if group.needs(step):
            group.postpone(step)
        else:
            steps.append(step)  # it comes before the chain, as it needs nothing from it
    return replace(program, steps=(*steps, *group.closed(uses)))


def starts(step: Step) -> bool:
    """Return whether a step is worth a chain."""
    out = step.out
    if not isinstance(out, Value) or out.size < LARGE or out.shape[0] < 2:
        return False
    return traits(step.function).is_elementwise or (step.function is np.dot and out.shape[0] >= TALL)


def axes_of(step: Step, count: int, known: Mapping[Value, int | None]) -> dict[Value, int | None] | None:
    """Return the axes along which a step takes rows of its values, or None."""
    out, function = step.out, step.function
    if not isinstance(out, Value):
        return None
    if traits(function).is_elementwise and not step.kwargs:
        wanted = elementwise(step.args, out, count)
    elif count < TALL:
        return None
    elif function is np.dot and not step.kwargs:
        wanted = product(step.args, out, count, known)
    elif function is np.vdot and not step.kwargs and all(is_tall(a, count) for a in step.args):
        wanted = [0, 0, SUM]
    elif function is np.add.reduce and step.kwargs == {"axis": None} and is_tall(step.args[0], count):
        wanted = [0, SUM]
    else:
        return None
    if wanted is None:
        return None
    found: dict[Value, int | None] = {}
    for value, axis in zip((*step.args, out), wanted, strict=True):
        if isinstance(value, Value) and {**known, **found}.setdefault(value, axis) != axis:
            return None  # another step takes it differently, or it is an incomplete sum
        if isinstance(value, Value):
            found[value] = axis
    return found


def elementwise(args: Any, out: Value, count: int) -> list[int | None] | None:
    """Return the axes for an elementwise step; at least one operand has all rows."""
    width = math.prod(out.shape[1:])
    if out.shape[:1] != (count,) or (out.size < LARGE and count < TALL) or width * out.dtype.itemsize > 4 * BLOCK:
        return None
    ranks = [len(getattr(arg, "shape", ())) for arg in args]
    full = [rank == len(out.shape) and arg.shape[0] == count for rank, arg in zip(ranks, args, strict=True)]
    if not any(isinstance(arg, Value) and arg.shape == out.shape for arg in args):
        return None
    if any(
        is_full and not isinstance(arg, Value) and not is_filled(arg) for is_full, arg in zip(full, args, strict=True)
    ):
        return None
    return [*(0 if is_full else None for is_full in full), 0]


def product(args: Any, out: Value, count: int, known: Mapping[Value, int | None]) -> list[int | None] | None:
    """Return the axes for a product of rows with a matrix, or for a sum over rows."""
    a, b = args
    if not all(isinstance(x, Value | Constant) and x.shape for x in args):
        return None
    inside = [isinstance(x, Value) and known.get(x) is not None for x in args]
    if a.shape[-1] == count == b.shape[0] and any(inside) and out.size <= SMALL:
        return [len(a.shape) - 1, 0, SUM] if is_filled(a) or isinstance(a, Value) else None
    small = isinstance(b, Constant | Value) and math.prod(b.shape) <= SMALL
    if a.shape[0] == count == out.shape[0] and len(a.shape) == 2 and small and isinstance(a, Value):
        return [0, None, 0]
    return None


def is_tall(x: Any, count: int) -> bool:
    """Return whether an operand has all rows along its first axis."""
    return isinstance(x, Value) and x.shape[:1] == (count,)


def is_filled(x: Any) -> bool:
    """Return whether an operand is full of a number, so that all rows are equal."""
    return isinstance(x, Constant) and x.text.startswith(("np.zeros(", "np.ones(", "np.full("))


def is_view(step: Step) -> bool:
    """Return whether a step transposes a matrix, which each block does again."""
    return step.function is np.transpose and len(step.args) == 1 and not step.kwargs and len(step.args[0].shape) == 2


def is_slow(step: Step) -> bool:
    """Return whether a maximum with a number gains by blocks (see `spelling.py`)."""
    dtype = step.out.dtype
    return traits(step.function).spelling == "bound" and any(fills(a, dtype) for a in step.args)
