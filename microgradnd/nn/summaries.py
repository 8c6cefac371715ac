"""A table of a network's layers: their inputs, outputs, parameters and memory.

Owns: `summary`.
Must not own: the walk over a network's modules, and hooks (`module.py`).
Read next: `module.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.modes import no_grad
from microgradnd.nn.module import Module
from microgradnd.tensor import Tensor
from microgradnd.trees import flatten, is_module

HEADINGS = ("layer", "input", "output", "parameters", "memory")


@dataclass
class Row:
    """One call of a layer.

    Attributes
    ----------
    path : str
        The layer's path from the outermost module, whose path is "".
    kind : str
        The name of the layer's class.
    inputs, outputs : list of tuple of int, or None
        The shapes of the arrays; outputs are None if the call failed.
    parameters : int
        The number of elements of the layer's own parameters, without those of the
        modules within it.
    memory : int
        The bytes of the layer's own parameters and, if there are no modules within it,
        of its outputs.
    """

    path: str
    kind: str
    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]] | None
    parameters: int
    memory: int


@dataclass
class Summary:
    """The result of `summary`; its `repr` is the table.

    Attributes
    ----------
    rows : list of Row
        The calls in their order, a module before the modules within it.
    error : Exception or None
        The exception by which the layer in the last row failed.
    """

    rows: list[Row] = field(default_factory=list)
    error: Exception | None = None

    def __repr__(self) -> str:
        table = [HEADINGS, *map(cells, self.rows)]
        count, memory = sum(row.parameters for row in self.rows), sum(row.memory for row in self.rows)
        table.append(("total", "", "", f"{count:,}", size(memory)))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(aligned(row, widths)).rstrip() for row in table]
        rule = "-" * max(map(len, lines))
        lines = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
        return "\n".join([*lines, f"{type(self.error).__name__}: {self.error}"] if self.error else lines)


@explained
def summary(model: Module, *args: Any, **kwargs: Any) -> Summary:
    """Call a network, and return a table of its layers.

    The call is in evaluation mode and isn't recorded. If a layer fails, the table ends
    with this layer and the reason. The network doesn't change.

    Parameters
    ----------
    model : Module
    *args, **kwargs
        The arguments of the call.

    Returns
    -------
    Summary
        The attributes `rows` and `error`. Its `repr` is a table with, for each layer,
        the shapes, the number of parameters, and the memory of parameters and outputs.

    Raises
    ------
    TypeError
        If the model isn't a Module.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 1))
    >>> nn.summary(model, np.ones((100, 2)))
    layer        input      output     parameters    memory
    -------------------------------------------------------
    Sequential   (100, 2)   (100, 1)            0       0 B
      0: Linear  (100, 2)   (100, 64)         192   52.7 kB
      1: ReLU    (100, 64)  (100, 64)           0   51.2 kB
      2: Linear  (100, 64)  (100, 1)           65    1.3 kB
    -------------------------------------------------------
    total                                     257  105.3 kB
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: model must be a Module, got {type(model).__name__}; put it into a Module first")
    result, called = Summary(), []
    paths = {id(module): path for path, module in model.named_modules()}
    counted: set[int] = set()

    def before(module: Module, inputs: tuple[Any, ...]) -> None:
        own = [p for name, p in module.named_parameters() if "." not in name and id(p) not in counted]
        counted.update(map(id, own))
        row = Row(paths[id(module)], type(module).__name__, shapes(inputs), None, 0, 0)
        row.parameters, row.memory = sum(p.size for p in own), sum(p.data.nbytes for p in own)
        result.rows.append(row)
        called.append(row)

    def after(module: Module, inputs: tuple[Any, ...], output: Any) -> None:
        row = called.pop()
        row.outputs = shapes(output)
        if not any(True for _ in module.children()):
            row.memory += sum(array.nbytes for array in arrays(output))

    training = {module: module.training for module in model.modules()}
    state = model.state_dict()
    handles = [
        handle
        for module in model.modules()
        for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after))
    ]
    try:
        with no_grad():
            model.eval()(*args, **kwargs)
    except Exception as error:
        result.error = error.with_traceback(None)
    finally:
        for handle in handles:
            handle.remove()
        for module, was in training.items():
            module.training = was
        now = model.state_dict()  # setting a parameter, even to equal values, would outdate losses that used it
        changed = {name: array for name, array in state.items() if array.tobytes() != now[name].tobytes()}
        model.load_state_dict(changed, strict=False)
    return result


def arrays(value: Any) -> list[Any]:
    """Return the arrays in a layer's arguments or result."""
    leaves = flatten(value, is_module)[0]
    return [leaf.data if isinstance(leaf, Tensor) else leaf for leaf in leaves if isinstance(leaf, Tensor | np.ndarray)]


def shapes(value: Any) -> list[tuple[int, ...]]:
    """Return the shapes of the arrays in a layer's arguments or result."""
    return [array.shape for array in arrays(value)]


def cells(row: Row) -> tuple[str, ...]:
    """Return the texts of a row."""
    depth = row.path.count(".") + 1 if row.path else 0
    name = f"{'  ' * depth}{row.path.rpartition('.')[2]}: {row.kind}" if row.path else row.kind
    outputs = "failed" if row.outputs is None else listed(row.outputs)
    return name, listed(row.inputs), outputs, f"{row.parameters:,}", size(row.memory)


def aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """Return texts padded to the widths of their columns, numbers to the right."""
    return [text.ljust(w) if i < 3 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))]


def listed(found: list[tuple[int, ...]]) -> str:
    """Return shapes as text."""
    return ", ".join(map(str, found)) or "-"


def size(count: int) -> str:
    """Return a number of bytes with its unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000  # type: ignore[assignment]
    return f"{count:.1f} GB"
