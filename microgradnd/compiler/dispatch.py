"""The quick way from a call to its program.

Owns: the function that checks whether a call is like the one before, and if it is, runs
the same program.
Must not own: the checks that take arguments apart (`arguments.py`), or what
surroundings are (`places.py`).
Read next: `compiled.py`.

A small program takes a few microseconds; a loop over its arguments would be a good part
of that. So the checks are written out as one expression, as the program itself is. An
array must have the same shape and dtype, a number the same type; objects and Tensors
must be the same; the function's surroundings must be unchanged. A call that fails a
check takes the slow way (`compiled.py`). A call that is known to fit goes through the
same function without the checks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

import numpy as np

from microgradnd.compiler.arguments import Arguments
from microgradnd.compiler.ownership import check_apart
from microgradnd.compiler.places import CONTAINERS, MISSING, Place, same, shape_of
from microgradnd.compiler.programs import Entry
from microgradnd.compiler.recorder import Attribute, Buffer, Counter, Gradient, Setting
from microgradnd.compiler.replay import instead, recorded
from microgradnd.compiler.sizes import LEAST
from microgradnd.compiler.weak import NUMBERS
from microgradnd.operands import COPIED
from microgradnd.tape import Leaf, current, next_position, touch
from microgradnd.tensor import Tensor
from microgradnd.trees import Form, flatten, is_module, kind_of

CONSTANTS = (bool, int, str, type(None))  # parts of the program
BY_IDENTITY = (CodeType, FunctionType, BuiltinFunctionType, type, type(None))  # none equals another
SHORT = 4  # entries of a dict that are looked up one by one
LONG = 1000  # parts of a container that are compared in a loop, not one by one
# Errors that depend on values; the other errors are found while tracing.
OF_VALUES = (ArithmeticError, IndexError, np.linalg.LinAlgError, Warning)
UNDONE = "A program that changes variables or draws can't handle this error: catch it around the call of the program"
MISS = object()  # returned by a dispatcher for a call that it doesn't know


class Dispatcher:
    """Writes the quick way for calls like one that was made."""

    def __init__(self, function: Callable[..., Any], arguments: Arguments, entry: Entry) -> None:
        self.function, self.arguments, self.entry = function, arguments, entry
        self.known: dict[int, str] = {}
        self.names: dict[str, Any] = {"MISS": MISS, "function": entry.function, "touch": touch}
        self.names |= {"inf": np.inf, "nan": np.nan, "ndarray": np.ndarray}
        self.names |= {"is_": operator.is_, "next_position": next_position, "current": current, "asarray": np.asarray}
        self.checks = [f"current() is {self.name(entry.mode)}"]
        self.lengths: dict[str, str] = {}  # of the symbols for open lengths
        self.arrays: list[str] = []  # the expressions for arrays among the arguments, and inside them
        self.kinds: dict[str, Any] = {}  # their shapes and dtypes, if these are fixed
        self.parts: list[str] = []
        self.leaves: list[str] = []  # an expression for each
        self.containers: list[tuple[str, Any]] = []  # those among the arguments, by the expressions for them
        self.counted: dict[Any, str] = {}  # the names for places in objects that count their changes
        self.contents: list[tuple[str, Sequence[Any]]] = []  # expressions for containers, and what they held

    def source(self) -> str:
        """Return the source of the quick way."""
        arguments, entry, traced = self.arguments, self.entry, self.entry.traced
        for i, arg in enumerate(arguments.args):
            self.look(f"a{i}", arg)
        if arguments.kwargs:
            self.look("kwargs", arguments.kwargs)
        else:
            self.checks.append("not kwargs")
        if entry.sizes is not None:
            self.parts += self.lengths.values()
            self.checks += [f"{symbol} >= {LEAST}" for symbol in self.lengths]
            self.checks += [f"({guard.condition()})" for guard in entry.sizes.guards]
        if arguments.compares:
            arrays = [x for x in zip(self.leaves, arguments.leaves, strict=True) if x[0] in self.arrays]
            self.checks += identities(arrays)
        alike: dict[Any, list[tuple[str, Any]]] = {}  # only these can be the same
        for name, container in self.containers:
            size = len(container) if type(container) in (list, tuple, dict) else 0
            alike.setdefault((type(container), size), []).append((name, container))
        self.checks += [check for group in alike.values() for check in identities(group)]
        given, owners = [], []
        for i in traced.inputs:
            leaf = arguments.leaves[i]
            number = NUMBERS.get(type(leaf))  # a program casts numbers itself, where they meet arrays
            given.append(self.leaves[i] if number is None else f"{self.name(number)}({self.leaves[i]})")
            owners.append(self.name(leaf._node) if isinstance(leaf, Tensor) and type(leaf._node) is Leaf else None)
        for value, thing in zip(traced.program.inputs[len(given) :], traced.captured, strict=True):
            name = self.name(thing)
            given.append(name if isinstance(thing, np.ndarray) else f"{name}.data")
            owners.append(name if type(thing) is Leaf else None)
            if isinstance(thing, Gradient | Buffer):
                kind = self.name(value.dtype.type) if isinstance(thing, Counter) else "ndarray"
                self.checks.append(f"type({name}.data) is {kind} and {name}.data.shape == {value.shape}")
                self.checks.append(f"{name}.data.dtype is {self.name(value.dtype)}")
        self.surroundings()
        return self.text(given, owners)

    def text(self, given: Sequence[str], owners: Sequence[str | None]) -> str:
        """Return the function that checks, runs the program, and finishes the call."""
        entry, traced = self.entry, self.entry.traced
        call = f"function({', '.join(given)})"
        after: list[str] = []
        newer = [owner for i in entry.updated if (owner := owners[i])]
        if newer:
            after.append(f"{' = '.join(f'{owner}.position' for owner in newer)} = next_position()")
            after += [f"if {owner}.aliases is not None: touch({owner})" for owner in newer]
        shapes = {}
        if arrays := [i for i, (_, is_array) in enumerate(traced.left) if is_array]:
            shapes = {f"g{i}": np.shape(x) for i, x in zip(arrays, entry.program.outputs[1], strict=True)}
            after.append(f"result, ({''.join(f'{value}, ' for value in shapes)}) = result")
        for i, (thing, is_array) in enumerate(traced.left):
            value = f"g{i}" if is_array else "None"
            value = f"asarray({value})" if shapes.get(value) == () else value  # programs return numbers
            after.append(self.leaving(thing, value))
        if traced.sources:
            rest = f"result, {self.name(entry)}, {self.name(self.function)}, {self.name(Arguments)}(args, kwargs)"
            after.append(f"result = {self.name(recorded)}({rest})")
        elif traced.form is not None:
            after.append(f"result = {self.name(traced.form.rebuild)}(result)")
        names = "".join(f"a{i}, " for i in range(len(self.arguments.args)))
        return "\n".join(
            [
                "def dispatch(args, kwargs, is_known=False):",
                "    try:",
                f"        ({names}) = args",
                *(f"        {line}" for line in self.parts),
                f"        if not (is_known or {' and '.join(self.checks)}):",
                "            return MISS",
                *(f"        {line}" for line in self.parts_held()),
                "    except (AttributeError, LookupError, NameError, TypeError, ValueError):",
                "        return MISS",
                *(f"    {line}" for line in self.apart(given)),
                "    try:",
                f"        result = {call}",
                *(f"    {line}" for line in self.failing()),
                *(f"    {line}" for line in after),
                "    return result",
            ]
        )

    def failing(self) -> list[str]:
        """Return the statements for a failing program: the function may catch that."""
        failed = f"except {self.name(OF_VALUES)}"
        if not self.entry.can_repeat():
            return [f"{failed} as error:", f"    error.add_note({UNDONE!r})", "    raise"]
        again = f"{self.name(instead)}({self.name(self.function)}, {self.name(Arguments)}(args, kwargs))"
        return [f"{failed}:", "    result = MISS", "if result is MISS:", f"    return {again}"]

    def leaving(self, thing: Any, value: str) -> str:
        """Return the statement that sets a gradient, a buffer or a setting."""
        if isinstance(thing, Attribute) and (counted := self.counted.get(changes_of(thing.owner))):
            return f"{self.name(thing.set)}({value}); {counted}.count += 1"
        if isinstance(thing, Buffer | Setting):
            return f"{self.name(thing.set)}({value})"
        leaf = thing.leaf if isinstance(thing, Gradient) else self.arguments.leaves[thing]._node
        return f"{self.name(leaf)}.grad = {value}"

    def apart(self, given: Sequence[str]) -> list[str]:
        """Return the statements that check updated arrays for shared memory.

        They are quick if no argument is a view.
        """
        updated = [given[i] for i in self.entry.updated]
        if not updated:
            return []
        watched = {self.name(array): name for name, array, *_ in self.entry.traced.surroundings.arrays}
        watched = {array: name for array, name in watched.items() if array not in given}
        captured = [*given[len(self.entry.traced.inputs) :], *watched]  # the slow way checks these, and Tensors
        arrays = {*self.arrays}
        own = [array for array in updated if array in arrays]
        others = [array for array in (*self.arrays, *captured) if array not in {*own}] if own else []
        doubts = ["is_known", *(f"{array}.base is not None" for array in own)]
        if len(own) <= SHORT:
            doubts += [f"{array} is {other}" for array, other in combinations(own, 2) if self.may_be_one(array, other)]
            for other in others:
                doubts += [f"{array} is {other}" for array in own if self.may_be_one(array, other)]
                views = " or ".join(f"{array} is {other}.base" for array in own)
                doubts.append(f"{other}.base is not None and ({views})")
        else:
            ids = ", ".join(f"id({array})" for array in own)
            doubts.append(f"len(own := {{{ids}}}) < {len(own)}")
            doubts += [f"id({other}) in own or id({other}.base) in own" for other in others]
        names = [*(value.name or "an argument" for value in self.entry.traced.program.inputs), *watched.values()]
        slowly = f"{self.name(check_apart)}({names}, [{', '.join([*given, *watched])}], {self.entry.updated})"
        return [f"if {' or '.join(doubts)}: {slowly}"]

    def may_be_one(self, array: str, other: str) -> bool:
        """Return whether two arrays that pass the checks can be the same array."""
        kinds = self.kinds.get(array), self.kinds.get(other)
        return None in kinds or kinds[0] == kinds[1]

    def name(self, thing: Any) -> str:
        """Return a name for an object."""
        if thing is None or type(thing) is bool:
            return repr(thing)  # a literal compares faster
        name = self.known.setdefault(id(thing), f"x{len(self.known)}")
        self.names[name] = thing
        return name

    def look(self, name: str, arg: Any) -> None:
        """Check an argument or a part of one, and note an expression for each leaf."""
        kind: Any = type(arg)
        if kind_of(kind) is not None and not is_module(arg):
            self.containers += [(name, arg)] if arg is not self.arguments.kwargs else []
            for i, (expression, part) in enumerate(self.inside(name, arg)):
                self.parts.append(f"{name}_{i} = {expression}")
                self.look(f"{name}_{i}", part)
            return
        expression = name
        if isinstance(arg, np.ndarray):
            self.checks.append(f"type({name}) is {self.name(kind)}")
            self.checks.append(f"{name}.shape == {self.shape(name, arg)} and {name}.dtype is {self.name(arg.dtype)}")
            expression = name if kind is np.ndarray else f"asarray({name})"
            self.arrays.append(expression)
            if self.entry.sizes is None:
                self.kinds[expression] = arg.shape, arg.dtype
        elif kind in (float, complex) or isinstance(arg, np.generic):
            self.checks.append(f"type({name}) is {self.name(kind)}")
        elif kind in CONSTANTS:
            self.checks.append(f"type({name}) is {self.name(kind)} and {name} == {self.name(arg)}")
        else:
            self.checks.append(f"{name} is {self.name(arg)}")
            if isinstance(arg, Tensor):
                expression = self.variable(name, arg)
        self.leaves.append(expression)

    def inside(self, name: str, arg: Any) -> list[tuple[str, Any]]:
        """Check the form of a container; return each part with an expression for it."""
        kind = type(arg)
        if kind in (tuple, list) or (kind is dict and all(type(key) is str for key in arg)):
            alike = f"list({name}) == {self.name(list(arg))}" if kind is dict else f"len({name}) == {len(arg)}"
            self.checks.append(f"type({name}) is {self.name(kind)} and {alike}")
            return [(f"{name}[{key!r}]", part) for key, part in (arg.items() if kind is dict else enumerate(arg))]
        containers: list[Any] = []
        leaves, form = flatten(arg, is_module, containers)
        form.share(containers)
        self.parts.append(f"{name}_ = {self.name(taken_apart)}({name}, {self.name(form)}, is_known)")
        self.containers += [(f"{name}_[{i}]", part) for i, part in enumerate(containers[:-1], len(leaves))]
        return [(f"{name}_[{i}]", leaf) for i, leaf in enumerate(leaves)]

    def shape(self, name: str, array: Any) -> str:
        """Return the shape that an array must have, with symbols for open lengths."""
        sizes = self.entry.sizes
        if sizes is None:
            return self.name(array.shape)
        parts = [str(n) for n in array.shape]
        for symbol in sizes.open:
            for i, axis in sizes.places[symbol]:
                if i == len(self.leaves):
                    parts[axis] = symbol
                    self.lengths.setdefault(symbol, f"{symbol} = {name}.shape[{axis}]")
        return f"({''.join(f'{part}, ' for part in parts)})"

    def variable(self, name: str, tensor: Tensor) -> str:
        """Check a Tensor for the same array and node; return the array's expression."""
        node, array = self.name(tensor._node), self.name(tensor._array)
        self.checks.append(f"{name}._array is {array} and {name}._node is {node}")
        if tensor._node is not None:
            self.checks.append(f"{node}.requires_grad is {tensor._node.requires_grad}")
        if type(tensor._node) is Leaf:
            hooks = self.name(tensor._node.hooks)
            keys = f" and [*{hooks}] == {list(tensor._node.hooks)}" if tensor._node.hooks is not None else ""
            self.checks.append(f"{node}.hooks is {hooks}{keys}")
        return array

    def surroundings(self) -> None:
        """Check that the function's surroundings are unchanged."""
        traced = self.entry.traced
        counted: dict[Any, list[Place]] = {}
        for place in traced.surroundings.places:
            if (changes := changes_of(place.owner)) is not None:
                counted.setdefault(changes, []).append(place)
            else:
                self.checks.append(self.there(place))
        for changes, places in counted.items():  # their classes count every attribute that is set
            self.counted[changes] = known = self.name(Counted(changes, places))
            self.checks.append(f"({self.name(changes)}() == {known}.count or {known}.are_same())")
        small: list[Any] = []
        contents: list[bytes] = []
        for _, array, shape, dtype, saved in traced.surroundings.arrays:
            name = self.name(array)
            self.checks.append(f"{name}.shape == {shape} and {name}.dtype is {self.name(dtype)}")
            if saved is not None and array.nbytes <= COPIED and array.flags.c_contiguous and dtype.kind in "biufc":
                small.append(array)
                contents.append(saved)
            elif saved is not None:
                self.checks.append(f"{name}.tobytes() == {self.name(saved)}")
        if small:  # read as one, in half of the time
            self.checks.append(f"b''.join({self.name(small)}) == {self.name(b''.join(contents))}")
        for thing, form in traced.depends:
            self.checks.append(f"{self.name(thing)}.__form__() == {self.name(form)}")

    def there(self, place: Place) -> str:
        """Return the expression that checks whether a place holds the same thing."""
        value, owner = self.name(place.value), self.name(place.owner)
        if isinstance(place.owner, CONTAINERS) and place.key is None:
            return self.holds(owner, place)
        if isinstance(place.owner, type) and place.key is None:
            names = [*vars(place.owner)] if same(shape_of(place.owner), place.value) else None
            is_same = f"[*{self.name(vars(place.owner))}] == {self.name(names)}"
            return f"{is_same} and {owner}.__mro__ is {self.name(place.value[0])}"
        if type(place.owner) is dict:  # the globals of a function, or a table of rules
            key = repr(place.key) if type(place.key) is str else self.name(place.key)
            return f"{key} not in {owner}" if place.value is MISSING else f"{owner}[{key}] is {value}"
        if place.value is MISSING and place.owner is not None:
            return f"{place.key!r} not in {owner}.__dict__"
        is_attribute = place.key is not None and place.key.isidentifier()
        now = f"{owner}.{place.key}" if is_attribute else f"{self.name(place.read)}()"
        if is_attribute and isinstance(place.value, BY_IDENTITY):
            return f"{now} is {value}"
        return f"((now := {now}) is {value} or {self.name(same)}({value}, now))"

    def holds(self, container: str, place: Place) -> str:
        """Return the expression that checks a container for the same objects.

        It leaves those that are compared one by one to `parts_held`.
        """
        parts, count = place.value, len(place.owner)
        if not count:
            return f"not {container}"
        keys, values = parts[:count], parts[count:]
        if not isinstance(place.owner, Mapping):
            return self.held(container, parts)
        if type(place.owner) is dict and all(type(key) is str for key in keys):
            alike = f"[*{container}] == {self.name([*keys])}" if count > 1 else f"len({container}) == 1"
            if count > SHORT:
                return f"{alike} and {self.held(f'{container}.values()', values)}"
            pairs = zip(keys, values, strict=True)
            return " and ".join([alike, *(f"{container}[{key!r}] is {self.name(part)}" for key, part in pairs)])
        return f"{self.held(container, keys)} and {self.held(f'{container}.values()', values)}"

    def held(self, container: str, parts: Sequence[Any]) -> str:
        """Return the expression that checks for the same objects in the same order."""
        if len(parts) <= LONG:  # in half of a loop's time
            self.contents.append((container, parts))
            return f"len({container}) == {len(parts)}"
        return f"len({container}) == {len(parts)} and all(map(is_, {container}, {self.name(parts)}))"

    def parts_held(self) -> list[str]:
        """Return the statements that compare the contents of containers one by one."""
        lines = ["if not is_known:"] if self.contents else []
        for container, parts in self.contents:
            names = [f"v{i}" for i in range(len(parts))]
            same_parts = " and ".join(f"{name} is {self.name(part)}" for name, part in zip(names, parts, strict=True))
            lines += [f"    ({', '.join(names)},) = {container}", f"    if not ({same_parts}):", "        return MISS"]
        return lines


class Counted:
    """Places in objects whose class counts each setting of an attribute."""

    def __init__(self, changes: Callable[[], int], places: list[Place]) -> None:
        self.changes, self.places, self.count = changes, places, changes()

    def are_same(self) -> bool:
        """Look at the places, and remember the count if they are unchanged."""
        count = self.changes()
        if any(place.changed() for place in self.places):
            return False
        self.count = count
        return True


def changes_of(owner: Any) -> Callable[[], int] | None:
    """Return how often attributes of objects like this were set, if they count it."""
    found: Callable[[], int] | None = getattr(type(owner), "__changes__", None)
    return found


def identities(things: Sequence[tuple[str, Any]]) -> list[str]:
    """Return checks that expressions give the same object where they did before."""
    first: dict[int, str] = {}
    known = [(name, first.setdefault(id(thing), name)) for name, thing in things]
    equal = [f"{name} is {other}" for name, other in known if name is not other]
    if len(first) > 3:
        apart = [f"len({{{', '.join(f'id({name})' for name in first.values())}}}) == {len(first)}"]
    else:
        apart = [f"{name} is not {other}" for name, other in combinations(first.values(), 2)]
    return equal + apart


def taken_apart(tree: Any, form: Form, is_known: bool) -> list[Any]:
    """Return all leaves and containers in one, or raise if its form is different."""
    containers: list[Any] = []
    leaves, found = flatten(tree, is_module, containers)
    found.share(containers)
    if not is_known and found != form:
        raise LookupError
    return leaves + containers


def dispatcher(function: Callable[..., Any], arguments: Arguments, entry: Entry) -> Callable[..., Any]:
    """Return the quick way for calls like this one; for others it returns MISS."""
    made = Dispatcher(function, arguments, entry)
    exec(compile(made.source(), "<dispatch>", "exec"), made.names)
    found: Callable[..., Any] = made.names.pop("dispatch")  # so that it doesn't hold itself
    return found
