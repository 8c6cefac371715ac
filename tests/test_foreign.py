"""Arrays of other libraries, on every row of the table: what NumPy gives, in arrays of
theirs, or an error that helps.

Owns: the law that a value and its gradient on another library's arrays are NumPy's
numbers, that Dask computes nothing meanwhile, and that what can't be done so names the
way block by block. How many rows can is in docs/how-to/arrays.md.
Must not own: whether a rule is right (`test_laws.py`).
Read next: `test_laws.py`.
"""

import contextlib
import functools
import importlib
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from numpy.lib import NumpyVersion
from numpy.lib.mixins import NDArrayOperatorsMixin

import microgradnd as mg
from microgradnd.refusals import ByBlocks
from microgradnd.trees import flatten
from tests.test_laws import MODULES

PAGE = (Path(__file__).parent.parent / "docs" / "how-to" / "arrays.md").read_text()
WRONG = {  # what other libraries compute differently, without a Tensor too
    "dask.array": {"qr-matrix-3x2", "qr-complex", "tall_qr-tall", "toeplitz-number", "toeplitz-empty"},
    "pint": {"deg2rad", "radians", "masked-log"},
    "cupy": set(),
    "strict": set(),
}


class Strict(NDArrayOperatorsMixin):
    """An array of another library, as strict as CuPy's: it never turns into NumPy's, it
    meets none of them but numbers, and what is computed from it is an array, of no
    dimension for a single number.
    """

    def __init__(self, held):
        self.held = np.asarray(held)

    shape, ndim, size, dtype, nbytes = (
        property(lambda self, name=name: getattr(self.held, name))
        for name in ("shape", "ndim", "size", "dtype", "nbytes")
    )
    T, real, imag = (
        property(lambda self, name=name: Strict(getattr(self.held, name))) for name in ("T", "real", "imag")
    )

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc, method, *args, **kwargs):
        return computed_strictly(getattr(ufunc, method), args, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        return computed_strictly(function, args, kwargs)

    def __getitem__(self, index):
        return computed_strictly(np.ndarray.__getitem__, (self, index), {})

    def __len__(self):
        return len(self.held)

    def __bool__(self):
        return bool(self.held)

    def __float__(self):
        return float(self.held)

    def get(self):
        return self.held

    def astype(self, dtype, copy=True):
        return Strict(self.held.astype(dtype, copy=copy))

    def reshape(self, *shape):
        return Strict(self.held.reshape(*shape))

    def transpose(self, *axes):
        return Strict(self.held.transpose(*axes))

    def sum(self, *args, **kwargs):
        return Strict(self.held.sum(*args, **kwargs))

    def copy(self):
        return Strict(self.held.copy())


def computed_strictly(function, args, kwargs):
    """Call a function of NumPy on strict arrays."""
    leaves, form = flatten((args, kwargs))
    is_indexed = function is np.ndarray.__getitem__
    if not is_indexed and any(isinstance(leaf, np.ndarray) and leaf.ndim for leaf in leaves):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    args, kwargs = form.rebuild([leaf.held if isinstance(leaf, Strict) else leaf for leaf in leaves])
    results, form = flatten(function(*args, **kwargs))
    is_number = function in (np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.may_share_memory)
    return form.rebuild([r if is_number or not isinstance(r, np.ndarray | np.generic) else Strict(r) for r in results])


class Library:
    """Another library: how its arrays are made and read, and how often it has computed
    any.
    """

    def __init__(self, name):
        module = importlib.import_module(name) if name != "strict" else None
        self.computed, self.compute = 0, None
        if name == "strict":
            self.array, self.make, self.held = Strict, Strict, lambda a: getattr(a, "held", a)
        elif name == "dask.array":
            self.array, self.make = module.Array, lambda a: module.from_array(a, chunks=2)
            self.compute = importlib.import_module("dask").compute
        elif name == "cupy":
            self.array, self.make, self.held = module.ndarray, module.asarray, module.asnumpy
        else:
            self.array = module.UnitRegistry().Quantity
            self.make, self.held = (lambda a: self.array(a, "")), lambda q: np.asarray(getattr(q, "magnitude", q))

    def read(self, arrays):
        """Return the numbers of arrays; Dask computes what they share once."""
        if self.compute:
            return self.compute(*arrays, scheduler="sync", optimize_graph=False)
        return [self.held(a) for a in arrays]

    def counting(self):
        """Return a context in which Dask's computations are counted; no other library
        puts them off.
        """
        if self.array.__module__.partition(".")[0] != "dask":
            return contextlib.nullcontext()
        dask = importlib.import_module("dask")

        def scheduler(graph, keys, **_):
            self.computed += 1
            return dask.local.get_sync(graph, keys)

        return dask.config.set(scheduler=scheduler)


@functools.cache
def library(name):
    package = name.partition(".")[0]
    if name != "strict":
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
    pairs = list(zip(pushed, pushed_through(row, arrays), strict=True))
    for got, want in [*zip(values, expected, strict=True), *zip(theirs, ours, strict=True)]:
        pairs.append((got._array, want._array))
        if want.grad is not None:
            pairs.append((got.grad, want.grad))
    if name == "dask.array":
        assert all(type(got) is other.array for got, _ in pairs)
    for got, (_, want) in zip(other.read([got for got, _ in pairs]), pairs, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    return "lazy"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_on_dask_a_row_is_lazy_and_right_or_refused(module):
    uncounted = WRONG["dask.array"] | {"fix"}  # NumPy 2.5 deprecates np.fix, which has no row there
    outcomes = [outcome(row, "dask.array") for row in module.ROWS if row.name not in uncounted]
    counts = {word: outcomes.count(word) for word in ("lazy", "refused")}
    subject = module.__name__.rpartition(".")[2]
    if NumpyVersion(np.__version__) >= "2.1.0":  # which has rows that NumPy 2.0 has not
        assert f"| {subject} | {counts['lazy']} | {counts['refused']} |" in PAGE, (subject, counts)


@pytest.mark.parametrize("name", ["strict", "pint", "cupy"])
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_on_other_libraries_a_row_is_right_or_refused(module, name):
    assert {outcome(row, name) for row in module.ROWS if row.name not in WRONG[name]} <= {"lazy", "refused"}


def test_the_page_adds_up():
    table = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \|$", PAGE, re.M)
    lazy, refused = (sum(int(row[i]) for row in table) for i in (1, 2))
    assert f"Of {lazy + refused} rows, {lazy} work" in PAGE
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


def test_a_users_rule_that_gives_numpys_array_is_refused():
    @mg.primitive
    def cube(x):
        return x**3

    mg.defvjp(cube, lambda g, out, x: np.asarray(3 * x**2 * g))
    x = mg.tensor(importlib.import_module("dask.array").ones((4, 2), chunks=2), requires_grad=True)
    with pytest.raises(ByBlocks, match=r"cube of a dask Array of shape \(4, 2\): its rule gives NumPy's array"):
        np.sum(cube(x)).backward()


def test_a_number_is_computed_when_it_is_asked_for_and_a_text_never():
    x = mg.tensor(importlib.import_module("dask.array").ones((4, 2), chunks=2), requires_grad=True)
    library("dask.array").computed = 0
    with library("dask.array").counting():
        assert repr(x).startswith("tensor(dask.array<")
        assert library("dask.array").computed == 0
        assert np.sum(x).item() == 8.0
        assert x[0].tolist() == [1.0, 1.0]
    assert library("dask.array").computed == 2
