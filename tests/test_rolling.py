"""Loops in compiled functions: rolling up runs of steps changes no result.

Owns: `rolling.py`, `bodies.py`, how loops are printed in each form, and `scalars.py`.
Must not own: the results of whole compiled functions (`test_compiled_laws.py`).
Read next: `test_passes.py`.

The reference is the same function with rolling turned off: results are equal to the
last bit.
"""

import importlib
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, primitives
from microgradnd.compiler import bodies, fusion, passes, turns
from microgradnd.compiler.program import Program, Step, Turn, Value
from microgradnd.trees import flatten
from tests.interpreter import in_turn, run_turns

programs = importlib.import_module("microgradnd.compiler.programs")
RNG = np.random.default_rng(0)
W, V, U = RNG.normal(size=(3, 3)) * 0.5, RNG.normal(size=3), RNG.normal(size=(5, 3))
ROWS, TABLE, SERIES = RNG.normal(size=(8, 3)), RNG.normal(size=(5, 6, 3)), RNG.normal(size=(12, 2))
P, Y0 = np.array([1.0, 0.5, 0.3, 0.8]), np.array([2.0, 1.0])


def recurrent(w, x):
    h = np.zeros(3)
    for row in x:
        h = np.tanh(row + h @ w)
    return np.sum(h**2)


def outputs(w, x):
    h, hs = x[0], []
    for t in range(len(x)):
        h = np.sin(x[t] * h + w[0])
        hs.append(h)
    return np.sum(np.stack(hs) ** 2) + np.sum(hs[2])


def kept_list(x):
    total, found = 0.0, []
    for t in range(len(x)):
        total = total + np.exp(x[t, 0] * 0.1)
        found.append(total * 2)
    return found, total


def slope(y, p):
    return np.stack([p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]])


def runge_kutta(p, y0, seen):
    y, h, total = y0, 0.01, 0.0
    for t in range(len(seen)):
        k1 = slope(y, p)
        k2 = slope(y + h / 2 * k1, p)
        y = y + h * slope(y + h / 2 * k2, p)
        total = total + np.sum((y - seen[t]) ** 2)
    return total


def swapped(x):
    a, b = x, 2 * x
    for _ in range(8):
        a, b = b, np.sin(a) + b
    return np.sum(a * b)


def three_back(x):
    xs = [x, x + 1, x + 2]
    for _ in range(9):
        xs.append(np.cos(xs[-3]) + 0.5 * xs[-1])
    return np.sum(xs[-1] * xs[-2])


def nested(w, x):
    h = x[0, 0] * 0.1
    for i in range(5):
        s = h
        for j in range(6):
            s = np.tanh(x[i, j] + s @ w)
        h = h + s
    return np.sum(h**2)


def nested_over_rows(w, x):
    h = np.zeros(3)
    for row in x:
        for _ in range(4):
            h = np.tanh(row + h @ w)
    return np.sum(h)


def made_in_each_turn(w, x):
    """A Kalman filter: matrices and transposes are made anew for each measurement."""
    step, seen = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.5]])
    mean, spread, total = np.zeros(2), np.eye(2), 0.0
    for y in x[:, 0]:
        mean, spread = step @ mean, step @ spread @ step.T + np.exp(w[0, 0]) * np.eye(2)
        scale = seen @ spread @ seen.T + np.exp(w[1, 1])
        gain, error = spread @ seen.T / scale, y - seen @ mean
        mean, spread = mean + (gain * error)[:, 0], spread - gain @ seen @ spread
        total = total + 0.5 * (np.log(scale) + error**2 / scale)
    return np.sum(total)


def last_differs(w, x):
    h = x[0]
    for t in range(7):
        h = h @ w
        if t < 6:
            h = np.tanh(h)
    return np.sum(h)


def options_differ(x):
    total = 0.0
    for t in range(8):
        total = total + np.sum(np.sin(np.sum(x * total, axis=(0, 1, 1, 0, 1, 0, 0, 1)[t])))
    return total


def numbers(x):
    y = x
    for t in range(2, 9):
        y = np.sin(y * (0.3 + 0.1 * t * t)) * t
    return np.sum(y)


def descent(w, x):
    velocity = np.zeros_like(w)
    for _ in range(8):
        velocity = 0.9 * velocity + mg.grad(lambda w: np.sum(np.tanh(x @ w) ** 2))(w)
        w = w - 0.1 * velocity
    return np.sum(w**2)


def from_the_end(x, w):
    h = w
    for t in range(7, -1, -1):
        h = np.sin(x[t] * h)
    return np.sum(h)


def reversed_rows(x, w):
    h, table = w, np.stack([x, 2 * x])
    for t in range(8):
        h = np.sin(table[0, t, ::-1] * h + table[1, 7 - t, ::2].sum())
    return np.sum(h)


def set_parts(x):
    y = np.zeros((8, 3)) * x[0]
    for t in range(8):
        y[t] = x * (t + 0.5)
    return np.sum(np.sin(y))


def saved_result(w, x):
    h, first = x[0], None
    for t in range(8):
        h = np.tanh(x[t] + h @ w)
        first = h if t == 3 else first
    return np.sum(first * h), first, h


def saved_and_used(w, x):
    h, first = x[0], np.exp(x[1])
    for t in range(12):
        h = np.tanh(h @ w + 0.1)
        first = h if t == 3 else first
        h = h * np.sin(first)
    return np.sum(h)


def reordered(w, x):
    h, hs = x[0], []
    for t in range(len(x)):
        h = np.sin(x[t] * h + w[0])
        hs.append(h)
    return np.stack([hs[5], hs[6], *hs[2:4], *hs[::-1]])


def recurrent_from(h, x):
    for t in range(len(x)):
        h = np.tanh(x[t] * h * h)
    return h


def single(x):
    y = x
    for _ in range(6):
        y = y * np.float32(0.5) + x
    return np.sum(y)


def polynomial(x):
    """Sums as operands, and sums of results, keep their parentheses."""
    t, p, last = 1 - 6 * x, x * 0.5, x
    for k in range(8):
        last = p + 0.1 * k
        p = p * t + 1 / (k + 1)
    return p * (2 - t), last * t


def moved_elements(x):
    """Views of short vectors, and vectors of constants."""
    for _ in range(8):
        turned = np.stack([x[::-1], 0.5 * x]).T[1:]
        x = np.flip(turned.reshape(-1)) * np.array([1.5, -0.25]) + x
    return np.sum(x * x)


def through(f, *argnums):
    return mg.value_and_grad(f, argnums if len(argnums) > 1 else argnums[0] if argnums else 0)


CASES = {
    "recurrent": (recurrent, W, ROWS),
    "its gradient": (through(recurrent, 0, 1), W, ROWS),
    "outputs": (through(outputs, 0, 1), W, ROWS),
    "a list of numbers": (kept_list, ROWS),
    "runge kutta": (through(runge_kutta, 0, 1, 2), P, Y0, SERIES),
    "runge kutta in float32": (through(runge_kutta), P.astype("f"), Y0.astype("f"), SERIES.astype("f")),
    "swapped": (through(swapped), V),
    "three back": (through(three_back), V),
    "nested": (nested, W, TABLE),
    "nested gradient": (through(nested, 0, 1), W, TABLE),
    "nested over rows": (nested_over_rows, W, ROWS),
    "made in each turn": (through(made_in_each_turn, 0, 1), W, ROWS),
    "last differs": (through(last_differs, 0, 1), W, ROWS),
    "options differ": (through(options_differ), W),
    "numbers": (through(numbers), V),
    "a polynomial": (polynomial, V),
    "a polynomial of a number": (polynomial, np.array(0.3)),
    "descent": (descent, V, U),
    "moved elements": (through(moved_elements), V[:2]),
    "through descent": (mg.grad(descent), V, U),
    "reversed": (through(from_the_end, 0, 1), ROWS, V),
    "reversed rows": (through(reversed_rows, 0, 1), ROWS, V),
    "set parts": (through(set_parts), V),
    "a saved value is a result": (saved_result, W, ROWS),
    "a saved value is used": (saved_and_used, W, ROWS),
    "results in another order": (reordered, W, ROWS),
    "float32": (through(single), V.astype("f")),
    "forward mode": (lambda x: mg.jvp(swapped, (x,), (x,)), V),
    "second derivatives": (mg.hessian(numbers), V),
    "gradient of a gradient": (mg.grad(lambda x: np.sum(mg.grad(swapped)(x) ** 2)), V),
    "scan": (through(lambda w, x: mg.scan(lambda h, r: (np.tanh(r + h @ w), np.sum(h)), V, x)[1].sum(), 0, 1), W, ROWS),
}


def picked_and_joined(x):
    for _ in range(8):
        x = np.concatenate([x[1:], x[:1] * 0.5])
    return np.sum(x**2)


def parts_added_again(x):
    y = x * 0.5
    for _ in range(7):
        y[1:] += (np.sum(x) * x)[:-1]
    return np.sum(np.tanh(y))


def only_the_last_turn_counts(x):
    for _ in range(5):
        a, b, c = np.maximum(x, 0.1)
        joined = np.stack([b, a * 0.5, c])
    return joined, x


def strides_of_one_start(x):
    h = x[0] * 0.1
    for t in range(4):
        h = np.sin(x[t] * h + x[2 * t]) + (7 - t) * x[7 - t] + (7 - t) * x[7 - 2 * t]
    return np.sum(h)


def number_that_one_turn_computes(x, y):
    x, y = x * 1, y * 1
    q = y * 0.5
    for _ in range(3):
        p = np.sum(np.concatenate([y[1:], q[:1]])) * x
    for _ in range(3):
        p, q = p * 0.5 + q, q
    return np.sum(np.tanh(p * q + y))


def parts_multiplied(x):
    y = x * 1.0
    for _ in range(7):
        y[1:] *= x[:-1]
    return np.sum(np.tanh(y * V * 0.5 + V))


def newton(x):
    y = x
    for _ in range(6):
        y = 0.5 * (y + (x * x + 1) / y)
    return np.sum(y**2)


def elements_that_are_carried(x):
    y = 1.0 * x
    for i in range(4):
        y = np.cos(y) * y[3 - i]
    return np.sum(y**2)


def gradients_of_all_turns(x):
    values = [mg.tensor(x, requires_grad=True)]
    for i in range(8):
        values.append(np.tanh(values[-1] + i))
        values[-1].retain_grad()
    np.sum(values[-1]).backward()
    return [value.grad for value in values]


CASES |= {
    "gradients added to parts": (mg.grad(picked_and_joined), V),
    "parts added again": (mg.grad(parts_added_again), V),
    "strides of one start": (through(strides_of_one_start), ROWS),
    "only the last turn counts": (only_the_last_turn_counts, V),
    "a number that one turn computes": (
        mg.grad(lambda x, y: np.sum(mg.grad(number_that_one_turn_computes)(x, y) ** 2)),
        0.1 * V,
        0.2 * V[::-1],
    ),
    "parts multiplied": (mg.grad(lambda x: np.sum(mg.grad(parts_multiplied)(x) ** 2)), 0.1 * V),
    "gradients of all turns": (gradients_of_all_turns, V),
    "elements of a short vector": (mg.grad(lambda x: np.sum(np.sin(sum(v for v in x)) * x)), np.arange(1.0, 5)),
    "elements of a short vector that is carried": (mg.grad(elements_that_are_carried), np.arange(1.0, 5)),
    "a first turn that gives itself a value": (mg.grad(lambda x: np.sum(mg.grad(newton)(x) ** 2)), V),
}


def unrolled(monkeypatch, compiled, *args):
    """Return the results of a program without loops."""
    with monkeypatch.context() as patch:
        patch.setattr(programs, "rolled", lambda program: program)
        return compiled(*args)


def same(found, right):
    """Compare results: types, shapes, dtypes, and every bit."""
    for a, b in zip(flatten(found)[0], flatten(right)[0], strict=True):
        assert type(a) is type(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_loops_change_no_result(monkeypatch, name, optimize):
    f, *args = CASES[name]
    monkeypatch.setattr(programs, "formulated", lambda program, *_: program)  # which may add in another order
    compiled = mg.compile(f, optimize=optimize)
    first = compiled(*args)
    again = compiled(*args)
    right = unrolled(monkeypatch, mg.compile(f, optimize=optimize), *args)
    same(first, right)
    same(again, right)
    for a, b in zip(flatten(first)[0], flatten(f(*args))[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12 if np.asarray(b).dtype == np.float64 else 1e-4)
    if name != "only the last turn counts":  # the first turn will do
        assert ("for t" in compiled.source) is (name not in ("options differ", "a number that one turn computes"))


@pytest.mark.parametrize("name", ["runge kutta", "three back", "nested", "reversed", "reversed rows"])
def test_loops_in_machine_code_change_no_result(monkeypatch, name):
    pytest.importorskip("numba", reason="numba is an extra")
    f, *args = CASES[name]
    compiled = mg.compile(f, backend="numba")
    found = compiled(*args)
    for a, b in zip(flatten(found)[0], flatten(f(*args))[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert "turns in" not in compiled.report()
    assert re.search(r"loops: .*in a loop of \d+ turns", compiled.report())


@pytest.mark.parametrize("f", [nested_over_rows, made_in_each_turn, through(made_in_each_turn)])
def test_twice_the_turns_make_no_longer_program(f):
    compiled = mg.compile(f, optimize=False)
    compiled(W, ROWS)
    lines = compiled.source.splitlines()
    compiled(W, np.concatenate([ROWS, ROWS]))
    assert len(compiled.source.splitlines()) == len(lines)


def test_views_of_one_array_are_one_input_only_if_they_are_equal():
    a = RNG.normal(size=(2, 2))

    def f(x):
        return x @ a.T + x @ a + x @ a[:] + x @ a[::-1] + x @ a.T[:, ::-1] + a.view(np.int64)[:, :1] % 2

    compiled = mg.compile(f, optimize=False)
    for x in (np.ones((2, 2)), a):
        np.testing.assert_array_equal(compiled(x), f(x))
    a[0, 1] = 5.0
    np.testing.assert_array_equal(compiled(x), f(x))
    assert compiled.source.count("@ x_") == 4


def test_backpropagation_through_time_is_written_as_a_person_does():
    compiled = mg.compile(through(recurrent), optimize=False)
    compiled(W, ROWS)
    body = [line.split("#")[0].strip() for line in compiled.source.splitlines()]
    assert "hs[t + 1] = np.tanh(x[t] + hs[t] @ w)" in body
    assert sum(line.startswith("for ") for line in body) == 2


def test_the_initial_value_is_the_first_row_that_the_backward_pass_reads():
    compiled = mg.compile(mg.grad(lambda h, x: np.sum(recurrent_from(h, x))))
    compiled(V, ROWS)
    assert [int(n) for n in re.findall(r"for t\w* in range\((\d+)\)", compiled.source)] == [8, 8]


def test_an_array_that_is_read_by_rows_gets_its_gradient_by_rows():
    compiled = mg.compile(mg.grad(from_the_end), optimize=False)
    compiled(ROWS, V)
    assert re.search(r"grad_x\[t\w*( \+ 1)?\] \+= |t_\d+\[t\w*( \+ 1)?\] \+= ", compiled.source)


def test_the_program_does_not_grow_with_the_loop():
    lengths = []
    for turns_ in (20, 40):
        compiled = mg.compile(through(recurrent))
        compiled(W, np.ones((turns_, 3)))
        lengths.append(len(compiled.source.splitlines()))
    assert lengths[0] == lengths[1]


def test_short_vectors_are_numbers():
    compiled = mg.compile(through(runge_kutta))
    compiled(P, Y0, SERIES)
    loops = compiled.source.split("for t")[1:]
    assert len(loops) == 2
    assert "np." not in loops[0].split("\n    n")[0].split("\n    k")[0].replace("np.float64", "")


def test_a_short_run_stays_unchanged():
    compiled = mg.compile(lambda x: np.sin(np.sin(np.sin(x))))
    compiled(V)
    assert "for t" not in compiled.source


def test_each_call_has_results_of_its_own():
    compiled = mg.compile(saved_result)
    first = compiled(W, ROWS)
    before = [x.copy() for x in first]
    second = compiled(W, 2 * ROWS)
    same(list(first), before)
    assert not any(np.may_share_memory(a, b) for a, b in zip(first, second, strict=True) if a.shape)


def test_draws_stay_in_their_order():
    layer = nn.Dropout(0.5, rng=np.random.default_rng(0))

    def f(x):
        for _ in range(6):
            x = layer(x) * 2
        return x

    compiled = mg.compile(f)
    assert np.isfinite(compiled(np.ones(50))).all()


def test_a_program_with_loops_runs_from_a_file(tmp_path):
    compiled = mg.compile(through(numbers))
    value, gradient = compiled(V)
    compiled.save(tmp_path / "loop.py")
    scope = {"__name__": "loop"}
    exec((tmp_path / "loop.py").read_text(), scope)
    name = next(k for k in scope if k not in ("np", "__name__", "__builtins__") and k in ("numbers", "program"))
    found = scope[name](V)
    np.testing.assert_array_equal(found[0], value)
    np.testing.assert_array_equal(found[1], gradient)


def test_a_loop_runs_as_its_steps_do():
    x, h = Value((4, 2), np.float64, "x"), Value((2,), np.float64, "h")
    row, new = Value((2,), np.float64), Value((2,), np.float64, "h")
    steps = (
        Step(primitives.getitem, (x, Turn(3, -1)), {}, row),
        Step(np.add, (h, row), {}, new),
    )
    loop = bodies.Loop(4, Program((h, x), steps, ((new,), (row,), (new,))), (True,))
    data = np.arange(8.0).reshape(4, 2)
    carried, kept, last = run_turns(loop, (np.zeros(2), data))
    np.testing.assert_array_equal(carried[1:], np.cumsum(data[::-1], axis=0))
    np.testing.assert_array_equal(kept, data[::-1])
    np.testing.assert_array_equal(last, carried[-1])
    part = Step(primitives.getitem, (x, (slice(Turn(3, -1), None), 1)), {}, row)
    assert in_turn(part, 1).args[1] == (slice(2, None), 1)


# Random bodies

UNARY = {"sin": np.sin, "tanh": np.tanh, "negative": np.negative}
BINARY = {"add": np.add, "multiply": np.multiply, "subtract": np.subtract}


@st.composite
def turn_bodies(draw):
    """Return a loop's operations on values, rows and numbers, and what it keeps."""
    lines = []
    names = ["a", "b", "row", "w", "turn"]
    for i in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            lines.append((f"v{i}", draw(st.sampled_from(sorted(UNARY))), draw(st.sampled_from(names[:3]))))
        else:
            operands = draw(st.sampled_from(names[:3])), draw(st.sampled_from(names))
            lines.append((f"v{i}", draw(st.sampled_from(sorted(BINARY))), *operands))
        names.insert(0, f"v{i}")
    values = names[: len(lines)]
    carried = draw(st.sampled_from([*values, "b"])), draw(st.sampled_from([*values, "a", "row"]))
    return lines, carried, draw(st.sampled_from(values)), draw(st.booleans()), draw(st.booleans())


def made(body):
    lines, carried, kept, stacked, first_differs = body

    def f(x, w):
        scope = {"a": x[0], "b": 0.5 * w, "w": w}
        found = []
        for t in range(len(x)):
            scope |= {"row": x[len(x) - 1 - t], "turn": 0.1 * (t + 1)}
            for name, function, *operands in lines:
                scope[name] = (UNARY | BINARY)[function](*(scope[o] for o in operands))
            if t or not first_differs:
                scope["a"], scope["b"] = np.tanh(scope[carried[0]]), scope[carried[1]]
            found.append(scope[kept])
        total = np.sum(np.stack(found) ** 2) if stacked else sum(np.sum(y) for y in found)
        return total + np.sum(scope["a"] * scope["b"])

    return f


def not_rolled(f, args, **options):
    """Return the results of a program without loops."""
    keep = programs.rolled
    programs.rolled = lambda program: program
    try:
        return mg.compile(f, **options)(*args)
    finally:
        programs.rolled = keep


def arrays_for(shape):
    return np.random.default_rng(1).normal(size=shape), np.random.default_rng(2).normal(size=shape[1:])


@settings(max_examples=12)
@given(turn_bodies(), st.sampled_from([(6, 2), (5, 3, 2)]), st.booleans())
def test_random_loops(body, shape, optimize):
    f, args = through(made(body), 0, 1), arrays_for(shape)
    found = mg.compile(f, optimize=optimize)(*args)
    for a, b in zip(flatten(found)[0], flatten(not_rolled(f, args, optimize=optimize))[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turn_bodies(), st.sampled_from([(6, 2), (5, 3, 2), (7, 5), (5,)]))
def test_random_loops_printed_for_machine_code(interpreted, body, shape):
    pytest.importorskip("numba", reason="numba is an extra")
    f, args = through(made(body), 0, 1), arrays_for(shape)
    compiled = mg.compile(f, backend="numba")
    for found in (compiled(*args), compiled(*args)):
        for a, b in zip(flatten(found)[0], flatten(not_rolled(f, args))[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_loops_printed_for_machine_code_change_no_result(interpreted, name):
    pytest.importorskip("numba", reason="numba is an extra")
    f, *args = CASES[name]
    compiled = mg.compile(f, backend="numba")
    for found in (compiled(*args), compiled(*args)):
        for a, b in zip(flatten(found)[0], flatten(f(*args))[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11 if np.asarray(b).dtype == np.float64 else 1e-4, atol=1e-12)


def test_the_report_says_what_does_not_fit():
    pytest.importorskip("numba", reason="numba is an extra")
    w = np.eye(64) * 0.5

    def f(x):
        h = x[0]
        for t in range(5):
            h = np.tanh(x[t] + h @ w)
        return np.sum(h)

    compiled = mg.compile(f, backend="numba")
    x = np.ones((5, 32, 64))
    np.testing.assert_allclose(compiled(x), f(x))
    assert "a loop of 4 turns" in compiled.report()
    assert turns.UnfitError("why").args == ("why",)


def test_an_interrupted_compilation_leaves_the_numpy_program(monkeypatch):
    pytest.importorskip("numba", reason="numba is an extra")
    machine = importlib.import_module("microgradnd.compiler.machine")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "made", interrupted)
    monkeypatch.setattr(machine, "kept", lambda *args: None)
    compiled = mg.compile(numbers, backend="numba")
    np.testing.assert_array_equal(compiled(V), mg.compile(numbers)(V))
    assert "interrupted" in compiled.report()


def test_the_last_compilation_predicts_the_time_of_the_next(tmp_path):
    machine = importlib.import_module("microgradnd.compiler.machine")
    assert machine.rate_of(tmp_path) is None
    (tmp_path / machine.RATE).write_text("0.25")
    assert machine.rate_of(tmp_path) == 0.25


def test_passes_work_inside_loops():
    program = Program((), (), ())
    assert bodies.in_bodies(lambda body, own: passes.drop_dead(body), program).steps == ()


# Loops around products, which are left to BLAS


def gated(w, u, x):
    h = x[0]
    for t in range(6):
        z = np.concatenate([h @ w, h @ u], axis=1)
        r = 1 / (1 + np.exp(-z[:, :3]))
        h = r * h + (1 - r) * np.tanh(z[:, 3:] + x[t])
    return np.sum(h**2)


def exchanged(w, u, x):
    a, b = x[0], x[1]
    for t in range(6):
        a, b = np.tanh(b @ w.T + x[t]), a
    return np.sum(a * b * u[0])


def stacked(w, u, x):
    h = x[0]
    for t in range(6):
        s = np.stack([h @ w, 2 * h, np.sin(h)], axis=1)
        h = s[:, 0] * s[:, 1] + s[:, 2] * x[t, ::-1, ::-1]
    return np.sum(h * (x[0] @ u))


def summed(w, u, x):
    h, total = x[-1], np.zeros((4, 3))
    for t in reversed(range(6)):
        h = np.maximum(h @ w, 0) @ u + x[t]
        total = 0.5 * total + h * x[t, :, ::-1]
    return np.sum(total**2)


@pytest.mark.parametrize("f", [gated, exchanged, stacked, summed])
def test_a_loop_around_products_calls_loops(interpreted, monkeypatch, f):
    pytest.importorskip("numba", reason="numba is an extra")
    monkeypatch.setattr(fusion, "BLAS", 1)
    rng = np.random.default_rng(5)
    w, u, x = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), rng.normal(size=(7, 4, 3))
    compiled = mg.compile(through(f, 0, 1, 2), backend="numba")
    for args in ((w, u, x), (w.T, np.asfortranarray(u), x[:, :, ::-1]), (-w, u, x)):
        for a, b in zip(flatten(compiled(*args))[0], flatten(through(f, 0, 1, 2)(*args))[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    inner = [line for line in compiled.report().splitlines() if line.startswith("  ")]
    assert {line.split(":")[0] for line in inner} == {"  loops", "  NumPy"}


def test_a_loop_multiplies_by_a_transposed_matrix():
    def f(w, x):
        h = x
        for _ in range(5):
            h = np.tanh(h @ w.T)
        return h

    compiled = mg.compile(f)
    for x in (np.ones((2, 3)), np.ones(3)):
        np.testing.assert_array_equal(compiled(np.eye(3) / 2, x), f(np.eye(3) / 2, x))


def test_the_rows_of_a_loop_stay_one_array_where_they_are_stacked():
    def f(w, x):
        h, hs = np.zeros(3), []
        for t in range(len(x)):
            h = np.tanh(x[t] + h @ w)
            hs.append(h)
        return np.stack(hs)

    w, x = np.eye(3) / 2, np.arange(18.0).reshape(6, 3)
    compiled = mg.compile(f)
    np.testing.assert_array_equal(compiled(w, x), f(w, x))
    assert "np.concatenate" not in compiled.source


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, bool])
@pytest.mark.parametrize("kind", [float, np.float32, np.float64])
def test_numbers_of_numpy_that_differ_between_turns_keep_their_precision(kind, dtype, optimize):
    def f(x):
        total = 0
        for k in (0.1, 0.7, 0.3, 1.9, 0.2):
            total = total + np.exp(-kind(k) * x) + np.hypot(x, kind(k))
        return total

    x = np.arange(4).astype(dtype)
    found, right = mg.compile(f, optimize=optimize)(x), f(x)
    assert found.dtype == right.dtype
    np.testing.assert_allclose(found, right, rtol=4 * np.finfo(right.dtype).eps)


@pytest.mark.parametrize("turns", [11, 12, 13, 16, 21])
@pytest.mark.parametrize("delay", [2, 4, 5])
def test_runs_that_share_a_step_are_disjoint_loops(delay, turns):
    """With a delay of 4, the second four turns end as the third four begin."""

    def f(x):
        line = [np.zeros(3)] * delay
        for t in range(turns):
            line = [*line[1:], np.tanh(line[0] + x[t])]
        return line

    x = np.arange(3.0 * turns).reshape(turns, 3) / 9
    for options in ({}, {"optimize": False}):
        for found, right in zip(mg.compile(f, **options)(x), f(x), strict=True):
            np.testing.assert_array_equal(found, right)


def filled(x, a):
    y = np.zeros_like(x)
    for i in reversed(range(len(x) - 1)):
        y[i] = a * y[i + 1] + x[i]
    return y


def two_tables(x, a):
    y, z = np.zeros_like(x), np.zeros_like(x)
    for i in range(1, 9):
        old = y * 1.0
        y[i] = np.tanh(a * z[i - 1]) + x[i]
        z[i - 1] += np.sum(old[2:5]) * y[i - 1]
        y, z = z, y
    return y, z


def table(x, a):
    y = np.zeros_like(x)
    for i in range(1, 6):
        for j in range(1, 6):
            y[i, j] = a * y[i - 1, j] + y[i, j - 1] * x[i, j]
    return y


def overlapping(x, a):
    y = x.copy()
    for i in range(8):
        y[1:] = a * y[:-1] + x[i]
        y[0] = np.sum(y[i : i + 2])
    return y


@pytest.mark.parametrize("shape", [(12,), (12, 6)], ids=str)
@pytest.mark.parametrize("f", [filled, two_tables, table, overlapping], ids=lambda f: f.__name__)
def test_elements_are_assigned_in_place_only_where_nothing_reads_the_old_array_later(f, shape):
    if f is table and len(shape) == 1:
        shape = (6, 7)
    x = np.random.default_rng(0).normal(size=shape)
    slopes = mg.grad(lambda x, a: sum(np.sum(np.tanh(y)) for y in flatten(f(x, a))[0]), argnums=(0, 1))

    for function in (f, slopes):
        for optimize in (True, False):
            compiled = mg.compile(function, optimize=optimize)
            for scale in (1.0, -0.5):
                got, want = flatten(compiled(scale * x, 0.7))[0], flatten(function(scale * x, 0.7))[0]
                for a, b in zip(got, want, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_loop_that_fills_an_array_copies_it_once():
    compiled = mg.compile(filled)
    compiled(np.ones(50), 0.5)
    turn = [line for line in compiled.source.partition("    for ")[2].splitlines() if line.startswith(" " * 8)]
    assert turn
    assert not any("setitem" in line or "[...] =" in line for line in turn)
