"""The workloads that are timed, each written by hand in NumPy, in ours and in PyTorch.

Owns: the data and the programs of W1, W2, W4 and W6.
Must not own: timing and checking (`run.py`).
Read next: `run.py`.

Each workload is a function that returns `{library: step}`. A `step()` does one unit of work and returns a number, the
loss or a gradient, that must be the same for every library step by step. PyTorch is left out where it isn't installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

import microgradnd as mg
from microgradnd import nn, optim

Step = Callable[[], float]
HAS_TORCH = importlib.util.find_spec("torch") is not None


def w1() -> dict[str, Step]:
    """W1, the seed network's training step: 100 observations, 3-32-1, ReLU, sum of squared errors, SGD, float64."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 3))
    y = x @ [[0.2], [-1.3], [-0.5]] + rng.normal(size=(100, 1))
    start = [rng.normal(size=(3, 32)), np.zeros((1, 32)), rng.normal(size=(32, 1)), np.zeros((1, 1))]
    lr = 1e-4
    hand = [p.copy() for p in start]

    def numpy_step() -> float:
        w1, b1, w2, b2 = hand
        h = x @ w1 + b1
        h_relu = np.maximum(h, 0)
        y_pred = h_relu @ w2 + b2
        loss = np.sum((y_pred - y) ** 2)
        grad_y_pred = 2 * (y_pred - y)
        grad_w2 = h_relu.T @ grad_y_pred
        grad_b2 = np.sum(grad_y_pred, axis=0, keepdims=True)
        grad_h_relu = grad_y_pred @ w2.T
        grad_h = np.where(h > 0, grad_h_relu, 0)
        grad_w1 = x.T @ grad_h
        grad_b1 = np.sum(grad_h, axis=0, keepdims=True)
        hand[:] = w1 - lr * grad_w1, b1 - lr * grad_b1, w2 - lr * grad_w2, b2 - lr * grad_b2
        return float(loss)

    ours = [mg.tensor(p, requires_grad=True) for p in start]
    t1, c1, t2, c2 = ours

    def our_step() -> float:
        loss = ((nn.functional.relu(x @ t1 + c1) @ t2 + c2 - y) ** 2).sum()
        loss.backward()
        with mg.no_grad():
            for p in ours:
                p -= lr * p.grad
                p.grad = None
        return loss.item()

    def loss_of(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        h = x @ w1 + b1
        h_relu = nn.functional.relu(h)
        y_pred = h_relu @ w2 + b2
        return np.sum((y_pred - y) ** 2)

    @mg.compile
    def compiled(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        loss, grads = mg.value_and_grad(loss_of, (0, 1, 2, 3))(w1, b1, w2, b2, x, y)
        return loss, [p - lr * g for p, g in zip((w1, b1, w2, b2), grads, strict=True)]

    arrays = [p.copy() for p in start]

    def compiled_step() -> float:
        loss, arrays[:] = compiled(*arrays, x, y)
        return float(loss)

    steps = {"numpy": numpy_step, "microgradnd": our_step, "compiled": compiled_step}
    if HAS_TORCH:
        import torch

        params = [torch.tensor(p, requires_grad=True) for p in start]
        v1, d1, v2, d2 = params
        tx, ty = torch.tensor(x), torch.tensor(y)

        def torch_step() -> float:
            loss = ((torch.relu(tx @ v1 + d1) @ v2 + d2 - ty) ** 2).sum()
            loss.backward()
            with torch.no_grad():
                for p in params:
                    p -= lr * p.grad
                    p.grad = None
            return loss.item()

        steps["torch"] = torch_step
    return steps


def w2() -> dict[str, Step]:
    """W2, the second document's network: 20 observations, 1-64-1, ReLU, mean of squared errors, Adam, float64."""
    rng = np.random.default_rng(2)
    x = rng.uniform(-5, 5, size=(20, 1))
    y = 4 * np.sin(x) + rng.normal(size=(20, 1))
    start = [rng.normal(size=(64, 1)), np.zeros(64), rng.normal(size=(1, 64)) / 8, np.zeros(1)]
    lr, beta1, beta2, eps = 1e-2, 0.9, 0.999, 1e-8
    hand = [p.copy() for p in start]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in start]
    count = 0

    def numpy_step() -> float:
        nonlocal count
        w1, b1, w2, b2 = hand
        h = x @ w1.T + b1
        h_relu = np.maximum(h, 0)
        error = h_relu @ w2.T + b2 - y
        loss = np.mean(error**2)
        grad_pred = 2 / error.size * error
        grad_h = np.where(h > 0, grad_pred @ w2, 0)
        grads = grad_h.T @ x, grad_h.sum(axis=0), grad_pred.T @ h_relu, grad_pred.sum(axis=0)
        count += 1
        for i, (p, g) in enumerate(zip(hand, grads, strict=True)):
            m, v = moments[i]
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            moments[i] = m, v
            m_hat, v_hat = m / (1 - beta1**count), v / (1 - beta2**count)
            hand[i] = p - lr * m_hat / (np.sqrt(v_hat) + eps)
        return float(loss)

    model = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 1))
    for parameter, value in zip(model.parameters(), start, strict=True):
        parameter.data = value.copy()
    adam = optim.Adam(model.parameters(), lr=lr)

    def our_step() -> float:
        loss = nn.functional.mse_loss(model(x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.item()

    steps = {"numpy": numpy_step, "microgradnd": our_step}
    if HAS_TORCH:
        import torch

        theirs = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)).double()
        for p, value in zip(theirs.parameters(), start, strict=True):
            p.data = torch.tensor(value)
        optimizer = torch.optim.Adam(theirs.parameters(), lr=lr, fused=True)
        tx, ty = torch.tensor(x), torch.tensor(y)

        def torch_step() -> float:
            loss = torch.nn.functional.mse_loss(theirs(tx), ty)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        steps["torch"] = torch_step
    return steps


def w4() -> dict[str, Step]:
    """W4, a network in which the matrix products dominate: batch 1024, 1024-1024-1024-10, ReLU, SGD, float32."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1024, 1024)).astype(np.float32)
    y = rng.normal(size=(1024, 10)).astype(np.float32)
    sizes = (1024, 1024, 1024, 10)
    start = [(rng.normal(size=(m, n)) / np.sqrt(m)).astype(np.float32) for m, n in pairwise(sizes)]
    lr = 1e-3
    hand = [p.copy() for p in start]

    def numpy_step() -> float:
        w1, w2, w3 = hand
        h1 = x @ w1
        a1 = np.maximum(h1, 0)
        h2 = a1 @ w2
        a2 = np.maximum(h2, 0)
        error = a2 @ w3 - y
        loss = np.sum(error**2) / 1024
        g = error * np.float32(2 / 1024)
        grad_w3 = a2.T @ g
        g = np.where(h2 > 0, g @ w3.T, 0)
        grad_w2 = a1.T @ g
        g = np.where(h1 > 0, g @ w2.T, 0)
        grad_w1 = x.T @ g
        hand[:] = w1 - lr * grad_w1, w2 - lr * grad_w2, w3 - lr * grad_w3
        return float(loss)

    ours = [mg.tensor(p, requires_grad=True) for p in start]
    sgd = optim.SGD(ours, lr=lr)

    def our_step() -> float:
        v1, v2, v3 = ours
        a = nn.functional.relu(nn.functional.relu(x @ v1) @ v2)
        loss = ((a @ v3 - y) ** 2).sum() / 1024
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss.item()

    steps = {"numpy": numpy_step, "microgradnd": our_step}
    if HAS_TORCH:
        import torch

        params = [torch.tensor(p, requires_grad=True) for p in start]
        optimizer = torch.optim.SGD(params, lr=lr)
        tx, ty = torch.tensor(x), torch.tensor(y)

        def torch_step() -> float:
            u1, u2, u3 = params
            loss = ((torch.relu(torch.relu(tx @ u1) @ u2) @ u3 - ty) ** 2).sum() / 1024
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        steps["torch"] = torch_step
    return steps


def w6(operations: int = 2000) -> dict[str, Step]:
    """W6, a chain of 2,000 scalar operations, forward and backward: what an operation costs beside its arithmetic."""

    def chain(x: Any) -> Any:
        y = x
        for _ in range(operations // 4):
            y = y * 1.0001 + x
            y = (y - 0.5) / 1.5
        return y

    def numpy_step() -> float:
        x = np.float64(0.5)
        y = chain(x)
        g, grad = np.float64(1.0), np.float64(0.0)
        for _ in range(operations // 4):
            g = g / 1.5
            grad = grad + g
            g = g * 1.0001
        return float(y + grad + g)

    def our_step() -> float:
        x = mg.tensor(0.5, requires_grad=True)
        y = chain(x)
        y.backward()
        return y.item() + float(x.grad)

    steps = {"numpy": numpy_step, "microgradnd": our_step}
    if HAS_TORCH:
        import torch

        def torch_step() -> float:
            x = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
            y = chain(x)
            y.backward()
            return y.item() + x.grad.item()

        steps["torch"] = torch_step
    return steps


WORKLOADS: dict[str, Callable[[], dict[str, Step]]] = {"W1": w1, "W2": w2, "W4": w4, "W6": w6}
