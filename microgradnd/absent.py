"""Names that a Tensor doesn't have: PyTorch's, and NumPy's functions.

Owns: these names, and the error that says what to write instead.
Must not own: the text of the error (`advice.py`, loaded when it is raised).
Read next: `advice.py`.

A `__getattr__` could raise this error for any name. But CPython reads the attributes of
a class that defines one without its caches, which takes 3% of a small eager step. So
each name is an attribute of the class, which raises when it is read. It isn't there for
`hasattr` and `dir`. Python's own error, with its suggestions, serves all other names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

IN_PLACE = "under mg.no_grad(), or write t = ... for a new Tensor"

# What users of PyTorch, JAX and NumPy type, and what to write instead; "t" is the
# Tensor
SIGNS = {"add": "+", "div": "/", "mul": "*", "sub": "-", "bmm": "@", "mm": "@", "mv": "@"}
SIGNS |= {"eq": "==", "ge": ">=", "gt": ">", "le": "<=", "lt": "<", "ne": "!="}
DTYPES = {"byte": "uint8", "double": "float64", "float": "float32", "half": "float16", "int": "int32", "long": "int64"}
IN_MEMORY = "leave it out: every Tensor is in main memory, on the CPU"
OF_TENSOR = {
    **{name: f"t {sign} other" for name, sign in SIGNS.items()},
    **{f"{name}_": f"t {SIGNS[name]}= other {IN_PLACE}" for name in ("add", "div", "mul", "sub")},
    **{name: f"t.astype(np.{dtype})" for name, dtype in DTYPES.items()},
    **dict.fromkeys(("clamp", "clamp_"), "np.clip(t, low, high)"),
    **dict.fromkeys(("cuda", "device"), IN_MEMORY),
    **dict.fromkeys(("fill", "fill_"), "t[...] = value"),
    **dict.fromkeys(("numel", "nelement"), "t.size"),
    **dict.fromkeys(("put", "scatter_", "index_put_", "index_copy_"), "t[index] = value"),
    **dict.fromkeys(("index_add_", "scatter_add_"), "np.add.at(t, index, other), which is recorded"),
    **dict.fromkeys(("normal_", "uniform_"), "nn.init.normal_(t, rng=rng), or nn.init.uniform_"),
    **dict.fromkeys(("swapdims", "transpose_"), "np.swapaxes(t, axis1, axis2)"),
    **{name: f"t.data.{name}" for name in ("base", "ctypes", "flags", "strides")},
    **dict.fromkeys(("at", "set"), "t = t.copy(); t[index] = value, which is recorded"),
    "__dlpack__": "t.data for its array, without a gradient",
    "adjoint": "np.conj(t.mT)",
    "bool": "t.astype(bool)",
    "cat": "np.concatenate([t, other])",
    "chunk": "np.array_split(t, n)",
    "clone": "t.copy()",
    "contiguous": "leave it out: NumPy takes care of the memory layout",
    "copy_": "t[...] = other",
    "cpu": "leave it out: every Tensor is in main memory (t.data is its array)",
    "data_ptr": "t.data.ctypes.data",
    "detach_": "t = t.detach()",
    "dim": "t.ndim",
    "expand": "np.broadcast_to(t, shape)",
    "expand_as": "np.broadcast_to(t, other.shape)",
    "flat": "t.ravel()",
    "gather": "np.take_along_axis(t, index, axis)",
    "grad_fn": "mg.viz.draw(t) to see how t was computed; t.is_leaf is False if it was",
    "index_select": "np.take(t, index, axis)",
    "inverse": "np.linalg.inv(t)",
    "is_complex": "t.dtype.kind == 'c'",
    "is_contiguous": "t.data.flags.c_contiguous",
    "is_floating_point": "t.dtype.kind == 'f'",
    "itemsize": "t.dtype.itemsize",
    "element_size": "t.dtype.itemsize",
    "lerp": "t + weight * (other - t)",
    "logdet": "np.linalg.slogdet(t)[1]",
    "logsumexp": "np.logaddexp.reduce(t, axis=axis)",
    "mH": "np.conj(t.mT)",
    "masked_fill": "np.where(mask, value, t)",
    "masked_fill_": "t[mask] = value",
    "masked_select": "t[mask]",
    "movedim": "np.moveaxis(t, source, destination)",
    "narrow": "t[start : start + length]",
    "nbytes": "t.size * t.dtype.itemsize",
    "ndimension": "t.ndim",
    "neg": "-t",
    "new_full": "np.full(shape, value, t.dtype)",
    "new_tensor": "mg.tensor(data)",
    "new_ones": "np.ones(shape, t.dtype)",
    "new_zeros": "np.zeros(shape, t.dtype)",
    "norm": "np.linalg.norm(t)",
    "permute": "np.transpose(t, axes)",
    "pow": "t ** exponent",
    **dict.fromkeys(("require_grad", "requires_grad_"), "t.requires_grad = True"),
    "repeat_interleave": "np.repeat(t, repeats, axis)",
    "reshape_as": "t.reshape(other.shape)",
    "rsqrt": "1 / np.sqrt(t)",
    "rsub": "other - t",
    "size": "t.shape, or t.shape[0] for the length of the first axis; t.size is the number of elements",
    "sort": "np.sort(t)",
    "stride": "t.data.strides",
    "t": "t.T",
    "to": "t.astype(dtype); every Tensor is in main memory, on the CPU",
    "topk": "np.sort(t)[..., -k:]",
    "tobytes": "t.data.tobytes()",
    "tofile": "t.data.tofile(file)",
    "type": "t.astype(dtype)",
    "type_as": "t.astype(other.dtype)",
    "unbind": "list(t)",
    "unflatten": "t.reshape(shape)",
    "unfold": "np.lib.stride_tricks.sliding_window_view(t, size, axis)",
    "unsqueeze": "np.expand_dims(t, axis), or t[:, None]",
    "view": "t.reshape(shape)",
    "view_as": "t.reshape(other.shape)",
    "zero_": "t[...] = 0, or t.grad = None for a gradient",
    "zero_grad": "t.grad = None, or optimizer.zero_grad()",
}
ABSENT: set[str] = set()


class Absent:
    """An attribute that raises when it is read or set, as if it weren't there."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, tensor: Any, owner: type | None = None) -> NoReturn:
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("Tensor", self.name))

    def __set__(self, tensor: Any, value: Any) -> None:
        getattr(tensor, self.name)


class Listing(type):
    """A class whose `dir` leaves out the absent names, and so does its `help`."""

    def __dir__(cls) -> list[str]:
        return [name for name in super().__dir__() if name not in ABSENT]


class Advised(metaclass=Listing):
    """A base for classes with absent names."""

    __slots__ = ()

    def __dir__(self) -> list[str]:
        return dir(self.__class__)


def advise(cls: type, names: Iterable[str]) -> None:
    """Let reading these attributes of a class raise with advice, if it lacks them."""
    for name in names:
        is_private = name.startswith("_") and name not in OF_TENSOR
        if not (is_private or name in ABSENT or hasattr(cls, name)):
            ABSENT.add(name)
            setattr(cls, name, Absent(name))


OF_NUMPY = [name for m in (np, np.linalg, np.fft) for name in m.__all__ if callable(vars(m).get(name))]
