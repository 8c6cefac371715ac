"""The fuzzer is checked: planted wrong rules are found, and the programs that show them
are small and run.

Owns: `tests/fuzz/`.
Must not own: what the fuzzer finds in the library.
Read next: `fuzz/README.md`.
"""

import contextlib
import io

import numpy as np
import pytest

import microgradnd as mg
from tests.fuzz import torch_side
from tests.fuzz.__main__ import Session, main
from tests.fuzz.draw import draw_program
from tests.fuzz.operations import OPERATIONS, real
from tests.fuzz.programs import Index, Operation, literal
from tests.fuzz.questions import QUESTIONS
from tests.fuzz.shrink import script

pytestmark = pytest.mark.usefixtures("default_dtype")
MOST = 400  # programs until a planted fault must have been found


def planted(vjp, jvp=None, body=lambda x: x**3):
    """Return a session in which every fourth step or so is a primitive with these
    rules.
    """

    @mg.primitive
    def planted(x):
        return body(x)

    mg.defvjp(planted, vjp)
    mg.defjvp(planted, jvp or vjp)
    row = Operation("planted", "planted({0})", "{0} ** 3", real, plain="{0} ** 3")
    table = [o for o in OPERATIONS if o.name in ("sin", "add", "multiply", "sum", "reshape", "getitem", "setitem")]
    return Session(0, [*table, row, row], {"planted": planted})


def first_failure(session):
    with contextlib.redirect_stdout(io.StringIO()):
        for n in range(MOST):
            session.run(n, False)
            if session.failures:
                return next(iter(session.failures.values()))
    return None


def right(g, out, x):
    return g * 3 * x**2


WRONG = {
    "sign": (lambda g, out, x: -g * 3 * x**2, right),
    "one element": (lambda g, out, x: g * 3 * x**2 * (1 + 0.01 * (x == np.max(x))), right),
    "tiny": (lambda g, out, x: g * 3.0001 * x**2, right),
    "forward mode alone": (right, lambda t, out, x: t * 3 * x),
    "second order alone": (lambda g, out, x: g * 3 * (x.data if isinstance(x, mg.Tensor) else x) ** 2, right),
}


@pytest.mark.parametrize("oracle", ["PyTorch", "finite differences"])
@pytest.mark.parametrize("fault", WRONG)
def test_planted_faults_are_found_and_made_small(fault, oracle, monkeypatch):
    if oracle == "PyTorch":
        pytest.importorskip("torch", reason="the comparison with PyTorch needs it")
    else:
        monkeypatch.setattr(torch_side, "torch", lambda: None)
    session = planted(*WRONG[fault])
    found = first_failure(session)
    assert found is not None, session.summary(0)
    _, program, verdict = found
    assert "planted" in program.operations()
    assert len(program.steps) <= 3
    assert len(program.inputs) <= 2
    text = script(program, verdict, session.names)
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(Exception):
        exec(text, {"planted": session.names["planted"]})
        assert "ours:" in printed.getvalue()
        assert oracle in printed.getvalue()


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="NumPy 2.0 computes v[[1, 0]] = v without a copy, wrongly"
)
def test_a_right_rule_passes():
    session = planted(right)
    assert first_failure(session) is None, session.failures
    assert session.kinds["agrees"] > MOST / 2


def test_a_wrong_value_is_found():
    session = planted(right, body=lambda x: x**3 + 0.001)
    _, _, verdict = first_failure(session)
    assert "value" in verdict.reason


def test_one_seed_gives_the_same_programs():
    for n in (3, 4, 5):
        first, again = (draw_program(np.random.default_rng([1, n]), OPERATIONS, mutations=True) for _ in range(2))
        assert (first is None) == (again is None)
        if first is not None:
            ours = QUESTIONS[first.question].ours
            assert ours(first) == ours(again)


def test_the_command_line(capsys):
    assert main(["--seed", "5", "--only", "2", "--mutations", "no"]) == 0
    assert "seed 5: 1 programs" in capsys.readouterr().out


def test_a_refusal_is_counted_by_its_message():
    session = planted(lambda g, out, x: np.zeros((9, 9, *x.shape[1:], 7)))
    first_failure(session)
    assert any("cotangent of shape" in message for message in session.refusals), session.refusals


@pytest.mark.parametrize(
    "value",
    [np.array([[1.0, -2.0]]), np.array(3.0), np.array([1 + 2j]), np.array([True]), np.zeros((0, 2)), (1, 2), None],
)
def test_what_is_printed_is_the_value(value):
    again = eval(literal(value), {"np": np})
    np.testing.assert_array_equal(again, value)
    assert getattr(again, "shape", None) == getattr(value, "shape", None)


@pytest.mark.parametrize(
    "index",
    [(0,), (slice(1, None, 2), None), (Ellipsis, -1), (np.array([0, 1]), slice(None)), (np.array([True, False]),)],
)
def test_an_index_is_printed_as_it_is_written(index):
    x = np.arange(8.0).reshape(2, 4)
    text = literal(Index(index, tuple=len(index) > 1))
    np.testing.assert_array_equal(eval(f"x[{text}]", {"np": np, "x": x}), x[index])


def test_every_operation_can_be_drawn():
    drawn = set()
    for n in range(1500):
        program = draw_program(np.random.default_rng([2, n]), OPERATIONS, steps=16, mutations=n % 4 == 0)
        drawn.update(program.operations() if program is not None else ())
    assert {operation.name for operation in OPERATIONS} - drawn == set()
