"""The reference: pages made from docstrings, derivative tables from the registry.

Owns: how a docstring looks on a page, and the links between names.
Must not own: which page a name is on: pages list their names in comments, `<!-- names
microgradnd.nn: Linear ReLU -->`.
Read next: `../../microgradnd/registry.py`.

Signatures come from the running program. Many are made from tables of settings, which
a parser of files doesn't see.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import io
import pkgutil
import posixpath
import re
from pathlib import Path
from typing import Any

import numpy as np

from microgradnd import __main__, nn, registry
from microgradnd.viz import rules

DOCS = Path(__file__).parents[1]
NAMES = re.compile(r"<!-- names ([\w.]+): ([\w\s]+) -->")
RULES_HEAD = "| function | gradient of each argument | at kinks and infinities |\n|---|---|---|"
MOST_CHARACTERS = 80  # of a signature on one line
SECTIONS = "Parameters|Returns|Yields|Raises|Attributes|See Also|Notes|References|Examples"


def filled(markdown: str, uri: str) -> str:
    """Return a page with its comments replaced by entries of names, or by tables."""
    markdown = NAMES.sub(lambda match: "\n".join(entry(match[1], n, uri) for n in match[2].split()), markdown)
    for comment, make in (("derivatives", derivatives), ("scipy", scipy_derivatives), ("command line", command_line)):
        if f"<!-- {comment} -->" in markdown:
            markdown = markdown.replace(f"<!-- {comment} -->", make())
    return markdown


# Docstrings


@functools.cache
def places() -> dict[str, tuple[str, str]]:
    """Return the page and the anchor of each public name, short and with its module."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted((DOCS / "reference").glob("*.md")):
        for module, names in NAMES.findall(path.read_text()):
            for name in names.split():
                place = f"reference/{path.name}", f"{module}.{name}"
                found.setdefault(name, place)
                found[f"reference/{path.name}#{name}"] = place  # on a page, its own names come first
                for i in range(module.count(".") + 1):  # nn.Linear and microgradnd.nn.Linear
                    found[f"{module.split('.', i)[-1]}.{name}"] = place
                found[f"mg.{name}" if module == "microgradnd" else f"F.{name}"] = place
    return found


def entry(module: str, name: str, uri: str) -> str:
    """Return a public name's heading, signature and docstring, and its own methods."""
    value = getattr(importlib.import_module(module), name)
    parts = [
        f"### {name} {{ #{module}.{name} }}\n",
        described(value, f"{module.replace('microgradnd', 'mg')}.{name}", uri),
    ]
    parts += [f"**The same {kind}** {linked(other, uri)}\n" for kind, other in twins(module, name)]
    for key, method in vars(value).items() if inspect.isclass(value) else ():
        is_new = not key.startswith("_") and not any(hasattr(base, key) for base in value.__mro__[1:])
        if is_new and inspect.getdoc(method) and (inspect.isfunction(method) or isinstance(method, property)):
            parts += [f"#### {name}.{key} {{ #{module}.{name}.{key} }}\n", described(method, f"{name}.{key}", uri)]
    return "\n".join(parts)


def twins(module: str, name: str) -> list[tuple[str, str]]:
    """Return a layer's function, or a function's layer: nn.ReLU and F.relu."""
    others = {
        "microgradnd.nn": ("as a function", "F", nn.functional),
        "microgradnd.nn.functional": ("as a layer", "nn", nn),
    }
    kind, prefix, other = others.get(module, ("", "", None))

    def simple(name: str) -> str:
        return name.replace("_", "").lower().removesuffix("loss")

    return [(kind, f"{prefix}.{n}") for n in getattr(other, "__all__", ()) if simple(n) == simple(name)]


def described(value: Any, name: str, uri: str) -> str:
    """Return a signature and a docstring in Markdown."""
    first, *sections = re.split(rf"^({SECTIONS})\n-{{3,}}\n", inspect.getdoc(value) or "", flags=re.M)
    call = f"{name}{signature(value)}"
    if len(call) > MOST_CHARACTERS:
        call = re.sub(r", (?=[*\w]+[=,)])", ",\n    ", call).replace("(", "(\n    ", 1)[:-1] + ",\n)"
    text = f"```python\n{call}\n```\n\n{prose(first, uri)}\n"
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        if title == "See Also":
            text += f"\n**See also** {'; '.join(see_also(body, uri))}\n"
        elif title in ("Notes", "References", "Examples"):
            text += f"\n**{title}**\n\n{prose(body, uri)}\n"
        else:
            text += f"\n**{title}**\n\n{definitions(body, uri)}\n"
    return text


def signature(value: Any) -> str:
    """Return a function's or class's parameters and defaults, without annotations."""
    if isinstance(value, property) or (inspect.isclass(value) and issubclass(value, Exception)):
        return ""
    found = inspect.signature(value)
    left_out = {"self", "wrong", "options"}  # the last two take arguments in order to refuse them
    parameters = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name not in left_out]
    text = str(found.replace(parameters=parameters, return_annotation=found.empty))
    return re.sub(r"<(?:class|function) '?([\w.]+)'?.*?>", r"\1", text)


def prose(text: str, uri: str) -> str:
    """Return docstring text in Markdown: doctests fenced, special signs escaped."""
    blocks = re.split(r"(^>>>.*?(?:\n\n(?!>>>)|\Z))", text.strip() + "\n\n", flags=re.M | re.S)
    return "".join(f"```pycon\n{b.rstrip()}\n```\n\n" if b.startswith(">>>") else inline(b, uri) for b in blocks)


def inline(text: str, uri: str) -> str:
    """Return a piece of text with its signs escaped and its names linked."""

    def replaced(match: re.Match[str]) -> str:
        if code := match[1].strip("`") if match[1] else "":
            return linked(code, uri) if "." in code or code[0].isupper() else f"`{code}`"  # `path` may be a parameter
        return "&lt;" if match[0] == "<" else f"\\{match[0]}"

    return re.sub(r"(`+[^`]+`+)|[*<\[\]$_]", replaced, text)


def linked(name: str, uri: str) -> str:
    """Return a name as code, linked to its entry if it has one."""
    page, anchor = places().get(f"{uri}#{name}") or places().get(name, ("", ""))
    return f"[`{name}`]({posixpath.relpath(page, posixpath.dirname(uri))}#{anchor})" if page else f"`{name}`"


def see_also(body: str, uri: str) -> list[str]:
    """Return the lines of a See Also section, with linked names."""
    found = []
    for line in re.sub(r"\n\s+", " ", body.strip()).split("\n"):
        names, _, why = line.partition(" : ")
        links = ", ".join(linked(name, uri) for name in names.split(", "))
        found.append(f"{links}: {inline(why.rstrip('.'), uri)}" if why else links)
    return found


def definitions(body: str, uri: str) -> str:
    """Return a section of parameters, results or errors as a list of definitions."""
    found = []
    for item in re.split(r"\n(?=\S)", body.strip()):
        head, _, text = item.partition("\n")
        name, _, kind = head.partition(" : ")
        is_name = kind or re.fullmatch(r"\*{,2}[a-z]\w*(, \w+)*", name)
        term = f"`{name}`{' : ' if kind else ''}{inline(kind, uri)}" if is_name else inline(head, uri)
        text = inline(inspect.cleandoc(text), uri).replace("\n", "\n    ")
        found.append(f"{term}\n:   {text}" if text else f"{term}\n")
    return "\n\n".join(found)


# The table of derivatives


def derivatives() -> str:
    """Return NumPy's tables: functions with rules, spelled in others, and excluded."""
    names: dict[Any, list[str]] = {}  # a function may have several
    for module in (np, np.linalg, np.fft):
        for name in dir(module):
            function = getattr(module, name)
            if not name.startswith("_") and callable(function) and not isinstance(function, type):
                names.setdefault(function, []).append(f"`{module.__name__.replace('numpy', 'np')}.{name}`")
    entries = {function: ", ".join(found) for function, found in names.items()}
    ruled = [rule_row(entry, function) for function, entry in entries.items() if function in registry.VJPS]
    spelled = {function: entry for function, entry in entries.items() if function in registry.COMPOSITES}
    listed = ", ".join(sorted(spelled.values()))
    at_kinks = [f"| {entry} | {kink_texts(function)} |" for function, entry in spelled.items() if kinks().get(function)]
    plain = [entry for function, entry in entries.items() if function in registry.PLAIN | registry.CONSTANT]
    excluded: dict[str, list[str]] = {}
    for function in entries.keys() & registry.EXCLUDED.keys():
        excluded.setdefault(registry.EXCLUDED[function], []).append(entries[function])
    reasons = "\n".join(f"| {', '.join(sorted(found))} | {why} |" for why, found in sorted(excluded.items()))
    return f"""## Functions with a rule

{RULES_HEAD}
{chr(10).join(sorted(ruled))}

## Functions computed by others

These functions call other functions of the table, whose rules give the derivative: {listed}.

| function | at kinks and infinities |
|---|---|
{chr(10).join(sorted(at_kinks))}

## Functions without a gradient

These results are integers or booleans, or depend only on shapes: {", ".join(sorted(plain))}.

## Excluded functions

| functions | why |
|---|---|
{reasons}
"""


def scipy_derivatives() -> str:
    """Return the table of SciPy's functions."""
    parts = []
    for name in ("special", "linalg"):
        module = importlib.import_module(f"microgradnd.scipy.{name}")
        rows = [rule_row(f"`{name}.{key}`", getattr(module, key)) for key in sorted(module.__all__)]
        parts.append(f"## {name}\n\n{RULES_HEAD}\n{chr(10).join(rows)}\n")
    return "\n".join(parts)


def command_line() -> str:
    """Return the output of `--help`."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        __main__.main(["draw", "--help"])
    return f"```text\n{text.getvalue()}```\n"


@functools.cache
def kinks() -> dict[Any, list[str]]:
    """Return the gradients at kinks that the rows of the tests state, by function."""
    tests = importlib.import_module("tests.rows")
    found: dict[Any, list[str]] = {}
    for module in pkgutil.iter_modules(tests.__path__):
        for row in importlib.import_module(f"tests.rows.{module.name}").ROWS:
            found.setdefault(row.function, []).extend(
                f"{shown(at)} → {shown(gradients)}" for at, gradients in row.kinks
            )
    return found


def rule_row(entry: str, function: Any) -> str:
    """Return a table row: a function, the gradient of each argument, its kinks."""
    texts = rule_texts(function) if function in registry.VJPS else ["computed by other functions"]
    return f"| {entry} | {'<br>'.join(texts)} | {kink_texts(function)} |"


def kink_texts(function: Any) -> str:
    """Return a function's gradients at kinks, as the cell of a table."""
    return "<br>".join(dict.fromkeys(kinks().get(function, ())))


def shown(values: Any) -> str:
    """Return the numbers of some arguments, or gradients, as short text."""
    texts = [np.array2string(np.asarray(v), precision=3, separator=", ").replace("\n", "") for v in values]
    return f"`{', '.join(texts)}`"


def rule_texts(function: Any) -> list[str]:
    """Return each argument's rule: its formula, or else a sentence about it."""
    table, name = registry.VJPS[function], registry.name_of(function)
    if isinstance(table, registry.Variadic):
        return [rules.TEXTS.get(name) or sentence(table.rule)]
    texts = [rules.TEXTS.get(f"{name}, {i}") or rules.TEXTS.get(name) or written(rule) for i, rule in enumerate(table)]
    return [text if text[0].isupper() else f"`{text}`" for text in texts]


def written(rule: Any) -> str:
    """Return the source of a rule that is a formula, else its docstring's summary."""
    if rule.__name__ == "missing":
        return "None: no gradient flows to this argument"
    if rule.__name__ != "<lambda>":
        return sentence(rule)
    return ast.unparse(rules._source_of(rule.__code__).body).replace(" ** ", "**")


def sentence(rule: Any) -> str:
    """Return the first line of a rule's docstring, or else its place in the code."""
    rule = getattr(rule, "func", rule)  # of a functools.partial
    if rule.__doc__:
        text = rule.__doc__.split("\n")[0].removeprefix("Return ").rstrip(".")
        return text[0].upper() + text[1:]
    return f"The function `{rule.__qualname__.split('.')[0]}` of {rule.__module__}"
