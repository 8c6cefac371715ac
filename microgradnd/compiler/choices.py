"""Functions that choose between elements faster than `np.where`, for programs.

Owns: those functions, which use nothing but NumPy, and the rules for calling them.
Must not own: other spellings (`spelling.py`).
Read next: `spelling.py`.

`np.where` isn't vectorised, and a processor can't foresee what it chooses; nor is
`np.sign`. The results are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.program import Step, Value, call, fills
from microgradnd.rules import choice

RARE = (np.isnan, np.isinf)  # flags that are seldom set


def kept(x: Any, ones: Any, out: Any = None) -> Any:
    """Return x where an integer is 1, and 0 where it is 0, whatever x is."""
    out = np.empty(x.shape, x.dtype) if out is None else out
    np.multiply(x.view(ones.dtype), ones, out.view(ones.dtype))
    return out


def differing(x: Any, y: Any, out: Any = None) -> Any:
    """Return the bits in which floats differ, as integers."""
    words = f"i{x.itemsize}"
    return np.bitwise_xor(x.view(words), np.asarray(y, x.dtype).view(words), out)


def flipped(x: Any, bits: Any, out: Any = None) -> Any:
    """Return floats with some bits flipped."""
    dtype = np.dtype(f"f{bits.itemsize}")
    out = np.empty(bits.shape, dtype) if out is None else out
    np.bitwise_xor(np.asarray(x, dtype).view(bits.dtype), bits, out.view(bits.dtype))
    return out


def marked(flags: Any, x: Any, y: Any, out: Any = None) -> Any:
    """Return x where a flag is set, as few or none are, and y elsewhere."""
    if flags.item(flags.argmax()):
        y = np.where(flags, x, y)
    out = np.empty(y.shape, y.dtype) if out is None else out
    if out is not y:
        np.copyto(out, y)
    return out


def larger(wins: Any, decided: Any, x: Any, y: Any, most: float = 1, least: float = 0, out: Any = None) -> Any:
    """Return `most` where x is larger than y, `least` where it is smaller, their mean
    where the two are equal, and NaN for NaN.

    With 1 and 0 this is x's share in max(x, y), with 1 and -1 the sign of x - y. The
    flags `wins` say where x is larger, and `decided` where one of the two is.
    """
    is_tied = decided.size and not decided.item(decided.argmin())  # `all` takes three times as long
    tie = np.equal(x, y) if is_tied else None
    out = np.empty(wins.shape, np.result_type(x, y)) if out is None else out
    if (most, least) == (1, 0):
        np.copyto(out, wins)
    else:
        bits = out.view(f"i{out.itemsize}")
        low, high = np.array([least, most], out.dtype).view(bits.dtype)
        np.copyto(bits, wins)
        np.multiply(bits, low ^ high, bits)
        np.bitwise_xor(bits, low, bits)
    if tie is not None:
        np.copyto(out, np.where(tie, (most + least) / 2, np.nan), where=~decided)
    return out


def weighed(x: Any, y: Any, most: float, least: float) -> Any:
    """Return `larger` for two arrays: a step that programs write as comparisons."""
    wins = np.greater(x, y)
    return larger(wins, np.logical_or(wins, np.greater(y, x)), x, y, most, least)


def step_of(x: Any, made: Mapping[Value, Step], function: Any) -> tuple[Any, ...]:
    """Return the arguments of a value's step if it calls a function, else ()."""
    step = made.get(x) if isinstance(x, Value) else None
    return step.args if step is not None and step.function is function else ()


def multiple(x: Any, made: Mapping[Value, Step]) -> tuple[Any, float]:
    """Return y and c if a value is c * y for a number c, else the value and 1."""
    y, c = step_of(x, made, np.multiply) or (x, 1)
    y, c = (c, y) if isinstance(c, Value) else (y, c)
    return (y, c) if isinstance(y, Value) and fills(c, y.dtype) else (x, 1)


def is_mask(x: Any) -> bool:
    """Return whether an argument is an array of truth values."""
    return getattr(x, "dtype", None) == np.dtype(bool)


def is_zero(x: Any) -> bool:
    """Return whether an argument is the number 0, not -0.0."""
    return type(x) in (int, float) and repr(x) in ("0", "0.0")


def where(step: Step, made: Mapping[Value, Step], uses: Mapping[Value, int]) -> list[Step] | None:
    """Choose by products of bits, as integers, with 0 or 1."""
    out = step.out
    if step.kwargs or len(step.args) != 3 or out.size < choice.LARGE or out.dtype not in choice.WORDS:
        return None
    mask, x, y = step.args
    if not is_mask(mask):
        return None
    if not all(type(a) in (int, float) or getattr(a, "dtype", None) == out.dtype for a in (x, y)):
        return None
    if alike(y, step) and any(step_of(mask, made, function) for function in RARE):
        return [replace(step, function=marked, args=(mask, x, y))]
    if mask.shape != out.shape:
        return None
    (z, a), (same, b) = multiple(x, made), multiple(y, made)
    if z is same and a != b and alike(z, step):
        factor = Value(out.shape, out.dtype)
        found = where(replace(step, args=(mask, a, b), out=factor), made, uses) or []
        return [*found, replace(step, function=np.multiply, args=(z, factor))]
    words: Any = {"like": step, "shape": out.shape, "dtype": choice.WORDS[out.dtype]}
    inverted = is_zero(x) and alike(y, step)
    steps = [call(np.logical_not, mask, like=step, shape=out.shape, dtype=mask.dtype)] if inverted else []
    ones = call(primitives.astype, steps[0].out if steps else mask, words["dtype"], **words)
    if inverted or (is_zero(y) and alike(x, step)):
        return [*steps, ones, replace(step, function=kept, args=(y if inverted else x, ones.out))]
    if alike(x, step) or alike(y, step):
        steps = [call(differing, *((x, y) if alike(x, step) else (y, x)), **words)]
    elif isinstance(x, Value | np.ndarray) or isinstance(y, Value | np.ndarray):
        return None
    change = steps[0].out if steps else differing(np.asarray(x, out.dtype), y).item()
    bits = call(np.multiply, ones.out, change, **words)
    return [ones, *steps, bits, replace(step, function=flipped, args=(y, bits.out))]


def compared(step: Step, made: Mapping[Value, Step], uses: Mapping[Value, int]) -> list[Step] | None:
    """Look once whether there are any ties or NaN; for a sign, compare with 0."""
    out, is_sign, x = step.out, step.function is np.sign, step.args[0]
    flags: Any = {"like": step, "shape": out.shape, "dtype": np.dtype(bool)}
    if is_sign and (step.kwargs or not alike(x, step) or x.size < choice.LARGE):
        return None
    y, *weights = (0, 1, -1) if is_sign else step.args[1:]
    wins, loses = call(np.greater, x, y, **flags), call(np.greater, y, x, **flags)
    either = call(np.logical_or, wins.out, loses.out, **flags)
    return [wins, loses, either, replace(step, function=larger, args=(wins.out, either.out, x, y, *weights))]


def alike(x: Any, step: Step) -> bool:
    """Return whether a value has the floating-point dtype and shape of a result."""
    out = step.out
    return isinstance(x, Value) and x.shape == out.shape and x.dtype == out.dtype in (np.float32, np.float64)
