"""Loops within loops: forward and backward, each is a `for` within a `for`.

Owns: the search for runs (`runs.py`) in nested loops, and what makes turns alike
(`rolling.py`).
Must not own: single loops (`test_rolling.py`), or long ones (`test_folding.py`).
Read next: `test_rolling.py`.

The reference is the function itself. A source whose length doesn't depend on the
numbers of turns contains nothing unrolled.
"""

import numpy as np
import pytest

import microgradnd as mg
from microgradnd.compiler import rolling, runs
from microgradnd.compiler.program import Program, Step, Value

RNG = np.random.default_rng(3)
H, W, U = RNG.normal(size=3), RNG.normal(size=(3, 3)) * 0.5, RNG.normal(size=(3, 3)) * 0.5


def recurrent(h, w, x):
    for i in range(len(x)):
        for j in range(x.shape[1]):
            h = np.tanh(h @ w + x[i, j])
    return np.sum(h**2)


def two_levels(h, w, x):
    s = h
    for i in range(len(x)):
        h = s
        for j in range(x.shape[1]):
            h = np.tanh(h @ w + x[i, j])
        s = np.tanh(s @ U + h)
    return np.sum(s**2)


def over_rows(h, w, x):
    for row in x:
        for part in row:
            h = np.tanh(h @ w + part * np.sum(h))
    return np.sum(h)


def loss_of_each(h, w, x):
    total = 0.0
    for i in range(len(x)):
        for j in range(x.shape[1]):
            h = np.tanh(h @ w + x[i, j])
        total = total + np.sum(h**2)
    return total


def numbers(h, w, x):
    for i in range(len(x)):
        for j in range(x.shape[1]):
            h = np.sin(h * (0.3 + 0.01 * i * i) + w[0] * j + x[i, j] * i)
    return np.sum(h)


def filtered(h, w, x):
    """A Kalman filter that takes the sensors of a moment one after another."""
    mean, spread, total = h, np.eye(3), 0.0
    for i in range(len(x)):
        mean, spread = mean @ w, w.T @ spread @ w + np.eye(3)
        for j in range(x.shape[1]):
            seen = spread @ x[i, j]
            scale = np.sum(x[i, j] * seen) + 1.0
            error = 1.0 - np.sum(x[i, j] * mean)
            mean, spread = mean + seen * (error / scale), spread - seen[:, None] * seen / scale
            total = total + 0.5 * (np.log(scale) + error**2 / scale)
    return total


def from_zeros(h, w, x):
    return recurrent(np.zeros(3), w, x) + np.sum(h)


def three_deep(h, w, x):
    for _ in range(5):
        for i in range(len(x)):
            for j in range(x.shape[1]):
                h = np.tanh(h @ w + x[i, j])
            h = h * 1.1
        h = h @ w
    return np.sum(h)


NESTED = [recurrent, two_levels, over_rows, loss_of_each, numbers, filtered, from_zeros, three_deep]


def gradients(f, x, **options):
    """Return a compiled gradient that has run, having compared its results."""
    through = mg.value_and_grad(f, (0, 1, 2))
    compiled = mg.compile(through, **options)
    (value, found), (right, parts) = compiled(H, W, x), through(H, W, x)
    for a, b in zip((value, *found), (right, *parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    return compiled


def sources(f, sizes, **options):
    return [gradients(f, RNG.normal(size=(*size, 3)), **options).source for size in sizes]


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("f", NESTED)
def test_the_program_grows_with_neither_loop(f, optimize):
    texts = sources(f, [(7, 6), (9, 6), (9, 7)], optimize=optimize)
    assert len({len(text.splitlines()) for text in texts}) == 1


@pytest.mark.parametrize("f", [recurrent, two_levels, loss_of_each, over_rows])
def test_long_loops_are_nested_too(f):
    texts = sources(f, [(20, 21), (25, 21), (25, 30)], optimize=False)
    assert len({len(text.splitlines()) for text in texts}) == 1


@pytest.mark.parametrize("f", NESTED)
def test_nested_loops_printed_for_machine_code(interpreted, f):
    pytest.importorskip("numba", reason="numba is an extra")
    texts = sources(f, [(12, 9), (14, 9), (14, 11)], backend="numba")
    assert len({text.count("for ") for text in texts}) == 1


def test_each_process_writes_the_same_loops(interpreted):
    """Otherwise they would be compiled again, as if nothing was cached."""
    pytest.importorskip("numba", reason="numba is an extra")
    through, x = mg.value_and_grad(over_rows, (0, 1, 2)), RNG.normal(size=(6, 5, 3))
    every = [mg.compile(through, backend="numba") for _ in range(10)]
    for compiled in every:
        compiled(H, W, x)
    assert len({compiled.source for compiled in every}) == 1


def test_both_loops_are_machine_code(interpreted):
    pytest.importorskip("numba", reason="numba is an extra")
    compiled = gradients(recurrent, RNG.normal(size=(6, 5, 3)), backend="numba")
    loops = [line for line in compiled.report().splitlines() if line.endswith("in a loop of 6 turns")]
    assert len(loops) == 2
    assert all(line.startswith("loops: ") for line in loops)


def test_the_gradient_of_a_nested_loop_is_two_nested_loops():
    [text] = sources(recurrent, [(6, 5)], optimize=False)
    lines = [line.split("#")[0].rstrip() for line in text.splitlines()]
    depths = [len(line) - len(line.lstrip()) for line in lines if line.lstrip().startswith("for ")]
    assert depths == [4, 8, 4, 8]
    assert any(line.strip() == "hs[t_2 + 1] = np.tanh(hs[t_2] @ w + x[t, t_2])" for line in lines)


def test_inner_loops_of_few_turns():
    """An inner loop of less than four turns stays unrolled in the outer one."""
    texts = sources(recurrent, [(6, 3), (9, 3)], optimize=False)
    assert len({len(text.splitlines()) for text in texts}) == 1


# Sums


def test_a_sum_of_negative_zeros_keeps_its_sign():
    def f(w, x):
        total = np.float64(0.0)
        for t in range(6):
            total = total + np.sum(w * x[t])
        return total

    w, x = np.array([1.0, -1.0]), np.full((6, 2), -0.0)
    gradient = mg.compile(mg.grad(f), optimize=False)
    right = mg.grad(f)(w, x)
    assert np.signbit(right).all()
    np.testing.assert_array_equal(np.signbit(gradient(w, x)), np.signbit(right))


def test_a_sum_without_a_loop_begins_with_its_first_term():
    x, y = Value((2,), np.float64, "x"), Value((2,), np.float64, "y")
    terms = [Value((2,), np.float64) for _ in range(5)]
    totals = [Value((2,), np.float64) for _ in range(4)]
    steps = [Step(np.multiply, (x, y), {}, term) for term in terms]
    steps += [
        Step(np.add, (left, right), {}, out)
        for left, right, out in zip([terms[0], *totals], terms[1:], totals, strict=False)
    ]
    begun = rolling.begun(Program((x, y), tuple(steps), (totals[-1],)))
    assert sum(rolling.unbegun(step, {}, {}) is not None for step in begun.steps) == 1
    compiled = mg.compile(lambda x, y: np.sin(x) + np.cos(y) + np.sin(y) + np.cos(x) + np.sin(x * y), optimize=False)
    compiled(np.ones(2), np.ones(2))
    assert "-0.0" not in compiled.source


def test_a_sum_that_the_user_begins_with_minus_zero_stays():
    compiled = mg.compile(lambda x: -0.0 + (-0.0 + x))
    for x in (np.arange(3), np.array([-0.0, 0.0])):
        found, right = compiled(x), -0.0 + (-0.0 + x)
        assert found.dtype == right.dtype
        np.testing.assert_array_equal(np.signbit(found), np.signbit(right))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sums_keep_their_dtype(dtype):
    w, x = W.astype(dtype), RNG.normal(size=(6, 5, 3)).astype(dtype)
    value, gradient = mg.compile(mg.value_and_grad(recurrent, 1))(H.astype(dtype), w, x)
    assert value.dtype == gradient.dtype == dtype


# Parts of carried arrays


def test_a_part_of_a_carried_array_is_read_before_the_array_changes(interpreted):
    pytest.importorskip("numba", reason="numba is an extra")

    def f(y):
        total = 0.0 * y
        for t in range(6):
            part = y[t]
            y = np.sin(y) * 1.5
            total = total * 0.9 + part * y[2]
        return total, y

    y = np.linspace(0.1, 1.0, 8)
    for found, right in zip(mg.compile(f, backend="numba")(y), f(y), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-12)


# The cost of the search


def relaxed(u, w):
    for _ in range(4):
        for i in range(1, len(u) - 1):
            u[i] = 0.5 * (u[i - 1] + u[i + 1])
    return u, w


def eliminated(u, w):
    for _ in range(4):
        for i in range(4):
            for j in range(4):
                u[i] = u[i] - u[j + 1] * w[i, j]
    return u, w


def sorted_outside(u, w):
    for _ in range(5):
        for i in range(4):
            for j in range(4):
                u = np.cos(u * w[i, j])
        w = np.sort(w, axis=0)
    return u, w


@pytest.mark.parametrize("shape", [(6,), (6, 5)])
@pytest.mark.parametrize("f", [relaxed, eliminated, sorted_outside])
def test_an_array_that_only_inner_loops_change_is_changed_by_python_loops_too(interpreted, f, shape):
    pytest.importorskip("numba", reason="numba is an extra")
    u, w = RNG.normal(size=shape), RNG.normal(size=(4, 4))
    compiled = mg.compile(lambda u, w: f(u.copy(), w), backend="numba")
    for found, right in zip(compiled(u, w), f(u.copy(), w), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-12)


def test_turns_that_do_not_fit_are_dismissed_at_once(monkeypatch):
    """Trying each of them would take longer than the rest of compiling."""
    tried, fits = [], runs.Run.fits
    monkeypatch.setattr(runs.Run, "fits", lambda run, others: tried.append(run) or fits(run, others))

    def f(x, t):
        for i in range(len(t)):
            x = np.sin(x + t[i * i * 7 % 31])
        return np.sum(x)

    x, t = np.ones(3), RNG.normal(size=200)
    compiled = mg.compile(mg.grad(f), sizes="fixed")
    np.testing.assert_allclose(compiled(x, t), mg.grad(f)(x, t), rtol=1e-12)
    assert len(tried) < len(t) / 4
