"""Convolution and pooling: values by definition, conventions, layouts, and modes.

Owns: the promises of `nn/convolution.py`, `nn/pooling.py` and `nn/windows.py`, checked
without another library.
Must not own: derivatives (`test_laws.py` with `rows/convolution.py`), PyTorch
(`test_torch_convolution.py`).
Read next: `rows/convolution.py`.
"""

import itertools

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.nn import convolution
from microgradnd.nn import functional as F
from microgradnd.transforms import plain
from microgradnd.trees import flatten

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 6, 5))
W = RNG.normal(size=(6, 2, 2, 3))
B = RNG.normal(size=6)


def by_definition(x, weight, bias, stride, padding, dilation, groups):
    """Return a convolution of images, computed element by element."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    size = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], weight.shape[2:], stride, dilation, strict=True)
    ]
    out = np.zeros((len(x), len(weight), *size))
    per_group, of_group = weight.shape[1], len(weight) // groups
    for o, i, j in itertools.product(range(len(weight)), *map(range, size)):
        out[:, o, i, j] = bias[o]
        for c, u, v in itertools.product(*map(range, weight.shape[1:])):
            channel = o // of_group * per_group + c
            row, column = i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]
            out[:, o, i, j] += weight[o, c, u, v] * x[:, channel, row, column]
    return out


@pytest.mark.parametrize("block", [1, 2000, convolution.BLOCK])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [((1, 1), (0, 0), (1, 1)), ((2, 1), (1, 2), (1, 1)), ((1, 3), (2, 1), (3, 2))]
)
@pytest.mark.parametrize("short", [0, convolution.SHORT])
def test_convolution_follows_its_definition(monkeypatch, short, block, stride, padding, dilation):
    monkeypatch.setattr(convolution, "BLOCK", block)
    monkeypatch.setattr(convolution, "SHORT", short)
    out = F.conv2d(X, W, B, stride, padding, dilation, groups=2)
    np.testing.assert_allclose(out, by_definition(X, W, B, stride, padding, dilation, 2), rtol=1e-12, atol=1e-12)


def test_a_sequence_is_an_image_of_one_row():
    x, w = X[:, :, 0], W[:, :, 0]
    np.testing.assert_array_equal(
        F.conv1d(x, w, B, 2, 1, groups=2), F.conv2d(x[:, :, None], w[:, :, None], B, (1, 2), (0, 1), groups=2)[:, :, 0]
    )
    np.testing.assert_array_equal(F.max_pool1d(x, 2), F.max_pool2d(x[:, :, None], (1, 2))[:, :, 0])
    np.testing.assert_array_equal(F.avg_pool1d(x, 2), F.avg_pool2d(x[:, :, None], (1, 2))[:, :, 0])


def test_the_transposed_convolution_is_the_transpose():
    """<conv(x), y> = <x, conv'(y)>."""
    settings = {"stride": 2, "padding": 1, "groups": 2}
    y = F.conv2d(X, W, **settings)
    back = F.conv_transpose2d(y, W, output_padding=(0, 0), **settings)
    assert back.shape == X.shape[:2] + (6, 5)
    np.testing.assert_allclose(np.sum(y * y), np.sum(X * back))


@pytest.mark.parametrize("short", [0, convolution.SHORT])
@pytest.mark.parametrize(
    ("kernel", "settings"),
    [
        ((2, 4), {"padding": "same"}),
        ((1, 3), {"padding": (1, 2)}),  # more zeros than a window reaches over
        ((3, 2), {"padding": (0, 1), "dilation": (1, 2)}),
        ((2, 3), {"stride": (2, 1), "padding": 1}),
        ((3, 1), {"stride": (1, 3), "groups": 2}),
        ((2, 2), {"dilation": (3, 1), "groups": 4}),
    ],
)
def test_gradients_are_transposes(monkeypatch, short, kernel, settings):
    """<g, conv(x, w)> = <x, conv'(g)> = <w, conv'(g)>."""
    monkeypatch.setattr(convolution, "SHORT", short)
    w = RNG.normal(size=(8, 4 // settings.get("groups", 1), *kernel))
    out, pullback = mg.vjp(lambda x, w: F.conv2d(x, w, **settings), X, w)
    g = RNG.normal(size=out.shape)
    np.testing.assert_allclose([np.vdot(a, b) for a, b in zip(pullback(g), (X, w), strict=True)], np.vdot(g, out))


def test_same_keeps_the_size_and_puts_the_odd_zero_at_the_end():
    x = np.arange(1.0, 5.0).reshape(1, 4)
    np.testing.assert_array_equal(F.conv1d(x, np.ones((1, 1, 2)), padding="same"), [[3.0, 5.0, 7.0, 4.0]])
    assert F.conv2d(X, W, padding="same", dilation=(3, 2), groups=2).shape == (3, 6, 6, 5)


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_layout_gives_the_same_and_the_result_has_the_batch_last(order):
    x = np.asarray(X, order=order)
    out = F.conv2d(x, W, B, groups=2)
    np.testing.assert_allclose(out, F.conv2d(X, W, B, groups=2), rtol=1e-13)
    assert out.transpose(1, 2, 3, 0).flags.c_contiguous
    pooled = F.max_pool2d(np.maximum(out, 0), 2)
    assert pooled.transpose(1, 2, 3, 0).flags.c_contiguous  # NumPy keeps the order
    joined = nn.Flatten()(pooled)
    assert joined.shape == (3, 6 * 2 * 1)
    assert np.shares_memory(joined, pooled)  # and joins the axes without a copy


POOLED = np.array([[1.0, 5.0, 5.0, 2.0, 5.0]])


def test_the_first_of_equal_elements_gets_the_gradient():
    gradient = mg.grad(lambda x: np.sum(F.max_pool1d(x, 3, stride=2)))(POOLED)
    np.testing.assert_array_equal(gradient, [[0.0, 1.0, 1.0, 0.0, 0.0]])
    many = np.zeros((1, 20, 20))  # more taps than a byte counts
    many[0, 19, 19] = 1.0
    np.testing.assert_array_equal(mg.grad(lambda x: np.sum(F.max_pool2d(x, 20)))(many), many)


@pytest.mark.parametrize("settings", [(2, 3), (3, 3), (4, 4, 1), (2, 2, 0, 2), (2, 1), (3, None, 1, 1, True)])
def test_each_window_returns_its_gradient_to_its_largest_element(settings):
    x = RNG.permutation(13).astype(float)[None]
    out, pullback = mg.vjp(lambda x: F.max_pool1d(x, *settings), x)
    np.testing.assert_array_equal(pullback(np.ones_like(out))[0], [[np.sum(out == a) for a in x[0]]])


def test_a_window_of_one_element_is_a_copy():
    assert not np.shares_memory(F.max_pool1d(POOLED, 1), POOLED)


def test_a_nan_makes_its_windows_nan_and_gets_their_gradient():
    x = POOLED.copy()
    x[0, 2] = np.nan
    np.testing.assert_array_equal(F.max_pool1d(x, 2, stride=1), [[5.0, np.nan, np.nan, 5.0]])
    gradient = mg.grad(lambda x: np.sum(F.max_pool1d(x, 2, stride=1)))(x)
    np.testing.assert_array_equal(gradient, [[0.0, 1.0, 2.0, 0.0, 1.0]])
    averages = F.adaptive_avg_pool1d(x, 3)
    np.testing.assert_array_equal(np.isnan(averages), [[False, True, False]])


def test_padding_is_never_the_largest():
    x = np.full((1, 1, 2, 2), -7.0)
    np.testing.assert_array_equal(F.max_pool2d(x, 3, 1, 1), x)
    np.testing.assert_array_equal(F.max_pool2d(x.astype(int), 3, 1, 1), x)
    infinite = np.full((1, 1, 2), -np.inf)  # which ties with the padding
    _, pullback = mg.vjp(lambda x: F.max_pool1d(x, 2, 2, 1), infinite)
    np.testing.assert_array_equal(pullback(np.ones((1, 1, 2)))[0], [[[1.0, 1.0]]])


def test_integers_are_averaged_as_numbers():
    np.testing.assert_array_equal(F.avg_pool1d(np.array([[1, 2, 4, 5]]), 2), [[1.5, 4.5]])
    np.testing.assert_array_equal(F.conv1d([[1, 2, 4]], [[[1, 1]]], [0.5]), [[3.5, 6.5]])


MODEL = nn.Sequential(
    nn.Conv2d(1, 2, 3, padding=1, rng=RNG),
    nn.Tanh(),
    nn.MaxPool2d(2),
    nn.Conv2d(2, 4, 3, padding="same", groups=2, rng=RNG),
    nn.AvgPool2d(2, padding=1),
    nn.ConvTranspose2d(4, 2, 2, stride=2, output_padding=1, rng=RNG),
    nn.AdaptiveAvgPool2d((3, None)),
    nn.Flatten(),
    nn.Linear(30, 2, rng=RNG),
)
SEQUENCES = nn.Sequential(
    nn.Conv1d(2, 3, 3, rng=RNG), nn.MaxPool1d(3, 1, 1), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(2), nn.Flatten()
)
CASES = {"images": (MODEL, RNG.normal(size=(2, 1, 6, 6))), "sequences": (SEQUENCES, RNG.normal(size=(2, 2, 9)))}
each_model = pytest.mark.parametrize(("model", "x"), CASES.values(), ids=CASES)


def loss(model, x):
    return np.sum(np.sin(model(x)))


@each_model
def test_every_order_and_mode_agrees_with_finite_differences(model, x):
    mg.testing.check_grads(lambda x: loss(model, x), x)


TANGENT = np.cos(np.arange(72.0))
PROGRAMS = {
    "forward": lambda model, x: model(x),
    "gradients": lambda model, x: mg.grad(loss, (0, 1))(model, x),
    "tangents": lambda model, x: mg.jvp(model, (x,), (TANGENT[: x.size].reshape(x.shape),))[1],
    "curvature": lambda model, x: mg.hvp(lambda x: loss(model, x))(x, TANGENT[: x.size].reshape(x.shape)),
}


def compare_compiled(program, model, x, backend):
    got, _ = flatten(mg.compile(program, backend=backend)(model, x))
    expected, _ = flatten(program(model, x))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(plain(a), plain(b), rtol=1e-10, atol=1e-12)


@each_model
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_compiled_programs_give_the_same(model, x, program):
    compare_compiled(program, model, x, "numpy")


def test_fused_loops_give_the_same():
    pytest.importorskip("numba", reason='loops are compiled by numba: pip install "microgradnd[numba]"')
    compare_compiled(PROGRAMS["gradients"], *CASES["images"], "numba")


@each_model
def test_pictures_show_one_node_for_each_operation(model, x):
    source = viz.draw(loss(model, x)).source
    assert "conv" in source
    assert "max_pool" in source


@each_model
def test_single_precision_stays_single_and_an_empty_batch_is_one(model, x):
    single = nn.Sequential(*model).to(np.float32)
    x = mg.tensor(x.astype(np.float32), requires_grad=True)
    out = single(x)
    assert out.dtype == np.float32
    np.sum(out).backward()
    assert x.grad.dtype == np.float32
    assert all(p.grad.dtype == np.float32 for p in single.parameters())
    single.zero_grad()
    empty = single(x[:0])
    assert empty.shape == (0, *out.shape[1:])
    np.sum(empty).backward()
    assert all(not p.grad.any() for p in single.parameters())
    single.to(np.float64)


def test_layers_show_their_settings():
    assert repr(nn.Conv2d(1, 2, 3)).startswith(
        "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=0, dilation=(1, 1), groups=1, weight=(2, 1, 3, 3)"
    )
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=2, stride=None, padding=0, dilation=1, ceil_mode=False)"
    assert repr(nn.Flatten(0)) == "Flatten(start_dim=0, end_dim=-1)"


def test_a_subclass_may_fix_the_settings():
    class Halves(nn.MaxPool2d):
        def __init__(self):
            super().__init__(2)

    assert Halves()(X).shape == (3, 4, 3, 2)


def test_flatten_joins_the_given_axes():
    x = np.ones((2, 3, 4, 5))
    assert nn.Flatten()(x).shape == (2, 60)
    assert nn.Flatten(0, 1)(x).shape == (6, 4, 5)
    assert nn.Flatten(-2)(x).shape == (2, 3, 20)
    assert nn.Flatten()(x[:0]).shape == (0, 60)
