"""Long loops of the user's, folded before their derivatives are taken.

Owns: `compiler/folding.py`: which loops are, and that the programs compute what the
eager calls do.
Must not own: `mg.scan` (`test_scanning.py`), or loops that are found in programs
(`test_rolling.py`).
Read next: `test_scanning.py`.
"""

import contextlib

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.compiler import folding
from microgradnd.compiler.bodies import Loop
from microgradnd.trees import flatten

TURNS = 24
RNG = np.random.default_rng(0)
W, C = RNG.normal(size=(3, 3)) * 0.4, RNG.normal(size=3)
SERIES = RNG.normal(size=(TURNS, 3))
SQUARE = RNG.normal(size=(TURNS, TURNS))
DATA, CUBE = RNG.normal(size=(TURNS, 3)), RNG.normal(size=(5, TURNS, 3))


@pytest.fixture(autouse=True)
def folded(monkeypatch):
    """Have short loops folded too; return which were."""
    found = []
    replace = folding.Run.replace

    def noted(run):
        replace(run)
        found.append((run.count, run.period))

    monkeypatch.setattr(folding, "LONG", 20)
    monkeypatch.setattr(folding.Run, "replace", noted)
    return found


def recurrence(turn, first=lambda w: np.zeros(3), turns=TURNS):
    """Return a loss of what a loop ends with, by what one turn makes of h."""

    def loss(w):
        h = first(w)
        for t in range(turns):
            h = turn(w, h, t)
        return np.sum(h**2)

    return loss


def collected(join, turn=lambda w, h: np.tanh(h @ w + 1), first=lambda w: []):
    """Return a loss of what a loop gives in all turns, joined by a function."""

    def loss(w):
        h, hs = w[0] * 1.5, first(w)
        for _ in range(TURNS):
            h = turn(w, h)
            hs.append(h)
        return np.sum(join(hs) ** 2 * 0.5)

    return loss


def of_square(w):
    x, h = w[0, 0] * SQUARE, np.zeros(TURNS)
    for t in range(TURNS):
        h = np.sin(h + w[0, 1] * x[t, ::-1])
    return np.sum(h * SQUARE[0])


def length(h, is_constant=True):
    with mg.no_grad() if is_constant else contextlib.nullcontext():
        return np.sqrt(np.sum(h * h) + 1)


def chosen(a, b, t):
    return np.tanh(b if t == 0 else a) + b


def first_kept(w):
    h, seen = w[0], []
    for _ in range(TURNS):
        seen.append(np.sin(h @ w))
        h = np.tanh(seen[0] + h)
    return np.sum(h**2)


def of_rows(w):
    h = np.zeros(3)
    for row in w[0, 0] * SERIES:
        h = np.tanh(h @ w + row)
    return np.sum(h)


def of_columns(w):
    x, h = w[0, 0] * CUBE, np.zeros((5, 3))
    for t in range(TURNS):
        h = np.tanh(h @ w + x[:, t])
    return np.sum(h)


def of_elements_backwards(w):
    x, h = w[0] * SERIES, np.zeros(3)
    for t in reversed(range(TURNS)):
        h = np.tanh(h @ w + x[t, 1] * C)
    return np.sum(h)


def from_numbers(w):
    total, h = 0, w[0]
    for t in range(TURNS):
        h = h - 0.1 * np.sin(h @ w)
        total = total + np.sum((h - SERIES[t]) ** 2)
    return total


def of_few_numbers(w):
    z, misfit = np.array([1.0, 0.5]), 0.0
    for t in range(TURNS):
        z = z + 0.05 * np.stack([w[0, 0] * z[1], -w[0, 1] * z[0]])
        misfit = misfit + np.sum((z - SERIES[t, :2]) ** 2)
    return misfit


def of_single_precision(w):
    w, h = w.astype(np.float32), np.zeros(3, np.float32)
    for t in range(TURNS):
        h = np.tanh(h @ w + np.sin(w[0] * (0.1 * t)))
    return np.sum(h)


def twice(w):
    h = recurrence(lambda w, h, t: np.tanh(h @ w + C))(w)
    for _ in range(TURNS):
        h = np.sin(h + w[0, 1])
    return h


def two_turns_ago(w):
    a, b = w[0], w[1]
    for _ in range(TURNS):
        a, b = b, np.tanh(a @ w + b)
    return np.sum(a * b)


FOLDED = {
    "the same in every turn": recurrence(lambda w, h, t: np.tanh(h @ w + C)),
    "a Python float": recurrence(lambda w, h, t: np.tanh(h @ w + np.sin(w[0] * (0.1 * t)))),
    "a Python int": recurrence(lambda w, h, t: np.tanh(h @ w + w[0] * t)),
    "rows of a plain array": recurrence(lambda w, h, t: np.tanh(h @ w + DATA[t])),
    "views": recurrence(lambda w, h, t: np.tanh(h.reshape(1, 3) @ w + C).reshape(3)[::-1]),
    "a part without a derivative": recurrence(lambda w, h, t: np.tanh(h @ w + length(h))),
    "a first turn that isn't differentiated": recurrence(lambda w, h, t: w[0] * np.sin(h), lambda w: C),
    "parts of what is handed on": recurrence(
        lambda w, h, t: np.stack([h[1] + w[0] * h[0], np.sin(h[0])]), lambda w: w[:2]
    ),
    "rows": of_rows,
    "rows, each reversed": of_square,
    "parts of a plain array": recurrence(lambda w, h, t: np.tanh(h @ w + CUBE[1, t, :3])),
    "columns": of_columns,
    "elements reversed": of_elements_backwards,
    "a sum that begins as a number": from_numbers,
    "vectors taken apart": of_few_numbers,
    "a first turn that takes another value": recurrence(
        lambda w, h, t: chosen(np.sin(h @ w), np.cos(h), t), lambda w: w[0]
    ),
    "a value of the first turn": first_kept,
    "float32": of_single_precision,
    "two loops": twice,
    "all turns stacked": collected(np.stack),
    "all turns stacked with the first": collected(np.stack, first=lambda w: [w[1]]),
    "a first turn of another shape": recurrence(
        lambda w, h, t: np.tanh(h @ w + C), lambda w: np.zeros((2, 3))[:1, 0] * w
    ),
    "an odd turn": recurrence(lambda w, h, t: np.tanh(h @ w + C) if t != 11 else np.sin(h @ w)),
}
PARTLY = ("two loops", "an odd turn")
UNFOLDED = {
    "two turns ago": two_turns_ago,
    "a value of some turn": collected(lambda hs: hs[3]),
    "all turns added up": collected(sum),
    "all turns stacked, one of them twice": collected(lambda hs: np.stack([*hs, hs[5]])),
    "a part without a derivative in some turns": recurrence(lambda w, h, t: np.tanh(h @ w + length(h, t % 5 != 3))),
    "numbers at odd places": recurrence(lambda w, h, t: np.tanh(h @ w + w[t * t % 3])),
}


def seconds(f):
    """Return the second derivative in a direction."""
    return mg.grad(lambda w: np.sum(mg.grad(f)(w) * C))


def along(f):
    """Return the derivative in a direction, by forward mode."""
    return lambda w: mg.jvp(f, (w,), (2 * w,))


def check(got, expected, name=""):
    """Compare results, in any containers."""
    tolerance = 1e-4 if name == "float32" else 1e-9
    for a, b in zip(flatten(got)[0], flatten(expected)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)
        assert np.asarray(a).dtype == np.asarray(b).dtype, name


@pytest.mark.parametrize("derivative", [mg.value_and_grad, seconds, along])
@pytest.mark.parametrize("name", FOLDED | UNFOLDED)
def test_programs_of_folded_loops(name, derivative, folded):
    f = derivative((FOLDED | UNFOLDED)[name])
    compiled = mg.compile(f)
    check(compiled(W), f(W), name)
    assert bool(folded) == (name in FOLDED)
    if name in FOLDED and name not in PARTLY and derivative is not seconds:
        assert len(compiled._latest.traced.program.steps) < 5 * TURNS


@pytest.mark.parametrize("name", FOLDED)
def test_loops_without_a_derivative(name, folded):
    compiled = mg.compile(FOLDED[name])
    check(compiled(W), FOLDED[name](W), name)
    assert folded


def test_a_result_of_some_turn_keeps_a_loop_unfolded(folded):
    def loss(w):
        hs = [w[0]]
        for _ in range(TURNS):
            hs.append(np.tanh(hs[-1] @ w + C))
        return hs[5], {"last": hs[-1]}

    check(mg.compile(loss)(W), loss(W))
    assert not folded


@pytest.mark.parametrize(
    "name", ["a Python float", "rows of a plain array", "vectors taken apart", "all turns stacked"]
)
def test_other_spellings_of_a_program(name):
    f = mg.value_and_grad(FOLDED[name])
    check(mg.compile(f, optimize=False)(W), f(W), name)
    check(mg.compile(f)(W * 0.5), f(W * 0.5), name)


def test_a_program_is_as_long_for_any_number_of_turns():
    def lengths(turns):
        f = mg.compile(mg.grad(recurrence(lambda w, h, t: np.tanh(h @ w + w[0] * (0.5 * t)), turns=turns)))
        f(W)
        return len(f._latest.traced.program.steps), len(f.source.splitlines())

    assert lengths(20) == lengths(60)


def test_what_is_only_handed_on_is_no_variable_of_the_loop():
    compiled = mg.compile(mg.value_and_grad(from_numbers))
    compiled(W)
    loops = [step.function for step in compiled._latest.program.steps if isinstance(step.function, Loop)]
    assert [len(loop.rows) for loop in loops] == [2, 2]  # h and the sum; the gradients by h and w


def test_short_loops_stay(monkeypatch, folded):
    monkeypatch.undo()
    mg.compile(mg.grad(of_rows))(W)
    assert not folded


def test_backward_of_modules(folded):
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state

    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(3, 4, rng=rng), nn.Linear(4, 4, rng=rng)

        def forward(self, x, h):
            return np.tanh(self.inner(x) + self.outer(h))

    def losses(backend):
        rng.bit_generator.state = state
        cell = Cell()
        sgd = optim.SGD(cell.parameters(), lr=0.1)

        def step(x):
            sgd.zero_grad()
            h = np.zeros(4, np.float32)
            for t in range(TURNS):
                h = cell(x[t], h)
            loss = np.sum(h**2)
            loss.backward()
            sgd.step()
            return loss

        step = step if backend is None else mg.compile(step, backend=backend)
        return [float(step(SERIES.astype(np.float32))) for _ in range(3)]

    np.testing.assert_allclose(losses("numpy"), losses(None), rtol=1e-5)
    assert folded


def test_a_value_that_is_used_later():
    def f(w):
        hs = []

        def loss(w):
            h = w[0]
            for _ in range(TURNS):
                h = np.tanh(h @ w)
                hs.append(h)
            return np.sum(h)

        mg.grad(loss)(w)
        return hs[3]

    check(mg.compile(f)(W), f(W).data)


def test_loops_around_derivatives(folded):
    def f(w):
        for t in range(TURNS):
            w = w - 0.1 * mg.grad(lambda w, t=t: np.sum(np.tanh(w @ SERIES[t]) ** 2))(w)
        return np.sum(w**2)

    check(mg.compile(mg.grad(f))(W), mg.grad(f)(W))
    assert not folded


def test_draws_stay_in_their_turns(folded):
    rng = np.random.default_rng(0)
    compiled = mg.compile(mg.grad(recurrence(lambda w, h, t: np.tanh(h @ w + mg.anew(lambda: rng.random(3), 3)))))
    first = compiled(W)
    assert not np.array_equal(compiled(W), first)
    assert not folded


def test_changes_of_what_is_captured():
    data = SERIES.copy()

    def f(w):
        h = np.zeros(3)
        for t in range(TURNS):
            h = np.tanh(h @ w + data[t])
        return np.sum(h)

    compiled = mg.compile(mg.grad(f))
    compiled(W)
    data *= 2
    check(compiled(W), mg.grad(f)(W))


def test_other_sizes(folded):
    @mg.compile
    @mg.grad
    def slope(w, x):
        h = np.zeros(x.shape[:1] + (3,))
        for t in range(TURNS):
            h = np.tanh(h @ w + x[:, t])
        return np.sum(h)

    for rows in (5, 4, 3):
        x = CUBE[:rows]
        h = mg.grad(lambda w, x=x: np.sum(recurrent_rows(w, x)))(W)
        np.testing.assert_allclose(slope(W, x), h)
    assert folded


def recurrent_rows(w, x):
    h = np.zeros((len(x), 3))
    for t in range(TURNS):
        h = np.tanh(h @ w + x[:, t])
    return h


def test_errors_are_those_of_the_function():
    def f(w):
        h = recurrence(lambda w, h, t: np.tanh(h @ w))(w)
        if h > 1:
            return h
        return 2 * h

    with pytest.raises(TypeError, match="inside a compiled function"):
        mg.compile(mg.grad(f))(W)


def test_numba(folded):
    pytest.importorskip("numba", reason="machine code is made by numba")
    for name in ("vectors taken apart", "all turns stacked"):
        f = mg.value_and_grad(FOLDED[name])
        check(mg.compile(f, backend="numba")(W), f(W), name)
    assert len(folded) == 2
