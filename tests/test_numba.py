"""Programs as loops: equal to the functions, three ways.

Owns: that fused loops compute what NumPy computes, what becomes a loop, and how compiled loops are kept and reported.
Must not own: tracing and the NumPy programs (`test_compiler.py`).
Read next: `test_compiler.py`.

The generated loops are Python. Run as Python, on small arrays, they are checked in hundreds of random programs; a few
of them numba compiles as well.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.compiler import elementary, loops
from microgradnd.compiler.passes import optimized
from microgradnd.transforms import flatten

DIMS = st.sampled_from([0, 1, 2, 3, 3, 9])
DTYPES = (np.float64, np.float64, np.float32, np.int64, np.int8, np.bool_)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -2.5, 1e300)


def interpreted(program, name="program"):
    """Return the function that numba would compile, as Python runs it."""
    driver = loops.Driver(loops.Layout(program), name)
    text = driver.text().replace("float(", "np.float64(")  # Python's float raises where NumPy's gives inf
    module = loops.module_text(driver.helpers, driver.parts)
    lines = [line for line in module.splitlines() if not line.startswith(("from numba", "from llvmlite", "@njit", "@intrinsic"))]
    namespace = {"np": np, **driver.names.constants}
    exec("\n".join(lines), namespace)
    namespace.update(largest=np.maximum, smallest=np.minimum)
    exec(text, namespace)
    return namespace[name], module + text


def equal(got, want, program):
    single = any(v.dtype == np.float32 for step in program.steps for v in (*step.operands(), *step.outs()))
    scale = 1e-3 if single else 1e-11
    for a, b in zip(flatten(got)[0], flatten(want)[0], strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=scale, atol=scale)


class Instructions:
    """A random program: each instruction takes arrays made before, by number."""

    def __init__(self, draw):
        self.draw = draw
        self.steps = []

    def pick(self, arrays, fits=lambda x: True):
        found = [i for i, x in enumerate(arrays) if fits(x)]
        return self.draw(st.sampled_from(found)) if found else None

    def number(self, low, high):
        return self.draw(st.integers(low, high))


def floats(x):
    return x.dtype.kind == "f"


UNARY = [np.negative, np.square, np.abs, np.tanh, np.sin, np.cos, np.exp, np.sqrt, np.sign, np.log, np.floor, np.expm1]
BINARY = [np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum]
COMPARE = [np.less, np.greater_equal, np.equal]
REDUCE = [np.sum, np.mean, np.max, np.min, np.prod]


def unary(d, arrays):
    i, f = d.pick(arrays, floats), d.draw(st.sampled_from(UNARY))
    return None if i is None else lambda a: f(a[i])


def binary(d, arrays):
    i = d.pick(arrays)
    f = d.draw(st.sampled_from(BINARY + COMPARE))

    def fits(x):
        try:
            np.broadcast_shapes(x.shape, arrays[i].shape)
        except ValueError:
            return False
        return x.dtype.kind != "b" and arrays[i].dtype.kind != "b"

    j = d.pick(arrays, fits)
    if d.draw(st.booleans()) and arrays[i].dtype.kind == "f":
        number = d.draw(st.sampled_from([2, 0.5, -1.5, 0, 1]))
        return lambda a: f(a[i], number)
    return None if j is None else lambda a: f(a[i], a[j])


def reduce(d, arrays):
    i = d.pick(arrays, lambda x: x.dtype.kind == "f" and x.size)
    if i is None:
        return None
    f, keepdims = d.draw(st.sampled_from(REDUCE)), d.draw(st.booleans())
    n = arrays[i].ndim
    axis = d.draw(st.sampled_from([None, *range(-n, n), *([(0, n - 1)] if n > 1 else [])]))
    return lambda a: f(a[i], axis=axis, keepdims=keepdims)


def product(d, arrays):
    i = d.pick(arrays, lambda x: floats(x) and x.ndim > 0)
    if i is None:
        return None

    def fits(y):
        x = arrays[i]
        if y.ndim == 0 or y.dtype != x.dtype or y.shape[-2 if y.ndim > 1 else 0] != x.shape[-1]:
            return False
        try:
            np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        except ValueError:
            return False
        return True

    j = d.pick(arrays, fits)
    return None if j is None else lambda a: a[i] @ a[j]


def view(d, arrays):
    i = d.pick(arrays, lambda x: x.ndim > 0)
    if i is None:
        return None
    x = arrays[i]
    kind = d.number(0, 6)
    if kind == 0:
        axes = tuple(d.draw(st.permutations(range(x.ndim))))
        return lambda a: np.transpose(a[i], axes)
    if kind == 1:
        shape = d.draw(st.sampled_from([(-1,), (1, x.size), (x.size, 1), (*x.shape, 1), x.shape[::-1]]))
        return None if x.size == 0 else lambda a: np.reshape(a[i], shape)
    if kind == 2:
        start, stop = sorted((d.number(0, x.shape[0]), d.number(0, x.shape[0])))
        return lambda a: a[i][start:stop]
    if kind == 3:
        return lambda a: a[i][..., ::-1]
    if kind == 4:
        return lambda a: a[i][..., ::2, None]
    if kind == 5 and x.shape[0]:
        k = d.number(-x.shape[0], x.shape[0] - 1)
        return lambda a: a[i][k]
    return lambda a: np.broadcast_to(a[i], (2, *x.shape))


def join(d, arrays):
    i = d.pick(arrays, lambda x: x.ndim > 0)
    if i is None:
        return None
    j = d.pick(arrays, lambda y: y.shape[1:] == arrays[i].shape[1:] and y.ndim == arrays[i].ndim and y.dtype == arrays[i].dtype)
    return lambda a: np.concatenate([a[i], a[j]])


def choose(d, arrays):
    i = d.pick(arrays, lambda x: x.dtype.kind == "b")
    j = d.pick(arrays, lambda x: i is not None and x.shape == arrays[i].shape and floats(x))
    number = d.draw(st.sampled_from([0, 0.5]))
    return None if i is None or j is None else lambda a: np.where(a[i], a[j], number)


def gather(d, arrays):
    i = d.pick(arrays, lambda x: x.ndim > 0 and x.shape[0] > 0 and floats(x))
    if i is None:
        return None
    n = arrays[i].shape[0]
    index = np.array(d.draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=4)))
    return lambda a: a[i][index]


def assign(d, arrays):
    i = d.pick(arrays, lambda x: x.ndim > 0 and x.shape[0] > 0 and floats(x))
    if i is None:
        return None

    def step(a):
        x = a[i] * 1.0
        x[0] = 0.5
        return x

    return step


def convert(d, arrays):
    i = d.pick(arrays, lambda x: x.dtype.kind in "fb")
    return None if i is None else lambda a: a[i].astype(np.float32 if arrays[i].dtype.kind == "b" else np.float64)


KINDS = [unary, unary, binary, binary, binary, reduce, reduce, product, view, view, join, choose, gather, assign, convert]


@st.composite
def programs(draw, size=10):
    """Return a function of arrays, arguments for it, and how to spoil them with special numbers."""
    d = Instructions(draw)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dims = draw(st.lists(DIMS, min_size=1, max_size=3))
    args = []
    for _ in range(draw(st.integers(1, 3))):
        shape = tuple(draw(st.lists(st.sampled_from(dims), max_size=3)))
        dtype = draw(st.sampled_from(DTYPES))
        x = rng.normal(size=shape) * 2
        if draw(st.booleans()) and x.size:
            x.flat[draw(st.integers(0, x.size - 1))] = draw(st.sampled_from(SPECIAL))
        with np.errstate(all="ignore"):
            x = np.asarray(x if dtype in (np.float64, np.float32) else np.nan_to_num(x, posinf=3, neginf=-3) % 5).astype(dtype)
        args.append(x.T if draw(st.booleans()) else x)
    steps, arrays = [], list(args)
    with np.errstate(all="ignore"):
        for _ in range(draw(st.integers(1, size))):
            step = draw(st.sampled_from(KINDS))(d, arrays)
            if step is not None:
                made = np.asarray(step(arrays))
                if made.size < 1000:
                    steps.append(step)
                    arrays.append(made)
    wanted = draw(st.lists(st.integers(0, len(arrays) - 1), min_size=1, max_size=3)) + [len(arrays) - 1]

    def function(*inputs):
        known = list(inputs)
        for step in steps:
            known.append(step(known))
        return tuple(known[i] for i in wanted)

    return function, args


def traced(function, args):
    """Return the optimised program of a function, and what its NumPy program computes."""
    compiled = mg.compile(function)
    want = compiled(*args)
    return optimized(compiled._latest.traced.program), compiled._latest.traced, want


@settings(deadline=None)
@given(programs())
def test_random_programs_as_loops_in_python(case):
    function, args = case
    with np.errstate(all="ignore"):
        program, trace, want = traced(function, args)
        run, _ = interpreted(program)
        captured = [thing.data if hasattr(thing, "data") and not isinstance(thing, np.ndarray) else thing for thing in trace.captured]
        got = run(*args, *captured)
        equal(got, want, program)
        equal(got, function(*args), program)
