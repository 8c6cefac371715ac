"""A program as Python source that writes into planned buffers.

Owns: the fast form: a statement for each step, with `out=` where a value has a buffer.
Must not own: the plan (`buffers.py`), or how a step is written in NumPy (`source.py`).
Read next: `saving.py`.

The buffers of a call come from a pool, so that calls from several threads never share
any. Views of buffers are made with the buffers. A number that a ufunc would convert in
each call becomes an array once. Arithmetic between numbers uses Python's operators,
which NumPy scalars have too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.blocks import SUM, Chain, is_filled, is_slow
from microgradnd.compiler.bodies import Loop
from microgradnd.compiler.buffers import Plan, Planner, picks_one
from microgradnd.compiler.carrying import in_place
from microgradnd.compiler.passes import holds, loop_of
from microgradnd.compiler.program import Listed, Program, Step, Turn, Value, filled
from microgradnd.compiler.source import Names, Writer, function_text, printable, repeated, statement, updates
from microgradnd.compiler.spelling import IN_PLACE
from microgradnd.compiler.traits import POWER, UNARY, traits


def fast(program: Program, name: str, names: Names, plan: Plan) -> str:
    """Return the source that allocates buffers, and the function that uses them."""
    inputs = [names.value(v, "x") for v in program.inputs]
    writer = Writer(program, names, {})
    allocated = allocation(program, names, plan, writer)
    lines = statements(program, plan, writer, allocated)
    before = ""
    if allocated:
        used = set(re.findall(r"\w+", "\n".join(lines)))
        before, lines = pooled(lines, allocated, [line for line in allocated if line.split(" = ")[0] in used])
    return before + function_text(program, name, inputs, lines, writer)


def statements(program: Program, plan: Plan, writer: Writer, allocated: list[str]) -> list[str]:
    """Return the statements for the steps of a program or of a loop's body."""
    names, inline = writer.names, writer.inline
    lines = numbers_in(program, names)
    uses, wanted = program.uses(), set(program.results())
    wanted.update(v for step in program.steps if isinstance(step.function, Loop) for v in step.operands())
    views = {step.out for step in plan.views}
    for step in program.steps:
        out = step.out
        if isinstance(step.function, Chain):
            lines += loop(step.function, writer, plan)
        elif isinstance(step.function, Loop):
            lines += turns(step, writer, plan, allocated)
        elif isinstance(out, Value) and out in plan.over:
            names.of[out] = names.value(plan.over[out])
            lines.append(into(step, writer))
        elif isinstance(out, Value) and out not in plan.joined and (out in plan.buffer_of or out in plan.part_of):
            lines.append(f"{into(step, writer)}  # {printable(out.name or 'a step')} {out.shape}")
        elif out in views or out in plan.joined:
            continue
        elif step.function in IN_PLACE and isinstance(out, Value):
            names.of[out] = names.of[step.args[0]]
            lines.append(writer.adding(step))
        elif line := in_python(step, writer):
            lines.append(line)
        elif isinstance(out, Value) and out not in wanted and traits(step.function).is_view and uses.get(out, 0) == 1:
            inline[out] = step
        elif isinstance(out, Value):
            lines.append(f"{names.value(out)} = {plain_call(step, writer)}")
        else:
            lines.append(statement(step, writer))
    return lines + updates(program, writer)


def turns(
    step: Step,
    writer: Writer,
    plan: Plan,
    allocated: list[str],
    one_turn: Callable[[Program], list[str]] | None = None,
) -> list[str]:
    """Return the statements of a loop.

    Carried arrays are written over; values kept from each turn go into their rows.
    `one_turn` prints a turn; by default, its statements are NumPy calls.
    """
    loop, names = step.function, writer.names
    laid = in_place(step, lambda inner: inner.function in IN_PLACE)
    body, counter = laid.program(), names.new("t")
    before, head = list[str](), list[str]()
    for out in step.outs():
        if out.shape and out not in plan.buffer_of and out not in names.of:
            before.append(f"{names.value(out)} = np.empty({out.shape}, np.{out.dtype.name})")
    for inside, outside in laid.same:
        names.of[inside] = writer.text(outside, POWER)
        if isinstance(outside, Value) and outside in names.numbers:
            names.numbers[inside] = names.numbers[outside]
    for place, (out, ahead) in laid.places.items():
        if ahead is None:
            names.of[place] = names.of[out]
        else:
            head.append(f"{names.value(place, 'row')} = {names.of[out]}[{counter}{' + 1' * ahead}]")
    for inside, _, begin, out, has_rows in laid.carried:
        first = f"{names.of[out]}[{0 if has_rows else '...'}]" if out.shape else ""
        if first and (has_rows or writer.text(begin) != names.of[out]):
            before.append(f"{first} = {writer.text(begin)}")
        if not inside.shape:
            names.of[inside] = name = names.new(inside.name or "n")
            if inside.dtype == np.float64:
                names.of[inside], names.numbers[inside] = f"np.float64({name})", name
            before.append(f"{name} = {number_text(begin, inside, writer)}")
    with writer.inside(counter):
        if one_turn is not None:
            lines = one_turn(body)
        else:
            planned = Planner(body).planned()
            allocated += allocation(body, names, planned, writer)
            before += numbers_in(body, names)
            lines = statements(body, planned, writer, allocated)
        for out, ahead, value in laid.ends:
            text = names.numbers.get(value) or writer.text(value)
            lines.append(f"{names.of[out]}[{counter}{' + 1' * ahead}] = {text}")
        if laid.numbers:
            targets = [names.numbers.get(c.inside) or names.of[c.inside] for c in laid.numbers]
            values = [number_text(c.following, c.inside, writer) for c in laid.numbers]
            lines.append(f"{', '.join(targets)} = {', '.join(values)}")
    for out, value in laid.results:
        names.of[out] = names.of[value]
        if value in names.numbers:
            names.numbers[out] = names.numbers[value]
    return [*before, *repeated(counter, loop.count, [*head, *lines])]


def number_text(value: Any, like: Value, writer: Writer) -> str:
    """Return a number without axes: Python's own if it is carried as one."""
    if isinstance(value, Value) and value in writer.names.numbers:
        return writer.names.numbers[value]
    text = writer.text(value)
    return f"float({text})" if like in writer.names.numbers else text


def pooled(lines: list[str], allocated: list[str], held: list[str]) -> tuple[str, list[str]]:
    """Return the source of a pool of arrays, and statements around its use."""
    first = ["_buffers = _pool.pop() if _pool else _allocate()", f"({listed(held)}) = _buffers"]
    return f"_pool = []\n\n\n{made('_allocate', allocated, held)}", [*first, *lines, "_pool.append(_buffers)"]


def made(name: str, lines: list[str], returned: list[str]) -> str:
    """Return the source of a function that makes and returns arrays."""
    body = "\n".join(f"    {line}" for line in lines)
    return f"def {name}():\n{body}\n    return ({listed(returned)})\n\n\n"


def listed(lines: list[str]) -> str:
    """Return the names to which statements assign."""
    return "".join(f"{line.split(' = ')[0]}, " for line in lines).strip()


def part_of(value: Value, names: Names, plan: Plan) -> str:
    """Return the statement that makes a value part of a vector."""
    vector, start, stop = plan.part_of[value]
    reshaped = "" if len(value.shape) == 1 else f".reshape({value.shape})"
    return f"{names.value(value, 'part')} = {names.of[vector]}[{start}:{stop}]{reshaped}"


def allocation(program: Program, names: Names, plan: Plan, writer: Writer) -> list[str]:
    """Return the statements that make buffers and views; name the values in them."""
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
    lines += [part_of(value, names, plan) for value in plan.part_of]
    for value, i in plan.block_of.items():
        names.of[value] = buffers[i]
    for value, i in plan.term_of.items():
        names.of["term", value] = buffers[i]
    known: dict[str, str] = {}
    for step in plan.views:
        text = writer.call(step)[0]
        if text not in known:
            known[text] = names.value(step.out, "view")
            lines.append(f"{known[text]} = {text}")
        names.of[step.out] = known[text]
    return lines


def loop(chain: Chain, writer: Writer, plan: Plan) -> list[str]:
    """Return the statements that take a chain's steps block by block."""
    names, program = writer.names, chain.program
    before, slices, i = [], [], names.own("i")
    for value in (*program.inputs, *program.outputs):
        if value in plan.over:
            names.of[value] = names.value(plan.over[value])
        elif value in program.outputs and value not in plan.buffer_of and value not in plan.part_of:
            dtype = f"np.{value.dtype.name}"
            made = f"np.empty({value.shape}, {dtype})" if value.shape else f"{dtype}(0)"
            before.append(f"{names.value(value)} = {made}")
        if chain.axes.get(value) == SUM and value.shape:
            before.append(f"{names.of[value]}[...] = 0")
    outside, inlined = dict(names.of), dict(writer.inline)
    block: dict[str, str] = {}
    first = ""  # the name of a block of rows; the last block may be shorter
    sliced = [v for v in (*program.inputs, *program.outputs) if chain.axes.get(v, SUM) != SUM]
    for value, whole in [(value, writer.text(value)) for value in sliced]:
        axis = chain.axes[value]
        if whole not in block:
            block[whole] = names.new(f"{whole if whole.isidentifier() else 'rows'}_i")
            slices.append(f"{block[whole]} = {whole}[{':, ' * axis}{i} : {i} + {chain.rows}]")
        first = first or block[whole] * (axis == 0)
        names.of[value] = block[whole]
        writer.inline.pop(value, None)  # inside the loop the block has a name
    rest = f"[: len({first})]" if chain.count % chain.rows else ""
    for value in plan.block_of if rest else ():
        if any(step.out is value for step in program.steps):
            whole = names.of[value]
            if whole not in block:
                block[whole] = names.new(f"{whole}_i")
                slices.append(f"{block[whole]} = {whole}{rest}")
            names.of[value] = block[whole]
    writer.inline.update(chain.views)
    body = [
        line for step in program.steps if step.out not in chain.views for line in in_block(step, chain, rest, writer)
    ]
    names.of.update({v: outside[v] for v in (*program.inputs, *program.outputs) if v in outside})
    writer.inline.update(inlined)
    return [
        *before,
        f"for {i} in range(0, {chain.count}, {chain.rows}):",
        *(f"    {line}" for line in [*slices, *body]),
    ]


def in_block(step: Step, chain: Chain, rest: str, writer: Writer) -> list[str]:
    """Return the statements of a chain's step for one block.

    `rest` cuts an array to the rows of the last block.
    """
    out, names = step.out, writer.names
    args = list(step.args)
    for j, arg in enumerate(args):
        rank = 1 if chain.axes[out] == SUM else len(out.shape)
        tall = is_filled(arg) and len(arg.shape) == rank and arg.shape[0] == chain.count and (rank > 1 or j == 0)
        if tall or (is_slow(step) and not isinstance(arg, Value)):  # for as many rows as a block has
            rows = Value((chain.rows, *(arg.shape if tall else out.shape)[1:]), out.dtype)
            number = arg.array.flat[0].item() if tall else arg
            names.of[rows] = writer.text(filled(rows.shape, number, arg.dtype if tall else out.dtype)) + rest
            args[j] = rows
    step = replace(step, args=tuple(args))
    if chain.axes[out] != SUM:
        return [into(step, writer)]
    total = names.value(out)
    if not out.shape:
        return [f"{total} += {plain_call(step, writer)}"]
    names.of[out] = term = names.of["term", out]
    line = into(step, writer)
    names.of[out] = total
    return [line, f"np.add({total}, {term}, {total})"]


def into(step: Step, writer: Writer) -> str:
    """Return a step as a call that writes into its place, if possible by position."""
    out = writer.names.of[step.out]
    if step.function is primitives.astype:
        narrows = not np.can_cast(step.args[0].dtype, step.out.dtype, "same_kind")
        casting = ", casting='unsafe'" if narrows else ""
        return f"np.copyto({out}, {writer.text(step.args[0])}{casting})"
    text = plain_call(step, writer)[:-1]
    return f"{text}, {'' if traits(step.function).takes_out and not step.kwargs else 'out='}{out})"


def plain_call(step: Step, writer: Writer) -> str:
    """Return a step as a call of its function."""
    row, ufunc = traits(step.function), isinstance(step.function, np.ufunc) and isinstance(step.out, Value)
    if not ufunc or (row.form and is_scalar(step)):
        return writer.call(step)[0]
    args = [number(i, step, writer) for i in range(len(step.args))]
    return f"{writer.function(step.function)}({', '.join([*args, *writer.keywords(step.kwargs)])})"


def is_scalar(step: Step) -> bool:
    """Return whether a step computes a floating-point number from numbers."""
    out = step.out
    if not isinstance(out, Value) or out.shape or out.dtype.kind not in "fc" or step.kwargs:
        return False
    return all(not a.shape if isinstance(a, Value) else type(a) in (int, float, Turn, Listed) for a in step.args)


def number(place: int, step: Step, writer: Writer) -> str:
    """Return an argument of a ufunc; a Python number becomes a 0-d array."""
    arg = step.args[place]
    if isinstance(arg, Value) and arg in writer.names.numbers and all(a.dtype == np.float64 for a in step.operands()):
        return writer.names.numbers[arg]
    if type(arg) in (int, float, np.float64, np.float32) and not step.kwargs:
        dtype = loop_of(step.function, step.args)[place]
        if dtype.kind == "f" or holds(dtype, arg):
            text = re.sub(r"\W", "_", repr(arg if dtype.kind in "iu" else float(arg)).replace("-", "minus_"))
            return writer.names.constant_number(np.array(arg, dtype), f"c_{text}")
    return writer.text(arg)


def numbers_in(program: Program, names: Names) -> list[str]:
    """Return the statements that make Python floats of inputs for number arithmetic."""
    updated = {*program.updates, *program.updates.values()}
    used = (
        {value for step in program.steps if is_scalar(step) for value in step.operands()} - updated - {*names.numbers}
    )
    found = [value for value in program.inputs if value in used and value.dtype == np.float64 and not value.shape]
    return [as_number(value, f"float({names.value(value)})", names) for value in found]


def as_number(value: Value, text: str, names: Names) -> str:
    """Return the statement that makes a value a Python number.

    Other uses convert it to NumPy's.
    """
    names.numbers[value] = name = names.new(value.name or "n")
    names.of[value] = f"np.{value.dtype.name}({name})"
    return f"{name} = {text}"


def in_python(step: Step, writer: Writer) -> str | None:
    """Return the statement for a step between Python numbers, or None if it isn't one.

    It takes a tenth of NumPy's time. The two agree to the last bit, except where Python
    raises; so a division checks its denominator first.
    """
    out, function, args, numbers = step.out, step.function, step.args, writer.names.numbers
    if not isinstance(out, Value) or out.shape:
        return None
    if function is primitives.getitem and out.dtype in (np.float64, np.int64) and picks_one(step):
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        return as_number(out, f"{writer.text(args[0])}.item({', '.join(map(writer.text, index))})", writer.names)
    row = traits(function)
    fits = row.scalar and is_scalar(step) and all(a in numbers for a in step.operands()) and out.dtype == np.float64
    if not fits or (function is np.float_power and not (type(args[0]) is float and 0 < args[0] <= 1)):
        return None
    text = row.scalar.format(*(numbers.get(a) or writer.text(a, UNARY) for a in args))
    return as_number(out, text, writer.names)
