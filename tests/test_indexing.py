"""Reading: `t[index]`, and the scattering of its gradients.

Owns: the ways in which gradients of repeated elements are added, and arrays that can't
be written to.
Must not own: each form of index (`tests/rows/indexing.py`), assignment
(`test_assignment.py`).
Read next: `test_assignment.py`.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.primitives import getitem, is_basic, scatter
from microgradnd.rules import indexing as rules
from microgradnd.tape import walk
from tests.rows.indexing import INDICES

SEEDS = st.integers(0, 2**20)


class Frozen:
    """An array that speaks NumPy's protocols and can't be written to, as Dask's
    can't.
    """

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype, self.ndim, self.size = array.shape, array.dtype, array.ndim, array.size

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return Frozen(getattr(ufunc, method)(*map(thawed, inputs), **kwargs))

    def __array_function__(self, function, types, args, kwargs):
        return Frozen(function(*map(thawed, args), **kwargs))

    def __getitem__(self, index):
        return Frozen(self.array[index])

    def __add__(self, other):
        return np.add(self, other)


def thawed(x):
    if isinstance(x, list):
        return [thawed(part) for part in x]
    return x.array if isinstance(x, Frozen) else x


def added_one_by_one(values, index, shape):
    out = np.zeros(shape, values.dtype)
    np.add.at(out, index, values)
    return out


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_arrays_that_cannot_be_written_to_are_scattered(index):
    values = np.random.default_rng(0).normal(size=np.zeros((3, 4))[index].shape)
    out = scatter(Frozen(np.array(values)), index, (3, 4))
    assert isinstance(out, Frozen)
    np.testing.assert_allclose(out.array, added_one_by_one(values, index, (3, 4)), rtol=1e-14)


@given(SEEDS, st.sampled_from([np.uint8, np.int16, np.int64]), st.sampled_from([np.float64, np.float32, np.complex64]))
def test_many_rows_of_a_table(seed, kind, dtype):
    rng = np.random.default_rng(seed)
    rows, width, count = rng.integers(1, 200), rng.integers(1, 60), rng.integers(0, 60)
    index = rng.integers(0 if kind == np.uint8 else -rows, rows, size=(count, 3)).astype(kind)
    values = rng.integers(-9, 9, size=(count, 3, width)).astype(dtype)
    out = scatter(values, index, (rows, width))
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, added_one_by_one(values, index, (rows, width)))


@given(SEEDS)
def test_many_elements_at_a_mixed_index(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(5, 40)
    for index in (
        (slice(None), rng.integers(-n, n, 30)),
        (rng.integers(0, n, 30), slice(None, None, -1)),
        (rng.integers(0, n, (9, 1)), None, rng.integers(0, n, 9)),
    ):
        values = rng.integers(-9, 9, size=np.zeros((n, n))[index].shape).astype(float)
        np.testing.assert_array_equal(scatter(values, index, (n, n)), added_one_by_one(values, index, (n, n)))


def test_what_is_basic():
    for index in (0, np.int16(1), slice(2), None, ..., (), (0, slice(1), None, ...)):
        assert is_basic(index)
    for index in (True, np.True_, [0], np.array(0), (0, [1]), (slice(None), False), 1.0):
        assert not is_basic(index)


def test_indices_may_be_tensors():
    t = mg.tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    rows, columns = mg.tensor([2, 0, 2]), mg.tensor([1, 1, 1])
    for index in (rows, (rows, columns), (rows, slice(None)), [mg.tensor(1), 0], t > 3, (..., mg.tensor(1))):
        t.grad = None
        picked = t[index]
        picked.sum().backward()
        assert t.grad.sum() == picked.size
    assert t[mg.tensor(1), mg.tensor(2)].item() == 6.0


def test_an_index_that_does_not_fit():
    t = mg.tensor(np.zeros((3, 4)), requires_grad=True)
    with pytest.raises(IndexError, match="out of bounds"):
        t[3]
    with pytest.raises(IndexError, match="too many indices"):
        t[0, 0, 0]
    with pytest.raises(IndexError):
        t[1.0]


@given(SEEDS, st.sampled_from([(5, 6, 7), (3, 4, 5, 2)]), st.sampled_from([1, 20]))
def test_large_gradients_of_several_axes_are_scattered(seed, shape, repeats):
    """Past 256 values an index along the first axes takes another way."""
    rng = np.random.default_rng(seed)
    for index in (
        rng.integers(0, shape[0], 9 * repeats),
        rng.integers(-shape[0], shape[0], (3, 5 * repeats)),
        (rng.integers(0, shape[0], 60 * repeats), rng.integers(0, shape[1], 60 * repeats)),
        (slice(None), rng.integers(0, shape[1], 9 * repeats)),
    ):
        values = rng.normal(size=np.zeros(shape)[index].shape)
        np.testing.assert_allclose(scatter(values, index, shape), added_one_by_one(values, index, shape), atol=1e-12)
        gradient = mg.vjp(lambda x, index=index: x[index], np.ones(shape))[1](values)[0]
        np.testing.assert_allclose(gradient, added_one_by_one(values, index, shape), atol=1e-12)


PARTS = {  # what is picked, in this order; the rest of the array gets nothing
    "rows": [0, 1, 2, 1, -1],
    "elements": [(0, 1), (2, 0), (0, 1), (0, -2)],
    "slices": [slice(0, 2), slice(1, 3), slice(None, None, -1), slice(2, 2)],
    "columns": [(slice(None), 1), (..., 0), (slice(None), None, 1)],
    "kinds": [1, [0, 0, 2], np.array([True, False, True]), (0, [1, 1]), ..., (slice(None), 0), 1],
    "tensors": [mg.tensor(1), slice(0, 2), np.int64(2)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_the_gradients_of_many_parts_of_an_array(parts, computed, dtype):
    """Part i, times i + 1 and squared, has the gradient 2 (i + 1)^2 part: equal in
    every way of walking.
    """
    data = np.arange(1.0, 10.0).reshape(3, 3).astype(dtype)
    right = np.zeros_like(data)
    for i, index in enumerate(parts):
        index = index.data if isinstance(index, mg.Tensor) else index
        np.add.at(right, index, 2 * (i + 1) ** 2 * data[index])

    def loss(x):
        x = +x if computed else x
        return sum(np.sum((x[index] * (i + 1)) ** 2) for i, index in enumerate(parts)) + 0 * x[0, 0]

    def gradient(options):
        x = mg.tensor(data, requires_grad=True)
        out = loss(x)
        (out.real if dtype is np.complex128 else out).backward(**options)
        return x.grad if isinstance(x.grad, np.ndarray) else x.grad.data

    for options in ({}, {"retain_graph": True}, {"create_graph": True}):
        found = gradient(options)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, np.conj(right), rtol=1e-6)
    with mg.detect_anomaly():
        np.testing.assert_allclose(gradient({}), np.conj(right), rtol=1e-6)
    if dtype is not np.complex128:
        np.testing.assert_allclose(mg.grad(loss)(data), right, rtol=1e-6)
        twice = mg.grad(lambda x: np.sum(mg.grad(loss)(x) ** 2))(data)
        counts = right / data  # the second derivatives, a diagonal matrix
        np.testing.assert_allclose(twice, 2 * counts * right, rtol=1e-6)


def test_a_gradient_that_is_given_to_backward_stays_as_it_is():
    """What arrived first belongs to the user, or to another rule: nothing is added to
    that in place.
    """
    x = mg.tensor(np.ones((3, 2)), requires_grad=True)
    y = x * 1.0
    g = np.ones((3, 2))
    seen = []
    y.register_hook(lambda g: seen.append(g))
    z = np.concatenate([y[i] for i in range(3)] + [y[0]]).sum()
    mg.grad(lambda v: np.sum(v[0] * v[0] + v[1]))(np.ones((3, 2)))
    z.backward(retain_graph=True)
    np.testing.assert_array_equal(seen[0], [[2, 2], [1, 1], [1, 1]])
    y.backward(g, retain_graph=True)
    np.testing.assert_array_equal(g, 1.0)
    both = y + 0.0
    w = np.sum(both * g) + np.sum(y[0] * 3.0) + np.sum(y[0])
    x.grad = None
    w.backward()
    np.testing.assert_array_equal(x.grad, [[5, 5], [1, 1], [1, 1]])
    np.testing.assert_array_equal(g, 1.0)


def test_the_same_array_arrives_twice():
    """The gradient of y + v is one array for both; the parts of y are added to y's
    alone.
    """
    x, v = mg.tensor(np.ones(3), requires_grad=True), mg.tensor(np.ones(3), requires_grad=True)
    first, second = x[0] * 2.0, x[1] * 3.0
    (np.sum((x + v) * 5.0) + first + second).backward()
    np.testing.assert_array_equal(x.grad, [7, 8, 5])
    np.testing.assert_array_equal(v.grad, [5, 5, 5])


def test_parts_of_a_variable_that_is_frozen_after_use():
    x = mg.tensor(np.ones(3), requires_grad=True)
    w = mg.tensor(2.0, requires_grad=True)
    out = x[0] * w + x[1] * w + x[0] * w
    x.requires_grad = False
    out.backward()
    assert x.grad is None
    assert w.grad == 3.0


def test_a_part_in_another_dtype():
    x = mg.tensor(np.ones(3, np.float32), requires_grad=True)
    (np.sum(x[:2] * np.float64(3)) + np.sum(x[1:].astype(float) * 1e-12) + x[0] * np.float64(2)).backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(x.grad, [5, 3, 1e-12], rtol=1e-6)


def test_a_loop_over_rows_makes_one_array_of_zeros(monkeypatch):
    made = []

    def counted(*call):
        made.append(1)
        return scatter(*call)

    monkeypatch.setattr(rules, "scatter", counted)
    x = mg.tensor(np.ones((50, 2)), requires_grad=True)
    sum(np.sum(x[t]) for t in range(50)).backward()
    np.testing.assert_array_equal(x.grad, np.ones((50, 2)))
    assert len(made) == 1


def test_a_walk_that_shows_its_steps_shows_the_gradient_of_each_part():
    x = mg.tensor(np.ones((3, 2)), requires_grad=True)
    total = sum(np.sum(x[t] * (t + 1.0)) for t in range(3))
    shown = []
    walk([(total._node, np.float64(1))], done=lambda node, g, parts: shown.append((node.function, parts)))
    found = [parts for function, parts in shown if function is getitem]
    for t, parts in zip([2, 1, 0], found, strict=True):
        ((_, part),) = parts
        np.testing.assert_array_equal(part, np.eye(3)[:, t : t + 1] * (t + 1.0) * np.ones(2))
