"""How an operation is written: its mathematical sign, and its constants.

Owns: the table of signs.
Must not own: anything of the picture.
Read next: `dot.py`.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.nn.losses import softmax_cross_entropy
from microgradnd.nn.normalization import normalized
from microgradnd.registry import VJPS, Variadic, name_of
from microgradnd.tape import Operation

BETWEEN = {
    np.add: "+",
    np.subtract: "−",
    np.multiply: "×",
    np.divide: "÷",
    np.matmul: "@",
    np.remainder: "%",
    np.floor_divide: "//",
}
ALONE = {
    np.negative: "−x",
    np.square: "x²",
    np.sqrt: "√x",
    np.cbrt: "∛x",
    np.reciprocal: "1/x",
    np.absolute: "|x|",
    np.exp: "eˣ",
    np.sum: "Σ",
    np.prod: "Π",
    np.transpose: "xᵀ",
    np.matrix_transpose: "xᵀ",
}
IN_ORDER = {"subtract", "divide", "matmul", "dot", "power", "remainder", "floor_divide"}  # x − y is not y − x
UNNAMED = {primitives.getitem, primitives.select}  # names that no user knows
# Positions of arrays that a layer computes from the other operands, to save time
COMPUTED_INSIDE = {softmax_cross_entropy: {2}, normalized: {3, 4}}
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
FORGOTTEN = "const"  # a constant that `backward()` freed
SAID_BY_THE_EDGES = {"shape", "newshape", "keepdims", "ends", "call"}


def is_array(arg: Any) -> bool:
    """Return whether an argument is an array that deserves a node of its own."""
    return isinstance(arg, np.ndarray) and arg.size != 1


def is_constant(node: Operation, i: int) -> bool:
    """Return whether an argument is a constant array that the caller passed in."""
    assert node.args is not None
    return is_array(node.args[i]) and i not in COMPUTED_INSIDE.get(node.function, ())


def was_operand(node: Operation, i: int) -> bool:
    """Return whether a freed constant was an operand, not part of the operation's text.

    The first argument is one, unless the function treats all positions alike.
    """
    if node.parents[i] is not None:
        return False
    is_first = i == 0 and not isinstance(node.function, np.ufunc)
    return node.function is np.matmul or (is_first and not isinstance(VJPS.get(node.function), Variadic))


def number(value: Any, digits: int = 4) -> str:
    """Return a number in a few significant digits.

    Examples
    --------
    >>> from microgradnd.viz.signs import number
    >>> number(2.0), number(-0.123456), number(7), number(True)
    ('2', '-0.1235', '7', 'True')
    >>> number(float("nan")), number(-0.0)
    ('NaN', '0')
    """
    if isinstance(value, int) and abs(value) < 10**6:
        return str(value)
    try:
        text = f"{value + 0:.{digits}g}"  # -0.0 + 0 is 0.0
    except OverflowError:  # an integer beyond the range of floats
        return f"{'-' if value < 0 else ''}1e{len(str(abs(value))) - 1}"
    return text.replace("nan", "NaN").replace("inf", "Inf")


def counted(count: int, word: str) -> str:
    """Return a count with its noun: `1 operation`, `2,000 operations`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def written(node: Operation) -> tuple[str, str]:
    """Return an operation as text: its sign, and the details of the call.

    Parameters
    ----------
    node : Operation
        Its arguments may have been freed; a constant is then just called `const`.

    Returns
    -------
    sign, detail : str

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd.viz.signs import written
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> for y in (x * 2, 2 - x, x**3, x[0], abs(x), x.sum(axis=0)):
    ...     print(*written(y._node))
    × 2
    2 −
    x³
    [0]
    |x|
    Σ axis=0
    """
    function, args = node.function, node.args
    constants = [_constant(node, i) for i in range(len(node.parents))]
    if function in BETWEEN and len(constants) == 2:
        return " ".join(filter(None, (constants[0], BETWEEN[function], constants[1]))), ""
    if function is np.power and len(constants) == 2:
        return _power(*constants), ""
    if function is primitives.getitem:
        return "[…]" if args is None else f"[{_index(args[1])}]", ""
    if function is primitives.select:
        return "[…]" if args is None else f"[{args[1]}]", ""
    if function is primitives.astype and args is not None:
        return str(np.dtype(args[1])), ""
    if isinstance(function, np.ufunc):
        said = constants
    else:
        options = {} if args is None else _options(node, args)
        options.update(node.kwargs)
        said = [
            brief(value) if key.startswith("*") else f"{key}={brief(value)}"
            for key, value in options.items()
            if key not in SAID_BY_THE_EDGES and value is not None
        ]
    return ALONE.get(function) or name_of(function), " ".join(filter(None, said))


def _constant(node: Operation, i: int) -> str:
    """Return the text of a constant argument; empty if it has its own node."""
    if node.parents[i] is not None:
        return ""
    if node.args is None:
        return "" if was_operand(node, i) else FORGOTTEN
    arg = node.args[i]
    return "" if is_array(arg) else brief(arg)


def _power(base: str, exponent: str) -> str:
    if exponent == FORGOTTEN:
        return "xⁿ"
    if exponent:
        is_integer = exponent.lstrip("-").isdecimal()
        return "x" + exponent.translate(SUPERSCRIPT) if is_integer else f"x^{exponent}"
    return "xʸ" if not base else "aˣ" if base == FORGOTTEN else f"{base}ˣ"


def _options(node: Operation, args: tuple[Any, ...]) -> dict[str, Any]:
    """Return the arguments that are no operands, by name: `axis=0` for a sum."""
    try:
        parameters = list(inspect.signature(node.function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {
        names[i] if i < len(names) else f"*{i}": arg
        for i, (arg, parent) in enumerate(zip(args, node.parents, strict=True))
        if parent is None and not isinstance(arg, np.ndarray)
    }


def _index(index: Any) -> str:
    return ", ".join(brief(part) for part in (index if isinstance(index, tuple) else (index,)))


def brief(value: Any) -> str:
    """Return a short text for an argument that is no operand."""
    if isinstance(value, np.ndarray):
        if value.size != 1:
            return "array"
        value = value.item()
    if isinstance(value, list):
        return str(value) if len(value) <= 4 else "list"
    if isinstance(value, slice):
        ends = ["" if end is None else str(end) for end in (value.start, value.stop, value.step)]
        return ":".join(ends[:2] if value.step is None else ends)
    if value is Ellipsis:
        return "…"
    if isinstance(value, np.generic):
        value = value.item()
    if callable(value):
        return name_of(value)
    if isinstance(value, int | float | complex):
        return number(value)
    says_nothing = getattr(type(value), "__repr__", None) is object.__repr__  # except its address
    return type(value).__name__ if says_nothing else str(value)
