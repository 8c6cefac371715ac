"""Numbers that leave the tape: `float(t)`, `math.sin(t)`, `array[i] = t`.

Owns: what a conversion to a Python number says of the derivative that the number
doesn't have: under a transform it is an error, elsewhere a warning. The deliberate ways
out, `t.item()`, `t.data` and `t.detach()`, say nothing.
Must not own: the conversions themselves (`arraylike.py`).
Read next: `arraylike.py`.
"""

from __future__ import annotations

import dis
import sys
import warnings
from typing import Any, NoReturn

from microgradnd.tape import Operation, current


def is_being_stored(frame: Any) -> bool:
    """Return whether a caller is at `array[i] = value`: there NumPy asks for a float,
    and would drop the gradient.
    """
    code = frame.f_code
    return dis.opname[code.co_code[frame.f_lasti]] == "STORE_SUBSCR" or "__setitem__" in code.co_names


def raise_through(frame: Any, error: Exception) -> NoReturn:
    """Raise an error in a conversion, so that it also reaches the frame that asked for
    it.

    NumPy puts an error of its own in the place of ours, and says of whatever can't be
    an element that it is a sequence. A trace function sees that one arrive in the
    frame, and may replace it.
    """

    def event(at: Any, kind: str, arg: Any) -> None:
        if at is not frame:  # of a generator, which is closed on the way
            return
        sys.settrace(None)
        frame.f_trace = None
        if kind == "exception" and arg[1] is not error:
            raise error.with_traceback(None) from None

    if sys.gettrace() is None:
        frame.f_trace = event
        sys.settrace(event)
    raise error


class Count(int):
    """The number of elements, which in PyTorch is a method. NumPy would take it for an
    array of int64.
    """

    def __call__(self, *_: Any) -> NoReturn:
        raise TypeError("t.size is the number of elements, not a method; write t.shape[axis], or t.shape for all axes")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*(int(x) if type(x) is Count else x for x in inputs), **kwargs)

    def __reduce__(self) -> Any:
        return int, (int(self),)


def number_of(tensor: Any, what: str) -> Any:
    """Return the array of a Tensor for a conversion to a Python number, which the
    derivative doesn't follow.
    """
    array, node = tensor._known(what), tensor._node
    if node is None or not node.requires_grad or current().record is None:
        return array
    frame = sys._getframe(2)
    if is_being_stored(frame):
        error = TypeError(
            "an element of a plain array was assigned a Tensor that requires a gradient, which the array would "
            "lose: write np.stack([...]) for an array of Tensors, assign to a Tensor (t[i] = value), or write "
            "t.data to go on without a gradient"
        )
        raise_through(frame, error)
    if current().is_transformed:
        error = TypeError(
            f"{what} of a Tensor inside a function that is being differentiated: the number would leave the tape, "
            f"and its derivative be lost; compute with the Tensor itself and NumPy's functions (np.sin(t), not "
            f"math.sin(t)), or say that no derivative is wanted with t.item()"
        )
        raise_through(frame, error)
    is_over = type(node) is Operation and (node.args is None or (node.note is not None and node.note.is_walked))
    if not is_over:
        warnings.warn(
            f"{what} of a Tensor that requires a gradient gives a number without one; write t.item() if that is "
            f"meant, or compute with the Tensor itself",
            stacklevel=3,
        )
    return array


def copy_of(tensor: Any, what: str) -> Any:
    """Return the array of a Tensor for a variable of its own, which a derivative
    doesn't follow either.
    """
    array = tensor._known(what)
    if tensor._node is not None and tensor._node.requires_grad and current().is_transformed and current().record:
        raise TypeError(
            f"{what} of a Tensor inside a function that is being differentiated: the copy would be a variable of its "
            f"own, and the derivative be lost; go on with the Tensor itself (t.copy() is recorded), or say that no "
            f"derivative is wanted with t.detach()"
        )
    return array
