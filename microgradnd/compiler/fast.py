"""A program as Python source that writes into planned buffers.

Owns: the fast form: a statement for each step, with `out=` where a value has its place.
Must not own: the plan (`buffers.py`), or how a step is written in NumPy (`source.py`).
Read next: `__init__.py`.

The buffers of a call come from a pool, so that calls from several threads never share them. Views of buffers are made
with the buffers. Numbers that a ufunc would convert in each call are arrays made once; arithmetic between numbers is
left to Python's operators, which NumPy's scalars have.
"""

from __future__ import annotations

import re

import numpy as np

from microgradnd.compiler.buffers import Plan, is_reducer
from microgradnd.compiler.passes import VIEWS
from microgradnd.compiler.program import Program, Step, Value
from microgradnd.compiler.source import OPERATORS, Names, Writer, function_text, statement

ARITHMETIC = {np.add, np.subtract, np.multiply, np.divide, np.negative}


def fast(program: Program, name: str, names: Names, plan: Plan) -> tuple[str, str]:
    """Return the source that allocates a program's buffers, and the program as a function that writes into them."""
    inputs = [names.value(v, "x") for v in program.inputs]
    inline: dict[Value, Step] = {}
    writer = Writer(program, names, inline)
    allocated = allocation(program, names, plan, writer)
    lines = []
    if allocated:
        held = ", ".join(line.split(" = ")[0].strip() for line in allocated)
        lines.append("_buffers = _pool.pop() if _pool else _allocate()")
        lines.append(f"({held},) = _buffers")
    uses, wanted = program.uses(), set(program.results())
    views = {step.out for step in plan.views}
    for step in program.steps:
        out = step.out
        if isinstance(out, Value) and out in plan.over:
            names.of[out] = names.value(plan.over[out])
            lines.append(into(step, writer))
        elif isinstance(out, Value) and (out in plan.buffer_of or out in plan.part_of):
            if not plan.is_joined(step):
                lines.append(f"{into(step, writer)}  # {out.name or 'a step'} {out.shape}")
        elif out in views:
            continue
        elif isinstance(out, Value) and out not in wanted and step.function in VIEWS and uses.get(out, 0) == 1:
            inline[out] = step
        elif isinstance(out, Value):
            lines.append(f"{names.value(out)} = {plain_call(step, writer)}")
        else:
            lines.append(statement(step, writer))
    if allocated:
        lines.append("_pool.append(_buffers)")
    text = function_text(program, name, inputs, lines, writer)
    if not allocated:
        return "", text
    body = "\n".join(f"    {line}" for line in allocated)
    return f"_pool = []\n\n\ndef _allocate():\n{body}\n    return ({held},)\n\n\n", text


def allocation(program: Program, names: Names, plan: Plan, writer: Writer) -> list[str]:
    """Return the statements that make buffers and their views, and name the values that live in them."""
    lines = []
    buffers = []
    for i, (shape, dtype) in enumerate(plan.buffers):
        buffers.append(names.new(f"buffer{i}"))
        lines.append(f"{buffers[-1]} = np.empty({shape}, np.{dtype.name})")
    shaped = {(i, shape): name for i, ((shape, _), name) in enumerate(zip(plan.buffers, buffers, strict=True))}
    for value, i in plan.buffer_of.items():
        if (i, value.shape) not in shaped:
            shaped[i, value.shape] = names.new(f"buffer{i}")
            lines.append(f"{shaped[i, value.shape]} = {buffers[i]}.reshape({value.shape})")
        names.of[value] = shaped[i, value.shape]
    for value, (vector, start, stop) in plan.part_of.items():
        part = f"{names.of[vector]}[{start}:{stop}]"
        reshaped = "" if len(value.shape) == 1 else f".reshape({value.shape})"
        lines.append(f"{names.value(value, 'part')} = {part}{reshaped}")
    known: dict[str, str] = {}
    for step in plan.views:
        assert isinstance(step.out, Value)
        text = writer.call(step)[0]
        if text not in known:
            known[text] = names.value(step.out, "view")
            lines.append(f"{known[text]} = {text}")
        names.of[step.out] = known[text]
    return lines


def into(step: Step, writer: Writer) -> str:
    """Return a step as a call that writes its result into its place."""
    assert isinstance(step.out, Value)
    return f"{plain_call(step, writer)[:-1]}, out={writer.names.of[step.out]})"


def plain_call(step: Step, writer: Writer) -> str:
    """Return a step as a call of its function."""
    function, out = step.function, step.out
    if not isinstance(function, np.ufunc) or not isinstance(out, Value):
        return writer.call(step)[0] if not is_reducer(function) and function not in OPERATORS else called(step, writer)
    if is_scalar(step) and not step.kwargs:
        if function in ARITHMETIC:
            return writer.call(step)[0]
        if function is np.float_power:
            return f"{writer.text(step.args[0], 8)} ** {writer.text(step.args[1], 8)}"
    return called(step, writer)


def called(step: Step, writer: Writer) -> str:
    """Return a step as a call, whatever its operator."""
    args = [number(a, step, writer) if isinstance(step.function, np.ufunc) else writer.text(a) for a in step.args]
    inside = args + [f"{key}={writer.text(a)}" for key, a in step.kwargs.items()]
    return f"{writer.function(step.function)}({', '.join(inside)})"


def is_scalar(step: Step) -> bool:
    """Return whether a step computes a floating-point number from numbers."""
    values = [a for a in step.args if isinstance(a, Value)]
    plain = all(isinstance(a, Value | int | float) for a in step.args)
    return plain and step.out.shape == () and step.out.dtype.kind in "fc" and all(v.shape == () for v in values)  # type: ignore[union-attr]


def number(arg: object, step: Step, writer: Writer) -> str:
    """Return an argument of a ufunc; a Python number becomes a 0-d array of the dtype that NumPy would give it."""
    if type(arg) in (int, float) or isinstance(arg, np.float64 | np.float32):
        dtypes = {a.dtype for a in step.args if isinstance(a, Value)}
        if len(dtypes) == 1 and (dtype := dtypes.pop()).kind == "f" and getattr(arg, "dtype", dtype) == dtype:
            text = re.sub(r"\W", "_", repr(float(arg)).replace("-", "minus_"))  # type: ignore[arg-type]
            return writer.names.constant_number(np.array(arg, dtype), f"c_{text}")
    return writer.text(arg)
