"""Batches, parts, and features on one scale.

Owns: each row comes once, rows stay together, and little of a memory-mapped array is
in memory.
Must not own: training (`test_fit.py`).
Read next: `test_fit.py`.
"""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import data

SIZES = st.integers(1, 40)
SEEDS = st.integers(0, 2**32)


@given(n=SIZES, size=SIZES, shuffle=st.booleans(), seed=SEEDS)
def test_each_row_comes_once_and_rows_stay_together(n, size, shuffle, seed):
    x, y = np.arange(3.0 * n).reshape(n, 3), np.arange(n)
    found = list(data.batches(x, y, size=size, shuffle=shuffle, rng=np.random.default_rng(seed)))
    assert [len(rows) for rows, _ in found] == [size] * (n // size) + [n % size] * (n % size > 0)
    order = np.concatenate([numbers for _, numbers in found])
    assert sorted(order) == list(range(n))
    assert shuffle or list(order) == list(range(n))
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in found]), x[order])


@given(n=SIZES, size=SIZES, seed=SEEDS)
def test_drop_last_leaves_full_batches_of_the_same_order(n, size, seed):
    if n < size:
        with pytest.raises(ValueError, match="drop_last=True leaves no batch"):
            data.batches(np.arange(n), size=size, drop_last=True)
        return
    kept, every = (
        [rows for (rows,) in data.batches(np.arange(n), size=size, shuffle=True, rng=rng, drop_last=drop_last)]
        for rng, drop_last in ((np.random.default_rng(seed), True), (np.random.default_rng(seed), False))
    )
    np.testing.assert_array_equal(kept, every[: n // size])


def test_mistakes_are_found_before_the_first_batch():
    with pytest.raises(ValueError, match=r"same number of rows, got shapes \(3,\), \(4,\)"):
        data.batches(np.ones(3), np.ones(4), size=2)
    with pytest.raises(ValueError, match="at least one row"):
        data.batches(np.ones((0, 3)), size=2)


def test_batches_in_order_are_views_and_tensors_stay_tensors():
    x = np.arange(6.0)
    assert all(np.shares_memory(rows, x) for (rows,) in data.batches(x, size=4))
    assert not any(
        np.shares_memory(rows, x) for (rows,) in data.batches(x, size=4, shuffle=True, rng=np.random.default_rng(0))
    )
    w = mg.tensor(x, requires_grad=True)
    sum(np.sum(rows * rows) for (rows,) in data.batches(w, size=4)).backward()
    np.testing.assert_array_equal(w.grad, 2 * x)


@pytest.fixture
def large(tmp_path):
    """Return a memory-mapped array of 1 GiB, whose file is mostly a hole."""
    array = np.memmap(tmp_path / "large", np.float64, "w+", shape=(2**17, 1024))
    array[0], array[-1] = 1.0, 2.0
    return array


@pytest.mark.parametrize("shuffle", [False, True])
def test_only_the_batch_of_a_memory_mapped_array_is_in_memory(large, shuffle):
    rng = np.random.default_rng(0)
    tracemalloc.start()
    training, validation = data.split(large, sizes=(0.75, 0.25), shuffle=shuffle, rng=rng)
    for part in ((large,), training, validation):
        (rows,) = next(data.batches(*part, size=100, shuffle=shuffle, rng=rng))
        assert type(rows) is np.ndarray
        assert rows.shape == (100, 1024)
        assert not np.shares_memory(rows, large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * (8 * 2**17 + rows.nbytes)  # the order of the rows, and a batch


@pytest.mark.parametrize("shuffle", [False, True])
def test_parts_of_a_memory_mapped_array_match_the_array(tmp_path, shuffle):
    x = np.random.default_rng(0).normal(size=(20, 3))
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    plain, lazy = (
        data.split(array, sizes=(12, 8), shuffle=shuffle, rng=np.random.default_rng(1)) for array in (x, mapped)
    )
    again = data.split(*lazy[0], sizes=(0.5, 0.5), shuffle=False)
    for (expected,), (part,) in zip(plain, lazy, strict=True):
        np.testing.assert_array_equal(np.asarray(part), expected)
        for (a,), (b,) in zip(data.batches(expected, size=5), data.batches(part, size=5), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.concatenate([np.asarray(part) for (part,) in again]), plain[0][0])


@given(n=st.integers(1, 200), fraction=st.floats(0.05, 0.95), seed=SEEDS, shuffle=st.booleans())
def test_parts_hold_each_row_once(n, fraction, seed, shuffle):
    x = np.arange(n)
    sizes = (fraction, 1 - fraction)
    if 0 in (round(n * fraction), n - round(n * fraction)):
        with pytest.raises(ValueError, match="at least one row"):
            data.split(x, sizes=sizes)
        return
    parts = data.split(x, 2 * x, sizes=sizes, shuffle=shuffle, rng=np.random.default_rng(seed))
    together = np.concatenate([rows for rows, _ in parts])
    assert sorted(together) == list(range(n))
    assert shuffle or list(together) == list(range(n))
    assert abs(len(parts[0][0]) - n * fraction) <= 0.5
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in parts]), 2 * together)


@given(
    n=st.integers(1, 50),
    dtype=st.sampled_from([np.float32, np.float64, np.int32]),
    block=st.sampled_from([1, 100, 2**24]),
    seed=SEEDS,
)
def test_standardised_features_have_mean_0_and_deviation_1(n, dtype, block, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, 2, 3)) * 100 + [1.0, 1000.0, 10.0]).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "BLOCK", block)
        scale = data.standardise(x)
    wide = x.astype(np.float64)
    expected = np.where(wide.std(axis=0) > 0, wide.std(axis=0), 1.0)
    rtol = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(scale.mean, wide.mean(axis=0), rtol=rtol)
    np.testing.assert_allclose(scale.std, expected, rtol=rtol)
    assert scale(x).dtype == (np.float64 if dtype == np.int32 else dtype)
    eps = np.finfo(scale.mean.dtype).eps
    np.testing.assert_allclose(scale.inverse(scale(x)), x, rtol=0, atol=8 * eps * np.abs(wide).max())


def test_a_constant_feature_stays_finite():
    scale = data.standardise(np.full((1000, 2), [0.1, 1e9]))
    np.testing.assert_array_equal(scale.std, 1.0)


def test_a_scale_is_differentiated_and_compiled():
    scale = data.standardise(np.array([[1.0, 10.0], [3.0, 30.0]]))
    gradient = mg.grad(lambda x: np.sum(scale(x)))
    x = np.ones((4, 2))
    np.testing.assert_array_equal(gradient(x), np.broadcast_to([1.0, 0.1], (4, 2)))
    np.testing.assert_array_equal(mg.compile(gradient)(x), gradient(x))
