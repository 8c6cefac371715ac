"""Products, linear algebra and Fourier transforms beyond their rows.

Owns: properties that `check_grads` on one row doesn't show: any subscripts, signs and
rotations of vectors, corner cases, messages.
Must not own: rows (`tests/rows/`), comparisons with PyTorch
(`tests/test_torch_linalg.py`).
Read next: `tests/rows/linalg.py`.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.testing import check_grads

LA = np.linalg
SYMMETRIC = np.array([[2.0, 0.5, 0.1], [0.5, 5.0, 0.3], [0.1, 0.3, 9.0]])


def leaf(data):
    return mg.tensor(data, requires_grad=True)


# Products


@st.composite
def contractions(draw):
    """Return operands and subscripts: repeated, lone, broadcast indices, ellipses."""
    sizes = {c: draw(st.integers(1, 3)) for c in "abcd"}
    dots = tuple(draw(st.lists(st.integers(1, 2), max_size=2)))
    words, operands = [], []
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    for _ in range(draw(st.integers(1, 3))):
        word = "".join(draw(st.lists(st.sampled_from("abcd"), max_size=3)))
        ones = {c for c in word if draw(st.booleans()) and draw(st.booleans())}  # broadcast against the others
        shape = [1 if c in ones else sizes[c] for c in word]
        extra = dots[draw(st.integers(0, len(dots))) :] if draw(st.booleans()) else None
        if extra is not None:
            at = draw(st.integers(0, len(word)))
            word, shape = word[:at] + "..." + word[at:], [*shape[:at], *extra, *shape[at:]]
        words.append(word)
        operands.append(rng.uniform(0.5, 1.5, shape))
    subscripts = ",".join(words)
    if draw(st.booleans()):
        used = sorted({*subscripts} - {*",."})
        kept = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
        subscripts += "->" + "..." * ("..." in subscripts) + "".join(kept)
    return subscripts, operands


@given(contractions(), st.sampled_from([False, True, "optimal"]))
def test_any_einsum(contraction, optimize):
    subscripts, operands = contraction
    check_grads(lambda *xs: np.einsum(subscripts, *xs, optimize=optimize), *operands, order=1)


def test_einsum_path_is_plain():
    path, text = np.einsum_path("ij,jk,k->i", leaf(np.ones((2, 3))), np.ones((3, 4)), np.ones(4))
    assert path[0] == "einsum_path"
    assert isinstance(text, str)


@pytest.mark.parametrize("function", [np.matmul, np.vecdot], ids=lambda f: f.__name__)
def test_axes_of_a_product_are_refused(function):
    axes = [(0, 1), (0, 1), (0, 1)] if function is np.matmul else [0, 0, ()]
    with pytest.raises(NotImplementedError, match=r"move the axes to the end with np\.moveaxis"):
        mg.grad(lambda x: np.sum(function(x, np.ones((2, 2)), axes=axes)))(np.ones((2, 2)))


def test_cross_of_two_elements_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy before 2.5 warns; later it raises
        with pytest.raises((NotImplementedError, ValueError), match=r"x\[..., 0\] \* y\[..., 1\]|3-dimensional"):
            mg.grad(lambda x: np.cross(x, np.array([1.0, 2.0])))(np.ones(2))


@pytest.mark.parametrize("call", [lambda x: np.dot(x, x), lambda x: x @ x.T, lambda x: np.einsum("ij,ij", x, x)])
def test_a_product_of_a_variable_with_itself(call):
    check_grads(call, np.arange(1.0, 5.0).reshape(2, 2))


def test_products_keep_single_precision_inside():
    """No cotangent is computed in double precision on the way to a float32 gradient."""
    seen = []
    x = leaf(np.ones((3, 3), np.float32))
    y = x * np.float32(2)
    y.register_hook(lambda g: seen.append(g.dtype))
    out = np.einsum("ii,ij->j", y, y) + LA.solve(y + np.eye(3, dtype=np.float32), y[0]) + LA.norm(y, axis=0)
    np.sum(out).backward()
    assert seen == [np.float32]


# Linear algebra


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        (LA.eig, ("eigenvalues", "eigenvectors")),
        (LA.eigh, ("eigenvalues", "eigenvectors")),
        (LA.svd, ("U", "S", "Vh")),
        (LA.qr, ("Q", "R")),
        (LA.slogdet, ("sign", "logabsdet")),
    ],
    ids=["eig", "eigh", "svd", "qr", "slogdet"],
)
def test_named_tuples_stay_named_tuples(call, fields):
    result = call(leaf(SYMMETRIC))
    assert type(result) is type(call(SYMMETRIC))
    assert result._fields == fields
    assert all(part.requires_grad for part in result)


def test_several_results_under_detect_anomaly():
    x = leaf(SYMMETRIC)
    with mg.detect_anomaly():
        np.sum(LA.svd(x)[1]).backward()
        with pytest.raises(FloatingPointError, match="derivative of eigh"), np.errstate(all="ignore"):
            np.sum(LA.eigh(leaf(np.eye(2)))[1][0]).backward()
    np.testing.assert_allclose(x.grad, np.eye(3), atol=1e-14)


@pytest.mark.parametrize(
    "call",
    [
        lambda a: LA.eigh(a)[0],
        lambda a: LA.eig(a)[0],
        lambda a: LA.svd(a)[1],
        lambda a: LA.qr(a)[1],
        lambda a: LA.slogdet(a)[1],
    ],
    ids=["eigh", "eig", "svd", "qr", "slogdet"],
)
def test_one_of_several_results(call):
    check_grads(lambda a: call((a + a.T) / 2), SYMMETRIC)


@given(st.integers(0, 2**32 - 1))
def test_gradients_of_a_symmetric_matrix_are_symmetric(seed):
    rng = np.random.default_rng(seed)
    a = SYMMETRIC + 0.1 * rng.normal(size=(3, 3))
    a = (a + a.T) / 2
    for f in (LA.cholesky, LA.eigvalsh, lambda a: LA.eigh(a)[1] ** 2, lambda a: LA.pinv(a, hermitian=True)):
        value, pullback = mg.vjp(f, a)
        (g,) = pullback(rng.normal(size=value.shape))
        np.testing.assert_allclose(g, g.T, atol=1e-14)


def test_repeated_values_do_not_disturb_functions_of_the_values():
    np.testing.assert_allclose(mg.grad(lambda a: np.sum(LA.eigh(a)[0] ** 2))(np.eye(3)), 2 * np.eye(3))
    np.testing.assert_allclose(mg.grad(lambda a: np.sum(LA.eigvalsh(a) ** 2))(np.eye(3)), 2 * np.eye(3))
    np.testing.assert_allclose(mg.grad(lambda a: np.sum(LA.svd(a)[1] ** 2))(np.eye(3)), 2 * np.eye(3))
    np.testing.assert_allclose(mg.grad(lambda a: np.real(np.sum(LA.eigvals(a) ** 2)))(np.eye(3)), 2 * np.eye(3))
    np.testing.assert_allclose(mg.jvp(lambda a: np.sum(LA.eigvalsh(a)), (np.eye(3),), (SYMMETRIC,))[1], 16.0)


def test_repeated_values_warn_in_functions_of_the_vectors():
    with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning, match="divide by zero"):
        g = mg.grad(lambda a: np.sum(LA.eigh(a)[1][0]))(np.eye(3))
    assert not np.all(np.isfinite(g))


def test_singular_vectors_of_full_matrices():
    """The other vectors turn too: their projection has the derivative of I - U U'."""
    rng = np.random.default_rng(0)
    a, w = rng.normal(size=(4, 2)), rng.normal(size=(4, 4))

    def rest(a):
        u = LA.svd(a)[0][:, 2:]
        return np.sum(w * (u @ u.T))

    def projection(a):
        u = LA.svd(a, full_matrices=False)[0]
        return np.sum(w * (np.eye(4) - u @ u.T))

    np.testing.assert_allclose(mg.grad(rest)(a), mg.grad(projection)(a))
    np.testing.assert_allclose(mg.hessian(rest)(a), mg.hessian(projection)(a))


def test_det_has_its_second_derivative_at_singular_matrices():
    """det [[a, b], [c, d]] = a d - b c."""
    expected = np.array([[0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]]).reshape(2, 2, 2, 2)
    for a in (np.zeros((2, 2)), np.array([[1.0, 2.0], [2.0, 4.0]]), SYMMETRIC[:2, :2]):
        np.testing.assert_allclose(mg.hessian(LA.det)(a), expected, atol=1e-14)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_det_of_a_singular_matrix_agrees_with_its_neighbours(n, seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(-3, 4, (n, n)).astype(float)
    a[-1] = 0.0  # exactly singular
    near = a.copy()
    near[-1] = 1e-9 * rng.normal(size=n)
    np.testing.assert_allclose(mg.grad(LA.det)(a), mg.grad(LA.det)(near), rtol=1e-5, atol=1e-5)


def test_singular_matrices_raise():
    for f in (lambda a: np.sum(LA.inv(a)), lambda a: np.sum(LA.qr(a)[1])):
        with pytest.raises(LA.LinAlgError, match="Singular matrix"), np.errstate(divide="ignore"):
            mg.grad(f)(np.zeros((2, 2)))


def test_cond_of_a_singular_matrix_is_infinite():
    assert LA.cond(leaf(np.array([[1.0, 0.0], [0.0, 0.0]]))).item() == np.inf


def test_the_rank_is_a_plain_number():
    x, residuals, rank, s = LA.lstsq(leaf(np.ones((3, 1))), np.ones(3))
    assert rank == 1
    assert type(rank) is int
    assert (x.shape, residuals.shape, s.shape) == ((1,), (1,), (1,))
    assert type(LA.matrix_rank(leaf(SYMMETRIC))) in (int, np.int64)


def test_the_rank_has_numpys_dtype_in_programs_and_maps():
    a, b = np.ones((2, 4, 2)), np.ones((2, 4))
    ranks = np.stack([LA.lstsq(*pair)[2] for pair in zip(a, b, strict=True)])
    for found in (mg.vmap(LA.lstsq)(a, b)[2], np.stack([mg.compile(LA.lstsq)(a[0], b[0])[2]] * 2)):
        np.testing.assert_array_equal(found, ranks, strict=True)


@given(st.sampled_from([(4, 2), (2, 4), (3, 3)]), st.sampled_from([None, -1, 1e-3]), st.booleans(), st.booleans())
def test_lstsq_agrees_with_numpy(shape, rcond, deficient, vector):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=shape), rng.normal(size=shape[:1] if vector else (shape[0], 2))
    if deficient:
        a = a[:, :1] * np.arange(1.0, shape[1] + 1)
    rcond = 1e-3 if deficient else rcond
    for got, want in zip(LA.lstsq(leaf(a), b, rcond), LA.lstsq(a, b, rcond), strict=True):
        np.testing.assert_allclose(getattr(got, "data", got), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("mode", "shape"), [("raw", (2, 2)), ("complete", (3, 2)), ("full", (2, 2))])
def test_qr_modes_without_derivative(mode, shape):
    with pytest.raises(NotImplementedError, match=r"the projection on the rest of the\s+space is I - Q Q\*"):
        LA.qr(leaf(np.ones(shape)), mode=mode)


def test_messages_for_wrong_shapes():
    with pytest.raises(ValueError, match="must be positive, got 0"):
        LA.tensorinv(leaf(np.eye(2)), ind=0)
    with pytest.raises(LA.LinAlgError, match=r"a must be a square matrix for b of shape \(2,\), got \(2, 3\)"):
        LA.tensorsolve(leaf(np.ones((2, 3))), np.ones(2))
    with pytest.raises(ValueError, match="give one length for each axis"):
        np.fft.fft2(leaf(np.eye(2)), s=(2,))
    with pytest.raises(ValueError, match="at least two arrays, got 1"):
        LA.multi_dot([leaf(np.eye(2))])
    with pytest.raises(LA.LinAlgError, match=r"matrices must be square, got shape \(2, 3\)"):
        LA.matrix_power(leaf(np.ones((2, 3))), 2)
    with pytest.raises(LA.LinAlgError, match=r"at least one element, got shape \(0, 2\)"):
        LA.cond(leaf(np.ones((3, 0, 2))))
    with pytest.raises(TypeError, match="integer"):
        LA.matrix_power(leaf(np.eye(2)), 0.5)


def test_multi_dot_multiplies_in_the_best_order():
    """The backward pass too: no matrix of 300 x 300 appears where vectors will do."""
    rng = np.random.default_rng(0)
    column, row, x = rng.normal(size=(300, 1)), rng.normal(size=(1, 300)), rng.normal(size=300)
    value, gradient = mg.value_and_grad(lambda x: np.sum(LA.multi_dot([column, row, x])))(x)
    np.testing.assert_allclose(value, np.sum(column) * np.sum(row * x))
    np.testing.assert_allclose(gradient, np.sum(column) * row[0])


# Fourier transforms


@given(
    st.sampled_from(["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]),
    st.integers(1, 6),
    st.one_of(st.none(), st.integers(1, 7)),
    st.sampled_from([None, "backward", "ortho", "forward"]),
    st.sampled_from([0, 1, -1]),
)
def test_any_transform(name, length, n, norm, axis):
    if name in ("irfft", "hfft") and n is None and length == 1:
        n = 1
    rng = np.random.default_rng(0)
    x = rng.normal(size=(length, 2) if axis == 0 else (2, length))
    if name not in ("rfft", "ihfft"):
        x = x + 1j * rng.normal(size=x.shape)
    check_grads(lambda x: getattr(np.fft, name)(x, n, axis, norm), x, order=1)


@given(st.sampled_from(["fftn", "ifftn", "rfftn", "irfftn"]), st.permutations(range(3)), st.integers(1, 3))
def test_any_transform_of_several_axes(name, axes, count):
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    x = x if name == "rfftn" else x + 0j
    check_grads(lambda x: getattr(np.fft, name)(x, axes=axes[:count]), x, order=1)


@given(st.sampled_from(["fft2", "fftn", "ifft2", "ifftn", "rfft2", "rfftn", "irfft2", "irfftn"]), st.data())
def test_transforms_of_several_axes_agree_with_numpy(name, data):
    x = np.random.default_rng(0).normal(size=(4, 3, 5))
    axes = data.draw(st.sampled_from([None, (0, 2), (-1, 0), (1, 2)]))
    options = {} if axes is None else {"axes": axes}
    if axes is not None and data.draw(st.booleans()):
        options["s"] = data.draw(st.sampled_from([(2, 4), (6, -1), (3, 7)]))
    function = getattr(np.fft, name)
    np.testing.assert_allclose(function(leaf(x), **options).data, function(x, **options), rtol=1e-12, atol=1e-12)


# The determinant and its derivatives, by minors: right for any matrix


def minors_of(a):
    """Return the cofactors of a matrix by their definition."""
    n = a.shape[0]
    return np.array(
        [[(-1) ** (i + j) * LA.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)] for i in range(n)]
    )


@given(st.integers(2, 5), st.integers(0, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_det_of_any_rank(n, missing, seed, is_complex):
    """Check a matrix of rank n - `missing`, stacked with a regular one, to order 2."""
    rng = np.random.default_rng(seed)
    rank = max(n - missing, 0)
    a = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, n))
    t = rng.normal(size=(n, n))
    if is_complex:
        a, t = a * (1 - 0.5j), t + 1j * rng.normal(size=(n, n))
    scale = 1 + np.abs(a).max() ** (n - 1)
    stack = np.stack([a, np.eye(n)])
    gradient = mg.vjp(lambda x: np.sum(LA.det(x)), stack)[1](np.ones((), stack.dtype))[0]
    np.testing.assert_allclose(gradient[0], minors_of(a), atol=1e-11 * scale)
    np.testing.assert_allclose(gradient[1], np.eye(n), atol=1e-12)
    moved = mg.jvp(LA.det, (a,), (t.astype(a.dtype),))[1]
    np.testing.assert_allclose(moved, np.sum(minors_of(a) * t), atol=1e-10 * scale)
    if not is_complex:
        h = 1e-5
        by_differences = (minors_of(a + h * t) - minors_of(a - h * t)) / (2 * h)
        np.testing.assert_allclose(mg.hvp(LA.det)(a, t), by_differences, atol=1e-6 * scale)


@given(st.floats(0, 20), st.integers(0, 2**32 - 1))
def test_det_of_nearly_singular_matrices(digits, seed):
    """The minors of a 3 by 3 matrix are quadratic: central differences are exact."""
    rng = np.random.default_rng(seed)
    u, v = (LA.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    a, t = u @ np.diag([1, 0.5, 10**-digits]) @ v, rng.normal(size=(3, 3))
    np.testing.assert_allclose(mg.grad(LA.det)(a), minors_of(a), atol=1e-7)
    np.testing.assert_allclose(mg.hvp(LA.det)(a, t), (minors_of(a + t) - minors_of(a - t)) / 2, atol=1e-7)


def test_det_beyond_the_range_of_its_dtype():
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(mg.grad(LA.det)(1e200 * np.eye(2)), 1e200 * np.eye(2), rtol=1e-12)
        single = 1e30 * np.eye(2, dtype=np.float32)
        np.testing.assert_allclose(mg.grad(LA.det)(single), single, rtol=1e-5)
    np.testing.assert_allclose(mg.grad(LA.det)(1e-160 * np.eye(2)), 1e-160 * np.eye(2), rtol=1e-12)
    large = np.diag(np.r_[0.0, np.linspace(0.5, 2.0, 49)])
    np.testing.assert_allclose(mg.grad(LA.det)(large)[0, 0], np.prod(np.linspace(0.5, 2.0, 49)), rtol=1e-10)


def test_slogdet_of_a_stack_with_a_singular_matrix():
    """The logarithm of 0 has no derivative; the other matrix keeps its own."""
    stack = np.stack([np.eye(2) * 2, np.ones((2, 2))])
    gradient = mg.grad(lambda a: np.sum(LA.slogdet(a)[1]))(stack)
    np.testing.assert_allclose(gradient[0], np.eye(2) / 2)
    assert np.isnan(gradient[1]).all()
    with np.errstate(invalid="ignore"):
        moved = mg.jvp(lambda a: LA.slogdet(a)[1], (stack,), (stack,))[1]
    assert moved[0] == pytest.approx(2.0)
    assert np.isnan(moved[1])


@given(st.integers(0, 2**32 - 1))
def test_tangents_that_are_not_symmetric(seed):
    """A function that reads one triangle is a function of the symmetric part."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=(3, 3))
    for f in (
        LA.cholesky,
        LA.eigvalsh,
        lambda a: LA.eigh(a)[0],
        lambda a: LA.eigh(a)[1] ** 2,
        lambda a: LA.pinv(a, hermitian=True),
        lambda a: LA.svd(a, compute_uv=False, hermitian=True),
    ):
        moved, symmetric = (mg.jvp(f, (SYMMETRIC,), (d,))[1] for d in (t, (t + t.T) / 2))
        np.testing.assert_allclose(moved, symmetric, rtol=1e-10, atol=1e-12)


# Second derivatives where a length is 0: the square of the length has a finite one, but
# the length doesn't show that


@pytest.mark.parametrize(
    "f",
    [
        lambda x: LA.norm(x) ** 2,
        lambda x: LA.norm(x, axis=0) ** 2,
        lambda x: LA.norm(x, 3) ** 2,
        lambda x: LA.norm(x, 1.5) ** 2,
        lambda x: LA.vector_norm(x) ** 2,
        lambda x: np.hypot(x[0], x[1]) ** 2,
        lambda x: np.abs(x[0] + 1j * x[1]) ** 2,
        lambda x: np.std(x) ** 2,
        lambda x: np.std(x, mean=np.mean(x, keepdims=True)) ** 2,
        lambda x: LA.norm(x * np.eye(2), 2) ** 2,
        lambda x: LA.norm(x * np.eye(2), "nuc") ** 2,
        lambda x: x[0] * np.arctan2(x[0], x[1]),
    ],
)
def test_second_derivatives_at_a_kink_are_nan(f):
    x = np.zeros(2)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(mg.grad(f)(x), x)
        assert np.isnan(mg.hessian(f)(x)).any()
        assert np.isnan(mg.jacobian(mg.grad(f), mode="rev")(x)).any()
    near = np.array([0.3, 0.4])
    assert np.isfinite(mg.hessian(f)(near)).all()


def test_smooth_norms_have_second_derivatives_where_an_element_is_0():
    x = np.array([0.0, 2.0, -1.0])
    for p in (3, 4, 2.5):
        right = np.diag((p - 1) * np.abs(x) ** (p - 2))  # of sum(|x|^p) / p
        h = mg.hessian(lambda x, p=p: LA.norm(x, p) ** p / p)(x)
        np.testing.assert_allclose(h, right, rtol=1e-10, atol=1e-12)
