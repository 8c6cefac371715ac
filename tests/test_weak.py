"""Python numbers that are passed to a compiled function, or read in it.

Owns: that they are computed in double precision among each other, take the dtype of an
array that they meet, and stay Python's as results; in random programs, in all backends.
Must not own: numbers that are part of a program (`test_contract_parts.py`).
Read next: `test_contract_parts.py`.
"""

import fractions
import operator
import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import optim
from microgradnd.compiler.trace import TraceError
from microgradnd.nn import functional as F
from microgradnd.transforms import plain
from microgradnd.trees import flatten

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
    *(
        "np.reshape({a}, (-1,))",
        "np.multiply.outer(x, {a})",
        "np.add.outer({a}, x) + np.add.outer(len(x), x)",
        "np.linspace(0.0, 1.0, 3) * {a}",
        "mg.tensor({a}) * {b}",
    ),
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


def kind(value):
    """Return the type of a Python number, and that of an array's elements."""
    return type(value) if type(value) in PYTHON else np.asarray(value).dtype.type


def check_alike(got, want, close=0.0):
    """Check numbers: equal, of the same dtype, and Python's if they are Python's."""
    if isinstance(want, tuple):
        for one, other in zip(got, want, strict=True):
            check_alike(one, other, close)
        return
    got, want = plain(got), plain(want)
    assert kind(got) is kind(want)
    np.testing.assert_allclose(got, want, rtol=close, atol=close / 10)


def check(text, **options):
    """Check a program, compiled, against itself, for both sets of arguments."""
    names = scope()
    close = options.pop("close", 1e-14 if "np.sum(" in text else 0.0)  # programs add in another order
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


SINGLE = np.array([-1.5, 0.1, 0.7, 1.9], np.float32)


def turns(t, x):
    return mg.scan(lambda h, row: (h * 0.5 + row * t, h), t, x)


def turns_of_a_number(t, x):
    return mg.scan(lambda h, row: (h * 0.999, h * row), t, x)


def loop(t, x):
    h, decay = x * 0, t
    for i in range(8):
        decay = decay * 0.999 + t**i
        h = np.tanh(h * t + x * (1 - decay))
    return h, decay


def assigned(t, x):
    before = t
    t *= 2  # a name for another number
    return before * x, t * x, t


def part(t, x):
    y = x * 1
    y[0] = t / 3
    return y


def updated(t, x):
    y = x * 1
    y *= t
    y -= t / 3
    return y


def clipped(t, x):
    w = mg.tensor(x, requires_grad=True)
    np.sum(w * w).backward()
    norm = optim.clip_grad_norm_([w], max_norm=t)
    by_norm = w.grad * 1
    optim.clip_grad_value_([w], t / 2)
    return norm, by_norm, w.grad * 1


def gradient_of_a_power(t, x):
    return mg.grad(lambda x: np.sum((x + 2) ** (t + 1)))(x)


FUNCTIONS = {
    "a carry that becomes an array": turns,
    "a carry that stays a number": turns_of_a_number,
    "a loop": loop,
    "an augmented assignment": assigned,
    "an assignment to a part": part,
    "an array that is updated": updated,
    "the number itself": lambda t, x: (t, t, 2 * t, 2 * t, {"of": -t}["of"]),
    "an equal element": lambda t, x: (x == t, x >= t, np.not_equal(x, t)),
    "a comparison": lambda t, x: (t > 1, (t > 1) + (t > 0.5), (t > 1) * x),
    "a remainder": lambda t, x: divmod(t, 0.3)[1] * x,
    "bools divided": lambda t, x: divmod(t > 0, True)[0] * x,
    "a NumPy number": lambda t, x: (np.sqrt(t) * x, np.add(t, 1) * x, np.positive(t)),
    "a dtype": lambda t, x: x.astype(np.result_type(x, t)),
    "a mask": lambda t, x: np.add(mg.tensor(x), t, where=x > 0),
    "an initial value": lambda t, x: np.max(x, initial=t) * x,
    "a class": lambda t, x: x * (1 if isinstance(t / 2, float) else 2),
    "a call within": lambda t, x: within(t * 2, x),
    "a gradient by the number": lambda t, x: mg.value_and_grad(lambda t: np.sum(x * t))(t),
    "a gradient by the array": lambda t, x: mg.grad(lambda x: np.sum(x / (1 - 0.999**t)))(x),
    "a second derivative": lambda t, x: mg.hessian(lambda x: np.sum(x**3 / (1 - 0.999**t)))(x),
    "a length": lambda t, x: (x * (t / len(x)), t / len(x), len(x) - t),
    "complex numbers": lambda t, x: (x * (t * 1j), t * 1j),
    "in a complex array": lambda t, x: (np.where(x > 1, x * 1j, t), np.clip(x, t, None), np.linspace(x[0] * 1j, t, 3)),
    "elements": lambda t, x: (x.item(1), x.item(0) / 3 * x, x.reshape(2, -1).item(1, 0) + t, np.exp(x[2]).item()),
    "elements of other kinds": lambda t, x: ((x > t).sum().item() * x, (x > t)[1].item() * x, (x * 1j).item(0) * x),
    "an element's derivative": lambda t, x: mg.grad(lambda x: np.sum(x * x[0].item()) * t)(x),
    "an element of a variable": lambda t, x: (W.item(1) * x, W[:1].item() * t),
    "settings": lambda t, x: (F.huber_loss(x, -x, delta=t), F.leaky_relu(x, t), F.layer_norm(x, x.shape, eps=t)),
    "clipped gradients": clipped,
}
FUNCTIONS |= {
    "a rounded number": lambda t, x: (round(t * 0.15 / 0.7, 1), round(t / 3, 3) * x, round(1000 * t, -2)),
    "parts of the number": lambda t, x: (np.real(t) * x, np.imag(t) * x, np.isreal(t) * x, np.real_if_close(t) * x),
    "a power": lambda t, x: (t ** (x + 2), t ** x[0], 2.0 ** (x + t)),
    "unary operators of bools": lambda t, x: (-(t > 0), abs(t > 0) * x, +(t > 1), ~(t > 1)),
    "keywords": lambda t, x: (np.unwrap(x, period=t), scaled(x, by=t), mg.grad(lambda x: np.sum(scaled(x, by=t)))(x)),
    "two results": lambda t, x: (*scaled_and_shifted(x, t), mg.grad(lambda x: np.sum(scaled_and_shifted(x, t)[0]))(x)),
    "points between": lambda t, x: (np.linspace(t, x[0], 3), np.logspace(x, t, 3), np.choose(1, [x, t])),
}
within = mg.compile(lambda t, x: x / (1 - 0.999**t))


@mg.primitive
def scaled(x, *, by):
    return x * by


@mg.primitive
def scaled_and_shifted(x, t):
    return x * t, x + t


mg.defvjp(scaled, lambda g, out, x, by: g * by)
mg.defvjp(scaled_and_shifted, lambda g, out, x, t: g[0] * t + g[1], None)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("options", [{}, {"optimize": False}, {"sizes": "fixed"}, {"backend": "numba"}], ids=str)
def test_numbers_in(name, options):
    if "backend" in options:
        pytest.importorskip("numba")
    f = FUNCTIONS[name]
    compiled = mg.compile(f, **options)
    close = 1e-6 if "backend" in options else 0.0
    for t, x in product((0.7, 1.9), (SINGLE, SINGLE[::-1].astype(float), SINGLE)):
        got, want = compiled(t, x), f(t, x)
        check_alike(tuple(flatten(got)[0]), tuple(flatten(want)[0]), close)


def test_a_number_that_is_passed_is_an_input_between_any_dtypes():
    compiled = mg.compile(lambda t, x, y: (t / 3 * x, t / 3 * y))
    for t in (0.7, 1.9, 0.1):
        check_alike(compiled(t, SINGLE, ARRAY), (t / 3 * SINGLE, t / 3 * ARRAY))
    assert compiled.cache_info().misses == 1


def test_the_gradient_of_a_power_stays_in_single_precision():
    compiled = mg.compile(gradient_of_a_power)
    for t in (0.7, 1.9):
        check_alike(compiled(t, SINGLE), gradient_of_a_power(t, SINGLE), close=1e-6)
    assert "np.float64)" not in compiled.source


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_settings_of_an_optimizer(kind):
    def make():
        w = mg.tensor(SINGLE, requires_grad=True)
        optimizer = kind([w], lr=0.01)

        def step(x):
            with mg.no_grad():
                scaled = (optimizer.lr / 3 * x, optimizer.lr, 1 - 0.999**optimizer.lr)
                optimizer.lr = optimizer.lr * 0.9
            loss = np.sum((w * x) ** 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return scaled, w.detach() * 1

        return step, optimizer

    (eager, optimizer), (traced, other) = make(), make()
    compiled = mg.compile(traced)
    for _ in range(3):
        got, want = compiled(SINGLE), eager(SINGLE)
        check_alike(got[0], want[0])
        check_alike(got[1], want[1], close=1e-6)
        assert type(other.lr) is type(optimizer.lr)
        assert other.lr == optimizer.lr


def test_an_update_casts_the_learning_rate_once():
    w = mg.tensor(np.zeros((64, 64), np.float32), requires_grad=True)

    @mg.compile
    def step(w, x, rate):
        loss = np.sum((w @ x - x) ** 2)
        w.grad = None
        loss.backward()
        with mg.no_grad():
            w -= rate * w.grad
        return loss

    step(w, np.ones((64, 64), np.float32), 0.01)
    assert step.source.count("np.float32(rate)") == 1
    assert "np.float64" not in step.source


ONLY_OF_ARRAYS = sorted(name for name in dir(mg.Tensor) if name[0] != "_" and not hasattr(int, name))
OPERATORS = [getattr(operator, name) for name in ("add", "mul", "sub", "truediv", "pow", "lt", "eq", "ne", "getitem")]


def shown(f, number):
    try:
        return type(f(number))
    except (TypeError, AttributeError) as error:
        return type(error)


@pytest.mark.parametrize("number", [2.0, 2j])
def test_a_number_has_what_a_number_has(number):
    """What the eager function can't do with it fails in the same way."""
    for other in ([1.0], (1, 2), "a", None, fractions.Fraction(1, 2)):
        for operation in OPERATORS:
            for f in (lambda t, g=operation, b=other: g(t, b), lambda t, g=operation, b=other: g(b, t)):
                assert shown(mg.compile(f), number) in (shown(f, number), TraceError)
    found = mg.compile(lambda t: [hasattr(t, name) for name in ONLY_OF_ARRAYS])(number)
    assert dict(zip(ONLY_OF_ARRAYS, found, strict=True)) == dict.fromkeys(ONLY_OF_ARRAYS, False) | {"outdated": True}
    for f in (lambda t: t.real * 2, lambda t: t.imag * 2, lambda t: t.conjugate() * 2):
        check_alike(mg.compile(f)(number), f(number))


NUMBERS_AND_ARRAYS = {
    "a power": lambda number, array: number**array,
    "an array to a power": lambda number, array: np.abs(array) ** number,
    "where": lambda number, array: np.where(array > 1, array, number),
    "where, the first": lambda number, array: np.where(array > 1, number, array),
    "clip": lambda number, array: np.clip(array, 1, number),
    "clip, the number": lambda number, array: np.clip(number, array, array + 1),
    "divmod": lambda number, array: np.divmod(array, number),
    "divmod, swapped": lambda number, array: divmod(number, array),
    "choose": lambda number, array: np.choose([0, 1, 0], [number, array]),
}


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i4", "F", "D"])
@pytest.mark.parametrize("name", NUMBERS_AND_ARRAYS)
def test_a_number_leaves_the_dtype_to_the_array(name, dtype):
    f, array = NUMBERS_AND_ARRAYS[name], np.array([1, 2, 3], dtype)
    if dtype in "FD" and name.startswith(("clip", "divmod")):
        return
    compiled, computed = mg.compile(f), mg.compile(lambda numbers, array: f(numbers[0].item(), array))
    for number in (2.5, 1.5):
        for got in (compiled(number, array), computed(np.array([number]), array)):
            check_alike(got, f(number, array))
    for number in (2, 3):
        check_alike(computed(np.array([number]), array), f(number, array))
