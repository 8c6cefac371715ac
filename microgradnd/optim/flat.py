"""Parameters of one dtype, laid end to end.

Owns: their gradients and the optimizer's state as vectors, counting steps, and the
update in place.
Must not own: which formula turns gradients into steps (`formula.py`), or the settings
(`groups.py`).
Read next: `groups.py`.

A network has many small parameters, and a NumPy call on a small array is mostly
overhead. So the gradients of all parameters are copied into one vector. The formula
turns this vector into steps with a few calls, in chunks that stay in the processor's
cache. Then each step is subtracted from its parameter in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import ndarray, subtract  # looked up often

from microgradnd import refusals
from microgradnd.conversions import variable
from microgradnd.operands import is_foreign
from microgradnd.optim.formula import Formula
from microgradnd.states import overwrite
from microgradnd.tape import Leaf, touch
from microgradnd.tensor import Tensor

Array = npt.NDArray[Any]
CHUNK = 2**15  # elements


class Flat:
    """The parameters of one dtype; their gradients and states are vectors.

    Complex numbers are pairs of real numbers here, as in PyTorch. For parameters in
    half precision the vectors have single precision, since squares of small gradients,
    and an eps of 1e-8, would be 0 in half precision.

    Attributes
    ----------
    parameters : list of Tensor
    counts : array of int
        How many steps each parameter has taken, if the formula counts them.
    vectors : dict of str to array
        "w", copies of the parameters; "g", copies of the gradients, which become the
        steps; and the states. Each is made when it is first needed.
    views : dict
        Views of the vectors, and Tensors that hold them.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        sizes = [p.size for p in parameters]
        ends = np.cumsum(sizes).tolist()
        self.parameters = parameters
        self.dtype = parameters[0].dtype
        self.kept_dtype = np.dtype(np.float32) if self.dtype == np.float16 else self.dtype
        self.real = np.zeros(0, self.kept_dtype).real.dtype
        self.width = self.kept_dtype.itemsize // self.real.itemsize
        self.size = ends[-1] * self.width
        self.places = [slice((e - n) * self.width, e * self.width) for e, n in zip(ends, sizes, strict=True)]
        self.counts = np.zeros(len(parameters), int)
        self.vectors: dict[str, Array] = {}
        self.views: dict[Any, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes without the views, which a copy makes itself."""
        return {**vars(self), "views": {}}

    def vector(self, name: str, start: float = 0) -> Array:
        """Return a vector, and fill it with `start` if it is new."""
        if name not in self.vectors:
            self.vectors[name] = np.full(self.size, start, self.real)
        return self.vectors[name]

    def parts(self, name: str) -> list[Array]:
        """Return views of a vector, one in the shape of each parameter."""
        if name not in self.views:
            vector = self.vector(name).view(self.kept_dtype)
            places = [slice(place.start // self.width, place.stop // self.width) for place in self.places]
            self.views[name] = [vector[q].reshape(p.shape) for p, q in zip(self.parameters, places, strict=True)]
        return self.views[name]

    def chunks(self, formula: Formula, place: slice) -> list[list[Array]]:
        """Return the formula's vectors and scratch arrays for each chunk of a place."""
        vectors = [self.vector(name) for name in formula.vectors]
        scratch = [np.empty(min(self.size, CHUNK), self.real) for _ in range(formula.scratch)]
        starts = range(place.start, place.stop, CHUNK)
        ends = [min(start + CHUNK, place.stop) for start in starts]
        return [
            [v[start:end] for v in vectors] + [array[: end - start] for array in scratch]
            for start, end in zip(starts, ends, strict=True)
        ]

    # A step

    def gather(self, formula: Formula) -> list[int]:
        """Fill a formula's vectors; return which parameters have a gradient."""
        live = []
        dtype = self.dtype
        for i, (parameter, view) in enumerate(zip(self.parameters, self.parts("g"), strict=True)):
            leaf = parameter._node
            g = leaf.grad if type(leaf) is Leaf else parameter.grad
            if g is None:
                continue
            if type(g) is not ndarray:
                g = g.data if isinstance(g, Tensor) else g  # a Tensor after backward(create_graph=True)
                if is_foreign(g):
                    raise refusals.gradient_elsewhere(described(parameter, i), g)
                g = np.asarray(g)
            if g.shape != view.shape or (g.dtype is not dtype and g.dtype != dtype):
                self.check_dtype(i)
                raise ValueError(
                    f"the gradient of {described(parameter, i)} must have the parameter's shape {view.shape} and dtype "
                    f"{dtype}, got {g.shape} and {g.dtype}; set .grad to an array of that shape and dtype"
                )
            view[...] = g
            live.append(i)
        if "w" in formula.vectors:
            for i in live:
                self.parts("w")[i][...] = self.parameters[i].data
        return live

    def check_dtype(self, i: int) -> None:
        """Raise if a parameter was converted since the optimizer was made."""
        parameter = self.parameters[i]
        if parameter.dtype != self.dtype:
            raise ValueError(
                f"{described(parameter, i)} had dtype {self.dtype} when the optimizer was made, and has dtype "
                f"{parameter.dtype} now; make a new optimizer after model.to()"
            )

    def update(self, formula: Formula, numbers: Sequence[float], live: list[int]) -> None:
        """Count a step, compute the steps, and subtract them from the parameters."""
        everyone = len(live) == len(self.parameters)
        if formula.counts:
            self.counts[... if everyone else live] += 1
        if everyone and (not formula.counts or self.agree()):
            if self.views.get("formula") is not formula:
                self.views |= {"formula": formula, "chunks": self.chunks(formula, slice(0, self.size))}
            formula.run(self.views["chunks"], self.counts.item(0), *numbers)
        else:
            for i in live:
                formula.run(self.chunks(formula, self.places[i]), self.counts.item(i), *numbers)
        steps = self.parts("g")
        for i in live:
            parameter, step = self.parameters[i], steps[i]
            leaf = parameter._node
            if type(leaf) is Leaf and leaf.data.flags.writeable:  # updating(), without its overhead
                subtract(leaf.data, step, leaf.data)
                touch(leaf)
            else:
                overwrite(parameter, np.subtract(parameter.data, step).astype(self.dtype))

    def agree(self) -> bool:
        """Return whether all parameters have taken the same number of steps."""
        steps = self.counts.tolist()
        return steps.count(steps[0]) == len(steps)

    # In a compiled function

    def variable(self, name: str, array: Array) -> Any:
        """Return the variable for a vector that a compiled function updates."""
        if (name, "variable") not in self.views:
            made = self.views[name, "variable"] = variable(Tensor, array, False, name)
            made._node.position = 0  # older than the trace in which it may be first needed
        return self.views[name, "variable"]

    def record(self, formula: Formula, numbers: Mapping[str, Any], trace: Any) -> None:
        """Record a step in a function that is being compiled."""
        is_live = np.array([parameter.grad is not None for parameter in self.parameters])
        for i in np.flatnonzero(is_live).tolist():
            self.check_dtype(i)
        if not formula.counts and self.width == 1:  # no state: each parameter steps alone
            for parameter in [p for p in self.parameters if p.grad is not None]:
                vectors = {"w": self.kept(parameter), "g": self.kept(parameter.grad)}
                parameter -= formula.on_tensors({**numbers, **vectors}, self.real)["g"]
        elif is_live.any():
            elements = np.repeat(np.arange(is_live.size), [place.stop - place.start for place in self.places])
            steps = self.variable("steps", self.counts)
            trace.assign(steps, steps + is_live.astype(int))
            t = steps[0] if is_live.all() and self.agree() else np.maximum(steps[elements], 1)
            states = {name: self.variable(name, self.vectors[name]) for name in formula.states}
            gradients = [np.zeros(p.shape, p.dtype) if p.grad is None else p.grad for p in self.parameters]
            vectors = {"g": self.laid(gradients), "w": self.laid(self.parameters) if "w" in formula.vectors else None}
            vectors["g"].name = "gradients"
            new = formula.on_tensors({**numbers, **vectors, **states, "t": t}, self.real)
            step = new.pop("g")
            for name, value in new.items():
                value = value if is_live.all() else np.where(is_live[elements], value, states[name])
                if any(call.function is np.positive for call in formula.calls):
                    states[name][...] = value  # copied before the vector it came from changes
                else:
                    trace.assign(states[name], value)
            for parameter, place in zip(self.parameters, self.places, strict=True):
                if parameter.grad is not None:
                    parameter -= self.shaped(step[place], parameter.shape)

    def kept(self, value: Any) -> Any:
        """Return a value in the precision of the state."""
        return value if self.kept_dtype == self.dtype else value.astype(self.kept_dtype)

    def laid(self, values: Iterable[Any]) -> Any:
        """Lay values, one a parameter, end to end as a vector of real numbers."""
        parts = [self.kept(x) for x in values]
        pairs = parts if self.width == 1 else [np.stack([np.real(x), np.imag(x)], -1) for x in parts]
        return np.concatenate([np.reshape(x, (-1,)) for x in pairs])

    def shaped(self, vector: Any, shape: tuple[int, ...]) -> Any:
        """Undo `laid` for one parameter."""
        pairs = np.reshape(vector, shape if self.width == 1 else (*shape, 2))
        return pairs if self.width == 1 else pairs[..., 0] + 1j * pairs[..., 1]


def described(parameter: Tensor, i: int) -> str:
    """Return a parameter's name, or else its number in the list, for messages."""
    return f"'{parameter.name}'" if parameter.name else f"parameter {i}"
