"""`python -m tests.prose`: the style of every text in the repository.

Owns: the phrases that no text may hold, each with a better one, and the width of
Markdown; part of `make lint`.
Must not own: spelling (codespell), or the width of docstrings and comments (ruff).
Read next: `CONTRIBUTING.md`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

WIDTH = 100  # of Markdown, except in tables, code and lines that are one long link
TEXTS = ("*.py", "*.md", "*.html", "*.js", "*.css", "*.cfg", "*.toml", "*.yml", "Makefile", ".ci/run")

# Turns of phrase that read as if translated. A word before "|" is what a match is
# replaced with in the message.
PHRASES = {
    r"\bbut for\b": "except for",
    r"\bbeside\b": "besides, apart from, next to, compared with",
    r"\blet(s|ting)? go of\b": "free, release",
    r"\bpass(es|ed|ing)? over\b": "ignore, skip",
    r"\b(floats?|numbers?|ints?|integers?|lists?|dicts?|class|classes|loops?) of (Python|NumPy)\b": "Python float",
    r"\bsurely\b": "leave it out, or say why it is certain",
    r"\bstranger": "user, another program",
    r"\b[Ww]ho wants\b": "if you want",
    r"\bone's\b": "your, its",
    r"\bone (writes|would|sees|wants|reads|could|must|may|knows|walks)\b": "you",
    r"\bso (many|large|small) (a|an|[a-z]+s)\b": "this many, such a large",
    r"\bwhat leads\b": "the path",
    r"\ball there is\b": "everything",
    r"\bhas been here before\b": "has already run",
    r"\bgo(es)? together with\b": "is multiplied by, belongs to",
    r"\btells? of\b": "says whether, names",
    r"\bis told\b": "learns, receives",
    r"\bas (it|they) stands?\b": "unchanged, literally",
    r"\bforwards\b": "forward",
    r"\bbackwards\b": "backward",
    r"\blikewise\b": "too, also",
    r"\bwhich is a positive\b|\bis a positive (number|integer), not\b": "must be positive, got",
}


def tracked() -> Iterator[Path]:
    """Yield the files of the repository that hold text by us."""
    listed = subprocess.run(["git", "ls-files", *TEXTS], capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if name != "tests/prose.py":
            yield Path(name)


def too_wide(lines: list[str]) -> Iterator[int]:
    """Yield the numbers of the lines of a Markdown text that are too wide."""
    in_code = False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        is_link = " " not in line.strip().lstrip("- ")
        if (
            len(line) > WIDTH
            and not in_code
            and not is_link
            and not line.lstrip().startswith(("|", "#", "![", "[", "<"))
        ):
            yield number


def complaints(path: Path) -> Iterator[str]:
    """Yield a line of text for each phrase to replace, and for each line too wide."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        for phrase, better in PHRASES.items():
            if found := re.search(phrase, line):
                yield f"{path}:{number}: {found[0]!r}; better: {better}"
    if path.suffix == ".md":
        for number in too_wide(lines):
            yield f"{path}:{number}: {len(lines[number - 1])} columns, not {WIDTH}"


def main() -> int:
    """Print all complaints, and return 1 if there is one."""
    found = [complaint for path in tracked() for complaint in complaints(path)]
    print("\n".join(found) or "prose: nothing to complain about")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
