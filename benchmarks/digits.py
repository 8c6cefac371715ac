"""Times a whole training run, that of `examples/digits.py`, against PyTorch's.

Owns: the run in this library, eager and compiled, and in PyTorch.
Must not own: the method (`run.py`) beyond the number of rounds.
Read next: `run.py`, whose workloads are single steps.

    python benchmarks/digits.py [--rounds 5]

1,797 images are 64 numbers each; three quarters are learned for 30 epochs in batches of
64 by a dense network with 128 hidden units, cross-entropy and Adam, in float32. The
numbers are random, since the time doesn't depend on them; all programs begin with the
same weights and take the same batches, and their losses are compared before the times
count.
"""

import argparse

from pinned import pin

if __name__ == "__main__":
    PARSER = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    PARSER.add_argument("--rounds", type=int, default=5)
    OPTIONS = PARSER.parse_args()
    pin(1, "")

import gc
import random
import statistics
import time
from typing import Any

import numpy as np
import torch

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F

EPOCHS, BATCH, HIDDEN, LEARNING_RATE = 30, 64, 128, 3e-3
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(1347, 64)).astype(np.float32)
DIGITS = np.argmax(IMAGES @ RNG.normal(size=(64, 10)), axis=1)
WEIGHTS = nn.Sequential(
    nn.Linear(64, HIDDEN, rng=RNG, dtype=np.float32), nn.ReLU(), nn.Linear(HIDDEN, 10, rng=RNG, dtype=np.float32)
).state_dict()
ORDERS = [RNG.permutation(len(IMAGES)) for _ in range(EPOCHS)]
BATCHES = [order[start : start + BATCH] for order in ORDERS for start in range(0, len(order), BATCH)]


def network(words: Any, **options: Any) -> Any:
    return words.Sequential(words.Linear(64, HIDDEN, **options), words.ReLU(), words.Linear(HIDDEN, 10, **options))


def ours(transform: Any) -> list[float]:
    """Return the losses of a run with this library."""
    model = network(nn, dtype=np.float32)
    model.load_state_dict(WEIGHTS)
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def step(images: Any, digits: Any) -> Any:
        loss = F.cross_entropy(model(images), digits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = transform(step)
    return [float(step(IMAGES[batch], DIGITS[batch]).item()) for batch in BATCHES]


def theirs() -> list[float]:
    """Return the losses of a run with PyTorch; its arrays are made beforehand."""
    torch.set_num_threads(1)
    model = network(torch.nn)
    model.load_state_dict({name: torch.tensor(array) for name, array in WEIGHTS.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    images, digits = torch.tensor(IMAGES), torch.tensor(DIGITS)
    losses = []
    for batch in BATCHES:
        loss = torch.nn.functional.cross_entropy(model(images[batch]), digits[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


PROGRAMS = {"torch": theirs, "eager": lambda: ours(lambda f: f), "compiled": lambda: ours(mg.compile)}


def main() -> None:
    expected = theirs()
    for name, program in PROGRAMS.items():
        np.testing.assert_allclose(program(), expected, rtol=2e-2, err_msg=name)  # single precision, 660 steps
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(OPTIONS.rounds):
        for name in random.sample(list(PROGRAMS), len(PROGRAMS)):
            gc.collect()
            start = time.perf_counter()
            PROGRAMS[name]()
            seconds[name].append(time.perf_counter() - start)
    print("a whole training run on the digits, as a ratio to PyTorch (median, the least in parentheses)")
    for name, times in seconds.items():
        ratios = [ours / theirs for ours, theirs in zip(times, seconds["torch"], strict=True)]
        print(f"{name:10s} {statistics.median(ratios):6.2f} ({min(times) / min(seconds['torch']):.2f})")


if __name__ == "__main__":
    main()
