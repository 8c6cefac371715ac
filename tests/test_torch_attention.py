"""PyTorch as a second oracle of attention, in float64.

Owns: agreement on random configurations, to second order, and loading states both ways.
Must not own: anything that can be checked without PyTorch.
Read next: `test_torch_nn.py`.

Where a query sees no key, PyTorch's layers give NaN and its function gives zeros, like
ours. So only the function is compared there.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn

torch = pytest.importorskip("torch", reason='PyTorch is a second oracle: pip install "microgradnd[oracle]"')


@pytest.fixture(scope="module", autouse=True)
def twice_differentiable():
    """Let PyTorch compute attention in steps: its kernel has no second derivative."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield


often = settings(max_examples=max(25, settings.default.max_examples))  # there are many configurations


def close(ours, theirs, rtol=1e-10):
    """Check that lists of arrays are equal up to the rounding of cancelled terms."""
    theirs = [array.detach().numpy() for array in theirs]
    largest = max(np.max(np.abs(array), initial=1) for array in theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12 * largest)


def agree_to_second_order(ours, theirs, leaves, their_leaves):
    """Check the gradients of two numbers, and the gradients of a function of these."""
    options = {"allow_unused": True, "materialize_grads": True}  # PyTorch's way to say 0
    ours.backward(create_graph=True)
    first = torch.autograd.grad(theirs, their_leaves, create_graph=True, **options)
    grads = [leaf.grad for leaf in leaves]
    close([g.data for g in grads], first)
    for leaf in leaves:
        leaf.grad = None
    sum(np.sum(g * g) for g in grads).backward()
    second = torch.autograd.grad(sum((g * g).sum() for g in first), their_leaves, **options)
    close([np.zeros(leaf.shape) if leaf.grad is None else leaf.grad for leaf in leaves], second, rtol=1e-8)


@often
@given(st.data())
def test_the_function(data):
    draw = data.draw
    front = draw(st.sampled_from([(), (2,), (2, 3), (0, 2)]))
    queries, keys, features, outputs = (draw(st.integers(1, 4)) for _ in range(4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    arrays = [rng.normal(size=(*front, *shape)) for shape in ((queries, features), (keys, features), (keys, outputs))]
    mask = draw(st.sampled_from([None, "bool", "float", "causal"]))
    options = {"scale": draw(st.sampled_from([None, 0.3]))}
    if mask == "causal":
        options["is_causal"] = True
    a = [mg.tensor(x, requires_grad=True) for x in arrays]
    b = [torch.tensor(x, requires_grad=True) for x in arrays]
    own, their = None, None
    if mask == "bool":
        own = rng.random((queries, keys)) < 0.6
        their = torch.tensor(own)
    elif mask == "float":
        own = mg.tensor(rng.normal(size=(queries, keys)), requires_grad=True)
        their = torch.tensor(own.data, requires_grad=True)
        a, b = [*a, own], [*b, their]
    out = nn.functional.scaled_dot_product_attention(*a[:3], own, **options)
    expected = torch.nn.functional.scaled_dot_product_attention(*b[:3], their, **options)
    close([out.data], [expected])
    agree_to_second_order(np.sum(np.sin(out)), torch.sin(expected).sum(), a, b)


@often
@given(st.data())
def test_the_layer(data):
    draw = data.draw
    heads, size, batch, queries, keys = (draw(st.integers(1, 3)) for _ in range(5))
    features = heads * size
    options = {"bias": draw(st.booleans()), "batch_first": draw(st.booleans())}
    if draw(st.booleans()):
        options |= {"kdim": draw(st.integers(1, 4)), "vdim": draw(st.integers(1, 4))}
    torch.manual_seed(draw(st.integers(0, 99)))
    theirs = torch.nn.MultiheadAttention(features, heads, **options).double()
    ours = nn.MultiheadAttention(features, heads, **options)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    for parameter in ours.parameters():
        nn.init.normal_(parameter, rng=np.random.default_rng(draw(st.integers(0, 9))))
    theirs.load_state_dict({path: torch.tensor(array) for path, array in ours.state_dict().items()})
    ours.load_state_dict(theirs.state_dict())
    is_single = draw(st.booleans())
    batch = 1 if is_single else batch
    rng, arrays = np.random.default_rng(0), []
    for n, m in ((queries, features), (keys, options.get("kdim", features)), (keys, options.get("vdim", features))):
        arrays.append(
            rng.normal(size=(n, m) if is_single else (batch, n, m) if options["batch_first"] else (n, batch, m))
        )
    masks = {}
    if draw(st.booleans()):
        shape = draw(st.sampled_from([(queries, keys), (batch * heads, queries, keys)]))
        masks["attn_mask"] = rng.random(shape) < 0.4 if draw(st.booleans()) else rng.normal(size=shape)
    if draw(st.booleans()):
        masks["key_padding_mask"] = rng.random((keys,) if is_single else (batch, keys)) < 0.4
    for mask in masks.values():
        mask[..., 0] = 0  # so that every query sees a key
    wanted = {"need_weights": draw(st.booleans()), "average_attn_weights": draw(st.booleans())}
    a = [mg.tensor(x, requires_grad=True) for x in arrays]
    b = [torch.tensor(x, requires_grad=True) for x in arrays]
    out, weights = ours(*a, **masks, **wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks of different types
        expected, their_weights = theirs(*b, **{k: torch.tensor(m) for k, m in masks.items()}, **wanted)
    close([out.data], [expected])
    loss, their_loss = np.sum(np.sin(out)), torch.sin(expected).sum()
    if wanted["need_weights"]:
        assert weights.shape == tuple(their_weights.shape)
        close([weights.data], [their_weights])
        loss, their_loss = loss + np.sum(weights * weights), their_loss + (their_weights * their_weights).sum()
    else:
        assert weights is their_weights is None
    agree_to_second_order(loss, their_loss, [*a, *ours.parameters()], [*b, *theirs.parameters()])


@often
@given(st.data())
def test_encoder_layers(data):
    draw = data.draw
    options = {
        "activation": draw(st.sampled_from(["relu", "gelu"])),
        "batch_first": draw(st.booleans()),
        "norm_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 0.1])),
        "dropout": 0.0,
    }
    torch.manual_seed(draw(st.integers(0, 99)))
    theirs = torch.nn.TransformerEncoderLayer(6, 2, 5, **options).double()
    ours = nn.TransformerEncoderLayer(6, 2, 5, **options)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(3, 4, 6))
    length = 4 if options["batch_first"] else 3
    a, b = mg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    mask = np.triu(np.full((length, length), -np.inf), 1)
    out, expected = ours(a, is_causal=True), theirs(b, src_mask=torch.tensor(mask), is_causal=True)
    close([out.data], [expected])
    np.testing.assert_allclose(ours(a, mask).data, out.data, rtol=1e-12)
    agree_to_second_order(
        np.sum(np.sin(out)), torch.sin(expected).sum(), [a, *ours.parameters()], [b, *theirs.parameters()]
    )


def test_single_precision():
    options = {"dropout": 0.0, "batch_first": True, "norm_first": True}
    theirs = torch.nn.TransformerEncoderLayer(16, 4, 32, **options)
    ours = nn.TransformerEncoderLayer(16, 4, 32, dtype=np.float32, **options)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(3, 9, 16)).astype(np.float32)
    out, expected = ours(x), theirs(torch.tensor(x))
    np.sum(out**2).backward()
    (expected**2).sum().backward()
    np.testing.assert_allclose(out.data, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-3, atol=1e-3)
