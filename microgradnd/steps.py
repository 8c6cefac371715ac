"""The steps of `nn.fit` on a cluster, which computes the batches of a step in parallel.

Owns: the loop of `nn.fit(..., client=client)`, whose blocks are batches, and Dask
arrays as its data.
Must not own: the training loop (`nn/fit.py`), or the computation of blocks
(`distributed.py`).
Read next: `distributed.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from microgradnd import optim, saving
from microgradnd.distributed import FAN_IN, Job, check_client, is_collection, loaded, sources, sum_over
from microgradnd.nn.fit import Loop, generators, measured, several, watched
from microgradnd.trees import is_module


class Blocks:
    """The blocks of Dask arrays, each of which is a batch.

    Attributes
    ----------
    sources : list
        The sources of each block.
    ends : array of int
        The number of the row that follows each block.
    """

    def __init__(self, taker: str, data: Any, client: Any) -> None:
        arrays = data if isinstance(data, tuple | list) else (data,)
        self.sources = [[True, *parts] for _, *parts in sources(tuple(arrays), client)]
        rows = [getattr(array, "chunks", [[math.nan]])[0] for array in arrays]
        if np.isnan(np.sum(rows)):
            raise ValueError(
                f"{taker}: the rows of each block must be known; call compute_chunk_sizes() on Dask arrays"
            )
        self.ends = np.cumsum(rows[0])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def batches(self, order: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the numbers of the rows of each block, and its sources."""
        starts = [0, *self.ends]
        return ((range(starts[i], starts[i + 1]), *self.sources[i][1:]) for i in order)


def reader(client: Any) -> Callable[[str, Any], list[Any]]:
    """Return a function that reads a data set: its arrays, or blocks of Dask arrays."""
    check_client(client)

    def read(taker: str, data: Any) -> list[Any]:
        arrays = data if isinstance(data, tuple | list) else (data,)
        return [Blocks(taker, data, client)] if any(map(is_collection, arrays)) else several(taker, data)

    return read


def batch_loss(loss: Any, measures: bool, modules: list[Any], block: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the share of a batch in its step's loss, and a prediction for metrics.

    Without metrics, the prediction is empty.
    """
    model, *own = modules
    share, *batch = block
    prediction = model(*batch[:-1] or batch)
    value = (own[0] if own else loss)(prediction, batch[-1])
    if np.size(value) != 1:
        raise ValueError(f"fit: loss must return one number, got shape {np.shape(value)}; average it with np.mean")
    return value * share, prediction if measures else ()


def sums_of(metrics: dict[str, Any], prediction: Any, block: tuple[Any, ...]) -> dict[str, float]:
    """Return the metrics of a batch, times its rows."""
    return {name: measured(name, metric(prediction, block[-1])) * len(block[-1]) for name, metric in metrics.items()}


@dataclasses.dataclass
class Steps(Loop):
    """The steps of one training on a cluster.

    Attributes
    ----------
    client : dask.distributed.Client
    compiles : bool
        Whether tasks compile the gradient.
    """

    client: Any = None
    compiles: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        loss: Any = self.loss
        self.params = [self.model, loss] if is_module(loss) else [self.model]
        function = functools.partial(batch_loss, None if is_module(loss) else loss, self.measures)
        measure = functools.partial(sums_of, self.metrics) if self.metrics else None
        self.job, self.is_checked = Job(function, measure=measure, compiles=self.compiles), False

    def count(self, arrays: list[Any]) -> int:
        """Return the number of batches or blocks in an epoch."""
        return len(arrays[0].sources) if isinstance(arrays[0], Blocks) else super().count(arrays)

    def batches(self, arrays: list[Any], shuffle: bool, rng: Any, drop_last: bool) -> Iterator[Any]:
        """Go once through the batches, or the blocks of Dask arrays."""
        if not isinstance(arrays[0], Blocks):
            return super().batches(arrays, shuffle, rng, drop_last)
        if drop_last:
            raise ValueError("fit: drop_last=True can't be combined with Dask arrays, whose blocks are the batches")
        count = len(arrays[0].sources)
        return arrays[0].batches(rng.permutation(count) if shuffle else range(count))

    def train(
        self, numbered: Iterator[Any], means: dict[str, float], epoch: int, suspect: tuple[float, int]
    ) -> Iterator[float]:
        """Take the steps of an epoch, and yield for each batch the loss of its step.

        From `suspect` on, look for NaN.
        """
        if not self.model.training:
            self.model.train()
        done = 0
        while group := list(itertools.islice(numbered, self.accumulate)):
            if (epoch, done + len(group) - 1) >= suspect:
                self.watch(group, f"step {done + 1} of epoch {epoch}")
            self.optimizer.zero_grad()
            value, gradients = self.compute(means, self.rows, group, self.job, checks=not self.is_checked)
            self.is_checked = True
            trained = [p for module in self.params for p in module.parameters() if p.requires_grad]
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter.backward(gradient)
            if self.max_norm is not None:
                optim.clip_grad_norm_(self.optimizer.params, self.max_norm)
            self.optimizer.step()
            self.after_step(value)
            done += len(group)
            yield from [value] * len(group)

    def evaluate(self, arrays: list[Any], epoch: int) -> dict[str, float]:
        """Return the loss and the metrics of arrays or blocks."""
        self.model.eval()
        means: dict[str, float] = {}
        batches = list(self.batches(arrays, False, None, False))
        job = self.job._replace(differentiates=False)
        value, _ = self.compute(means, len(arrays[0]), batches, job, FAN_IN)
        if not np.isfinite(value):
            self.watch(batches, f"the validation after epoch {epoch}")
        return means

    def compute(
        self, means: dict[str, float], rows: int, group: list[Any], job: Job, stream: int = 1, checks: bool = False
    ) -> tuple[float, list[Any]]:
        """Return the loss of batches and its gradients.

        Add loss and metrics to the means over all rows.
        """
        count = sum(len(numbers) for numbers, *_ in group)
        blocks = [[True, len(numbers) / count, *batch] for numbers, *batch in group]
        (value, sums), gradients = sum_over(job, self.client, self.params, blocks, stream, checks=checks)
        for name, total in {"loss": value * count, **dict(sums)}.items():
            means[name] = means.get(name, 0.0) + float(total) / rows
        return float(value), gradients

    def watch(self, group: list[Any], when: str) -> None:
        """Repeat a step's batches here, and raise at the first NaN or infinity."""
        drawing = generators(self.params)
        before = saving.states(drawing)
        for numbers, *parts in group:
            batch = loaded([True, *self.client.gather(parts)])
            with watched(self.model, when, np.asarray(numbers), list(batch)):
                value, _ = self.predict(batch)
                if self.model.training:
                    value.backward()
        self.optimizer.zero_grad()
        saving.restore(drawing, before, "fit")
