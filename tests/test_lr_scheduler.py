"""Schedules: their formulas, their state, and changes between compiled steps.

Owns: the behaviour of `microgradnd/optim/lr_scheduler.py`.
Must not own: comparisons with PyTorch (`test_torch_optim.py`), messages
(`test_messages.py`).
Read next: `test_torch_optim.py`.
"""

import inspect
import json
import math

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.optim import lr_scheduler as s

# Each with the learning rate in epoch t, for a learning rate of 0.5 before
SCHEDULES = {
    "step": (lambda o: s.StepLR(o, 3, gamma=0.5), lambda t: 0.5 * 0.5 ** (t // 3)),
    "multi-step": (lambda o: s.MultiStepLR(o, np.array([2, 2, 5])), lambda t: 0.5 * 0.1 ** (2 * (t >= 2) + (t >= 5))),
    "exponential": (lambda o: s.ExponentialLR(o, 0.9), lambda t: 0.5 * 0.9**t),
    "lambda": (lambda o: s.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 0.5 / (1 + t)),
    "linear": (lambda o: s.LinearLR(o, 0.1, 0.6, 5), lambda t: 0.5 * (0.1 + 0.5 * min(t, 5) / 5)),
    "polynomial": (lambda o: s.PolynomialLR(o, 8, power=2), lambda t: 0.5 * max(1 - t / 8, 0) ** 2),
    "cosine": (
        lambda o: s.CosineAnnealingLR(o, 4, eta_min=0.1),
        lambda t: 0.1 + 0.4 * (1 + math.cos(math.pi * t / 4)) / 2,
    ),
    "restarts": (
        lambda o: s.CosineAnnealingWarmRestarts(o, 2, T_mult=2),
        lambda t: 0.5 * (1 + math.cos(math.pi * (t / 2 if t < 2 else (t - 2) / 4 if t < 6 else (t - 6) / 8))) / 2,
    ),
    "one cycle": (
        lambda o: s.OneCycleLR(o, 1.0, 13, pct_start=5 / 13, anneal_strategy="linear", div_factor=10),
        lambda t: 0.1 + 0.9 * t / 4 if t <= 4 else 1.0 + (1e-5 - 1.0) * (t - 4) / 8,
    ),
    "chained": (
        lambda o: s.ChainedScheduler([s.LinearLR(o, 0.5, total_iters=4), s.ExponentialLR(o, 0.9)]),
        lambda t: 0.5 * (0.5 + 0.5 * min(t, 4) / 4) * 0.9**t,
    ),
    "sequential": (
        lambda o: s.SequentialLR(o, [s.LinearLR(o, 0.5, total_iters=4), s.ExponentialLR(o, 0.9)], [4]),
        lambda t: 0.5 * (0.5 + 0.5 * t / 4) if t < 4 else 0.5 * 0.9 ** (t - 4),
    ),
    "sequence of chains": (
        lambda o: s.SequentialLR(
            o,
            [s.ChainedScheduler([s.LinearLR(o, 0.5, total_iters=2)]), s.ChainedScheduler([s.ExponentialLR(o, 0.9)])],
            milestones=[3],
        ),
        lambda t: 0.5 * (0.5 + 0.5 * min(t, 2) / 2) if t < 3 else 0.5 * 0.9 ** (t - 3),
    ),
    "plateau": (
        lambda o: StepOnPlateau(s.ReduceLROnPlateau(o, factor=0.5, patience=1, min_lr=0.1)),
        lambda t: 0.5 if t < 3 else 0.25 if t < 5 else 0.125 if t < 7 else 0.1,
    ),
}
every_schedule = pytest.mark.parametrize(("make", "rate"), SCHEDULES.values(), ids=SCHEDULES)


class StepOnPlateau:
    """A schedule whose metric never improves."""

    def __init__(self, schedule):
        self.schedule = schedule

    def step(self):
        self.schedule.step(1.0)

    def __getattr__(self, name):
        return getattr(self.schedule, name)


def made():
    return optim.SGD([nn.Parameter([1.0, 2.0])], lr=0.5, momentum=0.9)


@every_schedule
def test_each_epoch_has_its_learning_rate(make, rate):
    optimizer = made()
    schedule = make(optimizer)
    for t in range(13):
        np.testing.assert_allclose(optimizer.lr, rate(t), rtol=1e-12, atol=1e-15)
        assert schedule.get_last_lr() == [optimizer.lr]
        assert schedule.last_epoch == t
        schedule.step()


@every_schedule
def test_a_schedule_continues_from_its_state(make, rate):
    optimizer = made()
    schedule = make(optimizer)
    for _ in range(4):
        schedule.step()
    saved = [json.loads(json.dumps(schedule.state_dict())), optimizer.state_dict()]  # plain numbers, texts, lists
    other = made()
    resumed = make(other)
    other.load_state_dict(saved[1])
    resumed.load_state_dict(saved[0])
    for t in range(4, 10):
        np.testing.assert_allclose(other.lr, rate(t), rtol=1e-12)
        assert json.dumps(resumed.state_dict()) == json.dumps(schedule.state_dict())
        schedule.step()
        resumed.step()


@every_schedule
def test_a_compiled_step_follows_the_schedule(make, rate):
    """From the first change on a setting is a variable, with a single program."""

    def train(optimizer, x):
        optimizer.zero_grad()
        np.sum(optimizer.params[0] * x).backward()
        optimizer.step()

    compiled = mg.compile(train)
    plain, given = made(), made()
    schedules = make(plain), make(given)
    for t in range(8):
        train(plain, np.full(2, float(t)))
        compiled(given, np.full(2, float(t)))
        np.testing.assert_allclose(given.params[0].data, plain.params[0].data, rtol=1e-12)
        for schedule in schedules:
            schedule.step()
    assert compiled.cache_info().misses <= 2


def test_groups_keep_their_ratio_and_an_added_one_takes_part():
    w, v, u = (nn.Parameter([1.0]) for _ in range(3))
    optimizer = optim.SGD([{"params": [w]}, {"params": [v], "lr": 0.1}], lr=1.0)
    schedule = s.ExponentialLR(optimizer, 0.5)
    schedule.step()
    assert schedule.get_last_lr() == [0.5, 0.05]
    optimizer.add_param_group({"params": [u], "lr": 8.0})
    schedule.step()
    assert schedule.get_last_lr() == [0.25, 0.025, 4.0]


def test_a_schedule_continues_from_a_learning_rate_that_you_set():
    optimizer = made()
    schedule = s.ExponentialLR(optimizer, 0.5)
    schedule.step()
    optimizer.lr = 8.0
    schedule.step()
    assert optimizer.lr == 4.0


def test_settings_are_attributes_that_are_checked():
    schedule = s.StepLR(made(), 3)
    assert (schedule.step_size, schedule.gamma) == (3, 0.1)
    schedule.gamma = np.float32(0.5)
    assert schedule.gamma == 0.5
    with pytest.raises(ValueError, match="StepLR: step_size must be a positive integer, got 0"):
        schedule.step_size = 0
    before = schedule.state_dict()
    with pytest.raises(ValueError, match="StepLR: gamma must be"):
        schedule.load_state_dict(before | {"step_size": 5, "gamma": -1.0})
    assert schedule.state_dict() == before
    with pytest.raises(TypeError, match=r"StepLR takes \(optimizer, step_size, gamma=0\.1\), got every=3"):
        s.StepLR(made(), every=3)


@pytest.mark.parametrize("make", [SCHEDULES["chained"][0], SCHEDULES["sequential"][0]], ids=["chained", "sequential"])
def test_a_state_with_one_wrong_schedule_changes_none(make):
    schedule = make(made())
    schedule.step()
    before = schedule.state_dict()
    first, second = before["schedulers"]
    for inner in ([first | {"last_epoch": 7}, second | {"gamma": -1.0}], [first], None, [first, None]):
        with pytest.raises(ValueError, match=r"LR: gamma must be|must have"):
            schedule.load_state_dict(before | {"last_epoch": 7, "schedulers": inner})
        assert schedule.state_dict() == before


@pytest.mark.parametrize("n", [2, 3, 10, 17])
def test_a_cosine_that_rises_from_0_comes_back_to_it(n):
    """By rounding, the rate would end slightly below."""
    optimizer = made()
    optimizer.lr = 0.0
    schedule = s.CosineAnnealingLR(optimizer, n, eta_min=1e-3)
    for t in range(5 * n):
        np.testing.assert_allclose(optimizer.lr, 1e-3 * (1 - math.cos(math.pi * t / n)) / 2, rtol=1e-9, atol=1e-16)
        schedule.step()


@pytest.mark.parametrize("kind", ["Adam", "Lion"])
def test_one_cycle_moves_the_first_of_the_betas(kind):
    optimizer = getattr(optim, kind)([nn.Parameter([1.0])], betas=(0.9, 0.95))
    schedule = s.OneCycleLR(optimizer, 0.1, 11, pct_start=5 / 11)
    seen = []
    for _ in range(11):
        seen.append(optimizer.betas)
        schedule.step()
    assert [betas[1] for betas in seen] == [0.95] * 11
    np.testing.assert_allclose([seen[0][0], seen[4][0], seen[10][0]], [0.95, 0.85, 0.95])


def test_a_plateau_counts_epochs_without_improvement():
    optimizer = made()
    schedule = s.ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=0, cooldown=1, threshold=0.1)
    rates = []
    for metric in (1.0, 2.0, 2.1, 2.1, float("nan"), mg.tensor(9.0), np.array([0.0])):
        schedule.step(metric)
        rates.append(optimizer.lr)
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]
    assert schedule.best == 9.0


class Decayed(optim.SGD):
    """A user's optimizer, with parameters of its own."""

    def __init__(self, params, lr, *, half_life):
        super().__init__(params, lr=lr * 0.5 ** (1 / half_life))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (s.StepLR, ["optimizer", "step_size", "gamma"]),
        (s.ChainedScheduler, ["schedulers"]),
        (s.SequentialLR, ["optimizer", "schedulers", "milestones"]),
        (optim.Lion, ["params", "lr", "betas", "weight_decay", "maximize"]),
        (Decayed, ["params", "lr", "half_life"]),
    ],
)
def test_signatures_are_those_of_a_call(kind, parameters):
    assert list(inspect.signature(kind).parameters) == parameters


def test_settings_of_an_optimizer_with_parameters_of_its_own():
    assert Decayed([nn.Parameter([1.0])], 0.1, half_life=1.0).lr == 0.05
