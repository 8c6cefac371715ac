"""Compiled functions give what the functions give: on every row of the table, and on
random programs.

Owns: the laws of compiled functions.
Must not own: the rows (`tests/rows/`), the random programs (`programs.py`), what is
refused (`test_guards.py`).
Read next: `programs.py`.

A program is traced with one list of arrays and run with another of the same shapes, so
that a number of the traced call that got into the program would show.

Results are equal to the last bit where nothing is added up. Else they differ by
rounding: what is written into a buffer or over an operand may have another memory order
than the array of the eager call, and NumPy adds up in memory order; products with ones
take the place of sums; a product of BLAS on a view isn't that on a copy. And NumPy
rounds products of complex numbers otherwise in numbers than in arrays.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.trees import flatten
from tests.programs import compare, inputs, is_single, is_tame, programs
from tests.test_laws import ROWS

# Shape or dtype of the result depend on values, so that these are refused (see
# docs/how-to/compile-limits.md)
REFUSED = ("piecewise-", "polymul-", "roots-", "trim_zeros-")
REFUSED_ROWS = {
    "polydiv-both",
    "polydiv-exact",
    "poly-complex",
    "poly-pairs",
    "real_if_close-complex",
    "real_if_close-close",
    "real_if_close-tolerance",
}
if np.linalg.eigvals(np.eye(2)).dtype.kind == "c":  # from NumPy 2.5 on
    REFUSED_ROWS.add("poly-matrix")
COMPILED = [row for row in ROWS if not row.name.startswith(REFUSED) and row.name not in REFUSED_ROWS]
FEW = max(2, settings.default.max_examples // 5)  # rows are drawn
MANY = 8 * settings.default.max_examples

# What adds up, in an order that depends on where the numbers are in memory
PRODUCTS = {
    "dot",
    "matmul",
    "vdot",
    "inner",
    "tensordot",
    "einsum",
    "vecdot",
    "matvec",
    "vecmat",
    "multi_dot",
    "convolve",
    "chain_product",
    "conv",
    "conv_transpose",
    "conv_weight",
}
SUMS = {
    "sum",
    "mean",
    "prod",
    "var",
    "std",
    "reduce",
    "trace",
    "cumsum",
    "cumprod",
    "accumulate",
    "scatter",
    "bincount",
}


def is_exact(compiled):
    """Return whether a program should be equal to the last bit."""
    steps = compiled._latest.program.steps
    names = {getattr(step.function, "__name__", "") for step in steps}
    modules = {getattr(step.function, "__module__", "") for step in steps}
    adds = names & (PRODUCTS | SUMS) or "numpy.linalg" in modules
    return not adds and all(v.dtype.kind != "c" for step in steps for v in (*step.outs(), *step.operands()))


def pulled(f):
    """Return a function that returns the value of another, and its gradients for some
    cotangents.
    """

    def value_and_gradients(*args):
        value, pullback = mg.vjp(f, *args)
        leaves, form = flatten(value)
        return value, pullback(form.rebuild([bounded(v) for v in leaves]))

    return value_and_gradients


def bounded(v):
    """Return a cotangent for a result, which neither overflows nor is the same
    everywhere.
    """
    return np.cos(v) if v.dtype.kind == "f" else np.exp(1j * np.real(v)) if v.dtype.kind == "c" else v


def others(args, more):
    """Return arrays of the same shapes with other values."""
    rng = np.random.default_rng(0)
    return [
        b if a.shape == b.shape else rng.permutation(a.ravel()).reshape(a.shape)
        for a, b in zip(args, more, strict=True)
    ]


def check(f, *calls, single=False):
    """Check both forms of a compiled function: traced by the first call, then run on
    the others.
    """
    expected = [f(*args) for args in calls]
    for optimize in (False, True):
        compiled = mg.compile(f, optimize=optimize)
        for args, want in zip((*calls, calls[0]), (*expected, expected[0]), strict=True):
            got = compiled(*args)
            compare(got, want, is_exact(compiled), single)
        assert compiled.cache_info().misses == 1


@pytest.mark.parametrize("row", COMPILED, ids=lambda row: row.name)
def test_rows(row):
    f = pulled(row.call)

    @settings(max_examples=FEW)
    @given(row.inputs, row.inputs)
    def law(args, more):
        check(f, args, others(args, more))

    law()


@pytest.mark.parametrize("row", [row for row in ROWS if row not in COMPILED], ids=lambda row: row.name)
def test_rows_whose_shapes_depend_on_values_are_refused(row):
    @settings(max_examples=1)
    @given(row.inputs)
    def law(args):
        with pytest.raises(TypeError, match=r"as np\.\w+ does it, inside a compiled function"):
            mg.compile(row.call)(*args)

    law()


@settings(max_examples=MANY)
@given(st.data())
def test_several_functions_of_the_table_in_one_program(data):
    rows = data.draw(st.lists(st.sampled_from(COMPILED), min_size=2, max_size=4))
    drawn = [(data.draw(row.inputs), data.draw(row.inputs)) for row in rows]
    first = [array for args, _ in drawn for array in args]
    second = [array for args, more in drawn for array in others(args, more)]

    def f(*arrays):
        total, rest = 1.0, iter(arrays)
        for row, (args, _) in zip(rows, drawn, strict=True):
            result = row.call(*[next(rest) for _ in args])
            for part in flatten(result)[0]:
                if part.dtype.kind in "fc":
                    total = total + np.sum(np.tanh(np.real(part) * total)) / (1 + part.size)
        return total

    check(mg.value_and_grad(f, range(len(first))), first, second)


@settings(max_examples=MANY)
@given(programs, inputs())
def test_random_programs(program, arrays):
    assume(is_tame(program, arrays))
    check(mg.value_and_grad(program, range(len(arrays[0]))), *arrays, single=is_single(program, arrays))


@settings(max_examples=MANY // 4)
@given(programs, inputs())
def test_random_programs_forwards_and_to_second_order(program, arrays):
    assume(is_tame(program, arrays))
    first, second = ([x.astype(np.float64) for x in each] for each in arrays)
    single = is_single(program, [first])
    check(lambda *xs: mg.jvp(program, xs, [np.cos(x) for x in xs]), first, second, single=single)
    check(lambda *xs: mg.hvp(lambda x: program(x, *xs[1:]))(xs[0], np.cos(xs[0])), first, second, single=single)
