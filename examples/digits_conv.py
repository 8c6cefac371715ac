"""Handwritten digits, read by a convolutional network.

The dense network of `digits.py` sees 64 numbers in no order. Here each layer looks at 3 by 3 neighbours with the same
weights everywhere, so that a stroke is the same stroke wherever it stands. Two such layers, each followed by a batch
normalisation and a pooling that halves the image, and a dense layer at the end misread half as many digits. `nn.fit` runs
the loop, and keeps the weights of the epoch that was best on images held back from training.
"""

import matplotlib.pyplot as plt
import numpy as np

import microgradnd as mg
from digits import load
from microgradnd import nn, optim
from microgradnd.nn import functional as F
from showing import write

EPOCHS, BATCH = 25, 64


def make_network(rng):
    """Return a network of images (n, 1, 8, 8) to scores (n, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, rng=rng, dtype=np.float32),
        nn.BatchNorm2d(16, dtype=np.float32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, rng=rng, dtype=np.float32),
        nn.BatchNorm2d(32, dtype=np.float32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3, rng=rng),
        nn.Linear(32 * 2 * 2, 10, rng=rng, dtype=np.float32),
    )


def as_images(rows):
    """Return rows of 64 pixels as images (n, 1, 8, 8) of single precision."""
    return rows.reshape(-1, 1, 8, 8).astype(np.float32)


def moved(images, rng):
    """Return images, each moved by up to one pixel in both directions: more handwriting from the same."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(2, 3))
    down, right = rng.integers(0, 3, (2, len(images)))
    return windows[np.arange(len(images)), :, down, right]


def accuracy(model, images, digits):
    """Return the share of images that are read rightly, in evaluation."""
    with mg.no_grad():
        return np.mean(np.argmax(model.eval()(images).data, axis=1) == digits)
