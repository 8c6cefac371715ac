"""The program that a tape is turned into: values and the steps that compute them.

Owns: `Value`, `Constant`, `Step`, `Program`.
Must not own: tracing (`trace.py`), rewriting (`passes.py`) or printing (`source.py`).
Read next: `passes.py`.

A program is a straight line of calls of NumPy functions. One step computes each value,
once; nothing changes in place. So rewriting may replace a value by an equal one
anywhere.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from microgradnd import primitives

FEWEST = 4  # turns of a loop
NESTED = {tuple, list, slice, dict}  # the types of arguments that have parts


class Value:
    """An array that a program computes or receives.

    Attributes
    ----------
    shape, dtype
        Of the array; a step with several results has a tuple of Values.
    name : str or None
        The user's name for it.
    """

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, name: str | None = None) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name or 'value'} {self.shape} {self.dtype}>"

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def rename(kept: Value, dropped: Value) -> Value:
    """Give the remaining value a name, if only the other had one."""
    if kept.name is None:
        kept.name = dropped.name
    return kept


class Turn(int):
    """An integer that grows evenly from turn to turn; as a number, the first turn's.

    Attributes
    ----------
    stride : int
    level : int
        Which loop's turns it counts: 0 for the innermost loop around it.
    """

    stride: int
    level: int

    def __new__(cls, start: int, stride: int, level: int = 0) -> Self:
        self = super().__new__(cls, start)
        self.stride, self.level = stride, level
        return self

    def __repr__(self) -> str:
        return f"Turn({int(self)}, {self.stride}, {self.level})"

    def at(self, turn: int) -> int:
        """Return the number in a turn."""
        return int(self) + self.stride * turn


class Listed(float):
    """A number that differs between turns; as a number, the first turn's."""

    numbers: tuple[Any, ...]
    level: int

    def __new__(cls, numbers: tuple[Any, ...], level: int = 0) -> Self:
        self = super().__new__(cls, numbers[0])
        self.numbers, self.level = numbers, level
        return self

    def __repr__(self) -> str:
        return f"Listed({self.numbers!r}, {self.level})"

    def at(self, turn: int) -> Any:
        """Return the number in a turn."""
        return self.numbers[turn]


@dataclass(frozen=True)
class Constant:
    """An array that a program makes once and only reads, by its expression."""

    text: str
    array: Any = field(compare=False, repr=False)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.array.shape

    @property
    def dtype(self) -> Any:
        """The array's dtype."""
        return self.array.dtype


def filled(shape: tuple[int, ...], number: float, dtype: Any) -> Constant:
    """Return an array that is full of a number."""
    array = np.full(shape, number, dtype)
    array.flags.writeable = False
    if repr(float(number)) in ("0.0", "1.0"):
        kind = "" if dtype == np.float64 else f", np.{dtype.name}"
        return Constant(f"np.{('zeros', 'ones')[int(number)]}({shape}{kind})", array)
    return Constant(f"np.full({shape}, {number!r}, np.{dtype.name})", array)


def fills(number: Any, dtype: np.dtype[Any]) -> bool:
    """Return whether a Python number is finite in a floating-point dtype."""
    return type(number) in (int, float) and dtype.kind == "f" and bool(abs(number) <= np.finfo(dtype).max)


def constant_of(array: Any) -> Any:
    """Return an array as a constant: a spread-out number, a range, or itself."""
    bits = array.tobytes()  # where -0.0 isn't 0.0
    repeats = array.ndim > 0 and array.size > 0 and bits == array.flat[0].tobytes() * array.size
    if repeats and array.dtype.kind in "fiu" and array.dtype.isnative and np.isfinite(array).all():
        return primitives.expand(array.flat[0], array.shape)
    if array.ndim == 1 and array.dtype == np.arange(0).dtype and np.array_equal(array, np.arange(array.size)):
        return Constant(f"np.arange({array.size})", array)
    return array


def shared(array: Any, seen: dict[Any, Any]) -> Any:
    """Return an array that never changes as a constant, one for equal arrays: a loop in
    the user's code makes it anew in each turn.
    """
    key = array.tobytes("A"), array.shape, array.strides, array.dtype
    return seen.setdefault(key, constant_of(array))


@dataclass(frozen=True, eq=False)
class Step:
    """One call: `out = function(*args, **kwargs)`.

    An argument is a Value, a constant, or a tuple or list of them. The result is a
    Value, or a tuple of them.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    out: Any
    where: tuple[str, int] | None = None  # the user's line of code

    def outs(self) -> tuple[Value, ...]:
        """Return the value or values that it computes."""
        return self.out if isinstance(self.out, tuple) else (self.out,)

    def operands(self) -> tuple[Value, ...]:
        """Return the values that it uses, each as often as it uses it."""
        found: tuple[Value, ...] | None = self.__dict__.get("found")  # many passes ask for them
        if found is None:
            found = self.__dict__["found"] = (*values_in(self.args), *values_in(self.kwargs))
        return found

    def substitute(self, replacements: Mapping[Value, Any]) -> Step:
        """Return the same step with some operands replaced."""
        if not replacements or replacements.keys().isdisjoint(self.operands()):
            return self
        kwargs = {key: substituted(arg, replacements) for key, arg in self.kwargs.items()}
        return replace(self, args=substituted(self.args, replacements), kwargs=kwargs)


def call(
    function: Callable[..., Any], *args: Any, like: Step, shape: tuple[int, ...], dtype: Any = None, **kwargs: Any
) -> Step:
    """Return a step that computes a new value, for another step's line of code."""
    return Step(function, args, kwargs, Value(shape, like.out.dtype if dtype is None else dtype), like.where)


@dataclass(frozen=True, eq=False)
class Program:
    """Steps from inputs to outputs.

    Attributes
    ----------
    inputs : tuple of Value
    steps : tuple of Step
        In an order in which they can run.
    outputs : tuple
        Values, or constants where a result doesn't depend on the inputs.
    updates : mapping of Value to Value
        Inputs whose arrays receive another value, of the same shape and dtype, at
        the end.
    ignored : frozenset of str
        The kinds of floating-point errors that `np.errstate` hid while it was traced.
    """

    inputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Any, ...]
    updates: Mapping[Value, Value] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def results(self) -> list[Value]:
        """Return the values that are needed at the end."""
        return [*values_in(self.outputs), *self.updates.values()]

    def uses(self) -> dict[Value, int]:
        """Return how often each value is used, including by the program's results."""
        return Counter(itertools.chain(*map(Step.operands, self.steps), self.results()))

    def substitute(self, replacements: Mapping[Value, Any]) -> Program:
        """Return the program with values replaced by others or by constants."""
        if not replacements:
            return self
        updates = {old: replacements.get(new, new) for old, new in self.updates.items()}
        steps = tuple(step.substitute(replacements) for step in self.steps)
        return replace(self, steps=steps, outputs=substituted(self.outputs, replacements), updates=updates)


Made = dict[Value, Step]  # the step that computes each value
Rule = Callable[[Step, Made, dict[Value, int]], Any]


def rewritten(program: Program, rule: Rule, outside: Made | None = None) -> Program:
    """Return a program rewritten step by step.

    The rule gets a step with one result, the steps that compute other values, and how
    often each value is used. It returns a list of steps that take its place, or a value
    or constant that takes the place of its result, or None. Steps `outside` have
    computed inputs.
    """
    uses, made = program.uses(), {out: step for step in program.steps for out in step.outs()} | (outside or {})
    steps: list[Step] = []
    instead: dict[Value, Any] = {}
    for old in program.steps:
        step = old.substitute(instead)
        new = rule(step, made, uses) if isinstance(step.out, Value) else None
        if new is not None and type(new) is not list:
            instead[step.out] = rename(new, step.out) if isinstance(new, Value) else new
            continue
        made.update((out, last) for last in new or (step,) for out in last.outs())
        steps += new or [step]
    return replace(program, steps=tuple(steps)).substitute(instead)


def mapped(change: Callable[[Any], Any], tree: Any) -> Any:
    """Return an argument with a function applied to each of its parts.

    Tuples of other classes, such as a user's namedtuples, are parts themselves.
    """
    kind = type(tree)
    if kind is tuple or kind is list:
        return kind([mapped(change, part) for part in tree])
    if kind is slice:
        return slice(*[mapped(change, part) for part in (tree.start, tree.stop, tree.step)])
    return {key: mapped(change, part) for key, part in tree.items()} if kind is dict else change(tree)


def parts_of(tree: Any) -> list[Any]:
    """Return the parts of an argument, in order."""
    found: list[Any] = []
    todo = [tree]
    while todo:
        part = todo.pop()
        kind = type(part)
        if kind is tuple or kind is list:
            todo.extend(reversed(part))
        elif kind is dict:
            todo.extend(reversed(part.values()))
        elif kind is slice:
            todo += (part.step, part.stop, part.start)
        else:
            found.append(part)
    return found


def moved(number: Turn | Listed, levels: int) -> Turn | Listed:
    """Return a moving number as it is inside so many more loops (fewer if negative)."""
    if isinstance(number, Turn):
        return Turn(int(number), number.stride, number.level + levels)
    return Listed(number.numbers, number.level + levels)


def moves(tree: Any) -> bool:
    """Return whether an argument differs between the turns of a loop."""
    return any(isinstance(part, Turn | Listed) for part in parts_of(tree))


def as_arrays(tree: Any) -> Any:
    """Return an argument with the arrays of its constants."""
    return mapped(lambda part: part.array if isinstance(part, Constant) else part, tree)


def values_in(tree: Any) -> list[Value]:
    """Return the values in an argument."""
    if type(tree) is tuple and NESTED.isdisjoint(map(type, tree)):  # as most calls' arguments
        return [part for part in tree if type(part) is Value]
    return [part for part in parts_of(tree) if type(part) is Value]


def substituted(tree: Any, replacements: Mapping[Value, Any]) -> Any:
    """Return an argument with its values replaced where there is a replacement."""
    return mapped(lambda part: replacements.get(part, part) if isinstance(part, Value) else part, tree)
