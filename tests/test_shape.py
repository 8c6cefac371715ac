"""Functions that move elements about, called with any arguments that NumPy takes, and
what they refuse.

Owns: arguments drawn at random, where the rows have fixed ones, and messages.
Must not own: derivatives at fixed arguments (`test_laws.py`).
Read next: `tests/rows/shape.py`.

Each of these functions is affine in the elements: f(x + t) - f(x) is the tangent,
without any approximation.
"""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

import microgradnd as mg
from microgradnd.trees import flatten

MANY = settings(max_examples=max(25, settings.default.max_examples))
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def whole(low, high):
    return st.integers(low, high)


def axis_of(draw, ndim):
    return draw(whole(-ndim, ndim - 1))


def pad(draw, shape):
    mode = draw(st.sampled_from(["constant", "edge", "linear_ramp", "mean", "reflect", "symmetric", "wrap"]))
    options = {}
    if mode in ("reflect", "symmetric"):
        options["reflect_type"] = draw(st.sampled_from(["even", "odd"]))
    if mode == "mean":
        options["stat_length"] = draw(st.sampled_from([None, 1, (1, 2), 9]))
    if mode == "constant":
        options["constant_values"] = draw(st.sampled_from([0, 1.5, (1, 2)]))
    if mode == "linear_ramp":
        options["end_values"] = draw(st.sampled_from([0, 1.5, (1, 2)]))
    width = draw(
        st.one_of(
            whole(0, 4),
            st.tuples(whole(0, 3), whole(0, 9)),
            st.tuples(*(st.tuples(whole(0, 5), whole(0, 5)) for _ in shape)),
        )
    )
    return lambda x: np.pad(x, width, mode, **options)


def roll(draw, shape):
    axes = st.lists(whole(-len(shape), len(shape) - 1), min_size=1, max_size=3).map(tuple)
    axis = draw(st.one_of(st.none(), axes))
    shift = draw(whole(-9, 9)) if axis is None else tuple(draw(whole(-9, 9)) for _ in axis)
    return lambda x: np.roll(x, shift, axis)


def insert(draw, shape):
    axis = draw(st.one_of(st.none(), whole(-len(shape), len(shape) - 1)))
    n = int(np.prod(shape)) if axis is None else shape[axis]
    where = draw(st.one_of(whole(-n, n), st.lists(whole(-n, n), max_size=3), st.just(slice(0, n, 2))))
    if where == []:
        where = np.array([], int)
    return lambda x: np.insert(x, where, 2.5, axis)


def delete(draw, shape):
    axis = draw(st.one_of(st.none(), whole(-len(shape), len(shape) - 1)))
    n = int(np.prod(shape)) if axis is None else shape[axis]
    places = whole(-n, n - 1)
    where = draw(st.one_of(places, st.lists(places, max_size=4), st.just(slice(None, None, -2))))
    return lambda x: np.delete(x, where, axis)


def repeat(draw, shape):
    axis = draw(st.one_of(st.none(), whole(-len(shape), len(shape) - 1)))
    n = int(np.prod(shape)) if axis is None else shape[axis]
    repeats = draw(st.one_of(whole(0, 3), st.lists(whole(0, 3), min_size=n, max_size=n)))
    return lambda x: np.repeat(x, repeats, axis)


def tile(draw, shape):
    reps = draw(st.one_of(whole(0, 3), st.lists(whole(0, 3), max_size=4).map(tuple)))
    return lambda x: np.tile(x, reps)


def resize(draw, shape):
    new = draw(st.one_of(whole(0, 9), st.lists(whole(0, 4), max_size=3).map(tuple)))
    return lambda x: np.resize(x, new)


def rot90(draw, shape):
    if len(shape) < 2:
        return np.flip
    axes = draw(st.permutations(range(len(shape))))[:2]
    k = draw(whole(-5, 5))
    return lambda x: np.rot90(x, k, axes)


def rollaxis(draw, shape):
    axis, start = axis_of(draw, len(shape)), draw(whole(-len(shape), len(shape)))
    return lambda x: np.rollaxis(x, axis, start)


def moveaxis(draw, shape):
    count = draw(whole(0, len(shape)))
    source = draw(st.permutations(range(len(shape))))[:count]
    destination = draw(st.permutations(range(len(shape))))[:count]
    return lambda x: np.moveaxis(x, source, [d - len(shape) for d in destination])


def array_split(draw, shape):
    axis = axis_of(draw, len(shape))
    where = draw(st.one_of(whole(1, 5), st.lists(whole(-6, 6), max_size=3)))
    return lambda x: np.array_split(x, where, axis)


def take(draw, shape):
    axis = draw(st.one_of(st.none(), whole(-len(shape), len(shape) - 1)))
    mode = draw(st.sampled_from(["raise", "wrap", "clip"]))
    n = int(np.prod(shape)) if axis is None else shape[axis]
    places = whole(-n, n - 1) if mode == "raise" else whole(-9, 9)
    indices = draw(st.one_of(places, st.lists(places, max_size=4), st.lists(st.tuples(places, places), max_size=2)))
    indices = np.array(indices, int)
    return lambda x: np.take(x, indices, axis, mode=mode)


def take_along_axis(draw, shape):
    axis = axis_of(draw, len(shape))
    of = list(shape)
    of[axis] = draw(whole(0, 3))
    indices = np.array(draw(st.lists(whole(-shape[axis], shape[axis] - 1), min_size=36, max_size=36)))
    indices = np.resize(indices, of)
    return lambda x: np.take_along_axis(x, indices, axis)


def diagonal(draw, shape):
    if len(shape) < 2:
        return np.diag
    a, b = draw(st.permutations(range(len(shape))))[:2]
    offset = draw(whole(-4, 4))
    return lambda x: np.diagonal(x, offset, a - len(shape), b)


def windows(draw, shape):
    axes = draw(st.permutations(range(len(shape))))[: draw(whole(1, len(shape)))]
    lengths = [draw(whole(1, shape[a])) for a in axes]
    return lambda x: sliding_window_view(x, lengths, axes)


def tril(draw, shape):
    k, function = draw(whole(-4, 4)), draw(st.sampled_from([np.tril, np.triu]))
    return lambda x: function(x, k)


def meshgrid(draw, shape):
    options = {
        "indexing": draw(st.sampled_from(["xy", "ij"])),
        "sparse": draw(st.booleans()),
        "copy": draw(st.booleans()),
    }
    count = draw(whole(1, 3))
    return lambda x: np.meshgrid(*([x.reshape(-1)] * count), **options)


CALLS = [
    pad,
    roll,
    insert,
    delete,
    repeat,
    tile,
    resize,
    rot90,
    rollaxis,
    moveaxis,
    array_split,
    take,
    take_along_axis,
    diagonal,
    windows,
    tril,
    meshgrid,
]


@pytest.mark.parametrize("calls", CALLS, ids=lambda calls: calls.__name__)
def test_any_arguments(calls):
    @MANY
    @given(st.data())
    def law(data):
        shape = data.draw(SHAPES)
        call = calls(data.draw, shape)
        rng = np.random.default_rng(0)
        x, t = rng.normal(size=shape), rng.normal(size=shape)
        expected = flatten(call(x))[0]
        value, tangent = mg.jvp(call, (x,), (t,))
        _, pullback = mg.vjp(call, x)
        leaves, form = flatten(value)
        g = [rng.normal(size=v.shape) for v in leaves]
        ahead = [a - b for a, b in zip(flatten(call(x + t))[0], expected, strict=True)]
        for got, want in zip((*leaves, *flatten(tangent)[0]), (*expected, *ahead), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
        moved = sum(np.sum(a * b) for a, b in zip(g, ahead, strict=True))
        np.testing.assert_allclose(np.sum(pullback(form.rebuild(g))[0] * t), moved, rtol=1e-9, atol=1e-9)

    law()


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=12, max_size=12), st.sampled_from(["f", "b", "fb", "FB"]))
def test_trimming_zeros(values, trim):
    x = np.array(values)
    assert np.trim_zeros(mg.tensor(x, requires_grad=True), trim).data.tolist() == np.trim_zeros(x, trim).tolist()
    if "axis" in inspect.signature(np.trim_zeros).parameters:  # since NumPy 2.2
        x = x.reshape(4, 3)
        for axis in (None, 0, -1, (0, 1)):
            got = np.trim_zeros(mg.tensor(x, requires_grad=True), trim, axis)
            np.testing.assert_array_equal(got.data, np.trim_zeros(x, trim, axis))


def t(*shape):
    return mg.tensor(np.ones(shape), requires_grad=True)


REFUSED = {
    "reshape": (lambda: np.reshape(t(2, 2), -1, order="A").sum().backward(), NotImplementedError, "order='A'.*'C'"),
    "reshape, forward": (
        lambda: mg.jvp(lambda x: np.reshape(x, -1, order="A"), (np.ones((2, 2)),), (np.ones((2, 2)),)),
        NotImplementedError,
        "order='A' depends on the memory layout",
    ),
    "ravel": (lambda: t(2, 2).ravel("K"), NotImplementedError, "order='K' depends on the memory layout"),
    "resize": (lambda: np.resize(t(2), (2, -1)), ValueError, r"resize: .*\(2, -1\)"),
    "meshgrid": (lambda: np.meshgrid(t(2), indexing="yx"), ValueError, "indexing must be 'xy' or 'ij', got 'yx'"),
    "trim_zeros": (lambda: np.trim_zeros(t(2), "x"), ValueError, "made of 'f' and 'b', got 'x'"),
    "split": (lambda: np.split(t(3), 2), ValueError, "equal division"),
    "hsplit": (lambda: np.hsplit(t(), 2), ValueError, r"hsplit: .* 1 or more axes, got shape \(\)"),
    "dsplit": (lambda: np.dsplit(t(2, 2), 2), ValueError, r"dsplit: .* 3 or more axes, got shape \(2, 2\)"),
    "apply_along_axis": (
        lambda: np.apply_along_axis(np.sum, 0, t(2, 0)),
        ValueError,
        r"a line along axis 0, got shape \(2, 0\)",
    ),
    "apply_over_axes": (
        lambda: np.apply_over_axes(lambda x, axis: x[None], t(2), 0),
        ValueError,
        r"apply_over_axes: .*shape \(2,\), or one less, got \(1, 2\)",
    ),
    "concatenate": (lambda: np.concatenate([t(), t()]), ValueError, "at least one axis.*np.stack"),
    "concatenate, dtype": (
        lambda: np.concatenate([t(2)], dtype=np.float32, casting="safe"),
        TypeError,
        "float64 can't be cast to float32 by the rule 'safe'",
    ),
    "concatenate, out": (lambda: np.concatenate([t(2)], 0, np.zeros(2)), TypeError, "out= can't be recorded"),
    "stack": (lambda: np.stack([t(2), t(3)]), ValueError, r"stack: .* same shape, got \(2,\), \(3,\)"),
    "stack, out": (lambda: np.stack([t(2), t(2)], out=np.zeros((2, 2))), TypeError, "out= can't be recorded"),
    "block": (lambda: np.block([[t(2)], t(2)]), ValueError, "nested equally deep"),
    "block, empty": (lambda: np.block([[t(2)], []]), ValueError, "must not be empty"),
    "pad, callable": (lambda: np.pad(t(2), 1, lambda *_: None), NotImplementedError, "callable mode.*np.concatenate"),
    "pad, mode": (lambda: np.pad(t(2), 1, "mirror"), ValueError, "mirror"),
    "pad, option": (lambda: np.pad(t(2), 1, "edge", end_values=1), ValueError, "end_values"),
    "pad, width": (lambda: np.pad(t(2), -1), ValueError, "pad_width must hold integers of 0 or more, got -1"),
    "pad, fraction": (lambda: np.pad(t(2), 0.5), ValueError, "or more, got 0.5"),
    "pad, value": (lambda: np.pad(t(2), 1, constant_values=t()), TypeError, "would lose"),
    "take": (lambda: np.take(t(2), 0, mode="skip"), ValueError, "'raise', 'wrap' or 'clip', got 'skip'"),
    "take, floats": (lambda: np.take(t(2), [0.0]), TypeError, "integers, the positions of elements, got dtype float64"),
    "take, outside": (lambda: np.take(t(2), 2), IndexError, "out of bounds"),
    "take, out": (lambda: np.take(t(2), [0], 0, np.zeros(1)), TypeError, "out= can't be recorded"),
    "take_along_axis": (
        lambda: np.take_along_axis(t(2, 2), np.array([0]), 1),
        ValueError,
        r"of shape \(2, 2\), got shape \(1,\) and dtype int64",
    ),
    "vectorize": (lambda: np.vectorize(lambda v: v)(t(2)), TypeError, "would lose"),
    "ascontiguousarray": (lambda: np.ascontiguousarray(t(2)), TypeError, "would lose"),
}


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_dicts_of_widths():
    np.testing.assert_array_equal(np.pad(t(2, 2), {-1: (1, 2)}).data, np.pad(np.ones((2, 2)), [(0, 0), (1, 2)]))


def test_functions_of_arrays_that_need_no_gradient():
    plain = mg.tensor([3, 1, 2])
    assert np.ascontiguousarray(plain).tolist() == [3, 1, 2]
    assert np.concatenate([plain, plain]).dtype == plain.dtype
    assert np.take(mg.tensor([1.0, 2.0]), mg.tensor([1, 1])).data.tolist() == [2.0, 2.0]
    assert np.delete(t(3), mg.tensor([0, 1])).shape == (1,)
    assert [type(i) for i in np.ix_(mg.tensor([0, 1]), [1])] == [np.ndarray, np.ndarray]


def test_a_mesh_of_vectors_has_their_derivative():
    def f(x, y):
        rows, columns = np.ix_(x, y)
        return np.sum(rows**2 * columns)

    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])
    for differentiate in (mg.grad, lambda *of: mg.compile(mg.grad(*of))):
        by_x, by_y = differentiate(f, (0, 1))(x, y)
        np.testing.assert_array_equal(by_x, 2 * x * y.sum())
        np.testing.assert_array_equal(by_y, np.full(3, np.sum(x**2)))


def test_views_are_views_and_copies_are_copies():
    x = mg.tensor(np.arange(12.0).reshape(3, 4))
    views = (
        lambda x: np.split(x, 3)[0], np.ravel, np.fliplr, lambda x: np.rot90(x, 1), lambda x: np.diagonal(x),
        lambda x: np.moveaxis(x, 0, 1), lambda x: np.broadcast_to(x, (2, 3, 4)), lambda x: np.atleast_3d(x), np.real,
        lambda x: np.expand_dims(x, 0), lambda x: sliding_window_view(x, (2, 2)), lambda x: next(iter(x)),
    )  # fmt: skip
    copies = (
        lambda x: np.concatenate([x]), lambda x: np.roll(x, 0), lambda x: np.pad(x, 0), lambda x: np.tile(x, 1),
        lambda x: np.block(x), lambda x: np.meshgrid(x)[0], lambda x: x.copy(), lambda x: x[[0, 1]], np.triu,
        lambda x: np.repeat(x, 1, 0), lambda x: np.take(x, [0, 1], 0),
    )  # fmt: skip
    for function in views:
        assert np.shares_memory(function(x).data, x.data)
        assert np.shares_memory(function(x.data), x.data)
    for function in copies:
        assert not np.shares_memory(function(x).data, x.data)
        assert not np.shares_memory(function(x.data), x.data)


def test_joining_many_arrays_takes_time_in_proportion():
    """The rule of one part doesn't look at the others."""
    parts = [mg.tensor(np.ones(1), requires_grad=True) for _ in range(20_000)]
    joined = np.concatenate(parts)
    (joined * np.arange(20_000.0)).sum().backward()
    assert parts[-1].grad.tolist() == [19_999.0]


@pytest.mark.parametrize("places", [3, [1, 2]])
@pytest.mark.parametrize("function", [np.split, np.array_split])
def test_splitting_by_a_tensor(function, places):
    x = np.arange(6.0)
    for got, want in zip(function(mg.tensor(x), mg.tensor(places)), function(x, places), strict=True):
        np.testing.assert_array_equal(got, want)
