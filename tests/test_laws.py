"""The laws that every derivative rule obeys, checked on every row.

Owns: the laws.
Must not own: the rows (`tests/rows/`).
Read next: `tests/rows/__init__.py`.
"""

import importlib
import pkgutil

import numpy as np
import pytest
from hypothesis import given

import microgradnd as mg
from microgradnd import primitives, recompute, registry
from microgradnd.assignment import plain_index
from microgradnd.compiler import scanning
from microgradnd.nn import losses, recurrent
from microgradnd.rules import values
from microgradnd.testing import check_grads
from microgradnd.transforms import plain
from microgradnd.trees import flatten
from tests import rows

MODULES = [importlib.import_module(f"tests.rows.{module.name}") for module in pkgutil.iter_modules(rows.__path__)]
ROWS = [row for module in MODULES for row in module.ROWS]
# Checked through the functions that use them; labels have no derivative
INTERNAL = {primitives.select, recompute.recompute, losses.onehot, values.instead, scanning.scanned, recurrent.recalled}
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def locked(arrays):
    """Return copies that can't be written to, in the same layout."""
    for array in arrays:
        array.flags.writeable = False
    return arrays


def numbers(tree):
    return [np.asarray(plain(leaf)) for leaf in flatten(tree)[0]]


def test_every_rule_has_a_row():
    with_rows = {row.function for row in ROWS} | INTERNAL
    table = {f for f, rules in registry.VJPS.items() if rules != ()} | set(registry.COMPOSITES)  # () is for integers
    ours = {f for f in table if getattr(f, "__module__", "") != "builtins" and not is_a_users(f)}
    assert sorted(map(registry.name_of, ours - with_rows)) == []


def is_a_users(function):
    """Return whether a function is no part of the library: tests define rules too."""
    module = getattr(function, "__module__", None) or "numpy"
    return not module.startswith(("numpy", "microgradnd"))


def has_right_derivatives(row, arrays):
    """The first and second derivatives are those of differences."""
    check_grads(row.call, *arrays, order=row.order)


def computes_what_numpy_computes(row, arrays):
    for dtypes in ((np.float64, np.complex128), (np.float32, np.complex64)):
        copies = [a.astype(dtypes[a.dtype.kind == "c"]) for a in arrays]  # in mg.tensor's memory layout
        expected = numbers(row.call(*copies))
        recorded = row.call(*(mg.tensor(a, requires_grad=True) for a in copies))
        for got, want in zip(numbers(recorded), expected, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want, strict=True)


def has_transposed_modes(row, arrays):
    """<g, J v> = <J' g, v>, without conjugation."""
    rng = np.random.default_rng(0)
    tangents = [random_like(a, rng) for a in arrays]
    value, moved = mg.jvp(row.call, arrays, tangents)
    _, pullback = mg.vjp(row.call, *arrays)
    leaves, form = flatten(value)
    cotangents = [random_like(np.asarray(v), rng) for v in leaves]
    gradients = pullback(form.rebuild(cotangents))
    ahead = sum(np.sum(g * t) for g, t in zip(cotangents, flatten(moved)[0], strict=True))
    back = sum(np.sum(g * t) for g, t in zip(gradients, tangents, strict=True))
    np.testing.assert_allclose(np.real(ahead), np.real(back), rtol=1e-9, atol=1e-9)


def random_like(array, rng):
    v = rng.normal(size=array.shape)
    return (v + 1j * rng.normal(size=array.shape) if array.dtype.kind == "c" else v).astype(array.dtype)


def keeps_single_precision(row, arrays):
    arrays = [a.astype(np.complex64 if a.dtype.kind == "c" else np.float32) for a in arrays]
    value, pullback = mg.vjp(row.call, *arrays)
    leaves, form = flatten(value)
    widest = {np.asarray(v).dtype for v in leaves}
    assert widest <= {np.asarray(v).dtype for v in numbers(row.call(*arrays))}
    for gradient, array in zip(
        pullback(form.rebuild([np.ones(np.shape(v), v.dtype) for v in leaves])), arrays, strict=True
    ):
        assert gradient.dtype == array.dtype
        assert gradient.shape == array.shape


LAWS = (has_right_derivatives, computes_what_numpy_computes, has_transposed_modes, keeps_single_precision)


@every_row
def test_laws(row):
    @given(row.inputs)
    def hold(arrays):  # drawing takes longer than checking, so all laws share the draws
        for law in LAWS:
            law(row, locked(arrays))

    hold()


@pytest.mark.parametrize(
    ("row", "point", "promised"),
    [(row, point, gradients) for row in ROWS for point, gradients in row.kinks],
    ids=lambda value: getattr(value, "name", None),
)
def test_kinks_have_the_promised_value(row, point, promised):
    with np.errstate(invalid="ignore"):
        gradients = mg.grad(lambda *args: np.sum(row.call(*args)), tuple(range(len(point))))(*point)
    for got, want in zip(gradients, promised, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_an_index_may_be_a_tensor():
    assert plain_index((mg.tensor([1]), slice(None)))[0].tolist() == [1]
