"""What a compiled function may not look at, and what it captures.

Owns: the refusals, each with the user's line and advice; which changes between calls
are noticed; `mg.static`.
Must not own: that the numbers are right (`test_compiled_laws.py`).
Read next: `test_compiler.py`.
"""

import collections
import contextlib
import dataclasses
import decimal
import fractions
import functools
import io
import json
import logging
import math
import operator
import pickle
import pprint
import random
import re
import reprlib
import sys
import traceback
import types
import warnings
from collections import deque

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn
from microgradnd.transforms import plain
from microgradnd.trees import flatten

X = np.arange(1.0, 4.0)
WEIGHT = nn.Parameter(X.copy())
ADVICE = r"what the compiled function returns|np\.array|np\.where|"
ADVICE += r"mg\.static|np\.take|np\.stack|np\.all|minlength|pass|integers|edges|x\[index\]|t\[|Write t|around the call"


def refused(f, *args, match=""):
    """Check that tracing raises, names the line, and leaves nothing behind."""
    with pytest.raises(
        TypeError, match=rf"(?s)inside a compiled function \(.*{__name__.split('.')[-1]}\.py, line"
    ) as e:
        mg.compile(f)(*args)
    assert type(e.value).__name__ == "TraceError"
    assert re.search(match or ADVICE, str(e.value))
    assert (mg.tensor([1.0], requires_grad=True) * 2).requires_grad  # the trace has ended
    return str(e.value)


def until_small(x):
    while x.sum() > 1:
        x = x / 2
    return x


def stored(x):
    plain = np.zeros(3)
    plain[0] = x[0]
    return plain


def listed(x):
    return np.array([x[0], x[1]])


def at(x):
    mask = x > 0
    np.logical_or.at(mask, [0], True)
    return mask


Pair = collections.namedtuple("Pair", "first second")


@dataclasses.dataclass
class Boxed:
    value: object


def printed_and_kept(x):
    print(text := f"{x[0]}")
    return x if text.startswith("-") else -x


def printed_nearby(x):
    text = str(x[0]), print("a line")
    return x if text[0].startswith("-") else -x


def printed_to_memory(x):
    memory = io.StringIO()
    print(x[0], file=memory)
    return x if memory.getvalue().startswith("-") else -x


def written_to_memory(x):
    memory = io.StringIO()
    memory.write(f"{x[0]}")
    return x if memory.getvalue().startswith("-") else -x


def redirected(x):
    with contextlib.redirect_stdout(io.StringIO()) as memory:
        print(x[0])
    return x if memory.getvalue().startswith("-") else -x


def logged_to_memory(x):
    log, handler = logging.getLogger("guards"), logging.StreamHandler(io.StringIO())
    log.addHandler(handler)
    log.warning("the value %s", x[0])
    log.removeHandler(handler)
    return x if "-" in handler.stream.getvalue() else -x


def recorded(x):
    with warnings.catch_warnings(record=True) as found:
        y = np.sqrt(1 - x)
    return y if found else -y


def recorded_text(x):
    with warnings.catch_warnings(record=True) as found:
        warnings.warn(f"the value {x[0]}", stacklevel=1)
    return x if "-" in str(found[0].message) else -x


def formatted_traceback(x):
    try:
        raise ValueError(x[0])
    except ValueError:
        text = traceback.format_exc()
    return x if "-" in text else -x


# Code that depends on a traced value
LOOKS = {
    "if": lambda x: x if x.sum() > 0 else -x,
    "while": until_small,
    "and": lambda x: x[0] > 0 and x[1] > 0,
    "not": lambda x: not x[0],
    "bool": lambda x: bool(x[0]),
    "float": lambda x: x * float(x[0]),
    "int": lambda x: x[int(x[0])],
    "complex": lambda x: x * complex(x[0]),
    "a branch on an item": lambda x: x if x.sum().item() > 1 else -x,
    "pickle": lambda x: pickle.dumps(x),
    "updating": lambda x: x.updating(),
    "reshape by a Tensor": lambda x: np.sum(x, axis=(np.argmax(x), 0)),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "np.array": lambda x: np.array(x) * 2,
    "np.asarray": lambda x: np.asarray(x) * 2,
    "np.asarray of integers": lambda x: np.asarray(x > 0) * x,
    "a list in np.array": listed,
    "into a plain array": stored,
    "a plain array's index": lambda x: X[np.argmax(x)] * x,
    "math": lambda x: math.sin(x[0]),
    "format": lambda x: f"{x[0]:.3f}",
    "an axis": lambda x: np.sum(x, np.argmin(x)),
    "an axis as a keyword": lambda x: np.max(x, axis=np.argmin(x)),
    "a mean's axis": lambda x: np.mean(x, axis=np.argmin(x)),
    "sections": lambda x: np.split(x, np.argmax(x) + 1),
    "a length": lambda x: np.zeros(np.argmax(x)) + x,
    "str": lambda x: x * (2 if str(x[0]) == "1.0" else 3),
    "repr": lambda x: x * len(repr(x)),
    "f-string": lambda x: x * len(f"x = {x}"),
    "percent": lambda x: x * len("%s" % x),  # noqa: UP031
    "join": lambda x: x * len(", ".join(map(str, x))),
    "texts of a list": lambda x: x * len(str([x[0]])),
    "a captured text": lambda x: x * len(f"{WEIGHT}"),
    "a text by the standard library": lambda x: x * len(reprlib.repr(x)),
    "a text by json": lambda x: x * len(json.dumps(x[0], default=str)),
    "a text by pprint": lambda x: x * len(pprint.pformat([x])),
    "a text of a namedtuple": lambda x: x * len(str(Pair(x, x))),
    "a text of a dataclass": lambda x: x * len(str(Boxed(x))),
    "a text that is kept": printed_and_kept,
    "a text on the line of another": printed_nearby,
    "a text in memory": printed_to_memory,
    "a text written to memory": written_to_memory,
    "a redirected text": redirected,
    "a logged text": logged_to_memory,
    "a recorded warning": recorded,
    "a recorded message": recorded_text,
    "a formatted traceback": formatted_traceback,
    "an array's attribute": lambda x: x * (2 if hasattr(x, "strides") else 3),
    "an array's attribute with a default": lambda x: x * getattr(x, "nbytes", 1),
    "a number's attribute": lambda x: x * (2 if x[0].is_integer() else 3),
    "a fraction": lambda x: x * fractions.Fraction(x[0]).numerator,
    "a decimal number": lambda x: x * float(decimal.Decimal(x[0])),
    "a memoryview": lambda x: x * len(memoryview(x)),
    "shared memory": lambda x: x * np.shares_memory(x, x * 1),
    "a Counter": lambda x: x * collections.Counter(x)[1.0],
    "fromkeys": lambda x: x * len(dict.fromkeys(x)),
    "a list times a number": lambda x: x * len([1] * np.argmax(x)),
    "a number times a tuple": lambda x: x * len(np.argmax(x) * (1,)),
    "in": lambda x: x * (1.0 in x),
    "max": lambda x: max(x.sum(), 0),
    "sorted": lambda x: sorted(x),
    "range": lambda x: sum(range(np.argmax(x))),
    "slice": lambda x: x[: np.argmax(x)],
    "reshape": lambda x: np.reshape(x, (np.argmax(x), -1)),
    "round": lambda x: math.floor(x[0]),
    "mask": lambda x: x[x > 0],
    "mask in a tuple": lambda x: x[(x > 0,)],
    "length of what a mask picks": lambda x: len(x[x > 0]),
    "two masks": lambda x: x[x > 0] + x[x > 1],
    "array with what a mask picks": lambda x: x[x > 0] + x,
    "product with what a mask picks": lambda x: x[x > 0] @ x[x > 0],
    "part of what a mask picks": lambda x: x[x > 0][0],
    "maximum of what a mask picks": lambda x: x[x > 0].max(),
    "sum of what a mask picks, by axis": lambda x: np.sum(x[x > 0], axis=0),
    "nonzero": lambda x: x[np.nonzero(x)],
    "flatnonzero": lambda x: np.flatnonzero(x),
    "argwhere": lambda x: np.argwhere(x),
    "where": lambda x: np.where(x > 0),
    "compress": lambda x: np.compress(x > 0, x),
    "place": lambda x: np.place(x.copy(), x > 0, [1.0]),
    "extract": lambda x: np.extract(x > 0, x),
    "trim_zeros": lambda x: np.trim_zeros(x),
    "repeat": lambda x: np.repeat(x, np.argsort(x)),
    "bincount": lambda x: np.bincount(np.argsort(x)),
    "histogram": lambda x: np.histogram(x, "auto"),
    "choose": lambda x: np.choose(np.argsort(x), [x, x, x]),
    "piecewise": lambda x: np.piecewise(x, [x > 0], [np.sqrt]),
    "polymul": lambda x: np.polymul(x, x),
    "polydiv": lambda x: np.polydiv(x, x),
    "roots": lambda x: np.roots(x),
    "poly": lambda x: np.poly(x + 1j),
    "real_if_close": lambda x: np.real_if_close(x + 0j),
    "allclose": lambda x: x if np.allclose(x, 1) else -x,
    "array_equal": lambda x: np.array_equal(x, x),
    "array_equiv": lambda x: np.array_equiv(x, x),
    "array_str": lambda x: np.array_str(x),
    "min_scalar_type": lambda x: np.min_scalar_type(x),
    "ufunc.at": at,
}


@pytest.mark.parametrize("name", LOOKS)
def test_dependence_on_a_value_is_refused_at_the_users_line(name):
    f = LOOKS[name]
    message = refused(f, X)
    line = int(message.split("line ")[1].split(":")[0])
    assert f.__code__.co_firstlineno <= line <= f.__code__.co_firstlineno + 4


def test_the_function_that_needs_a_value_is_named():
    assert "as np.polymul does it" in refused(LOOKS["polymul"], X)
    assert "as np.piecewise does it" in refused(LOOKS["piecewise"], X)


def test_dependence_on_shapes_is_allowed():
    def f(x):
        total = 0.0
        for row in x:
            total = total + row.sum() / len(row)
        first, *_ = x
        return total * x.ndim + np.shape(x)[0] + np.size(x) + sum(v for v in first), isinstance(x, mg.Tensor)

    got, _ = mg.compile(f)(np.ones((3, 4)))
    assert got == 3 * 2 + 3 + 12 + 4


def test_assignments_by_a_computed_mask():
    def f(x, y):
        z = x * 1
        z[z < 0] = 0.0
        z[(y > 1, ...)] = 5.0
        np.putmask(z, x > 2, y * y)
        np.copyto(z, -x, where=y > 2)
        return np.sum(z * z * x)

    compiled = mg.compile(mg.value_and_grad(f, (0, 1)))
    for x, y in ((X, X[::-1]), (-X, X), (X - 2, X - 1)):
        for got, want in zip(flatten(compiled(x, y))[0], flatten(mg.value_and_grad(f, (0, 1))(x, y))[0], strict=True):
            np.testing.assert_array_equal(got, want)


MASKED = {
    "mean": lambda x: np.mean(x, where=x > 0),
    "var": lambda x: np.var(x, where=x > 0),
    "std": lambda x: np.std(x, where=x > 0),
    "max": lambda x: np.max(x, where=x > 0, initial=0.0),
    "sum by a number": lambda x: np.sum(x * x, where=np.sum(x) > 0),
    "multiply": lambda x: np.sum(np.multiply(x, x, where=x > 0)),
    "nanmean": lambda x: np.nanmean(np.where(x > 0, x, np.nan)),
    "a plain array": lambda x: np.sum(mg.tensor(X)[np.argsort(x)] * x),
    "add.at": lambda x: np.sum(added_at(x * 1, np.argsort(x) // 2)),
    "where's largest": lambda x: np.reshape(x, (1, -1))[np.unravel_index(np.argmax(x), (1, 3))],
}


def added_at(x, index):
    np.add.at(x, index, x * x)
    return x * x


@pytest.mark.parametrize("f", MASKED.values(), ids=MASKED)
def test_masks_and_indices_are_computed_by_the_program(f):
    forms = (
        mg.value_and_grad(f),
        lambda x: mg.hvp(f)(x, np.cos(x)),
        lambda x: mg.jvp(f, (x,), (np.cos(x),)),
        lambda x: mg.grad(lambda x: mg.jvp(f, (x,), (x,))[1])(x),
    )
    for form in forms:
        compiled = mg.compile(form)
        for x in (X - 1.5, 2 - X, X, np.array([0.5, -1.0, 2.0])):
            for got, want in zip(flatten(compiled(x))[0], flatten(form(x))[0], strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-12)


def kind_of(value):
    match value:
        case mg.Tensor() if value.requires_grad:
            return 1
        case np.ndarray():
            return 2
        case int():
            return 3
        case float():
            return 5
    return 7


@functools.singledispatch
def doubled(value):
    return value


@doubled.register
def doubled_array(value: np.ndarray):
    return value * 2


KINDS = [
    lambda x: x * (2 if isinstance(x, np.ndarray) else 3),
    lambda x: x * (2 if isinstance(x[0], float) else 3),
    lambda x: x * (2 if isinstance(x > 1.0, list) else 3),
    lambda x: x * kind_of(x) + kind_of(np.sum(x)) + kind_of(3),
    lambda x: doubled(x) + doubled(3.0) + doubled(x[0]),
    lambda x: x * len(x.__class__.__name__),
    lambda x: mg.grad(lambda y: np.sum(y * (2 if isinstance(y, np.ndarray) else kind_of(y))))(x),
    lambda x: plain(np.sum(WEIGHT * x) * kind_of(WEIGHT * x)),
]


@pytest.mark.parametrize("f", KINDS)
def test_classes_are_those_of_an_eager_call(f):
    np.testing.assert_allclose(mg.compile(f)(X), f(X), rtol=1e-14)


def test_printing_says_what_will_be_computed(capsys):
    def f(x):
        y = x * 2
        print(y, f"{x}", repr(y.sum()))
        print(
            "in several lines",
            f"{x}",
        )
        warnings.warn(f"{x}", stacklevel=2)
        print(x, file=sys.stderr)
        print(Pair(y, 1), Boxed(y), sep="\n")
        pprint.pprint([y])
        logging.getLogger(__name__).warning("a message about %s", x)
        sys.stdout.write(f"{x}")
        return y * [1.0, 2.0, 3.0]

    with pytest.warns(UserWarning, match="computed when the program runs"):
        mg.compile(f)(X)
    printed, errors = capsys.readouterr()
    assert printed.count("tensor(<computed when the program runs>, shape=(3,), dtype=float64") == 7
    assert "computed when the program runs" in errors
    assert "2." not in printed


def test_an_error_may_say_a_value():
    def f(x):
        raise KeyError(f"no {x}")

    with pytest.raises(KeyError, match="computed when the program runs"):
        mg.compile(f)(X)


# Random numbers


class Noisy(nn.Module):
    def __init__(self, rng):
        self.rng = rng

    def forward(self, x):
        return x + self.rng.normal(size=x.shape)


RNG = np.random.default_rng(0)
HIDDEN = types.SimpleNamespace(rng=np.random.default_rng(0), old=np.random.RandomState(0))
NOISY = Noisy(np.random.default_rng(0))
PYTHON = random.Random(0)


def two_lines(x):
    y = x * 2
    noise = np.random.normal(size=3)  # noqa: NPY002
    return y + noise


RANDOM = {
    "np.random": lambda x: x + np.random.rand(3),  # noqa: NPY002
    "two lines": two_lines,
    "a global generator": lambda x: x + RNG.normal(size=3),
    "an attribute": lambda x: x + HIDDEN.rng.normal(size=3),
    "a RandomState": lambda x: x + HIDDEN.old.normal(size=3),
    "in a module": lambda x: NOISY(x),
    "random": lambda x: x + random.random(),
    "random.Random": lambda x: x + PYTHON.gauss(0, 1),
    "a default": lambda x, rng=RNG: x + rng.normal(size=3),
    "a partial": functools.partial(lambda rng, x: x + rng.normal(size=3), np.random.default_rng(0)),
}


@pytest.mark.parametrize("f", RANDOM.values(), ids=RANDOM)
def test_random_numbers_are_refused(f):
    message = refused(f, X, match=r"draw them with mg\.anew")
    if f is two_lines:
        assert f"line {two_lines.__code__.co_firstlineno + 2}: noise = " in message


def test_a_generator_as_an_argument():
    rng = np.random.default_rng(0)
    refused(lambda x, rng: x + rng.normal(size=3), X, rng, match="random numbers were drawn")
    refused(lambda model, x: model(x), Noisy(rng), X, match="random numbers were drawn")
    noisy = mg.compile(lambda x, noise: x + noise)
    assert np.array_equal(noisy(X, np.ones(3)), X + 1)


def test_a_seeded_generator_made_inside_draws_constants():
    compiled = mg.compile(lambda x: x + np.random.default_rng(0).normal(size=3))
    assert np.array_equal(compiled(2 * X), 2 * X + np.random.default_rng(0).normal(size=3))


# Captures: changes are noticed or refused, never missed


def namespaces():
    """Return ways to hold a value outside a function, and to replace it."""
    box = types.SimpleNamespace(value=None)
    module = types.ModuleType("settings")
    listed, keyed, queue = [None], {"value": None}, deque([None])

    class Config:
        value = None

    class Slots:
        __slots__ = ("value",)

    class Methods:
        value = None

        @classmethod
        def scaled(cls, x):
            return x * cls.value

        @staticmethod
        def same(x):
            return x

    slots = Slots()

    class Model:
        def __init__(self):
            self.value = None

        def scaled(self, x):
            return x * self.value

    model = Model()

    def closure():
        held = None

        def assign(value):
            nonlocal held
            held = value

        return assign, lambda x: x * held

    def set_global(value):
        globals()["SCALE"] = value

    assign, of_closure = closure()
    return {
        "closure": (assign, of_closure),
        "global": (set_global, lambda x: x * SCALE),  # noqa: F821
        "in a function called": (set_global, lambda x: times_scale(x) + 0),
        "attribute": (lambda v: setattr(box, "value", v), lambda x: x * box.value),
        "module": (lambda v: setattr(module, "value", v), lambda x: x * module.value),
        "class": (lambda v: setattr(Config, "value", v), lambda x: x * Config.value),
        "object": (lambda v: setattr(model, "value", v), lambda x: model.scaled(x)),
        "method": (lambda v: setattr(model, "value", v), model.scaled),
        "slot": (lambda v: setattr(slots, "value", v), lambda x: x * slots.value),
        "class method": (lambda v: setattr(Methods, "value", v), lambda x: Methods.same(Methods.scaled(x))),
        "deque": (lambda v: queue.__setitem__(0, v), lambda x: x * queue[0]),
        "list": (lambda v: listed.__setitem__(0, v), lambda x: x * listed[0]),
        "dict": (lambda v: keyed.__setitem__("value", v), lambda x: x * keyed["value"]),
    }


def times_scale(x):
    return x * SCALE  # noqa: F821


VALUES = {
    "float": (2.0, 3.0),
    "int": (2, 3),
    "bool": (True, False),
    "array": (X.copy(), X + 1),
    "another shape": (X.copy(), np.ones((2, 1))),
    "another dtype": (X.copy(), np.array([1, 2, 3])),
    "number for array": (X.copy(), 2.0),
    "minus zero": (0.0, -0.0),
    "tensor": (mg.tensor([1.0, 2.0, 3.0], requires_grad=True), mg.tensor([3.0, 2.0, 1.0])),
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("where", namespaces())
@pytest.mark.parametrize("transform", [False, True])
def test_names_are_looked_up_in_each_call(where, values, transform):
    assign, f = namespaces()[where]
    if transform:
        f = mg.value_and_grad(functools.partial(lambda g, x: np.sum(g(x)), f))
    compiled = mg.compile(f)
    for value in (*values, values[0], values[0]):
        assign(value)
        for got, want in zip(flatten(compiled(X))[0], flatten(f(X))[0], strict=True):
            np.testing.assert_array_equal(plain(got), plain(want))
            np.testing.assert_array_equal(np.signbit(plain(got)), np.signbit(plain(want)))


def test_an_equal_number_needs_no_new_program():
    settings = types.SimpleNamespace(rate=0.1)
    compiled = mg.compile(lambda x: x * settings.rate)
    compiled(X)
    settings.rate = float("0.1")
    compiled(X)
    assert compiled.cache_info().misses == 1
    settings.rate = 0.2
    compiled(X)
    compiled(X)
    assert compiled.cache_info()[:2] == (2, 2)


def test_the_parts_of_a_captured_module_are_looked_up():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 3, rng=rng), nn.Tanh(), nn.Linear(3, 2, rng=rng))
    compiled = mg.compile(lambda x: model(x))
    x = np.ones((1, 3))

    def agrees():
        np.testing.assert_allclose(compiled(x).data, model(x).data, rtol=1e-12)

    agrees()
    first = getattr(model, "0")
    first.weight = nn.Parameter(np.zeros((3, 3)))
    agrees()
    first.weight.data = np.ones((3, 3))
    agrees()
    first.bias = None
    agrees()
    setattr(model, "1", nn.ReLU())
    agrees()
    misses = compiled.cache_info().misses
    with mg.no_grad():
        first.weight *= 2
    agrees()
    assert compiled.cache_info().misses == misses


def test_changes_of_a_set_are_noticed():
    names = {"a", "b"}
    compiled = mg.compile(lambda x: x * len(names))
    np.testing.assert_array_equal(compiled(X), 2 * X)
    names.add("c")
    np.testing.assert_array_equal(compiled(X), 3 * X)


def test_a_new_definition_of_a_function_is_noticed():
    namespace = {}
    exec("def inner(x): return x * 2\ndef outer(x): return inner(x)", namespace)
    compiled = mg.compile(namespace["outer"])
    assert np.array_equal(compiled(X), 2 * X)
    exec("def inner(x): return x * 3", namespace)
    assert np.array_equal(compiled(X), 3 * X)


USES = {
    "as it is": lambda x, a: x * a,
    "by NumPy": lambda x, a: x * np.exp(a),
    "as a number": lambda x, a: x * float(a[0]),
    "in a slice": lambda x, a: x * a[1:2],
    "both ways": lambda x, a: x * a + np.sum(a),
    "in if": lambda x, a: x if a[0] > 5 else -x,
    "as a shape": lambda x, a: np.broadcast_to(x, (int(a[0]), 3)),
    "as an index": lambda x, a: x[a.astype(int) % 3],
    "as a mask": lambda x, a: x[a > 5],
    "as a Tensor": lambda x, a: x * mg.tensor(a),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_changes_of_captured_arrays_in_place_are_noticed(use):
    a = np.array([2.0, 7.0, 1.0])
    compiled = mg.compile(lambda x: use(x, a))
    for change in (a.copy(), [8.0, 6.0, 6.0], [1.0, 1.0, 9.0], [3.0, 1.0, 9.0]):
        a[...] = change
        np.testing.assert_array_equal(compiled(X), plain(use(mg.tensor(X), a)))


def test_a_captured_mask_decides_the_number_of_elements():
    mask = np.array([True, False, True])
    compiled = mg.compile(mg.grad(lambda x: np.mean(x[mask] ** 2)))
    assert np.array_equal(compiled(X), [1.0, 0.0, 3.0])
    mask[...] = [True, True, True]
    assert np.array_equal(compiled(X), 2 * X / 3)


def test_a_large_array_is_an_input_and_not_compared():
    large = np.ones(2**18)
    compiled = mg.compile(lambda x: np.sum(large * x))
    assert compiled(2.0) == 2.0**19
    large[0] = 0.0
    assert compiled(2.0) == 2.0**19 - 2.0
    assert compiled.cache_info().misses == 1
    summed = mg.compile(lambda x: large.sum() * x)  # by NumPy alone: a number in the program
    assert summed(1.0) == 2.0**18 - 1
    large[1] = 0.0
    assert summed(1.0) == 2.0**18 - 2


def test_captured_tensors_are_variables():
    w, plain_tensor = mg.tensor([1.0, 1.0, 1.0], requires_grad=True), mg.tensor([1.0, 1.0, 1.0])
    compiled = mg.compile(lambda x: np.sum(x * w * plain_tensor))
    assert compiled(X) == 6.0
    w.data = 2 * w.data
    assert compiled(X) == 12.0
    plain_tensor[0] = 5.0
    assert compiled(X) == 2 * 10.0
    with mg.no_grad():
        w *= 2
    assert compiled(X) == 4 * 10.0
    assert w.grad is None


def test_the_state_of_a_captured_tensor_without_gradient_is_updated():
    count = mg.tensor([0.0])

    def f(x):
        nonlocal count
        count += 1
        return x * count

    compiled = mg.compile(f)
    for n in (1.0, 2.0, 3.0):
        assert np.array_equal(compiled(X), n * X)
    assert count.item() == 3.0


def test_variables_made_in_a_call_start_again_in_each():
    def g(x):
        y = np.zeros_like(x)
        y[1] = x[0]
        y[(np.argmax(x), ...)] = 7.0
        y += 1
        return y

    compiled = mg.compile(g)
    for x in (X, X[::-1].copy(), X):
        np.testing.assert_array_equal(compiled(x), plain(g(mg.tensor(x))))
    compiled = mg.compile(steps)
    for x in (X, 2 * X, X):
        total, w = compiled(x)
        np.testing.assert_array_equal(total, 2 * x)
        assert w.requires_grad
        np.testing.assert_array_equal(w.data, 1 - 0.5 * 2 * x)


def steps(x):
    total, w = mg.tensor([0.0, 0.0, 0.0]), mg.tensor([1.0, 1.0, 1.0], requires_grad=True)
    total += x
    total += x
    np.sum(w * total).backward()
    with mg.no_grad():
        w -= 0.5 * w.grad
    return total, w


def test_a_view_of_an_assigned_value_is_outdated_as_without_compiling():
    def f(x):
        y = x * 2
        view, other = y[:2], y[2:]
        y[0] = 7.0
        return view * 1 if x.shape == (3,) else other * 1

    with pytest.raises(RuntimeError, match="outdated"):
        f(mg.tensor(X))
    with pytest.raises(RuntimeError, match="outdated"):
        mg.compile(f)(X)
    np.testing.assert_array_equal(mg.compile(f)(np.ones(4)), [2.0, 2.0])


def test_a_compiled_method():
    class Scaled:
        def __init__(self, scale):
            self.scale = scale

        @mg.compile
        def apply(self, x):
            return x * self.scale

    first, second = Scaled(2.0), Scaled(3.0)
    for _ in range(2):
        np.testing.assert_array_equal(first.apply(X), 2 * X)
        np.testing.assert_array_equal(second.apply(X), 3 * X)
    first.scale = 5.0
    np.testing.assert_array_equal(first.apply(X), 5 * X)
    np.testing.assert_array_equal(second.apply(X), 3 * X)
    assert "3.0" in Scaled.apply.source


# Changing captures inside the function

HISTORY = np.zeros(3)
LOG: list[object] = []
COUNTS = {"calls": 0}
STATE = types.SimpleNamespace(calls=0)
CALLS = 0


def writes_to_an_array(x):
    y = x * 2
    HISTORY[0] = 5.0
    return y


def appends(x):
    y = x * 2
    LOG.append(y)
    return y


def counts(x):
    global CALLS
    CALLS += 1
    return x * 2


def counts_in_a_dict(x):
    y = x * 2
    COUNTS["calls"] += 1
    return y


def counts_in_an_attribute(x):
    STATE.calls += 1
    return x * 2


CHANGES = {
    writes_to_an_array: (2, r"array 'HISTORY' was changed; pass it as an argument"),
    appends: (2, r"captured 'LOG' was changed"),
    counts: (2, r"captured 'CALLS' was changed"),
    counts_in_a_dict: (2, r"captured 'COUNTS' was changed"),
    counts_in_an_attribute: (1, r"captured 'STATE' was changed"),
}


@pytest.mark.parametrize("f", CHANGES, ids=lambda f: f.__name__)
def test_changes_that_would_happen_only_once_are_refused(f):
    line, match = CHANGES[f]
    message = refused(f, X, match=match)
    assert f"line {f.__code__.co_firstlineno + line}:" in message


def test_a_deeply_nested_tensor_is_assigned_to_in_each_call():
    class Hidden:
        def __init__(self):
            self.parts = {"state": types.SimpleNamespace(deep=[mg.tensor([0.0])])}

        def __getitem__(self, _):
            return self.parts["state"].deep

    hidden = Hidden()

    def f(x):
        state = next(iter(hidden[0]))
        state += x[0]
        return state

    compiled = mg.compile(lambda x: hide(f)(x))
    for total in (1.0, 2.0, 3.0):
        np.testing.assert_array_equal(compiled(X), [total])
        assert hidden.parts["state"].deep[0].data == [total]


def hide(f):
    return functools.lru_cache(maxsize=None)(lambda: f).__wrapped__()


# mg.static


def test_static_arguments_are_part_of_the_program():
    def f(x, options):
        return x * 2 if options["rate"] > 0.5 else -x

    compiled = mg.compile(f)
    assert np.array_equal(compiled(X, {"rate": mg.static(1.0)}), 2 * X)
    assert np.array_equal(compiled(X, {"rate": mg.static(0.1)}), -X)
    assert np.array_equal(compiled(X, {"rate": mg.static(1.0)}), 2 * X)
    assert compiled.cache_info()[:2] == (1, 2)
    refused(f, X, {"rate": 1.0}, match=r"mg\.static")


@pytest.mark.parametrize(
    "values", [(0.0, -0.0), (1, True), (1, 1.0), ((0.0,), (-0.0,)), ("a", "b"), (None, 0)], ids=repr
)
def test_static_values_have_programs_of_their_own(values):
    compiled = mg.compile(lambda x, s: x * len(repr(s)))
    for value in values:
        compiled(X, mg.static(value))
    assert compiled.cache_info().misses == 2
    assert np.array_equal(compiled(X, s=mg.static(values[0])), X * len(repr(values[0])))


def test_static_needs_something_hashable():
    with pytest.raises(TypeError, match=r"got a ndarray of shape \(3,\).*tuple\(array.tolist\(\)\)"):
        mg.static(X)
    with pytest.raises(TypeError, match=r"got a list; pass"):
        mg.static([1, 2])


def test_static_in_a_function_that_isnt_traced():
    inner = mg.compile(lambda x, p: x**p if p > 1 else x)
    outer = mg.compile(lambda x: inner(x, mg.static(3.0)) + inner(x, mg.static(1.0)))
    assert np.array_equal(outer(X), X**3.0 + X)
    assert np.array_equal(outer(2 * X), (2 * X) ** 3.0 + 2 * X)
    assert np.array_equal(mg.grad(lambda x: np.sum(inner(x, mg.static(2.0))))(X), 2 * X)


# A compiled function inside another, and inside transforms


def test_compiled_functions_are_recorded_by_transforms():
    f = mg.compile(lambda x: np.sum(np.sin(x) * x))
    f(X)
    for transform in (mg.grad, mg.value_and_grad, mg.hessian):
        for got, want in zip(flatten(transform(f)(X))[0], flatten(transform(f.function)(X))[0], strict=True):
            np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(mg.jvp(f, (X,), (X,))[1], mg.jvp(f.function, (X,), (X,))[1])
    np.testing.assert_array_equal(mg.compile(mg.grad(f))(X), mg.grad(f)(X))


PLACES = (0, 1)
FACTOR = 2.0


def test_a_tuple_that_becomes_a_list_is_a_different_index(monkeypatch):
    compiled = mg.compile(lambda x: x[PLACES] * 2)
    x = np.arange(4.0).reshape(2, 2)
    for _ in range(2):
        np.testing.assert_array_equal(compiled(x), 2.0)
    monkeypatch.setitem(globals(), "PLACES", [0, 1])
    np.testing.assert_array_equal(compiled(x), 2 * x)


def test_numbers_that_print_alike_are_distinguished(monkeypatch):
    compiled = mg.compile(lambda x: x * FACTOR)
    for factor in (2.0, -2.0, 0.0, -0.0, np.float32(2.0), 2, True):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        got, want = compiled(np.ones(2, np.float32)), np.ones(2, np.float32) * factor
        assert got.dtype == want.dtype
        assert np.signbit(got).tolist() == np.signbit(want).tolist()
        np.testing.assert_array_equal(got, want)


class Scaled:
    """An object whose property captures something."""

    @property
    def scale(self):
        return FACTOR * 10

    def __call__(self, x):
        return x * self.scale


def test_changes_of_what_a_property_reads_are_noticed(monkeypatch):
    scaled = Scaled()
    compiled = mg.compile(lambda x: scaled(x))
    for factor in (1.0, 3.0, 3.0, 0.5):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        np.testing.assert_array_equal(compiled(np.ones(2)), np.full(2, 10 * factor))


def test_a_captured_mask_is_compared_even_if_it_is_large(monkeypatch):
    """The number of elements that it picks is part of the program."""
    monkeypatch.setattr("microgradnd.compiler.watch.LARGE", 0)
    mask = np.array([True, False, True, False])
    compiled = mg.compile(lambda x: (x[mask] * 2, np.sum(np.sin(x[mask]) * x[mask])))
    x = np.arange(4.0)
    for picked in ([True, False, True, False], [True, True, True, False], [False, False, False, True]):
        mask[:] = picked
        first, total = compiled(x)
        np.testing.assert_array_equal(first, 2 * x[mask])
        np.testing.assert_allclose(total, np.sum(np.sin(x[mask]) * x[mask]))


def test_gradients_of_captured_variables_are_added_to():
    w, twin = (mg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))

    def loss(w, x):
        out = np.sum(w * w * x)
        out.backward()
        return w.grad * 1.0

    compiled = mg.compile(lambda x: loss(w, x))
    for scale in (1.0, 3.0, 0.5):
        x = np.full(2, scale)
        np.testing.assert_array_equal(plain(compiled(x)), plain(loss(twin, x)))
        np.testing.assert_array_equal(w.grad, twin.grad)


def of_kind(x):
    return tuple([isinstance(x, kind) for kind in (np.ndarray, np.floating, tuple)]) + (np.isscalar(x),)


class Averaging(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.ones(3))
        self.register_buffer("mean", np.zeros(3))
        np.sum(self.w * 2).backward()


def test_a_model_does_not_keep_what_a_mask_picks():
    model = Averaging()

    def f(x):
        model.picked = x[x > 1]
        return x.sum()

    refused(f, X, match="the captured 'model.picked' was changed")
    assert not hasattr(model, "picked")


def change_part(array):
    part = array[:2]
    part *= 2.0
    return part * 1.0


def change_at_a_mask(array):
    part = array.reshape(3, 1)
    part[part > 0] += 1.0
    return part * 1.0


@pytest.mark.parametrize("change", [change_part, change_at_a_mask])
@pytest.mark.parametrize("name", ["mean", "w.grad"])
def test_a_change_of_a_view_of_what_a_model_holds_is_refused(change, name):
    """The program would not change the buffer or the gradient itself."""
    model = Averaging()
    before = operator.attrgetter(name)(model).copy()
    expected = "a change of a view of .data, a buffer or a gradient"
    refused(lambda x: change(operator.attrgetter(name)(model)) + x.sum(), X, match=expected)
    np.testing.assert_array_equal(operator.attrgetter(name)(model), before)


MADE = {
    "gradient": lambda m, x: mg.grad(lambda v: np.sum(np.sin(v)))(x),
    "value": lambda m, x: mg.value_and_grad(lambda v: np.sum(np.sin(v)))(x)[0],
    "Jacobian": lambda m, x: mg.jacobian(np.sin)(x),
    "tangent": lambda m, x: mg.jvp(np.sin, (x,), (x,))[1],
    "cotangents": lambda m, x: mg.vjp(np.sin, x)[1](x),
    "gradient of a variable": lambda m, x: m.w.grad,
    "values of a variable": lambda m, x: m.w.data,
    "buffer": lambda m, x: m.mean,
    "zeros_like": lambda m, x: np.zeros_like(x),
    "full_like": lambda m, x: np.full_like(x, 2),
    "drawn": lambda m, x: mg.anew(lambda: np.ones(2), 2),
    "view without axes": lambda m, x: x[0, ...],
    "changed view": lambda m, x: changed(x * 1.0),
    "number": lambda m, x: x[0] * 2,
    "variable": lambda m, x: m.w * x,
    "gradient at a variable": lambda m, x: mg.grad(lambda v: np.sum(np.sin(v)))(m.w),
    "zeros like a variable": lambda m, x: np.zeros_like(m.w * 2),
}


def changed(x):
    x[0] = 3.0
    x[0] *= 2.0
    return x


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("sizes", ["auto", "fixed"])
def test_classes_of_what_transforms_and_the_library_return(name, sizes):
    model, x = Averaging(), np.array([1.0, -2.0, 3.0])
    compiled = mg.compile(lambda x: (x * 1, of_kind(MADE[name](model, x))), sizes=sizes)
    assert compiled(x)[1] == of_kind(MADE[name](model, x))
