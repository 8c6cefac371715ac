"""Nested arguments: taken apart and put together, told apart by their forms, and
differentiated in any container.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import OrderedDict, defaultdict, namedtuple
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn
from microgradnd.trees import Form, flatten, is_module, paths

T = TypeVar("T")
Pair = namedtuple("Pair", "first second")


class Line(NamedTuple):
    slope: Any
    offset: Any


class Checked(Pair):
    """A namedtuple whose constructor takes something else."""

    def __new__(cls):
        raise AssertionError("a constructor was called")


class Stack(list):
    """A list with a state, whose constructor takes something else."""

    def __init__(self, label, *parts):
        super().__init__(parts)
        self.label = label


class Settings(dict):
    def __init__(self, label, **parts):
        super().__init__(parts)
        self.label = label

    def __setitem__(self, key, value):
        raise AssertionError("can't be changed")


@dataclasses.dataclass
class Point:
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: Any
    y: Any


@dataclasses.dataclass(kw_only=True)
class Derived(Point):
    """A dataclass that checks what it is made of, and has more attributes than
    fields.
    """

    z: Any
    scale: Any = dataclasses.field(init=False, default=2.0)
    unit: str = dataclasses.field(default="m", metadata={"static": True})

    def __post_init__(self):
        if not isinstance(self.z, np.ndarray | float):
            raise TypeError("only arrays")
        self.note = "not a field"

    @functools.cached_property
    def double(self):
        return self.z * 2


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class Circle:
    """A class that is registered."""

    def __init__(self, radius, center, label):
        assert isinstance(label, str)
        self.radius, self.center, self.label = radius, center, label


mg.register_tree(
    Circle,
    lambda circle: ([circle.radius, circle.center], circle.label),
    lambda label, parts: Circle(*parts, label),
)

# What makes a container of two parts, and what takes them out of it again
TWO = {
    "tuple": (lambda a, b: (a, b), lambda t: t),
    "list": (lambda a, b: [a, b], lambda t: t),
    "dict": (lambda a, b: {"x": a, "y": b}, lambda t: t.values()),
    "ordered": (lambda a, b: OrderedDict(x=a, y=b), lambda t: t.values()),
    "default": (lambda a, b: defaultdict(list, x=a, y=b), lambda t: t.values()),
    "namedtuple": (Pair, lambda t: t),
    "NamedTuple": (Line, lambda t: t),
    "checked": (lambda a, b: tuple.__new__(Checked, (a, b)), lambda t: t),
    "stack": (lambda a, b: Stack("some", a, b), lambda t: t),
    "settings": (lambda a, b: Settings("some", x=a, y=b), lambda t: t.values()),
    "dataclass": (Point, lambda t: (t.x, t.y)),
    "frozen": (Frozen, lambda t: (t.x, t.y)),
    "slotted": (Slotted, lambda t: (t.x, t.y)),
    "namespace": (lambda a, b: SimpleNamespace(x=a, y=b), lambda t: (t.x, t.y)),
    "registered": (lambda a, b: Circle(a, b, "round"), lambda t: (t.radius, t.center)),
}
ATOMS = st.floats(-2, 2, width=32)
EACH_KIND = [(kind, 0.5, (kind, -1.0, 1.5)) for kind in sorted(TWO)]


def shapes(atoms):
    """Return a strategy for trees, described by nested ("kind", one, other) and
    atoms.
    """
    return st.recursive(atoms, lambda part: st.tuples(st.sampled_from(sorted(TWO)), part, part), max_leaves=12)


def each_kind(test):
    """Have a property tried on each kind of container, whatever else Hypothesis
    tries.
    """
    for shape in EACH_KIND:
        test = example(shape)(test)
    return test


def made(shape, kinds=None):
    """Return the tree that a description describes, or one of the same structure in
    another kind of container.
    """
    if not isinstance(shape, tuple):
        return shape
    kind, one, other = shape
    return TWO[kinds or kind][0](made(one, kinds), made(other, kinds))


def atoms_of(shape):
    return [*atoms_of(shape[1]), *atoms_of(shape[2])] if isinstance(shape, tuple) else [shape]


def described(tree, shape):
    """Return the description of a tree that should be of the same structure as
    another.
    """
    if not isinstance(shape, tuple):
        return tree
    kind, one, other = shape
    assert type(tree) is type(made(shape))
    a, b = TWO[kind][1](tree)
    return kind, described(a, one), described(b, other)


@each_kind
@given(shapes(ATOMS))
def test_round_trip(shape):
    leaves, form = flatten(made(shape))
    assert leaves == atoms_of(shape)
    numbers = list(range(len(leaves)))
    assert atoms_of(described(form.rebuild(numbers), shape)) == numbers
    assert described(form.rebuild(leaves), shape) == shape
    assert flatten(form.rebuild(numbers)) == (numbers, form)


@given(shapes(st.just(0.0)), shapes(st.just(0.0)))
def test_forms_are_equal_where_trees_have_the_same_structure(one, other):
    a, b = flatten(made(one))[1], flatten(made(other))[1]
    assert (a == b) == (one == other)
    assert hash(a) == hash(flatten(made(one))[1])
    assert a == flatten(made(one))[1]
    assert len({a, b}) == 2 - (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 0.0, "b": 0.0}, {"b": 0.0, "a": 0.0}),
        ({1: 0.0}, {1.0: 0.0}),
        ({1: 0.0}, {True: 0.0}),
        ({(1, 2): 0.0}, {(1, 2.0): 0.0}),
        ({0.0: 0.0}, {-0.0: 0.0}),
        ({np.float32(1): 0.0}, {np.float64(1): 0.0}),
        ({"a": 0.0}, OrderedDict(a=0.0)),
        (defaultdict(list, a=0.0), defaultdict(int, a=0.0)),
        ([0.0, [0.0]], [[0.0], 0.0]),
        ([0.0, 0.0], [0.0]),
        ([[], 0.0], [0.0, []]),
        ([[[]], []], [[], [[]]]),
        (Circle(0.0, 0.0, "a"), Circle(0.0, 0.0, "b")),
        (SimpleNamespace(a=0.0), SimpleNamespace(b=0.0)),
        (Stack("a", 0.0), Stack("b", 0.0)),
        (Derived(0.0, 0.0, z=0.0), Derived(0.0, 0.0, z=0.0, unit="km")),
        (Box(0.0), Box[float](0.0)),
        (nn.Linear(2, 1), nn.Linear(2, 1, bias=False)),
    ],
)
def test_forms_that_differ(one, other):
    assert flatten(one)[1] != flatten(other)[1]
    assert flatten(one)[1] == flatten(one)[1]


def test_a_nan_is_a_key_like_any_other():
    assert flatten({float("nan"): 0.0})[1] == flatten({float("nan"): 0.0})[1]


def test_none_and_everything_else_are_leaves():
    things = [None, "text", 3, np.ones(2), {1, 2}, object(), Point, os.stat("."), range(3)]
    leaves, form = flatten(things)
    assert all(a is b for a, b in zip(leaves, things, strict=True))
    assert form == flatten([0.0] * len(things))[1]


def test_what_is_beside_the_leaves_is_kept():
    tree = Derived(1.0, 2.0, z=3.0)
    assert tree.double == 6.0
    leaves, form = flatten(tree)
    assert leaves == [1.0, 2.0, 3.0, 2.0]
    new = form.rebuild([None, None, 5.0, None])
    assert (new.note, new.unit, new.x, new.scale) == ("not a field", "m", None, None)
    assert new.double == 10.0  # computed anew
    stack = flatten(Stack("label", 1.0))[1].rebuild([2.0])
    assert (list(stack), stack.label) == ([2.0], "label")
    default = flatten(defaultdict(list, a=1.0))[1].rebuild([2.0])
    assert default["b"] == []
    ordered = flatten(OrderedDict(b=1.0, a=2.0))[1].rebuild([3.0, 4.0])
    ordered.move_to_end("b")
    assert list(ordered.items()) == [("a", 4.0), ("b", 3.0)]


def test_a_field_that_was_never_set_stays_so():
    tree = Point.__new__(Point)
    tree.x = 1.0
    leaves, form = flatten(tree)
    assert leaves == [1.0]
    assert not hasattr(form.rebuild([2.0]), "y")
    assert form != flatten(Point(1.0, 2.0))[1]


def test_where_to_stop():
    model = nn.Linear(2, 1)
    leaves, form = flatten({"model": model, "rest": [1.0]}, is_module)
    assert leaves[0] is model
    assert form.rebuild([3.0, 4.0]) == {"model": 3.0, "rest": [4.0]}
    assert paths({"model": model, "rest": [1.0]}, "x", is_module) == ["model", "rest_0"]
    assert flatten((1.0, 2.0), lambda tree: isinstance(tree, tuple))[0] == [(1.0, 2.0)]


def test_wide_and_deep_trees():
    wide = [float(i) for i in range(10_000)]
    leaves, form = flatten(wide)
    assert form.rebuild(leaves) == leaves == wide
    tree: Any = 1.0
    for i in range(500):
        tree = [tree] if i % 2 else Point(tree, 0.0)
    leaves, form = flatten(tree)
    assert len(leaves) == 251
    assert form == flatten(form.rebuild(leaves))[1]
    assert hash(form) == hash(flatten(tree)[1])
    assert len(paths(tree, "x")) == 251


def test_a_tree_that_holds_itself():
    tree: list[Any] = [1.0]
    tree.append(tree)
    with pytest.raises(RecursionError, match="a container of arrays contains itself"):
        flatten(tree)


def test_errors_of_forms():
    form = flatten(Circle(0.0, 0.0, "a"))[1]
    with pytest.raises(ValueError, match="must be given the 2 leaves of a tree, got 3"):
        form.rebuild([1.0, 2.0, 3.0])
    stack = flatten({"a": Stack(["not hashable"], 0.0)})[1]
    assert stack.rebuild([1.0])["a"].label == ["not hashable"]  # which needs no comparison
    for use in (hash, lambda form: form == flatten(0.0)[1]):
        with pytest.raises(TypeError, match=r"the form of a Stack can't be compared.*not hashable"):
            use(stack)
    assert repr(form) == "<Form of 2 leaves in Circle>"
    assert form != "another thing"
    assert isinstance(form, Form)


def test_names_of_leaves():
    tree = {
        "weights": [1.0, np.ones(2)],
        "point": Point(1.0, Pair(2.0, 3.0)),
        "space": SimpleNamespace(a=1.0, b=(2.0,)),
        3: Circle(1.0, 2.0, "c"),
        "named": mg.tensor(1.0, name="own"),
        "model": nn.Linear(2, 1),
    }
    assert paths(tree, "arg") == [
        *("weights_0", "weights_1", "x", "first", "second", "a", "b_0", "3_0", "3_1"),
        *("own", "weight", "bias"),
    ]
    assert paths(1.0, "arg") == ["arg"]
    assert len(paths(tree, "arg")) == len(flatten(tree)[0])


def test_registration_errors():
    class Other:
        pass

    def one(tree):
        return (), None

    with pytest.raises(TypeError, match="cls must be a class, got 3 of type int"):
        mg.register_tree(3, one, one)
    with pytest.raises(TypeError, match=r"unflatten must be a function, got None"):
        mg.register_tree(Other, one, None)
    with pytest.raises(TypeError, match="Linear is a module"):
        mg.register_tree(nn.Linear, one, one)
    for cls in (Circle, dict):
        with pytest.raises(ValueError, match=f"{cls.__name__} is already registered"):
            mg.register_tree(cls, one, one)
    assert flatten(Other())[0] != []  # a leaf, until
    mg.register_tree(Other, lambda tree: [1.0], one)
    with pytest.raises(TypeError, match=r"flatten of Other must return a tuple \(children, aux\), got \[1.0\]"):
        flatten(Other())


def test_a_registration_comes_before_what_a_class_is_otherwise():
    @dataclasses.dataclass
    class Measured:
        value: Any
        error: float

    mg.register_tree(Measured, lambda m: ((m.value,), m.error), lambda error, parts: Measured(*parts, error))
    assert flatten(Measured(1.0, 0.5))[0] == [1.0]

    class Finer(Measured):
        pass

    assert flatten(Finer(1.0, 0.5))[0] == [1.0, 0.5]  # a dataclass, and not registered


def test_a_dataclass_that_is_a_module_is_a_module():
    @dataclasses.dataclass
    class Scale(nn.Module):
        factor: float
        weight: Any = dataclasses.field(default_factory=lambda: nn.Parameter([1.0, 2.0]))

        def forward(self, x):
            return self.factor * self.weight * x

    model = Scale(3.0)
    gradient = mg.grad(lambda m: np.sum(m(np.array([1.0, 10.0]))))(model)
    np.testing.assert_array_equal(gradient.weight, [3.0, 30.0])
    assert gradient.factor == 3.0


# Transforms


def value_of(parts):
    """Return a number that depends on each of some numbers in its own way."""
    return sum(np.sin((i + 1) * x) * np.exp(x * parts[0] / 4) for i, x in enumerate(parts))


@each_kind
@given(shapes(ATOMS))
def test_derivatives_in_any_container(shape):
    """Those of the same function over dicts, in the containers of the argument."""
    tree, plain = made(shape), made(shape, "dict")

    def f(t):
        return value_of(flatten(t)[0])

    value, gradient = mg.value_and_grad(f)(tree)
    expected_value, expected = mg.value_and_grad(f)(plain)
    assert value == expected_value
    assert atoms_of(described(gradient, shape)) == flatten(expected)[0]
    numbers = np.array(atoms_of(shape))
    np.testing.assert_allclose(
        flatten(gradient)[0],
        [f_of(numbers, i) for i in range(len(numbers))],
        rtol=1e-6,
        atol=1e-6,
    )
    tangent = mg.jvp(f, (tree,), (gradient,))[1]
    np.testing.assert_allclose(tangent, np.sum(np.square(flatten(gradient)[0])), rtol=1e-9, atol=1e-12)
    product = mg.hvp(f)(tree, gradient)
    np.testing.assert_array_equal(atoms_of(described(product, shape)), flatten(mg.hvp(f)(plain, expected))[0])


def f_of(numbers, i, step=1e-6):
    ahead, behind = numbers.copy(), numbers.copy()
    ahead[i] += step
    behind[i] -= step
    return (value_of(ahead) - value_of(behind)) / (2 * step)


@each_kind
@given(shapes(ATOMS))
def test_results_in_any_container(shape):
    """vjp and jacobian of a function that returns a tree."""
    form = flatten(made(shape))[1]
    x = np.array(atoms_of(shape))

    def f(x):
        return form.rebuild([x[i] ** 2 for i in range(len(x))])

    value, pullback = mg.vjp(f, x)
    assert atoms_of(described(value, shape)) == list(x**2)
    np.testing.assert_array_equal(pullback(value)[0], 2 * x * x**2)
    rows = atoms_of(described(mg.jacobian(f)(x), shape))
    np.testing.assert_array_equal(rows, np.diag(2 * x))
    np.testing.assert_array_equal(
        mg.grad(lambda x: value_of(flatten(mg.checkpoint(f)(x))[0]))(x),
        mg.grad(lambda x: value_of(flatten(f(x))[0]))(x),
    )


def test_a_dataclass_of_arrays_and_its_gradient():
    point = Derived(np.array([1.0, 2.0]), np.array([3.0]), z=np.ones((2, 2)))

    def loss(p):
        assert p.note == "not a field"
        return np.sum(p.x**2) * p.y[0] + np.sum(p.double) * p.scale

    gradient = mg.grad(loss)(point)
    assert type(gradient) is Derived
    np.testing.assert_array_equal(gradient.x, [6.0, 12.0])
    np.testing.assert_array_equal(gradient.y, [5.0])
    np.testing.assert_array_equal(gradient.z, np.full((2, 2), 4.0))
    assert gradient.scale == 8.0
    again = mg.checkpoint(loss)
    x = Derived(mg.tensor([1.0, 2.0], requires_grad=True), np.array([3.0]), z=np.ones((2, 2)))
    again(x).backward()
    np.testing.assert_array_equal(x.x.grad, [6.0, 12.0])


def test_aux_keeps_its_containers():
    _, aux = mg.grad(lambda x: (x**2, {"point": Point(x, "text")}), has_aux=True)(3.0)
    assert aux == {"point": Point(3.0, "text")}


def test_what_a_module_returns_in_containers_is_marked_as_its_own():
    class Two(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(2, 1)

        def forward(self, x):
            return Point({"y": [self.inner(x)]}, np.ones(2))

    out = Two()(np.ones((3, 2))).x["y"][0]
    assert [name for _, _, name in out._node.note.marks] == ["Linear", "Two"]


def test_cotangents_in_another_order_are_refused():
    x = np.array([1.0, 2.0])
    _, pullback = mg.vjp(lambda x: {"a": x, "b": 2 * x}, x)
    np.testing.assert_array_equal(pullback({"a": np.ones(2), "b": np.zeros(2)})[0], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"keys \[\('a', 'b'\)\], in this order, got \[\('b', 'a'\)\]"):
        pullback({"b": np.zeros(2), "a": np.ones(2)})
    with pytest.raises(ValueError, match=r"in this order"):
        mg.jvp(lambda p: p["a"] * p["b"], ({"a": x, "b": x},), ({"b": x, "a": x},))
