"""Programs that are taken block by block, products and sums over rows included: they
give what the function gives.

The limits from which arrays are taken in blocks are small here, so that small arrays
are.
"""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest

import microgradnd as mg
import microgradnd.nn.functional as F

blocks = importlib.import_module("microgradnd.compiler.blocks")  # the package knows the function by this name
RNG = np.random.default_rng(0)


def weights(*shapes, dtype=np.float64):
    return [np.asarray(RNG.normal(size=shape) * 0.5, dtype) for shape in shapes]


@pytest.fixture(params=[(7, 64), (13, 300)], ids=["blocks of few rows", "blocks of more rows"])
def small_limits(request, monkeypatch):
    monkeypatch.setattr(blocks, "TALL", request.param[0])
    monkeypatch.setattr(blocks, "LARGE", 12)
    monkeypatch.setattr(blocks, "BLOCK", request.param[1])
    monkeypatch.setattr(blocks, "CACHE", 16 * request.param[1])


def two_layers(x, y, w1, b1, w2, b2):
    return np.sum((np.maximum(x @ w1 + b1, 0) @ w2 + b2 - y) ** 2)


def loss_and_gradients(x, y, w1, b1, w2, b2):
    return mg.value_and_grad(two_layers, argnums=(1, 2, 3, 4, 5))(x, y, w1, b1, w2, b2)


def hidden_too(x, y, w1, b1, w2, b2):
    h = np.tanh(x @ w1 + b1)
    return h, np.sum(h, axis=0), h @ w2, h.T


def transposed_twice(x, y, w1, b1, w2, b2):
    h = np.tanh(x @ w1)
    return h.T @ (h * 2.0), h.T @ y, h.T


def standardised(x, y, w1, b1, w2, b2):
    """A sum over all rows goes into each row again: two loops."""
    h = x @ w1 + b1
    z = (h - np.mean(h, axis=0)) / np.sqrt(np.mean((h - np.mean(h, axis=0)) ** 2, axis=0) + 1e-5)
    return np.tanh(z) @ w2, np.sum(z * z)


def softmax(x, y, w1, b1, w2, b2):
    z = x @ w1
    p = np.exp(z - np.max(z, axis=1, keepdims=True))
    return p / np.sum(p, axis=1, keepdims=True)


def classified(x, y, w1, b1, w2, b2):
    labels = np.arange(len(x)) % w1.shape[1]
    return mg.value_and_grad(lambda w, b: F.cross_entropy(x @ w + b, labels))(w1, b1)


def with_itself(x, y, w1, b1, w2, b2):
    """The rows as a matrix that rows are multiplied with."""
    h = np.tanh(x @ w1)
    return h @ h.T, h.T @ h, np.vdot(h, h)


def of_rows_and_whole(x, y, w1, b1, w2, b2):
    h = np.tanh(x) * 2.0
    return np.sin(h) + x[0], np.cumsum(h, axis=0) * 2.0, h.T @ x


def means(x, y, w1, b1, w2, b2):
    r = (x @ w1) ** 2
    return np.mean(r), np.sum(r), np.mean(r, axis=0), np.mean(r, axis=1), np.max(r), np.max(r, axis=0)


def scaled_by_a_sum(x, y, w1, b1, w2, b2):
    h = np.tanh(x @ w1)
    return h / np.sum(h * h), h * np.sum(h, axis=0), np.sum(h, axis=0) * 2.0


def updated(x, y, w1, b1, w2, b2):
    """A step of gradient descent, and an update of something with all rows."""
    loss, (_, g1, h1, g2, h2) = loss_and_gradients(x, y, w1, b1, w2, b2)
    w1 -= 0.01 * g1
    b1 -= 0.01 * h1
    w2 -= 0.01 * g2
    b2 -= 0.01 * h2
    y *= 0.5
    y += x @ w1 @ w2
    return loss


def several_layers(x, y, w1, b1, w2, b2):
    def loss(w1, w2):
        h = np.tanh(x @ w1)
        for _ in range(3):
            h = np.tanh(h @ (w1.T @ w1)) + h
        return np.sum((h @ w2 - y) ** 2)

    return mg.value_and_grad(loss, argnums=(0, 1))(w1, w2)


CASES = [
    loss_and_gradients,
    hidden_too,
    transposed_twice,
    standardised,
    softmax,
    classified,
    with_itself,
    of_rows_and_whole,
    means,
    scaled_by_a_sum,
    updated,
    several_layers,
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("rows", [24, 29], ids=["even blocks", "a shorter last block"])
@pytest.mark.parametrize("f", CASES)
def test_a_program_in_blocks_gives_what_the_function_gives(f, rows, dtype, small_limits):
    given = weights((rows, 3), (rows, 1), (3, 4), (4,), (4, 1), (1,), dtype=dtype)
    eager, compiled = [x.copy() for x in given], [x.copy() for x in given]
    program = mg.compile(f)
    for _ in range(3):
        right, found = f(*eager), program(*compiled)
        check(found, right, dtype)
        check(compiled, eager, dtype)


@pytest.mark.parametrize("f", CASES)
def test_rows_as_many_as_columns(f, small_limits):
    """No array is recognised by its length alone."""
    given = weights((16, 16), (16, 1), (16, 16), (16,), (16, 1), (1,))
    eager, compiled = [x.copy() for x in given], [x.copy() for x in given]
    check(mg.compile(f)(*compiled), f(*eager), np.float64)
    check(compiled, eager, np.float64)


def check(found, right, dtype):
    tolerance = 1e-10 if dtype == np.float64 else 2e-4
    if isinstance(right, tuple | list):
        for a, b in zip(found, right, strict=True):
            check(a, b, dtype)
        return
    assert found.dtype == right.dtype
    np.testing.assert_allclose(found, right, rtol=tolerance, atol=tolerance * max(1.0, np.max(np.abs(right))))


def of_a_view(x, y, w1, b1, w2, b2):
    """The rows are needed for their transpose when nothing else needs them."""
    h = np.tanh(x @ w1)
    return h.T @ (np.sin(h * 2.0) * 3.0)


def of_products(x, y, w1, b1, w2, b2):
    h = np.tanh(x @ w1)
    for _ in range(3):
        h = h @ w1[:3].T @ w1[:3]
    return np.sum(np.sin(h))


def over_what_is_read(x, y, w1, b1, w2, b2):
    h = np.cumsum(np.tanh(x @ w1) * 2.0, axis=0)
    g = h @ (w1.T @ w1)
    return np.sum(np.sin(g), axis=0), np.cumsum(g, axis=0)


def of_choices(x, y, w1, b1, w2, b2):
    h = np.tanh(x @ w1)
    a, b = h * 3.0, np.sin(h)
    c, d = np.where(h > 0, a, b), np.where(h < 0.1, np.cos(b), a)
    return np.sum(c, axis=0), np.sum(np.where(c > d, d * 2.0, c * 3.0), axis=0), np.sum(a, axis=0)


@pytest.mark.parametrize("f", [of_a_view, of_products, over_what_is_read, of_choices])
def test_blocks_as_large_as_the_matrices(f, monkeypatch):
    """A block of four rows of four has the shape of the sums and matrices; it is
    another array all the same.
    """
    for name, limit in {"TALL": 7, "LARGE": 12, "BLOCK": 32, "CACHE": 10**6}.items():
        monkeypatch.setattr(blocks, name, limit)
    given = weights((24, 3), (24, 1), (3, 4), (4,), (4, 1), (1,))
    program = mg.compile(f)
    check(program(*given), f(*given), np.float64)
    assert "range(0, 24, 4)" in program.source
    products = re.findall(r"np\.dot\((\w+)[\w.]*, (\w+)[\w.]*, (\w+)\)", program.source)
    assert all(out not in (a, b) for a, b, out in products)  # or NumPy copies the result


@pytest.mark.parametrize(("small", "count"), [(3, 0), (12, 2)])
def test_large_matrices_are_multiplied_as_a_whole(small, count, small_limits, monkeypatch):
    """Of a product with a large matrix, or a sum that is one, a block of rows would
    read it again and again.
    """
    monkeypatch.setattr(blocks, "SMALL", small)
    given = weights((24, 3), (24, 1), (3, 4), (4,), (4, 1), (1,))
    program = mg.compile(lambda x, w: (np.tanh(x @ w) * 2.0).T @ x)
    program(given[0], given[2])
    lines = program.source.splitlines()
    assert sum(line.startswith("        np.dot(") for line in lines) == count


def test_a_training_step_is_one_loop_that_keeps_no_array_with_all_rows(small_limits):
    """What all rows together need is a block; only data and results are as tall."""
    given = weights((1200, 3), (1200, 1), (3, 4), (4,), (4, 1), (1,))
    program = mg.compile(lambda *args: loss_and_gradients(*args)[1][1:])
    program(*given)
    allocated = program.source.split("def program")[0]
    assert program.source.count("for i in range(0, 1200, ") == 1
    assert "1200" not in allocated


def test_few_rows_and_large_matrices_are_multiplied_as_a_whole():
    x, w = np.ones((400, 400), np.float32), np.ones((400, 400), np.float32)
    program = mg.compile(lambda x, w: (np.tanh(x @ w) * 2.0) @ w)
    program(x, w)
    loop = program.source.split("for i in")[1].splitlines()[1:]
    assert not any("np.dot" in line for line in loop if line.startswith("        "))


@pytest.mark.usefixtures("small_limits")
def test_equal_functions_have_the_same_source():
    def f(x):
        return np.sin(x) * np.cos(x) + np.exp(np.tanh(x) * np.sin(x)) * np.cos(x)

    x = np.ones((60, 4))
    sources = set()
    for _ in range(6):
        compiled = mg.compile(mg.grad(lambda x: np.sum(f(x))))
        compiled(x)
        sources.add(compiled.source)
    assert len(sources) == 1
