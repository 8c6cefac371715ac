"""What a step on a cluster costs: measured with one and two workers, and simulated for
a hundred.

Owns: the overhead of a step besides its arithmetic, a model of it that is fitted to the
measurements and compared with them, and what the model says of clusters that we don't
have.
Must not own: data larger than memory (`out_of_core.py`).
Read next: `../docs/how-to/scale.md`.

    python benchmarks/cluster.py            # measure, fit, compare, simulate
    python benchmarks/cluster.py --simulate # simulate with the figures below

The model follows a step from message to message. The client builds and pickles the
tasks. Then the scheduler hands them out one by one. The parameters go from worker to
worker. A task reads its rows and computes, and its time varies as a lognormal does;
a task that adds eight parts starts when the last of them is there. A worker fails after
an exponential time: its task is lost, and it is back after `restart` seconds. Each
dependence of one task on another costs a `hop`, the time in which messages are under
way and nobody computes.

Client, scheduler and workers each have costs for a step, a task and a MB: seconds of
processor time, which processes measure of themselves. Only the hop is taken from the
clock, in a step of one task. So the times of all other steps are predictions. On one
machine the processes share `cores`, which is measured as the speed of two workers that
only compute: a step takes at least the work of all processes divided by that.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from distributed import Client, LocalCluster

import microgradnd as mg
from microgradnd.distributed import FAN_IN

BLOCKS = 16


class Share(NamedTuple):
    """Seconds of processor time that a process spends on a step, on each task, and on
    each MB that it packs or unpacks.
    """

    step: float
    task: float
    megabyte: float

    def of(self, tasks: float, megabytes: float) -> float:
        """Return the processor time of some tasks and MB."""
        return self.step + self.task * tasks + self.megabyte * megabytes


class Costs(NamedTuple):
    """The costs of a step that don't depend on what is computed.

    Attributes
    ----------
    client, scheduler, worker : Share
        The step of `worker` is that of all workers together.
    hop : float
        Seconds between the end of a task and the start of one that depends on it.
    """

    client: Share
    scheduler: Share
    worker: Share
    hop: float


class Cluster(NamedTuple):
    """What is assumed of a cluster.

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
    cores : float
        Processors that client, scheduler and workers share, if they are on one machine.
    """

    workers: int
    read: float = math.inf
    network: float = math.inf
    row: float = 0.0
    spread: float = 0.0
    failures: float = 0.0
    restart: float = 60.0
    cores: float = math.inf


def sums(tasks: int) -> Iterator[int]:
    """Yield how many tasks add parts, level by level."""
    while tasks > 1:
        tasks = math.ceil(tasks / FAN_IN)
        yield tasks


def handled(tasks: int, workers: int) -> float:
    """Return how often the workers together pack, unpack or make the parameters or a
    part, which is as large.

    Each worker with a task receives the parameters, all but the first from another one.
    A part is made once; if it is added on another worker, it is packed and unpacked.
    """
    used = min(tasks, workers)
    added = tasks + sum(sums(tasks)) - 1
    return 2 * used - 1 + tasks + 2 * added * (1 - 1 / used) + 1


class Machine:
    """The workers of a simulation: when each is free, and what was lost."""

    def __init__(self, cluster: Cluster, rng: np.random.Generator, begin: float) -> None:
        self.cluster, self.rng = cluster, rng
        self.free = [begin] * cluster.workers
        self.lost, self.busy = 0, 0.0

    def run(self, ready: float, seconds: float) -> float:
        """Return when a task ends that is ready at some time: on the worker that is
        free first, and again on others while a worker fails.
        """
        spread, rate = self.cluster.spread, self.cluster.failures / 86_400
        while True:
            start = max(heapq.heappop(self.free), ready)
            takes = seconds * math.exp(self.rng.normal(0.0, spread) - spread**2 / 2) if spread else seconds
            fails = self.rng.exponential(1 / rate) if rate else math.inf
            if fails >= takes:
                heapq.heappush(self.free, start + takes)
                self.busy += takes
                return start + takes
            self.lost += 1
            heapq.heappush(self.free, start + fails + self.cluster.restart)


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
    client, scheduler, worker, hop = costs
    used = min(tasks, cluster.workers)
    unpack = worker.megabyte * megabytes
    prepared = client.of(tasks, megabytes) + scheduler.step + scheduler.megabyte * megabytes
    arrives = prepared + hop + unpack + math.log2(used) * (2 * unpack + megabytes / cluster.network)
    machine = Machine(cluster, rng, arrives + worker.step / used)
    mean = worker.task + unpack + rows * (cluster.row + row_bytes / 1e6 / cluster.read)
    ends = [machine.run(arrives + hop + scheduler.task * (i + 1), mean) for i in range(tasks)]
    elsewhere = 1 - 1 / used  # the share of the parts that a sum has to fetch
    while len(ends) > 1:
        groups = [ends[i : i + FAN_IN] for i in range(0, len(ends), FAN_IN)]
        fetch = [len(group) * elsewhere * (2 * unpack + megabytes / cluster.network) for group in groups]
        ends = [
            machine.run(max(group) + hop + scheduler.task, worker.task + seconds)
            for group, seconds in zip(groups, fetch, strict=True)
        ]
    added = sum(sums(tasks))
    hops = 2 + len(list(sums(tasks)))
    work = client.of(tasks, megabytes) + scheduler.of(tasks + added, megabytes)
    work += worker.step + worker.megabyte * handled(tasks, cluster.workers) * megabytes
    work += worker.task * (tasks + added) + tasks * rows * cluster.row
    return max(ends[0] + unpack, work / cluster.cores + hops * hop), machine.lost


# Measurements


def nothing(params: Any, block: Any) -> Any:
    """Return a loss that takes no time."""
    return params[0] * 0.0


def work(params: Any, block: int, rounds: int) -> Any:
    """Return a loss that takes some time, for numbers that stay in the cache."""
    x = np.full(20_000, 0.5 + block)
    for _ in range(rounds):
        np.tanh(x, out=x)
    return np.sum(params * x[: len(params)])


def timed(f: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


class Point(NamedTuple):
    """A step without arithmetic that was measured.

    Attributes
    ----------
    tasks, megabytes : float
    wall : float
        The seconds of the fastest of several.
    client, scheduler, worker : float
        Processor time: of this thread, of the other threads of this process, and of all
        workers.
    """

    tasks: int
    megabytes: float
    wall: float
    client: float
    scheduler: float
    worker: float


def used(client: Client) -> Any:
    """Return the seconds of processor time that this thread, the other threads of this
    process, and all workers have used.
    """
    thread = time.thread_time()
    return np.array([thread, time.process_time() - thread, sum(client.run(time.process_time).values())])


def measure_idle(client: Client) -> Any:
    """Return the seconds that are used in each second in which nothing is asked for:
    by Dask's profiler, and by messages that processes send to say that they are there.
    """
    before = used(client)
    time.sleep(2.0)
    return (used(client) - before) / 2.0


def measure_cores(client: Client) -> float:
    """Return how much faster all workers together are than one of them: less than their
    number where processors share a core, or have other work.
    """
    spin = functools.partial(work, np.ones(4), 0, 3000)
    first = [next(iter(client.nthreads()))]
    alone, together = (
        min(timed(functools.partial(client.run, spin, workers=workers)) for _ in range(12)) for workers in (first, None)
    )
    return len(client.nthreads()) * alone / together


def measure_step(client: Client, tasks: int, megabytes: int, repeat: int, idle: Any) -> Point:
    """Measure steps that compute nothing: the least of each time over some batches of
    steps, as other programs only add to it.
    """
    f = mg.distributed.value_and_grad(nothing, client)
    call = functools.partial(f, np.ones(max(1, megabytes * 125_000)), list(range(tasks)))
    call()
    steps = max(2, 8 // (1 + megabytes))
    walls, shares = [], []
    for _ in range(repeat):
        before = used(client)
        batch = [timed(call) for _ in range(steps)]
        shares.append((used(client) - before - sum(batch) * idle) / steps)
        walls += batch
    return Point(tasks, megabytes, min(walls), *np.min(shares, axis=0).tolist())


def fitted(points: list[Point], workers: int) -> Costs:
    """Return the costs that fit processor times best, each error relative to its time,
    and the hop.
    """

    def share(name: str, count: Callable[[Point], list[float]]) -> Share:
        seconds = np.array([getattr(point, name) for point in points])
        left = np.array([count(point) for point in points]) / seconds[:, None]
        return Share(*np.maximum(np.linalg.lstsq(left, np.ones(len(points)), rcond=None)[0], 0.0).tolist())

    def of_all(point: Point) -> float:
        return point.tasks + sum(sums(point.tasks))

    client = share("client", lambda point: [1.0, point.tasks, point.megabytes])
    scheduler = share("scheduler", lambda point: [1.0, of_all(point), point.megabytes])
    worker = share("worker", lambda p: [1.0, of_all(p), handled(p.tasks, workers) * p.megabytes])
    first = points[0]  # one task, no parameters: two hops
    waits = first.wall - client.of(1, 0) - scheduler.of(1, 0) - worker.of(1, 0)
    return Costs(client, scheduler, worker, max(waits / 2, 0.0))


def measure_work(clients: list[Client], repeat: int) -> list[list[float]]:
    """Return the seconds of steps with different amounts of arithmetic: here alone,
    then on each cluster in turns; the fastest of several.
    """
    found = []
    for rounds in (30, 300, 3000):
        loss = functools.partial(work, rounds=rounds)
        params, blocks = np.ones(4), list(range(BLOCKS))
        calls = [
            functools.partial(mg.distributed.value_and_grad(loss, client), params, blocks)
            for client in (None, *clients)
        ]
        times = [[timed(call) for call in calls] for _ in range(repeat + 1)]
        found.append(np.min(times[1:], axis=0).tolist())  # in the first call more is done
    return found


def start(workers: int) -> LocalCluster:
    """Start worker processes of one thread each."""
    return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR)


SIZES = ((1, 0), (8, 0), (32, 0), (128, 0), (8, 1), (1, 8), (8, 8), (32, 4))


def measure(repeat: int) -> dict[str, Any]:
    """Measure, fit and compare, with one worker and with two."""
    with start(1) as single, Client(single) as one, start(2) as pair, Client(pair) as two:
        measure_step(two, 8, 1, 1, np.zeros(3))  # which loads what the workers need
        idle = measure_idle(two)
        cores = [measure_cores(two)]
        points = [measure_step(two, *size, repeat, idle) for size in SIZES]
        cores += [measure_cores(two)]
        times = measure_work([one, two], repeat)
        cores += [measure_cores(two)]
    return {"points": points, "times": times, "cores": statistics.median(cores)}


def compare(points: list[Point], times: list[list[float]], cores: float) -> Costs:
    """Print the measured times next to the model's; return the costs."""
    costs = fitted(points, 2)
    print("processor time, ms           step   task     MB")
    for name, share in costs._asdict().items():
        if name != "hop":
            print(f"{name:24} {1e3 * share.step:8.2f} {1e3 * share.task:6.2f} {1e3 * share.megabyte:6.2f}")
    print(f"a hop takes {1e3 * costs.hop:.1f} ms; two workers compute {cores:.2f} times as fast as one")
    print("arithmetic   tasks   MB   workers   measured   model, busy cores   model, free cores  (ms)")
    cases = [(0.0, point.tasks, point.megabytes, 2, point.wall) for point in points]
    cases += [(here, BLOCKS, 0.0, n, there[n - 1]) for here, *there in times for n in (1, 2)]
    for here, tasks, megabytes, n, measured in cases:
        models = [
            simulate(costs, Cluster(n, row=here / tasks, cores=k), tasks, 1, 0, megabytes, np.random.default_rng(0))[0]
            for k in (cores, 2)
        ]
        print(f"{1e3 * here:10.1f} {tasks:7d} {megabytes:4.0f} {n:9d} {1e3 * measured:10.1f}", end=" ")
        print(f"{1e3 * models[0]:19.1f} {1e3 * models[1]:19.1f}")
    return costs


# Simulation

ROWS, ROW_BYTES = 1e12, 40.0  # five float64, 40 TB
ASSUMED = Costs(  # as measured on a machine of two cores
    client=Share(0.0009, 0.00003, 0.0009),
    scheduler=Share(0.0037, 0.0005, 0.0038),
    worker=Share(0.0020, 0.0012, 0.0008),
    hop=0.0016,
)
HUNDRED = Cluster(100, read=500.0, network=1000.0, row=20e-9, spread=0.2, failures=1.0, restart=60.0)


def tell(costs: Costs) -> None:
    """Print what the model says of 100 workers and 1e12 rows."""
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
        "reads of 100 MB/s": {"read": 100.0},
        "10 workers": {"workers": 10},
        "1000 workers": {"workers": 1000},
    }
    for name, change in changes.items():
        cluster = HUNDRED._replace(**change)
        seconds, lost = simulate(costs, cluster, 10_000, 1e8, ROW_BYTES, 1.0, rng)
        print(f"{name:28} {seconds / 60:8.1f} minutes, {lost} tasks lost")
    for megabytes, network in ((100.0, 1000.0), (1000.0, 1000.0), (1000.0, 100.0)):
        cluster = HUNDRED._replace(network=network)
        seconds, _ = simulate(costs, cluster, 10_000, 1e8, ROW_BYTES, megabytes, rng)
        name = f"{megabytes:.0f} MB of parameters, {network:.0f} MB/s"
        print(f"{name:36} {seconds / 60:8.1f} minutes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true", help="measure nothing")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    costs = ASSUMED
    if not given.simulate:
        found = measure(given.repeat)
        given.out.mkdir(exist_ok=True)
        (given.out / "cluster.json").write_text(json.dumps(found))
        costs = compare(**found)
    tell(costs)


if __name__ == "__main__":
    main()
