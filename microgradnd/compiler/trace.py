"""Tracing: one call of a function, from which a program is written.

Owns: the call itself, and everything that records, watches and restores around it; its
result, and what it left on variables.
Must not own: what is recorded or refused (`recorder.py`), what is watched (`watch.py`),
or the translation of the tape into a program (`translation.py`).
Read next: `translation.py`.

A derivative rule is NumPy on Tensors, so the backward pass is on the tape like all
other code. The function is called with its own arguments: a variable is the same
whether it is passed or captured. Only arrays and floats are replaced, by Tensors that
stand for all values of their shape and dtype.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import threading
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np

from microgradnd.compiler import outside
from microgradnd.compiler.arguments import Arguments, value_of
from microgradnd.compiler.bytecode import lines_of
from microgradnd.compiler.draws import drawn
from microgradnd.compiler.natives import is_changeable
from microgradnd.compiler.opened import instance
from microgradnd.compiler.places import PLAIN, Surroundings
from microgradnd.compiler.program import Constant, Program, Value, mapped
from microgradnd.compiler.recorder import (
    Buffer,
    Gradient,
    Recorder,
    TraceError,
    gradients_observed,
    names_stand_in,
    replaced,
)
from microgradnd.compiler.scanning import UnscannedError
from microgradnd.compiler.sizes import Closed, Size, Sizes
from microgradnd.compiler.traced import NUMPYS_FULL, UNKNOWN, full
from microgradnd.compiler.translation import Translation, key_of
from microgradnd.compiler.watch import Watch
from microgradnd.compiler.weak import NUMBERS, TracedNumber, number
from microgradnd.tape import POSITION, Leaf, Path, current
from microgradnd.tensor import Tensor, tensor, wrap
from microgradnd.trees import Form, flatten, is_module

Places = dict[str, list[tuple[int, int]]]  # for each symbol, the leaves of the arguments and the axes with its length
COMPARING = {"IS_OP", "id", "is_", "is_not"}
TYPES = {"LOAD_GLOBAL type"}


class Traced(NamedTuple):
    """A program, and everything that is needed to call it.

    Attributes
    ----------
    program : Program
        Its inputs are leaves of the arguments, then captures. Its outputs are the
        function's; if the function leaves values behind, they are a pair of these
        and a tuple of those values.
    inputs : list of int
        The numbers of the leaves of the arguments that it gets.
    captured : list
        Its other inputs: objects whose `.data` is an array, and arrays.
    left : list of (Gradient or Buffer or int, bool)
        The places for the last outputs; a number is the gradient of that leaf of
        the arguments. The flag says whether an array is left there, or None.
    form : Form or None
        Rebuilds the function's result from the outputs, where source can't.
    surroundings : Surroundings
    depends : list of (object, form)
        Objects outside, and what their `__form__` must return.
    fixed : dict of int to Tensor
        Leaves of the arguments that must be these Tensors.
    sources : list of (Node or int)
        The variables that a derivative of the results reaches; a number is a leaf
        of the arguments.
    differentiable : list of bool
        Which leaves of the result depend on them.
    shapes : tuple
        The shapes of the arguments.
    sizes : Sizes or None
        The lengths that were left open.
    general : Program or None
        The program for all values of these lengths.
    compares : bool
        Whether the function can tell if two arguments are the same array.
    """

    program: Program
    inputs: list[int]
    captured: list[Any]
    left: list[tuple[Any, bool]]
    form: Form | None
    surroundings: Surroundings
    depends: list[tuple[Any, Any]]
    fixed: dict[int, Tensor]
    sources: list[Any]
    differentiable: list[bool]
    shapes: tuple[Any, ...]
    sizes: Sizes | None
    general: Program | None
    compares: bool


class Recording:
    """The effects of one call of a function.

    Attributes
    ----------
    arguments, names
        The arguments of the call, and names for its leaves.
    inputs : dict of int to Tensor
        The stand-ins for the leaves of the arguments that the program gets.
    leaves, form
        Of the function's result.
    updated : list of (Leaf, node, array)
        The variables that were assigned to, and their last values.
    left : list of (Gradient or Buffer, value)
        What else was left behind: a Tensor or None.
    """

    def __init__(self, arguments: Arguments, names: Sequence[str], watch: Watch) -> None:
        self.arguments, self.names, self.recorder, self.watch = arguments, names, watch.recorder, watch
        self.inputs: dict[int, Tensor] = {}
        self.updated: list[tuple[Leaf, Any, Any]] = []
        self.left: list[tuple[Any, Any]] = []

    def visit(self, function: Callable[..., Any]) -> None:
        """Watch what the function can reach."""
        self.watch.visit(getattr(function, "__name__", "function"), function)
        for i, thing in self.arguments.objects():
            self.watch.visit(self.names[i], thing)
        for container in [step[1] for step in self.arguments.form.steps if step is not None]:
            self.watch.visit(container.__name__, container)  # the function gets a copy of it

    def stand_ins(self) -> dict[int, Tensor]:
        """Return what the function gets for the leaves that are inputs."""
        leaves, recorder = self.arguments.leaves, self.recorder
        inputs = {i: stand_in(leaves[i], self.names[i]) for i in self.arguments.inputs}
        recorder.given = {t._node: type(leaves[i]) for i, t in inputs.items() if not isinstance(leaves[i], Tensor)}
        if recorder.sizes is not None:
            for i, t in inputs.items():
                recorder.sizes.given(t._node, i, t._array)
        return inputs

    def call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """Call the function, and note its result."""
        recorder, watch = self.recorder, self.watch
        record = recorder.record_constant if current().record is None else recorder.record
        try:
            with recorder.active(record):
                with (
                    watch.draws.noticing_entropy(),
                    outside.noticed(watch),
                    gradients_observed(recorder),
                    threads_refused(recorder),
                    replaced(recorder, "watch", watch),
                    replaced(np, "full", full if np.full is NUMPYS_FULL else np.full),
                    contextlib.nullcontext() if recorder.sizes is None else recorder.sizes.observed(),
                ):
                    leaves, returned = flatten(function(*args, **kwargs), is_known(watch))
                    recorder.refuse_changes([array for array, *_ in recorder.used.values()])
                self.form = with_variables(returned, leaves, recorder.is_new_variable)
                self.leaves = [as_it_is(x) for x in leaves]
                del leaves
                recorder.refuse_views(is_over=True)
                recorder.fold(x._node for x in self.leaves if isinstance(x, Tensor))
                if refused := recorder.refused or recorder.caught:
                    raise refused  # the function has caught this
        except Exception as error:
            if recorder.has_scanned:
                raise UnscannedError from error
            if isinstance(error.__cause__, TraceError):  # NumPy wraps one in an assignment to a part of an array
                recorder.refused = error.__cause__
            if recorder.refused is not None and recorder.refused is not error:
                raise recorder.refused from None
            if names_stand_in(error):
                raise recorder.not_taken(error) from error
            raise
        finally:
            refused = None  # or it would hold this frame

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put back what the function sets, and note what each call must set."""
        recorder = self.recorder
        try:
            yield
            given = recorder.given
            self.updated += [
                (before, variable._node, variable._array)
                for variable, before, _ in recorder.assigned.values()
                if isinstance(before, Leaf)
                if recorder.is_outer(before) or issubclass(given.get(before, float), np.ndarray)
                if variable._node is not before
            ]
            self.left += [(Gradient(leaf), as_it_is(g)) for leaf, g in recorder.gradients_left().items()]
        finally:
            try:
                left, self.wrong = self.watch.put_back()
                self.left += [(thing, as_it_is(value)) for thing, value in left]
            finally:
                recorder.restore()
                recorder.used.clear()
                recorder.refused = recorder.caught = None  # or they would hold frames

    def check(self, is_same: bool) -> None:
        """Raise if a program can't do what the function did around its operations.

        `is_same` says whether its arguments hold what they held before.
        """
        watch, sizes = self.watch, self.recorder.sizes
        if self.wrong is not None:
            raise self.wrong
        watch.check()
        for drawing in self.recorder.drawing:
            drawing.check_anew()
        if sizes is not None and (line := next((x for x, words in lines_of(watch.codes) if TYPES & words), None)):
            sizes.pin(*sizes.symbols(), where=line)
            raise Closed  # type() distinguishes an open length from an int
        if not is_same:
            raise TraceError(
                "a list, dict or object among the arguments was changed inside a compiled function, which gets "
                "a copy of it; return the new value, and change it outside"
            )


def call_recorded(
    function: Callable[..., Any],
    arguments: Arguments,
    sizes: Sizes | None = None,
    scans: bool = False,
    counters: Set[tuple[int, str]] = frozenset(),
) -> Recording:
    """Call a function once, and return the effects."""
    recording = Recording(arguments, arguments.names(function), Watch(Recorder(sizes, scans), counters))
    try:
        with recording.restored(), recording.watch.undo:
            recording.visit(function)
            recording.inputs = recording.stand_ins()
            args, kwargs = arguments.rebuilt(recording.inputs)
            shown, form = flatten((args, kwargs), is_module)
            recording.call(function, args, kwargs)
        now, form_now = flatten((args, kwargs), is_module)
        recording.check(form_now == form and all(new is old for new, old in zip(now, shown, strict=True)))
    except BaseException:
        recording.watch.undo_changes()
        raise
    return recording


def threads_refused(recorder: Recorder) -> AbstractContextManager[None]:
    """Refuse to start threads in a trace, which doesn't see what they do."""
    start = threading.Thread.start

    def refuse(thread: Any) -> None:
        if current().trace is recorder:
            raise recorder.refusal("a thread", "Start threads outside, and call the compiled function in each")
        start(thread)

    return replaced(threading.Thread, "start", refuse)


def as_it_is(value: Any) -> Any:
    """Return a Tensor with another's current value, which it keeps."""
    if type(value) is TracedNumber:
        return value  # nothing can change it
    return wrap(value._array, value._node) if isinstance(value, Tensor) else value


def stand_in(leaf: Any, name: str) -> Tensor:
    """Return the input for a trace: a Tensor itself, or a new one for an array."""
    if isinstance(leaf, Tensor):
        if leaf._node is None:
            leaf._node = Leaf(np.asarray(leaf._array), False)
            leaf._node.position = 0
        return leaf
    value = value_of(leaf)
    value = value.view() if type(value) is np.ndarray else value  # so that it isn't an array that is captured too
    make: Any = number if type(leaf) in NUMBERS else Recorder.traced
    return make(value, Leaf(value, False, name))


def is_known(watch: Watch) -> Callable[[Any], bool]:
    """Return whether part of a result is a module itself, not a tree of gradients."""
    return lambda thing: is_module(thing) and (id(thing) in watch.known or thing._role == "module")


def with_variables(form: Form, leaves: list[Any], is_new: Callable[[Any], bool]) -> Form:
    """Return a result's form that makes variables where the function has made them."""
    steps, rest = [], iter(leaves)
    for step in form.steps:
        steps.append(step)
        if step is None and is_new(leaf := next(rest)):
            steps.append((made_variable, Tensor, leaf.name, 1))
    return Form(steps)


def made_variable(cls: type, name: str | None, children: list[Any]) -> Tensor:
    return tensor(children[0], requires_grad=True, name=name)


def traced(function: Callable[..., Any], arguments: Arguments, places: Places | None = None) -> Traced:
    """Call a function, and return its program; refuse what a program can't do.

    `places` are the symbols of lengths to leave open, and the leaves and axes with
    these lengths.
    """
    sizes = Sizes(places, arguments.shapes, arguments.names(function)) if places else None
    if sizes is not None:
        try:
            return traced_for(function, arguments, sizes, scans=True)
        except Exception as error:  # some code can't handle a length that is no int, or has only one length
            if getattr(error, "has_happened", False):
                raise
            sizes.pin(*sizes.symbols())
            sizes.forget()
    try:
        found = traced_for(function, arguments, None, scans=True)
    except UnscannedError:
        found = traced_for(function, arguments, None)
    return found._replace(sizes=sizes)


def traced_for(function: Callable[..., Any], arguments: Arguments, sizes: Sizes | None, scans: bool = False) -> Traced:
    """Call a function as `traced` does, with open lengths or one turn of `scan`."""
    recording = recorded(function, arguments, sizes, scans)
    translation, program = translated(recording)
    if sizes is None:
        return finished(recording, translation, program)
    sizes.forget()
    found = finished(recording, translation, instance(program, sizes.hints))
    return found._replace(sizes=sizes, general=program)


def results_of(recording: Recording, translation: Translation) -> Any:
    """Return a program's outputs: what the function returned, and what it left."""
    known = recording.watch.known
    for leaf in recording.leaves:
        if isinstance(leaf, str) and UNKNOWN in leaf:
            raise TraceError(
                f"a compiled function returned the string {leaf!r}, with a value that only the program computes; "
                f"return the value, and format it outside"
            )
        parts = tuple(leaf.flat) if isinstance(leaf, np.ndarray) and leaf.dtype.hasobject else leaf
        if isinstance(parts, Tensor | np.ndarray | Size):  # a program returns no masks and no matrices
            kind = type(leaf)
            part = leaf if kind not in (np.ndarray, np.memmap) and kind.__module__.startswith("numpy") else None
        else:
            part = unsettled(parts, known)
        if part is not None:
            raise TraceError(
                f"a compiled function returned a {type(part).__name__}: it can return arrays, numbers, strings, None, "
                f"and tuples, lists, dicts, dataclasses and modules of these; return the arrays themselves"
            )
    for _, cls, rest, _ in filter(None, recording.form.steps):
        if (part := unsettled(rest, known)) is not None:
            raise TraceError(
                f"a compiled function returned a {cls.__name__} that holds a {type(part).__name__} as a key or an "
                f"attribute, which each call would share: only values of a dict and fields of a dataclass can be "
                f"computed; return it as one of these"
            )
    is_plain = is_plain_tree(recording.form)
    outputs: Any = [translation.result(leaf) for leaf in recording.leaves]
    outputs = recording.form.rebuild(outputs) if is_plain else tuple(outputs)
    left = tuple(translation.constant(value) for _, value in recording.left if value is not None)
    return (outputs, left) if left else outputs


def unsettled(thing: Any, known: Any) -> Any:
    """Return a part of something that calls can't share, or None."""
    if isinstance(thing, tuple | frozenset | slice):
        parts = (thing.start, thing.stop, thing.step) if isinstance(thing, slice) else thing
        return next((part for part in (unsettled(part, known) for part in parts) if part is not None), None)
    if id(thing) in known or isinstance(thing, enum.Enum | type):
        return None
    if isinstance(thing, PLAIN) and not getattr(thing, "__dict__", None):
        return None
    hashed: Any = type(thing).__hash__
    by_value = hashed not in (None, object.__hash__) and not is_changeable(type(thing))
    return None if by_value and not callable(thing) else thing  # such as a date


def finished(recording: Recording, translation: Translation, program: Program) -> Traced:
    """Return a program with all that a call needs, without the trace's values."""
    recorder, watch, arguments = recording.recorder, recording.watch, recording.arguments
    places = {t._node: i for i, t in recording.inputs.items() if isinstance(arguments.leaves[i], Tensor)}
    around: set[Any] = {tensor._node for tensor in watch.tensors}
    for leaf in recorder.read:
        if recorder.first(leaf) is leaf and leaf.position < recorder.start:
            watch.gradient(leaf)
            around.add(leaf)
    passed = {node: i for node, i in places.items() if node not in around}
    left = [
        (passed.get(thing.leaf, thing) if isinstance(thing, Gradient) else thing, value is not None)
        for thing, value in recording.left
    ]
    sources = sources_of(recording.leaves, recorder)
    stand_ins = (*recorder.stand_ins.values(), *(thing for thing, _ in recording.left))
    buffers = {thing.place for thing in stand_ins if isinstance(thing, Buffer)}
    return Traced(
        program=program,
        inputs=list(recording.inputs),
        captured=translation.captured,
        left=left,
        form=None if is_plain_tree(recording.form) else recording.form,
        surroundings=watch.surroundings(lambda array: key_of(array) in translation.values, recorder.masks, buffers),
        depends=[(thing, thing.__form__()) for thing in recorder.things.values()],
        fixed={i: arguments.leaves[i] for node, i in places.items() if node not in passed},
        sources=[places.get(node, node) for node in dict.fromkeys(node for found in sources for node in found)],
        differentiable=[bool(found) for found in sources],
        shapes=arguments.shapes,
        sizes=None,
        general=None,
        compares=any(COMPARING & words for _, words in lines_of(watch.codes)),
    )


def sources_of(results: Sequence[Any], recorder: Recorder) -> list[list[Any]]:
    """Return the outside variables that a derivative of each result would reach."""
    ends: list[Any] = [x._node if isinstance(x, Tensor) else None for x in results]
    path = Path(ends, (), recorder.start)
    outer = [node for node in path.outside if not isinstance(node, Leaf) or recorder.is_outer(recorder.first(node))]
    found = {node: 1 << i for i, node in enumerate(outer, 1)}  # a bit for each
    found |= {node: found.get(node, 0) | 1 for node in recorder.walked}  # backward() has freed the path to it
    for node in sorted(path.reached.difference(path.outside, [None]), key=POSITION) if outer else ():
        for parent in node.parents:
            found[node] = found.get(node, 0) | found.get(parent, 0)
    bits = (found.get(node, 0) for node in ends)
    return [[] if known & 1 else [node for node in outer if known & found[node]] for known in bits]


def is_plain_tree(form: Form) -> bool:
    """Return whether a result consists only of tuples, lists and dicts, for source."""
    return all(
        step is None or (step[1] in (tuple, list) or (step[1] is dict and all(type(k) in (str, int) for k in step[2])))
        for step in form.steps
    )


def recorded(function: Callable[..., Any], arguments: Arguments, sizes: Sizes | None, scans: bool) -> Recording:
    """Call a function, and again if it has changed something or may have drawn.

    Numbers in attributes that it has changed become variables, if they can be. Else
    what the first call changes may stay, as the contents of a cache, if the second
    changes nothing and gives the same program. Other numbers must be random.
    """
    call = functools.partial(call_recorded, function, arguments, sizes, scans)
    first, refused = counting(call)
    changed = first.watch.changed
    if not changed and not first.watch.draws.is_doubtful:
        return first
    refused = refused if changed and refused else drawn("", None)
    try:
        if changed and sizes is not None:
            raise Closed  # what stays must be a number
        again = call(first.watch.counters)
        if again.watch.changed or constants_in(again) != constants_in(first):
            again.watch.undo_changes()
            raise refused
    except Exception as error:
        first.watch.undo_changes()
        if isinstance(error, Closed | UnscannedError):
            raise
        raise refused from None
    return again


def counting(call: Callable[..., Recording]) -> tuple[Recording, TraceError | None]:
    """Return the effects of a call in which the numbers that it changes are variables.

    If the function does with them what it can't do with variables, return those of a
    call without variables, and an error.
    """
    first, counters = call(), set[tuple[int, str]]()
    while first.watch.changed:
        found, refused = first.watch.changed_numbers()
        if found <= counters:
            refused = refused or first.watch.changed[0][1]
        if refused is not None and not counters:
            return first, refused
        name = first.watch.changed[0][0].name
        first.watch.undo_changes()
        if refused is not None:
            return call(), refused
        counters |= found  # numbers that were equal may differ now
        try:
            first = call(counters)
        except (Closed, UnscannedError):
            raise
        except Exception as error:
            return call(), TraceError(
                f"the captured {name!r} was changed by a compiled function, which makes it a variable of the program, "
                f"but here it can't be one: {error}"
            )
    return first, None


def translated(recording: Recording) -> tuple[Translation, Program]:
    """Return the program of a call, and its translation."""
    sizes = recording.recorder.sizes
    with contextlib.nullcontext() if sizes is None else sizes.observed():
        translation = Translation(recording.recorder, recording.inputs, recording.names)
        translation.translate()
    return translation, translation.program(results_of(recording, translation), recording.updated)


def constants_in(recording: Recording) -> list[Any]:
    """Return a program's functions and numbers, for comparison with another's."""
    translation, program = translated(recording)
    count = len(recording.inputs)
    numbers: dict[Value, int] = {value: i for i, value in enumerate(program.inputs[:count])}
    captured = [thing if isinstance(thing, np.ndarray) else thing.data for thing in translation.captured]
    known = dict(zip(program.inputs[count:], captured, strict=True))  # the other call may have made such an array

    def shown(part: Any) -> Any:
        if isinstance(part, Value) and part not in known:
            return numbers.setdefault(part, len(numbers))
        part = known.get(part, part) if isinstance(part, Value) else part
        return np.asarray(part).tobytes() if isinstance(part, np.ndarray | Constant) else repr(part)

    calls = [(step.function, step.args, dict(step.kwargs), step.outs()) for step in program.steps]
    settings = [getattr(thing, "constant", None) for thing, _ in recording.left]
    return mapped(shown, [*calls, program.outputs, settings])
