"""From an error to its advice.

Owns: where an error gets its advice: of calls that don't fit a signature, of missing
attributes, of operations, of derivative rules.
Must not own: the text of the advice (`advice.py`, which is loaded when something has
failed).
Read next: `advice.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from microgradnd.annotations import P, R


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Have a call with a wrong keyword or a wrong number of arguments raise an error
    that names the right ones.

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
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:  # from inside of the function
                raise
            fail(function, args, kwargs, error)

    return call


def fail(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> NoReturn:
    """Raise the error of a call again, with the operands, the line, and what to do
    about it.
    """
    from microgradnd.advice import by_blocks, failed_call

    better = by_blocks(function, args, error) or failed_call(function, args, kwargs, error)
    try:
        if better is None:
            raise error
        raise better from None  # it says what NumPy's said
    finally:
        del better, error  # or they would hold this frame, and it them


def fail_rule(node: Any, position: int, mode: str, error: Exception) -> NoReturn:
    """Raise the error of a derivative rule again, with what the rule must take and
    return.
    """
    from microgradnd.advice import by_blocks, failed_rule

    better = by_blocks(node.function, node.args or (), error) or failed_rule(node, position, mode, error)
    try:
        if better is None:
            raise error
        raise better from None
    finally:
        del better, error


def fail_member(thing: Any, name: str) -> Any:
    """Raise the error of an attribute that an object hasn't, with the one that was
    meant: its `__getattr__`.
    """
    if hasattr(type(thing), name):  # a property, whose own error it is
        return object.__getattribute__(thing, name)
    if name.startswith("_"):  # Python and NumPy probe for their protocols
        raise AttributeError(name)
    from microgradnd.advice import missing_member

    raise missing_member(thing, name)
