"""Arrays of other libraries, on every row of the table: what NumPy gives, in arrays of
theirs, or an error that helps.

Owns: the law that a value and its gradient on another library's arrays are NumPy's
numbers, that Dask computes nothing meanwhile, and that what can't be done so names the
way block by block. How many rows can is in docs/how-to/arrays.md.
Must not own: whether a rule is right (`test_laws.py`).
Read next: `test_laws.py`.
"""

import functools
import importlib
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import microgradnd as mg
from microgradnd.refusals import ByBlocks
from microgradnd.trees import flatten
from tests.test_laws import MODULES

PAGE = (Path(__file__).parent.parent / "docs" / "how-to" / "arrays.md").read_text()
WRONG = {  # what other libraries compute differently, without a Tensor too
    "dask.array": {"qr-matrix-3x2", "qr-complex", "tall_qr-tall", "toeplitz-number", "toeplitz-empty"},
    "pint": {"deg2rad", "radians", "masked-log"},
    "cupy": set(),
}


class Library:
    """Another library: how its arrays are made and read, and how often it has computed
    any.
    """

    def __init__(self, name):
        module = importlib.import_module(name)
        self.computed = 0
        if name == "dask.array":
            self.array, self.make, self.read = module.Array, lambda a: module.from_array(a, chunks=2), np.asarray
        elif name == "cupy":
            self.array, self.make, self.read = module.ndarray, module.asarray, module.asnumpy
        else:
            self.array = module.UnitRegistry().Quantity
            self.make, self.read = (lambda a: self.array(a, "")), lambda q: np.asarray(getattr(q, "magnitude", q))

    def counting(self):
        """Return a context in which Dask's computations are counted; no other library
        puts them off.
        """
        dask = importlib.import_module("dask")

        def scheduler(graph, keys, **_):
            self.computed += 1
            return dask.local.get_sync(graph, keys)

        return dask.config.set(scheduler=scheduler)


@functools.cache
def library(name):
    package = name.partition(".")[0]
    pytest.importorskip(package, reason=f"arrays of {package} are tried where it is installed")
    return Library(name)


def example(row):
    """Return the arrays of a row: of three examples one without empty arrays, if there
    is any.
    """
    drawn = []

    @settings(
        max_examples=3,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(row.inputs)
    def draw(arrays):
        drawn.append(arrays)

    draw()
    return max(drawn, key=lambda arrays: min((a.size for a in arrays), default=0))


def losses(row, variables):
    """Return what a row computes from variables, and a number that depends on all of
    it.
    """
    values = [t for t in flatten(row.call(*variables))[0] if isinstance(t, mg.Tensor) and t.requires_grad]
    squares = (np.real(t * t) if t.dtype.kind == "c" else t * t for t in values)
    return values, sum(map(np.sum, squares))


def pushed_through(row, arrays):
    """Return a number that depends on all that a row computes, and its derivative in
    one direction.
    """
    return mg.jvp(lambda *variables: losses(row, variables)[1], tuple(arrays), tuple(arrays))


def outcome(row, name):
    """Return "lazy" or "refused", or raise where neither a right result came out nor a
    clear error.
    """
    other, arrays = library(name), example(row)
    ours = [mg.tensor(a, requires_grad=True) for a in arrays]
    expected, loss = losses(row, ours)
    if not expected:
        return "lazy"
    loss.backward()
    theirs = [mg.tensor(other.make(a), requires_grad=True) for a in arrays]
    assert all(type(t.data) is other.array for t in theirs)
    other.computed = 0
    try:
        with other.counting(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Dask warns of functions that it doesn't have
            values, loss = losses(row, theirs)
            loss.backward()
            pushed = pushed_through(row, [t.data for t in theirs])
    except ByBlocks as error:
        return "refused" if "mg.distributed.value_and_grad" in str(error) else str(error)
    assert other.computed == 0
    for got, want in zip(pushed, pushed_through(row, arrays), strict=True):
        same(other, got, want)
    for got, want in [*zip(values, expected, strict=True), *zip(theirs, ours, strict=True)]:
        same(other, got._array, want._array)
        if want.grad is not None:
            same(other, got.grad, want.grad)
    return "lazy"


def same(other, got, want):
    if other is library("dask.array"):
        assert type(got) is other.array
    np.testing.assert_allclose(other.read(got), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_on_dask_a_row_is_lazy_and_right_or_refused(module):
    outcomes = [outcome(row, "dask.array") for row in module.ROWS if row.name not in WRONG["dask.array"]]
    counts = {word: outcomes.count(word) for word in ("lazy", "refused")}
    subject = module.__name__.rpartition(".")[2]
    assert f"| {subject} | {counts['lazy']} | {counts['refused']} |" in PAGE, (subject, counts)


@pytest.mark.parametrize("name", ["pint", "cupy"])
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_on_other_libraries_a_row_is_right_or_refused(module, name):
    assert {outcome(row, name) for row in module.ROWS if row.name not in WRONG[name]} <= {"lazy", "refused"}


def test_the_page_adds_up():
    table = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \|$", PAGE, re.M)
    lazy, refused = (sum(int(row[i]) for row in table) for i in (1, 2))
    assert f"{lazy} of {lazy + refused} rows" in PAGE
    assert lazy >= 700


def test_dask_is_wrong_alone():
    """Signs of `qr`, and the shape that an index picks: the entries above go when Dask
    is mended.
    """
    make, tall = library("dask.array").make, np.eye(3, 2) + 1
    assert not np.allclose(np.linalg.qr(tall)[0], np.asarray(np.linalg.qr(make(tall))[0]))
    assert make(np.ones(1))[np.array([[0]])].shape == (1,)


def test_an_array_stays_what_it_is():
    dask = importlib.import_module("dask.array")
    x = mg.tensor(dask.ones((4, 2), chunks=2), requires_grad=True, dtype=np.float32)
    assert type(x.data) is dask.Array
    assert x.dtype == np.float32
    x.data = dask.zeros((4, 2), chunks=2, dtype=np.float32)
    w, d = mg.tensor([1.0, 2.0], requires_grad=True), dask.ones((4, 2), chunks=2)
    for loss in (np.sum(d * w), np.sum(w * d), np.sum(np.sin(d @ w))):
        loss.backward()
    assert type(w.grad) is dask.Array
    np.testing.assert_allclose(w.grad.compute(), [8 + 4 * np.cos(3), 8 + 4 * np.cos(3)])


def test_transforms_are_lazy():
    dask = importlib.import_module("dask.array")
    x = np.arange(6.0).reshape(3, 2)
    for lazy in (mg.grad(lambda x: np.sum(np.sin(x))), mg.value_and_grad(lambda x: np.sum(np.sin(x)))):
        library("dask.array").computed = 0
        with library("dask.array").counting():
            got = lazy(dask.from_array(x, chunks=2))
        assert library("dask.array").computed == 0
        np.testing.assert_allclose(got[1] if type(got) is tuple else got, np.cos(x))


def test_the_first_cotangent_holds_no_array_of_the_data():
    dask = importlib.import_module("dask.array")
    x = mg.tensor(dask.ones(10**9, chunks=10**8), requires_grad=True)
    np.sum(x * x).backward()
    assert max(getattr(part, "nbytes", 0) for part in dict(x.grad.dask).values()) < 10**6


def test_a_refusal_says_what_to_do():
    x = mg.tensor(importlib.import_module("dask.array").ones((4, 2), chunks=2), requires_grad=True)
    with pytest.raises(ByBlocks, match=r"sort of a dask Array of shape \(4, 2\).*mg\.distributed\.value_and_grad"):
        np.sort(x)
