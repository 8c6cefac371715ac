"""Modules made of other modules.

Owns: `Sequential`.
Must not own: what a layer computes.
Read next: `linear.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

from microgradnd.nn.module import Module
from microgradnd.tensor import Tensor


class Sequential(Module):
    """Modules one after the other, each called with the result of the one before.

    A sequence of them: `len`, iteration, `model[-1]`, `model[1:]` (which shares the modules), `model[0] = module` and
    `del model[0]`, after which the others are numbered anew.

    Parameters
    ----------
    *modules : Module
        Registered as "0", "1", ...; or a single dict, which names them.

    Raises
    ------
    TypeError
        If one isn't a module.

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
    >>> nn.Sequential({"hidden": nn.Linear(2, 3), "out": nn.Linear(3, 1)})[-1].weight.name
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

    def __len__(self) -> int:
        return sum(kind == "module" for kind in self._kinds.values())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self.named_children())[index]))
        return getattr(self, self._name(index))

    def __setitem__(self, index: int, module: Module) -> None:
        if isinstance(index, slice):
            raise TypeError("Sequential: a slice can't be assigned to; assign the modules one by one")
        name = self._name(index)
        setattr(self, name, self._checked(name, module))

    def __delitem__(self, index: int | slice) -> None:
        names = [name for name, _ in self.named_children()]
        for name in names[index] if isinstance(index, slice) else [self._name(index)]:
            delattr(self, name)
        self._number()

    def _name(self, index: int) -> str:
        """Return the name of the module at a place."""
        names = [name for name, _ in self.named_children()]
        try:
            return names[operator.index(index)]
        except TypeError:
            raise TypeError(f"Sequential: an index must be an integer or a slice, got {index!r}") from None
        except IndexError:
            raise IndexError(f"Sequential: index {index} is out of range for {len(names)} modules") from None

    def _checked(self, name: str, module: Any) -> Module:
        """Return a module, or raise if it isn't one."""
        if not isinstance(module, Module):
            what = getattr(module, "__name__", repr(module))
            raise TypeError(
                f"Sequential: item {name} is {what}, not a Module; pass instances such as nn.ReLU(), unpack a list "
                f"with *, and put a function into the forward() of a Module"
            )
        return module

    def _number(self) -> None:
        """Close the gaps in the numbers of the modules, which then say their places again; names stay."""
        children = list(self.named_children())
        if not all(name.isdigit() for name, _ in children):
            return
        for name, _ in children:
            delattr(self, name)
        for new, (old, module) in enumerate(children):
            setattr(self, str(new), module)
            for path, parameter in module.named_parameters():
                before = parameter.name or ""
                end = f"{old}.{path}"
                if before == end or before.endswith(f".{end}"):
                    parameter.name = f"{before.removesuffix(end)}{new}.{path}"
