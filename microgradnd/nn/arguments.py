"""Types and checks of arguments that the functions of `nn` share.

Owns: these; sums of half-precision numbers; JVP rules made from VJP rules.
Must not own: any function that a user calls.
Read next: `activations.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Protocol, TypeVar, overload

import numpy as np
import numpy.typing as npt

from microgradnd.annotations import P
from microgradnd.broadcasting import fit
from microgradnd.failures import explained
from microgradnd.operands import admitted
from microgradnd.registry import plain, primitive
from microgradnd.tensor import Tensor
from microgradnd.transforms import vjp

X = TypeVar("X", Tensor, npt.NDArray[Any])
Plain = npt.NDArray[Any] | Sequence[Any] | complex
REAL = "biuf"  # kinds of numbers
COMPLEX = REAL + "c"


class OfOne(Protocol[P]):
    """The type of a function of one array, which returns a Tensor for a Tensor."""

    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: Plain, /, *args: P.args, **kwargs: P.kwargs) -> npt.NDArray[Any]: ...


class OfSeveral(Protocol[P]):
    """The type of a function of several arrays: a Tensor in front gives a Tensor."""

    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: Plain, /, *args: P.args, **kwargs: P.kwargs) -> Any: ...


def of_one(function: Callable[Concatenate[Any, P], Any]) -> OfOne[P]:
    """Declare the types of an activation, and explain errors in calls of it."""
    typed: Any = function if hasattr(function, "body") else explained(function)  # a primitive explains its own
    return typed


def of_several(function: Callable[Concatenate[Any, P], Any]) -> OfSeveral[P]:
    """Declare the types of a layer or a loss, and explain errors in calls of it."""
    typed: Any = function if hasattr(function, "body") else explained(function)
    return typed


def operand(function: str, x: Any, name: str = "x", kinds: str = COMPLEX) -> Any:
    """Return x as an array or Tensor, or raise unless it holds numbers of these kinds.

    The message names x by `function` and `name`.
    """
    x = x if type(x) is np.ndarray else admitted(function, x)
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if x.dtype.kind not in kinds:
        numbers = "floating-point numbers" if "i" not in kinds else "numbers" if "c" in kinds else "real numbers"
        found = "None" if x.ndim == 0 and x[()] is None else x.dtype
        raise TypeError(
            f"{function}: {name} must be an array or Tensor of {numbers}, got {found}; convert it with "
            f"np.asarray(..., dtype=float)"
        )
    return x


def floating(function: str, x: Any, name: str = "x", kinds: str = REAL) -> Any:
    """Return `operand` in floating point, since -x and x - y of small integers wrap."""
    x = operand(function, x, name, kinds)
    return x if x.dtype.kind in "fc" else x.astype(np.float64)


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Return whether an array of one shape can be broadcast to another shape."""
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))


def array_like(x: Any) -> Any:
    """Return x if its type runs primitives, as a Tensor does; else as an array."""
    return x if hasattr(type(x), "__primitive__") else np.asarray(x)


@primitive
def in_range(x: Any, function: str, name: str, n: int, advice: str = "") -> Any:
    """Return indices, or raise unless all are from 0 to n - 1, even if compiled."""
    # Cast to unsigned, negative numbers are huge: one comparison checks both ends
    if x.size and np.maximum.reduce(x.astype(np.uintp), axis=None) >= n:
        raise ValueError(
            f"{function}: {name} must be from 0 to {n - 1}, got values from {x.min()} to {x.max()}{advice}"
        )
    return x


plain([in_range])


def rows(x: Any) -> Any:
    """Return an array of vectors as a matrix, one vector a row."""
    return x if x.ndim == 2 else np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def summed(x: Any, **axes: Any) -> Any:
    """Return the sum along axes; half-precision numbers are added in single precision.

    In half precision a sum of ones stops growing at 2048.
    """
    add = np.add.reduce if type(x) is np.ndarray else np.sum  # Dask knows np.sum, which is slower
    return add(x, dtype=np.float32, **axes) if x.dtype.char == "e" else add(x, **axes)


def is_half(x: Any) -> bool:
    """Return whether an array or Tensor is in half precision."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and dtype.char == "e"


def like(x: Any, original: Any) -> Any:
    """Return x in half precision if `original`, which it was computed from, is."""
    return x.astype(np.float16) if is_half(original) and not is_half(x) else x


def transposed(cotangents: Callable[..., Any]) -> Callable[..., Any]:
    """Derive a JVP rule from a VJP rule of all arguments, for `Joint`.

    A VJP rule is linear in g. Its transpose, applied to the tangents, gives the tangent
    of the result.
    """

    def tangent(tangents: Any, out: Any, *args: Any) -> Any:
        moving = [i for i, t in enumerate(tangents) if t is not None]

        def pulled(g: Any) -> Any:
            parts = cotangents(g, out, *args)
            return [fit(parts[i], args[i]) for i in moving]

        return vjp(pulled, np.zeros(out.shape, out.dtype))[1]([tangents[i] for i in moving])[0]

    return tangent
