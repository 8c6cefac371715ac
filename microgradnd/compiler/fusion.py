"""From a program's steps to loops: what each step does element by element, and which steps share a loop.

Owns: `Access`, `Op` and `Loop`, the tables of what can be written as a loop, and the rule by which loops are fused.
Must not own: how loops are printed, stored and compiled (`loops.py`).
Read next: `loops.py`.

A step becomes one or more `Op`s: for each point of a box of dimensions, `out[...] = f(reads[...])`, or, with some
dimensions summed away, `out[...] += f(reads[...])`. A view (a transpose, a slice, a broadcast) becomes no operation but
another way to index its base: NumPy itself says which, by its strides. Two operations can share a loop if, wherever one
of them writes what the other touches, both index the same axis of it by that loop; then an iteration needs nothing from
another. `arrange` fuses by this rule from the outside in, and a row loop that holds several inner loops, which is what
softmax or a layer of a network needs, comes out by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.passes import SAME, VIEWS, uniform
from microgradnd.compiler.program import Program, Step, Value, values_in

DTYPES = {np.dtype(code) for code in ("?", "b", "h", "i", "l", "q", "B", "H", "I", "L", "Q", "f", "d")}
SMALL = 8  # a loop this short is unrolled by the compiler, so it may well be the innermost
BLAS = 50_000  # multiplications from which on a call of BLAS, with a call's overhead, beats loops
LIBRARY = 1_000  # elements from which on NumPy's vectorised functions beat one call of the C library for each element

VIEWLIKE = VIEWS | {primitives.expand, np.broadcast_to, np.ravel, np.flip, np.diagonal, np.atleast_1d, np.atleast_2d}
OPERATORS = {
    np.add: "{0} + {1}",
    np.subtract: "{0} - {1}",
    np.multiply: "{0} * {1}",
    np.divide: "{0} / {1}",
    np.negative: "-{0}",
    np.less: "{0} < {1}",
    np.less_equal: "{0} <= {1}",
    np.greater: "{0} > {1}",
    np.greater_equal: "{0} >= {1}",
    np.equal: "{0} == {1}",
    np.not_equal: "{0} != {1}",
    np.isnan: "{0} != {0}",
    np.sqrt: "np.sqrt({0})",
    np.absolute: "abs({0})",
    np.fabs: "abs({0})",
    np.floor: "np.floor({0})",
    np.ceil: "np.ceil({0})",
    np.trunc: "np.trunc({0})",
    np.rint: "np.rint({0})",
    np.logical_and: "{0} & {1}",
    np.logical_or: "{0} | {1}",
    np.logical_not: "not {0}",
    np.bitwise_and: "{0} & {1}",
    np.bitwise_or: "{0} | {1}",
    np.bitwise_xor: "{0} ^ {1}",
    np.maximum: "maximum({0}, {1})",
    np.minimum: "minimum({0}, {1})",
    np.sign: "sign({0}, {1})",
}
OURS = {np.exp, np.log, np.sin, np.cos, np.tanh}  # `elementary.py` has them as arithmetic, which vectorises
C_LIBRARY = {
    *(np.expm1, np.log1p, np.log2, np.log10, np.tan, np.sinh, np.cosh, np.power, np.float_power, np.hypot, np.arctan2),
    np.copysign,
    *(np.arcsin, np.arccos, np.arctan, np.arcsinh, np.arccosh, np.arctanh),
}
FLOATS_ONLY = {*OURS, *C_LIBRARY, np.sqrt, np.divide, np.isnan, np.fabs}
FLOATS_ONLY |= {np.floor, np.ceil, np.trunc, np.rint, np.sign}  # which NumPy has for integers too: rare enough
BOOLS_ONLY = {np.logical_and, np.logical_or, np.logical_not}
NOT_BOOLS = {np.negative, np.absolute, np.maximum, np.minimum, np.add, np.multiply, np.subtract}
FOLDS = {  # a reduction: the helper that adds an element, and what it starts with
    **dict.fromkeys((np.sum, np.add.reduce, np.mean), ("add", lambda dtype: 0)),
    **dict.fromkeys((np.prod, np.multiply.reduce), ("multiply", lambda dtype: 1)),
    **dict.fromkeys((np.max, np.amax, np.maximum.reduce), ("largest", lambda dtype: least(dtype))),
    **dict.fromkeys((np.min, np.amin, np.minimum.reduce), ("smallest", lambda dtype: -1 - least(dtype))),
}


def least(dtype: np.dtype[Any]) -> Any:
    """Return the least number of a dtype."""
    return -math.inf if dtype.kind == "f" else int(np.iinfo(dtype).min)


class Axis(NamedTuple):
    """How one axis of an array is indexed: `start`, plus dimensions times factors, or a number read from an array."""

    start: int
    terms: tuple[tuple[int, int], ...] = ()
    place: Access | None = None
    extent: int = 0


class Access(NamedTuple):
    """An element of an array: one `Axis` for each of its axes, or one of all its elements in a row (`flat`)."""

    base: Value
    axes: tuple[Axis, ...]
    flat: bool = False

    def key(self, dim: int) -> tuple[int, int] | None:
        """Return which axis a dimension runs along, and from where, if it does so one by one and alone."""
        found = [(i, axis) for i, axis in enumerate(self.axes) if any(d == dim for d, _ in axis.terms)]
        if self.flat or len(found) != 1 or found[0][1].terms != ((dim, 1),):
            return None
        return found[0][0], found[0][1].start

    def parts(self) -> Iterator[Access]:
        """Yield this, and what its place is read from."""
        yield self
        for axis in self.axes:
            if axis.place is not None:
                yield from axis.place.parts()


class Operand(NamedTuple):
    """What an expression uses: an element of an array, a number, or the position along a dimension; and its dtype."""

    what: Access | Any
    dtype: np.dtype[Any]
    dim: int | None = None


@dataclass(eq=False)
class Op:
    """One element's worth of work, for each point of a box.

    Attributes
    ----------
    kind : str
        "map" writes each element once, "fold" accumulates, "add" adds to what is there, "call" is left to NumPy.
    extents : dict of int to int
        How long each dimension is; dimensions of length 1 are left out.
    text : str
        The expression, with {0}, {1} for the operands.
    """

    kind: str
    step: Step
    extents: dict[int, int] = field(default_factory=dict)
    text: str = ""
    operands: tuple[Operand, ...] = ()
    out: Access | None = None
    dtype: Any = None
    fold: str = ""
    start: Any = None
    summed: frozenset[int] = frozenset()
    why: str = ""
    left: list[int] = field(default_factory=list)
    path: list[tuple[Loop, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = list(self.extents)

    def reads(self) -> list[Access]:
        """Return what it reads."""
        found = [part for o in self.operands if isinstance(o.what, Access) for part in o.what.parts()]
        return found + (list(self.out.parts())[1:] if self.out is not None else [])

    def touches(self) -> list[Access]:
        """Return what it reads and writes."""
        return self.reads() if self.out is None else [*self.reads(), self.out]

    def reduced(self, dim: int) -> bool:
        """Return whether it sums over a dimension."""
        return dim in self.summed

    def preference(self) -> list[int]:
        """Return the dimensions from the one best left to an outer loop to the best for the innermost."""
        accesses = self.touches()

        def rank(dim: int) -> tuple[bool, int, int]:
            inside = self.reduced(dim) and self.extents[dim] <= SMALL and not all(map(self.reduced, self.left))
            contiguous = sum(1 for a in accesses if a.axes and abs(dict(a.axes[-1].terms).get(dim, 0)) == 1)
            return inside, contiguous, dim

        return sorted(self.left, key=rank)


@dataclass(eq=False)
class Loop:
    """A loop, or with `extent` None what isn't inside of one, or a call of NumPy."""

    extent: int | None
    ops: list[Op] = field(default_factory=list)
    body: list[Loop] = field(default_factory=list)
    touched: dict[Value, tuple[Any, bool]] = field(default_factory=dict)

    def admits(self, op: Op) -> int | None:
        """Return the dimension by which an operation can join this loop, or None."""
        skipped: list[int] = []
        for dim in op.preference():
            if op.extents[dim] == self.extent and self.is_legal(op, dim):
                return dim
            skipped.append(dim)
            if any(op.extents[d] > SMALL for d in skipped):
                return None
        return None

    def is_legal(self, op: Op, dim: int) -> bool:
        """Return whether an iteration over `dim` would need nothing from another iteration of this loop."""
        for access in op.touches():
            known = self.touched.get(access.base)
            if known is not None and (known[1] or access is op.out):
                key = access.key(dim)
                if key is None or key != known[0]:
                    return False
        return True

    def join(self, op: Op, dim: int | None) -> None:
        """Take an operation in."""
        self.ops.append(op)
        if dim is None:
            return
        op.left.remove(dim)
        op.path.append((self, dim))
        for access in op.touches():
            key, written = access.key(dim), access is op.out
            if access.base in self.touched:
                known, before = self.touched[access.base]
                key, written = (key if key == known else None), written or before
            self.touched[access.base] = key, written


def arrange(ops: Sequence[Op], arrays: Set[Value] = frozenset()) -> list[Loop]:
    """Return the operations in loops, each with as many as can share it.

    An operation goes to the first loop, from that of its latest operand on, which it can share. An elementwise operation
    on nothing but `arrays`, which are in memory anyway, waits until the first use of its result, and goes where that
    goes: rather than write an array that is cheap to compute, compute it where it is needed.
    """
    groups: list[Loop] = []
    home: dict[Op, int] = {}
    needs = dependencies(ops)
    waiting: set[Op] = set()

    def place(op: Op, first: int) -> None:
        for producer in needs[op]:
            if producer in waiting:
                waiting.discard(producer)
                place(producer, first)
        first = max([first, *(home[p] for p in needs[op])])
        for number in range(first, len(groups)):
            group = groups[number]
            if op.kind == "call" or group.ops[0].kind == "call":
                continue
            dim = group.admits(op) if group.extent is not None else None
            if dim is not None or (group.extent is None and not op.left):
                break
        else:
            number, dim = len(groups), op.preference()[0] if op.left else None
            groups.append(Loop(None if dim is None else op.extents[dim]))
        groups[number].join(op, dim)
        home[op] = number

    for op in ops:
        ready = all(p in waiting or written(p) <= arrays for p in needs[op])
        if op.kind == "map" and ready and not written(op) & arrays:
            waiting.add(op)
        else:
            place(op, max((home[p] for p in needs[op] if p in home), default=0))
    for op in ops:
        if op in waiting:
            waiting.discard(op)
            place(op, 0)
    for group in groups:
        if group.extent is not None:
            group.body = arrange(group.ops)
    return groups


def written(op: Op) -> set[Value]:
    """Return what an operation writes."""
    return {op.out.base} if op.out is not None else set(op.step.outs())


def dependencies(ops: Sequence[Op]) -> dict[Op, list[Op]]:
    """Return, for each operation, those that have to come before it: they write what it touches, or read what it writes."""
    writers: dict[Value, list[Op]] = {}
    readers: dict[Value, list[Op]] = {}
    needs = {}
    for op in ops:
        before = [w for access in op.reads() for w in writers.get(access.base, ())]
        before += [other for base in written(op) for other in (*writers.get(base, ()), *readers.get(base, ()))]
        needs[op] = list(dict.fromkeys(before))
        for base in written(op):
            writers.setdefault(base, []).append(op)
        for access in op.reads():
            readers.setdefault(access.base, []).append(op)
    return needs


class Lowering:
    """Translates a program's steps.

    Attributes
    ----------
    ops : list of Op
    base : dict of Value to Value
        The array that each value is, or is a view of.
    made : dict of Value to Step
        How a view is made from its operand, or a value by a call.
    constants : dict of Value to array
        Arrays that are part of the program.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ops: list[Op] = []
        self.base: dict[Value, Value] = {}
        self.view: dict[Value, Any] = {}  # an array laid out like the value, whose elements nobody reads
        self.made: dict[Value, Step] = {}
        self.constants: dict[Value, Any] = {}
        for value in program.inputs:
            self.own(value)
        for step in program.steps:
            why = self.lower(step)
            if why:
                self.call(step, why)

    def own(self, value: Value) -> Value:
        """Give a value memory of its own."""
        self.base[value] = value
        self.view[value] = np.empty(value.shape, value.dtype)
        return value

    def new(self, shape: tuple[int, ...], dtype: Any, name: str | None = None) -> Value:
        """Return a value that no step of the program has."""
        return self.own(Value(shape, dtype, name))

    def call(self, step: Step, why: str) -> None:
        """Leave a step to NumPy."""
        reads = tuple(self.operand(v) for v in dict.fromkeys(step.operands()))
        self.ops.append(Op("call", step, operands=reads, why=why))
        for value in step.outs():
            self.own(value)
            self.made[value] = step

    def operand(self, value: Value) -> Operand:
        return Operand(Access(self.base[value], ()), value.dtype)

    def lower(self, step: Step) -> str:
        """Translate a step, or say why not."""
        function, out = step.function, step.out
        if isinstance(out, tuple):
            return "it has several results"
        if function in SAME and isinstance(step.args[0], Value) and alike(step.args[0], out):
            return self.alias(step, out, self.view[step.args[0]])
        if function in VIEWLIKE and isinstance(step.args[0], Value):
            return self.viewed(step, out)
        if function is primitives.getitem and primitives.is_basic(step.args[1]) and isinstance(step.args[0], Value):
            return self.alias(step, out, self.view[step.args[0]][with_ellipsis(step.args[1])])
        unfit = [v.dtype for v in (*step.operands(), out) if v.dtype not in DTYPES]
        if unfit:
            return f"numbers of dtype {unfit[0]} are left to NumPy"
        if function in FOLDS:
            return self.reduction(step, out)
        rule = RULES.get(function, Lowering.ufunc if isinstance(function, np.ufunc) else None)
        return rule(self, step, out) if rule is not None else "there are no loops for it"

    def alias(self, step: Step, out: Value, view: Any) -> str:
        """Note that a value is a view."""
        self.base[out] = self.base[step.args[0]]
        self.view[out], self.made[out] = view, step
        return ""

    def viewed(self, step: Step, out: Value) -> str:
        """Translate a function that returns a view of its argument if it can, and a copy if it must."""
        arg = step.args[0]
        if arg.dtype not in DTYPES:
            return f"numbers of dtype {arg.dtype} are left to NumPy"
        view = step.function(self.view[arg], *step.args[1:], **step.kwargs)
        if np.may_share_memory(view, self.view[self.base[arg]]) or view.size == 0:
            return self.alias(step, out, view)
        copy = self.new(arg.shape, arg.dtype, arg.name)
        self.map(step, "{0}", [arg], copy)
        return self.alias(
            Step(step.function, (copy, *step.args[1:]), step.kwargs, out),
            out,
            step.function(self.view[copy], *step.args[1:], **step.kwargs),
        )

    def access(self, value: Value, dims: Sequence[int], view: Any = None) -> Access:
        """Return the element of a value at dimensions, one for each of its axes, from the right."""
        base, view = self.base[value], self.view[value] if view is None else view
        home = self.view[base]
        if view.size == 0:
            return Access(base, tuple(Axis(0) for _ in base.shape))
        offset = (address(view) - address(home)) // home.itemsize
        own = dims[len(dims) - view.ndim :] if view.ndim else ()
        terms = [
            (dim, stride // home.itemsize, n)
            for dim, stride, n in zip(own, view.strides, view.shape, strict=True)
            if n > 1 and stride
        ]
        axes = decomposed(base.shape, offset, terms)
        if axes is None:
            return Access(base, (Axis(offset, tuple((dim, step) for dim, step, _ in terms)),), flat=True)
        return Access(base, axes)

    def element(self, arg: Any, dims: Sequence[int], dtype: Any) -> Operand:
        """Return an argument as an operand."""
        arg = getattr(arg, "array", arg)  # of a Constant
        if isinstance(arg, np.ndarray):
            number = uniform(arg)
            if number is not None:
                return Operand(number, dtype)
            constant = next((v for v, known in self.constants.items() if known is arg), None)
            if constant is None:
                constant = self.new(arg.shape, arg.dtype, "constant")
                self.constants[constant] = arg
            arg = constant
        if isinstance(arg, Value):
            return Operand(self.access(arg, dims), np.dtype(arg.dtype))
        return Operand(arg.item() if isinstance(arg, np.generic) else arg, np.dtype(dtype))

    def map(
        self,
        step: Step,
        text: str,
        args: Sequence[Any],
        out: Value,
        dtype: Any = None,
        view: Any = None,
        add: bool = False,
    ) -> None:
        """Write an expression of the arguments to each element of a value, or of a view of it."""
        if out not in self.base:
            self.own(out)
        target = self.view[out] if view is None else view
        dims = range(target.ndim)
        operands = tuple(self.element(arg, dims, dtype or out.dtype) for arg in args)
        extents = {d: n for d, n in enumerate(target.shape) if n != 1}
        access = self.access(out, dims, target)
        self.ops.append(
            Op("add" if add else "map", step, extents, text, operands, access, np.dtype(dtype or out.dtype))
        )

    def ufunc(self, step: Step, out: Value) -> str:
        """Translate a NumPy function of single elements."""
        function, args = step.function, step.args
        if step.kwargs or len(args) != function.nin or function.nout != 1 or function.signature is not None:
            return "there are no loops for it"
        if function is np.square:
            function, args = np.multiply, (args[0], args[0])
        dtypes = loop_dtypes(function, args)
        if dtypes is None or any(d not in DTYPES for d in dtypes):
            return "its numbers are left to NumPy"
        kind = dtypes[0].kind
        if function is np.reciprocal:
            function, args, dtypes = np.divide, (1, args[0]), (dtypes[0], *dtypes)
        if function is np.power and args[1] == 2 and kind == "f":
            function, args, dtypes = np.multiply, (args[0], args[0]), (dtypes[0], dtypes[0], dtypes[2])
        if function in FLOATS_ONLY and kind != "f":
            return f"{function.__name__} of dtype {dtypes[0]} is left to NumPy"
        if (function in BOOLS_ONLY and kind != "b") or (function in NOT_BOOLS and kind == "b"):
            return f"{function.__name__} of dtype {dtypes[0]} is left to NumPy"
        if function in C_LIBRARY and out.size >= LIBRARY:
            return "NumPy's is vectorised, the C library's isn't"
        if function is np.sign:  # helpers are told what 1 is in their dtype
            args, dtypes = (args[0], 1), (dtypes[0], dtypes[0], dtypes[1])
        text = OPERATORS.get(function)
        if text is None and function in OURS:
            text = f"{function.__name__}({{0}})"
            if dtypes[0] == np.float32:
                text = "exp32({0})" if function is np.exp else f"np.float32({function.__name__}(np.float64({{0}})))"
        elif text is None and function in C_LIBRARY:
            name = "power" if function is np.float_power else function.__name__
            text = f"np.{name}({', '.join(f'{{{i}}}' for i in range(function.nin))})"
        if text is None:
            return "there are no loops for it"
        cast = [self.cast(arg, dtype, step) for arg, dtype in zip(args, dtypes[:-1], strict=True)]
        self.map_as(step, text, cast, dtypes[:-1], out)
        return ""

    def cast(self, arg: Any, dtype: Any, step: Step) -> Any:
        """Return an argument, converted first if the loop computes in another dtype."""
        if not isinstance(arg, Value) or arg.dtype == dtype:
            return arg
        value = self.new(arg.shape, dtype)
        self.map(step, "{0}", [arg], value)
        return value

    def map_as(self, step: Step, text: str, args: Sequence[Any], dtypes: Sequence[Any], out: Value) -> None:
        """Write an expression whose numbers take the dtypes of the loop, not of the result."""
        self.map(step, text, args, out)
        op = self.ops[-1]
        op.operands = tuple(o._replace(dtype=d) for o, d in zip(op.operands, dtypes, strict=True))

    def reduction(self, step: Step, out: Value) -> str:
        """Translate a reduction."""
        args = dict(zip(("a", "axis", "dtype"), step.args, strict=False)) | dict(step.kwargs)
        if set(args) - {"a", "axis", "keepdims"} or not isinstance(args["a"], Value):
            return "it has keywords"
        a, helper, start = args["a"], *FOLDS[step.function]
        axis = args.get("axis", 0 if hasattr(step.function, "__self__") else None)
        axes = {i % len(a.shape) for i in (axis if isinstance(axis, tuple) else (axis,))} if axis is not None else None
        reduced = set(range(len(a.shape))) if axes is None else axes
        if (a.dtype.kind == "b" and helper in ("largest", "smallest")) or (
            helper == "multiply" and out.dtype.kind != "f"
        ):
            return f"numbers of dtype {a.dtype} are left to NumPy"
        total = out if step.function is not np.mean else self.new(out.shape, out.dtype)
        self.fold(step, "{0}", [self.cast(a, out.dtype, step)], a.shape, reduced, total, helper, start(out.dtype))
        if step.function is np.mean:
            count = math.prod(a.shape[i] for i in reduced)
            self.map(step, "{0} / {1}", [total, count], out)
        return ""

    def fold(
        self,
        step: Step,
        text: str,
        args: Sequence[Any],
        shape: Sequence[int],
        reduced: set[int],
        out: Value,
        helper: str,
        start: Any,
        operands: tuple[Operand, ...] | None = None,
    ) -> None:
        """Accumulate an expression over some of the dimensions of a box, in the order of the others."""
        if out not in self.base:
            self.own(out)
        dims = range(len(shape))
        operands = operands or tuple(self.element(arg, dims, out.dtype) for arg in args)
        kept = [d for d in dims if d not in reduced]
        view = self.view[out].reshape([shape[d] for d in kept])
        extents = {d: n for d, n in enumerate(shape) if n != 1}
        access = self.access(out, kept, view)
        if not any(d in extents for d in reduced):
            product = "{0} * {1}" if helper == "add_product" else text
            self.ops.append(Op("map", step, extents, product, operands, access, out.dtype))
        else:
            self.ops.append(
                Op("fold", step, extents, text, operands, access, out.dtype, helper, start, frozenset(reduced))
            )

    def product(self, step: Step, out: Value) -> str:
        """Translate a product of matrices or vectors."""
        a, b = step.args[:2]
        if step.kwargs or len(step.args) != 2 or not (isinstance(a, Value) and isinstance(b, Value)):
            return "it has keywords"
        if step.function is np.dot and (not a.shape or not b.shape or max(len(a.shape), len(b.shape)) > 2):
            return "there are no loops for it"
        if a.dtype != out.dtype or b.dtype != out.dtype or out.dtype.kind != "f":
            return f"products of dtype {out.dtype} are left to NumPy"
        inner, size = a.shape[-1], out.size * a.shape[-1]
        if size >= BLAS:
            return f"{size} multiplications are left to BLAS"
        batch = out.shape[: len(out.shape) - (len(a.shape) > 1) - (len(b.shape) > 1)]
        rows, columns = a.shape[-2:-1], b.shape[-1:] if len(b.shape) > 1 else ()
        n, row, column = len(batch), len(batch), len(batch) + len(rows)
        k = n + len(rows) + len(columns)
        leading = list(range(n))
        left = self.access(a, leading + ([row, k] if rows else [k]))
        right = self.access(b, leading + ([k, column] if columns else [k]))
        pair = Operand(left, out.dtype), Operand(right, out.dtype)
        self.fold(step, "{0}, {1}", (), (*batch, *rows, *columns, inner), {k}, out, "add_product", 0, pair)
        return ""

    def where(self, step: Step, out: Value) -> str:
        if step.kwargs or len(step.args) != 3 or not isinstance(step.args[0], Value) or step.args[0].dtype != bool:
            return "there are no loops for it"
        x, y = (self.cast(arg, out.dtype, step) for arg in step.args[1:])
        self.map_as(step, "where({0}, {1}, {2})", [step.args[0], x, y], (bool, out.dtype, out.dtype), out)
        return ""

    def astype(self, step: Step, out: Value) -> str:
        source = step.args[0]
        if not isinstance(source, Value) or (source.dtype.kind == "f" and out.dtype.kind != "f"):
            return "floats as integers are left to NumPy"
        self.map(step, "{0}", [source], out)
        return ""

    def clip(self, step: Step, out: Value) -> str:
        if step.kwargs or len(step.args) != 3 or out.dtype.kind != "f":
            return "there are no loops for it"
        x, low, high = (self.cast(arg, out.dtype, step) for arg in step.args)
        text = {(False, False): "minimum(maximum({0}, {1}), {2})", (True, False): "minimum({0}, {1})"}
        text |= {(False, True): "maximum({0}, {1})", (True, True): "{0}"}
        self.map(step, text[low is None, high is None], [a for a in (x, low, high) if a is not None], out)
        return ""

    def fill(self, step: Step, out: Value, number: Any) -> None:
        self.map(step, "{0}", [number], out)

    def gather(self, step: Step, out: Value) -> str:
        """Translate indexing by arrays of integers."""
        x, index = step.args
        places = self.places(x, index) if isinstance(x, Value) else None
        if places is None:
            return "there are no loops for such an index"
        access, shape = places
        if shape != out.shape:
            return "there are no loops for such an index"
        self.map(step, "{0}", [], out)
        self.ops[-1].operands = (Operand(access, out.dtype),)
        return ""

    def places(self, x: Value, index: Any) -> tuple[Access, tuple[int, ...]] | None:
        """Return the element of x that an index of arrays in its first axes names, and the shape of all of them."""
        parts = index if isinstance(index, tuple) else (index,)
        shapes = []
        for part in parts:
            if isinstance(part, list) or not hasattr(part, "dtype") or part.dtype.kind not in "iu":
                return None
            shapes.append(part.shape)
        if not self.view[self.base[x]].shape == x.shape or len(parts) > len(x.shape) or self.base[x] is not x:
            return None
        shape = np.broadcast_shapes(*shapes)
        dims = range(len(shape))
        axes = []
        for part, n in zip(parts, x.shape, strict=False):
            if (
                isinstance(part, np.ndarray)
                and part.ndim == 1
                and np.array_equal(part, np.arange(n))
                and n == shape[-1]
            ):
                axes.append(Axis(0, ((len(shape) - 1, 1),) if n > 1 else ()))
                continue
            operand = self.element(part, dims, np.intp)
            if not isinstance(operand.what, Access):
                return None
            axes.append(Axis(0, (), operand.what, n))
        rest = x.shape[len(parts) :]
        axes += [Axis(0, ((len(shape) + i, 1),) if n > 1 else ()) for i, n in enumerate(rest)]
        return Access(x, tuple(axes)), (*shape, *rest)

    def scatter(self, step: Step, out: Value) -> str:
        """Translate the transpose of indexing: zeros, to which values are added."""
        values, index, _ = step.args
        if not isinstance(values, Value):
            return "there are no loops for it"
        if primitives.is_basic(index):
            self.fill(step, out, 0)
            self.map(step, "{0}", [values], out, view=self.view[out][with_ellipsis(index)])
            return ""
        self.own(out)
        places = self.places(out, index)
        if places is None or places[1] != values.shape:
            return "there are no loops for such an index"
        self.fill(step, out, 0)
        dims = range(len(values.shape))
        operand = Operand(self.access(values, dims), out.dtype)
        extents = {d: n for d, n in enumerate(values.shape) if n != 1}
        self.ops.append(Op("add", step, extents, "{0}", (operand,), places[0], out.dtype))
        return ""

    def setitem(self, step: Step, out: Value) -> str:
        x, index, value = step.args
        if not primitives.is_basic(index) or not isinstance(x, Value):
            return "there are no loops for such an index"
        if hasattr(value, "dtype") and value.dtype.kind == "f" and out.dtype.kind != "f":
            return "floats as integers are left to NumPy"
        self.map(step, "{0}", [x], out)
        self.map(step, "{0}", [value], out, view=self.view[out][with_ellipsis(index)])
        return ""

    def concatenate(self, step: Step, out: Value) -> str:
        axis, _, *arrays = step.args
        if step.kwargs or not all(isinstance(a, Value) for a in arrays):
            return "it has keywords"
        self.own(out)
        end = 0
        for array in arrays:
            start, end = end, end + array.shape[axis]
            index = (slice(None),) * (axis % len(out.shape)) + (slice(start, end),)
            self.map(step, "{0}", [array], out, view=self.view[out][index])
        return ""


RULES: dict[Any, Callable[[Lowering, Step, Value], str]] = {
    np.matmul: Lowering.product,
    np.dot: Lowering.product,
    np.where: Lowering.where,
    np.clip: Lowering.clip,
    primitives.astype: Lowering.astype,
    primitives.getitem: Lowering.gather,
    primitives.scatter: Lowering.scatter,
    primitives.setitem: Lowering.setitem,
    primitives.concatenate: Lowering.concatenate,
    np.zeros_like: lambda self, step, out: self.fill(step, out, 0) or "",
    np.ones_like: lambda self, step, out: self.fill(step, out, 1) or "",
}


def alike(x: Value, out: Value) -> bool:
    return x.shape == out.shape and x.dtype == out.dtype


def with_ellipsis(index: Any) -> Any:
    """Return an index by which even a single element is a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return parts if Ellipsis in parts else (*parts, Ellipsis)


def address(array: Any) -> int:
    """Return where an array's first element is."""
    return int(array.__array_interface__["data"][0])


def loop_dtypes(function: Any, args: Sequence[Any]) -> tuple[np.dtype[Any], ...] | None:
    """Return the dtypes in which a ufunc computes, for numbers of Python's those that NumPy gives them."""
    kinds = [a.dtype if hasattr(a, "dtype") else type(a) for a in args]
    try:
        return tuple(function.resolve_dtypes((*(int if k is bool else k for k in kinds), None)))
    except TypeError:
        return None


def decomposed(shape: Sequence[int], offset: int, terms: Sequence[tuple[int, int, int]]) -> tuple[Axis, ...] | None:
    """Return the axes of a contiguous array that steps of given widths run along; None if one runs over an edge."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    found: list[list[tuple[int, int]]] = [[] for _ in shape]
    starts, lows, highs = [], [], []
    for stride, extent in zip(strides, shape, strict=True):
        starts.append(offset // stride % extent)
        lows.append(starts[-1])
        highs.append(starts[-1])
    for dim, step, n in terms:
        axis = next((a for a, s in enumerate(strides) if s <= abs(step) < s * shape[a] and step % s == 0), None)
        if axis is None:
            return None
        factor = step // strides[axis]
        found[axis].append((dim, factor))
        lows[axis] += min(factor * (n - 1), 0)
        highs[axis] += max(factor * (n - 1), 0)
    if any(low < 0 or high >= n for low, high, n in zip(lows, highs, shape, strict=True)):
        return None
    return tuple(Axis(start, tuple(parts)) for start, parts in zip(starts, found, strict=True))
