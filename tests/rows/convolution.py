"""Rows of convolution and pooling: see `nn/convolution.py` and `nn/pooling.py`.

Owns: their shapes, settings and ties.
Must not own: what their values should be (`tests/test_convolution.py`).
Read next: `tests/test_laws.py`.
"""

import functools

import numpy as np

from microgradnd.nn import functional as F
from microgradnd.nn.convolution import conv, conv_transpose, conv_weight
from microgradnd.nn.pooling import max_pool, picked, returned
from tests.rows import DISTINCT, Row, case

SETTINGS = {  # shapes of x, weight and bias, and the settings
    "images": ((2, 2, 3, 4), (3, 2, 2, 3), (3,), {}),
    "padded": ((1, 1, 2, 2), (1, 1, 3, 3), (1,), {"padding": 1}),
    "same": ((1, 1, 3, 3), (1, 1, 2, 2), (1,), {"padding": "same"}),
    "steps": ((1, 2, 5, 4), (2, 2, 2, 2), (2,), {"stride": (2, 1), "dilation": (1, 2), "padding": (0, 1)}),
    "groups": ((2, 4, 2, 3), (2, 2, 2, 2), (2,), {"groups": 2}),
    "single": ((2, 3, 3), (1, 2, 2, 2), (1,), {}),
    "empty": ((0, 1, 3, 3), (2, 1, 2, 2), (2,), {}),
}
TRANSPOSED = {
    "images": ((2, 2, 2, 2), (2, 1, 2, 3), (1,), {}),
    "steps": ((1, 2, 2, 2), (2, 1, 2, 3), (2,), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    "spread": ((1, 1, 2, 2), (1, 1, 2, 2), (1,), {"dilation": 2, "output_padding": 1}),
    "single": ((1, 2, 2), (1, 2, 1, 2), (2,), {}),
}
HOW = {"stride": (2,), "padding": ((1, 0),), "dilation": (1,), "groups": 2}
POOLS = {
    "images": ((2, 2, 4, 5), {"kernel_size": 2}),
    "padded": ((1, 1, 3, 4), {"kernel_size": (2, 3), "stride": 1, "padding": 1}),
    "ceil": ((1, 1, 5, 4), {"kernel_size": 3, "stride": 2, "padding": (1, 0), "ceil_mode": True}),
    "single": ((2, 2, 2), {"kernel_size": 2}),
    "empty": ((0, 1, 2, 2), {"kernel_size": 2}),
}
TAPS = np.array([[[0, 1], [1, 0]]])
WINDOWS = {"kernel": (2,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}

ROWS: list[Row] = [
    *(
        case(conv, name, functools.partial(F.conv2d, **settings), *shapes)
        for name, (*shapes, settings) in SETTINGS.items()
    ),
    case(conv, "sequences", functools.partial(F.conv1d, stride=2), (2, 2, 5), (2, 2, 3)),
    *(
        case(conv_transpose, name, functools.partial(F.conv_transpose2d, **settings), *shapes)
        for name, (*shapes, settings) in TRANSPOSED.items()
    ),
    case(conv_weight, "sequences", lambda x, g: conv_weight(x, g, (2,), **HOW), (2, 4, 4), (2, 2, 2)),
    *(
        case(max_pool, name, functools.partial(F.max_pool2d, **settings), (shape, DISTINCT))
        for name, (shape, settings) in POOLS.items()
    ),
    *(
        case(picked, name, functools.partial(F.avg_pool2d, **settings), shape)
        for name, (shape, settings) in POOLS.items()
    ),
    case(picked, "places", lambda x: picked(x, TAPS, **WINDOWS), (1, 2, 3)),
    case(returned, "places", lambda g: returned(g, TAPS, (3,), **WINDOWS), (1, 2, 2)),
    case(
        max_pool,
        "ties",
        functools.partial(F.max_pool1d, kernel_size=2),
        ((1, 1, 4), DISTINCT),
        kinks=[  # the first of several equal elements, or NaN, gets the gradient
            ((np.array([[[1.0, 1.0, 2.0, 3.0]]]),), (np.array([[[1.0, 0.0, 0.0, 1.0]]]),)),
            ((np.array([[[-np.inf, -np.inf, np.nan, np.nan]]]),), (np.array([[[1.0, 0.0, 1.0, 0.0]]]),)),
        ],
    ),
]
