"""Open lengths: what a traced function does with them, and what depends on them.

Owns: `Size`, a length as traced code sees it; `Sizes`, the open lengths of a trace with
their guards, and the shapes of traced values.
Must not own: how a program for open lengths is written (`opened.py`), or which lengths
are opened (`compiled.py`).
Read next: `opened.py`.

Where an axis of an argument is open, its length is a symbol. The traced code gets a
`Size` for it. This is no int, because C code would silently take its number. Arithmetic
with a `Size` gives another, a polynomial of the symbols. A comparison becomes a guard,
and a conversion to a number pins the length. The program serves the lengths for which
all guards hold.

To find the shape of a result, each function is called a second time, on arrays whose
open axes are longer. If one polynomial explains both results, it is the length;
otherwise the lengths involved are pinned.
"""

from __future__ import annotations

import builtins
import math
import operator
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, combinations_with_replacement
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.assignment import plain_index
from microgradnd.compiler.passes import key_of
from microgradnd.compiler.program import mapped, parts_of
from microgradnd.compiler.recorder import IndexParts, TracedOperation, called, last_line, replaced
from microgradnd.compiler.scanning import pair
from microgradnd.compiler.traits import TRAITS
from microgradnd.compiler.weak import TracedNumber, weak
from microgradnd.lines import installed, quoted_line
from microgradnd.registry import COMPOSITES, CONSTANT, Results
from microgradnd.rules.axes import count, numbered
from microgradnd.tape import current
from microgradnd.tensor import Tensor, wrap

LEAST = 2  # an axis of length 1 broadcasts, and empty ones are special: neither is ever open
LONGER = (37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)  # added to open axes in the second call
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {"==": operator.eq, "<": operator.lt, "<=": operator.le}
MIRRORED = str.maketrans("<>", "><")
OPPOSITE = {"==": "!=", "<": ">=", "<=": ">"}
# Functions whose results have lengths that aren't polynomials of their arguments'
# lengths.
CLAMPED = {np.diagonal, np.diag, np.linalg.svd, np.linalg.qr, np.convolve, np.correlate}
OF_SHAPES = {*CONSTANT, numbered}  # functions whose results are constants if no length is open
OURS = installed()[-2:]
FIXED = {*(bool, int, float, complex, str, type(None), np.ndarray), *np.sctypeDict.values()}  # without open lengths
INDEXED = (primitives.getitem, primitives.setitem, primitives.scatter)
Terms = dict[tuple[str, ...], int]  # of a polynomial: the coefficient of each product of symbols


class Closed(TypeError):
    """A length must be a number: the trace is repeated without open lengths."""


class Guard(NamedTuple):
    """A comparison of lengths, its result, and the user's line that made it."""

    left: Any
    sign: str
    right: Any
    outcome: bool
    where: tuple[str, int] | None

    def holds(self, lengths: Mapping[str, int]) -> bool:
        """Return whether the result is the same for some lengths."""
        return bool(COMPARISONS[self.sign](at(self.left, lengths), at(self.right, lengths))) is self.outcome

    def condition(self) -> str:
        """Return it as an expression of the symbols, with a symbol first."""
        left, right = (x.sizes.settled(x) if type(x) is Size else x for x in (self.left, self.right))
        sign = self.sign if self.outcome else OPPOSITE[self.sign]
        if type(left) is not Size:
            left, sign, right = right, sign.translate(MIRRORED), left
        return f"{shown(left)} {sign} {shown(right)}"

    def __str__(self) -> str:
        return f"{self.condition()}{quoted_line(self.where)}"


def at(tree: Any, lengths: Mapping[str, int]) -> Any:
    """Return an argument with the numbers that its open lengths stand for."""
    return mapped(lambda part: number_at(part, lengths), tree)


def number_at(part: Any, lengths: Mapping[str, int]) -> Any:
    """Return the number that an open length stands for, or anything else itself."""
    if type(part) is not Size:
        return part
    top = value_of(part.terms, lengths)
    return top if part.over is None else top / value_of(part.over, lengths)


def value_of(terms: Terms, lengths: Mapping[str, int]) -> int:
    """Return the value of a polynomial."""
    total = 0
    for names, coefficient in terms.items():
        for name in names:
            coefficient *= lengths[name]
        total += coefficient
    return total


def sizes_in(tree: Any) -> list[Size]:
    """Return the open lengths in an argument."""
    return [part for part in parts_of(tree) if type(part) is Size]


def formula_of(number: Any) -> Any:
    """Return a key for an open length, quicker to compare, or anything else itself."""
    return tuple([tuple(terms.items()) for terms in number.parts]) if type(number) is Size else number


def shown(number: Any) -> str:
    """Return an open length as a formula."""
    if type(number) is not Size:
        return str(number)
    factors = [
        "*".join([*([str(abs(c))] if abs(c) != 1 or not names else []), *names]) for names, c in number.terms.items()
    ]
    signs = ["-" if c < 0 else "+" for c in number.terms.values()]
    return " ".join(f"{sign} {text}" for sign, text in zip(signs, factors, strict=True)).removeprefix("+ ")


def terms_of(number: Any) -> Terms | None:
    """Return an integer or an open length as a polynomial; otherwise None."""
    if type(number) is Size:
        return number.terms if number.over is None else None
    return {(): int(number)} if isinstance(number, int | np.integer) else None


def plus(a: Terms, b: Terms, sign: int = 1) -> Terms:
    """Return the sum or the difference of two polynomials."""
    return {key: a.get(key, 0) + sign * b.get(key, 0) for key in {**a, **b}}


def times(a: Terms, b: Terms) -> Terms:
    """Return the product of two polynomials."""
    product: Terms = {}
    for (x, c), (y, d) in ((s, t) for s in a.items() for t in b.items()):
        key = tuple(sorted(x + y))
        product[key] = product.get(key, 0) + c * d
    return product


def divided(a: Terms, b: Terms) -> Terms | None:
    """Return the quotient of two polynomials.

    The second is a single term that divides each term of the first.
    """
    [(by, d), *others] = b.items()
    quotient: Terms = {}
    for key, c in a.items():
        rest = list(key)
        if others or d == 0 or c % d or any(rest.count(name) < by.count(name) for name in by):
            return None
        for name in by:
            rest.remove(name)
        quotient[tuple(rest)] = c // d
    return quotient


EXACT: dict[str, Callable[[Terms, Terms], Terms | None]] = {
    "add": plus,
    "sub": lambda a, b: plus(a, b, -1),
    "mul": times,
    "floordiv": divided,
    "mod": lambda a, b: None if divided(a, b) is None else {},
}
UFUNCS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide}
OPERATORS = (*EXACT, "truediv", "divmod", "pow", "and", "or", "xor", "lshift", "rshift")
CONVERSIONS: tuple[Callable[..., Any], ...] = (  # what else an int can do
    *(int, float, complex, str, repr, format, abs, round),
    *(math.trunc, math.floor, math.ceil, operator.index, operator.invert),
)


def is_recorded() -> bool:
    """Return whether a recorded call wants the number; its step has the length."""
    functions = called()
    return bool(functions) and functions[0] not in COMPOSITES


def is_ours() -> bool:
    """Return whether a rule, or other code of this library, works with a length."""
    frame: Any = sys._getframe(1)
    while frame.f_code.co_filename.startswith((__file__, "<frozen")):  # the latter is abc
        frame = frame.f_back
    return bool(frame.f_code.co_filename.startswith(OURS))


def _operator(name: str, swap: bool = False) -> Callable[[Any, Any], Any]:
    """Make a method for an operator.

    It is exact for polynomials, and NumPy's for arrays; otherwise it uses the number.
    """
    function: Any = divmod if name == "divmod" else getattr(operator, name, None) or getattr(operator, f"{name}_")

    def method(self: Any, other: Any) -> Any:
        x, y = (other, self) if swap else (self, other)
        if isinstance(other, Tensor | np.ndarray | np.generic) and name in UFUNCS:
            found = UFUNCS[name](x, y)
            return weak(found) if type(other) is TracedNumber else found
        a, b = terms_of(x), terms_of(y)
        found = EXACT[name](a, b) if name in EXACT and a is not None and b is not None else None
        if found is not None:
            return self.sizes.size(found)
        if name == "truediv" and a is not None and b is not None and is_ours():
            return Size(self.sizes, a, b)
        if name == "mul" and self.over is not None and other in (2, 4, 8):  # exact
            return Size(self.sizes, times(self.terms, {(): other}), self.over)
        return function(*(part.number() if type(part) is Size else part for part in (x, y)))

    return method


def _comparison(sign: str, outcome: bool = True, swap: bool = False) -> Callable[[Any, Any], Any]:
    """Make a method for a comparison, which is noted."""

    def method(self: Any, other: Any) -> Any:
        if type(other) is not Size and not isinstance(other, int | float | np.number):
            return NotImplemented
        if type(other) is Size and other._sizes is not self._sizes:  # of another trace, from a cache
            return NotImplemented
        return self.sizes.decide(*((other, sign, self) if swap else (self, sign, other))) is outcome

    return method


def _conversion(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method that needs the number."""
    return lambda self, *args: function(self.number(), *args)


class Size:
    """A length that a program leaves open, as traced code sees it."""

    __slots__ = ("_sizes", "over", "terms")

    def __init__(self, sizes: Sizes, terms: Terms, over: Terms | None = None) -> None:
        self._sizes, self.terms, self.over = ref(sizes), terms, over

    @property
    def sizes(self) -> Sizes:
        """The lengths of the trace, which hold this one too."""
        sizes = self._sizes()
        assert sizes is not None, "a length was used after the trace that it belongs to"
        return sizes

    @property
    def parts(self) -> tuple[Terms, Terms]:
        """Numerator and denominator: a rule may divide by a length."""
        return self.terms, self.over or {(): 1}

    def number(self) -> Any:
        """Return the number that it stands for in this trace, and pin it."""
        if not is_recorded():
            self.sizes.pin(self)
        return at(self, self.sizes.hints)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The type that other code sees: `isinstance(n, int)` holds, as usual."""
        return Size if is_ours() else int

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Compute with the number; a recorded step contains the length."""
        result = getattr(ufunc, method)(*(at(x, self.sizes.hints) for x in inputs), **kwargs)
        node = getattr(result, "_node", None)
        node = node if method == "__call__" and isinstance(node, TracedOperation) else None
        if node is not None and node.function is ufunc and len(node.args or ()) == len(inputs):
            node.args = tuple(x if type(x) is Size else arg for x, arg in zip(inputs, node.args or (), strict=True))
        else:
            for x in inputs:
                _ = x.number() if type(x) is Size else None
        return result

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Compute with the number: for NumPy, this class would be an array of int64."""
        if any(hasattr(kind, "__primitive__") for kind in types):
            return NotImplemented  # a Tensor takes the call
        args, kwargs = mapped(lambda part: part.number() if type(part) is Size else part, (args, kwargs))
        return function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if not hasattr(int, name):  # NumPy asks for some
            raise AttributeError(name)
        return getattr(self.number(), name)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.number(), dtype)

    def __hash__(self) -> int:
        is_ours = sys._getframe(1).f_code.co_filename.startswith(OURS)  # such as a rule's cache
        return hash(tuple(sorted(self.terms.items()))) if is_ours else hash(self.number())

    def __bool__(self) -> bool:
        return not self.sizes.decide(self, "==", 0)

    def __neg__(self) -> Any:
        return self.sizes.size(times(self.terms, {(): -1})) if self.over is None else -self.number()

    def __pos__(self) -> Any:
        return self

    __eq__, __ne__ = _comparison("=="), _comparison("==", False)
    __lt__, __le__ = _comparison("<"), _comparison("<=")
    __gt__, __ge__ = _comparison("<", swap=True), _comparison("<=", swap=True)


for _name in OPERATORS:
    setattr(Size, f"__{_name}__", _operator(_name))
    setattr(Size, f"__r{_name}__", _operator(_name, swap=True))
for _function in CONVERSIONS:
    setattr(Size, f"__{_function.__name__}__", _conversion(_function))


class Sizes:
    """The open lengths of one trace.

    Attributes
    ----------
    places : dict of str to list of (int, int)
        For each symbol, the leaves of the arguments and the axes with this length.
    hints, longer : dict of str to int
        The lengths of the traced call, and those of the second call.
    guards : dict of Guard
    pinned : dict of str to (str, int) or None
        The symbols that stand for only one number, and the lines that say so.
    shapes, seconds : dict of node
        The shapes of values with an open axis, and the arrays of the second call.
    called : dict of TracedOperation
        The calls whose second call was made, by function and kinds of operands.
    """

    def __init__(
        self, places: Mapping[str, Sequence[tuple[int, int]]], shapes: Sequence[Any], names: Sequence[str]
    ) -> None:
        self.places = places
        self.symbols_of: dict[int, dict[int, str]] = {}  # of the open axes of each leaf
        for name, (i, axis) in ((name, place) for name, found in places.items() for place in found):
            self.symbols_of.setdefault(i, {})[axis] = name
        self.hints = hints = {name: shapes[i][axis] for name, [(i, axis), *_] in places.items()}
        self.fixed = self.closed(shapes)
        self.names = {name: f"{names[i]}.shape[{axis}]" for name, [(i, axis), *_] in places.items()}
        self.longer = {
            name: hints[name] + LONGER[i % len(LONGER)] + 100 * (i // len(LONGER)) for i, name in enumerate(places)
        }
        self.guards: dict[Guard, None] = {}
        self.pinned: dict[str, tuple[str, int] | None] = {}
        self.is_tentative = False
        self.shapes: dict[Any, tuple[Any, ...]] = {}
        self.seconds: dict[Any, Any] = {}
        self.called: dict[Any, TracedOperation] = {}

    def size(self, terms: Terms) -> Any:
        """Return a polynomial as a length; an int if it depends on no open length."""
        known: Terms = {}
        for key, c in terms.items():
            names = tuple(name for name in key if name not in self.pinned)
            c *= math.prod(self.hints[name] for name in key if name in self.pinned)
            known[names] = known.get(names, 0) + c
        known = {key: c for key, c in known.items() if c}
        return Size(self, known) if any(known) else known.get((), 0)

    def decide(self, left: Any, sign: str, right: Any, always: bool = False) -> bool:
        """Return a comparison's result; note a guard if other lengths may change it.

        A recorded call needs no guard, unless the shape of its result depends on the
        comparison (`always`).
        """
        a, b = terms_of(left), terms_of(right)
        outcome = bool(COMPARISONS[sign](at(left, self.hints), at(right, self.hints)))
        if a is not None and b is not None:
            difference = self.size(plus(a, b, -1))
            if type(difference) is int:
                return bool(COMPARISONS[sign](difference, 0))
            end = at(difference, dict.fromkeys(self.hints, LEAST))
            grows = {c > 0 for key, c in difference.terms.items() if key}
            if len(grows) == 1:  # it is monotonic from its value for the least lengths
                low, high = (end, math.inf) if grows == {True} else (-math.inf, end)
                same = COMPARISONS[sign](low, 0) == COMPARISONS[sign](high, 0)
                if low > 0 or high < 0 or (same and sign != "=="):
                    return outcome
        if always or not is_recorded():
            self.guards[Guard(left, sign, right, outcome, last_line())] = None
        return outcome

    def pin(self, *sizes: Any, where: tuple[str, int] | None = None) -> None:
        """Pin lengths to one number, because of the line that is running or another."""
        names = {name for size in sizes for terms in size.parts for key in terms for name in key} - self.pinned.keys()
        if names and self.is_tentative:
            raise Closed
        self.pinned |= dict.fromkeys(names, where or last_line())

    def close(self, values: Iterable[tuple[Any, Any]]) -> None:
        """Pin the lengths of arrays, each with its node."""
        for array, node in values:
            if node is not None:
                self.pin(*sizes_in(self.shape_of(node, array)))

    def forget(self) -> None:
        """Free the values of the trace."""
        self.shapes.clear()
        self.seconds.clear()
        self.called.clear()

    def report(self) -> str:
        """Return which lengths are open, and which lines pinned the others."""
        lines = [f"{self.names[name]} is open, as {name}" for name in self.open]
        lines += [f"open lengths must satisfy {guard}" for guard in self.guards]
        lines += [
            f"{self.names[name]} is pinned to {self.hints[name]}{quoted_line(where)}"
            for name, where in self.pinned.items()
        ]
        return "\n".join(lines)

    def symbols(self) -> list[Any]:
        """Return the lengths that nothing pins."""
        return [Size(self, {(name,): 1}) for name in self.open]

    @property
    def open(self) -> list[str]:
        """The symbols that nothing pins."""
        return [name for name in self.places if name not in self.pinned]

    def bound(self, shapes: Sequence[Any]) -> dict[str, int] | None:
        """Return the symbols' lengths in arguments' shapes; None if they disagree."""
        lengths = {name: {shapes[i][axis] for i, axis in places} for name, places in self.places.items()}
        return {name: n for name, [n] in lengths.items()} if all(len(n) == 1 for n in lengths.values()) else None

    def closed(self, shapes: Sequence[Any]) -> list[list[int]]:
        """Return the lengths of the arguments' axes that have never been open."""
        open_axes = {place for places in self.places.values() for place in places}
        return [[n for axis, n in enumerate(shape) if (i, axis) not in open_axes] for i, shape in enumerate(shapes)]

    def serves(self, shapes: Sequence[Any]) -> bool:
        """Return whether the program serves arguments of some shapes."""
        lengths = self.bound(shapes) if self.closed(shapes) == self.fixed else None
        return lengths is not None and self.holds(lengths)

    def holds(self, lengths: Mapping[str, int]) -> bool:
        """Return whether the program serves some lengths."""
        fits = all(n >= LEAST and (name not in self.pinned or n == self.hints[name]) for name, n in lengths.items())
        return fits and all(guard.holds(lengths) for guard in self.guards)

    # Shapes

    def given(self, node: Any, leaf: int, array: Any) -> None:
        """Note an argument: its open axes, and its array for the second call."""
        if symbols := self.symbols_of.get(leaf):
            shape = tuple(Size(self, {(symbols[i],): 1}) if i in symbols else n for i, n in enumerate(array.shape))
            self.shapes[node], self.seconds[node] = shape, np.resize(array, at(shape, self.longer))

    def shape_of(self, node: Any, array: Any) -> tuple[Any, ...]:
        """Return the shape of a node's value."""
        return self.settled(self.shapes[node]) if node in self.shapes else array.shape

    def alias(self, node: Any, other: Any) -> None:
        """Note that a node stands for the value of another."""
        if other in self.shapes:
            self.shapes[node], self.seconds[node] = self.shapes[other], self.seconds[other]

    def settled(self, tree: Any) -> Any:
        """Return an argument with the numbers of pinned lengths."""
        if not self.pinned:
            return tree
        return mapped(lambda part: self.size(part.terms) if type(part) is Size and part.over is None else part, tree)

    def follow(self, node: TracedOperation) -> None:
        """Find the shape of a call's result."""
        given = [*zip(node.args or (), node.parents, strict=True)]
        named = {name: pair(value) for name, value in node.kwargs.items()}
        if self.is_fixed([*given, *named.values()]):
            return
        key = key_of((node.function, [self.kind(node, *operand) for operand in given], node.kwargs))
        if key in self.called:  # a loop repeats calls, such as that for an element of an argument
            self.alias(node, self.called[key])
            return
        if node.function in INDEXED:
            self.cut(node)
        lengths: list[Size] = []
        args = [self.second(*operand, lengths) for operand in given]
        kwargs = {name: self.second(*operand, lengths) for name, operand in named.items()}
        if not lengths:
            return
        if not self.has_shape(node, args, kwargs, lengths):
            self.pin(*lengths)
        elif key is not None:
            self.called[key] = node

    def is_fixed(self, operands: Sequence[tuple[Any, Any]]) -> bool:
        """Return whether no operand can have an open length, as in most calls."""
        return all(
            type(arg) in FIXED if parent is None else parent not in self.seconds and type(parent) is not IndexParts
            for arg, parent in operands
        )

    def kind(self, node: TracedOperation, arg: Any, parent: Any) -> Any:
        """Return what a result's shape depends on: an operand, or of numbers the shape.

        Whole numbers and truth values may be indices or counts, as may those made of
        others.
        """
        if parent is None:
            return arg if type(arg) in FIXED else mapped(formula_of, arg)
        are_inexact = all(isinstance(x, np.ndarray | np.inexact) and x.dtype.kind in "fc" for x in (arg, node.out))
        if not are_inexact or not is_polynomial(node.function):
            return parent
        return arg.dtype, tuple(map(formula_of, self.shape_of(parent, arg)))

    def second(self, arg: Any, parent: Any, lengths: list[Size]) -> Any:
        """Return an argument of the second call; add its open lengths to a list."""
        if isinstance(parent, IndexParts):
            return tuple([self.second(*pair(part), lengths) for part in parent.parts])
        lengths += sizes_in(self.shape_of(parent, arg) if parent in self.seconds else arg)
        pinned = {name: self.hints[name] for name in self.pinned}
        return self.seconds[parent] if parent in self.seconds else at(arg, self.longer | pinned)

    def has_shape(self, node: TracedOperation, args: Any, kwargs: Any, lengths: Sequence[Any]) -> bool:
        """Find a result's shape by the second call; return whether it has one."""
        try:
            function = np.empty if isinstance(node.function, Anew) else node.function
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                out: Any = function(*args, **kwargs)
        except Exception:  # it fits no other lengths
            return False
        if not is_polynomial(node.function):
            return False
        pairs = zip(node.out, out, strict=True) if isinstance(out, tuple) else [(node.out, out)]
        found = [self.explained(np.shape(a), np.shape(b), lengths) for a, b in pairs]
        if None in found:
            return False
        if any(map(sizes_in, found)):
            self.seconds[node] = out if not isinstance(out, tuple) else Results(out)
            self.shapes[node] = found[0] if not isinstance(out, tuple) else tuple(found)
        return True

    def explained(self, shape: Sequence[int], longer: Sequence[int], lengths: Sequence[Any]) -> Any:
        """Return the one shape of two results by the operands' lengths, or None."""
        lengths = [n for n in lengths if n.over is None]
        single = list({tuple(sorted(n.terms.items())): n for n in lengths}.values())

        def known() -> Iterator[tuple[Any, int, int]]:
            """Yield formulas of one, two or all lengths, with both values."""
            pairs = (f(a, b) for a, b in combinations_with_replacement(single, 2) for f in (operator.mul, operator.add))
            whole = (math.prod(lengths) for _ in range(2 < len(lengths) < 6))
            for c in chain(single, pairs, whole):
                if type(c) is Size:
                    yield c, at(c, self.hints), at(c, self.longer)

        result: list[Any] = []
        for n, m in zip(shape, longer, strict=True):
            if n != m:
                exact = (c * (n // x) for c, x, y in known() if x and n % x == 0 and n // x * y == m)
                shifted = (c + (n - x) for c, x, y in known() if n - x == m - y)
                if (found := next(exact, None) or next(shifted, None)) is None:
                    return None
                result.append(found)
            else:
                result.append(n)
        return tuple(result)

    def cut(self, node: TracedOperation) -> None:
        """Note for which lengths slices keep their meaning."""
        args: Any = node.args
        x, index, *_ = args
        shape: Any = args[2] if node.function is primitives.scatter else self.shape_of(node.parents[0], x)
        parts = index if type(index) is tuple else (index,)
        self.pin(*(part for part in parts if type(part) is Size))
        used = sum(
            1 if type(p) is not np.ndarray or p.dtype != bool else p.ndim
            for p in parts
            if p is not None and p is not ...
        )
        axis = 0
        for part in parts:
            if part is ...:
                axis += len(shape) - used
            elif part is not None:
                if type(part) is slice and type(shape[axis]) is Size:
                    self.cut_axis(part, shape[axis])
                axis += 1

    def cut_axis(self, part: slice, n: Size) -> None:
        """Note for which lengths of an axis a slice of it keeps its meaning."""
        if part.step not in (None, 1) and (part.start, part.stop, part.step) != (None, None, -1):
            self.pin(n)
        start, stop = (end if end is None or end >= 0 else n + end for end in (part.start, part.stop))
        ends = [end for end in (start, stop) if end is not None]
        pairs = [*((0, end) for end in ends), *((end, n) for end in ends)]
        for low, high in [*pairs, *([(start, stop)] if len(ends) == 2 else [])]:
            self.decide(low, "<=", high, always=True)

    @contextmanager
    def tentative(self) -> Iterator[None]:
        """Within it, pinning a length raises, and nothing leaves a guard."""
        guards, self.is_tentative = dict(self.guards), True
        try:
            yield
        except Exception:
            self.guards = guards
            raise
        finally:
            self.is_tentative = False

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Show the traced code open lengths."""
        length, before = builtins.len, Tensor.__len__

        def is_open() -> bool:
            return getattr(current().trace, "sizes", None) is self

        def shape(tensor: Any) -> Any:
            if tensor._node is None or not is_open():
                return tensor._array.shape
            return self.shape_of(tensor._node, tensor._array)

        def size(tensor: Any) -> Any:
            return math.prod(shape(tensor))

        def size_along(tensor: Any, axis: Any = None) -> Any:
            return tensor.size if axis is None else count(shape(tensor), axis)

        def len_of(x: Any) -> Any:
            return shape(x)[0] if isinstance(x, Tensor) and x.ndim and is_open() else length(x)

        def like(function: Any) -> Callable[..., Any]:
            """Return a function that makes arrays like others; open axes use a step."""

            def call(x: Any, *args: Any, **kwargs: Any) -> Any:
                if isinstance(x, Tensor) and sizes_in(shape(x)):
                    return current().trace.plain(function, (x, *args), kwargs)  # type: ignore[union-attr]
                return wrap(function(*map(plain_index, (x, *args)), **kwargs))

            return call

        with ExitStack() as stack:
            stack.enter_context(replaced(Tensor, "shape", property(shape)))
            stack.enter_context(replaced(Tensor, "size", property(size)))
            stack.enter_context(replaced(Tensor, "__len__", lambda x: int(shape(x)[0]) if x.ndim else before(x)))
            stack.enter_context(replaced(builtins, "len", len_of))
            spelled = {function: like(function) for function in CONSTANT} | {np.shape: shape, np.size: size_along}
            stack.callback(lambda: [COMPOSITES.pop(function) for function in spelled])
            COMPOSITES.update(spelled)
            yield


def is_polynomial(function: Any) -> bool:
    """Return whether a function's lengths are polynomials of its arguments'."""
    module = str(getattr(function, "__module__", ""))
    ours = module.startswith(("microgradnd.", "numpy.linalg", "numpy.fft"))
    body = getattr(function, "body", function)  # a primitive around NumPy's function, such as np.clip's
    return isinstance(function, Anew) or (
        function not in CLAMPED and (body in TRAITS or isinstance(function, np.ufunc) or ours)
    )
