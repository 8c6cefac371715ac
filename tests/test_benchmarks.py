"""The benchmarks' own programs give the same numbers, and their report says what was
measured.

Owns: what `benchmarks/` promises apart from times: that programs are compared before
they are timed, and how that is shown.
Must not own: times; programs of other libraries.
Read next: `../benchmarks/run.py`.
"""

import importlib
import json
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
OURS = ["numpy out=", "eager", "compiled"]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports a module of `benchmarks/`, which aren't a package
    but programs side by side.
    """
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)

    def importer(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield importer
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.mark.parametrize("name", ["W1", "W2", "W3", "W4", "W5", "W8", "W9", "W10", "W14 small"])
def test_programs_by_hand_and_ours_agree(load: Any, name: str) -> None:
    run = load("run")
    make, _, tolerance = run.makers(name, OURS)
    assert set(make) == {"numpy", *OURS}
    candidates, failed = run.check(make, tolerance)
    assert failed == {}
    assert set(candidates) == set(make)


@pytest.mark.parametrize("name", ["W11", "W12", "W16", "W16 Hessian", "W17"])
def test_programs_without_one_of_planned_arrays_agree(load: Any, name: str) -> None:
    run = load("run")
    make, _, tolerance = run.makers(name, ["eager", "compiled"])
    candidates, failed = run.check(make, tolerance)
    assert (set(candidates), failed) == ({"numpy", "eager", "compiled"}, {})
    assert "numpy out=" in run.makers(name, ["numpy out="])[1]


def test_functions_that_read_many_things_are_compiled(load: Any) -> None:
    overhead = load("overhead")
    for kind in overhead.KINDS:
        function = kind(3)
        np.testing.assert_array_equal(overhead.mg.compile(function)(overhead.X), function(overhead.X))
        assert isinstance(overhead.overhead(function, 1), float)


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
        name: {"ratio": ratio, "low": ratio, "high": ratio, "seconds": 1, "cores": 1, "first": 3}
        for name, ratio in ratios.items()
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


CHAINS = {  # seconds and bytes an operation, by library and length
    "depths": {
        "numpy": {"1000": {"seconds": 2e-7, "bytes at the peak": 0.0}},
        "torch": {
            "1000": {"seconds": 4e-6, "bytes at the peak": 1000.4, "bytes recorded": 900.0},
            "10000": {"seconds": 6e-6, "bytes at the peak": 1100.0, "bytes recorded": 945.0},
        },
        "eager": {
            "1000": {
                "seconds": 2e-6,
                "seconds without the collector": 1e-6,
                "bytes at the peak": 600.0,
                "bytes recorded": 500.0,
            },
            "10000": {"seconds": 3e-6, "bytes at the peak": 512.0, "bytes recorded": 488.0},
        },
        "advect": {"1000": {"seconds": 4e-5, "bytes at the peak": 566.0}, "10000": {"failed": "RecursionError"}},
    }
}


def test_the_tables_of_chains(load: Any) -> None:
    report = load("report")
    file = measured(compiled=0.5) | CHAINS
    assert report.depths([file]).splitlines() == [
        "| W7 | bytes recorded | bytes at the peak | 1,000 | 10,000 |",
        "| --- | --- | --- | --- | --- |",
        "| **eager** | 488 | 512 | 0.50 | 0.75 |",
        "| PyTorch | 945 | 1100 | 1.00 | 1.50 |",
        "| advect | - | 566 | 10 | RecursionError |",
    ]
    assert report.collector([file]).splitlines()[2:] == [
        "| as it is | 1.00 | 1.50 |",
        "| with `gc.disable()` | 1.00 |",
    ]
    slower = measured(compiled=0.5)  # on a machine of half the speed
    slower["depths"] = {
        "numpy": {"1000": {"seconds": 4e-7, "bytes at the peak": 0.0}},
        "mygrad": {"1000": {"seconds": 8e-6, "bytes at the peak": 3050.0}},
    }
    assert "| MyGrad | - | 3050 | 1.00 | - |" in report.depths([file, slower])
    other = measured(compiled=0.5)
    assert report.depths([other]) == report.collector([other]) == report.of_torch([other]) == "Not measured."
    assert report.depths([other, file]) == report.depths([file])
    file["results"]["W6"] = {"numpy": {"ratio": 1.0}, "torch": {"ratio": 20.0}, "eager": {"ratio": 8.0}}
    assert report.of_torch([file]).splitlines()[2:] == ["| **eager** | 0.40 |", "| PyTorch | 1.00 |"]
    assert "W6" not in report.ratios([file])


def test_the_other_tables(load: Any) -> None:
    report = load("report")
    file, other = measured(compiled=0.5, advect=3.0), measured(compiled=0.75) | {"titles": {"W1": "old", "W2": "more"}}
    mib = 2**20
    file["memory"] = {
        "numpy": {"steady": 10 * mib, "peak": 40 * mib},
        "numpy out=": {"steady": 30 * mib, "peak": 20 * mib},
        "eager": {"steady": 5 * mib, "peak": 50 * mib},
    }
    assert report.memory([other, file]).splitlines()[2:] == [
        "| NumPy | 10.0 | 40.0 | 2.00 |",
        "| NumPy with `out=` | 30.0 | 20.0 | 1.00 |",
        "| **eager** | 5.0 | 50.0 | 2.50 |",
    ]
    assert report.titles([file, other]).splitlines()[2:] == ["| W1 | a step |", "| W2 | more |"]
    file["lines"] = {"W1": [[0.5 - i / 100, f"line {i}"] for i in range(9)]}
    assert report.profiles([file]).splitlines() == [
        "```",
        "W1",
        *(f" {50 - i}.0%  line {i}" for i in range(6)),
        "```",
    ]
    file["spellings"] = {"shapes": ["2 × 3"], "groups": [{"title": "sum", "rows": [["a", [1.0]], ["b", [0.123]]]}]}
    assert report.spellings([file]).splitlines()[2:] == ["| *sum* |  |", "| `a` | 1.00 |", "| `b` | 0.12 |"]
    failed = measured(mygrad=2.0)
    assert report.absent([file]) == "- MyGrad, W1: it can't"
    assert report.absent([file, failed]) == "Nothing is missing."
    assert [report.number(x) for x in (0.004, 0.996, 9.94, 9.96, 12.4)] == ["0.004", "1.00", "9.94", "10", "12"]
    for table in (report.memory, report.profiles, report.spellings):
        assert table([other]) == "Not measured."
    assert "threads: 1; Python 3, numpy 2; 3 rounds" in report.versions([other])


def test_large_workloads_have_a_table_of_their_own(load: Any) -> None:
    report = load("report")
    file = measured(compiled=0.5, eager=2.0)
    rows = file["results"].pop("W1")
    file["results"] = dict.fromkeys(("W6", "W14 small", "W14", "W10", "W2"), rows)
    assert report.ratios([file]).splitlines()[0] == "|  | W2 |"
    assert report.ratios([file], report.LARGE).splitlines()[0] == "|  | W10 | W14 | W14 small |"
    assert report.firsts([file]).splitlines()[2:] == ["| **compiled** | 3 | 3 | 3 | 3 |"]
    del rows["eager"]
    assert report.firsts([file]).splitlines()[2:] == ["| **compiled** | - | - | - | - |"]
    assert report.ratios([measured()], report.LARGE) == "Not measured."


def test_a_page_shows_the_files_of_the_first_ones_setting(load: Any, tmp_path: Path, monkeypatch: Any) -> None:
    report = load("report")
    page, paths = tmp_path / "page.md", [tmp_path / "one.json", tmp_path / "two.json"]
    page.write_text("".join(f"<!-- {name} -->\n<!-- end -->\n" for name in report.TABLES))
    for path, file in zip(paths, (measured(compiled=0.5), measured(threads=2, compiled=0.25, jax=0.3)), strict=True):
        path.write_text(json.dumps(file))
    argv = ["report.py", *map(str, paths), "--page", str(page), "--image", str(tmp_path / "plot.svg")]
    monkeypatch.setattr(sys, "argv", argv)
    report.main()
    ratios, others = (
        page.read_text().split(f"<!-- {name} -->")[1].split("<!-- end")[0] for name in ("ratios", "settings")
    )
    assert "0.50" in ratios
    assert "JAX" not in ratios
    assert "| JAX jit | 0.30 |" in others


def test_chains_are_measured_in_processes_of_their_own(load: Any, monkeypatch: Any) -> None:
    chains = load("chains")
    if not Path("/proc/self/status").exists():
        assert chains.depths(["eager"]) == {}
        return
    monkeypatch.setattr(chains, "LENGTHS", (200, 400))
    found = chains.depths(["eager", "numpy", "nobody's"])
    for library in ("eager", "numpy"):
        assert list(found[library]) == ["200", "400"]
        for row in found[library].values():
            assert row["seconds"] > 0
            assert row["seconds without the collector"] > 0
            assert row["bytes at the peak"] > -1e6
    assert abs(found["eager"]["400"]["bytes recorded"]) < 50_000  # of an operation, not of the process
    assert "bytes recorded" not in found["numpy"]["400"]
    assert found["nobody's"] == {"200": {"failed": "KeyError"}}


def test_the_derivative_of_a_chain_by_hand(load: Any) -> None:
    chains = load("chains")
    ahead, behind = (chains.chain(0.5 + step, 8) for step in (1e-6, -1e-6))
    assert chains.by_hand(8) == pytest.approx((chains.chain(0.5, 8), (ahead - behind) / 2e-6))


def test_the_memory_of_a_step(load: Any) -> None:
    memory, workloads = load("memory"), load("workloads")
    megabyte = 2**20

    def make(name: str, work: Any) -> Any:
        held = np.zeros(2 * megabyte, np.uint8)

        def step() -> int:
            return int(np.ones(3 * megabyte, np.uint8)[0]) + int(held[0])

        return workloads.Candidate(step)

    tracemalloc.start()
    try:
        found = memory.measure(make, None)
    finally:
        tracemalloc.stop()
    assert found["steady"] == pytest.approx(2 * megabyte, rel=0.05)
    assert found["peak"] == pytest.approx(5 * megabyte, rel=0.05)


def test_ratios_are_taken_within_each_round(load: Any, monkeypatch: Any) -> None:
    """With a clock of our own: a machine that gets slower from step to step changes no
    ratio.
    """
    run, workloads = load("run"), load("workloads")
    clock, restarts = [0.0], []

    def program(name: str, cost: float) -> Any:
        def step() -> None:
            clock[0] += cost

        return workloads.Candidate(step, restart=lambda: restarts.append(name))

    monkeypatch.setattr(run.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(run.time, "process_time", lambda: 2 * clock[0])
    report = run.compare({"numpy": program("numpy", 0.002), "slow": program("slow", 0.006)}, 4)
    assert report["numpy"]["ratio"] == pytest.approx(1.0)
    assert report["slow"]["ratio"] == pytest.approx(3.0)
    assert report["slow"]["low"] == pytest.approx(3.0)
    assert report["slow"]["seconds"] == pytest.approx(0.006)
    assert report["slow"]["cores"] == pytest.approx(2.0)
    assert sorted(restarts) == ["numpy"] * 4 + ["slow"] * 4


def test_what_takes_part(load: Any) -> None:
    run = load("run")
    assert run.wanted("numpy", "numpy", ["eager"])
    assert run.wanted("eager", "numpy", None)
    assert not run.wanted("eager", "numpy", ["compiled"])
    assert not run.wanted("torch", "a module that nobody has", None)


def test_spellings_of_one_thing_agree(load: Any, monkeypatch: Any) -> None:
    spellings = load("spellings")
    monkeypatch.setattr(spellings, "SECONDS", 0.0)
    monkeypatch.setattr(spellings, "ROUNDS", 1)
    for group in spellings.GROUPS.values():
        assert spellings.compare(group, spellings.arrays((6, 4), np.float64))[0] == 1.0
    with pytest.raises(AssertionError, match=r"np\.add"):
        spellings.compare(("np.multiply(h, g, out=o)", "np.add(h, g, out=o)"), spellings.arrays((6, 4), np.float64))


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


def test_only_the_tables_that_are_asked_for(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = load("report")
    page, image, results = tmp_path / "page.md", tmp_path / "plot.svg", tmp_path / "results.json"
    page.write_text("".join(f"<!-- {name} -->\nold\n<!-- end -->\n" for name in report.TABLES))
    results.write_text(json.dumps(measured(compiled=0.5, torch=3.0)))
    argv = ["report.py", str(results), "--page", str(page), "--image", str(image), "--tables", "ratios", "larger"]
    monkeypatch.setattr(sys, "argv", argv)
    report.main()
    assert "| **compiled** | 0.50 |" in page.read_text()
    assert page.read_text().count("old") == len(report.TABLES) - 2
    assert not image.exists()


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
