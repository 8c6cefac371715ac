"""Rows of the operations of `nn`: see its `activations.py`, `losses.py`, `linear.py`.

Owns: their shapes and labels.
Must not own: what their values should be (`tests/test_functional.py`).
Read next: `tests/test_laws.py`.
"""

import numpy as np

from microgradnd.nn import activations, losses
from microgradnd.nn import functional as F
from microgradnd.nn.embedding import looked_up
from microgradnd.nn.losses import highest
from microgradnd.nn.normalization import normalize, normalized
from tests.rows import ANY, DISTINCT, NONZERO, Domain, Row, case, ufunc

LINEAR = {
    "batch": ((4, 3), (2, 3), (2,)),
    "no-bias": ((4, 3), (2, 3)),
    "vector": ((3,), (2, 3), (2,)),
    "stack": ((2, 4, 3), (2, 3), (2,)),
    "deep-stack": ((2, 1, 4, 3), (2, 3)),
    "no-features": ((2, 2, 0), (3, 0), (3,)),
    "empty-stack": ((2, 0, 3), (2, 3), (2,)),
    "one": ((1, 1), (1, 1), (1,)),
    "empty": ((0, 3), (2, 3), (2,)),
}
SHAPES = {"scalar": (), "column": (4, 1), "stack": (2, 1, 3), "empty": (0, 2)}
AXES = {"last": -1, "first": 0, "both": (0, 1)}
LABELS = np.array([2, 0, 2, 1])
WIDE = Domain(-30.0, 30.0)
# Axes of the mean, whether to subtract it, and the shapes of x and of weight and bias
NORMALIZED = {
    "channels": ((-2,), True, (4, 3), (3,)),
    "images": ((-4, -2, -1), True, (2, 3, 2, 2), (3, 1, 1)),
    "rows": ((-1,), True, (2, 2, 4), (4,)),
    "last-two": ((-2, -1), True, (2, 3, 2), (3, 2)),
    "groups": ((-2, -1), True, (2, 2, 2, 3), (2, 2, 1)),
    "root-mean-square": ((-1,), False, (3, 4), (4,)),
    "one-feature": ((-1,), True, (3, 1), (1,)),
    "empty": ((-1,), True, (0, 3), (3,)),
}

ROWS: list[Row] = [
    *(case(F.linear, name, F.linear, *shapes) for name, shapes in LINEAR.items()),
    *ufunc(F.sigmoid, ANY),
    *ufunc(activations.leaky, NONZERO, ANY, kinks=[((np.zeros(1), np.array([0.1])), ([0.1], [0.0]))]),
    *ufunc(F.elu, NONZERO, kinks=[((np.zeros(1),), ([1.0],))]),
    case(F.elu, "alpha", lambda x: F.elu(x, 0.5), ((3, 4), NONZERO), kinks=[((np.zeros(1),), ([0.5],))]),
    *ufunc(F.hardtanh, Domain(avoid=(-1.0, 1.0)), kinks=[((np.array([-1.0, 1.0]),), ([0.0, 0.0],))]),
    *ufunc(activations.log1p_exp, ANY),
    *ufunc(activations.normal_cdf, ANY),
    *ufunc(activations.normal_density, ANY),
    *ufunc(activations.logistic_cdf, ANY),
    *(
        case(function, name, lambda x, axis=axis, function=function: function(x, axis=axis), (3, 4))
        for function in (F.softmax, F.log_softmax)
        for name, axis in AXES.items()
    ),
    *(case(function, "0-d", function, ()) for function in (F.softmax, F.log_softmax)),
    *(
        case(
            normalized,
            name,
            lambda x, weight, bias, axes=axes, centred=centred: normalize(x, weight, bias, axes, 0.1, centred)[0],
            (shape, DISTINCT),
            own,
            own,
        )
        for name, (axes, centred, shape, own) in NORMALIZED.items()
    ),
    case(normalized, "no-weight", lambda x: normalize(x, None, None, (-1,), 0.1)[0], ((3, 4), DISTINCT)),
    case(looked_up, "rows", lambda weight: F.embedding(LABELS[:, None], weight), (3, 2)),
    case(looked_up, "no-padding-picked", lambda weight: F.embedding(LABELS[:3], weight, padding_idx=1), (3, 2)),
    case(looked_up, "empty", lambda weight: F.embedding(LABELS[:0], weight), (3, 2)),
    *(case(F.sse_loss, name, F.sse_loss, shape, shape) for name, shape in SHAPES.items()),
    *(
        case(F.sse_loss, how, lambda x, y, how=how: F.sse_loss(x, y, reduction=how), (2, 3), (2, 3))
        for how in ("mean", "none")
    ),
    case(losses.bent, "line", lambda x: losses.bent(x, 0.5), ((3, 4), Domain(avoid=(-0.5, 0.5)))),
    *ufunc(losses.binary_entropy, Domain(0.05, 0.95), Domain(0.05, 0.95)),
    *ufunc(losses.logistic_loss, NONZERO, Domain(0.05, 0.95)),
    case(F.softmax_cross_entropy, "batch", lambda x: F.softmax_cross_entropy(x, LABELS, highest(x)), (4, 3)),
    case(F.softmax_cross_entropy, "wide", lambda x: F.softmax_cross_entropy(x, LABELS, highest(x)), ((4, 3), WIDE)),
    case(
        F.softmax_cross_entropy,
        "one-class",
        lambda x: F.softmax_cross_entropy(x, np.zeros(4, int), highest(x)),
        (4, 1),
    ),
    case(F.softmax_cross_entropy, "empty", lambda x: F.softmax_cross_entropy(x, LABELS[:0], highest(x)), (0, 3)),
]
