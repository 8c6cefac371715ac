"""The workloads in NumPy by hand: as most people write it, and with `out=` everywhere.

Owns: the programs "numpy" and "numpy out=".
Must not own: the data (`workloads.py`).
Read next: `ours.py`.

Every ratio is to `idiomatic`. `planned` allocates every array once, before the first
step. It keeps all parameters in one flat array (and their gradients, and Adam's
moments, in others of the same layout), so the update is a few calls, and it uses the
fastest measured spelling of each step. The next step overwrites its results.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workloads import STEP, Array, Candidate, Work, overwritten

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def idiomatic(name: str, work: Work) -> Candidate:
    """Return the program as most people write it."""
    return learned(work, IDIOMATIC[name])


def learned(work: Work, gradients: Any) -> Candidate:
    """Return the workload with given gradients, and the update in plain NumPy.

    `gradients(*start, *data)` returns the loss and a sequence of gradients, or just
    what the workload asks for.
    """
    if work.learning is None:
        return Candidate(lambda: gradients(*work.start, *work.data))
    rule, lr = work.learning
    params = [p.copy() for p in work.start]

    def restart() -> None:
        params[:] = [p.copy() for p in work.start]

    if rule != "adam":

        def step() -> Any:
            loss, grads = gradients(*params, *work.data)
            params[:] = [p - lr * g for p, g in zip(params, grads, strict=True)]
            return loss

        return Candidate(step, lambda: params, restart)

    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in params]
    count = 0

    def adam_step() -> Any:
        nonlocal count
        loss, grads = gradients(*params, *work.data)
        count += 1
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            m, v = moments[i]
            m = BETA1 * m + (1 - BETA1) * g
            v = BETA2 * v + (1 - BETA2) * g * g
            moments[i] = m, v
            m_hat, v_hat = m / (1 - BETA1**count), v / (1 - BETA2**count)
            params[i] = p - lr * m_hat / (np.sqrt(v_hat) + EPS)
        return loss

    return Candidate(adam_step, lambda: params, restart)


def w1(w1: Array, b1: Array, w2: Array, b2: Array, x: Array, y: Array) -> Any:
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
    return loss, (grad_w1, grad_b1, grad_w2, grad_b2)


def w2(w1: Array, b1: Array, w2: Array, b2: Array, x: Array, y: Array) -> Any:
    h = x @ w1.T + b1
    h_relu = np.maximum(h, 0)
    error = h_relu @ w2.T + b2 - y
    loss = np.mean(error**2)
    grad_pred = 2 / error.size * error
    grad_h = np.where(h > 0, grad_pred @ w2, 0)
    return loss, (grad_h.T @ x, grad_h.sum(axis=0), grad_pred.T @ h_relu, grad_pred.sum(axis=0))


def w3(w1: Array, b1: Array, w2: Array, b2: Array, w3: Array, b3: Array, x: Array, y: Array) -> Any:
    h1 = x @ w1.T + b1
    a1 = np.maximum(h1, 0)
    h2 = a1 @ w2.T + b2
    a2 = np.maximum(h2, 0)
    logits = a2 @ w3.T + b3
    n = np.arange(len(y))
    z = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(z)
    s = e.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(s[:, 0]) - z[n, y])
    g = e / s
    g[n, y] -= 1
    g /= len(y)
    grad_w3, grad_b3 = g.T @ a2, g.sum(axis=0)
    g = np.where(h2 > 0, g @ w3, 0)
    grad_w2, grad_b2 = g.T @ a1, g.sum(axis=0)
    g = np.where(h1 > 0, g @ w2, 0)
    grad_w1, grad_b1 = g.T @ x, g.sum(axis=0)
    return loss, (grad_w1, grad_b1, grad_w2, grad_b2, grad_w3, grad_b3)


def w4(w1: Array, w2: Array, w3: Array, x: Array, y: Array) -> Any:
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
    return loss, (grad_w1, grad_w2, grad_w3)


def w5(x: Array) -> Any:
    return np.exp(-(x**2)) * (np.cos(x) - 2 * x * np.sin(x)) + 1 - np.tanh(x) ** 2


def w8(x: Array, v: Array) -> Any:
    head, tail = x[:-1], x[1:]
    out = np.zeros_like(x)
    out[:-1] = (1200 * head**2 - 400 * tail + 2) * v[:-1] - 400 * head * v[1:]
    out[1:] += 200 * v[1:] - 400 * head * v[:-1]
    return out


def w16(x: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> Any:
    h = np.tanh(x @ w1 + b1)
    return (w2.T * (1 - h**2)) @ w1.T


def w16_hessian(x: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> Any:
    h = np.tanh(x @ w1 + b1)
    y = h @ w2 + b2
    slope = 1 - h**2
    jacobian = (w2.T * slope) @ w1.T
    return jacobian.T @ jacobian + (w1 * (-2 * h * slope * (w2 @ y))) @ w1.T


def w9(q: Array, k: Array, v: Array, y: Array) -> Any:
    scale = 32**-0.5
    scores = q @ k.mT * scale
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    error = p @ v - y
    loss = np.sum(error**2)
    g = 2 * error
    grad_v = p.mT @ g
    grad_p = g @ v.mT
    grad_scores = p * (grad_p - np.sum(grad_p * p, axis=-1, keepdims=True)) * scale
    return loss, grad_scores @ k, grad_scores.mT @ q, grad_v


def w10(k1: Array, b1: Array, k2: Array, b2: Array, w3: Array, b3: Array, x: Array, y: Array) -> Any:
    """Return the loss and gradients, with windows as the rows of a matrix."""
    f1, f2 = (k.transpose(2, 3, 1, 0).reshape(-1, len(k)) for k in (k1, k2))
    rows1 = window_rows(x.transpose(0, 2, 3, 1))
    h1 = (rows1 @ f1 + b1).reshape(64, 8, 8, 16)
    a1 = np.maximum(h1, 0)
    p1 = pooled(a1)
    rows2 = window_rows(p1)
    h2 = (rows2 @ f2 + b2).reshape(64, 4, 4, 32)
    a2 = np.maximum(h2, 0)
    p2 = pooled(a2)
    flat = p2.transpose(0, 3, 1, 2).reshape(64, 128)
    n = np.arange(len(y))
    logits = flat @ w3.T + b3
    z = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(z)
    s = e.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(s[:, 0]) - z[n, y])
    g = e / s
    g[n, y] -= 1
    g /= len(y)
    grad_w3, grad_b3 = g.T @ flat, g.sum(axis=0)
    g = (g @ w3).reshape(64, 32, 2, 2).transpose(0, 2, 3, 1)
    g = np.where(h2 > 0, unpooled(g, p2, a2), 0).reshape(-1, 32)
    grad_k2, grad_b2 = (rows2.T @ g).reshape(3, 3, 16, 32).transpose(3, 2, 0, 1), g.sum(axis=0)
    windows = (g @ f2.T).reshape(64, 4, 4, 3, 3, 16)
    padded = np.zeros((64, 6, 6, 16), np.float32)
    for i, j in np.ndindex(3, 3):
        padded[:, i : i + 4, j : j + 4] += windows[:, :, :, i, j]
    g = np.where(h1 > 0, unpooled(padded[:, 1:-1, 1:-1], p1, a1), 0).reshape(-1, 16)
    grad_k1, grad_b1 = (rows1.T @ g).reshape(3, 3, 1, 16).transpose(3, 2, 0, 1), g.sum(axis=0)
    return loss, (grad_k1, grad_b1, grad_k2, grad_b2, grad_w3, grad_b3)


def window_rows(x: Array) -> Array:
    """Return the 3 x 3 windows of images with a border of zeros, each as a row."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[-1])


CORNERS = [(..., slice(i, None, 2), slice(j, None, 2), slice(None)) for i, j in np.ndindex(2, 2)]


def pooled(x: Array) -> Array:
    """Return the largest of each 2 x 2 elements."""
    a, b, c, d = (x[corner] for corner in CORNERS)
    return np.maximum(np.maximum(a, b), np.maximum(c, d))


def unpooled(g: Array, largest: Array, x: Array) -> Array:
    """Return a gradient at the largest elements; where several tie, `relu` ends it."""
    out = np.empty_like(x)
    for corner in CORNERS:
        out[corner] = np.where(x[corner] == largest, g, 0)
    return out


def w11(w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, w: Array, b: Array, x: Array, y: Array) -> Any:
    n, steps, h_size = len(x), x.shape[1], 64
    rows = x.swapaxes(0, 1).reshape(steps * n, -1)
    inputs = (rows @ w_ih.T + b_ih).reshape(steps, n, 3 * h_size)
    states, gates = [np.zeros((n, h_size), x.dtype)], []
    for t in range(steps):
        h = states[-1]
        hidden = h @ w_hh.T + b_hh
        rz = 1 / (1 + np.exp(-(inputs[t, :, : 2 * h_size] + hidden[:, : 2 * h_size])))
        r, z, h_n = rz[:, :h_size], rz[:, h_size:], hidden[:, 2 * h_size :]
        candidate = np.tanh(inputs[t, :, 2 * h_size :] + r * h_n)
        states.append(candidate + z * (h - candidate))
        gates.append((r, z, candidate, h_n))
    loss, g = cross_entropy(states[-1] @ w.T + b, y)
    grad_w, grad_b = g.T @ states[-1], g.sum(axis=0)
    grad_h = g @ w
    grad_inputs, grad_hidden = np.empty_like(inputs), np.empty_like(inputs)
    for t in reversed(range(steps)):
        r, z, candidate, h_n = gates[t]
        grad_n = grad_h * (1 - z) * (1 - candidate * candidate)
        grad_inputs[t, :, :h_size] = grad_n * h_n * r * (1 - r)
        grad_inputs[t, :, h_size : 2 * h_size] = grad_h * (states[t] - candidate) * z * (1 - z)
        grad_inputs[t, :, 2 * h_size :] = grad_n
        grad_hidden[t] = grad_inputs[t]
        grad_hidden[t, :, 2 * h_size :] *= r
        grad_h = grad_h * z + grad_hidden[t] @ w_hh
    flat_inputs, flat_hidden = grad_inputs.reshape(steps * n, -1), grad_hidden.reshape(steps * n, -1)
    before = np.concatenate(states[:-1])
    grads = flat_inputs.T @ rows, flat_hidden.T @ before, flat_inputs.sum(axis=0), flat_hidden.sum(axis=0)
    return loss, (*grads, grad_w, grad_b)


def cross_entropy(logits: Array, y: Array) -> tuple[Any, Array]:
    """Return the loss and its gradient with respect to the logits."""
    n = np.arange(len(y))
    z = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(z)
    s = e.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(s[:, 0]) - z[n, y])
    e /= s
    e[n, y] -= 1
    return loss, e / len(y)


def w12(*args: Array) -> Any:
    """Return the loss and gradients; outside attention, a position is a matrix row."""
    *params, x, y = args
    symbols, places, norm, shift, w, b = *params[:2], *params[-4:]
    h = (symbols[x] + places).reshape(-1, 64)
    h, first = block(h, *params[2:14])
    h, second = block(h, *params[14:26])
    normed, normalised = layer_norm(h, norm, shift)
    loss, g = cross_entropy(normed @ w.T + b, y)
    last = g.T @ normed, g.sum(axis=0)
    g, *grad_norm = layer_norm_gradients(g @ w, norm, *normalised)
    g, grads_second = block_gradients(g, *second)
    g, grads_first = block_gradients(g, *first)
    hot = np.zeros((len(g), len(symbols)), g.dtype)
    hot[np.arange(len(g)), x.reshape(-1)] = 1
    grads = hot.T @ g, g.reshape(8, 64, 64).sum(axis=0)
    return loss, (*grads, *grads_first, *grads_second, *grad_norm, *last)


HIDDEN = np.where(np.tri(64, dtype=bool), 0, -np.inf).astype(np.float32)
ROOT = np.float32((2 / np.pi) ** 0.5)


def block(x: Array, w_qkv: Array, b_qkv: Array, w_o: Array, b_o: Array, w1: Array, b1: Array, w2: Array, b2: Array,
          norm1: Array, shift1: Array, norm2: Array, shift2: Array) -> Any:  # fmt: skip
    a, of_a = layer_norm(x, norm1, shift1)
    q, k, v = (a @ w_qkv.T + b_qkv).reshape(8, 64, 3, 4, 16).transpose(2, 0, 3, 1, 4)
    scores = q @ k.mT / 4 + HIDDEN
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    heads = (p @ v).transpose(0, 2, 1, 3).reshape(-1, 64)
    y = x + (heads @ w_o.T + b_o)
    c, of_c = layer_norm(y, norm2, shift2)
    u = c @ w1.T + b1
    t = np.tanh(ROOT * (u + 0.044715 * u * u * u))
    active = 0.5 * u * (1 + t)
    return y + (active @ w2.T + b2), (
        a,
        of_a,
        q,
        k,
        v,
        p,
        heads,
        c,
        of_c,
        u,
        t,
        active,
        w_qkv,
        w_o,
        w1,
        w2,
        norm1,
        norm2,
    )


def block_gradients(
    g: Array, a: Array, of_a: Any, q: Array, k: Array, v: Array, p: Array, heads: Array, c: Array, of_c: Any, u: Array,
    t: Array, active: Array, w_qkv: Array, w_o: Array, w1: Array, w2: Array, norm1: Array, norm2: Array,
) -> Any:  # fmt: skip
    grad_w2, grad_b2 = g.T @ active, g.sum(axis=0)
    slope = 0.5 * (1 + t) + 0.5 * u * (1 - t * t) * ROOT * (1 + 3 * 0.044715 * u * u)
    grad_u = g @ w2 * slope
    grad_w1, grad_b1 = grad_u.T @ c, grad_u.sum(axis=0)
    into, grad_norm2, grad_shift2 = layer_norm_gradients(grad_u @ w1, norm2, *of_c)
    g = g + into
    grad_w_o, grad_b_o = g.T @ heads, g.sum(axis=0)
    grad_heads = (g @ w_o).reshape(8, 64, 4, 16).transpose(0, 2, 1, 3)
    grad_p = grad_heads @ v.mT
    grad_a = p * (grad_p - np.sum(grad_p * p, axis=-1, keepdims=True)) / 4
    grad_qkv = np.stack([grad_a @ k, grad_a.mT @ q, p.mT @ grad_heads])
    grad_qkv = grad_qkv.transpose(1, 3, 0, 2, 4).reshape(-1, 192)
    grad_w_qkv, grad_b_qkv = grad_qkv.T @ a, grad_qkv.sum(axis=0)
    into, grad_norm1, grad_shift1 = layer_norm_gradients(grad_qkv @ w_qkv, norm1, *of_a)
    grads = grad_w_qkv, grad_b_qkv, grad_w_o, grad_b_o, grad_w1, grad_b1, grad_w2, grad_b2
    return g + into, (*grads, grad_norm1, grad_shift1, grad_norm2, grad_shift2)


def layer_norm(x: Array, weight: Array, bias: Array) -> Any:
    centred = x - x.mean(axis=1, keepdims=True)
    size = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + 1e-5)
    normed = centred * size
    return normed * weight + bias, (normed, size)


def layer_norm_gradients(g: Array, weight: Array, normed: Array, size: Array) -> Any:
    along = g * weight
    mean, part = along.mean(axis=1, keepdims=True), (along * normed).mean(axis=1, keepdims=True)
    return size * (along - mean - normed * part), (g * normed).sum(axis=0), g.sum(axis=0)


def slope(y: Array, p: Array) -> Array:
    return np.array([p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]])


def slope_gradients(g: Array, y: Array, p: Array) -> tuple[Array, Array]:
    """Return the gradients of a cotangent of the slope: of the state and the
    parameters.
    """
    both = y[0] * y[1]
    into = np.array(
        [g[0] * (p[0] - p[1] * y[1]) + g[1] * p[2] * y[1], g[1] * (p[2] * y[0] - p[3]) - g[0] * p[1] * y[0]]
    )
    return into, np.array([g[0] * y[0], -g[0] * both, g[1] * both, -g[1] * y[1]])


def w13(p: Array, first: Array, seen: Array) -> Any:
    h, y, loss = STEP, first, 0.0
    places = []
    errors = np.empty_like(seen)
    for t in range(len(seen)):
        k1 = slope(y, p)
        y2 = y + h / 2 * k1
        k2 = slope(y2, p)
        y3 = y + h / 2 * k2
        k3 = slope(y3, p)
        y4 = y + h * k3
        places.append((y, y2, y3, y4))
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y4, p))
        errors[t] = y - seen[t]
        loss += errors[t] @ errors[t]
    grad_y, grad_p = np.zeros(2), np.zeros(4)
    for t in range(len(seen) - 1, -1, -1):
        grad_y = grad_y + 2 * errors[t]
        y1, y2, y3, y4 = places[t]
        g = h / 6 * grad_y
        g4, p4 = slope_gradients(g, y4, p)
        g3, p3 = slope_gradients(2 * g + h * g4, y3, p)
        g2, p2 = slope_gradients(2 * g + h / 2 * g3, y2, p)
        g1, p1 = slope_gradients(g + h / 2 * g2, y1, p)
        grad_y = grad_y + g1 + g2 + g3 + g4
        grad_p += p1 + p2 + p3 + p4
    return loss, grad_p


def w14(log: Array, squares: Array, eye: Array, y: Array) -> Any:
    near = np.exp(log[1]) * np.exp(-0.5 * squares * np.exp(-2 * log[0]))
    k = near + np.exp(log[2]) * eye
    factor = np.linalg.cholesky(k)
    half = np.linalg.solve(factor, y)
    inverse = np.linalg.inv(k)
    alpha = inverse @ y
    grad_k = 0.5 * (inverse - np.outer(alpha, alpha))
    of_near = grad_k * near
    grads = np.sum(of_near * squares) * np.exp(-2 * log[0]), np.sum(of_near), np.trace(grad_k) * np.exp(log[2])
    return 0.5 * np.sum(half**2) + np.sum(np.log(np.diagonal(factor))), np.array(grads)


def w17(w1: Array, b1: Array, w2: Array, b2: Array, x: Array, y: Array) -> Any:
    a = np.tanh(x @ w1 + b1)
    error = a @ w2 + b2 - y
    grad_y = 2 * error
    grad_h = (grad_y @ w2.T) * (1 - a**2)
    grads = x.T @ grad_h, grad_h.sum(axis=0, keepdims=True), a.T @ grad_y, grad_y.sum(axis=0, keepdims=True)
    return np.sum(error**2), grads


IDIOMATIC = {"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W8": w8, "W9": w9, "W10": w10, "W15": w1}
IDIOMATIC |= {"W11": w11, "W12": w12, "W13": w13, "W14": w14, "W14 small": w14, "W17": w17}
IDIOMATIC |= {"W16": w16, "W16 Hessian": w16_hessian}


def flat(arrays: list[Array]) -> tuple[Array, list[Array]]:
    """Return one array with the values of several, and views of it in their shapes."""
    whole = np.concatenate([a.ravel() for a in arrays])
    ends = np.cumsum([a.size for a in arrays])
    parts = np.split(whole, ends[:-1])
    return whole, [part.reshape(a.shape) for part, a in zip(parts, arrays, strict=True)]


def planned(name: str, work: Work) -> Candidate:
    """Return the program that writes every result into a preallocated array."""
    if work.learning is None:
        return Candidate(PLANNED[name](*work.start, *work.data))
    rule, lr = work.learning
    p, params = flat(work.start)
    g, grads = flat(work.start)
    gradients = PLANNED[name](*params, *work.data, *grads)
    restart = overwritten(params, work.start)
    if rule != "adam":
        rate = np.array(lr, p.dtype)

        def step() -> Any:
            loss = gradients()
            np.multiply(g, rate, out=g)
            np.subtract(p, g, out=p)
            return loss

        return Candidate(step, lambda: params, restart)

    m, v, scratch = np.zeros_like(p), np.zeros_like(p), np.empty_like(p)
    beta1, beta2, one1, one2, eps = (np.array(c, p.dtype) for c in (BETA1, BETA2, 1 - BETA1, 1 - BETA2, EPS))
    size, root = np.empty((), p.dtype), np.empty((), p.dtype)
    count = 0

    def adam_step() -> Any:
        nonlocal count
        loss = gradients()
        count += 1
        size[()], root[()] = lr / (1 - BETA1**count), math.sqrt(1 - BETA2**count)
        np.multiply(g, one1, out=scratch)
        np.multiply(m, beta1, out=m)
        np.add(m, scratch, out=m)
        np.multiply(g, g, out=g)
        np.multiply(g, one2, out=g)
        np.multiply(v, beta2, out=v)
        np.add(v, g, out=v)
        np.sqrt(v, out=g)
        np.divide(g, root, out=g)
        np.add(g, eps, out=g)
        np.divide(m, g, out=g)
        np.multiply(g, size, out=g)
        np.subtract(p, g, out=p)
        return loss

    return Candidate(adam_step, lambda: params, restart)


def planned_w1(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any, gw1: Any, gb1: Any, gw2: Any, gb2: Any) -> Any:
    n = len(x)
    h, grad_h, error, square = np.empty((n, 32)), np.empty((n, 32)), np.empty((n, 1)), np.empty((n, 1))
    positive, zeros, ones = np.empty((n, 32), bool), np.zeros((n, 32)), np.ones((1, n))
    zero, two = np.array(0.0), np.array(2.0)

    def gradients() -> Any:
        np.dot(x, w1, out=h)
        np.add(h, b1, out=h)
        np.maximum(h, zeros, out=h)
        np.dot(h, w2, out=error)
        np.add(error, b2, out=error)
        np.subtract(error, y, out=error)
        np.multiply(error, error, out=square)
        loss = np.add.reduce(square, axis=None)
        np.multiply(error, two, out=error)
        np.dot(h.T, error, out=gw2)
        np.dot(ones, error, out=gb2)
        np.dot(error, w2.T, out=grad_h)
        np.greater(h, zero, out=positive)
        np.multiply(grad_h, positive, out=grad_h)
        np.dot(x.T, grad_h, out=gw1)
        np.dot(ones, grad_h, out=gb1)
        return loss

    return gradients


def planned_w2(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any, gw1: Any, gb1: Any, gw2: Any, gb2: Any) -> Any:
    h, grad_h, error, square = np.empty((20, 64)), np.empty((20, 64)), np.empty((20, 1)), np.empty((20, 1))
    positive, zeros, ones = np.empty((20, 64), bool), np.zeros((20, 64)), np.ones(20)
    zero, factor, size = np.array(0.0), np.array(2 / 20), np.array(20.0)

    def gradients() -> Any:
        np.dot(x, w1.T, out=h)
        np.add(h, b1, out=h)
        np.maximum(h, zeros, out=h)
        np.dot(h, w2.T, out=error)
        np.add(error, b2, out=error)
        np.subtract(error, y, out=error)
        np.multiply(error, error, out=square)
        loss = np.add.reduce(square, axis=None) / size
        np.multiply(error, factor, out=error)
        np.dot(error.T, h, out=gw2)
        np.dot(ones, error, out=gb2)
        np.dot(error, w2, out=grad_h)
        np.greater(h, zero, out=positive)
        np.multiply(grad_h, positive, out=grad_h)
        np.dot(grad_h.T, x, out=gw1)
        np.dot(ones, grad_h, out=gb1)
        return loss

    return gradients


def planned_w3(
    w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, y: Any,
    gw1: Any, gb1: Any, gw2: Any, gb2: Any, gw3: Any, gb3: Any,
) -> Any:  # fmt: skip
    a1, a2, ga1, ga2 = (np.empty((128, 128), np.float32) for _ in range(4))
    positive, zeros, ones = np.empty((128, 128), bool), np.zeros((128, 128), np.float32), np.ones(128, np.float32)
    z, e = np.empty((128, 10), np.float32), np.empty((128, 10), np.float32)
    column = np.empty((128, 1), np.float32)
    line = column[:, 0]
    zero, one, size = np.array(0, np.float32), np.array(1, np.float32), np.array(128, np.float32)
    where = np.arange(128) * 10 + y  # the labels' places in a flat array
    z_flat, e_flat, picked = z.reshape(-1), e.reshape(-1), np.empty(128, np.float32)

    def gradients() -> Any:
        np.dot(x, w1.T, out=a1)
        np.add(a1, b1, out=a1)
        np.maximum(a1, zeros, out=a1)
        np.dot(a1, w2.T, out=a2)
        np.add(a2, b2, out=a2)
        np.maximum(a2, zeros, out=a2)
        np.dot(a2, w3.T, out=z)
        np.add(z, b3, out=z)
        np.maximum.reduce(z, axis=1, keepdims=True, out=column)
        np.subtract(z, column, out=z)
        np.exp(z, out=e)
        np.add.reduce(e, axis=1, keepdims=True, out=column)
        np.divide(e, column, out=e)
        np.log(column, out=column)
        z_flat.take(where, out=picked, mode="clip")
        np.subtract(line, picked, out=line)
        loss = np.add.reduce(line) / size
        e_flat[where] -= one
        np.divide(e, size, out=e)
        np.dot(e.T, a2, out=gw3)
        np.dot(ones, e, out=gb3)
        np.dot(e, w3, out=ga2)
        np.greater(a2, zero, out=positive)
        np.multiply(ga2, positive, out=ga2)
        np.dot(ga2.T, a1, out=gw2)
        np.dot(ones, ga2, out=gb2)
        np.dot(ga2, w2, out=ga1)
        np.greater(a1, zero, out=positive)
        np.multiply(ga1, positive, out=ga1)
        np.dot(ga1.T, x, out=gw1)
        np.dot(ones, ga1, out=gb1)
        return loss

    return gradients


def planned_w4(w1: Any, w2: Any, w3: Any, x: Any, y: Any, gw1: Any, gw2: Any, gw3: Any) -> Any:
    a1, a2, g = (np.empty((1024, 1024), np.float32) for _ in range(3))
    error, square = np.empty((1024, 10), np.float32), np.empty((1024, 10), np.float32)
    positive, zeros = np.empty((1024, 1024), bool), np.zeros(1024, np.float32)
    zero, factor, size = (np.array(c, np.float32) for c in (0, 2 / 1024, 1024))

    def gradients() -> Any:
        np.dot(x, w1, out=a1)
        np.maximum(a1, zeros, out=a1)
        np.dot(a1, w2, out=a2)
        np.maximum(a2, zeros, out=a2)
        np.dot(a2, w3, out=error)
        np.subtract(error, y, out=error)
        np.multiply(error, error, out=square)
        loss = np.add.reduce(square, axis=None) / size
        np.multiply(error, factor, out=error)
        np.dot(a2.T, error, out=gw3)
        np.dot(error, w3.T, out=g)
        np.greater(a2, zero, out=positive)
        np.multiply(g, positive, out=g)
        np.dot(a1.T, g, out=gw2)
        np.dot(g, w2.T, out=a2)
        np.greater(a1, zero, out=positive)
        np.multiply(a2, positive, out=a2)
        np.dot(x.T, a2, out=gw1)
        return loss

    return gradients


def planned_w5(x: Any) -> Any:
    block = 8192  # elements that fit in the cache, together with their results
    a, b, out = np.empty(block), np.empty(block), np.empty_like(x)
    one, two = np.array(1.0), np.array(2.0)

    def gradient() -> Any:
        for start in range(0, x.size, block):
            part, result = x[start : start + block], out[start : start + block]
            u, v = a[: part.size], b[: part.size]
            np.sin(part, out=u)
            np.multiply(u, part, out=u)
            np.multiply(u, two, out=u)
            np.cos(part, out=v)
            np.subtract(v, u, out=v)
            np.multiply(part, part, out=u)
            np.negative(u, out=u)
            np.exp(u, out=u)
            np.multiply(u, v, out=u)
            np.tanh(part, out=v)
            np.multiply(v, v, out=v)
            np.subtract(one, v, out=v)
            np.add(u, v, out=result)
        return out

    return gradient


def planned_w8(x: Any, v: Any) -> Any:
    out, a, b = np.empty_like(x), np.empty(x.size - 1), np.empty(x.size - 1)
    head, tail, v_head, v_tail, out_head, out_tail = x[:-1], x[1:], v[:-1], v[1:], out[:-1], out[1:]
    two, c200, c400, c1200 = np.array(2.0), np.array(200.0), np.array(400.0), np.array(1200.0)

    def product() -> Any:
        np.multiply(head, head, out=a)
        np.multiply(a, c1200, out=a)
        np.multiply(tail, c400, out=b)
        np.subtract(a, b, out=a)
        np.add(a, two, out=a)
        np.multiply(a, v_head, out=a)
        np.multiply(head, c400, out=b)
        out[-1] = 0.0
        np.multiply(b, v_tail, out=out_head)
        np.subtract(a, out_head, out=out_head)
        np.multiply(b, v_head, out=b)
        np.multiply(v_tail, c200, out=a)
        np.subtract(a, b, out=a)
        np.add(out_tail, a, out=out_tail)
        return out

    return product


def planned_w9(q: Any, k: Any, v: Any, y: Any) -> Any:
    p, g = np.empty((8, 4, 64, 64), np.float32), np.empty((8, 4, 64, 64), np.float32)
    row, ones = np.empty((8, 4, 64, 1), np.float32), np.ones((64, 1), np.float32)
    p_flat, largest, first = p.reshape(-1), np.empty(2048, np.intp), np.arange(0, p.size, 64)
    row_flat, rows = row.reshape(-1), p.reshape(-1, 64)
    error, grad_q, grad_k, grad_v = (np.empty_like(q) for _ in range(4))
    scale, two = np.array(32**-0.5, np.float32), np.array(2, np.float32)

    def gradients() -> Any:
        np.matmul(q, k.mT, out=p)
        np.multiply(p, scale, out=p)
        np.argmax(rows, axis=1, out=largest)  # six times as quick as the maximum
        np.add(largest, first, out=largest)
        np.take(p_flat, largest, out=row_flat, mode="clip")
        np.subtract(p, row, out=p)
        np.exp(p, out=p)
        np.matmul(p, ones, out=row)
        np.divide(p, row, out=p)
        np.matmul(p, v, out=error)
        np.subtract(error, y, out=error)
        np.multiply(error, error, out=grad_q)
        loss = np.add.reduce(grad_q, axis=None)
        np.multiply(error, two, out=error)
        np.matmul(p.mT, error, out=grad_v)
        np.matmul(error, v.mT, out=g)
        np.vecdot(g, p, out=row[..., 0])
        np.subtract(g, row, out=g)
        np.multiply(g, p, out=g)
        np.multiply(g, scale, out=g)
        np.matmul(g, k, out=grad_q)
        np.matmul(g.mT, q, out=grad_k)
        return loss, grad_q, grad_k, grad_v

    return gradients


def planned_w10(
    k1: Any, b1: Any, k2: Any, b2: Any, w3: Any, b3: Any, x: Any, y: Any,
    gk1: Any, gb1: Any, gk2: Any, gb2: Any, gw3: Any, gb3: Any,
) -> Any:  # fmt: skip
    """Return a program on (channels, height, width, batch), with windows as columns."""

    def zeros(*shape: int) -> Array:
        return np.zeros(shape, np.float32)

    in1, in2, grad_in2 = zeros(1, 10, 10, 64), zeros(16, 6, 6, 64), zeros(16, 6, 6, 64)
    in1[:, 1:9, 1:9] = x.transpose(1, 2, 3, 0)
    inner, grad_p1 = in2[:, 1:5, 1:5], grad_in2[:, 1:5, 1:5]
    windows1, windows2 = zeros(1, 9, 8, 8, 64), zeros(16, 9, 4, 4, 64)
    h1, g1, h2, g2 = zeros(16, 8, 8, 64), zeros(16, 8, 8, 64), zeros(32, 4, 4, 64), zeros(32, 4, 4, 64)
    p1, p2, gp2 = zeros(16, 4, 4, 64), zeros(32, 2, 2, 64), zeros(32, 2, 2, 64)
    c1, c2 = windows1.reshape(9, -1), windows2.reshape(144, -1)
    m1, mg1, m2, mg2 = (a.reshape(len(a), -1) for a in (h1, g1, h2, g2))
    f1, f2, gf1, gf2 = (k.reshape(len(k), -1) for k in (k1, k2, gk1, gk2))
    best1, best2 = np.empty(p1.shape, bool), np.empty(p2.shape, bool)
    positive1, positive2 = np.empty(m1.shape, bool), np.empty(m2.shape, bool)
    col1, col2, zero, none1, none2 = b1[:, None], b2[:, None], np.array(0, np.float32), zeros(4096), zeros(1024)
    ones1, ones2, ones = (np.ones(n, np.float32) for n in (4096, 1024, 64))
    z, e, line, size = zeros(64, 10), zeros(64, 10), zeros(64), np.array(64, np.float32)
    column, z_flat, e_flat, picked, where = (
        line[:, None],
        z.reshape(-1),
        e.reshape(-1),
        zeros(64),
        np.arange(64) * 10 + y,
    )
    flat = p2.reshape(128, 64)
    sides = list(np.ndindex(3, 3))

    def corners(a: Array) -> list[Array]:
        return [a[:, i::2, j::2] for i, j in np.ndindex(2, 2)]

    corners1, corners2, grad_corners1, grad_corners2 = (corners(a) for a in (h1, h2, g1, g2))
    seen1 = [in1[:, i : i + 8, j : j + 8] for i, j in sides]
    seen2 = [in2[:, i : i + 4, j : j + 4] for i, j in sides]
    grad_seen2 = [grad_in2[:, i : i + 4, j : j + 4] for i, j in sides]
    for k, part in enumerate(seen1):
        windows1[:, k] = part  # the data stay

    def pool(parts: list[Array], out: Array) -> None:
        np.maximum(parts[0], parts[1], out=out)
        np.maximum(out, parts[2], out=out)
        np.maximum(out, parts[3], out=out)

    def unpool(g: Array, largest: Array, parts: list[Array], grads: list[Array], is_best: Array) -> None:
        for part, grad in zip(parts, grads, strict=True):
            np.equal(part, largest, out=is_best)
            np.multiply(g, is_best, out=grad)

    def gradients() -> Any:
        np.dot(f1, c1, out=m1)
        np.add(m1, col1, out=m1)
        np.maximum(m1, none1, out=m1)
        pool(corners1, p1)
        np.copyto(inner, p1)
        for k, part in enumerate(seen2):
            np.copyto(windows2[:, k], part)
        np.dot(f2, c2, out=m2)
        np.add(m2, col2, out=m2)
        np.maximum(m2, none2, out=m2)
        pool(corners2, p2)
        np.dot(flat.T, w3.T, out=z)
        np.add(z, b3, out=z)
        np.maximum.reduce(z, axis=1, out=line)
        np.subtract(z, column, out=z)
        np.exp(z, out=e)
        np.add.reduce(e, axis=1, out=line)
        np.divide(e, column, out=e)
        np.log(line, out=line)
        z_flat.take(where, out=picked, mode="clip")
        np.subtract(line, picked, out=line)
        loss = np.add.reduce(line) / size
        e_flat[where] -= np.float32(1)
        np.divide(e, size, out=e)
        np.dot(e.T, flat.T, out=gw3)
        np.dot(ones, e, out=gb3)
        np.dot(w3.T, e.T, out=gp2.reshape(128, 64))
        unpool(gp2, p2, corners2, grad_corners2, best2)
        np.greater(m2, zero, out=positive2)
        np.multiply(mg2, positive2, out=mg2)
        np.dot(mg2, c2.T, out=gf2)
        np.dot(mg2, ones2, out=gb2)
        np.dot(f2.T, mg2, out=c2)
        grad_in2.fill(0)
        for k, part in enumerate(grad_seen2):
            np.add(part, windows2[:, k], out=part)
        unpool(grad_p1, p1, corners1, grad_corners1, best1)
        np.greater(m1, zero, out=positive1)
        np.multiply(mg1, positive1, out=mg1)
        np.dot(mg1, c1.T, out=gf1)
        np.dot(mg1, ones1, out=gb1)
        return loss

    return gradients


def planned_w15(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any, gw1: Any, gb1: Any, gw2: Any, gb2: Any) -> Any:
    """Return a program that takes 500 rows at a time, which stay in the cache."""
    parts = [np.empty_like(g) for g in (gw1, gb1, gw2, gb2)]
    steps = [planned_w1(w1, b1, w2, b2, x[i : i + 500], y[i : i + 500], *parts) for i in range(0, len(x), 500)]

    def gradients() -> Any:
        loss = 0.0
        for g in (gw1, gb1, gw2, gb2):
            g.fill(0)
        for step in steps:
            loss += step()
            for g, part in zip((gw1, gb1, gw2, gb2), parts, strict=True):
                np.add(g, part, out=g)
        return loss

    return gradients


def planned_w14(log: Array, squares: Array, eye: Array, y: Array) -> Any:
    """Use SciPy's LAPACK: factor, solution and inverse from one factorisation."""
    from scipy.linalg import lapack

    near, weights = np.empty_like(squares), np.empty_like(squares)
    diagonal = np.arange(len(y)) * (len(y) + 1)

    def gradients() -> Any:
        inner, outer, noise = np.exp(-2 * log[0]), np.exp(log[1]), np.exp(log[2])
        np.multiply(squares, -0.5 * inner, out=near)
        np.exp(near, out=near)
        np.multiply(near, outer, out=near)
        k = near.copy()
        k.reshape(-1)[diagonal] += noise
        factor, _ = lapack.dpotrf(k.T, lower=1, overwrite_a=1)
        alpha, _ = lapack.dpotrs(factor, y, lower=1)
        value = 0.5 * np.dot(y, alpha) + np.sum(np.log(factor.diagonal()))
        inverse, _ = lapack.dpotri(factor, lower=1)
        np.multiply(alpha[:, None], alpha, out=weights)
        np.subtract(np.tril(inverse) + np.tril(inverse, -1).T, weights, out=weights)
        trace = np.add.reduce(weights.reshape(-1)[diagonal])
        np.multiply(weights, near, out=weights)
        return value, np.array(
            [0.5 * np.vdot(weights, squares) * inner, 0.5 * np.add.reduce(weights, axis=None), 0.5 * trace * noise]
        )

    return gradients


PLANNED = {
    "W1": planned_w1,
    "W2": planned_w2,
    "W3": planned_w3,
    "W4": planned_w4,
    "W5": planned_w5,
    "W8": planned_w8,
    "W9": planned_w9,
    "W10": planned_w10,
    "W14": planned_w14,
    "W14 small": planned_w14,
    "W15": planned_w15,
}
