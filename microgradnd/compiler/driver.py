"""The function around a program's loops, as source.

Owns: how compiled functions and NumPy are called in turn, and the memory that they
write to.
Must not own: loops (`loops.py`), or how they are compiled (`machine.py`).
Read next: `machine.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.bodies import Loop, levels
from microgradnd.compiler.buffers import Plan, may_share
from microgradnd.compiler.fast import pooled, turns
from microgradnd.compiler.fusion import Op
from microgradnd.compiler.loops import TAKEN, Fused, Layout, laid_out
from microgradnd.compiler.program import Program, Step, Value, moves, values_in
from microgradnd.compiler.scalars import UnfitError
from microgradnd.compiler.source import Names, Writer, function_text
from microgradnd.compiler.traits import traits
from microgradnd.compiler.turns import Turns

NATIVE = {"float64": "float", "int64": "int", "bool": "bool"}  # dtypes that are Python's too


class Driver:
    """Prints the plain function that calls the loops, and NumPy for other steps."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.layout, self.name, self.program = layout, name, layout.program
        self.names = Names(name, *TAKEN)
        self.writer = Writer(self.program, self.names, {})
        self.inputs = [self.names.value(v, "x") for v in self.program.inputs]
        self.array = {v: self.names.of[v] for v in self.program.inputs}
        self.pooled: list[str] = []
        self.lines: list[str] = []
        self.parts: list[Fused | Turns] = []
        self.report: list[str] = []
        self.text = ""

    def constants(self) -> dict[str, Any]:
        """Return the constants that the function needs, by name."""
        return {name: getattr(thing, "array", thing) for name, thing in self.names.constants.items()}

    def constants_of(self, layout: Layout) -> None:
        """Name the constant arrays of a program."""
        for value, array in layout.lowering.constants.items():
            self.array[value] = self.names.of[value] = self.names.constant(np.ascontiguousarray(array), "constant")

    def parts_of(self, layout: Layout) -> None:
        """Print the calls of a program's parts."""
        self.layout = layout
        calls = [part.step for part in layout.parts if isinstance(part, Op)]
        lent = (v for step in calls if may_share(step) for v in step.operands())
        program = layout.program
        self.lasting = {layout.base[v] for v in (*lent, *values_in(program.outputs), *program.updates.values())}
        self.ending: dict[int, list[tuple[Any, str]]] = {}  # the buffers whose last use is in a part
        self.free: dict[Any, list[str]] = {}  # the buffers that nothing needs any more, by shape and dtype
        several = sum(isinstance(part, list) for part in layout.parts) > 1
        for number, part in enumerate(layout.parts):
            for kind, buffer in self.ending.pop(number - 1, ()):
                self.free.setdefault(kind, []).append(buffer)
            if isinstance(part, Op):
                self.call(part)
            else:
                count = 1 + sum(isinstance(other, Fused) for other in self.parts)
                suffix = f"_{count}" if several or count > 1 else ""
                self.parts.append(loops := Fused(layout, self.names.new(f"{self.name}_loops{suffix}")))
                loops.write(part)
                self.loops(loops)

    def loops(self, part: Fused) -> None:
        """Print the call of a compiled function."""
        args = [part.name] if part.wide is None else [part.name, str(part.wide)]
        for base in part.parameters:
            if base not in self.array:
                shape = tuple(base.shape[i] for i in part.kept[base]) or (1,)
                self.allocate(base, shape)
            computed = base.shape or self.layout.writers(base)
            args.append(self.array[base] if computed else self.converted(base, self.array[base]))
        function = part.name if part.wide is None else "in_threads"
        call = f"{function}({', '.join(args[part.wide is None :])})"
        numbers = ", ".join(self.returned(base) for base in part.returned)
        self.lines.append(f"{numbers} = {call}" if numbers else call)
        loops = sum(line.lstrip().startswith("for ") for line in part.lines)
        threads = "" if part.wide is None else ", shared by threads"
        self.report.append(f"loops: {part.name}: {len({op.step for op in part.ops})} steps in {loops} loops{threads}")

    def returned(self, base: Value) -> str:
        """Name a number that a compiled function returns, as a Python number."""
        name = self.names.new(base.name or "number")
        self.names.of[base] = f"np.{base.dtype.name}({name})"
        self.array[base] = name if base.dtype.name in NATIVE else self.names.of[base]
        return name

    def allocate(self, base: Value, shape: tuple[int, ...]) -> None:
        """Find memory for an array: the caller's, or a buffer, possibly a freed one."""
        own = base in self.layout.results and bool(base.shape)
        kind = shape, base.dtype
        if free := [] if own else self.free.get(kind, []):
            name = free.pop()
        else:
            name = self.names.new(base.name or "t")
            array = f"np.empty({shape}{'' if base.dtype == np.float64 else f', np.{base.dtype.name}'})"
            (self.lines if own else self.pooled).append(f"{name} = {array}")
        self.array[base] = name
        self.names.of[base] = name if base.shape else f"{name}[0]"
        if not own and base not in self.lasting:
            last = max((self.layout.order[op][0] for op, _ in self.layout.touching.get(base, ())), default=-1)
            self.ending.setdefault(last, []).append((kind, name))

    def value(self, value: Value) -> None:
        """Name a value that is a view of an array, or is written over an input."""
        if value in self.layout.over:
            self.names.of[value] = self.names.of[self.layout.over[value]]
        if value in self.names.of:
            return
        step = self.layout.lowering.made[value]
        for operand in step.operands():
            self.value(operand)
        text = self.writer.call(step)[0]
        self.lines.append(f"{self.names.value(value)} = {text}")

    def turns(self, step: Step) -> None:
        """Print a rolled loop: a compiled function, or a Python loop with calls."""
        loop = step.function
        what = f"{len(loop.body.steps)} steps in a loop of {loop.count} turns"
        try:
            part = Turns(self.names.new(f"{self.name}_turns"))
            part.write(step)
        except UnfitError as error:
            fixed = loop.body.inputs[len(loop.rows) :]
            moving = [s for s in loop.body.steps if levels(s)]
            are_rows = all(s.function is primitives.getitem and {*s.operands()} <= {*fixed} for s in moving)
            only_arrays = all(v.shape for s in (step, *moving) for v in s.outs())
            inside = functools.partial(self.inside, fixed) if are_rows and only_arrays else None
            self.report.append(f"{'NumPy' if inside is None else 'Python'}: {what}: {error}")
            lines = turns(step, self.writer, Plan(), self.pooled, inside)
            self.lines += lines
            self.array.update((v, self.names.of[v]) for v in step.outs())
            return
        self.report.append(f"loops: {part.name}: {what}")
        self.parts.append(part)
        args = []
        for base in part.parameters:
            if base in part.constants:
                args.append(self.names.constant(part.constants[base], "constant"))
            elif base in step.outs() or base in part.scratch:
                self.allocate(base, part.shape_of(base) or (1,))
                args.append(self.array[base])
                self.array[base] = self.names.of[base]  # the one element of a number
            elif base.shape:
                whole = base in self.program.inputs
                args.append(self.names.of[base] if whole else self.as_loops_need(self.names.of[base]))
            else:
                args.append(self.converted(base, self.names.of[base]))
        self.lines.append(f"{part.name}({', '.join(args)})")

    def inside(self, fixed: Sequence[Value], body: Program) -> list[str]:
        """Return the statements of a turn of a Python loop; all turns share `fixed`."""
        before = self.layout, self.lasting, self.ending, self.free, self.lines, len(self.report)
        rows = [step for step in body.steps if moves(step.args)]
        steps = tuple([step for step in body.steps if step not in rows])
        made = [out for row in rows for out in row.outs()]
        layout = laid_out(replace(body, inputs=(*body.inputs, *made), steps=steps), before[0].is_open)
        self.constants_of(layout)
        for value in fixed:
            if is_in_loops(value, layout):
                text, self.names.of[value] = self.names.of[value], self.names.new(value.name or "t")
                self.lines.append(f"{self.names.of[value]} = {self.as_loops_need(text)}")
        self.lines = []
        for row, out in zip(rows, made, strict=True):
            text = self.writer.call(row)[0]
            text = self.as_loops_need(text) if is_in_loops(out, layout) else text
            self.lines.append(f"{self.names.value(out)} = {text}")
        self.array.update((v, self.names.of[v]) for v in layout.program.inputs)
        self.parts_of(layout)
        for value in (*values_in(body.outputs), *body.updates.values()):
            self.value(value)
        for old, new in body.updates.items():
            if new not in layout.over:
                self.lines.append(f"{self.names.of[old]}[...] = {self.writer.text(new)}")
        lines = self.lines
        self.layout, self.lasting, self.ending, self.free, self.lines, count = before
        self.report[count:] = [f"  {line}" for line in self.report[count:]]
        return lines

    def converted(self, base: Value, text: str) -> str:
        """Return a number as the type that a compiled function takes."""
        return f"{NATIVE.get(base.dtype.name, f'np.{base.dtype.name}')}({text})"

    def call(self, op: Op) -> None:
        """Print a call of NumPy."""
        step = op.step
        for operand in step.operands():
            self.value(operand)
        if isinstance(step.function, Loop):
            self.turns(step)
            return
        name = getattr(step.function, "__name__", str(step.function))
        self.report.append(f"NumPy: {name} of {', '.join(str(v.shape) for v in step.operands())}: {op.text}")
        out, text = step.out, self.writer.call(step)[0]
        array = isinstance(out, Value) and bool(out.shape)
        product = traits(step.function).lowering == "product" and all(isinstance(a, Value) for a in step.args)
        if isinstance(out, Value) and array and product and not step.kwargs and out not in self.layout.results:
            self.allocate(out, out.shape)
            function = "dot" if all(len(v.shape) == 2 for v in step.operands()) else "matmul"
            args = ", ".join(self.names.of[v] for v in step.args)
            self.lines.append(f"np.{function}({args}, out={self.array[out]})")
            return
        self.lines.append(f"{', '.join(self.names.value(v) for v in step.outs())} = {text}")
        self.array.update((v, self.names.of[v]) for v in step.outs())
        for name in (self.names.of[v] for v in step.outs() if is_in_loops(v, self.layout)):
            self.lines.append(f"{name} = {self.as_loops_need(name)}")

    def as_loops_need(self, text: str) -> str:
        """Return the expression of an array that loops read, whatever its order."""
        self.names.helpers.add("carray")
        return f"carray({text})"

    def whole(self) -> str:
        """Return the function; its pool has a set of buffers for each running call."""
        for value in (*values_in(self.program.outputs), *self.program.updates.values()):
            self.value(value)
        (head, back), lines = self.contiguous(), self.lines
        updates = [(old, new) for old, new in self.program.updates.items() if new not in self.layout.over]
        new = [self.writer.text(new) for _, new in updates]
        if updates:
            lines.append(f"{', '.join(f'{self.names.of[old]}[...]' for old, _ in updates)} = {', '.join(new)}")
        allocation = ""
        if self.pooled:  # take numbers out before another call may overwrite them
            for value in values_in(self.program.outputs):
                if (name := self.names.of[value]) != self.array.get(value, name):
                    self.names.of[value] = self.names.new(value.name or "number")
                    lines.append(f"{self.names.of[value]} = {name}")
            allocation, lines = pooled(lines, self.pooled, self.pooled)
        lines += back
        text = function_text(self.program, self.name, self.inputs, [*head, *lines], self.writer)
        return f"{self.names.helper_texts()}{allocation}{text}"

    def contiguous(self) -> tuple[list[str], list[str]]:
        """Return the statements that copy arrays of another layout, there and back."""
        used = {base for part in self.parts for base in part.parameters}
        inputs = list(zip(self.program.inputs, self.inputs, strict=True))
        checks = [f"{name}.flags.carray" for value, name in inputs if value.shape and value in used]
        if not checks:
            return [], []
        names, given = f"({''.join(f'{name}, ' for name in self.inputs).strip()})", self.names.new("given")
        copied = [f"if not ({' and '.join(checks)}):", f"    {names} = [np.array(x, order='C') for x in {names}]"]
        updated = [(i, name) for i, (value, name) in enumerate(inputs) if value in self.program.updates]
        if not updated:
            return copied, []
        copied[1:1] = [f"    {given} = {names}"]
        back = [f"    {given}[{i}][...] = {name}" for i, name in updated]
        return [f"{given} = None", *copied], [f"if {given} is not None:", *back]


def driver_of(program: Program, name: str, is_open: bool = False) -> Driver:
    """Return the function around a program's loops, printed."""
    driver = Driver(laid_out(program, is_open), name)
    driver.constants_of(driver.layout)
    driver.parts_of(driver.layout)
    driver.text = driver.whole()
    return driver


def is_in_loops(value: Value, layout: Layout) -> bool:
    """Return whether loops read or write an array."""
    return bool(value.shape) and any(op.kind != "call" for op, _ in layout.touching.get(value, ()))
