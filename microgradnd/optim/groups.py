"""A group of parameters with settings of its own.

Owns: where the settings are kept, which of them vary between steps, and how a compiled
function reads them.
Must not own: the checks of settings (`settings.py`), or the parameters' vectors
(`flat.py`).
Read next: `optimizer.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.conversions import variable
from microgradnd.optim.flat import Flat
from microgradnd.optim.formula import Formula, formula_of
from microgradnd.tape import current
from microgradnd.tensor import Tensor, tensor

if TYPE_CHECKING:
    from microgradnd.optim.optimizer import Optimizer


class Group(Mapping[str, Any]):
    """Parameters that share their settings: an entry of `param_groups`, as in PyTorch.

    Read and set it like a dict; values are checked. The learning rate, and every number
    that you change after making the optimizer, are variables: a compiled function reads
    them in each call. The other settings are constants of its program.
    """

    def __init__(self, kind: type[Optimizer], params: list[Tensor], settings: dict[str, Any]) -> None:
        self._kind, self._params = kind, params
        self._fixed, self._varying = dict(settings), dict[str, Tensor]()
        self._vary("lr", settings["lr"])
        self.initial_lr: float | None = None  # before any schedule
        by_dtype: dict[np.dtype[Any], list[Tensor]] = {}
        for parameter in params:
            by_dtype.setdefault(parameter.dtype, []).append(parameter)
        self._flats = [Flat(parameters) for parameters in by_dtype.values()]

    def _vary(self, name: str, value: Any) -> None:
        """Keep a setting as a variable."""
        del self._fixed[name]
        self._varying[name] = variable(Tensor, np.array(value, float), False, name)
        self._note()

    def _note(self) -> None:
        """Record the settings that aren't variables, and drop the old formula."""
        self._form = (*self._fixed.items(), *self._varying)
        self._formula: Formula | None = None

    def __copy__(self) -> Group:
        # The copy has its own settings, but shares parameters and state, as in PyTorch
        copy = Group(self._kind, self._params, self.settings())
        copy._flats, copy.initial_lr = self._flats, self.initial_lr
        return copy

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_formula": None}

    # Settings

    def settings(self) -> dict[str, Any]:
        """Return the current settings."""
        varying = {name: value._array.tolist() for name, value in self._varying.items()}
        found = {**self._fixed, **{name: tuple(x) if isinstance(x, list) else x for name, x in varying.items()}}
        return {name: found[name] for name in self._kind.table}

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self._params
        self._kind.row(name)
        if (trace := current().trace) is None:
            return self.settings()[name]
        trace.depends(self)
        value: Any = self._varying.get(name, self._fixed.get(name))
        if name not in self._varying:
            return value
        parts = [trace.number(part._array, part._node) for part in (value if value.ndim else [value])]
        return tuple(parts) if value.ndim else parts[0]

    def __iter__(self) -> Iterator[str]:
        return iter(["params", *self._kind.table])

    def __len__(self) -> int:
        return 1 + len(self._kind.table)

    def __repr__(self) -> str:
        return f"{len(self._params)} parameters, {', '.join(f'{k}={v!r}' for k, v in self.settings().items())}"

    def __setitem__(self, name: str, value: Any) -> None:
        trace = current().trace
        if trace is None:
            self.take(self.checked({name: value}))
        elif name in self._varying and self._varying[name].ndim == 0:
            rate = value if isinstance(value, Tensor) else tensor(self.checked({name: value})[name])
            trace.assign(self._varying[name], rate.astype(float))
        else:
            raise trace.refusal(f"the setting {name!r} of {self._kind.__name__}", "Set it outside, between the calls")

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return checked settings, in the form in which they are kept, or raise."""
        return self._kind.checked(settings, self.settings())

    def take(self, settings: Mapping[str, Any]) -> None:
        """Set settings that were checked."""
        for name, value in settings.items():
            if name in self._varying:
                self._varying[name].data[...] = value
            elif value != self._fixed[name]:
                self._fixed[name] = value
                if isinstance(value, int | float | tuple) and not isinstance(value, bool):
                    self._vary(name, value)
                self._note()

    # Steps

    def formula(self) -> Formula:
        """Return the formula for the current settings, and make its vectors."""
        if self._formula is None:
            self._formula = formula_of(
                self._kind.formula, self.settings(), list(self._varying), list(self._kind.states)
            )
            for name in self._formula.states:
                for flat in self._flats:
                    flat.vector(name, self.start(name))
        return self._formula

    def start(self, name: str) -> float:
        """Return the initial value of a state."""
        start = self._kind.states[name]
        return float(self.settings()[start] if isinstance(start, str) else start)

    def numbers(self) -> list[float]:
        """Return the varying settings, in the order in which the formula takes them."""
        found: list[float] = []
        for value in self._varying.values():
            number = value._array.tolist()
            found += number if type(number) is list else (number,)
        return found

    def record(self, trace: Any) -> None:
        """Record a step in a function that is being compiled."""
        formula = self.formula()
        values = [part for value in self._varying.values() for part in (value if value.ndim else [value])]
        numbers = dict(zip(formula.numbers, values, strict=True))
        for flat in self._flats:
            flat.record(formula, numbers, trace)

    def __form__(self) -> Any:
        """Return everything but variables that a compiled step depends on, hashable."""
        return self._form, *[flat.agree() for flat in self._flats]
