"""Derivatives of SciPy's functions: `from microgradnd.scipy import special, linalg`.

Owns: the import of SciPy, which is an extra.
Must not own: any rule.
Read next: `special.py`.

The functions have SciPy's names, arguments and values, for arrays and Tensors. Nothing else of the library imports this
package, or SciPy.
"""

from __future__ import annotations

import importlib
from typing import Any


def scipys(module: str) -> Any:
    """Return one of SciPy's modules, or say how to get it."""
    try:
        return importlib.import_module(f"scipy.{module}")
    except ImportError as error:
        raise ImportError(f'microgradnd.scipy.{module} needs SciPy: pip install "microgradnd[scipy]"') from error
