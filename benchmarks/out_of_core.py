"""Gradient descent over data that is larger than the memory of the workers.

Owns: linear regression on a file of rows, by exact gradients from workers with little
memory, against the normal equations; the curve of their memory.
Must not own: what a step on a cluster costs (`cluster.py`).
Read next: `../docs/how-to/scale.md`.

    python benchmarks/out_of_core.py --rows 100_000_000 --limit 190

A task reads its block with `np.fromfile`: a memory map would count as resident as soon
as it is read. The normal equations are added up while the file is written, so neither
side ever holds the data. Dask's profiler is off: it keeps the call stacks of the last
hour, some MB a minute, which would hide what the gradients need.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
from distributed import Client, LocalCluster
from matplotlib.figure import Figure

import microgradnd as mg

BETA = np.array([0.5, 2.0, -1.3, 0.8, 0.1])  # the intercept first
COLUMNS = len(BETA)  # four features and y
BLOCK = 250_000  # rows, 10 MB
MIB = 2**20


def generate(path: Path, rows: int) -> Any:
    """Write rows of features and y to a file; return the normal equations' solution."""
    rng = np.random.default_rng(1)
    directions, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    mix = directions * np.sqrt([0.75, 0.9, 1.1, 1.25]) @ directions.T  # so that the features are correlated
    left, right = np.zeros((COLUMNS, COLUMNS)), np.zeros(COLUMNS)
    with path.open("wb") as file:
        for start in range(0, rows, BLOCK):
            z = rng.normal(size=(min(BLOCK, rows - start), COLUMNS))
            z[:, :4] = z[:, :4] @ mix
            x = np.column_stack([np.ones(len(z)), z[:, :4]])
            z[:, 4] += x @ BETA
            left += x.T @ x
            right += x.T @ z[:, 4]
            z.tofile(file)
    return np.linalg.solve(left, right)


def load(path: Path, start: int, rows: int) -> Any:
    """Read some rows."""
    return np.fromfile(path, count=rows * COLUMNS, offset=start * COLUMNS * 8).reshape(rows, COLUMNS)


def loss(beta: Any, block: Any) -> Any:
    """Return the sum of squared errors."""
    return np.sum((block[:, :4] @ beta[1:] + beta[0] - block[:, 4]) ** 2)


class Memory(threading.Thread):
    """The resident memory of processes, measured ten times a second.

    Attributes
    ----------
    times, used : list
        Seconds, and for each of them the MiB of each process.
    """

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self.processes = [psutil.Process(pid) for pid in pids]
        self.times: list[float] = []
        self.used: list[list[float]] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        start = time.perf_counter()
        while not self.is_over.wait(0.1):
            self.used.append([process.memory_info().rss / MIB for process in self.processes])
            self.times.append(time.perf_counter() - start)


def draw(memory: Memory, ends: list[float], limit: float, size: float) -> Figure:
    """Return a figure of the workers' memory, and when each step ended."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    ax = figure.subplots()
    for i, used in enumerate(zip(*memory.used, strict=True)):
        ax.plot(memory.times, used, lw=1, label=f"worker {i + 1}")
    ax.vlines(ends, 0, limit / 20, color="grey", lw=0.8, label="a step ends")
    ax.axhline(limit, color="black", ls="--", lw=1, label="limit of a worker")
    ax.set(xlabel="seconds", ylabel="resident memory (MiB)", ylim=(0, 1.15 * limit))
    ax.set_title(f"Exact gradients over {size / MIB:,.0f} MiB of data, step by step", loc="left", fontsize=10)
    ax.legend(ncols=4, fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.12))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=190, help="MiB of memory for each worker")
    parser.add_argument("--per-task", type=int, default=4, help="blocks in a task")
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.out if given.out.is_dir() else None) as folder:
        path = Path(folder, "rows")
        start = time.perf_counter()
        expected = generate(path, given.rows)
        size = path.stat().st_size
        print(f"{given.rows:,} rows, {size / MIB:,.0f} MiB, written in {time.perf_counter() - start:.0f} s")
        blocks = [
            functools.partial(load, path, row, min(BLOCK, given.rows - row)) for row in range(0, given.rows, BLOCK)
        ]
        with (
            dask.config.set({"distributed.worker.profile.enabled": False}),
            LocalCluster(
                n_workers=given.workers,
                threads_per_worker=1,
                memory_limit=given.limit * MIB,
                dashboard_address=":0",
                silence_logs=logging.ERROR,
            ) as cluster,
            Client(cluster) as client,
        ):
            print(f"{given.workers} workers with {given.limit} MiB each: the data is", end=" ")
            print(f"{size / MIB / given.limit / given.workers:.1f} times as large as their memory")
            memory = Memory(list(client.run(os.getpid).values()))
            memory.start()
            f = mg.distributed.value_and_grad(loss, client, blocks_per_task=given.per_task)
            beta, ends = np.zeros(COLUMNS), []
            begin = time.perf_counter()
            for step in range(1, given.steps + 1):
                value, gradient = f(beta, blocks)
                beta = beta - gradient / (2 * given.rows)
                ends.append(time.perf_counter() - begin)
                error = np.max(np.abs(beta - expected) / np.abs(expected))
                if step <= 4 or step % 4 == 0:
                    print(f"step {step:3d}  loss {value:.10e}  from the normal equations {error:.1e}", flush=True)
            memory.is_over.set()
            memory.join()
            assert set(client.run(os.getpid).values()) == {process.pid for process in memory.processes}
    peak = np.max(memory.used)
    print(f"{ends[-1] / given.steps:.2f} s a step; a worker used at most {peak:.0f} MiB, and none was started again")
    given.out.mkdir(exist_ok=True)
    draw(memory, ends, given.limit, size).savefig(given.out / "out_of_core.png", dpi=110)
    found = {"rows": given.rows, "bytes": size, "limit": given.limit, "workers": given.workers, "peak": float(peak)}
    found |= {"seconds": ends[-1] / given.steps, "error": float(error), "times": memory.times, "used": memory.used}
    (given.out / "out_of_core.json").write_text(json.dumps(found))
    print(f"wrote {given.out / 'out_of_core.png'} and {given.out / 'out_of_core.json'}")


if __name__ == "__main__":
    main()
