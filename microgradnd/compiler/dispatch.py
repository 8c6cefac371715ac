"""The quick way from a call to its program.

Owns: the function that checks whether a call is like the one before, and if so runs the same program.
Must not own: the checks that take arguments apart (`arguments.py`), or what surroundings are (`places.py`).
Read next: `compiled.py`.

A small step takes a few microseconds, and a loop over its arguments would be a good part of that. So the checks are
written out as one expression, like the program itself. Arrays are told by shape and dtype, numbers by type; objects and
Tensors must be the same; what is around the function must be what it was. Whatever fails a check here is looked at
again slowly.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from microgradnd.compiler.arguments import Arguments
from microgradnd.compiler.ownership import apart
from microgradnd.compiler.places import CONTAINERS, MISSING, Place, same
from microgradnd.compiler.programs import Entry, finish
from microgradnd.compiler.recorder import Buffer, Gradient
from microgradnd.compiler.sizes import LEAST
from microgradnd.tape import Leaf, current, next_position, touch
from microgradnd.tensor import Tensor

NUMBERS = (float, complex, np.float64, np.float32)  # inputs that are told by their types
CONSTANTS = (bool, int, str, type(None))  # parts of the program
SHORT = 4  # entries of a dict that are compared one by one
MISS = object()  # what a dispatcher returns for a call that it doesn't know


class Dispatcher:
    """Writes the quick way for calls like one that was made."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], arguments: Arguments, entry: Entry) -> None:
        self.function, self.arguments, self.entry = function, arguments, entry
        traced = entry.traced
        self.known: dict[int, str] = {}
        self.names: dict[str, Any] = {"MISS": MISS, "MISSING": MISSING, "function": entry.function, "touch": touch}
        self.names |= {"inf": np.inf, "nan": np.nan}
        self.names |= {"is_": operator.is_, "next_position": next_position, "current": current, "asarray": np.asarray}
        self.checks = [f"current() is {self.name(entry.mode)}"]
        self.lengths: dict[str, str] = {}  # of the symbols for open lengths
        self.arrays: list[str] = []  # the names of arrays among the arguments, and in them
        self.parts: list[str] = []
        inputs = [leaf for i, arg in enumerate(args) for leaf in self.look(f"a{i}", arg)]
        if entry.sizes is not None:
            self.parts += self.lengths.values()
            self.checks += [f"{symbol} >= {LEAST}" for symbol in self.lengths]
            self.checks += [f"({guard.condition()})" for guard in entry.sizes.guards]
        given, owners = [], []
        for i in traced.inputs:
            leaf = arguments.leaves[i]
            number = traced.numbers.get(type(leaf))
            given.append(inputs[i] if number is None else f"{self.name(number)}({inputs[i]})")
            owners.append(self.name(leaf._node) if isinstance(leaf, Tensor) and type(leaf._node) is Leaf else None)
        for i, value in traced.fixed.items():
            if not isinstance(value, Tensor):
                self.checks.append(f"{self.name(same)}({inputs[i]}, {self.name(value)})")  # 0.0 isn't -0.0
        for value, thing in zip(entry.traced.program.inputs[len(given) :], traced.captured, strict=True):
            name = self.name(thing)
            given.append(name if isinstance(thing, np.ndarray) else f"{name}.data")
            owners.append(name if type(thing) is Leaf else None)
            if isinstance(thing, Gradient | Buffer):
                self.checks.append(
                    f"type({name}.data) is {self.name(np.ndarray)} and {name}.data.shape == {value.shape}"
                )
                self.checks.append(f"{name}.data.dtype is {self.name(value.dtype)}")
        self.surroundings()
        self.apart(given)
        self.source = self.text(f"function({', '.join(given)})", owners, len(args))

    def text(self, call: str, owners: Sequence[str | None], count: int) -> str:
        """Return the function that makes the checks, runs the program, and does what is to be done afterwards."""
        entry, traced = self.entry, self.entry.traced
        after: list[str] = []
        newer = [owner for i in entry.updated if (owner := owners[i])]
        if newer:
            after.append(f"{' = '.join(f'{owner}.position' for owner in newer)} = next_position()")
            after += [f"if {owner}.aliases is not None: touch({owner})" for owner in newer]
        if traced.left:
            arrays = [i for i, (_, is_array) in enumerate(traced.left) if is_array]
            shapes = {f"g{i}": np.shape(x) for i, x in zip(arrays, entry.program.outputs[1], strict=True)}
            values = list(shapes)
            call = f"{call}\n    result, ({''.join(f'{value}, ' for value in values)}) = result"
            for i, (thing, is_array) in enumerate(traced.left):
                value = f"g{i}" if is_array else "None"
                value = f"asarray({value})" if shapes.get(value) == () else value  # programs give numbers
                after.append(self.leaving(thing, value))
        if traced.sources:
            rest = f"{self.name(entry)}, result, {self.name(self.function)}, {self.name(Arguments)}(args, {{}})"
            after.append(f"result = {self.name(finish)}({rest})")
        elif traced.form is not None:
            after.append(f"result = {self.name(traced.form.rebuild)}(result)")
        names = "".join(f"a{i}, " for i in range(count))
        return "\n".join(
            [
                "def dispatch(args):",
                "    try:",
                f"        ({names}) = args",
                *(f"        {line}" for line in self.parts),
                f"        if not ({' and '.join(self.checks)}):",
                "            return MISS",
                "    except (AttributeError, LookupError, TypeError, ValueError):",
                "        return MISS",
                f"    result = {call}",
                *(f"    {line}" for line in after),
                "    return result",
            ]
        )

    def leaving(self, thing: Any, value: str) -> str:
        """Return the statement that leaves a gradient or a buffer."""
        if isinstance(thing, Buffer):
            return f"{self.name(thing.set)}({value})"
        leaf = thing.leaf if isinstance(thing, Gradient) else self.arguments.leaves[thing]._node
        return f"{self.name(leaf)}.grad = {value}"

    def apart(self, given: Sequence[str]) -> None:
        """Check that the arguments that the program updates share memory with no other; quickly, if none are views."""
        arrays = [expression for expression in given if not expression.startswith("a") or expression in self.arrays]
        for i in self.entry.updated:
            array = given[i]
            if array not in self.arrays:
                continue  # of a Tensor, which was looked at the first time
            others = [other for other in arrays if other != array]
            distinct = "".join(f" and {x} is not {array} is not {x}.base" for x in others)
            slowly = f"{self.name(apart)}({array}, ({''.join(f'{x}, ' for x in others)}))"
            self.checks.append(f"({array}.base is None{distinct} or {slowly})")

    def name(self, thing: Any) -> str:
        """Return a name for an object."""
        if thing is None or type(thing) is bool:
            return repr(thing)  # which is compared sooner
        name = self.known.setdefault(id(thing), f"x{len(self.known)}")
        self.names[name] = thing
        return name

    def look(self, name: str, arg: Any) -> list[str]:
        """Check an argument, or a part of one, and return an expression for each leaf."""
        kind = type(arg)
        if kind is np.ndarray:
            self.checks.append(f"type({name}) is {self.name(kind)}")
            self.checks.append(f"{name}.shape == {self.shape(name, arg)} and {name}.dtype is {self.name(arg.dtype)}")
            self.arrays.append(name)
        elif kind in NUMBERS:
            self.checks.append(f"type({name}) is {self.name(kind)}")
        elif kind in CONSTANTS:
            self.checks.append(f"type({name}) is {self.name(kind)} and {name} == {self.name(arg)}")
        elif kind is dict or kind is list or kind is tuple:
            alike = f"list({name}) == {self.name(list(arg))}" if kind is dict else f"len({name}) == {len(arg)}"
            self.checks.append(f"type({name}) is {self.name(kind)} and {alike}")
            parts = list(arg.items() if kind is dict else enumerate(arg))
            self.parts += [f"{name}_{i} = {name}[{key!r}]" for i, (key, _) in enumerate(parts)]
            return [leaf for i, (_, part) in enumerate(parts) for leaf in self.look(f"{name}_{i}", part)]
        else:
            self.checks.append(f"{name} is {self.name(arg)}")
            if isinstance(arg, Tensor):
                return [self.variable(name, arg)]
        return [name]

    def shape(self, name: str, array: Any) -> str:
        """Return the shape that an array must have, with the symbols of open lengths."""
        sizes = self.entry.sizes
        if sizes is None:
            return self.name(array.shape)
        leaf = next(i for i, x in enumerate(self.arguments.leaves) if x is array)
        parts = [str(n) for n in array.shape]
        for symbol in sizes.open:
            for i, axis in sizes.places[symbol]:
                if i == leaf:
                    parts[axis] = symbol
                    self.lengths.setdefault(symbol, f"{symbol} = {name}.shape[{axis}]")
        return f"({''.join(f'{part}, ' for part in parts)})"

    def variable(self, name: str, tensor: Tensor) -> str:
        """Check that a Tensor stands for the same array and node, and return an expression for the array."""
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
        """Check that everything around the function is as it was."""
        traced = self.entry.traced
        counted: dict[Any, list[Place]] = {}
        for place in traced.surroundings.places:
            changes = getattr(type(place.owner), "__changes__", None)
            if changes is not None:
                counted.setdefault(changes, []).append(place)
            else:
                self.checks.append(self.there(place))
        for changes, places in counted.items():  # whose classes tell whether anything was set at all
            known = Counted(changes, places)
            self.checks.append(f"({self.name(changes)}() == {self.name(known)}.count or {self.name(known)}.are_same())")
        for _, array, shape, dtype, saved in traced.surroundings.arrays:
            name = self.name(array)
            self.checks.append(f"{name}.shape == {shape} and {name}.dtype is {self.name(dtype)}")
            if saved is not None:
                self.checks.append(f"{name}.tobytes() == {self.name(saved)}")
        for thing, form in traced.depends:
            self.checks.append(f"{self.name(thing)}.__form__() == {self.name(form)}")

    def there(self, place: Place) -> str:
        """Return the expression that tells whether a place holds what it did."""
        value, owner = self.name(place.value), self.name(place.owner)
        if isinstance(place.owner, CONTAINERS) and place.key is None:
            return self.holds(owner, place)
        if type(place.owner) is dict:  # the globals of a function
            return f"{owner}.get({place.key!r}, MISSING) is {value}"
        if place.value is MISSING and place.owner is not None:
            return f"{place.key!r} not in {owner}.__dict__"
        if place.key is not None and place.key.isidentifier():
            return f"{owner}.{place.key} is {value}"
        if isinstance(place.value, tuple):
            return f"{self.name(same)}({value}, {self.name(place.read)}())"
        return f"{self.name(place.read)}() is {value}"

    def holds(self, container: str, place: Place) -> str:
        """Return the expression that tells whether a container holds the very objects that it did."""
        parts, count = place.value, len(place.owner)
        if not count:
            return f"not {container}"
        if type(place.owner) is dict and count <= SHORT and all(type(key) is str for key in parts[:count]):
            held = zip(parts[:count], parts[count:], strict=True)
            same_values = "".join(f" and {container}[{key!r}] is {self.name(part)}" for key, part in held)
            return f"[*{container}] == {self.name([*parts[:count]])}{same_values}"
        if isinstance(place.owner, Mapping):
            keys, values = self.name(parts[:count]), self.name(parts[count:])
            return (
                f"len({container}) == {count} and all(map(is_, {container}.values(), {values})) and "
                f"all(map(is_, {container}, {keys}))"
            )
        return f"len({container}) == {count} and all(map(is_, {container}, {self.name(parts)}))"

    def compiled(self) -> Callable[[tuple[Any, ...]], Any]:
        """Return the function, which returns MISS for a call that is unlike the first."""
        exec(compile(self.source, "<dispatch>", "exec"), self.names)
        function: Callable[[tuple[Any, ...]], Any] = self.names.pop("dispatch")  # not to hold itself
        return function


class Counted:
    """Places in objects whose class counts how often an attribute of any of them is set."""

    def __init__(self, changes: Callable[[], int], places: list[Place]) -> None:
        self.changes, self.places, self.count = changes, places, changes()

    def are_same(self) -> bool:
        """Look at the places, and remember the count if they are what they were."""
        count = self.changes()
        if any(place.changed() for place in self.places):
            return False
        self.count = count
        return True


def is_quick(arguments: Arguments) -> bool:
    """Return whether arguments can be checked by an expression."""
    plain = all(
        step is None or step[1] in (tuple, list) or (step[1] is dict and all(type(key) is str for key in step[2]))
        for step in arguments.form.steps
    )
    return plain and not any(isinstance(x, np.ndarray) and type(x) is not np.ndarray for x in arguments.leaves)


def dispatcher(
    function: Callable[..., Any], args: Sequence[Any], arguments: Arguments, entry: Entry
) -> Callable[[Any], Any] | None:
    """Return the quick way for calls like this one, None where there is none."""
    return Dispatcher(function, args, arguments, entry).compiled() if is_quick(arguments) else None
