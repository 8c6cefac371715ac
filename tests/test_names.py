"""Names of the user in compiled programs: of functions, parameters, keys, tensors,
variables and files.

Owns: that no name changes what a program computes, is taken twice, or is ever code, in
a program and in a saved file.
Must not own: what programs compute (`test_compiler.py`), what is saved
(`test_saving.py`).
Read next: `test_saving.py`.
"""

import ast
import builtins
import keyword
import linecache
import re
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd.compiler.program import Program, Step, Value
from microgradnd.compiler.source import Names, identifier, readable
from microgradnd.compiler.source import loaded as defined
from tests.test_ownership import FORMS, every_form, needs_numba
from tests.test_saving import loaded

INJECTIONS = [
    "f(x):\n    return 1\nINJECTED()\ndef g",
    'x"""\nINJECTED()\n"""',
    "x'); INJECTED(); ('",
    "x\rINJECTED()\r",
    "x\\\nINJECTED()",
    "x # \x0cINJECTED()",
    "x\u2028INJECTED()",
    "{INJECTED()}",
    "%(x)s {0} {x}",
]
ODD = [
    "",
    " ",
    "_",
    "__",
    "0",
    "1x",
    "0.weight",
    "a b",
    "a.b",
    "x²",
    "ﬁ",
    "\uff4e\uff50",
    "ªº",
    "\u0301e",
    "n\u0303",
    "·",
    "℘",
]
ODD += [
    "\ud800",
    "\x00",
    "x" * 300,
    "é" * 300,
    "名前",
    "\U0001d499",
    "x_2",
    "x_",
    "_x",
    "grad_x",
    "x_i",
    "__debug__",
    "__class__",
]
OURS = [
    "np",
    "math",
    "Path",
    "i",
    "j",
    "k",
    "n",
    "t",
    "buffer0",
    "buffer0_2",
    "_pool",
    "_allocate",
    "_buffers",
    "given",
]
OURS += ["largest", "smallest", "exp", "tanh", "where", "at", "add", "start", "stop", "in_threads", "njit", "intrinsic"]
OURS += ["scatter", "place", "setitem", "view", "part", "rows", "constant", "c_2_0", "value", "program", "file", "x"]
OURS += ["_arrays", "_expected", "allow_pickle", "arr_0", "array", "shape", "dtype", "name", "ir", "ROUND", "QUARTERS"]
BUILTINS = frozenset(dir(builtins))
words = [*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *INJECTIONS, *ODD, *OURS]
names = st.sampled_from(words) | st.text(max_size=8) | st.sampled_from(words).map(lambda w: w + "_2")
some_names = st.lists(names, min_size=5, max_size=5, unique=True)
TABLE = np.arange(12.0).reshape(3, 4)


@pytest.fixture(autouse=True, scope="module")
def injected():
    """Give names that are run as code something to call."""
    builtins.INJECTED = lambda: pytest.fail("a name was run")
    yield
    del builtins.INJECTED


def program(a, b, c, d, name):
    """Return a function with names for keys, a tensor, a function of the user, and
    itself; its twin; its argument.
    """

    def body(x):
        return np.flip(x) * 2

    body.__name__ = d
    flipped = mg.primitive(body)
    mg.defvjp(flipped, lambda g, out, x: np.flip(g) * 2)

    def made(weight):
        def f(tree):
            x, y = tree[a], tree[b]
            h = np.tanh(x * weight) @ TABLE.T
            z = np.copy(h)
            z[1] = np.sum(y) * x[0, 0]
            y -= z[0]
            picked = h[np.array([0, 2, 2])] + TABLE.mean()
            return {b: np.max(h) + np.mean(z, axis=1), a: flipped(x), "own": picked, c: np.exp(y)}

        f.__name__ = f.__qualname__ = name
        return f

    weight = np.full(4, 0.5)
    return made(mg.tensor(weight, name=c)), made(weight), lambda: {a: np.ones((3, 4)), b: np.arange(3.0)}


def check(f, twin, arguments, form):
    compiled = mg.compile(f, **form)
    for _ in range(2):
        mine, theirs = arguments(), arguments()
        compare_trees(compiled(mine), twin(theirs))
        compare_trees(mine, theirs)
    check_source(compiled.source)
    return compiled


def compare_trees(got, want):
    assert got.keys() == want.keys()
    for key in want:
        np.testing.assert_allclose(got[key], want[key], rtol=1e-12, atol=1e-15)


def check_source(source):
    """Check that source runs nothing of a name, and gives no name that Python or NumPy
    has.
    """
    for node in ast.walk(ast.parse(source)):
        assert not (isinstance(node, ast.Call) and ast.unparse(node.func) == "INJECTED")
        for text in (getattr(node, part, None) or "" for part in ("id", "arg", "name")):
            assert unicodedata.normalize("NFKC", text) == text
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)):
            assert (node.id if isinstance(node, ast.Name) else node.arg) not in BUILTINS | {"np", "math"}


EXAMPLES = [
    ["i", "np", "buffer0", "_pool", "x"],
    ["x", "X", "x_2", "scatter", "setitem"],
    ["largest", "j", "exp", "tanh", "add_product"],
    [*INJECTIONS[:4], INJECTIONS[0]],
    ["\ufb01", "fi", "class", "constant", "\uff46\uff49"],
]


@given(some_names, st.booleans())
@settings(max_examples=4 * settings.default.max_examples)
def test_names_change_nothing(chosen, optimize):
    check(*program(*chosen), {"optimize": optimize})


@pytest.mark.parametrize("name", ["self", "args", "kwargs", "function", "is_known", "a b", "class", "dispatch"])
def test_names_of_keywords(name):
    def f(**keywords):
        return sum(np.sin(value) for value in keywords.values())

    compiled, x = mg.compile(f), np.arange(3.0)
    for _ in range(2):
        np.testing.assert_allclose(compiled(**{name: x, "other": x}), f(**{name: x, "other": x}))


@every_form
@pytest.mark.parametrize("chosen", EXAMPLES, ids=range(len(EXAMPLES)))
def test_names_like_those_of_programs(form, chosen):
    check(*program(*chosen), form)


@pytest.mark.parametrize("optimize", [True, False])
def test_the_names_that_programs_use_themselves(optimize):
    """Every name in a program is given to each kind of thing that a user can name."""
    form = {"optimize": optimize}
    source = check(*program("a", "b", "c", "d", "e"), form).source
    found = sorted({word for word in re.findall(r"[^\W\d]\w*", source) if len(word) < 30})
    for n in range(len(found)):
        chosen = [found[(n + k) % len(found)] for k in range(5)]
        check(*program(*chosen), form)


def check_many(chosen, form):
    def f(tree):
        total = np.max(tree[chosen[0]])
        return {name: x * 2 + total for name, x in tree.items()}

    numbers = {name: np.arange(3.0) + i for i, name in enumerate(chosen)}
    compiled = mg.compile(f, **form)
    compare_trees(compiled(numbers), f(numbers))
    check_source(compiled.source)


@pytest.mark.parametrize("optimize", [True, False])
def test_all_names_at_once(optimize):
    check_many(words, {"optimize": optimize})


@needs_numba
@pytest.mark.parametrize("start", range(4))
def test_many_names_at_once_in_loops(start):
    check_many([*INJECTIONS, *ODD, *OURS][start::4], FORMS["numba"])


@given(some_names, st.booleans())
@example([*INJECTIONS[:5]], True)
@example(["file", "allow_pickle", "class", "Path", "_expected"], True)
@example(["np", "_arrays", "arr_0", "name", "array"], False)
@settings(max_examples=4 * settings.default.max_examples)
def test_names_in_saved_files(tmp_path_factory, chosen, optimize):
    f, twin, arguments = program(*chosen)
    compiled = mg.compile(f, optimize=optimize)
    compiled(arguments())
    path = tmp_path_factory.mktemp("saved") / "program.py"
    compiled.save(path)
    check_source(path.read_text(encoding="utf-8"))
    module = loaded(path)
    result = getattr(module, identifier(chosen[-1]))(*arguments().values())
    compare_trees(result, twin(arguments()))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        assert all(re.fullmatch(r"arr_\d+", name) for name in arrays.files)


@pytest.mark.parametrize(
    "name", ['we"ird', "it's", 'a"""b', "a\\nb", "a{b}", "{}", "ﬁ", "a.b", "np", "a b", "-", "$(a)"]
)
def test_names_of_saved_files(tmp_path, name):
    f, twin, arguments = program("x", "y", "c", "d", "f")
    compiled = mg.compile(f)
    compiled(arguments())
    path = tmp_path / f"{name}.py"
    compiled.save(path)
    assert sorted(other.suffix for other in tmp_path.iterdir()) == [".npz", ".py"]
    compare_trees(loaded(path).f(*arguments().values()), twin(arguments()))


def written(text, filename, **names):
    """Return the function f that a text defines, whose lines are known as those of a
    file.
    """
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    scope = {"np": np, "mg": mg, **names}
    exec(compile(text, filename, "exec"), scope)
    return scope["f"]


@every_form
@pytest.mark.parametrize(
    "words", [["i", "np_"], ["buffer0", "view"], ["tanh", "largest"], ["ﬁ", "t"], ["sum", "range"]]
)
def test_names_of_parameters_and_variables(form, words):
    first, second = words
    text = (
        f"def f({first}, program):\n    {second} = np.tanh({first}) * program\n    j = np.max({second})\n"
        f"    k = np.exp({second}) + j\n    {first} = k @ k.T\n    return {first}, {second} + np.max(program), j\n"
    )
    f = written(text, "parameters.py")
    x, y = np.linspace(0, 1, 12).reshape(3, 4), np.full((3, 4), 2.0)
    compiled = mg.compile(f, **form)
    for got, want in zip(compiled(x, y), f(x, y), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    check_source(compiled.source)


@every_form
@pytest.mark.parametrize("size", [2**17, 2**17 + 1])
def test_names_beside_the_loops_over_blocks(form, size):
    b = np.linspace(-1, 1, size)

    def by_parameter(x, i):
        j = np.tanh(np.exp(x) * i)
        return j + i

    def by_variable(x):
        i = np.sum(x)
        i_2 = np.tanh(np.exp(x) * i + 1)
        x_i = i_2 * np.cos(x)
        return x_i + i

    compiled = mg.compile(by_parameter, **form)
    np.testing.assert_allclose(compiled(b, np.float64(2.0)), by_parameter(b, 2.0), rtol=1e-12)
    np.testing.assert_allclose(mg.compile(by_variable, **form)(b), by_variable(b), rtol=1e-9)
    assert ("for i" in compiled.source) == (form != FORMS["readable"])


@every_form
@pytest.mark.parametrize("filename", INJECTIONS)
def test_names_of_source_files(form, filename):
    f = written("def f(x):\n    y = np.exp(x)\n    return y * 2 + np.sum(y)\n", filename)
    compiled = mg.compile(f, **form)
    np.testing.assert_allclose(compiled(np.ones(3)), f(np.ones(3)), rtol=1e-12)
    check_source(compiled.source)


def test_a_step_may_have_any_keywords_and_functions():
    ufunc = np.frompyfunc(lambda x, y: x + y, 2, 1)
    half = type("float64", (np.float32,), {})

    def body(x, function, kind, **options):
        assert kind is half
        return x * float(function(1, 2)) * sum(options.values())

    body.__name__ = "sin"
    x, out = Value((2,), float), Value((2,), float)
    options = {"a b": 2, "class": 3, "\ufb01": 4, "fi": 5, 'q"': 6, "np": 7}
    step = Step(body, (x, ufunc, half), options, out)
    names = Names("f")
    text = readable(Program((x,), (step,), (out,)), "f", names)
    result = defined(text, "f", {"np": np, **names.constants})(np.ones(2))
    np.testing.assert_array_equal(result, 81.0)


@every_form
def test_names_of_values_inside(form):
    def f(x):
        y = np.tanh(x * 2)
        y.name = "y\nINJECTED()"
        return np.sum(y @ y)

    compiled = mg.compile(mg.grad(f), **form)
    np.testing.assert_allclose(compiled(np.ones((3, 3))), mg.grad(f)(np.ones((3, 3))), rtol=1e-9)
    check_source(compiled.source)


@pytest.mark.parametrize("name", [3, None, 1.5, b"x", ("a",)])
def test_names_of_functions_that_are_no_texts(name):
    class Function:
        __name__ = name

        def __call__(self, x):
            return x * 2

    assert mg.compile(Function())(np.ones(2)).tolist() == [2.0, 2.0]


@given(names)
@settings(max_examples=20 * settings.default.max_examples)
def test_identifiers(wish):
    name = identifier(wish)
    assert name.isidentifier()
    assert unicodedata.normalize("NFKC", name) == name
    assert not keyword.iskeyword(name)
    assert name not in BUILTINS
    assert not name.startswith("_")
    assert re.fullmatch(r"\w+", name)  # how the printers find names in a text
    assert len(name) <= 50
    assert identifier(name) == name


def test_every_character_of_a_name():
    for code in (*range(0x3400), *range(0x3400, sys.maxunicode, 17)):
        for wish in (chr(code), f"x{chr(code)}"):
            name = identifier(wish)
            assert name.isidentifier()
            assert re.fullmatch(r"\w+", name)
            assert name.isascii() or unicodedata.normalize("NFKC", name) == name


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("weight", "weight"),
        ("0.weight", "weight_0"),
        ("grad_1.bias", "grad_bias_1"),
        ("class", "class_"),
        ("sum", "sum_"),
        ("a b", "a_b"),
        ("1x", "n_1x"),
        ("ﬁ", "fi"),
        ("", "value"),
    ],
)
def test_names_stay_readable(wish, name):
    assert identifier(wish) == name


@needs_numba
def test_names_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MICROGRADND_CACHE", str(tmp_path))
    for name in ("../../up", "x" * 300, "é" * 300, "a/b", "nul\x00", *INJECTIONS):

        def f(x):
            return x * 2

        f.__name__ = name
        for _ in range(2):
            assert mg.compile(f, backend="numba")(np.ones(3)).tolist() == [2.0] * 3
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert folders
    assert all(re.fullmatch(r"[0-9a-f]{24}", folder.name) for folder in folders)
    for path in tmp_path.rglob("*.py"):
        check_source(path.read_text(encoding="utf-8"))
