"""Programs as loops, in Python.

Owns: that fused loops agree with NumPy, what becomes a loop, and how loops read.
Must not own: what numba makes of them (`test_numba.py`), tracing and the NumPy programs
(`test_compiler.py`).
Read next: `test_numba.py`.

The generated loops are plain Python, slow but independent of numba. So they are checked
as such, on small arrays, in many random programs.
"""

import itertools
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.compiler import fusion
from microgradnd.compiler.driver import driver_of
from microgradnd.compiler.machine import module_text
from microgradnd.compiler.ownership import own_results
from microgradnd.compiler.passes import optimized
from microgradnd.compiler.program import Program, Step, Value
from microgradnd.trees import flatten
from tests.programs import TRAPS, UPDATES, arguments, compare, inputs, is_single, is_tame
from tests.programs import programs as random_programs
from tests.test_architecture import LIBRARY, code_lines
from tests.test_laws import ROWS

DIMS = st.sampled_from([0, 1, 2, 3, 3, 9])
DTYPES = (np.float64, np.float64, np.float32, np.int64, np.int8, np.bool_)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -2.5, 1e300)


def interpreted(program, name="program"):
    """Return the function that numba would compile, as Python runs it."""
    driver = driver_of(program, name)
    text = driver.text.replace("float(", "np.float64(")  # Python floats raise where NumPy's give inf
    written = module_text([part.text for part in driver.parts])
    helpers, start, parts = written.partition('@njit("')
    module = helpers + start + re.sub(r"(?<![\w.])(\d+\.\d*(e[+-]?\d+)?)", r"np.float64(\1)", parts)
    module = re.sub(r"^(@njit\(.*?\)$|@intrinsic|from numba.*?|from llvmlite.*?)$", "", module, flags=re.M | re.S)
    namespace = {"np": np, **driver.constants()}
    exec(module, namespace)
    namespace.update(largest=np.maximum, smallest=np.minimum)
    exec(text, namespace)
    return namespace[name], written + text


def equal(got, want, program):
    single = any(v.dtype == np.float32 for step in program.steps for v in (*step.operands(), *step.outs()))
    scale = 1e-3 if single else 1e-11
    for a, b in zip(flatten(got)[0], flatten(want)[0], strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=scale, atol=scale)


class Instructions:
    """A random program: each instruction takes earlier arrays, by number."""

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
    x = arrays[i]
    j = d.pick(arrays, lambda y: (y.ndim, y.shape[1:], y.dtype) == (x.ndim, x.shape[1:], x.dtype))
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


KINDS = [unary, binary, reduce, view] * 2 + [binary, product, join, choose, gather, assign, convert]


@st.composite
def programs(draw, size=10):
    """Return a function of arrays, arguments, and a way to spoil these."""
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
            x = x if dtype in (np.float64, np.float32) else np.nan_to_num(x, posinf=3, neginf=-3) % 5
            x = np.asarray(x).astype(dtype)
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
    """Return a function's optimised program, arrays for it, and NumPy's results."""
    compiled = mg.compile(function)
    want = compiled(*args)
    entry = compiled._latest
    return own_results(optimized(entry.traced.program)), [*args, *entry.captured()], want


@settings(max_examples=4 * settings.default.max_examples)
@given(programs())
def test_random_programs(case):
    function, args = case
    with np.errstate(all="ignore"):
        program, arrays, want = traced(function, args)
        run, _ = interpreted(program)
        got = run(*arrays)
        equal(got, want, program)
        equal(got, function(*args), program)


@settings(max_examples=2 * settings.default.max_examples)
@given(programs=random_programs, arrays=inputs())
def test_gradients_of_random_programs(programs, arrays):
    assume(is_tame(programs, arrays))
    with np.errstate(all="ignore"):
        gradient = mg.value_and_grad(programs, tuple(range(len(arrays[0]))))
        program, args, want = traced(gradient, arrays[0])
        run, _ = interpreted(program)
        single = is_single(programs, arrays)
        compare(run(*args), want, exact=False, single=single)
        more = [*arrays[1], *args[len(arrays[0]) :]]
        compare(run(*more), gradient(*arrays[1]), exact=False, single=single)


ROW_STEP = 1 if settings.default.max_examples > 5 else 20  # every row takes a minute


@pytest.mark.parametrize("row", ROWS[::ROW_STEP], ids=lambda row: row.name)
def test_rows(row):
    def f(*args):
        value, pullback = mg.vjp(row.call, *args)
        return value, pullback(np.cos(value))

    @settings(max_examples=1, suppress_health_check=list(HealthCheck))
    @given(row.inputs)
    def law(args):
        try:
            program, arrays, want = traced(f, args)
        except TypeError as error:
            assert "inside a compiled function" in str(error)  # noqa: PT017 -- most rows can be traced
            return
        run, _ = interpreted(program)
        for a, b in zip(flatten(run(*arrays))[0], flatten(want)[0], strict=True):
            np.testing.assert_allclose(np.asarray(a, np.asarray(b).dtype), b, rtol=1e-9, atol=1e-9)

    law()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", TRAPS)
def test_programs_with_traps(name, dtype):
    f, shapes = TRAPS[name]
    args = arguments(shapes, dtype=dtype)
    with np.errstate(all="ignore"):
        program, arrays, _ = traced(f, args)
        run, _ = interpreted(program)
        for seed in (0, 1, 0):
            args = arguments(shapes, seed, dtype)
            equal(run(*args, *arrays[len(args) :]), f(*args), program)


@pytest.mark.parametrize("f", UPDATES, ids=lambda f: f.__name__)
def test_reads_before_and_after_updates(f):
    mine, theirs = arguments([(3, 3)] * 2), arguments([(3, 3)] * 2)
    program, _, _ = traced(f, arguments([(3, 3)] * 2))
    run, _ = interpreted(program)
    for _ in range(3):
        got = flatten(run(*mine))[0]
        kept = [np.array(leaf) for leaf in got]
        equal(got, f(*theirs), program)
        equal(mine, theirs, program)
        run(*[1.5 * x for x in mine])
        assert not any(np.shares_memory(a, b) for a in got for b in mine)
        equal(got, kept, program)


def loops_of(function, *args):
    """Return the lines of the loops of a function, without declarations."""
    program, arrays, want = traced(function, args)
    run, text = interpreted(program, "f")
    equal(run(*arrays), want, program)
    first, *lines = text[text.index("def f_loops") :].splitlines()
    return [first, *itertools.takewhile(lambda line: line.startswith("    "), lines)]


def test_pieces_of_a_stack_have_flat_places():
    def pieces(x):
        y = np.exp(x)
        return np.stack([x * y, y - x], axis=1)

    lines = loops_of(pieces, np.random.default_rng(0).normal(size=(5, 7)))
    assert [line.strip().split(" = ")[0] for line in lines if "_flat[" in line] == [
        "t_flat[14 * i + j]",
        "t_flat[14 * i + j + 7]",
    ]


def test_softmax_is_one_loop_over_rows():
    x = np.random.default_rng(0).normal(size=(5, 7))

    def softmax(x):
        e = np.exp(x - np.max(x, axis=1, keepdims=True))
        return e / np.sum(e, axis=1, keepdims=True)

    assert loops_of(softmax, x) == [
        "def f_loops(x, t):",
        "    e = np.empty((7,), np.float64)",
        "    for i in range(5):",
        "        t_2 = -np.inf",
        "        for j in range(7):",
        "            t_2 = largest(t_2, x[i, j])",
        "        t_3 = 0.0",
        "        for j in range(7):",
        "            e_ij = exp(x[i, j] - t_2)",
        "            e[j] = e_ij",
        "            t_3 = add(t_3, e_ij)",
        "        for j in range(7):",
        "            t[i, j] = e[j] / t_3",
    ]


def test_numbers_that_outlive_the_loops_are_returned():
    def f(x):
        largest = np.max(x)
        return np.sum(x), np.cumsum(x - largest) * largest  # loops, a call of NumPy, loops

    program, arrays, want = traced(f, [np.linspace(-1, 2, 6)])
    run, text = interpreted(program, "f")
    equal(run(*arrays), want, program)
    assert [line.strip() for line in text.splitlines() if line.startswith("    ") and "f_loops" in line] == [
        "largest_2, number = f_loops_1(x, t)",
        "f_loops_2(t_2, largest_2, t_3)",
    ]
    assert "number_2 = np.float64(number)" in text


@pytest.mark.parametrize(("rows", "is_brief"), [(5, True), (5000, False)])
def test_only_a_brief_function_makes_its_rows_and_keeps_the_gil(rows, is_brief):
    def f(x):
        e = np.exp(x)
        return e / np.sum(e, axis=1, keepdims=True)

    program, arrays, want = traced(f, [np.random.default_rng(0).normal(size=(rows, 7))])
    run, text = interpreted(program, "f")
    equal(run(*arrays), want, program)
    assert ("    e = np.empty((7,), np.float64)" in text, "nogil=True" in text) == (is_brief, not is_brief)
    assert ("_pool" in text) is not is_brief


def test_numpys_clip_is_in_the_loop():
    assert loops_of(lambda x: np.clip(x * 2, -0.5, 0.5) + 1, np.linspace(-1, 1, 5)) == [
        "def f_loops(x, t):",
        "    for i in range(5):",
        "        t[i] = clip(x[i] * 2.0, -0.5, 0.5) + 1.0",
    ]


def test_the_upper_bound_of_a_clip_wins_where_bounds_cross():
    x, low, high = np.linspace(-1, 1, 5), np.full(5, 0.5), np.full(5, -0.5)
    loops_of(np.clip, x, low, high)  # it compares with NumPy
    assert mg.compile(np.clip)(x, low, high).tolist() == [-0.5] * 5


@pytest.mark.parametrize("function", [np.mean, np.exp, np.transpose], ids=lambda f: f.__name__)
def test_a_primitive_around_a_numpy_function_is_in_the_loop(function):
    x, own = np.arange(6.0).reshape(2, 3), mg.primitive(function)
    mg.defvjp(own, lambda g, out, x: g)  # never asked for
    assert loops_of(lambda x: own(x * 2) + 1, x) == loops_of(lambda x: function(x * 2) + 1, x)


def test_equal_sums_in_formulas_are_one():
    pytest.importorskip("numba", reason="numba is an extra")
    f = mg.compile(mg.grad(lambda x: np.sum(np.std(x, axis=0))), backend="numba")
    f(np.random.default_rng(0).normal(size=(40, 8)))
    assert f.source.count("+= x[i, j]\n") == 1


def test_copies_of_a_result_are_made_in_the_loop():
    assert loops_of(lambda x: (y := np.sin(x), y), np.arange(5.0)) == [
        "def f_loops(x, t, t_2):",
        "    for i in range(5):",
        "        t_i = sin(x[i])",
        "        t[i] = t_i",
        "        t_2[i] = t_i",
    ]


def test_views_are_ways_to_index():
    x = np.arange(12.0).reshape(3, 4)
    assert loops_of(lambda x: x.T[1:, ::-1] + 1, x) == [
        "def f_loops(x, t):",
        "    for i in range(3):",
        "        for j in range(3):",
        "            t[i, j] = x[2 - j, i + 1] + 1.0",
    ]


def test_a_two_layer_network_is_one_loop_over_observations():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(3, 32)), rng.normal(size=(1, 32)), rng.normal(size=(32, 1)), np.zeros((1, 1))

    def loss_of(w1, b1, w2, b2, x, y):
        h = x @ w1 + b1
        h_relu = mg.nn.functional.relu(h)
        y_pred = h_relu @ w2 + b2
        return np.sum((y_pred - y) ** 2)

    f = mg.value_and_grad(loss_of, (0, 1, 2, 3))
    lines = loops_of(f, *weights, rng.normal(size=(100, 3)), rng.normal(size=(100, 1)))
    assert [line for line in lines if line.startswith("    for") and "100" in line] == ["    for i in range(100):"]
    assert any(line.startswith("            h = ") and line.endswith(" + b1[0, j]") for line in lines)


@pytest.mark.parametrize(
    ("dtype", "columns", "left"),
    [(np.float64, 3, 0), (np.float32, 3, 2), (np.float64, 16, 2)],
    ids=["all of it", "sums of many float32 are BLAS's", "so are larger matrices"],
)
def test_products_of_many_rows_are_in_the_loop(monkeypatch, dtype, columns, left):
    monkeypatch.setattr(fusion, "BLAS", 0)
    monkeypatch.setattr(fusion, "TALL", 50)
    rng = np.random.default_rng(1)
    shapes = (columns, 32), (32, 1), (60, columns), (60, 1)
    w1, w2, x, y = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    f = mg.value_and_grad(lambda w1, w2, x, y: np.sum((np.tanh(x @ w1) @ w2 - y) ** 2), (0, 1))
    program, arrays, want = traced(f, (w1, w2, x, y))
    run, text = interpreted(program)
    equal(run(*arrays), want, program)
    assert text.count("np.dot(") == left


@pytest.mark.parametrize(
    "function", [np.tanh, np.sort, lambda x: np.diagonal(x)[:, None] * x], ids=["loops", "calls", "views"]
)
def test_arrays_between_loops_share_memory(monkeypatch, function):
    monkeypatch.setattr(fusion, "BLAS", 0)

    def chain(x):
        first = x @ x
        diagonal = np.lib.stride_tricks.sliding_window_view(first, (1, 1))  # a view of an array that nothing else needs
        for _ in range(6):
            y = function(x.T * 1.5)
            x = (y @ y).T + y  # loops that read an array that they may not overwrite
        return np.sum(x * np.sort(x + 1)), np.sum(np.sort(diagonal)), x

    program, arrays, want = traced(chain, (np.random.default_rng(0).uniform(-0.3, 0.3, (5, 5)),))
    run, text = interpreted(program)
    equal(run(*arrays), want, program)
    equal(run(*arrays), want, program)  # in the same buffers
    assert text.count("np.empty((5, 5))") <= 6


def test_updates_are_written_over_their_inputs():
    def step(w, g, lr):
        w -= lr * g

    w, g = np.ones(3), np.array([1.0, 2.0, 3.0])
    program, _, _ = traced(step, (w.copy(), g, 0.5))
    run, text = interpreted(program)
    run(w, g, 0.5)
    assert w.tolist() == [0.5, 0.0, -0.5]
    assert "w[i] = w[i] - lr * g[i]" in text


def test_updates_that_read_each_other_wait():
    def swap(a, b):
        old = a * 1.0
        a[...] = b
        b[...] = old[::-1]

    a, b = np.arange(3.0), np.arange(3.0, 6.0)
    program, _, _ = traced(swap, (a.copy(), b.copy()))
    run, _ = interpreted(program)
    run(a, b)
    assert (a.tolist(), b.tolist()) == ([3.0, 4.0, 5.0], [2.0, 1.0, 0.0])


def test_one_new_value_of_two_arrays():
    old, other, x, new = (Value((3,), np.float64) for _ in range(4))
    step = Step(np.multiply, (x, 2.0), {}, new)
    run, _ = interpreted(Program((old, other, x), (step,), (), {old: new, other: new}))
    a, b = np.zeros(3), np.zeros(3)
    run(a, b, np.arange(3.0))
    assert (a.tolist(), b.tolist()) == ([0.0, 2.0, 4.0], [0.0, 2.0, 4.0])


def test_the_lowering_is_short():
    files = [LIBRARY[f"microgradnd.compiler.{name}"].read_text() for name in ("fusion", "loops")]
    assert sum(map(code_lines, files)) < 730
