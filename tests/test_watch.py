"""Captures: every change is noticed, every side effect refused and undone.

Owns: one case for each way in which a function can reach something, and the state of
classes after a trace.
Must not own: arguments, random numbers, gradients and the quick way of a call
(`test_contract_parts.py`).
Read next: `test_contract_parts.py`.

Each case is called eagerly and compiled, twice after each change: the first call checks
everything, the second takes the quick way.
"""

import copy
import functools
import gc
import locale
import os
import sys
import threading
import types
import weakref
from collections import deque
from contextvars import ContextVar

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.compiler import watch
from microgradnd.compiler.recorder import TraceError
from microgradnd.compiler.watch import HOOKS, same
from microgradnd.transforms import plain

X = np.arange(1.0, 4.0)
SCALE = 2.0
CONTEXT: ContextVar[float] = ContextVar("context", default=2.0)


def follows(f, changes):
    """Check a compiled function against the function after each change; return it."""
    compiled = mg.compile(f)
    for change in (lambda: None, *changes):
        change()
        for _ in range(2):
            got, want = plain(compiled(X)), plain(f(mg.tensor(X)))
            np.testing.assert_array_equal(got, want)
            np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
    return compiled


def values(assign, found=(2.0, 3.0, 2.0)):
    """Return changes that assign values one after another."""
    return [functools.partial(assign, value) for value in found]


class Settings:
    scale = 5.0

    def __init__(self, **attributes):
        vars(self).update(attributes)


class Derived(Settings):
    pass


def attribute():
    settings = Settings(scale=1.0)
    return lambda x: x * settings.scale, values(functools.partial(setattr, settings, "scale"), (2.0, 0.0, -0.0, 2))


def sign_of_a_nan():
    settings = Settings(scale=1.0)
    found = np.copysign(np.nan, (-1.0, 1.0, -1.0)).tolist()
    return lambda x: np.copysign(x, settings.scale), values(functools.partial(setattr, settings, "scale"), found)


def attribute_of_the_class():
    settings = Settings()
    return lambda x: x * settings.scale, [
        lambda: setattr(Settings, "scale", 6.0),
        lambda: setattr(Settings, "scale", 5.0),
    ]


def attribute_of_a_base():
    derived = Derived()
    return lambda x: x * derived.scale, [
        lambda: setattr(Settings, "scale", 6.0),
        lambda: setattr(Settings, "scale", 5.0),
    ]


def attribute_of_the_class_that_the_object_gets():
    settings = Settings()
    return lambda x: x * settings.scale, [lambda: setattr(settings, "scale", 1.0), lambda: delattr(settings, "scale")]


def attribute_that_is_missing():
    settings = Settings()
    changes = [lambda: setattr(settings, "offset", 1.0), lambda: delattr(settings, "offset")]
    return lambda x: x + getattr(settings, "offset", 0.5), changes


def attribute_that_the_class_gets():
    class Bare:
        pass

    bare = Bare()
    return lambda x: x * (2 if hasattr(bare, "late") else 3), [
        lambda: setattr(Bare, "late", 1),
        lambda: delattr(Bare, "late"),
    ]


def slot():
    class Slots:
        __slots__ = ("scale",)

    slots = Slots()
    slots.scale = 1.0
    return lambda x: x * slots.scale, values(functools.partial(setattr, slots, "scale"))


def slot_of_a_base():
    class Slots:
        __slots__ = ("scale",)

    class Below(Slots):
        pass

    below = Below()
    below.scale = 1.0
    return lambda x: x * below.scale, values(functools.partial(setattr, below, "scale"))


def all_attributes():
    settings = Settings(scale=1.0)
    return lambda x: x * vars(settings)["scale"], values(functools.partial(setattr, settings, "scale"))


def number_of_attributes():
    settings = Settings(scale=1.0)
    return lambda x: x * len(settings.__dict__), [
        lambda: setattr(settings, "more", 1),
        lambda: delattr(settings, "more"),
    ]


def name_in_a_text():
    settings = Settings(scale=1.0)
    name = "scale"
    return lambda x: x * getattr(settings, name), values(functools.partial(setattr, settings, name))


def global_name():
    return lambda x: x * SCALE, values(
        functools.partial(globals().__setitem__, "SCALE"), (3.0, 0.0, -0.0, True, 1, 2.0)
    )


def helper(x):
    return helped(x)


def helped(x):
    return x * SCALE


def global_name_of_a_helper():
    return lambda x: helper(x), values(functools.partial(globals().__setitem__, "SCALE"))


def variable_of_a_function_around():
    scale = 1.0

    def assign(value):
        nonlocal scale
        scale = value

    return lambda x: x * scale, values(assign)


def variable_of_a_helper_around():
    scale = 1.0

    def assign(value):
        nonlocal scale
        scale = value

    def scaled(x):
        return x * scale

    return lambda x: scaled(x), values(assign)


def list_of_numbers():
    numbers = [1.0, 2.0]
    return lambda x: x * sum(numbers), [lambda: numbers.append(3.0), numbers.pop, lambda: numbers.__setitem__(0, -0.5)]


def list_in_a_tuple():
    numbers = ([1.0, 2.0],)
    return lambda x: x * numbers[0][0], values(functools.partial(numbers[0].__setitem__, 0))


def object_in_a_dict():
    table = {"a": [Settings(scale=1.0)]}
    return lambda x: x * table["a"][0].scale, values(functools.partial(setattr, table["a"][0], "scale"))


def keys_of_a_dict():
    table = {"a": 1.0}
    return lambda x: x * ("b" in table), [lambda: table.update(b=1.0), lambda: table.pop("b")]


def set_of_texts():
    names = {"a"}
    return lambda x: x * len(names), [lambda: names.add("b"), lambda: names.discard("a")]


def context():
    return lambda x: x * CONTEXT.get(), values(CONTEXT.set)


def weak_reference():
    first, second = Settings(scale=1.0), Settings(scale=2.0)
    holder = [first, second]
    reference = weakref.ref(first)
    box = Settings(of=reference)
    return lambda x: x * box.of().scale, [
        lambda: setattr(holder[0], "scale", 3.0),
        lambda: setattr(box, "of", weakref.ref(second)),
    ]


def code_of_a_function():
    def inner(x):
        return x * 2

    return lambda x: inner(x), [lambda: setattr(inner, "__code__", (lambda x: x * 3).__code__)]


def default_of_a_function():
    def inner(x, scale=2.0):
        return x * scale

    return lambda x: inner(x), values(lambda v: setattr(inner, "__defaults__", (v,)))


def list_as_a_default():
    numbers = [2.0]

    def inner(x, scale=numbers):
        return x * scale[0]

    return lambda x: inner(x), values(functools.partial(numbers.__setitem__, 0))


def list_as_a_default_of_a_keyword():
    numbers = [2.0]

    def inner(x, *, scale=numbers):
        return x * scale[0]

    return lambda x: inner(x), values(functools.partial(numbers.__setitem__, 0))


def defaults_of_keywords():
    def inner(x, *, scale=2.0):
        return x * scale

    return lambda x: inner(x), values(lambda v: setattr(inner, "__kwdefaults__", {"scale": v}))


def attribute_of_a_function():
    def inner(x):
        return x * inner.scale

    inner.scale = 1.0
    return inner, values(functools.partial(setattr, inner, "scale"))


def partial_of_a_method():
    settings = Settings(scale=1.0)

    class Model:
        def run(self, settings, x):
            return x * settings.scale

    return functools.partial(Model().run, settings), values(functools.partial(setattr, settings, "scale"))


def partial_of_a_function():
    return functools.partial(lambda scale, x: x * scale * SCALE, 2.0), values(
        functools.partial(globals().__setitem__, "SCALE")
    )


def lru_cached():
    settings = Settings(scale=1.0)

    @functools.lru_cache(maxsize=0)
    def scale():
        return settings.scale

    return lambda x: x * scale(), values(functools.partial(setattr, settings, "scale"))


class Model:
    factor = 2.0

    @property
    def scale(self):
        return SCALE

    def __mul__(self, x):
        return x * self.factor

    def __getitem__(self, i):
        return self.factor * i


class Below(Model):
    pass


def property_of_a_base():
    model = Below()
    return lambda x: x * model.scale, values(functools.partial(globals().__setitem__, "SCALE"))


class OfClass:  # these have nothing else that reads SCALE
    @classmethod
    def scale(cls):
        return SCALE


class OfNothing:
    @staticmethod
    def scale():
        return SCALE


def class_method():
    return lambda x: x * OfClass.scale(), values(functools.partial(globals().__setitem__, "SCALE"))


def static_method():
    return lambda x: x * OfNothing.scale(), values(functools.partial(globals().__setitem__, "SCALE"))


def method_of_a_base_that_is_replaced():
    class Base:
        def run(self, x):
            return x * 2

    class Child(Base):
        pass

    child = Child()
    return lambda x: child.run(x), [
        lambda: setattr(Base, "run", lambda self, x: x * 3),
        lambda: setattr(Child, "run", lambda self, x: -x),
    ]


def operator_that_is_replaced():
    class Number:
        def __mul__(self, x):
            return x * 2

    number = Number()
    return lambda x: number * x, [lambda: setattr(Number, "__mul__", lambda self, x: x * 3)]


def what_an_operator_reads():
    model = Below()
    return lambda x: model * (x * model[2]), [
        lambda: setattr(Model, "factor", 3.0),
        lambda: setattr(model, "factor", 4.0),
        lambda: setattr(Model, "factor", 2.0),
    ]


def attribute_of_a_class_by_a_computed_name():
    class Owner:
        scale = 1.0

    name = ["scale"]
    return lambda x: x * getattr(Owner, name[0]), values(functools.partial(setattr, Owner, name[0]))


def attribute_of_a_metaclass():
    class Meta(type):
        scale = 1.0

    class Made(metaclass=Meta):
        pass

    return lambda x: x * Made.scale, values(functools.partial(setattr, Meta, "scale"))


def attributes_of_a_class_and_a_metaclass():
    class Meta(type):
        scale = 1.0

    class Made(metaclass=Meta):
        offset = 0.0

    return lambda x: x * Made.scale + Made.offset, [
        *values(functools.partial(setattr, Meta, "scale")),
        *values(functools.partial(setattr, Made, "offset")),
    ]


def class_of_an_object():
    class First:
        scale = 2.0

    class Second:
        scale = 3.0

    box = Settings(of=First())
    return lambda x: x * box.of.scale, [lambda: setattr(box, "of", Second()), lambda: setattr(Second, "scale", 1.0)]


def module():
    made = types.ModuleType("settings_of_a_test")
    made.scale = 1.0
    return lambda x: x * made.scale, values(functools.partial(setattr, made, "scale"))


def bound_method():
    box = Settings()
    first, second = Settings(scale=2.0), Settings(scale=3.0)
    get = types.MethodType(lambda self: self.scale, first)
    box.get = get
    return lambda x: x * box.get(), [
        lambda: setattr(box, "get", types.MethodType(get.__func__, second)),
        lambda: setattr(second, "scale", 4.0),
        lambda: setattr(box, "get", types.MethodType(lambda self: 7.0, second)),
    ]


def tuple_that_becomes_a_list():
    box = Settings(pair=(1, 2))
    return lambda x: x * (2 if isinstance(box.pair, tuple) else 3), values(
        functools.partial(setattr, box, "pair"), ([1, 2], (1, 2), (1, True), (1, 2, 3))
    )


def array_in_place():
    array = np.array([1.0, 2.0, 3.0])
    return lambda x: x * float(array[0]) + array, [
        lambda: array.__setitem__(0, 5.0),
        lambda: array.__setitem__(2, -0.0),
        lambda: array.fill(0.0),
    ]


def array_of_objects():
    settings = Settings(scale=1.0)
    array = np.array([settings], dtype=object)
    return lambda x: x * array[0].scale, values(functools.partial(setattr, settings, "scale"))


def shape_of_an_array():
    box = Settings(of=np.ones(4))
    return lambda x: x * len(box.of), [
        lambda: setattr(box, "of", np.ones(3)),
        lambda: setattr(box, "of", np.ones((2, 1))),
    ]


def large_array_that_becomes_a_number():
    array = np.ones(2**17 + 8)
    return lambda x: x * float(array.sum()), [lambda: array.__setitem__(slice(9), 0.0)]


def requires_grad():
    w = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    return lambda x: x * w.detach() * (2 if w.requires_grad else 3), [
        lambda: setattr(w, "requires_grad", False),
        lambda: setattr(w, "requires_grad", True),
    ]


def value_of_a_tensor():
    w = mg.tensor([1.0, 2.0, 3.0])
    return lambda x: x * w, [lambda: setattr(w, "data", np.ones(3)), lambda: w.__setitem__(0, 7.0)]


def tensor_in_a_list():
    tensors = [mg.tensor([1.0, 2.0, 3.0])]
    return lambda x: x * tensors[0], [
        lambda: tensors.__setitem__(0, mg.tensor([2.0])),
        lambda: setattr(tensors[0], "data", np.ones(1)),
    ]


def part_of_a_module():
    model = nn.Sequential(nn.Linear(3, 3, rng=np.random.default_rng(0)), nn.Tanh())
    first = model[0]
    return lambda x: model(x), [
        lambda: setattr(model, "1", nn.ReLU()),
        lambda: setattr(first, "weight", nn.Parameter(np.eye(3))),
        lambda: setattr(first, "bias", None),
        lambda: setattr(model, "0", nn.Tanh()),
    ]


def mode_of_a_module():
    class Layer(nn.Module):
        def forward(self, x):
            return x * (2 if self.training else 3)

    model = nn.Sequential(Layer())
    return lambda x: model(x), [model.eval, model.train]


def attribute_of_a_layer():
    class Layer(nn.Module):
        def __init__(self):
            self.scale = 1.0

        def forward(self, x):
            return x * self.scale

    layer = Layer()
    return lambda x: layer(x), values(functools.partial(setattr, layer, "scale"), (2.0, 2.0, 3.0, 2.0))


class Above:
    def run(self, x):
        return x * SCALE

    @classmethod
    def made(cls):
        return cls.factor

    @property
    def scale(self):
        return self.factor


class Overriding(Above):
    factor = 2.0

    def run(self, x):
        return super().run(x) + super().made() + super().scale

    scale = made = None  # so that only super() finds them


def what_an_overridden_method_reads():
    thing = Overriding()
    return lambda x: thing.run(x), [
        *values(functools.partial(globals().__setitem__, "SCALE")),
        *values(functools.partial(setattr, Overriding, "factor")),
    ]


def overridden_method_that_is_replaced():
    class Base(nn.Module):
        def forward(self, x):
            return x * 2

    class Derived(Base):
        def forward(self, x):
            return super().forward(x) + 1

    model = Derived()
    return lambda x: model(x), [lambda: setattr(Base, "forward", lambda self, x: x * 3)]


def attribute_that_a_base_has_too():
    class Base:
        scale = 2.0

    class Derived(Base):
        scale = 3.0

    thing = Derived()
    return lambda x: x * type(thing).__mro__[1].scale, values(functools.partial(setattr, Base, "scale"))


def names_that_dir_lists():
    class Thing:
        first = 1.0

    thing = Thing()
    return lambda x: x * len([name for name in dir(thing) if name[0] != "_"]), [
        lambda: setattr(Thing, "second", 2.0),
        lambda: setattr(thing, "third", 2.0),
    ]


def subclasses_of_a_class():
    class Base:
        """A class without subclasses, so far."""

    kept = []
    return lambda x: x * len(Base.__subclasses__()), [lambda: kept.append(type("Derived", (Base,), {}))] * 2


def environment():
    return lambda x: x * float(os.environ.get("MICROGRADND_SCALE", "1")), [
        lambda: os.environ.update(MICROGRADND_SCALE="2"),
        lambda: os.environ.pop("MICROGRADND_SCALE"),
    ]


def handling_of_errors():
    return lambda x: x * len(np.geterr()["under"]), values(lambda how: np.seterr(under=how), ("warn", "ignore"))


def numbers_in_texts():
    return lambda x: x * np.get_printoptions()["precision"], values(
        lambda precision: np.set_printoptions(precision=precision), (3, 8)
    )


def thresholds_of_the_collector():
    first, second, _ = gc.get_threshold()
    return lambda x: x * gc.get_threshold()[1], values(lambda n: gc.set_threshold(first, n), (second + 1, second))


def locale_of_the_process():
    return lambda x: x * len(locale.setlocale(locale.LC_CTYPE)), values(
        functools.partial(locale.setlocale, locale.LC_CTYPE), ("C", locale.setlocale(locale.LC_CTYPE))
    )


def attributes_of_a_copied_object():
    settings = Settings(scale=1.0)
    return lambda x: x * copy.copy(settings).scale, values(functools.partial(setattr, settings, "scale"))


def what_an_own_getattribute_reads():
    class Table:
        def __init__(self):
            self.entries = {"scale": 1.0}

        def __getattribute__(self, name):
            entries = object.__getattribute__(self, "__dict__").get("entries", {})
            return entries[name] if name in entries else object.__getattribute__(self, name)

    table = Table()
    return lambda x: x * table.scale, values(functools.partial(table.entries.__setitem__, "scale"))


def what_the_getattribute_of_a_package_reads():
    scope = {"__name__": "numpy"}
    name = "{'scale': '_scale'}.get(name, name)"
    method = f"def __getattribute__(self, name): return object.__getattribute__(self, {name})"
    exec(compile(f"class Table:\n    {method}", np.__file__, "exec"), scope)
    table = scope["Table"]()
    table._scale = 1.0
    return lambda x: x * table.scale, values(functools.partial(setattr, table, "_scale"))


def attribute_that_a_module_computes():
    module = types.ModuleType("computing")
    exec("table = {'scale': 1.0}\ndef __getattr__(name): return table[name]", vars(module))
    return lambda x: x * module.scale, values(functools.partial(module.table.__setitem__, "scale"))


def module_that_is_imported_anew():
    def install(scale):
        sys.modules["imported_in_a_test"] = module = types.ModuleType("imported_in_a_test")
        module.scale = scale

    def f(x):
        import imported_in_a_test

        return x * imported_in_a_test.scale

    install(1.0)
    return f, values(install)


def attribute_that_a_built_in_base_computes():
    class Failure(Exception):
        """A class of the user's, whose `args` are the built-in base's."""

    failure = Failure(1.0)
    return lambda x: x * failure.args[0], values(lambda scale: setattr(failure, "args", (scale,)))


def attribute_of_a_text():
    class Name(str):
        scale = 1.0

    settings = Settings(name=Name("x"))
    return lambda x: x * settings.name.scale, values(functools.partial(setattr, settings.name, "scale"))


def rule_of_a_derivative():
    @mg.primitive
    def double(x):
        return 2 * x

    def define(factor):
        mg.defvjp(double, lambda g, out, x: factor * g)

    define(1.0)
    return mg.grad(lambda x: np.sum(double(x))), values(define)


def dtype_of_a_model():
    linear = nn.Linear(3, 2, rng=np.random.default_rng(0))
    return lambda x: linear(x).dtype.itemsize * x, values(linear.to, (np.float32, np.float64))


AROUND = [
    attributes_of_a_copied_object,
    what_an_own_getattribute_reads,
    what_the_getattribute_of_a_package_reads,
    attribute_that_a_module_computes,
    module_that_is_imported_anew,
    attribute_that_a_built_in_base_computes,
    attribute_of_a_text,
    rule_of_a_derivative,
    dtype_of_a_model,
    what_an_overridden_method_reads,
    overridden_method_that_is_replaced,
    attribute_that_a_base_has_too,
    names_that_dir_lists,
    subclasses_of_a_class,
    environment,
    handling_of_errors,
    numbers_in_texts,
    thresholds_of_the_collector,
    locale_of_the_process,
    attribute,
    attribute_of_the_class,
    attribute_of_a_base,
    attribute_of_the_class_that_the_object_gets,
    attribute_that_is_missing,
    attribute_that_the_class_gets,
    slot,
    slot_of_a_base,
    all_attributes,
    number_of_attributes,
    name_in_a_text,
    global_name,
    global_name_of_a_helper,
    variable_of_a_function_around,
    variable_of_a_helper_around,
    list_of_numbers,
    list_in_a_tuple,
    object_in_a_dict,
    keys_of_a_dict,
    set_of_texts,
    context,
    weak_reference,
    code_of_a_function,
    default_of_a_function,
    list_as_a_default,
    list_as_a_default_of_a_keyword,
    defaults_of_keywords,
    attribute_of_a_function,
    partial_of_a_method,
    partial_of_a_function,
    lru_cached,
    property_of_a_base,
    class_method,
    static_method,
    method_of_a_base_that_is_replaced,
    operator_that_is_replaced,
    what_an_operator_reads,
    attribute_of_a_class_by_a_computed_name,
    attribute_of_a_metaclass,
    attributes_of_a_class_and_a_metaclass,
    class_of_an_object,
    module,
    bound_method,
    tuple_that_becomes_a_list,
    array_in_place,
    array_of_objects,
    shape_of_an_array,
    large_array_that_becomes_a_number,
    requires_grad,
    value_of_a_tensor,
    tensor_in_a_list,
    part_of_a_module,
    mode_of_a_module,
    attribute_of_a_layer,
]


@pytest.mark.parametrize(
    "around",
    AROUND,
    ids=lambda case: case.__name__,
)
def test_every_change_is_seen(around):
    follows(*around())


def test_equal_values_need_no_new_program():
    settings, layer = Settings(scale=0.1, pair=(1.0, "a")), nn.Tanh().train()
    compiled = mg.compile(lambda x: x * settings.scale * settings.pair[0] * (2 if layer.training else 3))
    compiled(X)
    for change in (
        lambda: setattr(settings, "scale", float("0.1")),
        lambda: setattr(settings, "pair", (float("1"), "".join(["a"]))),
        lambda: setattr(settings, "unread", 1),
        lambda: layer.train(True),
    ):
        change()
        compiled(X)
    assert compiled.cache_info()[:2] == (4, 1)


def test_a_setting_that_goes_back_finds_its_program():
    settings = Settings(scale=1.0)
    compiled = mg.compile(lambda x: x * settings.scale)
    for scale in (1.0, 2.0, 1.0, 2.0, 2.0, 1.0):
        settings.scale = scale
        np.testing.assert_array_equal(compiled(X), X * scale)
    assert compiled.cache_info()[:2] == (4, 2)


SAME = [
    (1.0, 1.0, True),
    (float("1e3"), 1000.0, True),
    ("a", "".join(["a"]), True),
    (0.0, -0.0, False),
    (1, True, False),
    (1, 1.0, False),
    (np.float32(1), np.float64(1), False),
    ((1, 2.0), (1, 2.0), True),
    ((1, 2.0), (1, -2.0), False),
    ((0.0,), (-0.0,), False),
    ((1, 2), (1, 2, 3), False),
    ((1, 2), [1, 2], False),
    ([1], [1], False),
    (Settings.__init__, Settings.__init__, True),
    (X.sum, X.sum, False),
    (slice(1), slice(1), True),
    (range(2), range(3), False),
    (np.dtype("f4"), np.dtype("f8"), False),
]


@pytest.mark.parametrize(("old", "new", "want"), SAME)
def test_sameness(old, new, want):
    assert same(old, new) is want
    assert same(new, old) is want


def test_bound_methods_are_the_same_if_their_objects_and_functions_are():
    one, other = Model(), Model()
    assert same(one.__mul__, one.__mul__)
    assert not same(one.__mul__, other.__mul__)
    assert not same(one.__mul__, one.__getitem__)


# Side effects

STATE = types.SimpleNamespace(calls=0)
HISTORY = np.zeros(3)
LOG: list[object] = []
TABLE = {"calls": [0]}


class Counting:
    __slots__ = ("calls",)


SLOTS = Counting()
SLOTS.calls = 0


class Owner:
    calls = 0
    none = None

    def __init__(self):
        self.own = 0


OWNER, LOG = Owner(), []
MODEL = nn.Sequential(nn.Tanh())


def sets_a_global(x):
    global SCALE
    SCALE = SCALE + 1.0
    return x * 2


def gives_an_object_an_attribute(x):
    OWNER.new = [1]
    return x * 2


def changes_a_number_after_asking_for_its_type(x):
    OWNER.own += 1
    return x * (type(OWNER.own) is int)


def changes_a_number_after_looking_at_it(x):
    OWNER.own += 1 if OWNER.own < 3 else 2
    return x * 2


def changes_a_number_and_a_list(x):
    OWNER.own += LOG.append(1) or len(LOG)
    return x * 2


def changes_an_item_after_a_call(x):
    count = len(LOG)
    LOG[:] = [count]
    return x * 2


def changes_a_number_and_an_array(x):
    OWNER.own += OWNER.calls
    OWNER.new = x * OWNER.own
    return x * 2


def changes_a_number_after_copying_it(x):
    before = dict(vars(OWNER))
    OWNER.own += 1
    return x * before["own"]


def hides_an_attribute_of_the_class(x):
    OWNER.calls += 1
    return x * 2


def deletes_an_attribute(x):
    del OWNER.own
    return x * 2


def sets_an_attribute_of_a_module(x):
    MODEL.calls = [x]
    return MODEL(x)


def keeps_a_value(x):
    OWNER.own = x * 2
    return x * 2


def keeps_its_first_values(x):
    if getattr(OWNER, "new", None) is None:
        OWNER.new = [x * 2]
    return OWNER.new[0] * x


def is_different_in_its_first_call(x):
    if OWNER.none is None:
        OWNER.none = 3.0
        return x
    return x * OWNER.none


def sets_another_constant_in_its_first_call(x):
    OWNER.own, OWNER.new = "later" if hasattr(OWNER, "new") else "first", 1
    return x


EFFECTS = {
    gives_an_object_an_attribute: (r"'OWNER.new' was changed", 1),
    changes_a_number_after_asking_for_its_type: (r"'OWNER.own' was changed", 1),
    changes_a_number_and_a_list: (r"'LOG' was changed", 1),
    changes_an_item_after_a_call: (r"'LOG' was changed", 2),
    changes_a_number_and_an_array: (r"'OWNER.new' was changed", 2),
    changes_a_number_after_copying_it: (r"'OWNER' was changed", 2),
    hides_an_attribute_of_the_class: (r"'OWNER.calls' was changed", 1),
    deletes_an_attribute: (r"'OWNER.own' was changed", 1),
    sets_an_attribute_of_a_module: (r"'MODEL.calls' was changed", 1),
    keeps_a_value: (r"'OWNER.own' was changed", 1),
    keeps_its_first_values: (r"'OWNER.new' was changed", 2),
    sets_another_constant_in_its_first_call: (r"'OWNER.new' was changed", 1),
    is_different_in_its_first_call: (r"'OWNER.none' was changed", 2),
}


@pytest.mark.parametrize(
    "f",
    EFFECTS,
    ids=lambda f: f.__name__,
)
def test_assigned_attributes_are_restored(f):
    match, line = EFFECTS[f]
    vars(OWNER)["own"] = 0
    with pytest.raises(TypeError, match=rf"line {f.__code__.co_firstlineno + line}: (?s:.*){match}; pass it as an arg"):
        mg.compile(f)(X)
    assert (vars(OWNER), Owner.calls, LOG, "calls" in vars(MODEL)) == ({"own": 0}, 0, [], False)


def takes_the_smaller_rate(x):
    OWNER.own += 1
    return x * min(OWNER.own / 10, 1.0)


def keeps_a_mean(x):
    OWNER.own += 0.1 * (x.sum() - OWNER.own)
    return x * 2


@pytest.mark.parametrize(
    ("f", "match"),
    [
        (changes_a_number_after_looking_at_it, r"'OWNER.own' was changed.* can't be one: `if`.*OWNER.own < 3"),
        (takes_the_smaller_rate, r"'OWNER.own' was changed.* can't be one: `if`.*min\(OWNER.own / 10.*np.minimum"),
        (keeps_a_mean, r"'OWNER.own' was changed; set it to a Python number, as value.item\(\) is"),
    ],
)
def test_a_number_that_cannot_be_a_variable_says_why(f, match):
    vars(OWNER)["own"] = 0
    with pytest.raises(TypeError, match=match):
        mg.compile(f)(X)
    assert vars(OWNER) == {"own": 0}


@pytest.mark.parametrize(
    "later", [np.float64(2), np.float32(2), np.int64(2), np.array(2), mg.tensor(2), 2**70, True, 2j]
)
def test_a_number_that_changes_its_class_is_refused(later):
    owner = Owner()

    def f(x):
        owner.own = owner.own * 2 + 1
        return x * owner.own

    for start in (1, 1.0):
        owner.own, compiled = start, mg.compile(f)
        np.testing.assert_array_equal(compiled(X), X * (start * 2 + 1))
        owner.own = later
        with pytest.raises(TypeError, match=r"'owner\.own' was changed"):
            compiled(X)
        assert owner.own is later


# What each call sets, and what the first call puts where nothing was


def mode_of_a_model(wrap):
    model = nn.Sequential(nn.Dropout(0.5, rng=np.random.default_rng(0)), nn.Tanh())

    def train(x):
        model.train()
        return model(x)

    def evaluate(x):
        model.eval()
        return model(x)

    train, evaluate = wrap(train), wrap(evaluate)
    return [part for _ in range(10) for part in (train(X), model.training, evaluate(X), model[0].training)]


def constant_that_others_change(wrap):
    owner = Owner()

    def f(x):
        owner.own = 2.0
        return x * owner.own

    f, found = wrap(f), []
    for own in (2.0, 5.0, 5.0):
        owner.own = own
        found += [f(X), owner.own]
    return found


def slot_that_others_delete(wrap):
    thing = Counting()

    def f(x):
        thing.calls = "a"
        return x * len(thing.calls)

    f = wrap(f)
    found = [f(X), thing.calls]
    del thing.calls
    return [*found, f(X), thing.calls]


def length_that_a_layer_keeps(wrap):
    class Layer(nn.Module):
        def forward(self, x):
            self.length = len(x)
            return x * self.length

    layer = Layer()
    f = wrap(lambda x: layer(x))
    return [part for n in (3, 4, 6, 3) for part in (f(np.ones(n)), layer.length)]


def derivative_after_a_constant(wrap):
    owner, w = Owner(), nn.Parameter(X.copy())

    def f(x):
        owner.own = 2.0
        return np.sum(w * x) * owner.own

    f = wrap(f)
    for _ in range(2):
        f(X).backward()
    return [w.grad]


def cache_in_a_dict(wrap):
    tables = {}

    def f(x):
        if len(x) not in tables:
            tables[len(x)] = np.arange(len(x)) * 2.0
        return x * tables[len(x)]

    f = wrap(f)
    found = [f(np.ones(n)) for n in (3, 4, 5, 3)]
    tables[3][1] = 7.0
    found.append(f(X))
    tables.clear()
    return [*found, f(X), tables[3]]


def cache_in_an_attribute(wrap):
    owner = Owner()

    def f(x):
        if owner.none is None:
            owner.none = np.arange(3.0)
        return x * owner.none

    f = wrap(f)
    found = [f(X), f(X), owner.none]
    owner.none = X
    return [*found, f(X)]


def cache_in_a_global(wrap):
    def f(x):
        global CACHE
        if CACHE is None:
            CACHE = mg.tensor(np.arange(3.0))
        return x * CACHE

    f, found = wrap(f), []
    for value in (None, X, None):
        globals()["CACHE"] = value
        found += [f(X), f(X), np.asarray(CACHE)]
    return found


def cache_in_a_variable_of_a_function_around(wrap):
    scale = None

    def f(x):
        nonlocal scale
        scale = 2.0 if scale is None else scale
        return x * scale

    f = wrap(f)
    found = [f(X), scale]
    scale = 5.0
    return [*found, f(X)]


def cached_property(wrap):
    class Layer(nn.Module):
        size = 3

        @functools.cached_property
        def mask(self):
            return np.tril(np.ones((self.size, self.size)))

    layer = Layer()
    f = wrap(lambda x: x @ layer.mask)
    found = [f(X), f(X), layer.mask]
    del layer.mask
    return [*found, f(X)]


def part_that_the_first_call_makes(wrap):
    class Lazy(nn.Module):
        def __init__(self):
            self.linear = None

        def forward(self, x):
            if self.linear is None:
                self.linear = nn.Linear(len(x), 1, rng=np.random.default_rng(0))
            return self.linear(x)

    lazy = Lazy()
    f = wrap(lambda x: lazy(x))
    found = [f(X), f(X), lazy.linear.weight]
    with mg.no_grad():
        lazy.linear.weight *= 2.0
    return [plain(part) for part in (*found, f(X))]


def length_in_a_dict(wrap):
    lengths = {}

    def f(x):
        if "first" not in lengths:
            lengths["first"] = len(x)
        return x * lengths["first"]

    f = wrap(f)
    return [*(f(np.ones(n)) for n in (3, 4, 5)), lengths["first"], type(lengths["first"]) is int]


def entry_of_a_dict(wrap):
    found, settings = [], {"scale": 1.0}

    def f(x):
        settings["scale"] = 2.0
        return x * settings["scale"]

    f = wrap(f)
    for scale in (1.0, 2.0, 5.0):
        settings["scale"] = scale
        found += [f(X), settings["scale"]]
    return found


def frozen_parameter(wrap):
    w = nn.Parameter(X.copy())

    def f(x):
        w.requires_grad = False
        return np.sum(w * x)

    f = wrap(f)
    return [part for _ in range(2) for part in (plain(f(X)), w.requires_grad)]


def generic_function(wrap):
    @functools.singledispatch
    def scale(thing):
        return 2.0

    f = wrap(lambda x: x * scale(1))
    found = [f(X), f(X)]
    scale.register(int, lambda thing: 3.0)
    return [*found, f(X)]


def gradients_after_an_update(wrap):
    def f(w, is_cleared, x):
        with mg.no_grad():
            w += 1.0
        if is_cleared:
            w.grad = None
        else:
            np.sum(w * w * x).backward()

    f, w = wrap(f), nn.Parameter(X.copy())
    found = []
    for is_cleared in (False, False, True, False, True):
        f(w, is_cleared, X)
        found.append(0.0 if w.grad is None else plain(w.grad).copy())
    return found


class Adam:
    """The optimizer by hand, with the number of steps and a mean of the losses."""

    __slots__ = ("loss", "mean", "square", "steps")

    def __init__(self):
        self.mean, self.square = mg.tensor(np.zeros(3)), mg.tensor(np.zeros(3))
        self.steps, self.loss = 0, 0.0

    def step(self, w, loss):
        self.steps += 1
        self.loss = 0.9 * self.loss + 0.1 * loss.item()
        with mg.no_grad():
            self.mean[...] = 0.9 * self.mean + 0.1 * w.grad
            self.square[...] = 0.99 * self.square + 0.01 * w.grad**2
            scale = np.sqrt(self.square / (1 - 0.99**self.steps))
            w -= 0.1 * self.mean / (1 - 0.9**self.steps) / (scale + 1e-8)


def numbers_of_an_optimizer(wrap):
    w, optimizer = nn.Parameter(X.copy()), Adam()

    @wrap
    def train(x):
        w.grad = None
        loss = np.max((w * x - 1) ** 2)
        loss.backward()
        optimizer.step(w, loss)

    found = []
    for n in range(6):
        train(X + n)
        found += [optimizer.steps, optimizer.loss, type(optimizer.steps), plain(w)]
    optimizer.steps, optimizer.loss = 0, 1
    train(X)
    return [*found, optimizer.steps, optimizer.loss, plain(w)]


def numbers_that_change_places(wrap):
    owner = Owner()
    owner.own, owner.new = 2, 0.5

    @wrap
    def f(x):
        owner.own, owner.new = owner.new, owner.own
        return x * owner.own

    return [part for n in (3, 4, 5) for part in (f(np.ones(n)), owner.own, owner.new, type(owner.new))]


def number_before_the_last(wrap):
    owner = Owner()
    owner.own = owner.new = owner.last = 0.0

    @wrap
    def f(x):
        owner.last, owner.new, owner.own = owner.new, owner.own, x.max().item()
        return x * (owner.own - owner.last)

    return [part for n in (3, 4, 5, 6) for part in (f(np.ones(2) * n), owner.last, type(owner.last))]


def number_that_another_program_reads(wrap):
    class Layer(nn.Module):
        def __init__(self):
            self.calls, self.last = 0, None

        def forward(self, x):
            self.calls += 1
            self.last = x * self.calls
            return self.last.sum()

    layer = Layer()
    f, g = wrap(lambda x: layer(x)), wrap(lambda x: x * layer.calls + layer.last)
    return [plain(part) for n in (1.0, 2.0, 3.0) for part in (f(X + n), g(X))]


def number_set_by_a_loop(wrap):
    owner = Owner()
    owner.own = 0

    @wrap
    def f(x):
        for _ in range(20):
            owner.own += 1
            x = np.tanh(x * owner.own)
        return x

    return [part for _ in range(3) for part in (f(X), owner.own)]


def number_whose_class_decides(wrap):
    owner = Owner()

    @wrap
    def f(x):
        owner.own = owner.own / 2 if isinstance(owner.own, int) else 3
        return x * owner.own

    return [part for _ in range(5) for part in (f(X), owner.own, type(owner.own))]


def number_read_after_another_is_set(wrap):
    owner = Owner()

    @wrap
    def f(x):
        owner.own += 1
        x = x * owner.own
        owner.own = 7
        return x - owner.own

    return [part for _ in range(3) for part in (f(X), owner.own)]


def numbers_of_anything_that_is_not_read(wrap):
    model, owner = nn.Tanh(), Owner()

    @wrap
    def f(x):
        owner.own += 1
        owner.none = owner.new = owner.own * 2.0
        model.calls, model.mean, model.sum, model.last = owner.own, np.mean(x).item(), np.sum(x), x * np.sum(x).item()
        return model(x)

    kept = [lambda: owner.none, lambda: owner.new, *(lambda k=k: getattr(model, k) for k in ("calls", "mean", "sum"))]
    kept.append(lambda: model.last)
    return [part for n in range(3) for part in (f(X + n), *(x() for x in kept), *(type(x()) for x in kept))]


CACHE = None
KEEPING = [
    mode_of_a_model,
    constant_that_others_change,
    slot_that_others_delete,
    length_that_a_layer_keeps,
    derivative_after_a_constant,
    cache_in_a_dict,
    cache_in_an_attribute,
    cache_in_a_global,
    cache_in_a_variable_of_a_function_around,
    cached_property,
    part_that_the_first_call_makes,
    length_in_a_dict,
    entry_of_a_dict,
    frozen_parameter,
    gradients_after_an_update,
    generic_function,
    numbers_of_an_optimizer,
    numbers_that_change_places,
    number_before_the_last,
    number_that_another_program_reads,
    number_set_by_a_loop,
    number_whose_class_decides,
    number_read_after_another_is_set,
    numbers_of_anything_that_is_not_read,
]


@pytest.mark.parametrize("program", KEEPING, ids=lambda program: program.__name__)
def test_what_a_function_keeps_is_kept(program):
    for got, want in zip(program(mg.compile), program(lambda f: f), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("number", [np.int64(3), np.array(3), True, 2**63], ids=repr)
def test_a_number_of_another_class_gets_another_program(number):
    owner = Owner()

    @mg.compile
    def f(x):
        owner.own *= 2
        return x * owner.own

    f(X)
    owner.own = number
    with pytest.raises(TypeError, match="own' was changed"):
        f(X)
    assert owner.own is number
    owner.own = 3
    np.testing.assert_array_equal(f(X), X * 6)


def appends(x):
    y = x * 2
    LOG.append(y)
    return y


def counts_in_a_list_of_a_dict(x):
    TABLE["calls"][0] += 1
    return x * 2


def writes_to_an_array(x):
    y = x * 2
    HISTORY[0] += 5.0
    return y


@pytest.mark.parametrize(
    ("f", "match"),
    [
        (sets_a_global, "'SCALE' was changed"),
        (appends, "'LOG' was changed"),
        (counts_in_a_list_of_a_dict, "was changed"),
        (writes_to_an_array, "array 'HISTORY' was changed"),
    ],
)
def test_other_side_effects_are_refused(f, match, monkeypatch):
    for name, value in (("SCALE", 2.0), ("LOG", []), ("TABLE", {"calls": [0]}), ("HISTORY", np.zeros(3))):
        monkeypatch.setitem(globals(), name, value)
    with pytest.raises(TypeError, match=match):
        mg.compile(f)(X)
    assert (SCALE, LOG, TABLE) == (2.0, [], {"calls": [0]})


def fails_after_a_change(x):
    OWNER.own = [x]
    return x if x[0] > 0 else -x


def freezes_after_an_update(x):
    with mg.no_grad():
        MODEL.w[...] = x
    MODEL.w.requires_grad = not MODEL.w.requires_grad
    return x * 2


def gives_a_model_a_part(x):
    LOG.append(x)
    MODEL.part = nn.Tanh()
    return x * 2


def gives_a_model_a_part_and_fails(x):
    gives_a_model_a_part(x)
    raise KeyError(3)


@pytest.mark.parametrize("f", [freezes_after_an_update, gives_a_model_a_part, gives_a_model_a_part_and_fails])
def test_a_failed_trace_puts_back_models_and_lists(f, monkeypatch):
    model = nn.Linear(3, 3, rng=np.random.default_rng(0))
    model.w = nn.Parameter(X.copy())
    monkeypatch.setitem(globals(), "MODEL", model)
    before = repr(model)
    with pytest.raises((TypeError, KeyError)):
        mg.compile(f)(X)
    assert (repr(model), LOG, model.w.requires_grad) == (before, [], True)
    np.testing.assert_array_equal(plain(model.w), X)


def test_attributes_are_restored_after_an_error():
    vars(OWNER)["own"] = 0
    with pytest.raises(TypeError, match="`if`"):
        mg.compile(fails_after_a_change)(X)
    assert vars(OWNER) == {"own": 0}


def takes_from_a_deque(x):
    return x * QUEUE.popleft()


def adds_to_a_set(x):
    KEYS.add(len(KEYS))
    return x * len(KEYS)


def keeps_a_value_in_a_dict(x):
    TABLE["value"] = x * 2
    return x


QUEUE, KEYS = deque([1.0, 2.0]), {0}


@pytest.mark.parametrize("f", [takes_from_a_deque, adds_to_a_set, keeps_a_value_in_a_dict])
def test_containers_are_restored(f):
    before = [*QUEUE], {*KEYS}, {**TABLE}
    for _ in range(2):
        with pytest.raises(TypeError, match="was changed; pass it as an argument"):
            mg.compile(f)(X)
    assert ([*QUEUE], KEYS, TABLE) == before


def test_another_threads_write_to_an_array_is_not_blamed():
    history, started, written = np.zeros(3), threading.Lock(), threading.Lock()
    started.acquire()
    written.acquire()

    def write():
        started.acquire(timeout=10)
        history[0] = 1.0
        written.release()

    def f(x):
        started.release()
        written.acquire(timeout=10)
        return x * history

    thread = threading.Thread(target=write)
    thread.start()
    np.testing.assert_array_equal(mg.compile(f)(X)[1:], 0.0)
    thread.join()


def test_objects_that_a_function_makes_are_its_own():
    around = Settings(scale=1.0)

    def f(x):
        settings, log = Settings(scale=1.0 + around.scale), []
        settings.scale += 1.0
        log.append(settings.scale)
        return x * log[0]

    for _ in range(2):
        np.testing.assert_array_equal(mg.compile(f)(X), 3 * X)


# What a trace leaves behind


class Guarded:
    """A class that has the methods by which reading and setting is noticed itself."""

    read: list[str] = []  # noqa: RUF012 -- it is shared

    def __init__(self):
        object.__setattr__(self, "scale", 2.0)

    def __getattribute__(self, name):
        return object.__getattribute__(self, name)

    def __setattr__(self, name, value):
        object.__setattr__(self, name, 2 * value)


@pytest.mark.parametrize("fails", [False, True])
def test_classes_and_modules_are_restored(fails):
    made = types.ModuleType("settings_of_a_test")
    made.scale, made.of = 1.0, Settings(scale=2.0)
    guarded, layer, below = Guarded(), nn.Tanh(), Below()
    vars(OWNER)["own"] = 0
    classes = [Settings, Guarded, nn.Tanh, nn.Module, Model, Below, Owner, Counting]
    before = [dict(vars(cls)) for cls in classes]
    kind = type(made)

    def f(x):
        y = layer(x * made.scale * made.of.scale * guarded.scale * below.scale * OWNER.own * SLOTS.calls)
        return y if not fails or y.sum() > 0 else x

    compiled = mg.compile(f)
    if fails:
        with pytest.raises(TypeError, match="inside a compiled function"):
            compiled(X)
    else:
        compiled(X)
    assert [dict(vars(cls)) for cls in classes] == before
    assert type(made) is kind
    assert not any(name in vars(Settings) for name in HOOKS)
    guarded.scale = 3.0
    assert guarded.scale == 6.0
    if not fails:
        np.testing.assert_array_equal(compiled(X), np.tanh(X * 2.0 * 6.0 * 2.0 * 0))


def test_the_hooks_of_a_class_may_read_as_they_like():
    settings, guarded = Settings(scale=3.0), Guarded()

    class Forwarding:
        def __getattr__(self, name):
            return getattr(settings, name)

    forwarding = Forwarding()
    follows(
        lambda x: x * forwarding.scale * guarded.scale,
        [lambda: setattr(settings, "scale", 1.0), lambda: setattr(guarded, "scale", 5.0)],
    )


def test_an_object_in_a_class_is_asked_for_no_attribute_that_the_function_does_not_read():
    values = {"scale": 2.0}

    class Table:
        def __getattr__(self, name):
            return values[name]  # raises KeyError, which `hasattr` and `getattr` don't catch

    class Holder:
        table = Table()

    follows(lambda x: x * vars(Holder)["table"].scale, [lambda: values.update(scale=3.0)])


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")  # done on purpose; NumPy 2.5 deprecates it
def test_each_of_several_arrays_is_compared_in_each_call():
    """Those that lie in one piece are read as one; the others one by one."""
    a, b = np.array([2.0, 3.0]), np.array([[2.0, 4.0], [3.0, 5.0]], ">f8")
    c, d = np.arange(12.0).reshape(3, 4)[:, ::2], np.ones(2**13)

    def change(array, index, value):
        array[index] = value

    changes = [functools.partial(change, x, 0, 7.0) for x in (a, b, c, d)]
    changes += [functools.partial(setattr, a, "shape", (2, 1)), functools.partial(change, b, (1, 1), -0.0)]
    follows(lambda x: x + sum(float(y.sum()) * y.ndim + np.copysign(1, y.flat[-1]) for y in (a, b, c, d)), changes)


@pytest.mark.parametrize("n", [1, 3, 5, 1200])
@pytest.mark.parametrize("kind", ["list", "dict", "dict of numbers"])
def test_each_part_of_a_container_is_compared_in_each_call(kind, n):
    numbers = [float(i) for i in range(n)]
    container = numbers if kind == "list" else {f"k{i}" if kind == "dict" else i: i for i in numbers}
    first, *_, last = [0, -1] if kind == "list" else [*container, *container]

    def f(x):
        values = container if kind == "list" else [*container.values()]
        return x * values[0] + np.copysign(1.0, values[-1]) * len(values)

    def moved():
        value = container.pop(first)
        container.append(value) if kind == "list" else container.update({first: value})

    changes = [lambda: container.__setitem__(last, 0.0), lambda: container.__setitem__(last, -0.0), moved]
    follows(f, [*changes, lambda: container.pop(first)] if n > 1 else changes)


def test_large_arrays_are_compared_unless_they_are_inputs(monkeypatch):
    monkeypatch.setattr(watch, "LARGE", 8)
    array = np.ones(4)
    follows(lambda x: x * array[:3], [lambda: array.__setitem__(1, 2.0)])
    follows(lambda x: x * float(array[1]), [lambda: array.__setitem__(1, 3.0)])
    monkeypatch.setattr(watch, "LARGE", 0)
    mask = np.array([True, False, True])
    follows(
        lambda x: np.max(np.sin(x[mask]) * 2 + x[0]) * x[mask],
        [lambda: mask.__setitem__(1, True), lambda: mask.__setitem__(0, False)],
    )


def test_changes_are_reported_by_the_users_names():
    settings = Settings(inner=Settings(rate=0.0))
    compiled = mg.compile(lambda x: x * settings.inner.rate)
    for i in range(8):
        settings.inner.rate = float(i)
        np.testing.assert_array_equal(compiled(X), X * i)
    settings.inner.rate = 8.0
    with pytest.raises(RuntimeError, match=r"the captured 'settings.inner.rate' had changed in 8"):
        compiled(X)


def test_modules_of_the_standard_library_are_not_watched():
    compiled = mg.compile(lambda x: x * (2 if sys.maxsize > 5 else 3))
    compiled(X)
    assert type(sys) is types.ModuleType


# The quick way


def test_a_value_of_each_thread_is_watched_in_each():
    local, found = threading.local(), []
    local.factor = 2.0
    f = mg.compile(lambda x: x * local.factor)
    assert f(X[:1]) == 2 * X[:1]

    def work():
        local.factor = 7.0
        found.append(f(X[:1]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [7 * X[:1]]
    assert f(X[:1]) == 2 * X[:1]


def test_objects_are_checked_without_taking_arguments_apart():
    class Settings:
        factor = 2.0

    first, second = Settings(), Settings()
    second.factor = 5.0
    f = mg.compile(lambda x, settings, function: function(x) * settings.factor)
    for settings, function in ((first, np.sin), (first, np.sin), (second, np.sin), (first, np.cos), (first, np.sin)):
        np.testing.assert_array_equal(f(X, settings, function), function(X) * settings.factor)
        assert f._dispatch is not None
    first.factor = 3.0
    np.testing.assert_array_equal(f(X, first, np.sin), np.sin(X) * 3)


def test_an_object_held_by_a_packages_class_is_watched(monkeypatch):
    class Settings:
        factor = 2.0

    monkeypatch.setattr(nn.Linear, "settings", Settings(), raising=False)
    layer = nn.Linear(1, 1)
    f = mg.compile(lambda x: x * layer.settings.factor)
    np.testing.assert_array_equal(f(X), 2 * X)
    layer.settings.factor = 3.0
    np.testing.assert_array_equal(f(X), 3 * X)


def test_a_compiled_method_that_its_class_reaches_is_traced_once():
    class Net(nn.Module):
        def __init__(self):
            self.line = nn.Linear(1, 1, rng=np.random.default_rng(0))

        @mg.compile
        def forward(self, x):
            return np.tanh(self.line(x))

    net = Net()
    for _ in range(3):
        np.sum(net(X[:, None])).backward()
    assert Net.forward.cache_info().misses == 1


@pytest.mark.parametrize(
    "make",
    [mg.compile, mg.vmap, mg.elementwise_grad, mg.primitive, mg.checkpoint, mg.no_grad(), functools.cache],
    ids=lambda make: getattr(make, "__name__", "no_grad"),
)
def test_attributes_that_a_user_sets_on_a_made_function(make):
    made = make(lambda x: 2 * x)
    made.factor = 2.0
    f = mg.compile(lambda x: x * made.factor)
    np.testing.assert_array_equal(f(X), 2 * X)
    made.factor = 3.0
    np.testing.assert_array_equal(f(X), 3 * X)


def test_a_compiled_function_that_counts_its_calls_in_itself_is_refused():
    @mg.compile
    def f(x):
        f.calls += 1
        return x

    f.calls = 0
    with pytest.raises(TraceError, match="'f' was changed"):
        f(X)


def test_anomalies_are_found_inside_of_a_compiled_function():
    f = mg.compile(mg.grad(lambda x: np.sum(np.log(x))))
    f(np.ones(2))
    quiet = np.errstate(invalid="ignore")
    with quiet, mg.detect_anomaly(), pytest.raises(FloatingPointError, match="log made a NaN or Inf"):
        f(-np.ones(2))


def test_a_captured_compiled_function_may_be_used_elsewhere():
    inner = mg.compile(np.sin, sizes="fixed")
    outer = mg.compile(lambda x: inner(x) * 2)
    for n in range(1, 5):
        inner(np.ones(n))
        np.testing.assert_array_equal(outer(X), np.sin(X) * 2)
    assert outer.cache_info().misses == 1


def test_a_compiled_static_method_is_not_bound():
    class Space:
        @mg.compile
        @staticmethod
        def double(x):
            return 2 * x

    np.testing.assert_array_equal(Space().double(X), 2 * X)
    np.testing.assert_array_equal(Space.double(X), 2 * X)


def test_a_computed_attribute_of_an_optimizer_is_refused():
    optimizer = optim.SGD([mg.tensor(1.0, requires_grad=True)], lr=0.1)

    def f(x):
        optimizer.total = np.sum(x)
        return x

    with pytest.raises(TraceError, match=r"'optimizer\.total' was changed"):
        mg.compile(f)(X)
    assert not hasattr(optimizer, "total")


@pytest.mark.parametrize("value", [None, 2.0, "a", (), np.ones(2)], ids=repr)
def test_an_attribute_that_is_read_and_then_set(value):
    owner = types.SimpleNamespace(value=0.0)

    def f(x):
        before = owner.value
        owner.value = value
        return x if before is value else -x

    f(X)
    reached, owner.value = owner.value, 0.0
    try:
        mg.compile(f)(X)
    except TraceError:
        assert owner.value == 0.0
    else:
        assert owner.value is reached
