"""Every layer, activation and loss: eager, transformed, compiled, drawn.

Owns: the walk over the rows of `layers.py`, and the peculiarities of single layers.
Must not own: values and derivatives, which PyTorch checks (`test_torch_nn.py`); the
functions (`test_functional.py`).
Read next: `layers.py`.
"""

import inspect
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim, viz
from microgradnd.nn import activations
from microgradnd.nn import functional as F
from microgradnd.testing import arrays, check_grads
from microgradnd.transforms import plain
from tests.layers import ROWS

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}-{'-'.join(row.settings)}")


def choices(row):
    """Return the first choice of every setting, and the last."""
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


def compilable(settings):
    """Return settings with another ignore_index: in a program, -100 is an error."""
    return settings | {"ignore_index": -1} if settings.get("ignore_index") == -100 else settings


def check_compiled(rows, backend, i):
    """Compile the losses of some rows with gradients, and compare three calls."""
    settings = [compilable(choices(row)[i]) for row in rows]
    eager, given = ([row.made(nn, s) for row, s in zip(rows, settings, strict=True)] for _ in range(2))
    for one, two in zip(eager, given, strict=True):
        two.load_state_dict(one.state_dict())

    def drawn(seed):
        return [inputs(row, s, seed) for row, s in zip(rows, settings, strict=True)]

    def total(layers, batches):
        return sum(loss_of(layer, *xs) for layer, xs in zip(layers, batches, strict=True))

    compiled = mg.compile(mg.value_and_grad(total), backend=backend)
    shapes = [[x.shape for x in xs] for xs in drawn(0)]
    same = [seed for seed in range(50) if [[x.shape for x in xs] for xs in drawn(seed)] == shapes][:3]
    for seed in (*same, 0):
        value, gradients = mg.value_and_grad(total)(eager, drawn(seed))
        got, theirs = compiled(given, drawn(seed))
        np.testing.assert_allclose(got, value, rtol=1e-9)
        for a, b, one, two in zip(theirs, gradients, given, eager, strict=True):
            for p, q in zip(a.parameters(), b.parameters(), strict=True):
                np.testing.assert_allclose(p, q, rtol=1e-8, atol=1e-11)
            for path, expected in two.state_dict().items():
                np.testing.assert_allclose(one.state_dict()[path], expected, rtol=1e-10)
                assert one.state_dict()[path].dtype == expected.dtype


@every_row
@pytest.mark.parametrize("i", [0, -1], ids=["first", "last"])
def test_compiled(row, i):
    check_compiled([row], "numpy", i)


@pytest.mark.parametrize("start", range(0, len(ROWS), 9))
def test_compiled_by_numba(start, capsys):
    """Several rows in one program, since numba takes seconds for each program."""
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    check_compiled(ROWS[start : start + 9], "numba", 0)


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


# Normalization


@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_statistics(momentum):
    rng = np.random.default_rng(0)
    norm = nn.BatchNorm1d(2, momentum=momentum)
    mean, var = np.zeros(2), np.ones(2)
    batches = [rng.normal(3, 2, size=(n, 2)) for n in (4, 7, 5)]
    for i, x in enumerate(batches):
        with pytest.raises(ValueError, match="batch_norm: x must have more than one number per channel in training"):
            norm(x[:1])
        norm(x)
        share = 1 / (i + 1) if momentum is None else momentum
        mean, var = (1 - share) * mean + share * x.mean(0), (1 - share) * var + share * x.var(0, ddof=1)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-13)
    np.testing.assert_allclose(norm.running_var, var, rtol=1e-13)
    assert norm.num_batches_tracked == 3
    norm.eval()
    x = batches[0]
    np.testing.assert_allclose(norm(x).data, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-12)
    assert norm.num_batches_tracked == 3
    np.testing.assert_array_equal(norm(x[:1]).data, norm(x).data[:1])


def test_a_network_with_batch_norm_trains_alike_in_every_way():
    """By backward(), by mg.grad, and as a compiled step."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)

    def network():
        again = np.random.default_rng(1)
        return nn.Sequential(nn.Linear(4, 8, rng=again), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3, rng=again))

    def loss(model, x):
        return F.cross_entropy(model(x), labels)

    def by_backward(model, optimizer):
        optimizer.zero_grad()
        loss(model, x).backward()
        optimizer.step()

    def by_grad(model, optimizer):
        for p, g in zip(model.parameters(), mg.grad(loss)(model, x).parameters(), strict=True):
            p.grad = g
        optimizer.step()

    states = []
    for step in (by_backward, by_grad, mg.compile(by_backward)):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            step(model, optimizer)
        states.append(model.state_dict())
    for state in states[1:]:
        for path, value in states[0].items():
            np.testing.assert_allclose(state[path], value, rtol=1e-9)


def test_a_mean_far_from_0_costs_no_precision():
    x = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    far = x + np.float32(4096)
    for layer in (nn.BatchNorm1d(8, dtype=np.float32), nn.LayerNorm(8, dtype=np.float32)):
        exact = layer(far.astype(np.float64)).data
        np.testing.assert_allclose(layer(far).data, exact, atol=4 * np.spacing(np.float32(4096)))  # of the mean


# Activations


def test_the_normal_distribution_function_has_its_digits_in_both_tails():
    x = np.concatenate([np.linspace(-37, 37, 1001), -np.logspace(-10, 1, 50)])
    right = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x])
    near = np.abs(x) < 5
    np.testing.assert_allclose(activations.normal_cdf(x)[near], right[near], rtol=4e-15)
    np.testing.assert_allclose(activations.normal_cdf(x), right, rtol=1e-13 * 4)
    single = activations.normal_cdf(x.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single[near], right[near], rtol=5e-6)
    erf = [math.erf(v) for v in x]
    np.testing.assert_allclose(2 * activations.normal_cdf(x * math.sqrt(2)) - 1, erf, atol=1e-15)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_in_the_tails(approximate, dtype):
    big = np.finfo(dtype).max
    x = np.array([-big, -200, 0, 200, big], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, gradient = F.gelu(x, approximate), mg.grad(lambda x: np.sum(F.gelu(x, approximate)))(x / 2)
    np.testing.assert_array_equal(value, [0, 0, 0, 200, big])
    np.testing.assert_allclose(gradient, [0, 0, 0.5, 1, 1], rtol=4 * np.finfo(dtype).eps)


@given(arrays((5,), low=-700, high=700), st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([20.0, 1e6]))
def test_softplus_has_no_overflow(x, beta, threshold):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, slope = F.softplus(x, beta, threshold), mg.elementwise_grad(lambda x: F.softplus(x, beta, threshold))(x)
    np.testing.assert_allclose(value, np.logaddexp(0, beta * x) / beta, rtol=1e-8)
    np.testing.assert_allclose(slope, F.sigmoid(beta * x), rtol=1e-8)


# Losses


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_derivative_of_elu_has_its_digits_in_the_tail(dtype):
    x = np.array([-1e300 if dtype == np.float64 else -1e30, -80, -40, -20, -1, 0, 1e30], dtype)
    want = np.where(x > 0, 1, 2.5 * np.exp(np.minimum(x, 0.0)))
    np.testing.assert_allclose(plain(mg.grad(lambda x: np.sum(F.elu(x, 2.5)))(x)), want, 4 * np.finfo(dtype).eps)


def test_losses_are_exact_in_the_tails():
    x = np.array([-800.0, -40.0, 40.0, 800.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        likely = F.binary_cross_entropy_with_logits(x, (x > 0) * 1.0, "none")
        unlikely = F.binary_cross_entropy_with_logits(x, (x < 0) * 1.0, "none")
        certain = F.binary_cross_entropy(np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0]), "none")
    np.testing.assert_allclose(likely, np.exp(-np.abs(x)), rtol=1e-13)
    np.testing.assert_allclose(unlikely, np.abs(x), rtol=1e-13)
    np.testing.assert_array_equal(certain, [0.0, 0.0, 100.0])


def test_an_ignored_row_has_no_effect_for_any_logits():
    x = np.array([[1.0, 2.0], [-np.inf, 0.0]])
    value, gradient = mg.value_and_grad(lambda x: F.cross_entropy(x, np.array([0, -100])))(x)
    np.testing.assert_allclose(value, F.cross_entropy(x[:1], np.array([0])))
    np.testing.assert_array_equal(gradient[1], [0.0, 0.0])


def test_a_program_refuses_labels_and_indices_out_of_range():
    """NumPy would count a negative one from the end."""
    x, weight = np.zeros((2, 300)), np.ones((300, 2))
    loss = mg.compile(lambda x, labels: F.cross_entropy(x, labels))
    rows = mg.compile(lambda weight, indices: np.sum(F.embedding(indices, weight)))
    loss(x, np.array([0, 299]))
    rows(weight, np.array([0, 299]))
    with pytest.raises(ValueError, match=r"labels must be from 0 to 299, got values from -100 to 0; .*ignore_index="):
        loss(x, np.array([0, -100]))
    with pytest.raises(ValueError, match="embedding: indices must be from 0 to 299, got values from -1 to 0"):
        rows(weight, np.array([0, -1]))


# Embedding


def test_gradients_of_symbols_add_up_except_for_padding():
    weight, indices = np.ones((4, 2)), np.array([[1, 3], [1, 0]])
    gradient = mg.grad(lambda w: np.sum(F.embedding(indices, w)))(weight)
    np.testing.assert_array_equal(gradient[:, 0], [1, 2, 0, 1])
    gradient = mg.grad(lambda w: np.sum(F.embedding(indices, w, padding_idx=-1)))(weight)
    np.testing.assert_array_equal(gradient[:, 0], [1, 2, 0, 0])
    layer = nn.Embedding(4, 2, padding_idx=1)
    np.testing.assert_array_equal(layer.weight.data[1], [0, 0])


# Rows of the table of modules


def test_a_row_is_a_class_that_may_be_subclassed():
    class Half(nn.LeakyReLU):
        def __init__(self):
            super().__init__(0.5)

    assert repr(Half()) == "Half(negative_slope=0.5)"
    assert Half()(np.array([-2.0])) == -1
    assert isinstance(nn.GELU("tanh"), nn.Module)
    assert nn.GELU(approximate="tanh").approximate == "tanh"
    assert repr(nn.CrossEntropyLoss(np.ones(3))).endswith("label_smoothing=0.0, weight=(3,))")


def test_settings_are_checked_when_a_row_is_made():
    with pytest.raises(ValueError, match=r"^Softplus: beta must be a positive number, got 0$"):
        nn.Softplus(0)
    with pytest.raises(TypeError, match=r"^CrossEntropyLoss: ignore_index must be an integer, such as 1, got None$"):
        nn.CrossEntropyLoss(ignore_index=None)
    with pytest.raises(
        TypeError, match=r"^ELU: alpha must be a setting of the module, got ndarray; .*nn\.ELU\(\)\(\.\.\.\)$"
    ):
        nn.ELU(np.ones(3))


def test_a_row_passes_keyword_arguments_on():
    y_pred, y = np.array([1.0, 2.0]), np.array([0.0, 4.0])
    assert nn.MSELoss("sum")(y_pred=y_pred, y=y) == nn.MSELoss("sum")(y_pred, y) == 5


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_labels_of_a_program_index_captured_weights(loss):
    x, labels, weight = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 2, 1, 2]), np.array([0.5, 1.0, 2.0])
    want = loss(x, labels, weight=weight)
    got = mg.compile(lambda x, labels: loss(x, labels, weight=weight))(x, labels)
    np.testing.assert_allclose(plain(got), want, 1e-12)


def test_losses_of_whole_numbers_and_of_a_single_number():
    mean, y = np.array([1.0, 3.0]), np.array([2.0, 2.0])
    assert F.gaussian_nll_loss(mean, y, np.ones(2, int)) == F.gaussian_nll_loss(mean, y, 1.0) == 0.5
    assert F.kl_div(-1.0, 1.0, "batchmean") == F.kl_div(-1.0, 1.0, "sum") == 1


def test_settings_of_a_row_are_those_of_its_function():
    for cls in (value for value in vars(nn).values() if isinstance(value, type) and getattr(value, "_settings", ())):
        parameters = inspect.signature(cls._function).parameters
        assert {name: getattr(cls, name) for name in cls._settings if hasattr(cls, name)} == {
            name: p.default for name, p in parameters.items() if p.default is not p.empty
        }, cls
