"""A network that bends: the sine on which the straight line failed.

Between two linear layers there is now a ReLU, so that the network can put 64 kinks where it needs them; and in the
place of plain gradient descent comes Adam, which adapts the length of its steps to each parameter. After 100 epochs the
network follows the sine. That this is no luck of one start is shown with 10 samples of data and 10 starts, each beside
the best that any straight line could do.
"""

import numpy as np

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F
from showing import BLUE, GREY, ORANGE, figure, progress
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
    """Print the mean squared error of the trained network and of the best straight line, for 10 seeds."""
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

    with figure("sine_adam_loss.png", "Adam learns a sine", "epoch", "mean squared error") as ax:
        ax.plot(range(1, EPOCHS + 1), losses, color=BLUE)
        ax.set_yscale("log")
    with figure("sine_adam_fit.png", "A network with one hidden layer follows the sine", "x", "y") as ax:
        grid = np.linspace(-5, 5, 400)
        ax.plot(grid, truth(grid), color=GREY, label="truth, 4 sin x")
        ax.plot(x, y, "o", color=ORANGE, label="observed")
        ax.plot(grid, predict(model, grid), color=BLUE, label="fitted")


if __name__ == "__main__":
    main()
