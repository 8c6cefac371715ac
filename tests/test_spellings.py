"""The spelling doesn't matter: different programs for the same mathematics.

Owns: that each spelling's program agrees with the function, and which calls it
contains.
Must not own: single passes on programs of a few steps (`test_passes.py`), linear
algebra (`test_triangular.py`).
Read next: `test_passes.py`.
"""

import operator

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, powers
from microgradnd.compiler import choices, formulas
from microgradnd.compiler.program import Program, Step, Value
from microgradnd.compiler.traits import ROOTS
from tests.interpreter import run

F = nn.functional
RNG = np.random.default_rng(0)
X, G, W = RNG.normal(size=(160, 40)), RNG.normal(size=(160, 40)), RNG.normal(size=40)
ROWS = X[:8]
N, Y = np.arange(160), RNG.integers(0, 40, 160)
BOTH = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def program_of(f, *arrays, calls=2):
    """Compile a function, check some calls of it, and return its source."""
    compiled = mg.compile(f)
    for i in range(calls):
        given = [a if i == 0 or a.dtype.kind != "f" else np.array(a[::-1]) for a in arrays]
        agree(compiled(*given), f(*given))
    return compiled.source


def agree(found, expected):
    if isinstance(expected, tuple):
        for a, b in zip(found, expected, strict=True):
            agree(a, b)
        return
    assert (np.shape(found), found.dtype) == (np.shape(expected), expected.dtype)
    eps = np.finfo(expected.dtype).eps
    np.testing.assert_allclose(found, expected, rtol=200 * eps, atol=200 * eps)


def derivative(f, g=G):
    """Return the value and gradient of a weighted sum of a function's results."""
    weights = {np.dtype(name): g.astype(name) for name in ("float32", "float64")}
    return mg.value_and_grad(lambda x: np.sum(f(x) * weights[x.dtype]))


def shifted(x):
    return x - np.max(x, axis=-1, keepdims=True)


def shares(e):
    return e / np.sum(e, axis=-1, keepdims=True)


def logs(z):
    return z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))


WORDS = {  # with texts that their programs contain, and texts that they don't
    "relu by maximum": (lambda x: np.maximum(x, 0), ["larger("], ["np.where("]),
    "relu by maximum, from the left": (lambda x: np.maximum(0.0, x), ["larger("], ["np.where("]),
    "relu by minimum": (lambda x: -np.minimum(-x, 0), ["larger("], ["np.where("]),
    "relu by where": (lambda x: np.where(x > 0, x, 0), ["kept("], ["np.where("]),
    "where the other way": (lambda x: np.where(x > 0, 0.0, x * x), ["kept("], ["np.where("]),
    "relu by a mask": (lambda x: x * (x > 0), [], ["np.where("]),
    "relu by an absolute value": (lambda x: (x + np.abs(x)) / 2, ["larger("], ["np.sign("]),
    "relu by half an absolute value": (lambda x: 0.5 * (np.abs(x) + x), ["larger("], ["np.sign("]),
    "absolute value": (lambda x: np.abs(x) ** 3, ["larger("], ["np.sign("]),
    "leaky relu by a maximum": (lambda x: np.maximum(x, 0.1 * x), [", 1.0, 0.1, out"], ["np.where("]),
    "leaky relu by both": (lambda x: np.maximum(x, 0) + 0.1 * np.minimum(x, 0), [", 0.1, 1.0, out"], ["np.where("]),
    "converted choices": (
        lambda x: x * np.where(x > 0, 1.0, 0.1).astype(x.dtype),
        ["flipped("],
        ["float64", "astype("],
    ),
    "a variance by sums over counts": (
        lambda x: np.sum((x - x.sum(0) / len(x)) ** 2, 0) / len(x) + x,
        [],
        ["np.negative("],
    ),
    "an absolute value used twice": (lambda x: np.abs(x) * np.exp(np.abs(x)), ["larger("], []),
    "a mask as a float": (lambda x: x * (x > 0).astype(x.dtype), [], []),
    "softmax": (lambda x: shares(np.exp(shifted(x))), [], ["np.equal("]),
    "softmax by new axes": (
        lambda x: (lambda e: e / e.sum(axis=1)[:, None])(np.exp(x - x.max(axis=1)[:, None])),
        [],
        ["np.equal("],
    ),
    "softmax, shifted by one number": (lambda x: shares(np.exp(x - np.max(x))), [], ["np.equal("]),
    "softmax of a masked shift": (
        lambda x: (lambda e: e / np.sum(e, -1, keepdims=True))(np.exp(shifted(x)) * (x > -1)),
        [],
        ["np.equal("],
    ),
    "softmax, not shifted": (lambda x: shares(np.exp(x)), [], []),
    "softmax of a multiple": (lambda x: shares(np.exp(shifted(x * 0.25))), [], ["np.equal("]),
    "softmax of a quotient": (lambda x: shares(np.exp(shifted(x) / 3)), [], ["np.equal("]),
    "log-softmax": (lambda x: logs(shifted(x)), [], ["np.equal("]),
    "log of the softmax": (lambda x: np.log(shares(np.exp(shifted(x)))), ["np.log(view"], ["np.equal(", "np.divide(x"]),
    "log of F.softmax": (lambda x: np.log(F.softmax(x)), ["np.log(view"], ["np.equal("]),
    "log of the softmax, by new axes": (
        lambda x: np.log((lambda e: e / e.sum(axis=1)[:, None])(np.exp(x - x.max(axis=1)[:, None]))),
        ["np.log(view"],
        [],
    ),
    "log of another share": (lambda x: np.log(shares(np.exp(x - x.max()))), [], ["np.log(view"]),
    "log of a share of another axis": (
        lambda x: np.log((lambda e: e / e.sum(axis=0))(np.exp(shifted(x)))),
        [],
        ["np.log(view"],
    ),
    "the softmax times its log": (lambda x: (lambda p: p * np.log(p))(shares(np.exp(shifted(x)))), [], []),
    "log of a softmax over 1": (lambda x: (lambda p: 1 / (1 - np.log(p)) + p)(shares(np.exp(shifted(x)))), [], []),
    "log-softmax by subtracting both": (
        lambda x: x - (np.log(np.sum(np.exp(shifted(x)), axis=-1, keepdims=True)) + np.max(x, axis=-1, keepdims=True)),
        [],
        [],
    ),
    "log-softmax of a multiple, by subtracting both": (
        lambda x: (
            2 * x
            - (np.log(np.sum(np.exp(shifted(2 * x)), axis=-1, keepdims=True)) + np.max(2 * x, axis=-1, keepdims=True))
        ),
        [],
        [],
    ),
    "softmax along the other axis": (
        lambda x: (lambda e: e / e.sum(axis=0, keepdims=True))(np.exp(x - x.max(axis=0, keepdims=True))),
        [],
        ["np.equal("],
    ),
    "softmax of everything": (
        lambda x: (lambda e: e / np.sum(e, keepdims=True))(np.exp(x - np.max(x, keepdims=True))),
        [],
        ["np.equal("],
    ),
    "an exponential that stays shifted": (lambda x: np.exp(shifted(x)), ["np.equal("], []),
    "a sum along another axis": (
        lambda x: (lambda e: e / np.sum(e, axis=0, keepdims=True))(np.exp(shifted(x))),
        ["np.equal("],
        [],
    ),
    "a sum and one more": (
        lambda x: (lambda e: e / (1 + np.sum(e, -1, keepdims=True)))(np.exp(shifted(x))),
        ["np.equal("],
        [],
    ),
    "a shift that is squared": (lambda x: shares(shifted(x) ** 2 + 1), ["np.equal("], []),
    "a maximum that is used again": (
        lambda x: shares(np.exp(shifted(x))) * x.max(-1, keepdims=True),
        ["np.equal("],
        [],
    ),
    "cross-entropy of one-hot rows": (
        lambda x: -np.mean(np.sum((Y[:, None] == np.arange(x.shape[1])) * logs(shifted(x)), axis=1)),
        ["np.vdot(constant"],
        ["np.equal(", "np.vecdot("],
    ),
    "layer norm by means": (
        lambda x: (lambda z: z / np.sqrt(np.mean(z**2, -1, keepdims=True) + 1e-5))(x - np.mean(x, -1, keepdims=True)),
        ["np.vecdot("],
        ["np.mean(", "np.power("],
    ),
    "layer norm by x.var": (
        lambda x: (x - x.mean(-1, keepdims=True)) / (x.var(-1, keepdims=True) + 1e-5) ** 0.5,
        ["np.vecdot("],
        ["np.mean(", "var("],
    ),
    "standard scores": (lambda x: (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0)), [], ["np.mean(", "var("]),
    "a variance with ddof": (lambda x: x / x.var(axis=0, ddof=1), ["var("], []),
    "a mean of some": (lambda x: x - np.mean(x, axis=0, where=X[:160] > 0), ["np.mean("], []),
    "a variance by hand": (lambda x: np.mean((x - np.mean(x, axis=0)) ** 2, axis=0), [], ["np.negative("]),
    "a variance by sums": (
        lambda x: np.sum((x - x.mean(axis=1, keepdims=True)) ** 2, axis=1, keepdims=True) / 40,
        ["np.vecdot("],
        ["np.negative("],
    ),
    "a mean of other squares": (lambda x: np.mean((x - np.mean(x, axis=0)) ** 3, axis=0), ["np.negative("], []),
    "a deviation": (lambda x: np.std(x, axis=0), ["np.sqrt("], ["std("]),
    "a deviation with ddof": (lambda x: np.std(x, axis=0, ddof=1), ["std("], []),
    "lengths": (lambda x: np.linalg.norm(x, axis=1)[:, None], ["np.vecdot(", "ends("], ["norm(", "marked("]),
    "one length": (lambda x: np.linalg.norm(x), ["np.vdot("], ["norm("]),
    "lengths that keep their axis": (lambda x: np.linalg.norm(x, None, 0, True), [], ["norm("]),
    "another norm": (lambda x: np.linalg.norm(x, 1, axis=0), ["norm("], []),
    "clip by where": (
        lambda x: np.where(x > 1, 1.0, np.where(x < -1, -1, x)),
        ["np.maximum(", "np.minimum(", "kept("],
        ["np.where(", "differing("],
    ),
    "clip from below": (lambda x: np.where(x < 0.5, 0.5, x), ["np.maximum(", "kept("], ["np.where("]),
    "clip at 0": (lambda x: np.where(x > 0, 0.0, x), ["kept("], ["np.minimum(", "np.where("]),
    "clip twice": (lambda x: np.square(np.where(x > 0, x, 0) + np.where(x > 1, 0, x)), ["kept("], ["np.where("]),
    "clip with crossed bounds": (
        lambda x: np.where(x > -0.5, -0.5, np.where(x < 0.25, 0.25, x)),
        ["np.maximum(", "differing("],
        ["np.where(", "np.minimum("],
    ),
    "leaky relu": (lambda x: np.where(x > 0, x, 0.01 * x), ["flipped("], ["np.where(", "kept(", "differing("]),
    "leaky relu, the other way": (lambda x: np.where(x <= 0, x * 0.25, x), ["flipped("], ["np.where(", "kept("]),
    "F.leaky_relu": (F.leaky_relu, ["flipped("], ["np.where(", "kept("]),
    "two slopes": (lambda x: np.where(x > 0, 3 * x, 0.5 * x), ["flipped("], ["np.where(", "kept("]),
    "one of two arrays": (lambda x: np.where(x > 0, np.sin(x), x * x), ["differing("], ["np.where("]),
    "an array or a row": (lambda x: np.where(x > 0, np.sin(x), x[0]), ["differing("], ["np.where("]),
    "numbers by a mask": (lambda x: x * np.where(x > 0, 1.5, -0.5).astype(x.dtype), ["flipped("], ["np.where("]),
    "Huber": (
        lambda x: np.where(np.abs(x) <= 1, 0.5 * x**2, np.abs(x) - 0.5),
        ["differing("],
        ["np.where(", "c_2_0"],
    ),
    "F.huber_loss": (lambda x: F.huber_loss(x, np.zeros(x.shape, x.dtype), "none"), ["differing("], ["np.where("]),
    "clip": (lambda x: np.clip(x, -1, 1), ["marked("], ["np.where("]),
    "third power": (lambda x: x**3, [], ["np.power("]),
    "third power by products": (lambda x: x * x * x, ["c_3_0"], ["np.add("]),
    "fourth power by products": (lambda x: x * x * x * x, [], []),
    "equal terms and others": (lambda x: x * x * x + x * np.sin(x) - (x * 2) * x * x, [], []),
    "inverse root": (lambda x: (x * x + 1) ** -0.5, ["inverse_root("], ["np.power("]),
    "numbers in a chain": (lambda x: np.sin(0.3 * x**2), ["c_0_6"], ["c_2_0"]),
    "fifth power": (lambda x: np.power(x, 5.0), [], ["np.power("]),
    "eighth power": (lambda x: x**8, [], ["np.power("]),
    "ninth power": (lambda x: x**9, ["np.power("], []),
    "power of a half": (lambda x: (x * x + 1) ** 0.5, ["np.sqrt("] * ROOTS, ["np.power("] * ROOTS),
    "gelu": (lambda x: 0.5 * x * (1 + np.tanh(0.8 * (x + 0.044715 * x**3))), [], ["np.power("]),
}


@BOTH
@pytest.mark.parametrize(("f", "has", "lacks"), WORDS.values(), ids=WORDS)
def test_words(f, has, lacks, dtype):
    source = program_of(derivative(f), X.astype(dtype))
    body = source[source.index("\ndef program") if "\ndef program" in source else 0 :]
    assert [call for call in has if call not in body] == []
    assert [call for call in lacks if call in body] == []


@pytest.mark.parametrize("name", [name for name in WORDS if name != "a mean of some"])
def test_second_derivatives(name):
    f = WORDS[name][0]
    x, g = X[:, :8], G[:, :8]

    def inner(x):
        return np.sum(np.sin(f(x)) * g)

    program_of(mg.grad(lambda x: np.sum(mg.grad(inner)(x) * g)), x, calls=1)
    program_of(mg.hvp(inner), x, g, calls=1)
    program_of(mg.grad(inner), x, calls=1)  # its value is dead


def test_sums_of_sums():
    assert "np.vdot(" in program_of(lambda x: np.sum(np.sum(x * x, axis=1)), X)
    assert "np.vdot(" in program_of(lambda x: np.mean(np.sum(x * x, axis=1, keepdims=True), keepdims=True), X)
    assert "np.vecdot(" in program_of(lambda x: np.sum(s := np.sum(x * x, 1)) * s, X)  # the inner sums are needed
    assert "np.vdot(" not in program_of(lambda x: np.sum(np.sum(x[None] * x, axis=2), axis=1), X)


REPEATED = RNG.integers(0, 160, 160)  # rows of which some are picked several times, and some never
PICKED = {  # of the rows and columns of an array
    "from log-softmax": lambda x: F.log_softmax(x)[N, Y],
    "from log-softmax, rows repeated": lambda x: F.log_softmax(x)[REPEATED, Y],
    "from shifted rows": lambda x: logs(shifted(x))[N, Y],
    "and subtracted": lambda x: np.log(np.sum(np.exp(x), axis=1)) - x[N, Y],
    "from a product with columns": lambda x: (x * W.astype(x.dtype))[REPEATED, Y],
    "from an outer sum": lambda x: (x[:, :1] + x[:1])[N, Y],
    "from a quotient by a number": lambda x: (x / 3)[REPEATED, Y],
    "in a table": lambda x: (x - x[:1])[N[:80, None], Y[:2]].ravel(),
    "by the last axis alone": lambda x: (x * x[0, 0])[:, Y][:, 0],
}


@BOTH
@pytest.mark.parametrize("f", PICKED.values(), ids=PICKED)
def test_picking_before_arithmetic(f, dtype):
    program_of(derivative(f, G.ravel()[:160]), X.astype(dtype))


def test_one_pick_of_each_row_makes_no_array_of_zeros():
    source = program_of(mg.value_and_grad(lambda x: -np.mean(F.log_softmax(x)[N, Y])), X)
    assert "(160, 40))" not in source[source.index("def program") :].replace("np.empty((160, 40))", "")
    assert source.count("np.add.at(grad_") == 1


@pytest.mark.parametrize("f", PICKED.values(), ids=PICKED)
def test_picking_in_loops(f):
    pytest.importorskip("numba", reason="numba is an extra")
    compiled = mg.compile(derivative(f, G.ravel()[:160]), backend="numba")
    agree(compiled(X), derivative(f, G.ravel()[:160])(X))
    if f is PICKED["from shifted rows"]:
        assert "+= " in compiled.source
        assert "NumPy:" not in compiled.report()


def test_loops_of_a_softmax_divide_once():
    pytest.importorskip("numba", reason="numba is an extra")
    compiled = mg.compile(derivative(softmax), backend="numba")
    agree(compiled(X), derivative(softmax)(X))
    source = compiled.source
    assert source[source.index("def program_loops") : source.index("_pool")].count(" / ") == 1


def test_the_sum_of_a_constant_is_known():
    source = program_of(mg.value_and_grad(lambda x: x[0, 0] * np.sum(1.5 * G * logs(x))), X)
    assert source.count("np.dot(") == 1, "of the exponentials"


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_variance_becomes_part_of_loops(backend):
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is an extra")
    compiled = mg.compile(derivative(lambda x: x / x.var(axis=-1, keepdims=True)), backend=backend)
    agree(compiled(X), derivative(lambda x: x / x.var(axis=-1, keepdims=True))(X))
    assert "var(" not in compiled.source


def test_an_exponential_of_a_log_softmax_is_no_second_one_in_loops():
    pytest.importorskip("numba", reason="numba is an extra")
    compiled = mg.compile(derivative(F.log_softmax), backend="numba")
    agree(compiled(X), derivative(F.log_softmax)(X))
    assert compiled.source.count(" exp(") + compiled.source.count("(exp(") == 2, "its definition, and one call"


def test_quotients_by_different_numbers_stay():
    a, b, e, s, t, p, q, r, u, v = (Value((2,), np.float64) for _ in range(10))
    lines = [
        (np.divide, e, s, p),
        (np.divide, a, s, q),
        (np.divide, b, t, r),
        (np.add, q, r, u),
        (np.multiply, u, e, v),
    ]
    program = Program((a, b, e, s, t), tuple(Step(f, (x, y), {}, out) for f, x, y, out in lines), (p, v))
    numbers = np.arange(1.0, 11.0).reshape(5, 2)
    for found, expected in zip(run(formulas.formulated(program), *numbers), run(program, *numbers), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def softmax(x):
    return shares(np.exp(shifted(x)))


PULLED = {
    "what is shifted": (shifted, lambda g: g),
    "what is shifted and the softmax": (lambda x: (shifted(x), softmax(x)), lambda g: (g, g * g)),
    "an exponential": (lambda x: np.exp(shifted(x)), lambda g: g),
    "the softmax": (softmax, lambda g: g),
    "one number that is shifted": (
        lambda x: np.log(np.sum(np.exp(x - np.max(x, keepdims=True)), keepdims=True)),
        lambda g: g[:1, :1],
    ),
}


@pytest.mark.parametrize(("f", "seeds"), PULLED.values(), ids=PULLED)
def test_pullbacks_of_arrays(f, seeds):
    """A pullback's value is dead, and its cotangents come from outside."""
    program_of(lambda x, g: mg.vjp(f, x)[1](seeds(g))[0], X, G)


def test_a_pullback_whose_value_is_returned():
    def pulled(x, g):
        (z, loss), pullback = mg.vjp(lambda x: (shifted(x), np.sum(softmax(x) * W)), x)
        return z, loss, pullback((g, np.ones(())))[0]

    program_of(pulled, X, G)


def clipped(z):
    """Return a value whose cotangents are clipped on the way back."""
    z.register_hook(lambda g: np.clip(g, -0.1, 0.1))
    return z


def test_a_maximum_that_cancels_has_a_derivative_where_something_is_detached_or_hooked():
    """The maximum doesn't change the value, but does change the derivative."""

    def detached(x):
        e = np.exp(shifted(x))
        return np.sum(e / np.sum(e, axis=-1, keepdims=True).detach() * W)

    program_of(mg.grad(detached), X)

    eager, compiled = mg.tensor(X, requires_grad=True), mg.tensor(X, requires_grad=True)

    def step(w):
        np.sum(shares(np.exp(clipped(shifted(w)))) * W).backward()

    step(eager)
    mg.compile(step)(compiled)
    agree(np.asarray(compiled.grad), np.asarray(eager.grad))


ONE_HOT = np.eye(40)[Y]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("weights", [ONE_HOT, G], ids=["one-hot", "of both signs"])
@pytest.mark.parametrize("axis", [-1, None])
def test_weights_of_a_log_softmax(weights, axis, backend):
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is an extra")
    f = mg.value_and_grad(lambda x: -np.mean(np.sum(weights[N] * logs(shifted(x)), axis=axis)))
    compiled = mg.compile(f, backend=backend)
    agree(compiled(X), f(X))
    if backend == "numpy":
        assert "np.vdot(constant, buffer1)" in compiled.source


@BOTH
def test_the_log_of_a_tiny_softmax_is_finite(dtype):
    """Eagerly the softmax is 0 there, its logarithm -inf, and the gradient NaN."""
    x, g = np.array([[0.0, -1000.0, -5.0], [3.0, 2.0, 1.0]], dtype), G[:2, :3]
    compiled, stable = mg.compile(derivative(lambda x: np.log(softmax(x)), g)), derivative(F.log_softmax, g)
    with np.errstate(all="ignore"):
        agree(compiled(x), stable(x))
        x[0, 0], x[1, 1] = np.nan, np.inf
        assert np.isnan(compiled(x)[1]).all()
        far = mg.compile(lambda x: np.log(shares(np.exp(x - np.max(x)))))(np.array([[1.0, 0.0], [-2e3, -2e3]], dtype))
    assert np.isnan(far[1]).all(), "shifted by another row's maximum: 0 / 0, as in the function"


def test_cross_entropy():
    program_of(mg.value_and_grad(lambda x: -np.mean(logs(shifted(x))[N, Y])), X)
    program_of(mg.value_and_grad(lambda x: -np.mean(np.sum(np.eye(40)[Y] * logs(shifted(x)), axis=1))), X)


def test_maxima_next_to_infinities_and_nan():
    x = X.copy()
    x[0, :] = -np.inf
    x[1, 0] = np.inf
    x[2, 0] = np.nan
    x[3, :3] = -np.inf
    f = derivative(lambda x: shares(np.exp(shifted(x))))
    with np.errstate(all="ignore"):
        agree(mg.compile(f)(x), f(x))


# Powers


@BOTH
@pytest.mark.parametrize("n", range(3, 9))
def test_the_error_of_a_power(n, dtype):
    """Each of at most n - 1 products rounds once, as docs/how-to/compile.md says."""
    x = RNG.uniform(0.5, 2, 2000).astype(dtype)
    exact = x.astype(np.longdouble) ** n
    for found in (mg.tensor(x) ** n, np.power(mg.tensor(x), float(n)), mg.compile(lambda x: x**n)(x)):
        array = np.asarray(found)
        assert array.dtype == dtype
        assert np.max(np.abs(array - exact) / exact) <= (n - 1) * np.finfo(dtype).eps / 2


@BOTH
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_inverse_root(dtype, backend):
    """The root and the quotient round once each."""
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is an extra")
    x = np.exp(RNG.uniform(-80, 80, 2000)).astype(dtype)
    compiled = mg.compile(lambda x: x**-0.5 * 1, backend=backend)
    for array in (np.asarray(mg.tensor(x) ** -0.5), np.asarray(np.power(mg.tensor(x), -0.5)), compiled(x)):
        assert array.dtype == dtype
        assert np.max(np.abs(array * np.sqrt(x.astype(np.longdouble)) - 1)) <= np.finfo(dtype).eps
    x[:8] = [0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).tiny / 8, -3.0, 1.0]
    with np.errstate(all="ignore"):
        for array in (np.asarray(mg.tensor(x) ** -0.5), compiled(x)):
            np.testing.assert_allclose(array, x**-0.5, rtol=2 * np.finfo(dtype).eps)
            np.testing.assert_array_equal(np.signbit(array[:4]), np.signbit(x[:4] ** -0.5))


def test_powers_of_infinities_nan_and_tiny_numbers():
    x = np.resize([0.0, -0.0, np.inf, -np.inf, np.nan, 1e200, -1e200, 1e-200, -1e-200, -3.0], 300)
    with np.errstate(all="ignore"):
        for n in range(3, 9):
            np.testing.assert_array_equal(np.asarray(mg.tensor(x) ** n), x**n, strict=True)
            np.testing.assert_array_equal(np.signbit(mg.compile(lambda x, n=n: x**n)(x)), np.signbit(x**n))


@pytest.mark.parametrize(
    "x", [X[0], np.float64(1.7), X.astype(np.float16), X + 1j, np.arange(300)], ids=lambda x: str(np.shape(x))
)
def test_other_powers_are_numpys(x):
    np.testing.assert_array_equal(np.asarray(mg.tensor(x) ** 3), x**3)
    np.testing.assert_array_equal(mg.compile(lambda x: x**3)(x), np.power(x, 3))


def test_powers_by_squaring():
    for n in range(1, 20):
        assert powers.products(2, n, operator.mul) == 2**n


# Choices: equal to the last bit


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324])


def bits(x):
    return np.where(np.isnan(x), np.nan, x).tobytes()


@BOTH
@pytest.mark.parametrize(
    "make", [np.array, lambda x: np.array(x, order="F"), lambda x: x[::-1, ::2]], ids=["C", "F", "steps"]
)
def test_kept(make, dtype):
    x = make(np.tile(SPECIAL.astype(dtype), (6, 1)))
    mask = RNG.random(x.shape) < 0.5
    out, ones = np.array(x), mask.astype(f"i{x.itemsize}")
    assert bits(choices.kept(x, ones)) == bits(choices.kept(out, ones, out)) == bits(np.where(mask, x, 0))
    assert bits(out) == bits(np.where(mask, x, 0))


@BOTH
@pytest.mark.parametrize("other", [SPECIAL[::-1], 0.01, -0.0], ids=["array", "number", "zero"])
def test_bits(other, dtype):
    """They choose as np.where does, also over their operands."""
    x = np.tile(SPECIAL.astype(dtype), (6, 1))
    other = np.array(x[:, ::-1]) if isinstance(other, np.ndarray) else other
    mask = RNG.random(x.shape) < 0.5
    ones = mask.astype(f"i{x.itemsize}")
    change = choices.differing(x, other) * ones
    y = np.array(other, dtype)
    for out in (None, np.empty_like(x), y if y.shape else None):
        assert bits(choices.flipped(y, change, out)) == bits(np.where(mask, x, other))
    x, y = x.copy(), np.array(x[:, ::-1])
    for flags in (mask, mask[:, :1], np.zeros_like(mask)):
        want = bits(np.where(flags, x, y))
        for out in (None, np.empty_like(x), np.array(x), np.array(y)):
            given = [out if out is not None and bits(out) == bits(a) else a for a in (x, y)]
            assert bits(choices.marked(flags, *given, out)) == want


@BOTH
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", [name for name in WORDS if "clip" in name or "leaky" in name or "slopes" in name])
def test_choices_of_special_numbers(name, backend, dtype):
    """Values are equal to the last bit; in a gradient, zeros may have another sign.

    Where derivatives by two maxima are one choice, those of infinities may not be NaN.
    """
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is an extra")
    f = WORDS[name][0]
    bounds = np.array([0.5, -0.5, 0.25, np.nextafter(dtype(1), dtype(2)), 3e38, -3e38])
    x = np.resize(np.concatenate([SPECIAL, bounds]).astype(dtype), (160, 40))
    g = np.resize(SPECIAL[:-1].astype(dtype), (40, 160)).T
    with np.errstate(all="ignore"):
        assert bits(mg.compile(f, backend=backend)(x)) == bits(f(x))
        pulled = mg.compile(lambda x, g: mg.vjp(f, x)[1](g)[0], backend=backend)
        found, right = pulled(x, g), mg.vjp(f, x)[1](g)[0]
        if name in ("leaky relu by a maximum", "leaky relu by both"):
            found, right = (np.where(np.isinf(g), 0, part) for part in (found, right))
            np.testing.assert_allclose(found, right, rtol=4 * np.finfo(dtype).eps, strict=True)
        else:
            np.testing.assert_array_equal(found, right, strict=True)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float64])
def test_a_condition_of_numbers_is_true_where_it_is_not_0(kind):
    numbers = RNG.integers(0, 3, X.shape).astype(kind)
    for f in (lambda x, c: np.where(c, x, 0), lambda x, c: np.where(c, x, 2 * x), lambda x, c: np.where(c, 0, x)):
        np.testing.assert_array_equal(mg.compile(f)(X, numbers), f(X, numbers), strict=True)
    nested = mg.compile(lambda x, c: np.where(c, np.where(x > 0, x, 0), 0))
    np.testing.assert_array_equal(nested(X, numbers), np.where(numbers, np.where(X > 0, X, 0), 0), strict=True)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_deviations_next_to_nan_and_infinity(backend):
    """Where the eager gradient is finite, so is the compiled one; NaN stays NaN."""
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is an extra")
    x = X.copy()
    x[3, 0], x[5, 1] = np.nan, np.inf
    f = derivative(WORDS["a variance by hand"][0], G[0])
    with np.errstate(all="ignore"):
        (_, found), (_, expected) = mg.compile(f, backend=backend)(x), f(x)
    agree(found[:, 2:], expected[:, 2:])
    assert np.isnan(found[:, 0]).all()
    assert not np.isfinite(found[:, 1]).any()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_lengths_of_infinite_vectors(backend):
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is an extra")
    x = X.copy()
    x[3, 0], x[5, 1:3], x[7, 7], x[9] = np.nan, [np.inf, -np.inf], -np.inf, 0
    f = mg.value_and_grad(lambda x: np.sum(np.linalg.norm(x, axis=1)[[0, 3, 5, 7, 9]] * G[0, :5]))
    with np.errstate(all="ignore"):
        agree(mg.compile(f, backend=backend)(x), f(x))


@BOTH
@pytest.mark.parametrize("ties", [True, False])
def test_larger(ties, dtype):
    x, y = np.meshgrid(SPECIAL, SPECIAL) if ties else (X[:8, :8], G[:8, :8])
    x, y = x.astype(dtype), y.astype(dtype)
    rule = mg.vjp(np.maximum, x, y)[1](np.ones(x.shape, dtype))[0]
    for out in (None, np.array(x), np.array(y)):
        given = [a if out is None or bits(out) != bits(a) else out for a in (x, y)]
        share = choices.larger(x > y, (x > y) | (x < y), *given, out=out)
        np.testing.assert_array_equal(share, rule, strict=True)
        given = x if out is None or bits(out) != bits(x) else out
        assert bits(choices.larger(x > 0, (x > 0) | (x < 0), given, 0, 1, -1, out=out)) == bits(np.sign(x))


PAIRS = {
    "maximum": lambda x, y: np.maximum(x, y),
    "minimum": lambda x, y: np.minimum(x, y),
    "maximum of columns": lambda x, y: np.maximum(x, y[:, :1]),
    "maximum with a number": lambda x, y: np.maximum(x, 0.0) + np.maximum(1.0, y),
    "maximum with infinity": lambda x, y: np.maximum(x, np.inf) + np.maximum(-np.inf, y),
    "where that is written like the rule": lambda x, y: np.where(
        np.isnan(np.maximum(x, y)), np.nan, np.where(x == y, 0.5 * x, x * (x > 2 * y))
    ),
}


@pytest.mark.parametrize("f", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_ties_and_nan(f, backend):
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is an extra")
    x, y = X.copy(), G.copy()
    x[::3] = y[::3]
    x[5, 5] = np.nan
    x[6, :4], y[6, :4] = [np.inf, -np.inf, np.inf, np.inf], [np.inf, -np.inf, -np.inf, np.nan]
    x[7, :4], y[7, :4] = [0.0, -0.0, np.inf, -np.inf], [1.0, np.nan, np.inf, -np.inf]
    both = mg.grad(lambda x, y: np.sum(f(x, y) * X), (0, 1))
    with np.errstate(all="ignore"):
        found, expected = mg.compile(both, backend=backend)(x, y), both(x, y)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_number_is_not_added_to_in_place():
    ends = np.float64(1.0), np.float64(2.0)  # whose cotangents are sums of numbers and of an array's first elements
    program_of(mg.value_and_grad(lambda a, b: np.sum(np.geomspace(a, b, 7)), (0, 1)), *ends, calls=1)
