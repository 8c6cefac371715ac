"""The arguments of a compiled function: taken apart into arrays, and put together again.

Owns: which leaves of the arguments are inputs of a program and which are part of it, their names, and the signature.
Must not own: tracing (`trace.py`), or which program belongs to a signature (`__init__.py`).
Read next: `trace.py`.

Arguments are trees: tuples, lists and dicts, and objects that hold arrays. Such an object (a Module, an optimizer)
has a method `__variables__` that returns the Tensors it holds, with a function that makes an object like it of others,
and `__form__`, which returns what else a program of it depends on.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from microgradnd.tensor import Tensor
from microgradnd.transforms import flatten, plain


class Arguments:
    """The arguments of one call.

    Attributes
    ----------
    leaves : list
        Everything that isn't a container.
    inputs : list of int
        Which of the leaves are inputs of the program. A Tensor that occurs twice is one input.
    signature : hashable
        Equal for calls that the same program serves.
    """

    def __init__(self, args: Sequence[Any]) -> None:
        self.args = args
        self.leaves: list[Any] = []
        form = tuple([take_apart(arg, self.leaves) for arg in args])
        first: dict[int, int] = {}
        self.first = [first.setdefault(id(x), i) if isinstance(x, Tensor) else i for i, x in enumerate(self.leaves)]
        self.inputs = [i for i, x in enumerate(self.leaves) if self.first[i] == i and is_input(x)]
        self.signature = form, tuple(map(signature, self.leaves)), tuple(self.first)

    def arrays(self) -> list[Any]:
        """Return the values of the inputs."""
        return [plain(self.leaves[i]) for i in self.inputs]

    def rebuilt(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Return the arguments with Tensors in the place of the inputs."""
        of = dict(zip(self.inputs, tensors, strict=True))
        new = iter([of.get(first, leaf) for first, leaf in zip(self.first, self.leaves, strict=True)])
        return [put_together(arg, new) for arg in self.args]

    def names(self, function: Callable[..., Any]) -> list[str]:
        """Return names for the inputs: that of the parameter of the function, with the path inside of it."""
        try:
            parameters = [p.name for p in inspect.signature(function).parameters.values()]
        except (TypeError, ValueError):
            parameters = []
        parameters += [f"x{i}" for i in range(len(parameters), len(self.args))]
        names = [name for p, arg in zip(parameters, self.args, strict=False) for name in names_in(arg, p)]
        return [names[i] for i in self.inputs]


def take_apart(tree: Any, leaves: list[Any]) -> Any:
    """Append the leaves of a tree to a list, and return its form, something hashable."""
    if isinstance(tree, tuple | list):
        return (type(tree), *[take_apart(part, leaves) for part in tree])
    if isinstance(tree, dict):
        return (dict, *[(key, take_apart(part, leaves)) for key, part in tree.items()])
    if hasattr(tree, "__variables__"):
        leaves += tree.__variables__()[0]
        return tree.__form__()
    if hasattr(tree, "__flatten__"):
        leaves += tree.__flatten__()[0]
        return type(tree)
    leaves.append(tree)
    return None


def put_together(tree: Any, new: Iterator[Any]) -> Any:
    """Return a tree of the same form as another, of new leaves."""
    if isinstance(tree, tuple | list):
        built = [put_together(part, new) for part in tree]
        return type(tree)(*built) if hasattr(tree, "_fields") else type(tree)(built)
    if isinstance(tree, dict):
        return type(tree)((key, put_together(part, new)) for key, part in tree.items())
    if hasattr(tree, "__variables__") or hasattr(tree, "__flatten__"):
        old, rebuild = tree.__variables__() if hasattr(tree, "__variables__") else tree.__flatten__()
        return rebuild(list(itertools.islice(new, len(old))))
    return next(new)


def is_input(leaf: Any) -> bool:
    """Return whether a leaf is an input of the program; integers, texts and the like are part of it."""
    return isinstance(leaf, np.ndarray | np.generic | Tensor | float | complex)


def signature(leaf: Any) -> Any:
    """Return what of a leaf a program depends on."""
    if isinstance(leaf, Tensor):
        return leaf._data.shape, leaf._data.dtype, leaf.requires_grad
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.shape, leaf.dtype
    return type(leaf) if is_input(leaf) else (type(leaf), leaf)


def names_in(tree: Any, name: str) -> Iterator[str]:
    """Yield a name for each leaf of a tree that is called by a name."""
    if isinstance(tree, dict):
        for key, part in tree.items():
            yield from names_in(part, str(key))
    elif isinstance(tree, tuple | list):
        for i, part in enumerate(tree):
            yield from names_in(part, f"{name}_{i}")
    elif hasattr(tree, "__variables__") or hasattr(tree, "__flatten__"):
        leaves = tree.__variables__()[0] if hasattr(tree, "__variables__") else flatten(tree)[0]
        yield from (getattr(leaf, "name", None) or name for leaf in leaves)
    else:
        yield (tree.name if isinstance(tree, Tensor) and tree.name else name)
