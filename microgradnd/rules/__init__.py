"""The derivative table, in plain NumPy: importing this package fills it.

Owns: the rules, one module for each family of functions.
Must not own: `Tensor`; rules call NumPy's functions, which work on Tensors too.
Read next: `elementwise.py`, which reads like the last page of a calculus book.
"""

from microgradnd.rules import (
    calculus,
    choice,
    elementwise,
    fft,
    indexing,
    joining,
    linalg,
    polynomials,
    products,
    reductions,
    shape,
    sorting,
    statistics,
    ufuncs,
)

from microgradnd.rules import exclusions  # isort: skip -- last: it excludes functions that no other module has rules for
from microgradnd.rules import batches  # isort: skip -- after the functions that it has rows for

__all__ = [
    "batches",
    "calculus",
    "choice",
    "elementwise",
    "exclusions",
    "fft",
    "indexing",
    "joining",
    "linalg",
    "polynomials",
    "products",
    "reductions",
    "shape",
    "sorting",
    "statistics",
    "ufuncs",
]
