"""Faults in what is packaged: the README on an index, the checks of `make release`.

Owns: the entries for `setup.py`, `.ci/release.py` and the choice of what an import
loads.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_packaging.py`.
"""

PACKAGING = "tests/test_packaging.py"
FAULTS: list[tuple[str, ...]] = [
    ("setup.py", "if not (ROOT / path).exists():", "if False:", PACKAGING),
    ("setup.py", "path.endswith(PICTURES)", "False", PACKAGING),
    ("setup.py", "(?:src|srcset|href)", "(?:srcset|href)", PACKAGING),
    (".ci/release.py", 'link and not link.startswith(("https://", "#"))', "False", PACKAGING),
    (".ci/release.py", 'r"Python :: (3\\.\\d+)$"', 'r"Python :: (3)"', PACKAGING),
    ("microgradnd/nn/fit.py", "from microgradnd import optim\n", "from microgradnd import optim, saving\n", PACKAGING),
    ("microgradnd/inplace.py", "HELD = references_of_a_variable()", "HELD = 9", "tests/test_promises.py"),
]
