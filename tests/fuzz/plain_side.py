"""What programs on plain arrays call: values that stay where they were when inputs are
moved, distances from kinks.

Owns: `Memory`, the names of the plain side, and `run`, which runs steps one by one with
every check.
Must not own: finite differences (`check.py`).
Read next: `check.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.fuzz.programs import Step

MARGIN = 0.05  # how far from a kink, a pole or a branch cut operands are kept
LARGEST, MOST = 20.0, 36  # numbers and elements of a value; beyond, a program is not drawn


class Memory:
    """The values at which derivatives stop: recorded in the first run, and given back
    in each that follows.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.later: list[dict[str, Any]] = []  # the values after each change in place
        self.recording = True
        self.start()

    def start(self) -> None:
        """Begin a run."""
        self.live: dict[str, Any] = {}
        self.changes = 0

    def frozen(self, value: Any, key: str) -> Any:
        if self.recording:
            self.live[key] = value
            self.values[key] = np.copy(value) if isinstance(value, np.ndarray) else value
            return value
        kept = self.values[key]
        self.live[key] = np.copy(kept) if isinstance(value, np.ndarray) else kept
        return self.live[key]

    def sync(self) -> None:
        """Give values what they have by now with unmoved inputs, with which they may
        share memory.
        """
        arrays = {key: v for key, v in self.live.items() if isinstance(v, np.ndarray)}
        if self.recording:
            self.later.append({key: np.copy(v) for key, v in arrays.items()})
            return
        for key, array in arrays.items():
            array[...] = self.later[self.changes][key]
        self.changes += 1

    def scaled(self, value: Any, factor: float, key: str) -> Any:
        """Return the value with its derivative scaled: what a hook does."""
        start = self.frozen(value, f"hook {key}")
        return factor * (value - start) + start

    def moved(self, value: Any, new: Any, key: str) -> Any:
        """Return a new value of the same variable: inputs that are moved move it as
        they moved the old value.
        """
        new = self.frozen(np.asarray(new, value.dtype), f"new {key}")
        return new + (value - self.frozen(np.copy(value), f"old {key}"))


def clear(x: Any, *kinks: float) -> Any:
    return np.min([np.abs(x - k) for k in kinks], axis=0)


def gaps(x: Any) -> Any:
    """Return the smallest difference between two elements."""
    ordered = np.sort(np.ravel(x))
    return np.min(np.diff(ordered), initial=np.inf)


def conditioned(x: Any) -> Any:
    """Return how far a matrix is from a singular one, as the least singular value
    does.
    """
    return np.min(np.linalg.svd(x, compute_uv=False)) - 0.2


MG = SimpleNamespace(
    nn=SimpleNamespace(
        functional=SimpleNamespace(
            relu=lambda x: np.maximum(x, 0),
            sigmoid=lambda x: 1 / (1 + np.exp(-x)),
            softmax=lambda x, axis: np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True),
        )
    )
)


def names(memory: Memory) -> dict[str, Any]:
    """Return the names that the text of the plain side uses."""
    return {
        "np": np,
        "mg": MG,
        "frozen": memory.frozen,
        "scaled": memory.scaled,
        "moved": memory.moved,
        "sync": memory.sync,
        "clear": clear,
        "gaps": gaps,
        "conditioned": conditioned,
    }


class Unsuitable(Exception):
    """A step is too near to a kink, or gives numbers that are too large, or none."""


def copies(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(value) for name, value in inputs.items()}


def run(steps: Iterable[Step], inputs: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run steps on plain arrays and return all names, or raise Unsuitable."""
    space = {**names(Memory()), **(more or {}), **copies(inputs)}
    for step in steps:
        advance(step, space)
    return space


def advance(step: Step, space: dict[str, Any]) -> None:
    """Run one step, with all that it must keep to."""
    if step.retain:
        space[f"delta_{step.result}"] = 0.0
    with np.errstate(all="ignore"):
        try:
            if step.operation.distance:
                parameters = {k: repr(v) for k, v in step.parameters.items()}
                distance = eval(step.operation.distance.format(*step.operands, **parameters), space)
                if not np.all(distance >= MARGIN):
                    raise Unsuitable("near a kink")
            exec(step.text("plain"), space)
        except (ValueError, TypeError, IndexError, AttributeError, np.linalg.LinAlgError) as error:
            raise Unsuitable(str(error)) from error
    for name in step.operands if step.operation.statement else {step.result, *step.operands}:
        value = space[name]
        if not isinstance(value, np.ndarray | np.generic):
            raise Unsuitable("no array")
        if value.dtype.kind not in "fc" or not 0 < value.size <= MOST:
            raise Unsuitable("integers, or too many elements")
        if not np.all(np.isfinite(value)) or np.max(np.abs(value)) > LARGEST:
            raise Unsuitable("too large")
