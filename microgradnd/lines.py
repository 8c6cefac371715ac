"""Where in the user's code something happens.

Owns: the walk up the stack to the first line that isn't the library's.
Must not own: what is done with it (`modes.py`, `compiler/trace.py`).
Read next: `modes.py`.
"""

from __future__ import annotations

import linecache
import sys
from pathlib import Path

PACKAGE = str(Path(__file__).parent)


def user_line() -> tuple[str, int] | None:
    """Return file and line of the user's code that is being executed; None in a backward pass, which nobody wrote.

    Examples
    --------
    >>> from microgradnd.lines import user_line
    >>> user_line() is None
    False
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return code.co_filename, frame.f_lineno
        if code.co_name == "backward" and code.co_filename.endswith("tape.py"):
            return None
        frame = frame.f_back  # type: ignore[assignment]
    return None


def quoted_line(where: tuple[str, int] | None) -> str:
    """Return a line of code as messages put it, in parentheses; nothing for None."""
    return f" ({where[0]}, line {where[1]}: {linecache.getline(*where).strip()})" if where else ""
