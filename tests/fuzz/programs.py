"""Programs as lists of steps, and their text for each of the three that run them.

Owns: `Step`, `Program`, and how they are written as Python.
Must not own: the operations (`operations.py`), how programs are drawn (`draw.py`) or
compared (`check.py`).
Read next: `operations.py`.

A program is text, so what is run is what is printed. The text differs by who runs it:

- "ours": NumPy's functions on Tensors of this library;
- "torch": an independent spelling of each operation, with values instead of variables
  that change;
- "plain": the text of "ours" on plain arrays, for values and finite differences. Where
  the gradient stops there (`detach`, `no_grad`), `frozen(...)` returns the value of the
  unmoved inputs; after a change in place `sync()` gives such values what the unmoved
  inputs have by then, as they may share memory.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

SIDES = ("ours", "torch", "plain")


@dataclass(frozen=True)
class Operation:
    """A kind of step.

    Attributes
    ----------
    name : str
    ours, torch, plain : str
        The expression, or the statement, with `{0}`, `{1}` for operands, `{result}` and
        named parameters. `plain` is the text of `ours` if it is empty; without `torch`
        only finite differences check it.
    draw : callable
        `draw(d)` chooses operands and parameters with the help of a `draw.Draw`, or
        returns None.
    distance : str
        How far the operands are from a kink, a pole or a branch cut: an expression on
        plain arrays.
    statement : bool
        Whether the text changes a variable in place, instead of giving a value.
    group : str
        "values", "assignment" or "mutation": what can be switched off.
    follows : bool
        Whether the result depends on the operands as derivatives see it.
    """

    name: str
    ours: str
    torch: str
    draw: Any
    plain: str = ""
    distance: str = ""
    statement: bool = False
    group: str = "values"
    follows: bool = True

    def text(self, side: str) -> str:
        return self.plain or self.ours if side == "plain" else getattr(self, side)


@dataclass(frozen=True)
class Step:
    """One line: `result = operation(*operands)`, and what is done with the result at
    once.
    """

    operation: Operation
    operands: tuple[str, ...]
    result: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    no_grad: bool = False
    hook: float | None = None  # what a hook multiplies the gradient by
    retain: bool = False

    def text(self, side: str) -> str:
        """Return the line, or lines, that one of the three runs."""
        parameters = {name: literal(value) for name, value in self.parameters.items()}
        text = self.operation.text(side).format(*self.operands, result=self.result, **parameters)
        if self.operation.statement:
            return f"{text}\nsync()" if side == "plain" else text
        if not self.no_grad:
            lines = [f"{self.result} = {text}"]
        elif side == "ours":
            lines = ["with mg.no_grad():", f"    {self.result} = {text}"]
        elif side == "torch":
            lines = [f"{self.result} = ({text}).detach()"]
        else:
            lines = [f"{self.result} = frozen({text}, {self.result!r})"]
        if side == "plain":
            lines += [f"{self.result} = {self.result} + delta_{self.result}"] if self.retain else []
            lines += [f"{self.result} = scaled({self.result}, {self.hook}, {self.result!r})"] if self.hook else []
        else:
            lines += [f"{self.result}.register_hook(lambda g: {self.hook} * g)"] if self.hook else []
            lines += [f"{self.result}.retain_grad()", f"kept_{self.result} = {self.result}"] if self.retain else []
        return "\n".join(lines)


# What a loss is made of: the terms' names, and their text on Tensors and plain arrays,
# and on PyTorch's
TERMS = {
    "sum": ("np.sum({0})", "torch.sum({0})"),
    "sine": ("np.sum(np.sin({0}))", "torch.sum(torch.sin({0}))"),
    "square": ("np.sum({0} * {0})", "torch.sum({0} * {0})"),
    "parts": ("np.sum(np.real({0}) - 0.7 * np.imag({0}))", "torch.sum(torch.real({0}) - 0.7 * torch.imag({0}))"),
    "size": ("np.sum(np.real({0} * np.conj({0})))", "torch.sum(torch.real({0} * torch.conj({0})))"),
}


@dataclass(frozen=True)
class Program:
    """Inputs, steps, the terms of the loss, and the derivative that is asked for.

    Attributes
    ----------
    leaves, fixed, arrays : dict of str to array
        Tensors that require a gradient, Tensors that don't, plain arrays of the user.
    terms : tuple of (str, str)
        A key of `TERMS` and a value, of each summand of the loss.
    question : str
        A key of `questions.QUESTIONS`.
    directions : dict of str to array
        Of each leaf, for forward mode and second derivatives.
    """

    leaves: dict[str, Any]
    fixed: dict[str, Any]
    arrays: dict[str, Any]
    steps: tuple[Step, ...]
    terms: tuple[tuple[str, str], ...]
    question: str
    directions: dict[str, Any]

    @property
    def inputs(self) -> dict[str, Any]:
        return {**self.leaves, **self.fixed, **self.arrays}

    @property
    def retained(self) -> list[str]:
        return [step.result for step in self.steps if step.retain]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The least precise dtype of the leaves."""
        return min((a.dtype for a in self.leaves.values()), key=lambda d: (np.finfo(d).bits, d.char))

    @property
    def is_complex(self) -> bool:
        return any(a.dtype.kind == "c" for a in self.inputs.values())

    def body(self, side: str) -> str:
        """Return the steps and the loss."""
        lines = [step.text(side) for step in self.steps]
        column = 1 if side == "torch" else 0
        lines += [f"term{i} = {TERMS[kind][column].format(name)}" for i, (kind, name) in enumerate(self.terms)]
        lines.append("loss = " + " + ".join(f"term{i}" for i in range(len(self.terms))))
        return "\n".join(lines)

    def function(self, side: str, name: str = "f") -> str:
        """Return the program as a function of its leaves."""
        arguments = [*self.leaves, *(f"delta_{r}" for r in self.retained if side == "plain")]
        return f"def {name}({', '.join(arguments)}):\n" + textwrap.indent(self.body(side) + "\nreturn loss", "    ")

    def operations(self) -> list[str]:
        return [step.operation.name for step in self.steps]

    @property
    def mutates(self) -> bool:
        """Whether inputs change between their use and the derivative."""
        return any(step.operation.group == "mutation" for step in self.steps)

    @property
    def assigns_to_frozen(self) -> bool:
        """Whether a value at which the gradient stops may be assigned to, and with it
        what shares its memory.
        """
        stops = any(step.no_grad or not step.operation.follows for step in self.steps)
        return stops and any(step.operation.group == "assignment" for step in self.steps)

    def replace(self, **changes: Any) -> Program:
        return replace(self, **changes)


def literal(value: Any) -> str:
    """Return an expression with this value, as a user would write it; of an index, what
    stands between the brackets.
    """
    if isinstance(value, Index):
        return ", ".join(part(p) for p in value.parts) + ("," if len(value.parts) == 1 and value.tuple else "")
    if isinstance(value, np.ndarray):
        dtype = "" if value.dtype in (np.float64, np.int64, np.bool_, np.complex128) else f", dtype=np.{value.dtype}"
        if value.size == 0:
            return f"np.zeros({value.shape}, dtype=np.{value.dtype})"
        return f"np.array({value.tolist()!r}{dtype})"
    if isinstance(value, np.generic):
        return repr(value.item())
    return "np.inf" if value == np.inf else repr(value)


@dataclass(frozen=True)
class Index:
    """What stands between the brackets of `x[...]`."""

    parts: tuple[Any, ...]
    tuple: bool = False


def part(value: Any) -> str:
    if isinstance(value, slice):
        start, stop = ("" if end is None else str(end) for end in (value.start, value.stop))
        return f"{start}:{stop}" + (f":{value.step}" if value.step is not None else "")
    return "..." if value is Ellipsis else literal(value)
