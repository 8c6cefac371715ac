"""Program rewriting: each pass is a function from a program to an equal, better one.

Owns: the passes, and their order.
Must not own: which NumPy call is fastest (`spelling.py`), or how a step is printed
(`source.py`).
Read next: `spelling.py`.

Every pass keeps the results to the last bit, except that `cancelling.py` removes
rounding errors. Three things outside this file don't: spellings that add in another
order (`spelling.py`); sums and products of thousands of rows, which are added in blocks
(`blocks.py`); and buffers and updates in place, where a value may have another memory
order than the eager call's array, as NumPy adds in memory order. Where nothing is
summed, all forms agree to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import is_
from types import FunctionType
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.compiler.cancelling import without_zeros
from microgradnd.compiler.layouts import in_memory_order
from microgradnd.compiler.program import Listed, Made, Program, Step, Turn, Value, call, rewritten
from microgradnd.compiler.traits import traits

PRINTED = (float, complex, np.inexact, Turn)  # 0.0 and -0.0 are equal, but not the same; so are turns with one start
NUMBERS = (float, int)
THEMSELVES = {Value, np.ufunc, FunctionType, str}  # classes whose objects are equal to none of another class
POWERS = (np.power, np.float_power)  # they compute x**0.5 differently if the exponent is a number


def drop_dead(program: Program) -> Program:
    """Remove steps with unused values, except draws: later draws depend on them."""
    wanted = set(program.results())
    kept = []
    for step in reversed(program.steps):
        if isinstance(step.function, Anew) or not wanted.isdisjoint(step.outs()):
            wanted.update(step.operands())
            kept.append(step)
    return replace(program, steps=tuple(reversed(kept)))


def share_equal(program: Program) -> Program:
    """Compute equal values only once (common subexpressions)."""
    seen: dict[Any, Value] = {}

    def rule(step: Step, made: Made, uses: dict[Value, int]) -> Any:
        key = key_of((step.function, step.args, step.kwargs))
        first = step.out if key is None else seen.setdefault(key, step.out)
        return None if first is step.out else first

    return rewritten(program, rule)


def key_of(tree: Any) -> Any:
    """Return a hashable key that is equal for equal calls; None if there isn't any."""
    kind = type(tree)
    if kind in THEMSELVES:
        return tree
    if kind in NUMBERS and tree:  # in long loops these are frequent
        return kind, tree, ""
    if issubclass(kind, tuple | list | dict):
        keys = [key_of(part) for part in (tree.items() if issubclass(kind, dict) else tree)]
        return None if None in keys else (kind, *keys)
    if kind is slice:
        return key_of((slice, tree.start, tree.stop, tree.step))
    if issubclass(kind, np.ndarray):
        return id(tree)
    try:
        hash(tree)
    except TypeError:
        return None
    return kind, tree, repr(tree) if issubclass(kind, PRINTED) else ""


def simplify(program: Program) -> Program:
    """Replace calls that change nothing by their argument.

    A product with a uniform array becomes one with a number.
    """

    def rule(step: Step, made: Made, uses: dict[Value, int]) -> Any:
        new = spread_in_place(without_axes(step, made, uses), made)
        same = unchanged(new, made)
        return [new] if same is None else same

    return rewritten(program, rule)


def without_axes(step: Step, made: dict[Value, Step], uses: dict[Value, int]) -> Step:
    """Let a sum drop the axes that a reshape would drop from it.

    Undoing a broadcast keeps all axes first.
    """
    inner = made.get(step.args[0]) if step.function is np.reshape and isinstance(step.args[0], Value) else None
    if inner is None or not traits(inner.function).is_reduction or uses.get(step.args[0], 0) != 1:
        return step
    axis, x = inner.kwargs.get("axis"), inner.args[0]
    plain = len(inner.args) == 1 and inner.kwargs == {"axis": axis, "keepdims": True}
    if not plain or type(axis) is not tuple or not isinstance(x, Value):
        return step
    rest = tuple(n for i, n in enumerate(x.shape) if i not in axis and i - len(x.shape) not in axis)
    fits = isinstance(step.out, Value) and (rest, step.args[0].dtype) == (step.out.shape, step.out.dtype)
    return replace(step, function=inner.function, args=(x,), kwargs={"axis": axis}) if fits else step


def spread_in_place(step: Step, made: dict[Value, Step]) -> Step:
    """Let a ufunc broadcast operands that would be spread out for it.

    These are numbers, and sums that go back to the shape of their terms.
    """
    function, args = step.function, list(step.args)
    if type(function) is not np.ufunc or len(args) != 2 or step.kwargs or not traits(function).is_elementwise:
        return step
    for i, arg in enumerate(args):
        other = args[1 - i]
        if not hasattr(other, "shape") or (other.shape != step.out.shape and not isinstance(arg, np.generic)):
            continue
        number = arg.item() if isinstance(arg, np.generic) else None if function in POWERS else uniform(arg)
        if number is not None and loop_of(function, args) == loop_of(function, [*args[:i], number, *args[i + 1 :]]):
            args[i] = number
        source = made.get(arg) if isinstance(arg, Value) else None
        if source is not None and source.function is primitives.expand and isinstance(source.args[0], Value):
            keepdims = source.kwargs.get("keepdims", len(source.args) > 3 and source.args[3])
            args[i] = source.args[0] if source.args[0].shape == () or keepdims else arg
    return step if all(map(is_, args, step.args)) else replace(step, args=tuple(args))


def loop_of(function: Any, args: Sequence[Any]) -> Any:
    """Return the dtypes in which a ufunc computes.

    A Python number takes the other operand's dtype where it can.
    """
    args = [+a if isinstance(a, Turn | Listed) else a for a in args]
    kinds = [getattr(a, "dtype", np.dtype(bool) if type(a) is bool else type(a)) for a in args]
    return function.resolve_dtypes((*kinds, *[None] * function.nout))


def holds(dtype: Any, number: Any) -> bool:
    """Return whether an integer dtype includes a number.

    NumPy compares other numbers with it too, as Python does.
    """
    return dtype.kind in "iu" and type(number) is int and np.iinfo(dtype).min <= number <= np.iinfo(dtype).max


def uniform(arg: Any) -> Any:
    """Return the number that fills an array, if it is uniform and can't change."""
    base = arg.base if isinstance(arg, np.ndarray) else None
    while isinstance(base, np.ndarray):
        base = base.base
    return base.item() if isinstance(base, np.generic) and base.dtype == arg.dtype else None


def unchanged(step: Step, made: dict[Value, Step]) -> Any:
    """Return the value that a step's result equals without computing, or None."""
    if not step.args:
        return None
    if step.function in (np.multiply, np.divide) and step.out.dtype.kind != "c":  # there infinity * (1 + 0j) has a NaN
        for x, y in (step.args, step.args[::-1])[: 2 if step.function is np.multiply else 1]:
            if type(y) in (int, float, bool, np.float64) and y == 1 and alike(x, step.out):
                return x
    inner = made.get(step.args[0]) if isinstance(step.args[0], Value) else None
    twice = inner is not None and inner.function is step.function and len(inner.args) == len(step.args) == 1
    if twice and traits(step.function).is_involution and not step.kwargs:
        return inner.args[0]  # type: ignore[union-attr]
    return step.args[0] if traits(step.function).is_equal and alike(step.args[0], step.out) else None


def alike(x: Any, out: Value) -> bool:
    """Return whether a value has the shape and dtype of another."""
    return isinstance(x, Value) and x.shape == out.shape and x.dtype == out.dtype


def fold_signs(program: Program) -> Program:
    """Fold signs into constants, sums and differences; join factors if exact."""

    def rule(step: Step, made: Made, uses: dict[Value, int]) -> list[Step]:
        while (new := folded(step, made, uses)) is not None:
            step = new
        return [step]

    return rewritten(program, rule)


def folded(step: Step, made: Made, uses: dict[Value, int]) -> Step | None:
    """Return an equal step of the operands' own operands, or None."""
    if step.out.dtype.kind != "f" or step.kwargs:
        return None

    def operand(arg: Any, function: Any) -> Any:
        """Return the arguments of an operand's step if it calls a function."""
        inner = made.get(arg) if isinstance(arg, Value) and arg.dtype == step.out.dtype else None
        return inner.args if inner is not None and inner.function is function and not inner.kwargs else None

    def scaled(arg: Any) -> Any:
        """Return x and c if an operand is x * c for a number c, used only here."""
        x, c = operand(arg, np.multiply) or (None, None)
        if not isinstance(arg, Value) or uses.get(arg, 0) != 1:
            return None, None
        return (x, c) if type(c) in (int, float) else (c, x) if type(x) in (int, float) else (None, None)

    if step.function is np.negative:
        x, c = scaled(step.args[0])
        return None if x is None else replace(step, function=np.multiply, args=(x, opposite(c)))
    if step.function is np.multiply:
        for x, y in (step.args, step.args[::-1]):
            inner = operand(x, np.negative)
            if inner and type(y) in (int, float):
                return replace(step, args=(inner[0], opposite(y)))
            z, c = scaled(x)
            if z is not None and type(y) in (int, float) and may_join(c, y, step.out.dtype):
                return replace(step, args=(z, c * y))
    if step.function in (np.add, np.subtract):
        x, y = step.args
        inner = operand(y, np.negative)
        if inner and inner[0].shape == y.shape:
            return replace(step, function=np.subtract if step.function is np.add else np.add, args=(x, inner[0]))
        inner = operand(x, np.negative) if step.function is np.add else None
        if inner:
            return replace(step, function=np.subtract, args=(y, inner[0]))
    return None


def opposite(number: float) -> float:
    """Return a number with the other sign, which the integer 0 doesn't have."""
    return -number if number else -float(number)


def may_join(c: float, y: float, dtype: np.dtype[Any]) -> bool:
    """Return whether x * c * y is x * (c * y) for every x.

    No factor may be less than 1, so that x * c overflows only if the whole product
    does. Then x * c is exact if c is a power of two. If y is one, both forms round
    once; but c must be an integer, or the product with a subnormal x rounds too.
    """
    of_two = [abs(math.frexp(factor)[0]) == 0.5 for factor in (c, y)]
    exact = of_two[0] or (of_two[1] and float(c).is_integer())
    return exact and min(abs(c), abs(y)) >= 1 and abs(c * y) <= float(np.finfo(dtype).max)


def pull_signs(program: Program) -> Program:
    """Take a factor's sign out of its product, to where `fold_signs` may use it."""

    def rule(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
        if step.function is not np.multiply or step.out.dtype.kind != "f" or step.kwargs:
            return None
        args, signs = list(step.args), 0
        for i, arg in enumerate(args):
            alone = isinstance(arg, Value) and uses[arg] == 1 and arg.dtype.kind == "f"  # others wrap around
            inner = made.get(arg) if alone else None
            if inner is not None and inner.function is np.negative and not inner.kwargs:
                args[i], signs = inner.args[0], signs + 1
        if signs != 1:
            return [replace(step, args=tuple(args))] if signs else None
        product = call(np.multiply, *args, like=step, shape=step.out.shape)
        return [product, replace(step, function=np.negative, args=(product.out,))]

    return rewritten(program, rule)


PASSES: tuple[Callable[[Program], Program], ...] = (
    *(simplify, share_equal, simplify, in_memory_order, without_zeros, drop_dead),
    *(pull_signs, fold_signs, drop_dead),
)


def optimized(program: Program) -> Program:
    """Return the program after all passes."""
    for rewrite in PASSES:
        program = rewrite(program)
    return program
