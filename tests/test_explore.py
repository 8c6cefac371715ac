"""The data of the page to walk through, and that it is one file, safe to open.

Owns: `viz/explore.py` and the files that a page is made of.
Must not own: what the page does in a browser (`test_browser.py`).
Read next: `test_browser.py`.
"""

from __future__ import annotations

import base64
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.nn import functional as F
from microgradnd.viz.explore import BINS, NOT_FINITE, PAGE, PARTS, SCRIPTS, bundled, described, document, formula, page
from microgradnd.viz.model import Node
from microgradnd.viz.values import values_of

HOSTILE = "</script><script>alert(1)</script><!-- \"quoted\" 'single' \n\t\u2028 🎉 ${x} @@data@@ " + "w" * 10_000


def network() -> mg.Tensor:
    """Return the loss of a small network, with names."""
    rng = np.random.default_rng(0)
    x, y = mg.tensor(rng.normal(size=(10, 3)), name="x"), mg.tensor(rng.normal(size=(10, 1)), name="y")
    w1 = mg.tensor(rng.normal(size=(3, 8)), requires_grad=True, name="w1")
    b1 = mg.tensor(np.zeros(8), requires_grad=True, name="b1")
    w2 = mg.tensor(rng.normal(size=(8, 1)), requires_grad=True, name="w2")
    return np.sum((F.relu(x @ w1 + b1) @ w2 - y) ** 2)


def nodes_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes with what they have in common with others, as the page reads
    them.
    """
    return [{"name": "", **told["kinds"][node["is"]], **node} for node in told["nodes"]]


def edges_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the edges too, with the ids of the nodes that they connect."""
    ids = [node["id"] for node in told["nodes"]]
    return [
        {**told["rules"][rule], "source": ids[source], "target": ids[target], **(own[0] if own else {})}
        for source, target, rule, *own in told["edges"]
    ]


def by_name(told: dict[str, Any]) -> dict[str, Any]:
    return {node["name"]: node for node in nodes_of(told) if node["name"]}


def scopes_of(told: dict[str, Any], node: dict[str, Any]) -> list[str]:
    """Return the labels of the scopes around a node, outermost first."""
    found, place = [], node["in"]
    while place >= 0:
        found.insert(0, told["scopes"][place]["title"])
        place = told["scopes"][place]["parent"]
    return found


def numbers_of(told: dict[str, Any]) -> np.ndarray:
    """Return the numbers of a heat map, NaN where they aren't finite."""
    heat = told["heat"]
    levels = np.frombuffer(base64.b64decode(heat["levels"]), np.uint8).reshape(heat["rows"], heat["columns"])
    numbers = told["lowest"] * (1 - levels / 254) + told["highest"] * (levels / 254)
    return np.where(levels == NOT_FINITE, np.nan, numbers)


def test_what_a_page_is_told_of_a_network() -> None:
    told = document(network())
    assert [node["formula"] for node in nodes_of(told) if node["formula"]] == [
        "x @ y",
        "x + y",
        "relu(x)",
        "x @ y",
        "x − y",
        "x²",
        "Σ(x)",
    ]
    assert told["operations"] == 7
    assert not told["freed"]
    named = by_name(told)
    assert {name: node["kind"] for name, node in named.items()} == {
        "x": "input",
        "y": "input",
        "w1": "parameter",
        "b1": "parameter",
        "w2": "parameter",
    }
    into = {edge["source"]: edge for edge in edges_of(told)}
    assert into[named["b1"]["id"]]["summed"] == "summed over axis 0"
    assert into[named["b1"]["id"]]["letter"] == "y"
    assert not into[named["x"]["id"]]["flows"]
    assert nodes_of(told)[-1]["kind"] == "result"


def test_gradients_are_computed_for_the_page_and_nothing_changes() -> None:
    rng = np.random.default_rng(1)
    w = mg.tensor(rng.normal(size=(2, 2)), requires_grad=True, name="w")
    loss = np.sum(np.tanh(w @ w) * w)
    told = by_name(document(loss))["w"]
    assert w.grad is None
    loss.backward()  # the arrays are still there
    assert np.allclose(told["grad"]["elements"], w.grad, rtol=1e-5)
    assert np.allclose(told["values"]["elements"], w.data, rtol=1e-5)


def test_a_gradient_that_is_a_sum_comes_with_its_parts() -> None:
    x = mg.tensor(3.0, requires_grad=True, name="x")
    told = document(x * x + x)
    parts = [edge["grad"] for edge in edges_of(told) if edge["source"] == by_name(told)["x"]["id"]]
    assert sorted(parts) == [1.0, 3.0, 3.0]
    assert by_name(told)["x"]["grad"] == 7.0


def test_after_backward_a_page_says_what_is_gone() -> None:
    loss = network()
    loss.backward()
    told = document(loss)
    assert told["freed"]
    assert "grad" in by_name(told)["w1"]
    kept = network()
    kept.backward(retain_graph=True)
    assert not document(kept)["freed"]


def test_a_result_of_several_elements_and_a_leaf() -> None:
    w = mg.tensor(np.arange(3.0), requires_grad=True, name="w")
    assert by_name(document(w * w))["w"]["grad"]["elements"] == [0.0, 2.0, 4.0]
    told = document(w)
    assert [node["kind"] for node in nodes_of(told)] == ["parameter"]
    assert told["edges"] == []


def test_modules_are_scopes_and_lines_are_told() -> None:
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(3, 4, rng=rng), nn.Tanh(), nn.Linear(4, 1, rng=rng))
    with mg.scope("loss", lines=True):
        loss = np.sum(net(np.ones((2, 3))) ** 2)
    told = document(loss)
    assert {scope["kind"] for scope in told["scopes"]} == {"module", "scope"}
    assert all(scope["parent"] < place for place, scope in enumerate(told["scopes"]))
    assert scopes_of(told, by_name(told)["0.weight"]) == ["loss", "Sequential", "Linear(3, 4)"]
    power = next(node for node in nodes_of(told) if node["text"] == "x²")
    assert scopes_of(told, power) == ["loss"]
    assert re.fullmatch(r"test_explore\.py, line \d+", power["place"])
    assert power["code"] == "loss = np.sum(net(np.ones((2, 3))) ** 2)"


@pytest.mark.parametrize(
    ("text", "detail", "letters", "written"),
    [
        ("@", "", "xy", "x @ y"),
        ("× 2", "", "x", "x × 2"),
        ("2 −", "", "x", "2 − x"),
        ("[0, :]", "", "x", "x[0, :]"),
        ("tanh", "", "x", "tanh(x)"),
        ("Σ", "axis=0", "x", "Σ(x, axis=0)"),
        ("|x|", "", "x", "|x|"),
        ("x³", "", "x", "x³"),
        ("concatenate", "", "xyz", "concatenate(x, y, z)"),
        ("×", "", "x", "×(x)"),
    ],
)
def test_how_a_call_is_written(text: str, detail: str, letters: str, written: str) -> None:
    assert formula(Node("n1", "operation", text=text, detail=detail), list(letters)) == written


def test_a_letter_is_what_the_rule_calls_it() -> None:
    w, b = (mg.tensor(np.ones(shape), requires_grad=True) for shape in ((2, 3), (2,)))
    told = document(F.linear(np.ones((4, 3)), w, b))
    letters = [edge["letter"] for edge in edges_of(told) if edge["target"] != "result"]
    assert letters == ["x", "weight", "bias"]
    stacked = document(np.einsum("ij,kj->ik", w, w))
    assert [edge["source"] for edge in edges_of(stacked)][:2] == ["n0", "n0"]


FLOATS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
    elements=st.floats(width=32),
)


@given(FLOATS, st.integers(1, 12), st.integers(0, 20))
@example(np.array([np.nan, np.inf, 1e308, -1e308, 0.0]), 8, 0)
@example(np.full((3, 3), 5e-324), 8, 0)
@example(np.full((2, 4), np.nan), 2, 0)
def test_what_is_seen_of_an_array(array: np.ndarray, side: int, in_full: int) -> None:
    values = values_of(array)
    assert values is not None
    told = json.loads(json.dumps(described(values, array, side, in_full), allow_nan=False))
    if array.size == 1:
        number = float(told)
        assert number == pytest.approx(array.item(), rel=1e-5, abs=0, nan_ok=True)
        return
    assert told["size"] == array.size
    if "heat" not in told:
        assert array.size <= max(in_full, 4) or not np.isfinite(array).any()
        return
    heat = told["heat"]
    assert heat["shape"] == [array.size // array.shape[-1], array.shape[-1]]
    assert (heat["rows"], heat["columns"]) == tuple(min(n, side) for n in heat["shape"])
    finite = np.isfinite(array)
    assert sum(told["histogram"]) == finite.sum()
    assert len(told["histogram"]) == BINS
    shown = numbers_of(told)
    assert np.isnan(shown).any() == (~finite).any()
    if max(heat["shape"]) <= side:
        with np.errstate(over="ignore", invalid="ignore"):
            step = told["highest"] / 254 - told["lowest"] / 254
            wrong = np.abs(shown - array.reshape(shown.shape).astype(float))
        assert not (wrong > step * 0.51 + 1e-5 * np.abs(shown)).any()


@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(8), np.arange(8) > 3, np.arange(8) + 1j, np.arange(8, dtype=np.longdouble)),
        *(np.zeros((0, 3)), np.array(2 + 1j), np.array([2**62, 1, 2, 3])),
    ],
    ids=str,
)
def test_arrays_of_other_kinds(array: np.ndarray) -> None:
    values = values_of(array)
    assert values is not None
    for in_full in (2, 64):
        json.dumps(described(values, array, 4, in_full), allow_nan=False)


def test_a_large_array_is_seen_in_the_small() -> None:
    array = np.zeros((500, 700))
    array[250:, :] = 1.0
    array[0, 0] = np.nan
    values = values_of(array)
    assert values is not None
    shown = numbers_of(described(values, array, 48, 64))
    assert shown.shape == (48, 48)
    assert np.isnan(shown[0, 0])
    assert np.isnan(shown).sum() == 1
    assert np.array_equal(shown[24:], np.ones((24, 48)))


def test_ranges_and_shares_of_a_heat_map() -> None:
    """The levels are between the lowest and the highest number, and the histogram
    counts in equal steps between.
    """
    array = np.linspace(-2.0, 6.0, 100).reshape(10, 10)
    told = described(values_of(array), array, 48, 8)  # type: ignore[arg-type]
    assert (told["lowest"], told["highest"]) == (-2.0, 6.0)
    levels = np.frombuffer(base64.b64decode(told["heat"]["levels"]), np.uint8)
    np.testing.assert_array_equal(levels, np.rint(np.linspace(0, 254, 100)))
    assert told["histogram"] == np.histogram(np.rint(np.linspace(0, 254, 100)), BINS, (0, 255))[0].tolist()
    array[3, 4] = np.inf
    told = described(values_of(array), array, 48, 8)  # type: ignore[arg-type]
    levels = np.frombuffer(base64.b64decode(told["heat"]["levels"]), np.uint8)
    assert levels[34] == NOT_FINITE
    assert sum(told["histogram"]) == 99
    small = described(values_of(array), array, 5, 8)["heat"]  # type: ignore[arg-type]
    shown = np.frombuffer(base64.b64decode(small["levels"]), np.uint8).reshape(5, 5)
    assert shown[1, 2] == NOT_FINITE
    assert (shown == NOT_FINITE).sum() == 1
    np.testing.assert_allclose(shown[4, 4], np.rint(np.linspace(0, 254, 100)).reshape(10, 10)[8:, 8:].mean(), atol=2)


def test_both_products_of_a_value_with_itself_are_told() -> None:
    x = mg.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True, name="x")
    y = np.sin(x)
    told = document(np.sum(y * y))
    edges = [edge for edge in edges_of(told) if edge["source"] == "n1"]
    assert [edge["rule"] for edge in edges] == ["g * y", "g * x"]
    for edge in edges:
        np.testing.assert_allclose(edge["grad"]["elements"], y.data, rtol=1e-5)
    (before,) = [edge for edge in edges_of(told) if edge["source"] == "n0"]
    assert "grad" not in before  # it is all of the gradient of its source
    np.testing.assert_allclose(by_name(told)["x"]["grad"]["elements"], 2 * y.data * np.cos(x.data), rtol=1e-5)


def test_a_larger_graph_says_less_of_each_array() -> None:
    y = mg.tensor(np.ones(50), requires_grad=True)
    for _ in range(3_100):
        y = y * 1.0
    told = document(y)
    assert len(told["nodes"]) == 3_102
    assert "heat" in told["nodes"][1]["values"]
    assert told["nodes"][1]["values"]["heat"]["columns"] == 8
    assert "grad" in told["nodes"][1]


def test_of_too_large_a_graph_a_part_is_told() -> None:
    y = mg.tensor(np.ones(3), requires_grad=True)
    for _ in range(5_000):
        y = y * 1.0
    told = document(y, max_nodes=100)
    assert len(told["nodes"]) <= 100
    assert told["operations"] == 5_000
    assert told["notes"]


class Scripts(html.parser.HTMLParser):
    """Collects what is in the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = [("", {})]
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1]
        key = f"{tag}#{attributes.get('id', '')}"
        self.texts[key] = self.texts.get(key, "") + data


def test_whatever_a_label_holds_the_page_is_the_same() -> None:
    w = mg.tensor(np.ones(3), requires_grad=True, name=HOSTILE)
    with mg.scope(HOSTILE):
        loss = np.sum(w * w)
    hostile = Scripts(page(document(loss, title=HOSTILE)))
    tame = Scripts(page(document(np.sum(mg.tensor(np.ones(3), requires_grad=True) ** 2))))
    assert hostile.tags == tame.tags
    assert hostile.texts["script#"] == tame.texts["script#"]
    told = json.loads(hostile.texts["script#data"])
    name = next(node["name"] for node in nodes_of(told) if node["kind"] == "parameter")
    assert name.startswith("</script><script>alert(1)</script><!-- \"quoted\" 'single'")
    assert "🎉" in name
    assert len(name) <= 400


def test_what_no_file_can_hold_is_spelled_in_json() -> None:
    text = page(document(mg.tensor(1.0, name="half of an emoji \ud83c"), title="\ud83c"))
    assert text.encode()


def test_a_page_is_one_file_that_loads_nothing() -> None:
    text = page(document(network()))
    own = "".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    found = Scripts(text)
    assert not [attributes for _, attributes in found.tags if {"src", "href"} & set(attributes)]
    assert "default-src 'none'" in str(found.tags)
    assert not re.search(r"@import|url\((?!#)", (PAGE / "page.css").read_text(encoding="utf-8"))
    assert not re.search(r"\bfetch\(|XMLHttpRequest|innerHTML|\beval\(|import\(|localStorage", own)
    assert len(text) < 400_000
    assert "@@" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_the_parts_are_those_that_the_licences_name() -> None:
    licences = (PAGE / "parts" / "LICENCES.txt").read_text(encoding="utf-8")
    for name in PARTS:
        first = (PAGE / "parts" / f"d3-{name}.min.js").read_text(encoding="utf-8").split("\n")[0]
        version = re.search(rf"d3-{name}/ v([\d.]+) Copyright", first)
        assert version is not None
        assert f"d3-{name} {version[1]}" in licences
    dagre = re.search(r"@dagrejs/dagre ([\d.]+)", licences)
    assert dagre is not None
    assert f'"{dagre[1]}"' in (PAGE / "parts" / "dagre.min.js").read_text(encoding="utf-8")
    used = {"LICENCES.txt", "dagre.min.js", *(f"d3-{name}.min.js" for name in PARTS)}
    assert {path.name for path in (PAGE / "parts").iterdir()} == used
    assert "d3-ease" in Scripts(page(document(network()))).texts["pre#licences"]


def test_each_file_of_the_page_says_what_it_owns() -> None:
    for name in SCRIPTS:
        head = (PAGE / f"{name}.js").read_text(encoding="utf-8").split("*/")[0]
        assert "Owns:" in head, name
        assert "Must not own:" in head, name


def test_the_modules_import_what_others_export() -> None:
    """In one file there are no imports: the modules stand in their order, and whatever
    is exported is used.
    """
    exported: dict[str, set[str]] = {}
    used: set[tuple[str, str]] = set()
    for name in SCRIPTS:
        source = (PAGE / f"{name}.js").read_text(encoding="utf-8")
        for names, module in re.findall(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', source, flags=re.MULTILINE):
            wanted = {word.strip() for word in names.split(",")} - {""}
            assert wanted <= exported[module], (name, module)
            used |= {(module, word) for word in wanted}
        exported[name] = set(
            re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", source, flags=re.MULTILINE)
        )
        assert len(re.findall(r"^(?:import|export)\b", source, flags=re.MULTILINE)) == len(exported[name]) + len(
            re.findall(r"^import \{", source, flags=re.MULTILINE)
        )
    assert {(name, word) for name, words in exported.items() for word in words} == used
    assert not re.search(r"^(?:import|export)\b", bundled(), flags=re.MULTILINE)
    names = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", bundled(), flags=re.MULTILINE)
    assert len(names) == len(set(names))


def test_javascript_stays_short() -> None:
    assert sum(len((PAGE / f"{name}.js").read_text(encoding="utf-8").splitlines()) for name in SCRIPTS) <= 2_300
    assert {f"{name}.js" for name in SCRIPTS} == {path.name for path in PAGE.glob("*.js")}


def rounds(count: int) -> mg.Tensor:
    """Return the end of a loop without scopes, with an input of its own in each
    round.
    """
    w = mg.tensor(0.5, requires_grad=True, name="w")
    h: Any = mg.tensor(0.1, name="h")
    for i in range(count):
        h = np.sin(w * h + mg.tensor(float(i), name=f"x{i}"))
    return h**2


def test_an_unrolled_loop_is_one_scope_with_its_iterations() -> None:
    told = document(rounds(50))
    loops = [scope for scope in told["scopes"] if scope["kind"] == "repeat"]
    assert [(loop["title"], loop["repeat"]) for loop in loops] == [("(×, +, sin) ×50", 50)]
    named = by_name(told)
    assert scopes_of(told, named["w"]) == ["(×, +, sin) ×50"]
    assert scopes_of(told, named["x7"]) == ["(×, +, sin) ×50", "iteration 8"]
    assert scopes_of(told, named["h"]) == []  # what the loop begins with
    assert scopes_of(told, nodes_of(told)[-1]) == []
    assert not document(rounds(8))["scopes"]  # so few are shown as they are


def test_a_loop_in_a_loop_is_named() -> None:
    h: Any = mg.tensor(0.1, requires_grad=True, name="h")
    for _ in range(6):
        for _ in range(20):
            h = np.sin(h) + 1.0
        h = h / 2.0
    scopes = document(h)["scopes"]
    assert [scope["title"] for scope in scopes if scope["kind"] == "repeat"][:2] == [
        "((sin, + 1) ×20, ÷ 2) ×6",
        "(sin, + 1) ×20",
    ]


def test_what_repeats_within_a_scope_and_within_a_loop() -> None:
    h: Any = mg.tensor(np.ones((2, 3)), requires_grad=True, name="x")
    for i in range(4):
        with mg.scope(f"layer{i}"):
            h = h * 2.0
            for _ in range(12):
                h = np.sin(h) + 1.0
    told = document(np.sum(h))
    deepest = max((scopes_of(told, node) for node in nodes_of(told)), key=len)
    assert deepest == ["layer0 … layer3 ×4", "layer0", "(sin, + 1) ×12", "iteration 1"]
    assert {scope["repeat"] for scope in told["scopes"] if scope["kind"] == "repeat"} == {4, 12}


def test_ten_thousand_operations_take_little_room() -> None:
    y: Any = mg.tensor(0.5, requires_grad=True, name="x")
    for i in range(5_000):
        y = np.sin(y * (1 + i % 7))
    assert 100_000 < len(page(document(y)).encode()) < 3_000_000


def test_a_notebook_shows_the_page(tmp_path: Path) -> None:
    loss = np.sum(mg.tensor([1.0, 2.0], requires_grad=True, name="it's <&>") ** 2)
    path = viz.explore(loss, tmp_path / "graph.html")
    frame = Scripts(path._repr_html_() or "")
    (tag, attributes), *others = frame.tags[1:]
    assert (tag, others) == ("iframe", [])
    assert attributes["srcdoc"] == path.read_text(encoding="utf-8")
    assert "allow-same-origin" not in str(attributes["sandbox"])
    assert path.parent / path.name == path
    assert type(path)(tmp_path / "none.html")._repr_html_() is None
    html = loss._repr_html_()
    assert html is not None
    assert html.startswith("<pre>tensor(5., function=sum)</pre><details><summary>How it was computed: 2 operations<")
    assert mg.tensor([1.0], requires_grad=True)._repr_html_() is None
    assert loss.detach()._repr_html_() is None


def test_a_notebook_shows_the_text_of_a_long_computation() -> None:
    y: Any = mg.tensor(0.5, requires_grad=True)
    for _ in range(2_001):
        y = y * 1.0
    assert y._repr_html_() is None


def test_a_page_is_written(tmp_path: Path) -> None:
    path = viz.explore(network(), tmp_path / "a" / "b" / "graph.html", title="Two <layers>")
    assert path == tmp_path / "a" / "b" / "graph.html"
    text = path.read_text(encoding="utf-8")
    assert "<title>Two &lt;layers&gt;</title>" in text


@pytest.mark.parametrize("name", ["graph.svg", "graph", "graph.html.gz"])
def test_a_path_that_is_no_page_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"a page can't be written to '{re.escape(name)}': the path must end in .html"
    ):
        viz.explore(network(), tmp_path / name)


def test_what_is_no_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"pictures are drawn of Tensors, .* got an array of shape \(2,\)"):
        viz.explore(np.ones(2), tmp_path / "graph.html")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"max_nodes must be at least 4, .* got 0"):
        viz.explore(network(), tmp_path / "graph.html", max_nodes=0)
    assert not list(tmp_path.iterdir())
