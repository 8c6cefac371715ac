"""Triangular systems: SciPy's routines and the blocks that stand in for them, eagerly
and in programs.

Owns: that both give what `np.linalg` gives, that rules and programs use them, and that
programs know a triangle.
Must not own: rows of linear algebra (`tests/rows/linalg.py`).
Read next: `microgradnd/triangular.py`.
"""

import runpy

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import triangular
from microgradnd.testing import check_grads

LA = np.linalg
WITH = pytest.mark.parametrize("installed", [True, False], ids=["scipy", "numpy"])
EACH = pytest.mark.parametrize("dtype", "fdFD")


@pytest.fixture(autouse=True)
def _scipy(request, monkeypatch):
    """Hide SciPy from a test that is `installed=False`."""
    if "installed" in request.fixturenames and not request.getfixturevalue("installed"):
        monkeypatch.setattr(triangular, "scipys", lambda: None)


@pytest.fixture
def always(monkeypatch):
    """Take the routines for matrices of any size, and the smallest blocks."""
    for name in ("SMALL", "STACKED", "BLOCK", "TWO_SIDED"):
        monkeypatch.setattr(triangular, name, 1)


def numbers(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def lower(n, dtype, *stack):
    return (np.tril(numbers((*stack, n, n), dtype)) / n + 2 * np.eye(n)).astype(dtype)


def layouts(a, is_lower):
    """Yield triangular matrices as they may lie in memory, and whether they are lower
    ones.
    """
    yield a, is_lower
    yield a.mT, not is_lower
    yield np.array(a.mT, order="C"), not is_lower
    yield np.stack([a, a], axis=-1)[..., 0], is_lower


def close(found, expected):
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=0, atol=(2e-4 if expected.dtype.char in "fF" else 1e-11))


SHAPES = {
    "vector": ((), (), None),
    "matrix": ((), (), 3),
    "stack": ((2,), (2,), 3),
    "stack and a vector": ((2,), (), None),
    "matrix and a stack": ((), (2, 2), 1),
    "stacks that broadcast": ((2, 1), (3,), 2),
    "no column": ((), (), 0),
    "no matrix": ((0,), (0,), 2),
}


@WITH
@EACH
@pytest.mark.parametrize("n", [3, 70])
@pytest.mark.parametrize(("of_a", "of_b", "columns"), SHAPES.values(), ids=SHAPES)
def test_systems(n, of_a, of_b, columns, dtype, installed):
    b = numbers((*of_b, n) if columns is None else (*of_b, n, columns), dtype, 1)
    for a, is_lower in layouts(lower(n, dtype, *of_a), True):
        for right in (b, np.asfortranarray(b)):
            close(triangular.solve_triangular(a, right, is_lower), LA.solve(a, right))
            close(triangular.solve(a, right), LA.solve(a, right))
            if columns is not None:
                close(triangular.multiply_triangular(a, right, is_lower), a @ right)


@WITH
@EACH
@pytest.mark.parametrize("stack", [(), (2,)])
def test_hermitian_matrices_between_triangular_ones(stack, dtype, installed, monkeypatch):
    monkeypatch.setattr(triangular, "TWO_SIDED", n := 20)
    x = numbers((*stack, n, n), dtype, 1)
    s = (x + np.conj(x).mT) / 2
    for a, is_lower in layouts(lower(n, dtype, *stack), True):
        inverse = LA.inv(a)
        close(triangular.unscale(a, s, is_lower), inverse @ s @ np.conj(inverse).mT)


@WITH
@EACH
@pytest.mark.parametrize("n", [1, 20, 70])
def test_factors(n, dtype, installed):
    for a, _ in layouts(lower(n, dtype), True):
        h = a @ np.conj(a).mT
        for upper in (False, True):
            close(triangular.cholesky(h, upper=upper), LA.cholesky(h, upper=upper))
    close(triangular.cholesky(np.stack([np.eye(20), h.real[:20, :20]])[:1]), np.eye(20)[None]) if n > 1 else None


@WITH
def test_what_is_no_matrix_of_blas_is_left_to_numpy(installed, always):
    a = np.array([[2, 0], [1, 4]])
    close(triangular.solve(a, np.array([2, 9])), np.array([1.0, 2.0]))
    close(triangular.solve_triangular(a, np.array([2, 9]), True), np.array([1.0, 2.0]))
    close(triangular.cholesky(np.array([[4, 2], [2, 5]])), np.array([[2.0, 0.0], [1.0, 2.0]]))
    close(triangular.solve(a.astype(np.float32), np.ones(2)), LA.solve(a, np.ones(2)))
    with pytest.raises(TypeError, match="float16"):
        triangular.solve(a.astype(np.float16), np.ones(2, np.float16))


@WITH
@pytest.mark.parametrize("n", [8, 40])
def test_errors_are_numpys(n, installed):
    a = np.tril(np.ones((n, n)))
    a[-1, -1] = 0
    for call in (triangular.solve, lambda a, b: triangular.solve_triangular(a, b, True)):
        with pytest.raises(LA.LinAlgError, match="Singular matrix"):
            call(a, np.ones(n))
    with pytest.raises(LA.LinAlgError, match="not positive definite"):
        triangular.cholesky(-np.eye(n))
    with pytest.raises(ValueError, match="mismatch"):
        triangular.solve(np.eye(n), np.ones(n + 1))
    with pytest.raises(LA.LinAlgError, match="square"):
        triangular.cholesky(np.ones((n, n + 1)))


def test_triangles_are_found():
    a = lower(20, float)
    assert [triangular.triangle_of(x) for x, _ in layouts(a, True)] == [True, False, False, True]
    assert triangular.triangle_of(np.eye(20)) is True
    assert triangular.triangle_of(np.stack([a, a])) is True
    for wrong in (np.ones((20, 20)), np.stack([a, a.T]), a[:, :19], a[0], a.astype(np.float16), a[:8, :8], a + np.nan):
        assert triangular.triangle_of(wrong) is None
    for i, j in ((3, 5), (0, 19)):
        b = a.copy()
        b[i, j] = 1e-300
        assert triangular.triangle_of(b) is None


# Derivatives: the same laws as those of small matrices, with the routines in use


def spd(x):
    return x @ np.conj(x).mT + 3 * np.eye(x.shape[-1])


CALLS = {
    "solve with a factor": lambda x, b: LA.solve(LA.cholesky(spd(x)), b),
    "solve with its transpose": lambda x, b: LA.solve(LA.cholesky(spd(x)).mT, b),
    "solve with an upper factor": lambda x, b: LA.solve(LA.cholesky(spd(x), upper=True), b),
    "solve with a triangle": lambda x, b: LA.solve(np.tril(x) + 3 * np.eye(x.shape[-1]), b),
    "solve": lambda x, b: LA.solve(spd(x), b),
}


@WITH
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("dtype", [float, complex])
def test_derivatives(call, dtype, installed, always):
    check_grads(call, numbers((3, 3), dtype), numbers((3, 2), dtype, 1))
    check_grads(call, numbers((2, 3, 3), dtype), numbers((3,), dtype, 1), order=1)


@WITH
def test_one_matrix_may_be_triangular_by_chance(installed, always):
    """The gradient of `solve` is that of any matrix: not only of the elements that
    aren't zero.
    """
    a, b = np.array([[2.0, 0.0], [1.0, 4.0]]), np.array([2.0, 9.0])
    gradient = mg.grad(lambda a: np.sum(LA.solve(a, b)))(a)
    np.testing.assert_allclose(gradient, -np.outer(LA.solve(a.T, np.ones(2)), LA.solve(a, b)))
    assert (gradient != 0).all()


def test_a_factor_takes_no_inverse(monkeypatch):
    """A Gaussian process's likelihood and its gradient call neither `inv` nor the
    general `solve`.
    """

    def refuse(*_):
        raise AssertionError("a general routine was called")

    x = np.linspace(0, 1, 40)
    theta = np.array([0.2, -1.0])
    expected = mg.value_and_grad(likelihood)(theta, x)
    monkeypatch.setattr(LA, "inv", refuse)
    solves = []
    monkeypatch.setattr(
        triangular, "solve_one", lambda *args, kept=triangular.solve_one: solves.append(1) or kept(*args)
    )
    value, gradient = mg.value_and_grad(likelihood)(theta, x)
    assert len(solves) == 4  # once forward, once for the right side, twice for the factor
    np.testing.assert_allclose(value, expected[0])
    np.testing.assert_allclose(gradient, expected[1])


# Programs


def likelihood(theta, x):
    k = np.exp(theta[0]) * np.exp(-((x[:, None] - x) ** 2)) + np.exp(theta[1]) * np.eye(len(x))
    factor = LA.cholesky(k)
    half = LA.solve(factor, np.sin(x))
    return half @ half / 2 + np.sum(np.log(np.diagonal(factor)))


def programs_of(f, *args):
    compiled = mg.compile(f)
    found = compiled(*args)
    expected = f(*args)
    for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    return compiled


def test_a_program_knows_its_factors(tmp_path):
    x, theta = np.linspace(0, 1, 40), np.array([0.2, -1.0])
    compiled = programs_of(mg.value_and_grad(likelihood), theta, x)
    calls = {
        "cholesky(": 1,
        "solve_triangular(": 2,
        "multiply_triangular(": 1,
        "unscale(": 1,
        "inv(": 0,
        "np.linalg": 0,
    }
    assert {call: compiled.source.count(call) for call in calls} == calls
    compiled.save(tmp_path / "gp.py")
    saved = runpy.run_path(str(tmp_path / "gp.py"))["likelihood"]
    for a, b in zip(saved(theta, x), compiled(theta, x), strict=True):
        np.testing.assert_allclose(a, b)
    assert "scipy" not in (tmp_path / "gp.py").read_text(encoding="utf-8")


A, B = lower(20, float) + np.triu(np.ones((20, 20)), 1), numbers((20, 4), float, 1)
V = B[:, 0]
SPELLED = {
    "tril": (lambda a, b: LA.solve(np.tril(a), b), "solve_triangular(t, b, True)"),
    "triu": (lambda a, b: LA.solve(np.triu(a), b), "solve_triangular(t, b, False)"),
    "transposed": (lambda a, b: LA.solve(np.triu(a).T, b), "solve_triangular(t.T, b, True)"),
    "an upper factor": (
        lambda a, b: LA.solve(LA.cholesky(a @ a.T + np.eye(20), upper=True), b),
        "solve_triangular(t, b, False)",
    ),
    "a band below": (lambda a, b: LA.solve(np.tril(a, -1) + np.eye(20), b), "np.linalg.solve("),
    "a diagonal above": (lambda a, b: LA.solve(np.tril(a, 1), b), "np.linalg.solve("),
    "a full matrix": (lambda a, b: LA.solve(a, b), "np.linalg.solve("),
    "an inverse": (lambda a, b: LA.inv(a) @ b, "np.linalg.solve(a, b)"),
    "an inverse and a vector": (lambda a, b: LA.inv(a) @ b[:, 0], "np.linalg.solve(a, t)"),
    "an inverse, by np.dot": (lambda a, b: np.dot(LA.inv(a), b), "np.linalg.solve(a, b)"),
    "an inverse that is needed": (lambda a, b: (LA.inv(a) @ b, np.linalg.inv(a)), "np.linalg.inv(a)"),
    "a stack of inverses": (lambda a, b: LA.inv(np.stack([a, a])) @ b, "np.linalg.inv("),
    "a product stays one": (lambda a, b: np.tril(a) @ b, "np.dot("),
}


@pytest.mark.parametrize(("f", "text"), SPELLED.values(), ids=SPELLED)
def test_spellings(f, text):
    assert text in programs_of(f, A, B).source


def test_a_product_forward_has_numpys_nan():
    b = B.copy()
    b[3] = np.inf
    f = mg.compile(lambda a, b: np.tril(a) @ b)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(f(A, b), np.tril(A) @ b)


def test_only_what_is_hermitian_is_taken_at_once():
    s = B @ B.T

    def between(a, s):
        t = np.tril(a)
        return LA.solve(t, LA.solve(t, s).T)

    assert "unscale" in programs_of(lambda a, s: between(a, (s + s.T) / 2), A, s).source
    assert "unscale" not in programs_of(between, A, s).source
    assert "unscale" not in programs_of(lambda a, s: between(a, (s + s) / 2), A, s).source
    assert "unscale" not in programs_of(lambda a, s: between(a, (s + s.T) * s), A, s).source


# One factorisation


def quadratic(a, b):
    return np.sum(b * LA.solve(a, b)) + LA.slogdet(a)[1]


def everything(a, b):
    return np.sum(LA.inv(a)) + np.sum(LA.solve(a, b)) + np.sum(LA.solve(a.T, b)) + LA.slogdet(a)[1]


@WITH
@pytest.mark.parametrize("f", [quadratic, everything])
@EACH
def test_a_general_matrix_is_factored_once(f, dtype, installed):
    full = (A + 3 * np.eye(20)).astype(dtype) * (1 + 0.1j if dtype in "FD" else 1)
    full, b = full.astype(dtype), B.astype(dtype)
    both = mg.value_and_grad(lambda a, b: np.real(f(a, b)), (0, 1))
    compiled = mg.compile(both)
    for a in (full, np.asfortranarray(full), full[::-1], -full, full * 2):
        found, expected = compiled(a, b), both(a, b)
        for x, y in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
            np.testing.assert_allclose(
                x, y, rtol=2e-3 if dtype in "fF" else 1e-10, atol=1e-2 if dtype in "fF" else 1e-10
            )
    source = compiled.source
    assert source.count(" = factored(") == 1
    assert not any(f"np.linalg.{name}(" in source for name in ("solve", "inv"))


def test_a_singular_matrix_raises_what_numpy_raises(tmp_path):
    compiled = mg.compile(lambda a, b: (LA.solve(a, b), LA.inv(a)))
    for x, y in zip(compiled(A, B), (LA.solve(A, B), LA.inv(A)), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-12)
    with pytest.raises(LA.LinAlgError, match="Singular matrix"):
        compiled(np.zeros((20, 20)), B)
    compiled.save(tmp_path / "both.py")
    [saved] = [f for f in runpy.run_path(str(tmp_path / "both.py")).values() if getattr(f, "__name__", "") == "program"]
    np.testing.assert_allclose(saved(A, B)[1], LA.inv(A))
    slope = mg.compile(
        mg.grad(
            lambda a, b: LA.slogdet(a)[1] + np.sum(LA.inv(a + np.eye(20)) @ b) + np.sum(LA.solve(a + 2 * np.eye(20), b))
        )
    )
    assert np.isnan(slope(np.zeros((20, 20)), B)).all()


def test_what_is_used_once_or_small_is_left_alone():
    assert "factored(" not in programs_of(lambda a, b: LA.solve(a, b), A, B).source
    assert "factored(" not in programs_of(lambda a, b: (LA.solve(a, b), LA.inv(a)), A[:8, :8], B[:8]).source
    assert "factored(" not in programs_of(lambda a, b: (LA.solve(a, b), LA.inv(a + 1)), A, B).source


def test_loops_know_them_too():
    pytest.importorskip("numba", reason='loops need numba: pip install "microgradnd[numba]"')
    compiled = mg.compile(lambda a, b: LA.solve(LA.cholesky(a @ a.T), b), backend="numba")
    np.testing.assert_allclose(compiled(A, V), LA.solve(LA.cholesky(A @ A.T), V))
    assert "solve_triangular(" in compiled.source
