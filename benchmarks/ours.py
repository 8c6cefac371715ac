"""The workloads in microgradnd: eager, compiled to NumPy, compiled to fused loops.

Owns: the programs "eager", "eager nn", "compiled" and "numba".
Must not own: the data (`workloads.py`).
Read next: `peers.py`.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from typing import Any

import numpy as np

import microgradnd as mg
from microgradnd import nn, optim
from workloads import Candidate, Words, Work, overwritten, w1_of_layers

F = nn.functional
WORDS = Words(
    sum=np.sum,
    stack=np.stack,
    sin=np.sin,
    exp=np.exp,
    log=np.log,
    cholesky=np.linalg.cholesky,
    solve_lower=np.linalg.solve,
    diagonal=np.diagonal,
    tanh=np.tanh,
    relu=F.relu,
    linear=F.linear,
    softmax=F.softmax,
    swapped=lambda x: x.mT,
    mse_loss=F.mse_loss,
    cross_entropy=F.cross_entropy,
    conv2d=functools.partial(F.conv2d, padding=1),
    max_pool2d=functools.partial(F.max_pool2d, kernel_size=2),
)


def eager(name: str, work: Work) -> Candidate:
    """Return the program with Tensors, modules and optimizers."""
    if work.learning is None:
        program, args = derivative(work)
        return Candidate(lambda: program(*args))
    rule, lr = work.learning
    if rule == "loop":
        params = [mg.tensor(p.copy(), requires_grad=True) for p in work.start]

        def loop_step() -> Any:
            loss = work.loss(WORDS, *params, *work.data)
            loss.backward()
            with mg.no_grad():
                for p in params:
                    p -= lr * p.grad
                    p.grad = None
            return loss.item()

        arrays = [p.data for p in params]
        return Candidate(loop_step, lambda: arrays, overwritten(arrays, work.start))
    model, optimizer, train = training(work)
    arrays = [p.data for p in parameters(model)]
    restart = overwritten(arrays, work.start)
    return Candidate(lambda: train(model, optimizer, *work.data).item(), lambda: arrays, restart)


def eager_nn(name: str, work: Work) -> Candidate:
    """Return W1 with `nn.Sequential` and `optim.SGD`; "eager" writes the loop out."""
    candidate = eager(name, w1_of_layers())
    arrays = [p.T if p.ndim == 2 else p[None] for p in candidate.state()]
    return replace(candidate, state=lambda: arrays)


def training(work: Work) -> tuple[Any, Any, Any]:
    """Return the network (or a list of parameters), the optimizer and the training
    step.
    """
    rule, lr = work.learning or ("", 0.0)
    if work.layers is None:
        model: Any = [mg.tensor(p.copy(), requires_grad=True) for p in work.start]

        def loss_of(model: Any, x: Any, y: Any) -> Any:
            return work.loss(WORDS, *model, x, y)
    else:
        model = work.layers(nn, work.start[0].dtype)
        for p, value in zip(model.parameters(), work.start, strict=True):
            p.data = value.copy()
        criterion = getattr(F, work.criterion)

        def loss_of(model: Any, x: Any, y: Any) -> Any:
            return criterion(model(x), y)

    def train(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        loss = loss_of(model, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    kind = optim.Adam if rule == "adam" else optim.SGD
    return model, kind(parameters(model), lr=lr), train


def parameters(model: Any) -> list[Any]:
    """Return the parameters of a network, or of a list of them."""
    return model if isinstance(model, list) else list(model.parameters())


def derivative(work: Work, transform: Any = lambda f: f) -> tuple[Any, Any]:
    """Return the function that computes the workload's result, and its arguments."""

    loss = functools.partial(work.loss, WORDS)
    if work.result == "hvp":
        return transform(mg.hvp(loss)), (*work.start, *work.data)
    if work.result == "gradient":
        return transform(mg.grad(loss)), work.start
    if work.result in ("jacobian", "hessian"):
        return transform(getattr(mg, work.result)(loss)), (*work.start, *work.data)
    both = mg.value_and_grad(loss, tuple(range(len(work.start))))

    def value_and_gradients(*args: Any) -> Any:
        value, gradients = both(*args)
        return value, *gradients

    value_and_gradients.__signature__ = inspect.signature(loss)
    return transform(value_and_gradients), (*work.start, *work.data)


def compiled(name: str, work: Work, **options: Any) -> Candidate:
    """Return the program that `mg.compile` makes of the whole step, with the update."""

    def transform(f: Any) -> Any:
        return mg.compile(f, **options)

    if work.learning is None:
        program, args = derivative(work, transform)
        return Candidate(lambda: program(*args), source=lambda: program.source)
    rule, lr = work.learning
    if rule != "loop":
        model, optimizer, train = training(work)
        program = transform(train)
        arrays = [p.data for p in parameters(model)]
        restart = overwritten(arrays, work.start)
        step = functools.partial(program, model, optimizer, *work.data)
        return Candidate(step, lambda: arrays, restart, lambda: program.source)
    params = [p.copy() for p in work.start]
    n = len(params)
    loss_and_grads = mg.value_and_grad(functools.partial(work.loss, WORDS), tuple(range(n)))

    def descend(*args: Any) -> Any:
        loss, grads = loss_and_grads(*args)
        for p, g in zip(args[:n], grads, strict=True):
            p -= lr * g
        return loss

    descend.__signature__ = inspect.signature(functools.partial(work.loss, WORDS))  # for the names in the source
    program = transform(descend)
    restart = overwritten(params, work.start)
    return Candidate(lambda: program(*params, *work.data), lambda: params, restart, lambda: program.source)


def numba(name: str, work: Work) -> Candidate:
    """Return the program as fused loops."""
    return compiled(name, work, backend="numba")
