"""Two computations side by side: what belongs together, and what is marked as
different.
"""

from __future__ import annotations

import copy
import re
import sys
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim, viz
from microgradnd.nn import functional as F
from microgradnd.viz.render import render

SVG = "{http://www.w3.org/2000/svg}"
module: Any = sys.modules["microgradnd.viz.compare"]


def loss(slope: Any = 1.0, power: int = 2, shift: Any = None, dtype: Any = float, name: str = "w") -> mg.Tensor:
    w = mg.tensor(np.full(3, slope, dtype), requires_grad=True, name=name)
    y: Any = w * 2
    if shift is not None:
        y = y + shift
    return np.sum(y**power)


def nodes(drawing: Any) -> dict[str, list[str]]:
    """Return the texts of each node of the picture, by its id."""
    root = ElementTree.fromstring(render(drawing.source, "svg"))
    groups = [group for group in root.iter(f"{SVG}g") if group.get("class") == "node"]
    return {str(g.findtext(f"{SVG}title")): [str(t.text).strip("\xa0 ") for t in g.iter(f"{SVG}text")] for g in groups}


def marks(drawing: Any) -> dict[str, str]:
    """Return what is said of the nodes that differ."""
    root = ElementTree.fromstring(render(drawing.source, "svg"))
    found = {}
    for group in root.iter(f"{SVG}g"):
        texts = [t for t in group.iter(f"{SVG}text") if t.get("fill") == module.DIFFERS]
        if group.get("class") == "node" and texts:
            found[str(group.findtext(f"{SVG}title"))] = " ".join(str(t.text) for t in texts)
    return found


def notes(drawing: Any) -> list[str]:
    return [text for text in re.findall(r"[<>]([^<>]+)<br align", drawing.source) if text]


def test_equal_computations_have_no_marks() -> None:
    drawing = viz.compare(loss(), loss())
    assert marks(drawing) == {}
    assert notes(drawing) == ["There is no difference."]
    texts = nodes(drawing)
    assert {id[1:] for id in texts if id[0] == "a"} == {id[1:] for id in texts if id[0] == "b"}
    assert all(texts[f"b{id[1:]}"] == text for id, text in texts.items() if id[0] == "a")
    assert "first" in drawing.source
    assert "second" in drawing.source


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (loss(), loss(power=3), {"n2": "x² ≠ x³, values differ by 50%", "result": "values differ by 50%"}),
        (loss(), loss(2.0), dict.fromkeys(["n0", "n1"], "values differ by 50%")),
        (loss(), loss(1 + 1e-9), {"n0": "values differ by 1e-07%"}),
        (loss(np.nan), loss(), {"n0": "3 NaN of 3 ≠ all finite"}),
        (loss(), loss(dtype=np.float32), {"n0": "float64 ≠ float32", "n1": "float64 ≠ float32"}),
        (loss(), loss([1.0, 1.0, 2.0]), {"n0": "values differ by 50%"}),
        (mg.tensor([np.inf, 1.0]), mg.tensor([np.inf, 2.0]), {"n0": "values differ by 50%"}),
        (mg.tensor(1.0, name="w"), mg.tensor(np.ones(1), name="w"), {"n0": "() ≠ (1,)"}),
        (mg.tensor(1j), mg.tensor(1 + 0j), {"n0": "values differ by 141%"}),
    ],
)
def test_how_things_differ(a: Any, b: Any, said: dict[str, str]) -> None:
    found = marks(viz.compare(a, b))
    for side in "ab":
        told = {id: found[f"{side}_{id}"].removeprefix("≠ ").partition(", gradients")[0] for id in said}
        assert told == said
    assert all("≠" in text for text in found.values())


def test_values_that_are_equal_but_for_rtol() -> None:
    assert marks(viz.compare(loss(), loss(1 + 1e-9), rtol=1e-6)) == {}
    assert marks(viz.compare(loss(np.inf), loss(np.inf))) == {}


def test_what_is_only_on_one_side() -> None:
    drawing = viz.compare(loss(), loss(shift=0.0), ("healthy", "broken"))
    assert marks(drawing) == {"b_n2": "≠ only here"}
    assert notes(drawing) == ["The first difference: + 0 (only here).", "1 of 6 nodes differ."]
    same = re.findall(r"rank=same; (\w+); (\w+)", drawing.source)
    assert same == [("a_n1", "b_n1"), ("a_n2", "b_n3"), ("a_n3", "b_n4")]


def test_operations_that_belong_together_are_side_by_side() -> None:
    root = ElementTree.fromstring(render(viz.compare(loss(), loss(shift=0.0)).source, "svg"))
    groups = {str(g.findtext(f"{SVG}title")): g for g in root.iter(f"{SVG}g") if g.get("class") == "node"}
    centres = {id: next(g.iter(f"{SVG}text")).get("y") for id, g in groups.items()}
    assert centres["a_n2"] == centres["b_n3"]
    xs = {id: float(str(next(g.iter(f"{SVG}text")).get("x"))) for id, g in groups.items()}
    assert max(x for id, x in xs.items() if id[0] == "a") < min(x for id, x in xs.items() if id[0] == "b")


def test_gradients_are_compared() -> None:
    def halfway(slope: float) -> Any:  # the values are equal, the derivatives are not
        w = mg.tensor(np.zeros(3), requires_grad=True, name="w")
        return np.sum(w * slope)

    marked = marks(viz.compare(halfway(1.0), halfway(2.0)))
    assert marked["a_n0"] == marked["b_n0"] == "≠ gradients differ by 50%"
    assert "a_n2" not in marked


def test_before_and_after_a_step() -> None:
    model = nn.Sequential(nn.Linear(2, 3, rng=np.random.default_rng(0)), nn.Tanh(), nn.Linear(3, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = np.ones((4, 2))
    old = F.mse_loss(model(x), np.zeros((4, 1)))
    before = F.mse_loss(copy.deepcopy(model)(x), np.zeros((4, 1)))
    old.backward()
    optimizer.step()
    after = F.mse_loss(model(x), np.zeros((4, 1)))
    drawing = viz.compare(before, after, ("before", "after"))
    assert all(text.startswith("≠ ") and "differ by" in text for text in marks(drawing).values())
    assert notes(drawing)[0].startswith("The first difference: 0.weight (values differ by ")
    with pytest.raises(ValueError, match=r"'0.weight' was changed after 'before' was computed.*copy.deepcopy"):
        viz.compare(old, after, ("before", "after"))


def test_large_and_odd_computations() -> None:
    def loop(steps: int) -> Any:
        x: Any = mg.tensor(np.ones(2), requires_grad=True, name='"<b>')
        for _ in range(steps):
            x = np.tanh(x * 1.5)
        return x

    drawing = viz.compare(loop(50), loop(60), max_nodes=20, rankdir="LR")
    assert marks(drawing)["a_n2"].startswith("×50 ≠ ×60")
    done = loss()
    done.backward()
    render(viz.compare(done, loss()).source, "svg")
    render(viz.compare(mg.tensor(np.zeros((0, 2))), mg.tensor(np.zeros((0, 2)))).source, "svg")
