"""Results of compiled functions on the tape.

Owns: the operation that stands for a whole call of a compiled function whose results
depend on variables that require a gradient.
Must not own: how a function is called again for its derivative (`../recompute.py`).
Read next: `../recompute.py`.

You can differentiate such a result as without `mg.compile`: its operation keeps the
arguments, and calls the function again in the backward pass, like `mg.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from microgradnd.compiler.arguments import Arguments
from microgradnd.compiler.recorder import Setting
from microgradnd.compiler.trace import Traced
from microgradnd.modes import enable_grad
from microgradnd.operands import COPIED, sample
from microgradnd.recompute import Again, Call, recompute
from microgradnd.registry import Results
from microgradnd.tape import Leaf, current
from microgradnd.tensor import Tensor, lift
from microgradnd.trees import flatten, is_module


def recorded(results: Any, entry: Any, function: Callable[..., Any], arguments: Arguments) -> Any:
    """Return a call's results, those that depend on variables on the tape."""
    traced = entry.traced
    leaves, form = flatten(results, is_module) if traced.form is None else (list(results), traced.form)
    nodes = [arguments.leaves[x]._node if type(x) is int else x for x in traced.sources]
    values = [node.data if isinstance(node, Leaf) else node.out for node in nodes]
    call = Call(again(entry, function, arguments), nodes, exact=False)
    out = Results(x for x, is_tracked in zip(leaves, traced.differentiable, strict=True) if is_tracked)
    with enable_grad():  # the function may do so under `no_grad`
        record: Any = current().record
        parts = iter(lift(out, record(recompute, (call, *values), {}, (None, *nodes), out)))
    leaves = [next(parts) if is_tracked else x for x, is_tracked in zip(leaves, traced.differentiable, strict=True)]
    return form.rebuild(leaves)


def instead(function: Callable[..., Any], arguments: Arguments) -> Any:
    """Return what the function itself does in a call whose program has failed."""
    args, kwargs = arguments.rebuilt({})
    leaves, form = flatten(function(*args, **kwargs), is_module)
    return form.rebuild([x.copy() if isinstance(x, np.ndarray) else x for x in leaves])


def again(entry: Any, function: Callable[..., Any], arguments: Arguments) -> Callable[[], Any]:
    """Return a function that repeats a call, and returns the tracked results."""
    traced, name = entry.traced, getattr(function, "__name__", "the function")
    kept = {
        i: x.copy() if x.nbytes <= COPIED else x for i, x in enumerate(arguments.leaves) if isinstance(x, np.ndarray)
    }
    # The function may use a passed variable where nothing is tracked: after .detach()
    # or under no_grad.
    passed = [x._node for x in arguments.leaves if isinstance(x, Tensor) and type(x._node) is Leaf]
    seen = state(kept, passed, traced)

    def call() -> Any:
        leaves = any(not isinstance(thing, Setting) for thing, _ in traced.left)
        if leaves or not entry.can_repeat():
            raise RuntimeError(
                f"a result of {name}, which is compiled, can't be differentiated afterwards: {name} changes variables "
                f"or draws, and would do so again; take the gradient inside it, or return .detach()"
            )
        changed = state(kept, passed, traced) != seen
        if changed or (changes := entry.changes()):
            what = "an argument or a variable" if changed else repr(changes[0])
            raise RuntimeError(
                f"{what} of {name}, which is compiled, was changed after the call, so this gradient would be wrong; "
                f"differentiate before that, or pass a copy (x.copy())"
            )
        args, kwargs = arguments.rebuilt(kept)
        with Again(entry.mode):
            return [x for x in flatten(function(*args, **kwargs))[0] if isinstance(x, Tensor) and x.requires_grad]

    return call


def state(kept: dict[int, Any], passed: list[Leaf], traced: Traced) -> list[Any]:
    """Return a key that shows whether a call's arguments and captures have changed."""
    arrays = [x if isinstance(x, np.ndarray) else x.data for x in traced.captured if type(x) is not Leaf]
    variables = [*passed, *(x for x in traced.captured if type(x) is Leaf)]
    return [*(sample(x) for x in (*kept.values(), *arrays) if x is not None), *(x.position for x in variables)]
