"""The training loop that everyone writes.

Owns: `fit` and the `History` that it returns.
Must not own: batches (`../data.py`), files (`../saving.py`), one step of an optimizer
(`../optim/`), plots (`viz/plots/`).
Read next: `../data.py`.

An epoch can be repeated exactly. At its start, `fit` copies the state of everything
that the epoch changes, including the generators for dropout and for the order of the
rows. So a resumed checkpoint leads to the same numbers. And when the loss becomes NaN,
the epoch is repeated with `detect_anomaly` to find out where.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from microgradnd import optim
from microgradnd.anew import Rng, generator
from microgradnd.anomaly import detect_anomaly
from microgradnd.data import batches, columns
from microgradnd.modes import no_grad
from microgradnd.nn.calls import checked
from microgradnd.nn.module import Module
from microgradnd.nn.paths import scoped
from microgradnd.tape import current
from microgradnd.tensor import Tensor
from microgradnd.trees import flatten, is_module

Callback = Callable[[Module, "History"], Any]

INSTALL = 'pip install "microgradnd[examples]"'
# Steps, or one epoch, that are repeated to find a NaN: copying the state takes as long
# as several steps
REPEATED = 100


class History(dict[str, list[float]]):
    """The losses and metrics of each epoch of a training: a dict of lists.

    Its keys are "loss" and the names of the metrics, and these names with
    "validation_" in front.

    Attributes
    ----------
    stopped_by : {"epochs", "patience", "callback", "interrupt"}
        Why the training ended.
    best_epoch : int or None
        With early stopping, the epoch whose weights the model has, counted from 1.

    Examples
    --------
    >>> from microgradnd.nn.fit import History
    >>> history = History(loss=[2.0, 1.0], validation_loss=[3.0, 1.5])
    >>> figure = history.plot(log=True)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['loss', 'validation_loss']
    """

    stopped_by = "epochs"
    best_epoch: int | None = None

    def plot(self, *names: str, **options: Any) -> Any:
        """Plot entries, by default the losses, as a figure; see `viz.plot_history`."""
        shown = names or [name for name in self if name.endswith("loss")]
        if unknown := [name for name in shown if name not in self]:
            raise ValueError(f"History.plot: names must be among {', '.join(self)}, got {unknown[0]!r}")
        viz = importlib.import_module("microgradnd.viz")  # on use, since viz imports nn
        return viz.plot_history({name: self[name] for name in shown}, **options)


@checked
def fit(
    model: Module,
    data: Any,
    loss: Callable[[Any, Any], Any],
    optimizer: Any,
    *,
    epochs: int,
    batch_size: int = 32,
    validation: Any = None,
    metrics: Mapping[str, Callable[[Any, Any], float]] | None = None,
    scheduler: Any = None,
    scheduler_step: Literal["epoch", "batch"] = "epoch",
    max_norm: float | None = None,
    accumulate: int = 1,
    patience: int | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    compile: bool = False,
    shuffle: bool = True,
    drop_last: bool = False,
    rng: Rng = None,
    client: Any = None,
) -> History:
    """Train a model, and return the losses and metrics of each epoch.

    Ctrl-C ends the training after the current step, and the model keeps the weights
    that it has learned. After the training, the model is in evaluation mode.

    Parameters
    ----------
    model : Module
        It is called with the inputs of a batch.
    data : tuple of array_like, each of shape (n, ...)
        The inputs, then the target; a single array serves as both. Memory-mapped arrays
        are read batch by batch.
    loss : callable
        Takes the model's output and the target, and returns their loss, one number;
        `F.mse_loss`, for example.
    optimizer : Optimizer
        The optimizer of the model's parameters.
    epochs : int
        The number of passes through the data.
    batch_size : int
        The number of rows in a batch; the last batch may be smaller.
    validation : tuple of array_like, optional
        The loss and the metrics are also computed on these arrays after each epoch.
    metrics : mapping of str to callable, optional
        Each takes the model's output as an array and the target, and returns a number.
        On the training data they are computed during the training. They are means over
        the batches, weighted by rows.
    scheduler : object with step(), optional
        Its `step` is called after each epoch, or with `scheduler_step="batch"` after
        each step of the optimizer. If `step` takes `metrics`, it gets the (validation)
        loss of the epoch, or the loss of the batch.
    max_norm : float, optional
        The largest norm of all gradients together; `optim.clip_grad_norm_` clips them.
    accumulate : int
        The number of batches whose gradients are averaged for one step, as if they were
        one batch.
    patience : int, optional
        Stop when the validation loss, or without validation the training loss, has had
        no new minimum for this number of epochs. Whenever `patience` is given, the
        weights of the best epoch are restored at the end.
    callbacks : sequence of callable
        Each is called with the model and the History after each epoch. The training
        stops if one returns True.
    checkpoint : path, optional
        A file that `mg.save` replaces after each epoch.
    resume : bool
        Whether to continue from the checkpoint, if the file exists. The numbers are the
        same as without the interruption.
    progress : bool, optional
        Whether to show a progress bar by tqdm. By default it is shown if tqdm is
        installed and the output is a terminal or a notebook.
    compile : bool
        Whether to compile the steps with `mg.compile`.
    shuffle, drop_last : bool
        See `data.batches`.
    rng : numpy.random.Generator, optional
        The generator for shuffling; by default a new one with fresh entropy.
    client : dask.distributed.Client, optional
        The connection to a cluster. Its workers compute the batches of each step in
        parallel, and `accumulate` is their number. The arrays may then be Dask arrays:
        each block is a batch, and blocks are shuffled, not rows.

    Returns
    -------
    History

    Raises
    ------
    FloatingPointError
        If the loss or a parameter becomes NaN or infinite. The message names the step,
        layer and operation. The model has the weights from before that step.
    ValueError
        If arrays don't fit, an option is out of range, or the checkpoint doesn't fit.
    TypeError
        If an argument has the wrong type.
    ImportError
        For `progress=True` without tqdm, or `client` without Dask.

    See Also
    --------
    microgradnd.data.split : makes training and validation data.
    microgradnd.distributed.value_and_grad : computes the batches on a cluster.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import data, nn, optim
    >>> from microgradnd.nn import functional as F
    >>> rng = np.random.default_rng(0)
    >>> x = np.linspace(-3, 3, 100)[:, None]
    >>> training, validation = data.split(x, np.sin(x), sizes=(0.8, 0.2), rng=rng)
    >>> hidden, output = nn.Linear(1, 32, rng=rng), nn.Linear(32, 1, rng=rng)
    >>> model = nn.Sequential(hidden, nn.Tanh(), output)
    >>> optimizer = optim.Adam(model.parameters(), lr=0.01)
    >>> history = nn.fit(
    ...     model,
    ...     training,
    ...     F.mse_loss,
    ...     optimizer,
    ...     epochs=100,
    ...     validation=validation,
    ...     rng=rng,
    ... )
    >>> history["validation_loss"][-1] < 0.01
    True
    """
    if (trace := current().trace) is not None:
        raise trace.refusal("fit()", "Call it outside, with compile=True")
    has_place = checkpoint is None and not resume
    if isinstance(checkpoint, str | os.PathLike):
        has_place = Path(checkpoint).absolute().parent.is_dir() and not Path(checkpoint).is_dir()
    makes_loss = callable(loss) and not isinstance(loss, type)
    measures = metrics is None or (isinstance(metrics, Mapping) and all(callable(m) for m in metrics.values()))
    schedules = scheduler is None or (hasattr(scheduler, "step") and not isinstance(scheduler, type))
    calls = isinstance(callbacks, Sequence) and all(callable(callback) for callback in callbacks)
    for name, value, is_right, expected in (
        ("model", model, isinstance(model, Module), "a Module instance"),
        ("loss", loss, makes_loss, "a function of prediction and target, or a module such as nn.MSELoss()"),
        ("optimizer", optimizer, isinstance(optimizer, optim.Optimizer), "an Optimizer instance"),
        ("metrics", metrics, measures and "loss" not in (metrics or ()), "a dict of functions without the key 'loss'"),
        ("callbacks", callbacks, calls, "a list of functions"),
        ("scheduler", scheduler, schedules, "a schedule instance"),
        ("scheduler_step", scheduler_step, scheduler_step in ("epoch", "batch"), "'epoch' or 'batch'"),
        ("checkpoint", checkpoint, has_place, "the path of a file in an existing folder (resume=True needs one)"),
    ):
        if not is_right:
            raise TypeError(f"fit: {name} must be {expected}, got {value!r:.60}")
    if not {id(parameter) for parameter in optimizer.params} & {id(parameter) for parameter in model.parameters()}:
        raise ValueError("fit: optimizer updates no parameter of this model; make one with model.parameters()")
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError("fit: scheduler belongs to another optimizer; make one with the optimizer that fit is given")
    from microgradnd import saving  # on use: it loads json, zipfile and their compressors

    steps_of: Any = Loop
    read = several
    if client is not None:
        on_cluster = importlib.import_module("microgradnd.steps")
        read, steps_of = on_cluster.reader(client), functools.partial(on_cluster.Steps, client=client, compiles=compile)
    arrays, held = read("fit", data), None if validation is None else read("fit: validation", validation)
    n = len(arrays[0])
    size = min(batch_size, n)
    rows = n // size * size if drop_last else n
    loop = steps_of(model, loss, optimizer, dict(metrics or {}), max_norm, accumulate, size, rows)
    wants_loss = scheduler is not None and "metrics" in inspect.signature(scheduler.step).parameters

    def advance(when: str, value: float) -> None:
        if scheduler is not None and scheduler_step == when:
            scheduler.step(*([value] if wants_loss else []))

    loop.after_step = lambda value: advance("batch", value)
    if compile:
        compiled = importlib.import_module("microgradnd.compiler").compile
        loop.run_step, loop.run_predict = compiled(loop.step), compiled(loop.predict)
    rng = generator(rng)
    with_loss: list[Any] = [model, loss] if isinstance(loss, Module) else [model]  # a loss may have parameters too
    changing = {"model": model, "loss": with_loss[1:], "optimizer": optimizer, "scheduler": scheduler}
    changing["generators"] = [rng, *generators(with_loss)]
    history, best = History(loss=[]), None
    if resume and checkpoint is not None and os.path.exists(checkpoint):
        saved = saving.load(checkpoint)
        names = ["loss", *loop.metrics]
        names += [] if held is None else [f"validation_{name}" for name in names]
        if isinstance(saved, dict) and isinstance(saved.get("history"), dict) and {*saved["history"]} != {*names}:
            raise ValueError(
                f"fit: checkpoint must have a history of {', '.join(names)}, got one of "
                f"{', '.join(map(str, saved['history']))}; pass the same metrics and validation, or start another "
                f"checkpoint"
            )
        into = {"changing": changing, "history": {}, "best": None}
        saved = saving.restore(into, saved, f"fit: {os.fspath(checkpoint)}")
        history.update(saved["history"])
        best = saved["best"]
    judged = history.setdefault("loss" if held is None else "validation_loss", [])
    steps, before, since = loop.count(arrays), None, 0

    def epoch(number: int, means: dict[str, float], suspect: tuple[float, int] = (math.inf, 0)) -> Iterator[float]:
        return loop.train(loop.batches(arrays, shuffle, rng, drop_last), means, number, suspect)

    def find_nan(suspect: tuple[float, int]) -> NoReturn:
        saving.restore(changing, before, "fit")
        for number in range(since + 1, len(judged) + 2):
            list(epoch(number, {}, suspect))
            if number <= len(judged):
                advance("epoch", judged[number - 1])
        raise FloatingPointError(
            f"fit: the loss or a parameter became NaN or infinite after {len(judged)} epochs, but not when the steps "
            f"were repeated to find out where; pass rng= to everything random, and take no steps outside fit"
        )

    model.train()
    quiet = np.errstate(divide="ignore", over="ignore", invalid="ignore")  # NaN is reported once, by fit
    with quiet, interruptible() as interrupts, bar(progress, epochs * steps, len(judged) * steps) as shown:
        while len(judged) < epochs:
            if interrupts:
                history.stopped_by = "interrupt"
                break
            if patience is not None and judged and len(judged) - np.argmin(judged) > patience:
                history.stopped_by = "patience"
                break
            if before is None or (len(judged) - since) * steps >= REPEATED:
                if before is not None and not is_finite(model):
                    find_nan((since + 1, 0))
                before, since = saving.states(changing), len(judged)
            means: dict[str, float] = {}
            for i, value in enumerate(epoch(len(judged) + 1, means)):
                if not math.isfinite(value):
                    find_nan((len(judged) + 1, max(i - 1, 0)))  # a NaN gradient shows in the next loss
                if shown is not None:
                    shown.update()
                if interrupts:
                    break
            else:
                if held is not None:
                    found = loop.evaluate(held, len(judged) + 1)
                    means |= {f"validation_{name}": mean for name, mean in found.items()}
                for name, mean in means.items():
                    history.setdefault(name, []).append(mean)
                advance("epoch", judged[-1])
                if patience is not None and np.argmin(judged) == len(judged) - 1:
                    best = model.state_dict()
                if shown is not None:
                    shown.set_postfix({name: f"{values[-1]:.4g}" for name, values in history.items()})
                if checkpoint is not None:
                    saving.save(checkpoint, {"changing": changing, "history": history, "best": best})
                stops = [callback(model, history) for callback in callbacks]
                if any(stops):
                    history.stopped_by = "callback"
                    break
        if not is_finite(model):
            find_nan((since + 1, 0))
    if best is not None:
        model.load_state_dict(best)
        history.best_epoch = int(np.argmin(judged)) + 1
    model.eval()
    return history


def generators(modules: Sequence[Module]) -> list[np.random.Generator]:
    """Return the generators that modules, and modules inside of them, draw from."""
    inner = [module for outer in modules for module in outer.modules()]
    parts = [part for module in inner for part in flatten(dict(vars(module)), is_module)[0]]
    return [part for part in parts if isinstance(part, np.random.Generator)]


def is_finite(model: Module) -> bool:
    """Return whether no parameter holds NaN or an infinity."""
    return all(bool(np.isfinite(parameter.data).all()) for parameter in model.parameters())


@dataclasses.dataclass
class Loop:
    """The steps of one training.

    Attributes
    ----------
    model, loss, optimizer, metrics, max_norm, accumulate : object
        See `fit`.
    size, rows : int
        The numbers of rows in a full batch, and in all batches of an epoch.
    run_step, run_predict : callable
        `step` and `predict`, possibly compiled.
    after_step : callable
        Called after each step, with the loss of its last batch.
    """

    model: Module
    loss: Callable[[Any, Any], Any]
    optimizer: Any
    metrics: dict[str, Callable[[Any, Any], float]]
    max_norm: float | None
    accumulate: int
    size: int
    rows: int
    run_step: Any = None
    run_predict: Any = None
    after_step: Any = None

    def __post_init__(self) -> None:
        self.run_step, self.run_predict = self.step, self.predict
        self.measures = bool(self.metrics)  # a compiled step must not read the metrics, which may change

    def predict(self, batch: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return the loss of a batch, and the model's output if a metric needs it."""
        prediction = self.model(*batch[:-1] or batch)
        value = self.loss(prediction, batch[-1])
        if np.size(value) != 1:
            raise ValueError(f"fit: loss must return one number, got shape {np.shape(value)}; return its np.mean")
        return value, prediction if self.measures else None

    def step(self, batch: tuple[Any, ...], share: float, is_first: bool, is_last: bool) -> tuple[Any, Any]:
        """Add a batch's gradient to its group's; after the last batch, take a step."""
        if is_first:
            self.optimizer.zero_grad()
        value, prediction = self.predict(batch)
        if not getattr(value, "requires_grad", False):
            raise TypeError(
                f"fit: loss must be computed from parameters that require gradients, got {value!r:.60}; compute it "
                f"from the model's output with NumPy functions"
            )
        (value * share if self.accumulate > 1 else value).backward()
        if is_last:
            if self.max_norm is not None:
                optim.clip_grad_norm_(self.optimizer.params, self.max_norm)
            self.optimizer.step()
        return value, prediction

    def count(self, arrays: list[Any]) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(self.rows / self.size)

    def batches(self, arrays: list[Any], shuffle: bool, rng: Any, drop_last: bool) -> Iterator[Any]:
        """Yield the batches of arrays, each with the numbers of its rows."""
        numbers = np.arange(len(arrays[0]))
        return batches(numbers, *arrays, size=self.size, shuffle=shuffle, rng=rng, drop_last=drop_last)

    def train(
        self, numbered: Iterator[Any], means: dict[str, float], epoch: int, suspect: tuple[float, int]
    ) -> Iterator[float]:
        """Take the steps of an epoch, and yield the loss of each batch.

        From the (epoch, step) `suspect` on, the steps look for NaN.
        """
        if not self.model.training:
            self.model.train()
        for i, (numbers, *batch) in enumerate(numbered):
            group = i // self.accumulate * self.accumulate * self.size
            share = len(numbers) / min(self.accumulate * self.size, self.rows - group)
            is_last = (i + 1) % self.accumulate == 0 or (i + 1) * self.size >= self.rows
            run: Any = self.step
            within: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
            if (epoch, i) >= suspect:
                within = watched(self.model, f"step {i + 1} of epoch {epoch}", numbers, batch)
            else:
                run = self.run_step
            with within:
                value, prediction = run(tuple(batch), share, i % self.accumulate == 0, is_last)
            if is_last:
                self.after_step(value.item())
            yield self.added(means, self.rows, batch, value, prediction)

    def evaluate(self, arrays: list[Any], epoch: int) -> dict[str, float]:
        """Return the loss and the metrics on arrays."""
        self.model.eval()
        means: dict[str, float] = {}
        for numbers, *batch in self.batches(arrays, False, None, False):
            with no_grad():
                value = self.added(means, len(arrays[0]), batch, *self.run_predict(tuple(batch)))
            if not np.isfinite(value):
                with watched(self.model, f"the validation after epoch {epoch}", numbers, batch):
                    self.predict(tuple(batch))
        return means

    def added(self, means: dict[str, float], rows: int, batch: list[Any], value: Any, prediction: Any) -> float:
        """Return the loss; add it and the metrics to the means over all rows."""
        found = {"loss": value.item()}
        if self.metrics:
            leaves, form = flatten(prediction)
            plain = form.rebuild([leaf.data if isinstance(leaf, Tensor) else leaf for leaf in leaves])
            found |= {name: measured(name, metric(plain, batch[-1])) for name, metric in self.metrics.items()}
        for name, number in found.items():
            means[name] = means.get(name, 0.0) + number * len(batch[0]) / rows
        return found["loss"]


def measured(name: str, value: Any) -> float:
    """Return the value of a metric, or raise if it isn't one number."""
    value = value.data if isinstance(value, Tensor) else value
    if np.size(value) != 1 or np.asarray(value).dtype.kind not in "biuf":
        raise TypeError(f"fit: metrics[{name!r}] must return one number, got {value!r:.60}; return its np.mean")
    return float(np.asarray(value).item())


def several(taker: str, data: Any) -> list[Any]:
    """Return the arrays of a data set."""
    return columns(taker, data if isinstance(data, tuple | list) else (data,))


@contextlib.contextmanager
def watched(model: Module, when: str, numbers: Any, batch: list[Any]) -> Iterator[None]:
    """Raise a located error at the first operation that makes a NaN or an infinity."""
    try:
        with detect_anomaly(), scoped(model):
            yield
    except FloatingPointError as error:
        data = ""
        for i, array in enumerate(batch):
            rows = numbers[~np.isfinite(array).reshape(len(array), -1).all(axis=1)]
            data += f"; array {i} of the data is NaN or infinite in row {rows.min()}" if len(rows) else ""
        raise FloatingPointError(
            f"fit: NaN or infinity in {when}: {error}{data}. The model has its earlier weights; clean the data, lower "
            f"the learning rate, or clip gradients with max_norm="
        ) from error


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Record the first Ctrl-C in a list; the second one interrupts as usual."""
    noted: list[int] = []

    def note(number: int, _: Any) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    is_main = threading.current_thread() is threading.main_thread()
    if is_usual := is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        if is_usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def bar(progress: bool | None, total: int, done: int) -> Any:
    """Return a context manager: a tqdm bar, or one that yields None if it is hidden."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    is_seen = hasattr(shell, "kernel") or (sys.stderr is not None and sys.stderr.isatty())
    if not (is_seen if progress is None else progress):
        return contextlib.nullcontext()
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        if progress is None:
            return contextlib.nullcontext()
        raise ImportError(f"fit: progress=True needs the package tqdm: {INSTALL}") from error
    return tqdm(total=total, initial=done, unit="step")
