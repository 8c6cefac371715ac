"""`make release`: the packages are built, checked, and tested as users will have them.

Owns: the sdist and the wheel; what index and wheel must look like; the tests of the
installed package on every supported Python that is found.
Must not own: the upload, which a person does with the command that is printed, or the
change log (towncrier).
Read next: `CONTRIBUTING.md`, "A release".

    python .ci/release.py                 everything
    python .ci/release.py check FOLDER    the checks of packages that are built
    python .ci/release.py -- TEST ...     everything, with these tests instead of all

PYTHONS="/a/bin/python /b/bin/python" adds interpreters to those that are found.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
WORK = ROOT / "out" / "release"
LARGEST_WHEEL = 1_200_000  # bytes

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
PYTHONS = re.findall(r"Python :: (3\.\d+)$", SETUP["metadata"]["classifiers"], flags=re.M)

# What is tested about the repository, not about the installed package
ABOUT_THE_REPOSITORY = (
    "tests/test_architecture.py",
    "tests/test_mutants.py",
    "tests/test_packaging.py",
    "tests/test_site.py",
    "tests/test_typing.py",
)


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Show a command and run it; if it fails, so does this program."""
    print("+", *command, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment())
    if done.returncode:
        sys.exit(f"release: this command failed, see above: {' '.join(map(str, command))}")


def environment() -> dict[str, str]:
    """Return the variables that programs are run with: without those that could show
    them the source tree, or keep setuptools from compiling.
    """
    unwanted = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "PYENV_VERSION")
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def obstacles() -> list[str]:
    """Return the reasons why what is built here must not be uploaded."""
    found = []
    changes = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    if changes:
        found.append("there are changes that aren't committed")
    if fragments := [path.name for path in (ROOT / "changes").iterdir() if path.name.count(".") == 2]:
        found.append(
            f"{len(fragments)} changes aren't in CHANGELOG.md yet: set __version__, then `make changelog WRITE=yes`"
        )
    return found


def build() -> tuple[Path, Path]:
    """Build and return the sdist, and the wheel from it."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-W", "error", "-m", "build", "--outdir", DIST)
    return packages(DIST)


def packages(folder: Path) -> tuple[Path, Path]:
    """Return the one sdist and the one wheel in a folder."""
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def check(sdist: Path, wheel: Path) -> None:
    """Check what an index shows, what the wheel holds, and its size."""
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    run(sys.executable, "-m", "check_wheel_contents", wheel)
    size = wheel.stat().st_size
    if size > LARGEST_WHEEL:
        sys.exit(f"release: {wheel.name} has {size:,} bytes, and must have {LARGEST_WHEEL:,} at most")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        readme = Parser().parsestr(archive.read(name).decode()).get_payload()
    assert isinstance(readme, str)
    if relative := relative_links(readme):
        sys.exit(f"release: the README has links that lead nowhere on an index: {', '.join(relative)}")
    print(f"release: {wheel.name} has {size:,} bytes of {LARGEST_WHEEL:,}")


def relative_links(text: str) -> list[str]:
    """Return the links and pictures of a text in Markdown that have no address."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    links = re.findall(r'\]\(([^)\s]+)|(?:src|srcset|href)="([^"]+)"', prose)
    return [link for pair in links for link in pair if link and not link.startswith(("https://", "#"))]


def interpreters() -> dict[str, Path]:
    """Return the Pythons that are found, of those that the classifiers name."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [Path(name) for name in os.environ.get("PYTHONS", "").split()]
    for version in PYTHONS:
        on_path = shutil.which(f"python{version}")
        candidates += [Path(on_path)] if on_path else []
        candidates += sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    found: dict[str, Path] = {}
    for path in [*candidates, Path(sys.executable)]:
        program = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2], sys.implementation.name)"
        done = subprocess.run([path, "-c", program], capture_output=True, text=True, env=environment())
        version, _, kind = done.stdout.strip().partition(" ")
        if done.returncode == 0 and version in PYTHONS and kind == "cpython":
            found.setdefault(version, path)
    return {version: found[version] for version in PYTHONS if version in found}


def test_installed(version: str, interpreter: Path, sdist: Path, wheel: Path, tests: list[str]) -> None:
    """Install the wheel in a new environment, and run the sdist's tests against it."""
    home = WORK / version
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    run(interpreter, "-m", "venv", home / "venv")
    python = next(path for path in (home / "venv").glob("*/python*") if path.stem == "python")
    run(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", f"{wheel}[test]")
    with tarfile.open(sdist) as archive:
        archive.extractall(home, filter="data")
    tree = home / sdist.name.removesuffix(".tar.gz")
    for folder in ("microgradnd", "viz"):
        shutil.rmtree(tree / folder)
    # Tests import one another, and read the library's files where the tree has them
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip())
    (site / "tests.pth").write_text(f"{tree}\n")
    (tree / "microgradnd").symlink_to(site / "microgradnd")
    (tree / "viz").symlink_to(site / "microgradnd" / "viz")
    skipped = [f"--ignore={name}" for name in ABOUT_THE_REPOSITORY]
    run(
        python, "-P", "-m", "pytest", "-q", "-n", "auto", *skipped, *(tests or ["tests", "docs", "README.md"]), cwd=tree
    )


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if arguments[:1] == ["check"]:
        check(*packages(Path(arguments[1])))
        return
    reasons = obstacles()
    sdist, wheel = build()
    check(sdist, wheel)
    found = interpreters()
    for version, interpreter in found.items():
        test_installed(version, interpreter, sdist, wheel, arguments[1:])
    missing = [version for version in PYTHONS if version not in found]
    print(f"\nrelease: {sdist.name} and {wheel.name} pass on Python {', '.join(found)}")
    if missing:
        print(f"release: not tested, since not found: Python {', '.join(missing)} (PYTHONS=/path/to/python adds one)")
    if reasons:
        sys.exit(f"release: not to be uploaded: {'; '.join(reasons)}")
    tag = f"v{sdist.name.removesuffix('.tar.gz').rpartition('-')[2]}"
    print(f"release: to publish it:\n\n    git tag {tag} && git push origin {tag}  # the README's pictures are those")
    print(f"    {sys.executable} -m twine upload {sdist} {wheel}")


if __name__ == "__main__":
    main(sys.argv[1:])
