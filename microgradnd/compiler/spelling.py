"""Chooses the fastest of the ways in which NumPy computes the same result.

Owns: the rules that find a faster spelling; a function's row of traits names its rule.
Must not own: rewriting that doesn't depend on NumPy's speed (`passes.py`).
Read next: `joining.py`.

Measured on NumPy 2.4 and its OpenBLAS: a sum along an axis takes a third to a tenth of
the time as a product with ones. A sum of products is one dot product. `np.maximum` is
vectorised for two arrays, but not for an array and a number. `argmax` finds the maximum
of each row faster than `np.max`. BLAS computes contractions many times faster than
NumPy's loops.

Three of these add in another order, so their results differ from the eager ones by
rounding: sums that become products with ones or dot products; `@` between matrices,
which `np.dot` may hand to another routine of the same BLAS; and contractions
(`../contraction.py`), although eager calls use those too. Everything else is equal to
the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import contraction as contractions
from microgradnd import powers, primitives
from microgradnd.compiler import choices, matrices
from microgradnd.compiler.program import (
    Constant,
    Made,
    Program,
    Rule,
    Step,
    Value,
    call,
    filled,
    fills,
    rename,
    rewritten,
)
from microgradnd.compiler.traits import ROOTS, traits
from microgradnd.rules import choice

FULL = 2**16  # constants of up to this many elements are spread out to an array
ARITHMETIC = (np.add, np.subtract, np.multiply, np.divide)
ROWS = 2**14  # from this many elements, `argmax` finds the maximum of each row


def spell(program: Program, rules: Mapping[str, Rule] | None = None, own: Sequence[Value] = ()) -> Program:
    """Write each step in the fastest way that the rules know.

    Steps may write over the values in `own`.
    """
    named = SPELLINGS if rules is None else rules

    def by_name(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
        rule = named.get(traits(step.function).spelling)
        return rule(step, made, uses) if rule else None

    return rewritten(program, by_name, {value: Step(added_at, (), {}, value) for value in own})


def ending(steps: list[Step], like: Step) -> list[Step]:
    """Return steps whose last computes what another step did, in its shape."""
    out = like.out
    last = steps[-1]
    if last.out.shape == out.shape:
        return [*steps[:-1], replace(last, out=out)]
    if not out.shape:  # a number, as NumPy returns it, not an array without axes
        return [*steps, Step(primitives.getitem, (last.out, (0,) * len(last.out.shape)), {}, out, like.where)]
    return [*steps, Step(np.reshape, (last.out, out.shape), {}, out, like.where)]


def square(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Multiply x by itself, unless the square has another dtype, as for booleans."""
    x = step.args[0]
    plain = not step.kwargs and isinstance(x, Value) and x.dtype == step.out.dtype
    return [replace(step, function=np.multiply, args=(x, x))] if plain else None


def power(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Multiply or take a root instead, as the eager call does."""
    x, exponent = step.args
    if ROOTS and type(exponent) is float and exponent == 0.5 and is_real(x) and not step.kwargs:
        return [replace(step, function=np.sqrt, args=(x,))]
    if is_real(x) and not step.kwargs and powers.is_inverse_root(x.dtype, x.shape, exponent):
        return [replace(step, function=powers.inverse_root, args=(x,))]
    if not isinstance(x, Value) or step.kwargs or not powers.is_product(x.dtype, x.shape, exponent):
        return None
    steps: list[Step] = []

    def multiply(a: Value, b: Value) -> Value:
        steps.append(call(np.multiply, a, b, like=step, shape=x.shape))
        return steps[-1].out

    powers.products(x, exponent, multiply)
    return ending(steps, step)


def multiplied(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Divide fewer numbers, or convert a mask once."""
    return quotient_of_rows(step, made, uses) or masked(step)


def masked(step: Step) -> list[Step] | None:
    """Convert a mask once, where a product would convert it, buffer by buffer."""
    out = step.out
    for x, mask in (step.args, step.args[::-1]) if out.size >= choice.LARGE and not step.kwargs else ():
        is_mask = isinstance(mask, Value) and mask.dtype == bool and mask.shape == out.shape
        if is_mask and is_real(x) and x.dtype == out.dtype:
            cast = call(primitives.astype, mask, out.dtype, like=step, shape=out.shape)
            return [cast, replace(step, args=(x, cast.out))]
    return None


def quotient_of_rows(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Write (a / s) * x, as derivatives do, as a * (x / s), where x and s are
    shorter.
    """
    out = step.out
    for quotient, x in (step.args, step.args[::-1]) if step.where is None and not step.kwargs else ():
        a, s = choices.step_of(quotient, made, np.divide) or (None, None)
        is_shorter = is_real(x) and is_real(s) and x.shape == s.shape and x.size < out.size
        if is_shorter and uses[quotient] == 1 and quotient.shape == out.shape and x.dtype == s.dtype == out.dtype:
            ratio = call(np.divide, x, s, like=step, shape=x.shape)
            return [ratio, replace(step, args=(a, ratio.out))]
    return None


def divided(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Multiply by the inverse of a power of two, which is exact."""
    x, c = step.args
    exact = type(c) in (int, float) and 2**-60 <= abs(c) <= 2**60 and abs(math.frexp(c)[0]) == 0.5
    plain = exact and is_real(x) and x.dtype == step.out.dtype and not step.kwargs
    return [replace(step, function=np.multiply, args=(x, 1 / c))] if plain else None


def matmul(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Multiply two matrices by `np.dot`, or as their structure allows."""
    if not all(isinstance(a, Value) for a in step.args):
        return None
    plain = all(len(a.shape) == 2 for a in step.args) and not step.kwargs
    return matrices.product(step, made, uses) or ([replace(step, function=np.dot)] if plain else None)


def contraction(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Multiply matrices where that takes less time than NumPy's loops."""
    if step.function is np.dot and (new := matmul(step, made, uses)):
        return new
    found = contractions.contraction(step.function, step.args, step.kwargs, (Value, np.ndarray))
    if found is None or any(x.dtype != step.out.dtype for x in found[1]):
        return None
    subscripts, values = found[0], list(found[1])
    steps = []
    for function, args, shape in contractions.plan(subscripts, tuple([x.shape for x in values])):
        where = [values[a] if type(a) is contractions.Place else a for a in args]
        steps.append(call(function, *where, like=step, shape=shape))
        values.append(steps[-1].out)
    return ending(steps, step) if steps else None


def bound(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Spread a bound out to an array."""
    for place, x in enumerate(step.args):
        number = step.args[1 - place]
        if choices.alike(x, step) and 0 < x.size <= FULL and fills(number, x.dtype):
            args = (x, filled(x.shape, number, x.dtype))
            return [replace(step, args=args[:: 1 - 2 * place])]
    return None


def added_at(x: Any, index: Any, values: Any) -> Any:
    """Return an array with values added at an index; programs add in place."""
    out = np.array(x)
    np.add.at(out, index, values)
    return out


def assigned_at(x: Any, index: Any, values: Any) -> Any:
    """Return an array with values assigned at an index; programs assign in place."""
    return primitives.setitem(x, index, values)


IN_PLACE = (added_at, assigned_at)  # steps that change their first operand


def scattered(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Add in place to another array instead of scattering into zeros."""
    out = step.out
    for base, other in (step.args, step.args[::-1]) if len(step.operands()) == 2 else ():
        first, second = made.get(base), made.get(other)
        if first is None or second is None or second.function is not primitives.scatter:
            continue
        is_fresh = first.function is added_at or traits(first.function).memory == "fresh"
        values, index, shape = second.args
        fits = all((x.shape, x.dtype) == (shape, values.dtype) != (shape, np.float16) for x in (base, out))
        if not (is_fresh and fits and shape and uses[base] == uses[other] == 1):
            continue
        steps = []
        if step.function is np.subtract and base is step.args[0]:
            steps = [call(np.negative, values, like=step, shape=values.shape)]
            values = steps[0].out
        elif step.function is np.subtract:
            steps = [call(np.negative, base, like=first, shape=out.shape)]
            base = steps[0].out
        rename(base, out)
        return [*steps, replace(step, function=added_at, args=(base, index, values))]
    return None


def scattered_in_loops(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Add in place where arrays say where to; for slices, loops fuse zeros better."""
    found = [inner.args for a in step.operands() if (inner := made.get(a)) and inner.function is primitives.scatter]
    for values, index, shape in found:
        parts = arrays_of(index)
        named = np.broadcast_shapes(*(part.shape for part in parts))
        if not parts or not is_real(values) or values.shape != (*named, *shape[len(parts) :]):
            return None
    return scattered(step, made, uses) if found else None


def unspread(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Scatter a number that would be spread out for it, as NumPy's assignment does."""
    values, *others = step.args
    number = (*choices.step_of(values, made, primitives.expand), None)[0]
    if not isinstance(number, Value) or number.shape or number.dtype != values.dtype:
        return None
    return [replace(step, args=(number, *others))]


def widened(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Reshape, which is a method, in a tenth of the time."""
    x = step.args[0]
    return [replace(step, function=np.reshape, args=(x, step.out.shape), kwargs={})] if isinstance(x, Value) else None


def picked(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Pick from the operands of a step of which nothing else is used."""
    x, index = step.args
    inner = made.get(x) if isinstance(x, Value) else None
    parts = arrays_of(index)
    if inner is None or inner.function not in ARITHMETIC or inner.kwargs or uses[x] != 1:
        return None
    if len(parts) != len(x.shape) or step.out.size >= x.size:
        return None
    steps, args = [], []
    for a in inner.args:
        if getattr(a, "shape", ()):
            lengths = (1,) * (len(x.shape) - len(a.shape)) + a.shape
            kept = [i for i, n in enumerate(lengths) if n == x.shape[i]]
            shape = tuple(x.shape[i] for i in kept)
            if shape != a.shape:
                steps.append(call(np.reshape, a, shape, like=step, shape=shape, dtype=a.dtype))
                a = steps[-1].out
            places = tuple(parts[i] for i in kept)
            shape = np.broadcast_shapes(*(place.shape for place in places))
            steps.append(call(primitives.getitem, a, places, like=step, shape=shape, dtype=a.dtype))
            a = steps[-1].out
        args.append(a)
    return [*steps, replace(step, function=inner.function, args=tuple(args))]


def arrays_of(index: Any) -> tuple[Any, ...]:
    """Return the parts of an index if all are arrays of integers."""
    parts = index if isinstance(index, tuple) else (index,)
    return parts if all(hasattr(part, "dtype") and part.dtype.kind in "iu" and part.shape for part in parts) else ()


def axes_of(step: Step) -> tuple[int, ...] | None:
    """Return a reduction's axes if it has no other arguments but keepdims."""
    x = step.args[0]
    if len(step.args) > 2 or set(step.kwargs) - {"axis", "keepdims"} or not isinstance(x, Value):
        return None
    axis = step.args[1] if len(step.args) == 2 else step.kwargs.get("axis")
    axes = range(len(x.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % len(x.shape) for a in axes)) if x.shape else None


def reduced(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Call the ufunc's own reduction: the same result with less overhead."""
    if len(step.args) > 2 or set(step.kwargs) - {"axis", "keepdims"}:
        return None
    kwargs = {"axis": step.args[1] if len(step.args) == 2 else None, **step.kwargs}
    return [replace(step, function=traits(step.function).reducer, args=step.args[:1], kwargs=kwargs)]


def summed(x: Value, axes: tuple[int, ...], like: Step) -> Step:
    """Return the sum along some axes, which remain with length 1; a number for all."""
    if len(axes) == len(x.shape):
        return call(np.sum, x, like=like, shape=())
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return call(np.sum, x, like=like, shape=shape, axis=axes, keepdims=True)


def sums(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Write a sum along the first or the last axes as a product."""
    x, axes = step.args[0], axes_of(step)
    if axes is None or not is_real(x) or not x.size:
        return reduced(step, made, uses)
    n = len(x.shape)
    count = math.prod(x.shape[a] for a in axes)
    rest = x.size // count
    factor = made.get(x)
    product = factor is not None and factor.function is np.multiply and uses[x] == 1 and not factor.kwargs
    if product and all(is_real(a) and a.shape == x.shape for a in factor.args):  # type: ignore[union-attr]
        a, b = factor.args  # type: ignore[union-attr]
        if len(axes) == n:
            return ending([call(np.vdot, a, b, like=step, shape=())], step)
        if axes == (n - 1,):
            return ending([call(np.vecdot, a, b, like=step, shape=x.shape[:-1])], step)
    if len(axes) == n or count == 1:
        return reduced(step, made, uses)
    if axes == tuple(range(len(axes))):
        matrix, order = (count, rest), 0
    elif axes == tuple(range(n - len(axes), n)):
        matrix, order = (rest, count), 1
    else:
        return reduced(step, made, uses)
    steps = [] if x.shape == matrix else [call(np.reshape, x, matrix, like=step, shape=matrix)]
    flat, ones = steps[0].out if steps else x, filled((count,), 1, x.dtype)
    args = (flat, ones) if order else (ones, flat)
    return ending([*steps, call(np.dot, *args, like=step, shape=(rest,))], step)


def maxima(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Find the maximum of each row by `argmax`."""
    x, axes = step.args[0], axes_of(step)
    if axes is None or axes != (len(x.shape) - 1,) or not is_real(x) or x.size < ROWS or x.shape[-1] < 8:
        return reduced(step, made, uses)
    count, width = x.size // x.shape[-1], x.shape[-1]
    starts = Constant(f"np.arange(0, {x.size}, {width})", np.arange(0, x.size, width))
    rows, flat = (call(np.reshape, x, shape, like=step, shape=shape) for shape in ((count, width), (x.size,)))
    steps = [] if x.shape == (count, width) else [rows]
    steps.append(call(np.argmax, rows.out if steps else x, 1, like=step, shape=(count,), dtype=np.intp))
    steps += [call(np.add, steps[-1].out, starts, like=step, shape=(count,), dtype=np.intp), flat]
    steps.append(call(np.take, flat.out, steps[-2].out, like=step, shape=(count,)))
    return ending(steps, step)


def is_real(x: Any) -> bool:
    """Return whether an argument is an array of a dtype that BLAS knows."""
    return isinstance(x, Value | np.ndarray) and x.dtype in (np.float32, np.float64) and x.shape != ()


SPELLINGS: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        square,
        power,
        multiplied,
        divided,
        matmul,
        contraction,
        bound,
        sums,
        maxima,
        reduced,
        matrices.solve,
        matrices.cholesky,
        choices.where,
        choices.compared,
    )
}
# Those that make loops faster too
OF_LOOPS = {name: SPELLINGS[name] for name in ("power", "contraction", "matmul", "solve", "cholesky")}
OF_LOOPS |= {"multiplied": quotient_of_rows, "picked": picked}
OF_LOOPS |= dict.fromkeys(("added", "subtracted"), scattered_in_loops)
# After equal steps have been shared, since these add in place, or other rules look for
# the function that was called
LAST: dict[str, Rule] = {
    "picked": picked,
    "scattered": unspread,
    "added": scattered,
    "subtracted": scattered,
    "widened": widened,
}
