"""Backpropagation as a film: forward, then backward, step by step in one layout.

Owns: the steps, and how future parts of the picture are drawn.
Must not own: the look of a graph (`dot.py`), or the format of a film (`frames.py`).
Read next: `frames.py`.

Each frame is the same DOT program with other colours and widths, so that nothing moves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from microgradnd.failures import explained
from microgradnd.tape import Operation
from microgradnd.tensor import Tensor
from microgradnd.viz import dot
from microgradnd.viz.frames import film_path, write_film, write_page
from microgradnd.viz.graph import graph
from microgradnd.viz.labels import Detail, clean, seed_text, shape_text
from microgradnd.viz.model import Direction, Graph, Node
from microgradnd.viz.record import Record
from microgradnd.viz.render import render

HIDDEN = "#ffffff00"  # for a gradient that isn't computed yet, which keeps its space
PALE = 0.75  # the share of white mixed into parts that aren't computed yet
LATER, UNNAMED = "#c4c4c4", "#767676"  # type on lines and nodes that aren't computed yet
NOW = {"penwidth": "3.5", "fillcolor": "#ffe9a8"}
NOW_LINE = {"penwidth": "2.2"}
CAPTION, CAPTION_WIDTH = 46, 330  # characters, and points
# By format of a film: the format of its frames, with 96 pixels per inch or twice as
# many, and the most inches, since players refuse larger films
FRAMES = {".gif": ("png:cairo", "22.5"), ".mp4": ("png", "11.25")}
LAST = 3.0  # seconds: the least time of the last frame; half of it for the first
NO_GROUND = re.compile(rf' bgcolor="[^"]+"(?=>(<font face="[^"]+">)?<font color="{HIDDEN}")')  # the line is seen there
COLOUR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})\b")


class Steps(NamedTuple):
    """The steps of a film.

    Attributes
    ----------
    captions : list of str
        One for each frame.
    forward, backward : dict of str to int
        The frame in which each node is computed, and that of its gradient, by the
        node's id in DOT.
    """

    captions: list[str]
    forward: dict[str, int]
    backward: dict[str, int]


@explained
def animate(
    t: Tensor,
    path: str | os.PathLike[str],
    *,
    seconds: float = 1.0,
    show: Collection[Detail] = ("shapes", "gradients", "rules"),
    depth: int | None = None,
    max_nodes: int = 40,
    rankdir: Direction = "TB",
) -> Path:
    """Write a film of a computation: forward, then backward, with derivative rules.

    Parameters
    ----------
    t : Tensor
        The result, before `backward()` or after `backward(retain_graph=True)`.
    path : path-like
        Ends in `.gif`, `.mp4` (which needs the program ffmpeg) or `.html`, a page with
        a slider.
    seconds : float
        The duration of each step.
    show, depth, rankdir
        As for `draw`.
    max_nodes : int
        A larger graph is folded, as for `draw`. Each operation or fold is two steps.

    Returns
    -------
    Path
        The path of the film.

    Raises
    ------
    TypeError
        If `t` isn't a Tensor.
    ValueError
        If nothing was computed, its arrays have been freed, or the path has another
        suffix.
    FileNotFoundError
        If the program ffmpeg is needed but missing.
    ImportError
        If Graphviz isn't installed, or pillow for a GIF.

    See Also
    --------
    explore : at the reader's own speed.
    animate_training : a film of training.

    Examples
    --------
    >>> import tempfile
    >>> import microgradnd as mg
    >>> from microgradnd import viz
    >>> x = mg.tensor(3.0, requires_grad=True, name="x")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = viz.animate(x * x + 1, folder + "/square.html")
    ...     "Backward, 2 of 2" in page.read_text(encoding="utf-8")
    True
    """
    film = film_path(path, "viz.animate")
    if not seconds > 0:
        raise ValueError(f"viz.animate: seconds must be positive, the time that each step is seen, got {seconds}")
    look = dot.checked("both", show, rankdir)
    model = graph(t, max_nodes, depth, backward=True)
    if not isinstance(t._node, Operation) or not Record(t._node).can_flow():
        raise ValueError(
            "viz.animate: there is no way back to show: pass a result (a loss) before backward(), or after "
            "backward(retain_graph=True), and before the optimizer's step"
        )
    steps = _steps(model)
    body = list(dot.body(model, look))
    if film.suffix.lower() == ".html":
        lines = (_classed(line, steps) for line in body)
        svg = render(dot.text(lines, look), "svg").decode()
        write_page(film, svg[svg.index("<svg") :], steps.captions)
        return film
    format, most = FRAMES[film.suffix.lower()]
    size = {"size": f"{most},{most}"}
    sources = (_program(_frame(body, steps, k), look, said, size) for k, said in enumerate(steps.captions))
    times = [seconds] * len(steps.captions)
    times[0], times[-1] = max(seconds, LAST / 2), max(seconds, LAST)
    write_film(film, [render(source, format) for source in sources], times, steps.captions)
    return film


def _steps(model: Graph) -> Steps:
    """Return the steps: the first has only the variables, the last everything."""
    order = [node for node in model.nodes if node.kind in ("operation", "fold")]
    count = len(order)
    forward = {dot.quoted_id(node.id): k for k, node in enumerate(order, 1)}
    captions = ["Forward: the inputs and the parameters"]
    captions += [f"Forward, {k} of {count}: {_called(node)}" for k, node in enumerate(order, 1)]
    rules: dict[str, list[str]] = {}
    for edge in model.edges:
        if edge.rule:
            rules.setdefault(edge.target, []).append(edge.text or edge.rule)
    result = model.nodes[-1]
    forward["result"] = count
    captions.append(f"Backward: {seed_text(result.name)}")
    back = {id: 2 * count + 2 - k for id, k in forward.items()} | {"result": count + 1}
    for k, node in enumerate(reversed(order), 1):
        said = ", ".join(dict.fromkeys(rules.get(node.id, ())))
        captions.append(f"Backward, {k} of {count}: {clean(node.text or node.name or '', 16)}, {said}".rstrip(", "))
    backward = dict(back)
    for edge in model.edges:  # a variable's gradient is complete after the last operation that used it
        if edge.flows and (source := dot.quoted_id(edge.source)) not in back:
            backward[source] = max(backward.get(source, 0), back[dot.quoted_id(edge.target)])
    captions.append("Each parameter has its gradient")
    return Steps([clean(said, CAPTION) for said in captions], forward, backward)


def _called(node: Node) -> str:
    shape = shape_text(node.shape, node.dtype)
    words = (clean(node.text or node.name or "", 20), clean(node.detail, 16), f"→ {shape}" if shape else "")
    return " ".join(filter(None, words)) + (f", {clean(node.name, 16)}" if node.name and node.text else "")


def _frame(body: Iterable[dot.Line], steps: Steps, k: int) -> Iterable[dot.Line]:
    """Return the lines of DOT at a step: pale future parts, a bold present."""
    for line in body:
        if isinstance(line, str) or not line.ends[0]:
            yield line
            continue
        source, target = line.ends
        is_line = source != target
        if k < steps.backward.get(target, 0):
            line = line.changed({key: _hidden(value) for key, value in line.attributes.items()})
        if k < steps.forward.get(source, 0):
            line = line.changed({key: COLOUR.sub(_paler, value) for key, value in line.attributes.items()})
            line = line.changed({"fontcolor": LATER if is_line else UNNAMED})
        if k in _moments(steps, target) and (is_line or k in _moments(steps, source)):
            line = line.changed(NOW_LINE if is_line else NOW)
        yield line


def _hidden(value: str) -> str:
    """Return an attribute without a gradient that isn't computed yet."""
    value = re.sub(dot.GRADIENT, HIDDEN, value, flags=re.IGNORECASE)
    value = NO_GROUND.sub("", value).replace(f":{HIDDEN}", "")
    return "none" if value == "onormal" else value


def _moments(steps: Steps, id: str) -> tuple[int, ...]:
    """Return the steps at which a computed node is highlighted."""
    return tuple(moment for moment in (steps.forward.get(id, 0), steps.backward.get(id, 0)) if moment)


def _classed(line: dot.Line, steps: Steps) -> dot.Line:
    """Return a line of DOT with the steps at which it changes as classes."""
    if isinstance(line, str) or not line.ends[0]:
        return line
    source, target = line.ends
    label = line.attributes.get("class", "")
    classes = [label, f"from-{steps.forward.get(source, 0)}", f"back-{steps.backward.get(target, 0)}"]
    if not label:  # its ground stays as it is
        classes += [f"at-{moment}" for moment in _moments(steps, target)]
    return line.changed({"class": " ".join(classes).strip()})


def _paler(colour: re.Match[str]) -> str:
    mixed = (round(int(part, 16) * (1 - PALE) + 255 * PALE) for part in colour.groups())
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _program(lines: Iterable[dot.Line], look: dot.Look, caption: str, size: dot.Attributes) -> str:
    """Return the DOT program of a frame, with a caption in a space of fixed size."""
    text = dot.styled(caption, True, dot.INK, 13)
    cell = f'<td fixedsize="true" width="{CAPTION_WIDTH}" height="26">{text}</td>'
    table = f'<<table border="0" cellborder="0"><tr>{cell}</tr></table>>'
    said = dot.Statement("graph", size | {"label": table, "labelloc": "t", "labeljust": "c"})
    return dot.text([*lines, said], look)
