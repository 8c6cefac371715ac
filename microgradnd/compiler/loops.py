"""A program's loops as source.

Owns: where values are kept, and how loops are printed.
Must not own: what a step does element by element, and which loops are fused
(`fusion.py`); the function that calls the loops (`driver.py`).
Read next: `driver.py`.

Steps that can be loops become one function, or several with calls of NumPy between
them. A value that only one loop needs is a local variable there, or a row if inner
loops share it. A value that outlives the loops is an array: a result, which belongs to
the caller, or a buffer from a pool, so that threads can't collide. A number that
outlives them is returned.

numba takes about as long to hand over an array as to compute a hundred elements. So a
function with little to do makes its rows itself, and keeps the GIL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from microgradnd.compiler import elementary
from microgradnd.compiler.fusion import SMALL, Access, Axis, Loop, Lowering, Op, Operand, arrange, lowered
from microgradnd.compiler.ownership import lenders
from microgradnd.compiler.program import Program, Value, values_in
from microgradnd.compiler.source import Names, signed

WIDE = 2**17  # elements from which two threads are faster than one
BRIEF = 2**14  # up to this many evaluations of an expression, a compiled function has little to do
LONG = 1024  # from this many numbers, a float32 sum's error is worth avoiding
RANKS = {"+": 5, "-": 5, "*": 6, "/": 6, "&": 4, "|": 2, "^": 3}  # of operators; comparisons have 1
COMPARISON, NEGATIVE, ATOM = 1, 7, 10
LETTERS = "ijklmnopqrstuvwxyz"
TAKEN = {"start", "stop", "in_threads", "largest", "smallest", *vars(elementary)}


class Layout:
    """Where the arrays of a program are: parameters of parts, and overwritten inputs.

    Attributes
    ----------
    parts : list of (list of Loop, or Op)
        Loops that are compiled together, or a call of NumPy.
    arrays : set of Value
        The values that are arrays outside the loops.
    numbers : set of Value
        The numbers among them that a part returns.
    over : dict of Value to Value
        The input that a new value is written over.
    is_open : bool
        Whether the parts serve other lengths too.
    """

    def __init__(self, program: Program, lowering: Lowering, is_open: bool = False) -> None:
        self.program, self.lowering, self.is_open = program, lowering, is_open
        self.base, self.parts = lowering.base, list[Any]()
        self.results, self.arrays, self.numbers = set[Value](), set[Value](), set[Value]()
        self.over: dict[Value, Value] = {}
        self.order: dict[Op, tuple[int, int]] = {}  # an operation's part, and its place in the order
        self.touching: dict[Value, list[tuple[Op, Access]]] = {}

    def divide(self) -> None:
        """Put the operations into parts."""
        for group in arrange(self.lowering.ops, self.arrays):
            last = self.parts[-1] if self.parts else None
            if group.ops[0].kind == "call":
                self.parts.append(group.ops[0])
            elif isinstance(last, list) and not is_wide(group) and not is_wide(last[0]):
                last.append(group)
            else:
                self.parts.append([group])
        for number, part in enumerate(self.parts):
            for op in [part] if isinstance(part, Op) else in_order(part):
                self.order[op] = number, len(self.order)
                for access in op.touches:
                    self.touching.setdefault(access.base, []).append((op, access))

    def writers(self, value: Value) -> list[Op]:
        """Return the operations in loops that write a value."""
        return [op for op, access in self.touching.get(value, ()) if access is op.out]

    def is_in_array(self, number: Value) -> bool:
        """Return whether a number is an array's element, as several parts write it."""
        return bool(self.writers(number)) and number not in self.numbers

    def goes_over(self, old: Value, new: Value) -> bool:
        """Return whether nothing reads an old value once the new one is written."""
        updates = list(self.program.updates.values())
        wanted = self.results | {self.base[v] for v in updates if v is not new}
        if self.base[new] is not new or {old, new} & wanted or updates.count(new) > 1 or not old.shape:
            return False
        if [op.kind for op in self.writers(new)] != ["map"]:
            return False
        [writer] = self.writers(new)
        for reader, access in self.touching.get(old, ()):
            if self.order[reader] > self.order[writer]:
                return False
            for (loop, dim), (other, place) in zip(writer.path, reader.path, strict=False):
                if loop is not other:
                    break
                if writer.out.key(dim) is None or writer.out.key(dim) != access.key(place):
                    return False
        return True

    def kept_axes(self, base: Value) -> list[int]:
        """Return the axes of an array in memory; its loops all share the other axes."""
        if base in self.arrays:
            return list(range(len(base.shape)))
        touching, gone = self.touching[base], set[int]()
        for level in zip(*(op.path for op, _ in touching), strict=False):
            keys = {access.key(dim) for (_, access), (_, dim) in zip(touching, level, strict=True)}
            if len({loop for loop, _ in level}) > 1 or len(keys) > 1 or None in keys:
                break
            gone.update(axis for axis, _ in filter(None, keys))
        return [i for i, n in enumerate(base.shape) if i not in gone and n != 1]


def laid_out(program: Program, is_open: bool = False) -> Layout:
    """Return where the arrays of a program are."""
    layout = Layout(program, lowered(program), is_open)
    calls = [op for op in layout.lowering.ops if op.kind == "call"]
    called = {v for op in calls for v in (*op.step.outs(), *(access.base for access in op.reads))}
    layout.results |= lenders(values_in(program.outputs), layout.base, [op.step for op in calls])
    layout.arrays |= {*program.inputs, *layout.lowering.constants, *layout.results, *called}
    layout.arrays |= {layout.base[v] for v in program.updates.values()}
    layout.divide()
    order, writers = layout.order, layout.writers
    layout.arrays |= {v for v, ops in layout.touching.items() if len({order[op][0] for op, _ in ops}) > 1}
    layout.numbers |= {v for v in layout.arrays if not v.shape and len({order[op][0] for op in writers(v)}) == 1}
    updates = {new: old for old, new in program.updates.items() if new not in called}
    layout.over |= {new: old for new, old in updates.items() if layout.goes_over(old, new)}
    return layout


def in_order(loops: Sequence[Loop]) -> Iterator[Op]:
    """Yield the operations in the order in which they run."""
    for loop in loops:
        yield from loop.ops if loop.extent is None else in_order(loop.body)


def is_wide(loop: Loop) -> bool:
    """Return whether a loop is long enough for threads, and they can share it.

    The bounds of each thread's part are unsigned: otherwise numba would check each
    index for a negative number. So an index can only be the variable itself.
    """
    if loop.extent is None or max(math.prod(op.extents.values()) for op in loop.ops) < WIDE:
        return False
    axes = [(axis, op.path[0][1]) for op in loop.ops for access in op.touches for axis in access.axes]
    plain = all(axis == Axis(0, ((dim, 1),)) or dim not in dict(axis.terms) for axis, dim in axes)
    return plain and all(op.kind == "map" for op in loop.ops) and all(axis.place is None for axis, _ in axes)


class Part:
    """Prints loops as one compiled function.

    Attributes
    ----------
    parameters : dict of Value to str
        The names of the arrays and numbers that it takes.
    returned : list of Value
        The numbers that it returns.
    rows : list of str
        The statements that make the arrays that only it needs, if it is brief.
    """

    def __init__(self, layout: Layout, name: str) -> None:
        self.layout, self.name = layout, name
        self.names = Names(*TAKEN)
        self.ops: list[Op] = []
        self.lines: list[str] = []
        self.parameters: dict[Value, str] = {}
        self.returned: list[Value] = []
        self.rows: list[str] = []
        self.flat: dict[Value, str] = {}
        self.variable: dict[Loop, str] = {}
        self.texts: dict[str, tuple[str, int]] = {}  # the text for an element: a local variable, or an expression
        self.kept: dict[Value, list[int]] = {}
        self.readers: dict[Value, list[Op]] = {}
        self.wide: int | None = None  # the length of the outermost loop, if threads share it
        self.is_brief = False
        self.pieces: set[Value] = set()
        self.text = self.result = ""

    def take(self, op: Op) -> None:
        """Note an operation, and make parameters of the arrays that it needs."""
        self.ops.append(op)
        for base in dict.fromkeys([*(access.base for access in op.touches), *op.written]):
            self.readers.setdefault(base, []).extend([op] * (base not in op.written))
            self.parameter(base)

    def function(self, bounds: Sequence[str] = ()) -> str:
        """Return the whole function."""
        types = ["uint64" for _ in bounds] + [self.type_of(base) for base in self.parameters]
        names = [*bounds, *self.parameters.values()]
        flat = [f"    {flat} = {self.names.value(base)}.reshape(-1)" for base, flat in self.flat.items()]
        results = ", ".join(self.names.value(base) for base in self.returned)
        self.result = result_type([base.dtype for base in self.returned])
        signature = '"\n      "'.join(wrapped(f"{', '.join(types)})"))
        gil = "" if self.is_brief else "nogil=True, "
        head = f'@njit("{self.result}({signature}", cache=True, {gil}error_model="numpy")'
        define = "\n    ".join(line.rstrip() for line in wrapped(f"def {self.name}({', '.join(names)}):"))
        ending = f"    return {results}\n" if results else ""
        return "\n".join([head, define, *self.rows, *flat, *self.lines, ending])

    def parameter(self, base: Value) -> None:
        """Make an array a parameter unless it is a local variable."""
        if base in self.kept:
            return
        self.kept[base] = self.layout.kept_axes(base)
        over = self.layout.over.get(base)
        if over is not None:
            self.parameter(over)
            self.names.of[base] = self.names.of[over]
        elif not self.is_scalar(base):
            self.parameters[base] = self.names.value(base)

    def is_scalar(self, base: Value) -> bool:
        """Return whether a value is a local variable."""
        return base in self.returned or (base not in self.layout.arrays and not self.kept[base])

    def is_piece(self, access: Access) -> bool:
        """Return whether a statement writes to one of a few places along a middle axis.

        The pieces of `np.stack` are written like this, in one loop. The compiler must
        see that they are apart, or else it doesn't vectorise. It knows the lengths of
        the axes only from the index of a flat array.
        """
        base = access.base
        middle = zip(access.axes[1:-1], base.shape[1:], strict=False)
        is_fixed = any(n > 1 and (not axis.terms or n <= SMALL) for axis, n in middle)
        touches = [a for _, a in self.layout.touching[base]]
        plain = not any(a.flat or any(axis.place is not None for axis in a.axes) for a in touches)
        return is_fixed and plain and len(self.kept[base]) == len(base.shape)

    def type_of(self, base: Value) -> str:
        """Return numba's type for a parameter."""
        axes = len(self.kept[base]) or int(self.layout.is_in_array(base))
        return f"{base.dtype.name}[{':, ' * (axes - 1)}::1]" if axes else base.dtype.name

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def emit(self, loops: Sequence[Loop], depth: int) -> None:
        """Print loops one after another."""
        for loop in loops:
            if loop.extent is None:
                for op in loop.ops:
                    self.statement(op, depth)
                continue
            folds = [op for op in loop.ops if op.kind == "fold" and op.path[turn(op)][0] is loop]
            for op in folds:
                self.begin(op, depth)
            known = set(self.texts)
            self.variable[loop] = self.names.own(LETTERS[depth - 1])
            bounds = loop.extent if self.wide is None or depth > 1 else "start, stop"
            self.line(depth, f"for {self.variable[loop]} in range({bounds}):")
            self.emit(loop.body, depth + 1)
            self.texts = {key: text for key, text in self.texts.items() if key in known}
            for op in folds:
                self.end(op, depth)

    def begin(self, op: Op, depth: int) -> None:
        """Print the start of a sum, in a local variable or in memory."""
        base, outside = op.out.base, {dim for _, dim in op.path[: turn(op)]}
        start = literal(START[op.fold](op.dtype), np.dtype(float) if is_long(op) else op.dtype)[0]
        if is_local(op):
            self.line(depth, f"{self.accumulator(op)} = {start}")
        elif base.size:
            axes = []
            for n in self.kept[base]:
                axes.append(self.axis(op, op.out.axes[n], outside))
                if any(dim not in outside for dim, _ in op.out.axes[n].terms):
                    axes[-1] = self.names.own(LETTERS[depth - 1])
                    self.line(depth, f"for {axes[-1]} in range({base.shape[n]}):")
                    depth += 1
            self.line(depth, f"{self.names.value(base)}[{', '.join(axes)}] = {start}")

    def accumulator(self, op: Op) -> str:
        """Return the place where a sum accumulates."""
        if not is_local(op) or self.is_scalar(op.out.base):
            return self.reference(op, op.out)
        if op not in self.names.of:
            self.names.of[op] = self.names.new(f"{op.out.base.name or 't'}_sum")
        return self.names.of[op]

    def end(self, op: Op, depth: int) -> None:
        """Print the end of a sum that accumulated in a local variable."""
        if is_local(op):
            name, target = self.accumulator(op), self.reference(op, op.out)
            if is_long(op):
                self.line(depth, f"{name} = np.float32({name})")
            if name != target:
                self.line(depth, f"{target} = {name}")
                self.texts[target] = name, ATOM

    def statement(self, op: Op, depth: int) -> None:
        """Print one operation."""
        text, rank = self.expression(op)
        if op.kind == "add" or (op.fold == "add" and not is_local(op)):
            target = self.reference(op, op.out)
            self.texts.pop(target, None)  # earlier text for it is out of date
            self.line(depth, f"{target} += {text}")
        elif op.kind == "fold":
            helper = op.fold if op.dtype.kind == "f" else ON_INTEGERS.get(op.fold, op.fold)
            text = f"np.float64({text})" if is_long(op) else text
            self.line(depth, f"{self.accumulator(op)} = {helper}({self.accumulator(op)}, {text})")
        else:
            target = self.reference(op, op.out)
            readers = self.readers.get(op.out.base, [])
            close = [r for r in readers if [loop for loop, _ in r.path] == [loop for loop, _ in op.path]]
            self.texts.pop(target, None)
            if self.is_scalar(op.out.base) and len(readers) == len(close) == 1 and self.may_inline(op, close[0], text):
                self.texts[target] = text, rank
            elif close and not self.is_scalar(op.out.base):
                place = "".join(self.variable[loop] for loop, _ in op.path)
                name = self.names.new(f"{op.out.base.name or 't'}_{place}")
                self.line(depth, f"{name} = {text}")
                self.line(depth, f"{target} = {name}")
                self.texts[target] = name, ATOM
            else:
                self.line(depth, f"{target} = {text}")

    def may_inline(self, op: Op, reader: Op, text: str) -> bool:
        """Return whether an expression reads better inside the one that uses it."""
        places = [i for i, o in enumerate(reader.operands) if isinstance(o.what, Access) and o.what.base is op.out.base]
        once = len(places) == 1 and reader.text.count(f"{{{places[0]}}}") == 1
        changing = {*self.layout.over.values(), *self.layout.over}
        steady = not any(a.base in changing or len(self.layout.writers(a.base)) > 1 for a in op.touches)
        return once and steady and op.out.base not in self.returned and op.out.base.name is None and len(text) <= 60

    def reference(self, op: Op, access: Access) -> str:
        """Return the text of an element."""
        base, name = access.base, self.names.value(access.base)
        if self.is_scalar(base) or not (base.shape or self.layout.is_in_array(base)):
            return name
        if access.flat or base in self.pieces:
            axis = access.axes[0] if access.flat else flattened(access)
            base = self.layout.over.get(base, base)
            if base not in self.flat:
                self.flat[base] = self.names.new(f"{name}_flat")
            return f"{self.flat[base]}[{self.axis(op, axis)}]"
        return f"{name}[{', '.join(self.axis(op, access.axes[n]) for n in self.kept[base]) or '0'}]"

    def axis(self, op: Op, axis: Axis, dims: Any = None) -> str:
        """Return an index along one axis."""
        if axis.place is not None:
            place = self.read(op, Operand(axis.place, axis.place.base.dtype))[0]
            return f"at({place}, {axis.extent})"
        names = {dim: self.variable[loop] for loop, dim in op.path if dims is None or dim in dims}
        terms = [(factor, names.get(dim, "")) for dim, factor in axis.terms]
        signs = {1: "", -1: "-"}
        texts = [signs.get(factor, f"{factor} * ") + name for factor, name in terms]
        if axis.start or not texts:
            texts.insert(0 if any(factor < 0 for factor, _ in terms) else len(texts), str(axis.start))
        return " + ".join(texts).replace("+ -", "- ")

    def read(self, op: Op, operand: Operand) -> tuple[str, int]:
        """Return an operand, with the rank of its outermost operator."""
        if not isinstance(operand.what, Access):
            return literal(operand.what, operand.dtype)
        text = self.reference(op, operand.what)
        return self.texts.get(text, (text, ATOM))

    def expression(self, op: Op) -> tuple[str, int]:
        """Return an operation's expression, with the rank of its outermost operator.

        Small integers are converted, as numba would compute in another dtype than
        NumPy.
        """
        parts = [self.read(op, operand) for operand in op.operands]
        if op.text == "{0}":
            (text, rank), convert = parts[0], op.operands[0].dtype != op.dtype
        else:
            rank, convert = rank_of(op.text), op.dtype.kind in "iu" and op.dtype.itemsize < 8
            fits = [rank == ATOM or r > rank or (r == rank != COMPARISON and not i) for i, (_, r) in enumerate(parts)]
            text = op.text.format(*(t if fit else f"({t})" for (t, _), fit in zip(parts, fits, strict=True)))
        return (f"np.{op.dtype.type.__name__}({text})", ATOM) if convert else (text, rank)


class Fused(Part):
    """Prints the loops of a straight line."""

    def write(self, loops: Sequence[Loop]) -> None:
        """Print them."""
        ops, layout = list(in_order(loops)), self.layout
        self.returned = list(dict.fromkeys(op.out.base for op in ops if op.out.base in layout.numbers))
        for op in ops:
            self.take(op)
        scratch = [base for base in self.parameters if base not in layout.arrays]
        self.wide = loops[0].extent if is_wide(loops[0]) and not scratch else None
        self.pieces = {op.out.base for op in ops if self.wide is None and self.is_piece(op.out)}
        self.is_brief = not layout.is_open and sum(math.prod(op.extents.values()) for op in ops) <= BRIEF
        for base in scratch if self.is_brief else ():
            shape = tuple(base.shape[i] for i in self.kept[base])
            self.rows.append(f"    {self.parameters.pop(base)} = np.empty({shape}, np.{base.dtype.type.__name__})")
        self.emit(loops, 1)
        self.text = self.function(["start", "stop"] if self.wide is not None else [])


ON_INTEGERS = {"largest": "maximum", "smallest": "minimum"}
START: dict[str, Any] = {
    **dict.fromkeys(("add", "add_product"), lambda dtype: 0),
    "multiply": lambda dtype: 1,
    "largest": lambda dtype: -math.inf if dtype.kind == "f" else np.iinfo(dtype).min,
    "smallest": lambda dtype: math.inf if dtype.kind == "f" else np.iinfo(dtype).max,
}


def flattened(access: Access) -> Axis:
    """Return the place of an element in the flat array."""
    strides = [math.prod(access.base.shape[i + 1 :]) for i in range(len(access.axes))]
    start = sum(stride * axis.start for stride, axis in zip(strides, access.axes, strict=True))
    terms = [(d, n * factor) for n, axis in zip(strides, access.axes, strict=True) for d, factor in axis.terms]
    return Axis(start, tuple(terms))


def result_type(dtypes: Sequence[np.dtype[Any]]) -> str:
    """Return numba's type for the numbers that a function returns."""
    names = ", ".join(dtype.name for dtype in dtypes)
    return f"Tuple(({names}))" if len(dtypes) > 1 else names or "void"


def wrapped(text: str) -> list[str]:
    """Return a list of arguments in readable lines."""
    return re.findall(r".{1,110}(?<=, )|.+$", text) if len(text) > 110 else [text]


def turn(op: Op) -> int:
    """Return the first of its loops over which an operation sums."""
    return next(i for i, (_, dim) in enumerate(op.path) if dim in op.summed)


def is_local(op: Op) -> bool:
    """Return whether a sum uses a local variable: all loops inside are summed."""
    return op.kind == "fold" and all(dim in op.summed for _, dim in op.path[turn(op) :])


def is_long(op: Op) -> bool:
    """Return whether a float32 sum is long enough to be added in float64.

    NumPy's pairwise sums are more accurate than a plain loop.
    """
    long = math.prod(op.extents[dim] for dim in op.summed) > LONG
    return long and op.fold == "add" and op.dtype == np.float32 and is_local(op)


def rank_of(template: str) -> int:
    """Return how strongly the outermost operator of an expression binds."""
    if template.startswith(("-", "not ")):
        return NEGATIVE if template.startswith("-") else 0
    binary = re.fullmatch(r"\{\d\} (\S+) \{\d\}", template)
    return RANKS.get(binary[1], COMPARISON) if binary else ATOM


def literal(number: Any, dtype: np.dtype[Any]) -> tuple[str, int]:
    """Return a number in its dtype, as numba reads it."""
    if dtype.kind == "f":
        text = signed(float(number)).replace("inf", "np.inf").replace("nan", "np.nan")
        text = "np.copysign(np.nan, -1.0)" if text == "-np.nan" else text  # numba's minus leaves the sign of a NaN
    else:
        text = repr(bool(number) if dtype.kind == "b" else int(number))
    if dtype.name not in ("float64", "int64", "bool"):
        return f"np.{dtype.name}({text})", ATOM
    return text, NEGATIVE if text.startswith("-") else ATOM
