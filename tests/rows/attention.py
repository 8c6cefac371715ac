"""Rows of attention: see `microgradnd/nn/attention.py`.

Owns: their shapes and masks.
Must not own: what their values should be (`tests/test_attention.py`).
Read next: `functional.py`.
"""

import numpy as np

from microgradnd.nn.attention import attention, attention_weights
from microgradnd.nn.functional import scaled_dot_product_attention
from tests.rows import Row, case

SHAPES = {  # of query, key and value
    "matrices": ((2, 3), (4, 3), (4, 2)),
    "heads": ((2, 2, 3, 2), (2, 2, 2, 2), (2, 2, 2, 1)),
    "broadcast": ((2, 2, 2), (3, 2), (1, 3, 2)),
    "one-key": ((2, 1), (1, 1), (1, 1)),
    "no-query": ((0, 2), (3, 2), (3, 2)),
    "empty-batch": ((0, 2, 2), (0, 3, 2), (0, 3, 2)),
}
HIDDEN = np.array([[True, False, True, False], [False, False, False, False]])  # the second row sees nothing
ONES = (np.ones((2, 3)), np.ones((4, 3)), np.ones((4, 2)))
KEPT = np.array([[2.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]])  # by dropout

ROWS: list[Row] = [
    *(case(attention, name, scaled_dot_product_attention, *shapes) for name, shapes in SHAPES.items()),
    case(
        attention,
        "causal",
        lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3),
        *((2, 3, 2), (2, 3, 2), (2, 3, 1)),
    ),
    case(
        attention,
        "hidden-row",
        lambda q, k, v: scaled_dot_product_attention(q, k, v, HIDDEN),
        *SHAPES["matrices"],
        kinks=[(ONES, (np.zeros((2, 3)), np.zeros((4, 3)), np.array([[0.5], [0.0], [0.5], [0.0]]) * np.ones(2)))],
    ),
    case(attention, "added", scaled_dot_product_attention, *((2, 2, 3), (2, 3, 3), (2, 3, 1), (2, 3))),
    case(attention, "kept", lambda q, k, v: attention(q, k, v, None, KEPT, 0.7), *SHAPES["matrices"]),
    case(attention_weights, "matrices", lambda q, k: attention_weights(q, k, None, 0.7), (2, 3), (4, 3)),
    case(attention_weights, "added", lambda q, k, m: attention_weights(q, k, m, 0.7), (2, 2, 3), (1, 3, 3), (2, 3)),
]
