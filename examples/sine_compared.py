"""The sine again: ten activations and nine optimizers, side by side.

The network is that of `sine_adam.py`, with one hidden layer of 64 units, trained on 20
observations for 100 epochs: first with different activations and Adam, then with ReLU
and different optimizers. You see the effect of an activation between the points: ReLU
makes kinks, and tanh waves. You see the effect of an optimizer in the losses.
"""

import matplotlib.pyplot as plt
import numpy as np

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F
from showing import progress, write
from sine_linear import make_data, truth

EPOCHS, SEED = 100, 3
ACTIVATIONS = [
    *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU),
    *(nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid, nn.Hardtanh),
]
OPTIMIZERS = {
    "SGD": lambda params: optim.SGD(params, lr=0.005),
    "SGD with momentum": lambda params: optim.SGD(params, lr=0.005, momentum=0.9),
    "Adagrad": lambda params: optim.Adagrad(params, lr=0.05),
    "Adadelta": lambda params: optim.Adadelta(params, lr=2.0),
    "RMSprop": lambda params: optim.RMSprop(params, lr=0.01),
    "Adam": lambda params: optim.Adam(params, lr=0.05),
    "AdamW": lambda params: optim.AdamW(params, lr=0.05),
    "NAdam": lambda params: optim.NAdam(params, lr=0.02),
    "Lion": lambda params: optim.Lion(params, lr=0.01),
}


def train(activation, make_optimizer, x, y):
    """Return a trained network, and the loss of each epoch before its update."""
    rng = np.random.default_rng(SEED)  # the same start for all
    model = nn.Sequential(nn.Linear(1, 64, rng=rng), activation(), nn.Linear(64, 1, rng=rng))
    optimizer = make_optimizer(model.parameters())
    losses = []
    for _ in range(EPOCHS):
        loss = F.mse_loss(model(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, losses


def draw(fits, losses, x, y):
    """Return a figure of the fits by activation, and of the losses by optimizer."""
    inputs = np.linspace(x.min(), x.max(), 400)
    figure = plt.figure(figsize=(11, 8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3, 2))
    for ax, (name, model) in zip(above.subplots(2, 5, sharex=True, sharey=True).flat, fits.items(), strict=True):
        ax.plot(inputs, truth(inputs), color="black", linewidth=3, alpha=0.2)
        with mg.no_grad():
            ax.plot(inputs, model(inputs[:, None]).data[:, 0], color="tab:red")
        ax.plot(x[:, 0], y[:, 0], "o", color="black", markersize=3)
        ax.set_title(name, fontsize=10)
    above.suptitle(f"After {EPOCHS} epochs of Adam, by activation (gray: the truth)")
    ax = below.subplots()
    for place, (name, curve) in enumerate(losses.items()):
        ax.plot(range(1, EPOCHS + 1), curve, label=name, linestyle=("-", "--", ":")[place % 3])
    ax.set(xlabel="epoch", ylabel="mean squared error", yscale="log")
    ax.legend(fontsize=8, ncols=3)
    below.suptitle("With ReLU, by optimizer")
    return figure


def main():
    x, y = (values[:, None] for values in make_data(np.random.default_rng(SEED)))
    fits, losses = {}, {}
    bar = iter(progress(len(ACTIVATIONS) + len(OPTIMIZERS), "networks"))
    print("activation          loss after training")
    for activation in ACTIVATIONS:
        next(bar)
        fits[activation.__name__], curve = train(activation, OPTIMIZERS["Adam"], x, y)
        print(f"{activation.__name__:18s} {curve[-1]:8.4f}")
    print("optimizer           loss after training")
    for name, make_optimizer in OPTIMIZERS.items():
        next(bar)
        losses[name] = train(nn.ReLU, make_optimizer, x, y)[1]
        print(f"{name:18s} {losses[name][-1]:8.4f}")
    write(draw(fits, losses, x, y), "sine_compared.png")


if __name__ == "__main__":
    main()
