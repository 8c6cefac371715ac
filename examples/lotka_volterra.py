"""Foxes and hares: four rates of a differential equation, fitted to counts.

Hares multiply and are eaten; foxes starve and eat. Lotka and Volterra wrote this as two
differential equations with four rates. Which rates explain counts that have errors? The
equations are solved by 200 steps of the Runge-Kutta method, in plain NumPy. The
residuals are differentiated through this solver, and the Gauss-Newton method uses their
Jacobian to find the rates that fit best.
"""

import matplotlib.pyplot as plt
import numpy as np

import microgradnd as mg
from showing import write

TRUE = np.array([1.0, 0.1, 1.5, 0.075])  # births, eaten by each fox, deaths, foxes fed by each hare
START = np.array([10.0, 5.0])  # hares and foxes, in thousands
STEPS, STEP = 200, 0.1  # years


def change(animals, rates):
    """Return the derivative of both numbers with respect to time."""
    hares, foxes = animals
    births, eaten, deaths, fed = rates
    return np.stack([births * hares - eaten * hares * foxes, fed * hares * foxes - deaths * foxes])


def solve(rates):
    """Return both numbers at all times (STEPS + 1, 2), by fourth-order Runge-Kutta."""
    animals = [START]
    for _ in range(STEPS):
        now = animals[-1]
        k1 = change(now, rates)
        k2 = change(now + STEP / 2 * k1, rates)
        k3 = change(now + STEP / 2 * k2, rates)
        k4 = change(now + STEP * k3, rates)
        animals.append(now + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return np.stack(animals)


def residuals(log_rates, counts):
    """Return log-solution minus log-counts, at every tenth step."""
    return (np.log(solve(np.exp(log_rates))[::10]) - np.log(counts)).reshape(-1)


def fit(counts, log_rates, steps=12):
    """Return the log-rates after each damped Gauss-Newton step to the best fit."""
    jacobian = mg.jacobian(residuals, mode="fwd")  # four columns: one forward pass each
    path, damping = [log_rates], 1.0
    for _ in range(steps):
        r, j = residuals(path[-1], counts), jacobian(path[-1], counts)
        new = path[-1] - np.linalg.solve(j.T @ j + damping * np.eye(4), j.T @ r)
        if np.sum(residuals(new, counts) ** 2) < np.sum(r**2):
            path.append(new)
            damping /= 10
        else:
            damping *= 10
    return path


def draw(counts, path):
    """Return a figure of the counts, and of the solution before and after the fit."""
    time = STEP * np.arange(STEPS + 1)
    figure, axes = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
    before, after = solve(np.exp(path[0])), solve(np.exp(path[-1]))
    for i, (ax, name) in enumerate(zip(axes, ("hares", "foxes"), strict=True)):
        ax.plot(time[::10], counts[:, i], "o", color="black", markersize=4, label="counted")
        ax.plot(time, before[:, i], "--", color="gray", label="before the fit")
        ax.plot(time, after[:, i], color="tab:red", label="fitted")
        ax.set_ylabel(f"{name} (thousands)")
    axes[0].legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    axes[1].set_xlabel("years")
    figure.suptitle("The Lotka-Volterra equations, fitted through their solver")
    return figure


def main():
    rng = np.random.default_rng(0)
    counts = solve(TRUE)[::10] * np.exp(rng.normal(0, 0.1, (STEPS // 10 + 1, 2)))
    path = fit(counts, np.log(TRUE * np.array([0.8, 1.3, 1.2, 0.9])))
    print("step   sum of squared residuals")
    for step, log_rates in enumerate(path):
        print(f"{step:4d} {np.sum(residuals(log_rates, counts) ** 2):26.4f}")
    print("rate         true  fitted")
    for name, true, fitted in zip(("births", "eaten", "deaths", "fed"), TRUE, np.exp(path[-1]), strict=True):
        print(f"{name:8s} {true:8.3f} {fitted:7.3f}")
    write(draw(counts, path), "lotka_volterra.png")


if __name__ == "__main__":
    main()
