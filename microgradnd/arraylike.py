"""What a Tensor has in common with an array: attributes, conversions, comparisons and NumPy's methods.

Owns: the class that `Tensor` inherits these from. Nothing here knows of gradients.
Must not own: operators or recording (`tensor.py`); each method hands its NumPy function on to be recorded there.
Read next: `tensor.py`.
"""

from __future__ import annotations

import dis
import operator
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from microgradnd import primitives
from microgradnd.annotations import Like, Method
from microgradnd.failures import fail
from microgradnd.registry import name_of
from microgradnd.tape import Leaf, Operation, current


def _method(function: Any) -> Method:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.__array_function__(function, (), (self, *args), kwargs)

    method.__doc__ = f"Return np.{function.__name__}(self, ...): NumPy's method of this name."
    return method  # type: ignore[return-value]  # of the Tensor that it is called on


_plain: Callable[[Any], Callable[..., npt.NDArray[Any]]] = _method  # for what gives arrays


def _comparison(function: Any, run: Callable[[Any, Any], Any]) -> Callable[[Like, Any], npt.NDArray[Any]]:
    def method(self: Any, other: Any) -> Any:
        if current().trace is not None:
            return self.__array_function__(function, (), (self, other), {})
        try:
            return run(self._array, other._array if isinstance(other, ArrayLike) else other)
        except Exception as error:
            fail(function, (self, other), {}, error)

    method.__doc__ = f"Compare elementwise ({run.__name__}): a plain boolean array."
    return method


def is_being_stored(frame: Any) -> bool:
    """Return whether a caller is at `array[i] = value`: there NumPy asks for a float, and would drop the gradient."""
    code = frame.f_code
    return dis.opname[code.co_code[frame.f_lasti]] == "STORE_SUBSCR" or "__setitem__" in code.co_names


def raise_through(frame: Any, error: Exception) -> NoReturn:
    """Raise an error in a conversion, so that it also reaches the frame that asked for it.

    NumPy puts an error of its own in the place of ours, and says of whatever can't be an element that it is a sequence.
    A trace function sees that one arrive in the frame, and may replace it.
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
    """The number of elements, which in PyTorch is a method. NumPy would take it for an array of int64."""

    def __call__(self, *_: Any) -> NoReturn:
        raise TypeError("t.size is the number of elements, not a method; write t.shape[axis], or t.shape for all axes")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*(int(x) if type(x) is Count else x for x in inputs), **kwargs)

    def __reduce__(self) -> Any:
        return int, (int(self),)


class ArrayLike:
    """An object with an array in `_array` that hands NumPy's functions to `__array_function__`."""

    __slots__ = ()
    _array: Any
    _node: Any
    name: Any

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of its axes."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """The number of its elements."""
        return Count(self._array.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""
        return self._array.dtype

    def _known(self, what: str) -> Any:
        """Return the array, to be looked at; raise where it is only an example, because a call is being traced."""
        if current().trace is not None and self._node is not None:
            raise current().trace.refusal(what)
        return self._array

    def item(self) -> Any:
        """Return the one element as a Python number."""
        return self._known("item()").item()

    def tolist(self) -> Any:
        """Return the elements as nested lists of Python numbers."""
        return self._known("tolist()").tolist()

    def _left(self, what: str) -> Any:
        """Return the array for a conversion to a Python number, which the derivative doesn't follow."""
        node = self._node
        if node is None or not node.requires_grad or current().record is None or current().trace is not None:
            return self._known(what)
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
        return self._array

    def _copied(self, what: str) -> Any:
        """Return the array for a variable of its own, which a derivative doesn't follow either."""
        if self._node is not None and self._node.requires_grad and current().is_transformed and current().record:
            raise TypeError(
                f"{what} of a Tensor inside a function that is being differentiated: the copy would be a variable of "
                f"its own, and the derivative be lost; go on with the Tensor itself (t.copy() is recorded), or say "
                f"that no derivative is wanted with t.detach()"
            )
        return self._known(what)

    def __float__(self) -> float:
        return float(self._left("float()"))

    def __int__(self) -> int:
        return int(self._left("int()"))

    def __complex__(self) -> complex:
        return complex(self._left("complex()"))

    def __bool__(self) -> bool:
        return bool(self._known("`if`, `and`, `or`, `not` or bool()"))

    def __trunc__(self) -> int:
        return int(self._left("math.trunc()"))

    def __round__(self, digits: int | None = None) -> Any:
        return round(self._left("round()").item()) if digits is None else _round(self, digits)

    def __index__(self) -> int:
        array = self._known("a Python index or range()")
        if array.size != 1 or array.dtype.kind not in "iu":
            raise TypeError(
                f"a Python index or range() needs an integer, got a Tensor of shape {self.shape} and dtype "
                f"{self.dtype}; write int(t.item())"
            )
        return operator.index(array)

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Self]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor, which holds one number; use it as it is, or t.reshape(-1)")
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return (value._array if isinstance(value, ArrayLike) else value) in np.asarray(self._known("`in`"))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.size == 1 and spec else format(str(self), spec)

    def __str__(self) -> str:
        return str(self._array) if current().trace is None or self._node is None else repr(self)

    def __repr__(self) -> str:
        if current().trace is not None and self._node is not None:  # no number of this one call may get out
            name = f", name={self.name!r}" if self.name else ""
            return f"tensor(<computed when the program runs>, shape={self.shape}, dtype={self.dtype}{name})"
        text = f"tensor({np.array2string(self._array, separator=', ', prefix='tensor(')}"
        if self.dtype not in (np.float64, np.int64, np.bool_, np.complex128):
            text += f", dtype={self.dtype}"
        if isinstance(self._node, Leaf):
            text += ", requires_grad=True" if self._node.requires_grad else ""
        elif self._node is not None:
            text += f", function={name_of(self._node.function)}"
        return text + (f", name={self.name!r})" if self.name else ")")

    __lt__, __le__ = _comparison(np.less, operator.lt), _comparison(np.less_equal, operator.le)
    __gt__, __ge__ = _comparison(np.greater, operator.gt), _comparison(np.greater_equal, operator.ge)
    __eq__ = _comparison(np.equal, operator.eq)  # type: ignore[assignment]  # Python's gives a bool
    __ne__ = _comparison(np.not_equal, operator.ne)  # type: ignore[assignment]
    __hash__ = object.__hash__  # a variable is itself, whatever its value

    __getitem__ = _method(primitives.getitem)

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Return it in another dtype, recorded; the gradient comes back in this one."""
        return _astype(self, np.dtype(dtype))

    def reshape(self, *shape: Any, **kwargs: Any) -> Self:
        """Return np.reshape(self, shape)."""
        return _reshape(self, shape[0] if len(shape) == 1 else shape, **kwargs)

    def transpose(self, *axes: Any) -> Self:
        """Return np.transpose(self, axes)."""
        return _transpose(self, axes[0] if len(axes) == 1 else axes or None)

    flatten = ravel = _method(np.ravel)
    sum, prod, mean, std, var = _method(np.sum), _method(np.prod), _method(np.mean), _method(np.std), _method(np.var)
    max, min, ptp = _method(np.max), _method(np.min), _method(np.ptp)
    cumsum, cumprod = _method(np.cumsum), _method(np.cumprod)
    argmax, argmin, argsort, all, any = map(_plain, (np.argmax, np.argmin, np.argsort, np.all, np.any))
    nonzero: Callable[..., tuple[npt.NDArray[Any], ...]] = _plain(np.nonzero)  # type: ignore[assignment]
    dot, trace, diagonal = _method(np.dot), _method(np.trace), _method(np.diagonal)
    squeeze, swapaxes, repeat, take = _method(np.squeeze), _method(np.swapaxes), _method(np.repeat), _method(np.take)
    clip, round, conj, copy = _method(np.clip), _method(np.round), _method(np.conjugate), _method(np.copy)
    T: Self = property(_method(np.transpose), doc="The axes in reverse order.")  # type: ignore[assignment]
    mT: Self = property(_method(np.matrix_transpose), doc="The last two axes exchanged.")  # type: ignore[assignment]
    real: Self = property(_method(np.real), doc="The real part.")  # type: ignore[assignment]
    imag: Self = property(_method(np.imag), doc="The imaginary part.")  # type: ignore[assignment]


_astype, _reshape, _transpose = _method(primitives.astype), _method(np.reshape), _method(np.transpose)
_round = _method(np.round)
