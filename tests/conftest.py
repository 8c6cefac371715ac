"""Hypothesis profiles: `quick` for `make test`, `thorough` for `make test-thorough`.

`quick` draws the same examples in each run, so that a change is judged by the change;
`thorough` draws others each time, and many. `unshrunk` is for `make mutants`, which
needs a failure, not the smallest one.
"""

import gc
import importlib
import os
import re
import signal
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells switch off in the background

collect_ignore = ["typing"]  # programs for mypy, most of which don't run

settings.register_profile("quick", max_examples=5, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("unshrunk", settings.get_profile("quick"), phases=(Phase.explicit, Phase.generate))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_finish() -> None:
    """Keep the million objects that pytest collected out of the garbage collector."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def default_dtype():
    """Give PyTorch its default dtype back after random programs, for other tests in
    this process.
    """
    torch_side = importlib.import_module("tests.fuzz.torch_side")
    torch_side.torch.cache_clear()
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_default_dtype(sys.modules["torch"].float32)


@pytest.fixture
def interpreted():
    """Run what numba would compile as Python, which takes a hundredth of the time."""
    machine = importlib.import_module("microgradnd.compiler.machine")

    def as_python(parts, name):
        plain = "def njit(*signature, **options):\n    return lambda function: function"
        namespace = {}
        exec(machine.module_text(parts).replace("from numba import njit", plain), namespace)
        namespace.update(largest=np.maximum, smallest=np.minimum)
        return [namespace[re.search(r"^def (\w+)", part, re.MULTILINE)[1]] for part in parts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "compiled", as_python)
        yield
