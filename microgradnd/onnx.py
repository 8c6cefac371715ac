"""Networks as ONNX files, which other programs run.

Owns: `export`, and the table of ONNX translations of NumPy functions and primitives.
Must not own: recording a call (`compiler/trace.py`), or what the functions compute.
Read next: `compiler/translation.py`.

The network is called twice, with different numbers of rows, and the recorded steps are
translated one by one. A size that differs between the two calls grows with the batch,
so the file computes it; any other size is a constant. A reshape therefore never freezes
the batch size. A primitive with a row in the table is translated directly, any other by
the NumPy functions in its body.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from microgradnd import primitives
from microgradnd.compiler.arguments import Arguments
from microgradnd.compiler.program import Constant, Program, Step, Value
from microgradnd.compiler.trace import call_recorded, results_of
from microgradnd.compiler.translation import Translation, turns_of
from microgradnd.data import columns
from microgradnd.failures import explained
from microgradnd.lines import quoted_line
from microgradnd.modes import no_grad
from microgradnd.nn import Module
from microgradnd.nn import functional as F
from microgradnd.nn.arguments import in_range
from microgradnd.nn.convolution import conv, conv_transpose
from microgradnd.nn.paths import scoped
from microgradnd.nn.pooling import max_pool, picked
from microgradnd.registry import name_of
from microgradnd.rules import choice, reductions
from microgradnd.saving import replacing
from microgradnd.scan import LOOPS
from microgradnd.trees import flatten

END = 2**63 - 1  # the end of an axis, in a slice
INSTALL = 'pip install "microgradnd[onnx]"'
OPSET, IR = 17, 8  # operator and format versions that runtimes have known since 2022


@dataclasses.dataclass(frozen=True)
class Size:
    """A size that is a multiple of the number of rows in the batch."""

    factor: Fraction


@dataclasses.dataclass(frozen=True)
class Known:
    """A tensor of the file: its name, dtype and shape, where a size may be a `Size`."""

    name: str
    shape: tuple[Any, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)


class Refused(Exception):
    """The reason why a row can't translate a step."""


class Graph:
    """An ONNX graph, built from two programs for different numbers of rows.

    Attributes
    ----------
    rows : tuple of int
        The numbers of rows.
    batch : str
        The input whose first axis is the batch.
    known : dict of Value to Known
        The translated values, by the values of the first program.
    nodes, constants : list
        ONNX nodes and initializers.
    """

    def __init__(self, helper: Any, numpy_helper: Any, rows: tuple[int, int], batch: str) -> None:
        self.helper, self.numpy_helper, self.rows, self.batch = helper, numpy_helper, rows, batch
        self.known: dict[Value, Known] = {}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.used: set[str] = set()

    def merged(self, a: Any, b: Any) -> Any:
        """Return one argument for those of the two programs; it may become a `Size`."""
        if isinstance(a, Value):
            return self.known[a]
        if isinstance(a, tuple | list) and type(a) is type(b) and len(a) == len(b):
            return type(a)([self.merged(x, y) for x, y in zip(a, b, strict=True)])
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            return {key: self.merged(part, b[key]) for key, part in a.items()}
        if isinstance(a, slice) and isinstance(b, slice):
            return slice(*self.merged((a.start, a.stop, a.step), (b.start, b.stop, b.step)))
        if isinstance(a, np.ndarray | Constant):
            a, b = np.asarray(a), np.asarray(b)
            if a.shape == b.shape and a.tobytes() == b.tobytes():
                return a
            if a.ndim == b.ndim and np.all(a == a.flat[0]) and np.all(b == a.flat[0]):
                sizes = self.merged(a.shape, b.shape)
                return Known(self.op("Expand", self.constant(a.flat[0]), self.shape(sizes)), sizes, a.dtype)
        elif type(a) is type(b) and (a is b or a == b):
            return a
        elif isinstance(a, int) and isinstance(b, int) and a * self.rows[1] == b * self.rows[0]:
            return Size(Fraction(a, self.rows[0]))
        raise Refused(f"got {a!r:.60} for {self.rows[0]} rows, but {b!r:.60} for {self.rows[1]}")

    def capture(self, value: Value, *things: Any) -> None:
        """Add an array that the network holds: the value of both programs."""
        try:
            array = self.merged(
                *(thing if isinstance(thing, np.ndarray) else np.asarray(thing.data) for thing in things)
            )
        except Refused as error:
            raise ValueError(
                f"onnx.export: an array that the network makes {error}; compute it from the inputs by NumPy functions"
            ) from error
        if not isinstance(array, Known):
            array = Known(self.constant(array, value.name), array.shape, array.dtype)
        self.known[value] = array

    def add(self, step: Step, twin: Step, layer: str | None) -> None:
        """Translate a step, or raise and name its place."""
        try:
            outs = [
                Known("", self.merged(a.shape, b.shape), a.dtype) for a, b in zip(step.outs(), twin.outs(), strict=True)
            ]
            if step.function not in ROWS:
                raise Refused("has no row in the table of onnx.py")
            args, kwargs = self.merged(step.args, twin.args), self.merged(dict(step.kwargs), dict(twin.kwargs))
            inspect.signature(ROWS[step.function]).bind(self, outs[0], *args, **kwargs)
            made = ROWS[step.function](self, outs if isinstance(step.out, tuple) else outs[0], *args, **kwargs)
        except (Refused, TypeError) as error:
            raise NotImplementedError(
                f"onnx.export: {name_of(step.function)} {error}, in {layer or 'the network'}{quoted_line(step.where)}; "
                f"write it with functions that have a row, or add a row there"
            ) from error
        for value, out, name in zip(step.outs(), outs, [made] if isinstance(made, str) else made, strict=True):
            self.known[value] = dataclasses.replace(out, name=name)

    def described(self, tensors: list[Known]) -> list[Any]:
        """Return the ONNX description of inputs or outputs."""
        return [
            self.helper.make_tensor_value_info(
                name,
                self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
                ["batch" if size == Size(Fraction(1)) else None if isinstance(size, Size) else size for size in shape],
            )
            for name, shape, dtype in [(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors]
        ]

    def free(self, name: str) -> str:
        """Return an unused name, as like the given one as possible."""
        while name in self.used:
            name += "_"
        self.used.add(name)
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator, and return the name of its output."""
        name = self.free(f"{kind.lower()}_{len(self.nodes)}")
        self.nodes.append(self.helper.make_node(kind, inputs, [name], name=f"node_{name}", **attributes))
        return name

    def constant(self, array: Any, name: str | None = None) -> str:
        """Add a constant, and return its name."""
        name = self.free(name or f"constant_{len(self.constants)}")
        self.constants.append(self.numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def ints(self, *numbers: int) -> str:
        """Add integers, in the form of axes and shapes."""
        return self.constant(np.array(numbers, np.int64))

    def cast(self, thing: Any, dtype: Any) -> str:
        """Return the name of a tensor, or of a constant, in a dtype."""
        if isinstance(thing, Size):
            return self.cast(
                Known(self.op("Reshape", self.shape((thing,)), self.ints()), (), np.dtype(np.int64)), dtype
            )
        if not isinstance(thing, Known):
            return self.constant(np.asarray(thing, dtype))
        if thing.dtype == dtype:
            return thing.name
        return self.op("Cast", thing.name, to=self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def shape(self, sizes: tuple[Any, ...]) -> str:
        """Return the name of a shape, computed from the number of rows if necessary."""
        if not any(isinstance(size, Size) for size in sizes):
            return self.ints(*sizes)
        rows = self.op("Gather", self.op("Shape", self.batch), self.ints(0))
        parts = []
        for size in sizes:
            if isinstance(size, Size):
                scaled = self.op("Mul", rows, self.ints(size.factor.numerator))
                parts.append(self.op("Div", scaled, self.ints(size.factor.denominator)))
            else:
                parts.append(self.ints(size))
        return self.op("Concat", *parts, axis=0)

    def reshape(self, name: str, sizes: tuple[Any, ...]) -> str:
        """Add a reshape; ONNX works out a single size that grows with the batch."""
        growing = [isinstance(size, Size) for size in sizes]
        if sum(growing) == 1 and 0 not in sizes:
            return self.op("Reshape", name, self.ints(*[-1 if isinstance(size, Size) else size for size in sizes]))
        return self.op("Reshape", name, self.shape(sizes))


# The table: a row takes the graph, the result, and the arguments of the function; it
# returns the name of the result. Arguments that the program computes are `Known`, the
# others are unchanged.

Row = Callable[..., str]
ROWS: dict[Any, Row] = {}


def row(*functions: Any) -> Callable[[Row], Row]:
    """Add a row for some functions."""

    def enter(made: Row) -> Row:
        ROWS.update(dict.fromkeys(functions, made))
        return made

    return enter


def arithmetic(kind: str) -> Row:
    """Return the row of a function that NumPy computes in the dtype of its result."""
    return lambda g, out, *args: g.op(kind, *[g.cast(arg, out.dtype) for arg in args])


def comparison(kind: str) -> Row:
    """Return the row of a comparison, whose arguments have one dtype."""

    def compare(g: Graph, out: Known, *args: Any) -> str:
        dtype = np.result_type(*[arg.dtype if isinstance(arg, Known) else arg for arg in args])
        return g.op(kind, *[g.cast(arg, dtype) for arg in args])

    return compare


def logic(kind: str) -> Row:
    """Return the row of a function of truth values."""

    def combine(g: Graph, out: Known, *args: Any) -> str:
        if out.dtype != np.bool_:
            raise Refused("combines the bits of integers")
        return g.op(kind, *[g.cast(arg, np.bool_) for arg in args])

    return combine


ARITHMETIC: dict[Any, str] = {
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.divide: "Div",
    np.power: "Pow",
    np.maximum: "Max",
}
ARITHMETIC |= {np.minimum: "Min", np.negative: "Neg", np.absolute: "Abs", np.rint: "Round"}
ARITHMETIC |= {F.sigmoid: "Sigmoid", primitives.relu: "Relu"}
SAME_NAMES = (np.add, np.exp, np.log, np.sqrt, np.sin, np.cos, np.tanh, np.sign, np.floor, np.ceil, np.reciprocal)
ARITHMETIC |= {function: function.__name__.capitalize() for function in SAME_NAMES}
COMPARISONS: dict[Any, str] = {np.greater: "Greater", np.less: "Less", np.equal: "Equal"}
COMPARISONS |= {np.greater_equal: "GreaterOrEqual", np.less_equal: "LessOrEqual"}
LOGIC: dict[Any, str] = {np.logical_and: "And", np.logical_or: "Or", np.logical_not: "Not"}
LOGIC |= {np.bitwise_and: "And", np.bitwise_or: "Or", np.invert: "Not"}
for table, made in ((ARITHMETIC, arithmetic), (COMPARISONS, comparison), (LOGIC, logic)):
    ROWS |= {function: made(kind) for function, kind in table.items()}


def along_axis(kind: str) -> Row:
    """Return the row of a function along one axis."""
    return lambda g, out, x, axis=-1: g.op(kind, x.name, axis=axis)


ROWS |= {F.softmax: along_axis("Softmax"), F.log_softmax: along_axis("LogSoftmax")}


@row(np.not_equal)
def not_equal(g: Graph, out: Known, x: Any, y: Any) -> str:
    return g.op("Not", comparison("Equal")(g, out, x, y))


@row(np.square)
def square(g: Graph, out: Known, x: Known) -> str:
    return g.op("Mul", x.name, x.name)


@row(np.expm1)
def expm1(g: Graph, out: Known, x: Any) -> str:
    return g.op("Sub", g.op("Exp", g.cast(x, out.dtype)), g.cast(1, out.dtype))


@row(np.log1p)
def log1p(g: Graph, out: Known, x: Any) -> str:
    return g.op("Log", g.op("Add", g.cast(x, out.dtype), g.cast(1, out.dtype)))


@row(np.logaddexp)
def logaddexp(g: Graph, out: Known, x: Any, y: Any) -> str:
    x, y = g.cast(x, out.dtype), g.cast(y, out.dtype)
    less = g.op("Exp", g.op("Neg", g.op("Abs", g.op("Sub", x, y))))
    return g.op("Add", g.op("Max", x, y), g.op("Log", g.op("Add", less, g.cast(1, out.dtype))))


@row(np.where)
def where(g: Graph, out: Known, condition: Any, x: Any, y: Any) -> str:
    return g.op("Where", g.cast(condition, bool), g.cast(x, out.dtype), g.cast(y, out.dtype))


@row(choice.clip)
def clip(g: Graph, out: Known, x: Any, low: Any = None, high: Any = None) -> str:
    name = g.cast(x, out.dtype)
    for kind, bound in (("Max", low), ("Min", high)):
        name = name if bound is None else g.op(kind, name, g.cast(bound, out.dtype))
    return name


@row(primitives.astype, primitives.identity, in_range)  # the file checks no range
def astype(g: Graph, out: Known, x: Any, *_: Any) -> str:
    return g.cast(x, out.dtype)


@row(np.matmul, np.dot)
def matmul(g: Graph, out: Known, x: Any, y: Any) -> str:
    if np.ndim(x) == 0 or np.ndim(y) == 0:
        return g.op("Mul", g.cast(x, out.dtype), g.cast(y, out.dtype))
    return g.op("MatMul", g.cast(x, out.dtype), g.cast(y, out.dtype))


@row(F.linear)
def linear(g: Graph, out: Known, x: Any, weight: Any, bias: Any = None) -> str:
    inputs = [g.cast(part, out.dtype) for part in (x, weight, bias) if part is not None]
    if np.ndim(x) == 2:
        return g.op("Gemm", *inputs, transB=1)
    product = g.op("MatMul", inputs[0], g.op("Transpose", inputs[1], perm=[1, 0]))
    return product if bias is None else g.op("Add", product, inputs[2])


@row(np.einsum)
def einsum(g: Graph, out: Known, equation: Any, *arrays: Any, optimize: Any = False) -> str:
    if not isinstance(equation, str):
        raise Refused("with its subscripts as lists")
    return g.op("Einsum", *[g.cast(array, out.dtype) for array in arrays], equation=equation)


def reduction(kind: str) -> Row:
    """Return the row of a reduction."""

    def reduce(g: Graph, out: Known, x: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> str:
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        name = g.cast(x, out.dtype)
        if not axes:
            return name
        if kind == "ReduceSum":  # its axes are an input, those of the others an attribute
            return g.op(kind, name, g.ints(*axes), keepdims=int(keepdims))
        return g.op(kind, name, axes=list(axes), keepdims=int(keepdims))

    return reduce


ROWS |= {
    np.sum: reduction("ReduceSum"),
    np.mean: reduction("ReduceMean"),
    np.max: reduction("ReduceMax"),
    np.min: reduction("ReduceMin"),
    np.prod: reduction("ReduceProd"),
}


@row(reductions.var)
def var(
    g: Graph,
    out: Known,
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    ddof: int = 0,
    keepdims: bool = False,
    where: Any = True,
) -> str:
    if ddof or where is not True:
        raise Refused("has ddof= or where=")
    mean = ROWS[np.mean](g, out, x, axis, keepdims=True)
    squares = square(g, out, Known(g.op("Sub", g.cast(x, out.dtype), mean), x.shape, out.dtype))
    return ROWS[np.mean](g, out, Known(squares, x.shape, out.dtype), axis, keepdims=keepdims)


@row(np.reshape, np.expand_dims, np.squeeze)
def reshape(g: Graph, out: Known, x: Known, *_: Any, order: str = "C", **rest: Any) -> str:
    if order != "C":
        raise Refused(f"with order={order!r}")
    return g.reshape(x.name, out.shape)


@row(np.broadcast_to)
def broadcast_to(g: Graph, out: Known, x: Any, *_: Any) -> str:
    return g.op("Expand", g.cast(x, out.dtype), g.shape(out.shape))


@row(np.transpose)
def transpose(g: Graph, out: Known, x: Known, axes: Any = None) -> str:
    order = range(x.ndim)[::-1] if axes is None else [axis % x.ndim for axis in axes]
    return g.op("Transpose", x.name, perm=list(order))


@row(np.swapaxes)
def swapaxes(g: Graph, out: Known, x: Known, first: int, second: int) -> str:
    order = list(range(x.ndim))
    order[first], order[second] = order[second], order[first]
    return transpose(g, out, x, order)


@row(np.moveaxis)
def moveaxis(g: Graph, out: Known, x: Known, source: Any, destination: Any) -> str:
    return transpose(g, out, x, np.moveaxis(np.empty(range(x.ndim)), source, destination).shape)


@row(primitives.concatenate)
def concatenate(g: Graph, out: Known, axis: int, ends: list[Any], *arrays: Any) -> str:
    return g.op("Concat", *[g.cast(array, out.dtype) for array in arrays], axis=axis)


@row(primitives.getitem)
def getitem(g: Graph, out: Known, x: Any, index: Any) -> str:
    name = g.cast(x, out.dtype)
    parts = list(index) if isinstance(index, tuple) else [index]
    arrays = [part for part in parts if isinstance(part, list | np.ndarray | Known)]
    if arrays:
        array = arrays[0] if isinstance(arrays[0], Known) else np.asarray(arrays[0])
        if len(parts) > 1 or array.dtype == np.bool_:
            raise Refused("has an index with more than one array of integers")
        return g.op("Gather", name, g.cast(array, np.int64), axis=0)
    at = parts.index(...) if ... in parts else len(parts)
    named = sum(part is not None and part is not ... for part in parts)
    parts[at : at + 1] = [slice(None)] * (np.ndim(x) - named)
    starts, ends, axes, steps = [], [], [], []
    for axis, part in enumerate(part for part in parts if part is not None):
        bounds = part if isinstance(part, slice) else slice(part, part + 1 or None)
        if bounds.stop == np.shape(x)[axis]:
            bounds = slice(bounds.start, None, bounds.step)
        if bounds != slice(None):
            if isinstance(bounds.start, Size) or isinstance(bounds.stop, Size):
                raise Refused("takes a part whose size grows with the batch")
            step = bounds.step or 1
            starts.append(bounds.start if bounds.start is not None else 0 if step > 0 else END)
            ends.append(bounds.stop if bounds.stop is not None else END if step > 0 else -END)
            axes.append(axis)
            steps.append(step)
    if axes:
        name = g.op("Slice", name, g.ints(*starts), g.ints(*ends), g.ints(*axes), g.ints(*steps))
    return name if all(isinstance(part, slice) for part in parts) else g.reshape(name, out.shape)


@row(np.matrix_transpose)
def matrix_transpose(g: Graph, out: Known, x: Known) -> str:
    return swapaxes(g, out, x, -1, -2)


@row(np.flip)
def flip(g: Graph, out: Known, x: Known, axis: int) -> str:
    return getitem(g, out, x, (slice(None),) * (axis % x.ndim) + (slice(None, None, -1),))


def laid(stride: Any, padding: Any, dilation: Any) -> dict[str, list[int]]:
    """Return the layout of windows as ONNX attributes."""
    pads = [before for before, _ in padding] + [max(after, 0) for _, after in padding]  # a negative one has no elements
    return {"strides": list(stride), "pads": pads, "dilations": list(dilation)}


@row(conv)
def conv_row(g: Graph, out: Known, x: Any, weight: Any, bias: Any = None, *, groups: int, **how: Any) -> str:
    inputs = [g.cast(part, out.dtype) for part in (x, weight, bias) if part is not None]
    return g.op("Conv", *inputs, group=groups, **laid(**how))


@row(conv_transpose)
def conv_transpose_row(g: Graph, out: Known, x: Any, weight: Any, shape: Any, *, groups: int, **how: Any) -> str:
    inputs = g.cast(x, out.dtype), g.cast(weight, out.dtype)
    name = g.op("ConvTranspose", *inputs, group=groups, **laid(**how))
    more = [max(-after, 0) for _, after in how["padding"]]  # a negative padding adds zeros to the result
    return g.op("Pad", name, g.ints(*[0] * (x.ndim + 2), *more)) if any(more) else name


@row(max_pool)
def max_pool_row(g: Graph, out: Known, x: Known, *, kernel: Any, **how: Any) -> str:
    return g.op("MaxPool", x.name, kernel_shape=list(kernel), **laid(**how))


@row(picked)
def sum_pool(g: Graph, out: Known, x: Known, winner: None, *, kernel: Any, **how: Any) -> str:
    places = laid(**how)
    del places["dilations"]  # averages are over windows without gaps
    mean = g.op("AveragePool", x.name, kernel_shape=list(kernel), count_include_pad=1, **places)
    return g.op("Mul", mean, g.cast(math.prod(kernel), out.dtype))


class Whole(Translation):
    """A translation that keeps primitives with a row, and notes each step's layer."""

    def __init__(self, *args: Any) -> None:
        self.layers: dict[Step, str] = {}
        super().__init__(*args)

    def translated(self, node: Any, name: str | None) -> list[Step]:
        """Translate one operation."""
        steps = self.step(node, name) if node.function in ROWS else super().translated(node, name)
        if node.function in LOOPS:
            steps, self.values[node] = turns_of(steps[-1], scans=False)  # type: ignore[assignment]
        layers = [layer for _, module, layer in node.note.marks if module is None] if node.note else []
        self.layers.update(dict.fromkeys(steps, layers[-1]) if layers else {})
        return steps


def traced(model: Module, inputs: list[Any]) -> tuple[Whole, Program]:
    """Call a network, and return the translation of its steps."""
    arguments = Arguments(tuple(inputs), {})
    with no_grad(), scoped(model):
        recording = call_recorded(lambda *args: model(*args), arguments)
    whole = Whole(recording.recorder, recording.inputs, [f"input_{i}" for i in range(len(inputs))])
    whole.translate()
    return whole, whole.program(results_of(recording, whole), ())


@explained
def export(module: Module, example: Any, path: str | os.PathLike[str]) -> None:
    """Write a network to an ONNX file, which other programs run on any number of rows.

    The network is translated in evaluation mode. The file uses operator set 17, and its
    numbers have the dtypes of the parameters. Some programs support some operators only
    in float32; onnxruntime does for convolutions.

    Parameters
    ----------
    module : Module
    example : array_like or tuple of array_like, each of shape (n, ...)
        Example inputs of the network. Their first axis is the batch, and may later have
        any length.
    path : path
        Usually ends in `.onnx`. The file is complete or unchanged.

    Raises
    ------
    NotImplementedError
        If the network calls a function that has no row in the table; the message names
        the function and the layer.
    ValueError
        If the network depends on the number of rows other than through the sizes of
        arrays.
    TypeError
        If `module` isn't a module, or an example holds no numbers.
    ImportError
        If the package onnx isn't installed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import nn
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mg.onnx.export(model, np.ones((1, 3)), f"{folder}/model.onnx")
    """
    if not isinstance(module, Module):
        raise TypeError(f"onnx.export(module, example, path): module must be an nn.Module, got {module!r:.60}")
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"onnx.export needs the package onnx: {INSTALL}") from error
    inputs = [np.asarray(x) for x in columns("onnx.export", example if isinstance(example, tuple) else (example,))]
    n, count = len(inputs[0]), len(inputs)
    rows = max(n, 2), 2 * max(n, 2) + 1
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        whole, first = traced(module, [np.take(x, np.arange(rows[0]) % n, axis=0) for x in inputs])
        try:
            other, second = traced(module, [np.take(x, np.arange(rows[1]) % n, axis=0) for x in inputs])
        except Exception as error:
            raise ValueError(
                f"onnx.export: the network fails for {rows[1]} rows, but works for {rows[0]}: {error}; write len(x) or "
                f"-1 for the number of rows"
            ) from error
    finally:
        for part, mode in modes:
            part.training = mode
    if [step.function for step in first.steps] != [step.function for step in second.steps]:
        raise ValueError(
            f"onnx.export: the network calls other functions for {rows[1]} rows than for {rows[0]}; let only the sizes "
            f"of arrays depend on the number of rows, the first axis (a recurrent layer needs batch_first=True)"
        )
    own = inspect.signature(module.forward).parameters.values()
    names = [parameter.name for parameter in own if parameter.kind is not parameter.VAR_POSITIONAL][:count]
    names += [f"input_{i}" for i in range(len(names), count)]
    graph = Graph(onnx.helper, onnx.numpy_helper, rows, names[0])
    graph.used.update(names)
    for name, a, b in zip(names, first.inputs, second.inputs, strict=False):
        graph.known[a] = Known(name, graph.merged(a.shape, b.shape), a.dtype)
    given = [graph.known[value] for value in first.inputs[:count]]
    for value, mine, others in zip(first.inputs[count:], whole.captured, other.captured, strict=True):
        graph.capture(value, mine, others)
    for step, twin in zip(first.steps, second.steps, strict=True):
        graph.add(step, twin, whole.layers.get(step))
    results = [
        Known(graph.op("Identity", graph.cast(x, x.dtype)), x.shape, x.dtype)
        for x in flatten(graph.merged(first.outputs, second.outputs), lambda part: isinstance(part, Known))[0]
        if x is not None
        for x in [x if isinstance(x, Known) else np.asarray(x)]
    ]
    made = onnx.helper.make_graph(
        graph.nodes, type(module).__name__, graph.described(given), graph.described(results), graph.constants
    )
    model = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="microgradnd"
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise NotImplementedError(f"onnx.export: ONNX can't represent this network: {error}") from error
    with replacing(path) as written:
        written.write_bytes(model.SerializeToString())
