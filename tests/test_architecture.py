"""The house rules, read from the syntax tree: who imports whom, what each file says of
itself, how long the engine is.

A new module of the library takes its place in `MAY_IMPORT`.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"microgradnd": ROOT / "microgradnd", "microgradnd.viz": ROOT / "viz"}
ENGINE = ("registry", "primitives", "tape", "tensor", "transforms")
# Everything that a recorded operation passes through, and how many lines of code it may
# have together
PASSED = (*ENGINE, "operators", "assignment", "arraylike", "views", "modes")
PASSED_LINES = 1500

# What the modules and packages directly under `microgradnd` may import from one
# another: imports run one way.
MAY_IMPORT: dict[str, set[str]] = {
    "refusals": set(),
    "absent": set(),
    "registry": set(),
    "primitives": {"registry"},
    "contraction": {"registry", "primitives"},
    "powers": {"registry"},
    "triangular": {"registry"},
    "batching": {"registry", "primitives", "contraction", "arraylike", "forms", "trees"},
    "rules": {"registry", "primitives", "contraction", "powers", "triangular", "batching", "forms"},
    "scipy": {"registry", "primitives", "rules"},
    "tape": {"registry", "broadcasting", "failures"},
    "views": {"primitives", "tape"},
    "lines": set(),
    "annotations": set(),
    "failures": {"annotations"},
    "advice": {
        "absent",
        "registry",
        "primitives",
        "tape",
        "lines",
        "operands",
        "forms",
    },  # loaded when an error is raised, by whoever raises it
    "broadcasting": set(),
    "decorators": set(),
    "suspended": {"tape"},
    "forms": {"registry", "primitives", "operands"},
    "trees": set(),
    "operands": {"registry", "tape", "lines"},
    "modes": {"tape", "decorators", "suspended"},
    "anew": {"batching", "registry", "tape", "tensor"},
    "anomaly": {"registry", "tape", "lines", "modes", "operands"},
    "data": {"anew", "operands", "settings"},
    "saving": {"states", "tensor", "trees"},
    "conversions": {"tape"},
    "display": {"registry", "tape"},
    "signatures": set(),
    "scan": {"tape", "trees"},
    "settings": {"signatures", "tensor"},
    "states": {"conversions", "tape", "tensor"},
    "scopes": {"tape", "lines", "modes"},
    "arraylike": {"registry", "primitives", "tape", "conversions", "display"},
    "inplace": {"primitives", "tape", "operands", "arraylike"},
    "outdated": {"primitives", "tape", "views", "tensor"},
    "matching": {"registry", "primitives", "operands", "inplace", "broadcasting", "batching", "tensor", "trees"},
    "vectorizing": {"batching", "matching", "trees"},
    "assignment": {"registry", "primitives", "tape", "operands", "views", "arraylike", "inplace", "conversions"},
    "operators": {
        "registry",
        "powers",
        "primitives",
        "tape",
        "operands",
        "arraylike",
        "conversions",
        "assignment",
        "inplace",
        "forms",
        "batching",
    },
    "gradients": {"tape", "broadcasting", "operands", "inplace", "arraylike"},
    "tensor": {
        "absent",
        "batching",
        "broadcasting",
        "gradients",
        "conversions",
        "forms",
        "operands",
        "views",
        "modes",
        "arraylike",
        "assignment",
        "operators",
        *ENGINE,
    },
    "transforms": {
        "registry",
        "primitives",
        "tape",
        "gradients",
        "batching",
        "matching",
        "trees",
        "operands",
        "modes",
        "tensor",
    },
    "jacobians": {
        "primitives",
        "tape",
        "transforms",
        "trees",
        "batching",
        "contraction",
        "matching",
        "modes",
        "tensor",
    },
    "recompute": {*ENGINE, "trees", "modes", "gradients", "matching"},
    "testing": {*ENGINE, "trees", "broadcasting", "matching"},
    "compiler": {
        *ENGINE,
        "suspended",
        "anew",
        "assignment",
        "batching",
        "contraction",
        "conversions",
        "forms",
        "inplace",
        "lines",
        "matching",
        "modes",
        "operands",
        "powers",
        "recompute",
        "rules",
        "scan",
        "trees",
        "triangular",
        "views",
    },
    "nn": {
        *ENGINE,
        "absent",
        "anew",
        "anomaly",
        "broadcasting",
        "contraction",
        "data",
        "lines",
        "modes",
        "optim",
        "recompute",
        "rules",
        "saving",
        "scan",
        "scopes",
        "settings",
        "trees",
        "operands",
        "operators",
        "signatures",
        "states",
    },
    "distributed": {*ENGINE, "anew", "compiler", "matching", "modes", "nn", "settings", "trees"},
    "steps": {"distributed", "nn", "optim", "saving", "trees"},
    "onnx": {*ENGINE, "compiler", "data", "lines", "modes", "nn", "rules", "saving", "scan", "trees"},
    "optim": {
        *ENGINE,
        "assignment",
        "conversions",
        "jacobians",
        "matching",
        "modes",
        "operands",
        "settings",
        "states",
        "trees",
    },
    "viz": {*ENGINE, "anomaly", "broadcasting", "lines", "modes", "nn", "optim", "saving", "trees"},
    "reasons": {*ENGINE, "lines", "nn", "viz"},
    "__main__": {"lines", "modes", "tape", "tensor", "viz"},
}


def library() -> dict[str, Path]:
    """Return the dotted name and path of every file of the library."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [*package.split("."), *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


LIBRARY = library()


def imports(source: str, module_level: bool = False) -> set[str]:
    """Return the dotted names that a file imports; with `module_level`, only those that
    importing the file imports.

    `from a import b` counts as a.b, which may be a module or a name in one.
    """
    names: set[str] = set()
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full, from microgradnd"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif not (module_level and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types(node))):
            todo.extend(ast.iter_child_nodes(node))
    return names


def is_for_types(node: ast.AST) -> bool:
    """Return whether a node is `if TYPE_CHECKING:`, which never runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def house(name: str) -> str:
    """Return the part of the house that a dotted name belongs to: `tape` for
    microgradnd.tape.Leaf.
    """
    return name.split(".")[1] if "." in name else ""


def wrong_imports(name: str, source: str) -> set[str]:
    """Return what a file imports from parts of the house that it must not know."""
    allowed = MAY_IMPORT[house(name)] | {house(name), "advice", "annotations", "failures", "refusals"}
    ours = {imported for imported in imports(source) if imported.split(".")[0] == "microgradnd"}
    return {imported for imported in ours if house(imported) not in allowed}


def test_every_part_of_the_house_has_its_place() -> None:
    assert {house(name) for name in LIBRARY} - {""} == set(MAY_IMPORT)


def test_the_guide_names_every_file() -> None:
    guide = (ROOT / "docs" / "architecture.md").read_text()
    together = {"rules", "scipy", "plots"}  # folders that the guide names as one
    unnamed = [
        name
        for name, path in LIBRARY.items()
        if f"`{path.name}`" not in guide and path.name != "__init__.py" and path.parent.name not in together
    ]
    assert unnamed == []


def test_imports_run_one_way() -> None:
    found = {name: wrong_imports(name, path.read_text()) for name, path in LIBRARY.items() if house(name)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("microgradnd.rules.shape", "from microgradnd.tensor import Tensor"),
        ("microgradnd.tensor", "from microgradnd import rules"),
        ("microgradnd.tensor", "def f():\n    import microgradnd.rules.shape"),
        ("microgradnd.tape", "import microgradnd"),
        ("microgradnd.nn.linear", "from microgradnd import viz"),
    ],
)
def test_a_wrong_import_is_found(name: str, source: str) -> None:
    assert wrong_imports(name, source)


def test_imports_of_a_file_and_of_importing_it() -> None:
    source = "import numpy\nif TYPE_CHECKING:\n    import torch\ndef f():\n    from graphviz import Digraph\n"
    assert imports(source) == {"numpy", "torch", "graphviz.Digraph"}
    assert imports(source, module_level=True) == {"numpy"}


@pytest.mark.parametrize("name", LIBRARY)
def test_importing_a_file_imports_only_numpy_and_the_standard_library(name: str) -> None:
    source = LIBRARY[name].read_text()
    roots = {imported.split(".")[0] for imported in imports(source, module_level=house(name) not in ENGINE)}
    assert roots - sys.stdlib_module_names - {"numpy", "microgradnd"} == set()


@pytest.mark.parametrize("name", LIBRARY)
def test_a_file_says_what_it_owns(name: str) -> None:
    docstring = ast.get_docstring(ast.parse(LIBRARY[name].read_text())) or ""
    for heading in ("Owns:", "Must not own:", "Read next:"):
        assert f"\n{heading} " in docstring


@pytest.mark.parametrize("name", LIBRARY)
def test_the_files_to_read_next_exist(name: str) -> None:
    path = LIBRARY[name]
    paragraph = re.split(r"^Read next:", ast.get_docstring(ast.parse(path.read_text())) or "", flags=re.M)[1]
    named = re.findall(r"`([\w./]+(?:\.py|/))`", paragraph.split("\n\n")[0])
    assert [
        file for file in named if not any((at / file).exists() for at in (path.parent, *FOLDERS.values(), ROOT))
    ] == []


def code_lines(source: str) -> int:
    """Return how many lines hold code: blank lines, comments and docstrings don't
    count.
    """
    not_code = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in not_code:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def test_code_lines_are_counted() -> None:
    source = (
        '"""A file.\n\nIts story.\n"""\n\n# why\nx = (\n    1,\n    """a\n    text""",\n)\n\ndef f():\n    """Do."""\n'
    )
    assert code_lines(source) == 6


def test_what_an_operation_passes_through_stays_short() -> None:
    lengths = {name: code_lines(LIBRARY[f"microgradnd.{name}"].read_text()) for name in PASSED}
    assert sum(lengths.values()) <= PASSED_LINES, lengths


@pytest.mark.parametrize("statement", ["import microgradnd", "from microgradnd import nn, optim, viz"])
def test_importing_the_library_loads_numpy_and_nothing_else(statement: str) -> None:
    program = (
        f"import sys; before = set(sys.modules); {statement}\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert set(loaded) == {"numpy", "microgradnd"}
