"""The picture of an error: the computation up to the operation that failed.

Owns: finding the operation and its operands in an error's traceback, and drawing them.
Must not own: the look of other pictures (`dot.py`), or the words of errors.
Read next: `render.py`.

Nothing is recorded for this: the frames of a traceback still hold the operands. The
failed operation is drawn in red as if it had been recorded, with the shape of each
operand above it and the message below.
"""

from __future__ import annotations

import inspect
import os
import textwrap
import traceback
from collections.abc import Iterator
from dataclasses import replace
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from microgradnd import failures
from microgradnd.advice import display
from microgradnd.anomaly import detect_anomaly
from microgradnd.lines import is_users, quoted_line
from microgradnd.registry import name_of
from microgradnd.tape import Operation
from microgradnd.tensor import Tensor, wrap
from microgradnd.viz import dot, signs
from microgradnd.viz.graph import graph
from microgradnd.viz.labels import clean, shape_text
from microgradnd.viz.model import Edge, Graph
from microgradnd.viz.record import Record

CALLS: tuple[CodeType, ...] = (failures.fail.__code__, detect_anomaly.checked.__code__)
RULES: tuple[CodeType, ...] = (failures.fail_rule.__code__, detect_anomaly.anomaly.__code__)
WIDTH, LONGEST = 56, 600  # characters of a line of the message, and of the whole
BAD = {"color": dot.ALARM, "penwidth": "2.5"}
BOX = {"shape": "plain", "style": "", "fixedsize": "false"}
COMPASS = {"TB": ":n", "BT": ":s"}  # where lines reach the operands' shapes
MOST_CELLS = 8  # operands whose shapes are shown
CROSS = "✗"  # the second sign, apart from the colour


class Failure(NamedTuple):
    """Where an error was raised.

    Attributes
    ----------
    what : str
        The operation's public name: `np.matmul`, `F.mse_loss`, `Net.forward`.
    operands : list
        Tensors, arrays, and all other arguments.
    node : Operation or None
        The operation, if it was recorded: it made a NaN under `detect_anomaly`, or its
        rule failed.
    result : Tensor or None
        The tensor whose `backward()` raised the error, if one did.
    """

    what: str
    operands: list[Any]
    node: Operation | None = None
    result: Tensor | None = None


def located(error: BaseException | None) -> Failure | None:
    """Return the operation behind an error or its cause; None without any Tensor."""
    while error is not None:
        if (found := _located(error)) is not None:
            return found
        error = error.__cause__ or error.__context__
    return None


def _located(error: BaseException) -> Failure | None:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        code, names = frame.f_code, frame.f_locals
        if code in RULES:
            owner = next((f.f_locals["self"] for f in frames if f.f_code is Tensor.backward.__code__), None)
            return Failure(f"{name_of(names['node'].function)}: its derivative", [], names["node"], owner)
        if code in CALLS:
            operands = _flat([*names["args"], *(_option(*item) for item in names["kwargs"].items())])
            if any(map(_is_array, operands)):
                return Failure(display(names["function"]), operands, names.get("node"))
    for frame, inner in zip(reversed(frames), [None, *reversed(frames)], strict=False):
        if not is_users(frame.f_code):
            continue
        given = [] if inner is None else _flat(_arguments(inner))  # arguments of a function that refused them itself
        if inner is not None and any(isinstance(v, Tensor) for v in given):
            function = inner.f_locals.get("function")  # set where `explained` calls it
            return Failure(inner.f_code.co_name if function is None else display(function), given)
        if found := _newest(frame.f_locals.values()):
            return Failure(getattr(frame.f_code, "co_qualname", frame.f_code.co_name).rpartition("<locals>.")[2], found)
    return None


def failed(
    error: BaseException, look: dot.Look, depth: int | None = None, max_nodes: int | None = 200
) -> Iterator[dot.Line]:
    """Return the lines of DOT between the braces for the picture of an error.

    Parameters
    ----------
    error : BaseException
        With its traceback.
    look : Look
        Its view is ignored: an error in a backward pass is drawn in both directions,
        others forward.
    depth, max_nodes
        As for `draw`.

    Returns
    -------
    iterator of Statement or str

    Raises
    ------
    ValueError
        If there is no Tensor where the error was raised.
    """
    failure = located(error)
    if failure is None:
        raise ValueError(
            f"there is no Tensor where this {type(error).__name__} was raised, so there is no computation to draw; "
            f"pass the error as it was caught, `except Exception as error`, with its traceback"
        )
    node = failure.node or _stand_in(failure)
    last = failure.result
    if last is None:
        last = wrap(node.out if isinstance(node.out, np.ndarray) else np.zeros(()), node)
    model = graph(last, max_nodes, depth)
    assert isinstance(last._node, Operation)
    record = Record(last._node)
    bad = record.ids[record.index[node]]
    if bad not in {n.id for n in model.nodes}:  # it lies in what was folded
        bad = model.edges[-1].source
    arriving = [edge for edge in model.edges if edge.target == bad]
    if failure.result is None:  # the message takes its place
        others = [edge for edge in model.edges if edge.target not in (bad, "result")]
        model = replace(model, nodes=[n for n in model.nodes if n.kind != "result"], edges=others)
    yield from dot.body(model, look._replace(view="forward" if failure.result is None else "both"))
    shown = _operands(model, arriving) if failure.result is None else []
    yield dot.Statement(dot.quoted_id(bad), BOX | {"label": _label(failure, shown)})
    for i, edge in enumerate(arriving if failure.result is None else []):
        port = f":o{i}{COMPASS.get(look.rankdir, '')}" if i < len(shown) else ""
        yield dot.Statement(f"{dot.quoted_id(edge.source)} -> {dot.quoted_id(bad)}{port}", {"color": dot.ALARM})
    yield dot.Statement("error", {"shape": "note", "label": _message(error)} | BAD)
    yield dot.Statement(f"{dot.quoted_id(bad)} -> error", {"color": dot.ALARM, "style": "dashed"})


def _operands(model: Graph, edges: list[Edge]) -> list[str]:
    """Return a table cell for each of the first operands: its name and shape."""
    by_id = {node.id: node for node in model.nodes}
    sources = [by_id[edge.source] for edge in edges[:MOST_CELLS]]
    names = [f"{dot.styled(clean(node.name), True)} " if node.name else "" for node in sources]
    shapes = [shape_text(node.shape, node.dtype) or "()" for node in sources]
    return [name + dot.styled(shape, True, dot.ALARM) for name, shape in zip(names, shapes, strict=True)]


def _label(failure: Failure, operands: list[str]) -> str:
    """Return the label of the failed operation: operands, then name and constants."""
    cells = "".join(f'<td port="o{i}" border="1">{text}</td>' for i, text in enumerate(operands))
    rows = [dot.styled(f"{CROSS} {clean(failure.what, 60)}", True, dot.ALARM, 12)]
    constants = [signs.brief(_array(v)) for v in failure.operands if not _is_array(v) or _is_number(v)]
    rows += [dot.styled(clean(", ".join(constants), 60), color=dot.QUIET, size=dot.SMALL)] if constants else []
    first = f"<tr>{cells}</tr>" if cells else ""
    last = f'<tr><td colspan="{len(operands) or 1}">{"<br/>".join(rows)}</td></tr>'
    return (
        f'<<table border="3" color="{dot.ALARM}" cellborder="0" cellspacing="0" cellpadding="4">{first}{last}</table>>'
    )


def _message(error: BaseException) -> str:
    """Return the label of the error: its class, message and place."""
    said, where = str(error), ""
    for frame, line in traceback.walk_tb(error.__traceback__):  # the innermost of the user's lines is the last
        if not is_users(frame.f_code):
            continue
        file = frame.f_code.co_filename
        folder, name = os.path.split(file)
        said = said.replace(file, name)  # the folder says nothing about the error
        where = quoted_line((file, line)).removeprefix(f" ({os.path.join(folder, '')}").removesuffix(")")
    said, where = clean(said, LONGEST), clean("" if where in said else where, 2 * WIDTH)
    rows = [dot.styled(type(error).__name__, True, dot.ALARM)]
    rows += [dot.styled(line) for line in textwrap.wrap(said, WIDTH)]
    rows += [dot.styled(line, color=dot.QUIET, size=dot.SMALL) for line in textwrap.wrap(where, WIDTH + 12)]
    return f"<{'<br/>'.join(rows)}>"


def _stand_in(failure: Failure) -> Operation:
    """Return the failed operation as it would have been recorded."""

    def function() -> None: ...

    function.__name__ = function.__qualname__ = failure.what
    operands = [v for v in failure.operands if _is_array(v)]
    parents = tuple(v._node if isinstance(v, Tensor) else None for v in operands)
    return Operation(function, tuple(map(_array, operands)), {}, parents, (None, None))


def _arguments(frame: FrameType) -> list[Any]:
    """Return the current values of a function's arguments."""
    names, star, stars, values = inspect.getargvalues(frame)
    return [values[name] for name in (*names, star, stars) if name in values]


def _flat(values: Any) -> list[Any]:
    """Return values, with lists, tuples and dicts of arrays flattened."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, dict):
            value = tuple(value.values())
        if isinstance(value, list | tuple) and any(map(_is_array, value)):
            found += value
        elif value is not None and not (isinstance(value, tuple) and not value):
            found.append(value)
    return found


def _newest(values: Any) -> list[Tensor]:
    """Return the Tensors from which no other of the values was computed."""
    tensors = [v for v in _flat(values) if isinstance(v, Tensor)]
    computed = {v._node: v for v in tensors if isinstance(v._node, Operation)}
    used = {parent for last in computed for node in Record(last).operations for parent in node.parents}
    return [tensor for node, tensor in computed.items() if node not in used] or tensors


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _is_number(value: Any) -> bool:
    """Return whether an array is a single constant, written into the operation."""
    return np.size(_array(value)) == 1 and not (isinstance(value, Tensor) and value._node is not None)


def _array(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


def _option(name: str, value: Any) -> Any:
    return value if any(map(_is_array, _flat([value]))) else f"{name}={signs.brief(value)}"
