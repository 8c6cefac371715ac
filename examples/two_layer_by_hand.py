"""A network of two layers in plain NumPy, its backward pass derived by hand.

Linear regression multiplies the observations by one vector of weights. This network
does more. It has a hidden layer of 32 units, each with its own weights and bias; then
the activation ReLU, which turns negative values to 0; then an output layer that makes
one prediction from the 32 activations. Without ReLU, the two layers would be equivalent
to one.

Learning works as in regression: predict, measure the loss, find its gradient, and take
a step against it. But the gradient has further to go, from the loss back through every
step of the prediction. That is the chain rule: each line of the backward pass below
belongs to one line of the forward pass, last line first.

`two_layer.py` is the same network without the hand-made half.
"""

import numpy as np

from microgradnd import viz
from showing import progress, write

N, D_IN, D_HIDDEN, D_OUT = 100, 3, 32, 1
EPOCHS, LEARNING_RATE = 200, 1e-4


def make_data(rng):
    """Return 100 observations of 3 features, and targets linear in them, with noise."""
    x = rng.normal(size=(N, D_IN))
    y = x @ np.array([[0.2], [-1.3], [-0.5]]) + rng.normal(size=(N, D_OUT))  # (100, 1), as the predictions will be
    return x, y


def make_weights(rng):
    """Return the initial parameters: standard normal weights, and biases of 0."""
    w1, b1 = rng.normal(size=(D_IN, D_HIDDEN)), np.zeros((1, D_HIDDEN))
    w2, b2 = rng.normal(size=(D_HIDDEN, D_OUT)), np.zeros((1, D_OUT))
    return w1, b1, w2, b2


def train(x, y, w1, b1, w2, b2, epochs):
    """Return the loss of each epoch before its update, and the last weights."""
    losses = []
    for _ in epochs:
        # Forward: from the observations to the predictions
        h = x @ w1 + b1  # (100, 32)
        h_relu = np.maximum(h, 0)  # (100, 32)
        y_pred = h_relu @ w2 + b2  # (100, 1)
        losses.append(np.sum((y_pred - y) ** 2))

        # Backward: from the loss to the weights. Axes that were broadcast on the way
        # forward are summed on the way back.
        grad_y_pred = 2 * (y_pred - y)  # (100, 1)
        grad_w2 = h_relu.T @ grad_y_pred  # (32, 1)
        grad_b2 = np.sum(grad_y_pred, axis=0, keepdims=True)  # (1, 1): one for each output
        grad_h_relu = grad_y_pred @ w2.T  # (100, 32)
        grad_h = np.where(h > 0, grad_h_relu, 0)  # (100, 32): at exactly 0 the slope of ReLU counts as 0
        grad_w1 = x.T @ grad_h  # (3, 32)
        grad_b1 = np.sum(grad_h, axis=0, keepdims=True)  # (1, 32): one for each hidden unit

        w1 = w1 - LEARNING_RATE * grad_w1
        b1 = b1 - LEARNING_RATE * grad_b1
        w2 = w2 - LEARNING_RATE * grad_w2
        b2 = b2 - LEARNING_RATE * grad_b2
    return losses, (w1, b1, w2, b2)


def main():
    rng = np.random.default_rng(1)
    losses, _ = train(*make_data(rng), *make_weights(rng), progress(EPOCHS))
    print("epoch         loss")
    for epoch in range(10, EPOCHS + 1, 10):
        print(f"{epoch:5d} {losses[epoch - 1]:12.6f}")

    history = viz.plot_history(losses, log=True, title="The network learns", ylabel="sum of squared errors")
    write(history, "two_layer_by_hand_loss.png")


if __name__ == "__main__":
    main()
