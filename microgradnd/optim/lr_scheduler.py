"""Schedules of the learning rate, under PyTorch's names.

Owns: computing learning rates from the number of the epoch, or from a metric.
Must not own: where a learning rate is kept (`groups.py`).
Read next: `clipping.py`.

A schedule multiplies the learning rate by the ratio of its values in two successive
epochs, as in PyTorch. So several schedules can be chained, and a learning rate that you
set yourself is the one that changes from then on.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from microgradnd.failures import all_explained
from microgradnd.optim.optimizer import Optimizer
from microgradnd.settings import (
    Configured,
    as_integer,
    as_number,
    check_of,
    count,
    fraction,
    not_negative,
    number,
    one_of,
    positive,
    setting,
    share,
    shown,
    switch,
)
from microgradnd.tape import current


def increasing(name: str, value: Any) -> list[int]:
    """Return a list of increasing integers, or raise."""
    found = [as_integer(x) for x in value] if isinstance(value, Sequence | np.ndarray) else [None]
    listed = [x for x in found if x is not None]
    if len(listed) < len(found) or listed != sorted(listed):
        raise ValueError(f"{name} must be a list of increasing integers, got {value!r}")
    return listed


function = check_of("a function of the number of the epoch", lambda value: value if callable(value) else None)


@all_explained
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
        The number of calls of `step()`.
    """

    subject = "optimizer"
    optimizer: Optimizer
    kept: ClassVar[tuple[str, ...]] = ("last_epoch", "base_lrs")  # of the state, besides the settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = self.given(args, kwargs)
        self.optimizer = settings.pop("optimizer")
        if not isinstance(self.optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: optimizer must be an Optimizer, such as optim.SGD(...), got {self.optimizer!r}"
            )
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
        """Reset the learning rates to those of epoch 0."""
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=False):
            group["lr"] = base
        self.start()

    def setting(self, name: str) -> Any:
        """Return a setting."""
        return self._settings[name]

    def configure(self, **settings: Any) -> None:
        """Check settings, and set either all of them or none."""
        self._settings |= self.checked(settings, self._settings)

    def at(self, t: int, lr: float, base: float) -> float:
        """Return the learning rate in epoch t.

        Parameters
        ----------
        t : int
            The number of the epoch.
        lr : float
            The current learning rate, that of the previous epoch.
        base : float
            The learning rate before any schedule.
        """
        raise NotImplementedError(f"{type(self).__name__} has no at(t, lr, base); define it to return a learning rate")

    def adjust(self) -> None:
        """Set the learning rates of this epoch."""
        groups = self.optimizer.param_groups
        self.base_lrs += [group["lr"] for group in groups[len(self.base_lrs) :]]  # of groups added since
        for group, base in zip(groups, self.base_lrs, strict=True):
            group["lr"] = self.at(self.last_epoch, group["lr"], base)

    def step(self) -> None:
        """Go on to the next epoch. Call it after the steps of the optimizer."""
        if (trace := current().trace) is not None:
            raise trace.refusal("a schedule's step()", "Call it outside, between the calls")
        self.last_epoch += 1
        self.adjust()

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the settings, except for functions, and the progress.

        The learning rates are part of the optimizer's state.
        """
        settings = {name: value for name, value in self._settings.items() if not callable(value)}
        return {**settings, **{name: getattr(self, name) for name in self.kept}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict()` returned; a ValueError changes nothing."""
        self.check_state(state_dict)
        self.configure(**{name: value for name, value in state_dict.items() if name in self._settings})
        for name in self.kept:
            setattr(self, name, state_dict[name])

    def check_state(self, state_dict: Any) -> None:
        """Raise unless a state fits."""
        own = self.state_dict()
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(own):
            raise ValueError(f"a state of {type(self).__name__} must have {', '.join(own)}, got {state_dict!r:.200}")
        for name in self.kept:
            numbers = state_dict[name] if name == "base_lrs" else [state_dict[name]]
            fits = isinstance(numbers, list | tuple) and len(numbers) <= len(self.optimizer.param_groups)
            if not fits or any(as_number(x) is None for x in numbers):
                raise ValueError(
                    f"a state of {type(self).__name__} must have numbers for {name}, such as {own[name]!r}, got "
                    f"{numbers!r:.80}"
                )
        self.checked({name: value for name, value in state_dict.items() if name in self._settings}, self._settings)


class StepLR(LRScheduler):
    """Multiply the learning rate by a factor every few epochs.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
        The number of epochs from one change to the next, at least 1.
    gamma : float
        The factor.

    See Also
    --------
    MultiStepLR : changes it in epochs of your choice.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
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
    """Multiply the learning rate by a factor in certain epochs.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : list of int
        The numbers of the epochs, increasing.
    gamma : float
        The factor.

    See Also
    --------
    StepLR : changes it at equal intervals.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = lr_scheduler.MultiStepLR(optimizer, [1, 4], gamma=0.5)
    >>> rates = []
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
    >>> schedule = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> rates = []
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
    """Multiply the initial learning rate by a function of the epoch.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable
        Takes the number of the epoch, from 0, and returns the factor. The function
        isn't part of the state.

    See Also
    --------
    LRScheduler : the base class for schedules of your own, with a state.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 0.3333333333333333, 0.25]
    """

    lr_lambda: Callable[[int], float] = setting(function)

    def at(self, t: int, lr: float, base: float) -> float:
        return base * number("LambdaLR: the result of lr_lambda", self.lr_lambda(t))


class LinearLR(LRScheduler):
    """Multiply the learning rate by a factor that changes linearly: a warm-up.

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float
        The factor in epoch 0, greater than 0.
    end_factor : float
        The factor from epoch `total_iters` on.
    total_iters : int
        The number of epochs from `start_factor` to `end_factor`.

    See Also
    --------
    SequentialLR : continues with another schedule.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> rates = []
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
    """Let the learning rate fall to 0 as a power of the number of epochs left.

    Parameters
    ----------
    optimizer : Optimizer
    total_iters : int
        The epoch in which it reaches 0.
    power : float
        The exponent; 1 for a straight line.

    See Also
    --------
    CosineAnnealingLR : is flat at both ends.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = lr_scheduler.PolynomialLR(optimizer, total_iters=4)
    >>> rates = []
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
    """Let the learning rate fall along half a cosine, and rise again along the other.

    In epoch t it is eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        The epoch in which it is lowest.
    eta_min : float
        The lowest learning rate.

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
    >>> schedule = lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> rates = []
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
        if (t - 1) % (2 * self.T_max) == self.T_max:  # lr is eta_min now, so the ratio is undefined
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        new, old = (1 + math.cos(math.pi * n / self.T_max) for n in (t, t - 1))
        rate = new / old * (lr - self.eta_min) + self.eta_min
        # Where the cosine is back at a base of 0, rounding may end below it
        return 0.0 if math.isclose(rate, 0, abs_tol=1e-12 * self.eta_min) else rate


class CosineAnnealingWarmRestarts(LRScheduler):
    """Let the learning rate fall along half a cosine, again and again from the top.

    Parameters
    ----------
    optimizer : Optimizer
    T_0 : int
        The number of epochs that the first fall takes.
    T_mult : int
        The ratio of the length of each fall to the one before.
    eta_min : float
        The lowest learning rate.

    See Also
    --------
    CosineAnnealingLR : rises as smoothly as it falls.

    References
    ----------
    Loshchilov, Hutter (2017), SGDR: stochastic gradient descent with warm restarts.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> rates = []
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
    """Let the learning rate rise, then fall to nearly 0, in one cycle.

    The momentum falls while the learning rate rises, and the reverse. Call `step()`
    after each batch.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float
        The highest learning rate.
    total_steps : int
        The number of steps in the cycle.
    pct_start : float
        The share of the steps in which it rises, from 0 to below 1.
    anneal_strategy : {"cos", "linear"}
        Whether it follows half a cosine or a straight line.
    cycle_momentum : bool
        Whether to set the momentum, or the first of the betas, too.
    base_momentum, max_momentum : float
        The momentum at the highest learning rate, and at both ends.
    div_factor, final_div_factor : float
        The first learning rate is `max_lr / div_factor`; the last one is the first
        divided by `final_div_factor`.
    three_phase : bool
        Whether it falls to the first learning rate as quickly as it rises, and only
        then to the last.

    Raises
    ------
    ValueError
        If the optimizer has no momentum to set, or after more than `total_steps` steps.

    See Also
    --------
    LinearLR : a warm-up alone.

    References
    ----------
    Smith, Topin (2019), Super-convergence: very fast training of neural networks using
    large learning rates.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> optimizer = optim.SGD([w], lr=1.0, momentum=0.9)
    >>> schedule = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=5, pct_start=0.6)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates.append((round(optimizer.lr, 3), round(optimizer.momentum, 2)))
    ...     schedule.step()
    >>> rates
    [(0.04, 0.95), (0.52, 0.9), (1.0, 0.85), (0.5, 0.9), (0.0, 0.95)]
    """

    max_lr: float = setting(not_negative)
    total_steps: int = setting(count)
    pct_start: float = setting(share, default=0.3)
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
            raise ValueError(
                f"OneCycleLR: all of its total_steps={self.total_steps} steps are done; make another schedule"
            )
        super().adjust()
        momentum = self.between(self.last_epoch, self.max_momentum, self.base_momentum, self.max_momentum)
        for group in self.optimizer.param_groups:
            for name in names:
                group[name] = momentum if name == "momentum" else (momentum, group[name][1])

    def between(self, t: int, first: float, top: float, last: float) -> float:
        """Return the value in step t of a curve from `first` to `top` to `last`."""
        peak, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        phases = [(0.0, peak, first, top), (peak, end, top, last)]
        if self.three_phase:
            phases[1:] = [(peak, 2 * peak, top, first), (2 * peak, end, first, last)]
        since, until, a, b = next((phase for phase in phases if t <= phase[1]), phases[-1])
        # The last `step()` of a loop goes one beyond the end
        done = min((t - since) / (until - since), 1.0) if until > since else 1.0
        return a + (b - a) * (done if self.anneal_strategy == "linear" else (1 - math.cos(math.pi * done)) / 2)


@all_explained
class ReduceLROnPlateau(LRScheduler):
    """Multiply the learning rate by a factor when a metric stops improving.

    Pass the metric to `step(metrics)`.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether a lower or a higher metric is better.
    factor : float
        The factor, from 0 to below 1.
    patience : int
        The number of epochs without improvement that are tolerated.
    threshold : float
        The amount by which a metric must beat the best so far.
    threshold_mode : {"rel", "abs"}
        Whether the threshold is a share of the best metric, or a difference from it.
    cooldown : int
        The number of epochs after a reduction that aren't counted.
    min_lr : float
        The lowest learning rate.
    eps : float
        Reductions smaller than this aren't made.

    See Also
    --------
    StepLR : changes it after a number of epochs.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> rates = []
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

    def step(self, metrics: float) -> None:  # type: ignore[override]  # required, as in PyTorch
        """Go on to the next epoch, given this epoch's metric: a number."""
        value = as_number(metrics)
        if value is None:
            raise TypeError(f"ReduceLROnPlateau: metrics must be a number, such as a loss, got {shown(metrics)}")
        self.metric = value
        super().step()

    def adjust(self) -> None:
        """Compare the metric with the best, and reduce the rates if need be."""
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
    """Several schedules at once: each multiplies the learning rate by its own factor.

    Parameters
    ----------
    schedulers : list of LRScheduler
        Schedules of one optimizer; not `ReduceLROnPlateau`, which needs a metric.

    See Also
    --------
    SequentialLR : runs them one after the other.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> halves = lr_scheduler.ExponentialLR(optimizer, 0.5)
    >>> warmup = lr_scheduler.LinearLR(optimizer, 0.5, total_iters=1)
    >>> schedule = lr_scheduler.ChainedScheduler([halves, warmup])
    >>> rates = []
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
            raise ValueError(
                f"{type(self).__name__}: schedulers must be a list of schedules of one optimizer, got {schedulers!r}"
            )
        if any(isinstance(schedule, ReduceLROnPlateau) for schedule in self.schedulers):
            raise ValueError(
                f"{type(self).__name__}: ReduceLROnPlateau needs a metric; call its step(metric) by itself"
            )
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
        """Restore what `state_dict()` returned; a ValueError changes nothing."""
        super().load_state_dict(state_dict)
        for schedule, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            schedule.load_state_dict(state)

    def check_state(self, state_dict: Any) -> None:
        """Raise unless a state and the states in it fit."""
        super().check_state(state_dict)
        inner = state_dict["schedulers"]
        if not isinstance(inner, list | tuple) or len(inner) != len(self.schedulers):
            raise ValueError(
                f"a state of {type(self).__name__} must have the states of {len(self.schedulers)} schedules, got "
                f"{inner!r:.80}"
            )
        for schedule, state in zip(self.schedulers, inner, strict=True):
            schedule.check_state(state)


class SequentialLR(ChainedScheduler):
    """Several schedules, one after the other.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : list of LRScheduler
        Schedules of the optimizer.
    milestones : list of int
        The epochs in which the second schedule and each later one take over,
        increasing.

    See Also
    --------
    ChainedScheduler : runs them at once.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> from microgradnd.optim import lr_scheduler
    >>> optimizer = optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> warmup = lr_scheduler.LinearLR(optimizer, 0.5, total_iters=2)
    >>> halves = lr_scheduler.ExponentialLR(optimizer, 0.5)
    >>> schedule = lr_scheduler.SequentialLR(optimizer, [warmup, halves], [2])
    >>> rates = []
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
                f"SequentialLR needs schedules of its own optimizer, and one milestone between each two of them, got "
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


__all__ = sorted(cls.__name__ for cls in [*vars().values()] if isinstance(cls, type) and issubclass(cls, LRScheduler))

if not TYPE_CHECKING:

    def __getattr__(name):
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("optim.lr_scheduler", name, __all__))
