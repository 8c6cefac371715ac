"""`mg.scan` in compiled functions: one turn is traced; derivatives are loops too.

Owns: `compiler/scanning.py`, and how it falls back to plain loops.
Must not own: the loops that are found (`test_rolling.py`), or the messages of `scan`
(`test_messages.py`).
Read next: `test_rolling.py`.
"""

import itertools
import types

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn
from microgradnd.compiler import trace
from microgradnd.compiler.recorder import Recorder
from microgradnd.trees import flatten
from tests.test_rolling import BINARY, UNARY, arrays_for, turn_bodies

RNG = np.random.default_rng(0)
W, V, M = RNG.normal(size=(3, 3)) * 0.5, RNG.normal(size=3), RNG.normal(size=(2, 3))
ROWS, TABLE = RNG.normal(size=(8, 3)), RNG.normal(size=(6, 5, 3))
Z = V + 1j * V[::-1]


def through(f, *argnums):
    return mg.value_and_grad(f, argnums if len(argnums) > 1 else argnums[0] if argnums else 0)


def recurrent(w, x):
    return np.sum(mg.scan(lambda h, r: (np.tanh(r + h @ w), None), np.zeros(3), x)[0] ** 2)


def outputs(w, x):
    last, ys = mg.scan(lambda h, r: ((new := np.tanh(r + h @ w)), (new, np.sum(r * h))), x[0], x)
    return np.sum(last) + np.sum(ys[0] ** 2) + np.sum(ys[1])


def swapped(x):
    def turn(carry, _):
        a, b = carry
        return (b, np.sin(a) + b), a

    (a, b), seen = mg.scan(turn, (x, 2 * x), length=9)
    return np.sum(a * b) + np.sum(seen)


def from_numbers(x):
    (total, product), sums = mg.scan(lambda c, r: ((c[0] + np.sum(r), c[1] * np.sum(r)), c[0]), (0.0, 1), x)
    return total + product + np.sum(sums**2)


def by_dicts(w, xs):
    def turn(state, x):
        h = np.tanh(x["a"] * state["h"] + x["b"] @ w)
        return {"h": h, "n": state["n"] + np.sum(h)}, {"out": h * x["a"]}

    state, ys = mg.scan(turn, {"h": w[0], "n": np.zeros(())}, xs)
    return np.sum(state["h"]) + state["n"] + np.sum(ys["out"])


def nested(w, x):
    def outer(h, rows):
        s, seen = mg.scan(lambda s, r: (np.tanh(r + s @ w), np.sum(s)), h, rows)
        return h + s, np.sum(seen)

    h, sums = mg.scan(outer, w[0], x)
    return np.sum(h**2) + np.sum(sums)


def in_the_turn(w, x):
    def turn(v, r):
        v = 0.9 * v - 0.1 * mg.grad(lambda v: np.sum(np.tanh(r * v) ** 2))(v)
        return v, np.sum(v * w[0])

    v, ys = mg.scan(turn, w[1], x)
    return np.sum(v**2) + np.sum(ys)


def again_in_the_turn(w, x):
    """A loop in the turn, whose turns read the same row."""

    def turn(h, row):
        for k in range(5):
            h = np.tanh(row * (k + 1) + h @ w)
        return h, h

    return np.sum(mg.scan(turn, V, x)[1] ** 2)


def constants(w, x):
    """Rows that aren't carried, a value passed through, and one that a turn ignores."""
    (a, b), ys = mg.scan(lambda c, r: ((c[0], r), (r, np.exp(w[0]))), (w[0], w[1]), x)
    return np.sum(a * b) + np.sum(ys[0]) + np.sum(ys[1] ** 2)


def indexed(w, x):
    def turn(i, r):
        return (i + 1) % 3, np.sum(w[i] * r)

    return np.sum(mg.scan(turn, np.zeros((), int), x)[1] ** 2)


def sliced(w, x):
    def turn(h, r):
        parts = np.concatenate([h[1:], h[:1]]) * r[::-1]
        return parts.reshape(3, 1).T[0] + w.T[1], parts[0]

    h, ys = mg.scan(turn, w[0], x)
    return np.sum(h * h) + np.sum(ys)


def twice(w, x):
    """One loop reads values that another has kept; both read the same array."""
    h, hs = mg.scan(lambda h, r: ((new := np.sin(r + h @ w)), new), x[0], x)
    g, _ = mg.scan(lambda g, p: (g * np.cos(p[0]) + p[1], None), h, (hs, x))
    return np.sum(g)


def eigen(w, x):
    """An operation with several results."""

    def turn(h, r):
        q, rest = np.linalg.qr(w + np.outer(h, r))
        return np.tanh(rest[0] + q[:, 0] * h), np.sum(q * rest)

    h, ys = mg.scan(turn, w[0], x)
    return np.sum(h) + np.sum(ys)


def learned(scale, x):
    layer = nn.Linear(3, 3, rng=np.random.default_rng(0))
    h, _ = mg.scan(lambda h, r: (np.tanh(layer(h) * scale + r), None), x[0], x)
    return np.sum(h)


CASES = {
    "value": (recurrent, W, ROWS),
    "gradient": (through(recurrent, 0, 1), W, ROWS),
    "outputs": (through(outputs, 0, 1), W, ROWS),
    "swapped": (through(swapped), V),
    "from numbers": (through(from_numbers), ROWS),
    "dicts": (through(by_dicts, 0, 1), W, {"a": ROWS, "b": ROWS[::-1].copy()}),
    "nested": (through(nested, 0, 1), W, TABLE),
    "a gradient in the turn": (through(in_the_turn, 0, 1), W, ROWS),
    "constants": (through(constants, 0, 1), W, ROWS),
    "a loop in the turn": (through(again_in_the_turn, 0, 1), W, ROWS),
    "indexed": (through(indexed, 0, 1), W, ROWS),
    "sliced": (through(sliced, 0, 1), W, ROWS),
    "two loops": (through(twice, 0, 1), W, ROWS),
    "several results": (through(eigen, 0, 1), W, ROWS),
    "a layer": (lambda s, x: mg.grad(learned)(s, x).detach(), np.array(0.5), ROWS),
    "of an array that isn't traced": (through(lambda w: recurrent(w, ROWS)), W),
    "float32": (through(recurrent, 0, 1), W.astype("f"), ROWS.astype("f")),
    "counted": (lambda x: mg.scan(lambda n, r: (n + 1, n * r), np.array(0), x), ROWS),
    "alternating": (lambda x: mg.scan(lambda b, r: (np.logical_not(b), np.where(b, r, 0)), np.array(True), x), ROWS),
    "complex": (lambda z, x: mg.scan(lambda h, r: (h * z + r, h), z, x), Z, ROWS * (1 + 0.5j)),
    "gradient of complex": (mg.grad(lambda z: np.sum(abs(mg.scan(lambda h, r: (h * z, h + r), z, ROWS)[1]))), Z),
    "forward mode": (lambda w, x: mg.jvp(outputs, (w, x), (x[:3], x)), W, ROWS),
    "forward mode, nested": (lambda w, x: mg.jvp(lambda w: nested(w, x), (w,), (w,)), W, TABLE),
    "second derivatives": (mg.hessian(lambda v: recurrent(np.outer(v, v), ROWS)), V),
    "hessian-vector product": (lambda v: mg.hvp(lambda v: outputs(np.outer(v, v), ROWS))(v, v), V),
    "gradient of a gradient": (mg.grad(lambda w, x: np.sum(mg.grad(outputs)(w, x) ** 2)), W, ROWS),
    "gradient of a nested gradient": (mg.grad(lambda w, x: np.sum(mg.grad(nested)(w, x) ** 2)), W, TABLE),
    "jacobian": (mg.jacobian(lambda v: mg.scan(lambda h, r: (np.tanh(r + h * v), h), v, ROWS)[1]), V),
    "mapped": (mg.vmap(lambda v: mg.scan(lambda h, r: (np.tanh(r + h * v), np.sum(h)), v, ROWS)), M),
    "gradient of mapped": (
        mg.grad(lambda m: np.sum(mg.vmap(lambda v: mg.scan(lambda h, r: (np.tanh(r * v + h), h), v, ROWS)[1])(m))),
        M,
    ),
}


PLAIN = {"mapped", "gradient of mapped"}  # their loops are found in the turns


@pytest.fixture
def scanned(monkeypatch):
    """Return a function that says if one turn stood for all in the last trace."""
    recorders = []

    class Noticed(Recorder):
        def __init__(self, *args):
            super().__init__(*args)
            recorders.append(self)

    monkeypatch.setattr(trace, "Recorder", Noticed)
    return lambda: recorders[-1].has_scanned


def check(compiled, f, args):
    for _ in range(2):
        for a, b in zip(flatten(compiled(*args))[0], flatten(f(*args))[0], strict=True):
            assert np.asarray(a).dtype == np.asarray(b).dtype
            double = np.asarray(b).dtype in (np.float64, np.complex128)
            np.testing.assert_allclose(a, b, rtol=1e-11 if double else 1e-4, atol=1e-13 if double else 1e-6)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_a_scan_gives_what_its_turns_give(scanned, case, optimize):
    f, *args = CASES[case]
    compiled = mg.compile(f, optimize=optimize)
    check(compiled, f, args)
    assert "for t" in compiled.source
    assert scanned() is (case not in PLAIN)


def scan_of(body):
    """Return a random body as a scan; `first_differs` of `bodies` swaps the carry."""
    lines, carried, kept, stacked, swaps = body

    def turn(carry, x):
        scope = {"a": carry[0], "b": carry[1], "row": x[0], "turn": x[1], "w": carry[2]}
        for name, function, *operands in lines:
            scope[name] = (UNARY | BINARY)[function](*(scope[o] for o in operands))
        following = np.tanh(scope[carried[0]]), np.sin(scope[carried[1]])
        return (*(following[::-1] if swaps else following), scope["w"]), (scope[kept], scope["a"])

    def f(x, w):
        (a, b, _), (ys, seen) = mg.scan(turn, (x[0], 0.5 * w, w), (x[::-1], 0.1 * np.arange(1.0, len(x) + 1)))
        return np.sum(a * b) + (np.sum(ys**2) if stacked else np.sum(seen * ys))

    return f


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turn_bodies(), st.sampled_from([(6, 2), (5, 3, 2), (7, 1)]), st.sampled_from(["readable", "buffers", "loops"]))
def test_random_scans(interpreted, body, shape, form):
    f, args = through(scan_of(body), 0, 1), arrays_for(shape)
    options = {"readable": {"optimize": False}, "buffers": {}, "loops": {"backend": "numba"}}[form]
    if form == "loops":
        pytest.importorskip("numba", reason="numba is an extra")
    check(mg.compile(f, **options), f, args)
    hvp = mg.hvp(lambda x: scan_of(body)(x, args[1]))
    check(mg.compile(hvp, **options), hvp, (args[0], args[0]))


VIEWS = {
    "a number": lambda h: h[0],
    "numbers": lambda h: (h[0], h[-1] * 2.0, h[1]),
    "a part": lambda h: h[1:],
    "the other way round": lambda h: h[::-1],
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("change", [lambda h: np.roll(h, 1), np.sort, lambda h: np.linalg.solve(np.eye(5) + 1, h)])
def test_a_turn_returns_parts_of_what_it_replaces(interpreted, name, change):
    """Where NumPy computes the next value, parts of the old one are taken before."""
    pytest.importorskip("numba", reason="numba is an extra")

    def f(x):
        last, rows = mg.scan(lambda h, r: (change(h) + r, (VIEWS[name](h), VIEWS[name](h * 1.5))), x[0], x)
        return last, rows

    x = np.random.default_rng(0).normal(size=(4, 5))
    check(mg.compile(f, backend="numba"), f, (x,))


# Loops whose turns are traced one by one


def counting(x):
    """A Python number counts the turns."""
    (_, total), _ = mg.scan(lambda c, r: ((c[0] + 1, c[1] + np.sum(r) * c[0]), None), (0, np.zeros(())), x)
    return total


def choosing(x):
    """A plain array decides."""
    return mg.scan(lambda h, r: (h * 2 if r > 2 else np.sin(h), h), x[0], np.arange(6))


def backward_in_the_turn(x):
    w = mg.tensor(V, requires_grad=True)

    def turn(h, r):
        np.sum(w * h * r).backward()
        return np.tanh(h + r), None

    h, _ = mg.scan(turn, x[0], x)
    return np.sum(h) + np.sum(w.grad)


def updating(x):
    """A variable changes in each turn."""
    w = mg.tensor(V)

    def turn(h, r):
        w[0] = w[1] + h[0]
        return np.tanh(h + r * w), None

    return mg.scan(turn, x[0], x)[0]


def summing(x):
    total = mg.tensor(np.zeros(3))

    def turn(h, r):
        with mg.no_grad():
            total.__iadd__(r)
        return h + total, None

    return mg.scan(turn, x[0], x)[0]


def leaking(x):
    """A value of a turn escapes from it."""
    seen = []

    def turn(h, r):
        seen.append(h)
        return np.tanh(h + r), None

    return mg.scan(turn, x[0], x)[0] + seen[-1]


def leaking_a_result(x):
    seen = []

    def turn(h, r):
        seen.append(np.sin(h))
        return np.tanh(h + r), None

    return mg.scan(turn, x[0], x)[0] + seen[-1]


def counting_around(x):
    """Something that the function has made counts the turns."""
    n = 0

    def turn(h, r):
        nonlocal n
        n += 1
        return np.tanh(h + r * n), None

    return mg.scan(turn, x[0], x)[0] * n


def counting_in_a_list(x):
    seen = []
    return mg.scan(lambda h, r: (seen.append(1), (np.tanh(h + r * len(seen)), h))[1], x[0], x)


def counting_in_an_object(x):
    counter = types.SimpleNamespace(n=1)

    def turn(h, r):
        counter.n *= 2
        return np.tanh(h + r * counter.n), None

    return mg.scan(turn, x[0], x)[0]


class Counting:
    n = 0

    def __call__(self, h, r):
        self.n += 1
        return np.tanh(h + r * self.n), None


def counting_itself(x):
    return mg.scan(Counting(), x[0], x)[0]


def iterating(x):
    numbers = itertools.count()
    return mg.scan(lambda h, r: (np.tanh(h + r * next(numbers)), h), x[0], x)


def from_a_generator(x):
    numbers = (0.5**i for i in range(20))
    return mg.scan(lambda h, r: (np.tanh(h + r * next(numbers)), h), x[0], x)


def in_single_precision(x):
    """A Python number takes the precision of the array that it meets."""
    return mg.scan(lambda c, r: (c + 1.5, r * c), 1.0, x.astype("f"))[1]


def short(x):
    return mg.scan(lambda h, r: (np.tanh(h + r), h), x[0], x[:3])


def single(x):
    """The number carried into the first turn is among the results."""
    return mg.scan(lambda h, r: (h + np.sum(r), h), 0.0, x.astype("f"))


def caught(x):
    """The function continues after an error."""
    try:
        return mg.scan(lambda c, r: ((c[0] + 1, c[1] + r * c[0]), None), (0, x[0]), x)[0][1]
    except Exception:
        return x[0]


def one_way(x):
    return mg.scan(lambda h, r: (np.ones(3), h * r), x[0], x)


@pytest.mark.parametrize(
    "f",
    [
        counting,
        choosing,
        backward_in_the_turn,
        updating,
        summing,
        leaking,
        leaking_a_result,
        counting_around,
        counting_in_a_list,
        counting_in_an_object,
        counting_itself,
        iterating,
        from_a_generator,
        single,
        in_single_precision,
        caught,
        short,
        one_way,
    ],
)
def test_loops_that_one_turn_does_not_show_are_traced_turn_by_turn(f):
    check(mg.compile(f), f, [ROWS])


def test_turns_that_only_rewriting_makes_equal_become_a_loop():
    compiled = mg.compile(backward_in_the_turn)
    compiled(ROWS)
    assert "for t" in compiled.source


def test_draws_differ_between_turns():
    rng = np.random.default_rng(0)

    def turn(h, r):
        return h + r, h * mg.anew(lambda: rng.normal(size=3), (3,))

    x = mg.compile(lambda x: mg.scan(turn, np.ones(3), x * 0)[1])(ROWS)
    assert len(np.unique(x)) == x.size


def test_a_derivative_is_of_the_numbers_that_were_drawn():
    rng = np.random.default_rng(0)

    def f(x):
        return mg.scan(lambda h, r: (h + np.sum(r * mg.anew(lambda: rng.normal(size=3), (3,))), None), 0.0, x)[0]

    value, gradient = mg.compile(mg.value_and_grad(f))(ROWS)
    np.testing.assert_allclose(value, np.sum(ROWS * gradient), rtol=1e-12)
    assert len(np.unique(gradient)) == gradient.size


def test_a_buffer_that_each_turn_updates():
    def f(layer, x):
        return mg.scan(lambda h, r: (np.tanh(layer(h + r)), None), x[0], x)[0].detach()

    layers = [nn.BatchNorm1d(3), nn.BatchNorm1d(3)]
    compiled = mg.compile(lambda x: f(layers[0], x))
    for _ in range(2):
        np.testing.assert_allclose(compiled(TABLE), f(layers[1], TABLE).data, rtol=1e-12)
        np.testing.assert_allclose(layers[0].running_mean, layers[1].running_mean, rtol=1e-12)


def hooked(on_the_carry):
    def f(x):
        def step(h, r):
            new = np.tanh(h + r)
            for value in [h] if on_the_carry else [new]:
                if isinstance(value, mg.Tensor) and value.requires_grad:
                    value.register_hook(lambda g: 2 * g)
            return new, None

        return np.sum(mg.scan(step, x[0], x)[0])

    return mg.grad(f)


def retained(x):
    kept, x = [], mg.tensor(x, requires_grad=True)

    def step(h, r):
        h = np.tanh(h + r)
        h.retain_grad()
        kept.append(h)
        return h, None

    np.sum(mg.scan(step, x[0], x)[0]).backward()
    return [h.grad for h in kept]


@pytest.mark.parametrize("f", [hooked(True), hooked(False), retained])
def test_each_turn_has_its_own_hooks_and_gradients(f):
    check(mg.compile(f), f, [ROWS])


@pytest.mark.parametrize("optimize", [True, False])
def test_a_derivative_that_depends_on_no_input_is_computed(optimize):
    def through_linear_turns(x):
        return mg.scan(lambda h, r: (np.roll(h, 1) * 0.9 + r, None), x, ROWS)[0]

    def f(x):
        return mg.jvp(through_linear_turns, (x,), (np.arange(3.0),))

    check(mg.compile(f, optimize=optimize), f, [V])


def test_a_number_whose_second_derivative_is_zero():
    def f(x):
        last, count = mg.scan(lambda c, r: ((np.tanh(c[0] + r * c[1]), c[1] + 1), None), (x, 0.0), TABLE[0])[0]
        return np.sum((last * count) ** 2)

    def twice(x):
        return mg.grad(lambda x: np.sum(mg.grad(f)(x) ** 2))(x)

    check(mg.compile(twice), twice, [V])


def test_backward_through_a_scan():
    def step(w, x):
        w.zero_grad() if hasattr(w, "zero_grad") else None
        w.grad = None
        loss = recurrent(w, x)
        loss.backward()
        with mg.no_grad():
            w -= 0.1 * w.grad
        return loss.detach()

    first, second = (mg.tensor(W, requires_grad=True, name="w") for _ in range(2))
    compiled = mg.compile(lambda x: step(first, x))
    for _ in range(3):
        np.testing.assert_allclose(compiled(ROWS), step(second, ROWS).data, rtol=1e-12)
        np.testing.assert_allclose(first.data, second.data, rtol=1e-12)


def test_a_scan_without_gradients():
    def f(x):
        with mg.no_grad():
            h, hs = mg.scan(lambda h, r: (np.tanh(h + r), h * r), x[0], x)
        return np.sum(h * x) + np.sum(hs)

    check(mg.compile(through(f)), through(f), [ROWS])


def test_the_cost_of_a_scan_does_not_grow_with_its_length(scanned):
    counts = []
    for length in (10, 1000):
        compiled = mg.compile(through(outputs))
        compiled(W, np.ones((length, 3)))
        assert scanned()
        counts.append(len(compiled._latest.traced.program.steps))
    assert counts[0] == counts[1]


def test_an_open_length_next_to_a_scan():
    def f(w, x):
        h, _ = mg.scan(lambda h, r: (np.tanh(h * r), None), np.ones(3), w)
        return np.sum(np.tanh(x) @ h)

    compiled = mg.compile(f)
    for n in (5, 7, 12, 4):
        np.testing.assert_allclose(compiled(ROWS, np.ones((n, 3))), f(ROWS, np.ones((n, 3))))


def test_each_length_has_a_program():
    compiled = mg.compile(through(from_numbers))
    for n in (8, 5, 3, 12, 8):
        x = np.ones((n, 3)) * 0.5
        for a, b in zip(compiled(x), through(from_numbers)(x), strict=True):
            np.testing.assert_allclose(a, b)


@pytest.mark.parametrize("case", CASES)
def test_scans_printed_for_machine_code(interpreted, case):
    pytest.importorskip("numba", reason="numba is an extra")
    f, *args = CASES[case]
    check(mg.compile(f, backend="numba"), f, args)


@pytest.mark.parametrize("case", ["outputs", "swapped"])
def test_machine_code(case):
    pytest.importorskip("numba", reason="numba is an extra")
    f, *args = CASES[case]
    check(mg.compile(f, backend="numba"), f, args)


@pytest.mark.parametrize("options", [{}, {"optimize": False}])
@pytest.mark.parametrize(
    ("init", "count"),
    [
        (0.0, lambda n: n + 1.0),
        (0, lambda n: n + 1),
        (0, lambda n: n + 0.5),
        (1, lambda n: n * 7),  # more than 64 bits in the end
        (2.0, lambda n: n),
        (2j, lambda n: n * 1j),
        (True, lambda n: n + n),
    ],
)
def test_carried_numbers_take_the_precision_of_arrays(init, count, options):
    def f(x):
        (h, n), ys = mg.scan(lambda c, a: ((c[0] + a, count(c[1])), c[0] * 0.5), (np.zeros_like(x[0]), init), x)
        return h, n, h / n, ys

    for dtype in (np.float32, np.float64):
        x = np.ones((30, 3), dtype) / 3
        for found, right in zip(mg.compile(f, **options)(x), f(x), strict=True):
            assert np.result_type(found) == np.result_type(right)
            np.testing.assert_allclose(np.asarray(found, complex), np.asarray(right, complex), rtol=1e-6)


def test_a_carried_float_does_not_prevent_that_one_turn_is_traced(scanned):
    def f(x, step):
        def turn(carry, a):
            y, t = carry
            return (y + step * t * a, t + step), y * t

        (y, t), ys = mg.scan(turn, (np.zeros(3, np.float32), 0.0), x)
        return y * t, ys

    x = np.ones((9, 3), np.float32)
    compiled = mg.compile(f)
    for found, right in zip(compiled(x, 0.5), f(x, 0.5), strict=True):
        assert found.dtype == np.float32
        assert scanned()
        np.testing.assert_allclose(found, right, rtol=1e-6)
