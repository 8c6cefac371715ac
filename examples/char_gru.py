"""A recurrent network learns to write help pages, one character at a time.

A GRU (Cho et al., 2014) reads Python's help topics character by character. It remembers
the text so far as 128 numbers, from which a dense layer predicts the next character.
Training improves these predictions. To write, the network gets a beginning, and each
character that it draws becomes its next input.
"""

import numpy as np

import microgradnd as mg
from char_text import load, sampled, windows
from microgradnd import nn, optim, viz
from microgradnd.nn import functional as F
from showing import progress, write

STEPS, BATCH, LENGTH, WIDTH = 600, 32, 48, 128


class Writer(nn.Module):
    """A network that scores the next character at each time, and returns its state.

    Its input has the shape (batch, time), and the scores (batch, time, characters).
    """

    def __init__(self, characters, rng):
        self.embedding = nn.Embedding(characters, 32, rng=rng, dtype=np.float32)
        self.recurrent = nn.GRU(32, WIDTH, batch_first=True, rng=rng, dtype=np.float32)
        self.scores = nn.Linear(WIDTH, characters, rng=rng, dtype=np.float32)

    def forward(self, numbers, state=None):
        outputs, state = self.recurrent(self.embedding(numbers), state)
        return self.scores(outputs), state


def train(model, numbers, rng, steps):
    """Train the network, and return the loss of each step, in nats per character."""
    optimizer = optim.Adam(model.parameters(), lr=4e-3)

    @mg.compile  # a loop over the times, without the tape
    def step(x, y):
        logits, _ = model(x)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return [step(*windows(numbers, BATCH, LENGTH, rng)) for _ in steps]


def written(model, beginning, count, rng):
    """Return the network's continuation of a beginning (time,), as numbers."""
    numbers = list(beginning)
    with mg.no_grad():
        logits, state = model(np.array([numbers]))
        for _ in range(count):
            numbers.append(sampled(logits.data[0, -1], rng))
            logits, state = model(np.array([numbers[-1:]]), state)
    return numbers


def main():
    rng = np.random.default_rng(0)
    characters, numbers = load()
    model = Writer(len(characters), rng)
    print(model)
    losses = train(model, numbers, rng, progress(STEPS, "steps"))
    print("step     loss")
    for step in range(100, STEPS + 1, 100):
        print(f"{step:4d} {np.mean(losses[step - 100 : step]):8.3f}")
    beginning = [characters.index(character) for character in "The statement "]
    print("".join(characters[i] for i in written(model, beginning, 300, rng)))
    write(viz.plot_history(losses, title="A GRU reads Python's help", xlabel="step"), "char_gru_loss.png")


if __name__ == "__main__":
    main()
