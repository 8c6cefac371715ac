"""The derivative table's messages, and properties that finite differences can't see.

Owns: messages of the rules and their warnings, the parameters of composites,
derivatives at special points.
Must not own: the laws that every rule obeys (`test_laws.py`).
Read next: `tests/rows/__init__.py`.
"""

import contextlib
import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.registry import COMPOSITES
from microgradnd.rules.elementwise import i0_derivative, sinc_derivative
from microgradnd.rules.values import ratio
from microgradnd.testing import arrays, check_grads

# Composites have NumPy's parameters: no name or position may mean anything else here

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
LEFT_OUT = {"out", "bias", "interpolation"}  # `out` can't be recorded; the others are deprecated, and gone in NumPy 2.4


def with_signatures():
    """Return the composites of functions whose signatures NumPy knows."""
    found = []
    for function, spelling in COMPOSITES.items():
        if isinstance(function, np.ufunc) or isinstance(getattr(function, "__self__", None), np.ufunc):
            continue
        try:
            found.append((function, inspect.signature(function), inspect.signature(spelling)))
        except ValueError:
            continue
    return found


@pytest.mark.parametrize(("function", "numpys", "ours"), with_signatures(), ids=lambda v: getattr(v, "__name__", ""))
def test_a_composite_has_the_parameters_of_numpy(function, numpys, ours):
    kinds = {p.kind for p in ours.parameters.values()}
    wanted = [p.name for p in numpys.parameters.values() if p.kind in POSITIONAL]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        given_ = [p.name for p in ours.parameters.values() if p.kind in POSITIONAL]
        assert all(a == b for a, b in zip(given_[1:], wanted[1:], strict=False))
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            assert set(wanted[len(given_) :]) <= LEFT_OUT | ({"ddof"} if function is np.corrcoef else set())
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        keywords = {p.name for p in numpys.parameters.values() if p.kind is p.KEYWORD_ONLY}
        assert keywords - set(ours.parameters) <= LEFT_OUT


# Messages

X, M = np.array([1.0, 2.0, 4.0]), np.arange(6.0).reshape(2, 3)

WRONG = {
    "clip twice": (lambda x: np.clip(x, 0.0, 1.0, min=0.0), TypeError, "min= and max=, or a_min and a_max, not both"),
    "select": (lambda x: np.select([x > 0], [x, x]), ValueError, "one choice, got 1 conditions and 2 choices"),
    "choose": (lambda x: np.choose([0, 1, 2], [x, x]), ValueError, "one of its 2 choices, from 0; see mode='wrap'"),
    "piecewise": (lambda x: np.piecewise(x, [x > 0, x < 0], [1.0]), ValueError, "2 conditions and 1 functions"),
    "out": (lambda x: np.median(x, out=np.zeros(())), TypeError, "median: out= can't be recorded"),
    "out by position": (lambda x: np.var(x, None, None, np.zeros(())), TypeError, "var: out= can't be recorded"),
    "median of none": (lambda x: np.median(x[:0]), ValueError, r"at least one element, got axis=None of shape \(0,\)"),
    "weighted quantile": (
        lambda x: np.quantile(x, 0.5, method="inverted_cdf", weights=[1, 2, 3]),
        NotImplementedError,
        "weights= have no derivative here; sort the elements and their weights",
    ),
    "average of nothing": (lambda x: np.average(x, weights=[1, -1, 0]), ZeroDivisionError, "must not add up to 0"),
    "average": (
        lambda x: np.average(x, axis=0, weights=[1, 2]),
        ValueError,
        r"the shape of the array, \(3,\), .* got shape \(2,\)",
    ),
    "cov": (lambda x: np.cov(np.ones((2, 2, 2)) * x[0]), ValueError, r"vector or a matrix, got shape \(2, 2, 2\)"),
    "cov's frequencies": (lambda x: np.cov(x, fweights=[1.5, 2, 1]), TypeError, r"must be integers, got \[1.5, 2, 1\]"),
    "cov's weights": (lambda x: np.cov(x, aweights=[-1, 2, 1]), ValueError, "aweights must not be negative"),
    "cov's shapes": (lambda x: np.cov(x, aweights=[[1, 2, 1]]), RuntimeError, r"observation, 3, got shape \(1, 3\)"),
    "cov's freedom": (lambda x: np.cov(x, ddof=1.5), ValueError, "must be an integer, got 1.5"),
    "numbers as a mask of a variance": (lambda x: np.var(x, where=[1, 2, 0]), TypeError, "var: where= must hold bool"),
    "ediff1d": (lambda x: np.ediff1d(x, to_end=1j), TypeError, "fits float64, .* got complex128"),
    "diff": (lambda x: np.diff(x, -1), ValueError, "n, .* must be 0 or more, got -1"),
    "gradient": (lambda x: np.gradient(x, 1.0, 2.0), TypeError, "one per axis, got 2 for 1 axes"),
    "gradient's spacing": (
        lambda x: np.gradient(x, [1.0, 2.0]),
        ValueError,
        r"the coordinates of its 3 elements, got shape \(2,\)",
    ),
    "gradient's edge": (lambda x: np.gradient(x, edge_order=3), ValueError, "must be 1 or 2, got 3"),
    "gradient's length": (lambda x: np.gradient(x[:1]), ValueError, "at least edge_order . 1 elements, got 1"),
    "interp": (lambda x: np.interp(x, [0.0, 1.0], [1.0]), ValueError, r"equal length, got shapes \(2,\) and \(1,\)"),
    "interp's period": (lambda x: np.interp(x, [0.0], [1.0], period=0), ValueError, "period must not be 0"),
    "geomspace": (lambda x: np.geomspace(x[0], 0.0), ValueError, "must not be 0"),
    "polyder": (lambda x: np.polyder(x, -1), ValueError, "the number of derivatives, must be 0 or more, got -1"),
    "polyint": (lambda x: np.polyint(x, -1), ValueError, "the number of integrals, must be 0 or more, got -1"),
    "polyint's constants": (lambda x: np.polyint(x, 3, [1.0, 2.0]), ValueError, "one per integral, got 2 for m=3"),
    "polyfit": (lambda x: np.polyfit(x, x, 2, cov=True), ValueError, "more points than coefficients, got 3 and 3"),
    "spacing": (np.spacing, NotImplementedError, "spacing cannot be differentiated: it steps through"),
}
if hasattr(np, "cumulative_sum"):
    WRONG["cumulative_sum"] = (
        lambda x: np.cumulative_sum(np.stack([x, x])),
        ValueError,
        r"cumulative_sum of a tensor of shape \(2, 3\) needs axis=",
    )


@pytest.mark.parametrize("name", WRONG)
def test_errors_say_what_to_do(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call(mg.tensor(X, requires_grad=True))


def test_warnings_are_numpys():
    x = mg.tensor([[np.nan, 1.0], [np.nan, 2.0]], requires_grad=True)
    with pytest.warns(RuntimeWarning, match="All-NaN slice"):
        medians = np.nanmedian(x, axis=0)
    np.testing.assert_array_equal(medians.data, [np.nan, 1.5])
    with pytest.warns(np.exceptions.RankWarning, match="poorly conditioned"):
        np.polyfit(np.ones(3), mg.tensor(X, requires_grad=True), 1)


# Integer and boolean results are plain arrays; step functions have gradient 0


@pytest.mark.parametrize(
    "call",
    [np.argsort, np.argpartition, np.lexsort, np.searchsorted, np.digitize, np.isnan, np.argmax, np.nanargmin],
    ids=lambda f: f.__name__,
)
def test_indices_are_plain_arrays(call):
    x = mg.tensor(X, requires_grad=True)
    arguments = {np.argpartition: (x, 1), np.searchsorted: (x, 1.5), np.digitize: (x, X), np.lexsort: ((x, x),)}
    found = call(*arguments.get(call, (x,)))
    assert isinstance(found, np.ndarray | np.generic)
    assert found.dtype.kind in "ib"


def test_counts_are_plain_and_bins_are_constant():
    counts, edges = np.histogram(mg.tensor(X, requires_grad=True), bins=2)
    np.testing.assert_array_equal(counts, [2, 1])
    assert type(edges) is np.ndarray


@given(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]) | st.floats(-1, 2), min_size=1, max_size=30))
def test_a_weighted_histogram_counts_as_numpy_does(values):
    x, weights = np.array(values), np.linspace(1.0, 2.0, len(values))
    for options in ({}, {"bins": 7, "range": (0.0, 1.0)}, {"bins": [0.0, 0.3, 0.5, 1.0]}):
        expected, edges = np.histogram(x, weights=weights, **options)
        found, our_edges = np.histogram(x, weights=mg.tensor(weights, requires_grad=True), **options)
        np.testing.assert_allclose(found.data, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(our_edges, edges)


# Beyond second order, and where formulas divide by 0


@given(st.floats(-30.0, 30.0))
def test_derivatives_of_sinc_near_and_far(x):
    """Near 0, where the recursion loses digits, and on both sides of its start."""
    step = 1e-5
    for order in range(4):
        slope = (sinc_derivative(np.array(x + step), order) - sinc_derivative(np.array(x - step), order)) / (2 * step)
        np.testing.assert_allclose(sinc_derivative(np.array(x), order + 1), slope, rtol=1e-6, atol=1e-6 * np.pi**order)


def test_derivatives_of_i0_are_the_bessel_functions():
    """I0' = I1 and I0'' = I0 - I1 / x; values: Abramowitz and Stegun, table 9.8."""
    x = np.array([0.2, 1.0, 5.0])
    np.testing.assert_allclose(
        i0_derivative(x, 1), [0.10050083402813, 0.565159103992485, 24.335642142450528], rtol=1e-13
    )
    np.testing.assert_allclose(i0_derivative(x, 2), np.i0(x) - i0_derivative(x, 1) / x, rtol=1e-13)
    assert mg.grad(mg.grad(np.i0))(0.0) == pytest.approx(0.5, rel=1e-15)
    assert mg.grad(np.i0)(700.0) / np.i0(700.0) == pytest.approx(1 - 1 / 1400, rel=1e-6)


def test_sinc_is_curved_at_0():
    assert mg.grad(mg.grad(np.sinc))(0.0) == pytest.approx(-(np.pi**2) / 3, rel=1e-15)


@given(arrays((2, 4), low=-2.0, high=2.0), st.integers(0, 255))
def test_products_have_exact_derivatives_of_second_order_wherever_there_are_zeros(x, zeros):
    x = np.where(np.array([zeros >> i & 1 for i in range(8)]).reshape(2, 4), 0.0, x)
    check_grads(lambda v: np.prod(v, axis=1), x)
    check_grads(lambda v: np.cumprod(v, axis=1), x)
    second = mg.hessian(lambda v: np.prod(v))(x[0])
    for i in range(4):
        for j in range(4):
            rest = [x[0, k] for k in range(4) if k not in (i, j)]
            assert second[i, j] == pytest.approx(0.0 if i == j else np.prod(rest), rel=1e-12, abs=1e-300)


@given(st.floats(1e-3, 1e6), st.integers(1, 50), st.sampled_from([np.float32, np.float64]))
def test_the_standard_deviation_of_equal_elements_has_gradient_0(value, n, dtype):
    np.testing.assert_array_equal(mg.grad(np.std)(np.full(n, value, dtype)), np.zeros(n, dtype))


def test_all_nan_has_gradient_0():
    x = np.array([[np.nan, np.nan], [1.0, 2.0]])
    for function in (np.nanmax, np.nanmin, np.nanmean, np.nanvar, np.nansum):
        with (
            np.errstate(invalid="ignore"),
            pytest.warns() if function in (np.nanmean, np.nanvar) else contextlib.nullcontext(),
        ):
            gradient = mg.grad(lambda v, f=function: np.sum(np.nan_to_num(f(v, axis=1))))(x)
        np.testing.assert_array_equal(gradient[0], [0.0, 0.0])
        assert np.all(np.isfinite(gradient))


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["full", "same", "valid"]), st.integers(0, 99))
def test_convolution_of_any_lengths(n, m, mode, seed):
    rng = np.random.default_rng(seed)
    a, v = rng.normal(size=n), rng.normal(size=m)
    check_grads(lambda a, v: np.convolve(a, v, mode), a, v, order=1)
    check_grads(lambda a, v: np.correlate(a, v, mode), a, v, order=1)


# Ties: whichever element a result comes from, both modes agree on it


ORDERED = {
    "max": np.max,
    "min": np.min,
    "max-where": lambda x: np.max(x, where=np.arange(x.size) % 3 > 0, initial=-9.0),
    "ptp": np.ptp,
    "sort": np.sort,
    "partition": lambda x: np.partition(x, x.size // 2),
    "median": np.median,
    "quantile": lambda x: np.quantile(x, [0.1, 0.35, 0.9]),
    "percentile": lambda x: np.percentile(x, 40, method="hazen"),
    "maximum": lambda x: np.maximum(x, x[::-1]),
    "minimum": lambda x: np.minimum(x, 1.0),
    "clip": lambda x: np.clip(x, 0.0, 1.0),
    "maximum.accumulate": np.maximum.accumulate,
    "minimum.accumulate": np.minimum.accumulate,
    "norm-inf": lambda x: np.linalg.norm(x, np.inf),
    "logaddexp.reduce": np.logaddexp.reduce,
    "nanmax": np.nanmax,
    "interp": lambda x: np.interp(x, [-1.0, 0.0, 1.0, 2.0], [2.0, 0.0, 1.0, 5.0]),
    "where": lambda x: np.where(x > 0, x, 2 * x),
    "abs": np.abs,
    "argsort": lambda x: x[np.argsort(x, kind="stable")],
}


@pytest.mark.parametrize("name", ORDERED)
def test_modes_agree_where_elements_tie(name):
    f = ORDERED[name]

    @given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.0]), min_size=1, max_size=70), st.integers(0, 2**20))
    def law(values, seed):
        x, rng = np.array(values), np.random.default_rng(seed)
        t = rng.normal(size=x.shape)
        value, pullback = mg.vjp(f, x)
        g = rng.normal(size=np.shape(value))
        moved = mg.jvp(f, (x,), (t,))[1]
        assert np.sum(moved * g) == pytest.approx(np.sum(pullback(g)[0] * t), rel=1e-9, abs=1e-9)

    law()


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=100), st.integers(1, 9))
def test_equal_elements_keep_their_order(values, times):
    """A short array is sorted by insertion, which keeps their order anyway."""
    x = np.tile(values, times)
    g = np.arange(1.0, x.size + 1)
    right = np.empty(x.size)
    right[np.argsort(x, kind="stable")] = g
    np.testing.assert_array_equal(mg.vjp(np.sort, x)[1](g)[0], right)
    np.testing.assert_array_equal(mg.vjp(lambda v: np.sort(v.reshape(-1, 1), axis=0)[:, 0], x)[1](g)[0], right)


# NaN: a NaN result passes NaN on


@pytest.mark.parametrize(
    "f",
    [
        np.max,
        np.min,
        np.ptp,
        np.median,
        np.std,
        np.linalg.norm,
        lambda x: np.linalg.norm(x, np.inf),
        lambda x: np.quantile(x, 0.5),
        lambda x: np.sum(np.maximum(x, 0.0)),
        lambda x: np.sum(np.clip(x, -1.0, 1.0)),
        lambda x: np.sum(np.hypot(x, 1.0)),
        lambda x: np.sum(np.abs(x)),
        np.logaddexp.reduce,
    ],
)
def test_nan_is_passed_on(f):
    x = np.array([np.nan, 1.0])
    with np.errstate(invalid="ignore"):
        assert np.isnan(f(x))
        assert np.isnan(mg.grad(f)(x)).any()
        assert np.isnan(mg.jvp(f, (x,), (np.ones(2),))[1])


# Large arrays, whose rules compute in another way


@pytest.mark.parametrize("n", [10, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_where_picks_the_bits_of_the_cotangent(n, dtype):
    special = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 6e-8], dtype)
    g, mask = np.tile(special, (n, 1)), np.random.default_rng(0).random((n, 8)) < 0.5
    x, y = np.ones((n, 8), dtype), np.ones((n, 8), dtype)
    for condition in (mask, mask[:, :1], mask.astype(int)):
        for_x, for_y = mg.vjp(lambda x, y, c=condition: np.where(c, x, y), x, y)[1](g)
        np.testing.assert_array_equal(for_x, np.where(condition, g, 0), strict=True)
        np.testing.assert_array_equal(for_y, np.where(condition, 0, g), strict=True)
        assert not np.signbit(for_x[~np.broadcast_to(condition, g.shape).astype(bool)]).any()


@pytest.mark.parametrize("extreme", [np.max, np.min])
def test_a_row_of_nan_and_a_tie_in_another_row(extreme):
    x = np.array([[np.nan, 1.0], [2.0, 2.0], [3.0, 4.0]])  # as many equal elements as results
    gradient = mg.grad(lambda x: np.sum(extreme(x, axis=1)))(x)
    np.testing.assert_array_equal(gradient[:2], [[np.nan, np.nan], [0.5, 0.5]])
    assert gradient[2].sum() == 1


def test_a_maximum_shares_ties_beside_other_elements():
    x, y = np.array([1.0, 2.0, np.nan, 0.0, -np.inf, np.inf]), np.array([2.0, 2.0, 1.0, -0.0, -np.inf, np.nan])
    for extreme, of_x in (
        (np.maximum, [0, 0.5, np.nan, 0.5, 0.5, np.nan]),
        (np.minimum, [1, 0.5, np.nan, 0.5, 0.5, np.nan]),
    ):
        for_x, for_y = mg.vjp(extreme, x, y)[1](np.ones(6))
        np.testing.assert_array_equal(for_x, of_x)
        np.testing.assert_array_equal(for_y, 1 - np.array(of_x))
        np.testing.assert_array_equal(mg.jvp(extreme, (x, y), (np.ones(6), np.zeros(6)))[1], of_x)


# Half precision: counts and sums of many elements


REDUCTIONS = [np.sum, np.mean, np.prod, np.max, np.min, np.nansum, np.nanmean, np.nanmax, np.add.reduce]


@pytest.mark.parametrize("mask", [[1, 2, 0, 3], (True, 0, 5, 0), [1.5, 0, 2, 1], 2, 2.5, np.float32(2)], ids=repr)
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=lambda f: f.__name__)
def test_numbers_in_a_mask_are_truth_values(reduction, mask):
    """NumPy takes lists of numbers as masks; its mean divides by their sum."""
    options = {"where": mask, **({"initial": -9.0} if reduction in (np.max, np.min, np.nanmax) else {})}
    x = np.array([1.0, -2.0, 3.0, 4.0])
    steps = 1e-6 * np.eye(4)
    right = [(reduction(x + step, **options) - reduction(x - step, **options)) / 2e-6 for step in steps]
    np.testing.assert_allclose(mg.grad(lambda x: reduction(x, **options))(x), right, rtol=1e-6, atol=1e-6)
    moved = [mg.jvp(lambda x: reduction(x, **options), (x,), (e,))[1] for e in np.eye(4)]
    np.testing.assert_allclose(moved, right, rtol=1e-6, atol=1e-6)


def test_many_elements_in_half_precision():
    n = 70_000
    x = np.ones(n, np.float16)
    for f, right in ((np.max, 1 / n), (np.mean, 1 / n), (lambda x: np.linalg.norm(x, np.inf), 1 / n)):
        gradient = mg.grad(f)(x)
        assert gradient.dtype == np.float16
        np.testing.assert_allclose(gradient.astype(float), right, rtol=5e-2)
        assert float(mg.jvp(f, (x,), (x,))[1]) == pytest.approx(1.0, rel=5e-2)


# A negative base has a complex logarithm


@given(st.floats(-3.0, -0.2), st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
def test_a_negative_base_with_a_complex_exponent(base, real, imaginary):
    z = complex(real, imaginary)
    logarithm = np.log(complex(base))
    power = np.exp(z * logarithm)
    slope = mg.vjp(lambda z: np.power(np.array(base), z), np.array(z))[1](np.array(1 + 0j))[0]
    np.testing.assert_allclose(slope, logarithm * power, rtol=1e-10)
    moved = mg.jvp(lambda x: np.power(x, z), (np.array(base),), (np.array(1.0),))[1]
    np.testing.assert_allclose(moved, z * power / base, rtol=1e-10)


# Where a wrong rule looks right on ordinary numbers


def test_arccosh_on_all_its_branches():
    z = np.array([-0.5 + 1j, -2 - 0.5j, 1.5 - 2j, -3 + 0.1j, 0.25 + 0.5j])
    check_grads(np.arccosh, z, order=1)


def test_remainders_of_negative_numbers():
    x, y = np.array([-0.5, 3.7, -4.2, 0.3]), np.array([2.0, 1.5, 1.3, -0.7])
    check_grads(np.remainder, x, y, order=1)
    check_grads(np.fmod, x, y, order=1)


@pytest.mark.parametrize("function", [np.fmax, np.fmin])
def test_the_operand_that_is_not_nan_gets_the_gradient(function):
    x, y = np.array([np.nan, 1.0, 2.0, 2.0]), np.array([1.0, np.nan, 3.0, 2.0])
    gradients = mg.grad(lambda x, y: np.sum(function(x, y)), (0, 1))(x, y)
    larger = function is np.fmin
    np.testing.assert_array_equal(gradients[0], [0.0, 1.0, float(larger), 0.5])
    np.testing.assert_array_equal(gradients[1], [1.0, 0.0, float(not larger), 0.5])


def test_interpolation_beyond_all_points():
    xp, fp = np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, -1.0])
    for x, weights in ((np.inf, [0.0, 0.0, 1.0]), (-np.inf, [1.0, 0.0, 0.0])):
        slope, by_fp = mg.grad(lambda x, fp: np.interp(x, xp, fp), (0, 1))(x, fp)
        assert slope == 0.0
        np.testing.assert_array_equal(by_fp, weights)


def test_eigh_uses_the_symmetric_part_of_a_tangent():
    rng = np.random.default_rng(0)
    a, t = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    a = a + a.T
    (w, v), (dw, dv) = mg.jvp(np.linalg.eigh, (a,), (t,))
    np.testing.assert_allclose(dw, np.diag(v.T @ (t + t.T) @ v) / 2)
    _, (same_w, same_v) = mg.jvp(np.linalg.eigh, (a,), ((t + t.T) / 2,))
    np.testing.assert_allclose(dw, same_w)
    np.testing.assert_allclose(dv, same_v)
    assert w.shape == (3,)


def test_rows_of_three_axes_picked_repeatedly():
    rng = np.random.default_rng(0)
    x, index, c = rng.normal(size=(10, 3, 4)), rng.integers(0, 10, 60), rng.normal(size=(60, 3, 4))
    expected = np.zeros_like(x)
    np.add.at(expected, index, c)
    np.testing.assert_allclose(mg.grad(lambda x: np.sum(x[index] * c))(x), expected)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0.5, 3), st.booleans()), min_size=1))
def test_a_value_chosen_at_a_kink_has_no_derivative(drawn):
    x, y, undefined = map(np.array, zip(*drawn, strict=True))
    np.testing.assert_array_equal(ratio(x, y, undefined), np.where(undefined, 0, x / y))
    by_x, by_y = mg.grad(lambda x, y: np.sum(ratio(x, y, undefined)), (0, 1))(x, y)
    np.testing.assert_allclose(by_x, np.where(undefined, np.nan, 1 / y))
    np.testing.assert_allclose(by_y, np.where(undefined, np.nan, -x / y**2))
