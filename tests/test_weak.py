"""Python numbers that are passed to a compiled function, or read in it.

Owns: that they are computed in double precision among each other, take the dtype of an
array that they meet, and stay Python's as results; in random programs, in all backends.
Must not own: numbers that are part of a program (`test_contract_parts.py`).
Read next: `test_contract_parts.py`.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import optim
from microgradnd.transforms import plain

pytestmark = pytest.mark.usefixtures("default_dtype")

PYTHON = (bool, int, float, complex)
W = mg.tensor(np.linspace(0.1, 1.0, 4, dtype=np.float32), name="w")
ARRAY = np.linspace(-1.5, 1.5, 4)
GIVEN = {  # two calls: a program must serve other numbers too
    "t": (0.7, 1.9),
    "u": (-1.3, 0.1),
    "k": (3, 3),
    "double": (np.float64(0.3), np.float64(1.1)),
    "single": (np.float32(0.3), np.float32(1.1)),
    "x": (ARRAY.astype(np.float32), np.float32(0.3) - ARRAY.astype(np.float32)),
    "y": (ARRAY + 0.1, 2 * ARRAY),
    "whole": (np.arange(4), np.arange(4) - 2),
    "mask": (ARRAY > 0, ARRAY < 1),
}
OPERATIONS = [
    *("{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / (abs({b}) + 0.5)", "{a} // (abs({b}) + 0.5)", "-{a}"),
    *("{a} % (abs({b}) + 0.5)", "abs({a}) ** (abs({b}) + 0.25)", "abs({a}) ** 2", "1 - 0.999 ** abs({a})"),
    *("({a} > {b}) * {c}", "({a} <= {b}) + {c}", "2 * {a}", "{a} * True", "{a} * len(x)", "{a} / len(x)"),
    *("np.sqrt(abs({a}))", "np.tanh({a})", "np.exp(-abs({a}))", "np.square({a})", "np.power(abs({a}) + 0.5, {b})"),
    *("np.maximum({a}, {b})", "np.add({a}, {b})", "np.hypot({a}, {b})", "np.sign({a}) * {b}", "np.round({a}, 2)"),
    *("np.where({a} > {b}, {a}, {c})", "np.where(mask, {a}, {b})", "np.clip({a}, {b}, {b} + 1)", "{a} * w"),
    *("np.select([x > {a}], [{a}], {b})", "np.isclose({a}, {b}) * {c}", "np.float32(2) * {a}", "{a} - np.float64(0.1)"),
    *("np.sum({a}) * {b}", "np.max({a})", "np.full_like(x, {a}) * {b}", "np.stack([{a} * x, {b} * x])"),
    *("np.reshape({a}, (-1,))", "np.multiply.outer(x, {a})", "np.linspace(0.0, 1.0, 3) * {a}", "mg.tensor({a}) * {b}"),
    *("mg.grad(lambda v: np.sum(v * {a} + v * v * {b}))(x)", "mg.grad(lambda v: np.sum(x * v * {b}))(t)"),
    "mg.jvp(lambda v: v * {a} / 3, (x,), (x,))",
]


def scope():
    return {"np": np, "mg": mg, "w": W, "optim": optim}


@st.composite
def programs(draw):
    """Draw the text of a function of a few lines; it returns the value of each."""
    names, lines = ["t", "u", "t", "x", "0.3", "2", *GIVEN], []
    for i in range(draw(st.integers(1, 4))):
        a, b, c = draw(st.lists(st.sampled_from(names), min_size=3, max_size=3))
        lines.append(f"    v{i} = {draw(st.sampled_from(OPERATIONS)).format(a=a, b=b, c=c)}")
        names += [f"v{i}"] * 3
    results = "".join(f"v{i}, " for i in range(len(lines)))
    return "\n".join([f"def f({', '.join(GIVEN)}):", *lines, f"    return ({results})"])


def check_alike(got, want, close=0.0):
    """Check numbers: equal, of the same dtype, and Python's if they are Python's."""
    if isinstance(want, tuple):
        for one, other in zip(got, want, strict=True):
            check_alike(one, other, close)
        return
    got, want = plain(got), plain(want)
    kinds = [type(x) if type(x) in PYTHON else np.asarray(x).dtype for x in (got, want)]
    assert kinds[0] == kinds[1]
    np.testing.assert_allclose(got, want, rtol=close, atol=close / 10)


def check(text, **options):
    """Check a program, compiled, against itself, for both sets of arguments."""
    names = scope()
    close = options.pop("close", 0.0)
    exec(text, names)
    f = names["f"]
    compiled = mg.compile(f, **options)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        calls = [{name: values[i] for name, values in GIVEN.items()} for i in (0, 1, 0)]
        try:
            wanted = [f(**call) for call in calls]
        except (ValueError, TypeError, ArithmeticError):
            return  # shapes that don't fit
        for call, want in zip(calls, wanted, strict=True):
            check_alike(compiled(**call), want, close)


@settings(max_examples=5 * settings.default.max_examples)
@given(programs(), st.booleans())
def test_numbers_are_the_functions_own(text, optimize):
    check(text, optimize=optimize)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("parts", ["tux", "xtu", "ttu", "xut"])
def test_each_operation_with_numbers(operation, parts):
    names = dict(zip("abc", parts, strict=True))
    check(f"def f({', '.join(GIVEN)}):\n    v = {operation.format(**names)}\n    return v, v * t, v * x")


@pytest.mark.parametrize("operation", OPERATIONS[:12])
def test_numbers_in_loops_by_numba(operation):
    pytest.importorskip("numba")
    text = operation.format(a="x", b="(1 - 0.999**t)", c="u")
    check(f"def f({', '.join(GIVEN)}):\n    return {text}", backend="numba", close=1e-6)
