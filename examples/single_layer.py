"""One layer, one straight line: the smallest network.

A layer multiplies its inputs by weights and applies an activation function to the
result. With a single input, a column of ones for the intercept, and the identity as
activation, it is a straight line. This program builds the layer from four small
functions, checks the one that takes calculus (`network_gradient`) by autodiff, and
trains it.
"""

import numpy as np

import microgradnd as mg
from microgradnd import viz
from showing import progress, write


def layer(inputs, weights, activation):
    """Return the outputs of a layer: activation(inputs @ weights)."""
    return activation(inputs @ weights)


def loss(prediction, y):
    """Return the squared loss, summed over the observations."""
    return np.sum((y - prediction) ** 2)


def gradient_step(learning_rate, weights, gradient):
    """Return the weights after a small step down the slope of the loss."""
    return weights - learning_rate * gradient


def network_gradient(x, y, weights):
    """Return the gradient of the loss by the formula -2 x' (y - x w)."""
    return -2 * x.T @ (y - x @ weights)


def identity(z):
    """Return z: the activation of a linear layer."""
    return z


def with_intercept(x):
    """Return inputs (n,) as a matrix (n, 2) with a column of ones for the intercept."""
    return np.column_stack([np.ones(len(x)), x])


def standardise(x):
    """Return x with mean 0 and a sample standard deviation of 1."""
    return (x - np.mean(x)) / np.std(x, ddof=1)


def make_data(rng):
    """Return 100 observations of 2 x + 3, with noise of standard deviation 2."""
    x = np.linspace(-10, 10, 100)
    return x, rng.normal(2 * x + 3, 2.0)


def training_loop(x, y, weights, epochs, learning_rate):
    """Return the path of the weights (epochs + 1, 2), and the loss of each epoch."""
    inputs = with_intercept(x)
    path, losses = [weights], []
    for _ in progress(epochs):
        losses.append(loss(layer(inputs, weights, identity), y))
        weights = gradient_step(learning_rate, weights, network_gradient(inputs, y, weights))
        path.append(weights)
    return np.array(path), np.array(losses)


def check_gradient(rng):
    """Print the gradient for one random observation, by formula and by autodiff."""
    x, y, weights = rng.normal(size=(1, 2)), rng.normal(size=1), rng.normal(size=2)
    by_formula = network_gradient(x, y, weights)
    by_autodiff = mg.grad(lambda w: loss(layer(x, w, identity), y))(weights)
    print(f"gradient by formula:  {by_formula}")
    print(f"gradient by autodiff: {by_autodiff}")
    np.testing.assert_allclose(by_autodiff, by_formula, rtol=1e-12)


def main():
    rng = np.random.default_rng(1)
    x, y = make_data(rng)
    start = np.array([1.0, 1.0])
    print(f"loss of the line 1 + x: {loss(layer(with_intercept(x), start, identity), y):.3f}")
    check_gradient(rng)

    sample = rng.choice(len(x), size=50, replace=False)
    x, y = standardise(x[sample]), standardise(y[sample])
    path, losses = training_loop(x, y, start, epochs=500, learning_rate=1e-4)
    print("epoch       loss  intercept    slope")
    for epoch in range(50, 501, 50):
        print(f"{epoch:5d} {losses[epoch - 1]:10.6f} {path[epoch, 0]:10.6f} {path[epoch, 1]:8.6f}")

    history = viz.plot_history(losses, title="Descending the gradient", ylabel="sum of squared errors")
    write(history, "single_layer_loss.png")

    def loss_of(weights):
        return loss(layer(with_intercept(x), weights, identity), y)

    surface = viz.plot_surface(loss_of, path, title="The way down", xlabel="intercept", ylabel="slope")
    write(surface, "single_layer_surface.png")

    def line(weights):
        return lambda x: with_intercept(x) @ weights

    lines = {"before training": line(start), "after 500 epochs": line(path[-1])}
    labels = {"xlabel": "x, standardised", "ylabel": "y, standardised"}
    write(viz.plot_fit(x, y, lines, title="The learned line", **labels), "single_layer_fit.png")


if __name__ == "__main__":
    main()
