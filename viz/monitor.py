"""Histograms of activations, gradients and weights while a network learns.

Owns: the measurements of each step, sentences about them, and their plots.
Must not own: the training loop.
Read next: `plots/canvas.py`, the common parts of all plots.

Each step is reduced to a few dozen counts, so thousands of steps take a few megabytes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from microgradnd import primitives
from microgradnd.failures import explained
from microgradnd.nn import Module
from microgradnd.nn.functional import sigmoid
from microgradnd.tape import current
from microgradnd.tensor import Tensor
from microgradnd.viz.plots.canvas import (
    GREY,
    RED,
    SURFACE,
    Array,
    array_of,
    canvas,
    figure_of,
    is_dark,
    lines,
    plain,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

What = Literal["activations", "gradients", "weights", "updates", "dead", "saturated"]

BINS = 40
FLAT = 0.05  # of the greatest derivative: below it, an activation is saturated
MANY = 0.5  # the least share of dead or saturated units for a sentence
LEAST = 3  # steps for which a problem must have lasted, if there are that many
FAST, SLOW = 0.1, 1e-6  # updates of weights, relative to the weights; about 1e-3 is usual
TANH_FLAT = math.sqrt(1 - FLAT)  # the derivative is 1 - tanh², at most 1
SIGMOID_FLAT = (1 - math.sqrt(1 - FLAT)) / 2  # it is s (1 - s), at most 1/4
SATURATED: dict[Any, Callable[[Array], Array]] = {
    np.tanh: lambda out: np.abs(out) > TANH_FLAT,
    sigmoid: lambda out: np.minimum(out, 1 - out) < SIGMOID_FLAT,
}


HISTOGRAMS = ("activations", "gradients", "weights")
MOST_ROWS, MOST_COLUMNS, HEIGHT = 8, 300, 80  # the most maps, and the columns (steps) and rows (bins) of a map
WIDTH, ROW = 7.2, 1.25  # inches
USUAL = 1e-3  # a ratio of update to weight with which many networks learn well
LABELS = {
    "updates": "norm of the update / norm of the weights",
    "dead": "share of dead units",
    "saturated": "share of saturated outputs",
}


class Spread(NamedTuple):
    """How the numbers of an array are spread.

    Attributes
    ----------
    low, high : float
        The least and the greatest finite number.
    counts : array of int, shape (40,)
        How many numbers lie in each of 40 equal bins between these.
    bad : int
        How many numbers aren't finite.
    """

    low: float
    high: float
    counts: Array
    bad: int


def spread_of(array: Array) -> Spread:
    """Return the histogram of an array.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.monitor import spread_of
    >>> spread = spread_of(np.array([0.0, 0.0, 2.0, np.nan]))
    >>> spread.low, spread.high, spread.counts[[0, -1]].tolist(), spread.bad
    (0.0, 2.0, [2, 1], 1)
    """
    numbers = np.ravel(np.abs(array) if array.dtype.kind == "c" else array).astype(float)
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)
    with np.errstate(invalid="ignore"):  # 0 / 0 if all are equal
        share = (finite / 2 - low / 2) / (high / 2 - low / 2)  # halves, whose difference can't overflow
    places = np.where(np.isnan(share), BINS // 2, np.minimum(BINS * share, BINS - 1))
    counts = np.bincount(places.astype(int), minlength=BINS)
    return Spread(low, high, counts, numbers.size - finite.size)


def _is_bad(spread: Spread) -> bool:
    return spread.bad > 0


# The measurement, when it is remarkable, for how many steps at least, and the sentence
REMARKABLE: tuple[tuple[What, Callable[[Any], bool], int, str], ...] = (
    ("weights", _is_bad, 1, "The weights of '{name}' aren't all finite from step {since} on."),
    ("gradients", _is_bad, 1, "The gradients of '{name}' aren't all finite from step {since} on."),
    ("activations", _is_bad, 1, "The activations of {name} aren't all finite from step {since} on."),
    (
        "saturated",
        lambda share: share >= MANY,
        LEAST,
        "{name} is saturated from step {since} on: {last:.0%} of its outputs at the end, where the derivative is below "
        f"{FLAT:.0%} of its greatest.",
    ),
    (
        "dead",
        lambda share: share >= MANY,
        LEAST,
        "{name} is dead from step {since} on: {last:.0%} of its units at the end, which are 0 for every observation.",
    ),
    (
        "updates",
        lambda ratio: ratio > FAST,
        LEAST,
        "'{name}' changes by {last:.0%} of its norm in a step, more than "
        f"{FAST:.0%} from step {{since}} on; try a smaller lr.",
    ),
    (
        "updates",
        lambda ratio: ratio < SLOW,
        LEAST,
        "'{name}' hardly changes from step {since} on: by {last:.1g} of its norm in a step.",
    ),
)


class Monitor:
    """Watches a network while it learns: call `step()` after each optimizer step.

    Activations are the outputs of the innermost modules (in training mode; the last
    call of a step counts), so write `nn.Tanh()` as a layer to see it. Compiled
    functions show only weights and updates.

    Parameters
    ----------
    model : Module
        The network, which has hooks until you call `remove()`.

    Attributes
    ----------
    steps : int
        The number of steps.
    activations : dict of str to list of Spread or None
        By layer, one for each step; None if the layer wasn't called.
    gradients, weights : dict of str to list of Spread or None
        By parameter.
    updates : dict of str to list of float or None
        By parameter: the norm of its change in the step, relative to its norm before;
        None if that was 0.
    dead, saturated : dict of str to list of float or None
        By layer: for a ReLU, the share of its units that were 0 for every observation;
        for a tanh or a sigmoid, the share of its outputs at which the derivative is
        below 5% of its maximum. None for other layers.

    Raises
    ------
    TypeError
        If `model` isn't a Module.

    See Also
    --------
    plot_monitor : draws it. microgradnd.explain : describes it in sentences.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import nn, optim, viz
    >>> rng = np.random.default_rng(0)
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
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
    1 (Tanh) is saturated from step 1 on: ...% of its outputs at the end, where the ...
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
        """Note the output of a layer."""
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
        """Note the current step: call this after each step of the optimizer."""
        self.steps += 1
        for path in self._layers:
            spread, dead, saturated = self._seen.get(path, (None, None, None))
            self.activations[path].append(spread)
            self.dead[path].append(dead)
            self.saturated[path].append(saturated)
        self._seen.clear()
        for name, parameter in self._model.named_parameters():
            if name not in self._before:
                continue  # registered later
            after, before = np.array(parameter.data), self._before[name]
            self.gradients[name].append(None if parameter.grad is None else spread_of(array_of(parameter.grad)))
            self.weights[name].append(spread_of(after))
            with np.errstate(all="ignore"):
                size = float(np.linalg.norm(before))
                change = float(np.linalg.norm(after - before)) if after.shape == before.shape else math.nan
            self.updates[name].append(change / size if size else None)
            self._before[name] = after

    def remove(self) -> None:
        """Remove the hooks; the measurements stay."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def explain(self) -> list[str]:
        """Return sentences about problems that last until now; see `mg.explain`."""
        if not self.steps:
            return ["No step has been watched yet: call monitor.step() after each step of the optimizer."]
        said = []
        for what, is_so, least, sentence in REMARKABLE:
            for name, row in getattr(self, what).items():
                if since := _since([value is not None and is_so(value) for value in row], least):
                    said.append(sentence.format(name=self.called(name), since=since, last=row[-1]))
        return said or [f"Nothing is wrong in {self.steps} steps: all is finite, and nothing is saturated or dead."]

    def called(self, name: str) -> str:
        """Return the name of a layer or parameter: `1 (Tanh)`, `0.weight`."""
        kind = type(self._layers.get(name)).__name__
        return name if name not in self._layers or name == kind else f"{name} ({kind})"


def _since(flags: list[bool], least: int) -> int:
    """Return the first step of the final run of True, or 0 if it is too short.

    Examples
    --------
    >>> from microgradnd.viz.monitor import _since
    >>> _since([True, False, True, True, True], 3), _since([False, True, True], 3)
    (3, 0)
    """
    count = next((i for i, flag in enumerate(reversed(flags)) if not flag), len(flags))
    return len(flags) - count + 1 if count and count >= min(least, len(flags)) else 0


@explained
def plot_monitor(
    monitor: Monitor, what: What = "activations", *, only: list[str] | None = None, title: str | None = None
) -> Figure:
    """Plot the measurements of a `Monitor` over the steps of training.

    Activations, gradients and weights are histograms: each column is one step, darker
    where more numbers lie. The others are a line for each parameter or layer. NaN and
    Inf are marked in red.

    Parameters
    ----------
    monitor : Monitor
    what : str
        "activations", "gradients", "weights", "updates" (relative to the weights, on a
        logarithmic scale, with a line at the usual value 0.001), "dead" or "saturated".
    only : list of str, optional
        Names of layers or parameters; by default all, but at most eight histograms.
    title : str, optional
        The title.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("activations.png")` writes it to a
        file.

    Raises
    ------
    TypeError
        If `monitor` isn't a Monitor.
    ValueError
        If there are no measurements, or `what` or a name is unknown.
    ImportError
        If matplotlib isn't installed.

    See Also
    --------
    Monitor : measures. plot_gradients : only the norms.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn, viz
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.Tanh())
    >>> monitor = viz.Monitor(model)
    >>> for _ in range(3):
    ...     loss = np.sum(model(np.ones((4, 2))))
    ...     monitor.step()
    >>> [ax.get_title() for ax in viz.plot_monitor(monitor).axes[:2]]
    ['0 (Linear)', '1 (Tanh)']
    """
    if not isinstance(monitor, Monitor):
        raise TypeError(f"plot_monitor: monitor must be a viz.Monitor, got a {type(monitor).__name__}")
    if what not in get_args(What):
        raise ValueError(f"plot_monitor: what must be one of {', '.join(get_args(What))}, got {what!r}")
    table: dict[str, list[Any]] = getattr(monitor, what)
    if unknown := [name for name in only or () if name not in table]:
        raise ValueError(f"plot_monitor: {unknown[0]!r} is unknown; choose among {', '.join(table)}")
    table = {name: row for name, row in table.items() if any(value is not None for value in row)}
    table = {name: table[name] for name in only if name in table} if only is not None else table
    if not table:
        raise ValueError(
            f"plot_monitor: there are no {what} to plot; call monitor.step() after each step of a model that has them"
        )
    if what in HISTOGRAMS:
        return _maps(monitor, table, what, title)
    with canvas(None, title, "step", LABELS[what]) as (figure, ax):
        if what == "updates":
            ax.set_yscale("log")
            ax.axhline(USUAL, color=GREY, linewidth=1, linestyle=(0, (1, 3)), label=f"{USUAL:g}, a usual value")
        else:
            ax.set_ylim(-0.02, 1.02)
        lines(figure, ax, {monitor.called(name): row for name, row in table.items()})
    return figure


def _maps(monitor: Monitor, table: dict[str, list[Spread | None]], what: str, title: str | None) -> Figure:
    from matplotlib import colors

    names = list(table)
    rows = sorted({round(i) for i in np.linspace(0, len(names) - 1, MOST_ROWS)})
    size = (WIDTH, ROW * len(rows) + 0.9)
    with figure_of(title or f"{what} over training", figsize=size) as figure:
        axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
        grid: dict[str, Any] = {"aspect": "auto", "interpolation": "none"}  # else steps blur
        colours = SURFACE if is_dark() else SURFACE + "_r"  # dense bins stand out from the background
        for ax, row in zip(axes, rows, strict=True):
            name = names[row]
            shares, low, high = _shares(table[name])
            ax.grid(False)
            place = (0.5, monitor.steps + 0.5, low, high)
            shown = np.ma.masked_where(shares == 0, shares)
            norm = colors.PowerNorm(0.5, 0, float(shares.max()) or 1.0)
            image = ax.imshow(shown, origin="lower", extent=place, cmap=colours, norm=norm, **grid)
            bad = [k + 1 for k, spread in enumerate(table[name]) if spread is not None and spread.bad]
            ax.set_title(plain(monitor.called(name)), fontsize=10)
            if bad:
                ax.set_title(plain(f"{monitor.called(name)}: not finite from step {bad[0]} on"), fontsize=10)
                look: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": RED, "clip_on": False}
                ax.plot(bad, np.ones(len(bad)), linestyle="", marker="x", **look)
        axes[-1].set_xlabel("step")
        whole_numbers(axes[-1])
        bar = figure.colorbar(image, ax=list(axes), label="few → many", ticks=[], aspect=60, pad=0.02)
        bar.ax.minorticks_off()
    return figure


def _shares(row: list[Spread | None]) -> tuple[Array, float, float]:
    """Return the histograms on one scale, shape (HEIGHT, steps), and its ends.

    The scale leaves out the most extreme hundredth, so that one step doesn't flatten
    all others.
    """
    at = np.unique(np.linspace(0, len(row) - 1, min(len(row), MOST_COLUMNS)).round().astype(int))
    spreads = [row[k] for k in at]
    there = [spread for spread in spreads if spread is not None and spread.counts.any()]
    lows, highs = ([getattr(spread, end) for spread in there] for end in ("low", "high"))
    low, high = 0.0, 1.0
    if there:
        low, high = float(np.quantile(lows, 0.01, method="lower")), float(np.quantile(highs, 0.99, method="higher"))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, HEIGHT + 1)
    shares = np.zeros((HEIGHT, len(spreads)))
    for k, spread in enumerate(spreads):
        if spread is not None and spread.counts.any():
            below = np.concatenate([[0], np.cumsum(spread.counts)]) / spread.counts.sum()
            ends = np.linspace(spread.low, spread.high, BINS + 1)
            if not spread.high > spread.low:  # equal numbers fill one bin
                start = min(max(spread.low, low), high - (high - low) / HEIGHT)
                below, ends = np.array([0.0, 1.0]), np.array([start, start + (high - low) / HEIGHT])
            shares[:, k] = np.diff(np.interp(edges, ends, below))
    return shares, low, high
