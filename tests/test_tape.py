"""The tape: walking back once, twice, and through a million operations, without leaks.

Owns: `backward()` and its options, hooks, stale values, memory, anomalies.
Must not own: derivatives of functions (`test_laws.py`).
Read next: `test_transforms.py`.
"""

import gc
import weakref

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import tape


@pytest.fixture
def x():
    return mg.tensor([1.0, 2.0, 3.0], requires_grad=True, name="x")


def test_gradients_accumulate_until_cleared(x):
    for _ in range(2):
        (x * x).sum().backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0, 6.0]


def test_an_earlier_gradient_is_not_overwritten(x):
    (x * x).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert first.tolist() == [2.0, 4.0, 6.0]


def test_a_value_used_twice_gets_both_gradients(x):
    y = x * 2
    (y * y + y).sum().backward()
    assert x.grad.tolist() == (2 * (2 * 2 * x.data + 1)).tolist()


def test_a_leaf_is_its_own_result(x):
    x.backward(np.array([1.0, 0.0, 2.0]))
    assert x.grad.tolist() == [1.0, 0.0, 2.0]


def test_the_passed_gradient_is_not_kept(x):
    g = np.ones(3)
    x.backward(g)
    x.grad += 1
    assert g.tolist() == [1.0, 1.0, 1.0]


def test_messages_of_backward(x):
    with pytest.raises(RuntimeError, match=r"shape \(3,\) needs gradient="):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient=\): .* shape of the tensor, \(3,\), got shape \(2,\)"):
        (x * 2).backward(np.ones(2))
    with pytest.raises(RuntimeError, match="requires no gradient"):
        mg.tensor(1.0).backward()
    with mg.no_grad():
        y = x.sum()
    with pytest.raises(RuntimeError, match="no_grad"):
        y.backward()


def test_a_second_backward_says_what_to_do(x):
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"retain_graph=True"):
        loss.backward()
    loss = (x * x).sum()
    x.grad = None
    loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]


def test_arrays_are_freed_and_the_structure_stays():
    x = mg.tensor(np.ones((50, 50)), requires_grad=True)
    y = np.exp(x)
    alive = weakref.ref(y.data)
    loss = (y * y).sum()
    del y
    assert alive() is not None
    loss.backward()
    assert alive() is None
    node = loss._node
    assert node.function is np.sum
    assert node.parents[0].shape == (50, 50)
    assert node.parents[0].dtype == np.float64
    assert node.parents[0].parents[0].function is np.exp


def test_nothing_survives_a_dropped_loss():
    gc.collect()
    gc.disable()
    try:
        x = mg.tensor(np.ones((3, 4)), requires_grad=True)
        w = mg.tensor(np.ones((4, 2)), requires_grad=True)

        def live():
            return sum(type(o) in (tape.Operation, mg.Tensor, tape.Leaf) for o in gc.get_objects())

        before = live()
        for options in ({}, {"retain_graph": True}):
            loss = (np.tanh(x @ w) ** 2).sum()
            loss.register_hook(lambda g: None)
            loss.backward(**options)
            del loss
        loss = np.concatenate([np.sin(x), x]).sum()
        del loss
        mg.grad(mg.grad(lambda v: v**3))(2.0)
        mg.hessian(lambda v: np.sum(v**3))(np.ones(3))
        assert live() == before
    finally:
        gc.enable()


def test_create_graph_differentiates_gradients(x):
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    assert isinstance(first, mg.Tensor)
    x.grad = None
    first.sum().backward()
    np.testing.assert_allclose(x.grad, 6 * x.data)


def test_gradients_of_two_leaves_are_separate_variables():
    a, b = mg.tensor(1.0, requires_grad=True), mg.tensor(2.0, requires_grad=True)
    (a + b).backward(create_graph=True)
    a.grad += 1
    assert (a.grad.item(), b.grad.item()) == (2.0, 1.0)


def test_a_million_operations():
    n = 1_000_000
    x = mg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(n):
        y = y + 1e-6
    y.backward()
    assert x.grad == 1.0
    del y


def test_a_deep_graph_that_was_never_walked_is_freed():
    x = mg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(200_000):
        y = -y
    del y


def test_deep_transforms():
    def deep(x):
        y = x
        for _ in range(20_000):
            y = y * 1.0001
        return y

    assert mg.grad(deep)(1.0) == pytest.approx(1.0001**20_000)
    assert mg.jvp(deep, (1.0,), (1.0,))[1] == pytest.approx(1.0001**20_000)


def test_hooks(x):
    seen = []
    y = x * 2
    y.register_hook(lambda g: seen.append(("y", g.tolist())))
    doubled = y.register_hook(lambda g: 2 * g)
    handle = x.register_hook(lambda g: seen.append(("x", g.tolist())))
    loss = y.sum()
    loss.backward(retain_graph=True)
    assert seen == [("y", [1.0, 1.0, 1.0]), ("x", [4.0, 4.0, 4.0])]
    handle.remove()
    doubled.remove()
    handle.remove()
    x.grad = None
    loss.backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert len(seen) == 3
    with pytest.raises(RuntimeError, match="no gradient"):
        mg.tensor(1.0).register_hook(print)


def test_retain_grad(x):
    y = x * 2
    y.retain_grad()
    z = y * 3
    z.sum().backward()
    assert y.grad.tolist() == [3.0, 3.0, 3.0]
    assert z.grad is None
    x.retain_grad()
    with pytest.raises(RuntimeError, match="no gradient"):
        mg.tensor(1.0).retain_grad()


def test_a_stale_value_deep_in_the_graph_is_named(x):
    y = np.sin(x)
    loss = (y * y).sum()
    with mg.no_grad():
        x -= 0.1
    with pytest.raises(RuntimeError, match=r"'x' of shape \(3,\) was changed after sin had used it"):
        loss.backward()


def test_a_rule_with_a_wrong_shape_is_named():
    @mg.primitive
    def doubled(v):
        return 2 * v

    mg.defvjp(doubled, lambda g, out, v: np.ones((5, 2)))
    with pytest.raises(ValueError, match=r"cotangent of shape \(5, 2\) for an argument of shape \(3,\)") as caught:
        mg.grad(lambda v: doubled(v).sum())(np.ones(3))
    assert any("doubled" in note for note in caught.value.__notes__)


def test_gradients_keep_shape_and_dtype():
    x = mg.tensor(np.ones((1, 3), np.float32), requires_grad=True)
    (x * np.ones((4, 3))).sum().backward()
    assert x.grad.shape == (1, 3)
    assert x.grad.dtype == np.float32
    z = mg.tensor(2.0, requires_grad=True)
    (z * 3).backward()
    assert isinstance(z.grad, np.ndarray)
    assert z.grad.shape == ()


def test_an_unshared_gradient_is_not_copied():
    x = mg.tensor(np.ones(1000), requires_grad=True)
    seen = []

    @mg.primitive
    def doubled(v):
        return 2 * v

    def rule(g, out, v):
        made = 2 * g
        seen.append(made.__array_interface__["data"][0])
        return made

    mg.defvjp(doubled, rule)
    doubled(x).sum().backward()
    assert x.grad.__array_interface__["data"][0] == seen[0]


def test_a_python_complex_number_is_a_factor_like_any_other():
    t = mg.tensor(2.0, requires_grad=True)
    y = 1j * (t * 1.0)
    np.real(y * y).backward()
    assert t.grad == -4.0
    assert ((t * 1.0) * 1j).dtype == np.complex128
    assert (1j * mg.tensor(2.0, dtype=np.float32)).dtype == np.complex64


def test_complex_gradients_are_conjugated_for_descent():
    z = mg.tensor(1.0 + 2.0j, requires_grad=True)
    (np.abs(z) ** 2).backward()
    np.testing.assert_allclose(z.grad, 2 * (1.0 + 2.0j))
    np.testing.assert_allclose(mg.grad(lambda z: np.abs(z) ** 2)(1.0 + 2.0j), 2 * (1.0 - 2.0j))


def test_detect_anomaly_names_the_operation():
    x = mg.tensor([1.0, 0.0], requires_grad=True)
    with np.errstate(all="ignore"), mg.detect_anomaly():
        with pytest.raises(FloatingPointError, match=r"^log made a NaN or Inf of shape \(2,\) from finite arguments"):
            np.log(x)
        y = np.sqrt(x)
        with pytest.raises(FloatingPointError, match="the derivative of sqrt made"):
            y.sum().backward()
        bad = mg.tensor([np.nan], requires_grad=True)
        with pytest.raises(FloatingPointError, match=r"multiply was given a NaN"):
            bad * 2
    np.log(mg.tensor([1.0], requires_grad=True))


def test_detect_anomaly_looks_into_transforms():
    with np.errstate(all="ignore"), mg.detect_anomaly():
        with pytest.raises(FloatingPointError, match="derivative of sqrt"):
            mg.grad(lambda x: np.sum(np.sqrt(x)))(np.zeros(2))
        with mg.no_grad(), mg.enable_grad(), pytest.raises(FloatingPointError, match="log made"):
            np.log(mg.tensor([0.0], requires_grad=True))
    assert mg.grad(np.sqrt)(4.0) == 0.25


def test_detect_anomaly_records_only_if_recording_is_on():
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    with mg.no_grad(), mg.detect_anomaly():
        assert not (w * 2).requires_grad
    with mg.detect_anomaly(), mg.no_grad():
        assert not (w * 2).requires_grad
    with mg.detect_anomaly(), mg.no_grad(), mg.enable_grad(), pytest.raises(FloatingPointError, match="multiply"):
        w * np.array([1.0, np.inf])


def test_detect_anomaly_locks_arrays():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    with mg.detect_anomaly():
        y = x * x
        with pytest.raises(ValueError, match="read-only"):
            x.data[0] = 5.0
        with pytest.raises(ValueError, match="read-only"):
            y.data[0] = 5.0
        y.sum().backward()
        with mg.no_grad():
            x -= x.grad
    x.data[0] = 5.0
    assert x.data.tolist() == [5.0, -2.0]


def test_a_hook_may_write_to_its_gradient():
    """It is a copy: only the hook's return value replaces the gradient."""

    def clear(g):
        g[...] = 0.0

    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    z = y + 0
    for t in (x, y, z):
        t.register_hook(clear)
    (z * [3.0, 5.0]).sum().backward()
    np.testing.assert_array_equal(x.grad, [6.0, 10.0])


def test_retained_gradients_add_up_in_their_own_arrays():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x + 0
    z = y + 0
    y.retain_grad()
    z.retain_grad()
    out = (z * [3.0, 5.0]).sum()
    for times in (1, 2, 3):
        out.backward(retain_graph=True)
        for t in (x, y, z):
            np.testing.assert_array_equal(t.grad, [3.0 * times, 5.0 * times])
    x.grad = y.grad = z.grad = None
    out.backward()
    for t in (z, y, x):
        np.testing.assert_array_equal(t.grad, [3.0, 5.0])
        t.grad[...] = 0.0


def test_the_hook_of_a_computed_complex_number_sees_what_grad_would_hold():
    """|y|^2 has the gradient 2 y: a step against it descends."""
    z = mg.tensor([1 + 2j, -0.5j], requires_grad=True)
    y = z * z
    seen = []
    y.register_hook(lambda g: seen.append(g))
    y.retain_grad()
    (np.abs(y) ** 2).sum().backward()
    np.testing.assert_allclose(seen[0], 2 * y.data)
    np.testing.assert_allclose(y.grad, 2 * y.data)
    np.testing.assert_allclose(z.grad, 2 * y.data * np.conj(2 * z.data))


@pytest.mark.parametrize("rows", [2000, 5000, 60_000])
def test_all_copies_count_in_half_precision(rows):
    """In half precision 2048 + 1 is 2048."""
    x = mg.tensor(np.ones((1, 2), np.float16), requires_grad=True)
    y = x + np.zeros((rows, 2), np.float16)
    y.backward(np.ones((rows, 2), np.float16))
    np.testing.assert_array_equal(x.grad, np.full((1, 2), rows, np.float16))


def test_modes_end_in_any_order():
    def records():
        return (mg.tensor(1.0, requires_grad=True) * 2).requires_grad

    recording, other = mg.enable_grad(), mg.no_grad()
    recording.__enter__()
    other.__enter__()
    recording.__exit__()
    assert not records()
    other.__exit__()
    assert records()


def test_a_gradient_tensor_is_left_as_an_array():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    (x * 3).backward(gradient=mg.tensor([1.0, 10.0]))
    assert type(x.grad) is np.ndarray
    assert x.grad.tolist() == [3.0, 30.0]


def test_the_gradient_of_a_single_precision_number_has_single_precision():
    x = mg.tensor(np.float32(2), requires_grad=True)
    (x * np.float64(3)).backward()
    assert (x.grad.dtype, x.grad.tolist()) == (np.float32, 3.0)
