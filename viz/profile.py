"""Flame graphs of the time and memory of each operation, forward and backward.

Owns: the measurement, its sums by scopes and operations, and the picture.
Must not own: the backward walk (`../microgradnd/tape.py`), or scopes (`record.py`).
Read next: `record.py`; `plots/canvas.py`.

Time is read whenever an operation is recorded, and on the way back whenever its rules
are done, so the Python code before an operation counts as part of it. Memory is read in
a separate run, since that slows everything down.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.modes import Recording
from microgradnd.registry import Results
from microgradnd.tape import Mode, Operation, walk
from microgradnd.tensor import Tensor
from microgradnd.viz import signs
from microgradnd.viz.plots.canvas import figure_class, figure_of, plain
from microgradnd.viz.record import Part, Record, tree
from microgradnd.viz.table import _bytes as bytes_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"forward": ("#cfe6f5", "#9ccbe8"), "backward": ("#fbe3cf", "#f5c08f")}  # of scopes, and of operations
TOTAL = "#e8e8e8"
FLAT = 0.0015  # of the whole: a narrower box has no border
LETTER = 4.2  # points: its average width
WIDTH, ROW = 9.0, 0.34  # inches


@dataclass
class Frame:
    """A box of the flame graph.

    Attributes
    ----------
    name : str
        A scope, or an operation as it is written.
    size : float
        Seconds or bytes, including the contents.
    count : int
        How many operations.
    within : dict of str to Frame
    """

    name: str
    size: float = 0.0
    count: int = 0
    within: dict[str, Frame] = field(default_factory=dict)

    def add(self, path: tuple[str, ...], size: float) -> None:
        """Add the use of one operation; its path is its scopes and its name."""
        frame = self
        for name in ("", *path):
            frame = frame.within.setdefault(name, Frame(name)) if name else frame
            frame.size += size
            frame.count += 1


class Meter(Recording):
    """Measures the use since the last operation, whenever one is recorded."""

    def __init__(self, read: Callable[[], float]) -> None:
        super().__init__()
        self.read = read
        self.used: list[tuple[Operation, float]] = []
        read()

    def changed(self, mode: Mode) -> Mode:
        record = mode.record
        if record is None:
            return mode

        def measured(*call: Any) -> Operation:
            node = record(*call)
            self.used.append((node, self.read()))
            return node

        return mode._replace(record=measured)


def clock() -> Callable[[], float]:
    """Return a function that returns the seconds since its last call."""
    last = [time.perf_counter()]

    def read() -> float:
        now = time.perf_counter()
        used = now - last[0]
        last[0] = time.perf_counter()
        return used

    return read


def allocated() -> Callable[[], float]:
    """Return a function that returns the peak of extra bytes since its last call."""
    before = [tracemalloc.get_traced_memory()[0]]

    def read() -> float:
        used = max(tracemalloc.get_traced_memory()[1] - before[0], 0)
        tracemalloc.reset_peak()
        before[0] = tracemalloc.get_traced_memory()[0]
        return float(used)

    return read


@explained
def profile(f: Callable[..., Any], *args: Any, repeat: int = 5, title: str | None = None) -> Figure:
    """Measure the time and memory of a computation, and draw them as flame graphs.

    The width of a box is its use of time or memory. The first row is everything, the
    second the forward and the backward pass; then come scopes (modules and `mg.scope`),
    and last the operations, grouped by kind within a scope. The time of an operation
    runs from one record on the tape to the next, so it includes the Python code before
    it; the quickest of several runs counts. Its memory is the additional peak while it
    ran.

    Parameters
    ----------
    f : callable
        Returns the result (a loss). It is called `repeat` + 2 times, without setting
        any `.grad` or calling hooks.
    *args
        Its arguments.
    repeat : int
        The number of timed runs.
    title : str, optional
        The title.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in Jupyter; `figure.savefig("profile.svg")` writes it to a file.

    Raises
    ------
    TypeError
        If `f` can't be called, or doesn't return a Tensor that depends on one that
        requires a gradient.
    ValueError
        If `repeat` is less than 1.
    ImportError
        If matplotlib isn't installed.

    See Also
    --------
    table : memory by operations.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> def loss(w):
    ...     with mg.scope("model"):
    ...         y = np.tanh(np.ones((100, 50)) @ w)
    ...     return np.sum(y**2)
    >>> figure = viz.profile(loss, mg.tensor(np.ones((50, 20)), requires_grad=True))
    >>> [ax.get_title(loc="left").split(":")[0] for ax in figure.axes]
    ['time', 'memory']
    """
    if not callable(f):
        raise TypeError(f"viz.profile: f must be a function that returns a loss, got a {type(f).__name__}")
    if repeat < 1:
        raise ValueError(f"viz.profile: repeat, the number of timed runs, must be at least 1, got {repeat}")
    figure_class()  # raises before the measurement if matplotlib is missing
    _measured(f, args, clock())
    runs = [_measured(f, args, clock()) for _ in range(repeat)]
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        memory = _measured(f, args, allocated())
    finally:
        if not was_tracing:
            tracemalloc.stop()
    quickest = min(runs, key=lambda run: sum(used for way in run[1:] for _, used in way))
    return _drawn({"time": _whole(*quickest), "memory": _whole(*memory)}, title)


Uses = list[tuple[Operation, float]]
Used = tuple[Tensor, Uses, Uses]  # result, forward, backward


def _measured(f: Callable[..., Any], args: tuple[Any, ...], read: Callable[[], float]) -> Used:
    """Run a computation forward and backward, and return the use per operation."""
    meter = Meter(read)
    with meter:
        result = f(*args)
    node = result._node if isinstance(result, Tensor) else None
    if not isinstance(node, Operation):
        what = f"a Tensor of shape {result.shape}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
        raise TypeError(
            f"viz.profile: f must return a Tensor that was computed from one that requires a gradient, got {what}; "
            f"pass parameters as mg.tensor(..., requires_grad=True)"
        )
    back: Uses = []
    if type(node.out) is not Results:
        with np.errstate(all="ignore"):
            read()
            walk([(node, np.ones_like(node.out))], done=lambda node, g, parts: back.append((node, read())))
    return result, meter.used, back


def _whole(result: Tensor, forward: Uses, backward: Uses) -> Frame:
    """Return the flame graph of all operations, scope by scope."""
    assert isinstance(result._node, Operation)
    record = Record(result._node)
    homes = {i: part for part in tree(record).parts() for i in part.children if isinstance(i, int)}
    whole = Frame("total")
    for way, uses in (("forward", forward), ("backward", backward)):
        for node, used in uses:
            scopes: list[Part] = []
            if node in record.index and (home := homes.get(record.index[node])) is not None:
                scopes = home.ancestors()[1:]
            sign, _ = signs.written(node)
            whole.add((way, *map(_called, scopes), sign), used)
    return whole


def _called(part: Part) -> str:
    """Return the name of a scope in the outer one: `0 Block`, `mlp`."""
    outer = [f"{scope.path}." for scope in part.ancestors()[:-1] if scope.path]
    within = max((path for path in outer if part.path.startswith(path)), key=len, default="")
    path, label = part.path.removeprefix(within), part.label.partition("(")[0]
    return f"{path} {label}".strip() if not path or path.isdecimal() else path


def _drawn(wholes: dict[str, Frame], title: str | None) -> Figure:
    """Return the picture of the flame graphs, stacked."""
    depths = {what: _depth(whole) for what, whole in wholes.items()}
    heights = [ROW * depth for depth in depths.values()]
    with figure_of(title, figsize=(WIDTH, sum(heights) + 0.5 * len(heights) + 0.3)) as figure:
        axes = figure.subplots(len(wholes), 1, gridspec_kw={"height_ratios": heights}, squeeze=False)[:, 0]
        for ax, (what, whole) in zip(axes, wholes.items(), strict=True):
            ways = ", ".join(f"{way.name} {_written(way.size, what)}" for way in whole.within.values())
            ax.set_title(f"{what}: {_written(whole.size, what)} ({ways})", loc="left", fontsize=10)
            ax.set(xlim=(0, whole.size or 1), ylim=(-depths[what], 0))
            ax.set_axis_off()
            _boxes(ax, whole, what)
    return figure


def _boxes(ax: Axes, whole: Frame, what: str) -> None:
    """Draw a box for each frame, below its parent."""
    from matplotlib.patches import Rectangle

    todo = [(whole, 0.0, 0, "")]
    while todo:
        frame, left, row, way = todo.pop()
        way = way or (frame.name if frame.name in COLOURS and row == 1 else "")
        face = COLOURS[way][not frame.within] if way else TOTAL
        share = frame.size / whole.size if whole.size else 0.0
        edge = "white" if share > FLAT else face
        ax.add_patch(Rectangle((left, -row - 0.97), frame.size, 0.94, facecolor=face, edgecolor=edge, linewidth=0.8))
        room = share * WIDTH * 72 * 0.95
        times = f" ×{frame.count:,}" if frame.count > 1 and not frame.within else ""
        long = f"{frame.name}{times} · {_written(frame.size, what)} · {share:.0%}"
        said = next(
            (plain(text) for text in (long, f"{frame.name}{times}", frame.name) if LETTER * len(text) < room), ""
        )
        if said:
            ax.text(left + frame.size / 2, -row - 0.5, said, ha="center", va="center", fontsize=7.5, color="black")
        for child in frame.within.values():
            todo.append((child, left, row + 1, way))
            left += child.size


def _depth(whole: Frame) -> int:
    """Return the number of rows of a flame graph."""
    rows, level = 0, [whole]
    while level:
        rows, level = rows + 1, [child for frame in level for child in frame.within.values()]
    return rows


def _written(size: float, what: str) -> str:
    """Return seconds or bytes as text.

    Examples
    --------
    >>> from microgradnd.viz.profile import _written
    >>> _written(0.00123, "time"), _written(2_400_000, "memory")
    ('1.230 ms', '2.4 MB')
    """
    return bytes_text(int(size)) if what == "memory" else f"{1000 * size:,.3f} ms"
