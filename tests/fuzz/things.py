"""What surrounds a function, row by row: things, ways to come by them, training steps,
results, and calls.

Owns: the tables that programs with surroundings are drawn from.
Must not own: putting a program together of them (`surroundings.py`).
Read next: `surroundings.py`.

In the texts, `$n` is the number of the part that a row is used for; `$a`, `$b` and `$c`
are numbers. `$it` stands for the thing, however the function comes by it; its global
name is `it$n`. `h` is the value that passes through the parts, an array of shape (4, 3)
or (2, 3). What is marked `refusable` may be refused: it has side effects, or looks at
values. Everything else should run.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    """A way by which a function comes by a thing: `USE[...]` is the use of the thing
    that is between the brackets.

    Attributes
    ----------
    name, setup : str
    step : str
        A statement of the function that gives a new `h`.
    parameter, argument : str
        What the function and its call have in their brackets for it.
    refusable : bool
    """

    name: str
    setup: str
    step: str
    parameter: str = ""
    argument: str = ""
    refusable: bool = False


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
# Words that stand in the texts of several rows
WORDS = {
    "VALUES": "scale=$a, on=True, depth=1, mode='plain'",
    "FIELDS": "scale: float = $a; on: bool = True; depth: int = 1; mode: str = 'plain'",
    "IN_CLASS": "scale, on, depth, mode = $a, True, 1, 'plain'",
    "IN_SELF": "self.scale, self.on, self.depth, self.mode = $a, True, 1, 'plain'",
    "NORM": "norm = sum(np.sum(p.grad ** 2) for p in params if p.grad is not None)",
}

SETTINGS = (
    Thing(
        "an object",
        """
        class Kind$n:
            def __init__(self):
                $IN_SELF
        it$n = Kind$n()
        """,
        BY_ATTRIBUTE + BY_DICT,
        (*ATTRIBUTES, "vars(it$n)['scale'] = $b", "it$n = Kind$n()"),
    ),
    Thing(
        "an object with slots",
        """
        class Kind$n:
            __slots__ = ('scale', 'on', 'depth', 'mode', 'extra')
        it$n = Kind$n()
        it$n.scale, it$n.on, it$n.depth, it$n.mode = $a, True, 1, 'plain'
        """,
        BY_ATTRIBUTE,
        ATTRIBUTES,
    ),
    Thing(
        "a dataclass",
        """
        @dataclasses.dataclass
        class Kind$n:
            $FIELDS
        it$n = Kind$n()
        """,
        (*BY_ATTRIBUTE, *BY_DICT, "h * dataclasses.asdict($it)['scale']"),
        ATTRIBUTES,
    ),
    Thing(
        "a frozen dataclass",
        """
        @dataclasses.dataclass(frozen=True)
        class Kind$n:
            $FIELDS
        it$n = Kind$n()
        """,
        BY_ATTRIBUTE,
        ("it$n = dataclasses.replace(it$n, scale=$b)", "object.__setattr__(it$n, 'scale', $c)"),
    ),
    Thing(
        "a dataclass with slots",
        """
        @dataclasses.dataclass(slots=True)
        class Kind$n:
            $FIELDS
        it$n = Kind$n()
        """,
        tuple(use for use in BY_ATTRIBUTE if "extra" not in use),
        ATTRIBUTES[:-1],
    ),
    Thing("a namespace", "it$n = types.SimpleNamespace($VALUES)", BY_ATTRIBUTE + BY_DICT, ATTRIBUTES),
    Thing(
        "a module of the user",
        """
        it$n = types.ModuleType('settings$n')
        vars(it$n).update($VALUES)
        """,
        BY_ATTRIBUTE + BY_DICT,
        ATTRIBUTES,
    ),
    Thing(
        "a class",
        """
        class it$n:
            $IN_CLASS
        """,
        BY_ATTRIBUTE,
        ATTRIBUTES,
    ),
    Thing(
        "an attribute of a class",
        """
        class Kind$n:
            $IN_CLASS
        it$n = Kind$n()
        """,
        BY_ATTRIBUTE,
        ("Kind$n.scale = $b", "Kind$n.on = False", "it$n.scale = $c", "vars(it$n).clear()", "Kind$n.extra = 1"),
    ),
    Thing(
        "an inherited attribute",
        """
        class Base$n:
            $IN_CLASS
        class Kind$n(Base$n):
            pass
        it$n = Kind$n()
        """,
        BY_ATTRIBUTE,
        ("Base$n.scale = $b", "Kind$n.scale = $c", "Base$n.on = False", "Base$n.depth = 2"),
    ),
    Thing(
        "a property",
        """
        class Kind$n:
            $IN_CLASS
            _scale = $b
            @property
            def scale(self):
                return self._scale * FACTOR$n
        FACTOR$n = $a
        it$n = Kind$n()
        """,
        BY_ATTRIBUTE,
        ("FACTOR$n = $c", "it$n._scale = $b", "Kind$n._scale = $c", "Kind$n.scale = property(lambda self: $b)"),
    ),
    Thing(
        "an object with __getattr__",
        """
        class Kind$n:
            def __init__(self):
                self.values = dict($VALUES)
            def __getattr__(self, name):
                if name in ('values', 'missing', 'extra'):
                    raise AttributeError(name)
                return self.values[name]
        it$n = Kind$n()
        """,
        BY_ATTRIBUTE,
        ("it$n.values['scale'] = $b", "it$n.values = {**it$n.values, 'on': False}", "it$n.scale = $c"),
    ),
    Thing(
        "attributes of a function",
        """
        def it$n():
            pass
        vars(it$n).update($VALUES)
        """,
        BY_ATTRIBUTE + BY_DICT,
        ATTRIBUTES,
    ),
    Thing(
        "a namedtuple",
        """
        Kind$n = collections.namedtuple('Kind$n', 'scale on depth mode')
        it$n = Kind$n($VALUES)
        """,
        (*BY_ATTRIBUTE, "h * $it[0]"),
        ("it$n = it$n._replace(scale=$b)", "it$n = it$n._replace(on=False)"),
    ),
    Thing(
        "settings of a layer",
        """
        class Kind$n(nn.Module):
            def __init__(self):
                $IN_SELF
            def forward(self, h):
                return h * self.scale if self.training else h
        it$n = Kind$n()
        """,
        (*BY_ATTRIBUTE, "$it(h)"),
        (*ATTRIBUTES, "it$n.eval()", "it$n.train()"),
    ),
    Thing(
        "an object with settings inside",
        "it$n = types.SimpleNamespace(inner=types.SimpleNamespace($VALUES), parts=[{'scale': $a}])",
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
        (
            "it$n['scale'] = $b",
            "it$n.update(scale=$c)",
            "it$n['extra'] = 1",
            "it$n.pop('on', None)",
            "it$n = {'scale': $c}",
        ),
    ),
    Thing(
        "a dict subclass",
        """
        class Kind$n(dict):
            factor = $a
            def __missing__(self, key):
                return self.factor
        it$n = Kind$n(scale=$b)
        """,
        ("h * $it['scale']", "h * $it['other']", "h * $it.factor"),
        ("it$n['scale'] = $c", "it$n['other'] = $b", "it$n.factor = $c", "Kind$n.factor = $b"),
    ),
    Thing(
        "a list",
        "it$n = [$a, $b]",
        (
            "h * $it[0]",
            "h * sum($it)",
            "h * len($it)",
            "h + max($it)",
            "np.clip(h, *sorted($it)[:2])",
            "h * np.mean($it)",
        ),
        ("it$n[0] = $c", "it$n.append($c)", "it$n.reverse()", "it$n[:] = [$c]  * 2"),
    ),
    Thing(
        "a set", "it$n = {$a, $b}", ("h * sum(sorted($it))", "(h if 1 in $it else -h)"), ("it$n.add(1)", "it$n.clear()")
    ),
    Thing(
        "a deque",
        "it$n = collections.deque([$a, $b], maxlen=2)",
        ("h * $it[0]", "h + sum($it)"),
        ("it$n.append($c)", "it$n.rotate()"),
    ),
    Thing(
        "a number",
        "it$n = $a",
        ("h * $it", "h + $it", "np.maximum(h, $it)"),
        ("it$n = $b", "it$n = 2", "it$n = np.float64($c)"),
    ),
    Thing("an integer", "it$n = 1", ("h * $it", "np.roll(h, $it)", "h ** ($it + 1)"), ("it$n += 1", "it$n = 0")),
    Thing("a text", "it$n = 'plain'", ("(h if $it == 'plain' else -h)", "h * len($it)"), ("it$n = 'odd'",)),
    Thing(
        "a context variable",
        "it$n = contextvars.ContextVar('it$n', default=$a)",
        ("h * $it.get()",),
        ("it$n.set($b)", "it$n.set($c)"),
    ),
    Thing(
        "an error",
        "it$n = ValueError($a)",
        ("h * $it.args[0]", "h * float(str($it))", "h * getattr($it, 'scale', 0.5)"),
        ("it$n.args = ($b,)", "it$n.args = ($c, 1)", "it$n.scale = $c", "it$n = ValueError($b)"),
    ),
    Thing(
        "a partial of a number",
        "it$n = functools.partial(max, $a)",
        ("h * $it(0.1)", "h * $it.args[0]"),
        ("it$n.__setstate__((max, ($b,), {}, {}))", "it$n = functools.partial(min, $c)", "it$n.scale = $b"),
    ),
    Thing(
        "a Decimal",
        """
        it$n = decimal.Decimal('$a')
        decimal.getcontext().prec = 28
        """,
        ("h * float($it / 3)", "h * float(decimal.Decimal(1) / 7)", "h * decimal.getcontext().prec"),
        ("it$n = decimal.Decimal('$b')", "decimal.getcontext().prec = 4"),
    ),
    Thing(
        "memory",
        "it$n = array.array('d', [$a, $b, $c])",
        ("h * $it[0]", "h * np.asarray($it)", "h * sum($it)", "h * len($it)"),
        ("it$n[0] = $c", "it$n.reverse()"),
    ),
    Thing(
        "a masked array",
        "it$n = np.ma.array([$a, $b, $c], mask=[False, False, False])",
        ("h * float($it.sum())", "h * $it.filled(0.5)", "h * $it.count()"),
        ("it$n[0] = np.ma.masked", "it$n.fill_value = 2.0", "it$n[1] = $c", "it$n.mask = False"),
        refusable=True,  # as an argument
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
        """
        def it$n(h, factor=$a):
            return h * factor
        """,
        ("$it(h)",),
        (
            """
            def it$n(h):
                return h * $b
            """,
            "it$n.__defaults__ = ($c,)",
            "it$n.__code__ = (lambda h, factor=1.0: h - factor).__code__",
        ),
    ),
    Thing(
        "a method",
        """
        class Base$n:
            def apply(self, h):
                return h * $a
        class Kind$n(Base$n):
            pass
        it$n = Kind$n()
        """,
        ("$it.apply(h)", "(lambda apply: apply(h))($it.apply)"),
        (
            "Base$n.apply = lambda self, h: h * $b",
            "Kind$n.apply = lambda self, h: h - $c",
            "it$n.apply = lambda h: h * $c",
        ),
    ),
    Thing(
        "operators of an object",
        """
        class Kind$n:
            value = $a
            def __call__(self, h):
                return h * self.value
            def __getitem__(self, h):
                return h - self.value
            def __len__(self):
                return 2
            def __bool__(self):
                return self.value > 0
            def __float__(self):
                return self.value
        it$n = Kind$n()
        """,
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
        """
        class it$n:
            factor = $a
            @classmethod
            def scaled(cls, h):
                return h * cls.factor
            @staticmethod
            def moved(h):
                return h + $b
            def __init__(self, h=0.0):
                self.h = h
        """,
        ("$it.scaled(h)", "$it.moved(h)", "$it(h).h * $it.factor"),
        (
            "it$n.factor = $b",
            "it$n.moved = staticmethod(lambda h: h - $c)",
            "it$n.scaled = classmethod(lambda cls, h: h)",
        ),
    ),
    Thing(
        "a cached function",
        """
        SCALE$n = $a
        @functools.lru_cache
        def it$n():
            return SCALE$n
        """,
        ("h * $it()",),
        ("SCALE$n = $b",),
    ),
)

ARRAYS = (
    Thing(
        "an array",
        "it$n = np.array([$a, $b, $c])",
        (
            "h * $it",
            "h + $it[None]",
            "np.where($it > 0, h, -h)",
            "h * np.max($it)",
            "h * $it.size",
            "h * $it[0]",
            "h @ np.diag($it)",
        ),
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
        (
            "it$n.data = np.array([$b, $c, $a])",
            "it$n[0] = $c",
            "it$n *= 0.5",
            "it$n = mg.tensor([$c, $c, $a])",
            "it$n.requires_grad = True",
        ),
    ),
)

VARIABLES = (
    Thing(
        "a parameter",
        "it$n = nn.Parameter(np.array([$a, $b, $c]))",
        ("h * $it", "h + np.tanh($it)", "h * $it[0]", "h * ($it if $it.requires_grad else 2.0)", "h * $it.detach()"),
        (
            "it$n.data = np.array([$c, $a, $b])",
            """
            with mg.no_grad():
                it$n *= 0.5
            """,
            "it$n.requires_grad = not it$n.requires_grad",
            "hook$n = it$n.register_hook(lambda g: g * 0.5)",
            "it$n.grad = None",
            "it$n.grad = np.array([0.1, 0.2, 0.3])",
            """
            if it$n.requires_grad:
                np.sum(it$n * $b).backward()
            """,
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
        """
        class Kind$n(nn.Module):
            def __init__(self):
                self.gain, self.momentum = nn.Parameter(np.array([$a, 1.0, $b])), 0.1
                self.register_buffer('mean', np.zeros(3))
            def forward(self, h):
                if self.training:
                    self.mean = (1 - self.momentum) * self.mean + self.momentum * np.mean(h, axis=0)
                return self.gain * (h - self.mean)
        it$n = Kind$n()
        """,
        ("$it(h)", "h - $it.mean", "$it($it(h))"),
        (
            "it$n.eval()",
            "it$n.train()",
            "it$n.momentum = 0.3",
            "it$n.mean = np.ones(3)",
            "it$n.mean[0] = $b",
            "it$n.gain.requires_grad = False",
        ),
        "[it$n.gain]",
    ),
    Thing(
        "a layer with running statistics",
        """
        class Kind$n(nn.Module):
            def __init__(self):
                self.gain, self.momentum = nn.Parameter(np.array([$a, 1.0, $b])), 0.1
                self.register_buffer('mean', np.zeros(3))
            def forward(self, h):
                if self.training:
                    with mg.no_grad():
                        self.mean = (1 - self.momentum) * self.mean + self.momentum * np.mean(h, axis=0)
                return self.gain * (h - self.mean)
        it$n = Kind$n()
        """,
        ("$it(h)", "h - $it.mean", "$it($it(h))"),
        (
            "it$n.eval()",
            "it$n.train()",
            "it$n.momentum = 0.3",
            "it$n.mean = np.ones(3)",
            "it$n.mean[0] = $b",
            "it$n.gain.requires_grad = False",
        ),
        "[it$n.gain]",
    ),
    Thing(
        "a layer that others share parameters with",
        """
        class Kind$n(nn.Module):
            def __init__(self, weight):
                self.weight = weight
            def forward(self, h):
                return np.tanh(h @ self.weight)
        one$n = Kind$n(nn.Parameter(np.eye(3) * $a))
        it$n = Kind$n(one$n.weight)
        """,
        ("$it(h)", "one$n($it(h))", "$it(h) @ one$n.weight"),
        ("it$n.weight.requires_grad = False", "one$n.weight.data = np.eye(3)", "one$n.weight.grad = np.ones((3, 3))"),
        "[one$n.weight]",
    ),
    Thing(
        "a layer with settings",
        """
        class Kind$n(nn.Module):
            def __init__(self):
                self.layers = nn.Sequential(*(nn.Linear(3, 3, rng=np.random.default_rng(i)) for i in range(2)))
                self.options = {'skip': True}
            def forward(self, h, scale=$a):
                for layer in self.layers:
                    h = h + scale * layer(h) if self.options['skip'] else layer(h)
                return np.tanh(h)
        it$n = Kind$n()
        """,
        ("$it(h)", "$it(h, scale=0.5)"),
        (
            "it$n.options['skip'] = False",
            "it$n.layers = nn.Sequential(*it$n.layers[:1])",
            "it$n.layers[1].weight.requires_grad = False",
            "Kind$n.forward.__defaults__ = ($b,)",
        ),
        "list(it$n.parameters())",
    ),
)

# Loops: equal turns become one loop of the program

LOOPS = (
    Thing(
        "a loop",
        """
        TURNS$n = 12
        def it$n(h):
            s = h * 1.0
            for i in range(TURNS$n):
                s = np.tanh(s * $a + h)
            return s
        """,
        ("$it(h)", "$it(np.sin(h))"),
        ("TURNS$n = 15", "TURNS$n = 3"),
    ),
    Thing(
        "a loop that writes to a part",
        """
        TURNS$n = 12
        def it$n(h):
            s = h * 1.0
            for i in range(TURNS$n):
                s[:1] = s[:1] * 0.5 + s[1:2] * $a
            return s
        """,
        ("$it(h)", "$it(np.sin(h))"),
        ("TURNS$n = 15", "TURNS$n = 3"),
    ),
    Thing(
        "a loop that writes to rows in turn",
        """
        TURNS$n = 12
        def it$n(h):
            s = h * 1.0
            for i in range(TURNS$n):
                s[i % 2] = s[(i + 1) % 2] * $a + h[i % 2]
            return s
        """,
        ("$it(h)", "$it(np.sin(h))"),
        ("TURNS$n = 15", "TURNS$n = 3"),
    ),
    Thing(
        "a loop that updates a column",
        """
        TURNS$n = 12
        def it$n(h):
            s = h * 1.0
            for i in range(TURNS$n):
                s[:, 1] += $a * s[:, 0] * 0.1
                s[:, 0] *= 0.9
            return s
        """,
        ("$it(h)", "$it(np.sin(h))"),
        ("TURNS$n = 15", "TURNS$n = 3"),
    ),
    Thing(
        "a loop over two values",
        """
        TURNS$n = 12
        def it$n(h):
            s, t = h * 1.0, h - $b
            for i in range(TURNS$n):
                s, t = t * 0.5 + h, s - $a * t[::-1]
            return s + t
        """,
        ("$it(h)", "$it(np.sin(h))"),
        ("TURNS$n = 15", "TURNS$n = 3"),
    ),
    Thing(
        "a loop that keeps its values",
        """
        TURNS$n = 12
        def it$n(h):
            rows = [h[0]]
            for i in range(TURNS$n):
                rows.append(np.tanh(rows[-1] * $a + h[1]))
            return h + rows[-1] - rows[len(rows) // 2]
        """,
        ("$it(h)", "$it(np.sin(h))"),
        ("TURNS$n = 15", "TURNS$n = 3"),
    ),
    Thing(
        "a loop over views",
        """
        TURNS$n = 12
        def it$n(h):
            s = h * 1.0
            for i in range(TURNS$n):
                s = s - 0.1 * $a * (s[::-1] + s[:, ::-1])
                s[1:] *= 0.9
            return s
        """,
        ("$it(h)", "$it(np.sin(h))"),
        ("TURNS$n = 15", "TURNS$n = 3"),
    ),
    Thing(
        "a loop with a sum",
        """
        TURNS$n = 12
        def it$n(h):
            s, total = h * 1.0, 0.0
            for i in range(TURNS$n):
                total = total + np.sum(s * h) * 0.01
                s = s * 0.9 + total * $a * 0.01
            return s + total
        """,
        ("$it(h)", "$it(np.sin(h))"),
        ("TURNS$n = 15", "TURNS$n = 3"),
    ),
)

CHANCE = (
    Thing(
        "a counter by anew",
        """
        class Kind$n:
            n = 0
            def __call__(self):
                self.n += 1
                return np.full(3, 0.1 * self.n)
        it$n = Kind$n()
        """,
        ("h + mg.anew($it, 3)", "h * mg.anew($it, (3,))"),
        ("it$n.n = 7",),
    ),
    Thing(
        "a generator by anew",
        "it$n = np.random.default_rng($n)",
        ("h + mg.anew(lambda: $it.normal(size=3), 3)", "h * mg.anew($it.random)"),
        ("it$n = np.random.default_rng(5)", "it$n.normal()"),
    ),
    Thing(
        "a generator",
        "it$n = np.random.default_rng($n)",
        ("h + $it.normal(size=3)", "h * $it.random()"),
        refusable=True,
    ),
    Thing(
        "a generator of Python",
        "it$n = random.Random($n)",
        ("h * $it.random()", "h * $it.choice([1.0, 2.0])"),
        refusable=True,
    ),
    Thing(
        "a shared generator",
        """
        it$n = np.random
        it$n.seed(0)
        """,
        ("h * $it.uniform(1, 2)",),
        refusable=True,
    ),
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
        """
        class Kind$n(nn.Module):
            def __init__(self):
                self.gain, self.calls = nn.Parameter($a), 0
            def forward(self, h):
                self.calls += 1
                return self.gain * h * self.calls
        it$n = Kind$n()
        """,
        ("$it(h)",),
        ("it$n.calls = 3",),
        "[it$n.gain]",
        refusable=True,
    ),
    Thing(
        "a buffer that is written to",
        """
        class Kind$n(nn.Module):
            def __init__(self):
                self.register_buffer('mean', np.zeros(3))
            def forward(self, h):
                self.mean *= 0.9
                self.mean += 0.1
                return h - self.mean
        it$n = Kind$n()
        """,
        ("$it(h)",),
        ("it$n.mean = np.ones(3)",),
        refusable=True,
    ),
    Thing(
        "an array that is written to",
        "it$n = np.zeros(3)",
        ("h + np.add($it, 0.5, out=$it)",),
        ("it$n[0] = $b",),
        refusable=True,
    ),
    Thing(
        "a Tensor that is written to",
        "it$n = mg.tensor([$a, $b, $c])",
        ("h * halved($it)",),
        ("it$n[0] = $b",),
        refusable=True,
    ),
    Thing("control flow", "it$n = $a", ("(h if np.sum(h) > $it else -h)", "h * tried(h, $it)"), refusable=True),
)

THINGS = (*SETTINGS, *CONTAINERS, *FUNCTIONS, *ARRAYS, *VARIABLES, *VARIABLES, *LOOPS, *CHANCE, *EFFECTS)

BY = "h = by$n(h)"
REACHES = (
    Reach("a global", "", "h = USE[it$n]"),
    Reach(
        "a global of a helper",
        """
        def by$n(h):
            return USE[it$n]
        """,
        BY,
    ),
    Reach(
        "an argument of a helper",
        """
        def by$n(h, it):
            return USE[it]
        """,
        "h = by$n(h, it$n)",
    ),
    Reach(
        "a default",
        """
        def by$n(h, it=it$n):
            return USE[it]
        """,
        BY,
    ),
    Reach(
        "a keyword with a default",
        """
        def by$n(h, *, it=it$n):
            return USE[it]
        """,
        BY,
    ),
    Reach(
        "a closure",
        """
        def around$n(it):
            def by(h):
                return USE[it]
            return by
        by$n = around$n(it$n)
        """,
        BY,
    ),
    Reach("a lambda", "by$n = lambda h: USE[it$n]", BY),
    Reach(
        "a partial",
        """
        def of$n(it, h):
            return USE[it]
        by$n = functools.partial(of$n, it$n)
        """,
        BY,
    ),
    Reach("a partial's keyword", "by$n = functools.partial(lambda h, it: USE[it], it=it$n)", BY),
    Reach("a list", "box$n = [None, it$n]", "h = USE[box$n[1]]"),
    Reach("a dict", "box$n = {'it': it$n}", "h = USE[box$n['it']]"),
    Reach(
        "a nested container",
        "box$n = {'its': [(it$n,)]}",
        """
        for (it,) in box$n['its']:
            h = USE[it]
        """,
    ),
    Reach("a namespace", "box$n = types.SimpleNamespace(it=it$n)", "h = USE[box$n.it]"),
    Reach(
        "a bound method",
        """
        class By$n:
            def __init__(self, it):
                self.it = it
            def apply(self, h):
                return USE[self.it]
        by$n = By$n(it$n).apply
        """,
        BY,
    ),
    Reach(
        "a callable object",
        """
        class By$n:
            def __init__(self, it):
                self.it = it
            def __call__(self, h):
                return USE[self.it]
        by$n = By$n(it$n)
        """,
        BY,
    ),
    Reach(
        "an attribute of a class",
        """
        class By$n:
            it = it$n
        """,
        "h = USE[vars(By$n)['it']]",
    ),
    Reach(
        "a static method",
        """
        class By$n:
            @staticmethod
            def apply(h):
                return USE[it$n]
        """,
        "h = By$n.apply(h)",
    ),
    Reach(
        "a class method",
        """
        class By$n:
            its = (it$n,)
            @classmethod
            def apply(cls, h):
                return USE[cls.its[0]]
        """,
        "h = By$n.apply(h)",
    ),
    Reach(
        "a property",
        """
        class By$n:
            @property
            def it(self):
                return it$n
        by$n = By$n()
        """,
        "h = USE[by$n.it]",
    ),
    Reach(
        "a cached property",
        """
        class By$n:
            @functools.cached_property
            def it(self):
                return it$n
        by$n = By$n()
        by$n.it
        """,
        "h = USE[by$n.it]",
    ),
    Reach(
        "a field of a dataclass",
        """
        @dataclasses.dataclass
        class By$n:
            it: object
        by$n = By$n(it$n)
        """,
        "h = USE[by$n.it]",
    ),
    Reach("a weak reference", "by$n = lambda: it$n", "h = USE[by$n()]"),
    Reach(
        "a context manager",
        """
        @contextlib.contextmanager
        def by$n():
            yield it$n
        """,
        """
        with by$n() as it:
            h = USE[it]
        """,
    ),
    Reach(
        "an iterable object",
        """
        class By$n:
            def __iter__(self):
                yield it$n
        by$n = By$n()
        """,
        """
        for it in by$n:
            h = USE[it]
        """,
    ),
    Reach(
        "an attribute of a layer",
        """
        class By$n(nn.Module):
            def __init__(self, it):
                self.it = it
            def forward(self, h):
                return USE[self.it]
        by$n = By$n(it$n)
        """,
        BY,
    ),
    Reach(
        "a decorated helper",
        """
        def around$n(f):
            @functools.wraps(f)
            def by(*args):
                return f(*args)
            return by
        @around$n
        def by$n(h):
            return USE[it$n]
        """,
        BY,
    ),
    Reach(
        "a match",
        "",
        """
        match it$n:
            case it:
                h = USE[it]
        """,
    ),
    Reach("globals()", "", "h = USE[globals()['it$n']]", refusable=True),
    Reach(
        "a compiled helper",
        """
        @compile_
        def by$n(h):
            return USE[it$n]
        """,
        BY,
    ),
    Reach("a derivative", "", "h = mg.grad(lambda h: np.sum(np.sin(USE[it$n])))(h)"),
    Reach("a checkpoint", "", "h = mg.checkpoint(lambda h: USE[it$n])(h)"),
    Reach(
        "no_grad",
        "",
        """
        with mg.no_grad():
            h = USE[it$n]
        """,
    ),
    Reach("an argument", "", "h = USE[arg$n]", "arg$n", "it$n"),
    Reach("an argument in a list", "", "h = USE[arg$n[0]]", "arg$n", "[it$n]"),
    Reach("an argument in a dict", "", "h = USE[arg$n['it']]", "arg$n", "{'it': it$n}"),
    Reach("an object as an argument", "box$n = types.SimpleNamespace(it=it$n)", "h = USE[arg$n.it]", "arg$n", "box$n"),
    Reach("an argument, and a global", "", "h = USE[it$n] + USE[arg$n]", "arg$n", "it$n"),
)

# Training steps; `anchor` is a parameter that is never frozen, so that a loss always
# has a derivative

TRAININGS = (
    "",
    "",
    "loss.backward()",
    """
    OPT.zero_grad()
    loss.backward()
    OPT.step()
    """,
    """
    OPT.zero_grad()
    loss.backward()
    OPT.step()
    """,
    """
    loss.backward()
    OPT.step()
    OPT.zero_grad()
    """,
    """
    loss.backward()
    OPT.step()
    """,
    """
    OPT.step()
    loss.backward()
    """,
    "OPT.zero_grad()",
    "OPT.step()",
    """
    loss.backward()
    $NORM
    """,
    """
    $NORM
    OPT.zero_grad()
    loss.backward()
    OPT.step()
    """,
    """
    OPT.zero_grad()
    loss.backward()
    for p in params:
        if p.grad is not None:
            p.grad = np.clip(p.grad, -0.1, 0.1)
    OPT.step()
    """,
    """
    loss.backward()
    with mg.no_grad():
        for p in params:
            if p.requires_grad and p.grad is not None:
                p -= 0.05 * p.grad
                p.grad = None
    """,
    """
    loss.backward()
    with mg.no_grad():
        for p in params:
            if p.requires_grad:
                p *= 0.9
    """,
    """
    OPT.zero_grad()
    loss.backward()
    (anchor * 2.0).backward()
    OPT.step()
    """,
    """
    loss.backward()
    anchor.grad = None
    """,
    """
    for p in params:
        p.grad = None
    (loss * OPT.lr).backward()
    OPT.step()
    """,
    """
    seen, old = anchor.detach(), anchor.copy()
    loss.backward()
    OPT.step()
    h = h + seen * old.detach()
    """,
    """
    seen = [p[..., ::-1] for p in params if p.ndim]
    with mg.no_grad():
        for p in params:
            p *= 0.9
    h = h + sum(np.sum(s.detach()) for s in seen)
    """,
    """
    held = anchor
    with mg.no_grad():
        held -= 0.1 * held
    """,
    """
    loss = loss + np.sum(anchor.detach() ** 2)
    loss.backward()
    """,
    """
    loss.backward()
    if OPT.lr > 0.04:
        OPT.step()
    """,
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
    Reach(
        "a getter",
        """
        def get():
            return opt
        """,
        "get()",
    ),
)
OPTIMIZER_CHANGES = (
    "opt.lr = opt.lr * 0.5",
    "opt.lr = 0.02",
    "opt.zero_grad()",
    "opt.step()",
    "opt.load_state_dict(opt.state_dict())",
    """
    for p in params:
        p.grad = np.ones(p.shape)
    """,
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
    (
        "*rest, **named",
        ("", "scale=$a", "{'scale': $b}", "other=$c"),
        "h = h * (named['scale'] if 'scale' in named else rest[0]['scale'] * 3 if rest else 2.0)",
    ),
    (
        "options=None",
        ("", "{'on': True}", "{'on': False}", "options={'on': True}", "{'on': True, 'scale': $a}"),
        "h = np.tanh(h) * (options.get('scale', 1.0)) if options and options['on'] else h",
    ),
    ("mode='plain'", ("", "'odd'", "mode='odd'", "mode='plain'"), "h = -h if mode == 'odd' else h"),
    ("power=1", ("", "2", "power=3", "fixed(2)", "True"), "h = h ** power"),
    (
        "pair=None",
        ("", "Pair($a, $b)", "Pair($b, 2)", "($a, $b)"),
        "h = h * (pair[0] if isinstance(pair, Pair) else 3.0 * pair[0] if pair else 1.0)",
    ),
    (
        "record=None",
        ("", "Record($a, [$b])", "Record(loss=$c, parts=[$a, $b])"),
        "h = h * record.loss * len(record.parts) if record is not None else h",
    ),
)
FORMS = (
    "run = compile_(step)",
    "run = compile_(step)",
    "run = compile_(lambda *args, **named: step(*args, **named))",
    "run = compile_(functools.partial(step))",
    """
    class Trainer:
        def run(self, *args, **named):
            return step(*args, **named)
    run = compile_(Trainer().run)
    """,
    """
    class Trainer:
        factor = 2.0
        @compile_
        def run(self, *args, **named):
            return step(*args, **named)
    run = Trainer().run
    """,
    """
    class Trainer:
        def __call__(self, *args, **named):
            return step(*args, **named)
    run = compile_(Trainer())
    """,
    """
    def around():
        inner = step
        @compile_
        def run(*args, **named):
            return inner(*args, **named)
        return run
    run = around()
    """,
)
DERIVATIVES = (
    "run = compile_(mg.value_and_grad(step))",
    "run = compile_(mg.grad(step))",
    "run = compile_(lambda x, *rest, **named: mg.jvp(lambda x: step(x, *rest, **named), (x,), (np.ones(x.shape),)))",
)
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
