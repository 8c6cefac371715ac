"""Derivatives of indexing.

Owns: `x[index]` and what is spelled with it.
Must not own: the operations themselves (`primitives.py`).
Read next: `linalg.py`.

Picking and scattering are transposes of each other: the cotangent of what was picked goes back to where it came from.
"""

from __future__ import annotations

from microgradnd.primitives import getitem, scatter, select
from microgradnd.registry import Results, defjvp, defvjp, linear

linear(getitem, lambda g, out, x, index: scatter(g, index, x.shape))
linear(scatter, lambda g, out, values, index, shape: g[index])
defvjp(select, lambda g, out, results, index: Results(g if i == index else None for i in range(len(results))))
defjvp(select, lambda t, out, results, index: t[index])
