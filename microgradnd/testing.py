"""Checks of derivatives, and Hypothesis strategies for the arrays to check them on.

Owns: `check_grads`, which compares any function's derivatives with finite differences,
and strategies for shapes, values and memory layouts; for our own rules and for users'
functions.
Must not own: the rows of our own tests (`tests/`).
Read next: `docs/adding-a-rule.md`.

Hypothesis is loaded when you ask for a strategy; `check_grads` needs only NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microgradnd.broadcasting import cast
from microgradnd.failures import explained
from microgradnd.matching import name_of_function, plain
from microgradnd.transforms import jvp, vjp
from microgradnd.trees import flatten

STEP = float(np.finfo(np.float64).eps ** (1 / 3))  # balances truncation, ~step**2, against rounding, ~eps/step
TOLERANCE = {np.dtype(np.float64): 1e-6, np.dtype(np.complex128): 1e-6}  # for finite differences in float64
COARSE = 1e-3  # for derivatives computed in float32 or lower precision
MOST_ELEMENTS = 64  # compared per argument; chosen at random if it has more


class GradientError(AssertionError):
    """A derivative disagrees with finite differences."""


@explained
def check_grads(
    f: Callable[..., Any],
    *args: Any,
    order: int = 2,
    modes: Sequence[str] = ("rev", "fwd"),
    tolerance: float | None = None,
    rng: np.random.Generator | None = None,
) -> None:
    """Compare the derivatives of a function with central finite differences.

    Parameters
    ----------
    f : callable
        Takes the arguments as arrays; returns an array or a tuple, list or dict of
        them.
    *args : array_like
        The point of comparison: floating-point or complex, of any shape. Lower
        precisions are compared with differences taken in float64.
    order : int
        The highest order of derivatives to check.
    modes : sequence of {"rev", "fwd"}
        The rules to check: VJPs, JVPs. For higher orders, every combination of them.
    tolerance : float, optional
        The allowed difference, relative to 1 + |finite difference|; by default 1e-6 for
        float64 and 1e-3 for float32.
    rng : numpy.random.Generator, optional
        Draws the vectors that multiply the Jacobian; by default the same ones in every
        call.

    Raises
    ------
    GradientError
        Names the worst element, both values, and a snippet that reproduces it.

    See Also
    --------
    arrays, broadcastable_arrays : Hypothesis draws the points.
    defvjp : defines a rule.

    Notes
    -----
    The derivative in direction `v` is approximated by (f(x + hv) - f(x - hv)) / 2h,
    whose error is of order h**2. Choose arguments further than h (about 1e-5) from any
    kink.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> x, y = np.array([0.3, 1.0]), 2.0
    >>> mg.testing.check_grads(lambda x, y: np.sin(x) * y, x, y)
    """
    unknown = set(modes) - {"rev", "fwd"}
    if unknown or not isinstance(order, int | np.integer) or order < 1:
        raise ValueError(f"check_grads: modes must be 'rev' or 'fwd', and order at least 1, got {modes!r} and {order}")
    arrays = [np.asarray(arg) for arg in args]
    for i, array in enumerate(arrays):
        if array.dtype.kind not in "fc":
            raise TypeError(
                f"check_grads: argument {i} has dtype {array.dtype}; only floats have derivatives: pass float data"
            )
    check = _Check(f, arrays, tolerance, np.random.default_rng(0) if rng is None else rng)
    check.run(f, order, tuple(modes), ())


class _Check:
    """One call of `check_grads`: its options, for the messages, and the point."""

    def __init__(self, f: Any, args: list[Any], tolerance: float | None, rng: np.random.Generator) -> None:
        self.f, self.args, self.tolerance, self.rng = f, args, tolerance, rng
        # Finite differences are taken in double precision, whatever precision the
        # derivatives have
        self.exact = [a.astype(np.complex128 if a.dtype.kind == "c" else np.float64) for a in args]

    def run(self, f: Callable[..., Any], order: int, modes: tuple[str, ...], path: tuple[str, ...]) -> None:
        """Check the first derivatives of `f` in each mode, then their derivatives."""
        for mode in modes:
            derivative = self.reverse(f, (*path, mode)) if mode == "rev" else self.forward(f, (*path, mode))
            if order > 1:
                self.run(derivative, order - 1, modes, (*path, mode))

    def reverse(self, f: Callable[..., Any], path: tuple[str, ...]) -> Callable[..., Any]:
        """Compare a VJP, element by element; return the VJP as a function."""
        value, pullback = vjp(f, *self.args)
        leaves, form = flatten(value)
        cotangents = [self.vector(np.asarray(plain(leaf))) for leaf in leaves]
        gradients = pullback(form.rebuild([in_dtype_of(v, c) for c, v in zip(cotangents, leaves, strict=True)]))

        def product(direction: list[Any]) -> float:
            slopes = self.slope(f, direction)
            return float(sum(np.sum(np.real(c * s)) for c, s in zip(cotangents, slopes, strict=True)))

        for i, gradient in enumerate(gradients):
            array = self.args[i]
            found, expected, indices = [], [], self.sample(array.shape)
            for index in indices:
                for unit in (1.0, 1j) if array.dtype.kind == "c" else (1.0,):
                    direction: list[Any] = [np.zeros_like(a) for a in self.exact]
                    direction[i][index] = unit
                    # cotangents are not conjugated: Re(g * df) = Re(gradient * dx)
                    found.append(np.real(unit * complex(plain(gradient)[index])))
                    expected.append(product(direction))
            per = 2 if array.dtype.kind == "c" else 1
            self.compare(found, expected, [n for n in indices for _ in range(per)], f"argument {i}", path, array.dtype)

        def gradients_of(*args: Any) -> Any:
            value, pullback = vjp(f, *args)
            leaves, form = flatten(value)
            return pullback(form.rebuild([in_dtype_of(v, c) for c, v in zip(cotangents, leaves, strict=True)]))

        return gradients_of

    def forward(self, f: Callable[..., Any], path: tuple[str, ...]) -> Callable[..., Any]:
        """Compare a JVP, element by element; return the JVP as a function."""
        tangents = [self.vector(a) for a in self.exact]
        value, tangent = jvp(f, self.args, [in_dtype_of(a, t) for a, t in zip(self.args, tangents, strict=True)])
        values, moved = flatten(value)[0], flatten(tangent)[0]
        for k, (v, t, s) in enumerate(zip(values, moved, self.slope(f, tangents), strict=True)):
            v, t = np.asarray(plain(v)), np.asarray(plain(t))
            indices = self.sample(v.shape)
            self.compare([t[n] for n in indices], [s[n] for n in indices], indices, f"result {k}", path, v.dtype)
        return lambda *args: jvp(f, args, [in_dtype_of(a, t) for a, t in zip(args, tangents, strict=True)])[1]

    def slope(self, f: Callable[..., Any], direction: list[Any]) -> list[Any]:
        """Return the finite difference of every result of `f` in a direction."""
        ahead, behind = (
            f(*(x + step * d for x, d in zip(self.exact, direction, strict=True))) for step in (STEP, -STEP)
        )
        pairs = zip(flatten(ahead)[0], flatten(behind)[0], strict=True)
        return [np.asarray((plain(a) - plain(b)) / (2 * STEP)) for a, b in pairs]

    def vector(self, like: Any) -> Any:
        """Return a random vector of an array's shape, complex if the array is."""
        v = self.rng.uniform(0.5, 1.5, like.shape) * self.rng.choice([-1.0, 1.0], like.shape)
        return v + 1j * self.rng.uniform(-1, 1, like.shape) if like.dtype.kind == "c" else v

    def sample(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the indices of the elements to compare."""
        indices = list(np.ndindex(shape))
        if len(indices) > MOST_ELEMENTS:
            indices = [indices[i] for i in sorted(self.rng.choice(len(indices), MOST_ELEMENTS, replace=False))]
        return indices

    def where(self, path: tuple[str, ...]) -> str:
        """Return which derivative of which function is being compared."""
        words = {"rev": "reverse mode", "fwd": "forward mode"}
        return f"check_grads({name_of_function(self.f)}): " + " over ".join(words[mode] for mode in reversed(path))

    def compare(self, found: Any, expected: Any, indices: Any, what: str, path: tuple[str, ...], dtype: Any) -> None:
        """Raise, naming the worst element, if two lists of numbers disagree."""
        if not indices:
            return
        got, want = np.array(found), np.array(expected)
        relative = self.tolerance or TOLERANCE.get(np.dtype(dtype), COARSE)
        if any(a.dtype not in TOLERANCE for a in self.args):
            relative = self.tolerance or COARSE
        allowed = relative * (1 + np.abs(want))
        excess = np.where(np.isnan(got - want), np.inf, np.abs(got - want) / allowed)
        if np.all(excess <= 1):
            return
        worst = int(np.argmax(excess))
        index = indices[worst][0] if len(indices[worst]) == 1 else indices[worst]
        given = ", ".join(f"np.{np.array_repr(a)}" if a.ndim else repr(a[()]) for a in self.args)
        raise GradientError(
            f"{self.where(path)} disagrees with finite differences at {np.sum(excess > 1)} of {len(got)} elements\n"
            f"worst for {what}, index {index}: the rule gives {got[worst]}, finite differences {want[worst]} "
            f"(off by {abs(got[worst] - want[worst]):.3g}, allowed {allowed[worst]:.3g})\n"
            f"to reproduce it:\n"
            f"    mg.testing.check_grads({name_of_function(self.f)}, {given}, order={len(path)}, "
            f"modes={tuple(dict.fromkeys(path))})"
        )


def in_dtype_of(like: Any, vector: Any) -> Any:
    """Return a vector in the dtype of a value."""
    return cast(vector, np.asarray(plain(like)).dtype)


def _hypothesis() -> tuple[Any, Any]:
    try:
        from hypothesis import strategies
        from hypothesis.extra import numpy as hypothesis_numpy
    except ImportError as error:
        raise ImportError(
            'the strategies of microgradnd.testing need hypothesis: pip install "microgradnd[test]"'
        ) from error
    return strategies, hypothesis_numpy


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": lambda a: a,
    "Fortran": lambda a: np.asarray(a, order="F"),
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
}


def shapes(max_dims: int = 3, max_side: int = 4, min_dims: int = 0, min_side: int = 0) -> Any:
    """Return a Hypothesis strategy for shapes, by default also 0-d and empty ones.

    Parameters
    ----------
    max_dims, min_dims : int
        Bounds on the number of axes.
    max_side, min_side : int
        Bounds on the length of each axis.

    Returns
    -------
    strategy of tuple of int

    See Also
    --------
    arrays : with numbers in them.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from hypothesis import given
    >>> @given(mg.testing.shapes(min_dims=2, max_dims=2))
    ... def test_matrix(shape):
    ...     assert len(shape) == 2
    >>> test_matrix()
    """
    _, hnp = _hypothesis()
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def arrays(
    shape: Any = None,
    low: float = -3.0,
    high: float = 3.0,
    avoid: Sequence[float] = (),
    margin: float = 0.05,
    dtype: Any = np.float64,
    distinct: bool = False,
) -> Any:
    """Return a Hypothesis strategy for arrays in every memory layout, far from kinks.

    Parameters
    ----------
    shape : tuple of int or strategy, optional
        By default, any shape from `shapes()`.
    low, high : float
        Bounds on the values (on the real and imaginary parts of complex ones).
    avoid : sequence of float
        Kinks and poles: every value is at least `margin` away from each.
    margin : float
        That distance; with `distinct`, any two values are at least half of it apart.
    dtype : dtype
        A floating-point or complex one.
    distinct : bool
        Whether all values differ. Functions that sort or compare are differentiable
        only then.

    Returns
    -------
    strategy of numpy.ndarray

    See Also
    --------
    broadcastable_arrays : several, whose shapes broadcast.
    shapes : shapes alone.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from hypothesis import given
    >>> @given(mg.testing.arrays(low=0.1))
    ... def test_log(x):
    ...     mg.testing.check_grads(np.log, x, order=1)
    >>> test_log()
    """
    st, hnp = _hypothesis()
    dtype = np.dtype(dtype)
    part = np.empty(0, dtype).real.dtype

    def build(draw: Any) -> Any:
        size = draw(shapes() if shape is None else shape) if not isinstance(shape, tuple) else shape
        parts = [values(draw, size) for _ in range(2 if dtype.kind == "c" else 1)]
        array = parts[0] if dtype.kind != "c" else (parts[0] + 1j * parts[1])
        array = np.asarray(array, dtype)
        return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](array) if array.ndim else array

    def values(draw: Any, size: tuple[int, ...]) -> Any:
        count = int(np.prod(size, dtype=int))
        if distinct:
            grid = np.linspace(low, high, 2 * count + 3)[1:-1]
            grid = grid[clear(grid)]
            order = draw(st.permutations(range(len(grid)))) if count else []
            return grid[list(order[:count])].reshape(size).astype(part)
        bits = part.itemsize * 8
        number = st.floats(round_in(low), -round_in(-high), width=bits, allow_subnormal=False)
        element = number.filter(lambda v: bool(clear(np.float64(v)))) if len(avoid) else number
        return draw(hnp.arrays(part, size, elements=element))

    def round_in(bound: float) -> float:
        nearest = part.type(bound)
        return float(nearest if float(nearest) >= bound else np.nextafter(nearest, part.type(np.inf)))

    def clear(v: Any) -> Any:
        return (
            np.all([np.abs(v - kink) >= margin for kink in avoid], axis=0) if len(avoid) else np.ones(np.shape(v), bool)
        )

    return st.composite(build)()


def broadcastable_arrays(count: int, *, max_dims: int = 3, max_side: int = 3, **options: Any) -> Any:
    """Return a Hypothesis strategy for tuples of arrays that broadcast together.

    Parameters
    ----------
    count : int
        The number of arrays.
    max_dims, max_side : int
        Bounds on their number of axes and on the length of each axis.
    **options
        As for `arrays`; a list of `count` values gives each array its own value.

    Returns
    -------
    strategy of tuple of numpy.ndarray

    See Also
    --------
    arrays : one.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from hypothesis import given
    >>> @given(mg.testing.broadcastable_arrays(2, low=[-3.0, 0.5]))
    ... def test_divide(arrays):
    ...     mg.testing.check_grads(np.divide, *arrays, order=1)
    >>> test_divide()
    """
    _, hnp = _hypothesis()
    options_of = [{k: v[i] if isinstance(v, list) else v for k, v in options.items()} for i in range(count)]
    broadcast = hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=max_dims, min_side=0, max_side=max_side)
    st, _ = _hypothesis()
    return broadcast.flatmap(
        lambda found: st.tuples(*(arrays(s, **o) for s, o in zip(found.input_shapes, options_of, strict=True)))
    )
