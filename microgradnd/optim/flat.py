"""Parameters of one dtype, laid end to end.

Owns: their gradients and the optimizer's state as vectors, counting steps, and the update in place.
Must not own: which formula turns gradients into steps (`formula.py`), or the settings (`groups.py`).
Read next: `groups.py`.

A network has many small parameters, and a NumPy call on a small array costs its overhead. So the gradients of all
parameters are copied into one vector, the formula turns that vector into steps with a few calls, in chunks that stay in
the processor's cache, and the steps are subtracted from the parameters, each where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from microgradnd.assignment import variable
from microgradnd.optim.formula import Formula
from microgradnd.tape import Leaf, current, touch
from microgradnd.tensor import Tensor

Array = npt.NDArray[Any]
CHUNK = 2**15  # elements


class Flat:
    """The parameters of one dtype, with their gradients and the optimizer's state as vectors.

    Complex numbers are pairs of real ones here, as in PyTorch. The vectors of parameters in half precision are in
    single precision: squares of small gradients, and an eps of 1e-8, would be 0 in half precision.

    Attributes
    ----------
    parameters : list of Tensor
    counts : array of int
        How many steps each parameter has taken, if the formula counts them.
    states : dict of str to array
        The vectors that are kept, by name; made when they are needed first.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        ends = np.cumsum([p.size for p in parameters]).tolist()
        self.parameters = parameters
        self.dtype = parameters[0].dtype
        self.kept_dtype = np.dtype(np.float32) if self.dtype == np.float16 else self.dtype
        self.size = ends[-1]
        self.real = np.zeros(0, self.kept_dtype).real.dtype
        self.width = self.kept_dtype.itemsize // self.real.itemsize
        self.places = [slice(end - p.size, end) for p, end in zip(parameters, ends, strict=True)]
        self.counts = np.zeros(len(parameters), int)
        self.states: dict[str, Array] = {}
        self.forget()

    def forget(self) -> None:
        """Drop everything that can be made again: copies of parameters and gradients, views, what compilers read."""
        self.copies: dict[str, tuple[Array, list[Array]]] = {}
        self.whole: tuple[Any, list[list[Array]]] = (None, [])
        self.variables: dict[str, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs; views must be views of the copy's own arrays."""
        return {name: value for name, value in vars(self).items() if name not in ("copies", "whole", "variables")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.forget()

    # Vectors

    def parts(self, vector: Array) -> list[Array]:
        """Return the part of each parameter in a vector, in its shape."""
        return [vector[place].reshape(p.shape) for p, place in zip(self.parameters, self.places, strict=True)]

    def copied(self, name: str) -> tuple[Array, list[Array]]:
        """Return the vector for copies of the parameters, "w", or of the gradients, "g", and its parts."""
        if name not in self.copies:
            vector = np.zeros(self.size, self.kept_dtype)
            self.copies[name] = vector, self.parts(vector)
        return self.copies[name]

    def state(self, name: str, start: float) -> Array:
        """Return a state, which starts with one value everywhere."""
        if name not in self.states:
            vector = self.states[name] = np.empty(self.size, self.kept_dtype)
            vector.view(self.real)[...] = start
        return self.states[name]

    def chunks(self, formula: Formula, places: Iterable[slice]) -> list[list[Array]]:
        """Return, for each chunk of some places, that part of the vectors of a formula, and scratch arrays."""
        vectors = [self.states[name] if name in formula.states else self.copied(name)[0] for name in formula.vectors]
        real = [vector.view(self.real) for vector in vectors]
        scratch = [np.empty(min(self.size * self.width, CHUNK), self.real) for _ in range(formula.scratch)]
        parts = []
        for place in places:
            for start in range(place.start * self.width, place.stop * self.width, CHUNK):
                stop = min(start + CHUNK, place.stop * self.width)
                parts.append([v[start:stop] for v in real] + [array[: stop - start] for array in scratch])
        return parts

    # A step

    def gather(self, formula: Formula) -> list[int]:
        """Copy what a formula needs into the vectors, and return which parameters have a gradient."""
        live = []
        dtype = self.dtype
        for i, (parameter, view) in enumerate(zip(self.parameters, self.copied("g")[1], strict=True)):
            g = parameter.grad
            if g is None:
                continue
            if type(g) is not np.ndarray:
                g = g.data if isinstance(g, Tensor) else np.asarray(g)  # a Tensor after backward(create_graph=True)
            if g.shape != view.shape or g.dtype != dtype:
                raise ValueError(
                    f"the gradient of {described(parameter, i)} has shape {g.shape} and dtype {g.dtype}, where the "
                    f"parameter has {view.shape} and {dtype}; give it both again"
                )
            view[...] = g
            live.append(i)
        if "w" in formula.vectors:
            views = self.copied("w")[1]
            for i in live:
                views[i][...] = self.parameters[i].data
        return live

    def update(self, formula: Formula, numbers: Sequence[float], live: list[int]) -> None:
        """Count a step, take the steps that a formula makes of the vectors, and subtract them from the parameters."""
        everyone = len(live) == len(self.parameters)
        if formula.counts:
            self.counts[... if everyone else live] += 1
        if everyone and (not formula.counts or self.agree()):
            if self.whole[0] is not formula:
                self.whole = formula, self.chunks(formula, [slice(0, self.size)])
            formula.run(self.whole[1], self.counts.item(0), *numbers)
        else:
            for i in live:
                formula.run(self.chunks(formula, [self.places[i]]), self.counts.item(i), *numbers)
        steps = self.copied("g")[1]
        for i in live:
            parameter, step = self.parameters[i], steps[i]
            leaf = parameter._node
            if type(leaf) is Leaf and leaf.data.flags.writeable:  # updating(), without its overhead
                np.subtract(leaf.data, step, leaf.data)
                touch(leaf)
            elif current().anomaly is not None:  # which has locked the array, and lets updating() write to it
                with parameter.updating() as array:
                    np.subtract(array, step, array)
            else:  # the user has protected the array: the parameter gets another
                parameter.data = np.subtract(parameter.data, step).astype(self.dtype)

    def agree(self) -> bool:
        """Return whether all parameters have taken the same number of steps."""
        return len(set(self.counts.tolist())) <= 1

    # In a compiled function

    def variable(self, name: str) -> Any:
        """Return a state, or the counts of the "steps", as a variable that a compiled function updates."""
        if name not in self.variables:
            array = self.counts if name == "steps" else self.states[name].view(self.real)
            made = self.variables[name] = variable(Tensor, array, False, name)
            made._node.position = 0  # older than the trace that may need it first
        return self.variables[name]

    def record(self, formula: Formula, numbers: Mapping[str, Any], trace: Any) -> None:
        """Take a step in a function that is being compiled: the formula on Tensors, for the same arrays."""
        live = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not formula.counts and self.width == 1:  # no parameter needs a place in a vector
            for i in live:
                parameter = self.parameters[i]
                vectors = {"w": self.kept(parameter), "g": self.kept(parameter.grad)}
                parameter -= formula.on_tensors({**numbers, **vectors}, self.real)["g"]
            return
        everyone = len(live) == len(self.parameters)
        together = everyone and self.agree()
        steps, states = self.variable("steps"), {name: self.variable(name) for name in formula.states}
        trace.assign(steps, steps + (1 if everyone else np.stack([int(p.grad is not None) for p in self.parameters])))
        for group in [live] if together else [[i] for i in live]:
            places = [slice(self.places[i].start * self.width, self.places[i].stop * self.width) for i in group]
            place = ... if together else places[0]
            sources = {"g": [self.parameters[i].grad for i in group], "w": [self.parameters[i] for i in group]}
            vectors = {name: self.laid(sources[name]) for name in formula.vectors if name in sources}
            vectors["g"].name = "gradients"
            vectors |= {name: state[place] for name, state in states.items()} if not together else states
            new = formula.on_tensors({**numbers, **vectors, "t": steps[group[0]]}, self.real)
            step = new.pop("g")
            for name, value in new.items():
                if together:
                    trace.assign(states[name], value)
                else:
                    states[name][place] = value
            first = places[0].start
            for i, part in zip(group, places, strict=True):
                parameter = self.parameters[i]
                parameter -= self.shaped(step[part.start - first : part.stop - first], parameter.shape)

    def kept(self, value: Any) -> Any:
        """Return a value in the precision of the state."""
        return value if self.kept_dtype == self.dtype else value.astype(self.kept_dtype)

    def laid(self, values: Iterable[Any]) -> Any:
        """Return values of some parameters as a vector of real numbers."""
        parts = [self.kept(x) for x in values]
        pairs = parts if self.width == 1 else [np.stack([np.real(x), np.imag(x)], -1) for x in parts]
        return np.concatenate([np.reshape(x, (-1,)) for x in pairs])

    def shaped(self, vector: Any, shape: tuple[int, ...]) -> Any:
        """Undo `laid` for one parameter."""
        if self.width == 1:
            return np.reshape(vector, shape)
        pairs = np.reshape(vector, (*shape, 2))
        return pairs[..., 0] + 1j * pairs[..., 1]


def described(parameter: Tensor, i: int) -> str:
    """Return a parameter's name, or its number in the list, for messages."""
    return f"'{parameter.name}'" if parameter.name else f"parameter {i}"
