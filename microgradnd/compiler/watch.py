"""What a traced function reads and changes outside itself while it runs.

Owns: finding everything that the function can reach, and noting the attributes that it
reads and sets.
Must not own: how a place is read and compared (`places.py`), what the function asks the
system for (`outside.py`), arguments (`arguments.py`), random numbers (`draws.py`).
Read next: `draws.py`.

A program is written once, so it contains the settings that the function reads, with
their values at that time. Everything that was read must be compared before each later
call. This file finds it by these rules:

- A function of the user's: its code, defaults and closure, and the global names in its
  code. Installed code isn't looked into; what it asks for is noticed (`outside.py`).
- A container: what it contains.
- An object: the attributes that are read. They are observed, not guessed: while the
  function runs, the classes of all objects that it can reach report who reads what.
- An object of a built-in class, which can't report: all that Python shows of its state
  (`natives.py`). What few functions ask for, only if the code names it (`NAMED`).
- A class of the user's: its bases, the names that it defines, special methods, and the
  attributes that the code names; all, if the code can come by the class itself.
- A module of a package: the attributes that the code names.

Setting an attribute is noted too, and undone after the trace: either the program does
it in each call, or it is an error.
"""

from __future__ import annotations

import abc
import builtins
import enum
import functools
import gc
import os
import sys
import types
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack
from contextvars import Context
from io import IOBase
from types import BuiltinFunctionType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from microgradnd.compiler.bytecode import all_codes, catches, globals_in, lines_of, names_in
from microgradnd.compiler.draws import Draws
from microgradnd.compiler.natives import (
    GENERATORS,
    NAMED,
    UNREAD,
    hidden,
    is_changeable,
    is_native,
    is_plain,
    native,
    reader,
)
from microgradnd.compiler.outside import ASKED, CLOCK, READ_DATE, is_noted, of_the_clock
from microgradnd.compiler.places import (
    CHANGEABLE,
    CONTAINERS,
    HOOKS,
    MISSING,
    Place,
    Surroundings,
    attributes,
    content_of,
    contents,
    equal,
    function_of,
    held,
    home,
    lookup,
    own_attribute,
    same,
    shape_of,
)
from microgradnd.compiler.recorder import Attribute, Buffer, Counter, Recorder, Setting, TraceError, last_line, replaced
from microgradnd.compiler.sizes import Closed, Size
from microgradnd.compiler.traced import Picked
from microgradnd.compiler.weak import TracedNumber, is_countable
from microgradnd.lines import installed, is_users, quoted_line
from microgradnd.operands import sample
from microgradnd.registry import JVPS, VJPS
from microgradnd.tape import Leaf
from microgradnd.tensor import Tensor

# Words of a line that reads what can't be found by names.
BLIND = {f"LOAD_GLOBAL {name}" for name in ("eval", "exec", "globals")}
BLIND |= {"f_globals", "f_back", "__globals__", "_getframe", "get_objects", "get_referrers", "get_referents"}
LARGE = 2**20  # bytes: larger arrays that the program gets anyway are not compared in each call
INSTALLED = installed()
# By these names, code comes by a class of an object, and can read any attribute of it.
REFLECTION = {"type", "__class__", "__mro__", "mro", "__base__", "__bases__", "__subclasses__"}
GENERATED = {f"__{name}__" for name in ("init", "repr", "eq", "hash", "lt", "le", "gt", "ge", "setattr", "delattr")}
COMPUTING = {"getattr", "attrgetter", "__dict__", "vars"}  # by these, code reads attributes whose names are texts
UNNAMED = {"__call__", "forward"}  # methods of installed classes that code calls without their names
# These reach the attributes of an object past its class, which can't report that.
DIRECT = {"__getattribute__", "__setattr__", "__delattr__", "__get__", "__set__", "__delete__"}
# The attributes in which such an object holds functions.
WRAPPERS: dict[Any, tuple[str, ...]] = {
    cls: tuple(key for key, x in vars(cls).items() if isinstance(x, MemberDescriptorType) and key not in UNREAD)
    for cls in (property, classmethod, staticmethod, functools.partial, functools._lru_cache_wrapper)
}
BOUND = (MethodType, BuiltinFunctionType, types.MethodWrapperType, np.ufunc)  # never change, but hold what they call
WHOLE = {"__dict__", "__reduce_ex__", "__getstate__"}  # what reads all attributes at once, as for a copy
CONSTANTS = (bool, int, float, complex, str, bytes, type(None))
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
    names, texts : set of str
        The names and texts in that code; the texts that it can reach.
    counters : set of (int, str)
        The attributes whose numbers the function changes: inputs of the program.
    buffers : dict of (int, str) to Tensor
        The stand-ins for these, and for buffers of modules.
    written : dict of (int, str) to (owner, name, value before, line)
        The attributes that were set.
    """

    def __init__(self, recorder: Recorder, counters: Set[tuple[int, str]] = frozenset()) -> None:
        self.recorder, self.counters = recorder, counters
        self.places: dict[Any, Place] = {}
        self.arrays: dict[int, tuple[str, Any, Any]] = {}
        self.draws = Draws(recorder)
        self.codes: dict[CodeType, None] = {}
        self.names: set[str] = set()
        self.texts: set[str] = set()
        # It keeps what was visited alive, so that no id is used twice.
        self.known: dict[int, tuple[str, Any]] = {id(os.environ): ("os.environ", os.environ)}
        # Whether the code can come by a class, so that nobody sees what it reads
        self.classes: dict[type, bool] = {Tensor: False}
        self.natives: list[tuple[str, Any]] = []
        self.named: list[Any] = [("", None, names, read) for kinds, names, read in NAMED if kinds is None]
        self.named.append(("", None, {"modules"}, lambda _: users_modules()))
        self.objects: list[tuple[str, Any]] = []  # that report reads
        self.packages: dict[str, ModuleType] = {"builtins": builtins}
        self.later: dict[Any, tuple[str, Callable[[], Any]]] = {}  # what the trace itself may change, as a cache
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
        with replaced(self, "is_looking", True):
            self.hook(type(os.environ))  # reports whoever reads it, as `os.path.expanduser` does
            self.look_at_all()

    def look_at_all(self) -> None:
        while self.todo:
            while self.todo:
                self.look(*self.todo.pop())
            self.look_at_named()
            self.look_into_classes()

    def look(self, name: str, thing: Any) -> None:
        """Note one thing."""
        if type(thing) is str:
            self.texts.add(thing)
        if is_plain(thing) or type(thing) is type(np.sum) or id(thing) in self.known:
            return
        self.known[id(thing)] = name, thing
        self.add_named(name, thing)
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
        elif isinstance(thing, BOUND):
            self.look_at_bound(name, thing)
        elif isinstance(thing, type):
            self.add_class(thing, is_whole=True)
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
        self.attribute(name, tensor, "_node", follows=False)
        _, node, _ = self.recorder.assigned.get(id(tensor), (tensor, tensor._node, None))
        self.places[id(tensor), "_node"].value = node  # the function may have assigned to it earlier
        if isinstance(node, Leaf):
            self.attribute(f"{name}.requires_grad", node, "requires_grad")
            self.attribute(f"the hooks of {name}", node, "hooks")

    def look_at_function(self, name: str, function: FunctionType) -> None:
        """Look up the names in a function's code: globals and closed-over variables."""
        code = function.__code__
        theirs = not is_users(code)
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if theirs:
                self.todo.append((variable, content_of(cell)()))
            else:
                self.place((id(cell), "cell_contents"), variable, content_of(cell), cell, "cell_contents")
        for table in (VJPS, JVPS):
            if function in table:
                read = functools.partial(table.get, function, MISSING)
                self.place((id(table), id(function)), f"the rule of {name}", read, table, function)
        if not is_of_package(function):  # one that a transform has made belongs to the user
            self.todo.append((name, vars(function)))
        if theirs:
            return
        self.codes[code] = None
        if catching := {id(part) for part in all_codes([code]) if catches(part)}:
            self.recorder.catching |= catching
            if sys.gettrace() is None:  # a debugger comes first
                sys.settrace(self.recorder.observe)
                self.undo.callback(sys.settrace, None)
        used = {"__code__": 1, "__defaults__": code.co_argcount, "__kwdefaults__": code.co_kwonlyargcount}
        for key in filter(used.get, used):
            self.attribute(name, function, key)
        self.names |= set() if is_generated(code) else names_in(code)
        for key in sorted(globals_in(code)):
            self.look_up(function.__globals__, key, key)  # also if it is missing: a new name may hide a built-in one

    def look_up(self, scope: dict[str, Any], key: str, name: str) -> None:
        """Watch a name in a namespace."""
        value = scope.get(key, MISSING)
        if isinstance(value, BuiltinFunctionType | FunctionType) and value in ASKED:
            scope[key] = ASKED[value](self, value)
            self.undo.callback(scope.__setitem__, key, value)
        else:
            self.place((id(scope), key), name, functools.partial(scope.get, key, MISSING), scope, key)

    def look_at_wrapper(self, name: str, wrapper: Any) -> None:
        """Look at the functions that an object calls."""
        if isinstance(wrapper, functools._lru_cache_wrapper):
            self.later[id(wrapper)] = name, lambda: wrapper.cache_info().misses  # since it was last empty
        for key in WRAPPERS[type(wrapper)]:
            self.attribute(name, wrapper, key)
        self.todo.append((name, attributes(wrapper)))

    def look_at_bound(self, name: str, bound: Any) -> None:
        """Look at what a built-in function or a method has: its object and function."""
        self.names.add(bound.__name__)
        if bound in (eval, exec, globals):
            raise self.side_effect(f"{bound.__name__} is captured, which hides what is read; use names instead", None)
        if ASKED.get(bound) is CLOCK and "anew" not in self.names:
            raise of_the_clock(None)
        own = attributes(bound)
        parts = [part for part in gc.get_referents(bound) if part is not own and not isinstance(part, ModuleType)]
        self.todo += [("self" if part is getattr(bound, "__self__", None) else name, part) for part in parts]

    def look_at_module(self, name: str, module: ModuleType) -> None:
        """Watch the attributes read from a module that isn't installed."""
        if is_installed(module):
            self.packages[name] = module
        else:
            kind = type(module)
            watched = type(kind.__name__, (kind,), {})
            self.undo.enter_context(replaced(module, "__class__", watched))
            self.add_class(kind)
            self.hook(watched)
            self.todo.append((name, vars(module).get("__getattr__")))

    def look_at_object(self, name: str, thing: Any) -> None:
        """Watch an object: the attributes that are read or all, and its contents."""
        kind = type(thing)
        if isinstance(thing, CONTAINERS):
            self.whole(name, thing)
        if (read := reader(thing)) is not None:  # what its class, or a base of it, keeps in C
            follows = not isinstance(thing, Context)  # whose variables belong to everybody
            self.place((id(thing), "state"), name, functools.partial(read, thing), follows=follows)
        if isinstance(thing, types.GeneratorType):
            self.todo.append((name, function_of(thing)))
        self.natives.append((name, thing))
        kinds = attributes(thing).get("_kinds", {}) if hasattr(kind, "__changes__") else {}
        if kinds:  # a module's, whose class counts its changes
            self.place((id(kinds), ""), name, functools.partial(contents, kinds), thing)
        for key, what in kinds.items():
            if what != "buffer":  # a part of a module, which the library may read in another way
                self.note(thing, key, attributes(thing).get(key, MISSING))
        if is_changeable(kind) and native(kind) is not kind and not isinstance(thing, enum.Enum):
            self.add_class(kind)
            self.attribute(f"the class of {name}", thing, "__class__", follows=False)
            if self.hook(kind):
                self.objects.append((name, thing))
                return
        self.all_attributes(name, thing)

    def all_attributes(self, name: str, thing: Any) -> None:
        """Watch all attributes that an object itself has."""
        if type(thing).__dictoffset__:  # asking the object could run anything
            self.whole(name, attributes(thing))
            self.todo += [(f"{name}.{key}", value) for key, value in attributes(thing).items()]
        classes = [cls for cls in type(thing).__mro__ if not is_native(cls)]
        slots = {key for cls in classes for key, x in vars(cls).items() if isinstance(x, MemberDescriptorType)}
        for key in sorted(slots):
            self.attribute(f"{name}.{key}", thing, key)

    def add_class(self, cls: type, is_whole: bool = False) -> None:
        for kind in filter(is_changeable, (cls, type(cls))):
            if kind not in self.classes:
                self.add_named(kind.__name__, kind)
            self.classes[kind] = self.classes.get(kind, False) or (is_whole and kind is cls)

    def look_into_classes(self) -> None:
        """Look up in the classes the names in the code, and special methods."""
        is_reflected = not REFLECTION.isdisjoint(self.names)
        for cls, is_whole in list(self.classes.items()):
            is_theirs = is_of_package(cls)
            is_observed = is_theirs and id(cls) in self.hooked
            for base in filter(is_changeable, cls.__mro__):
                if is_of_package(base):
                    owner = cls if is_theirs else base  # a class of theirs may get a name that its base has
                    for key in sorted(vars(base).keys() & (UNNAMED if is_observed else self.names | UNNAMED)):
                        self.package_member(owner, key)
                    continue
                self.place((id(base), ""), cls.__name__, functools.partial(shape_of, base), base, follows=False)
                for key, value in list(vars(base).items()):
                    is_function = isinstance(value, FunctionType | classmethod | staticmethod) and key not in UNREAD
                    is_asked = key in self.names or (is_function if key.startswith("__") else is_whole or is_reflected)
                    if is_asked and not (key in HOOKS and id(base) in self.hooked):
                        self.member(base, key, value)

    def package_member(self, cls: type, name: str) -> None:
        """Watch the method or property that a class of an installed package has."""
        found = lookup(cls, name)
        if isinstance(found, FunctionType | property | classmethod | staticmethod):
            function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
            self.member(cls, name, found, isinstance(function, FunctionType) and is_users(function.__code__))

    def member(self, cls: type, key: str, value: Any, follows: bool = True) -> None:
        """Watch an attribute of a class."""
        is_direct = isinstance(value, FunctionType | property) or not hasattr(type(value), "__get__")
        where = (cls, key) if is_direct else ()
        read = functools.partial(held, cls, key)
        self.place((id(cls), key), f"{cls.__name__}.{key}", read, *where, follows=follows)

    def add_named(self, name: str, thing: Any) -> None:
        """Note what is watched if the code names it."""
        self.named += [(name, thing, names, read) for kinds, names, read in NAMED if kinds and isinstance(thing, kinds)]

    def look_at_named(self) -> None:
        """Watch what is watched only if the code has a name for it."""
        found = [row for row in self.named if not row[2].isdisjoint(self.names)]
        self.named = [row for row in self.named if row[2].isdisjoint(self.names)]
        for name, thing, names, read in found:
            self.place((id(thing), min(names)), name or min(names), functools.partial(read, thing))
        names = self.names if COMPUTING.isdisjoint(self.names) else self.names | self.texts
        for name, package in list(self.packages.items()):
            for key in sorted(names & vars(package).keys() - {"_"}):  # which an interactive session sets
                read = functools.partial(held, package, key)
                if not isinstance(value := read(), IOBase):  # as standard output, which is often redirected
                    self.place((id(package), key), f"{name}.{key}", read, package, key, follows=is_setting(value))
                    if isinstance(value, type):
                        self.add_class(value)
        is_asked = not self.names.isdisjoint(("isinstance", "issubclass"))
        if is_asked or any(isinstance(cls, abc.ABCMeta) for cls in self.classes):
            self.later["registered"] = "isinstance", abc.get_cache_token
        if not DIRECT.isdisjoint(self.names):
            while self.objects:
                self.all_attributes(*self.objects.pop())

    # Places

    def place(self, key: Any, name: str, read: Callable[[], Any], *where: Any, follows: bool = True) -> None:
        """Compare a place before each later call, and look at what it holds."""
        if key not in self.places:
            self.places[key] = Place(name, read, *where)
            self.todo += [(name, self.places[key].value)] * follows

    def attribute(self, name: str, owner: Any, key: str, follows: bool = True) -> None:
        self.known.setdefault(id(owner), (name, owner))
        read = functools.partial(getattr, owner, key, MISSING)
        self.place((id(owner), key), name, read, owner, key, follows=follows)

    def gradient(self, leaf: Leaf) -> None:
        """Watch whether a variable whose gradient the function has read has one."""
        name = f"the gradient of {leaf.name or 'a tensor'}"
        if leaf.grad is None:
            self.attribute(name, leaf, "grad")
        else:
            self.place((id(leaf), "grad"), name, lambda: type(leaf.grad))

    def whole(self, name: str, container: Any) -> None:
        self.known.setdefault(id(container), (name, container))
        if isinstance(container, tuple | frozenset):
            self.todo += [(name, part) for part in container]
        else:
            self.place((id(container), ""), name, functools.partial(contents, container), container)

    def of_made(self, f: Any) -> WatchOfMade:
        """Return a watch on what a function reads of what the traced one has made."""
        return WatchOfMade(self, f, self.known)

    def of_drawing(self, f: Any) -> WatchOfMade:
        """Return a watch on what `mg.anew` calls; raise if it may read what was set."""
        reached = WatchOfMade(self, f, {}) if self.written else self
        for owner, name, _, _ in self.written.values():
            if id(owner) in reached.known and not reached.names.isdisjoint((name, *COMPUTING)):
                raise self.recorder.refusal(f"mg.anew() of a function that reads {name!r}, set before", SET_BEFORE)
        return self.of_made(f)

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

        def noting(note: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
            def method(thing: Any, name: str, *value: Any) -> Any:
                return note(function, thing, name, *value) if is_noted(self) else function(thing, name, *value)

            return method

        notes: tuple[Callable[..., Any], ...] = self.reads, self.writes, self.writes
        try:
            for name, note in zip(HOOKS, notes, strict=True):
                self.undo.enter_context(replaced(cls, name, noting(note, getattr(cls, name))))
        except (TypeError, AttributeError):
            return False
        self.hooked[id(cls)] = reports
        self.todo += [(f"{cls.__name__}.{name}", method) for name, method in before.items()]
        return reports

    def reads(self, read: Callable[[Any, str], Any], thing: Any, name: str) -> Any:
        """Read an attribute, and note the read."""
        value: Any = MISSING
        try:
            value = read(thing, name)
        finally:
            ours = is_ours()
            with replaced(self, "is_looking", True):
                value = self.noted(thing, name, value, ours)
        return value

    def noted(self, thing: Any, name: str, value: Any, ours: bool) -> Any:
        """Note that an attribute was read, and return its value for the function."""
        owner = original(thing)
        if id(owner) not in self.known or self.known[id(owner)][1] is not owner:
            return value  # an object that the function has made
        if name in WHOLE and not ours:
            self.all_attributes(self.known[id(owner)][0], owner)
        elif name.startswith("__") or (name.startswith("_") and name != "_kinds" and ours):
            return value
        elif (id(owner), name) in self.written:
            return value  # what the function has set
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc" and is_buffer(owner, name):
            return self.buffer(owner, name, value)
        elif (id(owner), name) in self.counters and is_countable(value):
            return self.counter(owner, name, value)
        elif (id(owner), name) not in self.places:
            self.note(owner, name, value)
        self.look_at_all()
        return value

    def note(self, owner: Any, name: str, value: Any) -> None:
        path = f"{self.known[id(owner)][0]}.{name}"
        found = lookup(type(owner), name)
        is_computed = isinstance(found, types.GetSetDescriptorType) and same(value, getattr(owner, name, MISSING))
        if name in attributes(owner) or isinstance(found, MemberDescriptorType) or is_computed:
            self.attribute(path, owner, name, follows=False)
        else:
            self.names.add(name)  # the class may define it
            if hasattr(owner, "__dict__"):
                read = functools.partial(own_attribute, owner, name)
                self.place((id(owner), name), path, read, owner, name, follows=False)
            if found is MISSING:
                self.place((id(type(owner)), name), path, functools.partial(lookup, type(owner), name))
            elif is_of_package(home(type(owner), name)):
                self.package_member(type(owner), name)
        of_package = value is found and value is not MISSING and is_of_package(home(type(owner), name))
        if value is not MISSING and not (of_package and isinstance(value, CONTAINERS)):
            self.todo.append((path, value))

    def buffer(self, owner: Any, name: str, array: Any) -> Tensor:
        """Return the stand-in for a buffer of a module."""
        key = id(owner), name
        if key not in self.buffers:
            self.buffers[key] = self.recorder.stand_in(Buffer(owner, name), array)
            self.buffers[key].name = name
        return self.buffers[key]

    def counter(self, owner: Any, name: str, value: Any) -> Tensor:
        """Return the stand-in for a number that the function changes."""
        key, counter = (id(owner), name), Counter(owner, name)
        if key not in self.buffers:
            path = f"{self.known[id(owner)][0]}.{name}"
            self.later[key] = path, lambda: counter.data.dtype  # its class, even if the program doesn't use it
            made = self.recorder.stand_in(counter, np.asarray(value))
            made.name = name
            self.buffers[key] = self.recorder.number(made._array, made._node)
        return self.buffers[key]

    def writes(self, change: Callable[..., None], thing: Any, name: str, *value: Any) -> None:
        """Set or delete an attribute, and note its value before."""
        ours = is_ours()
        with replaced(self, "is_looking", True):
            owner = original(thing)
            found, is_known = lookup(type(owner), name), id(owner) in self.known and not (name[0] == "_" and ours)
            if is_known and not isinstance(found, property):  # its setter sets something else, and that is noted
                is_slot = isinstance(found, MemberDescriptorType)
                before = getattr(owner, name, MISSING) if is_slot else attributes(owner).get(name, MISSING)
                self.written.setdefault((id(owner), name), (owner, name, before, last_line()))
        change(thing, name, *value)

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
            is_state = is_state or ("_kinds" in own and not was_read)  # an attribute of a module
            is_state = is_state and type(now) is not Picked  # whose length isn't known
            if not was_read and type(now) in CONSTANTS:
                left.append((Setting(owner, name, now), None))
            elif now is before or same(before, now):
                self.attribute(path, owner, name, follows=False)
                continue
            elif type(now) is Size:
                now.number()
                wrong = Closed()
            elif key in self.buffers and now is self.buffers[key]:
                pass  # changed in place: `buffer *= 2` also ends in an assignment
            elif type(now) is TracedNumber and not was_read:
                left.append((Attribute(owner, name), now))
            elif isinstance(now, Tensor) and is_state and not is_buffer(owner, name):
                left.append((Attribute(owner, name, self.recorder.maker(now)), now))
            elif isinstance(now, Tensor) and is_state and now.shape == np.shape(before):
                left.append((Buffer(owner, name), now))
            else:
                keep = NUMBER + KEEP if is_countable(before) and isinstance(now, Tensor) and not now.shape else KEEP
                self.changed.append((place, self.side_effect(f"the captured {path!r} was changed; {keep}", where)))
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
        for where, words in lines_of(self.codes):
            if found := next(iter(BLIND & words), "").rpartition(" ")[2]:
                raise self.side_effect(f"{found} is used, which hides what is read; use names instead", where)
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

    def changed_numbers(self) -> tuple[Set[tuple[int, str]], TraceError | None]:
        """Return the attributes with numbers that the function has changed, without
        asking for their type(), and an error for anything else that it has changed.
        """
        asked = {word for _, words in lines_of(self.codes) if "LOAD_GLOBAL type" in words for word in words}
        written = {key for key in self.written if key[1] not in asked}
        found = [((id(place.owner), place.key), is_countable(place.value), error) for place, error in self.changed]
        counters = {key for key, is_number, _ in found if is_number and key in written}
        return counters, next((error for key, _, error in found if key not in counters), None)

    def undo_changes(self) -> None:
        """Put back what the function has changed, as if it hadn't run."""
        while self.changed:
            self.changed.pop()[0].put_back()
        for place in self.places.values():
            if place.changed():  # before an error, so that nobody has looked
                place.put_back()

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

    def line_of(self, name: str, changes: set[str]) -> tuple[str, int] | None:
        """Return the line that most likely changed a name, or None."""
        name = name.rpartition(".")[2]
        wanted = changes | {f"STORE_{kind} {name}" for kind in ("GLOBAL", "DEREF", "ATTR")}
        vague = {"CALL", "STORE_ATTR", f"STORE_ATTR {name}"}  # it may call something else, or be in __init__
        lines = [(line, words) for line, words in lines_of(self.codes) if words & wanted]
        ranks = [(name not in words, words & wanted <= vague) for _, words in lines]
        return lines[ranks.index(min(ranks))][0] if lines else None

    def surroundings(self, given: Callable[[Any], bool], must: list[Any], without: set[Any]) -> Surroundings:
        """Return what to compare before each call.

        A large array that the program gets in each call anyway is not compared element
        by element; others are, and so are the arrays in `must`, whose values decided
        what the program does. The places in `without` are the program's own.
        """
        places = [place for key, place in self.places.items() if key not in without]
        places += [Place(name, read) for name, read in self.later.values()]
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

    def __init__(self, watch: Watch, f: Any, known: dict[int, tuple[str, Any]]) -> None:
        super().__init__(watch.recorder)
        self.known |= known
        self.names.add("anew")  # it may read the clock
        self.advancing: list[str] = []  # names of iterators and of generators of random numbers
        code = getattr(f, "__code__", None)
        where = quoted_line((code.co_filename, code.co_firstlineno) if code else None)
        self.f = f"{getattr(f, '__name__', 'the function')}{where}"
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


SET_BEFORE = "Its program sets it when all is computed: draw before that, or use the number outside of mg.anew"
USED_UP = "call next() outside and pass what it returns, or make a list of all items"
NUMBER = "set it to a Python number, as value.item() is; or "
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


def users_modules() -> tuple[ModuleType, ...]:
    """Return the modules that aren't installed."""
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    return tuple(module for module in modules if not is_installed(module))


@functools.cache
def is_generated(code: CodeType) -> bool:
    """Return whether `dataclass` has written the code of a method: it uses fields only,
    which are watched as they are read.
    """
    return code.co_filename == "<string>" and code.co_name in GENERATED


def is_of_package(thing: Any) -> bool:
    """Return whether a class or a function belongs to an installed package."""
    module = sys.modules.get(thing.__module__)
    return module is not None and is_installed(module)


def is_setting(value: Any) -> bool:
    """Return whether what an installed module has by a name may be a user's setting."""
    if isinstance(value, FunctionType | type):
        return not is_of_package(value)
    return not callable(value) and value is not sys.modules
