"""The arguments of a compiled function: inputs of a program, and parts of it.

Owns: which leaves of the arguments are inputs of a program and which are part of it,
their names, and the signature.
Must not own: tracing (`trace.py`), or which program belongs to a signature
(`compiled.py`).
Read next: `trace.py`.

Arrays, floats and Tensors are inputs. Everything else is part of the program: numbers
and texts by type and value, objects (a Module, an optimizer, a function) by identity.
Each object has programs of its own, which know its variables as they know captured
ones.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microgradnd import refusals
from microgradnd.compiler.passes import key_of
from microgradnd.forms import parameters_of
from microgradnd.matching import plain
from microgradnd.operands import is_foreign
from microgradnd.tape import Leaf
from microgradnd.tensor import Tensor
from microgradnd.trees import flatten, is_module, paths

BY_VALUE = {bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range}


class Static:
    """An argument that is part of the program; made by `static`."""

    def __init__(self, value: Any, key: Any) -> None:
        self.value = value
        self.key = key


def static(value: Any) -> Static:
    """Make an argument of a compiled function part of the program, as a constant.

    Each value of it gets a program of its own. Floats and arrays are inputs of a
    program that must serve all their values, so the function can't look at them. Pass
    an argument that it looks at (with `if`, in a format, as a Python index) as
    `mg.static(value)`. The function receives the value.

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
        If the value isn't hashable: programs could not be told apart by it.

    See Also
    --------
    compile : compiles the function that gets the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> def norm(x, p):
    ...     return np.sum(np.abs(x)) if p == 1.0 else np.sum(np.abs(x) ** p) ** (1 / p)
    >>> f, x = mg.compile(norm), np.array([3.0, -4.0])
    >>> float(f(x, mg.static(1.0))), float(f(x, mg.static(2.0)))
    (7.0, 5.0)
    >>> f.cache_info().currsize
    2
    """
    try:
        hash(value)
    except TypeError as error:
        shape = f" of shape {value.shape}" if hasattr(value, "shape") else ""
        raise TypeError(
            f"mg.static: value must be hashable, to tell programs apart, got a {type(value).__name__}{shape}; "
            f"pass tuple(array.tolist()) for a vector, or the array itself as an input of the program"
        ) from error
    return Static(value, key_of(value))


class Arguments:
    """The arguments of one call.

    Attributes
    ----------
    leaves : list
        Everything that isn't a container. A Module is a leaf.
    inputs : list of int
        The numbers of the leaves that are inputs of the program. A Tensor that
        occurs twice is one input.
    shapes : tuple of tuple
        The shapes of the leaves that are arrays, () for others.
    compares : bool
        Whether an array that occurs twice is one input, as a Tensor is.
    signature : hashable
        Equal for calls that the same program may serve, if their shapes are also
        equal or open.
    """

    def __init__(self, args: Sequence[Any], kwargs: dict[str, Any], compares: bool = False) -> None:
        self.args, self.kwargs = args, kwargs
        containers: list[Any] = []
        self.leaves, self.form = flatten((args, kwargs) if kwargs else (args,), is_module, containers)
        self.compares = self.form.share(containers) or compares
        kinds = (Tensor, np.ndarray) if self.compares else Tensor
        first: dict[int, int] = {}
        self.first = [first.setdefault(id(x), i) if isinstance(x, kinds) else i for i, x in enumerate(self.leaves)]
        self.inputs = [i for i, x in enumerate(self.leaves) if self.first[i] == i and is_input(x)]
        self.shapes = tuple([x.shape if isinstance(x, np.ndarray) else () for x in self.leaves])
        self.signature = self.form.key(), tuple(map(signature, self.leaves)), tuple(self.first)

    def objects(self) -> list[tuple[int, Any]]:
        """Return the leaves that aren't inputs, with their numbers."""
        for array in filter(is_foreign, map(plain, self.leaves)):
            raise refusals.compiled_elsewhere(array)
        leaves = [(i, x) for i, x in enumerate(self.leaves) if not is_input(x)]
        return [(i, x.value if isinstance(x, Static) else x) for i, x in leaves]

    def rebuilt(self, instead: dict[int, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return the arguments with some leaves replaced, and static ones unwrapped."""
        leaves = [leaf.value if isinstance(leaf, Static) else leaf for leaf in self.leaves]
        args, *kwargs = self.form.rebuild([instead.get(i, leaf) for i, leaf in zip(self.first, leaves, strict=True)])
        return args, kwargs[0] if kwargs else {}

    def names(self, function: Callable[..., Any]) -> list[str]:
        """Return names for the leaves: a parameter's name, or a path inside it."""
        parameters = [p.name for p in parameters_of.__wrapped__(function)]
        if not parameters and len(self.args) == 1:  # of a function without a signature
            parameters = ["x"]
        parameters += [f"x{i}" for i in range(len(parameters), len(self.args))]
        given = [*zip(parameters, self.args, strict=False), *self.kwargs.items()]
        return [name for parameter, arg in given for name in paths(arg, parameter, is_module)]


def value_of(leaf: Any) -> Any:
    """Return the value that a program gets for a leaf."""
    value = plain(leaf)
    return value if type(value) is np.ndarray else np.asarray(value)[()]


def is_input(leaf: Any) -> bool:
    """Return whether a leaf is an input, not part of the program like an integer."""
    return isinstance(leaf, np.ndarray | np.generic | Tensor) or type(leaf) in (float, complex)


def signature(leaf: Any) -> Any:
    """Return the part of a leaf that a program depends on."""
    if isinstance(leaf, Tensor):
        hooks = leaf._node.hooks if type(leaf._node) is Leaf else None
        return Tensor, leaf._array.shape, leaf._array.dtype, leaf.requires_grad, tuple(map(id, (hooks or {}).values()))
    if isinstance(leaf, np.ndarray | np.generic):
        if leaf.dtype.kind not in "biufc" or isinstance(leaf, np.ma.MaskedArray | np.matrix):
            what = {np.ma.MaskedArray: "a masked array", np.matrix: "a matrix"}.get(type(leaf), "an array")
            what += f" of dtype {leaf.dtype}"
            raise TypeError(
                f"a compiled function got {what}, but its programs compute with plain arrays of numbers; pass one made "
                f"by np.asarray(..., dtype=float), or by .filled(0) from a masked array"
            )
        return isinstance(leaf, np.generic), leaf.ndim, leaf.dtype
    if isinstance(leaf, Static):
        return Static, leaf.key, None if is_by_value(leaf.value) else id(leaf.value)
    if is_input(leaf):
        return type(leaf)
    return (type(leaf), key_of(leaf)) if is_by_value(leaf) else (type(leaf), id(leaf))


def is_by_value(leaf: Any) -> bool:
    """Return whether an immutable leaf's value identifies it in a signature."""
    if type(leaf) in (tuple, frozenset):
        return all(map(is_by_value, leaf))
    return type(leaf) in BY_VALUE or isinstance(leaf, np.dtype | enum.Enum | type | np.generic)
