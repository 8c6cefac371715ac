"""From an error to its advice.

Owns: attaching advice to errors: of calls that don't fit a signature, of arguments that
must be functions, of missing attributes, of operations, of derivative rules.
Must not own: the text of the advice (`advice.py`, loaded when something has failed).
Read next: `advice.py`.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from microgradnd.annotations import P, R

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Make wrong keywords and numbers of arguments raise an error with the right ones.

    Examples
    --------
    >>> from microgradnd.failures import explained
    >>> @explained
    ... def scaled(x, factor=2.0):
    ...     return factor * x
    >>> scaled(3.0, faktor=5.0)
    Traceback (most recent call last):
    TypeError: scaled takes no keyword 'faktor'; write factor= instead (...)
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:  # from inside the function
                raise
            fail(function, args, kwargs, error)

    return call


def all_explained(cls: type[T]) -> type[T]:
    """Make a call that fits no signature of a class's public methods raise such errors.

    Methods of subclasses aren't changed.
    """
    for name, method in list(vars(cls).items()):
        if isinstance(method, types.FunctionType) and not name.startswith("_") and name != "forward":
            setattr(cls, name, explained(method))
    return cls


def as_function(given: F, what: str) -> F:
    """Return a function that was passed, or raise if it isn't one.

    Examples
    --------
    >>> from microgradnd.failures import as_function
    >>> as_function(3.0, "grad: f")
    Traceback (most recent call last):
    TypeError: grad: f must be a function, got 3.0; pass the function itself, ...
    """
    if not callable(given):
        raise TypeError(f"{what} must be a function, got {given!r:.60}; pass the function itself, not a result of it")
    return given


def fail(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> NoReturn:
    """Raise the error of a call again, with its operands, its line and the remedy."""
    from microgradnd.advice import by_blocks, failed_call

    better = by_blocks(function, args, error) or failed_call(function, args, kwargs, error)
    try:
        if better is None:
            raise error
        raise better from None  # it includes NumPy's message
    finally:
        del better, error  # or they would hold this frame, and it them


def fail_rule(node: Any, position: int, mode: str, error: Exception) -> NoReturn:
    """Raise the error of a derivative rule again, with what the rule must return."""
    from microgradnd.advice import by_blocks, failed_rule

    better = by_blocks(node.function, node.args or (), error) or failed_rule(node, position, mode, error)
    try:
        if better is None:
            raise error
        raise better from None
    finally:
        del better, error


def fail_member(thing: Any, name: str) -> Any:
    """Raise the error of a missing attribute, with the one that was meant.

    A class uses it as its `__getattr__`.
    """
    if hasattr(type(thing), name):  # a property that raised it
        return object.__getattribute__(thing, name)
    if name.startswith("_"):  # Python and NumPy look for their protocols
        raise AttributeError(name)
    from microgradnd.advice import missing_member

    raise missing_member(thing, name)
