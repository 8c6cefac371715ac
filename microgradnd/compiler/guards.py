"""What a traced function takes from around it: found, watched while it is traced, and looked at before each call.

Owns: finding what the code of a function names outside of it, and telling whether that has changed.
Must not own: the arguments (`arguments.py`), or what is recorded (`trace.py`).
Read next: `trace.py`.

A program is written once. What the function reads but isn't given would be in it as it was then: a global number, an
array that it computes with by plain NumPy, an attribute. So what its code names is looked up, and looked at again in
front of each call: where it has changed, the function is traced anew. While it is traced, nothing there may change,
and no generator may draw: that would happen once, and not in the calls that follow.
"""

from __future__ import annotations

import functools
import pickle
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from microgradnd.lines import installed
from microgradnd.registry import JVPS, VJPS
from microgradnd.tape import Leaf
from microgradnd.tensor import Tensor

MISSING = object()
LARGE = 2**20  # bytes: arrays of more, which the program is given anyway, are not compared in each call
INSTALLED = installed()
PLAIN = (int, float, complex, str, bytes, np.generic, np.dtype)
CONTAINERS = (list, tuple, dict, set, frozenset, deque)
MUTABLE = (list, dict, set, deque)


class Surroundings:
    """What a function and the functions that it calls name outside of themselves.

    Installed packages are taken to stay as they are, but what the functions among them were given is followed.

    Attributes
    ----------
    bindings : list of (name, read, value)
        What each name stood for when it was found; `read()` returns what it stands for now.
    arrays : list of (name, array)
        The arrays that were found.
    generators : list of (name, read, write)
        The sources of random numbers, and how to read and write the state of each.
    """

    def __init__(self, function: Callable[..., Any], others: Iterable[Any] = ()) -> None:
        self.bindings: list[tuple[str, Callable[[], Any], Any]] = []
        self.arrays: list[tuple[str, Any]] = []
        self.generators: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
            ("np.random", functools.partial(np.random.get_state, legacy=False), np.random.set_state),
            ("random", random.getstate, random.setstate),
        ]
        self.visited: dict[Any, Any] = {}  # keeps alive what was visited, so that no id is used twice
        self.kept: list[tuple[Any, Any, Any, bytes | None]] = []
        names = frozenset(names_in(getattr(function, "__code__", None)))
        self.visit(getattr(function, "__name__", "function"), function, names)
        for thing in others:
            self.visit("an argument", thing, names)
        self.visited.clear()

    def visit(self, name: str, thing: Any, names: frozenset[str]) -> None:
        """Note a thing, and go on to what code that uses these names can reach through it."""
        key = id(thing), None if isinstance(thing, FunctionType | np.ndarray | Tensor) else names
        if key in self.visited or thing is None or isinstance(thing, PLAIN):
            return
        self.visited[key] = thing
        if isinstance(thing, np.ndarray):
            self.arrays.append((name, thing))
        elif isinstance(thing, Tensor):
            if thing._node is None:
                thing._node = Leaf(np.asarray(thing._array), False)  # so that what is assigned to it is seen
            self.bind(name, functools.partial(getattr, thing, "_node"))
        elif isinstance(thing, np.random.Generator):
            self.generators.append(
                (name, lambda: thing.bit_generator.state, functools.partial(setattr, thing.bit_generator, "state"))
            )
        elif isinstance(thing, np.random.RandomState):
            self.generators.append((name, functools.partial(thing.get_state, legacy=False), thing.set_state))
        elif isinstance(thing, random.Random):
            self.generators.append((name, thing.getstate, thing.setstate))
        elif isinstance(thing, FunctionType):
            self.visit_function(thing)
            for table in (VJPS, JVPS):
                for rule in table.get(thing, ()) if isinstance(table.get(thing, ()), tuple) else ():
                    self.visit(name, rule, names)
        elif isinstance(thing, MethodType):
            self.visit(name, thing.__func__, names)
            self.visit(name, thing.__self__, frozenset(names_in(getattr(thing.__func__, "__code__", None))))
        elif isinstance(thing, functools.partial):
            for part in (thing.func, thing.args, thing.keywords):
                self.visit(name, part, names)
        elif isinstance(thing, CONTAINERS):
            self.bind(name, functools.partial(contents, thing))
            for part in thing.values() if isinstance(thing, dict) else thing:
                self.visit(name, part, names)
        else:
            self.visit_object(name, thing, names)

    def visit_function(self, function: FunctionType) -> None:
        """Look up the names in the code of a function: globals, and variables of the functions around it."""
        code = function.__code__
        names = frozenset(names_in(code))
        installed = code.co_filename.startswith(INSTALLED)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            read = functools.partial(getattr, cell, "cell_contents", MISSING)
            if not installed:
                self.bind(name, read)
            self.visit(name, read(), names)
        if installed:
            return
        for name in sorted(names & function.__globals__.keys()):
            self.bind(name, functools.partial(function.__globals__.get, name, MISSING))
            self.visit(name, function.__globals__[name], names)
        for thing in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(function.__name__, thing, names)

    def visit_object(self, name: str, thing: Any, names: frozenset[str]) -> None:
        """Look up the names among the attributes of a module, a class or an object."""
        if isinstance(thing, ModuleType) and is_installed(thing):
            return
        own, kind = getattr(thing, "__dict__", {}), type(thing)
        held = set()
        if hasattr(kind, "__form__") and not name.startswith("an argument"):  # a Module: its code is in a package
            held = {key for key, value in own.items() if isinstance(value, Tensor) or hasattr(type(value), "__form__")}
        for attribute in sorted((names & own.keys()) | held):
            read: Any = functools.partial(getattr, thing, attribute, MISSING)
            if isinstance(thing, type):  # whose methods are made anew by each look
                read = functools.partial(own.get, attribute, MISSING)
            self.bind(f"{name}.{attribute}", read)
            self.visit(f"{name}.{attribute}", getattr(thing, attribute, None), names)
        if isinstance(thing, ModuleType | type):
            return
        for attribute in sorted((names | {"forward", "__call__"}) - own.keys()):
            found = getattr(kind, attribute, None)
            found = found.fget if isinstance(found, property) else found
            if isinstance(found, FunctionType) and not found.__code__.co_filename.startswith(INSTALLED):
                self.visit(f"{name}.{attribute}", MethodType(found, thing), names)
            elif isinstance(found, MemberDescriptorType) or (attribute in vars(kind) and isinstance(found, PLAIN)):
                self.bind(f"{name}.{attribute}", functools.partial(getattr, thing, attribute, MISSING))
                self.visit(f"{name}.{attribute}", getattr(thing, attribute, None), names)

    def bind(self, name: str, read: Callable[[], Any]) -> None:
        """Note what a name stands for; an installed module stays what it is."""
        value = read()
        if not (isinstance(value, ModuleType) and is_installed(value)):
            self.bindings.append((name, read, value))

    # While the function is traced

    def state(self) -> tuple[list[bytes], list[Any]]:
        """Return the states of the generators and the contents of the arrays."""
        return [pickle.dumps(read()) for _, read, _ in self.generators], [array.copy() for _, array in self.arrays]

    def difference(self, before: tuple[list[bytes], list[Any]]) -> str | None:
        """Return what has changed, and what to do about it."""
        for (name, read, _), state in zip(self.generators, before[0], strict=True):
            if pickle.dumps(read()) != state:
                what = "random numbers were drawn" + ("" if name == "an argument" else f" from {name}")
                return f"{what}; draw them outside, and pass them as an argument"
        for (name, array), saved in zip(self.arrays, before[1], strict=True):
            if array.shape != saved.shape or array.tobytes() != saved.tobytes():
                return f"the captured array {name!r} was changed; pass it as an argument, or return the new value"
        for name, read, value in self.bindings:
            if not same(value, read()):
                return f"the captured {name!r} was changed; pass it as an argument, and return the new value"
        return None

    def restore(self, before: tuple[list[bytes], list[Any]]) -> None:
        """Put the generators and the arrays back into an earlier state."""
        for (_, _, write), state in zip(self.generators, before[0], strict=True):
            write(pickle.loads(state))
        for (_, array), saved in zip(self.arrays, before[1], strict=True):
            if array.flags.writeable and array.shape == saved.shape:
                array[...] = saved
        self.bindings = [(name, read, read()) for name, read, _ in self.bindings]

    def watch(self, call: Callable[[], Any]) -> tuple[str | None, tuple[str, int] | None]:
        """Call a function; return what it changed around it, and the line that did, or None."""
        before = self.state()
        call()
        what = self.difference(before)
        if what is None:
            return None, None
        self.restore(before)
        where = line_of_change(call, lambda: self.difference(before) is not None)
        self.restore(before)
        return what, where

    # In front of each call

    def keep(self, given: Callable[[Any], bool], must: Iterable[Any] = ()) -> None:
        """Remember the arrays, in whole unless the program is given a large one in each call.

        What `must` be compared are arrays whose values decided what the program does.
        """
        always = {id(array) for array in must}
        for array in [*(array for _, array in self.arrays), *must]:
            whole = id(array) in always or array.nbytes <= LARGE or not given(array)
            self.kept.append((array, array.shape, array.dtype, array.tobytes() if whole else None))

    def changed(self) -> bool:
        """Return whether anything isn't as it was when the function was traced."""
        for _, read, value in self.bindings:
            now = read()
            if now is not value and not same(value, now):
                return True
        return self.arrays_changed()

    def arrays_changed(self) -> bool:
        """Return whether an array isn't as it was when the function was traced."""
        return any(
            array.shape != shape or array.dtype != dtype or (saved is not None and array.tobytes() != saved)
            for array, shape, dtype, saved in self.kept
        )


def is_installed(module: ModuleType) -> bool:
    """Return whether a module is NumPy, this library, a part of Python or of an installed package."""
    file = getattr(module, "__file__", None)
    return file.startswith(INSTALLED) if file else module.__name__.split(".")[0] in sys.stdlib_module_names


def names_in(code: CodeType | None) -> Iterator[str]:
    """Yield the names that code uses: globals, attributes, and those of the functions defined in it."""
    if code is not None:
        yield from code.co_names
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from names_in(constant)


def contents(tree: Any) -> tuple[Any, ...]:
    """Return what is in nested lists, tuples and dicts, in a row."""
    if isinstance(tree, dict):
        return ("{", *(part for key, value in tree.items() for part in (key, *contents(value))), "}")
    if isinstance(tree, CONTAINERS):
        return ("[", *(part for value in tree for part in contents(value)), "]")
    return (tree,)


def same(old: Any, new: Any) -> bool:
    """Return whether a name stands for what it stood for: the same object, or an equal number or text."""
    if old is new:
        return True
    if type(old) is not type(new):
        return False
    if isinstance(old, tuple):
        return len(old) == len(new) and all(map(same, old, new))
    return isinstance(old, PLAIN) and repr(old) == repr(new)  # 0.0 and -0.0 are equal, but not the same


class Watch:
    """Follows a program line by line until something has changed."""

    def __init__(self, changed: Callable[[], bool]) -> None:
        self.changed = changed
        self.found: tuple[str, int] | None = None
        self.latest: tuple[str, int] | None = None

    def trace(self, frame: Any, event: str, _: Any) -> Any:
        """Take note of a line; called by Python, which calls what this returns for the next one of the frame."""
        if self.found or frame.f_code.co_filename.startswith(INSTALLED):
            return None
        if self.latest is not None and event in ("line", "return") and self.changed():
            self.found = self.latest
            return None
        if event == "return":
            frame = frame.f_back
        self.latest = None if frame is None else (frame.f_code.co_filename, frame.f_lineno)
        return self.trace


def line_of_change(call: Callable[[], Any], changed: Callable[[], bool]) -> tuple[str, int] | None:
    """Call a function again, and return the line after which something has changed."""
    watch = Watch(changed)
    before = sys.gettrace()
    sys.settrace(watch.trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return watch.found
