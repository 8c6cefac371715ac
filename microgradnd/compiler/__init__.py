"""The compiler: a function and its derivative as one NumPy program.

Owns: the names of the package.
Must not own: anything else.
Read next: `compiled.py`.
"""

from __future__ import annotations

from microgradnd.compiler.arguments import static
from microgradnd.compiler.compiled import CacheInfo, Compiled, compile
from microgradnd.compiler.draws import anew

__all__ = ["CacheInfo", "Compiled", "anew", "compile", "static"]
