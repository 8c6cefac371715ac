"""A program as a file that runs with NumPy alone.

Owns: the text of such a file, and the arrays that belong to it.
Must not own: the program itself (`source.py`, `fast.py`).
Read next: `dispatch.py`.

The file is a module with one function. Arrays that the program captures, such as the
parameters of a model, are stored in a second file. The function checks the shapes and
dtypes of its arguments, because it is right only for these.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from microgradnd.compiler.program import Value
from microgradnd.compiler.source import spelled

EXPECTED = '''def _expected(name, array, shape, dtype):
    """Return an argument as an array; it must have the program's shape and dtype."""
    array = np.asarray(array)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must have shape {shape} and dtype {dtype}, got {array.shape} and {array.dtype}")
    return array


'''


class Written(NamedTuple):
    """The parts of a written program.

    Attributes
    ----------
    name : str
        The function's name.
    inputs : list of (Value, str)
        The inputs and their names, the captured ones last.
    constants : dict of str to object
        The objects that the text needs by name.
    helpers : str
        The functions that it calls.
    text : str
        The function, and the allocation of its buffers.
    shapes : list of str
        The shapes of the inputs in terms of open lengths; empty if none is open.
    lengths : str
        The statements that read the open lengths from the inputs, and check them.
    """

    name: str
    inputs: list[tuple[Value, str]]
    constants: dict[str, Any]
    helpers: str
    text: str
    shapes: tuple[str, ...] = ()
    lengths: str = ""

    def source(self, rest: str = "", required: bool = False) -> str:
        """Return a module's text; if required, raise for an unwritable function."""
        functions = ""
        for name, thing in self.constants.items():
            if callable(thing) and (text := function_text(name, thing, required)):
                functions += f"{text}\n\n"
        made = [(name, spelled(thing)) for name, thing in self.constants.items()]
        constants = "".join(f"{name} = {text}\n" for name, text in made if text)
        gap = "\n\n" if constants else ""
        text = f"{rest}{functions}{self.helpers}{constants}{gap}{self.text}"
        used = "import math\n" if "math." in text else ""
        used += "from pathlib import Path\n" if "Path(" in text else ""
        return f"{used}\nimport numpy as np\n\n\n{text}".lstrip()


def write(path: Path, written: Written, captured: list[Any], left: Sequence[tuple[bool, str | None]]) -> None:
    """Write a program to a file, and the arrays that it needs to another.

    `left` is what a call leaves, as for `continued`.
    """
    if left:
        written = written._replace(text=continued(written.text, left))
    count = len(written.inputs) - len(captured)
    names = [name for _, name in written.inputs[:count]]
    dtypes = [value.dtype.name for value, _ in written.inputs[:count]]
    shapes = [value.shape for value, _ in written.inputs[:count]]
    given = list(zip(names, dtypes, written.shapes or shapes, strict=False))
    arrays = {name: array for (_, name), array in zip(written.inputs[count:], captured, strict=True)}
    arrays |= {name: x for name, x in written.constants.items() if spelled(x) is None and not callable(x)}
    checks = written.lengths
    checks += "".join(f'    {x} = _expected("{x}", {x}, {shape}, np.{dtype})\n' for x, dtype, shape in given)
    changed = [name for name in arrays if re.search(rf"^ +{name} (?:[-+*/]=|=) ", written.text, re.M)]
    checks += f"    global {', '.join(changed)}\n" if changed else ""  # the state, which is carried from call to call
    head = re.compile(rf"^def {written.name}\(.*\):\n", re.M)
    text = head.sub(lambda _: f"def {written.name}({', '.join(names)}):\n{checks}", written.text)
    loading = note = ""
    if arrays:
        np.savez(path.with_suffix(".npz"), *arrays.values())  # by position: a name may equal a parameter's
        lines = "".join(f'    {name} = _arrays["arr_{i}"]\n' for i, name in enumerate(arrays))
        loading = f'with np.load(Path(__file__).with_suffix(".npz")) as _arrays:\n{lines}\n\n'
        note = "\nIts arrays are in the file of the same name with the suffix .npz.\n"
    text = written._replace(text=text).source(loading + EXPECTED, required=True).rstrip()
    listed = "".join(f"    {x}: {dtype} {shape}\n" for x, dtype, shape in given) or "    none\n"
    title = f"{written.name}, a NumPy program compiled by microgradnd."
    docstring = f'"""{title}\n\nArguments, and their dtypes and shapes:\n\n{listed}{note}"""\n\n'
    kinds = ["ones" if np.dtype(dtype).kind in "fc" else "zeros" for dtype in dtypes]
    examples = [f"np.{kind}({shape}, np.{dtype})" for kind, shape, dtype in zip(kinds, shapes, dtypes, strict=True)]
    call = "".join(f"        {example},\n" for example in examples)
    main = f'\n\nif __name__ == "__main__":  # an example call\n    print({written.name}(\n{call}    ))\n'
    path.write_text(f"{docstring}{text}\n{main}", encoding="utf-8")


def continued(text: str, left: Sequence[tuple[bool, str | None]]) -> str:
    """Return a program that keeps what a call leaves for the next call.

    For each array that is left, `left` says whether it is a gradient, which is returned
    too, and the name of the array that it replaces, if the program reads that.
    """
    *lines, last = text.rstrip().split("\n")
    indent, _, result = last.partition("return ")
    gradients = "".join(f"_left[{i}], " for i, (is_gradient, _) in enumerate(left) if is_gradient)
    lines.append(f"{indent}_result, _left = {result}")
    lines += [f"{indent}{name} = np.array(_left[{i}])" for i, (_, name) in enumerate(left) if name is not None]
    lines.append(f"{indent}return _result, ({gradients})" if gradients else f"{indent}return _result")
    return "\n".join(lines) + "\n"


def function_text(name: str, thing: Any, required: bool) -> str | None:
    """Return a function's source, under the name by which a program calls it.

    If it has none, return None, or raise if it is required.
    """
    body = getattr(thing, "body", thing)
    body = getattr(body, "in_numpy", body) if required else body
    try:
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(body))).body
        outside = inspect.getclosurevars(body)
        named = {node.id for node in ast.walk(definition) if isinstance(node, ast.Name)}  # attributes aren't names
        others = sorted(({*outside.globals} & named | {*outside.nonlocals}) - {"np"})
    except (TypeError, OSError, SyntaxError):
        definition, others = ast.Pass(), []
    if isinstance(definition, ast.FunctionDef) and not others:
        definition.name, definition.decorator_list, definition.returns = name, [], None
        arguments = definition.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            argument.annotation = None
        return f"{ast.unparse(definition)}\n"
    if required:
        reason = f"which uses {', '.join(others)}" if others else "whose source is unknown"
        raise TypeError(
            f"the program calls {getattr(thing, '__name__', name)}, {reason}; "
            f"to save the program, define that function with a def that uses only np and its arguments"
        )
    return None
