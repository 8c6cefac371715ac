"""Tensor: a variable over a NumPy array that records what is computed from it.

Owns: the variable's own parts (data, gradient, name, `backward()`, hooks), and `apply`,
where calls are recorded.
Must not own: any derivative (the table in `registry.py` holds them), or what `Tensor`
inherits: its operators (`operators.py`), assignments (`assignment.py`) and the methods
that it shares with an array (`arraylike.py`).
Read next: `transforms.py` for `grad` and its family, or `rules/elementwise.py` for the
derivatives.

A Tensor holds an array and a node of the tape. The node is a computed value, which
never changes; the Tensor is a name for it that may later stand for another value.

It is one class in four files, each inheriting from the one before: `arraylike.py`,
`assignment.py`, `operators.py`, and this one. Other files of the library read two
attributes of a Tensor, its internal protocol: `_array`, the array, and `_node`, a
`Leaf`, an `Operation`, or None for a value without history.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, Never, Self

import numpy as np
import numpy.typing as npt

from microgradnd import absent, gradients, operands, primitives, refusals, tape, views
from microgradnd.annotations import Numbers
from microgradnd.assignment import plain_index
from microgradnd.batching import Batched, highest
from microgradnd.conversions import copy_of
from microgradnd.failures import fail
from microgradnd.forms import OUT_SLOTS, by_position, defined_form, out_slot, positional, refuse_keywords, without_out
from microgradnd.gradients import Handle, check_gradient
from microgradnd.modes import enable_grad, no_grad
from microgradnd.operands import (
    KEPT,
    KINDS,
    LAZY,
    admitted,
    check_kind,
    check_lazy,
    copied,
    is_small,
    operand,
    protected,
    record_kept,
    refuse_nested,
)
from microgradnd.operators import NO_KEYWORDS, SEQUENCES, Operators, ndarray, new_object
from microgradnd.registry import (
    BODIES,
    COMPOSITES,
    CONSTANT,
    EXCLUDED,
    ORDINARY,
    PLAIN,
    VJPS,
    Results,
    has_rule,
    name_of,
)
from microgradnd.tape import Leaf, Node, Operation, current, traceable


def _array_method(name: str) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)


ARRAYS = {np.ndarray, np.float64, np.float32}  # the usual results

# An array's own method skips NumPy's Python wrapper, which takes half the time of a
# small sum
BODIES.update({getattr(np, name): _array_method(name) for name in ("sum", "prod", "mean", "max", "min")})


def tensor(
    data: Any, requires_grad: bool = False, dtype: npt.DTypeLike | None = None, name: str | None = None
) -> Tensor:
    """Make a Tensor from anything that `np.array` takes, with a copy of the data.

    Parameters
    ----------
    data : array_like
        Numbers of any shape. Lists of Python floats become float64.
    requires_grad : bool
        Whether operations on it are recorded, and `backward()` leaves a gradient in
        `.grad`.
    dtype : dtype, optional
        By default, the data's own.
    name : str, optional
        Its name in pictures, compiled source and error messages.

    Returns
    -------
    Tensor
        A leaf.

    Raises
    ------
    TypeError
        If `requires_grad` isn't a bool, or is true for data that is neither
        floating-point nor complex.

    See Also
    --------
    Tensor : The class.
    no_grad : compute without recording.

    Examples
    --------
    >>> import microgradnd as mg
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> loss = (w * w).sum()
    >>> loss.backward()
    >>> w.grad
    array([2., 4.])
    """
    given = copy_of(data, "mg.tensor()") if isinstance(data, Tensor) else operand("mg.tensor", data)
    if isinstance(given, Tensor) and (trace := current().trace) is not None:
        return trace.variable.as_variable(given, requires_grad, dtype, name)
    array = operands.new_array(given, dtype)
    operands.check_requires_grad(requires_grad, array.dtype)
    return wrap(array, Leaf(array, requires_grad, operands.checked_name(name)) if requires_grad or name else None)


def wrap(data: Any, node: Node | None = None) -> Tensor:
    """Make a Tensor around an array, without copying it."""
    result = new_object(Tensor)
    result._array = data
    result._node = node
    return result


def lift(data: Any, node: Node) -> Any:
    """Make a Tensor from an array and its node, or a tuple for several results."""
    if type(data) is not ndarray:
        if type(data) is Results:
            return Results(apply(primitives.select, (wrap(data, node), i), NO_KEYWORDS) for i in range(len(data)))
        if type(data) in (float, int, bool, complex):  # in a trace
            return current().trace.number(data, node)  # type: ignore[union-attr]
    result = new_object(Tensor)  # wrap(data, node), inlined: a recorded walk makes many
    result._array = data
    result._node = node
    return result


def apply(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function on the arrays behind its arguments, and record the call.

    Every computation with a Tensor comes through here, except for the binary operators,
    which take a shorter way in `operators.py`.
    """
    if function not in VJPS:
        if function in COMPOSITES:
            args, kwargs = defined_form(function, args, kwargs)
            try:
                if LAZY:
                    check_lazy(function, [getattr(arg, "_array", arg) for arg in args])
                return COMPOSITES[function](*args, **kwargs)
            except Exception as error:
                fail(function, args, kwargs, error)
        if function not in PLAIN and function not in CONSTANT:
            raise refusals.without_derivative(name_of(function), EXCLUDED.get(function))
        if highest(args) is not None:
            return Batched.__primitive__(function, args, kwargs)
        try:
            plain = function(*(plain_index(a) for a in args), **{k: plain_index(v) for k, v in kwargs.items()})
        except Exception as error:
            fail(function, args, kwargs, error)
        if LAZY:
            check_lazy(function, [plain_index(a) for a in args], plain)
        if function in CONSTANT:
            return wrap(plain)
        if (trace := current().trace) is None or not trace.is_value(function, plain):
            return plain
    if kwargs:
        args = args or by_position(function, args, kwargs)
        kwargs = {k: v if type(v) in ORDINARY else named_argument(function, v) for k, v in kwargs.items()}
        refuse_keywords(function, args, kwargs)
        named = [name for name, value in kwargs.items() if isinstance(value, Tensor)]
        args = positional(function, args, kwargs, named) if named else args
    if len(args) > 1 and len(args) > (slot := OUT_SLOTS.get(function) or out_slot(function)):
        args = without_out(function, args, slot)
    values: list[Any] = []
    parents: list[Node | None] = []
    tracked = constant = False  # is there a variable that requires a gradient, and one that doesn't?
    plain, place = 0, 0  # the number of the user's arrays, and the place of the last
    for arg in args:
        kind, node, value = type(arg), None, arg
        if kind is Tensor:
            value, node = arg._array, arg._node
            if node is None:
                plain += 1
                place = len(values)
            elif node.requires_grad:
                tracked = True
            else:
                constant = True
        elif kind is ndarray:
            if arg.dtype.kind in KINDS:
                check_kind(function, arg)
            plain += 1
            place = len(values)
        elif kind not in ORDINARY or (kind is tuple and not primitives.is_basic(arg)):
            if kind is Batched:
                return Batched.__primitive__(function, args, kwargs)
            if kind in SEQUENCES:
                refuse_nested(function, arg)
            if isinstance(arg, Tensor):  # a tracer; an outdated one raises
                value, node = arg._entering(function, args), arg._node
                constant = True
            else:
                is_array = isinstance(function, np.ufunc) or (kind is list and has_rule(function, len(values)))
                value = operand(function, arg) if is_array else admitted(function, arg)
                plain += 2  # not all of them arrays
        values.append(value)
        parents.append(node)
    body = BODIES.get(function, function)
    try:
        out = body(*values, **kwargs) if kwargs else body(*values)
        if LAZY:
            check_lazy(function, values, out)
    except Exception as error:
        fail(function, args, kwargs, error)
    out = out if type(out) in ARRAYS else operands.result_of(function, out)
    record = current().record if tracked else None
    if record is not Operation and (tracked or constant) and (trace := current().trace) is not None:
        return trace.variable._computed(function, tuple(values), kwargs, tuple(parents), out, args)
    if type(out) not in ARRAYS and isinstance(out, SEQUENCES):
        keep = record and functools.partial(record_kept, record)
        return several(function, tuple(values), kwargs, tuple(parents), out, keep)
    result = new_object(Tensor)
    result._array = out
    if record is not None and out.dtype.kind in "fc":
        if plain == 1 and record is Operation and not kwargs and is_small(values[place]):
            values[place] = copied(values[place])
            result._node = Operation(function, tuple(values), kwargs, tuple(parents), out)
        elif plain or (kwargs and not KEPT.isdisjoint(map(type, kwargs.values()))):
            result._node = record_kept(record, function, values, kwargs, tuple(parents), out)
        else:
            result._node = record(function, tuple(values), kwargs, tuple(parents), out)
    else:
        if tracked:
            check_kind(function, out)  # objects come from None, and from foreign number types
        result._node = None
    if type(out) is ndarray and (out.base is not None or out is values[0]):
        views.share(result, args)
    return result


def named_argument(function: Any, value: Any) -> Any:
    """Return a keyword argument, unwrapped unless it is a Tensor that is tracked."""
    if isinstance(value, Tensor):
        return value if value.requires_grad else plain_index(value)
    return admitted(function, value)


def several(
    function: Any, values: tuple[Any, ...], kwargs: dict[str, Any], parents: tuple[Any, ...], out: Any, record: Any
) -> Any:
    """Return several results as Tensors, in the container that NumPy returned."""
    if record is not None:
        results = Results(out)
        parts = lift(results, record(function, values, kwargs, parents, results))
    else:
        parts = [wrap(part) for part in out]
    return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)


class Tensor(Operators, absent.Advised, Generic[Numbers]):
    """A variable over a NumPy array; `mg.tensor` and every operation on one make it.

    NumPy's functions, operators and methods work on it, and are recorded if it requires
    a gradient. `backward()` then leaves d(result)/d(leaf) in the `.grad` of each leaf.

    See Also
    --------
    tensor : make one.
    grad : differentiate functions, without Tensors of your own.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> x = mg.tensor([0.0, 1.0], requires_grad=True, name="x")
    >>> y = np.sum(np.exp(x) * 2)
    >>> y.backward()
    >>> x.grad.round(2)
    array([2.  , 5.44])
    """

    __slots__ = ("__weakref__", "_family")
    _node: Node | None

    def __new__(cls, *wrong: Any, **options: Any) -> Self:
        raise TypeError("mg.Tensor is the class; make a tensor with mg.tensor(data, requires_grad=True)")

    # NumPy's protocols

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return apply(function, args, kwargs)

    __primitive__ = staticmethod(apply)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        self._known("np.asarray() (or an index into a plain array)")
        if self.requires_grad:
            raise refusals.plain_array()
        return np.array(self.data, dtype=dtype, copy=copy)

    # Data and properties

    @property
    def data(self) -> npt.NDArray[Any]:
        """The array itself, not a copy; an array that you assign is copied."""
        if self._node is not None and (trace := current().trace) is not None:
            return trace.variable.values_of(self)
        if isinstance(self._array, np.generic):
            self._array = np.asarray(self._array)
        return self._array

    @data.setter
    def data(self, value: npt.ArrayLike) -> None:
        self._set_data(value)

    @traceable
    def _set_data(self, value: npt.ArrayLike) -> None:
        node = self._node
        if node is not None and not isinstance(node, Leaf):
            raise RuntimeError(f"{tape.describe(node)} was computed, so its .data can't be assigned; detach() it first")
        if node is not None and current().is_transformed and not node.data.flags.writeable:
            raise protected(node)
        given = copy_of(value, "an assignment to .data") if isinstance(value, Tensor) else value
        # t.data += v assigns this same array, changed in place
        self._array = array = value if value is self._array else operands.new_data(given, self.shape, self.dtype)
        if isinstance(node, Leaf):
            if node.data is array:
                tape.touch(node)
            node.data, node.position = array, tape.next_position()

    @property
    def grad(self) -> npt.NDArray[Any] | Any:
        """The gradient that `backward()` left, of this shape and dtype, or None."""
        node = self._node
        if type(node) is Leaf:
            return node.grad
        return node.note.grad if node is not None and node.note else None

    @grad.setter
    def grad(self, value: Any) -> None:
        node = self._node
        if type(node) is not Leaf:
            if value is None and node is not None:
                node.annotate().grad = None
                return
            raise RuntimeError("only the .grad of a leaf can be assigned (or None, after retain_grad())")
        if value is not None:
            value = value if isinstance(value, Tensor) else admitted(".grad =", value)
            check_gradient(value, self.shape, self.dtype)
        node.grad = value

    @property
    def name(self) -> str | None:
        """The name in pictures, compiled source and messages."""
        return self._node.name if self._node is not None else None

    @name.setter
    def name(self, value: str | None) -> None:
        name, node = operands.checked_name(value), self._node
        if node is None:
            views.make_leaf(self, False, name)
        else:
            (node if isinstance(node, Leaf) else node.annotate()).name = name

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded; you can set it on a leaf."""
        return self._node is not None and self._node.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        operands.check_requires_grad(value, self.dtype)
        if self._node is None:
            views.make_leaf(self, value)
        elif isinstance(self._node, Leaf):
            self._node.requires_grad = value
        elif not value:
            raise refusals.frozen(tape.describe(self._node))

    @property
    def is_leaf(self) -> bool:
        """Whether you made it, rather than an operation."""
        return self._node is None or isinstance(self._node, Leaf)

    def numpy(self) -> npt.NDArray[Any]:
        """Return the array, or raise if that would lose a gradient.

        Then write `t.data` or `t.detach().numpy()`.
        """
        return self.__array__()

    def detach(self) -> Tensor:
        """Return a Tensor over the same array that is cut off from the tape."""
        if (trace := current().trace) is not None:
            return trace.variable.detach(self)
        result = wrap(self._array)
        if isinstance(self._array, np.ndarray):
            views.share(result, (self,))
        return result

    # Derivatives

    def backward(
        self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False, **wrong: Never
    ) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf behind this tensor.

        Parameters
        ----------
        gradient : array_like, optional
            The cotangent to start from, of this tensor's shape. By default 1, for a
            tensor of a single element.
        retain_graph : bool
            Keep the arrays of the recorded operations, so that `backward()` can be
            called again.
        create_graph : bool
            Record the backward pass too: the gradients are Tensors that can be
            differentiated in turn.

        Raises
        ------
        RuntimeError
            If the tensor requires no gradient or isn't a scalar, if an earlier call
            freed the arrays, or if a tensor was changed after it had been used.
        ValueError
            If `gradient` doesn't have this tensor's shape.

        Examples
        --------
        >>> import microgradnd as mg
        >>> x = mg.tensor(3.0, requires_grad=True)
        >>> (x * x).backward()
        >>> x.grad
        array(6.)
        """
        if wrong:
            error = TypeError(f"backward() got an unexpected keyword argument {next(iter(wrong))!r}")
            fail(Tensor.backward, (), wrong, error)
        node = self._node
        if node is None or not node.requires_grad:
            raise refusals.nothing_to_differentiate()
        g = gradients.seed(self, gradient)
        if create_graph or current().trace is not None:
            with enable_grad() if create_graph else no_grad():  # a trace records both
                seed = g if isinstance(g, Tensor) else wrap(g)
                # only leaves, without a path
                ends = gradients.backward([(node, seed)], create_graph or retain_graph, lift)
        else:
            g = g.data if gradient is not None and isinstance(g, Tensor) else g
            ends = gradients.backward([(node, g)], retain_graph)
            del g  # so that a leaf may keep it without a copy
        if retain_graph and type(node) is Operation:
            node.annotate().is_walked = True
        gradients.accumulate(ends)

    def register_hook(self, hook: Callable[[Any], Any]) -> Handle:
        """Call `hook(gradient)` whenever this tensor's gradient is known.

        Parameters
        ----------
        hook : callable
            Receives the gradient, an array of this tensor's shape. Its return value
            replaces the gradient, unless it is None.

        Returns
        -------
        Handle
            Call its `remove()` to remove the hook.
        """
        if self._node is None or not self._node.requires_grad:
            raise refusals.nothing_to_hook()
        return Handle(self._node, hook)

    def retain_grad(self) -> None:
        """Keep the gradient of this tensor in `.grad`, as leaves always do."""
        if self._node is None or not self._node.requires_grad:
            raise RuntimeError("retain_grad() on a tensor that requires no gradient, so there is none to keep")
        if not isinstance(self._node, Leaf):
            self._node.annotate().retain_grad = True


absent.advise(Tensor, (*absent.OF_TENSOR, *absent.OF_NUMPY))
