"""PyTorch as a second oracle: elementwise functions, choices, reductions, sorting and
calculus, in double precision.

Owns: comparisons of values, gradients and products with the Hessian with PyTorch's.
Must not own: anything that can be checked without it.
Read next: `tests/rows/elementwise.py`.

Each case is a function of NumPy and PyTorch's word for it. Where both promise something
at a kink, it is a point of the last table.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.testing import arrays, broadcastable_arrays

torch = pytest.importorskip("torch", reason='PyTorch is a second oracle: pip install "microgradnd[oracle]"')

MASK = np.array([[True, False, True], [True, True, False]])
ZEROS = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
POSITIVE, UNIT, FULL = {"low": 0.3}, {"low": -0.9, "high": 0.9}, {}
INSIDE = {"low": -0.75, "high": 0.75, "avoid": (-0.5, 0.5)}
DISTINCT = {"distinct": True}


def t(x):
    return torch.tensor(np.asarray(x))


# name: (NumPy, PyTorch, one domain for each argument); shapes that broadcast
UFUNCS = {
    "divide": (np.divide, torch.divide, FULL, POSITIVE),
    "remainder": (np.remainder, torch.remainder, {"low": 0.1, "high": 0.9}, {"low": 1.0}),
    "fmod": (np.fmod, torch.fmod, {"low": -0.9, "high": -0.1}, {"low": 1.0}),
    # for an exponent of 0 PyTorch loses the mixed second derivative, 1 / x
    "power": (np.power, torch.pow, POSITIVE, {"avoid": (0.0,)}),
    "float_power": (np.float_power, torch.float_power, POSITIVE, {"avoid": (0.0,)}),
    "cube": (lambda x: x**3, lambda x: x**3, FULL),
    "inverse root": (lambda x: x**-0.5, lambda x: x**-0.5, POSITIVE),
    "sqrt": (np.sqrt, torch.sqrt, POSITIVE),
    "reciprocal": (np.reciprocal, torch.reciprocal, POSITIVE),
    "exp2": (np.exp2, torch.exp2, FULL),
    "expm1": (np.expm1, torch.expm1, FULL),
    "log2": (np.log2, torch.log2, POSITIVE),
    "log10": (np.log10, torch.log10, POSITIVE),
    "log1p": (np.log1p, torch.log1p, UNIT),
    "logaddexp": (np.logaddexp, torch.logaddexp, FULL, FULL),
    "logaddexp2": (np.logaddexp2, torch.logaddexp2, FULL, FULL),
    "tan": (np.tan, torch.tan, UNIT),
    "arcsin": (np.arcsin, torch.arcsin, UNIT),
    "arccos": (np.arccos, torch.arccos, UNIT),
    "arctan": (np.arctan, torch.arctan, FULL),
    "arctan2": (np.arctan2, torch.arctan2, POSITIVE, FULL),
    "sinh": (np.sinh, torch.sinh, FULL),
    "cosh": (np.cosh, torch.cosh, FULL),
    "tanh": (np.tanh, torch.tanh, FULL),
    "arcsinh": (np.arcsinh, torch.arcsinh, FULL),
    "arccosh": (np.arccosh, torch.arccosh, {"low": 1.1}),
    "arctanh": (np.arctanh, torch.arctanh, UNIT),
    "hypot": (np.hypot, torch.hypot, POSITIVE, FULL),
    "absolute": (np.absolute, torch.abs, {"avoid": (0.0,)}),
    "sign": (np.sign, torch.sign, {"avoid": (0.0,)}),
    "maximum": (np.maximum, torch.maximum, POSITIVE, {"high": 0.2}),
    "fmin": (np.fmin, torch.fmin, POSITIVE, {"high": 0.2}),
    "copysign": (np.copysign, torch.copysign, {"avoid": (0.0,)}, {"avoid": (0.0,)}),
    "floor": (np.floor, torch.floor, {"low": 0.1, "high": 0.9}),
    "ldexp": (lambda x: np.ldexp(x, 3), lambda x: torch.ldexp(x, t(3)), FULL),
    "sinc": (np.sinc, torch.sinc, {"avoid": (0.0,)}),  # PyTorch's second derivative at 0 is 0, not -pi**2 / 3
    "i0": (np.i0, torch.special.i0, FULL),
    "deg2rad": (np.deg2rad, torch.deg2rad, FULL),
    "nan_to_num": (np.nan_to_num, torch.nan_to_num, FULL),
    "where": (
        lambda x, y: np.where(x > y, x * y, y),
        lambda x, y: torch.where(x > y, x * y, y),
        POSITIVE,
        {"high": 0.2},
    ),
    "clip": (lambda x: np.clip(x, -0.5, 0.5), lambda x: torch.clip(x, -0.5, 0.5), INSIDE),
}

# name: (NumPy, PyTorch, shape, domain)
ARRAYS = {
    "sum": (lambda x: np.sum(x, (0, -1)), lambda x: torch.sum(x, (0, -1)), (2, 3, 2), FULL),
    "sum where": (lambda x: np.sum(x**2, 1, where=MASK), lambda x: torch.sum(x**2 * t(MASK), 1), (2, 3), FULL),
    "mean": (lambda x: np.mean(x**2, 1, keepdims=True), lambda x: torch.mean(x**2, 1, keepdim=True), (2, 3), FULL),
    "var": (lambda x: np.var(x, 1, ddof=1), lambda x: torch.var(x, 1), (2, 3), FULL),
    "std": (lambda x: np.std(x, axis=0), lambda x: torch.std(x, 0, correction=0), (4, 2), DISTINCT),
    "max": (lambda x: np.max(x, 1), lambda x: torch.amax(x, 1), (2, 3), DISTINCT),
    "min of all": (np.min, torch.amin, (2, 3), DISTINCT),
    "prod": (lambda x: np.prod(x, 1), lambda x: torch.prod(x, 1), (2, 3), {"avoid": (0.0,)}),
    "prod with zeros": (lambda x: np.prod(x * ZEROS, 1), lambda x: torch.prod(x * t(ZEROS), 1), (3, 3), POSITIVE),
    "cumsum": (lambda x: np.cumsum(x, 1), lambda x: torch.cumsum(x, 1), (2, 3), FULL),
    "cumprod": (lambda x: np.cumprod(x, 0), lambda x: torch.cumprod(x, 0), (3, 2), POSITIVE),
    "cumprod with zeros": (
        lambda x: np.cumprod(x * ZEROS, axis=-1),
        lambda x: torch.cumprod(x * t(ZEROS), -1),
        (3, 3),
        POSITIVE,
    ),
    "logaddexp.reduce": (
        lambda x: np.logaddexp.reduce(x, axis=1),
        lambda x: torch.logsumexp(x, 1),
        (2, 3),
        FULL,
    ),
    "maximum.accumulate": (
        lambda x: np.maximum.accumulate(x, axis=1),
        lambda x: torch.cummax(x, 1).values,
        (2, 4),
        DISTINCT,
    ),
    "nansum": (lambda x: np.nansum(np.sqrt(x), 1), lambda x: torch.nansum(torch.sqrt(x), 1), (2, 3), POSITIVE),
    "nanmean": (lambda x: np.nanmean(x**2), lambda x: torch.nanmean(x**2), (2, 3), FULL),
    "sort": (lambda x: np.sort(x, 0), lambda x: torch.sort(x, 0).values, (4, 2), DISTINCT),
    "median": (np.median, torch.median, (5,), DISTINCT),
    "nanmedian": (lambda x: np.nanmedian(x, 1), lambda x: torch.nanmedian(x, 1).values, (2, 3), DISTINCT),
    **{
        f"quantile {method}": (
            lambda x, method=method: np.quantile(x, [0.2, 0.7], 1, method=method),
            lambda x, method=method: torch.quantile(x, t([0.2, 0.7]), 1, interpolation=method),
            (2, 5),
            DISTINCT,
        )
        for method in ("linear", "lower", "higher", "midpoint", "nearest")
    },
    "diff": (lambda x: np.diff(x**2, 2, 0), lambda x: torch.diff(x**2, 2, 0), (4, 2), FULL),
    "gradient": (
        lambda x: np.gradient(x**2, 0.5, edge_order=2),
        lambda x: torch.gradient(x**2, spacing=0.5, edge_order=2),
        (3, 4),
        FULL,
    ),
    "gradient of coordinates": (
        lambda x: np.gradient(x**2, [0.0, 1.0, 3.0, 3.5], axis=1),
        lambda x: torch.gradient(x**2, spacing=(t([0.0, 1.0, 3.0, 3.5]),), dim=1)[0],
        (3, 4),
        FULL,
    ),
    "trapezoid": (lambda x: np.trapezoid(x**2, dx=0.5), lambda x: torch.trapezoid(x**2, dx=0.5), (2, 4), FULL),
    "trapezoid by x": (lambda x: np.trapezoid(x**2, x), lambda x: torch.trapezoid(x**2, x), (4,), FULL),
    "cov": (np.cov, torch.cov, (2, 4), FULL),
    "cov weighted": (
        lambda x: np.cov(x, fweights=[1, 2, 3, 1], aweights=x[0] ** 2 + 1),
        lambda x: torch.cov(x, fweights=t([1, 2, 3, 1]), aweights=x[0] ** 2 + 1),
        (2, 4),
        FULL,
    ),
    "corrcoef": (np.corrcoef, torch.corrcoef, (2, 4), DISTINCT),
    "convolve": (
        lambda x: np.convolve(x, x[:2] ** 2),
        lambda x: torch.conv1d(x[None], (x[:2] ** 2).flip(0)[None, None], padding=1)[0],
        (5,),
        FULL,
    ),
    "correlate": (
        lambda x: np.correlate(x, x[:3]),
        lambda x: torch.conv1d(x[None], x[None, None, :3])[0],
        (5,),
        FULL,
    ),
}

# name: (NumPy, PyTorch, shape); complex
COMPLEX = {
    "absolute": (np.absolute, torch.abs, (2, 3)),
    "angle": (np.angle, torch.angle, (2, 3)),
    "sign": (np.sign, torch.sgn, (2, 3)),
    "sqrt": (np.sqrt, torch.sqrt, (2, 3)),
    "power": (lambda z: z ** (1.5 + 0.5j), lambda z: z ** (1.5 + 0.5j), (2, 3)),
    "tanh": (np.tanh, torch.tanh, (2, 3)),
    "sinc": (np.sinc, torch.sinc, (2, 3)),
    "prod": (lambda z: np.prod(z, 1), lambda z: torch.prod(z, 1), (2, 3)),
    "cumprod": (lambda z: np.cumprod(z, 1), lambda z: torch.cumprod(z, 1), (2, 3)),
    "var": (lambda z: np.var(z, 1), lambda z: torch.var(z, 1, correction=0), (2, 3)),
    "std": (lambda z: np.std(z, 1), lambda z: torch.std(z, 1, correction=0), (2, 3)),
    "mean": (lambda z: np.mean(z**2, 0), lambda z: torch.mean(z**2, 0), (2, 3)),
    "cov": (np.cov, torch.cov, (2, 4)),
}

# name: (NumPy, PyTorch, points); the gradients that both promise where a derivative
# jumps
KINKS = {
    "abs": (np.abs, torch.abs, (0.0,)),
    "abs of complex": (np.abs, torch.abs, (0j,)),
    "maximum": (np.maximum, torch.maximum, (1.0, 1.0)),
    "clip": (lambda x: np.clip(x, -1, 1), lambda x: torch.clip(x, -1, 1), (np.array([-1.0, 1.0]),)),
    "clip with crossed bounds": (np.clip, torch.clip, (0.0, 2.0, 1.0)),
    "clip on the lower bound": (np.clip, torch.clip, (1.0, 1.0, 2.0)),
    "max": (np.max, torch.amax, (np.array([3.0, 1.0, 3.0]),)),
    "prod of two zeros": (np.prod, torch.prod, (np.array([0.0, 2.0, 0.0]),)),
    "power 0 to the 0": (np.power, torch.pow, (0.0, 0.0)),
    "power 0 to the 1": (np.power, torch.pow, (0.0, 1.0)),
    "sinc": (np.sinc, torch.sinc, (0.0,)),
    "logaddexp of -inf": (np.logaddexp, torch.logaddexp, (-np.inf, 1.0)),
    "nan_to_num": (np.nan_to_num, torch.nan_to_num, (np.array([np.nan, np.inf, 1.0]),)),
    "nanmean": (np.nanmean, torch.nanmean, (np.array([np.nan, 2.0, 1.0]),)),
    "sort": (lambda x: np.sort(x)[0], lambda x: torch.sort(x, stable=True).values[0], (np.array([1.0, 1.0]),)),
}


def weighted(values, xp, weights):
    """Return one number that every element of every result has a part in."""
    total = 0.0
    for value, weight in zip(values if isinstance(values, list | tuple) else [values], weights, strict=True):
        total = total + xp.sum(xp.real(value * weight) if np.iscomplexobj(weight) else value * weight)
    return total


def agree(ours, theirs, inputs):
    """Compare values, gradients, and the gradients of what the gradients have in a
    direction.
    """
    rng = np.random.default_rng(0)
    variables = [torch.tensor(x, requires_grad=True) for x in inputs]
    values = theirs(*variables)
    values = values if isinstance(values, list | tuple) else [values]
    numbers = [v.detach().numpy() for v in values]
    weights = [like(n, rng) for n in numbers]
    directions = [like(x, rng) for x in inputs]

    results = ours(*inputs)
    for got, want in zip(results if isinstance(results, list | tuple) else [results], numbers, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)

    def loss(*args):
        return weighted(ours(*args), np, weights)

    everything = tuple(range(len(inputs)))
    gradients = mg.grad(loss, everything)(*inputs)
    theirs_loss = weighted(values, torch, [torch.tensor(w) for w in weights])
    expected = torch.autograd.grad(theirs_loss, variables, create_graph=True, allow_unused=True, materialize_grads=True)
    for got, want in zip(gradients, expected, strict=True):  # PyTorch's gradient is the conjugate
        np.testing.assert_allclose(np.conj(got), want.numpy(force=True), rtol=1e-9, atol=1e-9)

    def slope(*args):
        parts = mg.grad(loss, everything)(*args)
        return sum(np.sum(np.real(g * d)) for g, d in zip(parts, directions, strict=True))

    theirs_slope = sum(
        torch.sum(torch.real(g.conj() * torch.tensor(d)) if np.iscomplexobj(d) else g * torch.tensor(d))
        for g, d in zip(expected, directions, strict=True)
    )
    if not theirs_slope.requires_grad:
        return
    seconds = torch.autograd.grad(theirs_slope, variables, allow_unused=True, materialize_grads=True)
    for got, want in zip(mg.grad(slope, everything)(*inputs), seconds, strict=True):
        np.testing.assert_allclose(np.conj(got), want.numpy(force=True), rtol=1e-8, atol=1e-8)


def like(x, rng):
    """Return random numbers of the shape and kind of an array."""
    v = rng.normal(size=np.shape(x))
    return v + 1j * rng.normal(size=np.shape(x)) if np.iscomplexobj(x) else v


@pytest.mark.parametrize("name", UFUNCS)
def test_elementwise_functions(name):
    ours, theirs, *domains = UFUNCS[name]
    options = {
        key: [d.get(key, default) for d in domains] for key, default in (("low", -3.0), ("high", 3.0), ("avoid", ()))
    }

    @given(broadcastable_arrays(len(domains), **options))
    def law(inputs):
        agree(ours, theirs, [np.ascontiguousarray(x).reshape(x.shape) for x in inputs])

    law()


@pytest.mark.parametrize("name", ARRAYS)
def test_functions_of_arrays(name):
    ours, theirs, shape, domain = ARRAYS[name]

    @given(arrays(shape, **domain))
    def law(x):
        agree(ours, theirs, [np.ascontiguousarray(x)])

    law()


@pytest.mark.parametrize("name", COMPLEX)
def test_functions_of_complex_arrays(name):
    ours, theirs, shape = COMPLEX[name]

    @given(arrays(shape, low=0.2, high=2.0, dtype=np.complex128, distinct=True))
    def law(x):
        agree(ours, theirs, [np.ascontiguousarray(x)])

    law()


@pytest.mark.parametrize("name", KINKS)
def test_gradients_at_kinks(name):
    ours, theirs, point = KINKS[name]
    variables = [
        torch.tensor(x, requires_grad=True, dtype=torch.complex128 if np.iscomplexobj(x) else torch.float64)
        for x in point
    ]
    torch.sum(theirs(*variables)).backward()
    with np.errstate(invalid="ignore"):
        gradients = mg.grad(lambda *args: np.sum(ours(*args)), tuple(range(len(point))))(*point)
    for got, variable in zip(gradients, variables, strict=True):
        np.testing.assert_allclose(np.conj(got), variable.grad.numpy(), rtol=1e-12)


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_the_hessian_of_a_product_with_zeros(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * (rng.random(n) < 0.6)
    expected = torch.autograd.functional.hessian(torch.prod, torch.tensor(x))
    np.testing.assert_allclose(mg.hessian(np.prod)(x), expected.numpy(), rtol=1e-12, atol=1e-12)
