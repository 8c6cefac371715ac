"""A value that a program will compute: how a Tensor differs while a call is traced.

Owns: the class of values computed in a trace.
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

import numpy as np

from microgradnd import primitives, views
from microgradnd.advice import missing_attribute
from microgradnd.assignment import entering, fitting
from microgradnd.compiler.bytecode import takers, words_at
from microgradnd.lines import PACKAGE, installed, is_standard_file, is_users
from microgradnd.modes import no_grad
from microgradnd.operands import check_requires_grad, new_data
from microgradnd.tape import Leaf, current
from microgradnd.tensor import Tensor, several, wrap

new_object = object.__new__
SHOWING = {"print", "pprint", "print_exc", "debug", "info", "warning", "warn", "error", "exception", "write", "raise"}
FILES, STREAMS = {"file", "write"}, {"stdout", "stderr"}  # a text may be read from any other file
THROUGH = {"__str__", "__repr__", "__format__", "call"}  # methods that a text goes through, and our function
INSIDE = (*installed()[-2:], np.__path__[0])
UNKNOWN = "<computed when the program runs>"


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
        if self.requires_grad:
            return TracedTensor
        given = getattr(tracer(), "given", {})
        return given.get(self._node, np.ndarray if self.ndim else self.dtype.type)

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
        return noting(super().__array_ufunc__, call, kwargs)

    def __array_function__(self, *call: Any) -> Any:
        return noting(super().__array_function__, call)

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
        self._refuse_repetition(other)
        return super().__mul__(other)

    def __rmul__(self, other: Any) -> Any:
        self._refuse_repetition(other)
        return super().__rmul__(other)

    def __pow__(self, exponent: Any) -> Any:
        is_bool = self.dtype == bool and issubclass(self._class_outside(), np.generic)
        return np.power(self, exponent) if is_bool else super().__pow__(exponent)  # an int, unlike array**2

    def _refuse_repetition(self, other: Any) -> None:
        if type(other) in (list, tuple) and issubclass(self._class_outside(), np.generic):
            raise tracer().refusal("a list times a number", "Write np.array(list) * t to multiply its elements")

    def updating(self) -> Any:
        raise tracer().refusal("updating()", "Write t[...] = value, or t += value under mg.no_grad()")

    # Values without a derivative

    def item(self, *index: Any) -> Any:
        place = np.arange(self.size).reshape(self.shape).item(*index)
        example = self._array.flat[place].item()
        if self._node is None or type(example) not in (bool, int, float, complex):
            return self._known("item()").item(*index)  # raises if it would be computed
        picked = self.detach().reshape(-1)[place].astype(type(example))
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
        leaf = Leaf(value._array, requires_grad, name)
        tracer().stand_for(leaf, value._node)
        return wrap(value._array, leaf)

    def __deepcopy__(self, memo: Any) -> Any:
        node = self._node
        if node is None or (node.requires_grad and (current().is_transformed or type(node) is not Leaf)):
            return inspect.unwrap(Tensor.__deepcopy__)(self, memo)
        return TracedTensor.values_of(self).as_variable(node.requires_grad, None, node.name)

    # A change is a new value

    def __setitem__(self, index: Any, value: Any) -> None:
        index = tracer().index(index) if type(index) in (tuple, list) else index
        value = primitives.array(value) if type(value) in (tuple, list) else value
        value = value if isinstance(value, Tensor) else entering("an assignment t[i] = value", value)
        become(self, primitives.setitem(self, index, value), index)

    def _changed(self, function: Any, other: Any) -> Tensor:
        """Do what an augmented assignment does; a NumPy number doesn't change."""
        is_tensor = type(self) is Tensor or tracer().is_tensor(self._node)  # such as mg.tensor(x)
        if not is_tensor and issubclass(TracedTensor._class_outside(self), np.generic):
            return function(self, other)
        become(self, fitting(self, function, other), ...)
        return self

    def detach(self) -> Tensor:
        with no_grad():
            return primitives.identity(self)


def _in_place(function: Any) -> Any:
    return lambda self, other: self._changed(function, other)


BITS = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
for _name, _function in (BITS | {"lshift": np.left_shift, "rshift": np.right_shift}).items():
    setattr(TracedTensor, f"__i{_name}__", _in_place(_function))


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
    tracer().assign(variable, value, index)
    for other in outdated:
        other.__class__ = variable.outdated
