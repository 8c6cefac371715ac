"""The table of traits, compared with NumPy's behaviour.

Owns: whether each row is true, and whether a function that needs a row has one.
Must not own: what the passes do with traits (`test_passes.py`, `test_ownership.py`,
`test_loops.py`).
Read next: `test_laws.py`, whose rows call the functions.
"""

import contextlib
import inspect
import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given

from microgradnd import forms, powers, primitives, registry, triangular
from microgradnd.compiler import choices, elementary, formulas, machine, spelling, weak
from microgradnd.compiler.fusion import Lowering
from microgradnd.compiler.program import Program, Step, Value
from microgradnd.compiler.recorder import Recorder, TraceError
from microgradnd.compiler.source import Names, Writer
from microgradnd.compiler.traits import TRAITS, traits
from microgradnd.rules.elementwise import share_of_maximum
from microgradnd.tape import MODE, Leaf, current
from microgradnd.tensor import wrap
from tests.interpreter import run
from tests.test_laws import every_row

# Rows are also called at infinities, zeros and overflow, where NumPy warns.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
KNOWN = {**registry.VJPS, **registry.JVPS, **dict.fromkeys(registry.PLAIN)}
UFUNCS = sorted((f for f in KNOWN if isinstance(f, np.ufunc)), key=registry.name_of)  # sets have no order
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e300, 5e-324, np.inf, -np.inf, np.nan]
MATRIX = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]])


def each(condition):
    """Run a test for each function whose row meets a condition."""
    functions = [function for function in TRAITS if condition(traits(function))]
    return pytest.mark.parametrize("function", functions, ids=registry.name_of)


def recorded(call, arrays):
    """Return the calls that a trace of code records: functions, arguments, keywords."""
    recorder = Recorder()
    token = MODE.set(current()._replace(record=recorder.record_constant, trace=recorder))
    try:
        call(*(wrap(array, Leaf(array, False)) for array in map(np.array, arrays)))
    except TraceError:  # of the call after the recorded ones
        pass
    finally:
        MODE.reset(token)
    return [(node.function, node.args or (), node.kwargs) for node in recorder.operations]


def copied(tree):
    """Return arguments with arrays of their own, contiguous and writeable."""
    if isinstance(tree, np.ndarray):
        return np.array(tree, order="C")
    return type(tree)(map(copied, tree)) if type(tree) in (tuple, list) else tree


def arrays_in(tree):
    if isinstance(tree, tuple | list):
        return [array for part in tree for array in arrays_in(part)]
    return [tree] if isinstance(tree, np.ndarray) and tree.size else []


def check_memory(function, args, kwargs):
    """Check what a row says about the memory of results, and return them."""
    row, args = traits(function), copied(args)
    out = function(*args, **kwargs)
    given_arrays = arrays_in(args)
    for result in arrays_in(out if isinstance(out, tuple | list) else (out,)):
        shares = any(np.may_share_memory(result, array) for array in given_arrays)
        assert function in TRAITS or not shares, "a function that gives views needs a row"
        assert row.memory != "fresh" or not shares
        assert row.memory == "locked" or (result.flags.writeable and result.size >= np.unique(places(result)).size)
        assert not row.is_view or kwargs or not arrays_in(args[:1]) or np.may_share_memory(result, args[0])
        if row.is_equal and (result.shape, result.dtype) == (args[0].shape, args[0].dtype):
            np.testing.assert_array_equal(result, args[0], strict=True)
    return out


def places(array):
    return np.array([np.dot(index, array.strides) for index in np.ndindex(array.shape)])


@every_row
def test_memory_is_what_the_row_says(row):
    @given(row.inputs)
    def law(arrays):
        for function, args, kwargs in recorded(row.call, arrays):
            if function is not primitives.identity and function is not primitives.select:  # they return an argument
                check_memory(function, args, kwargs)

    law()


OTHERS = {  # arguments besides the array
    np.reshape: ((3, 3),),
    np.broadcast_to: ((3, 3),),
    primitives.expand: ((2, 3, 3), 0),
    primitives.astype: (float,),
    np.expand_dims: (0,),
    np.swapaxes: (0, 1),
    np.moveaxis: (0, 1),
    np.lib.stride_tricks.sliding_window_view: (2, 0),
}


@each(lambda row: row.is_equal or row.memory in ("view", "locked"))
def test_views_and_equal_results_of_a_square(function):
    check_memory(function, (np.arange(9.0).reshape(3, 3), *OTHERS.get(function, ())), {})


@pytest.mark.parametrize("module", [np.linalg, np.fft], ids=["linalg", "fft"])
def test_whole_modules_are_fresh(module):
    functions = [getattr(module, name) for name in module.__all__ if callable(getattr(module, name))]
    called = 0
    for function in functions:
        if not inspect.isclass(function) and function not in registry.COMPOSITES:
            for args in [(MATRIX,), (MATRIX, MATRIX), (MATRIX[0],), (MATRIX[0], MATRIX[0])]:
                try:
                    check_memory(function, args, {})
                    called += 1
                except (TypeError, ValueError, AttributeError, IndexError):
                    continue
    assert called > 10


def test_plain_functions_have_the_rows_that_they_need():
    """Functions without a derivative are in no row of `tests/rows`."""
    called = 0
    for function in registry.PLAIN - set(UFUNCS):
        names = [p.name for p in forms.parameters_of(function)]
        pair = () if "out" in names else (MATRIX.astype(int), MATRIX.astype(int))
        for args in [(MATRIX,), (MATRIX > 1,), pair]:
            try:
                check_memory(function, args, {})
                called += 1
            except (TypeError, ValueError, IndexError):
                continue
    assert called > 40


def test_rows_are_of_functions_that_programs_have():
    recorded_as_they_are = {*KNOWN, *registry.CONSTANT, *(f.body for f in KNOWN if hasattr(f, "body"))}
    spelled = {
        *weak.NUMBERS,
        np.take,
        triangular.solve_triangular,
        triangular.multiply_triangular,
        triangular.unscale,
        triangular.cholesky,
        triangular.factored,
        triangular.solve_factored,
        triangular.inverse,
        triangular.slogdet,
        choices.kept,
        choices.larger,
        choices.differing,
        choices.flipped,
        choices.marked,
        choices.weighed,
        powers.inverse_root,
        *(row.reducer for row in TRAITS.values() if row.reducer),
    }
    ufuncs = {function for function in TRAITS if isinstance(function, np.ufunc)}
    assert set(TRAITS) - recorded_as_they_are - ufuncs == spelled


@pytest.mark.parametrize("function", UFUNCS, ids=registry.name_of)
def test_traits_that_numpy_reveals_of_ufuncs(function):
    row = traits(function)
    assert row.is_elementwise == (function.signature is None and function.nout == 1)
    assert row.memory == "fresh"


LARGER, UNEQUAL = MATRIX > MATRIX.T, MATRIX != MATRIX.T
CHOICES = {
    choices.kept: (MATRIX, LARGER.astype("i8")),
    choices.larger: (LARGER, UNEQUAL, MATRIX, MATRIX.T),
    choices.differing: (MATRIX, MATRIX.T),
    choices.flipped: (MATRIX, choices.differing(MATRIX, MATRIX.T)),
    choices.marked: (LARGER, np.nan, MATRIX),
    share_of_maximum: (MATRIX, MATRIX.T),
    powers.inverse_root: (MATRIX,),
}


@each(lambda row: row.is_elementwise)
def test_elementwise(function):
    """Each element equals the function's result for it alone."""
    if function is primitives.astype:
        np.testing.assert_array_equal(function(MATRIX, np.float32)[0, 1], function(MATRIX[0, 1:2], np.float32)[0])
        return
    if function in CHOICES:
        args, out = CHOICES[function], function(*CHOICES[function])
        for i, j in np.ndindex(out.shape):
            one = (a[i : i + 1, j : j + 1] if isinstance(a, np.ndarray) else a for a in args)
            np.testing.assert_array_equal(function(*one), out[i : i + 1, j : j + 1])
        return
    for kind in (float, int, bool):
        args = [MATRIX.astype(kind) / 8 if kind is float else MATRIX.astype(kind), MATRIX.T.astype(kind)][
            : function.nin
        ]
        try:
            out = function(*args)
        except TypeError:
            continue
        for place in np.ndindex(out.shape):
            np.testing.assert_allclose(out[place], function(*(a[place] for a in args)), rtol=1e-14)


@each(lambda row: row.is_involution)
def test_involutions(function):
    for x in (MATRIX, MATRIX[:2], MATRIX[:2].astype(int), MATRIX[:2, None] * 1j):
        np.testing.assert_array_equal(function(function(x)), x, strict=True)


@each(lambda row: row.is_reduction)
def test_reductions(function):
    """No axis means all axes, and the ufunc's own reduction gives the same."""
    x, reducer = MATRIX[:2], traits(function).reducer
    np.testing.assert_array_equal(function(x), function(x, axis=None), strict=True)
    np.testing.assert_array_equal(function(x), function(np.ravel(x)), strict=True)
    for axis in (None, 0, 1):
        assert np.shape(function(x, axis=axis)) == (() if axis is None else (x.shape[1 - axis],))
        if reducer:
            np.testing.assert_array_equal(function(x, axis=axis), reducer(x, axis=axis), strict=True)


@each(lambda row: row.is_product)
def test_products_write_into_a_given_array(function):
    out = np.empty_like(function(MATRIX, MATRIX))
    assert function(MATRIX, MATRIX, out=out) is out
    np.testing.assert_array_equal(out, function(MATRIX, MATRIX))


@each(lambda row: row.takes_out)
def test_results_by_position(function):
    called = 0
    for kind in (float, int, bool):
        args = [MATRIX.astype(kind), MATRIX.T.astype(kind)][: getattr(function, "nin", 2)]
        with warnings.catch_warnings(), contextlib.suppress(TypeError):
            warnings.simplefilter("error", DeprecationWarning)
            out = np.empty_like(function(*args))
            assert function(*args, out) is out
            called += 1
    assert called


@each(lambda row: row.scalar)
def test_python_numbers_compute_to_the_same_bit(function):
    for args in itertools.product(SPECIAL, repeat=function.nin):
        if function is not np.float_power or 0 < args[0] <= 1:
            names = {"x": args[0], "y": args[-1], "np": np, "math": math}
            with np.errstate(all="ignore"):
                got = np.float64(eval(traits(function).scalar.format("x", "y"), names))
                want = function(*map(np.float64, args))
            assert got == want or (np.isnan(got) and np.isnan(want))
            assert np.isnan(want) or np.signbit(got) == np.signbit(want)


@each(lambda row: row.loop and row.lowering == "ufunc")
def test_loops_compute_what_numpy_computes(function, monkeypatch):
    monkeypatch.setattr(elementary, "QUARTERS", elementary.quarters())
    row, called = traits(function), 0
    for kind, values in {"f": [0.25, 0.75, 1.0, np.nan], "i": [-3, 0, 5], "b": [False, True]}.items():
        for numbers in itertools.product(np.array(values), repeat=function.nin if kind in row.kinds else 0):
            if numbers:
                names = {"x": numbers[0], "y": 1 if function is np.sign else numbers[-1], "np": np, **vars(elementary)}
                with np.errstate(all="ignore"):
                    got, want = eval(row.loop.format("x", "y"), names), function(*numbers)
                np.testing.assert_allclose(got, want, rtol=1e-14)
                called += 1
    assert called


@pytest.mark.parametrize(
    ("function", "kind"),
    [(np.logical_or, "i"), (np.logical_and, "f"), (np.subtract, "b"), (np.sqrt, "i"), (np.rint, "b")],
)
def test_kinds_of_numbers_that_are_left_to_numpy(function, kind):
    assert kind not in traits(function).kinds


FORMS = [function for function in TRAITS if traits(function).form]


@pytest.mark.parametrize("inner", FORMS, ids=registry.name_of)
@pytest.mark.parametrize("outer", FORMS, ids=registry.name_of)
def test_forms_bind_as_they_are_written(inner, outer):
    """Source computes what the calls do, in any nesting."""
    x, y = Value((3, 3), float, "x"), Value((3, 3), float, "y")
    names = {"x": MATRIX, "y": MATRIX.T + 1, "np": np}
    for left in (True, False):
        t, u = Value((3, 3), float), Value((3, 3), float)
        first = Step(inner, arguments(inner, x, y), {}, t)
        second = Step(outer, arguments(outer, *(t, y) if left else (y, t)), {}, u)
        program = Program((x, y), (first, second), (u,))
        try:
            [want] = run(program, names["x"], names["y"])
        except TypeError:  # the negative of a boolean
            continue
        text = Writer(program, Names("f"), {t: first, u: second}).text(u)
        np.testing.assert_array_equal(eval(text, names), want, strict=True)


def arguments(function, x, y):
    """Return as many arguments as a function has places for."""
    others = {np.reshape: (3, 3), primitives.astype: np.float64}
    return (x, others.get(function, y))[: traits(function).form.text.count("{")]


def test_names_in_rows_are_known():
    rules = formulas.FORMULAS | spelling.SPELLINGS | spelling.LAST
    for row in TRAITS.values():
        assert not row.spelling or row.spelling in rules
        assert not row.lowering or callable(getattr(Lowering, row.lowering))
        assert not row.fold or row.fold in vars(elementary) or row.fold in machine.INTRINSICS
        assert row.kernels in ("", "C") or row.loop.split("(")[0] in vars(elementary)
    assert {row.spelling for row in TRAITS.values()} - {""} == set(rules)


@each(lambda row: row.is_step)
def test_steps_are_primitives(function):
    assert function.body


@each(lambda row: row.counts)
def test_shapes_that_depend_on_values(function):
    assert np.shape(function(np.eye(3))) != np.shape(function(np.zeros((3, 3))))


@each(lambda row: row.of_shapes)
def test_values_that_depend_on_shapes(function):
    def call(x):
        try:
            return repr(function(x))
        except TypeError:  # those of two arrays, or of dtypes
            return repr(function(*(x.dtype, x.dtype) if function is np.can_cast else (x, x)))

    assert call(MATRIX) == call(0 * MATRIX)


@each(lambda row: row.instead)
def test_functions_with_a_replacement_return_bools(function):
    assert type(function(MATRIX, MATRIX)) is bool
