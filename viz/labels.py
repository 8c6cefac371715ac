"""The words and numbers in a picture.

Owns: how names, shapes, values and gradients are written, and the escaping of whatever users call their tensors.
Must not own: where they stand and what they look like (`dot.py`).
Read next: `dot.py`.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from microgradnd.viz.model import Scope
from microgradnd.viz.signs import number
from microgradnd.viz.values import Values

LONGEST = 40  # characters of a name that are shown


def clean(text: str, longest: int = LONGEST) -> str:
    """Return a user's text on one line, of a bearable length, without characters that XML or a reader can't take.

    Examples
    --------
    >>> from microgradnd.viz.labels import clean
    >>> clean("two\\nlines \\x00"), clean("w" * 10_000, longest=10)
    ('two lines \ufffd', 'wwwwwwwww…')
    """
    text = " ".join(text[: 8 * longest].split())
    text = "".join(c if _is_printable(c) else "\ufffd" for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _is_printable(c: str) -> bool:
    # Format characters (Cf) can turn the direction of the text round; only the joiner within emoji is harmless
    return c == "\u200d" or (unicodedata.category(c) not in ("Cc", "Cf", "Cs") and ord(c) & 0xFFFE != 0xFFFE)


def shape_text(shape: tuple[int, ...] | None, dtype: str | None, always: bool = False) -> str:
    """Return a shape, and the dtype where it isn't NumPy's default, or always: `(100, 3)`, `(5,) float32`.

    Examples
    --------
    >>> from microgradnd.viz.labels import shape_text
    >>> shape_text((100, 3), "float64"), shape_text((5,), "float32"), shape_text((), "float64")
    ('(100, 3)', '(5,) float32', '')
    """
    parts = (str(shape) if shape else "", dtype or "" if always or dtype != "float64" else "")
    return " ".join(filter(None, parts))


def elements_text(elements: Any) -> str:
    """Return numbers in nested brackets, in four digits each."""
    if isinstance(elements, list):
        return f"[{', '.join(map(elements_text, elements))}]"
    return number(elements)


def values_text(values: Values) -> str:
    """Return the numbers of an array in a few words: in full, or their range and mean.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.labels import values_text
    >>> from microgradnd.viz.values import values_of
    >>> values_text(values_of(np.array([1.0, 0.5]))), values_text(values_of(np.arange(9.0)))
    ('[1, 0.5]', 'min 0  mean 4  max 8')
    """
    if values.elements is not None:
        return elements_text(values.elements)
    if alarm := alarm_text(values):
        return alarm
    if values.lowest is None or values.highest is None or values.mean is None:
        return f"‖·‖ {number(values.norm)}" if values.size else "empty"
    if values.lowest == values.highest:
        return f"all {number(values.lowest)}"
    low, mean, high = (number(value, 3) for value in (values.lowest, values.mean, values.highest))
    return f"min {low}  mean {mean}  max {high}"


def grad_text(grad: Values, last_norm: float | None = None) -> str:
    """Return a gradient in a few words: in full, or its norm; its norms in the first and the last of several copies."""
    if last_norm is not None:
        return f"‖grad‖ {number(grad.norm)} … {number(last_norm)}"
    if grad.elements is not None:
        return f"grad {elements_text(grad.elements)}"
    return f"grad {alarm_text(grad)}" if alarm_text(grad) else f"‖grad‖ {number(grad.norm)}"


def alarm_text(values: Values | None) -> str:
    """Return how many numbers aren't finite; nothing where all are."""
    if values is None or not (values.nan or values.inf):
        return ""
    counts = [f"{count} {word}" for count, word in ((values.nan, "NaN"), (values.inf, "Inf")) if count]
    return f"{', '.join(counts)} of {values.size}"


def active_text(values: Values | None) -> str:
    """Return the share of the numbers that aren't 0, of what a ReLU lets through.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.viz.labels import active_text
    >>> from microgradnd.viz.values import values_of
    >>> active_text(values_of(np.array([0.0, 3.0, 0.0, 0.5, 2.0])))
    '60% active'
    """
    if values is None or not values.size:
        return ""
    return f"{100 * (1 - values.zeros / values.size):.0f}% active"


def scope_text(scope: Scope, outer: str = "") -> str:
    """Return what stands above a scope: its path within the outer one, label, and how many copies it stands for.

    Examples
    --------
    >>> from microgradnd.viz.model import Scope
    >>> from microgradnd.viz.labels import scope_text
    >>> scope_text(Scope("blocks.0", "", "module", "blocks.0", "Block", 6, "blocks.5"))
    'blocks.0 … blocks.5 · Block ×6'
    """
    first, last = (clean(path.removeprefix(f"{outer}.")) for path in (scope.path, scope.last))
    path = first if last == first else f"{first} … {last}"
    label = "" if scope.label == scope.path else clean(scope.label)
    times = f" ×{scope.repeat:,}" if scope.repeat > 1 else ""
    return " · ".join(filter(None, (path, label))) + times


def summed_text(axes: tuple[int, ...]) -> str:
    """Return over which axes a gradient is summed, for an argument that was broadcast along them.

    Examples
    --------
    >>> from microgradnd.viz.labels import summed_text
    >>> summed_text((0,)), summed_text((0, 2)), summed_text(())
    ('summed over axis 0', 'summed over axes 0, 2', '')
    """
    if not axes:
        return ""
    return f"summed over ax{'e' if len(axes) > 1 else 'i'}s {', '.join(map(str, axes))}"
