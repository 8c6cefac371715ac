"""Programs for open lengths.

Owns: a program for given lengths (`instance`), and how sources for some lengths become
one source for all.
Must not own: what a trace does with open lengths (`sizes.py`), or how a program is
printed (`source.py`, `fast.py`).
Read next: `compiled.py`.

The passes, the plan and the printers only know numbers. So a program whose lengths are
open is printed for two sets of lengths. If the two sources differ only in numbers, and
each number is one polynomial of the lengths, then the source with the polynomials in
place of the numbers is the program for all lengths. If not, the traced call's lengths
may be a special case, or a length decides what is quicker, and larger ones replace
them.
"""

from __future__ import annotations

import functools
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.anew import Anew
from microgradnd.compiler.ownership import is_foreign
from microgradnd.compiler.passes import uniform
from microgradnd.compiler.program import Program, Step, Value, as_arrays, constant_of, mapped, shared, values_in
from microgradnd.compiler.saving import Written
from microgradnd.compiler.sizes import LEAST, OF_SHAPES, Size, Terms, at, number_at, shown, sizes_in
from microgradnd.compiler.source import spelled
from microgradnd.compiler.traits import traits

TOKENS = re.compile(r"[^\W\d]\w*|\d+(?:\.\d+)?(?:e[+-]?\d+)?|\s+|.")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def instance(program: Program, lengths: Mapping[str, int], is_one_of_several: bool = False) -> Program:
    """Return a program for some lengths; steps that depend only on these run now.

    If its text must match the texts for other lengths, only steps with single numbers
    as results, repeated or not, run now.
    """
    known: dict[Value, Any] = {}
    constants: dict[Any, Any] = {}
    change = functools.partial(changed, known=known, lengths=lengths)
    inputs = change(program.inputs)
    steps = []
    for step in program.steps:
        if step.function in OF_SHAPES and isinstance(step.out, Value):
            args = [np.zeros(x.shape, x.dtype) if isinstance(x, Value) else x for x in change(step.args)]
            known[step.out] = constant_of(step.function(*args, **step.kwargs))
            continue
        args, kwargs = change((step.args, dict(step.kwargs)))
        fixed = isinstance(step.out, Value) and not isinstance(step.function, Anew) and not is_foreign(step.function)
        is_view = bool(args) and uniform(args[0]) is not None and traits(step.function).memory != "fresh"
        is_number = fixed and (not step.out.shape or step.function is primitives.expand or is_view)
        if fixed and (is_number or not is_one_of_several) and not any(values_in((args, kwargs))):
            result = step.function(*as_arrays(args), **as_arrays(kwargs))
            is_new = isinstance(result, np.ndarray) and result.base is None
            known[step.out] = shared(result, constants) if is_new else result
        else:
            steps.append(Step(step.function, args, kwargs, change(step.out), step.where))
    updates = {change(old): change(new) for old, new in program.updates.items()}
    return Program(inputs, tuple(steps), change(program.outputs), updates, program.ignored)


def closed(program: Program, lengths: Mapping[str, int]) -> Program:
    """Return a program whose lengths have all been pinned, with the numbers."""
    change = functools.partial(changed, known={}, lengths=lengths)
    steps = [Step(x.function, change(x.args), change(dict(x.kwargs)), change(x.out), x.where) for x in program.steps]
    return Program(change(program.inputs), tuple(steps), change(program.outputs), ignored=program.ignored)


def changed(tree: Any, known: dict[Value, Any], lengths: Mapping[str, int]) -> Any:
    """Return an argument with numbers for lengths, and new values for its values."""

    def change(part: Any) -> Any:
        if type(part) is not Value:
            return number_at(part, lengths)
        if part not in known:
            known[part] = Value(at(part.shape, lengths), part.dtype, part.name)
        return known[part]

    return mapped(change, tree)


LATEST = """programs = {{}}  # for the latest lengths


def {name}({inputs}):
    lengths = ({lengths})
    run = programs.get(lengths)
    if run is None:
        if len(programs) == {kept}:
            programs.pop(next(iter(programs)), None)
        run = programs[lengths] = sized(*lengths)
    return run({inputs})
"""
END = "\0"  # of a text
KEPT = 3  # how many lengths keep their arrays


def samples(sizes: Any) -> list[dict[str, int]]:
    """Return some sets of lengths that a program serves, the traced call's first.

    No open length is the same in two of them.
    """
    found = [sizes.hints]
    for step in (37, 111, 333, -37, 11, -11, 3, -3, 1, -1):
        lengths = {name: n + step + 2 * i * abs(step) for i, (name, n) in enumerate(sizes.hints.items())}
        lengths |= {name: sizes.hints[name] for name in sizes.pinned}
        differ = all(lengths[name] != other[name] for other in found for name in sizes.open)
        if len(found) < 4 and differ and sizes.holds(lengths):
            found.append(lengths)
    return found


class General:
    """The one text of which the texts for several sets of lengths are cases.

    Attributes
    ----------
    names : dict of str to str
        The name of each symbol in the text.
    rows : list of list of str
        The tokens of each text.
    candidates : list of (Size, list of int)
        The formulas that its numbers can have, and their values for each text.
    quotients : list of (list of int, list of int)
        The numerators and denominators of the quotients of lengths in it.
    """

    def __init__(
        self, names: dict[str, str], rows: Sequence[Sequence[str]], candidates: Sequence[Any], quotients: Sequence[Any]
    ) -> None:
        self.names, self.rows, self.candidates, self.quotients = names, rows, candidates, quotients
        self.taken = {token for row in rows for token in row}
        self.renamed: dict[tuple[str, ...], str] = {}

    def are_apart(self) -> bool:
        """Return whether the sample numbers identify each formula."""
        formulas: dict[Any, Any] = {}
        for size, values in self.candidates:
            names, coefficients = zip(*sorted(size.terms.items()), strict=True)
            formula = names, reduced(coefficients)
            if len({*values}) == 1 or formulas.setdefault(reduced(values), formula) != formula:
                return False
        return True

    def polynomial(self, numbers: Sequence[int]) -> str | None:
        """Return the formula for some numbers, one for each set of lengths."""
        for size, values in self.candidates:
            factor = numbers[0] // values[0] if values[0] else 0
            if factor and [factor * v for v in values] == list(numbers):
                return self.renamed_in(shown(size * factor))
        for size, values in self.candidates:  # in a flat array, a place in a row; `row` is its length
            row = (numbers[1] - numbers[0]) // (values[1] - values[0])
            place = numbers[0] - row * values[0]
            if -row <= place < row and [row * v + place for v in values] == list(numbers):
                return self.renamed_in(shown(size * row + place))
        return None

    def renamed_in(self, text: str) -> str:
        """Return a formula of the symbols with the names that the text has for them."""
        return re.sub(r"(?<![\w.])[^\W\d]\w*", lambda m: self.names.get(m[0], m[0]), text)

    def quotient(self, numbers: Sequence[float]) -> str | None:
        """Return a formula for numbers: a rule's quotient times a power of two."""
        for top, bottom in self.quotients:
            exact = [x / y for x, y in zip(top, bottom, strict=True)]
            rounded = [float(np.float32(x)) for x in exact]
            for values, text in ((exact, "{}"), (rounded, "float(np.float32({}))")):
                factor = numbers[0] / values[0]
                if abs(math.frexp(factor)[0]) == 0.5 and [factor * v for v in values] == list(numbers):
                    above = self.polynomial(top) if len({*top}) > 1 else str(top[0])
                    below = self.polynomial(bottom) or ""
                    can_be_0 = "-" in below  # where NumPy gives an infinity, and Python raises
                    quotient = text.format(f"np.divide({above}, {below})" if can_be_0 else f"{above} / ({below})")
                    return quotient if factor == 1 else f"{factor!r} * ({quotient})"
        return None

    def name(self, names: tuple[str, ...]) -> str:
        """Return the one name for names made from numbers, such as constants' names."""
        if names not in self.renamed:
            stem = f"{names[0].rstrip('0123456789_')[:1]}_{'_'.join(self.names.values())}"
            number = next(i for i in range(1, len(self.taken) + 2) if f"{stem}_{i}" not in self.taken)
            self.renamed[names] = f"{stem}_{number}"
            self.taken.add(self.renamed[names])
        return self.renamed[names]

    def text(self) -> str | None:
        """Return the one text, or None if the texts differ in more than numbers."""
        if len({len(row) for row in self.rows}) > 1 or not self.are_apart():
            return None
        columns = [*zip(*self.rows, strict=True)]
        tokens = {column: self.token(column) for column in dict.fromkeys(columns)}
        names = [column for column in tokens if column[0].isidentifier()]
        if None in tokens.values() or any(len({*words}) < len(names) for words in zip(*names, strict=True)):
            return None  # in the second case, two names stand for one array
        out: list[Any] = []
        for i, column in enumerate(columns):
            token = tokens[column]
            is_formula = token not in column and not token.isidentifier()  # type: ignore[union-attr]
            out.append(f"({token})" if is_formula and not is_apart(out, columns[i + 1 : i + 3]) else token)
        return "".join(out)

    def token(self, column: tuple[str, ...]) -> str | None:
        """Return the token that stands for one token of each text, if there is one."""
        if len({*column}) == 1:
            return column[0]
        if all(map(NUMBER.fullmatch, column)):
            values = [float(number) for number in column]
            if not all(v.is_integer() for v in values):
                return self.quotient(values)
            token = self.polynomial([*map(int, values)])
            return f"float({token})" if token and "." in column[0] else token or self.quotient(values)
        if all(map(str.isidentifier, column)) and len({re.sub(r"\d+", "", word) for word in column}) == 1:
            return self.name(column)
        return column[0] if all(word.isspace() and "\n" not in word for word in column) else None


def general_of(program: Program, sizes: Any, lengths: Sequence[Mapping[str, int]], texts: Sequence[str]) -> General:
    """Return the formulas that texts for several sets of lengths may have in common."""
    rows = [TOKENS.findall(text) for text in texts]
    taken = {token for row in rows for token in row}
    names = {name: next(n for n in (name + "_" * i for i in range(9)) if n not in taken) for name in sizes.open}
    single = [*formulas_in(program, sizes).values()]
    products = [a * b for a, b in combinations_with_replacement(single[:8], 2)]
    candidates = [(n, [at(n, case) for case in lengths]) for n in (*single, *products)]
    one: Terms = {(): 1}
    divided = [(n.terms, n.over) if n.over else (one, n.terms) for step in program.steps for n in sizes_in(step.args)]
    both = [[[at(Size(sizes, terms), case) for case in lengths] for terms in pair] for pair in divided]
    quotients = [pair for i, pair in enumerate(both) if pair not in both[:i] and pair[0][0] and all(pair[1])]
    return General(names, rows, candidates, quotients)


def formulas_in(program: Program, sizes: Any) -> dict[Any, Any]:
    """Return the polynomials of lengths in a program, by their terms."""
    trees = [v.shape for step in program.steps for v in (*step.outs(), *step.operands())]
    trees += [v.shape for v in program.inputs] + [step.args for step in program.steps]
    trees = sizes.settled(trees)
    found: list[Any] = sizes_in(trees)
    found += [math.prod(tree) for tree in trees if Size in (kinds := {*map(type, tree)}) and kinds <= {int, Size}]
    found += [sizes.size(terms) for n in found if type(n) is Size and n.over for terms in (n.terms, n.over)]
    return {tuple(sorted(n.terms.items())): n for n in found if type(n) is Size and not n.over}


def reduced(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return numbers without their common factor, and without the sign of the first."""
    factor = math.gcd(*numbers) * (-1 if next((n for n in numbers if n), 1) < 0 else 1)
    return tuple(n // (factor or 1) for n in numbers)


def is_apart(before: Sequence[str], after: Sequence[Sequence[str]]) -> bool:
    """Return whether the text between some tokens is an expression of its own."""
    last = next((token for token in reversed(before) if not token.isspace()), "")
    following = next((column[0] for column in after if not column[0].isspace()), "")
    return last in ("(", "[", ",", ":") and following in (")", "]", ",", ":")


def opened(
    traced: Any,
    lengths: Sequence[Mapping[str, int]],
    forms: Sequence[Written],
    others: Sequence[Sequence[str]] = ((), ()),
) -> tuple[Written, list[str], list[str]] | None:
    """Return the program for all lengths, from its forms for some.

    Also return other texts for all lengths, and the open lengths. Return None if the
    forms differ in more than numbers.
    """
    first, sizes = forms[0], traced.sizes
    rows = [[(name, thing, spelled(thing)) for name, thing in form.constants.items()] for form in forms]
    texts = ["".join(f"{name} = {text}\n" for name, _, text in row if text) for row in rows]
    texts = [f"{text}\n\n{form.text}" if text else form.text for text, form in zip(texts, forms, strict=True)]
    texts = [END.join([text, *rest]) for text, rest in zip(texts, others, strict=True)]
    general = general_of(traced.general, sizes, lengths, texts)
    whole = general.text()
    objects = [{name: thing for name, thing, text in row if not text} for row in rows]
    contents = [{name: content(thing) for name, thing in row.items()} for row in objects]
    if whole is None or any(row != contents[0] for row in contents):
        return None
    text, *rest = whole.split(END)
    written = for_all(first._replace(constants=objects[0], text=text), traced, general)
    return written, rest, list(general.names.values())


def for_all(written: Written, traced: Any, general: General) -> Written:
    """Return the one text as a program, which makes its arrays once for each length."""
    sizes, inputs = traced.sizes, traced.general.inputs
    names = [name for _, name in written.inputs]
    where = [(names[traced.inputs.index(i)], axis) for i, axis in (sizes.places[name][0] for name in sizes.open)]
    latest = LATEST.format(
        name=written.name,
        inputs=", ".join(names),
        lengths="".join(f"{name}.shape[{axis}], " for name, axis in where).strip(),
        kept=KEPT,
    )
    head = f"def sized({', '.join(general.names.values())}):\n"
    body = textwrap.indent(f"{written.text.rstrip()}\n\nreturn {written.name}\n", "    ")
    conditions = [f"{name} >= {LEAST}" for name in sizes.open] + [guard.condition() for guard in sizes.guards]
    condition = general.renamed_in(" and ".join(conditions))
    read = [f"{general.names[name]} = np.shape({x})[{axis}]" for name, (x, axis) in zip(sizes.open, where, strict=True)]
    refusal = f'raise ValueError("the program needs lengths with {condition}")'
    shapes = [f"({''.join(f'{shown(sizes.settled(n))}, ' for n in v.shape)})" for v in inputs]
    return written._replace(
        text=f"{head}{body}\n\n{latest}",
        shapes=tuple(map(general.renamed_in, shapes)),
        lengths="".join(f"    {line}\n" for line in [*read, f"if not ({condition}):", f"    {refusal}"]),
    )


def content(thing: Any) -> Any:
    """Return a key that is equal for the same thing and for equal arrays."""
    return (thing.shape, thing.dtype, thing.tobytes()) if isinstance(thing, np.ndarray) else thing
