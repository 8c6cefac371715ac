"""`mg.onnx.export`, proved against onnxruntime.

Owns: that each layer and each row of the table computes in onnxruntime what it computes
here, with any number of rows.
Must not own: what layers compute (`test_nn.py`).
Read next: `test_checkpoints.py`.

A case is a function of arrays, or a module, and the shape of one row of each of its
inputs; int stands for integers.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, primitives
from microgradnd.nn import functional as F
from microgradnd.trees import flatten

onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime isn't installed")

RNG = np.random.default_rng(0)


class Function(nn.Module):
    """A function as a module, with a parameter that it may use."""

    def __init__(self, function):
        self.function = function
        self.weight = nn.Parameter(RNG.normal(size=(3, 4)))

    def forward(self, *inputs):
        return self.function(*inputs)


class Attending(nn.Module):
    """Attention of a sequence to itself, of each step to those before it."""

    def __init__(self):
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True, rng=RNG)

    def forward(self, x):
        mask = np.where(np.tri(5, dtype=bool), 0, -np.inf)
        return self.inner(x, x, x, attn_mask=mask)


def warmed(module, shape):
    """Return a module with other parameters than at the start, and statistics of some
    rows.
    """
    for parameter in module.parameters():
        parameter.data = RNG.normal(size=parameter.shape)
    module(RNG.normal(2.0, 3.0, size=(10, *shape)))
    return module


W = RNG.normal(size=(3, 4))
PARAMETER = nn.Parameter(RNG.normal(size=(5, 3)), name="table")

LAYERS = {
    "Linear": (nn.Linear(3, 4, rng=RNG), [(3,)]),
    "Linear without bias": (nn.Linear(3, 4, bias=False, rng=RNG), [(3,)]),
    "Linear over time": (nn.Linear(3, 4, rng=RNG), [(6, 3)]),
    "ReLU": (nn.ReLU(), [(3,)]),
    "Sigmoid": (nn.Sigmoid(), [(3,)]),
    "Tanh": (nn.Tanh(), [(3,)]),
    "Identity": (nn.Identity(), [(3,)]),
    "Dropout": (nn.Dropout(0.5, rng=RNG), [(3,)]),
    "Bilinear": (nn.Bilinear(3, 4, 2, rng=RNG), [(3,), (4,)]),
    "Embedding": (nn.Embedding(5, 2, padding_idx=0, rng=RNG), [int]),
    "BatchNorm1d": (warmed(nn.BatchNorm1d(3), (3,)), [(3,)]),
    "BatchNorm1d over time": (warmed(nn.BatchNorm1d(3, affine=False), (3, 4)), [(3, 4)]),
    "BatchNorm2d": (warmed(nn.BatchNorm2d(3), (3, 4, 4)), [(3, 4, 4)]),
    "LayerNorm": (warmed(nn.LayerNorm((3, 4)), (3, 4)), [(3, 4)]),
    "GroupNorm": (warmed(nn.GroupNorm(2, 4), (4, 5)), [(4, 5)]),
    "RMSNorm": (warmed(nn.RMSNorm(4), (3, 4)), [(3, 4)]),
    "LeakyReLU": (nn.LeakyReLU(0.2), [(3,)]),
    "PReLU": (warmed(nn.PReLU(3), (3,)), [(3,)]),
    "ELU": (nn.ELU(0.7), [(3,)]),
    "GELU": (nn.GELU(), [(3,)]),
    "GELU by tanh": (nn.GELU("tanh"), [(3,)]),
    "SiLU": (nn.SiLU(), [(3,)]),
    "Softplus": (nn.Softplus(2.0), [(3,)]),
    "Hardtanh": (nn.Hardtanh(-0.5, 0.5), [(3,)]),
    "Softmax": (nn.Softmax(1), [(3, 4)]),
    "LogSoftmax": (nn.LogSoftmax(-1), [(3, 4)]),
    "Flatten": (nn.Flatten(), [(3, 4)]),
    "MaxPool1d": (nn.MaxPool1d(2, ceil_mode=True), [(2, 7)]),
    "MaxPool1d that leaves out the end": (nn.MaxPool1d(2), [(2, 7)]),
    "MaxPool2d": (nn.MaxPool2d(3, stride=2, padding=1, dilation=(1, 2)), [(2, 9, 9)]),
    "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(3), [(2, 7)]),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((1, 3)), [(2, 7, 7)]),
    "RNN": (nn.RNN(3, 4, batch_first=True, rng=RNG), [(5, 3)]),
    "GRU": (nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True, rng=RNG), [(5, 3)]),
    "LSTM": (nn.LSTM(3, 4, bias=False, batch_first=True, rng=RNG), [(5, 3)]),
    "MultiheadAttention": (Attending(), [(5, 8)]),
    "TransformerEncoderLayer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, rng=RNG), [(5, 8)]),
    "Sequential": (
        nn.Sequential(nn.Linear(3, 8, rng=RNG), nn.ReLU(), nn.Sequential(nn.Linear(8, 4, rng=RNG), nn.Tanh())),
        [(3,)],
    ),
}

SINGLE = {  # which onnxruntime has in float32 only
    "Conv1d": (nn.Conv1d(2, 4, 3, stride=2, padding=1, dtype=np.float32, rng=RNG), [(2, 9)]),
    "Conv1d that keeps the size": (nn.Conv1d(2, 4, 4, padding="same", bias=False, dtype=np.float32, rng=RNG), [(2, 9)]),
    "Conv2d": (nn.Conv2d(4, 6, 3, dilation=(1, 2), groups=2, dtype=np.float32, rng=RNG), [(4, 8, 8)]),
    "ConvTranspose2d": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, dtype=np.float32, rng=RNG),
        [(4, 5, 5)],
    ),
    "ConvTranspose2d that adds rows": (
        nn.ConvTranspose2d(2, 2, 2, stride=(1, 3), output_padding=2, dilation=3, dtype=np.float32, rng=RNG),
        [(2, 3, 3)],
    ),
    "AvgPool1d": (nn.AvgPool1d(2, ceil_mode=True), [(2, 7)]),
    "AvgPool1d that leaves out the end": (nn.AvgPool1d(2), [(2, 7)]),
    "AvgPool2d": (nn.AvgPool2d(2, padding=1), [(2, 7, 7)]),
    "AvgPool2d without its border": (nn.AvgPool2d(2, padding=1, count_include_pad=False), [(2, 7, 7)]),
    "digits": (
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, dtype=np.float32, rng=RNG),
            nn.BatchNorm2d(4, dtype=np.float32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 10, dtype=np.float32, rng=RNG),
        ),
        [(1, 8, 8)],
    ),
}

FUNCTIONS = {
    "arithmetic": (lambda x, y: (x + y * 2 - 1) / (y * y + 1) + x**2 + x**3 + -x + 1 / (np.abs(y) + 1), [(3,), (3,)]),
    "between dtypes": (lambda x, n: x * n + (x > 0) * x + np.sqrt(n), [(3,), int]),
    "logic": (
        lambda x, y: np.where(
            np.logical_or(
                np.logical_and(x > y, x >= 0), np.logical_not(np.less(y, 0.5)) & (x <= 2) | ~(x == y) & (x != 3)
            ),
            x,
            0.0,
        ),
        [(3,), (3,)],
    ),
    "elementary": (
        lambda x: (
            np.exp(x)
            + np.log(np.abs(x) + 1)
            + np.sin(x)
            + np.cos(x)
            + np.tanh(x)
            + np.sign(x)
            + np.floor(x)
            + np.ceil(x)
            + np.rint(x)
            + np.reciprocal(x)
            + np.expm1(x)
            + np.log1p(np.abs(x))
            + np.logaddexp(x, 0)
            + np.square(x)
            + np.power(np.abs(x), 1.5)
            + np.sqrt(np.abs(x))
        ),
        [(3,)],
    ),
    "bounds": (lambda x: np.clip(x, -0.5, 0.5) + np.clip(x, None, 0.1) + np.maximum(x, 0) * np.minimum(x, 1), [(3,)]),
    "activations": (lambda x: F.softmax(x) + F.log_softmax(x, axis=1) + F.sigmoid(x) + F.relu(x), [(3, 4)]),
    "sums": (
        lambda x: (
            np.sum(x, axis=1, keepdims=True)
            + np.mean(x, axis=(1, 2), keepdims=True)
            + np.max(x, axis=-1)[..., None]
            - x.min(axis=2, keepdims=True)
            + np.prod(x, axis=2, keepdims=True)
            + np.sum(x)
        ),
        [(3, 4)],
    ),
    "over the batch": (lambda x: x - np.mean(x, axis=0) + np.sum(x, axis=0) / len(x) + np.max(x), [(3,)]),
    "variances": (lambda x: x.var(axis=(1, 2), keepdims=True) + np.var(x) + np.var(x, axis=0), [(3, 4)]),
    "reshape with -1": (lambda x: np.reshape(x, (-1, 12)), [(3, 4)]),
    "reshape with len": (lambda x: x.reshape(len(x), 2, 6) * 1.0, [(3, 4)]),
    "reshape of rows": (lambda x: (x.reshape(len(x) * 3, 4) @ np.ones((4, 2))).reshape(len(x), 3, 2), [(3, 4)]),
    "two sizes of the batch": (
        lambda x: np.matmul(x, x.T).reshape(len(x), len(x), 1) + np.zeros((len(x), 1, 1)),
        [(3,)],
    ),
    "axes": (
        lambda x: np.transpose(x, (0, 2, 1)) + np.swapaxes(x, 1, 2) + np.moveaxis(x, 1, 2) + np.moveaxis(x, -1, 1),
        [(3, 4)],
    ),
    "all axes": (lambda x: (x.T + 1).T[:, None] + np.expand_dims(x, 1) + np.squeeze(x[:, None, None], 1), [(3,)]),
    "broadcast": (lambda x: np.broadcast_to(x, (2, *x.shape)).sum(axis=0), [(3,)]),
    "parts": (
        lambda x: (
            x[:, 0, 1:] + x[:, -1, :-1] + x[..., 0][:, :3] + x[:, ::-1][:, 0, ::-1][:, :3] + x[:, None][:, 0, 1, 1:]
        ),
        [(3, 4)],
    ),
    "parts of the batch": (lambda x: x[: len(x)] - x[0] + x[-1] + x[[0, 1]].sum(axis=0), [(3,)]),
    "joined": (lambda x: np.concatenate([x, np.ones((len(x), 2)), x * 2], axis=1), [(3,)]),
    "stacked": (lambda x: np.stack([x, x + 1], axis=-1), [(3,)]),
    "products": (lambda x: x @ W + np.dot(x, W) + np.einsum("bi,ij->bj", x, W) + np.dot(2.0, x @ W), [(3,)]),
    "products of stacks": (
        lambda x, y: np.matmul(x, np.swapaxes(y, 1, 2)) + np.einsum("btd,bsd->bts", x, y),
        [(3, 4), (3, 4)],
    ),
    "rows of a table": (lambda i: PARAMETER[i] * 2, [int]),
    "several outputs": (lambda x: {"a": (x + 1, x * 2), "b": x}, [(3,)]),
    "the same": (lambda x: primitives.identity(x) + 1, [(3,)]),
    "float32": (lambda x: np.astype(x, np.float32) if hasattr(np, "astype") else x, [(3,)]),
    "a constant": (lambda x: (x, np.arange(3.0)), [(3,)]),
}

CASES = LAYERS | {name: (Function(function), shapes) for name, (function, shapes) in FUNCTIONS.items()}


def inputs(shapes, rows, dtype):
    rng = np.random.default_rng(rows)
    return tuple(
        rng.integers(0, 5, size=(rows, 3)) if shape is int else rng.normal(size=(rows, *shape)).astype(dtype)
        for shape in shapes
    )


def agree(module, path, arrays, tolerance):
    """Check that a file computes what a module does."""
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    found = session.run(None, dict(zip([given.name for given in session.get_inputs()], arrays, strict=True)))
    with mg.no_grad():
        expected = flatten(module(*arrays))[0]
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        b = np.asarray(b.data if isinstance(b, mg.Tensor) else b)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_a_file_computes_what_the_network_does(tmp_path, name):
    module, shapes = CASES[name]
    module.train()
    mg.onnx.export(module, inputs(shapes, 4, float), tmp_path / "a.onnx")
    assert module.training
    module.eval()
    for rows in (4, 1, 2, 7):
        if name == "parts of the batch" and rows == 1:
            continue  # there is no second row
        agree(module, tmp_path / "a.onnx", inputs(shapes, rows, float), 1e-12 if name != "float32" else 1e-6)


class Alike(nn.Module):
    """Parameters with the names of an input, an operator and a constant."""

    def __init__(self):
        self.other, self.mul_0, self.constant_0 = (nn.Parameter(RNG.normal(size=3)) for _ in range(3))

    def forward(self, x, other):
        return x * self.other + other * self.mul_0 + self.constant_0 * 2, None, 3.0


def test_names_are_no_matter_and_none_is_no_output(tmp_path):
    module, arrays = Alike(), inputs([(3,), (3,)], 4, float)
    mg.onnx.export(module, arrays, tmp_path / "a.onnx")
    session = runtime.InferenceSession((tmp_path / "a.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    product, number = session.run(None, dict(zip(("x", "other"), arrays, strict=True)))
    np.testing.assert_allclose(product, module(*arrays)[0].data, rtol=1e-12)
    assert number == 3.0


@pytest.mark.parametrize("name", SINGLE)
def test_a_file_in_float32_computes_what_the_network_does(tmp_path, name):
    module, shapes = SINGLE[name]
    mg.onnx.export(module, inputs(shapes, 4, np.float32), tmp_path / "a.onnx")
    module.eval()
    for rows in (4, 1, 7):
        agree(module, tmp_path / "a.onnx", inputs(shapes, rows, np.float32), 1e-5)


def test_every_row_of_the_table_is_reached(tmp_path):
    reached = set()
    with pytest.MonkeyPatch.context() as patch:
        for function, row in mg.onnx.ROWS.items():

            def noting(*args, function=function, row=row, **kwargs):
                reached.add(function)
                return row(*args, **kwargs)

            patch.setitem(mg.onnx.ROWS, function, noting)
        for module, shapes in (*CASES.values(), *SINGLE.values()):
            mg.onnx.export(module, inputs(shapes, 4, float), tmp_path / "a.onnx")
    assert {getattr(function, "__name__", function) for function in set(mg.onnx.ROWS) - reached} == set()


def refused(function, rows=4, error=NotImplementedError):
    """Return why a function isn't exported."""
    network = nn.Sequential(nn.Linear(3, 3), Function(function))
    with pytest.raises(error) as caught:
        mg.onnx.export(network, np.ones((rows, 3)), "nowhere/network.onnx")
    return str(caught.value).partition(", line ")[0]  # what follows quotes the line of the test


def test_a_function_without_a_row_is_named_with_its_layer():
    assert "onnx.export: sort has no row" in refused(lambda x: np.sort(x))
    assert ", in 1 (" in refused(lambda x: np.sort(x))
    assert "with order='F'" in refused(lambda x: np.reshape(x, (len(x), 3, 1), order="F"))
    assert "integers" in refused(lambda x: x[[0, 1], [1, 2]])
    assert "einsum" in refused(lambda x: np.einsum(x, [0, 1], [0]))
    assert "ddof" in refused(lambda x: np.var(x, axis=0, ddof=1))
    assert "bits" in refused(lambda x: x * np.bitwise_and((x > 0).astype(int), 3))
    assert "where" in refused(lambda x: np.sum(x, axis=1, where=x > 0))


def test_a_frozen_batch_is_found():
    assert "for 4 rows" in refused(lambda x: x * np.arange(len(x))[:, None], error=ValueError)
    assert "other functions for 9 rows than for 4" in refused(
        lambda x: np.tanh(x) if len(x) == 4 else x + 1, error=ValueError
    )
    assert "fails for 9 rows" in refused(lambda x: x.reshape(4, 3) + 1, error=ValueError)
    assert "8 for 9" in refused(lambda x: x[: len(x) // 2 * 2])
    assert "a part whose size grows" in refused(lambda x: np.concatenate([x, x])[: len(x)])


def test_an_export_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.onnx"
    mg.onnx.export(nn.ReLU(), np.ones((1, 3)), path)
    before = path.read_bytes()
    with pytest.raises(NotImplementedError):
        mg.onnx.export(Function(lambda x: np.sort(x)), np.ones((1, 3)), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


def test_the_names_in_a_file_are_those_of_the_parameters(tmp_path):
    network, _ = LAYERS["Sequential"]
    mg.onnx.export(network, np.ones((1, 3)), tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx").graph
    assert {name for name, _ in network.named_parameters()} <= {constant.name for constant in graph.initializer}
    assert [size.dim_param for size in graph.input[0].type.tensor_type.shape.dim] == ["batch", ""]
    assert [size.dim_param for size in graph.output[0].type.tensor_type.shape.dim] == ["batch", ""]
    assert graph.input[0].name == "x"


def test_float32_networks_stay_so(tmp_path):
    network = nn.Sequential(
        nn.Linear(3, 4, dtype=np.float32, rng=RNG), nn.Tanh(), nn.Linear(4, 2, dtype=np.float32, rng=RNG)
    )
    arrays = inputs([(3,)], 5, np.float32)
    mg.onnx.export(network, arrays, tmp_path / "a.onnx")
    agree(network, tmp_path / "a.onnx", arrays, 1e-6)


def test_without_onnx_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "microgradnd\[onnx\]"'):
        mg.onnx.export(nn.ReLU(), np.ones((1, 3)), "nowhere/network.onnx")
