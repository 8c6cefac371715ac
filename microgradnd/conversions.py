"""Numbers that leave the tape: `float(t)`, `math.sin(t)`, `array[i] = t`.

Owns: the error under a transform, and the warning elsewhere, when a conversion to a
Python number loses the derivative. The deliberate ways out, `t.item()`, `t.data` and
`t.detach()`, say nothing. Copies as new variables.
Must not own: the conversions themselves (`arraylike.py`).
Read next: `arraylike.py`.
"""

from __future__ import annotations

import dis
import sys
import warnings
from typing import Any, NoReturn

from microgradnd.refusals import library_of
from microgradnd.tape import Leaf, Operation, current


def is_being_stored(frame: Any) -> bool:
    """Return whether a caller runs `array[i] = value`, which would drop the gradient.

    NumPy asks for a float there.
    """
    code = frame.f_code
    return dis.opname[code.co_code[frame.f_lasti]] == "STORE_SUBSCR" or "__setitem__" in code.co_names


def raise_through(frame: Any, error: Exception) -> NoReturn:
    """Raise an error in a conversion, and in the frame that asked for it.

    NumPy replaces our error by its own, which calls everything that can't be an element
    a sequence. A trace function sees NumPy's error arrive in the frame, and may replace
    it.
    """

    def event(at: Any, kind: str, arg: Any) -> None:
        if at is not frame:  # a generator's frame, closed on the way
            return
        sys.settrace(None)
        frame.f_trace = None
        if kind == "exception" and arg[1] is not error:
            raise error.with_traceback(None) from None

    if sys.gettrace() is None:
        frame.f_trace = event
        sys.settrace(event)
    raise error


def integers(thing: Any) -> Any:
    """Return an argument with an int for each length in it."""
    if type(thing) in (list, tuple):
        return type(thing)([integers(part) for part in thing])
    return int(thing) if type(thing) is Count else thing


class Count(int):
    """The number of elements, which is a method in PyTorch.

    NumPy would take this class for an array of int64.
    """

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(hasattr(kind, "__primitive__") for kind in types):
            return NotImplemented  # a Tensor takes the call
        return function(*integers(args), **{key: integers(value) for key, value in kwargs.items()})

    def __call__(self, *_: Any) -> NoReturn:
        raise TypeError("t.size is the number of elements, not a method; write t.shape[axis], or t.shape for all axes")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*(int(x) if type(x) is Count else x for x in inputs), **kwargs)

    def __reduce__(self) -> Any:
        return int, (int(self),)


def number_of(tensor: Any, what: str) -> Any:
    """Return a Tensor's array for a conversion that loses the derivative, or raise."""
    array, node = tensor._known(what), tensor._node
    if node is None or not node.requires_grad or current().record is None:
        return array
    frame = sys._getframe(2)
    if is_being_stored(frame):
        error = TypeError(
            "an element of a plain array was assigned a Tensor that requires a gradient, which the array would "
            "lose: write np.stack([...]) for an array of Tensors, assign to a Tensor (t[i] = value), or write "
            "t.data to continue without a gradient"
        )
        raise_through(frame, error)
    if current().is_transformed:
        error = TypeError(
            f"{what} of a Tensor inside a function that is being differentiated: the number would leave the tape and "
            f"lose its derivative; compute with the Tensor itself and NumPy's functions (np.sin(t), not math.sin(t)), "
            f"or write t.item() to give up the derivative"
        )
        raise_through(frame, error)
    is_over = type(node) is Operation and (node.args is None or (node.note is not None and node.note.is_walked))
    if not is_over:
        warnings.warn(
            f"{what} of a Tensor that requires a gradient returns a number without one; write t.item() if you mean "
            f"that, or compute with the Tensor itself",
            stacklevel=3,
        )
    return array


def truth_of(array: Any) -> bool:
    """Return whether the only element of an array is true, or raise."""
    if array.size == 0 or array.size > 1:  # Dask may not know it
        raise ValueError(
            f"`if`, `and`, `or`, `not` or bool() of a Tensor of shape {array.shape}, which is neither true nor false: "
            f"write np.any(t) or np.all(t), or np.where(condition, a, b) to choose element by element"
        )
    return bool(array)


def computed(array: Any, size: int | None = None) -> Any:
    """Return an array; one that is computed on demand, as Dask's is, as NumPy's.

    Raises unless such an array has `size` elements, where that is given.
    """
    if not hasattr(array, "compute"):
        return array
    if size not in (None, array.size):
        raise ValueError(
            f"item() of a {library_of(array)} of shape {array.shape}, which has not been computed: only one element is "
            f"a number; reduce the array first, as with .sum()"
        )
    return array.compute()


def copy_of(tensor: Any, what: str) -> Any:
    """Return a Tensor's array for a variable without its derivative, or raise.

    While a call is traced, return a Tensor instead of an array whose numbers are
    unknown.
    """
    if tensor._node is not None and tensor._node.requires_grad and current().is_transformed and current().record:
        raise TypeError(
            f"{what} of a Tensor inside a function that is being differentiated: the copy would be a new variable and "
            f"lose the derivative; use the Tensor itself (t.copy() is recorded), or write t.detach() to give up the "
            f"derivative"
        )
    return tensor.data if tensor._node is not None else tensor._array


def variable(cls: type[Any], array: Any, requires_grad: bool, name: str | None) -> Any:
    """Make a variable over an array, without copying it; a leaf if it needs one."""
    made = object.__new__(cls)
    made._array = array
    made._node = Leaf(array, requires_grad, name) if requires_grad or name else None
    return made
