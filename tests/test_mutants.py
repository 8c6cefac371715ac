"""The table of planted faults: that it fits the tree. What it is for, `make mutants`,
takes minutes.

Owns: that no entry is stale, and that each names tests that exist.
Must not own: whether the tests notice the faults (`mutants/__main__.py`).
Read next: `mutants/__init__.py`.
"""

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.mutants import FAULTS
from tests.test_laws import ROWS

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "microgradnd/rules/",
    "microgradnd/nn/",
    "microgradnd/optim/",
    "microgradnd/compiler/",
    "viz/",
    "benchmarks/",
    "examples/",
}
FILES = {f"microgradnd/{name}.py" for name in ("tape", "tensor", "assignment", "transforms", "testing", "recompute")}
FILES |= {f"microgradnd/{name}.py" for name in ("reasons", "__main__", "data", "saving", "onnx")}
FILES |= {f"microgradnd/{name}.py" for name in ("distributed", "steps")}

NAMES = Counter(row.name for row in ROWS)  # of the cases that are named, all are rows; pytest numbers equal names


@cache
def text(file):
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def functions(file):
    return {node.name for node in ast.parse(text(file)).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def missing(test):
    """Return whether a test file, or the test or the row that an id names in it, isn't
    there.
    """
    file, _, name = test.partition("::")
    name, _, row = name.removesuffix("]").partition("[")
    return not (ROOT / file).is_file() or bool(name and name not in functions(file)) or bool(row and NAMES[row] != 1)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_an_entry_fits_the_tree(fault):
    assert text(fault.file).count(fault.old) == 1, "the entry is stale: its piece must occur exactly once"
    assert fault.new != fault.old
    if fault.file.endswith(".py"):
        ast.parse(text(fault.file).replace(fault.old, fault.new))
    assert fault.tests.split()
    assert [test for test in fault.tests.split() if missing(test)] == []


def test_the_table_covers_every_package():
    planted = {fault.file for fault in FAULTS}
    assert len(FAULTS) >= 150
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)
    assert {folder for folder in FOLDERS if not any(file.startswith(folder) for file in planted)} == set()
    assert FILES - planted == set()
