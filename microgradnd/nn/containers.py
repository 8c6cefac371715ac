"""Modules made of other modules.

Owns: `Sequential`, and the lists and dicts that register their items.
Must not own: the computations of layers.
Read next: `linear.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Self, TypeVar

from microgradnd.failures import all_explained
from microgradnd.nn.module import Module, Parameter, is_parameter
from microgradnd.tensor import Tensor

Item = TypeVar("Item", Module, Tensor)


@all_explained
class Numbered(Module, Generic[Item]):
    """The base class of `Sequential`, `ModuleList` and `ParameterList`."""

    _kind = "module"  # of the items

    def _named_items(self) -> list[tuple[str, Item]]:
        attributes = vars(self)
        return [(name, attributes[name]) for name, kind in self._kinds.items() if kind == self._kind]

    def __len__(self) -> int:
        return sum(kind == self._kind for kind in self._kinds.values())

    def __iter__(self) -> Iterator[Item]:
        return iter([item for _, item in self._named_items()])

    def __contains__(self, item: object) -> bool:
        return any(item is own for own in self)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._like(self._named_items()[index])
        return getattr(self, self._name(index))

    def __setitem__(self, index: int, item: Item) -> None:
        if isinstance(index, slice):
            raise TypeError(f"{type(self).__name__}: can't assign to a slice; assign the items one by one")
        name = self._name(index)
        setattr(self, name, self._checked(name, item))

    def __delitem__(self, index: int | slice) -> None:
        names = [name for name, _ in self._named_items()]
        for name in names[index] if isinstance(index, slice) else [self._name(index)]:
            delattr(self, name)
        self._number(self._named_items())

    def append(self, item: Item) -> Self:
        """Add an item at the end, under the next number, and return this container."""
        return self.extend([item])

    def extend(self, items: Iterable[Item]) -> Self:
        """Add items at the end, under the next numbers, and return this container."""
        if not isinstance(items, Iterable):
            raise TypeError(
                f"{type(self).__name__}: items must be a list of {self._kind}s, got {items!r}; write [...] around it"
            )
        new = [(str(i), self._checked(str(i), item)) for i, item in enumerate(items, len(self))]
        for name, item in new:
            if name in self._kinds:
                raise ValueError(
                    f"{type(self).__name__}: the name {name!r} of the new item is taken; assign the item under another "
                    f"name, as with setattr(model, name, item)"
                )
            setattr(self, name, item)
        return self

    def insert(self, index: int, item: Item) -> None:
        """Insert an item before a position; the items after it are renumbered."""
        items: list[tuple[str, Item]] = self._named_items()
        if not all(name.isdigit() for name, _ in items):
            raise ValueError(
                f"{type(self).__name__}: insert() would number items that have names; make a new {type(self).__name__} "
                f"with all the items"
            )
        items.insert(operator.index(index), ("", self._checked(str(index), item)))
        self._number(items)

    def _like(self, items: list[tuple[str, Item]]) -> Numbered[Item]:
        """Return a container of this type with some of the items."""
        return type(self)([item for _, item in items])

    def _name(self, index: int) -> str:
        """Return the name of the item at an index."""
        names = [name for name, _ in self._named_items()]
        kind = type(self).__name__
        try:
            return names[operator.index(index)]
        except TypeError:
            raise TypeError(f"{kind}: an index must be an integer or a slice, got {index!r}") from None
        except IndexError:
            raise IndexError(f"{kind}: index {index} is out of range for {len(names)} {self._kind}s") from None

    def _checked(self, name: str, item: Any) -> Item:
        """Return an item, or raise if it isn't a module."""
        return checked_module(type(self).__name__, name, item)  # type: ignore[return-value]

    def _number(self, items: list[tuple[str, Item]]) -> None:
        """Renumber the items by their positions, unless they have names."""
        if not all(name.isdigit() or not name for name, _ in items):
            return
        for name, _ in self._named_items():
            delattr(self, name)
        for new, (old, item) in enumerate(items):
            setattr(self, str(new), item)
            owned = [("", item)] if isinstance(item, Tensor) else list(item.named_parameters())
            for path, parameter in owned:
                before, end = parameter.name or "", f"{old}.{path}".rstrip(".")
                if before == end or before.endswith(f".{end}"):
                    parameter.name = f"{before.removesuffix(end)}{new}.{path}".rstrip(".")


def checked_module(container: str, name: str, item: Any) -> Module:
    """Return an item of a container, or raise if it isn't a module."""
    if not isinstance(item, Module):
        what = getattr(item, "__name__", repr(item))
        raise TypeError(
            f"{container}: item {name} must be a Module, got {what}; pass instances such as nn.ReLU(), "
            f"{'unpack a list with *, ' if container == 'Sequential' else ''}and put a function into the forward() of "
            f"a Module"
        )
    return item


class Sequential(Numbered[Module]):
    """A chain of modules: each is called with the result of the one before.

    It is a sequence: it has `len`, iteration, `model[-1]`, `model[1:]` (which shares
    the modules), `model[0] = module`, `del model[0]`, `append`, `extend` and `insert`.
    Deleting and inserting renumber the other modules.

    Parameters
    ----------
    *modules : Module
        Registered as "0", "1", ...; or a single dict, which names them.

    Raises
    ------
    TypeError
        If an item isn't a module.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> model = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 1))
    >>> model
    Sequential(
      (0): Linear(1, 64, weight=(64, 1), bias=(64,))
      (1): ReLU()
      (2): Linear(64, 1, weight=(1, 64), bias=(1,))
    )  # 193 parameters
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> model[0].weight.name, len(model)
    ('0.weight', 3)
    >>> named = nn.Sequential({"hidden": nn.Linear(2, 3), "out": nn.Linear(3, 1)})
    >>> named[-1].weight.name
    'out.weight'
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            items: list[tuple[str, Any]] = list(modules[0].items())
        else:
            items = [(str(i), module) for i, module in enumerate(modules)]
        for name, module in items:
            setattr(self, name, self._checked(name, module))

    def forward(self, x: Any) -> Tensor | Any:
        """Return the result of the last module."""
        attributes = vars(self)
        for name, kind in self._kinds.items():
            if kind == "module":
                x = attributes[name](x)
        return x

    def _like(self, items: list[tuple[str, Module]]) -> Sequential:
        return Sequential(dict(items))


class ModuleList(Numbered[Module]):
    """A list that registers its modules; it can't be called itself.

    Parameters
    ----------
    modules : iterable of Module
        Registered as "0", "1", ...

    Raises
    ------
    TypeError
        If an item isn't a module.

    See Also
    --------
    Sequential : calls them one after the other.

    Examples
    --------
    >>> from microgradnd import nn
    >>> blocks = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    >>> [name for name, _ in blocks.append(nn.Linear(2, 1)).named_parameters()][-2:]
    ['3.weight', '3.bias']
    >>> len(blocks[1:])
    3
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)


class ParameterList(Numbered[Tensor]):
    """A list that registers its parameters.

    Parameters
    ----------
    values : iterable of Tensor or array_like
        Registered as "0", "1", ...; arrays become parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.ParameterList([np.zeros(3), np.ones((2, 2))])
    ParameterList(0=(3,), 1=(2, 2))  # 7 parameters
    """

    _kind = "parameter"

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.extend(values)

    def _checked(self, name: str, item: Any) -> Tensor:
        if isinstance(item, Tensor) and not is_parameter(item):
            raise TypeError(
                f"ParameterList: item {name} must be a parameter, got a Tensor that was computed or requires no "
                f"gradient; make a parameter with nn.Parameter(t.data)"
            )
        return item if isinstance(item, Tensor) else Parameter(item)


@all_explained
class ModuleDict(Module):
    """A dict that registers its modules under their keys; it can't be called itself.

    Parameters
    ----------
    modules : mapping of str to Module, or iterable of pairs of them

    Raises
    ------
    TypeError
        If an item isn't a module, or the argument is neither a mapping nor pairs.
    ValueError
        If a key contains a dot, or is the name of an attribute of the class.

    Examples
    --------
    >>> from microgradnd import nn
    >>> heads = nn.ModuleDict({"mean": nn.Linear(2, 1), "spread": nn.Linear(2, 1)})
    >>> list(heads), heads["mean"].weight.name
    (['mean', 'spread'], 'mean.weight')
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        self.update(() if modules is None else modules)

    def __len__(self) -> int:
        return len(list(self.keys()))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __contains__(self, key: object) -> bool:
        return key in list(self.keys())

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            keys = ", ".join(map(repr, self)) or "none"
            raise KeyError(f"ModuleDict: no module is registered under {key!r}; its keys are: {keys}")
        return getattr(self, key)

    def __setitem__(self, key: str, module: Module) -> None:
        if not isinstance(key, str):
            raise TypeError(f"ModuleDict: a key must be a str, got {key!r}; pass {str(key)!r}")
        setattr(self, key, checked_module("ModuleDict", repr(key), module))

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def pop(self, key: str) -> Module:
        """Remove a module, and return it."""
        module: Module = self[key]
        delattr(self, key)
        return module

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Register the modules of a dict; they replace modules with the same keys."""
        try:
            items = dict(modules)
        except (TypeError, ValueError):
            raise TypeError(
                f"ModuleDict: modules must be a dict of modules, or a list of pairs, got {modules!r}"
            ) from None
        for key, module in items.items():
            self[key] = module

    def keys(self) -> Iterator[str]:
        """Yield the keys, in the order of registration."""
        return (key for key, _ in self.named_children())

    def values(self) -> Iterator[Module]:
        """Yield the modules."""
        return self.children()

    def items(self) -> Iterator[tuple[str, Module]]:
        """Yield the keys with their modules."""
        return self.named_children()
