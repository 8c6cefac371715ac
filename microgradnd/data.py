"""Data for training: batches, parts, and features on one scale.

Owns: `batches`, `split`, `standardise`, and reading as little as possible of a
memory-mapped array.
Must not own: the training itself (`nn/fit.py`).
Read next: `nn/fit.py`.

A memory-mapped array (`np.load(path, mmap_mode="r")`, `np.memmap`) may be larger than
memory: only the rows of a batch are read, and shuffling permutes only the row numbers.
Batches are copies in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from microgradnd.anew import Rng, generator
from microgradnd.failures import explained
from microgradnd.operands import check_kind, operand
from microgradnd.settings import count, switch

BLOCK = 2**24  # bytes that standardise reads at a time


class Rows:
    """Some rows of a memory-mapped array, in some order, read when you index them.

    Attributes
    ----------
    array : array, shape (n, ...)
    index : array of int, shape (m,)
        The numbers of the rows.
    """

    def __init__(self, array: Any, index: npt.NDArray[Any]) -> None:
        self.array, self.index = array, index
        self.shape, self.ndim, self.dtype = (len(index), *array.shape[1:]), array.ndim, array.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any) -> Any:
        return np.asarray(self.array[self.index[rows]])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)

    def __repr__(self) -> str:
        return f"<{len(self)} of the {len(self.array)} rows of a memory-mapped array of shape {self.array.shape}>"


def columns(taker: str, arrays: Sequence[Any]) -> list[Any]:
    """Return arrays that have the same number of rows, at least one, or raise."""
    if not arrays:
        raise TypeError(f"{taker} must be given at least one array, got none; pass inputs and targets")
    found = []
    for value in arrays:
        if isinstance(value, np.memmap | Rows):
            check_kind(taker, value)
        else:
            value = operand(taker, value)
        if not np.ndim(value):
            raise ValueError(f"{taker}: arrays must have rows along their first axis, got the number {value!r:.40}")
        found.append(value)
    shapes = ", ".join(str(tuple(value.shape)) for value in found)
    if len({len(value) for value in found}) > 1:
        raise ValueError(f"{taker}: all arrays must have the same number of rows, got shapes {shapes}")
    if not len(found[0]):
        raise ValueError(
            f"{taker}: arrays must have at least one row, got shapes {shapes}; check how the rows are selected"
        )
    return found


@explained
def batches(
    *arrays: Any, size: int, shuffle: bool = False, rng: Rng = None, drop_last: bool = False
) -> Iterator[tuple[Any, ...]]:
    """Iterate once over the rows of arrays, in batches of `size` rows.

    Parameters
    ----------
    *arrays : array_like, each of shape (n, ...)
        Inputs and targets, for example. Memory-mapped arrays are read batch by batch.
    size : int
        The number of rows in a batch, at least 1.
    shuffle : bool
        Whether to take the rows in random order, a new order in each call. The order
        takes 8 bytes a row.
    rng : numpy.random.Generator, optional
        The generator for shuffling; by default one with fresh entropy.
    drop_last : bool
        Whether to leave out a last batch of less than `size` rows. A compiled function
        has one program for each shape of its arguments, so `drop_last=True` saves a
        second one.

    Returns
    -------
    iterator of tuple
        Each tuple holds the same rows of all arrays: views without shuffling, otherwise
        copies.

    Raises
    ------
    ValueError
        If the arrays differ in their numbers of rows, or have none; if `size` isn't
        positive; if no batch is left.
    TypeError
        If an array holds no numbers.

    See Also
    --------
    split : for validation.
    microgradnd.nn.fit : a whole training loop.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import data
    >>> x, y = np.arange(5.0), np.arange(5) % 2
    >>> for inputs, labels in data.batches(x, y, size=2):
    ...     print(inputs, labels)
    [0. 1.] [0 1]
    [2. 3.] [0 1]
    [4.] [0]
    >>> rng = np.random.default_rng(0)
    >>> shuffled = data.batches(x, size=2, shuffle=True, rng=rng, drop_last=True)
    >>> [inputs for (inputs,) in shuffled]
    [array([2., 4.]), array([3., 0.])]
    """
    found = columns("batches", arrays)
    shuffle, drop_last = switch("batches: shuffle", shuffle), switch("batches: drop_last", drop_last)
    size, n = count("batches: size", size), len(found[0])
    if drop_last and n < size:
        raise ValueError(f"batches: drop_last=True leaves no batch of {size} of {n} rows; choose a size of at most {n}")
    order = generator(rng).permutation(n) if shuffle else None
    starts = range(0, n - size + 1 if drop_last else n, size)
    places = (slice(start, min(start + size, n)) for start in starts)
    return (tuple([read(array, place, order) for array in found]) for place in places)


def read(array: Any, place: slice, order: npt.NDArray[Any] | None) -> Any:
    """Return some rows as arrays in memory."""
    part = array[place if order is None else order[place]]
    if isinstance(part, np.memmap):
        return np.array(part) if order is None else np.asarray(part)
    return part


@explained
def split(*arrays: Any, sizes: Sequence[float], shuffle: bool = True, rng: Rng = None) -> list[tuple[Any, ...]]:
    """Divide the rows of arrays into parts, such as training and validation data.

    Parameters
    ----------
    *arrays : array_like, each of shape (n, ...)
    sizes : sequence of float or int
        The parts: fractions with the sum 1, or numbers of rows with the sum n.
    shuffle : bool
        Whether the parts are drawn at random; otherwise each part is a view of
        consecutive rows.
    rng : numpy.random.Generator, optional
        The generator for drawing; by default one with fresh entropy.

    Returns
    -------
    list of tuple
        For each part, its rows of all arrays. A memory-mapped array isn't read: a
        shuffled part of it is an object that reads rows when you index it, as `batches`
        and `nn.fit` do.

    Raises
    ------
    ValueError
        If the sizes don't add up, or leave a part without rows; if the arrays differ in
        their numbers of rows.
    TypeError
        If `sizes` isn't a sequence of numbers, or an array holds no numbers.

    See Also
    --------
    batches : iterates over a part.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import data
    >>> x, y = np.arange(5.0), np.arange(5) % 2
    >>> rng = np.random.default_rng(0)
    >>> training, validation = data.split(x, y, sizes=(0.8, 0.2), rng=rng)
    >>> training
    (array([2., 4., 3., 0.]), array([0, 0, 1, 0]))
    >>> data.split(x, sizes=(3, 2), shuffle=False)
    [(array([0., 1., 2.]),), (array([3., 4.]),)]
    """
    found = columns("split", arrays)
    n = len(found[0])
    parts = np.asarray(sizes)
    if isinstance(sizes, str) or parts.ndim != 1 or not parts.size or parts.dtype.kind not in "iuf":
        raise TypeError(f"split: sizes must be fractions such as (0.8, 0.2), or numbers of rows, got {sizes!r:.80}")
    ends = np.cumsum(sizes)
    if parts.dtype.kind == "f" and abs(ends[-1] - 1) < 1e-9:
        ends = np.rint(ends * n).astype(int)
    counts = np.diff(ends, prepend=0)
    if ends[-1] != n or np.any(counts < 1):
        raise ValueError(
            f"split: sizes must be fractions with the sum 1, or numbers of rows with the sum {n}, and leave each part "
            f"at least one row; got {tuple(sizes)}"
        )
    order = generator(rng).permutation(n) if switch("split: shuffle", shuffle) else None
    places = [slice(int(end - count), int(end)) for end, count in zip(ends, counts, strict=True)]
    return [tuple([part(array, place, order) for array in found]) for place in places]


def part(array: Any, place: slice, order: npt.NDArray[Any] | None) -> Any:
    """Return some rows; rows of a memory-mapped array are read later."""
    if order is None and not isinstance(array, Rows):
        return array[place]
    rows = np.arange(place.start, place.stop) if order is None else order[place]
    if isinstance(array, Rows):
        return Rows(array.array, array.index[rows])
    return Rows(array, rows) if isinstance(array, np.memmap) else array[rows]


class Scale(NamedTuple):
    """A change of scale and its inverse: the result of `standardise`.

    Attributes
    ----------
    mean, std : array
        Subtracted first, and then the divisor.
    """

    mean: Any
    std: Any

    def __call__(self, x: Any) -> Any:
        """Return (x - mean) / std, for an array or a Tensor."""
        return (x - self.mean) / self.std

    def inverse(self, x: Any) -> Any:
        """Return x * std + mean."""
        return x * self.std + self.mean


@explained
def standardise(x: Any) -> Scale:
    """Return the scaling that gives features mean 0 and standard deviation 1.

    Measure it on the training data, then apply it to all data; otherwise the model
    learns from the validation data.

    Parameters
    ----------
    x : array_like, shape (n, ...)
        It may be a memory-mapped array; then it is read twice, block by block.

    Returns
    -------
    Scale
        A function: `scale(x)` is (x - mean) / std, and `scale.inverse` undoes it. `std`
        is the standard deviation over n, or 1 for a constant feature. Both have the
        dtype of x if that is floating-point, otherwise float64.

    Raises
    ------
    ValueError
        If x holds NaN, infinities or complex numbers.
    TypeError
        If x holds no numbers.

    See Also
    --------
    batches : takes the scaled data.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import data
    >>> x = np.array([[1.0, 10.0], [3.0, 10.0]])
    >>> scale = data.standardise(x)
    >>> scale(x)
    array([[-1.,  0.],
           [ 1.,  0.]])
    >>> scale.inverse(np.zeros(2))
    array([ 2., 10.])
    """
    (x,) = columns("standardise", [x])
    step = max(1, BLOCK * len(x) // max(1, x.dtype.itemsize * math.prod(x.shape)))
    blocks = [slice(start, start + step) for start in range(0, len(x), step)]
    if x.dtype.kind == "c":
        raise ValueError(f"standardise: x must be real numbers, got {x.dtype}; pass np.abs(x), or both parts")
    with np.errstate(over="ignore", invalid="ignore"):  # reported below
        mean = sum(np.sum(x[rows], axis=0, dtype=np.float64) for rows in blocks) / len(x)
        std = np.sqrt(sum(np.sum(np.square(x[rows] - mean), axis=0) for rows in blocks) / len(x))
    if not np.all(np.isfinite(std)):
        raise ValueError(
            f"standardise: x must be finite, and {np.sum(~np.isfinite(std))} of its {np.size(std)} features hold NaN, "
            f"infinities or numbers whose squares overflow; leave out rows, such as x[np.isfinite(x).all(axis=1)]"
        )
    std = np.where(
        std <= len(x) * np.finfo(np.float64).eps * np.abs(mean), 1.0, std
    )  # for a constant feature, up to rounding
    dtype = x.dtype if x.dtype.kind == "f" else np.float64
    return Scale(np.asarray(mean, dtype), np.asarray(std, dtype))
