"""Rows of recurrent layers: see `microgradnd/nn/recurrent.py`.

Owns: their shapes.
Must not own: what their values should be (`tests/test_recurrent.py`).
Read next: `attention.py`.
"""

from microgradnd.nn.recurrent import CELLS, back_through_time, recurrent, through_time
from tests.rows import UNIT, Domain, Row, case

SIZES = {"": (3, 2, 2), "-one-step": (1, 2, 2), "-one-feature": (2, 1, 1), "-empty-batch": (2, 0, 2)}
POSITIVE = Domain(0.1, 0.9)  # so that no state of a ReLU is at 0


def of_cell(mode: str, size: str, bias: bool = True) -> Row:
    """Return the row of one run along a sequence."""
    time, batch, features = SIZES[size]
    gates, parts, domain = CELLS[mode].gates, CELLS[mode].parts, POSITIVE if mode == "RNN_RELU" else UNIT
    length = gates * features
    shapes = [(time, batch, length), (parts, batch, features), (length, features), (length,)]
    specs = [(shape, domain) for shape in shapes[: 3 + bias]]
    # its second result is for its own derivative, and has none
    return case(recurrent, f"{mode}{size}{'' if bias else '-no-bias'}", lambda *args: recurrent(mode, *args)[0], *specs)


def of_recurrence(function: object, name: str, time: int, batch: int, parts: int, gates: int) -> Row:
    """Return the row of a linear recurrence."""
    features = 2
    states, steps = (1 + time, parts, batch, features), (time, parts, batch, features)
    weight = (gates * features, features)
    return case(function, name, function, states, (time, parts, batch, gates, features), steps, weight)


ROWS: list[Row] = [
    *(of_cell(mode, size) for mode in CELLS for size in SIZES),
    *(of_cell(mode, "", bias=False) for mode in CELLS),
    *(
        of_recurrence(function, name, *sizes)
        for function in (through_time, back_through_time)
        for name, sizes in {"one-part": (3, 2, 1, 2), "two-parts": (2, 1, 2, 3), "empty-batch": (2, 0, 1, 1)}.items()
    ),
]
