"""The workloads in microgradnd: eager, compiled to NumPy, compiled to fused loops.

Owns: the programs "eager", "compiled" and "numba".
Must not own: the data (`workloads.py`).
Read next: `peers.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import microgradnd as mg
from microgradnd import nn, optim
from workloads import Candidate, Words, Work

F = nn.functional
WORDS = Words(
    sum=np.sum,
    sin=np.sin,
    exp=np.exp,
    tanh=np.tanh,
    relu=F.relu,
    linear=F.linear,
    softmax=F.softmax,
    swapped=lambda x: x.mT,
    mse_loss=F.mse_loss,
    cross_entropy=F.cross_entropy,
)


def eager(name: str, work: Work) -> Candidate:
    """Return the program with Tensors, modules and optimizers."""
    if work.learning is None:
        return Candidate(derivative(work))
    rule, lr = work.learning
    if work.layers is not None:
        model = work.layers(nn, work.start[0].dtype)
        params = list(model.parameters())
        for p, value in zip(params, work.start, strict=True):
            p.data = value.copy()
        criterion = getattr(F, work.criterion)
        x, y = work.data

        def loss_of() -> Any:
            return criterion(model(x), y)
    else:
        params = [mg.tensor(p.copy(), requires_grad=True) for p in work.start]

        def loss_of() -> Any:
            return work.loss(WORDS, *params, *work.data)

    optimizer = optim.Adam(params, lr=lr) if rule == "adam" else optim.SGD(params, lr=lr)

    def step() -> Any:
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Candidate(step, lambda: [p.data for p in params])


def derivative(work: Work, transform: Any = lambda f: f) -> Any:
    """Return a function without arguments that computes what the workload asks for."""

    def loss(*args: Any) -> Any:
        return work.loss(WORDS, *args)

    if work.result == "hvp":
        program = transform(mg.hvp(loss))
        return lambda: program(*work.start, *work.data)
    if work.result == "gradient":
        program = transform(mg.grad(loss))
        return lambda: program(*work.start)
    both = mg.value_and_grad(loss, tuple(range(len(work.start))))

    def value_and_gradients(*args: Any) -> Any:
        value, gradients = both(*args)
        return value, *gradients

    program = transform(value_and_gradients)
    return lambda: program(*work.start, *work.data)


def compiled(name: str, work: Work, **options: Any) -> Candidate:
    """Return the program that `mg.compile` makes of the whole step, the update of the parameters included."""

    def transform(f: Any) -> Any:
        return mg.compile(f, **options)

    if work.learning is None:
        return Candidate(derivative(work, transform))
    rule, lr = work.learning
    params = [p.copy() for p in work.start]
    n = len(params)
    loss_and_grads = mg.value_and_grad(lambda *args: work.loss(WORDS, *args), tuple(range(n)))
    if rule == "sgd":

        @transform
        def train(*args: Any) -> Any:
            loss, grads = loss_and_grads(*args)
            for p, g in zip(args[:n], grads, strict=True):
                p -= lr * g
            return loss

        return Candidate(lambda: train(*params, *work.data), lambda: params)

    beta1, beta2, eps = 0.9, 0.999, 1e-8
    moments = [np.zeros_like(p) for p in params + params]
    count = np.zeros((), params[0].dtype)

    @transform
    def train_adam(count: Any, *args: Any) -> Any:
        params, first, second, data = args[:n], args[n : 2 * n], args[2 * n : 3 * n], args[3 * n :]
        loss, grads = loss_and_grads(*params, *data)
        count += 1
        step_size = lr / (1 - beta1**count)
        root = np.sqrt(1 - beta2**count)
        for p, m, v, g in zip(params, first, second, grads, strict=True):
            m += (1 - beta1) * (g - m)
            v += (1 - beta2) * (g * g - v)
            p -= step_size * m / (np.sqrt(v) / root + eps)
        return loss

    return Candidate(lambda: train_adam(count, *params, *moments, *work.data), lambda: params)


def numba(name: str, work: Work) -> Candidate:
    """Return the program as fused loops."""
    return compiled(name, work, backend="numba")
