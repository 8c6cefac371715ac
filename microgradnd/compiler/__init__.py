"""The compiler: a function and its derivative as one NumPy program.

Owns: the names of the package.
Must not own: anything else.
Read next: `compiled.py`.
"""

from __future__ import annotations

from microgradnd.compiler.arguments import static
from microgradnd.compiler.compiled import CacheInfo, Compiled, compile

__all__ = ["CacheInfo", "Compiled", "compile", "static"]
