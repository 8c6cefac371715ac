"""What type checkers know of the library: programs in `typing/` say in comments what
mypy must find.

`# -> T` after a `reveal_type` is the type that it reveals, `# error: code` the error on
a line. Nothing else may be found. The programs see the library as users do who have
installed it: with `viz/` in its place.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted((ROOT / "tests" / "typing").glob("*.py"))
SHORT = (
    (r"microgradnd\.tensor\.Tensor\[Any\]", "Tensor"),
    (r"numpy\.ndarray\[tuple\[Any, \.\.\.\], numpy\.dtype\[Any\]\]", "NDArray"),
    (r"numpy\.ndarray\[tuple\[Any, \.\.\.\], numpy\.dtype\[numpy\.(\w+)\]\]", r"NDArray[\1]"),
    (r"\b(\w+\.)+(?=[A-Z]\w*\b)", ""),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[int, str]]]:
    """Return what mypy finds in each program, by file name: lines, with comments as
    they should be there.
    """
    pytest.importorskip("mypy", reason="mypy is not installed")
    folder = tmp_path_factory.mktemp("installed")
    package = folder / "microgradnd"
    package.mkdir()
    for path in (ROOT / "microgradnd").iterdir():
        (package / path.name).symlink_to(path)
    (package / "viz").symlink_to(ROOT / "viz")
    settings = folder / "mypy.ini"
    settings.write_text(f"[mypy]\nmypy_path = {folder}\n[mypy-microgradnd.*]\nfollow_imports = silent\n")
    options = ["--strict", "--config-file", settings, "--cache-dir", folder / "cache", "--no-error-summary"]
    command = [sys.executable, "-m", "mypy", *options, *PROGRAMS]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert run.stderr == ""
    comments: dict[str, set[tuple[int, str]]] = {path.name: set() for path in PROGRAMS}
    for line in run.stdout.splitlines():
        place = re.match(r"(?P<file>.*?):(?P<line>\d+): (?P<kind>error|note): (?P<text>.*)", line)
        assert place is not None, line
        if revealed := re.fullmatch(r'Revealed type is "(.*)"', place["text"]):
            text = revealed[1]
            for pattern, short in SHORT:
                text = re.sub(pattern, short, text)
            comments[Path(place["file"]).name].add((int(place["line"]), f"# -> {text}"))
        elif place["kind"] == "error":
            code = re.search(r"\[([\w-]+)\]$", place["text"])
            comments[Path(place["file"]).name].add((int(place["line"]), f"# error: {code[1] if code else line}"))
    return comments


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_types(path: Path, found: dict[str, set[tuple[int, str]]]) -> None:
    lines = enumerate(path.read_text().splitlines(), 1)
    expected = {(i, comment[0]) for i, line in lines if (comment := re.search(r"# (->|error:) .*", line))}
    assert found[path.name] == expected
