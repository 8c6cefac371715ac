"""Which derivative of a program is asked for, how each side is asked, and what finite
differences say to that.

Owns: `QUESTIONS`, and the whole text that ours and PyTorch's side run.
Must not own: the programs' steps (`programs.py`), or how answers are compared
(`check.py`).
Read next: `check.py`.

Each text leaves a list of arrays in `results`: a derivative for each leaf that
`Question.leaves` names, then one for each retained value.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz.programs import Program

MAKE = {  # an input's variable, from the array of its name and "0"
    "ours": ("{0} = mg.tensor({0}0, requires_grad=True)", "{0} = mg.tensor({0}0)", "{0} = {0}0.copy()"),
    "torch": ("{0} = leaf({0}0)", "{0} = fixed({0}0)", "{0} = fixed({0}0)"),
    "plain": ("{0} = np.array({0})", "{0} = np.array({0}0)", "{0} = np.array({0}0)"),
}


def made(p: Program, side: str, leaves: bool) -> str:
    """Return the lines that make the inputs of a program."""
    leaf, fixed, array = MAKE[side]
    lines = [leaf.format(n) for n in p.leaves] if leaves else []
    return "\n".join(lines + [fixed.format(n) for n in p.fixed] + [array.format(n) for n in p.arrays])


def as_function(p: Program, side: str) -> str:
    """Return the program as a function of its leaves, which makes its other inputs in
    each call.
    """
    arguments = [*p.leaves, *(f"delta_{name}" for name in p.retained if side == "plain")]
    body = f"{made(p, side, side == 'plain')}\n{p.body(side)}\nreturn loss".strip()
    return f"def f({', '.join(arguments)}):\n" + textwrap.indent(body, "    ") + "\n"


def on_tape(ask: str) -> Callable[[Program], str]:
    def text(p: Program) -> str:
        lines = ask.format(
            leaves=", ".join(p.leaves),
            gradients=", ".join(f"{n}.grad" for n in p.leaves),
            pairs=", ".join(f"({n}.grad, {n}d)" for n in p.leaves),
            cleared=" = ".join(f"{n}.grad" for n in p.leaves),
            terms="\n".join(f"term{i}.backward(retain_graph=True)" for i in range(len(p.terms))),
        )
        results = ", ".join([*(f"{n}.grad" for n in p.leaves), *(f"kept_{n}.grad" for n in p.retained)])
        return f"{made(p, 'ours', True)}\n{p.body('ours')}\n{lines}\nresults = [{results}]\n"

    return text


def within(context: str, text: Callable[[Program], str]) -> Callable[[Program], str]:
    return lambda p: f"with {context}:\n" + textwrap.indent(text(p), "    ")


def of_function(ask: str) -> Callable[[Program], str]:
    def text(p: Program) -> str:
        first, *others = p.leaves
        lines = ask.format(
            all=", ".join(f"{n}0" for n in p.leaves),
            directions=", ".join(f"{n}d" for n in p.leaves),
            which=tuple(range(len(p.leaves))),
            x=first,
            f_of_x=f"lambda {first}: f({', '.join([first, *(f'mg.tensor({n}0)' for n in others)])})",
        )
        return as_function(p, "ours") + lines + "\n"

    return text


@dataclass(frozen=True)
class Question:
    """A derivative, and how it is asked for.

    Attributes
    ----------
    ours : callable
        Returns the text of our side.
    order : int
        0 for the derivative along the directions, 1 for gradients, 2 for the gradients
        of that derivative.
    factor : float
        What the answer is a multiple by.
    conjugate : bool
        Whether it is what `.grad` holds, the conjugate of a cotangent.
    first_only : bool
        Whether only the first leaf is differentiated.
    hooks, complex_too : bool
        Whether hooks, and complex numbers, make sense in it.
    in_transform : bool
        Whether the leaves are the arguments of a transform.
    """

    ours: Callable[[Program], str]
    order: int = 1
    factor: float = 1.0
    conjugate: bool = True
    first_only: bool = False
    hooks: bool = False
    complex_too: bool = True
    in_transform: bool = True

    def leaves(self, p: Program) -> list[str]:
        return list(p.leaves)[: 1 if self.first_only else None] if self.order else []


AGAIN = (
    "second = 0.0 * loss\nfor g, d in [{pairs}]:\n    if g is not None:\n"
    "        second = second + np.sum(np.real(g * np.conj(d)))\n{cleared} = None\nsecond.backward()"
)
SECOND = {"order": 2, "conjugate": False, "first_only": True, "complex_too": False}
QUESTIONS = {
    "backward": Question(on_tape("loss.backward()"), hooks=True, in_transform=False),
    "backward twice": Question(
        on_tape("loss.backward(retain_graph=True)\nloss.backward()"), factor=2.0, hooks=True, in_transform=False
    ),
    "backward of each term": Question(on_tape("{terms}"), hooks=True, in_transform=False),
    "backward of a factor": Question(
        on_tape("loss.backward(gradient=np.array(1.5))"), factor=1.5, hooks=True, in_transform=False
    ),
    "backward under detect_anomaly": Question(
        within("mg.detect_anomaly()", on_tape("loss.backward()")), in_transform=False
    ),
    "create_graph": Question(on_tape("loss.backward(create_graph=True)\n" + AGAIN), order=2, in_transform=False),
    "grad": Question(of_function("results = list(mg.grad(f, {which})({all}))"), conjugate=False),
    "value_and_grad": Question(
        of_function("value, gradients = mg.value_and_grad(f, {which})({all})\nresults = list(gradients)"),
        conjugate=False,
    ),
    "vjp": Question(
        of_function("value, pullback = mg.vjp(f, {all})\npullback(1.0)\nresults = list(pullback(1.5))"),
        conjugate=False,
        factor=1.5,
    ),
    "jvp": Question(
        of_function("value, tangent = mg.jvp(f, ({all},), ({directions},))\nresults = [tangent]"),
        order=0,
    ),
    "grad of checkpoint": Question(
        of_function("results = list(mg.grad(mg.checkpoint(f), {which})({all}))"), conjugate=False
    ),
    "hvp": Question(of_function("results = [mg.hvp({f_of_x})({x}0, {x}d)]"), **SECOND),
    "grad of grad": Question(
        of_function("results = [mg.grad(lambda {x}: np.sum(mg.grad({f_of_x})({x}) * {x}d))({x}0)]"), **SECOND
    ),
    "grad of jvp": Question(
        of_function("results = [mg.grad(lambda {x}: mg.jvp({f_of_x}, ({x},), ({x}d,))[1])({x}0)]"), **SECOND
    ),
    "vjp of grad": Question(
        of_function("g, pullback = mg.vjp(mg.grad({f_of_x}), {x}0)\nresults = list(pullback({x}d))"), **SECOND
    ),
    "hessian": Question(of_function("results = [np.tensordot(mg.hessian({f_of_x})({x}0), {x}d, {x}d.ndim)]"), **SECOND),
}
PLAINEST = {
    0: "jvp",
    1: "backward",
    2: "grad of grad",
}  # what a minimiser asks instead, if the answer is wrong there too


def torch_text(p: Program) -> str:
    """Return the text of PyTorch's side: `value`, and `results` as above, for any
    question.
    """
    question = QUESTIONS[p.question]
    text = f"{made(p, 'torch', True)}\n{p.body('torch')}\nvalue = loss\n"
    leaves = ", ".join(p.leaves)
    if question.order == 1:
        kept = ", ".join([*(f"{n}.grad" for n in p.leaves), *(f"kept_{n}.grad" for n in p.retained)])
        return text + f"loss.backward()\nresults = [{kept}]\n"
    directions = ", ".join(f"fixed({n}d)" for n in p.leaves)
    if question.first_only:
        leaves, directions = leaves.split(",")[0], directions.split(",")[0]
    text += (
        f"first = torch.autograd.grad(loss, [{leaves}], create_graph=True, allow_unused=True)\n"
        f"slope = 0.0 * loss + sum(torch.sum(torch.real(g * torch.conj(d)))"
        f" for g, d in zip(first, [{directions}]) if g is not None)\n"
    )
    if question.order == 0:
        return text + "results = [slope]\n"
    return text + f"results = list(torch.autograd.grad(slope, [{leaves}], allow_unused=True))\n"
