"""Arguments, results and threads: compiled functions take any array and share none.

Owns: who may write to which memory, and which inputs a compiled function accepts.
Must not own: that the numbers are right (`test_compiled_laws.py`).
Read next: `test_compiled_laws.py`.
"""

import importlib.util
import itertools
import re
import threading
import weakref

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.compiler.joining import LONGEST
from microgradnd.compiler.ownership import own_results
from microgradnd.compiler.passes import optimized
from microgradnd.testing import LAYOUTS
from microgradnd.transforms import plain
from microgradnd.trees import flatten
from tests.interpreter import run
from tests.programs import compare, inputs, is_single, is_tame, programs

has_numba = importlib.util.find_spec("numba") is not None
# An optional part, which CI installs for its tests
needs_numba = pytest.mark.skipif(not has_numba, reason='loops need numba: pip install -e ".[numba]"')
FORMS = {"buffers": {}, "readable": {"optimize": False}, "numba": {"backend": "numba"}, "auto": {"backend": "auto"}}
LOOPS = [form for form in FORMS.values() if "backend" in form]
every_form = pytest.mark.parametrize(
    "form", [pytest.param(form, id=name, marks=[needs_numba] * ("backend" in form)) for name, form in FORMS.items()]
)
CAPTURED = np.arange(3.0)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("MICROGRADND_CACHE", str(tmp_path_factory.mktemp("loops")))
    yield
    patch.undo()


@mg.primitive
def itself(x):
    return x


@mg.primitive
def turned(x):
    return [x[::-1], x[1:]][0]


@mg.primitive
def kept(x):
    return CAPTURED


mg.defvjp(kept, lambda g, out, x: np.zeros_like(x))
mg.defvjp(itself, lambda g, out, x: g)
mg.defvjp(turned, lambda g, out, x: g[::-1])

RESULTS = {
    "an argument": lambda x: x,
    "an argument twice": lambda x: (x, x),
    "a slice": lambda x: x[1:],
    "a transpose": lambda x: np.reshape(x, (3, 1)).T,
    "a row": lambda x: np.reshape(x, (1, 3))[0],
    "the real part": np.real,
    "a number of it": lambda x: (x[0], x[0, ...], np.reshape(x[:1], ())),
    "an identity": lambda x: np.positive(1 * np.copy(x)),
    "a spread argument": lambda x: np.broadcast_to(x, (2, 3)),
    "a spread value": lambda x: np.broadcast_to(np.exp(x), (2, 3)),
    "a diagonal": lambda x: np.diagonal(np.reshape(x[:1], (1, 1))),
    "views of numpy.linalg": lambda x: (
        np.linalg.diagonal(np.reshape(x[:1], (1, 1))),
        np.linalg.matrix_transpose(np.reshape(x, (1, 3))),
    ),
    "parts": lambda x: np.split(x, 3),
    "broadcast arrays": lambda x: np.broadcast_arrays(x, x[:, None]),
    "a constant gradient": mg.grad(lambda x: np.sum(x)),
    "constants": lambda x: (np.zeros(3), np.ones_like(x), x * 2),
    "a captured array": lambda x: (CAPTURED, CAPTURED[1:], x * 2),
    "a value and its view": lambda x: (np.exp(x), np.exp(x)[1:]),
    "in a dict": lambda x: {"x": x, "list": [x.T, np.sin(x)]},
    "a matrix": lambda x: np.linalg.inv(np.eye(3) + np.outer(x, x)),
    "functions of the user": lambda x: (itself(x), itself(np.exp(x)), turned(x), turned(np.exp(x)), itself(CAPTURED)),
    "functions of what they return": lambda x: (itself(turned(x * 2)), itself(np.rot90(np.outer(x, x)))[1:]),
    "what functions of the user keep": lambda x: (kept(x), kept(x * 2)[1:], itself(kept(np.exp(x)))),
    "views of a value": lambda x: [
        view(np.exp(x)) for view in (np.flip, np.ravel, np.atleast_2d, np.real, np.squeeze, lambda x: np.split(x, 3))
    ],
    "views of a matrix": lambda x: [
        view(np.outer(x, np.exp(x))) for view in (np.rot90, np.transpose, np.diagonal, np.linalg.diagonal, np.ravel)
    ],
    "views of what NumPy has computed": lambda x: (
        np.sort(np.exp(x))[1:],
        np.rot90(np.linalg.inv(np.outer(x, x) + np.eye(3))),
    ),
    "views that NumPy locks": lambda x: (
        np.diag(np.outer(x, x)),
        np.lib.stride_tricks.sliding_window_view(np.exp(x), 2),
        np.imag(np.exp(x)),
    ),
    "a view by einsum": lambda x: (np.einsum("ij->ji", y := np.exp(np.outer(x, x))), y * 2),
    "a view between loops": lambda x: (np.rot90(y := np.exp(np.outer(x, x))), np.sum(y), y * 2),
    "complex numbers": lambda x: (x + 1j, np.real(x + 1j), np.conj(x + 0j), np.imag(x)),
    "integers": lambda x: (x.astype(np.int8), x > 1, np.argsort(x), CAPTURED.astype(int)),
    "nothing": lambda x: (x[:0], np.exp(x)[:0], np.zeros((0, 3))),
    "equal results": lambda x: (np.exp(x), np.exp(x), np.copy(x), np.copy(np.copy(x)), x + 0, np.negative(-x)),
    "views of equal values": lambda x: (np.outer(x, x), np.outer(x, x).T, np.exp(x), np.reshape(np.exp(x), (3, 1))),
    "a view of a result": lambda x: (y := np.exp(x), y[1:], y.reshape(3, 1)),
    "a converted argument": lambda x: (x.astype(float), x.copy(), np.astype(x, np.float64), x.reshape(-1)),
}


@every_form
@pytest.mark.parametrize("f", RESULTS.values(), ids=RESULTS)
def test_results_are_the_callers_own(f, form):
    compiled = mg.compile(f, **form)
    x = np.array([1.0, 2.0, 3.0])
    captured = CAPTURED.copy()
    first, again, want = compiled(x), compiled(x), f(x)
    kept = [np.array(leaf) for leaf in flatten(first)[0]]
    compare(first, want, exact=form not in LOOPS)
    leaves = flatten(first)[0]
    for i, (leaf, other) in enumerate(zip(leaves, flatten(again)[0], strict=True)):
        for array in (x, CAPTURED, *memory(compiled), other, *leaves[:i]):
            assert not np.shares_memory(leaf, array)
        if isinstance(leaf, np.ndarray):
            assert leaf.flags.writeable
    compiled(x + 1)
    x[...] = -1.0
    compare(first, kept, exact=True)
    for i, leaf in enumerate(flatten(first)[0]):
        if isinstance(leaf, np.ndarray):
            leaf[...] = i
    compare(again, kept, exact=True)
    assert np.array_equal(CAPTURED, captured)
    compare(compiled(np.array([1.0, 2.0, 3.0])), kept, exact=True)


def memory(compiled):
    """Return a program's own arrays: its buffers, its constants, and its captures."""
    known = compiled._latest.function.__globals__
    arrays = [*known.values(), *compiled._latest.captured(), *[b for held in known.get("_pool", ()) for b in held]]
    return [array for array in arrays if isinstance(array, np.ndarray)]


@given(programs, inputs())
def test_random_results_are_the_callers_own(program, arrays):
    check_random_results(program, arrays, [FORMS["buffers"], FORMS["readable"]])


@needs_numba
@given(programs, inputs())
@settings(max_examples=max(3, settings.default.max_examples // 10))
def test_random_results_of_loops_are_the_callers_own(program, arrays):
    check_random_results(program, arrays, LOOPS)


def check_random_results(program, arrays, forms):
    def f(*xs):
        values = program(*xs)
        return values, xs[0], xs[-1].T, np.ravel(xs[0]), itself(values), CAPTURED

    for form in forms:
        compiled = mg.compile(f, **form)
        args, more = arrays
        first = compiled(*args)
        kept = [np.array(leaf) for leaf in flatten(first)[0]]
        second = compiled(*more)
        compare(first, kept, exact=True)
        others = (*args, *more, *flatten(second)[0], *memory(compiled))
        assert not any(np.shares_memory(a, b) for a in flatten(first)[0] for b in others)


@every_form
def test_the_new_value_of_an_argument_is_a_new_array(form):
    def step(w, x):
        old = w * 1.0
        w -= 0.5 * x
        return old, w, w[1:]

    compiled = mg.compile(step, **form)
    w, x = np.ones(3), np.ones(3)
    results = [compiled(w, x) for _ in range(3)]
    for i, (old, new, part) in enumerate(results):
        np.testing.assert_array_equal(old, 1 - 0.5 * i)
        np.testing.assert_array_equal(new, 0.5 - 0.5 * i)
        np.testing.assert_array_equal(part, 0.5 - 0.5 * i)
        assert not np.shares_memory(new, w)
    np.testing.assert_array_equal(w, -0.5)


def test_numbers_are_not_copied():
    compiled = mg.compile(lambda x: (np.sum(x), x[0], np.linalg.det(np.outer(x, x))))
    compiled(np.arange(3.0))
    assert "copy" not in compiled.source


@given(programs, inputs())
def test_owning_results_changes_nothing_else(program, arrays):
    compiled = mg.compile(lambda *xs: (program(*xs), xs[0], xs[0].T))
    compiled(*arrays[0])
    before = optimized(compiled._latest.traced.program)
    after = own_results(before)
    given_arrays = [*arrays[1], *(getattr(x, "data", x) for x in compiled._latest.traced.captured)]
    compare(run(after, *given_arrays), run(before, *given_arrays), exact=True)


def test_parts_of_a_joined_vector_are_not_copied():
    def step(weights, moments, gradients):
        moments = [0.9 * m + 0.1 * g for m, g in zip(moments, gradients, strict=True)]
        scaled = [m / (np.sqrt(m * m) + 1e-3) for m in moments]
        return [w - 0.01 * s for w, s in zip(weights, scaled, strict=True)], moments

    compiled = mg.compile(step)
    arrays = [np.arange(float(n)) for n in (2, 3, 4, 5)]
    args = arrays, [x + 1 for x in arrays], [x - 2 for x in arrays]
    first, again = compiled(*args), compiled(*args)
    assert "np.concatenate" in compiled.source
    assert "copy" not in compiled.source
    leaves = [*flatten(first)[0], *flatten(again)[0]]
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(leaves, 2))
    assert all(leaf.base.nbytes <= LONGEST for leaf in leaves)
    for i, leaf in enumerate(flatten(first)[0]):
        leaf[...] = i
    compare(again, step(*args), exact=True)


# Gradients that a step leaves behind

HOLDERS = {
    "the array": lambda g: g,
    "a part": lambda g: g[:1],
    "a view of another shape": lambda g: np.reshape(g, (-1,)),
    "a memoryview": memoryview,
    "an iterator": lambda g: g.flat,
    "a function": lambda g: g.__getitem__,
    "what it is a view of": lambda g: g if g.base is None else g.base[:],
}


def training(form, width=3):
    """Return a compiled step whose optimizer uses one vector, and its network."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(2, width, rng=rng), nn.Tanh(), nn.Linear(width, 1, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=0.1)

    def step(x, y):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return mg.compile(step, **form), model, (np.ones((4, 2)), np.arange(4.0).reshape(4, 1))


def contents(held):
    return np.array(held(slice(None)) if callable(held) else held).tolist()


@every_form
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_gradients_that_somebody_holds_stay_unchanged(hold, form):
    step, model, data = training(form)
    kept = []
    for i in range(8):
        step(*data)
        if i % 3:
            kept += [(held := hold(p.grad), contents(held)) for p in model.parameters()]
        gradients = [p.grad for p in model.parameters()]
        assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(gradients, 2))
        gradients.clear()
        assert all(contents(held) == before for held, before in kept)


@every_form
def test_gradients_that_nobody_holds_are_freed(form):
    step, model, data = training(form)
    eager, other, _ = training({})
    ended = []
    for _ in range(5):
        step(*data)
        eager.function(*data)
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            np.testing.assert_allclose(p.grad, q.grad)
            weakref.finalize(p.grad, ended.append, None)
            p.grad *= 0.5
            p.grad.flags.writeable = False  # of this array, not of later ones
    assert len(ended) == 4 * 4


def test_a_kept_gradient_keeps_nothing_else_alive():
    for width in (3, 1000):
        step, model, data = training({}, width)
        step(*data)
        for p in model.parameters():
            kept = p.grad if p.grad.base is None else p.grad.base
            assert kept.nbytes == p.grad.nbytes


@every_form
def test_numpys_views_of_a_part_stay_unchanged(form):
    """`np.real` returns a real array itself."""
    compiled = mg.compile(lambda x: (a := np.sin(x), np.real(a), np.sum(np.concatenate([a, np.cos(x)]) * 2)), **form)
    points = np.arange(12.0).reshape(4, 3)
    kept = [compiled(x)[1] for x in points]
    np.testing.assert_allclose(kept, np.sin(points))


# Threads


@every_form
@given(programs, inputs())
@settings(max_examples=max(3, settings.default.max_examples // 10))
def test_calls_from_several_threads(form, program, arrays):
    assume(is_tame(program, arrays))
    f = mg.value_and_grad(program, range(len(arrays[0])))
    compiled = mg.compile(f, **form)
    work = [[x * scale for x in each] for scale in (1, 2) for each in arrays]
    results = in_threads(lambda args: [compiled(*args) for _ in range(5)], work)
    for found, args in zip(results, work, strict=True):
        for got in found:
            compare(got, f(*args), exact=False, single=is_single(program, arrays))


@every_form
def test_buffers_are_given_back_when_nothing_reads_them(form):
    """From then on, another thread may write to them."""

    def step(w, x):
        new = np.sin(w) @ x
        w -= new
        x += np.sum(new) * np.cos(new)
        return np.sort(new)[0]

    compiled = mg.compile(step, **form)
    compiled(np.eye(3), np.eye(3))
    lines = compiled.source.splitlines()
    if any("_pool.append" in line for line in lines):
        [end] = [i for i, line in enumerate(lines) if "_pool.append" in line]
        assert all(line.lstrip().startswith(("if given", "given[", "return ")) for line in lines[end + 1 :])
    assert ("_pool" in compiled.source) == ("optimize" not in form)


@every_form
def test_numbers_are_taken_out_before_buffers_are_given_back(form):
    compiled = mg.compile(lambda x: (np.sum(np.exp(x)), np.prod(x + 1)), **form)
    compiled(np.arange(3.0))
    before, _, after = compiled.source.rpartition("_pool.append")
    buffers = re.findall(r"\((.*)\) = _buffers", before)
    assert set(re.findall(r"\w+", " ".join(buffers))).isdisjoint(re.findall(r"\w+", after))


def test_threads_that_trace_at_the_same_time():
    w = mg.tensor([1.0, 2.0], requires_grad=True)

    def f(x):
        with mg.no_grad():
            np.multiply(w, x)
        return mg.grad(lambda x: np.sum(x * w * w))(x)

    compiled = mg.compile(f, sizes="fixed")
    sizes = [(n, 2) for n in range(1, 9)]
    for got, shape in zip(in_threads(lambda shape: compiled(np.ones(shape)), sizes), sizes, strict=True):
        np.testing.assert_array_equal(plain(got), np.broadcast_to([1.0, 4.0], shape))
    assert compiled.cache_info().currsize == 8


def test_threads_with_a_small_cache():
    compiled = mg.compile(lambda x: x * 2, maxsize=2)
    sizes = [n % 4 for n in range(40)]
    for got, n in zip(in_threads(lambda n: compiled(np.ones(n)), sizes), sizes, strict=True):
        np.testing.assert_array_equal(got, np.full(n, 2.0))
    assert compiled.cache_info().currsize <= 2


def in_threads(function, work):
    """Call a function in a thread for each piece of work; return results, or raise."""
    results, errors = [None] * len(work), []

    def run(i):
        try:
            results[i] = function(work[i])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


# Arrays of any kind


def energy(x, y):
    z = np.tanh(x) * y + x
    z = z - np.mean(z) if z.size else z
    return np.sum(z * z), z.T


DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, np.bool_, np.complex128, np.complex64]


@st.composite
def pairs_of_arrays(draw):
    """Draw two arrays of one shape and any dtype, the first in any layout or locked."""
    shape = draw(st.sampled_from([(), (0,), (1,), (2, 3), (0, 3), (2, 1, 3)]))
    x, y = (
        draw(hnp.arrays(dtype, shape, elements=st.integers(0, 3).map(lambda v, d=dtype: np.dtype(d).type(v))))
        for dtype in draw(st.tuples(st.sampled_from(DTYPES), st.sampled_from(DTYPES)))
    )
    x = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](x) if x.ndim else x
    x.flags.writeable = draw(st.booleans())
    return x, y


@given(pairs_of_arrays())
@settings(max_examples=10 * settings.default.max_examples)
def test_arrays_of_any_shape_dtype_and_layout(arrays):
    check_arrays(arrays, [FORMS["buffers"], FORMS["readable"]])


@needs_numba
@given(pairs_of_arrays())
def test_arrays_of_any_shape_dtype_and_layout_in_loops(arrays):
    check_arrays(arrays, LOOPS)


def check_arrays(arrays, forms):
    want = energy(*map(mg.tensor, arrays))
    for form in forms:
        compiled = mg.compile(energy, **form)
        for _ in range(2):
            got = compiled(*arrays)
            for a, b in zip(got, want, strict=True):
                b = plain(b)
                assert (np.shape(a), np.asarray(a).dtype) == (np.shape(b), np.asarray(b).dtype)
                few = {2: 1e-2, 4: 1e-4}.get(np.asarray(b).real.itemsize, 1e-12)
                np.testing.assert_allclose(a, b, rtol=few, atol=few * (1 + np.size(b)))


@every_form
def test_python_numbers_have_the_precision_of_the_arrays(form):
    """Next to an array, a Python float has its dtype, for NumPy and for a program."""

    def step(w, x, rate):
        w -= rate * mg.grad(lambda w: np.sum(np.tanh(w * x)) * (1 + rate))(w)
        return x * rate, rate * 0.5 * x

    for dtype in (np.float32, np.float64):
        compiled = mg.compile(step, **form)
        w, x = np.ones(3, dtype), np.arange(3, dtype=dtype)
        mine = w.copy()
        for rate in (0.1, 0.3):
            got, want = compiled(mine, x, rate), step(w, x, rate)
            compare(got, want, exact=dtype == np.float64 and form not in LOOPS)
            compare(mine, w, exact=dtype == np.float64 and form not in LOOPS)
            np.testing.assert_array_equal(got[0], want[0])
        assert compiled.cache_info().misses == 1
    mixed = mg.compile(lambda x, y, rate: (x * rate, y * rate), **form)
    compare(mixed(np.ones(2), np.ones(2, np.float32), 0.1)[0], np.full(2, 0.1), exact=True)
    z = np.ones(2, np.complex64)
    assert mg.compile(lambda z, c: z * c, **form)(z, 2j).dtype == np.complex64


@every_form
def test_a_locked_array_cannot_be_updated(form):
    def step(w, x):
        w -= x
        return w

    compiled = mg.compile(step, **form)
    w = np.ones(3)
    compiled(w, w.copy())
    w.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        compiled(w, np.ones(3))
    np.testing.assert_array_equal(w, 0.0)


def update(w, v):
    w -= 0.5 * v
    return np.sum(w * v)


def test_updated_arrays_that_share_memory_are_refused():
    def step(w, v):
        w -= 0.5 * v
        v -= 0.25 * w
        return np.sum(w * v)

    compiled = mg.compile(step)
    both = np.arange(6.0)
    for _ in range(3):
        compiled(np.arange(3.0), np.arange(3.0))
        for w, v in ((both[:3], both[:3]), (both[:3], both[1:4]), (both[:3], both[2::-1]), (both[::2], both[:3])):
            with pytest.raises(ValueError, match=r"updates 'w' .*shares memory with 'v'.*copy"):
                compiled(w, v)
    np.testing.assert_array_equal(both, np.arange(6.0))
    last = mg.compile(lambda v, w: update(w, v))
    with pytest.raises(ValueError, match=r"updates 'w' .*shares memory with 'v'"):
        last(both[:3], both[1:4])
    compiled(both[::2], both[1::2])  # interleaved, but without a common element
    reads = mg.compile(lambda w, v: w * v)
    np.testing.assert_array_equal(reads(both[:3], both[:3]), both[:3] ** 2)


def test_arrays_of_strings_and_objects_are_refused():
    for array in (np.array(["a"]), np.array([None]), np.array(["2020-01-01"], "datetime64[D]")):
        with pytest.raises(TypeError, match=r"a compiled function got an array of dtype .*plain arrays of numbers"):
            mg.compile(lambda x: x)(array)


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match=r"a compiled function got a masked array"):
        mg.compile(lambda x: x)(np.ma.masked_less(np.arange(3.0), 1))


def test_subclasses_of_arrays_are_arrays():
    masked = np.arange(3.0).view(type("Mine", (np.ndarray,), {}))
    got = mg.compile(lambda x: x * 2)(masked)
    np.testing.assert_array_equal(got, [0.0, 2.0, 4.0])
