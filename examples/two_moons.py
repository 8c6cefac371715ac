"""Two moons: a network finds a curved border where no straight line works.

The points of each class lie on a half circle, and the two interlock. Logistic
regression, the best straight border, leaves about one point in seven on the wrong side.
A network with two hidden layers of 16 units bends the border around them.
"""

import matplotlib.pyplot as plt
import numpy as np

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F
from showing import progress, write

STEPS, LEARNING_RATE = 400, 0.02


def make_moons(n, rng):
    """Return n noisy points (n, 2) on two half circles, and their moon, 0 or 1."""
    labels = np.arange(n) % 2
    angle = rng.uniform(0, np.pi, n)
    upper = np.column_stack([np.cos(angle), np.sin(angle)])
    lower = np.column_stack([1 - np.cos(angle), 0.5 - np.sin(angle)])
    points = np.where(labels[:, None] == 0, upper, lower)
    return points + rng.normal(0, 0.15, points.shape), labels


def train(model, x, labels, steps):
    """Train a model on all points at once, and return the loss before each update."""
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in steps:
        loss = F.cross_entropy(model(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def probability(model, x):
    """Return the probability of moon 1 at points (n, 2)."""
    with mg.no_grad():
        return F.softmax(model(x)).data[:, 1]


def accuracy(model, x, labels):
    """Return the share of points that a model assigns to the right moon."""
    return np.mean((probability(model, x) > 0.5) == labels)


def draw_border(ax, model, x, labels, title):
    """Draw the probability of moon 1 as colour, the border at one half, and points."""
    across, up = np.meshgrid(np.linspace(-1.6, 2.6, 200), np.linspace(-1.2, 1.7, 200))
    grid = probability(model, np.column_stack([across.ravel(), up.ravel()])).reshape(across.shape)
    ax.contourf(across, up, grid, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.7)
    ax.contour(across, up, grid, levels=[0.5], colors="black")
    for moon, marker in enumerate("os"):
        ax.scatter(*x[labels == moon].T, s=12, marker=marker, edgecolor="white", linewidth=0.4, label=f"moon {moon}")
    ax.set(title=title, xticks=[], yticks=[])
    ax.legend(loc="lower left")


def main():
    rng = np.random.default_rng(0)
    x, labels = make_moons(400, rng)
    x_test, labels_test = make_moons(1000, rng)
    models = {
        "a straight border": nn.Linear(2, 2, rng=rng),
        "two hidden layers": nn.Sequential(
            nn.Linear(2, 16, rng=rng), nn.Tanh(), nn.Linear(16, 16, rng=rng), nn.Tanh(), nn.Linear(16, 2, rng=rng)
        ),
    }
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    print("model                loss   training   test")
    for ax, (name, model) in zip(axes, models.items(), strict=True):
        losses = train(model, x, labels, progress(STEPS, "steps"))
        shares = accuracy(model, x, labels), accuracy(model, x_test, labels_test)
        print(f"{name:18s} {losses[-1]:6.3f} {shares[0]:10.1%} {shares[1]:6.1%}")
        draw_border(ax, model, x, labels, f"{name}: {shares[1]:.1%} of new points")
    write(figure, "two_moons.png")


if __name__ == "__main__":
    main()
