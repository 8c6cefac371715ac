"""Files and texts: Mermaid, JSON, what a file's name decides, and what works without
any other package.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.viz import dot, exchange, labels
from microgradnd.viz.model import Edge, Graph, Kind, Node, Scope
from microgradnd.viz.record import ScopeKind
from microgradnd.viz.values import values_of

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT = DOCS / "how-to" / "graph-json.md"
SCHEMA = json.loads((DOCS / "reference" / "graph.schema.json").read_text())
VALID = jsonschema.Draft202012Validator(SCHEMA)
NASTY = [
    'a "quote"', "<b>bold</b>", "a & b &amp; #35;", "two\nlines", "emoji 🦊", "x" * 10_000, "`code`", "**bold** _it_",
    "1. first", "- item", "+ item", "# head", "> quote", "$$x^2$$", "a|b", "end", "[0] (x) {y}", "\\n \\", "%% remark",
    "---", "graph TD; A-->B", "fa:fa-car", "label::: cls", "  ", "", "10. ", "\x00\u202e", "é Ω", "subgraph",
]  # fmt: skip


def network() -> tuple[nn.Module, mg.Tensor]:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 4, rng=rng), nn.Tanh(), nn.Linear(4, 1, rng=rng))
    return model, (model(rng.standard_normal((5, 3))) ** 2).sum()


def strict(text: str) -> Any:
    """Read a graph as others do, to whom NaN is no number; it must fit the schema."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    model = json.loads(text, parse_constant=refuse)
    VALID.validate(model)
    return model


def test_gradients_taken_together_have_no_elements() -> None:
    model = strict(viz.to_json(mg.tensor(2.0, requires_grad=True) * 3.0, "both"))
    assert (model["grad"]["size"], model["grad"]["elements"], model["grad"]["norm"]) == (1, None, 3.0)


# Mermaid

ID = r"[A-Za-z_]\w*"
LABEL = r'"[^"\n`<>]*(?:<br>[^"\n`<>]*)*"'
LINE = re.compile(
    rf"flowchart (TB|LR|BT|RL)|\s*subgraph {ID}\[{LABEL}\]|\s*end|  notes>{LABEL}\]|  style notes [\w#:,]+"
    rf"|\s*(?P<id>{ID})(\(\[|\[/|\[\[|\[|\(|{{{{)(?P<label>{LABEL})(\]\)|/\]|\]\]|\]|\)|}}}}):::(?P<kind>\w+)"
    rf"|  (?P<source>{ID}) (<?-->|<?-\.->)(\|{LABEL}\|)? (?P<target>{ID})"
    rf"|  class {ID}(,{ID})* scope|  classDef \w+ [\w#:,\- ]+|  linkStyle \d+ stroke-width:[\d.]+px",
    re.ASCII,
)


def parsed(text: str) -> list[re.Match[str]]:
    """Return the lines of a flow chart, each of which must be one of those that Mermaid
    is known to read.
    """
    assert text.endswith("\n")
    found = [(line, LINE.fullmatch(line)) for line in text.splitlines()]
    assert [line for line, match in found if match is None] == []
    return [match for _, match in found if match is not None]


def shown(label: str) -> str:
    """Return what a reader sees of a label."""
    return html.unescape(re.sub(r"#(\d+);", r"&#\1;", label[1:-1].replace("<br>", "\n")))


def chart(model: Graph) -> str:
    return "\n".join(exchange._mermaid_lines(model, dot.Look())) + "\n"


def test_a_network_in_mermaid() -> None:
    _, loss = network()
    loss.backward()
    text = viz.mermaid(loss, rankdir="LR")
    lines = parsed(text)
    assert text.startswith("flowchart LR\n")
    labels = {shown(line["label"]).split("\n")[0] for line in lines if line["label"]}
    assert {"weight (4, 3)", "bias (1,)", "linear", "tanh", "x²"} <= labels
    assert text.count("subgraph") == len(re.findall(r"^ *end$", text, re.M)) > 0
    ids = [line["id"] for line in lines if line["id"]]
    assert len(ids) == len(set(ids))
    assert {end for line in lines if line["source"] for end in (line["source"], line["target"])} == set(ids)
    assert {line["kind"] for line in lines if line["id"]} == {
        kind for kind in exchange.BRACKETS if f"classDef {kind} " in text
    }


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("view", ["forward", "backward", "both"])
def test_views(view: str, after: bool) -> None:
    _, loss = network()
    if after:
        loss.backward()
    lines = parsed(viz.mermaid(loss, view))
    labels = {shown(line["label"]).split("\n")[0]: line["id"] for line in lines if line["id"]}
    sign, result = labels["Σ"], "result"
    ends = {(line["source"], line["target"]) for line in lines if line["source"]}
    assert ((result, sign) if view == "backward" else (sign, result)) in ends
    assert ("∂result/∂result = 1" in labels) == (view == "backward")
    text = "\n".join(line[0] for line in lines)
    assert ("g #42; (1 - out#42;#42;2)" in text) == (view != "forward")
    assert ("<-->" in text) == (view == "both")
    assert ("grad weight (4, 3)" in text) == (view == "backward")


@given(st.sampled_from(NASTY) | st.text(max_size=200), st.sampled_from(list(exchange.BRACKETS)))
def test_any_name_is_a_label(name: str, kind: Any) -> None:
    node = Node("n0", kind, None if kind == "operation" else name, text=name if kind == "operation" else "")
    *_, line = (line for line in parsed(chart(Graph([node]))) if line["id"])
    expected = labels.clean(name)
    assert shown(line["label"]) == (expected or (" " if kind != "constant" else "constant"))
    label = line["label"][1:-1]
    assert not re.match(r"\s*(\d+[.)]|[-+*#>=])(?!\d+;)", label)


def test_nothing_nasty_gets_into_ids_or_scopes() -> None:
    scopes = {
        id: Scope(id, parent, "scope", path, "", 3)
        for id, parent, path in [("a#2", "", "1. <b>"), ("a_2", "", "end"), ("a#2.é", "a#2", "x"), ("notes", "", "")]
    }
    nodes = [
        Node("a#2.b", "fold", text="Block", scope=("a#2",)),
        Node("n1_0", "input", scope=("a#2", "a#2.é")),
        Node("n2", "input", scope=("a_2",)),
    ]
    lines = parsed(chart(Graph(nodes, [Edge("n1_0", "a#2.b", carried=True)], scopes, ["folded: all"])))
    assert [line["id"] for line in lines if line["id"]] == ["n1_0", "s_a_2_b", "n2"]
    assert [(line["source"], line["target"]) for line in lines if line["source"]] == [("n1_0", "s_a_2_b")]
    text = "\n".join(line[0] for line in lines)
    assert 'subgraph s_a_2["1#46; #60;b#62; … ×3"]' in text
    assert 'subgraph s_a_2_["end … ×3"]' in text
    assert 'notes>"folded: all"]' in text


def test_what_isnt_finite_stands_out() -> None:
    w = mg.tensor([1.0, np.nan], requires_grad=True, name="w")
    text = viz.mermaid(w * 2)
    assert re.search(r'n0\(\["w \(2,\)<br>✗ \[1, NaN\]"\]\):::alarm', text)
    assert "classDef alarm" in text
    assert "alarm" not in viz.mermaid(mg.tensor(1.0, requires_grad=True) * 2)


def test_every_kind_of_node_has_a_shape_and_a_colour() -> None:
    assert set(exchange.BRACKETS) == set(exchange.CLASSES) == set(dot.LOOKS)


# JSON


def documented() -> dict[str, list[str]]:
    """Return the keys in each table of the document, by the word before it."""
    tables: dict[str, list[str]] = {}
    last = ""
    for line in DOCUMENT.read_text().splitlines():
        if match := re.match(r"\| (`\w+`(?:, `\w+`)*) \|", line):
            tables.setdefault(last, []).extend(re.findall(r"\w+", match[1]))
        elif line and not line.startswith("|"):
            last = line
    return tables


def test_the_document_describes_every_key() -> None:
    _, loss = network()
    loss.backward()
    graph, node, values, edge, scope = documented().values()
    model = strict(viz.to_json(loss))
    assert list(model) == graph
    assert list(model["nodes"][0]) == node
    assert list(next(n for n in model["nodes"] if n["values"])["values"]) == values
    assert list(model["edges"][0]) == edge
    assert list(model["scopes"][0]) == scope


def test_the_schema_has_the_keys_of_the_document() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    parts = [SCHEMA, *(SCHEMA["$defs"][name] for name in ("node", "values", "edge", "scope"))]
    assert [part["required"] for part in parts] == [list(part["properties"]) for part in parts]
    assert [part["required"] for part in parts] == list(documented().values())


def test_the_schema_knows_the_words_of_the_model() -> None:
    kinds = {name: SCHEMA["$defs"][name]["properties"]["kind"]["enum"] for name in ("node", "scope")}
    assert kinds == {"node": list(get_args(Kind)), "scope": list(get_args(ScopeKind))}
    assert SCHEMA["properties"]["version"]["const"] == exchange.VERSION


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda model: model.pop("notes"), "$"),
        (lambda model: model["nodes"][0].update(kind="leaf"), "$.nodes[0].kind"),
        (lambda model: model["edges"][0].update(position=-1), "$.edges[0].position"),
        (lambda model: model["nodes"][0].update(values={"size": 1}), "$.nodes[0].values"),
    ],
)
def test_the_schema_refuses_what_is_no_graph(change: Any, where: str) -> None:
    model = strict(viz.to_json(network()[1]))
    change(model)
    with pytest.raises(jsonschema.ValidationError) as caught:
        VALID.validate(model)
    assert caught.value.json_path == where


def test_a_network_in_json() -> None:
    _, loss = network()
    model = strict(viz.to_json(loss, indent=1))
    assert (model["format"], model["version"]) == ("microgradnd.graph", 2)
    ids = [node["id"] for node in model["nodes"]]
    assert len(ids) == len(set(ids))
    for edge in model["edges"]:
        assert ids.index(edge["source"]) < ids.index(edge["target"])
    scopes = [scope["id"] for scope in model["scopes"]]
    assert all(set(node["scope"]) <= set(scopes) for node in model["nodes"])
    assert all(scope["parent"] in ["", *scopes] for scope in model["scopes"])


@pytest.mark.parametrize(
    ("values", "elements"),
    [
        ([np.nan, np.inf, -np.inf], ["NaN", "Infinity", "-Infinity"]),
        ([[1.0], [2.5]], [[1.0], [2.5]]),
        (3.0, [3.0]),
        ([1 + 2j], [{"real": 1.0, "imag": 2.0}]),
        ([complex(np.nan, -np.inf)], [{"real": "NaN", "imag": "-Infinity"}]),
        (np.zeros(9), None),
        (np.zeros((0, 2)), []),
    ],
)
def test_numbers_in_json(values: Any, elements: Any) -> None:
    t = mg.tensor(values, requires_grad=True)
    (node,) = strict(viz.to_json(t))["nodes"]
    assert node["values"]["elements"] == elements
    assert node["shape"] == list(t.shape)


@given(st.text(max_size=100))
def test_any_name_is_json(name: str) -> None:
    model = exchange.as_json(Graph([Node("n0", "input", name, values=values_of(np.array([np.nan])))]))
    assert strict(json.dumps(model, allow_nan=False))["nodes"][0]["name"] == name


def test_names_that_no_file_can_hold(tmp_path: Path) -> None:
    t = mg.tensor(1.0, requires_grad=True, name="half \ud83e of an emoji")
    for suffix in ("json", "mmd", "dot", "svg", "html"):
        viz.save(t * 2, tmp_path / f"graph.{suffix}").read_text(encoding="utf-8")


def test_where_it_was_made() -> None:
    w = mg.tensor(1.0, requires_grad=True)
    with mg.scope("here", lines=True):
        y = w * 2
    found = [node["line"] for node in strict(viz.to_json(y))["nodes"] if node["line"]]
    assert [Path(line["file"]).name for line in found] == [Path(__file__).name]
    assert "w * 2" in Path(__file__).read_text().splitlines()[found[0]["line"] - 1]


# Whatever is asked for


@pytest.mark.parametrize("write", [viz.mermaid, viz.to_json])
def test_of_a_deep_graph_only_so_much(write: Any) -> None:
    y = x = mg.tensor(1.5, requires_grad=True, name="x")
    for _ in range(20_000):
        y = y * 1.0
    assert len(write(y)) < 100_000
    assert "x" in write(x)


@pytest.mark.parametrize("write", [viz.mermaid, viz.to_json])
def test_only_tensors(write: Any) -> None:
    with pytest.raises(TypeError, match=r"of Tensors.*got an array"):
        write(np.ones(3))
    with pytest.raises(ValueError, match=r"max_nodes must be at least 4, .* got 0"):
        write(mg.tensor(1.0, requires_grad=True) * 2, max_nodes=0)


@pytest.mark.parametrize("write", [viz.mermaid, viz.to_json])
def test_only_a_path_or_a_view(write: Any) -> None:
    x, y = (mg.tensor(2.0, requires_grad=True, name=name) for name in ("first", "second"))
    assert "second" not in write(x * 2 + y, to=x)
    with pytest.raises(ValueError, match="view must be one of forward, backward, both, got 'sideways'"):
        write(x * y, "sideways")


def test_gradients_on_the_edges_in_json() -> None:
    _, loss = network()
    flowing = [edge for edge in strict(viz.to_json(loss, "both"))["edges"] if edge["flows"]]
    assert len(flowing) > 5
    assert all(edge["grad"]["norm"] > 0 for edge in flowing if edge["target"] != "result")
    assert all(edge["grad"] is None for edge in strict(viz.to_json(loss))["edges"])


def test_directions() -> None:
    with pytest.raises(ValueError, match="rankdir must be one of TB, LR, BT, RL, got 'up'"):
        viz.mermaid(mg.tensor(1.0), rankdir="up")


START = {
    "svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF", "dot": b"digraph", "mmd": b"flowchart", "json": b"{",
    "html": b"<!doctype html>",
}  # fmt: skip


@pytest.mark.parametrize("suffix", [*START, "SVG", "Mmd"])
def test_the_end_of_the_name_says_what_is_written(suffix: str, tmp_path: Path) -> None:
    _, loss = network()
    path = viz.save(loss, tmp_path / "new" / f"graph.{suffix}")
    assert path.read_bytes()[:15].lower().startswith(START[suffix.lower()].lower())


def test_options_reach_every_format(tmp_path: Path) -> None:
    _, loss = network()
    assert viz.save(loss, tmp_path / "a.mmd", rankdir="LR").read_text(encoding="utf-8").startswith("flowchart LR")
    assert viz.save(loss, tmp_path / "a.json", indent=2).read_text(encoding="utf-8").startswith('{\n  "format"')


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'graph\.gif'.*\.svg, \.png, \.pdf, \.dot, \.mmd, \.json, \.html"):
        viz.save(network()[1], tmp_path / "graph.gif")


@pytest.mark.parametrize("suffix", ["mmd", "json", "html"])
def test_a_drawing_that_is_made_is_dot(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=rf"\.{suffix} files are made from a Tensor"):
        viz.save(viz.draw(network()[1]), tmp_path / f"graph.{suffix}")


# Without any other package

BARE = """
import sys, os
for name in ("graphviz", "pygraphviz", "matplotlib", "tqdm"):
    sys.modules[name] = None
os.environ["PATH"] = ""
import numpy as np
import microgradnd as mg
from microgradnd import viz
w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
loss = np.sum(w**2)
loss.backward()
for suffix in ("dot", "mmd", "json", "html"):
    print(viz.save(loss, f"graph.{suffix}").stat().st_size > 100)
print("w" in str(viz.table(loss)))
def failing(call):
    try:
        call()
    except ImportError as error:
        print(error)
failing(lambda: viz.save(loss, "graph.svg"))
failing(lambda: viz.draw(loss))
failing(lambda: viz.plot_history([1.0]))
"""


def test_without_any_other_package(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", BARE], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    *works, save, draw, plot = done.stdout.splitlines()
    assert works == ["True"] * 5
    assert all('pip install "microgradnd[viz]"' in message for message in (save, draw, plot))
