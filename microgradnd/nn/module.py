"""Module: an object that holds parameters and other modules, and knows their paths.

Owns: registration by attribute, the walks over registered parts, and the tree protocols
that let `mg.grad` and `mg.compile` take a module as an argument.
Must not own: any layer or its computation (`linear.py`, `activations.py`, ...).
Read next: `linear.py`.

A registered part is an ordinary attribute; the module only records the attribute's
kind: parameter, buffer or module. A path joins the attribute names from the outermost
module with dots: `0.weight`.

A transform calls the user's function with a *view* of a module: an object with fresh
Tensors in place of the trained parameters. It shares everything else with the module,
including attributes that either sets later. The gradient is a *result*: a module of
arrays that shares nothing. A compiled function is called with the module itself.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, ValuesView
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self
from weakref import ref

import numpy as np
import numpy.typing as npt

from microgradnd import primitives
from microgradnd.annotations import Call
from microgradnd.failures import all_explained, as_function, explained, fail_member
from microgradnd.nn.paths import name_layer
from microgradnd.operands import check_kind
from microgradnd.settings import floating_dtype, switch
from microgradnd.signatures import check_call
from microgradnd.states import check_mapping, fitted, overwrite
from microgradnd.tape import Leaf, Note, Operation, current, next_position
from microgradnd.tensor import Tensor, tensor, wrap
from microgradnd.trees import flatten, is_module

ndarray = np.ndarray
LISTED = (Sequence, Set, ValuesView, deque)
NUMBERS = (float, int, bool, complex, str, type(None))  # the types in long lists
INTERNAL = frozenset({"_kinds", "_walked", "_role", "_original", "_views", "_since", "_absent"})

TIES = frozenset({"_walked", "_views", "_original"})  # left out of a copy of a module


class Mismatch(NamedTuple):
    """The keys that `load_state_dict(strict=False)` ignored."""

    missing_keys: list[str]
    unexpected_keys: list[str]


@explained
def Parameter(data: Any, dtype: npt.DTypeLike | None = None, name: str | None = None) -> Tensor:
    """Make a parameter: a leaf Tensor that requires a gradient.

    A module registers it when you assign it to an attribute.

    Parameters
    ----------
    data : array_like
        The initial value, which is copied.
    dtype : dtype, optional
        By default the dtype of the data.
    name : str, optional
        By default the path in the module to which it is assigned.

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
    """Return whether a value is registered as a parameter when it is assigned."""
    return isinstance(value, Tensor) and value.requires_grad and value.is_leaf


def as_value(parameter: Tensor) -> Tensor:
    """Return a Tensor with the same array and name that requires no gradient."""
    value = parameter.detach()
    value.name = parameter.name
    return value


def is_variable(value: Any) -> bool:
    """Return whether a value is a variable, like a transform's input, not a result."""
    node = value._node if isinstance(value, Tensor) else None
    return node is not None and (not isinstance(node, Operation) or node.function is primitives.identity)


def held(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield each parameter and module in a container, at any depth, with its path."""
    parts: Iterator[tuple[str, Any]]
    if isinstance(value, Mapping):
        parts = ((f"{path}[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, LISTED) and not isinstance(value, str | bytes | range):
        parts = ((f"{path}[{i}]", part) for i, part in enumerate(value))
    elif isinstance(value, np.ndarray) and value.dtype == object:
        parts = ((f"{path}.flat[{i}]", part) for i, part in enumerate(value.flat))
    elif isinstance(value, types.SimpleNamespace) or is_record(value):
        parts = ((f"{path}.{key}", part) for key, part in getattr(value, "__dict__", {}).items())
    else:
        return
    if id(value) in seen:  # it contains itself
        return
    seen.add(id(value))
    for where, part in parts:
        if isinstance(part, Module) or is_parameter(part):
            yield where, part
        elif type(part) not in NUMBERS:
            yield from held(part, where, seen)


def is_record(value: Any) -> bool:
    """Return whether a value is an instance of a dataclass that isn't a module."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type | Module)


def cut_off(value: Any, since: int) -> Any:
    """Return a value whose Tensors computed since a position are off the tape.

    Lists, dicts and deques are changed in place, since they are the user's own.
    """
    if isinstance(value, Tensor):
        node = None if isinstance(value, value.outdated) else value._node
        if type(node) is Operation and node.position > since:
            plain = wrap(np.asarray(value._array))
            plain.name = value.name
            return plain
    elif isinstance(value, list | deque | dict):
        for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
            if (new := cut_off(part, since)) is not part:
                value[key] = new
    elif isinstance(value, tuple):
        parts = [cut_off(part, since) for part in value]
        if any(new is not part for new, part in zip(parts, value, strict=True)):
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


@all_explained
class Handle:
    """A handle on a hook, to remove it.

    Parameters
    ----------
    module : Module
        The module that has the hook.
    entry : tuple
        The hook's entry in `forward_hooks`.
    """

    def __init__(self, module: Module, entry: tuple[str, Callable[..., Any]]) -> None:
        self.module = module
        self.entry = entry

    def remove(self) -> None:
        """Remove the hook; calling it again does nothing."""
        self.module.forward_hooks = tuple(entry for entry in self.module.forward_hooks if entry is not self.entry)


@all_explained
class Module:
    """The base class of layers and networks.

    Subclass it, assign parameters and modules to attributes, and write `forward`. A
    leaf Tensor that requires a gradient is registered as a parameter, and a Module as a
    submodule. Parameters without a name get their path as a name, for pictures and
    errors.

    Attributes
    ----------
    training : bool
        Set by `train()` and `eval()`, for layers that behave differently in training.

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
    >>> gradient = mg.grad(lambda model, x: np.sum(model(x)))
    >>> gradient(model, np.array([0.0, 1.0])).slope
    array(1.)
    """

    training = True
    _changes: ClassVar[int] = 0  # how often an attribute of any module was set
    _walked: tuple[int, list[Tensor]] = (-1, [])  # the number of changes, and the parameters found then
    _role: str = "module"  # or "view" or "result", if a transform made it
    _original: Module | None = None  # the module that this one is a view of
    _views: tuple[ref[Module], ...] = ()  # of a module without an original: its views, and the views of these
    _since: int = 0  # of a view: nodes after this position belong to the call that it was made for
    _absent: frozenset[str] = frozenset()  # of a result: the parameters without a gradient
    forward_hooks: tuple[tuple[str, Callable[..., Any]], ...] = ()  # "before" or "after" forward(), and the hook
    _shown: ClassVar[str] = ""  # the form of extra_repr(), with attributes in braces
    _kinds: dict[str, str]  # attribute name -> "parameter", "buffer" or "module", in the order of registration

    if not TYPE_CHECKING:  # a type checker would accept any attribute
        __getattr__ = fail_member

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if own.get("__slots__"):
            raise TypeError(
                f"{cls.__name__} must not have __slots__, in which no attribute can be registered; leave them out, and "
                f"slots=True of a dataclass too"
            )
        if "__eq__" not in own and "__hash__" not in own:
            # A module is equal only to itself, even if @dataclass would compare fields;
            # @dataclass doesn't replace these two methods
            cls.__eq__, cls.__hash__ = Module.__eq__, Module.__hash__  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__, so that a subclass needn't call super().__init__()
        if args or kwargs:
            data = any(isinstance(arg, np.ndarray | Tensor) for arg in args)
            advice = f"; make the module first, then call it: {cls.__name__}(...)(x)" if data else ""
            check_call(cls, args, kwargs, advice, inspect.Signature() if is_without_init(cls) else None)
        for base in cls.__mro__[: cls.__mro__.index(Module)]:
            for name, value in vars(base).items():
                if not name.startswith("__"):
                    refuse_in_class(base, name, value)
        module = super().__new__(cls)
        object.__setattr__(module, "_kinds", {})
        return module

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if (args or kwargs) and is_last(type(self)):
            check_call(type(self), args, kwargs, signature=inspect.Signature())
        super().__init__(*args, **kwargs)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a copy, without those of a transform."""
        state = {name: value for name, value in vars(self).items() if name not in TIES}
        return state | ({"_role": "module"} if self._role == "view" else {})

    def __copy__(self) -> Self:
        # The copy has its own registrations, but shares the parameters, buffers and
        # modules, as in PyTorch
        copy = object.__new__(type(self))
        vars(copy).update(Module.__getstate__(self), _kinds=dict(self._kinds))
        return copy

    def __del__(self) -> None:
        # The call that the view was made for is over: nothing on its tape may stay on
        # the module
        if self._role == "view" and self._original is not None:
            self._root()._drop(self)
            if self._original._role == "module" and current().trace is None:
                self._original._leave_tape(self._since)

    # Registration

    def __setattr__(self, name: str, value: Any) -> None:
        Module._changes += 1
        attributes = vars(self)
        if attributes.get(name) is value and name in attributes:  # the last part of `self.running *= 0.9`
            return
        if isinstance(value, Module):
            self._register(name, "module", value)
        elif is_parameter(value):
            self._register(name, "parameter", value)
        elif name in self._kinds and value is not None:
            self._replace(name, self._kinds[name], value)
        else:
            self._kinds.pop(name, None)
            object.__setattr__(self, name, value)
            self._tell(name)

    def _tell(self, name: str) -> None:
        """Set an attribute of this module on all modules that share its attributes."""
        attributes = vars(self)
        if (self._original is not None or self._views) and name in attributes:  # otherwise it is a property
            for other in self._others():
                vars(other)[name] = attributes[name]

    def _replace(self, name: str, kind: str, value: Any) -> None:
        """Assign to a registered attribute: an array to a buffer, or raise."""
        if kind == "buffer" and not (isinstance(value, Tensor) and value.requires_grad):
            if current().trace is None or not isinstance(value, Tensor):  # otherwise the program assigns it each call
                value = np.array(value.data) if isinstance(value, Tensor) else np.asarray(value)
                check_kind(f"{type(self).__name__}.{name}", value)
        elif kind != "parameter" or self._role != "result":
            what = f"a value of type {type(value).__name__}"
            if isinstance(value, Tensor):
                what = "a Tensor that was computed or requires no gradient"
            advice = {
                "parameter": f"set its value with .{name}.data = array, or update it under mg.no_grad()",
                "buffer": "assign the array, t.data",
                "module": f"remove it first, with del module.{name}",
            }[kind]
            raise TypeError(f"{name!r} is a {kind} of {type(self).__name__} and can't be replaced by {what}; {advice}")
        object.__setattr__(self, name, value)
        self._tell(name)

    def __delattr__(self, name: str) -> None:
        Module._changes += 1
        self._kinds.pop(name, None)
        object.__delattr__(self, name)
        for other in self._others():
            vars(other).pop(name, None)

    # A module and its views

    def _root(self) -> Module:
        module = self
        while module._original is not None:
            module = module._original
        return module

    def __original__(self) -> Module:
        """Return the module that has the attributes, for a compiler's guard."""
        return self._root()

    @staticmethod
    def __changes__() -> int:
        """Return how often an attribute of any module was set, for a guard."""
        return Module._changes

    def _others(self) -> list[Module]:
        """Return the other modules that share attributes with this module."""
        root = self._root()
        family = [root, *(view for reference in root._views if (view := reference()) is not None)]
        return [module for module in family if module is not self]

    def _drop(self, view: Module) -> None:
        left = tuple(reference for reference in self._views if reference() is not None and reference() is not view)
        if left:
            vars(self)["_views"] = left
        else:
            vars(self).pop("_views", None)

    def _leave_tape(self, since: int) -> None:
        """Detach the Tensors that a call under a transform has left here."""
        attributes = vars(self)
        for name, value in list(attributes.items()):
            if isinstance(value, Tensor | list | dict | tuple | deque) and name not in INTERNAL:
                new = cut_off(value, since)
                if new is not value and attributes.get(name) is value:
                    attributes[name] = new

    def _register(self, name: str, kind: str, value: Any) -> None:
        if self._role == "view" and kind != "buffer":
            raise RuntimeError(
                f"{type(self).__name__}.{name} can't be assigned a {kind} inside a transform, whose gradient has no "
                f"place for it; make it in __init__ or call the module once before, and store a value as t.data"
            )
        if not name or "." in name:
            raise ValueError(
                f"{type(self).__name__}: the name of a {kind} must not be empty or contain a dot, which separates "
                f"paths, got {name!r}"
            )
        if getattr(type(self), name, None) is not None:
            raise ValueError(
                f"{type(self).__name__}: {name!r} can't be the name of a {kind}, since the class has such an "
                f"attribute; choose another name"
            )
        Module._changes += 1
        self._kinds[name] = kind
        object.__setattr__(self, name, value)
        self._tell(name)
        if kind == "parameter" and value.name is None:
            value.name = name
        elif kind == "module":
            for path, parameter in value.named_parameters():
                if isinstance(parameter, Tensor) and parameter.name == path:  # named by its path, which has grown
                    parameter.name = f"{name}.{path}"

    def register_parameter(self, name: str, param: Tensor | None) -> None:
        """Register a leaf Tensor as a parameter, even if it requires no gradient.

        Parameters
        ----------
        name : str
            The attribute's name.
        param : Tensor or None
            None sets the attribute to None: the module lacks this parameter.

        Raises
        ------
        TypeError
            If `param` isn't a leaf Tensor.
        ValueError
            If the name contains a dot, or the class has an attribute of that name.

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
            found = "a Tensor that was computed" if isinstance(param, Tensor) else type(param).__name__
            raise TypeError(
                f"register_parameter: {name!r} must be a leaf Tensor, got {found}; make one with nn.Parameter(data)"
            )
        else:
            self._register(name, "parameter", param)

    def register_buffer(self, name: str, array: npt.ArrayLike | None) -> None:
        """Register an array that is part of the state, but isn't a parameter.

        Parameters
        ----------
        name : str
            The attribute's name. You can assign other arrays to it later.
        array : array_like, or None
            None registers nothing, and sets the attribute to None.

        Raises
        ------
        TypeError
            If it doesn't hold numbers.
        ValueError
            If the name contains a dot, or the class has an attribute of that name.

        Examples
        --------
        >>> import numpy as np
        >>> from microgradnd import nn
        >>> model = nn.Module()
        >>> model.register_buffer("running_mean", np.zeros(3))
        >>> model.state_dict()
        {'running_mean': array([0., 0., 0.])}
        """
        if array is None:
            setattr(self, name, None)
        else:
            value = np.asarray(array)
            check_kind(f"{type(self).__name__}.{name}", value)
            self._register(name, "buffer", value)

    # Walks

    def named_modules(self, remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """Yield each module with its path: this one first, under the path "".

        Parameters
        ----------
        remove_duplicate : bool
            Whether to yield a module only once if it is in several places.

        Raises
        ------
        TypeError
            If a list, tuple, dict or set holds parameters or modules, which would be
            missed there.
        """
        seen: set[int] = set()
        todo: list[tuple[str, Module, frozenset[int]]] = [("", self, frozenset())]
        while todo:
            path, module, around = todo.pop()
            if id(module) not in (seen if remove_duplicate else around):  # a module may contain itself
                seen.add(id(module))
                module._refuse_hidden()
                yield path, module
                dot, around = f"{path}." if path else "", around | {id(module)}
                todo += [(dot + name, child, around) for name, child in reversed(list(module.named_children()))]

    def modules(self) -> Iterator[Module]:
        """Yield this module and the modules within it, at any depth."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly within this one, with their names."""
        return ((name, getattr(self, name)) for name, kind in self._kinds.items() if kind == "module")

    def children(self) -> Iterator[Module]:
        """Yield the modules directly within this one."""
        return (child for _, child in self.named_children())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each parameter once, with its first path.

        Raises
        ------
        TypeError
            If a list, tuple or dict holds parameters or modules, which would be missed
            there.
        """
        return self._named("parameter")

    def parameters(self) -> Iterator[Tensor]:
        """Yield each parameter once, for an optimizer, for example."""
        return (parameter for _, parameter in self._named("parameter"))

    def named_buffers(self) -> Iterator[tuple[str, Any]]:
        """Yield each buffer with its path."""
        return self._named("buffer")

    def _named(self, wanted: str) -> Iterator[tuple[str, Any]]:
        return ((path, value) for path, _, _, value in self._places(wanted))

    def _places(self, *wanted: str, once: bool = True) -> Iterator[tuple[str, Module, str, Any]]:
        """Yield the path, module, attribute and value of each parameter or buffer.

        A shared one has several paths: the first, or all of them.
        """
        seen: set[int] = set()
        for path, module in self.named_modules(remove_duplicate=once):
            dot = f"{path}." if path else ""
            for name in [name for kind in wanted for name, own in module._kinds.items() if own == kind]:
                value = getattr(module, name)
                if name in module._absent if value is None else not once or id(value) not in seen:
                    seen.add(id(value))
                    yield dot + name, module, name, value

    def _refuse_hidden(self) -> None:
        """Raise if parameters or modules are in places that no walk reaches."""
        for name, value in list(vars(self).items()):
            if type(value) in NUMBERS or name in INTERNAL or name in self._kinds:
                continue
            if is_parameter(value) or (isinstance(value, Module) and name in getattr(self, "__dataclass_fields__", ())):
                kind = "parameter" if isinstance(value, Tensor) else "module"
                self._register(name, kind, value)  # assigned by object.__setattr__, or before it required a gradient
            for where, part in held(value, f"{type(self).__name__}.{name}", set()):
                kind = "module" if isinstance(part, Module) else "parameter"
                raise TypeError(
                    f"{where} is a {kind} in a container, where it can't be found; put modules into "
                    f"nn.Sequential(*modules), nn.ModuleList or nn.ModuleDict, and parameters into nn.ParameterList or "
                    f"attributes of their own"
                )

    # Changes of the whole network

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        changes, parameters = self._walked
        if changes != Module._changes:
            parameters = list(self.parameters())
            vars(self)["_walked"] = Module._changes, parameters
        for parameter in parameters:
            parameter.grad = None

    def train(self, mode: bool = True) -> Self:
        """Set `training` of all modules, and return this module."""
        mode = switch(f"{type(self).__name__}.train: mode", mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set `training` of all modules to False, and return this module."""
        return self.train(False)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call a function with each module, innermost first, and return this module.

        Examples
        --------
        >>> from microgradnd import nn
        >>> def start(module):
        ...     if isinstance(module, nn.Linear):
        ...         nn.init.zeros_(module.bias)
        >>> nn.Sequential(nn.Linear(2, 1)).apply(start)[0].bias
        tensor([0.], requires_grad=True, name='0.bias')
        """
        as_function(fn, f"{type(self).__name__}.apply: fn")
        for child in list(self.children()):
            child.apply(fn)
        fn(self)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze or unfreeze all parameters, and return this module.

        Examples
        --------
        >>> from microgradnd import nn
        >>> nn.Linear(2, 1).requires_grad_(False)
        Linear(2, 1, weight=(1, 2), bias=(1,))  # 3 parameters, 3 of them frozen
        """
        requires_grad = switch(f"{type(self).__name__}.requires_grad_: requires_grad", requires_grad)
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def to(self, dtype: npt.DTypeLike) -> Self:
        """Convert parameters, gradients and buffers to another dtype, in place.

        Only floating-point arrays are converted. Afterwards, make a new optimizer.

        Parameters
        ----------
        dtype : dtype
            A floating-point or complex dtype.

        Returns
        -------
        Module
            This module.

        Raises
        ------
        TypeError
            If the dtype isn't a floating-point or complex one.
        RuntimeError
            Inside a transform or a compiled function.

        Examples
        --------
        >>> import numpy as np
        >>> from microgradnd import nn
        >>> nn.Linear(2, 1).to(np.float32).weight.dtype
        dtype('float32')
        """
        kind = type(self).__name__
        new = floating_dtype(f"{kind}.to: dtype", dtype)
        if self._role != "module" or current().trace is not None:
            raise RuntimeError(
                f"{kind}.to: can't convert a module inside a transform or a compiled function; call it outside"
            )
        converted = "f" if new.kind == "f" else "fc"  # complex numbers don't lose their imaginary parts
        for parameter in self.parameters():
            if parameter.dtype.kind in converted:
                retype(parameter, new)
        for _, module, name, value in list(self._places("buffer")):
            if value.dtype.kind in converted:
                setattr(module, name, value.astype(new))
        return self

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the arrays of parameters and buffers, by path.

        Examples
        --------
        >>> from microgradnd import nn
        >>> sorted(nn.Sequential(nn.Linear(2, 1)).state_dict())
        ['0.bias', '0.weight']
        """
        return {path: np.array(array) for path, (_, _, array) in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, npt.ArrayLike], strict: bool = True) -> Mismatch:
        """Set parameters and buffers in place, to values from `state_dict()`.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Arrays by path. They are converted to the dtype of the parameter.
        strict : bool
            Whether the paths must match those of this module exactly.

        Returns
        -------
        Mismatch
            The named tuple (missing_keys, unexpected_keys), for `strict=False`.

        Raises
        ------
        ValueError
            If a path is missing or unexpected, or a shape differs; then nothing
            changes.
        TypeError
            If it isn't a dict of arrays of numbers, or complex values would lose their
            imaginary parts.

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
        kind, own = type(self).__name__, self._state()
        check_mapping(kind, state_dict, "read a file first, as with dict(np.load(path))")
        given = dict(state_dict)
        shared: dict[int, list[str]] = {}  # the paths of each array
        for path, (_, _, array) in own.items():
            shared.setdefault(id(array), []).append(path)
        for paths in shared.values():  # one of them is enough
            known = [path for path in paths if path in given]
            given |= dict.fromkeys(set(paths) - set(known), given[known[0]]) if known else {}
        arrays = {path: array for path, (_, _, array) in own.items()}
        new = fitted(kind, arrays, given, "pass strict=False to ignore missing and unexpected keys" if strict else None)
        for first, *others in shared.values():
            if any(path in new and not np.array_equal(new[path], new[first], equal_nan=True) for path in others):
                raise ValueError(
                    f"{kind}.load_state_dict: {', '.join([first, *others])} are paths of one array, so their values "
                    f"must be equal; leave out all but one, or give the module separate parameters"
                )
        for path, array in new.items():
            module, name, _ = own[path]
            write(module, name, array)
        return Mismatch([path for path in own if path not in new], [path for path in state_dict if path not in own])

    def _state(self) -> dict[str, tuple[Module, str, Any]]:
        """Return the module, attribute and array of parameters and buffers, by path.

        A shared one has several paths, as in PyTorch.
        """
        if (trace := current().trace) is not None:
            raise trace.refusal("state_dict() or load_state_dict()", "Call it outside, between the calls")
        return {
            path: (module, name, value.data if isinstance(value, Tensor) else np.asarray(value))
            for path, module, name, value in self._places("parameter", "buffer", once=False)
            if value is not None
        }

    # A call, and a tree of arrays

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; a subclass must define this method."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); define one with the arguments of a call")

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """Return forward(*args, **kwargs), and mark its output as this module's."""
        start = next_position()
        try:
            out = self._hooked(args, kwargs) if self.forward_hooks else self.forward(*args, **kwargs)
        except Exception as error:
            name_layer(error, self, args, kwargs)
            raise
        if type(out) is Tensor:  # _mark, inlined for the usual case
            node = out._node
            if type(node) is Operation and node.position > start:
                if (note := node.note) is None:
                    node.note = note = Note()
                note.marks = (*note.marks, (start, ref(self), type(self).__name__))
        elif type(out) is not ndarray:
            for part in flatten(out, is_module)[0]:
                self._mark(part._node if isinstance(part, Tensor) else None, start)
        return out

    if TYPE_CHECKING:
        __call__ = Call()
    else:
        __call__ = _call

    def _mark(self, node: Any, start: int) -> None:
        """Mark a node as made by this module, if it was recorded since a position."""
        if isinstance(node, Operation) and node.position > start:
            note = node.note or node.annotate()
            note.marks += ((start, ref(self), type(self).__name__),)

    def _hooked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return forward(*args, **kwargs), with the hooks applied."""
        for hook in [hook for when, hook in self.forward_hooks if when == "before"]:
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        out = self.forward(*args, **kwargs)
        for hook in [hook for when, hook in self.forward_hooks if when == "after"]:
            changed = hook(self, args, out)
            if changed is not None:
                out = changed
        return out

    def register_forward_pre_hook(self, hook: Callable[[Module, tuple[Any, ...]], Any]) -> Handle:
        """Call `hook(module, args)` before each forward().

        Unless the hook returns None, its result replaces the arguments.

        Returns
        -------
        Handle
            Its `remove()` removes the hook.

        See Also
        --------
        register_forward_hook : calls a hook after forward(); has an example.
        """
        return self._add_hook("before", hook)

    def register_forward_hook(self, hook: Callable[[Module, tuple[Any, ...], Any], Any]) -> Handle:
        """Call `hook(module, args, output)` after each forward().

        Unless the hook returns None, its result replaces the output.

        Returns
        -------
        Handle
            Its `remove()` removes the hook.

        Examples
        --------
        >>> import numpy as np
        >>> from microgradnd import nn
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
        >>> def show(module, args, output):
        ...     print(output.shape)
        >>> handle = model[0].register_forward_hook(show)
        >>> out = model(np.ones((5, 2)))
        (5, 3)
        >>> handle.remove()
        """
        return self._add_hook("after", hook)

    def _add_hook(self, when: str, hook: Callable[..., Any]) -> Handle:
        if not callable(hook):
            raise TypeError(
                f"{type(self).__name__}: a hook must be a function of the module and its arguments, got {hook!r}"
            )
        entry = (when, hook)
        self.forward_hooks = (*self.forward_hooks, entry)
        return Handle(self, entry)

    def __flatten__(self) -> tuple[list[Any], Callable[[Sequence[Any]], Module]]:
        """Return the trained parameters, and a function that replaces them in a copy.

        Transforms call it. Given Tensors to compute with, the function makes a view of
        this module; given gradients, it makes a result. Frozen parameters, which
        require no gradient, aren't differentiated: a view shares them with the module,
        like buffers and everything else, and a result has None in their place. Like any
        argument of a transform, the module is a value there: `backward()` on the
        transform's result doesn't reach its parameters.
        """
        trained, frozen, first = [], {}, set()
        for _, module, name, p in self._places("parameter"):
            if p is None or (isinstance(p, Tensor) and not p.requires_grad and self._role != "result"):
                frozen[id(p)] = p
                first.add((id(module), name))
            else:
                trained.append(p)

        def rebuild(new: Sequence[Any]) -> Module:
            values = {id(old): n for old, n in zip(trained, new, strict=True)}
            is_view = all(map(is_variable, new))
            values |= frozen if is_view else dict.fromkeys(frozen)
            return self._rebuilt(values, {}, "view" if is_view else "result", first)

        return trained if self._role != "module" else [as_value(p) for p in trained], rebuild

    def _rebuilt(self, new: dict[int, Any], done: dict[int, Module], role: str, first: set[tuple[int, str]]) -> Module:
        if id(self) not in done:
            copy = done[id(self)] = object.__new__(type(self))
            attributes = vars(copy)
            attributes.update((name, value) for name, value in vars(self).items() if name not in INTERNAL)
            attributes["_role"] = role
            if role == "view":
                root = self._root()
                attributes.update(_original=self, _since=next_position(), _kinds=self._kinds)
                vars(root)["_views"] = (*root._views, ref(copy))
            else:
                attributes["_kinds"] = dict(self._kinds)
            if role == "result":
                attributes["_absent"] = frozenset(name for number, name in first if number == id(self))
            elif self._absent:
                attributes["_absent"] = self._absent
            for name, kind in self._kinds.items():
                value = attributes[name]
                if kind == "parameter":
                    attributes[name] = new.get(id(value), value)
                elif kind == "module":
                    attributes[name] = value._rebuilt(new, done, role, first)
        return done[id(self)]

    # Text

    def extra_repr(self) -> str:
        """Return the text in `repr` before the parameters: a layer's settings."""
        return self._shown.format_map(vars(self))

    def _described(self, indent: str) -> str:
        def shape(value: Any) -> str:
            if value is None:
                return "None"
            dtype = getattr(value, "dtype", np.float64)
            return f"{np.shape(value)}" if dtype == np.float64 else f"{np.shape(value)} {dtype}"

        own = [f"{name}={shape(getattr(self, name))}" for name, kind in self._kinds.items() if kind != "module"]
        text = ", ".join([part for part in (self.extra_repr(),) if part] + own)
        lines = [f"{indent}  ({name}): {child._described(indent + '  ')}" for name, child in self.named_children()]
        if lines:
            text += "\n" + "\n".join(lines) + f"\n{indent}"
        return f"{type(self).__name__}({text})"

    def __repr__(self) -> str:
        parameters = [p for p in self.parameters() if p is not None]
        count = sum(np.size(p) for p in parameters)
        frozen = sum(p.size for p in parameters if isinstance(p, Tensor) and not p.requires_grad)
        text = self._described("")
        if parameters:
            text += f"  # {count:,} parameter{'' if count == 1 else 's'}"
        return text + (f", {frozen:,} of them frozen" if frozen else "")


def is_without_init(cls: type[Module]) -> bool:
    """Return whether neither a class nor its bases have an __init__ with arguments."""
    return cls.__init__ is Module.__init__ and is_last(cls)


def is_last(cls: type[Module]) -> bool:
    """Return whether Module is the last base class before object."""
    return cls.__mro__[cls.__mro__.index(Module) + 1] is object


def refuse_in_class(cls: type[Module], name: str, value: Any) -> None:
    """Raise if a class attribute is or holds a parameter, which no walk would find."""
    path = f"{cls.__name__}.{name}"
    own = [(path, value)] if isinstance(value, Module) or is_parameter(value) else held(value, path, set())
    for where, part in own:
        if not isinstance(part, Module) or [*part.named_parameters(), *part.named_buffers()]:
            kind = "module with parameters" if isinstance(part, Module) else "parameter"
            raise TypeError(
                f"{where} is a {kind} in the class, where it can't be found and all instances would share it; make it "
                f"in __init__, as self.{name} = ..., or in a dataclass with field(default_factory=...)"
            )


def retype(parameter: Tensor, dtype: np.dtype[Any]) -> None:
    """Convert a parameter and its gradient to another dtype, in new arrays.

    It gets a new leaf, by which a compiled function notices the change.
    """
    old = parameter._node
    parameter._array = array = parameter.data.astype(dtype)
    if isinstance(old, Leaf):
        old.position = next_position()  # what was computed before can't be differentiated any more
        parameter._node = leaf = Leaf(array, old.requires_grad, old.name)
        leaf.hooks = old.hooks
        if old.grad is not None:
            leaf.grad = np.asarray(old.grad).astype(dtype)


def write(module: Module, name: str, array: Any) -> None:
    """Set the value of a parameter or buffer, in place if its array is writable."""
    value = getattr(module, name)
    if isinstance(value, Tensor):
        overwrite(value, array)
    elif value.flags.writeable:
        value[...] = array
    else:
        setattr(module, name, array)
