"""Adam.

Owns: its formula.
Must not own: the parameters and their layout (`optimizer.py`).
Read next: `../transforms.py`, for gradients as values instead of attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from microgradnd.optim.optimizer import Optimizer
from microgradnd.optim.settings import Check, not_negative, two_fractions
from microgradnd.tape import current
from microgradnd.tensor import Tensor


class Adam(Optimizer):
    """Adaptive moment estimation (Kingma and Ba, 2015), in PyTorch's convention.

    With gradient g (plus `weight_decay` times the parameter), step t is
    m <- m + (1 - beta1) (g - m), v <- beta2 v + (1 - beta2) g^2,
    w <- w - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps).

    Parameters
    ----------
    params : iterable of Tensor
        Leaves, such as `model.parameters()`. One whose `.grad` is None is left as it is, its step count too.
    lr : float
        The learning rate, at least 0; the attribute `lr` can be changed between steps.
    betas : (float, float)
        How much of the mean gradient and of the mean squared gradient is kept each step, from 0 to below 1.
    eps : float
        Added to the root, which may be 0; at least 0.
    weight_decay : float
        The factor of the L2 penalty, at least 0.

    Raises
    ------
    ValueError
        If a setting is out of range; if there are no parameters, one occurs twice, or none requires a gradient.
    TypeError
        If a parameter isn't a leaf Tensor.

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

    checks: ClassVar[dict[str, Check]] = {
        "lr": not_negative,
        "betas": two_fractions,
        "eps": not_negative,
        "weight_decay": not_negative,
    }
    betas: tuple[float, float]
    eps: float
    weight_decay: float

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        self.configure(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__(params, ("exp_avg", "exp_avg_sq"))

    def formula(self, g: Any, t: Any, exp_avg: Any, exp_avg_sq: Any) -> tuple[Any, ...]:
        """Return the t-th step, and the new moments, in a function that is being compiled."""
        beta1, beta2 = self.betas
        m = exp_avg + (g - exp_avg) * (1 - beta1)
        v = exp_avg_sq * beta2 + g * (1 - beta2) * g
        step_size = self._rate / (1 - np.float_power(beta1, t))
        root = np.sqrt(1 - np.float_power(beta2, t))
        return m * step_size.astype(g.dtype) / (np.sqrt(v) / root.astype(g.dtype) + self.eps), m, v

    def step(self) -> None:
        """Update the parameters that have a gradient, in place."""
        if current().trace is not None:
            self._record()
            return
        beta1, beta2 = self.betas
        for flat in self._flats:
            live = flat.gather(self.weight_decay)
            for t, chunks in flat.advance(live):
                step_size = self.lr / (1 - beta1**t)
                root = math.sqrt(1 - beta2**t)
                for g, m, v, scratch in chunks:
                    np.subtract(g, m, scratch)
                    np.multiply(scratch, 1 - beta1, scratch)
                    np.add(m, scratch, m)
                    np.multiply(v, beta2, v)
                    np.multiply(g, 1 - beta2, scratch)
                    np.multiply(scratch, g, scratch)
                    np.add(v, scratch, v)
                    np.sqrt(v, scratch)
                    np.divide(scratch, root, scratch)
                    np.add(scratch, self.eps, scratch)
                    np.multiply(m, step_size, g)
                    np.divide(g, scratch, g)
            flat.subtract(live)
