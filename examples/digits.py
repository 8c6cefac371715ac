"""Handwritten digits, read by a network of dense layers.

scikit-learn has 1,797 images of 8 by 8 pixels. Three quarters are for training, the
rest for testing. Each image is a row of 64 numbers, from which a network with one
hidden layer computes ten scores, one for each digit. Cross-entropy compares them with
the label, and Adam follows its gradient, 64 images at a time.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F
from showing import progress, write

EPOCHS, BATCH = 30, 64


def load(rng):
    """Return images (n, 64) from 0 to 1 and digits, for training, then for testing."""
    data = load_digits()
    images, digits = data.data / 16, data.target
    order = rng.permutation(len(images))
    train, test = np.split(order, [3 * len(order) // 4])
    return images[train], digits[train], images[test], digits[test]


def scores(model, images):
    """Return the scores (n, 10) of images, without recording."""
    with mg.no_grad():
        return model(images).data


def train(model, images, digits, rng, epochs):
    """Train a model, and return the mean loss of each epoch."""
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in epochs:
        order = rng.permutation(len(images))
        total = 0.0
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            loss = F.cross_entropy(model(images[batch]), digits[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(order))
    return losses


def draw_mistakes(images, digits, guessed):
    """Return a figure of misread images, titled with the wrong and the right digit."""
    wrong = np.flatnonzero(digits != guessed)[:10]
    figure, axes = plt.subplots(2, 5, figsize=(8, 4), layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for ax, i in zip(axes.flat, wrong, strict=False):
        ax.imshow(images[i].reshape(8, 8), cmap="gray_r")
        ax.set_title(f"read as {guessed[i]}, is {digits[i]}", fontsize=10)
    figure.suptitle(f"{np.sum(digits != guessed)} of {len(digits)} digits were read wrongly")
    return figure


def main():
    rng = np.random.default_rng(0)
    images, digits, test_images, test_digits = load(rng)
    model = nn.Sequential(nn.Linear(64, 128, rng=rng), nn.ReLU(), nn.Linear(128, 10, rng=rng))
    losses = train(model, images, digits, rng, progress(EPOCHS))
    print(model)
    print("epoch      loss")
    for epoch in range(5, EPOCHS + 1, 5):
        print(f"{epoch:5d} {losses[epoch - 1]:9.4f}")
    guessed = np.argmax(scores(model, test_images), axis=1)
    print(f"test accuracy: {np.mean(guessed == test_digits):.2%}")
    write(draw_mistakes(test_images, test_digits, guessed), "digits_mistakes.png")


if __name__ == "__main__":
    main()
