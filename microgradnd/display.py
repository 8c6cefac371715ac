"""How a Tensor is displayed: text at the prompt, a page in a notebook.

Owns: the text of a Tensor.
Must not own: the page (`viz/explore.py`), which is loaded on use.
Read next: `arraylike.py`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from microgradnd.registry import name_of
from microgradnd.tape import Leaf


def text_of(tensor: Any) -> str:
    """Return the text of `repr(tensor)`."""
    array = tensor._array
    is_own = isinstance(array, np.ndarray | np.generic)  # another library's array knows how to show itself
    text = f"tensor({np.array2string(array, separator=', ', prefix='tensor(') if is_own else repr(array)}"
    if tensor.dtype not in (np.float64, np.int64, np.bool_, np.complex128):
        text += f", dtype={tensor.dtype}"
    if isinstance(tensor._node, Leaf):
        text += ", requires_grad=True" if tensor._node.requires_grad else ""
    elif tensor._node is not None:
        text += f", function={name_of(tensor._node.function)}"
    return text + (f", name={tensor.name!r})" if tensor.name else ")")


def page_of(tensor: Any) -> str | None:
    """Return HTML for a notebook: the text, and a page to step through.

    Returns
    -------
    str or None
        None for a value that wasn't computed, or took too many operations: then the
        notebook shows the text.
    """
    html: str | None = importlib.import_module("microgradnd.viz.explore").in_notebook(tensor)
    return html
