"""One call for a whole batch: `vmap`.

Owns: which axes of the arguments and results count the examples.
Must not own: calling a NumPy function for a whole batch (`batching.py`,
`rules/batches.py`).
Read next: `batching.py`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from microgradnd import refusals
from microgradnd.batching import Batched, Level, batched, next_number, running, without
from microgradnd.failures import as_function
from microgradnd.matching import name_of_function, plain
from microgradnd.trees import Tree, flatten

Axes = Any  # an integer or None, or a tree of them: the upper part of another tree


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

    @functools.wraps(as_function(f, "vmap: f"), assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def mapped(*args: Any, **kwargs: Any) -> Any:
        where = f"vmap({name_of_function(f)})"
        number, sizes = next_number(), []

        def enter(x: Any, axis: Any) -> Any:
            if axis is None or not is_numeric(x):
                return x
            shape = getattr(x, "shape", ())
            if not is_axis(axis, len(shape)):
                raise refusals.no_batch_axis(where, shape, axis)
            sizes.append((shape[axis], shape, int(axis)))
            return batched(np.moveaxis(x, axis, 0), number)

        axes = in_axes if isinstance(in_axes, list | tuple) else (in_axes,) * len(args)
        if len(axes) != len(args):
            raise refusals.count_of_axes(where, len(args), axes)
        args = tuple([on_leaves(enter, x, axis, f"{where}: in_axes") for x, axis in zip(args, axes, strict=True)])
        kwargs = {key: on_leaves(enter, x, 0, f"{where}: in_axes") for key, x in kwargs.items()}
        if len({size for size, _, _ in sizes}) != 1 or not sizes[0][0]:
            raise refusals.batch_sizes(where, sizes)
        level = Level(number, sizes[0][0])
        with running(level):
            result = f(*args, **kwargs)
        seen: set[int] = set()

        def leave(x: Any, axis: Any) -> Any:
            if axis is not None and is_numeric(x):
                x = without(x, level)
                if not is_axis(axis, x.ndim):
                    raise refusals.no_result_axis(where, x.shape, axis)
                x = np.moveaxis(x, 0, axis) if axis % x.ndim else x
            elif depends(x, level):
                raise refusals.shared_result(where, x.shape)
            if isinstance(x, np.ndarray):
                if x.base is not None or not x.flags.writeable or id(x) in seen:
                    x = np.array(x)  # results share no memory
                seen.add(id(x))
            return x.owned(plain(x)) if hasattr(type(x), "owned") else x  # in a trace

        return on_leaves(leave, result, out_axes, f"{where}: out_axes")

    return mapped


def is_numeric(x: Any) -> bool:
    """Return whether a leaf is an array or a number, which may have examples."""
    return hasattr(x, "ndim") or isinstance(x, int | float | complex)


def is_axis(axis: Any, ndim: int) -> bool:
    """Return whether an array of `ndim` axes has this one."""
    return isinstance(axis, int | np.integer) and int(axis) in range(-ndim, ndim)


def on_leaves(function: Callable[[Any, Any], Any], tree: Tree, axes: Axes, what: str) -> Tree:
    """Return a tree with `function(leaf, axis)` of each leaf; itself if none changes.

    `axes` is one axis for all leaves, or a tree of axes like the upper part of the
    tree.
    """
    is_one = axes is None or isinstance(axes, int | np.integer)
    leaves, form = flatten(tree, None if is_one else lambda part: part is not tree)
    if is_one or form.steps == [None]:  # the tree is a leaf
        new = [function(x, axes) for x in leaves]
    else:
        is_alike = isinstance(axes, dict) and isinstance(tree, dict) and axes.keys() == tree.keys()
        parts = [axes[key] for key in tree] if is_alike else axes
        if not isinstance(parts, tuple | list) or len(parts) != len(leaves):
            like = f"an integer, None, or a tree of them like its {type(tree).__name__} of {len(leaves)}"
            raise refusals.batch_axes(what, like, axes)
        new = [on_leaves(function, x, part, what) for x, part in zip(leaves, parts, strict=True)]
    return tree if all(map(operator.is_, new, leaves)) else form.rebuild(new)


def depends(x: Any, level: Level) -> bool:
    """Return whether a value belongs to a map."""
    return type(x) is Batched and (x.level == level.number or depends(x._batch, level))
