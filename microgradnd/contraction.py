"""Sums of products of arrays, computed as the matrix products that they are.

Owns: the subscripts of `np.einsum`, the plan that turns a contraction into a few calls
of BLAS, and the identity matrices that a product needn't multiply by.
Must not own: derivatives of products (`rules/products.py`).
Read next: `rules/products.py`.

NumPy computes `np.einsum`, and `np.dot` and `np.inner` of more than two dimensions, in
its own loops, which take ten to a hundred times as long as BLAS. All three do the same
thing: they sum products over the indices that the result doesn't have. A plan arranges
the operands as matrices, multiplies those and gives the product its axes back. A plan
depends only on shapes, so it is made once for each. Where there is no better plan,
`np.einsum` is called unchanged.

The results differ from NumPy's by rounding, because the terms are added in another
order. Contractions of fewer than `SMALL` products equal NumPy's to the last bit.
"""

from __future__ import annotations

import functools
import math
import operator
import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from microgradnd.primitives import ARRAYS
from microgradnd.registry import BODIES, Function

SMALL = 2**12  # products from which a plan is faster than NumPy's loops
LONG = 2**14  # the same for an inner product of all elements
MATRIX = 2**10  # the same per matrix of a stack, if it is a row, a column, or not contiguous
LARGE = 2**22  # elements allowed in an intermediate product that is larger than every operand
BLAS = "fdFD"  # dtypes that BLAS multiplies
LETTERS = string.ascii_uppercase + string.ascii_lowercase  # for the integers of np.einsum's other form: 26 is a

Shape = tuple[int, ...]
UNITS: dict[int, Any] = {}  # the latest identity matrices, by id()
ndarray, numpy_dot = np.ndarray, np.dot  # faster to look up than attributes


class Place(int):
    """An argument's place in a plan: first the operands, then the earlier results."""


class Call(NamedTuple):
    """One call of a plan, and the shape of its result."""

    function: Function
    args: tuple[Any, ...]
    shape: Shape


class Term(NamedTuple):
    """A value of a plan, and the index of each of its axes."""

    place: Place
    word: str
    shape: Shape

    def sizes(self, letters: str) -> Shape:
        """Return the lengths of the axes of some indices."""
        return tuple(self.shape[self.word.index(c)] for c in letters)


# Subscripts


def subscripts_of(args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """Return the subscripts of a call of np.einsum as a string, and its operands.

    In the other form of the call, lists of integers follow the operands: 0 is A, 26 is
    a, as in NumPy.
    """
    if isinstance(args[0], str):
        return args[0].replace(" ", "") if "- >" not in args[0] else args[0], args[1:]
    words = ["".join(letter(i) for i in labels) for labels in args[1::2]]
    operands = args[: len(args) // 2 * 2 : 2]
    result = "->" + "".join(letter(i) for i in args[-1]) if len(args) % 2 else ""
    return ",".join(words) + result, operands


def letter(label: Any) -> str:
    """Return the letter of an integer, or raise any error if NumPy complains."""
    if label is Ellipsis:
        return "..."
    is_label = operator.index(label) >= 0 and not isinstance(label, bool)
    return LETTERS[label if is_label else len(LETTERS)]


def explicit(subscripts: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """Return the indices of each operand and of the result, with dots spelled out."""
    left, arrow, result = subscripts.partition("->")
    words = left.split(",")
    if not arrow:  # implicit: letters that occur once, in alphabetical order
        result = "..." * ("..." in left) + "".join(c for c in sorted({*left} - {*",."}) if left.count(c) == 1)
    stacked = [n - len(w.replace("...", "")) for w, n in zip(words, ndims, strict=True)]
    dots = unused(subscripts)[: max(stacked)]
    words = [w.replace("...", dots[len(dots) - n :]) for w, n in zip(words, stacked, strict=True)]
    return words, result.replace("...", dots)


def unused(subscripts: str) -> str:
    """Return the letters that don't occur in some subscripts."""
    return "".join(c for c in string.ascii_letters if c not in subscripts)


def of_dot(x: Shape, y: Shape) -> str | None:
    """Return the subscripts of np.dot: the last axis of x with y's last but one.

    None for matrices, vectors and numbers, which NumPy passes to BLAS itself.
    """
    along = max(len(y) - 2, 0)
    if max(len(x), len(y)) < 3 or not x or not y or x[-1] != y[along]:
        return None
    return of_axes(len(x), len(y), (len(x) - 1,), (along,))


def of_inner(x: Shape, y: Shape) -> str | None:
    """Return the subscripts of np.inner, over the last axes; None as for np.dot."""
    if max(len(x), len(y)) < 3 or not x or not y or x[-1] != y[-1]:
        return None
    return of_axes(len(x), len(y), (len(x) - 1,), (len(y) - 1,))


def of_tensordot(x: Shape, y: Shape, axes: Any = 2) -> str:
    """Return the subscripts of np.tensordot."""
    of_x, of_y = summed_axes(axes, len(x), len(y))
    return of_axes(len(x), len(y), tuple(of_x), tuple(of_y))


def summed_axes(axes: Any, x_ndim: int, y_ndim: int) -> tuple[list[int], list[int]]:
    """Return the pairs of axes that np.tensordot sums over, counted from the front."""
    if isinstance(axes, int | np.integer):
        n = int(axes)
        return list(range(x_ndim - n, x_ndim)), list(range(n))
    of_x, of_y = axes
    return list(normalize_axis_tuple(of_x, x_ndim)), list(normalize_axis_tuple(of_y, y_ndim))


@functools.lru_cache(maxsize=4096)
def of_axes(n: int, m: int, of_x: tuple[int, ...], of_y: tuple[int, ...]) -> str:
    """Return the subscripts of a sum over pairs of axes of n-d and m-d arrays."""
    x, y = list(LETTERS[:n]), list(LETTERS[n : n + m])
    for i, j in zip(of_x, of_y, strict=True):
        y[j] = x[i]
    free = [c for c in x if c not in y] + [c for c in y if c not in x]
    return f"{''.join(x)},{''.join(y)}->{''.join(free)}"


# Plans


class Plan:
    """The calls that compute a contraction, collected one by one.

    Attributes
    ----------
    operands : int
        The number of operands.
    calls : list of Call
    """

    def __init__(self, operands: int) -> None:
        self.operands = operands
        self.calls: list[Call] = []

    def add(self, function: Function, args: tuple[Any, ...], word: str, shape: Shape) -> Term:
        """Add a call, and return its result."""
        self.calls.append(Call(function, args, shape))
        return Term(Place(self.operands + len(self.calls) - 1), word, shape)

    def arranged(self, x: Term, word: str, shape: Shape) -> Term:
        """Return a term with its axes in another order, then in another shape."""
        if x.word != word:
            axes = tuple(x.word.index(c) for c in word)
            args = (x.place,) if axes == (1, 0) else (x.place, axes)
            x = self.add(np.transpose, args, word, x.sizes(word))
        return x if x.shape == shape else self.add(np.reshape, (x.place, shape), word, shape)

    def matrix(self, x: Term, rows: str, columns: str, shape: Shape) -> Term:
        """Return a term as a matrix, transposed where that saves a copy or much of its
        time: a copy takes long if its last axis is short.
        """
        turned = columns + rows
        [of_rows], [of_columns] = x.sizes(rows[-1]), x.sizes(columns[-1])
        if x.word != rows + columns and (x.word == turned or of_rows > 4 * of_columns):
            x = self.arranged(x, turned, shape[::-1])
            return self.add(np.transpose, (x.place,), rows + columns, shape)
        return self.arranged(x, rows + columns, shape)

    def reduced(self, x: Term, word: str, summed: str) -> Term:
        """Return a term summed over some indices, without stray axes of length 1."""
        x = self.arranged(x, x.word, x.sizes(word))._replace(word=word)
        if not summed:
            return x
        kept = "".join(c for c in word if c not in summed)
        return self.add(np.sum, (x.place, tuple(word.index(c) for c in summed)), kept, x.sizes(kept))

    def product(self, x: Term, y: Term, result: str) -> Term | None:
        """Return the contraction of two terms as a matrix product, or None."""
        last = result[-1:]
        free = {*result} & {*y.word} - {*x.word}
        if last in x.word and last not in y.word and (free or x.word[-1] == last):
            x, y = y, x  # so that the result has its axes in order
        of_x, of_y = broadcast(x, y), broadcast(y, x)
        shared = "".join(
            c for c in (of_x if math.prod(x.shape) >= math.prod(y.shape) else of_y) if c in of_x and c in of_y
        )
        batch = "".join(c for c in result if c in shared)
        inner = "".join(c for c in shared if c not in result)
        rows, columns = ("".join(c for c in w if c not in shared and c in result) for w in (of_x, of_y))
        m, k, n = (math.prod(t.sizes(w)) for t, w in ((x, rows), (x, inner), (y, columns)))
        diagonal = len({*x.word}) < len(x.word) or len({*y.word}) < len(y.word)
        if diagonal or (k == 1 if m * n > 1 else bool(batch) or k < LONG):
            return None
        scattered = of_x[-1] in batch and of_y[-1] in batch  # NumPy loops along the stack if it is innermost
        if batch and (scattered or min(m, n) == 1) and m * k * n < MATRIX:
            return None
        x, y = (
            self.reduced(t, w, "".join(c for c in w if c not in shared + result)) for t, w in ((x, of_x), (y, of_y))
        )
        stack = x.sizes(batch)
        if batch or not (rows and inner and columns):
            left = self.arranged(x, batch + rows + inner, (*stack, *[m] * bool(rows or batch), k))
            right = self.arranged(y, batch + inner + columns, (*stack, k, *[n] * bool(columns or batch)))
        else:
            left, right = self.matrix(x, rows, inner, (m, k)), self.matrix(y, inner, columns, (k, n))
        sizes = (*stack, *x.sizes(rows), *y.sizes(columns))
        shape = left.shape[:-1] + right.shape[len(stack) + 1 :]
        out = self.add(np.matmul if batch else np.dot, (left.place, right.place), batch + rows + columns, shape)
        out = self.arranged(out, out.word, sizes)
        return self.arranged(out, result, out.sizes(result))

    def chain(self, terms: list[Term], result: str) -> None:
        """Contract three or more terms in the order that NumPy finds best."""
        arrays = [np.broadcast_to(0.0, term.shape) for term in terms]
        most = max(LARGE, *(array.size for array in arrays))
        subscripts = f"{','.join(term.word for term in terms)}->{result}"
        order = np.einsum_path(subscripts, *arrays, optimize=("greedy", most))[0][1:]
        for which in order:
            taken = [terms.pop(i) for i in sorted(which, reverse=True)][::-1]
            kept = {*result}.union(*(term.word for term in terms))
            lengths = {c: 1 for term in taken for c in term.word if c in kept}
            for term in taken:
                lengths |= {c: n for c, n in zip(term.word, term.shape, strict=True) if n != 1 and c in lengths}
            word = "".join(lengths) if terms else result
            made = self.product(taken[0], taken[1], word) if len(taken) == 2 else None
            if made is None:
                call = f"{','.join(term.word for term in taken)}->{word}"
                made = self.add(np.einsum, (call, *(t.place for t in taken)), word, tuple(lengths[c] for c in word))
            terms.append(made)


def broadcast(x: Term, y: Term) -> str:
    """Return a term's indices, except where its axis of length 1 broadcasts."""
    return "".join(c for c, n in zip(x.word, x.shape, strict=True) if n != 1 or c not in y.word or y.sizes(c) == (1,))


@functools.lru_cache(maxsize=4096)
def plan(subscripts: str, shapes: tuple[Shape, ...]) -> list[Call]:
    """Return the calls that compute a contraction.

    None where NumPy's own loops are faster, or have to raise.
    """
    left, arrow, result = subscripts.partition("->")
    if left.count(",") != len(shapes) - 1 or len(shapes) < 2 or (arrow and "..." in left and "..." not in result):
        return []
    words, result = explicit(subscripts, [len(shape) for shape in shapes])
    sizes: dict[str, int] = {}
    for word, shape in zip(words, shapes, strict=True):
        if len(word) != len(shape):
            return []
        for c, n in zip(word, shape, strict=True):
            if not (c.isascii() and c.isalpha()) or n != sizes.get(c, n) != 1 != n:
                return []
            sizes[c] = max(n, sizes.get(c, n))
    empty = any(0 in shape for shape in shapes)
    if empty or len({*result}) < len(result) or {*result} - sizes.keys() or math.prod(sizes.values()) < SMALL:
        return []
    terms = [Term(Place(i), *pair) for i, pair in enumerate(zip(words, shapes, strict=True))]
    made = Plan(len(terms))
    if len(terms) == 2:
        made.product(terms[0], terms[1], result)
    else:
        made.chain(terms, result)
    return made.calls


def run(calls: Sequence[Call], operands: Sequence[Any]) -> Any:
    """Return the result of a plan."""
    values = list(operands)
    for function, args, _ in calls:
        values.append(function(*[values[a] if type(a) is Place else a for a in args]))
    return values[-1]


# NumPy's functions


PAIRS: dict[Function, Any] = {np.dot: of_dot, np.inner: of_inner, np.tensordot: of_tensordot}


def contraction(
    function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any], kinds: Any = ARRAYS
) -> tuple[str, tuple[Any, ...]] | None:
    """Return the subscripts and operands of a call that a plan may compute, or None.

    The operands must belong to `kinds`: arrays of other libraries are left to NumPy's
    functions, which pass the call to the library.
    """
    pair = PAIRS.get(function)
    if kwargs.keys() - {"axes" if pair else "optimize"}:
        return None
    if pair is None:
        if type(kwargs.get("optimize", False)) not in (bool, str):  # the user's order of contraction
            return None
        try:
            subscripts, operands = subscripts_of(args)
        except (IndexError, TypeError):  # NumPy's error says what is wrong
            return None
    else:
        subscripts, operands = "", args[:2]
    work = 1
    for x in operands:
        if not isinstance(x, kinds) or x.dtype.char not in BLAS:
            return None
        work *= x.size
    if work < SMALL or len(operands) < 2:
        return None
    if pair is None and len({x.dtype.char for x in operands}) > 1:  # NumPy adds in the dtype of the result
        return None
    if pair is not None:
        subscripts = pair(args[0].shape, args[1].shape, *args[2:], **kwargs)
    return (subscripts, operands) if subscripts else None


def planned(function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a NumPy function, or run the plan of the call if it has one."""
    if (found := contraction(function, args, kwargs)) is not None:
        subscripts, operands = found
        if calls := plan(subscripts, tuple([x.shape for x in operands])):
            return run(calls, operands)
    return function(*args, **kwargs)


def dot(a: Any, b: Any) -> Any:
    """Return np.dot(a, b)."""
    if type(a) is type(b) is ndarray and (a.ndim > 2 or b.ndim > 2) and a.size * b.size >= SMALL:
        return planned(np.dot, (a, b), {})
    return numpy_dot(a, b)


def inner(a: Any, b: Any) -> Any:
    """Return np.inner(a, b)."""
    return planned(np.inner, (a, b), {})


def einsum(*args: Any, **kwargs: Any) -> Any:
    """Return np.einsum(*args, **kwargs)."""
    work = 1
    for x in args:
        if type(x) is ndarray:
            work *= x.size
    return np.einsum(*args, **kwargs) if work < SMALL else planned(np.einsum, args, kwargs)


BODIES.update({np.dot: dot, np.inner: inner, np.einsum: einsum})  # for the arrays of Tensors


def rows(x: Any) -> Any:
    """Return an array of vectors as one matrix, one vector per row."""
    return x if x.ndim == 2 else np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def on_rows(x: Any, matrix: Any) -> Any:
    """Return np.dot(x, matrix), with all rows of x in one matrix."""
    if x.ndim <= 2:
        return x.dot(matrix) if type(x) is type(matrix) is ndarray else np.dot(x, matrix)
    return np.reshape(np.dot(rows(x), matrix), (*x.shape[:-1], matrix.shape[1]))


@functools.cache
def identity(n: int, dtype: np.dtype[Any]) -> Any:
    """Return a read-only identity matrix, which `is_identity` recognises."""
    if len(UNITS) == 8:
        UNITS.clear()
        identity.cache_clear()
    array = np.eye(n, dtype=dtype)
    array.flags.writeable = False
    UNITS[id(array)] = array
    return array


def is_identity(x: Any) -> bool:
    """Return whether an array was made by `identity`: a product with it is no work."""
    return UNITS.get(id(x)) is x
