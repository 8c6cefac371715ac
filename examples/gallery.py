"""Every kind of picture that the library draws, on one page: `out/gallery/index.html`.

Some pictures show computations: the forward and backward pass of the network of
`two_layer.py`, also as a film; transformers and a recurrent network of 20,000
operations, folded until they are readable; networks in which something goes wrong; two
computations side by side; a network as neurons and lines; and where time and memory go.
Others show training: losses, fits, the surface of a loss, the norms of gradients,
histograms, films.
"""

import copy
import html
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import digits
import microgradnd as mg
import sine_adam
import sine_linear
import single_layer
import two_layer
import two_layer_by_hand
import two_moons
from microgradnd import nn, optim, viz
from microgradnd.nn import functional as F
from showing import OUT

GALLERY = OUT / "gallery"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>microgradnd: every kind of picture</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 90rem; margin: auto; padding: 1rem; }}
  main {{ display: grid; gap: 2rem; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }}
  h2 {{ grid-column: 1 / -1; margin: 1rem 0 0; }}
  figure {{ margin: 0; }}
  img, pre, iframe {{ display: block; box-sizing: border-box; width: 100%; height: 24rem; border: 1px solid #8888; }}
  img {{ object-fit: contain; background: white; }}
  pre {{ margin: 0; padding: 0.5rem; overflow: auto; font-size: 0.75rem; line-height: 1.3; }}
  pre.prose {{ white-space: pre-wrap; font-size: 0.9rem; }}
  code {{ overflow-wrap: anywhere; }}
</style>
<h1>Every kind of picture</h1>
<p>The line of code below a picture makes it, and links to its file.</p>
<main>
{figures}
</main>
</html>
"""


class Gallery:
    """Writes pictures to a folder, and finally a page that shows them."""

    def __init__(self):
        GALLERY.mkdir(parents=True, exist_ok=True)
        self.figures = []

    def heading(self, text):
        """Start a new section of the page."""
        self.figures.append(f"<h2>{html.escape(text)}</h2>")

    def add(self, name, code, caption, picture, **options):
        """Write a picture in the format of its name's ending.

        The picture is a Tensor, a drawing, an error, a figure or a text, or the path of
        a film, which is already written.
        """
        path = GALLERY / name
        if isinstance(picture, Path):
            assert picture == path
        elif isinstance(picture, str):
            path.write_text(picture, encoding="utf-8")
        elif isinstance(picture, Figure):
            picture.savefig(path)
        else:
            viz.save(picture, path, **options)
        if path.suffix in (".svg", ".png", ".gif"):
            face = f'<a href="{name}"><img src="{name}" alt="{html.escape(caption)}" loading="lazy"></a>'
        elif path.suffix in (".html", ".pdf"):
            face = f'<iframe src="{name}" title="{html.escape(caption)}" loading="lazy"></iframe>'
        else:
            kind = "prose" if "explain" in code else "code"
            face = f"<pre class={kind} tabindex=0>{html.escape(path.read_text(encoding='utf-8'))}</pre>"
        self.figures.append(
            f'<figure>{face}<figcaption><a href="{name}"><code>{html.escape(code)}</code></a><br>'
            f"{html.escape(caption)}</figcaption></figure>"
        )
        print(f"wrote {path}")

    def close(self):
        """Write the page."""
        path = GALLERY / "index.html"
        path.write_text(PAGE.format(figures="\n".join(self.figures)), encoding="utf-8")
        print(f"wrote {path}")


# Computations


def seed_network(rng):
    """Return the loss of the network of `two_layer.py`, and its first weights."""
    x, y = two_layer_by_hand.make_data(rng)
    start = two_layer_by_hand.make_weights(rng)
    names = ("w1", "b1", "w2", "b2")
    parameters = [mg.tensor(p, requires_grad=True, name=name) for p, name in zip(start, names, strict=True)]
    loss = two_layer.compute_loss(mg.tensor(x, name="x"), mg.tensor(y, name="y"), *parameters)
    loss.name = "loss"
    return loss, parameters[0]


class Block(nn.Module):
    """A transformer block: attention, then a small network for each position."""

    def __init__(self, d, rng):
        self.qkv = nn.Linear(d, 3 * d, rng=rng)
        self.out = nn.Linear(d, d, rng=rng)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d, rng=rng), nn.ReLU(), nn.Linear(4 * d, d, rng=rng))

    def forward(self, x):
        with mg.scope("attention"):
            query, key, value = np.split(self.qkv(x), 3, axis=-1)
            weights = F.softmax(query @ np.swapaxes(key, -1, -2) / np.sqrt(x.shape[-1]))
            x = x + self.out(weights @ value)
        return x + self.mlp(x)


def transformer(rng, blocks=6, d=8):
    """Return a stack of blocks, and its loss for 2 sequences of 5 positions."""
    model = nn.Sequential(*(Block(d, rng) for _ in range(blocks)), nn.Linear(d, 3, rng=rng))
    x, labels = rng.normal(size=(2, 5, d)), rng.integers(3, size=(2, 5))
    loss = F.cross_entropy(model(mg.tensor(x, name="x")).reshape(-1, 3), labels.reshape(-1))
    loss.name = "loss"
    return model, loss


def recurrent(rng, steps=4_000, d=8):
    """Return the loss of a recurrent network, whose steps are 5 operations each."""
    w, u, b = (
        mg.tensor(rng.normal(size=shape) / 4, requires_grad=True, name=name)
        for name, shape in (("w", (d, d)), ("u", (2, d)), ("b", (d,)))
    )
    h, x = mg.tensor(np.zeros(d), name="h"), rng.normal(size=(steps, 2))
    for t in range(steps):
        h = np.tanh(h @ w + x[t] @ u + b)
    return (h**2).sum()


def too_narrow():
    """Return the error of a network whose second layer doesn't fit its first."""
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(4, 1))
    try:
        model(mg.tensor(np.ones((5, 3)), name="x"))
    except ValueError as error:
        return error


def one_step(rng):
    """Return the losses of a small network before and after a step of its optimizer."""
    model = nn.Sequential(nn.Linear(2, 4, rng=rng), nn.Tanh(), nn.Linear(4, 1, rng=rng))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x, y = rng.normal(size=(8, 2)), rng.normal(size=(8, 1))
    before = F.mse_loss(copy.deepcopy(model)(x), y)
    F.mse_loss(model(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
    return before, F.mse_loss(model(x), y)


def scalars():
    """Return an expression in two numbers."""
    a, b = (mg.tensor(value, requires_grad=True, name=name) for value, name in ((0.5, "a"), (2.0, "b")))
    out = np.tanh(a * b) + a
    out.name = "out"
    return out


def second_derivative():
    """Return the derivative of sin(x) x² at 0.7, which can be differentiated again."""
    x = mg.tensor(0.7, requires_grad=True, name="x")
    (np.sin(x) * x**2).backward(create_graph=True)
    x.grad.name = "dy/dx"
    return x.grad


def long_short_term_memory(rng, steps):
    """Return the loss of an LSTM, written out, after some steps."""
    gates = [mg.tensor(rng.normal(size=(7, 4)) / 2, requires_grad=True, name=f"w_{gate}") for gate in "ifog"]
    h = c = mg.tensor(np.zeros((2, 4)), name="start")
    for x in rng.normal(size=(steps, 2, 3)):
        z = np.concatenate([x, h], axis=1)
        i, f, o = (F.sigmoid(z @ w) for w in gates[:3])
        c = f * c + i * np.tanh(z @ gates[3])
        h = o * np.tanh(c)
    return np.sum(h**2)


def convolutional(rng):
    """Return a network for images of 8 by 8 pixels, and its loss for four of them."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 10, rng=rng)),
    )
    images = mg.tensor(rng.normal(size=(4, 1, 8, 8)), name="images")
    return model, F.cross_entropy(model(images), rng.integers(10, size=4))


def badly_named(rng):
    """Return a loss of variables whose names are code of every kind."""
    w = mg.tensor(rng.normal(size=(2, 3)), requires_grad=True, name="</text><script>alert(1)</script> \\N %s $x$ 🎉")
    with mg.scope("<b>|{x}|</b> ```"):
        return np.sum(np.tanh(w))


def gone_wrong():
    """Return a loss that is NaN: ReLU's zeros times their logarithms."""
    w = mg.tensor([[0.5, -2.0, 1.0], [1.0, -1.0, 0.2]], requires_grad=True, name="w")
    with np.errstate(all="ignore"):
        scores = F.relu(mg.tensor([[1.0, 2.0], [0.5, 1.0]], name="x") @ w)
        loss = -np.sum(scores * np.log(scores))
        loss.name = "entropy"
        loss.backward(retain_graph=True)
    return loss


def draw_computations(gallery, rng):
    """Add the pictures of computations."""
    add = gallery.add
    gallery.heading("A network with a hidden layer")
    loss, w1 = seed_network(rng)
    add("forward.svg", "viz.draw(loss)", "The computation of the loss.", loss)
    add("both.svg", 'viz.draw(loss, "both")', "The forward and backward pass in one picture.", loss, view="both")
    add("path.svg", 'viz.path(loss, w1, "backward")', "The way back to one weight.", viz.path(loss, w1, "backward"))
    add("graph.mmd", "viz.mermaid(loss)", "In Mermaid, which GitHub shows as a picture.", loss)
    add("graph.dot", 'viz.save(loss, "graph.dot")', "In the language of Graphviz.", loss)
    add("graph.json", "viz.to_json(loss, indent=1)", "For other programs.", loss, indent=1)
    add("explore.html", 'viz.explore(loss, "explore.html")', "A page to step through the computation.", loss)
    film = viz.animate(loss, GALLERY / "backprop.gif")
    add(
        "backprop.gif",
        'viz.animate(loss, "backprop.gif")',
        "The forward pass, then the backward pass, step by step.",
        film,
    )
    film = viz.animate(loss, GALLERY / "backprop.html")
    add("backprop.html", 'viz.animate(loss, "backprop.html")', "The same film as a page.", film)
    loss.backward(retain_graph=True)
    add("backward.svg", 'viz.draw(loss, "backward")', "What backward() does, rule by rule.", loss, view="backward")
    add("trained.png", 'viz.draw(loss, rankdir="LR")', "After backward(), from left to right.", loss, rankdir="LR")
    add("trained.pdf", 'viz.save(loss, "trained.pdf")', "As a PDF, for printing.", loss)
    add("table.txt", "viz.table(loss)", "For a terminal.", str(viz.table(loss)))

    gallery.heading("Networks that are too large to draw in full")
    _model, loss = transformer(rng)  # layers are named by their paths while the model exists
    add("transformer.svg", "viz.draw(loss)", "Six equal blocks are drawn once.", loss)
    add(
        "transformer_depth.svg", "viz.draw(loss, depth=3)", "The same network, with deeper parts folded.", loss, depth=3
    )
    add("transformer.html", 'viz.explore(loss, "transformer.html")', "Fold and unfold it as you like.", loss)
    blocks, x = nn.Sequential(*(Block(16, rng) for _ in range(3))), rng.normal(size=(8, 32, 16))
    profiled = viz.profile(lambda: np.sum(blocks(x) ** 2))
    add("profile.png", "viz.profile(f)", "Where time and memory go, by scopes and operations.", profiled)
    loss = recurrent(rng)
    add("recurrent.svg", "viz.draw(loss)", "A recurrent network of 20,002 operations.", loss)

    gallery.heading("Computations of every kind")
    code = 'viz.draw(t, "both")'
    _network, images = convolutional(rng)
    for name, caption, t in (
        ("scalars", "Numbers: each rule is worked out.", scalars()),
        ("second", "A derivative, and its derivative.", second_derivative()),
        ("conv", "A convolutional network.", images),
        ("lstm_3", "Three steps of an LSTM.", long_short_term_memory(rng, 3)),
        ("lstm_50", "Fifty steps of it.", long_short_term_memory(rng, 50)),
        ("names", "Whatever you call your tensors is only text.", badly_named(rng)),
    ):
        add(f"{name}.svg", code, caption, t, view="both")
    loss, _w1 = seed_network(rng)
    add("slide.png", 'viz.draw(loss, "both", style="slide")', "For a screen.", loss, view="both", style="slide")

    gallery.heading("A network in which something goes wrong")
    loss = gone_wrong()
    add("gone_wrong.svg", "viz.draw(loss)", "Values that aren't finite are red.", loss)
    add("explain.txt", "mg.explain(loss)", "The reason, in words.", "\n".join(mg.explain(loss)))
    add(
        "failed.svg",
        "viz.draw(error)",
        "The computation that led to an error, and the shapes that don't fit.",
        too_narrow(),
    )
    drawing = viz.compare(*one_step(rng), ("before the step", "after it"), rankdir="TB")
    add(
        "compared.svg",
        'viz.compare(before, after, ("before the step", "after it"))',
        "The differences of two computations.",
        drawing,
    )


# Training


def train(rng, epochs=100):
    """Return the network and data of `sine_adam.py`, losses, gradient norms, states."""
    x, y = sine_linear.make_data(rng)
    model = nn.Sequential(nn.Linear(1, 64, rng=rng), nn.ReLU(), nn.Linear(64, 1, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=sine_adam.LEARNING_RATE)
    losses, norms, states = [], [], [model.state_dict()]
    for _ in range(epochs):
        loss = F.mse_loss(model(x[:, None]), y[:, None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        norms.append(viz.gradient_norms(model))
        states.append(model.state_dict())
    return model, x[:, None], y[:, None], losses, norms, states


def descend(loss, start, learning_rate, steps=60):
    """Return the path of the weights in gradient descent, and the loss of each step."""
    path, losses = [start], []
    with np.errstate(all="ignore"):
        for _ in range(steps):
            value, gradient = mg.value_and_grad(loss)(path[-1])
            losses.append(value)
            path.append(path[-1] - learning_rate * gradient)
    return path, losses


def vanishing_norms(rng, steps=60, layers=8):
    """Return gradient norms in a network so deep that its first layers hardly learn."""
    hidden = (part for _ in range(layers) for part in (nn.Linear(16, 16, rng=rng), nn.Sigmoid()))
    model = nn.Sequential(*hidden, nn.Linear(16, 1, rng=rng))
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    norms = []
    for _ in range(steps):
        x = rng.normal(size=(32, 16))
        optimizer.zero_grad()
        F.mse_loss(model(x), x[:, :1]).backward()
        norms.append({name: norm for name, norm in viz.gradient_norms(model).items() if "weight" in name})
        optimizer.step()
    return norms


def saturating(rng, steps=120, layers=3):
    """Return a monitor of a network whose tanhs saturate: the steps are too large."""
    hidden = (part for _ in range(layers) for part in (nn.Linear(16, 16, rng=rng), nn.Tanh()))
    model = nn.Sequential(*hidden, nn.Linear(16, 1, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    monitor = viz.Monitor(model)
    for _ in range(steps):
        x = rng.normal(size=(64, 16))
        loss = F.mse_loss(model(x), 10 * np.sin(3 * x[:, :1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step()
    return monitor


def reads_digits(rng, epochs=3):
    """Return a network that has learned to read the images of `digits.py`."""
    images, numbers, *_ = digits.load(rng)
    model = nn.Sequential(nn.Linear(64, 16, rng=rng), nn.ReLU(), nn.Linear(16, 10, rng=rng))
    digits.train(model, images, numbers, rng, range(epochs))
    return model


def moons(rng, epochs=60):
    """Return a network trained on the two moons, the data, its states and losses."""
    x, y = two_moons.make_moons(200, rng)
    model = nn.Sequential(nn.Linear(2, 12, rng=rng), nn.Tanh(), nn.Linear(12, 2, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    states, losses = [model.state_dict()], []
    for _ in range(epochs):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        states.append(model.state_dict())
        losses.append(loss.item())
    return model, x, y, states, losses


def draw_training(gallery, rng):
    """Add the pictures of training."""
    add = gallery.add
    gallery.heading("Training")
    model, x, y, losses, norms, states = train(rng)
    add("history.png", "viz.plot_history(losses, log=True)", "Losses.", viz.plot_history(losses, log=True))
    add(
        "fit.png",
        "viz.plot_fit(x, y, model, truth=truth)",
        "The learned function, and the data.",
        viz.plot_fit(x, y, model, truth=sine_linear.truth),
    )
    add(
        "surface.png",
        "viz.plot_surface(loss, states, at=model)",
        "The surface of the loss, in the plane of the path of training.",
        viz.plot_surface(lambda model: F.mse_loss(model(x), y), states, at=model, log=True),
    )
    add("gradients.png", "viz.plot_gradients(norms)", "Norms of the gradients.", viz.plot_gradients(norms))

    film = GALLERY / "curve.gif"
    viz.animate_training(states, film, model, x, y, truth=sine_linear.truth, losses=losses)
    add("curve.gif", 'viz.animate_training(states, "curve.gif", model, x, y)', "A fit over the epochs.", film)

    inputs = single_layer.with_intercept(rng.uniform(0, 3, size=50)).astype(np.float32)
    y = rng.normal(inputs @ [1.0, 2.0], 0.5).astype(np.float32)
    start = np.array([6.0, -1.0], np.float32)

    def sse(weights):
        return np.sum((inputs @ weights - y) ** 2)

    path, losses = descend(sse, start, 2e-3)
    surface = viz.plot_surface(sse, path, xlabel="intercept", ylabel="slope")
    add(
        "two_weights.png",
        "viz.plot_surface(loss, path)",
        "A straight line has two weights, so you see the whole surface.",
        surface,
    )
    histories = {"learning rate 0.002": losses, "learning rate 0.01": descend(sse, start, 1e-2)[1]}
    too_fast = viz.plot_history(histories, log=True)
    add(
        "too_fast.png", "viz.plot_history(histories, log=True)", "Losses that are NaN or infinite are marked.", too_fast
    )
    vanishing = viz.plot_gradients(vanishing_norms(rng))
    add(
        "vanishing.png",
        "viz.plot_gradients(norms)",
        "In a deep network, the gradient fades on its way back.",
        vanishing,
    )

    monitor = saturating(rng)
    for what, caption in (
        ("activations", "Histograms of each layer over training: the tanhs saturate."),
        ("updates", "How much the weights change in a step."),
        ("saturated", "The share of outputs without a slope."),
    ):
        add(f"{what}.png", f'viz.plot_monitor(monitor, "{what}")', caption, viz.plot_monitor(monitor, what))
    add("monitor.txt", "mg.explain(monitor)", "The same in words.", "\n".join(mg.explain(monitor)))

    gallery.heading("Networks as neurons and lines")
    model, x, y, states, losses = moons(rng)
    film = viz.animate_training(states, GALLERY / "boundary.gif", model, x, y, losses=losses)
    add("boundary.gif", 'viz.animate_training(states, "boundary.gif", model, x, y)', "Classes over the epochs.", film)
    add(
        "network.png",
        "viz.draw_network(model, x[0])",
        "The network's values for one point.",
        viz.draw_network(model, x[0]),
    )
    reader = reads_digits(rng)
    add(
        "weights.png",
        "viz.draw_weights(model)",
        "The first layer of a network that reads digits.",
        viz.draw_weights(reader),
    )


def main():
    rng = np.random.default_rng(1)
    gallery = Gallery()
    draw_computations(gallery, rng)
    draw_training(gallery, rng)
    gallery.close()


if __name__ == "__main__":
    main()
