"""Which layer of a network an error comes from.

Owns: the path that a message of ours gets on its way up through the calls of modules;
scopes that are named by paths.
Must not own: the messages.
Read next: `module.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from microgradnd.lines import is_users
from microgradnd.scopes import scope

if TYPE_CHECKING:
    from microgradnd.nn.module import Module

NAMED = (TypeError, ValueError, IndexError)  # of our own errors: those about what a layer was given


def name_layer(error: Exception, module: Module) -> None:
    """Have the message of an error that passes through a module's call begin with the
    layer's path in that module.

    The innermost module notes itself on the error, and each one around it that knows
    that layer puts a longer path before the message. What the user's own code raises
    stays as it is.
    """
    found = vars(error).get("_layer")
    if found is None:
        ours = type(error) in NAMED and len(error.args) == 1 and isinstance(error.args[0], str) and is_ours(error)
        error._layer = (module, error.args[0] if ours else None)  # type: ignore[attr-defined]
    elif found[1] is not None and (path := path_of(found[0], module)):
        error.args = (f"{path}: {found[1]}",)


def is_ours(error: Exception) -> bool:
    """Return whether an error was raised in a library's code, not the user's."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and not is_users(traceback.tb_frame.f_code)


def path_of(layer: Module, module: Module) -> str:
    """Return the path of a layer in a module, "" if it isn't there, without a look at
    anything but modules.
    """
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
    """Within it, each call of a module in a network is a `scope` that has the module's
    path for a name.
    """
    modules = [(path, module) for path, module in model.named_modules() if "forward" not in vars(module)]
    try:
        for path, module in modules:
            vars(module)["forward"] = scope(path or type(module).__name__)(module.forward)
        yield
    finally:
        for _, module in modules:
            vars(module).pop("forward", None)
