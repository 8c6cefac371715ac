"""Optimizers: their formulas for any shape and number of steps, what they skip, their state, and their messages.

Owns: the behaviour of `microgradnd/optim/`.
Must not own: runs of whole networks (`test_oracle_runs.py`), comparisons with PyTorch (`test_torch_nn.py`).
Read next: `test_oracle_runs.py`.
"""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.optim import flat as shared
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
every_optimizer = pytest.mark.parametrize(
    ("optimizer", "by_hand", "options"),
    OPTIMIZERS,
    ids=lambda v: getattr(v, "__name__", None) or ",".join(map(str, v)) or "default",
)


@st.composite
def problems(draw):
    """Draw parameters of any shapes and the gradients of some steps; None where a parameter has none in a step."""
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
def test_a_parameter_without_a_gradient_is_left_as_it_is(optimizer, by_hand, options):
    used, unused = (mg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    ours = optimizer([used, unused], **options)
    used.grad = np.ones(2)
    loss = np.sum(unused * 2)
    ours.step()
    assert unused.data.tolist() == [1.0, 2.0]
    assert used.data[0] != 1.0
    loss.backward()  # it wasn't made newer either


@every_optimizer
def test_a_gradient_that_is_a_tensor_is_taken(optimizer, by_hand, options):
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
    with pytest.raises(RuntimeError, match=r"'w' of shape \(2,\) was changed \(by an optimizer step"):
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
def test_a_run_goes_on_where_its_state_was_taken(optimizer, by_hand, options):
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
    state = adam.state_dict()
    assert list(state) == ["state", "param_groups"]
    settings = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False}
    assert state["param_groups"] == [settings | {"params": [0, 1]}]
    first, second = state["state"][0], state["state"][1]
    assert list(first) == list(second) == ["step", "exp_avg", "exp_avg_sq"]
    assert (first["step"], second["step"]) == (0, 1)
    assert (first["exp_avg"].shape, second["exp_avg"].shape) == ((2,), ())
    assert (first["exp_avg"].dtype, second["exp_avg"].dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(second["exp_avg"], 0.2)
    np.testing.assert_allclose(second["exp_avg_sq"], 0.004)


def test_a_state_that_is_not_there_is_none():
    """As in PyTorch: of an optimizer that keeps nothing, or that has taken no step; loading it starts anew."""
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
    """Return the state of an optimizer of parameters of some shapes that has taken a step."""
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
            "isn't the state of this SGD: .* with dampening, .*; got .*amsgrad",
        ),
        (lambda: stepped((2,)), "it must be of 2 parameters with .*; got 1 parameters with dampening"),
        (lambda: stepped((1,), (1,), momentum=0.9), r"momentum_buffer of parameter 0 has shape \(1,\), and must have"),
        (lambda: entry(exp_avg=1.0), "the state of SGD for a parameter has step, momentum_buffer, got {'step'"),
        (lambda: entry(step=[3]), r"step of parameter 0 has shape \(1,\), and must have \(\)"),
        (lambda: {"lr": 0.1}, "it must be of 2 parameters with .*; got {'lr': 0.1}"),
        (lambda: fitting() | {"param_groups": "ab"}, "it must be of 2 parameters with .*; got {'state'"),
        (lambda: fitting() | {"state": [1.0]}, "it must be of 2 parameters with .*; got {'state'"),
        (lambda: fitting() | {"state": {0: [1.0]}}, r"for a parameter has .*, got \[1.0\]"),
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


def test_repr_says_what_it_is_set_to():
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
        (list, ValueError, r"given no parameters: .*can be used once: call it again, or keep list\(model"),
        (exhausted, ValueError, "given no parameters: the list is empty, or a generator that has been used up"),
        (lambda: [W * 2], TypeError, r"parameter 0, of shape \(2,\), was computed .* only a leaf can be updated"),
        (lambda: [W, np.ones(2)], TypeError, r"parameter 1 is a ndarray, not a Tensor; pass model\.parameters\(\)"),
        (lambda: nn.Linear(1, 1).named_parameters(), TypeError, r"parameter 0 is a tuple, not a Tensor; pass model"),
        (lambda: W, TypeError, r"takes a list of parameters, not one Tensor; put it into a list: \[w\]"),
        (lambda: nn.Linear(1, 1), TypeError, r"takes a list of parameters, not a Linear; pass model\.parameters\(\)"),
        (lambda: {"w": W}, TypeError, "takes a list of parameters, not a dict; pass"),
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


SETTINGS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "Adam": {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.01},
}
NUMBERS = [None, float("nan"), float("inf"), -1.0, "fast", 1j, True, [0.1], {}, np.array([0.1, 0.2])]
WRONG = {
    **dict.fromkeys(["lr", "momentum", "eps", "weight_decay"], NUMBERS),
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
    """In the constructor, as an attribute, and from a state; what was set before stays."""
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
        for name in names.keys() - {"nesterov"}:
            optimizer = made(kind)
            setattr(optimizer, name, (number, number) if name == "betas" else number)
            assert getattr(optimizer, name) == ((0.25, 0.25) if name == "betas" else 0.25)
            assert type(getattr(optimizer, name)) in (float, tuple)
            made(kind).load_state_dict(optimizer.state_dict())


def test_a_learning_rate_of_a_variable_is_refused():
    with pytest.raises(
        TypeError, match=r"SGD: lr must be a number, got a Tensor that requires a gradient; pass t\.item"
    ):
        made("SGD").lr = mg.tensor(0.1, requires_grad=True)


def test_settings_that_do_not_go_together_are_refused_one_by_one_too():
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
        (lambda: optim.SGD([W]), r"SGD takes \(params, lr, .*\), which lacks.*: 'lr'"),
        (lambda: optim.Adam([W], 1, (0, 0), 0, 0, False, True), "Adam takes .*, got 7 positional arguments"),
    ],
)
def test_stray_arguments_are_explained(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (None, TypeError, r"SGD\.load_state_dict must be given the dict that state_dict\(\) returned, got None; read"),
        ("run.pkl", TypeError, "must be given the dict that .* got 'run.pkl'; read a file first"),
        (entry(step=1.5), TypeError, "step must hold numbers of dtype int64, got float64"),
        (entry(momentum_buffer=np.array(["a", "b"])), TypeError, "momentum_buffer must hold numbers"),
        (entry(momentum_buffer=np.array([1j, 0])), TypeError, "dtype float64, got complex128"),
    ],
)
def test_what_is_no_state_changes_nothing(state, error, message):
    w, b = nn.Parameter([1.0, 2.0]), nn.Parameter(1.0)
    sgd = optim.SGD([w, b], 0.5, momentum=0.9)
    w.grad = np.ones(2)
    sgd.step()
    before = sgd.state_dict()
    with pytest.raises(error, match=message):
        sgd.load_state_dict(state)
    assert repr(sgd.state_dict()) == repr(before)


# Half precision, and arrays that are protected


@every_optimizer
def test_half_precision_computes_in_single(optimizer, by_hand, options):
    """As far as half precision can hold the parameter; small gradients and eps don't vanish."""
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
def test_a_protected_array_is_not_written_to(optimizer, by_hand, options):
    array = np.array([1.0, 2.0])
    array.flags.writeable = False
    w = mg.tensor([0.0, 0.0], requires_grad=True)
    w.data = array
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
    """Compiled too, where the learning rate is an array; the parameters and their state are shared, as in PyTorch."""
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
def test_a_gradient_that_a_hook_has_spoilt_is_refused(make, change):
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
    message = r"the gradient of 'w' has shape \(1, 2\) and dtype float64, where the parameter has \(2,\) and float64"
    with pytest.raises(ValueError, match=message):
        make([w]).step()
    assert w.data.tolist() == [1.0, 2.0]


def test_each_parameter_comes_back_to_its_own_number_of_steps():
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
