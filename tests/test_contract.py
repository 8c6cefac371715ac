"""The contract of compiled functions: random programs with captures, run both ways.

Owns: that random programs with captures are equal or refused after each call; that the
check finds planted faults.
Must not own: the programs and the check (`fuzz/surroundings.py`, `fuzz/contract.py`).
Read next: `fuzz/README.md`.
"""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from microgradnd.compiler import trace, watch
from microgradnd.compiler.dispatch import Dispatcher
from tests.fuzz.__main__ import main
from tests.fuzz.contract import NUMPY, OTHERS, Session, check, script, shrink
from tests.fuzz.surroundings import draw, smaller
from tests.fuzz.things import FORMS, OPTIONS, REACHES, RESULTS, THINGS, TRAININGS

pytestmark = pytest.mark.usefixtures("default_dtype")

MANY = 30 * settings.default.max_examples
MOST_REFUSED = 0.15  # of programs without side effects and control flow on values
SOME = 400  # programs in which a planted fault must be found


@settings(max_examples=MANY, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.data())
def test_equal_or_refused(data):
    p = draw(lambda options: data.draw(st.sampled_from(options)), NUMPY)
    outcome = check(p)
    if outcome.failed:  # Hypothesis would shrink it for minutes, as it doesn't know the parts
        p, outcome = shrink(p, outcome)
        pytest.fail(f"{outcome.reason}\n{script(p, outcome)}", pytrace=False)


def test_loops_by_numba():
    pytest.importorskip("numba")
    session = Session(1, OTHERS)
    for n in range(MANY // 30):
        session.run(n)
    assert not session.failures


def test_few_programs_are_refused():
    session = Session(2, NUMPY)
    session.distinct = 0  # failures are the other tests'
    for n in range(MANY):
        session.run(n)
    assert session.plain.total() > MANY / 2
    assert session.share < MOST_REFUSED, session.summary(0.0)


def nothing(*_):
    return []


PLANTED = {
    "settings that are never looked at": (watch.Surroundings, "changes", nothing),
    "gradients that aren't left": (Dispatcher, "leaving", lambda *_: "pass"),
    "results that aren't on the tape": (trace, "sources_of", nothing),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault, monkeypatch):
    owner, name, value = PLANTED[fault]
    monkeypatch.setattr(owner, name, value)
    session = Session(3, NUMPY[:1])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        n = next((n for n in range(SOME) if session.run(n) or session.failures), None)
    assert n is not None
    _, p, outcome = next(iter(session.failures.values()))
    assert len(p.calls) <= 2
    assert len(p.parts) <= 1
    text = script(p, outcome)
    assert text in printed.getvalue()
    exec(text, {})


def test_every_row_is_drawn_and_made_smaller():
    drawn = set()
    for n in range(1500):
        rng = np.random.default_rng([4, n])
        p = draw(lambda options, rng=rng: options[int(rng.integers(len(options)))])
        drawn.update([*p.features(), p.training, p.result, p.form, p.options])
    rows = [row.name for row in THINGS] + [f"by {reach.name}" for reach in REACHES]
    assert {*rows, *TRAININGS, *RESULTS, *FORMS, *OPTIONS} - drawn == set()
    assert all(candidate != p for candidate in smaller(p))


def test_the_command_line(capsys):
    assert main(["--surroundings", "--seed", "5", "--only", "2"]) == 0
    assert "programs with surroundings" in capsys.readouterr().out
