"""The check that the arguments of a class fit, in the user's words.

Owns: the message for arguments that a class doesn't take.
Must not own: what the arguments must be (each class checks its own).
Read next: `nn/module.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def signature_of(function: Callable[..., Any], after: int = 0) -> inspect.Signature:
    """Return the signature of a function after some parameters, without types."""
    signature = inspect.signature(function)
    shown = [p.replace(annotation=p.empty) for p in list(signature.parameters.values())[after:]]
    return signature.replace(parameters=shown, return_annotation=signature.empty)


def check_call(
    cls: type[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    advice: str = "",
    signature: inspect.Signature | None = None,
) -> None:
    """Raise unless a class accepts these arguments.

    Parameters
    ----------
    cls : type
        The class.
    args, kwargs : tuple, dict
        The arguments of the call.
    advice : str
        The remedy, for the message.
    signature : inspect.Signature, optional
        The signature, by default that of its `__init__`.

    Raises
    ------
    TypeError
        If the arguments don't fit.
    """
    signature = signature or signature_of(cls.__init__, 1)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        own = signature.parameters
        stray = {name: f"{name}={value!r}" for name, value in kwargs.items() if name not in own}
        if stray:
            from microgradnd.advice import instead_of  # needed only when something is wrong

            remedy = instead_of(next(iter(stray)), list(own)) or "leave it out"
            what = f"got {', '.join(stray.values())}; {remedy}"
        elif "missing" in str(error):
            what = str(error).replace("missing a required argument:", "but the call lacks")
        else:
            what = f"got {len(args)} positional argument{'s' * (len(args) > 1)}"
        takes = f"takes {signature}" if own else "takes no arguments"
        raise TypeError(f"{cls.__name__} {takes}, {what}{advice}") from None
