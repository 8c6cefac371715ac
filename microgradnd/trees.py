"""Nested arguments and results: tuples, lists, dicts and modules of arrays.

Owns: taking them apart, and putting them together again from other leaves.
Must not own: what a leaf may be (`operands.py`), or how a module is taken apart (`nn/module.py`).
Read next: `transforms.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

Tree = Any  # an array, a number, a Tensor, an nn.Module, or tuples, lists and dicts of them


def flatten(tree: Tree, modules: bool = True) -> tuple[list[Any], Callable[[Sequence[Any]], Tree]]:
    """Take a tree apart: return its leaves, and a function that puts a tree of the same form together from others.

    An `nn.Module` is its parameters, or with `modules=False` a leaf itself.
    """
    if modules and hasattr(tree, "__flatten__"):
        return tree.__flatten__()
    if not isinstance(tree, dict | tuple | list):
        return [tree], lambda leaves: leaves[0]
    parts = [flatten(child, modules) for child in (tree.values() if isinstance(tree, dict) else tree)]

    def rebuild(leaves: Sequence[Any]) -> Tree:
        rest = iter(leaves)
        built = [rebuild_part(list(itertools.islice(rest, len(part)))) for part, rebuild_part in parts]
        if isinstance(tree, dict):
            return type(tree)(zip(tree, built, strict=True))
        return type(tree)(*built) if hasattr(tree, "_fields") else type(tree)(built)

    return [leaf for part, _ in parts for leaf in part], rebuild
