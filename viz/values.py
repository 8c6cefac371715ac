"""What a picture says of the numbers in an array.

Owns: `Values`, and how they are made.
Must not own: how they are written (`dot.py`).
Read next: `graph.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from microgradnd.tensor import Tensor

Numbers = Any  # a number, or nested lists of them

IN_FULL = 4  # arrays of up to so many elements are shown element by element


@dataclass(frozen=True)
class Values:
    """What a picture says of the numbers in an array.

    Attributes
    ----------
    size : int
        How many there are.
    elements : number or nested list, or None
        All of them, if there are at most `IN_FULL`; a plain number for a single one.
    lowest, mean, highest : float or None
        Of the finite ones; None where there are none, and for complex numbers, which have no order.
    norm : float
        The root of the sum of the squared magnitudes; NaN or Inf if one of them is.
    nan, inf, zeros : int
        How many are NaN, how many infinite, and how many 0.
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
    """Return what to say of an array's numbers; None if it isn't there any more, or doesn't hold numbers.

    Parameters
    ----------
    array : array, Tensor, number, or what is left of one

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
    array = np.asarray(array)
    if array.dtype.kind not in "biufc":
        return None
    numbers = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    bad = ~np.isfinite(numbers)
    nan = int(np.isnan(numbers).sum())
    elements = array.item() if array.size == 1 else array.tolist() if array.size <= IN_FULL else None
    finite = numbers[~bad] if bad.any() else numbers
    largest = float(np.max(np.abs(finite), initial=0.0)) or 1.0  # sums of quotients by it can't overflow
    lowest = mean = highest = None
    if finite.size and array.dtype.kind != "c":
        lowest, highest = float(finite.min()), float(finite.max())
        mean = min(max(float(np.mean(finite / largest)) * largest, lowest), highest)
    norm = float(np.linalg.norm(finite / largest)) * largest
    if bad.any():
        norm = math.nan if nan else math.inf
    return Values(
        array.size,
        elements,
        lowest,
        mean,
        highest,
        norm,
        nan,
        int(bad.sum()) - nan,
        int(array.size - np.count_nonzero(array)),
    )


def together(arrays: Iterable[Any], only_bad: bool = False) -> Values | None:
    """Return what to say of several arrays as if they were one: how many numbers, their norm, and what isn't finite.

    Parameters
    ----------
    arrays : iterable of array, or of what is left of one
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
    size, nan, inf, norm = 0, 0, 0, 0.0
    for array in arrays:
        if isinstance(array, Tensor):
            array = array.data
        if (
            array is None
            or getattr(getattr(array, "dtype", None), "kind", "") not in "fc"
            or not hasattr(array, "size")
        ):
            continue
        size += int(array.size)
        if only_bad and bool(np.isfinite(array).all()):
            continue
        said = values_of(array)
        if said is not None:
            nan, inf, norm = nan + said.nan, inf + said.inf, math.hypot(norm, said.norm)
    if size == 0 or (only_bad and not nan and not inf):
        return None
    return Values(size, None, None, None, None, norm, nan, inf)
