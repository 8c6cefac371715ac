"""The same straight line where it must fail: on a sine.

The observations now follow 4 sin(x), with noise. The layer and the training loop of `single_layer.py` do what they can,
but no straight line comes near. What is needed is a network that can bend: see `sine_adam.py`.
"""

import numpy as np

from showing import BLUE, GREY, ORANGE, RED, figure
from single_layer import training_loop, with_intercept

EPOCHS, LEARNING_RATE = 200, 1e-4


def truth(x):
    """Return what the observations scatter around."""
    return 4 * np.sin(x)


def make_data(rng):
    """Return 20 of 100 places between -5 and 5, and an observation at each: the truth and standard normal noise."""
    x = np.linspace(-5, 5, 100)
    y = rng.normal(truth(x), 1.0)
    sample = rng.choice(len(x), size=20, replace=False)
    return x[sample], y[sample]


def mean_squared_error(weights, x, y):
    """Return how far, squared, the line misses the observations on average."""
    return np.mean((with_intercept(x) @ weights - y) ** 2)


def main():
    x, y = make_data(np.random.default_rng(3))
    path, losses = training_loop(x, y, np.array([1.0, 1.0]), EPOCHS, LEARNING_RATE)
    print("epoch       loss")
    for epoch in range(20, EPOCHS + 1, 20):
        print(f"{epoch:5d} {losses[epoch - 1]:10.4f}")
    best = np.linalg.lstsq(with_intercept(x), y)[0]
    print(f"mean squared error of the trained line:  {mean_squared_error(path[-1], x, y):.3f}")
    print(f"mean squared error of the best line:     {mean_squared_error(best, x, y):.3f}")

    with figure("sine_linear_loss.png", "The loss levels off, far from 0", "epoch", "sum of squared errors") as ax:
        ax.plot(range(1, EPOCHS + 1), losses, color=BLUE)
        ax.set_ylim(bottom=0)
    with figure("sine_linear_fit.png", "A straight line can't follow a sine", "x", "y") as ax:
        grid = np.linspace(-5, 5, 200)
        intercept, slope = path[-1]
        ax.plot(grid, truth(grid), color=GREY, label="truth, 4 sin x")
        ax.plot(x, y, "o", color=ORANGE, label="observed")
        ax.plot(grid, intercept + slope * grid, color=BLUE, label="learned")
        ax.plot(grid, best[0] + best[1] * grid, color=RED, linestyle=":", label="best line")


if __name__ == "__main__":
    main()
