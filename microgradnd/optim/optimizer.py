"""The base class of the optimizers: groups of parameters, steps, and state.

Owns: the class `Optimizer`, checks of the parameters, and the state as a dict.
Must not own: an update formula (`sgd.py`, `adam.py`, `adagrad.py`), or how a step is
computed (`flat.py`).
Read next: `sgd.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from microgradnd.failures import all_explained, fail_member
from microgradnd.modes import no_grad
from microgradnd.optim.flat import Flat, described
from microgradnd.optim.groups import Group
from microgradnd.settings import Configured, not_negative, setting
from microgradnd.states import check_mapping, fitted
from microgradnd.tape import Leaf, current
from microgradnd.tensor import Tensor

if TYPE_CHECKING:

    class Parameters:
        """The type of `params` for type checkers: as assigned, and as read."""

        def __get__(self, optimizer: Any, kind: Any = None) -> list[Tensor]: ...
        def __set__(self, optimizer: Any, params: Iterable[Tensor] | Iterable[Mapping[str, Any]]) -> None: ...


# What PyTorch's states say besides: how it computes, and a rate that a schedule keeps
OF_PYTORCH = {"params", "capturable", "differentiable", "foreach", "fused", "initial_lr"}


@all_explained
class Optimizer(Configured):
    """The base class of the optimizers.

    Your own optimizer has a table of settings, the names of its states, and a formula:

    >>> import microgradnd as mg
    >>> from microgradnd.optim.optimizer import Optimizer
    >>> from microgradnd.settings import fraction, setting
    >>> class Momentum(Optimizer):
    ...     beta: float = setting(fraction, default=0.9)
    ...     states = {"mean": 0}
    ...
    ...     @staticmethod
    ...     def formula(s, w, g, t):
    ...         s.mean = s.beta * s.mean + (1 - s.beta) * g
    ...         return s.lr / (1 - s.beta**t) * s.mean
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = Momentum([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([0.5, 1. ])

    Attributes
    ----------
    params : list of Tensor
        All parameters.
    param_groups : list of Group
        The parameters with their settings. Read and set each like a dict.
    states : dict of str to float or str
        The names of the vectors that the formula keeps, with their initial values: a
        number, or a setting's name.
    formula : callable
        `formula(s, w, g, t)` returns the step, which is subtracted from the parameters
        `w`. `g` is the gradient, and `t` the number of the step, from 1. `s` has the
        settings and states as attributes; the formula assigns the new states to it.
    """

    subject = "params"
    _changes: ClassVar[int] = 0  # how often an attribute of any optimizer was set
    params: Parameters
    lr: float = setting(not_negative)
    states: ClassVar[Mapping[str, float | str]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = self.given(args, kwargs)
        params = settings.pop("params")
        params = list(params) if isinstance(params, Iterator) else params
        self.defaults = self.checked(settings, {})
        self.param_groups: list[Group] = []
        self.params = []
        is_grouped = isinstance(params, Sequence) and len(params) > 0 and isinstance(params[0], Mapping)
        for group in params if is_grouped else [{"params": params}]:
            self.add_param_group(group)
        known: list[Tensor] = self.params
        if not any(parameter.requires_grad for parameter in known):
            raise ValueError(
                f"{type(self).__name__}: none of the {len(known)} parameters requires a gradient; set "
                f"requires_grad=True on those to train"
            )

    @staticmethod
    def formula(s: Any, w: Any, g: Any, t: Any) -> Any:
        """Return the step; see `Optimizer` for the arguments."""
        raise NotImplementedError("an optimizer must have a formula(s, w, g, t) that returns the step; see Optimizer")

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with settings of their own.

        Parameters
        ----------
        group : dict
            The parameters, as "params", and the settings that differ from those of the
            optimizer.

        Raises
        ------
        TypeError, ValueError, KeyError
            If one of them is wrong; then nothing changes.
        """
        kind = type(self)
        if (trace := current().trace) is not None:
            raise trace.refusal("add_param_group()", "Call it outside, between the calls")
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f'{kind.__name__}: a parameter group must be a dict with "params", got {group!r:.80}')
        params = checked(kind.__name__, group["params"], self.params)
        settings = {**self.defaults, **{name: value for name, value in group.items() if name != "params"}}
        self.param_groups.append(Group(kind, params, kind.checked(settings, {})))
        self.params = [*self.params, *params]

    def __copy__(self) -> Self:
        new = object.__new__(type(self))
        vars(new).update(vars(self), param_groups=[copy.copy(group) for group in self.param_groups])
        return new

    # Settings

    def setting(self, name: str) -> Any:
        """Return a setting that all groups share, or raise if it differs."""
        values = [group[name] for group in self.param_groups]
        if current().trace is None and any(value != values[0] for value in values):
            raise ValueError(f"{name} differs between the parameter groups; read param_groups[i][{name!r}]")
        return values[0]

    def configure(self, **settings: Any) -> None:
        """Check settings, and set them either in all groups or in none."""
        if current().trace is None:
            for group, found in [(group, group.checked(settings)) for group in self.param_groups]:
                group.take(found)
        else:
            for group in self.param_groups:
                for name, value in settings.items():
                    group[name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        Optimizer._changes += 1
        object.__setattr__(self, name, value)

    @staticmethod
    def __changes__() -> int:
        """Return how often an attribute of any optimizer was set, for a guard."""
        return Optimizer._changes

    def __form__(self) -> Any:
        """Return everything but variables that a compiled step depends on, hashable."""
        return tuple([group.__form__() for group in self.param_groups])

    if not TYPE_CHECKING:  # a type checker would accept any attribute
        __getattr__ = fail_member

    # Steps

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        is_traced = current().trace is not None
        for parameter in self.params:
            leaf = parameter._node
            if type(leaf) is Leaf and not is_traced:
                leaf.grad = None  # without a property's overhead
            else:
                parameter.grad = None

    def step(self) -> None:
        """Update the parameters that have a gradient, in place."""
        if (trace := current().trace) is not None:
            trace.depends(self)
            with no_grad():
                for group in self.param_groups:
                    group.record(trace)
            return
        gathered = [
            (flat, group.formula(), group.numbers(), flat.gather(group.formula()))
            for group in self.param_groups
            for flat in group._flats
        ]
        for flat, formula, numbers, live in gathered:
            flat.update(formula, numbers, live)

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the settings and the state, in PyTorch's layout.

        Returns
        -------
        dict
            "state" maps the number of each parameter whose state has changed to a dict
            of that state, including "step". "param_groups" has a dict of settings for
            each group, in which "params" holds the numbers of its parameters.
        """
        if (trace := current().trace) is not None:
            raise trace.refusal("state_dict()", "Save it outside, between the steps")
        numbers = {id(parameter): i for i, parameter in enumerate(self.params)}
        state = {}
        for owner, flat in [(group, flat) for group in self.param_groups for flat in group._flats]:
            names = [name for name in self.states if name in flat.vectors]
            for j, parameter in enumerate(flat.parameters if names else []):
                entry = {name: np.array(flat.parts(name)[j]) for name in names}
                if flat.counts[j] or any(np.any(part != owner.start(name)) for name, part in entry.items()):
                    state[numbers[id(parameter)]] = {"step": flat.counts.item(j), **entry}
        groups = [{**g.settings(), "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict()` returned, here or in PyTorch.

        Raises
        ------
        TypeError
            If it isn't such a dict, or holds something other than numbers.
        ValueError
            If the state belongs to another optimizer, or to other parameters; then
            nothing changes.
        """
        kind, own = type(self), self.state_dict()
        check_mapping(kind.__name__, state_dict, "read a file with mg.load first")
        ignored = OF_PYTORCH | {"decoupled_weight_decay"} - kind.table.keys()
        if layout(state_dict, ignored) != layout(own, ignored):
            raise ValueError(
                f"{kind.__name__}.load_state_dict: the state must be of {layout(own, ignored)}, got "
                f"{layout(state_dict, ignored)}; load the state of an optimizer of the same kind, made with the same "
                f"groups"
            )
        groups, ids = state_dict["param_groups"], [i for given in state_dict["param_groups"] for i in given["params"]]
        given_for = state_dict["state"].keys()
        if not all(isinstance(i, int) for i in ids) or len(set(ids)) < len(ids) or not given_for <= set(ids):
            raise ValueError(
                f"{kind.__name__}.load_state_dict: each parameter must have a number of its own, and each state one of "
                f"these numbers; got parameters {ids!r:.80} and states for {list(given_for)!r:.80}"
            )
        settings = [kind.checked({name: given[name] for name in kind.table}, {}) for given in groups]
        entries = {
            id(p): self._entry(i, p, state_dict["state"].get(i, {})) for i, p in zip(ids, self.params, strict=True)
        }
        for group, found in zip(self.param_groups, settings, strict=True):
            group.take(found)
            for flat in group._flats:
                own_entries = [entries[id(parameter)] for parameter in flat.parameters]
                flat.counts[:] = [entry.get("step", 0) for entry in own_entries]
                for name in kind.states:
                    if name in flat.vectors or any(name in entry for entry in own_entries):
                        flat.vector(name)[...] = group.start(name)
                        for entry, part in zip(own_entries, flat.parts(name), strict=True):
                            part[...] = entry.get(name, part)

    def _entry(self, i: int, parameter: Tensor, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the checked state of a parameter, in the dtypes kept, or raise."""
        kind, names = type(self).__name__, ["step", *self.states]
        if not isinstance(given, Mapping) or not given.keys() <= set(names):
            raise ValueError(
                f"{kind}.load_state_dict: the state of a parameter must be a dict with {', '.join(names)}, got "
                f"{given!r:.80}"
            )
        given = {name: value for name, value in given.items() if value is not None}
        keys = {name: f"{name} of {described(parameter, i)}" for name in names}
        own = dict.fromkeys(keys.values(), np.zeros(parameter.shape, Flat([parameter]).kept_dtype))
        own[keys["step"]] = np.array(0.0)  # PyTorch keeps it as a float
        found = fitted(kind, own, {keys[name]: value for name, value in given.items()})
        step = float(found.get(keys["step"], 0))
        if step < 0 or not step.is_integer():
            raise ValueError(f"{kind}.load_state_dict: step must be a whole number, 0 or more, got {step}")
        return {name: found[key] for name, key in keys.items() if key in found}

    def __repr__(self) -> str:
        groups = ", ".join(f"({group!r})" for group in self.param_groups)
        return type(self).__name__ + (groups if len(self.param_groups) == 1 else f"({groups})")


def layout(state: Mapping[str, Any], ignored: set[str]) -> str:
    """Describe the groups of a state, or the value itself if it isn't a state."""
    groups: Any = state.get("param_groups")
    listed = isinstance(groups, Sequence) and all(
        isinstance(g, Mapping) and isinstance(g.get("params"), list | tuple) for g in groups
    )
    if not listed or not isinstance(state.get("state"), Mapping):
        return f"{dict(state)!r:.80}"
    return "; ".join(f"{len(g['params'])} parameters with {', '.join(sorted(g.keys() - ignored))}" for g in groups)


def checked(optimizer: str, params: Any, known: Sequence[Tensor]) -> list[Tensor]:
    """Return parameters as a list, or raise and say what is wrong with them."""
    if isinstance(params, Tensor):
        raise TypeError(f"{optimizer}: params must be a list of parameters, got one Tensor; put it into a list: [w]")
    if not isinstance(params, Iterable) or isinstance(params, Mapping):
        raise TypeError(
            f"{optimizer}: params must be a list of parameters, got a {type(params).__name__}; pass model.parameters()"
        )
    parameters = list(params)
    if not parameters:
        raise ValueError(
            f"{optimizer}: params must hold at least one parameter, got an empty list or a generator that is used up; "
            f"call model.parameters() again, since each generator works once, or keep list(model.parameters())"
        )
    seen = set(map(id, known))
    for i, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor):
            raise TypeError(
                f"{optimizer}: parameter {i} must be a Tensor, got a {type(parameter).__name__}; pass "
                f"model.parameters(), or tensors made by nn.Parameter or by mg.tensor(..., requires_grad=True)"
            )
        if not parameter.is_leaf:
            raise TypeError(
                f"{optimizer}: {described(parameter, i)}, of shape {parameter.shape}, must be a leaf, but was computed "
                f"from other tensors; pass the tensors that it was computed from"
            )
        if id(parameter) in seen:
            raise ValueError(
                f"{optimizer}: {described(parameter, i)}, of shape {parameter.shape}, is in the list twice, and "
                f"would be updated twice; pass each parameter once"
            )
        seen.add(id(parameter))
    return parameters
