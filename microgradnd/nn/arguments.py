"""What the functions of `nn` share: types and checks of arguments, sums in half
precision, JVP rules from VJP rules.

Owns: those.
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


class OfOne(Protocol[P]):
    """What type checkers know of a function of one array: it gives a Tensor for a
    Tensor, else an array.
    """

    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: Plain, /, *args: P.args, **kwargs: P.kwargs) -> npt.NDArray[Any]: ...


class OfSeveral(Protocol[P]):
    """What type checkers know of a function of several arrays: it gives a Tensor if the
    first is one.
    """

    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, x: Plain, /, *args: P.args, **kwargs: P.kwargs) -> Any: ...


def of_one(function: Callable[Concatenate[Any, P], Any]) -> OfOne[P]:
    """Declare the types of an activation, and have wrong calls of it explained."""
    typed: Any = function if hasattr(function, "body") else explained(function)  # as those of a primitive are
    return typed


def of_several(function: Callable[Concatenate[Any, P], Any]) -> OfSeveral[P]:
    """Declare the types of a layer or a loss, and have wrong calls of it explained."""
    typed: Any = function if hasattr(function, "body") else explained(function)
    return typed


def operand(function: str, x: Any, name: str = "x", kinds: str = "biufc") -> Any:
    """Return an array or Tensor as it is, lists and numbers as an array; raise unless
    they are numbers of these kinds.

    `function` and `name` say in the message what x is.
    """
    x = x if type(x) is np.ndarray else admitted(function, x)
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if x.dtype.kind not in kinds:
        numbers = "numbers" if "c" in kinds else "real numbers"
        found = "None" if x.ndim == 0 and x[()] is None else x.dtype
        raise TypeError(
            f"{function}: {name} must be an array or Tensor of {numbers}, got {found}; convert it with "
            f"np.asarray(..., dtype=float)"
        )
    return x


def array_like(x: Any) -> Any:
    """Return what speaks NumPy's protocols here, such as a Tensor, as it is; anything
    else as an array.
    """
    return x if hasattr(type(x), "__primitive__") else np.asarray(x)


@primitive
def in_range(x: Any, function: str, name: str, n: int, advice: str = "") -> Any:
    """Return numbers of classes or symbols, or raise unless they are from 0 to n - 1,
    also in a compiled program.
    """
    # As unsigned numbers negative ones are huge, so one comparison finds both ends
    if x.size and np.maximum.reduce(x.astype(np.uintp), axis=None) >= n:
        raise ValueError(f"{function}: {name} must be from 0 to {n - 1}, got some from {x.min()} to {x.max()}{advice}")
    return x


plain([in_range])


def rows(x: Any) -> Any:
    """Return an array of vectors as a matrix with a vector in each row."""
    return x if x.ndim == 2 else np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def summed(x: Any, **axes: Any) -> Any:
    """Return the sum along axes, of half-precision numbers in single precision: they
    stop growing at 2048 ones.
    """
    add = np.add.reduce if type(x) is np.ndarray else np.sum  # which Dask knows, and takes longer
    return add(x, dtype=np.float32, **axes) if x.dtype.char == "e" else add(x, **axes)


def is_half(x: Any) -> bool:
    """Return whether an array or Tensor is in half precision."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and dtype.char == "e"


def like(x: Any, original: Any) -> Any:
    """Return x in half precision if the argument that it was computed from is: its sums
    are wider.
    """
    return x.astype(np.float16) if is_half(original) and not is_half(x) else x


def transposed(cotangents: Callable[..., Any]) -> Callable[..., Any]:
    """Return the JVP rule that follows from a VJP rule of all arguments, for `Joint`.

    A VJP rule is a linear map of g. Its transpose, applied to the tangents, gives the
    tangent of the result.
    """

    def tangent(tangents: Any, out: Any, *args: Any) -> Any:
        moving = [i for i, t in enumerate(tangents) if t is not None]

        def pulled(g: Any) -> Any:
            parts = cotangents(g, out, *args)
            return [fit(parts[i], args[i]) for i in moving]

        return vjp(pulled, np.zeros(out.shape, out.dtype))[1]([tangents[i] for i in moving])[0]

    return tangent
