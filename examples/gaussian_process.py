"""A Gaussian process finds out by itself how smooth the data are.

A Gaussian process puts a normal distribution on functions (Rasmussen and Williams,
2006): values at nearby inputs are similar. Their covariance has three hyperparameters:
how far the functions go up and down, over what length, and how large the errors of the
observations are. The likelihood is a formula with a Cholesky factor, a solve and a
determinant, and has a gradient like any other. `optim.minimize` follows it to the
values that make the data most likely.
"""

import matplotlib.pyplot as plt
import numpy as np

from microgradnd import optim
from showing import write

N = 40


def covariance(a, b, log_scale, log_length):
    """Return the covariances (n, m) of function values at inputs (n,) and (m,)."""
    return np.exp(2 * log_scale - (a[:, None] - b) ** 2 / (2 * np.exp(2 * log_length)))


def negative_log_likelihood(log, x, y):
    """Return minus the log-likelihood of the data, from the log-hyperparameters."""
    k = covariance(x, x, log["scale"], log["length"]) + np.exp(2 * log["noise"]) * np.eye(len(x))
    factor = np.linalg.cholesky(k)
    half = np.linalg.solve(factor, y)
    return half @ half / 2 + np.sum(np.log(np.diagonal(factor))) + len(x) / 2 * np.log(2 * np.pi)


def predict(log, x, y, new):
    """Return the function's mean and standard deviation at new inputs (m,)."""
    k = covariance(x, x, log["scale"], log["length"]) + np.exp(2 * log["noise"]) * np.eye(len(x))
    across = covariance(new, x, log["scale"], log["length"])
    mean = across @ np.linalg.solve(k, y)
    variance = np.exp(2 * log["scale"]) - np.sum(across * np.linalg.solve(k, across.T).T, axis=1)
    return mean, np.sqrt(np.maximum(variance, 0))


def draw(ax, log, x, y, truth, title):
    """Draw the observations, the truth, and the prediction by these parameters."""
    new = np.linspace(-1, 11, 300)
    mean, deviation = predict(log, x, y, new)
    ax.fill_between(new, mean - 2 * deviation, mean + 2 * deviation, alpha=0.3, label="two standard deviations")
    ax.plot(new, mean, label="mean")
    ax.plot(new, truth(new), "--", color="gray", label="truth")
    ax.plot(x, y, "o", color="black", markersize=4)
    ax.set(title=title, xlabel="x", ylim=(-3.5, 3.5))


def main():
    rng = np.random.default_rng(0)

    def truth(x):
        return np.sin(x) + np.sin(2.5 * x) / 2

    x = np.sort(rng.uniform(0, 10, N))
    y = truth(x) + rng.normal(0, 0.2, N)
    start = {"scale": 0.0, "length": np.log(3.0), "noise": 0.0}
    found = optim.minimize(lambda log: negative_log_likelihood(log, x, y), start, method="BFGS")
    print("hyperparameter    before    after")
    for name in start:
        print(f"{name:15s} {np.exp(start[name]):8.3f} {np.exp(found.x[name]):8.3f}")
    print(f"minus log-likelihood {negative_log_likelihood(start, x, y):.3f} -> {found.fun:.3f}, {found.nit} steps")
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    draw(axes[0], start, x, y, truth, "before: too smooth, too uncertain")
    draw(axes[1], found.x, x, y, truth, "with the optimal hyperparameters")
    axes[0].legend(loc="lower left", fontsize=8)
    write(figure, "gaussian_process.png")


if __name__ == "__main__":
    main()
