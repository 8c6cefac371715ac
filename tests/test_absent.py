"""Names that a Tensor doesn't have: an error says what to write, and nothing else shows
them.
"""

from __future__ import annotations

import inspect
import pydoc
import rlcompleter

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn
from microgradnd.absent import ABSENT, OF_TENSOR, Absent

t = mg.tensor([[1.0]], requires_grad=True)


def test_reading_or_setting_an_absent_name_raises_with_advice() -> None:
    assert {*nn.functional.__all__, *OF_TENSOR, "exp"} - set(dir(mg.Tensor)) <= ABSENT
    for name in ABSENT:
        for change in (lambda name=name: getattr(t, name), lambda name=name: setattr(t, name, 1)):
            with pytest.raises(AttributeError, match=rf"a Tensor has no '{name}': .*; (write|leave) "):
                change()


def test_absent_names_are_nowhere_else() -> None:
    assert not any(hasattr(t, name) or hasattr(mg.Tensor, name) for name in ABSENT)
    assert ABSENT.isdisjoint(dir(t))
    assert ABSENT.isdisjoint(name for name, _ in inspect.getmembers(t) + inspect.getmembers(mg.Tensor))
    assert dir(t) == dir(mg.Tensor)
    completions = rlcompleter.Completer({"t": t}).attr_matches("t.")  # type: ignore[attr-defined]  # not in the stubs
    assert ABSENT.isdisjoint(word.removeprefix("t.").rstrip("()") for word in completions)
    assert not any(f" {name}" in pydoc.render_doc(mg.Tensor) for name in ("clone", "softmax", "tobytes", "Absent"))


def test_a_traced_value_lists_the_names_of_an_array() -> None:
    def count(x):
        return x + len(dir(x))

    assert mg.compile(count)(np.ones(3)).tolist() == count(np.ones(3)).tolist()


def test_python_suggests_names_near_any_other() -> None:
    with pytest.raises(AttributeError) as caught:
        t.reshpe  # type: ignore[attr-defined]  # noqa: B018 -- the misspelling is the test
    assert (caught.value.name, caught.value.obj) == ("reshpe", t)  # which Python's suggestions need


def test_attributes_of_a_tensor_are_read_through_caches() -> None:
    """CPython reads the attributes of a class with a `__getattr__` without them."""
    assert not any("__getattr__" in vars(cls) or "__getattribute__" in vars(cls) for cls in mg.Tensor.__mro__[:-1])
    assert not any(isinstance(vars(mg.Tensor).get(name), Absent) for name in dir(mg.Tensor))
