"""What may enter an operation, and how its operands stay unchanged.

Owns: the gate for operands, assignments to a variable, and the protection of plain
arrays between their use and the walk: copies of small arrays, samples of large ones.
Must not own: recording (`tensor.py`), or the ages of Tensors (`tape.py`).
Read next: `tensor.py`.

An array of another library enters unchanged if it supports NumPy's protocols. If not,
the error says what to pass instead.

A plain array belongs to the user, who may fill it again for the next step. A rule that
used it afterwards would see another array. So a small array that a rule reads is
copied. Of a large array some elements are noted, and compared before the rule is
called; a change of other elements is missed. `detect_anomaly` compares them all.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from microgradnd import refusals
from microgradnd.lines import quoted_line, user_line
from microgradnd.registry import LOOKING, Function, name_of
from microgradnd.tape import Leaf, Operation, current, describe

ndarray = np.ndarray
COPIED = 2**15  # bytes: copying up to this takes less time than the operation
SAMPLED = 1024  # elements to compare of a larger array, about
SCALARS = {bool, int, float, np.float64, np.float32, np.int64, np.bool_}  # may enter an operator unchanged
LAZY: set[type] = set()  # classes of arrays that are computed on demand, of those met so far
KEPT = {np.ndarray, list, tuple, dict}  # types that the user may change
OPTIONS = {tuple, list, dict, slice, str, bool, int, float, type(None), type, types.FunctionType}  # not arrays
INSTEAD = {  # what to pass instead, by package
    "scipy": "pass x.toarray() of a sparse array",
    "torch": "pass x.detach().numpy()",
    "jax": "pass np.asarray(x)",
    "jaxlib": "pass np.asarray(x)",
    "tensorflow": "pass x.numpy()",
    "pandas": "pass x.to_numpy()",
    "polars": "pass x.to_numpy()",
    "xarray": "pass x.to_numpy()",
    "numpy.ma": "pass x.filled(0), and multiply by a weight that is 0 where the mask is set: ~np.ma.getmaskarray(x)",
    "numpy": "pass np.asarray(x); a np.matrix multiplies as a matrix, but would be recorded elementwise",
}
KINDS = {
    "O": "objects; convert them to numbers with np.asarray(x, dtype=float), or join Tensors with np.stack([...])",
    "M": "dates; subtract one of them, and divide by a unit: (x - x[0]) / np.timedelta64(1, 'D')",
    "m": "times; divide them by a unit first: x / np.timedelta64(1, 's')",
    "U": "text; convert it to numbers with np.asarray(x, dtype=float)",
    "S": "text; convert it to numbers with np.asarray(x, dtype=float)",
    "V": "records; pass their fields one by one: x['name']",
}


def refused(taker: Function | str, what: str) -> TypeError:
    """Return the error for an operand that an operation can't compute with."""
    return TypeError(f"{taker if isinstance(taker, str) else name_of(taker)} got {what}")


def check_kind(taker: Function | str, array: Any) -> None:
    """Raise unless an array holds numbers or booleans."""
    if (kind := array.dtype.kind) in KINDS:
        raise refused(taker, f"an array of shape {array.shape} and dtype {array.dtype}: {KINDS[kind]}")


def admitted(taker: Function | str, value: Any) -> Any:
    """Return an argument that isn't a Tensor as it enters an operation, or raise.

    Plain arrays and numbers, and arrays that support NumPy's protocols, enter
    unchanged. An object that offers its memory as an array enters as one. Anything else
    (an axis, a string, a function) isn't looked at.
    """
    kind = type(value)
    if kind in OPTIONS:
        return value
    package = kind.__module__.partition(".")[0]
    if isinstance(value, np.ndarray):
        check_kind(taker, value)
        if kind is np.ndarray or kind is np.memmap:
            return np.asarray(value)
        module = "numpy.ma" if isinstance(value, np.ma.MaskedArray) else "numpy"
        raise refused(taker, f"a {kind.__name__} of shape {value.shape}: {INSTEAD[module]}")
    if package in INSTEAD and hasattr(value, "shape") and not isinstance(value, np.generic | np.dtype):
        raise refused(taker, f"a {package} {kind.__name__} of shape {tuple(value.shape)}: {INSTEAD[package]}")
    if isinstance(value, np.generic):
        if value.dtype.kind in "mM":
            check_kind(taker, value)
        return value
    if isinstance(value, int):
        return value if kind is bool else int(value)  # NumPy would make a subclass an array of int64
    if hasattr(kind, "__array_ufunc__") or hasattr(kind, "__array_function__"):
        if hasattr(kind, "compute"):
            LAZY.add(kind)
        return value
    offers = any(hasattr(kind, name) for name in ("__array__", "__array_interface__", "__array_struct__"))
    is_array = offers or isinstance(value, memoryview | bytearray) or kind.__module__ == "array"
    return admitted(taker, np.asarray(value)) if is_array else value


def is_foreign(value: Any) -> bool:
    """Return whether a value is another library's array with NumPy's protocols."""
    kind = type(value)
    own = isinstance(value, (np.ndarray, np.generic)) or hasattr(kind, "__primitive__")
    return not own and hasattr(kind, "__array_function__") and hasattr(value, "shape")


def check_lazy(function: Function, values: Iterable[Any], out: Any = None, what: str = "it needs") -> None:
    """Raise if a function computes all of an array that its library computes on demand.

    It does if it looks at the numbers, or returns a NumPy array.
    """
    first = out[0] if isinstance(out, list | tuple) and out else out
    computes = function in LOOKING or isinstance(first, np.ndarray | np.generic)
    if computes and (whole := [v for v in values if type(v) in LAZY]):
        raise refusals.ByBlocks(name_of(function), whole[0], f"{what} all the numbers of the array")


def as_array(value: Any) -> Any:
    """Return np.asarray(value); another library's array unchanged."""
    return value if type(value) is ndarray or is_foreign(value) else np.asarray(value)


def new_array(value: Any, dtype: npt.DTypeLike | None = None) -> Any:
    """Return np.array(value, dtype); a copy of another library's array."""
    if is_foreign(value):
        return value.astype(value.dtype if dtype is None else dtype, copy=True)
    try:
        dtype = None if dtype is None else np.dtype(dtype)
    except TypeError:
        raise TypeError(f"mg.tensor: dtype must be a dtype such as np.float32, got {dtype!r:.80}") from None
    array = np.array(value, dtype=dtype)
    check_kind("mg.tensor", array)  # an integer beyond 64 bits, or the dtype, may make an array of objects
    return array


def one(like: Any) -> Any:
    """Return the derivative of a number by itself: 1, like the number's array."""
    is_number = isinstance(like, np.generic) or not (like.shape or is_foreign(like))
    return like.dtype.type(1) if is_number else np.ones_like(like)


def operand(taker: Function | str, value: Any) -> Any:
    """Return an operand as an array or number, or raise if it can't be one."""
    if type(value) in SCALARS:  # nearly every number
        return value
    if type(value) is ndarray:
        check_kind(taker, value)
        return value
    if isinstance(value, (list, tuple, range)):
        try:
            value = np.asarray(value)
        except ValueError:
            what = "lists of different lengths or kinds; give each the same length, or make a Tensor of each"
            raise refused(taker, what) from None
    else:
        value = admitted(taker, value)
    if isinstance(value, np.ndarray):
        check_kind(taker, value)
        return value
    if isinstance(value, (int, float, complex, np.number, np.bool_)):
        return value
    if hasattr(type(value), "__array_ufunc__") and hasattr(value, "shape"):
        return value
    as_number = f", such as float({value!r})" if isinstance(value, str) else ""
    raise refused(taker, f"{value!r} of type {type(value).__name__}; pass a number, an array or a Tensor{as_number}")


def result_of(function: Function, out: Any) -> Any:
    """Return what the function of an operation returned, with NumPy's numbers."""
    if isinstance(out, list | tuple):
        if all(hasattr(part, "dtype") for part in out):
            return out
        parts = [result_of(function, part) for part in out]
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)
    if isinstance(out, int | float | complex) and not isinstance(out, np.generic):
        return np.asarray(out)[()]
    if hasattr(type(out), "__primitive__"):
        raise TypeError(
            f"{name_of(function)} computed with a Tensor that isn't one of its arguments (in a dict, or captured), "
            f"which can't be recorded there; pass it as an argument of its own"
        )
    if not hasattr(out, "dtype"):
        raise TypeError(
            f"{name_of(function)} must return an array, a number, or a tuple of them, got {out!r:.80} of type "
            f"{type(out).__name__}"
        )
    return out


def refuse_nested(function: Any, arg: Any) -> None:
    """Raise if a list holds a Tensor that the table can't reach."""
    for item in arg:
        if hasattr(type(item), "__primitive__"):
            item._known(f"a list or tuple that holds a Tensor, as an argument of {name_of(function)},")
            raise TypeError(
                f"{name_of(function)} got a list that holds a Tensor, which can't be recorded there; "
                f"join them first with np.stack or np.concatenate, or pass each as its own argument"
            )
        if type(item) in (list, tuple):
            refuse_nested(function, item)


# Values for a variable


def check_requires_grad(value: Any, dtype: np.dtype[Any]) -> None:
    """Raise unless `requires_grad` may have a value in a Tensor of this dtype."""
    if not isinstance(value, bool | np.bool_):  # a dtype in second place, as in np.array, would be true
        raise TypeError(
            f"requires_grad must be True or False, got {value!r:.80}; to mg.tensor, pass dtype and name by keyword"
        )
    if value:
        check_differentiable(dtype)


def checked_name(name: Any) -> str | None:
    """Return the name of a variable, or raise: pictures and source code print it."""
    if not isinstance(name, str | None):
        raise TypeError(f"the name of a Tensor must be a string or None, got {name!r:.80}; write name=str(...)")
    return name


def check_differentiable(dtype: np.dtype[Any]) -> None:
    """Raise unless numbers of this dtype can have derivatives."""
    if dtype.kind not in "fc":
        raise TypeError(
            f"only floating-point and complex tensors can require a gradient, got dtype {dtype}; "
            f"convert the data (np.asarray(data, dtype=float)) or pass dtype=np.float64"
        )


def new_data(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return a copy of an array for `.data`, in the variable's dtype, or raise."""
    array = new_array(operand(".data =", value))
    if array.shape != shape:
        raise ValueError(f".data: the array must have shape {shape}, got {array.shape}; make a new tensor instead")
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(
            f".data: the array must have dtype {dtype}, got {array.dtype}, which can't be cast to it; convert it first "
            f"with .astype({dtype})"
        )
    return array if array.dtype == dtype else array.astype(dtype)


def protected(leaf: Leaf) -> ValueError:
    """Return the error for an update of an array that is read-only."""
    return ValueError(
        f"{describe(leaf)} can't be updated in place, because its array is read-only. An argument of a transform is a "
        f"value: write w = w - ...; for an array that you protected, assign .data = array.copy() first"
    )


# Between use and walk

LOCKED: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()  # arrays that detect_anomaly locked
recent: dict[int, tuple[Any, ...]] = {}  # by id(): the content and form of recently copied arrays, and the copies
NOT_RECENT = (None,) * 5
MOST_RECENT = 256


def is_small(value: Any) -> bool:
    """Return whether an argument is a small array of the user's."""
    return type(value) is ndarray and value.nbytes <= COPIED


def copied(array: Any) -> Any:
    """Return a copy of a small array, the earlier copy if the content is the same.

    A copy needs no copy of its own: a recorded backward pass uses it again.
    """
    before, shape, dtype, strides, copy = recent.get(id(array), NOT_RECENT)
    if copy is array:
        return copy
    if shape == array.shape and dtype is array.dtype and strides == array.strides:
        is_same = before.__eq__(array)  # a bytearray compares an array's memory in place, if it is contiguous
        if is_same is True or (is_same is NotImplemented and before == array.tobytes("A")):
            return copy
    if len(recent) >= MOST_RECENT:
        recent.clear()
    copy = array.copy("K")
    recent[id(array)] = bytearray(array.tobytes("A")), array.shape, array.dtype, array.strides, copy
    recent[id(copy)] = (*NOT_RECENT[1:], copy)
    return copy


def sample(array: Any) -> bytes:
    """Return some elements of a large array, in even steps along each axis."""
    most = SAMPLED ** (1 / max(array.ndim, 1))
    return array[tuple(slice(None, None, max(1, int(n / most))) for n in array.shape)].tobytes()


def record_kept(
    record: Callable[..., Operation],
    function: Function,
    values: Sequence[Any],
    kwargs: dict[str, Any],
    parents: tuple[Any, ...],
    out: Any,
) -> Operation:
    """Record a call with plain arrays, which may change before the tape is walked."""
    if record is not Operation and current().anomaly is not None:
        return record(function, tuple(values), kwargs, parents, out)  # everything is watched there
    watched: list[Any] = []
    held = list(values)
    for i, value in enumerate(held):
        if type(value) in KEPT and parents[i] is None:
            small = type(value) is np.ndarray and value.nbytes <= COPIED
            held[i] = copied(value) if small else keep(value, watched)
    node = record(function, tuple(held), keep(kwargs, watched) if kwargs else kwargs, parents, out)
    if watched:
        watch(node, watched, sample)
    return node


def keep(value: Any, watched: list[Any]) -> Any:
    """Return an argument as the tape keeps it: small arrays copied, even in a list.

    `watched` takes the arrays that are too large to copy.
    """
    if type(value) is np.ndarray:
        if value.nbytes <= COPIED:
            return copied(value)
        watched.append(value)
    elif type(value) in (list, tuple):
        return type(value)([keep(part, watched) for part in value])
    elif type(value) is dict:
        return {key: keep(part, watched) for key, part in value.items()}
    return value


def arrays_in(tree: Any) -> Iterator[Any]:
    """Yield the arrays in nested tuples, lists and dicts."""
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, tuple | list | dict):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from arrays_in(part)


def watch(node: Operation, arrays: list[Any], look: Callable[[Any], bytes]) -> None:
    """Note an operation's arrays: its rules are called only if they haven't changed."""
    note = node.annotate()
    note.line = note.line or user_line()
    note.check = functools.partial(check_unchanged, [(array, look(array)) for array in arrays], look)


def check_unchanged(seen: list[tuple[Any, bytes]], look: Callable[[Any], bytes], node: Operation) -> None:
    """Raise if an array has changed since an operation used it."""
    for array, before in seen:
        if look(array) != before:
            line = quoted_line(node.note.line if node.note else None)
            raise RuntimeError(
                f"an array of shape {array.shape} and dtype {array.dtype} was changed after {name_of(node.function)} "
                f"had used it{line}, so this gradient would be wrong; pass the operation a copy (x.copy()), or change "
                f"the array after the backward pass"
            )
