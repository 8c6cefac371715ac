"""Whether the arguments of a call fit, told in the words of the class that is made.

Owns: the message for arguments that a class doesn't take.
Must not own: what the arguments must be (each class checks its own).
Read next: `nn/module.py`.
"""

from __future__ import annotations

import inspect
from typing import Any


def signature_of(cls: type[Any]) -> inspect.Signature:
    """Return what a class is made with."""
    signature = inspect.signature(cls.__init__)
    return signature.replace(
        parameters=[
            parameter.replace(annotation=parameter.empty) for parameter in list(signature.parameters.values())[1:]
        ],
        return_annotation=signature.empty,
    )


def check_call(
    cls: type[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    advice: str = "",
    signature: inspect.Signature | None = None,
) -> None:
    """Raise unless a class can be made with these arguments.

    Parameters
    ----------
    cls : type
        The class.
    args, kwargs : tuple, dict
        What it was called with.
    advice : str
        What to do instead, for the message.
    signature : inspect.Signature, optional
        What it takes, by default what its `__init__` takes.

    Raises
    ------
    TypeError
        If they don't fit.
    """
    signature = signature or signature_of(cls)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        own = signature.parameters
        stray = {name: f"{name}={value!r}" for name, value in kwargs.items() if name not in own}
        if stray:
            from microgradnd.advice import instead_of  # it isn't needed until something is wrong

            remedy = instead_of(next(iter(stray)), list(own))
            what = f"got {', '.join(stray.values())}{remedy and f'; {remedy}'}"
        elif "missing" in str(error):
            what = str(error).replace("missing a required argument", "which lacks")
        else:
            what = f"got {len(args)} positional argument{'s' * (len(args) > 1)}"
        takes = f"takes {signature}" if own else "takes no arguments"
        raise TypeError(f"{cls.__name__} {takes}, {what}{advice}") from None
