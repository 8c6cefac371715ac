"""What programs for PyTorch call, where it has no function of the same meaning.

Owns: these spellings, out of PyTorch's own functions.
Must not own: anything of this library.
Read next: `check.py`.

PyTorch is imported when it is first asked for.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np


@functools.cache
def torch() -> Any:
    """Return PyTorch, or None where it isn't installed."""
    try:
        import torch as found
    except ImportError:
        return None
    found.set_num_threads(1)
    found.set_default_dtype(found.float64)
    return found


def places(x: Any, index: Any) -> Any:
    """Return which elements, counted along the rows, an index picks: NumPy's reading of
    it.
    """
    return torch().as_tensor(np.array(np.arange(x.numel()).reshape(tuple(x.shape))[index]))


def take(x: Any, index: Any) -> Any:
    return x.reshape(-1)[places(x, index)]


def put(x: Any, index: Any, value: Any) -> Any:
    """Return a copy of `x` in which `x[index] = value`."""
    where = places(x, index)
    value = torch().as_tensor(value).to(x.dtype).expand(where.shape) if np.ndim(value) <= where.ndim else value
    value = value.reshape(where.shape)
    return x.reshape(-1).index_put((where.reshape(-1),), value.reshape(-1)).reshape(x.shape)


def axes(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)


def reduced(function: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return function(x, dim=axes(x, axis), keepdim=keepdims) if x.ndim else function(x, dim=())


def product(x: Any, axis: Any, keepdims: bool) -> Any:
    for a in sorted((a % x.ndim for a in axes(x, axis)), reverse=True) if x.ndim else ():
        x = torch().prod(x, a, keepdim=keepdims)
    return x * 1


def variance(x: Any, axis: Any, keepdims: bool) -> Any:
    mean = reduced(torch().mean, x, axis, True) if x.ndim else x
    d = x - mean
    return reduced(torch().mean, torch().real(d * torch().conj(d)) if d.is_complex() else d * d, axis, keepdims)


def median(x: Any, axis: int) -> Any:
    ordered, n = torch().sort(x, dim=axis).values, x.shape[axis]
    return (ordered.select(axis, (n - 1) // 2) + ordered.select(axis, n // 2)) / 2


def cbrt(x: Any) -> Any:
    return torch().sign(x) * torch().abs(x) ** (1 / 3)


def alike(x: Any, y: Any) -> tuple[Any, Any]:
    """Return the two in one dtype."""
    dtype = torch().promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


def dot(x: Any, y: Any) -> Any:
    x, y = alike(x, y)
    return torch().tensordot(x, y, dims=([x.ndim - 1], [max(y.ndim - 2, 0)]))


def inner(x: Any, y: Any) -> Any:
    return torch().tensordot(x, y, dims=([x.ndim - 1], [y.ndim - 1])) if x.ndim else x * y


def names() -> dict[str, Any]:
    """Return the names that the text of PyTorch's side uses."""
    functions = (alike, take, put, reduced, product, variance, median, cbrt, dot, inner)
    return {"np": np, "torch": torch(), **{f.__name__: f for f in functions}}
