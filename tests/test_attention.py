"""Attention: its values, its masks, its layers in every mode, and its messages.

Owns: `scaled_dot_product_attention`, `MultiheadAttention`, `TransformerEncoderLayer`.
Must not own: derivatives (`test_laws.py`, with the rows in `rows/attention.py`);
agreement with PyTorch (`test_torch_attention.py`).
Read next: `test_functional.py`.
"""

import functools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim, viz
from microgradnd.nn import functional as F
from microgradnd.tape import Operation

RNG = np.random.default_rng(0)
often = settings(max_examples=max(40, settings.default.max_examples))  # these are quick
attend = F.scaled_dot_product_attention
X = RNG.normal(size=(3, 5, 8))


def by_hand(query, key, value, seen, added, scale):
    """Return attention of matrices, computed one query and one key at a time."""
    out = np.zeros((len(query), value.shape[1]))
    for i, q in enumerate(query):
        keys = [j for j in range(len(key)) if seen[i, j]]
        if keys:
            e = np.exp([scale * q @ key[j] + added[i, j] for j in keys])
            out[i] = e / e.sum() @ value[keys]
    return out


@often
@given(st.integers(0, 4), st.integers(1, 5), st.integers(1, 3), st.integers(0, 99), st.booleans())
def test_one_query_and_one_key_at_a_time(queries, keys, features, seed, is_causal):
    rng = np.random.default_rng(seed)
    query, key, value = (rng.normal(size=(n, m)) for n, m in ((queries, features), (keys, features), (keys, 2)))
    seen, added = rng.random((queries, keys)) < 0.7, rng.normal(size=(queries, keys))
    allowed = seen & np.tri(queries, keys, dtype=bool) if is_causal else seen
    out = attend(query, key, value, seen, is_causal=is_causal)
    np.testing.assert_allclose(
        out, by_hand(query, key, value, allowed, 0 * added, features**-0.5), rtol=1e-10, atol=1e-14
    )
    out = attend(query, key, value, np.where(seen, added, -np.inf), is_causal=is_causal, scale=0.3)
    np.testing.assert_allclose(out, by_hand(query, key, value, allowed, added, 0.3), rtol=1e-10, atol=1e-14)


def test_a_query_that_sees_nothing_gets_zeros_and_no_gradient():
    query, key, value = (mg.tensor(RNG.normal(size=(3, 2)), requires_grad=True) for _ in range(3))
    seen = np.array([[True, False, True], [False, False, False], [True, True, True]])
    out = attend(query, key, value, seen)
    assert np.all(out.data[1] == 0)
    np.sum(out**2).backward(create_graph=True)
    assert np.all(query.grad.data[1] == 0)
    first, query.grad = query.grad, None
    np.sum(first**2).backward()
    assert np.all(np.isfinite(query.grad))
    weights = nn.MultiheadAttention(4, 2, rng=RNG)(*[np.ones((3, 4))] * 3, attn_mask=~seen)[1]
    np.testing.assert_allclose(np.sum(weights.data, axis=1), [1, 0, 1])


def test_nothing_to_compare():
    np.testing.assert_array_equal(attend(np.ones((2, 0)), np.ones((4, 0)), np.arange(4.0)[:, None]), [[1.5], [1.5]])
    np.testing.assert_array_equal(attend(np.ones((2, 3)), np.ones((0, 3)), np.ones((0, 1))), [[0], [0]])


def test_logits_of_any_size():
    x = np.array([[1e3, 0.0], [0.0, 1e3]])
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(attend(x, x, x, scale=1.0), x)
        assert np.all(np.isnan(attend(x * np.nan, x, x)))


def test_no_weights_stay_on_the_tape():
    query, key, value = (mg.tensor(RNG.normal(size=(64, 2)), requires_grad=True) for _ in range(3))
    node = attend(query, key, value, is_causal=True)._node
    assert type(node) is Operation
    assert all(parent in (query._node, key._node, value._node, None) for parent in node.parents)


def test_dropout():
    x = np.ones((40, 4))
    dropped, again = (attend(x, x, x, dropout_p=0.5, rng=np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(dropped, again)
    assert 0.5 < np.mean(dropped) < 1.5
    assert np.std(dropped) > 0
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True, rng=np.random.default_rng(0))
    for need_weights in (True, False):
        first, second = (layer(X, X, X, need_weights=need_weights)[0].data for _ in range(2))
        assert np.any(first != second)
    layer.eval()
    np.testing.assert_allclose(layer(X, X, X)[0].data, layer(X, X, X, need_weights=False)[0].data, rtol=1e-12)
    training = mg.compile(lambda layer, x: layer(x, x, x, need_weights=False)[0])
    layer.train()
    assert np.any(np.asarray(training(layer, X).data) != np.asarray(training(layer, X).data))


def test_a_causal_layer_does_not_look_ahead():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, rng=RNG).eval()
    changed = X.copy()
    changed[:, 3:] += 1
    before, after = layer(X, is_causal=True).data, layer(changed, is_causal=True).data
    np.testing.assert_allclose(before[:, :3], after[:, :3], rtol=1e-12)
    assert np.all(before[:, 3:] != after[:, 3:])


def test_padding_is_not_seen():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, rng=RNG).eval()
    padding = np.zeros((3, 5), bool)
    padding[:, 3:] = True
    full, short = layer(X, src_key_padding_mask=padding).data, layer(X[:, :3]).data
    np.testing.assert_allclose(full[:, :3], short, rtol=1e-12)
    as_numbers = layer(X, src_key_padding_mask=np.where(padding, -np.inf, 0.0)).data
    np.testing.assert_array_equal(as_numbers, full)


def test_axes():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, rng=RNG)
    later = nn.MultiheadAttention(8, 2, rng=RNG)
    later.load_state_dict(layer.state_dict())
    out, weights = layer(X, X[:, :4], X[:, :4])
    x = np.swapaxes(X, 0, 1)
    swapped, same = later(x, x[:4], x[:4])
    np.testing.assert_allclose(np.swapaxes(swapped.data, 0, 1), out.data, rtol=1e-12)
    np.testing.assert_allclose(same.data, weights.data, rtol=1e-12)
    one, of_one = layer(X[0], X[0, :4], X[0, :4])
    np.testing.assert_allclose(one.data, out.data[0], rtol=1e-12)
    np.testing.assert_allclose(of_one.data, weights.data[0], rtol=1e-12)
    heads = layer(X, X, X, average_attn_weights=False)[1]
    assert heads.shape == (3, 2, 5, 5)
    empty = layer(X[:0], X[:0], X[:0])[0]
    assert empty.shape == (0, 5, 8)


def test_initial_values_and_names():
    packed = nn.MultiheadAttention(32, 2, rng=np.random.default_rng(0))
    assert [name for name, _ in packed.named_parameters()] == [
        "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"
    ]  # fmt: skip
    bound = np.sqrt(6 / (32 + 96))
    assert 0.98 * bound < np.max(np.abs(packed.in_proj_weight.data)) <= bound
    assert not np.any(packed.in_proj_bias.data)
    assert not np.any(packed.out_proj.bias.data)
    apart = nn.MultiheadAttention(8, 2, bias=False, kdim=3, vdim=5, dtype=np.float32, rng=np.random.default_rng(0))
    assert {name: p.shape for name, p in apart.named_parameters()} == {
        "q_proj_weight": (8, 8),
        "k_proj_weight": (8, 3),
        "v_proj_weight": (8, 5),
        "out_proj.weight": (8, 8),
    }
    assert {p.dtype for p in apart.parameters()} == {np.dtype(np.float32)}


def test_single_precision_stays_single():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dtype=np.float32, rng=RNG)
    x = mg.tensor(X.astype(np.float32), requires_grad=True)
    for mask in ({"is_causal": True}, {"src_mask": np.zeros((5, 5))}, {"src_mask": np.zeros((5, 5), bool)}):
        out = layer(x, **mask)
        np.sum(out**2).backward()
        assert out.dtype == x.grad.dtype == np.float32


def test_the_gradient_of_a_mask():
    bias = mg.tensor(np.zeros((5, 5)), requires_grad=True, name="bias")
    layer = nn.MultiheadAttention(8, 2, batch_first=True, rng=RNG)
    np.sum(layer(X, X, X, attn_mask=bias, need_weights=False)[0] ** 2).backward()
    assert np.any(bias.grad != 0)
    np.testing.assert_allclose(np.sum(bias.grad, axis=1), 0, atol=1e-12)


class Small(nn.Module):
    """Two blocks that predict the next symbol at each position of a sequence."""

    def __init__(self, rng):
        self.embedding = nn.Embedding(7, 8, rng=rng)
        options = {"dropout": 0.0, "batch_first": True, "rng": rng}
        self.first = nn.TransformerEncoderLayer(8, 2, 16, norm_first=True, **options)
        self.second = nn.TransformerEncoderLayer(8, 2, 16, **options)
        self.head = nn.Linear(8, 7, rng=rng)

    def forward(self, symbols):
        x = self.second(self.first(self.embedding(symbols), is_causal=True), is_causal=True)
        return self.head(x).reshape((-1, 7))


def train(model, optimizer, x, y):
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def test_a_compiled_training_step():
    symbols = RNG.integers(0, 7, (2, 4))
    labels = np.roll(symbols, -1, axis=1).reshape(-1)
    losses = []
    for transform in (lambda f: f, mg.compile):
        model = Small(np.random.default_rng(0))
        step, optimizer = transform(train), optim.Adam(model.parameters(), lr=0.01)
        losses.append([step(model, optimizer, symbols, labels).item() for _ in range(4)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
    assert losses[0][-1] < losses[0][0]


def test_loops():
    pytest.importorskip("numba", reason='fused loops: pip install "microgradnd[numba]"')
    loops = functools.partial(mg.compile, backend="numba")

    def f(query, key, value, seen):
        return np.sum(attend(query, key, value, seen, is_causal=True) ** 2)

    args = *(RNG.normal(size=(2, 3, 4)) for _ in range(3)), RNG.random((3, 3)) < 0.5
    expected, found = (transform(mg.grad(f, (0, 1, 2)))(*args) for transform in (lambda f: f, loops))
    for g, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(g, want, rtol=1e-10, atol=1e-12)


def test_transforms():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, rng=RNG).eval().requires_grad_(False)
    v = RNG.normal(size=X.shape)

    def f(x):
        return np.sum(np.sin(layer(x, is_causal=True)))

    gradient = mg.grad(f)(X)
    value, tangent = mg.jvp(f, (X,), (v,))
    np.testing.assert_allclose(value, f(X), rtol=1e-13)
    np.testing.assert_allclose(tangent, np.sum(gradient * v), rtol=1e-9)
    compiled = mg.compile(lambda x, v: mg.jvp(f, (x,), (v,))[1])
    np.testing.assert_allclose(compiled(X, v), tangent, rtol=1e-9)
    step = 1e-5
    ahead, back = (mg.grad(f)(X + s * v) for s in (step, -step))
    np.testing.assert_allclose(mg.hvp(f)(X, v), (ahead - back) / (2 * step), rtol=1e-4, atol=1e-6)


def test_a_picture_shows_one_operation():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, rng=RNG)
    out = layer(X, X, X, need_weights=False)[0]
    assert "attention" in viz.draw(np.sum(out)).source


def test_an_activation_may_be_any_function():
    options = {"dropout": 0.0, "batch_first": True}
    named, given_ = (
        nn.TransformerEncoderLayer(8, 2, 16, activation=a, rng=np.random.default_rng(0), **options)
        for a in ("relu", F.relu)
    )
    np.testing.assert_array_equal(named(X).data, given_(X).data)
    assert np.any(nn.TransformerEncoderLayer(8, 2, 16, activation=np.tanh, **options)(X).data != named(X).data)


Q, M = np.ones((2, 3)), nn.MultiheadAttention(8, 2, batch_first=True)
MISTAKES = {
    "features": (lambda: attend(Q, np.ones((4, 2)), Q), ValueError, "scaled_dot_product_attention|(2, 3), (4, 2)"),
    "keys": (lambda: attend(Q, Q, np.ones((3, 3))), ValueError, "(..., keys, outputs)|(3, 3)"),
    "batch": (lambda: attend(np.ones((2, 2, 3)), np.ones((3, 2, 3)), Q), ValueError, "(2, 2, 3), (3, 2, 3)"),
    "vector": (lambda: attend(np.ones(3), Q, Q), ValueError, "(..., queries, features)|(3,)"),
    "mask": (lambda: attend(Q, Q, Q, np.ones((3, 2), bool)), ValueError, "attn_mask must broadcast to|(2, 2)|(3, 2)"),
    "deep mask": (lambda: attend(Q, Q, Q, np.ones((1, 2, 2), bool)), ValueError, "attn_mask|(2, 2)|(1, 2, 2)"),
    "numbers": (lambda: attend(Q, Q, Q, np.ones((2, 2), int)), TypeError, "attn_mask must be boolean|int64|mask != 0"),
    "scale": (lambda: attend(Q, Q, Q, scale="a"), TypeError, "scale must be"),
    "text": (
        lambda: nn.MultiheadAttention(8, 2, "a"),
        TypeError,
        "dropout must be a probability, from 0 to 1, got 'a'",
    ),
    "dropout_p": (lambda: attend(Q, Q, Q, dropout_p=2), ValueError, "must be a probability|2"),
    "inputs": (lambda: M(X, X, X[..., :7]), ValueError, "MultiheadAttention|8, 8 and 8|(3, 5, 7)"),
    "lengths": (lambda: M(X, X, X[:, :4]), ValueError, "equal positions|(3, 4, 8)"),
    "batches": (lambda: M(X, X[:2], X[:2]), ValueError, "equal batch sizes|(2, 5, 8)"),
    "axes": (lambda: M(X, X[0], X[0]), ValueError, "(batch, positions, features)|(5, 8)"),
    "no axes": (lambda: M(*[np.ones(8)] * 3), ValueError, "MultiheadAttention|(8,)"),
    "attn_mask": (lambda: M(X, X, X, attn_mask=np.ones((4, 5), bool)), ValueError, "attn_mask must have|(5, 5)|(4, 5)"),
    "of heads": (lambda: M(X, X, X, attn_mask=np.ones((3, 5, 5), bool)), ValueError, "attn_mask|(6, 5, 5)|(3, 5, 5)"),
    "padding": (
        lambda: M(X, X, X, key_padding_mask=np.ones((5, 3), bool)),
        ValueError,
        "MultiheadAttention|key_padding_mask must have shape (3, 5), got (5, 3)",
    ),
    "padding of numbers": (
        lambda: M(X, X, X, key_padding_mask=np.ones((3, 5), int)),
        TypeError,
        "key_padding_mask must be boolean or floating-point, got int64",
    ),
    "embed_dim": (lambda: nn.MultiheadAttention(8, 3), ValueError, "embed_dim must be a multiple of num_heads|8 and 3"),
    "num_heads": (lambda: nn.MultiheadAttention(8, 0), ValueError, "num_heads must be a positive integer, got 0"),
    "kdim": (lambda: nn.MultiheadAttention(8, 2, kdim=0), ValueError, "kdim must be a positive integer, got 0"),
    "dropout": (lambda: nn.MultiheadAttention(8, 2, -1), ValueError, "dropout must be a probability"),
    "activation": (
        lambda: nn.TransformerEncoderLayer(8, 2, activation="swish"),
        ValueError,
        "TransformerEncoderLayer|activation must be 'relu', 'gelu' or a function|'swish'",
    ),
    "a path": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2))(np.ones((5, 3, 7))),
        ValueError,
        "self_attn|(5, 3, 7)",
    ),
}


@pytest.mark.parametrize(("call", "error", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(call, error, words):
    with pytest.raises(error, match=".*".join(map(re.escape, words.split("|")))):
        call()
