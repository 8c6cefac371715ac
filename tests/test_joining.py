"""Equal formulas of small arrays are one formula of vectors.

Owns: when formulas are joined and when they can't be, the results, and whose memory
they have.
Must not own: the memory of vectors and their parts in general (`test_ownership.py`).
Read next: `../microgradnd/compiler/joining.py`.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg

SHAPES = [(3, 4), (4,), (4, 1), (1,)]


def arrays(shapes, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def adam(params, grads, first, second, rate):
    first = [0.9 * m + 0.1 * g for m, g in zip(first, grads, strict=True)]
    second = [0.999 * v + 0.001 * g * g for v, g in zip(second, grads, strict=True)]
    moved = zip(params, first, second, strict=True)
    return [p - rate * m / (np.sqrt(v) + 1e-8) for p, m, v in moved], first, second


def state(shapes, dtype=np.float64):
    params, grads, first, second = (arrays(shapes, seed, dtype) for seed in range(4))
    return params, grads, first, [v * v for v in second]


def flat(tree):
    return [part for parts in tree for part in parts]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_optimizer_that_is_written_out(dtype):
    step, args = mg.compile(adam), (*state(SHAPES, dtype), 1e-3)
    for got, expected in zip(flat(step(*args)), flat(adam(*args)), strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)
    assert step.source.count("np.sqrt(") == 1


def test_results_are_the_caller_s_own():
    step, args = mg.compile(adam), (*state(SHAPES), 1e-3)
    kept = flat(step(*args))
    expected = [x.copy() for x in kept]
    for x in kept[::2]:
        x[...] = 7.0
    again = flat(step(*args))
    for i, (x, y) in enumerate(zip(kept, expected, strict=True)):
        np.testing.assert_array_equal(x, y if i % 2 else np.full_like(y, 7.0))
        np.testing.assert_array_equal(again[i], y)


def test_updates_in_place():
    def step(params, grads, first, second):
        new, *moments = adam(params, grads, first, second, 1e-3)
        for old, value in zip((*params, *first, *second), (*new, *moments[0], *moments[1]), strict=True):
            old[...] = value

    compiled, args, others = mg.compile(step), state(SHAPES), state(SHAPES)
    for _ in range(3):
        compiled(*args)
        step(*others)
    for got, expected in zip(flat(args), flat(others), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert compiled.source.count("np.sqrt(") == 1


def formula(x):
    return np.sqrt(np.exp(x) * 2.0 + x * x * 3.0) - np.tanh(x) * 0.5 + np.sin(x) * x


NOT_JOINED = {
    "one needs another's result": lambda xs: [y := formula(xs[0]), formula(xs[1] + np.sum(y))],
    "one by one": lambda xs: [y := formula(xs[0]), z := formula(xs[1] * y.sum()), formula(xs[2] * z.sum())],
    "another number": lambda xs: [formula(xs[0] * 2.0), formula(xs[1] * 3.0)],
    "another dtype": lambda xs: [formula(xs[0]), formula(xs[1].astype(np.float32))],
    "large": lambda xs: [formula(np.tile(x, (60, 60))) for x in xs[:2]],
    "empty": lambda xs: [formula(x[:0]) for x in xs],
}


@pytest.mark.parametrize("f", NOT_JOINED.values(), ids=NOT_JOINED)
def test_formulas_that_stay_apart(f):
    compiled, xs = mg.compile(f), arrays(SHAPES, 5)
    found, expected = compiled(xs), f(xs)
    assert "np.concatenate(" not in compiled.source
    for got, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-15)


def test_a_formula_may_follow_another():
    def f(xs):
        ys = [formula(x) for x in xs]
        total = sum(np.sum(y) for y in ys)
        return ys, [formula(x[::-1] / total) for x in xs]

    compiled, xs = mg.compile(f), arrays([(5,)] * 9, 6)
    for got, right in zip(flat(compiled(xs)), flat(f(xs)), strict=True):
        np.testing.assert_array_equal(got, right)
    assert compiled.source.count("np.exp(") == 2


def test_a_vector_is_not_larger_than_what_a_part_may_keep():
    compiled, xs = mg.compile(lambda xs: [formula(x) for x in xs]), arrays([(500,)] * 9, 7)
    results = compiled(xs)
    assert compiled.source.count("np.exp(") == 3
    assert max(np.ravel(y).base.nbytes for y in results) <= 2**14


def test_lengths_stay_open():
    compiled = mg.compile(lambda a, b, c: [formula(a), formula(b), formula(c)])
    for n in (5, 6, 9):
        xs = arrays([(n,), (n + 3,), (4,)], n)
        for got, right in zip(compiled(*xs), map(formula, xs), strict=True):
            np.testing.assert_array_equal(got, right)
    assert compiled.cache_info().misses == 2  # for 5 elements, and for any number


@given(
    st.lists(st.sampled_from([(), (1,), (3,), (2, 3), (3, 1, 2), (0,)]), min_size=2, max_size=7),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 5)), min_size=4, max_size=12),
    st.integers(0, 3),
)
def test_random_formulas(shapes, lines, order):
    """Equal formulas of some arrays, one of them in another order."""
    functions = [np.add, np.subtract, np.multiply, np.maximum, lambda x, y: np.tanh(x), lambda x, y: x * 0.5 + y]

    def one(x):
        values = [x, x * 2.0]
        for left, right, function in lines:
            values.append(functions[function](values[left % len(values)], values[right % len(values)]))
        return values[-1 - order :]

    def f(xs):
        return [one(x) for x in xs]

    xs = arrays(shapes, len(lines))
    for got, right in zip(flat(mg.compile(f)(xs)), flat(f(xs)), strict=True):
        np.testing.assert_array_equal(got, right)


def loss_of(w, b, v, c, x):
    return np.sum((np.tanh(x @ w + b) @ v + c) ** 2)


def descend(params, x, rate):
    gradients = mg.grad(loss_of, argnums=(0, 1, 2, 3))(*params, x)
    for p, g in zip(params, gradients, strict=True):
        p -= rate * g


def descend_and_return(params, x, rate):
    gradients = mg.grad(loss_of, argnums=(0, 1, 2, 3))(*params, x)
    for p, g in zip(params, gradients, strict=True):
        p -= rate * g
    return gradients


def decay(params, x, rate):
    gradients = mg.grad(loss_of, argnums=(0, 1, 2, 3))(*params, x)
    for p, g in zip(params, gradients, strict=True):
        p -= rate * g * 0.5 + rate * 0.1 * p


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("step", "products"),
    [(descend, 1), (descend_and_return, 4), (decay, None)],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_gradients_are_scaled_as_one_vector(step, products, dtype):
    x, params = np.random.default_rng(9).normal(size=(5, 3)).astype(dtype), arrays(SHAPES, 0, dtype)
    expected = [p.copy() for p in params]
    compiled = mg.compile(lambda params, x: step(params, x, 0.1))
    for _ in range(3):
        results, wanted = compiled(params, x) or (), step(expected, x, 0.1) or ()
        for got, want in zip([*params, *results], [*expected, *wanted], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-6)
    if products is not None:
        assert compiled.source.count("np.multiply(c_0_1, ") == products


def test_gradients_of_two_precisions_are_scaled_apart():
    x, params = np.ones((5, 3)), arrays(SHAPES, 0)
    params[1] = params[1].astype(np.float32)
    expected = [p.copy() for p in params]
    compiled = mg.compile(lambda params, x: descend(params, x, 0.1))
    compiled(params, x)
    descend(expected, x, 0.1)
    for got, want in zip(params, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, strict=True)
