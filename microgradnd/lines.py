"""Where in the user's code something happens.

Owns: which code is the user's, and the walk up the stack to its first line.
Must not own: the use of that line (`modes.py`, `advice.py`, `compiler/trace.py`).
Read next: `modes.py`.
"""

from __future__ import annotations

import functools
import linecache
import os
import sys
from types import CodeType

PACKAGE = os.path.join(os.path.dirname(__file__), "")


@functools.cache
def installed() -> tuple[str, ...]:
    """Return the folders of code that isn't the user's: Python's, packages', ours.

    Each ends in a separator.
    """
    import sysconfig  # slow to import, and only messages need it

    paths = sysconfig.get_paths()
    theirs = {os.path.join(paths[key], "") for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return (*theirs, PACKAGE, os.path.join(os.path.dirname(PACKAGE[:-1]), "viz", ""))


def is_users(code: CodeType) -> bool:
    """Return whether code is the user's own."""
    return is_users_file(code.co_filename)


@functools.lru_cache(1024)
def is_users_file(filename: str) -> bool:
    return not filename.startswith((*installed(), "<frozen "))


@functools.lru_cache(1024)
def is_standard_file(filename: str) -> bool:
    """Return whether a file belongs to Python's standard library."""
    import sysconfig

    standard, *packages = (os.path.join(sysconfig.get_path(key), "") for key in ("stdlib", "purelib", "platlib"))
    return filename.startswith((standard, "<frozen ")) and not filename.startswith((*packages, PACKAGE))


def user_line(depth: int = 1) -> tuple[str, int] | None:
    """Return the file and line of the user's code that is running.

    It is None in a backward pass, which has no line of its own. So many calls around
    this one, `depth`, are certainly ours.

    Examples
    --------
    >>> from microgradnd.lines import user_line
    >>> user_line() is None
    False
    """
    frame = sys._getframe(depth)
    while frame is not None:
        code = frame.f_code
        if is_users_file(code.co_filename):
            return code.co_filename, frame.f_lineno
        if code.co_name == "walk" and code.co_filename == f"{PACKAGE}tape.py":
            return None
        frame = frame.f_back  # type: ignore[assignment]
    return None


def quoted_line(where: tuple[str, int] | None) -> str:
    """Return a line of code as messages put it, in parentheses; '' for None."""
    return f" ({where[0]}, line {where[1]}: {linecache.getline(*where).strip()})" if where else ""
