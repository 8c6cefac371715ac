"""A network trained on a cluster: on this machine, or at an address that you give.

    python examples/cluster.py                         # two worker processes, here
    python examples/cluster.py tcp://10.0.0.5:8786     # the scheduler of a cluster

The network of digits.py reads the digits. Each step takes two batches, whose gradients
the workers compute in parallel. The gradients are added in an order that depends only
on the number of batches. So two workers give the same losses as one, to the last bit.
If a worker is lost in the middle of a step, another computes its batches again, and the
result doesn't change.

Is this worth it? Not for digits: a step takes a millisecond here, less than it takes to
distribute its tasks. It is worth it if a step takes a second, or if the data are larger
than memory.
"""

import logging
import signal
import sys
import time

import numpy as np
from distributed import Client, LocalCluster, WorkerPlugin

import microgradnd as mg
from digits import load, scores
from microgradnd import nn, optim
from microgradnd.nn import functional as F

EPOCHS, BATCH, TOGETHER = 5, 64, 2


class Uninterrupted(WorkerPlugin):
    """Makes the workers ignore Ctrl-C, which a terminal sends to all processes.

    So Ctrl-C ends the training, but not the workers.
    """

    def setup(self, worker):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def train(client):
    """Train a network, locally if there is no client; return losses and accuracy."""
    rng = np.random.default_rng(0)
    images, digits, test_images, test_digits = load(rng)
    model = nn.Sequential(nn.Linear(64, 128, rng=rng), nn.ReLU(), nn.Linear(128, 10, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    history = nn.fit(
        model,
        (images, digits),
        F.cross_entropy,
        optimizer,
        epochs=EPOCHS,
        batch_size=BATCH,
        accumulate=TOGETHER,
        rng=rng,
        client=client,
    )
    return history["loss"], np.mean(np.argmax(scores(model, test_images), axis=1) == test_digits)


def squares(beta, block):
    """Return the sum of squared errors of a linear model."""
    x, y = block
    return np.sum((x @ beta - y) ** 2)


def load_block(number):
    """Return a block of rows; a worker calls this, so the rows stay there."""
    rng = np.random.default_rng(number)
    x = rng.normal(size=(50_000, 3))
    return x, x @ [2.0, -1.3, 0.8] + rng.normal(size=len(x))


def regress(client):
    """Fit a linear model to a million rows that the workers make, or read."""
    blocks = [lambda number=number: load_block(number) for number in range(20)]
    f = mg.distributed.value_and_grad(squares, client, blocks_per_task=5)
    beta = np.zeros(3)
    for _ in range(10):
        _, gradient = f(beta, blocks)
        beta = beta - 0.4e-6 * gradient
    return beta


def run(client):
    """Run both programs on a cluster, and print the results."""
    print(f"dashboard: {client.dashboard_link}")
    start = time.perf_counter()
    losses, accuracy = train(client)
    print(f"{len(client.nthreads())} workers, {time.perf_counter() - start:.1f} s")
    print("epoch      loss here   loss on the cluster")
    here, _ = train(None)
    for epoch, (ours, theirs) in enumerate(zip(here, losses, strict=True), start=1):
        print(f"{epoch:5d} {ours:14.10f} {theirs:21.10f}")
    print(f"test accuracy: {accuracy:.2%}")
    print("coefficients from a million rows:", regress(client).round(2))


def main():
    if len(sys.argv) > 1:
        with Client(sys.argv[1]) as client:
            run(client)
    else:
        options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.ERROR}
        with LocalCluster(n_workers=2, **options) as cluster, Client(cluster) as client:
            client.register_plugin(Uninterrupted())
            run(client)


if __name__ == "__main__":  # the worker processes import this file
    main()
