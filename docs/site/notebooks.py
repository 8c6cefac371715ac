"""A chapter as a notebook, executed.

Owns: the division into cells, and the attached pictures.
Must not own: where the site puts notebooks (`hooks.py`).
Read next: `reference.py`.
"""

from __future__ import annotations

import base64
import doctest
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FENCE = re.compile(r"^```python\n(>>>.*?)^```$", flags=re.M | re.S)  # any other code doesn't run
PICTURE = re.compile(r"!\[(.*?)\]\(([\w-]+\.(?:svg|png|gif))\)")
MEDIA = {"svg": "image/svg+xml", "png": "image/png", "gif": "image/gif"}


def notebook_of(text: str) -> Any:
    """Return a chapter as a notebook: prose, and a cell per output, without outputs."""
    text = re.sub(r"(\]\(\d[\w-]*)\.md", r"\1.ipynb", text)  # the other chapters are notebooks too
    text = re.sub(r"(\]\(\.\./[\w/-]+)\.md", r"\1.html", text)
    cells = []
    for i, part in enumerate(FENCE.split(text)):
        if i % 2 == 0 and part.strip():
            cells.append(nbformat.v4.new_markdown_cell(part.strip()))
        elif i % 2:
            cells += code_cells(part)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def code_cells(code: str) -> list[Any]:
    """Return the cells of a block of doctests: a cell ends at each output."""
    examples = doctest.DocTestParser().get_examples(code)
    cells, source = [], ""
    for example in examples:
        source += re.sub(r"  # doctest:.*", "", example.source)
        if example.want or example is examples[-1]:
            tags = ["raises-exception"] if example.exc_msg else []
            cells.append(nbformat.v4.new_code_cell(source.strip(), metadata={"tags": tags} if tags else {}))
            source = ""
    return cells


def executed(name: str, text: str) -> tuple[str, str, dict[str, bytes]]:
    """Return a chapter's name, its executed notebook and the pictures it wrote."""
    notebook = notebook_of(text)
    with tempfile.TemporaryDirectory() as folder:
        quiet = ["--log-level=40"]  # or kernels warn that they listen without encryption, on this machine
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, kernel_name="python3", timeout=120, extra_arguments=quiet, resources=place).execute()
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix[1:] in MEDIA}
    for cell in notebook.cells:
        shown = [name for _, name in PICTURE.findall(cell.source)] if cell.cell_type == "markdown" else []
        if shown:
            attached = {name: {MEDIA[name[-3:]]: base64.b64encode(files[name]).decode()} for name in shown}
            cell["attachments"] = attached
            cell["source"] = PICTURE.sub(r"![\1](attachment:\2)", cell.source)
    return name, nbformat.writes(notebook), files
