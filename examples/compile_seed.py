"""The tape finds the backward pass that was derived by hand.

`two_layer_by_hand.py` has the gradients of a two-layer network in NumPy, derived on
paper. Here you write only the loss. `mg.compile` calls it once, follows the chain rule
along the tape, and prints the result as a NumPy program that a person could have
written: `.source`. Each of its lines is printed next to the line derived by hand.

The two differ in only three ways. `np.dot(a, b)` of two matrices is `a @ b`. The error
of the predictions, which the hand-written code computes twice, is a variable. And where
`np.where` chooses gradients or zeros by the mask `h > 0`, the program multiplies by the
mask. The losses are equal in every epoch. The program, which needs only NumPy, is
written to a file.
"""

import inspect

import numpy as np

import microgradnd as mg
import two_layer_by_hand as by_hand
from microgradnd.nn.functional import relu
from showing import OUT, progress

RATE = by_hand.LEARNING_RATE


def loss_of(w1, b1, w2, b2, x, y):
    h = x @ w1 + b1
    h_relu = relu(h)
    y_pred = h_relu @ w2 + b2
    loss = np.sum((y_pred - y) ** 2)
    return loss  # noqa: RET504 -- the program takes its names from here


def step(w1, b1, w2, b2, x, y):
    loss, grads = mg.value_and_grad(loss_of, argnums=(0, 1, 2, 3))(w1, b1, w2, b2, x, y)
    w1 = w1 - RATE * grads[0]
    b1 = b1 - RATE * grads[1]
    w2 = w2 - RATE * grads[2]
    b2 = b2 - RATE * grads[3]
    return loss, (w1, b1, w2, b2)


def statements(source):
    """Return the assignments in a source as {name: line}, without comments."""
    lines = (line.split("#")[0].strip() for line in source.splitlines())
    return {line.split(" = ")[0]: line for line in lines if line.split(" = ")[0].isidentifier() and " = " in line}


def main():
    rng = np.random.default_rng(1)
    x, y = by_hand.make_data(rng)
    weights = by_hand.make_weights(rng)
    expected, _ = by_hand.train(x, y, *weights, range(by_hand.EPOCHS))

    readable, fast = mg.compile(step, optimize=False), mg.compile(step)
    largest = 0.0
    for compiled in (readable, fast):
        trained = weights
        for epoch in progress(by_hand.EPOCHS):
            loss, trained = compiled(*trained, x, y)
            largest = max(largest, abs(loss - expected[epoch - 1]) / expected[epoch - 1])

    hand, ours = statements(inspect.getsource(by_hand.train)), statements(readable.source)
    hand = {name: line for name, line in hand.items() if name in ours}
    only_ours = [name for name in ours if name not in hand]
    forward = [name for name in hand if not name.startswith("grad") and hand[name].split(" = ")[1].split()[0] != name]
    print(f"{'by hand':52}compiled")
    for name in [*forward, *only_ours, *(name for name in hand if name not in forward)]:
        print(f"{hand.get(name, ''):52}{ours[name]}")
    print(f"\nlargest relative difference of the loss in {by_hand.EPOCHS} epochs: {largest:.1e}")

    OUT.mkdir(exist_ok=True)
    fast.save(OUT / "seed_step.py")
    print(f"wrote {OUT / 'seed_step.py'}")


if __name__ == "__main__":
    main()
