"""Derivatives of SciPy's functions: `from microgradnd.scipy import special, linalg`.

Owns: the import of SciPy, which is an extra.
Must not own: any rule.
Read next: `special.py`.

The functions have SciPy's names, arguments and values, for arrays and Tensors. No other
part of the library imports this package; the parts that use SciPy if it is installed
(`../triangular.py`, `optim.minimize`) load it themselves.
"""

from __future__ import annotations

import importlib
from typing import Any


def scipys(module: str) -> Any:
    """Return one of SciPy's modules, or raise and say how to install it."""
    try:
        return importlib.import_module(f"scipy.{module}")
    except ImportError as error:
        raise ImportError(f'microgradnd.scipy.{module} needs SciPy: pip install "microgradnd[scipy]"') from error


def missing(module: str, name: str, known: list[str]) -> AttributeError:
    """Return the error for a function missing from our module, perhaps SciPy's."""
    from microgradnd.advice import missing_attribute

    if name.startswith("_") or not hasattr(scipys(module), name):
        return AttributeError(missing_attribute(f"scipy.{module}", name, known))
    return AttributeError(
        f"microgradnd.scipy.{module} has no derivative of {name!r}; call scipy.{module}.{name} on arrays (t.data), or "
        f"make it an operation with mg.primitive and define its rule with mg.defvjp"
    )
