"""Programs at random: each step is run on plain arrays as it is drawn, and dropped if
it comes too near to a kink.

Owns: `draw_program`, and `Draw`, by which operations choose operands and parameters.
Must not own: the operations (`operations.py`), or the questions (`questions.py`).
Read next: `check.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.fuzz import plain_side
from tests.fuzz.plain_side import Unsuitable
from tests.fuzz.programs import Index, Operation, Program, Step, literal
from tests.fuzz.questions import QUESTIONS

SHAPES = ((), (1,), (2,), (3,), (4,), (2, 3), (3, 1), (1, 3), (3, 3), (2, 2), (3, 2), (2, 1, 3), (2, 2, 2))
DTYPES = {"float64": np.float64, "float32": np.float32, "complex128": np.complex128}


class NoValue(Exception):
    """No value fits, so the step isn't drawn."""


class Draw:
    """A program that is being drawn: its values so far, and choices from them."""

    def __init__(self, rng: np.random.Generator, dtype: str, in_transform: bool) -> None:
        self.rng = rng
        self.in_transform = in_transform
        self.complex = dtype == "complex128"
        self.dtype = np.dtype(DTYPES[dtype])
        self.leaves = {n: self.fresh(self.choice(SHAPES)) for n in "abc"[: self.integer(1, 3)]}
        self.fixed = {n: self.fresh(self.choice(SHAPES)) for n in ("t",) if self.chance(0.4)}
        self.arrays = {n: self.fresh(self.choice(SHAPES)) for n in "kl"[: self.integer(0, 2)]}
        self.steps: list[Step] = []
        self.tracked = set(self.leaves)
        self.tensors = [*self.leaves, *self.fixed]  # in the order in which they were made
        self.kept: set[str] = set()  # whose variables no assignment may change
        self.space: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        """Run all that has been drawn."""
        self.space = plain_side.run(self.steps, {**self.leaves, **self.fixed, **self.arrays})

    # Numbers

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def number(self) -> float:
        return round(float(self.rng.uniform(-1.5, 1.5)), 2) or 0.5

    def fresh(self, shape: tuple[int, ...]) -> Any:
        """Return an array with two decimals, which reads better where it is printed."""
        values = np.round(self.rng.uniform(-2, 2, size=shape), 2)
        if self.complex and self.chance(0.7):
            return np.asarray(values + 1j * np.round(self.rng.uniform(-2, 2, size=shape), 2))
        return np.asarray(values, np.float64 if self.complex else self.dtype)

    def fresh_for(self, name: str) -> Any:
        """Return numbers of a value's shape and dtype."""
        new = self.fresh(self.shape(name))
        return np.asarray(new if self.kind(name) == "c" else new.real, self.space[name].dtype)

    # Values

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(np.shape(self.space[name]))

    def size(self, name: str) -> int:
        return int(np.size(self.space[name]))

    def kind(self, name: str) -> str:
        return str(self.space[name].dtype.kind)

    def value(
        self,
        kind: str = "fc",
        min_ndim: int = 0,
        ndim: int | None = None,
        shape: tuple[int, ...] | None = None,
        where: Callable[[tuple[int, ...]], bool] | None = None,
        broadcasts_with: str = "",
        broadcasts_to: tuple[int, ...] | None = None,
        alike_but_along: tuple[str, int] | None = None,
        fits_at: tuple[str, Index] | None = None,
        tracked: bool = False,
        among: Sequence[str] | None = None,
    ) -> str:
        """Return a Tensor's name that meets conditions; newer ones more often."""

        def fits(name: str) -> bool:
            s = self.shape(name)
            if self.kind(name) not in kind or len(s) < min_ndim or (ndim is not None and len(s) != ndim):
                return False
            if (shape is not None and s != shape) or (where is not None and not where(s)):
                return False
            if tracked and name not in self.tracked:
                return False
            if broadcasts_with and not broadcast(s, self.shape(broadcasts_with)):
                return False
            if broadcasts_to is not None and broadcast(s, broadcasts_to) != broadcasts_to:
                return False
            if fits_at is not None:
                x, index = fits_at
                target = np.shape(eval(f"x[{literal(index)}]", {"x": self.space[x], "np": np}))
                if broadcast(s, target) != target:
                    return False
            if alike_but_along is not None:
                other, axis = self.shape(alike_but_along[0]), alike_but_along[1]
                return len(s) == len(other) and all(
                    m == n or i == axis for i, (m, n) in enumerate(zip(s, other, strict=True))
                )
            return True

        found = [name for name in (self.tensors if among is None else among) if fits(name)]
        if not found:
            raise NoValue
        return found[-1 - min(int(self.rng.exponential(2)), len(found) - 1)]

    def variable(self, kind: str = "fc", min_ndim: int = 0) -> str:
        """Return a Tensor that was computed, to assign to."""
        computed = [step.result for step in self.steps if not step.operation.statement and step.result not in self.kept]
        return self.value(kind, min_ndim, among=computed)

    def constant(self, broadcasts_with: str) -> str:
        return self.value(broadcasts_with=broadcasts_with, among=list(self.arrays))

    def users_array(self, min_ndim: int = 0) -> str:
        return self.value(min_ndim=min_ndim, among=list(self.arrays))

    def input_tensor(self, leaf: bool = False) -> str:
        if self.in_transform and not self.chance(0.15):  # there leaves are refused, in nearly every way
            return self.value(among=[] if leaf else list(self.fixed))
        return self.value(among=[*self.leaves, *({} if leaf else self.fixed)])

    # Parameters

    def axis(self, name: str) -> int:
        return self.integer(0, len(self.shape(name)) - 1)

    def axes(self, name: str) -> Any:
        n = len(self.shape(name))
        if n == 0 or self.chance(0.3):
            return None
        if n > 1 and self.chance(0.2):
            return tuple(self.permutation(n)[:2])
        return self.axis(name)

    def permutation(self, n: int) -> tuple[int, ...]:
        return tuple(int(i) for i in self.rng.permutation(n))

    def other_shape(self, size: int) -> tuple[int, ...]:
        options = [s for s in SHAPES if np.prod(s, dtype=int) == size]
        return self.choice([*options, (size,), (-1, 1), (1, size)])

    def mask(self, shape: tuple[int, ...]) -> Any:
        return self.rng.random(shape) < 0.6

    def integers(self, bound: int, shape: tuple[int, ...]) -> Any:
        return self.rng.integers(0, bound, size=shape)

    def positions(self, bound: int, repeats: bool = True) -> Any:
        n = self.integer(1, 3)
        found = self.rng.integers(-bound, bound, size=n) if repeats else self.rng.permutation(bound)[:n]
        return np.asarray(found)

    def index(self, shape: tuple[int, ...], repeats: bool = True) -> Index:
        """Return an index, basic or advanced, for an array of this shape."""
        if self.chance(0.1):
            return Index((self.mask(shape),))
        if self.chance(0.05):
            return Index((Ellipsis,))
        parts: list[Any] = []
        advanced = 0
        for n in shape[: self.integer(1, len(shape))]:
            kind = self.integer(0, 9)
            if kind < 3:
                parts.append(self.integer(-n, n - 1))
            elif kind < 7:
                step = self.choice([None, None, 1, 2, -1])
                start = None if self.chance(0.5) else self.integer(-n, n - 1)
                stop = None if self.chance(0.5) else self.integer(-n, n)
                parts.append(slice(start, stop, step))
            elif kind < 9 and not advanced:
                advanced += 1
                parts.append(self.positions(n, repeats))
            else:
                parts.append(slice(None))
        if self.chance(0.1):
            parts.insert(self.integer(0, len(parts)), None)
        if self.chance(0.1):
            parts.append(Ellipsis)
        return Index(tuple(parts), tuple=len(parts) > 1 or self.chance(0.1))

    # Steps

    def try_step(self, operation: Operation, islands: bool, hooks: bool) -> bool:
        """Add a step of this operation, if one can be."""
        try:
            found = operation.draw(self)
        except NoValue:
            return False
        if found is None:
            return False
        operands, parameters = found
        follows = operation.follows and any(name in self.tracked for name in operands)
        result = operands[0] if operation.statement else f"v{len(self.steps)}"
        no_grad = islands and not operation.statement and follows and self.chance(0.06)
        hook = self.number() if hooks and follows and not operation.statement and not no_grad else None
        retain = hook is not None and self.chance(0.5)
        step = Step(
            operation,
            tuple(operands),
            result if operation.group != "mutation" else f"m{len(self.steps)}",
            parameters,
            no_grad,
            hook if hook is not None and self.chance(0.1) else None,
            retain and self.chance(0.2),
        )
        try:
            plain_side.advance(step, self.space)
        except Unsuitable:
            self.start()
            return False
        self.steps.append(step)
        if operation.group == "mutation":
            return True
        if not operation.statement:
            self.tensors.append(result)
        follows = follows and not no_grad
        if follows or (operation.statement and any(name in self.tracked for name in operands)):
            self.tracked.add(result)
        if step.hook is not None or step.retain:
            self.kept.add(result)
        return True


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return tuple(np.broadcast_shapes(a, b))
    except ValueError:
        return None


def draw_program(
    rng: np.random.Generator, operations: Sequence[Operation], steps: int = 12, mutations: bool = False
) -> Program | None:
    """Draw a program, or return None if nothing in it depends on a leaf.

    Parameters
    ----------
    rng : numpy.random.Generator
    operations : sequence of Operation
        What to draw steps from.
    steps : int
        The most steps.
    mutations : bool
        Whether inputs change between their use and the derivative.
    """
    dtype = str(rng.choice(["float64", "float64", "float64", "float32", "complex128"]))
    question = str(rng.choice([q for q in QUESTIONS if QUESTIONS[q].complex_too or dtype != "complex128"]))
    d = Draw(rng, dtype, QUESTIONS[question].in_transform)
    values = [o for o in operations if o.group == "values"]
    changes = [o for o in operations if o.group == "assignment"]
    mutating = [o for o in operations if o.group == "mutation"]
    for _ in range(d.integer(2, steps)):
        for _ in range(8):
            table = changes if changes and d.chance(0.2) else values
            table = mutating if mutations and mutating and d.chance(0.25) else table
            if d.try_step(d.choice(table), islands=True, hooks=QUESTIONS[question].hooks):
                break
    ends = [name for name in d.tensors if name in d.tracked and name not in d.leaves]
    if not ends:
        return None
    terms = []
    for _ in range(d.integer(1, min(3, len(ends)))):
        name = ends[-1 - min(int(rng.exponential(1.5)), len(ends) - 1)]
        kinds = ("parts", "size") if d.kind(name) == "c" else ("sum", "sine", "square")
        terms.append((d.choice(kinds), name))
    directions = {n: direction(rng, a) for n, a in d.leaves.items()}
    return Program(d.leaves, d.fixed, d.arrays, tuple(d.steps), tuple(terms), question, directions)


def direction(rng: np.random.Generator, like: Any) -> Any:
    v = np.round(rng.normal(size=like.shape), 2)
    if like.dtype.kind == "c":
        v = v + 1j * np.round(rng.normal(size=like.shape), 2)
    return np.asarray(v, like.dtype)
