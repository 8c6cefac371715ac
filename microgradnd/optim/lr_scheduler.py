"""Schedules of the learning rate, under PyTorch's names.

Owns: how learning rates follow from the number of the epoch, or from a metric.
Must not own: where a learning rate is kept (`groups.py`).
Read next: `clipping.py`.

A schedule changes a learning rate by the ratio of what it is to be in two epochs, as
PyTorch's do. So several can be chained, and a learning rate that you set yourself goes
on from there.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from microgradnd.optim.optimizer import Optimizer
from microgradnd.settings import (
    Configured,
    as_number,
    count,
    fraction,
    not_negative,
    one_of,
    positive,
    setting,
    shown,
    switch,
)
from microgradnd.tape import current


def increasing(name: str, value: Any) -> list[int]:
    """Return a list of increasing whole numbers."""
    listed = isinstance(value, Sequence) and all(type(x) is int for x in value)
    if not listed or list(value) != sorted(value):
        raise ValueError(f"{name} must be a list of increasing whole numbers, got {value!r}")
    return list(value)


def function(name: str, value: Any) -> Any:
    """Return a function."""
    if not callable(value):
        raise TypeError(f"{name} must be a function of the number of the epoch, got {value!r}")
    return value


class LRScheduler(Configured):
    """The base of the schedules.

    A schedule of your own has a table of settings and a method `at`:

    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> class InverseRoot(lr_scheduler.LRScheduler):
    ...     def at(self, t, lr, base):
    ...         return base / (1 + t) ** 0.5
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = InverseRoot(optimizer)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    >>> optimizer.lr
    0.5

    Attributes
    ----------
    optimizer : Optimizer
    base_lrs : list of float
        The learning rate of each group before any schedule.
    last_epoch : int
        How often `step()` was called.
    """

    subject = "optimizer"
    optimizer: Optimizer
    kept: ClassVar[tuple[str, ...]] = ("last_epoch", "base_lrs")  # of the state, besides the settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = self.given(args, kwargs)
        self.optimizer = settings.pop("optimizer")
        if not isinstance(self.optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__} must be given an optimizer, got {self.optimizer!r}")
        self._settings = self.checked(settings, {})
        self.base_lrs: list[float] = []
        for group in self.optimizer.param_groups:
            group.initial_lr = group["lr"] if group.initial_lr is None else group.initial_lr
            self.base_lrs.append(group.initial_lr)
        self.start()

    def start(self) -> None:
        """Set the learning rates of epoch 0."""
        self.last_epoch = 0
        self.adjust()

    def restart(self) -> None:
        """Set the learning rates of epoch 0, whatever they are now."""
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=False):
            group["lr"] = base
        self.start()

    def setting(self, name: str) -> Any:
        """Return a setting."""
        return self._settings[name]

    def configure(self, **settings: Any) -> None:
        """Check settings, and take all of them over, or none."""
        self._settings |= self.checked(settings, self._settings)

    def at(self, t: int, lr: float, base: float) -> float:
        """Return the learning rate in epoch t, given that of the epoch before and that
        before any schedule.
        """
        raise NotImplementedError

    def adjust(self) -> None:
        """Set the learning rates of this epoch."""
        groups = self.optimizer.param_groups
        self.base_lrs += [group["lr"] for group in groups[len(self.base_lrs) :]]  # of groups that were added
        for group, base in zip(groups, self.base_lrs, strict=True):
            group["lr"] = self.at(self.last_epoch, group["lr"], base)

    def step(self) -> None:
        """Go on to the next epoch: call it after the steps of the optimizer."""
        if (trace := current().trace) is not None:
            raise trace.refusal("a schedule's step()", "Call it outside, between the calls")
        self.last_epoch += 1
        self.adjust()

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the settings, except for functions, and how far it is; the learning
        rate is the optimizer's.
        """
        settings = {name: value for name, value in self._settings.items() if not callable(value)}
        return {**settings, **{name: getattr(self, name) for name in self.kept}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` returned; a ValueError leaves everything as it
        was.
        """
        own = self.state_dict()
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(own):
            raise ValueError(f"a state of {type(self).__name__} must have {', '.join(own)}, got {state_dict!r:.200}")
        for name in self.kept:
            numbers = state_dict[name] if name == "base_lrs" else [state_dict[name]]
            fits = isinstance(numbers, list | tuple) and len(numbers) <= len(self.optimizer.param_groups)
            if not fits or any(as_number(x) is None for x in numbers):
                raise ValueError(f"a state of {type(self).__name__} has {own[name]!r} for {name}, got {numbers!r:.80}")
        self.configure(**{name: value for name, value in state_dict.items() if name in self._settings})
        for name in self.kept:
            setattr(self, name, state_dict[name])


class StepLR(LRScheduler):
    """Multiply the learning rate by a factor every few epochs.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
        After how many epochs, at least 1.
    gamma : float
        The factor.

    See Also
    --------
    MultiStepLR : in epochs of your choice.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule, rates = lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5), []
    >>> for _ in range(5):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    step_size: int = setting(count)
    gamma: float = setting(not_negative, default=0.1)

    def at(self, t: int, lr: float, base: float) -> float:
        return lr * self.gamma if t and t % self.step_size == 0 else lr


class MultiStepLR(LRScheduler):
    """Multiply the learning rate by a factor in some epochs.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : list of int
        The numbers of the epochs, increasing.
    gamma : float
        The factor.

    See Also
    --------
    StepLR : in equal distances.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule, rates = lr_scheduler.MultiStepLR(optimizer, [1, 4], gamma=0.5), []
    >>> for _ in range(5):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 0.5, 0.5, 0.25]
    """

    milestones: list[int] = setting(increasing)
    gamma: float = setting(not_negative, default=0.1)

    def at(self, t: int, lr: float, base: float) -> float:
        return lr * self.gamma ** self.milestones.count(t)


class ExponentialLR(LRScheduler):
    """Multiply the learning rate by a factor in each epoch.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float
        The factor.

    See Also
    --------
    PolynomialLR : reaches 0.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule, rates = lr_scheduler.ExponentialLR(optimizer, gamma=0.5), []
    >>> for _ in range(4):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 0.25, 0.125]
    """

    gamma: float = setting(not_negative)

    def at(self, t: int, lr: float, base: float) -> float:
        return lr * self.gamma if t else lr


class LambdaLR(LRScheduler):
    """Multiply the first learning rate by a function of the epoch.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable
        Takes the number of the epoch, from 0, and returns the factor. It isn't part of
        the state.

    See Also
    --------
    LRScheduler : the base of schedules of your own, with a state.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule, rates = lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)), []
    >>> for _ in range(4):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 0.3333333333333333, 0.25]
    """

    lr_lambda: Callable[[int], float] = setting(function)

    def at(self, t: int, lr: float, base: float) -> float:
        return base * self.lr_lambda(t)


class LinearLR(LRScheduler):
    """Multiply the learning rate by a factor that goes along a straight line: warm-up.

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float
        The factor in epoch 0, greater than 0.
    end_factor : float
        The factor in epoch `total_iters` and later.
    total_iters : int
        How many epochs it takes.

    See Also
    --------
    SequentialLR : another schedule afterwards.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule, rates = lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=3), []
    >>> for _ in range(5):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    start_factor: float = setting(positive, default=1 / 3)
    end_factor: float = setting(not_negative, default=1.0)
    total_iters: int = setting(count, default=5)

    def at(self, t: int, lr: float, base: float) -> float:
        first, rise = self.start_factor, (self.end_factor - self.start_factor) / self.total_iters
        if t == 0:
            return lr * first
        return lr * (first + t * rise) / (first + (t - 1) * rise) if t <= self.total_iters else lr


class PolynomialLR(LRScheduler):
    """Let the learning rate fall to 0 like a power of the epochs that are left.

    Parameters
    ----------
    optimizer : Optimizer
    total_iters : int
        In which epoch it is 0.
    power : float
        The exponent; 1 for a straight line.

    See Also
    --------
    CosineAnnealingLR : flat at both ends.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule, rates = lr_scheduler.PolynomialLR(optimizer, total_iters=4), []
    >>> for _ in range(5):
    ...     rates.append(round(optimizer.lr, 6))
    ...     schedule.step()
    >>> rates
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """

    total_iters: int = setting(count, default=5)
    power: float = setting(not_negative, default=1.0)

    def at(self, t: int, lr: float, base: float) -> float:
        left = self.total_iters - t
        return lr * (left / (left + 1)) ** self.power if t and left >= 0 else lr


class CosineAnnealingLR(LRScheduler):
    """Let the learning rate fall along half a cosine, and rise again in as many epochs.

    In epoch t it is eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        In which epoch it is least.
    eta_min : float
        What it is then.

    See Also
    --------
    CosineAnnealingWarmRestarts : starts again at the top.

    References
    ----------
    Loshchilov, Hutter (2017), SGDR: stochastic gradient descent with warm restarts.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule, rates = lr_scheduler.CosineAnnealingLR(optimizer, T_max=2), []
    >>> for _ in range(5):
    ...     rates.append(round(optimizer.lr, 6))
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 0.0, 0.5, 1.0]
    """

    T_max: int = setting(count)
    eta_min: float = setting(not_negative, default=0.0)

    def at(self, t: int, lr: float, base: float) -> float:
        if t == 0:
            return lr
        if (t - 1) % (2 * self.T_max) == self.T_max:  # it is eta_min now, from which no ratio leads on
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        new, old = (1 + math.cos(math.pi * n / self.T_max) for n in (t, t - 1))
        return new / old * (lr - self.eta_min) + self.eta_min


class CosineAnnealingWarmRestarts(LRScheduler):
    """Let the learning rate fall along half a cosine, again and again.

    Parameters
    ----------
    optimizer : Optimizer
    T_0 : int
        How many epochs the first fall takes.
    T_mult : int
        How many times as long each next one takes.
    eta_min : float
        What the learning rate falls to.

    See Also
    --------
    CosineAnnealingLR : with a way back up.

    References
    ----------
    Loshchilov, Hutter (2017), SGDR: stochastic gradient descent with warm restarts.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule, rates = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2), []
    >>> for _ in range(5):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """

    T_0: int = setting(count)
    T_mult: int = setting(count, default=1)
    eta_min: float = setting(not_negative, default=0.0)

    def at(self, t: int, lr: float, base: float) -> float:
        length = self.T_0
        while t >= length:
            t, length = t - length, length * self.T_mult
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / length)) / 2


class OneCycleLR(LRScheduler):
    """Let the learning rate rise and fall to nearly 0 in one cycle, and momentum fall
    and rise; step after each batch.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float
        The learning rate at the top.
    total_steps : int
        How many steps the cycle has.
    pct_start : float
        The part of them in which it rises, from 0 to below 1.
    anneal_strategy : {"cos", "linear"}
        Along half a cosine, or a straight line.
    cycle_momentum : bool
        Whether to set the momentum, or the first of the betas, as well.
    base_momentum, max_momentum : float
        The momentum at the top, and at both ends.
    div_factor, final_div_factor : float
        `max_lr` by how much the first learning rate is, and that by how much the last.
    three_phase : bool
        Whether it falls as quickly as it rises, to the first learning rate, and then to
        the last.

    Raises
    ------
    ValueError
        If the optimizer has no momentum to set, or after more than `total_steps` steps.

    See Also
    --------
    LinearLR : a warm-up alone.

    References
    ----------
    Smith, Topin (2019), Super-convergence: very fast training of neural networks using large learning rates.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule, rates = lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.6), []
    >>> for _ in range(5):
    ...     rates.append((round(optimizer.lr, 3), round(optimizer.momentum, 2)))
    ...     schedule.step()
    >>> rates
    [(0.04, 0.95), (0.52, 0.9), (1.0, 0.85), (0.5, 0.9), (0.0, 0.95)]
    """

    max_lr: float = setting(not_negative)
    total_steps: int = setting(count)
    pct_start: float = setting(fraction, default=0.3)
    anneal_strategy: str = setting(one_of("cos", "linear"), default="cos")
    cycle_momentum: bool = setting(switch, default=True)
    base_momentum: float = setting(fraction, default=0.85)
    max_momentum: float = setting(fraction, default=0.95)
    div_factor: float = setting(positive, default=25.0)
    final_div_factor: float = setting(positive, default=1e4)
    three_phase: bool = setting(switch, default=False)

    def at(self, t: int, lr: float, base: float) -> float:
        first = self.max_lr / self.div_factor
        return self.between(t, first, self.max_lr, first / self.final_div_factor)

    def adjust(self) -> None:
        """Set the learning rates and momenta of this step."""
        names = [name for name in ("momentum", "betas") if name in self.optimizer.table and self.cycle_momentum]
        if self.cycle_momentum and not names:
            raise ValueError(f"OneCycleLR: {type(self.optimizer).__name__} has no momentum; pass cycle_momentum=False")
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: total_steps={self.total_steps} steps were taken; start another schedule")
        super().adjust()
        momentum = self.between(self.last_epoch, self.max_momentum, self.base_momentum, self.max_momentum)
        for group in self.optimizer.param_groups:
            for name in names:
                group[name] = momentum if name == "momentum" else (momentum, group[name][1])

    def between(self, t: int, first: float, top: float, last: float) -> float:
        """Return what goes from a first value to the top and to the last, in step t."""
        peak, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        phases = [(0.0, peak, first, top), (peak, end, top, last)]
        if self.three_phase:
            phases[1:] = [(peak, 2 * peak, top, first), (2 * peak, end, first, last)]
        since, until, a, b = next((phase for phase in phases if t <= phase[1]), phases[-1])
        # The last `step()` of a loop is one more than there are
        done = min((t - since) / (until - since), 1.0) if until > since else 1.0
        return a + (b - a) * (done if self.anneal_strategy == "linear" else (1 - math.cos(math.pi * done)) / 2)


class ReduceLROnPlateau(LRScheduler):
    """Multiply the learning rate by a factor when a metric no longer improves:
    `step(metrics)`.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether less or more is better.
    factor : float
        The factor, from 0 to below 1.
    patience : int
        How many epochs without improvement are tolerated.
    threshold : float
        By how much a metric must be better than the best so far.
    threshold_mode : {"rel", "abs"}
        Whether that is a part of the best metric, or a difference from it.
    cooldown : int
        How many epochs after a reduction aren't counted.
    min_lr : float
        The least learning rate.
    eps : float
        A smaller reduction isn't made.

    See Also
    --------
    StepLR : after a number of epochs.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule, rates = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1), []
    >>> for loss in (3.0, 2.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    ...     rates.append(optimizer.lr)
    >>> rates
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    mode: str = setting(one_of("min", "max"), default="min")
    factor: float = setting(fraction, default=0.1)
    patience: int = setting(not_negative, default=10)
    threshold: float = setting(not_negative, default=1e-4)
    threshold_mode: str = setting(one_of("rel", "abs"), default="rel")
    cooldown: int = setting(not_negative, default=0)
    min_lr: float = setting(not_negative, default=0.0)
    eps: float = setting(not_negative, default=1e-8)
    kept = ("last_epoch", "base_lrs", "best", "num_bad_epochs", "cooldown_counter")

    def start(self) -> None:
        """Forget all metrics."""
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0
        self.best = math.inf if self.mode == "min" else -math.inf

    def step(self, metrics: float) -> None:  # type: ignore[override]  # it must be given, as in PyTorch
        """Go on to the next epoch, given the metric of this one: a number."""
        value = as_number(metrics)
        if value is None:
            raise TypeError(f"ReduceLROnPlateau: metrics must be a number, got {shown(metrics)}")
        self.metric = value
        super().step()

    def adjust(self) -> None:
        """Look at the metric, and maybe reduce the learning rates."""
        sign = 1 if self.mode == "min" else -1
        margin = sign * self.threshold
        limit = self.best * (1 - margin) if self.threshold_mode == "rel" else self.best - margin
        self.num_bad_epochs += 1
        if sign * self.metric < sign * limit:
            self.best, self.num_bad_epochs = self.metric, 0
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            super().adjust()

    def at(self, t: int, lr: float, base: float) -> float:
        new = max(lr * self.factor, self.min_lr)
        return new if lr - new > self.eps else lr


class ChainedScheduler(LRScheduler):
    """Several schedules at once: each multiplies the learning rate by its factor.

    Parameters
    ----------
    schedulers : list of LRScheduler
        Schedules of one optimizer.

    See Also
    --------
    SequentialLR : one after the other.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> halves = lr_scheduler.ExponentialLR(optimizer, 0.5)
    >>> warmup = lr_scheduler.LinearLR(optimizer, 0.5, total_iters=1)
    >>> schedule, rates = lr_scheduler.ChainedScheduler([halves, warmup]), []
    >>> for _ in range(4):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [0.5, 0.5, 0.25, 0.125]
    """

    subject = "schedulers"

    def __init__(self, schedulers: Sequence[LRScheduler]) -> None:
        self.schedulers = list(schedulers) if isinstance(schedulers, Sequence) else []
        optimizers = {id(s.optimizer) if isinstance(s, LRScheduler) else None for s in self.schedulers}
        if len(optimizers) != 1 or None in optimizers:
            raise ValueError(f"{type(self).__name__} takes a list of schedules of one optimizer, got {schedulers!r}")
        self.optimizer, self._settings = self.schedulers[0].optimizer, {}
        self.last_epoch, self.base_lrs = 0, self.schedulers[0].base_lrs

    def start(self) -> None:
        """Set the learning rates of epoch 0."""
        self.last_epoch = 0
        for schedule in self.schedulers:
            schedule.start()

    def adjust(self) -> None:
        """Set the learning rates of this epoch."""
        for schedule in self.schedulers:
            schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the settings, and the states of the schedules."""
        return {**super().state_dict(), "schedulers": [schedule.state_dict() for schedule in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` returned."""
        super().load_state_dict(state_dict)
        for schedule, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            schedule.load_state_dict(state)


class SequentialLR(ChainedScheduler):
    """Several schedules, one after the other.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : list of LRScheduler
        Schedules of the optimizer.
    milestones : list of int
        In which epochs the second schedule and those after it take over, increasing.

    See Also
    --------
    ChainedScheduler : at once.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> warmup = lr_scheduler.LinearLR(optimizer, 0.5, total_iters=2)
    >>> halves = lr_scheduler.ExponentialLR(optimizer, 0.5)
    >>> schedule, rates = lr_scheduler.SequentialLR(optimizer, [warmup, halves], milestones=[2]), []
    >>> for _ in range(5):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    milestones: list[int] = setting(increasing)

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        super().__init__(schedulers)
        self.configure(milestones=milestones)
        if self.optimizer is not optimizer or len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(
                f"SequentialLR needs schedules of its optimizer and a milestone between any two of them, got "
                f"{len(self.schedulers)} schedules and milestones {self.milestones}"
            )
        self.restart()

    def start(self) -> None:
        """Set the learning rates of epoch 0."""
        self.last_epoch = 0
        self.schedulers[0].restart()

    def adjust(self) -> None:
        """Set the learning rates of this epoch."""
        schedule = self.schedulers[bisect_right(self.milestones, self.last_epoch)]
        if self.last_epoch in self.milestones:
            schedule.restart()
        else:
            schedule.step()
