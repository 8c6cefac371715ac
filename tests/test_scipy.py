"""SciPy's functions beyond their rows.

Owns: properties that a law on one row doesn't show: tails, kinks, unread triangles,
options, programs, pictures, messages.
Must not own: rows (`rows/special.py`, `rows/scipy_linalg.py`), comparisons with PyTorch
(`test_torch_scipy.py`).
Read next: `rows/special.py`.
"""

import builtins
import importlib
import sys

import numpy as np
import pytest
import scipy
from scipy import linalg as slinalg
from scipy import special as sspecial

import microgradnd as mg
from microgradnd import viz
from microgradnd.scipy import linalg, special
from microgradnd.testing import check_grads

UPPER = np.array([[2.0, 1.0, 0.5], [0.0, 3.0, -1.0], [0.0, 0.0, 4.0]])
RIGHT = np.array([1.0, 2.0, 3.0])
POSITIVE = UPPER.T @ UPPER


def leaf(data):
    return mg.tensor(data, requires_grad=True)


def gradient(f, *args):
    return mg.grad(lambda *a: np.sum(f(*a)))(*args)


# Tails and edges of scipy.special


def test_ufuncs_are_scipys_own_and_work_there_too():
    assert special.erf is sspecial.erf
    t = leaf([0.5])
    sspecial.erf(t).backward()
    np.testing.assert_allclose(t.grad, 2 / np.sqrt(np.pi) * np.exp(-0.25))


def test_log_ndtr_in_the_tail():
    """There density over probability is 0 / 0; the derivative is a series in 1/x."""
    x = np.array([-1e3, -1e4, -1e8, -1e75])
    np.testing.assert_allclose(gradient(special.log_ndtr, x), -x - 1 / x + 2 / x**3 - 10 / x / x**4, rtol=1e-14)
    np.testing.assert_allclose(
        gradient(special.log_ndtr, np.array([10.0])), np.exp(-50) / np.sqrt(2 * np.pi), rtol=1e-14
    )
    assert gradient(special.log_ndtr, np.array([50.0, np.inf])).tolist() == [0.0, 0.0]


def test_erfc_and_erfcx_in_the_tail():
    x = np.array([5.0, 10.0, 26.0])
    np.testing.assert_allclose(gradient(special.erfc, x), -2 / np.sqrt(np.pi) * np.exp(-x * x), rtol=1e-13)
    assert gradient(special.erfc, np.array([1e3, np.inf, -np.inf])).tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(gradient(special.erfcx, np.array([20.0])), -1 / (np.sqrt(np.pi) * 400), rtol=4e-3)


def test_the_logistic_function_in_its_tails():
    x = np.array([-700.0, 40.0, 700.0])
    np.testing.assert_allclose(gradient(special.expit, x), np.exp(-np.abs(x)), rtol=1e-13)
    np.testing.assert_allclose(gradient(special.log_expit, x), sspecial.expit(-x), rtol=1e-14)
    np.testing.assert_allclose(mg.grad(mg.grad(special.expit))(40.0), -np.exp(-40.0), rtol=1e-13)


def test_edges_of_domains_are_infinite_or_nan():
    with np.errstate(all="ignore"):  # NumPy warns of each infinity and NaN that is asserted here
        assert gradient(special.logit, np.array([0.0, 1.0])).tolist() == [np.inf, np.inf]
        assert gradient(special.ndtri, np.array([0.0, 1.0])).tolist() == [np.inf, np.inf]
        assert gradient(special.erfinv, np.array([-1.0, 1.0])).tolist() == [np.inf, np.inf]
        assert np.isnan(gradient(special.xlogy, np.array([1.0]), np.array([-1.0]))).all()
        assert gradient(lambda y: special.xlogy(2.0, y), np.array([0.0])).tolist() == [np.inf]


def test_xlogy_at_0():
    """0 log 0 is 0 with derivative 0, as in an entropy, and second derivative NaN."""
    p = np.array([0.0, 1.0])
    np.testing.assert_array_equal(gradient(lambda p: special.xlogy(p, p), p), [0.0, 1.0])
    with np.errstate(invalid="ignore"):
        assert np.isnan(mg.grad(mg.grad(lambda y: special.xlogy(0.0, y)))(0.0))
    assert mg.grad(mg.grad(lambda y: special.xlogy(0.0, y)))(2.0) == 0


def test_orders_have_no_derivative():
    for f in (special.jv, special.iv, special.yv, special.kv, special.polygamma):
        with pytest.raises(NotImplementedError, match=f"{f.__name__} has no derivative with respect to its argument 0"):
            mg.grad(f)(1.0, 2.0)


def test_logsumexp_is_numpys_logaddexp():
    x = np.array([[-np.inf, -np.inf, 1.0, 700.0], [-np.inf, 3.0, 1.0, -700.0]])
    a, b = mg.grad(lambda x: np.sum(special.logsumexp(x, axis=0)))(x)
    c, d = mg.grad(lambda a, b: np.sum(np.logaddexp(a, b)), (0, 1))(*x)
    np.testing.assert_allclose([a, b], [c, d], rtol=1e-14)


@pytest.mark.parametrize(("dtype", "x"), [(np.float64, 1e16), (np.float32, 1e7), (np.float16, 3000)])
def test_logsumexp_far_from_0(dtype, x):
    """The shares are those of the differences, although the result is rounded."""
    a, b = np.array([x, x, -x], dtype), np.array([1, 3, 1], dtype)
    assert mg.grad(special.logsumexp)(a).tolist() == [0.5, 0.5, 0]
    assert mg.jvp(special.logsumexp, (a,), (np.array([1, 0, 5], dtype),))[1] == 0.5
    by_a, by_b = mg.grad(lambda a, b: special.logsumexp(a, b=b), (0, 1))(a, b)
    np.testing.assert_allclose(by_a, [0.25, 0.75, 0], 1e-3)
    np.testing.assert_allclose(by_b, [0.25, 0.25, 0], 1e-3)
    rows = mg.grad(lambda a: np.sum(special.logsumexp(a, axis=1)))(np.array([a, [-np.inf] * 3], dtype))
    assert rows.tolist() == [[0.5, 0.5, 0], [0, 0, 0]]


@pytest.mark.parametrize(("dtype", "digits"), [(np.float64, 1e-12), (np.float32, 1e-3)])
def test_erfcx_of_large_numbers(dtype, digits):
    """The slope approaches -1 / (x^2 sqrt(pi)), a difference of nearly equal terms."""
    x = np.array([0.5, 49, 51, 1e4, 1e8, 1e12], dtype)
    with np.errstate(all="ignore"):
        slopes = mg.elementwise_grad(special.erfcx)(x)
    direct = -0.5 * special.erfcx(0.5) + 3 * special.erfcx(0.5) / 2 - 2 / np.sqrt(np.pi)
    np.testing.assert_allclose(slopes[0], direct, digits)
    far = x[1:].astype(float) ** -2
    series = -far / np.sqrt(np.pi) * (1 - 3 / 2 * far + 15 / 4 * far**2 - 105 / 8 * far**3)
    np.testing.assert_allclose(slopes[1:], series, max(digits, 1e-11))
    np.testing.assert_allclose(mg.grad(mg.grad(special.erfcx))(1e8), 2e-24 / np.sqrt(np.pi))


def test_logsumexp_of_a_sum_that_is_0():
    """If no element counts, the sum is 0, and the derivative by a weight infinite."""
    a, b = np.array([0.0, 1.0]), np.zeros(2)
    with np.errstate(all="ignore"):
        assert mg.grad(lambda b: special.logsumexp(a, b=b))(b).tolist() == [np.inf, np.inf]


def test_logsumexp_refuses_the_sign():
    with pytest.raises(NotImplementedError, match=r"return_sign=True has no derivative.*scipy\.special\.logsumexp"):
        special.logsumexp(leaf([1.0]), return_sign=True)


def test_options_of_ufuncs():
    t = leaf([0.5, 0.5])
    out = special.erf(t, where=np.array([True, False]))
    out.sum().backward()
    np.testing.assert_allclose(t.grad, [2 / np.sqrt(np.pi) * np.exp(-0.25), 0])


# The triangle that isn't read


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("trans", [0, 1, 2])
@pytest.mark.parametrize("unit", [False, True])
def test_the_other_triangle_is_not_read_and_has_no_gradient(lower, trans, unit):
    a = UPPER.T.copy() if lower else UPPER.copy()
    other = np.triu(np.ones((3, 3), bool), not unit) if lower else np.tril(np.ones((3, 3), bool), -(not unit))
    spoilt = np.where(other, np.nan, a)
    options = {"trans": trans, "lower": lower, "unit_diagonal": unit, "check_finite": False}

    def f(a, b):
        return np.sum(np.sin(linalg.solve_triangular(a, b, **options)))

    value, (of_a, of_b) = mg.value_and_grad(f, (0, 1))(a, RIGHT)
    spoilt_value, (of_spoilt, of_right) = mg.value_and_grad(f, (0, 1))(spoilt, RIGHT)
    assert value == spoilt_value
    np.testing.assert_array_equal(of_a[other], 0)
    np.testing.assert_array_equal(of_spoilt, of_a)
    np.testing.assert_array_equal(of_right, of_b)
    _, tangent = mg.jvp(lambda a: f(a, RIGHT), (spoilt,), (np.where(other, np.nan, 1.0),))
    np.testing.assert_allclose(tangent, of_a.sum(), rtol=1e-12)
    second = mg.grad(lambda a: np.sum(mg.grad(f)(a, RIGHT) ** 2))(spoilt)
    np.testing.assert_array_equal(second[other], 0)
    assert np.isfinite(second).all()


def test_scipys_own_check_of_finite_numbers_stays():
    spoilt = np.where(np.tri(3, k=-1), np.nan, UPPER)
    with pytest.raises(ValueError, match="infs or NaNs"):
        linalg.solve_triangular(leaf(spoilt), RIGHT)


def test_permission_to_overwrite_is_never_used():
    a, b, m = UPPER.copy(order="F"), RIGHT.copy(), POSITIVE.copy(order="F")
    linalg.solve_triangular(a, b, overwrite_b=True)
    factor = linalg.cho_factor(m, overwrite_a=True)
    linalg.cho_solve(factor, b, overwrite_b=True)
    np.testing.assert_array_equal(a, UPPER)
    np.testing.assert_array_equal(b, RIGHT)
    np.testing.assert_array_equal(m, POSITIVE)


@pytest.mark.parametrize("lower", [False, True])
def test_cholesky_reads_and_fills_one_triangle(lower):
    c, which = linalg.cho_factor(leaf(POSITIVE), lower)
    expected, _ = slinalg.cho_factor(POSITIVE, lower)
    assert which is lower
    np.testing.assert_array_equal(c.data, expected)
    other = np.triu(np.ones((3, 3), bool), 1) if lower else np.tril(np.ones((3, 3), bool), -1)
    assert gradient(lambda a: linalg.cho_factor(a, lower)[0][other], POSITIVE).tolist() == np.zeros((3, 3)).tolist()
    spoilt = np.where(other, np.nan, c.data)
    for f in (lambda c: linalg.cho_solve((c, lower), RIGHT, check_finite=False),):
        np.testing.assert_array_equal(f(spoilt), f(c.data))
        np.testing.assert_array_equal(gradient(f, spoilt), gradient(f, c.data))
        np.testing.assert_array_equal(gradient(f, spoilt)[other], 0)


def test_cholesky_agrees_with_numpys():
    def theirs(a):
        return np.sum(np.linalg.solve(a, RIGHT)) + np.log(np.diagonal(np.linalg.cholesky(a))).sum()

    def ours(a):
        factor = linalg.cho_factor(a, lower=True)
        return np.sum(linalg.cho_solve(factor, RIGHT)) + np.log(np.diagonal(factor[0])).sum()

    expected = gradient(theirs, POSITIVE)
    np.testing.assert_allclose(gradient(ours, POSITIVE), (expected + expected.T) / 2, rtol=1e-11)


# Functions of matrices


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_the_derivative_of_expm_at_directions_of_every_size(size):
    a, e = UPPER, size * POSITIVE
    _, tangent = mg.jvp(linalg.expm, (a,), (e,))
    np.testing.assert_allclose(tangent, slinalg.expm_frechet(a, e, compute_expm=False), rtol=1e-11, atol=1e-11 * size)


def test_logm_and_sqrtm_undo_expm_and_squares():
    eye = np.eye(9).reshape(3, 3, 3, 3)
    np.testing.assert_allclose(mg.jacobian(lambda a: linalg.logm(linalg.expm(a)))(0.2 * POSITIVE / 9), eye, atol=1e-9)
    np.testing.assert_allclose(mg.jacobian(lambda a: linalg.sqrtm(a @ a))(POSITIVE), eye, atol=1e-9)


def test_results_that_are_complex_though_the_matrix_is_real():
    turned = np.array([[-1.0, 0.3], [0.1, -2.0]])
    assert linalg.sqrtm(turned).dtype.kind == "c"
    check_grads(lambda a: np.abs(linalg.sqrtm(a)), turned, order=1)


def test_logm_leaves_the_global_generator_alone():
    draws = []
    for call in (lambda: None, lambda: linalg.logm(POSITIVE)):
        np.random.seed(0)  # noqa: NPY002
        call()
        draws.append(np.random.random())  # noqa: NPY002
    assert draws[0] == draws[1]


@pytest.mark.parametrize("f", [linalg.expm, linalg.logm, linalg.sqrtm], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_matrices_must_be_square(f, shape):
    with pytest.raises(ValueError, match=rf"{f.__name__}: A must be a square matrix .* got shape"):
        f(leaf(np.ones(shape)))


# Matrices made of other arrays


@pytest.mark.parametrize(
    "args",
    [([1, 2, 3],), ([1, 2], [3, 4, 5]), (2.0,), ([1j, 2.0],), ([1.0], [])],
    ids=str,
)
def test_toeplitz(args):
    np.testing.assert_array_equal(linalg.toeplitz(*args), slinalg.toeplitz(*args), strict=True)


def test_toeplitz_of_stacks():
    c, r = np.arange(6.0).reshape(2, 3), np.arange(2.0)
    got = linalg.toeplitz(c, r)
    np.testing.assert_array_equal(got, [slinalg.toeplitz(c[0], r), slinalg.toeplitz(c[1], r)])


@pytest.mark.parametrize(
    "args",
    [(), ([],), ([[1, 2]], [[3], [4]]), (1, [2.0, 3.0]), ([[1j]], np.ones((2, 2), np.float32)), (np.ones((0, 2)), 1.0)],
    ids=str,
)
def test_block_diag(args):
    np.testing.assert_array_equal(linalg.block_diag(*args), slinalg.block_diag(*args), strict=True)


# Programs and pictures

CALLS = {
    "special": lambda x, a: special.erf(x) * special.gammaln(x + 2) + special.jv(1, x) + special.xlogy(x, x),
    "sums": lambda x, a: special.logsumexp(x) + special.log_softmax(x).sum() + special.softmax(x)[0],
    "weights": lambda x, a: special.logsumexp(np.stack([x, x]), axis=0, b=x),
    "triangular": lambda x, a: linalg.solve_triangular(a, x, trans=1),
    "cholesky": lambda x, a: linalg.cho_solve(linalg.cho_factor(a @ a.T), x),
    "matrices": lambda x, a: linalg.expm(a) @ x + linalg.sqrtm(a) @ x + linalg.logm(a) @ x,
    "parts": lambda x, a: linalg.toeplitz(x) @ x + linalg.block_diag(a, [[2.0]]).sum(),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_compiled_functions_give_the_same(name, backend):
    if backend == "numba":
        pytest.importorskip("numba", reason='loops need numba: pip install "microgradnd[numba]"')
    f = CALLS[name]

    def program(x, a):
        return mg.value_and_grad(lambda x, a: np.sum(f(x, a) ** 2), (0, 1))(x, a)

    compiled = mg.compile(program, backend=backend)
    for scale in (1.0, 1.25):
        value, gradients = compiled(RIGHT / 4 * scale, UPPER * scale)
        expected, wanted = program(RIGHT / 4 * scale, UPPER * scale)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        for got, want in zip(gradients, wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_pictures(name):
    out = np.sum(CALLS[name](leaf(RIGHT / 4), leaf(UPPER)))
    assert "digraph" in viz.draw(out, view="both").source
    out.backward()
    assert viz.to_json(out)


def test_rules_as_pictures_show_them():
    x = leaf(RIGHT)
    for f, text in ((special.erf, "np.exp(-x * x)"), (special.expit, "out * expit(-x)"), (special.j0, "-g * j1(x)")):
        assert text in viz.rules.rule_text(f(x)._node, 0)


# Messages


@pytest.mark.parametrize(("module", "name"), [(special, "erfx"), (linalg, "solve_triangle")])
def test_a_missing_name(module, name):
    with pytest.raises(AttributeError, match=rf"{module.__name__.removeprefix('microgradnd.')}.*{name}"):
        getattr(module, name)


@pytest.mark.parametrize("name", ["special", "linalg"])
def test_without_scipy_the_error_says_what_to_install(name, monkeypatch):
    real = importlib.import_module

    def missing(wanted, *args):
        if wanted.startswith("scipy."):
            raise ModuleNotFoundError(wanted)
        return real(wanted, *args)

    monkeypatch.delitem(sys.modules, f"microgradnd.scipy.{name}")
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        ImportError, match=rf'microgradnd\.scipy\.{name} needs SciPy: pip install "microgradnd\[scipy\]"'
    ):
        builtins.__import__(f"microgradnd.scipy.{name}")


def test_importing_the_library_does_not_import_scipy():
    import subprocess

    code = "import sys, microgradnd; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert scipy.__version__
