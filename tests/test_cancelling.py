"""Sums that are always 0: the algebra, and the derivatives without them.

Owns: the terms of random programs, and derivatives by maxima that must stay.
Must not own: softmax in other words (`test_spellings.py`).
Read next: `test_spellings.py`.
"""

from fractions import Fraction

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import primitives
from microgradnd.compiler import cancelling
from microgradnd.compiler.program import Step, Value

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 4))


def evaluated(terms, arrays):
    """Return the value of terms, for the arrays of the values in them."""

    def factor(what, shape):
        if isinstance(what, Value):
            return arrays[what].reshape(shape)
        axis, powers = what
        if isinstance(axis, str):  # a constant
            return np.frombuffer(powers, axis).reshape(shape)
        return np.sum(product(powers), axis=axis, keepdims=True).reshape(shape)

    def product(powers):
        return np.prod(np.broadcast_arrays(1.0, *(factor(*one) ** n for one, n in powers)), axis=0)

    return sum((float(count) * product(powers) for powers, count in terms.items()), start=np.zeros(()))


STEPS = {
    "add": lambda x, y: (np.add, (x, y), {}),
    "subtract": lambda x, y: (np.subtract, (x, y), {}),
    "multiply": lambda x, y: (np.multiply, (x, y), {}),
    "divide": lambda x, y: (np.divide, (x, y), {}),
    "negative": lambda x, y: (np.negative, (x,), {}),
    "times a number": lambda x, y: (np.multiply, (x, 0.3), {}),
    "a number over": lambda x, y: (np.divide, (2, x), {}),
    "sums that stay": lambda x, y: (np.sum, (x,), {"axis": -1, "keepdims": True}),
    "sum": lambda x, y: (np.sum, (x,), {"axis": 0}),
    "sum of everything": lambda x, y: (np.sum, (x,), {}),
    "mean": lambda x, y: (np.mean, (x,), {}),
    "new axis": lambda x, y: (primitives.getitem, (x, (..., None)), {}),
    "first axis": lambda x, y: (primitives.getitem, (x, None), {}),
    "row": lambda x, y: (primitives.getitem, (x, 0), {}),
    "reversed": lambda x, y: (primitives.getitem, (x, slice(None, None, -1)), {}),
    "rows times columns": lambda x, y: (np.multiply, (x, np.arange(1.0, 4)), {}),
    "ones": lambda x, y: (np.reshape, (x, (1, *x.shape, 1)), {}),
    "flat": lambda x, y: (np.reshape, (x, (-1,)), {}),
    "spread": lambda x, y: (primitives.expand, (x, (*x.shape, 3), -1), {}),
    "spread first": lambda x, y: (primitives.expand, (x, (3, *x.shape), 0, False), {}),
    "exp": lambda x, y: (np.tanh, (x,), {}),
}


@pytest.mark.parametrize("seed", range(60))
def test_terms_equal_the_results_of_steps(seed):
    rng = np.random.default_rng(seed)
    arrays = {Value(x.shape, x.dtype): x for x in (rng.uniform(0.5, 2, shape) for shape in ((3, 2), (3, 1), (2,), ()))}
    known, count = {}, 0
    for _ in range(40):
        x, y = (list(arrays)[rng.integers(len(arrays))] for _ in range(2))
        function, args, kwargs = list(STEPS.values())[rng.integers(len(STEPS))](x, y)
        try:
            array = np.array(function(*(arrays[a] if isinstance(a, Value) else a for a in args), **kwargs))
        except (ValueError, IndexError):  # shapes that don't fit
            continue
        if array.size > 200 or array.ndim > 4 or not 1e-6 < np.min(np.abs(array)) < np.max(np.abs(array)) < 1e6:
            continue
        step = Step(function, args, kwargs, Value(array.shape, array.dtype))
        terms = cancelling.result(step, known)
        arrays[step.out] = array
        if terms is not None and len(terms) <= 4:
            known[step.out] = terms
            found = np.broadcast_to(evaluated(terms, arrays), array.shape)
            np.testing.assert_allclose(found, array, rtol=1e-6, atol=1e-6 * np.max(np.abs(array)))
            count += 1
    assert count > 5


def test_numbers_are_exact():
    x = Value((2,), float)
    tenths = cancelling.multiplied(cancelling.terms_of(x, {}), cancelling.terms_of(0.1, {}))
    assert list(tenths.values()) == [Fraction(0.1)]
    assert cancelling.added(tenths, tenths, -1) == {}
    assert cancelling.terms_of(0.0, {}) == {}
    assert cancelling.terms_of(np.inf, {}) != cancelling.terms_of(1.0, {})


def test_products_of_sums():
    x, y = (cancelling.terms_of(Value((2,), float), {}) for _ in range(2))
    squares = cancelling.multiplied(cancelling.added(x, y), cancelling.added(x, y, -1))
    assert squares == cancelling.added(cancelling.multiplied(x, x), cancelling.multiplied(y, y), -1)
    assert cancelling.multiplied(squares, x, -1) != {}


def exponential(x):
    return np.exp(x - np.max(x, axis=-1, keepdims=True))


def total(e):
    return np.sum(e, axis=-1, keepdims=True)


def scaled(x):
    """Return a value whose cotangents are doubled on the way back."""
    if isinstance(x, mg.Tensor) and x.requires_grad:
        x.register_hook(lambda g: 2 * g)
    return x


KEPT = {  # here the maximum has a derivative
    "the sum is detached": lambda x: exponential(x) / total(exponential(x)).detach(),
    "the exponentials above are detached": lambda x: exponential(x).detach() / total(exponential(x)),
    "a hook on the sum": lambda x: (lambda e: e / scaled(total(e)))(exponential(x)),
    "a hook on one use": lambda x: (lambda e: scaled(e * 1.5) / total(e))(exponential(x)),
    "twice the sum above": lambda x: (lambda e: (e + 2 * total(e)) / (total(e) + 1))(exponential(x)),
}
LEFT_OUT = {
    "a hook on the shifted values": lambda x: (lambda e: e / total(e))(np.exp(scaled(x - x.max(-1, keepdims=True)))),
    "a hook on both uses": lambda x: (lambda e: e / total(e))(scaled(exponential(x))),
    "the maximum is detached": lambda x: (lambda e: e / total(e))(np.exp(x - x.detach().max(-1, keepdims=True))),
    "a minimum": lambda x: (lambda e: e / total(e))(np.exp(x - x.min(-1, keepdims=True))),
    "weighted exponentials": lambda x: (lambda e: e / total(e))(exponential(x) * W),
}


@pytest.mark.parametrize(("f", "stays"), [(f, True) for f in KEPT.values()] + [(f, False) for f in LEFT_OUT.values()])
def test_only_sums_that_are_0_are_left_out(f, stays):
    given = np.array(W)

    def step(w):
        loss = np.sum(f(w) * given)
        loss.backward()
        return loss

    eager, compiled = mg.tensor(X, requires_grad=True), mg.tensor(X, requires_grad=True)
    program = mg.compile(step)
    assert abs(float(step(eager)) - float(program(compiled))) < 1e-12
    np.testing.assert_allclose(np.asarray(compiled.grad), np.asarray(eager.grad), rtol=1e-10, atol=1e-12)
    assert ("np.equal(" in program.source) == stays
