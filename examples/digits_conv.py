"""Handwritten digits, read by a convolutional network.

The dense network of `digits.py` sees 64 numbers in no particular order. Here each layer
looks at 3 by 3 neighbours, with the same weights everywhere, so it recognises a stroke
wherever it is. Two such layers, each followed by batch normalisation and a pooling that
halves the image, and a dense layer at the end misread half as many digits. `nn.fit`
runs the loop. It keeps the weights of the best epoch, judged on images that were held
back from training.
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
    """Return a network that takes images (n, 1, 8, 8) and returns scores (n, 10)."""
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
    """Return rows of 64 pixels as images (n, 1, 8, 8) in single precision."""
    return rows.reshape(-1, 1, 8, 8).astype(np.float32)


def moved(images, rng):
    """Return images, each moved by up to one pixel in both directions."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(2, 3))
    down, right = rng.integers(0, 3, (2, len(images)))
    return windows[np.arange(len(images)), :, down, right]


def accuracy(model, images, digits):
    """Return the share of images that are read correctly, in evaluation mode."""
    with mg.no_grad():
        return np.mean(np.argmax(model.eval()(images).data, axis=1) == digits)


def draw(history, model, images, digits):
    """Return a figure of the losses, and of the first layer's 16 filters of 3 by 3."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    history.plot(
        log=True, ax=left, title=f"{accuracy(model, images, digits):.1%} of the test digits are read correctly"
    )
    filters = model[0].weight.data.reshape(4, 4, 3, 3)
    filters = np.pad(filters, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    right.imshow(filters.swapaxes(1, 2).reshape(16, 16), cmap="RdBu_r", vmin=-1, vmax=1)
    right.set(title="What the first layer looks for", xticks=[], yticks=[])
    return figure


def main():
    rng = np.random.default_rng(0)
    rows, digits, test_rows, test_digits = load(rng)
    images, test_images = as_images(rows), as_images(test_rows)
    held, kept = slice(0, 200), slice(200, None)
    model = make_network(rng)
    more = np.concatenate([images[kept], moved(images[kept], rng), moved(images[kept], rng)])
    history = nn.fit(
        model,
        (more, np.tile(digits[kept], 3)),
        F.cross_entropy,
        optim.Adam(model.parameters(), lr=2e-3),
        epochs=EPOCHS,
        batch_size=BATCH,
        validation=(images[held], digits[held]),
        patience=EPOCHS,
        rng=rng,
    )
    print("epoch      loss   validation")
    for epoch in range(5, EPOCHS + 1, 5):
        print(f"{epoch:5d} {history['loss'][epoch - 1]:9.4f} {history['validation_loss'][epoch - 1]:12.4f}")
    print(f"best epoch: {history.best_epoch}")
    print(f"test accuracy: {accuracy(model, test_images, test_digits):.2%}")
    write(draw(history, model, test_images, test_digits), "digits_conv.png")


if __name__ == "__main__":
    main()
