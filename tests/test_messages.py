"""Every message for a user's mistake: one table, and a test that it is complete.

A row is a name, a call, the class of its error, and words that the message must hold.
The same rules hold for all messages: they say what to do, and none comes from inside
Python or NumPy. Every `raise` in the library is reached by a row, or `UNREACHED` gives
the reason why not.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import datetime
import importlib
import inspect
import io
import math
import queue
import re
import sys
import tempfile
import threading
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import dask.array as da
import numpy as np
import pytest
from _pytest._io.saferepr import saferepr  # of a package that makes texts

import microgradnd as mg
from microgradnd import data, nn, optim, viz
from microgradnd.__main__ import Refused, write
from microgradnd.compiler.elementary import at
from microgradnd.compiler.machine import load_numba
from microgradnd.compiler.trace import TraceError
from microgradnd.nn import functional as F
from microgradnd.nn.fit import History
from microgradnd.optim import lr_scheduler
from microgradnd.scipy import linalg, scipys, special
from microgradnd.steps import Blocks, Steps, batch_loss
from microgradnd.trees import flatten
from microgradnd.viz import frames, render
from microgradnd.viz.plots import canvas

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT / "microgradnd", ROOT / "viz")
INSIDE = re.compile(
    r"has no attribute|object is not (iterable|callable|subscriptable)|unsupported operand|unexpected keyword argument"
    r"|missing \d+ (required|positional)|takes \d+ positional|cannot be interpreted as an integer|setting an array elem"
    r"|truth value|not supported between|_NoValueType|unhashable type|could not convert|must be a real number, not None"
    r"|is none$|got an unexpected|same number of elements|<lambda>\(\)|not a proper array|\b_\w+\(\)"
)
SIZES_OF = {
    "AdaptiveAvgPool1d": (2,),
    "AdaptiveAvgPool2d": (2,),
    "AvgPool1d": (2,),
    "AvgPool2d": (2,),
    "BatchNorm1d": (3,),
    "BatchNorm2d": (3,),
    "Bilinear": (3, 3, 2),
    "Conv1d": (2, 3, 3),
    "Conv2d": (2, 3, 3),
    "ConvTranspose2d": (2, 3, 3),
    "Embedding": (5, 3),
    "GRU": (3, 4),
    "GroupNorm": (1, 3),
    "LSTM": (3, 4),
    "LayerNorm": (3,),
    "Linear": (3, 2),
    "MaxPool1d": (2,),
    "MaxPool2d": (2,),
    "MultiheadAttention": (4, 2),
    "RMSNorm": (3,),
    "RNN": (3, 4),
    "TransformerEncoderLayer": (4, 2),
}
SHORTEST = 46  # characters that it takes to say what happened and what to do


class Row(NamedTuple):
    """A mistake, and what the message must say."""

    call: Callable[[], Any]
    error: type[BaseException]
    words: str  # separated by |


def cyclic() -> list[Any]:
    """Return a list that contains itself."""
    parts: list[Any] = [1.0]
    parts.append(parts)
    return parts


class Noted(list[Any]):
    """A list that holds something besides its elements."""

    notes: list[str]

    def __init__(self, parts: list[Any]) -> None:
        super().__init__(parts)
        self.notes = ["a note"]


class Unpaired:
    """A class that is registered with a wrong function."""


mg.register_tree(Unpaired, lambda tree: 3.0, lambda aux, children: Unpaired())  # type: ignore[arg-type, return-value]


def P(*values: float) -> mg.Tensor:
    """Return a vector that requires a gradient."""
    return mg.tensor(np.array(values, float), requires_grad=True)


def with_grad(gradient: Any) -> mg.Tensor:
    """Return a vector of three ones with a gradient."""
    t = mg.tensor(np.ones(3), requires_grad=True)
    t.grad = gradient
    return t


def named_tensor(shape: tuple[int, ...] = (3,), name: str = "w", fill: float = 1.0) -> mg.Tensor:
    return mg.tensor(np.full(shape, fill), requires_grad=True, name=name)


def failing_later() -> None:
    weight = nn.Parameter(np.ones(2))

    @mg.compile
    def step(a):
        with mg.no_grad():
            weight[...] = np.linalg.inv(a) @ weight

    step(np.eye(2))
    step(np.zeros((2, 2)))


class Empty(nn.Module):
    """A module whose forward() was forgotten."""


class Hidden(nn.Module):
    """A module that keeps others in a list."""

    def __init__(self) -> None:
        self.layers = [nn.Linear(1, 1)]

    def forward(self, x: Any) -> Any:
        return x


def assigned(thing: Any, name: str, value: Any) -> Callable[[], None]:
    """Return a function that assigns an attribute."""
    return lambda: setattr(thing, name, value)


def stepped(gradient: Any, make: Any = optim.SGD) -> Callable[[], None]:
    """Return an optimizer's step after a hook or the user has changed the gradient."""
    w = P(1, 2)
    w._node.grad = gradient  # type: ignore[union-attr]
    return make([w], lr=0.1).step  # type: ignore[no-any-return]


def compiled(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Return a call of a compiled function."""
    return lambda: mg.compile(function)(*args)


def saved(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Return a function that compiles another, runs it and saves the program."""

    def save() -> None:
        program = mg.compile(function)
        program(*args)
        with tempfile.TemporaryDirectory() as folder:
            program.save(Path(folder, "program.py"))

    return save


@mg.primitive
def doubled(x: Any) -> Any:
    """Return 2 x: a primitive without a rule."""
    return 2 * x


def with_rule(rule: Any, mode: str = "vjp") -> Callable[[Any], Any]:
    """Return a function of a primitive with a rule."""

    @mg.primitive
    def own(x: Any) -> Any:
        return x * 2

    (mg.defvjp if mode == "vjp" else mg.defjvp)(own, rule)
    return lambda x: np.sum(own(x))


def changed_after_use() -> None:
    w = named_tensor()
    loss = (w * w).sum()
    with mg.no_grad():
        w -= 1.0
    loss.backward()


def twice_backward() -> None:
    loss = (named_tensor((3,)) ** 2).sum()
    loss.backward()
    loss.backward()


def anomaly(backward: bool = False) -> None:
    x = P(1, 0)
    with mg.detect_anomaly(), np.errstate(all="ignore"):
        if backward:
            np.sum(np.sqrt(x)).backward()
        np.log(x)


def outdated() -> mg.Tensor:
    t = mg.tensor(np.ones((2, 3)), requires_grad=True) * 1.0
    row = t[0]
    t[0] = 5.0
    return row


def picture(**options: Any) -> Any:
    return viz.draw((named_tensor() ** 2).sum(), **options)


def plane(**options: Any) -> Any:
    """Return a picture of a loss over two parameters."""
    options = {"at": np.array([1.0, 2.0]), "rng": np.random.default_rng(0), "steps": 3} | options
    return viz.plot_surface(options.pop("loss", lambda w: np.sum(w**2)), options.pop("path", None), **options)


def without(module: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call that runs as if a package weren't installed."""

    def run() -> Any:
        names = [name for name in sys.modules if name.partition(".")[0] == module]
        before = {name: sys.modules.pop(name) for name in names}
        sys.modules[module] = None  # type: ignore[assignment]
        for cached in (render._drawing_class, canvas.figure_class):
            cached.cache_clear()
        try:
            return call()
        finally:
            del sys.modules[module]
            sys.modules.update(before)

    return run


def film(call: Callable[[str], Any], name: str = "film.gif") -> Callable[[], Any]:
    """Return a call with the path of a film in a temporary folder."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            call(f"{folder}/{name}")

    return run


def training_film(path: str, **changes: Any) -> None:
    """Make a film of a training without steps."""
    model = nn.Linear(1, 1)
    given: dict[str, Any] = {"model": model, "x": np.zeros((3, 1)), "y": np.zeros(3)}
    states = [nn.Linear(*given["model"].weight.shape[::-1]).state_dict()] if "states" not in changes else []
    if "model" in changes and isinstance(changes["model"], nn.Module):
        states = [changes["model"].state_dict()]
    given.update({name: value for name, value in changes.items() if name != "states"})
    viz.animate_training(states, path, **given)


def without_ffmpeg() -> Any:
    """Ask for an MP4 where there is no ffmpeg."""
    with mock.patch("shutil.which", return_value=None):
        return viz.animate((named_tensor() ** 2).sum(), "film.mp4")


def failing_ffmpeg() -> None:
    """Write an MP4 with an ffmpeg that fails."""
    failed = mock.Mock(returncode=1, stderr=b"no such codec")
    with mock.patch("subprocess.run", return_value=failed):
        frames.write_film(Path("film.mp4"), [b""], [1.0], [""])


def changed_since() -> None:
    """Compare a result with another, after a step."""
    w = named_tensor()
    result = (w**2).sum()
    with mg.no_grad():
        w -= 1
    viz.compare(result, (w**2).sum())


class Taller(nn.Module):
    """A module that returns one more row than it takes."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(np.ones(1))

    def forward(self, x: Any) -> Any:
        return np.concatenate([x * self.weight, [[0.0]]])


def without_graphviz() -> Any:
    with mock.patch("shutil.which", return_value=None), mock.patch("importlib.util.find_spec", return_value=None):
        return render.render("digraph {}", "svg")


def drawn(text: str, name: str = "", output: Path | None = None, **options: Any) -> Callable[[], Any]:
    """Return a call of `python -m microgradnd draw` for a program."""

    def draw() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "program.py")
            path.write_text(text)
            with contextlib.redirect_stderr(io.StringIO()):
                write(f"{path}{name}", output, False, options)

    return draw


def trained(**options: Any) -> Callable[[], Any]:
    """Return a call of `nn.fit`."""

    def train() -> Any:
        model = options.get("model", nn.Linear(1, 1))
        made = isinstance(model, nn.Module)
        given = {
            "model": model,
            "data": (np.ones((4, 1)), np.ones((4, 1))),
            "loss": F.mse_loss,
            "optimizer": optim.SGD(model.parameters(), lr=0.1) if made else None,
            "epochs": 1,
        }
        return nn.fit(**(given | options))  # type: ignore[arg-type]

    return train


def squares(params: Any, block: Any) -> Any:
    """Return a sum of squares."""
    return np.sum((params * block) ** 2)


def summed(loss: Any = squares, params: Any = 1.0, data: Any = None, client: Any = None) -> Callable[[], Any]:
    """Return a call of `distributed.value_and_grad`, by default for two blocks."""
    return lambda: mg.distributed.value_and_grad(loss, client)(params, [1.0, 2.0] if data is None else data)


def in_folder(call: Callable[[Path], Any]) -> Callable[[], Any]:
    """Return a call with the path of a file in a temporary folder."""

    def run() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return call(Path(folder, "file"))

    return run


def saved_and_loaded(tree: Any, into: Any, suffix: str = ".npz") -> Callable[[], Any]:
    """Return a call that saves a tree, and loads it into another."""

    def call(path: Path) -> Any:
        mg.save(path.with_suffix(suffix), tree)
        return mg.load(path.with_suffix(suffix), into=into)

    return in_folder(call)


def bfloat16_loaded(path: Path) -> Any:
    """Load numbers whose dtype NumPy has only through a dependency of onnx."""
    importlib.import_module("ml_dtypes")
    head = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(2))
    return mg.load(path)


class Fickle:
    """A loss that is NaN in the first call only."""

    called = False

    def __call__(self, prediction: Any, target: Any) -> Any:
        factor, self.called = 1.0 if self.called else math.nan, True
        return F.mse_loss(prediction, target) * factor


def exported(function: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return an export of a network that calls a function."""

    class Called(nn.Module):
        def forward(self, x: Any) -> Any:
            return function(x)

    return in_folder(lambda path: mg.onnx.export(Called(), np.ones((4, 3)), path))


def within(function: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return a call of a function in `mg.grad`."""
    return lambda: mg.grad(function)(np.array([1.0, 2.0]))


class Own(nn.Module):
    """A module of a user."""

    def forward(self, x: Any) -> Any:
        return x


def called_with_hook(register: str) -> Callable[[], Any]:
    layer = nn.ReLU()
    getattr(layer, register)(lambda module: None)
    return lambda: layer(np.ones(3))


def hooked(result: Any) -> None:
    x = P(1, 2)
    x.register_hook(lambda g: result)
    np.sum(x * x).backward()


def constant_changed(size: int) -> None:
    x, array = mg.tensor(np.ones(size), requires_grad=True), np.ones(size)
    loss = np.sum(x * array)
    array[:] = 2.0
    loss.backward()


def argument_changed() -> None:
    x = np.ones(100_000)
    _, pullback = mg.vjp(lambda x: x * x, x)
    x[:] = 2.0
    pullback(np.ones(100_000))


def recomputed_otherwise() -> None:
    rng = np.random.default_rng(0)
    mg.checkpoint(lambda x: np.sum(x * rng.random(2)))(P(1, 2)).backward()


def updated_twice_over() -> Any:
    w = P(1, 2)

    @mg.compile
    def step(w: Any, x: Any) -> Any:
        with mg.no_grad():
            w -= 0.1 * x
        return w.sum()

    return step(w, w.data)


RNG, QUEUE = np.random.default_rng(0), queue.SimpleQueue()
PLAIN_ARRAY = np.zeros(3)
SETTINGS = {"rate": 0.0}
IMAGES, KERNELS = np.ones((2, 3, 5, 5)), np.ones((4, 3, 3, 3))
STEPPER = optim.SGD([nn.Parameter([1.0])], lr=0.1)


def drawn_by_its_own_generator(x: Any) -> Any:
    rng = np.random.default_rng(0)
    return x + mg.anew(lambda: rng.normal(size=3), 3)


def drawn_with_a_scale_that_changes(x: Any) -> Any:
    scales = [1.0]
    drawn = mg.anew(lambda: np.full(3, scales[0]), 3)
    scales[0] = 2.0
    return x + drawn


def drawn_with_a_number_that_was_set(x):
    STEPPER.own = 2.0
    return x + mg.anew(lambda: np.full(3, STEPPER.own), 3)


def drawn_in_a_loop(x):
    for scale in (2.0, 3.0):
        x = x + mg.anew(lambda: np.full(3, scale), 3)  # noqa: B023 - what this is about
    return x


class Unreadable:
    """An array of another library, for example on a GPU."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("it is on another device")


def packed(path: Path, name: str) -> None:
    """Write a zip file with one entry."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "...")


def with_errstate(x: Any) -> Any:
    with np.errstate(all="raise"):
        return x * 2


def with_warnings(x: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return x * 2


def with_thread(x: Any) -> Any:
    threading.Thread(target=np.sin, args=(x,)).start()
    return x


def written_to(x: Any) -> Any:
    PLAIN_ARRAY[0] += 1.0
    return x * 2


def backward_twice() -> Any:
    w = named_tensor()

    @mg.compile
    def step() -> None:
        loss = (w * w).sum()
        loss.backward()
        loss.backward()

    return step()


def derivative_of_a_step() -> Any:
    w, total = named_tensor(), mg.tensor([0.0], name="total")

    @mg.compile
    def step(x: Any) -> Any:
        total[...] = total + x
        return (w * x).sum()

    step(np.ones(1)).backward()


def derivative_too_late() -> Any:
    w, x = mg.tensor(np.ones(2**15), requires_grad=True), np.ones(2**15)
    loss = mg.compile(lambda x: (w * x).sum())(x)
    x[:] = 2.0
    loss.backward()


def restless() -> None:
    f = mg.compile(lambda x: x * SETTINGS["rate"])
    for i in range(20):
        SETTINGS["rate"] = float(i)
        f(np.ones(1))


def counted() -> Any:
    calls: list[int] = []

    @mg.compile
    def step(x: Any) -> Any:
        calls.append(1)
        return x * len(calls)

    return step(np.ones(3))


def assigned_under_no_grad() -> None:
    y = P(1, 2) * 2
    with mg.no_grad():
        y[0] = 5.0


def read_only() -> None:
    w = P(1, 2)
    w.data.flags.writeable = False
    updated_by_hand(w)


class Counts(nn.Module):
    """A module that changes in its forward()."""

    def __init__(self) -> None:
        self.w = nn.Parameter(np.ones(1))
        self.register_buffer("mean", np.zeros(1))
        self.calls: list[int] = []

    def forward(self, x: Any) -> Any:
        self.calls = [*self.calls, 1]
        return self.w * x


COUNTS = Counts()


def makes(module: Any) -> Any:
    module.late = nn.Parameter(np.ones(1))
    return module.w


class Counted:
    def __init__(self) -> None:
        self.n = 0


STEPS = Counted()


def warmed_up(x: Any) -> Any:
    STEPS.n += 1
    return x * min(STEPS.n / 10, 1)


def averaged(module: Any, x: Any) -> Any:
    module.mean = np.ones(1)
    return module.w * x


def loaded_otherwise(optimizer: Any, **changed: Any) -> None:
    """Load the state of an optimizer of one parameter with other entries."""
    optimizer.load_state_dict(optimizer.state_dict() | {"state": {0: changed}})


def retyped() -> None:
    """Take a step with a model whose dtype has changed."""
    model = nn.Linear(2, 1)
    optimizer = optim.Adam(model.parameters())
    model.to(np.float32)
    np.sum(model(np.ones((1, 2), np.float32))).backward()
    optimizer.step()


def own_formula(function: Any) -> Any:
    """Return an optimizer with a formula, and a gradient."""
    w = P(1)
    w.grad = np.ones(1)
    return type("Own", (optim.Optimizer,), {"formula": staticmethod(function)})([w], lr=0.1)


def cycled(steps: int) -> None:
    schedule = lr_scheduler.OneCycleLR(optim.SGD([P(1)], lr=0.1, momentum=0.9), 0.1, 10)
    for _ in range(steps):
        schedule.step()


def shortened(value: Any, protect: bool = False) -> None:
    w = named_tensor()
    w.data.flags.writeable = not protect
    with mg.no_grad():
        w -= value


def updated_by_hand(w: Any) -> None:
    with w.updating() as array:
        array[...] = 0.0


def matrix() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.matrix([1.0, 2.0, 3.0])


def crossed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.cross(P(1, 2), P(1, 2)).backward()


def captured_elsewhere() -> float:
    return float(OFFSET[0])


OFFSET = [1.0]


class Foreign:
    """An imitation of another library's tensor."""

    __module__ = "torch"
    shape = (3,)


@mg.primitive
def shifted(x: Any) -> Any:
    """Return x + 1: a primitive that looks at its argument, and captures a value."""
    return x + captured_elsewhere() if float(np.sum(x)) > 0 else x


mg.defvjp(shifted, lambda g, out, x: g)


t, m = P(1, 2, 3), nn.Linear(3, 2)
square = mg.tensor(np.eye(2), requires_grad=True)

LIBRARY = {
    # Attributes and names of other libraries
    "t.clone()": Row(lambda: t.clone(), AttributeError, "clone|t.copy()"),
    "t.view()": Row(lambda: t.view(3), AttributeError, "view|t.reshape"),
    "t.unsqueeze()": Row(lambda: t.unsqueeze(1), AttributeError, "unsqueeze|np.expand_dims"),
    "t.cpu()": Row(lambda: t.cpu(), AttributeError, "cpu|leave it out"),
    "t.cuda()": Row(lambda: t.cuda(), AttributeError, "cuda|CPU"),
    "t.to()": Row(lambda: t.to("cpu"), AttributeError, "'to'|t.astype"),
    "t.float()": Row(lambda: t.float(), AttributeError, "float|t.astype(np.float32)"),
    "t.double()": Row(lambda: t.double(), AttributeError, "double|t.astype(np.float64)"),
    "t.permute()": Row(lambda: t.permute(0), AttributeError, "permute|np.transpose"),
    "t.pow()": Row(lambda: t.pow(2), AttributeError, "pow|t ** exponent"),
    "t.exp()": Row(lambda: t.exp(), AttributeError, "exp|np.exp(t)"),
    "t.softmax()": Row(lambda: t.softmax(), AttributeError, "softmax|nn.functional.softmax(t)"),
    "t.matmul()": Row(lambda: t.matmul(t), AttributeError, "matmul|np.matmul(t, ...)"),
    "t.numel()": Row(lambda: t.numel(), AttributeError, "numel|t.size"),
    "t.zero_()": Row(lambda: t.zero_(), AttributeError, "zero_|t.grad = None"),
    "t.require_grad": Row(lambda: t.require_grad, AttributeError, "require_grad|t.requires_grad"),
    "mg.sin": Row(lambda: mg.sin(t), AttributeError, "microgradnd|sin|np.sin(...)"),
    "mg.inv": Row(lambda: mg.inv(t), AttributeError, "inv|np.linalg.inv(...)"),
    "mg.pi": Row(lambda: mg.pi, AttributeError, "pi|np.pi"),
    "mg.Adam": Row(lambda: mg.Adam, AttributeError, "Adam|optim.Adam"),
    "mg.relu": Row(lambda: mg.relu, AttributeError, "relu|nn.functional.relu"),
    "mg.Linear": Row(lambda: mg.Linear, AttributeError, "Linear|nn.Linear"),
    "mg.draw": Row(lambda: mg.draw, AttributeError, "draw|viz.draw"),
    "mg.jit": Row(lambda: mg.jit, AttributeError, "jit|mg.compile"),
    "mg.gradd": Row(lambda: mg.gradd, AttributeError, "gradd|mg.grad"),
    "mg.foo": Row(lambda: mg.foo, AttributeError, "foo|it has|value_and_grad"),
    "nn.Conv2D": Row(lambda: nn.Conv2D, AttributeError, "Conv2D|nn.Conv2d"),
    "nn.relu": Row(lambda: nn.relu, AttributeError, "relu|nn.functional.relu"),
    "nn.Dropout(2)": Row(lambda: nn.Dropout(2), ValueError, "Dropout|p must be|2"),
    "F.dropout(2)": Row(lambda: F.dropout(np.ones(3), 2), ValueError, "dropout|p must be|2"),
    "nn.MSE": Row(lambda: nn.MSE, AttributeError, "MSE|nn.MSELoss"),
    "optim.adam": Row(lambda: optim.adam, AttributeError, "adam|optim.Adam"),
    "optim.Rprop": Row(lambda: optim.Rprop, AttributeError, "Rprop|optim.RMSprop"),
    "optim.StepLR": Row(lambda: optim.StepLR, AttributeError, "StepLR|write optim.lr_scheduler.StepLR(...)"),
    "optim.steplr": Row(lambda: optim.steplr, AttributeError, "steplr|write optim.lr_scheduler.StepLR"),
    "lr_scheduler.StepLr": Row(lambda: lr_scheduler.StepLr, AttributeError, "StepLr|optim.lr_scheduler.StepLR"),
    "lr_scheduler.CyclicLR": Row(lambda: lr_scheduler.CyclicLR, AttributeError, "CyclicLR|OneCycleLR"),
    "optim.LBFGS": Row(lambda: optim.LBFGS, AttributeError, 'write optim.minimize(loss, params, method="LBFGS")'),
    "F.one_hot": Row(lambda: F.one_hot, AttributeError, "one_hot|write np.eye(classes)[labels]"),
    "module.cuda": Row(lambda: m.cuda(), AttributeError, "Linear|'cuda'; leave it out|CPU"),
    "module.double": Row(lambda: m.double(), AttributeError, "Linear|'double'; write .to(np.float64)"),
    "module.get_submodule": Row(
        lambda: m.get_submodule("0"), AttributeError, "write dict(module.named_modules())[path]"
    ),
    "nn.utils": Row(lambda: nn.utils, AttributeError, "utils|write optim.clip_grad_norm_"),
    "nn.dropout": Row(lambda: nn.dropout, AttributeError, "dropout|write nn.functional.dropout(...)"),
    "nn.save": Row(lambda: nn.save, AttributeError, "save|write mg.save(path, module)"),
    "mg.ModuleList": Row(lambda: mg.ModuleList, AttributeError, "ModuleList|write nn.ModuleList(...)"),
    "nn.Conv3d": Row(lambda: nn.Conv3d, AttributeError, "Conv3d|did you mean nn.Conv2d?"),
    "F.mse": Row(lambda: F.mse, AttributeError, "mse|F.mse_loss"),
    "F.exp": Row(lambda: F.exp, AttributeError, "exp|np.exp"),
    "viz.show": Row(lambda: viz.show, AttributeError, "show|viz.draw"),
    "viz.plot_hist": Row(lambda: viz.plot_hist, AttributeError, "plot_hist|viz.plot_history"),
    # Wrong keywords and numbers of arguments
    "t.sum(keepdim=)": Row(lambda: t.sum(keepdim=True), TypeError, "np.sum|keepdim|keepdims="),
    "t.mean(dim=)": Row(lambda: t.mean(dim=0), TypeError, "np.mean|dim|axis="),
    "t.var(unbiased=)": Row(lambda: t.var(unbiased=True), TypeError, "np.var|unbiased|ddof="),
    "t.repeat()": Row(lambda: t.repeat(), TypeError, "np.repeat|repeats"),
    "t.sum(1, 2, ...)": Row(lambda: t.sum(0, None, None, 1, 2, 3, 4, 5), TypeError, "np.sum|axis"),
    "F.softmax(dim=)": Row(lambda: F.softmax(t, dim=0), TypeError, "F.softmax|dim|axis="),
    "F.softmax(array, dim=)": Row(lambda: F.softmax(np.ones(3), dim=0), TypeError, "F.softmax|dim|axis="),
    "F.mse_loss(p)": Row(lambda: F.mse_loss(t), TypeError, "F.mse_loss|it also needs y"),
    "F.mse_loss(size_average=)": Row(
        lambda: F.mse_loss(t, t, size_average=False), TypeError, "F.mse_loss|size_average|reduction="
    ),
    "F.relu(inplace=)": Row(lambda: F.relu(t, inplace=True), TypeError, "F.relu|inplace|leave it out"),
    "F.sigmoid(input=)": Row(lambda: F.sigmoid(input=t), TypeError, "sigmoid|input|by position"),
    **{
        f"{type(layer).__name__}()({case})": Row(
            lambda layer=layer, args=args, kwargs=kwargs: layer(*args, **kwargs), TypeError, words
        )
        for layer in (nn.Linear(2, 1), nn.ReLU(), nn.Sequential(nn.ReLU()), nn.GroupNorm(1, 2), Own())
        for case, args, kwargs, words in (
            ("x, x", (np.ones(2), np.ones(2)), {}, "takes (x), got 2 positional arguments"),
            ("", (), {}, "takes (x), but the call lacks 'x'"),
            ("x, mask", (np.ones(2),), {"mask": None}, "takes (x), got mask=None"),
        )
    },
    "a hook before forward() of one parameter": Row(
        called_with_hook("register_forward_pre_hook"), TypeError, "a hook of ReLU must take (module, args)"
    ),
    "a hook after forward() of one parameter": Row(
        called_with_hook("register_forward_hook"), TypeError, "a hook of ReLU must|(module, args, out) after"
    ),
    **{
        f"{type(thing).__name__}.{method} of too many": Row(
            lambda thing=thing, method=method: getattr(thing, method)(1, 2, 3, 4),
            TypeError,
            f".{method} was called with",
        )
        for thing, methods in (
            (
                nn.ReLU(),
                "apply children eval modules requires_grad_ to train zero_grad state_dict register_forward_hook",
            ),
            (nn.ModuleList(), "append extend insert"),
            (nn.ModuleDict(), "items keys pop update values"),
            (STEPPER, "step zero_grad add_param_group state_dict load_state_dict"),
            (lr_scheduler.StepLR(STEPPER, 3), "step get_last_lr state_dict load_state_dict"),
            (lr_scheduler.ReduceLROnPlateau(STEPPER), "step"),
        )
        for method in methods.split()
    },
    "np.std(where=numbers)": Row(lambda: np.std(t, where=[1, 2, 0]), TypeError, "std: where= must hold booleans"),
    "load into a Tensor of another shape": Row(
        saved_and_loaded({"w": np.ones(3)}, {"w": mg.tensor(np.ones(2))}), ValueError, "w doesn't fit|shape (2,)|(3,)"
    ),
    "step(closure=)": Row(lambda: STEPPER.step(closure=len), TypeError, "step takes no keyword 'closure'|backward()"),
    "step(now=)": Row(lambda: STEPPER.step(now=1), TypeError, "step takes no keyword 'now'; it takes none"),
    "LRScheduler()": Row(lambda: lr_scheduler.LRScheduler(STEPPER), NotImplementedError, "at(t, lr, base)"),
    "MSELoss()(p, y, 1)": Row(lambda: nn.MSELoss()(np.ones(1), np.ones(1), 1), TypeError, "F.mse_loss|reduction="),
    "nn.Linear(1)": Row(lambda: nn.Linear(1), TypeError, "Linear takes|lacks|out_features"),
    "nn.Linear(use_bias=)": Row(lambda: nn.Linear(1, 1, use_bias=False), TypeError, "Linear|use_bias|bias="),
    "nn.Linear(device=)": Row(lambda: nn.Linear(1, 1, device="cpu"), TypeError, "Linear|device|leave it out"),
    "MSELoss(p, y)": Row(lambda: nn.MSELoss(np.ones(3), np.ones(3)), TypeError, "MSELoss|reduction|call it: MSELoss("),
    "SGD(learning_rate=)": Row(lambda: optim.SGD([t], learning_rate=0.1), TypeError, "SGD|learning_rate|lr="),
    "Adam(beta1=)": Row(lambda: optim.Adam([t], beta1=0.9), TypeError, "Adam|beta1|betas="),
    "mg.grad(argnum=)": Row(lambda: mg.grad(np.sin, argnum=1), TypeError, "grad|argnum|argnums="),
    "mg.grad()": Row(lambda: mg.grad(), TypeError, "grad|it also needs f"),
    "mg.value_and_grad(aux=)": Row(lambda: mg.value_and_grad(np.sin, aux=True), TypeError, "aux|has_aux="),
    "mg.jacobian(modes=)": Row(lambda: mg.jacobian(np.sin, modes="rev"), TypeError, "jacobian|modes|mode="),
    "mg.jvp(f)": Row(lambda: mg.jvp(np.sin), TypeError, "jvp|it also needs primals, tangents"),
    "mg.vjp()": Row(lambda: mg.vjp(), TypeError, "vjp|it also needs f"),
    "mg.hessian(argnum=)": Row(lambda: mg.hessian(np.sin, argnum=1), TypeError, "hessian|argnum|argnums="),
    "mg.hvp(f, x)": Row(lambda: mg.hvp(np.sin, 1.0), TypeError, "hvp|2 arguments|f"),
    "mg.elementwise_grad(argnum=)": Row(
        lambda: mg.elementwise_grad(np.sin, argnum=1), TypeError, "elementwise_grad|argnum|argnums="
    ),
    "mg.tensor(require_grad=)": Row(lambda: mg.tensor(1.0, require_grad=True), TypeError, "tensor|requires_grad="),
    "mg.tensor(device=)": Row(lambda: mg.tensor(1.0, device="cpu"), TypeError, "tensor|device|leave it out"),
    "mg.primitive()": Row(lambda: mg.primitive(), TypeError, "primitive|it also needs function"),
    "scan without a length": Row(lambda: mg.scan(lambda c, x: (c, x), 0.0), ValueError, "scan|length=|xs"),
    "scan of no turns": Row(lambda: mg.scan(lambda c, x: (c, x), 0.0, np.ones(0)), ValueError, "scan|at least one|0"),
    "scan without a pair": Row(lambda: mg.scan(lambda c, x: c, 0.0, np.ones(2)), TypeError, "scan|pair|float"),
    "scan with another structure": Row(
        lambda: mg.scan(lambda c, x: ((c, c), x), 0.0, np.ones(2)), TypeError, "scan|return a carry|Form"
    ),
    "scan with results of another structure": Row(
        lambda: mg.scan(lambda c, x: (c + 1, x if c else (x, x)), 0, np.ones(2)),
        TypeError,
        "scan|results|the same structure",
    ),
    "scan with another shape": Row(
        lambda: mg.scan(lambda c, x: (np.ones(3), x), np.ones(2), np.ones(2)), TypeError, "scan|(3,)|(2,)|.astype()"
    ),
    "mg.checkpoint(f, x)": Row(lambda: mg.checkpoint(np.sin, 1.0), TypeError, "checkpoint|2 arguments|f"),
    "t.backward(retain=)": Row(lambda: t.backward(retain=True), TypeError, "backward|retain|retain_graph="),
    "mg.anew(3)": Row(lambda: mg.anew(3), TypeError, "mg.anew|function|3"),
    "mg.anew of another shape": Row(lambda: mg.anew(lambda: np.ones(3), 2), ValueError, "(3,)|(2,)|anew"),
    "mg.compile(sizes=)": Row(lambda: mg.compile(abs, sizes="open"), ValueError, "mg.compile|sizes|'auto'|'fixed'"),
    "mg.compile(optimise=)": Row(lambda: mg.compile(abs, optimise=True), TypeError, "compile|optimise|optimize="),
    "viz.draw(colour=)": Row(lambda: viz.draw(t, colour="red"), TypeError, "draw|colour|its parameters are"),
    "viz.draw(max_node=)": Row(lambda: viz.draw(t, max_node=3), TypeError, "draw|max_node|max_nodes="),
    "viz.table(t, 3)": Row(lambda: viz.table(t, 3), TypeError, "table|2 arguments|depth="),
    "plot_history()": Row(lambda: viz.plot_history(), TypeError, "plot_history|it also needs losses"),
    "mg.explain()": Row(lambda: mg.explain(), TypeError, "explain|it also needs t"),
    "check_grads(mode=)": Row(lambda: mg.testing.check_grads(np.sin, 1.0, mode="rev"), TypeError, "mode|modes="),
    "mg.scope()": Row(lambda: mg.scope(), TypeError, "scope|it also needs name"),
    "nn.init.normal_(mu=)": Row(lambda: nn.init.normal_(t, means=1.0), TypeError, "normal_|means|mean="),
    # Arrays of other libraries
    "np.sort of a Dask array": Row(
        lambda: np.sort(mg.tensor(da.ones((4, 2)), requires_grad=True)),
        NotImplementedError,
        "sort|dask Array|(4, 2)|mg.distributed.value_and_grad",
    ),
    "step() with a Dask gradient": Row(
        lambda: optim.SGD([with_grad(da.ones(3))], lr=0.1).step(),
        TypeError,
        "step|dask Array|(3,)|dask.compute|.grad",
    ),
    "a compiled function of a Dask array": Row(
        lambda: mg.compile(np.sum)(da.ones(3)),
        TypeError,
        "compiled|dask Array|(3,)|compile=True",
    ),
    "np.interp of a Dask array": Row(
        lambda: np.interp(mg.tensor(da.ones(4), requires_grad=True), np.arange(2.0), np.arange(2.0)),
        NotImplementedError,
        "interp|dask Array|(4,)|all the numbers of the array|mg.distributed.value_and_grad",
    ),
    # Shapes and operands of NumPy's functions
    "t + shape": Row(lambda: named_tensor() + np.ones(4), ValueError, "np.add|'w' (shape (3,), float64)|(4,)|reshape"),
    "shape - t": Row(lambda: np.ones(4) - named_tensor(), ValueError, "np.subtract|'w'|(4,)|reshape"),
    "t @ shape": Row(lambda: named_tensor() @ np.ones((4, 2)), ValueError, "np.matmul|'w'|(4, 2)|transpose"),
    "np.matmul of a number": Row(lambda: np.matmul(named_tensor(), 2.0), ValueError, "np.matmul|'w'|use *"),
    "np.dot": Row(lambda: np.dot(named_tensor(), np.ones((4, 2))), ValueError, "np.dot|'w'|(4, 2)|transpose"),
    "np.inner": Row(lambda: np.inner(named_tensor(), np.ones(4)), ValueError, "np.inner|'w'|same length"),
    "np.tensordot": Row(lambda: np.tensordot(named_tensor(), np.ones((4, 2)), 1), ValueError, "'w'|same length"),
    "logsumexp with a sign": Row(
        lambda: special.logsumexp(named_tensor(), return_sign=True),
        NotImplementedError,
        "logsumexp|return_sign=True|leave it out",
    ),
    "solve_triangular of no system": Row(
        lambda: linalg.solve_triangular(np.eye(2), np.ones(2), trans="X"),
        ValueError,
        "solve_triangular|trans must be|'X'",
    ),
    "expm of no square": Row(lambda: linalg.expm(np.ones((2, 3))), ValueError, "expm|square|(2, 3)"),
    "no such special function": Row(lambda: special.erfx, AttributeError, "'erfx'|special.erfcx"),
    "a function of SciPy's without a rule": Row(
        lambda: special.hyp2f1, AttributeError, "microgradnd.scipy.special|'hyp2f1'|scipy.special.hyp2f1|mg.defvjp"
    ),
    "no such function of matrices": Row(lambda: linalg.expmm, AttributeError, "'expmm'|linalg.expm"),
    "np.einsum": Row(lambda: np.einsum("ij,jk", np.ones((2, 3)), named_tensor()), ValueError, "np.einsum|'w'|letter"),
    "np.where": Row(lambda: np.where(np.ones(4, bool), named_tensor(), 0.0), ValueError, "np.where|'w'|(4,)|reshape"),
    "np.maximum": Row(lambda: np.maximum(named_tensor(), np.ones(4)), ValueError, "np.maximum|'w'|(4,)|reshape"),
    "np.hypot": Row(lambda: np.hypot(named_tensor(), np.ones(4)), ValueError, "np.hypot|'w'|(4,)|reshape"),
    "np.concatenate of axes": Row(
        lambda: np.concatenate([named_tensor(), np.ones((2, 2))]), ValueError, "np.concatenate|'w'|(2, 2)|np.stack"
    ),
    "np.concatenate of lengths": Row(
        lambda: np.concatenate([named_tensor((2, 3)), np.ones((2, 2))]), ValueError, "np.concatenate|'w'|axis="
    ),
    "np.stack": Row(lambda: np.stack([t, np.ones(2) * t[0]]), ValueError, "stack|(2,)|(3,)|same shape"),
    "t.reshape": Row(lambda: named_tensor().reshape(2, 2), ValueError, "np.reshape|'w'|(2, 2)|-1"),
    "np.broadcast_to": Row(lambda: np.broadcast_to(named_tensor(), (4,)), ValueError, "np.broadcast_to|'w'|(4,)"),
    "np.squeeze": Row(lambda: np.squeeze(named_tensor(), 0), ValueError, "np.squeeze|'w'|length 1"),
    "np.split": Row(lambda: np.split(named_tensor(), 2), ValueError, "'w'|np.array_split"),
    "np.transpose": Row(lambda: np.transpose(named_tensor(), (0, 1)), ValueError, "np.transpose|'w'|each axis"),
    "axis out of range": Row(lambda: np.sum(named_tensor(), axis=3), np.exceptions.AxisError, "np.sum|'w'|axis|ndim"),
    "axis of a method": Row(lambda: t.mean(axis=1), np.exceptions.AxisError, "np.mean|axis|ndim"),
    "axis of a text": Row(lambda: np.sum(t, axis="rows"), TypeError, "np.sum|axis must be an integer|'rows'"),
    "axis twice": Row(lambda: np.sum(square, axis=(0, 0)), ValueError, "np.sum|each axis"),
    "t[7]": Row(lambda: named_tensor()[7], IndexError, "t[index]|'w'|7|from 0"),
    "t[0, 0]": Row(lambda: named_tensor()[0, 0], IndexError, "'w'|too many indices|one index per axis"),
    "t['x']": Row(lambda: named_tensor()["x"], IndexError, "'w'|integers, slices"),
    "t[mask]": Row(lambda: named_tensor()[np.ones(4, bool)], IndexError, "'w'|boolean index|shape"),
    "np.linalg.inv": Row(
        lambda: np.linalg.inv(named_tensor((2, 2), fill=0.0)), np.linalg.LinAlgError, "np.linalg.inv|'w'|Singular|lstsq"
    ),
    "np.linalg.matrix_power": Row(
        lambda: np.linalg.matrix_power(mg.tensor(np.eye(2), requires_grad=True), 0.5),
        TypeError,
        "matrix_power|integer|0.5|eigh",
    ),
    "np.linalg.solve": Row(
        lambda: np.linalg.solve(named_tensor((2, 2), fill=0.0), np.ones(2)), np.linalg.LinAlgError, "solve|'w'|lstsq"
    ),
    "np.linalg.inv of no square": Row(
        lambda: np.linalg.inv(named_tensor((2, 3))), np.linalg.LinAlgError, "np.linalg.inv|'w'|square|pinv"
    ),
    "np.linalg.det of a vector": Row(
        lambda: np.linalg.det(named_tensor()), np.linalg.LinAlgError, "np.linalg.det|'w'|pass a matrix"
    ),
    "np.linalg.cholesky": Row(
        lambda: np.linalg.cholesky(-named_tensor((2, 2))), np.linalg.LinAlgError, "cholesky|eigenvalues are positive"
    ),
    "np.max of nothing": Row(lambda: np.max(mg.tensor(np.ones(0), requires_grad=True)), ValueError, "np.max|empty"),
    "t * None": Row(lambda: t * None, TypeError, "multiply|None|pass a number"),
    "t * text": Row(lambda: t * "x", TypeError, "multiply|'x'|pass a number"),
    "t * objects": Row(lambda: t * np.array([1.0, "a", None], object), TypeError, "multiply|object|np.asarray"),
    "np.exp(None) of F": Row(lambda: F.sigmoid(None), TypeError, "sigmoid|None|numbers|np.asarray"),
    "F.relu(None)": Row(lambda: F.relu(None), TypeError, "relu|None|numbers|np.asarray"),
    "F.linear of a list": Row(lambda: F.linear([[1.0, "a"]], m.weight), TypeError, "linear|text|np.asarray"),
    "t.sum(dtype=text)": Row(lambda: t.sum(dtype="numbers"), TypeError, "np.sum|numbers|np.float32"),
    # Compiled functions
    "compile(3)": Row(lambda: mg.compile(3), TypeError, "mg.compile|function|got 3"),
    "compile(maxsize=)": Row(lambda: mg.compile(abs, maxsize=0), ValueError, "maxsize|positive|got 0"),
    "compile(backend=)": Row(lambda: mg.compile(abs, backend="cuda"), ValueError, "backend|'numba'|got 'cuda'"),
    "an error in a later call": Row(
        lambda: failing_later(), np.linalg.LinAlgError, "changes variables|around the call"
    ),
    "report before a call": Row(lambda: mg.compile(abs).report(), RuntimeError, "call the compiled function once"),
    "source before a call": Row(lambda: mg.compile(abs).source, RuntimeError, "call the compiled function once"),
    "save elsewhere": Row(lambda: mg.compile(abs).save("f.txt"), ValueError, "f.txt.py"),
    "static(array)": Row(lambda: mg.static(np.ones(3)), TypeError, "mg.static|hashable|shape (3,)|tolist"),
    "compiled of objects": Row(compiled(np.sum, np.array([None])), TypeError, "dtype object|np.asarray"),
    "compiled of a masked array": Row(compiled(np.sum, np.ma.ones(3)), TypeError, "a masked array|filled"),
    "compiled draw": Row(compiled(lambda x: x + RNG.normal(), np.ones(3)), TraceError, "random numbers|RNG|mg.anew"),
    "compiled draw with a name that changes": Row(
        compiled(drawn_in_a_loop, np.ones(3)), TraceError, "mg.anew|'scale'|another name"
    ),
    "compiled draw by a generator of its own": Row(
        compiled(drawn_by_its_own_generator, np.ones(3)), TraceError, "mg.anew|advances|make it outside"
    ),
    "compiled draw with a list that changes": Row(
        compiled(drawn_with_a_scale_that_changes, np.ones(3)), TraceError, "mg.anew|changed later|a copy"
    ),
    "compiled draw with a number that was set": Row(
        compiled(drawn_with_a_number_that_was_set, np.ones(3)), TraceError, "mg.anew|'own'|draw before"
    ),
    "compiled result with an object as a key": Row(
        compiled(lambda x: {object(): x}, np.ones(3)), TraceError, "dict|object as a key|return it"
    ),
    "compiled change of a read-only array": Row(
        compiled(lambda x: np.broadcast_to(x, (2, 3)).fill(0), np.ones(3)), ValueError, "read-only|np.broadcast_to|copy"
    ),
    "compiled errstate": Row(compiled(with_errstate, np.ones(3)), TraceError, "np.errstate()|around the call"),
    "compiled catch_warnings": Row(compiled(with_warnings, np.ones(3)), TraceError, "catch_warnings()|around the call"),
    "compiled backward twice": Row(backward_twice, RuntimeError, "backward()|retain_graph=True"),
    "compiled derivative of a step": Row(derivative_of_a_step, RuntimeError, "step|changes variables|detach()"),
    "compiled derivative too late": Row(derivative_too_late, RuntimeError, "was changed after the call|copy"),
    "compiled change of an argument": Row(
        compiled(lambda d: d.update(b=1.0), {"a": np.ones(3)}), TraceError, "dict|arguments|return the new value"
    ),
    "compiled thread": Row(compiled(with_thread, np.ones(3)), TraceError, "a thread|outside"),
    "compiled text": Row(compiled(lambda x: repr(x * 2), np.ones(3)), TraceError, "a text|returns"),
    "compiled text by a package": Row(
        compiled(lambda x: saferepr(x), np.ones(3)), TraceError, "string|return the value"
    ),
    "compiled attribute of arrays": Row(compiled(lambda x: x.strides, np.ones(3)), TraceError, "'strides'|np.where"),
    "compiled attribute that is missing": Row(
        compiled(lambda x: x.summ(), np.ones(3)), AttributeError, "a Tensor has no 'summ'|did you mean Tensor.sum"
    ),
    "compiled buffer": Row(compiled(lambda x: memoryview(x), np.ones(3)), TraceError, "memoryview|np.where"),
    "compiled number": Row(compiled(lambda x: memoryview(x), 2.0), TraceError, "memoryview.*not 'Tensor'|np.where"),
    "compiled generator": Row(compiled(lambda x: (v for v in [x]), np.ones(3)), TraceError, "generator|arrays"),
    "compiled hash": Row(compiled(lambda x: {x[0]: 1}, np.ones(3)), TraceError, "hash()|np.where"),
    "compiled write": Row(compiled(written_to, np.ones(3)), TraceError, "PLAIN_ARRAY|argument"),
    "compiled clock": Row(compiled(lambda x: x * time.time(), np.ones(3)), TraceError, "the clock|mg.anew"),
    "compiled date": Row(
        compiled(lambda x: x * datetime.datetime.now().year, np.ones(3)), TraceError, "the clock|mg.anew"
    ),
    "compiled captured clock": Row(
        compiled(lambda x, now=time.time: x * now(), np.ones(3)), TraceError, "the clock|mg.anew"
    ),
    "compiled captured eval": Row(
        compiled(lambda x, read=eval: x * read("2.0"), np.ones(3)), TraceError, "eval is captured|names"
    ),
    "compiled queue": Row(compiled(lambda x: x * QUEUE.qsize(), np.ones(3)), TraceError, "'QUEUE'|.qsize() outside"),
    "compiled eval": Row(compiled(lambda x: x * eval("2.0"), np.ones(3)), TraceError, "eval()"),
    "compiled state_dict": Row(compiled(lambda o: o.state_dict(), STEPPER), TraceError, "state_dict()|outside"),
    "compiled settings that change": Row(restless, RuntimeError, "SETTINGS|8 calls|mg.anew"),
    "compiled float()": Row(
        compiled(lambda x: float(x.sum()), np.ones(3)), TraceError, "float()|compiled function|value"
    ),
    "compiled mask": Row(compiled(lambda x: np.sort(x[x > 0]), np.ones(3)), TraceError, "a mask as an index|np.where"),
    "compiled mask in a tuple": Row(
        compiled(lambda x: x[x > 0, None], np.ones(3)), TraceError, "a mask as an index|np.where"
    ),
    "compiled assignment to a number": Row(
        compiled(lambda x: x.sum().fill(0), np.ones(3)), TypeError, "float64|item assignment|not an array"
    ),
    "compiled nonzero": Row(compiled(lambda x: np.nonzero(x)[0], np.ones(3)), TraceError, "nonzero|np.where"),
    "compiled repeat": Row(
        compiled(lambda x, n: np.repeat(x, n), np.ones(2), np.array([1, 2])), TraceError, "np.repeat|counts"
    ),
    "compiled bincount": Row(compiled(lambda i: np.bincount(i), np.array([0, 1])), TraceError, "bincount|minlength="),
    "compiled histogram": Row(
        compiled(lambda x: np.histogram_bin_edges(x, "auto"), np.ones(3)), TraceError, "histogram|number of the bins"
    ),
    "compiled add.at": Row(
        compiled(lambda x: np.logical_or.at(x, [0], 1.0), np.ones(3)), TraceError, "np.logical_or.at()|x[index] = ..."
    ),
    "loops out of bounds": Row(lambda: at(5, 3), IndexError, "out of bounds|n - 1"),
    # Names of parts, explanations, checks
    "scope(3)": Row(lambda: mg.scope(3), TypeError, "mg.scope|str|got 3"),
    "explain(3)": Row(lambda: mg.explain(3), TypeError, "explain|Tensor, a Module or a viz.Monitor|got int"),
    "explain(t, 3)": Row(lambda: mg.explain(t, 3), TypeError, "explain|result|got int"),
    "check_grads(modes)": Row(
        lambda: mg.testing.check_grads(np.sin, 1.0, modes=("back",)), ValueError, "check_grads|'rev'|got ('back',)"
    ),
    "check_grads(order)": Row(lambda: mg.testing.check_grads(np.sin, 1.0, order="a"), ValueError, "order|a"),
    "check_grads(1)": Row(lambda: mg.testing.check_grads(np.sin, 1), TypeError, "check_grads|argument 0|int64|float"),
    "check_grads of a wrong rule": Row(
        lambda: mg.testing.check_grads(with_rule(lambda g, out, x: 5 * g), np.ones(2), modes=("rev",)),
        AssertionError,
        "check_grads|finite differences|argument 0",
    ),
    # Losses and layers
    "linear of shapes": Row(lambda: F.linear(np.ones((2, 4)), m.weight), ValueError, "linear|(2, 4)|(2, 3)"),
    "linear of a bias": Row(lambda: F.linear(np.ones(3), m.weight, np.ones(3)), ValueError, "linear|bias|(2,)"),
    "mse_loss of shapes": Row(lambda: F.mse_loss(t, np.ones((3, 1))), ValueError, "mse_loss|(3,)|(3, 1)|reshape"),
    "mse_loss(reduction)": Row(lambda: F.mse_loss(t, t, "average"), ValueError, "mse_loss|reduction|'mean'|'average'"),
    "MSELoss(reduction)": Row(lambda: nn.MSELoss("average"), ValueError, "MSELoss|reduction|'mean'|'average'"),
    "sse_loss of integers": Row(lambda: F.sse_loss(np.ones(3, int), np.ones(3, int)), TypeError, "sse_loss|int64"),
    "cross_entropy of integers": Row(
        lambda: F.cross_entropy(np.ones((2, 3), int), np.zeros(2, int)), TypeError, "cross_entropy|logits|int64"
    ),
    "cross_entropy of floats": Row(
        lambda: F.cross_entropy(np.ones((2, 3)), np.zeros(2)), TypeError, "cross_entropy|labels|integers|float64|astype"
    ),
    "cross_entropy of one-hot rows": Row(
        lambda: F.cross_entropy(np.ones((2, 3)), np.eye(2, 3, dtype=bool)), TypeError, "cross_entropy|bool|(2, 3)"
    ),
    "cross_entropy of one-hot integers": Row(
        lambda: F.cross_entropy(np.ones((2, 3)), np.eye(3, dtype=int)[:2]), ValueError, "cross_entropy|y.argmax(1)"
    ),
    "nll_loss of floats": Row(
        lambda: F.nll_loss(np.ones((2, 3)), np.ones(2)),
        TypeError,
        "nll_loss|float64; convert them with labels.astype(int)",
    ),
    "cross_entropy of shapes": Row(
        lambda: F.cross_entropy(np.ones((2, 3)), np.zeros(3, int)), ValueError, "cross_entropy|(2, 3)|(3,)|ravel"
    ),
    "cross_entropy of classes": Row(
        lambda: F.cross_entropy(np.ones((2, 3)), np.array([0, 3])), ValueError, "cross_entropy|from 0 to 2|3"
    ),
    "init of an rng": Row(lambda: nn.Linear(1, 1, rng=3), TypeError, "rng|Generator|default_rng"),
    "init of an array": Row(lambda: nn.init.zeros_(np.ones(3)), TypeError, "zeros_|a Tensor|nn.Parameter|ndarray"),
    "a Tensor of a huge integer": Row(
        lambda: mg.tensor(2**70), TypeError, "mg.tensor|object|np.asarray(x, dtype=float)"
    ),
    "a Tensor of dtype object": Row(lambda: mg.tensor([1.0], dtype=object), TypeError, "mg.tensor|dtype object"),
    "a Tensor of text by its dtype": Row(lambda: mg.tensor([1.0], dtype="U3"), TypeError, "mg.tensor|dtype <U3|text"),
    "a plain array += a Tensor": Row(
        lambda: np.zeros(3).__iadd__(P(1, 2, 3)), TypeError, "add: out= can't be recorded|array = array + t"
    ),
    **{
        f"{method}({keyword}=)": Row(call, TypeError, f"{method} takes no keyword {keyword!r}|leave it out")
        for method, keyword, call in (
            ("zero_grad", "set_to_none", lambda: optim.SGD([P(1)], 0.1).zero_grad(set_to_none=True)),
            ("parameters", "recurse", lambda: m.parameters(recurse=False)),
            ("named_parameters", "prefix", lambda: m.named_parameters(prefix="net")),
            ("register_buffer", "persistent", lambda: m.register_buffer("b", np.ones(2), persistent=False)),
            ("load_state_dict", "assign", lambda: m.load_state_dict({}, assign=True)),
        )
    },
    "flatten from an axis": Row(lambda: t.flatten(1), TypeError, "order must be|'C'|'F'|got 1|reshape()"),
    "np.add.reduce along no axis": Row(
        lambda: np.add.reduce(t, axis=5),
        np.exceptions.AxisError,
        "np.add.reduce|axis 5 is out of bounds|axes run from 0",
    ),
    "np.maximum.accumulate along no axis": Row(
        lambda: np.maximum.accumulate(t, axis=5),
        np.exceptions.AxisError,
        "np.maximum.accumulate|axis 5|axes run from 0",
    ),
    "batch norm in training inside vmap": Row(
        lambda: mg.vmap(nn.BatchNorm1d(2))(np.ones((3, 4, 2))),
        TypeError,
        "batch_norm|vmap|running statistics|eval()|track_running_stats=False",
    ),
    "init of a number": Row(lambda: nn.init.normal_(3.0), TypeError, "normal_|a Tensor|nn.Parameter|3.0"),
    "a frozen parameter": Row(
        lambda: nn.Parameter([1.0], requires_grad=False),
        TypeError,
        "nn.Parameter|requires_grad|leave it out",
    ),
    "init of a gain": Row(lambda: nn.init.calculate_gain("gelu"), ValueError, "gelu|leaky_relu"),
    "init of a vector": Row(lambda: nn.init.xavier_uniform_(P(1, 2)), ValueError, "(2,)|fan|nn.init.uniform_"),
    "init of a mode": Row(lambda: nn.init.kaiming_normal_(square, mode="fan"), ValueError, "mode|'fan_in'|'fan'"),
    "Linear(0, 1)": Row(lambda: nn.Linear(0, 1), ValueError, "Linear|in_features|positive|0"),
    "GRU of features": Row(lambda: nn.GRU(3, 4)(np.ones((5, 2, 2))), ValueError, "GRU|(time, batch, 3)|(5, 2, 2)"),
    "GRU of a state": Row(
        lambda: nn.GRU(3, 4)(np.ones((5, 2, 3)), np.ones((2, 4))), ValueError, "GRU|initial state|(1, 2, 4)|(2, 4)"
    ),
    "LSTM of no pair": Row(
        lambda: nn.LSTM(3, 4)(np.ones((5, 2, 3)), np.ones((1, 2, 4))), TypeError, "LSTM|a pair (h, c)|ndarray"
    ),
    "RNN(nonlinearity=)": Row(lambda: nn.RNN(3, 4, nonlinearity="gelu"), ValueError, "RNN|'tanh' or 'relu'|'gelu'"),
    "attention of shapes": Row(
        lambda: F.scaled_dot_product_attention(square, square, P(1, 2)), ValueError, "(..., queries, features)|(2,)"
    ),
    "attention of a mask": Row(
        lambda: F.scaled_dot_product_attention(square, square, square, np.ones((2, 3), bool)),
        ValueError,
        "scaled_dot_product_attention|attn_mask must broadcast to|(2, 2)|(2, 3)",
    ),
    "MultiheadAttention of a mask": Row(
        lambda: nn.MultiheadAttention(2, 1)(square, square, square, key_padding_mask=np.ones(2, int)),
        TypeError,
        "MultiheadAttention|key_padding_mask must be boolean|int64|mask != 0",
    ),
    "MultiheadAttention of shapes": Row(
        lambda: nn.MultiheadAttention(2, 1)(square, square, np.ones((2, 3))), ValueError, "MultiheadAttention|(2, 3)"
    ),
    "MultiheadAttention(8, 3)": Row(lambda: nn.MultiheadAttention(8, 3), ValueError, "embed_dim|num_heads|8 and 3"),
    "TransformerEncoderLayer(activation=)": Row(
        lambda: nn.TransformerEncoderLayer(8, 2, activation="swish"), ValueError, "'relu', 'gelu' or a function|'swish'"
    ),
    "Sequential of a class": Row(lambda: nn.Sequential(nn.ReLU), TypeError, "Sequential|ReLU|nn.ReLU()"),
    "a forgotten forward": Row(lambda: Empty()(1.0), NotImplementedError, "Empty|forward()"),
    "a name with a dot": Row(lambda: setattr(Empty(), "a.b", nn.Parameter(1.0)), ValueError, "a.b|dot"),
    "a name of the class": Row(
        lambda: Empty().register_buffer("forward", np.ones(1)),
        ValueError,
        "forward|Empty|the class has such an attribute",
    ),
    "a parameter that is an array": Row(
        lambda: Empty().register_parameter("w", np.ones(1)), TypeError, "'w'|leaf Tensor|nn.Parameter"
    ),
    "a state that doesn't fit": Row(
        lambda: m.load_state_dict({"weight": np.ones((3, 3))}), ValueError, "Linear|unchanged|weight|bias"
    ),
    "a state with two values of one parameter": Row(
        lambda: nn.Sequential(m, m).load_state_dict(
            {"0.weight": np.ones((2, 3)), "1.weight": np.ones((2, 3)) * 2}, False
        ),
        ValueError,
        "Sequential|0.weight, 1.weight|one array|leave out all but one",
    ),
    "a parameter replaced": Row(assigned(nn.Linear(3, 2), "weight", t * 1.0), TypeError, "weight|parameter|.data = "),
    # Convolution and pooling
    "conv2d of channels": Row(
        lambda: F.conv2d(IMAGES, np.ones((4, 2, 3, 3))),
        ValueError,
        "conv2d|must have shape (batch, 2, ...)|(2, 3, 5, 5)|(4, 2, 3, 3)|groups",
    ),
    "conv2d of axes": Row(lambda: F.conv2d(np.ones((5, 5)), KERNELS), ValueError, "conv2d|channels|(5, 5)|x[None]"),
    "conv2d of a weight": Row(lambda: F.conv2d(IMAGES, KERNELS[0]), ValueError, "conv2d|weight|4 axes|(3, 3, 3)"),
    "conv2d(stride=0)": Row(lambda: F.conv2d(IMAGES, KERNELS, stride=0), ValueError, "conv2d|stride|positive|0"),
    "conv2d(padding=-1)": Row(lambda: F.conv2d(IMAGES, KERNELS, padding=-1), ValueError, "conv2d|padding|negative|-1"),
    "conv2d(padding='full')": Row(
        lambda: F.conv2d(IMAGES, KERNELS, padding="full"), ValueError, "conv2d|padding|'same'|'full'"
    ),
    "conv2d(padding='same')": Row(
        lambda: F.conv2d(IMAGES, KERNELS, padding="same", stride=2), ValueError, "conv2d|stride=1|(2, 2)|number"
    ),
    "conv2d(groups=3)": Row(
        lambda: F.conv2d(IMAGES, KERNELS, groups=3), ValueError, "conv2d|groups=3|divide|(4, 3, 3, 3)"
    ),
    "conv2d of a bias": Row(lambda: F.conv2d(IMAGES, KERNELS, np.ones(3)), ValueError, "conv2d|bias|(4,)|(3,)"),
    "conv2d of a large kernel": Row(
        lambda: F.conv2d(IMAGES, KERNELS, dilation=3), ValueError, "conv2d|(7, 7)|(2, 3, 5, 5)|padding"
    ),
    "conv_transpose2d(output_padding=)": Row(
        lambda: F.conv_transpose2d(IMAGES, KERNELS[:3], output_padding=1), ValueError, "output_padding|stride|1"
    ),
    "conv_transpose2d(padding=)": Row(
        lambda: F.conv_transpose2d(IMAGES, KERNELS[:3], padding=4),
        ValueError,
        "conv_transpose2d|padding=4|(2, 3, 5, 5)",
    ),
    "Conv2d(groups=2)": Row(lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "Conv2d|groups=2|in_channels|3 and 4"),
    "max_pool2d(padding=2)": Row(lambda: F.max_pool2d(IMAGES, 2, padding=2), ValueError, "max_pool2d|half|(2, 2)|2"),
    "MaxPool2d()": Row(
        lambda: nn.MaxPool2d(), TypeError, "MaxPool2d takes (kernel_size, stride=None|but the call lacks"
    ),
    "MaxPool2d(-1)": Row(lambda: nn.MaxPool2d(-1), ValueError, "MaxPool2d|kernel_size|positive|-1"),
    "MaxPool2d(x)": Row(lambda: nn.MaxPool2d(IMAGES), TypeError, "MaxPool2d|kernel_size|ndarray|call it"),
    "adaptive_avg_pool1d of nothing": Row(
        lambda: F.adaptive_avg_pool1d(np.ones((3, 0)), 1), ValueError, "adaptive_avg_pool1d|(1, 3, 0)|average"
    ),
    "Flatten of a vector": Row(lambda: nn.Flatten()(np.ones(3)), ValueError, "Flatten|(3,)|start_dim"),
    "Flatten(1.5)": Row(lambda: nn.Flatten(1.5), TypeError, "Flatten|start_dim|integer|1.5"),
    # Optimizers
    "SGD(t)": Row(lambda: optim.SGD(t, lr=0.1), TypeError, "SGD|[w]"),
    "SGD(3)": Row(lambda: optim.SGD(3, lr=0.1), TypeError, "SGD|model.parameters()"),
    "SGD([])": Row(lambda: optim.SGD([], lr=0.1), ValueError, "SGD|at least one parameter|empty"),
    "SGD of arrays": Row(lambda: optim.SGD([np.ones(3)], lr=0.1), TypeError, "SGD|parameter 0|ndarray|nn.Parameter"),
    "SGD of a result": Row(lambda: optim.SGD([t * 2], lr=0.1), TypeError, "SGD|(3,)|leaf"),
    "SGD of constants": Row(lambda: optim.SGD([mg.tensor(1.0)], lr=0.1), ValueError, "SGD|requires_grad"),
    "SGD of one twice": Row(lambda: optim.SGD([t, t], lr=0.1), ValueError, "SGD|twice"),
    "SGD(lr=-1)": Row(lambda: optim.SGD([t], lr=-1), ValueError, "lr|-1"),
    "SGD(momentum=)": Row(lambda: optim.SGD([t], lr=0.1, momentum=-1), ValueError, "momentum|-1"),
    "SGD(nesterov=)": Row(lambda: optim.SGD([t], lr=0.1, nesterov=True), ValueError, "nesterov|momentum=0.9"),
    "a step of a wrong gradient": Row(stepped(np.ones(3)), ValueError, "gradient of parameter 0|(3,)|(2,)"),
    "a state of another optimizer": Row(
        lambda: optim.SGD([t], lr=0.1).load_state_dict(optim.Adam([t]).state_dict()),
        ValueError,
        "SGD|1 parameters with dampening, lr, maximize, momentum, nesterov, weight_decay|amsgrad",
    ),
    "a state of another formula": Row(
        lambda: loaded_otherwise(optim.SGD([P(1)], lr=0.1), exp_avg=np.ones(1)), ValueError, "SGD|momentum_buffer"
    ),
    "a state of other parameters": Row(
        lambda: loaded_otherwise(optim.Adam([P(1)]), exp_avg=np.ones(2)), ValueError, "exp_avg|(2,)|(1,)"
    ),
    "a group without parameters": Row(
        lambda: optim.SGD([t], lr=0.1).add_param_group({"lr": 1.0}), TypeError, "SGD|params|{'lr': 1.0}"
    ),
    "a group with a stray setting": Row(
        lambda: optim.SGD([{"params": [t], "rate": 1.0}], lr=0.1), KeyError, "SGD|'rate'|lr, momentum"
    ),
    "a setting that groups don't share": Row(
        lambda: optim.SGD([{"params": [P(1)], "lr": 1.0}, {"params": [P(1)]}], lr=0.1).lr,
        ValueError,
        "lr|param_groups[i]['lr']",
    ),
    "compiled momentum": Row(
        compiled(lambda o: setattr(o, "momentum", 0.5), STEPPER), TraceError, "'momentum'|SGD|outside"
    ),
    "compiled add_param_group": Row(
        compiled(lambda o: o.add_param_group({"params": [P(1)]}), STEPPER), TraceError, "add_param_group()|outside"
    ),
    "compiled schedule": Row(
        compiled(lambda s: s.step(), lr_scheduler.ExponentialLR(STEPPER, 0.9)),
        TraceError,
        "a schedule's step()|outside",
    ),
    "compiled minimize": Row(
        compiled(lambda x: optim.minimize(np.sum, x), np.ones(2)), TraceError, "minimize()|outside"
    ),
    "a formula without a step": Row(
        lambda: own_formula(lambda s, w, g, t: s.lr).step(), TypeError, "formula|step|the gradient"
    ),
    "a formula with a choice": Row(
        lambda: own_formula(lambda s, w, g, t: g if t > 1 else w).step(), TypeError, "formula|branch|setting"
    ),
    "StepLR(model)": Row(lambda: lr_scheduler.StepLR(m, 3), TypeError, "StepLR|an optimizer|Linear"),
    "StepLR(step_size=0)": Row(
        lambda: lr_scheduler.StepLR(STEPPER, 0), ValueError, "StepLR: step_size|positive integer|0"
    ),
    "MultiStepLR(milestones)": Row(
        lambda: lr_scheduler.MultiStepLR(STEPPER, [3, 1]), ValueError, "MultiStepLR: milestones|increasing|[3, 1]"
    ),
    "LambdaLR(0.5)": Row(lambda: lr_scheduler.LambdaLR(STEPPER, 0.5), TypeError, "lr_lambda|function|0.5"),
    "ChainedScheduler([3])": Row(lambda: lr_scheduler.ChainedScheduler([3]), ValueError, "ChainedScheduler|[3]"),
    "ChainedScheduler([])": Row(
        lambda: lr_scheduler.ChainedScheduler([]), ValueError, "ChainedScheduler|schedules of one optimizer"
    ),
    "SequentialLR(milestones)": Row(
        lambda: lr_scheduler.SequentialLR(STEPPER, [lr_scheduler.StepLR(STEPPER, 1)], [3]),
        ValueError,
        "SequentialLR|milestone|1 schedules|[3]",
    ),
    "OneCycleLR of Adagrad": Row(
        lambda: lr_scheduler.OneCycleLR(optim.Adagrad([t]), 0.1, 10), ValueError, "Adagrad|cycle_momentum=False"
    ),
    "OneCycleLR at its end": Row(lambda: cycled(11), ValueError, "OneCycleLR|total_steps=10"),
    "OneCycleLR(anneal_strategy=)": Row(
        lambda: lr_scheduler.OneCycleLR(STEPPER, 0.1, 10, anneal_strategy="sine"),
        ValueError,
        "anneal_strategy|'cos' or 'linear'|'sine'",
    ),
    "ReduceLROnPlateau.step(None)": Row(
        lambda: lr_scheduler.ReduceLROnPlateau(STEPPER).step(None), TypeError, "ReduceLROnPlateau|metrics|None"
    ),
    "a schedule's load_state_dict": Row(
        lambda: lr_scheduler.StepLR(STEPPER, 3).load_state_dict({"gamma": 1.0}), ValueError, "StepLR|step_size|gamma"
    ),
    "a chain with a schedule that needs a metric": Row(
        lambda: lr_scheduler.ChainedScheduler([lr_scheduler.ReduceLROnPlateau(STEPPER)]),
        ValueError,
        "ChainedScheduler: ReduceLROnPlateau needs a metric|step(metric)",
    ),
    "LambdaLR(text)": Row(
        lambda: lr_scheduler.LambdaLR(optim.SGD([P(1)], lr=0.1), lambda epoch: "half"),
        TypeError,
        "lr_lambda|number|'half'",
    ),
    "OneCycleLR(epochs=)": Row(
        lambda: lr_scheduler.OneCycleLR(STEPPER, 0.1, epochs=3, steps_per_epoch=4),
        TypeError,
        "OneCycleLR|total_steps=epochs * steps_per_epoch",
    ),
    "Adam(foreach=)": Row(lambda: optim.Adam([t], foreach=True), TypeError, "foreach=True; leave it out"),
    "a chain's state of one schedule": Row(
        lambda: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(STEPPER, 3)]).load_state_dict(
            {"last_epoch": 0, "base_lrs": [0.1], "schedulers": []}
        ),
        ValueError,
        "ChainedScheduler|states of 1 schedules|[]",
    ),
    "clip_grad_norm_(max_norm=0)": Row(lambda: optim.clip_grad_norm_([t], 0), ValueError, "max_norm|greater than 0|0"),
    "minimize(method=)": Row(lambda: optim.minimize(np.sum, t, method="GD"), ValueError, "method|'L-BFGS-B'|'GD'"),
    "minimize(jac=)": Row(lambda: optim.minimize(np.sum, t, jac=True), TypeError, "minimize: jac must not be passed"),
    "minimize of integers": Row(
        lambda: optim.minimize(np.sum, {"n": np.arange(3)}), TypeError, "minimize: n|floating-point|int64|args"
    ),
    "minimize by a parameter twice": Row(
        lambda: optim.minimize(np.sum, {"a": t, "b": [t]}), ValueError, "minimize|twice|once"
    ),
    "minimize(3)": Row(lambda: optim.minimize(3, t), TypeError, "minimize: loss|function|3"),
    "clip_grad_norm_(module)": Row(lambda: optim.clip_grad_norm_(m, 1.0), TypeError, "clip_grad_norm_|parameters()"),
    "clip_grad_value_(arrays)": Row(
        lambda: optim.clip_grad_value_([np.ones(2)], 1.0), TypeError, "clip_grad_value_|array([1., 1.])|parameters()"
    ),
    "an optimizer without a formula": Row(
        lambda: own_formula(optim.Optimizer.formula).step(), NotImplementedError, "formula(s, w, g, t)|step"
    ),
    "a formula with a sum": Row(
        lambda: own_formula(lambda s, w, g, t: g * np.sum(g)).step(), TypeError, "formula|element by element|np.sqrt"
    ),
    "a formula with a norm": Row(
        lambda: own_formula(lambda s, w, g, t: g / np.linalg.norm(g)).step(), TypeError, "formula|element by element"
    ),
    "minimize of nothing": Row(lambda: optim.minimize(np.sum, []), ValueError, "minimize|at least one array|[]"),
    # Pictures
    "draw inside compile": Row(
        lambda: mg.compile(lambda x: viz.draw(np.sin(x)))(np.ones(2)), ValueError, "inside mg.compile|isn't compiled"
    ),
    "draw(array)": Row(lambda: viz.draw(np.ones(3)), TypeError, "Tensor|an array of shape (3,)|requires_grad"),
    "draw(view=)": Row(lambda: picture(view="up"), ValueError, "view|forward, backward, both|'up'"),
    "draw(rankdir=)": Row(lambda: picture(rankdir="up"), ValueError, "rankdir|TB, LR|'up'"),
    "draw(show=)": Row(lambda: picture(show=["colours"]), ValueError, "show|shapes|'colours'"),
    "draw(max_nodes=)": Row(lambda: picture(max_nodes=1), ValueError, "max_nodes|got 1"),
    "draw(depth=)": Row(lambda: picture(depth=-1), ValueError, "depth|got -1"),
    "draw(depth=text)": Row(lambda: picture(depth="all"), ValueError, "depth|got 'all'"),
    "draw(max_nodes=text)": Row(lambda: picture(max_nodes="all"), ValueError, "max_nodes|got 'all'"),
    "draw(an error without a Tensor)": Row(
        lambda: viz.draw(ValueError("text")), ValueError, "no Tensor|ValueError|except Exception as error"
    ),
    "animate to a text": Row(lambda: viz.animate(t, "film.txt"), ValueError, "viz.animate|film.txt|.gif, .mp4, .html"),
    "animate(seconds=0)": Row(film(lambda path: viz.animate(t * 2, path, seconds=0)), ValueError, "seconds|positive|0"),
    "animate a variable": Row(film(lambda path: viz.animate(P(1), path)), ValueError, "viz.animate|before backward()"),
    "no ffmpeg": Row(without_ffmpeg, FileNotFoundError, "film.mp4|https://ffmpeg.org|.gif"),
    "ffmpeg that fails": Row(failing_ffmpeg, RuntimeError, "film.mp4|no such codec|.gif or an .html"),
    "no pillow": Row(
        without("PIL", lambda: frames.write_film(Path("film.gif"), [], [], [])), ImportError, "pillow|pip install|.html"
    ),
    "animate_training of nothing": Row(
        film(lambda path: training_film(path, states=[])), ValueError, "history is empty|model.state_dict()"
    ),
    "animate_training of a function": Row(
        film(lambda path: training_film(path, model=np.tanh)), TypeError, "model must be an nn.Module|ufunc"
    ),
    "animate_training(seconds=-1)": Row(
        film(lambda path: training_film(path, seconds=-1)), ValueError, "seconds must be positive|-1"
    ),
    "animate_training of three variables": Row(
        film(lambda path: training_film(path, x=np.zeros((3, 3)))), ValueError, "(n, 1) or (n, 2)|(3, 3)|(3,)"
    ),
    "animate_training with too many losses": Row(
        film(lambda path: training_film(path, losses=[1, 2, 3])), ValueError, "losses|as many as the states, 1|got 3"
    ),
    "animate_training of a model of other rows": Row(
        film(lambda path: training_film(path, model=Taller())), ValueError, "one row for each row of x|shape"
    ),
    "animate_training of two outputs": Row(
        film(lambda path: training_film(path, model=nn.Linear(1, 2))), ValueError, "one number for each number of x|2"
    ),
    "animate_training of three classes": Row(
        film(lambda path: training_film(path, model=nn.Linear(2, 2), x=np.zeros((3, 2)), y=[0, 1, 2])),
        ValueError,
        "at most 2 classes|got 3",
    ),
    "Monitor(function)": Row(lambda: viz.Monitor(np.tanh), TypeError, "viz.Monitor|nn.Module|ufunc"),
    "plot_monitor(3)": Row(lambda: viz.plot_monitor(3), TypeError, "plot_monitor|viz.Monitor|int"),
    "plot_monitor of something": Row(
        lambda: viz.plot_monitor(viz.Monitor(nn.Tanh()), "norms"), ValueError, "activations, gradients|'norms'"
    ),
    "plot_monitor of another layer": Row(
        lambda: viz.plot_monitor(viz.Monitor(nn.Linear(1, 1)), "weights", only=["w"]), ValueError, "'w'|weight, bias"
    ),
    "plot_monitor before a step": Row(
        lambda: viz.plot_monitor(viz.Monitor(nn.Linear(1, 1))), ValueError, "no activations|monitor.step()"
    ),
    "draw_network(function)": Row(lambda: viz.draw_network(np.tanh, [1.0]), TypeError, "draw_network|nn.Module|ufunc"),
    "draw_network(most=1)": Row(
        lambda: viz.draw_network(nn.Linear(1, 1), [1.0], most=1), ValueError, "most must be at least 2|got 1"
    ),
    "draw_network of a convolution": Row(
        lambda: viz.draw_network(nn.Conv1d(1, 1, 2), np.ones((1, 1, 5))), ValueError, "Conv1d|nn.Linear|viz.draw"
    ),
    "draw_network of nothing": Row(
        lambda: viz.draw_network(nn.Linear(2, 1), np.ones((0, 2))), ValueError, "at least one observation|(0, 2)"
    ),
    "draw_network of a recurrent layer": Row(
        lambda: viz.draw_network(nn.GRU(2, 3), np.ones((4, 1, 2))), ValueError, "GRU|nn.Linear|viz.draw"
    ),
    "draw_network without neurons": Row(
        lambda: viz.draw_network(nn.Tanh(), [1.0]), ValueError, "no nn.Linear|use viz.draw"
    ),
    "draw_weights(array)": Row(lambda: viz.draw_weights(np.ones(3)), TypeError, "draw_weights|nn.Module|ndarray"),
    "draw_weights of an activation": Row(lambda: viz.draw_weights(nn.Tanh()), ValueError, "Tanh|no linear|viz.draw"),
    "draw_weights(most=0)": Row(
        lambda: viz.draw_weights(nn.Linear(1, 1), most=0), ValueError, "draw_weights|most|at least 1|got 0"
    ),
    "draw_weights of 5 features": Row(
        lambda: viz.draw_weights(nn.Linear(5, 1)), ValueError, "5 features|(2, 2)|shape=(height, width)"
    ),
    "compare three": Row(lambda: viz.compare(t, t, ("a", "b", "c")), ValueError, "labels must be two|got 3"),
    "compare(rtol=text)": Row(lambda: viz.compare(t, t, rtol="a"), ValueError, "rtol must be 0 or more|'a'"),
    "compare what has changed": Row(changed_since, ValueError, "'w' was changed|'first'|copy.deepcopy(model)"),
    "profile(3)": Row(lambda: viz.profile(3), TypeError, "viz.profile|a function|int"),
    "profile(repeat=0)": Row(
        lambda: viz.profile(np.sum, repeat=0), ValueError, "number of timed runs|must be at least 1|0"
    ),
    "profile of an array": Row(
        lambda: viz.profile(lambda: np.ones(3)), TypeError, "viz.profile|ndarray|requires_grad=True"
    ),
    "draw(style=)": Row(lambda: picture(style="poster"), ValueError, "style|page, slide|'poster'"),
    "save(dpi=)": Row(lambda: viz.save(t, "g.svg", dpi=300), TypeError, "viz.save|'dpi'|viz.draw|rankdir"),
    "save(json, show=)": Row(lambda: viz.save(t, "g.json", show="rules"), TypeError, "'show'|viz.to_json|indent"),
    "path(dpi=)": Row(lambda: viz.path(t, t, dpi=300), TypeError, "viz.path|'dpi'"),
    "mermaid(rankdir=)": Row(lambda: viz.mermaid(t, rankdir="up"), ValueError, "rankdir|TB, LR|'up'"),
    "to_json(view=)": Row(lambda: viz.to_json(t, view="up"), ValueError, "view|forward|'up'"),
    "path(to=3)": Row(lambda: viz.path(t * 2, to=3), TypeError, "to=|Tensor|int"),
    "path(to=another)": Row(lambda: viz.path((t * 2).sum(), to=P(1)), ValueError, "(1,)|computed from"),
    "path of a leaf": Row(lambda: viz.path(P(1, 2), to=P(1)), ValueError, "(1,)|computed from"),
    "save to a text": Row(lambda: viz.save(t, "graph.txt"), ValueError, "graph.txt|.svg"),
    "save a drawing as JSON": Row(lambda: viz.save(picture(), "graph.json"), TypeError, ".json|Tensor itself"),
    "save a drawing otherwise": Row(
        lambda: viz.save(picture(), "graph.svg", view="both"), TypeError, "view|finished drawing|viz.draw()"
    ),
    "explore to a text": Row(lambda: viz.explore(t, "page.txt"), ValueError, "page.txt|.html"),
    # Plots
    "plot_history({})": Row(lambda: viz.plot_history({}), ValueError, "plot_history|empty|losses"),
    "plot_history(log_x=True) of epoch 0": Row(
        lambda: viz.plot_history({0: 1.0, 2: 3.0}, log_x=True), ValueError, "plot_history|log_x|above 0"
    ),
    "plot_history([])": Row(lambda: viz.plot_history([]), ValueError, "empty|at least one"),
    "plot_history(matrix)": Row(lambda: viz.plot_history(np.ones((2, 2))), ValueError, "each step|(2, 2)"),
    "plot_history(smooth=)": Row(lambda: viz.plot_history([1.0], smooth=1), ValueError, "smooth|less than 1|got 1"),
    "plot_history(text)": Row(lambda: viz.plot_history(["a"]), ValueError, "real numbers|each step"),
    "plot_fit of NaN": Row(lambda: viz.plot_fit([math.nan], [1.0], [1.0]), ValueError, "plot_fit|finite"),
    "plot_fit of text": Row(lambda: viz.plot_fit(["a"], [1.0], [1.0]), ValueError, "plot_fit|real numbers"),
    "plot_fit of two variables": Row(lambda: viz.plot_fit(np.ones((3, 2)), t, t), ValueError, "plot_fit|(3, 2)"),
    "plot_fit of lengths": Row(lambda: viz.plot_fit([1.0, 2.0], [1.0], [1.0]), ValueError, "plot_fit|2 numbers|got 1"),
    "plot_surface(steps=)": Row(lambda: plane(steps=1), ValueError, "plot_surface|steps|got 1"),
    "plot_surface()": Row(lambda: plane(at=None), ValueError, "plot_surface|path|at="),
    "plot_surface of shapes": Row(
        lambda: plane(directions=(np.ones(3), np.ones(2))), ValueError, "plot_surface|shapes|(3,)"
    ),
    "plot_surface of names": Row(
        lambda: plane(at={"a": np.ones(2)}, directions=({"b": np.ones(2)},) * 2, loss=lambda w: np.sum(w["a"])),
        ValueError,
        "plot_surface|lacks|a",
    ),
    "plot_surface of text": Row(
        lambda: plane(directions=(np.array(["a", "b"]), np.ones(2))), ValueError, "plot_surface|real numbers"
    ),
    "plot_surface of a vector": Row(lambda: plane(loss=lambda w: w), ValueError, "plot_surface|one real number|(2,)"),
    "plot_surface of one number": Row(lambda: plane(at=np.ones(1)), ValueError, "plot_surface|two parameters|1"),
    "plot_surface(directions=)": Row(lambda: plane(directions=(np.ones(2),)), ValueError, "directions|two|1"),
    "plot_surface of a line": Row(lambda: plane(directions=(np.ones(2),) * 2), ValueError, "directions|no plane"),
    "plot_surface of a point": Row(
        lambda: plane(path=[np.ones(3), np.ones(3)], at=None), ValueError, "path doesn't move|state_dict()"
    ),
    "plot_surface of a straight path": Row(
        lambda: plane(path=[np.zeros(3), np.ones(3)], at=None, rng=None), ValueError, "directions=|rng="
    ),
    "plot_surface(log=)": Row(lambda: plane(loss=lambda w: -np.sum(w**2), log=True), ValueError, "log=False"),
    "gradient_norms(3)": Row(lambda: viz.gradient_norms([3]), TypeError, "gradient_norms|int|model"),
    "plot_gradients(3)": Row(lambda: viz.plot_gradients([3]), ValueError, "viz.gradient_norms|int"),
    "plot_gradients([])": Row(lambda: viz.plot_gradients([]), ValueError, "no norms|viz.gradient_norms"),
    "plot_gradients of lengths": Row(
        lambda: viz.plot_gradients({"a": [1.0], "b": [1.0, 2.0]}), ValueError, "'a'|1 norms|2"
    ),
    "plot_gradients of a negative norm": Row(lambda: viz.plot_gradients({"a": [-1.0]}), ValueError, "'a'|negative"),
    "plot_gradients of text": Row(
        lambda: viz.plot_gradients({"a": ["b"]}), ValueError, "'a'|real numbers, one for each step"
    ),
}


def ruled(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make a function an operation with a rule."""
    made = mg.primitive(function)
    mg.defvjp(made, lambda g, out, x: g)
    return made


RULES = {
    "np.diff(axis=)": Row(lambda: np.diff(square, axis=2), np.exceptions.AxisError, "np.diff|axis 2|dimension 2"),
    "np.var(ddof=, correction=)": Row(
        lambda: np.var(t, ddof=2, correction=1), ValueError, "var|ddof=2 or correction=1|one thing"
    ),
    "np.polyval of a poly1d": Row(lambda: np.polyval(t, np.poly1d([1, 2])), TypeError, "polyval|poly1d|x.coeffs"),
    "np.place without values": Row(lambda: np.place(P(3) * 1, [True] * 3, []), ValueError, "place|at least one value"),
    "np.average of a number": Row(lambda: np.average(t, weights=2.0), ValueError, "average|(3,)|got shape ()"),
    "np.interp of dates": Row(
        lambda: np.interp(t, np.array(["2020", "2021"], "M8[Y]"), [0, 1]), TypeError, "interp|datetime64|subtract"
    ),
    "np.kron of a masked array": Row(lambda: np.kron(np.ma.ones(3), t), TypeError, "kron|MaskedArray|filled(0)"),
    "np.modf(where=)": Row(lambda: np.modf(t, where=[True] * 3), TypeError, "np.modf|where=|np.where"),
    "np.exp(dtype=int)": Row(lambda: np.exp(t, dtype=int), TypeError, "exp"),
    "a primitive that returns text": Row(
        lambda: ruled(lambda x: "text")(t), TypeError, "must return an array|'text' of type str"
    ),
    "a primitive of a hidden Tensor": Row(
        lambda: ruled(lambda x: x * t)(t), TypeError, "isn't one of its arguments|pass it as an argument"
    ),
    "a complex cotangent": Row(
        lambda: mg.vjp(np.sin, X)[1](1j * X), TypeError, "pullback: a cotangent|float64|got complex128|real part"
    ),
    "a complex tangent": Row(
        lambda: mg.jvp(np.sin, (X,), (1j * X,)), TypeError, "jvp: a tangent|float64|got complex128|real part"
    ),
    "np.diff(n=)": Row(lambda: np.diff(t, n=-1), ValueError, "diff: n|0 or more, got -1"),
    "np.gradient of spacings": Row(
        lambda: np.gradient(t, 1.0, 2.0), TypeError, "gradient|one spacing|got 2 for 1 axes"
    ),
    "np.gradient(edge_order=)": Row(
        lambda: np.gradient(t, edge_order=3), ValueError, "gradient|edge_order|1 or 2, got 3"
    ),
    "np.gradient of one": Row(lambda: np.gradient(P(1)), ValueError, "gradient|axis 0|edge_order + 1|got 1"),
    "np.gradient of a spacing": Row(lambda: np.gradient(t, np.ones(2)), ValueError, "gradient|(2,)|3 elements"),
    "np.gradient of booleans": Row(
        lambda: np.gradient(mg.tensor([True, False])), TypeError, "gradient|booleans|astype(float)"
    ),
    "np.interp of complex numbers": Row(
        lambda: np.interp(t * 1j, np.arange(2.0), np.arange(2.0)), TypeError, "interp|must be real|complex128|np.real"
    ),
    "np.interp of lengths": Row(lambda: np.interp(t, np.arange(3.0), P(1, 2)), ValueError, "interp|(3,)|(2,)"),
    "np.interp(period=)": Row(
        lambda: np.interp(t, [0.0, 1.0], [0.0, 1.0], period=0), ValueError, "interp|period must not be 0"
    ),
    "np.geomspace of 0": Row(lambda: np.geomspace(t * 0, 1.0), ValueError, "geomspace|0"),
    "np.clip of both": Row(lambda: np.clip(t, 0.0, min=1.0), TypeError, "clip|min=|a_min"),
    "np.select of lengths": Row(lambda: np.select([t.data > 0], [t, t]), ValueError, "select|1 conditions|2 choices"),
    "np.piecewise of lengths": Row(
        lambda: np.piecewise(t, [t.data > 0], [1.0, 2.0, 3.0]), ValueError, "piecewise|1 conditions|3 functions"
    ),
    "np.choose of an index": Row(lambda: np.choose(np.array([2, 0, 0]), [t, t]), ValueError, "choose|2 choices|wrap"),
    "np.fft.fftn of lengths": Row(
        lambda: np.fft.fftn(square, s=(2,), axes=(0, 1)), ValueError, "equal lengths|(2,) and (0, 1)"
    ),
    "np.take(mode=)": Row(lambda: np.take(t, [0], mode="no"), ValueError, "mode|'raise'|'no'"),
    "np.take of floats": Row(lambda: np.take(t, [0.5]), TypeError, "integers|float64"),
    "np.take_along_axis": Row(lambda: np.take_along_axis(t, np.eye(2), 0), ValueError, "(2, 2)|float64|(3,)|integers"),
    "np.copyto of a kind": Row(
        lambda: np.copyto(t * 1.0, np.ones(3, complex), "safe"), TypeError, "copyto|complex128|'safe'"
    ),
    "np.concatenate of numbers": Row(lambda: np.concatenate([t[0], t[1]]), ValueError, "concatenate|np.stack"),
    "np.concatenate(casting=)": Row(
        lambda: np.concatenate([t, t], dtype=int, casting="safe"), TypeError, "concatenate|float64|int64|'safe'"
    ),
    "np.pad of a function": Row(lambda: np.pad(t, 1, max), NotImplementedError, "pad|np.concatenate"),
    "np.pad of a width": Row(lambda: np.pad(t, -1), ValueError, "pad|-1|integers"),
    "np.block of depths": Row(lambda: np.block([[t], t]), ValueError, "block|equally deep"),
    "np.linalg.tensorinv": Row(
        lambda: np.linalg.tensorinv(square, ind=0), ValueError, "tensorinv: ind|positive, got 0"
    ),
    "np.linalg.tensorsolve": Row(
        lambda: np.linalg.tensorsolve(mg.tensor(np.ones((2, 3)), requires_grad=True), np.ones(2)),
        np.linalg.LinAlgError,
        "tensorsolve|(2, 3)|(2,)",
    ),
    "np.linalg.qr(mode=)": Row(
        lambda: np.linalg.qr(named_tensor((3, 2)), mode="complete"), NotImplementedError, "qr|'complete'|'reduced'"
    ),
    "np.linalg.cond of nothing": Row(
        lambda: np.linalg.cond(named_tensor((0, 0))), np.linalg.LinAlgError, "cond|at least one element|(0, 0)"
    ),
    "np.linalg.multi_dot of one": Row(lambda: np.linalg.multi_dot([square]), ValueError, "multi_dot|two arrays|1"),
    "np.linalg.matrix_power": Row(
        lambda: np.linalg.matrix_power(named_tensor((2, 3)), 2), np.linalg.LinAlgError, "matrix_power|square|(2, 3)"
    ),
    "np.polyder(m=)": Row(lambda: np.polyder(t, -1), ValueError, "polyder: m|got -1|np.polyint"),
    "np.polyint(m=)": Row(lambda: np.polyint(t, -1), ValueError, "polyint: m|got -1|np.polyder"),
    "np.polyint(k=)": Row(lambda: np.polyint(t, 3, k=[1.0, 2.0]), ValueError, "polyint|one constant|got 2 for m=3"),
    "np.polyfit(cov=)": Row(
        lambda: np.polyfit([0.0, 1.0, 2.0], t, 2, cov=True), ValueError, "polyfit|more points|got 3 and 3"
    ),
    "np.matmul(axes=)": Row(
        lambda: np.matmul(square, square, axes=[(1, 0), (0, 1), (0, 1)]).sum().backward(),
        NotImplementedError,
        "axes=|np.moveaxis",
    ),
    "np.cross of two": Row(lambda: crossed(), NotImplementedError, "np.cross|two elements|third"),
    "np.cumulative_sum of a matrix": Row(
        lambda: np.cumulative_sum(square), ValueError, "cumulative_sum|(2, 2)|needs axis="
    ),
    "np.reshape(order=)": Row(
        lambda: np.reshape(t, (3, 1), order="A").sum().backward(), NotImplementedError, "order='A'|'C' or 'F'"
    ),
    "np.resize": Row(lambda: np.resize(t, (-1, 2)), ValueError, "resize|(-1, 2)|0 or more"),
    "np.meshgrid(indexing=)": Row(lambda: np.meshgrid(t, t, indexing="yx"), ValueError, "meshgrid|'xy'|'yx'"),
    "np.trim_zeros(trim=)": Row(lambda: np.trim_zeros(t, "x"), ValueError, "trim_zeros|'f'|'x'"),
    "np.apply_along_axis": Row(
        lambda: np.apply_along_axis(np.sum, 0, named_tensor((3, 0))), ValueError, "apply_along_axis|axis 0|(3, 0)"
    ),
    "np.vsplit of a vector": Row(lambda: np.vsplit(t, 3), ValueError, "vsplit|2 or more axes|(3,)"),
    "np.apply_over_axes": Row(
        lambda: np.apply_over_axes(lambda a, axis: np.sum(a), square, [0]), ValueError, "apply_over_axes|()|(2, 2)"
    ),
    "np.median of nothing": Row(lambda: np.median(named_tensor((0,))), ValueError, "median|at least one element|(0,)"),
    "np.quantile(weights=)": Row(
        lambda: np.quantile(t, 0.5, weights=np.ones(3), method="inverted_cdf"),
        NotImplementedError,
        "weights=|np.interp",
    ),
    "np.average of shapes": Row(lambda: np.average(t, weights=np.ones(2)), ValueError, "average|(2,)|(3,)"),
    "np.average of no weight": Row(lambda: np.average(t, weights=np.zeros(3)), ZeroDivisionError, "average|weights|0"),
    "np.ediff1d's ends": Row(lambda: np.ediff1d(t, to_end=1j), TypeError, "ediff1d|complex128|float64"),
    "np.cov's ddof": Row(lambda: np.cov(t, ddof=0.5), ValueError, "cov|ddof|integer|0.5"),
    "np.cov's frequencies": Row(lambda: np.cov(t, fweights=[0.5, 1, 1]), TypeError, "cov|fweights|integers"),
    "np.cov's weights": Row(lambda: np.cov(t, aweights=[-1, 1, 1]), ValueError, "cov|aweights|negative"),
    "np.cov of few weights": Row(lambda: np.cov(t, aweights=np.ones(2)), RuntimeError, "cov|aweights|(2,)|3"),
    "np.cov of axes": Row(lambda: np.cov(named_tensor((2, 2, 2))), ValueError, "cov|(2, 2, 2)"),
}

ENGINE = {
    "tensor of texts": Row(lambda: mg.tensor(["a"]), TypeError, "numbers|<U1"),
    "tensor with a dtype in second place": Row(lambda: mg.tensor([1.0], np.float32), TypeError, "float32|by keyword"),  # type: ignore[arg-type]
    "tensor of no dtype": Row(lambda: mg.tensor([1.0], dtype="real"), TypeError, "mg.tensor|'real'|np.float32"),
    "tensor of integers": Row(lambda: mg.tensor([1, 2], requires_grad=True), TypeError, "int64|dtype=np.float64"),
    "a function without a rule": Row(lambda: doubled(t), NotImplementedError, "doubled|mg.defvjp"),
    "an excluded function": Row(lambda: np.nextafter(t, t), NotImplementedError, "nextafter|t.data"),
    "out= by position": Row(lambda: np.exp(t, np.ones(3)), TypeError, "exp|out="),
    "out= by keyword": Row(lambda: np.sum(t, out=np.ones(())), TypeError, "sum|out="),
    "out= of a ufunc": Row(lambda: np.add(t, t, out=np.ones(3)), TypeError, "add|out="),
    "a real dtype= of complex numbers": Row(
        lambda: np.prod(mg.tensor([1j, 2.0], requires_grad=True), dtype=float),
        TypeError,
        "prod|dtype=float64|np.real(t)",
    ),
    "out= of a composite": Row(lambda: np.std(t, out=np.ones(())), TypeError, "std|out="),
    "casting= of a ufunc": Row(lambda: np.add(t, t, casting="safe"), TypeError, "np.add|casting="),
    "np.asarray(t)": Row(lambda: np.asarray(t), TypeError, "np.stack|t.data"),
    "np.array of a list": Row(lambda: np.array([t[0], t[1]]), TypeError, "np.stack|t.data"),
    ".data of another shape": Row(assigned(P(1, 2), "data", np.ones(3)), ValueError, ".data|(2,)|(3,)"),
    ".data of a result": Row(assigned(t * 2, "data", np.ones(3)), RuntimeError, "multiply|.data|detach()"),
    ".grad of a result": Row(assigned(t * 2, "grad", np.ones(3)), RuntimeError, ".grad|leaf"),
    ".grad of another shape": Row(assigned(P(1, 2), "grad", np.ones(3)), ValueError, ".grad|(2,)|(3,)"),
    "requires_grad of a result": Row(assigned(t * 2, "requires_grad", False), RuntimeError, "multiply|detach()"),
    "backward of a constant": Row(lambda: mg.tensor(1.0).backward(), RuntimeError, "backward()|requires_grad=True"),
    "backward of a vector": Row(lambda: (t * 2).backward(), RuntimeError, "backward()|(3,)|gradient=|.sum()"),
    "backward of a shape": Row(lambda: (t * 2).backward(np.ones(2)), ValueError, "backward(gradient=)|(2,)|(3,)"),
    "backward twice": Row(twice_backward, RuntimeError, "backward()|retain_graph=True"),
    "backward after a change": Row(changed_after_use, RuntimeError, "'w'|changed|multiply|again"),
    "register_hook of no function": Row(lambda: t.register_hook(3), TypeError, "register_hook|function|3"),
    "a tensor of a Tensor in a transform": Row(
        lambda: mg.grad(lambda x: np.sum(mg.tensor(x) ** 2))(np.ones(2)), TypeError, "mg.tensor()|t.copy()|t.detach()"
    ),
    "matrix_power of a fraction": Row(
        lambda: np.linalg.matrix_power(mg.tensor(np.eye(2), requires_grad=True), 0.5), TypeError, "integer|0.5|eigh"
    ),
    "m.wieght": Row(lambda: m.wieght, AttributeError, "Linear|wieght|.weight"),
    "optimizer.zerograd": Row(lambda: optim.SGD([t], lr=0.1).zerograd(), AttributeError, "SGD|zerograd|.zero_grad"),
    "a tensor of lists of different lengths": Row(
        lambda: mg.tensor([[1.0, 2.0], [3.0]]), TypeError, "mg.tensor|different lengths|the same length"
    ),
    "an index of floats": Row(lambda: range(t), TypeError, "range()|(3,)|float64|int(t.item())"),
    "register_hook of a constant": Row(
        lambda: mg.tensor(1.0).register_hook(print), RuntimeError, "register_hook()|gradient"
    ),
    "retain_grad of a constant": Row(lambda: mg.tensor(1.0).retain_grad(), RuntimeError, "retain_grad()|gradient"),
    "t[0] = text": Row(lambda: (t * 1.0).__setitem__(0, "x"), TypeError, "float('x')"),
    "t[index] = another kind": Row(
        lambda: mg.tensor([1, 2]).__setitem__(0, np.array(1.5j)), TypeError, "complex128|int64"
    ),
    "t[index] = another shape": Row(lambda: (t * 1.0).__setitem__(0, np.ones(2)), ValueError, "(2,)"),
    "leaf[index] = value": Row(lambda: P(1, 2).__setitem__(0, 1.0), RuntimeError, "leaf|mg.no_grad()"),
    "leaf += value": Row(lambda: P(1, 2).__iadd__(1.0), RuntimeError, "leaf|mg.no_grad()"),
    "t += another shape": Row(lambda: (t * 1.0).__iadd__(np.ones((2, 3))), ValueError, "(2, 3)|(3,)"),
    "use after a change of its memory": Row(lambda: np.sin(outdated()), RuntimeError, "assign"),
    "a pickled result": Row(lambda: (t * 2).__reduce_ex__(2), RuntimeError, "pickled|detach()"),
    "a list that holds a Tensor": Row(lambda: np.add([t[0], 1.0, 2.0], t), TypeError, "add|list|np.stack"),
    "a Tensor by keyword": Row(within(lambda x: np.sum(np.ones(2), initial=x[0])), TypeError, "float()|t.item()"),
    "iteration over a number": Row(lambda: list(t[0]), TypeError, "0-d|iter"),
    "len() of a number": Row(lambda: len(t[0]), TypeError, "len()|0-d|one number"),
    "the truth of several": Row(lambda: bool(t), ValueError, "bool()|(3,)|np.any(t)|np.where"),
    "another library's protocol": Row(lambda: np.from_dlpack(t), AttributeError, "__dlpack__|t.data"),
    "nan_to_num(copy=False)": Row(lambda: np.nan_to_num(t, copy=False), TypeError, "np.nan_to_num|copy=False|t[...] ="),
    "a name that isn't text": Row(lambda: mg.tensor(1.0, name=3), TypeError, "name|string|got 3"),
    "a pullback without a cotangent": Row(lambda: mg.vjp(np.sin, 1.0)[1](), TypeError, "pullback|g"),
    "hvp without a vector": Row(lambda: mg.hvp(np.sin)(1.0), TypeError, "v"),
    "a rule that returns no numbers": Row(
        lambda: mg.grad(with_rule(lambda *_: np.array([None, None])))(1.0), ValueError, "own|dtype object|cotangent"
    ),
    "a rule that returns a function": Row(
        lambda: mg.grad(with_rule(lambda *_: np.sin))(1.0), TypeError, "own|ufunc|cotangent"
    ),
    "running statistics that are read-only": Row(
        lambda: F.batch_norm(np.eye(2), np.broadcast_to(0.0, 2), training=True), ValueError, "running_mean|read-only"
    ),
    "NaN under detect_anomaly": Row(lambda: anomaly(), FloatingPointError, "log|NaN or Inf|(2,)"),
    "NaN in a derivative": Row(lambda: anomaly(backward=True), FloatingPointError, "sqrt|NaN or Inf|derivative"),
    # Users' rules
    "a rule that returns None": Row(lambda: mg.grad(with_rule(lambda g, out, x: None))(1.0), TypeError, "own|None"),
    "the derivative of qr of dependent columns": Row(
        lambda: mg.grad(lambda a: np.sum(np.linalg.qr(a)[1]))(np.array([[1.0, 1.0], [0.0, 0.0]])),
        np.linalg.LinAlgError,
        "qr for argument 0|Singular matrix|there is no derivative|np.eye",
    ),
    "a rule that returns a number": Row(
        lambda: mg.grad(with_rule(lambda g, out, x: 2.0))(np.ones(2)), TypeError, "own|float|shape"
    ),
    "a rule of another shape": Row(
        lambda: mg.grad(with_rule(lambda g, out, x: np.ones(3)))(np.ones(2)), ValueError, "own|(3,)|(2,)"
    ),
    "a JVP rule of another shape": Row(
        lambda: mg.jvp(with_rule(lambda t, out, x: np.ones(3), "jvp"), (np.ones(2),), (np.ones(2),)),
        ValueError,
        "own|(3,)|(2,)",
    ),
    "a rule of too few parameters": Row(lambda: mg.grad(with_rule(lambda g: g))(1.0), TypeError, "own|(g)|out"),
    "an argument without a rule": Row(
        lambda: mg.grad(with_rule(None))(1.0), NotImplementedError, "own|argument 0|t.data|mg.defvjp"
    ),
    # Transforms
    "grad of a vector": Row(lambda: mg.grad(np.sin)(np.ones(3)), TypeError, "one real number|(3,)|mg.jacobian"),
    "grad of an integer": Row(lambda: mg.grad(np.sin)(1), TypeError, "int64|float"),
    "grad(argnums=)": Row(lambda: mg.grad(np.sin, 1)(1.0), ValueError, "argnums|got 1|sin|called with 1"),
    "value_and_grad(has_aux=)": Row(
        lambda: mg.value_and_grad(np.sin, has_aux=True)(1.0), TypeError, "has_aux=True|(value, aux)"
    ),
    "jvp of lengths": Row(lambda: mg.jvp(np.sin, (1.0,), ()), ValueError, "jvp|1 primals|0 tangents"),
    "jvp of shapes": Row(lambda: mg.jvp(np.sin, (1.0,), (np.ones(2),)), ValueError, "jvp|tangent|(2,)"),
    "vjp of shapes": Row(lambda: mg.vjp(np.sin, np.ones(3))[1](np.ones(2)), ValueError, "cotangent|(3,)|(2,)"),
    "jacobian(mode=)": Row(lambda: mg.jacobian(np.sin, mode="back"), ValueError, "mode|'rev'|'back'"),
    # vmap
    **{
        f"{what} of a value": Row(call, TypeError, f"{what}|must be a function|3.5|not a result of it")
        for what, call in {
            "a transform": lambda: mg.grad(3.5),
            "vjp": lambda: mg.vjp(3.5, 1.0),
            "jvp": lambda: mg.jvp(3.5, (1.0,), (1.0,)),
            "hvp": lambda: mg.hvp(3.5)(1.0, 1.0),
            "vmap": lambda: mg.vmap(3.5),
            "scan": lambda: mg.scan(3.5, 0.0, np.ones(3)),
            "checkpoint": lambda: mg.checkpoint(3.5),
            "mg.primitive": lambda: mg.primitive(3.5),
            "defvjp": lambda: mg.defvjp(mg.primitive(np.sin), 3.5),
            "defjvp": lambda: mg.defjvp(mg.primitive(np.sin), None, 3.5),
            "Linear.apply": lambda: nn.Linear(2, 3).apply(3.5),
        }.items()
    },
    "vmap(in_axes=) of another length": Row(
        lambda: mg.vmap(np.sin, (0, 0))(np.ones(2)), ValueError, "vmap(sin)|in_axes|one entry for each of the 1|(0, 0)"
    ),
    "vmap(in_axes=) of another tree": Row(
        lambda: mg.vmap(np.sin, ({"a": 0},))({"b": np.ones(2)}), ValueError, "vmap(sin)|in_axes|tree|dict|{'a': 0}"
    ),
    "vmap(in_axes=) beyond the axes": Row(
        lambda: mg.vmap(np.sin, 2)(np.ones((2, 3))), ValueError, "vmap(sin)|in_axes|(2, 3)|no axis 2|None"
    ),
    "vmap of a number": Row(lambda: mg.vmap(np.sin)(1.0), ValueError, "vmap(sin)|in_axes|shape ()|no axis 0|None"),
    "vmap of a list of numbers": Row(lambda: mg.vmap(np.sin)([1.0]), ValueError, "vmap(sin)|in_axes|shape ()|None"),
    "vmap without examples": Row(
        lambda: mg.vmap(np.sin, None)(np.ones(2)), ValueError, "vmap(sin)|in_axes|no axis|give an argument"
    ),
    "vmap of an empty batch": Row(
        lambda: mg.vmap(np.sin)(np.ones((0, 2))), ValueError, "vmap(sin)|at least 1|0 along axis 0 of shape (0, 2)"
    ),
    "vmap of batches of two sizes": Row(
        lambda: mg.vmap(np.add)(np.ones(2), np.ones(3)), ValueError, "vmap(add)|same number|2 along axis 0|3 along"
    ),
    "vmap(out_axes=None)": Row(
        lambda: mg.vmap(np.sin, out_axes=None)(np.ones(2)),
        ValueError,
        "vmap(sin)|out_axes must name an axis|depends|got None",
    ),
    "vmap(out_axes=) beyond the axes": Row(
        lambda: mg.vmap(np.sin, out_axes=1)(np.ones(2)), ValueError, "vmap(sin)|out_axes|shape ()|axis 1|from -1 to 0"
    ),
    "vmap(out_axes=) of another tree": Row(
        lambda: mg.vmap(lambda x: (x, x), out_axes=(0, 0, 0))(np.ones(2)), ValueError, "out_axes|tuple of 2|(0, 0, 0)"
    ),
    "vmap(in_dims=)": Row(lambda: mg.vmap(np.sin, in_dims=0), TypeError, "vmap|in_dims|in_axes="),
    "vmap(axes=)": Row(lambda: mg.vmap(np.sin, axes=0), TypeError, "vmap|axes|in_axes="),
    "if in vmap": Row(lambda: mg.vmap(lambda x: x if x > 0 else -x)(np.ones(2)), TypeError, "if|vmap|np.where"),
    "float in vmap": Row(lambda: mg.vmap(lambda x: math.sin(x))(np.ones(2)), TypeError, "float()|vmap|np.where"),
    "while in vmap": Row(lambda: mg.vmap(lambda x: range(x))(np.arange(2)), TypeError, "range()|vmap|np.where"),
    "np.asarray in vmap": Row(lambda: mg.vmap(np.asarray)(np.ones(2)), TypeError, "np.asarray|vmap|np.stack"),
    "item in vmap": Row(lambda: mg.vmap(lambda x: x.item())(np.ones(2)), TypeError, "item()|vmap|np.where"),
    "an index in vmap": Row(
        lambda: mg.vmap(lambda i: np.ones(3)[i])(np.arange(2)), TypeError, "index|vmap|mg.tensor(array)[index]"
    ),
    "len in vmap": Row(lambda: mg.vmap(len)(np.ones(2)), TypeError, "len()|one number|x.shape|in_axes"),
    "an array += in vmap": Row(
        lambda: mg.vmap(lambda x: np.zeros(()).__iadd__(x))(np.ones(2)),
        TypeError,
        "array that all examples share|np.zeros_like",
    ),
    "a Tensor += in vmap": Row(
        lambda: mg.vmap(mg.tensor(np.zeros(())).__iadd__)(np.ones(2)),
        TypeError,
        "Tensor that all examples share|np.zeros_like",
    ),
    "backward() in vmap": Row(
        lambda: mg.vmap(lambda x: x.backward())(np.ones(2)), AttributeError, "vmap|'backward'|mg.vmap(mg.grad(f))"
    ),
    "a list of examples": Row(
        lambda: mg.vmap(lambda x: mg.tensor(np.ones(2)) + [x, x])(np.ones(2)), TypeError, "list|add|vmap|np.stack"
    ),
    "results of other shapes in vmap": Row(
        lambda: mg.vmap(np.flatnonzero)(np.eye(2)[[0, 0]] * [[1], [0]]), ValueError, "flatnonzero|(0,), (1,)|np.where"
    ),
    "defvmap of a function": Row(lambda: mg.defvmap(max, "elementwise"), TypeError, "mg.defvmap|max|@mg.primitive"),
    "defvmap(rule=)": Row(lambda: mg.defvmap(np.sin, "each"), TypeError, "defvmap|rule|'each'|elementwise"),
    "hidden parameters": Row(lambda: list(Hidden().parameters()), TypeError, "Hidden.layers[0]|nn.Sequential"),
}

MORE = {
    # Containers of arrays
    "a list in itself": Row(
        lambda: mg.grad(lambda p: p[0])(cyclic()), RecursionError, "container|contains itself|nested"
    ),
    "a registered class's flatten": Row(lambda: mg.grad(id)(Unpaired()), TypeError, "Unpaired|(children, aux)|3.0"),
    "register a number": Row(lambda: mg.register_tree(3, tuple, list), TypeError, "register_tree|must be a class|3"),
    "register a module": Row(
        lambda: mg.register_tree(nn.Linear, tuple, list), TypeError, "register_tree|Linear|module"
    ),
    "register without unflatten": Row(
        lambda: mg.register_tree(Row, tuple, None), TypeError, "register_tree|unflatten|a function|None"
    ),
    "register twice": Row(lambda: mg.register_tree(Unpaired, id, id), ValueError, "register_tree|Unpaired|already"),
    "rebuild from too few": Row(lambda: flatten((1.0, 2.0))[1].rebuild([1.0]), ValueError, "rebuild|2 leaves|got 1"),
    "a form that can't be hashed": Row(
        lambda: hash(flatten(Noted([1.0]))[1]), TypeError, "Noted|can't be hashed|['a note']|tuples instead of lists"
    ),
    # Missing parts
    "no matplotlib": Row(without("matplotlib", lambda: viz.plot_history([1.0])), ImportError, "matplotlib|pip install"),
    "no graphviz": Row(without("graphviz", picture), ImportError, "graphviz|pip install|graph.dot"),
    "no Graphviz": Row(without_graphviz, ImportError, "Graphviz|pip install|https://graphviz.org"),
    "a source that isn't DOT": Row(lambda: render.render("digraph {", "svg"), RuntimeError, "Graphviz couldn't draw"),
    "no SciPy": Row(without("scipy", lambda: optim.minimize(np.sum, t)), ImportError, "SciPy|pip install"),
    "no numba": Row(without("numba", load_numba), ImportError, "numba|pip install"),
    "no SciPy for its functions": Row(
        without("scipy", lambda: scipys("special")),
        ImportError,
        'microgradnd.scipy.special|pip install "microgradnd[scipy]"',
    ),
    "no hypothesis": Row(without("hypothesis", lambda: mg.testing.arrays()), ImportError, "hypothesis|pip install"),
    # python -m microgradnd draw
    "draw a view on the terminal": Row(drawn("", view="both"), Refused, "--view|-o graph.svg"),
    "draw to a text": Row(drawn("", output=Path("graph.txt")), Refused, "graph.txt|.svg"),
    "draw no file": Row(lambda: write("nowhere.py", None, False, {}), Refused, "no file|nowhere.py"),
    "draw what exits": Row(drawn("import sys; sys.exit(3)"), Refused, "program.py|sys.exit(3)"),
    "draw what fails": Row(drawn("1 / 0"), Refused, "program.py|failed|-o graph.svg"),
    "draw what fails to a file": Row(drawn("1 / 0", output=Path("a.svg")), Refused, "program.py|failed|nothing"),
    "draw no such name": Row(drawn("loss = 1", ":los"), Refused, "program.py|'los'"),
    "draw a function of arguments": Row(drawn("def f(x): pass", ":f"), Refused, "f takes arguments|Tensor to draw"),
    "draw a number": Row(drawn("loss = 1", ":loss"), Refused, "loss must be a Tensor|int"),
    "draw nothing": Row(drawn("x = 1"), Refused, "computed no number|nothing to draw"),
    # Compiled programs
    "compiled update of shared memory": Row(updated_twice_over, ValueError, "in place|shares memory|copy"),
    "compiled counting": Row(counted, TraceError, "runs once|calls"),
    "compiled .data of a computed value": Row(
        compiled(lambda w: (w * 2).data.fill(1.0), t), TraceError, "a change of the .data of a computed value|new value"
    ),
    "compiled view of .data": Row(
        compiled(lambda w: w.data[1:].fill(1.0), t),
        TraceError,
        "a change of a view of .data, a buffer or a gradient|t.data[i] = value",
    ),
    "compiled .data of another shape": Row(
        compiled(lambda w: setattr(w, "data", np.ones(7)), t), ValueError, "shape|(7,)"
    ),
    "compiled repetition of a list": Row(
        compiled(lambda x: [1] * np.argmax(x), np.ones(2)), TraceError, "a list times a number|np.array(list) * t"
    ),
    "compiled attribute of a number": Row(
        compiled(lambda x: x.sum(), 1.0), AttributeError, "a Python float doesn't have 'sum'|np.asarray(number)"
    ),
    "compiled index of a number": Row(
        compiled(lambda x: x[None], 1.0), TypeError, "a Python float can't be indexed|np.asarray(number)"
    ),
    "compiled list as an operand": Row(compiled(lambda x: np.add([x[0], x[1]], x), np.ones(2)), TraceError, "list|add"),
    "compiled array_equal": Row(
        compiled(lambda x: np.array_equal(x, x), np.ones(2)), TraceError, "array_equal|np.all(x == y)"
    ),
    "compiled updating()": Row(compiled(updated_by_hand, np.ones(2)), TraceError, "updating()|t[...] = value"),
    "saved too early": Row(
        lambda: saved(lambda w: w.sum().backward(), named_tensor())(),
        RuntimeError,
        "save|the gradient of|call the compiled function again",
    ),
    "saved with a function": Row(saved(lambda x: shifted(x), np.ones(2)), TypeError, "shifted|np and its arguments"),
    # Changed values
    "a constant that changed": Row(lambda: constant_changed(100_000), RuntimeError, "(100000,)|multiply|x.copy()"),
    "an argument that changed": Row(argument_changed, RuntimeError, "(100000,)|changed|x.copy()"),
    "a function that isn't the same again": Row(recomputed_otherwise, RuntimeError, "checkpoint|random numbers"),
    "a hook of another shape": Row(lambda: hooked(np.ones(3)), ValueError, "hook|(2,)|(3,)"),
    "a hook that returns a Tensor": Row(lambda: hooked(mg.tensor([1.0, 2.0])), ValueError, "hook|Tensor|.data"),
    "a hook of another kind": Row(lambda: hooked("x"), ValueError, "hook|(2,)|None"),
    "an assignment under no_grad": Row(assigned_under_no_grad, RuntimeError, "multiply|no_grad()|detach()"),
    "an update of a protected array": Row(read_only, ValueError, "read-only|copy"),
    "updating() of a result": Row(lambda: (t * 2).updating(), RuntimeError, "multiply|leaf|in place"),
    "copy of a result": Row(lambda: copy.copy(t * 2), RuntimeError, "leaf|t.copy()|detach()"),
    # Values that aren't arrays, or not any more
    "t.size()": Row(lambda: t.size(0), TypeError, "t.size|t.shape[axis]"),
    "mg.Tensor(list)": Row(lambda: mg.Tensor([1.0]), TypeError, "mg.Tensor|mg.tensor(data"),
    "no_grad without parentheses": Row(lambda: mg.no_grad(lambda x: x), TypeError, "mg.no_grad()|parentheses"),
    ".data of another kind": Row(assigned(P(1, 2), "data", np.ones(2, complex)), TypeError, ".data|complex128|float64"),
    ".data = text": Row(assigned(P(1, 2), "data", "x"), TypeError, "x|number"),
    "a masked array": Row(lambda: t * np.ma.ones(3), TypeError, "multiply|MaskedArray|filled(0)"),
    "a tensor of PyTorch": Row(lambda: t * Foreign(), TypeError, "multiply|torch|(3,)|detach().numpy()"),
    "a matrix": Row(lambda: t * matrix(), TypeError, "multiply|matrix|np.asarray"),
    "a rule of NumPy's class": Row(lambda: mg.defvjp(np.vectorize(abs), None), TypeError, "abs|@mg.primitive"),
    "a rule of an ordinary function": Row(lambda: mg.defvjp(captured_elsewhere, None), TypeError, "@mg.primitive"),
    "plain[0] = t[0]": Row(lambda: np.zeros(3).__setitem__(0, t[0]), TypeError, "np.stack|t.data"),
    # Modules and optimizers
    "a slice of a Sequential": Row(
        lambda: nn.Sequential(m).__setitem__(slice(1), m), TypeError, "Sequential|slice|one by one"
    ),
    "a name in a Sequential": Row(lambda: nn.Sequential(m)["a"], TypeError, "Sequential|integer or a slice|'a'"),
    "a place in a Sequential": Row(lambda: nn.Sequential(m)[1], IndexError, "Sequential|index 1|1 modules"),
    "a taken name": Row(
        lambda: nn.Sequential({"1": nn.Tanh()}).append(nn.Tanh()), ValueError, "Sequential|'1'|taken|setattr"
    ),
    "insert among names": Row(
        lambda: nn.Sequential({"a": nn.Tanh()}).insert(0, nn.Tanh()), ValueError, "Sequential|insert()|names"
    ),
    "ParameterList of values": Row(
        lambda: nn.ParameterList([t * 2]), TypeError, "ParameterList|item 0|requires no gradient|nn.Parameter(t.data)"
    ),
    "a key of a ModuleDict": Row(lambda: nn.ModuleDict({"a": nn.Tanh()})["b"], KeyError, "ModuleDict|'b'|'a'"),
    "a number for a key of a ModuleDict": Row(lambda: nn.ModuleDict({1: m}), TypeError, "ModuleDict|key|'1'"),
    "a ModuleDict of a module": Row(lambda: nn.ModuleDict(m), TypeError, "ModuleDict|dict|pairs|Linear"),
    "a ModuleList of a module": Row(lambda: nn.ModuleList(m), TypeError, "ModuleList|list of modules|Linear"),
    "to(device)": Row(lambda: nn.Linear(2, 1).to("cuda"), TypeError, "Linear.to|'cuda'|dtype|CPU"),
    "train(text)": Row(lambda: nn.Linear(2, 1).train("no"), TypeError, "Linear.train|True or False|'no'"),
    "a state of what NumPy can't read": Row(
        lambda: m.load_state_dict({"weight": Unreadable(), "bias": [0, 0]}),
        TypeError,
        "Linear.load_state_dict: weight must be an array, got a Unreadable|on another device",
    ),
    "a module's state in a program": Row(
        compiled(lambda x: m.load_state_dict({}) and x, np.ones(3)),
        TraceError,
        "load_state_dict()|between the calls",
    ),
    "a state of unequal lists": Row(
        lambda: nn.Linear(2, 2).load_state_dict({"weight": [[1, 2], [3]], "bias": [1, 2]}),
        ValueError,
        "weight|different lengths",
    ),
    "to(int)": Row(lambda: nn.Linear(2, 1).to(int), TypeError, "Linear.to|floating-point|int"),
    "to() inside": Row(
        lambda: mg.grad(lambda m: np.sum(m.to("f4").weight))(nn.Linear(2, 1)), RuntimeError, "Linear.to|transform"
    ),
    "a hook that is none": Row(lambda: nn.Linear(2, 1).register_forward_hook(3), TypeError, "Linear|hook|function|3"),
    "summary of a function": Row(lambda: nn.summary(np.sin), TypeError, "summary|Module|ufunc"),
    "MSELoss(p)": Row(lambda: nn.MSELoss(np.ones(3)), TypeError, "MSELoss|reduction|ndarray|nn.MSELoss()("),
    "MSELoss(3)": Row(lambda: nn.MSELoss(reduction=3), TypeError, "MSELoss|reduction|3"),
    "a module with slots": Row(
        lambda: type("Slim", (nn.Module,), {"__slots__": ("a",)}), TypeError, "Slim|__slots__|leave them out"
    ),
    "a parameter of the class": Row(
        lambda: type("Shared", (nn.Module,), {"w": nn.Parameter(1.0)})(), TypeError, "Shared.w|__init__"
    ),
    "a parameter made under grad": Row(
        lambda: mg.grad(lambda m: makes(m).sum())(Counts()), RuntimeError, "Counts.late|transform|__init__"
    ),
    "an attribute changed while compiled": Row(
        compiled(lambda m, x: m(x), Counts(), np.ones(1)), TypeError, "m.calls|keep it in a Tensor"
    ),
    "compiled number that decides": Row(
        compiled(warmed_up, np.ones(1)), TypeError, "'STEPS.n'|`if`|min(STEPS.n / 10, 1)|np.minimum"
    ),
    "compiled number that becomes a Tensor": Row(
        compiled(lambda x: setattr(STEPS, "n", STEPS.n + x.sum()), np.ones(1)), TypeError, "'STEPS.n'|value.item()"
    ),
    "a buffer assigned while compiled": Row(
        compiled(lambda x: averaged(COUNTS, x), np.ones(1)), TypeError, "COUNTS.mean|keep it in a Tensor"
    ),
    "load_state_dict of a path": Row(
        lambda: m.load_state_dict("model.npz"), TypeError, "Linear.load_state_dict|np.load(path)"
    ),
    "load_state_dict of None": Row(lambda: m.load_state_dict(None), TypeError, "Linear.load_state_dict|None"),
    "load_state_dict of complex numbers": Row(
        lambda: m.load_state_dict({"weight": np.ones((2, 3), complex), "bias": np.ones(2)}), TypeError, "complex128"
    ),
    "an optimizer's load_state_dict of a path": Row(
        lambda: optim.Adam([t]).load_state_dict("adam.pkl"), TypeError, "Adam.load_state_dict|mg.load"
    ),
    "an optimizer's load_state_dict of complex numbers": Row(
        lambda: loaded_otherwise(optim.Adam([P(1)]), exp_avg=np.ones(1, complex)),
        TypeError,
        "Adam.load_state_dict|exp_avg|complex128",
    ),
    "an optimizer's load_state_dict of names": Row(
        lambda: optim.Adam([t]).load_state_dict(optim.Adam([t]).state_dict() | {"state": {"0": {}}}),
        ValueError,
        "Adam.load_state_dict|number of its own|[0]|['0']",
    ),
    "an optimizer's load_state_dict of negative steps": Row(
        lambda: loaded_otherwise(optim.Adam([P(1)]), step=-1), ValueError, "Adam.load_state_dict|step|0 or more|-1"
    ),
    "an optimizer of parameters in another dtype": Row(retyped, ValueError, "'weight'|float64|float32|new optimizer"),
    "a schedule's state of text": Row(
        lambda: optim.lr_scheduler.StepLR(WITH_SHARED, 1).load_state_dict(
            {"step_size": 1, "gamma": 0.1, "last_epoch": "x", "base_lrs": [0.1]}
        ),
        ValueError,
        "StepLR|last_epoch|'x'",
    ),
    "a schedule's state for more groups": Row(
        lambda: optim.lr_scheduler.StepLR(WITH_SHARED, 1).load_state_dict(
            {"step_size": 1, "gamma": 0.1, "last_epoch": 1, "base_lrs": [0.1, 0.2]}
        ),
        ValueError,
        "StepLR|base_lrs|[0.1, 0.2]",
    ),
    "SGD(lr=text)": Row(lambda: optim.SGD([t], lr="fast"), TypeError, "lr|'fast'|number"),
    "SGD(lr=Tensor)": Row(lambda: optim.SGD([t], lr=P(1)[0]), TypeError, "lr|Tensor|t.item()"),
    "lr = NaN": Row(assigned(optim.SGD([t], lr=0.1), "lr", math.nan), ValueError, "lr|nan|finite"),
    "Adam(betas=0.9)": Row(lambda: optim.Adam([t], betas=0.9), TypeError, "betas|(0.9, 0.999)|0.9"),
    "Adam(betas=(1, 1))": Row(lambda: optim.Adam([t], betas=(1, 1)), ValueError, "betas[0]|below 1|1"),
    "SGD(nesterov=1)": Row(lambda: optim.SGD([t], lr=0.1, nesterov=1), TypeError, "nesterov|True or False|1"),
    "w -= another shape": Row(lambda: shortened(np.ones(4)), ValueError, "np.subtract|'w'|(4,)|reshape"),
    "w -= a protected array": Row(lambda: shortened(1.0, protect=True), ValueError, "'w'|read-only|copy"),
    # Numbers that leave the tape
    "float() in grad": Row(within(lambda x: float(np.sum(x))), TypeError, "float()|t.item()"),
    "math.sin in grad": Row(within(lambda x: math.sin(x[0])), TypeError, "np.sin"),
    "a forgotten return": Row(within(lambda x: None), TypeError, "None|forget to return"),
    "a text returned": Row(within(lambda x: "loss"), TypeError, "'loss'|has_aux=True"),
    "argnums twice": Row(lambda: mg.grad(np.add, (0, 0))(1.0, 1.0), ValueError, "argnums|(0, 0)|once"),
    "argnums of a text": Row(lambda: mg.grad(np.sin, "x")(1.0), TypeError, "argnums|'x'|position"),
    "activations of a text": Row(lambda: F.gelu("a"), TypeError, "gelu|real numbers|np.asarray"),
    "gelu(approximate=)": Row(lambda: F.gelu(np.ones(2), "erf"), ValueError, "gelu|approximate|'none' or 'tanh'|'erf'"),
    "GELU(approximate=)": Row(lambda: nn.GELU(True), TypeError, "GELU|approximate|'tanh'|True"),
    "Softplus(beta=0)": Row(lambda: nn.Softplus(0), ValueError, "Softplus|beta|positive|0"),
    "Softmax(dim=)": Row(lambda: nn.Softmax(dim=1), TypeError, "Softmax|dim=1|axis="),
    "softmax along no axis": Row(lambda: F.softmax(np.ones((2, 3)), 2), ValueError, "softmax|axis=2|(2, 3)"),
    "softmax along a text": Row(lambda: F.softmax(np.ones(2), "a"), TypeError, "softmax|axis|integer|'a'"),
    "cosine_similarity of other shapes": Row(
        lambda: F.cosine_similarity(np.ones((2, 3)), np.ones((2, 4))),
        ValueError,
        "cosine_similarity|(2, 3) and (2, 4)|broadcast|length 1",
    ),
    "cosine_similarity along no axis": Row(
        lambda: F.cosine_similarity(np.ones(2), np.ones(2)), ValueError, "cosine_similarity|axis=1|(2,)"
    ),
    "dropout of integers": Row(lambda: F.dropout(np.ones(3, int)), TypeError, "dropout|int64|dtype=float"),
    "dropout of a text": Row(lambda: nn.Dropout()("a"), TypeError, "dropout|<U1|dtype=float"),
    "BatchNorm1d(momentum=)": Row(lambda: nn.BatchNorm1d(3, momentum=2), ValueError, "BatchNorm1d|momentum|0 to 1|2"),
    "LayerNorm(eps=)": Row(lambda: nn.LayerNorm(3, eps=-1.0), ValueError, "LayerNorm|eps|0 or more|-1"),
    "GroupNorm(eps=)": Row(lambda: nn.GroupNorm(1, 3, eps="a"), TypeError, "GroupNorm|eps|'a'"),
    "RMSNorm(eps=)": Row(lambda: nn.RMSNorm(3, eps=-1.0), ValueError, "RMSNorm|eps|0 or more|-1"),
    "Conv2d(padding_mode=)": Row(
        lambda: nn.Conv2d(3, 3, 3, padding_mode="reflect"), TypeError, "Conv2d|padding_mode|np.pad"
    ),
    "MSELoss()(input=)": Row(
        lambda: nn.MSELoss()(input=np.ones(2), target=np.ones(2)), TypeError, "mse_loss|'input'|by position"
    ),
    "kl_div of negative numbers": Row(
        lambda: F.kl_div(np.zeros(2), np.array([-1.0, 2.0])), ValueError, "kl_div|negative|-1|log_target"
    ),
    "BCELoss of labels": Row(
        lambda: nn.BCELoss()(np.array([0.5]), np.array([-1.0])), ValueError, "targets|from 0 to 1|-1|(y + 1) / 2"
    ),
    "BCEWithLogitsLoss of labels": Row(
        lambda: nn.BCEWithLogitsLoss()(np.ones(2), np.array([0, 2])), ValueError, "targets|from 0 to 1|2|cross_entropy"
    ),
    "hardtanh of crossed bounds": Row(lambda: F.hardtanh(np.ones(2), 1.0, -1.0), ValueError, "min_val|less|max_val"),
    "prelu of a weight": Row(lambda: F.prelu(np.ones((2, 3)), np.ones(2)), ValueError, "prelu|weight|(3,)|(2,)"),
    "BatchNorm1d of images": Row(
        lambda: nn.BatchNorm1d(3)(np.ones((2, 3, 4, 4))), ValueError, "BatchNorm1d|(batch, channels)|(2, 3, 4, 4)"
    ),
    "BatchNorm1d of one row": Row(lambda: nn.BatchNorm1d(3)(np.ones((1, 3))), ValueError, "batch_norm|(1, 3)|eval()"),
    "batch_norm of a vector": Row(lambda: F.batch_norm(np.ones(3), training=True), ValueError, "batch_norm|axes|(3,)"),
    "batch_norm of a weight": Row(
        lambda: F.batch_norm(np.ones((2, 3)), weight=np.ones(2), training=True),
        ValueError,
        "batch_norm|weight|(2,)|(3,)",
    ),
    "batch_norm without statistics": Row(
        lambda: F.batch_norm(np.ones((2, 3))), ValueError, "batch_norm|training=True|running_mean"
    ),
    "layer_norm of a shape": Row(lambda: F.layer_norm(np.ones((2, 3)), 2), ValueError, "layer_norm|(2,)|(2, 3)"),
    "LayerNorm(0)": Row(lambda: nn.LayerNorm(0), ValueError, "LayerNorm|normalized_shape|positive|0"),
    "group_norm of a vector": Row(lambda: F.group_norm(np.ones(3), 1), ValueError, "group_norm|axes|(3,)"),
    "GroupNorm(3, 4)": Row(lambda: nn.GroupNorm(3, 4), ValueError, "GroupNorm|4|3|multiple"),
    "embedding of floats": Row(lambda: nn.Embedding(3, 2)([0.5]), TypeError, "embedding|indices|float64|astype(int)"),
    "embedding out of range": Row(lambda: nn.Embedding(3, 2)([0, 3]), ValueError, "embedding|indices|0 to 2|3"),
    "embedding of a vector": Row(lambda: F.embedding([0], np.ones(3)), ValueError, "embedding|weight|(3,)"),
    "Embedding(padding_idx=)": Row(lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "Embedding|padding_idx|3"),
    "bilinear of shapes": Row(
        lambda: nn.Bilinear(2, 3, 4)(np.ones((5, 2)), np.ones((5, 2))), ValueError, "bilinear|x2|(5, 2)|(4, 2, 3)"
    ),
    "bilinear of a bias": Row(
        lambda: F.bilinear(np.ones(2), np.ones(2), np.ones((1, 2, 2)), np.ones(2)), ValueError, "bias|(1,)|(2,)"
    ),
    "cross_entropy of a weight": Row(
        lambda: F.cross_entropy(np.ones((2, 3)), [0, 1], weight=np.ones(2)),
        ValueError,
        "cross_entropy|weight|(2,)|(2, 3)",
    ),
    "CrossEntropyLoss(text)": Row(lambda: nn.CrossEntropyLoss("sum"), TypeError, "CrossEntropyLoss|weight|numbers"),
    "BCELoss of logits": Row(
        lambda: nn.BCELoss()(np.array([2.0]), np.array([1.0])), ValueError, "from 0 to 1|2.0|with_logits"
    ),
    "BCELoss of a weight": Row(
        lambda: nn.BCELoss(np.ones(2))(np.ones(3), np.ones(3)), ValueError, "weight|broadcast|(3,)|(2,)"
    ),
    "hinge of labels": Row(
        lambda: nn.HingeEmbeddingLoss()(np.ones(2), np.array([0, 1])), ValueError, "hinge|targets|1 or -1|0"
    ),
    "cosine of shapes": Row(
        lambda: F.cosine_embedding_loss(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)), ValueError, "targets|(2, 3)|(3,)"
    ),
    "gaussian_nll of var": Row(
        lambda: F.gaussian_nll_loss(np.ones(2), np.ones(2), -np.ones(2)), ValueError, "variances|negative|-1"
    ),
    "gaussian_nll of shapes": Row(
        lambda: F.gaussian_nll_loss(np.ones((2, 3)), np.ones((2, 3)), np.ones((3, 2))), ValueError, "var|(2, 3)|(3, 2)"
    ),
    "uniform_ of bounds": Row(lambda: nn.init.uniform_(t, 1.0, 0.0), ValueError, "uniform_|a=1.0|b=0.0|lower"),
    "normal_ of std": Row(lambda: nn.init.normal_(t, std=-1.0), ValueError, "normal_|std|0 or more|-1"),
    "constant_ of a text": Row(lambda: nn.init.constant_(t, "a"), TypeError, "constant_|val|number|'a'"),
    "calculate_gain(param=)": Row(
        lambda: nn.init.calculate_gain("leaky_relu", "a"), TypeError, "calculate_gain|param|number|'a'"
    ),
    "huber_loss of complex numbers": Row(
        lambda: F.huber_loss(np.ones(2) * 1j, np.ones(2)), TypeError, "huber_loss|prediction|real|complex128"
    ),
    "trunc_normal_ of bounds": Row(
        lambda: nn.init.trunc_normal_(t, a=9.0, b=10.0), ValueError, "trunc_normal_|a=9|b=10"
    ),
    "trunc_normal_ of std": Row(
        lambda: nn.init.trunc_normal_(t, std=0.0), ValueError, "trunc_normal_|std|greater than 0|0"
    ),
    "sparse_ of a vector": Row(lambda: nn.init.sparse_(t, 0.5), ValueError, "sparse_|matrix|(3,)"),
    "jvp without tuples": Row(lambda: mg.jvp(np.sin, np.ones(3), np.ones(3)), TypeError, "jvp|primals|tuple"),
}


def message(error: BaseException) -> str:
    """Return what the user reads: the message, and the notes below it."""
    return " ".join([str(error), *getattr(error, "__notes__", ())])


def raises() -> dict[tuple[str, int], str]:
    """Return the file, line and text of every `raise` of the library."""
    found = {}
    for path in sorted(file for folder in FOLDERS for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                    found[str(path), line] = ast.unparse(node.exc)
    return found


def places(error: BaseException | None) -> Iterator[tuple[str, int]]:
    """Yield the files and lines of an error's traceback, and of its causes'."""
    while error is not None:
        for frame, line in traceback.walk_tb(error.__traceback__):
            yield frame.f_code.co_filename, line
        error = error.__cause__ or error.__context__


def judged(row: Row, reached: set[tuple[str, int]] | None = None) -> list[str]:
    """Return what is wrong with a row's message; note the lines of its error."""
    try:
        value = row.call()
    except Exception as error:
        if reached is not None:
            reached.update(places(error))
        text = message(error)
        wrong = [f"{word!r} isn't in it" for word in row.words.split("|") if word.lower() not in text.lower()]
        if not isinstance(error, row.error):
            wrong.append(f"it is a {type(error).__name__}")
        if len(text) < SHORTEST:
            wrong.append("it is too short to say what to do")
        if inside := INSIDE.search(text):
            wrong.append(f"{inside[0]!r} comes from inside")
        return [*wrong, text] if wrong else []
    return [f"nothing was raised; the result was {value!r}"]


def endless() -> list[Any]:
    """Return a list that contains itself."""
    found: list[Any] = []
    found.append(found)
    return found


X, Y = np.ones((4, 2)), np.ones((4, 1))
SHARED = nn.Linear(2, 2)
WITH_SHARED = optim.SGD(SHARED.parameters(), lr=0.1)
TRAINING: dict[str, Row] = {
    # Data
    "batches of nothing": Row(lambda: data.batches(size=2), TypeError, "batches|at least one array"),
    "batches of a number": Row(lambda: data.batches(3.0, size=2), ValueError, "batches|first axis|3.0"),
    "batches of unequal arrays": Row(lambda: data.batches(X, X[:3], size=2), ValueError, "batches|(4, 2), (3, 2)"),
    "batches of no rows": Row(lambda: data.batches(X[:0], size=2), ValueError, "batches|at least one row|(0, 2)"),
    "batches of text": Row(lambda: data.batches(["a", "b"], size=1), TypeError, "batches|text"),
    "a batch size of 0": Row(lambda: data.batches(X, size=0), ValueError, "batches: size|positive integer|0"),
    "a batch size of 2.5": Row(lambda: data.batches(X, size=2.5), TypeError, "batches: size|positive integer|2.5"),
    "batches that are all dropped": Row(
        lambda: data.batches(X, size=9, drop_last=True), ValueError, "batches|drop_last|4 rows|of at most 4"
    ),
    "split by text": Row(lambda: data.split(X, sizes="half"), TypeError, "split: sizes|'half'|(0.8, 0.2)"),
    "split by nothing": Row(lambda: data.split(X, sizes=()), TypeError, "split: sizes|()|(0.8, 0.2)"),
    "standardise complex numbers": Row(
        lambda: data.standardise(X * 1j), ValueError, "standardise|real numbers|complex128"
    ),
    "standardise numbers whose squares overflow": Row(
        lambda: data.standardise(np.array([1e200, 0.0])), ValueError, "standardise|1 of its 1|squares"
    ),
    "split by more than there is": Row(lambda: data.split(X, sizes=(3, 3)), ValueError, "split: sizes|sum 4|(3, 3)"),
    "standardise NaN": Row(lambda: data.standardise(X * math.nan), ValueError, "standardise|2 of its 2|isfinite"),
    # Files
    "save the wrong way round": Row(lambda: mg.save({"a": 1}, "file"), TypeError, "save|path|{'a': 1}"),
    **{
        f"{what} a number": Row(call, TypeError, f"{what}|path must be a string or a Path|1234")
        for what, call in {
            "load(path)": lambda: mg.load(1234),
            "viz.save(t, path)": lambda: viz.save(t, 1234),
            "viz.explore(t, path)": lambda: viz.explore(t, 1234),
            "viz.animate": lambda: viz.animate(t, 1234),
        }.items()
    },
    "save a function": Row(in_folder(lambda path: mg.save(path, {"f": print})), TypeError, "save: f|print|state_dict"),
    "save complex numbers in safetensors": Row(
        saved_and_loaded(np.ones(2, complex), None, ".safetensors"), TypeError, "save|complex128|.npz"
    ),
    "save what contains itself": Row(in_folder(lambda path: mg.save(path, endless())), ValueError, "save|itself|parts"),
    "save in no folder": Row(
        in_folder(lambda path: mg.save(path / "a.npz", 1)), FileNotFoundError, "save: the folder|mkdir(parents=True)"
    ),
    "save over a folder": Row(
        in_folder(lambda path: mg.save(path.parent, 1)),
        IsADirectoryError,
        "save: path must be a file|the name of a file",
    ),
    "load of a file by torch.save": Row(
        in_folder(lambda path: (packed(path, "model/data.pkl"), mg.load(path))),
        ValueError,
        "load|pickle|safetensors.torch.save_file",
    ),
    "load of a text file": Row(
        in_folder(lambda path: (path.write_text("epoch,loss"), mg.load(path))), ValueError, "load|isn't a whole|file"
    ),
    "load of compressed arrays": Row(
        in_folder(lambda path: (np.savez_compressed(f"{path}.npz", a=np.zeros(9999)), mg.load(f"{path}.npz"))),
        ValueError,
        "load|compressed|np.savez",
    ),
    "load of bfloat16": Row(in_folder(bfloat16_loaded), ValueError, "load|a (BF16)|float32"),
    "load into another model": Row(
        saved_and_loaded(nn.Linear(2, 1), nn.Linear(1, 1)), ValueError, "load|(1, 2)|nothing was changed"
    ),
    "load into other keys": Row(
        saved_and_loaded({"a": 1}, {"b": 1}), ValueError, "load|['b']|only ['a']|nothing was changed"
    ),
    "no safetensors": Row(
        without("safetensors", saved_and_loaded(1, None, ".safetensors")), ImportError, "safetensors|pip install"
    ),
    # fit
    "fit a class": Row(trained(model=nn.ReLU), TypeError, "fit: model|a Module instance|ReLU"),
    "item of many lazy numbers": Row(
        lambda: mg.tensor(da.ones(4, chunks=2)).item(), ValueError, "item()|dask Array|(4,)|.sum()"
    ),
    "sums over blocks without Dask": Row(
        without("distributed", lambda: summed(client=3)()), ImportError, 'Dask|pip install "microgradnd[cluster]"'
    ),
    "sums over blocks with an address": Row(summed(client="tcp://here"), TypeError, "client|Client(...)|tcp://here"),
    "sums over one block without a list": Row(
        summed(data=np.ones(3)), TypeError, "data|a list of at least one block|[block]"
    ),
    "sums over two arrays": Row(summed(data=(X, Y)), TypeError, "data|a tuple of collections|got (array"),
    "sums over no blocks": Row(summed(data=[]), TypeError, "data|at least one block|got []"),
    "sums over blocks that differ": Row(
        summed(data=(da.ones(4, chunks=2), da.ones(4, chunks=3))), ValueError, "the same blocks|(2, 2)|rechunk"
    ),
    "sums over blocks in a gradient": Row(
        lambda: mg.grad(lambda w: summed(params=w)()[0])(1.0), TypeError, "differentiated or compiled|compile=True"
    ),
    "sums over blocks of a loss that draws": Row(
        summed(loss=lambda w, block: w * np.random.default_rng().normal()), TypeError, "two calls|rng="
    ),
    "sums over blocks of a loss that changes a buffer": Row(
        summed(loss=lambda m, x: m(x).sum(), params=nn.BatchNorm1d(2), data=[np.ones((3, 2))]),
        TypeError,
        "buffer|'running_mean'|nn.GroupNorm",
    ),
    "fit on blocks of unknown lengths": Row(
        lambda: Blocks("fit", (da.ones(4, chunks=2)[da.ones(4, chunks=2) > 0],), None),
        ValueError,
        "fit: the rows|compute_chunk_sizes()",
    ),
    "fit on blocks less the last": Row(
        lambda: Steps(nn.ReLU(), F.mse_loss, None, {}, None, 1, 2, 4).batches(
            [Blocks("fit", (da.ones(4, chunks=2),), None)], False, None, True
        ),
        ValueError,
        "fit: drop_last=True|Dask arrays",
    ),
    "fit on a cluster with a loss for each row": Row(
        lambda: batch_loss(lambda p, t: p - t, False, [nn.ReLU()], (1.0, np.ones(3))),
        ValueError,
        "fit: loss|one number|(3,)|np.mean",
    ),
    "fit with a class for a loss": Row(trained(loss=nn.MSELoss), TypeError, "fit: loss|nn.MSELoss()"),
    "fit with another model's optimizer": Row(
        trained(optimizer=optim.SGD([P(1)], lr=0.1)), ValueError, "fit: optimizer|model.parameters()"
    ),
    "fit with a loss for each row": Row(
        trained(loss=lambda p, t: (p - t) ** 2), ValueError, "fit: loss|one number|(4, 1)|np.mean"
    ),
    "fit with a loss of numbers": Row(trained(loss=lambda p, t: 3.0), TypeError, "fit: loss|parameters|3.0"),
    "fit with an order of text": Row(trained(shuffle="no"), TypeError, "fit: shuffle|True or False|'no'"),
    "fit without epochs": Row(
        lambda: nn.fit(nn.ReLU(), np.ones(3), F.mse_loss, None),  # type: ignore[call-arg]
        TypeError,
        "fit|it also needs epochs",
    ),
    "batches without a size": Row(lambda: mg.data.batches(np.ones(3)), TypeError, "batches|it also needs size"),  # type: ignore[call-arg]
    "batches with an order of text": Row(
        lambda: mg.data.batches(np.ones(3), size=1, shuffle="no"),  # type: ignore[arg-type]
        TypeError,
        "batches: shuffle|True or False|'no'",
    ),
    "fit with a step of text": Row(trained(scheduler_step="often"), TypeError, "fit: scheduler_step|'batch'|'often'"),
    "fit without a place to resume from": Row(trained(resume=True), TypeError, "fit: checkpoint|path|None"),
    "fit with a checkpoint in no folder": Row(
        trained(checkpoint="nowhere/run.ckpt"), TypeError, "fit: checkpoint|existing folder|nowhere"
    ),
    "fit with a checkpoint that is a folder": Row(
        in_folder(lambda path: trained(checkpoint=path.parent)()), TypeError, "fit: checkpoint|path of a file"
    ),
    "fit with a number for a checkpoint": Row(trained(checkpoint=3), TypeError, "fit: checkpoint|path|3"),
    "fit with a metric by name": Row(trained(metrics={"a": "mae"}), TypeError, "fit: metrics|functions|'mae'"),
    "fit with a metric named loss": Row(
        trained(metrics={"loss": np.mean}), TypeError, "fit: metrics|without the key 'loss'"
    ),
    "fit with a metric for each row": Row(
        trained(metrics={"error": np.subtract}), TypeError, "fit: metrics|'error'|one number|np.mean"
    ),
    "fit with a metric of None": Row(
        trained(metrics={"error": lambda p, t: None}), TypeError, "fit: metrics|'error'|one number|None"
    ),
    "fit with callbacks by name": Row(trained(callbacks=["stop"]), TypeError, "fit: callbacks|functions|'stop'"),
    "fit with a schedule by name": Row(
        trained(scheduler="cosine"), TypeError, "fit: scheduler|a schedule instance|'cosine'"
    ),
    "fit with another optimizer's schedule": Row(
        trained(scheduler=optim.lr_scheduler.StepLR(optim.SGD([P(1)], lr=0.1), 2)),
        ValueError,
        "fit: scheduler|another optimizer",
    ),
    "a compiled fit": Row(
        compiled(lambda x: nn.fit(SHARED, X, F.mse_loss, WITH_SHARED, epochs=1), X),
        TraceError,
        "fit()|outside|compile=True",
    ),
    "a history of something else": Row(
        lambda: History(loss=[1.0]).plot("mae"), ValueError, "History.plot|'mae'|among loss"
    ),
    "fit with another checkpoint": Row(
        in_folder(lambda path: [trained(checkpoint=path, resume=True, metrics=m)() for m in ({}, {"mae": max})]),
        ValueError,
        "fit: checkpoint|history of loss, mae|one of loss",
    ),
    "fit no rows": Row(trained(data=(X[:0], Y[:0])), ValueError, "fit|at least one row|(0, 2), (0, 1)"),
    "fit NaN": Row(
        trained(data=(np.full((4, 1), math.nan), Y)), FloatingPointError, "step 1 of epoch 1|in 'Linear'|array 0|row 0"
    ),
    "fit NaN that doesn't come again": Row(
        lambda: trained(loss=Fickle())(), FloatingPointError, "after 0 epochs|repeated|rng="
    ),
    "no tqdm": Row(without("tqdm", trained(progress=True)), ImportError, "tqdm|pip install"),
    "fit without a loss": Row(
        lambda: nn.fit(nn.Linear(1, 1), X, epochs=1),  # type: ignore[call-arg]
        TypeError,
        "nn.fit|needs loss, optimizer",
    ),
    # ONNX
    "export complex numbers": Row(
        exported(lambda x: np.abs(x * 1j)), NotImplementedError, "onnx.export|ONNX can't represent this network"
    ),
    "export a function": Row(lambda: mg.onnx.export(np.sin, X, "file"), TypeError, "onnx.export|module|sin"),  # type: ignore[arg-type]
    "export without a row": Row(exported(np.sort), NotImplementedError, "onnx.export|sort has no row|Called"),
    "export bits": Row(exported(lambda x: x * ((x > 0).astype(int) & 3)), NotImplementedError, "bits of integers"),
    "export with lists for subscripts": Row(
        exported(lambda x: np.einsum(x, [0, 1], [0])), NotImplementedError, "einsum|lists"
    ),
    "export a spread over the batch": Row(
        exported(lambda x: np.var(x, axis=0, ddof=1)), NotImplementedError, "var|ddof"
    ),
    "export columns first": Row(
        exported(lambda x: np.reshape(x, (-1, 3, 1), order="F")), NotImplementedError, "reshape|order='F'"
    ),
    "export several indices": Row(exported(lambda x: x[[0, 1], [1, 2]]), NotImplementedError, "getitem|more than one"),
    "export a frozen size": Row(exported(lambda x: x.reshape(4, 3)), ValueError, "onnx.export|fails for 9 rows|-1"),
    "export a fixed part": Row(exported(lambda x: x[: len(x) // 2]), NotImplementedError, "2 for 4 rows|4 for 9"),
    "export a part that grows": Row(
        exported(lambda x: np.concatenate([x, x])[: len(x)]), NotImplementedError, "getitem|grows with the batch"
    ),
    "export numbers of rows": Row(
        exported(lambda x: x * np.arange(len(x))[:, None]), ValueError, "onnx.export|for 4 rows|from the inputs"
    ),
    "export by cases": Row(
        exported(lambda x: np.sin(x) if len(x) == 4 else x),
        ValueError,
        "onnx.export|other functions for 9 rows|batch_first",
    ),
    "no onnx": Row(without("onnx", exported(np.sin)), ImportError, "onnx|pip install"),
}

ROWS = LIBRARY | RULES | ENGINE | MORE | TRAINING
REFUSES_TWO = np.lib.NumpyVersion(np.__version__) >= "2.5.0"  # elements, in np.cross
if REFUSES_TWO:
    del ROWS["np.cross of two"]
SINCE_2_1 = "np.clip of both", "np.cumulative_sum of a matrix"
HAS_2_1 = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
if not HAS_2_1:
    ROWS = {name: row for name, row in ROWS.items() if name not in SINCE_2_1}


@pytest.mark.parametrize("name", ROWS)
def test_a_message_says_what_to_do(name: str) -> None:
    assert judged(ROWS[name]) == []


UNREACHED = {  # the start of a `raise`, and why no user's call reaches it
    "UnfitError": "a step that can't be unrolled or compiled stays a sequence of NumPy calls",
    "AttributeError(name)": "names with an underscore: protocols that Python and NumPy look for",
    'GradientError(f"{self.where(path)}: the gradient of argument {i}': "the walk over the tape makes the shape fit",
    'GradientError(f"{self.where(path)}: the tangent of result {k}': "the walk over the tape makes the shape fit",
    "drawn('', None)": "it takes another thread that draws at the same time",
}
if REFUSES_TWO:
    UNREACHED["NotImplementedError('np.cross of vectors with two elements"] = "NumPy refuses them itself"
if not HAS_2_1:
    UNREACHED["TypeError('clip: bounds must be min= and max="] = "NumPy 2.0 has no min= and max="
    UNREACHED["ValueError(f'cumulative_{function.__name__[3:]} of a"] = "NumPy 2.0 has no cumulative_sum"


def test_every_message_has_a_row() -> None:
    reached: set[tuple[str, int]] = set()
    for row in ROWS.values():
        judged(row, reached)
    made = raises()
    seen = {made[place] for place in reached if place in made} | {
        text for text in made.values() if text.startswith(tuple(UNREACHED))
    }
    missing = {f"{Path(file).name}:{line} {text}" for (file, line), text in made.items() if text not in seen}
    assert missing == set()


@pytest.mark.parametrize("value", [None, "x", math.nan, [], np.ones(3), 1j], ids=repr)
def test_every_setting_of_every_layer_says_what_it_must_be(value: Any) -> None:
    """A value of a wrong kind, in each place of each constructor: right or refused."""
    for name, kind in vars(nn).items():
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            continue
        given = SIZES_OF.get(name, ())
        for place, setting in enumerate(inspect.signature(kind).parameters):
            args, kwargs = list(given), {}
            if place < len(args):
                args[place] = value
            else:
                kwargs[setting] = value
            try:
                kind(*args, **kwargs)
            except Exception as error:
                text = "\n".join([str(error), *getattr(error, "__notes__", ())])
                assert len(text) >= SHORTEST, f"{name}({setting}={value!r}): {text}"
                assert not INSIDE.search(text), f"{name}({setting}={value!r}): {text}"
