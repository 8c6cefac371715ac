"""The names in the code of functions, and what its lines do.

Owns: reading bytecode.
Must not own: the conclusions drawn from it (`watch.py`, `draws.py`).
Read next: `watch.py`.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterable, Iterator
from types import CodeType

Line = tuple[str, int]  # file and number
Position = tuple[int, int]  # line and column


def names_in(code: CodeType) -> set[str]:
    """Return the names and texts in code, without the names of local variables."""
    return {name for kind, name in pairs_in(code) if not any(word in kind for word in ("FAST", "DEREF", "CLOSURE"))}


def globals_in(code: CodeType) -> set[str]:
    """Return the names that code looks up globally."""
    return {name for kind, name in pairs_in(code) if "GLOBAL" in kind or kind == "LOAD_NAME"}


def pairs_in(code: CodeType) -> Iterator[tuple[str, str]]:
    """Yield instructions with a name or text, of code and of the functions in it."""
    words = {word for _, words in lines_of([code]) for word in words if " " in word}
    return ((kind, name) for kind, _, name in (word.partition(" ") for word in words) if kind in dis.opmap)


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
        for line, words in words_of(code).items():
            yield (code.co_filename, line), words


@functools.lru_cache(1024)
def words_of(code: CodeType) -> dict[int, set[str]]:
    """Return the words of each line of code."""
    words: dict[int, set[str]] = {}
    for instruction in dis.get_instructions(code):
        line = instruction.positions.lineno if instruction.positions else None
        name, about = instruction.opname, instruction.argval
        if name == "BINARY_OP" and "=" in instruction.argrepr:
            name = "BINARY_OP="
        if name == "KW_NAMES" and instruction.arg is not None:
            about = code.co_consts[instruction.arg]
        texts = {text for text in (about if isinstance(about, tuple | frozenset) else [about]) if isinstance(text, str)}
        words.setdefault(line or code.co_firstlineno, set()).update(
            {name, *texts}, (f"{name} {text}" for text in texts)
        )
    return words


@functools.lru_cache(1024)
def catches(code: CodeType) -> bool:
    """Return whether code may catch an error: any `with` block may swallow it."""
    return any("PUSH_EXC_INFO" in words for words in words_of(code).values())


def names_at(code: CodeType, at: int) -> set[str]:
    """Return the names in the expression that an instruction computes.

    A `raise` computes nothing.
    """
    if dis.opname[code.co_code[at]].startswith("RAISE"):
        return set()
    spans = [tuple(place or 0 for place in places) for places in code.co_positions()]
    line, last_line, column, last_column = spans[at // 2]
    found: set[str] = set()
    for instruction in dis.get_instructions(code):
        first, last, start, end = spans[instruction.offset // 2]
        if (line, column) <= (first, start) and (last, end) <= (last_line, last_column):
            about = instruction.argval
            found |= {name for name in (about if isinstance(about, tuple) else (about,)) if isinstance(name, str)}
    return found


def words_at(code: CodeType, line: int) -> set[str]:
    """Return the words of a line, and of the calls of several lines that it is in."""
    places = [p for p in code.co_positions() if p[0] and p[1] and p[0] <= line <= p[1]]
    first, last = min(p[0] or line for p in places), max(p[1] or line for p in places)
    return {word for (_, at), words in lines_of([code]) if first <= at <= last for word in words}


def takers(code: CodeType, at: int) -> set[str]:
    """Return the names of the functions that get the result of an instruction.

    `raise` counts as a function. Calls after an assignment to a variable don't count.
    """
    names: dict[Position, str] = {}  # by where an expression starts: the last name of its dotted beginning
    made: tuple[Position, Position] = (0, 0), (0, 0)
    found: set[str] = set()
    for instruction in dis.get_instructions(code):
        name, about = instruction.opname, instruction.argval
        line, last_line, column, last_column = (place or 0 for place in instruction.positions or (0,) * 4)
        start, end = (line, column), (last_line, last_column)
        if instruction.offset <= at:  # during a call, `at` may be behind the instruction
            made = start, end
            found.clear()
        elif name.startswith("STORE"):
            break
        if name.startswith("LOAD") and name != "LOAD_CONST" and instruction.offset <= at:
            names[start] = str(about)
        if name.startswith(("CALL", "RAISE")) and start <= made[0] and made[1] <= end:
            found.add("raise" if name.startswith("RAISE") else names.get(start, ""))
    return found
