"""Module: an object that holds parameters and other modules, and knows them by their paths.

Owns: registration by attribute, the walks over what is registered, and the tree protocols that let `mg.grad` and
`mg.compile` take a module for an argument.
Must not own: any layer (`layers.py`), or what a layer computes (`functional.py`).
Read next: `layers.py`.

What is registered is an ordinary attribute; a module only notes under its name what it is: a parameter, a buffer or a
module. A path is the attribute names from the outermost module, joined by dots: `0.weight`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from microgradnd.tape import Operation, mode, next_position
from microgradnd.tensor import Tensor, tensor

CONTAINERS = (list, tuple, dict)


class Mismatch(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def Parameter(data: Any, dtype: npt.DTypeLike | None = None, name: str | None = None) -> Tensor:
    """Make a parameter: a leaf Tensor that requires a gradient, which a module registers when it becomes an attribute.

    Parameters
    ----------
    data : array_like
        Its first value, copied.
    dtype : dtype, optional
        By default that of the data.
    name : str, optional
        By default it is named by its path in the module that it is assigned to.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from microgradnd import nn
    >>> nn.Parameter([1.0, 2.0])
    tensor([1., 2.], requires_grad=True)
    """
    return tensor(data, requires_grad=True, dtype=dtype, name=name)


def is_parameter(value: Any) -> bool:
    """Return whether a value is registered when it is assigned to an attribute."""
    return isinstance(value, Tensor) and value.requires_grad and value.is_leaf


def as_value(parameter: Tensor) -> Tensor:
    """Return a Tensor over the same array and with the same name that requires no gradient."""
    value = parameter.detach()
    value.name = parameter.name
    return value


def form_of(kind: str | None, value: Any) -> Any:
    """Return what stands for an attribute in the form of its module."""
    if kind == "module":
        return value.__form__()
    if kind == "parameter":
        return None
    if isinstance(value, CONTAINERS):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return (type(value), *((key, form_of(None, part)) for key, part in parts))
    return (type(value), value) if isinstance(value, int | float | str | None) else id(value)


class Module:
    """A part of a network: subclass it, assign parameters and modules to attributes, and write `forward`.

    A leaf Tensor that requires a gradient is registered as a parameter, a Module as a submodule. Unnamed parameters are
    named by their paths, so that pictures and errors can name them.

    Attributes
    ----------
    training : bool
        What `train()` and `eval()` set, for layers that behave differently in training.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import nn
    >>> class Line(nn.Module):
    ...     def __init__(self):
    ...         self.slope = nn.Parameter(2.0)
    ...         self.intercept = nn.Parameter(1.0)
    ...     def forward(self, x):
    ...         return self.slope * x + self.intercept
    >>> model = Line()
    >>> model(np.array([0.0, 1.0])).data
    array([1., 3.])
    >>> model
    Line(slope=(), intercept=())  # 2 parameters
    >>> mg.grad(lambda model, x: np.sum(model(x)))(model, np.array([0.0, 1.0])).slope
    array(1.)
    """

    training = True
    _changes = 0  # how often an attribute of any module was set
    _formed: tuple[int, Any] = (-1, None)  # the form, and how many changes there had been when it was made
    _is_rebuilt = False  # whether a transform made it, so that its parameters belong to that transform
    _kinds: dict[str, str]  # attribute name -> "parameter", "buffer" or "module", in the order of registration

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__, so that a subclass may do without super().__init__().
        module = super().__new__(cls)
        object.__setattr__(module, "_kinds", {})
        return module

    # Registration

    def __setattr__(self, name: str, value: Any) -> None:
        Module._changes += 1
        if isinstance(value, Module):
            self._register(name, "module", value)
        elif is_parameter(value):
            self._register(name, "parameter", value)
        elif name in self._kinds and value is not None:
            kind = self._kinds[name]
            if kind != "buffer" or isinstance(value, Tensor):
                what = f"a value of type {type(value).__name__}"
                if isinstance(value, Tensor):
                    what = "a Tensor that is computed or requires no gradient"
                advice = {
                    "parameter": f"set its value with .{name}.data = array, or update it under mg.no_grad()",
                    "buffer": "assign the array, t.data",
                    "module": f"take it out first, with del module.{name}",
                }[kind]
                raise TypeError(
                    f"{name!r} is a {kind} of {type(self).__name__} and can't be replaced by {what}; {advice}"
                )
            object.__setattr__(self, name, np.asarray(value))
        else:
            self._kinds.pop(name, None)
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        Module._changes += 1
        self._kinds.pop(name, None)
        object.__delattr__(self, name)

    def _register(self, name: str, kind: str, value: Any) -> None:
        if not name or "." in name:
            raise ValueError(f"{name!r} can't name a {kind}: a name isn't empty and has no dot, which separates paths")
        if getattr(type(self), name, None) is not None:
            raise ValueError(
                f"{name!r} can't name a {kind} of {type(self).__name__}, whose class has an attribute of that name"
            )
        self._kinds[name] = kind
        object.__setattr__(self, name, value)
        if kind == "parameter" and value.name is None:
            value.name = name
        elif kind == "module":
            for path, parameter in value.named_parameters():
                if (
                    isinstance(parameter, Tensor) and parameter.name == path
                ):  # its name so far is its path so far: the path has grown
                    parameter.name = f"{name}.{path}"

    def register_parameter(self, name: str, param: Tensor | None) -> None:
        """Register a leaf Tensor as a parameter, also one that requires no gradient; None for one that there isn't.

        Parameters
        ----------
        name : str
            The attribute.
        param : Tensor or None

        Raises
        ------
        TypeError
            If it isn't a leaf Tensor.
        ValueError
            If the name has a dot, or the class has an attribute of that name.

        Examples
        --------
        >>> import microgradnd as mg
        >>> from microgradnd import nn
        >>> model = nn.Module()
        >>> model.register_parameter("frozen", mg.tensor([1.0]))
        >>> model
        Module(frozen=(1,))  # 1 parameter, 1 of them frozen
        """
        if param is None:
            setattr(self, name, None)
        elif not isinstance(param, Tensor) or not param.is_leaf:
            raise TypeError(f"{name!r}: a parameter is a leaf Tensor; make one with nn.Parameter(data)")
        else:
            self._register(name, "parameter", param)

    def register_buffer(self, name: str, array: npt.ArrayLike) -> None:
        """Register an array that belongs to the state, and so to `state_dict()`, but isn't a parameter.

        Parameters
        ----------
        name : str
            The attribute, to which other arrays may be assigned later.
        array : array_like

        Raises
        ------
        ValueError
            If the name has a dot, or the class has an attribute of that name.

        Examples
        --------
        >>> import numpy as np
        >>> from microgradnd import nn
        >>> model = nn.Module()
        >>> model.register_buffer("running_mean", np.zeros(3))
        >>> model.state_dict()
        {'running_mean': array([0., 0., 0.])}
        """
        self._register(name, "buffer", np.asarray(array))

    # Walks

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield each module with its path, this one first, under the path ""; a shared one once."""
        seen: set[Module] = set()
        todo: list[tuple[str, Module]] = [("", self)]
        while todo:
            path, module = todo.pop()
            if module not in seen:
                seen.add(module)
                yield path, module
                dot = f"{path}." if path else ""
                todo += [(dot + name, child) for name, child in reversed(list(module.named_children()))]

    def modules(self) -> Iterator[Module]:
        """Yield this module and those within it, at any depth."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly within this one, with their names."""
        return ((name, getattr(self, name)) for name, kind in self._kinds.items() if kind == "module")

    def children(self) -> Iterator[Module]:
        """Yield the modules directly within this one."""
        return (child for _, child in self.named_children())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each parameter with its path; a shared one once, under its first path.

        Raises
        ------
        TypeError
            If a list, tuple or dict holds parameters or modules, where they would be missed.
        """
        return self._named("parameter")

    def parameters(self) -> Iterator[Tensor]:
        """Yield the parameters, as optimizers take them; a shared one once."""
        return (parameter for _, parameter in self._named("parameter"))

    def named_buffers(self) -> Iterator[tuple[str, Any]]:
        """Yield each buffer with its path."""
        return self._named("buffer")

    def _named(self, wanted: str) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules():
            module._refuse_containers()
            dot = f"{path}." if path else ""
            for name, kind in module._kinds.items():
                value = getattr(module, name)
                if kind == wanted and id(value) not in seen:
                    seen.add(id(value))
                    yield dot + name, value

    def _refuse_containers(self) -> None:
        """Raise if parameters or modules sit in a list, where no walk would find them."""
        for name, value in vars(self).items():
            if isinstance(value, CONTAINERS) and any(
                isinstance(v, Module) or is_parameter(v) for v in (value.values() if isinstance(value, dict) else value)
            ):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {type(value).__name__} that holds modules or parameters, which "
                    f"can't be found there: put modules into nn.Sequential(*modules), and assign each parameter to an "
                    f"attribute of its own"
                )

    # What is done to all of it

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Self:
        """Set `training` of all modules, and return this one."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set `training` of all modules to False, and return this one."""
        return self.train(False)

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the parameters' and buffers' arrays by path: what to save, and to come back to.

        Examples
        --------
        >>> from microgradnd import nn
        >>> sorted(nn.Sequential(nn.Linear(2, 1)).state_dict())
        ['0.bias', '0.weight']
        """
        return {path: np.array(value) for path, value in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, npt.ArrayLike], strict: bool = True) -> Mismatch:
        """Set parameters and buffers in place, to the values that `state_dict()` returned.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Arrays by path. They are converted to the dtype of the parameter.
        strict : bool
            Whether the paths must be those of this module exactly.

        Returns
        -------
        Mismatch
            The named tuple (missing_keys, unexpected_keys), for `strict=False`.

        Raises
        ------
        ValueError
            If a path is missing or unexpected, or a shape differs; nothing is changed then.
        TypeError
            If complex values would lose their imaginary parts.

        Examples
        --------
        >>> from microgradnd import nn
        >>> best = nn.Linear(2, 1)
        >>> other = nn.Linear(2, 1)
        >>> other.load_state_dict(best.state_dict())
        Mismatch(missing_keys=[], unexpected_keys=[])
        >>> bool((other.weight.data == best.weight.data).all())
        True
        """
        own = self._state()
        missing = [path for path in own if path not in state_dict]
        unexpected = [path for path in state_dict if path not in own]
        wrong = (
            [f"missing {path}" for path in missing] + [f"unexpected {path}" for path in unexpected] if strict else []
        )
        new = {path: np.asarray(state_dict[path]) for path in own if path in state_dict}
        wrong += [
            f"{path} has shape {array.shape} and must have {own[path].shape}"
            for path, array in new.items()
            if array.shape != own[path].shape
        ]
        if wrong:
            advice = (
                "; strict=False passes over what is missing or unexpected" if strict and missing + unexpected else ""
            )
            raise ValueError(
                f"this state doesn't fit {type(self).__name__}, which is unchanged: {', '.join(wrong)}{advice}"
            )
        new = {path: array.astype(own[path].dtype, casting="same_kind") for path, array in new.items()}
        parameters = dict(self.named_parameters())
        for path, array in new.items():
            if path in parameters:
                with parameters[path].updating() as target:
                    target[...] = array
            else:
                own[path][...] = array
        return Mismatch(missing, unexpected)

    def _state(self) -> dict[str, Any]:
        """Return the arrays themselves, by path."""
        parameters = {path: p.data if isinstance(p, Tensor) else np.asarray(p) for path, p in self.named_parameters()}
        return parameters | dict(self.named_buffers())

    # A call, and a tree of arrays

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output: what a subclass writes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); write one, which takes what a call takes")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return forward(*args, **kwargs); what was recorded in it is marked as this module's, for pictures."""
        if mode.trace is not None and not self._is_rebuilt:
            mode.trace.depends(self)
        start = next_position()
        out = self.forward(*args, **kwargs)
        if type(out) is Tensor:
            node = out._node
            if type(node) is Operation and node.position > start:
                note = node.note or node.annotate()
                note.marks += ((start, weakref.ref(self), type(self).__name__),)
        elif isinstance(out, CONTAINERS):
            self._mark(out, start)
        return out

    def _mark(self, outputs: Any, start: int) -> None:
        for out in outputs.values() if isinstance(outputs, dict) else outputs:
            if isinstance(out, CONTAINERS):
                self._mark(out, start)
            elif isinstance(out, Tensor) and isinstance(out._node, Operation) and out._node.position > start:
                out._node.annotate().marks += ((start, weakref.ref(self), type(self).__name__),)

    def __flatten__(self) -> tuple[list[Any], Callable[[Sequence[Any]], Module]]:
        """Return the parameters, and a function that makes a module like this one with others in their place.

        The transforms call it: inside, the function gets such a module of fresh Tensors, and the gradient that they
        return is such a module of arrays. Buffers and everything else are shared with this one. Like any argument of a
        transform the module is a value there: `backward()` on what they return doesn't reach its parameters.
        """
        parameters, rebuild = self.__variables__()
        return parameters if self._is_rebuilt else [as_value(p) for p in parameters], rebuild

    def __variables__(self) -> tuple[list[Any], Callable[[Sequence[Any]], Module]]:
        """Return the parameters themselves, and a function that makes a module like this one with others."""
        parameters = list(self.parameters())

        def rebuild(new: Sequence[Any]) -> Module:
            return self._rebuilt({id(old): n for old, n in zip(parameters, new, strict=True)}, {})

        return parameters, rebuild

    def __form__(self) -> Any:
        """Return what a compiled program of this module depends on beside the parameters' values, hashable.

        That is the classes and the plain attributes of all modules in it, and which objects the other attributes are.
        """
        changes, form = self._formed
        if changes != Module._changes:
            parts = [(name, self._kinds.get(name), value) for name, value in vars(self).items() if name != "_formed"]
            form = (type(self), *((name, kind, form_of(kind, value)) for name, kind, value in parts))
            object.__setattr__(self, "_formed", (Module._changes, form))
        return form

    def _rebuilt(self, new: dict[int, Any], done: dict[Module, Module]) -> Module:
        if self not in done:
            copy = done[self] = object.__new__(type(self))
            vars(copy).update(vars(self), _kinds=dict(self._kinds), _is_rebuilt=True, _formed=(-1, None))
            for name, kind in self._kinds.items():
                value = getattr(self, name)
                if kind == "parameter":
                    vars(copy)[name] = new[id(value)]
                elif kind == "module":
                    vars(copy)[name] = value._rebuilt(new, done)
        return done[self]

    # Its face

    def extra_repr(self) -> str:
        """Return what `repr` puts before the parameters: the settings of a layer."""
        return ""

    def _described(self, indent: str) -> str:
        def shape(value: Any) -> str:
            dtype = getattr(value, "dtype", np.float64)
            return f"{np.shape(value)}" if dtype == np.float64 else f"{np.shape(value)} {dtype}"

        own = [f"{name}={shape(getattr(self, name))}" for name, kind in self._kinds.items() if kind != "module"]
        text = ", ".join([part for part in (self.extra_repr(),) if part] + own)
        lines = [f"{indent}  ({name}): {child._described(indent + '  ')}" for name, child in self.named_children()]
        if lines:
            text += "\n" + "\n".join(lines) + f"\n{indent}"
        return f"{type(self).__name__}({text})"

    def __repr__(self) -> str:
        parameters = list(self.parameters())
        count = sum(np.size(p) for p in parameters)
        frozen = sum(p.size for p in parameters if isinstance(p, Tensor) and not p.requires_grad)
        text = self._described("")
        if parameters:
            text += f"  # {count:,} parameter{'' if count == 1 else 's'}"
        return text + (f", {frozen:,} of them frozen" if frozen else "")
