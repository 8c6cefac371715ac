"""Gradients of sums over blocks of data, which the workers of a Dask cluster compute.

Owns: `value_and_grad` over blocks; what a block may be, and how parameters and blocks
travel.
Must not own: what a task does (`tasks.py`); scheduling, retries and the moving of data,
which are Dask's.
Read next: `tasks.py`.

The gradient of a sum over rows is the sum of the gradients of its blocks. Parameters
and blocks travel as tasks, never as scattered data: if a worker is lost, Dask computes
again what was on it. Parts are added in pairs, in a tree whose shape depends on the
number of blocks alone, so the result is the same to the bit on any number of workers,
and without a cluster.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import math
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microgradnd.anew import generator
from microgradnd.failures import explained
from microgradnd.matching import plain
from microgradnd.settings import count
from microgradnd.tape import current
from microgradnd.tasks import Job, Part, added_up, generators, run
from microgradnd.trees import Tree, flatten, is_module

INSTALL = 'pip install "microgradnd[cluster]"'
FAN_IN = 8  # parts that one task adds: a power of 2, so that the tree is that of adding in pairs


@explained
def value_and_grad(
    loss: Callable[..., Any],
    client: Any = None,
    *,
    has_aux: bool = False,
    compile: bool = False,
    blocks_per_task: int = 1,
    rng: np.random.Generator | None = None,
    timeout: float = 60.0,
) -> Callable[[Tree, Any], tuple[Any, Tree]]:
    """Return a function that returns the sum of a loss over blocks of data, and the
    gradient of this sum.

    Parameters
    ----------
    loss : callable
        Takes parameters and a block; returns one real number, the sum over the rows of
        the block. Its result may depend on nothing else, as a block whose worker is
        lost is computed again.
    client : dask.distributed.Client, optional
        The connection to a cluster; by default everything is computed here, one block
        after the other, with the same result to the bit.
    has_aux : bool
        Whether the loss returns `(value, aux)`: `aux`, numbers and arrays in
        containers, is summed over the blocks too.
    compile : bool
        Whether to compile the gradient, by `mg.compile`, once in each thread of a
        worker.
    blocks_per_task : int
        Blocks that a task goes through, one after the other; it holds one of them at a
        time.
    rng : numpy.random.Generator, optional
        If given, the loss is called with `rng=`, a generator of its own for each block
        and step.
    timeout : float
        Seconds to wait for a worker while the cluster has none.

    Returns
    -------
    callable
        Takes `(params, data)`; returns `(value, gradient)`, or `((value, aux),
        gradient)`. `params` is a tree of arrays or modules, and the gradient has its
        structure. `data` is a Dask collection, such as an array whose blocks are chunks
        along its first axis; a tuple of collections with the same blocks, as of inputs
        and targets; or a list of blocks. A block in a list is a function without
        arguments that loads it, a `dask.delayed` object, a future, the data itself, or
        a tuple of these.

    Raises
    ------
    TypeError
        If `client` isn't a synchronous Client; when called, if the loss isn't one real
        number, if it changes a buffer of a module, or if calls with the same block
        differ: the first block of the first call is computed twice.
    ValueError
        When called: if there are no blocks, or the blocks of several collections
        differ.
    TimeoutError
        When called: if the cluster had no workers for `timeout` seconds.
    ImportError
        If Dask isn't installed and `client` is given.

    See Also
    --------
    microgradnd.value_and_grad : of one call.
    microgradnd.nn.fit : a training loop, which takes `client=` too.

    Notes
    -----
    The parameters are copied, and travel to the workers in each call. What the loss raises is raised here, with a note
    that names the block.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> def loss(w, block):
    ...     x, y = block
    ...     return np.sum((x @ w - y) ** 2)
    >>> x, y = np.arange(8.0).reshape(4, 2), np.ones(4)
    >>> f = mg.distributed.value_and_grad(loss)  # client=Client("tcp://...:8786") for a cluster
    >>> value, gradient = f(np.array([0.5, -0.5]), [(x[:2], y[:2]), (x[2:], y[2:])])
    >>> float(value), gradient
    (9.0, array([-36., -48.]))
    """
    if client is not None:
        check_client(client)
    given = [] if rng is None else [generator(rng)]
    stream = count("distributed.value_and_grad: blocks_per_task", blocks_per_task)
    whole = loss if has_aux else functools.partial(without_aux, loss)
    job = Job(whole, compiles=compile, takes_rng=bool(given), token=uuid.uuid4().hex)

    def summed(params: Tree, data: Any) -> tuple[Any, Tree]:
        nonlocal job
        total = sum_over(job, client, params, sources(data, client), stream, given, timeout)
        job = job._replace(is_checked=True)
        gradient = flatten(params)[1].rebuild(total.gradient)
        return (total.value, total.aux) if has_aux else total.value, gradient

    return summed


def without_aux(loss: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, tuple[()]]:
    """Call a loss, and return an empty auxiliary tree with it."""
    return loss(*args, **kwargs), ()


def check_client(client: Any) -> None:
    """Raise unless an object is a client that waits for its results."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(f"a cluster needs Dask: {INSTALL}") from error
    if not isinstance(client, Client) or client.asynchronous:
        raise TypeError(
            f"client must be a dask.distributed.Client that isn't asynchronous, got {client!r:.80}; write Client(...) "
            f"around an address or a LocalCluster"
        )


# Blocks. Each is a list: whether it is a tuple, and what its parts are loaded from


def is_collection(data: Any) -> bool:
    """Return whether data is a Dask collection of several blocks; a delayed object
    would say yes to any attribute.
    """
    return hasattr(type(data), "to_delayed")


def sources(data: Any, client: Any) -> list[list[Any]]:
    """Return the blocks of data, or raise."""
    columns = [data] if is_collection(data) else data
    are_columns = isinstance(columns, tuple | list) and len(columns) > 0 and all(map(is_collection, columns))
    if not are_columns and not isinstance(columns, list):
        raise TypeError(
            f"data must be a Dask collection, a tuple of collections, or a list of blocks, got {type(data).__name__}; "
            f"write [block] for a single one"
        )
    if are_columns:
        parts = [parts_of(column, client) for column in columns]
        rows = [getattr(column, "chunks", [[math.nan] * column.npartitions])[0] for column in columns]
        if not all(np.array_equal(own, rows[0], equal_nan=True) for own in rows):
            raise ValueError(f"data must be collections with the same blocks, got rows {rows!r:.120}; rechunk them")
        found = [[data is not columns[0], *block] for block in zip(*parts, strict=True)]
    else:
        blocks = [(True, *block) if type(block) is tuple else (False, block) for block in columns]
        found = [[is_tuple, *(source(part, client) for part in block)] for is_tuple, *block in blocks]
    if not found:
        raise ValueError("data must have at least one block, got none; check how its list is made")
    return found


def parts_of(collection: Any, client: Any) -> list[Any]:
    """Return what each block of a Dask collection is loaded from: a function, or a
    future where it is in memory.
    """
    if any(blocks > 1 for blocks in getattr(collection, "numblocks", ())[1:]):
        raise ValueError(
            f"a Dask array must be divided along its first axis only, got chunks {collection.chunks!r:.80}; write "
            f"x.rechunk({{0: 'auto', 1: -1}})"
        )
    parts = np.ravel(np.array(collection.to_delayed(), object)).tolist()
    if client is not None and importlib.import_module("distributed").futures_of(collection):
        return client.compute(parts)  # a block stays on its worker, and so does what is computed from it
    cull = importlib.import_module("dask.optimization").cull
    graph = dict(parts[0].__dask_graph__())
    return [functools.partial(computed, cull(graph, [part.key])[0], part.key) for part in parts]


def computed(graph: Any, key: Any) -> Any:
    """Compute a value of a Dask graph here and now, within the task that needs it."""
    return importlib.import_module("dask").get(graph, key)


def source(part: Any, client: Any) -> Any:
    """Return what a part of a block is loaded from: a function, a future, or the part
    itself.
    """
    if hasattr(type(part), "__dask_graph__"):
        return functools.partial(part.compute, scheduler="synchronous")
    is_future = client is None and isinstance(part, getattr(sys.modules.get("distributed"), "Future", ()))
    return part.result if is_future else part


# Sums over blocks


def sum_over(
    job: Job,
    client: Any,
    params: Tree,
    blocks: list[list[Any]],
    stream: int = 1,
    given: Sequence[np.random.Generator] = (),
    timeout: float = 60.0,
) -> Part:
    """Return what a job gives, summed over blocks, on a cluster or here, with seeds
    that `given` and modules draw.
    """
    if current().trace is not None or current().is_transformed:
        raise TypeError(
            "distributed.value_and_grad can't be differentiated or compiled itself; call it outside, with compile=True "
            "for compiled gradients"
        )
    leaves, form = flatten(params, is_module)
    seeds = [int(rng.integers(2**63)) for rng in (*given, *generators(params))]
    payload = job._replace(seeds=seeds, blocks=len(blocks)), form.rebuild(list(map(plain, leaves)))
    groups = [(start, blocks[start : start + stream]) for start in range(0, len(blocks), stream)]
    if client is None:
        return added_up(run(payload, *group) for group in groups)
    return arrived(client, submitted(client, *payload, groups), timeout)


def submitted(client: Any, job: Job, params: Tree, groups: list[Any]) -> Any:
    """Have a cluster run a job for groups of blocks and add up what they give; return
    the future of the sum.
    """
    import cloudpickle
    import dask

    call, function = uuid.uuid4().hex, cloudpickle.dumps((job.loss, job.differentiates))
    payload = cloudpickle.dumps((job._replace(token=hashlib.sha256(function).hexdigest()), params))
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):  # which parameters may reach
        shared = client.submit(cloudpickle.loads, payload, key=f"parameters-0-{call}")
        keys = [f"block-{start}-{call}" for start, _ in groups]
        parts = client.map(run, [shared] * len(groups), *zip(*groups, strict=True), key=keys)
        while len(parts) > 1:
            taken = [parts[i : i + FAN_IN] for i in range(0, len(parts), FAN_IN)]
            parts = client.map(added_up, taken, key=[f"sum-{len(parts)}-{i}-{call}" for i in range(len(taken))])
    return parts[0]


def arrived(client: Any, future: Any, timeout: float) -> Part:
    """Wait for a result, unless the cluster has no workers for so many seconds."""
    distributed = importlib.import_module("distributed")  # its `wait` has no types

    since = time.monotonic()
    while True:
        try:
            distributed.wait([future], timeout=min(1.0, timeout))
            break
        except TimeoutError:
            now = time.monotonic()
            if client.nthreads():
                since = now
            elif now - since >= timeout:
                raise TimeoutError(
                    f"the cluster at {client.scheduler.address} has had no workers for {timeout:g} seconds; start "
                    f"some and call again, or pass a longer timeout="
                ) from None
    try:
        return future.result()
    except distributed.KilledWorker as error:
        kind, number, *_ = str(error.task).split("-")
        error.add_note(
            f"This was in {kind} {number}, counted from 0: the workers that had it died. If it isn't this one that "
            f"kills them, it is one that they had at the same time."
        )
        raise
