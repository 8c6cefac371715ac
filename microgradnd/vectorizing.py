"""One call for a whole batch: `vmap`.

Owns: which axes of the arguments and results count the examples.
Must not own: calling a NumPy function for a whole batch (`batching.py`,
`rules/batches.py`).
Read next: `batching.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from microgradnd import refusals
from microgradnd.batching import LEVELS, Batched, Level, batched, bound, next_number, without
from microgradnd.matching import name_of_function
from microgradnd.trees import Tree, flatten, kind_of

Axes = Any  # an integer or None, or a tree of them: the upper part of another tree


def entered(size: int) -> AbstractContextManager[tuple[Level, ...]]:
    """Return a context that runs a map over `size` examples, and yields all levels.

    The last is the level of this map.
    """
    return bound(LEVELS, (*LEVELS.get(), Level(next_number(), size)))


def vmap(f: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0) -> Callable[..., Any]:
    """Return a function that calls `f` once for all examples of a batch.

    Inside `f`, an array has the shape of one example. NumPy's functions on it are
    called once, on the whole batch; the few that can't be are called for each example.
    You can differentiate, compile and map the result like any other function.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them. It can't
        branch on an element's value (`if x > 0`); write np.where. A random number that
        it draws is the same for all examples.
    in_axes : int, None, or a tuple with one for each positional argument
        The axis of the examples in an argument; None for an argument that is the same
        for all examples. For an argument that is a tree (a dict, say), it may be a tree
        too. Keyword arguments have their examples along the first axis. Arguments that
        aren't arrays or numbers are passed on.
    out_axes : int, None, or a tree of them
        The axis of the examples in each result; None for a result that doesn't depend
        on the example.

    Returns
    -------
    callable
        Takes what `f` takes, with the additional axis. All arguments must have the same
        number of examples, at least one.

    Raises
    ------
    ValueError
        When called: if the axes don't fit the arguments or results, or the numbers of
        examples differ.
    TypeError
        When called: if `f` needs the value of one example.

    See Also
    --------
    defvmap : calls a function of your own for a whole batch.
    jacobian, hessian : walk the tape once in the same way.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.vmap(np.dot)(np.ones((2, 3)), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    array([ 6., 15.])

    Gradients of a loss, one for each observation:

    >>> loss = lambda w, x: np.sum(w * x) ** 2
    >>> w, examples = np.array([1.0, 1.0]), np.array([[1.0, 0.0], [1.0, 2.0]])
    >>> mg.vmap(mg.grad(loss), in_axes=(None, 0))(w, examples)
    array([[ 2.,  0.],
           [ 6., 12.]])
    """
    if not callable(f):
        raise TypeError(f"vmap: f must be a function, got {type(f).__name__}; pass vmap(f), not vmap(f(x))")

    @functools.wraps(f, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def mapped(*args: Any, **kwargs: Any) -> Any:
        name = name_of_function(f)
        if isinstance(in_axes, list | tuple) and len(in_axes) != len(args):
            raise ValueError(
                f"vmap({name}): in_axes must have one entry for each of the {len(args)} positional arguments, got "
                f"{in_axes!r}"
            )
        where = f"vmap({name}): in_axes"
        first = in_axes if isinstance(in_axes, list | tuple) else (in_axes,) * len(args)
        trees, parts = [*args, *kwargs.values()], []
        for tree, axis in zip(trees, (*first, *(0,) * len(kwargs)), strict=True):
            leaves, form = flatten(tree)
            axes = [axis_of(a, x, where) for a, x in zip(spread(axis, tree, where, []), leaves, strict=True)]
            parts.append((leaves, form, axes))
        sizes = [
            (x.shape[a], x.shape, a) for xs, _, axes in parts for x, a in zip(xs, axes, strict=True) if a is not None
        ]
        if len({size for size, _, _ in sizes}) != 1 or not sizes[0][0]:
            raise refusals.batch_sizes(name, sizes)
        with entered(sizes[0][0]) as (*_, level):
            for i, (leaves, form, axes) in enumerate(parts):
                if any(axis is not None for axis in axes):  # otherwise it is passed on: a module stays itself
                    pairs = zip(leaves, axes, strict=True)
                    trees[i] = form.rebuild(
                        [x if a is None else batched(np.moveaxis(x, a, 0), level.number) for x, a in pairs]
                    )
            result = f(*trees[: len(args)], **dict(zip(kwargs, trees[len(args) :], strict=True)))
        results, form = flatten(result)
        axes = spread(out_axes, result, f"vmap({name}): out_axes", [])
        pairs = zip(results, axes, strict=True)
        return form.rebuild(own([put_back(x, axis, level, f"vmap({name}): out_axes") for x, axis in pairs]))

    return mapped


def spread(axes: Axes, tree: Tree, what: str, found: list[Any]) -> list[Any]:
    """Return the axis of each leaf of a tree.

    `axes` is one axis for all leaves, or a tree of axes like the upper part of the
    tree.
    """
    cls: Any = type(tree)
    kind = kind_of(cls)
    if axes is None or isinstance(axes, int | np.integer) or kind is None:
        found += [axes] * len(flatten(tree)[0])
        return found
    children, parts = kind.split(tree)[0], axes
    if isinstance(axes, dict) and isinstance(tree, dict) and axes.keys() == tree.keys():
        parts = [axes[key] for key in tree]
    elif isinstance(axes, dict) or not isinstance(axes, tuple | list) or len(axes) != len(children):
        raise ValueError(
            f"{what} must be an integer, None, or a tree of them like its {type(tree).__name__} of {len(children)}, "
            f"got {axes!r}"
        )
    for part, child in zip(parts, children, strict=True):
        spread(part, child, what, found)
    return found


def axis_of(axis: Any, x: Any, what: str) -> int | None:
    """Return an existing axis of an argument, or None if it is for all examples."""
    if axis is None or not (hasattr(x, "ndim") or isinstance(x, int | float | complex)):
        return None
    shape = getattr(x, "shape", ())
    if not isinstance(axis, int | np.integer) or not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"{what}: an array of shape {shape} has no axis {axis!r} for its examples; pass None for an argument "
            f"that is the same for all examples"
        )
    return int(axis)


def depends(x: Any, level: Level) -> bool:
    """Return whether a value belongs to a map."""
    return type(x) is Batched and (x.level == level.number or depends(x._batch, level))


def put_back(x: Any, axis: Any, level: Level, what: str) -> Any:
    """Return a result of a mapped function with its examples along an axis."""
    if not (hasattr(x, "ndim") or isinstance(x, int | float | complex)):
        return x
    if axis is None:
        if depends(x, level):
            raise ValueError(
                f"{what} must name an axis for a result of shape {x.shape} that depends on the example, got None"
            )
        return x
    array = without(x, level)
    if not isinstance(axis, int | np.integer) or not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"{what}: results of shape {array.shape[1:]} can't have their examples along axis {axis!r}; it must be an "
            f"integer from {-array.ndim} to {array.ndim - 1}"
        )
    return np.moveaxis(array, 0, axis) if axis % array.ndim else array


def own(results: list[Any]) -> list[Any]:
    """Return results, with copies of those that share memory."""
    seen: set[int] = set()
    for i, x in enumerate(results):
        if isinstance(x, np.ndarray):
            if x.base is not None or not x.flags.writeable or id(x) in seen:
                results[i] = np.array(x)
            seen.add(id(results[i]))
    return results
