"""Elementwise steps and reductions of transposed arrays, in the order of the memory.

Owns: the pass that moves transposes behind elementwise steps, and out of reductions.
Must not own: the plan of the buffers (`buffers.py`), which all have C order.
Read next: `spelling.py`.

A convolution computes with the batch as the last axis, and returns a transposed view.
NumPy keeps such an order in later operations. A program writes `f(x.T)` as `f(x).T`
instead, so that the array of each value is contiguous: NumPy and loops run through it
in one go, and the next convolution needs no copy, as the two transposes cancel. A
vector along the last axis becomes a column: `w.T * b` is `(w * column of b).T`, which a
matrix product takes as it is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd.compiler.program import Made, Program, Step, Value, rewritten
from microgradnd.compiler.traits import is_reducer, traits

REDUCTIONS = (np.sum, np.add.reduce, np.mean, np.max, np.min)
KNOWN = {"a", "axis", "keepdims"}

Axes = tuple[int, ...]
Laid = dict[Value, tuple[Value, Axes]]  # the array that a value transposes, and the axes


def in_memory_order(program: Program) -> Program:
    """Write elementwise functions of transposes as transposes of their results."""
    laid: Laid = {}

    def rule(step: Step, made: Made, uses: dict[Value, int]) -> Any:
        out, steps = step.out, list[Step]()
        if (order := transposed(step)) is not None:
            base, inner = laid.get(step.args[0]) or (step.args[0], tuple(range(len(out.shape))))
            axes = tuple(inner[axis] for axis in order)
            if axes == tuple(range(len(axes))):
                return base
        elif (order := order_of(step, laid)) is not None:
            axes = order
            base = Value(tuple(out.shape[i] for i in np.argsort(axes)), out.dtype, out.name)
            args = tuple([in_order(arg, axes, laid, steps) for arg in step.args])
            steps.append(replace(step, args=args, out=base))
        else:
            return reduced(step, laid)
        laid[out] = base, axes
        given = (base,) if axes == backward(len(axes)) else (base, axes)
        return [*steps, Step(np.transpose, given, {}, out, step.where)]

    return rewritten(program, rule)


def transposed(step: Step) -> Axes | None:
    """Return the axes of a step that permutes all axes of a value, or None."""
    if step.function is not np.transpose or not step.args or step.kwargs:
        return None
    x, *given = step.args
    if not isinstance(x, Value):
        return None
    axes = given[0] if given else backward(len(x.shape))
    return axes if isinstance(axes, tuple) and sorted(axes) == [*range(len(x.shape))] else None


def backward(ndim: int) -> Axes:
    """Return the axes of `x.T`."""
    return tuple(reversed(range(ndim)))


def reduced(step: Step, laid: Laid) -> list[Step] | None:
    """Return steps that reduce a transposed array along one axis of its memory."""
    given = dict(zip(("a", "axis"), step.args, strict=False)) | dict(step.kwargs)
    x, axis = given.get("a"), given.get("axis", 0 if is_reducer(step.function) else None)
    if step.function not in REDUCTIONS or not isinstance(x, Value) or x not in laid or set(given) - KNOWN:
        return None
    (base, axes), out = laid[x], step.out
    over = range(len(axes)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    kept = [axes[i] for i in range(len(axes)) if i not in {j % len(axes) for j in over}]
    n = len(kept)
    if kept != [*range(n)]:  # the axes that stay must come first in memory
        return None
    flat = Value((*base.shape[:n], math.prod(base.shape[n:])), base.dtype)
    total = out if out.shape == base.shape[:n] else Value(base.shape[:n], out.dtype)
    steps = [
        Step(np.reshape, (base, flat.shape), {}, flat, step.where),
        Step(step.function, (flat,), {"axis": n}, total, step.where),
    ]
    return steps if total is out else [*steps, Step(np.reshape, (total, out.shape), {}, out, step.where)]


def order_of(step: Step, laid: Laid) -> Axes | None:
    """Return the axes by which an elementwise step's whole operands are transposed."""
    if not (traits(step.function).is_elementwise or step.function is np.where) or step.kwargs:
        return None
    shape, orders = step.outs()[0].shape, set[Axes | None]()
    for arg in step.args:
        if np.shape(arg) == shape:
            orders.add(laid[arg][1] if isinstance(arg, Value) and arg in laid else None)
        elif len(np.shape(arg)) not in (0, 1, len(shape)):
            return None
    return orders.pop() if len(orders) == 1 else None


def in_order(arg: Any, axes: Axes, laid: Laid, steps: list[Step]) -> Any:
    """Return an operand with its axes in the order of the memory."""
    if not np.shape(arg):
        return arg
    if isinstance(arg, Value) and arg in laid and laid[arg][1] == axes:
        return laid[arg][0]
    function: Any
    back = tuple(map(int, np.argsort(axes)))
    if len(arg.shape) == 1 < len(axes):  # along the last axis
        shape = tuple(arg.shape[0] if axis == len(axes) - 1 else 1 for axis in back)
        function, given = np.reshape, shape
    else:
        shape = tuple(arg.shape[axis] for axis in back)
        function, given = np.transpose, back
    if not isinstance(arg, Value):
        return function(arg, given)
    steps.append(Step(function, (arg, given), {}, Value(shape, arg.dtype, arg.name)))
    return steps[-1].out
