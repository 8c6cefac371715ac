"""PyTorch as a second oracle: layers, losses and initial values, in float64.

Owns: comparisons of `nn` with PyTorch's.
Must not own: anything that can be checked without PyTorch.
Read next: `test_torch_optim.py`.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn
from microgradnd.testing import arrays
from tests import layers

torch = pytest.importorskip("torch", reason='PyTorch is a second oracle: pip install "microgradnd[oracle]"')

LAYERS = {
    "linear": lambda m: [m.Linear(3, 2)],
    "no-bias": lambda m: [m.Linear(3, 2, bias=False)],
    "relu": lambda m: [m.Linear(3, 5), m.ReLU(), m.Linear(5, 2)],
    "tanh": lambda m: [m.Linear(3, 5), m.Tanh(), m.Linear(5, 2)],
    "sigmoid": lambda m: [m.Linear(3, 5), m.Sigmoid(), m.Identity(), m.Linear(5, 2)],
    "nested": lambda m: [m.Sequential(m.Linear(3, 4), m.Tanh()), m.Linear(4, 2)],
}


def networks(layers):
    """Return the same network, ours and PyTorch's, with PyTorch's initial values."""
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(*layers(torch.nn)).double()
    ours = nn.Sequential(*layers(nn))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def close(ours, theirs, rtol=1e-12):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("shape", [(4, 3), (3,), (2, 4, 3), (0, 3)], ids=str)
def test_layers(layers, shape):
    ours, theirs = networks(layers)
    assert [path for path, _ in ours.named_parameters()] == [path for path, _ in theirs.named_parameters()]
    x = np.random.default_rng(0).normal(size=shape)
    a, b = mg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out, expected = ours(a), theirs(b)
    close(out.data, expected)
    np.sum(out**2).backward()
    (expected**2).sum().backward()
    close(a.grad, b.grad)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.shape == tuple(q.shape)
        close(p.grad, q.grad)


def test_state_goes_back_to_pytorch():
    ours, theirs = networks(LAYERS["tanh"])
    nn.init.ones_(ours[0].weight)
    theirs.load_state_dict({path: torch.tensor(array) for path, array in ours.state_dict().items()})
    x = np.ones((2, 3))
    close(ours(x).data, theirs(torch.tensor(x)))


def test_a_state_has_the_names_of_pytorch_where_layers_are_shared():
    ours, theirs = networks(lambda m: [layer := m.Linear(2, 2), m.BatchNorm1d(2), layer])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({path: torch.tensor(array) for path, array in ours.state_dict().items()})


LOSSES = {
    "mse": (nn.functional.mse_loss, torch.nn.functional.mse_loss),
    "cross_entropy": (nn.functional.cross_entropy, torch.nn.functional.cross_entropy),
}


@pytest.mark.parametrize(("ours", "theirs"), LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@given(st.data())
def test_losses(ours, theirs, reduction, data):
    n, classes = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    x = data.draw(arrays((n, classes), low=-30, high=30))
    labels = np.arange(n) % classes
    target = labels if ours is nn.functional.cross_entropy else np.flip(x)
    weights = np.cos(np.arange(n * classes)) if ours is nn.functional.mse_loss else np.cos(np.arange(n))
    a, b = mg.tensor(x, requires_grad=True), torch.tensor(x.copy(), requires_grad=True)
    loss, expected = ours(a, target, reduction=reduction), theirs(b, torch.tensor(target.copy()), reduction=reduction)
    close(loss.data, expected)
    if reduction == "none":
        loss = np.sum(loss * weights.reshape(loss.shape))
        expected = (expected * torch.tensor(weights.reshape(expected.shape))).sum()
    loss.backward()
    expected.backward()
    close(a.grad, b.grad, rtol=1e-11)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "softmax", "log_softmax"])
@given(arrays((3, 4), low=-30, high=30))
def test_activations_to_second_order(name, x):
    options = {"dim": -1} if "softmax" in name else {}
    a, b = mg.tensor(x, requires_grad=True), torch.tensor(x.copy(), requires_grad=True)
    out = getattr(nn.functional, name)(a)
    expected = getattr(torch, name)(b, **options)
    close(out.data, expected)
    (g,) = torch.autograd.grad((expected**2).sum(), b, create_graph=True)
    np.sum(out**2).backward(create_graph=True)
    close(a.grad.data, g, rtol=1e-11)
    first, a.grad = a.grad, None
    if g.requires_grad:
        np.sum(first * np.cos(x)).backward()
        (g * torch.tensor(np.cos(x))).sum().backward()
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains(name):
    assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)


def drawn(row, data):
    """Draw settings and inputs of a row."""
    settings = {name: data.draw(st.sampled_from(values)) for name, values in row.settings.items()}
    n = data.draw(st.sampled_from([3, 2, 5, 0] if row.name != "Embedding" else [3, 2]))  # it can't reshape 0 rows
    return settings, row.inputs(np.random.default_rng(data.draw(st.integers(0, 99))), n, settings)


def is_float(array):
    return array.dtype.kind == "f"


@pytest.mark.filterwarnings("ignore:invalid value")  # means of nothing are NaN, there too
@pytest.mark.filterwarnings("ignore:reduction. 'mean'")  # of kl_div, which PyTorch may change one day
@pytest.mark.parametrize("row", layers.ROWS, ids=lambda row: f"{row.name}-{'-'.join(row.settings)}")
@given(st.data())
def test_every_layer_to_second_order(row, data):
    """Value, first and second derivatives, and loading states both ways."""
    settings, inputs = drawn(row, data)
    theirs = row.made(torch.nn, settings, torch.tensor).double()
    ours = row.made(nn, settings)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.normal(size=p.shape)))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    training = data.draw(st.booleans())
    ours.train(training)
    theirs.train(training)
    a = [mg.tensor(x, requires_grad=is_float(x)) for x in inputs]
    b = [torch.tensor(x, requires_grad=is_float(x)) for x in inputs]
    out, expected = ours(*a), theirs(*b)
    assert out.shape == tuple(expected.shape)
    close(out.data, expected, rtol=1e-10)
    leaves = [*(t for t in a if t.requires_grad), *ours.parameters()]
    others = [*(t for t in b if t.requires_grad), *theirs.parameters()]
    c = rng.normal(size=out.shape)
    first = torch.autograd.grad((torch.sin(expected) * torch.tensor(c)).sum(), others, create_graph=True)
    np.sum(np.sin(out) * c).backward(create_graph=True)
    gradients = [leaf.grad for leaf in leaves]
    for leaf, gradient, right in zip(leaves, gradients, first, strict=True):
        np.testing.assert_allclose(gradient.data, right.detach().numpy(), rtol=1e-8, atol=1e-11)
        leaf.grad = None
    directions = [rng.normal(size=leaf.shape) for leaf in leaves]
    sum(np.sum(np.sin(g) * d) for g, d in zip(gradients, directions, strict=True)).backward()
    total = sum((torch.sin(g) * torch.tensor(d)).sum() for g, d in zip(first, directions, strict=True))
    second = torch.autograd.grad(total, others, allow_unused=True)
    for leaf, right in zip(leaves, second, strict=True):
        got = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad
        np.testing.assert_allclose(got, 0 if right is None else right.numpy(), rtol=1e-7, atol=1e-9)
    theirs.load_state_dict({path: torch.tensor(array) for path, array in ours.state_dict().items()})
    for path, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[path], value.numpy(), rtol=1e-12)


AT_KINKS = {
    "leaky_relu": (0.0, {}),
    "elu": (0.0, {"alpha": 0.5}),
    "hardtanh": (1.0, {}),
    "relu": (0.0, {}),
}


@pytest.mark.parametrize(("name", "at"), AT_KINKS.items(), ids=AT_KINKS)
def test_activations_at_their_kinks(name, at):
    x, settings = at
    b = torch.tensor([x], requires_grad=True, dtype=torch.float64)
    getattr(torch.nn.functional, name)(b, **settings).sum().backward()
    gradient = mg.grad(lambda x: np.sum(getattr(nn.functional, name)(x, **settings)))(np.array([x]))
    np.testing.assert_array_equal(gradient, b.grad.numpy())


def test_losses_at_their_kinks():
    zero, y = np.zeros(2), np.array([1, -1])
    for name, inputs in {
        "l1_loss": (zero, zero),
        "margin_ranking_loss": (zero, zero, y),
        "hinge_embedding_loss": (np.ones(2), y),
        "cosine_embedding_loss": (np.eye(2), np.eye(2)[::-1].copy(), y),
    }.items():
        b = torch.tensor(inputs[0], requires_grad=True)
        getattr(torch.nn.functional, name)(b, *map(torch.tensor, inputs[1:])).backward()
        gradient = mg.grad(lambda x, name=name, inputs=inputs: getattr(nn.functional, name)(x, *inputs[1:]))(inputs[0])
        np.testing.assert_allclose(gradient, b.grad.numpy(), atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("first", "second", "axis"),
    [
        ((2, 3), (2, 3), 1),
        ((1, 3), (4, 3), 1),
        ((4, 1, 3), (5, 3), -1),
        ((3,), (4, 3), 1),
        ((2, 1), (2, 4), 0),
        ((3,), (3,), 0),
    ],
)
def test_cosines_of_shapes_that_broadcast(first, second, axis):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=first), rng.normal(size=second)
    x[..., :1] = 0.0  # a vector of length 0, where there is only one number
    ours = [mg.tensor(a, requires_grad=True) for a in (x, y)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, y)]
    found = nn.functional.cosine_similarity(*ours, axis)
    expected = torch.nn.functional.cosine_similarity(*theirs, axis)
    np.testing.assert_allclose(found.data, expected.detach().numpy(), rtol=1e-12)
    g = rng.normal(size=found.shape)
    found.backward(g)
    expected.backward(torch.tensor(g))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-9, atol=1e-12)
