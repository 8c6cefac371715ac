"""The compiler: the same numbers from a readable program.

Owns: that compiled functions equal the functions, the form of their source, and what
tracing refuses.
Must not own: derivatives (`test_laws.py`).
Read next: `test_transforms.py`.
"""

import contextlib
import subprocess
import sys
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given

import microgradnd as mg
from microgradnd.testing import arrays
from microgradnd.transforms import plain
from microgradnd.trees import flatten
from tests.programs import TRAPS, UPDATES, arguments, compare
from tests.test_laws import ROWS

LEARNING_RATE = 1e-4


def loss_of(w1, b1, w2, b2, x, y):
    h = x @ w1 + b1
    h_relu = mg.nn.functional.relu(h)
    y_pred = h_relu @ w2 + b2
    error = y_pred - y
    loss = np.sum(error**2)
    return loss  # noqa: RET504 -- the names are looked for in the source


@pytest.fixture
def network():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(3, 32)), rng.normal(size=(1, 32)), rng.normal(size=(32, 1)), np.zeros((1, 1))
    return (*weights, rng.normal(size=(100, 3)), rng.normal(size=(100, 1)))


def equal(got, want, tolerance=0.0):
    for a, b in zip(flatten(got)[0], flatten(want)[0], strict=True):
        assert np.shape(a) == np.shape(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


ROUNDING = {True: 1e-12, False: 0.0}  # optimised programs add in another order, see compiler/spelling.py


@pytest.mark.parametrize("optimize", [True, False])
def test_the_seed_networks_gradients(network, optimize):
    f = mg.value_and_grad(loss_of, (0, 1, 2, 3))
    compiled = mg.compile(f, optimize=optimize)
    for _ in range(3):
        equal(compiled(*network), f(*network), ROUNDING[optimize])


def test_the_source_is_the_hand_written_backward_pass(network):
    compiled = mg.compile(mg.value_and_grad(loss_of, (0, 1, 2, 3)), optimize=False)
    compiled(*network)
    code = [line.split("#")[0].strip() for line in compiled.source.splitlines()]
    assert [line for line in code if line][1:] == [
        "def loss_of(w1, b1, w2, b2, x, y):",
        "h = x @ w1 + b1",
        "h_relu = np.maximum(h, 0)",
        "y_pred = h_relu @ w2 + b2",
        "error = y_pred - y",
        "loss = np.sum(error ** 2)",
        "grad_error = 2 * error",
        "grad_b2 = np.sum(grad_error, axis=0, keepdims=True)",
        "grad_h_relu = np.dot(grad_error, w2.T)",
        "grad_w2 = np.dot(h_relu.T, grad_error)",
        "grad_h = grad_h_relu * (h_relu > 0)",
        "grad_b1 = np.sum(grad_h, axis=0, keepdims=True)",
        "grad_w1 = np.dot(x.T, grad_h)",
        "return loss, (grad_w1, grad_b1, grad_w2, grad_b2)",
    ]


@pytest.mark.parametrize("optimize", [True, False])
def test_a_training_step_updates_its_arguments(network, optimize):
    def step(w1, b1, w2, b2, x, y):
        loss = loss_of(w1, b1, w2, b2, x, y)
        loss.backward()
        with mg.no_grad():
            for p in (w1, b1, w2, b2):
                p -= LEARNING_RATE * p.grad
                p.grad = None
        return loss

    mine, theirs = ([mg.tensor(p, requires_grad=True) for p in network[:4]] for _ in range(2))
    compiled = mg.compile(step, optimize=optimize)
    for _ in range(3):
        expected = step(*theirs, *network[4:])
        equal(compiled(*mine, *network[4:]), expected.data, ROUNDING[optimize])
        equal([p.data for p in mine], [p.data for p in theirs], ROUNDING[optimize])
        assert all(p.grad is None for p in mine)


def test_results_are_the_callers_own(network):
    compiled = mg.compile(mg.value_and_grad(loss_of, (0, 1, 2, 3)))
    _, first = compiled(*network)
    kept = [g.copy() for g in first]
    compiled(*(2 * a for a in network))
    equal(first, kept)


def test_threads_do_not_share_buffers(network):
    f = mg.value_and_grad(loss_of, (0, 1, 2, 3))
    compiled = mg.compile(f)
    compiled(*network)
    inputs = [tuple(a * scale for a in network) for scale in (1.0, 2.0, 3.0, 4.0)]
    expected = [f(*each) for each in inputs]
    results = [[] for _ in inputs]

    def work(i):
        results[i].extend(compiled(*inputs[i]) for _ in range(50))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, want in zip(results, expected, strict=True):
        for each in got:
            equal(each, want, ROUNDING[True])


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", TRAPS)
def test_programs_with_traps(name, dtype, optimize):
    f, shapes = TRAPS[name]
    compiled = mg.compile(f, optimize=optimize)
    for seed in (0, 1, 0):
        args = arguments(shapes, seed, dtype)
        with np.errstate(all="ignore"):
            compare(compiled(*args), f(*args), exact=not optimize)


def test_products_with_constants_are_rounded_as_they_are_written():
    f = TRAPS["constants whose product is rounded"][0]
    (x,) = arguments([(500,)])
    compare(mg.compile(f)(x), f(x), exact=True)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("f", UPDATES, ids=lambda f: f.__name__)
def test_reads_before_and_after_updates(f, optimize):
    compiled = mg.compile(f, optimize=optimize)
    mine, theirs = arguments([(3, 3)] * 2), arguments([(3, 3)] * 2)
    for _ in range(3):
        compare(compiled(*mine), f(*theirs), exact=False)
        compare(mine, theirs, exact=False)


def test_a_gradient_between_two_precisions():
    def f(x, z):
        return np.real(np.sum(x * z * 2))

    x, z = np.array([1.0, 2.0], np.float32), np.array([1 + 2j, 3 - 1j], np.complex64)
    for optimize in (True, False):
        got = mg.compile(mg.grad(f, (0, 1)), optimize=optimize)(x, z)
        compare(got, mg.grad(f, (0, 1))(x, z), exact=False)
        np.testing.assert_allclose(got[0], 2 * z.real)
        np.testing.assert_allclose(got[1], 2 * x)


def test_a_row_next_to_a_square_is_not_taken_in_blocks():
    """A vector with as many elements as rows still stands for the columns."""
    x, v = arguments([(512, 512), (512,)])
    f = lambda x, v: np.exp((x + v) * v) - v  # noqa: E731
    np.testing.assert_array_equal(mg.compile(f)(x, v), f(x, v))


LARGE_UPDATES = {
    "of itself": lambda w, x: np.sin(w) * x,
    "of a view of it": lambda w, x: np.sin(w.T) * x,
    "of its rows in reverse": lambda w, x: np.sin(w[::-1]) * x + w,
    "of a row of it": lambda w, x: np.sin(w) * w[3] * x,
    "of a product with it": lambda w, x: np.sin(w) * np.sum(w, axis=0) * x,
}


@pytest.mark.parametrize("name", LARGE_UPDATES)
def test_updates_of_large_arrays_in_blocks(name):
    def step(w, x):
        w -= 0.1 * LARGE_UPDATES[name](w, x)
        return np.sum(w)

    compiled = mg.compile(step)
    mine, theirs = arguments([(400, 400)] * 2), arguments([(400, 400)] * 2)
    for _ in range(3):
        compare((compiled(*mine), mine), (step(*theirs), theirs), exact=False)


@pytest.mark.parametrize("f", [lambda x: np.clip(0.5 - x, 0, None), lambda x: np.maximum(x, 0.5 * x), np.sin])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mean_of_nothing(f, dtype):
    """Its gradient holds no element, but is a multiple of 1 / 0."""
    x = np.zeros((0, 3), dtype)
    with np.errstate(all="ignore"):
        value, slope = mg.compile(mg.value_and_grad(lambda x: np.sum(f(x)) / x.size))(x)
    assert np.isnan(value)
    assert (slope.shape, slope.dtype) == (x.shape, dtype)


def test_numbers_for_which_python_raises():
    """Where Python floats raise, NumPy and programs give infinities and NaN."""

    def f(x, y):
        return x / y, y / x, np.sqrt(x), np.sqrt(y), x - y, -x * y

    compiled = mg.compile(f)
    with np.errstate(all="ignore"):
        for x, y in ((1.0, 2.0), (1.0, 0.0), (0.0, 0.0), (-1.0, -0.0), (-4.0, np.inf)):
            numbers = np.float64(x), np.float64(y)
            compare(compiled(*numbers), f(*numbers), exact=True)
        assert compiled.cache_info().misses == 1
        warned = mg.compile(f)
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        warned(np.float64(1.0), np.float64(0.0))


def test_an_updated_number():
    def step(s, x):
        s *= 2.0
        total = s * x[0] + s
        s += 1.0
        return total, s * 3.0

    for optimize in (True, False):
        compiled = mg.compile(step, optimize=optimize)
        mine, theirs, x = np.array(0.5), np.array(0.5), np.array([3.0, 4.0])
        for _ in range(3):
            compare(compiled(mine, x), step(theirs, x), exact=True)
            assert mine == theirs


def at_masks(x):
    y = x * 1.0
    y[y > 1] = 1
    y[y < -0.5] *= 2
    y[(x > 0) & (x < 1)] += np.sqrt(y[(x > 0) & (x < 1)])
    y[~(x > 0)] = -1 / (2 - y[~(x > 0)])
    return np.sum(y * x)


def mask_that_changes(x):
    y, mask = x * 1.0, x > 0
    before = same = y[mask]
    y[mask] = 0.5
    same -= 0.25
    y[mask] += before
    mask |= x < -1
    y[mask] *= 3
    return np.sum(y**2)


def rows_of_a_mask(x):
    y = x[:, None] * np.array([1.0, 2.0])
    y[x > 0] += np.array([1.0, 3.0])
    y[x.sum() > 0] *= 2
    return np.sum(y[x > 0] ** 2) + np.mean(y)


def of_what_a_mask_picks(x):
    known = ~np.isnan(x / (x > -0.5))
    return np.mean((x[known] - 1) ** 2) + np.log(x[x > 0]).sum() * np.any(x[known] > 1) + np.all(2 * x[x < 0] < -1)


def filled(x):
    many = np.full((2, 3), np.max(x)) + np.full(3, x[:1], dtype=np.float32).sum() + np.full(len(x), 2.0).sum()
    return np.sum(many * np.sum(x))


def lists_of_places(x):
    first, last = np.argmax(x), np.argmin(x)
    y = x * 1.0
    y[[first, last]] = y[[last, 0]]
    return np.sum(y * x) + np.sum(np.outer(x, y)[[first, 1], [0, last]])


@pytest.mark.parametrize("f", [at_masks, mask_that_changes, rows_of_a_mask, of_what_a_mask_picks, lists_of_places])
@pytest.mark.parametrize("settings", [{}, {"optimize": False}, {"backend": "numba"}])
def test_elements_that_values_pick(f, settings):
    """How many a mask picks differs from call to call, and so does their place."""
    if "backend" in settings:
        pytest.importorskip("numba")
    of_value, of_slope = mg.compile(f, **settings), mg.compile(mg.grad(f), **settings)
    with np.errstate(all="ignore"):
        for x in ([-1.5, 0.5, 2.0, -0.25], [0.5, -0.75, 1.5, 0.25], [3.0, 4.0, -1.0], [-1.0, -2.0, 0.0, -3.0, 0.7]):
            x = np.array(x)
            np.testing.assert_allclose(of_value(x), f(x), rtol=1e-12)
            np.testing.assert_allclose(of_slope(x), mg.grad(f)(x), rtol=1e-12)


def mask_of_other_axes(x):
    y = np.outer(x, x)
    y[x.sum(keepdims=True) > 0] += 1
    return y


def sum_at_a_mask_of_other_axes(x):
    return np.sum(np.outer(x, x)[(x > 0)[:, None]])


def number_at_a_mask_of_other_axes(x):
    y = np.outer(x, x)
    y[x.sum(keepdims=True) > 0] = x[0]
    return np.sum(y)


OTHER_AXES = [sum_at_a_mask_of_other_axes, number_at_a_mask_of_other_axes]


@pytest.mark.parametrize("f", [mask_of_other_axes, *OTHER_AXES, *map(mg.grad, OTHER_AXES)])
def test_a_mask_is_not_broadcast(f):
    for run in (f, mg.compile(f), mg.compile(f, optimize=False)):
        with pytest.raises(IndexError, match="boolean index did not match"):
            run(np.array([1.0, -1.0, 2.0]))


@pytest.mark.parametrize(
    "f",
    [
        lambda x, s: np.mean(x[x > 0] / s),
        lambda x, s: np.sum(s % x[x > 9] + x[x > 9] ** s / s),
        lambda x, s: s / x[x < 0],
    ],
)
@pytest.mark.parametrize("s", [np.array(0.0), np.float32(0.0), 0.0, 2.0])
def test_a_number_with_what_a_mask_picks(f, s):
    """The elements that the mask leaves out add nothing to the number's gradient."""
    x = np.array([2.0, -1.0])

    def total(x, s):
        return np.sum(f(x, s))

    with np.errstate(all="ignore"):
        for g in (total, mg.grad(total, 1), mg.grad(total)):
            for settings in ({}, {"optimize": False}):
                result, expected = mg.compile(g, **settings)(x, s), g(x, s)
                np.testing.assert_allclose(result, expected)
                assert result.dtype == expected.dtype


def between_two_masks(x):
    return np.sum(x[x > 0] * x[x > 1])


def from_another_mask(x):
    y = x * 1.0
    y[x > 0] = y[x > 1] * 2
    return y


def number_at_what_a_mask_picks(x):
    part = x[x > 0]
    part += 0.5
    return np.sum(part)


@pytest.mark.parametrize("f", [between_two_masks, from_another_mask, mg.grad(between_two_masks)])
def test_elements_that_different_masks_pick_are_not_combined(f):
    with pytest.raises(TypeError, match="mask as an index"):
        mg.compile(f)(np.array([2.0, 0.5, -1.0]))


def test_an_update_of_what_a_mask_picks_keeps_its_dtype():
    for run in (number_at_what_a_mask_picks, mg.compile(number_at_what_a_mask_picks)):
        with pytest.raises(TypeError, match=r"doesn't fit in a tensor|same_kind"):
            run(np.array([1, -1]))


def test_elements_that_a_mask_leaves_out_raise_no_warning():
    x = np.array([2.0, 0.0, -1.0])

    def f(x):
        return np.sum(1 / x[x > 0] + np.log(x[x > 0]))

    for g in (f, mg.grad(f)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_allclose(mg.compile(g)(x), g(x))


def test_what_a_mask_picks_is_broadcast_by_the_last_axis():
    """Which axis it is of all elements depends on how many the mask picks."""

    def f(x):
        y = np.outer(x, x)
        y[x > 0] = x[x > 0]
        return y

    with pytest.raises(TypeError, match="a mask as an index"):
        mg.compile(f)(np.array([-1.0, -1.0, 2.0]))


def test_arrays_filled_with_a_value():
    compiled = mg.compile(filled)
    for x in ([1.0, -2.0, 3.0], [0.5, 4.0]):
        np.testing.assert_allclose(compiled(np.array(x)), filled(np.array(x)), rtol=1e-12)


@pytest.mark.parametrize(
    "f", [lambda x: x[:1].reshape(()), lambda x: x[0, ...], lambda x: np.squeeze(x[:1]), lambda x: x[1:].sum()[...]]
)
def test_an_array_without_axes_changes_in_place(f):
    """Unlike a number: what shares its memory has the new value, or is refused."""

    def changed(x):
        whole = x * 1.0
        part = f(whole)
        other = part
        part *= 3.0
        return whole, other

    x = np.array([2.0, 5.0])
    with pytest.raises(RuntimeError, match="outdated") if np.shares_memory(f(x), x) else contextlib.nullcontext():
        compare(mg.compile(changed)(x), changed(x), exact=True)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[0, ...].copy(),
        lambda x: x[:1].reshape(()).astype(np.float32).copy(),
        lambda x: x[0].copy(),
        lambda x: x.mean().copy().astype(np.float32),
        lambda x: np.nanmax(x).copy(),
        lambda x: mg.grad(lambda v: np.sum(v**2))(x)[0],
        lambda x: mg.value_and_grad(lambda v: np.sum(v**2))(x)[0],
        lambda x: mg.jvp(lambda v: np.sum(v**2), (x,), (x,))[1] * 2,
    ],
)
def test_the_copy_of_an_array_without_axes_is_an_array(f):
    """And that of a number is a number, which an augmented assignment replaces, like
    what transforms return.
    """

    def changed(x):
        value = other = f(x)
        value += 3.0
        return other, isinstance(value, np.ndarray)

    x = np.array([2.0, 5.0])
    compare(mg.compile(changed)(x), changed(x), exact=True)


@pytest.mark.parametrize("settings", [{}, {"optimize": False}])
def test_the_item_of_an_array_without_axes_after_a_change(settings):
    """The program computes it as a number."""

    def changed(x):
        value = x[0, ...].copy()
        value *= 2
        value[...] = value + 1
        value[value > 1] -= x[1]
        return value * 1

    compiled = mg.compile(changed, **settings)
    for x in ([2.0, 5.0], [-1.0, 3.0]):
        compare(compiled(np.array(x)), changed(np.array(x)), exact=True)


@pytest.mark.parametrize("wrap", [lambda x: x.sum(), lambda x: x[0], lambda x: x @ x])
def test_numbers_have_no_items(wrap):
    def of_array(x):
        wrap(x)[...] = 5.0

    def of_number(x):
        x[...] = 5.0

    for f, arg in ((of_array, np.ones(3)), (of_number, np.float64(2.0)), (of_number, 2.0)):
        for settings in ({}, {"optimize": False}):
            for run in (f, mg.compile(f, **settings)):
                with pytest.raises(TypeError, match="object does not support item assignment"):
                    run(arg)
    array = np.array(2.0)
    mg.compile(of_number)(array)
    assert array == 5.0


def computed_rows(x):
    y, i = np.outer(x, x), np.argmax(x)
    y[i] *= 2
    y[:, i] -= y[np.argmin(x)]
    y[y[i] > 1] += 1
    return y


def class_after_an_update(x):
    y = np.outer(x, x)
    y[0] *= 2
    return y * 3 if isinstance(y, np.ndarray) else y


def two_rows(x):
    y, i, j = np.outer(x, x), np.argmax(x), np.argmin(x)
    part = y[i]
    part += 1
    y[j] = part
    return y


@pytest.mark.parametrize("f", [computed_rows, class_after_an_update])
def test_updated_rows(f):
    for compiled in (mg.compile(f), mg.compile(f, optimize=False)):
        for x in ([1.0, 2.0, -3.0], [3.0, 2.0, 1.0], [0.5, -1.0, 4.0, 2.0]):
            compare(compiled(np.array(x)), f(np.array(x)), exact=True)


def test_a_row_updated_in_place_of_another():
    """The places are the same in the first call, but not in all."""
    with pytest.raises(RuntimeError, match="outdated"):
        mg.compile(two_rows)(np.array([2.0, 2.0]))


def test_a_variable_passed_twice_is_one():
    def step(a, b):
        with mg.no_grad():
            a -= 1.0
        return a + b

    compiled = mg.compile(step)
    w, v = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([5.0, 7.0], requires_grad=True)
    for _ in range(2):
        before = w.data.copy()
        np.testing.assert_array_equal(plain(compiled(w, w)), 2 * (before - 1))
        np.testing.assert_array_equal(plain(compiled(v, w)), v.data + w.data)


class Pair(NamedTuple):
    x: Any
    y: Any


def one_or_two(q, k, v=None):
    v = k if v is None else v
    return np.sum(q * v) * (2 if q is k else 3) + np.sum(k)


def by_their_ids(q, k, *rest):
    return q * len({id(q), id(k), *map(id, rest)})


def in_a_list(q, *others):
    return q * sum(any(q is other for other in [array]) for array in others)


@pytest.mark.parametrize("f", [one_or_two, by_their_ids, in_a_list])
@pytest.mark.parametrize("sizes", ["auto", "fixed"])
def test_an_array_passed_twice_is_one(f, sizes):
    compiled, rng = mg.compile(f, sizes=sizes), np.random.default_rng(0)
    for n in (4, 6, 9, 6):
        a, b, c = rng.normal(size=(3, n, 2))
        for args in ((a, a), (a, b), (a, a, c), (a, b, a), (b, b, b), (a, b, c)):
            for _ in range(2):
                np.testing.assert_allclose(compiled(*args), f(*args), rtol=1e-12)
    assert compiled.cache_info().misses == 6 * (2 if sizes == "auto" else 3)  # six ways of being the same


def test_an_array_passed_twice_and_updated_is_one():
    def f(x, y):
        x *= 2
        return x + y if x is not y else x * y

    compiled = mg.compile(f)
    for mine, theirs in ((np.ones(3), np.ones(3)), (np.ones(2), np.ones(2))):
        compare(compiled(mine, mine), f(theirs, theirs), exact=True)
        compare(compiled(mine, mine * 3), f(theirs, theirs * 3), exact=True)
        compare(mine, theirs, exact=True)


def test_named_tuples():
    compiled = mg.compile(lambda p: Pair(p.y * 2, p.x + 1))
    for scale in (1.0, 2.0, 3.0):
        got = compiled(Pair(scale * np.ones(2), np.float64(scale)))
        assert type(got) is Pair
        compare(got, Pair(np.float64(2 * scale), scale * np.ones(2) + 1), exact=True)


def test_compiled_functions_in_compiled_functions_and_transforms():
    """A function called in a trace or by a transform becomes part of that program."""
    scale, w = np.array([1.0, 2.0]), mg.tensor([3.0, 4.0], requires_grad=True)
    inner = mg.compile(lambda v: v * v)
    for _ in range(2):
        inner(scale)
    outer = mg.compile(lambda x: x * inner(scale))
    np.testing.assert_array_equal(plain(outer(np.ones(2))), [1.0, 4.0])
    scale[:] = 5.0
    np.testing.assert_array_equal(plain(outer(np.ones(2))), [25.0, 25.0])
    square = mg.compile(lambda v: v * v)
    for _ in range(2):
        square(w)
    outer = mg.compile(lambda x: x * square(w))
    for factor in (1.0, 2.0, 0.5):
        with mg.no_grad():
            w *= factor
        np.testing.assert_array_equal(plain(outer(np.ones(2))), w.data**2)
    with_it, without = (mg.grad(lambda x, f=f: np.sum(f(w) * x))(np.ones(2)) for f in (square, lambda v: v * v))
    assert type(with_it) is type(without)
    np.testing.assert_array_equal(plain(with_it), [9.0, 16.0])


@pytest.mark.parametrize(
    "derivative",
    [
        mg.grad,
        lambda f: lambda x: mg.vjp(f, x)[1](1.0)[0],
        lambda f: lambda x: mg.jvp(f, (x,), (np.ones(2),))[1] * np.ones(2),
        lambda f: lambda x: np.sum(mg.hessian(f)(x), axis=0),
    ],
    ids=["grad", "vjp", "jvp", "hessian"],
)
def test_a_derivative_taken_under_no_grad_is_a_constant(derivative):
    def f(x):
        with mg.no_grad():
            slope = derivative(lambda y: np.sum(y**3))(x)
        return np.sum(x * slope)

    x = np.array([1.0, 2.0])
    compare(mg.compile(mg.grad(f))(x), mg.grad(f)(x), exact=True)


def both_of(x, y):
    return np.sum(x * y), np.linalg.qr(np.outer(x, y) + np.eye(2))[1]


CONSTANTS = {
    "value": lambda x: mg.value_and_grad(lambda y: np.sum(x * y**2))(x)[0],
    "aux": lambda x: mg.grad(lambda y: (np.sum(y**2), x * y), has_aux=True)(x)[1],
    "values of vjp": lambda x: mg.vjp(both_of, x, x)[0][1],
    "values of jvp": lambda x: mg.jvp(lambda y: x * y, (x,), (x,))[0],
    "tangent": lambda x: mg.jvp(lambda y: x * y, (x,), (x,))[1],
    "direction": lambda x: mg.hvp(lambda y: np.sum(x * y**3))(x, x),
    "cotangent": lambda x: mg.vjp(lambda y: x * y, x)[1](x)[0],
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_nothing_that_a_transform_returns_under_no_grad_has_a_derivative(name):
    def f(x):
        with mg.no_grad():
            constant = CONSTANTS[name](x)
        return np.sum(x * constant)

    x = np.array([1.0, 2.0])
    found = CONSTANTS[name](x) + np.zeros(2)
    for gradient in (mg.grad(f)(x), mg.compile(mg.grad(f))(x)):
        compare(gradient, found if found.ndim == 1 else np.sum(found, axis=0), exact=False)


def test_a_pullback_made_under_no_grad_passes_only_its_cotangent():
    def f(x, y):
        with mg.no_grad():
            _, pullback = mg.vjp(both_of, x, y)
        return sum(map(np.sum, pullback((np.sum(x), np.outer(x, x)))))

    x, y = np.array([1.0, 2.0]), np.array([0.5, 3.0])
    assert not mg.no_grad()(f)(mg.tensor(x, requires_grad=True), y).data.shape
    expected = mg.grad(f, argnums=(0, 1))(x, y)
    assert expected[0].any()
    assert not expected[1].any()
    compare(mg.compile(mg.grad(f, argnums=(0, 1)))(x, y), expected, exact=False)


@pytest.mark.parametrize("rows", [512, 521, 1000])  # blocks of equal sizes, and a smaller last one
def test_blocks_of_large_arrays(rows):
    x, y = arguments([(rows, 300), (rows, 1)])

    def f(x, y):
        h = np.maximum(x * y + 1.0, 0)
        return np.tanh(h) * y, np.sum(h, axis=0)

    for scale in (1.0, -2.0):
        compare(mg.compile(f)(scale * x, y), f(scale * x, y), exact=False)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool, np.float32])
def test_large_arrays_in_other_dtypes(dtype):
    (x,) = arguments([(400, 1000)])
    compare(
        mg.compile(lambda x: (np.tanh(x) * 3).astype(dtype))(abs(x)), (np.tanh(abs(x)) * 3).astype(dtype), exact=True
    )


def test_results_of_equal_value_share_no_memory():
    w, v = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0, 4.0], requires_grad=True)

    def f(x):
        np.sum((w + v) * x).backward()
        return x * 2, x * 2, (x * 2).copy(), w.grad, v.grad

    compiled = mg.compile(f)
    for _ in range(3):
        w.grad = v.grad = None
        found = [*(plain(part) for part in compiled(np.ones(2))), w.grad, v.grad]
        for i, array in enumerate(found):
            assert not any(np.shares_memory(array, other) for other in found[:i])


def test_large_arrays_of_several_threads():
    """Other threads run during NumPy's long calls; shared buffers would collide."""

    def f(x):
        y = x @ x
        return np.sum(np.tanh(y) @ y)

    compiled = mg.compile(f)
    work = [x / 20 for x in (arguments([(400, 400)], seed)[0] for seed in range(4))]
    compiled(work[0])
    expected = [f(x) for x in work]
    found = [[] for _ in work]
    threads = [
        threading.Thread(target=lambda i: found[i].extend(compiled(work[i]) for _ in range(4)), args=(i,))
        for i in range(len(work))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, [want] * 4, rtol=1e-9)


FORK = """
import os, signal, sys, threading
import numpy as np, microgradnd as mg
from microgradnd.compiler.compiled import TRACING

is_held, is_forking = threading.Event(), threading.Event()
os.register_at_fork(before=is_forking.set)

def trace():
    with TRACING:
        is_held.set()
        is_forking.wait()

threading.Thread(target=trace).start()
is_held.wait()
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
signal.alarm(20)
os._exit(int(mg.compile(lambda x: x * 7)(np.ones(1))[0]))
"""


def test_a_process_that_is_forked_while_another_thread_traces():
    pytest.importorskip("posix")
    done = subprocess.run([sys.executable, "-c", FORK], check=False)
    assert done.returncode == 7


def test_the_state_of_a_tensor_selects_the_program_in_each_call():
    """The quick way must check everything that the program depends on."""
    compiled = mg.compile(lambda w: w * 2 if w.requires_grad else w * 3)
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    for requires_grad in (True, True, False, False, True):
        w.requires_grad = requires_grad
        np.testing.assert_array_equal(plain(compiled(w)), w.data * (2 if requires_grad else 3))
    with mg.no_grad():
        w *= 10
    np.testing.assert_array_equal(plain(compiled(w)), [20.0, 40.0])


@pytest.mark.parametrize("same_shape", [True, False])
def test_the_type_of_an_array_selects_the_program_in_each_call(same_shape):
    compiled = mg.compile(lambda x: (x * 3, np.mean(x), len(x)))
    for dtype in (np.float64, np.float64, np.float32, np.float32, np.int64, np.float64):
        for n in (3,) if same_shape else (3, 3, 4, 1):
            x = np.arange(n, dtype=dtype)
            compare(compiled(x), (x * 3, np.mean(x), n), exact=True)


def test_numbers_and_strings_select_the_program_in_each_call():
    compiled = mg.compile(lambda x, how, scale: (x * scale if how == "times" else x + scale, {"n": scale}))
    x = np.arange(3.0)
    for how, scale in [
        ("times", 2),
        ("times", 2),
        ("plus", 2),
        ("times", 2.0),
        ("times", 3.0),
        ("times", 1),
        ("times", True),
        ("times", 1),
    ]:
        got, want = compiled(x, how, scale), (x * scale if how == "times" else x + scale)
        np.testing.assert_array_equal(got[0], want)
        assert got[1]["n"] == scale
        assert isinstance(got[1]["n"], bool) == isinstance(scale, bool)

    def f(parts):
        return sum(part * (2 if key == "a" else 3) for key, part in parts.items())

    nested = mg.compile(f)
    for parts in ({"a": 1.0}, {"a": 1.0}, {"b": 1.0}, {"a": 1.0, "b": 2.0}, {"a": 2.0, "b": x}, {"b": x}, {"a": x}):
        np.testing.assert_array_equal(nested(parts), f(parts))


def test_signatures_have_programs_of_their_own():
    compiled = mg.compile(lambda x, power: x**power, maxsize=2)
    equal(compiled(np.arange(3.0), 3), np.arange(3.0) ** 3)
    equal(compiled(np.arange(3.0), 3), np.arange(3.0) ** 3)
    equal(compiled(np.arange(3.0), 2), np.arange(3.0) ** 2)
    equal(compiled(np.arange(4.0, dtype=np.float32), 2), np.arange(4.0, dtype=np.float32) ** 2)
    assert compiled.cache_info() == (1, 3, 2, 2)


def test_structures_and_modules():
    compiled = mg.compile(lambda p: {"a": p["x"] * 2, "b": [p["y"][0], 5]})
    got = compiled({"x": np.ones(2), "y": (3.0,)})
    equal(got["a"], np.full(2, 2.0))
    assert got["b"] == [3.0, 5]
    rng = np.random.default_rng(0)
    model = mg.nn.Sequential(mg.nn.Linear(3, 4, rng=rng), mg.nn.Tanh(), mg.nn.Linear(4, 5, rng=rng))
    x, labels = rng.normal(size=(7, 3)), rng.integers(0, 5, 7)
    f = mg.value_and_grad(lambda m, x, labels: mg.nn.functional.cross_entropy(m(x), labels))
    for optimize in (True, False):
        got, want = mg.compile(f, optimize=optimize)(model, x, labels), f(model, x, labels)
        for a, b in zip(flatten(got)[0], flatten(want)[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    assert mg.compile(f)(model, x, (labels + 1) % 5)[0] != want[0]


def test_changes_of_captured_arrays_are_noticed():
    scale, w = np.array([2.0, 3.0]), mg.tensor([1.0, 1.0], requires_grad=True)
    compiled = mg.compile(lambda x: np.sum(x * scale * w))
    x = np.ones(2)
    assert compiled(x) == 5.0
    scale[0] = 10.0
    assert compiled(x) == 13.0
    with mg.no_grad():
        w *= 2
    assert compiled(x) == 26.0
    assert w.grad is None


REFUSED = {
    "if": lambda x: x if x.sum() > 0 else -x,
    "float": lambda x: x * float(x[0]),
    "int": lambda x: x[int(x[0])],
    "item": lambda x: x if x.sum().item() > 0 else -x,
    "tolist": lambda x: x.tolist(),
    "range": lambda x: sum(range(x[0])),
    "mask": lambda x: x[(x > 0,)],
}


@pytest.mark.parametrize("f", REFUSED.values(), ids=REFUSED)
def test_dependence_on_values_is_refused_with_advice(f):
    with pytest.raises(TypeError, match=r"inside a compiled function.*line.*np\.where"):
        mg.compile(f)(np.arange(3.0))
    assert (mg.tensor([1.0], requires_grad=True) * 2).requires_grad  # the trace has ended


def test_source_before_the_first_call():
    with pytest.raises(RuntimeError, match="call the compiled function once"):
        _ = mg.compile(np.sin).source


@given(arrays())
def test_second_derivatives(x):
    f = mg.hvp(lambda v: np.sum(np.sin(v) * v * v))
    for optimize in (True, False):
        np.testing.assert_allclose(mg.compile(f, optimize=optimize)(x, x + 1), f(x, x + 1), rtol=1e-12, atol=1e-12)


COMPILED_ROWS = [row for row in ROWS if row.name in {"sin", "multiply", "power", "where-mask", "absolute", "sum-axis"}]
COMPILED_ROWS += [
    row for row in ROWS if row.name.startswith(("matmul-", "getitem-", "concatenate-", "mean-", "reshape-"))
]


@pytest.mark.parametrize("row", COMPILED_ROWS, ids=lambda row: row.name)
def test_rows_compile_to_the_same_numbers(row):
    def f(*args):
        value, pullback = mg.vjp(row.call, *args)
        return value, pullback(np.cos(value))

    @given(row.inputs)
    def law(args):
        want = f(*args)
        for optimize in (True, False):
            got = mg.compile(f, optimize=optimize)(*args)
            for a, b in zip(flatten(got)[0], flatten(want)[0], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)

    law()


class Line(NamedTuple):
    slope: float
    offset: float


def test_a_primitive_that_looks_at_values_takes_a_namedtuple():
    @mg.primitive
    def on_line(x, line):
        return np.asarray(x) * line.slope + line.offset if np.asarray(x).max() > 0 else x

    mg.defvjp(on_line, lambda g, out, x, line: g * line.slope)

    def f(x):
        return np.sum(on_line(np.tanh(x) * 1, Line(2.0, 3.0)))

    compiled = mg.compile(mg.value_and_grad(f))
    for n in (3, 5, 7):
        equal(compiled(np.arange(1.0, n)), mg.value_and_grad(f)(np.arange(1.0, n)), 1e-12)
