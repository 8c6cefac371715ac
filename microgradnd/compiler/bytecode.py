"""The names in the code of functions, and what its lines do.

Owns: reading bytecode.
Must not own: the conclusions drawn from it (`watch.py`, `draws.py`).
Read next: `watch.py`.
"""

from __future__ import annotations

import dis
from collections.abc import Iterable, Iterator
from types import CodeType

Line = tuple[str, int]  # file and number


def names_in(code: CodeType | None) -> Iterator[str]:
    """Yield the names and texts in code and in the functions defined in it."""
    for part in all_codes([code] if code is not None else []):
        yield from part.co_names
        todo = list(part.co_consts)
        while todo:
            constant = todo.pop()
            if isinstance(constant, str):
                yield constant
            elif isinstance(constant, tuple | frozenset):
                todo += constant


def globals_in(code: CodeType) -> Iterator[str]:
    """Yield the names that code, and the functions defined in it, look up globally."""
    for part in all_codes([code]):
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield instruction.argval


def all_codes(codes: Iterable[CodeType]) -> Iterator[CodeType]:
    """Yield code, and the code of the functions defined in it."""
    todo = list(codes)
    while todo:
        code = todo.pop(0)
        yield code
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def lines_of(codes: Iterable[CodeType]) -> Iterator[tuple[Line, set[str]]]:
    """Yield each line of code with its words: instructions, names, and their pairs.

    An augmented assignment, whatever its operator, is the instruction `BINARY_OP=`.
    """
    for code in all_codes(codes):
        words: dict[int, set[str]] = {}
        for instruction in dis.get_instructions(code):
            line = instruction.positions.lineno if instruction.positions else None
            found = words.setdefault(line or code.co_firstlineno, set())
            name = instruction.opname
            if name == "BINARY_OP" and "=" in instruction.argrepr:
                name = "BINARY_OP="
            about = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
            if instruction.opname == "KW_NAMES" and instruction.arg is not None:
                about = code.co_consts[instruction.arg]
            texts = {text for text in about if isinstance(text, str)}
            found |= {name, *texts, *(f"{name} {text}" for text in texts)}
        for line, found in words.items():
            yield (code.co_filename, line), found


def words_at(code: CodeType, line: int) -> set[str]:
    """Return the words of a line, and of the calls of several lines that it is in."""
    places = [p for p in code.co_positions() if p[0] and p[1] and p[0] <= line <= p[1]]
    first, last = min(p[0] or line for p in places), max(p[1] or line for p in places)
    return {word for (_, at), words in lines_of([code]) if first <= at <= last for word in words}
