"""Arguments and results of transformed functions: numbers, and vectors to match.

Owns: which arguments are differentiated; the checks that results are numbers and that
cotangents and tangents have their shapes; the form in which a derivative is returned.
Must not own: the walks, or calling a function (`transforms.py`).
Read next: `transforms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microgradnd import inplace, operands, primitives, refusals
from microgradnd.batching import Batched
from microgradnd.broadcasting import cast_given
from microgradnd.registry import Results
from microgradnd.tensor import Tensor
from microgradnd.trees import Form

Function = Callable[..., Any]
COMPUTED = Tensor, Batched


def plain(value: Any) -> Any:
    """Return the value of a Tensor; a number where NumPy returned one."""
    return value._array if isinstance(value, Tensor) else value


def name_of_function(function: Function) -> str:
    return getattr(function, "__name__", "the function")


def chosen(function: Function, argnums: int | Sequence[int], count: int) -> Sequence[int]:
    """Return the positions of the arguments to differentiate, of `count`, or raise."""
    if type(argnums) is int and 0 <= argnums < count:  # nearly always
        return (argnums,)
    wanted = tuple(argnums) if isinstance(argnums, (tuple, list, range)) else (argnums,)
    if not wanted or not all(isinstance(i, (int, np.integer)) and -count <= i < count for i in wanted):
        raise refusals.no_positions(name_of_function(function), argnums, count)
    which = [int(i) % count for i in wanted]
    if len(set(which)) < len(which):
        raise ValueError(f"argnums must name each argument once, got {argnums!r}; leave out the repetition")
    return which


def own(g: Any, like: Any) -> Any:
    """Return a derivative in its variable's form: a number, or an array of its own."""
    if isinstance(g, COMPUTED):
        return g.owned(like) if hasattr(type(g), "owned") else g  # type: ignore[union-attr]  # in a trace
    if isinstance(like, (float, complex, np.generic)):
        return g[()]
    g = operands.as_array(g)  # not `alone(g)`: one more reference would make it a copy
    return g if not isinstance(g, np.ndarray) or inplace.is_alone(g) else np.array(g)


def alone(value: Any) -> Any:
    """Return an array that shares no memory; another library's array unchanged."""
    return value if not isinstance(value, np.ndarray) or inplace.is_alone(value) else np.array(value)


def ended(out: Any, is_traced: bool) -> Any:
    """Return a value without its derivative; an array is copied, unless in a trace."""
    if not is_traced:
        return alone(plain(out))
    if type(out) is Results:
        return Results(ended(part, is_traced) for part in out)
    return out.detach() if isinstance(out, Tensor) else out


def check_numbers(function: Function, outputs: Sequence[Any]) -> None:
    """Raise unless the results of a function are numbers and arrays of numbers."""
    for out in outputs:
        if out is None or not (isinstance(out, COMPUTED) or operands.as_array(out).dtype.kind in "biufc"):
            raise refusals.no_numbers(name_of_function(function), out)


def one_for(function: Function, outputs: Sequence[Any]) -> Any:
    """Return the seed of a function's only result, or raise unless it is one number."""
    check_numbers(function, outputs)
    arrays = [primitives.array(plain(out)) for out in outputs]
    if len(arrays) != 1 or arrays[0].size != 1 or arrays[0].dtype.kind == "c":
        raise refusals.not_one_number(name_of_function(function), arrays)
    return operands.one(arrays[0])


def matching(leaves: Sequence[Any], given: Form, values: Sequence[Any], form: Form, what: str) -> list[Any]:
    """Return cotangents or tangents in the dtypes of their values, or raise."""
    vectors = [v if isinstance(v, COMPUTED) else operands.as_array(operands.operand(what, v)) for v in leaves]
    shapes = [v.shape for v in vectors]
    expected = [v.shape if isinstance(v, COMPUTED) else np.shape(v) for v in values]
    if shapes != expected or given.keys() != form.keys():
        raise refusals.other_structure(what, (expected, form.keys()), (shapes, given.keys()))
    return [
        cast_given(v, value.dtype, what) if isinstance(value, COMPUTED) else v
        for v, value in zip(vectors, values, strict=True)
    ]
