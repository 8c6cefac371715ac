"""The command line: what is run, what of it is drawn, and what is said where nothing
can be.
"""

from __future__ import annotations

import html
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microgradnd.__main__ import main

PROGRAM = """
import microgradnd as mg
from microgradnd import nn

w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
early = (w * 3).sum()
late = (w**2).sum()
late.name = "late"
number = 3.0

def build(scale=2):
    return (w * scale).sum()

def needs(x):
    return x * w

def returns_a_float():
    return 3.0

def fails():
    return w @ mg.tensor([1.0, 2.0, 3.0])

if __name__ == "__main__":
    main = w * 5
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs the command line in a folder with a program in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(PROGRAM)

    def run(*argv: str, program: str = "") -> tuple[int, str, str]:
        if program:
            Path("train.py").write_text(program)
        status = main(["draw", *argv])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def texts(path: str) -> list[str]:
    """Return what the nodes of a JSON graph are called."""
    return [node["name"] or node["text"] for node in json.loads(Path(path).read_text(encoding="utf-8"))["nodes"]]


def test_from_the_shell(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(PROGRAM)
    command = [sys.executable, "-W", "error", "-m", "microgradnd", "draw", "train.py:build", "-o", "out/graph.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {Path('out/graph.json')}\n", "")
    assert texts(str(tmp_path / "out" / "graph.json")) == ["w", "× 2", "Σ", "result"[:0]]


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "dot", "mmd", "json", "html"])
def test_the_end_of_the_name_says_what_is_written(run: Run, suffix: str) -> None:
    status, out, err = run("train.py:late", "-o", f"graph.{suffix}")
    assert (status, out, err) == (0, f"wrote graph.{suffix}\n", "")
    assert Path(f"graph.{suffix}").stat().st_size > 100


def test_what_is_drawn(run: Run) -> None:
    def drawn(what: str) -> list[str]:
        assert run(what, "-o", "graph.json")[0] == 0
        return texts("graph.json")[:-1]

    assert drawn("train.py:early") == ["w", "× 3", "Σ"]
    assert drawn("train.py:build") == ["w", "× 2", "Σ"]
    assert drawn("train.py") == ["w", "× 5"]  # run as a program, what was computed last
    with open("train.py", "a") as file:
        file.write("\n    loss = early\n")
    assert drawn("train.py") == ["w", "× 3", "Σ"]


def test_a_table_without_an_output(run: Run) -> None:
    status, out, _ = run("train.py:late")
    assert status == 0
    assert "wrote" not in out
    assert len(out.splitlines()) == 5
    lines = run("train.py:late", "--backward")[1].splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["4.472", "1.414", "1", "4.472"]
    status, out, err = run("train.py:late", "--view", "backward")
    assert (status, out) == (1, "")
    assert err == "python -m microgradnd draw: --view is for pictures: name an output file with -o graph.svg\n"


def test_backward_and_the_options_of_draw(run: Run) -> None:
    assert run("train.py:late", "--backward", "-o", "graph.json")[0] == 0
    nodes = {node["name"]: node for node in json.loads(Path("graph.json").read_text())["nodes"]}
    assert nodes["w"]["grad"]["elements"] == [2.0, 4.0]
    assert run("train.py:late", "--rankdir", "LR", "-o", "graph.dot")[0] == 0
    assert 'rankdir="LR"' in Path("graph.dot").read_text()


def test_lines_of_code_are_noted(run: Run) -> None:
    assert run("train.py:late", "-o", "graph.json")[0] == 0
    found = [node["line"] for node in json.loads(Path("graph.json").read_text())["nodes"] if node["line"]]
    lines = Path("train.py").read_text().splitlines()
    assert [(line["file"], lines[line["line"] - 1]) for line in found] == [("train.py", "late = (w**2).sum()")] * 2


def test_the_program_runs_in_its_own_world(run: Run) -> None:
    before = dict(sys.modules), list(sys.argv), list(sys.path)
    Path("sub").mkdir()
    Path("sub/beside_train.py").write_text("size = 3\n")
    Path("sub/train.py").write_text(
        "import sys, pathlib, dataclasses, microgradnd as mg\nfrom beside_train import size\n"
        "@dataclasses.dataclass\nclass Point:\n    x: 'int'\n"
        "assert sys.argv == [__file__] and pathlib.Path(__file__).name == 'train.py'\n"
        "def build():\n    import beside_train\n"
        "    return mg.tensor(1.0, requires_grad=True) * beside_train.size * Point(2).x\n"
    )
    assert run("sub/train.py:build", "-o", "graph.json")[0] == 0
    sys.modules.pop("beside_train")
    assert sys.modules["__main__"] is before[0]["__main__"]
    assert "train" not in sys.modules
    assert (sys.argv, sys.path) == before[1:]


def test_the_output_is_looked_at_before_the_program_runs(run: Run) -> None:
    status, out, err = run("train.py", "-o", "graph.gif", program="print('hours later')\n")
    assert (status, out) == (1, "")
    assert "must end in one of" in err


def test_programs_may_leave(run: Run) -> None:
    end = "import sys, microgradnd as mg\nloss = mg.tensor(1.0, requires_grad=True) * 2\nsys.exit({})\n"
    assert run("train.py", "-o", "a.json", program=end.format(""))[0] == 0
    assert run("train.py", "-o", "a.json", program=end.format("0"))[0] == 0
    status, _, err = run("train.py", "-o", "a.json", program=end.format("'no data'"))
    assert status == 1
    assert err == "python -m microgradnd draw: train.py ended with sys.exit('no data')\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py"], "there is no file nowhere.py"),
        (["nowhere.py:build"], "there is no file nowhere.py"),
        (["train.py:missing"], "train.py has no variable 'missing'; it has w, early, late, build, needs"),
        (["train.py:needs"], "train.py:needs takes arguments; name a function that needs none"),
        (["train.py:number"], "train.py:number must be a Tensor, got float"),
        (["train.py:returns_a_float"], "the result of train.py:returns_a_float must be a Tensor, got float"),
        (["train.py:nn"], "train.py:nn must be a Tensor, got module"),
        (["train.py:late", "-o", "graph.gif"], "must end in one of"),
        (["train.py:late", "--max-nodes", "0", "-o", "graph.json"], "for all nodes, got 0"),
    ],
)  # fmt: skip
def test_what_cant_be_drawn(run: Run, arguments: list[str], message: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("python -m microgradnd draw: ")
    assert message in err
    assert len(err.splitlines()) == 1


FUNCTIONS = """
import numpy as np
import microgradnd as mg
from microgradnd import nn, optim

def main():
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        loss = (model(np.ones((1, 2))) ** 2).sum()
        loss.name = "loss of the step"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

if __name__ == "__main__":
    main()
"""


def test_of_a_program_with_functions_alone_the_last_number_is_drawn(run: Run) -> None:
    assert run("train.py", "-o", "graph.json", program=FUNCTIONS)[0] == 0
    drawn = [text for text in texts("graph.json") if text]
    assert drawn == ["weight", "bias", "linear", "x²", "loss of the step", "loss of the step"]


def test_the_last_number_is_one_number(run: Run) -> None:
    program = FUNCTIONS.replace(
        "        optimizer.zero_grad()", "        weights = model.weight * 2\n        optimizer.zero_grad()"
    )
    assert run("train.py", "-o", "graph.json", program=program)[0] == 0
    assert texts("graph.json")[-1] == "loss of the step"


def test_a_program_without_tensors(run: Run) -> None:
    for program in ("x = 3", "import microgradnd as mg\nx = mg.tensor(3.0, requires_grad=True)"):
        status, _, err = run("train.py", program=program)
        assert status == 1
        assert "train.py computed no number from a Tensor that requires a gradient, so there is nothing to draw" in err


def test_failures_are_shown_as_the_program_would_show_them(run: Run) -> None:
    status, _, err = run("train.py:fails", "-o", "a.json")
    assert status == 1
    lines = err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert '"train.py", line' in lines[1]
    drawn = "wrote a.svg, which shows the computation up to the error"  # an error has no graph that JSON could hold
    assert lines[-1] == f"python -m microgradnd draw: train.py failed; {drawn}"
    assert "✗ np.matmul" in html.unescape(Path("a.svg").read_text(encoding="utf-8"))
    status, _, err = run("train.py", program="x = (\n")
    assert status == 1
    assert "SyntaxError" in err
    status, _, err = run("train.py", "-o", "b.png", program="1 / 0")
    assert err.splitlines()[-1] == "python -m microgradnd draw: train.py failed, so there is nothing to draw"
    assert not Path("b.png").exists()


@pytest.mark.parametrize("argv", [[], ["draw"], ["paint", "x.py"], ["draw", "train.py", "--rankdir", "up"]])
def test_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(argv)
    assert leaving.value.code == 2
    assert "usage: python -m microgradnd" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[Any]) -> None:
    with pytest.raises(SystemExit):
        main(["draw", "--help"])
    out = capsys.readouterr().out
    assert "FILE.py:name draws the Tensor of that name" in out
    assert ".mmd (Mermaid)" in out


def test_the_last_step_of_a_training_program_is_drawn_as_it_was(run: Run) -> None:
    program = (
        "import numpy as np, microgradnd as mg\n"
        "w = mg.tensor([1.0, 2.0], requires_grad=True, name='w')\n"
        "for step in range(3):\n"
        "    before = w.data.copy()\n"
        "    loss = np.sum((w * w - 1) ** 2)\n"
        "    loss.backward()\n"
        "    gradient = w.grad\n"
        "    with mg.no_grad():\n"
        "        w -= 0.05 * w.grad\n"
        "    w.grad = None\n"
        "print(before.tolist(), gradient.tolist())\n"
    )
    status, out, err = run("train.py", "--backward", "-o", "graph.json", program=program)
    assert (status, err) == (0, "")
    graph = json.loads(Path("graph.json").read_text())
    assert graph["notes"] == []
    assert all(edge["grad"] for edge in graph["edges"] if edge["rule"])
    (w,) = (node for node in graph["nodes"] if node["name"] == "w")
    assert f"{w['values']['elements']} {w['grad']['elements']}" == out.splitlines()[0]
