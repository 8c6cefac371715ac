"""From DOT to something to look at: `draw` and `save`.

Owns: the programs that lay a graph out, the advice where they are missing, and the
functions that users call.
Must not own: the contents of a picture (`graph.py`) or its look (`dot.py`).
Read next: `graph.py`.

Graphviz does the layout: its program `dot` if installed, otherwise the copy within the
package pygraphviz. Either runs as a process of its own, so you can interrupt the layout
of a large graph, and its stderr becomes an error message instead of noise.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microgradnd.failures import explained
from microgradnd.saving import as_path
from microgradnd.tensor import Tensor
from microgradnd.viz import dot
from microgradnd.viz.exchange import mermaid, to_json
from microgradnd.viz.explore import explore
from microgradnd.viz.failure import failed
from microgradnd.viz.graph import graph
from microgradnd.viz.labels import Detail
from microgradnd.viz.model import Direction, View

if TYPE_CHECKING:
    import graphviz

FORMATS = ("svg", "png", "pdf")
OTHERS: dict[str, Any] = {"mmd": mermaid, "json": to_json, "html": explore}
MOST_NODES = 200
MOST_ON_SLIDE, FOLDED_ON_SLIDE = 16, 12  # nodes: more are folded to 12, since frames need room
INSTALL = 'pip install "microgradnd[viz]"'
PIXELS_PER_INCH = 192  # of a PNG: sharp on a slide
CLASS = "microgradnd"  # of an SVG, so that its colours don't affect other pictures on the page
LONGEST = 40  # inches, of a PNG; painting a larger one takes far longer than its layout
WITH_PYGRAPHVIZ = """\
import sys, pygraphviz
try:
    graph = pygraphviz.AGraph(sys.stdin.buffer.read().decode())
    picture = graph.draw(format=sys.argv[1][2:], prog="dot", args=" ".join(sys.argv[2:]))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
sys.stdout.buffer.write(picture)
"""


@explained
def draw(
    t: Tensor | BaseException,
    view: View = "forward",
    *,
    show: Collection[Detail] | None = None,
    depth: int | None = None,
    max_nodes: int | None = MOST_NODES,
    rankdir: Direction | None = None,
    style: dot.Style = "page",
) -> graphviz.Digraph:
    """Draw the computation that made a tensor or led to an error.

    Parameters
    ----------
    t : Tensor or BaseException
        A tensor of any shape, before `backward()` or after it, then with the gradients.
        For an error that you caught: the computation up to it, with the failed
        operation and the shapes of its operands in red.
    view : str
        "forward" (from the variables to the result), "backward" (from the result to the
        variables, with the derivative rules and gradients) or "both" in one picture.
    show : collection of str
        The details to show: any of "shapes", "dtypes", "values", "numbers" (values and
        gradients that are single numbers), "gradients", "rules" (of derivatives, in the
        backward views), "lines" (of your code, if recorded) and "memory". NaN and Inf
        are always marked.
    depth : int or None
        Scopes (modules and `mg.scope` blocks) nested this deep are folded to one node
        each.
    max_nodes : int or None
        A graph with more nodes is folded: first repeated parts to their first copy,
        then scopes to one node each, the deepest first, then the middle. Notes below
        the picture say so. None draws everything; the layout of thousands of nodes
        takes minutes.
    rankdir : str
        The direction of the computation: "TB" (top to bottom), "LR", "BT" or "RL".
    style : str
        "page", or "slide" for a 16:9 screen: larger type, no statistics, and at most 16
        nodes (12 once anything is folded), legible from the back of a room.

    Returns
    -------
    graphviz.Digraph
        It shows itself in Jupyter. Its `source` is the text in the DOT language.

    Raises
    ------
    TypeError
        If `t` is neither a Tensor nor an exception.
    ValueError
        If an option makes no sense, or the error's traceback has no Tensor.
    ImportError
        If the package graphviz isn't installed.

    See Also
    --------
    save : writes it to a file.
    path : the part between two Tensors.
    explore : a page to step through.
    table : for a terminal.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> w = mg.tensor([[1.0, 2.0, 3.0]], requires_grad=True, name="w")
    >>> drawing = viz.draw((w**2).sum())
    >>> "x²" in drawing.source and "(1, 3)" in drawing.source
    True

    >>> try:
    ...     w @ w
    ... except ValueError as error:
    ...     drawing = viz.draw(error)
    >>> "✗ np.matmul" in drawing.source
    True
    """
    return drawing_of(*_drawn(t, view, show=show, depth=depth, max_nodes=max_nodes, rankdir=rankdir, style=style))


@explained
def path(t: Tensor, to: Tensor, view: View = "forward", **options: Any) -> graphviz.Digraph:
    """Draw only the paths between a result and one tensor that it depends on.

    Parameters
    ----------
    t, to : Tensor
        The result, and a leaf or an intermediate value.
    view : str
        As for `draw`.
    **options
        The other options of `draw`.

    Returns
    -------
    graphviz.Digraph

    Raises
    ------
    ValueError
        If the result doesn't depend on `to`, or an option makes no sense.
    TypeError, ImportError
        As for `draw`.

    See Also
    --------
    draw : the whole computation.

    Examples
    --------
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> x = mg.tensor(3.0, requires_grad=True, name="x")
    >>> y = mg.tensor(4.0, requires_grad=True, name="y")
    >>> drawing = viz.path((x * 2 + y) ** 2, to=x)
    >>> "<b>x</b>" in drawing.source, "<b>y</b>" in drawing.source
    (True, False)
    """
    _check("path", options, draw)
    return drawing_of(*_drawn(t, view, to=to, **options))


def _check(name: str, options: dict[str, Any], function: Callable[..., Any]) -> None:
    """Raise if a function doesn't know an option."""
    known = [name for name in inspect.signature(function).parameters if name not in ("t", "path")]
    if unknown := [option for option in options if option not in known]:
        raise TypeError(
            f"viz.{name}() has no option {unknown[0]!r}; those of viz.{function.__name__}(), which makes this picture, "
            f"are {', '.join(known)}"
        )


def drawing_of(lines: Iterable[dot.Line], look: dot.Look) -> graphviz.Digraph:
    """Return a drawing of lines in the DOT language."""
    graph_, node, edge = dot.defaults(look.rankdir, look.style)
    drawing: graphviz.Digraph = _drawing_class()(
        graph_attr=graph_, node_attr=node, edge_attr=edge, body=map(str, lines)
    )
    return drawing


def _drawn(
    t: Any, view: View = "forward", to: Any = None, depth: int | None = None, max_nodes: Any = MOST_NODES, **how: Any
) -> tuple[Iterator[dot.Line], dot.Look]:
    """Return the lines of DOT and the look for the options of `draw`, or raise."""
    look = dot.checked(view, **how)
    if isinstance(t, BaseException):
        return failed(t, look, depth, max_nodes), look
    most = MOST_ON_SLIDE if look.style == "slide" and max_nodes == MOST_NODES else max_nodes
    model = graph(t, most, depth, view != "forward", to)
    if most != max_nodes and any(node.kind == "fold" for node in model.nodes):
        model = graph(t, FOLDED_ON_SLIDE, depth, view != "forward", to)
    return dot.body(model, look), look


@explained
def save(t: Any, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write the picture of a computation to a file, in the format of its suffix.

    Parameters
    ----------
    t : Tensor, BaseException or graphviz.Digraph
        A computed tensor, an error that you caught, or a drawing from `draw`.
    path : path-like
        Ends in `.svg`, `.png`, `.pdf`, `.dot` (the DOT language), `.mmd` (Mermaid),
        `.json`, or `.html` (the page of `explore`). Missing folders are created.
    **options
        For a Tensor, the options of `draw`, `mermaid`, `to_json` or `explore`.

    Returns
    -------
    Path
        The path of the file.

    Raises
    ------
    ValueError
        If the path ends in something else.
    TypeError
        If `t` is none of these, or options come with a finished drawing.
    ImportError
        If there is neither the program `dot` nor the package pygraphviz.
    RuntimeError
        If the layout fails.

    See Also
    --------
    draw : the drawing itself.

    Examples
    --------
    >>> import tempfile
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> x = mg.tensor(3.0, requires_grad=True, name="x")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = viz.save(x * x, folder + "/square.dot")
    ...     path.read_text(encoding="utf-8").startswith("digraph {")
    True
    """
    path = as_path("viz.save(t, path)", path)
    format = format_of(path)
    source: Any = getattr(t, "source", None)
    is_drawing = isinstance(source, str)
    if format in OTHERS and (is_drawing or isinstance(t, BaseException)):
        raise TypeError(f".{format} files are made from a Tensor, not from a finished drawing; pass the Tensor itself")
    if is_drawing and options:
        raise TypeError(f"{', '.join(options)}: a finished drawing can't be changed; pass such options to viz.draw()")
    _check("save", options, OTHERS.get(format, draw))
    if format == "html":
        return explore(t, path, **options)
    if format in OTHERS:
        data = OTHERS[format](t, **options).encode()
    else:
        source = source if is_drawing else dot.text(*_drawn(t, **options))
        data = source.encode() if format == "dot" else render(source, format)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def format_of(path: Path) -> str:
    """Return the format of a path's suffix, or raise if `save` can't write it."""
    format = path.suffix.lower().lstrip(".")
    if format not in (*FORMATS, "dot", *OTHERS):
        known = ", ".join(f".{name}" for name in (*FORMATS, "dot", *OTHERS))
        raise ValueError(f"a picture can't be saved as {path.name!r}: the path must end in one of {known}")
    return format


def render(source: str, format: str) -> bytes:
    """Return a picture of a graph in the DOT language.

    Parameters
    ----------
    source : str
        In the DOT language.
    format : str
        "svg", "png" or "pdf", or any other that Graphviz knows.

    Returns
    -------
    bytes
        The contents of the file.

    Raises
    ------
    ImportError
        If there is neither the program `dot` nor the package pygraphviz.
    RuntimeError
        If Graphviz can't read the source.
    """
    resolution = []
    if format == "png":
        defaults = source.partition("]")[0]
        is_slide = dot.SLIDE["size"] in defaults
        resolution = [f"-Gdpi={160 if is_slide else PIXELS_PER_INCH}"]  # of a slide 1920 by 1080 pixels
        if " size=" not in defaults and "\tgraph [size=" not in source:  # its own, which this would override
            resolution.append(f"-Gsize={LONGEST},{LONGEST}")
    if program := shutil.which("dot"):
        return _adaptive(_run([program, f"-T{format}", *resolution], source), format)
    if importlib.util.find_spec("pygraphviz") is None:
        raise ImportError(f"a picture needs Graphviz: {INSTALL}, or install the program dot (https://graphviz.org)")
    with _fonts() as environment:
        command = [sys.executable, "-P", "-c", WITH_PYGRAPHVIZ, f"-T{format}", *resolution]
        return _adaptive(_run(command, source, environment), format)


def _adaptive(picture: bytes, format: str) -> bytes:
    """Give an SVG its colours for dark pages; leave other formats unchanged."""
    if format != "svg":
        return picture
    rules = "".join(
        f'.{CLASS} [{part}="{c}"]{{{part}:{d}}}' for c, d in dot.DARK.items() for part in ("fill", "stroke")
    )
    fitted = f".{CLASS}{{max-width:100%;max-height:100vh}}"  # else a large picture is cut at the edge of the paper
    style = f"<style>@media screen and (prefers-color-scheme: dark){{{rules}}}@media print{{{fitted}}}</style>"
    start, tag, rest = picture.decode().partition("<svg ")
    inside, end, rest = rest.partition(">")
    return f'{start}{tag}class="{CLASS}" {inside}{end}\n{style}{rest}'.encode()


def _run(command: list[str], source: str, environment: dict[str, str] | None = None) -> bytes:
    done = subprocess.run(command, input=source.encode(), capture_output=True, env=environment, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode or not done.stdout or "Error:" in said:  # it draws an empty node for a label that it can't read
        reason = said.strip()[-500:]
        raise RuntimeError(f"Graphviz couldn't draw this graph ({Path(command[0]).name}: {reason})")
    return done.stdout


@contextmanager
def _fonts() -> Iterator[dict[str, str]]:
    """Yield an environment in which Graphviz finds a font, if only matplotlib's.

    Without any font, every letter is a box. The system's own fonts come first.
    """
    environment = dict(os.environ)
    matplotlib = importlib.util.find_spec("matplotlib")
    if sys.platform != "linux" or "FONTCONFIG_FILE" in environment or not (matplotlib and matplotlib.origin):
        yield environment
        return
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "fonts.conf")
        config.write_text(
            '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd"><fontconfig>'
            '<include ignore_missing="yes">/etc/fonts/fonts.conf</include><dir>/usr/share/fonts</dir>'
            f"<dir>{Path(matplotlib.origin).parent / 'mpl-data' / 'fonts' / 'ttf'}</dir>"
            '<cachedir prefix="xdg">fontconfig</cachedir></fontconfig>',
            encoding="utf-8",
        )
        yield environment | {"FONTCONFIG_FILE": str(config)}


@functools.cache
def _drawing_class() -> Any:
    """Return a `graphviz.Digraph` that also renders without the program `dot`."""
    try:
        import graphviz
    except ImportError as error:
        raise ImportError(
            f"viz.draw() needs the package graphviz: {INSTALL}; viz.save(t, 'graph.dot') works without it"
        ) from error

    class Drawing(graphviz.Digraph):  # type: ignore[misc]  # the package has no types
        """A `graphviz.Digraph` that is shown with or without the program `dot`."""

        def pipe(self, format: str | None = None, *args: Any, encoding: str | None = None, **options: Any) -> Any:
            """Return the picture as bytes, or as a string in an encoding."""
            if args or options or (shutil.which("dot") and (format or self.format) != "svg"):
                return super().pipe(format, *args, encoding=encoding, **options)
            data = render(self.source, format or self.format)
            return data if encoding is None else data.decode(encoding)

    return Drawing
