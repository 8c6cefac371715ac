"""One row for each derivative rule: its domain, and its values at kinks.

Owns: the rows, in modules that mirror `microgradnd/rules/`.
Must not own: the laws that hold for every row (`tests/test_laws.py`).
Read next: `elementwise.py`.

The functions below make the rows. Most take only the domain of each argument, from
which Hypothesis draws values, shapes that broadcast, memory layouts, and 0-d and empty
arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from microgradnd.registry import name_of
from microgradnd.testing import arrays, broadcastable_arrays, shapes


@dataclass(frozen=True)
class Domain:
    """The range of an argument's values, and the points that they avoid."""

    low: float = -3.0
    high: float = 3.0
    avoid: tuple[float, ...] = ()
    distinct: bool = False

    def options(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "avoid": self.avoid, "distinct": self.distinct}


ANY = Domain()
NONZERO = Domain(avoid=(0.0,))
POSITIVE = Domain(0.3, 3.0)
UNIT = Domain(-0.9, 0.9)
DISTINCT = Domain(distinct=True)


@dataclass(frozen=True)
class Row:
    """One way of calling a function, and a strategy for the arrays to call it with.

    Attributes
    ----------
    function : callable
        The function whose rule is checked.
    call : callable
        Takes the differentiated arrays, and calls the function.
    inputs : strategy of tuple of arrays
    name : str
    kinks : sequence of (arrays, gradients)
        Points where the derivative jumps or is infinite, and the promised gradients
        of the sum of the result.
    order : int
        The highest order of derivatives that finite differences can check.
    """

    function: Any
    call: Callable[..., Any]
    inputs: Any
    name: str
    kinks: Sequence[tuple[tuple[Any, ...], tuple[Any, ...]]] = ()
    order: int = 2


def ufunc(function: Any, *domains: Domain, kinks: Any = (), order: int = 2, complex_too: bool = False) -> list[Row]:
    """Return the rows of a ufunc: one argument per domain, in shapes that broadcast."""

    def inputs(dtype: Any) -> Any:
        options = [d.options() | {"dtype": dtype} for d in domains]
        return broadcastable_arrays(len(domains), **{key: [o[key] for o in options] for key in options[0]})

    rows = [Row(function, function, inputs(np.float64), name_of(function), kinks, order)]
    if complex_too:
        rows.append(Row(function, function, inputs(np.complex128), f"{name_of(function)}-complex", (), order))
    return rows


def case(function: Any, name: str, call: Callable[..., Any], *specs: Any, kinks: Any = (), order: int = 2) -> Row:
    """Return one row for a particular call.

    Each spec is a shape, a strategy of shapes, or (shape, domain[, dtype]).
    """
    inputs = []
    for spec in specs:
        full = isinstance(spec, tuple) and len(spec) > 1 and isinstance(spec[1], Domain)
        shape, domain, dtype = (*spec, np.float64)[:3] if full else (spec, ANY, np.float64)
        inputs.append(arrays(shape, dtype=dtype, **domain.options()))
    return Row(function, call, st.tuples(*inputs), f"{name_of(function)}-{name}", kinks, order)


def reduction(function: Any, domain: Domain = ANY, kinks: Any = (), order: int = 2, min_side: int = 0) -> list[Row]:
    """Return the rows of a reduction: over all axes, one, several; with keepdims."""
    full = (3, 2, 4)
    calls: list[tuple[str, Callable[..., Any], Any]] = [
        ("all", lambda x: function(x), shapes(max_side=3, min_side=min_side)),
        ("axis", lambda x: function(x, axis=1), full),
        ("negative-axis", lambda x: function(x, axis=-1, keepdims=True), full),
        ("axes", lambda x: function(x, axis=(0, -1)), full),
        ("keepdims", lambda x: function(x, keepdims=True), full),
        ("no-axes", lambda x: function(x, axis=()), full),
    ]
    return [
        case(function, name, call, (shape, domain), kinks=kinks if name == "all" else (), order=order)
        for name, call, shape in calls
    ]
