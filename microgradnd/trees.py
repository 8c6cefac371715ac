"""Nested arguments and results of arrays: containers, modules and a user's classes.

Owns: taking them apart, comparing the forms of two, putting them together with other
leaves, and names for the leaves. Containers are tuples, lists, dicts and dataclasses.
Must not own: what a leaf may be (`operands.py`), or taking a module apart
(`nn/module.py`).
Read next: `transforms.py`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

Tree = Any  # a leaf (an array, a number, a Tensor, anything else), or a container of trees


class Kind(NamedTuple):
    """How the trees of a class are taken apart and put together.

    Attributes
    ----------
    split : callable
        Takes a tree; returns its children and `aux`, which is everything else about it.
    join : callable
        Takes a class, `aux` and children; returns a tree.
    names : callable
        Takes a tree, its own name, and the number of its children; returns a name for
        each child.
    """

    split: Callable[[Any], tuple[Sequence[Any], Any]]
    join: Callable[[Any, Any, list[Any]], Any]
    names: Callable[[Any, str, int], Sequence[str]]


class Form:
    """The form of a tree: everything about it except its leaves.

    Forms are equal if their trees have the same structure and classes, and the same
    keys in the same order, by type and value. For a module, only its class and its
    number of leaves count. A form can be hashed and compared if everything in the tree
    except the leaves can be hashed.

    Attributes
    ----------
    steps : list
        How a stack machine puts a tree together: None takes the next leaf, and `(join,
        class, aux, count)` replaces the last `count` trees with one that holds them. If
        `join` is None, that is the container that it has made as number `aux`.
    """

    __slots__ = ("_key", "steps")

    def __init__(self, steps: list[tuple[Any, type, Any, int] | None]) -> None:
        self.steps = steps
        self._key: Any = None

    def rebuild(self, leaves: Sequence[Any]) -> Tree:
        """Return a tree of this form with other leaves."""
        steps, expected = self.steps, self.steps.count(None)
        if len(leaves) != expected:
            raise ValueError(f"rebuild must be given the {expected} leaves of a tree, got {len(leaves)}")
        last = steps[-1]
        if last is None:  # the tree is a leaf
            return leaves[0]
        if len(steps) == expected + 1:  # a container of leaves
            join, cls, aux, _ = last
            return join(cls, aux, list(leaves))
        rest = iter(leaves)
        built: list[Any] = []
        made: list[Any] = []
        for step in steps:
            if step is None:
                built.append(next(rest))
            else:
                join, cls, aux, count = step
                start = len(built) - count
                made.append(made[aux] if join is None else join(cls, aux, built[start:]))
                built[start:] = made[-1:]
        return built[0]

    def share(self, containers: Sequence[Any]) -> bool:
        """Make each container of the tree once; return whether one occurs again."""
        first: dict[int, int] = {}
        places = [(i, step[3]) for i, step in enumerate(self.steps) if step is not None]
        for number, ((i, count), container) in enumerate(zip(places, containers, strict=True)):
            if (known := first.setdefault(id(container), number)) != number:
                self.steps[i] = None, object, known, count
        return len(first) < len(containers)

    def keys(self) -> list[Any]:
        """Return the keys of the dicts, in their order."""
        mappings = [step for step in self.steps if step is not None and issubclass(step[1], dict)]
        return [aux if cls is dict else aux[0] for _, cls, aux, _ in mappings]

    def key(self) -> Any:
        """Return a tuple that equals that of another form if the forms are equal."""
        if self._key is None:
            key = tuple([step and (step[1], typed(step[2]), step[3]) for step in self.steps])
            for step, part in zip(self.steps, key, strict=True):
                try:
                    hash(part)
                except TypeError as error:
                    name = step[1].__name__ if step else ""
                    raise TypeError(
                        f"the form of a {name} can't be compared with others: besides its leaves it holds something "
                        f"that can't be hashed, {step and step[2]!r:.80}; use tuples instead of lists there"
                    ) from error
            self._key = key
        return self._key

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Form) and self.key() == other.key())

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        containers = ", ".join(step[1].__name__ for step in self.steps if step)
        return f"<Form of {self.steps.count(None)} leaves in {containers or 'no container'}>"


def flatten(
    tree: Tree, is_leaf: Callable[[Any], bool] | None = None, containers: list[Any] | None = None
) -> tuple[list[Any], Form]:
    """Take a tree apart: return its leaves and its form.

    A subtree for which `is_leaf` returns true is a leaf itself. The other subtrees are
    added to `containers`.
    """
    leaves: list[Any] = []
    form = Form([])
    try:
        take_apart(tree, leaves, form.steps, is_leaf, [] if containers is None else containers)
    except RecursionError as error:
        raise RecursionError(
            "a container of arrays contains itself, or is nested too deeply; pass each array once, in fewer levels"
        ) from error
    return leaves, form


def take_apart(
    tree: Tree, leaves: list[Any], steps: list[Any], is_leaf: Callable[[Any], bool] | None, containers: list[Any]
) -> None:
    """Append leaves, the steps that put a tree together, and containers to lists."""
    cls: Any = type(tree)
    kind = kind_of(cls)
    if kind is None or (is_leaf is not None and is_leaf(tree)):
        leaves.append(tree)
        steps.append(None)
        return
    if kind is MODULE:
        own, rebuild = tree.__flatten__()
        leaves += own
        steps += [None] * len(own)
        steps.append((lambda cls, aux, children: rebuild(children), cls, None, len(own)))
    else:
        children, aux = kind.split(tree)
        for child in children:
            take_apart(child, leaves, steps, is_leaf, containers)
        steps.append((kind.join, cls, aux, len(children)))
    containers.append(tree)


def is_module(tree: Tree) -> bool:
    """Return whether a tree takes itself apart by `__flatten__`, as a module does."""
    return hasattr(type(tree), "__flatten__")


def paths(tree: Tree, name: str, is_leaf: Callable[[Any], bool] | None = None) -> list[str]:
    """Return a name for each leaf of a tree.

    It is the leaf's own name, or the innermost key, field or attribute, or `name_0` in
    a list.

    Examples
    --------
    >>> from microgradnd.trees import paths
    >>> paths({"weights": [1.0, 2.0], "bias": 3.0}, "parameters")
    ['weights_0', 'weights_1', 'bias']
    """
    found: list[str] = []
    name_leaves(tree, name, is_leaf, found)
    return found


def name_leaves(tree: Tree, name: str, is_leaf: Callable[[Any], bool] | None, found: list[str]) -> None:
    """Append the names of the leaves of a tree to a list."""
    cls: Any = type(tree)
    kind = kind_of(cls)
    if kind is None or (is_leaf is not None and is_leaf(tree)):
        own = getattr(tree, "name", None) if hasattr(cls, "__array_function__") else None
        found.append(own or name)
    else:
        children, _ = kind.split(tree)
        for child, child_name in zip(children, kind.names(tree, name, len(children)), strict=True):
            name_leaves(child, child_name, is_leaf, found)


def typed(aux: Any) -> Any:
    """Return a key for a part of a form that tells 1, 1.0 and True apart.

    NaN equals itself.
    """
    if type(aux) is str or aux is None:
        return aux
    if isinstance(aux, tuple):
        return (type(aux), *[typed(part) for part in aux])
    return type(aux), repr(aux) if isinstance(aux, float | complex | np.generic) else aux


# The kinds of trees


def attributes(tree: Any) -> dict[str, Any]:
    """Return an object's attributes, in its dict and slots; not cached properties."""
    state = object.__getstate__(tree)  # not the class's own __getstate__
    own, slots = state if isinstance(state, tuple) else (state, None)
    cls = type(tree)
    found = {**(own or {}), **(slots or {})}
    return {k: v for k, v in found.items() if not isinstance(getattr(cls, k, None), functools.cached_property)}


def with_attributes(tree: Any, items: Iterable[tuple[str, Any]]) -> Any:
    """Set attributes of a new object, even of a frozen one, and return the object."""
    for name, value in items:
        object.__setattr__(tree, name, value)
    return tree


def numbered(tree: Any, name: str, count: int) -> list[str]:
    return [f"{name}_{i}" for i in range(count)]


def split_sequence(tree: Any) -> tuple[Sequence[Any], Any]:
    return tuple(tree), tuple(attributes(tree).items())


def join_list(cls: Any, aux: Any, children: list[Any]) -> Any:
    new = cls.__new__(cls)
    list.extend(new, children)
    return with_attributes(new, aux)


def join_tuple(cls: Any, aux: Any, children: list[Any]) -> Any:
    new = tuple.__new__(cls, children)
    return with_attributes(new, aux)


def split_mapping(tree: Any) -> tuple[Sequence[Any], Any]:
    state = attributes(tree)
    if isinstance(tree, defaultdict):
        state["default_factory"] = tree.default_factory
    return tuple(tree.values()), (tuple(tree), tuple(state.items()))


def join_mapping(cls: Any, aux: Any, children: list[Any]) -> Any:
    keys, state = aux
    new = cls.__new__(cls)
    base: Any = OrderedDict if issubclass(cls, OrderedDict) else dict
    for key, child in zip(keys, children, strict=True):
        base.__setitem__(new, key, child)  # the class's own may do more
    return with_attributes(new, state)


def key_names(tree: Any, name: str, count: int) -> list[str]:
    return [str(key) for key in tree]


def split_dataclass(tree: Any) -> tuple[Sequence[Any], Any]:
    """Take a dataclass apart into its fields that are set, except `static` ones.

    The metadata of a field says `static`.
    """
    rest = attributes(tree)
    children = {}
    for field in dataclasses.fields(tree):
        if hasattr(tree, field.name) and not field.metadata.get("static"):
            children[field.name] = getattr(tree, field.name)
            rest.pop(field.name, None)
    return tuple(children.values()), (tuple(children), tuple(rest.items()))


def join_attributes(cls: Any, aux: Any, children: list[Any]) -> Any:
    names, rest = aux
    return with_attributes(cls.__new__(cls), (*zip(names, children, strict=True), *rest))


def split_namespace(tree: Any) -> tuple[Sequence[Any], Any]:
    return tuple(vars(tree).values()), (tuple(vars(tree)), ())


def parameter_names(tree: Any, name: str, count: int) -> list[str]:
    return [name] * count  # unless a parameter has its own


LIST = Kind(split_sequence, join_list, numbered)
TUPLE = Kind(split_sequence, join_tuple, numbered)
NAMEDTUPLE = Kind(split_sequence, join_tuple, lambda tree, name, count: tree._fields)
DICT = Kind(split_mapping, join_mapping, key_names)
DATACLASS = Kind(split_dataclass, join_attributes, lambda tree, name, count: split_dataclass(tree)[1][0])
NAMESPACE = Kind(split_namespace, join_attributes, lambda tree, name, count: tuple(vars(tree)))
MODULE = Kind(lambda tree: (tree.__flatten__()[0], None), lambda cls, aux, children: None, parameter_names)

# By the class itself, not its bases: subclasses of these may hold more
KINDS: dict[type, Kind] = {
    list: Kind(lambda tree: (tree, None), lambda cls, aux, children: children, numbered),
    tuple: Kind(lambda tree: (tree, None), lambda cls, aux, children: tuple(children), numbered),
    dict: Kind(
        lambda tree: (tuple(tree.values()), tuple(tree)),
        lambda cls, aux, children: dict(zip(aux, children, strict=True)),
        key_names,
    ),
}


@functools.lru_cache(maxsize=256)
def kind_of(cls: type) -> Kind | None:
    """Return how to take a class apart, or None for leaves."""
    if cls in KINDS:
        return KINDS[cls]
    if hasattr(cls, "__flatten__"):
        return MODULE
    if issubclass(cls, tuple):
        if hasattr(cls, "n_sequence_fields"):  # like os.stat_result, which only its own module can make
            return None
        return NAMEDTUPLE if hasattr(cls, "_fields") else TUPLE
    for base, kind in ((list, LIST), (dict, DICT), (SimpleNamespace, NAMESPACE)):
        if issubclass(cls, base):
            return kind
    return DATACLASS if dataclasses.is_dataclass(cls) else None


def register_tree(
    cls: type,
    flatten: Callable[[Any], tuple[Iterable[Any], Any]],
    unflatten: Callable[[Any, tuple[Any, ...]], Any],
) -> None:
    """Register a class as a tree, so that its objects are taken apart into arrays.

    This happens wherever a function takes tuples, lists and dicts. Dataclasses,
    namedtuples and modules need no registration. Subclasses need their own.

    Parameters
    ----------
    cls : type
        The class.
    flatten : callable
        Takes an object; returns `(children, aux)`. The children are an iterable of
        arrays or containers of them, to be differentiated. `aux` is everything else
        about the object, and must be hashable.
    unflatten : callable
        Takes `aux` and a tuple of children; returns an object. It mustn't check the
        children: they may be arrays, gradients, or anything else.

    Raises
    ------
    TypeError
        If `cls` isn't a class, or is a module, or if the others aren't callable.
    ValueError
        If the class is registered already.

    See Also
    --------
    grad : takes and returns trees.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> class Line:
    ...     def __init__(self, slope, unit):
    ...         self.slope, self.unit = slope, unit
    >>> split = lambda line: ((line.slope,), line.unit)
    >>> mg.register_tree(Line, split, lambda unit, slopes: Line(*slopes, unit))
    >>> line = Line(np.array([1.0, 2.0]), "m")
    >>> gradient = mg.grad(lambda line: np.sum(line.slope**2))(line)
    >>> gradient.slope, gradient.unit
    (array([2., 4.]), 'm')
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_tree: cls must be a class, got {cls!r} of type {type(cls).__name__}")
    if hasattr(cls, "__flatten__"):
        raise TypeError(f"register_tree: {cls.__name__} is a module, which needs no registration")
    for what, given in (("flatten", flatten), ("unflatten", unflatten)):
        if not callable(given):
            raise TypeError(f"register_tree: {what} must be a function, got {given!r} of type {type(given).__name__}")
    if cls in KINDS:
        raise ValueError(f"register_tree: {cls.__name__} is already registered; register a class only once")

    def split(tree: Any) -> tuple[Sequence[Any], Any]:
        parts = flatten(tree)
        if not isinstance(parts, tuple) or len(parts) != 2:
            raise TypeError(
                f"register_tree: the flatten of {cls.__name__} must return a tuple (children, aux), got {parts!r:.80}"
            )
        return tuple(parts[0]), parts[1]

    KINDS[cls] = Kind(split, lambda cls, aux, children: unflatten(aux, tuple(children)), numbered)
    kind_of.cache_clear()
