"""The command line: `python -m microgradnd draw train.py -o graph.svg` draws a program.

Owns: the command line.
Must not own: drawing (`viz/render.py`).
Read next: `viz/render.py`.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from microgradnd.lines import user_line
from microgradnd.modes import Recording
from microgradnd.tape import Leaf, Mode, Operation
from microgradnd.tensor import Tensor, wrap

EPILOG = """\
FILE.py:name draws the Tensor of that name, or the Tensor that the function of that name returns
when called without arguments. The file is imported, so code under `if __name__ == "__main__"`
doesn't run.

FILE.py alone is run as a program, and one of its Tensors is drawn: the variable `loss`, otherwise
the variable computed last, otherwise the last single number that its functions computed. In most
programs that is the loss of the last step.

If the program fails, you get a picture of everything before the error, with the failed operation
in red.

The ending of the output's name chooses the format: .svg, .png, .pdf, .dot (Graphviz),
.mmd (Mermaid), .json, or .html, a page to step through the computation in a browser.
"""


class Refused(Exception):
    """A request that can't be drawn, and why."""


class Failed(Refused):
    """The program raised an error, which is the cause of this one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default the process's own.

    Returns
    -------
    int
        0, or 1 if there is nothing to draw or the program failed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from microgradnd.__main__ import main
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     program = pathlib.Path(folder, "square.py")
    ...     lines = [
    ...         "import microgradnd as mg",
    ...         "x = mg.tensor(3.0, requires_grad=True)",
    ...         "loss = x**2",
    ...     ]
    ...     written = program.write_text("\\n".join(lines))
    ...     main(["draw", str(program), "-o", folder + "/graph.mmd"])
    wrote .../graph.mmd
    0
    """
    parser = argparse.ArgumentParser(
        prog="python -m microgradnd", description="Automatic differentiation that you can look into."
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    draw = commands.add_parser(
        "draw",
        help="draw what a program computes",
        description="Draw what a program computes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    draw.add_argument("program", metavar="FILE.py[:name]", help="the program, and the name in it to draw")
    draw.add_argument("-o", "--output", type=Path, help="the file to write; by default, a table is printed")
    draw.add_argument("--backward", action="store_true", help="show the gradients, and how they are computed")
    draw.add_argument("--view", choices=("forward", "backward", "both"), help="what to draw; forward by default")
    draw.add_argument("--depth", type=int, help="the depth to which scopes are unfolded")
    draw.add_argument("--max-nodes", type=int, help="the most nodes to draw; scopes are folded until they fit")
    draw.add_argument("--rankdir", choices=("TB", "LR", "BT", "RL"), help="the direction of the computation")
    given = parser.parse_args(argv)
    options = {name: getattr(given, name) for name in ("view", "depth", "max_nodes", "rankdir")}
    try:
        write(given.program, given.output, given.backward, {k: v for k, v in options.items() if v is not None})
    except Refused as refusal:
        print(f"python -m microgradnd draw: {refusal}", file=sys.stderr)
        return 1
    return 0


def write(program: str, output: Path | None, backward: bool, options: dict[str, Any]) -> None:
    """Run a program and draw what it computed, to a file or as a printed table."""
    from microgradnd import viz
    from microgradnd.viz.render import format_of

    if output is None and (wrong := {"view", "rankdir"} & set(options)):
        raise Refused(f"--{min(wrong)} is for pictures: name an output file with -o graph.svg")
    try:
        if output is not None:
            format_of(output)  # find a typing error before the program runs
        try:
            t = result(program)
        except Failed as failure:
            if output is None:
                raise Refused(
                    f"{failure}; give -o graph.svg for a picture of the computation up to the error"
                ) from failure
            raise Refused(f"{failure}{drawn_until(failure, output)}") from failure
        if output is None:
            print(viz.table(t, **options))
            return
        if backward and format_of(output) != "html":  # the page always has both directions
            options.setdefault("view", "both")
        print(f"wrote {viz.save(t, output, **options)}")
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise Refused(str(error)) from error


def drawn_until(failure: Failed, output: Path) -> str:
    """Draw what a program computed before it failed, and return where it is drawn."""
    from microgradnd import viz
    from microgradnd.viz.render import FORMATS, format_of

    path = output if format_of(output) in (*FORMATS, "dot") else output.with_suffix(".svg")
    try:
        return f"; wrote {viz.save(failure.__cause__, path)}, which shows the computation up to the error"
    except ValueError:  # there was no Tensor
        return ", so there is nothing to draw"


def result(program: str) -> Tensor:
    """Return the Tensor that `FILE.py` or `FILE.py:name` means."""
    file, colon, name = program.rpartition(":")
    if not colon or not name.isidentifier():
        file, name = program, ""
    path = Path(file)
    if not path.is_file():
        raise Refused(f"there is no file {file}; give a Python program, as FILE.py or FILE.py:name")
    noting = Noting()
    with noting, running(path, path.stem if name else "__main__") as variables:
        found = named(variables, name, file) if name else last(variables, noting, file)
    if isinstance(found._node, Operation):
        as_it_was(found._node)
    return found


class Kept(Operation):
    """An operation that keeps the arrays that `backward()` frees, for the picture."""

    __slots__ = ("kept_args", "kept_out")

    @property
    def args(self) -> tuple[Any, ...] | None:
        """The arguments, which can't be freed."""
        return self.kept_args

    @args.setter
    def args(self, args: tuple[Any, ...] | None) -> None:
        if args is not None:
            self.kept_args = args

    @property
    def out(self) -> Any:
        """The result, which can't be freed or replaced by its shape and dtype."""
        return self.kept_out

    @out.setter
    def out(self, out: Any) -> None:
        if type(out) is not tuple:
            self.kept_out = out


def as_it_was(last: Operation) -> None:
    """Restore the variables of a computation: an optimizer has changed them since."""
    todo, seen, before = [last], {last}, dict[Leaf, Leaf]()
    while todo:
        node = todo.pop()
        for i, parent in enumerate(node.parents):
            if isinstance(parent, Operation) and parent not in seen:
                seen.add(parent)
                todo.append(parent)
            elif isinstance(parent, Leaf) and parent.position > node.position and node.args is not None:
                if parent not in before:
                    before[parent] = Leaf(node.args[i], parent.requires_grad, parent.name)
                    before[parent].position = 0
                node.parents = (*node.parents[:i], before[parent], *node.parents[i + 1 :])


class Noting(Recording):
    """Notes each operation's line of the program, and the last that made one number.

    Each operation keeps its arrays, with copies of arrays that an optimizer may change.
    """

    last: Operation | None = None

    def changed(self, mode: Mode) -> Mode:
        record = Kept if mode.record in (None, Operation) else mode.record

        def noted(function: Any, args: Any, kwargs: Any, parents: Any, out: Any) -> Operation:
            pairs = zip(args, parents, strict=True)
            args = tuple(a.copy() if isinstance(p, Leaf) and isinstance(a, np.ndarray) else a for a, p in pairs)
            node = record(function, args, kwargs, parents, out)
            note = node.annotate()
            note.line = note.line or user_line()
            if node.shape == () and note.line is not None:
                self.last = node
            return node

        return mode._replace(record=noted)


@contextmanager
def running(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """Run a file as the module of a name, and yield its variables.

    Its folder comes first in the search for imports. An error in the file, or in a
    function of it, is shown as the program alone would show it.
    """
    module = types.ModuleType(name)
    module.__file__ = str(path)
    before = sys.modules.get(name), sys.argv, sys.path
    sys.modules[name], sys.argv, sys.path = module, [str(path)], [str(path.resolve().parent), *sys.path]
    try:
        try:
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
        except SystemExit as leaving:
            if leaving.code not in (None, 0):
                raise
        yield vars(module)
    except Refused:
        raise
    except SystemExit as leaving:
        raise Refused(f"{path} ended with sys.exit({leaving.code!r})") from leaving
    except Exception as error:
        shown = error.__traceback__
        while shown is not None and shown.tb_frame.f_code.co_filename != str(path):
            shown = shown.tb_next  # the earlier frames are ours
        if shown is None and not isinstance(error, SyntaxError):
            raise
        chain = not hasattr(error, "_failed_call")  # its cause lies inside the library
        traceback.print_exception(type(error), error, shown, chain=chain)
        raise Failed(f"{path} failed") from error
    finally:
        sys.argv, sys.path = before[1:]
        if before[0] is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before[0]


def named(variables: dict[str, Any], name: str, file: str) -> Tensor:
    """Return the Tensor of a name, or the result of the function of that name."""
    if name not in variables:
        possible = [key for key, value in variables.items() if isinstance(value, Tensor) or inspect.isfunction(value)]
        advice = f"it has {', '.join(possible)}" if possible else "assign the result to it"
        raise Refused(f"{file} has no variable {name!r}; {advice}")
    value, what = variables[name], f"{file}:{name}"
    if not isinstance(value, Tensor) and callable(value):
        if not _takes_nothing(value):
            raise Refused(f"{what} takes arguments; name a function that needs none and returns the Tensor to draw")
        value, what = value(), f"the result of {what}"
    if not isinstance(value, Tensor):
        raise Refused(f"{what} must be a Tensor, got {type(value).__name__}")
    return value


def _takes_nothing(value: Any) -> bool:
    """Return whether a value can be called without arguments."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):  # not callable, or without a signature
        return False
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not inspect.Parameter.empty or p.kind in optional for p in parameters)


def last(variables: dict[str, Any], noting: Noting, file: str) -> Tensor:
    """Return the Tensor `loss`, else the last Tensor computed, else the last number."""
    loss = variables.get("loss")
    if isinstance(loss, Tensor):
        return loss
    computed = {
        value._node.position: value
        for value in variables.values()
        if isinstance(value, Tensor) and isinstance(value._node, Operation)
    }
    if computed:
        return computed[max(computed)]
    if noting.last is None:
        raise Refused(f"{file} computed no number from a Tensor that requires a gradient, so there is nothing to draw")
    return wrap(noting.last.out, noting.last)


if __name__ == "__main__":
    sys.exit(main())
