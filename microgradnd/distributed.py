"""Gradients of sums over blocks of data, which the workers of a Dask cluster compute.

Owns: `value_and_grad` over blocks; the kinds of blocks, how parameters and blocks
travel, and the work of a task.
Must not own: scheduling, retries and the moving of data, which Dask does; the steps of
`nn.fit` on a cluster (`steps.py`).
Read next: `transforms.py`, whose `value_and_grad` is called for each block.

The gradient of a sum over rows is the sum of the gradients of its blocks. Parameters
and blocks travel as tasks, never as scattered data: if a worker is lost, Dask runs its
tasks again. Parts are added in pairs, in a tree whose shape depends only on the number
of blocks. So the result is the same to the bit on any number of workers, and without a
cluster.

A task may run twice, so it depends on its arguments alone. The numbers of the
parameters travel by themselves. The rest, called a shell, is the same in each step: the
loss, and modules without their numbers. A worker keeps the functions that it makes from
a shell, compiled or not. Generators are seeded by step and block, and a loss that
changes a buffer is refused.
"""

from __future__ import annotations

import copy
import functools
import importlib
import math
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from microgradnd import compiler, transforms
from microgradnd.anew import generator
from microgradnd.failures import explained
from microgradnd.matching import matching, own, plain
from microgradnd.modes import no_grad
from microgradnd.nn import Parameter
from microgradnd.nn.fit import generators
from microgradnd.settings import count
from microgradnd.tape import current
from microgradnd.tensor import tensor
from microgradnd.trees import Tree, flatten, is_module

FAN_IN = 8  # parts that one task adds: a power of 2, so that they are a branch of the tree of pairs


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
    """Return a function that sums a loss over blocks of data, and its gradient.

    Parameters
    ----------
    loss : callable
        Takes parameters and a block; returns one real number, the sum over the rows of
        the block. Its result may depend on nothing else, since Dask computes a block
        again if its worker is lost.
    client : dask.distributed.Client, optional
        The connection to a cluster. By default this process computes one block after
        another, with the same result to the bit.
    has_aux : bool
        Whether the loss returns `(value, aux)`. Numbers and arrays in `aux` are summed
        over the blocks too.
    compile : bool
        Whether each thread of a worker compiles the gradient, by `mg.compile`.
    blocks_per_task : int
        The number of blocks in a task, which holds one of them at a time.
    rng : numpy.random.Generator, optional
        If given, the loss is called with `rng=`, a generator seeded for the block and
        the step.
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
        If `client` isn't a synchronous Client. When called: if `data` is none of these,
        if the loss isn't one real number, if it changes a buffer of a module, or if two
        calls with the same block differ (the first call computes its first block
        twice).
    ValueError
        When called: if the blocks of several collections differ.
    TimeoutError
        When called: if the cluster had no workers for `timeout` seconds.
    ImportError
        If Dask isn't installed, and `client` or `compile` is given.

    See Also
    --------
    microgradnd.value_and_grad : the value and gradient of one call.
    microgradnd.nn.fit : a training loop, which takes `client=` too.

    Notes
    -----
    The parameters travel to the workers in each call. An error that the loss raises is
    raised here, with a note that names the block.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> def loss(w, block):
    ...     x, y = block
    ...     return np.sum((x @ w - y) ** 2)
    >>> x, y = np.arange(8.0).reshape(4, 2), np.ones(4)
    >>> f = mg.distributed.value_and_grad(loss)  # or (loss, Client("tcp://...:8786"))
    >>> value, gradient = f(np.array([0.5, -0.5]), [(x[:2], y[:2]), (x[2:], y[2:])])
    >>> float(value), gradient
    (9.0, array([-36., -48.]))
    """
    if client is not None:
        check_client(client)
    stream = count("distributed.value_and_grad: blocks_per_task", blocks_per_task)
    given = {} if rng is None else {"rng": generator(rng)}
    job = Job(loss if has_aux else functools.partial(without_aux, loss), given=given, compiles=compile)
    is_checked = False

    def summed(params: Tree, data: Any) -> tuple[Any, Tree]:
        nonlocal is_checked
        (value, aux), gradient = sum_over(job, client, params, sources(data, client), stream, timeout, not is_checked)
        is_checked = True
        leaves, form = flatten(params)
        gradient = form.rebuild(list(map(own, gradient, leaves)))
        return (value, aux) if has_aux else value, gradient

    return summed


def without_aux(loss: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, tuple[()]]:
    """Call a loss, and return an empty auxiliary tree with it."""
    return loss(*args, **kwargs), ()


def needed(name: str) -> Any:
    """Import a module that comes with Dask, or raise."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError('this needs Dask: pip install "microgradnd[cluster]"') from error


def check_client(client: Any) -> None:
    """Raise unless an object is a client that waits for its results."""
    if not isinstance(client, needed("distributed").Client) or client.asynchronous:
        raise TypeError(
            f"client must be a dask.distributed.Client that isn't asynchronous, got {client!r:.80}; write Client(...) "
            f"around an address or a LocalCluster"
        )


# Blocks. Each is a list: whether it is a tuple, and the sources of its parts


def is_collection(data: Any) -> bool:
    """Return whether data is a Dask collection of several blocks."""
    return hasattr(type(data), "to_delayed")  # a delayed object itself has any attribute


def sources(data: Any, client: Any) -> list[list[Any]]:
    """Return the blocks of data, or raise."""
    columns = data if type(data) is tuple and data else (data,)
    if all(map(is_collection, columns)):
        rows = [getattr(column, "chunks", [[math.nan] * column.npartitions])[:1] for column in columns]
        if not all(np.array_equal(own, rows[0], equal_nan=True) for own in rows):
            raise ValueError(f"data must be collections with the same blocks, got rows {rows!r:.120}; rechunk them")
        parts = [parts_of(column, client) for column in columns]
        return [[columns is data, *block] for block in zip(*parts, strict=True)]
    if not isinstance(data, list) or not data:
        raise TypeError(
            f"data must be a Dask collection, a tuple of collections, or a list of at least one block, got "
            f"{data!r:.80}; write [block] for a single one"
        )
    blocks = [(True, block) if type(block) is tuple else (False, (block,)) for block in data]
    return [[is_tuple, *(source(part, client) for part in block)] for is_tuple, block in blocks]


def parts_of(collection: Any, client: Any) -> list[Any]:
    """Return the source of each block of a Dask collection.

    It is a function, or a future if the block is in memory.
    """
    if hasattr(collection, "rechunk"):  # an array: its blocks must hold whole rows
        collection = collection.rechunk(dict.fromkeys(range(1, collection.ndim), -1))
    parts = np.ravel(np.array(collection.to_delayed(), object)).tolist()
    if needed("distributed").futures_of(collection):  # a block stays where it is, and its task goes there
        return client.compute(parts) if client is not None else [part.compute for part in parts]
    graph, cull = dict(parts[0].__dask_graph__()), needed("dask.optimization").cull
    return [functools.partial(needed("dask").get, cull(graph, [part.key])[0], part.key) for part in parts]


def source(part: Any, client: Any) -> Any:
    """Return the source of a part of a block: a function, a future, or the part."""
    if hasattr(type(part), "__dask_graph__"):
        return functools.partial(part.compute, scheduler="synchronous")
    return part.result if client is None and type(part).__name__ == "Future" else part


def loaded(source: list[Any]) -> Any:
    """Return a block from its sources."""
    is_tuple, *parts = source
    parts = [part() if callable(part) else part for part in parts]
    return tuple(parts) if is_tuple else parts[0]


# Sums over blocks


class Job(NamedTuple):
    """The computation for each block, without the numbers of the parameters.

    Attributes
    ----------
    loss : callable
        Takes parameters and a block; returns one number and an auxiliary tree.
    params : tree
        The parameters without their numbers.
    measure : callable or None
        Takes the auxiliary tree, of arrays, and the block; returns a tree to sum in its
        place.
    given : dict
        The generator to call the loss with, as `rng`, if it takes one.
    differentiates, compiles : bool
        Whether the gradient is computed, and whether it is compiled.
    """

    loss: Callable[..., Any]
    params: Tree = None
    measure: Callable[[Any, Any], Any] | None = None
    given: Mapping[str, np.random.Generator] = {}
    differentiates: bool = True
    compiles: bool = False


def sum_over(
    job: Job, client: Any, params: Tree, blocks: list[Any], stream: int = 1, timeout: float = 60.0, checks: bool = False
) -> Any:
    """Return `((value, aux), gradient)`, summed over blocks on a cluster or here.

    The gradient is a list of arrays. `stream` blocks are one task. With `checks`, the
    first block is computed twice.
    """
    if current().trace is not None or current().is_transformed:
        raise TypeError(
            "distributed.value_and_grad can't be differentiated or compiled itself; call it outside, with compile=True "
            "for compiled gradients"
        )
    seeds = [int(rng.integers(2**63)) for rng in (*job.given.values(), *generators(modules_in(params)))]
    shell: Any = job._replace(params=emptied(params), given={name: np.random.default_rng(0) for name in job.given})
    if client is not None or job.compiles:
        shell = needed("cloudpickle").dumps(shell)
    step = shell, list(map(plain, flatten(params)[0])), seeds, checks
    groups = [(start, blocks[start : start + stream]) for start in range(0, len(blocks), stream)]
    if client is None:
        return added_up(groups, lambda group: run(step, *group))
    cloudpickle, call = needed("cloudpickle"), uuid.uuid4().hex
    # Parameters may be large, and Dask would warn of each step
    with needed("dask").config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
        shared = client.submit(cloudpickle.loads, cloudpickle.dumps(step), key=f"parameters-{call}")
        keys = [f"block-{start}-{call}" for start, _ in groups]
        again = 2 * job.compiles  # a thread of Dask that draws looks like the traced function, which is refused
        parts = client.map(run, [shared] * len(groups), *zip(*groups, strict=True), key=keys, retries=again)
        while len(parts) > 1:
            parts = client.map(added_up, [parts[i : i + FAN_IN] for i in range(0, len(parts), FAN_IN)])
    return arrived(client, parts[0], timeout)


def arrived(client: Any, future: Any, timeout: float) -> Any:
    """Return a result; raise if the cluster has no workers for `timeout` seconds."""
    while not future.done():
        try:
            needed("distributed").wait([future], timeout=min(1.0, timeout))
        except TimeoutError:
            if not client.nthreads():
                client.wait_for_workers(1, timeout)
    return future.result()


# What a task does


def modules_in(params: Tree) -> list[Any]:
    """Return the outermost modules of a tree."""
    return list(filter(is_module, flatten(params, is_module)[0]))


def emptied(params: Tree) -> Tree:
    """Return a copy of a tree without its trained numbers and states of generators."""
    leaves, form = flatten(params, is_module)
    modules = modules_in(params)
    instead: dict[int, Any] = {id(p): Parameter(0.0) for m in modules for p in m.parameters() if p.requires_grad}
    instead |= {id(rng): np.random.Generator(type(rng.bit_generator)(0)) for rng in generators(modules)}
    return form.rebuild([copy.deepcopy(leaf, instead) if is_module(leaf) else 0.0 for leaf in leaves])


@functools.lru_cache(maxsize=16)
def made(shell: Any, thread: int) -> tuple[Job, Callable[..., Any]]:
    """Return a job, and its function of numbers and a block.

    Each thread has its own, since several may run a job at the same time.
    """
    job = needed("cloudpickle").loads(shell) if isinstance(shell, bytes) else shell
    form = flatten(job.params)[1]

    def loss(numbers: list[Any], block: Any, **keywords: Any) -> Any:
        return job.loss(form.rebuild(numbers), block, **keywords)

    function: Any = transforms.value_and_grad(loss, has_aux=True) if job.differentiates else loss
    return job, compiler.compile(function) if job.compiles else function


def run(step: Any, start: int, group: list[list[Any]]) -> Any:
    """Return the sum over a group of blocks; `start` is the number of the first."""
    shell, numbers, seeds, checks = step
    make = made if isinstance(shell, bytes) else made.__wrapped__  # only a pickled job is kept
    job, function = make(shell, threading.get_ident())

    def result(number: int) -> Any:
        try:
            call = functools.partial(called, job, function, numbers, seeds, loaded(group[number - start]), number)
            first = call()
            if checks and number == 0:
                check_same(first, call())
            return first
        except Exception as error:
            error.add_note(f"This was in block {number}, counted from 0.")
            raise

    return added_up(range(start, start + len(group)), result)


def called(job: Job, function: Any, numbers: list[Any], seeds: list[int], block: Any, number: int) -> Any:
    """Call a function of numbers and a block, with generators seeded for the block."""
    modules = modules_in(job.params)
    for rng, seed in zip((*job.given.values(), *generators(modules)), seeds, strict=True):
        rng.bit_generator.state = type(rng.bit_generator)([seed, number]).state
    before = [(name, np.array(buffer)) for module in modules for name, buffer in module.named_buffers()]
    with no_grad():
        result = function(numbers if job.differentiates else list(map(tensor, numbers)), block, **job.given)
    (value, aux), gradient = result if job.differentiates else (result, [])
    after = [buffer for module in modules for _, buffer in module.named_buffers()]
    for (name, old), new in zip(before, after, strict=True):
        if not np.array_equal(old, new, equal_nan=True):
            raise TypeError(
                f"the loss changes the buffer {name!r}, of which each worker has its own; call eval() on that module, "
                f"or use one without running statistics, such as nn.GroupNorm or nn.LayerNorm"
            )
    leaves, form = flatten((value, aux))
    value, aux = form.rebuild(list(map(plain, leaves)))
    return (value, aux if job.measure is None else job.measure(aux, block)), gradient


def check_same(first: Any, second: Any) -> None:
    """Raise if two results for the same block differ by more than rounding."""
    added(first, second)  # which raises where they aren't numbers and arrays
    for x, y in zip(flatten(first)[0], flatten(second)[0], strict=True):
        scale = np.max(np.abs(x), initial=0.0, where=np.isfinite(x))
        if not np.allclose(x, y, rtol=1e-4, atol=1e-4 * scale, equal_nan=True):
            raise TypeError(
                "two calls of the loss for the same block differ, and Dask may repeat any of them; draw from the "
                "generator that rng= provides or from those of modules in params, and keep nothing between calls"
            )


def added_up(items: Sequence[Any], value_of: Callable[[Any], Any] = lambda item: item) -> Any:
    """Return the sum of the values of items, added in pairs.

    It is the same to the bit if groups of a power of 2 are added up first.
    """
    if len(items) == 1:
        return value_of(items[0])
    half = 2 ** ((len(items) - 1).bit_length() - 1)
    return added(added_up(items[:half], value_of), added_up(items[half:], value_of))


def added(a: Tree, b: Tree) -> Tree:
    """Return the sum of two trees."""
    ours, form = flatten(a)
    theirs = matching(*flatten(b), ours, form, "distributed.value_and_grad: the sum over blocks")
    return form.rebuild([x + y for x, y in zip(ours, theirs, strict=True)])
