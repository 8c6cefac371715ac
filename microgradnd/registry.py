"""The one global table of derivative rules, by function.

Owns: the table, and the few functions that define rules.
Must not own: any rule (those live in `rules/`), and any knowledge of `Tensor`.
Read next: `rules/elementwise.py` for examples of rules, then `tape.py`, which uses
them.

A rule is plain NumPy. The VJP (vector-Jacobian product) rule of one argument takes the
cotangent `g` of the output, the output itself, and the arguments of the call. It
returns the cotangent of that argument:

    defvjp(np.multiply, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)

The JVP (Jacobian-vector product) rule is similar: a tangent `t` of the argument goes
in, and the tangent of the output comes out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from microgradnd import refusals
from microgradnd.annotations import P, R
from microgradnd.failures import as_function, fail

Function = Callable[..., Any]
Rule = Callable[..., Any]

Rules = Any  # a function's entry in the table: a tuple or a Variadic, with one rule per position

VJPS: dict[Function, Rules] = {}
JVPS: dict[Function, Rules] = {}
COMPOSITES: dict[Function, Function] = {}  # functions written with other functions that have rules
PLAIN: set[Function] = set()  # integer or boolean results: plain arrays without derivatives
CONSTANT: set[Function] = set()  # results that depend only on shapes and dtypes
LOOKING: set[Function] = set()  # functions that look at an array's numbers, which Dask would have to compute
BODIES: dict[Function, Function] = {}  # a faster function to call on arrays instead
# Types that can't be Tensors
ORDINARY = {np.ndarray, np.float64, np.float32, float, int, bool, type(None), slice, tuple}
EXCLUDED: dict[Function, str] = {}  # why a function has no derivative here


class Results(tuple[Any, ...]):
    """A function's several results, their cotangents or tangents; None is a zero."""

    shape = dtype = base = None

    def __add__(self, other: Any) -> Results:
        return Results(b if a is None else a if b is None else a + b for a, b in zip(self, other, strict=True))

    def filled(self, out: Results) -> Results:
        """Replace each None with zeros of the result's shape."""
        return Results(np.zeros_like(o) if part is None else part for part, o in zip(self, out, strict=True))


class Variadic:
    """One rule for every position, which it takes as its first argument.

    For `np.einsum` and similar functions.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def __getitem__(self, position: int, /) -> Rule:
        return functools.partial(self.rule, position)

    def __len__(self) -> int:
        return 2**31


class Joint(Variadic):
    """One rule for all positions, called once: n arrays would otherwise take n calls.

    The VJP rule returns a sequence with the cotangent of each argument, None for an
    argument without one. The JVP rule takes a list with the tangent of each argument,
    None for an argument without one.
    """

    def __getitem__(self, position: int, /) -> Rule:
        return lambda *call, **kwargs: self.rule(*call, **kwargs)[position]  # for pictures, which ask for one position


class Placed(tuple[Rule, ...]):
    """The rules of a function that reads only some places of its first argument.

    The cotangent is zero elsewhere. `add(total, g, *args)` adds it in place to an array
    of the walk's own, and returns whether it could. A backward pass through n parts of
    an array then takes the time of one array, not n.
    """

    add: Callable[..., bool]


def defvjp(function: Function, *rules: Rule | None) -> None:
    """Define the reverse-mode rules of a function, one per positional argument.

    Parameters
    ----------
    function : callable
        A NumPy function, or one made by `primitive`.
    *rules : callable or None
        `rule(g, out, *args, **kwargs)` returns the cotangent of its argument, in the
        argument's shape or in the shape that it was broadcast to. Pass None for an
        argument without a derivative. For an argument that is a list of arrays, the
        rule returns a list of cotangents.

    See Also
    --------
    primitive : makes an operation.
    defjvp : forward mode.
    elementwise, linear : both at once.
    testing.check_grads : compares a rule with finite differences.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> @mg.primitive
    ... def cube(x):
    ...     return x**3
    >>> mg.defvjp(cube, lambda g, out, x: g * 3 * x**2)
    >>> float(mg.grad(cube)(2.0))
    12.0
    """
    check_recordable("defvjp", function)
    VJPS[function] = tuple(as_function(r or _no_rule(VJPS, function, i), "defvjp: a rule") for i, r in enumerate(rules))


def defjvp(function: Function, *rules: Rule | None) -> None:
    """Define the forward-mode rules of a function, one per positional argument.

    Parameters
    ----------
    function : callable
        A NumPy function, or one made by `primitive`.
    *rules : callable or None
        `rule(t, out, *args, **kwargs)` returns the output's tangent for a tangent `t`
        of its argument; the contributions of all arguments are added. Pass None for an
        argument without a derivative.

    See Also
    --------
    defvjp : reverse mode.
    elementwise, linear : both at once.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> @mg.primitive
    ... def double(x):
    ...     return 2 * x
    >>> mg.defjvp(double, lambda t, out, x: 2 * t)
    >>> value, tangent = mg.jvp(double, (3.0,), (1.0,))
    >>> float(tangent)
    2.0
    """
    check_recordable("defjvp", function)
    VJPS.setdefault(function, ())  # so that calls are recorded
    JVPS[function] = tuple(as_function(r or _no_rule(JVPS, function, i), "defjvp: a rule") for i, r in enumerate(rules))


def check_recordable(word: str, function: Any) -> None:
    """Raise unless calls of a function reach the tape, as a NumPy function's do."""
    owner = getattr(function, "__self__", function)  # np.add for np.add.reduce
    of_numpy = isinstance(function, type(np.sum))  # functions of this class hand their operands over, as ufuncs do
    if not callable(function) or not (isinstance(owner, np.ufunc) or of_numpy or hasattr(function, "body")):
        raise refusals.not_recorded(word, name_of(function))


def elementwise(function: Function, *rules: Rule | None) -> None:
    """Define rules for both modes: a diagonal Jacobian is its own transpose."""
    defvjp(function, *rules)
    defjvp(function, *rules)


def linear(function: Function, *rules: Rule | None) -> None:
    """Define VJP rules of a linear function: its JVP is the function itself.

    It must be linear in each argument that has a rule.
    """

    def apply_to_tangent(position: int) -> Rule:
        def rule(t: Any, out: Any, *args: Any, **kwargs: Any) -> Any:
            return function(*args[:position], t, *args[position + 1 :], **kwargs)

        return rule

    defvjp(function, *rules)
    defjvp(function, *(apply_to_tangent(i) if rule else None for i, rule in enumerate(rules)))


def variadic(function: Function, vjp: Rule, jvp: Rule | None = None) -> None:
    """Define rules that serve every position, which is their first argument."""
    VJPS[function] = Variadic(vjp)
    if jvp is not None:
        JVPS[function] = Variadic(jvp)


def composite(function: Function) -> Callable[[Function], Function]:
    """Define a NumPy function by others, where that is simpler than a rule."""

    def enter(spelling: Function) -> Function:
        # inspect.signature would take a fifth of the import's time
        code = getattr(getattr(spelling, "__wrapped__", spelling), "__code__", None)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code else ()
        COMPOSITES[function] = _without_out(function, spelling, names.index("out")) if "out" in names else spelling
        return spelling

    return enter


def _without_out(function: Function, spelling: Function, slot: int) -> Function:
    """Refuse the `out` parameter of a definition.

    It is there only so that the other parameters have NumPy's positions.
    """

    @functools.wraps(spelling)
    def call(*args: Any, **kwargs: Any) -> Any:
        if (args[slot] if len(args) > slot else kwargs.get("out")) is not None:
            raise refusals.fills_out(name_of(function))
        return spelling(*args, **kwargs)

    return call


def plain(functions: Iterable[Any]) -> None:
    """Define functions with integer or boolean results: plain arrays come out."""
    PLAIN.update(functions)


def constant(functions: Iterable[Any]) -> None:
    """Define functions of shapes and dtypes: they return Tensors without history."""
    CONSTANT.update(functions)


def exclude(reason: str, functions: Iterable[Any]) -> None:
    """Define functions without a derivative here, with the reason for the message."""
    EXCLUDED.update(dict.fromkeys(functions, reason))


def name_of(function: Function) -> str:
    """Return a function's name for messages and pictures."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", None) or repr(function)
    return f"{owner.__name__}.{name}" if isinstance(owner, np.ufunc) else name


def rule_for(table: dict[Function, Rules], function: Function, position: int) -> Rule:
    """Return a rule from a table; if there is none, one that raises."""
    rules = table.get(function, ())
    return rules[position] if position < len(rules) else _no_rule(table, function, position)


def has_rule(function: Function, position: int) -> bool:
    """Return whether an argument has a derivative, so it is an array, not an option."""
    rules = VJPS.get(function, ())
    return isinstance(rules, tuple) and position < len(rules) and rules[position].__name__ != "missing"


def _no_rule(table: dict[Function, Rules], function: Function, position: int) -> Rule:
    def missing(*_: Any, **__: Any) -> Any:
        raise refusals.constant_argument(name_of(function), position, "defvjp" if table is VJPS else "defjvp")

    return missing


def primitive(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function of arrays an operation: recorded as one step, with its own rule.

    Parameters
    ----------
    function : callable
        Plain NumPy: it is called on the arrays behind its Tensors. Array arguments are
        positional.

    Returns
    -------
    callable
        The same function, which is recorded when an argument is a Tensor.

    See Also
    --------
    defvjp, defjvp : define its rules.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> @mg.primitive
    ... def softplus(x):
    ...     return np.logaddexp(0, x)
    >>> mg.defvjp(softplus, lambda g, out, x: g / (1 + np.exp(-x)))
    >>> float(mg.grad(softplus)(0.0))
    0.5
    """

    @functools.wraps(as_function(function, "mg.primitive: function"))
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        for arg in (*args, *kwargs.values()) if kwargs else args:
            if type(arg) not in ORDINARY and (record := getattr(type(arg), "__primitive__", None)) is not None:
                return record(call, args, kwargs)
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            fail(call, args, kwargs, error)

    call.body = BODIES[call] = function  # type: ignore[attr-defined]  # for the compiler, which traces it
    return call
