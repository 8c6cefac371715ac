"""What is packaged and promised: setup.cfg, the change log, the commands and links of
the documents.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import microgradnd as mg

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def listed(section: str, option: str) -> list[str]:
    """Return the lines of an option."""
    return SETUP[section][option].split("\n")[1:]


def program(path: str) -> ModuleType:
    """Return a program outside of the packages as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    assert SETUP["metadata"]["license_expression"] == "MIT"
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
    later = "compiler data distributed nn onnx optim reasons saving scipy testing viz advice steps tasks __main__"
    unwanted = {f"microgradnd.{name}" for name in later.split()} | {"json", "zipfile", "difflib", "tempfile", "logging"}
    program = "import numpy, sys; before = set(sys.modules); import microgradnd; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert unwanted & set(loaded.stdout.split()) == set()


def test_the_readme_has_no_relative_links_on_an_index() -> None:
    readme, release = (ROOT / "README.md").read_text(), program(".ci/release.py")
    assert release.relative_links(readme) != []
    shown = program("setup.py").absolute(readme, SETUP["metadata"]["url"], "v1.2.3")
    assert release.relative_links(shown) == []
    assert re.search(r"!\[.+\]\(https://raw.githubusercontent.com/\w+/\w+/v1.2.3/docs/images/\w+\.\w+\)", shown)


def test_links_are_made_absolute_and_code_stays() -> None:
    absolute = program("setup.py").absolute
    text = (
        '[a](LICENSE#x) ![b](docs/images/backprop.gif) `f[i](x)` <img src="docs/images/network.png"> [c](https://c.d)'
    )
    raw = "https://raw.githubusercontent.com/o/r/v1/docs/images"
    assert absolute(text, "https://github.com/o/r", "v1") == (
        "[a](https://github.com/o/r/blob/v1/LICENSE#x) "
        f'![b]({raw}/backprop.gif) `f[i](x)` <img src="{raw}/network.png"> [c](https://c.d)'
    )


def test_the_address_of_the_repository_is_the_same_everywhere() -> None:
    owner = SETUP["metadata"]["url"].removeprefix("https://github.com/")
    files = [*ROOT.glob("*.*"), *(ROOT / ".github").rglob("*.*"), *(ROOT / "docs").glob("*.md")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in files if path.is_file()}
    found = {name: set(re.findall(r"github\.com/([\w-]+/microgradnd)\b", text)) for name, text in texts.items()}
    assert {name for name, owners in found.items() if owners} >= {"setup.cfg", "CITATION.cff", "SECURITY.md"}
    assert set().union(*found.values()) == {owner}


def test_supported_pythons_are_tested() -> None:
    pythons = program(".ci/release.py").PYTHONS
    assert pythons[0] == SETUP["options"]["python_requires"].removeprefix(">=")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    quoted = ", ".join(f'"{python}"' for python in pythons)
    assert f"python: [{quoted}]" in workflow
    assert f"{pythons[0]} to {pythons[-1]}" in (ROOT / "docs" / "support.md").read_text()


def complaints(name: str, text: str) -> list[str]:
    """Return what is wrong with a file in changes/."""
    kinds = "|".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["fragment"])
    tests = {
        f"a name such as 17.fixed.md or +vmap-axis.fixed.md, with {kinds}": re.fullmatch(
            rf"(\d+|\+[a-z0-9-]+)\.({kinds})\.md", name
        ),
        "one paragraph that ends a sentence, and no list": re.fullmatch(r"[^-*#\s](.|\n(?!\n))*[.)]\n?", text),
        "98 columns at most": all(len(line) <= 98 for line in text.splitlines()),
    }
    return [wish for wish, holds in tests.items() if not holds]


def test_changes_have_the_form_that_the_change_log_needs() -> None:
    files = [path for path in (ROOT / "changes").iterdir() if path.name not in ("README.md", "template.md")]
    assert {path.name: found for path in files if (found := complaints(path.name, path.read_text()))} == {}
    assert complaints("+vmap-axis.fixed.md", "The error names the axis, and\nthe argument.\n") == []
    assert complaints("17.faster.md", "To adapt: write `x` (or `y`.)") == []
    assert len(complaints("vmap.fixed.md", "- A list.\n")) == 2
    assert len(complaints("+x.other.md", "Two.\n\nParagraphs.\n")) == 2
    assert len(complaints("+x.added.md", "No full stop " + 90 * "x")) == 2
