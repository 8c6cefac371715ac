"""States of modules, optimizers and schedules: the check that one fits, and writing.

Owns: comparing a state dict with the expected arrays, and the messages; setting the
values of a parameter.
Must not own: what a state consists of (`nn/module.py`, `optim/optimizer.py`), or files
(`saving.py`).
Read next: `nn/module.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from microgradnd.conversions import copy_of
from microgradnd.tape import current
from microgradnd.tensor import Tensor


def check_mapping(owner: str, given: Any, advice: str) -> None:
    """Raise unless a state is a dict."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{owner}.load_state_dict: state_dict must be a dict from state_dict(), got {given!r:.80}; {advice}"
        )


def fitted(owner: str, own: Mapping[str, Any], given: Mapping[str, Any], advice: str | None = None) -> dict[str, Any]:
    """Return the values of a state as new arrays of the expected shapes and dtypes.

    Parameters
    ----------
    owner : str
        The class that loads the state.
    own : mapping of str to array
        An array of the expected shape and dtype for each key.
    given : mapping of str to array_like
        The state.
    advice : str, optional
        How to ignore missing and unexpected keys, for the message. By default they are
        ignored.

    Raises
    ------
    ValueError
        If keys are missing or unexpected, or shapes differ; the message names them all.
    TypeError
        If a value isn't a number that fits the dtype.
    """
    missing = [f"missing {key}" for key in own if key not in given]
    wrong = [*missing, *(f"unexpected {key}" for key in given if key not in own)] if advice else []
    advice = f"; {advice}" if wrong else ""
    arrays = {key: as_array(owner, key, given[key]) for key in own if key in given}
    for key, array in arrays.items():
        if array.shape != own[key].shape:
            wrong.append(f"{key} must have shape {own[key].shape}, got {array.shape}")
    error: type[Exception] = ValueError if wrong else TypeError
    for key, array in arrays.items():
        if not np.can_cast(array.dtype, dtype := own[key].dtype, "same_kind"):
            wrong.append(f"{key} must hold numbers that fit dtype {dtype}, got {array.dtype}; convert it with .astype")
    if wrong:
        raise error(
            f"{owner}.load_state_dict: this state doesn't fit {owner}, which is unchanged: {', '.join(wrong)}{advice}"
        )
    return {key: array.astype(own[key].dtype) for key, array in arrays.items()}


def as_array(owner: str, key: str, value: Any) -> Any:
    """Return a value of a state as an array, or raise if it can't be one."""
    if isinstance(value, Tensor):
        return np.asarray(copy_of(value, "load_state_dict()"))
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{owner}.load_state_dict: {key} must be an array, got lists of different lengths; give each the same "
            f"length"
        ) from None
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{owner}.load_state_dict: {key} must be an array, got a {type(value).__name__} that NumPy can't read: "
            f"{error}"
        ) from error


def overwrite(parameter: Tensor, array: Any) -> None:
    """Set the values of a leaf, in place if its array is writable."""
    if parameter.data.flags.writeable or current().anomaly is not None:  # it locks arrays except in updating()
        with parameter.updating() as target:
            target[...] = array
    else:  # the user has made the array read-only: the parameter gets another
        parameter.data = array
