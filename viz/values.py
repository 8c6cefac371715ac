"""The numbers of an array, summarised for a picture.

Owns: `Values`, and how they are computed.
Must not own: how they are written (`labels.py`).
Read next: `graph.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from microgradnd.tensor import Tensor

Numbers = Any  # a number, or nested lists of them

SMALLEST = 1e-200  # sum of squares that has lost no digits
BLOCK = 2**18  # elements; a larger array is read in blocks, to need little memory
IN_FULL = 4  # elements; arrays of at most this size are shown element by element


@dataclass(frozen=True)
class Values:
    """The numbers of an array, summarised.

    Attributes
    ----------
    size : int
        How many there are.
    elements : number or nested list, or None
        All of them, if there are at most `IN_FULL`; a plain number for a single one.
    lowest, mean, highest : float or None
        Of the finite numbers; None if there are none, and for complex numbers, which
        have no order.
    norm : float
        The root of the sum of squared magnitudes; NaN or Inf if any number is.
    nan, inf, zeros : int
        How many are NaN, infinite, and 0.
    """

    size: int
    elements: Numbers
    lowest: float | None
    mean: float | None
    highest: float | None
    norm: float
    nan: int
    inf: int
    zeros: int = 0


def values_of(array: Any) -> Values | None:
    """Summarise an array; return None if it was freed or holds no numbers.

    Parameters
    ----------
    array : array, Tensor, number, or the placeholder of a freed array

    Returns
    -------
    Values or None

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.values import values_of
    >>> values = values_of(np.array([3.0, 4.0, np.nan, 0.0, 5.0]))
    >>> values.elements, values.lowest, values.mean, values.highest, values.nan
    (None, 0.0, 3.0, 5.0, 1)
    """
    if isinstance(array, Tensor):
        array = array.data
    if not isinstance(array, np.ndarray | np.generic | int | float | complex):
        return None
    if isinstance(array, float):  # np.float64 too
        return _of_one(float(array))
    array = np.asarray(array)
    if array.dtype.kind not in "biufc":
        return None
    if array.size == 1 and array.dtype.kind != "c":
        return _of_one(plain_number(array.reshape(-1)[0]))
    if array.size > BLOCK:
        flags = ["external_loop", "buffered"]
        return _joined([_said(block) for block in np.nditer(array, flags, buffersize=BLOCK)])  # type: ignore[arg-type]
    return _said(array)


def plain_number(number: Any) -> Any:
    """Return a NumPy scalar as a Python number; a longdouble becomes a float."""
    item = number.item()
    return item if isinstance(item, int | float | complex) else float(item)


def _of_one(value: float) -> Values:
    """Summarise a single number, without reductions."""
    if isinstance(value, float) and not math.isfinite(value):
        is_nan = math.isnan(value)
        return Values(1, value, None, None, None, abs(value), int(is_nan), int(not is_nan))
    said = float(value)
    return Values(1, value, said, said, said, abs(said), 0, 0, int(not said))


def _joined(parts: list[Values]) -> Values:
    """Combine the summaries of an array's blocks."""
    size, nan, inf, zeros = (sum(getattr(p, name) for p in parts) for name in ("size", "nan", "inf", "zeros"))
    ordered = [(p.lowest, p.mean, p.highest, p.size - p.nan - p.inf) for p in parts if p.mean is not None]
    lowest = min((low for low, *_ in ordered if low is not None), default=None)
    highest = max((high for _, _, high, _ in ordered if high is not None), default=None)
    count = sum(n for *_, n in ordered)
    mean = math.fsum(m * (n / count) for _, m, _, n in ordered if m is not None) if ordered else None
    norm = math.nan if nan else math.inf if inf else math.hypot(*(p.norm for p in parts))
    return Values(size, None, lowest, mean, highest, norm, nan, inf, zeros)


@np.errstate(all="ignore")
def _said(array: Any) -> Values:
    numbers = np.ravel(np.asarray(array, np.complex128 if array.dtype.kind == "c" else np.float64))
    elements = None
    if array.size <= IN_FULL:
        nested = array if array.dtype.itemsize <= numbers.itemsize else numbers.reshape(array.shape)
        elements = nested.item() if nested.size == 1 else nested.tolist()
    zeros = int(array.size - np.count_nonzero(array))
    total, square = np.sum(numbers), float(np.vdot(numbers, numbers).real)
    nan = inf = 0
    if np.isfinite(total) and SMALLEST < square < math.inf:  # all finite, no overflow or underflow
        finite, mean_of, norm = numbers, total / array.size, math.sqrt(square)
    else:
        bad = ~np.isfinite(numbers)
        nan = int(np.isnan(numbers).sum())
        inf = int(bad.sum()) - nan
        finite = numbers[~bad]
        largest = float(np.max(np.abs(finite), initial=0.0)) or 1.0  # divided by it, no sum overflows
        mean_of = np.mean(finite / largest) * largest if finite.size else 0.0
        norm = math.nan if nan else math.inf if inf else float(np.linalg.norm(finite / largest)) * largest
    lowest = mean = highest = None
    if finite.size and array.dtype.kind != "c":
        lowest, highest = float(finite.min()), float(finite.max())
        mean = min(max(float(mean_of), lowest), highest)
    return Values(array.size, elements, lowest, mean, highest, norm, nan, inf, zeros)


def together(arrays: Iterable[Any], only_bad: bool = False) -> Values | None:
    """Summarise several arrays as one: size, norm, and how many aren't finite.

    Parameters
    ----------
    arrays : iterable of array, or of placeholders of freed arrays
    only_bad : bool
        Return None if all are finite.

    Returns
    -------
    Values or None
        None if there is no array.

    Examples
    --------
    >>> from microgradnd.viz.values import together
    >>> together([np.ones(9), None, np.zeros(3)]).norm
    3.0
    """
    parts = [said for array in arrays if (said := values_of(array)) is not None and said.size]
    is_bad = any(part.nan or part.inf for part in parts)
    if not parts or (only_bad and not is_bad):
        return None
    return replace(_joined(parts), lowest=None, mean=None, highest=None)
