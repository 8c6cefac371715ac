"""What was used is what is differentiated: operands that change between their use and
the derivative.

Owns: every way of changing an operand, tried on every row: the derivative is that at
the values that were used, or an error that says what was changed.
Must not own: the rows (`rows/`).
Read next: `rows/__init__.py`.

A row is tried with each kind of operand and, in turn, one of the ways to change it;
with the profile `thorough`, and on some rows always, with every way.
"""

import functools
import itertools
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import microgradnd as mg
from microgradnd import nn, optim, tape
from microgradnd.operands import copied
from microgradnd.transforms import plain
from microgradnd.trees import flatten
from tests.test_laws import ROWS, random_like

THOROUGH = settings.default.max_examples > 5
REPRESENTATIVE = {
    *("add", "multiply", "divide", "exp", "matmul-matrix-matrix", "einsum-matmul", "linalg.solve-matrix", "sum-axis"),
    *("where-mask", "concatenate-two", "getitem-slice", "take-axis", "linalg.norm-axis-2", "maximum", "cumprod-axis"),
}


def changed(array):
    """Return other numbers of the same shape and dtype, each different."""
    return (array * 1.375 + 0.625).astype(array.dtype)


# Ways to change a Tensor that the library offers


def by_optimizer(t):
    t.grad = (t.data - changed(t.data)).astype(t.dtype)
    optim.SGD([t], lr=1.0).step()


def by_subtraction(t):
    with mg.no_grad():
        t -= (t.data - changed(t.data)).astype(t.dtype)


def by_assignment(t):
    with mg.no_grad():
        t[...] = changed(t.data)


def by_data(t):
    t.data = changed(t.data)


def by_updating(t):
    with t.updating() as array:
        array[...] = changed(array)


def by_loading(t):
    module = nn.Module()
    module.register_parameter("held", t)
    module.load_state_dict({"held": changed(t.data)})


WAYS = [by_optimizer, by_subtraction, by_assignment, by_data, by_updating, by_loading]


# Kinds of operands: each takes an array and returns the operand and the Tensor, or the
# array, that is changed


def leaf(a):
    t = mg.tensor(a, requires_grad=True)
    return t, t


def frozen(a):
    t = mg.tensor(a)
    return t, t


def detached(a):
    t = mg.tensor(a, requires_grad=True)
    return t.detach(), t


def detached_leaf(a):
    t = mg.tensor(a, requires_grad=True)
    other = t.detach()
    other.requires_grad = True
    return other, t


def view(a):
    t = mg.tensor(a, requires_grad=True)
    return t[...], t


def view_without_grad(a):
    t = mg.tensor(a, requires_grad=True)
    with mg.no_grad():
        return t[...], t


def view_of_frozen(a):
    t = mg.tensor(a)
    return t[...], t


def shared(a):
    """Another variable over the same array."""
    t, other = mg.tensor(a, requires_grad=True), mg.tensor(a, requires_grad=True)
    other.data = t.data
    return other, t


TENSORS = [leaf, frozen, detached, detached_leaf, view, view_without_grad, view_of_frozen, shared]


def array_of_user(a):
    array = a.copy()
    return array, array


def view_of_user(a):
    array = a.copy()
    return array[...], array


ARRAYS = [array_of_user, view_of_user]


def in_place(array):
    array[...] = changed(array)


CASES = [(kind, way) for kind in TENSORS for way in WAYS] + [(kind, in_place) for kind in ARRAYS]


# Walks: each calls with one operand that is changed afterwards, and returns the
# derivatives by the others


def loss_of(value):
    """Return a real number that all numbers of a result go into."""
    rng = np.random.default_rng(1)
    parts = [o for o in flatten(value)[0] if isinstance(o, mg.Tensor) and o.requires_grad]
    return sum((np.sum(np.real(o * random_like(plain(o), rng))) for o in parts), start=mg.tensor(0.0))


def by_backward(call, arrays, i, make, way):
    """Return the gradients of all leaves; the operand's own too, if it is one."""
    operand, target = make(arrays[i])
    leaves = [mg.tensor(a, requires_grad=True) for a in arrays]
    loss = loss_of(call(*(operand if j == i else t for j, t in enumerate(leaves))))
    if not loss.requires_grad:
        return []
    if way is not None:
        way(target)
    gradients = [t for t in (*leaves, target, operand) if isinstance(t, mg.Tensor) and t.is_leaf and t.requires_grad]
    for t in gradients:
        t.grad = None
    loss.backward()
    return [np.zeros(t.shape) if t.grad is None else t.grad for t in gradients]


def others(arrays, i):
    return [a.copy() for j, a in enumerate(arrays) if j != i]


def by_pullback(call, arrays, i, make, way):
    operand, target = make(arrays[i])
    value, pullback = mg.vjp(lambda *rest: call(*rest[:i], operand, *rest[i:]), *others(arrays, i))
    if way is not None:
        way(target)
    rng = np.random.default_rng(1)
    leaves, form = flatten(value)
    return list(pullback(form.rebuild([random_like(np.asarray(plain(leaf)), rng) for leaf in leaves])))


def by_jvp(call, arrays, i, make, way):
    operand, target = make(arrays[i])

    def f(*rest):
        value = call(*rest[:i], operand, *rest[i:])
        if way is not None:
            way(target)
        return value

    rng = np.random.default_rng(1)
    rest = others(arrays, i)
    return flatten(mg.jvp(f, rest, [random_like(a, rng) for a in rest])[1])[0]


WALKS = [by_backward, by_pullback, by_jvp]


def judged(walk, call, arrays, i, make, way):
    """Return what is wrong with a derivative whose operand was changed; None if it is
    right or refused.
    """
    if (way is by_optimizer and make in (frozen, view_of_frozen)) or (len(arrays) == 1 and walk is not by_backward):
        return None
    name = f"operand {i}, {make.__name__} changed {way.__name__}, {walk.__name__}"
    with np.errstate(all="ignore"):
        try:
            right = walk(call, arrays, i, make, None)
        except (TypeError, UserWarning):  # refused unchanged: a Tensor stored in a plain array, or made a number
            return None
        try:
            found = walk(call, arrays, i, make, way)
        except RuntimeError as error:
            text = str(error)
            return None if re.search("chang", text) and len(text) > 60 else f"{name}: {text}"
        except Exception as error:
            return f"{name}: {type(error).__name__}: {error}"
    for got, want in zip(found, right, strict=True):
        got, want = np.asarray(plain(got)), np.asarray(plain(want))
        size = np.max(np.abs(want), initial=1.0)
        if got.shape != want.shape or not np.allclose(got, want, rtol=1e-9, atol=1e-9 * size, equal_nan=True):
            return f"{name}: {got.ravel()[:4]}, right is {want.ravel()[:4]}"
    return None


@functools.cache
def example(number):
    """Return the largest of a few draws of the inputs of a row."""
    drawn = []

    @settings(max_examples=8, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(ROWS[number].inputs)
    def draw(arrays):
        drawn.append(tuple(np.array(a) for a in arrays))

    draw()
    return max(drawn, key=lambda arrays: len(np.unique(np.concatenate([a.ravel() for a in arrays] or [np.zeros(0)]))))


def cases_of(number):
    """Yield the kinds, ways and walks that a row is tried with: over 18 rows in turn,
    each combination.
    """
    if ROWS[number].name in REPRESENTATIVE:
        yield from ((make, way, walk) for (make, way), walk in itertools.product(CASES, WALKS))
        return
    for k, make in enumerate([*TENSORS, *ARRAYS]):
        ways = WAYS if make in TENSORS else [in_place]
        for j, way in enumerate(ways):
            if THOROUGH or j == (number + k) % len(ways):
                yield make, way, WALKS[((number + k) // len(ways) + j) % len(WALKS)]


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.name for row in ROWS])
def test_every_row(number):
    row = ROWS[number]
    arrays = example(number)
    wrong = []
    for i in range(len(arrays)):
        for make, way, walk in cases_of(number):
            wrong.append(judged(walk, row.call, arrays, i, make, way))
    assert list(filter(None, wrong)) == []


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.name for row in ROWS])
def test_what_is_given_to_vjp_and_what_it_gives_are_the_users(number):
    row, arrays = ROWS[number], [a.copy() for a in example(number)]
    with np.errstate(all="ignore"):
        value, pullback = mg.vjp(row.call, *arrays)
        leaves, form = flatten(value)
        rng = np.random.default_rng(1)
        cotangents = [random_like(np.asarray(leaf), rng) for leaf in leaves]
        right = [np.array(g) for g in pullback(form.rebuild(cotangents))]
        for array in (*arrays, *leaves):
            if isinstance(array, np.ndarray) and array.flags.writeable and array.dtype.kind in "fc":
                in_place(array)
        try:
            found = pullback(form.rebuild(cotangents))
        except RuntimeError as error:
            assert "chang" in str(error)  # noqa: PT017 -- right, or this
            return
    for got, want in zip(found, right, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


# Arrays that are no operands with a derivative: indices, masks, and the like

X = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]])
EXTRAS = {
    "x[indices]": (lambda x, i: x[i], np.array([1, 0, 1])),
    "x[:, indices]": (lambda x, i: x[:, i], np.array([2, 0])),
    "x[mask]": (lambda x, m: x[m], X > 0),
    "x[(indices, indices)]": (lambda x, i: x[i, i], np.array([0, 1])),
    "take": (lambda x, i: np.take(x, i, axis=1), np.array([2, 0, 2])),
    "take_along_axis": (lambda x, i: np.take_along_axis(x, i, axis=1), np.array([[2, 0], [1, 1]])),
    "compress": (lambda x, m: np.compress(m, x, axis=1), np.array([True, False, True])),
    "where": (lambda x, m: np.where(m, x, x * x), X > 0),
    "select": (lambda x, m: np.select([m], [x], x * x), X > 0),
    "choose": (lambda x, i: np.choose(i, [x, x * x]), (X > 0).astype(int)),
    "ufunc where=": (lambda x, m: np.multiply(x, x, where=m), X > 0),
    "sum where=": (lambda x, m: np.sum(x * x, where=m), X > 0),
    "max where=": (lambda x, m: np.max(x, where=m, initial=-9.0), X > 0),
    "var where=": (lambda x, m: np.var(x, where=m), X > 0),
    "repeat": (lambda x, n: np.repeat(x, n, axis=1), np.array([2, 0, 1])),
    "average weights": (lambda x, w: np.average(x, axis=1, weights=w), np.array([1.0, 2.0, 3.0])),
    "interp": (lambda x, p: np.interp(x, p, [1.0, 3.0, 0.0]), np.array([-2.0, 0.1, 3.0])),
    "clip": (lambda x, b: np.clip(x, b, 1.5), np.array([-1.0, 0.0, 1.0])),
    "power of integers": (lambda x, n: x**n, np.array([1, 2, 3])),
    "integers times": (lambda x, n: x * n, np.array([1, 2, 3])),
    "list times": (lambda x, n: x * n, [1.0, 2.0, 3.0]),
    "booleans times": (lambda x, m: x * m, X > 0),
    "dot": (lambda x, a: np.dot(x, a), np.array([[1, 2], [3, 4], [5, 6]])),
    "tensordot": (lambda x, a: np.tensordot(x, a, axes=([1], [0])), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])),
    "convolve": (lambda x, v: np.convolve(x[0], v), np.array([1.0, -2.0])),
    "setitem index": (lambda x, i: assigned(x, i, 2.0 * x[0, 0]), np.array([1, 0])),
    "setitem mask": (lambda x, m: assigned(x, m, 3.0), X > 0),
    "roll": (lambda x, n: np.roll(x, tuple(n), axis=(0, 1)), np.array([1, 2])),
    "piecewise": (lambda x, m: np.where(~m, x * 2, x**3), X > 0),
    "polyval": (lambda x, p: np.polyval(p, x), np.array([1.0, 0.5, -2.0])),
    "onehot": (lambda x, y: nn.functional.cross_entropy(x, y), np.array([2, 0])),
}


def assigned(x, index, value):
    y = x.copy()
    y[index] = value
    return y * x


def other_extra(extra):
    """Change every element to another valid one."""
    if isinstance(extra, list):
        extra[:] = [v + 1.0 for v in extra]
    elif extra.dtype == bool:
        extra[...] = ~extra
    elif extra.dtype.kind == "i":
        extra[...] = 1 - np.minimum(extra, 1)
    else:
        extra[...] = changed(extra)


@pytest.mark.parametrize("walk", ["backward", "pullback", "jvp"])
@pytest.mark.parametrize("name", EXTRAS)
def test_index_arrays_masks_and_the_like(name, walk):
    call, original = EXTRAS[name]

    def derivative(change):
        extra = list(original) if isinstance(original, list) else original.copy()
        if walk == "jvp":

            def f(x):
                value = call(x, extra)
                if change:
                    other_extra(extra)
                return value

            return mg.jvp(f, (X.copy(),), (np.cos(X),))[1]
        if walk == "pullback":
            value, pullback = mg.vjp(lambda x: call(x, extra), X.copy())
            if change:
                other_extra(extra)
            return pullback(np.cos(np.arange(value.size)).reshape(value.shape))[0]
        x = mg.tensor(X, requires_grad=True)
        loss = loss_of(call(x, extra))
        if change:
            other_extra(extra)
        loss.backward()
        return x.grad

    right = derivative(False)
    try:
        found = derivative(True)
    except RuntimeError as error:
        assert "chang" in str(error)  # noqa: PT017 -- right, or this
        return
    np.testing.assert_allclose(found, right, rtol=1e-12)


LARGE = np.random.default_rng(0).uniform(0.5, 1.5, size=(300, 200))
LARGE_CALLS = {
    "multiply": lambda x, a: x * a,
    "divide": lambda x, a: x / a,
    "matmul": lambda x, a: x @ a.T,
    "where": lambda x, a: np.where(a > 1, x, x * a),
    "power": lambda x, a: x**a,
    "arctan2": np.arctan2,
    "einsum": lambda x, a: np.einsum("ij,ij->i", x, a),
    "strided": lambda x, a: x[::3] * a[::3],
    "transposed": lambda x, a: x.T * a.T,
}


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("kind", [array_of_user, view_of_user, frozen, detached])
@pytest.mark.parametrize("name", LARGE_CALLS)
def test_large_arrays(name, kind, walk):
    """Of which not every change of one element is noticed, but each that changes
    all.
    """
    way = in_place if kind in ARRAYS else by_updating
    assert judged(walk, LARGE_CALLS[name], (LARGE, LARGE + 1), 1, kind, way) is None


@pytest.mark.parametrize(
    "view",
    [lambda a: a, lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1], lambda a: a[:0], lambda a: a.astype(">f4")],
    ids=["contiguous", "transposed", "strided", "reversed", "empty", "of another byte order"],
)
def test_a_small_array_is_copied_once_until_it_changes(view):
    array = view(np.arange(12.0).reshape(3, 4))
    copy = copied(array)
    assert copied(array) is copy
    assert copied(copy) is copy
    if array.size:
        array[0, 0] = -0.0 if array[0, 0] == 0 else np.nan
        again = copied(array)
        assert again is not copy
        assert copied(array) is again
        np.testing.assert_array_equal(again, array)


def test_a_recorded_backward_pass_copies_no_operand_again():
    x, w = mg.tensor(np.ones(3), requires_grad=True), np.ones((3, 3))
    y = np.sum(np.tanh(x @ w) @ w)
    y.backward(create_graph=True)
    kept, todo = [], [x.grad._node]
    for node in todo:
        if isinstance(node, tape.Operation):
            todo += [parent for parent in node.parents if parent is not None]
            kept += [array for array in node.args if np.shape(array) == w.shape]
    assert kept
    assert all(array is kept[0] for array in kept)
