"""The forms of a NumPy call: arguments by position, by keyword, with an `out=`.

Owns: bringing a call into the form that the rules expect.
Must not own: what may be an operand (`operands.py`), or any rule.
Read next: `operands.py`.

A derivative belongs to a position. A Tensor passed by keyword would silently lose its
gradient.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np

from microgradnd import primitives, refusals
from microgradnd.operands import admitted
from microgradnd.registry import Function, name_of


@functools.lru_cache(1024)
def parameters_of(function: Function) -> list[inspect.Parameter]:
    """Return the parameters of a function; empty if it has no signature."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def positional(
    function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], names: Iterable[str]
) -> tuple[Any, ...]:
    """Move the keyword arguments up to the last of `names` to their positions.

    `kwargs` keeps the rest. A derivative belongs to a position; a Tensor passed by
    keyword would silently lose its gradient.
    """
    parameters = parameters_of(function)
    slots = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    missing = [name for name in names if name not in slots[len(args) :]]
    if missing:
        raise TypeError(
            f"{name_of(function)} got a Tensor for the keyword {missing[0]}=, which has no position to differentiate; "
            f"pass it by position, or as a plain array ({missing[0]}=t.data)"
        )
    last = max(slots.index(name) for name in names)
    return (*args, *(kwargs.pop(p.name, p.default) for p in parameters[len(args) : last + 1]))


def by_position(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Move keyword arguments without a default to their positions.

    The function that stands in for another may name them differently.
    """
    needed = [p.name for p in parameters_of(function)[len(args) :] if p.default is p.empty and p.name in kwargs]
    return positional(function, args, kwargs, needed) if needed else args


def gated(function: Function, arg: Any) -> Any:
    """Return an argument, as an operation takes it if it is an array."""
    is_array = hasattr(arg, "shape") and not hasattr(type(arg), "__primitive__")
    return admitted(function, arg) if is_array else arg


def defined_form(
    function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call as the definition of a composite takes them."""
    args = tuple([gated(function, arg) for arg in args])
    if not kwargs:
        return args, kwargs
    kwargs = {name: gated(function, arg) for name, arg in kwargs.items() if arg is not np._NoValue}  # "not given"
    refuse_keywords(function, args, kwargs)
    return by_position(function, args, kwargs), kwargs


OUT_SLOTS: dict[Function, int] = {}  # cached for every call with several arguments


def out_slot(function: Function) -> int:
    """Return the position of a function's `out`; a large number if it has none."""
    names = [p.name for p in parameters_of(function) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    name = "copy" if function is np.nan_to_num else "out"
    OUT_SLOTS[function] = slot = names.index(name) if name in names else 2**31
    return slot


def without_out(function: Function, args: tuple[Any, ...], slot: int) -> tuple[Any, ...]:
    """Leave out a final `out` of None, which rules don't take; raise for an array."""
    if function is np.nan_to_num:
        refuse_in_place(args[slot])
    elif args[slot] is not None:
        raise refusals.fills_out(name_of(function))
    return args[:slot] if len(args) == slot + 1 else args


def with_options(ufunc: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Call a ufunc with the options of all ufuncs, which its rule needn't know."""
    refuse_out(ufunc, options)
    dtype, mask = options.pop("dtype", None), options.pop("where", True)
    if options:
        found = ", ".join(options)
        raise TypeError(f"np.{ufunc.__name__}: {found}= can't be recorded; leave it out, or pass t.data")
    if mask is not True and ufunc.nout > 1:
        raise TypeError(
            f"np.{ufunc.__name__}: where= can't be recorded for several results; choose with np.where instead"
        )
    if dtype is not None:
        inputs = tuple([x if isinstance(x, int | float | complex) else primitives.array(x) for x in inputs])
        kinds = [getattr(x, "dtype", type(x)) for x in inputs]
        signature = (*[None] * ufunc.nin, *[np.dtype(dtype)] * ufunc.nout)
        found = ufunc.resolve_dtypes((*kinds, *[None] * ufunc.nout), signature=signature)  # raises as NumPy's call does
        inputs = tuple(
            [primitives.astype(x, d) if hasattr(x, "dtype") else x for x, d in zip(inputs, found, strict=False)]
        )
    return ufunc(*inputs) if mask is True else primitives.masked(ufunc, mask, *inputs)


def refuse_keywords(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Raise for `out=`, and for a `dtype=` that drops the imaginary part of a variable.

    Rules compute with the whole arguments.
    """
    refuse_out(function, keywords)
    if function is np.nan_to_num:
        refuse_in_place(keywords.pop("copy", True))
    if (dtype := keywords.get("dtype")) is None or hasattr(function, "body"):
        return
    is_complex = any(getattr(x, "requires_grad", False) and x.dtype.kind == "c" for x in args)
    if is_complex and np.dtype(dtype).kind != "c":
        raise refusals.drops_imaginary(name_of(function), np.dtype(dtype).name)


def refuse_in_place(copy: Any) -> None:
    """Raise if `copy=False` would write into an operand, behind the tape's back."""
    if not copy:
        raise refusals.fills_operand()


def refuse_out(function: Any, keywords: dict[str, Any]) -> None:
    """Raise if `out=` would write a result into an array, behind the tape's back."""
    if (out := keywords.pop("out", None)) is None:
        return
    if any(array is not None for array in (out if isinstance(out, tuple) else (out,))):
        raise refusals.fills_out(name_of(function))
