"""Lowers a program's steps to elementwise operations, and fuses them into loops.

Owns: `Access`, `Op` and `Loop`, the tables of what can be written as a loop, and the
rule for fusing loops.
Must not own: how loops are printed (`loops.py`) or compiled (`machine.py`).
Read next: `loops.py`.

A step becomes one or more `Op`s: for each point of a box of dimensions, `out[...] =
f(reads[...])`, or, where some dimensions are summed, `out[...] += f(reads[...])`. A
view (a transpose, a slice, a broadcast) becomes no operation, but another way to index
its base; its strides in NumPy determine the index. Two operations can share a loop if,
whenever either writes an array that the other touches, the loop indexes the same axis
of it in both; then the iterations are independent. `arrange` fuses by this rule from
the outside in. Row loops with several inner loops, as softmax and network layers need,
follow from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.bodies import Loop as Rolled
from microgradnd.compiler.passes import holds, loop_of, uniform
from microgradnd.compiler.program import Program, Step, Value
from microgradnd.compiler.spelling import added_at
from microgradnd.compiler.traits import ROOTS, SQUARES, traits

DTYPES = {np.dtype(code) for code in "?bhilqBHILQfd"}
SMALL = 8  # the compiler unrolls a loop this short, so it may be the innermost
BLAS = 50_000  # from this many multiplications, a BLAS call beats loops despite its overhead
TALL, SLIM = 2**13, 2**9  # from this many rows, up to this many multiplications each, loops beat BLAS
LIBRARY = 1_000  # from this many elements, NumPy's vectorised functions beat C library calls

CLIPS = "minimum(maximum({0}, {1}), {2})", "clip({0}, {1}, {2})"  # for arrays, for numbers: like NumPy for signed zeros
NO_LOOPS = "it has no loop form"


class Axis(NamedTuple):
    """The index of an axis: `start` plus dimensions times factors, or a number read."""

    start: int
    terms: tuple[tuple[int, int], ...] = ()
    place: Access | None = None
    extent: int = 0


class Access(NamedTuple):
    """An element of an array, by one `Axis` per axis, or by its flat position."""

    base: Value
    axes: tuple[Axis, ...]
    flat: bool = False

    def key(self, dim: int) -> tuple[int, int] | None:
        """Return the axis that a dimension alone runs along by 1, and its start."""
        found = [(i, axis) for i, axis in enumerate(self.axes) if any(d == dim for d, _ in axis.terms)]
        if self.flat or len(found) != 1 or found[0][1].terms != ((dim, 1),):
            return None
        return found[0][0], found[0][1].start

    def parts(self) -> Iterator[Access]:
        """Yield this access, and those that its places are read from."""
        yield self
        for axis in self.axes:
            if axis.place is not None:
                yield from axis.place.parts()


class Operand(NamedTuple):
    """An operand of an expression, an array's element or a number, with its dtype."""

    what: Access | Any
    dtype: np.dtype[Any]


@dataclass(eq=False)
class Op:
    """The work for one element, repeated for each point of a box.

    Attributes
    ----------
    kind : str
        "map" writes each element once, "fold" accumulates, "add" adds to an
        existing value, "call" leaves the step to NumPy.
    extents : dict of int to int
        The length of each dimension longer than 1.
    text : str
        The expression, with {0}, {1} for the operands; for a call, the reason for
        it.
    fold, summed
        The helper that accumulates, and the dimensions over which it does.
    left, path
        The dimensions that have no loop yet, and the loops, outermost first, with
        their dimensions.
    """

    kind: str
    step: Step
    text: str
    operands: tuple[Operand, ...]
    out: Any = None  # an Access; None for a call
    dtype: Any = None
    extents: dict[int, int] = field(default_factory=dict)
    fold: str = ""
    summed: Set[int] = frozenset()
    path: list[tuple[Loop, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = list(self.extents)
        self.reads = [part for o in self.operands if isinstance(o.what, Access) for part in o.what.parts()]
        self.reads += list(self.out.parts())[1:] if self.out is not None else []
        self.touches = self.reads if self.out is None else [*self.reads, self.out]
        self.written = dict.fromkeys(self.step.outs() if self.out is None else [self.out.base]).keys()  # in order

    def preference(self) -> list[int]:
        """Return the dimensions, from the outermost loop's to the innermost's."""

        def rank(dim: int) -> tuple[bool, int, int]:
            inside = dim in self.summed and self.extents[dim] <= SMALL and not set(self.left) <= self.summed
            contiguous = sum(abs(dict(a.axes[-1].terms).get(dim, 0)) == 1 for a in self.touches if a.axes)
            return inside, contiguous, dim

        return sorted(self.left, key=rank)


@dataclass(eq=False)
class Loop:
    """A loop; if `extent` is None, operations outside any loop, or a NumPy call."""

    extent: int | None
    ops: list[Op] = field(default_factory=list)
    body: list[Loop] = field(default_factory=list)
    touched: dict[Value, tuple[Any, bool]] = field(default_factory=dict)  # along which axis, and whether written

    def admits(self, op: Op) -> int | None:
        """Return the dimension by which an operation can join this loop, or None."""
        for dim in op.preference():
            if op.extents[dim] == self.extent and self.is_legal(op, dim):
                return dim
            if op.extents[dim] > SMALL:
                return None
        return None

    def is_legal(self, op: Op, dim: int) -> bool:
        """Return whether this loop's iterations over `dim` would be independent."""
        for access in op.touches:
            key, written = self.touched.get(access.base, (None, None))
            if written and (key is None or key != access.key(dim)):
                return False
        return True

    def join(self, op: Op, dim: int | None) -> None:
        """Take an operation into the loop."""
        self.ops.append(op)
        if dim is not None:
            op.left.remove(dim)
            op.path.append((self, dim))
            for access in op.touches:
                key, before = self.touched.get(access.base, (access.key(dim), False))
                self.touched[access.base] = key if key == access.key(dim) else None, before or access is op.out


def arrange(ops: Sequence[Op], arrays: Set[Value] = frozenset()) -> list[Loop]:
    """Group operations into loops, as many in each as can share it.

    An operation joins the first loop that it can share, from its latest operand's loop
    on. An elementwise operation that reads only `arrays`, which are in memory anyway,
    waits for the first use of its result and joins that loop: a cheap array is computed
    where it is needed, not written to memory.
    """
    groups: list[Loop] = []
    home: dict[Op, int] = {}
    needs = dependencies(ops)
    waiting: dict[Op, None] = {}

    def place(op: Op, first: int) -> None:
        first = max([first, *(home[p] for p in needs[op])])
        for number in range(first, len(groups)):
            group = groups[number]
            if op.kind != "call" and group.ops[0].kind != "call":
                dim = group.admits(op) if group.extent is not None else None
                if dim is not None or (group.extent is None and not op.left):
                    break
        else:
            number, dim = len(groups), op.preference()[0] if op.left else None
            groups.append(Loop(None if dim is None else op.extents[dim]))
        groups[number].join(op, dim)
        home[op] = number

    for op in ops:
        ready = all(p in waiting or p.written <= arrays for p in needs[op])
        if op.kind == "map" and op.left and ready and not op.written & arrays:
            waiting[op] = None
        else:
            called, todo = {op}, [op]
            while todo:
                found = [p for p in needs[todo.pop()] if p in waiting and p not in called]
                called.update(found)
                todo += found
            first = max((home[p] for one in called for p in needs[one] if p in home), default=0)
            for producer in [p for p in waiting if p in called]:
                del waiting[producer]
                place(producer, first)
            place(op, first)
    for op in waiting:
        place(op, 0)
    for group in groups:
        if group.extent is not None:
            group.body = arrange(group.ops)
    return groups


def dependencies(ops: Sequence[Op]) -> dict[Op, list[Op]]:
    """Return, for each operation, the earlier ones that write what it touches."""
    writers: dict[Value, list[Op]] = {}
    needs = {}
    for op in ops:
        bases = [*(access.base for access in op.reads), *op.written]  # an array is complete before it is read
        needs[op] = list(dict.fromkeys(w for base in bases for w in writers.get(base, ())))
        for base in op.written:
            writers.setdefault(base, []).append(op)
    return needs


class Lowering:
    """Translates the steps of a program to operations.

    Attributes
    ----------
    ops : list of Op
    base : dict of Value to Value
        The array that each value is, or is a view of.
    made : dict of Value to Step
        How a view is made from its operand.
    constants : dict of Value to array
        Arrays that are part of the program.
    """

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.base: dict[Value, Value] = {}
        self.view: dict[Value, Any] = {}  # an array laid out like the value; nobody reads its elements
        self.made: dict[Value, Step] = {}
        self.constants: dict[Value, Any] = {}

    def own(self, value: Value) -> Value:
        """Give a value memory of its own."""
        self.base[value], self.view[value] = value, np.empty(value.shape, value.dtype)
        return value

    def lower(self, step: Step) -> str:
        """Translate a step, or return the reason why not."""
        function, args, out = step.function, step.args, step.out
        if isinstance(out, tuple):
            return "it is a rolled loop" if isinstance(function, Rolled) else "it has several results"
        first = args[0] if args and isinstance(args[0], Value) else None
        if first is not None and function is primitives.getitem and primitives.is_basic(args[1]):
            return self.alias(step, out, self.view[first][with_ellipsis(args[1])])
        unfit = [v.dtype for v in (*step.operands(), out) if v.dtype not in DTYPES]
        if unfit:
            return f"numbers of dtype {unfit[0]} are left to NumPy"
        lowering = "added" if function is added_at else traits(function).lowering
        return getattr(self, lowering)(step, out) if lowering else NO_LOOPS

    def alias(self, step: Step, out: Value, view: Any) -> str:
        """Note that a value is a view of the step's first argument."""
        self.base[out], self.view[out], self.made[out] = self.base[step.args[0]], view, step
        return ""

    def viewed(self, step: Step, out: Value) -> str:
        """Translate a function that returns a view if it can, and otherwise a copy."""
        arg, *others = (getattr(a, "array", a) for a in step.args)  # of a Constant
        if len(list(step.operands())) > 1 or not isinstance(arg, Value):
            return NO_LOOPS
        view = step.function(self.view[arg], *others, **step.kwargs)
        if not view.size or np.may_share_memory(view, self.view[self.base[arg]]):
            return self.alias(step, out, view)
        copy = Value(arg.shape, arg.dtype, arg.name)
        if not np.may_share_memory(step.function(self.view[self.own(copy)], *others, **step.kwargs), self.view[copy]):
            return NO_LOOPS
        self.map(step, "{0}", [arg], copy)
        return self.viewed(Step(step.function, (copy, *others), step.kwargs, out), out)

    def access(self, value: Value, dims: Sequence[int], view: Any = None) -> Access:
        """Return an element of a value or view; the last dimension is the last axis."""
        base, view = self.base[value], self.view[value] if view is None else view
        home = self.view[base]
        view = view[(0,) * (view.ndim - len(dims)) + (...,)]  # the extra leading axes have length 1
        if not view.size:
            return Access(base, (Axis(0),) * len(base.shape))
        offset = (view.__array_interface__["data"][0] - home.__array_interface__["data"][0]) // home.itemsize
        own = zip(dims[len(dims) - view.ndim :], view.strides, view.shape, strict=True)
        terms = [(dim, stride // home.itemsize, n) for dim, stride, n in own if n > 1 and stride]
        axes = decomposed(base.shape, offset, terms)
        if axes is None:
            return Access(base, (Axis(offset, tuple((dim, step) for dim, step, _ in terms)),), flat=True)
        return Access(base, axes)

    def operand(self, step: Step, arg: Any, dims: Sequence[int], dtype: Any) -> Operand:
        """Return an argument as an operand of some dtype."""
        arg = getattr(arg, "array", arg)  # of a Constant
        if isinstance(arg, Operand):
            return arg
        if isinstance(arg, np.ndarray) and (not arg.ndim or uniform(arg) is not None):
            arg = uniform(arg) if arg.ndim else arg[()]
        elif isinstance(arg, np.ndarray):
            arg = np.asarray(arg, arg.dtype.newbyteorder("="))
            known = next((v for v, array in self.constants.items() if array is arg), None)
            constant = known or self.own(Value(arg.shape, arg.dtype, "constant"))
            self.constants[constant], arg = arg, constant
        if not isinstance(arg, Value):
            return Operand(arg.item() if isinstance(arg, np.generic) else arg, np.dtype(dtype))
        if arg.dtype != dtype:
            self.map(step, "{0}", [arg], converted := Value(arg.shape, dtype), [arg.dtype])
            arg = converted
        return Operand(self.access(arg, dims), arg.dtype)

    def map(
        self, step: Step, text: str, args: Sequence[Any], out: Value, dtypes: Sequence[Any] = (), view: Any = None
    ) -> str:
        """Write an expression of the arguments to each element of a value or view."""
        target = self.view[out if out in self.base else self.own(out)] if view is None else view
        dims = range(target.ndim)
        dtypes = dtypes or [out.dtype] * len(args)
        operands = tuple(self.operand(step, arg, dims, dtype) for arg, dtype in zip(args, dtypes, strict=True))
        extents = {d: n for d, n in enumerate(target.shape) if n != 1}
        self.ops.append(Op("map", step, text, operands, self.access(out, dims, target), out.dtype, extents))
        return ""

    def ufunc(self, step: Step, out: Value) -> str:
        """Translate a NumPy function of single elements."""
        function, args = step.function, step.args
        if step.kwargs or len(args) != function.nin:
            return NO_LOOPS
        *dtypes, result = loop_of(step.function, args)
        kind = dtypes[0].kind
        exponent = args[1] if function is np.power else None
        if function is np.square or (SQUARES and type(exponent) is int and exponent == 2 and kind == "f"):
            function, args, dtypes = np.multiply, (args[0], args[0]), dtypes[:1] * 2
        elif ROOTS and isinstance(exponent, float | np.floating) and exponent == 0.5 and out.shape:
            function, args, dtypes = np.sqrt, args[:1], dtypes[:1]
        elif function is np.reciprocal:
            function, args, dtypes = np.divide, (1, args[0]), dtypes * 2
        elif function is np.sign and kind == "f":
            return self.share(replace(step, args=(args[0], 0, 1, -1)), out)
        row = traits(function)
        if not row.loop:
            return NO_LOOPS
        other = any(type(a) is int and d.kind in "iu" and not holds(d, a) for a, d in zip(args, dtypes, strict=True))
        if other or kind not in row.kinds or {*dtypes, result} - DTYPES:
            return f"{function.__name__} of dtype {dtypes[0]} is left to NumPy"
        if row.kernels == "C" and out.size >= LIBRARY:
            return "NumPy's function is vectorised, the C library's isn't"
        text = row.loop
        if row.kernels == "elementary" and dtypes[0] == np.float32:
            short = function in (np.exp, np.log, np.tanh)
            text = f"{function.__name__}32({{0}})" if short else f"np.float32({function.__name__}(np.float64({{0}})))"
        return self.map(step, text, args, out, dtypes)

    def reduction(self, step: Step, out: Value) -> str:
        """Translate a sum, a mean, a product, a maximum, a minimum."""
        args = dict(zip(("a", "axis", "dtype"), step.args, strict=False)) | dict(step.kwargs)
        if set(args) - {"a", "axis", "keepdims"} or not isinstance(args["a"], Value):
            return NO_LOOPS
        a, helper = args["a"], traits(step.function).fold
        if (a.dtype.kind == "b" and helper != "add") or (helper == "multiply" and out.dtype.kind != "f"):
            return f"numbers of dtype {a.dtype} are left to NumPy"
        axis = args.get("axis", 0 if hasattr(step.function, "__self__") else None)
        axes = range(len(a.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        summed = {i % len(a.shape) for i in axes} if a.shape else set[int]()
        total = out if step.function is not np.mean else Value(out.shape, out.dtype)
        operand = self.operand(step, a, range(len(a.shape)), out.dtype)
        self.fold(step, "{0}", (operand,), a.shape, summed, total, helper)
        return "" if total is out else self.map(step, "{0} / {1}", [total, math.prod(a.shape[i] for i in summed)], out)

    def fold(
        self, step: Step, text: str, operands: Any, shape: Sequence[int], summed: set[int], out: Value, helper: str
    ) -> None:
        """Accumulate an expression over some of the dimensions of a box."""
        self.own(out)
        kept = [d for d in range(len(shape)) if d not in summed]
        access = self.access(out, kept, self.view[out].reshape([shape[d] for d in kept]))
        extents = {d: n for d, n in enumerate(shape) if n != 1}
        op = Op("fold", step, text, operands, access, out.dtype, extents, helper, summed & extents.keys())
        if not op.summed:  # a single number
            op.kind, op.fold, op.text = "map", "", text.replace(", ", " * ")
        self.ops.append(op)

    def product(self, step: Step, out: Value) -> str:
        """Translate a product of matrices or vectors."""
        if step.kwargs or len(step.args) != 2 or not all(isinstance(a, Value) and a.shape for a in step.args):
            return NO_LOOPS
        a, b = step.args
        if step.function is np.dot and max(len(a.shape), len(b.shape)) > 2:
            return NO_LOOPS
        if not (a.dtype == b.dtype == out.dtype and out.dtype.kind == "f"):
            return f"products of dtype {out.dtype} are left to NumPy"
        if out.size * a.shape[-1] >= BLAS and not is_slim(out, a.shape[-1]):
            return f"{out.size * a.shape[-1]} multiplications are left to BLAS"
        rows, columns, inner = len(a.shape) > 1, len(b.shape) > 1, a.shape[-1]
        left, right, shape = self.view[a], self.view[b], (*out.shape, inner)
        n, k = len(out.shape) - rows - columns, [len(out.shape)]
        unrolled = max((d for d in range(1, SMALL) if inner % (d + 1) == 0), default=0) + 1
        contiguous = right.strides[-1] == left.strides[-1] == out.dtype.itemsize
        if contiguous and columns and b.shape[-1] > 1 and inner > SMALL and unrolled > 2:
            # Take a few terms at a time, to read and write each element of the result
            # less often.
            left = left.reshape(*a.shape[:-1], inner // unrolled, unrolled)
            right = right.reshape(*b.shape[:-2], inner // unrolled, unrolled, b.shape[-1])
            shape, k = (*out.shape, inner // unrolled, unrolled), [k[0], k[0] + 1]
        x = self.access(a, [*range(n), *[n] * rows, *k], left)
        y = self.access(b, [*range(n), *k, *[k[0] - 1] * columns], right)
        pair = Operand(x, out.dtype), Operand(y, out.dtype)
        self.fold(step, "{0}, {1}", pair, shape, set(k), out, "add_product")
        return ""

    def where(self, step: Step, out: Value) -> str:
        if step.kwargs or len(step.args) != 3 or getattr(step.args[0], "dtype", None) != np.dtype(bool):
            return NO_LOOPS
        return self.map(step, "where({0}, {1}, {2})", step.args, out, [np.dtype(bool), out.dtype, out.dtype])

    def share(self, step: Step, out: Value) -> str:
        x, y, most, least = step.args if len(step.args) == 4 else (*step.args, 1, 0)
        args = [x, y, most, least, (most + least) / 2]
        return self.map(step, "share({0}, {1}, {2}, {3}, {4})", args, out)

    def inverse_root(self, step: Step, out: Value) -> str:
        return self.map(step, "inverse_root({0}, {1})", [*step.args, 1], out)

    def converted(self, step: Step, out: Value) -> str:
        source = step.args[0]
        if source.dtype.kind == "f" and out.dtype.kind != "f":
            return "conversions of floats to integers are left to NumPy"
        return self.map(step, "{0}", [source], out, [source.dtype])

    def clip(self, step: Step, out: Value) -> str:
        if step.kwargs or len(step.args) != 3 or out.dtype.kind != "f" or any(a is None for a in step.args[1:]):
            return NO_LOOPS
        return self.map(step, CLIPS[all(isinstance(a, int | float) for a in step.args[1:])], step.args, out)

    def gather(self, step: Step, out: Value) -> str:
        """Translate indexing by arrays of integers."""
        access = self.places(step.args[0], step.args[1], out.shape)
        if access is None:
            return "this index has no loop form"
        return self.map(step, "{0}", [Operand(access, out.dtype)], out)

    def places(self, x: Value, index: Any, shape: tuple[int, ...]) -> Access | None:
        """Return the element of x that index arrays name; None for other indices."""
        parts = index if isinstance(index, tuple) else (index,)
        arrays = all(hasattr(part, "dtype") and part.dtype.kind in "iu" for part in parts)
        if not isinstance(x, Value) or not arrays or len(parts) > len(x.shape):
            return None
        whole = self.access(x, range(len(x.shape)))
        along = [axis.start == 0 and [step for _, step in axis.terms] == [1] for axis in whole.axes if axis.terms]
        if self.base[x] is not x and (whole.flat or 1 in x.shape or not all(along)):
            return None
        named = np.broadcast_shapes(*(part.shape for part in parts))
        if shape != (*named, *x.shape[len(parts) :]):
            return None
        axes = []
        for part, n in zip(parts, x.shape, strict=False):
            array, last = getattr(part, "array", part), len(named) - 1
            if isinstance(array, np.ndarray) and array.shape == (n,) == named[-1:] and (array == np.arange(n)).all():
                axes.append(Axis(0, ((last, 1),) if n > 1 else ()))
            else:
                place = self.operand(Step(np.take, (), {}, x), part, range(len(named)), part.dtype).what
                axes.append(Axis(place % n) if isinstance(place, int) else Axis(0, (), place, n))
        axes += [Axis(0, ((i, 1),) if shape[i] > 1 else ()) for i in range(len(named), len(shape))]
        if self.base[x] is not x:
            axes = [axes[axis.terms[0][0]] if axis.terms else axis for axis in whole.axes]
        return Access(self.base[x], tuple(axes))

    def scatter(self, step: Step, out: Value) -> str:
        """Translate the transpose of indexing: zeros, with values added to them."""
        values, index, _ = step.args
        lower = self.setitem if primitives.is_basic(index) else self.added
        return lower(replace(step, args=(0, index, values)), out)

    def added(self, step: Step, out: Value) -> str:
        """Translate adding at an index of arrays."""
        x, index, values = step.args
        self.own(out)
        access = self.places(out, index, values.shape)
        if access is None:
            return "this index has no loop form"
        self.map(step, "{0}", [x], out)
        operand = self.operand(step, values, range(len(values.shape)), out.dtype)
        extents = {d: n for d, n in enumerate(values.shape) if n != 1}
        self.ops.append(Op("add", step, "{0}", (operand,), access, out.dtype, extents))
        return ""

    def setitem(self, step: Step, out: Value) -> str:
        x, index, value = step.args
        if not primitives.is_basic(index) or (
            out.dtype.kind != "f" and getattr(value, "dtype", out.dtype) != out.dtype
        ):
            return "this assignment has no loop form"
        self.map(step, "{0}", [x], out)
        return self.map(step, "{0}", [value], out, view=self.view[out][with_ellipsis(index)])

    def concatenate(self, step: Step, out: Value) -> str:
        axis, _, *arrays = step.args
        self.own(out)
        end = 0
        for array in arrays:
            start, end = end, end + array.shape[axis]
            index = (*[slice(None)] * (axis % len(out.shape)), slice(start, end))
            self.map(step, "{0}", [array], out, view=self.view[out][index])
        return ""


def lowered(program: Program) -> Lowering:
    """Return a program's operations."""
    lowering = Lowering()
    for value in program.inputs:
        lowering.own(value)
    for step in program.steps:
        if why := lowering.lower(step):
            operands = [Operand(Access(lowering.base[v], ()), v.dtype) for v in dict.fromkeys(step.operands())]
            lowering.ops.append(Op("call", step, why, tuple(operands)))
            for value in step.outs():
                lowering.own(value)
    return lowering


def is_slim(out: Value, inner: int) -> bool:
    """Return whether a product's rows are many and cheap, so that it is better fused.

    BLAS adds several terms at once; in float32, sums over this many rows would be less
    exact without it.
    """
    *small, rows = sorted((*out.shape, inner))
    little = math.prod(small) <= SLIM and min(small, default=1) <= SMALL
    return little and rows >= TALL and (out.dtype == np.float64 or rows != inner)


def with_ellipsis(index: Any) -> Any:
    """Return an index by which even a single element is a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return parts if Ellipsis in parts else (*parts, Ellipsis)


def decomposed(shape: Sequence[int], offset: int, terms: Sequence[tuple[int, int, int]]) -> tuple[Axis, ...] | None:
    """Return the axes that strides run along; None if one crosses an edge."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    starts = [offset // stride % extent for stride, extent in zip(strides, shape, strict=True)]
    lows, highs = starts.copy(), starts.copy()
    found: list[tuple[tuple[int, int], ...]] = [()] * len(shape)
    for dim, step, n in terms:
        axis = next((a for a, s in enumerate(strides) if s <= abs(step) < s * shape[a] and step % s == 0), None)
        if axis is None:
            return None
        factor = step // strides[axis]
        found[axis] += ((dim, factor),)
        lows[axis] += min(factor * (n - 1), 0)
        highs[axis] += max(factor * (n - 1), 0)
    inside = min(lows, default=0) >= 0 and all(high < n for high, n in zip(highs, shape, strict=True))
    return tuple(map(Axis, starts, found)) if inside else None
