"""Programs as loops that numba has compiled.

Owns: that compiled loops agree with NumPy, at the edges too; how they are kept,
reported and chosen.
Must not own: which loops there are, and what they compute on ordinary numbers
(`test_loops.py`).
Read next: `test_loops.py`.
"""

import functools
import gc
import math
import os
import re
import runpy
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.compiler import loops, machine
from microgradnd.compiler.driver import driver_of
from microgradnd.transforms import plain
from microgradnd.trees import flatten
from tests.test_loops import equal, programs

pytest.importorskip("numba", reason='loops need numba: pip install -e ".[numba]"')


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("MICROGRADND_CACHE", str(tmp_path_factory.mktemp("loops")))
    yield
    patch.undo()


def same(got, want, ulps=0):
    for a, b in zip(flatten(got)[0], flatten(want)[0], strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if ulps:
            np.testing.assert_array_max_ulp(a, b, ulps)
        else:
            np.testing.assert_array_equal(a, b)
        if a.dtype.kind == "f":
            number = ~np.isnan(a)
            np.testing.assert_array_equal(np.signbit(a)[number], np.signbit(b)[number])


EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324, 1e308, -1e308, 709.0, -745.0, 0.5, 3.0]
)


@given(programs(size=8))
def test_random_programs(case):
    function, args = case
    with np.errstate(all="ignore"):
        compiled = mg.compile(function, backend="numba")
        equal(compiled(*args), function(*args), compiled._latest.program)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arithmetic_is_equal_to_the_last_bit_at_the_edges(dtype):
    def f(x, y):
        both = x + y, x - y, x * y, x / y, np.maximum(x, y), x < y, np.where(x > y, x, y)
        return *both, -x, abs(x), np.sqrt(x), np.sign(x), np.floor(x), np.minimum(x, 0.5), x.astype(np.float32)

    with np.errstate(all="ignore"):
        x = EDGES.astype(dtype)
        args = np.repeat(x, x.size), np.tile(x, x.size)
        same(mg.compile(f, backend="numba")(*args), f(*args))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("f", [np.exp, np.log, np.sin, np.cos, np.tanh], ids=lambda f: f.__name__)
def test_elementary_functions_are_within_a_few_ulps(f, dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [EDGES, rng.normal(size=500) * 5, 10 ** rng.uniform(-300, 300, 500), np.arange(-99, 99) * np.pi / 2]
    )
    with np.errstate(all="ignore"):
        x = x.astype(dtype)
        same(mg.compile(lambda x: f(x), backend="numba")(x), f(x), ulps=4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_signs_and_infinities_are_numpys(dtype):
    def f(x):
        clipped = np.clip(x, 0.0, 1.0), np.clip(x, -1, -0.0), np.clip(x, -0.0, 0.0), np.clip(x, np.nan, 1.0)
        powers = x**0.5, x**2, x**-1, x**0, np.sqrt(x), np.reciprocal(x), np.square(x)
        signs = 0 * x, 0 - x, -0.0 + x, x * -1, -0.0 / x, np.where(x > 0, x, -0.0), np.copysign(x, -x), np.fabs(x)
        return *clipped, *powers, *signs, np.ceil(x), np.trunc(x), np.rint(x), np.copy(x), np.isnan(x), x != x

    with np.errstate(all="ignore"):
        x = EDGES.astype(dtype)
        same(mg.compile(f, backend="numba")(x), f(x))


def test_the_double_closest_to_a_multiple_of_a_quarter_turn():
    x = np.array([6381956970095103 * 2.0**797])
    cosine = mg.compile(lambda x: np.cos(x), backend="numba")(x)[0]
    assert math.isclose(cosine, -4.68716592425462761112e-19, rel_tol=1e-15)


def test_integers_wrap_and_keep_their_dtypes():
    def f(x, y):
        return x + y, x * y, -x, x < y, np.maximum(x, y), np.sum(x), x / y, x.astype(np.float64)

    compiled = mg.compile(f, backend="numba")
    for code in "bhilqBHILQ":
        dtype = np.dtype(code)
        x = np.array([np.iinfo(dtype).max, np.iinfo(dtype).min, 3, 0], dtype)
        with np.errstate(all="ignore"):
            same(compiled(x, x[::-1].copy()), f(x, x[::-1].copy()))


def test_arrays_that_are_not_contiguous_or_writeable_or_of_native_byte_order():
    def f(x, y):
        return x * 2 + y, np.sum(x, axis=0)

    compiled = mg.compile(f, backend="numba")
    x = np.arange(24.0).reshape(4, 6)
    locked = x.copy()
    locked.flags.writeable = False
    for a in (x, x.T.copy().T, np.repeat(x, 2, axis=1)[:, ::2], locked, x.astype(">f8")):
        same([np.asarray(r, float) for r in compiled(a, x)], [np.asarray(r, float) for r in f(a, x)])


def test_numpys_results_between_loops_may_have_another_layout():
    def f(x):
        return np.sort(np.sin(x).T, axis=0) * 2, np.sum(np.sort(x.T, axis=1) + 1, axis=0)

    x = np.random.default_rng(0).normal(size=(3, 5))
    got, want = mg.compile(f, backend="numba")(x), f(x)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_largest_and_the_smallest_of_numbers_with_nan(dtype):
    def f(x):
        return np.max(x, axis=1), np.min(x, axis=1), np.max(x, axis=0), np.min(x), np.max(x[:1]), np.prod(x[2:], axis=1)

    x = np.random.default_rng(0).normal(size=(5, 40)).astype(dtype)
    x[1, 7], x[3, 0], x[2, 39] = np.nan, np.inf, -np.inf
    compiled = mg.compile(f, backend="numba")
    for a, b in zip(compiled(x), f(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_empty_and_0d():
    def f(x, s):
        return x * s, np.sum(x), np.sum(x, axis=0), x @ x.T, s * 2

    compiled = mg.compile(f, backend="numba")
    for shape in ((0, 3), (3, 0), (0, 0), (1, 1)):
        args = np.ones(shape), np.array(2.5)
        same(compiled(*args), f(*args))


def test_updates_reach_arrays_of_any_layout():
    def step(w, g):
        w -= 0.5 * g
        return np.sum(w)

    compiled = mg.compile(step, backend="numba")
    for w in (np.ones((2, 3)), np.ones((3, 2)).T, np.ones((2, 6))[:, ::2]):
        assert compiled(w, np.ones((2, 3))) == 3.0
        assert (w == 0.5).all()


def test_numbers_keep_their_dtypes_between_functions_and_for_all_lengths():
    def f(x, i):
        total, largest, is_any = np.sum(x), np.max(i), np.any(i > 2)
        y = np.cumsum(x)  # NumPy's, between two functions
        return total, largest, is_any, y * total, np.where(is_any, i, largest)

    compiled = mg.compile(f, backend="numba")
    for n in (5, 7, 11):
        for dtype in (np.float32, np.float64):
            x, i = np.arange(n, dtype=dtype), np.arange(n, dtype=np.int16)
            same(compiled(x, i), f(x, i))


def test_an_index_out_of_bounds():
    compiled = mg.compile(lambda x, i: x[i], backend="numba")
    assert compiled(np.arange(3.0), np.array([0, -1])).tolist() == [0.0, 2.0]
    with pytest.raises(IndexError, match="out of bounds"):
        compiled(np.arange(3.0), np.array([0, 3]))


def test_results_are_the_callers_own_and_threads_do_not_meet():
    def f(x):
        e = np.exp(x - np.max(x, axis=1, keepdims=True))
        return e / np.sum(e, axis=1, keepdims=True)

    compiled = mg.compile(f, backend="numba")
    inputs = [np.random.default_rng(i).normal(size=(200, 500)) for i in range(4)]
    expected = [compiled(x) for x in inputs]
    kept = [e.copy() for e in expected]
    results = [[] for _ in inputs]
    threads = [
        threading.Thread(target=lambda i: results[i].extend(compiled(inputs[i]) for _ in range(50)), args=(i,))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(expected, kept)
    for each, want in zip(results, expected, strict=True):
        same(each, [want] * 50)


@pytest.mark.parametrize("count", ["1", "3", " 2,1", "many"])
def test_wide_loops_are_shared_by_threads(monkeypatch, count):
    import numba

    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setenv("OMP_NUM_THREADS", count)
    compiled = mg.compile(lambda x: x * x + 1, backend="numba")
    for size in (loops.WIDE, loops.WIDE + 1, loops.WIDE + 2):  # three threads divide one of these
        x = np.linspace(-3, 3, size)
        same(compiled(x), x * x + 1)
    assert "in_threads(" in compiled.source


@pytest.mark.parametrize(("extent", "count"), [(0, 1), (1, 1), (2, 2), (7, 3), (9, 3), (10, 3)])
def test_threads_share_all_of_a_loop(monkeypatch, extent, count):
    import numba

    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    shares = []
    machine.in_threads(lambda start, stop, last: shares.append((start, stop, last)), extent, "last")
    assert sorted(i for start, stop, _ in shares for i in range(start, stop)) == list(range(extent))
    assert len(shares) == count
    assert {last for *_, last in shares} == {"last"}


def test_a_shared_loop_is_over_when_every_thread_is(monkeypatch):
    import numba

    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    first_is_over, done = threading.Event(), []

    def loops(start, stop):
        if start == 0:
            first_is_over.set()
            return
        first_is_over.wait()
        sum(range(10**6))
        done.append(start)

    machine.in_threads(loops, 3)
    assert sorted(done) == [1, 2]


def entries(cache):
    """Return the entries of a cache, without the last compilation's time."""
    return [path for path in cache.iterdir() if path.name != machine.RATE]


def test_machine_code_is_for_one_version_of_numba_and_numpy(monkeypatch, tmp_path):
    monkeypatch.setenv("MICROGRADND_CACHE", str(tmp_path))
    text = '@njit("int64()", cache=True)\ndef f():\n    return 1\n'
    for versions in ("0.61 2.2", "0.61 2.3", "0.61 2.3"):
        monkeypatch.setattr(machine, "platform", lambda versions=versions: versions)
        assert [f() for f in machine.compiled([text], "f")] == [1]
    assert len(entries(tmp_path)) == 2


def test_the_faster_program_is_kept(monkeypatch):
    """The race runs each program at least twice, on copies, and gives microseconds."""
    calls = []

    def slow(x):
        calls.append(x)
        x += 1
        time.sleep(0.03)

    x = np.zeros(2)
    fast, taken = machine.race((lambda x: None, slow), [x])
    assert fast < 30_000 <= taken < 10**6
    assert len(calls) >= 2
    assert x.tolist() == [0.0, 0.0]
    assert not any(np.shares_memory(x, other) for other in calls)
    for times, words in (([1.0, 2.0], ": loops take 2 us, NumPy 1 us"), ([2.0, 1.0], "loops take 1 us, NumPy 2 us: ")):
        monkeypatch.setattr("microgradnd.compiler.programs.race", lambda *_, times=times: times)
        compiled = mg.compile(lambda x: x * 3, backend="auto")
        compiled(np.ones(3))
        assert words in compiled.report()
        assert ("_loops" in compiled.source) == (times == [2.0, 1.0])


def test_the_race_warns_of_nothing():
    def grow(w):
        w *= 1e3
        return np.sum(w)

    compiled, w = mg.compile(grow, backend="auto"), np.ones(3)
    with np.errstate(all="raise"):
        assert compiled(w) == 3000.0
    assert w.tolist() == [1000.0] * 3


def test_long_sums_in_float32_are_as_accurate_as_numpys():
    x = np.full(200_000, 0.1, np.float32)
    exact = 200_000 * float(np.float32(0.1))
    assert abs(mg.compile(lambda x: np.sum(x), backend="numba")(x) - exact) / exact < 1e-7


def test_the_report_says_what_is_left_to_numpy_and_why():
    compiled = mg.compile(lambda x: np.sum(np.sort(np.tanh(x)) * 2), backend="numba")
    with pytest.raises(RuntimeError, match="call the compiled function once"):
        compiled.report()
    x = np.array([3.0, 1.0, 2.0])
    assert math.isclose(compiled(x), 2 * np.tanh(x).sum())
    first, middle, last, lengths = compiled.report().splitlines()
    assert first.startswith("loops: program_loops_1: ")
    assert middle.startswith("NumPy: sort of (3,): it has no loop form")
    assert last.startswith("loops: program_loops_2: ")
    assert lengths == "x.shape[0] is open, as n"
    assert compiled.compile_seconds > 0


def test_auto_says_what_it_measured():
    compiled = mg.compile(lambda x: np.sum(np.tanh(x) * x), backend="auto")
    x = np.linspace(0, 1, 10)
    assert math.isclose(compiled(x), np.sum(np.tanh(x) * x))
    assert "loops take" in compiled.report()
    assert "NumPy" in compiled.report()


@pytest.mark.parametrize("backend", ["numba", "auto"])
def test_where_numba_is_missing(monkeypatch, backend):
    monkeypatch.setitem(sys.modules, "numba", None)
    compiled = mg.compile(lambda x: x * 123.0, backend=backend)
    if backend == "numba":
        with pytest.raises(ImportError, match=r'pip install "microgradnd\[numba\]"'):
            compiled(np.ones(2))
    else:
        assert compiled(np.ones(2)).tolist() == [123.0, 123.0]
        assert "microgradnd[numba]" in compiled.report()


def test_an_unknown_backend():
    with pytest.raises(ValueError, match=r"backend must be 'numpy', 'numba' or 'auto', got 'cuda'"):
        mg.compile(np.sin, backend="cuda")


PROGRAM = """
import numpy as np, microgradnd as mg
f = mg.compile(lambda x: x * 3 + 1, backend="numba")
assert f(np.ones(4)).tolist() == [4.0] * 4
print(len(f._latest.function.__globals__["program_loops"].stats.cache_hits))
"""


def test_machine_code_is_kept_between_processes(tmp_path):
    environment = os.environ | {"MICROGRADND_CACHE": str(tmp_path), "PYTHONPATH": str(Path(mg.__file__).parents[1])}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "of numba")  # for a user's own functions
    for hits in ("0", "1"):
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == hits


def test_equal_loops_are_compiled_once(monkeypatch, tmp_path):
    """Whatever the names of their arrays, and in whichever program they are."""
    monkeypatch.setenv("MICROGRADND_CACHE", str(tmp_path))

    def first(x, much_longer_name_of_an_array):
        return np.sort(np.sort(x + much_longer_name_of_an_array) - 2)

    def second(a, b):
        return np.sort(np.sort(np.sort(b + a) - 2) - 2)

    x, y = np.arange(3.0), np.ones(3)
    found = [mg.compile(f, backend="numba") for f in (first, second)]
    for compiled, f in zip(found, (first, second), strict=True):
        np.testing.assert_array_equal(compiled(x, y), f(x, y))
    functions = [
        function
        for compiled in found
        for name, function in compiled._latest.function.__globals__.items()
        if name.startswith(compiled.__name__)
    ]
    assert len(functions) == 5
    assert len(set(functions)) == len(entries(tmp_path)) == 2
    references = [weakref.ref(function) for function in functions]
    del found, compiled, functions
    gc.collect()
    assert not any(reference() for reference in references)


def damaged(path, how):
    """Change a file as a full disk, another program or another version might."""
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "foreign":
        path.write_bytes(b"raise SystemExit('INJECTED')\n")
    elif how == "flipped":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "foreign", "flipped", "folder", "missing"])
def test_a_damaged_cache_is_made_again(monkeypatch, tmp_path, how):
    monkeypatch.setenv("MICROGRADND_CACHE", str(tmp_path))
    x = np.arange(4.0)

    def hits():
        compiled = mg.compile(lambda x: x * 3 + 2, backend="numba")
        np.testing.assert_array_equal(compiled(x), x * 3 + 2)
        return len(compiled._latest.function.__globals__["program_loops"].stats.cache_hits)

    assert [hits(), hits()] == [0, 1]
    [entry] = entries(tmp_path)
    files = sorted(path.relative_to(entry) for path in entry.rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {"", ".py", ".nbi", ".nbc"}
    for file in files:
        damaged(entry / file, how)
        assert [hits(), hits()] == [0, 1]
        assert entries(tmp_path) == [entry]
    damaged(entry / "seal", how)
    damaged(entry / "loops.py", how)
    assert [hits(), hits()] == [0, 1]


def test_code_that_numba_cannot_read_is_compiled_again(monkeypatch, tmp_path):
    """Even if an entry is unchanged, a newer numba may read it differently."""
    [part] = driver_of(compiled_program(), "f").parts
    text = machine.numbered(part.text)
    first = machine.made(text, tmp_path / "key")
    for file in (tmp_path / "key").rglob("*.nbi"):
        file.write_bytes(b"nonsense")
    (tmp_path / "key" / "seal").write_text(machine.seal(tmp_path / "key"))
    assert machine.kept(text, tmp_path / "key") is None
    assert machine.made(text, tmp_path / "key").signatures == first.signatures
    assert len(machine.kept(text, tmp_path / "key").stats.cache_hits) == 1


def compiled_program():
    compiled = mg.compile(lambda x: x * 2 + 7)
    compiled(np.ones(3))
    return compiled._latest.traced.program


@pytest.mark.parametrize("rate", ["nan", "inf", "1e308", "-1", "fast"])
def test_any_rate_may_be_in_the_cache(monkeypatch, tmp_path, rate):
    monkeypatch.setenv("MICROGRADND_CACHE", str(tmp_path))
    (tmp_path / "rate").write_text(rate)
    np.testing.assert_array_equal(mg.compile(lambda x: x * 5 - 3, backend="numba")(np.ones(2)), [2.0, 2.0])


def test_an_entry_is_for_its_own_text(tmp_path):
    for name, number in (("a", 1), ("b", 2)):
        assert machine.made(f"def loops():\n    return {number}\n", tmp_path / name)() == number
    (tmp_path / "a").rename(tmp_path / "c")
    assert machine.kept("def loops():\n    return 2\n", tmp_path / "b")() == 2
    assert machine.kept("def loops():\n    return 1\n", tmp_path / "c") is None


def test_machine_code_is_for_one_platform(monkeypatch):
    from llvmlite import binding

    before = machine.platform()
    for thing, attribute in ((np, "__version__"), (sys, "version"), (sys.modules["numba"], "__version__")):
        with monkeypatch.context() as patch:
            patch.setattr(thing, attribute, "0.1")
            assert machine.platform() != before
    monkeypatch.setattr(binding, "get_host_cpu_name", lambda: "generic")
    assert machine.platform() != before


def test_no_home(monkeypatch, tmp_path):
    monkeypatch.delenv("MICROGRADND_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert mg.compile(lambda x: x * 7 + 6, backend="numba")(np.ones(1)).tolist() == [13.0]
    assert len(entries(tmp_path / "microgradnd")) == 1


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MICROGRADND_CACHE", str(tmp_path / "file" / "folder"))
    assert mg.compile(lambda x: x * 7 + 5, backend="numba")(np.ones(1)).tolist() == [12.0]
    assert not (tmp_path / "file").is_dir()


@pytest.mark.parametrize("backend", ["numba", "auto"])
def test_loops_that_serve_one_length_are_for_that_of_the_call(backend):
    def losses(wrap):
        model = nn.Embedding(5, 3, rng=np.random.default_rng(0))
        optimizer = optim.SGD(model.parameters(), lr=0.125)

        def step(i):  # the check of the indices stands between two loops
            loss = np.sum(model(i) ** 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        step = wrap(step)
        return [plain(step(np.array(i))) for i in ([0, 1, 1], [4, 4], [3, 3, 3, 3], [2], [4, 0, 4, 1, 2])]

    found = losses(functools.partial(mg.compile, backend=backend))
    np.testing.assert_allclose(found, losses(lambda f: f), rtol=1e-13)


def test_an_array_is_computed_in_the_loop_that_needs_it():
    """Not in an earlier one over the same shape, which would write it to memory."""

    def f(a, m, w):
        h = np.maximum(a, 0.0)
        return 0.9 * m + 0.1 * (h @ w), h

    x = np.ones((128, 128))
    compiled = mg.compile(f, backend="numba")
    np.testing.assert_array_equal(compiled(x, x, x)[0], f(x, x, x)[0])
    assert "0.9 * m[i, j] + 0.1 * " in compiled.source


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "part",
    [
        lambda w: w[0],
        lambda w: w.reshape(-1)[2:7],
        lambda w: np.broadcast_to(np.sort(w[1]), (1, 5))[0],
        lambda w: np.broadcast_to(np.sum(w), (1,)),
    ],
)
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: mg.value_and_grad(lambda w, x: np.sum(f(w, x)))])
def test_loops_read_parts_of_arrays_that_may_not_be_written(part, wrap):
    def f(w, x):
        h = np.zeros(5)
        for t in range(len(x)):
            h = np.tanh(h * part(w) + x[t])
        return h

    compiled = mg.compile(wrap(f), backend="numba")
    w, x = np.arange(10.0).reshape(2, 5) / 9, np.ones((6, 5)) / 3
    for weights in (read_only(w.copy()), w, np.broadcast_to(w[0], (2, 5)), np.asfortranarray(w)):
        for found, right in zip(flatten(compiled(weights, x))[0], flatten(wrap(f)(weights, x))[0], strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("loss", lambda f: (mg.compile(mg.grad(f), optimize=False), np.eye(3), np.ones((100, 3)))),
        ("softmax", lambda f: (f, np.ones((1000, 30)))),
    ],
)
def test_the_page_shows_the_program(name, call, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "how-to" / "compile.md").read_text()
    code, shown = re.search(rf"```python\n([^`>]*def {name}\(.*?)```.*?```python\n(.*?)```", page, re.S).groups()
    path = tmp_path / "page.py"  # names in a program are those in a file
    path.write_text(code)
    compiled, *args = call(runpy.run_path(path, {"np": np, "mg": mg, "functools": functools})[name])
    compiled(*args)
    source = re.sub(r" *# .*", "", compiled.source)
    for part in shown.split("    ...\n"):
        assert part in source
