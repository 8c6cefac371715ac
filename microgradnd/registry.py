"""Which derivative rule belongs to which function: the one global table.

Owns: the table, and the few words in which rules are entered.
Must not own: any rule (those live in `rules/`), and any knowledge of `Tensor`.
Read next: `rules/elementwise.py` for what the entries look like, then `tape.py`, which
uses them.

A rule is plain NumPy. The VJP (vector-Jacobian product) rule of one argument takes the
cotangent `g` of the output, the output itself, and the arguments of the call, and
returns the cotangent of that argument:

    defvjp(np.multiply, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)

The JVP (Jacobian-vector product) rule is the same with a tangent `t` of the argument
going in and the tangent of the output coming out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from microgradnd import refusals
from microgradnd.annotations import P, R
from microgradnd.failures import fail

Function = Callable[..., Any]
Rule = Callable[..., Any]

Rules = Any  # what the table holds for a function: something with one rule per position, a tuple or a Variadic

VJPS: dict[Function, Rules] = {}
JVPS: dict[Function, Rules] = {}
COMPOSITES: dict[Function, Function] = {}  # spelled in functions that have rules
PLAIN: set[Function] = set()  # integer or boolean results: plain arrays, nothing to differentiate
CONSTANT: set[Function] = set()  # results that depend on nothing but shapes and dtypes
LOOKING: set[Function] = set()  # functions that go by the numbers in an array, which Dask would have to compute
BODIES: dict[Function, Function] = {}  # what to call on arrays for a function, where that is quicker than itself
ORDINARY = {np.ndarray, np.float64, np.float32, float, int, bool, type(None), tuple}  # types that can't be Tensors
EXCLUDED: dict[Function, str] = {}  # why a function has no derivative here


class Results(tuple[Any, ...]):
    """The results of a function that has several, or their cotangents or tangents,
    where None stands for zero.
    """

    shape = dtype = base = None

    def __add__(self, other: Any) -> Results:
        return Results(b if a is None else a if b is None else a + b for a, b in zip(self, other, strict=True))

    def filled(self, out: Results) -> Results:
        """Replace each None by zeros shaped like the result."""
        return Results(np.zeros_like(o) if part is None else part for part, o in zip(self, out, strict=True))


class Variadic:
    """One rule for every position, told which one as its first argument (for
    `np.einsum` and its like).
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def __getitem__(self, position: int, /) -> Rule:
        return functools.partial(self.rule, position)

    def __len__(self) -> int:
        return 2**31


class Joint(Variadic):
    """One rule for all positions, called once: what takes n arrays would else take n
    calls with n arguments each.

    The VJP rule returns a sequence with the cotangent of each argument, None for one
    without; the JVP rule is given a list with the tangent of each argument, None for
    one without.
    """

    def __getitem__(self, position: int, /) -> Rule:
        return lambda *call, **kwargs: self.rule(*call, **kwargs)[position]  # for pictures, which ask for one


class Placed(tuple[Rule, ...]):
    """The rules of a function that reads only some places of its first argument, whose
    cotangent is zero elsewhere.

    `add(total, g, *args)` adds that in place to an array of the walk's own, and returns
    whether it could. So a loop over n parts of an array goes backwards in the time of
    one array instead of n.
    """

    add: Callable[..., bool]


def defvjp(function: Function, *rules: Rule | None) -> None:
    """Enter the reverse-mode rules of a function, one for each positional argument.

    Parameters
    ----------
    function : callable
        A NumPy function, or one made by `primitive`.
    *rules : callable or None
        `rule(g, out, *args, **kwargs)` returns the cotangent of its argument, with the
        argument's shape or with the shape that it was broadcast to. None for an
        argument without derivative. For an argument that is a list of arrays, the rule
        returns a list of cotangents.

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
    if hasattr(function, "body"):
        BODIES[function] = function.body
    VJPS[function] = tuple(rule or _no_rule(VJPS, function, i) for i, rule in enumerate(rules))


def defjvp(function: Function, *rules: Rule | None) -> None:
    """Enter the forward-mode rules of a function, one for each positional argument.

    Parameters
    ----------
    function : callable
        A NumPy function, or one made by `primitive`.
    *rules : callable or None
        `rule(t, out, *args, **kwargs)` returns the tangent of the output that a tangent
        `t` of its argument causes; the contributions of all arguments are added. None
        for an argument without derivative.

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
    if hasattr(function, "body"):
        BODIES[function] = function.body
    VJPS.setdefault(function, ())  # so that calls are recorded
    JVPS[function] = tuple(rule or _no_rule(JVPS, function, i) for i, rule in enumerate(rules))


def check_recordable(word: str, function: Any) -> None:
    """Raise unless calls of a function reach the tape: a NumPy function, a ufunc, or
    one made by `primitive`.
    """
    owner = getattr(function, "__self__", function)  # np.add, for np.add.reduce
    of_numpy = (getattr(function, "__module__", None) or "").partition(".")[0] == "numpy"
    if not callable(function) or not (isinstance(owner, np.ufunc) or of_numpy or hasattr(function, "body")):
        raise refusals.not_recorded(word, name_of(function))


def elementwise(function: Function, *rules: Rule | None) -> None:
    """Enter rules that serve both modes: an elementwise Jacobian is diagonal, so it is
    its own transpose.
    """
    defvjp(function, *rules)
    defjvp(function, *rules)


def linear(function: Function, *rules: Rule | None) -> None:
    """Enter the VJP rules of a function linear in each argument that has one: its JVP
    is the function itself.
    """

    def apply_to_tangent(position: int) -> Rule:
        def rule(t: Any, out: Any, *args: Any, **kwargs: Any) -> Any:
            return function(*args[:position], t, *args[position + 1 :], **kwargs)

        return rule

    defvjp(function, *rules)
    defjvp(function, *(apply_to_tangent(i) if rule else None for i, rule in enumerate(rules)))


def variadic(function: Function, vjp: Rule, jvp: Rule | None = None) -> None:
    """Enter rules that serve every position, which they are told as their first
    argument.
    """
    VJPS[function] = Variadic(vjp)
    if jvp is not None:
        JVPS[function] = Variadic(jvp)


def composite(function: Function) -> Callable[[Function], Function]:
    """Spell a NumPy function in other NumPy functions, where that is simpler than a
    rule of its own.
    """

    def enter(spelling: Function) -> Function:
        # inspect.signature would take a fifth of the time of the import
        code = getattr(getattr(spelling, "__wrapped__", spelling), "__code__", None)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code else ()
        COMPOSITES[function] = _without_out(function, spelling, names.index("out")) if "out" in names else spelling
        return spelling

    return enter


def _without_out(function: Function, spelling: Function, slot: int) -> Function:
    """Refuse the `out` that a spelling takes, so that its other parameters have NumPy's
    positions, but cannot fill.
    """

    @functools.wraps(spelling)
    def call(*args: Any, **kwargs: Any) -> Any:
        if (args[slot] if len(args) > slot else kwargs.get("out")) is not None:
            raise refusals.fills_out(name_of(function))
        return spelling(*args, **kwargs)

    return call


def plain(functions: Iterable[Any]) -> None:
    """Enter functions whose results are integers or booleans: they are called on the
    arrays and give arrays.
    """
    PLAIN.update(functions)


def constant(functions: Iterable[Any]) -> None:
    """Enter functions whose results depend on shapes and dtypes only: Tensors without
    history, to be assigned to.
    """
    CONSTANT.update(functions)


def exclude(reason: str, functions: Iterable[Any]) -> None:
    """Enter functions that have no derivative here, with the reason that a user will
    read.
    """
    EXCLUDED.update(dict.fromkeys(functions, reason))


def name_of(function: Function) -> str:
    """Return the name under which a function is known, for messages and pictures."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", None) or repr(function)
    return f"{owner.__name__}.{name}" if isinstance(owner, np.ufunc) else name


def rule_for(table: dict[Function, Rules], function: Function, position: int) -> Rule:
    """Return one rule from a table; where there is none, one that raises and says
    so.
    """
    rules = table.get(function, ())
    return rules[position] if position < len(rules) else _no_rule(table, function, position)


def has_rule(function: Function, position: int) -> bool:
    """Return whether an argument can be differentiated: then it is an array, not an
    option.
    """
    rules = VJPS.get(function, ())
    return isinstance(rules, tuple) and position < len(rules) and rules[position].__name__ != "missing"


def _no_rule(table: dict[Function, Rules], function: Function, position: int) -> Rule:
    def missing(*_: Any, **__: Any) -> Any:
        raise refusals.constant_argument(name_of(function), position, "defvjp" if table is VJPS else "defjvp")

    return missing


def primitive(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function of arrays an operation of its own, to be recorded as one step and
    given a rule.

    Parameters
    ----------
    function : callable
        Plain NumPy: it is called on the arrays of the Tensors that it is given. Array
        arguments are positional.

    Returns
    -------
    callable
        The same function, which records itself when an argument is a Tensor.

    See Also
    --------
    defvjp, defjvp : enter its rules.

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

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        for arg in (*args, *kwargs.values()) if kwargs else args:
            if type(arg) not in ORDINARY and (record := getattr(type(arg), "__primitive__", None)) is not None:
                return record(call, args, kwargs)
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            fail(call, args, kwargs, error)

    call.body = function  # type: ignore[attr-defined]  # for the compiler, which looks inside
    return call
