"""The benchmarks' own programs give the same numbers, and their report says what was measured.

Owns: what `benchmarks/` promises beside times: that programs are compared before they are timed, and how that is shown.
Must not own: times; programs of other libraries.
Read next: `../benchmarks/run.py`.
"""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
OURS = ["numpy out=", "eager", "compiled"]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports a module of `benchmarks/`, which aren't a package but programs side by side."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)

    def importer(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield importer
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.mark.parametrize("name", ["W1", "W2", "W3", "W4", "W5", "W8", "W9"])
def test_programs_by_hand_and_ours_agree(load: Any, name: str) -> None:
    run = load("run")
    make, _, tolerance = run.makers(name, OURS)
    assert set(make) == {"numpy", *OURS}
    candidates, failed = run.check(make, tolerance)
    assert failed == {}
    assert set(candidates) == set(make)


def test_the_loop_and_the_modules_agree(load: Any) -> None:
    run = load("run")
    make, _, tolerance = run.makers("W1", ["eager nn"])
    assert set(make) == {"numpy", "eager nn"}
    candidates, failed = run.check(make, tolerance)
    assert (set(candidates), failed) == ({"numpy", "eager nn"}, {})
    candidate = candidates["eager nn"]
    candidate.restart()
    for now, start in zip(candidate.state(), load("workloads").w1().start, strict=True):
        np.testing.assert_array_equal(now, start)
    assert "eager nn" not in run.makers("W2", None)[0]


@pytest.mark.parametrize("name", ["W1", "W2", "W3"])
def test_a_restart_gives_the_first_parameters_again(load: Any, name: str) -> None:
    run = load("run")
    work = load("workloads").WORKLOADS[name]()
    for program in ("numpy", *OURS):
        candidate = run.PROGRAMS[program][1](name, work)
        first = candidate.step()
        candidate.step()
        candidate.restart()
        assert candidate.step() == first
        candidate.restart()
        for now, start in zip(candidate.state(), work.start, strict=True):
            np.testing.assert_array_equal(now, start)


def test_chains_agree(load: Any) -> None:
    run = load("run")
    make, _, tolerance = run.makers("W6", ["eager"])
    candidates, failed = run.check(make, tolerance)
    assert (set(candidates), failed) == ({"numpy", "eager"}, {})


def test_wrong_numbers_have_no_time(load: Any) -> None:
    run, workloads = load("run"), load("workloads")

    def program(result: Any) -> Any:
        return lambda: workloads.Candidate(lambda: result)

    right = np.array([1.0, 2.0])
    make = {
        "numpy": program(right),
        "right": program(right * (1 + 1e-12)),
        "wrong": program(right + 1e-6),
        "nan": program(right * np.nan),
        "float32": program(right.astype(np.float32)),
        "shape": program(right[:, None]),
        "more": program((right, right)),
    }
    candidates, failed = run.check(make, 1e-9)
    assert set(candidates) == {"numpy", "right"}
    assert set(failed) == {"wrong", "nan", "float32", "shape", "more"}
    assert "differs by" in failed["wrong"]
    assert "float32(2,)" in failed["float32"]


def test_what_is_missing_is_said_with_its_reason(load: Any) -> None:
    run = load("run")

    def broken() -> Any:
        raise NotImplementedError("no second derivatives\nand a long text")

    make = {"numpy": lambda: load("workloads").Candidate(lambda: 1.0), "other": broken}
    assert run.check(make, 1e-9)[1] == {"other": "NotImplementedError: no second derivatives"}


def measured(threads: int = 1, kernels: str = "", **ratios: float) -> dict[str, Any]:
    """Return what `run.py` writes, for a workload W1."""
    rows = {
        name: {"ratio": ratio, "low": ratio, "high": ratio, "seconds": 1, "cores": 1} for name, ratio in ratios.items()
    }
    environment = {"threads": threads, "kernels": kernels, "python": "3", "system": "Linux", "machine": "m"}
    return {
        "environment": environment | {"processor": "a processor", "numpy": "2"},
        "rounds": 3,
        "titles": {"W1": "a step"},
        "results": {"W1": {"numpy": {"ratio": 1.0}, **rows}},
        "failed": {"W1": {"mygrad": "it can't"}},
    }


def test_files_of_one_setting_are_joined(load: Any) -> None:
    report = load("report")
    files = [measured(compiled=0.5), measured(compiled=0.75, advect=12.3), measured(threads=2, compiled=0.25)]
    assert report.ratios(files[:2]).splitlines()[2:] == ["| **compiled** | 0.50 |", "| advect | 12 |"]
    assert "With 2 threads" in report.settings(files)
    assert "| **compiled** | 0.25 |" in report.settings(files)
    assert report.absent(files[:1]) == "- MyGrad, W1: it can't"


def test_a_page_and_a_picture_are_written(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = load("report")
    page, image, results = tmp_path / "page.md", tmp_path / "images" / "plot.svg", tmp_path / "results.json"
    page.write_text("".join(f"<!-- {name} -->\nold\n<!-- end -->\ntext\n" for name in report.TABLES))
    results.write_text(json.dumps(measured(compiled=0.5, torch=3.0)))
    monkeypatch.setattr(sys, "argv", ["report.py", str(results), "--page", str(page), "--image", str(image)])
    report.main()
    assert "| **compiled** | 0.50 |" in page.read_text()
    assert "old" not in page.read_text()
    assert page.read_text().count("text") == len(report.TABLES)
    assert "<svg" in image.read_text()


def test_a_page_without_a_place_for_a_table_is_refused(load: Any, tmp_path: Path, monkeypatch: Any) -> None:
    report = load("report")
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text("no places")
    results.write_text(json.dumps(measured(compiled=0.5)))
    monkeypatch.setattr(sys, "argv", ["report.py", str(results), "--page", str(page)])
    with pytest.raises(SystemExit, match="has no place for the table 'titles'"):
        report.main()


def test_the_page_has_a_place_for_every_table(load: Any) -> None:
    text = (FOLDER.parent / "docs" / "performance.md").read_text()
    for name in load("report").TABLES:
        assert f"<!-- {name} -->" in text
    assert text.count("<!-- end -->") == len(load("report").TABLES)
