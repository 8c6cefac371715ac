"""PyTorch as a second oracle of the recurrent layers, in float64.

Owns: agreement on random configurations, to second order, and loading states both ways.
Must not own: anything that can be checked without PyTorch.
Read next: `test_torch_attention.py`.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn

torch = pytest.importorskip("torch", reason='PyTorch is a second oracle: pip install "microgradnd[oracle]"')
often = settings(max_examples=max(25, settings.default.max_examples))  # there are many configurations


def close(ours, theirs, rtol=1e-10):
    """Check that lists of arrays are equal up to the rounding of cancelled terms."""
    theirs = [array.detach().numpy() for array in theirs]
    largest = max(np.max(np.abs(array), initial=1) for array in theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12 * largest)


@st.composite
def configured(draw):
    """Draw a layer in both libraries, an input, and initial states or none."""
    kind = draw(st.sampled_from(["RNN", "GRU", "LSTM"]))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    time, batch, features, hidden = (draw(st.integers(low, 4)) for low in (1, 0, 1, 1))
    torch.manual_seed(draw(st.integers(0, 99)))
    theirs = getattr(torch.nn, kind)(features, hidden, **options).double()
    ours = getattr(nn, kind)(features, hidden, **options)
    ours.load_state_dict(theirs.state_dict())
    is_single = draw(st.booleans())
    axes = [] if is_single else [batch]
    shape = (*axes, time, features) if options["batch_first"] else (time, *axes, features)
    passes = options["num_layers"] * (1 + options["bidirectional"])
    given = [np.asarray(torch.randn(*shape).double())]
    if draw(st.booleans()):
        given += [np.asarray(torch.randn(passes, *axes, hidden).double()) for _ in range(1 + (kind == "LSTM"))]
    return ours, theirs, given


def run(layer, given, xp):
    """Return outputs and last states as a list, and a number that depends on all."""
    x, *states = given
    output, last = layer(x, tuple(states) if len(states) > 1 else states[0] if states else None)
    parts = [output, *(last if isinstance(last, tuple) else (last,))]
    loss = xp.sum(xp.sin(parts[0]))
    for part in parts[1:]:
        loss = loss + xp.sum(part * part)
    return parts, loss


@often
@given(configured())
def test_layers_to_second_order(drawn):
    ours, theirs, arrays = drawn
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    a = [mg.tensor(x, requires_grad=True) for x in arrays]
    b = [torch.tensor(x, requires_grad=True) for x in arrays]
    (parts, loss), (expected_parts, expected) = run(ours, a, np), run(theirs, b, torch)
    assert [part.shape for part in parts] == [tuple(part.shape) for part in expected_parts]
    close([part.data for part in parts], expected_parts)
    p, q = [*a, *ours.parameters()], [*b, *theirs.parameters()]
    loss.backward(create_graph=True)
    first, grads = torch.autograd.grad(expected, q, create_graph=True), [leaf.grad for leaf in p]
    close([g.data for g in grads], first)
    for leaf in p:
        leaf.grad = None
    sum(np.sum(g * g * g) for g in grads).backward()
    options = {"allow_unused": True, "materialize_grads": True}  # PyTorch's way to say 0
    second = torch.autograd.grad(sum((g * g * g).sum() for g in first), q, **options)
    close([np.zeros(leaf.shape) if leaf.grad is None else leaf.grad for leaf in p], second, rtol=1e-8)


@often
@given(configured())
def test_state_goes_back_to_pytorch(drawn):
    ours, theirs, arrays = drawn
    for parameter in ours.parameters():
        nn.init.normal_(parameter, rng=np.random.default_rng(0))
    theirs.load_state_dict({path: torch.tensor(array) for path, array in ours.state_dict().items()})
    (parts, _), (expected, _) = run(ours, arrays, np), run(theirs, [torch.tensor(x) for x in arrays], torch)
    close([part.data for part in parts], expected)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_single_precision(kind):
    theirs = getattr(torch.nn, kind)(5, 7, 2, dtype=torch.float32)
    ours = getattr(nn, kind)(5, 7, 2, dtype=np.float32)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(9, 3, 5)).astype(np.float32)
    (parts, loss), (expected, their_loss) = run(ours, [x], np), run(theirs, [torch.tensor(x)], torch)
    loss.backward()
    their_loss.backward()
    np.testing.assert_allclose(parts[0].data, expected[0].detach().numpy(), rtol=1e-4, atol=1e-6)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-3, atol=2e-5)
