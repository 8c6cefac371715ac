"""Places that a function has read from, and whether they still hold the same things.

Owns: `Place`, reading its contents, comparing them; what a program depends on besides
its inputs.
Must not own: finding places (`watch.py`), or the quick way to look at them
(`dispatch.py`).
Read next: `watch.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any

import numpy as np

MISSING = object()
PLAIN = (int, float, complex, str, bytes, np.generic, np.dtype, type(None), type(Ellipsis), slice, range)
VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
CONTAINERS = (list, tuple, dict, set, frozenset, deque, types.MappingProxyType, *VIEWS)
HOOKS = ("__getattribute__", "__setattr__", "__delattr__")  # which classes get for the time of a trace
ADDED = {*HOOKS, "__slotnames__", "__annotations__", "__annotations_cache__"}  # and what Python adds when it is asked
CHANGEABLE = (dict, list, set, deque)  # whose contents can be put back


class Place:
    """A place that a function has read: an attribute, a global name, or a container.

    Attributes
    ----------
    name : str
        The user's name for it.
    owner, key
        The object and its attribute, or a dict, such as the globals, and its key;
        None if only `read` can look there.
    value
        What it held when it was found.
    """

    __slots__ = ("key", "name", "owner", "read", "value")

    def __init__(self, name: str, read: Callable[[], Any], owner: Any = None, key: Any = None) -> None:
        self.name, self.read, self.owner, self.key = name, read, owner, key
        self.value = read()

    def changed(self) -> bool:
        """Return whether it holds another thing now; equal numbers are the same."""
        now = self.read()
        if now is self.value:
            return False
        if same(self.value, now):
            self.value = now
            return False
        return True

    def put_back(self) -> None:
        """Restore what it held, where that is possible."""
        owner, key, value = self.owner, self.key, self.value
        owner = attributes(owner).get("_kinds", owner) if key is None else owner  # a module's parts
        scope = owner if isinstance(owner, dict) else attributes(owner)
        if key is None and isinstance(owner, CHANGEABLE):
            owner.clear()
            half = len(value) // 2  # of a dict: its keys, then what belongs to them
            given = zip(value[:half], value[half:], strict=True) if isinstance(owner, dict) else value
            (owner.update if isinstance(owner, dict | set) else owner.extend)(given)
        elif key is not None and value is MISSING:
            scope.pop(key, None)
        elif key is not None and scope is owner:
            scope[key] = value  # a global name
        elif key is not None:
            with contextlib.suppress(AttributeError, TypeError):  # one that can only be read
                (setattr if isinstance(owner, type) else object.__setattr__)(owner, key, value)


class Surroundings:
    """What a program depends on besides its inputs."""

    def __init__(self, places: list[Place], arrays: list[tuple[str, Any, Any, Any, bytes | None]]) -> None:
        self.places, self.arrays = places, arrays

    def changes(self) -> list[str]:
        """Return the names of the captures that have changed since the trace."""
        names = [place.name for place in self.places if place.changed()]
        for name, array, shape, dtype, saved in self.arrays:
            if array.shape != shape or array.dtype != dtype or (saved is not None and array.tobytes() != saved):
                names.append(name)
        return names


def equal(array: Any, before: Any) -> bool:
    """Return whether an array is a copy of another to the bit."""
    return array.shape == before.shape and array.dtype == before.dtype and array.tobytes() == before.tobytes()


def same(old: Any, new: Any) -> bool:
    """Return whether two things are the same object, or equal numbers or texts."""
    if old is new:
        return True
    if type(old) is not type(new):
        return False
    if isinstance(old, str | bytes):
        return bool(old == new)
    if isinstance(old, tuple):
        return len(old) == len(new) and all(map(same, old, new))
    if isinstance(old, MethodType):  # each access makes a new one
        return old.__self__ is new.__self__ and old.__func__ is new.__func__
    if not isinstance(old, PLAIN) or repr(old) != repr(new):  # 0.0 and -0.0 are equal, but not the same
        return False
    return not isinstance(old, float | complex | np.inexact) or signs(old) == signs(new)


def signs(number: Any) -> list[bool]:
    """Return whether the parts of a number are negative, which a NaN doesn't show."""
    return [bool(np.signbit(part)) for part in (number.real, number.imag)]


def contents(container: Any) -> tuple[Any, ...]:
    """Return the contents of a container in order."""
    return (*container, *container.values()) if isinstance(container, Mapping) else (*container,)


def content_of(cell: Any) -> Callable[[], Any]:
    """Return a function that returns the value of an enclosing function's variable."""

    def read() -> Any:
        try:
            return cell.cell_contents
        except ValueError:
            return MISSING

    return read


def state_of(iterator: Any) -> Any:
    """Return how far an iterator has advanced; if it doesn't tell, something new."""
    if isinstance(iterator, types.GeneratorType):
        frame = iterator.gi_frame
        return None if frame is None else (frame.f_lasti, iterator.gi_yieldfrom, *frame.f_locals.values())
    try:
        with warnings.catch_warnings():  # Python 3.12 announces that itertools will lose this
            warnings.simplefilter("ignore", DeprecationWarning)
            parts = iterator.__reduce__()
    except TypeError:
        if isinstance(type(iterator).__next__, types.FunctionType):
            return None  # its attributes are watched
        # since Python 3.14, only the texts of these two tell in itertools
        return repr(iterator) if isinstance(iterator, itertools.count | itertools.repeat) else object()
    inside = [x for part in parts[1:] for x in (part if isinstance(part, tuple) else (part,))]
    return tuple(state_of(x) if isinstance(x, Iterator) else tuple(x) if type(x) is list else x for x in inside)


def function_of(generator: types.GeneratorType[Any, Any, Any]) -> types.FunctionType | None:
    """Return a function with a suspended generator's code and what it can reach."""
    if (frame := generator.gi_frame) is None:
        return None
    cells = tuple(types.CellType(frame.f_locals.get(name)) for name in generator.gi_code.co_freevars)
    return types.FunctionType(generator.gi_code, frame.f_globals, closure=cells)


def shape_of(cls: type) -> tuple[Any, ...]:
    """Return the bases of a class, and the names that it defines itself."""
    return cls.__mro__, *(name for name in vars(cls) if name not in ADDED)


def attributes(thing: Any) -> dict[str, Any]:
    """Return the attributes of an object itself, without its class."""
    try:
        found = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}


def own_attribute(thing: Any, name: str) -> Any:
    """Return an attribute of an object itself."""
    return attributes(thing).get(name, MISSING)


def held(owner: Any, name: str) -> Any:
    """Return what a module or class has by a name, also while a trace replaces that."""
    value = lookup(owner, name) if isinstance(owner, type) else vars(owner).get(name, MISSING)
    function = value.fget if isinstance(value, property) else value
    return vars(function).get("replaces", value) if isinstance(function, types.FunctionType) else value


def lookup(cls: type, name: str) -> Any:
    """Return the plain attribute of a class or of one of its bases."""
    return vars(base)[name] if (base := home(cls, name)) is not None else MISSING


def home(cls: type, name: str) -> Any:
    """Return the class among a class and its bases that has a name, or None."""
    return next((base for base in cls.__mro__ if name in vars(base)), None)
