"""The state of objects whose classes are written in C, which can't report reads.

Owns: how to read all that such an object holds, and which objects don't show it.
Must not own: finding the objects (`watch.py`), or comparing what was read
(`places.py`).
Read next: `places.py`.

Containers and a few other classes have a row here that reads their contents. The state
of any other object is all that Python shows of it: the attributes that its class
defines, the objects that it refers to, and what it would be pickled from. An object
that can't be pickled may hold more than that, as a lock does. So a function whose code
names a method of its class is refused.
"""

from __future__ import annotations

import abc
import array as typed
import decimal
import functools
import gc
import operator
import pickle
import random
import re
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, Token
from datetime import date, datetime, time, timedelta, tzinfo
from io import IOBase
from mmap import mmap
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from microgradnd.compiler.places import CONTAINERS, MISSING, PLAIN, attributes, contents, home, same, state_of
from microgradnd.tensor import Tensor

HEAP, IMMUTABLE = 1 << 9, 1 << 8  # flags of classes
METHODS = (types.MethodDescriptorType, types.ClassMethodDescriptorType)
DESCRIPTORS = (*METHODS, types.WrapperDescriptorType)
ATTRIBUTES = (types.GetSetDescriptorType, types.MemberDescriptorType)
# Attributes that are no state: Python itself sets the last two when an error is raised.
UNREAD = {"__dict__", "__weakref__", "__class__", "__traceback__", "__context__"}
# Classes whose objects never change.
FIXED = (
    *(types.CodeType, types.FrameType, types.TracebackType, types.GenericAlias, types.UnionType),
    *(*DESCRIPTORS, *ATTRIBUTES, type(NotImplemented), type(vars(abc.ABC)["_abc_impl"])),
    *(re.Pattern, re.Match, Token, date, timedelta, tzinfo, np.ufunc),
)

GENERATORS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)
LOCKS = (type(threading.Lock()), type(threading.RLock()))
# Classes whose objects have a fixed state, or one that is watched in another way.
STATELESS = (*FIXED, *PLAIN, *GENERATORS, *LOCKS, types.SimpleNamespace, np.ndarray)


def settings_of(context: decimal.Context) -> tuple[Any, ...]:
    """Return what a decimal context does, without the flags that results set."""
    parts = context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp
    return (*parts, *context.traps.values())


def referent(proxy: Any) -> Any:
    """Return the object that a `weakref.proxy` stands for."""
    try:
        return proxy.__init__.__self__
    except ReferenceError:
        return MISSING


def file_state(file: Any) -> tuple[Any, ...]:
    """Return where a file is, and its contents if they are in memory."""
    if file.closed:
        return ()
    return file.seekable() and file.tell(), file.getvalue() if hasattr(file, "getvalue") else None


STATES: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (ContextVar, lambda variable: variable.get(MISSING)),
    (Context, lambda context: (*context.items(),)),
    (weakref.ref, lambda reference: reference()),
    (weakref.ProxyTypes, referent),
    (threading.local, vars),
    (types.CellType, lambda cell: (*gc.get_referents(cell),)),
    (types.MappingProxyType, lambda proxy: (*gc.get_referents(proxy),)),
    (IOBase, file_state),
    ((bytearray, typed.array, memoryview, mmap), bytes),
    (np.void, np.void.tobytes),
    (np.dtype, operator.attrgetter("names")),
    (slice, lambda part: (part.start, part.stop, part.step)),
    ((datetime, time), operator.attrgetter("tzinfo")),
    (np.flatiter, lambda iterator: (iterator.base, iterator.index)),
    (decimal.Context, settings_of),
    (decimal.Decimal, lambda _: settings_of(decimal.getcontext())),
    (Iterator, state_of),
)


class Named(NamedTuple):
    """A state that is watched only if the code has one of some names.

    Attributes
    ----------
    kinds : type or tuple of type
            Of the objects that have it.
    names : set of str
    read : callable
            Returns the state of an object.
    """

    kinds: Any
    names: set[str]
    read: Callable[[Any], Any]


ANNOTATIONS = {"__annotations__", "get_type_hints", "get_annotations", "signature"}
NAMED = (
    *(Named(FunctionType, {key}, operator.attrgetter(key)) for key in ("__name__", "__qualname__", "__doc__")),
    Named(FunctionType, ANNOTATIONS, lambda function: contents(function.__annotations__)),
    *(Named(BaseException, {key}, operator.attrgetter(key)) for key in ("__traceback__", "__context__")),
    Named(functools._lru_cache_wrapper, {"cache_info"}, lambda cache: tuple(cache.cache_info())),
    Named(Tensor, {"name"}, operator.attrgetter("name")),
    Named(np.ndarray, {"flags"}, lambda array: array.flags.num),
    Named(LOCKS, {"locked", "_is_owned", "acquire"}, lambda lock: repr(lock).partition(" ")[0]),
    Named(property, {"__doc__"}, operator.attrgetter("__doc__")),
    Named(decimal.Context, {"flags"}, lambda context: tuple(context.flags.values())),
    Named(GENERATORS, {"state", "getstate", "get_state", "__getstate__", "bit_generator"}, pickle.dumps),
)


def is_changeable(cls: Any) -> bool:
    """Return whether a class is one that Python code can change."""
    return bool(cls.__flags__ & HEAP) and not cls.__flags__ & IMMUTABLE


def is_native(cls: type) -> bool:
    """Return whether a class is written in C."""
    return not is_changeable(cls) or any(
        isinstance(x, DESCRIPTORS) and x.__objclass__ is cls for x in vars(cls).values()
    )


def native(cls: type) -> type:
    """Return the class that is written in C among a class and its bases."""
    return next(filter(is_native, cls.__mro__))


def is_plain(thing: Any) -> bool:
    """Return whether a thing can't change, and has no parts that can."""
    if not isinstance(thing, PLAIN) or is_changeable(type(thing)):
        return False
    if isinstance(thing, slice):
        return all(map(is_plain, (thing.start, thing.stop, thing.step)))
    return not isinstance(thing, np.void) and not (isinstance(thing, np.dtype) and thing.names)


def reader(thing: Any) -> Callable[[Any], Any] | None:
    """Return a function that reads the state of an object; None if it has none."""
    for kinds, read in STATES:
        if isinstance(thing, kinds):
            return read
    base = native(type(thing))
    if base in (object, list, tuple, dict, set, frozenset) or isinstance(thing, STATELESS):
        return None
    read = functools.partial(shown, descriptors=descriptors_of(base), is_whole=type(thing) is base)
    now = read(thing)
    return read if now and same(now, read(thing)) else None  # some show new objects each time


def descriptors_of(cls: type) -> list[Any]:
    """Return what reads the attributes that a class written in C defines."""
    bases = [base for base in cls.__mro__ if base is not object]
    return [x for base in bases for key, x in vars(base).items() if isinstance(x, ATTRIBUTES) and key not in UNREAD]


def shown(thing: Any, descriptors: list[Any], is_whole: bool) -> tuple[Any, ...]:
    """Return all that Python shows of an object's state."""
    parts = [value_of(descriptor, thing) for descriptor in descriptors]
    if isinstance(thing, CONTAINERS):
        return (*parts,)  # the contents are watched as such
    own = attributes(thing)  # are watched one by one, or as a dict
    if is_whole and not isinstance(thing, BaseException):
        parts += [part for part in gc.get_referents(thing) if part is not type(thing)]
    reduce = home(native(type(thing)), "__reduce__")
    if reduce is not object:
        parts += pickled(thing, reduce)
    return tuple(frozen(part) for part in parts if part is not own)


def frozen(part: Any, depth: int = 2) -> Any:
    """Return the contents of arrays and containers, which may be new in each read."""
    if isinstance(part, np.ndarray):
        return part.shape, part.dtype, part.tobytes()
    if depth and type(part) in (list, tuple, dict):
        return tuple(frozen(x, depth - 1) for x in contents(part))
    return part


def value_of(descriptor: Any, thing: Any) -> Any:
    try:
        return descriptor.__get__(thing)
    except Exception:  # whatever a class raises if an attribute has no value
        return MISSING


def pickled(thing: Any, cls: Any) -> tuple[Any, ...]:
    """Return the parts that an object would be made from again."""
    try:
        made = cls.__reduce__(thing)
    except (TypeError, ValueError):
        return ()
    return made[1:] if isinstance(made, tuple) else (made,)


def hidden(thing: Any, names: set[str]) -> str | None:
    """Return a named method that may read what an object doesn't show."""
    base = native(type(thing))
    if base is object or isinstance(thing, (*STATELESS, *CONTAINERS)) or home(base, "__reduce__") is not object:
        return None
    if any(isinstance(thing, kinds) for kinds, _ in STATES):
        return None
    found = (key for cls in base.__mro__ for key, x in vars(cls).items() if isinstance(x, METHODS))
    return next((key for key in found if key in names and not key.startswith("__")), None)
