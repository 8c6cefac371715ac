"""PyTorch as a second oracle: random convolutions and pools, in float64.

Owns: comparisons of `nn/convolution.py` and `nn/pooling.py` with PyTorch: values, first
and second derivatives, states.
Must not own: anything that can be checked without PyTorch (`test_convolution.py`).
Read next: `test_torch_nn.py`.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import convolution
from microgradnd.nn import functional as F

torch = pytest.importorskip("torch", reason='PyTorch is a second oracle: pip install "microgradnd[oracle]"')
f = torch.nn.functional


def close(ours, theirs, rtol=1e-10):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=rtol, atol=1e-10)


def compare(ours, theirs, arrays):
    """Compare values, gradients, and derivatives of a sum of the gradients."""
    rng = np.random.default_rng(0)
    a = [mg.tensor(x, requires_grad=True) for x in arrays]
    b = [torch.tensor(x, requires_grad=True) for x in arrays]
    out, expected = ours(*a), theirs(*b)
    assert out.shape == tuple(expected.shape)
    close(out.data, expected)
    weights = rng.normal(size=out.shape)
    np.sum(out**2 * weights).backward(create_graph=True)
    first = torch.autograd.grad((expected**2 * torch.tensor(weights)).sum(), b, create_graph=True)
    along = [rng.normal(size=x.shape) for x in arrays]
    total = sum(np.sum(t.grad * v) for t, v in zip(a, along, strict=True))
    for t, g in zip(a, first, strict=True):
        close(t.grad.data, g)
        t.grad = None
    total.backward()
    wanted = sum((g * torch.tensor(v)).sum() for g, v in zip(first, along, strict=True))
    for t, g in zip(a, torch.autograd.grad(wanted, b), strict=True):
        close(t.grad, g)


def several(draw, axes, low, high):
    return tuple(draw(st.integers(low, high)) for _ in range(axes))


def values(draw, *shapes):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return [rng.normal(size=shape) for shape in shapes]


@st.composite
def convolutions(draw, axes):
    """Draw x, weight and bias, and the settings of a convolution."""
    groups, per_group, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel, dilation = several(draw, axes, 1, 3), several(draw, axes, 1, 3)
    padding = draw(st.sampled_from(["same", "valid", "numbers"]))
    stride = (1,) * axes if padding == "same" else several(draw, axes, 1, 3)
    padding = several(draw, axes, 0, 2) if padding == "numbers" else padding
    sizes = tuple(d * (k - 1) + 1 + draw(st.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True))
    batch = draw(st.sampled_from([(), (0,), (1,), (3,)]))
    arrays = values(
        draw,
        (*batch, groups * per_group, *sizes),
        (groups * outputs, per_group, *kernel),
        (groups * outputs,),
    )
    return arrays, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # PyTorch makes a copy for even kernels
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("block", [1, convolution.BLOCK])
def test_convolutions(monkeypatch, axes, block):
    monkeypatch.setattr(convolution, "BLOCK", block)

    @given(convolutions(axes))
    def law(drawn):
        arrays, settings = drawn
        name = f"conv{axes}d"
        compare(
            lambda *a: getattr(F, name)(*a, **settings),
            lambda *a: getattr(f, name)(*a, **settings),
            arrays,
        )

    law()


@st.composite
def transposed(draw):
    groups, per_group, inputs = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel, dilation, stride = several(draw, 2, 1, 3), several(draw, 2, 1, 3), several(draw, 2, 1, 3)
    more = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    padding, sizes = several(draw, 2, 0, 2), several(draw, 2, 1, 4)
    for n, s, p, d, k, m in zip(sizes, stride, padding, dilation, kernel, more, strict=True):
        assume((n - 1) * s - 2 * p + d * (k - 1) + m + 1 > 0)
    batch = draw(st.sampled_from([(), (0,), (1,), (3,)]))
    arrays = values(
        draw,
        (*batch, groups * inputs, *sizes),
        (groups * inputs, per_group, *kernel),
        (groups * per_group,),
    )
    settings = {"stride": stride, "padding": padding, "output_padding": more, "dilation": dilation, "groups": groups}
    return arrays, settings


@given(transposed())
def test_transposed_convolutions(drawn):
    arrays, settings = drawn
    compare(
        lambda *a: F.conv_transpose2d(*a, **settings),
        lambda *a: f.conv_transpose2d(*a, **settings),
        arrays,
    )


@st.composite
def pools(draw, axes):
    kernel, stride, dilation = several(draw, axes, 1, 4), several(draw, axes, 1, 4), several(draw, axes, 1, 2)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    sizes = tuple(d * (k - 1) + 1 + draw(st.integers(0, 5)) for k, d in zip(kernel, dilation, strict=True))
    batch = draw(st.sampled_from([(), (1,), (3,)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(-2, 3, size=(*batch, 2, *sizes)).astype(float)  # with many ties
    return x, {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": draw(st.booleans())}, dilation


@pytest.mark.parametrize("axes", [1, 2])
def test_pools(axes):
    @given(pools(axes), st.booleans(), several_sizes(axes))
    def law(drawn, include, sizes):
        x, settings, dilation = drawn
        for name, more in (("max", {"dilation": dilation}), ("avg", {"count_include_pad": include})):
            ours, theirs = (getattr(m, f"{name}_pool{axes}d") for m in (F, f))
            compare(
                lambda a, ours=ours, more=more: ours(a, **settings, **more),
                lambda b, theirs=theirs, more=more: theirs(b, **settings, **more),
                [x],
            )
        ours, theirs = (getattr(m, f"adaptive_avg_pool{axes}d") for m in (F, f))
        compare(lambda a: ours(a, sizes), lambda b: theirs(b, sizes), [x])

    law()


def several_sizes(axes):
    return st.tuples(*[st.integers(1, 6)] * axes)


LAYERS = {
    "Conv1d": ((4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, (2, 4, 7)),
    "Conv2d": ((4, 6, (3, 2)), {"padding": (1, 0), "dilation": 2, "groups": 2}, (2, 4, 7, 6)),
    "ConvTranspose2d": ((4, 6, 3, 2, 1, 1, 2, True, 2), {}, (2, 4, 3, 2)),
    "MaxPool1d": ((3, 2, 1), {"ceil_mode": True}, (2, 4, 8)),
    "MaxPool2d": ((3, 2, 1, 2), {}, (2, 4, 8, 9)),
    "AvgPool1d": ((3, 2, 1, True, False), {}, (2, 4, 8)),
    "AvgPool2d": ((2,), {}, (2, 4, 5, 6)),
    "AdaptiveAvgPool1d": ((3,), {}, (2, 4, 8)),
    "AdaptiveAvgPool2d": (((3, None),), {}, (2, 4, 8, 5)),
    "Flatten": ((), {}, (2, 4, 3, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_their_states(name):
    args, settings, shape = LAYERS[name]
    theirs = getattr(torch.nn, name)(*args, **settings).double()
    ours = getattr(nn, name)(*args, **settings)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    initial = {k: v.copy() for k, v in ours.state_dict().items()}
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=shape)
    for part in (x, x[:0], *([] if name == "Flatten" else [x[0]])):
        out, expected = ours(part), theirs(torch.tensor(part))
        assert out.shape == tuple(expected.shape)
        close(out.data if isinstance(out, mg.Tensor) else out, expected)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in initial.items()})
    ours.load_state_dict(initial)
    out = ours(x)
    close(out.data if isinstance(out, mg.Tensor) else out, theirs(torch.tensor(x)))


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "ConvTranspose2d"])
def test_initial_values_are_uniform_on_the_same_interval(name):
    args = (8, 32, 3)
    ours, theirs = getattr(nn, name)(*args, rng=np.random.default_rng(0)), getattr(torch.nn, name)(*args)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.shape == tuple(q.shape)
        bound = 1 / np.sqrt(np.prod(ours.weight.shape[1:]))
        for values in (p.data, q.detach().numpy()):
            assert 0.8 * bound < np.abs(values).max() <= bound
            assert np.std(values) == pytest.approx(bound / np.sqrt(3), rel=0.3)


def test_a_network_of_single_precision_trains_as_it_does_there():
    def network(m, **options):
        return m.Sequential(
            m.Conv2d(1, 4, 3, padding=1, **options), m.ReLU(), m.MaxPool2d(2),
            m.Conv2d(4, 6, 3, padding="same", groups=2, **options), m.ReLU(), m.AvgPool2d(2),
            m.Flatten(), m.Linear(24, 3, **options),
        )  # fmt: skip

    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(20, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 20)
    theirs, ours = network(torch.nn), network(nn, dtype=np.float32)
    ours.load_state_dict(theirs.state_dict())
    one, two = optim.Adam(ours.parameters(), lr=0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    for _ in range(20):
        one.zero_grad()
        two.zero_grad()
        loss = F.cross_entropy(ours(x), labels)
        expected = f.cross_entropy(theirs(torch.tensor(x)), torch.tensor(labels))
        assert loss.dtype == np.float32
        loss.backward()
        expected.backward()
        assert all(p.grad.dtype == np.float32 for p in ours.parameters())
        one.step()
        two.step()
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-3)
