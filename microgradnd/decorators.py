"""A context as a decorator of any kind of function.

Owns: running a function, a generator or a coroutine in a context. Each step runs by
itself, so a suspended one doesn't leave its context to other code.
Must not own: any context (`modes.py`).
Read next: `modes.py`.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any

from microgradnd.annotations import P, R


def decorated(context: Any, function: Callable[P, R]) -> Callable[P, R]:
    """Return a function of the same kind that runs in a context."""
    inner: Any = function

    def call(*args: Any, **kwargs: Any) -> Any:
        with context:
            return inner(*args, **kwargs)

    def generator(*args: Any, **kwargs: Any) -> Any:
        return (yield from stepwise(context, inner(*args, **kwargs)))

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        return await types.coroutine(stepwise)(context, inner(*args, **kwargs))

    async def async_generator(*args: Any, **kwargs: Any) -> Any:
        steps, step = inner(*args, **kwargs), types.coroutine(stepwise)
        following = steps.asend(None)
        while True:
            try:
                out = await step(context, following)
            except StopAsyncIteration:
                return
            try:
                following = steps.asend((yield out))
            except GeneratorExit:
                await step(context, steps.aclose())
                raise
            except BaseException as error:
                following = steps.athrow(error)

    kinds: dict[Callable[[Any], bool], Any] = {
        inspect.isgeneratorfunction: generator,
        inspect.iscoroutinefunction: coroutine,
        inspect.isasyncgenfunction: async_generator,
    }
    wrapper: Any = next((wrapper for is_kind, wrapper in kinds.items() if is_kind(function)), call)
    return functools.wraps(function)(wrapper)


def stepwise(context: Any, steps: Any) -> Generator[Any, Any, Any]:
    """Run a generator or coroutine, each of its steps in a context."""
    resume, value = steps.send, None
    while True:
        try:
            out = step(context, resume, value)
        except StopIteration as stop:
            return stop.value
        try:
            resume, value = steps.send, (yield out)
        except GeneratorExit:
            step(context, steps.close)
            raise
        except BaseException as error:
            resume, value = steps.throw, error


def step(context: Any, resume: Callable[..., Any], *value: Any) -> Any:
    """Run one step in a context, entered here rather than in the generator.

    There it would seem to outlast the step.
    """
    with context:
        return resume(*value)
