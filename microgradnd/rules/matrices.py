"""Stacks of vectors and matrices, in the vocabulary of the rules.

Owns: transposing, and vectors as rows and columns, for products and linear algebra.
Must not own: any rule.
Read next: `products.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.rules.values import conj


def column(x: Any) -> Any:
    """Return vectors as matrices of one column."""
    return x.reshape((*x.shape, 1))  # several times faster than np.expand_dims


def row(x: Any) -> Any:
    """Return vectors as matrices of one row."""
    return x.reshape((*x.shape[:-1], 1, *x.shape[-1:]))


def vector(x: Any) -> Any:
    """Return matrices of one column as vectors."""
    return x.reshape(x.shape[:-1])


def mT(a: Any) -> Any:
    """Return a.mT, also for Dask's arrays, which have no such attribute."""
    return a.mT if hasattr(a, "mT") else np.swapaxes(a, -1, -2)


def adjoint(a: Any) -> Any:
    """Return the conjugate transpose."""
    return mT(conj(a))
