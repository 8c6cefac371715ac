"""Modes in generators and coroutines: whoever runs between two steps of one has the
mode that it had before.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import threading
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextvars import copy_context
from typing import Any

import numpy as np
import pytest

import microgradnd as mg
from microgradnd.suspended import OPEN
from microgradnd.tape import Mode, current


def records() -> bool:
    return bool((mg.tensor(1.0, requires_grad=True) * 2).requires_grad)


def quiet(steps: int = 3) -> Iterator[bool]:
    """Record nothing; yield what is so at each step."""
    with mg.no_grad():
        for _ in range(steps):
            yield records()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert not OPEN
    assert current().record is not None
    assert type(current()) is Mode


@mg.no_grad()
def evaluation() -> Iterator[bool]:
    yield records()


@contextlib.contextmanager
def evaluating() -> Iterator[None]:
    with mg.no_grad():
        yield


def by_stack() -> Iterator[bool]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(mg.no_grad())
        yield records()
        yield records()


def by_manager() -> Iterator[bool]:
    with evaluating(), contextlib.ExitStack() as stack:
        stack.enter_context(evaluating())
        yield records()
        yield records()


def by_helper() -> Iterator[bool]:
    """Enter another context in a function that it calls."""
    stack = contextlib.ExitStack()

    def add(context: Any) -> None:
        context.__enter__()
        stack.push(context)

    with mg.no_grad(), stack:
        add(mg.enable_grad())
        add(mg.no_grad())
        yield records()
        yield records()


def delegating() -> Iterator[bool]:
    with mg.no_grad():
        yield from quiet()


def delegated() -> Iterator[bool]:
    yield from quiet()


def driving() -> Iterator[bool]:
    """Is driven, and drives another, which records again."""

    def inner() -> Iterator[bool]:
        with mg.enable_grad():
            yield records()
            yield records()

    with mg.no_grad():
        for recorded in inner():
            assert recorded
            yield records()


def twice() -> Iterator[bool]:
    with mg.no_grad():
        with mg.enable_grad(), mg.no_grad():
            yield records()
        yield records()
        with mg.scope("a"):
            yield records()


KINDS = [quiet, evaluation, by_stack, by_manager, by_helper, delegating, delegated, driving, twice]


@pytest.mark.parametrize("make", KINDS)
def test_between_the_steps_of_a_generator_the_mode_is_as_before(make: Callable[[], Iterator[bool]]) -> None:
    for recorded in make():
        assert not recorded
        assert records()
    for recorded, _ in zip(make(), itertools.repeat(0), strict=False):
        assert not recorded
        with mg.no_grad():
            assert not records()
            with mg.enable_grad():
                assert records()
        assert records()
    assert list(make()) == [False] * len(list(make()))


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("end", ["close", "drop", "throw", "collect"])
def test_generators_that_end_early(make: Callable[[], Any], end: str) -> None:
    running = make()
    assert not next(running)
    assert records()
    if end == "close":
        running.close()
    elif end == "throw":
        with pytest.raises(ValueError, match="x"):
            running.throw(ValueError("x"))
    elif end == "collect":
        cycle = [running]
        cycle.append(cycle)
        del cycle, running
        gc.collect()
    else:
        del running
    assert records()


def test_each_generator_has_its_own_mode() -> None:
    def recording() -> Iterator[bool]:
        with mg.enable_grad():
            while True:
                yield records()

    def changing() -> Iterator[bool]:
        while True:
            with mg.no_grad():
                yield records()
            yield records()

    running = [quiet(9), recording(), changing()]
    for i in range(6):
        with mg.no_grad() if i % 3 else contextlib.nullcontext():
            assert [next(each) for each in running] == [False, True, False if i % 2 == 0 else i % 3 == 0]
            assert records() == (i % 3 == 0)
    for each in running:
        each.close()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_generators_end_in_any_order(order: tuple[int, ...]) -> None:
    running = [quiet(), quiet(), quiet()]
    for each in running:
        next(each)
    for i in order:
        running[i].close()
        assert records()


def test_a_context_manager_sets_the_mode_of_its_body() -> None:
    with evaluating():
        assert not records()
        with mg.enable_grad():
            assert records()
            with evaluating():
                assert not records()
        for recorded in quiet():
            assert not recorded
            assert not records()
        assert not records()

    @contextlib.contextmanager
    def outer() -> Iterator[None]:
        with evaluating():
            yield

    with outer():
        assert not records()
    assert records()
    assert evaluating()(records)() is False


@pytest.fixture
def unrecorded() -> Iterator[None]:
    with mg.no_grad():
        yield


@pytest.mark.usefixtures("unrecorded")
def test_a_fixture_sets_the_mode_of_its_test() -> None:
    assert not records()
    assert list(quiet()) == [False] * 3
    assert not records()


def test_other_modes_in_generators() -> None:
    x = mg.tensor([1.0, 0.0], requires_grad=True)

    def checked() -> Iterator[Any]:
        with mg.detect_anomaly():
            yield x * 2
            with pytest.raises(FloatingPointError), np.errstate(divide="ignore"):
                np.log(x)
            yield None

    def named() -> Iterator[Any]:
        with mg.scope("part"):
            yield x * 3
            yield x * 4

    running, others = checked(), named()
    parts = []
    for _ in range(2):
        next(running)
        parts.append(next(others)._node)
        with np.errstate(divide="ignore"):
            np.log(x)
        assert (x * 2)._node.note is None
    running.close()
    others.close()
    assert parts[0].note.marks == parts[1].note.marks
    assert [name for _, _, name in parts[0].note.marks] == ["part"]
    x.data += 1.0  # it is unlocked


def test_gradients_through_a_generator() -> None:
    """Batches are made without recording, and what is computed with them is recorded:
    transformed, compiled or not.
    """

    def batches(w: Any) -> Iterator[Any]:
        with mg.no_grad():
            for i in range(3):
                yield w * float(i)

    def loss(w: Any) -> Any:
        return sum(np.sum(batch * w) for batch in batches(w))

    w = mg.tensor([1.0, 2.0], requires_grad=True)
    loss(w).backward()
    right = [3.0, 6.0]
    np.testing.assert_array_equal(w.grad, right)
    for f in (mg.grad(loss), mg.compile(mg.grad(loss))):
        for _ in range(3):
            np.testing.assert_array_equal(f(w.data), right)


def test_a_compiled_function_in_a_generator() -> None:
    double = mg.compile(lambda x: x * 2)
    x = mg.tensor([1.0], requires_grad=True)

    def steps() -> Iterator[bool]:
        with mg.no_grad():
            while True:
                yield double(x)

    running = steps()
    for _ in range(4):
        assert isinstance(next(running), np.ndarray)  # as there is nothing to record
        assert double(x).requires_grad
    running.close()
    assert double(x).requires_grad


def test_compiled_functions_consume_generators() -> None:
    def f(x: Any) -> Any:
        total = x
        for factor in (part * x for part in [1.0, 2.0]):
            total = total + factor
        with mg.no_grad():
            for _ in quiet(1):
                total = total * 1.0
        return np.sum(total)

    x = np.array([1.0, 2.0])

    def steps() -> Iterator[Any]:
        with mg.no_grad():
            yield mg.compile(f)(x)
            yield mg.grad(lambda v: np.sum(v**2))(x)

    running = steps()
    assert next(running) == f(x)
    np.testing.assert_array_equal(next(running), 2 * x)
    running.close()


def test_a_generator_that_another_thread_goes_on_with() -> None:
    running = quiet()
    next(running)
    seen: list[Any] = []

    def other(end: Callable[[], Any]) -> None:
        seen.append(records())
        end()
        seen.append(records())

    for end in (lambda: next(running), running.close):
        thread = threading.Thread(target=copy_context().run, args=(other, end))
        thread.start()
        thread.join()
    assert seen == [True] * 4
    assert records()
    thread = threading.Thread(target=lambda: seen.extend(quiet()))
    thread.start()
    thread.join()
    assert seen[4:] == [False] * 3


def test_async_generators_and_tasks() -> None:
    async def numbers() -> AsyncIterator[bool]:
        with mg.no_grad():
            for _ in range(3):
                yield records()
                await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def evaluating_too() -> AsyncIterator[None]:
        with mg.no_grad():
            yield

    async def managed() -> AsyncIterator[bool]:
        async with evaluating_too():
            yield records()

    async def consume() -> None:
        for make in (numbers, managed):
            async for recorded in make():
                assert not recorded
                assert records()
                await asyncio.sleep(0)
                assert records()
        async with evaluating_too():
            assert not records()
            await asyncio.sleep(0)
            assert not records()
        left = numbers()
        await anext(left)
        assert records()
        await asyncio.create_task(left.aclose())  # as the loop does with one that was left
        assert records()

    async def program() -> None:
        with mg.no_grad():
            assert await asyncio.gather(silent(), silent()) == [False, False]
            assert await asyncio.to_thread(records) is False
        await asyncio.gather(consume(), consume(), silent_alone(), silent_alone())

    async def silent() -> bool:
        await asyncio.sleep(0)
        return records()

    async def silent_alone() -> None:
        with mg.no_grad():
            for _ in range(3):
                assert not await silent()
        assert records()

    asyncio.run(program())


def test_coroutines_driven_by_hand() -> None:
    @types.coroutine
    def pause() -> Generator[None, None, None]:
        yield

    async def steps() -> list[bool]:
        seen = []
        with mg.no_grad():
            for _ in range(2):
                seen.append(records())
                await pause()
        return [*seen, records()]

    running = [steps(), steps()]
    results = []
    for _ in range(3):
        for each in running:
            try:
                each.send(None)
            except StopIteration as stop:
                results.append(stop.value)
            assert records()
    assert results == [[False, False, True]] * 2


def test_a_context_that_was_entered_elsewhere() -> None:
    """Leaving it changes nothing here."""
    context = mg.no_grad()
    copy_context().run(context.__enter__)
    context.__exit__(None, None, None)
    assert records()
