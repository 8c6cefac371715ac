"""Tensor's interface: NumPy on a Tensor, refusals, and their messages.

Owns: protocols, operators, attributes, in-place updates, messages.
Must not own: derivatives (`test_laws.py`), the walks (`test_tape.py`).
Read next: `test_tape.py`.
"""

import copy
import math
import operator
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.testing import arrays, broadcastable_arrays


@pytest.fixture
def t():
    return mg.tensor([1.0, 2.0, 3.0], requires_grad=True, name="t")


RECORDED = {
    "np.sin(t)": lambda t: np.sin(t),
    "np.float64(2) * t": lambda t: np.float64(2) * t,
    "np.float32(2) * t": lambda t: np.float32(2) * t,
    "2 * t": lambda t: 2 * t,
    "np.ones(3) * t": lambda t: np.ones(3) * t,
    "[1, 2, 3] * t": lambda t: [1.0, 2.0, 3.0] * t,
    "np.eye(3) @ t": lambda t: np.eye(3) @ t,
    "t @ np.eye(3)": lambda t: t @ np.eye(3),
    "np.concatenate([t, t])": lambda t: np.concatenate([t, t]),
    "np.stack((t, t))": lambda t: np.stack((t, t)),
    "np.sum(t, axis=0)": lambda t: np.sum(t, axis=0),
    "np.sum(a=t)": lambda t: np.sum(a=t),
    "np.add.reduce(t)": lambda t: np.add.reduce(t),
    "np.maximum.reduce(t)": lambda t: np.maximum.reduce(t),
    "t[::-1]": lambda t: t[::-1],
    "t[[0, 0]]": lambda t: t[[0, 0]],
    "-abs(t)": lambda t: -abs(t),
    "1 / t": lambda t: 1 / t,
    "2 ** t": lambda t: 2**t,
    "t ** t": lambda t: t**t,
    "t % 2": lambda t: t % 2,
    "7 % t": lambda t: 7 % t,
    "5 - t": lambda t: 5 - t,
    "t.T": lambda t: t.T,
    "t.reshape(3, 1)": lambda t: t.reshape(3, 1),
    "t.sum().reshape(())": lambda t: t.sum().reshape(()),
    "t.mean(keepdims=True)": lambda t: t.mean(keepdims=True),
    "t.astype(np.float32)": lambda t: t.astype(np.float32),
    "np.where(t > 1, t, 0)": lambda t: np.where(t > 1, t, 0),
}


@pytest.mark.parametrize("call", RECORDED.values(), ids=RECORDED)
def test_every_way_of_calling_numpy_records(t, call):
    out = call(t)
    assert isinstance(out, mg.Tensor)
    assert out.requires_grad
    np.testing.assert_allclose(out.data, call(t.data), rtol=1e-15)


def store(t):
    plain = np.zeros(3)
    plain[0] = t[0]


def store_slice(t):
    plain = np.zeros(3)
    plain[:] = t


DROPPED = {
    "np.asarray(t)": np.asarray,
    "np.array(t)": np.array,
    "np.array([t, t])": lambda t: np.array([t, t]),
    "np.array([t[0], t[1]])": lambda t: np.array([t[0], t[1]]),
    "plain[0] = t[0]": store,
    "plain[:] = t": store_slice,
    "t.numpy()": lambda t: t.numpy(),
}


@pytest.mark.parametrize("call", DROPPED.values(), ids=DROPPED)
def test_calls_that_would_drop_the_gradient_raise_with_advice(t, call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(t)
    chain = f"{caught.value} {caught.value.__cause__}"
    assert "np.stack" in chain
    assert "t.data" in chain


def test_without_a_gradient_a_tensor_acts_as_its_array():
    t = mg.tensor([1.0, 2.0])
    assert np.asarray(t) is t.data
    assert np.array([t, t]).shape == (2, 2)
    assert np.asarray(t, dtype=np.float32).dtype == np.float32
    assert t.numpy() is t.data
    plain = np.zeros(2)
    plain[0] = t[1]
    assert plain[0] == 2.0


def test_numbers_of_a_recorded_tensor_can_be_read(t):
    loss = t.sum()
    for convert in (float, int, complex, math.sqrt, np.float64):
        with pytest.warns(UserWarning, match=r"write t\.item\(\)"):
            assert convert(loss) == convert(6.0)
    assert bool(loss)
    assert loss.item() == 6.0
    with mg.no_grad():
        assert float(loss) == 6.0
    assert f"{loss:.3f}" == "6.000"
    assert f"{loss}" == "6.0"
    assert t.tolist() == [1.0, 2.0, 3.0]


def test_attributes(t):
    m = mg.tensor(np.arange(6.0).reshape(2, 3), name="m")
    assert (m.shape, m.ndim, m.size, m.dtype, m.name) == ((2, 3), 2, 6, np.float64, "m")
    assert m.T.shape == m.mT.shape == (3, 2)
    assert m.is_leaf
    assert t.is_leaf
    assert not (t * 2).is_leaf
    assert len(t) == 3
    assert [v.item() for v in t] == [1.0, 2.0, 3.0]
    assert 2.0 in t
    assert t.detach().requires_grad is False
    assert np.shares_memory(t.detach().data, t.data)
    assert t.real.data.tolist() == t.data.tolist()
    assert t.imag.data.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(TypeError, match="0-d"):
        iter(t.sum())
    with pytest.raises(AttributeError):
        t.requires_gard = True


def test_comparisons_give_plain_booleans(t):
    for out in (t > 1, t >= 1, t < 1, t <= 1, t == 1, t != 1, np.greater(t, t), np.isnan(t)):
        assert type(out) is np.ndarray
        assert out.dtype == bool
    assert hash(t) != hash(mg.tensor([1.0]))
    assert type(np.argmax(t)) is not mg.Tensor


def test_callers_arrays_are_copied_but_data_is_the_array():
    mine = np.ones(3)
    t = mg.tensor(mine, requires_grad=True)
    assert not np.shares_memory(t.data, mine)
    assert t.data is t.data
    assert (t * 2).sum().data.shape == ()
    assert isinstance((t * 2).sum().data, np.ndarray)


@pytest.mark.parametrize("dtype", [int, bool, np.int8])
def test_integers_have_no_gradient(dtype):
    with pytest.raises(TypeError, match=r"floating-point.*int|floating-point.*bool"):
        mg.tensor(np.ones(3, dtype), requires_grad=True)
    t = mg.tensor(np.ones(3, dtype))
    with pytest.raises(TypeError, match="floating-point"):
        t.requires_grad = True


def test_only_numbers_make_a_tensor():
    with pytest.raises(TypeError, match="numbers"):
        mg.tensor(["a"])
    assert mg.tensor([1, 2], dtype=np.float32).dtype == np.float32
    assert mg.tensor(mg.tensor([1.0], requires_grad=True)).requires_grad is False


def test_shapes_that_do_not_fit_are_named(t):
    with pytest.raises(ValueError, match="matmul") as caught:
        t @ np.ones((2, 2))
    assert "'t' (shape (3,), float64) and an array (shape (2, 2), float64)" in str(caught.value)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        t + np.ones(2)


def test_unknown_arguments_are_refused_with_advice(t):
    with pytest.raises(TypeError, match="out="):
        np.add(t, 1.0, out=np.zeros(3))
    for fill in (lambda: np.dot(np.eye(3), t, np.zeros(3)), lambda: np.sum(t[None], 0, None, np.zeros(3))):
        with pytest.raises(TypeError, match=r"out=|by position"):  # NumPy 2.0 doesn't say which parameters np.dot has
            fill()
    with pytest.raises(TypeError, match=r"list that holds a Tensor.*np\.stack"):
        t.sum() + [t, t]
    with pytest.raises(TypeError, match="pass a number, an array or a Tensor"):
        t + "1"

    @mg.primitive
    def unruly(x):
        return x

    with pytest.raises(NotImplementedError, match=r"unruly has no derivative rule.*mg\.defvjp"):
        unruly(t)
    with pytest.raises(NotImplementedError, match=r"np\.sin\.at|sin"):
        np.sin.at(t, [0])


def test_a_missing_rule_is_named():
    @mg.primitive
    def scaled(x, by):
        return x * by

    mg.defvjp(scaled, lambda g, out, x, by: g * by, None)
    x, by = mg.tensor(2.0, requires_grad=True), mg.tensor(3.0, requires_grad=True)
    assert scaled(x, 3.0).item() == 6.0
    with pytest.raises(NotImplementedError, match=r"scaled has no derivative with respect to its argument 1.*defvjp"):
        scaled(x, by).backward()
    with pytest.raises(NotImplementedError, match="defjvp"):
        mg.jvp(lambda x: scaled(x, 3.0), (2.0,), (1.0,))


def test_a_ufunc_made_of_python_calls_is_refused_for_its_objects(t):
    doubled = np.frompyfunc(lambda x: 2 * x, 1, 1)
    mg.defvjp(doubled, lambda g, out, x: 2 * g)
    with pytest.raises(TypeError, match="objects"):
        doubled(t)


@pytest.mark.parametrize("rows", [1, 3])
def test_picking_by_position_is_numpys(rows):
    data = np.arange(4.0 * rows).reshape(rows, 4)
    t = mg.tensor(data, requires_grad=True)
    assert all(t[0][i].item() == data[0, i] for i in range(-4, 4))
    np.sum(t[-1][1] * t[0] + t[0, 2]).backward()
    want = np.zeros_like(data)
    want[-1, 1] += data[0].sum()
    want[0] += data[-1, 1]
    want[0, 2] += 4
    np.testing.assert_array_equal(t.grad, want)
    with pytest.raises(IndexError, match="out of bounds"):
        t[0][4]


def test_nan_in_the_data_passes_through():
    x = mg.tensor([1.0, np.nan], requires_grad=True)
    loss = (x * 2).sum()
    assert math.isnan(loss.item())
    (x * x).sum().backward()
    assert np.isnan(x.grad).tolist() == [False, True]


# In place


def test_a_leaf_is_updated_in_place_under_no_grad(t):
    before, array = t, t.data
    with mg.no_grad():
        t -= 0.5 * np.ones(3)
        t *= 2
        t[0] = 7.0
    assert t is before
    assert t.data is array
    assert t.is_leaf
    assert t.requires_grad
    assert array.tolist() == [7.0, 3.0, 5.0]


def test_a_leaf_is_not_changed_while_recording(t):
    with pytest.raises(RuntimeError, match=r"'t'.*no_grad"):
        t -= 1.0
    with pytest.raises((RuntimeError, TypeError)):
        t[0] = 1.0
    assert t.data.tolist() == [1.0, 2.0, 3.0]


def test_augmented_assignment_rebinds_the_variable(t):
    y = t * 1.0
    same = y
    y += t
    y *= 2
    assert same is y
    y.sum().backward()
    assert t.grad.tolist() == [4.0, 4.0, 4.0]
    with pytest.raises(ValueError, match="doesn't fit"):
        y += np.ones((2, 3))


def test_assigning_data_makes_a_tensor_newer(t):
    loss = (t * t).sum()
    t.data = np.zeros(3)
    with pytest.raises(RuntimeError, match=r"'t' of shape \(3,\) was changed.*multiply"):
        loss.backward()
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        t.data = np.zeros(2)
    with pytest.raises(RuntimeError, match="computed"):
        (t * 2).data = np.zeros(3)


def test_updating_makes_a_tensor_newer(t):
    loss = (t * t).sum()
    with t.updating() as array:
        array += 1.0
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()
    with pytest.raises(RuntimeError, match="only a leaf"):
        (t * 2).updating()


def test_grad_can_be_set_and_cleared(t):
    t.grad = np.ones(3)
    t.grad = None
    assert t.grad is None
    with pytest.raises(ValueError, match=r"\(3,\)"):
        t.grad = np.ones(2)
    with pytest.raises(RuntimeError, match="leaf"):
        (t * 2).grad = np.ones(3)


# Modes


def test_no_grad_and_enable_grad(t):
    with mg.no_grad():
        assert not (t * 2).requires_grad
        with mg.enable_grad():
            assert (t * 2).requires_grad
        assert not (t * 2).requires_grad
    assert (t * 2).requires_grad

    @mg.no_grad()
    def recursive(n):
        assert not (t * 2).requires_grad
        return recursive(n - 1) if n else t * 2

    assert not recursive(3).requires_grad
    assert (t * 2).requires_grad
    with pytest.raises(KeyError), mg.no_grad():
        raise KeyError
    assert (t * 2).requires_grad


def test_modes_are_per_thread(t):
    seen = []
    with mg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((t * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_a_leaf_can_be_frozen(t):
    t.requires_grad = False
    assert not (t * 2).requires_grad
    t.requires_grad = True
    y = t * 2
    assert y.requires_grad
    with pytest.raises(RuntimeError, match="detach"):
        y.requires_grad = False


# Copies


def test_copies_and_pickles(t):
    for other in (copy.copy(t), copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        assert other is not t
        assert other.requires_grad
        assert other.name == "t"
        assert not np.shares_memory(other.data, t.data)
    for duplicate in (copy.deepcopy, pickle.dumps):
        with pytest.raises(RuntimeError, match="detach"):
            duplicate(t * 2)


def test_repr(t):
    assert repr(t) == "tensor([1., 2., 3.], requires_grad=True, name='t')"
    assert repr(t * 2) == "tensor([2., 4., 6.], function=multiply)"
    assert repr(mg.tensor([1.0], dtype=np.float32)) == "tensor([1.], dtype=float32)"
    assert str(t) == "[1. 2. 3.]"
    y = t * 2
    y.name = "y"
    assert repr(y).endswith("name='y')")


# Properties


@given(arrays())
def test_arithmetic_is_numpys(x):
    t = mg.tensor(x, requires_grad=True)
    for got, want in ((t + 1, x + 1), (2 - t, 2 - x), (t * t, x * x), (-t, -x), (t**2, x**2), (abs(t), abs(x))):
        np.testing.assert_array_equal(got.data, want)


@given(broadcastable_arrays(2))
def test_broadcasting_is_numpys_and_undone(pair):
    x, y = pair
    tx, ty = mg.tensor(x, requires_grad=True), mg.tensor(y, requires_grad=True)
    out = tx * ty
    np.testing.assert_array_equal(out.data, x * y)
    out.backward(np.ones(out.shape))
    assert tx.grad.shape == x.shape
    assert ty.grad.shape == y.shape
    np.testing.assert_allclose(tx.grad.sum(), np.broadcast_to(y, out.shape).sum(), atol=1e-12)


@given(arrays(st.just((2, 3))), arrays(st.just((3,))))
def test_gradients_of_two_leaves_do_not_share_memory(x, y):
    a, b = mg.tensor(x, requires_grad=True), mg.tensor(x, requires_grad=True)
    (a + b).sum().backward()
    assert not np.shares_memory(a.grad, b.grad)
    assert a.grad.flags.writeable
    a.grad += 1
    assert (b.grad == 1).all()


def test_tensors_without_a_gradient_may_be_keywords(t):
    assert np.sum(t, where=mg.tensor([True, False, True])).item() == 4.0
    assert np.mean(t, where=mg.tensor([True, False, True])).item() == 2.0
    assert np.reshape(t, (3, 1), "C").shape == (3, 1)
    assert [r.tolist() for r in divmod(t, 2.0)] == [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]
    assert [r.tolist() for r in divmod(3.0, t)] == [[3.0, 1.0, 1.0], [0.0, 1.0, 0.0]]


def test_options_of_ufuncs(t):
    mask = np.array([True, False, True])
    out = np.log(t, where=mask)
    np.testing.assert_allclose(out.data, [0.0, 0.0, np.log(3.0)])
    out.sum().backward()
    np.testing.assert_allclose(t.grad, [1.0, 0.0, 1 / 3])
    assert np.add(t, t, dtype=np.float32).dtype == np.float32
    assert np.greater(t, 1, dtype=bool).dtype == bool
    with pytest.raises(TypeError, match="casting="):
        np.add(t, t, casting="unsafe")
    assert np.add.outer(t, t).shape == (3, 3)
    assert np.logical_or.reduce(t) is np.True_
    with pytest.raises(NotImplementedError, match=r"add\.reduceat"):
        np.add.reduceat(t, [0, 1])


@pytest.mark.parametrize("requires_grad", [False, True])
def test_data_is_assigned_as_a_copy(requires_grad):
    t, array = mg.tensor(np.zeros(3), requires_grad=requires_grad), np.ones(3)
    t.data = array
    array[0] = 5.0
    np.testing.assert_array_equal(t.data, np.ones(3))


@given(st.floats(0.5, 3), st.floats(0.5, 3))
def test_operators_of_a_number_on_the_left(c, x):
    expected = {
        operator.add: 1.0,
        operator.sub: -1.0,
        operator.mul: c,
        operator.truediv: -c / x**2,
        operator.pow: np.log(c) * c**x,
    }
    for number in (c, np.array(c), np.array([c])):
        for run, slope in expected.items():
            t = mg.tensor([x], requires_grad=True)
            run(number, t).sum().backward()
            np.testing.assert_allclose(t.grad, [slope], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrong", [np.ones(3) * 1j, np.ones(3) + 0.5])
def test_data_is_cast_to_the_same_kind_only(wrong):
    t = mg.tensor(np.zeros(3, np.int64 if wrong.dtype.kind == "f" else np.float32))
    with pytest.raises(TypeError, match=rf"\.data: .* must have dtype {t.dtype}, got {wrong.dtype}"):
        t.data = wrong
    t.data = np.ones(3, np.float64 if t.dtype.kind == "f" else np.int32)
    assert t.data.dtype == t.dtype


def test_a_primitive_may_return_pythons_numbers():
    @mg.primitive
    def sums(x):
        return float(np.sum(x)), np.sum(x * x), x.size

    mg.defvjp(sums, lambda g, out, x: g[0] + 2 * g[1] * x)
    x = np.array([1.0, 2.0])
    results = sums(mg.tensor(x, requires_grad=True))
    assert [type(r.data) for r in results] == [np.ndarray] * 3
    assert [r.item() for r in results] == [3.0, 5.0, 2]
    assert mg.grad(lambda x: sums(x)[0] * sums(x)[2])(x).tolist() == [2.0, 2.0]
    assert mg.grad(lambda x: sums(x)[1])(x).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("index", [(4,), (-1,), (1, 2), ((1, 2),)], ids=str)
def test_the_number_at_an_index(index):
    array = np.arange(6.0).reshape(2, 3)
    found = mg.tensor(array, requires_grad=True).item(*index)
    assert type(found) is float
    assert found == array.item(*index)
