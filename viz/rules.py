"""The text of a derivative rule, `g * np.cos(x)`, with letters or with names.

Owns: finding the source of a rule, extracting its returned expression, and the texts of
rules that are no formulas.
Must not own: any rule (`../microgradnd/rules/`).
Read next: `dot.py`.

The body of a lambda is its text. A function with several branches shows the branch that
this call takes: its conditions are evaluated on stand-ins of the right shapes, which
take no memory. A rule may have an attribute `text` for pictures; `TEXTS` has those of
the library's rules that are no formulas. A rule whose text would contain internal names
is called the derivative of its function.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import linecache
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from microgradnd import broadcasting
from microgradnd.registry import JVPS, VJPS, Joint, name_of, rule_for
from microgradnd.tape import Operation

MOST_ELEMENTS = 10**5  # of all arrays for which a condition is evaluated
MOST_STATEMENTS = 20
INLINED = 60  # characters of an expression that replaces a variable
BROADCASTING = {np.where, np.clip, np.broadcast_to, np.tril, np.triu}  # besides elementwise functions
# Functions of one array as pictures write them: forms of an array, and squares
FORMS = {
    "array": "{}",
    "column": "{}[..., None]",
    "row": "{}[..., None, :]",
    "vector": "{}[..., 0]",
    "mT": "{}.mT",
    "np.square": "{}**2",
}
SIGNS: dict[str, ast.operator] = {"np.dot": ast.MatMult(), "on_rows": ast.MatMult(), "power": ast.Pow()}
SPELLED = {"summed": "np.sum", "conj": "np.conj"}
# The texts of rules that are no formulas, by function
TEXTS = {
    "getitem": "g where it was taken from, else 0",
    "select": "g for this result, 0 for the others",
    "concatenate": "its slice of g",
    "stack": "its slice of g",
    "max": "g shared by the maxima of x, else 0",
    "min": "g shared by the minima of x, else 0",
    "maximum": "g where it is larger, g / 2 at ties, else 0",
    "minimum": "g where it is smaller, g / 2 at ties, else 0",
    "fmax": "g where it is larger, g / 2 at ties, else 0",
    "fmin": "g where it is smaller, g / 2 at ties, else 0",
    "max_pool": "g at the first maximum of x, else 0",
    "picked": "g where it was taken from, else 0",
    "looked_up": "g in the rows that were looked up",
    "einsum": "einsum of g and the other operands",
    "sort": "g at the places before",
    "tile": "sum of g over the copies",
    "repeat": "sum of g over the copies",
    "pad": "g within the edges",
    "cumsum": "sums of g from the end",
    "softmax": "out * (g - sum of g * out per softmax)",
    "log_softmax": "g - np.exp(out) * sum of g per softmax",
    "softmax_cross_entropy": "g * (softmax - onehot)",
    "conv, 0": "g convolved with the flipped weight",
    "conv, 1": "x convolved with g",
    "conv, 2": "sum of g over all but the channels",
    "conv_transpose, 0": "g convolved with the weight",
    "conv_transpose, 1": "g convolved with the input",
    "transpose": "g transposed back",
    "where, 1": "np.where(c, g, 0)",
    "where, 2": "np.where(c, 0, g)",
    "clip, 0": "g where x is within the limits, else 0",
    "setitem, 0": "g, 0 where it was set",
    "setitem, 2": "g where it was set",
    "add_at, 2": "g where it was added",
    "subtract_at, 2": "-g where it was subtracted",
    "power, 1": "g * out * np.log(x)",
    "prod": "g times the product of the others",
    "var": "g * 2 * (x - mean) / (n - ddof)",
    "std": "g * (x - mean) / (out * (n - ddof))",
}


class UnknownError(Exception):
    """The source of a rule is missing or too complicated."""


def rule_text(node: Operation, position: int) -> str:
    """Return the VJP rule of one argument of an operation, as written in the table.

    Parameters
    ----------
    node : Operation
        Its arrays may have been freed.
    position : int
        Which argument.

    Returns
    -------
    str
        One line of any length. `g` is the cotangent of the result, `out` the result;
        the arguments have the names of the rule.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.viz.rules import rule_text
    >>> x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    >>> [rule_text(y._node, 0) for y in (np.sin(x), x @ np.ones((2, 3)), x.sum())]
    ['g * np.cos(x)', 'g @ y.T', 'np.broadcast_to(g, x.shape)']
    """
    rule = rule_for(VJPS, node.function, position)
    table = VJPS.get(node.function, ())
    if position >= len(table):
        return ""
    name = name_of(node.function)
    if said := getattr(rule, "text", "") or TEXTS.get(name) or TEXTS.get(f"{name}, {position}"):
        return str(said)
    unknown = f"derivative of {name}, times g"
    if isinstance(table, Joint):  # it computes all cotangents at once
        return unknown
    try:
        found = _returned(rule, node)
    except Exception:  # a user's rule may raise anything
        return unknown
    return unknown if set(_words(found)) - _known_words(rule, node) else ast.unparse(found).replace(" ** ", "**")


def is_formula(text: str) -> bool:
    """Return whether the text of a rule is Python, not words."""
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


class Template:
    """The text of a rule, in which names or numbers can replace its words.

    Parameters
    ----------
    text : str
        The rule, as `rule_text` gives it.
    words : collection of str
        The words that stand for values: `g`, `out`, and the rule's argument names.
    """

    def __init__(self, text: str, words: Collection[str]) -> None:
        self.pieces = re.split(rf"(?<!\.)\b({'|'.join(map(re.escape, words))})\b(?!')", text)

    @property
    def words(self) -> set[str]:
        """The words of this rule that stand for values."""
        return set(self.pieces[1::2])

    def put(self, names: Mapping[str, str]) -> str:
        """Return the text with names or numbers for its words, in brackets if needed.

        Examples
        --------
        >>> from microgradnd.viz.rules import Template
        >>> rule = Template("g * (1 - out**2)", ["g", "out"])
        >>> rule.put({"out": "h"}), rule.put({"g": "-1", "out": "0.5"})
        ('g * (1 - h**2)', '(-1) * (1 - 0.5**2)')
        """
        found = list(self.pieces)
        for i in range(1, len(found), 2):
            name = names.get(found[i], found[i])
            is_argument = self.pieces[i - 1].endswith(("(", ", ")) and self.pieces[i + 1].startswith((")", ", "))
            is_alone = self.pieces[i - 1] == self.pieces[i + 1] == "" and len(found) == 3
            is_one = is_argument or is_alone or re.fullmatch(r"[^\W\d][\w.]*(\(.*\))?|\d[\w.+]*|'.*'", name)
            found[i] = name if is_one else f"({name})"
        return "".join(found)


def _innermost(rule: Any) -> Any:
    while isinstance(rule, functools.partial):
        rule = rule.func
    return rule


def _words(expression: ast.expr) -> list[str]:
    """Return the names in an expression, and "?" for syntax unfit for a picture."""
    odd = (ast.IfExp, ast.comprehension, ast.Starred, ast.Lambda, ast.NamedExpr)
    found = ["?" for part in ast.walk(expression) if isinstance(part, odd)]
    return found + [part.id for part in ast.walk(expression) if isinstance(part, ast.Name)]


def _known_words(rule: Any, node: Operation) -> set[str]:
    """Return the names that a reader of a rule can be expected to know."""
    rule = _innermost(rule)
    known = {"g", "out", "np", *SPELLED.values(), "np.outer", "np.broadcast_to", "np.expand_dims"}
    known.update(inspect.signature(rule).parameters, node.kwargs)
    free = inspect.getclosurevars(rule)
    named = {**free.globals, **free.nonlocals}
    known.update(name for name, value in named.items() if not _is_ours(rule) or (callable(value) and value in VJPS))
    return known


def _is_ours(rule: Any) -> bool:
    return str(getattr(rule, "__module__", "")).startswith("microgradnd.")


def parameters_of(function: Any, position: int) -> list[str]:
    """Return the names that the rule of one argument gives to the arguments."""
    try:
        names = list(inspect.signature(rule_for(VJPS, function, position)).parameters.values())[2:]
    except (TypeError, ValueError):
        return []
    return [n.name for n in names if n.kind in (n.POSITIONAL_OR_KEYWORD, n.POSITIONAL_ONLY)]


def summed_axes(node: Operation, position: int) -> tuple[int, ...]:
    """Return the axes over which the cotangent of a broadcast argument is summed."""
    function, shapes = node.function, _shapes(node)
    shape, wide = shapes[position], node.shape
    if shape is None or wide is None:
        return ()
    if signature := getattr(function, "signature", None):
        cores = [core.count(",") + 1 for core in signature.partition("->")[0].split("),(")]
        if None in shapes or node.kwargs:
            return ()
        stacks = [max(len(s or ()) - core, 0) for s, core in zip(shapes, cores, strict=True)]
        if function is np.matmul and not stacks[position] and (position == 1 or len(shape) == 2):
            return ()  # the rule itself sums over the stack
        shape, wide = shape[: stacks[position]], wide[: max(stacks)]
    elif not (isinstance(function, np.ufunc) or function in BROADCASTING or _is_diagonal(function)):
        return ()
    try:
        return broadcasting.copied_axes(wide, shape)
    except ValueError:  # the leaf has a new array since
        return ()


def _shapes(node: Operation) -> list[tuple[int, ...] | None]:
    """Return the shapes of the arguments; None for a constant that was freed."""
    if node.args is not None:
        return [getattr(arg, "shape", ()) for arg in node.args]
    return [None if parent is None else parent.shape for parent in node.parents]


def _is_diagonal(function: Any) -> bool:
    """Return whether a function is elementwise: then both modes have the same rules."""
    return VJPS.get(function, ()) == JVPS.get(function)


def _returned(rule: Any, node: Operation) -> ast.expr:
    """Return the expression that a rule returns in one call."""
    given: list[Any] = []
    while isinstance(rule, functools.partial):
        given = [*rule.args, *given]
        rule = rule.func
    found = _source_of(rule.__code__)
    body = [ast.Return(found.body)] if isinstance(found, ast.Lambda) else found.body
    return _Reading(rule, given, node).returned(body)


def _source_of(code: Any) -> Any:
    """Return the syntax tree of a code object's lambda or function."""
    nodes = _parsed(code.co_filename, "".join(linecache.getlines(code.co_filename)))
    found: list[Any]
    if code.co_name == "<lambda>":
        places = [(line, column) for line, _, column, _ in code.co_positions() if line and column is not None]
        place = max(places)  # the last instruction, the return, is in the body and in no default
        found = [node for node in nodes if isinstance(node, ast.Lambda) and _holds(node.body, place)]
        found.sort(key=lambda node: (node.lineno, node.col_offset))  # the innermost is last
    else:
        found = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == code.co_name]
        first = code.co_firstlineno
        found = [n for n in found if min([n.lineno, *(d.lineno for d in n.decorator_list)]) == first]
    if not found:
        raise UnknownError
    return found[-1]


def _holds(body: Any, place: tuple[int, int]) -> bool:
    return (body.lineno, body.col_offset) <= place <= (body.end_lineno, body.end_col_offset)


@functools.lru_cache(maxsize=64)
def _parsed(filename: str, source: str) -> list[Any]:
    return [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Lambda | ast.FunctionDef)]


def _stand_ins(node: Operation) -> list[Any]:
    """Return g, out and the arguments of a call, with zeros for all arrays."""

    def zeros(shape: Any, dtype: Any) -> Any:
        return np.broadcast_to(np.zeros((), dtype), shape)

    out = None if node.shape is None else zeros(node.shape, node.dtype)
    args: list[Any] = [None] * len(node.parents) if node.args is None else list(node.args)
    for i, parent in enumerate(node.parents):
        if isinstance(args[i], np.ndarray):
            args[i] = zeros(args[i].shape, args[i].dtype)
        elif parent is not None and parent.shape is not None:
            args[i] = zeros(parent.shape, parent.dtype)
        elif node.args is None and node.function is np.matmul:  # a freed constant, which must be a matrix
            args[i] = zeros((1, 1), node.dtype)
    return [out, out, *args]


class _Reading(ast.NodeTransformer):
    """The path of one call through a rule, and its result in plain NumPy.

    It leaves out branches that the call doesn't take, options at their defaults, and
    functions that only change the form of an array within a rule.

    Attributes
    ----------
    known : dict
        The values of parameters, and of variables once evaluated.
    given : set of str
        The parameters that aren't left at their defaults.
    freed : set of str
        Parameters whose values are unknown, since `backward()` freed them.
    pending : list of ast.stmt
        Statements that haven't been needed yet.
    texts : dict of str to ast.expr
        The expression assigned to each variable.
    renamed : dict of str to str
        What a rule calls the cotangent and the result: pictures call them g and out.
    """

    def __init__(self, rule: Any, given: list[Any], node: Operation) -> None:
        args = [*given, *_stand_ins(node)]
        signature = inspect.signature(rule)
        self.parameters = signature.parameters
        self.known: dict[str, Any] = {}
        self.given: set[str] = set()
        with contextlib.suppress(TypeError):  # a rule that doesn't take these arguments stays unread
            bound = signature.bind(*args, **node.kwargs)
            self.given.update(bound.arguments)
            bound.apply_defaults()
            self.known.update(bound.arguments)
        self.freed = set(list(self.parameters)[: len(args)]) if node.args is None else set()
        self.renamed = dict(zip(list(self.parameters)[len(given) : len(given) + 2], ("g", "out"), strict=False))
        self.globals = {**rule.__globals__, **inspect.getclosurevars(rule).nonlocals}
        self.pending: list[ast.stmt] = []
        self.texts: dict[str, ast.expr] = {}

    def returned(self, body: list[Any]) -> ast.expr:
        """Return the expression that the call returns."""
        todo = list(body)
        for _ in range(MOST_STATEMENTS):
            statement = todo.pop(0)
            if isinstance(statement, ast.Return):
                return self.written(statement.value)
            if isinstance(statement, ast.If):
                todo = [*(statement.body if self.value(statement.test) else statement.orelse), *todo]
                continue
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self.texts[statement.targets[0].id] = self.written(statement.value)
            self.pending.append(statement)
        raise UnknownError

    def value(self, expression: ast.expr) -> Any:
        """Evaluate an expression after pending statements, unless it is too large."""
        with np.errstate(all="ignore"):
            if self.pending and any(isinstance(n, ast.Name) and n.id not in self.known for n in ast.walk(expression)):
                if sum(v.size for v in self.known.values() if isinstance(v, np.ndarray)) > MOST_ELEMENTS:
                    raise UnknownError
                exec(compile(ast.Module(self.pending, []), "<rule>", "exec"), self.globals, self.known)
                self.pending = []
            return eval(compile(ast.Expression(expression), "<rule>", "eval"), self.globals, self.known)

    def written(self, expression: Any) -> ast.expr:
        """Return an expression in plain NumPy."""
        return self.visit(ast.parse(ast.unparse(expression), mode="eval").body)

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        return self.visit(node.body if self.value(node.test) else node.orelse)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        if isinstance(node.op, ast.Mult) and ast.unparse(node.left).startswith("column("):
            sides = [self.visit(side) for side in map(self.vector_of, (node.left, node.right)) if side is not None]
            if len(sides) == 2:
                return ast.Call(ast.Name("np.outer"), sides, [])
        self.generic_visit(node)
        return node

    def vector_of(self, factor: ast.expr) -> ast.expr | None:
        """Return a factor without its form; None if it isn't one vector."""
        if isinstance(factor, ast.Call) and ast.unparse(factor.func) in ("column", "row"):
            factor = factor.args[0]
        return factor if np.ndim(self.value(factor)) == 1 else None

    def visit_Call(self, node: ast.Call) -> Any:
        name = ast.unparse(node.func)
        if name == "rows":
            shape = np.shape(self.value(node.args[0]))
            form = "{}" if len(shape) == 2 else f"{{}}.reshape(-1, {shape[-1]})"
            return self.formed(form, node.args[0])
        if name in FORMS:
            return self.formed(FORMS[name], node.args[0])
        node.args = list(map(self.visit, node.args))
        while len(node.args) > 1 and self.is_default(node.args[-1]):
            node.args.pop()
        node.keywords = [self.visit(k) for each in node.keywords for k in self.spread(each)]
        if name in SIGNS and len(node.args) == 2:
            return ast.BinOp(node.args[0], SIGNS[name], node.args[1])
        if name == "expand":
            g, shape, *axis = node.args[:3]
            made = ast.Call(ast.Name("np.expand_dims"), [g, *axis], []) if axis and len(node.args) == 3 else g
            return ast.Call(ast.Name("np.broadcast_to"), [made, shape], [])
        node.func = ast.Name(SPELLED[name]) if name in SPELLED else self.visit(node.func)
        return node

    def formed(self, form: str, array: ast.expr) -> ast.expr:
        """Return an array in one of the forms of `FORMS`."""
        return ast.parse(form.format(f"({ast.unparse(self.visit(array))})"), mode="eval").body

    def spread(self, keyword: ast.keyword) -> list[ast.keyword]:
        """Return the options that a keyword passes on, without those at their defaults.

        A rule's own `**options` are left out: they are those of the operation.
        """
        if keyword.arg is not None:
            return [] if self.is_default(keyword.value) else [keyword]
        if isinstance(keyword.value, ast.Name):
            return []
        return [ast.keyword(key, ast.Constant(value)) for key, value in self.value(keyword.value).items()]

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id in self.renamed:
            return ast.Name(self.renamed[node.id])
        if node.id in self.texts and len(ast.unparse(self.texts[node.id])) <= INLINED:
            return self.texts[node.id]
        if node.id not in self.given:
            try:
                number = self.value(node)
            except Exception:  # it stays a name
                return node
            if type(number) is float:
                return ast.Constant(float(f"{number:.4g}"))
        return node

    def is_default(self, argument: ast.expr) -> bool:
        """Return whether an argument is a parameter that is None or False here."""
        if not isinstance(argument, ast.Name) or argument.id in self.freed:
            return False
        value = self.known.get(argument.id, ...)
        return value is None or value is False
