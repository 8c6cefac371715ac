"""The same rules on other arrays: Dask's give what NumPy's give.

Owns: the law that a rule runs on any array that speaks NumPy's protocols, checked with Dask.
Must not own: whether a rule is right (`test_laws.py`).
Read next: `test_laws.py`.
"""

import dask.array as da
import numpy as np
import pytest

import microgradnd as mg
from microgradnd import primitives
from microgradnd.registry import VJPS

RNG = np.random.default_rng(0)
M, N, V = RNG.uniform(0.3, 0.9, (4, 3)), RNG.uniform(0.3, 0.9, (3, 5)), RNG.uniform(0.3, 0.9, 3)

UNARY = [
    *(np.negative, np.reciprocal, np.square, np.sqrt, np.cbrt, np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10),
    *(np.log1p, np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh),
    *(np.arctanh, np.absolute, np.fabs, np.sign, np.floor, np.deg2rad),
]
CALLS = {f.__name__: (f, (M,)) for f in UNARY} | {
    "add": (np.add, (M, V)),
    "multiply": (np.multiply, (M, V)),
    "divide": (np.divide, (M, V)),
    "power": (np.power, (M, V)),
    "maximum": (np.maximum, (M, V)),
    "arctan2": (np.arctan2, (M, V)),
    "logaddexp": (np.logaddexp, (M, V)),
    "where": (lambda x, y: np.where(np.array([True, False, True]), x, y), (M, V)),
    "relu": (primitives.relu, (M,)),
    "sum": (lambda x: np.sum(x, axis=0), (M,)),
    "mean": (lambda x: np.mean(x, axis=1, keepdims=True), (M,)),
    "max": (lambda x: np.max(x, axis=0), (M,)),
    "matmul": (np.matmul, (M, N)),
    "dot": (np.dot, (M, N)),
    "transpose": (np.transpose, (M,)),
    "getitem": (lambda x: x[1:, 0], (M,)),
    "getitem-repeated": (lambda x: x[np.array([0, 0, 2])], (M,)),
    "concatenate": (lambda x, y: np.concatenate([x, y]), (M, N.T)),
}


@pytest.mark.parametrize(("call", "arrays"), CALLS.values(), ids=CALLS)
def test_a_rule_gives_the_same_on_dask(call, arrays):
    tensors = [mg.tensor(a, requires_grad=True) for a in arrays]
    node = call(*tensors)._node
    g = RNG.normal(size=node.out.shape)
    lazy = [da.from_array(a, chunks=2) if p is not None else a for a, p in zip(node.args, node.parents, strict=True)]
    for i, parent in enumerate(node.parents):
        if parent is not None:
            rule = VJPS[node.function][i]
            expected = rule(g, node.out, *node.args, **node.kwargs)
            got = rule(da.from_array(g, chunks=2), da.from_array(np.asarray(node.out), chunks=2), *lazy, **node.kwargs)
            assert isinstance(got, da.Array)
            np.testing.assert_allclose(got.compute(), expected, rtol=1e-12, atol=1e-12)
