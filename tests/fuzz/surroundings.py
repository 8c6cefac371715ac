"""Programs with surroundings: a function, what is around it, and calls between which
that changes.

Owns: `Program`, its text, drawing one at random, and making it smaller.
Must not own: the tables that it is drawn from (`things.py`), or running it
(`contract.py`).
Read next: `contract.py`.

The function takes an array `x`, and a value `h` of its shape passes through a few
parts. A part is a thing (a settings object, a parameter, a module, an array, a
generator), a use of it, and a way by which the function comes by it: any thing goes
with any way. Then come a loss, a training step and a result. Before each call some of
the things change.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from string import Template
from typing import Any

from tests.fuzz.things import (
    CONTAINERS,
    DERIVATIVES,
    FORMS,
    INPUTS,
    OPTIMIZER_CHANGES,
    OPTIMIZER_REACHES,
    OPTIMIZERS,
    OPTIONS,
    REACHES,
    RESULTS,
    SETTINGS,
    THINGS,
    TRAININGS,
    VARIABLES,
    WORDS,
    Reach,
    Thing,
)

Choose = Callable[[Sequence[Any]], Any]

PRELUDE = """\
import array, collections, contextlib, contextvars, dataclasses, decimal, functools, random, types
import numpy as np
import microgradnd as mg
from microgradnd import nn, optim

Pair = collections.namedtuple("Pair", "loss h")

@dataclasses.dataclass
class Record:
    loss: object
    parts: list

fixed = mg.static if compile_(len) is not len else lambda value: value

def backward(result):
    found = [t for t in tensors(result) if t.requires_grad]
    if found:
        sum(np.sum(t) for t in found).backward()

def tensors(tree):
    parts = tree.values() if isinstance(tree, dict) else vars(tree).values() if isinstance(tree, Record) else tree
    if isinstance(tree, mg.Tensor):
        return [tree]
    return [t for part in parts for t in tensors(part)] if isinstance(tree, (list, tuple, dict, Record)) else []
"""
HELPERS = {
    "counted": "def counted(it):\n    it.calls += 1\n    return it.calls",
    "halved": "def halved(it):\n    it *= 0.5\n    return it",
    "tried": "def tried(h, it):\n    try:\n        return float(np.sum(h))\n    except TypeError:\n        return it",
}

USE = re.compile(r"USE\[((?:[^\[\]]|\[[^\[\]]*\])*)\]")  # with brackets in it


@dataclass(frozen=True)
class Part:
    """A thing, its use, and how the function comes by it; `n` is its number."""

    n: int
    thing: Thing
    use: str
    reach: Reach
    numbers: tuple[float, ...]

    def text(self, template: str) -> str:
        """Return a text of the tables with the numbers of this part."""

        def used(found: re.Match[str]) -> str:
            return f"({self.use.replace('$it', found[1])})"

        a, b, c = self.numbers
        text = Template(USE.sub(used, inspect.cleandoc(template))).safe_substitute(WORDS)
        return Template(text).substitute(n=self.n, a=a, b=b, c=c)


@dataclass(frozen=True)
class Call:
    """One call: what changes before it (of which part; -1 is the optimizer), its input,
    and its options.

    `backward` says whether a derivative of the result follows, `late` what changes
    between the two.
    """

    changes: tuple[tuple[int, str], ...] = ()
    input: str = "X"
    option: str = ""
    seed: float = 1.0
    backward: bool = False
    late: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Program:
    """A function, its surroundings, and its calls; see the tables."""

    parts: tuple[Part, ...]
    training: str
    optimizer: str
    optimizer_reach: Reach
    result: str
    options: tuple[str, tuple[str, ...], str]
    form: str
    calls: tuple[Call, ...]
    compiler: str = "mg.compile"

    @property
    def refusable(self) -> bool:
        """Whether it has side effects or control flow on values, which may be
        refused.
        """
        parts = any(part.thing.refusable or part.reach.refusable for part in self.parts)
        return parts or "if OPT" in self.training

    def replace(self, **changes: Any) -> Program:
        return replace(self, **changes)

    def features(self) -> list[str]:
        """Return the rows of the tables that are in it."""
        return [name for part in self.parts for name in (part.thing.name, f"by {part.reach.name}")]

    def trained(self, opt: str) -> str:
        """Return the training step."""
        return Template(inspect.cleandoc(self.training)).substitute(WORDS).replace("OPT", opt)

    def setup(self) -> str:
        """Return the text that makes `run`, which is the function or the compiled
        function.
        """
        opt = self.optimizer_reach
        lines = [PRELUDE]
        for part in self.parts:
            lines += [part.text(part.thing.setup), part.text(part.reach.setup)]
        parameters = "".join(f" + {part.text(part.thing.parameters)}" for part in self.parts if part.thing.parameters)
        lines += [
            f"anchor = nn.Parameter(np.array(0.5))\nparams = [anchor]{parameters}\nopt = {self.optimizer}",
            inspect.cleandoc(opt.setup),
        ]
        parameters = ["x", *(part.text(part.reach.parameter) for part in self.parts), opt.parameter, self.options[0]]
        lines += ["", f"def step({', '.join(p for p in parameters if p)}):"]
        body = ["h = x", *(part.text(part.reach.step) for part in self.parts), self.options[2]]
        body += ["loss = np.mean(h * h) + anchor * anchor", self.trained(opt.step)]
        result = self.result.replace("OPT", opt.step)
        body += [f"return ({result}, norm)" if "NORM" in self.training else f"return {result}"]
        lines += [textwrap.indent(line, "    ") for line in body if line]
        lines += ["", inspect.cleandoc(self.form)]
        text = "\n".join(line for line in lines if line or line == "")
        helpers = "\n".join(helper for name, helper in HELPERS.items() if f"{name}(" in text)
        return re.sub(r"\n{3,}", "\n\n", text.replace(PRELUDE, f"{PRELUDE}\n{helpers}\n", 1))

    def changes(self, changes: Sequence[tuple[int, str]]) -> list[str]:
        parts = {part.n: part for part in self.parts}
        return [
            (parts[n].text(change) if n in parts else inspect.cleandoc(change))
            for n, change in changes
            if n in parts or n < 0
        ]

    def change(self, call: Call) -> str:
        """Return what happens before a call."""
        made = f"X = np.sin(np.arange(12.0) * {call.seed} + 0.3).reshape(4, 3)"
        return "\n".join([*self.changes(call.changes), made, f"x = {call.input}"])

    def call(self, call: Call) -> str:
        """Return the call."""
        arguments = ["x", *(part.text(part.reach.argument) for part in self.parts), self.optimizer_reach.argument]
        option = Template(call.option).substitute(a=0.7, b=-0.4, c=1.3)
        return f"result = run({', '.join(a for a in [*arguments, option] if a)})"

    def after(self, call: Call) -> str:
        """Return what happens after the call: the derivative of its result."""
        return "\n".join([*self.changes(call.late), "backward(result)"]) if call.backward else ""


def draw(choose: Choose, compilers: Sequence[str] = ("mg.compile",)) -> Program:
    """Return a program; `choose` picks one of several."""
    numbers = [0.5, 1.5, -0.7, 1.2, 0.3, -1.4, 0.9]
    parts = []
    for n in range(1, choose((1, 1, 2, 2, 3)) + 1):
        thing = choose(choose((THINGS, THINGS, THINGS, VARIABLES, SETTINGS, CONTAINERS)))
        fitting = tuple(choose(numbers) for _ in "abc")
        parts.append(Part(n, thing, choose(thing.uses), choose(REACHES), fitting))
    training, form, options = choose(TRAININGS), choose(FORMS), choose((OPTIONS[0], OPTIONS[0], choose(OPTIONS)))
    result = choose(RESULTS)
    if not training and choose((False, False, True)):
        form, result = choose(DERIVATIVES), "loss"
    calls = []
    for i in range(choose((3, 4, 5, 6))):
        changing = [part for part in parts if i and part.thing.changes and choose((False, True))]
        changes = [(part.n, choose(part.thing.changes)) for part in changing]
        if i and choose((False, False, True)):
            changes.append((-1, choose(OPTIMIZER_CHANGES)))
        backward = not training and form not in DERIVATIVES and choose((False, True))
        late = [(p.n, choose(p.thing.changes)) for p in parts if backward and p.thing.changes and choose((0, 0, 0, 1))]
        given = "X" if form in DERIVATIVES else choose(("X", "X", choose(INPUTS)))
        calls.append(Call(tuple(changes), given, choose(options[1]), choose((1.0, 0.7, 1.9)), backward, tuple(late)))
    return Program(
        tuple(parts), training, choose(OPTIMIZERS), choose(OPTIMIZER_REACHES), result, options, form, tuple(calls),
        choose(compilers),
    )  # fmt: skip


def smaller(p: Program) -> Iterator[Program]:
    """Yield programs that are a little smaller."""
    for i in range(len(p.calls)):
        if len(p.calls) > 1:
            yield p.replace(calls=p.calls[:i] + p.calls[i + 1 :])
    for i in range(len(p.parts)):
        yield p.replace(parts=p.parts[:i] + p.parts[i + 1 :])
    plain = {"training": "", "optimizer": OPTIMIZERS[0], "optimizer_reach": OPTIMIZER_REACHES[0], "form": FORMS[0]}
    for name, value in {**plain, "result": "h", "training": TRAININGS[2]}.items():
        if getattr(p, name) != value and not (name == "training" and p.training in ("", value)):
            yield p.replace(**{name: value})
    if p.training:
        yield p.replace(training="")
    if p.options != OPTIONS[0]:
        yield p.replace(options=OPTIONS[0], calls=tuple(replace(call, option="") for call in p.calls))
    for i, part in enumerate(p.parts):
        if part.reach != REACHES[0]:
            yield p.replace(parts=(*p.parts[:i], replace(part, reach=REACHES[0]), *p.parts[i + 1 :]))
    for i, call in enumerate(p.calls):
        for j in range(len(call.changes)):
            fewer = replace(call, changes=call.changes[:j] + call.changes[j + 1 :])
            yield p.replace(calls=(*p.calls[:i], fewer, *p.calls[i + 1 :]))
        for change in ({"input": "X"}, {"option": ""}, {"backward": False, "late": ()}, {"late": ()}, {"seed": 1.0}):
            simpler = replace(call, **change)
            if simpler != call:
                yield p.replace(calls=(*p.calls[:i], simpler, *p.calls[i + 1 :]))
