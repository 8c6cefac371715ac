"""The workloads: data, starting values and functions, once for all libraries.

Owns: what W1-W5 and W8-W17 compute, and the words in which they say it.
Must not own: any library's program (`by_hand.py`, `ours.py`, `peers.py`), timing and
checking (`run.py`).
Read next: `by_hand.py`.

A loss uses only the few words of a `Words`, which each library spells in its own best
way: `words.linear(x, w, b)` is the fused operation in PyTorch, and a product and a sum
in libraries without one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Words(SimpleNamespace):
    """What a loss is written with: sum, stack, sin, exp, tanh, relu, linear, softmax,
    mse_loss, cholesky, solve_lower, ...

    Of an object of a class like this one a compiled function watches only what it
    reads, as of a module; of a plain `SimpleNamespace` it watches everything.
    """


@dataclass(frozen=True)
class Work:
    """One workload.

    Attributes
    ----------
    title : str
        What it is, in one line.
    start : list of arrays
        The parameters before the first step, or the point at which to differentiate.
    data : tuple of arrays
        What else the loss takes.
    loss : callable
        `loss(words, *start, *data)`, a number.
    learning : ("loop", "sgd" or "adam", float), optional
        How the parameters follow from the gradients, and the learning rate; "loop" is
        gradient descent without an optimizer, written out.
        None: the gradient is the result.
    layers : callable, optional
        The network as modules, given the library's `nn` and dtype; `start` is in their
        order. The loss is then `criterion`.
    criterion : str
        The loss of a network's output and the labels: a name in `Words`, and in
        `nn.functional`.
    result : {"gradient", "value and gradient", "hvp", "jacobian", "hessian"}
        What is computed if nothing is learned.
    """

    title: str
    start: list[Array]
    data: tuple[Array, ...]
    loss: Callable[..., Any]
    learning: tuple[str, float] | None = None
    layers: Callable[[Any, Any], Any] | None = None
    criterion: str = ""
    result: str = ""

    @property
    def tolerance(self) -> float:
        """The largest accepted difference, in units of an array's largest element."""
        return 1e-9 if self.start[0].dtype == np.float64 else 1e-4


def w1(n: int = 100, lr: float = 1e-4) -> Work:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 3))
    y = x @ [[0.2], [-1.3], [-0.5]] + rng.normal(size=(n, 1))
    start = [rng.normal(size=(3, 32)), np.zeros((1, 32)), rng.normal(size=(32, 1)), np.zeros((1, 1))]

    def loss(words: Words, w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        return words.sum((words.relu(x @ w1 + b1) @ w2 + b2 - y) ** 2)

    title = f"a step of a two-layer network: n = {n:,}, 3-32-1, SSE, SGD, float64"
    return Work(title, start, (x, y), loss, ("loop", lr))


def w1_of_layers() -> Work:
    """Return W1 with modules and an optimizer; a weight has the shape (outputs,
    inputs).
    """
    work = w1()
    start = [p.T.copy() if p.shape[0] > 1 else p.reshape(-1) for p in work.start]

    def layers(nn: Any, dtype: Any) -> Any:
        return nn.Sequential(nn.Linear(3, 32, dtype=dtype), nn.ReLU(), nn.Linear(32, 1, dtype=dtype))

    return replace(work, start=start, learning=("sgd", 1e-4), layers=layers, criterion="sse_loss")


def w2() -> Work:
    rng = np.random.default_rng(2)
    x = rng.uniform(-5, 5, size=(20, 1))
    y = 4 * np.sin(x) + rng.normal(size=(20, 1))
    start = [rng.normal(size=(64, 1)), np.zeros(64), rng.normal(size=(1, 64)) / 8, np.zeros(1)]

    def loss(words: Words, w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        return words.mse_loss(words.linear(words.relu(words.linear(x, w1, b1)), w2, b2), y)

    def layers(nn: Any, dtype: Any) -> Any:
        return nn.Sequential(nn.Linear(1, 64, dtype=dtype), nn.ReLU(), nn.Linear(64, 1, dtype=dtype))

    title = "20 x 1-64-1, mean of squared errors, Adam, float64"
    return Work(title, start, (x, y), loss, ("adam", 1e-2), layers, "mse_loss")


def w3() -> Work:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(128, 64)).astype(np.float32)
    y = rng.integers(0, 10, size=128)
    start: list[Array] = []
    for m, n in pairwise((64, 128, 128, 10)):
        start += [(rng.normal(size=(n, m)) / np.sqrt(m)).astype(np.float32), np.zeros(n, np.float32)]

    def loss(words: Words, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, y: Any) -> Any:
        a = words.relu(words.linear(x, w1, b1))
        return words.cross_entropy(words.linear(words.relu(words.linear(a, w2, b2)), w3, b3), y)

    def layers(nn: Any, dtype: Any) -> Any:
        first, second, last = (
            nn.Linear(64, 128, dtype=dtype),
            nn.Linear(128, 128, dtype=dtype),
            nn.Linear(128, 10, dtype=dtype),
        )
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)

    title = "batch 128, 64-128-128-10, cross-entropy, Adam, float32"
    return Work(title, start, (x, y), loss, ("adam", 1e-3), layers, "cross_entropy")


def w4() -> Work:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1024, 1024)).astype(np.float32)
    y = rng.normal(size=(1024, 10)).astype(np.float32)
    sizes = (1024, 1024, 1024, 10)
    start = [(rng.normal(size=(m, n)) / np.sqrt(m)).astype(np.float32) for m, n in pairwise(sizes)]

    def loss(words: Words, w1: Any, w2: Any, w3: Any, x: Any, y: Any) -> Any:
        return words.sum((words.relu(words.relu(x @ w1) @ w2) @ w3 - y) ** 2) / 1024

    return Work("batch 1024, 1024-1024-1024-10, SGD, float32", start, (x, y), loss, ("sgd", 1e-3))


def w5() -> Work:
    x = np.random.default_rng(5).normal(size=1_000_000)

    def loss(words: Words, x: Any) -> Any:
        return words.sum(words.sin(x) * words.exp(-(x**2)) + words.tanh(x))

    return Work("d/dx sum(sin x exp(-x²) + tanh x), a million float64", [x], (), loss, result="gradient")


def w8() -> Work:
    rng = np.random.default_rng(8)
    x, v = rng.normal(size=1000), rng.normal(size=1000)

    def loss(words: Words, x: Any) -> Any:
        return words.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    return Work("Hessian-vector product, Rosenbrock in 1000 dimensions", [x], (v,), loss, result="hvp")


def w9() -> Work:
    rng = np.random.default_rng(9)
    q, k, v, y = (rng.normal(size=(8, 4, 64, 32)).astype(np.float32) for _ in range(4))

    def loss(words: Words, q: Any, k: Any, v: Any, y: Any) -> Any:
        weights = words.softmax(q @ words.swapped(k) * 32**-0.5)
        return words.sum((weights @ v - y) ** 2)

    title = "attention and its gradient: batch 8, 4 heads, T = 64, d = 32, float32"
    return Work(title, [q, k, v], (y,), loss, result="value and gradient")


def w10() -> Work:
    rng = np.random.default_rng(10)
    x = rng.normal(size=(64, 1, 8, 8)).astype(np.float32)
    y = rng.integers(0, 10, size=64)
    start: list[Array] = []
    for shape in ((16, 1, 3, 3), (32, 16, 3, 3), (10, 128)):
        start += [(rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)]
        start += [np.zeros(shape[0], np.float32)]

    def loss(words: Words, k1: Any, b1: Any, k2: Any, b2: Any, w3: Any, b3: Any, x: Any, y: Any) -> Any:
        a = words.max_pool2d(words.relu(words.conv2d(x, k1, b1)))
        a = words.max_pool2d(words.relu(words.conv2d(a, k2, b2)))
        return words.cross_entropy(words.linear(a.reshape(64, 128), w3, b3), y)

    def layers(nn: Any, dtype: Any) -> Any:
        first = nn.Conv2d(1, 16, 3, padding=1, dtype=dtype), nn.ReLU(), nn.MaxPool2d(2)
        second = nn.Conv2d(16, 32, 3, padding=1, dtype=dtype), nn.ReLU(), nn.MaxPool2d(2)
        return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(128, 10, dtype=dtype))

    title = "convolutions 3 × 3 on 8 × 8 digits, 1-16-32 channels, two pools, a linear layer, batch 64, Adam, float32"
    return Work(title, start, (x, y), loss, ("adam", 1e-3), layers, "cross_entropy")


def by_modules(words: Words, *args: Any) -> Any:
    """Stand in for the loss of a network that exists only as modules."""
    raise NotImplementedError("this network is only written with modules")


def w11() -> Work:
    rng = np.random.default_rng(11)
    x = rng.normal(size=(32, 16, 16)).astype(np.float32)
    y = rng.integers(0, 10, size=32)
    shapes = (192, 16), (192, 64), (192,), (192,), (10, 64), (10,)
    start = [rng.uniform(-1 / 8, 1 / 8, shape).astype(np.float32) for shape in shapes]

    def layers(nn: Any, dtype: Any) -> Any:
        class Network(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.gru = nn.GRU(16, 64, batch_first=True, dtype=dtype)
                self.head = nn.Linear(64, 10, dtype=dtype)

            def forward(self, x: Any) -> Any:
                _, last = self.gru(x)
                return self.head(last[-1])

        return Network()

    title = "GRU, T = 16, batch 32, 16 → 64, linear on the last state, cross-entropy, Adam, float32"
    return Work(title, start, (x, y), by_modules, ("adam", 1e-3), layers, "cross_entropy")


BLOCK = [(192, 64), (192,), (64, 64), (64,), (256, 64), (256,), (64, 256), (64,), (64,), (64,), (64,), (64,)]


def w12() -> Work:
    rng = np.random.default_rng(12)
    x = rng.integers(0, 65, size=(8, 64))
    y = rng.integers(0, 65, size=8 * 64)
    shapes = [(65, 64), (64, 64), *BLOCK, *BLOCK, (64,), (64,), (65, 64), (65,)]
    # of vectors too: where a gradient should be 0, as for the bias of keys, it is
    # rounding noise, which Adam turns into steps
    start = [(rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32) for shape in shapes]

    def layers(nn: Any, dtype: Any) -> Any:
        options = {
            "dropout": 0.0,
            "activation": functools.partial(nn.functional.gelu, approximate="tanh"),
            "batch_first": True,
            "norm_first": True,
            "dtype": dtype,
        }
        in_torch = hasattr(nn, "Transformer")  # where `is_causal` only says what the mask is
        mask = nn.Transformer.generate_square_subsequent_mask(64) if in_torch else None

        class Network(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.symbols = nn.Embedding(65, 64, dtype=dtype)
                self.places = nn.Embedding(64, 64, dtype=dtype)
                self.first = nn.TransformerEncoderLayer(64, 4, 256, **options)
                self.second = nn.TransformerEncoderLayer(64, 4, 256, **options)
                self.norm = nn.LayerNorm(64, dtype=dtype)
                self.head = nn.Linear(64, 65, dtype=dtype)

            def forward(self, x: Any) -> Any:
                h = self.symbols(x) + self.places.weight
                h = self.second(self.first(h, mask, is_causal=True), mask, is_causal=True)
                return self.head(self.norm(h)).reshape(-1, 65)

        return Network()

    title = "two pre-norm transformer blocks, d = 64, 4 heads, T = 64, batch 8, vocabulary 65, Adam, float32"
    return Work(title, start, (x, y), by_modules, ("adam", 1e-3), layers, "cross_entropy")


TURNS = 500
STEP = 0.02


def slope(words: Words, y: Any, p: Any) -> Any:
    """Return the growth of prey and predators, after Lotka and Volterra."""
    return words.stack([p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]])


def moved(words: Words, y: Any, p: Any) -> Any:
    """Return what a step of a Runge-Kutta method of fourth order leads to."""
    k1 = slope(words, y, p)
    k2 = slope(words, y + STEP / 2 * k1, p)
    k3 = slope(words, y + STEP / 2 * k2, p)
    k4 = slope(words, y + STEP * k3, p)
    return y + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def w13() -> Work:
    rng = np.random.default_rng(13)
    first = np.array([2.0, 1.0])
    orbit, plain = [first], Words(stack=np.stack)
    for _ in range(TURNS):
        orbit.append(moved(plain, orbit[-1], np.array([1.1, 0.4, 0.35, 0.9])))
    seen = np.stack(orbit[1:]) + 0.1 * rng.normal(size=(TURNS, 2))

    def loss(words: Words, p: Any, first: Any, seen: Any) -> Any:
        def turn(y: Any, at: Any) -> Any:
            y = moved(words, y, p)
            return y, words.sum((y - at) ** 2)

        if hasattr(words, "scan"):
            return words.sum(words.scan(turn, first, seen)[1])
        y, misfit = first, 0.0
        for t in range(TURNS):
            y, more = turn(y, seen[t])
            misfit = misfit + more
        return misfit

    title = "squared misfit of Lotka-Volterra by RK4, 500 steps, and its gradient in 4 parameters, float64"
    return Work(title, [np.array([1.0, 0.5, 0.3, 0.8])], (first, seen), loss, result="value and gradient")


def w14(n: int) -> Work:
    rng = np.random.default_rng(14)
    x = np.sort(rng.uniform(-3, 3, n))
    y = np.sin(2 * x) + 0.1 * rng.normal(size=n)
    start = [np.array([-0.2, 0.1, -2.0])]  # logarithms of the length, and of the variances of values and of errors

    def loss(words: Words, log: Any, squares: Any, eye: Any, y: Any) -> Any:
        near = words.exp(-0.5 * squares * words.exp(-2 * log[0]))
        factor = words.cholesky(words.exp(log[1]) * near + words.exp(log[2]) * eye)
        half = words.solve_lower(factor, y)
        return 0.5 * words.sum(half * half) + words.sum(words.log(words.diagonal(factor)))

    title = f"likelihood of a Gaussian process and its gradient in three hyperparameters, n = {n}, float64"
    return Work(title, start, ((x[:, None] - x) ** 2, np.eye(n), y), loss, result="value and gradient")


def w16() -> Work:
    rng = np.random.default_rng(16)
    x = rng.normal(size=64)
    data = tuple(rng.normal(size=shape) / 8 for shape in ((64, 64), (64,), (64, 64), (64,)))

    def outputs(words: Words, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        return words.tanh(x @ w1 + b1) @ w2 + b2

    return Work("Jacobian of a 64-64-64 tanh network, float64", [x], data, outputs, result="jacobian")


def w16_hessian() -> Work:
    work = w16()

    def loss(words: Words, *args: Any) -> Any:
        return 0.5 * words.sum(work.loss(words, *args) ** 2)

    title = "Hessian of half the sum of squares of a 64-64-64 tanh network, float64"
    return replace(work, title=title, loss=loss, result="hessian")


def w17() -> Work:
    rng = np.random.default_rng(17)
    x, y = rng.normal(size=(4, 2)), rng.normal(size=(4, 1))
    start = [rng.normal(size=(2, 8)), np.zeros((1, 8)), rng.normal(size=(8, 1)), np.zeros((1, 1))]

    def loss(words: Words, w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        return words.sum((words.tanh(x @ w1 + b1) @ w2 + b2 - y) ** 2)

    return Work("the least work: batch 4, 2-8-1, tanh, SSE, SGD, float64", start, (x, y), loss, ("loop", 1e-3))


WORKLOADS: dict[str, Callable[[], Work]] = {
    "W1": w1,
    "W2": w2,
    "W3": w3,
    "W4": w4,
    "W5": w5,
    "W8": w8,
    "W9": w9,
    "W10": w10,
    "W11": w11,
    "W12": w12,
    "W13": w13,
    "W14": functools.partial(w14, 500),
    "W14 small": functools.partial(w14, 64),
    "W15": lambda: w1(100_000, 1e-7),
    "W16": w16,
    "W16 Hessian": w16_hessian,
    "W17": w17,
}


@dataclass
class Candidate:
    """One library's program of a workload.

    Attributes
    ----------
    step : callable
        Does one unit of work and returns its result: the loss, the gradient, or the
        loss and the gradients.
    state : callable
        Returns the parameters as they are now; nothing if nothing is learned.
    restart : callable
        Gives the parameters their first values again, so that every round trains from
        there.
    source : callable
        Returns the program's source, if it is a compiled one.
    first : float
        Seconds that it took to make the program and take its first step, with whatever
        is traced and compiled for it.
    """

    step: Callable[[], Any]
    state: Callable[[], Sequence[Any]] = lambda: ()
    restart: Callable[[], Any] = lambda: None
    source: Callable[[], str] = lambda: ""
    first: float = 0.0


def overwritten(arrays: Sequence[Any], values: Sequence[Any]) -> Callable[[], None]:
    """Return a function that writes values over arrays."""

    def restart() -> None:
        for array, value in zip(arrays, values, strict=True):
            array[...] = value

    return restart
