"""Recompute instead of remember: less memory, for a second forward pass.

Owns: `checkpoint`.
Must not own: the walks (`tape.py`), or tracing a call (`transforms.py`).
Read next: `transforms.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from microgradnd import gradients, tape
from microgradnd.annotations import P, R
from microgradnd.failures import as_function, explained
from microgradnd.matching import name_of_function, plain
from microgradnd.modes import Recording, enable_grad, no_grad
from microgradnd.registry import JVPS, VJPS, Joint, Results, Variadic, primitive
from microgradnd.tape import Leaf, Mode, Node, Operation, Path, current
from microgradnd.tensor import Tensor, lift
from microgradnd.transforms import Trace, traced
from microgradnd.trees import flatten, is_module

AGAIN: ContextVar[bool] = ContextVar("again", default=False)


def is_again() -> bool:
    """Return whether a function runs once more, for a walk over the tape.

    A layer that counts its batches has counted this one.
    """
    return AGAIN.get()


class Again(Recording):
    """The mode in which a function is called again: the one of its first call.

    Whether a number or a copy may lose a derivative depends on it.
    """

    def __init__(self, first: Mode) -> None:
        self.kind = no_grad if first.record is None else enable_grad
        self.is_transformed = first.is_transformed

    def changed(self, mode: Mode) -> Mode:
        return self.kind.key.changed(mode)._replace(is_transformed=self.is_transformed)


class Call:
    """A function to call again, of tracked arguments and variables around it."""

    def __init__(self, function: Callable[..., Any], outside: list[Node], exact: bool = True) -> None:
        self.function = function
        self.outside = outside
        self.exact = exact  # whether the results must be equal to the bit
        self.name = f"checkpoint: {name_of_function(function)}" if exact else name_of_function(function)
        self.memo: tuple[Any, dict[int, Any]] | None = None  # results for the last cotangent, until each is used

    def again(self, inputs: tuple[Any, ...], out: Any) -> tuple[Trace, list[Node], Path]:
        """Call it again; return the trace, the nodes of its inputs, and the path."""
        given = inputs[: len(inputs) - len(self.outside)]
        outer = AGAIN.set(True)
        try:
            trace = traced(self.function, given, {}, range(len(given)))
        finally:
            AGAIN.reset(outer)
        nodes = [*trace.nodes, *self.outside]
        trace.outputs = [out for out in trace.outputs if is_tracked(out)]
        path = Path([out._node for out in trace.outputs], nodes, trace.start)
        is_same = len(out) == len(trace.outputs) and not path.outside
        if not is_same or not all(same(a, b, self.exact) for a, b in zip(trace.outputs, out, strict=True)):
            raise RuntimeError(
                f"{self.name} returned another result when it was called again for the walk over the tape, so this "
                f"derivative would be wrong: something that it captures has changed, or it draws random numbers; pass "
                f"everything that changes as an argument"
            )
        return trace, nodes, path


def same(a: Any, b: Any, exact: bool) -> bool:
    """Return whether results are equal to the bit, or at least in shape and dtype."""
    a, b = plain(a), plain(b)
    return a.shape == b.shape and a.dtype == b.dtype and (not exact or a.tobytes() == b.tobytes())


@primitive
def recompute(call: Call, *inputs: Any) -> Any:
    """Call a function of arrays; the recorded operation keeps only its inputs."""
    with no_grad():
        return Results(plain(out) for out in flatten(call.function(*inputs))[0])


def recompute_cotangent(position: int, g: Any, out: Any, call: Call, *inputs: Any) -> Any:
    """Return an input's cotangent: call the function again, and walk back."""
    if call.memo is None or call.memo[0] is not g:
        recorded = any(isinstance(part, Tensor) for part in (*g, *inputs))
        trace, nodes, path = call.again(inputs, out)
        seeds = [(o._node, part) for o, part in zip(trace.outputs, g, strict=True)]
        with enable_grad() if recorded else no_grad():
            ends = gradients.backward(seeds, recorded, lift if recorded else None, path)
            gradients.run_hooks_of_inputs(trace.nodes, ends)
        call.memo = g, {i + 1: ends[node] for i, node in enumerate(nodes) if node in ends}
    part = call.memo[1].pop(position, None)
    if not call.memo[1]:
        call.memo = None
    return 0 * inputs[position - 1] if part is None else part


def recompute_tangent(tangents: list[Any], out: Any, call: Call, *inputs: Any) -> Any:
    """Return the results' tangents: call the function again, and walk forward."""
    recorded = any(isinstance(part, Tensor) for part in (*tangents, *inputs))
    trace, nodes, _ = call.again(inputs, out)
    moving = {node: t for node, t in zip(nodes, tangents[1:], strict=True) if t is not None}
    path = Path([o._node for o in trace.outputs], moving, trace.start)  # the other inputs have no tangents
    with enable_grad() if recorded else no_grad():
        moved = tape.forward(path, moving, lift if recorded else None)
    return Results(moved.get(o._node, 0 * plain(o)) for o in trace.outputs)


VJPS[recompute], JVPS[recompute] = Variadic(recompute_cotangent), Joint(recompute_tangent)


@explained
def checkpoint(f: Callable[P, R]) -> Callable[P, R]:
    """Return a function like `f` that keeps only its inputs, and recomputes the rest.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, Tensors, or tuples, lists and dicts of them. Each walk
        through it calls it once more. The second call must do the same as the first: no
        random numbers, no side effects.

    Returns
    -------
    callable
        The same function. On the tape, a call of it is one operation, which holds its
        inputs but no intermediate values. Variables that `f` uses without taking them
        as arguments get gradients too.

    See Also
    --------
    compile : plans its own buffers.

    Notes
    -----
    Chen et al. (2016), "Training deep nets with sublinear memory cost".

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> x = mg.tensor([0.5, 1.0], requires_grad=True)
    >>> block = mg.checkpoint(lambda v: np.tanh(np.sin(v) * 3))
    >>> loss = block(block(x)).sum()
    >>> loss.backward()
    >>> step = lambda v: np.tanh(np.sin(v) * 3)
    >>> bool(np.allclose(x.grad, mg.grad(lambda v: step(step(v)).sum())(x.data)))
    True
    """

    @functools.wraps(as_function(f, "checkpoint: f"))
    def checkpointed(*args: P.args, **kwargs: P.kwargs) -> Any:
        if current().record is None or current().trace is not None:  # a compiled program keeps what it needs
            return f(*args, **kwargs)
        leaves, form = flatten(args, is_module)  # a module's parameters are variables around the function
        tracked = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        inputs = [leaves[i] for i in tracked]

        @Again(current())
        def of_inputs(*values: Any) -> Any:
            whole = dict(enumerate(leaves)) | dict(zip(tracked, values, strict=True))
            return f(*form.rebuild([whole[i] for i in range(len(leaves))]), **kwargs)

        trace = traced(of_inputs, inputs, {}, range(len(inputs)))
        out = Results(plain(o) for o in trace.outputs if is_tracked(o))
        if not out:
            return trace.result
        call = Call(of_inputs, trace.path.outside)
        nodes = [*(t._node for t in inputs), *call.outside]
        values = [*(plain(t) for t in inputs), *(n.data if isinstance(n, Leaf) else n.out for n in call.outside)]
        node = (current().record or Operation)(recompute, (call, *values), {}, (None, *nodes), out)
        results = iter(lift(out, node))
        return trace.form_of_outputs.rebuild([next(results) if is_tracked(o) else o for o in trace.outputs])

    return checkpointed


def is_tracked(value: Any) -> bool:
    """Return whether a value depends on something that requires a gradient."""
    return isinstance(value, Tensor) and value.requires_grad
