"""Adam and its relatives: a mean of gradients, scaled by a mean of their squares.

Owns: the formulas of Adam, AdamW and NAdam.
Must not own: the parameters and their layout (`flat.py`).
Read next: `adagrad.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from microgradnd.optim.optimizer import Optimizer
from microgradnd.optim.sgd import ascending, decayed, penalised
from microgradnd.settings import not_negative, pair, setting, switch


def moments(s: Any, g: Any, t: Any) -> tuple[Any, Any, Any]:
    """Update both moments; return the mean, a divisor, and its factor c.

    The divisor is sqrt(v / (1 - beta2^t)) + eps, times c = sqrt(1 - beta2^t). So the
    step must be multiplied by c. A step has other numbers as factors, and c joins them
    before any of them meets a vector.
    """
    beta1, beta2 = s.betas
    s.exp_avg = s.exp_avg + (1 - beta1) * (g - s.exp_avg)
    s.exp_avg_sq = beta2 * s.exp_avg_sq + (1 - beta2) * g * g
    square = s.exp_avg_sq
    if getattr(s, "amsgrad", False):
        square = s.max_exp_avg_sq = np.maximum(s.max_exp_avg_sq, square)
    c = np.sqrt(1 - beta2**t)
    return s.exp_avg, np.sqrt(square) + s.eps * c, c


def adam_step(s: Any, g: Any, t: Any) -> Any:
    """Return a step of Adam without weight decay."""
    mean, divisor, c = moments(s, g, t)
    return s.lr * c / (1 - s.betas[0] ** t) * mean / divisor


class Adam(Optimizer):
    """Adaptive moment estimation, in PyTorch's convention.

    With gradient g (plus `weight_decay` times the parameter), step t is
    m <- m + (1 - beta1) (g - m), v <- beta2 v + (1 - beta2) g^2,
    w <- w - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps),
    starting from m = v = 0.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Leaves, such as `model.parameters()`; or groups of them, each a dict of "params"
        and settings of its own. A parameter whose `.grad` is None stays unchanged, as
        does its step count.
    lr : float
        The learning rate, at least 0. You can change the attribute `lr` between steps,
        and every other setting too.
    betas : (float, float)
        The shares of the mean gradient and of the mean squared gradient that each step
        keeps, from 0 to below 1.
    eps : float
        Added to the root, so that nothing is divided by 0; at least 0.
    weight_decay : float
        The factor of the L2 penalty, at least 0.
    amsgrad : bool
        Whether to divide by the root of the largest v so far, instead of the latest.
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
    AdamW : weight decay that isn't scaled.
    NAdam : Nesterov's momentum.

    References
    ----------
    Kingma, Ba (2015), Adam: a method for stochastic optimization.
    Reddi, Kale, Kumar (2018), On the convergence of Adam and beyond, for amsgrad.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(6)
    array([0.9, 1.9])
    """

    lr: float = setting(not_negative, default=1e-3)
    betas: tuple[float, float] = setting(pair, default=(0.9, 0.999))
    eps: float = setting(not_negative, default=1e-8)
    weight_decay: float = setting(not_negative, default=0)
    amsgrad: bool = setting(switch, default=False)
    maximize: bool = setting(switch, default=False, kw_only=True)
    states: ClassVar = {"exp_avg": 0, "exp_avg_sq": 0, "max_exp_avg_sq": 0}

    @staticmethod
    def formula(s: Any, w: Any, g: Any, t: Any) -> Any:
        return adam_step(s, penalised(s, w, g), t)


class AdamW(Adam):
    """Adam with weight decay that is separate from the gradient, and so not scaled.

    Each step is a step of `Adam` without decay, then w <- w - lr weight_decay w, with w
    as it was before the step.

    Parameters
    ----------
    params, lr, betas, eps, amsgrad, maximize
        As in `Adam`.
    weight_decay : float
        The share of a parameter subtracted in each step, times lr; at least 0.

    Raises
    ------
    ValueError, TypeError
        As in `Adam`.

    See Also
    --------
    Adam : adds the decay to the gradient.

    References
    ----------
    Loshchilov, Hutter (2019), Decoupled weight decay regularization.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(6)
    array([0.85, 1.8 ])
    """

    weight_decay: float = setting(not_negative, default=1e-2)

    @staticmethod
    def formula(s: Any, w: Any, g: Any, t: Any) -> Any:
        return decayed(s, w, adam_step(s, ascending(s, g), t))


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, which grows over the steps.

    Let mu(t) = beta1 (1 - 0.96^(momentum_decay t) / 2), and P the product of mu up to
    step t. With g, m and v as in `Adam`, step t is
    w <- w - lr ((1 - mu(t)) / (1 - P) g + mu(t + 1) / (1 - P mu(t + 1)) m)
    / (sqrt(v / (1 - beta2^t)) + eps).

    Parameters
    ----------
    params, betas, eps, maximize
        As in `Adam`.
    lr : float
        The learning rate, at least 0.
    weight_decay : float
        The factor of the L2 penalty, at least 0; with `decoupled_weight_decay`, as in
        `AdamW`.
    momentum_decay : float
        How quickly the momentum grows, at least 0.
    decoupled_weight_decay : bool
        Whether weight decay is separate from the gradient.

    Raises
    ------
    ValueError, TypeError
        As in `Adam`.

    See Also
    --------
    Adam : plain momentum.

    References
    ----------
    Dozat (2016), Incorporating Nesterov momentum into Adam.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.NAdam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data.round(3)
    array([0.894, 1.894])
    """

    lr: float = setting(not_negative, default=2e-3)
    betas: tuple[float, float] = setting(pair, default=(0.9, 0.999))
    eps: float = setting(not_negative, default=1e-8)
    weight_decay: float = setting(not_negative, default=0)
    momentum_decay: float = setting(not_negative, default=4e-3)
    decoupled_weight_decay: bool = setting(switch, default=False)
    maximize: bool = setting(switch, default=False, kw_only=True)
    states: ClassVar = {"exp_avg": 0, "exp_avg_sq": 0, "mu_product": 1}

    @staticmethod
    def formula(s: Any, w: Any, g: Any, t: Any) -> Any:
        g = ascending(s, g) if s.decoupled_weight_decay else penalised(s, w, g)
        mu, mu_next = (s.betas[0] * (1 - 0.5 * 0.96 ** (s.momentum_decay * n)) for n in (t, t + 1))
        s.mu_product = mu * s.mu_product
        mean, divisor, c = moments(s, g, t)
        lr = s.lr * c
        ahead = lr * (1 - mu) * g / (1 - s.mu_product) + lr * mu_next * mean / (1 - mu_next * s.mu_product)
        step = ahead / divisor
        return decayed(s, w, step) if s.decoupled_weight_decay else step
