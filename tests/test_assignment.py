"""Assignment: `t[i] = v` and `t += v` give NumPy's values and the right gradients, or
an error that says why not.

Owns: programs of assignments and views, and what an assignment refuses.
Must not own: the rule of `primitives.setitem` for each form of index (`test_laws.py`).
Read next: `test_tensor.py`.
"""

import copy
import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import inplace
from microgradnd.testing import check_grads


@pytest.fixture(params=[0, 256], ids=["in place from the first element on", "copies while small"])
def threshold(request, monkeypatch):
    """Arrays of this many elements are written to in place, where nothing else sees
    them.
    """
    monkeypatch.setattr(inplace, "COPIED", request.param)


# Random programs: the same text runs on arrays and on Tensors

VIEWS = {
    "rows": lambda x: x[1:],
    "first": lambda x: x[0:1],
    "column": lambda x: x[..., -1:],
    "every second": lambda x: x[..., ::2],
    "reversed": lambda x: x[::-1],
    "transpose": lambda x: x.T,
    "flat": lambda x: x.reshape(-1),
    "new axis": lambda x: x[None],
    "last": lambda x: x[-1] if x.ndim > 1 else x[-1:],
    "the same": lambda x: x[...],
}
INDICES = {
    "first": lambda shape: 0,
    "last": lambda shape: -1,
    "head": lambda shape: slice(0, 2),
    "every second": lambda shape: slice(None, None, 2),
    "last column": lambda shape: (..., -1),
    "all": lambda shape: ...,
    "repeated": lambda shape: [0, 0, -1],
    "mask": lambda shape: np.arange(int(np.prod(shape))).reshape(shape) % 3 == 0,
}
VALUES = {
    "number": lambda x, index, w, other: w[0],
    "constant": lambda x, index, w, other: 0.5,
    "elements": lambda x, index, w, other: np.sin(x[index]) * w[1],
    "reversed": lambda x, index, w, other: x[index][::-1] if x[index].ndim else x[index],
    "other": lambda x, index, w, other: np.sum(other) / 12,
    "other itself": lambda x, index, w, other: other,
    "view of other": lambda x, index, w, other: other[:1],
}
PICK = st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.just("view"), PICK, st.sampled_from(sorted(VIEWS))),
    st.tuples(st.just("compute"), PICK, PICK),
    st.tuples(st.just("drop"), PICK),
    *(
        st.tuples(st.just(kind), PICK, st.sampled_from(sorted(INDICES)), st.sampled_from(sorted(VALUES)), PICK)
        for kind in ("assign", "add to item")
    ),
    st.tuples(st.just("add"), PICK, st.sampled_from(sorted(VALUES)), PICK),
)
MANY = settings(max_examples=max(30, settings.default.max_examples))  # a program has many ways to go wrong
PROGRAMS = st.lists(STEPS, min_size=1, max_size=9)


def execute(step, variables, w):
    """Run one step; the list of variables is the only thing that holds one."""
    kind, k = step[0], step[1] % len(variables)
    if kind == "view":
        variables.append(VIEWS[step[2]](variables[k]))
    elif kind == "compute":
        variables.append(np.sum(variables[step[2] % len(variables)]) * w[0] / 12 + np.sin(variables[k]))
    elif kind == "drop" and len(variables) > 1:
        del variables[k]
    elif kind == "assign":
        index = INDICES[step[2]](variables[k].shape)
        variables[k][index] = VALUES[step[3]](variables[k], index, w, variables[step[4] % len(variables)])
    elif kind == "add to item":
        index = INDICES[step[2]](variables[k].shape)
        variables[k][index] += VALUES[step[3]](variables[k], index, w, variables[step[4] % len(variables)])
    elif kind == "add":
        variables[k] += VALUES[step[2]](variables[k], ..., w, variables[step[3] % len(variables)])


def is_outdated(x):
    return isinstance(x, mg.Tensor.outdated)


@pytest.mark.usefixtures("threshold")
@MANY
@given(PROGRAMS, st.booleans())
def test_a_program_gives_numpys_values_or_says_that_a_view_is_outdated(program, recorded):
    w = np.array([0.3, -0.7])
    arrays = [np.arange(12.0).reshape(3, 4) / 10]
    tensors = [mg.tensor(arrays[0])]
    traced = mg.tensor(w, requires_grad=True) if recorded else w
    for step in program:
        shared = [any(np.shares_memory(x, y) for y in arrays if y is not x) for x in arrays]
        before = list(map(is_outdated, tensors))
        k, size = step[1] % len(tensors), len(tensors)
        try:
            execute(step, tensors, traced)
        except (ValueError, TypeError, IndexError) as error:  # a shape that doesn't fit: nothing has changed
            with pytest.raises(type(error)):
                execute(step, [np.copy(a) for a in arrays], w)
            continue
        except RuntimeError as error:
            if "outdated" not in str(error) or not any(before):
                raise
            return
        execute(step, arrays, w)
        for array, tensor in zip(arrays, tensors, strict=True):
            if not is_outdated(tensor):
                np.testing.assert_allclose(tensor.data, array, rtol=1e-13, atol=1e-13)
        if step[0] != "drop":  # no more is outdated than must be
            for i in range(size):
                assert not is_outdated(tensors[i]) or before[i] or (i != k and shared[i])


@pytest.mark.usefixtures("threshold")
@MANY
@given(PROGRAMS, PICK)
def test_a_program_has_the_right_derivatives(program, chosen):
    """What was computed before an assignment keeps the values that it saw then."""

    def f(x, w):
        variables = [np.zeros_like(x), x * 1.0]
        for step in program:
            execute(step, variables, w)
        return np.copy(variables[chosen % len(variables)]) * w[0]

    x, w = np.arange(12.0).reshape(3, 4) / 10, np.array([0.3, -0.7])
    try:
        f(x, w)
        f(mg.tensor(x, requires_grad=True), mg.tensor(w, requires_grad=True))
    except (ValueError, TypeError, IndexError):
        return
    except RuntimeError as error:
        if "outdated" not in str(error):
            raise
        return
    check_grads(f, x, w, order=1)
    check_grads(f, x, w, order=2, modes=("rev",))


# The loops that everybody writes


def accumulate(x):
    out = np.zeros_like(x)
    for i in range(len(x)):
        out[i] = np.sin(x[i]) * x[i - 1]
    return out


def recur(x):
    state = np.zeros_like(x)
    state[0] = x[0]
    for i in range(1, len(x)):
        state[i] = np.tanh(state[i - 1] + x[i])
    return state


def relax(x):
    u = x.copy()
    for _ in range(2):
        for i in range(1, len(u) - 1):
            u[i] = 0.5 * (u[i - 1] + u[i + 1]) * u[i]
    return u


def in_pieces(x):
    out = np.ones_like(x)
    out[::2] *= x[::2]
    out[1::2] -= x[:-1:2] ** 2
    out[x > 0.5] += 1.0
    out += x
    return out


def running_sum(x):
    total = np.zeros_like(x[0])
    for row in x:
        total += row * row
    return total


@pytest.mark.parametrize("function", [accumulate, recur, relax, in_pieces, running_sum])
@pytest.mark.parametrize("shape", [(5,), (4, 2)], ids=str)
@pytest.mark.usefixtures("threshold")
def test_loops(function, shape):
    x = np.linspace(-1.1, 1.3, int(np.prod(shape))).reshape(shape)
    np.testing.assert_allclose(function(mg.tensor(x, requires_grad=True)).data, function(x), rtol=1e-14)
    check_grads(function, x)


@pytest.mark.usefixtures("threshold")
def test_transforms_of_a_loop():
    x = np.linspace(-1.0, 1.0, 4)
    jacobian = mg.jacobian(accumulate)(x)
    np.testing.assert_allclose(jacobian, mg.jacobian(accumulate, mode="fwd")(x), rtol=1e-12)
    np.testing.assert_allclose(mg.jacobian(lambda x: np.sin(x) * np.roll(x, 1))(x), jacobian, rtol=1e-12, atol=1e-15)
    hessian = mg.hessian(lambda x: accumulate(x).sum())(x)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12, atol=1e-15)
    inner = mg.grad(lambda y: np.sum(mg.grad(lambda x: accumulate(x).sum())(y) ** 2))(x)
    np.testing.assert_allclose(inner, 2 * hessian @ mg.grad(lambda x: accumulate(x).sum())(x), rtol=1e-12)


def test_a_loop_that_reads_numbers_of_what_it_assigns_to_writes_in_place():
    x = mg.tensor(np.linspace(0.0, 1.0, 600).reshape(2, 300), requires_grad=True)
    state = np.zeros_like(x)
    state[0, 0] = x[0, 0]
    place = state.data.__array_interface__["data"]
    for i in range(1, 300):
        state[1, i] = state[0, i - 1] + state[1, i - 1] * 0.5
        state[0, i] = state[1, i] * x[0, i]
    assert state.data.__array_interface__["data"] == place
    state[1, 299].backward()
    small = mg.grad(lambda x: recur_in_rows(x)[1, 299])(x.data)
    np.testing.assert_allclose(x.grad, small, rtol=1e-12)


def recur_in_rows(x):
    a, b = [x[0, 0]], [0.0]
    for i in range(1, x.shape[1]):
        b.append(a[-1] + b[-1] * 0.5)
        a.append(b[-1] * x[0, i])
    return np.stack([np.stack(a), np.stack(b)])


def test_an_assignment_to_a_large_array_writes_in_place():
    x = mg.tensor(np.linspace(0.0, 1.0, 1000), requires_grad=True)
    out = np.zeros_like(x)
    out[0] = x[0]  # the constant zeros are kept for the tape
    place = out.data.__array_interface__["data"]
    for i in range(1, 1000):
        out[i] = x[i] * x[i]
    assert out.data.__array_interface__["data"] == place
    saved = out * out  # its derivative needs these values
    out[0] = 5.0
    assert out.data.__array_interface__["data"] != place
    saved.sum().backward(retain_graph=True)
    np.testing.assert_allclose(x.grad[1:], 4 * x.data[1:] ** 3, rtol=1e-12)
    x.grad = None
    (out * 1.0).sum().backward()
    np.testing.assert_allclose(x.grad, np.where(np.arange(1000) == 0, 0.0, 2 * x.data), rtol=1e-12)


@pytest.mark.parametrize(
    "keep",
    [
        lambda t, w: t.data,
        lambda t, w: t.detach(),
        lambda t, w: t[5:],
        lambda t, w: memoryview(t.data),
    ],
)
def test_an_array_that_something_else_sees_is_not_written_to(keep):
    out = np.zeros_like(mg.tensor(np.zeros(1000)))
    array = np.asarray(out)
    address = array.__array_interface__["data"]
    del array
    out[1] = 1.0
    assert out.data.__array_interface__["data"] == address
    held = keep(out, mg.tensor(1.0, requires_grad=True))
    out[2] = 2.0
    assert out.data.__array_interface__["data"] != address
    del held


# A leaf


def test_a_leaf_is_assigned_to_under_no_grad_only():
    w = mg.tensor(np.zeros((2, 3)), requires_grad=True, name="w")
    array = w.data
    with pytest.raises(RuntimeError, match=r"'w' of shape \(2, 3\) requires a gradient.*no_grad.*copy"):
        w[0] = 1.0
    with pytest.raises(RuntimeError, match="requires a gradient"):
        w[0] += 1.0
    with mg.no_grad():
        w[0] = [1.0, 2.0, 3.0]
        w[:, 1] -= 5.0
        w[w < 0] *= 2
        np.put(w, 5, 7.0)
    assert w.data is array
    assert w.is_leaf
    assert array.tolist() == [[1.0, -6.0, 3.0], [0.0, -10.0, 7.0]]


def test_assigning_to_a_leaf_makes_it_newer():
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    loss = (w * w).sum()
    with mg.no_grad():
        w[0] = 3.0
    with pytest.raises(RuntimeError, match=r"'w' of shape .* was changed"):
        loss.backward()


def test_assigning_under_no_grad_to_what_was_computed_would_lose_its_gradient():
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    y = w * 2
    with mg.no_grad():
        with pytest.raises(RuntimeError, match=r"result of multiply.*no_grad\(\) would lose.*detach\(\).copy\(\)"):
            y[0] = 1.0
        with pytest.raises(RuntimeError, match="would lose"):
            y += 1.0
        z = w * 2
        z[0] = w[1]
        z += 1
    assert z.data.tolist() == [3.0, 5.0]
    assert not z.requires_grad


def test_an_argument_of_a_differentiated_function_is_copied_first():
    def f(x):
        x[0] = 0.0
        return np.sum(x * x)

    with pytest.raises(RuntimeError, match=r"w = w.copy\(\)"):
        mg.grad(f)(np.ones(3))
    assert mg.grad(lambda x: f(x.copy()))(np.ones(3)).tolist() == [0.0, 2.0, 2.0]


# Views


def test_a_view_taken_before_an_assignment_is_outdated_by_it():
    t = mg.tensor(np.zeros((3, 4)))
    row, other = t[0], t[1]
    t[0, 1] = 5.0
    with pytest.raises(RuntimeError, match=r"outdated.*view.*copy\(\)"):
        row * 2
    with pytest.raises(RuntimeError, match="outdated"):
        2 * row
    for use in (np.sum, np.sin, lambda x: x.data, lambda x: x[0], len, float, lambda x: x == 1, lambda x: x.T):
        with pytest.raises(RuntimeError, match="outdated"):
            use(row)
    with pytest.raises(RuntimeError, match="outdated"):
        row[0] = 1.0
    assert "outdated" in repr(row)
    assert isinstance(row, mg.Tensor)
    assert t[0].data.tolist() == [0.0, 5.0, 0.0, 0.0]
    t[2] = 1.0  # the second row isn't concerned
    assert other.data.tolist() == [0.0] * 4
    t[1] = 1.0  # now it is
    with pytest.raises(RuntimeError, match="outdated"):
        other + 1


def test_assigning_to_a_view_outdates_what_it_is_a_view_of():
    t = mg.tensor(np.zeros((3, 4)))
    row = t[0]
    row[1] = 5.0
    assert row.data.tolist() == [0.0, 5.0, 0.0, 0.0]
    with pytest.raises(RuntimeError, match="outdated"):
        t.sum()
    t[0] = row  # as `t[0] += 5` does it
    assert t.data[0].tolist() == [0.0, 5.0, 0.0, 0.0]


def test_a_change_that_is_not_stored_stays_an_error():
    t = mg.tensor(np.zeros((3, 4)))
    rows = [t[0], t[1]]
    rows[0] += 1.0
    rows[1] += 1.0
    with pytest.raises(RuntimeError, match="outdated"):  # the first row's change would be lost
        t[1] = rows[1]
    with pytest.raises(RuntimeError, match="outdated"):  # the second row's change would be lost
        t[0] = rows[0]
    t = mg.tensor(np.zeros((3, 4)))
    row = t[0]
    row += 1.0
    with pytest.raises(RuntimeError, match="outdated"):  # the first row's change would be lost
        t[1] = row
    with pytest.raises(RuntimeError, match="outdated"):
        t[[0]] = row
    t[0] = row
    assert t.data.sum() == 4.0
    u = mg.tensor(np.zeros((3, 4)))
    u[0][1] = 5.0  # in NumPy this changes u
    with pytest.raises(RuntimeError, match="outdated"):
        u.sum()


def test_a_view_of_what_is_gone_is_a_variable_of_its_own():
    t = mg.tensor(np.zeros((3, 4))).reshape(4, 3).T
    t[0] = 1.0
    t += 1.0
    assert t.data.sum() == 16.0


def test_views_of_a_detached_tensor_are_views():
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    y = w * 2
    d = y.detach()
    y[0] = 0.0
    with pytest.raises(RuntimeError, match="outdated"):
        d.sum()
    d = y.detach().copy()
    y[1] = 0.0
    assert d.data.tolist() == [0.0, 4.0]


def test_overlapping_parts_of_one_array_are_copied_as_numpy_does():
    t, array = mg.tensor(np.arange(5.0)), np.arange(5.0)
    t[1:] = t[:-1]
    array[1:] = array[:-1]
    assert t.data.tolist() == array.tolist()
    t[::-1] = t
    assert t.data.tolist() == array[::-1].tolist()


def test_rows_cannot_be_exchanged_through_views():
    t = mg.tensor(np.arange(4.0).reshape(2, 2))
    with pytest.raises(RuntimeError, match="outdated"):  # in NumPy both rows end up the same
        t[0], t[1] = t[1], t[0]
    t = mg.tensor(np.arange(4.0).reshape(2, 2))
    t[[0, 1]] = t[[1, 0]]
    assert t.data.tolist() == [[2.0, 3.0], [0.0, 1.0]]


def test_views_that_stay_follow_the_tensor_to_its_new_array():
    t = mg.tensor(np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2), name="t")
    stays = t[0][::-1, ::-2]
    named = t[0, 0]
    named.name = "named"
    values = stays.data.copy()
    t[1:] = 0.0
    assert np.shares_memory(stays.data, t.data)
    assert np.shares_memory(named.data, t.data)
    assert stays.data.tolist() == values.tolist()
    assert named.name == "named"
    t[0] = 0.0
    with pytest.raises(RuntimeError, match="outdated"):
        stays.sum()


def test_the_record_of_views_holds_nothing():
    gc.collect()
    gc.disable()
    try:
        t = mg.tensor(np.zeros((30, 4)), requires_grad=True)
        kept = [t[i] for i in range(30)]
        gone = weakref.ref(kept[0])
        kept.clear()
        assert gone() is None
        for _ in range(1000):
            t.reshape(-1)
        assert len(t._family.tensors) < 50
        gone = weakref.ref(t)
        view = t.reshape(-1)
        del t
        assert gone() is None
        gone = weakref.ref(view)
        del view
        assert gone() is None
    finally:
        gc.enable()


# What doesn't fit


def test_a_value_that_does_not_fit_names_the_shapes():
    t = mg.tensor(np.zeros((3, 4)), requires_grad=True) * 1
    with pytest.raises(ValueError, match=r"value of shape \(3,\).*shape \(2, 4\) that the index picks.*\(3, 4\)"):
        t[1:] = np.zeros(3)
    with pytest.raises(ValueError, match=r"value of shape \(2,\).*shape \(1,\)"):
        t[np.eye(3, 4, dtype=bool) & (np.arange(4) == 0)] = t[0, :2]
    with pytest.raises(IndexError, match="out of bounds"):
        t[3] = 1.0
    with pytest.raises(ValueError, match=r"add: .*\(2, 3, 4\).*\(3, 4\)"):
        t += np.zeros((2, 3, 4))
    assert t.data.tolist() == np.zeros((3, 4)).tolist()


def test_numbers_that_do_not_fit_name_the_dtypes():
    integers = mg.tensor([1, 2, 3])
    integers[0] = 5
    assert integers.data.tolist() == [5, 2, 3]
    w = mg.tensor([1.0], requires_grad=True)
    for value in (1.5, w, np.ones(1), [w[0]]):
        with pytest.raises(TypeError, match="float64 don't fit in a tensor of dtype int64"):
            integers[:1] = value
    with pytest.raises(TypeError, match=r"add: .*float64.*int64"):
        integers += 0.5
    real = mg.tensor([1.0, 2.0])
    with pytest.raises(TypeError, match="complex128 don't fit in a tensor of dtype float64"):
        real[0] = 1j
    single = mg.tensor([1.0, 2.0], dtype=np.float32)
    single[0] = w[0]
    assert single.dtype == np.float32
    single.sum().backward()
    assert w.grad.tolist() == [1.0]
    assert w.grad.dtype == np.float64


# Forms of index and value


def test_indices_and_values_may_be_tensors_in_any_nesting():
    w = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    index = mg.tensor([2, 0])
    t = np.zeros_like(w, shape=(3, 2))
    t[index] = [[w[0], 1.0], [2.0, w[1] * w[2]]]
    assert t.data.tolist() == [[2.0, 6.0], [0.0, 0.0], [1.0, 1.0]]
    t[index, mg.tensor(1)] = w[:2]
    t[[mg.tensor(0)], 0] = w[2]
    t[mg.tensor(1)] = (w[0], 0.0)
    assert t.data.tolist() == [[3.0, 2.0], [1.0, 0.0], [1.0, 1.0]]
    (t * t).sum().backward()
    assert w.grad.tolist() == [2 * (1 + 1 + 1), 2 * 2.0, 2 * 3.0]


def test_of_several_values_for_one_element_the_last_one_counts():
    w = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    t = np.zeros_like(w)
    t[[0, 0, 1]] = w
    assert t.data.tolist() == [2.0, 3.0, 0.0]
    t.sum().backward()
    assert w.grad.tolist() == [0.0, 1.0, 1.0]


def test_0_d():
    w = mg.tensor(2.0, requires_grad=True)
    t = np.zeros_like(w)
    t[()] = w * w
    t[...] *= w
    t += w
    assert t.shape == ()
    t.backward()
    assert w.grad == 13.0


def test_a_name_stays_with_its_variable():
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    out = mg.tensor(np.zeros(2), name="out")
    out[0] = w[0]
    out += w
    assert out.name == "out"
    plain = mg.tensor(np.zeros(2), name="plain")
    plain[0] = 1.0
    assert plain.name == "plain"
    assert plain.is_leaf


def test_new_tensors_like_a_tensor_have_no_history():
    w = mg.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    for make in (np.zeros_like, np.ones_like, np.empty_like):
        t = make(w)
        assert isinstance(t, mg.Tensor)
        assert not t.requires_grad
        assert (t.shape, t.dtype) == ((2, 3), np.float32)
        assert make(w, shape=(4,), dtype=np.float64).dtype == np.float64
    assert np.full_like(w, 3.0).data.tolist() == [[3.0] * 3] * 2
    assert np.full_like(w, w[0, 0] * 2).requires_grad


def test_every_augmented_assignment():
    w = mg.tensor([2.0, 3.0], requires_grad=True)
    t, array = w * 1.0, w.data.copy()
    same = t
    for t_value, value in ((w, w.data), (1.5, 1.5)):
        t += t_value
        array += value
        t -= 0.5 * t_value
        array -= 0.5 * value
        t *= t_value
        array *= value
        t /= 2.0
        array /= 2.0
        t **= 2.0
        array **= 2.0
        t %= 7.0
        array %= 7.0
    assert same is t
    np.testing.assert_allclose(t.data, array, rtol=1e-14)
    matrix = mg.tensor([[0.0, 1.0], [1.0, 0.0]])
    t @= matrix
    assert t.data.tolist() == array[::-1].tolist()
    t //= 2.0
    assert t.data.tolist() == (array[::-1] // 2.0).tolist()
    t.fill(w[0])
    assert t.data.tolist() == [2.0, 2.0]
    assert same is t
    t.sum().backward()
    assert w.grad.tolist() == [2.0, 0.0]


def test_functions_that_change_their_argument_return_nothing():
    t = np.zeros_like(mg.tensor([0.0, 0.0, 0.0]))
    assert np.put(t, 0, 1.0) is None
    assert np.copyto(t, [4.0, 5.0, 6.0], where=[False, True, True]) is None
    assert np.add.at(t, [2, 2], 1.0) is None
    assert t.data.tolist() == [1.0, 5.0, 8.0]
    with pytest.raises(TypeError, match="copyto: float64 can't be cast to float32 by the rule 'safe'"):
        np.copyto(t.astype(np.float32), t, "safe")
    with pytest.raises(IndexError):
        np.put(t, 3, 1.0)
    with pytest.raises(ValueError, match="mode must be 'raise', 'wrap' or 'clip', got 'skip'"):
        np.put(t, 3, 1.0, mode="skip")


def test_assignment_under_detect_anomaly():
    w = mg.tensor(np.ones(300), requires_grad=True)
    with mg.detect_anomaly():
        out = np.zeros_like(w)
        for i in range(3):
            out[i] = w[i] * 2
        out += 1
        with pytest.raises(FloatingPointError, match="setitem"):
            out[5] = np.nan
        out.sum().backward()
    assert w.grad[:4].tolist() == [2.0, 2.0, 2.0, 0.0]


def test_a_recorded_tensor_stored_in_a_plain_array_raises():
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    number = w[0]

    def store(array, index, value):
        array[index] = value

    def add(array, index, value):
        array[index] += value

    for index, value in ((0, number), (slice(1), number), ([0, 1], number), (slice(0, 2), [number, 1.0]), (..., w)):
        for how in (store, add):
            with pytest.raises((TypeError, ValueError)) as caught:
                how(np.zeros(2), index, value)
            assert "t[" in f"{caught.value} {caught.value.__cause__}"
    for mutate in (
        lambda array: np.copyto(array, w),
        lambda array: np.put(array, 0, number),
        lambda array: np.place(array, [True, False], number),
        lambda array: np.putmask(array, [True, False], number),
        lambda array: np.put_along_axis(array, np.array([0]), number, 0),
        lambda array: np.fill_diagonal(np.diag(array), number),
        lambda array: np.add.at(array, [0], number),
        lambda array: array.put(0, number),
        lambda array: np.full_like(array, number),
        lambda array: np.full(3, number),
    ):
        with pytest.raises((TypeError, ValueError), match=r"t\[") as caught:
            mutate(np.zeros(2))
    with pytest.raises(RuntimeError, match="only a leaf can be copied"):
        copy.copy(number)


def test_a_large_view_of_another_tensor_is_not_written_to_behind_its_back():
    w = mg.tensor(3.0, requires_grad=True)
    whole = mg.tensor(np.zeros(40_000))
    row = np.reshape(whole, (2, -1))[0]
    row[0] = w
    assert row.requires_grad
    with pytest.raises(RuntimeError, match="outdated"):
        np.sum(whole)


@pytest.mark.parametrize("view", [lambda a: a[1:], lambda a: a.reshape(3, -1)[0], lambda a: a.detach()[:-1], np.flip])
def test_a_large_view_is_not_written_through(view):
    """What was computed from the array before has the derivative at what the array held
    then.
    """
    a, w = mg.tensor(np.ones(3 * 2000)), mg.tensor(np.ones(3 * 2000), requires_grad=True)
    y = (a * w).sum()
    row = view(a)
    row[...] = 5.0
    assert row.data.min() == 5.0
    y.backward()
    np.testing.assert_array_equal(w.grad, np.ones(3 * 2000))
