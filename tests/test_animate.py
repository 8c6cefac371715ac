"""Films of a computation: what is seen at each step, that nothing moves, and the
formats.
"""

from __future__ import annotations

import json
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.nn import functional as F
from microgradnd.viz import dot
from microgradnd.viz.render import render

SVG = "{http://www.w3.org/2000/svg}"
animate_module: Any = sys.modules["microgradnd.viz.animate"]


def seed() -> mg.Tensor:
    rng = np.random.default_rng(0)
    w1 = mg.tensor(rng.normal(size=(3, 4)), requires_grad=True, name="w1")
    w2 = mg.tensor(rng.normal(size=(4, 1)), requires_grad=True, name="w2")
    x = mg.tensor(rng.normal(size=(5, 3)), name="x")
    loss = np.sum((F.relu(x @ w1) @ w2) ** 2)
    loss.name = "loss"
    return loss


CAPTIONS = [
    "Forward: the inputs and the parameters",
    "Forward, 1 of 5: @ → (5, 4)",
    "Forward, 2 of 5: relu → (5, 4)",
    "Forward, 3 of 5: @ → (5, 1)",
    "Forward, 4 of 5: x² → (5, 1)",
    "Forward, 5 of 5: Σ, loss",
    "Backward: ∂loss/∂loss = 1",
    "Backward, 1 of 5: Σ",
    "Backward, 2 of 5: x²",
    "Backward, 3 of 5: @, g @ w2.T, relu.T @ g",
    "Backward, 4 of 5: relu",
    "Backward, 5 of 5: @",
    "Each parameter has its gradient",
]


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the programs of the frames, which all get the same picture."""
    found: list[str] = []
    picture = render("digraph { a }", "png")

    def collect(source: str, format: str) -> bytes:
        found.append(source)
        return picture

    monkeypatch.setattr(animate_module, "render", collect)
    return found


def elements(source: str) -> dict[str, Any]:
    """Return the elements of a frame's picture by the ids of their nodes, or the two
    ids of their edges.
    """
    root = ElementTree.fromstring(render(source, "svg"))
    groups = (group for group in root.iter(f"{SVG}g") if group.get("class", "").split(" ")[0] in ("node", "edge"))
    return {re.sub(r":\w+$", "", str(group.findtext(f"{SVG}title"))): group for group in groups}


def colours(element: Any) -> dict[str, str]:
    """Return the colour of each text in an element; a transparent one is empty."""
    texts = element.iter(f"{SVG}text")
    return {str(t.text).strip("\xa0 "): "" if t.get("fill-opacity") else str(t.get("fill", "black")) for t in texts}


def places(source: str) -> Any:
    """Return the places of the texts of a frame, without its caption: an array of shape
    (n, 2), in points.
    """
    texts = [
        t for t in ElementTree.fromstring(render(source, "svg")).iter(f"{SVG}text") if t.get("font-size") != "13.00"
    ]
    return np.array([(float(str(t.get("x"))), float(str(t.get("y")))) for t in texts])


def test_each_step_has_a_frame_and_a_caption(sources: list[str], tmp_path: Path) -> None:
    viz.animate(seed(), tmp_path / "film.gif")
    said = [re.findall(r'point-size="13"><b>(.*?)</b>', source)[0] for source in sources]
    assert len(said) == len(CAPTIONS)
    assert all(text.startswith(wanted) for text, wanted in zip(said, CAPTIONS, strict=True))


def test_nothing_moves(sources: list[str], tmp_path: Path) -> None:
    viz.animate(seed(), tmp_path / "film.gif")
    first, *others = [places(sources[k]) for k in (0, 3, 6, 9, 12)]
    assert len(first) > 20
    for other in others:
        np.testing.assert_allclose(other, first, atol=1.5)  # a wide line keeps its label a little further away


def test_what_is_seen_when(sources: list[str], tmp_path: Path) -> None:
    viz.animate(seed(), tmp_path / "film.gif")
    at = [elements(source) for source in sources]
    x, w1, mm, relu = "n0", "n1", "n2", "n3"  # the ids count variables and operations
    into = f"{mm}_to_{relu}_0"
    assert colours(at[0][into])["(5, 4)"] not in (dot.QUIET, "")  # not computed yet: pale
    assert colours(at[1][into])["(5, 4)"] == dot.QUIET
    gradient = next(text for text in colours(at[12][into]) if text.startswith("‖grad‖"))
    assert [colours(frame[into])[gradient] for frame in at[:11]] == [""] * 10 + [dot.GRADIENT]
    grounds = [len(list(frame[into].iter(f"{SVG}polygon"))) for frame in at]
    assert grounds == [1] * 10 + [3] * 3  # where nothing is written yet, the line is whole
    (norm,) = (text for text in colours(at[12][w1]) if text.startswith("‖grad‖"))
    assert [colours(frame[w1])[norm] for frame in at] == [""] * 11 + [dot.GRADIENT] * 2
    shapes = [next(frame[mm].iter(f"{SVG}ellipse")) for frame in at]
    bold = [k for k, shape in enumerate(shapes) if shape.get("stroke-width") == "3.5"]
    assert bold == [1, 11]
    lines = [next(frame[f"{w1}->{w1}_to_{mm}_1"].iter(f"{SVG}path")) for frame in at]
    assert [k for k, line in enumerate(lines) if line.get("stroke-width")] == [1, 11]
    assert not any("grad" in text for frame in at for text in colours(frame[x]))  # an input has none
    assert not any(next(frame[x].iter(f"{SVG}polygon")).get("stroke-width") for frame in at)


def test_a_gif_has_the_frames_and_their_times(tmp_path: Path) -> None:
    path = viz.animate(seed(), tmp_path / "new" / "film.gif", seconds=0.5)
    with Image.open(path) as film:
        times = []
        for k in range(film.n_frames):
            film.seek(k)
            times.append(film.info["duration"])
        assert film.info["loop"] == 0
    assert times == [1500, *[500] * 11, 3000]


def test_a_page_has_one_picture_and_the_steps_as_classes(tmp_path: Path) -> None:
    text = viz.animate(seed(), tmp_path / "film.html").read_text(encoding="utf-8")
    said = json.loads(re.findall(r"const captions = (\[.*\]);", text)[0])
    assert [caption[: len(start)] for caption, start in zip(said, CAPTIONS, strict=True)] == CAPTIONS
    assert text.count("<svg") == 1
    assert re.findall(r'id="\w+" class="node ([^"]*)">\s*<title>n2<', text) == [
        "from&#45;1 back&#45;11 at&#45;1 at&#45;11"
    ]
    assert "http" not in text.replace("http://www.w3.org/", "").replace("http-equiv", "")


def test_captions_on_a_page_are_only_text(tmp_path: Path) -> None:
    x = mg.tensor(2.0, requires_grad=True, name="x")
    y = x * 3
    y.name = "</script><b>"
    text = viz.animate(y * y, tmp_path / "film.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 1


def program(folder: Path, body: str) -> None:
    """Write a program ffmpeg that does something."""
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_an_mp4_repeats_each_picture_for_its_time(
    sources: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path, f'echo "$@" > {tmp_path}/arguments; cat > {tmp_path}/pictures')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    viz.animate(seed(), tmp_path / "film.mp4", seconds=0.5)
    assert (tmp_path / "pictures").read_bytes().count(b"\x89PNG\r\n") == 15 + 11 * 5 + 30
    assert (tmp_path / "arguments").read_text().split()[-1] == str(tmp_path / "film.mp4")


def test_what_ffmpeg_says_is_told(sources: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, "cat > /dev/null; echo Unknown encoder >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(RuntimeError, match=r"film.mp4.*Unknown encoder.*\.gif"):
        viz.animate(seed(), tmp_path / "film.mp4")


def scopes() -> Any:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(30)))
    return np.sum(model(np.ones((3, 2))))


def not_finite() -> Any:
    with np.errstate(all="ignore"):
        return np.sum(np.log(mg.tensor([0.0, 1.0], requires_grad=True, name="a b")))


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda: mg.tensor(2.0, requires_grad=True) * 2, 4 + 1),
        (lambda: mg.tensor(np.ones((2, 2), np.float32), requires_grad=True, name="x[0] -> y") * 2, 4 + 1),
        (not_finite, 6 + 1),
        (scopes, 6 + 3),
        (lambda: np.split(mg.tensor(np.ones(4), requires_grad=True), 2)[1] * 2, 6 + 1),
    ],
)
def test_any_computation(sources: list[str], make: Callable[[], Any], steps: int, tmp_path: Path) -> None:
    viz.animate(make(), tmp_path / "film.gif", max_nodes=12)
    assert len(sources) == steps
    render(sources[-1], "svg")


def test_it_leaves_no_trace(sources: list[str], tmp_path: Path) -> None:
    loss = seed()
    viz.animate(loss, tmp_path / "film.gif")
    assert all(leaf.grad is None for leaf in animate_module.Record(loss._node).leaf_ids)
    loss.backward()
    with pytest.raises(ValueError, match="retain_graph=True"):
        viz.animate(loss, tmp_path / "film.gif")


@pytest.mark.parametrize(("suffix", "most"), [("gif", 2160), ("mp4", 2160)])
def test_no_frame_is_larger_than_players_take(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suffix: str, most: int
) -> None:
    found: list[bytes] = []
    monkeypatch.setattr(animate_module, "write_film", lambda path, pictures, *rest: found.extend(pictures))
    monkeypatch.setattr(animate_module, "film_path", lambda path, who: Path(path))
    monkeypatch.setattr(animate_module.Steps, "captions", property(lambda steps: steps[0][:1]), raising=False)
    x: Any = mg.tensor(np.ones(3), requires_grad=True)
    for i in range(36):
        x = (np.sin, np.cos, np.exp, np.tanh)[i * i % 5 % 4](x)
    viz.animate(x, tmp_path / f"film.{suffix}")
    sizes = [int.from_bytes(picture[at : at + 4], "big") for picture in found for at in (16, 20)]
    assert len(sizes) == 2
    assert max(sizes) <= most + 2
