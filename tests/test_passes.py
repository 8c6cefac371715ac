"""The passes, one by one: on programs of a few steps, and as laws on random ones.

Owns: what each pass does to a program, and that it changes no result.
Must not own: the results of whole compiled functions (`test_compiled_laws.py`).
Read next: `programs.py`.

Small programs are written as lists of `(name of the value, function, arguments)`, where
a text names a value.
"""

import importlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings

import microgradnd as mg
from microgradnd import primitives
from microgradnd.compiler import buffers, formulas, layouts, passes, spelling
from microgradnd.compiler.ownership import own_results
from microgradnd.compiler.program import Constant, Program, Step, Value, filled
from tests.interpreter import run
from tests.programs import compare, inputs, is_single, is_tame, programs

blocks = importlib.import_module("microgradnd.compiler.blocks")  # the package knows the function by this name
SHAPES = {"x": (2, 3), "y": (2, 3), "v": (3,), "s": (), "a": (3, 2), "i": (2,), "f": (2, 3), "c": (2, 3, 4)}
SHAPES |= {"e": (0, 3), "r": (3, 1)}
DTYPES = {"i": np.int64, "f": np.float32}


def arrays_of(program):
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=v.shape).astype(v.dtype) if v.dtype.kind == "f" else np.ones(v.shape, v.dtype)
        for v in program.inputs
    ]


def build(given_names, lines, outputs, updates=None):
    """Return a program; the shapes of its values are found by running it."""
    values = {n: Value(SHAPES[n], DTYPES.get(n, np.float64), n) for n in given_names.split()}
    known = dict(zip(values, arrays_of(Program(tuple(values.values()), (), ())), strict=True))
    steps = []
    for name, function, *args in lines:
        kwargs = args.pop() if args and isinstance(args[-1], dict) else {}
        result = function(*(known[a] if isinstance(a, str) else a for a in args), **kwargs)
        known[name] = result
        values[name] = Value(np.shape(result), np.asarray(result).dtype, name)
        steps.append(Step(function, tuple(values[a] if isinstance(a, str) else a for a in args), kwargs, values[name]))
    inputs = tuple(values[n] for n in given_names.split())
    wanted = tuple(values[n] for n in outputs.split())
    return Program(inputs, tuple(steps), wanted, {values[a]: values[b] for a, b in (updates or {}).items()})


def written(program):
    """Return a program as it is built, for comparison."""

    def text(arg):
        if isinstance(arg, Value):
            return arg.name
        return arg.text if isinstance(arg, Constant) else arg

    lines = [
        (step.out.name, step.function, *map(text, step.args), *([dict(step.kwargs)] if step.kwargs else []))
        for step in program.steps
    ]
    return lines, " ".join(str(text(out)) for out in program.outputs)


def check(rewrite, given_names, before, after, outputs, left=None):
    """Check a pass's program, and that its results are equal."""
    program = build(given_names, before, outputs)
    new = rewrite(program)
    assert written(new) == (after, left or outputs)
    compare(run(new, *arrays_of(program)), run(program, *arrays_of(program)), exact=True)
    assert written(program) == (before, outputs)  # a program is never changed


M, D, S = np.multiply, np.dot, primitives.scatter
T, R, E = np.transpose, np.reshape, primitives.expand
NUMBER = E(np.float64(2.0), (2, 3))  # a number spread out
ONES = E(np.float64(1.0), (2, 3))

DROPPED = {
    "nothing": ([("t", np.sin, "x")], [("t", np.sin, "x")], "t"),
    "unused": ([("t", np.sin, "x"), ("u", np.cos, "x")], [("t", np.sin, "x")], "t"),
    "a chain": ([("t", np.sin, "x"), ("u", np.cos, "t"), ("w", np.exp, "x")], [("w", np.exp, "x")], "w"),
    "all": ([("t", np.sin, "x")], [], "x"),
    "not what is used twice": (
        [("t", np.sin, "x"), ("u", np.cos, "t"), ("w", np.add, "t", "t")],
        [("t", np.sin, "x"), ("w", np.add, "t", "t")],
        "w",
    ),
}


@pytest.mark.parametrize("case", DROPPED.values(), ids=DROPPED)
def test_drop_dead(case):
    check(passes.drop_dead, "x", case[0], case[1], case[2])


def test_steps_that_an_update_needs_are_not_dead():
    program = build("x y", [("t", np.add, "x", "y"), ("u", np.sin, "x")], "y", {"x": "t"})
    assert written(passes.drop_dead(program))[0] == [("t", np.add, "x", "y")]


def times_count(x, parts):
    return x * len(parts)


SHARED = {
    "equal calls": (
        [("t", np.sin, "x"), ("u", np.sin, "x"), ("w", np.add, "t", "u")],
        [("t", np.sin, "x"), ("w", np.add, "t", "t")],
    ),
    "of equal calls": (
        [("t", np.sin, "x"), ("u", np.cos, "t"), ("r", np.sin, "x"), ("q", np.cos, "r"), ("w", np.add, "u", "q")],
        [("t", np.sin, "x"), ("u", np.cos, "t"), ("w", np.add, "u", "u")],
    ),
    "with options": (
        [("t", np.sum, "x", {"axis": 0}), ("u", np.sum, "x", {"axis": 0}), ("w", np.add, "t", "u")],
        [("t", np.sum, "x", {"axis": 0}), ("w", np.add, "t", "t")],
    ),
    "not with other options": (
        [
            ("t", np.sum, "x", {"axis": (0,)}),
            ("u", np.sum, "x", {"axis": (1,)}),
            ("w", np.sum, "t"),
            ("r", np.add, "w", "u"),
        ],
        None,
    ),
    "not in another order": (
        [("t", np.subtract, "x", "y"), ("u", np.subtract, "y", "x"), ("w", np.add, "t", "u")],
        None,
    ),
    "not 0 and -0": ([("t", np.copysign, "x", 0.0), ("u", np.copysign, "x", -0.0), ("w", np.add, "t", "u")], None),
    "not 1 and 1.0": ([("t", np.multiply, "x", 1), ("u", np.multiply, "x", 1.0), ("w", np.add, "t", "u")], None),
    "not 1 and True": ([("t", np.multiply, "x", 1), ("u", np.multiply, "x", True), ("w", np.add, "t", "u")], None),
    "not slices of other steps": (
        [
            ("t", primitives.getitem, "x", slice(None, None, -1)),
            ("u", primitives.getitem, "x", slice(None, None, 1)),
            ("w", np.add, "t", "u"),
        ],
        None,
    ),
    "not what can't be told to be equal": (
        [("t", times_count, "x", {1, 2}), ("u", times_count, "x", {3}), ("w", np.add, "t", "u")],
        None,
    ),
    "not slices with and without a step": (
        [
            ("t", primitives.getitem, "x", (slice(None), slice(None, None, 2))),
            ("u", primitives.getitem, "x", (slice(None), slice(None))),
            ("w", np.sum, "t"),
            ("r", np.add, "w", "u"),
        ],
        None,
    ),
    "slices": (
        [
            ("t", primitives.getitem, "x", slice(0, 1)),
            ("u", primitives.getitem, "x", slice(0, 1)),
            ("w", np.add, "t", "u"),
        ],
        [("t", primitives.getitem, "x", slice(0, 1)), ("w", np.add, "t", "t")],
    ),
}


@pytest.mark.parametrize("case", SHARED.values(), ids=SHARED)
def test_share_equal(case):
    before, after = case
    check(passes.share_equal, "x y", before, after or before, before[-1][0])


def test_numbers_spread_out():
    assert passes.uniform(NUMBER) == passes.uniform(NUMBER[:, :2]) == passes.uniform(NUMBER.T) == 2.0
    assert passes.uniform(NUMBER.copy()) is None
    assert passes.uniform(np.array(2.0)) is None
    assert passes.uniform(np.float64(2.0)) is None
    assert passes.uniform(np.broadcast_to(np.ones(()), (2, 3))) is None  # its base can change
    row = np.ndarray((2, 3), float, np.arange(3.0), 0, (0, 8))
    row.flags.writeable = False
    assert passes.uniform(row) is None
    complex_number = E(np.complex128(1 + 2j), (2, 3))
    assert passes.uniform(complex_number) == 1 + 2j
    assert passes.uniform(complex_number.real) is None
    assert passes.uniform(NUMBER.view(np.int64)) is None


def test_results_that_are_equal_are_one_value():
    check(passes.share_equal, "x", [("t", np.sin, "x"), ("u", np.sin, "x")], [("t", np.sin, "x")], "t u", "t t")


SIMPLE = {
    "times 1": ([("t", np.multiply, "x", 1.0)], [], "x"),
    "1 times": ([("t", np.multiply, 1, "x")], [], "x"),
    "over 1": ([("t", np.divide, "x", 1.0)], [], "x"),
    "not 1 over": ([("t", np.divide, 1.0, "x")], None, "t"),
    "not an integer over 1": ([("t", np.divide, "i", 1)], None, "t"),
    "not plus 0, which makes 0 of -0": ([("t", np.add, "x", 0.0)], None, "t"),
    "not times 1 of another dtype": ([("t", np.multiply, "i", 1.0)], None, "t"),
    "positive": ([("t", np.positive, "x")], [], "x"),
    "identity": ([("t", primitives.identity, "x"), ("u", np.sin, "t")], [("u", np.sin, "x")], "u"),
    "copy": ([("t", np.copy, "x")], [], "x"),
    "the same dtype": ([("t", primitives.astype, "x", np.dtype(np.float64))], [], "x"),
    "not another dtype": ([("t", primitives.astype, "x", np.dtype(np.float32))], None, "t"),
    "the same shape": ([("t", R, "x", (2, 3))], [], "x"),
    "not another shape": ([("t", R, "x", (3, 2))], None, "t"),
    "broadcast to the same shape": ([("t", np.broadcast_to, "x", (2, 3))], [], "x"),
    "times ones": ([("t", np.multiply, "x", ONES)], [], "x"),
    "a number spread out": ([("t", np.multiply, NUMBER, "x")], [("t", np.multiply, 2.0, "x")], "t"),
    "not alone": ([("t", np.multiply, NUMBER, "v")], None, "t"),
    "not a number of another dtype": ([("t", np.multiply, NUMBER, "f")], None, "t"),
    "not an array that can change": ([("t", np.multiply, np.ones((2, 3)), "x")], None, "t"),
    "a sum handed back": (
        [("t", np.sum, "x"), ("u", E, "t", (2, 3), None, False), ("w", np.multiply, "u", "x")],
        [("t", np.sum, "x"), ("u", E, "t", (2, 3), None, False), ("w", np.multiply, "t", "x")],
        "w",
    ),
    "a sum handed back along an axis": (
        [("t", np.sum, "x", {"axis": 0, "keepdims": True}), ("u", E, "t", (2, 3), 0, True), ("w", np.add, "x", "u")],
        [("t", np.sum, "x", {"axis": 0, "keepdims": True}), ("u", E, "t", (2, 3), 0, True), ("w", np.add, "x", "t")],
        "w",
    ),
    "not where an axis is missing": (
        [("t", np.sum, "x", {"axis": 1}), ("u", E, "t", (2, 3), 1, False), ("w", np.add, "x", "u")],
        None,
        "w",
    ),
}


@pytest.mark.parametrize("case", SIMPLE.values(), ids=SIMPLE)
def test_simplify(case):
    before, after, left = case
    named = {part for line in before for part in line[2:] if isinstance(part, str)}
    names = " ".join(n for n in SHAPES if n in named or n == "x")
    program = build(names, before, before[-1][0])
    new = passes.simplify(program)
    lines, outputs = written(new)
    expected = before if after is None else after
    assert [tuple(map(repr, line)) for line in lines] == [tuple(map(repr, line)) for line in expected]
    assert outputs == left
    compare(run(new, *arrays_of(program)), run(program, *arrays_of(program)), exact=True)


WITHOUT = {
    "all axes": (
        [("t", np.sum, "x", {"axis": (0, 1), "keepdims": True}), ("u", R, "t", ()), ("w", np.sin, "u")],
        [("u", np.sum, "x", {"axis": (0, 1)}), ("w", np.sin, "u")],
    ),
    "the first axis": (
        [("t", np.max, "c", {"axis": (-3,), "keepdims": True}), ("u", R, "t", (3, 4)), ("w", np.sin, "u")],
        [("u", np.max, "c", {"axis": (-3,)}), ("w", np.sin, "u")],
    ),
    "not one that was not summed": (
        [("t", np.sum, "r", {"axis": (0,), "keepdims": True}), ("u", R, "t", ()), ("w", np.sin, "u")],
        None,
    ),
    "not where the sum is used as well": (
        [("t", np.sum, "x", {"axis": (1,), "keepdims": True}), ("u", R, "t", (2,)), ("w", np.add, "t", "u")],
        None,
    ),
    "not another dtype": (
        [("t", np.sum, "x", {"axis": (1,), "keepdims": True, "dtype": float}), ("u", R, "t", (2,)), ("w", np.sin, "u")],
        None,
    ),
}


@pytest.mark.parametrize("case", WITHOUT.values(), ids=WITHOUT)
def test_sums_without_the_axes_that_a_reshape_drops(case):
    rewrite = lambda program: passes.drop_dead(passes.simplify(program))  # noqa: E731
    check(rewrite, case[0][0][2], case[0], case[1] or case[0], "w")


UNDONE = {
    "transposed twice": (
        [("t", T, "x"), ("u", T, "t"), ("w", np.sin, "u")],
        [("w", np.sin, "x")],
    ),
    "negative twice": (
        [("t", np.negative, "x"), ("u", np.negative, "t"), ("w", np.sin, "u")],
        [("w", np.sin, "x")],
    ),
    "not with axes": ([("t", T, "x", (1, 0)), ("u", T, "t", (1, 0)), ("w", np.sin, "u")], None),
    "not with axes outside": ([("t", T, "c"), ("u", T, "t", (1, 2, 0)), ("w", np.sin, "u")], None),
    "not with axes inside": ([("t", T, "c", (1, 2, 0)), ("u", T, "t"), ("w", np.sin, "u")], None),
    "not one after the other": ([("t", np.negative, "x"), ("u", T, "t"), ("w", np.negative, "u")], None),
    "not reciprocals, which round": ([("t", np.reciprocal, "x"), ("u", np.reciprocal, "t"), ("w", np.sin, "u")], None),
}


@pytest.mark.parametrize("case", UNDONE.values(), ids=UNDONE)
def test_undo_twice(case):
    rewrite = lambda program: passes.drop_dead(passes.simplify(program))  # noqa: E731
    check(rewrite, case[0][0][2], case[0], case[1] or case[0], "w")


TURNED = ("t", T, "c", (1, 2, 0))  # of shape (3, 4, 2)
LAID = {
    "a function": ([TURNED, ("u", np.sin, "t")], [TURNED, ("u", np.sin, "c"), ("u", T, "u", (1, 2, 0))], "u"),
    "a choice": (
        [TURNED, ("m", np.greater, "t", 0.0), ("u", np.where, "m", "t", "s")],
        [
            TURNED,
            ("m", np.greater, "c", 0.0),
            ("m", T, "m", (1, 2, 0)),
            ("u", np.where, "m", "c", "s"),
            ("u", T, "u", (1, 2, 0)),
        ],
        "u",
    ),
    "a smaller operand": (
        [TURNED, ("w", R, "y", (3, 1, 2)), ("u", np.subtract, "t", "w")],
        [
            TURNED,
            ("w", R, "y", (3, 1, 2)),
            ("w", T, "w", (2, 0, 1)),
            ("u", np.subtract, "c", "w"),
            ("u", T, "u", (1, 2, 0)),
        ],
        "u",
    ),
    "a smaller operand in another order": (
        [TURNED, ("w", R, "y", (1, 2, 3)), ("v", T, "w", (2, 0, 1)), ("u", np.subtract, "t", "v")],
        [
            TURNED,
            ("w", R, "y", (1, 2, 3)),
            ("v", T, "w", (2, 0, 1)),
            ("v", T, "v", (2, 0, 1)),
            ("u", np.subtract, "c", "v"),
            ("u", T, "u", (1, 2, 0)),
        ],
        "u",
    ),
    "not in two orders": ([TURNED, ("w", R, "c", (3, 4, 2)), ("u", np.add, "t", "w")], None, "u"),
    "a vector": (
        [TURNED, ("u", np.add, "t", "i")],
        [TURNED, ("i", R, "i", (2, 1, 1)), ("u", np.add, "c", "i"), ("u", T, "u", (1, 2, 0))],
        "u",
    ),
    "a vector and reversed axes": (
        [("t", T, "y"), ("u", np.multiply, "t", "i")],
        [("t", T, "y"), ("i", R, "i", (2, 1)), ("u", np.multiply, "y", "i"), ("u", T, "u")],
        "u",
    ),
    "not with fewer axes": ([TURNED, ("w", R, "i", (1, 2)), ("u", np.add, "t", "w")], None, "u"),
    "back": ([TURNED, ("u", T, "t", (2, 0, 1)), ("w", np.sin, "u")], [TURNED, ("w", np.sin, "c")], "w"),
    "a sum": (
        [TURNED, ("u", np.sum, "t", {"axis": (0, -2)})],
        [TURNED, (None, R, "c", (2, 12)), ("u", np.sum, None, {"axis": 1})],
        "u",
    ),
    "a maximum that keeps its axes": (
        [TURNED, ("u", np.max, "t", {"axis": (0, 1), "keepdims": True})],
        [TURNED, (None, R, "c", (2, 12)), (None, np.max, None, {"axis": 1}), ("u", R, None, (1, 1, 2))],
        "u",
    ),
    "a mean of everything": (
        [TURNED, ("u", np.mean, "t")],
        [TURNED, (None, R, "c", (24,)), ("u", np.mean, None, {"axis": 0})],
        "u",
    ),
    "not a sum along the first axes in memory": ([TURNED, ("u", np.sum, "t", {"axis": 2})], None, "u"),
    "not a sum in another dtype": ([TURNED, ("u", np.sum, "t", {"axis": (0, 1), "dtype": np.float32})], None, "u"),
}


@pytest.mark.parametrize("case", LAID.values(), ids=LAID)
def test_in_memory_order(case):
    before, after, outputs = case
    check(layouts.in_memory_order, "c y s i", before, after or before, outputs)


@pytest.mark.parametrize("shape", [(3, 1, 2), (2,)])
def test_a_constant_in_memory_order(shape):
    program = build("c", [TURNED, ("u", np.add, "t", np.random.default_rng(0).normal(size=shape))], "u")
    new = layouts.in_memory_order(program)
    assert [step.function for step in new.steps] == [T, np.add, T]
    assert new.steps[1].args[0] is program.inputs[0]
    compare(run(new, *arrays_of(program)), run(program, *arrays_of(program)), exact=True)


N = np.negative
SIGNED = {
    "a sign and a number": ([("t", M, "x", 0.1), ("w", N, "t")], [("w", M, "x", -0.1)]),
    "a sign before a number": ([("t", N, "x"), ("w", M, "t", 0.1)], [("w", M, "x", -0.1)]),
    "a power of two, then a number": ([("t", M, "x", 4), ("w", M, "t", 1.1)], [("w", M, "x", 4.4)]),
    "a whole number, then a power of two": ([("t", M, "x", -3.0), ("w", M, "t", 4)], [("w", M, "x", -12.0)]),
    "three factors": ([("t", M, "x", 2), ("u", M, "t", 3), ("w", M, "u", 4)], [("w", M, "x", 24)]),
    "not a part of a subnormal number, then a power of two": ([("t", M, "x", 1.1), ("w", M, "t", 4)], None),
    "not numbers whose product is rounded": ([("t", M, "x", 1.1), ("w", M, "t", 1.3)], None),
    "not a factor below 1, which makes subnormal numbers": ([("t", M, "x", 0.5), ("w", M, "t", 4.0)], None),
    "not a number below 1, after an overflow": ([("t", M, "x", 2.0), ("w", M, "t", 0.25)], None),
    "not factors that overflow": ([("t", M, "x", 2.0**600), ("w", M, "t", 2.0**600)], None),
    "not factors that overflow in single precision": ([("t", M, "f", 2.0**100), ("w", M, "t", 2.0**100)], None),
    "not a product that is used again": ([("t", M, "x", 2), ("u", M, "t", 3), ("w", np.add, "t", "u")], None),
    "plus a negative": ([("t", N, "y"), ("w", np.add, "x", "t")], [("w", np.subtract, "x", "y")]),
    "minus a negative": ([("t", N, "y"), ("w", np.subtract, "x", "t")], [("w", np.add, "x", "y")]),
    "a negative plus": ([("t", N, "x"), ("w", np.add, "t", "y")], [("w", np.subtract, "y", "x")]),
    "not a negative minus": ([("t", N, "x"), ("w", np.subtract, "t", "y")], None),
    "not a negative integer": ([("t", N, "i"), ("w", np.add, "i", "t")], None),
}


@pytest.mark.parametrize("case", SIGNED.values(), ids=SIGNED)
def test_signs_and_factors(case):
    before, after = case
    names = " ".join(n for n in SHAPES if any(n in line[2:] for line in before))
    rewrite = lambda program: passes.drop_dead(passes.fold_signs(program))  # noqa: E731
    with np.errstate(over="ignore"):
        check(rewrite, names, before, after or before, "w")


def test_signs_of_factors_are_pulled_out():
    before = [("t", N, "x"), ("w", M, "t", "y")]
    program = build("x y", before, "w")
    assert [step.function for step in passes.drop_dead(passes.pull_signs(program)).steps] == [M, N]
    both = build("x y", [("t", N, "x"), ("u", N, "y"), ("w", M, "t", "u")], "w")
    assert [step.function for step in passes.drop_dead(passes.pull_signs(both)).steps] == [M]
    kept = build("x y", [*before, ("r", np.add, "t", "w")], "r")
    assert [step.function for step in passes.pull_signs(kept).steps] == [N, M, np.add]


# Faster spellings

SPELLED = {
    "squares": ([("t", np.square, "x")], [M]),
    "products of matrices": ([("t", np.matmul, "x", "a")], [D]),
    "not of a matrix and a vector": ([("t", np.matmul, "x", "v")], [np.matmul]),
    "sum of all": ([("t", np.sum, "x")], [np.add.reduce]),
    "sum of rows": ([("t", np.sum, "x", {"axis": 0})], [D]),
    "sum of columns": ([("t", np.sum, "x", {"axis": 1, "keepdims": True})], [D, R]),
    "sum along no axis": ([("t", np.sum, "x", {"axis": ()})], None),
    "sum of a product": ([("u", M, "x", "y"), ("t", np.sum, "u")], [M, np.vdot]),
    "sums of a product": ([("u", M, "x", "y"), ("t", np.sum, "u", {"axis": 1})], [M, np.vecdot]),
    "not of a product that broadcasts": ([("u", M, "x", "v"), ("t", np.sum, "u")], [M, np.add.reduce]),
    "sum with an initial value": ([("t", np.sum, "x", {"initial": 1.0})], [np.sum]),
    "sum along an axis with an initial value": ([("t", np.sum, "x", {"axis": 0, "initial": 1.0})], [np.sum]),
    "largest along an axis with an initial value": ([("t", np.max, "x", {"axis": 1, "initial": 9.0})], [np.max]),
    "sum of nothing": ([("t", np.sum, "e", {"axis": 0})], [np.add.reduce]),
    "sum along the middle": ([("t", np.sum, "c", {"axis": 1})], [np.add.reduce]),
    "sum along the first two": ([("t", np.sum, "c", {"axis": (0, 1)})], [R, D]),
    "sum along the last two": ([("t", np.sum, "c", {"axis": (1, 2)})], [R, D]),
    "sum of a product that is used again": (
        [("u", M, "x", "y"), ("t", np.sum, "u"), ("w", np.add, "u", "t")],
        [M, np.add.reduce, np.add],
    ),
    "sum of a product of two precisions": ([("u", M, "x", "f"), ("t", np.sum, "u")], [M, np.vdot]),
    "not of columns and rows": ([("u", M, "r", "v"), ("t", np.sum, "u", {"axis": 1})], [M, D]),
    "sum of integers": ([("t", np.sum, "i")], [np.add.reduce]),
    "largest": ([("t", np.max, "x", {"axis": 1})], [np.maximum.reduce]),
    "smallest": ([("t", np.min, "x", 0)], [np.minimum.reduce]),
    "product": ([("t", np.prod, "x", {"keepdims": True})], [np.multiply.reduce]),
    "scattered parts": (
        [("t", S, "v", slice(1, 4), (5,)), ("u", S, "v", slice(0, 3), (5,)), ("w", np.add, "t", "u")],
        [S, S, spelling.added_at],
    ),
    "scattered parts, one after the other": (
        [
            ("t", S, "v", slice(1, 4), (5,)),
            ("u", S, "v", slice(0, 3), (5,)),
            ("w", np.add, "t", "u"),
            ("p", S, "v", slice(2, 5), (5,)),
            ("q", np.add, "p", "w"),
        ],
        [S, S, spelling.added_at, S, spelling.added_at],
    ),
    "not into one that is used again": (
        [
            ("t", S, "v", slice(1, 4), (5,)),
            ("u", S, "v", slice(0, 3), (5,)),
            ("w", np.add, "t", "u"),
            ("q", M, "w", "t"),
        ],
        [S, S, np.add, M],
    ),
    "at places that are named twice": (
        [("t", S, "v", slice(1, 4), (5,)), ("u", S, "v", np.array([0, 1, 1]), (5,)), ("w", np.add, "u", "t")],
        [S, S, spelling.added_at],
    ),
    "at places named twice in both": (
        [("t", S, "v", np.array([4, 1, 1]), (5,)), ("u", S, "v", np.array([0, 1, 1]), (5,)), ("w", np.add, "u", "t")],
        [S, S, spelling.added_at],
    ),
    "into a product": (
        [("t", M, "x", "y"), ("u", S, "s", (0, 1), (2, 3)), ("w", np.add, "t", "u")],
        [M, S, spelling.added_at],
    ),
    "minus scattered values": (
        [("t", M, "x", "y"), ("u", S, "v", 1, (2, 3)), ("w", np.subtract, "t", "u")],
        [M, S, N, spelling.added_at],
    ),
    "scattered values minus a product": (
        [("t", M, "x", "v"), ("u", S, "v", 1, (2, 3)), ("w", np.subtract, "u", "t")],
        None,
    ),
    "scattered values minus a sine": (
        [("t", np.sin, "x"), ("u", S, "v", 1, (2, 3)), ("w", np.subtract, "u", "t")],
        [np.sin, S, N, spelling.added_at],
    ),
    "not into an argument": ([("u", S, "v", 1, (2, 3)), ("w", np.add, "x", "u")], [S, np.add]),
    "a sum of scattered values": (
        [("t", S, "v", (np.array([1, 0, 1]), np.array([2, 2, 2])), (2, 3)), ("w", np.sum, "t", {"axis": -1})],
        [S, S],
    ),
    "a sum of values scattered along one axis": (
        [("t", S, "x", np.array([1, 1]), (4, 3)), ("w", np.sum, "t", {"axis": -1})],
        None,
    ),
    "divided by a power of two": ([("t", np.divide, "x", 4.0)], [M]),
    "not divided by another number": ([("t", np.divide, "x", 3.0)], [np.divide]),
    "the maximum with 0": ([("t", np.maximum, "x", 0)], [np.maximum]),
    "the maximum with another number": ([("t", np.maximum, "x", 0.5)], [np.maximum]),
}


@pytest.mark.parametrize("case", SPELLED.values(), ids=SPELLED)
def test_spell(case):
    before, functions = case
    named = {part for line in before for part in line[2:] if isinstance(part, str)}
    program = build(" ".join(n for n in SHAPES if n in named), before, before[-1][0])
    new = spelling.spell(spelling.spell(spelling.spell(program, formulas.FORMULAS)), spelling.LAST)
    if functions is not None:
        assert [step.function for step in new.steps] == functions
    compare(run(new, *arrays_of(program)), run(program, *arrays_of(program)), exact=False)


def test_the_largest_of_each_row_by_its_place(monkeypatch):
    monkeypatch.setattr(spelling, "ROWS", 1)
    x = Value((4, 9), np.float64, "x")
    for keepdims in (True, False):
        out = Value((4, 1) if keepdims else (4,), np.float64)
        program = Program((x,), (Step(np.max, (x,), {"axis": -1, "keepdims": keepdims}, out),), (out,))
        new = spelling.spell(program)
        assert np.argmax in [step.function for step in new.steps]
        array = np.random.default_rng(0).normal(size=(4, 9))
        array[1, 3] = np.nan
        array[2] = -np.inf
        compare(run(new, array), run(program, array), exact=True)
    for axis in (0, None, (0, 1)):
        out = Value(np.shape(np.max(array, axis)), np.float64)
        new = spelling.spell(Program((x,), (Step(np.max, (x, axis), {}, out),), (out,)))
        assert [step.function for step in new.steps] == [np.maximum.reduce]


def test_spread_out_constants_are_smaller_than_blocks():
    assert spelling.FULL < blocks.LARGE  # a block of rows has no part of it


def test_a_constant_is_identified_by_its_expression():
    assert filled((2,), 1, np.dtype(np.float64)) == filled((2,), 1, np.dtype(np.float64))
    assert filled((2,), 1, np.dtype(np.float32)).text == "np.ones((2,), np.float32)"


# Ownership

CONSTANT = np.arange(6.0).reshape(2, 3)
OWNED = {
    "an input": ([], "x", [np.copy]),
    "a number": ([], "s", [np.copy, primitives.getitem]),
    "a view": ([("t", T, "x")], "t", [T, np.copy]),
    "a view of a view": ([("t", T, "x"), ("u", R, "t", (6,))], "u", [T, R, np.copy]),
    "not what is computed": ([("t", np.sin, "x"), ("u", T, "t")], "u", [np.sin, T]),
    "a view of another result": ([("t", np.sin, "x"), ("u", T, "t")], "t u", [np.sin, T, np.copy]),
    "a view of a constant": ([("t", T, CONSTANT)], "t", [T, np.copy]),
    "each by itself": ([("t", T, "x")], "t t", [T, np.copy, np.copy]),
    "not a number that is picked": ([("t", primitives.getitem, "x", (0, 1))], "t", [primitives.getitem]),
}


@pytest.mark.parametrize("case", OWNED.values(), ids=OWNED)
def test_own_results(case):
    lines, outputs, functions = case
    program = build("x s", lines, outputs)
    new = own_results(program)
    assert [step.function for step in new.steps] == functions
    given_arrays = arrays_of(program)
    got = run(new, *given_arrays)
    compare(got, run(program, *given_arrays), exact=True)
    assert not any(np.shares_memory(a, b) for a in got for b in (*given_arrays, CONSTANT))


# Blocks


def test_blocks_take_chains_together(monkeypatch):
    monkeypatch.setattr(blocks, "LARGE", 6)
    before = [
        ("t", np.sin, "x"),
        ("u", np.multiply, "t", "v"),
        ("r", np.sum, "y"),
        ("w", np.add, "u", "r"),
        ("q", np.dot, "w", "a"),
    ]
    program = build("x y v a", before, "q t")
    new = blocks.blocks(program)
    assert [getattr(step.function, "__name__", "chain") for step in new.steps] == ["sum", "chain", "dot"]
    chain = new.steps[1]
    assert [step.function for step in chain.function.program.steps] == [np.sin, np.multiply, np.add]
    assert [v.name for v in chain.out] == ["t", "w"]
    compare(run(new, *arrays_of(program)), run(program, *arrays_of(program)), exact=True)


NO_CHAIN = {
    "a step with keywords": [("t", np.sin, "x"), ("w", np.add, "t", "y", {"dtype": np.float64})],
    "a table of two vectors": [("t", np.add, "r", "v"), ("w", np.sin, "t")],
}


@pytest.mark.parametrize("lines", NO_CHAIN.values(), ids=NO_CHAIN)
def test_steps_that_blocks_leave_unchanged(lines, monkeypatch):
    monkeypatch.setattr(blocks, "LARGE", 6)
    check(blocks.blocks, " ".join(n for n in SHAPES if any(n in line[2:] for line in lines)), lines, lines, "w")


# Buffers


def test_an_operand_that_dies_is_written_over():
    program = build(
        "x y a", [("t", np.add, "x", "y"), ("u", np.sin, "t"), ("r", np.cos, "u"), ("w", np.dot, "r", "a")], "w"
    )
    plan = buffers.plan(program)
    assert len(plan.buffers) == 1
    assert {v.name for v in plan.buffer_of} == {"t", "u", "r"}


def test_a_value_that_is_read_later_keeps_its_buffer():
    program = build("x", [("t", np.sin, "x"), ("u", np.cos, "t"), ("r", np.add, "t", "u"), ("w", np.sum, "r")], "w")
    plan = buffers.plan(program)
    t, u = (step.out for step in program.steps[:2])
    assert plan.buffer_of[t] != plan.buffer_of[u]


def test_a_view_keeps_its_buffer():
    lines = [("t", np.sin, "x"), ("p", T, "t"), ("u", np.cos, "y"), ("r", np.dot, "u", "p"), ("w", np.sum, "r")]
    plan = buffers.plan(build("x y", lines, "w"))
    named = {v.name: i for v, i in plan.buffer_of.items()}
    assert named["t"] != named["u"]


def test_an_update_that_is_not_written_over_keeps_its_buffer_to_the_end():
    lines = [("t", D, "x", "a"), ("u", D, "t", "y"), ("r", np.sin, "u"), ("q", np.cos, "r"), ("w", D, "q", "a")]
    program = build("x y a", lines, "w", {"y": "u"})
    named = {v.name: i for v, i in buffers.plan(program).buffer_of.items()}
    assert named["u"] not in {named["r"], named["q"]}


def test_a_buffer_that_nothing_reads_any_more_is_taken_again():
    lines = [("t", np.sin, "x"), ("u", D, "t", "a"), ("r", D, "u", "y"), ("p", np.cos, "v"), ("w", D, "r", "p")]
    named = {v.name: i for v, i in buffers.plan(build("x y a v", lines, "w")).buffer_of.items()}
    assert named["r"] == named["t"]
    assert named["u"] != named["t"]


def test_a_sum_in_place_leaves_its_buffer():
    lines = [("t", np.cos, "x"), ("p", np.sin, "x"), ("u", spelling.added_at, "t", slice(None), "p")]
    lines += [("r", np.exp, "y"), ("q", D, "r", "a"), ("k", D, "q", "u"), ("w", np.sum, "k")]
    named = {v.name: i for v, i in buffers.plan(build("x y a", lines, "w")).buffer_of.items()}
    assert named["r"] == named["p"]


def test_conversions_and_products_of_several_dtypes_are_written_into_buffers():
    lines = [
        ("t", primitives.astype, "x", np.int64),
        ("p", D, "t", "a"),
        ("q", D, "f", "a"),
        ("w", np.subtract, "p", "q"),
    ]
    plan = buffers.plan(build("x a f", [*lines, ("k", np.sum, "w")], "k"))
    assert {v.name for v in plan.buffer_of} == {"t", "p", "q", "w"}

    def f(x, a):
        return np.sum((3 * x).astype(np.int64) @ a - (x * 2).astype(np.float32) @ a, axis=0)

    compiled, a = mg.compile(f), np.arange(6.0).reshape(3, 2)
    for x in (np.linspace(-1, 1, 6).reshape(2, 3), np.ones((2, 3))):
        compare(compiled(x, a), f(x, a), exact=True)


def test_results_are_in_no_buffer():
    program = build("x", [("t", np.sin, "x"), ("u", T, "t"), ("w", np.cos, "t")], "u")
    named = {v.name for v in buffers.plan(program).buffer_of}
    assert "t" not in named


def test_updates_overwrite_values_that_nothing_reads_any_more():
    lines = [("t", np.multiply, "x", 0.5), ("u", np.subtract, "y", "t")]
    covered = buffers.plan(build("x y", lines, "", {"y": "u"})).over
    assert [(new.name, old.name) for new, old in covered.items()] == [("u", "y")]
    read_later = [*lines, ("w", np.sum, "y")]
    assert not buffers.plan(build("x y", read_later, "w", {"y": "u"})).over
    returned = buffers.plan(build("x y", lines, "u", {"y": "u"})).over
    assert not returned


def test_a_chain_overwrites_values_that_it_does_not_read(monkeypatch):
    monkeypatch.setattr(blocks, "LARGE", 6)
    program = blocks.blocks(build("x y", [("t", np.sin, "x"), ("u", np.multiply, "t", "x")], "", {"y": "u"}))
    assert isinstance(program.steps[0].function, blocks.Chain)
    assert [(new.name, old.name) for new, old in buffers.plan(program).over.items()] == [("u", "y")]


def test_chains_share_a_block_only_if_its_shape_is_equal(monkeypatch):
    monkeypatch.setattr(blocks, "LARGE", 6)
    lines = [("t", np.sin, "c"), ("u", np.cos, "t"), ("r", R, "u", (2, 12)), ("p", np.sin, "r"), ("q", np.cos, "p")]
    plan = buffers.plan(blocks.blocks(build("c", [*lines, ("w", np.sum, "q")], "w")))
    shapes = {value.name: plan.buffers[i][0][1:] for value, i in plan.block_of.items()}
    assert shapes == {"t": (3, 4), "p": (12,)}


JOINED = {
    "parts": lambda x: np.sum(np.sin(np.concatenate([np.cos(x), np.exp(x)]))),
    "a part of two vectors": lambda x: np.dot(
        np.concatenate([a := np.sin(x), b := np.cos(x)]), np.concatenate([b, np.exp(x) * np.sum(a)])
    ),
    "a part twice": lambda x: np.sum(np.cumsum(np.concatenate([a := np.sin(x), a]))),
    "a part that is a result": lambda x: (a := np.sin(x), np.sum(np.concatenate([a, np.cos(x)]) * 2)),
    "a part whose view is a result": lambda x: (
        (a := np.sin(np.reshape(x, (2, 2)))).T,
        np.sum(np.concatenate([np.reshape(a, (4,)), x * 2])),
    ),
    "a transposed part": lambda x: np.dot(
        np.concatenate([np.reshape(np.sin(np.reshape(x, (2, 2))).T, (4,)), np.cos(x)]), np.arange(8.0)
    ),
    "a part of another dtype": lambda x: np.sum(np.concatenate([np.sin(x), np.cos(x).astype(np.float32)]) * 3),
    "parts that are results": lambda x: (
        *(a := np.sin(x), b := np.cos(x)),
        np.sum(np.concatenate([a, b, np.exp(x)]) * np.arange(12)),
    ),
    "a part of which a view is a result": lambda x: ((a := np.sin(x))[1:], np.sum(np.concatenate([a, np.cos(x)]) * 2)),
    "a part as NumPy returns it": lambda x: (np.real(a := np.sin(x)), np.sum(np.concatenate([a, np.cos(x)]) * 2)),
    "a part and what NumPy returns": lambda x: (
        *(a := np.sin(x), np.real(a)),
        np.sum(np.concatenate([a, np.cos(x)]) * 2),
    ),
    "a part and its view": lambda x: (a := np.sin(x), np.flip(a), np.sum(np.concatenate([a, np.cos(x)]) * 2)),
    "a part that is read again": lambda x: np.sum(np.concatenate([a := np.sin(x), np.cos(x)])) * np.exp(a),
    "an argument": lambda x: np.sum(np.sin(np.concatenate([x, np.sin(x)]))),
    "a result": lambda x: np.concatenate([np.sin(x), np.cos(x)]),
}


@pytest.mark.parametrize("f", JOINED.values(), ids=JOINED)
def test_vectors_are_joined_from_parts(f):
    compiled, arguments = mg.compile(f), [np.arange(4.0), np.array([0.5, -1.0, 2.0, 3.0])]
    results = [compiled(x) for x in arguments]  # all of them exist after the last call
    for got, x in zip(results, arguments, strict=True):
        compare(got, f(x), exact=False)


# Laws


def traced(program, arrays):
    """Return a random program's value and gradients as a program, and arrays for it."""
    compiled = mg.compile(mg.value_and_grad(program, range(len(arrays[0]))))
    compiled(*arrays[0])
    entry = compiled._latest.traced
    given_arrays = [*arrays[1], *(getattr(thing, "data", thing) for thing in entry.captured)]
    return entry.program, given_arrays


REWRITINGS = [
    *dict.fromkeys(passes.PASSES),
    passes.optimized,
    own_results,
    blocks.blocks,
    formulas.formulated,
    spelling.spell,
]


@pytest.mark.parametrize("rewrite", REWRITINGS, ids=lambda f: f.__name__)
def test_a_pass_changes_no_result(rewrite, monkeypatch):
    monkeypatch.setattr(blocks, "LARGE", 4)
    monkeypatch.setattr(spelling, "ROWS", 8)
    monkeypatch.setattr(spelling, "FULL", 3)

    @settings(max_examples=4 * settings.default.max_examples)
    @given(programs, inputs())
    def law(program, arrays):
        assume(is_tame(program, arrays))
        before, given_arrays = traced(program, arrays)
        before = before if rewrite in passes.PASSES else passes.drop_dead(before)
        count = len(before.steps)
        after = rewrite(before)
        assert len(before.steps) == count
        exact, single = rewrite not in (formulas.formulated, spelling.spell), is_single(program, arrays)
        compare(run(after, *given_arrays), run(before, *given_arrays), exact, single)
        if rewrite is not blocks.blocks:
            compare(run(rewrite(after), *given_arrays), run(after, *given_arrays), exact, single)

    law()


@given(programs, inputs())
def test_simple_programs_stay_unchanged(program, arrays):
    before, _ = traced(program, arrays)
    once = passes.optimized(before)
    twice = passes.optimized(passes.optimized(once))
    assert len(passes.optimized(twice).steps) == len(twice.steps)
    assert len(twice.steps) <= len(once.steps) <= len(before.steps)


@settings(max_examples=8 * settings.default.max_examples)
@given(programs, inputs())
def test_blocks_of_a_few_rows(program, arrays):
    """Loops over blocks, and the buffers of a block, with arrays of a few elements."""
    assume(is_tame(program, arrays))
    sizes = blocks.LARGE, blocks.BLOCK, spelling.ROWS, spelling.FULL
    blocks.LARGE, blocks.BLOCK, spelling.ROWS, spelling.FULL = 4, 32, 8, 3
    try:
        f = mg.value_and_grad(program, range(len(arrays[0])))
        compiled = mg.compile(f)
        for args in (*arrays, arrays[0]):
            compare(compiled(*args), f(*args), exact=False, single=is_single(program, arrays))
    finally:
        blocks.LARGE, blocks.BLOCK, spelling.ROWS, spelling.FULL = sizes


@given(programs, inputs())
def test_updates_in_place(program, arrays):
    """A step of gradient descent on the arguments, in both forms and by hand."""
    assume(is_tame(program, arrays))
    gradient = mg.grad(program, range(len(arrays[0])))

    def step(*xs):
        for x, g in zip(xs, gradient(*xs), strict=True):
            x -= 0.001 * g
        return program(*xs)

    for optimize in (True, False):
        compiled = mg.compile(step, optimize=optimize)
        mine, theirs = ([x.copy() for x in arrays[0]] for _ in range(2))
        for _ in range(3):
            got = compiled(*mine)
            for x, g in zip(theirs, gradient(*theirs), strict=True):
                x -= (0.001 * g).astype(x.dtype)
            compare((got, *mine), (program(*theirs), *theirs), exact=False, single=is_single(program, arrays))


def test_programs_are_never_changed_by_rewriting():
    x = Value((2,), np.float64, "x")
    t = Value((2,), np.float64)
    program = Program((x,), (Step(np.sin, (x,), {}, t),), (t,))
    assert replace(program, outputs=(x,)).steps is program.steps
    with pytest.raises(AttributeError):
        program.outputs = ()
