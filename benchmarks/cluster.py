"""The cost of a step on a cluster: one and two workers measured, a hundred simulated.

Owns: the overhead of a step besides its arithmetic, a model that is fitted to the
measurements and compared with them, and the model's figures for clusters that we don't
have.
Must not own: data larger than memory (`out_of_core.py`).
Read next: `../docs/how-to/scale.md`.

    python benchmarks/cluster.py            # measure, fit, compare, simulate
    python benchmarks/cluster.py --simulate # simulate with the figures below

In the model, a step has these parts. The scheduler hands out one task after the other,
`task` seconds for each. The parameters go from worker to worker, which takes
log2(workers) transfers. A task reads its rows and computes; its time is lognormal. A
worker fails after an exponential time: its task is lost, and it is back after `restart`
seconds. Parts are added in groups of eight, level by level.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import json
import logging
import math
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from distributed import Client, LocalCluster

import microgradnd as mg
from microgradnd.distributed import FAN_IN

BLOCKS = 16


class Costs(NamedTuple):
    """The costs of a step that don't depend on its computation.

    Attributes
    ----------
    step, task, megabyte : float
        Seconds for each step, each task, and each MB of parameters.
    """

    step: float
    task: float
    megabyte: float


class Cluster(NamedTuple):
    """The assumptions about a cluster.

    Attributes
    ----------
    workers : int
    read, network : float
        MB/s that a worker reads, and that go from one worker to another.
    row : float
        Seconds of arithmetic for each row.
    spread : float
        Standard deviation of the logarithm of a task's time.
    failures : float
        How often a worker fails, in a day.
    restart : float
        Seconds until a worker that failed is back.
    """

    workers: int
    read: float = math.inf
    network: float = math.inf
    row: float = 0.0
    spread: float = 0.0
    failures: float = 0.0
    restart: float = 60.0


def simulate(
    costs: Costs,
    cluster: Cluster,
    tasks: int,
    rows: float,
    row_bytes: float,
    megabytes: float,
    rng: np.random.Generator,
) -> tuple[float, int]:
    """Return the seconds that a step takes, and how many tasks were lost.

    Parameters
    ----------
    tasks : int
        How many there are.
    rows, row_bytes : float
        In a task, and in a row.
    megabytes : float
        Of parameters.
    """
    transfer = megabytes / cluster.network
    begin = costs.step + costs.megabyte * megabytes + transfer * math.log2(max(cluster.workers, 2))
    mean = rows * (cluster.row + row_bytes / 1e6 / cluster.read)
    free = [begin] * cluster.workers
    rate = cluster.failures / 86_400
    handed_out, end, lost, todo = begin, begin, 0, tasks
    while todo:
        handed_out += costs.task
        start = max(heapq.heappop(free), handed_out)
        takes = mean * math.exp(rng.normal(0.0, cluster.spread) - cluster.spread**2 / 2) if cluster.spread else mean
        fails = rng.exponential(1 / rate) if rate else math.inf
        if fails < takes:
            lost += 1
            heapq.heappush(free, start + fails + cluster.restart)
            continue
        todo -= 1
        heapq.heappush(free, start + takes)
        end = max(end, start + takes)
    levels = math.ceil(math.log(tasks, FAN_IN)) if tasks > 1 else 0
    return end + levels * (FAN_IN - 1) * transfer, lost


# Measurements


def nothing(params: Any, block: Any) -> Any:
    """Return a loss that takes no time."""
    return params[0] * 0.0


def work(params: Any, block: int, rounds: int) -> Any:
    """Return a loss that takes some time, on numbers that stay in the cache."""
    x = np.full(20_000, 0.5 + block)
    for _ in range(rounds):
        np.tanh(x, out=x)
    return np.sum(params * x[: len(params)])


def median_of(f: Any, repeat: int) -> float:
    """Return the median seconds of a step; a first step doesn't count."""
    f()
    found = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def measure_overhead(client: Client, repeat: int) -> tuple[Costs, list[tuple[int, float, float]]]:
    """Return the costs that fit best, and steps that compute nothing."""
    f = mg.distributed.value_and_grad(nothing, client)
    points = []
    for tasks, megabytes in ((1, 0), (8, 0), (32, 0), (128, 0), (8, 1), (8, 8), (8, 32)):
        params = np.ones(max(1, megabytes * 125_000))
        seconds = median_of(functools.partial(f, params, list(range(tasks))), repeat)
        points.append((tasks, float(megabytes), seconds))
    left = np.array([[1.0, tasks, megabytes] for tasks, megabytes, _ in points])
    right = np.array([seconds for _, _, seconds in points])
    weighted = left / right[:, None]  # so that the small ones count as much
    return Costs(*np.maximum(np.linalg.lstsq(weighted, np.ones(len(right)), rcond=None)[0], 0.0)), points


def measure_work(clients: list[Client], repeat: int) -> list[list[float]]:
    """Return the seconds of steps with more and less arithmetic, here and on each
    cluster.
    """
    found = []
    for rounds in (30, 300, 3000):
        loss = functools.partial(work, rounds=rounds)
        params, blocks = np.ones(4), list(range(BLOCKS))
        calls = [mg.distributed.value_and_grad(loss, client) for client in (None, *clients)]
        times: list[list[float]] = [[] for _ in calls]
        for i in range(repeat + 1):
            for seen, call in zip(times, calls, strict=True):
                start = time.perf_counter()
                call(params, blocks)
                seen += [time.perf_counter() - start] * (i > 0)  # in the first call more is done
        found.append([statistics.median(seen) for seen in times])
    return found


def start(workers: int) -> LocalCluster:
    """Start worker processes of one thread each."""
    return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR)


def measure(repeat: int) -> dict[str, Any]:
    """Measure, fit and compare, with one worker and with two."""
    with start(1) as single, Client(single) as one, start(2) as pair, Client(pair) as two:
        costs, points = measure_overhead(two, repeat)
        times = measure_work([one, two], repeat)
    print(f"a step costs {1e3 * costs.step:.0f} ms, and {1e3 * costs.task:.1f} ms for each task,", end=" ")
    print(f"{1e3 * costs.megabyte:.1f} ms for each MB of parameters")
    print("tasks   MB   measured    model  (ms, two workers, no arithmetic)")
    for tasks, megabytes, seconds in points:
        model = costs.step + costs.task * tasks + costs.megabyte * megabytes
        print(f"{tasks:5d} {megabytes:4.0f} {1e3 * seconds:10.1f} {1e3 * model:8.1f}")
    print(f"arithmetic   1 worker   model   2 workers   model   gain  (ms, {BLOCKS} blocks)")
    for here, *there in times:
        rng = np.random.default_rng(0)
        model = [simulate(costs, Cluster(n, row=here / BLOCKS), BLOCKS, 1, 0, 0, rng)[0] for n in (1, 2)]
        print(f"{1e3 * here:10.1f} {1e3 * there[0]:10.0f} {1e3 * model[0]:7.0f} {1e3 * there[1]:11.0f}", end=" ")
        print(f"{1e3 * model[1]:7.0f} {there[0] / there[1]:6.2f}")
    return {"costs": costs._asdict(), "points": points, "times": times}


# Simulation

ROWS, ROW_BYTES = 1e12, 40.0  # five float64, 40 TB
ASSUMED = Costs(step=0.018, task=0.0018, megabyte=0.015)  # as measured here on two cores
HUNDRED = Cluster(100, read=500.0, network=1000.0, row=20e-9, spread=0.2, failures=1.0, restart=60.0)


def tell(costs: Costs) -> None:
    """Print the model's figures for 100 workers and 1e12 rows."""
    rng = np.random.default_rng(0)
    print(
        f"\n{ROWS:.0e} rows of {ROW_BYTES:.0f} bytes on {HUNDRED.workers} workers; each reads {HUNDRED.read:.0f} MB/s,"
    )
    print(f"computes {1e9 * HUNDRED.row:.0f} ns a row, sends {HUNDRED.network:.0f} MB/s and fails once a day;", end=" ")
    print(f"times of tasks vary by {HUNDRED.spread:.0%}; 1 MB of parameters")
    print("rows in a task     tasks   minutes a step   lost tasks   of the ideal")
    ideal = ROWS * (HUNDRED.row + ROW_BYTES / 1e6 / HUNDRED.read) / HUNDRED.workers
    for rows in (1e6, 1e7, 1e8, 1e9, 5e9):
        tasks = int(ROWS / rows)
        seconds, lost = simulate(costs, HUNDRED, tasks, rows, ROW_BYTES, 1.0, rng)
        print(f"{rows:14.0e} {tasks:9,} {seconds / 60:16.1f} {lost:12d} {ideal / seconds:14.0%}")
    print("\nwhat each part does, with 1e8 rows in a task:")
    changes: dict[str, dict[str, Any]] = {
        "as above": {},
        "tasks that vary by 100%": {"spread": 1.0},
        "no failures": {"failures": 0.0},
        "a worker fails every hour": {"failures": 24.0},
        "data in memory": {"read": math.inf},
        "10 workers": {"workers": 10},
        "1000 workers": {"workers": 1000},
    }
    for name, change in changes.items():
        cluster = HUNDRED._replace(**change)
        seconds, lost = simulate(costs, cluster, 10_000, 1e8, ROW_BYTES, 1.0, rng)
        print(f"{name:28} {seconds / 60:8.1f} minutes, {lost} tasks lost")
    for megabytes in (100.0, 1000.0):
        seconds, _ = simulate(costs, HUNDRED, 10_000, 1e8, ROW_BYTES, megabytes, rng)
        print(f"{f'{megabytes:.0f} MB of parameters':28} {seconds / 60:8.1f} minutes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true", help="measure nothing")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    costs = ASSUMED
    if not given.simulate:
        found = measure(given.repeat)
        costs = Costs(**found["costs"])
        given.out.mkdir(exist_ok=True)
        (given.out / "cluster.json").write_text(json.dumps(found))
    tell(costs)


if __name__ == "__main__":
    main()
