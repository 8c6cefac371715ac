"""`mg.explain`, a sentence for each way to lose a gradient, and `viz.table`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, viz


def variable(values: Any, name: str) -> Any:
    return mg.tensor(values, requires_grad=True, name=name, dtype=float)


def told(*args: Any) -> str:
    sentences = mg.explain(*args)
    assert sentences
    assert all(isinstance(sentence, str) and sentence.endswith(".") for sentence in sentences)
    return "\n".join(sentences)


def rectifier(bias: list[float]) -> tuple[nn.Module, mg.Tensor]:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, len(bias), rng=rng), nn.ReLU(), nn.Linear(len(bias), 1, rng=rng))
    model[0].bias.data = np.array(bias)
    return model, np.sum(model(rng.standard_normal((10, 3))) ** 2)


# None


def test_never_reached() -> None:
    w, other = variable([1.0, 2.0], "w"), variable(1.0, "other")
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    assert told(other, loss) == "'other' has no gradient: the result wasn't computed from it."
    assert "no backward() has reached it" in told(other)
    assert "explain(t, loss)" in told(other)


@pytest.mark.parametrize("cut", [lambda w: w.detach(), lambda w: w.data])
def test_detached(cut: Any) -> None:
    w, v = variable([1.0, 2.0], "w"), variable([1.0, 2.0], "v")
    assert "though multiply used its array: .data, detach() or no_grad()" in told(w, (cut(w) * v).sum())


@pytest.mark.parametrize("cut", [lambda w: w.detach(), lambda w: w.data, lambda w: w.detach()[1:]])
def test_a_large_array_is_known_by_its_memory(cut: Any) -> None:
    """It isn't copied, and its numbers are all equal, so they identify nothing."""
    w, v = variable(np.zeros(5000), "w"), variable(1.0, "v")
    assert "though multiply used its array: .data, detach() or no_grad()" in told(w, (cut(w) * v).sum())


def test_a_value_computed_under_no_grad() -> None:
    w = variable([1.0, 2.0], "w")
    with mg.no_grad():
        loss = (w * w).sum()
    assert "it requires none" in told(loss)
    assert "it requires none" in told(w, loss)
    assert "it requires none" in told(mg.tensor([1.0]))


def test_integers() -> None:
    assert "its dtype is int64, and only floating-point and complex" in told(mg.tensor(np.array([1, 2], np.int64)))


def test_no_backward_yet_and_no_gradient_any_more() -> None:
    w = variable([1.0, 2.0], "w")
    loss = (w * w).sum()
    assert told(loss) == "'w' has no gradient yet: backward() of the result hasn't been called."
    loss.backward()
    assert told(loss) == "Nothing is wrong: the gradient of 'w' is finite and not zero."
    w.grad = None
    assert "no gradient any more: it was set to None (as by zero_grad())" in told(w, loss)


def test_a_value_keeps_its_gradient_on_demand() -> None:
    w = variable([1.0, 2.0], "w")
    h = w * 2
    loss = (h**2).sum()
    assert "call its retain_grad() before backward()" in told(h, loss)
    h.register_hook(lambda g: g)  # its own note
    assert "call its retain_grad() before backward()" in told(h, loss)
    h.retain_grad()
    assert "no gradient yet" in told(h, loss)
    loss.backward()
    assert "a gradient that is finite and not zero" in told(h, loss)
    assert "the result wasn't computed from it" in told(w * 3, loss)


def test_a_frozen_parameter() -> None:
    model = nn.Sequential(nn.Linear(2, 2, rng=np.random.default_rng(0)), nn.Linear(2, 1, rng=np.random.default_rng(0)))
    model[0].weight.requires_grad = False
    loss = model(np.ones((3, 2))).sum()
    assert "'0.weight' has no gradient: requires_grad is False." in told(model, loss)
    assert "requires none" in told(model[0].weight, loss)


# Zero


def test_dead_rectifiers() -> None:
    model, loss = rectifier([-100.0, -100.0])
    loss.backward(retain_graph=True)
    for sentences in (told(loss), told(model, loss)):
        assert (
            "relu in 1 (ReLU): all 2 units are dead, 0 for all 10 observations; no gradient passes them." in sentences
        )
        assert "'0.weight', '0.bias' have a gradient that is zero everywhere: it stops at relu in 1 (ReLU)" in sentences
        assert "'2.weight' has a gradient that is zero everywhere: nothing comes back from linear in 2" in sentences
        assert "it is multiplied by 0 everywhere there" in sentences
    model, loss = rectifier([-100.0, 1.0, -100.0, 2.0])
    assert "relu in 1 (ReLU): 2 of 4 units are dead" in told(loss)


def test_a_unit_is_dead_if_it_is_active_nowhere() -> None:
    x = variable([[-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]], "x")
    assert "relu: 1 of 3 units are dead, 0 for all 2 observations" in told(nn.functional.relu(x).sum())
    active = variable([[-1.0, 1.0], [1.0, -1.0]], "x")
    assert "dead" not in told(nn.functional.relu(active).sum())
    row = variable([-1.0, 1.0], "x")
    assert "1 of 2 units are dead, 0 for the only observation;" in told(nn.functional.relu(row).sum())
    image = variable(np.where(np.arange(12).reshape(2, 2, 3) % 3 == 1, -1.0, 1.0), "x")
    assert "1 of 3 units are dead, 0 for all 4 observations" in told(nn.functional.relu(image).sum())


def test_a_square_at_zero() -> None:
    w = variable([0.0, 0.0], "w")
    assert told((w * w).sum()) == (
        "'w' has a gradient that is zero everywhere: nothing comes back from multiply, whose derivative is 0 there."
    )
    v = variable([1.0, 2.0], "v")
    assert told((v * np.zeros(2)).sum()).endswith("multiply: it is multiplied by 0 everywhere there.")
    assert "'v' has a gradient that is zero everywhere: nothing comes back from multiply: it is" in told((w * v).sum())


def test_where_it_stops_is_named() -> None:
    w = variable([1.5, 2.5], "w")
    with mg.scope("rounding"):
        loss = np.sum(np.floor(w * 2)) + np.sum(np.ceil(w * 3))
    sentence = told(loss)
    assert (
        "it stops at ceil in rounding, whose derivative is 0 there, and at 1 more." in sentence
    )  # seen from the result


def test_numbers_that_are_not_finite_are_counted() -> None:
    w = variable([1.0, 2.0, 3.0, 4.0], "w")
    (w * np.array([np.nan, np.inf, -np.inf, 0.0])).sum().backward(retain_graph=True)
    assert "that isn't all finite (1 NaN, 2 Inf of 4)" in told(w)
    assert "Pass the result too" in told(w)
    w.grad = np.array([0.0, 0.0, 1.0, 0.0])
    assert told(w) == "'w' of shape (4,) has a gradient that is finite and not zero."


def test_very_many_dead_units_are_counted() -> None:
    x = variable([-1.0, 1.0], "x")
    loss = sum(nn.functional.relu(x * i).sum() for i in range(1, 20))
    sentences = mg.explain(loss)
    assert sum("1 of 2 units are dead" in sentence for sentence in sentences) == 5
    assert "14 more calls of relu have dead units." in sentences
    bad = [variable([np.nan], f"w{i}") for i in range(9)]
    assert "4 more variables aren't finite themselves." in mg.explain(np.concatenate(bad).sum())


def test_where_it_got_lost_is_known_before_backward_only() -> None:
    model, loss = rectifier([-100.0, -100.0])
    loss.backward()
    assert "to learn where it got lost, call explain() before backward()" in told(loss)
    alone = told(model)
    assert "'0.weight' of shape (2, 3) has a gradient that is zero everywhere." in alone
    assert "'2.bias' of shape (1,) has a gradient that is finite and not zero." in alone


def test_flat_functions() -> None:
    w = variable([1.5, 2.5], "w")
    loss = np.sum(np.floor(w * 2))
    assert "it stops at floor, whose derivative is 0 there" in told(loss)


def test_terms_that_cancel() -> None:
    w = variable([1.5, 2.5], "w")
    loss = np.sum(w * 2 - w - w)
    assert "terms that cancel" in told(loss)


# NaN and Inf


def test_the_first_value_that_is_not_finite() -> None:
    w = variable([1.0, 2.0], "w")
    with mg.scope("inner", lines=True), np.errstate(all="ignore"):
        loss = np.sum(np.log(w - 1) * 2)
    loss.name = "loss"
    sentences = told(loss)
    assert "The first value that isn't finite: log in inner (" in sentences
    assert "test_reasons.py, line" in sentences
    assert "loss = np.sum(np.log(w - 1) * 2)) made 1 Inf of finite arguments." in sentences
    with np.errstate(all="ignore"):
        loss.backward(retain_graph=True)
    assert "'w' has a gradient that isn't all finite (1 Inf of 2)." in told(loss)


def test_the_first_gradient_that_is_not_finite() -> None:
    w = variable([0.0, 2.0], "w")
    loss = np.sum(np.sqrt(w))
    assert "The first gradient that isn't finite: the derivative of sqrt made 1 Inf." in told(loss)


def test_variables_that_are_not_finite_themselves() -> None:
    w = variable([np.nan, 2.0], "w")
    sentences = told((w * 2).sum())
    assert "'w' of shape (2,) isn't finite itself: 1 NaN of 2." in sentences
    assert "multiply got an array that isn't finite, and made 1 NaN." in sentences


# Everything else


def test_many_variables_of_one_kind_are_counted() -> None:
    parts = [variable([1.0], f"w{i}") for i in range(9)]
    assert "'w0', 'w1', 'w2', 'w3', 'w4' and 4 more have no gradient yet" in told(np.concatenate(parts).sum())


def test_a_step_since_the_result_is_reported() -> None:
    w = variable([1.0, 2.0], "w")
    loss = (w * w).sum()
    with mg.no_grad():
        w -= 0.1
    assert "'w' changed after the result was computed" in told(loss)


def test_explaining_changes_nothing() -> None:
    w = variable([1.0, 2.0], "w")
    called = []
    h = w * 2
    h.register_hook(called.append)
    loss = (h**2).sum()
    told(loss)
    assert w.grad is None
    assert called == []
    loss.backward()
    assert w.grad.tolist() == [8.0, 16.0]


def test_explain_refuses_other_arguments() -> None:
    with pytest.raises(TypeError, match=r"explain\(\) takes a Tensor, a Module or a viz\.Monitor, got float"):
        mg.explain(3.0)
    with pytest.raises(TypeError, match="result must be a Tensor, got float"):
        mg.explain(variable(1.0, "w"), 3.0)  # type: ignore[arg-type]


# The table


def test_the_table_of_a_network() -> None:
    model, loss = rectifier([1.0, 2.0])
    before = viz.table(loss).splitlines()
    assert before[0].split() == ["operation", "shape", "memory", "‖grad‖"]
    assert [line.split("  ")[0] or line.split()[0] for line in before[1:]][:2] == ["constant", "Sequential"]
    assert any(line.startswith("  0 · Linear(3, 2)") for line in before)
    loss.backward()
    after = viz.table(loss)
    norm = np.sqrt(sum(np.sum(p.grad**2) for p in model.parameters()))
    total = next(line for line in after.splitlines() if line.startswith("total"))
    assert total.startswith("total: 5 operations, 11 parameters")
    assert total.endswith(f" {norm:.4g}")
    assert total.split()[-3:-1] == ["488", "B"]
    weight = next(line for line in after.splitlines() if line.strip().startswith("weight"))
    assert weight.endswith(f"{np.linalg.norm(model[0].weight.grad):.4g}")
    assert "retain_graph=True" in after
    assert "retain_graph=True" not in viz.table(loss, backward=False)


def test_the_table_marks_what_is_not_finite() -> None:
    w = variable([1.0, 2.0, 3.0, 4.0, 5.0], "w")
    with np.errstate(all="ignore"):
        table = viz.table(np.log(w - 1).sum())
    assert "log  ✗ 1 Inf of 5" in table
    assert "1 Inf of 1" in table


def test_the_table_marks_gradients_that_are_not_finite() -> None:
    w = variable([1.0, 2.0, 3.0, 4.0, 0.0], "w")
    table = viz.table(np.sqrt(w).sum()).splitlines()
    assert next(line for line in table if line.startswith("w")).endswith("1 Inf of 5")
    assert table[-1].endswith("1 Inf of 5")


def test_the_table_of_a_large_graph_is_short() -> None:
    y = variable([1.0, 2.0], "x")
    for _ in range(5000):
        y = y * 0.999
    table = viz.table(y.sum())
    assert "repeated ×5,000" in table
    assert "80 kB" in table
    assert len(table.splitlines()) < 12
    assert repr(table) == str(table)


def test_the_table_folds_and_refuses_as_pictures_do() -> None:
    _, loss = rectifier([1.0, 2.0])
    assert "Sequential 3 operations, 11 parameters" in viz.table(loss, depth=0)
    with pytest.raises(TypeError, match="got a float"):
        viz.table(3.0)  # type: ignore[arg-type]


def test_the_table_of_a_variable() -> None:
    assert viz.table(variable(np.ones(1000), "w")).splitlines()[1].split() == ["w", "(1000,)", "8", "kB"]


@pytest.mark.parametrize(
    "function",
    [
        lambda w: np.sum(np.linalg.svd(w)[1]),
        lambda w: np.sum(np.linalg.qr(w)[0]),
        lambda w: np.sum(np.linalg.eigh(w)[0]),
        lambda w: np.linalg.slogdet(w)[1],
        lambda w: np.sum(np.modf(w)[0]),
        lambda w: np.sum(np.split(w, 2)[0] * 0.0),
    ],
)
def test_functions_with_several_results(function: Any) -> None:
    w = mg.tensor(np.eye(2) + 0.1, requires_grad=True, name="w")
    assert any("'w'" in sentence for sentence in mg.explain(function(w)))


def test_accumulated_gradients_of_other_computations() -> None:
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    np.sum(w**2).backward()
    dead = np.sum(nn.functional.relu(w - 100.0))
    assert any("'w' has a gradient that is zero" in sentence for sentence in mg.explain(dead))


def test_an_operand_with_some_zeros_is_not_0_everywhere() -> None:
    w, mask = variable([1.0, 2.0], "w"), np.array([0.0, 1.0])
    sentence = told(np.sum(w * mask * (1 - mask)))
    assert "'w' has a gradient that is zero everywhere" in sentence
    assert "multiplied by 0 everywhere" not in sentence


def test_a_constant_of_equal_elements_is_nobodys_array() -> None:
    w, v = variable([1.0, 1.0], "w"), variable([2.0, 3.0], "v")
    sentence = told(w, np.sum(v * np.ones(2)))
    assert "'w' has no gradient: the result wasn't computed from it." in sentence
    assert "used its array" not in sentence


def test_a_stop_on_the_way_to_another_variable_is_not_the_reason() -> None:
    w, v = variable([1.0, 2.0], "w"), variable([3.0, 4.0], "v")
    stopped = np.sum(np.maximum(w * 1.0 - 100, 0))
    sentences = mg.explain(stopped + np.sum(v * 2 - v - v))
    of_v = next(sentence for sentence in sentences if "'v'" in sentence)
    assert "vanishes on the way back" in of_v
    assert "it stops at" not in of_v
