"""The edges of "nothing silently wrong": a right value, worked out independently, or an
error that says what to do.

The promises are those of docs/reliability.md, a section for each. Where a row gives a
value, an error will do as well, unless the row says that the value itself is promised.
"""

from __future__ import annotations

import array
import asyncio
import copy
import decimal
import fractions
import math
import pickle
import re
import warnings
from collections import UserList
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas
import pytest
from scipy import sparse

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F

OBSCURE = re.compile(
    r"has no attribute|unsupported operand|unexpected keyword|takes \d+ positional|setting an array element"
    r"|truth value|not supported between|interpreted as an integer|could not convert|doesn't define|object is not"
)


def is_clear(error: BaseException) -> bool:
    """Return whether a message was written for the user, rather than by Python or NumPy
    from inside.
    """
    text = " ".join([str(error), *getattr(error, "__notes__", ())])
    return not isinstance(error, RecursionError) and len(text) > 45 and not OBSCURE.search(text)


def right_or_refused(program: Callable[[], Any], right: Any) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = program()
    except Exception as error:
        if not is_clear(error):
            raise
    else:
        np.testing.assert_allclose(np.asarray(getattr(value, "data", value)), right, rtol=1e-9)


def refused(program: Callable[[], Any]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- of any type: what it says is looked at
        program()
    assert is_clear(caught.value), caught.value


def variable(*values: Any) -> Any:
    return mg.tensor(np.array(values, float), requires_grad=True)


# What enters an operation


class OffersMemory:
    """An array of another library that only says where its memory is."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape = array.shape

    @property
    def __array_interface__(self) -> Any:
        return self.array.__array_interface__


KINDS = {
    "masked": np.ma.array([3.0, 4.0], mask=[True, False]),
    "matrix": np.array([[3.0, 4.0]]).view(np.matrix),
    "objects": np.array([3.0, None], object),
    "text": np.array(["3", "4"]),
    "dates": np.array(["2020-01-01", "2020-01-02"], "M8[D]"),
    "times": np.array([3, 4], "m8[D]"),
    "records": np.rec.array([(3.0,), (4.0,)], dtype=[("a", float)]),
    "a fraction": fractions.Fraction(1, 2),
    "a decimal": decimal.Decimal("0.5"),
    "None": None,
}
NUMBERS = {  # kinds whose numbers are those of [3.0, 4.0]
    "memoryview": memoryview(np.array([3.0, 4.0])),
    "array.array": array.array("d", [3.0, 4.0]),
    "an object that offers its memory": OffersMemory(np.array([3.0, 4.0])),
    "list": [3.0, 4.0],
    "big-endian": np.array([3.0, 4.0], ">f8"),
}
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "t * c": lambda t, c: t * c,
    "t + c": lambda t, c: t + c,
    "np.multiply(c, t)": lambda t, c: np.multiply(c, t),
    "np.arctan2": lambda t, c: np.arctan2(t, c),
    "np.where": lambda t, c: np.where([True, False], t, c),
    "np.dot": np.dot,
    "np.stack": lambda t, c: np.stack([t, c]),
    "np.select": lambda t, c: np.select([np.array([True, False])], [t], c),
    "np.convolve": np.convolve,
    "F.mse_loss": F.mse_loss,
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_operand_of_another_kind_is_refused(kind: str, operation: str) -> None:
    refused(lambda: OPERATIONS[operation](variable(1, 2), KINDS[kind]))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", NUMBERS)
def test_what_offers_numbers_is_an_array(kind: str, operation: str) -> None:
    def gradient(c: Any) -> Any:
        t = variable(1, 2)
        np.sum(OPERATIONS[operation](t, c)).backward()
        return t.grad

    np.testing.assert_array_equal(gradient(NUMBERS[kind]), gradient(np.array([3.0, 4.0])))


@pytest.mark.parametrize("kind", ["masked", "matrix", "objects", "text", "dates", "None"])
def test_an_update_takes_arrays_only(kind: str) -> None:
    w = variable(1, 2)
    with mg.no_grad():
        refused(lambda: w.__iadd__(KINDS[kind]))
        refused(lambda: w.__setitem__(..., KINDS[kind]))
    refused(lambda: (w * 1.0).__setitem__(..., KINDS[kind]))
    np.testing.assert_array_equal(w.data, [1.0, 2.0])


def test_an_update_by_what_adds_itself_is_not_lost() -> None:
    for other in (sparse.csr_array([[1.0, 2.0]]), pandas.Series([1.0, 2.0])):
        w = variable(1, 2)
        with mg.no_grad():
            refused(lambda w=w, other=other: w.__iadd__(other))


def test_comparisons_of_other_kinds_say_what_came() -> None:
    for other in (None, "x", object()):
        refused(lambda other=other: variable(1, 2) < other)
    refused(lambda: np.isclose(variable(1, 2), None))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_mask_that_is_a_tensor(requires_grad: bool) -> None:
    mask = mg.tensor([1.0, 0.0] if requires_grad else [True, False], requires_grad=requires_grad)
    right_or_refused(lambda: np.sum(np.array([3.0, 4.0]), where=mask), 3.0)
    right_or_refused(lambda: np.array([3.0, 4.0]).mean(where=mask), 3.0)
    right_or_refused(lambda: np.add.reduce(variable(3, 4), where=mask), 3.0)


@pytest.mark.parametrize("kind", ["masked", "objects", "text", "dates", "times", "None", "a decimal"])
def test_a_cotangent_or_tangent_of_another_kind_is_refused(kind: str) -> None:
    given = KINDS[kind]
    refused(lambda: mg.vjp(lambda x: x * 2, np.ones(2))[1](given))
    refused(lambda: mg.jvp(lambda x: x * 2, (np.ones(2),), (given,)))
    if given is not None:
        x = variable(1, 2)
        refused(lambda: (x * 1.0).backward(given))
        refused(lambda: setattr(x, "grad", given))
        assert x.grad is None


def test_a_keyword_of_another_kind_is_refused() -> None:
    for mask in (np.ma.array([True, False], mask=[False, True]), pandas.Series([True, False])):
        refused(lambda mask=mask: np.sum(variable(1, 2), where=mask))
    refused(lambda: mg.tensor([[1.0, 2.0], [3.0]]))


# What leaves the tape

EXITS: dict[str, tuple[Callable[[Any], Any], float]] = {  # with the derivative at 1.3
    "float": (lambda v: float(v) ** 2, 2.6),
    "complex": (lambda v: complex(v).real, 1.0),
    "math.exp": (lambda v: math.exp(v), math.exp(1.3)),
    "math.fsum": (lambda v: math.fsum([v, v]), 2.0),
    "np.float64": (lambda v: np.float64(v), 1.0),
    "np.fromiter": (lambda v: np.fromiter((v * i for i in range(3)), float).sum(), 3.0),
    "a plain array": (lambda v: stored(np.zeros(2), 0, v).sum(), 1.0),
    "a plain array's field": (lambda v: stored(np.zeros(1, [("a", float)])["a"], 0, v).sum(), 1.0),
    "array.array": (lambda v: array.array("d", [v])[0], 1.0),
    "fill": (lambda v: filled(np.zeros(2), v).sum(), 2.0),
    "initial=": (lambda v: np.sum(np.ones(2), initial=v), 1.0),
    "left=": (lambda v: np.interp(-1.0, [0.0, 1.0], [2.0, 3.0], left=v), 1.0),
    "constant_values=": (lambda v: np.sum(np.pad(np.ones(2), 1, constant_values=v)), 2.0),
    "ddof=": (lambda v: np.var(np.array([0.0, 2.0]), ddof=v), 2 / 0.7**2),
    "mg.tensor": (lambda v: mg.tensor(v) ** 2, 2.6),
    "nn.Parameter": (lambda v: nn.Parameter(v) ** 2, 2.6),
    ".data =": (lambda v: assigned(mg.tensor(0.0), v) ** 2, 2.6),
    "load_state_dict": (lambda v: loaded(v).sum(), 1.0),
    "copy.copy": (lambda v: copy.copy(v) ** 2, 2.6),
    "copy.deepcopy": (lambda v: copy.deepcopy([v])[0] ** 2, 2.6),
    "pickle": (lambda v: pickle.loads(pickle.dumps(v)) ** 2, 2.6),
}


def stored(plain: Any, index: Any, value: Any) -> Any:
    plain[index] = value
    return plain


def filled(plain: Any, value: Any) -> Any:
    plain.fill(value)
    return plain


def assigned(tensor: Any, value: Any) -> Any:
    tensor.data = value
    return tensor


def loaded(value: Any) -> Any:
    layer = nn.Linear(1, 1, bias=False)
    layer.load_state_dict({"weight": np.reshape(value, (1, 1))})
    return layer.weight


TRANSFORMS: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "grad": lambda f: mg.grad(f)(1.3),
    "vjp": lambda f: mg.vjp(f, np.float64(1.3))[1](np.array(1.0))[0],
    "jvp": lambda f: mg.jvp(f, (np.float64(1.3),), (np.float64(1.0),))[1],
    "jacobian": lambda f: mg.jacobian(f, mode="fwd")(1.3),
    "elementwise_grad": lambda f: mg.elementwise_grad(f)(1.3),
    "nested": lambda f: mg.grad(lambda a: mg.grad(lambda b: b * f(a))(2.0))(1.3),
    "checkpoint": lambda f: mg.grad(lambda a: mg.checkpoint(f)(a * 1.0))(1.3),
    "checkpoint of what is captured": lambda f: mg.grad(lambda a: mg.checkpoint(lambda: f(a * 1.0))())(1.3),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("way", EXITS)
def test_a_number_that_leaves_a_transform(way: str, transform: str) -> None:
    f, right = EXITS[way]
    right_or_refused(lambda: TRANSFORMS[transform](f), right)


@pytest.mark.parametrize("whole", [round, math.trunc, math.floor, math.ceil, int, range])
def test_whole_numbers_leave_a_transform(whole: Callable[[Any], Any]) -> None:
    refused(lambda: mg.grad(lambda v: v * whole(v))(1.3))


def test_rounding_to_digits_is_that_of_numpy() -> None:
    x = variable(1.26, 2.0)
    np.testing.assert_array_equal(round(x, 1).data, [1.3, 2.0])
    np.testing.assert_array_equal(mg.grad(lambda v: np.sum(round(v, 1) * v))(np.array([1.26])), [1.3])
    assert round(mg.tensor(2.6)) == 3
    assert math.trunc(mg.tensor(2.6)) == 2


def test_exits_that_are_meant() -> None:
    for leave in (lambda v: v.detach(), lambda v: v.data, lambda v: v.item(), lambda v: mg.tensor(v.detach())):
        assert mg.grad(lambda v, leave=leave: v * leave(v))(3.0) == 3.0
    with mg.no_grad():
        teacher = mg.tensor(variable(1.0))
    np.testing.assert_array_equal(teacher.data, [1.0])


def test_a_warning_for_each_line() -> None:
    x = variable(1.5)[0]
    for leave in (float, round, math.trunc, int):
        with pytest.warns(UserWarning, match=r"item\(\)"):
            leave(x)
    loss = x * 2
    loss.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(loss) == 3.0


# Hooks


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize(
    "result",
    [
        np.ma.array([[1.0, 2.0]], mask=[[True, False]]),
        np.array([[1.0, 2.0]]).view(np.matrix),
        np.array([[1.0, 2.0]], object),
        np.ones((1, 2), np.float32),
        np.ones(2),
        [[1.0, 2.0]],
        "x",
        False,
    ],
)
def test_a_hook_returns_a_gradient(result: Any, computed: bool, create_graph: bool) -> None:
    x = mg.tensor(np.ones((1, 2)), requires_grad=True)
    y = x * 2
    (y if computed else x).register_hook(lambda g: result)
    refused(lambda: np.sum(y * y).backward(create_graph=create_graph))
    assert x.grad is None


def test_a_hook_is_a_function() -> None:
    refused(lambda: variable(1, 2).register_hook(3))


def test_a_hook_keeps_its_array() -> None:
    kept = np.array([7.0, 7.0])
    x, y = variable(1, 2), variable(3, 4)
    x.register_hook(lambda g: kept)
    (x * y).sum().backward()
    kept[:] = 0
    np.testing.assert_array_equal(x.grad, [7.0, 7.0])


# Modes


def records() -> bool:
    return (variable(1.0) * 2).requires_grad


def test_an_async_generator_without_gradients_gets_what_is_sent_and_thrown() -> None:
    seen: list[Any] = []

    @mg.no_grad()
    async def steps() -> Any:
        try:
            sent = yield records()
            await asyncio.sleep(0)
            try:
                yield sent, records()
            except ValueError:
                yield "thrown", records()
        finally:
            seen.append(records())

    async def program() -> None:
        running = steps()
        seen.extend([await anext(running), records(), await running.asend(5), records()])
        seen.extend([await running.athrow(ValueError()), records()])
        await running.aclose()
        seen.append(records())
        seen.extend([step async for step in steps()][:1])

    asyncio.run(program())
    assert seen == [False, True, (5, False), True, ("thrown", False), True, False, True, False, False]


# State after an error


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.__iadd__(np.ones(3)),
        lambda w: w.__iadd__(1j),
        lambda w: w.__setitem__([0, 5], [8.0, 9.0]),
        lambda w: w.__setitem__(..., [5.0, "a"]),
        lambda w: setattr(w, "data", np.ones(3)),
        lambda w: setattr(w, "data", np.ma.array([1.0, 2.0], mask=[True, False])),
        lambda w: setattr(w, "grad", np.ones(3)),
    ],
)
def test_an_error_changes_nothing(change: Callable[[Any], Any]) -> None:
    w = variable(1, 2)
    with mg.no_grad():
        refused(lambda: change(w))
    np.testing.assert_array_equal(w.data, [1.0, 2.0])
    assert w.grad is None


# What was handed out


@pytest.mark.parametrize(
    "f", [lambda x: x, lambda x: x[::-1], lambda x: x.T, lambda x: x.reshape(-1, 1), lambda x: x + 0, lambda x: +x]
)
@pytest.mark.parametrize("size", [2, 20_000])
def test_results_share_no_memory(f: Callable[[Any], Any], size: int) -> None:
    x = np.arange(1.0, size + 1)
    value, pullback = mg.vjp(f, x)
    g = np.ones(value.shape)
    (first,) = pullback(g)
    tangent = mg.jvp(f, (x,), (x,))[1]
    arrays = [x, value, g, first, tangent]
    assert all(a.flags.writeable for a in arrays)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    w = mg.tensor(x, requires_grad=True)
    f(w).backward(g)
    assert not np.shares_memory(w.grad, g)


# Modules and optimizers


@pytest.mark.parametrize("put", [UserList, lambda parts: dict(enumerate(parts)).values(), set, lambda parts: [parts]])
def test_parameters_in_a_container_are_refused(put: Callable[[list[Any]], Any]) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.parts = put([nn.Linear(2, 1), nn.Parameter(1.0)])

        def forward(self, x: Any) -> Any:
            return x

    refused(lambda: list(Model().parameters()))


def test_a_misspelt_attribute_names_the_right_one() -> None:
    with pytest.raises(AttributeError, match=r"Linear .*'wieght'.*\.weight"):
        _ = nn.Linear(2, 1).wieght
    with pytest.raises(AttributeError, match=r"Adam .*'zero_gradd'.*\.zero_grad"):
        optim.Adam([variable(1)], lr=0.1).zero_gradd()

    class Model(nn.Module):
        @property
        def scale(self) -> Any:
            return self.log_scal

        def forward(self, x: Any) -> Any:
            return x * self.scale

    model = Model()
    model.log_scale = nn.Parameter(0.0)
    with pytest.raises(AttributeError, match=r"'log_scal'.*\.log_scale"):
        model(np.ones(2))
    assert not hasattr(model, "shape")
    assert copy.deepcopy(model).log_scale is not model.log_scale


def test_steps_after_an_update_by_a_number_of_numpy() -> None:
    w = variable(1, 2)
    w.grad = np.ones(2)
    optim.SGD([w], lr=np.float32(0.5)).step()
    with mg.no_grad():
        w -= np.float32(0.5)
    np.testing.assert_array_equal(w.data, [0.0, 1.0])
