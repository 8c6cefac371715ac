"""Captures of built-in classes: their state is watched, or they are refused.

Owns: objects whose classes are written in C, what classes and functions tell about
themselves, and what a function asks Python and the system for.
Must not own: other captures (`test_watch.py`), random numbers
(`test_contract_parts.py`).
Read next: `test_watch.py`.
"""

import abc
import array
import builtins
import collections
import contextvars
import copy
import ctypes
import datetime
import decimal
import fractions
import functools
import importlib
import inspect
import io
import mmap
import operator
import os
import queue
import random
import sys
import threading
import time
import types
import weakref
from pathlib import Path

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F
from tests.test_watch import X, follows, values

SCALE = 2.0


def setting(thing, name, *found):
    """Return changes that set an attribute to one value after another."""
    return values(functools.partial(setattr, thing, name), found)


def method_of(cls, name, new, f):
    """Return a function, and changes of a method of a class that it calls."""
    own = vars(cls).get(name)
    undo = functools.partial(delattr, cls, name) if own is None else functools.partial(setattr, cls, name, own)
    return f, [functools.partial(setattr, cls, name, new), undo]


def doubled(layer, x):
    return 2 * x


def arguments_of_an_error():
    error = Exception(1.0)
    return lambda x: x * error.args[0], setting(error, "args", (2.0,), (3.0,))


def text_of_an_error():
    class Own(Exception):
        """A class with nothing of its own, so far."""

    error = Own(1.0)
    return lambda x: x * float(str(error)), setting(error, "args", (2.0,), (3.0,))


def cause_of_an_error():
    error = Exception()
    error.__cause__ = ValueError(1.0)
    return lambda x: x * error.__cause__.args[0], setting(error, "__cause__", ValueError(2.0))


def context_of_an_error():
    error = Exception()
    error.__context__ = ValueError(1.0)
    return lambda x: x * error.__context__.args[0], setting(error, "__context__", ValueError(2.0))


def note_of_an_error():
    error = Exception()
    error.add_note("a")
    return lambda x: x * len(error.__notes__), [functools.partial(error.add_note, "b")]


def value_of_an_error():
    error = StopIteration(1.0)
    return lambda x: x * error.value, setting(error, "value", 2.0)


def errors_in_a_group():
    error = ExceptionGroup("several", [ValueError(1.0)])
    return lambda x: x * error.exceptions[0].args[0], setting(error.exceptions[0], "args", (2.0,))


def partial_that_gets_a_state():
    partial = functools.partial(operator.mul, 2.0)
    return lambda x: partial(x), [lambda: partial.__setstate__((operator.mul, (3.0,), {}, {}))]


def partial_of_a_users_class():
    class Own(functools.partial):
        """A class with nothing of its own, so far."""

    scale = [1.0]
    own = Own(lambda a, b: a * b * scale[0], 2.0)
    return lambda x: own(x), [
        *values(functools.partial(scale.__setitem__, 0)),
        lambda: own.__setstate__((operator.mul, (3.0,), {}, {})),
    ]


def attribute_of_a_partial():
    partial = functools.partial(operator.mul, 2.0)
    partial.scale = 1.0
    return lambda x: partial(x) * partial.scale, setting(partial, "scale", 2.0)


def function_of_a_property():
    class Owner:
        scale = property(lambda self: 1.0)

    owner = Owner()
    return lambda x: x * owner.scale, [lambda: vars(Owner)["scale"].__init__(lambda self: 2.0)]


def counts_of_a_cache():
    cached = functools.lru_cache(lambda key: key)
    cached(1)
    return lambda x: x * (1 + cached.cache_info().hits), [lambda: cached(1)]


def default_factory():
    scale = [1.0]
    found = collections.defaultdict(lambda: scale[0])

    def f(x):
        value = found["key"]
        found.clear()
        return x * value

    return f, values(functools.partial(scale.__setitem__, 0))


def mapping_behind_a_proxy():
    class Own(dict):
        def __getitem__(self, key):
            return self.scale

    own = Own()
    own.scale = 1.0
    proxy = types.MappingProxyType(own)
    return lambda x: x * proxy["key"], setting(own, "scale", 2.0)


def proxy_of_an_object():
    class Owner:
        """A class with nothing of its own, so far."""

    thing = Owner()
    thing.scale = 1.0
    proxy = weakref.proxy(thing)
    return lambda x: x * proxy.scale, setting(thing, "scale", 2.0)


def copy_of_a_context():
    variable = contextvars.ContextVar("variable", default=1.0)
    context = contextvars.copy_context()
    context.run(variable.set, 1.0)
    return lambda x: x * context[variable], values(functools.partial(context.run, variable.set))


def cell_of_a_function():
    scale = 1.0

    def assign(value):
        nonlocal scale
        scale = value

    cell = assign.__closure__[0]
    return lambda x: x * cell.cell_contents, values(assign)


def text_in_memory():
    file = io.StringIO("1.0")

    def write(text):
        file.seek(0)
        file.write(text)
        file.seek(0)

    file.seek(0)
    return lambda x: x * float(file.getvalue()), values(write, ("2.0", "3.0"))


def memory():
    found = mmap.mmap(-1, 8)
    return lambda x: x * found[0], values(functools.partial(found.__setitem__, 0), (2, 3))


def numbers_of_c():
    found = (ctypes.c_double * 2)(1.0, 2.0)
    return lambda x: x * found[0], values(functools.partial(found.__setitem__, 0))


def structure_of_c():
    class Pair(ctypes.Structure):
        _fields_ = [("first", ctypes.c_double)]

    pair = Pair(1.0)
    return lambda x: x * pair.first, setting(pair, "first", 2.0)


def settings_of_decimals():
    context = decimal.Context(prec=10)
    return lambda x: x * float(context.divide(1, 3)), setting(context, "prec", 3)


def precision_of_decimals():
    third = decimal.Decimal(1)
    context = decimal.getcontext()
    return lambda x: x * float(third / 3), setting(context, "prec", 3, 28)


def flags_of_decimals():
    context = decimal.Context(prec=10)
    return lambda x: x * (1 + context.flags[decimal.Inexact]), [lambda: context.divide(1, 3)]


def zone_of_a_time():
    class Zone(datetime.tzinfo):
        hours = 1

        def utcoffset(self, when):
            return datetime.timedelta(hours=self.hours)

    zone = Zone()
    when = datetime.datetime(2020, 1, 1, tzinfo=zone)
    return lambda x: x * when.utcoffset().total_seconds(), setting(zone, "hours", 2)


def function_of_cmp_to_key():
    sign = [1.0]
    key = functools.cmp_to_key(lambda a, b: (a - b) * sign[0])
    return lambda x: x * sorted([3.0, -2.0], key=key)[0], values(functools.partial(sign.__setitem__, 0), (-1.0,))


def arguments_of_methodcaller():
    found = [1.0]

    class Owner:
        def first(self, values):
            return values[0]

    owner, call = Owner(), operator.methodcaller("first", found)
    return lambda x: x * call(owner), values(functools.partial(found.__setitem__, 0))


def ends_of_a_slice():
    class End:
        value = 2

        def __index__(self):
            return self.value

    end = End()
    part = slice(0, end)
    return lambda x: x * sum([1.0, 2.0, 3.0][part]), setting(end, "value", 1)


def attribute_of_an_array():
    class Named(np.ndarray):
        """A class with nothing of its own, so far."""

    named = np.ones(3).view(Named)
    named.scale = 1.0
    return lambda x: x * named.scale, setting(named, "scale", 2.0)


def masked_array():
    masked = np.ma.array([1.0, 2.0], mask=[False, False])
    return lambda x: x * float(masked.sum()), [lambda: masked.__setitem__(0, np.ma.masked)]


def flags_of_an_array():
    found = np.ones(3)
    return lambda x: x * (1 + found.flags.writeable), [lambda: found.setflags(write=False)]


def text_of_an_array():
    found = np.array([1.23456789])

    def change(precision):
        np.set_printoptions(precision=precision)

    return lambda x: x * len(f"{found}"), values(change, (2, 8))


def names_of_fields():
    found = np.zeros(1, [("a", float), ("b", int)])
    return lambda x: x * len(found.dtype.names[0]), setting(found.dtype, "names", ("aa", "b"))


def record():
    found = np.zeros(1, [("a", float)])[0]
    return lambda x: x * found["a"], values(functools.partial(found.__setitem__, "a"))


def function_of_a_ufunc():
    scale = [1.0]
    ufunc = np.frompyfunc(lambda a: a * scale[0], 1, 1)
    return lambda x: x * float(ufunc(2.0)), values(functools.partial(scale.__setitem__, 0))


def state_of_a_generator():
    generator = random.Random(0)
    return lambda x: x * (generator.getstate()[1][0] % 1000), [lambda: generator.seed(1)]


def count_of_spawned_seeds():
    seeds = np.random.SeedSequence(0)
    return lambda x: x * (1 + seeds.n_children_spawned), [lambda: seeds.spawn(1)]


def state_of_a_lock():
    lock = threading.Lock()
    return lambda x: x * (1 + lock.locked()), [lock.acquire, lock.release]


def method_of_a_number():
    class Own(float):
        __slots__ = ()

        def scale(self):
            return 1.0

    own = Own()
    return lambda x: x * own.scale(), setting(Own, "scale", lambda self: 2.0)


def what_new_reads():
    scale = [1.0]

    class Owner:
        def __new__(cls):
            made = object.__new__(cls)
            made.scale = scale[0]
            return made

    owner = Owner()
    del owner.scale
    return lambda x: x * copy.copy(owner).scale, values(functools.partial(scale.__setitem__, 0))


def what_an_index_of_a_class_reads():
    scale = [1.0]

    class Owner:
        def __class_getitem__(cls, key):
            return scale[0]

    return lambda x: x * Owner[0], values(functools.partial(scale.__setitem__, 0))


def default_of_a_namedtuple():
    Pair = collections.namedtuple("Pair", "first", defaults=(1.0,))
    return lambda x: x * Pair().first, setting(Pair.__new__, "__defaults__", (2.0,))


def what_an_inherited_getattribute_reads():
    scale = [1.0]

    class Above:
        def __getattribute__(self, name):
            return scale[0] if name == "scale" else object.__getattribute__(self, name)

    class Below(Above):
        """A class with nothing of its own, so far."""

    below = Below()
    return lambda x: x * below.scale, values(functools.partial(scale.__setitem__, 0))


def what_the_getattribute_of_a_metaclass_reads():
    scale = [1.0]

    class Meta(type):
        def __getattribute__(cls, name):
            return scale[0] if name == "scale" else type.__getattribute__(cls, name)

    class Owner(metaclass=Meta):
        """A class with nothing of its own, so far."""

    return lambda x: x * Owner.scale, values(functools.partial(scale.__setitem__, 0))


def attribute_read_past_the_class():
    class Owner:
        """A class with nothing of its own, so far."""

    owner = Owner()
    owner.scale = 1.0
    return lambda x: x * object.__getattribute__(owner, "scale"), setting(owner, "scale", 2.0)


def slot_read_past_the_class():
    class Owner:
        __slots__ = ("scale",)

    owner = Owner()
    owner.scale = 1.0
    get = Owner.scale.__get__
    return lambda x: x * get(owner), setting(owner, "scale", 2.0)


def attribute_of_the_class_of_an_object():
    class Owner:
        scale = 1.0

    owner, name = Owner(), ["scale"]
    return lambda x: x * getattr(type(owner), name[0]), setting(Owner, "scale", 2.0)


def attribute_of_a_subclass():
    class Above:
        """A class with nothing of its own, so far."""

    class Below(Above):
        scale = 1.0

    name = ["scale"]
    return lambda x: x * getattr(Above.__subclasses__()[0], name[0]), setting(Below, "scale", 2.0)


def method_that_a_class_gets():
    class Owner:
        """A class with nothing of its own, so far."""

    owner = Owner()
    return lambda x: x * (2 if owner else 3), [
        lambda: setattr(Owner, "__bool__", lambda self: False),
        lambda: delattr(Owner, "__bool__"),
    ]


def method_that_a_base_gets():
    class Above:
        """A class with nothing of its own, so far."""

    class Below(Above):
        """A class with nothing of its own, so far."""

    one, other = Below(), Below()
    return lambda x: x * (2 if one == other else 3), [lambda: setattr(Above, "__eq__", lambda self, other: True)]


def bases_of_a_class():
    class First:
        """A class with nothing of its own, so far."""

    class Second(First):
        """A class with nothing of its own, so far."""

    class Owner(First):
        """A class with nothing of its own, so far."""

    owner = Owner()
    return lambda x: x * (2 if isinstance(owner, Second) else 3), setting(Owner, "__bases__", (Second,), (First,))


def registered_class():
    class Base(abc.ABC):
        @abc.abstractmethod
        def method(self):
            """Do nothing."""

    class Owner:
        """A class with nothing of its own, so far."""

    owner = Owner()
    return lambda x: x * (2 if isinstance(owner, Base) else 3), [lambda: Base.register(Owner)]


def name_of_a_class():
    class Owner:
        """A class with nothing of its own, so far."""

    return lambda x: x * len(Owner.__name__), setting(Owner, "__name__", "O", "Own")


def name_of_a_function():
    def f():
        """Do nothing."""

    return lambda x: x * len(f.__name__), setting(f, "__name__", "ff", "f")


def annotations_of_a_function():
    def f(a: int):
        """Do nothing."""

    return lambda x: x * len(inspect.get_annotations(f)), [lambda: f.__annotations__.update(b=int)]


def name_that_hides_a_builtin():
    return lambda x: x * max(1.0, 2.0), [
        lambda: globals().__setitem__("max", min),
        lambda: globals().pop("max"),
    ]


def name_that_is_missing():
    def f(x):
        try:
            return x * LATE
        except NameError:
            return x

    return f, [lambda: globals().__setitem__("LATE", 2.0), lambda: globals().pop("LATE")]


def name_among_the_builtins():
    builtins.LATE_BUILTIN = 1.0
    return lambda x: x * LATE_BUILTIN, [  # noqa: F821  (the point)
        lambda: setattr(builtins, "LATE_BUILTIN", 2.0),
        lambda: setattr(builtins, "LATE_BUILTIN", 1.0),
    ]


def attribute_of_an_installed_module():
    operator.scale = 1.0
    return lambda x: x * operator.scale, setting(operator, "scale", 2.0)


def patched_builtin():
    return lambda x: x * divmod(5, 2)[0], setting(builtins, "divmod", lambda a, b: (7, a), divmod)


def patched_function_of_numpy():
    return lambda x: np.clip(x, 0.0, 2.0), setting(np, "clip", lambda x, low, high: x * high, np.clip)


def patched_function_of_a_package():
    return lambda x: x * operator.floordiv(5, 2), setting(operator, "floordiv", lambda a, b: 7, operator.floordiv)


def patched_function_of_a_part_of_a_package():
    return lambda x: x * np.linalg.cond(np.eye(2)), setting(np.linalg, "cond", lambda a: 7.0, np.linalg.cond)


def function_by_a_computed_name():
    settings = types.SimpleNamespace(activation="relu")
    return lambda x: getattr(F, settings.activation)(x - 2), setting(F, "relu", lambda x: x * 3, F.relu)


def captured_function_of_numpy():
    tanh = np.tanh
    return lambda x: tanh(x) * x, setting(np, "tanh", np.sin, np.tanh) + setting(np, "multiply", np.add, np.multiply)


def method_of_a_layer():
    return method_of(nn.Tanh, "forward", doubled, nn.Sequential(nn.ReLU(), nn.Tanh()))


def method_that_a_layer_gets():
    return method_of(nn.Tanh, "__call__", doubled, nn.Sequential(nn.ReLU(), nn.Tanh()))


def method_of_all_layers():
    return method_of(nn.Module, "__call__", doubled, nn.Tanh())


def method_of_a_layer_that_the_function_makes():
    return method_of(nn.Tanh, "forward", doubled, lambda x: nn.Tanh()(x))


def method_of_the_base_of_a_users_layer():
    class Own(nn.Tanh):
        def forward(self, x):
            return super().forward(x) + 1

    return method_of(nn.Tanh, "forward", doubled, Own())


def what_a_method_of_a_layer_reads():
    forward, nn.Tanh.forward = vars(nn.Tanh)["forward"], lambda layer, x: x * SCALE
    return nn.Tanh(), [*setting(sys.modules[__name__], "SCALE", 3.0, 2.0), lambda: setattr(nn.Tanh, "forward", forward)]


def method_of_an_optimizer():
    w = mg.tensor(X, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def f(x):
        with mg.no_grad():
            w[...] = x
        optimizer.zero_grad()
        np.sum(w**2).backward()
        optimizer.step()
        return w * 1

    return method_of(optim.SGD, "step", lambda optimizer: None, f)


def method_of_a_tensor():
    return method_of(mg.Tensor, "sum", lambda x, *args: x[0], lambda x: x * x.sum())


def method_of_an_object_of_a_package():
    half = fractions.Fraction(5, 9)
    return method_of(
        fractions.Fraction, "limit_denominator", lambda x, n: 7, lambda x: x * float(half.limit_denominator(3))
    )


def package_by_another_name():
    scale, other = types.ModuleType("scale"), types.ModuleType("other")
    scale.__file__, scale.of, other.of = np.__file__, 2.0, 3.0
    globals()["scaling"] = scale
    return lambda x: x * scaling.of, [lambda: globals().update(scaling=other)]  # noqa: F821  (the point)


def environment_that_a_function_reads():
    os.environ["NATIVES_SCALE"] = "1.0"
    return lambda x: x * float(os.getenv("NATIVES_SCALE")), values(
        functools.partial(os.environ.__setitem__, "NATIVES_SCALE"), ("2.0", "3.0")
    )


def environment_that_a_package_reads():
    return lambda x: x * len(os.path.expanduser("~")), values(
        functools.partial(os.environ.__setitem__, "HOME"), ("/a", "/abc", os.environ["HOME"])
    )


def folder_that_a_package_asks_for():
    start = Path.cwd()
    return lambda x: x * len(os.path.abspath("a")), [lambda: os.chdir("/"), lambda: os.chdir(start)]


def folder_by_a_global_name():
    start = Path.cwd()
    globals()["getcwd"] = os.getcwd
    return lambda x: x * len(getcwd()), [lambda: os.chdir("/"), lambda: os.chdir(start)]  # noqa: F821  (the point)


def precision_of_new_decimals():
    context = decimal.getcontext()
    return lambda x: x * float(decimal.Decimal(1) / 3), setting(context, "prec", 3, 28)


def precision_that_a_context_has():
    context = decimal.getcontext()
    return lambda x: x * decimal.getcontext().prec, setting(context, "prec", 3, 28)


def text_that_a_helper_makes():
    found = np.array([1.23456789])
    return lambda x: x * len("".join(map(str, [found]))), values(
        lambda precision: np.set_printoptions(precision=precision), (2, 8)
    )


def attribute_of_a_module_with_a_class():
    class Own(types.ModuleType):
        @property
        def scale(self):
            return self.value

    module = Own("own")
    module.value = 1.0
    return lambda x: x * module.scale, setting(module, "value", 2.0)


def module_imported_by_a_computed_name():
    module = sys.modules["natives_by_name"] = types.ModuleType("natives_by_name")
    module.scale, parts = 1.0, ["natives", "by", "name"]
    return lambda x: x * importlib.import_module("_".join(parts)).scale, setting(module, "scale", 2.0)


def module_that_is_missing():
    module = types.ModuleType("natives_late")
    module.scale = 2.0

    def f(x):
        try:
            import natives_late
        except ImportError:
            return x
        return x * natives_late.scale

    return f, [
        lambda: sys.modules.__setitem__("natives_late", module),
        lambda: sys.modules.pop("natives_late"),
    ]


def module_found_by_a_computed_name():
    module = sys.modules["natives_found"] = types.ModuleType("natives_found")
    module.scale, parts = 1.0, ["natives", "found"]
    return lambda x: x * sys.modules["_".join(parts)].scale, setting(module, "scale", 2.0)


CASES = [f for name, f in list(globals().items()) if inspect.isfunction(f) and f.__module__ == __name__][3:]


@pytest.mark.parametrize("around", CASES, ids=lambda f: f.__name__)
def test_every_change_is_seen(around):
    with np.errstate(), np.printoptions(), decimal.localcontext():
        follows(*around())


@pytest.mark.parametrize("read", [Path.read_text, np.loadtxt, os.path.getsize])
def test_a_file_that_is_read_is_watched(tmp_path, read):
    path = tmp_path / "scale.txt"
    path.write_text("1.0")
    follows(lambda x: x * float(read(path)), values(path.write_text, ("22.0", "333.0")))


def test_a_file_that_is_missing_is_watched(tmp_path):
    path = tmp_path / "scale.txt"
    follows(lambda x: x * (2 if path.exists() else 3), [path.touch, path.unlink])


def writes_to_a_file(tmp_path):
    path = tmp_path / "log.txt"
    return lambda x: (path.write_text(f"{path.exists()}"), x)[1], "log.txt' was changed"


def reads_the_clock(tmp_path):
    return lambda x: x * time.time(), "the clock is read.*mg.anew"


def reads_an_imported_clock(tmp_path):
    from time import perf_counter

    globals()["perf_counter"] = perf_counter
    return eval("lambda x: x * perf_counter()", globals()), "the clock is read"


def reads_a_clock_that_an_object_has(tmp_path):
    timer = types.SimpleNamespace(clock=time.monotonic)
    return lambda x: x * timer.clock(), "the clock is read"


def evaluates_a_text(tmp_path):
    read = eval
    return lambda x: x * read("SCALE"), "eval is captured"


def looks_at_its_caller(tmp_path):
    return lambda x: x * len(sys._getframe(1).f_code.co_name), "_getframe is used"


def reads_the_date(tmp_path):
    return lambda x: x * datetime.datetime.now().year, "the clock is read"


def asks_a_queue(tmp_path):
    found = queue.SimpleQueue()
    return lambda x: x * found.qsize(), "SimpleQueue doesn't show.*qsize"


def asks_by_a_captured_method(tmp_path):
    count = queue.SimpleQueue().qsize
    return lambda x: x * count(), "SimpleQueue doesn't show"


def looks_for_referrers(tmp_path):
    import gc

    return lambda x: x * len(gc.get_referrers(X)), "get_referrers is used"


def reads_the_globals_of_a_frame(tmp_path):
    return lambda x: x * sys._getframe().f_globals["SCALE"], "(f_globals|_getframe) is used"


def sets_an_attribute_past_the_class(tmp_path):
    class Owner:
        calls = 0

    owner = Owner()
    return lambda x: (object.__setattr__(owner, "calls", owner.calls + 1), x)[1], "was changed"


def changes_an_error(tmp_path):
    error = Exception(1.0)

    def f(x):
        error.args = (error.args[0] + 1,)
        return x * error.args[0]

    return f, "the captured 'error' was changed"


def sets_an_attribute_of_an_installed_module(tmp_path):
    array.calls = 0

    def f(x):
        array.calls += 1
        return x * array.calls

    return f, "the captured 'array.calls' was changed"


@pytest.mark.parametrize(
    "make",
    [
        writes_to_a_file, reads_the_clock, reads_an_imported_clock, reads_a_clock_that_an_object_has, reads_the_date,
        evaluates_a_text, looks_at_its_caller, asks_a_queue,
        asks_by_a_captured_method, looks_for_referrers, reads_the_globals_of_a_frame,
        sets_an_attribute_past_the_class, changes_an_error, sets_an_attribute_of_an_installed_module,
    ],
)  # fmt: skip
def test_what_no_program_could_repeat_is_refused(make, tmp_path):
    f, match = make(tmp_path)
    for _ in range(2):
        with pytest.raises(TypeError, match=match):
            mg.compile(f)(X)


def test_a_global_name_that_a_refused_function_has_made_is_gone():
    def f(x):
        global FRESH
        try:
            FRESH += 1
        except NameError:
            FRESH = 0
        return x * FRESH

    with pytest.raises(TypeError, match="'FRESH' was changed"):
        mg.compile(f)(X)
    assert "FRESH" not in globals()


def test_the_clock_may_be_read_anew():
    assert np.all(mg.compile(lambda x: x * mg.anew(time.time))(X) > 0)
    assert np.all(mg.compile(lambda x: x * mg.anew(lambda: time.time()))(X) > 0)
    assert time.time.__name__ == "time"  # as before the trace


def test_classes_are_restored_if_a_trace_cannot_start(monkeypatch):
    class Settings:
        """A class with nothing of its own, so far."""

    settings, error = Settings(), Exception()
    monkeypatch.setattr("microgradnd.compiler.watch.reader", lambda thing: 1 / 0 if thing is error else None)
    with pytest.raises(ZeroDivisionError):
        mg.compile(lambda x: x * len([error, settings]))(X)
    assert "__getattribute__" not in vars(Settings)


def test_each_thread_has_its_own_name():
    found = []
    f = mg.compile(lambda x: x * len(threading.current_thread().name))
    for name in ("a", "bcd"):
        thread = threading.Thread(target=lambda: found.append(f(X)), name=name)
        thread.start()
        thread.join()
    np.testing.assert_array_equal(found, [X, 3 * X])


def test_a_lock_may_be_held():
    lock = threading.Lock()

    def f(x):
        with lock:
            return x * 2.0

    assert follows(f, []).cache_info().misses == 1


def test_unchanged_objects_need_no_new_program():
    class Own(Exception):
        """A class with nothing of its own, so far."""

    error, context, when = Own(1.0), decimal.Context(), datetime.datetime(2020, 1, 1)
    partial, found = functools.partial(operator.mul, 2.0), np.ma.array([1.0])
    f = mg.compile(lambda x: partial(x) * error.args[0] * context.prec * when.year * found.fill_value)
    for i in range(3):
        error.unread = i
        f(X)
    assert (f.cache_info().misses, f.cache_info().hits) == (1, 2)


def test_the_result_that_a_session_keeps_is_not_watched(monkeypatch):
    f = mg.compile(lambda x: x * len("_".join(["a", "b"])))
    for i in range(12):
        monkeypatch.setattr(builtins, "_", i, raising=False)
        f(X)
    assert f.cache_info().misses == 1


def test_a_program_runs_while_another_thread_traces():
    started, go_on = threading.Event(), threading.Event()
    quick = mg.compile(lambda x: x * max(len("ab"), 1))

    def slow(x):
        started.set()
        go_on.wait(10)
        return x * len("abc")

    def trace():
        with pytest.raises(TypeError, match="was changed"):  # an event is set
            mg.compile(slow)(X)

    quick(X)
    thread = threading.Thread(target=trace)
    thread.start()
    started.wait(10)
    for _ in range(12):  # in the meantime, `len` is the trace's
        np.testing.assert_array_equal(quick(X), 2 * X)
    go_on.set()
    thread.join()
    assert quick.cache_info().misses == 1


def test_compiled_functions_are_not_looked_into():
    class Trainer:
        scale = 2.0

        @mg.compile
        def run(self, x):
            return x * self.scale

    trainer = Trainer()
    trainer.run(X)

    def f(x):
        object.__setattr__(trainer, "calls", 1)  # makes all objects be watched whole
        return Trainer.run(trainer, x)

    follows(f, setting(trainer, "scale", 3.0))
