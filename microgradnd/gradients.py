"""Gradients at both ends of a backward pass: the seed, hooks, and `.grad`.

Owns: everything that `backward()` does around the walk: the first cotangent, hooks,
`retain_grad`, and adding up at leaves.
Must not own: the walk (`tape.py`), or any rule.
Read next: `tensor.py`, whose methods call this.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from microgradnd import inplace
from microgradnd.arraylike import ArrayLike
from microgradnd.broadcasting import cast_given
from microgradnd.operands import LAZY, as_array, check_lazy, new_array, one, operand
from microgradnd.tape import Leaf, Lift, Node, Operation, Path, arrays_of, current, describe, next_position, walk

ndarray = np.ndarray
ACCUMULATING = threading.Lock()


def seed(tensor: Any, gradient: Any) -> Any:
    """Return the cotangent that `tensor.backward(gradient)` starts from."""
    if gradient is None:
        out = tensor._array
        if out.size != 1 or out.dtype.kind == "c":
            dtype = f" and dtype {tensor.dtype}" if tensor.dtype.kind == "c" else ""
            raise RuntimeError(
                f"backward() on a tensor of shape {tensor.shape}{dtype} needs gradient=, of that shape; or reduce it "
                f"to one real number, with .sum(), .real or abs()"
            )
        return one(out)
    if not isinstance(gradient, ArrayLike):
        gradient = as_array(operand("backward(gradient=)", gradient))
    if gradient.shape != tensor.shape:
        raise ValueError(
            f"backward(gradient=): the gradient must have the shape of the tensor, {tensor.shape}, got "
            f"shape {gradient.shape}"
        )
    return cast_given(gradient, tensor.dtype, "backward(gradient=): the gradient")


def path_to(outputs: Iterable[Node], inputs: Iterable[Node], start: int) -> Path:
    """Return the path from inputs to outputs, in a trace through as few operations as
    possible.
    """
    if (trace := current().trace) is not None:
        trace.fold()
    return Path(outputs, inputs, start)


def backward(
    seeds: Iterable[tuple[Node, Any]], retain: bool = False, lift: Lift | None = None, path: Path | None = None
) -> dict[Node, Any]:
    """Walk the tape backward as `backward()` does: with users' hooks and checks.

    The parameters and the result are those of `walk`.
    """
    anomaly, trace = (mode := current()).anomaly, mode.trace
    if trace is not None and path is None:
        trace.fold()
    seeds = list(seeds)
    is_lazy = bool(LAZY) and any(type(g._array if isinstance(g, ArrayLike) else g) in LAZY for _, g in seeds)
    if anomaly is None and (trace is None or lift is None) and not is_lazy:
        return walk(seeds, retain, lift, path, run_note)

    def arrive(node: Operation, g: Any) -> Any:
        if trace is not None and lift is not None:
            trace.arrived(node, g, path is None and not retain)
        return run_note(node, g)

    def check(node: Operation, g: Any, parts: list[tuple[int, Any]]) -> None:
        for i, new in parts:
            if anomaly is not None:
                anomaly(new, node)
            if is_lazy:
                check_lazy(node.function, [arrays_of(node)[i]], new, "its rule gives NumPy's array, which takes")

    if getattr(trace, "sizes", None) is not None and lift is not None:
        seeds = [(node, unknown(g, trace, lift)) for node, g in seeds]
    ends = walk(
        seeds, retain or lift is not None, lift, path, arrive, check if anomaly is not None or is_lazy else None
    )
    if trace is not None and lift is not None:
        for end, g in ends.items():
            trace.arrived(end, g, path is None)
    return ends


def unknown(g: Any, trace: Any, lift: Lift) -> Any:
    """Return a cotangent as a step's result: rules wait until all lengths are known.

    A batch of cotangents stays as it is: the walk's rules are called at once for it.
    """
    is_array = isinstance(g, ArrayLike | ndarray | np.generic | float)
    if not is_array or getattr(g, "_node", None) is not None:
        return g
    array = getattr(g, "_array", g)
    return lift(array, trace.record_constant(np.positive, (array,), {}, (None,), array))


def run_note(node: Operation, g: Any) -> Any:
    """Run an operation's hooks, keep its gradient if asked, and return it."""
    note = node.note
    if note is None or not (note.hooks or note.retain_grad):
        return g
    shown = conjugate(g)  # as in .grad
    shown = run_hooks(node, note.hooks, shown) if note.hooks else shown
    if note.retain_grad:
        kept = shown.copy() if isinstance(shown, np.ndarray) else shown
        note.grad = kept if note.grad is None else note.grad + kept
    return conjugate(shown)


def conjugate(g: Any) -> Any:
    """Turn a cotangent, unconjugated on the tape, into a descent direction, or back."""
    return np.conj(g) if g.dtype is not None and g.dtype.kind == "c" else g


def run_hooks(node: Node, hooks: dict[int, Callable[[Any], Any]], g: Any) -> Any:
    """Return a gradient after the user's hooks, in order; each gets its own array."""
    for hook in list(hooks.values()):
        given = g.copy() if isinstance(g, np.ndarray) else g
        changed = hook(given)
        if changed is None:
            continue
        shape, dtype = getattr(changed, "shape", None), getattr(changed, "dtype", None)
        is_other = isinstance(changed, np.ndarray) and type(changed) is not np.ndarray  # np.matrix, masked arrays
        is_tensor = isinstance(changed, ArrayLike) and not isinstance(g, ArrayLike)
        if shape != g.shape or dtype != g.dtype or is_other or is_tensor:
            came = repr(changed) if shape is None else f"of shape {shape} and dtype {dtype}"
            came += " (return its .data)" if is_tensor else ""
            raise ValueError(
                f"a hook of {describe(node)} must return None or a gradient of shape {g.shape} and dtype {g.dtype}, "
                f"got {type(changed).__name__} {came}"
            )
        g = changed
    return g


def run_hooks_of_inputs(inputs: Iterable[Any], ends: dict[Any, Any]) -> None:
    """Run the hooks of a transform's inputs on the cotangents at the end of a walk."""
    for node in inputs:
        hooks = node.hooks if isinstance(node, Leaf) else node.note and node.note.hooks
        if hooks and node in ends:
            ends[node] = conjugate(run_hooks(node, hooks, conjugate(ends[node])))


def accumulate(ends: dict[Any, Any]) -> None:
    """Add the cotangents at leaves to their `.grad`; `ends` is emptied.

    So leaves may keep its arrays.
    """
    for leaf, g in ends.items():
        if g.dtype.kind == "c" or leaf.hooks:
            g = conjugate(g)
            ends[leaf] = run_hooks(leaf, leaf.hooks, g) if leaf.hooks else g
        del g
    with ACCUMULATING:  # all or none, if a hook raises; and one thread at a time
        while ends:
            leaf, g = ends.popitem()
            if leaf.grad is not None:
                g = leaf.grad + g
            if type(g) is not ndarray:
                g = another(g) if isinstance(g, ArrayLike) else new_array(g)
            elif not inplace.is_alone(g):
                g = g.copy()  # a view, or shared: .grad must be the leaf's own
            leaf.grad = g


def another(tensor: Any) -> Any:
    """Return another Tensor with the same value."""
    result = object.__new__(type(tensor))
    result._array, result._node = tensor._array, tensor._node
    return result


def check_gradient(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise unless a value may be assigned to the `.grad` of such a variable."""
    given = getattr(value, "shape", None), getattr(value, "dtype", None)
    if value is not None and given != (shape, dtype):
        came = f"a {type(value).__name__}" if given[0] is None else f"one of shape {given[0]} and dtype {given[1]}"
        raise (TypeError if given[0] is None else ValueError)(
            f".grad must be None or an array of shape {shape} and dtype {dtype}, got {came}"
        )


class Handle:
    """A registered hook: the result of `Tensor.register_hook`."""

    def __init__(self, node: Node, hook: Callable[[Any], Any]) -> None:
        if not callable(hook):
            raise TypeError(f"register_hook: hook must be a function of the gradient, got {hook!r}")
        owner = node if isinstance(node, Leaf) else node.annotate()
        if owner.hooks is None:
            owner.hooks = {}
        self._hooks, self._key = owner.hooks, next_position()
        self._hooks[self._key] = hook

    def remove(self) -> None:
        """Remove the hook."""
        self._hooks.pop(self._key, None)
