"""Dropout.

Owns: the function and the layer.
Must not own: how a draw is recorded in a compiled function (`../anew.py`).
Read next: `../anew.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.anew import Rng, anew_like
from microgradnd.failures import explained
from microgradnd.nn.arguments import X, operand
from microgradnd.nn.calls import check_settings, checked
from microgradnd.nn.init import generator
from microgradnd.nn.module import Module


@explained
def dropout(x: Any, p: float = 0.5, training: bool = True, *, rng: Rng = None) -> Any:
    """Set elements to 0 with probability p, and divide the others by 1 - p.

    So the expectation stays the same. A compiled function chooses other elements in
    each call.

    Parameters
    ----------
    x : array_like or Tensor
        Floating-point or complex numbers, of any shape.
    p : float
        The probability, from 0 to 1; with 1 all elements become 0.
    training : bool
        If False, x is returned unchanged.
    rng : numpy.random.Generator, optional
        The random generator; by default a new one with fresh entropy.

    Returns
    -------
    Tensor or array
        Of the shape and dtype of x.

    Raises
    ------
    ValueError
        If p isn't a probability.
    TypeError
        If `rng` isn't a Generator, or x holds other numbers.

    Notes
    -----
    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from
    overfitting".

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.nn import functional as F
    >>> F.dropout(np.ones(4), 0.5, rng=np.random.default_rng(0))
    array([2., 0., 0., 0.])
    """
    check_settings("dropout", p=p, training=training)
    given = None if rng is None else generator(rng)
    if not training or p == 0:
        return x
    x = operand("dropout", x, kinds="fc")  # integers can't be divided by 1 - p
    scale = 1 / (1 - p) if p < 1 else 0.0

    dtype = x.dtype

    def mask(shape: tuple[int, ...]) -> Any:
        return np.where(generator(given).random(shape) >= p, scale, 0).astype(dtype)

    return x * anew_like(x, mask)


class Dropout(Module):
    """Sets elements to 0 with probability p in training, and does nothing else.

    Parameters
    ----------
    p : float
        The probability, from 0 to 1.
    rng : numpy.random.Generator, optional
        The random generator; by default a new one with fresh entropy.

    Raises
    ------
    ValueError
        If p isn't a probability.
    TypeError
        If `rng` isn't a Generator.

    See Also
    --------
    microgradnd.nn.functional.dropout : the function.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.Dropout(0.5, rng=np.random.default_rng(0))
    >>> layer(np.ones(4))
    array([2., 0., 0., 0.])
    >>> layer.eval()(np.ones(4))
    array([1., 1., 1., 1.])
    """

    _shown = "p={p}"

    @checked
    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        self.p = p
        self.rng = generator(rng)

    def forward(self, x: X) -> X:
        """Return x with elements set to 0 in training, or unchanged in evaluation."""
        return dropout(x, self.p, self.training, rng=self.rng)
