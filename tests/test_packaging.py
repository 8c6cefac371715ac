"""What is packaged and promised: setup.cfg, the change log, the commands and links of
the documents.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import microgradnd as mg

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def listed(section: str, option: str) -> list[str]:
    """Return the lines of an option."""
    return SETUP[section][option].split("\n")[1:]


def required(extra: str) -> set[str]:
    """Return the requirements of an extra, those of the extras that it asks for
    included.
    """
    found: set[str] = set()
    for line in listed("options.extras_require", extra):
        other = re.fullmatch(r"microgradnd\[(\w+)\]", line)
        found |= required(other[1]) if other else {line}
    return found


def test_every_package_is_listed() -> None:
    packages = {path.parent.relative_to(ROOT).parts for path in (ROOT / "microgradnd").rglob("__init__.py")}
    packages |= {("microgradnd", *path.parent.relative_to(ROOT).parts) for path in (ROOT / "viz").rglob("__init__.py")}
    assert set(listed("options", "packages")) == {".".join(parts) for parts in packages}
    assert listed("options", "package_dir") == ["microgradnd.viz = viz"]


def test_numpy_is_the_only_requirement() -> None:
    assert listed("options", "install_requires") == ["numpy>=2"]


def test_the_extra_all_is_everything_but_pytorch_and_its_like() -> None:
    extras = set(SETUP["options.extras_require"]) - {"all", "numba", "oracle", "peers"}
    assert required("all") == set().union(*map(required, extras))
    assert not any(requirement.startswith("torch") for requirement in required("all"))
    assert [re.match(r"torch==\d", requirement) is not None for requirement in required("oracle")] == [True]


def test_the_change_log_begins_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert headings[0] == mg.__version__ == importlib.metadata.version("microgradnd")
    assert SETUP["metadata"]["version"] == "attr: microgradnd.__version__"


def test_typed_and_licensed() -> None:
    assert (ROOT / "microgradnd" / "py.typed").exists()
    assert SETUP["metadata"]["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_commands_of_a_document_exist(document: Path) -> None:
    text = document.read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    links = [link for link in links if f'"{link}"' not in text]  # pictures that the code of a chapter writes
    assert [link for link in links if link and not (document.parent / link).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"`make ([a-z-]+)`", text)) <= targets


def test_the_code_that_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = "|".join(path.stem for path in (ROOT / "microgradnd").glob("*.py"))
    named = set(re.findall(rf"`({modules})\.(\w+)`", text)) - {(module, "py") for module in modules.split("|")}
    assert len(named) > 8
    missing = [
        (module, name) for module, name in named if not hasattr(importlib.import_module(f"microgradnd.{module}"), name)
    ]
    assert missing == []


def test_the_examples_of_one_file_run_alone() -> None:
    """`microgradnd.tensor` is a function and a module; pytest imports each file that it
    is given by its path.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "microgradnd/tensor.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_an_import_leaves_for_later_what_few_programs_need() -> None:
    later = "compiler distributed onnx reasons saving scipy testing viz advice steps tasks __main__"
    unwanted = {f"microgradnd.{name}" for name in later.split()} | {"json", "zipfile", "difflib", "tempfile", "logging"}
    program = "import numpy, sys; before = set(sys.modules); import microgradnd; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert unwanted & set(loaded.stdout.split()) == set()
