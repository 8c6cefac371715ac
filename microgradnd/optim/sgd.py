"""Stochastic gradient descent.

Owns: its formula.
Must not own: the parameters and their layout (`optimizer.py`).
Read next: `adam.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from microgradnd.optim.optimizer import Optimizer
from microgradnd.optim.settings import Check, not_negative, switch
from microgradnd.tape import current
from microgradnd.tensor import Tensor


class SGD(Optimizer):
    """Gradient descent, with momentum in PyTorch's convention.

    With gradient g (plus `weight_decay` times the parameter), each step is
    b <- momentum b + g (from b = 0, so that b starts as the gradient), w <- w - lr d, where d is b, or
    g + momentum b for Nesterov's form; without momentum d is g.

    Parameters
    ----------
    params : iterable of Tensor
        Leaves, such as `model.parameters()`. One whose `.grad` is None is left as it is.
    lr : float
        The learning rate, at least 0; the attribute `lr` can be changed between steps.
    momentum : float
        At least 0; 0 for none.
    nesterov : bool
        Whether to look ahead; needs a momentum.
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
    >>> optimizer = optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([0.5, 1. ])
    """

    checks: ClassVar[dict[str, Check]] = {
        "lr": not_negative,
        "momentum": not_negative,
        "nesterov": switch,
        "weight_decay": not_negative,
    }
    momentum: float
    nesterov: bool
    weight_decay: float

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0,
        nesterov: bool = False,
        weight_decay: float = 0,
    ) -> None:
        self.configure(lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
        super().__init__(params, ("momentum_buffer",))

    def check_together(self, settings: Mapping[str, Any]) -> None:
        """Raise for Nesterov's form without a momentum."""
        if settings.get("nesterov") and not settings.get("momentum"):
            raise ValueError("SGD: nesterov=True needs a momentum; pass one, such as momentum=0.9")

    @property
    def keeps_state(self) -> bool:
        """Whether the formula needs what it kept from the step before."""
        return self.momentum != 0

    def formula(self, g: Any, t: Any, momentum_buffer: Any = None) -> tuple[Any, ...]:
        """Return the step, and the new state, in a function that is being compiled."""
        lr = self._rate.astype(g.dtype)
        if momentum_buffer is None:
            return (g * lr,)
        buffer = momentum_buffer * self.momentum + g
        return (g + buffer * self.momentum if self.nesterov else buffer) * lr, buffer

    def step(self) -> None:
        """Update the parameters that have a gradient, in place."""
        if current().trace is not None:
            self._record()
            return
        momentum = self.momentum
        for flat in self._flats:
            live = flat.gather(self.weight_decay, 1 if momentum else self.lr)
            for _, chunks in flat.advance(live) if momentum else ():
                for g, buffer, scratch in chunks:
                    np.multiply(buffer, momentum, buffer)
                    np.add(buffer, g, buffer)
                    if self.nesterov:
                        np.multiply(buffer, momentum, scratch)
                        np.add(g, scratch, g)
                        np.multiply(g, self.lr, g)
                    else:
                        np.multiply(buffer, self.lr, g)
            flat.subtract(live)
