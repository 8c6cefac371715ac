"""Optimizers: formulas for any shape and number of steps, state, messages.

Owns: the behaviour of `microgradnd/optim/`.
Must not own: runs of whole networks (`test_oracle_runs.py`), comparisons with PyTorch
(`test_torch_nn.py`).
Read next: `test_oracle_runs.py`.
"""

import copy
import gc
import pickle
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.optim import flat as shared
from microgradnd.optim import lr_scheduler
from microgradnd.settings import not_negative, setting
from microgradnd.testing import arrays, shapes

often = settings(max_examples=max(30, settings.default.max_examples))  # these are quick


def sgd_by_hand(lr, momentum=0, nesterov=False, weight_decay=0):
    """Return step(w, g), by the formula in the documentation of SGD."""
    b = 0.0

    def step(w, g):
        nonlocal b
        g = g + weight_decay * w
        b = momentum * b + g
        return w - lr * (g + momentum * b if nesterov else b)

    return step


def adam_by_hand(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
    """Return step(w, g), by the formula in the documentation of Adam."""
    m = v = t = 0.0

    def step(w, g):
        nonlocal m, v, t
        t += 1
        g = g + weight_decay * w
        m = m + (1 - betas[0]) * (g - m)
        v = betas[1] * v + (1 - betas[1]) * g**2
        return w - lr / (1 - betas[0] ** t) * m / (np.sqrt(v / (1 - betas[1] ** t)) + eps)

    return step


def adamw_by_hand(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    """Return step(w, g), by the formula in the documentation of AdamW."""
    step = adam_by_hand(lr, betas, eps)
    return lambda w, g: step(w, g) - lr * weight_decay * w


def nadam_by_hand(lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3):
    """Return step(w, g), by the formula in the documentation of NAdam."""
    m = v = t = 0.0
    product = 1.0

    def step(w, g):
        nonlocal m, v, t, product
        t += 1
        g = g + weight_decay * w
        mu, ahead = (betas[0] * (1 - 0.96 ** (momentum_decay * n) / 2) for n in (t, t + 1))
        product *= mu
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        mean = (1 - mu) / (1 - product) * g + ahead / (1 - product * ahead) * m
        return w - lr * mean / (np.sqrt(v / (1 - betas[1] ** t)) + eps)

    return step


def adagrad_by_hand(lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10):
    """Return step(w, g), by the formula in the documentation of Adagrad."""
    v, t = initial_accumulator_value, 0

    def step(w, g):
        nonlocal v, t
        t += 1
        g = g + weight_decay * w
        v = v + g**2
        return w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(v) + eps)

    return step


def rmsprop_by_hand(lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False):
    """Return step(w, g), by the formula in the documentation of RMSprop."""
    v = mean = b = 0.0

    def step(w, g):
        nonlocal v, mean, b
        g = g + weight_decay * w
        v = alpha * v + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(v - mean**2 if centered else v) + eps)
        return w - lr * b

    return step


def adadelta_by_hand(lr=1.0, rho=0.9, eps=1e-6, weight_decay=0):
    """Return step(w, g), by the formula in the documentation of Adadelta."""
    v = u = 0.0

    def step(w, g):
        nonlocal v, u
        g = g + weight_decay * w
        v = rho * v + (1 - rho) * g**2
        d = np.sqrt(u + eps) / np.sqrt(v + eps) * g
        u = rho * u + (1 - rho) * d**2
        return w - lr * d

    return step


def lion_by_hand(lr=1e-4, betas=(0.9, 0.99), weight_decay=0):
    """Return step(w, g), by algorithm 2 of Chen et al. (2023).

    theta <- theta - eta (sign(c) + lambda theta)
    """
    m = 0.0

    def step(w, g):
        nonlocal m
        c = betas[0] * m + (1 - betas[0]) * g
        m = betas[1] * m + (1 - betas[1]) * g
        return w - lr * (np.sign(c) + weight_decay * w)

    return step


SGDS = [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    {"lr": 0.1, "weight_decay": 0.3},
    {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.3},
]
ADAMS = [{}, {"lr": 0.1}, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}, {"lr": 0.1, "weight_decay": 0.3}]
OPTIMIZERS = [(optim.SGD, sgd_by_hand, options) for options in SGDS]
OPTIMIZERS += [(optim.Adam, adam_by_hand, options) for options in ADAMS]
OPTIMIZERS += [
    (optim.AdamW, adamw_by_hand, {"lr": 0.1, "weight_decay": 0.3}),
    (optim.NAdam, nadam_by_hand, {"lr": 0.1, "weight_decay": 0.3, "momentum_decay": 0.1}),
    (optim.Adagrad, adagrad_by_hand, {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    (optim.RMSprop, rmsprop_by_hand, {"lr": 0.1, "alpha": 0.9, "weight_decay": 0.3, "momentum": 0.5}),
    (optim.Adadelta, adadelta_by_hand, {"lr": 1.0, "weight_decay": 0.3}),
    (optim.Lion, lion_by_hand, {"lr": 0.1, "weight_decay": 0.3}),
]
every_optimizer = pytest.mark.parametrize(
    ("optimizer", "by_hand", "options"),
    OPTIMIZERS,
    ids=lambda v: getattr(v, "__name__", None) or ",".join(map(str, v)) or "default",
)


@st.composite
def problems(draw):
    """Draw parameters of any shapes, and the gradients of some steps, possibly None."""
    values = draw(st.lists(shapes().flatmap(arrays), min_size=1, max_size=4))
    steps = draw(st.integers(1, 5))
    here = st.booleans() if draw(st.booleans()) else st.just(True)
    return values, [[draw(arrays(v.shape)) if draw(here) else None for v in values] for _ in range(steps)]


@every_optimizer
def test_steps_follow_the_formula(optimizer, by_hand, options):
    @often
    @given(problems())
    def law(problem):
        values, steps = problem
        parameters = [mg.tensor(value, requires_grad=True) for value in values]
        expected, formulas = list(values), [by_hand(**options) for _ in values]
        ours = optimizer(parameters, **options)
        for gradients in steps:
            for i, g in enumerate(gradients):
                parameters[i].grad = g
                if g is not None:
                    expected[i] = formulas[i](expected[i], g)
            ours.step()
        for parameter, value in zip(parameters, expected, strict=True):
            np.testing.assert_allclose(parameter.data, value, rtol=1e-11, atol=1e-13)

    law()


@every_optimizer
def test_many_elements_are_updated_in_chunks(optimizer, by_hand, options, monkeypatch):
    monkeypatch.setattr(shared, "CHUNK", 7)
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape) for shape in ((5, 3), (2,), (), (4, 4))]
    parameters = [mg.tensor(value, requires_grad=True) for value in values]
    formulas, ours = [by_hand(**options) for _ in values], optimizer(parameters, **options)
    for step in range(4):
        for i, parameter in enumerate(parameters):
            if (step, i) == (2, 3):  # from here on the parameters differ in their number of steps
                parameter.grad = None
                continue
            parameter.grad = rng.normal(size=parameter.shape)
            values[i] = formulas[i](values[i], parameter.grad)
        ours.step()
    for parameter, value in zip(parameters, values, strict=True):
        np.testing.assert_allclose(parameter.data, value, rtol=1e-12, atol=1e-14)


@every_optimizer
def test_precisions_mix_and_stay(optimizer, by_hand, options):
    rng = np.random.default_rng(0)
    single = mg.tensor(rng.normal(size=3), requires_grad=True, dtype=np.float32)
    double = mg.tensor(single.data.astype(float), requires_grad=True)
    ours = optimizer([single, double], **options)
    for _ in range(5):
        g = rng.normal(size=3).astype(np.float32)
        single.grad, double.grad = g, g.astype(float)
        ours.step()
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.data, double.data, rtol=1e-4)


@every_optimizer
def test_complex_parameters_are_pairs_of_real_ones(optimizer, by_hand, options):
    rng = np.random.default_rng(0)
    z = mg.tensor(rng.normal(size=3) + 1j * rng.normal(size=3), requires_grad=True)
    pair = mg.tensor(np.stack([z.data.real, z.data.imag]), requires_grad=True)
    one, two = optimizer([z], **options), optimizer([pair], **options)
    for _ in range(3):
        z.grad = rng.normal(size=3) + 1j * rng.normal(size=3)
        pair.grad = np.stack([z.grad.real, z.grad.imag])
        one.step()
        two.step()
    np.testing.assert_array_equal(np.stack([z.data.real, z.data.imag]), pair.data)


@every_optimizer
def test_updates_are_in_place_and_leave_gradients_alone(optimizer, by_hand, options):
    w = mg.tensor(np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True)
    array, node_grad = w.data, np.ones((2, 2))
    w.grad = node_grad
    ours = optimizer([w], **options)
    ours.step()
    assert w.data is array
    assert w.is_leaf
    assert w.grad is node_grad
    assert (node_grad == 1).all()


@every_optimizer
def test_a_parameter_without_a_gradient_does_not_change(optimizer, by_hand, options):
    used, unused = (mg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    ours = optimizer([used, unused], **options)
    used.grad = np.ones(2)
    loss = np.sum(unused * 2)
    ours.step()
    assert unused.data.tolist() == [1.0, 2.0]
    assert used.data[0] != 1.0
    loss.backward()  # it wasn't made newer either


@every_optimizer
def test_a_gradient_may_be_a_tensor(optimizer, by_hand, options):
    w, v = (mg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    np.sum(w**2).backward(create_graph=True)
    np.sum(v**2).backward()
    for parameter in (w, v):
        optimizer([parameter], **options).step()
    np.testing.assert_array_equal(w.data, v.data)


@every_optimizer
def test_zero_grad_sets_gradients_to_none(optimizer, by_hand, options):
    w = mg.tensor([1.0], requires_grad=True)
    w.grad = np.ones(1)
    optimizer([w], **options).zero_grad()
    assert w.grad is None


@every_optimizer
def test_a_step_makes_tensors_newer(optimizer, by_hand, options):
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    ours, loss = optimizer([w], **options), np.sum(w * w)
    loss.backward(retain_graph=True)
    ours.step()
    with pytest.raises(RuntimeError, match=r"'w' of shape \(2,\) was changed after .* An optimizer step"):
        loss.backward()


@every_optimizer
def test_nan_in_a_gradient_reaches_the_parameter(optimizer, by_hand, options):
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    w.grad = np.array([np.nan, 1.0])
    optimizer([w], **options).step()
    assert np.isnan(w.data).tolist() == [True, False]


@every_optimizer
def test_the_learning_rate_can_be_changed_between_steps(optimizer, by_hand, options):
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    ours = optimizer([w], **options)
    w.grad = np.ones(2)
    ours.lr = 0.0
    ours.step()
    assert w.data.tolist() == [1.0, 2.0]


# State


def trained(optimizer, options, model, steps, seed):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(rng.normal(size=(5, 3))), rng.normal(size=(5, 1))).backward()
        optimizer.step()


@every_optimizer
def test_a_run_continues_from_its_saved_state(optimizer, by_hand, options):
    model = nn.Sequential(nn.Linear(3, 2, rng=np.random.default_rng(1)), nn.Tanh(), nn.Linear(2, 1))
    ours = optimizer(model.parameters(), **options)
    trained(ours, options, model, 3, seed=2)
    other = copy.deepcopy(model)
    theirs = optimizer(other.parameters(), lr=7.0)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    state = ours.state_dict()
    for run, net in ((ours, model), (theirs, other)):
        trained(run, options, net, 3, seed=3)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    ours.load_state_dict(state)  # copies: the steps since then didn't change them
    assert repr(ours.state_dict()) == repr(state)


def test_state_is_listed_in_the_order_of_the_parameters():
    w, b = mg.tensor([1.0, 2.0], requires_grad=True, dtype=np.float32), mg.tensor(1.0, requires_grad=True)
    adam = optim.Adam([w, b])
    b.grad = np.array(2.0)
    adam.step()
    assert list(adam.state_dict()["state"]) == [1]  # as in PyTorch, of those that were stepped
    w.grad, b.grad = np.ones(2, np.float32), None
    adam.step()
    state = adam.state_dict()
    assert list(state) == ["state", "param_groups"]
    assert list(state["state"]) == [0, 1]
    settings = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False}
    assert state["param_groups"] == [settings | {"params": [0, 1]}]
    first, second = state["state"][0], state["state"][1]
    assert list(first) == list(second) == ["step", "exp_avg", "exp_avg_sq"]
    assert (first["step"], second["step"]) == (1, 1)
    assert (first["exp_avg"].shape, second["exp_avg"].shape) == ((2,), ())
    assert (first["exp_avg"].dtype, second["exp_avg"].dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(second["exp_avg"], 0.2)
    np.testing.assert_allclose(second["exp_avg_sq"], 0.004)


def test_an_optimizer_without_state_saves_none():
    """As in PyTorch, without momentum or before a step; loading it resets the state."""
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    fresh = optim.Adam([w], lr=0.1).state_dict()
    assert fresh["state"] == {}
    adam = optim.Adam([w], lr=0.1)
    for _ in range(2):
        w.grad = np.ones(2)
        adam.step()
    after = adam.state_dict()
    adam.load_state_dict(fresh)
    for _ in range(2):
        w.grad = np.ones(2)
        adam.step()
    assert repr(adam.state_dict()) == repr(after)
    sgd = optim.SGD([w], lr=0.1)
    sgd.step()
    assert sgd.state_dict()["state"] == {}


def stepped(*shapes, kind=optim.SGD, **options):
    """Return the state of an optimizer after a step, for parameters of some shapes."""
    parameters = [nn.Parameter(np.ones(shape)) for shape in shapes]
    optimizer = kind(parameters, **{"lr": 0.1} | options)
    for parameter in parameters:
        parameter.grad = np.ones(parameter.shape)
    optimizer.step()
    return optimizer.state_dict()


def fitting(**changed):
    """Return a state for two parameters, with other settings."""
    state = stepped((2,), (), momentum=0.9)
    state["param_groups"][0] |= changed
    return state


def entry(**changed):
    """Return such a state with other entries of the first parameter."""
    state = fitting()
    state["state"][0] |= changed
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            lambda: stepped((2,), (), kind=optim.Adam),
            "SGD.load_state_dict: the state must be of .* with dampening, .*, got .*amsgrad",
        ),
        (lambda: stepped((2,)), "must be of 2 parameters with .*, got 1 parameters with dampening"),
        (
            lambda: stepped((1,), (1,), momentum=0.9),
            r"momentum_buffer of parameter 0 must have shape \(2,\), got \(1,\)",
        ),
        (lambda: entry(exp_avg=1.0), "the state of a parameter must be a dict with step, momentum_buffer, got {'step'"),
        (lambda: entry(step=[3]), r"step of parameter 0 must have shape \(\), got \(1,\)"),
        (lambda: {"lr": 0.1}, "must be of 2 parameters with .*, got {'lr': 0.1}"),
        (lambda: fitting() | {"param_groups": "ab"}, "must be of 2 parameters with .*, got {'state'"),
        (lambda: fitting() | {"state": [1.0]}, "must be of 2 parameters with .*, got {'state'"),
        (lambda: fitting() | {"state": {0: [1.0]}}, r"of a parameter must be a dict with .*, got \[1.0\]"),
        (lambda: fitting(lr=-1), "SGD: lr must be a finite number, 0 or more, got -1"),
        (lambda: fitting(lr=9.0, momentum=0.0, nesterov=True), "nesterov=True needs a momentum"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(state, message):
    w, b = nn.Parameter([1.0, 2.0]), nn.Parameter(1.0)
    sgd = optim.SGD([w, b], 0.5, momentum=0.9)
    w.grad = np.ones(2)
    sgd.step()
    before = sgd.state_dict()
    with pytest.raises(ValueError, match=message):
        sgd.load_state_dict(state())
    assert repr(sgd.state_dict()) == repr(before)


def test_repr_shows_the_settings():
    adam = optim.Adam(nn.Linear(2, 1).parameters(), lr=0.1)
    settings = "lr=0.1, betas=(0.9, 0.999), eps=1e-08, weight_decay=0, amsgrad=False, maximize=False"
    assert repr(adam) == f"Adam(2 parameters, {settings})"
    assert repr(adam.param_groups) == f"[2 parameters, {settings}]"
    adam.add_param_group({"params": [nn.Parameter(1.0)], "lr": 1})
    assert repr(adam) == f"Adam((2 parameters, {settings}), (1 parameters, {settings.replace('0.1', '1.0', 1)}))"


# Refusals

W = mg.tensor([1.0, 2.0], requires_grad=True, name="w")


def exhausted():
    parameters = nn.Linear(1, 1).parameters()
    list(parameters)
    return parameters


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1), optim.Adam], ids=["SGD", "Adam"])
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (list, ValueError, r"at least one parameter, got .*each generator works once, or keep list\(model"),
        (exhausted, ValueError, "at least one parameter, got an empty list or a generator that is used up"),
        (lambda: [W * 2], TypeError, r"parameter 0, of shape \(2,\), must be a leaf, but was computed"),
        (
            lambda: [W, np.ones(2)],
            TypeError,
            r"parameter 1 must be a Tensor, got a ndarray; pass model\.parameters\(\)",
        ),
        (
            lambda: nn.Linear(1, 1).named_parameters(),
            TypeError,
            r"parameter 0 must be a Tensor, got a tuple; pass model",
        ),
        (lambda: W, TypeError, r"must be a list of parameters, got one Tensor; put it into a list: \[w\]"),
        (lambda: nn.Linear(1, 1), TypeError, r"must be a list of parameters, got a Linear; pass model\.parameters\(\)"),
        (lambda: {"w": W}, TypeError, "must be a list of parameters, got a dict; pass"),
        (lambda: [W, W], ValueError, r"'w', of shape \(2,\), is in the list twice"),
        (lambda: [mg.tensor([1.0])], ValueError, "none of the 1 parameters requires a gradient"),
    ],
)
def test_bad_parameters_are_explained(make, params, error, message):
    with pytest.raises(error, match=message):
        make(params())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD([W], -0.1), "SGD: lr must be a finite number, 0 or more, got -0.1"),
        (lambda: optim.SGD([W], float("nan")), "SGD: lr must be a finite number, 0 or more, got nan"),
        (lambda: optim.Adam([W], float("inf")), "Adam: lr must be a finite number, 0 or more, got inf"),
        (lambda: optim.SGD([W], 0.1, momentum=-1), "SGD: momentum must be a finite number, 0 or more, got -1"),
        (lambda: optim.SGD([W], 0.1, weight_decay=-1), "SGD: weight_decay must be a finite number, 0 or more, got -1"),
        (lambda: optim.SGD([W], 0.1, nesterov=True), "SGD: nesterov=True needs a momentum"),
        (lambda: optim.Adam([W], betas=(1.0, 0.9)), r"Adam: betas\[0\] must be a number from 0 to below 1, got 1\.0"),
        (lambda: optim.Adam([W], betas=(0.9, -0.1)), r"Adam: betas\[1\] must be a number from 0 to below 1, got -0\.1"),
        (lambda: optim.Adam([W], betas=(0.9, float("nan"))), r"Adam: betas\[1\] .* got nan"),
        (lambda: optim.Adam([W], eps=-1e-8), "Adam: eps must be a finite number, 0 or more, got -1e-08"),
        (lambda: optim.Adam([W], weight_decay=-1), "Adam: weight_decay must be a finite number, 0 or more, got -1"),
    ],
)
def test_bad_settings_are_explained(make, message):
    with pytest.raises(ValueError, match=message):
        make()


ADAM = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.01, "maximize": False}
SETTINGS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "Adam": ADAM | {"amsgrad": True},
    "AdamW": ADAM,
    "NAdam": ADAM | {"momentum_decay": 0.1, "decoupled_weight_decay": True},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.01, "initial_accumulator_value": 0.5},
    "RMSprop": {"lr": 0.1, "alpha": 0.9, "weight_decay": 0.01, "momentum": 0.5, "centered": True},
    "Adadelta": {"lr": 0.1, "rho": 0.8, "weight_decay": 0.01, "eps": 1e-3},
    "Lion": {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.01, "maximize": True},
}
NUMBERS = [None, float("nan"), float("inf"), -1.0, "fast", 1j, True, [0.1], {}, np.array([0.1, 0.2])]
WRONG = {
    **dict.fromkeys(["lr", "momentum", "eps", "weight_decay", "momentum_decay", "lr_decay"], NUMBERS),
    **dict.fromkeys(["initial_accumulator_value", "rho", "alpha"], NUMBERS),
    **{name: [None, "yes", 1.0] for name in ("amsgrad", "maximize", "centered", "decoupled_weight_decay")},
    "betas": [None, 0.9, "ab", (0.9,), (0.9, 0.9, 0.9), (0.9, 1.0), (0.9, None), (-0.1, 0.9), {0.9, 0.99}, np.ones(3)],
    "nesterov": [None, "yes", 1.0, 2],
}


def with_settings(state, **changed):
    return state | {"param_groups": [group | changed for group in state["param_groups"]]}


def made(kind, **changed):
    return getattr(optim, kind)([mg.tensor([1.0, 2.0], requires_grad=True)], **SETTINGS[kind] | changed)


@pytest.mark.parametrize(
    ("kind", "name", "wrong"),
    [(kind, name, wrong) for kind, names in SETTINGS.items() for name in names for wrong in WRONG[name]],
    ids=str,
)
def test_a_setting_is_checked_whenever_it_is_set(kind, name, wrong):
    """In the constructor, as an attribute, and from a state; the old value stays."""
    message = rf"^{kind}: {name}(\[[01]\])? must be .*, got "
    with pytest.raises((TypeError, ValueError), match=message):
        made(kind, **{name: wrong})
    optimizer = made(kind)
    before = optimizer.state_dict()
    with pytest.raises((TypeError, ValueError), match=message):
        setattr(optimizer, name, wrong)
    with pytest.raises((TypeError, ValueError), match=message):
        optimizer.load_state_dict(with_settings(before, **{"lr": 0.7, name: wrong}))
    assert repr(optimizer.state_dict()) == repr(before)


@pytest.mark.parametrize(
    "number", [0.25, np.float32(0.25), np.float64(0.25), np.array(0.25), np.array([0.25]), mg.tensor(0.25)], ids=repr
)
def test_a_setting_is_a_number_of_any_kind(number):
    for kind, names in SETTINGS.items():
        for name in [name for name, value in names.items() if not isinstance(value, bool)]:
            optimizer = made(kind)
            setattr(optimizer, name, (number, number) if name == "betas" else number)
            assert getattr(optimizer, name) == ((0.25, 0.25) if name == "betas" else 0.25)
            assert type(getattr(optimizer, name)) in (float, tuple)
            made(kind).load_state_dict(optimizer.state_dict())


def test_a_learning_rate_that_requires_a_gradient_is_refused():
    with pytest.raises(
        TypeError,
        match=r"SGD: lr must be a finite number, 0 or more, got a Tensor that requires a gradient; pass t\.item",
    ):
        made("SGD").lr = mg.tensor(0.1, requires_grad=True)


def test_conflicting_settings_are_refused_even_one_by_one():
    sgd = made("SGD")
    with pytest.raises(ValueError, match="nesterov=True needs a momentum"):
        sgd.momentum = 0
    sgd.nesterov = False
    sgd.momentum = 0
    with pytest.raises(ValueError, match="nesterov=True needs a momentum"):
        sgd.nesterov = True
    assert (sgd.momentum, sgd.nesterov) == (0, False)


@every_optimizer
def test_a_learning_rate_of_0_is_the_end_of_a_schedule(optimizer, by_hand, options):
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    ours = optimizer([w], **options | {"lr": 0})
    w.grad = np.ones(2)
    ours.step()
    assert w.data.tolist() == [1.0, 2.0]
    ours.load_state_dict(ours.state_dict())
    assert ours.lr == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD([W], lr=0.1, banana=3), r"SGD takes \(params, lr, momentum=0, .*\), got banana=3"),
        (lambda: optim.Adam([W], ams=True), r"Adam takes \(params, lr=0\.001, .*\), got ams=True"),
        (lambda: optim.SGD([W]), r"SGD takes \(params, lr, .*\), but the call lacks .*'lr'"),
        (lambda: optim.Adam([W], 1, (0, 0), 0, 0, False, True), "Adam takes .*, got 7 positional arguments"),
    ],
)
def test_stray_arguments_are_explained(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (None, TypeError, r"SGD\.load_state_dict: state_dict must be a dict from state_dict\(\), got None; read"),
        ("run.pkl", TypeError, "must be a dict from .* got 'run.pkl'; read a file with mg.load first"),
        (entry(step=1.5), ValueError, "step must be a whole number, 0 or more, got 1.5"),
        (entry(step=np.inf), ValueError, "step must be a whole number, 0 or more, got inf"),
        (entry(step="2"), TypeError, "step of parameter 0 must hold numbers that fit dtype float64"),
        (entry(momentum_buffer=np.array(["a", "b"])), TypeError, "momentum_buffer of parameter 0 must hold numbers"),
        (entry(momentum_buffer=np.array([1j, 0])), TypeError, "dtype float64, got complex128"),
    ],
)
def test_a_value_that_is_no_state_changes_nothing(state, error, message):
    w, b = nn.Parameter([1.0, 2.0]), nn.Parameter(1.0)
    sgd = optim.SGD([w, b], 0.5, momentum=0.9)
    w.grad = np.ones(2)
    sgd.step()
    before = sgd.state_dict()
    with pytest.raises(error, match=message):
        sgd.load_state_dict(state)
    assert repr(sgd.state_dict()) == repr(before)


# Half precision, and read-only arrays


@every_optimizer
def test_half_precision_computes_in_single(optimizer, by_hand, options):
    """Small gradients and eps don't vanish, unlike in half precision."""
    values, rng = np.array([1.0, -0.5, 2.0], np.float16), np.random.default_rng(0)
    w, exact = mg.tensor(values, requires_grad=True), values.astype(np.float64)
    ours, formula = optimizer([w], **options), by_hand(**options)
    for scale in (0.0, 1e-6, 1e-3, 1.0, 0.0):
        w.grad = (scale * rng.normal(size=3)).astype(np.float16)
        exact = formula(w.data.astype(np.float64), w.grad.astype(np.float64))
        ours.step()
        np.testing.assert_allclose(w.data, exact.astype(np.float16), rtol=2**-10)
    assert w.dtype == np.float16
    other = optimizer([w], **options)
    other.load_state_dict(ours.state_dict())
    assert repr(other.state_dict()) == repr(ours.state_dict())


@every_optimizer
def test_a_zero_gradient_moves_nothing(optimizer, by_hand, options):
    for dtype in (np.float16, np.float32, np.float64, np.complex64):
        w = mg.tensor(np.ones(3), requires_grad=True, dtype=dtype)
        w.grad = np.zeros(3, dtype)
        optimizer([w], **options | {"weight_decay": 0}).step()
        assert (w.data == 1).all()


@every_optimizer
def test_a_read_only_array_is_not_written_to(optimizer, by_hand, options):
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    array = w.data
    array.flags.writeable = False
    used = np.sum(w * w)
    ours, formula = optimizer([w], **options), by_hand(**options)
    expected = array
    for _ in range(2):
        w.grad = np.array([1.0, -3.0])
        expected = formula(expected, w.grad)
        ours.step()
    np.testing.assert_allclose(w.data, expected, rtol=1e-12)
    assert array.tolist() == [1.0, 2.0]
    assert w.data.flags.writeable
    with pytest.raises(RuntimeError, match="was changed"):
        used.backward()


# Copies


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_shallow_copy_has_settings_of_its_own(kind):
    """Compiled too. Parameters and state are shared, as in PyTorch."""
    one = made(kind)
    two = copy.copy(one)
    assert two.params == one.params
    two.lr = 0.0
    two.weight_decay = 0

    def step(optimizer):
        optimizer.params[0].grad = None
        np.sum(optimizer.params[0] * 3.0).backward()
        optimizer.step()

    w = one.params[0]
    compiled = mg.compile(step)
    for run in (step, compiled, compiled):
        before = w.data.copy()
        run(two)
        np.testing.assert_array_equal(w.data, before)
        run(one)
        assert (w.data != before).all()
    assert (one.lr, one.weight_decay) == (0.1, 0.01)


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1), optim.Adam], ids=["SGD", "Adam"])
@pytest.mark.parametrize("change", [lambda g: g[:1], lambda g: g.astype(np.float32)], ids=["shape", "dtype"])
def test_a_gradient_that_a_hook_spoiled_is_refused(make, change):
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    optimizer = make([w])
    w.register_hook(change)
    with pytest.raises(
        ValueError, match=r"a hook of 'w' of shape \(2,\) must return None or a gradient of shape \(2,\)"
    ):
        np.sum(w * w).backward()
    optimizer.step()
    assert w.data.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1), optim.Adam], ids=["SGD", "Adam"])
def test_a_gradient_that_was_reshaped_is_refused(make):
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    w.grad = np.array([1.0, 2.0])
    w.grad.resize((1, 2), refcheck=False)
    message = r"the gradient of 'w' must have the parameter's shape \(2,\) and dtype float64, got \(1, 2\) and float64"
    with pytest.raises(ValueError, match=message):
        make([w]).step()
    assert w.data.tolist() == [1.0, 2.0]


def test_each_parameter_keeps_its_own_step_count():
    first, second = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0], requires_grad=True)
    optimizer = optim.Adam([first, second], lr=0.1)
    for loss in (lambda: (first**2).sum(), lambda: (first**2).sum() + (second**2).sum()):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    state = optimizer.state_dict()
    assert [entry["step"] for entry in state["state"].values()] == [2, 1]
    other = optim.Adam([first, second], lr=0.1)
    other.load_state_dict(state)
    assert repr(other.state_dict()) == repr(state)


# Groups


def grouped(kind=optim.Adam, **options):
    """Return two parameters, and an optimizer with a group for each."""
    w, v = nn.Parameter([1.0, 2.0]), nn.Parameter([1.0, 2.0])
    return w, v, kind([{"params": [w]}, {"params": [v], **options}], lr=0.1)


def test_a_group_is_read_and_set_like_a_dict():
    w, v, adam = grouped(lr=0.01, eps=1e-3)
    first, second = adam.param_groups
    assert dict(first) == {"params": [w], **adam.defaults}
    assert list(second) == list(first) == ["params", *adam.defaults]
    assert (second["lr"], second["eps"], second["params"]) == (0.01, 1e-3, [v])
    assert "betas" in second
    assert second.get("momentum") is None
    second["lr"] = 0.5
    second["betas"] = [0.5, 0.6]
    assert (first["lr"], second["lr"], second["betas"]) == (0.1, 0.5, (0.5, 0.6))
    with pytest.raises(ValueError, match="Adam: lr must be a finite number, 0 or more, got -1"):
        second["lr"] = -1
    with pytest.raises(KeyError, match="Adam has no setting 'momentum'; use one of lr, betas"):
        second["momentum"] = 0.5
    assert second["lr"] == 0.5


def test_an_attribute_applies_to_all_groups():
    adam = grouped(eps=1e-3)[2]
    assert adam.lr == 0.1
    adam.lr = 0.2
    assert [group["lr"] for group in adam.param_groups] == [0.2, 0.2]
    with pytest.raises(ValueError, match=r"eps differs between the parameter groups; read param_groups\[i\]\['eps'\]"):
        _ = adam.eps
    adam.eps = 1e-2
    assert adam.eps == 1e-2
    sgd = grouped(optim.SGD, momentum=0.9)[2]
    before = repr(sgd)
    with pytest.raises(ValueError, match="nesterov=True needs a momentum"):
        sgd.nesterov = True  # which the second group could have
    assert repr(sgd) == before


def test_groups_step_like_separate_optimizers():
    w, v, both = grouped(lr=0.02, betas=(0.5, 0.6))
    one, two = nn.Parameter([1.0, 2.0]), nn.Parameter([1.0, 2.0])
    alone = optim.Adam([one], lr=0.1), optim.Adam([two], lr=0.02, betas=(0.5, 0.6))
    rng = np.random.default_rng(0)
    for _ in range(5):
        for p, q in ((w, one), (v, two)):
            p.grad = rng.normal(size=2)
            q.grad = p.grad.copy()
        for optimizer in (both, *alone):
            optimizer.step()
    np.testing.assert_array_equal(w.data, one.data)
    np.testing.assert_array_equal(v.data, two.data)


def test_an_invalid_group_changes_nothing():
    _, v, adam = grouped()
    before = repr(adam), adam.params
    extra = nn.Parameter([1.0])
    for group, error in (
        ({"params": [extra], "lr": -1}, ValueError),
        ({"params": [extra], "momentum": 0.5}, KeyError),
        ({"params": [extra, v]}, ValueError),
        ({"params": extra}, TypeError),
        ([extra], TypeError),
        ({"lr": 0.1}, TypeError),
    ):
        with pytest.raises(error):
            adam.add_param_group(group)
        assert repr(adam) == before[0]
        assert adam.params is before[1]
    adam.add_param_group({"params": [extra]})
    assert len(adam.params) == 3
    assert adam.params[2] is extra


def test_a_frozen_group_is_allowed_if_another_trains():
    w, frozen = nn.Parameter([1.0]), mg.tensor([1.0])
    w.grad = np.ones(1)
    optim.SGD([{"params": [frozen]}, {"params": [w]}], lr=0.5).step()
    assert (w.data[0], frozen.data[0]) == (0.5, 1.0)


def test_nothing_is_changed_if_a_gradient_of_any_group_is_wrong():
    w, v, adam = grouped()
    w.grad, v.grad = np.ones(2), np.ones(2)
    v.grad.resize((1, 2), refcheck=False)
    with pytest.raises(ValueError, match="the gradient of parameter 0 must have"):
        adam.step()
    assert w.data.tolist() == [1.0, 2.0]
    v.grad = np.ones(2)
    adam.step()
    assert [entry["step"] for entry in adam.state_dict()["state"].values()] == [1, 1]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_groups_are_copied_and_saved(copied):
    w, v, adam = grouped(lr=0.02)
    w.grad = np.ones(2)
    adam.step()
    adam.betas = (0.5, 0.6)
    other, fresh = copied(adam), grouped()[2]
    assert repr(other) == repr(adam)
    fresh.load_state_dict(other.state_dict())
    for p, q in zip(fresh.params, adam.params, strict=True):
        p.data = q.data.copy()
    for optimizer in (adam, other, fresh):
        for p in optimizer.params:
            p.grad = np.full(2, 3.0)
        optimizer.step()
        assert repr(optimizer.state_dict()) == repr(adam.state_dict())
        for p, q in zip(optimizer.params, (w, v), strict=True):
            assert p.data.tolist() == q.data.tolist()


# Formulas


class Exchange(optim.Optimizer):
    """The hardest formula to evaluate: states swap, and are read after they changed."""

    rate: float = setting(not_negative, default=0.5)
    states: ClassVar = {"a": 1, "b": "rate"}

    @staticmethod
    def formula(s, w, g, t):
        old = s.a
        s.a, s.b = s.b, s.a
        s.a += g
        return s.lr * (s.a + s.b + old) + np.minimum(w, t) * (t > 2)


def exchange_by_hand(lr, rate):
    a, b, t = 1.0, rate, 0

    def step(w, g):
        nonlocal a, b, t
        t += 1
        a, b, old = b + g, a, a
        return w - (lr * (a + b + old) + np.minimum(w, t) * (t > 2))

    return step


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_a_formula_of_your_own(compiled, missing):
    w, v = mg.tensor([1.0, 5.0], requires_grad=True), mg.tensor([[2.0]], requires_grad=True)
    ours = Exchange([w, v], lr=0.1, rate=0.25)
    formulas, values = [exchange_by_hand(0.1, 0.25) for _ in range(2)], [w.data.copy(), v.data.copy()]

    def step(optimizer, x, y):
        optimizer.zero_grad()
        loss = np.sum(w * x)
        (loss if y is None else loss + np.sum(v * y)).backward()
        optimizer.step()

    run, rng = mg.compile(step) if compiled else step, np.random.default_rng(0)
    for i in range(6):
        x, y = rng.normal(size=2), None if missing and i % 3 == 1 else rng.normal(size=(1, 1))
        run(ours, x, y)
        values[0] = formulas[0](values[0], x)
        values[1] = values[1] if y is None else formulas[1](values[1], y)
        np.testing.assert_allclose(w.data, values[0], rtol=1e-12)
        np.testing.assert_allclose(v.data, values[1], rtol=1e-12)


def test_lion_steps_along_another_mean_than_it_keeps():
    w, mean, seen = nn.Parameter([0.0]), 0.0, []
    lion = optim.Lion([w], lr=1.0, betas=(0.5, 0.8))
    for g in (1.0, -0.1, -0.3):
        w.grad = np.array([g])
        lion.step()
        seen.append(w.item())
        mean = 0.8 * mean + 0.2 * g
    assert seen == [-1.0, -2.0, -1.0]  # along 0.5, then 0.1 - 0.05, then 0.07 - 0.15
    np.testing.assert_allclose(lion.state_dict()["state"][0]["exp_avg"], [mean])


def test_the_step_can_be_read():
    w = nn.Parameter([1.0])
    w.grad = np.ones(1)
    adam = optim.Adam([w], lr=0.1)
    adam.step()
    source = adam.param_groups[0].formula().source
    assert source.startswith("def step(chunks, t, lr):\n")
    assert source.endswith(", g)")  # the step is where the gradient was
    assert "scratch_0" in source
    assert "scratch_1" not in source


@pytest.mark.parametrize("kind", SETTINGS)
def test_nothing_is_left_in_reference_cycles(kind):
    while gc.collect():  # what finalizers of earlier tests leave takes another round
        continue
    gc.disable()
    try:
        optimizer = made(kind)
        optimizer.params[0].grad = np.ones(2)
        optimizer.step()
        lr_scheduler.StepLR(optimizer, 3).step()
        del optimizer
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_changed_number_becomes_a_variable():
    """So a program, or the printed step, is written again only for the first change."""
    w = nn.Parameter([1.0])
    adam = optim.Adam([w], lr=0.1)
    seen = set()
    for beta in (0.8, 0.7, 0.6):
        adam.betas = (beta, 0.99)
        assert adam.betas == (beta, 0.99)
        w.grad = np.ones(1)
        adam.step()
        seen.add(adam.param_groups[0].formula())
    assert len(seen) == 1


# Compiled


def descend(optimizer, x):
    optimizer.zero_grad()
    sum(np.sum((p - x) ** 2) for p in optimizer.params).backward()
    optimizer.step()


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_change_between_compiled_calls_without_another_program(kind):
    plain, given = made(kind), made(kind)
    compiled, rng = mg.compile(descend), np.random.default_rng(0)
    for i in range(8):
        for optimizer in (plain, given):
            optimizer.lr = 0.1 / (i + 1)
            if "betas" in optimizer.table:
                optimizer.betas = (0.9 - i / 10, 0.99)
            if "momentum" in optimizer.table:
                optimizer.param_groups[0]["momentum"] = 0.9 - i / 10
        x = rng.normal(size=2)
        descend(plain, x)
        compiled(given, x)
        np.testing.assert_allclose(given.params[0].data, plain.params[0].data, rtol=1e-12)
    assert compiled.cache_info().misses <= 2


def test_the_learning_rate_of_a_group_is_set_inside():
    def step(optimizer, x):
        descend(optimizer, x)
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * 0.5
        optimizer.param_groups[1]["lr"] = 0.3

    compiled, plain, given = mg.compile(step), grouped(lr=0.2)[2], grouped(lr=0.2)[2]
    for i in range(4):
        step(plain, np.full(2, float(i)))
        compiled(given, np.full(2, float(i)))
        rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in (plain, given)]
        assert rates[0] == rates[1] == [0.1 / 2 ** (i + 1), 0.3]
        for p, q in zip(given.params, plain.params, strict=True):
            np.testing.assert_allclose(p.data, q.data, rtol=1e-12)
    assert compiled.cache_info().misses == 1


def test_a_compiled_step_sees_an_added_group():
    compiled, adam = mg.compile(descend), grouped()[2]
    compiled(adam, np.zeros(2))
    extra = nn.Parameter([1.0, 2.0])
    adam.add_param_group({"params": [extra], "lr": 0.5})
    compiled(adam, np.zeros(2))
    np.testing.assert_allclose(extra.data, [0.5, 1.5])


def test_other_settings_are_not_changed_inside():
    def step(optimizer, x):
        descend(optimizer, x)
        optimizer.weight_decay = 0.5

    adam = made("Adam")
    with pytest.raises(TypeError, match="the setting 'weight_decay' of Adam inside a compiled function"):
        mg.compile(step)(adam, np.ones(2))
    assert adam.weight_decay == 0.01


# Clipping


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("order", [1, 2, np.inf])
def test_gradients_are_clipped_by_their_norm(dtype, order):
    rng = np.random.default_rng(0)
    parameters = [mg.tensor(np.ones(shape, dtype), requires_grad=True) for shape in ((2, 3), (), (0, 3), (4,))]
    before = []
    for p in parameters[:3]:
        p.grad = np.asarray(100 * rng.normal(size=p.shape)).astype(dtype)
        before.append(p.grad)
    exact = np.linalg.norm(np.concatenate([g.ravel() for g in before]).astype(np.result_type(dtype, float)), order)
    tolerance = 2e-3 if dtype == np.float16 else 1e-5
    np.testing.assert_allclose(optim.clip_grad_norm_(parameters, 0.5, norm_type=order), exact, rtol=tolerance)
    for p, g in zip(parameters, before, strict=False):
        assert p.grad.dtype == dtype
        np.testing.assert_allclose(p.grad, g * (0.5 / exact), rtol=tolerance)
    assert parameters[3].grad is None
    after = optim.clip_grad_norm_(iter(parameters), 0.5, norm_type=order)
    np.testing.assert_allclose(after, 0.5, rtol=tolerance)


def test_a_norm_is_measured_without_clipping():
    parameters = [nn.Parameter([0.0, 0.0]), nn.Parameter(0.0)]
    for parameter, gradient in zip(parameters, (np.array([3.0, 0.0]), np.array(4.0)), strict=True):
        parameter.grad = gradient
    assert optim.clip_grad_norm_(parameters, float("inf")) == 5.0
    assert [p.grad.tolist() for p in parameters] == [[3.0, 0.0], 4.0]


def test_small_gradients_are_not_clipped():
    w = nn.Parameter([1.0, 2.0])
    w.grad = np.array([0.3, 0.4])
    assert optim.clip_grad_norm_(w, 1.0) == 0.5
    assert w.grad.tolist() == [0.3, 0.4]
    assert optim.clip_grad_norm_([nn.Parameter(1.0)], 1.0) == 0.0
    optim.clip_grad_value_([w, nn.Parameter(1.0)], 0.35)
    assert w.grad.tolist() == [0.3, 0.35]
    z = mg.tensor([1 + 1j], requires_grad=True)
    z.grad = np.array([3 - 0.1j])
    optim.clip_grad_value_([z], 1.0)
    assert z.grad[0] == 1 - 0.1j


def test_an_array_that_two_gradients_share_is_scaled_once_for_each():
    w, v, g = nn.Parameter([1.0]), nn.Parameter([1.0]), np.array([4.0])
    w.grad = v.grad = g
    optim.clip_grad_norm_([w, v], 1.0)
    np.testing.assert_allclose([w.grad[0], v.grad[0], g[0]], [0.5**0.5, 0.5**0.5, 4.0], rtol=1e-6)


@pytest.mark.parametrize("clip", [lambda p: optim.clip_grad_norm_(p, 0.5), lambda p: optim.clip_grad_value_(p, 0.1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_clipping_in_a_compiled_step(clip, dtype):
    def step(optimizer, x):
        optimizer.zero_grad()
        sum(np.sum(np.abs(p - x) ** 2) for p in optimizer.params).backward()
        norm = clip(optimizer.params)
        optimizer.step()
        return norm

    def fresh():
        return optim.SGD([mg.tensor(np.ones(shape, dtype), requires_grad=True) for shape in ((3,), ())], 0.1)

    compiled, rng, plain, given = mg.compile(step), np.random.default_rng(0), fresh(), fresh()
    for _ in range(3):
        x = rng.normal(size=3).astype(dtype)
        one, two = step(plain, x), compiled(given, x)
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_allclose(two, one, rtol=1e-5)
        for p, q in zip(given.params, plain.params, strict=True):
            np.testing.assert_allclose(p.data, q.data, rtol=1e-5)
            np.testing.assert_allclose(p.grad, q.grad, rtol=1e-5)
    assert compiled.cache_info().misses <= 2
