"""What a task on a worker does: a loss and its gradient for some blocks, and the sum of
such parts.

Owns: loading a block, calling the loss in a way that can be repeated, and adding in
pairs.
Must not own: anything of Dask, which a task doesn't see (`distributed.py`).
Read next: `transforms.py`, whose `value_and_grad` is called for each block.

Dask runs a task again if its result is lost. So a task depends on its arguments alone:
whatever draws is seeded by the step and the block, modules are copies, and a loss that
changes a buffer is refused.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from microgradnd import transforms
from microgradnd.matching import matching, plain
from microgradnd.modes import no_grad
from microgradnd.nn.module import INTERNAL
from microgradnd.trees import Tree, flatten, is_module


class Job(NamedTuple):
    """What is computed for each block.

    Attributes
    ----------
    loss : callable
        Takes parameters and a block; returns one number and an auxiliary tree.
    measure : callable or None
        Takes the auxiliary tree, of arrays, and the block; returns what is summed in
        the place of that tree.
    differentiates, compiles, takes_rng : bool
        Whether the gradient is computed; whether it is compiled; whether the loss is
        called with `rng=`.
    token : str
        What a worker knows the compiled loss by.
    blocks : int
        How many there are.
    is_checked : bool
        Whether it is known that the loss gives the same twice.
    seeds : sequence of int
        One for the generator of the loss, if it takes one, and for each one of the
        modules among the parameters.
    """

    loss: Callable[..., Any]
    measure: Callable[[Any, Any], Any] | None = None
    differentiates: bool = True
    compiles: bool = False
    takes_rng: bool = False
    token: str = ""
    blocks: int = 0
    is_checked: bool = False
    seeds: Sequence[int] = ()


class Part(NamedTuple):
    """A sum over some blocks: of the loss, of auxiliary trees, and of the leaves of
    gradients.
    """

    value: Any
    aux: Tree
    gradient: list[Any]


def run(payload: tuple[Job, Tree], start: int, group: list[list[Any]]) -> Part:
    """Return what a job gives, summed over blocks, the first of which has this
    number.
    """
    return added_up(one(*payload, number, block) for number, block in enumerate(group, start))


def loaded(block: Sequence[Any]) -> Any:
    """Return a block, in memory."""
    is_tuple, *parts = block
    parts = [part() if callable(part) else part for part in parts]
    return tuple(parts) if is_tuple else parts[0]


def one(job: Job, params: Tree, number: int, source: list[Any]) -> Part:
    """Return what a job gives for one block."""
    try:
        block = loaded(source)
        function, params, rng = callee(job, params)
        keywords = {"rng": rng} if job.takes_rng else {}
        call = functools.partial(called, job, function, params, block, number, keywords)
        part = traced(call) if job.compiles else call()
        if not job.is_checked and number == 0:
            check_same(part, call())
        return part
    except Exception as error:
        error.add_note(f"This was in block {number}, counted from 0, of {job.blocks}.")
        raise


def traced(call: Callable[[], Part]) -> Part:
    """Make a call that may trace a function; up to twice again, as threads of Dask that
    draw look like the function.
    """
    error = importlib.import_module("microgradnd.compiler.trace").TraceError
    for _ in range(2):
        with contextlib.suppress(error):
            return call()
    return call()


def called(job: Job, function: Any, params: Tree, block: Any, number: int, keywords: dict[str, Any]) -> Part:
    """Call a function of parameters and block, with generators that are seeded for this
    step and block.
    """
    for rng, seed in zip((*keywords.values(), *generators(params)), job.seeds, strict=True):
        rng.bit_generator.state = type(rng.bit_generator)([seed, number]).state
    before = [(name, np.array(buffer)) for name, buffer in buffers(params)]
    with no_grad():
        result = function(params, block, **keywords)
    (value, aux), gradient = result if job.differentiates else (result, ())
    for (name, old), (_, new) in zip(before, buffers(params), strict=True):
        if not np.array_equal(old, new, equal_nan=True):
            raise TypeError(
                f"the loss changes the buffer {name!r}, and each worker has a copy of its own: call eval() on that "
                f"module, or use one without running statistics, such as nn.GroupNorm or nn.LayerNorm"
            )
    leaves, form = flatten((value, aux))
    value, aux = form.rebuild(list(map(plain, leaves)))
    return Part(value, aux if job.measure is None else job.measure(aux, block), flatten(gradient)[0])


def check_same(first: Part, second: Part) -> None:
    """Raise if two calls for the same block differ by more than rounding."""
    for x, y in zip(flatten(tuple(first))[0], flatten(tuple(second))[0], strict=True):
        scale = np.max(np.abs(x), initial=0.0)
        if not np.allclose(x, y, rtol=1e-4, atol=1e-4 * scale if np.isfinite(scale) else 0.0, equal_nan=True):
            raise TypeError(
                "two calls of the loss for the same block differ, so a block that is computed again would too: draw "
                "from the generator that rng= provides, or from those of modules among the parameters, and keep "
                "nothing between calls"
            )


def modules_in(params: Tree) -> list[Any]:
    """Return the outermost modules of a tree."""
    return [leaf for leaf in flatten(params, is_module)[0] if is_module(leaf)]


def buffers(params: Tree) -> list[tuple[str, Any]]:
    """Return the buffers of the modules of a tree, with their names."""
    return [pair for module in modules_in(params) for pair in module.named_buffers()]


def generators(params: Tree) -> list[np.random.Generator]:
    """Return the generators that the modules of a tree draw from, each once."""
    inner = [module for outer in modules_in(params) for module in outer.modules()]
    parts = [part for module in inner for part in flatten(dict(vars(module)), is_module)[0]]
    return list({id(part): part for part in parts if isinstance(part, np.random.Generator)}.values())


def callee(job: Job, params: Tree) -> tuple[Any, Tree, np.random.Generator]:
    """Return a function of parameters and a block, the parameters, and a generator.

    Modules are a thread's own, as other threads may be at the same. A compiled function
    is kept, with the modules that it knows, and these take over what has changed.
    """
    function = transforms.value_and_grad(job.loss, has_aux=True) if job.differentiates else job.loss
    if not job.compiles:
        return function, copy.deepcopy(params) if modules_in(params) else params, np.random.default_rng()
    leaves, form = flatten(params, is_module)
    of_thread = kept(job.token, flatten(params)[1], threading.get_ident())
    if not of_thread:
        compiled = importlib.import_module("microgradnd.compiler").compile(function)
        of_thread.append((compiled, copy.deepcopy(leaves), np.random.default_rng()))
    function, own, rng = of_thread[0]
    for i, (mine, new) in enumerate(zip(own, leaves, strict=True)):
        if is_module(new):
            take_over(mine, new)
        else:
            own[i] = new
    return function, form.rebuild(own), rng


@functools.lru_cache(maxsize=32)
def kept(token: str, form: Any, thread: int) -> list[Any]:
    """Return what a thread of this process keeps of a job for parameters of one form:
    nothing at first.
    """
    return []


def take_over(mine: Any, new: Any) -> None:
    """Have a module take over the parameters, buffers and settings of another one like
    it.
    """
    mine.load_state_dict(new.state_dict())
    for inner, other in zip(mine.modules(), new.modules(), strict=True):
        given = settings(other)
        for name in settings(inner).keys() - given.keys():
            delattr(inner, name)  # which the other one leaves to its class, as `training` until it is set
        for name, value in given.items():
            setattr(inner, name, value)


def settings(module: Any) -> dict[str, Any]:
    """Return what a module keeps of its own apart from parameters, buffers, modules and
    generators.
    """
    own = vars(module).items()
    return {
        name: value
        for name, value in own
        if name not in INTERNAL and name not in module._kinds and not isinstance(value, np.random.Generator)
    }


# Sums


def added_up(parts: Iterable[Part]) -> Part:
    """Return the sum of parts, added in pairs: the sum of sums of as many as a power of
    2 is the same to the bit.
    """
    waiting: list[tuple[int, Part]] = []  # each with how often it was added to its like
    for part in parts:
        level = 0
        while waiting and waiting[-1][0] == level:
            part, level = added(waiting.pop()[1], part), level + 1
        waiting.append((level, part))
    total = waiting.pop()[1]
    while waiting:
        total = added(waiting.pop()[1], total)
    return total


def added(a: Part, b: Part) -> Part:
    """Return the sum of two parts."""
    ours, form = flatten(tuple(a))
    theirs = matching(*flatten(tuple(b)), ours, form, "distributed.value_and_grad: what the loss returns for a block")
    pairs = zip(ours, theirs, strict=True)
    return Part(*form.rebuild([np.asarray(x + y) if isinstance(x, np.ndarray) else x + y for x, y in pairs]))
