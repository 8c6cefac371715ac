"""Programs with surroundings: a function, what is around it, and calls between which that changes.

Owns: the tables of things around a function, of ways to come by them, of training steps, results and calls; `Program`,
its text, and drawing one.
Must not own: running and comparing (`contract.py`).
Read next: `contract.py`.

The function takes an array `x`, and a value `h` of its shape passes through a few parts. A part is a thing (a settings
object, a parameter, a module, an array, a generator), a use of it, and a way by which the function comes by it: any
thing goes with any way. Then come a loss, a training step and a result. Before each call some of the things change.

In the tables `$n` is the number of the part, `$a`, `$b`, `$c` are numbers, and `$it` stands for the thing, however the
function came by it; `it$n` is its global name. What is marked `refusable` may be refused: side effects, and control
flow on values. Everything else should run.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from string import Template
from typing import Any

Choose = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Thing:
    """Something around a function.

    Attributes
    ----------
    name : str
    setup : str
        Makes `it$n`.
    uses : tuple of str
        Expressions of `h` and `$it`, with the shape of `h`.
    changes : tuple of str
        Statements that stand between the calls.
    parameters : str
        The parameters that a training step changes.
    refusable : bool
    """

    name: str
    setup: str
    uses: tuple[str, ...]
    changes: tuple[str, ...] = ()
    parameters: str = ""
    refusable: bool = False


@dataclass(frozen=True)
class Reach:
    """A way by which a function comes by a thing: `USE[...]` is the use of the thing that is between the brackets.

    Attributes
    ----------
    name, setup : str
    step : str
        A statement of the function that gives a new `h`.
    parameter, argument : str
        What the function and its call have in their brackets for it.
    """

    name: str
    setup: str
    step: str
    parameter: str = ""
    argument: str = ""


# Settings: objects with the attributes scale, on, depth and mode

BY_ATTRIBUTE = (
    "h * $it.scale",
    "h * getattr($it, 'scale')",
    "h * getattr($it, 'missing', $it.scale)",
    "(np.tanh(h) if $it.on else h)",
    "(h * 0.5 if hasattr($it, 'extra') else h)",
    "h * 1.5 ** $it.depth",
    "functools.reduce(lambda h, _: np.sin(h), range($it.depth), h)",
    "h * {'plain': 1.5, 'odd': -0.5}[$it.mode]",
    "h * float('{:.3f}'.format($it.scale))",
)
BY_DICT = ("h * vars($it)['scale']", "h * $it.__dict__['scale']")
ATTRIBUTES = (
    "it$n.scale = $b",
    "it$n.scale = $c",
    "it$n.on = not it$n.on",
    "it$n.depth += 1",
    "it$n.mode = 'odd'",
    "it$n.extra = 1",
)
FIELDS = "scale: float = $a\n    on: bool = True\n    depth: int = 1\n    mode: str = 'plain'"
VALUES = "scale=$a, on=True, depth=1, mode='plain'"
IN_CLASS = "scale, on, depth, mode = $a, True, 1, 'plain'"

SETTINGS = (
    Thing(
        "an object",
        "class Kind$n:\n    def __init__(self):\n        self.scale, self.on, self.depth, self.mode = "
        "$a, True, 1, 'plain'\nit$n = Kind$n()",
        BY_ATTRIBUTE + BY_DICT,
        (*ATTRIBUTES, "vars(it$n)['scale'] = $b", "it$n = Kind$n()"),
    ),
    Thing(
        "an object with slots",
        "class Kind$n:\n    __slots__ = ('scale', 'on', 'depth', 'mode', 'extra')\n"
        "it$n = Kind$n()\nit$n.scale, it$n.on, it$n.depth, it$n.mode = $a, True, 1, 'plain'",
        BY_ATTRIBUTE,
        ATTRIBUTES,
    ),
    Thing(
        "a dataclass",
        f"@dataclasses.dataclass\nclass Kind$n:\n    {FIELDS}\nit$n = Kind$n()",
        (*BY_ATTRIBUTE, *BY_DICT, "h * dataclasses.asdict($it)['scale']"),
        ATTRIBUTES,
    ),
    Thing(
        "a frozen dataclass",
        f"@dataclasses.dataclass(frozen=True)\nclass Kind$n:\n    {FIELDS}\nit$n = Kind$n()",
        BY_ATTRIBUTE,
        ("it$n = dataclasses.replace(it$n, scale=$b)", "object.__setattr__(it$n, 'scale', $c)"),
    ),
    Thing(
        "a dataclass with slots",
        f"@dataclasses.dataclass(slots=True)\nclass Kind$n:\n    {FIELDS}\nit$n = Kind$n()",
        tuple(use for use in BY_ATTRIBUTE if "extra" not in use),
        ATTRIBUTES[:-1],
    ),
    Thing("a namespace", f"it$n = types.SimpleNamespace({VALUES})", BY_ATTRIBUTE + BY_DICT, ATTRIBUTES),
    Thing(
        "a module of the user",
        f"it$n = types.ModuleType('settings$n')\nvars(it$n).update({VALUES})",
        BY_ATTRIBUTE + BY_DICT,
        ATTRIBUTES,
    ),
    Thing("a class", f"class it$n:\n    {IN_CLASS}", BY_ATTRIBUTE, ATTRIBUTES),
    Thing(
        "an attribute of a class",
        f"class Kind$n:\n    {IN_CLASS}\nit$n = Kind$n()",
        BY_ATTRIBUTE,
        ("Kind$n.scale = $b", "Kind$n.on = False", "it$n.scale = $c", "vars(it$n).clear()", "Kind$n.extra = 1"),
    ),
    Thing(
        "an inherited attribute",
        f"class Base$n:\n    {IN_CLASS}\nclass Kind$n(Base$n):\n    pass\nit$n = Kind$n()",
        BY_ATTRIBUTE,
        ("Base$n.scale = $b", "Kind$n.scale = $c", "Base$n.on = False", "Base$n.depth = 2"),
    ),
    Thing(
        "a property",
        f"class Kind$n:\n    {IN_CLASS}\n    _scale = $b\n    @property\n    def scale(self):\n"
        "        return self._scale * FACTOR$n\nFACTOR$n = $a\nit$n = Kind$n()",
        BY_ATTRIBUTE,
        ("FACTOR$n = $c", "it$n._scale = $b", "Kind$n._scale = $c", "Kind$n.scale = property(lambda self: $b)"),
    ),
    Thing(
        "an object with __getattr__",
        f"class Kind$n:\n    def __init__(self):\n        self.values = dict({VALUES})\n"
        "    def __getattr__(self, name):\n        if name in ('values', 'missing', 'extra'):\n"
        "            raise AttributeError(name)\n        return self.values[name]\nit$n = Kind$n()",
        BY_ATTRIBUTE,
        ("it$n.values['scale'] = $b", "it$n.values = {**it$n.values, 'on': False}", "it$n.scale = $c"),
    ),
    Thing(
        "attributes of a function",
        f"def it$n():\n    pass\nvars(it$n).update({VALUES})",
        BY_ATTRIBUTE + BY_DICT,
        ATTRIBUTES,
    ),
    Thing(
        "a namedtuple",
        f"Kind$n = collections.namedtuple('Kind$n', 'scale on depth mode')\nit$n = Kind$n({VALUES})",
        (*BY_ATTRIBUTE, "h * $it[0]"),
        ("it$n = it$n._replace(scale=$b)", "it$n = it$n._replace(on=False)"),
    ),
    Thing(
        "settings of a layer",
        f"class Kind$n(nn.Module):\n    def __init__(self):\n        {IN_CLASS.replace('scale, on, depth, mode', 'self.scale, self.on, self.depth, self.mode')}\n"
        "    def forward(self, h):\n        return h * self.scale if self.training else h\nit$n = Kind$n()",
        (*BY_ATTRIBUTE, "$it(h)"),
        (*ATTRIBUTES, "it$n.eval()", "it$n.train()"),
    ),
    Thing(
        "an object with settings inside",
        f"it$n = types.SimpleNamespace(inner=types.SimpleNamespace({VALUES}), parts=[{{'scale': $a}}])",
        tuple(use.replace("$it", "$it.inner") for use in BY_ATTRIBUTE) + ("h * $it.parts[0]['scale']",),
        (*(change.replace("it$n", "it$n.inner") for change in ATTRIBUTES), "it$n.parts[0]['scale'] = $b"),
    ),
)

CONTAINERS = (
    Thing(
        "a dict",
        "it$n = {'scale': $a, 'on': True}",
        (
            "h * $it['scale']",
            "h * $it.get('scale', 1.0)",
            "h * sum(v for v in $it.values())",
            "h * len($it)",
            "(h * 2 if 'extra' in $it else h)",
            "functools.reduce(lambda h, k: h * len(k) * 0.5, $it, h)",
            "h * (lambda scale, **_: scale)(**$it)",
        ),
        ("it$n['scale'] = $b", "it$n.update(scale=$c)", "it$n['extra'] = 1", "it$n.pop('on', None)", "it$n = {'scale': $c}"),
    ),
    Thing(
        "a dict subclass",
        "class Kind$n(dict):\n    factor = $a\n    def __missing__(self, key):\n        return self.factor\n"
        "it$n = Kind$n(scale=$b)",
        ("h * $it['scale']", "h * $it['other']", "h * $it.factor"),
        ("it$n['scale'] = $c", "it$n['other'] = $b", "it$n.factor = $c", "Kind$n.factor = $b"),
    ),
    Thing(
        "a list",
        "it$n = [$a, $b]",
        ("h * $it[0]", "h * sum($it)", "h * len($it)", "h + max($it)", "np.clip(h, *sorted($it)[:2])", "h * np.mean($it)"),
        ("it$n[0] = $c", "it$n.append($c)", "it$n.reverse()", "it$n[:] = [$c]  * 2"),
    ),
    Thing("a set", "it$n = {$a, $b}", ("h * sum(sorted($it))", "(h if 1 in $it else -h)"), ("it$n.add(1)", "it$n.clear()")),
    Thing(
        "a deque",
        "it$n = collections.deque([$a, $b], maxlen=2)",
        ("h * $it[0]", "h + sum($it)"),
        ("it$n.append($c)", "it$n.rotate()"),
    ),
    Thing("a number", "it$n = $a", ("h * $it", "h + $it", "np.maximum(h, $it)"), ("it$n = $b", "it$n = 2", "it$n = np.float64($c)")),
    Thing("an integer", "it$n = 1", ("h * $it", "np.roll(h, $it)", "h ** ($it + 1)"), ("it$n += 1", "it$n = 0")),
    Thing("a text", "it$n = 'plain'", ("(h if $it == 'plain' else -h)", "h * len($it)"), ("it$n = 'odd'",)),
    Thing(
        "a context variable",
        "it$n = contextvars.ContextVar('it$n', default=$a)",
        ("h * $it.get()",),
        ("it$n.set($b)", "it$n.set($c)"),
    ),
    Thing(
        "an iterator",
        "it$n = iter([$a, $b, $c] * 5)",
        ("h * next($it)",),
        ("next(it$n)",),
        refusable=True,
    ),
)

FUNCTIONS = (
    Thing(
        "a function",
        "def it$n(h, factor=$a):\n    return h * factor",
        ("$it(h)",),
        (
            "def it$n(h):\n    return h * $b",
            "it$n.__defaults__ = ($c,)",
            "it$n.__code__ = (lambda h, factor=1.0: h - factor).__code__",
        ),
    ),
    Thing(
        "a method",
        "class Base$n:\n    def apply(self, h):\n        return h * $a\nclass Kind$n(Base$n):\n    pass\nit$n = Kind$n()",
        ("$it.apply(h)", "(lambda apply: apply(h))($it.apply)"),
        (
            "Base$n.apply = lambda self, h: h * $b",
            "Kind$n.apply = lambda self, h: h - $c",
            "it$n.apply = lambda h: h * $c",
        ),
    ),
    Thing(
        "operators of an object",
        "class Kind$n:\n    value = $a\n    def __call__(self, h):\n        return h * self.value\n"
        "    def __getitem__(self, h):\n        return h - self.value\n    def __len__(self):\n        return 2\n"
        "    def __bool__(self):\n        return self.value > 0\n    def __float__(self):\n        return self.value\n"
        "it$n = Kind$n()",
        ("$it(h)", "$it[h]", "h * len($it)", "(h if $it else -h)", "h * float($it)"),
        (
            "it$n.value = $b",
            "Kind$n.value = -$c",
            "Kind$n.__call__ = lambda self, h: h - $b",
            "Kind$n.__len__ = lambda self: 3",
            "Kind$n.__bool__ = lambda self: False",
        ),
    ),
    Thing(
        "a class that computes",
        "class it$n:\n    factor = $a\n    @classmethod\n    def scaled(cls, h):\n        return h * cls.factor\n"
        "    @staticmethod\n    def moved(h):\n        return h + $b\n    def __init__(self, h=0.0):\n        self.h = h",
        ("$it.scaled(h)", "$it.moved(h)", "$it(h).h * $it.factor"),
        ("it$n.factor = $b", "it$n.moved = staticmethod(lambda h: h - $c)", "it$n.scaled = classmethod(lambda cls, h: h)"),
    ),
    Thing(
        "a cached function",
        "SCALE$n = $a\n@functools.lru_cache\ndef it$n():\n    return SCALE$n",
        ("h * $it()",),
        ("SCALE$n = $b", "it$n.cache_clear()"),
    ),
)

ARRAYS = (
    Thing(
        "an array",
        "it$n = np.array([$a, $b, $c])",
        ("h * $it", "h + $it[None]", "np.where($it > 0, h, -h)", "h * np.max($it)", "h * $it.size", "h * $it[0]", "h @ np.diag($it)"),
        (
            "it$n[0] = $c",
            "it$n *= -0.5",
            "it$n = np.array([$c, $a, $b])",
            "it$n = it$n[::-1]",
            "it$n = np.array([$b, $c, $a], dtype=np.float32)",
        ),
    ),
    Thing(
        "an array of integers",
        "it$n = np.array([2, 0, 1])",
        ("h[:, $it]", "h * $it", "np.take(h, $it, axis=1)", "h[:, $it.tolist()]"),
        ("it$n[:] = [1, 2, 0]", "it$n = np.array([0, 0, 2])"),
    ),
    Thing(
        "a mask",
        "it$n = np.array([True, False, True])",
        ("np.where($it, h, 0.5 * h)", "h * $it", "h * np.sum(h[:, $it])", "h * np.count_nonzero($it)"),
        ("it$n[:] = [False, True, False]", "it$n = ~it$n", "it$n[1] = True"),
    ),
    Thing(
        "a Tensor",
        "it$n = mg.tensor([$a, $b, $c])",
        ("h * $it", "h + $it.sum()", "h * $it[0]"),
        ("it$n.data = np.array([$b, $c, $a])", "it$n[0] = $c", "it$n *= 0.5", "it$n = mg.tensor([$c, $c, $a])", "it$n.requires_grad = True"),
    ),
)

VARIABLES = (
    Thing(
        "a parameter",
        "it$n = nn.Parameter(np.array([$a, $b, $c]))",
        ("h * $it", "h + np.tanh($it)", "h * $it[0]", "h * ($it if $it.requires_grad else 2.0)", "h * $it.detach()"),
        (
            "it$n.data = np.array([$c, $a, $b])",
            "with mg.no_grad():\n    it$n *= 0.5",
            "it$n.requires_grad = not it$n.requires_grad",
            "hook$n = it$n.register_hook(lambda g: g * 0.5)",
            "it$n.grad = None",
            "it$n.grad = np.array([0.1, 0.2, 0.3])",
            "if it$n.requires_grad:\n    np.sum(it$n * $b).backward()",
            "it$n = nn.Parameter(np.array([$b, $b, $c]))",
        ),
        "[it$n]",
    ),
    Thing(
        "a Linear",
        "it$n = nn.Linear(3, 3, rng=np.random.default_rng($n))",
        ("$it(h)", "np.tanh($it(h))", "h @ $it.weight", "h + sum(np.sum(p) for p in $it.parameters())"),
        (
            "it$n.weight.requires_grad = not it$n.weight.requires_grad",
            "it$n.bias.requires_grad = not it$n.bias.requires_grad",
            "it$n.weight = nn.Parameter(np.full((3, 3), $b))",
            "it$n.weight.data = np.eye(3)",
            "it$n.bias.register_hook(lambda g: -g)",
            "it$n.zero_grad()",
            "it$n.load_state_dict({k: v * 0.5 for k, v in it$n.state_dict().items()})",
            "np.sum(it$n(np.ones((1, 3))) ** 2).backward()",
        ),
        "list(it$n.parameters())",
    ),
    Thing(
        "a Sequential",
        "it$n = nn.Sequential(nn.Linear(3, 4, rng=np.random.default_rng($n)), nn.Tanh(), "
        "nn.Linear(4, 3, rng=np.random.default_rng(1)))",
        ("$it(h)", "$it[2]($it[0](h))", "functools.reduce(lambda h, layer: layer(h), $it, h)"),
        (
            "it$n[0].weight.requires_grad = not it$n[0].weight.requires_grad",
            "it$n.eval()",
            "it$n[0].bias.grad = np.ones(4)",
            "it$n[2].weight.data *= 0.5",
            "it$n[1].forward = lambda h: np.sin(h)",
            "nn.Tanh.extra = 1",
        ),
        "list(it$n.parameters())",
    ),
    Thing(
        "a layer with a buffer",
        "class Kind$n(nn.Module):\n    def __init__(self):\n        self.gain, self.momentum = nn.Parameter(np.array([$a, 1.0, $b])), 0.1\n"
        "        self.register_buffer('mean', np.zeros(3))\n"
        "    def forward(self, h):\n        if self.training:\n"
        "            self.mean = (1 - self.momentum) * self.mean + self.momentum * np.mean(h, axis=0)\n"
        "        return self.gain * (h - self.mean)\nit$n = Kind$n()",
        ("$it(h)", "h - $it.mean", "$it($it(h))"),
        ("it$n.eval()", "it$n.train()", "it$n.momentum = 0.3", "it$n.mean = np.ones(3)", "it$n.mean[0] = $b", "it$n.gain.requires_grad = False"),
        "[it$n.gain]",
    ),
    Thing(
        "a layer with running statistics",
        "class Kind$n(nn.Module):\n    def __init__(self):\n        self.gain, self.momentum = nn.Parameter(np.array([$a, 1.0, $b])), 0.1\n"
        "        self.register_buffer('mean', np.zeros(3))\n"
        "    def forward(self, h):\n        if self.training:\n"
        "            with mg.no_grad():\n                self.mean = (1 - self.momentum) * self.mean + self.momentum * np.mean(h, axis=0)\n"
        "        return self.gain * (h - self.mean)\nit$n = Kind$n()",
        ("$it(h)", "h - $it.mean", "$it($it(h))"),
        ("it$n.eval()", "it$n.train()", "it$n.momentum = 0.3", "it$n.mean = np.ones(3)", "it$n.mean[0] = $b", "it$n.gain.requires_grad = False"),
        "[it$n.gain]",
    ),
    Thing(
        "a layer that others share parameters with",
        "class Kind$n(nn.Module):\n    def __init__(self, weight):\n        self.weight = weight\n"
        "    def forward(self, h):\n        return np.tanh(h @ self.weight)\n"
        "one$n = Kind$n(nn.Parameter(np.eye(3) * $a))\nit$n = Kind$n(one$n.weight)",
        ("$it(h)", "one$n($it(h))", "$it(h) @ one$n.weight"),
        ("it$n.weight.requires_grad = False", "one$n.weight.data = np.eye(3)", "one$n.weight.grad = np.ones((3, 3))"),
        "[one$n.weight]",
    ),
    Thing(
        "a layer with settings",
        "class Kind$n(nn.Module):\n    def __init__(self):\n        self.layers = nn.Sequential(*(nn.Linear(3, 3, rng=np.random.default_rng(i)) for i in range(2)))\n"
        "        self.options = {'skip': True}\n"
        "    def forward(self, h, scale=$a):\n        for layer in self.layers:\n"
        "            h = h + scale * layer(h) if self.options['skip'] else layer(h)\n        return np.tanh(h)\nit$n = Kind$n()",
        ("$it(h)", "$it(h, scale=0.5)"),
        ("it$n.options['skip'] = False", "it$n.layers = nn.Sequential(*it$n.layers[:1])", "it$n.layers[1].weight.requires_grad = False", "Kind$n.forward.__defaults__ = ($b,)"),
        "list(it$n.parameters())",
    ),
)

CHANCE = (
    Thing(
        "a counter by anew",
        "class Kind$n:\n    n = 0\n    def __call__(self):\n        self.n += 1\n        return np.full(3, 0.1 * self.n)\nit$n = Kind$n()",
        ("h + mg.anew($it, 3)", "h * mg.anew($it, (3,))"),
        ("it$n.n = 7",),
    ),
    Thing(
        "a generator by anew",
        "it$n = np.random.default_rng($n)",
        ("h + mg.anew(lambda: $it.normal(size=3), 3)", "h * mg.anew($it.random)"),
        ("it$n = np.random.default_rng(5)", "it$n.normal()"),
    ),
    Thing("a generator", "it$n = np.random.default_rng($n)", ("h + $it.normal(size=3)", "h * $it.random()"), refusable=True),
    Thing("a generator of Python", "it$n = random.Random($n)", ("h * $it.random()", "h * $it.choice([1.0, 2.0])"), refusable=True),
    Thing("a shared generator", "it$n = np.random\nit$n.seed(0)", ("h * $it.uniform(1, 2)",), refusable=True),
)

EFFECTS = (
    Thing(
        "a count",
        "it$n = types.SimpleNamespace(calls=0, seen=[])",
        ("h * counted($it)", "h * len([$it.seen.append(1), *$it.seen])"),
        ("it$n.calls = 0",),
        refusable=True,
    ),
    Thing("a list that grows", "it$n = []", ("h * ($it.append(1) or len($it))",), refusable=True),
    Thing("a cache", "it$n = {}", ("h * $it.setdefault('scale', $a)",), ("it$n.clear()",), refusable=True),
    Thing(
        "a layer that counts",
        "class Kind$n(nn.Module):\n    def __init__(self):\n        self.gain, self.calls = nn.Parameter($a), 0\n"
        "    def forward(self, h):\n        self.calls += 1\n        return self.gain * h * self.calls\nit$n = Kind$n()",
        ("$it(h)",),
        ("it$n.calls = 3",),
        "[it$n.gain]",
        refusable=True,
    ),
    Thing(
        "a buffer that is written to",
        "class Kind$n(nn.Module):\n    def __init__(self):\n        self.register_buffer('mean', np.zeros(3))\n"
        "    def forward(self, h):\n        self.mean *= 0.9\n        self.mean += 0.1\n        return h - self.mean\nit$n = Kind$n()",
        ("$it(h)",),
        ("it$n.mean = np.ones(3)",),
        refusable=True,
    ),
    Thing("an array that is written to", "it$n = np.zeros(3)", ("h + np.add($it, 0.5, out=$it)",), ("it$n[0] = $b",), refusable=True),
    Thing("a Tensor that is written to", "it$n = mg.tensor([$a, $b, $c])", ("h * halved($it)",), ("it$n[0] = $b",), refusable=True),
    Thing("control flow", "it$n = $a", ("(h if np.sum(h) > $it else -h)", "h * tried(h, $it)"), refusable=True),
)

THINGS = (*SETTINGS, *CONTAINERS, *FUNCTIONS, *ARRAYS, *VARIABLES, *VARIABLES, *CHANCE, *EFFECTS)

BY = "h = by$n(h)"
REACHES = (
    Reach("a global", "", "h = USE[it$n]"),
    Reach("a global of a helper", "def by$n(h):\n    return USE[it$n]", BY),
    Reach("an argument of a helper", "def by$n(h, it):\n    return USE[it]", "h = by$n(h, it$n)"),
    Reach("a default", "def by$n(h, it=it$n):\n    return USE[it]", BY),
    Reach("a keyword with a default", "def by$n(h, *, it=it$n):\n    return USE[it]", BY),
    Reach("a closure", "def around$n(it):\n    def by(h):\n        return USE[it]\n    return by\nby$n = around$n(it$n)", BY),
    Reach("a lambda", "by$n = lambda h: USE[it$n]", BY),
    Reach("a partial", "def of$n(it, h):\n    return USE[it]\nby$n = functools.partial(of$n, it$n)", BY),
    Reach("a partial's keyword", "by$n = functools.partial(lambda h, it: USE[it], it=it$n)", BY),
    Reach("a list", "box$n = [None, it$n]", "h = USE[box$n[1]]"),
    Reach("a dict", "box$n = {'it': it$n}", "h = USE[box$n['it']]"),
    Reach("a nested container", "box$n = {'its': [(it$n,)]}", "for (it,) in box$n['its']:\n    h = USE[it]"),
    Reach("a namespace", "box$n = types.SimpleNamespace(it=it$n)", "h = USE[box$n.it]"),
    Reach(
        "a bound method",
        "class By$n:\n    def __init__(self, it):\n        self.it = it\n    def apply(self, h):\n        return USE[self.it]\n"
        "by$n = By$n(it$n).apply",
        BY,
    ),
    Reach(
        "a callable object",
        "class By$n:\n    def __init__(self, it):\n        self.it = it\n    def __call__(self, h):\n        return USE[self.it]\n"
        "by$n = By$n(it$n)",
        BY,
    ),
    Reach("an attribute of a class", "class By$n:\n    it = it$n", "h = USE[vars(By$n)['it']]"),
    Reach("a static method", "class By$n:\n    @staticmethod\n    def apply(h):\n        return USE[it$n]", "h = By$n.apply(h)"),
    Reach("a class method", "class By$n:\n    its = (it$n,)\n    @classmethod\n    def apply(cls, h):\n        return USE[cls.its[0]]", "h = By$n.apply(h)"),
    Reach("a property", "class By$n:\n    @property\n    def it(self):\n        return it$n\nby$n = By$n()", "h = USE[by$n.it]"),
    Reach(
        "a cached property", "class By$n:\n    @functools.cached_property\n    def it(self):\n        return it$n\nby$n = By$n()\nby$n.it", "h = USE[by$n.it]"
    ),
    Reach("a field of a dataclass", "@dataclasses.dataclass\nclass By$n:\n    it: object\nby$n = By$n(it$n)", "h = USE[by$n.it]"),
    Reach("a weak reference", "by$n = lambda: it$n", "h = USE[by$n()]"),
    Reach(
        "a context manager",
        "@contextlib.contextmanager\ndef by$n():\n    yield it$n",
        "with by$n() as it:\n    h = USE[it]",
    ),
    Reach("an iterable object", "class By$n:\n    def __iter__(self):\n        yield it$n\nby$n = By$n()", "for it in by$n:\n    h = USE[it]"),
    Reach("an attribute of a layer", "class By$n(nn.Module):\n    def __init__(self, it):\n        self.it = it\n    def forward(self, h):\n        return USE[self.it]\nby$n = By$n(it$n)", BY),
    Reach(
        "a decorated helper",
        "def around$n(f):\n    @functools.wraps(f)\n    def by(*args):\n        return f(*args)\n    return by\n"
        "@around$n\ndef by$n(h):\n    return USE[it$n]",
        BY,
    ),
    Reach("a match", "", "match it$n:\n    case it:\n        h = USE[it]"),
    Reach("globals()", "", "h = USE[globals()['it$n']]"),
    Reach("a compiled helper", "@compile_\ndef by$n(h):\n    return USE[it$n]", BY),
    Reach("a derivative", "", "h = mg.grad(lambda h: np.sum(np.sin(USE[it$n])))(h)"),
    Reach("a checkpoint", "", "h = mg.checkpoint(lambda h: USE[it$n])(h)"),
    Reach("no_grad", "", "with mg.no_grad():\n    h = USE[it$n]"),
    Reach("an argument", "", "h = USE[arg$n]", "arg$n", "it$n"),
    Reach("an argument in a list", "", "h = USE[arg$n[0]]", "arg$n", "[it$n]"),
    Reach("an argument in a dict", "", "h = USE[arg$n['it']]", "arg$n", "{'it': it$n}"),
    Reach("an object as an argument", "box$n = types.SimpleNamespace(it=it$n)", "h = USE[arg$n.it]", "arg$n", "box$n"),
    Reach("an argument, and a global", "", "h = USE[it$n] + USE[arg$n]", "arg$n", "it$n"),
)

# Training steps; `anchor` is a parameter that is never frozen, so that a loss always has a derivative

NORM = "norm = sum(np.sum(p.grad ** 2) for p in params if p.grad is not None)"
TRAININGS = (
    "",
    "",
    "loss.backward()",
    "OPT.zero_grad()\nloss.backward()\nOPT.step()",
    "OPT.zero_grad()\nloss.backward()\nOPT.step()",
    "loss.backward()\nOPT.step()\nOPT.zero_grad()",
    "loss.backward()\nOPT.step()",
    "OPT.step()\nloss.backward()",
    "OPT.zero_grad()",
    "OPT.step()",
    f"loss.backward()\n{NORM}",
    f"{NORM}\nOPT.zero_grad()\nloss.backward()\nOPT.step()",
    "OPT.zero_grad()\nloss.backward()\nfor p in params:\n    if p.grad is not None:\n        p.grad = np.clip(p.grad, -0.1, 0.1)\nOPT.step()",
    "loss.backward()\nwith mg.no_grad():\n    for p in params:\n        if p.grad is not None:\n            p -= 0.05 * p.grad\n            p.grad = None",
    "loss.backward()\nwith mg.no_grad():\n    for p in params:\n        p *= 0.9",
    "OPT.zero_grad()\nloss.backward()\n(anchor * 2.0).backward()\nOPT.step()",
    "loss.backward()\nanchor.grad = None",
    "for p in params:\n    p.grad = None\n(loss * OPT.lr).backward()\nOPT.step()",
    "held = anchor\nwith mg.no_grad():\n    held -= 0.1 * held",
    "loss = loss + np.sum(anchor.detach() ** 2)\nloss.backward()",
    "loss.backward()\nif OPT.lr > 0.04:\n    OPT.step()",
)
OPTIMIZERS = (
    "optim.SGD(params, lr=0.05)",
    "optim.SGD(params, lr=0.05, momentum=0.9)",
    "optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1)",
    "optim.Adam(params, lr=0.05)",
    "optim.Adam(params, lr=0.05, weight_decay=0.1)",
)
OPTIMIZER_REACHES = (
    Reach("a global", "", "opt"),
    Reach("an argument", "", "given", "given", "opt"),
    Reach("a trainer", "trainer = types.SimpleNamespace(opt=opt)", "trainer.opt"),
    Reach("a list", "opts = [opt]", "opts[0]"),
    Reach("a getter", "def get():\n    return opt", "get()"),
)
OPTIMIZER_CHANGES = (
    "opt.lr = opt.lr * 0.5",
    "opt.lr = 0.02",
    "opt.zero_grad()",
    "opt.step()",
    "opt.load_state_dict(opt.state_dict())",
    "for p in params:\n    p.grad = np.ones(p.shape)",
    "anchor.grad = None",
    "anchor.data = np.array(0.7)",
    "np.sum(anchor * 3.0).backward()",
    "opt.weight_decay = 0.2",
    "opt = optim.SGD(params, lr=0.1)",
)

RESULTS = (
    "loss",
    "loss",
    "h",
    "(loss, h)",
    "[h, x]",
    "{'loss': loss, 'h': h}",
    "Pair(loss, h)",
    "Record(loss, [h])",
    "None",
    "(h, 'text', 3, None, True)",
    "(h.T, h[1:], np.sum(h))",
    "{'nested': ({'a': h}, [loss])}",
    "(loss, anchor)",
    "(loss, OPT.lr)",
    "np.argmax(h, axis=1)",
    "(h > 0, h.shape, float(h.shape[0]))",
)

# How the function is called: what it takes, and what it does with it
OPTIONS = (
    ("", ("",), ""),
    ("scale=1.0", ("", "scale=$a", "scale=$b", "scale=np.float64($c)", "scale=2"), "h = h * scale"),
    ("*rest, **named", ("", "scale=$a", "{'scale': $b}", "other=$c"), "h = h * (named['scale'] if 'scale' in named else rest[0]['scale'] * 3 if rest else 2.0)"),
    ("options=None", ("", "{'on': True}", "{'on': False}", "options={'on': True}", "{'on': True, 'scale': $a}"), "h = np.tanh(h) * (options.get('scale', 1.0)) if options and options['on'] else h"),
    ("mode='plain'", ("", "'odd'", "mode='odd'", "mode='plain'"), "h = -h if mode == 'odd' else h"),
    ("power=1", ("", "2", "power=3", "fixed(2)", "True"), "h = h ** power"),
    ("pair=None", ("", "Pair($a, $b)", "Pair($b, 2)", "($a, $b)"), "h = h * (pair[0] if isinstance(pair, Pair) else 3.0 * pair[0] if pair else 1.0)"),
    ("record=None", ("", "Record($a, [$b])", "Record(loss=$c, parts=[$a, $b])"), "h = h * record.loss * len(record.parts) if record is not None else h"),
)
FORMS = (
    "run = compile_(step)",
    "run = compile_(step)",
    "run = compile_(lambda *args, **named: step(*args, **named))",
    "run = compile_(functools.partial(step))",
    "class Trainer:\n    def run(self, *args, **named):\n        return step(*args, **named)\nrun = compile_(Trainer().run)",
    "class Trainer:\n    factor = 2.0\n    @compile_\n    def run(self, *args, **named):\n        return step(*args, **named)\nrun = Trainer().run",
    "class Trainer:\n    def __call__(self, *args, **named):\n        return step(*args, **named)\nrun = compile_(Trainer())",
    "def around():\n    inner = step\n    @compile_\n    def run(*args, **named):\n        return inner(*args, **named)\n    return run\nrun = around()",
)
DERIVATIVES = ("run = compile_(mg.value_and_grad(step))", "run = compile_(mg.grad(step))", "run = compile_(lambda x, *rest, **named: mg.jvp(lambda x: step(x, *rest, **named), (x,), (np.ones(x.shape),)))")
INPUTS = (
    "X",
    "X",
    "X",
    "X[:2]",
    "X[::-1]",
    "np.asfortranarray(X)",
    "X.astype(np.float32)",
    "mg.tensor(X)",
    "mg.tensor(X, requires_grad=True)",
)

PRELUDE = """\
import collections, contextlib, contextvars, dataclasses, functools, random, types
import numpy as np
import microgradnd as mg
from microgradnd import nn, optim

Pair = collections.namedtuple("Pair", "loss h")

@dataclasses.dataclass
class Record:
    loss: object
    parts: list

fixed = mg.static if compile_(len) is not len else lambda value: value

def backward(result):
    found = [t for t in tensors(result) if t.requires_grad]
    if found:
        sum(np.sum(t) for t in found).backward()

def tensors(tree):
    parts = tree.values() if isinstance(tree, dict) else vars(tree).values() if isinstance(tree, Record) else tree
    if isinstance(tree, mg.Tensor):
        return [tree]
    return [t for part in parts for t in tensors(part)] if isinstance(tree, (list, tuple, dict, Record)) else []
"""
HELPERS = {
    "counted": "def counted(it):\n    it.calls += 1\n    return it.calls",
    "halved": "def halved(it):\n    it *= 0.5\n    return it",
    "tried": "def tried(h, it):\n    try:\n        return float(np.sum(h))\n    except TypeError:\n        return it",
}


@dataclass(frozen=True)
class Part:
    """A thing, its use, and how the function comes by it; `n` is its number."""

    n: int
    thing: Thing
    use: str
    reach: Reach
    numbers: tuple[float, ...]

    def text(self, template: str) -> str:
        """Return a text of the tables with the numbers of this part."""
        use = lambda found: "(" + self.use.replace("$it", found[1]) + ")"  # noqa: E731
        template = re.sub(r"USE\[((?:[^\[\]]|\[[^\[\]]*\])*)\]", use, template)
        a, b, c = self.numbers
        return Template(template).substitute(n=self.n, a=a, b=b, c=c)


@dataclass(frozen=True)
class Call:
    """One call: what changes before it (of which part; -1 is the optimizer), its input, and its options.

    `backward` says whether a derivative of the result follows, `late` what changes between the two.
    """

    changes: tuple[tuple[int, str], ...] = ()
    input: str = "X"
    option: str = ""
    seed: float = 1.0
    backward: bool = False
    late: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Program:
    """A function, its surroundings, and its calls; see the tables."""

    parts: tuple[Part, ...]
    training: str
    optimizer: str
    optimizer_reach: Reach
    result: str
    options: tuple[str, tuple[str, ...], str]
    form: str
    calls: tuple[Call, ...]
    compiler: str = "mg.compile"

    @property
    def refusable(self) -> bool:
        """Whether it has side effects or control flow on values, which may be refused."""
        return any(part.thing.refusable for part in self.parts) or "if OPT" in self.training

    def replace(self, **changes: Any) -> Program:
        return replace(self, **changes)

    def features(self) -> list[str]:
        """Return the rows of the tables that are in it."""
        return [name for part in self.parts for name in (part.thing.name, f"by {part.reach.name}")]

    def setup(self) -> str:
        """Return the text that makes `run`, which is the function or the compiled function."""
        opt = self.optimizer_reach
        lines = [PRELUDE]
        for part in self.parts:
            lines += [part.text(part.thing.setup), part.text(part.reach.setup)]
        parameters = "".join(f" + {part.text(part.thing.parameters)}" for part in self.parts if part.thing.parameters)
        lines += [f"anchor = nn.Parameter(np.array(0.5))\nparams = [anchor]{parameters}\nopt = {self.optimizer}", opt.setup]
        parameters = ["x", *(part.text(part.reach.parameter) for part in self.parts), opt.parameter, self.options[0]]
        lines += ["", f"def step({', '.join(p for p in parameters if p)}):"]
        body = ["h = x", *(part.text(part.reach.step) for part in self.parts), self.options[2]]
        body += ["loss = np.mean(h * h) + anchor * anchor", self.training.replace("OPT", opt.step)]
        result = self.result.replace("OPT", opt.step)
        body += [f"return ({result}, norm)" if "norm =" in self.training else f"return {result}"]
        lines += [textwrap.indent(line, "    ") for line in body if line]
        lines += ["", self.form]
        text = "\n".join(line for line in lines if line or line == "")
        helpers = "\n".join(helper for name, helper in HELPERS.items() if f"{name}(" in text)
        return re.sub(r"\n{3,}", "\n\n", text.replace(PRELUDE, f"{PRELUDE}\n{helpers}\n", 1))

    def changes(self, changes: Sequence[tuple[int, str]]) -> list[str]:
        parts = {part.n: part for part in self.parts}
        return [(parts[n].text(change) if n in parts else change) for n, change in changes if n in parts or n < 0]

    def change(self, call: Call) -> str:
        """Return what happens before a call."""
        made = f"X = np.sin(np.arange(12.0) * {call.seed} + 0.3).reshape(4, 3)"
        return "\n".join([*self.changes(call.changes), made, f"x = {call.input}"])

    def call(self, call: Call) -> str:
        """Return the call."""
        arguments = ["x", *(part.text(part.reach.argument) for part in self.parts), self.optimizer_reach.argument]
        option = Template(call.option).substitute(a=0.7, b=-0.4, c=1.3)
        return f"result = run({', '.join(a for a in [*arguments, option] if a)})"

    def after(self, call: Call) -> str:
        """Return what happens after the call: the derivative of its result."""
        return "\n".join([*self.changes(call.late), "backward(result)"]) if call.backward else ""


def draw(choose: Choose, compilers: Sequence[str] = ("mg.compile",)) -> Program:
    """Return a program; `choose` picks one of several."""
    numbers = [0.5, 1.5, -0.7, 1.2, 0.3, -1.4, 0.9]
    parts = []
    for n in range(1, choose((1, 1, 2, 2, 3)) + 1):
        thing = choose(choose((THINGS, THINGS, THINGS, VARIABLES, SETTINGS, CONTAINERS)))
        fitting = tuple(choose(numbers) for _ in "abc")
        parts.append(Part(n, thing, choose(thing.uses), choose(REACHES), fitting))
    training, form, options = choose(TRAININGS), choose(FORMS), choose((OPTIONS[0], OPTIONS[0], choose(OPTIONS)))
    result = choose(RESULTS)
    if not training and choose((False, False, True)):
        form, result = choose(DERIVATIVES), "loss"
    calls = []
    for i in range(choose((3, 4, 5, 6))):
        changes: list[tuple[int, str]] = []
        for part in parts if i else ():
            if part.thing.changes and choose((False, True)):
                changes.append((part.n, choose(part.thing.changes)))
        if i and choose((False, False, True)):
            changes.append((-1, choose(OPTIMIZER_CHANGES)))
        backward = not training and form not in DERIVATIVES and choose((False, True))
        late = [(p.n, choose(p.thing.changes)) for p in parts if backward and p.thing.changes and choose((0, 0, 0, 1))]
        given = "X" if form in DERIVATIVES else choose(("X", "X", choose(INPUTS)))
        calls.append(Call(tuple(changes), given, choose(options[1]), choose((1.0, 0.7, 1.9)), backward, tuple(late)))
    return Program(
        tuple(parts), training, choose(OPTIMIZERS), choose(OPTIMIZER_REACHES), result, options, form, tuple(calls),
        choose(compilers),
    )  # fmt: skip


def smaller(p: Program) -> Any:
    """Yield programs that are a little smaller."""
    for i in range(len(p.calls)):
        if len(p.calls) > 1:
            yield p.replace(calls=p.calls[:i] + p.calls[i + 1 :])
    for i in range(len(p.parts)):
        yield p.replace(parts=p.parts[:i] + p.parts[i + 1 :])
    plain = {"training": "", "optimizer": OPTIMIZERS[0], "optimizer_reach": OPTIMIZER_REACHES[0], "form": FORMS[0]}
    for name, value in {**plain, "result": "h", "training": TRAININGS[2]}.items():
        if getattr(p, name) != value and not (name == "training" and p.training in ("", value)):
            yield p.replace(**{name: value})
    if p.training:
        yield p.replace(training="")
    if p.options != OPTIONS[0]:
        yield p.replace(options=OPTIONS[0], calls=tuple(replace(call, option="") for call in p.calls))
    for i, part in enumerate(p.parts):
        if part.reach != REACHES[0]:
            yield p.replace(parts=(*p.parts[:i], replace(part, reach=REACHES[0]), *p.parts[i + 1 :]))
    for i, call in enumerate(p.calls):
        for j in range(len(call.changes)):
            fewer = replace(call, changes=call.changes[:j] + call.changes[j + 1 :])
            yield p.replace(calls=(*p.calls[:i], fewer, *p.calls[i + 1 :]))
        for change in ({"input": "X"}, {"option": ""}, {"backward": False, "late": ()}, {"late": ()}, {"seed": 1.0}):
            simpler = replace(call, **change)
            if simpler != call:
                yield p.replace(calls=(*p.calls[:i], simpler, *p.calls[i + 1 :]))
