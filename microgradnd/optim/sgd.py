"""Gradient descent with momentum, and Lion, which uses only the sign of a momentum.

Owns: the formulas of SGD and Lion, and both forms of weight decay.
Must not own: the parameters and their layout (`flat.py`).
Read next: `adam.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from microgradnd.optim.optimizer import Optimizer
from microgradnd.settings import not_negative, pair, setting, switch


def ascending(s: Any, g: Any) -> Any:
    """Return the gradient to descend: its negative where the loss is maximised."""
    return -g if s.maximize else g


def penalised(s: Any, w: Any, g: Any) -> Any:
    """Return the gradient to descend, plus that of weight_decay / 2 |w|^2."""
    g = ascending(s, g)
    return s.weight_decay * w + g if s.weight_decay else g


def decayed(s: Any, w: Any, step: Any) -> Any:
    """Return a step with weight decay that is separate from the gradient."""
    return step + s.lr * s.weight_decay * w if s.weight_decay else step


class SGD(Optimizer):
    """Gradient descent, with momentum in PyTorch's convention.

    With gradient g (plus `weight_decay` times the parameter), each step is
    b <- momentum b + (1 - dampening) g (in the first step b <- g), w <- w - lr d,
    where d is b, or g + momentum b in Nesterov's form. Without momentum, d is g.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Leaves, such as `model.parameters()`; or groups of them, each a dict of "params"
        and settings of its own. A parameter whose `.grad` is None stays unchanged.
    lr : float
        The learning rate, at least 0. You can change the attribute `lr` between steps,
        and every other setting too.
    momentum : float
        At least 0; 0 for none.
    nesterov : bool
        Whether to look ahead, which needs a momentum and no dampening.
    weight_decay : float
        The factor of the L2 penalty, at least 0.
    dampening : float
        The gradient is multiplied by 1 - dampening before it joins the momentum.
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
    Adam : scales each element's step by its past gradients.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton (2013), On the importance of initialization and
    momentum in deep learning.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([0.5, 1. ])
    """

    momentum: float = setting(not_negative, default=0)
    nesterov: bool = setting(switch, default=False)
    weight_decay: float = setting(not_negative, default=0)
    dampening: float = setting(not_negative, default=0, kw_only=True)
    maximize: bool = setting(switch, default=False, kw_only=True)
    states: ClassVar = {"momentum_buffer": 0}

    @staticmethod
    def formula(s: Any, w: Any, g: Any, t: Any) -> Any:
        g = penalised(s, w, g)
        if not s.momentum:
            return s.lr * g
        new = (1 - s.dampening * (t > 1)) * g if s.dampening else g
        s.momentum_buffer = s.momentum * s.momentum_buffer + new
        return s.lr * (g + s.momentum * s.momentum_buffer if s.nesterov else s.momentum_buffer)

    @classmethod
    def check_together(cls, settings: Mapping[str, Any]) -> None:
        """Raise for Nesterov's form without a momentum, or with dampening."""
        if settings["nesterov"] and (not settings["momentum"] or settings["dampening"]):
            raise ValueError("SGD: nesterov=True needs a momentum and no dampening; pass momentum=0.9, for example")


class Lion(Optimizer):
    """Steps of equal size; the signs of a momentum give their direction.

    With gradient g, each step is
    w <- w - lr (sign(beta1 m + (1 - beta1) g) + weight_decay w), then
    m <- beta2 m + (1 - beta2) g, starting from m = 0.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Leaves, such as `model.parameters()`; or groups of them, each a dict of "params"
        and settings of its own. A parameter whose `.grad` is None stays unchanged.
    lr : float
        The learning rate, at least 0. Use a third to a tenth of Adam's.
    betas : (float, float)
        The weight of the momentum in a step, and the share of it kept for the next
        step, from 0 to below 1.
    weight_decay : float
        The share of a parameter subtracted in each step, times lr; at least 0.
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
    AdamW : scales steps by past gradients.

    References
    ----------
    Chen et al. (2023), Symbolic discovery of optimization algorithms, algorithm 2.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = optim.Lion([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([ 0.75, -1.75])
    """

    lr: float = setting(not_negative, default=1e-4)
    betas: tuple[float, float] = setting(pair, default=(0.9, 0.99))
    weight_decay: float = setting(not_negative, default=0)
    maximize: bool = setting(switch, default=False, kw_only=True)
    states: ClassVar = {"exp_avg": 0}

    @staticmethod
    def formula(s: Any, w: Any, g: Any, t: Any) -> Any:
        g = ascending(s, g)
        beta1, beta2 = s.betas
        step = s.lr * np.sign(beta1 * s.exp_avg + (1 - beta1) * g)
        s.exp_avg = beta2 * s.exp_avg + (1 - beta2) * g
        return decayed(s, w, step)
