"""What a traced function reads and changes outside itself while it runs.

Owns: finding everything that the function can reach, and noting the attributes that it
reads and sets.
Must not own: how a place is read and compared (`places.py`), arguments
(`arguments.py`), random numbers (`draws.py`).
Read next: `draws.py`.

A program is written once, so it contains the settings that the function reads, with
their values at that time. Everything that was read must be compared before each later
call. This file finds it: globals and closures of the function and of the functions that
it can call, the contents of containers, and the attributes of objects. Reads of
attributes are observed, not guessed: while the function runs, the classes of all
objects that it can reach report them, so it doesn't matter who reads an attribute, or
how. Built-in classes can't report, so the whole state of their objects is watched
(`natives.py`). Setting an attribute is noted too, and undone after the trace: either
the program does it in each call, or it is an error.
"""

from __future__ import annotations

import abc
import builtins
import decimal
import enum
import functools
import gc
import math
import operator
import os
import random
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context
from io import IOBase
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from microgradnd.compiler.bytecode import globals_in, lines_of, names_in
from microgradnd.compiler.draws import Draws
from microgradnd.compiler.natives import (
    GENERATORS,
    NAMED,
    Named,
    hidden,
    is_changeable,
    is_native,
    is_plain,
    native,
    reader,
    settings_of,
)
from microgradnd.compiler.outside import READ_CLOCK, READ_DATE, of_the_clock, timing
from microgradnd.compiler.places import (
    CHANGEABLE,
    CONTAINERS,
    MISSING,
    Place,
    Surroundings,
    attributes,
    content_of,
    contents,
    equal,
    function_of,
    home,
    lookup,
    names_of,
    own_attribute,
    same,
    times_missed,
)
from microgradnd.compiler.recorder import Buffer, Recorder, Setting, TraceError, last_line
from microgradnd.compiler.sizes import Closed, Size
from microgradnd.lines import installed, is_users, quoted_line
from microgradnd.operands import sample
from microgradnd.registry import JVPS, VJPS
from microgradnd.tape import Leaf, current
from microgradnd.tensor import Tensor

BLIND = {f"LOAD_GLOBAL {name}" for name in ("eval", "exec", "globals")}
BLIND |= {
    f"LOAD_{kind} {name}"
    for kind in ("GLOBAL", "ATTR", "METHOD")
    for name in ("f_globals", "f_back", "__globals__", "_getframe", "get_objects", "get_referrers", "get_referents")
}
BLIND_NAMES = {word.partition(" ")[2] for word in BLIND}
LARGE = 2**20  # bytes: larger arrays that the program gets anyway are not compared in each call
INSTALLED = installed()
FUNCTIONS = (np.ufunc, type(np.sum))  # NumPy's functions, which never change
# What all code shares, by the name of the function or object that reads it, and what
# such a function lists of a class.
SHARED: dict[str, Callable[[], Any]] = {
    "environ": lambda: vars(os.environ)["_data"],
    "getenv": lambda: vars(os.environ)["_data"],
    "argv": lambda: sys.argv,
    "environb": lambda: vars(os.environ)["_data"],
    "expandvars": lambda: vars(os.environ)["_data"],
    "expanduser": lambda: vars(os.environ)["_data"],
    **dict.fromkeys(("getcwd", "cwd", "abspath", "realpath", "resolve", "absolute"), os.getcwd),
    "geterr": lambda: contents(np.geterr()),
    "geterrcall": np.geterrcall,
    "getbufsize": np.getbufsize,
    "get_printoptions": lambda: contents(np.get_printoptions()),
    "get_state": lambda: str(np.random.get_state(legacy=False)),  # noqa: NPY002  (the one that everybody shares)
    "getstate": random.getstate,
    "getrecursionlimit": sys.getrecursionlimit,
    "getpid": os.getpid,
    **dict.fromkeys(("get_ident", "get_native_id"), threading.get_ident),
    "current_thread": lambda: (threading.get_ident(), threading.current_thread().name),  # a later one gets the number
    "modules": lambda: tuple(
        module for module in list(sys.modules.values()) if isinstance(module, ModuleType) and not is_installed(module)
    ),
    **dict.fromkeys(("getcontext", "localcontext", "Decimal"), lambda: settings_of(decimal.getcontext())),
}
LISTED: dict[str, Callable[[Any], Any]] = {
    "dir": lambda cls: tuple(dir(cls)),
    "__subclasses__": lambda cls: tuple(type.__subclasses__(cls)),
    **dict.fromkeys(("isinstance", "issubclass", "__mro__", "mro", "__base__"), operator.attrgetter("__mro__")),
    "__bases__": operator.attrgetter("__bases__"),
    "__name__": operator.attrgetter("__name__"),
    "__qualname__": operator.attrgetter("__qualname__"),
}
# By these names, code comes by a class of an object, and can read any attribute of it.
REFLECTION = {"type", "__class__", "__mro__", "mro", "__base__", "__bases__", "__subclasses__"}
GENERATED = {f"__{name}__" for name in ("init", "repr", "eq", "hash", "lt", "le", "gt", "ge", "setattr", "delattr")}
# These reach the attributes of an object past its class, which can't report that.
DIRECT = {"__getattribute__", "__setattr__", "__delattr__", "__get__", "__set__", "__delete__"}
TEXTS = {"str", "repr", "format", "array2string", "array_str", "array_repr"}
# What Python itself and `dataclass` write into the namespace of a class.
USUAL = {"__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__firstlineno__"}
USUAL |= {"__dataclass_fields__", "__dataclass_params__", "__match_args__"}
# The attributes in which such an object holds functions.
WRAPPERS: dict[Any, tuple[str, ...]] = {
    property: ("fget", "fset"),
    classmethod: ("__func__",),
    staticmethod: ("__func__",),
    functools.cached_property: ("func",),
    functools.partialmethod: ("func",),
    functools._lru_cache_wrapper: ("__wrapped__",),
    functools.partial: ("func", "args", "keywords"),
    MethodType: ("__func__", "__self__"),
    types.BuiltinFunctionType: ("__self__",),
    types.MethodWrapperType: ("__self__",),
}
BOUND = (MethodType, types.BuiltinFunctionType, types.MethodWrapperType)  # which never change
WHOLE = {"__dict__", "__reduce_ex__", "__getstate__"}  # what reads all attributes at once, as for a copy
CONSTANTS = (bool, int, float, complex, str, bytes, type(None))
HOOKS = ("__getattribute__", "__setattr__", "__delattr__")
UNREAD = {"__annotate_func__"}  # not what a function calls: Python 3.14 makes annotations with the last
# Words of a line that writes to an array, and of one that changes a container or an
# object.
WRITES = {"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE", "BINARY_OP=", "fill", "sort", "put", "copyto", "out", "place"}
WRITES |= {"putmask", "at", "partition", "resize", "shuffle", "flat", "put_along_axis", "fill_diagonal", "setfield"}
CHANGES = {"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE", "BINARY_OP=", "STORE_ATTR", "CALL"}


class Watch:
    """What a function reads outside itself, in one trace and before each later call.

    Attributes
    ----------
    places : dict of key to Place
    arrays : dict of int to (name, array, copy or sample)
    codes : dict of code
            The code of the functions that it can call, except in installed packages.
    names : set of str
        The names and texts in that code.
    buffers : dict of (int, str) to Tensor
            The stand-ins for buffers of modules.
    written : dict of (int, str) to (owner, name, value before, line)
        The attributes that were set.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.places: dict[Any, Place] = {}
        self.arrays: dict[int, tuple[str, Any, Any]] = {}
        self.draws = Draws(recorder)
        self.codes: dict[CodeType, None] = {}
        self.names: set[str] = set()
        self.known: dict[int, tuple[str, Any]] = {}  # keeps what was visited alive, so that no id is used twice
        self.classes: dict[type, str] = {}
        self.natives: list[tuple[str, Any]] = []
        self.named: list[tuple[str, Any, Named]] = []
        self.objects: list[tuple[str, Any]] = []  # that report reads
        self.aliases: list[str] = []  # names of built-in functions that hide what is read
        self.packages: dict[str, ModuleType] = {}
        self.later: dict[Any, tuple[str, Callable[[], Any]]] = {}  # what the trace itself may change, as a cache
        self.handed_on: set[type] = set()  # watched whole: nobody sees when their own attributes are read
        self.looked: set[tuple[type, str]] = set()
        self.tensors: list[Tensor] = []
        self.buffers: dict[tuple[int, str], Tensor] = {}
        self.written: dict[tuple[int, str], tuple[Any, str, Any, Any]] = {}
        self.changed: list[tuple[Place, TraceError]] = []  # by the function, and the error if it always does that
        self.hooked: dict[int, bool] = {}
        self.undo = ExitStack()  # gives the classes their methods back
        self.todo: list[tuple[str, Any]] = []
        self.is_looking = False

    # Finding

    def visit(self, name: str, thing: Any) -> None:
        """Look at a thing, and at everything that a function can reach through it."""
        self.todo.append((name, thing))
        with self.looking():
            self.look_at_all()

    def look_at_all(self) -> None:
        while self.todo:
            while self.todo:
                self.look(*self.todo.pop())
            self.look_into_classes()
            self.look_at_named()

    def look(self, name: str, thing: Any) -> None:
        """Note one thing."""
        if isinstance(thing, np.ufunc):  # one of np.frompyfunc calls a function
            self.todo += [(name, part) for part in gc.get_referents(thing) if isinstance(part, FunctionType)]
        if is_plain(thing) or type(thing) in FUNCTIONS or id(thing) in self.known:
            return
        self.known[id(thing)] = name, thing
        self.named += [(name, thing, row) for row in NAMED if isinstance(thing, row.kinds)]
        if isinstance(thing, np.ndarray):
            self.arrays[id(thing)] = name, thing, thing.copy() if thing.nbytes <= LARGE else sample(thing)
            self.todo.append((f"{name}.dtype", thing.dtype))
            if thing.dtype == object:
                self.todo += [(name, part) for part in thing.flat]
            if type(thing) is not np.ndarray:
                self.look_at_object(name, thing)
        elif isinstance(thing, Tensor):
            self.look_at_tensor(name, thing)
        elif isinstance(thing, FunctionType):
            self.look_at_function(name, thing)
        elif type(thing) in WRAPPERS:
            self.look_at_wrapper(name, thing)
        elif isinstance(thing, type):
            self.handed_on.add(thing)
            if not is_installed_class(thing) and thing.__module__ != "builtins":
                self.place((id(thing), ""), Place(name, functools.partial(names_of, thing)))
            self.add_class(name, thing)
        elif isinstance(thing, ModuleType):
            self.look_at_module(name, thing)
        elif not self.draws.note(name, thing):
            self.look_at_object(name, thing)

    def look_at_tensor(self, name: str, tensor: Tensor) -> None:
        if isinstance(tensor, self.recorder.variable):  # the function has computed it
            return
        if tensor._node is None:
            tensor._node = Leaf(np.asarray(tensor._array), False)  # shows later assignments to it
            tensor._node.position = 0
        self.tensors.append(tensor)
        self.attribute(name, tensor, "_node")
        _, node, _ = self.recorder.assigned.get(id(tensor), (tensor, tensor._node, None))
        self.places[id(tensor), "_node"].value = node  # the function may have assigned to it earlier
        if isinstance(node, Leaf):
            self.attribute(f"{name}.requires_grad", node, "requires_grad")
            self.attribute(f"the hooks of {name}", node, "hooks")
            if node.hooks is not None:
                self.todo.append((f"the hooks of {name}", node.hooks))

    def look_at_function(self, name: str, function: FunctionType) -> None:
        """Look up the names in a function's code: globals and closed-over variables."""
        code = function.__code__
        theirs = not is_users(code)
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if not theirs:
                self.place((id(cell), "cell_contents"), Place(variable, content_of(cell), cell, "cell_contents"))
            self.todo.append((variable, content_of(cell)()))
        for table in (VJPS, JVPS):
            if function in table:
                read = functools.partial(table.get, function, MISSING)
                self.place((id(table), id(function)), Place(f"the rule of {name}", read, table, function))
                rules = table[function]
                self.todo += [(name, rule) for rule in rules] if isinstance(rules, tuple) else []
        if theirs:
            return
        self.codes[code] = None
        self.attribute(name, function, "__code__")
        if code.co_argcount:
            self.attribute(name, function, "__defaults__")
        if code.co_kwonlyargcount:
            self.attribute(name, function, "__kwdefaults__")
        self.todo += [(name, function.__defaults__), (name, function.__kwdefaults__), (name, vars(function))]
        found = set() if is_generated(code) else set(names_in(code))
        self.names |= found
        for key in found & SHARED.keys():
            self.place(("", key), Place(key, SHARED[key]))
            self.todo.append((key, SHARED[key]()))
        for scope in (function.__globals__, sys.modules):  # it may import modules
            for key in sorted(found & scope.keys()):
                self.look_up(scope, key, key)
        self.look_at_missing(name, function, frozenset(globals_in(code)).difference(function.__globals__))

    def look_at_missing(self, name: str, function: FunctionType, missing: frozenset[str]) -> None:
        """Watch for global names that a function has not, and for users' built-ins."""
        known = vars(builtins)
        for key in missing:
            self.look_up(function.__globals__, key, key)  # a new global name would hide a built-in one
            if key in known and is_setting(known[key]):
                self.look_up(known, key, key)

    def look_up(self, scope: dict[str, Any], key: str, name: str) -> None:
        """Watch a name in a namespace, unless it is that of an installed module."""
        value = scope.get(key, MISSING)
        if isinstance(value, types.BuiltinFunctionType) and value in READ_CLOCK:
            scope[key] = timing(self, value)
            self.undo.callback(scope.__setitem__, key, value)
        elif isinstance(value, ModuleType) and is_installed(value):
            self.packages[name] = value
        else:
            self.place((id(scope), key), Place(name, functools.partial(scope.get, key, MISSING), scope, key))
            self.todo.append((name, value))

    def look_at_wrapper(self, name: str, wrapper: Any) -> None:
        """Look at the functions that an object calls."""
        if hasattr(wrapper, "cache_info"):
            self.later[id(wrapper)] = name, functools.partial(times_missed, wrapper)
        if isinstance(wrapper, BOUND):
            self.names.add(wrapper.__name__)
            if wrapper in (eval, exec, globals):
                self.aliases.append(wrapper.__name__)
            elif isinstance(wrapper, types.BuiltinFunctionType) and wrapper in READ_CLOCK and "anew" not in self.names:
                raise of_the_clock(None)
        for attribute in WRAPPERS[type(wrapper)]:
            if not isinstance(wrapper, BOUND):
                self.attribute(name, wrapper, attribute)
            self.todo.append((name, getattr(wrapper, attribute)))
        if is_native(type(wrapper)):
            self.todo.append((name, attributes(wrapper)))

    def look_at_module(self, name: str, module: ModuleType) -> None:
        """Watch the attributes read from a module that isn't installed."""
        if is_installed(module):
            self.packages[name] = module
        else:
            kind = type(module)
            watched = type(kind.__name__, (kind,), {})
            module.__class__ = watched
            self.undo.callback(setattr, module, "__class__", kind)
            self.add_class(kind.__name__, kind)
            self.hook(watched)
            self.todo.append((name, vars(module).get("__getattr__")))

    def look_at_object(self, name: str, thing: Any) -> None:
        """Watch an object: the attributes that are read or all, and its contents."""
        kind = type(thing)
        if isinstance(thing, CONTAINERS):
            self.whole(name, thing)
            self.todo += [(name, part) for part in contents(thing)]
        self.look_at_state(name, thing)
        kinds = attributes(thing).get("_kinds", {}) if hasattr(kind, "__changes__") else {}
        if kinds:  # a module's, whose class counts its changes
            self.place((id(kinds), ""), Place(name, functools.partial(contents, kinds), thing))
        for key, what in kinds.items():
            if what != "buffer":  # a part of a module, which the library may read in another way
                self.note(thing, key, attributes(thing).get(key, MISSING))
        if is_changeable(kind) and native(kind) is not kind and not isinstance(thing, enum.Enum):
            self.add_class(kind.__name__, kind)
            self.attribute(f"the class of {name}", thing, "__class__")
            if self.hook(kind):
                self.objects.append((name, thing))
                return
        self.all_attributes(name, thing)

    def all_attributes(self, name: str, thing: Any) -> None:
        """Watch all attributes that an object itself has."""
        if type(thing).__dictoffset__:  # asking the object could run anything
            self.whole(name, attributes(thing))
            self.todo += [(f"{name}.{key}", value) for key, value in attributes(thing).items()]
        slots = {key for cls in type(thing).__mro__ if not is_native(cls) for key, x in vars(cls).items() if is_slot(x)}
        for key in sorted(slots):
            self.attribute(f"{name}.{key}", thing, key)
            self.todo.append((f"{name}.{key}", getattr(thing, key, None)))

    def look_at_state(self, name: str, thing: Any) -> None:
        """Watch the state that an object's class, or a base of it, keeps in C."""
        if (read := reader(thing)) is not None:
            self.place((id(thing), "state"), Place(name, functools.partial(read, thing)))
            if not isinstance(thing, Context):  # whose variables belong to everybody
                self.todo.append((name, read(thing)))
        if isinstance(thing, types.GeneratorType):
            self.todo.append((name, function_of(thing)))
        self.natives.append((name, thing))

    def add_class(self, name: str, cls: type) -> None:
        self.classes.setdefault(cls, name)
        if is_changeable(type(cls)):
            self.classes.setdefault(type(cls), type(cls).__name__)

    def look_into_classes(self) -> None:
        """Look up in the classes the names in the code, and special methods."""
        is_reflected = not REFLECTION.isdisjoint(self.names)
        for cls, name in list(self.classes.items()):
            listed = self.names & LISTED.keys() if is_users_class(cls) else set()
            for key in listed:
                if (cls, key) not in self.looked:
                    self.looked.add((cls, key))
                    self.place((id(cls), key), Place(name, functools.partial(LISTED[key], cls)))
                    self.todo.append((name, LISTED[key](cls)))
            for base in cls.__mro__:
                if not is_users_class(base):
                    continue
                self.look_at_length(name, base)
                is_whole = cls in self.handed_on or is_reflected
                for key, value in list(vars(base).items()):
                    dunder = key.startswith("__") and isinstance(value, FunctionType | classmethod | staticmethod)
                    is_asked = dunder or key in self.names or (is_whole and key not in USUAL)
                    is_asked = is_asked and key not in UNREAD and not (key in HOOKS and id(base) in self.hooked)
                    owner = cls if home(cls, key) is base else base  # one that is overridden can be read by super()
                    if (owner, key) not in self.looked and is_asked:
                        self.looked.add((owner, key))
                        self.in_class(name, owner, key)

    def look_at_length(self, name: str, cls: type) -> None:
        """Watch for attributes that a class gets, as methods that it has not."""
        if not is_installed_class(cls):
            self.place((id(cls), "length"), Place(name, functools.partial(length_of, vars(cls)), cls))

    def look_at_named(self) -> None:
        """Watch what is watched only if the code has a name for it."""
        for i, (name, thing, row) in reversed([*enumerate(self.named)]):
            if not row.names.isdisjoint(self.names):
                del self.named[i]
                self.place((id(thing), min(row.names)), Place(name, functools.partial(row.read, thing)))
                self.todo.append((name, row.read(thing)))
        for name, package in list(self.packages.items()):
            for key in sorted(self.names & vars(package).keys()):
                value = vars(package)[key]
                if package not in (np, math) and is_setting(value) and (id(vars(package)), key) not in self.places:
                    self.look_up(vars(package), key, f"{name}.{key}")
        if not {"isinstance", "issubclass"}.isdisjoint(self.names) or any(
            isinstance(x, abc.ABCMeta) for x in self.classes
        ):
            self.later["registered"] = "isinstance", abc.get_cache_token
        if not DIRECT.isdisjoint(self.names):
            while self.objects:
                self.all_attributes(*self.objects.pop())

    def in_class(self, name: str, cls: type, key: str) -> None:
        """Watch an attribute of a class, whichever of its bases has it."""
        value = lookup(cls, key)
        read = functools.partial(lookup, cls, key)
        direct = isinstance(value, FunctionType) or not hasattr(type(value), "__get__")
        self.place((id(cls), key), Place(f"{name}.{key}", read, *((cls, key) if direct else ())))
        self.todo.append((f"{name}.{key}", value))

    # Places

    def place(self, key: Any, place: Place) -> None:
        self.places.setdefault(key, place)

    def attribute(self, name: str, owner: Any, key: str) -> None:
        if (id(owner), key) not in self.places:
            self.known.setdefault(id(owner), (name, owner))
            read = functools.partial(getattr, owner, key, MISSING)
            self.places[id(owner), key] = Place(name, read, owner, key)

    def gradient(self, leaf: Leaf) -> None:
        """Watch whether a variable whose gradient the function has read has one."""
        name = f"the gradient of {leaf.name or 'a tensor'}"
        if leaf.grad is None:
            self.attribute(name, leaf, "grad")
        else:
            self.place((id(leaf), "grad"), Place(name, lambda: type(leaf.grad)))

    def whole(self, name: str, container: Any) -> None:
        self.known.setdefault(id(container), (name, container))
        if not isinstance(container, tuple | frozenset):
            self.place((id(container), ""), Place(name, functools.partial(contents, container), container))

    def of_made(self, f: Any) -> WatchOfMade:
        """Return a watch on what a function reads of what the traced one has made."""
        return WatchOfMade(self, f)

    # While the function runs

    def hook(self, cls: type) -> bool:
        """Make a class report reads and writes of attributes.

        Return whether it reports all: not if its own code reads them in another way.
        """
        if id(cls) in self.hooked:
            return self.hooked[id(cls)]
        own = home(cls, "__getattribute__")
        reports = self.hooked.get(id(own), not isinstance(vars(own)["__getattribute__"], FunctionType))
        before = {name: vars(cls)[name] for name in HOOKS if name in vars(cls)}
        self.look_at_length(cls.__name__, cls)  # before it gets some for the time of the trace
        read: Any = cls.__getattribute__
        recorder = self.recorder

        def is_noted() -> bool:
            return current().trace is recorder and not self.is_looking

        def getattribute(thing: Any, name: str) -> Any:
            return self.reads(thing, name, read) if is_noted() else read(thing, name)

        def noting(change: Callable[..., None]) -> Callable[..., None]:
            def method(thing: Any, name: str, *value: Any) -> None:
                if is_noted():
                    self.writes(thing, name)
                change(thing, name, *value)

            return method

        try:
            methods = getattribute, noting(cls.__setattr__), noting(cls.__delattr__)
            for name, method in zip(HOOKS, methods, strict=True):
                setattr(cls, name, method)
                self.undo.callback(*((setattr, cls, name, before[name]) if name in before else (delattr, cls, name)))
        except (TypeError, AttributeError):
            return False
        self.hooked[id(cls)] = reports
        self.todo += [(f"{cls.__name__}.{name}", method) for name, method in before.items()]
        return reports

    def reads(self, thing: Any, name: str, read: Callable[[Any, str], Any]) -> Any:
        """Read an attribute, and note the read."""
        value: Any = MISSING
        try:
            value = read(thing, name)
        finally:
            ours = is_ours()
            with self.looking():
                value = self.noted(thing, name, value, ours)
        return value

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Read without taking notes."""
        before, self.is_looking = self.is_looking, True
        try:
            yield
        finally:
            self.is_looking = before

    def noted(self, thing: Any, name: str, value: Any, ours: bool) -> Any:
        """Note that an attribute was read, and return its value for the function."""
        owner = original(thing)
        if id(owner) not in self.known or self.known[id(owner)][1] is not owner:
            return value  # an object that the function has made
        if name in WHOLE and not ours:
            self.whole(self.known[id(owner)][0], attributes(owner))
            self.todo += [(self.known[id(owner)][0], part) for part in attributes(owner).values()]
        elif name.startswith("__") or (name.startswith("_") and name != "_kinds" and ours):
            return value
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc" and is_buffer(owner, name):
            return self.buffer(owner, name, value)
        elif (id(owner), name) not in self.places and (id(owner), name) not in self.written:
            self.note(owner, name, value)
        self.look_at_all()
        return value

    def note(self, owner: Any, name: str, value: Any) -> None:
        path = f"{self.known[id(owner)][0]}.{name}"
        found = lookup(type(owner), name)
        is_computed = isinstance(found, types.GetSetDescriptorType) and same(value, getattr(owner, name, MISSING))
        if name in attributes(owner) or isinstance(found, types.MemberDescriptorType) or is_computed:
            self.attribute(path, owner, name)
        else:
            self.names.add(name)  # the class may define it
            if hasattr(owner, "__dict__"):
                read = functools.partial(own_attribute, owner, name)
                self.place((id(owner), name), Place(path, read, owner, name))
            if found is MISSING:
                self.in_class(type(owner).__name__, type(owner), name)
        of_package = value is found and value is not MISSING and is_installed_class(home(type(owner), name))
        if value is not MISSING and not (of_package and isinstance(value, CONTAINERS)):
            self.todo.append((path, value))

    def buffer(self, owner: Any, name: str, array: Any) -> Tensor:
        """Return the stand-in for a buffer of a module."""
        key = id(owner), name
        if key not in self.buffers:
            self.buffers[key] = self.recorder.stand_in(Buffer(owner, name), array)
            self.buffers[key].name = name
        return self.buffers[key]

    def writes(self, thing: Any, name: str) -> None:
        """Note the value of an attribute before it is set."""
        ours = is_ours()
        with self.looking():
            owner = original(thing)
            if isinstance(lookup(type(owner), name), property):
                return  # its setter sets something else, and that is noted
            if id(owner) in self.known and (id(owner), name) not in self.written and not (name[0] == "_" and ours):
                before = attributes(owner).get(name, MISSING)
                if before is MISSING and isinstance(lookup(type(owner), name), types.MemberDescriptorType):
                    before = getattr(owner, name, MISSING)
                self.written[id(owner), name] = owner, name, before, last_line()

    # Afterwards

    def put_back(self) -> tuple[list[tuple[Any, Any]], Closed | None]:
        """Restore what the function has set.

        Return what each call must set, with computed values, and an error if it is a
        length that was left open.
        """
        left: list[tuple[Any, Any]] = []
        wrong: Closed | None = None
        for key, (owner, name, before, where) in self.written.items():
            own, path = attributes(owner), f"{self.known[id(owner)][0]}.{name}"
            now = own.get(name, MISSING) if name in own else getattr(owner, name, MISSING)
            place = Place(path, functools.partial(own_attribute, owner, name), owner, name)
            place.value = before
            is_state, was_read = is_buffer(owner, name), key in self.places
            is_state = is_state or (hasattr(type(owner), "__changes__") and not was_read)
            if not was_read and type(now) in CONSTANTS:
                left.append((Setting(owner, name, now), None))
            elif now is before or same(before, now):
                self.attribute(path, owner, name)
                continue
            elif type(now) is Size:
                now.number()
                wrong = Closed()
            elif now is self.buffers.get(key):
                pass  # changed in place: `buffer *= 2` also ends in an assignment
            elif isinstance(now, Tensor) and is_state and (now.shape == np.shape(before) or not is_buffer(owner, name)):
                left.append((Buffer(owner, name), now))
            else:
                self.changed.append((place, self.side_effect(f"the captured {path!r} was changed; {KEEP}", where)))
                continue
            place.put_back()
        return left, wrong

    def check(self) -> None:
        """Raise if something changed while the function ran."""
        for (owner, _), place in self.places.items():
            if place.changed():
                is_used_up = isinstance(self.known.get(owner, (None, None))[1], Iterator)
                error = self.side_effect(
                    f"the captured {place.name!r} was changed; {USED_UP if is_used_up else KEEP}",
                    self.line_of(place.name, CHANGES),
                )
                if place.key is None and not isinstance(place.owner, (*CHANGEABLE, type)):
                    raise error  # nothing can put it back, as where a file or an iterator is
                self.changed.append((place, error))
        for name, array, before in self.arrays.values():
            if sample(array) == before if array.nbytes > LARGE else equal(array, before):
                continue
            where = self.line_of(name, WRITES)
            if where is not None or self.draws.was_alone():
                raise self.side_effect(  # without such a line it was another thread
                    f"the captured array {name!r} was changed; pass it as an argument, or return the new value", where
                )
        self.check_code()
        self.draws.check(self.codes, self.names)

    def check_code(self) -> None:
        """Raise if the code reads what can't be watched."""
        for where, words in lines_of(self.codes) if not self.names.isdisjoint(BLIND_NAMES) else ():
            if found := next(iter(BLIND & words), "").partition(" ")[2]:
                raise self.side_effect(f"{found} is used, which hides what is read; use names instead", where)
        if self.aliases:
            raise self.side_effect(f"{self.aliases[0]} is captured, which hides what is read; use names instead", None)
        if not self.names.isdisjoint(("date", "datetime")) and (line := self.line_with(READ_DATE)) is not None:
            raise of_the_clock(line)
        for name, thing in self.natives:
            if (method := hidden(thing, self.names)) is not None:
                line, kind = self.line_with({method}), type(thing).__name__
                raise TraceError(
                    f"inside a compiled function{quoted_line(line)}, the captured {name!r} is used, but a {kind} "
                    f"doesn't show whether it has changed between calls; call .{method}() outside, and pass what it "
                    f"returns"
                )

    def undo_changes(self) -> None:
        """Put back what the function has changed, as if it hadn't run."""
        while self.changed:
            self.changed.pop()[0].put_back()

    def side_effect(self, what: str, where: tuple[str, int] | None) -> TraceError:
        error = TraceError(
            f"inside a compiled function{quoted_line(where)}, {what}. The function itself runs once; afterwards its "
            f"program runs"
        )
        error.has_happened = True
        return error

    def line_with(self, words: set[str]) -> tuple[str, int] | None:
        """Return a line of the code that has one of some words."""
        return next((line for line, found in lines_of(self.codes) if found & words), None)

    def words(self) -> set[str]:
        """Return the words of the users' code."""
        codes = [code for code in self.codes if not is_generated(code)]
        return {word for _, words in lines_of(codes) for word in words}

    def line_of(self, name: str, changes: set[str]) -> tuple[str, int] | None:
        """Return the line that most likely changed a name, or None."""
        name = name.rpartition(".")[2]
        stores = {f"STORE_{kind} {name}" for kind in ("GLOBAL", "DEREF", "ATTR")}
        lines = [(line, words) for line, words in lines_of(self.codes) if words & (changes | stores)]
        likely = [line for line, words in lines if words & stores or (name in words and words & changes)]
        return next(iter([*likely, *(line for line, _ in lines)]), None)

    def surroundings(self, given: Callable[[Any], bool], must: list[Any], without: set[Any]) -> Surroundings:
        """Return what to compare before each call.

        A large array that the program gets in each call anyway is not compared element
        by element; others are, and so are the arrays in `must`, whose values decided
        what the program does. The places in `without` are the program's own.
        """
        places = [place for key, place in self.places.items() if key not in without]
        places += [Place(name, read) for name, read in self.later.values()]
        if self.arrays and (not TEXTS.isdisjoint(self.names) or any(map(is_of_text, self.names | self.words()))):
            places.append(Place("get_printoptions", SHARED["get_printoptions"]))
        arrays = {id(array): ("a mask", array, True) for array in must}
        for name, array, _ in self.arrays.values():
            arrays.setdefault(id(array), (name, array, array.nbytes <= LARGE or not given(array)))
        kept = [
            (name, array, array.shape, array.dtype, array.tobytes() if whole else None)
            for name, array, whole in arrays.values()
        ]
        return Surroundings(places, kept)


class WatchOfMade(Watch):
    """What a function reads of what the traced function has made.

    A turn of `mg.scan` stands for all turns, so it mustn't change that; nor may
    anything after the call of `mg.anew`, whose function is called by each run of the
    program. What the traced function has not made is watched already. Objects that it
    has made aren't hooked: all their attributes are compared.
    """

    def __init__(self, watch: Watch, f: Any) -> None:
        super().__init__(watch.recorder)
        self.known |= watch.known
        self.names.add("anew")  # it may read the clock
        self.advancing: list[str] = []  # names of iterators and of generators of random numbers
        self.f = getattr(f, "__name__", "the function")
        self.visit(self.f, f)
        self.undo.close()

    def look(self, name: str, thing: Any) -> None:
        if isinstance(thing, (Iterator, *GENERATORS)) and id(thing) not in self.known:
            self.advancing.append(name)
        if not isinstance(thing, Size | Watch):  # the latter notes who reads the clock
            super().look(name, thing)

    def hook(self, cls: type) -> bool:
        return False

    def check_anew(self) -> None:
        """Raise if a program that calls the function would do something else."""
        self.check()
        for place, _ in self.changed:
            raise TraceError(
                f"{self.f}, passed to mg.anew, uses {place.name!r}, which the compiled function changed later: the "
                f"program would use what it is in the end. Use another name, or a copy, for each value"
            )
        for name in self.advancing:
            raise TraceError(
                f"{self.f}, passed to mg.anew, advances {name!r}, which the compiled function makes in each call, but "
                f"its program makes once; make it outside"
            )


USED_UP = "call next() outside and pass what it returns, or make a list of all items"
KEEP = (
    "pass it as an argument and return the new value, or keep it in a Tensor (mg.tensor) and assign to its elements "
    "(t[...] = value)"
)


def original(thing: Any) -> Any:
    """Return the module that a view of it stands for; other objects unchanged."""
    find = getattr(type(thing), "__original__", None)
    return thing if find is None else find(thing)


def is_buffer(owner: Any, name: str) -> bool:
    """Return whether a module's attribute is a buffer, a variable of the program."""
    return attributes(owner).get("_kinds", {}).get(name) == "buffer"


def is_ours() -> bool:
    """Return whether this library, not the user's code, accesses an attribute."""
    return sys._getframe(3).f_code.co_filename.startswith(INSTALLED[-2:])


def is_installed(module: ModuleType) -> bool:
    """Return whether a module is Python's, NumPy's, ours, or an installed package's."""
    file = attributes(module).get("__file__")
    return file.startswith(INSTALLED) if file else module.__name__.split(".")[0] in sys.stdlib_module_names


@functools.cache
def is_generated(code: CodeType) -> bool:
    """Return whether `dataclass` has written the code of a method: it uses fields only,
    which are watched as they are read.
    """
    return code.co_filename == "<string>" and code.co_name in GENERATED


def is_users_class(cls: type) -> bool:
    """Return whether a class is neither Python's nor that of an installed package."""
    return cls.__module__ not in ("builtins", "abc") and not is_installed_class(cls)


def is_installed_class(cls: type) -> bool:
    """Return whether a class belongs to an installed package."""
    module = sys.modules.get(cls.__module__)
    return module is not None and is_installed(module)


def is_setting(value: Any) -> bool:
    """Return whether what an installed module has by a name may be a setting."""
    if isinstance(value, FunctionType):
        return is_users(value.__code__)
    if isinstance(value, type):
        return not is_installed_class(value)
    return not callable(value) and not isinstance(value, ModuleType | IOBase) and value is not sys.modules


def length_of(attributes: Any) -> int:
    """Count a class's attributes, without those that a trace in a thread gives it."""
    first, second, third = HOOKS
    return len(attributes) - (first in attributes) - (second in attributes) - (third in attributes)


def is_slot(value: Any) -> bool:
    """Return whether an attribute of a class is one of its slots."""
    return isinstance(value, types.MemberDescriptorType)


def is_of_text(word: str) -> bool:
    """Return whether a word of code shows that it makes a text of something."""
    return word.startswith("FORMAT_") or "%" in word
