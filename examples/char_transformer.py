"""A small transformer learns to write help pages, one character at a time.

The GRU of `char_gru.py` must remember the text so far in one vector. In a transformer
(Vaswani et al., 2017) each character looks back at all characters before it, and
chooses those that matter. This one has two blocks: attention with four heads, followed
by a small dense network. A mask hides later characters, so that all characters of a
window are predicted at once.
"""

import numpy as np

import microgradnd as mg
from char_text import load, sampled, windows
from microgradnd import nn, optim, viz
from microgradnd.nn import functional as F
from showing import progress, write

STEPS, BATCH, LENGTH, WIDTH, HEADS, BLOCKS = 600, 16, 64, 64, 4, 2


class Writer(nn.Module):
    """A network that scores the next character at each time.

    Its input has the shape (batch, time), and the scores (batch, time, characters).
    """

    def __init__(self, characters, rng):
        options = {"rng": rng, "dtype": np.float32}
        self.embedding = nn.Embedding(characters, WIDTH, **options)
        self.places = nn.Embedding(LENGTH, WIDTH, **options)
        for embedding in (self.embedding, self.places):
            nn.init.normal_(embedding.weight, std=0.1, rng=rng)  # small, so that attention matters from the start
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, **options
            )
            for _ in range(BLOCKS)
        )
        self.norm = nn.LayerNorm(WIDTH, dtype=np.float32)
        self.scores = nn.Linear(WIDTH, characters, **options)

    def forward(self, numbers):
        time = numbers.shape[1]
        later = np.triu(np.ones((time, time), bool), 1)  # True is hidden
        x = self.embedding(numbers) + self.places(np.arange(time))
        for block in self.blocks:
            x = block(x, src_mask=later)
        return self.scores(self.norm(x))


def train(model, numbers, rng, steps):
    """Train the network, and return the loss of each step, in nats per character."""
    optimizer = optim.AdamW(model.parameters(), lr=5e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

    @mg.compile
    def step(x, y):
        logits = model(x)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    losses = []
    for _ in steps:
        losses.append(step(*windows(numbers, BATCH, LENGTH, rng)))
        schedule.step()
    return losses


def written(model, beginning, count, rng):
    """Return the network's continuation of a beginning (time,), as numbers."""
    numbers = list(beginning)
    with mg.no_grad():
        for _ in range(count):
            logits = model(np.array([numbers[-LENGTH:]]))
            numbers.append(sampled(logits.data[0, -1], rng))
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
    write(
        viz.plot_history(losses, title="A transformer reads Python's help", xlabel="step"), "char_transformer_loss.png"
    )


if __name__ == "__main__":
    main()
