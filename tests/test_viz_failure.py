"""The picture of a failure: which operation is found, with which operands, and what is
written in red.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.nn import functional as F
from microgradnd.viz import dot
from microgradnd.viz.render import render

RNG = np.random.default_rng(0)


class Checked(nn.Module):
    """A network that is particular about its input."""

    def __init__(self) -> None:
        self.first = nn.Linear(3, 8, rng=RNG)

    def forward(self, x: Any) -> Any:
        h = np.tanh(self.first(x))
        if len(h) > 3:
            raise RuntimeError("too many rows")
        return self.first(h)


@mg.primitive
def halved(x: Any) -> Any:
    """Return x / 2."""
    return x / 2


def halved_backwards(g: Any, out: Any, x: Any) -> Any:
    raise ZeroDivisionError("a rule of the user's")


mg.defvjp(halved, halved_backwards)


def w(*shape: int, name: str = "w") -> mg.Tensor:
    return mg.tensor(np.ones(shape), requires_grad=True, name=name)


def x(*shape: int) -> mg.Tensor:
    return mg.tensor(np.ones(shape), name="x")


def logarithm() -> Any:
    with mg.detect_anomaly(), np.errstate(all="ignore"):
        return np.sum(np.log(np.ones((4, 3)) @ w(3, 2) - 3))


def chained() -> None:
    v = None
    try:
        w(3, 2) @ w(3, 2)
    except ValueError as error:
        raise RuntimeError(f"no result: {v}") from error


def root() -> None:
    with mg.detect_anomaly(), np.errstate(all="ignore"):
        np.sum(np.sqrt(w(3) - 1) * 2).backward()


CHAIN = ("np.matmul", ["(4, 2)", "(3, 2)"])

# What fails, what the failing operation is called, and which shapes it was given
FAILURES: dict[str, tuple[Callable[[], Any], str, list[str]]] = {
    "@": (lambda: np.tanh(x(4, 3) @ w(3, 2)) @ w(3, 2, name="v"), "np.matmul", ["(4, 2)", "(3, 2)"]),
    "+, a number first": (lambda: np.ones(5) + (2 + x(4, 3) @ w(3, 2)), "np.add", ["(5,)", "(4, 2)"]),
    "concatenate": (lambda: np.concatenate([w(3, 2).T, w(3, 2)], axis=1), "np.concatenate", ["(2, 3)", "(3, 2)"]),
    "reshape": (lambda: (x(4, 3) @ w(3, 2)).reshape(7, -1), "np.reshape", ["(4, 2)"]),
    "index": (lambda: (x(4, 3) @ w(3, 2))[7], "t[index]", ["(4, 2)"]),
    "a loss": (lambda: F.mse_loss((x(4, 3) @ w(3, 1)).sum(axis=1), np.ones((4, 1))), "F.mse_loss", ["(4,)", "(4, 1)"]),
    "a layer": (lambda: Checked()(x(2, 3)), "F.linear", ["(2, 8)", "(8, 3)", "(8,)"]),
    "a raise": (lambda: Checked()(x(4, 3)), "Checked.forward", ["(4, 8)"]),
    "float32": (
        lambda: np.matmul(x(4, 3).astype(np.float32), w(2, 2).astype(np.float32)),
        "np.matmul",
        ["(4, 3) float32", "(2, 2) float32"],
    ),
    "under grad": (lambda: mg.grad(lambda v: np.sum(x(4, 3) @ v @ v))(w(3, 2)), *CHAIN),
    "under jvp": (lambda: mg.jvp(lambda v: x(4, 3) @ v @ v, (w(3, 2).data,), (w(3, 2).data,)), *CHAIN),
    "compiled": (lambda: mg.compile(lambda v: np.sum(np.ones((4, 3)) @ v @ v))(w(3, 2)), *CHAIN),
    "NaN": (logarithm, "np.log", ["(4, 2)"]),
    "NaN on the way back": (root, "sqrt: its derivative", []),
    "raised from another": (chained, "np.matmul", ["(3, 2)", "(3, 2)"]),
    "a rule of the user's": (lambda: np.sum(halved(w(3))).backward(), "halved: its derivative", []),
}


def caught(call: Callable[[], Any]) -> Exception:
    """Return what a call raises, as its caller catches it."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("it didn't fail")


def red_texts(svg: bytes) -> list[str]:
    """Return the texts of an SVG that are red."""
    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [str(text.text).strip("\xa0 ") for text in texts if text.get("fill") == dot.ALARM]


@pytest.mark.parametrize("name", FAILURES)
def test_what_failed_is_drawn_in_red(name: str) -> None:
    call, what, shapes = FAILURES[name]
    error = caught(call)
    red = red_texts(render(viz.draw(error).source, "svg"))
    assert red == [*shapes, f"✗ {what}", type(error).__name__]


def test_it_shows_what_had_been_computed_and_what_the_error_says() -> None:
    source = viz.draw(caught(FAILURES["@"][0])).source
    assert "tanh" in source
    assert "<b>x</b>" in source
    assert "<b>v</b>" in source
    assert "result" not in source
    assert "core" in source
    assert "dimension" in source


def test_of_what_was_computed_the_newest_leads_to_an_error_of_ones_own() -> None:
    def forward() -> None:
        early = w(2) * 2
        late = np.tanh(early) + 1
        other = early * late[0]
        raise RuntimeError(f"{late.shape} {other.shape}")

    source = viz.draw(caught(forward)).source
    assert len(re.findall(r"-> n\d+:o\d", source)) == 1  # early and late went into other


def test_lines_lead_to_the_operands_in_their_order() -> None:
    source = viz.draw(caught(lambda: x(4, 3) - np.ones(2) - w(2)), rankdir="LR").source
    first, second = re.findall(r"(\w+) -> n\d+:(o\d)", source)
    assert first[1] == "o0"
    assert second[1] == "o1"
    assert f'{first[0]} [shape="box"' in source.replace("\t", "")  # the array x, which is an input


def test_of_many_operands_the_first_have_their_shapes() -> None:
    error = caught(lambda: np.concatenate([w(1 + (i == 11), 2 + (i == 11)) for i in range(12)]))
    source = viz.draw(error).source
    assert len(re.findall(r'<td port="o', source)) == 8
    assert len(re.findall(rf'\[color="{dot.ALARM}"\]', source)) == 12


def test_a_large_computation_is_folded() -> None:
    def deep() -> Any:
        h = w(2)
        for _ in range(500):
            h = np.tanh(h * 2)
        return h + np.ones(3)

    source = viz.draw(caught(deep), max_nodes=12).source
    assert "repeated" in source
    assert "✗ np.add" in source


def test_an_error_without_a_tensor_has_no_picture() -> None:
    with pytest.raises(ValueError, match="no Tensor where this KeyError was raised"):
        viz.draw(caught(lambda: {}["a"]))
    with pytest.raises(ValueError, match="no Tensor where this ValueError was raised"):
        viz.draw(ValueError("never raised"))


def test_a_hostile_message_is_only_text(tmp_path: Path) -> None:
    def hostile() -> None:
        y = w(2) * 2
        raise ValueError(f'</table>"\\N <b> {y.shape} \x00 ' + "long " * 1000)

    path = viz.save(caught(hostile), tmp_path / "error.svg")
    assert "&lt;/table&gt;" in path.read_text(encoding="utf-8")


def test_a_drawing_of_an_error_can_be_saved(tmp_path: Path) -> None:
    error = caught(FAILURES["@"][0])
    assert viz.save(error, tmp_path / "error.png", depth=0).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(TypeError, match="Tensor itself"):
        viz.save(error, tmp_path / "error.json")


def test_the_computation_stays_as_it_is() -> None:
    v = w(3, 2)
    h = np.ones((4, 3)) @ v
    error = caught(lambda: h @ v)
    viz.draw(error)
    h.sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [[4.0, 4.0]] * 3
