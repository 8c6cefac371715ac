"""Values are NumPy's at the edges of each dtype, eagerly and in every backend.

Owns: results for small integers that wrap around, booleans, signed zeros, infinities,
NumPy scalars next to arrays of another dtype, and arrays without axes.
Must not own: derivatives (`test_laws.py`), or compiled functions on ordinary numbers
(`test_compiled_laws.py`).
Read next: `test_passes.py`.
"""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F
from tests.test_compiled_laws import COMPILED
from tests.test_laws import ROWS, numbers

UFUNCS = sorted({f for f in vars(np).values() if isinstance(f, np.ufunc)}, key=lambda f: f.__name__)
NO_RULE = {np.nextafter, np.spacing}
INTEGERS = np.array([0, 1, 2, 3, 5, 7, 64, 100, 127, 128, 200, 254, 255, -1, -128])
NUMBERS = [0, 1, 2, -1, 300, 2.0, 0.5, -0.0, 0.1, True, np.float64(0.1), np.float32(0.1), np.int64(2), np.uint8(200)]
NUMBERS += [np.inf, -1.0, np.nan]
DTYPES = ["float64", "float32", "float16", "complex128", "uint8", "int8", "bool", "int64", "uint64"]


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def special(dtype):
    """Return the special numbers of a dtype, where functions behave differently."""
    dtype = np.dtype(dtype)
    if dtype.kind in "biu":
        return INTEGERS.astype(dtype)
    if dtype.kind == "c":
        parts = special(np.finfo(dtype).dtype)[:10]
        return np.array([complex(a, b) for a in parts for b in parts], dtype)
    of = np.finfo(dtype)
    tiny = of.smallest_subnormal
    ends = [of.max, -of.max, of.tiny, tiny, -tiny, 3 * tiny]
    return np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, np.inf, -np.inf, np.nan, 2.0, 1.5, 3.0, 1e-3, *ends], dtype)


def check_bits(got, want):
    """Check that results are equal to the last bit, except for the signs of NaN."""
    got, want = np.asarray(got), np.asarray(want)
    np.testing.assert_array_equal(got, want, strict=True)
    for part in (np.real, np.imag):
        a, b = part(got), part(want)
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a)[~np.isnan(a)], np.signbit(b)[~np.isnan(b)])


def forms(function, backends=(), optimized=(True, False)):
    """Return a function for Tensors in all its forms: eager and compiled."""

    def call(*args):
        return function(*args)

    def eager(*args):
        found = function(*map(mg.tensor, args))
        return found.data if isinstance(found, mg.Tensor) else found

    compiled = [mg.compile(call, optimize=optimize) for optimize in optimized]
    return [eager, *compiled, *(mg.compile(call, backend=backend) for backend in backends)]


def check(function, *args, **chosen):
    """Check every form of a function on arrays, if NumPy accepts them."""
    try:
        want = function(*(np.array(x) for x in args))
    except (TypeError, ValueError, OverflowError):
        return
    if np.asarray(want).dtype.kind in "biufc":
        for form in forms(function, **chosen):
            check_bits(form(*(np.array(x) for x in args)), want)


# Integers and booleans


def as_integers(array, dtype):
    array = np.real(array)
    if dtype == "bool":
        return array > 0
    return np.round(array * 40).astype(np.int64).astype(dtype)  # so that sums of two wrap around


GROUPS = [ROWS[i : i + 8] for i in range(0, len(ROWS), 8)]  # Hypothesis's work around a test takes longer than a row


@pytest.mark.parametrize("rows", GROUPS, ids=lambda rows: rows[0].name)
def test_the_table_on_small_integers(rows):
    @settings(max_examples=1)
    @given(st.tuples(*(row.inputs for row in rows)))
    def law(drawn):
        for i, (row, arrays) in enumerate(zip(rows, drawn, strict=True)):
            note(f"row {row.name}")  # the last note printed names the row that fails
            for dtype, optimize in (("uint8", i % 2 == 0), ("bool", i % 2 == 1)):
                check_row(row, [as_integers(a, dtype) for a in arrays], optimize)

    law()


def check_row(row, args, optimize):
    """Check a row on arrays, eager and compiled, if NumPy accepts them."""

    def call(*args):
        return row.call(*args)

    try:
        want = numbers(call(*(np.array(x) for x in args)))
    except Exception:
        return
    found = [lambda *args: call(*map(mg.tensor, args))]
    found += [mg.compile(call, optimize=optimize)] if row in COMPILED else []
    for form in found:
        for a, b in zip(numbers(form(*(np.array(x) for x in args))), want, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-2 if a.dtype.itemsize < 8 else 1e-9)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_neighbours_whose_sum_wraps_around(dtype):
    top = np.iinfo(dtype).max
    x = np.array([top, top - 10], dtype)
    for f in (np.median, np.nanmedian, np.nanmax, np.nanmin, lambda x: np.quantile(x, 0.3), np.ptp):
        check(f, x)
        check(f, x[::-1])
    check(lambda x: np.linspace(x[0], x[1], 3), x)
    check(lambda x: np.linspace(x[1], x[0], 3), x)
    check(lambda x: np.median(x > 0), x)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_the_negative_of_an_integer_wraps_around_before_it_is_multiplied(dtype):
    check(lambda x, y: -x * y, np.array([0, 1, 128], np.int64).astype(dtype), np.array([1.5, -2.5, 3.5]))


@pytest.mark.parametrize("compare", [np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal])
def test_comparisons_with_numbers_outside_the_dtype(compare):
    for number in (-1, 300):
        check(lambda x: compare(x, number), np.array([0, 200], np.uint8))  # noqa: B023
        check(lambda x: compare(number, x), np.array([0, 100], np.int8))  # noqa: B023


# Special numbers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda f: f.__name__)
def test_ufuncs_to_the_bit(ufunc, dtype):
    if ufunc in NO_RULE or ufunc.signature or ufunc.nout != 1 or ufunc.nin > 2:
        return
    x = special(dtype)
    if ufunc.nin == 1:
        check(ufunc, x)
        check(ufunc, x[3])
        check(ufunc, x[:0])
        return
    check(ufunc, np.repeat(x, x.size), np.tile(x, x.size))
    for i, number in enumerate(NUMBERS[len(ufunc.__name__) % 3 :: 3]):  # each for some
        check(lambda x: ufunc(x, number), x, optimized=[i % 2 == 0])  # noqa: B023
        check(lambda x: ufunc(number, x), x, optimized=[i % 2 == 1])  # noqa: B023


BACKENDS = [np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.power, np.sign, np.negative]
BACKENDS += [
    np.less,
    np.equal,
    np.sqrt,
    np.rint,
    np.floor,
    np.trunc,
    np.copysign,
    np.absolute,
    np.square,
    np.reciprocal,
]


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "bool"])
@pytest.mark.parametrize("ufunc", BACKENDS, ids=lambda f: f.__name__)
def test_ufuncs_in_loops(ufunc, dtype):
    pytest.importorskip("numba")
    x = special(dtype)
    if ufunc.nin == 1:
        check(ufunc, x, backends=["numba"])
    else:
        for number in (
            (0.5, 2) if ufunc is np.power else (0.5, -1, np.float64(0.1))
        ):  # the others differ in the last bit
            check(lambda x: ufunc(x, number), x, backends=["numba"])  # noqa: B023


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16"])
def test_small_integers_wrap_around_within_a_loop(dtype):
    pytest.importorskip("numba")
    top = np.iinfo(dtype).max
    check(lambda x: (x + x) * 0.5, np.array([1, top - 1, top], dtype), backends=["numba"])


TWO = [2.0, -1.0, 1, 3, 4.0, 0.5, 0.25, -2.0, 0.1, 1.1, 8, 2.0**20, 2.0**-20, 2.0**100, 2.0**600, 1e38, 1e308, 1e-300]


@settings(max_examples=20 * settings.default.max_examples)
@given(st.lists(st.sampled_from(TWO), min_size=2, max_size=4), st.sampled_from(["float64", "float32", "float16"]))
def test_products_with_several_numbers(factors, dtype):
    def product(x):
        for factor in factors:
            x = -x * factor if factor == 0.25 else x * factor
        return x

    x = special(dtype)
    want = product(x)
    for optimize in (True, False):
        check_bits(mg.compile(product, optimize=optimize)(x), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * 1,
        lambda x: x / 1,
        lambda x: 1.0 * x,
        lambda x: np.negative(-x),
        lambda x: x + -x[::-1],
        lambda x: -x + x[::-1],
        lambda x: x - -x[::-1],
        lambda x: -x * 0,
        lambda x: -(x * 0),
        lambda x: -x * -x[::-1],
        lambda x: -x * x[::-1],
        lambda x: np.maximum(x, 0),
        lambda x: np.maximum(x, -0.0),
        lambda x: np.maximum(0.0, x),
        lambda x: x * np.ones_like(x),
        lambda x: x * (x > 0),
        lambda x: np.sum(x) * np.zeros_like(x),
        lambda x: np.where(x > 0, x, 0),
        lambda x: x[::-1] * 2 + x[::1] * 3 - x[:] * 5,
        lambda x: x * np.where(np.arange(x.size) % 2, 0.0, -0.0),
        lambda x: np.power(x, np.full(x.shape, 0.5, x.dtype)),
        lambda x: x[0] ** 0.5 + x[1] ** 0.5,
    ],
)
def test_rewritings_at_special_numbers(f, dtype):
    check(f, special(dtype))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x / np.sqrt(2.0),
        lambda x: np.float64(0.1) * x,
        lambda x: x > np.float64(0.1),
        lambda x: np.maximum(x, np.float64(2.0)),
        lambda x: np.clip(x, np.float64(0.1), None),
        lambda x: np.clip(x, None, np.float64(0.1)),
        lambda x: np.where(x > 0, x, np.float64(0.1)),
        lambda x: x * np.float64(np.inf) + np.float64(0.1),
        lambda x: np.add(x, 0.1, dtype=np.float64),
        lambda x: np.float_power(0.1, x),
    ],
)
def test_a_double_with_a_single_precision_array(f, backend):
    if backend == "numba":
        pytest.importorskip("numba")
    x = np.array([0.1, 1.0, -3.0], np.float32)

    def call(x):
        return f(x)

    assert f(x).dtype != np.float32
    check_bits(mg.compile(call, backend=backend)(x), f(x))
    check_bits(mg.compile(call, optimize=False)(x), f(x))


# Powers of numbers


@pytest.mark.parametrize("exponent", [1e6, -1e6, 3.0, -3.0, 0.0, -0.0, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("optimize", [True, False])
def test_a_power_of_a_number_is_numpys(exponent, optimize):
    """Python's own numbers raise an error where NumPy's overflow."""
    f = lambda n: np.float_power(0.9, n) * 2  # noqa: E731
    with np.errstate(over="ignore"):
        check_bits(mg.compile(f, optimize=optimize)(exponent), f(np.float64(exponent)))


# Arrays without axes


SINGLE = [np.sum, np.prod, np.max, np.min, np.cumsum, np.cumprod, np.nanmax, np.nanprod, np.multiply.reduce]
SINGLE += [np.any, np.argmax, lambda x, axis: np.take(x, 0, axis=axis), lambda x, axis: np.repeat(x, 2, axis=axis)]


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("function", SINGLE)
def test_an_axis_of_an_array_without_axes(function, axis):
    backends = ["numba"] if pytest.importorskip("numba") else []
    for x in (np.array(2.5), np.array(3), np.array(True), np.array(1.5, np.float32)):
        check(lambda x: function(x, axis=axis), x, backends=backends)
    if function not in (np.any, np.argmax):

        def gradient(x):
            return mg.grad(lambda x: np.sum(function(x, axis=axis)))(x)

        spread = np.sum(function(np.array(2.5), axis=axis)) / 2.5  # they are linear in a single number
        for form in (gradient, mg.compile(gradient), mg.compile(gradient, optimize=False)):
            assert form(np.array(2.5)) == spread


# Products of matrices


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.ones((3, 3)) @ x,
        lambda x: x @ np.ones((3, 3)),
        lambda x: np.ones_like(x) @ x,
        lambda x: np.zeros((2, 3, 3)) @ x,
        lambda x: np.vecdot(x, np.ones((3, 3))),
        lambda x: mg.grad(lambda x: np.sum(x[None] @ np.swapaxes(x[None], -1, -2)))(x),
        *([lambda x: np.matvec(np.ones((3, 3)), x)] if hasattr(np, "matvec") else []),  # new in NumPy 2.2
        *([lambda x: np.vecmat(x, np.ones((3, 3)))] if hasattr(np, "vecmat") else []),
    ],
)
def test_products_of_matrices_with_constants(f):
    x = np.random.default_rng(0).normal(size=(3, 3))
    for optimize in (True, False):
        np.testing.assert_allclose(mg.compile(f, optimize=optimize)(x), f(x), rtol=1e-12)


# Optimizers


@pytest.mark.parametrize("compiling", [{"optimize": True}, {"optimize": False}, {"backend": "numba"}], ids=str)
@pytest.mark.parametrize(
    "make",
    [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, lr=0.1), lambda p: optim.SGD(p, lr=0.1)],
)
def test_a_parameter_without_a_gradient(make, compiling):
    if "backend" in compiling:
        pytest.importorskip("numba")
    x = np.random.default_rng(1).normal(size=(10, 2))

    def losses(wrap):
        model, extra = nn.Linear(2, 1, rng=np.random.default_rng(0)), nn.Parameter([1.0])
        optimizer = make([*model.parameters(), extra])

        def step(x, y):
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        f = wrap(step)
        return [float(f(x, 2 * x[:, :1])) for _ in range(4)], model.weight.data, extra.data

    for got, want in zip(losses(lambda f: mg.compile(f, **compiling)), losses(lambda f: f), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


OF_A_NUMBER = {
    "reshape": lambda x: np.reshape(x, (1, 1)),
    "of a result": lambda x: np.ravel(x * 2 + 1),
    "append": lambda x: np.append(x, 1.0),
    "kron": lambda x: np.kron(x, [1.0, 2.0]),
    "block": lambda x: np.block([[x, x], [x, x]]),
    "take": lambda x: np.take(x, [0, -1]),
    "column_stack": lambda x: np.column_stack([x, x]),
    "gradient": lambda x: mg.grad(lambda v: np.real(np.sum(np.reshape(v, (1,)) ** 2)))(x),
}


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", OF_A_NUMBER)
def test_functions_that_make_an_array_of_a_number(name, backend):
    if backend == "numba":
        pytest.importorskip("numba")
    f = OF_A_NUMBER[name]
    for optimize in (True, False):
        compiled = mg.compile(f, optimize=optimize, backend=backend)
        for x in (2.5, 1.0 + 2.0j, np.float64(0.5)):
            got, want = compiled(x), f(x)
            np.testing.assert_allclose(got, want, rtol=1e-14)
            assert np.result_type(got) == np.result_type(want)


@pytest.mark.parametrize("wrap", [mg.tensor, lambda x: x])
def test_extremes_of_nothing_raise(wrap):
    for function in (np.nanmax, np.nanmin, np.max, np.min):
        for f in (function, mg.compile(function)):
            with pytest.raises(ValueError, match="no identity"):
                f(wrap(np.zeros(0)))
            assert np.shape(f(wrap(np.zeros((0, 3))), axis=1)) == (0,)


@pytest.mark.parametrize("value", [3, 2.7, True, np.float32(1.5), [1, 0], -1.0, np.nan], ids=str)
@pytest.mark.parametrize("dtype", ["bool", "int64", "uint8", "float32", "complex128"])
def test_an_array_filled_with_a_number_of_another_dtype(dtype, value):
    like = np.ones((3, 2), dtype)
    if dtype == "uint8" and type(value) is float:
        value = abs(value) if value == value else 2.0  # how others are converted depends on the machine
    check_bits(np.full_like(mg.tensor(like), value).data, np.full_like(like, value))


@pytest.mark.parametrize("ends", [(0.0, 2.0), (-np.inf, 2.0), (0.0, np.inf), (-np.inf, np.inf)])
@pytest.mark.parametrize("fp", list(itertools.product([1.0, 2.5, np.inf, np.nan], repeat=3)))
def test_interpolation_between_infinite_and_missing_points(ends, fp):
    x, xp, fp = np.array([*special("float64"), 0.7]), np.array([ends[0], 1.0, ends[1]]), np.array(fp)
    for arguments in ((mg.tensor(x), xp, fp), (x, xp, mg.tensor(fp, requires_grad=True))):
        check_bits(np.interp(*arguments).data, np.interp(x, xp, fp))


@pytest.mark.parametrize(
    ("x", "xp", "right"),
    [
        (0.0, [-np.inf, 1.0, 2.0], [0.0, 1.0, 0.0]),  # the line is flat: f(x) = f(1) for x < 1
        (7.0, [0.0, 1.0, np.inf], [0.0, 1.0, 0.0]),
        (np.inf, [0.0, 1.0, np.inf], [0.0, 0.0, 1.0]),
        (-np.inf, [-np.inf, 1.0, 2.0], [1.0, 0.0, 0.0]),
        (1.0, [-np.inf, 1.0, np.inf], [0.0, 1.0, 0.0]),
    ],
)
def test_the_derivative_of_an_interpolation_towards_an_infinite_point(x, xp, right):
    of_x, of_fp = mg.grad(lambda x, fp: np.interp(x, xp, fp), argnums=(0, 1))(x, np.array([3.0, 5.0, 4.0]))
    assert of_x == 0
    np.testing.assert_array_equal(of_fp, right)


def test_a_conversion_without_a_copy():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    assert x.astype(float, copy=False) is x
    assert x.astype(np.float32, copy=False).dtype == np.float32
    compiled = mg.compile(lambda x: x.astype(np.float32, copy=False) * 2)
    for dtype in (np.float64, np.float32):
        assert compiled(np.ones(2, dtype)).dtype == np.float32


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("dtype", [">f8", ">i4", "U5", "S3", "V8", "M8[s]", [("a", float)], object])
def test_a_conversion_to_a_dtype_with_details(dtype, optimize):
    x = np.array([1.0, 2.0])
    compiled = mg.compile(lambda x: x.astype(dtype), optimize=optimize)
    assert compiled(x).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(compiled(x), x.astype(dtype))
    compiled = mg.compile(lambda x: x[0].astype(str), optimize=optimize)
    assert compiled(x) == x[0].astype(str)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_constants_in_another_byte_order(backend):
    if backend == "numba":
        pytest.importorskip("numba")
    compiled = mg.compile(
        lambda x: np.tanh(x) * np.arange(3).astype(">i4") + np.arange(3).astype(">f8"), backend=backend
    )
    x = np.ones(3)
    np.testing.assert_allclose(compiled(x), np.tanh(x) * np.arange(3) + np.arange(3), rtol=1e-15)


def test_a_constant_in_extended_precision():
    x, tenth = np.ones(3), np.longdouble(1) / 10
    result = mg.compile(lambda x: np.mean(x) / tenth)(x)
    assert (result, result.dtype) == (1 / tenth, tenth.dtype)


@pytest.mark.parametrize("f", [np.sum, np.mean, np.nansum])
def test_the_derivative_at_elements_that_a_reduction_leaves_out(f):
    x, where = np.array([1.0, 2.0, 7.0]), np.array([True, True, False])
    of_x = mg.grad(lambda x: f(x, where=where) * np.inf)(x)
    np.testing.assert_array_equal(of_x, [np.inf, np.inf, 0])
    moved = mg.jvp(lambda x: f(x, where=where), (x,), (np.array([1.0, 3.0, np.nan]),))[1]
    np.testing.assert_allclose(moved, f([1.0, 3.0]))


def test_the_conjugate_of_bools():
    for x in (np.array([True, False]), np.array(True), np.array([1 + 2j]), np.array([1, 2])):
        for value in (mg.tensor(x).conj().data, mg.compile(lambda x: x.conj())(x)):
            np.testing.assert_array_equal(value, x.conj())
            assert value.dtype == x.conj().dtype
