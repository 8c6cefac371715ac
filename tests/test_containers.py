"""Containers of modules and parameters, and changes of a whole network.

Owns: renumbering in `Sequential`, `ModuleList`, `ModuleDict`, `ParameterList`;
`apply`, `requires_grad_`, `to`, forward hooks, the path of a layer in a message, and
`summary`.
Must not own: registration itself (`test_nn.py`), or a message's wording
(`test_messages.py`).
Read next: `test_nn.py`.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 2))


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        self.factor = nn.Parameter(factor)

    def forward(self, x):
        return x * self.factor


def scales(count: int) -> list[nn.Module]:
    return [Scale(float(i)) for i in range(count)]


@given(st.data())
def test_a_container_is_a_list_of_its_items(data):
    kind = data.draw(st.sampled_from([nn.Sequential, nn.ModuleList, nn.ParameterList]))
    made = nn.ParameterList([float(i) for i in range(3)]) if kind is nn.ParameterList else None
    container = made or (nn.Sequential(*scales(3)) if kind is nn.Sequential else nn.ModuleList(scales(3)))
    expected = list(container)

    def fresh():
        return nn.Parameter(9.0) if kind is nn.ParameterList else Scale(9.0)

    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(-len(expected) - 1, len(expected)))
        action = data.draw(st.sampled_from(["append", "insert", "set", "delete", "delete a slice"]))
        if action == "append":
            expected.append(fresh())
            assert container.append(expected[-1]) is container
        elif action == "insert":
            new = fresh()
            expected.insert(place, new)
            container.insert(place, new)
        elif action == "delete a slice":
            del expected[place:]
            del container[place:]
        elif -len(expected) <= place < len(expected):
            if action == "set":
                expected[place] = container[place] = fresh()
            else:
                del expected[place], container[place]
        assert len(container) == len(expected)
        assert all(one is other for one, other in zip(container, expected, strict=True))
        names = [name for name, _ in container.named_parameters()]
        ends = "" if kind is nn.ParameterList else ".factor"
        assert names == [f"{i}{ends}" for i in range(len(expected))]
        assert [p.name for p in container.parameters()] == names
        assert all(item in container for item in expected)
        assert fresh() not in container
        assert all(one is other for one, other in zip(container[1:], expected[1:], strict=True))


def test_a_container_of_names_takes_more_at_its_end_only():
    model = nn.Sequential({"first": Scale(2.0), "second": Scale(3.0)})
    model.append(Scale(4.0))
    assert [name for name, _ in model.named_children()] == ["first", "second", "2"]
    assert model(1.0).item() == 24.0


def test_a_dict_of_modules():
    heads = nn.ModuleDict([("mean", Scale(2.0))])
    heads["spread"] = Scale(3.0)
    heads.update({"mean": Scale(5.0)})
    assert list(heads) == list(heads.keys()) == ["mean", "spread"]
    assert [name for name, _ in heads.items()] == ["mean", "spread"]
    assert [module.factor.item() for module in heads.values()] == [5.0, 3.0]
    assert "mean" in heads
    assert "other" not in heads
    assert len(heads) == 2
    taken = heads.pop("mean")
    assert taken.factor.item() == 5.0
    assert list(heads.state_dict()) == ["spread.factor"]
    del heads["spread"]
    assert not list(heads.parameters())


def test_containers_are_differentiated_and_compiled():
    class Net(nn.Module):
        def __init__(self):
            self.blocks = nn.ModuleList(scales(3))
            self.heads = nn.ModuleDict({"a": Scale(2.0), "b": Scale(7.0)})
            self.shifts = nn.ParameterList([1.0, 2.0])

        def forward(self, x):
            for block in self.blocks[1:]:
                x = block(x)
            return self.heads["a"](x) + self.heads["b"](x) + sum(self.shifts)

    net = Net()
    f = mg.value_and_grad(lambda net, x: np.sum(net(x)))
    for function in (f, mg.compile(f)):
        value, gradient = function(net, X)
        np.testing.assert_allclose(value, np.sum(X) * 2 * 9 + 10 * 3)
        np.testing.assert_allclose(gradient.blocks[2].factor, np.sum(X) * 9)
        np.testing.assert_allclose(gradient.shifts[0], 10.0)
    assert list(net.state_dict())[:4] == ["blocks.0.factor", "blocks.1.factor", "blocks.2.factor", "heads.a.factor"]


def test_apply_calls_the_innermost_first():
    model = nn.Sequential(nn.Sequential(Scale(1.0)), Scale(2.0))
    seen: list[nn.Module] = []
    assert model.apply(seen.append) is model
    assert seen == [model[0][0], model[0], model[1], model]


def test_freezing_a_whole_network():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    assert model[0].requires_grad_(False) is model[0]
    np.sum(model(X)).backward()
    assert [p.grad is None for p in model.parameters()] == [True, True, False, False]
    model.requires_grad_()
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, "f4"])
def test_to_converts_parameters_gradients_and_buffers(dtype):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model.register_buffer("mean", np.ones(3))
    model.register_buffer("count", np.zeros((), int))
    y = np.sum(model(X))
    y.backward(retain_graph=True)
    before = {name: p.data for name, p in model.named_parameters()}
    model[1].requires_grad_(False)
    assert model.to(dtype) is model
    for name, p in model.named_parameters():
        assert p.dtype == p.grad.dtype == dtype
        np.testing.assert_array_equal(p.data, before[name].astype(dtype))
    assert model.mean.dtype == dtype
    assert model.count.dtype == int
    assert model(X.astype(dtype)).dtype == dtype
    model.requires_grad_()
    with pytest.raises(RuntimeError, match="changed"):
        y.backward()
    model.zero_grad()
    step = optim.Adam(model.parameters())
    np.sum(model(X.astype(dtype))).backward()
    step.step()
    assert {p.dtype for p in model.parameters()} == {np.dtype(dtype)}


def test_complex_parameters_keep_their_imaginary_parts():
    model = Scale(1.0)
    model.phase = nn.Parameter(1j)
    model.to(np.float32)
    assert (model.factor.dtype, model.phase.dtype) == (np.float32, np.complex128)


def test_hooks_see_and_replace():
    model = nn.Sequential(Scale(2.0), Scale(3.0))
    seen = []
    handles = [
        model[0].register_forward_pre_hook(lambda module, args: seen.append((module, args))),
        model[1].register_forward_pre_hook(lambda module, args: args[0] + 1),
        model[1].register_forward_hook(lambda module, args, output: seen.append((args, output))),
        model.register_forward_hook(lambda module, args, output: output * 10),
    ]
    assert model(1.0).item() == 90.0
    assert seen[0] == (model[0], (1.0,))
    assert seen[1][0][0].item() == 3.0
    assert seen[1][1].item() == 9.0
    for handle in handles:
        handle.remove()
        handle.remove()
    assert model(1.0).item() == 6.0
    assert len(seen) == 2


def test_hooks_are_seen_by_transforms_and_compiled_functions():
    model = nn.Sequential(Scale(2.0), Scale(3.0))
    f = mg.grad(lambda x: model(x))
    compiled = mg.compile(f)
    assert compiled(1.0) == 6.0
    handle = model[0].register_forward_hook(lambda module, args, output: output**2)
    assert f(1.0) == compiled(1.0) == 24.0
    assert mg.grad(lambda model, x: model(x))(model, 1.0)[1].factor == 4.0
    assert copy.deepcopy(model)(1.0).item() == 12.0
    handle.remove()
    assert f(1.0) == compiled(1.0) == 6.0
    assert pickle.loads(pickle.dumps(model))(1.0).item() == 6.0


class Broken(nn.Module):
    def forward(self, x):
        raise ValueError("a user's own")


@pytest.mark.parametrize("run", [lambda f: f, lambda f: mg.compile(f), lambda f: mg.grad(lambda x: np.sum(f(x)))])
def test_a_message_of_ours_names_the_layer(run):
    inner = nn.ModuleDict({"conv": nn.Linear(3, 3)})
    inner.forward = lambda x: inner["conv"](x)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), inner, nn.Linear(4, 1))
    with pytest.raises(ValueError, match=r"^3: linear: x must have shape .* got \(5, 3\)"):
        run(model)(X)
    inner["conv"] = nn.Linear(7, 3)
    with pytest.raises(ValueError, match=r"^2\.conv: linear"):
        run(model)(X)
    with pytest.raises(ValueError, match=r"^linear: x must have shape"):
        run(model[0])(np.ones((5, 3)))


def test_the_message_of_a_users_error_does_not_change():
    with pytest.raises(ValueError, match=r"^a user's own$"):
        nn.Sequential(nn.Sequential(Broken()))(X)


def test_a_summary_names_each_call_and_does_not_change_the_network():
    class Twice(nn.Module):
        def __init__(self):
            self.shared = nn.Linear(2, 2, dtype=np.float32)
            self.register_buffer("calls", np.zeros((), int))

        def forward(self, x, *, times):
            self.calls = self.calls + 1
            assert not self.training
            for _ in range(times):
                x = self.shared(x)
            return {"out": x, "times": times}

    model = Twice()
    model.shared.eval()
    found = nn.summary(model, X.astype(np.float32), times=2)
    assert found.error is None
    assert [(row.path, row.kind, row.inputs, row.outputs, row.parameters) for row in found.rows] == [
        ("", "Twice", [(5, 2)], [(5, 2)], 0),
        ("shared", "Linear", [(5, 2)], [(5, 2)], 6),
        ("shared", "Linear", [(5, 2)], [(5, 2)], 0),
    ]
    assert [row.memory for row in found.rows] == [0, 6 * 4 + 40, 40]
    assert model.calls == 0
    assert model.training
    assert not model.shared.training
    assert not model.forward_hooks
    assert not model.shared.forward_hooks


def test_a_summary_between_a_loss_and_its_backward_pass_does_not_outdate_the_loss():
    model = nn.Sequential(nn.Linear(2, 2, rng=RNG), nn.BatchNorm1d(2))
    loss = np.sum(model(X) ** 2)
    nn.summary(model, X)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_summary_ends_with_the_layer_that_failed():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Tanh(), nn.Linear(4, 1)), nn.Tanh())
    text = repr(nn.summary(model, X)).splitlines()
    assert [line.split("  ")[0].strip() or line.split()[0] for line in text[2:7]] == [
        "Sequential",
        "0:",
        "1:",
        "0:",
        "1:",
    ]
    assert [("failed" in line) for line in text[2:7]] == [True, False, True, False, True]
    assert text[-1].startswith("ValueError: 1.1: linear: x must have shape (..., in_features)")
    assert model.training


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (5 * 10**9, "5.0 GB")]
)
def test_sizes_have_units(count, text):
    from microgradnd.nn.summaries import size

    assert size(count) == text
