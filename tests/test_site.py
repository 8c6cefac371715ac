"""The site: its reference is complete, and chapters become notebooks.

Owns: what `docs/site/` makes of names, rules and chapters.
Must not own: the code in the pages, which runs as doctests; links and notebooks that
run, which `make docs` checks.
Read next: `../docs/site/reference.py`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from docs.site import reference
from tests.test_coverage import FUNCTIONS

ROOT = Path(__file__).parents[1]
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
LISTED = [
    (module, name)
    for path in REFERENCE
    for module, names in reference.NAMES.findall(path.read_text())
    for name in names.split()
]
MODULES = ("", ".nn", ".nn.functional", ".optim", ".viz")  # those that list their public names


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference_once(module: str) -> None:
    found = importlib.import_module(f"microgradnd{module}")
    public = [name for name in found.__all__ if callable(getattr(found, name))]
    listed = [name for place, name in LISTED if place == found.__name__]
    assert sorted(listed) == sorted(public)


def test_a_class_has_its_signature_its_sections_and_links() -> None:
    text = reference.filled("<!-- names microgradnd.optim: AdamW -->", "reference/optim.md")
    assert text.startswith(
        "### AdamW { #microgradnd.optim.AdamW }\n\n```python\nmg.optim.AdamW(\n    params,\n    lr=0.001,"
    )
    assert "`weight_decay` : float\n:   The share" in text
    assert "**See also** [`Adam`](optim.md#microgradnd.optim.Adam)" in text
    assert "```pycon\n>>> import" in text
    assert "w &lt;- w" in text  # no tag


def test_methods_are_shown_where_they_are_new() -> None:
    assert "#### Module.state_dict" in reference.filled("<!-- names microgradnd.nn: Module -->", "reference/nn.md")
    assert "####" not in reference.filled("<!-- names microgradnd.nn: Linear -->", "reference/nn.md")


def test_see_also_leads_somewhere() -> None:
    lost = []
    for module, name in LISTED:
        section = (inspect.getdoc(getattr(importlib.import_module(module), name)) or "").partition(
            "See Also\n--------\n"
        )
        lines = re.sub(r"\n\s+", " ", section[2].split("\n\n")[0]).splitlines()
        named = [other for line in lines for other in line.partition(" : ")[0].split(", ")]
        lost += [f"{module}.{name}: {other}" for other in named if other not in reference.places()]
    assert lost == []


def test_the_table_has_every_function_of_numpy() -> None:
    table = reference.derivatives()
    assert [name for name in FUNCTIONS if f"`{name.replace('numpy', 'np')}`" not in table] == []
    rows = {row.split("|")[1].strip(): row for row in table.splitlines() if row.startswith("| `np.")}
    assert "| `g * np.cos(x)` |" in rows["`np.sin`"]
    assert "| `g`<br>`-g` |" in rows["`np.subtract`"]
    assert "`1., 1.` → `0.5, 0.5`" in rows["`np.maximum`"]  # the kink, from the rows of the tests
    assert "| `np.std` | `[0.1, 0.1, 0.1]` → `[0., 0., 0.]`" in table  # of a function without a rule of its own
    assert "it writes to a file" in table


def test_scipy_has_a_table_too() -> None:
    pytest.importorskip("scipy", reason='derivatives of SciPy\'s functions: pip install "microgradnd[scipy]"')
    assert "| `special.expit` | `g * (out * expit(-x))` |" in reference.scipy_derivatives()


CHAPTER = """# A chapter

See [the next](02-next.md), and [how](../how-to/kinks.md#nan).

```python
>>> x = 1
>>> for i in range(2):
...     print(i + x)
1
2
>>> 1 / 0  # doctest: +ELLIPSIS
Traceback (most recent call last):
ZeroDivisionError: division by zero

```

![A picture](picture.png)

```python
step = compiled(step)  # only to be read
```
"""


def test_a_chapter_becomes_a_notebook() -> None:
    pytest.importorskip("nbclient", reason='notebooks are made: pip install "microgradnd[docs]"')
    from docs.site.notebooks import notebook_of

    first, loop, error, rest = notebook_of(CHAPTER).cells
    assert first.source == "# A chapter\n\nSee [the next](02-next.ipynb), and [how](../how-to/kinks.html#nan)."
    assert loop.source == "x = 1\nfor i in range(2):\n    print(i + x)"
    assert (error.source, error.metadata) == ("1 / 0", {"tags": ["raises-exception"]})
    assert rest.cell_type == "markdown"
    assert "step = compiled(step)" in rest.source
