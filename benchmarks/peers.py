"""The workloads in other libraries, as their own users write them for speed.

Owns: the programs "torch", "torch.compile", "jax", "autograd", "mygrad", "advect" and
"advect staged".
Must not own: the data (`workloads.py`), chains of scalar operations (`chains.py`).
Read next: `run.py`.

A library is imported when its first program is made; one that isn't installed is left
out. Where a library can't do a workload, `UNABLE` says why.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from by_hand import BETA1, BETA2, EPS, learned
from workloads import Candidate, Words, Work, overwritten

UNABLE = {
    ("mygrad", "W8"): "it has no second derivatives",
    ("advect staged", "W8"): "its hvp traces in each call",
    **{(program, name): "it has no Jacobians" for program in ("mygrad",) for name in ("W16", "W16 Hessian")},
    **{
        (program, name): "its Jacobians aren't measured here"
        for program in ("numpy out=", "advect", "advect staged")
        for name in ("W16", "W16 Hessian")
    },
    **{(program, "W10"): "it has no convolution of images" for program in ("autograd", "advect", "advect staged")},
    **{
        (program, name): "this network is written with modules, and by hand"
        for program in ("numpy out=", "torch.compile", "jax", "autograd", "mygrad", "advect", "advect staged")
        for name in ("W11", "W12")
    },
    ("numpy out=", "W13"): "its arrays hold two numbers",
    ("torch.compile", "W13"): "it doesn't end in a minute",
    **{(program, "W13"): "it can't stack numbers of its own" for program in ("advect", "advect staged")},
    **{("mygrad", name): "it has no linear algebra" for name in ("W14", "W14 small")},
    **{("autograd", name): "its rule for `diagonal` fails here" for name in ("W14", "W14 small")},
    ("numpy out=", "W17"): "arrays this small gain nothing",
}


@functools.cache
def torch_words() -> Words:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    F = torch.nn.functional
    return Words(
        sum=torch.sum,
        stack=torch.stack,
        sin=torch.sin,
        exp=torch.exp,
        log=torch.log,
        cholesky=torch.linalg.cholesky,
        solve_lower=lambda a, b: torch.linalg.solve_triangular(a, b[:, None], upper=False)[:, 0],
        diagonal=torch.diagonal,
        tanh=torch.tanh,
        relu=torch.relu,
        linear=F.linear,
        softmax=functools.partial(F.softmax, dim=-1),
        swapped=lambda x: x.mT,
        mse_loss=F.mse_loss,
        cross_entropy=F.cross_entropy,
        conv2d=functools.partial(F.conv2d, padding=1),
        max_pool2d=functools.partial(F.max_pool2d, kernel_size=2),
    )


def torch_eager(name: str, work: Work) -> Candidate:
    """PyTorch: modules, and the fused optimizers."""
    import torch

    words = torch_words()
    data = [torch.tensor(a) for a in work.data]
    params = [torch.tensor(p, requires_grad=True) for p in work.start]
    if work.learning is None:
        return Candidate(lambda: torch_derivative(work, words, params, data))

    def loss_of() -> Any:
        return work.loss(words, *params, *data)

    if work.layers is not None:
        model = work.layers(torch.nn, params[0].dtype)
        for p, value in zip(model.parameters(), params, strict=True):
            p.data = value.data
        params = list(model.parameters())
        criterion = getattr(torch.nn.functional, work.criterion)
        x, y = data

        def loss_of() -> Any:
            return criterion(model(x), y)

    rule, lr = work.learning
    arrays = [p.detach().numpy() for p in params]  # the same memory
    if rule == "loop":

        def loop_step() -> Any:
            loss = loss_of()
            loss.backward()
            with torch.no_grad():
                for p in params:
                    p -= lr * p.grad
                    p.grad = None
            return loss.item()

        return Candidate(loop_step, lambda: arrays, overwritten(arrays, work.start))

    kind = torch.optim.Adam if rule == "adam" else torch.optim.SGD
    optimizer = kind(params, lr=lr, fused=True)

    def step() -> Any:
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Candidate(step, lambda: arrays, overwritten(arrays, work.start))


def torch_derivative(work: Work, words: Words, params: list[Any], data: list[Any]) -> Any:
    """Return the result by PyTorch's tape; an HVP is backward twice."""
    import torch

    if work.result == "hvp":
        (gradient,) = torch.autograd.grad(work.loss(words, *params), params, create_graph=True)
        return torch.autograd.grad(gradient, params, data[0])[0].numpy()
    if work.result in ("jacobian", "hessian"):
        derive = torch.autograd.functional.jacobian if work.result == "jacobian" else torch.autograd.functional.hessian
        return derive(lambda x: work.loss(words, x, *data), params[0].detach()).numpy()
    loss = work.loss(words, *params, *data)
    gradients = torch.autograd.grad(loss, params)
    if work.result == "gradient":
        return gradients[0].numpy()
    return loss.item(), *(g.numpy() for g in gradients)


def torch_compiled(name: str, work: Work) -> Candidate:
    """`torch.compile` of the whole step with its update, in functional form."""
    import torch

    words = torch_words()
    torch._dynamo.reset()
    data = [torch.tensor(a) for a in work.data]
    params = [torch.tensor(p) for p in work.start]
    n = len(params)
    places = tuple(range(n))

    def loss_of(*args: Any) -> Any:
        return work.loss(words, *args)

    if work.result == "hvp":
        gradient = torch.func.grad(loss_of)
        program = torch.compile(lambda x, v: torch.func.jvp(gradient, (x,), (v,))[1])
        return Candidate(lambda: program(*params, *data).numpy())
    if work.result == "gradient":
        program = torch.compile(torch.func.grad(loss_of))
        return Candidate(lambda: program(*params).numpy())
    if work.result in ("jacobian", "hessian"):
        program = torch.compile((torch.func.jacrev if work.result == "jacobian" else torch.func.hessian)(loss_of))
        return Candidate(lambda: program(*params, *data).numpy())
    both = torch.func.grad_and_value(loss_of, places)
    if work.result == "value and gradient":
        program = torch.compile(both)

        def value_and_gradients() -> Any:
            gradients, loss = program(*params, *data)
            return loss.item(), *(g.numpy() for g in gradients)

        return Candidate(value_and_gradients)
    assert work.learning is not None
    rule, lr = work.learning
    arrays = [p.numpy() for p in params]
    restart = overwritten(arrays, work.start)
    if rule != "adam":

        def train(*args: Any) -> Any:
            grads, loss = both(*args)
            for p, g in zip(args[:n], grads, strict=True):
                p -= lr * g
            return loss

        program = torch.compile(train)
        return Candidate(lambda: program(*params, *data).item(), lambda: arrays, restart)

    moments = [torch.zeros_like(p) for p in params + params]
    count = torch.zeros((), dtype=params[0].dtype)

    def train_adam(count: Any, *args: Any) -> Any:
        grads, loss = both(*args[:n], *args[3 * n :])
        count += 1
        step_size, root = lr / (1 - BETA1**count), torch.sqrt(1 - BETA2**count)
        for p, m, v, g in zip(args[:n], args[n : 2 * n], args[2 * n : 3 * n], grads, strict=True):
            m += (1 - BETA1) * (g - m)
            v += (1 - BETA2) * (g * g - v)
            p -= step_size * m / (torch.sqrt(v) / root + EPS)
        return loss

    program = torch.compile(train_adam)
    return Candidate(lambda: program(count, *params, *moments, *data).item(), lambda: arrays, restart)


@functools.cache
def jax_words() -> Words:
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy

    def cross_entropy(logits: Any, labels: Any) -> Any:
        picked = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - picked)

    def conv2d(x: Any, w: Any, b: Any) -> Any:
        return jax.lax.conv(x, w, (1, 1), "SAME") + b[:, None, None]

    def max_pool2d(x: Any) -> Any:
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    return Words(
        sum=jnp.sum,
        stack=jnp.stack,
        sin=jnp.sin,
        exp=jnp.exp,
        log=jnp.log,
        cholesky=jnp.linalg.cholesky,
        solve_lower=lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True),
        diagonal=jnp.diagonal,
        tanh=jnp.tanh,
        relu=jax.nn.relu,
        linear=lambda x, w, b: x @ w.T + b,
        softmax=jax.nn.softmax,
        swapped=lambda x: x.mT,
        mse_loss=lambda y_pred, y: jnp.mean((y_pred - y) ** 2),
        cross_entropy=cross_entropy,
        conv2d=conv2d,
        max_pool2d=max_pool2d,
        scan=jax.lax.scan,  # a loop that is written out takes minutes to compile
    )


def jax_jit(name: str, work: Work) -> Candidate:
    """JAX: one jitted function for the whole step, which reuses its parameters."""
    import jax

    words = jax_words()
    data = [jax.numpy.asarray(a) for a in work.data]
    params = [jax.numpy.array(p) for p in work.start]
    places = tuple(range(len(params)))

    def loss_of(*args: Any) -> Any:
        return work.loss(words, *args)

    def ready(tree: Any) -> Any:
        return jax.tree.map(np.asarray, jax.block_until_ready(tree))

    if work.result == "hvp":
        program = jax.jit(lambda x, v: jax.jvp(jax.grad(loss_of), (x,), (v,))[1])
        return Candidate(lambda: ready(program(*params, *data)))
    if work.result == "gradient":
        program = jax.jit(jax.grad(loss_of))
        return Candidate(lambda: ready(program(*params)))
    if work.result in ("jacobian", "hessian"):
        program = jax.jit((jax.jacrev if work.result == "jacobian" else jax.hessian)(loss_of))
        return Candidate(lambda: ready(program(*params, *data)))
    both = jax.value_and_grad(loss_of, places)
    if work.result == "value and gradient":
        program = jax.jit(lambda *args: (lambda out: (out[0], *out[1]))(both(*args)))
        return Candidate(lambda: ready(program(*params, *data)))
    assert work.learning is not None
    rule, lr = work.learning
    state: Any = params, None
    if rule != "adam":

        def train(state: Any, data: Any) -> Any:
            params, _ = state
            loss, grads = both(*params, *data)
            return loss, ([p - lr * g for p, g in zip(params, grads, strict=True)], None)

    else:
        state = params, (0.0, [0 * p for p in params], [0 * p for p in params])

        def train(state: Any, data: Any) -> Any:
            params, (count, first, second) = state
            loss, grads = both(*params, *data)
            count += 1
            first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, grads, strict=True)]
            second = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, grads, strict=True)]
            step_size, root = lr / (1 - BETA1**count), jax.numpy.sqrt(1 - BETA2**count)
            params = [
                p - (step_size * m / (jax.numpy.sqrt(v) / root + EPS)).astype(p.dtype)
                for p, m, v in zip(params, first, second, strict=True)
            ]
            return loss, (params, (count, first, second))

    program = jax.jit(train, donate_argnums=0)

    def step() -> Any:
        nonlocal state
        loss, state = program(state, data)
        return float(loss)

    def restart() -> None:
        nonlocal state
        state = [jax.numpy.array(p) for p in work.start], state[1]

    return Candidate(step, lambda: [np.asarray(p) for p in state[0]], restart)


def numpy_words(xp: Any, logsumexp: Any = None) -> Words:
    """Return the words of a library with NumPy's functions and no neural network's."""

    def softmax(x: Any) -> Any:
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def cross_entropy(logits: Any, labels: Any) -> Any:
        shifted = logits - xp.max(logits, axis=1, keepdims=True)
        losses = xp.log(xp.sum(xp.exp(shifted), axis=1)) - shifted[np.arange(labels.shape[0]), labels]
        return xp.mean(losses)

    has_algebra = hasattr(getattr(xp, "linalg", None), "cholesky")
    algebra = {"cholesky": xp.linalg.cholesky, "solve_lower": xp.linalg.solve} if has_algebra else {}
    return Words(
        sum=xp.sum,
        stack=xp.stack,
        sin=xp.sin,
        exp=xp.exp,
        log=xp.log,
        **algebra,
        diagonal=getattr(xp, "diagonal", None),
        tanh=xp.tanh,
        relu=lambda x: xp.maximum(x, 0),
        linear=lambda x, w, b: xp.matmul(x, xp.transpose(w)) + b,
        softmax=softmax,
        swapped=lambda x: xp.swapaxes(x, -1, -2),
        mse_loss=lambda y_pred, y: xp.mean((y_pred - y) ** 2),
        cross_entropy=cross_entropy,
    )


def hips_autograd(name: str, work: Work) -> Candidate:
    """HIPS autograd, the update in NumPy."""
    import autograd
    import autograd.numpy

    words = numpy_words(autograd.numpy)

    def loss_of(*args: Any) -> Any:
        return work.loss(words, *args)

    if work.result == "hvp":
        return learned(work, autograd.hessian_vector_product(loss_of))
    if work.result == "gradient":
        return learned(work, autograd.grad(loss_of))
    if work.result in ("jacobian", "hessian"):
        return learned(work, (autograd.jacobian if work.result == "jacobian" else autograd.hessian)(loss_of))
    places = tuple(range(len(work.start)))
    both = autograd.value_and_grad(loss_of, places)
    if work.learning is not None:
        return learned(work, both)
    return learned(work, lambda *args: (lambda out: (out[0], *out[1]))(both(*args)))


@functools.cache
def mygrad_words() -> Words:
    import mygrad
    from mygrad.nnet import activations, layers, losses

    mygrad.turn_memory_guarding_off()  # it costs time, and is optional
    words = numpy_words(mygrad)
    words.relu = activations.relu
    words.softmax = functools.partial(activations.softmax, axis=-1)
    words.cross_entropy = losses.softmax_crossentropy
    words.conv2d = lambda x, w, b: layers.conv_nd(x, w, stride=1, padding=1) + b.reshape(1, -1, 1, 1)
    words.max_pool2d = functools.partial(layers.max_pool, pool=(2, 2), stride=2)
    return words


def mygrad_(name: str, work: Work) -> Candidate:
    """MyGrad, without its guards of memory; the update in NumPy."""
    import mygrad

    words = mygrad_words()

    def gradients(*args: Any) -> Any:
        tensors = [mygrad.tensor(a, copy=False) for a in args[: len(work.start)]]
        loss = work.loss(words, *tensors, *args[len(work.start) :])
        loss.backward()
        grads = [t.grad for t in tensors]
        if work.learning is not None:
            return loss.item(), grads
        return grads[0] if work.result == "gradient" else (loss.item(), *grads)

    return learned(work, gradients)


def cross_entropy_of_advect(logits: Any, labels: Any) -> Any:
    """Return the cross-entropy, in a form that advect can stage."""
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    picked = np.take_along_axis(shifted, labels[:, None], 1)[:, 0]
    return np.mean(np.log(np.sum(np.exp(shifted), axis=1)) - picked)


def advect(name: str, work: Work, staged: bool = False) -> Candidate:
    """advect, traced in each step; the update in NumPy."""
    import advect as ad

    words = numpy_words(np)
    words.swapped, words.cross_entropy = np.matrix_transpose, cross_entropy_of_advect  # so it can be staged
    places = tuple(range(len(work.start)))

    def loss_of(*args: Any) -> Any:
        return work.loss(words, *args)

    if work.result == "hvp":
        product = ad.hvp(loss_of)
        return learned(work, lambda x, v: product(x, vectors=v)[1])
    examples = work.start if work.result == "gradient" else [*work.start, *work.data]
    function = ad.stage(loss_of, *examples) if staged else loss_of
    if work.result == "gradient":
        return learned(work, ad.grad(function))
    both = ad.value_and_grad(function, places)
    if work.learning is not None:
        return learned(work, both)
    return learned(work, lambda *args: (lambda out: (out[0], *out[1]))(both(*args)))


def advect_staged(name: str, work: Work) -> Candidate:
    """advect, the loss and its gradient staged once; the update in NumPy."""
    return advect(name, work, staged=True)
