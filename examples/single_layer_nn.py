"""The straight line of `single_layer.py` as a layer, compared with a published table.

`nn.Linear(1, 1)` has the weight and bias that the other program handled by hand, and
the gradient comes from `backward()`. Jonny Law trained this model in "Neural Networks
in R" (2021) and printed 20 of its losses, but neither the data nor the start. We don't
need them: on standardised data, the losses depend only on the number of observations,
the correlation, and the line at the start, and these can be found from the table.
`data/printed_table.json` has the table, and 50 observations and a start that fit it.
Our training must reproduce the table.
"""

import json
from pathlib import Path

import numpy as np

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.nn import functional as F
from showing import progress, write

LEARNING_RATE = 1e-4


def train(x, y, model, epochs):
    """Return the loss of each epoch, before its update."""
    losses = []
    for _ in progress(epochs):
        loss = F.sse_loss(model(x), y)
        losses.append(loss.item())
        loss.backward()
        with mg.no_grad():
            for parameter in model.parameters():
                parameter -= LEARNING_RATE * parameter.grad
        model.zero_grad()
    return np.array(losses)


def main():
    data = json.loads((Path(__file__).parent / "data" / "printed_table.json").read_text())
    x, y = np.array(data["x"])[:, None], np.array(data["y"])[:, None]  # (50, 1): an observation in each row
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, data["weight"])
    nn.init.constant_(model.bias, data["bias"])
    print(model)

    losses = train(x, y, model, epochs=200)
    ours, printed = losses[np.array(data["epochs"]) - 1], np.array(data["losses"])
    print("epoch      printed         ours   relative difference")
    for row in zip(data["epochs"], printed, ours, ours / printed - 1, strict=True):
        print("{:5d} {:12.7g} {:12.7g}   {: .1e}".format(*row))
    difference = np.max(np.abs(ours / printed - 1))
    print(f"largest relative difference: {difference:.1e}")
    assert difference < 1e-6

    both = {"ours": losses, "printed": dict(zip(data["epochs"], printed, strict=True))}
    history = viz.plot_history(both, title="The published losses, and ours", ylabel="sum of squared errors")
    write(history, "single_layer_nn_loss.png")
    labels = {"title": "What nn.Linear(1, 1) learned", "xlabel": "x, standardised", "ylabel": "y, standardised"}
    write(viz.plot_fit(x, y, {"after 200 epochs": model}, **labels), "single_layer_nn_fit.png")


if __name__ == "__main__":
    main()
