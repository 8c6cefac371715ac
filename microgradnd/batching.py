"""A batch that looks like a single example: `vmap` and `jacobian` call functions on it.

Owns: the class `Batched`, the table of how to call a function once for a whole batch,
the loop over the examples for functions without a row, and the levels of the running
maps.
Must not own: the rows of the table (`rules/batches.py`), `Tensor`, or taking a
function's arguments apart (`vectorizing.py`).
Read next: `rules/batches.py`.

A `Batched` holds an array whose first axis counts the examples. Its shape is that of
one example, and so is everything that a function computes from the shape. Each call of
a NumPy function on it becomes a call on the whole array. That array may be a Tensor, so
the operations on the tape are those on whole batches that you would write by hand. The
tape and the compiler never meet a `Batched`. Only a cotangent may be one, on a tape of
whole arrays: then one walk carries the rows of a Jacobian.

Nested maps have levels, counted in the order in which they were entered. A value that
depends on several maps is a `Batched` of the highest level, around one of a lower
level.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from microgradnd import primitives, refusals
from microgradnd.arraylike import ArrayLike
from microgradnd.contraction import is_identity
from microgradnd.forms import defined_form, refuse_out, with_options
from microgradnd.registry import COMPOSITES, Function, check_recordable, name_of
from microgradnd.trees import flatten

Rule = Callable[..., Any]
RULES: dict[Function, Rule] = {}  # how to call a function for a whole batch: see `defvmap`
OF_SHAPES = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.iscomplexobj, np.isrealobj, np.common_type}
CHANGING = {np.copyto, np.put, np.putmask, np.place, np.put_along_axis, np.add.at, np.subtract.at, np.fill_diagonal}
SEQUENCES = (list, tuple)
LOOPED: ContextVar[set[str] | None] = ContextVar("looped", default=None)  # functions called for each example


class Level(NamedTuple):
    """A running map, and its number of examples."""

    number: int
    size: int


LEVELS: ContextVar[tuple[Level, ...]] = ContextVar("levels", default=())  # from outermost to innermost
UNCHANGED = nullcontext()
next_number = itertools.count(1).__next__


def defvmap(function: Function, rule: Rule | str) -> None:
    """Define how `vmap` calls a function once for a whole batch.

    Without a definition, it calls the function for each example.

    Parameters
    ----------
    function : callable
        A NumPy function, or one made by `primitive`.
    rule : callable or "elementwise"
        `rule(is_batched, *args, **kwargs)` returns the results of all examples, along
        the first axis. `is_batched` has a bool for each positional argument: a True
        argument has all examples along its first axis, a False one is the same for
        every example. If the rule returns NotImplemented, the function is called for
        each example. "elementwise" suits a function of numbers and arrays that
        broadcast together.

    See Also
    --------
    vmap, primitive

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> @mg.primitive
    ... def cube(x):
    ...     return x**3
    >>> mg.defvmap(cube, "elementwise")
    >>> mg.vmap(cube)(np.array([1.0, 2.0]))
    array([1., 8.])
    """
    check_recordable("defvmap", function)
    if rule != "elementwise" and not callable(rule):
        raise TypeError(f'defvmap: rule must be a function or "elementwise", got {rule!r}')
    RULES[function] = stacked(function) if isinstance(rule, str) else rule


def _refusing(what: str) -> Any:
    def method(self: Any, *_: Any, **__: Any) -> Any:
        raise refusals.batched_value(what)

    return method


def _pair(function: Any) -> tuple[Any, Any]:
    """Make the methods of a binary operator; the mixin's own and `call` are slower."""

    def forward(self: Any, other: Any) -> Any:
        if (y := as_aligned(self, other)) is None:
            return call(function, (self, other), {})
        return Batched(function(self._batch, y), self.level)

    def swapped(self: Any, other: Any) -> Any:
        if (y := as_aligned(self, other)) is None:
            return call(function, (other, self), {})
        return Batched(function(y, self._batch), self.level)

    return forward, swapped


def as_aligned(batch: Batched, other: Any) -> Any:
    """Return `other` so that it broadcasts with a batch as with an example, or None."""
    kind = type(other)
    if kind is Batched:
        return other._batch if other.level == batch.level and other._batch.ndim == batch._batch.ndim else None
    if kind is np.ndarray or hasattr(kind, "__primitive__"):
        return other if other.ndim < batch._batch.ndim else None
    return other if kind in (float, int) else None


class Batched(NDArrayOperatorsMixin):
    """A batch of arrays that looks like one of them to NumPy's functions."""

    __slots__ = ("_batch", "level")
    __hash__ = object.__hash__
    __add__, __radd__ = _pair(np.add)
    __sub__, __rsub__ = _pair(np.subtract)
    __mul__, __rmul__ = _pair(np.multiply)
    __truediv__, __rtruediv__ = _pair(np.divide)

    def __init__(self, array: Any, level: int) -> None:
        self._batch = array
        self.level = level

    def __neg__(self) -> Batched:
        return Batched(-self._batch, self.level)

    def __matmul__(self, other: Any) -> Any:
        return matmul(self, other)

    shape = property(lambda self: self._batch.shape[1:], doc="The lengths of the axes of one example.")
    ndim = property(lambda self: self._batch.ndim - 1, doc="The number of axes of one example.")
    size = property(lambda self: math.prod(self.shape), doc="The number of elements of one example.")
    dtype = property(operator.attrgetter("_batch.dtype"), doc="The type of its elements.")

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return call(function, args, kwargs)

    @staticmethod
    def __primitive__(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return call(function, args, kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if kwargs and (out := kwargs.pop("out", None)) is not None:  # x += y
            if out[0] is not self:
                raise refusals.batched_value("a change of an array that all examples share")
            self[...] = self.__array_ufunc__(ufunc, method, *inputs, **kwargs)
            return self
        if ufunc is np.matmul and not kwargs:
            return matmul(*inputs)
        if method == "__call__" and "where" in kwargs:
            return with_options(ufunc, inputs, kwargs)
        return call(ufunc if method == "__call__" else getattr(ufunc, method), inputs, kwargs)

    __array__ = _refusing("a plain array (np.asarray, an element of one, an index into one)")
    __bool__ = _refusing("`if`, `and`, `or`, `not` or bool()")
    __float__, __int__, __complex__ = _refusing("float()"), _refusing("int()"), _refusing("complex()")
    __index__ = _refusing("a Python index or range()")
    item, tolist = _refusing("item()"), _refusing("tolist()")
    _array = property(_refusing("a change of a Tensor that all examples share"))

    def _known(self, what: str) -> Any:
        raise refusals.batched_value(what)

    def __getattr__(self, name: str) -> Any:
        is_protocol = name.startswith("_")  # of NumPy or Python
        raise AttributeError(name) if is_protocol else refusals.no_example_attribute(name)

    def __len__(self) -> int:
        if not self.ndim:
            raise refusals.no_length()
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return call(primitives.getitem, (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        new = call(primitives.setitem, (self, index, value), {})
        self._batch, self.level = new._batch, new.level

    def __repr__(self) -> str:
        return f"<one of {self._batch.shape[0]} examples: shape {self.shape}, dtype {self.dtype}>"


def matmul(x: Any, y: Any) -> Any:
    """Return x @ y, sooner than `call` if each example is a vector: walks need many."""
    batch, matrix = (x, y) if type(x) is Batched else (y, x)
    vectors = batch._batch
    if not (type(vectors) is type(matrix) is np.ndarray and vectors.ndim == matrix.ndim == 2):
        return call(np.matmul, (x, y), {})
    matrix = matrix if batch is x else matrix.T
    return Batched(matrix if is_identity(vectors) else vectors.dot(matrix), batch.level)


def full(x: Any, levels: tuple[Level, ...]) -> Any:
    """Return a value as a whole array, with one axis in front per level.

    The axis of the outermost level comes first.
    """
    for level in levels[::-1]:
        x = without(x, level)
    return x


def without(x: Any, level: Level) -> Any:
    """Return a value with a level's axis in front, repeated if it lacks one."""
    if type(x) is Batched:
        if x.level == level.number:
            return x._batch
        if x.level > level.number:
            return Batched(np.swapaxes(without(x._batch, level), 0, 1), x.level)
    return np.broadcast_to(x, (level.size, *(x.shape if hasattr(x, "shape") else np.shape(x))))


def per_example(x: Any, levels: tuple[Level, ...]) -> Any:
    """Undo `full`."""
    for level in levels:
        x = batched(x, level.number)
    return x


def batched(x: Any, number: int) -> Any:
    """Return an array as the batch of a level, with examples along its first axis."""
    if type(x) is Batched and x.level > number:
        return Batched(batched(np.swapaxes(x._batch, 0, 1), number), x.level)
    return Batched(x, number)


class bound:
    """A context in which a context variable has a value, which `as` yields."""

    def __init__(self, variable: ContextVar[Any], value: Any) -> None:
        self.variable, self.value = variable, value

    def __enter__(self) -> Any:
        self.before = self.variable.set(self.value)
        return self.value

    def __exit__(self, *_: object) -> None:
        self.variable.reset(self.before)


def running(level: Level) -> AbstractContextManager[tuple[Level, ...]]:
    """Return a context in which a map runs, within those that run already."""
    return bound(LEVELS, (*LEVELS.get(), level))


def above(levels: Sequence[Level]) -> AbstractContextManager[None]:
    """Let transforms see only the maps entered since `levels`.

    They then run on a tape of whole batches of those levels.
    """
    return bound(LEVELS, tuple(level for level in LEVELS.get() if level not in levels)) if levels else UNCHANGED


def innermost(x: Any) -> Any:
    """Return the array in a batch, which may be a Tensor; other values unchanged."""
    while type(x) is Batched:
        x = x._batch
    return x


# Calls


def highest(values: Iterable[Any]) -> Batched | None:
    """Return the value of the innermost map, also in lists and tuples, or None."""
    found: Batched | None = None
    for x in values:
        x = highest(x) if type(x) in SEQUENCES else x
        if type(x) is Batched and (found is None or x.level > found.level):
            found = x
    return found


def call(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call a function on whole batches, by its row in the table or for each example."""
    rule = RULES.get(function)
    if rule is None and function in OF_SHAPES:
        return function(*[np.empty(x.shape, x.dtype) if type(x) is Batched else x for x in args], **kwargs)
    if rule is None and function in COMPOSITES:
        args, kwargs = defined_form(function, tuple(args), kwargs)
        try:
            return COMPOSITES[function](*args, **kwargs)
        except refusals.OneExampleError:  # a rule that looks at values
            if function in CHANGING:
                raise
    batch = highest((*args, *kwargs.values()) if kwargs else args)
    if batch is None:
        return function(*args, **kwargs)
    level = batch.level
    if kwargs:
        refuse_out(function, kwargs := dict(kwargs))
    if rule is None and isinstance(function, np.ufunc) and function not in COMPOSITES:
        rule = RULES[function] = stacked(function)
    flags = [x.level == level if type(x) is Batched else type(x) in SEQUENCES and is_batched(x, level) for x in args]
    values = [x._batch if own is True else part_of(x, level) if own else x for x, own in zip(args, flags, strict=True)]
    is_odd = bool(kwargs) and highest(kwargs.values()) is not None  # a keyword differs by example
    result = NotImplemented if rule is None or is_odd else rule(flags, *values, **kwargs)
    if result is NotImplemented:
        result = loop(function, batch, args, kwargs)
    if isinstance(result, SEQUENCES):
        parts = [Batched(part, level) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return Batched(result, level)


def is_batched(x: Any, level: int) -> Any:
    """Return whether a value belongs to a level; for a list or tuple, of each part."""
    if type(x) in SEQUENCES:
        flags = [is_batched(part, level) for part in x]
        return flags if any(flags) else False
    return type(x) is Batched and x.level == level


def loop(function: Function, batch: Batched, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call a function for each example, and stack the results."""
    if (names := LOOPED.get()) is not None:
        names.add(name_of(function))
    leaves: list[list[Any]] = []
    for i in range(batch._batch.shape[0]):
        given, named = part_of(list(args), batch.level, i), part_of(kwargs, batch.level, i)
        with bound(LEVELS, tuple(level for level in LEVELS.get() if level.number < batch.level)):
            parts, form = flatten(function(*given, **named))
        leaves.append(parts)
    columns = [[primitives.array(x) for x in column] for column in zip(*leaves, strict=True)]
    for column in columns:
        if len({x.shape for x in column}) > 1:
            raise refusals.unequal_examples(name_of(function), sorted({x.shape for x in column}))
    return form.rebuild([np.stack(column) for column in columns])


def part_of(x: Any, level: int, index: Any = ...) -> Any:
    """Return a part of a batch, by default all; also in lists, tuples and dicts."""
    if type(x) in SEQUENCES:
        return type(x)(part_of(part, level, index) for part in x)
    if type(x) is dict:
        return {key: part_of(part, level, index) for key, part in x.items()}
    if type(x) is not Batched or x.level != level:
        return x
    return x._batch if index is ... else x._batch[index]


# The row that most functions have


def ndim_of(x: Any, flag: Any) -> int:
    """Return the number of axes of one example."""
    return (x.ndim if hasattr(x, "ndim") else np.ndim(x) if type(x) is list else 0) - bool(flag)


def aligned(x: Any, flag: Any, ndim: int) -> Any:
    """Return a batch with axes inserted so that each example has `ndim`."""
    if flag and x.ndim - 1 < ndim:
        return np.reshape(x, (x.shape[0], *(1,) * (ndim + 1 - x.ndim), *x.shape[1:]))
    return x


def stacked(function: Function, *cores: int) -> Rule:
    """Return the row of a function of stacks of numbers, vectors and matrices.

    `cores` are the numbers of axes of one of them per argument, by default from a
    ufunc's signature. Without either, all are numbers: the function is elementwise.
    """
    if not cores and (signature := getattr(function, "signature", None)) is not None:
        cores = tuple(part.count(",") + bool(part) for part in signature.partition("->")[0].strip("()").split("),("))

    def rule(flags: list[Any], *args: Any, **kwargs: Any) -> Any:
        if not cores and len(args) == 1:
            return function(*args, **kwargs)
        of = cores or (0,) * len(args)
        if any(flags[len(of) :]) or kwargs.keys() & {"axis", "axes"}:
            return NotImplemented
        arrays = list(zip(args, flags, of, strict=False))
        stacks = [ndim_of(x, flag) - core for x, flag, core in arrays]
        if min(stacks) < 0:
            return NotImplemented
        moved = [aligned(x, flag, max(stacks) + core) for x, flag, core in arrays]
        return function(*moved, *args[len(of) :], **kwargs)

    return rule


for name, shared in vars(ArrayLike).items():  # methods that forward their function, as a Tensor's do
    if name == "__iter__" or not (name.startswith("_") or hasattr(Batched, name)):
        setattr(Batched, name, shared)
