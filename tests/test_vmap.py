"""One call for a whole batch: `vmap` equals a loop over the examples, and a Jacobian is
one walk.

Owns: the laws of `vmap` on the rows of the derivative table, its axes, and how it
composes with the other transforms.
Must not own: messages (`tests/test_messages.py`).
Read next: `microgradnd/batching.py`.
"""

import functools

import numpy as np
import pytest
from hypothesis import Phase, given, settings

import microgradnd as mg
from microgradnd import batching, jacobians, nn
from microgradnd.nn import functional as F
from microgradnd.refusals import OneExampleError
from microgradnd.trees import flatten
from tests.test_laws import ROWS, numbers

SIZE = 3
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(SIZE, 4)), RNG.normal(size=(SIZE, 2, 5))
W, V = RNG.normal(size=(4, 5)), RNG.normal(size=(5, 2))
SLOW = ("logm", "expm", "sqrtm")  # series of products in a loop: seconds for each row
KEPT = {"indexing", "products", "joining", "shape", "reductions", "linear"}  # families of which every row is checked


def sampled():
    """Return one row of each function, and several of those whose calls differ most."""
    seen, found = {}, []
    for row in ROWS:
        if row.name.startswith(SLOW):
            continue
        count = seen[row.function] = seen.get(row.function, 0) + 1
        family = (getattr(row.function, "__module__", None) or "").rpartition(".")[2]
        if count == 1 or (count <= 3 and (row.function in batching.RULES or family in KEPT)):
            found.append(row)
    return found


def batch_of(array):
    """Return a batch of arrays with the elements of one in other places, so that they
    keep to its domain.
    """
    return np.stack([array, np.flip(array), array])


def one_by_one(f, args, axes):
    """Return what a loop over the examples gives, stacked."""
    picked = [
        [x if axis is None else np.take(x, i, axis) for x, axis in zip(args, axes, strict=True)] for i in range(SIZE)
    ]
    columns = zip(*(numbers(f(*given)) for given in picked), strict=True)
    return [np.stack(column) for column in columns]


def check(f, args, axes, out_axes=0, rtol=1e-7):
    """Compare a mapped function with the loop."""
    with np.errstate(all="ignore"):
        got, want = numbers(mg.vmap(f, tuple(axes), out_axes)(*args)), one_by_one(f, args, axes)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        moved = np.moveaxis(b, 0, out_axes)
        assert (a.shape, a.dtype) == (moved.shape, moved.dtype)
        np.testing.assert_allclose(a, moved, rtol=rtol, atol=1e-9)


def waves(array):
    """Return a fixed cotangent or tangent for an array."""
    return np.cos(np.arange(array.size)).reshape(array.shape).astype(array.dtype)


def pulled(f, *args):
    value, pullback = mg.vjp(f, *args)
    leaves, form = flatten(value)
    return pullback(form.rebuild([waves(leaf) for leaf in leaves]))


def pushed(f, *args):
    return mg.jvp(f, args, [waves(x) for x in args])[1]


@pytest.mark.parametrize("row", sampled(), ids=lambda row: row.name)
def test_a_map_equals_a_loop(row):
    """Values, VJPs and JVPs, over a batch in all arguments, in the first and in the
    last.
    """

    @settings(max_examples=1, phases=[Phase.generate], derandomize=True, database=None)
    @given(row.inputs)
    def law(arrays):
        n = len(arrays)
        for axes in {(0,) * n, (0,) + (None,) * (n - 1), (None,) * (n - 1) + (-1,)}:
            args = [
                x if axis is None else np.moveaxis(batch_of(x), 0, axis) for x, axis in zip(arrays, axes, strict=True)
            ]
            for f in (row.call, functools.partial(pulled, row.call), functools.partial(pushed, row.call)):
                try:
                    check(f, args, axes)
                except OneExampleError:  # an array without examples is assigned to, or an option is none of NumPy's
                    assert axes[0] is None

    law()


@pytest.mark.parametrize("row", sampled()[::3], ids=lambda row: row.name)
def test_one_walk_equals_many(row):
    """A cotangent or tangent may be a batch where what was recorded is not."""

    @settings(max_examples=1, phases=[Phase.generate], derandomize=True, database=None)
    @given(row.inputs)
    def law(arrays):
        value, pullback = mg.vjp(row.call, *arrays)
        leaves, form = flatten(value)
        check(lambda *g: pullback(form.rebuild(list(g))), [batch_of(waves(x)) for x in leaves], [0] * len(leaves))
        check(lambda *t: mg.jvp(row.call, arrays, t)[1], [batch_of(waves(x)) for x in arrays], [0] * len(arrays))

    law()


def net(x, w, v):
    return np.tanh(x @ w) @ v


def loss(x, w, v):
    return np.sum(net(x, w, v) ** 2)


COMPOSED = {
    "vmap": (mg.vmap(net, (0, None, None)), lambda: np.stack([net(x, W, V) for x in X])),
    "gradients of examples": (
        mg.vmap(mg.grad(loss, 1), (0, None, None)),
        lambda: np.stack([mg.grad(loss, 1)(x, W, V) for x in X]),
    ),
    "gradient of a map": (
        mg.grad(lambda x, w, v: np.sum(mg.vmap(loss, (0, None, None))(x, w, v)), 1),
        lambda: sum(mg.grad(loss, 1)(x, W, V) for x in X),
    ),
    "gradient of gradients": (
        mg.grad(lambda x, w, v: np.sum(mg.vmap(mg.grad(loss), (0, None, None))(x, w, v) ** 2), 1),
        lambda: sum(mg.grad(lambda w, x=x: np.sum(mg.grad(loss)(x, w, V) ** 2))(W) for x in X),
    ),
    "Jacobians": (
        mg.vmap(mg.jacobian(net), (0, None, None)),
        lambda: np.stack([mg.jacobian(net)(x, W, V) for x in X]),
    ),
    "Hessians": (
        mg.vmap(mg.hessian(loss), (0, None, None)),
        lambda: np.stack([mg.hessian(loss)(x, W, V) for x in X]),
    ),
    "pullbacks of examples": (
        mg.vmap(
            lambda x, w, v: mg.vmap(mg.vjp(lambda x: net(x, w, v), x)[1])(np.eye(2))[0],
            (0, None, None),
        ),
        lambda: np.stack([mg.jacobian(net)(x, W, V) for x in X]),
    ),
    "Jacobian of a map": (
        mg.jacobian(mg.vmap(loss, (0, None, None))),
        lambda: np.stack([np.eye(SIZE)[i][:, None] * mg.grad(loss)(x, W, V) for i, x in enumerate(X)]),
    ),
    "jvp of a map": (
        lambda x, w, v: mg.jvp(lambda x: mg.vmap(loss, (0, None, None))(x, w, v), (x,), (x,))[1],
        lambda: np.stack([np.sum(x * mg.grad(loss)(x, W, V)) for x in X]),
    ),
    "map of a jvp": (
        mg.vmap(lambda x, w, v: mg.jvp(lambda x: loss(x, w, v), (x,), (x,))[1], (0, None, None)),
        lambda: np.stack([np.sum(x * mg.grad(loss)(x, W, V)) for x in X]),
    ),
    "map of a map": (
        mg.vmap(mg.vmap(lambda x, w: np.sum(x * w), (None, 1)), (0, None)),
        lambda: X @ W,
    ),
    "gradients in a map of a map": (
        mg.vmap(mg.vmap(mg.grad(lambda x, w: np.tanh(np.sum(x * w))), (None, 1)), (0, None)),
        lambda: np.stack([[mg.grad(lambda x, w=w: np.tanh(np.sum(x * w)))(x) for w in W.T] for x in X]),
    ),
    "products with Hessians": (
        mg.vmap(lambda x, w, v: mg.hvp(lambda x: loss(x, w, v))(x, x), (0, None, None)),
        lambda: np.stack([mg.hessian(loss)(x, W, V) @ x for x in X]),
    ),
    "indices of their own": (
        mg.vmap(lambda x: x[np.argsort(x)] * np.max(x)),
        lambda: np.sort(X) * X.max(1, keepdims=True),
    ),
}


def arguments(name):
    return (X, W) if "map of a map" in name else (X,) if "own" in name else (X, W, V)


NUMBA = ("gradients of examples", "Hessians", "gradients in a map of a map")  # it takes seconds for each


@pytest.mark.parametrize(
    ("name", "backend"),
    [*((name, backend) for name in COMPOSED for backend in (None, "numpy")), *((name, "numba") for name in NUMBA)],
)
def test_transforms_compose(name, backend):
    if backend == "numba":
        pytest.importorskip("numba", reason='loops need numba: pip install -e ".[numba]"')
    f, expected = COMPOSED[name]
    got = f(*arguments(name)) if backend is None else mg.compile(f, backend=backend)(*arguments(name))
    np.testing.assert_allclose(*numbers([got, expected()]), rtol=1e-9, atol=1e-12)


def test_axes_may_be_trees():
    params = {"w": W, "b": np.arange(5.0)}
    f = mg.vmap(
        lambda p, x, scale=1.0: {"y": x @ p["w"] + p["b"], "s": (np.sum(x) * scale, "text")},
        ({"w": None, "b": None}, 1),
        {"y": -1, "s": 0},
    )
    got = f(params, X.T, scale=np.arange(3.0))
    np.testing.assert_allclose(got["y"], (X @ W + np.arange(5.0)).T)
    np.testing.assert_allclose(got["s"][0], X.sum(1) * np.arange(3.0))
    assert got["s"][1] == "text"


@pytest.mark.parametrize("in_axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("out_axis", [0, 1, 2, -1])
def test_axes_are_counted_from_either_end(in_axis, out_axis):
    check(lambda y: np.exp(y).T, [np.moveaxis(Y, 0, in_axis)], [in_axis], out_axis)


def test_a_result_that_does_not_depend_on_the_example():
    assert mg.vmap(lambda x: 2.0)(X).tolist() == [2.0, 2.0, 2.0]
    assert mg.vmap(lambda x: (2.0, x), out_axes=(None, 0))(X)[0] == 2.0
    fixed = mg.vmap(lambda x: W)(X)
    assert fixed.shape == (SIZE, 4, 5)
    assert fixed.flags.writeable


def test_results_are_the_callers_own():
    x = X.copy()
    y = mg.vmap(lambda x: x)(x)
    y[:] = 0
    assert (x == X).all()


INDICES = {
    "a number": lambda y, i: y[0, i],
    "an array": lambda y, i: y[:, np.stack([i, i, 0 * i])],
    "in front": lambda y, i: y[np.stack([i, i]) % 2],
    "apart": lambda y, i: y[None, i % 2, ..., :][..., np.stack([i, i])],
    "split by a slice": lambda y, i: np.stack([y, y, y])[i % 3, :, np.stack([i, i, i, i])],
    "two": lambda y, i: y[np.stack([i % 2, 0 * i]), np.stack([i, i])],
    "from an array without examples": lambda y, i: mg.tensor(W)[1:3, i] + y[0, 0],
    "alone, from an array without examples": lambda y, i: mg.tensor(W)[np.stack([i, 0 * i]) % 4] + y[0, 0],
    "lists": lambda y, i: y[[0, i % 2, i % 2]] + y[0, [i, 0, i]][0] + y[[i % 2, 1], [0, i]][1],
    "take": lambda y, i: np.take(y, i, axis=1),
    "take_along_axis": lambda y, i: np.take_along_axis(y, np.argsort(y, axis=1), axis=1),
    "mask": lambda y, i: np.where(y > 0, y, -y)[:, np.array([True, False, True, True, False])],
}


@pytest.mark.parametrize("name", INDICES)
def test_indices_that_are_batches(name):
    pick, i = INDICES[name], np.array([1, 4, 0])
    check(lambda y, i: pick(mg.tensor(y) if isinstance(y, np.ndarray) else y, i), [Y, i], [0, 0])
    check(mg.grad(lambda y, i: np.sum(np.sin(pick(y, i)))), [Y, i], [0, 0])


@pytest.mark.parametrize("f", [lambda x, i: x[i], lambda x, i: x[i % 2, i], lambda x, i: np.interp(i, x[0] + 5, x[1])])
def test_only_the_index_is_a_batch_of_a_compiled_function(f):
    """What is the same for all examples is traced, or a Tensor made inside."""
    x, i = np.arange(9.0).reshape(3, 3), np.array([1, 2, 0])
    want = np.stack([f(x, k) for k in i])
    np.testing.assert_array_equal(mg.compile(mg.vmap(f, (None, 0)))(x, i), want)
    np.testing.assert_array_equal(mg.compile(mg.vmap(lambda i: f(mg.tensor(x), i)))(i), want)


@pytest.mark.parametrize(
    ("transform", "x"), [(mg.hessian, X[0]), (lambda f: mg.vmap(mg.hessian(f)), X), (lambda f: mg.vmap(mg.grad(f)), X)]
)
def test_compiled_derivatives_of_what_an_index_picks(transform, x):
    """The walk of a Jacobian scatters its rows at a computed index."""

    def f(x):
        return np.sum(np.sort(x) * np.arange(4.0) ** 2) ** 3 + x[np.argmax(x)] * np.sum(x[np.argsort(x)][1:] ** 2)

    np.testing.assert_allclose(mg.compile(transform(f))(x), transform(f)(x), rtol=1e-12)


def test_compiled_hessians_of_an_assignment_by_a_mask():
    """The rows of a Hessian have the mask of the function."""

    def f(x):
        y = x**2
        y[y > 0.5] = 0.25
        return np.sum(y**2 * x)

    np.testing.assert_allclose(mg.compile(mg.hessian(f))(X[0]), mg.hessian(f)(X[0]), rtol=1e-12)
    np.testing.assert_allclose(mg.compile(mg.vmap(mg.hessian(f)))(X), [mg.hessian(f)(x) for x in X], rtol=1e-12)


def test_indices_of_two_maps():
    i, j = np.array([0, 2]), np.array([1, 3, 3])
    for x in (W, X):
        f = mg.vmap(mg.vmap(lambda i, j, x=x: mg.tensor(x)[i, np.stack([j, i])], (None, 0)), (0, None))
        want = [[x[a, [b, a]] for b in j] for a in i]
        np.testing.assert_array_equal(f(i, j), want)
        np.testing.assert_array_equal(mg.compile(f)(i, j), want)


def test_assignments_are_to_the_example():
    def f(x, i):
        y = np.zeros_like(x)
        y[1:] = x[:-1]
        y[0] += 2 * x[3]
        y *= x
        y[i] = -1.0
        return y

    check(f, [X, np.array([2, 0, 3])], [0, 0])
    check(mg.jacobian(f), [X, np.array([2, 0, 3])], [0, 0])


def test_a_users_primitive_is_called_for_each_example_or_as_it_says():
    sizes = []

    @mg.primitive
    def double(x, factor=2):
        sizes.append(np.shape(x))
        return factor * x

    mg.defvjp(double, lambda g, out, x, factor=2: factor * g)
    f = mg.vmap(mg.grad(lambda x: np.sum(double(x) * x)))
    np.testing.assert_allclose(f(X), 4 * X)
    assert sizes == [(4,)] * SIZE
    sizes.clear()
    mg.defvmap(double, "elementwise")
    np.testing.assert_allclose(f(X), 4 * X)
    assert sizes == [(SIZE, 4)]
    mg.defvmap(double, lambda is_batched, x, factor=2: double(x, factor) if is_batched == [True] else NotImplemented)
    np.testing.assert_allclose(f(X), 4 * X)


def test_a_function_that_differentiates_is_called_for_each_example():
    """A transform inside of an operation is given single examples, and doesn't know of
    the map.
    """

    @mg.primitive
    def slope(x):
        return mg.grad(lambda x: np.sum(x**3))(x)

    np.testing.assert_allclose(mg.vmap(slope)(X), 3 * X**2)


def test_the_report_says_what_is_called_for_each_example():
    compiled = mg.compile(mg.vmap(lambda x: np.convolve(x, x)))
    compiled(X)
    assert "vmap: called for each example: convolve" in compiled.report()
    compiled = mg.compile(mg.vmap(lambda x: np.sum(np.sort(x))))
    compiled(X)
    assert "vmap" not in compiled.report()


def test_layers_and_losses_take_examples():
    model = nn.Sequential(nn.Linear(4, 3, rng=np.random.default_rng(0)), nn.Tanh(), nn.LayerNorm(3))
    labels = np.array([0, 2, 1])
    one = lambda m, x, k: F.cross_entropy(m(x[None]), k[None])  # noqa: E731
    got = mg.vmap(mg.grad(one), (None, 0, 0))(model, X, labels)
    want = [flatten(mg.grad(one)(model, x, k))[0] for x, k in zip(X, labels, strict=True)]
    for a, *parts in zip(flatten(got)[0], *want, strict=True):
        np.testing.assert_allclose(a, parts, rtol=1e-9)


def test_a_compiled_function_may_be_mapped():
    compiled = mg.compile(loss)
    compiled(X[0], W, V)
    np.testing.assert_allclose(mg.vmap(compiled, (0, None, None))(X, W, V), [loss(x, W, V) for x in X])


def test_backward_goes_through_a_map():
    w = mg.tensor(W, requires_grad=True)
    np.sum(mg.vmap(loss, (0, None, None))(X, w, V)).backward()
    np.testing.assert_allclose(w.grad, sum(mg.grad(loss, 1)(x, W, V) for x in X))


def test_a_batch_of_cotangents_meets_one_that_is_the_same_for_all():
    _, pullback = mg.vjp(lambda x: (x[0] * 2, x[1] * 3, x[0] * x[2]), X[0])
    got = mg.vmap(lambda g: pullback((g, g, 1.0))[0])(np.arange(3.0))
    np.testing.assert_allclose(got, [pullback((g, g, 1.0))[0] for g in np.arange(3.0)])


# Jacobians


def counting(rule):
    """Return an operation whose rule counts how often it is called."""
    calls = []

    @mg.primitive
    def own(x):
        return np.sin(x)

    def counted(g, out, x):
        calls.append(1)
        return rule(g, x)

    mg.defvjp(own, counted)
    return own, calls


@pytest.mark.parametrize("transform", [mg.jacobian, mg.hessian])
def test_a_compiled_jacobian_is_as_long_for_many_outputs(transform):
    def lines(n):
        f = mg.compile(transform(lambda x: np.tanh(x) ** 3 if transform is mg.jacobian else np.sum(np.tanh(x) ** 3)))
        f(np.ones(n))
        return len(f.source.splitlines())

    assert lines(24) == lines(6)


def test_a_jacobian_is_one_walk():
    own, calls = counting(lambda g, x: g * np.cos(x))
    np.testing.assert_allclose(mg.jacobian(lambda x: own(x) @ W[:, :3])(X[0]), (np.cos(X[0])[:, None] * W[:, :3]).T)
    assert len(calls) == 1


def test_a_rule_that_needs_an_array_is_called_for_each_row():
    own, calls = counting(lambda g, x: np.asarray(g) * np.cos(x))
    np.testing.assert_allclose(mg.jacobian(own, mode="rev")(X[0]), np.diag(np.cos(X[0])))
    assert len(calls) == 1 + X[0].size  # the first was refused


def test_hooks_see_one_cotangent_at_a_time():
    seen = []

    def f(x, hooked):
        y = np.sin(x)
        (y if hooked == "a result" else x).register_hook(lambda g: seen.append(type(g)))
        return y * 2

    for hooked in ("a result", "the argument"):
        np.testing.assert_allclose(mg.jacobian(f, mode="rev")(X[0], hooked), np.diag(2 * np.cos(X[0])))
        assert seen == [np.ndarray] * 4
        seen.clear()


def test_the_error_of_a_rule_is_its_own():
    own, _ = counting(lambda g, x: np.zeros(7))
    with pytest.raises(ValueError, match=r"shape \(7,\)"):
        mg.jacobian(own, mode="rev")(X[0])


def test_a_walk_carries_as_many_rows_as_memory_allows(monkeypatch):
    own, calls = counting(lambda g, x: g * np.cos(x))
    monkeypatch.setattr(jacobians, "MOST", 8)
    np.testing.assert_allclose(mg.jacobian(own, mode="rev")(X[0]), np.diag(np.cos(X[0])))
    assert len(calls) == 2


def test_dropout_differs_by_example():
    def dropped(x, rng):
        return F.dropout(x, 0.5, rng=rng)

    x = np.ones((3, 4))
    expected = np.stack([dropped(row, rng) for rng in [np.random.default_rng(0)] for row in x])
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(mg.vmap(lambda x: dropped(x, rng))(x), expected)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(mg.vmap(mg.grad(lambda x: np.sum(dropped(x, rng))))(x), expected)
    rng = np.random.default_rng(0)
    nested = mg.vmap(mg.vmap(lambda x: dropped(x, rng)))(np.ones((2, 3, 4)))
    assert len({row.tobytes() for row in nested.reshape(6, 4)}) > 1
    layer = nn.Dropout(0.5, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(mg.vmap(layer, in_axes=1)(x.T), expected)


def test_dropout_by_example_is_drawn_anew_by_a_program_or_refused():
    rng = np.random.default_rng(0)
    compiled = mg.compile(mg.vmap(lambda x: F.dropout(x, 0.5, rng=rng)))
    try:
        first, second = compiled(np.ones((3, 40))), compiled(np.ones((3, 40)))
    except TypeError:
        return
    assert np.any(first != second)
