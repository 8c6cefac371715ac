"""The network of `two_layer_by_hand.py` on Tensors, without the backward pass.

The four parameters are Tensors that require a gradient. The operations on them are
recorded, and `loss.backward()` goes back through the record. In each parameter's
`.grad` it leaves the gradient that the other program derived by hand. From the same
data and the same start, both must take the same steps: the losses of all 200 epochs are
compared.

At the end the computation is drawn with its gradients: the backward pass that nobody
had to write.
"""

import numpy as np

import microgradnd as mg
from microgradnd import viz
from microgradnd.nn import functional as F
from showing import OUT, progress, write
from two_layer_by_hand import EPOCHS, LEARNING_RATE, make_data, make_weights
from two_layer_by_hand import train as train_by_hand


def compute_loss(x, y, w1, b1, w2, b2):
    """Return the sum of squared errors of the network's predictions."""
    h_relu = F.relu(x @ w1 + b1)
    y_pred = h_relu @ w2 + b2
    return np.sum((y_pred - y) ** 2)


def train(x, y, parameters, losses_by_hand):
    """Return the loss of each epoch, and print it next to the loss by hand."""
    losses = []
    print("epoch         loss      by hand")
    for epoch in (bar := progress(EPOCHS)):
        loss = compute_loss(x, y, *parameters)
        loss.backward()
        with mg.no_grad():  # the update isn't part of the computation
            for parameter in parameters:
                parameter -= LEARNING_RATE * parameter.grad
                parameter.grad = None
        losses.append(loss.item())
        if epoch % 10 == 0:
            bar.write(f"{epoch:5d} {losses[-1]:12.6f} {losses_by_hand[epoch - 1]:12.6f}")
    return losses


def main():
    rng = np.random.default_rng(1)
    x, y = make_data(rng)
    start = make_weights(rng)
    losses_by_hand, _ = train_by_hand(x, y, *start, range(EPOCHS))

    x, y = mg.tensor(x, name="x"), mg.tensor(y, name="y")
    names = ["w1", "b1", "w2", "b2"]
    parameters = [mg.tensor(p, requires_grad=True, name=name) for p, name in zip(start, names, strict=True)]
    losses = train(x, y, parameters, losses_by_hand)

    difference = np.max(np.abs(np.divide(losses, losses_by_hand) - 1))
    print(f"largest relative difference from the losses by hand, in {EPOCHS} epochs: {difference:.1e}")
    assert difference < 1e-12

    both = {"by hand": losses_by_hand, "Tensor": {epoch: losses[epoch - 1] for epoch in range(1, EPOCHS + 1, 10)}}
    title = "The network learns, by hand and by autodiff"
    write(viz.plot_history(both, log=True, title=title, ylabel="sum of squared errors"), "two_layer_loss.png")

    loss = compute_loss(x, y, *parameters)
    loss.name = "loss"
    loss.backward()
    for name in ("two_layer_graph.svg", "two_layer_graph.png"):
        viz.save(loss, OUT / name)
        print(f"wrote {OUT / name}")


if __name__ == "__main__":
    main()
