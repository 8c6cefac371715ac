"""A program as loops that numba compiles.

Owns: where values are kept, how loops and the function around them are printed, and how numba compiles and keeps them.
Must not own: what a step does element by element, and which loops are fused (`fusion.py`).
Read next: `fusion.py`.

What can be loops becomes one function, or several with calls of NumPy between them; a plain Python function calls them
in turn. A value that only one loop needs is a local variable there, or a row if inner loops share it; what outlives the
loops is an array: a result, which is the caller's own, or a buffer from a pool, so that threads can't meet.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import inspect
import math
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler import elementary
from microgradnd.compiler.fusion import Access, Axis, Loop, Lowering, Op, Operand, arrange
from microgradnd.compiler.passes import SAME
from microgradnd.compiler.program import Program, Step, Value, values_in
from microgradnd.compiler.source import Names, Writer

PRIVATE = {"start", "stop", "np", "math", "njit", "range", "abs", "ROUND", "ROUND32"}
HELPERS = {
    "add": """@njit(fastmath={"reassoc"}, forceinline=True)
def add(total, x):  # the sum may be taken in any order, so that several parts of it are at the same time
    return total + x
""",
    "multiply": """@njit(fastmath={"reassoc"}, forceinline=True)
def multiply(total, x):  # in any order
    return total * x
""",
    "add_product": """@njit(fastmath={"reassoc", "contract"}, forceinline=True)
def add_product(total, x, y):  # in any order, and without rounding the product
    return total + x * y
""",
    "maximum": """@njit(forceinline=True)
def maximum(x, y):
    return x if x > y or x != x else y
""",
    "minimum": """@njit(forceinline=True)
def minimum(x, y):
    return x if x < y or x != x else y
""",
    "where": """@njit(forceinline=True)
def where(condition, x, y):
    return x if condition else y
""",
    "sign": """@njit(forceinline=True)
def sign(x, one):
    return one if x > 0 else (-one if x < 0 else x * x)
""",
    "place": """@njit(forceinline=True)
def place(i, n):
    if i < -n or i >= n:
        raise IndexError("an index is out of bounds")
    return i + n if i < 0 else i
""",
}
for _name, _llvm in (("largest", "maximum"), ("smallest", "minimum")):
    HELPERS[_name] = f"""@intrinsic
def {_name}(context, x, y):  # LLVM's own, which it can vectorise in a reduction; NaN if one of them is
    def code(context, builder, signature, args):
        number = args[0].type
        function = ir.FunctionType(number, (number, number))
        return builder.call(builder.module.declare_intrinsic("llvm.{_llvm}", (number,), function), args)

    return x(x, x), code
"""
QUARTERS = "FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH"
ELEMENTARY = {name for name, thing in vars(elementary).items() if inspect.isfunction(thing)} - {"quarters"}
RANKS = {"+": 5, "-": 5, "*": 6, "/": 6, "&": 4, "|": 2, "^": 3}
NEGATIVE, ATOM, COMPARISON = 7, 10, 1
RACE_SECONDS = 0.02
WIDE = 2**17  # elements from which on two threads are faster than one
LONG = 1024  # from so many numbers on, the error of a sum in float32 is worth avoiding
LETTERS = "ijklmnopqrstuvwxyz"


class Layout:
    """Where each array of a program is: which are parameters of which part, what is written over what.

    Attributes
    ----------
    parts : list of (list of Loop, or Op)
        Loops that are compiled together, or a call of NumPy.
    arrays : set of Value
        What is an array outside of the loops.
    over : dict of Value to Value
        The input that a new value is written over.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lowering = Lowering(program)
        self.base = self.lowering.base
        self.parts: list[Any] = []
        self.results = {self.base[v] for v in values_in(program.outputs)}
        calls = [op for op in self.lowering.ops if op.kind == "call"]
        called = {access.base for op in calls for access in op.reads()} | {v for op in calls for v in op.step.outs()}
        self.arrays = {*program.inputs, *self.lowering.constants, *self.results, *called}
        self.arrays |= {self.base[v] for v in program.updates.values()}
        for group in arrange(self.lowering.ops, self.arrays):
            if group.ops[0].kind == "call":
                self.parts.append(group.ops[0])
            elif self.parts and isinstance(self.parts[-1], list) and not is_wide(group) and not is_wide(self.parts[-1][0]):
                self.parts[-1].append(group)
            else:
                self.parts.append([group])
        self.part_of: dict[Op, int] = {}
        self.order: dict[Op, int] = {}
        self.touching: dict[Value, list[tuple[Op, Access]]] = {}
        for number, part in enumerate(self.parts):
            for op in [part] if isinstance(part, Op) else in_order(part):
                self.part_of[op] = number
                self.order[op] = len(self.order)
                for access in op.touches():
                    self.touching.setdefault(access.base, []).append((op, access))
        self.arrays |= {v for v, ops in self.touching.items() if len({self.part_of[op] for op, _ in ops}) > 1}
        self.over = {new: old for old, new in program.updates.items() if self.goes_over(old, new, called)}

    def goes_over(self, old: Value, new: Value, called: Iterable[Value]) -> bool:
        """Return whether a new value can be written straight over the old one: nothing reads that any more."""
        if self.base[new] is not new or new in self.results or new in called or not old.shape:
            return False
        if old in self.results or old in {self.base[v] for v in self.program.updates.values()}:
            return False
        if (old.shape, old.dtype) != (new.shape, new.dtype) or list(self.program.updates.values()).count(new) > 1:
            return False
        writers = [op for op, access in self.touching.get(new, ()) if access is op.out]
        if len(writers) != 1 or writers[0].kind != "map":
            return False
        [writer] = writers
        assert writer.out is not None
        for reader, access in self.touching.get(old, ()):
            if self.order[reader] > self.order[writer]:
                return False
            for (loop, dim), (other, place) in zip(writer.path, reader.path, strict=False):
                if loop is not other:
                    break
                key = writer.out.key(dim)
                if key is None or key != access.key(place):
                    return False
        return True

    def home(self, base: Value) -> list[tuple[int, Loop]]:
        """Return the axes of an array that its loops keep apart, so that one place does for all of their iterations."""
        if base in self.arrays:
            return []
        touching = self.touching[base]
        found = []
        for level in zip(*(op.path for op, _ in touching), strict=False):
            keys = {access.key(dim) for (_, access), (_, dim) in zip(touching, level, strict=True)}
            if len({loop for loop, _ in level}) != 1 or len(keys) != 1 or None in keys:
                break
            found.append((next(iter(keys))[0], level[0][0]))  # type: ignore[index]
        return found

    def kept_axes(self, base: Value) -> list[int]:
        """Return the axes that an array of the loops has in memory."""
        if base in self.arrays:
            return list(range(len(base.shape)))
        gone = {axis for axis, _ in self.home(base)}
        return [i for i, n in enumerate(base.shape) if i not in gone and n != 1]


def in_order(loops: Sequence[Loop]) -> Iterable[Op]:
    """Yield the operations as they are taken."""
    for loop in loops:
        if loop.extent is None:
            yield from loop.ops
        else:
            yield from in_order(loop.body)


def is_wide(loop: Loop) -> bool:
    """Return whether threads can share a loop, and it is long enough for that."""
    maps = all(op.kind == "map" and all(a.place is None for r in op.touches() for a in r.axes) for op in loop.ops)
    return maps and loop.extent is not None and max(math.prod(op.extents.values()) for op in loop.ops) >= WIDE


class Part:
    """Prints the loops that are compiled as one function."""

    def __init__(self, layout: Layout, loops: Sequence[Loop], name: str, helpers: set[str]) -> None:
        self.layout, self.loops, self.name, self.helpers = layout, loops, name, helpers
        self.names = Names()
        self.names.taken |= PRIVATE | HELPERS.keys() | ELEMENTARY | set(QUARTERS.split(", "))
        self.ops = list(in_order(loops))
        self.lines: list[str] = []
        self.parameters: dict[Value, str] = {}
        self.scratch: list[Value] = []
        self.flat: dict[Value, str] = {}
        self.variable: dict[Loop, str] = {}
        self.texts: dict[Any, tuple[str, int]] = {}  # of what is in a local variable, or written where it is used
        self.readers: dict[Value, list[Op]] = {}
        self.kept: dict[Value, list[int]] = {}
        for op in self.ops:
            for access in op.reads():
                self.readers.setdefault(access.base, []).append(op)
            for access in op.touches():
                self.parameter(access.base)
        self.wide = loops[0].extent if is_wide(loops[0]) and not self.scratch else None
        self.emit(loops, 1)

    def parameter(self, base: Value) -> None:
        """Make an array a parameter, if it isn't a local variable."""
        if base in self.kept:
            return
        self.kept[base] = self.layout.kept_axes(base)
        over = self.layout.over.get(base)
        if over is not None:
            self.parameter(over)
            self.names.of[base] = self.names.of[over]
        elif base in self.layout.arrays or self.kept[base]:
            self.parameters[base] = self.names.value(base)
            if base not in self.layout.arrays:
                self.scratch.append(base)

    def is_scalar(self, base: Value) -> bool:
        """Return whether a value is a local variable."""
        return base not in self.layout.arrays and not self.kept[base]

    def text(self) -> str:
        """Return the function."""
        types = ", ".join(["int64"] * 2 * (self.wide is not None) + [self.type_of(v) for v in self.parameters])
        names = ["start", "stop"] * (self.wide is not None) + [*self.parameters.values()]
        flat = [f"    {name} = {self.parameters[v]}.reshape(-1)" for v, name in self.flat.items()]
        body = "\n".join(flat + self.lines)
        head = f'@njit("void({types})", cache=True, nogil=True, error_model="numpy")'
        return f"{head}\ndef {self.name}({', '.join(names)}):\n{body}\n"

    def type_of(self, base: Value) -> str:
        """Return numba's name for the type of a parameter."""
        if not base.shape and not self.is_made_here(base):
            return base.dtype.name
        return f"{base.dtype.name}[{'::1' if not base.shape else ':, ' * (len(self.kept[base]) - 1) + '::1'}]"

    def is_made_here(self, base: Value) -> bool:
        """Return whether some loop computes it, so that it isn't a number that is given."""
        return any(op.out is access and op.kind != "call" for op, access in self.layout.touching.get(base, ()))

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def emit(self, loops: Sequence[Loop], depth: int) -> None:
        """Print loops, one after the other."""
        for loop in loops:
            if loop.extent is None:
                for op in loop.ops:
                    self.statement(op, depth)
                continue
            folds = [op for op in loop.ops if op.kind == "fold" and self.first_reduced(op) is loop]
            for op in folds:
                self.begin(op, loop, depth)
            before = dict(self.texts)
            self.variable[loop] = self.fresh(depth)
            whole = self.wide is None or depth > 1
            self.line(depth, f"for {self.variable[loop]} in range({loop.extent if whole else 'start, stop'}):")
            self.emit(loop.body, depth + 1)
            for key in set(self.texts) - set(before):
                del self.texts[key]
            for op in folds:
                self.end(op, loop, depth)

    def fresh(self, depth: int) -> str:
        """Return a name for the variable of a loop."""
        wish = LETTERS[depth - 1]
        return wish if wish not in self.names.taken else self.names.new(f"index_{wish}")

    def first_reduced(self, op: Op) -> Loop:
        """Return the outermost loop over which an operation sums."""
        return next(loop for loop, dim in op.path if op.reduced(dim))

    def is_local(self, op: Op) -> bool:
        """Return whether a sum is taken in a local variable: from its outermost loop on, every loop is summed over."""
        assert op.out is not None
        inside = False
        for _, dim in op.path:
            inside = inside or op.reduced(dim)
            if inside and not op.reduced(dim):
                return False
        return True

    def is_long(self, op: Op) -> bool:
        """Return whether so many float32 are added that it is done in float64; NumPy adds them in pairs of pairs."""
        count = math.prod(n for dim, n in op.extents.items() if op.reduced(dim))
        return op.fold == "add" and op.dtype == np.float32 and count > LONG

    def local(self, op: Op) -> str:
        """Return the name of the variable in which a sum is taken."""
        assert op.out is not None
        base = op.out.base
        if self.is_scalar(base):
            return self.names.value(base)
        if op not in self.names.of:
            self.names.of[op] = self.names.new(f"{base.name or 't'}_sum")
        return self.names.of[op]

    def begin(self, op: Op, loop: Loop, depth: int) -> None:
        """Print how a sum starts."""
        assert op.out is not None
        start = literal(op.start, op.dtype)[0]
        if self.is_local(op):
            self.line(depth, f"{self.local(op)} = {'0.0' if self.is_long(op) else start}")
            return
        if not op.out.base.size:
            return
        outer = [dim for other, dim in op.path[: [other for other, _ in op.path].index(loop)]]
        axes = []
        for n, axis in enumerate(op.out.axes):
            if n not in self.kept[op.out.base]:
                axes.append("")
            elif all(dim in outer for dim, _ in axis.terms):
                axes.append(self.axis(op, axis))
            else:
                variable = LETTERS[depth - 1] if LETTERS[depth - 1] not in self.names.taken else self.fresh(depth)
                self.line(depth, f"for {variable} in range({op.out.base.shape[n]}):")
                axes.append(variable)
                depth += 1
        name = self.names.value(op.out.base)
        self.line(depth, f"{name}[{', '.join(a for a in axes if a) or '0'}] = {start}")

    def end(self, op: Op, loop: Loop, depth: int) -> None:
        """Print where a sum goes, if it isn't a local variable or where it belongs already."""
        assert op.out is not None
        if self.is_local(op):
            if self.is_long(op):
                self.line(depth, f"{self.local(op)} = np.float32({self.local(op)})")
            if not self.is_scalar(op.out.base):
                self.line(depth, f"{self.reference(op, op.out)} = {self.local(op)}")
            self.texts[self.reference(op, op.out)] = self.local(op), ATOM

    def statement(self, op: Op, depth: int) -> None:
        """Print one operation."""
        assert op.out is not None
        base, where = op.out.base, self.reference(op, op.out)
        if op.kind == "fold" and (self.is_local(op) or op.fold != "add"):
            target = self.local(op) if self.is_local(op) else where
            helper = FOLDED.get((op.fold, op.dtype.kind), op.fold)
            self.helpers.add(helper)
            text = self.expression(op)[0]
            text = f"np.float64({text})" if self.is_local(op) and self.is_long(op) else text
            self.line(depth, f"{target} = {helper}({target}, {text})")
        elif op.kind in ("fold", "add"):
            self.line(depth, f"{where} += {self.expression(op)[0]}")
            self.texts.pop(where, None)
        else:
            text, rank = self.expression(op)
            readers = self.readers.get(base, [])
            if self.is_scalar(base):
                if len(readers) == 1 and self.may_inline(op, readers[0], text):
                    self.texts[where] = text, rank
                else:
                    self.line(depth, f"{self.names.value(base)} = {text}")
            elif any(self.same_place(op, r) for r in readers):
                name = self.names.new(f"{base.name or 't'}_{''.join(self.variable[loop] for loop, _ in op.path)}")
                self.line(depth, f"{name} = {text}")
                self.line(depth, f"{where} = {name}")
                self.texts[where] = name, ATOM
            else:
                self.line(depth, f"{where} = {text}")
                self.texts.pop(where, None)

    def same_place(self, op: Op, reader: Op) -> bool:
        """Return whether two operations are in the body of the same loop."""
        return [loop for loop, _ in op.path] == [loop for loop, _ in reader.path]

    def may_inline(self, op: Op, reader: Op, text: str) -> bool:
        """Return whether an expression is better read inside of the one that uses it."""
        assert op.out is not None
        if op.out.base.name is not None or len(text) > 60 or not self.same_place(op, reader):
            return False
        number = next(
            (i for i, o in enumerate(reader.operands) if isinstance(o.what, Access) and o.what.base is op.out.base), -1
        )
        if number < 0 or reader.text.count(f"{{{number}}}") != 1:
            return False
        changing = {*self.layout.over.values(), *self.layout.over}
        return not any(a.base in changing or self.writers(a.base) > 1 for a in op.reads())

    def writers(self, base: Value) -> int:
        return sum(1 for op, access in self.layout.touching[base] if access is op.out)

    def reference(self, op: Op, access: Access) -> str:
        """Return an element as it is written."""
        base = access.base
        if self.is_scalar(base):
            return self.names.value(base)
        if not base.shape and base in self.layout.arrays:
            return f"{self.names.value(base)}[0]" if self.is_made_here(base) else self.names.value(base)
        name = self.names.value(base)
        if access.flat:
            base = self.layout.over.get(base, base)
            if base not in self.flat:
                self.flat[base] = self.names.new(f"{name}_flat")
            return f"{self.flat[base]}[{self.axis(op, access.axes[0])}]"
        axes = [self.axis(op, axis) for n, axis in enumerate(access.axes) if n in self.kept[base]]
        return f"{name}[{', '.join(axes)}]"

    def axis(self, op: Op, axis: Axis) -> str:
        """Return an index along one axis."""
        if axis.place is not None:
            self.helpers.add("place")
            return f"place({self.read(op, Operand(axis.place, axis.place.base.dtype))[0]}, {axis.extent})"
        loops = {dim: loop for loop, dim in op.path}
        text = ""
        for dim, factor in sorted(axis.terms, key=lambda term: term[1] < 0):
            name = self.variable[loops[dim]]
            name = name if abs(factor) == 1 else f"{abs(factor)} * {name}"
            text += (
                (f" - {name}" if text or axis.start else f"-{name}") if factor < 0 else f" + {name}" if text else name
            )
            if factor < 0 and axis.start and text.startswith(" - "):
                text = f"{axis.start}{text}"
        if axis.start and not text.startswith(f"{axis.start} - "):
            text = f"{text} + {axis.start}" if text else str(axis.start)
        return text or "0"

    def read(self, op: Op, operand: Operand) -> tuple[str, int]:
        """Return an operand, with the rank of its outermost operator."""
        if not isinstance(operand.what, Access):
            return literal(operand.what, operand.dtype)
        text = self.reference(op, operand.what)
        return self.texts.get(text, (text, ATOM))

    def expression(self, op: Op) -> tuple[str, int]:
        """Return what an operation computes, with the rank of its outermost operator."""
        parts = [self.read(op, operand) for operand in op.operands]
        template = op.text
        if template == "{0}":
            text, rank = parts[0]
        else:
            rank = rank_of(template)
            if rank == ATOM:
                texts = [text for text, _ in parts]
                self.helpers.update(called(template))
            else:
                texts = [
                    text if r > rank or (r == rank and i == 0 and rank != COMPARISON) else f"({text})"
                    for i, (text, r) in enumerate(parts)
                ]
            text = template.format(*texts)
        return self.converted(op, text, rank)

    def converted(self, op: Op, text: str, rank: int) -> tuple[str, int]:
        """Return an expression in the dtype that NumPy gives it, where numba would compute in another."""
        plain = op.text == "{0}"
        if op.kind == "fold" and op.text == "{0}, {1}":
            return text, rank
        same = plain and op.operands[0].dtype == op.dtype
        small = op.dtype.kind in "iu" and op.dtype.itemsize < 8
        if same or not (plain or small):
            return text, rank
        if plain and not isinstance(op.operands[0].what, Access):
            return text, rank
        return f"np.{'bool_' if op.dtype.kind == 'b' else op.dtype.name}({text})", ATOM


FOLDED = {
    ("largest", "i"): "maximum",
    ("largest", "u"): "maximum",
    ("smallest", "i"): "minimum",
    ("smallest", "u"): "minimum",
}


def rank_of(template: str) -> int:
    """Return how strongly the outermost operator of an expression binds."""
    if template.startswith("-"):
        return NEGATIVE
    if template.startswith("not "):
        return 0
    sign = template.split(" ")[1] if template.startswith("{") and " " in template else ""
    return RANKS.get(sign, COMPARISON) if sign and "," not in template.split(" ")[0] else ATOM


def literal(number: Any, dtype: np.dtype[Any]) -> tuple[str, int]:
    """Return a number as numba reads it, in its dtype."""
    if dtype.kind == "b":
        return str(bool(number)), ATOM
    if dtype.kind == "f":
        number = float(number)
        text = (
            repr(number)
            if math.isfinite(number)
            else f"{'-' if number < 0 else ''}np.{'nan' if number != number else 'inf'}"
        )
    else:
        text = repr(int(number))
    if dtype not in (np.float64, np.int64):
        return f"np.{dtype.name}({text})", ATOM
    return text, NEGATIVE if text.startswith("-") else ATOM


class Driver:
    """Prints the plain function that calls the loops, and NumPy where a step has no loops."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.layout, self.name = layout, name
        self.program = layout.program
        self.names = Names()
        self.names.taken |= {"in_threads"}
        self.writer = Writer(self.program, self.names, {})
        self.helpers: set[str] = set()
        self.array: dict[Value, str] = {}
        self.pooled: list[Value] = []
        self.ready: set[Value] = set()
        self.lines: list[str] = []
        self.inputs = [self.names.value(v, "x") for v in self.program.inputs]
        for value, array in layout.lowering.constants.items():
            self.names.of[value] = self.names.constant(np.ascontiguousarray(array), "constant")
        for value in (*self.program.inputs, *layout.lowering.constants):
            self.array[value] = self.names.of[value]
        self.ready.update(self.array)
        self.parts: list[Part] = []
        wish = f"{name}_loops"
        for part in layout.parts:
            if isinstance(part, Op):
                self.call(part.step)
            else:
                number = len(self.parts) + 1
                several = sum(isinstance(p, list) for p in layout.parts) > 1
                self.part(Part(layout, part, self.names.new(f"{wish}_{number}" if several else wish), self.helpers))

    def part(self, part: Part) -> None:
        """Print the call of a compiled function."""
        self.parts.append(part)
        args = []
        for base in part.parameters:
            if base not in self.array:
                self.allocate(base, base in part.scratch)
            if base.shape or part.is_made_here(base):
                args.append(self.array[base])
            else:
                convert = {"float64": "float", "int64": "int", "bool": "bool"}.get(base.dtype.name, f"np.{base.dtype.name}")
                args.append(f"{convert}({self.array[base]})")
        called = f"{part.name}(" if part.wide is None else f"in_threads({part.name}, {part.wide}, "
        self.lines.append(f"{called}{', '.join(args)})")

    def allocate(self, base: Value, scratch: bool) -> None:
        """Find memory for an array: the caller's own, or a buffer."""
        shape = base.shape or (1,)
        name = self.array[base] = self.names.new(base.name or "t")
        self.names.of[base] = name if base.shape else f"{name}[0]"
        self.ready.add(base)
        if base in self.layout.results:
            self.lines.append(f"{name} = {empty(shape, base.dtype)}")
        else:
            self.pooled.append(base)

    def value(self, value: Value) -> None:
        """See to it that a value has a name, if it is a view of what is there."""
        if value in self.names.of:
            return
        over = self.layout.over.get(value)
        if over is not None:
            self.names.of[value] = self.names.of[over]
            return
        step = self.layout.lowering.made[value]
        for operand in step.operands():
            self.value(operand)
        if step.function in SAME:
            self.names.of[value] = self.names.of[step.args[0]]
        else:
            text = self.writer.call(step)[0]
            self.lines.append(f"{self.names.value(value)} = {text}")

    def call(self, step: Step) -> None:
        """Print a call of NumPy."""
        for operand in step.operands():
            self.value(operand)
        if isinstance(step.out, tuple):
            self.lines.append(f"{', '.join(self.names.value(v) for v in step.out)} = {self.writer.call(step)[0]}")
        elif (
            step.function in (np.dot, np.matmul)
            and step.out.shape
            and not step.kwargs
            and step.out not in self.layout.results
        ):
            self.allocate(step.out, False)
            function = "dot" if all(len(v.shape) == 2 for v in step.operands()) else "matmul"
            args = ", ".join(self.names.of[v] for v in step.args)
            self.lines.append(f"np.{function}({args}, out={self.array[step.out]})")
        else:
            text = self.writer.call(step)[0]
            contiguous = step.out.shape and any(op.kind != "call" for op, _ in self.layout.touching.get(step.out, ()))
            self.lines.append(
                f"{self.names.value(step.out)} = {f'np.ascontiguousarray({text})' if contiguous else text}"
            )
        for value in step.outs():
            self.array.setdefault(value, self.names.value(value))

    def text(self) -> str:
        """Return the function, and what it needs."""
        for value in (*values_in(self.program.outputs), *self.program.updates.values()):
            self.value(value)
        updates = [(old, new) for old, new in self.program.updates.items() if new not in self.layout.over]
        kept = {
            new: self.names.new(f"new_{self.names.of[old]}")
            for old, new in updates
            if self.layout.base[new] in self.program.inputs
        }
        lines = [f"{name} = {self.writer.text(new)}.copy()" for new, name in kept.items()]
        lines += [f"{self.writer.text(old)}[...] = {kept.get(new) or self.writer.text(new)}" for old, new in updates]
        result = self.writer.text(self.program.outputs)
        if isinstance(self.program.outputs, tuple) and len(self.program.outputs) > 1:
            result = result[1:-1]
        used = {base for part in self.parts for base in part.parameters}
        checked = [n for v, n in zip(self.program.inputs, self.inputs, strict=True) if v.shape and v in used]
        head = self.contiguous(checked) if checked else []
        buffers = [self.array[v] for v in self.pooled]
        if buffers:
            head += [
                "buffers = _pool.pop() if _pool else _allocate()",
                f"{', '.join(buffers)}{',' * (len(buffers) == 1)} = buffers",
            ]
            lines.append("_pool.append(buffers)")
        body = "\n".join(f"    {line}" for line in [*head, *self.lines, *lines, f"return {result}"])
        return f"{self.allocation()}def {self.name}({', '.join(self.inputs)}):\n{body}\n"

    def contiguous(self, checked: Sequence[str]) -> list[str]:
        """Return how arrays of another layout are dealt with: by copies."""
        updated = [
            (i, n)
            for i, (v, n) in enumerate(zip(self.program.inputs, self.inputs, strict=True))
            if v in self.program.updates
        ]
        result = "result = " if updated else "return "
        return [
            f"if not ({' and '.join(f'{name}.flags.carray' for name in checked)}):",
            f"    copies = [np.array(x, order='C') for x in ({', '.join(self.inputs)},)]",
            f"    {result}{self.name}(*copies)",
            *(f"    {name}[...] = copies[{i}]" for i, name in updated),
            *(["    return result"] if updated else []),
        ]

    def allocation(self) -> str:
        """Return the source that allocates the buffers of one call; a pool of them serves calls from several threads."""
        if not self.pooled:
            return ""
        kept = {v: part.kept[v] for part in self.parts for v in part.scratch}
        shapes = [tuple(v.shape[i] for i in kept[v]) if v in kept else v.shape or (1,) for v in self.pooled]
        rows = "".join(f"        {empty(shape, v.dtype)},\n" for shape, v in zip(shapes, self.pooled, strict=True))
        return f"_pool = []\n\n\ndef _allocate():\n    return (\n{rows}    )\n\n\n"


def empty(shape: tuple[int, ...], dtype: Any) -> str:
    """Return the expression for a new array."""
    return f"np.empty({shape}{'' if dtype == np.float64 else f', np.{dtype.name}'})"


class Loops:
    """A program whose loops numba has compiled.

    Attributes
    ----------
    source : str
        The loops, and the function that calls them.
    function : callable
        That function.
    report : str
        What became loops, and what NumPy still does, and why.
    seconds : float
        What compiling took; next to nothing where it was found on disk.
    """

    def __init__(self, program: Program, name: str) -> None:
        start = time.perf_counter()
        layout = Layout(program)
        driver = Driver(layout, name)
        text = driver.text()
        self.program, self.constants = program, driver.names.constants
        self.report = report(layout, driver)
        namespace: dict[str, Any] = {"np": np, "in_threads": in_threads, **self.constants}
        loops = module_text(driver.helpers, driver.parts)
        if driver.parts:
            module = compiled(loops, name)
            namespace.update((part.name, getattr(module, part.name)) for part in driver.parts)
        self.source = f"{loops}\n\n{text}" if driver.parts else f"import numpy as np\n\n\n{text}"
        exec(builtins.compile(text, f"<compiled {name}>", "exec"), namespace)
        self.function = namespace[name]
        self.seconds = time.perf_counter() - start


def called(text: str) -> set[str]:
    """Return the names of our own functions that a piece of source calls."""
    return set(re.findall(r"(?<![\w.])(\w+)\(", text)) & (HELPERS.keys() | ELEMENTARY)


def module_text(helpers: set[str], parts: Sequence[Part]) -> str:
    """Return the source of a module with the compiled functions."""
    lines = ["import math", "", "import numpy as np"]
    if helpers & {"largest", "smallest"}:
        lines += ["from llvmlite import ir", "from numba import njit", "from numba.extending import intrinsic"]
    else:
        lines += ["from numba import njit"]
    texts = [HELPERS[name] for name in HELPERS if name in helpers]
    if helpers & ELEMENTARY:
        lines += [
            "",
            *(f"{name} = {number!r}" for name, number in vars(elementary).items() if name.startswith("ROUND")),
        ]
        needed: set[str] = set()
        while helpers - needed:
            needed |= helpers
            helpers = needed.union(
                *(called(inspect.getsource(getattr(elementary, name))) for name in needed & ELEMENTARY)
            )
        if "quarter_turns" in needed:
            texts.append(f"{inspect.getsource(elementary.quarters)}\n\n{QUARTERS} = quarters()\n")
        functions = [getattr(elementary, name) for name in vars(elementary) if name in needed & ELEMENTARY]
        texts += [f'@njit(forceinline=True, error_model="numpy")\n{inspect.getsource(f)}' for f in functions]
    texts += [part.text() for part in parts]
    return "\n".join(lines) + "\n" + "".join(f"\n\n{text}" for text in texts)


def compiled(text: str, name: str) -> Any:
    """Return a module whose functions numba has compiled, now or in an earlier process.

    The module is written to a folder, next to which numba keeps the machine code: `MICROGRADND_CACHE` names it, or else it
    is `microgradnd` in the user's cache. After a second, a note says what takes so long.
    """
    numba = load_numba()
    digest = hashlib.sha256(f"{numba.__version__} {np.__version__}\n{text}".encode()).hexdigest()[:24]
    spec_name = f"microgradnd_loops_{digest}"
    if spec_name in sys.modules:
        return sys.modules[spec_name]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("MICROGRADND_CACHE") or Path(home) / "microgradnd")
    path = folder / f"{spec_name}.py"
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=folder)
            os.write(handle, text.encode())
            os.close(handle)
            Path(temporary).replace(path)
        except OSError:  # nowhere to write: it is compiled in each process
            folder = Path(tempfile.mkdtemp())
            path = folder / path.name
            path.write_text(text)
    note = threading.Timer(1.0, lambda: print(f"microgradnd: numba is compiling {name} ...", file=sys.stderr))
    note.daemon = True
    note.start()
    try:
        spec: Any = importlib.util.spec_from_file_location(spec_name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[spec_name]
            raise
        return module
    finally:
        note.cancel()


def race(programs: Sequence[Callable[..., Any]], arrays: Sequence[Any]) -> list[float]:
    """Return the time in microseconds that each program takes on copies of some arrays: the best of a few calls."""
    times = []
    for program in programs:
        copies = [np.array(a) if isinstance(a, np.ndarray) else a for a in arrays]
        program(*copies)
        start = time.perf_counter()
        best = math.inf
        while time.perf_counter() - start < RACE_SECONDS:
            begun = time.perf_counter()
            program(*copies)
            best = min(best, time.perf_counter() - begun)
        times.append(1e6 * best if best < math.inf else 1e6 * (time.perf_counter() - start))
    return times


def in_threads(loops: Callable[..., None], extent: int, *args: Any) -> None:
    """Run a loop from 0 to `extent`, divided among as many threads as numba and OpenMP may use."""
    limit = load_numba().config.NUMBA_NUM_THREADS
    count = min(limit, int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0] or limit), extent)
    bounds = [extent * i // max(count, 1) for i in range(count + 1)]
    threads = [threading.Thread(target=loops, args=(*pair, *args)) for pair in pairwise(bounds[1:])]
    for thread in threads:
        thread.start()
    loops(*bounds[:2], *args)
    for thread in threads:
        thread.join()


def load_numba() -> Any:
    """Return numba, or say how to get it."""
    try:
        import numba
    except ImportError as error:
        raise ImportError('mg.compile(f, backend="numba") needs numba: pip install "microgradnd[numba]"') from error
    return numba


def report(layout: Layout, driver: Driver) -> str:
    """Return what became loops, and what is left to NumPy, and why."""
    lines = []
    parts = iter(driver.parts)
    for part in layout.parts:
        if isinstance(part, Op):
            name = getattr(part.step.function, "__name__", str(part.step.function))
            shapes = ", ".join(str(v.shape) for v in part.step.operands())
            lines.append(f"NumPy: {name} of {shapes}: {part.why}")
        else:
            printed = next(parts)
            nests = [loop for loop in part if loop.extent is not None]
            inner = sum(line.lstrip().startswith("for ") for line in printed.lines)
            steps = len({op.step for op in printed.ops})
            lines.append(f"loops: {printed.name}: {steps} steps in {inner} loops, {len(nests)} of them outermost")
    return "\n".join(lines)
