"""The same straight line on a sine, where it must fail.

The observations now follow 4 sin(x), with noise. The layer and the training loop of
`single_layer.py` do what they can, but no straight line comes close. You need a network
that can bend: see `sine_adam.py`.
"""

import numpy as np

from microgradnd import viz
from showing import write
from single_layer import training_loop, with_intercept

EPOCHS, LEARNING_RATE = 200, 1e-4


def truth(x):
    """Return the true values, around which the observations scatter."""
    return 4 * np.sin(x)


def make_data(rng):
    """Return 20 of 100 points from -5 to 5, and at each the truth plus normal noise."""
    x = np.linspace(-5, 5, 100)
    y = rng.normal(truth(x), 1.0)
    sample = rng.choice(len(x), size=20, replace=False)
    return x[sample], y[sample]


def mean_squared_error(weights, x, y):
    """Return the mean squared distance of the line from the observations."""
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

    history = viz.plot_history(losses, title="The loss levels off, far from 0", ylabel="sum of squared errors")
    history.axes[0].set_ylim(bottom=0)
    write(history, "sine_linear_loss.png")
    lines = {"learned": with_intercept(x) @ path[-1], "best line": with_intercept(x) @ best}
    fit = viz.plot_fit(x, y, lines, truth=truth, title="A straight line can't follow a sine")
    write(fit, "sine_linear_fit.png")


if __name__ == "__main__":
    main()
