"""A program as Python source.

Owns: how a step is written in NumPy; the readable form of a program, as a person would
write it: with operators, a statement for each named value, and the rest as nested
expressions; how source becomes a function.
Must not own: rewriting (`passes.py`), or the form that writes into buffers (`fast.py`).
Read next: `fast.py`.
"""

from __future__ import annotations

import builtins
import contextlib
import keyword
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.compiler.bodies import Loop
from microgradnd.compiler.carrying import Carried, Carrying, readings
from microgradnd.compiler.passes import uniform
from microgradnd.compiler.program import Constant, Listed, Program, Step, Turn, Value, mapped, values_in
from microgradnd.compiler.rolling import Zero
from microgradnd.compiler.spelling import added_at
from microgradnd.compiler.traits import ATOM, CALL, POWER, SQUARES, SUM, UNARY, traits
from microgradnd.conversions import Count

HELPERS = {  # for operations that NumPy has no expression for
    "carray": (
        "def carray(x):\n"
        '    """Return an array that is contiguous and writeable: the same one, or a copy."""\n'
        "    return x if x.flags.carray else np.array(x, order='C')\n"
    ),
    "scatter": (
        "def scatter(values, index, shape):\n"
        '    """Return zeros of a shape with values added at an index."""\n'
        "    out = np.zeros(shape, np.result_type(np.asarray(values), np.float32))\n"
        "    np.add.at(out, index, values)\n"
        "    return out.astype(np.result_type(values), copy=False)\n"
    ),
    "place": (
        "def place(values, index, shape):\n"
        '    """Return zeros of a shape with values at an index that names no element twice."""\n'
        "    out = np.zeros(shape, np.result_type(values))\n"
        "    out[index] = values\n"
        "    return out\n"
    ),
    "setitem": (
        "def setitem(x, index, value):\n"
        '    """Return a copy of x in which x[index] = value."""\n'
        "    out = np.array(x)\n"
        "    out[index] = value\n"
        "    return out\n"
    ),
}
STARRED = {np.dtype(code) for code in "bhilqBHILQfd"}  # dtypes for which `**` is always np.power
SHORT = 16  # elements of an array that is written out
WIDEST = 60  # characters of an expression that is put inside another
OWN = {"sized", "programs", "np", "math", "Path"}  # names that programs use themselves
RESERVED = {*dir(builtins), *keyword.kwlist, *keyword.softkwlist, *HELPERS, *OWN}
LONGEST = 40  # characters of a name
MODULES = (("np", np), ("np.linalg", np.linalg), ("np.fft", np.fft))


def as_it_is(module: ModuleType) -> ModuleType:
    """Return a copy of a module, whose functions nobody replaces."""
    copy = ModuleType(module.__name__)
    vars(copy).update(vars(module))
    return copy


NUMPY: Any = as_it_is(np)  # for programs: the functions that they call aren't looked up anew in each call
NUMPY.linalg, NUMPY.fft = as_it_is(np.linalg), as_it_is(np.fft)


def identifier(wish: str) -> str:
    """Return a variable's name, as close to a wish as Python and programs allow.

    It begins with a letter: names that begin with an underscore, such as `_pool`,
    belong to the program itself.
    """
    wish = unicodedata.normalize("NFKC", wish)  # as Python reads names
    wish = re.sub(r"^(grad_)?(\d+)\.(.+)$", r"\1\3_\2", wish)  # 0.weight is weight_0
    fit = "".join(c if f"a{c}".isidentifier() else " " for c in re.sub(r"\W", " ", wish[:LONGEST]))
    name = "_".join(fit.split()).strip("_") or "value"
    name = name if name.isidentifier() else f"n_{name}"
    return f"{name}_" if name in RESERVED else name


def printable(text: str) -> str:
    """Return a text in one line, as comments need it."""
    return "".join(c if c.isprintable() else " " for c in text)


class Names:
    """Gives every value and constant of a program a name that isn't taken."""

    def __init__(self, *taken: str) -> None:
        self.of: dict[Any, str] = {}
        self.taken = set(taken)
        self.next: dict[str, int] = {}  # the number from which a name may be free
        self.known: dict[Any, str] = {}  # the names of constants, by key
        self.constants: dict[str, Any] = {}
        self.helpers: set[str] = set()
        self.numbers: dict[Value, str] = {}  # values that are Python numbers in the fast form

    def new(self, wish: str) -> str:
        """Return a name that isn't taken yet."""
        name = unique = identifier(wish)
        n = self.next.get(name, 2)
        while unique in self.taken:
            unique, n = f"{name}_{n}", n + 1
        self.next[name] = n
        self.taken.add(unique)
        return unique

    def own(self, wish: str) -> str:
        """Return the name for a variable of the program's own, the same each time."""
        if wish not in self.of:
            self.of[wish] = self.new(wish)
        return self.of[wish]

    def value(self, value: Value, wish: str = "t") -> str:
        """Return the name of a value."""
        if value not in self.of:
            self.of[value] = self.new(value.name or wish)
        return self.of[value]

    def constant(self, thing: Any, wish: str) -> str:
        """Return a name for an object that has no expression."""
        key = thing.text if type(thing) is Constant else id(thing)
        if key not in self.known:
            self.known[key] = self.new(wish)
            self.constants[self.known[key]] = thing
        return self.known[key]

    def helper_texts(self) -> str:
        """Return the source of the helpers that the program calls."""
        return "".join(f"{text}\n\n" for helper, text in HELPERS.items() if helper in self.helpers)

    def constant_number(self, array: Any, wish: str) -> str:
        """Return a name for a 0-d array, the same for equal ones."""
        key = array.dtype, array.tobytes()
        if key not in self.known:
            self.known[key] = self.constant(array, wish)
        return self.known[key]


def spelled(thing: Any) -> str | None:
    """Return the expression that makes a constant; None for an object without one."""
    if isinstance(thing, Constant):
        return thing.text
    if type(thing) is tuple and all(type(x) in (int, float) and math.isfinite(x) for x in thing):
        return repr(thing)
    if not isinstance(thing, np.ndarray) or thing.dtype.kind not in "fiub" or not thing.dtype.isnative:
        return None
    if not np.isfinite(thing).all():
        return None
    known = (np.float64, np.bool, np.int64)
    if (number := uniform(thing)) is not None and thing.shape and math.isfinite(number):  # an empty array has one too
        return f"np.full({thing.shape}, {number!r}, np.{thing.dtype.name})"
    if 0 < thing.size <= SHORT:
        return f"np.array({thing.tolist()!r}{'' if thing.dtype in known else f', np.{thing.dtype.name}'})"
    return None


def signed(number: float) -> str:
    """Return a number as text, with the sign of a NaN."""
    return "-nan" if number != number and math.copysign(1.0, number) < 0 else repr(number)


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer that a program computes."""
    return isinstance(value, Value) and not value.shape and value.dtype.kind in "iu"


class Writer:
    """Writes one program."""

    def __init__(self, program: Program, names: Names, inline: dict[Value, Step]) -> None:
        self.program, self.names, self.inline = program, names, inline
        self.counters: list[str] = []  # of the loops that are being written

    def expression(self, arg: Any) -> tuple[str, int]:
        """Return an argument as source, with its outermost operator's precedence."""
        if isinstance(arg, Value):
            if arg in self.inline:
                return self.call(self.inline[arg])
            return self.names.value(arg), ATOM
        if isinstance(arg, slice):
            return f"slice{self.text((arg.start, arg.stop, arg.step))}", CALL
        if isinstance(arg, tuple | list) and type(arg) in (tuple, list):
            inside = ", ".join(self.text(part) for part in arg)
            if isinstance(arg, list):
                return f"[{inside}]", ATOM
            return f"({inside},)" if len(arg) == 1 else f"({inside})", ATOM
        if type(arg) is dict:
            return f"{{{', '.join(f'{self.text(key)}: {self.text(part)}' for key, part in arg.items())}}}", ATOM
        if isinstance(arg, Turn):
            return self.turn(arg)
        if isinstance(arg, Listed):
            return f"{self.names.constant(arg.numbers, 'numbers')}[{self.counters[~arg.level]}]", CALL
        arg = int(arg) if isinstance(arg, Count) else arg
        if arg is None or arg is Ellipsis or type(arg) in (bool, int, str):
            return ("..." if arg is Ellipsis else repr(arg)), ATOM if not isinstance(arg, int) or arg >= 0 else UNARY
        if type(arg) is complex and not (all(map(math.isfinite, (arg.real, arg.imag))) and arg.real and arg.imag):
            return f"complex({self.text((arg.real, arg.imag))[1:-1]})", CALL
        if type(arg) in (float, complex) or isinstance(arg, np.float64 | np.float32):
            number = arg.item() if isinstance(arg, np.generic) else arg
            infinite = number != number or number in (float("inf"), -float("inf"))
            text = f'"{signed(number)}"' if infinite else repr(number)
            if infinite or number is not arg:
                return f"{'float' if number is arg else f'np.{type(arg).__name__}'}({text})", CALL
            return text, UNARY if text.startswith("-") else ATOM
        if isinstance(arg, np.dtype):
            arg = arg.type if arg == arg.type else dtype_itself(arg)
        if isinstance(arg, np.ufunc) or (isinstance(arg, type) and issubclass(arg, np.generic)):
            return self.function(arg), ATOM
        if isinstance(arg, Zero):
            return arg.text, CALL
        wish = arg.text.removeprefix("np.") if isinstance(arg, Constant) else "constant"
        return self.names.constant(arg, wish), ATOM

    @contextlib.contextmanager
    def inside(self, counter: str) -> Iterator[None]:
        """Write the turns of a loop."""
        self.counters.append(counter)
        yield
        self.counters.pop()

    def turn(self, number: Turn) -> tuple[str, int]:
        """Return a moving number in terms of the loop's counter."""
        start, stride = int(number), abs(number.stride)
        counter = self.counters[~number.level]
        text = counter if stride == 1 else f"{stride} * {counter}"
        if number.stride < 0:
            return f"{start} - {text}", SUM
        if start:
            return f"{text} {'+' if start > 0 else '-'} {abs(start)}", SUM
        return text, ATOM if stride == 1 else SUM + 1

    def text(self, arg: Any, above: int = 0) -> str:
        """Return an argument as source, in parentheses if the precedence needs them."""
        text, precedence = self.expression(arg)
        return f"({text})" if precedence <= above else text

    def call(self, step: Step) -> tuple[str, int]:
        """Return a step as an expression."""
        function, args, kwargs = step.function, step.args, step.kwargs
        form = traits(function).form
        base = args[0] if args else None
        is_odd = getattr(base, "dtype", np.dtype(float)) not in STARRED
        if function is primitives.astype and step.out.dtype == step.out.dtype.type and not step.out.shape:
            return f"{self.text(args[1])}({self.text(base)})", CALL
        is_odd |= not SQUARES and function is np.power and bool(getattr(base, "shape", ()))
        if form and form.fits(args) and not kwargs and not (form.rank == POWER and is_odd):
            texts = [self.text(a, form.right if i else form.left) for i, a in enumerate(args)]
            if form.rank == POWER and type(base) is float and is_integer(args[1]):
                texts[0] = f"np.float64({base!r})"  # which computes as Python does; an integer would take the ufunc
            return form.text.format(*texts), form.rank
        if function is primitives.getitem:
            return f"{self.text(args[0], CALL - 1)}[{self.index(args[1])}]", CALL
        if function is primitives.concatenate:
            return f"np.concatenate([{', '.join(self.text(a) for a in args[2:])}], axis={args[0]})", CALL
        if function in (primitives.scatter, primitives.setitem):
            once = function is primitives.scatter and not any(values_in(args[1])) and primitives.is_basic(args[1])
            helper = "place" if once else function.__name__
            self.names.helpers.add(helper)
            return f"{helper}({', '.join(self.text(a) for a in args)})", CALL
        if function is primitives.expand:
            return self.expanded(step), CALL
        if "axis" in kwargs:  # None is usually the default, and one axis needs no tuple
            axis = kwargs["axis"]
            kwargs = {**kwargs, "axis": axis[0] if type(axis) is tuple and len(axis) == 1 else axis}
            if axis is None and traits(function).is_reduction:
                del kwargs["axis"]
        inside = ", ".join([*(self.text(a) for a in args), *self.keywords(kwargs)])
        return f"{self.function(function)}({inside})", CALL

    def keywords(self, kwargs: Mapping[str, Any]) -> list[str]:
        """Return keyword arguments, whose names Python's grammar may not allow."""
        plain = {key: key.isascii() and key.isidentifier() and not keyword.iskeyword(key) for key in kwargs}
        return [
            f"{key}={self.text(a)}" if plain[key] else f"**{{{key!r}: {self.text(a)}}}" for key, a in kwargs.items()
        ]

    def index(self, index: Any) -> str:
        """Return an index as it is written between brackets."""
        if isinstance(index, tuple):
            return ", ".join(self.index(part) for part in index) if index else "()"
        if isinstance(index, slice):
            start, stop = ("" if part is None else self.text(part) for part in (index.start, index.stop))
            return f"{start}:{stop}" + ("" if index.step is None else f":{self.text(index.step)}")
        return self.text(index)

    def adding(self, step: Step) -> str:
        """Return the statement that changes an array in place at an index."""
        array, index, values = map(self.text, step.args)
        values = self.names.numbers.get(step.args[2], values) if isinstance(step.args[2], Value) else values
        if step.function is added_at and not primitives.is_basic(step.args[1]):
            return f"np.add.at({array}, {index}, {values})"
        return f"{array}[{self.index(step.args[1])}] {'+' * (step.function is added_at)}= {values}"

    def expanded(self, step: Step) -> str:
        """Return the NumPy expression that spreads a sum out again."""
        g, shape, axis, keepdims = (*step.args, *(None, False)[len(step.args) - 2 :])[:4]
        axis, keepdims = step.kwargs.get("axis", axis), step.kwargs.get("keepdims", keepdims)
        inside = self.text(g)
        if not keepdims and axis is not None:
            axes = tuple(a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,)))
            inside = f"np.expand_dims({inside}, {axes})"
        return f"np.broadcast_to({inside}, {shape})"

    def function(self, function: Any) -> str:
        """Return NumPy's name for a function, or a new name for another function."""
        owner = getattr(function, "__self__", None)
        if isinstance(owner, np.ufunc):
            return f"{self.function(owner)}.{function.__name__}"
        name = str(getattr(function, "__name__", ""))
        for prefix, module in MODULES:
            if vars(module).get(name) is function:
                return f"{prefix}.{name}"
        return name if vars(builtins).get(name) is function else self.names.constant(function, name or "function")


def readable(program: Program, name: str, names: Names) -> str:
    """Return a program as the function that a person would write."""
    inputs = [names.value(v, "x") for v in program.inputs]
    writer = Writer(program, names, {})
    lines = statements(program, writer)
    return function_text(program, name, inputs, [*lines, *updates(program, writer)], writer)


def statements(program: Program, writer: Writer) -> list[str]:
    """Return the statements of a program, or of a loop's body."""
    names, inline = writer.names, writer.inline
    uses = program.uses()
    made = {out: step for step in program.steps for out in step.outs()}
    wanted = set(program.results())
    wanted.update(step.args[0] for step in program.steps if step.function is added_at)  # arrays that are written to
    lines: list[str] = []
    backward = bool(writer.counters)
    ends = last_readings(program)
    olds = {new: old for old, new in program.updates.items()}
    inputs_left = [] if writer.counters else list(program.inputs)
    for i, step in enumerate(program.steps):
        out = step.out
        if isinstance(out, Value) and out not in wanted and may_inline(step, uses, made, writer):
            inline[out] = step
            continue
        if step.function is not primitives.getitem:
            if lines and step.where is None and not backward:
                lines.append("# backward")
            backward = step.where is None or bool(writer.counters)  # no line of the user's code wrote it
        if isinstance(step.function, Loop):
            lines += LoopWriter(step, writer).lines()
            continue
        if step.function is added_at and isinstance(out, Value):
            names.of[out] = names.value(step.args[0])
            lines.append(writer.adding(step))
            continue
        old = olds.get(out) if isinstance(out, Value) else None
        sign = augmented(step, old) if old is not None and uses[out] == 1 and ends.get(old, -1) <= i else ""
        if sign and old is not None:
            names.of[out] = names.value(old)
            lines.append(commented(f"{names.value(old)} {sign}= {writer.text(step.args[1])}", step))
            continue
        for value in inputs_left:  # w = w - ... is what a person would write
            dead = value.name is not None and value not in program.updates and ends.get(value, -1) <= i
            if isinstance(out, Value) and dead and value not in wanted and value.name == out.name:
                names.of.setdefault(out, names.value(value))
                inputs_left.remove(value)  # its name now belongs to a value that may be read later
                break
        lines.append(statement(step, writer))
    return lines


class LoopWriter:
    """Writes one loop.

    Attributes
    ----------
    before : list of str
        The statements before the loop.
    ending : list of (str, Value)
        The rows that get a value at the end of a turn.
    following : list of (str, Value, bool)
        The variables that get their values for the next turn there, and whether
        these are copied.
    """

    def __init__(self, step: Step, writer: Writer) -> None:
        self.writer, self.names, self.laid = writer, writer.names, Carrying(step)
        self.counter, body = self.names.new("t"), self.laid.body
        self.before: list[str] = []
        self.ending: list[tuple[str, Value]] = []
        self.following: list[tuple[str, Value, bool]] = []
        self.uses, self.ends = body.uses(), last_readings(body)
        steps = [(i, inner) for i, inner in enumerate(body.steps) if inner.function is not added_at]
        self.made = {out: i for i, inner in steps if not isinstance(inner.function, Loop) for out in inner.outs()}

    def lines(self) -> list[str]:
        """Return the statements of the loop, and those before it."""
        names, writer, laid = self.names, self.writer, self.laid
        for inside, outside in laid.same:
            names.of[inside] = writer.text(outside, POWER)
        for carried in laid.carried:
            self.carry(carried)
        for out, value in laid.kept:
            self.before.append(empty(names.value(out), out))
            self.keep(f"{names.of[out]}[{self.counter}]", value)
        with writer.inside(self.counter):
            lines = statements(laid.body, writer)
            lines += [f"{place} = {writer.text(value)}" for place, value in self.ending]
            moved = [part for part in self.following if writer.text(part[1]) != part[0]]
            if moved:
                texts = [fresh(value, writer) if copied else writer.text(value) for _, value, copied in moved]
                lines.append(f"{', '.join(name for name, _, _ in moved)} = {', '.join(texts)}")
        for out, value in laid.last:
            names.of[out] = writer.text(value, POWER)
        return [*self.before, *repeated(self.counter, laid.count, lines)]

    def carry(self, carried: Carried) -> None:
        """Name a carried value; see that it gets its initial and following values."""
        (inside, following, begin, out, has_rows), names = carried, self.names
        if has_rows:
            name = names.value(out)
            self.before += [empty(name, out), f"{name}[0] = {self.writer.text(begin)}"]
            names.of[inside] = f"{name}[{self.counter}]"
            self.keep(f"{name}[{self.counter} + 1]", following)
            return
        name = names.of.get(out) or names.value(inside)  # a loop around it may have given it one
        names.of[inside] = names.of[out] = name
        is_changed = is_written(inside, self.laid.body)
        if self.writer.text(begin) != name:
            self.before.append(f"{name} = {fresh(begin, self.writer) if is_changed else self.writer.text(begin)}")
        made = self.made.get(following, -1)
        alone = made >= 0 and following not in names.of and not is_changed  # what is written to has two names
        if alone and self.ends.get(inside, -1) <= made:
            names.of[following] = name  # nothing needs the old value any more
        else:
            self.following.append((name, following, is_changed))

    def keep(self, place: str, value: Value) -> None:
        """See that an array holds a value, computed there if it has no other use."""
        if self.uses[value] == 1 and value in self.made:
            self.names.of[value] = place
        else:
            self.ending.append((place, value))


def repeated(counter: str, count: int, lines: list[str]) -> list[str]:
    """Return a loop's lines; none if everything has been moved before the loop."""
    return [f"for {counter} in range({count}):", *(f"    {line}" for line in lines)] if lines else []


def fresh(value: Any, writer: Writer) -> str:
    """Return an array that nothing else refers to."""
    return value.text if isinstance(value, Constant) else f"np.array({writer.text(value)})"


def is_written(value: Value, body: Program) -> bool:
    """Return whether a turn, or one of a loop in it, changes an array in place."""
    readers = [step for step in body.steps if value.shape and value in step.operands()]
    inner = [step for step in readers if isinstance(step.function, Loop)]
    carried = [(c, loop.body) for loop in map(Carrying, inner) for c in loop.carried if c.begin is value]
    return any(step.function is added_at for step in readers) or any(is_written(c.inside, b) for c, b in carried)


def empty(name: str, value: Value) -> str:
    """Return the statement that makes an array to be filled."""
    return f"{name} = np.empty({value.shape}{'' if value.dtype == np.float64 else f', np.{value.dtype.name}'})"


def last_readings(program: Program) -> dict[Value, int]:
    """Return the last statement that may read a value."""
    return {value: max(ends.values()) for value, ends in readings(program).items()}


def augmented(step: Step, old: Value) -> str:
    """Return the operator with which a step can change an array in place, or ""."""
    row = traits(step.function)
    alike = isinstance(step.out, Value) and (step.out.shape, step.out.dtype) == (old.shape, old.dtype)
    in_place = alike and not step.kwargs and [a is old for a in step.args] == [True, False]
    return row.form.sign if in_place and row.scalar and row.form else ""  # these are as fast in place as a call


def may_inline(step: Step, uses: dict[Value, int], made: dict[Value, Step], writer: Writer) -> bool:
    """Return whether a step reads better inside the expression that uses it."""
    if step.function is added_at:
        return False
    once = uses.get(step.out, 0) <= 1
    if isinstance(step.function, Anew):
        return False  # draws are made in the order of the lines
    small = len(writer.call(step)[0]) <= WIDEST
    return small and (traits(step.function).is_view or (once and (step.out.name is None)))


def statement(step: Step, writer: Writer) -> str:
    """Return a step as an assignment."""
    text = writer.call(step)[0]
    if isinstance(step.out, tuple):
        return f"{''.join(f'{writer.names.value(v)}, ' for v in step.out).rstrip()} = {text}"
    return commented(f"{writer.names.value(step.out)} = {text}", step)


def commented(line: str, step: Step) -> str:
    """Return a statement with the shape of its result and the user's line."""
    file = f"  {printable(step.where[0].rsplit('/', 1)[-1])}:{step.where[1]}" if step.where else ""
    return f"{line:<60}  # {step.out.shape}{file}"


def updates(program: Program, writer: Writer) -> list[str]:
    """Return the statements that update inputs not written over already."""
    return [
        f"{writer.text(old)}[...] = {writer.text(new)}"
        for old, new in program.updates.items()
        if writer.names.value(old) != writer.names.of.get(new)
    ]


def function_text(program: Program, name: str, inputs: list[str], lines: list[str], writer: Writer) -> str:
    """Return the whole function."""
    result = writer.text(mapped(lambda x: dtype_itself(x) if isinstance(x, np.dtype) else x, program.outputs))
    if isinstance(program.outputs, tuple) and len(program.outputs) > 1:
        result = result[1:-1]
    lines = [*lines, f"return {result}"]
    if program.ignored:
        hidden = ", ".join(f'{kind}="ignore"' for kind in sorted(program.ignored))
        lines = [f"with np.errstate({hidden}):", *(f"    {line}" for line in lines)]
    body = "\n".join(f"    {line}" for line in lines)
    return f"def {name}({', '.join(inputs)}):\n{body}\n"


def dtype_itself(dtype: np.dtype[Any]) -> Constant:
    """Return a dtype as a result, or one that isn't that of its class."""
    return Constant(f"np.{dtype!r}", dtype)


def loaded(source: str, name: str, names: Mapping[str, Any]) -> Callable[..., Any]:
    """Run source in which names stand for objects; return a function that it defines.

    A function holds its globals. Here these don't include the function itself, only
    what was defined before it. So a dropped program is freed at once, with its
    constants and buffers, not when the garbage collector runs.
    """
    scope = dict(names)
    exec(builtins.compile(source, f"<compiled {name}>", "exec"), scope)
    defined = {k: thing for k, thing in scope.items() if type(thing) is FunctionType and thing.__globals__ is scope}
    known = {k: thing for k, thing in scope.items() if k not in defined} | {"np": NUMPY}
    scope.clear()
    for k, thing in defined.items():
        known = {**known, k: FunctionType(thing.__code__, known, k, thing.__defaults__)}
    found: Callable[..., Any] = known[name]
    return found
