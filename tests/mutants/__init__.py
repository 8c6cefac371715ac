"""Planted faults: small wrong edits of the library, and the tests that must fail.

Owns: `Fault`, and the whole table `FAULTS`, which joins the tables of the packages.
Must not own: how faults are planted and tests are run (`__main__.py`).
Read next: `__main__.py`.

A fault is a short piece of text that occurs exactly once in its file, and its
replacement. So the table survives edits elsewhere in the file. Where the piece itself
has changed, the entry is stale, and `tests/test_mutants.py` says so. An edit without
an observable effect doesn't belong here.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.mutants import (
    batches,
    checks,
    clusters,
    compiler,
    engine,
    gallery,
    networks,
    numerics,
    pictures,
    programs,
    releases,
    rules,
    site,
    training,
)


class Fault(NamedTuple):
    """A wrong edit, and the tests that must notice it.

    Attributes
    ----------
    file : str
        The path in the repository.
    old, new : str
        A piece of text that occurs once in that file, and its replacement.
    tests : str
        Test files or test ids, separated by spaces: at least one test among them must
        fail.
    needs : str
        A module or a program without which these tests are skipped.
    """

    file: str
    old: str
    new: str
    tests: str
    needs: str = ""

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}: {old!r} -> {new!r}"


FAULTS: list[Fault] = [
    Fault(*entry)
    for table in (
        batches,
        rules,
        numerics,
        engine,
        networks,
        compiler,
        checks,
        pictures,
        gallery,
        programs,
        releases,
        training,
        site,
        clusters,
    )
    for entry in table.FAULTS
]
