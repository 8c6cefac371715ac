"""`scan`: a loop as a function call.

Owns: `scan`, which carries a value from turn to turn and stacks the result of each;
which primitives are such loops.
Must not own: compiling it (`compiler/scanning.py`).
Read next: `transforms.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from microgradnd.failures import as_function, explained
from microgradnd.tape import current
from microgradnd.trees import Form, flatten

F = TypeVar("F", bound=Callable[..., Any])
LOOPS: set[Callable[..., Any]] = set()  # a compiled program shows the turns of these primitives


def loop(function: F) -> F:
    """Mark a primitive whose body is a call of `scan`."""
    LOOPS.add(function)
    return function


def shape_and_dtype(leaf: Any) -> tuple[tuple[int, ...], Any]:
    return np.shape(leaf), leaf.dtype if hasattr(leaf, "dtype") else np.result_type(leaf)


@explained
def scan(f: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | None = None) -> Any:
    """Call a function turn by turn with a carried value, and stack its other results.

    `carry, y = f(carry, x)` is called for each `x` along the first axis of `xs`. It is
    a loop, and is differentiated like one. In a compiled function it is a loop of the
    program, and if possible `f` is called only once, for all turns.

    Parameters
    ----------
    f : callable
        Takes the carried value and one element of `xs`. Returns the value to carry on,
        of the same structure, shapes and dtypes, and a result, or None.
    init : tree of arrays
        The carried value of the first turn.
    xs : tree of arrays, optional
        Arrays of the same length, shape (length, ...). Without them, `f` gets None.
    length : int, optional
        The number of turns, if there is no `xs`.

    Returns
    -------
    carry : tree of arrays
        The carried value after the last turn.
    ys : tree of arrays
        The results of all turns, shape (length, ...).

    Raises
    ------
    TypeError
        If `f` doesn't return a pair, or if the carried value changes its structure,
        shape or dtype.
    ValueError
        If the lengths of `xs` differ from each other or from `length`, or if there are
        no turns.

    See Also
    --------
    compile : makes a program of a function; loops stay loops.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> step = lambda total, x: (total + x, total * x)
    >>> mg.scan(step, 0.0, np.array([1.0, 2.0, 3.0]))
    (np.float64(6.0), array([0., 2., 9.]))
    """
    as_function(f, "scan: f")
    leaves, form = flatten(xs)
    lengths = {np.shape(x)[0] if np.shape(x) else None for x in leaves if x is not None}
    if length is not None:
        lengths.add(length)
    if len(lengths) != 1 or None in lengths:
        shapes = ", ".join(str(np.shape(x)) for x in leaves if x is not None)
        raise ValueError(
            f"scan: the arrays in xs must have the same length along the first axis, got shapes [{shapes}] and "
            f"length={length}; pass arrays of shape (length, ...), or length= without xs"
        )
    (turns,) = lengths
    turns = int(turns) if turns is not None and hasattr(turns, "__index__") else turns  # a loop has a fixed length
    if not isinstance(turns, int) or turns < 1:
        raise ValueError(f"scan: there must be at least one turn, got {turns!r}; check the first axis of xs")
    recorder: Any = current().trace
    if recorder is not None and (results := recorder.scan(f, init, leaves, form, turns)) is not None:
        return results
    carry, rows = init, list[list[Any]]()
    carried, form_of_carry = flatten(init)
    form_of_ys: Form | None = None
    for turn in range(turns):
        x = form.rebuild([None if leaf is None else leaf[turn] for leaf in leaves])
        result = f(carry, x)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"scan: f must return a pair of carry and result, got {type(result).__name__}")
        carry = result[0]
        following, new_form = flatten(carry)
        if new_form != form_of_carry:
            raise TypeError(
                f"scan: f must return a carry of the structure of the one before, {form_of_carry}, got {new_form}"
            )
        check_carry(carried, following)
        carried = following
        row, form_of_y = flatten(result[1])
        if form_of_ys is not None and form_of_y != form_of_ys:
            raise TypeError(f"scan: f must return results of the same structure, got {form_of_ys} and then {form_of_y}")
        form_of_ys = form_of_y
        rows.append(row)
    assert form_of_ys is not None
    ys = [None if column[0] is None else np.stack(column) for column in zip(*rows, strict=True)]
    return carry, form_of_ys.rebuild(ys)


def check_carry(before: list[Any], after: list[Any]) -> None:
    """Raise if a turn's carried values aren't like those before."""
    for a, b in zip(before, after, strict=True):
        if a is None or b is None or (type(a) is type(b) is np.ndarray and a.shape == b.shape and a.dtype is b.dtype):
            continue
        (shape, dtype), (new_shape, new_dtype) = shape_and_dtype(a), shape_and_dtype(b)
        is_number = not hasattr(a, "dtype") or hasattr(a, "is_weak")  # it takes the dtype of an array
        if shape != new_shape or (dtype != new_dtype and not is_number):
            raise TypeError(
                f"scan: f must return a carry of shape {shape} and dtype {dtype}, as before, got shape {new_shape} and "
                f"dtype {new_dtype}; start from an array of that shape and dtype, or cast with .astype()"
            )
