"""The paths of layers in a network: in error messages, and as names of scopes.

Owns: the path that is put before one of our messages on its way up through the calls of
modules; scopes that are named by paths.
Must not own: the messages.
Read next: `module.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from microgradnd.lines import is_users
from microgradnd.scopes import scope
from microgradnd.signatures import check_call, signature_of

if TYPE_CHECKING:
    from microgradnd.nn.module import Module

NAMED = (TypeError, ValueError, IndexError)  # our own errors about the arguments of a layer


def name_layer(error: Exception, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Put a layer's path before the message of an error that leaves a module's call.

    The innermost module records itself on the error. Each module around it that
    contains this layer then puts a longer path before the message. Errors raised by the
    user's own code don't change. If the call's arguments don't fit `forward()`, the
    message says what fits.
    """
    found = vars(error).get("_layer")
    if found is None:
        if isinstance(error, TypeError) and is_misfit(error):
            error.args = (misfit(module, args, kwargs) or misfit_of_hook(module, error),)
        ours = type(error) in NAMED and len(error.args) == 1 and isinstance(error.args[0], str) and is_ours(error)
        error._layer = (module, error.args[0] if ours else None)  # type: ignore[attr-defined]
    elif found[1] is not None and (path := path_of(found[0], module)):
        error.args = (f"{path}: {found[1]}",)


def is_misfit(error: Exception) -> bool:
    """Return whether a module's own call failed before any code of `forward()` ran."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_name in ("_call", "_hooked"):
        traceback = traceback.tb_next
    return traceback is None


def misfit(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return why arguments don't fit a module's `forward()`; "" if they do."""
    try:
        check_call(type(module), args, kwargs, "; it passes them to forward()", signature_of(module.forward))
    except TypeError as error:
        return f"a call of {error}"
    return ""


def misfit_of_hook(module: Module, error: Exception) -> str:
    """Return an error's message; if a hook raised it, what hooks are called with."""
    if not module.forward_hooks:
        return str(error)
    return (
        f"a hook of {type(module).__name__} must take (module, args) if it is called before forward(), and "
        f"(module, args, out) after it"
    )


def is_ours(error: Exception) -> bool:
    """Return whether an error was raised by a library, not by the user's code."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and not is_users(traceback.tb_frame.f_code)


def path_of(layer: Module, module: Module) -> str:
    """Return the path of a layer in a module, "" if it isn't there."""
    todo, seen = [("", module)], {id(module)}
    while todo:
        path, parent = todo.pop()
        for name, child in parent.named_children():
            where = f"{path}.{name}" if path else name
            if child is layer:
                return where
            if id(child) not in seen:
                seen.add(id(child))
                todo.append((where, child))
    return ""


@contextlib.contextmanager
def scoped(model: Module) -> Iterator[None]:
    """Make each call of a module in a network a `scope` named by the module's path."""
    modules = [(path, module) for path, module in model.named_modules() if "forward" not in vars(module)]
    try:
        for path, module in modules:
            vars(module)["forward"] = scope(path or type(module).__name__)(module.forward)
        yield
    finally:
        for _, module in modules:
            vars(module).pop("forward", None)
