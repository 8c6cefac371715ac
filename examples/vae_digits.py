"""A variational autoencoder draws digits of its own.

An encoder turns an image into a normal distribution over two numbers, and a decoder
turns two numbers back into an image (Kingma and Welling, 2014). The loss is a bound on
the images' negative log-likelihood: the error of the restored images, plus the
divergence of the distributions from the standard normal one. A sample is the mean plus
noise times the standard deviation, so that gradients reach both. After training, the
plane of the two numbers is a map of handwriting: each point is a digit.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F
from showing import progress, write

EPOCHS, BATCH, HIDDEN = 60, 64, 128


class Autoencoder(nn.Module):
    """An encoder of images (n, 64) to means and log-variances, and a decoder to logits.

    Means and log-variances have the shape (n, 2), and logits the shape of the images.
    """

    def __init__(self, rng):
        self.encoder = nn.Sequential(nn.Linear(64, HIDDEN, rng=rng), nn.ReLU(), nn.Linear(HIDDEN, 4, rng=rng))
        self.decoder = nn.Sequential(nn.Linear(2, HIDDEN, rng=rng), nn.ReLU(), nn.Linear(HIDDEN, 64, rng=rng))

    def forward(self, images, noise):
        """Return the logits of the restored images, the means and the log-variances."""
        code = self.encoder(images)
        mean, log_variance = code[:, :2], code[:, 2:]
        return self.decoder(mean + np.exp(log_variance / 2) * noise), mean, log_variance


def losses_of(model, images, noise):
    """Return the restoring loss and the divergence, both summed over the images."""
    logits, mean, log_variance = model(images, noise)
    restoring = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    divergence = np.sum(mean**2 + np.exp(log_variance) - log_variance - 1) / 2
    return restoring, divergence


def train(model, images, rng, epochs):
    """Train the autoencoder; return both losses per image, of shape (epochs, 2)."""
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    history = []
    for _ in epochs:
        order, total = rng.permutation(len(images)), np.zeros(2)
        for start in range(0, len(order), BATCH):
            batch = images[order[start : start + BATCH]]
            restoring, divergence = losses_of(model, batch, rng.normal(size=(len(batch), 2)))
            optimizer.zero_grad()
            ((restoring + divergence) / len(batch)).backward()
            optimizer.step()
            total += restoring.item(), divergence.item()
        history.append(total / len(images))
    return np.array(history)


def draw(model, images, digits):
    """Return a figure of the encoder's plane, and of the decoder's images on it."""
    with mg.no_grad():
        means = model.encoder(images).data[:, :2]
        steps = np.linspace(-2, 2, 11)
        codes = np.stack(np.meshgrid(steps, steps[::-1]), axis=-1)
        drawn = F.sigmoid(model.decoder(codes.reshape(-1, 2))).data.reshape(11, 11, 8, 8)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    points = left.scatter(*means.T, c=digits, s=8, cmap="tab10")
    figure.colorbar(points, ax=left, label="digit", ticks=range(10))
    left.set(title="The place of each image on the plane", xlabel="first number", ylabel="second number")
    tiles = np.pad(drawn, ((0, 0), (0, 0), (1, 1), (1, 1))).swapaxes(1, 2).reshape(110, 110)
    right.imshow(tiles, cmap="gray_r", extent=(-2.2, 2.2, -2.2, 2.2))
    right.set(title="The image drawn at each point", xlabel="first number", ylabel="second number")
    return figure


def main():
    rng = np.random.default_rng(0)
    data = load_digits()
    images = data.data / 16
    model = Autoencoder(rng)
    history = train(model, images, rng, progress(EPOCHS))
    print("epoch   restoring   divergence")
    for epoch in range(10, EPOCHS + 1, 10):
        print(f"{epoch:5d} {history[epoch - 1, 0]:11.2f} {history[epoch - 1, 1]:12.2f}")
    write(draw(model, images, data.target), "vae_digits.png")


if __name__ == "__main__":
    main()
