"""checkpoint: the same numbers, recomputed.

Owns: what `mg.checkpoint` promises.
Must not own: the transforms themselves (`test_transforms.py`).
Read next: `test_transforms.py`.
"""

import gc
import weakref

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn
from microgradnd.testing import check_grads
from microgradnd.transforms import plain


def block(x):
    return np.tanh(np.sin(x) * 3)


def test_first_and_second_derivatives_in_both_modes():
    check_grads(mg.checkpoint(block), np.array([0.3, -1.2]))
    check_grads(lambda x, y: mg.checkpoint(lambda p: {"s": p[0] * p[1], "t": np.exp(p[0])})((x, y)), 0.3, np.ones(2))


def test_variables_around_it_get_their_gradients():
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    x = mg.tensor([0.5, 0.25], requires_grad=True)
    mg.checkpoint(lambda v: np.sin(w * v) * w)(x).sum().backward()
    got = x.grad, w.grad
    x.grad = w.grad = None
    (np.sin(w * x) * w).sum().backward()
    np.testing.assert_allclose(got[0], x.grad)
    np.testing.assert_allclose(got[1], w.grad)
    check_grads(lambda a, b: mg.checkpoint(lambda v: np.sin(a * v) * a)(b), 0.7, np.array([0.5, 0.25]))


def test_it_is_called_again_once_for_each_walk():
    calls = []

    @mg.checkpoint
    def counted(x, y, *, power):
        calls.append(1)
        return x**power * y

    x, y = mg.tensor(2.0, requires_grad=True), mg.tensor(3.0, requires_grad=True)
    out = counted(x, y, power=3)
    assert len(calls) == 1
    out.backward()
    assert len(calls) == 2
    assert (x.grad, y.grad) == (36.0, 8.0)
    assert counted(2.0, 3.0, power=3) == 24.0
    with mg.no_grad():
        assert not counted(x, y, power=3).requires_grad


def test_what_is_between_is_not_kept():
    between = []

    def wide(x):
        y = np.exp(x)
        between.append(weakref.ref(y.data))
        return y.sum()

    gc.disable()
    try:
        x = mg.tensor(np.zeros(1000), requires_grad=True)
        loss = mg.checkpoint(wide)(x)
        assert between[0]() is None
        loss.backward()
        np.testing.assert_array_equal(x.grad, np.ones(1000))
        assert between[1]() is None
    finally:
        gc.enable()


def test_constant_results_and_structures():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    out = mg.checkpoint(lambda v: {"a": v * 2, "b": (np.arange(3), 5)})(x)
    assert out["a"].requires_grad
    assert out["b"][0].tolist() == [0, 1, 2]
    assert out["b"][1] == 5
    assert mg.checkpoint(lambda v: 3.0)(x) == 3.0


def test_a_stale_variable_is_named():
    w = mg.tensor(2.0, requires_grad=True, name="w")
    loss = mg.checkpoint(lambda v: v * w)(mg.tensor(1.0, requires_grad=True))
    with mg.no_grad():
        w -= 1.0
    with pytest.raises(RuntimeError, match="'w'"):
        loss.backward()


def test_a_pullback_may_be_called_again():
    """What one walk leaves behind must not answer the next: not with other cotangents,
    not with the same ones.
    """
    w = mg.tensor([2.0, 3.0], requires_grad=True)
    x = np.array([0.5, 1.0])
    _, pullback = mg.vjp(mg.checkpoint(lambda v: v * v * w), x)
    for g in (np.array([1.0, 10.0]), np.array([100.0, -1.0]), np.array([1.0, 10.0])):
        np.testing.assert_allclose(plain(pullback(g)[0]), g * 2 * x * w.data)
    _, pullback = mg.vjp(mg.checkpoint(lambda p, q: (p * q, p + q)), 3.0, 5.0)
    for g in ((1.0, 10.0), (2.0, -1.0)):
        assert pullback(g) == (5 * g[0] + g[1], 3 * g[0] + g[1])


def test_two_walks_through_one_tape():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    out = mg.checkpoint(lambda v: v**3)(x)
    for g in ([1.0, 10.0], [2.0, 0.0]):
        x.grad = None
        out.backward(np.array(g), retain_graph=True)
        np.testing.assert_allclose(x.grad, np.array(g) * 3 * x.data**2)


def test_an_input_that_is_not_used_and_one_that_is_used_twice():
    block = mg.checkpoint(lambda a, b, c: a * np.sin(c))
    grads = mg.grad(block, (0, 1, 2))(2.0, 3.0, 0.5)
    np.testing.assert_allclose(grads, (np.sin(0.5), 0.0, 2 * np.cos(0.5)))
    np.testing.assert_allclose(mg.grad(lambda a: block(a, a, a))(0.5), np.sin(0.5) + 0.5 * np.cos(0.5))
    np.testing.assert_allclose(mg.jvp(block, (2.0, 3.0, 0.5), (1.0, 7.0, 0.0))[1], np.sin(0.5))
    value, tangent = mg.jvp(mg.checkpoint(lambda a, b: (a * b, 2 * b)), (2.0, 3.0), (0.0, 1.0))
    assert (value, tangent) == ((6.0, 6.0), (2.0, 2.0))


def test_a_result_that_does_not_move_has_the_tangent_0():
    b = mg.tensor(3.0, requires_grad=True)
    for block in (mg.checkpoint(lambda a: (a * b, 2 * b)), lambda a: mg.checkpoint(lambda a, b: (a * b, 2 * b))(a, b)):
        _, tangent = mg.jvp(block, (2.0,), (1.0,))
        assert tuple(map(float, map(mg.Tensor.item, map(mg.tensor, tangent)))) == (3.0, 0.0)
        np.testing.assert_allclose(mg.jacobian(lambda a, f=block: np.stack(f(a)), mode="fwd")(2.0).data, [3.0, 0.0])


def test_an_unused_input_of_another_shape_has_a_gradient_of_its_own_shape():
    f = mg.checkpoint(lambda a, b: 2 * a)
    by_a, by_b = mg.grad(lambda a, b: np.sum(f(a, b)), (0, 1))(np.ones(3), np.ones((2, 1)))
    assert by_a.tolist() == [2.0, 2.0, 2.0]
    assert by_b.tolist() == [[0.0], [0.0]]


def test_hooks_that_the_function_registers_run():
    def scaled(x):
        if isinstance(x, mg.Tensor):
            x.register_hook(lambda g: 10 * g)
        return x * 3

    assert mg.grad(mg.checkpoint(scaled))(1.0) == mg.grad(scaled)(1.0) == 30.0


def test_one_of_several_results_that_differs_is_noticed():
    state = [1.0]
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    same, other = mg.checkpoint(lambda v: (v * 2, v * state[0]))(x)
    state[0] = 5.0
    with pytest.raises(RuntimeError, match="another result"):
        np.sum(same + other).backward()


def test_a_layer_counts_a_batch_once():
    x = np.random.default_rng(0).normal(size=(5, 2))
    once, again = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    once(x)
    np.sum(mg.checkpoint(again)(mg.tensor(x, requires_grad=True)) ** 2).backward()
    for name, value in once.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)
