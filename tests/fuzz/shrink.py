"""Making a program that fails smaller, and writing it as a script to paste.

Owns: `shrink`, and `script`.
Must not own: what counts as a failure (`check.py`).
Read next: `__main__.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tests.fuzz.check import Plain, Verdict, check
from tests.fuzz.operations import OPERATIONS
from tests.fuzz.programs import Program, Step, literal
from tests.fuzz.questions import PLAINEST, QUESTIONS


def shrink(
    p: Program, verdict: Verdict, seconds: float = 20.0, names: dict[str, Any] | None = None
) -> tuple[Program, Verdict]:
    """Return the smallest program found, in a time, that fails as this one does, and
    its verdict.
    """
    end = time.monotonic() + seconds

    def attempt(candidate: Program) -> Verdict | None:
        try:
            found = check(candidate, names)
        except Exception:  # a candidate that makes no sense on PyTorch's side, or none at all
            return None
        alike = found.kind == verdict.kind and (found.kind != "crashed" or kind_of(found) == kind_of(verdict))
        return found if alike else None

    again = True
    while again and time.monotonic() < end:
        again = False
        for candidate in smaller(p):
            if time.monotonic() > end:
                break
            if (found := attempt(candidate)) is not None:
                p, verdict, again = candidate, found, True
                break
    return p, verdict


SIMPLEST = next(operation for operation in OPERATIONS if operation.name == "sin")


def kind_of(verdict: Verdict) -> str:
    """Return the message of a verdict without its numbers, names and shapes."""
    text = re.sub(r"\([^()]*\)|'[^']*'|\[[^\]]*\]|-?\d+(\.\d+)?", "..", verdict.reason)
    text = re.sub(
        r" for \S+( or pow..)?: ..(?= and|$)|<ufunc .*", " ..", text, flags=re.DOTALL
    )  # whichever operator it was
    return re.sub(r"(result of|tensor of|leaf of|after) \S+|^RuntimeError: \.\. of shape", r"\1 ..", text)[:110]


def smaller(p: Program) -> Iterator[Program]:
    """Yield programs that are a little smaller, the most promising first."""
    for i in range(len(p.terms)):
        if len(p.terms) > 1:
            yield p.replace(terms=p.terms[:i] + p.terms[i + 1 :])
    if (unused := without_unused(p)) != p:
        yield unused
    for i in reversed(range(len(p.steps))):
        yield from without_step(p, i)
    plainest = PLAINEST[QUESTIONS[p.question].order]
    if p.question != plainest:
        yield p.replace(question=plainest)
    for i, step in enumerate(p.steps):
        for change in ({"hook": None}, {"retain": False}, {"no_grad": False}):
            changed = replace(step, **change)
            if changed != step:
                yield with_step(p, i, changed)
        if not step.operation.statement and step.operation != SIMPLEST:
            yield with_step(p, i, replace(step, operation=SIMPLEST, operands=step.operands[:1], parameters={}))
        for j, name in enumerate(step.operands):
            for other in p.leaves:
                if name != other and not (step.operation.statement and j == 0) and name not in p.leaves:
                    yield with_step(p, i, replace(step, operands=(*step.operands[:j], other, *step.operands[j + 1 :])))
    for i, (kind, name) in enumerate(p.terms):
        if kind not in ("sum", "parts"):
            simplest = "parts" if p.is_complex else "sum"
            yield p.replace(terms=(*p.terms[:i], (simplest, name), *p.terms[i + 1 :]))
    yield from with_simpler_numbers(p)


def with_step(p: Program, i: int, step: Step) -> Program:
    return p.replace(steps=(*p.steps[:i], step, *p.steps[i + 1 :]))


def without_step(p: Program, i: int) -> Iterator[Program]:
    """Yield the program without a step, whose result others take the place of."""
    step, rest = p.steps[i], p.steps[i + 1 :]
    if step.operation.statement:
        yield p.replace(steps=p.steps[:i] + rest)
        return
    for other in dict.fromkeys([*step.operands, *p.leaves]):
        if other in p.arrays:
            continue
        renamed = tuple(
            replace(
                s,
                operands=tuple(other if o == step.result else o for o in s.operands),
                result=other if s.result == step.result else s.result,
            )
            for s in rest
        )
        terms = tuple((kind, other if name == step.result else name) for kind, name in p.terms)
        yield p.replace(steps=p.steps[:i] + renamed, terms=terms)


def without_unused(p: Program) -> Program:
    """Return the program without steps and inputs that no other step and no term
    names.
    """
    steps = list(p.steps)
    for i in reversed(range(len(steps))):
        named = {name for s in steps[:i] + steps[i + 1 :] for name in s.operands} | {name for _, name in p.terms}
        if not steps[i].operation.statement and steps[i].result not in named:
            del steps[i]
    named = {name for s in steps for name in s.operands} | {name for _, name in p.terms}
    kept = {part: {n: a for n, a in getattr(p, part).items() if n in named} for part in ("leaves", "fixed", "arrays")}
    if not kept["leaves"]:
        return p
    if QUESTIONS[p.question].first_only and next(iter(kept["leaves"])) != next(iter(p.leaves)):
        return p
    return p.replace(steps=tuple(steps), **kept)


def with_simpler_numbers(p: Program) -> Iterator[Program]:
    """Yield programs with real inputs, in double precision, of few digits."""
    for part in ("leaves", "fixed", "arrays"):
        for name, a in getattr(p, part).items():
            wide = a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)
            for simpler in (a.real.copy(), wide, np.round(a, 1), np.round(a)):
                simpler = np.asarray(simpler) + 0
                if simpler.dtype == a.dtype and np.array_equal(simpler, a):
                    continue
                changed = p.replace(**{part: {**getattr(p, part), name: np.asarray(simpler)}})
                if part == "leaves":
                    d = p.directions[name]
                    d = np.round(d.real if simpler.dtype.kind == "f" else d, 1).astype(simpler.dtype)
                    changed = changed.replace(directions={**p.directions, name: np.asarray(d)})
                yield changed


HOLDER = """\
def holder(t):
    module = mg.nn.Module()
    module.register_parameter("held", t)
    return module
"""
STEP = """\
def step(t, by):
    before, t.grad = t.grad, np.full(t.shape, by, t.dtype)
    mg.optim.SGD([t], lr=1.0).step()
    t.grad = before
"""


def script(p: Program, verdict: Verdict, names: dict[str, Any] | None = None) -> str:
    """Return a program to paste: it needs NumPy and this library, and prints our
    numbers next to the other's.
    """
    text = QUESTIONS[p.question].ours(p)
    lines = ["import numpy as np", "import microgradnd as mg", ""]
    lines += [HOLDER] if "holder(" in text else []
    lines += [STEP] if "step(" in text else []
    lines += [f"{n}0 = {literal(a)}" for n, a in p.inputs.items()]
    lines += [f"{n}d = {literal(p.directions[n])}" for n in p.leaves if re.search(rf"\b{n}d\b", text)]
    lines += ["", text.strip()]
    if verdict.kind == "wrong":
        other = next((side for side in verdict.numbers if side != "ours"), "")
        numbers = verdict.numbers.get(other, [])
        if other == "NumPy":
            lines += [f'print("the value:", loss, "NumPy\'s:", {literal(np.asarray(numbers[0]))})']
        else:
            expected = answers(p, other, numbers, names)
            lines += [f"expected = [{', '.join(literal(e) for e in expected)}]  # {other}"]
            lines += ["for got, want in zip(results, expected):", f'    print("ours:", got, " {other}:", want)']
    return "\n".join(lines)


def answers(p: Program, other: str, numbers: list[Any], names: dict[str, Any] | None) -> list[Any]:
    """Return what another side says in the form of our results."""
    question = QUESTIONS[p.question]
    if other == "finite differences":
        numbers = Plain(p, names).answers()
    numbers = [np.round(np.asarray(n) * question.factor, 8) for n in numbers]
    return numbers if question.conjugate else [np.conj(n) for n in numbers]
