"""All of NumPy is in the table: every function is differentiated, or says why it isn't.

Owns: the walk over NumPy's public functions.
Must not own: whether the derivatives are right (`test_laws.py`).
Read next: `test_laws.py`.
"""

import types

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import registry

MODULES = (np, np.linalg, np.fft)
FUNCTIONS = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in MODULES
    for name in dir(module)
    if not name.startswith("_") and callable(getattr(module, name)) and not isinstance(getattr(module, name), type)
}
DIFFERENTIABLE = set(registry.VJPS) | set(registry.COMPOSITES) | registry.CONSTANT


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_differentiated_or_says_why_not(name):
    function = FUNCTIONS[name]
    places = [function in DIFFERENTIABLE, function in registry.PLAIN, function in registry.EXCLUDED]
    assert sum(places) == 1, "in no table, or in several"


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if FUNCTIONS[name] in registry.EXCLUDED])
def test_excluded_functions_raise_their_reason(name):
    function = FUNCTIONS[name]
    t = mg.tensor([1.0, 2.0], requires_grad=True)
    reason = registry.EXCLUDED[function]
    assert len(reason.split()) > 3
    with pytest.raises(NotImplementedError, match=r"t\.data") as caught:
        t.__array_function__(function, (), (t,), {})
    assert reason in str(caught.value)


def test_all_ufuncs_are_known():
    ufuncs = [f for f in FUNCTIONS.values() if isinstance(f, np.ufunc)]
    known = {f for f in ufuncs if f in registry.VJPS or f in registry.COMPOSITES}
    assert len(known) >= 58
    assert all(f in known or f in registry.PLAIN or f in registry.EXCLUDED for f in ufuncs)


def test_modules_are_not_functions():
    assert not any(isinstance(f, types.ModuleType) for f in FUNCTIONS.values())
