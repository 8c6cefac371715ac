"""Clipping of gradients, between `backward()` and `step()`.

Owns: clipping by the norm of all gradients, and element by element.
Must not own: how a step uses gradients (`sgd.py`, `adam.py`, `adagrad.py`).
Read next: `minimizing.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from microgradnd.settings import number_check, positive
from microgradnd.tensor import Tensor

above_zero = number_check("a number greater than 0, or inf", lambda x: x > 0)


def with_gradients(name: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Return the parameters that have a gradient."""
    given = [parameters] if isinstance(parameters, Tensor | str) or not isinstance(parameters, Iterable) else parameters
    listed = list(given)
    if not all(isinstance(p, Tensor) for p in listed):
        raise TypeError(f"{name}: parameters must be Tensors, got {parameters!r:.80}; pass model.parameters()")
    return [p for p in listed if p.grad is not None]


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> Any:
    """Scale all gradients by one factor, so that their norm is at most `max_norm`.

    The factor is min(1, max_norm / (norm + 1e-6)), as in PyTorch. The norm is that of
    all gradients as one vector. Each `.grad` becomes a new array, even where nothing
    changes, and NaN if the norm is NaN.

    Parameters
    ----------
    parameters : iterable of Tensor, or Tensor
        Parameters whose `.grad` is None are skipped.
    max_norm : float
        The largest norm, greater than 0; with `inf`, the norm is only measured.
    norm_type : float
        The order of the norm; `inf` means the largest absolute value.

    Returns
    -------
    number
        The norm before clipping.

    See Also
    --------
    clip_grad_value_ : clips each element.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (w * np.array([3.0, 4.0])).sum().backward()
    >>> float(optim.clip_grad_norm_([w], max_norm=1.0))
    5.0
    >>> w.grad.round(3)
    array([0.6, 0.8])
    """
    max_norm = above_zero("clip_grad_norm_: max_norm", max_norm)
    order = above_zero("clip_grad_norm_: norm_type", norm_type)
    clipped = [p for p in with_gradients("clip_grad_norm_", parameters) if p.size]
    if not clipped:
        return 0.0
    vectors: list[Any] = [np.reshape(p.grad, -1).astype(np.result_type(p.dtype, np.float32)) for p in clipped]
    norm = np.linalg.norm(np.stack([np.linalg.norm(vector, order) for vector in vectors]), order)
    factor = np.minimum(max_norm / (norm + 1e-6), 1.0)
    for parameter in clipped:
        parameter.grad = (parameter.grad * factor).astype(parameter.dtype)
    return norm


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clip each element of the gradients to an interval around 0.

    Parameters
    ----------
    parameters : iterable of Tensor, or Tensor
        Parameters whose `.grad` is None are skipped.
    clip_value : float
        The largest absolute value, greater than 0. For complex numbers it limits the
        real and the imaginary part.

    See Also
    --------
    clip_grad_norm_ : keeps the gradient's direction.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import optim
    >>> w = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (w * np.array([3.0, -0.5])).sum().backward()
    >>> optim.clip_grad_value_([w], clip_value=1.0)
    >>> w.grad
    array([ 1. , -0.5])
    """
    limit = positive("clip_grad_value_: clip_value", clip_value)
    for parameter in with_gradients("clip_grad_value_", parameters):
        g: Any = parameter.grad
        if parameter.dtype.kind == "c":
            parts = [np.clip(part, -limit, limit) for part in (np.real(g), np.imag(g))]
            parameter.grad = (parts[0] + 1j * parts[1]).astype(parameter.dtype)
        else:
            parameter.grad = np.clip(g, -limit, limit)
