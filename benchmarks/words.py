"""Times the user's own words against the library's, for the same mathematics.

Owns: those comparisons, of a function's value and gradient, or of a whole training
step.
Must not own: how NumPy spells one step of a program (`spellings.py`), whole workloads
(`workloads.py`).
Read next: `../docs/performance.md`.

    python benchmarks/words.py [relu softmax ...] [--rounds 15] [--numba]

The first spelling of each group is the library's own word; the others are shown as
ratios to it, eagerly and compiled. All values and gradients are compared.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

from pinned import pin

if __name__ == "__main__":
    pin(1)

import numpy as np

import by_hand
import microgradnd as mg
import ours
from by_hand import BETA1, BETA2, EPS
from microgradnd import nn
from workloads import WORKLOADS

F = nn.functional
ROUND_SECONDS = 0.02
RNG = np.random.default_rng(0)
ROWS, COLUMNS = 256, 128
EYE = np.eye(COLUMNS, dtype=np.float32)
Y = RNG.integers(0, COLUMNS, ROWS)
N = np.arange(ROWS)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


X, G = normal(ROWS, COLUMNS), normal(ROWS, COLUMNS)
W, B = normal(COLUMNS), normal(COLUMNS)
IMAGES, KERNELS = normal(16, 8, 16, 16), normal(16, 8, 3, 3)
HEADS = tuple(normal(8, 4, 64, 32) for _ in range(3))


def shifted(x: Any) -> Any:
    return x - np.max(x, axis=-1, keepdims=True)


def shares(e: Any) -> Any:
    return e / np.sum(e, axis=-1, keepdims=True)


def logs(z: Any) -> Any:
    return z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))


def norm_by_mean(x: Any, w: Any, b: Any) -> Any:
    z = x - np.mean(x, axis=-1, keepdims=True)
    return z / np.sqrt(np.mean(z**2, axis=-1, keepdims=True) + 1e-5) * w + b


def norm_by_var(x: Any, w: Any, b: Any) -> Any:
    return (x - x.mean(-1, keepdims=True)) / (x.var(-1, keepdims=True) + 1e-5) ** 0.5 * w + b


def gelu(x: Any, cube: Any) -> Any:
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * cube)))


def huber_by_where(e: Any) -> Any:
    return np.where(np.abs(e) <= 1, 0.5 * e**2, np.abs(e) - 0.5)


def huber_by_minimum(e: Any) -> Any:
    near = np.minimum(np.abs(e), 1.0)
    return near * (np.abs(e) - 0.5 * near)


def batch_norm_by_mean(x: Any, w: Any, b: Any) -> Any:
    z = x - np.mean(x, axis=0)
    return w * z / np.sqrt(np.mean(z**2, axis=0) + 1e-5) + b


def batch_norm_by_var(x: Any, w: Any, b: Any) -> Any:
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * w + b


def softplus_by_maximum(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def conv_by_slices(x: Any, w: Any) -> Any:
    windows = [x[:, :, i : i + 14, j : j + 14] for i in range(3) for j in range(3)]
    return sum(np.einsum("nchw,oc->nohw", window, w[:, :, k // 3, k % 3]) for k, window in enumerate(windows))


def conv_by_windows(x: Any, w: Any) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w)


def attention_by_matmul(q: Any, k: Any, v: Any) -> Any:
    return shares(np.exp(shifted(q @ np.swapaxes(k, -1, -2) / 32**0.5))) @ v


def attention_by_einsum(q: Any, k: Any, v: Any) -> Any:
    weights = F.softmax(np.einsum("bhqd,bhkd->bhqk", q, k) / 32**0.5)
    return np.einsum("bhqk,bhkd->bhqd", weights, v)


GROUPS: dict[str, tuple[tuple[Any, ...], dict[str, Callable[..., Any]]]] = {
    "relu": (
        (X,),
        {
            "F.relu(h)": F.relu,
            "np.maximum(h, 0)": lambda h: np.maximum(h, 0),
            "np.maximum(0, h)": lambda h: np.maximum(0.0, h),
            "np.where(h > 0, h, 0)": lambda h: np.where(h > 0, h, 0),
            "h * (h > 0)": lambda h: h * (h > 0),
            "(h + abs(h)) / 2": lambda h: (h + np.abs(h)) / 2,
        },
    ),
    "softmax": (
        (X,),
        {
            "F.softmax(x)": F.softmax,
            "shifted by the maximum": lambda x: shares(np.exp(shifted(x))),
            "exp(x) / sum": lambda x: shares(np.exp(x)),
        },
    ),
    "log-softmax": (
        (X,),
        {
            "F.log_softmax(x)": F.log_softmax,
            "shifted by the maximum": lambda x: logs(shifted(x)),
            "x - log(sum(exp(x)))": logs,
            "log(softmax)": lambda x: np.log(shares(np.exp(shifted(x)))),
        },
    ),
    "cross-entropy": (
        (X,),
        {
            "F.cross_entropy(x, y)": lambda x: F.cross_entropy(x, Y),
            "-mean(log_softmax[n, y])": lambda x: -np.mean(F.log_softmax(x)[N, Y]),
            "shifted, picked": lambda x: -np.mean(logs(shifted(x))[N, Y]),
            "not shifted, picked": lambda x: np.mean(np.log(np.sum(np.exp(x), axis=1)) - x[N, Y]),
            "of one-hot rows": lambda x: -np.mean(np.sum(EYE[Y] * logs(shifted(x)), axis=1)),
        },
    ),
    "layer norm": (
        (X, W, B),
        {
            "F.layer_norm(x, n, w, b)": lambda x, w, b: F.layer_norm(x, (COLUMNS,), w, b),
            "by np.mean": norm_by_mean,
            "by x.var": norm_by_var,
        },
    ),
    "third power": (
        (X,),
        {"x * x * x": lambda x: x * x * x, "x**3": lambda x: x**3, "np.power(x, 3)": lambda x: np.power(x, 3)},
    ),
    "fourth power": ((X,), {"(x * x) * (x * x)": lambda x: (x * x) * (x * x), "x**4": lambda x: x**4}),
    "square": ((X,), {"np.square(x)": np.square, "x**2": lambda x: x**2, "x * x": lambda x: x * x}),
    "root": (
        (abs(X),),
        {"np.sqrt(x)": np.sqrt, "x**0.5": lambda x: x**0.5, "np.power(x, 0.5)": lambda x: np.power(x, 0.5)},
    ),
    "root of the inverse": ((abs(X) + 1,), {"1 / np.sqrt(x)": lambda x: 1 / np.sqrt(x), "x**-0.5": lambda x: x**-0.5}),
    "clip": (
        (X,),
        {
            "np.clip(x, -1, 1)": lambda x: np.clip(x, -1, 1),
            "maximum, minimum": lambda x: np.minimum(np.maximum(x, -1), 1),
            "by np.where": lambda x: np.where(x > 1, 1, np.where(x < -1, -1, x)),
            "np.where the other way": lambda x: np.where(x < 1, np.where(x > -1, x, -1.0), 1.0),
        },
    ),
    "leaky relu": (
        (X,),
        {
            "F.leaky_relu(x)": F.leaky_relu,
            "np.where(x > 0, x, 0.01 * x)": lambda x: np.where(x > 0, x, 0.01 * x),
            "x * np.where(x > 0, 1, 0.01)": lambda x: x * np.where(x > 0, 1.0, 0.01).astype(np.float32),
            "np.maximum(x, 0.01 * x)": lambda x: np.maximum(x, 0.01 * x),
            "maximum and minimum": lambda x: np.maximum(x, 0) + 0.01 * np.minimum(x, 0),
        },
    ),
    "huber": (
        (X, G),
        {
            "F.huber_loss(x, y)": lambda x, y: F.huber_loss(x, y, "none"),
            "by np.where": lambda x, y: huber_by_where(x - y),
            "by np.minimum": lambda x, y: huber_by_minimum(x - y),
        },
    ),
    "variance": (
        (X,),
        {
            "np.var(x, axis=0)": lambda x: np.var(x, axis=0),
            "mean of squares": lambda x: np.mean((x - np.mean(x, axis=0)) ** 2, axis=0),
            "sum of squares / n": lambda x: np.sum((x - x.sum(axis=0) / len(x)) ** 2, axis=0) / len(x),
            "np.std(x, axis=0) ** 2": lambda x: np.std(x, axis=0) ** 2,
        },
    ),
    "variance of rows": (
        (X,),
        {
            "np.var(x, axis=1)": lambda x: np.var(x, axis=1),
            "mean of squares": lambda x: np.mean((x - np.mean(x, axis=1, keepdims=True)) ** 2, axis=1),
        },
    ),
    "deviation": (
        (X,),
        {
            "np.sqrt(np.var(x, axis=0))": lambda x: np.sqrt(np.var(x, axis=0)),
            "np.std(x, axis=0)": lambda x: np.std(x, axis=0),
        },
    ),
    "batch norm": (
        (X, W, B),
        {
            "F.batch_norm(x, w, b)": lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
            "by np.mean": batch_norm_by_mean,
            "by x.var": batch_norm_by_var,
        },
    ),
    "softplus": (
        (X,),
        {
            "F.softplus(x)": F.softplus,
            "np.logaddexp(0, x)": lambda x: np.logaddexp(0, x),
            "np.log1p(np.exp(x))": lambda x: np.log1p(np.exp(x)),
            "shifted by the maximum": softplus_by_maximum,
        },
    ),
    "squared length": (
        (X,),
        {
            "np.sum(x * x)": lambda x: np.sum(x * x),
            "np.linalg.norm(x) ** 2": lambda x: np.linalg.norm(x) ** 2,
            "np.vdot(x, x)": lambda x: np.vdot(x, x),
        },
    ),
    "lengths": (
        (X,),
        {
            "np.sqrt(np.sum(x ** 2, axis=1))": lambda x: np.sqrt(np.sum(x**2, axis=1)),
            "np.linalg.norm(x, axis=1)": lambda x: np.linalg.norm(x, axis=1),
        },
    ),
    "convolution": (
        (IMAGES, KERNELS),
        {
            "F.conv2d(x, w)": F.conv2d,
            "by slices": conv_by_slices,
            "by sliding windows": conv_by_windows,
        },
    ),
    "gelu": (
        (X,),
        {
            "F.gelu(x, 'tanh')": lambda x: F.gelu(x, approximate="tanh"),
            "with x * x * x": lambda x: gelu(x, x * x * x),
            "with x**3": lambda x: gelu(x, x**3),
        },
    ),
    "attention": (
        HEADS,
        {
            "F.scaled_dot_product_attention": F.scaled_dot_product_attention,
            "by @": attention_by_matmul,
            "by np.einsum": attention_by_einsum,
        },
    ),
}


def seconds(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def compare(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the median time of each call as a ratio to the first, in alternating
    rounds.
    """
    repeats = [max(1, int(ROUND_SECONDS / min(seconds(call, 1) for _ in range(3)))) for call in calls]
    times = [[seconds(call, n) for call, n in zip(calls, repeats, strict=True)] for _ in range(rounds)]
    return [statistics.median(row[i] / row[0] for row in times) for i in range(len(calls))]


def derivatives(args: tuple[Any, ...], spellings: dict[str, Callable[..., Any]]) -> list[Callable[..., Any]]:
    """Return functions that compute a weighted sum of each spelling and gradients."""

    def weighted(f: Callable[..., Any]) -> Callable[..., Any]:
        weight = np.random.default_rng(1).normal(size=np.shape(f(*args))).astype(np.float32)
        return mg.value_and_grad(lambda *args: np.sum(f(*args) * weight), tuple(range(len(args))))

    return [weighted(f) for f in spellings.values()]


def bound(f: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[], Any]:
    """Return a call of a function."""
    return lambda: f(*args)


def steps_of_w3(backend: str) -> dict[str, Callable[[], Any]]:
    """Return Adam steps of W3: by `optim`, and with new lists in each call."""
    work = WORKLOADS["W3"]()
    both = mg.value_and_grad(functools.partial(work.loss, ours.WORDS), tuple(range(len(work.start))))
    _, lr = work.learning or ("", 0.0)

    def functional(params: Any, first: Any, second: Any, count: Any, x: Any, y: Any) -> Any:
        loss, grads = both(*params, x, y)
        count = count + 1
        first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, grads, strict=True)]
        second = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, grads, strict=True)]
        m_hat, v_hat = [m / (1 - BETA1**count) for m in first], [v / (1 - BETA2**count) for v in second]
        moved = zip(params, m_hat, v_hat, strict=True)
        return loss, [p - lr * m / (np.sqrt(v) + EPS) for p, m, v in moved], first, second, count

    program = mg.compile(functional, backend=backend)
    zeros = [np.zeros_like(p) for p in work.start]
    state: list[Any] = [[p.copy() for p in work.start], zeros, zeros, 0.0]

    def step() -> Any:
        loss, *state[:] = program(*state, *work.data)
        return loss

    return {
        "by hand in NumPy": by_hand.idiomatic("W3", work).step,
        f"optim.Adam, {backend}": ours.compiled("W3", work, backend=backend).step,
        f"lists made anew, {backend}": step,
    }


def measure(groups: list[str], rounds: int, backends: list[str]) -> None:
    """Print each group's spellings with their ratios: eager, and by each backend."""
    for title in groups or [*GROUPS, "W3"]:
        print(title)
        if title == "W3":
            for backend in backends:
                steps = steps_of_w3(backend)
                show(list(steps), [compare(list(steps.values()), rounds)])
            continue
        args, spellings = GROUPS[title]
        functions = derivatives(args, spellings)
        columns = [[bound(f, args) for f in functions]]
        columns += [[bound(mg.compile(f, backend=backend), args) for f in functions] for backend in backends]
        for calls in columns:
            expected = calls[0]()
            for name, call in zip(spellings, calls, strict=True):
                value, gradients = call()
                np.testing.assert_allclose(value, expected[0], rtol=1e-3, atol=1e-3, err_msg=name)
                for a, b in zip(gradients, expected[1], strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=name)
        show(list(spellings), [compare(calls, rounds) for calls in columns])


def show(names: list[str], columns: list[list[float]]) -> None:
    """Print a table of ratios."""
    for i, name in enumerate(names):
        print(f"    {name:40} {'  '.join(f'{column[i]:8.2f}' for column in columns)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("groups", nargs="*", help="by default all; W3: a training step, to NumPy by hand")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--numba", action="store_true", help="loops too")
    options = parser.parse_args()
    measure(options.groups, options.rounds, ["numpy", *(["numba"] if options.numba else [])])


if __name__ == "__main__":
    main()
