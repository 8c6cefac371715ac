"""A derivative rule as it is written in the table: `g * np.cos(x)`.

Owns: finding the source of a rule and cutting out what it returns.
Must not own: any rule (`../microgradnd/rules/`), or a second spelling of one.
Read next: `dot.py`.

A lambda's body is its text. Of a function with several ways to return, the one is shown that this call takes: its
conditions are evaluated on stand-ins of the right shapes, which take no memory.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
from typing import Any

import numpy as np

from microgradnd import broadcasting
from microgradnd.registry import VJPS, Joint, rule_for
from microgradnd.tape import Operation

MOST_ELEMENTS = 10**5  # of the arrays that a condition may be evaluated for
MOST_STATEMENTS = 20
INLINED = 60  # characters: up to so many, what a variable stands for is put in its place
BROADCASTING = {np.where, np.clip}  # beside the ufuncs
Names = dict[str, Any]


class UnknownError(Exception):
    """The source of a rule isn't there, or isn't as simple as was hoped."""


def rule_text(node: Operation, position: int) -> str:
    """Return what the VJP rule of one argument of an operation computes, as the table has it.

    Parameters
    ----------
    node : Operation
        Its arrays may have been let go of.
    position : int
        Which argument.

    Returns
    -------
    str
        On one line, of any length. `g` is the cotangent of the result, `out` the result, then come the arguments.

    Examples
    --------
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd.viz.rules import rule_text
    >>> x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    >>> [rule_text(y._node, 0) for y in (np.sin(x), x @ np.ones((2, 3)), x.sum(), x.mean(axis=1))]
    ['g * np.cos(x)', 'np.dot(g, y.T)', 'expand(g, x.shape)', 'expand(g * 0.5, x.shape, axis)']
    """
    rule = rule_for(VJPS, node.function, position)
    table = VJPS.get(node.function, ())
    if position >= len(table):
        return ""
    if isinstance(table, Joint):  # computes all cotangents at once
        return f"{table.rule.__name__}(g, …)[{position}]"
    try:
        return _text(rule, node)
    except Exception:  # whatever a stranger's rule may hold, a picture is drawn
        while isinstance(rule, functools.partial):
            rule = rule.func
        name = getattr(rule, "__name__", "rule")
        return f"{'rule' if name == '<lambda>' else name}(g, …)"


def summed_axes(node: Operation, position: int) -> tuple[int, ...]:
    """Return the axes of the result over which the cotangent of an argument is summed, since broadcasting copied it."""
    parent = node.parents[position]
    is_elementwise = node.function in BROADCASTING or getattr(node.function, "signature", "none") is None
    if not is_elementwise or node.shape is None:
        return ()
    shape = np.shape(node.args[position]) if node.args is not None else parent.shape
    try:
        return broadcasting.copied_axes(node.shape, shape)
    except ValueError:  # a leaf that has got another array since
        return ()


def _text(rule: Any, node: Operation) -> str:
    given: list[Any] = []
    while isinstance(rule, functools.partial):
        given = [*rule.args, *given]
        rule = rule.func
    found = _source_of(rule.__code__)
    if isinstance(found, ast.Lambda) and not any(map(_is_open, ast.walk(found.body))):
        return ast.unparse(found.body)
    if isinstance(found, ast.Lambda):
        try:
            return ast.unparse(_reading(rule, given, node).simplified(found.body))
        except Exception:  # a choice within a comprehension, say: it is shown with all branches
            return ast.unparse(found.body)
    return ast.unparse(_reading(rule, given, node).returned(found.body))


def _reading(rule: Any, given: list[Any], node: Operation) -> _Reading:
    return _Reading(rule, _bound(rule, [*given, *_stand_ins(node)], node.kwargs))


def _is_open(part: ast.AST) -> bool:
    """Return whether what a part of an expression says depends on the call."""
    return isinstance(part, ast.IfExp) or (isinstance(part, ast.keyword) and part.arg is None)


def _source_of(code: Any) -> Any:
    """Return the syntax tree of the lambda or function that a code object was compiled from."""
    nodes = _parsed(code.co_filename, "".join(linecache.getlines(code.co_filename)))
    found: list[Any]
    if code.co_name == "<lambda>":
        places = [(line, column) for line, _, column, _ in code.co_positions() if line and column is not None]
        place = max(places)  # the last instruction, that which returns, is in the body and in no argument's default
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
    """Return g, out and the arguments of a call, arrays with zeros of their shapes in their place."""

    def zeros(shape: Any, dtype: Any) -> Any:
        return np.broadcast_to(np.zeros((), dtype), shape)

    if node.shape is None:
        raise UnknownError
    out = zeros(node.shape, node.dtype)
    args: list[Any] = [None] * len(node.parents) if node.args is None else list(node.args)
    for i, parent in enumerate(node.parents):
        if isinstance(args[i], np.ndarray):
            args[i] = zeros(args[i].shape, args[i].dtype)
        elif parent is not None and parent.shape is not None:
            args[i] = zeros(parent.shape, parent.dtype)
        elif node.args is None and node.function is np.matmul:  # a constant that was let go of: surely a matrix
            args[i] = zeros((1, 1), node.dtype)
    return [out, out, *args]


def _bound(rule: Any, args: list[Any], kwargs: Names) -> Names:
    bound = inspect.signature(rule).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


class _Reading:
    """The way that one call takes through the body of a rule.

    Attributes
    ----------
    known : dict
        What parameters stand for, and variables once they have been evaluated.
    pending : list of ast.stmt
        Statements that nothing has asked for yet.
    texts : dict of str to ast.expr
        What a variable was assigned.
    """

    def __init__(self, rule: Any, names: Names) -> None:
        free = inspect.getclosurevars(rule).nonlocals
        self.globals = {**rule.__globals__, **free}
        self.known = dict(names)
        self.parameters = inspect.signature(rule).parameters
        self.pending: list[ast.stmt] = []
        self.texts: dict[str, ast.expr] = {}

    def returned(self, body: list[Any]) -> ast.expr:
        """Return the expression that the call returns."""
        todo = list(body)
        for _ in range(MOST_STATEMENTS):
            statement = todo.pop(0)
            if isinstance(statement, ast.Return):
                if statement.value is None:
                    raise UnknownError
                return self.simplified(statement.value)
            if isinstance(statement, ast.If):
                todo = [*(statement.body if self.value(statement.test) else statement.orelse), *todo]
                continue
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self.texts[statement.targets[0].id] = self.simplified(statement.value)
            self.pending.append(statement)
        raise UnknownError

    def value(self, expression: ast.expr) -> Any:
        """Evaluate an expression, after the statements that it depends on, if it isn't too much work."""
        needs_more = any(isinstance(n, ast.Name) and n.id not in self.known for n in ast.walk(expression))
        if needs_more and self.pending:
            arrays = [v for v in self.known.values() if isinstance(v, np.ndarray)]
            if sum(a.size for a in arrays) > MOST_ELEMENTS:
                raise UnknownError
            module = ast.Module(self.pending, [])
            with np.errstate(all="ignore"):
                exec(compile(module, "<rule>", "exec"), self.globals, self.known)
            self.pending = []
        with np.errstate(all="ignore"):
            return eval(compile(ast.Expression(expression), "<rule>", "eval"), self.globals, self.known)

    def simplified(self, expression: ast.expr) -> ast.expr:
        """Return an expression with variables replaced by what they were assigned, without what this call leaves out.

        That are the branches that it doesn't take, and options at their defaults.
        """
        return _Simpler(self).visit(ast.parse(ast.unparse(expression), mode="eval").body)

    def adds_nothing(self, keyword: ast.keyword) -> bool:
        """Return whether a keyword is at its default, or stands for none (`**options`)."""
        if keyword.arg is not None:
            return self.is_default(keyword.value)
        try:
            return self.value(keyword.value) == {}
        except Exception:  # it is shown
            return False

    def is_default(self, argument: ast.expr) -> bool:
        """Return whether an argument is a parameter that this call leaves at None or False."""
        if not isinstance(argument, ast.Name) or argument.id not in self.known:
            return False
        value = self.known[argument.id]
        return value is None or value is False


class _Simpler(ast.NodeTransformer):
    """Puts into an expression what one call knows."""

    def __init__(self, reading: _Reading) -> None:
        self.reading = reading

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        return self.visit(node.body if self.reading.value(node.test) else node.orelse)

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        while len(node.args) > 1 and self.reading.is_default(node.args[-1]):
            node.args.pop()
        node.keywords = [k for k in node.keywords if not self.reading.adds_nothing(k)]
        return node

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id in self.reading.texts and len(ast.unparse(self.reading.texts[node.id])) <= INLINED:
            return self.reading.texts[node.id]
        if node.id not in self.reading.parameters:
            try:
                number = self.reading.value(node)
            except Exception:  # it stays a name
                return node
            if type(number) is float and node.id not in self.reading.globals:
                return ast.Constant(float(f"{number:.4g}"))
        return node
