"""Programs that can be called.

Owns: making a program from a traced function, and calling it once: its inputs, its
results, and the state it leaves.
Must not own: which program a call needs (`compiled.py`), or the quick way to it
(`dispatch.py`).
Read next: `dispatch.py`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from microgradnd.anew import Anew
from microgradnd.compiler.arguments import Arguments, value_of
from microgradnd.compiler.blocks import blocks
from microgradnd.compiler.bodies import hoisted, in_bodies
from microgradnd.compiler.buffers import plan
from microgradnd.compiler.carrying import assigned_in_place
from microgradnd.compiler.fast import fast
from microgradnd.compiler.formulas import formulated
from microgradnd.compiler.joining import joined
from microgradnd.compiler.machine import Loops, loops_of, race
from microgradnd.compiler.matrices import share_factors
from microgradnd.compiler.opened import instance, opened, samples
from microgradnd.compiler.ownership import own_results
from microgradnd.compiler.passes import drop_dead, optimized, share_equal
from microgradnd.compiler.program import Program
from microgradnd.compiler.recorder import Buffer, Gradient
from microgradnd.compiler.rolling import rolled
from microgradnd.compiler.saving import Written
from microgradnd.compiler.scalars import on_numbers
from microgradnd.compiler.sizes import Sizes
from microgradnd.compiler.source import Names, loaded, readable
from microgradnd.compiler.spelling import LAST, OF_LOOPS, spell
from microgradnd.compiler.trace import Traced
from microgradnd.compiler.translation import in_turns
from microgradnd.suspended import resolved
from microgradnd.tape import Leaf, current
from microgradnd.tensor import Tensor


class Entry(NamedTuple):
    """One program.

    Attributes
    ----------
    traced : Traced
    mode
        How calls were recorded during the trace.
    program : Program
        In the form in which it is printed.
    function : callable
        Takes the arrays of the inputs.
    updated : list of int
        The numbers of the inputs that it writes to.
    written : Written
        Its NumPy form, to be saved.
    source, report : str
    seconds : float
        The time spent on compiling loops.
    sizes : Sizes or None
        The lengths that it leaves open, if any.
    """

    traced: Traced
    mode: Any
    program: Program
    function: Callable[..., Any]
    updated: list[int]
    written: Written
    source: str
    report: str
    seconds: float
    sizes: Sizes | None

    def captured(self) -> list[Any]:
        """Return the arrays of the surrounding program as they are now."""
        return [x if isinstance(x, np.ndarray) else x.data for x in self.traced.captured]

    def left(self) -> list[tuple[bool, str | None]]:
        """Return whether each array that a call leaves is a gradient, and its name.

        It has one if the next call reads it.
        """
        names = [name for _, name in self.written.inputs[len(self.traced.inputs) :]]
        captured = zip(self.traced.captured, names, strict=True)
        read: dict[Any, str] = {thing.place: name for thing, name in captured if isinstance(thing, Gradient | Buffer)}
        left = [thing for thing, is_array in self.traced.left if is_array]
        return [(not isinstance(thing, Buffer), read.get(getattr(thing, "place", None))) for thing in left]

    def can_repeat(self) -> bool:
        """Return whether a call may follow one that has failed: nothing has changed."""
        draws = any(type(step.function) is Anew for step in self.traced.program.steps)
        return not (draws or self.updated)

    def fits(self, arguments: Arguments) -> bool:
        """Return whether it was written for such arguments and serves their shapes."""
        served = arguments.shapes == self.traced.shapes if self.sizes is None else self.sizes.serves(arguments.shapes)
        return served and self.is_for(arguments)

    def is_for(self, arguments: Arguments) -> bool:
        """Return whether it was written for such arguments, apart from their shapes."""
        if any(arguments.leaves[i] is not value for i, value in self.traced.fixed.items()):
            return False
        nodes = {x for x in self.traced.captured if type(x) is Leaf}
        tensors = (arguments.leaves[i] for i in self.traced.inputs if i not in self.traced.fixed)
        return not any(isinstance(x, Tensor) and x._node in nodes for x in tensors)

    def changes(self) -> list[str]:
        """Return the names of the captures that have changed since the trace."""
        forms = [f"the settings of {type(x).__name__}" for x, form in self.traced.depends if x.__form__() != form]
        return self.traced.surroundings.changes() + forms + self.reshaped()

    def reshaped(self) -> list[str]:
        """Return the names of captured variables with a new shape or dtype."""
        values = self.traced.program.inputs[len(self.traced.inputs) :]
        return [
            value.name or "a variable"
            for value, x in zip(values, self.captured(), strict=True)
            if x is not None and (np.shape(x), x.dtype) != (value.shape, value.dtype)
        ]


def printed(program: Program, name: str, optimize: bool, is_open: bool = False) -> tuple[Program, Written]:
    """Return a program, rewritten for printing, and its text.

    Where lengths are open, arrays aren't joined: nobody knows how large a vector gets.
    """
    names = Names(name)
    inputs = [(value, names.value(value, "x")) for value in program.inputs]
    if optimize:
        program = drop_dead(on_numbers(program))
        program = in_bodies(lambda body, _: formulated(body, True), program)
        program = in_bodies(lambda body, own: share_factors(drop_dead(share_equal(spell(body, None, own)))), program)
        # Last: until then, equal results are one value
        program = own_results(program) if is_open else own_results(*joined(program))
        program = in_bodies(lambda body, own: drop_dead(spell(body, LAST, own)), program)
        program = in_bodies(lambda body, own: assigned_in_place(blocks(body), own), program)
        text = fast(program, name, names, plan(program))
    else:
        program = in_bodies(lambda body, own: drop_dead(spell(body, LAST, own)) if own else body, program)
        program = own_results(program)
        text = readable(program, name, names)
    return program, Written(name, inputs, names.constants, names.helper_texts(), text)


def entry_of(
    traced: Traced, name: str, optimize: bool, backend: str, arguments: Arguments, opening: bool, before: Entry | None
) -> Entry:
    """Return the program of a traced function, printed and loaded.

    If `opening` is true and some lengths are open, it serves all of these. `before` is
    the program of the same trace for its own lengths, if there is one.
    """
    own = functools.partial(entry_of, name=name, optimize=optimize, backend=backend, arguments=arguments, opening=False)
    sizes = traced.sizes if opening and traced.general is not None and traced.sizes and traced.sizes.open else None
    straight = straightened(traced.program) if before is None or backend != "numpy" else traced.program
    program, written = (before.program, before.written) if before is not None else printed(straight, name, optimize)
    if sizes is not None:
        found = for_all(traced, name, optimize, written)
        if found is None:
            return own(for_one(traced, arguments), before=None)
        program, written = found
    numbers = {value: i for i, value in enumerate(program.inputs)}
    source = written.source()
    entry = Entry(
        traced=traced,
        mode=resolved(current()),
        program=program,
        function=loaded(source, name, written.constants),
        updated=[numbers[value] for value in program.updates],
        written=written,
        source=source,
        report=f"{name}: every step is a NumPy call",
        seconds=0.0,
        sizes=sizes,
    )
    if backend != "numpy":
        looped = with_loops(entry, straight, name, backend, arguments)
        if looped is None:
            return own(for_one(traced, arguments), before=None)
        entry = looped
    return entry if traced.sizes is None else entry._replace(report=f"{entry.report}\n{traced.sizes.report()}")


def for_all(traced: Any, name: str, optimize: bool, written: Written) -> tuple[Program, Written] | None:
    """Return the program for all lengths, None if no two sets have equal programs.

    `written` is the program for the traced call's lengths.
    """
    for lengths in itertools.pairwise(samples(traced.sizes)):
        before = written
        program, written = printed(straightened(instance(traced.general, lengths[1], True)), name, optimize, True)
        if whole := opened(traced, lengths, [before, written]):
            return program, whole[0]
    return None


def for_one(traced: Traced, arguments: Arguments) -> Traced:
    """Return a traced function with a program for the lengths of a call alone."""
    sizes: Any = traced.sizes
    general: Any = traced.general
    program = instance(general, sizes.bound(arguments.shapes))
    sizes.pin(*sizes.symbols())
    return traced._replace(program=program, shapes=arguments.shapes)


def straightened(traced: Program) -> Program:
    """Return the best program for a trace.

    Rolling up comes first, as the rest takes long for many steps, and last, as some
    turns are equal only in the rewritten program.
    """
    program = in_bodies(lambda body, _: optimized(body), rolled(in_turns(traced)))
    return hoisted(rolled(program))


def with_loops(entry: Entry, straight: Program, name: str, backend: str, arguments: Arguments) -> Entry | None:
    """Return a program that runs loops instead of NumPy calls.

    With `backend="auto"`, only if they are faster on these arrays. None if the loops
    serve only one length.
    """
    traced = entry.traced
    try:
        loops = loops_of([of_loops(straight)], name) if entry.sizes is None else for_all_in_loops(traced, name)
    except ImportError as error:
        if backend != "auto":
            raise
        return entry._replace(report=f"{entry.report}; {error}")
    except KeyboardInterrupt:
        return entry._replace(report=f"{entry.report}: compiling loops was interrupted")
    if loops is None:
        return None
    if backend == "auto" and any(type(step.function) is Anew for step in traced.program.steps):
        return entry._replace(report=f"{entry.report}; it draws, so it wasn't timed")
    report = loops.report
    if backend == "auto":
        arrays = [*(value_of(arguments.leaves[i]) for i in traced.inputs), *entry.captured()]
        takes_numpy, takes_loops = race((entry.function, loops.function), arrays)
        measured = f"loops take {takes_loops:.3g} us, NumPy {takes_numpy:.3g} us"
        if takes_numpy <= takes_loops:
            return entry._replace(report=f"{entry.report}: {measured}")
        report = f"{measured}: loops\n{report}"
    return entry._replace(
        program=loops.program,
        function=loops.function,
        source=loops.source,
        report=report,
        seconds=loops.seconds,
    )


def for_all_in_loops(traced: Any, name: str) -> Loops | None:
    """Return the loops that serve all lengths, None if no two sets have equal ones."""
    found = samples(traced.sizes)
    programs = (of_loops(straightened(instance(traced.general, lengths, True))) for lengths in found)
    for lengths, forms in zip(itertools.pairwise(found), itertools.pairwise(programs), strict=True):
        if loops := loops_of(forms, name, functools.partial(opened, traced, lengths)):
            return loops
    return None


def of_loops(straight: Program) -> Program:
    """Return a program, rewritten for loops."""
    program = own_results(in_bodies(lambda body, _: share_equal(formulated(body)), drop_dead(on_numbers(straight))))
    return in_bodies(lambda body, _: share_factors(drop_dead(spell(body, OF_LOOPS))), program)
