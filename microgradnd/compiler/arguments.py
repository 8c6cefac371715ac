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

from microgradnd.compiler.passes import key_of
from microgradnd.tensor import Tensor
from microgradnd.transforms import plain
from microgradnd.trees import flatten


class Static:
    """An argument that is part of the program; made by `static`."""

    def __init__(self, value: Any, key: Any) -> None:
        self.value = value
        self.key = key


def static(value: Any) -> Static:
    """Mark an argument of a compiled function as a part of the program, which is written anew for each value of it.

    Floats and arrays are inputs of a program, which must serve all values of them: the function can't look at them. An
    argument that it looks at (with `if`, in a format, as a Python index) is given as `mg.static(value)`. The function
    receives the value.

    Parameters
    ----------
    value : hashable
        A number, a string, a tuple of such.

    Returns
    -------
    Static
        For a function made by `mg.compile`.

    Raises
    ------
    TypeError
        If the value isn't hashable: two programs could not be told apart by it.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> f = mg.compile(lambda x, p: np.sum(np.abs(x)) if p == 1.0 else np.sum(np.abs(x) ** p) ** (1 / p))
    >>> float(f(np.array([3.0, -4.0]), mg.static(1.0))), float(f(np.array([3.0, -4.0]), mg.static(2.0)))
    (7.0, 5.0)
    >>> f.cache_info().currsize
    2
    """
    try:
        hash(value)
    except TypeError as error:
        shape = f" of shape {value.shape}" if hasattr(value, "shape") else ""
        raise TypeError(
            f"mg.static needs something hashable, which tells programs apart, got a {type(value).__name__}{shape}; "
            f"pass tuple(array.tolist()) for a vector, or the array itself as an input of the program"
        ) from error
    return Static(value, key_of(value))


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
    numbers : dict of type to type
        What Python's numbers are made to: of the precision of all the arrays, where these have one and the same, as
        NumPy makes them beside an array.
    """

    def __init__(self, args: Sequence[Any]) -> None:
        self.args = args
        self.leaves: list[Any] = []
        form = tuple([take_apart(arg, self.leaves) for arg in args])
        first: dict[int, int] = {}
        self.first = [first.setdefault(id(x), i) if isinstance(x, Tensor) else i for i, x in enumerate(self.leaves)]
        self.inputs = [i for i, x in enumerate(self.leaves) if self.first[i] == i and is_input(x)]
        self.signature = form, tuple(map(signature, self.leaves)), tuple(self.first)
        for leaf, part in zip(self.leaves, self.signature[1], strict=True):
            try:
                hash(part)
            except TypeError as error:
                raise TypeError(
                    f"a compiled function got a {type(leaf).__name__}, which can't be hashed, so that no program can "
                    f"be found for it; pass arrays, numbers, strings, or tuples, lists and dicts of them"
                ) from error

        kinds = {x.dtype.type for x in map(plain, self.leaves) if isinstance(x, np.ndarray) and x.dtype.kind in "fc"}
        single = kinds and kinds <= {np.float32, np.complex64}
        self.numbers: dict[type, Any] = {float: np.float32, complex: np.complex64} if single else {}

    def arrays(self) -> list[Any]:
        """Return the values of the inputs."""
        found = [plain(self.number(self.leaves[i])) for i in self.inputs]
        return [np.asarray(x) if isinstance(x, np.ndarray) and type(x) is not np.ndarray else x for x in found]

    def number(self, leaf: Any) -> Any:
        """Return a leaf, a number of Python in the precision of the arrays."""
        return self.numbers[type(leaf)](leaf) if type(leaf) in self.numbers else leaf

    def parts_of_the_program(self) -> list[Any]:
        """Return what isn't an input: objects, which may hold anything."""
        inputs = set(self.inputs)
        leaves = [leaf for i, leaf in zip(self.first, self.leaves, strict=True) if i not in inputs]
        return [*leaves, *(arg for arg in self.args if hasattr(arg, "__form__"))]

    def rebuilt(self, tensors: Sequence[Any] | None = None) -> list[Any]:
        """Return the arguments with Tensors in the place of the inputs, and static ones as the function knows them."""
        of = {} if tensors is None else dict(zip(self.inputs, tensors, strict=True))
        leaves = [leaf.value if isinstance(leaf, Static) else leaf for leaf in self.leaves]
        new = iter([of.get(first, leaf) for first, leaf in zip(self.first, leaves, strict=True)])
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
        return leaf._array.shape, leaf._array.dtype, leaf.requires_grad
    if isinstance(leaf, np.ndarray | np.generic):
        if leaf.dtype.kind not in "biufc" or isinstance(leaf, np.ma.MaskedArray):
            what = "a masked array" if isinstance(leaf, np.ma.MaskedArray) else f"an array of dtype {leaf.dtype}"
            raise TypeError(
                f"a compiled function got {what}, but its programs compute with plain arrays of numbers; pass one made "
                f"by np.asarray(..., dtype=float), or for a masked array by .filled(0)"
            )
        return leaf.shape, leaf.dtype
    if isinstance(leaf, Static):
        return Static, leaf.key
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
