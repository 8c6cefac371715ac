"""Every layer, activation and loss in every mode: eager, transforms, compiled, drawn, and in other precisions.

Owns: the walk over the rows of `layers.py`, and what is particular to one layer.
Must not own: values and derivatives, which PyTorch knows (`test_torch_nn.py`); the functions (`test_functional.py`).
Read next: `layers.py`.
"""

import importlib.util
import warnings

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, viz
from microgradnd.testing import check_grads
from microgradnd.transforms import plain
from tests.layers import ROWS

BACKENDS = ["numpy", "numba"] if importlib.util.find_spec("numba") else ["numpy"]
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}-{'-'.join(row.settings)}")


def choices(row):
    """Return the first choice of all settings, and the last."""
    return [{name: values[i] for name, values in row.settings.items()} for i in (0, -1)]


def inputs(row, settings, seed=0, n=3):
    return row.inputs(np.random.default_rng(seed), n, settings)


def floats(xs):
    return [i for i, x in enumerate(xs) if x.dtype.kind == "f"]


def loss_of(layer, *xs):
    return np.sum(np.sin(layer(*xs)))


def leaves(gradients):
    layer, *others = gradients
    return [*(g for g in layer.parameters() if g is not None), *others]


@every_row
def test_backward_and_grad_agree_and_state_is_set_alike(row):
    for settings in choices(row):
        xs = inputs(row, settings)
        one, two = row.made(nn, settings), row.made(nn, settings)
        two.load_state_dict(one.state_dict())
        positions = [0, *(i + 1 for i in floats(xs))]
        gradients = leaves(mg.grad(loss_of, positions)(one, *xs))
        tensors = [mg.tensor(x, requires_grad=x.dtype.kind == "f") for x in xs]
        loss_of(two, *tensors).backward()
        for got, tensor in zip(gradients, [*two.parameters(), *(tensors[i] for i in floats(xs))], strict=True):
            np.testing.assert_array_equal(got, tensor.grad)
        for path, value in one.state_dict().items():
            np.testing.assert_array_equal(value, two.state_dict()[path])


@every_row
def test_forward_mode_is_the_transpose(row):
    for settings in choices(row):
        xs = inputs(row, settings)
        layer = row.made(nn, settings).eval()
        given = floats(xs)

        def f(*floating, xs=xs, layer=layer, given=given):
            rest = list(xs)
            for i, x in zip(given, floating, strict=True):
                rest[i] = x
            return layer(*rest)

        if given:
            check_grads(f, *(xs[i] for i in given), order=1)


@every_row
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled(row, backend, capsys):
    for settings in choices(row)[: 1 if backend == "numba" else 2]:
        eager, given = row.made(nn, settings), row.made(nn, settings)
        given.load_state_dict(eager.state_dict())
        xs = inputs(row, settings)
        f = mg.value_and_grad(loss_of, [0, *(i + 1 for i in floats(xs))])
        compiled = mg.compile(f, backend=backend)
        for seed in (0, 0, 3):  # the same program runs on other numbers
            other = inputs(row, settings, seed)
            other = other if [x.shape for x in other] == [x.shape for x in xs] else xs
            value, gradients = f(eager, *other)
            got, theirs = compiled(given, *other)
            np.testing.assert_allclose(got, value, rtol=1e-9)
            for a, b in zip(leaves(theirs), leaves(gradients), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11)
            for path, expected in eager.state_dict().items():
                np.testing.assert_allclose(given.state_dict()[path], expected, rtol=1e-10)
                assert given.state_dict()[path].dtype == expected.dtype


@every_row
def test_drawn(row):
    settings = choices(row)[0]
    xs = inputs(row, settings)
    layer = row.made(nn, settings)
    out = layer(*(mg.tensor(x, requires_grad=x.dtype.kind == "f") for x in xs))
    assert out.shape == row.made(nn, settings)(*xs).shape
    assert "digraph" in viz.draw(out).source


@every_row
@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 1e-4), (np.float16, 0.05)])
def test_precision_stays(row, dtype, close):
    for settings in choices(row):
        xs = inputs(row, settings)
        narrow = [x.astype(dtype) if x.dtype.kind == "f" else x for x in xs]
        layer = row.made(nn, settings)
        has_dtype = "Loss" not in row.name and layer.state_dict()
        single = row.made(nn, settings | ({"dtype": dtype} if has_dtype else {}))
        single.load_state_dict(layer.state_dict())
        expected = np.asarray(plain(layer(*xs)), float)
        tensors = [mg.tensor(x, requires_grad=x.dtype.kind == "f") for x in narrow]
        out = single(*tensors)
        assert out.dtype == dtype
        np.testing.assert_allclose(out.data.astype(float), expected, rtol=close, atol=close)
        loss_of(lambda *_, out=out: out).backward()
        for p in [*single.parameters(), *(tensors[i] for i in floats(xs))]:
            assert p.grad.dtype == dtype
            assert np.isfinite(p.grad).all()


@every_row
def test_a_batch_of_nothing(row):
    settings = choices(row)[0]
    xs = inputs(row, settings, n=0, seed=1)
    layer = row.made(nn, settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN
        gradients = mg.grad(lambda layer: loss_of(layer, *xs))(layer)
    assert all(np.all(g == 0) for g in gradients.parameters() if g is not None and "Loss" not in row.name)
    for path, value in layer.state_dict().items():
        assert np.isfinite(value).all(), path
