"""Formulas with fewer operations for the same mathematics, in NumPy calls and in loops.

Owns: the rules that find them; a function's row of traits names its rule.
Must not own: which NumPy call is fastest (`spelling.py`), sums that are always 0
(`cancelling.py`), what NumPy calls and loops do with a share of a maximum
(`choices.py`).
Read next: `spelling.py`.

Two spellings of one function lead to equal programs if both are first brought into one
form. In a derivative, signs and common factors come out of sums, a division by what is
multiplied next is left out, and equal terms are added once with their number. In
addition, a mean is a sum, and the logarithm of a softmax is a difference.
`docs/decisions/0032-spellings.md` says how much the results may differ.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler import choices
from microgradnd.compiler.cancelling import keeps_order
from microgradnd.compiler.passes import drop_dead, fold_signs, key_of, simplify
from microgradnd.compiler.program import Made, Program, Rule, Step, Value, call, fills
from microgradnd.compiler.spelling import arrays_of, axes_of, ending, is_real, spell, summed
from microgradnd.rules.elementwise import share_of_maximum

FACTORS = (np.multiply, np.divide, np.negative)  # that may be taken out of a sum
DEFAULTS = {"dtype": None, "out": None, "ddof": 0, "where": True}  # of means and variances
KNOWN = {*DEFAULTS, "axis", "keepdims"}
# And the order in which their arguments grow
COMPARISONS: dict[Any, int] = {np.less: 1, np.less_equal: 1, np.greater: -1, np.greater_equal: -1}
FACTORED = 16  # steps of a product that are looked at

multiple, step_of = choices.multiple, choices.step_of


# Sums


def sums(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Sum fewer numbers: without a common factor, or where values are scattered."""
    return taken_out(step, made, uses) or sum_of_scattered(step, made)


def sum_of_sums(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Sum all numbers at once, not those along some axes first.

    For NumPy calls only: a loop over rows can share the loop that sums each of them.
    """
    x = step.args[0]
    inner = made.get(x) if axes_of(step) == tuple(range(len(np.shape(x)))) else None
    if inner is None or inner.function is not np.sum or not axes_of(inner) or uses.get(x) != 1:
        return None
    y = inner.args[0]
    total = summed(y, tuple(range(len(y.shape))), step)
    return ending(sums(total, made, uses) or [total], step)


def taken_out(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Take a sign, or a factor that is equal along the axes, out of a rule's sum."""
    x, axes = step.args[0], axes_of(step)
    if step.where is not None or axes is None or not is_real(x) or not x.size:  # an infinite factor of nothing is 0
        return None
    inner = made.get(x)
    if inner is None or inner.function not in FACTORS or inner.kwargs:
        return None
    for a, *spread in [inner.args, inner.args[::-1]][: 2 if inner.function is np.multiply else 1]:
        factor = [next(iter(step_of(f, made, primitives.expand)), f) for f in spread]
        alike = (
            is_real(a) and (a.shape, a.dtype) == (x.shape, x.dtype) and all(is_same_along(f, axes, x) for f in factor)
        )
        if alike and isinstance(a, np.ndarray):
            known = np.sum(a, axis=axes, keepdims=True)
            return ending([call(inner.function, known, *factor, like=step, shape=known.shape)], step)
        if alike and uses.get(x, 1) == 1:
            total = summed(a, axes, step)
            steps = sums(total, made, uses) or [total]
            shape = np.broadcast_shapes(total.out.shape, *map(np.shape, factor))
            return ending([*steps, call(inner.function, steps[-1].out, *factor, like=step, shape=shape)], step)
    return None


def is_same_along(factor: Any, axes: tuple[int, ...], x: Value) -> bool:
    """Return whether a factor of x is a number, or equal along some axes."""
    if not isinstance(factor, Value):
        return type(factor) in (int, float)
    shape = (1,) * (len(x.shape) - len(factor.shape)) + factor.shape
    return factor.dtype == x.dtype and all(shape[a] == 1 for a in axes)


def sum_of_scattered(step: Step, made: Made) -> list[Step] | None:
    """Scatter into the sum along an axis instead of along that axis."""
    values, index, shape = step_of(step.args[0], made, primitives.scatter) or (None, None, ())
    axes, parts = axes_of(step), arrays_of(index)
    rest = [i for i in range(len(shape)) if axes and i not in axes]
    kept = tuple(parts[i] for i in rest) if len(parts) == len(shape) else ()
    if not kept or np.broadcast_shapes(*(part.shape for part in kept)) != values.shape:
        return None
    lengths = tuple(shape[i] for i in rest)
    return ending([call(primitives.scatter, values, kept, lengths, like=step, shape=lengths)], step)


def plain_axes(step: Step) -> tuple[int, ...] | None:
    """Return the axes of a plain mean or variance, which keeps the dtype."""
    names = ("axis", "dtype", "out", "ddof", "keepdims")
    given = dict(zip(names, step.args[1:], strict=False)) | dict(step.kwargs)
    plain = all(given.get(key, value) in (value,) for key, value in DEFAULTS.items()) and not set(given) - KNOWN
    x = step.args[0]
    if not plain or not is_real(x) or not x.size:
        return None
    return axes_of(replace(step, args=(x,), kwargs={"axis": given.get("axis")}))


def mean(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Divide the sum, as NumPy does."""
    axes = plain_axes(step)
    return None if axes is None else ending(mean_along(step.args[0], axes, step, made, uses), step)


def mean_along(x: Value, axes: tuple[int, ...], like: Step, made: Made, uses: dict[Value, int]) -> list[Step]:
    """Return the steps for a mean along some axes, as `summed` leaves them."""
    total = summed(x, axes, like)
    steps = sums(total, made, uses) or [total]
    shape, n = total.out.shape, math.prod(x.shape[a] for a in axes)
    return [*steps, call(np.divide, steps[-1].out, n, like=like, shape=shape)]


def variance(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Take the mean of the squared deviations, which other steps may need too."""
    x, axes = step.args[0], plain_axes(step)
    if axes is None:
        return None
    centre = mean_along(x, axes, step, made, uses)
    apart = call(np.subtract, x, centre[-1].out, like=step, shape=x.shape)
    squares = call(np.multiply, apart.out, apart.out, like=step, shape=x.shape)
    return ending([*centre, apart, squares, *mean_along(squares.out, axes, step, made, uses)], step)


def deviation(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Take the root of the variance, as NumPy does."""
    of_squares = Value(step.out.shape, step.out.dtype)
    steps = variance(replace(step, out=of_squares), made, uses)
    return steps and [*steps, replace(step, function=np.sqrt, args=(of_squares,), kwargs={})]


def norm(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Take the root of the sum of squares, as NumPy does."""
    x, *others = step.args
    given = dict(zip(("ord", "axis", "keepdims"), others, strict=False)) | dict(step.kwargs)
    if not is_real(x) or not x.size or given.get("ord") is not None:
        return None
    axes = axes_of(replace(step, args=(x,), kwargs={"axis": given.get("axis")}))
    squares, root = call(np.multiply, x, x, like=step, shape=x.shape), Value(step.out.shape, step.out.dtype)
    total = ending([squares, summed(squares.out, axes or (), step)], replace(step, out=root))
    return [*total, replace(step, function=np.sqrt, args=(root,), kwargs={})]


def expanded(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Spread a sum out by an axis of length 1, as ufuncs do themselves."""
    given = dict(zip(("g", "shape", "axis", "keepdims"), step.args, strict=False)) | dict(step.kwargs)
    g, shape, axis = given["g"], given["shape"], given.get("axis")
    if not getattr(g, "shape", ()) or axis is None or given.get("keepdims"):
        return None
    axes = {a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))}
    index = tuple(None if i in axes else slice(None) for i in range(len(shape)))
    kept = tuple(1 if i in axes else n for i, n in enumerate(step.out.shape))
    row = call(primitives.getitem, g, index, like=step, shape=kept)
    return [row, replace(step, args=(row.out, shape, axis, True), kwargs={})]


# Softmax


def sum_of_exponentials(s: Any, made: Made) -> tuple[Value, tuple[int, ...]] | None:
    """Return z and some axes if s is the sum of exp(z) along them, and z = x - max(x).

    Then s isn't less than 1.
    """
    e, axes = reduction_of(s, np.sum, made)
    (z,) = step_of(e, made, np.exp) or (None,)
    x, top = step_of(z, made, np.subtract) or (None, None)
    fits = is_real(x) and is_real(s) and (x.shape, x.dtype, s.dtype) == (z.shape, z.dtype, z.dtype)
    return (z, axes) if fits and reduction_of(top, np.max, made) == (x, axes) else None


def reduction_of(total: Any, function: Any, made: Made) -> tuple[Any, Any]:
    """Return what is reduced, and along which axes, if the result has or could have
    these axes with length 1; otherwise None twice.
    """
    value: Any = total
    step = made.get(value) if isinstance(value, Value) else None
    while step and (keeps_order(step) or step.function is np.expand_dims):
        value = step.args[0]
        step = made.get(value)
    axes = axes_of(step) if step and step.function is function else None
    if step is None or axes is None:
        return None, None
    x = step.args[0]
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return (x, axes) if (1,) * (len(kept) - len(total.shape)) + total.shape == kept else (None, None)


def softmax_of(p: Any, made: Made) -> tuple[Value, Any] | None:
    """Return z and s if p is exp(z) / s, and s the sum of exp(z), as above."""
    e, s = step_of(p, made, np.divide) or (None, None)
    z, _ = sum_of_exponentials(s, made) or (None, None)
    return (z, s) if z is not None and step_of(e, made, np.exp) == (z,) and p.shape == z.shape else None


def logarithm(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Write the logarithm of a softmax as a difference, finite where it is tiny."""
    out = step.out
    found = softmax_of(step.args[0], made)
    if found is None or step.kwargs or (found[0].shape, found[0].dtype) != (out.shape, out.dtype):
        return None
    z, s = found
    log = call(np.log, s, like=step, shape=s.shape)
    return [log, replace(step, function=np.subtract, args=(z, log.out))]


def exponential(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Write exp(x - log(s)) as exp(x) / s, where exp(x) is known and s is a sum of
    it.
    """
    out = step.out
    x, logarithm = step_of(step.args[0], made, np.subtract) or (None, None)
    for s in step_of(logarithm, made, np.log):
        e = (*step_of(s, made, np.sum), None)[0]
        if step_of(e, made, np.exp) == (x,) and (e.shape, e.dtype) == (out.shape, s.dtype):
            return [replace(step, function=np.divide, args=(e, s))]
    return None


def weighted(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Write a sum of c * (z - log(s)), a log-softmax, as one of c * z minus one of
    log(s) * c.

    As z is at most 0 and log(s) at least 0, no term is larger than before, so the
    rounding errors aren't either. The constant c must be finite.
    """
    x, axes = step.args[0], axes_of(step)
    factors = step_of(x, made, np.multiply) if axes and uses.get(x) == 1 else ()
    for c, log_p in (factors, factors[::-1]) if factors else ():
        z, log = step_of(log_p, made, np.subtract) or (None, None)
        (s,) = step_of(log, made, np.log) or (None,)
        exponent, along = sum_of_exponentials(s, made) or (None, ())
        is_log_softmax = exponent is not None and exponent is z and len(log.shape) == len(z.shape)
        if not is_log_softmax or uses[log_p] != 1 or not set(along) <= set(axes or ()):
            continue
        if isinstance(c, np.ndarray) and (c.shape, c.dtype) == (x.shape, x.dtype) and c.size and np.isfinite(c).all():
            return weighted_parts(c, z, log, along, step)
    return None


def weighted_parts(c: np.ndarray[Any, Any], z: Value, log: Value, along: tuple[int, ...], step: Step) -> list[Step]:
    """Return the steps for the sum of c * z minus the sum of log times c's sums."""
    weights, axes = np.sum(c, axis=along, keepdims=True), axes_of(step) or ()
    weight = weights.flat[0].item() if np.all(weights == weights.flat[0]) else weights
    left = call(np.multiply, c, z, like=step, shape=z.shape)
    right = call(np.multiply, log, weight, like=step, shape=log.shape)
    steps = [left, summed(left.out, axes, step), right]
    if axes != along:
        steps.append(summed(right.out, axes, step))
    shape = np.broadcast_shapes(steps[1].out.shape, steps[-1].out.shape)
    return ending([*steps, call(np.subtract, steps[1].out, steps[-1].out, like=step, shape=shape)], step)


# Products in derivatives


def products(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Divide once, or not at all, what a derivative divides and then multiplies."""
    if any(isinstance(a, np.ndarray) and a.dtype == bool for a in step.args) and is_real(step.out):
        args = [a.astype(step.out.dtype) if isinstance(a, np.ndarray) else a for a in step.args]
        return [replace(step, args=tuple(args))]
    if step.where is not None or step.kwargs:
        return None
    for terms, e in (step.args, step.args[::-1]):
        if not isinstance(terms, Value) or not is_real(e) or (e.shape, e.dtype) != (step.out.shape, terms.dtype):
            continue
        known = by_known_quotient(terms, e, made, uses)
        terms, e = known or (terms, e)
        last = replace(step, args=(terms, e))
        if new := by_softmax(terms, e, last, made, uses) or (known and [last]):
            return new
    return with_one_number(step, made, uses)


def with_one_number(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Write (x * a) * (y * b) with numbers a and b as (x * y) * (a * b), and where x
    has fewer elements, x * (y * b) as (x * b) * y.
    """
    for old, other in (step.args, step.args[::-1]):
        (y, b), (x, a) = multiple(old, made), multiple(other, made)
        row = next(iter(step_of(other, made, primitives.expand)), other)
        if y is old or uses.get(old) != 1 or not choices.alike(y, step):
            continue
        if (
            isinstance(row, Value)
            and row.dtype == y.dtype
            and len(row.shape) in (0, len(y.shape))
            and row.size < y.size
        ):
            factor = call(np.multiply, row, b, like=step, shape=row.shape)
            return [factor, replace(step, args=(y, factor.out))]
        if x is not other and uses.get(other) == 1 and choices.alike(x, step) and fills(a * b, y.dtype):
            product = call(np.multiply, x, y, like=step, shape=y.shape)
            return (
                [replace(product, out=step.out)] if a * b == 1 else [product, replace(step, args=(product.out, a * b))]
            )
    return None


def by_known_quotient(quotient: Value, e: Any, made: Made, uses: dict[Value, int]) -> tuple[Value, Value] | None:
    """Return a and p, whose product is (a / s) * e, if p = e / s is known."""
    a, s = step_of(quotient, made, np.divide) or (None, None)
    known = (one.out for one in made.values() if one.function is np.divide and one.args[0] is e and one.args[1] is s)
    p: Any = next(known, None) if is_real(s) and uses.get(quotient, 1) == 1 else None
    return (a, p) if p is not None and isinstance(a, Value) and a.shape == p.shape == e.shape else None


def by_softmax(terms: Value, p: Any, step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Write (g / p) * p as g, and (g / p + b) * p as g + b * p, if p is a softmax."""
    if softmax_of(p, made) is None:
        return None

    def divided(x: Any) -> Any:
        """Return g if x is g / p."""
        g, by = step_of(x, made, np.divide) or (None, None)
        return g if by is p else None

    g = divided(terms)
    if is_real(g) and g.shape == p.shape:
        return [replace(step, function=primitives.identity, args=(g,))]
    inner = made.get(terms)
    if inner is None or inner.function not in (np.add, np.subtract) or uses.get(terms, 1) != 1:
        return None
    for place, x in enumerate(inner.args):
        if (g := divided(x)) is not None:
            other = call(np.multiply, inner.args[1 - place], p, like=step, shape=p.shape)
            args = (other.out, g) if place else (g, other.out)
            return [other, replace(step, function=inner.function, args=args)]
    return None


# Equal terms in derivatives


def added(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Add equal terms once, choose once, and multiply or divide once."""
    if step.where is not None or step.kwargs or not is_real(step.out) or not step.out.size:
        return None
    return sum_of_choices(step, made) or like_terms(step, made, uses) or common_factor(step, made, uses)


def common_factor(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Write a * x + b * x as (a + b) * x, and a / x + b / x as (a + b) / x."""
    one, other = (made.get(arg) if isinstance(arg, Value) and uses.get(arg, 1) == 1 else None for arg in step.args)
    if one is None or other is None or one.function is not other.function or one.kwargs or other.kwargs:
        return None
    sides = {np.multiply: 2, np.divide: 1}.get(one.function, 0)
    for a, x in (one.args, one.args[::-1])[:sides]:
        for b, same in (other.args, other.args[::-1])[:sides]:
            if x is same and is_real(a) and is_real(b) and a.dtype == b.dtype == step.out.dtype:
                total = call(np.add, a, b, like=step, shape=np.broadcast_shapes(a.shape, b.shape))
                return [total, replace(step, function=one.function, args=(total.out, x))]
    return None


def like_terms(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Write z + x * (y * y) + (x * y) * y as z + 2 * (x * (y * y)).

    Products are equal if they have the same factors, in any order. So the derivative of
    `x * x * x` takes no more operations than that of `x**3`.
    """
    if not all(choices.alike(x, step) for x in step.args):
        return None
    for old, new in (step.args, step.args[::-1]):
        factors, number = factors_of(new, made)
        inner = made.get(old)
        is_sum = inner is not None and inner.function is np.add and inner.where is None and uses.get(old, 1) == 1
        parts = inner.args if is_sum and all(choices.alike(a, step) for a in inner.args) else ()  # type: ignore[union-attr]
        for rest, term in [(None, old), *zip(parts, parts[::-1], strict=True)]:
            others, before = factors_of(term, made)
            for kept, count in ((term, before), (new, number)):
                times = (before + number) / count if count else 0
                if others == factors and times >= 2 and times == int(times):
                    product = call(np.multiply, kept, int(times), like=step, shape=kept.shape)
                    total = replace(step, args=(rest, product.out))
                    return [replace(product, out=step.out)] if rest is None else [product, total]
    return None


def factors_of(product: Value, made: Made) -> tuple[Counter[Any], float]:
    """Return how often each value is a factor of a product, and the number before
    it.
    """
    found: Counter[Any] = Counter()
    number, todo = 1.0, [product]
    for _ in range(FACTORED):
        if not todo:
            break
        x: Any = todo.pop()
        inner = made.get(x) if isinstance(x, Value) else None
        if type(x) in (int, float):
            number *= x
        elif inner is not None and inner.function is np.multiply and not inner.kwargs:
            todo += inner.args
        else:
            found[x if isinstance(x, Value) else id(x)] += 1
    found.update(x if isinstance(x, Value) else id(x) for x in todo)
    return found, number


# Choices


def chosen(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Choose once, by both masks, or not at all."""
    if step.kwargs or len(step.args) != 3 or not is_real(step.out):
        return None
    mask, *values = step.args
    for place, value in enumerate(values):
        other, *inner = step_of(value, made, np.where) or (None,)
        if len(inner) != 2 or uses.get(value) != 1 or not (choices.is_mask(mask) and choices.is_mask(other)):
            continue
        if choices.is_zero(values[1 - place]) and choices.is_zero(inner[1 - place]):
            shape = np.broadcast_shapes(mask.shape, other.shape)
            join = np.logical_or if place else np.logical_and
            both = call(join, mask, other, like=step, shape=shape, dtype=mask.dtype)
            inner[1 - place] = 0
            return [both, replace(step, args=(both.out, *inner))]
    return bounded(step, made)


def bounded(step: Step, made: Made) -> list[Step] | None:
    """Write a bound, where x lies beyond it, and x elsewhere as the smaller or the
    larger of the two.

    A bound of 0 stays: which of two zeros is the smaller isn't specified.
    """
    mask, c, value = step.args
    comparison = made.get(mask) if isinstance(mask, Value) else None
    order = COMPARISONS.get(comparison.function, 0) if comparison is not None and not comparison.kwargs else 0
    if not order or not fills(c, step.out.dtype) or not step.out.dtype.type(c):
        return None
    low, high = comparison.args[::order]  # type: ignore[union-attr]
    is_upper = type(low) in (int, float)
    x, bound, extreme, other = (high, low, np.minimum, np.maximum) if is_upper else (low, high, np.maximum, np.minimum)
    inner, limit = step_of(value, made, other) or (value, c)  # where x isn't beyond its own limit
    is_ordered = type(limit) in (int, float) and (limit <= c if is_upper else limit >= c)
    if type(bound) not in (int, float) or bound != c or inner is not x or not is_ordered or not choices.alike(x, step):
        return None
    return [replace(step, function=extreme, args=(value, c))]


def sum_of_choices(step: Step, made: Made) -> list[Step] | None:
    """Choose once between multiples of g, which derivatives by two choices add up."""
    found = sorted((choice_of(arg, step, made) for arg in step.args), key=lambda choice: not choice[0])
    (by, g, *before), (other, same, *more) = found
    ahead, turned = (key_of(order) == key_of(by) for order in (other, other[::-1]))
    if not by or g is not same or not choices.alike(g, step) or (other and not ahead and not turned):
        return None
    a, b = (x + y for x, y in zip(before, more if ahead else more[::-1], strict=True))
    if len(by) == 2:
        function, weights = (share_of_maximum, ()) if (a, b) == (1, 0) else (choices.weighed, (a, b))
        share = call(function, *by, *weights, like=step, shape=g.shape)
        return [share, replace(step, function=np.multiply, args=(g, share.out))]
    parts = {c: call(np.multiply, g, c, like=step, shape=g.shape) for c in (a, b) if c not in (0, 1)}
    known = {0: 0, 1: g} | {c: part.out for c, part in parts.items()}
    return [*parts.values(), replace(step, function=np.where, args=(*by, known[a], known[b]))]


def choice_of(x: Any, like: Step, made: Made) -> tuple[Any, ...]:
    """Return a mask, or the two arrays whose order decides, and g, a and b, if x is a *
    g where it's true or the first is larger, and b * g elsewhere; otherwise ().
    """
    y, c = scaled(x, made)
    mask, *values = step_of(y, made, np.where) or (None,)
    for g, other, weights in zip(values, values[::-1], ((c, 0), (0, c)), strict=False):
        if choices.is_zero(other):
            return (mask,), g, *weights
    factors = step_of(y, made, np.multiply)
    for g, share in (factors, factors[::-1]) if factors else ():
        by, weights = step_of(share, made, share_of_maximum), (1, 0)
        if sign := step_of(share, made, np.sign):
            by, weights = (*sign, 0), (1, -1)
        if by and choices.alike(share, like):
            g, number = scaled(g, made)
            return by, g, *(weight * c * number for weight in weights)
    return (), y, c, c


def scaled(x: Any, made: Made) -> tuple[Any, float]:
    """Return y and c if a value is c * y, or y divided by 1 / c, for a number c."""
    y, n = step_of(x, made, np.divide) or (None, None)
    return (y, 1 / n) if isinstance(y, Value) and type(n) in (int, float) and n else multiple(x, made)


def converted(step: Step, made: Made, uses: dict[Value, int]) -> list[Step] | None:
    """Choose between numbers of the dtype to which a choice is converted."""
    mask, *numbers = step_of(step.args[0], made, np.where) or (None,)
    if not numbers or not all(fills(number, step.out.dtype) for number in numbers):
        return None
    return [replace(step, function=np.where, args=(mask, *map(step.out.dtype.type, numbers)), kwargs={})]


FORMULAS: dict[str, Rule] = {
    "sums": sums,
    "expanded": expanded,
    "mean": mean,
    "variance": variance,
    "deviation": deviation,
    "norm": norm,
    "logarithm": logarithm,
    "exponential": exponential,
    "multiplied": products,
    "added": added,
    "where": chosen,
    "converted": converted,
}


def formulated(program: Program, is_of_calls: bool = False) -> Program:
    """Return an equal program with fewer operations."""
    program = drop_dead(fold_signs(simplify(spell(program, FORMULAS))))
    for rule in (sum_of_sums, weighted)[not is_of_calls :]:  # where nothing else uses a product any more
        program = drop_dead(simplify(spell(program, {"sums": rule})))
    return program
