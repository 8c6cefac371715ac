"""Optimizers that scale steps by the squares of past gradients.

Owns: the formulas of Adagrad, RMSprop and Adadelta.
Must not own: the parameters and their layout (`flat.py`).
Read next: `lr_scheduler.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from microgradnd.optim.optimizer import Optimizer
from microgradnd.optim.sgd import penalised
from microgradnd.settings import fraction, not_negative, setting, switch


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients.

    With gradient g (plus `weight_decay` times the parameter), step t is
    v <- v + g^2, w <- w - lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps),
    starting from v = initial_accumulator_value.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Leaves, such as `model.parameters()`; or groups of them, each a dict of "params"
        and settings of its own. A parameter whose `.grad` is None stays unchanged, as
        does its step count.
    lr : float
        The learning rate, at least 0.
    lr_decay : float
        How quickly the learning rate falls, at least 0.
    weight_decay : float
        The factor of the L2 penalty, at least 0.
    initial_accumulator_value : float
        The initial value of the sum of squares, at least 0.
    eps : float
        Added to the root, so that nothing is divided by 0; at least 0.
    maximize : bool
        Whether to maximise the loss rather than minimise it.

    Raises
    ------
    ValueError
        If a setting is out of range; if there are no parameters, one occurs twice, or
        none requires a gradient.
    TypeError
        If a parameter isn't a leaf Tensor.

    See Also
    --------
    RMSprop : forgets old gradients.

    References
    ----------
    Duchi, Hazan, Singer (2011), Adaptive subgradient methods for online learning and
    stochastic optimization.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(6)
    array([0.9, 1.9])
    """

    lr: float = setting(not_negative, default=1e-2)
    lr_decay: float = setting(not_negative, default=0)
    weight_decay: float = setting(not_negative, default=0)
    initial_accumulator_value: float = setting(not_negative, default=0)
    eps: float = setting(not_negative, default=1e-10)
    maximize: bool = setting(switch, default=False, kw_only=True)
    states: ClassVar = {"sum": "initial_accumulator_value"}

    @staticmethod
    def formula(s: Any, w: Any, g: Any, t: Any) -> Any:
        g = penalised(s, w, g)
        s.sum = s.sum + g * g
        return s.lr / (1 + (t - 1) * s.lr_decay) * g / (np.sqrt(s.sum) + s.eps)


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients.

    With gradient g (plus `weight_decay` times the parameter), each step is
    v <- alpha v + (1 - alpha) g^2, d = g / (sqrt(v) + eps), w <- w - lr d,
    starting from v = 0. With `centered`, the square of the mean gradient is subtracted
    from v under the root. With `momentum`, b <- momentum b + d takes the place of d.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        As in `Adagrad`.
    lr : float
        The learning rate, at least 0.
    alpha : float
        The share of the mean square that each step keeps, from 0 to below 1.
    eps : float
        Added to the root, so that nothing is divided by 0; at least 0.
    weight_decay : float
        The factor of the L2 penalty, at least 0.
    momentum : float
        At least 0; 0 for none.
    centered : bool
        Whether to divide steps by a standard deviation, instead of the root of a mean
        square.
    maximize : bool
        Whether to maximise the loss rather than minimise it.

    Raises
    ------
    ValueError, TypeError
        As in `Adagrad`.

    See Also
    --------
    Adam : uses a mean of the gradients too.

    References
    ----------
    Hinton (2012), lecture 6e of Neural networks for machine learning; Graves (2013),
    Generating sequences with recurrent neural networks, for `centered`.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.RMSprop([w], lr=0.01)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(6)
    array([0.9, 1.9])
    """

    lr: float = setting(not_negative, default=1e-2)
    alpha: float = setting(fraction, default=0.99)
    eps: float = setting(not_negative, default=1e-8)
    weight_decay: float = setting(not_negative, default=0)
    momentum: float = setting(not_negative, default=0)
    centered: bool = setting(switch, default=False)
    maximize: bool = setting(switch, default=False, kw_only=True)
    states: ClassVar = {"square_avg": 0, "momentum_buffer": 0, "grad_avg": 0}

    @staticmethod
    def formula(s: Any, w: Any, g: Any, t: Any) -> Any:
        g = penalised(s, w, g)
        variance = s.square_avg = s.alpha * s.square_avg + (1 - s.alpha) * g * g
        if s.centered:
            s.grad_avg = s.grad_avg + (1 - s.alpha) * (g - s.grad_avg)
            variance = variance - s.grad_avg * s.grad_avg
        step = g / (np.sqrt(variance) + s.eps)
        if s.momentum:
            step = s.momentum_buffer = s.momentum * s.momentum_buffer + step
        return s.lr * step


class Adadelta(Optimizer):
    """Steps in the parameters' own units: past steps divided by past gradients.

    With gradient g (plus `weight_decay` times the parameter), each step is
    v <- rho v + (1 - rho) g^2, d = sqrt(u + eps) / sqrt(v + eps) g,
    u <- rho u + (1 - rho) d^2, w <- w - lr d, starting from u = v = 0.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        As in `Adagrad`.
    lr : float
        The factor of the steps, at least 0.
    rho : float
        The share of the mean squares that each step keeps, from 0 to below 1.
    eps : float
        Added under the roots, at least 0.
    weight_decay : float
        The factor of the L2 penalty, at least 0.
    maximize : bool
        Whether to maximise the loss rather than minimise it.

    Raises
    ------
    ValueError, TypeError
        As in `Adagrad`.

    See Also
    --------
    RMSprop : needs a learning rate.

    References
    ----------
    Zeiler (2012), ADADELTA: an adaptive learning rate method.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Adadelta([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(4)
    array([0.9968, 1.9968])
    """

    lr: float = setting(not_negative, default=1.0)
    rho: float = setting(fraction, default=0.9)
    eps: float = setting(not_negative, default=1e-6)
    weight_decay: float = setting(not_negative, default=0)
    maximize: bool = setting(switch, default=False, kw_only=True)
    states: ClassVar = {"square_avg": 0, "acc_delta": 0}

    @staticmethod
    def formula(s: Any, w: Any, g: Any, t: Any) -> Any:
        g = penalised(s, w, g)
        s.square_avg = s.rho * s.square_avg + (1 - s.rho) * g * g
        step = np.sqrt(s.acc_delta + s.eps) / np.sqrt(s.square_avg + s.eps) * g
        s.acc_delta = s.rho * s.acc_delta + (1 - s.rho) * step * step
        return s.lr * step
