"""Logistic regression, with coefficients compared to scikit-learn's.

Each of 569 tumours has 30 measurements, and is malignant or benign. The log-odds of
being benign are a weighted sum of the standardised measurements. The weights minimise
the sum of the cross-entropies plus a penalty, half the sum of the squared weights,
which scikit-learn uses too. This loss is convex and has one minimum. Newton's method
finds it in a few steps, with the exact gradient and the exact Hessian. The weights
agree with scikit-learn's to the precision that both were asked for.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import microgradnd as mg
from showing import write

TOLERANCE = 1e-10


def load():
    """Return standardised measurements (n, 30), labels (1 for benign), and names."""
    data = load_breast_cancer()
    x = data.data
    return (x - x.mean(axis=0)) / x.std(axis=0), data.target, data.feature_names


def loss(weights, x, y):
    """Return the loss; the last weight is the intercept, which has no penalty."""
    log_odds = x @ weights[:-1] + weights[-1]
    return np.sum(np.logaddexp(0, log_odds) - y * log_odds) + np.sum(weights[:-1] ** 2) / 2


def newton(x, y):
    """Return the weights at the minimum, and the gradient's norm before each step."""
    gradient, hessian = mg.grad(loss), mg.hessian(loss)
    weights, norms = np.zeros(x.shape[1] + 1), []
    while not norms or norms[-1] > TOLERANCE:
        g = gradient(weights, x, y)
        norms.append(np.linalg.norm(g))
        weights = weights - np.linalg.solve(hessian(weights, x, y), g)
    return weights, norms


def draw(weights, theirs, names):
    """Return a figure of the weights as bars, with scikit-learn's as rings."""
    order = np.argsort(weights[:-1])
    figure, ax = plt.subplots(figsize=(7, 7), layout="constrained")
    ax.barh(names[order], weights[:-1][order], color="tab:blue", label="Newton's method")
    ax.plot(theirs[order], range(len(order)), "o", color="black", markerfacecolor="none", label="scikit-learn")
    ax.set(title="Evidence for a benign tumour (right) and against it (left)", xlabel="weight")
    ax.legend()
    return figure


def main():
    x, y, names = load()
    weights, norms = newton(x, y)
    print("step   norm of the gradient")
    for step, norm in enumerate(norms):
        print(f"{step:4d} {norm:22.2e}")
    theirs = LogisticRegression(solver="newton-cholesky", tol=TOLERANCE).fit(x, y)
    coefficients = np.append(theirs.coef_[0], theirs.intercept_)
    print(f"largest difference from scikit-learn's coefficients: {np.max(np.abs(weights - coefficients)):.1e}")
    write(draw(weights, coefficients[:-1], names), "logistic_regression.png")


if __name__ == "__main__":
    main()
