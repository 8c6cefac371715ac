"""Modules: registration, paths and names, state, layers, and use in transforms.

Owns: the behaviour of the modules of `microgradnd/nn` and `init.py`, and their error
messages.
Must not own: values and derivatives of the functions they call (`test_functional.py`).
Read next: `test_functional.py`.
"""

import collections
import copy
import dataclasses
import gc
import inspect
import math
import pickle
import re
import types
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def network(rng):
    return nn.Sequential(nn.Linear(3, 4, rng=rng), nn.Tanh(), nn.Linear(4, 1, rng=rng))


class Tied(nn.Module):
    """One weight in two places, and one module in two places."""

    def __init__(self, rng):
        self.encoder = nn.Linear(3, 3, bias=False, rng=rng)
        self.decoder = nn.Linear(3, 3, bias=False, rng=rng)
        self.decoder.weight = self.encoder.weight
        self.again = self.encoder

    def forward(self, x):
        return self.again(self.decoder(np.tanh(self.encoder(x))))


# Registration


def test_what_an_attribute_becomes_depends_on_its_value():
    class Model(nn.Module):
        def __init__(self):
            self.w = nn.Parameter([1.0, 2.0])
            self.constant = mg.tensor([3.0])
            self.computed = self.w * 2
            self.layer = nn.Linear(2, 1)
            self.size = 4

    model = Model()
    assert [path for path, _ in model.named_parameters()] == ["w", "layer.weight", "layer.bias"]
    assert [path for path, _ in model.named_modules()] == ["", "layer"]
    assert list(model.children()) == [model.layer]
    assert dict(model.named_children()) == {"layer": model.layer}


def test_a_module_works_with_and_without_calling_the_base_class():
    class With(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(1.0)

    assert len(list(With().parameters())) == 1


def test_a_parameter_is_named_by_its_path_unless_it_has_a_name(rng):
    model = nn.Module()
    model.body = nn.Sequential(nn.Linear(2, 2, rng=rng), nn.Sequential(nn.Linear(2, 1, rng=rng)))
    model.scale = nn.Parameter(1.0, name="temperature")
    assert [p.name for p in model.parameters()] == [
        "temperature",
        "body.0.weight",
        "body.0.bias",
        "body.1.0.weight",
        "body.1.0.bias",
    ]


def test_a_shared_parameter_is_listed_once_and_keeps_its_first_name(rng):
    model = Tied(rng)
    assert [path for path, _ in model.named_parameters()] == ["encoder.weight"]
    assert model.decoder.weight.name == "encoder.weight"
    assert [path for path, _ in model.named_modules()] == ["", "encoder", "decoder"]


def test_a_module_within_itself_is_visited_once():
    model = nn.Module()
    model.child = nn.Linear(1, 1)
    model.child.parent = model
    assert len(list(model.modules())) == 2
    assert len(list(model.parameters())) == 2
    assert list(model.state_dict()) == ["child.weight", "child.bias"]


def test_a_frozen_parameter_stays_registered(rng):
    model = network(rng)
    model[0].weight.requires_grad = False
    assert len(list(model.parameters())) == 4
    model.register_parameter("offset", mg.tensor([1.0]))
    assert model.offset.name == "offset"
    assert "0.weight" in model.state_dict()


def test_none_and_del_remove_a_parameter_or_module():
    layer = nn.Linear(2, 1)
    layer.bias = None
    assert [path for path, _ in layer.named_parameters()] == ["weight"]
    del layer.weight
    assert not list(layer.parameters())
    layer.register_parameter("bias", None)
    assert layer.bias is None


def test_a_parameter_may_replace_another():
    layer = nn.Linear(2, 1)
    layer.weight = nn.Parameter(np.ones((1, 2)))
    assert layer(np.ones(2)).shape == (1,)
    assert layer.weight.name == "weight"


@pytest.mark.parametrize(
    ("assign", "message"),
    [
        (
            lambda m: setattr(m, "weight", m.weight * 2),
            r"'weight' is a parameter of Linear .* a Tensor that was computed.*\.data =",
        ),
        (
            lambda m: setattr(m, "weight", np.ones((1, 2))),
            r"'weight' is a parameter of Linear .* type ndarray; set its value",
        ),
        (lambda m: setattr(m, "child", 3), r"'child' is a module of Linear .* type int; remove it first, with del"),
        (lambda m: setattr(m, "mean", m.bias * 2), r"'mean' is a buffer of Linear .* assign the array, t\.data"),
        (lambda m: setattr(m, "mean", "none"), r"Linear\.mean got an array .*: text"),
        (lambda m: m.register_buffer("mean", object()), r"Linear\.mean got an array .*: objects"),
    ],
)
def test_a_registered_attribute_is_not_replaced_by_another_type(assign, message):
    layer = nn.Linear(2, 1)
    layer.child = nn.ReLU()
    layer.register_buffer("mean", [0.0])
    with pytest.raises(TypeError, match=message):
        assign(layer)


def test_a_buffer_of_none_is_no_part_of_the_state():
    layer = nn.Linear(2, 1)
    layer.register_buffer("mask", None)
    assert layer.mask is None
    assert list(layer.state_dict()) == ["weight", "bias"]


@dataclasses.dataclass
class Pair:
    """A record that isn't a module."""

    first: object
    second: object = 2.0


CONTAINERS = {
    "list": (lambda item: [1.0, item], "[1]"),
    "tuple": (lambda item: (item,), "[0]"),
    "dict": (lambda item: {"a": item}, "['a']"),
    "set": (lambda item: {item}, "[0]"),
    "deque": (lambda item: collections.deque([item]), "[0]"),
    "ordered": (lambda item: collections.OrderedDict(b=item), "['b']"),
    "mapping": (lambda item: types.MappingProxyType({3: item}), "[3]"),
    "objects": (lambda item: np.frompyfunc(lambda i: item if i else None, 1, 1)(np.arange(2)), ".flat[1]"),
    "namespace": (lambda item: types.SimpleNamespace(w=item), ".w"),
    "record": (lambda item: Pair(item), ".first"),
}


@pytest.mark.parametrize(("outer", "inner"), [(None, n) for n in CONTAINERS] + [("dict", "list"), ("list", "deque")])
@pytest.mark.parametrize("item", [lambda: nn.Linear(1, 1), lambda: nn.Parameter(1.0)], ids=["module", "parameter"])
def test_a_container_of_modules_or_parameters_is_refused(outer, inner, item):
    wrap, path = CONTAINERS[inner]
    kind = "parameter" if isinstance(item(), mg.Tensor) else "module"
    value = wrap(item())
    if outer is not None:
        value, path = CONTAINERS[outer][0](value), CONTAINERS[outer][1] + path
    model = nn.Module()
    model.layers = []
    assert not list(model.parameters())
    model.layers = value
    where = re.escape(f"Module.layers{path} is a {kind} in a container, where it can't be found")
    for walk in (model.parameters, model.named_buffers, model.modules):
        with pytest.raises(TypeError, match=where + r".*nn\.Sequential"):
            list(walk())
    uses = model.state_dict, model.train, model.zero_grad, lambda: nn.Sequential(model), lambda: mg.grad(str)(model)
    for use in uses:
        with pytest.raises(TypeError, match=where):
            use()


def test_a_container_that_holds_itself_or_only_numbers_is_accepted():
    model = nn.Module()
    model.history = [1.0] * 1000
    model.cycle = [2.0]
    model.cycle.append(model.cycle)
    assert not list(model.parameters())


def test_a_tensor_that_requires_a_gradient_later_is_found():
    model = nn.Module()
    model.w = mg.tensor([1.0])
    assert not list(model.parameters())
    model.w.requires_grad = True
    assert [path for path, _ in model.named_parameters()] == ["w"]
    np.testing.assert_array_equal(mg.grad(lambda m: np.sum(m.w * 3.0))(model).w, [3.0])


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (lambda: nn.Parameter(1.0), r"Model\.w is a parameter"),
        (lambda: nn.Linear(1, 1), r"Model\.w is a module with parameters"),
        (lambda: {"a": [nn.Parameter(1.0)]}, r"Model\.w\['a'\]\[0\] is a parameter"),
    ],
)
def test_parameters_in_a_class_are_refused(value, where):
    class Model(nn.Module):
        w = value()
        act = nn.ReLU()  # which has none

    class Derived(Model):
        pass

    for cls in (Model, Derived):
        with pytest.raises(TypeError, match=where + r" in the class.*self\.w = .*in a dataclass with field\("):
            cls()


@pytest.mark.parametrize(
    ("register", "error", "message"),
    [
        (
            lambda m: m.register_parameter("a.b", nn.Parameter(1.0)),
            ValueError,
            "name of a parameter must not .*a dot.*'a.b'",
        ),
        (lambda m: m.register_buffer("", [1.0]), ValueError, "name of a buffer must not be empty"),
        (
            lambda m: setattr(m, "forward", nn.ReLU()),
            ValueError,
            "Module: 'forward' can't be the name of a module, since",
        ),
        (
            lambda m: m.register_parameter("w", nn.Parameter(1.0) * 2),
            TypeError,
            r"a leaf Tensor, got a Tensor that was computed; .*nn\.Parameter",
        ),
        (lambda m: m.register_parameter("w", np.ones(2)), TypeError, r"'w' must be a leaf Tensor, got ndarray"),
        (lambda m: m(1.0), NotImplementedError, r"Module has no forward\(\); define one"),
        (lambda m: nn.Parameter([1, 2]), TypeError, "only floating-point and complex tensors can require a gradient"),
        (lambda m: nn.Sequential(nn.ReLU), TypeError, r"item 0 must be a Module, got ReLU; pass instances"),
        (lambda m: nn.Sequential([nn.ReLU()]), TypeError, r"must be a Module.*unpack a list with \*"),
        (lambda m: nn.Linear(0, 1), ValueError, "Linear: in_features must be a positive integer, got 0"),
        (lambda m: m.train("no"), TypeError, "Module.train: mode must be a switch, either True or False, got 'no'"),
        (lambda m: m.requires_grad_(1), TypeError, "requires_grad must be a switch, either True or False, got 1"),
        (lambda m: nn.Linear(1, 2.0), TypeError, "Linear: out_features must be a positive integer, got 2.0"),
        (
            lambda m: nn.LSTM(1, 2, dtype=int),
            TypeError,
            "LSTM: dtype must be a floating-point dtype .*, got <class 'int'>",
        ),
        (
            lambda m: nn.Linear(1, 1, rng=0),
            TypeError,
            r"rng must be a numpy\.random\.Generator, got int; .*default_rng",
        ),
        (lambda m: nn.MSELoss("avg"), ValueError, "MSELoss: reduction must be 'mean', 'sum' or 'none', got 'avg'"),
    ],
)
def test_bad_input_is_explained(register, error, message):
    with pytest.raises(error, match=message):
        register(nn.Module())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.ReLU(inplace=True, banana=3), "^ReLU takes no arguments, got inplace=True, banana=3; leave it out"),
        (lambda: nn.Sigmoid(1, 2), "^Sigmoid takes no arguments, got 2 positional arguments$"),
        (
            lambda: nn.ReLU(np.ones(3)),
            r"ReLU takes no arguments, .*make the module first, then call it: ReLU\(\.\.\.\)\(x",
        ),
        (lambda: nn.MSELoss(np.ones(3), np.ones(3)), r"MSELoss takes \(reduction='mean'\), got 2 .*then call it"),
        (lambda: nn.MSELoss(np.ones(3)), r"MSELoss: reduction must be .* got ndarray; .*nn\.MSELoss\(\)\("),
        (lambda: nn.Linear(3, 2, banana=1), r"Linear takes \(in_features, out_features, bias=True, .*\), got banana=1"),
        (lambda: nn.Linear(3), r"Linear takes .*, but the call lacks 'out_features'"),
        (lambda: nn.Linear(1, 2, True, float, 0), "Linear takes .* got 5 positional arguments"),
        (lambda: Plain(1, hidden=64), "^Plain takes no arguments, got hidden=64; leave it out$"),
        (lambda: Own(1, 2, hidden=64), r"^Own takes \(size, \*, bias=False\), got hidden=64; leave it out$"),
        (lambda: Passing(3), "^Passing takes no arguments, got 1 positional argument$"),
    ],
)
def test_stray_arguments_are_explained(make, message):
    with pytest.raises(TypeError, match=message):
        make()


class Plain(nn.Module):
    pass


class Own(nn.Module):
    def __init__(self, size, *, bias=False):
        self.size = size


class Passing(nn.Module):
    def __init__(self, size):
        super().__init__(size)


def test_other_base_classes_get_their_arguments():
    class Mixin:
        def __init__(self, size):
            self.size = size

    class Model(nn.Module, Mixin):
        def __init__(self, size):
            super().__init__(size)

    class Bare(nn.Module, Mixin):
        pass

    assert (Model(3).size, Bare(4).size) == (3, 4)


# Dataclasses


@dataclasses.dataclass
class Line(nn.Module):
    size: int
    bias: mg.Tensor | None = None
    slope: mg.Tensor = dataclasses.field(default_factory=lambda: nn.Parameter([2.0, 3.0]))
    layers: nn.Sequential = dataclasses.field(default_factory=lambda: nn.Sequential(nn.Tanh(), nn.Linear(2, 1)))

    def forward(self, x):
        out = self.layers(x * self.slope)
        return out if self.bias is None else out + self.bias


def test_a_dataclass_is_a_module():
    line = Line(2, nn.Parameter([1.0]))
    paths = ["bias", "slope", "layers.1.weight", "layers.1.bias"]
    assert [path for path, _ in line.named_parameters()] == [p.name for p in line.parameters()] == paths
    assert line == line
    assert line != Line(2)
    assert line in {line, Line(2)}
    assert len({line: 1, Line(2): 2}) == 2
    assert [path for path, _ in Line(2).named_parameters()] == paths[1:]
    x = np.ones((3, 2))
    gradient = mg.grad(lambda m: np.sum(m(x)))(line)
    np.sum(line(x)).backward()
    for p, g in zip(line.parameters(), gradient.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, g)
    line.zero_grad()
    assert isinstance(gradient, Line)
    step = mg.compile(lambda m, x: np.sum(m(x)))
    assert step(line, x).item() == line(x).data.sum()
    other = pickle.loads(pickle.dumps(line))
    np.testing.assert_array_equal(other(x).data, line(x).data)
    assert dataclasses.replace(line, bias=None).slope is line.slope
    with pytest.raises(TypeError, match=r"Line takes \(size: .*|Line takes \(size, bias=None, .*\), got banana=1"):
        Line(2, banana=1)


def test_a_frozen_dataclass_registers_too():
    @dataclasses.dataclass(frozen=True)
    class Fixed(nn.Module):
        w: mg.Tensor
        layer: nn.Module

    fixed = Fixed(nn.Parameter([1.0]), nn.Linear(1, 1))
    assert [path for path, _ in fixed.named_parameters()] == ["w", "layer.weight", "layer.bias"]


def test_slots_and_values_compared_by_the_user():
    with pytest.raises(TypeError, match="Slotted must not have __slots__, in which no attribute can be registered"):

        @dataclasses.dataclass(slots=True)
        class Slotted(nn.Module):
            w: int

    class Equal(nn.Module):
        def __eq__(self, other):
            return isinstance(other, Equal)

        def __hash__(self):
            return 1

    assert Equal() == Equal()
    assert [path for path, _ in nn.Sequential(Equal(), Equal(), nn.Linear(1, 1)).named_modules()] == ["", "0", "1", "2"]


# Changes of the whole network


def test_zero_grad_sets_gradients_to_none(rng):
    model = network(rng)
    np.sum(model(np.ones((2, 3)))).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_train_and_eval_reach_every_module(rng):
    model = network(rng)
    assert model.training
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    assert all(m.training for m in model.train().modules())


def test_state_is_copied_out_and_in(rng):
    model, other = network(rng), network(rng)
    model.register_buffer("mean", np.array([1.0]))
    other.register_buffer("mean", np.array([2.0]))
    state = model.state_dict()
    assert sorted(state) == ["0.bias", "0.weight", "2.bias", "2.weight", "mean"]
    identity = other[0].weight
    assert other.load_state_dict(state) == ([], [])
    assert other[0].weight is identity
    for path, array in other.state_dict().items():
        np.testing.assert_array_equal(array, state[path])
    state["0.weight"][:] = 0
    assert model[0].weight.data.all()
    assert other[0].weight.data.all()


def test_loading_keeps_the_dtype_and_takes_tensors_and_lists():
    layer = nn.Linear(2, 1, dtype=np.float32)
    layer.load_state_dict({"weight": mg.tensor([[1.0, 2.0]]), "bias": [3.0]})
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    assert layer(np.array([1, 1], np.float32)).item() == 6.0


def test_loading_takes_parameters_of_another_module(rng):
    one, two = network(rng), network(rng)
    two.load_state_dict(dict(one.named_parameters()))
    np.testing.assert_array_equal(two[0].weight.data, one[0].weight.data)
    assert two[0].weight.data is not one[0].weight.data


def test_loading_does_not_write_to_read_only_arrays():
    layer = nn.Linear(2, 1)
    nn.init.ones_(layer.weight)
    weight, mean = layer.weight.data, np.zeros(2)
    weight.flags.writeable = mean.flags.writeable = False
    layer.register_buffer("mean", mean)
    state = {"weight": [[3.0, 4.0]], "bias": [0.0], "mean": [1.0, 2.0]}
    loss = np.sum(layer.weight**2)
    layer.load_state_dict(state)
    assert {path: array.tolist() for path, array in layer.state_dict().items()} == state
    assert weight.tolist() == [[1.0, 1.0]]
    assert mean.tolist() == [0.0, 0.0]
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, r"Linear\.load_state_dict: state_dict must be a dict from state_dict\(\), got None; read"),
        ("model.npz", r"got 'model\.npz'; read a file first, as with dict\(np\.load"),
        (
            {"weight": [["a", "b"]], "bias": [0.0]},
            "which is unchanged: weight must hold numbers that fit dtype float64, got <U1",
        ),
        ({"weight": [[1j, 0]], "bias": [0.0]}, "weight must hold numbers .* got complex128; convert it with .astype"),
    ],
)
def test_a_value_that_is_no_state_changes_nothing(state, message):
    layer = nn.Linear(2, 1)
    before = layer.state_dict()
    with pytest.raises(TypeError, match=message):
        layer.load_state_dict(state)
    assert repr(layer.state_dict()) == repr(before)


def test_loading_makes_tensors_newer():
    layer = nn.Linear(2, 1)
    loss = np.sum(layer(np.ones((1, 2))) ** 2)
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match=r"'weight' of shape .* was changed"):
        loss.backward()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": np.ones((1, 2))}, "doesn't fit Linear, which is unchanged: missing bias; pass strict=False"),
        ({"weight": np.ones((1, 2)), "bias": [0.0], "b": [0.0]}, "unexpected b; pass strict=False"),
        ({"weight": np.ones((2, 1)), "bias": [0.0]}, r"weight must have shape \(1, 2\), got \(2, 1\)$"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(state, message):
    layer = nn.Linear(2, 1)
    before = layer.state_dict()
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict(state)
    for path, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


def shared_layers(rng):
    layer = nn.BatchNorm1d(2)
    return nn.Sequential(layer, nn.Tanh(), layer)


@pytest.mark.parametrize("make", [lambda rng: Tied(rng), shared_layers], ids=["tied", "layer"])
def test_the_state_has_every_path_of_something_shared_and_one_is_enough(make, rng):
    model = make(rng)
    before = model.state_dict()
    state = {path: array + 1 for path, array in before.items()}
    first = {path: array for path, array in state.items() if path.startswith(("encoder", "0"))}
    assert len(state) >= 2 * len(first)
    for some in (state, first, {path: state[path] for path in state if path not in first}):
        other = make(rng)
        assert other.load_state_dict(some) == ([], [])
        for path, array in other.state_dict().items():
            np.testing.assert_array_equal(array, state[path])
    path = list(state)[-1]
    for strict in (True, False):
        with pytest.raises(ValueError, match=f", {path} are paths of one array, so their values must be equal"):
            model.load_state_dict(state | {path: state[path] + 1}, strict=strict)
    np.testing.assert_array_equal(model.state_dict()[path], before[path])


def test_loading_may_ignore_keys_that_do_not_match():
    layer = nn.Linear(2, 1)
    found = layer.load_state_dict({"weight": np.ones((1, 2)), "extra": 1.0}, strict=False)
    assert found.missing_keys == ["bias"]
    assert found.unexpected_keys == ["extra"]
    np.testing.assert_array_equal(layer.weight.data, np.ones((1, 2)))


def test_a_complex_state_is_not_cut_to_its_real_part():
    with pytest.raises(TypeError, match="complex"):
        nn.Linear(1, 1).load_state_dict({"weight": [[1j]], "bias": [0.0]})


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_copies_are_independent_and_keep_what_is_shared(duplicate, rng):
    model = Tied(rng)
    other = duplicate(model)
    assert other.decoder.weight is other.encoder.weight
    assert other.encoder.weight is not model.encoder.weight
    assert other.encoder.weight.name == "encoder.weight"
    np.testing.assert_array_equal(other(np.ones(3)).data, model(np.ones(3)).data)


@pytest.mark.parametrize("make", [lambda: nn.Linear(2, 1), lambda: network(np.random.default_rng(0)), lambda: Line(2)])
def test_a_shallow_copy_has_registrations_of_its_own(make):
    model = make()
    before, shown = list(model.state_dict()), repr(model)
    other = copy.copy(model)
    assert type(other) is type(model)
    assert all(p is q for p, q in zip(model.parameters(), other.parameters(), strict=True))
    other.extra = nn.Parameter(1.0)
    other.register_buffer("mean", np.zeros(2))
    assert list(other.state_dict()) != before
    for name in [name for name in other._kinds if name != "extra"]:
        delattr(other, name)
    other.training = False
    assert [path for path, _ in other.named_parameters()] == ["extra"]
    assert list(model.state_dict()) == before
    assert model.training
    assert repr(model) == shown
    model.late = nn.Linear(1, 1)
    assert not hasattr(other, "late")


def test_a_module_taken_out_after_compiling_is_out():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    x = np.ones((3, 2))
    given, captured = mg.compile(lambda m, x: m(x)), mg.compile(lambda x: model(x))
    for change in (
        lambda: None,
        lambda: delattr(model, "1"),
        lambda: setattr(model, "1", nn.ReLU()),  # at the end now
        lambda: model.__delitem__(0),
        lambda: model.__setitem__(0, nn.Linear(2, 3)),
    ):
        change()
        for _ in range(2):
            want = model(x).data
            np.testing.assert_allclose(given(model, x).data, want)
            np.testing.assert_allclose(captured(x).data, want)


def test_zero_grad_notices_every_change_of_the_network():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    for change in (
        lambda: None,
        lambda: setattr(model[0], "bias", None),
        lambda: setattr(model[1], "weight", nn.Parameter(np.ones((1, 2)))),
        lambda: setattr(model, "2", nn.Linear(1, 1)),
        lambda: model[0].register_parameter("w", nn.Parameter(1.0)),
        lambda: delattr(model, "0"),
    ):
        model.zero_grad()
        change()
        for p in model.parameters():
            p.grad = np.ones(p.shape)
        model.zero_grad()
        assert all(p.grad is None for p in model.parameters())


def test_repr_has_shapes_dtypes_and_counts(rng):
    model = nn.Sequential(nn.Linear(3, 4, rng=rng), nn.Sequential(nn.Linear(4, 1, bias=False, dtype=np.float32)))
    model[0].bias.requires_grad = False
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Linear(3, 4, weight=(4, 3), bias=(4,))\n"
        "  (1): Sequential(\n"
        "    (0): Linear(4, 1, weight=(1, 4) float32)\n"
        "  )\n"
        ")  # 20 parameters, 4 of them frozen"
    )
    assert repr(nn.CrossEntropyLoss(reduction="sum")) == (
        "CrossEntropyLoss(ignore_index=-100, reduction='sum', label_smoothing=0.0)"
    )
    assert repr(nn.Sequential()) == "Sequential()"


# Layers


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 2**32))
def test_linear_starts_within_its_bound_and_reproducibly(n, m, seed):
    one, two = (nn.Linear(n, m, rng=np.random.default_rng(seed)) for _ in range(2))
    assert one.weight.shape == (m, n)
    assert one.bias.shape == (m,)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert p.dtype == np.float64
        assert np.max(np.abs(p.data)) <= 1 / math.sqrt(n)
        np.testing.assert_array_equal(p.data, q.data)


def test_linear_without_a_generator_differs_each_time():
    assert not np.array_equal(nn.Linear(5, 5).weight.data, nn.Linear(5, 5).weight.data)


def test_single_precision_stays_single(rng):
    model = nn.Sequential(nn.Linear(3, 2, dtype=np.float32, rng=rng), nn.Sigmoid(), nn.ReLU(), nn.Identity(), nn.Tanh())
    out = model(np.ones((4, 3), np.float32))
    assert out.dtype == np.float32
    out.sum().backward()
    assert all(p.grad.dtype == np.float32 for p in model.parameters())


def test_sequential_is_a_sequence(rng):
    model = network(rng)
    assert len(model) == 3
    assert list(model) == [model[0], model[1], model[2]]
    assert model[-1] is model[2]
    tail = model[1:]
    assert isinstance(tail, nn.Sequential)
    assert len(tail) == 2
    assert tail[1].weight.name == "2.weight"
    with pytest.raises(IndexError):
        model[3]
    relu = nn.ReLU()
    assert len(nn.Sequential(relu, relu)) == 2
    assert nn.Sequential()(3.0) == 3.0


def test_a_sequential_of_a_dict_has_names(rng):
    items = collections.OrderedDict(hidden=nn.Linear(2, 3, rng=rng), act=nn.Tanh(), out=nn.Linear(3, 1, rng=rng))
    model = nn.Sequential(items)
    assert list(model) == list(items.values())
    assert list(model.state_dict()) == ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]
    assert model.out is model[-1]
    assert [name for name, _ in model[1:].named_children()] == ["act", "out"]
    assert nn.Sequential({})(3.0) == 3.0
    del model[1]
    assert [name for name, _ in model.named_children()] == ["hidden", "out"]


def test_layers_of_a_sequential_are_replaced_and_deleted(rng):
    model = nn.Sequential(*(nn.Linear(2, 2, rng=rng) for _ in range(5)))
    outer = nn.Sequential(model)
    layers = list(model)
    model[-1] = layers[4] = nn.Linear(2, 2, rng=rng)
    model[np.int64(1)] = layers[1] = nn.ReLU()
    assert list(model) == layers
    tail = model[::2]
    assert list(tail) == layers[::2]
    assert [name for name, _ in tail.named_children()] == ["0", "2", "4"]  # as in PyTorch
    del model[1]
    del model[-2:]
    assert list(model) == [layers[0], layers[2]]
    assert list(tail) == layers[::2]
    assert [path for path, _ in outer.named_parameters()] == ["0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"]
    assert [p.name for p in outer.parameters()] == ["0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"]
    assert len(model) == 2
    np.testing.assert_array_equal(model(np.ones((1, 2))).data, layers[2](layers[0](np.ones((1, 2)))).data)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda m: m[3], IndexError, "index 3 is out of range for 3 modules"),
        (lambda m: m.__delitem__(-4), IndexError, "index -4 is out of range for 3 modules"),
        (lambda m: m.__setitem__(3, nn.ReLU()), IndexError, "index 3 is out of range"),
        (lambda m: m["0"], TypeError, "an index must be an integer or a slice, got '0'"),
        (lambda m: m.__setitem__(0, np.tanh), TypeError, "item 0 must be a Module, got tanh"),
        (lambda m: m.__setitem__(slice(1), m), TypeError, "can't assign to a slice"),
        (lambda m: nn.Sequential({"a": np.tanh}), TypeError, "item a must be a Module, got tanh"),
        (lambda m: nn.Sequential({"forward": nn.ReLU()}), ValueError, "'forward' can't be the name of a module"),
    ],
)
def test_bad_indices_of_a_sequential_are_explained(use, error, message, rng):
    with pytest.raises(error, match=message):
        use(network(rng))


def test_the_loss_modules_call_their_functions(rng):
    y_pred, y, labels = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), np.array([0, 1, 2, 0])
    assert nn.SSELoss()(y_pred, y) == nn.functional.sse_loss(y_pred, y)
    assert nn.MSELoss("sum")(y_pred, y) == nn.functional.mse_loss(y_pred, y, "sum")
    assert nn.CrossEntropyLoss(reduction="sum")(y_pred, labels) == nn.functional.cross_entropy(y_pred, labels, "sum")


# Modules as arguments of the transforms


def loss_of(model, x, y):
    return nn.functional.mse_loss(model(x), y)


@pytest.fixture(params=[network, Tied], ids=["sequential", "tied"])
def problem(request, rng):
    model = request.param(rng)
    x = rng.normal(size=(5, 3))
    return model, x, np.zeros((5, model(x).shape[1]))


def test_the_gradient_with_respect_to_a_module_is_a_module_of_arrays(problem):
    model, x, y = problem
    gradient = mg.grad(loss_of)(model, x, y)
    assert type(gradient) is type(model)
    loss_of(model, x, y).backward()
    for (path, g), (expected_path, p) in zip(gradient.named_parameters(), model.named_parameters(), strict=True):
        assert path == expected_path
        assert type(g) is np.ndarray
        np.testing.assert_allclose(g, p.grad, rtol=1e-14)


def test_a_transform_leaves_the_module_alone(problem):
    model, x, y = problem
    before, tensors = model.state_dict(), list(model.parameters())
    earlier = loss_of(model, x, y)
    seen = []

    def loss(inner, x, y):
        seen.append(inner)
        assert [p.name for p in inner.parameters()] == [p.name for p in tensors]
        assert not any(p is q for p in inner.parameters() for q in tensors)
        with mg.no_grad():
            for p in inner.parameters():
                assert p.is_leaf
        return loss_of(inner, x, y)

    mg.value_and_grad(loss)(model, x, y)
    assert type(seen[0]) is type(model)
    assert all(p is q for p, q in zip(model.parameters(), tensors, strict=True))
    assert all(p.grad is None and p.requires_grad for p in tensors)
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[path])
    earlier.backward()  # nothing was made newer


def test_what_is_shared_stays_shared_inside(rng):
    def loss(model, x):
        assert model.decoder.weight is model.encoder.weight
        assert model.again is model.encoder
        return np.sum(model(x) ** 2)

    gradient = mg.grad(loss)(Tied(rng), np.ones((2, 3)))
    assert gradient.decoder.weight is gradient.encoder.weight


def test_a_frozen_parameter_has_no_gradient(rng):
    model = network(rng)
    model[0].weight.requires_grad = False
    model[0].register_parameter("same", model[0].weight)
    x, y = np.ones((2, 3)), np.zeros((2, 1))

    def loss(inner, x, y):
        assert inner[0].weight is model[0].weight
        return loss_of(inner, x, y)

    gradient = mg.grad(loss)(model, x, y)
    loss_of(model, x, y).backward()
    assert [path for path, _ in gradient.named_parameters()] == [path for path, _ in model.named_parameters()]
    for (path, g), p in zip(gradient.named_parameters(), model.parameters(), strict=True):
        assert (g is None) == (p.grad is None) == (path == "0.weight")
        if g is not None:
            np.testing.assert_allclose(g, p.grad, rtol=1e-14)
    product = mg.hvp(lambda m: loss(m, x, y))(model, gradient)
    assert product[0].weight is None
    assert product[0].bias.shape == (4,)
    assert "weight=None" in repr(gradient)


def test_jvp_and_vjp_of_a_module(problem):
    model, x, _ = problem
    value, pullback = mg.vjp(lambda m: m(x), model)
    (gradient,) = pullback(np.ones(value.shape))
    _, tangent = mg.jvp(lambda m: m(x), (model,), (gradient,))
    squares = sum(np.sum(g**2) for g in gradient.parameters())
    np.testing.assert_allclose(np.sum(tangent), squares, rtol=1e-12)


def test_derivatives_of_derivatives_of_a_module(problem):
    """Hessian times gradient: by nested transforms, jvp over grad, and differences."""
    model, x, y = problem
    gradient = mg.grad(loss_of)(model, x, y)

    def half_square(m):
        return 0.5 * sum(np.sum(g**2) for g in mg.grad(loss_of)(m, x, y).parameters())

    nested = mg.grad(half_square)(model)
    product = mg.hvp(lambda m: loss_of(m, x, y))(model, gradient)
    leaves, rebuild = model.__flatten__()
    step = 1e-6
    ahead, behind = (
        mg.grad(loss_of)(rebuild([p.data + s * g for p, g in zip(leaves, gradient.parameters(), strict=True)]), x, y)
        for s in (step, -step)
    )
    for n, p, a, b in zip(*(m.parameters() for m in (nested, product, ahead, behind)), strict=True):
        np.testing.assert_allclose(n, p, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(n, (a - b) / (2 * step), rtol=1e-6, atol=1e-8)


def test_nothing_survives_a_transform(rng):
    """No reference cycle keeps the module that the function got."""
    seen = []

    def loss(inner, x, y):
        seen.append(weakref.ref(inner))
        return loss_of(inner, x, y)

    gc.disable()
    try:
        mg.grad(loss)(network(rng), np.ones((2, 3)), np.zeros((2, 1)))
        assert seen[0]() is None
    finally:
        gc.enable()


def test_a_module_next_to_other_arguments_and_in_trees(rng):
    model, x = network(rng), np.ones((2, 3))
    gradient, gx = mg.grad(lambda tree, x: np.sum(tree["model"](x) * tree["scale"]), argnums=(0, 1))(
        {"model": model, "scale": 2.0}, x
    )
    assert set(gradient) == {"model", "scale"}
    assert gradient["model"][0].weight.shape == (4, 3)
    assert gx.shape == x.shape


def test_gradients_of_a_module_train_it(rng):
    """value_and_grad and an optimizer: the same steps as backward()."""
    x, y = rng.normal(size=(10, 3)), rng.normal(size=(10, 1))
    one, two = network(rng), network(rng)
    two.load_state_dict(one.state_dict())
    sgd_one, sgd_two = (optim.SGD(m.parameters(), 0.1, momentum=0.9) for m in (one, two))
    for _ in range(5):
        sgd_one.zero_grad()
        loss_of(one, x, y).backward()
        sgd_one.step()
        _, gradient = mg.value_and_grad(loss_of)(two, x, y)
        for p, g in zip(two.parameters(), gradient.parameters(), strict=True):
            p.grad = g
        sgd_two.step()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-13)


# Initial values

FANS = {(4, 6): (6, 4), (4, 6, 3, 2): (36, 24)}  # shape: (fan_in, fan_out)


@pytest.mark.parametrize(
    ("fill", "std"),
    [
        (lambda t, rng: nn.init.uniform_(t, -1, 3, rng=rng), 4 / math.sqrt(12)),
        (lambda t, rng: nn.init.normal_(t, 1.0, 0.5, rng=rng), 0.5),
        (lambda t, rng: nn.init.xavier_uniform_(t, rng=rng), math.sqrt(2 / 500)),
        (lambda t, rng: nn.init.xavier_normal_(t, gain=2.0, rng=rng), 2 * math.sqrt(2 / 500)),
        (lambda t, rng: nn.init.kaiming_uniform_(t, rng=rng), math.sqrt(2 / 200)),
        (lambda t, rng: nn.init.kaiming_uniform_(t, a=math.sqrt(5), rng=rng), math.sqrt(1 / 3 / 200)),
        (lambda t, rng: nn.init.kaiming_normal_(t, nonlinearity="relu", rng=rng), math.sqrt(2 / 200)),
        (lambda t, rng: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="tanh", rng=rng), 5 / math.sqrt(2700)),
    ],
)
def test_random_initial_values_have_the_documented_spread(fill, std, rng):
    tensor = nn.Parameter(np.zeros((300, 200), np.float32))
    assert fill(tensor, rng) is tensor
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor.data.std(), std, rtol=0.02)
    again = fill(nn.Parameter(np.zeros((300, 200), np.float32)), np.random.default_rng(7))
    np.testing.assert_array_equal(tensor.data, again.data)


@pytest.mark.parametrize("shape", FANS)
def test_uniform_bounds_come_from_the_fans(shape, rng):
    fan_in, fan_out = FANS[shape]
    tensor = nn.Parameter(np.zeros(shape))
    for fill, bound in (
        (nn.init.xavier_uniform_, math.sqrt(6 / (fan_in + fan_out))),
        (nn.init.kaiming_uniform_, math.sqrt(6 / fan_in)),
    ):
        largest = np.max(np.abs(fill(tensor, rng=rng).data))
        assert 0.7 * bound < largest <= bound


def test_truncated_orthogonal_and_sparse_initial_values(rng):
    values = nn.init.trunc_normal_(nn.Parameter(np.empty(4000)), 1.0, 2.0, a=0.0, b=2.0, rng=rng).data
    assert 0 <= values.min() < 0.01
    assert 1.99 < values.max() <= 2
    assert abs(values.mean() - 1) < 0.03
    for shape in ((3, 5), (5, 3), (4, 2, 2), (6, 1)):
        w = nn.init.orthogonal_(nn.Parameter(np.empty(shape)), gain=2.0, rng=rng).data.reshape(shape[0], -1)
        product = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
        np.testing.assert_allclose(product, 4 * np.eye(min(w.shape)), atol=1e-14)
    assert {np.sign(nn.init.orthogonal_(nn.Parameter(np.empty((1, 1))), rng=rng).item()) for _ in range(20)} == {-1, 1}
    w = nn.init.sparse_(nn.Parameter(np.empty((10, 3))), 0.25, std=2.0, rng=rng).data
    assert (np.sum(w == 0, axis=0) == 3).all()
    assert 0.5 < np.std(w[w != 0]) < 4
    again = [nn.init.orthogonal_(nn.Parameter(np.empty((2, 2))), rng=np.random.default_rng(0)).data for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_constant_initial_values():
    tensor = nn.Parameter(np.empty((2, 2)))
    assert (nn.init.zeros_(tensor).data == 0).all()
    assert (nn.init.ones_(tensor).data == 1).all()
    assert (nn.init.constant_(tensor, 0.5).data == 0.5).all()


def test_filling_makes_a_tensor_newer():
    w = nn.Parameter([1.0, 2.0])
    loss = np.sum(w * w)
    nn.init.zeros_(w)
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


@pytest.mark.parametrize(
    ("fill", "error", "message"),
    [
        (lambda: nn.init.zeros_(np.ones(2)), TypeError, r"tensor must be a Tensor, .*nn\.Parameter.* got ndarray"),
        (lambda: nn.init.zeros_(nn.Parameter([1.0]) * 2), RuntimeError, "only a leaf can be updated in place"),
        (
            lambda: nn.init.xavier_normal_(nn.Parameter([1.0])),
            ValueError,
            r"for a fan-in and a fan-out, got shape \(1,\)",
        ),
        (
            lambda: nn.init.kaiming_normal_(nn.Parameter([[1.0]]), mode="in"),
            ValueError,
            "mode must be 'fan_in' or 'fan_out'",
        ),
        (lambda: nn.init.calculate_gain("gelu"), ValueError, "nonlinearity must be 'linear', .* got 'gelu'"),
        (
            lambda: nn.init.normal_(nn.Parameter([1.0]), rng=3),
            TypeError,
            r"rng must be a numpy\.random\.Generator, got int",
        ),
    ],
)
def test_bad_initial_values_are_explained(fill, error, message):
    with pytest.raises(error, match=message):
        fill()


NEEDED = {
    "Linear": (3, 2),
    "Bilinear": (2, 2, 2),
    "Embedding": (3, 2),
    "Conv1d": (2, 2, 3),
    "Conv2d": (2, 2, 3),
    "ConvTranspose2d": (2, 2, 3),
    "BatchNorm1d": (3,),
    "BatchNorm2d": (3,),
    "LayerNorm": (3,),
    "RMSNorm": (3,),
    "GroupNorm": (1, 3),
    "Dropout": (),
    "RNN": (2, 2),
    "GRU": (2, 2),
    "LSTM": (2, 2),
    "MultiheadAttention": (4, 2),
    "TransformerEncoderLayer": (4, 2, 8),
    "PReLU": (),
}
PARAMETER = nn.Parameter(np.ones((2, 3)))
INITIALISERS = {
    "uniform_": (PARAMETER,),
    "normal_": (PARAMETER,),
    "constant_": (PARAMETER, 1.0),
    "xavier_uniform_": (PARAMETER,),
    "xavier_normal_": (PARAMETER,),
    "kaiming_uniform_": (PARAMETER,),
    "kaiming_normal_": (PARAMETER,),
    "trunc_normal_": (PARAMETER,),
    "orthogonal_": (PARAMETER,),
    "sparse_": (PARAMETER, 0.5),
    "calculate_gain": ("relu",),
}


@pytest.mark.parametrize(("name", "given"), [*NEEDED.items(), *INITIALISERS.items()], ids=str)
def test_each_setting_is_checked_and_named(name, given):
    make = getattr(nn, name, None) or getattr(nn.init, name)
    parameters = list(inspect.signature(make).parameters.values())
    for i, parameter in enumerate(parameters):
        if parameter.name == "tensor":
            continue
        for wrong in ("odd", [1.5], object(), np.ones(2)):
            if parameter.name == "padding" and isinstance(wrong, np.ndarray):
                continue
            arguments = [*given[:i], wrong, *given[i + 1 :]] if i < len(given) else given
            keywords = {} if i < len(given) else {parameter.name: wrong}
            with pytest.raises((TypeError, ValueError), match=rf"{parameter.name}\W.*must be"):
                make(*arguments, **keywords)


def test_settings_may_be_given_as_their_defaults():
    assert nn.RMSNorm(3, eps=None, elementwise_affine=np.True_, dtype=None).weight.dtype == float
    assert nn.MultiheadAttention(4, 2, kdim=None, vdim=None).in_proj_weight.shape == (12, 4)
    assert type("Own", (nn.RMSNorm,), {})(3, eps=None).eps is None


@pytest.mark.parametrize(
    ("nonlinearity", "param", "gain"),
    [("linear", None, 1.0), ("relu", None, math.sqrt(2)), ("tanh", None, 5 / 3), ("leaky_relu", 1.0, 1.0)],
)
def test_gains(nonlinearity, param, gain):
    assert nn.init.calculate_gain(nonlinearity, param) == pytest.approx(gain, rel=1e-15)
