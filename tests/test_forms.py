"""The forms of arguments that NumPy takes: each gives NumPy's value, and the gradient
of the plainest form.

Owns: axes as Python and NumPy integers, negative ones, tuples and lists; the methods of
arrays; arguments by keyword, and other words for the same call.
Must not own: which derivative is right (`test_laws.py`).
Read next: `test_rules.py`.
"""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.testing import arrays

SHAPE = (2, 3, 4)
WEIGHTS = np.arange(1.0, 25.0).reshape(SHAPE)
B = np.linspace(-1.0, 1.0, 24).reshape(SHAPE)

# Functions of an array and axes. Most take one integer, many several; a list where
# NumPy takes one.
ONE_AXIS = {
    "cumsum": np.cumsum,
    "cumprod": np.cumprod,
    "sort": np.sort,
    "partition": lambda x, axis: np.sort(np.partition(x, 1, axis), axis),
    "diff": lambda x, axis: np.diff(x, axis=axis),
    "trapezoid": lambda x, axis: np.trapezoid(x, axis=axis),
    "take": lambda x, axis: np.take(x, [0, 1, 0], axis),
    "repeat": lambda x, axis: np.repeat(x, 2, axis),
    "delete": lambda x, axis: np.delete(x, 1, axis),
    "insert": lambda x, axis: np.insert(x, 1, 3.0, axis),
    "append": lambda x, axis: np.append(x, x, axis),
    "concatenate": lambda x, axis: np.concatenate([x, 2 * x], axis),
    "stack": lambda x, axis: np.stack([x, 2 * x], axis),
    "split": lambda x, axis: np.array_split(x, 2, axis)[1],
    "unwrap": lambda x, axis: np.unwrap(x, axis=axis),
    "compress": lambda x, axis: np.compress([True, False], x, axis),
    "take_along_axis": lambda x, axis: np.take_along_axis(x, np.argsort(x, axis), axis),
    "apply_along_axis": lambda x, axis: np.apply_along_axis(np.sum, axis, x),
    "swapaxes": lambda x, axis: np.swapaxes(x, axis, 0),
    "moveaxis": lambda x, axis: np.moveaxis(x, axis, 0),
    "rollaxis": lambda x, axis: np.rollaxis(x, axis),
    "fft": lambda x, axis: np.real(np.fft.fft(x, axis=axis)),
    "rfft": lambda x, axis: np.abs(np.fft.rfft(x, axis=axis)) ** 2,
    "vecdot": lambda x, axis: np.vecdot(x, B, axis=axis),
    "maximum.accumulate": lambda x, axis: np.maximum.accumulate(x, axis=axis),
    "vector_norm-inf": lambda x, axis: np.linalg.norm(x, np.inf, axis),
    "tensordot": lambda x, axis: np.tensordot(x, B, (axis, axis)),
    "linspace": lambda x, axis: np.linspace(x, 1.0, 3, axis=axis),
}
SEVERAL_AXES = {  # as a tuple, not as a list
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "ptp": np.ptp,
    "var": np.var,
    "std": np.std,
    "nansum": np.nansum,
    "nanmax": np.nanmax,
    "nanmean": np.nanmean,
    "nanstd": np.nanstd,
    "add.reduce": lambda x, axis: np.add.reduce(x, axis=axis),
    "logaddexp.reduce": lambda x, axis: np.logaddexp.reduce(x, axis=axis),
    "squeeze": lambda x, axis: np.squeeze(np.expand_dims(x, axis), axis),
    "vector_norm": lambda x, axis: np.linalg.vector_norm(x, axis=axis, ord=3),
}
LISTS_TOO = {
    "median": np.median,
    "nanmedian": np.nanmedian,
    "quantile": lambda x, axis: np.quantile(x, 0.3, axis=axis),
    "percentile": lambda x, axis: np.percentile(x, [20, 70], axis=axis),
    "nanquantile": lambda x, axis: np.nanquantile(x, 0.3, axis=axis),
    "average": lambda x, axis: np.average(x, axis=axis),
    "average-weights": lambda x, axis: np.average(x, axis=axis, weights=WEIGHTS),
    "flip": np.flip,
    "expand_dims": np.expand_dims,
    "gradient": lambda x, axis: (
        np.sum(np.stack(np.gradient(x, axis=axis)), 0) if np.ndim(axis) else np.gradient(x, axis=axis)
    ),
    "roll": lambda x, axis: np.roll(x, 1, axis),
    "fftn": lambda x, axis: np.real(np.fft.fftn(x, axes=axis if np.ndim(axis) else (axis,))),
    "irfftn": lambda x, axis: np.fft.irfftn(x, axes=axis if np.ndim(axis) else (axis,)),
    "fftshift": lambda x, axis: np.fft.fftshift(x, axis),
    "moveaxis-several": lambda x, axis: (
        np.moveaxis(x, axis, axis[::-1]) if np.ndim(axis) else np.moveaxis(x, axis, axis)
    ),
    "tensordot-several": lambda x, axis: np.tensordot(x, B, (axis, axis)),
}
PAIRS = list(combinations(range(3), 2))


def same_as(plainest, function, forms, x):
    """Check that each form of an axis gives NumPy's value, and the gradient of the
    plainest form.
    """
    value = function(x, plainest)
    g = np.cos(np.arange(float(value.size))).reshape(value.shape)
    right = mg.vjp(lambda v: function(v, plainest), x)[1](g)[0]
    for form in forms:
        got, pullback = mg.vjp(lambda v, form=form: function(v, form), x)
        np.testing.assert_array_equal(got, function(x, form), strict=True)
        np.testing.assert_allclose(pullback(g)[0], right, rtol=1e-12, atol=1e-12)
        moved = mg.jvp(lambda v, form=form: function(v, form), (x,), (B,))[1]
        np.testing.assert_allclose(np.sum(moved * g), np.sum(right * B), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [*ONE_AXIS, *SEVERAL_AXES, *LISTS_TOO])
def test_one_axis(name):
    function = {**ONE_AXIS, **SEVERAL_AXES, **LISTS_TOO}[name]

    @given(arrays(SHAPE, distinct=True), st.integers(0, 2))
    def law(x, axis):
        behind = axis - np.ndim(function(x, 0)) if name in ("stack", "expand_dims", "linspace") else axis - 3
        forms = [axis, np.int64(axis), np.int8(axis)]
        if name not in ("squeeze",):
            forms += [behind, np.int64(behind)]
        same_as(axis, function, forms, x)

    law()


@pytest.mark.parametrize("name", [*SEVERAL_AXES, *LISTS_TOO])
def test_several_axes(name):
    function = {**SEVERAL_AXES, **LISTS_TOO}[name]

    @given(arrays(SHAPE, distinct=True), st.sampled_from(PAIRS))
    def law(x, axes):
        forms = [axes, tuple(np.int64(a) for a in axes)]
        if name not in ("squeeze", "expand_dims"):
            forms.append(tuple(np.int64(a - 3) for a in axes))
        if name in LISTS_TOO:
            forms += [list(axes), [np.int64(a) for a in axes]]
        same_as(axes, function, forms, x)

    law()


@pytest.mark.parametrize(
    "axes", [1, np.int64(1), (2, 2), (np.int64(2), np.int64(2)), ([2], [2]), ((np.int8(-1),), (-1,))]
)
def test_axes_of_tensordot(axes):
    x, y = B, B if np.ndim(axes) else B.T
    check = mg.testing.check_grads
    check(lambda x, y: np.tensordot(x, y, axes), x, y, order=1)


# Methods of arrays: the values are those of the array's own methods

METHODS = {
    "sum": ((), {"axis": 1}, {"axis": (0, 2), "keepdims": True}, {"dtype": np.float64}),
    "mean": ((), {"axis": 1}, {"axis": (0, 2), "keepdims": True}),
    "prod": ((), {"axis": -1}),
    "max": ((), {"axis": 1}, {"initial": 0.5}),
    "min": ((), {"axis": 1}, {"keepdims": True}),
    "var": ((), {"axis": 1}, {"ddof": 1, "axis": 0}),
    "std": ((), {"axis": 1}),
    "cumsum": ((), {"axis": 1}),
    "cumprod": ((), {"axis": 0}),
    "trace": ((), {"offset": 1}),
    "diagonal": ((),),
    "clip": ((-0.5, 0.5), {"max": 0.25}),
    "round": ((), (1,)),
    "dot": ((B[0].T,),),
    "repeat": ((2,), {"repeats": 2, "axis": 1}),
    "take": (([1, 0],), {"indices": [1], "axis": 2}),
    "ravel": ((),),
    "flatten": ((),),
    "squeeze": ((),),
    "swapaxes": ((0, 2),),
    "conj": ((),),
    "copy": ((),),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("name", METHODS)
def test_methods_give_the_values_of_arrays(name, dtype):
    @given(arrays(SHAPE))
    def law(x):
        x = x.astype(dtype)
        for how in METHODS[name]:
            args, kwargs = ((), how) if isinstance(how, dict) else (how, {})
            args = [a.astype(dtype) if isinstance(a, np.ndarray) else a for a in args]
            got = getattr(mg.tensor(x, requires_grad=True), name)(*args, **kwargs)
            want = np.asarray(getattr(x, name)(*args, **kwargs))
            np.testing.assert_array_equal(got.data, want, strict=True)

    law()


# Calls that say the same in another way, and calls of arrays without elements: value,
# dtype and shape are NumPy's, and check_grads agrees

VECTOR, MATRIX = np.array([0.5, -1.5, 2.25, 0.75]), B[0, :2, :2]
Z = np.array([1.0 + 2.0j, -0.3 + 0.1j, 0.5 - 1.0j])


def changed(change):
    """Return a function that changes a copy of its argument."""

    def function(x):
        copy = x * 1.0
        change(copy)
        return copy

    return function


CALLS = {
    **{
        f"{f.__name__}-{mode!r}-{n}": (lambda x, y, f=f, mode=mode: f(x, y, mode), VECTOR[:n], VECTOR[1:])
        for f in (np.convolve, np.correlate)
        for mode in (0, 1, 2, np.int64(1))
        for n in (2, 4)
    },
    "diff-axis": (lambda x: np.diff(x, axis=-2), B),
    "median-keepdims": (lambda x: np.median(x, keepdims=np._NoValue), VECTOR),
    "rfftn-axis-twice": (lambda x: np.abs(np.fft.rfftn(x, axes=(0, 0))), B[0]),
    "polyadd-matrices": (np.polyadd, MATRIX, MATRIX + 1),
    "polysub-number": (lambda x: np.polysub(x, 3.0), VECTOR),
    "put-nothing": (changed(lambda x: np.put(x, [0, 2], [])), VECTOR),
    "putmask-nothing": (changed(lambda x: np.putmask(x, [True] * 4, [])), VECTOR),
    "place-nothing": (changed(lambda x: np.place(x, [False] * 4, [])), VECTOR),
    **{
        f"norm-{p}-0x{n}": (lambda x, p=p: np.linalg.norm(x, p), np.zeros((0, n)))
        for p in (1, 2, np.inf)
        for n in (0, 3)
    },
    "norm-inf-0": (lambda x: np.linalg.norm(x, np.inf), np.zeros(0)),
    "logaddexp.reduce-0": (lambda x: np.exp(np.logaddexp.reduce(x)), np.zeros(0)),
    "absolute-dtype": (lambda z: np.absolute(z, dtype=np.float64), Z),
    "add-dtype-list": (lambda x: np.add(x, [1.0, 2.0, 3.0, 4.0], dtype=np.complex128), VECTOR),
    "ldexp-dtype": (lambda x: np.ldexp(x, [1, 2, 3, 4], dtype=np.float64), VECTOR),
    "multiply.outer-dtype": (lambda x: np.multiply.outer(x, [1.0, 2.0], dtype=np.longdouble), VECTOR),
    "multiply.outer-number": (lambda x: np.multiply.outer(x, 2.5), VECTOR.astype(np.float32)),
    "add.outer-number-first": (lambda x: np.add.outer(2, x), VECTOR.astype(np.float16)),
    "maximum.reduce-dtype": (lambda x: np.maximum.reduce(x, dtype=np.longdouble), VECTOR),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_in_other_words(name):
    function, *args = CALLS[name]
    got = function(*(mg.tensor(x, requires_grad=True) for x in args))
    np.testing.assert_array_equal(got.data, function(*args), strict=True)
    mg.testing.check_grads(function, *args, order=1)


def test_where_in_forward_mode():
    _, moved = mg.jvp(lambda z: np.sign(z, where=[True, False, True]), (Z,), (Z[::-1],))
    np.testing.assert_array_equal(moved, mg.jvp(np.sign, (Z,), (Z[::-1],))[1] * [1, 0, 1])


@pytest.mark.parametrize("function", [np.cov, np.corrcoef])
def test_statistics_in_another_dtype(function):
    got = function(mg.tensor(B[0]), dtype=np.float32)
    np.testing.assert_array_equal(got.data, function(B[0], dtype=np.float32), strict=True)


KEYWORDS = {
    "sum": lambda x: np.sum(a=x, axis=0),
    "sort": lambda x: np.sort(a=x),
    "cumsum": lambda x: np.cumsum(a=x, axis=1),
    "transpose": lambda x: np.transpose(a=x),
    "fft": lambda x: np.fft.fft(a=x, n=2),
    "norm": lambda x: np.linalg.norm(x=x),
    "solve": lambda x: np.linalg.solve(a=x, b=x),
    "linspace": lambda x: np.linspace(start=x, stop=2 * x, num=3),
}


@pytest.mark.parametrize("name", KEYWORDS)
def test_arguments_by_keyword(name):
    function, x = KEYWORDS[name], MATRIX + np.eye(2)
    want = function(x)
    for is_variable in (True, False):
        np.testing.assert_array_equal(function(mg.tensor(x, requires_grad=is_variable)).data, want, strict=True)
    np.testing.assert_array_equal(mg.compile(function)(x), want, strict=True)
    np.testing.assert_allclose(mg.vmap(function)(np.stack([x, x]))[1], want, rtol=1e-12)
    mg.testing.check_grads(function, x, order=1)
