"""Modules that are passed to a transform, whose function sets attributes on them.

Owns: attributes, buffers, lists and frozen Tensors that `forward` changes, under every
transform; Tensors that stay on a module; nesting, sharing, threads, errors.
Must not own: gradients with respect to modules (`test_nn.py`).
Read next: `test_nn.py`.
"""

import collections
import copy
import gc
import pickle
import threading

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn
from microgradnd.transforms import plain as plain_array

X = np.array([[1.0, 2.0], [3.0, 6.0], [2.0, 1.0]])


class Norm(nn.Module):
    """A batch norm with a count, and running means as buffer and frozen Tensor."""

    def __init__(self):
        self.scale = nn.Parameter([2.0, 3.0])
        self.register_buffer("mean", np.zeros(2))
        self.register_parameter("frozen", mg.tensor(np.zeros(2)))
        self.plain = mg.tensor(np.zeros(2))
        self.calls = 0
        self.log, self.seen = [], collections.deque()
        self.last = {"size": 0}

    def forward(self, x):
        mean = np.mean(getattr(x, "data", x), axis=0)
        self.mean = 0.5 * self.mean + 0.5 * mean
        self.frozen *= 0.5
        self.frozen[...] = self.frozen + 0.5 * mean
        self.plain += mean
        self.calls += 1
        self.log.append(self.calls)
        self.seen.append(len(x))
        self.last["size"] += len(x)
        self.newest = float(mean[0])
        return np.sum((x - self.mean) * self.scale)


def state(module):
    return {
        "mean": module.mean.tolist(),
        "frozen": module.frozen.data.tolist(),
        "plain": module.plain.data.tolist(),
        "rest": (module.calls, module.log, list(module.seen), module.last, module.newest),
    }


def nested(module):
    return mg.grad(lambda m: 0.5 * sum(np.sum(g**2) for g in mg.grad(run)(m).parameters() if g is not None))(module)


def run(module):
    return module(X)


ONCE = {
    "eager": run,
    "backward": lambda m: run(m).backward(),
    "no_grad": mg.no_grad()(run),
    "grad": mg.grad(run),
    "value_and_grad": mg.value_and_grad(run),
    "vjp": lambda m: mg.vjp(run, m)[1](1.0),
    "jvp": lambda m: mg.jvp(run, (m,), (mg.grad(lambda m: np.sum(m.scale))(m),)),
    "jacobian": mg.jacobian(run),
    "hvp": lambda m: mg.hvp(run)(m, mg.grad(lambda m: np.sum(m.scale))(m)),
    "nested": nested,
    "another argument": lambda m: mg.grad(lambda x, m: run(m), argnums=1)(1.0, m),
    "in a tree": lambda m: mg.grad(lambda t: run(t["net"][0]) * t["x"])({"net": [m], "x": 2.0}),
    "within another": lambda m: mg.grad(lambda s: run(s[0]))(nn.Sequential(m)),
    "shared": lambda m: mg.grad(lambda s: run(s[1]))(nn.Sequential(m, m)),
    "captured": lambda m: mg.grad(lambda x: run(m) * x)(2.0),
    "undifferentiated": lambda m: mg.grad(lambda x, m: run(m) * x)(2.0, m),
}


@pytest.mark.parametrize("how", ONCE)
def test_attributes_that_forward_sets_reach_the_module(how):
    expected, module = Norm(), Norm()
    for _ in range(3):
        expected(X)
        ONCE[how](module)
        assert state(module) == state(expected)
    assert module._kinds == {"scale": "parameter", "mean": "buffer", "frozen": "parameter"}
    assert module.frozen.is_leaf
    assert not module.frozen.requires_grad
    assert module.frozen.name.split(".")[-1] == "frozen"
    assert module.scale.is_leaf
    assert list(module.state_dict()) == ["scale", "frozen", "mean"]


def test_a_checkpointed_module_is_called_again_and_sets_attributes_again():
    module = Keeps()
    module.count = 0

    def block(m, x):
        m.count += 1
        m.register_buffer("latest", np.array([m.count]))
        return np.sum(np.tanh(m.w * x) * x)

    x = mg.tensor([1.0, 2.0], requires_grad=True)
    mg.checkpoint(block)(module, x).backward()
    assert (module.count, module.latest.tolist()) == (2, [2])
    right = mg.grad(lambda w, x: np.sum(np.tanh(w * x) * x), argnums=(0, 1))(module.w.data, x.data)
    np.testing.assert_allclose(x.grad, right[1])
    np.testing.assert_allclose(module.w.grad, right[0])
    for checkpointed in (mg.checkpoint(block), lambda m, x: mg.checkpoint(lambda t: block(t["m"][0], x))({"m": [m]})):
        gradient = mg.grad(checkpointed)(module, x.data)
        np.testing.assert_allclose(gradient.w, right[0])
    assert module.count == 6


def test_attributes_that_a_function_sets_reach_the_module():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1)))

    def loss(m):
        m.eval()
        m.note = "seen"
        m[1][0].note = "too"
        del m[0].old
        m[0].register_buffer("range", np.array([1.0, 2.0]))
        return np.sum(m(X))

    model[0].old = 1
    gradient = mg.grad(loss)(model)
    assert not any(module.training for module in model.modules())
    assert (model.note, model[1][0].note, hasattr(model[0], "old")) == ("seen", "too", False)
    assert "0.range" in model.state_dict()
    gradient.train()
    gradient.note = "mine"
    assert not model.training
    assert model.note == "seen"


def test_a_view_sees_attributes_set_on_the_module_meanwhile():
    model = Norm()

    def loss(m, other):
        other.calls += 1
        m.calls += 1
        model.calls += 1
        model.fresh = 7
        assert m.calls == other.calls == model.calls == 3
        assert m.fresh == other.fresh == 7
        return np.sum(m.scale * other.scale)

    first, second = mg.grad(loss, argnums=(0, 1))(model, model)
    assert model.calls == 3
    np.testing.assert_array_equal(first.scale, second.scale)


def test_a_module_that_is_captured_is_a_constant():
    """Even if the same module is differentiated: perturbations aren't confused."""
    model = nn.Linear(2, 1, bias=False)
    gradient = mg.grad(lambda m: np.sum(m(X) * model(X).data))(model)
    also = mg.grad(lambda m: np.sum(m(X) * model(X)))(model)
    np.testing.assert_array_equal(getattr(also.weight, "data", also.weight), gradient.weight)
    np.testing.assert_allclose(gradient.weight, model(X).data.T @ X, rtol=1e-12)


class Keeps(nn.Module):
    """Stores its result as an attribute."""

    def __init__(self):
        self.w = nn.Parameter([1.0, 2.0])
        self.hidden, self.all, self.by_name, self.pair = None, [], {}, ()

    def forward(self, x):
        self.hidden = np.tanh(self.w * x)
        self.hidden.name = "hidden"
        self.all.append(self.hidden)
        self.by_name["h"] = [self.hidden]
        self.pair = (self.hidden, 3)
        return np.sum(self.hidden) + np.sum(self.all[-1] ** 2)


def kept(module):
    return [module.hidden, *module.all, *module.by_name["h"], module.pair[0]]


@pytest.mark.parametrize("transform", ["grad", "jacobian", "vjp", "jvp", "hvp", "nested"])
def test_no_tensor_that_is_stored_stays_on_the_tape_of_a_transform(transform):
    ones = nn.Module()
    ones.w = nn.Parameter([1.0, 1.0])
    module, value = Keeps(), np.tanh(np.array([1.0, 2.0]))

    def inner(m):
        out = m(1.0)
        assert m.hidden.requires_grad
        return out

    pullback = None
    if transform == "vjp":
        _, pullback = mg.vjp(inner, module)
    elif transform in ("jvp", "hvp"):
        tangent = mg.grad(lambda m: np.sum(m.w))(module)
        mg.jvp(inner, (module,), (tangent,)) if transform == "jvp" else mg.hvp(inner)(module, tangent)
    elif transform == "nested":
        mg.grad(lambda m: np.sum(mg.grad(inner)(m).w ** 2))(module)
    else:
        getattr(mg, transform)(inner)(module)
    for tensor in kept(module):
        assert not tensor.requires_grad
        np.testing.assert_array_equal(tensor.data, value)
        assert tensor.name == "hidden"
        with pytest.raises(RuntimeError, match="requires no gradient"):
            np.sum(tensor).backward()
    if pullback is not None:
        right = (1 - value**2) * (1 + 2 * value) * np.array([1.0, 1.0])
        np.testing.assert_allclose(pullback(1.0)[0].w, right)


def test_a_stored_tensor_has_its_gradient_during_the_call():
    """A layer may leave an auxiliary loss for the function around it, for example."""
    module = Keeps()

    def loss(m):
        m(1.0)
        return np.sum(m.hidden**3) + np.sum(m.all[0])

    h = np.tanh(module.w.data)
    np.testing.assert_allclose(mg.grad(loss)(module).w, (3 * h**2 + 1) * (1 - h**2))
    value, pullback = mg.vjp(lambda m: (m(1.0), m.hidden), module)
    assert value[1].shape == (2,)
    np.testing.assert_allclose(pullback((0.0, np.ones(2)))[0].w, 1 - h**2)


def test_a_tensor_stored_outside_transforms_keeps_its_tape():
    module = Keeps()
    module(1.0)
    live = module.hidden
    mg.grad(lambda m: np.sum(m.w))(module)
    assert module.hidden is live
    np.sum(live).backward()
    assert module.w.grad is not None


def test_an_error_leaves_the_module_usable():
    module = Keeps()
    w = module.w

    def loss(m):
        m(1.0)
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        mg.grad(loss)(module)
    gc.collect()
    assert module.w is w
    assert not any(tensor.requires_grad for tensor in kept(module))
    assert "_views" not in vars(module)


@pytest.mark.parametrize("made", [lambda: nn.Linear(2, 1), lambda: nn.Parameter([1.0])], ids=["module", "parameter"])
def test_a_layer_made_inside_a_transform_is_refused(made):
    model = Norm()

    def loss(m):
        m.late = made()
        return run(m)

    with pytest.raises(
        RuntimeError, match=r"Norm\.late can't be assigned a \w+ inside a transform.*make it in __init__ or"
    ):
        mg.grad(loss)(model)
    assert not hasattr(model, "late")


def test_threads_count_together():
    module = Norm()
    module.lock = threading.Lock()

    def loss(m):
        for _ in range(20):
            with module.lock:
                m.calls += 1
        return np.sum(m.scale)

    threads = [threading.Thread(target=lambda: mg.grad(loss)(module)) for _ in range(8)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert module.calls == 160
    assert "_views" not in vars(module)


def test_a_copy_made_inside_a_transform_is_independent():
    model, found = nn.Sequential(nn.Linear(2, 1)), []

    def loss(m):
        found.extend([copy.copy(model), copy.copy(m)])
        return np.sum(m(X))

    mg.grad(loss)(model)
    for other in found:
        other.note = 1
        other.eval()
        del other[0]
    assert not hasattr(model, "note")
    assert model.training
    assert len(model) == 1
    assert len(pickle.loads(pickle.dumps(model))) == 1


def test_a_buffer_takes_arrays_and_tensors_without_a_gradient():
    norm = Norm()
    norm.mean = mg.tensor([1.0, 2.0])
    assert type(norm.mean) is np.ndarray
    with mg.no_grad():
        norm.mean = norm.mean + 2 * norm.scale
    np.testing.assert_array_equal(norm.mean, [5.0, 8.0])
    norm.mean *= 2
    assert dict(norm.named_buffers())["mean"] is norm.mean
    with pytest.raises(TypeError, match=r"'mean' is a buffer of Norm .*assign the array, t\.data"):
        norm.mean = norm.scale * 2


# In compiled functions, where a program can't repeat an assignment


class Compiled(nn.Module):
    def __init__(self, keeps=False):
        self.scale = nn.Parameter([2.0, 3.0])
        self.register_parameter("mean", mg.tensor(np.zeros(2)))
        self.hidden, self.keeps = None, keeps

    def forward(self, x):
        self.mean *= 0.5
        self.mean[...] = self.mean + 0.5 * np.mean(x, axis=0)
        hidden = x * self.scale
        if self.keeps:
            self.hidden = hidden
            hidden = self.hidden * 1.0
        return np.sum(hidden - self.mean)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_frozen_tensor_is_updated_by_programs(optimize):
    plain, given, captured, keeps = Compiled(), Compiled(), Compiled(), Compiled(keeps=True)
    f, g = mg.compile(lambda m, x: m(x), optimize=optimize), mg.compile(lambda x: captured(x), optimize=optimize)
    gradient = mg.compile(mg.grad(lambda m, x: m(x)), optimize=optimize)
    differentiated = Compiled()
    for i in range(3):
        want = plain(X + i).data
        for value in (f(given, X + i), g(X + i), f(keeps, X + i)):
            np.testing.assert_allclose(plain_array(value), want)
        np.testing.assert_allclose(gradient(differentiated, X + i).scale, np.sum(X + i, axis=0))
        for module in (given, captured, keeps, differentiated):
            np.testing.assert_allclose(module.mean.data, plain.mean.data)
            assert (module.hidden is None) == (module is not keeps)
        np.testing.assert_allclose(keeps.hidden.data, (X + i) * keeps.scale.data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m, "mean", np.ones(2)), r"'mean' is a buffer of Norm and was assigned to inside a compiled"),
        (
            lambda m: setattr(m, "calls", m.calls + 1 if m.calls < 5 else 0),
            r"the captured 'm\.calls' was changed .* can't be one: `if`",
        ),
        (
            lambda m: mg.grad(lambda v: (setattr(v, "calls", [v.calls]), 0.0)[1])(m),
            r"inside a compiled function .*, the captured 'm\.calls' was changed",
        ),
    ],
)
def test_a_program_that_would_not_repeat_an_assignment_is_refused(change, message):
    module = Norm()

    def f(m):
        change(m)
        return np.sum(m.scale)

    with pytest.raises(TypeError, match=message):
        mg.compile(f)(module)
    assert module.calls == 0
    np.testing.assert_array_equal(module.mean, [0.0, 0.0])


@pytest.mark.parametrize("wrap", [lambda f: f, mg.compile])
def test_a_constant_is_assigned_in_each_call(wrap):
    module = Norm()
    f = wrap(lambda m: mg.grad(lambda v: (setattr(v, "calls", 5), np.sum(v.scale))[1])(m))
    for calls in (0, 5, 7):
        module.calls = calls
        f(module)
        assert module.calls == 5


def test_modes_may_be_changed_within_a_program():
    model = nn.Sequential(Compiled())

    def f(m, x):
        m.eval()
        value = m(x)
        m.train()
        return value

    np.testing.assert_allclose(mg.compile(f)(model, X).data, Compiled()(X).data)
    assert model.training


def test_an_outdated_tensor_on_a_module_is_no_error_after_the_call():
    class Growing(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(1.0)

        def forward(self, x):
            with mg.no_grad():
                self.w *= 1.5
            return np.sum(self.w * x)

    with pytest.raises(RuntimeError, match="outdated"):
        mg.compile(mg.value_and_grad(lambda m: m(X)))(Growing())
    gc.collect()  # an error of `__del__` would be a warning here
