"""PyTorch as a second oracle: optimizers, schedules and clipping, in float64.

Owns: comparisons of `optim` with PyTorch's, step by step.
Must not own: anything that can be checked without PyTorch.
Read next: `test_optim.py`.
"""

import itertools

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.optim import lr_scheduler

torch = pytest.importorskip("torch", reason='PyTorch is a second oracle: pip install "microgradnd[oracle]"')

STEPS = 100
SHAPES = ((3, 4), (4,), (), (2, 1))


@pytest.fixture(autouse=True)
def in_double_precision():
    """NAdam's product of momenta has PyTorch's default precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def every(**choices):
    """Return all combinations of some settings."""
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


CASES = {
    "SGD": [
        options
        for options in every(
            lr=[0.05], momentum=[0, 0.9], nesterov=[False, True], dampening=[0, 0.3], weight_decay=[0, 0.1]
        )
        if not options["nesterov"] or (options["momentum"] and not options["dampening"])
    ]
    + [{"lr": 0.05, "momentum": 0.9, "maximize": True}],
    "Adam": every(lr=[1e-3, 0.1], betas=[(0.9, 0.999), (0.5, 0.7)], eps=[1e-8, 1e-2], weight_decay=[0, 0.1])
    + every(lr=[0.1], amsgrad=[True], maximize=[False, True], weight_decay=[0, 0.1]),
    "AdamW": [{}, *every(lr=[0.1], amsgrad=[False, True], maximize=[False, True], weight_decay=[0, 0.1])],
    "NAdam": [
        {},
        *every(lr=[0.1], weight_decay=[0, 0.1], momentum_decay=[4e-3, 0.1], decoupled_weight_decay=[False, True]),
    ]
    + [{"lr": 0.1, "maximize": True}],
    "RMSprop": [{}, *every(lr=[0.01], momentum=[0, 0.9], centered=[False, True], weight_decay=[0, 0.1], alpha=[0.9])]
    + [{"maximize": True}],
    "Adagrad": [{}, *every(lr=[0.1], lr_decay=[0, 0.01], weight_decay=[0, 0.1], initial_accumulator_value=[0, 0.5])]
    + [{"maximize": True}],
    "Adadelta": [{}, *every(lr=[0.5], rho=[0.9, 0.5], eps=[1e-6, 1e-3], weight_decay=[0, 0.1]), {"maximize": True}],
}
EVERY = [(name, options) for name, cases in CASES.items() for options in cases]
every_case = pytest.mark.parametrize(("name", "options"), EVERY, ids=str)
LAST = [(name, cases[-2]) for name, cases in CASES.items()]  # one of each


def close(ours, theirs, rtol=1e-10):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=rtol, atol=1e-12)


def variables(dtype=float, seed=0):
    """Return the same parameters, ours and PyTorch's."""
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    ours = [mg.tensor(value.copy(), requires_grad=True) for value in values]
    return ours, [torch.tensor(value, requires_grad=True) for value in values]


def gradients(seed=1, dtype=float):
    """Yield the gradients of each step, now and then None for some parameter."""
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        drawn = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
        yield [None if (step + i) % 7 == 3 and step < 50 else g for i, g in enumerate(drawn)]


def run(step, ours, one, theirs, two, between=lambda: None, tolerance=1e-10):
    """Take the same steps with both, and compare the parameters after each."""
    for drawn in gradients(dtype=ours[0].dtype):
        step(ours, one, drawn)
        for q, g in zip(theirs, drawn, strict=True):
            q.grad = None if g is None else torch.tensor(g)
        two.step()
        between()
        for p, q in zip(ours, theirs, strict=True):
            close(p.data, q, tolerance)


def eagerly(parameters, optimizer, drawn):
    for p, g in zip(parameters, drawn, strict=True):
        p.grad = g
    optimizer.step()


def train(parameters, optimizer, given, drawn):
    """Take a step with given gradients."""
    optimizer.zero_grad()
    sum(np.sum(parameters[i] * g) for i, g in zip(given, drawn, strict=True)).backward()
    optimizer.step()


def compiled(backend):
    program = mg.compile(train, backend=backend)

    def step(parameters, optimizer, drawn):
        given = tuple(i for i, g in enumerate(drawn) if g is not None)
        program(parameters, optimizer, given, [drawn[i] for i in given])

    return step, program


def state_is_the_same(one, two):
    state = one.state_dict()["state"]
    for i, entries in two.state_dict()["state"].items():
        for key, value in entries.items():
            if value is not None:  # SGD without momentum has a buffer of None there
                np.testing.assert_allclose(state[i][key], value.numpy(), rtol=1e-10, atol=1e-12)


@every_case
def test_a_hundred_steps_and_the_state_after_them(name, options):
    ours, theirs = variables()
    options = {"lr": 0.01} | options
    one, two = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    run(eagerly, ours, one, theirs, two)
    state_is_the_same(one, two)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("name", "options"), LAST, ids=str)
def test_a_hundred_compiled_steps(name, options, backend):
    if backend == "numba":
        pytest.importorskip("numba", reason='the backend needs numba: pip install "microgradnd[numba]"')
    ours, theirs = variables()
    options = {"lr": 0.01} | options
    one, two = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    step, _ = compiled(backend)
    run(step, ours, one, theirs, two)
    state_is_the_same(one, two)


@every_case
def test_settings_and_defaults_are_those_of_pytorch(name, options):
    ours, theirs = variables()
    one, two = getattr(optim, name)(ours, lr=0.01), getattr(torch.optim, name)(theirs, lr=0.01)
    assert {key: two.defaults[key] for key in one.defaults} == one.defaults
    states = getattr(torch.optim, name)(theirs, **{"lr": 0.01} | options)
    for q in theirs:
        q.grad = torch.ones_like(q)
    states.step()
    kept = {key for key, value in states.state_dict()["state"].get(0, {}).items() if value is not None} - {"step"}
    assert kept <= set(one.states)


def grouped(parameters, **settings):
    return [
        {"params": parameters[:1], "lr": 0.2, **settings},
        {"params": parameters[1:3], "weight_decay": 0.05},
        {"params": parameters[3:], "lr": 0.002},
    ]


@pytest.mark.parametrize("backend", [None, "numpy"])
@pytest.mark.parametrize(("name", "options"), LAST, ids=str)
def test_groups_have_settings_of_their_own(name, options, backend):
    ours, theirs = variables()
    options = {"lr": 0.01} | options
    one = getattr(optim, name)(grouped(ours), **options)
    two = getattr(torch.optim, name)(grouped(theirs), **options)

    def between():
        for optimizer in (one, two):
            optimizer.param_groups[1]["lr"] *= 0.99

    run(compiled(backend)[0] if backend else eagerly, ours, one, theirs, two, between)
    state_is_the_same(one, two)
    for own, group in zip(one.param_groups, two.param_groups, strict=True):
        assert {key: group[key] for key in own if key != "params"} == {key: own[key] for key in own if key != "params"}


@pytest.mark.parametrize(("name", "options"), LAST, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_other_dtypes(name, options, dtype):
    rng = np.random.default_rng(0)

    def draw():
        imaginary = 1j * rng.normal(size=5) if dtype == np.complex128 else 0
        return (rng.normal(size=5) + imaginary).astype(dtype)

    w = mg.tensor(draw(), requires_grad=True)
    v = torch.tensor(w.data.copy(), requires_grad=True)
    options = {"lr": 0.01} | options
    one, two = getattr(optim, name)([w], **options), getattr(torch.optim, name)([v], **options)
    for _ in range(20):
        w.grad = draw()
        v.grad = torch.tensor(w.grad)
        one.step()
        two.step()
    np.testing.assert_allclose(w.data, v.detach().numpy(), rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_plain_gradient_descent_is_equal_where_its_arithmetic_is():
    """If the learning rate is a power of two, no product is rounded, fused or not."""
    rng = np.random.default_rng(0)
    w = mg.tensor(rng.normal(size=50), requires_grad=True)
    v = torch.tensor(w.data, requires_grad=True)
    for options in ({}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}, {"weight_decay": 0.25}):
        one, two = optim.SGD([w], 2**-5, **options), torch.optim.SGD([v], 2**-5, **options)
        for _ in range(20):
            w.grad = rng.normal(size=50)
            v.grad = torch.tensor(w.grad)
            one.step()
            two.step()
        np.testing.assert_array_equal(w.data, v.detach().numpy())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AdamW", {}),
        ("Adam", {"amsgrad": True}),
        ("SGD", {}),
        ("SGD", {"momentum": 0.9}),
        ("RMSprop", {"centered": True, "momentum": 0.9}),
        ("Adagrad", {}),
        ("Adadelta", {}),
    ],
    ids=str,
)
def test_a_state_of_pytorch_can_be_loaded(name, options):
    ours, theirs = variables()
    one, two = getattr(optim, name)(ours, lr=0.1), getattr(torch.optim, name)(theirs, lr=0.3, **options)
    for drawn in itertools.islice(gradients(), 7):
        for q, g in zip(theirs, drawn, strict=True):
            q.grad = None if g is None else torch.tensor(g)
        two.step()
    one.load_state_dict(two.state_dict())
    for p, q in zip(ours, theirs, strict=True):
        p.data = q.detach().numpy().copy()
    run(eagerly, ours, one, theirs, two)


# Schedules

SCHEDULES = {
    "step": lambda s, o: s.StepLR(o, 7, gamma=0.5),
    "multi-step": lambda s, o: s.MultiStepLR(o, [3, 10, 10, 40], gamma=0.3),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.97),
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 0.9**epoch),
    "warm-up": lambda s, o: s.LinearLR(o),
    "linear": lambda s, o: s.LinearLR(o, start_factor=0.1, end_factor=0.7, total_iters=30),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=40, power=2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=15, eta_min=1e-3),
    "one-cycle that only rises": lambda s, o: s.OneCycleLR(o, 0.2, 120, pct_start=1.0, cycle_momentum=False),
    "cosine to 0": lambda s, o: s.CosineAnnealingLR(o, T_max=30),
    "warm restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=10, eta_min=1e-4),
    "longer restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=5, T_mult=2),
    "one cycle": lambda s, o: s.OneCycleLR(o, max_lr=0.4, total_steps=101),
    "three phases": lambda s, o: s.OneCycleLR(o, 0.3, 101, three_phase=True, anneal_strategy="linear", pct_start=0.4),
    "chained": lambda s, o: s.ChainedScheduler(
        [s.LinearLR(o, 0.1, total_iters=20), s.ExponentialLR(o, 0.95), s.CosineAnnealingLR(o, 10)]
    ),
    "sequential": lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, total_iters=10), s.CosineAnnealingLR(o, 30), s.StepLR(o, 5, 0.5), s.ExponentialLR(o, 0.9)],
        milestones=[10, 45, 70],
    ),
}
OPTIMIZERS = [("SGD", {"lr": 0.1, "momentum": 0.9}), ("AdamW", {"lr": 0.1})]


@pytest.mark.parametrize("backend", [None, "numpy"])
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=["SGD", "AdamW"])
@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_a_hundred_epochs_of_a_schedule(make, name, options, backend):
    """A compiled step is traced at most once more, for any changes between calls."""
    ours, theirs = variables()
    one, two = getattr(optim, name)(grouped(ours), **options), getattr(torch.optim, name)(grouped(theirs), **options)
    first, second = make(lr_scheduler, one), make(torch.optim.lr_scheduler, two)
    step, program = compiled(backend) if backend else (eagerly, None)

    def between():
        first.step()
        second.step()
        for own, group in zip(one.param_groups, two.param_groups, strict=True):
            for key in ("lr", "momentum", "betas"):
                if key in own:
                    np.testing.assert_allclose(own[key], group[key], rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(first.get_last_lr(), second.get_last_lr(), rtol=1e-10, atol=1e-15)

    run(step, ours, one, theirs, two, between)
    if program is not None:
        patterns = {tuple(g is None for g in drawn) for drawn in gradients()}
        assert program.cache_info().misses <= 2 * len(patterns)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    "options", [{}, {"patience": 2, "cooldown": 3, "factor": 0.5, "min_lr": 0.01, "threshold": 0.1}]
)
def test_a_plateau(mode, threshold_mode, options):
    ours, theirs = variables()
    one, two = optim.SGD(grouped(ours), lr=0.1), torch.optim.SGD(grouped(theirs), lr=0.1)
    options = options | {"mode": mode, "threshold_mode": threshold_mode}
    first = lr_scheduler.ReduceLROnPlateau(one, **options)
    second = torch.optim.lr_scheduler.ReduceLROnPlateau(two, **options)
    metrics = np.random.default_rng(0).normal(size=STEPS).cumsum() + 3
    metrics[20] = np.nan
    for metric in metrics:
        first.step(metric)
        second.step(float(metric))
        assert [group["lr"] for group in one.param_groups] == [group["lr"] for group in two.param_groups]
        state, expected = first.state_dict(), second.state_dict()
        assert {key: expected[key] for key in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")} == {
            key: state[key] for key in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        }


# Clipping


@pytest.mark.parametrize("order", [1.0, 2.0, 3.5, float("inf")])
@pytest.mark.parametrize("limit", [0.1, 1.0, 1e3, float("inf")])
def test_clipping_by_the_norm(order, limit):
    ours, theirs = variables()
    for drawn in itertools.islice(gradients(), 5):
        for p, q, g in zip(ours, theirs, drawn, strict=True):
            p.grad, q.grad = g, None if g is None else torch.tensor(g)
        norm = optim.clip_grad_norm_(ours, limit, norm_type=order)
        np.testing.assert_allclose(norm, torch.nn.utils.clip_grad_norm_(theirs, limit, norm_type=order), rtol=1e-12)
        for p, q in zip(ours, theirs, strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                close(p.grad, q.grad, 1e-12)


def test_clipping_by_value():
    ours, theirs = variables()
    for drawn in itertools.islice(gradients(), 5):
        for p, q, g in zip(ours, theirs, drawn, strict=True):
            p.grad, q.grad = g, None if g is None else torch.tensor(g)
        optim.clip_grad_value_(ours, 0.7)
        torch.nn.utils.clip_grad_value_(theirs, 0.7)
        for p, q in zip(ours, theirs, strict=True):
            if p.grad is not None:
                np.testing.assert_array_equal(p.grad, q.grad.numpy())


def test_a_network_trains_as_it_does_there():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 3)), rng.integers(0, 2, 30)
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    ours = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    ours.load_state_dict(theirs.state_dict())
    one, two = optim.Adam(ours.parameters(), lr=0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    for _ in range(50):
        one.zero_grad()
        two.zero_grad()
        loss = nn.functional.cross_entropy(ours(x), labels)
        expected = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(labels))
        loss.backward()
        expected.backward()
        one.step()
        two.step()
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-9)
