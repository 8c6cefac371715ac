"""What happens in a network while it learns: histograms of activations, gradients and weights, layer by layer.

Owns: what is measured in each step, and what is remarkable about it, in sentences.
Must not own: the plots of it (`plots/monitor.py`), or the training loop.
Read next: `plots/monitor.py`.

The numbers of a step are reduced to a few dozen counts, so that thousands of steps take a few megabytes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from microgradnd import primitives
from microgradnd.failures import explained
from microgradnd.nn import Module
from microgradnd.nn.functional import sigmoid
from microgradnd.tape import current
from microgradnd.tensor import Tensor

Array = npt.NDArray[Any]

BINS = 40
FLAT = 0.05  # of the greatest derivative: below it, an activation is saturated
MANY = 0.5  # the share of dead or saturated units that is worth a sentence
LEAST = 3  # steps that something must have been so, if there were as many
FAST, SLOW = 0.1, 1e-6  # updates of weights, relative to the weights; about 1e-3 is usual
TANH_FLAT = math.sqrt(1 - FLAT)  # the derivative is 1 - tanh², at most 1
SIGMOID_FLAT = (1 - math.sqrt(1 - FLAT)) / 2  # it is s (1 - s), at most 1/4
SATURATED: dict[Any, Callable[[Array], Array]] = {
    np.tanh: lambda out: np.abs(out) > TANH_FLAT,
    sigmoid: lambda out: np.minimum(out, 1 - out) < SIGMOID_FLAT,
}


class Spread(NamedTuple):
    """How the numbers of an array are spread.

    Attributes
    ----------
    low, high : float
        The least and the greatest finite one.
    counts : array of int, shape (40,)
        How many lie in each of so many stretches of the same length between these.
    bad : int
        How many aren't finite.
    """

    low: float
    high: float
    counts: Array
    bad: int


def spread_of(array: Array) -> Spread:
    """Return how the numbers of an array are spread.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.monitor import spread_of
    >>> spread = spread_of(np.array([0.0, 0.0, 2.0, np.nan]))
    >>> spread.low, spread.high, int(spread.counts[0]), int(spread.counts[-1]), spread.bad
    (0.0, 2.0, 2, 1, 1)
    """
    numbers = np.ravel(np.abs(array) if array.dtype.kind == "c" else array).astype(float)
    finite = numbers[np.isfinite(numbers)]
    bad = numbers.size - finite.size
    if not finite.size:
        return Spread(math.nan, math.nan, np.zeros(BINS, int), bad)
    low, high = float(finite.min()), float(finite.max())
    with np.errstate(over="ignore"):
        width = high - low
    if not 0 < width < math.inf:  # all are equal, or too far apart to be told
        counts = np.zeros(BINS, int)
        counts[BINS // 2] = finite.size
        return Spread(low, high, counts, bad)
    counts = np.bincount(np.minimum(((finite - low) * (BINS / width)).astype(int), BINS - 1), minlength=BINS)
    return Spread(low, high, counts, bad)


class Monitor:
    """Watches a network while it learns: call `step()` after each step of the optimizer.

    Activations are what the innermost modules return (in training mode; the last call of a step counts), so write
    `nn.Tanh()` as a layer to see it. What a compiled function computes isn't seen, except for weights and updates.

    Parameters
    ----------
    model : Module
        It gets hooks, until `remove()` is called.

    Attributes
    ----------
    steps : int
        How many there were.
    activations : dict of str to list of Spread or None
        By layer, one for each step; None where the layer wasn't called.
    gradients, weights : dict of str to list of Spread or None
        By parameter.
    updates : dict of str to list of float or None
        By parameter: the norm of its change in the step, relative to its norm before. None where that was 0.
    dead, saturated : dict of str to list of float or None
        By layer: of a ReLU the share of its units that were 0 for every observation; of a tanh or a sigmoid the share
        of its outputs where the derivative is below 5% of its greatest. None for other layers.

    Raises
    ------
    TypeError
        If `model` isn't a Module.

    See Also
    --------
    plot_monitor : the pictures of it.
    microgradnd.explain : what is remarkable about it, in sentences.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import nn, optim, viz
    >>> rng = np.random.default_rng(0)
    >>> model = nn.Sequential(nn.Linear(2, 8, rng=rng), nn.Tanh(), nn.Linear(8, 1, rng=rng))
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> monitor = viz.Monitor(model)
    >>> for _ in range(5):
    ...     loss = np.mean(model(100 * rng.normal(size=(16, 2))) ** 2)
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     monitor.step()
    >>> monitor.steps, list(monitor.activations), len(monitor.updates["0.weight"])
    (5, ['0', '1', '2'], 5)
    >>> print(mg.explain(monitor)[0])
    1 (Tanh) is saturated from step 1 on: ...% of its outputs at the end, where the derivative is below 5% of its
    greatest.
    """

    @explained
    def __init__(self, model: Module) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"viz.Monitor: model must be an nn.Module, got a {type(model).__name__}")
        self.steps = 0
        self._model = model
        self._layers = {path or type(m).__name__: m for path, m in model.named_modules() if not list(m.children())}
        self._seen: dict[str, tuple[Spread, float | None, float | None]] = {}
        self._handles = [
            layer.register_forward_hook(functools.partial(self._look, path)) for path, layer in self._layers.items()
        ]
        self.activations: dict[str, list[Spread | None]] = {path: [] for path in self._layers}
        self.dead: dict[str, list[float | None]] = {path: [] for path in self._layers}
        self.saturated: dict[str, list[float | None]] = {path: [] for path in self._layers}
        self._before = {name: np.array(p.data) for name, p in model.named_parameters()}
        self.gradients: dict[str, list[Spread | None]] = {name: [] for name in self._before}
        self.weights: dict[str, list[Spread | None]] = {name: [] for name in self._before}
        self.updates: dict[str, list[float | None]] = {name: [] for name in self._before}

    def __repr__(self) -> str:
        return f"Monitor({type(self._model).__name__}, {self.steps} steps)"

    def _look(self, path: str, layer: Any, args: Any, output: Any) -> None:
        """Note what a layer returned."""
        if current().trace is not None or not layer.training:
            return
        for out in output if isinstance(output, tuple) else (output,):
            if isinstance(out, Tensor) and out.dtype.kind in "fc" and out.size:
                array = np.asarray(out._array)
                function = getattr(out._node, "function", None)
                dead = saturated = None
                if function is primitives.relu and array.ndim:
                    dead = 1 - float(array.reshape(-1, array.shape[-1]).any(axis=0).mean())
                elif function in SATURATED:
                    saturated = float(SATURATED[function](array).mean())
                self._seen[path] = spread_of(array), dead, saturated
                return

    def step(self) -> None:
        """Note what has happened since the last call: to be called after each step of the optimizer."""
        self.steps += 1
        for path in self._layers:
            spread, dead, saturated = self._seen.get(path, (None, None, None))
            self.activations[path].append(spread)
            self.dead[path].append(dead)
            self.saturated[path].append(saturated)
        self._seen.clear()
        for name, parameter in self._model.named_parameters():
            if name not in self._before:
                continue  # registered since
            after, before = np.array(parameter.data), self._before[name]
            grad = parameter.grad.data if isinstance(parameter.grad, Tensor) else parameter.grad
            self.gradients[name].append(None if grad is None else spread_of(np.asarray(grad)))
            self.weights[name].append(spread_of(after))
            with np.errstate(all="ignore"):
                size = float(np.linalg.norm(before))
                change = float(np.linalg.norm(after - before)) if after.shape == before.shape else math.nan
            self.updates[name].append(change / size if size else None)
            self._before[name] = after

    def remove(self) -> None:
        """Take the hooks away; what was measured stays."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def explain(self) -> list[str]:
        """Return what is remarkable about the last step, and since when it has been so; `mg.explain` calls it."""
        if not self.steps:
            return ["No step has been watched yet: call monitor.step() after each step of the optimizer."]
        said = []
        for kind, table in (
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("activations", self.activations),
        ):
            for name, spreads in table.items():
                if since := _since([spread is not None and spread.bad > 0 for spread in spreads], least=1):
                    said.append(f"The {kind} of {self._called(name)} aren't all finite from step {since} on.")
        for path, shares in self.saturated.items():
            if since := _since([share is not None and share >= MANY for share in shares]):
                said.append(
                    f"{self._called(path)} is saturated from step {since} on: {shares[-1]:.0%} of its outputs at the "
                    f"end, where the derivative is below {FLAT:.0%} of its greatest."
                )
        for path, shares in self.dead.items():
            if since := _since([share is not None and share >= MANY for share in shares]):
                said.append(
                    f"{self._called(path)} is dead from step {since} on: {shares[-1]:.0%} of its units at the end, "
                    f"which are 0 for every observation."
                )
        for name, ratios in self.updates.items():
            if since := _since([ratio is not None and ratio > FAST for ratio in ratios]):
                said.append(
                    f"{name!r} changes by {ratios[-1]:.0%} of its norm in a step, more than {FAST:.0%} from step "
                    f"{since} on; try a smaller lr."
                )
            elif since := _since([ratio is not None and ratio < SLOW for ratio in ratios]):
                said.append(f"{name!r} hardly changes from step {since} on: by {ratios[-1]:.1g} of its norm in a step.")
        return said or [f"Nothing is wrong in {self.steps} steps: all is finite, and nothing is saturated or dead."]

    def _called(self, name: str) -> str:
        layer = self._layers.get(name)
        if layer is None:
            return repr(name)
        return name if name == type(layer).__name__ else f"{name} ({type(layer).__name__})"


def _since(flags: list[bool], least: int = LEAST) -> int:
    """Return from which step on something has been so until the last, counted from 1; 0 if for less than `least` steps.

    Examples
    --------
    >>> from microgradnd.viz.monitor import _since
    >>> _since([True, False, True, True, True]), _since([False, False, True, True]), _since([True]), _since([])
    (3, 0, 1, 0)
    """
    count = next((i for i, flag in enumerate(reversed(flags)) if not flag), len(flags))
    return len(flags) - count + 1 if count and count >= min(least, len(flags)) else 0
