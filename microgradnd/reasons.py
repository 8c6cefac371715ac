"""Why a gradient is None, zero or not a number, in sentences.

Owns: `explain`.
Must not own: the backward pass that it looks at (`viz/record.py`), or pictures.
Read next: `../viz/record.py`, the tape as a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.failures import explained
from microgradnd.lines import quoted_line
from microgradnd.nn import Module
from microgradnd.registry import Results, name_of
from microgradnd.tape import Leaf, Node, Operation, describe
from microgradnd.tensor import Tensor
from microgradnd.viz.monitor import Monitor
from microgradnd.viz.record import Part, Record, tree

MOST_NAMED = 5  # variables in one sentence
BEFORE = "before backward(), or after backward(retain_graph=True)"


@explained
def explain(t: Any, result: Tensor | None = None) -> list[str]:
    """Say why the gradient of a tensor is None, zero or not finite.

    Parameters
    ----------
    t : Tensor, Module or viz.Monitor
        A variable, a computed value, a result (a loss), or a module, which stands for
        all its parameters. For a result, the sentences are about every variable that it
        was computed from. For a monitor, they name layers that are saturated or dead
        and weights that change too fast or hardly at all, and since which step.
    result : Tensor, optional
        The value that you differentiate. Without it, `explain` can't know why a
        variable has no gradient.

    Returns
    -------
    list of str
        Sentences, in the order of the computation. They say most before `backward()`,
        or after `backward(retain_graph=True)`, while the arrays still exist.

    Raises
    ------
    TypeError
        If `t` is none of these, or `result` isn't a Tensor.

    See Also
    --------
    viz.draw : draw the same computation.
    detect_anomaly : raise where the first NaN is made.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> unused = mg.tensor(3.0, requires_grad=True, name="unused")
    >>> with np.errstate(divide="ignore"):
    ...     loss = np.sum(np.log(w - 1))
    >>> for sentence in mg.explain(loss):
    ...     print(sentence)
    The first value that isn't finite: log made 1 Inf of finite arguments.
    'w' has a gradient that isn't all finite (1 Inf of 2).
    >>> mg.explain(unused, np.sum(w))
    ["'unused' has no gradient: the result wasn't computed from it."]
    """
    if isinstance(t, Monitor):
        return t.explain()
    if result is not None and not isinstance(result, Tensor):
        raise TypeError(f"explain(t, result): result must be a Tensor, got {type(result).__name__}")
    if isinstance(t, Module):
        if result is None:
            return [sentence for parameter in t.parameters() for sentence in _of_variable(parameter)]
        return _story(result).of_variables([p._node for p in t.parameters() if isinstance(p, Tensor)])
    if not isinstance(t, Tensor):
        raise TypeError(f"explain() takes a Tensor, a Module or a viz.Monitor, got {type(t).__name__}")
    node = t._node
    for tensor in (t, t if result is None else result):
        if tensor._node is None or not tensor._node.requires_grad:
            return [_requires_none(tensor)]
    if result is not None and result is not t:
        story = _story(result)
        return story.of_value(t) if isinstance(node, Operation) else story.of_variables([node])
    if isinstance(node, Leaf):
        return _of_variable(t)
    story = _story(t)
    return story.of_variables([leaf for leaf in story.record.leaf_ids if leaf.requires_grad])


def _requires_none(t: Tensor) -> str:
    """Say why a tensor that requires no gradient has none."""
    what = f"{t.name!r} of shape {t.shape}" if t.name else f"this tensor of shape {t.shape}"
    if t.dtype.kind not in "fc":
        return (
            f"{what} has no gradient: its dtype is {t.dtype}, and only floating-point and complex numbers have "
            f"derivatives; convert it with .astype(float), or make it with dtype=float."
        )
    return (
        f"{what} has no gradient: it requires none. It was made without requires_grad=True, computed under no_grad(), "
        f"cut off by detach() or .data, or computed from such tensors alone."
    )


def _of_variable(t: Any) -> list[str]:
    """Say what is known of a variable without knowing the result."""
    node = t._node
    if node is None or not node.requires_grad:
        return [_requires_none(t)]
    if node.grad is None:
        return [
            f"{describe(node)} has no gradient: no backward() has reached it since it was made or zero_grad() was "
            f"called. Pass the result too, explain(t, loss), to learn why."
        ]
    state = _state(node.grad)
    return [f"{describe(node)} has a gradient {state or 'that is finite and not zero'}."] + (
        ["Pass the result too, explain(t, loss), to learn why."] if state else []
    )


def _state(g: Any) -> str:
    """Return what is wrong with a gradient: not finite, or zero; otherwise ''."""
    g = np.asarray(g.data if isinstance(g, Tensor) else g)
    if said := _bad(g):
        return f"that isn't all finite ({said} of {g.size})"
    return "that is zero everywhere" if g.size and not g.any() else ""


def _arrays(value: Any) -> tuple[Any, ...]:
    """Return the arrays of a value or a cotangent, one for each result."""
    return tuple(part for part in value if part is not None) if isinstance(value, Results) else (value,)


def _is_zero(value: Any) -> bool:
    return not any(np.any(part) for part in _arrays(value))


def _bad(array: Any) -> str:
    """Return how many numbers aren't finite; '' if all are, or it is freed."""
    parts = [
        p for p in _arrays(array) if getattr(getattr(p, "dtype", None), "kind", "-") in "fc" and hasattr(p, "shape")
    ]
    nan, inf = (sum(int(test(p).sum()) for p in parts) for test in (np.isnan, np.isinf))
    return ", ".join(f"{count} {word}" for count, word in ((nan, "NaN"), (inf, "Inf")) if count)


def _called(leaf: Leaf) -> str:
    return repr(leaf.name) if leaf.name else describe(leaf)


def is_of(arg: Any, leaf: Leaf) -> bool:
    """Return whether an array that an operation used is a variable's, or its copy."""
    if not isinstance(arg, np.ndarray):
        return False
    is_copy = arg.dtype == leaf.dtype and np.array_equal(arg, leaf.data) and np.ptp(arg) > 0
    return bool(is_copy or np.may_share_memory(arg, leaf.data))


def _story(result: Tensor) -> _Story:
    """Return the path to a result, after one walk back if its arrays still exist."""
    assert isinstance(result._node, Operation)
    story = _Story(result, Record(result._node))
    if story.record.can_flow():
        story.ends = story.record.flow(story.look_at)
    for part in tree(story.record).parts():
        story.scopes.update((child, part) for child in part.children if isinstance(child, int))
    return story


class _Story:
    """The path from the variables to a result and back.

    Attributes
    ----------
    ends : dict
        The cotangent that arrives at each variable, if the arrays still exist.
    is_over : bool
        Whether `backward()` has freed the arrays, so that no walk back is possible.
    """

    def __init__(self, result: Tensor, record: Record) -> None:
        self.result, self.record = result, record
        self.is_over = record.is_over
        self.ends: dict[Node, Any] = {}
        self.first_bad: tuple[Operation, str] | None = None  # on the way back
        self.stops: list[Operation] = []  # a cotangent arrives, but none leaves
        self.given_none: dict[Node, Operation] = {}  # a cotangent arrives, but none for them
        self.scopes: dict[int, Part] = {}

    def look_at(self, node: Operation, g: Any, parts: list[tuple[int, Any]]) -> None:
        """Note what is wrong with one step back."""
        if self.first_bad is None and not _bad(g):
            said = next(filter(None, (_bad(part) for _, part in parts)), "")
            self.first_bad = (node, said) if said else None
        nothing = [i for i, part in parts if _is_zero(part)]
        if not nothing or _is_zero(g):
            return
        if parts and len(nothing) == len(parts):
            self.stops.append(node)
        for i in nothing:
            if isinstance(parent := node.parents[i], Leaf):
                self.given_none[parent] = node

    def where(self, node: Operation) -> str:
        """Return an operation's name, scope and line of code."""
        scope = self.scopes.get(self.record.index[node])
        name = f"{name_of(node.function)} ({node.name!r})" if node.name else name_of(node.function)
        inside = ""
        if scope is not None:
            is_named = scope.path and scope.path != scope.label
            inside = f" in {scope.path} ({scope.label})" if is_named else f" in {scope.label or scope.path}"
        return name + inside + quoted_line(node.note.line if node.note else None)

    def of_variables(self, leaves: list[Any]) -> list[str]:
        """Say what is wrong with some variables, or that nothing is."""
        sentences = [*self.of_values(), *self.of_rectifiers()]
        if not self.is_over and (changed := self.record.changed()):
            said = ", ".join(map(_called, changed[:MOST_NAMED])) + (" and others" if len(changed) > MOST_NAMED else "")
            sentences.append(
                f"{said} changed after the result was computed; call explain() before the optimizer's step."
            )
        kinds: dict[str, list[str]] = {}
        for leaf in leaves:
            if why := self.of_leaf(leaf):
                kinds.setdefault(why, []).append(_called(leaf))
        for why, names in kinds.items():
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            has = "has" if len(names) == 1 else "have"
            sentences.append(f"{', '.join(names[:MOST_NAMED])}{more} {has} {why}")
        if not sentences:
            s = f"the gradient{'s' if len(leaves) > 1 else ''} of {', '.join(map(_called, leaves[:MOST_NAMED]))}"
            more = f" and {len(leaves) - MOST_NAMED} more" if len(leaves) > MOST_NAMED else ""
            sentences.append(f"Nothing is wrong: {s}{more} {'are' if len(leaves) > 1 else 'is'} finite and not zero.")
        return sentences

    def of_values(self) -> Iterator[str]:
        """Say where the first value that isn't finite came from."""
        bad = [(leaf, said) for leaf in self.record.leaf_ids if (said := _bad(leaf.data))]
        for leaf, said in bad[:MOST_NAMED]:
            yield f"{describe(leaf)} isn't finite itself: {said} of {leaf.data.size}."
        if len(bad) > MOST_NAMED:
            yield f"{len(bad) - MOST_NAMED} more variables aren't finite themselves."
        for node in self.record.operations:
            if not (said := _bad(node.out)):
                continue
            if any(map(_bad, node.args or ())):
                yield f"{self.where(node)} got an array that isn't finite, and made {said}."
            else:
                of = " of finite arguments" if node.args is not None else ""
                yield f"The first value that isn't finite: {self.where(node)} made {said}{of}."
            return
        if self.first_bad is not None:
            node, said = self.first_bad
            yield f"The first gradient that isn't finite: the derivative of {self.where(node)} made {said}."

    def of_rectifiers(self) -> Iterator[str]:
        """Say which ReLUs are 0 for every observation."""
        told, more = 0, 0
        for node in self.record.operations:
            if node.function is not primitives.relu or not isinstance(node.out, np.ndarray) or not node.out.size:
                continue
            active = node.out.reshape(-1, node.out.shape[-1]).any(axis=0) if node.out.ndim else node.out.reshape(1) > 0
            dead = int(active.size - active.sum())
            if dead and told == MOST_NAMED:
                more += 1
            elif dead:
                told += 1
                share = "all" if dead == active.size else f"{dead} of"
                count = node.out.size // active.size
                yield (
                    f"{self.where(node)}: {share} {active.size} units are dead, 0 for "
                    f"{'the only observation' if count == 1 else f'all {count} observations'}; no gradient passes them."
                )
        if more:
            yield f"{more} more calls of relu have dead units."

    def of_leaf(self, leaf: Leaf) -> str:
        """Return the end of a sentence about a variable's gradient, or ''."""
        if not leaf.requires_grad:
            return "no gradient: requires_grad is False."
        if leaf not in self.record.leaf_ids:
            return f"no gradient: the result wasn't computed from it{self.cut(leaf)}."
        if leaf.grad is None and self.is_over:
            return "no gradient any more: it was set to None (as by zero_grad()) after backward()."
        g = self.ends.get(leaf) if self.ends else leaf.grad  # `.grad` may come from other computations too
        if g is None:
            return "no gradient: nothing arrives at it."
        state = _state(g)
        if not state:
            return "" if leaf.grad is not None else "no gradient yet: backward() of the result hasn't been called."
        if "zero" not in state:
            return f"a gradient {state}."
        return f"a gradient {state}{self.why_zero(leaf)}"

    def why_zero(self, leaf: Leaf) -> str:
        """Return where a variable's gradient got lost, as the end of a sentence."""
        if self.is_over:
            return f"; to learn where it got lost, call explain() {BEFORE}."
        if node := self.given_none.get(leaf):
            others = [a for a, p in zip(node.args or (), node.parents, strict=False) if p is not leaf]
            is_zero = any(isinstance(a, np.ndarray) and a.size and not a.any() for a in others)
            why = "it is multiplied by 0 everywhere there" if is_zero else "whose derivative is 0 there"
            return f": nothing comes back from {self.where(node)}{': ' if is_zero else ', '}{why}."
        after = {self.record.operations[i] for i in self.record.between(leaf)}
        lost = [node for node in self.stops if node in after]
        if lost:
            what = f"{self.where(lost[0])}, whose derivative is 0 there"
            return f": it stops at {what}" + (f", and at {len(lost) - 1} more." if len(lost) > 1 else ".")
        return ": it vanishes on the way back, in products of small factors or terms that cancel."

    def cut(self, leaf: Leaf) -> str:
        """Return where a variable entered as a constant, as the end of a sentence."""
        for node in self.record.operations:
            for arg, parent in zip(node.args or (), node.parents, strict=False):
                if (parent is None or not parent.requires_grad) and is_of(arg, leaf):
                    return (
                        f", though {self.where(node)} used its array: .data, detach() or no_grad() cut "
                        f"it off from its history"
                    )
        return ""

    def of_value(self, t: Tensor) -> list[str]:
        """Say what is wrong with the gradient of an intermediate value."""
        node: Node | None = t._node
        assert isinstance(node, Operation)
        if node not in self.record.index:
            return [f"{describe(node)} has no gradient: the result wasn't computed from it."]
        note = node.note
        if note is None or not note.retain_grad:
            return [
                f"{describe(node)} has no gradient: it was computed, and only variables keep theirs; call its "
                f"retain_grad() before backward()."
            ]
        if note.grad is None:
            return [f"{describe(node)} has no gradient yet: backward() of the result hasn't been called."]
        state = _state(note.grad)
        return [f"{describe(node)} has a gradient {state or 'that is finite and not zero'}."]
