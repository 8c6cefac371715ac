"""An optimizer's formula, written once: its NumPy calls, run in two ways.

Owns: reading an optimizer's formula, and evaluating it in place on vectors, or on
Tensors.
Must not own: any formula (`sgd.py`, `adam.py`, ...), or the vectors (`flat.py`).
Read next: `flat.py`.

A formula is read by calling it with symbols, which record each NumPy call. Called on
arrays, the formula would make a new array for each intermediate result. So the recorded
calls are printed as a function that writes each result to an existing array: a new
state replaces the old one, the step replaces the gradient, and the rest goes to a few
scratch arrays. In a compiled function the calls are made on Tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

# Python is faster than NumPy at computing with single numbers
SPELLED: dict[Any, str] = {
    np.add: "{} + {}",
    np.subtract: "{} - {}",
    np.multiply: "{} * {}",
    np.true_divide: "{} / {}",
    np.float_power: "{} ** {}",
    np.negative: "-{}",
    np.greater: "{} > {}",
    np.sqrt: "math.sqrt({})",
}


class Symbol(NDArrayOperatorsMixin):
    """A placeholder for a vector or a number while a formula is read.

    Its name is that of its variable in the printed step.
    """

    def __init__(self, calls: list[Call], name: str, is_vector: bool = False, is_setting: bool = False) -> None:
        self.calls, self.name, self.is_vector, self.is_setting = calls, name, is_vector, is_setting

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("a formula must compute element by element; use operators and NumPy's ufuncs, such as np.sqrt")

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # `+=` passes `out`; here it gives the variable a new value, as for numbers
        if method != "__call__" or function.nout != 1 or kwargs.keys() - {"out"}:
            self.__array__()
        is_vector = any(isinstance(x, Symbol) and x.is_vector for x in inputs)
        if function is np.power and not is_vector:
            function = np.float_power  # it takes integers too
        result = Symbol(self.calls, f"{'vector' if is_vector else 'number'}_{len(self.calls)}", is_vector)
        self.calls.append(Call(function, inputs, result))
        return result

    def __bool__(self) -> bool:
        if not self.is_setting:
            raise TypeError(f"a formula can't branch on {self.name}, which differs between steps; branch on a setting")
        return True  # the setting may have any value in another step


class Call(NamedTuple):
    """One NumPy call of a formula."""

    function: Any
    inputs: tuple[Any, ...]  # symbols and numbers
    result: Symbol

    def names(self) -> list[str]:
        """Return the inputs as printed code."""
        return [x.name if isinstance(x, Symbol) else f"({x!r})" if x < 0 else repr(x) for x in self.inputs]


class Formula:
    """The formula of an optimizer, read for some settings.

    Attributes
    ----------
    calls : tuple of Call
        What it computes, in order.
    new : dict of str to Symbol
        The new states, and the step as "g".
    vectors : list of str
        The vectors that the step takes, in this order: "w" if it is used, "g", and the
        states that are used.
    states : list of str
        The states that are used.
    numbers : list of str
        The settings that a step takes.
    counts : bool
        Whether a step depends on the steps before it.
    scratch : int
        The number of scratch arrays that a step needs.
    source : str
        The step as Python code: a function of chunks of the vectors (each with scratch
        arrays), `t`, and the varying settings.
    """

    run: Callable[..., None]  # `source` as a function

    def __init__(self, calls: Sequence[Call], new: dict[str, Symbol], states: Iterable[str]) -> None:
        self.calls, self.new = tuple(calls), new
        self.last = {name: i for i, call in enumerate(self.calls) for name in call.names()}
        self.states = [name for name in states if name in new or name in self.last]
        self.counts = bool(self.states) or "t" in self.last
        self.vectors = [name for name in ("w", "g", *states) if name in ("g", *self.states) or name in self.last]
        self.numbers: list[str] = []
        self.scratch = 0
        self.source = ""

    def printed(self) -> str:
        """Return the step as code that reuses arrays that are no longer needed."""
        last = self.last | {x.name: len(self.calls) for x in self.new.values()}
        home = {x.name: name for name, x in self.new.items()}  # where a result belongs at the end
        place = {name: name for name in self.vectors}
        free = [name for name in self.vectors if name not in last]
        numbers, lines = [], []
        for i, (function, inputs, result) in enumerate(self.calls):
            names = self.calls[i].names()
            known = f"np.{function.__name__}" if hasattr(np, function.__name__) else function.__name__
            if not result.is_vector:
                spelled = SPELLED.get(function, known + "(" + ", ".join(["{}"] * len(inputs)) + ")")
                numbers.append(f"{result.name} = {spelled.format(*names)}")
                continue
            ending = dict.fromkeys(name for name in names if name in place and last[name] == i)
            free += [place[name] for name in ending]
            wanted = home.get(result.name)
            out = free.pop(free.index(wanted) if wanted in free else -1) if free else self.another()
            place[result.name] = out
            is_named = function in (np.maximum, np.minimum)  # a third positional argument of theirs is deprecated
            keyword = "out=" if is_named else ""
            lines.append(f"{known}({', '.join([place.get(name, name) for name in names])}, {keyword}{out})")
        lines += [f"np.copyto({name}, {place[x.name]})" for name, x in self.new.items() if place[x.name] != name]
        arrays = [*self.vectors, *(f"scratch_{i}" for i in range(self.scratch))]
        return "\n".join(
            [
                f"def step({', '.join(['chunks', 't', *self.numbers])}):",
                *(f"    {line}" for line in numbers),
                f"    for {', '.join(arrays)}, in chunks:",
                *(f"        {line}" for line in lines),
            ]
        )

    def another(self) -> str:
        """Return the name of a new scratch array."""
        self.scratch += 1
        return f"scratch_{self.scratch - 1}"

    def on_tensors(self, values: Mapping[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
        """Return the step, as "g", and the new states, computed on Tensors."""
        found = dict(values)
        for function, inputs, result in self.calls:
            operands = []
            for x in inputs:
                value = found[x.name] if isinstance(x, Symbol) else x
                # numbers have double precision until they meet a vector, as Python
                # floats do; there they are rounded
                is_rounded = isinstance(x, Symbol) and result.is_vector and not x.is_vector
                operands.append(value.astype(dtype) if is_rounded else value)
            found[result.name] = function(*operands)
        return {name: found[x.name] for name, x in self.new.items()}


def symbols(calls: list[Call], name: str, value: Any) -> Any:
    """Return the symbol for a varying setting, or a pair of them."""
    if isinstance(value, tuple):
        return tuple([Symbol(calls, f"{name}_{i}", is_setting=True) for i in range(len(value))])
    return Symbol(calls, name, is_setting=True)


def formula_of(
    function: Callable[..., Any], settings: Mapping[str, Any], varying: Iterable[str], states: Sequence[str]
) -> Formula:
    """Call a formula once with symbols, and return it as printed code.

    Parameters
    ----------
    function : callable
        `function(s, w, g, t)` returns the step, which is subtracted from the parameters
        `w`. `g` is the gradient, and `t` the number of the step, from 1. `s` has the
        settings and states as attributes; the function assigns the new states to it.
    settings : mapping
        The settings.
    varying : iterable of str
        The names of settings that may change between steps: numbers or pairs of
        numbers.
    states : sequence of str
        The names of the vectors that are kept from one step to the next.
    """
    calls: list[Call] = []
    vectors = {name: Symbol(calls, name, is_vector=True) for name in ("w", "g", *states)}
    numbers = {name: symbols(calls, name, settings[name]) for name in varying}
    s = SimpleNamespace(**{**settings, **numbers, **vectors})
    step = function(s, vectors["w"], vectors["g"], Symbol(calls, "t"))
    if not isinstance(step, Symbol) or not step.is_vector:
        raise TypeError(f"a formula must return the step, an expression of the gradient g, got {step!r}")
    new = {name: x for name in states if (x := getattr(s, name)) is not vectors[name]} | {"g": step}
    new = {name: np.positive(x) if x.name in vectors else x for name, x in new.items()}
    formula = Formula(calls, new, states)
    calls.clear()  # or the symbols would form a reference cycle
    formula.numbers += [x.name for some in numbers.values() for x in (some if isinstance(some, tuple) else (some,))]
    formula.source = formula.printed()
    scope = {"np": np, "math": math} | {call.function.__name__: call.function for call in formula.calls}
    exec(formula.source, scope)
    formula.run = scope.pop("step")  # popped, or the function would refer to itself
    return formula
