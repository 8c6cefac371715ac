"""A value that a program will compute: how a Tensor differs while a call is traced.

Owns: the classes of values computed in a trace and of what a computed mask picks, and
`np.full` with such a value.
Must not own: how a call is recorded, or what is refused and why (`recorder.py`).
Read next: `recorder.py`.

The array of such a value is an example, from the traced call. Outside variables keep
their class, as other threads may be using them. When a method of this class applies to
one of them, the engine calls it with that variable (`traceable` in `tape.py`).
"""

from __future__ import annotations

import inspect
import sys
from typing import Any
from weakref import ref

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from microgradnd import primitives, views
from microgradnd.advice import missing_attribute
from microgradnd.assignment import entering, fitting
from microgradnd.compiler.bytecode import takers, words_at
from microgradnd.lines import PACKAGE, installed, is_standard_file, is_users, user_line
from microgradnd.modes import no_grad
from microgradnd.operands import check_requires_grad, checked_name, new_data
from microgradnd.tape import Leaf, Operation, current
from microgradnd.tensor import Tensor, several, wrap

new_object = object.__new__
NUMPYS_FULL = np.full
SHOWING = {"print", "pprint", "print_exc", "debug", "info", "warning", "warn", "error", "exception", "write", "raise"}
FILES, STREAMS = {"file", "write"}, {"stdout", "stderr"}  # a text may be read from any other file
THROUGH = {"__str__", "__repr__", "__format__", "call"}  # methods that a text goes through, and our function
INSIDE = (*installed()[-2:], np.__path__[0])
UNKNOWN = "<computed when the program runs>"
MASKED = (
    "The number of elements that it picks depends on the values: keep the shape with np.where(mask, x, 0) or "
    "where=mask, or pass the mask as mg.static(tuple)"
)


class TracedTensor(Tensor):
    """A value that a program will compute."""

    __slots__ = ()

    @property
    def __class__(self) -> Any:
        """What `isinstance` sees outside this library and NumPy: an array or number."""
        return TracedTensor if is_inside() else self._class_outside()

    @__class__.setter
    def __class__(self, cls: type) -> None:
        object.__dict__["__class__"].__set__(self, cls)

    def _class_outside(self) -> Any:
        node, recorder = self._node, tracer()
        if recorder is None or (self.requires_grad and (current().is_transformed or recorder.needs_gradient(node))):
            return TracedTensor  # or the function has kept it
        return recorder.given.get(node, type(self._array))

    def __dir__(self) -> list[str]:
        return dir(self._class_outside())

    @classmethod
    def _computed(
        cls, function: Any, values: Any, kwargs: dict[str, Any], parents: Any, out: Any, args: tuple[Any, ...] = ()
    ) -> Any:
        """Return a call's result; record the call unless all arguments are known."""
        record = current().record if parents.count(None) < len(parents) else None
        if isinstance(out, tuple | list):
            return several(function, values, kwargs, parents, out, record)
        result: Tensor = new_object(Tensor if record is None else cls)
        result._array = out
        result._node = record and record(function, values, kwargs, parents, out)
        if type(out) is np.ndarray and (out.base is not None or out is values[0]):
            views.share(result, args)
        return result

    def _call_plain(self, function: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return tracer().plain(function, inputs, kwargs)

    def _one_argument(self, index: Any) -> Any:
        return tracer().index(index)

    # Refusals: nothing may read its value, or catch an error of a call with it

    def __array_ufunc__(self, *call: Any, **kwargs: Any) -> Any:
        if Picked in map(type, call):
            return NotImplemented  # which decides itself
        return noting(super().__array_ufunc__, call, kwargs)

    def __array_function__(self, function: Any, *call: Any) -> Any:
        result = noting(super().__array_function__, (function, *call))
        is_known = type(result) is Tensor and result._node is None  # such as np.zeros_like(x)
        return traced(result._array) if is_known and not self.requires_grad else result

    def __getattr__(self, name: str) -> Any:
        """Refuse to read an attribute that an array or number has, but not a Tensor."""
        if name.startswith("_"):
            raise AttributeError(name)
        advice = missing_attribute("Tensor", name, dir(Tensor))
        if hasattr(self._class_outside(), name):
            _, is_known, instead = advice.partition("; write ")
            raise tracer().refusal(f"the attribute {name!r}", f"Write {instead}" if is_known else "")
        raise AttributeError(advice)

    def __str__(self) -> str:
        return str(self._array) if self._node is None else repr(self)

    def __repr__(self) -> str:
        if self._node is None:
            return inspect.unwrap(Tensor.__repr__)(self)
        refuse_text()
        name = f", name={self.name!r}" if self.name else ""
        return f"tensor({UNKNOWN}, shape={self.shape}, dtype={self.dtype}{name})"

    def __format__(self, spec: str) -> str:
        return str(self)

    def __hash__(self) -> int:
        if not sys._getframe(1).f_code.co_filename.startswith(PACKAGE):
            raise tracer().refusal("hash() (a key of a dict, a member of a set)")
        return object.__hash__(self)

    def __mul__(self, other: Any) -> Any:
        return super().__mul__(self._factor(other))

    def __rmul__(self, other: Any) -> Any:
        return super().__rmul__(self._factor(other))

    def compared(self, function: Any, other: Any) -> Any:
        """Return a comparison: no number is equal to a text, nor to NaN."""
        if function in (np.equal, np.not_equal) and isinstance(other, str | bytes):
            other = np.nan
        return self.__array_function__(function, (), (self, other), {})

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        return self if self._is_number() else super().copy(*args, **kwargs)

    def __pow__(self, exponent: Any) -> Any:
        is_bool = type(self._array) is np.bool_
        return np.power(self, exponent) if is_bool else super().__pow__(exponent)  # an int, unlike array**2

    def _factor(self, other: Any) -> Any:
        """Return the other factor; raise if it is a list, which Python would repeat."""
        if type(other) in (list, tuple) and issubclass(self._class_outside(), np.generic):
            raise tracer().refusal("a list times a number", "Write np.array(list) * t to multiply its elements")
        return other

    def updating(self) -> Any:
        raise tracer().refusal("updating()", "Write t[...] = value, or t += value under mg.no_grad()")

    # Values without a derivative

    def item(self, *index: Any) -> Any:
        place = np.arange(self.size).reshape(self.shape).item(*index)
        example = self._array.flat[place].item()
        if self._node is None or type(example) not in (bool, int, float, complex):
            return self._known("item()").item(*index)  # raises if it would be computed
        picked = self.detach().reshape(-1)[place].astype(type(example))
        tracer().of_numpy.add(picked._node)  # a number, whatever it was picked from
        return tracer().number(picked._array, picked._node)

    def values_of(self) -> TracedTensor:
        """Return a variable's `.data`."""
        values: TracedTensor = tracer().values_of(self)
        return values

    def _set_data(self, value: Any) -> None:
        if tracer().values.get(id(value), (None, None))[1] is self:  # t.data += v assigns what it has changed
            return
        array = new_data(getattr(value, "_array", value), self.shape, self.dtype)  # raises if it doesn't fit
        value = value.astype(self.dtype) if isinstance(value, Tensor) else wrap(array)
        tracer().set_values(self, value)

    def as_variable(self, requires_grad: bool, dtype: Any = None, name: str | None = None) -> Tensor:
        """Return a new variable that starts with these values, as `mg.tensor` does."""
        value = self if dtype is None else self.astype(dtype)
        check_requires_grad(requires_grad, value.dtype)
        leaf = Leaf(value._array, requires_grad, checked_name(name))
        tracer().stand_for(leaf, value._node)
        return wrap(value._array, leaf)

    def __deepcopy__(self, memo: Any) -> Any:
        node = self._node
        if node is None or (node.requires_grad and (current().is_transformed or type(node) is not Leaf)):
            return inspect.unwrap(Tensor.__deepcopy__)(self, memo)
        return TracedTensor.values_of(self).as_variable(node.requires_grad, None, node.name)

    # A change is a new value

    def __getitem__(self, index: Any) -> Any:
        part = picked(self, index) if is_mask(index) else super().__getitem__(index)
        if isinstance(part, Tensor) and not primitives.is_basic(index):
            tracer().parts[id(part)] = ref(part), index
        return part

    def is_part(self, index: Any) -> bool:
        """Return whether this very index has picked it: so does `t[i] += v` assign."""
        reference, picked_by = tracer().parts.get(id(self), (None, None))
        return reference is not None and reference() is self and picked_by is index

    def __setitem__(self, index: Any, value: Any) -> None:
        if TracedTensor._is_number(self, is_changed=True):
            kind = self._class_outside().__name__
            raise TypeError(f"{kind!r} object does not support item assignment: it is a number, not an array")
        if is_mask(index) and isinstance(value, Tensor) and (new := put(self, index, value)) is not None:
            become(self, new, index)
            return
        index = tracer().index(index) if type(index) in (tuple, list) else index
        value = primitives.array(value) if type(value) in (tuple, list) else value
        value = value if isinstance(value, Tensor) else entering("an assignment t[i] = value", value)
        become(self, primitives.setitem(self, index, value), index)

    def _is_number(self, is_changed: bool = False) -> bool:
        """Return whether it would be a number without compiling.

        Raises if it would be a read-only array that is changed.
        """
        if type(self) is Tensor or (tracer().is_tensor(self._node) and not hasattr(self, "is_weak")):
            return False
        is_array = issubclass(self._class_outside(), np.ndarray)
        if is_changed and is_array and not self._array.flags.writeable:
            raise ValueError("a read-only array, such as np.broadcast_to returns, can't be changed; change a copy")
        return not is_array

    def _changed(self, function: Any, other: Any) -> Tensor:
        """Do what an augmented assignment does; a number doesn't change."""
        if TracedTensor._is_number(self, is_changed=True):
            return NotImplemented  # so that Python computes another number
        become(self, fitting(self, function, other), ...)
        return self

    def owned(self, like: Any) -> Any:
        """Return a transform's result: a number, or an array that can change."""
        kind = like._class_outside() if isinstance(like, TracedTensor) else type(like)
        is_number = issubclass(kind, float | complex | np.generic)
        return traced(self._array[()] if is_number else np.array(self._array), self._node)

    def detach(self) -> Tensor:
        with no_grad():
            return primitives.identity(self)


BITS = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
for _name, _function in (BITS | {"lshift": np.left_shift, "rshift": np.right_shift}).items():
    setattr(TracedTensor, f"__i{_name}__", lambda self, other, f=_function: self._changed(f, other))


class Picked(NDArrayOperatorsMixin, TracedTensor):  # type: ignore[metaclass]  # NumPy has no metaclass there
    """The elements that a computed mask picks, so many that only a call shows.

    They can be computed with, one by one, and assigned to what the same mask picks: the
    program does so with all elements, with ones for those that the mask leaves out.
    Anything else needs their number, and reading `_array` refuses it.
    """

    __slots__ = ("mask", "where", "whole")
    mask: Any
    whole: Any
    where: Any
    _node = None
    requires_grad: Any = property(lambda self: self.whole.requires_grad)

    @property
    def _array(self) -> Any:
        raise tracer().refusal("a mask as an index", MASKED, self.where)

    def is_picked_by(self, mask: Any) -> bool:
        return isinstance(mask, Tensor) and equal_calls(mask._node, self.mask._node)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        every: list[Any] = []
        for x in inputs:
            is_of_mask = type(x) is Picked and self.is_picked_by(x.mask) and x.whole.ndim == self.whole.ndim
            if not is_of_mask and np.ndim(x) > self.whole.ndim - self.mask.ndim:
                return self._array
            filled = x.whole if is_of_mask else x
            if is_of_mask or (isinstance(x, Tensor) and x.requires_grad):  # its gradient isn't of all elements
                filled = np.where(over(self.mask, self.whole), filled, filled.dtype.type(1))
            every.append(filled)
        if method != "__call__" or kwargs or ufunc.signature or ufunc.nout > 1:
            return self._array
        if out is None:
            return picked(ufunc(*every), self.mask)
        if out[0] is not self or inputs[0] is not self or ufunc.nin != 2:
            return self._array
        self.whole = fitting(every[0], ufunc, every[1])  # an augmented assignment
        return self

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in (np.sum, np.mean, np.any, np.all) or len(args) > 1 or kwargs:
            return self._array
        return function(self.whole, where=over(self.mask, self.whole))

    def _total(self) -> Any:  # what `.sum()` calls
        return self.__array_function__(np.sum, (), (self,), {})


def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C", **options: Any) -> Any:
    """Do what np.full does, which can't record a call: it asks for a value's array."""
    if tracer() is None or not isinstance(fill_value, TracedTensor) or fill_value.requires_grad:
        return NUMPYS_FULL(shape, fill_value, dtype, order, **options)
    value = fill_value if dtype is None else fill_value.astype(dtype)
    return primitives.setitem(np.zeros(shape, value.dtype, order, **options), ..., value)


def picked(whole: Any, mask: Any) -> Picked:
    """Return what a mask picks of an array with the same leading axes."""
    check_axes(mask, whole)
    made: Any = new_object(Picked)
    made.mask, made.whole = traced(mask._array, mask._node), traced(whole._array, whole._node)  # variables may change
    made.where = user_line()
    return made


def put(old: Any, mask: Any, value: Any) -> Any:
    """Return an array with a value where a mask is true, or None if it can't be chosen
    for each element, or needn't be, as no derivative passes.
    """
    is_picked = type(value) is Picked and value.is_picked_by(mask) and value.whole.ndim == old.ndim
    if not is_picked and not (value.requires_grad and value.ndim <= old.ndim - mask.ndim):
        return None
    check_axes(mask, old)
    whole = value.whole if is_picked else value
    if whole.dtype != old.dtype or (whole.ndim and whole.shape != old.shape):
        whole = primitives.setitem(old, ..., whole)  # raises if it doesn't fit
    return np.where(over(mask, old), whole, old)


def is_mask(index: Any) -> bool:
    """Return whether the program computes an index, and it picks by truth."""
    is_single = isinstance(index, Tensor) and type(index._array) is not tuple  # such as `Recorder.index` returns
    return is_single and index._node is not None and index.dtype == bool


def check_axes(mask: Any, whole: Any) -> None:
    """Raise if an array's leading axes aren't a mask's: those of length 1 would be
    broadcast.
    """
    primitives.getitem(np.empty_like(whole._array, bool), mask._array)


def over(mask: Any, whole: Any) -> Any:
    """Return a mask with axes of length 1 for those that it doesn't have."""
    return mask[(..., *[None] * (whole.ndim - mask.ndim))] if whole.ndim > mask.ndim else mask


def traced(array: Any, node: Any = None, cls: type = TracedTensor) -> Any:
    """Return the value of a node of the tape, or a known one, that isn't a Tensor
    without compiling.

    Its array is what it would be without compiling: an array, or a NumPy number.
    """
    value: Any = new_object(cls)
    value._array, value._node = array, node
    return value


def equal_calls(a: Any, b: Any, steps: int = 8) -> bool:
    """Return whether two nodes are equal: the same, or the same ufunc of equal ones,
    for a few steps back.
    """
    if a is b or not steps or not isinstance(a, Operation) or not isinstance(b, Operation):
        return a is b
    if type(a.function) is not np.ufunc or a.function is not b.function or a.kwargs or b.kwargs:
        return False
    constants = [x is y for x, y, node in zip(a.args or (), b.args or (), a.parents, strict=True) if node is None]
    return all(constants) and all(equal_calls(*pair, steps - 1) for pair in zip(a.parents, b.parents, strict=True))


def tracer() -> Any:
    return current().trace


def is_inside() -> bool:
    """Return whether this library or NumPy calls a method."""
    code = sys._getframe(2).f_code
    return code.co_filename.startswith(INSIDE) and code is not np.isscalar.__code__  # it asks for the class


def noting(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
    """Call a method, and note an error."""
    try:
        return method(*args, **kwargs or {})
    except Exception as error:
        tracer().failed(error)
        raise


def refuse_text() -> None:
    """Raise if code of the user makes a text of a value, other than to show it."""
    frame: Any = sys._getframe(2)
    while (code := frame.f_code).co_name in THROUGH or is_standard_file(code.co_filename):
        frame = frame.f_back
    if not is_users(code):
        return
    shown, words = takers(code, frame.f_lasti) & SHOWING, words_at(code, frame.f_lineno)
    if not shown or (FILES & words and not STREAMS & words) or not tracer().shows():
        advice = "Make it of what the compiled function returns"
        raise tracer().refusal("a text (str, repr, an f-string)", advice, (code.co_filename, frame.f_lineno))
    if "raise" in shown:
        tracer().failed(ValueError("an error that says a value"))


def become(variable: Tensor, value: Any, index: Any) -> None:
    """Give a variable a new value, changed at an index, until the trace ends."""
    before = variable._array
    outdated = [] if type(variable._node) is Leaf else views.replace(variable, value._array, index)[1]
    variable._array = before
    value._array = np.asarray(value._array)  # NumPy computes a number, but it is an array that changes
    tracer().assign(variable, value, index)
    for other in outdated:
        other.__class__ = variable.outdated
