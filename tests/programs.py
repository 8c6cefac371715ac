"""Random programs: functions of a few arrays, made of many small steps that fit any
shapes.

Owns: the steps, the strategy that puts programs together of them, and how results are
compared.
Must not own: what is checked on them (`test_compiled_laws.py`, `test_passes.py`).
Read next: `test_compiled_laws.py`.
"""

import numpy as np
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.transforms import plain
from microgradnd.trees import flatten

SHAPES = ((), (1,), (3,), (2, 3), (3, 1), (1, 3), (3, 3), (2, 1, 3))
LARGE = 100.0  # numbers, from which on programs aren't looked at
LARGEST = 60  # elements that a value may have before it is cut down


def agree(x, y):
    """Return the two, the second as a number if their shapes don't broadcast."""
    lengths = zip(reversed(np.shape(x)), reversed(np.shape(y)), strict=False)
    return (x, y) if all(m == n or 1 in (m, n) for m, n in lengths) else (x, np.mean(y))


def axis_of(x, k):
    return None if k % 3 == 0 or not np.ndim(x) else k % np.ndim(x)


def matrix(x):
    return np.reshape(x, (-1, x.shape[-1] if np.ndim(x) else 1))


def binary(function):
    return lambda x, y, k: function(*agree(x, y))


def unary(function):
    return lambda x, y, k: function(x)


def reduction(function):
    return lambda x, y, k: function(x, axis=axis_of(x, k), keepdims=k % 2 == 1)


def assigned(x, y, k):
    z = (x.copy() if np.ndim(x) else np.reshape(x, (1,))) + 0 * np.mean(y)  # a Tensor if either is
    z[k % z.shape[0]] = np.mean(y)
    z *= 0.5
    return z


def assigned_by_mask(x, y, k):
    z = np.copy(x) if np.ndim(x) else np.reshape(x, (1,)) * 1
    z[z < 0] = 0.25
    return np.where(z > 0.5, z, y if np.shape(y) == np.shape(z) else z)


def masked_product(x):
    """NumPy leaves what is masked out of a plain array as it finds it; for a Tensor it
    is 0.
    """
    return np.multiply(x, x, where=x > 0) if isinstance(x, mg.Tensor) else np.where(x > 0, x * x, x.dtype.type(0))


def picked(x, y, k):
    x = np.reshape(x, (-1,))
    return x[np.array([k % x.shape[0], 0, k % x.shape[0]])]


def where_largest(x, y, k):
    return np.take(np.ravel(x), np.argmax(x)) * y


STEPS = {
    # elementwise
    **{
        f.__name__: unary(f)
        for f in (np.sin, np.cos, np.tanh, np.square, np.negative, np.absolute, np.positive, np.copy)
    },
    "relu": unary(mg.nn.functional.relu),
    "exp": unary(lambda x: np.exp(-np.abs(x))),
    "sqrt": unary(lambda x: np.sqrt(1 + x * x)),
    "log": unary(lambda x: np.log1p(np.abs(x))),
    "reciprocal": unary(lambda x: 1 / (2 + np.cos(x))),
    "power": unary(lambda x: x**3),
    "square": unary(lambda x: x**2),
    "times one": unary(lambda x: 1 * x * 1.0 / 1),
    "plus zero": unary(lambda x: x + 0),
    "twice negative": unary(lambda x: np.negative(-x)),
    "ones": unary(lambda x: x * np.ones_like(x)),
    "numbers": unary(lambda x: 0.5 * x - 1.5),
    "clip": unary(lambda x: np.clip(x, -0.7, 0.9)),
    "where": unary(lambda x: np.where(x > 0, x, 0.1 * x)),
    "sigmoid": unary(mg.nn.functional.sigmoid),
    "astype": unary(lambda x: x.astype(np.float32) * 2),
    "add": binary(np.add),
    "subtract": binary(np.subtract),
    "multiply": binary(np.multiply),
    "divide": binary(lambda x, y: x / (2 + np.sin(y))),
    "maximum": binary(np.maximum),
    "minimum": binary(np.minimum),
    "hypot": binary(lambda x, y: np.hypot(x, 1 + y * y)),
    "choose": binary(lambda x, y: np.where(x > y, x, y * y)),
    "twice": binary(lambda x, y: np.sin(x) * y + np.sin(x) * y),
    # reductions
    **{f.__name__: reduction(f) for f in (np.sum, np.mean, np.max, np.min, np.var)},
    "masked mean": unary(lambda x: np.mean(x, where=(x > 0) | (x == np.max(x)))),
    "masked variance": unary(lambda x: np.var(x, where=(x > 0) | (x == np.max(x)))),
    "masked product": unary(masked_product),
    "masked maximum": lambda x, y, k: np.max(x, axis=axis_of(x, k), where=x > 0, initial=0.5),
    "assigned by a mask": assigned_by_mask,
    "in order": lambda x, y, k: np.ravel(x)[np.argsort(np.ravel(x))[:1]] * y,
    "median": lambda x, y, k: np.median(x, axis=axis_of(x, k)),
    "masked": unary(lambda x: np.sum(x, where=x > 0)),
    "logsumexp": lambda x, y, k: np.log(np.sum(np.exp(x - np.max(x)))),
    "softmax": lambda x, y, k: mg.nn.functional.softmax(x, axis=-1) if np.ndim(x) else x,
    "cumsum": lambda x, y, k: np.cumsum(x, axis=axis_of(x, k)),
    "sum of a broadcast": lambda x, y, k: np.sum(np.broadcast_to(x, (2, *np.shape(x))), axis=0),
    # products
    "matmul": lambda x, y, k: matrix(x) @ np.reshape(np.ravel(y)[[0] * matrix(x).shape[1]], (-1, 1)),
    "dot of a transpose": lambda x, y, k: matrix(x).T @ matrix(x),
    "outer": lambda x, y, k: np.outer(np.ravel(x)[:4], np.ravel(y)[:3]),
    "einsum": lambda x, y, k: np.einsum("ij,kj->ik", matrix(x), matrix(x)),
    "inner": lambda x, y, k: np.sum(np.ravel(x) * np.ravel(x)),
    # shapes
    "ravel": unary(np.ravel),
    "transpose": unary(np.transpose),
    "twice transposed": unary(lambda x: x.T.T),
    "reshape": lambda x, y, k: np.reshape(x, (-1, 1) if k % 2 else (1, -1)),
    "expand_dims": lambda x, y, k: np.expand_dims(x, 0),
    "squeeze": unary(np.squeeze),
    "flip": unary(np.flip),
    "slice": lambda x, y, k: x[: 1 + k] if np.ndim(x) else x,
    "strided": lambda x, y, k: x[..., ::2] if np.ndim(x) else x,
    "first": lambda x, y, k: x[0] if np.ndim(x) else x,
    "picked": picked,
    "where largest": lambda x, y, k: where_largest(x, np.mean(y), k),
    "sort": lambda x, y, k: np.sort(np.ravel(x)),
    "concatenate": lambda x, y, k: np.concatenate([np.ravel(x), np.ravel(y)]),
    "stack": lambda x, y, k: np.stack([x, 2 * x]),
    "broadcast_to": lambda x, y, k: np.broadcast_to(x, (2, *np.shape(x))),
    "moveaxis": lambda x, y, k: np.moveaxis(x, 0, -1) if np.ndim(x) else x,
    "assigned": assigned,
    "detached": lambda x, y, k: x * y.detach().sum() if isinstance(y, mg.Tensor) else x * np.sum(y),
    "no_grad": lambda x, y, k: under_no_grad(x),
}


def under_no_grad(x):
    with mg.no_grad():
        scale = np.mean(x * x)
    return x / (1 + scale)


class RandomProgram:
    """A function of arrays: each step takes two of the values so far, and makes one."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, *arrays):
        return sum(np.sum(np.sin(v)) for v in self.values(arrays)[-3:])

    def values(self, arrays):
        values = list(arrays)
        for name, i, j, k in self.steps:
            value = STEPS[name](values[-1 - i % len(values)], values[-1 - j % len(values)], k)
            value = np.ravel(value)[: LARGEST // 2] if np.size(value) > LARGEST else value
            values.append(np.tanh(value) if k > 6 else value)
        return values

    def __repr__(self):
        return f"RandomProgram({self.steps!r})"


def sign_of_a_broadcast(x, v):
    return x + -v, -v + x, x - -v, -v * x, x * -(v * 0.1)


def joined(x, y):
    parts = np.concatenate([np.ravel(np.sin(x)), np.ravel(np.cos(y)), np.ravel(x * y)])
    return np.sum(parts * parts), np.sum(np.cumsum(parts))


def neighbours(x):
    t = np.sin(x) * 2
    return (t[1:] - t[:-1]) ** 2, t + t[::-1], t[::2] * t[1::2], np.sum(t[2:] * t[:-2])


def shifted(x):
    z = np.sin(x)
    z[1:] = x[1:] * 2
    y = np.cos(x)
    y[:-1] = x[:-1] * 2
    w = np.sin(x)
    w[:3] = x[3:] * 2
    return z[:-1] + 1, z[:-1] * z[1:], z[::-1] - z, y[1:] + 1, w[::2] + 1


def assigned_twice(x):
    z = np.sin(x)
    z[1:] = z[:-1] * 2
    z[0] = 7.0
    z[:, 1] += z[:, 0]
    return z, z * z, np.sum(z, axis=0)


def joined_precisions(x, y):
    single = x.astype(np.float32)
    parts = np.concatenate([single @ single[0], np.sum(single, axis=0), np.sin(y)])
    return np.sum(parts * parts)


def long_lived(x):
    """A view that is read after another value could have taken its array."""
    sine = np.sin(x)
    turned = sine.T
    cosine = np.cos(x) * 2
    return np.sum(turned @ cosine), np.sum(cosine)


# Small programs, each with a trap for a compiler, and shapes for their arguments
TRAPS = {
    "slices that differ in their steps": (lambda x: x[::-1] * 10 + x[::1], [(5,)]),
    "slices that differ in their ends": (lambda x: x[1:3] * 10 + x[1:4][:2] + x[:2], [(5,)]),
    "a transpose after one with axes": (lambda x: np.transpose(np.transpose(x, (1, 2, 0))) + 0.5, [(2, 3, 4)]),
    "a transpose with axes after one": (lambda x: np.transpose(np.transpose(x), (1, 2, 0)) + 0.5, [(2, 3, 4)]),
    "constants whose product is rounded": (lambda x: (x * 0.1 * 0.3, -(x * 0.1), 3.0 * (0.1 * x)), [(50,)]),
    "constants whose product overflows": (lambda x: (x * 2.0**-600 * 2.0**-600, x * 1e300 * 0.5), [(3,)]),
    "signs": (lambda x, y: (x + -y, -x + y, x - -y, -x - y, -x * y, -x * -y, np.negative(-x)), [(3,), (3,)]),
    "signs of what is broadcast": (sign_of_a_broadcast, [(2, 3), (3,)]),
    "equal products of other dtypes": (lambda x: (x * 1, x.astype(np.float32) * 1, x * 1.0), [(4,)]),
    "joined parts": (joined, [(2, 3), (3,)]),
    "joined parts that are turned": (
        lambda x: np.sum(np.concatenate([np.sin(x)[::-1], np.cos(x)[1:], np.sin(x)[:2] * 2]) * np.arange(11.0)),
        [(5,)],
    ),
    "joined parts of two precisions": (joined_precisions, [(3, 3), (3,)]),
    "the larger of an array and a number": (
        lambda x: (np.maximum(x, 0), np.maximum(x, 0.5), np.maximum(-0.25, x), np.minimum(x, 0)),
        [(3, 4)],
    ),
    "masks": (lambda x, v: ((x > 0) * x, (v > 0) * x, x * (x > v)), [(2, 3), (3,)]),
    "a view that outlives its array's turn": (long_lived, [(3, 3)]),
    "a view that has to be a copy": (lambda x: np.reshape((x * 2).T, (-1,)) + 1, [(2, 3)]),
    "a product whose terms are taken eight by eight": (lambda x, y: x @ y, [(16, 16), (16, 16)]),
    "a product whose terms are taken three by three": (lambda x, y: x @ y + 1, [(4, 9), (9, 5)]),
    "a column minus a row": (lambda x: x[:, None] - x[None, :], [(4,)]),
    "means of two axes": (lambda x: (np.mean(x, axis=(0, 2)), np.sum(x, axis=-2, keepdims=True)), [(2, 3, 4)]),
    "the largest and the smallest": (lambda x: (np.max(x, axis=0), np.min(x, axis=1), np.max(x)), [(3, 4)]),
    "numbers": (lambda x: (x[0] / x[1], np.sqrt(abs(x[2])), -x[0] * x[1], x[-1] - 1), [(3,)]),
    "several rows that are picked": (lambda x: mg.grad(lambda v: np.sum(v[[0, 2, 0, -1]] ** 2))(x), [(4, 2)]),
    "parts that are added up": (lambda x: mg.grad(lambda v: np.sum(v[1:] * v[:-1]) + np.sum(v[::2] ** 3))(x), [(6,)]),
    "an assignment": (lambda x: assigned(x, x, 1), [(3, 2)]),
    "clipped": (
        lambda x: (np.clip(x, -0.5, 0.25), np.clip(x, None, 0.1), np.clip(x, 0.1, None), np.clip(x, 0.5, -0.5)),
        [(7,)],
    ),
    "products": (lambda x: (np.prod(x, axis=0), np.prod(x), np.prod(x[:, :1], axis=1)), [(3, 4)]),
    "differences of differences": (
        lambda x, y: (x - (y - 0.5), (x - y) - 0.5, x - (y + 0.5), -(x - y), -(x + 1) * 2, 0.5 - (1 - x)),
        [(3,), (3,)],
    ),
    "quotients of quotients": (lambda x, y: (x / (y / 3), (x / y) / 3, x / (y * 3), x / -y, 2 / (1 + x)), [(3,), (3,)]),
    "comparisons of comparisons": (
        lambda x, y: ((x < y) == (y < 0.1), (x < y) != (x > 0), np.logical_not(x < y), (x < y) & (y < 0), x + (x < y)),
        [(9,), (9,)],
    ),
    "a value and its neighbours": (neighbours, [(6,)]),
    "rows and columns of a value": (lambda x: (t := np.sin(x)) + t.T + t[::-1] + t[0], [(4, 4)]),
    "a flat array reversed": (lambda x: (np.ravel(x)[::-1] + 1, np.ravel(x)[1:9:2] * 2), [(3, 4)]),
    "flat arrays over edges": (lambda x: np.ravel(np.sin(x))[2:8] + np.ravel(x)[4:10], [(3, 4)]),
    "what was picked once and used twice": (
        lambda x: ((g := mg.grad(lambda v: np.sum(np.sin(v[np.arange(5)])))(x)), g * 2, g - g[::-1]),
        [(5,)],
    ),
    "a product of more axes": (
        lambda x, y, z: (np.dot(x, y), x @ y, np.dot(y.T, y), np.dot(x, z)),
        [(2, 3, 4), (4, 2), (2, 4, 3)],
    ),
    "an assignment next to what is read next": (shifted, [(6,)]),
    "every second element of a joined array": (
        lambda x: (t := np.concatenate([np.sin(x), np.cos(x)]))[::2] * 2 + t[1::2] - t[:3] * t[3:],
        [(3,)],
    ),
    "an assignment that is used twice": (assigned_twice, [(4, 3)]),
    "a chosen one": (lambda x, y: np.where(x > y, x, y * 2), [(3,), (2, 3)]),
    "a number with a 0-d array": (lambda x: (x * 2 + 1, x / 3, x**2), [()]),
    "an empty array": (lambda x: (x * 2, np.sum(x), np.sum(x, axis=0)), [(0, 3)]),
}


def copied_before(w, x):
    old = w.copy()
    w -= x
    return np.sum(old * np.sum(w))


def multiplied(w, x):
    w @= x
    return np.sum(np.sin(w) * (np.cos(w) @ x))


def swapped(w, x):
    old = w * 1.0
    w[...] = x
    x[...] = old[::-1]
    return np.sum(w * x)


def exchanged(w, x):
    old = w.copy()
    w[...] = x
    x[...] = old
    return np.sum(w * w * x)


def through_a_view(w, x):
    w -= np.sin(w.T) * x
    return np.sum(w, axis=0)


def through_rows_backwards(w, x):
    w *= x + w[::-1]
    return np.sum(w, axis=1)


def returned(w, x):
    w += np.sin(w) * x
    return w, w[0]


# Functions that update their arguments, all of shape (3, 3)
def joined(w, x):
    w += np.cos(x)
    return np.sin(np.concatenate([np.reshape(w, (-1,)), np.reshape(np.exp(x), (-1,))]))


UPDATES = [copied_before, multiplied, swapped, exchanged, through_a_view, through_rows_backwards, returned, joined]

numbers = st.integers(0, 9)
programs = st.builds(
    RandomProgram,
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), numbers, numbers, numbers), min_size=1, max_size=10),
)


def arguments(shapes, seed=0, dtype=np.float64):
    """Return arrays of these shapes."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@st.composite
def inputs(draw):
    """Draw two lists of arrays of the same shapes and dtypes."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    dtype = draw(st.sampled_from([np.float64, np.float64, np.float32]))
    return [[rng.normal(size=shape).astype(dtype) for shape in shapes] for _ in range(2)]


def is_single(program, arrays):
    """Return whether something is computed in single precision, so that also a result
    in double isn't more precise.
    """
    return any(a.dtype == np.float32 for a in arrays[0]) or any(name == "astype" for name, *_ in program.steps)


def is_tame(program, arrays):
    """Return whether no value is so large that its sine would be another after
    rounding.
    """
    return all(np.max(np.abs(v)) < LARGE for each in arrays for v in program.values(each))


def compare(got, want, exact, single=False):
    """Check that results are equal: to the last bit, or up to rounding, as precise as
    they are or `single`.
    """
    got, want = flatten(got)[0], flatten(want)[0]
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        a, b = np.asarray(plain(a)), np.asarray(plain(b))
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if exact or a.dtype.kind not in "fc":
            np.testing.assert_array_equal(a, b)
        else:
            few = 2e-3 if single or a.dtype in (np.float32, np.complex64) else 1e-9
            size = np.max(np.abs(b[np.isfinite(b)]), initial=1.0)
            np.testing.assert_allclose(a, b, rtol=few, atol=few * size)
