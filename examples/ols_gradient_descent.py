"""Linear regression by gradient descent, with a formula and with autodiff.

Regression looks for coefficients beta that bring X beta as close to y as possible, with
the smallest sum of squared errors. Setting its derivative to zero gives the normal
equations, X'X beta = X'y, which can be solved at once. A network has no such shortcut,
so here we take the long way, which works for both. Start from any guess, and take small
steps against the gradient, again and again:

    beta <- beta - learning_rate * gradient, with the gradient 2 X' (X beta - y)

The gradient is computed twice: by this formula, and by `mg.grad` from the loss alone.
Both descents arrive at the solution of the normal equations.
"""

import numpy as np
from matplotlib.figure import Figure

import microgradnd as mg
from showing import progress, write

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00")  # by Okabe and Ito, for the colour-blind too


def loss(X, y, beta):
    """Return the sum of squared errors."""
    return np.sum((X @ beta - y) ** 2)


def gradient(X, y, beta):
    """Return the gradient of the loss with respect to beta, derived by hand."""
    return 2 * X.T @ (X @ beta - y)


gradient_by_autodiff = mg.grad(loss, argnums=2)


def main():
    rng = np.random.default_rng(1)
    n, true_beta = 80, np.array([0.5, 2.0, -1.3, 0.8])
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 3))])  # the column of ones is for the intercept
    y = X @ true_beta + rng.normal(size=n)

    learning_rate, epochs = 1e-3, 200
    ours = by_hand = np.zeros(4)
    path, path_by_hand = [ours], [by_hand]
    print("epoch       loss   largest difference between the two gradients")
    for epoch in (bar := progress(epochs)):
        slope, slope_by_hand = gradient_by_autodiff(X, y, ours), gradient(X, y, by_hand)
        if epoch == 1 or epoch % 20 == 0:
            bar.write(f"{epoch:5d} {loss(X, y, ours):10.4f}   {np.max(np.abs(slope - slope_by_hand)):.1e}")
        ours = ours - learning_rate * slope
        by_hand = by_hand - learning_rate * slope_by_hand
        path.append(ours)
        path_by_hand.append(by_hand)

    solution = np.linalg.solve(X.T @ X, X.T @ y)
    print(f"{'':21}" + "".join(f"{f'beta{i}':>12}" for i in range(4)))
    for name, beta in [
        ("normal equations", solution),
        ("descent, by formula", by_hand),
        ("descent, by autodiff", ours),
    ]:
        print(f"{name:21}" + "".join(f"{b:12.7f}" for b in beta))

    figure = Figure(figsize=(7.2, 4.0), dpi=150, layout="constrained")
    ax = figure.subplots()
    ax.set(title="Gradient descent arrives at the normal equations", xlabel="epoch", ylabel="coefficient")
    for i, colour in enumerate(COLOURS):
        ax.axhline(solution[i], color=colour, linestyle=":")
        ax.plot(np.array(path_by_hand)[:61, i], color=colour, label=f"$\\beta_{i}$")
        ax.plot(range(0, 61, 5), np.array(path)[:61:5, i], "o", color=colour)
    ax.plot([], [], color="grey", label="by formula")
    ax.plot([], [], "o", color="grey", label="by autodiff")
    ax.plot([], [], ":", color="grey", label="normal equations")
    figure.legend(loc="outside right center", frameon=False)
    write(figure, "ols_paths.png")


if __name__ == "__main__":
    main()
