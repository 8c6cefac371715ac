"""Does anything stay behind? Scenarios and training with the garbage collector off.

Owns: the scenarios, and how what is left after each is counted.
Must not own: times (`run.py`), or the memory that a step needs (`memory.py`).
Read next: `../tests/test_leaks.py`, which runs each scenario a few times.

With the collector off, a reference cycle is a leak. So the scenarios count the objects
that the collector finds afterwards, and the bytes that are still held then, NumPy's
arrays included. Memory that a scenario keeps only once (caches, imports) doesn't count.
"""

import argparse
import contextlib
import copy
import functools
import gc
import io
import pickle
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import microgradnd as mg
from microgradnd import nn, operands, optim, viz
from microgradnd.nn import functional as F

N = 70
X = np.random.default_rng(0).normal(size=(N, N))  # 39 kB: one left behind is visible
FREE = 20_000  # bytes that a series of runs may hold: noise from Python's own tables
SCENARIOS: dict[str, Callable[[], Any]] = {}


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    """Enter a function in the table under its name."""
    SCENARIOS[function.__name__.replace("_", " ")] = function
    return function


def leaf(array: Any = X) -> Any:
    return mg.tensor(array, requires_grad=True)


def network() -> Any:
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(N, 8, rng=rng), nn.Tanh(), nn.Linear(8, 1, rng=rng))


@mg.primitive
def cube(x: Any) -> Any:
    return x**3


@mg.primitive
def broken(x: Any) -> Any:
    return x * 2


mg.defvjp(cube, lambda g, out, x: 3 * g * x**2)
mg.defjvp(cube, lambda t, out, x: 3 * t * x**2)
mg.defvjp(broken, lambda g, out, x: 1 // 0)


# The tape


@scenario
def backward() -> None:
    (np.tanh(leaf() @ leaf()) ** 2).sum().backward()


@scenario
def a_loss_that_is_dropped() -> None:
    (np.tanh(leaf() @ leaf()) ** 2).sum()


@scenario
def backward_twice() -> None:
    loss = np.exp(-(leaf() ** 2)).sum()
    loss.backward(retain_graph=True)
    loss.backward()


@scenario
def a_graph_that_is_retained() -> None:
    np.exp(-(leaf() ** 2)).sum().backward(retain_graph=True)


@scenario
def gradients_of_gradients() -> None:
    x = leaf()
    (x**3).sum().backward(create_graph=True)
    g, x.grad = x.grad, None
    g.sum().backward()


@scenario
def a_recorded_gradient_that_stays() -> None:
    (leaf() ** 3).sum().backward(create_graph=True)


@scenario
def hooks() -> None:
    x = leaf()
    y = np.sin(x)
    x.register_hook(lambda g: g * 2)
    y.register_hook(lambda g: g * 3)
    y.sum().backward()


@scenario
def a_hook_that_is_removed() -> None:
    y = np.sin(leaf())
    handle = y.register_hook(lambda g: None)
    handle.remove()
    y.sum().backward()


@scenario
def retained_gradients() -> None:
    y = np.sin(leaf())
    y.retain_grad()
    (y * y).sum().backward()


@scenario
def views() -> None:
    x = leaf()
    y = x.T[1:].reshape(-1)
    z = x.detach()[0]
    (y.sum() + z.sum()).backward()


@scenario
def outdated_views() -> None:
    y = leaf() * 1.0
    row = y[0]
    y[0] = 1.0
    with contextlib.suppress(RuntimeError):
        row + 1
    y.sum().backward()


@scenario
def assignments() -> None:
    x = leaf()
    y = np.zeros_like(x)
    for i in range(N):
        y[i] = x[i] * 2
        y[i] += 1.0
    y.sum().backward()


@scenario
def rows_in_a_loop() -> None:
    sum((row * row).sum() for row in leaf()).backward()


@scenario
def updates_in_place() -> None:
    x = leaf()
    (x * x).sum().backward()
    with mg.no_grad():
        x -= 0.1 * x.grad
        x[0] = 0.0
    x.data = X.copy()
    with x.updating() as array:
        array *= 2


@scenario
def several_results() -> None:
    u, s, vh = np.linalg.svd(leaf(X[:8, :8]))
    (u.sum() + s.sum()).backward()
    np.linalg.qr(leaf(X[:8, :8]))
    del vh


@scenario
def complex_numbers() -> None:
    z = mg.tensor(X + 1j, requires_grad=True)
    np.sum(np.abs(np.exp(z) * 1j) ** 2).backward()


@scenario
def a_long_chain() -> None:
    x = leaf(np.ones(3))
    for _ in range(2000):
        x = x * 1.0001
    x.sum().backward()


@scenario
def a_wide_stack() -> None:
    x = leaf(np.ones(200))
    np.stack([x[i] * i for i in range(200)]).sum().backward()


@scenario
def nested_blocks() -> None:
    x = leaf()
    np.block([[x, x], [x, x]]).sum().backward()


@scenario
def recording_switched_on_and_off() -> None:
    x = leaf()
    with mg.no_grad():
        x * 2
        with mg.enable_grad():
            (x * 2).sum().backward()
    x.requires_grad = False
    x.requires_grad = True


# Errors half way


@scenario
def an_error_in_a_rule() -> None:
    with contextlib.suppress(ZeroDivisionError):
        broken(np.sin(leaf())).sum().backward()


@scenario
def an_error_in_a_hook() -> None:
    y = np.sin(leaf())
    y.register_hook(lambda g: 1 / 0)
    with contextlib.suppress(ZeroDivisionError):
        y.sum().backward()


@scenario
def shapes_that_do_not_fit() -> None:
    with contextlib.suppress(ValueError):
        np.sin(leaf()) @ np.ones(3)


@scenario
def a_changed_leaf() -> None:
    x = leaf()
    y = (x * x).sum()
    with mg.no_grad():
        x -= 1.0
    with contextlib.suppress(RuntimeError):
        y.backward()


@scenario
def one_backward_too_many() -> None:
    y = (leaf() ** 2).sum()
    y.backward()
    with contextlib.suppress(RuntimeError):
        y.backward()


@scenario
def an_error_in_a_transform() -> None:
    def f(x: Any) -> Any:
        y = np.sin(x)
        raise KeyError(str(y.shape))

    with contextlib.suppress(KeyError):
        mg.grad(f)(X)
    with contextlib.suppress(TypeError):
        mg.grad(lambda x: x * 2)(X)


@scenario
def anomalies() -> None:
    with mg.detect_anomaly():
        (np.tanh(leaf()) ** 2).sum().backward()
    with contextlib.suppress(FloatingPointError), np.errstate(all="ignore"), mg.detect_anomaly():
        np.log(leaf(np.zeros((N, N))))


# Transforms


@scenario
def transforms() -> None:
    mg.grad(lambda x: (x**2).sum())(X)
    mg.value_and_grad(lambda x: ((x**2).sum(), x), has_aux=True)(X)
    mg.jvp(np.sin, (X,), (X,))
    mg.elementwise_grad(np.sin)(X)


@scenario
def a_pullback_called_twice() -> None:
    _, pullback = mg.vjp(lambda x: np.exp(-(x**2)), X)
    pullback(X)
    pullback(X)


@scenario
def nested_transforms() -> None:
    mg.grad(mg.grad(mg.grad(lambda x: np.sin(x) ** 3)))(1.0)
    mg.hvp(lambda x: (x**3).sum())(X, X)
    mg.grad(lambda x: x * mg.grad(lambda y: x * y)(x))(3.0)


@scenario
def jacobians() -> None:
    mg.jacobian(lambda x: np.outer(x, x), mode="rev")(np.ones(6))
    mg.jacobian(lambda x: np.outer(x, x), mode="fwd")(np.ones(6))
    mg.hessian(lambda x: (x**3).sum())(np.ones(6))


@scenario
def transforms_of_trees() -> None:
    mg.grad(lambda p: (p["w"] ** 2).sum() + p["b"][0].sum())({"w": X, "b": [X, 1.0]})


@scenario
def a_variable_outside_of_a_transform() -> None:
    w = leaf()
    mg.grad(lambda x: (x * w).sum())(X).sum().backward()


@scenario
def checkpoints() -> None:
    block = mg.checkpoint(lambda x: np.tanh(np.sin(x) * 3))
    block(block(leaf())).sum().backward()
    mg.grad(lambda x: block(x).sum())(X)


@scenario
def a_checkpoint_that_is_not_walked() -> None:
    mg.checkpoint(lambda x: np.sin(x) * x)(leaf()).sum()


@scenario
def checked_derivatives() -> None:
    mg.testing.check_grads(lambda x: np.sin(x) * x, np.ones(3))


@scenario
def a_primitive_of_the_user() -> None:
    cube(leaf()).sum().backward()
    mg.hvp(lambda x: cube(x).sum())(X, X)


# Networks


@scenario
def a_network() -> None:
    F.mse_loss(network()(X), X[:, :1]).backward()


@scenario
def a_classifier() -> None:
    model = nn.Linear(N, 4, rng=np.random.default_rng(0))
    F.cross_entropy(model(X), np.arange(N) % 4).backward()


@scenario
def optimizers() -> None:
    model = network()
    for make in (lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, lr=0.1)):
        optimizer = make(model.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            (model(X) ** 2).mean().backward()
            optimizer.step()


@scenario
def states_saved_and_loaded() -> None:
    model = network()
    model.load_state_dict(model.state_dict())
    optimizer = optim.Adam(model.parameters())
    optimizer.load_state_dict(optimizer.state_dict())


@scenario
def copies_and_pickles() -> None:
    model = network()
    copy.deepcopy(model)
    pickle.loads(pickle.dumps(model))
    copy.deepcopy(leaf())
    copy.deepcopy((model, optim.SGD(model.parameters(), lr=0.1)))


@scenario
def the_gradient_of_a_module() -> None:
    mg.grad(lambda model: (model(X) ** 2).mean())(network())


# Compiled functions


COMPILED = mg.compile(mg.value_and_grad(lambda w: np.sum(np.tanh(X @ w) ** 2)))


@scenario
def calls_of_a_compiled_function() -> None:
    COMPILED(X)


@scenario
def functions_compiled_and_dropped() -> None:
    mg.compile(lambda x: np.sin(x) * 2)(X)


@scenario
def a_function_that_cannot_be_compiled() -> None:
    with contextlib.suppress(Exception):
        mg.compile(lambda x: x if float(x.sum()) > 0 else -x)(X)


@scenario
def a_function_that_changes_what_is_outside() -> None:
    outside = np.zeros(3)

    def f(x: Any) -> Any:
        outside[0] += 1.0
        return x * outside[0]

    with contextlib.suppress(TypeError):
        mg.compile(f)(X)


@scenario
def helpers_of_a_program() -> None:
    mg.compile(mg.grad(lambda x: np.sum(x[np.array([0, 0, 1])] ** 2)))(X)


@scenario
def a_compiled_step() -> None:
    model = nn.Linear(N, 1, rng=np.random.default_rng(0))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @mg.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    step(X)
    step(X)


# Pictures


@scenario
def pictures() -> None:
    loss = (np.tanh(leaf()) ** 2).sum()
    viz.draw(loss)
    loss.backward()
    viz.table(loss)
    mg.explain(loss)


@scenario
def a_page_to_explore() -> None:
    with tempfile.TemporaryDirectory() as folder:
        viz.explore((np.tanh(leaf()) ** 2).sum(), str(Path(folder) / "page.html"))


@scenario
def scopes() -> None:
    with mg.scope("part"):
        y = np.sin(leaf())
    y.sum().backward()


# Threads and generators


@scenario
def threads() -> None:
    def work() -> None:
        (np.tanh(leaf()) ** 2).sum().backward()

    parts = [threading.Thread(target=work) for _ in range(4)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()


@scenario
def a_thread_without_gradients() -> None:
    def work() -> None:
        with mg.no_grad():
            leaf() * 2

    part = threading.Thread(target=work)
    part.start()
    part.join()


@scenario
def a_generator_under_no_grad() -> None:
    def parts() -> Any:
        with mg.no_grad():
            yield leaf() * 2
            yield leaf() * 3

    generator = parts()
    next(generator)
    generator.close()
    list(parts())


@scenario
def printing() -> None:
    loss = (leaf() ** 2).sum()
    with contextlib.redirect_stdout(io.StringIO()):
        print(loss, f"{loss.item():.3f}", repr(loss))


@contextlib.contextmanager
def without_collector() -> Any:
    """Switch off the garbage collector, and start tracking memory."""
    traced = tracemalloc.is_tracing()
    gc.collect()
    gc.freeze()  # objects from before need no second look
    gc.disable()
    if not traced:
        tracemalloc.start()
    try:
        yield
    finally:
        if not traced:
            tracemalloc.stop()
        gc.unfreeze()
        gc.enable()


def left_by(run: Callable[[], Any], runs: int, warm: int = 3) -> tuple[float, float]:
    """Return what a run leaves: objects in cycles, and bytes that stay for good.

    Memory is measured after a collection, since Python keeps freed tuples and frames
    until then, and without the at most 128 copies of small arrays that are kept for the
    next call. Memory that grows once (Python's tables, other bounded caches) shows in
    one of two series of runs, a leak in both.
    """
    with without_collector():
        for _ in range(warm):
            run()
        gc.collect()
        operands.recent.clear()
        found = []
        for _ in range(2):
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(runs):
                run()
            cyclic = gc.collect()
            operands.recent.clear()
            found.append((cyclic / runs, (tracemalloc.get_traced_memory()[0] - before) / runs))
    cycles, held = zip(*found, strict=True)
    return min(cycles), min(held)


def leaks(found: tuple[float, float], runs: int) -> bool:
    """Return whether the remains of some runs are a leak."""
    return found[0] >= 0.5 or found[1] * runs > FREE


def training(steps: int) -> tuple[float, float]:
    """Return the remains of a training step of a small network."""
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        F.mse_loss(model(X[:8]), X[:8, :1]).backward()
        optimizer.step()

    return left_by(step, steps, warm=steps // 10)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each scenario")
    parser.add_argument("--steps", type=int, default=10_000, help="of the training")
    options = parser.parse_args(arguments)
    print(f"{'scenario':40} {'objects in cycles':>18} {'bytes held':>12}   (of each run)")
    bad = 0
    rows = [(name, options.runs, functools.partial(left_by, run, options.runs)) for name, run in SCENARIOS.items()]
    rows.append((f"{options.steps} steps of training", options.steps, functools.partial(training, options.steps)))
    for name, runs, measure in rows:
        found = measure()
        bad += leaks(found, runs)
        print(f"{name:40} {found[0]:18.1f} {found[1]:12.0f}{'  LEAKS' if leaks(found, runs) else ''}", flush=True)
    print(f"{len(rows)} scenarios, {bad} of them leak")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
