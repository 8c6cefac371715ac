"""What the optimizers share: the parameters, laid end to end.

Owns: checks of the parameters, their gradients as one vector, the update in place, the optimizers' state, and the step
as it is recorded in a compiled function.
Must not own: an update formula (`sgd.py`, `adam.py`).
Read next: `sgd.py`.

A network has many small parameters, and a NumPy call on a small array costs its overhead. So the gradients of all
parameters are copied into one vector, the formula turns that vector into steps with a few calls, in chunks that stay in
the processor's cache, and the steps are subtracted from the parameters, each where it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from microgradnd.assignment import variable
from microgradnd.modes import no_grad
from microgradnd.optim.settings import Check, not_negative
from microgradnd.signatures import check_call
from microgradnd.tape import Leaf, current, touch
from microgradnd.tensor import Tensor, tensor

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
        How many steps each parameter has taken.
    vectors : list of array
        The gradients, which the formula turns into steps, then the state, by the names that it was made with.
    variables : list of Tensor
        The state and the counts, as what a compiled function updates.
    """

    def __init__(self, parameters: list[Tensor], states: Sequence[str]) -> None:
        ends = np.cumsum([p.size for p in parameters])
        self.parameters = parameters
        self.names = states
        self.dtype = parameters[0].dtype
        self.kept_dtype = np.dtype(np.float32) if self.dtype == np.float16 else self.dtype
        self.size = int(ends[-1])
        self.real = np.zeros(0, self.kept_dtype).real.dtype
        self.width = self.kept_dtype.itemsize // self.real.itemsize
        self.places = [slice(end - p.size, end) for p, end in zip(parameters, ends.tolist(), strict=True)]
        self.counts = np.zeros(len(parameters), int)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs; the rest are views, which must be views of the copy's own arrays."""
        views = ("vectors", "gradients", "states", "scratch", "whole", "variables")
        return {name: value for name, value in vars(self).items() if name not in views}

    # Made when they are needed first: a step without momentum keeps nothing, and a compiled one gathers no gradients

    @functools.cached_property
    def gathered(self) -> Array:
        return np.zeros(self.size, self.kept_dtype)

    @functools.cached_property
    def kept(self) -> list[Array]:
        return [np.zeros(self.size, self.kept_dtype) for _ in self.names]

    @functools.cached_property
    def vectors(self) -> list[Array]:
        return [vector.view(self.real) for vector in (self.gathered, *self.kept)]

    @functools.cached_property
    def gradients(self) -> list[Array]:
        return self.parts(self.gathered)

    @functools.cached_property
    def states(self) -> dict[str, list[Array]]:
        return {name: self.parts(vector) for name, vector in zip(self.names, self.kept, strict=True)}

    @functools.cached_property
    def scratch(self) -> Array:
        return np.empty(min(self.size * self.width, CHUNK), self.real)

    @functools.cached_property
    def whole(self) -> list[list[Array]]:
        return self.chunks([slice(0, self.size)])

    @functools.cached_property
    def variables(self) -> list[Tensor]:
        arrays = {**dict(zip(self.names, [v.view(self.real) for v in self.kept], strict=True)), "steps": self.counts}
        tensors = [variable(Tensor, array, False, name) for name, array in arrays.items()]
        for made in tensors:
            made._node.position = 0  # older than the trace that may need them first
        return tensors

    def parts(self, vector: Array) -> list[Array]:
        """Return the part of each parameter in a vector, in its shape."""
        return [vector[place].reshape(p.shape) for p, place in zip(self.parameters, self.places, strict=True)]

    def lay(self, g: Any) -> Any:
        """Return a gradient in a compiled function as a vector of real numbers."""
        return np.reshape(g if self.width == 1 else np.stack([np.real(g), np.imag(g)], -1), (-1,))

    def shaped(self, vector: Any, shape: tuple[int, ...]) -> Any:
        """Undo `lay`."""
        if self.width == 1:
            return np.reshape(vector, shape)
        pairs = np.reshape(vector, (*shape, 2))
        return pairs[..., 0] + 1j * pairs[..., 1]

    def real_place(self, i: int) -> slice:
        """Return where a parameter is in the vectors of real numbers."""
        return slice(self.places[i].start * self.width, self.places[i].stop * self.width)

    def agree(self) -> bool:
        """Return whether all parameters have taken the same number of steps."""
        return len(set(self.counts.tolist())) <= 1

    def chunks(self, places: Iterable[slice]) -> list[list[Array]]:
        """Return, for each chunk of some places, that part of each vector, and scratch of the same size."""
        parts = []
        for place in places:
            for start in range(place.start * self.width, place.stop * self.width, CHUNK):
                stop = min(start + CHUNK, place.stop * self.width)
                parts.append([v[start:stop] for v in self.vectors] + [self.scratch[: stop - start]])
        return parts

    def gather(self, weight_decay: float, factor: float = 1) -> list[int]:
        """Put the gradients, plus decay, times a factor, into their vector, and return which parameters have one."""
        live = []
        scale = np.array(factor, self.real)  # NumPy would convert a float anew in each call
        dtype = self.dtype
        for i, (parameter, view) in enumerate(zip(self.parameters, self.gradients, strict=True)):
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
            if weight_decay:
                np.multiply(parameter.data, weight_decay, view, dtype=view.dtype)
                view += g
                if factor != 1:
                    view *= scale
            elif factor != 1:
                np.multiply(g, scale, view)
            else:
                view[...] = g
            live.append(i)
        return live

    def advance(self, live: list[int]) -> Iterator[tuple[int, list[list[Array]]]]:
        """Count a step, and yield the number of the step and the chunks that take it: all of them, if they agree."""
        if len(live) == len(self.counts):
            self.counts += 1
        else:
            self.counts[live] += 1
        if len(live) == len(self.counts) and self.agree():
            yield self.counts.item(0), self.whole
        else:
            for i in live:
                yield self.counts.item(i), self.chunks([self.places[i]])

    def subtract(self, live: list[int]) -> None:
        """Take the steps."""
        for i in live:
            parameter, step = self.parameters[i], self.gradients[i]
            leaf = parameter._node
            if type(leaf) is Leaf and leaf.data.flags.writeable:  # updating(), without its overhead
                np.subtract(leaf.data, step, leaf.data)
                touch(leaf)
            elif current().anomaly is not None:  # which has locked the array, and lets updating() write to it
                with parameter.updating() as array:
                    np.subtract(array, step, array)
            else:  # the user has protected the array: the parameter gets another
                parameter.data = np.subtract(parameter.data, step).astype(self.dtype)


class Optimizer:
    """The base of the optimizers: parameters, `zero_grad()` and the state.

    Parameters
    ----------
    params : iterable of Tensor
        Leaves, such as `model.parameters()`.
    states : sequence of str
        The names of the arrays that the formula keeps for each parameter.

    Raises
    ------
    ValueError
        If there are no parameters, one occurs twice, or none requires a gradient.
    TypeError
        If one isn't a leaf Tensor.
    """

    checks: ClassVar[dict[str, Check]] = {"lr": not_negative}  # of each setting, in the order in which they are shown
    _changes: ClassVar[int] = 0  # how often an attribute of any optimizer was set
    _lr: float
    _form: Any  # the settings as a compiled function sees them, None where they may have changed
    _rate: Tensor  # the learning rate, as what a compiled function reads
    formula: Callable[..., tuple[Any, ...]]  # the step and the new state, from a gradient, a step count and the state

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__, so that a formula may set its learning rate before or after super().__init__().
        if args or kwargs:
            check_call(cls, args, kwargs)
        optimizer = super().__new__(cls)
        optimizer._rate = variable(Tensor, np.zeros(()), False, "lr")
        return optimizer

    def __init__(self, params: Iterable[Tensor], states: Sequence[str]) -> None:
        self.params = checked(type(self).__name__, params)
        by_dtype: dict[np.dtype[Any], list[Tensor]] = {}
        for parameter in self.params:
            by_dtype.setdefault(parameter.dtype, []).append(parameter)
        self._flats = [Flat(parameters, states) for parameters in by_dtype.values()]
        self._states = states

    def __copy__(self) -> Self:
        # A learning rate of its own; the parameters and their state are shared, as in PyTorch.
        copy = type(self).__new__(type(self))
        vars(copy).update(vars(self), _rate=variable(Tensor, np.array(self.lr, float), False, "lr"))
        return copy

    @property
    def lr(self) -> float:
        """The learning rate; in a compiled function what stands for it."""
        if current().trace is not None:
            return self._rate  # type: ignore[return-value]
        rate = self._rate._array.item()  # which a compiled function may have changed
        return self._lr if self._lr == rate else rate

    @lr.setter
    def lr(self, value: float) -> None:
        self.configure(lr=value)

    @property
    def keeps_state(self) -> bool:
        """Whether the formula needs what it kept from the step before."""
        return True

    # Settings

    def configure(self, **settings: Any) -> None:
        """Check settings, and take all of them over, or none."""
        kind = type(self).__name__
        found = {name: self.checks[name](f"{kind}: {name}", value) for name, value in settings.items()}
        self.check_together({**self.settings(), **found})
        for name, value in found.items():
            object.__setattr__(self, "_lr" if name == "lr" else name, value)
        object.__setattr__(self, "_form", None)
        Optimizer._changes += 1
        if "lr" in found:
            self._rate.data[...] = found["lr"]

    def check_together(self, settings: Mapping[str, Any]) -> None:
        """Raise if settings that are right one by one don't go together."""

    def settings(self) -> dict[str, Any]:
        """Return the settings as they are now."""
        own = vars(self)
        found = {
            name: own["_lr" if name == "lr" else name]
            for name in self.checks
            if ("_lr" if name == "lr" else name) in own
        }
        return {**found, "lr": self.lr} if "lr" in found else found

    def step(self) -> None:
        """Update the parameters that have a gradient, in place."""
        raise NotImplementedError

    if not TYPE_CHECKING:  # to which it would say that there is any attribute

        def __getattr__(self, name):
            if hasattr(type(self), name):  # a property, whose own error it is
                return object.__getattribute__(self, name)
            if name.startswith("_"):  # Python and NumPy probe for their protocols
                raise AttributeError(name)
            from microgradnd.advice import missing_member

            raise missing_member(self, name)

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for parameter in self.params:
            parameter.grad = None

    # In a compiled function

    def __form__(self) -> Any:
        """Return what a compiled step depends on beside the values of the variables, hashable."""
        if self._form is None:
            settings = [(name, value) for name, value in self.settings().items() if name != "lr"]
            object.__setattr__(self, "_form", (type(self), *settings))
        return self._form, *[flat.agree() for flat in self._flats]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "lr" and (trace := current().trace) is not None:
            value = (
                value if isinstance(value, Tensor) else tensor(self.checks[name](f"{type(self).__name__}: lr", value))
            )
            trace.assign(self._rate, value.astype(self._rate.dtype))
            return
        if name in self.checks:
            self.configure(**{name: value})
            return
        Optimizer._changes += 1
        object.__setattr__(self, "_form", None)
        object.__setattr__(self, name, value)

    @staticmethod
    def __changes__() -> int:
        """Return how often an attribute of any optimizer was set, for a compiler that watches them."""
        return Optimizer._changes

    def _record(self) -> None:
        """Take a step in a function that is being compiled: the formula on Tensors, for the same arrays."""
        trace: Any = current().trace
        trace.depends(self)
        with no_grad():
            for flat in self._flats:
                live = [i for i, parameter in enumerate(flat.parameters) if parameter.grad is not None]
                if not self.keeps_state:
                    for i in live:
                        parameter = flat.parameters[i]
                        parameter -= self.formula(self._decayed(flat, parameter), None)[0]
                    continue
                *states, steps = flat.variables
                everyone = range(len(flat.parameters))
                together = len(live) == len(everyone) and flat.agree()
                one = 1 if len(live) == len(everyone) else np.stack([int(i in live) for i in everyone])
                trace.assign(steps, steps + one)
                for group in [live] if together else [[i] for i in live]:
                    g: Any = np.concatenate([flat.lay(self._decayed(flat, flat.parameters[i])) for i in group])
                    g.name = "gradients"
                    place = ... if together else flat.real_place(group[0])
                    parts = states if together else [state[place] for state in states]
                    step, *new = self.formula(g, steps[group[0]], *parts)
                    for state, value in zip(states, new, strict=True):
                        if together:
                            trace.assign(state, value)
                        else:
                            state[place] = value
                    start = 0
                    for i in group:
                        parameter, end = flat.parameters[i], start + flat.parameters[i].size * flat.width
                        parameter -= flat.shaped(step[start:end], parameter.shape)
                        start = end

    def _decayed(self, flat: Flat, parameter: Tensor) -> Any:
        """Return the gradient of a parameter, with what weight decay adds, in the precision of the state."""
        decay, value, g = self.settings()["weight_decay"], parameter, parameter.grad
        if flat.kept_dtype != flat.dtype:
            value, g = value.astype(flat.kept_dtype), g.astype(flat.kept_dtype)
        return value * decay + g if decay else g

    def state_dict(self) -> dict[str, Any]:
        """Return the settings, and copies of the state: lists with one entry for each parameter, in their order."""
        if (trace := current().trace) is not None:
            raise trace.refusal("state_dict()", "Save it outside, between the steps")
        state = self.settings()
        for name in ("step", *self._states):
            entries = {
                id(parameter): flat.counts.item(i) if name == "step" else np.array(flat.states[name][i])
                for flat in self._flats
                for i, parameter in enumerate(flat.parameters)
            }
            state[name] = [entries[id(parameter)] for parameter in self.params]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` returned.

        Raises
        ------
        TypeError
            If it isn't a dict, or holds something that isn't a number.
        ValueError
            If the state belongs to another optimizer, or to other parameters; nothing is changed then.
        """
        own = self.state_dict()
        kind = type(self).__name__
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"{kind}.load_state_dict must be given the dict that state_dict() returned, got {state_dict!r}; read a "
                f"file first, as with pickle.load"
            )
        if set(state_dict) != set(own):
            raise ValueError(
                f"this isn't the state of {kind}, which has {', '.join(own)}; it has {', '.join(map(str, state_dict))}"
            )
        names = ("step", *self._states)
        for name in names:
            listed = isinstance(state_dict[name], Sequence | np.ndarray) and not isinstance(state_dict[name], str)
            seen = [np.shape(x) for x in state_dict[name]] if listed else type(state_dict[name]).__name__
            needed = [np.shape(x) for x in own[name]]
            if seen != needed:
                raise ValueError(
                    f"this state of {kind} belongs to other parameters: the shapes in {name} are {seen}, "
                    f"and must be {needed}"
                )
        new = {
            name: [converted(kind, name, x, like) for x, like in zip(state_dict[name], own[name], strict=True)]
            for name in names
        }
        self.configure(**{name: value for name, value in state_dict.items() if name not in names})
        numbers = {id(parameter): i for i, parameter in enumerate(self.params)}
        for flat in self._flats:
            for j, parameter in enumerate(flat.parameters):
                i = numbers[id(parameter)]
                flat.counts[j] = new["step"][i]
                for name in self._states:
                    flat.states[name][j][...] = new[name][i]

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings().items())
        return f"{type(self).__name__}({len(self.params)} parameters, {settings})"


def described(parameter: Tensor, i: int) -> str:
    """Return a parameter's name, or its number in the list, for messages."""
    return f"'{parameter.name}'" if parameter.name else f"parameter {i}"


def checked(optimizer: str, params: Iterable[Tensor]) -> list[Tensor]:
    """Return the parameters as a list, or raise and say what is wrong with them."""
    if isinstance(params, Tensor):
        raise TypeError(f"{optimizer} takes a list of parameters, not one Tensor; put it into a list: [w]")
    if not isinstance(params, Iterable) or isinstance(params, Mapping):
        raise TypeError(
            f"{optimizer} takes a list of parameters, not a {type(params).__name__}; pass model.parameters()"
        )
    parameters = list(params)
    if not parameters:
        raise ValueError(
            f"{optimizer} was given no parameters: the list is empty, or a generator that has been used up; "
            f"model.parameters() is one, which can be used once: call it again, or keep list(model.parameters())"
        )
    for i, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor):
            raise TypeError(
                f"{optimizer}: parameter {i} is a {type(parameter).__name__}, not a Tensor; pass model.parameters(), "
                f"or tensors made by nn.Parameter or by mg.tensor(..., requires_grad=True)"
            )
        if not parameter.is_leaf:
            raise TypeError(
                f"{optimizer}: {described(parameter, i)}, of shape {parameter.shape}, was computed from other tensors, "
                f"and only a leaf can be updated; pass the tensors that it was computed from"
            )
    seen: set[int] = set()
    for i, parameter in enumerate(parameters):
        if id(parameter) in seen:
            raise ValueError(
                f"{optimizer}: {described(parameter, i)}, of shape {parameter.shape}, is in the list twice, and "
                f"would be updated twice; pass each parameter once"
            )
        seen.add(id(parameter))
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(
            f"{optimizer}: none of the {len(parameters)} parameters requires a gradient; set requires_grad"
        )
    return parameters


def converted(optimizer: str, name: str, value: Any, own: Any) -> Any:
    """Return an entry of a state in the dtype of an optimizer's own, or raise."""
    array, dtype = np.asarray(value), np.asarray(own).dtype
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"{optimizer}.load_state_dict: {name} must hold numbers of dtype {dtype}, got {array.dtype}")
    return array.astype(dtype)
