"""PyTorch as a second oracle: products, linear algebra and Fourier transforms, in
double precision.

Owns: comparisons of values, VJPs and the derivatives of VJPs with PyTorch's.
Must not own: anything that can be checked without it.
Read next: `tests/rows/linalg.py`.

A case is written once for both libraries: `xp` is NumPy or PyTorch. Where one spells a
thing differently, `spelled` has NumPy's word for it. Results that have a freedom of
sign, phase or rotation are compared in a form that has not.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.trees import flatten
from tests.test_contraction import plans_for_all
from tests.test_linalg import contractions

torch = pytest.importorskip("torch", reason='PyTorch is a second oracle: pip install "microgradnd[oracle]"')


class Spelled:
    """PyTorch with NumPy's names."""

    linalg, fft, conj, kron, outer, inner, dot, vdot = (
        getattr(torch, name) for name in ("linalg", "fft", "conj", "kron", "outer", "inner", "dot", "vdot")
    )
    matmul, einsum, sin, abs, real, sign = (
        getattr(torch, name) for name in ("matmul", "einsum", "sin", "abs", "real", "sign")
    )

    @staticmethod
    def tensordot(x, y, axes):
        return torch.tensordot(x, y, dims=axes)

    @staticmethod
    def norm(x, ord=None, axis=None):
        return torch.linalg.norm(x, ord, axis)

    @staticmethod
    def lstsq(a, b):
        return torch.linalg.lstsq(a, b).solution

    @staticmethod
    def cross(x, y):
        return torch.linalg.cross(x, y)


class Numpy:
    """NumPy, with the few words that PyTorch lacks."""

    norm = staticmethod(np.linalg.norm)

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def lstsq(a, b):
        return np.linalg.lstsq(a, b)[0]


def hermitian(a):
    return (a + a.conj().mT) / 2


def eigh_form(xp, a):
    w, v = xp.linalg.eigh(hermitian(a))
    return w, (v * xp.sin(w)[..., None, :]) @ xp.conj(v).mT


def eig_form(xp, a):
    w, v = xp.linalg.eig(a)
    return (w * w).sum(-1), (v * xp.sin(w)[..., None, :]) @ xp.linalg.inv(v), xp.abs(v[..., 0])


def svd_form(xp, a, **options):
    u, s, vh = xp.linalg.svd(a, **options)
    k = s.shape[-1]
    return s, (u[..., :k] * xp.sin(s)[..., None, :]) @ vh[..., :k, :]


def qr_form(xp, a, mode="reduced"):
    q, r = xp.linalg.qr(a, mode=mode)
    return q, r


# name: (call, shapes of its arguments); matrices are moved towards well-conditioned
# ones
MATRICES = {
    "inv": (lambda xp, a: xp.linalg.inv(a), (3, 3)),
    "inv-stack": (lambda xp, a: xp.linalg.inv(a), (2, 2, 2)),
    "pinv-tall": (lambda xp, a: xp.linalg.pinv(a), (3, 2)),
    "pinv-wide": (lambda xp, a: xp.linalg.pinv(a), (2, 2, 3)),
    "det": (lambda xp, a: xp.linalg.det(a), (2, 3, 3)),
    "slogdet": (lambda xp, a: tuple(xp.linalg.slogdet(a)), (2, 3, 3)),
    "solve-vector": (lambda xp, a, b: xp.linalg.solve(a, b[0]), (3, 3), (3, 3)),
    "solve-matrix": (lambda xp, a, b: xp.linalg.solve(a, b), (3, 3), (3, 2)),
    "solve-stack": (lambda xp, a, b: xp.linalg.solve(a, b), (2, 3, 3), (2, 3, 2)),
    "lstsq": (lambda xp, a, b: xp.lstsq(a, b), (4, 2), (4, 2)),
    "tensorinv": (lambda xp, a: xp.linalg.tensorinv(a.reshape(2, 2, 4), 2), (4, 4)),
    "tensorsolve": (lambda xp, a, b: xp.linalg.tensorsolve(a.reshape(2, 2, 4), b), (4, 4), (2, 2)),
    "cholesky": (lambda xp, a: xp.linalg.cholesky(hermitian(a)), (2, 3, 3)),
    "cholesky-upper": (lambda xp, a: xp.linalg.cholesky(hermitian(a), upper=True), (3, 3)),
    "qr-tall": (qr_form, (2, 4, 2)),
    "qr-wide": (qr_form, (2, 3)),
    "qr-square": (qr_form, (3, 3)),
    "qr-complete": (lambda xp, a: qr_form(xp, a, "complete"), (2, 3)),
    "eigh": (eigh_form, (2, 3, 3)),
    "eigvalsh": (lambda xp, a: xp.linalg.eigvalsh(hermitian(a)), (2, 3, 3)),
    "eig": (eig_form, (2, 3, 3)),
    "eigvals": (lambda xp, a: (xp.linalg.eigvals(a) ** 3).sum(-1), (2, 3, 3)),
    "svd-tall": (svd_form, (2, 4, 2)),
    "svd-wide": (lambda xp, a: svd_form(xp, a, full_matrices=False), (2, 4)),
    "svdvals": (lambda xp, a: xp.linalg.svdvals(a), (2, 3, 2)),
    "matrix_power": (lambda xp, a: xp.linalg.matrix_power(a, 5), (2, 2, 2)),
    "matrix_power-negative": (lambda xp, a: xp.linalg.matrix_power(a, -3), (3, 3)),
    "multi_dot": (lambda xp, *factors: xp.linalg.multi_dot(factors), (2, 3), (3, 4), (4, 1), (1, 2)),
    "cond": (lambda xp, a: xp.linalg.cond(a), (2, 3, 2)),
    **{
        f"norm-{ord}": (lambda xp, a, ord=ord: xp.norm(a, ord), (3, 2))
        for ord in (None, "fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf)
    },
    **{
        f"norm-axis-{ord}": (lambda xp, a, ord=ord: xp.norm(a, ord, 1), (3, 2))
        for ord in (None, 2, 1, 3, 0.5, -1, np.inf, -np.inf)
    },
    "norm-axes": (lambda xp, a: xp.norm(a, "nuc", (0, 2)), (3, 2, 2)),
    "matmul": (lambda xp, x, y: x @ y, (2, 1, 3, 2), (2, 2, 3)),
    "matmul-vector": (lambda xp, x, y: y[0] @ x, (2, 3, 2), (2, 3)),
    "einsum": (lambda xp, x, y: xp.einsum("bij,bkj->ki", x, y), (2, 3, 2), (2, 2, 2)),
    "einsum-diagonal": (lambda xp, x, y: xp.einsum("...ii,ij->...j", x, y), (2, 3, 3), (3, 2)),
    "einsum-lone": (lambda xp, x, y: xp.einsum("ij,kl->il", x, y), (3, 2), (2, 3)),
    "tensordot": (lambda xp, x, y: xp.tensordot(x, y, ([0, 2], [1, 0])), (2, 2, 3), (3, 2, 2)),
    "kron": (lambda xp, x, y: xp.kron(x, y), (2, 3), (3, 2)),
    "cross": (lambda xp, x, y: xp.cross(x, y), (2, 3), (2, 3)),
    "outer": (lambda xp, x, y: xp.outer(x[0], y[1]), (2, 3), (2, 2)),
    "inner": (lambda xp, x, y: xp.inner(x, y), (2, 3), (4, 3)),
    "vdot": (lambda xp, x, y: xp.vdot(x[0], y[0]), (2, 3), (1, 3)),
    "vecdot": (lambda xp, x, y: xp.linalg.vecdot(x, y), (2, 1, 3), (2, 3)),
}
NOT_COMPLEX = {"qr-wide", "qr-square", "qr-complete"}  # LAPACK's sign of the last row may differ
NORMS = ("backward", "ortho", "forward")
FOURIER = {
    **{
        f"{name}-{norm}-{n}": (lambda xp, x, name=name, norm=norm, n=n: getattr(xp.fft, name)(x, n, 0, norm), (4, 2))
        for name, norm, n in itertools.product(("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"), NORMS, (None, 3, 6))
    },
    **{
        f"{name}-{norm}": (
            lambda xp, x, name=name, norm=norm: getattr(xp.fft, name)(x, (3, 4), (0, 2), norm),
            (4, 2, 3),
        )
        for name, norm in itertools.product(
            ("fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn"), NORMS
        )
    },
    "fftshift": (lambda xp, x: xp.fft.fftshift(x), (3, 4)),
    "ifftshift": (lambda xp, x: xp.fft.ifftshift(x, (1,)), (3, 5)),
}
REAL_INPUT = ("rfft", "ihfft")
CASES = {
    **{name: (False, *case) for name, case in (MATRICES | FOURIER).items()},
    **{
        f"{name}-complex": (True, *case)
        for name, case in (MATRICES | FOURIER).items()
        if name not in NOT_COMPLEX and not name.startswith(REAL_INPUT)
    },
}


def inputs(shapes, is_complex, rng):
    """Return random matrices, moved towards diagonal ones so that everything has a
    derivative there.
    """
    drawn = []
    for shape in shapes:
        a = rng.normal(size=shape) + (1j * rng.normal(size=shape) if is_complex else 0)
        drawn.append(0.4 * a + np.eye(*shape[-2:]) * np.arange(3.0, 3.0 * shape[-1] + 3.0, 3.0))
    return drawn


def random_like(value, rng):
    value = np.asarray(value)
    noise = 1j * rng.normal(size=value.shape) if value.dtype.kind == "c" else 0
    return rng.normal(size=value.shape) + noise


def close(ours, theirs, what):
    np.testing.assert_allclose(ours, theirs.numpy(force=True), rtol=1e-8, atol=1e-8, err_msg=what)


@pytest.mark.parametrize(("is_complex", "call", "shapes"), [(c, f, s) for c, f, *s in CASES.values()], ids=CASES)
def test_agrees_with_pytorch(is_complex, call, shapes):
    """Values, gradients, and gradients of gradients; PyTorch's gradients are the
    conjugates of our cotangents.
    """

    @given(st.integers(0, 2**32 - 1))
    def law(seed):
        rng = np.random.default_rng(seed)
        arrays = inputs(shapes, is_complex, rng)
        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        value, pullback = mg.vjp(lambda *args: call(Numpy(), *args), *arrays)
        expected = call(Spelled, *tensors)
        leaves, form = flatten(value)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for ours, theirs in zip(leaves, expected, strict=True):
            close(ours, theirs, "the value")
        cotangents = [random_like(v, rng) for v in leaves]
        gradients = pullback(form.rebuild(cotangents))
        conjugated = [torch.tensor(np.conj(c)).to(t.dtype) for c, t in zip(cotangents, expected, strict=True)]
        needed = [(t, c) for t, c in zip(expected, conjugated, strict=True) if t.requires_grad]
        theirs = torch.autograd.grad([t for t, _ in needed], tensors, [c for _, c in needed], create_graph=True)
        for a, b in zip(gradients, theirs, strict=True):
            close(np.conj(a), b, "the gradient")
        directions = [random_like(g, rng) for g in gradients]

        def along(*args):
            """Return the gradient in some directions, a number."""
            moved = mg.vjp(lambda *xs: call(Numpy(), *xs), *args)[1](form.rebuild(cotangents))
            return sum(np.sum(np.real(d * g)) for d, g in zip(directions, moved, strict=True))

        number = sum((torch.tensor(d) * g.conj()).real.sum() for d, g in zip(directions, theirs, strict=True))
        if number.requires_grad:
            second = torch.autograd.grad(number, tensors, allow_unused=True)
            for a, b in zip(mg.grad(along, tuple(range(len(arrays))))(*arrays), second, strict=True):
                if b is not None:
                    close(np.conj(a), b, "the second derivative")

    law()


@given(contractions(), st.booleans())
def test_any_einsum_agrees_with_pytorch(found, is_complex):
    """Values and gradients, by plans for contractions of any size."""
    subscripts, operands = found
    arrays = [a + 0.5j * np.flip(a) for a in operands] if is_complex else operands
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = torch.einsum(subscripts, *tensors)
    with plans_for_all():
        value, pullback = mg.vjp(lambda *xs: np.einsum(subscripts, *xs), *arrays)
        close(value, expected, "the value")
        g = random_like(value, np.random.default_rng(0))
        theirs = torch.autograd.grad(expected, tensors, torch.tensor(np.conj(g)))
        for a, b in zip(pullback(g), theirs, strict=True):
            close(np.conj(a), b, "the gradient")
