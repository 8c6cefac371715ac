"""PyTorch as a second oracle: SciPy's functions, in double precision.

Owns: comparisons of values, gradients and the gradients of gradients with PyTorch's.
Must not own: anything that can be checked without it.
Read next: `rows/special.py`.

A case is a function of ours and PyTorch's word for it, with a domain for each argument.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.scipy import linalg, special
from microgradnd.testing import arrays

torch = pytest.importorskip("torch", reason='PyTorch is a second oracle: pip install "microgradnd[oracle]"')

ts = torch.special
ANY, POSITIVE, INSIDE, TAILS = (-3.0, 3.0), (0.3, 3.0), (0.1, 0.9), (-30.0, 3.0)
CASES = {
    "expit": (special.expit, ts.expit, TAILS),
    "log_expit": (special.log_expit, torch.nn.functional.logsigmoid, TAILS),
    "logit": (special.logit, ts.logit, INSIDE),
    "erf": (special.erf, ts.erf, ANY),
    "erfc": (special.erfc, ts.erfc, ANY),
    "erfcx": (special.erfcx, ts.erfcx, ANY),
    "erfinv": (special.erfinv, ts.erfinv, INSIDE),
    "ndtr": (special.ndtr, ts.ndtr, ANY),
    "log_ndtr": (special.log_ndtr, ts.log_ndtr, TAILS),
    "ndtri": (special.ndtri, ts.ndtri, INSIDE),
    "gammaln": (special.gammaln, ts.gammaln, POSITIVE),
    "digamma": (special.digamma, ts.digamma, POSITIVE),
    "polygamma": (lambda x: special.polygamma(2, x), lambda x: ts.polygamma(2, x), POSITIVE),
    "betaln": (special.betaln, lambda a, b: ts.gammaln(a) + ts.gammaln(b) - ts.gammaln(a + b), POSITIVE, POSITIVE),
    "xlogy": (special.xlogy, ts.xlogy, ANY, POSITIVE),
    "xlog1py": (special.xlog1py, ts.xlog1py, ANY, POSITIVE),
    "i0": (special.i0, ts.i0, ANY),
    "i1": (special.i1, ts.i1, POSITIVE),
    "logsumexp": (lambda x: special.logsumexp(x, axis=0), lambda x: torch.logsumexp(x, 0), ANY),
    "weights": (
        lambda x, b: special.logsumexp(x, axis=0, b=b),
        lambda x, b: torch.logsumexp(x + torch.log(b), 0),
        ANY,
        POSITIVE,
    ),
    "softmax": (lambda x: special.softmax(x, axis=1), lambda x: torch.softmax(x, 1), ANY),
    "log_softmax": (lambda x: special.log_softmax(x, axis=1), lambda x: torch.log_softmax(x, 1), ANY),
    "expm": (linalg.expm, torch.matrix_exp, ANY),
    **{
        f"solve_triangular-{lower}-{unit}": (
            lambda a, b, lower=lower, unit=unit: linalg.solve_triangular(a, b, lower=lower, unit_diagonal=unit),
            lambda a, b, lower=lower, unit=unit: torch.linalg.solve_triangular(
                a, b, upper=not lower, unitriangular=unit
            ),
            INSIDE,
            ANY,
        )
        for lower in (False, True)
        for unit in (False, True)
    },
    "cho_solve": (
        lambda a, b: linalg.cho_solve(linalg.cho_factor(a @ a.T + np.eye(3), lower=True), b),
        lambda a, b: torch.cholesky_solve(b, torch.linalg.cholesky(a @ a.T + torch.eye(3, dtype=a.dtype))),
        ANY,
        ANY,
    ),
    "cho_solve-upper": (
        lambda a, b: linalg.cho_solve(linalg.cho_factor(a @ a.T + np.eye(3)), b),
        lambda a, b: torch.cholesky_solve(b, torch.linalg.cholesky(a @ a.T + torch.eye(3, dtype=a.dtype))),
        ANY,
        ANY,
    ),
    "block_diag": (linalg.block_diag, torch.block_diag, ANY, ANY),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_pytorch(name):
    ours, theirs, *domains = CASES[name]
    drawn = [arrays((3, 3), low=low, high=high) for low, high in domains]

    @given(st.tuples(*drawn), st.integers(0, 99))
    def law(inputs, seed):
        tensors = [torch.tensor(x.copy(), requires_grad=True) for x in inputs]
        expected = theirs(*tensors)
        value, pullback = mg.vjp(ours, *inputs)
        np.testing.assert_allclose(value, expected.numpy(force=True), rtol=1e-9, atol=1e-9)
        rng = np.random.default_rng(seed)
        g = rng.normal(size=value.shape)
        first = torch.autograd.grad(expected, tensors, torch.tensor(g), create_graph=True)
        for a, b in zip(pullback(g), first, strict=True):
            np.testing.assert_allclose(a, b.numpy(force=True), rtol=1e-7, atol=1e-7)
        directions = [rng.normal(size=x.shape) for x in inputs]
        number = sum((torch.tensor(d) * b).sum() for d, b in zip(directions, first, strict=True))
        if not number.requires_grad:
            return
        second = torch.autograd.grad(number, tensors, allow_unused=True)

        def along(*xs):
            return sum(np.sum(d * a) for d, a in zip(directions, mg.vjp(ours, *xs)[1](g), strict=True))

        for a, b in zip(mg.grad(along, tuple(range(len(inputs))))(*inputs), second, strict=True):
            if b is not None:
                np.testing.assert_allclose(a, b.numpy(force=True), rtol=1e-6, atol=1e-6)

    law()
