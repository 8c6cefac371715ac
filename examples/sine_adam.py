"""A network that can bend follows the sine on which the straight line failed.

A ReLU between two linear layers lets the network put 64 kinks where it needs them. Adam
replaces plain gradient descent, and adapts the length of its steps to each parameter.
After 100 epochs the network follows the sine. To show that this isn't luck, it is
repeated with 10 samples of data and 10 starts, each compared with the best straight
line.
"""

import numpy as np

import microgradnd as mg
from microgradnd import nn, optim, viz
from microgradnd.nn import functional as F
from showing import progress, write
from sine_linear import make_data, mean_squared_error, truth
from single_layer import with_intercept

EPOCHS, LEARNING_RATE = 100, 0.1


def train(x, y, rng, epochs):
    """Return the trained network, and the loss of each epoch before its update."""
    model = nn.Sequential(nn.Linear(1, 64, rng=rng), nn.ReLU(), nn.Linear(64, 1, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in epochs:
        loss = F.mse_loss(model(x[:, None]), y[:, None])  # (20, 1): an observation in each row
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, losses


def predict(model, x):
    """Return the network's predictions for the inputs (n,), as an array (n,)."""
    with mg.no_grad():
        return model(x[:, None]).data[:, 0]


def compare_seeds():
    """Print the mean squared errors of network and best straight line, for 10 seeds."""
    print("mean squared error after training\n seed   network   best line")
    for seed in (bar := progress(10, "seeds")):
        rng = np.random.default_rng(seed)
        x, y = make_data(rng)
        model, _ = train(x, y, rng, range(EPOCHS))
        best_line = np.linalg.lstsq(with_intercept(x), y)[0]
        network_error = np.mean((predict(model, x) - y) ** 2)
        bar.write(f"{seed:5d} {network_error:9.3f} {mean_squared_error(best_line, x, y):11.3f}")


def main():
    rng = np.random.default_rng(3)
    x, y = make_data(rng)
    model, losses = train(x, y, rng, progress(EPOCHS))
    print(model)
    print("epoch      loss")
    for epoch in range(10, EPOCHS + 1, 10):
        print(f"{epoch:5d} {losses[epoch - 1]:9.4f}")
    compare_seeds()

    history = viz.plot_history(losses, log=True, title="Adam learns a sine", ylabel="mean squared error")
    write(history, "sine_adam_loss.png")
    fit = viz.plot_fit(x[:, None], y, model, truth=truth, title="A network with one hidden layer follows the sine")
    write(fit, "sine_adam_fit.png")


if __name__ == "__main__":
    main()
