"""The array's side of a Tensor: attributes, conversions, comparisons, NumPy's methods.

Owns: the first of the four files of one class (then `assignment.py`, `operators.py`,
`tensor.py`): everything that it shares with an array. Nothing here knows derivatives.
Must not own: operators or recording (`tensor.py`); each method passes its NumPy
function on to be recorded there.
Read next: `tensor.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from microgradnd import display, primitives, refusals
from microgradnd.annotations import Like, Method
from microgradnd.conversions import Count, computed, number_of, truth_of
from microgradnd.failures import fail
from microgradnd.tape import current, traceable


def _method(function: Any) -> Method:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.__array_function__(function, (), (self, *args), kwargs)

    method.__doc__ = f"Return np.{function.__name__}(self, ...), as the array's own method does."
    return method  # type: ignore[return-value]  # for the Tensor that it is called on


_plain: Callable[[Any], Callable[..., npt.NDArray[Any]]] = _method  # for methods that return arrays


def _comparison(function: Any, run: Callable[[Any, Any], Any]) -> Callable[[Like, Any], npt.NDArray[Any]]:
    def method(self: Any, other: Any) -> Any:
        if (trace := current().trace) is not None:
            return trace.variable.compared(self, function, other)
        try:
            return run(self._array, other._array if isinstance(other, ArrayLike) else other)
        except Exception as error:
            fail(function, (self, other), {}, error)

    method.__doc__ = f"Compare elementwise ({run.__name__}): a plain boolean array."
    return method


class ArrayLike:
    """What a Tensor shares with an array: it holds one, and passes its methods on."""

    __slots__ = ()
    _array: Any
    _node: Any
    name: Any

    __array_function__: Any  # `tensor.py` defines it: calls are recorded there

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
        """Return the array, or raise during a trace, when its numbers are unknown."""
        if (trace := current().trace) is not None and self._node is not None:
            raise trace.refusal(what)
        return self._array

    def _entering(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Return the array, or in a trace the Python number, that a function gets."""
        return self._array

    @traceable
    def item(self, *index: Any) -> Any:
        """Return the only element, or the one at an index, as a Python number."""
        return computed(self._known("item()"), None if index else 1).item(*index)

    def tolist(self) -> Any:
        """Return the elements as Python numbers, in nested lists."""
        return computed(self._known("tolist()")).tolist()

    def __float__(self) -> float:
        return float(number_of(self, "float()"))

    def __int__(self) -> int:
        return int(number_of(self, "int()"))

    def __complex__(self) -> complex:
        return complex(number_of(self, "complex()"))

    def __bool__(self) -> bool:
        return truth_of(self._known("`if`, `and`, `or`, `not` or bool()"))

    def __trunc__(self) -> int:
        return int(number_of(self, "math.trunc()"))

    def __round__(self, digits: int | None = None) -> Any:
        return round(number_of(self, "round()").item()) if digits is None else _round(self, digits)

    def __index__(self) -> int:
        array = self._known("a Python index or range()")
        if array.size != 1 or array.dtype.kind not in "iu":
            raise refusals.no_integer(self.shape, self.dtype)
        return operator.index(array)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of, or iteration over, a 0-d tensor: it is one number; use it, or t.reshape(-1)")
        return len(self._array)

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return (value._array if isinstance(value, ArrayLike) else value) in np.asarray(self._known("`in`"))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.size == 1 and spec else format(str(self), spec)

    @traceable
    def __str__(self) -> str:
        return str(self._array)

    @traceable
    def __repr__(self) -> str:
        return display.text_of(self)

    def _repr_html_(self) -> str | None:
        return display.page_of(self)

    __lt__, __le__ = _comparison(np.less, operator.lt), _comparison(np.less_equal, operator.le)
    __gt__, __ge__ = _comparison(np.greater, operator.gt), _comparison(np.greater_equal, operator.ge)
    # Python's give a bool
    __eq__, __ne__ = _comparison(np.equal, operator.eq), _comparison(np.not_equal, operator.ne)  # type: ignore[assignment]
    __hash__ = object.__hash__  # a variable is itself, not its value

    __getitem__, __divmod__ = _method(primitives.getitem), _method(np.divmod)

    def astype(self, dtype: npt.DTypeLike, *, copy: bool = True) -> Self:
        """Return a copy in another dtype; the gradient comes back in this one."""
        return _astype(self, np.dtype(dtype)) if copy or self.dtype != dtype else self

    def reshape(self, *shape: Any, **kwargs: Any) -> Self:
        """Return np.reshape(self, shape)."""
        return _reshape(self, shape[0] if len(shape) == 1 else shape, **kwargs)

    def transpose(self, *axes: Any) -> Self:
        """Return np.transpose(self, axes)."""
        return _transpose(self, axes[0] if len(axes) == 1 else axes or None)

    def conj(self) -> Self:
        """Return np.conjugate(self); itself if it is real, as an array's own method."""
        return _conj(self) if self.dtype.kind == "c" else self

    flatten = ravel = _method(np.ravel)
    sum, prod, mean, std, var = _method(np.sum), _method(np.prod), _method(np.mean), _method(np.std), _method(np.var)
    max, min, ptp = _method(np.max), _method(np.min), _method(np.ptp)
    cumsum, cumprod = _method(np.cumsum), _method(np.cumprod)
    argmax, argmin, argsort, all, any = map(_plain, (np.argmax, np.argmin, np.argsort, np.all, np.any))
    nonzero: Callable[..., tuple[npt.NDArray[Any], ...]] = _plain(np.nonzero)  # type: ignore[assignment]
    dot, trace, diagonal = _method(np.dot), _method(np.trace), _method(np.diagonal)
    squeeze, swapaxes, repeat, take = _method(np.squeeze), _method(np.swapaxes), _method(np.repeat), _method(np.take)
    clip, round, copy = _method(np.clip), _method(np.round), _method(np.copy)
    T: Self = property(_method(np.transpose), doc="The axes in reverse order.")  # type: ignore[assignment]
    mT: Self = property(_method(np.matrix_transpose), doc="The last two axes exchanged.")  # type: ignore[assignment]
    real: Self = property(_method(np.real), doc="The real part.")  # type: ignore[assignment]
    imag: Self = property(_method(np.imag), doc="The imaginary part.")  # type: ignore[assignment]


_astype, _reshape, _transpose = _method(primitives.astype), _method(np.reshape), _method(np.transpose)
_round, _conj = _method(np.round), _method(np.conjugate)
