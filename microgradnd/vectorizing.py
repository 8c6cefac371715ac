"""One call for a whole batch: `vmap`.

Owns: which axes of the arguments and results count the examples.
Must not own: how a NumPy function is called for a whole batch (`batching.py`,
`rules/batches.py`).
Read next: `batching.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from microgradnd import refusals
from microgradnd.batching import LEVELS, Batched, Level, batched, next_number, without
from microgradnd.matching import name_of_function
from microgradnd.trees import Tree, flatten, kind_of

Axes = Any  # an integer or None, or a tree of them that is the beginning of another tree


@contextmanager
def entered(size: int) -> Iterator[Level]:
    """Run a map over so many examples, on the level that this gives."""
    level = Level(next_number(), size)
    token = LEVELS.set((*LEVELS.get(), level))
    try:
        yield level
    finally:
        LEVELS.reset(token)


def vmap(f: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0) -> Callable[..., Any]:
    """Return a function that calls `f` for every example of a batch at once, without a
    loop.

    Inside of `f` an array has the shape of one example. NumPy's functions on it are
    called once, on the whole batch. Functions that have no such way are called for each
    example. The result is differentiated, compiled and mapped again like any other
    function.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, numbers, or tuples, lists and dicts of them. It can't
        decide by an element's value (`if x > 0`); write np.where. What it draws at
        random is drawn once, the same for all examples.
    in_axes : int, None, or a tuple with one for each positional argument
        The axis along which an argument has its examples; None for one that is the same
        for all. For an argument that is a tree (a dict, say) it may be a tree too.
        Keyword arguments have their examples along the first axis. Arguments that
        aren't arrays or numbers are passed on.
    out_axes : int, None, or a tree of them
        The axis along which each result gets its examples; None for a result that
        doesn't depend on the example.

    Returns
    -------
    callable
        Takes what `f` takes, with the additional axis; all arguments must have as many
        examples, at least one.

    Raises
    ------
    ValueError
        When called: if the axes don't fit the arguments or results, or the numbers of
        examples differ.
    TypeError
        When called: if `f` needs the value of one example.

    See Also
    --------
    defvmap : how a function of your own is called for a whole batch.
    jacobian, hessian : they walk the tape once in the same way.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> mg.vmap(np.dot)(np.ones((2, 3)), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    array([ 6., 15.])

    Gradients of a loss, one for each observation:

    >>> loss = lambda w, x: np.sum(w * x) ** 2
    >>> mg.vmap(mg.grad(loss), in_axes=(None, 0))(np.array([1.0, 1.0]), np.array([[1.0, 0.0], [1.0, 2.0]]))
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
        with entered(sizes[0][0]) as level:
            for i, (leaves, form, axes) in enumerate(parts):
                if any(axis is not None for axis in axes):  # else it is passed as it is: a module stays itself
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
    """Return the axis of each leaf of a tree, where `axes` is one for all leaves or
    branches like the tree.
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
            f"{what} must be an integer, None, or a tree of them like the {type(tree).__name__} of {len(children)} "
            f"that it is for, got {axes!r}"
        )
    for part, child in zip(parts, children, strict=True):
        spread(part, child, what, found)
    return found


def axis_of(axis: Any, x: Any, what: str) -> int | None:
    """Return an axis of an argument, which must be there; None if the argument is the
    same for all examples.
    """
    if axis is None or not (hasattr(x, "ndim") or isinstance(x, int | float | complex)):
        return None
    shape = getattr(x, "shape", ())
    if not isinstance(axis, int | np.integer) or not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"{what}: an array of shape {shape} has no axis {axis!r} for its examples; None is for an argument "
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
                f"{what} is None for a result of shape {x.shape} that depends on the example; give an axis"
            )
        return x
    array = without(x, level)
    if not isinstance(axis, int | np.integer) or not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"{what}: results of shape {array.shape[1:]} have no place for their examples at axis {axis!r}; it must be "
            f"an integer from {-array.ndim} to {array.ndim - 1}"
        )
    return np.moveaxis(array, 0, axis) if axis % array.ndim else array


def own(results: list[Any]) -> list[Any]:
    """Return results, of which those that share memory with an argument or with another
    are copied.
    """
    seen: set[int] = set()
    for i, x in enumerate(results):
        if isinstance(x, np.ndarray):
            if x.base is not None or not x.flags.writeable or id(x) in seen:
                results[i] = np.array(x)
            seen.add(id(results[i]))
    return results
