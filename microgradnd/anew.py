"""Values that differ from call to call: random numbers, data, the time.

Owns: `anew`, a call that a compiled program repeats; the type of `rng=`.
Must not own: noticing calls that are not repeated (`compiler/draws.py`).
Read next: `compiler/draws.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from microgradnd.batching import Batched
from microgradnd.registry import plain, primitive
from microgradnd.tape import current
from microgradnd.tensor import wrap

Rng: TypeAlias = "np.random.Generator | None"  # the type of `rng=`; a string, because the class is slow to load


class Anew:
    """A function that each run of a program calls anew; no two are the same step."""

    def __init__(self, function: Callable[..., Any], shape: tuple[int, ...] | None, dtype: Any) -> None:
        self.function, self.shape, self.dtype = function, shape, np.dtype(dtype)
        self.__name__ = getattr(function, "__name__", "function")

    def __repr__(self) -> str:  # without an address, which would differ between two traces of a function
        return f"<{self.__name__}, called anew>"

    def __call__(self, *given: tuple[int, ...]) -> Any:
        made = np.array(self.function(*given))  # the function may keep its result
        shape = self.shape if self.shape is not None else given[0]
        if made.shape != shape or made.dtype != self.dtype:
            raise ValueError(
                f"mg.anew: {self.__name__} must return shape {shape} and dtype {self.dtype}, as announced, got "
                f"shape {made.shape} and dtype {made.dtype}; pass the shape= and dtype= of its result, or convert it"
            )
        return made


def anew(function: Callable[[], npt.ArrayLike], shape: int | tuple[int, ...] = (), dtype: npt.DTypeLike = float) -> Any:
    """Call a function that a compiled function is to call again each time it runs.

    Use it for random numbers, data and the time. A program is written once, so a random
    number drawn by a compiled function would be the same in all calls. The result of
    `anew` is new in each call. No derivative passes through it.

    Parameters
    ----------
    function : callable
        Takes no arguments, and returns an array or a number.
    shape : int or tuple of int
        The shape of its result.
    dtype : dtype
        The dtype of its result.

    Returns
    -------
    array
        The result of the function; in a compiled function, a Tensor that stands for it.

    Raises
    ------
    ValueError
        If the result has another shape or dtype.
    TypeError
        If `function` isn't callable.

    See Also
    --------
    compile : makes programs, which call it anew.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> rng = np.random.default_rng(0)
    >>> noisy = mg.compile(lambda x: x + mg.anew(lambda: rng.normal(size=2), 2))
    >>> first, second = noisy(np.zeros(2)), noisy(np.zeros(2))
    >>> bool(np.any(first == second))
    False
    """
    if not callable(function):
        raise TypeError(f"mg.anew: function must take no arguments, got {function!r}; write lambda: rng.normal(size=3)")
    call = Anew(function, (shape,) if isinstance(shape, int) else tuple(shape), dtype)
    return drawn(call, call.shape or (), ())


def anew_like(x: Any, function: Callable[[tuple[int, ...]], Any]) -> Any:
    """Call a function of an array's shape as `anew` does, for a like array.

    Inside `vmap`, it is called for each example, so the results differ.
    """
    if isinstance(x, Batched) and current().trace is None:
        return of_example(x, function)
    return drawn(Anew(function, None, x.dtype), getattr(x, "_array", x).shape, (x.shape,))


@primitive
def of_example(x: Any, function: Callable[[tuple[int, ...]], Any]) -> Any:
    """Call a function of an array's shape; `vmap` calls it for each example."""
    return function(x.shape)


plain([of_example])


def drawn(call: Anew, shape: tuple[int, ...], args: tuple[Any, ...]) -> Any:
    """Make a call, or record it, as the program would."""
    trace = current().trace
    if trace is None:
        return call(*args)
    # Halves and ones are in the domain of most functions of random numbers, such as
    # log(-log(u))
    example = np.full(shape, 0.5 if call.dtype.kind in "fc" else 1, call.dtype)
    made = wrap(example, trace.record_constant(call, args, {}, (None,) * len(args), example))
    made.__class__ = trace.variable
    return made


def generator(rng: Rng) -> np.random.Generator:
    """Return a random generator, one with fresh entropy for None.

    Raises
    ------
    TypeError
        For a seed: each call with the same seed would draw the same numbers.
    """
    if rng is None:
        return np.random.default_rng()
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng must be a numpy.random.Generator, got {type(rng).__name__}; make one with "
            f"np.random.default_rng(seed) and pass the same one everywhere"
        )
    return rng
