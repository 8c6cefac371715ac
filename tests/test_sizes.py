"""Lengths that compiled programs leave open.

Owns: that one program serves arrays of any length, in both backends, and agrees with
the function for each; what pins a length, and how the report says so.
Must not own: what programs compute for one length (`test_compiler.py`,
`test_compiled_steps.py`).
Read next: `test_compiler.py`.
"""

import copy
import itertools
import math
import re
import runpy
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.compiler import programs
from microgradnd.compiler.opened import general_of
from microgradnd.compiler.program import Program
from microgradnd.compiler.sizes import Size, Sizes
from microgradnd.nn import functional as F
from microgradnd.trees import flatten

LENGTHS = (64, 37, 5, 3, 2, 100, 64)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("MICROGRADND_CACHE", str(tmp_path_factory.mktemp("loops")))
    yield
    patch.undo()


def with_backend(backend):
    if backend == "numba":
        pytest.importorskip("numba", reason='loops need numba: pip install -e ".[numba]"')
    return backend


def same(got, want):
    for a, b in zip(flatten(got)[0], flatten(want)[0], strict=True):
        a, b = (np.asarray(getattr(x, "data", x)) for x in (a, b))
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-9 if a.dtype == float else 1e-4, atol=1e-12)


def vector(n, rng):
    return (rng.normal(size=n),)


def matrix(n, rng):
    return (rng.normal(size=(n, 3)),)


def square(n, rng):
    return rng.normal(size=(3, n)), rng.normal(size=(n, 2 * n))


def softmax(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return np.sum(np.log(e / np.sum(e, axis=1, keepdims=True)) ** 2)


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def written_into(x):
    out = np.zeros_like(x)
    out[1:] = x[:-1] * 2
    return np.sum(out * x)


OPEN = {
    "elementwise, reductions": (lambda x: np.sum(np.tanh(x) ** 2) + np.mean(x) + np.max(x) * np.var(x), vector),
    "lengths as numbers": (lambda x: np.sum(x**2) / len(x) + x.shape[0] * np.sum(x) - x.size + np.size(x), matrix),
    "softmax": (softmax, matrix),
    "slices": (rosenbrock, vector),
    "products": (lambda x: np.sum((x.T @ x) ** 2) + np.sum(x[0] @ x.T), matrix),
    "outer": (lambda x: np.sum(np.exp(-((x[:, None] - x[None, :]) ** 2))), vector),
    "shapes": (lambda x: np.sum(x.reshape(-1)[3:] ** 2) + np.sum(x.reshape(len(x), 3, 1).T ** 3), matrix),
    "joined": (
        lambda x: np.sum(np.concatenate([x, 2 * x, np.ones((1, 3))]) ** 2 * 0.5) + np.sum(np.stack([x, x])),
        matrix,
    ),
    "sorted": (lambda x: np.sum(np.cumsum(np.sort(x, axis=0), axis=0) ** 2), matrix),
    "normalised": (lambda x: np.sum(((x - np.mean(x, axis=0)) / np.std(x, axis=0)) ** 3), matrix),
    "chosen": (lambda x: np.sum(np.where(x > 0, x, 0) * np.maximum(x, 0.5)), vector),
    "written into": (written_into, vector),
    "contraction": (lambda x: np.sum(np.einsum("ij,kj->ik", x, x) ** 2), matrix),
    "two lengths": (lambda x, y: np.sum(np.tanh(x @ y)), square),
    "repeated": (lambda x: np.sum(np.tile(x, 2)[1:] * np.repeat(x, 2)[:-1]), vector),
}


@pytest.mark.parametrize(("name", "backend"), [*((name, "numpy") for name in OPEN), ("slices", "numba")])
def test_one_program_serves_any_length(name, backend):
    f, make = OPEN[name]
    f = mg.value_and_grad(f, argnums=(0, 1) if make is square else 0)
    rng, compiled = np.random.default_rng(0), mg.compile(f, backend=with_backend(backend))
    for n in LENGTHS:
        args = make(n, rng)
        if not (n == 3 and make is matrix):  # some rows read a shape of (n, 3) next to one of (3,)
            same(compiled(*args), f(*args))
    assert compiled.cache_info().misses == 2, compiled.report()
    assert "is open" in compiled.report()


def test_empty_axes_and_single_elements_have_programs_of_their_own():
    f = mg.value_and_grad(lambda x: np.sum(x * x))
    compiled = mg.compile(f)
    for n, misses in ((5, 1), (7, 2), (1, 3), (0, 4), (6, 4), (1, 4), (0, 4)):
        x = np.arange(float(n))
        same(compiled(x), f(x))
        assert compiled.cache_info().misses == misses


@pytest.mark.parametrize("f", [lambda x, y: np.sin(np.mean((x - y) ** 2)), lambda x, y: 1 / np.sum((x - y) ** 2)])
def test_a_factor_of_nothing_is_nothing(f):
    """Its derivative stays 0 where an infinite factor, or a NaN, would come out."""
    compiled = mg.compile(mg.grad(f))
    for n in (3, 1, 0):
        args = np.ones(1), np.arange(2.0, 2.0 + n)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the mean of nothing
            same(compiled(*args), mg.grad(f)(*args))


@given(st.data())
def test_any_order_of_lengths_gives_what_the_function_gives(data):
    f, make = OPEN[data.draw(st.sampled_from([name for name in OPEN if name != "normalised"]))]
    compiled = mg.compile(f)
    for n in data.draw(st.lists(st.sampled_from((2, 3, 4, 9, 64)), min_size=3, max_size=6)):
        args = make(n, np.random.default_rng(n))
        same(compiled(*args), f(*args))


def test_equal_lengths_share_a_symbol_until_they_differ():
    compiled = mg.compile(lambda x, y: np.sum((x - y) ** 2))
    rng, misses = np.random.default_rng(0), []
    for n, m in ((5, 5), (7, 7), (9, 9), (9, 1), (6, 6), (1, 6), (8, 8)):
        x, y = rng.normal(size=n), rng.normal(size=m)
        same(compiled(x, y), np.sum((x - y) ** 2))
        misses.append(compiled.cache_info().misses)
    assert misses == [1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(ValueError, match="shape"):
        compiled(np.ones(3), np.ones(4))


def test_other_axes_open_as_soon_as_they_differ():
    compiled = mg.compile(lambda x, w: np.sum(np.tanh(x @ w)))
    rng = np.random.default_rng(0)
    for n, k in ((4, 5), (6, 5), (7, 3), (9, 8), (2, 12)):
        x, w = rng.normal(size=(n, k)), rng.normal(size=(k, 2))
        same(compiled(x, w), np.sum(np.tanh(x @ w)))
    assert compiled.cache_info().misses == 3


# Networks


def image(n, rng):
    return rng.normal(size=(n, 1, 6, 6)), rng.integers(0, 4, n)


def rows(n, rng):
    return rng.normal(size=(n, 6)), rng.integers(0, 4, n)


def words(n, rng):
    return rng.integers(0, 9, (n, 5)), rng.integers(0, 4, n)


class Last(nn.Module):
    def forward(self, pair):
        return pair[0][-1]


def dense(rng, *layers):
    return nn.Sequential(nn.Linear(6, 8, rng=rng), *layers, nn.ReLU(), nn.Linear(8, 4, rng=rng))


NETWORKS = {
    "dense": (dense, rows),
    "norms": (lambda rng: dense(rng, nn.BatchNorm1d(8), nn.LayerNorm(8)), rows),
    "dropout": (lambda rng: dense(rng, nn.Dropout(0.5, rng=rng)), rows),
    "images": (
        lambda rng: nn.Sequential(nn.Conv2d(1, 2, 3, rng=rng), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 4, rng=rng)),
        image,
    ),
    "words": (lambda rng: nn.Sequential(nn.Embedding(9, 3, rng=rng), nn.Flatten(), nn.Linear(15, 4, rng=rng)), words),
    "recurrent": (
        lambda rng: nn.Sequential(nn.GRU(1, 4, rng=rng), Last()),
        lambda n, rng: (rng.normal(size=(n, 3, 1)), rng.integers(0, 4, 3)),
    ),
    "a batch of sequences": (
        lambda rng: nn.Sequential(nn.GRU(1, 4, rng=rng), Last()),
        lambda n, rng: (rng.normal(size=(3, n, 1)), rng.integers(0, 4, n)),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_training_steps(name):
    make, data = NETWORKS[name]
    models = [make(np.random.default_rng(0)) for _ in range(2)]

    def stepper(model):
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        def step(x, y):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return step

    eager, compiled, rng = stepper(models[0]), mg.compile(stepper(models[1])), np.random.default_rng(1)
    for n in (64, 37, 5, 4, 2, 70):
        x, y = data(n, rng)
        same(compiled(x, y), eager(x, y))
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        same(a, b)
    assert compiled.cache_info().misses <= 3, compiled.report()
    assert "is open" in compiled.report()


def test_a_step_with_numba():
    model = dense(np.random.default_rng(0))
    twin = copy.deepcopy(model)
    compiled = mg.compile(mg.value_and_grad(lambda model, x: np.mean(model(x) ** 2)), backend=with_backend("numba"))
    rng = np.random.default_rng(1)
    for n in (64, 37, 2, 100):
        x = rng.normal(size=(n, 6))
        value, gradient = compiled(model, x)
        expected, slope = mg.value_and_grad(lambda model, x: np.mean(model(x) ** 2))(twin, x)
        same([value, *dict(gradient.named_parameters()).values()], [expected, *dict(slope.named_parameters()).values()])
    assert compiled.cache_info().misses == 2
    assert "range(n)" in compiled.source


LAYERS = {
    "attention": lambda rng: nn.MultiheadAttention(16, 4, rng=rng),
    "encoder": lambda rng: nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, rng=rng),
    "recurrent": lambda rng: nn.GRU(3, 4, rng=rng),
    "both directions": lambda rng: nn.LSTM(3, 4, num_layers=2, bidirectional=True, rng=rng),
}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", LAYERS)
def test_loops_serve_any_length(interpreted, name, axis):
    rng, backend = np.random.default_rng(0), with_backend("numba")
    layer = LAYERS[name](rng)
    features = 16 if name in ("attention", "encoder") else 3

    def loss(layer, x):
        out = layer(x, x, x) if name == "attention" else layer(x)
        return np.sum(np.sin(out[0] if isinstance(out, tuple) else out))

    compiled = mg.compile(mg.value_and_grad(loss), backend=backend)
    for n in (5, 7, 12, 3, 2, 9):
        shape = (n, 2, features) if axis == 0 else (3, n, features)
        x = rng.normal(size=shape)
        (value, slope), (expected, gradient) = compiled(layer, x), mg.value_and_grad(loss)(layer, x)
        same(value, expected)
        same(dict(slope.named_parameters()), dict(gradient.named_parameters()))
    assert compiled.cache_info().misses == 2, compiled.report()


def test_results_on_the_tape():
    w = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    compiled = mg.compile(lambda x: np.sum(np.tanh(x @ w)))
    for n in (4, 5, 6, 9):
        x = np.random.default_rng(n).normal(size=(n, 3))
        w.grad = None
        compiled(x).backward()
        same(w.grad, mg.grad(lambda w, x: np.sum(np.tanh(x @ w)))(w.data, x))


# What pins a length


def of_dict(x):
    return np.sum(x) * {64: 2.0, 37: 3.0}.get(len(x), 4.0)


PINS = {
    "range(n)": lambda x: sum(x[i] for i in range(len(x))),
    "np.zeros(n)": lambda x: np.sum(x + np.zeros(len(x))),
    "np.arange(n)": lambda x: np.sum(x * np.arange(len(x))),
    "1.0 / n": lambda x: np.sum(x) * (1.0 / len(x)),
    "math.sqrt(n)": lambda x: np.sum(x) * math.sqrt(len(x)),
    "f-string": lambda x: np.sum(x) * len(f"{x.shape[0]}"),
    "dict": of_dict,
    "reshape": lambda x: np.sum(x.reshape(x.size // 1 % 1000, 1)),
    "iteration": lambda x: sum(v * v for v in x),
    "n % 3": lambda x: np.sum(x) * (len(x) % 3),
    "n**2": lambda x: np.sum(x) * len(x) ** 2,
    "x[::2]": lambda x: np.sum(x[::2]),
    "x[: n // 2]": lambda x: np.sum(x[: len(x) // 2]),
    "type": lambda x: np.sum(x) if type(len(x)) is int else np.sum(x) * 2,
    "np.sqrt(n)": lambda x: np.sum(x) / np.sqrt(len(x)),
    "meshgrid": lambda x: np.sum(x * np.ogrid[: len(x)]),
}


@pytest.mark.parametrize("name", PINS)
def test_a_number_pins_a_length_and_the_report_names_the_line(name):
    f = PINS[name]
    compiled, line = mg.compile(f), f.__code__.co_firstlineno + (f is of_dict)
    for number, n in enumerate((64, 37, 5, 64)):
        x = np.random.default_rng(n).normal(size=n)
        same(compiled(x), f(x))
        assert compiled.cache_info().misses == min(number + 1, 3)
    assert re.search(rf"x\.shape\[0\] is pinned to \d+ \(.*test_sizes\.py, line {line}: ", compiled.report())


GUARDS = {
    "if": (lambda x: np.sum(x) if len(x) > 10 else np.sum(2 * x), "n > 10"),
    "x[:10]": (lambda x: np.sum(x[:10]) * 2, "n >= 10"),
    "x[-10:]": (lambda x: np.sum(x[-10:]) * 2, "n >= 10|n - 10 >= 0"),
    "min": (lambda x: np.sum(x) * min(len(x), 10), "n >= 10|n <= 10|n > 10"),
    "float": (lambda x: np.sum(x) if len(x) > 10.5 else np.sum(2 * x), r"n > 10\.5"),
    "==": (lambda x: np.sum(x) if x.shape == (5,) else np.sum(2 * x), "n != 5"),
    "in": (lambda x: np.sum(x) if len(x) in (4, 5) else np.sum(2 * x), "n != 5"),
}


@pytest.mark.parametrize("name", GUARDS)
def test_a_comparison_bounds_the_lengths_and_the_report_names_the_line(name):
    f, guard = GUARDS[name]
    compiled = mg.compile(f)
    for n in (64, 37, 50, 20):
        same(compiled(x := np.random.default_rng(n).normal(size=n)), f(x))
    assert compiled.cache_info().misses == 2
    assert re.search(rf"({guard}) \(.*test_sizes\.py, line {f.__code__.co_firstlineno}: ", compiled.report())
    for n in (5, 4, 6, 64, 9, 11, 10, 5):
        same(compiled(x := np.random.default_rng(n).normal(size=n)), f(x))


def test_a_length_is_an_int_for_the_function():
    def f(x):
        n = len(x)
        told = isinstance(n, int), n == 5, n in {5}, n >= 2, bool(n), -n + 2 * n - n == 0, 3 * n // n, n * n % n
        return *told, divmod(7, n), int(n), float(n), f"{n:3d}", [0] * n, hash(n), n | 1, 2**n, round(n, 1), abs(-n), n

    assert mg.compile(f)(np.arange(5.0)) == f(np.arange(5.0))


def test_polynomials_are_exact():
    sizes = Sizes({"n": [(0, 0)], "m": [(0, 1)]}, [(5, 7)], ["x"])
    n, m = sizes.symbols()
    assert type((n + 2) * (m - 1) - n * m + n - 2 * m) is int
    assert ((6 * n * m) // (2 * m)).terms == (3 * n).terms
    assert (4 * n) % 2 == 0
    assert sizes.holds({"n": 2, "m": 2})
    assert not sizes.pinned
    assert (n > 1, n != 0, n + m >= 4, n == n, n - n == 0) == (True,) * 5
    assert not sizes.guards
    assert (n < m, n == m) == (True, False)
    assert len(sizes.guards) == 2
    assert sizes.holds({"n": 3, "m": 4})
    assert not sizes.holds({"n": 4, "m": 4})
    assert type(n) is Size
    assert int(n) == 5
    assert [*sizes.pinned] == ["n"]


def test_a_users_operation_pins_its_lengths():
    @mg.primitive
    def first(x):
        return np.array(x)[:4] * 2.0

    mg.defvjp(first, lambda g, out, x: np.concatenate([2 * g, np.zeros(len(x) - len(g))]))
    compiled = mg.compile(lambda x: np.sum(first(np.tanh(x))))
    for n in (9, 8, 5, 4, 3, 2):
        x = np.arange(float(n))
        same(compiled(x), np.sum(2 * np.tanh(x[:4])))


def test_sizes_may_be_fixed():
    compiled = mg.compile(lambda x: np.sum(x) / len(x), sizes="fixed")
    for n in (5, 6, 7):
        compiled(np.ones(n))
    assert compiled.cache_info().misses == 3
    assert "open" not in compiled.report()


def test_an_error_of_the_function_is_raised_unchanged():
    def f(x):
        if len(x) > 10:
            raise KeyError("too long")
        return np.sum(x)

    compiled = mg.compile(f)
    compiled(np.ones(4))
    compiled(np.ones(5))
    with pytest.raises(KeyError, match="too long"):
        compiled(np.ones(20))
    assert float(compiled(np.ones(6))) == 6.0


def test_len_is_pythons_own_afterwards():
    length = len
    mg.compile(lambda x: np.sum(x) / len(x))(np.ones(4))
    assert __builtins__["len"] is length if isinstance(__builtins__, dict) else __builtins__.len is length
    assert len(mg.tensor([1.0, 2.0])) == 2
    assert type(mg.tensor([1.0, 2.0]).shape[0]) is int


def test_a_saved_program_takes_any_length(tmp_path):
    compiled = mg.compile(mg.value_and_grad(lambda x: np.sum(np.tanh(x[:, 1:]) ** 2) / len(x)))
    for n in (8, 5):
        compiled(np.ones((n, 3)))
    compiled.save(tmp_path / "program.py")
    saved = runpy.run_path(str(tmp_path / "program.py"))["program"]
    for n in (8, 5, 11):
        x = np.random.default_rng(n).normal(size=(n, 3))
        same(saved(x), compiled(x))
    with pytest.raises(ValueError, match=r"x must have shape \(4, 3\)"):
        saved(np.ones((4, 4)))
    with pytest.raises(ValueError, match="n >= 2"):
        saved(np.ones((1, 3)))


def test_texts_with_different_numbers_of_arrays_are_not_merged():
    sizes, lengths = Sizes({"n": [(0, 0)]}, [(5,)], ["x"]), [{"n": 5}, {"n": 42}]
    for texts, is_one in (
        (("b3 = b2", "b2 = b2"), False),
        (("b2 = b3", "b2 = b2"), False),
        (("c_5 = x", "c_42 = x"), True),
    ):
        assert (general_of(Program((), (), ()), sizes, lengths, texts).text() is not None) == is_one


def test_lengths_in_caches_outlive_their_trace():
    """Rules cache results by shape; a length in a key may outlive its trace."""
    for _ in range(2):
        compiled = mg.compile(mg.value_and_grad(softmax))
        for n in (64, 17, 5):
            compiled(np.ones((n, 3)))
        assert compiled.cache_info().misses == 2, compiled.report()


def test_a_uniform_array_and_its_views_stay_one_number(monkeypatch):
    printed, forms = programs.printed, []

    def counted(*args):
        forms.append(args)
        return printed(*args)

    monkeypatch.setattr(programs, "printed", counted)
    gradient = mg.grad(lambda x, y: F.cross_entropy(x, y))
    compiled = mg.compile(gradient)
    for n in (4, 3):
        x, y = np.random.default_rng(n).normal(size=(n, 4)), np.arange(n)  # 4 is also the number of classes
        np.testing.assert_allclose(compiled(x, y), gradient(x, y), rtol=1e-14)
    assert len(forms) == 2  # the first call's form, and one more for all lengths
    assert "[:, None]" not in compiled.source


DIFFERENCES = {
    "in a product": lambda x: np.sum(x) * (5 - len(x)) if len(x) <= 5 else np.sum(x) * (len(x) - 5),
    "over a difference": lambda x: np.sum(x) / (len(x) - 5),
    "in both": lambda x: np.sum(x * (9 - len(x))) / (10 - len(x)) if len(x) < 10 else np.sum(x),
    "in a part": lambda x: np.sum(x[len(x) - 4 :]),
}


@pytest.mark.parametrize("order", [*itertools.permutations((4, 5, 6, 9))][::5])
@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_of_lengths_that_become_0(name, order):
    f = DIFFERENCES[name]
    for form in (f, mg.grad(f)):
        compiled = mg.compile(form)
        for n in (*order, *order):
            x = np.linspace(0.5, 2.0, 2 * n).reshape(n, 2)
            with np.errstate(divide="ignore"):
                np.testing.assert_allclose(compiled(x), form(x), rtol=1e-12)


BOUNDED = {
    "a difference that may be 1": lambda x: x.sum() * (x.shape[1] - 5 if x.shape[1] < 11 else 1),
    "a sum": lambda x: np.mean(x * ((len(x) if x.shape[1] > 6 else x.shape[1]) + 3)),
    "either length": lambda x: x * (len(x) if len(x) > 6 else x.shape[1]),
    "a product": lambda x: np.sum(x) * (len(x) * (12 - len(x)) if len(x) < 13 else 1),
    "twice a length": lambda x: np.sum(x * (2 * x.shape[1] if len(x) < 8 else len(x))),
}
SHAPES = [(4, 2), (6, 2), (7, 3), (12, 3), (5, 5), (4, 7), (2, 2), (6, 3), (10, 5)]


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("optimize", [True, False])
def test_lengths_that_only_few_numbers_may_have(name, optimize):
    """A text for all lengths is made of texts that tell its formulas apart."""
    f = BOUNDED[name]
    for shapes in [*itertools.permutations(SHAPES, 2)][::3]:
        compiled = mg.compile(f, optimize=optimize)
        for shape in (*shapes, *shapes[::-1], (8, 4), (5, 4)):
            x = np.linspace(0.5, 2.0, math.prod(shape)).reshape(shape)
            np.testing.assert_allclose(compiled(x), f(x), rtol=1e-12)


def test_equal_calls_are_looked_at_once(monkeypatch):
    looks = []
    look = Sizes.has_shape
    monkeypatch.setattr(Sizes, "has_shape", lambda self, *args: looks.append(args) or look(self, *args))
    counts = []
    for n in (4, 40):
        looks.clear()
        tree = {f"w{i}": np.ones(3) for i in range(n)}
        value = mg.compile(mg.value_and_grad(lambda tree: sum(np.sum(v**2) for v in tree.values())))
        same(value(tree)[0], 3.0 * n)
        counts.append(len(looks))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_calls_of_equal_shapes_are_told_apart_by_their_other_operands(backend):
    def f(x, y):
        first, last = x.astype(int), y.astype(int)  # both are indices, of different arrays
        short, long = np.arange(3.0) + 0 * x[0], np.arange(50.0) + 0 * y[0]
        doubled, halved = np.concatenate([x, y]), x[: len(x) // 2]
        repeated = np.repeat(x, 2), np.repeat(y, 3)
        return short[first], long[last], np.sum(doubled) + np.sum(halved), repeated, np.sum(x) / len(y)

    compiled = mg.compile(f, backend=with_backend(backend))
    for n in LENGTHS:
        args = np.arange(n) % 3.0, np.arange(n) % 50.0
        same(compiled(*args), f(*args))


def test_lengths_that_are_not_open_are_integers_to_numpy():
    """They take the dtype of an array that they meet, also of one that is captured."""
    single = np.array([0.5, -0.25], np.float32)
    for length in (len, np.size, lambda x: x.size, lambda x: x.shape[0] - 1):
        for f in (
            lambda x, n=length: np.where(single > 0, n(x), single) * x[0],
            lambda x, n=length: np.linspace(single[0], n(x), 3) * x[0],
            lambda x, n=length: single.astype(np.result_type(n(x), single)) * x[0],
        ):
            compiled = mg.compile(f, sizes="fixed")
            for x in (np.ones(3, np.float32), np.ones(5, np.float32), np.ones(3, np.float32)):
                assert compiled(x).dtype == f(x).dtype
                np.testing.assert_array_equal(compiled(x), f(x))


def test_a_length_is_a_python_number_to_numpy():
    bounds, singles = np.array([1.0, -1.0, 2.0], np.float32), np.ones(3, np.float32)

    def f(x):
        return np.where(bounds > 0, len(x), singles) * x.sum(), np.clip(singles, 0, len(x))

    compiled = mg.compile(f)
    for n in (3, 5, 3):
        x = np.ones(n, np.float32)
        for found, right in zip(compiled(x), f(x), strict=True):
            np.testing.assert_array_equal(found, right, strict=True)
