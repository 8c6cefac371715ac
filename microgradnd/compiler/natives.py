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
from typing import Any

import numpy as np

from microgradnd.compiler.places import CONTAINERS, MISSING, PLAIN, attributes, contents, home, same, state_of
from microgradnd.tensor import Tensor

HEAP, IMMUTABLE = 1 << 9, 1 << 8  # flags of classes
METHODS = (types.MethodDescriptorType, types.ClassMethodDescriptorType)
DESCRIPTORS = (*METHODS, types.WrapperDescriptorType)
ATTRIBUTES = (types.GetSetDescriptorType, types.MemberDescriptorType)
# Attributes that are no state: Python itself sets the last two when an error is raised.
UNREAD = {"__dict__", "__weakref__", "__class__", "__doc__", "__vectorcalloffset__", "__annotate_func__"}
UNREAD |= {"__traceback__", "__context__"}
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


STATES: tuple[tuple[Any, Callable[[Any], Any] | None], ...] = (
    (ContextVar, lambda variable: variable.get(MISSING)),
    (Context, lambda context: (*context.items(),)),
    (weakref.ref, lambda reference: reference()),
    (weakref.ProxyTypes, referent),
    (threading.local, vars),
    (types.MappingProxyType, lambda proxy: (*gc.get_referents(proxy),)),
    (IOBase, file_state),
    ((bytearray, typed.array, memoryview, mmap, np.void), bytes),
    (np.dtype, operator.attrgetter("names")),
    (slice, lambda part: (part.start, part.stop, part.step)),
    ((datetime, time), operator.attrgetter("tzinfo")),
    (np.flatiter, lambda iterator: (iterator.base, iterator.index)),
    (decimal.Context, settings_of),
    (decimal.Decimal, lambda _: settings_of(decimal.getcontext())),
    (Iterator, state_of),
    (STATELESS, None),
)


ANNOTATIONS = {"__annotations__", "get_type_hints", "get_annotations", "signature"}
# What is watched only if the code has one of some names: of which objects (None: what
# all code shares), the names, and how it is read.
NAMED: tuple[tuple[Any, set[str], Callable[[Any], Any]], ...] = (
    *((FunctionType, {key}, operator.attrgetter(key)) for key in ("__name__", "__qualname__", "__doc__")),
    *((type, {key}, operator.attrgetter(key)) for key in ("__name__", "__qualname__")),
    (type, {"__subclasses__"}, lambda cls: (*type.__subclasses__(cls),)),
    (FunctionType, ANNOTATIONS, lambda function: contents(function.__annotations__)),
    *((BaseException, {key}, operator.attrgetter(key)) for key in ("__traceback__", "__context__")),
    (functools._lru_cache_wrapper, {"cache_info"}, lambda cache: tuple(cache.cache_info())),
    (Tensor, {"name"}, operator.attrgetter("name")),
    (np.ndarray, {"flags"}, lambda array: array.flags.num),
    (LOCKS, {"locked", "_is_owned", "acquire"}, lambda lock: repr(lock).partition(" ")[0]),
    (property, {"__doc__"}, operator.attrgetter("__doc__")),
    (decimal.Context, {"flags"}, lambda context: tuple(context.flags.values())),
    (GENERATORS, {"state", "getstate", "get_state", "__getstate__", "bit_generator"}, pickle.dumps),
    (None, {"Decimal"}, lambda _: settings_of(decimal.getcontext())),
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
    if base in (object, list, tuple, dict, set, frozenset):
        return None
    defined = [item for cls in base.__mro__ if cls is not object for item in vars(cls).items()]
    one: list[Callable[[Any], Any]] = [
        x.__get__ for key, x in defined if isinstance(x, ATTRIBUTES) and key not in UNREAD
    ]
    several: list[Callable[[Any], Any]] = []
    if not isinstance(thing, CONTAINERS):  # whose contents are watched as such
        several += [gc.get_referents] if type(thing) is base and not isinstance(thing, BaseException) else []
        several += [cls.__reduce__ for cls in [home(base, "__reduce__")] if cls is not object]
    read = functools.partial(shown, one=one, several=several)
    now = read(thing)
    return read if now and same(now, read(thing)) else None  # some show new objects each time


def shown(thing: Any, one: list[Callable[[Any], Any]], several: list[Callable[[Any], Any]]) -> tuple[Any, ...]:
    """Return all that Python shows of an object's state, by functions that read it."""
    own = attributes(thing)  # are watched one by one, or as a dict
    parts = [value_of(read, thing) for read in one]
    for read in several:
        found = value_of(read, thing)
        parts += found if isinstance(found, list | tuple) else [found]
    return tuple(frozen(part) for part in parts if part is not own)


def frozen(part: Any, depth: int = 2) -> Any:
    """Return the contents of arrays and containers, which may be new in each read."""
    if isinstance(part, np.ndarray):
        return part.shape, part.dtype, part.tobytes()
    if depth and type(part) in (list, tuple, dict):
        return tuple(frozen(x, depth - 1) for x in contents(part))
    return part


def value_of(read: Callable[[Any], Any], thing: Any) -> Any:
    try:
        return read(thing)
    except Exception:  # whatever a class raises if an attribute has no value
        return MISSING


def hidden(thing: Any, names: set[str]) -> str | None:
    """Return a named method that may read what an object doesn't show."""
    base = native(type(thing))
    is_shown = isinstance(thing, CONTAINERS) or any(isinstance(thing, kinds) for kinds, _ in STATES)
    if is_shown or base is object or home(base, "__reduce__") is not object:
        return None
    found = (key for cls in base.__mro__ for key, x in vars(cls).items() if isinstance(x, METHODS))
    return next((key for key in found if key in names and not key.startswith("__")), None)
