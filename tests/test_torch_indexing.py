"""PyTorch as a second oracle: indexing, assignment, joining and padding, in double
precision.

Owns: comparisons of values, gradients and second derivatives with PyTorch's.
Must not own: anything that can be checked without it.
Read next: `tests/rows/indexing.py`.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

import microgradnd as mg

torch = pytest.importorskip("torch", reason='PyTorch is a second oracle: pip install "microgradnd[oracle]"')

# One text for both: indices of x, of shape (3, 4)
INDICES = {
    "number": 1,
    "numbers": (2, -1),
    "slice": (slice(0, 2), slice(None, None, 2)),
    "newaxis": (None, slice(None), 1),
    "ellipsis": (..., 0),
    "repeated": [0, 0, 2, 0],
    "negative": [-1, 1],
    "nested": [[0, 2], [2, 2]],
    "two lists": ([0, 1, 1], [3, 0, 0]),
    "broadcast lists": ([[0], [2]], [1, 1, 3]),
    "mixed": (slice(None), [3, 3, 0]),
    "apart": ([0, 2], None, [1, 1]),
    "mask": [True, False, True],
    "mask and slice": ([True, False, True], slice(1, None)),
}
WITHOUT_REPETITION = {
    name: INDICES[name] for name in ("number", "numbers", "slice", "ellipsis", "negative", "mask", "mask and slice")
}


def for_torch(index):
    if isinstance(index, tuple):
        return tuple(for_torch(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


def derivatives(f, xs, lift, grad, sin, total):
    """Return the value of f, the gradient of the sum of its sines, and the gradient of
    the sum of that's sines.
    """
    value = f(*xs)
    first = grad(total(sin(value)), xs)
    second = grad(sum(total(sin(g)) for g in first), xs)
    return [lift(v) for v in (value, *first, *second)]


def check(ours, theirs, *shapes, seed=0):
    """Compare a function in both libraries, at a random point."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) for shape in shapes]

    def torch_grad(loss, xs):
        found = torch.autograd.grad(loss, xs, create_graph=True, allow_unused=True)
        return [torch.zeros_like(x) * x if g is None else g for g, x in zip(found, xs, strict=True)]

    def total_of(f):
        return lambda *xs: np.sum(np.sin(f(*xs)))

    argnums = tuple(range(len(arrays)))
    gradient = mg.grad(total_of(ours), argnums)
    second = mg.grad(lambda *xs: sum(np.sum(np.sin(g)) for g in gradient(*xs)), argnums)
    found = [ours(*arrays), *gradient(*arrays), *second(*arrays)]
    xs = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = derivatives(theirs, xs, lambda v: v.detach().numpy(), torch_grad, torch.sin, torch.sum)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_reading(index):
    check(lambda x: x[index] * 2.0, lambda x: x[for_torch(index)] * 2.0, (3, 4))


@pytest.mark.parametrize("index", WITHOUT_REPETITION.values(), ids=WITHOUT_REPETITION)
@pytest.mark.parametrize("scalar", [False, True], ids=["elements", "number"])
def test_assigning(index, scalar):
    shape = () if scalar else np.zeros((3, 4))[index].shape

    def ours(x, v):
        y = x * x
        y[index] = v * v
        y[index] *= y[index]
        y += x
        return y

    def theirs(x, v):  # PyTorch writes in place, so what is read must be copied
        y = x * x
        y[for_torch(index)] = v * v
        y[for_torch(index)] = y[for_torch(index)].clone() ** 2
        y += x
        return y

    check(ours, theirs, (3, 4), shape)


def test_loops():
    def ours(x):
        out = np.zeros_like(x)
        out[0] = x[0]
        for i in range(1, len(x)):
            out[i] = out[i - 1] * np.tanh(x[i])
        return out

    def theirs(x):
        out = torch.zeros_like(x)
        out[0] = x[0]
        for i in range(1, len(x)):
            out[i] = out[i - 1].clone() * torch.tanh(x[i])
        return out

    check(ours, theirs, (5,))
    check(ours, theirs, (4, 3))


FUNCTIONS = {
    "roll": (lambda x: np.roll(x, (1, -2), (0, 1)), lambda x: torch.roll(x, (1, -2), (0, 1)), (3, 4)),
    "rot90": (lambda x: np.rot90(x, 3), lambda x: torch.rot90(x, 3), (3, 4)),
    "flip": (lambda x: np.flip(x, (0, 1)), lambda x: torch.flip(x, (0, 1)), (3, 4)),
    "tile": (lambda x: np.tile(x, (2, 1, 3)), lambda x: torch.tile(x, (2, 1, 3)), (2, 3)),
    "repeat": (
        lambda x: np.repeat(x, [2, 0, 1], axis=1),
        lambda x: torch.repeat_interleave(x, torch.tensor([2, 0, 1]), dim=1),
        (2, 3),
    ),
    "tril": (lambda x: np.tril(x, -1), lambda x: torch.tril(x, -1), (2, 3, 3)),
    "triu": (lambda x: np.triu(x, 1), lambda x: torch.triu(x, 1), (3, 4)),
    "diag": (lambda x: np.diag(x, 1), lambda x: torch.diag(x, 1), (3,)),
    "diagonal": (lambda x: np.diagonal(x, 1, 0, 2), lambda x: torch.diagonal(x, 1, 0, 2), (3, 2, 4)),
    "trace": (np.trace, torch.trace, (3, 4)),
    "moveaxis": (lambda x: np.moveaxis(x, (0, 1), (2, 0)), lambda x: torch.moveaxis(x, (0, 1), (2, 0)), (2, 3, 4)),
    "windows": (lambda x: sliding_window_view(x, 3, axis=1), lambda x: x.unfold(1, 3, 1), (2, 6)),
    "take": (lambda x: np.take(x, [5, 0, 5]), lambda x: torch.take(x, torch.tensor([5, 0, 5])), (2, 3)),
    "take_along_axis": (
        lambda x: np.take_along_axis(x, np.array([[0, 0], [2, 1]]), axis=1),
        lambda x: torch.take_along_dim(x, torch.tensor([[0, 0], [2, 1]]), dim=1),
        (2, 3),
    ),
    "array_split": (
        lambda x: np.concatenate([p * (i + 1.0) for i, p in enumerate(np.array_split(x, 3))]),
        lambda x: torch.cat([p * (i + 1.0) for i, p in enumerate(torch.tensor_split(x, 3))]),
        (7,),
    ),
    "meshgrid": (
        lambda x: np.prod(np.stack(np.meshgrid(x, x * x, indexing="ij")), axis=0),
        lambda x: torch.prod(torch.stack(torch.meshgrid(x, x * x, indexing="ij")), dim=0),
        (3,),
    ),
    "column_stack": (lambda x: np.column_stack([x, x * x]), lambda x: torch.column_stack([x, x * x]), (3,)),
    "block": (
        lambda x: np.block([[x, x * x], [np.ones((1, 2)), x[:1]]]),
        lambda x: torch.cat([torch.cat([x, x * x], 1), torch.cat([torch.ones((1, 2)), x[:1]], 1)]),
        (2, 2),
    ),
    "pad constant": (
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2)), constant_values=3.0),
        lambda x: torch.nn.functional.pad(x, (1, 2), value=3.0),
        (1, 2, 4),
    ),
    **{
        f"pad {mode}": (
            lambda x, mode=mode: np.pad(x, ((0, 0), (0, 0), (2, 3)), mode),
            lambda x, named=named: torch.nn.functional.pad(x, (2, 3), named),
            (1, 2, 4),
        )
        for mode, named in {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}.items()
    },
}


@pytest.mark.parametrize(("ours", "theirs", "shape"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions(ours, theirs, shape):
    check(ours, theirs, shape)


@given(st.lists(st.integers(-5, 4), max_size=12), st.integers(0, 3))
def test_rows_of_a_table(numbers, width):
    """An embedding: the gradients of a row that is picked several times add."""
    index = np.array(numbers, int)
    check(lambda table: table[index], lambda table: table[torch.tensor(index)], (5, width))


@given(st.integers(0, 2**20), st.integers(0, 3))
def test_adding_at_an_index(seed, count):
    index = np.random.default_rng(seed).integers(0, 3, count)

    def ours(x, v):
        y = x * 1.0
        np.add.at(y, index, v)
        return y

    check(ours, lambda x, v: (x * 1.0).index_add(0, torch.tensor(index), v), (3, 2), (count, 2), seed=seed)
