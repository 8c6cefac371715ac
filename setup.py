"""README.md as package indexes show it: its links and pictures lead to the repository.

Owns: the long description of the packages.
Must not own: any other metadata (`setup.cfg`).
Read next: `setup.cfg`.
"""

import configparser
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
TARGET = re.compile(r'(?P<before>!?\[[^]]*\]\(|(?:src|srcset|href)=")(?P<path>[^)"#:\s]+)')
PICTURES = (".gif", ".png", ".svg", ".webp")


def absolute(text: str, repository: str, tag: str) -> str:
    """Return a text in Markdown whose relative links and pictures lead to a repository.

    Parameters
    ----------
    text : str
        Links that lead to no file of this folder stay unchanged.
    repository : str
        The address of a repository on GitHub.
    tag : str
        The tag or branch whose files are linked to.
    """
    raw = repository.replace("https://github.com/", "https://raw.githubusercontent.com/")

    def replace(link: re.Match[str]) -> str:
        path = link["path"]
        if not (ROOT / path).exists():
            return link[0]
        base = f"{raw}/{tag}" if path.endswith(PICTURES) else f"{repository}/blob/{tag}"
        return f"{link['before']}{base}/{path}"

    return TARGET.sub(replace, text)


if __name__ == "__main__":
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    code = (ROOT / "microgradnd" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', code, flags=re.M)[0]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=absolute(readme, config["metadata"]["url"], f"v{version}"),
        long_description_content_type="text/markdown",
    )
