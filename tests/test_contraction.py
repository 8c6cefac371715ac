"""Contractions as matrix products: every call gives what NumPy's own loops give, errors
included.

Owns: the plans of `microgradnd/contraction.py`, eager and compiled.
Must not own: the derivatives of products (`test_laws.py`, `test_linalg.py`).
Read next: `test_linalg.py`.

The operands here are small, so most tests lower the number of products from which there
is a plan.
"""

import contextlib
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.lib import NumpyVersion

import microgradnd as mg
from microgradnd import contraction
from microgradnd.testing import check_grads
from tests.test_linalg import contractions

TOLERANCE = {"f": 1e-4, "F": 1e-4, "d": 1e-12, "D": 1e-12}
LAYOUTS = {
    "C": lambda x: x,
    "F": lambda x: np.array(x, order="F"),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    "reversed": lambda x: np.flip(np.flip(x).copy()),
    "copied": lambda x: np.broadcast_to(x[:1], x.shape) if x.ndim and x.shape[0] > 1 else x,
}


@contextlib.contextmanager
def plans_for_all():
    """Plan contractions of any size."""
    before = contraction.SMALL, contraction.LONG, contraction.MATRIX
    contraction.SMALL, contraction.LONG, contraction.MATRIX = 1, 2, 1
    contraction.plan.cache_clear()
    try:
        yield
    finally:
        contraction.SMALL, contraction.LONG, contraction.MATRIX = before
        contraction.plan.cache_clear()


def compare(got, want):
    if NumpyVersion(np.__version__) >= "2.1.0":  # NumPy 2.0 returns some arrays of no dimension
        assert type(got) is type(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    tolerance = TOLERANCE.get(want.dtype.char, 0)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def of_shape(shape, dtype="d", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.5, 1.5, shape)
    return (x * (1 + 0.5j) if np.dtype(dtype).kind == "c" else x).astype(dtype)


# Against NumPy


@st.composite
def pairs(draw):
    """Return subscripts and shapes of two operands that share indices in each possible
    way, in any order.
    """
    letters = iter("abcdefghijklmnop")
    groups = [[next(letters) for _ in range(draw(st.integers(0, 2)))] for _ in range(6)]
    batch, inner, rows, columns, lone_x, lone_y = groups
    words = [draw(st.permutations(w)) for w in (batch + inner + rows + lone_x, batch + inner + columns + lone_y)]
    result = draw(st.permutations(batch + rows + columns))
    sizes = {c: draw(st.integers(1, 3)) for group in groups for c in group}
    broadcast = [{c for c in batch + inner if draw(st.integers(0, 5)) == 0} for _ in words]
    shapes = [tuple(1 if c in ones else sizes[c] for c in w) for w, ones in zip(words, broadcast, strict=True)]
    return f"{''.join(words[0])},{''.join(words[1])}->{''.join(result)}", tuple(shapes)


@given(pairs())
@example(("bij,bj->bi", ((2, 3, 2), (2, 2))))
@example(("bj,bji->bi", ((2, 3), (2, 3, 2))))
@example(("bij,bjk->bik", ((1, 3, 2), (1, 2, 3))))
@example(("bij,bjk->bik", ((1, 3, 2), (2, 2, 3))))
def test_plans_of_two_operands(pair):
    subscripts, shapes = pair
    operands = [of_shape(shape, seed=i) for i, shape in enumerate(shapes)]
    with plans_for_all():
        compare(contraction.einsum(subscripts, *operands), np.einsum(subscripts, *operands))


@given(
    contractions(),
    st.lists(st.sampled_from("fdFD"), min_size=3, max_size=3),
    st.lists(st.sampled_from([*LAYOUTS]), min_size=3, max_size=3),
    st.sampled_from([False, True, "greedy"]),
)
@example(("ij,jk->ki", [of_shape((3, 2)), of_shape((2, 3))]), "ddd", ["C"] * 3, False)
@example(("ab,a->b", [of_shape((1, 3)), of_shape(2)]), "dfd", ["C"] * 3, False)
@example(("ab,ab->", [of_shape((3, 3)), of_shape((3, 3))]), "ddd", ["C", "F", "C"], False)
@example(("ab,cb,ad->", [of_shape((2, 3)), of_shape((1, 3)), of_shape((2, 1))]), "dFd", ["F"] * 3, False)
def test_plans_give_what_numpy_gives(found, dtypes, layouts, optimize):
    subscripts, operands = found
    operands = [LAYOUTS[layout](x.astype(d)) for x, d, layout in zip(operands, dtypes, layouts, strict=False)]
    with plans_for_all():
        compare(contraction.einsum(subscripts, *operands, optimize=optimize), np.einsum(subscripts, *operands))


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from("fdFD"), st.sampled_from([*LAYOUTS]), st.integers(0, 99))
def test_dot_and_inner_of_any_dimensions(n, m, dtype, layout, seed):
    sides = np.random.default_rng(seed).integers(1, 4, size=n + m).tolist()
    x, y = sides[:n], sides[n:]
    with plans_for_all():
        for function, along in ((np.dot, max(m - 2, 0)), (np.inner, m - 1)):
            y[along] = x[-1]
            pair = [LAYOUTS[layout](of_shape(shape, dtype)) for shape in (x, y)]
            planned = {np.dot: contraction.dot, np.inner: contraction.inner}[function]
            compare(planned(*pair), function(*pair))
            y = sides[n:]


@given(st.integers(0, 3), st.data())
def test_the_subscripts_of_tensordot(n, data):
    x = data.draw(st.lists(st.integers(1, 3), min_size=n, max_size=4))
    of_x = data.draw(st.permutations(range(len(x))))[:n]
    y = data.draw(st.lists(st.integers(1, 3), min_size=n, max_size=4))
    of_y = data.draw(st.permutations(range(len(y))))[:n]
    for i, j in zip(of_x, of_y, strict=True):
        y[j] = x[i]
    pair, axes = (of_shape(x), of_shape(y)), (of_x, [j - len(y) for j in of_y])
    subscripts = contraction.of_tensordot(tuple(x), tuple(y), axes)
    compare(np.einsum(subscripts, *pair), np.tensordot(*pair, axes)[()])


@given(contractions())
def test_derivatives_by_plans(found):
    subscripts, operands = found
    with plans_for_all():
        check_grads(lambda *xs: np.einsum(subscripts, *xs), *operands)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (np.dot, ((2, 3, 4), (4, 2))),
        (np.dot, ((3,), (2, 3, 4))),
        (np.dot, ((2, 1, 3), (2, 3, 2))),
        (np.inner, ((2, 3, 4), (2, 4))),
        (np.matmul, ((2, 2, 3, 4), (4, 2))),
        (np.matmul, ((3, 4), (2, 2, 4, 2))),
        (np.matmul, ((2, 3, 4), (4,))),
        (np.tensordot, ((2, 3, 4), (3, 4, 2))),
    ],
)
def test_derivatives_of_products_by_plans(function, shapes):
    with plans_for_all():
        check_grads(function, *(of_shape(shape, seed=i) for i, shape in enumerate(shapes)))


# What is left to NumPy


@pytest.mark.parametrize("dtypes", ["ll", "ee", "??", "ld", "gg", "GD", "ed"])
def test_other_dtypes_are_left_to_numpy(dtypes):
    x, y = of_shape((3, 4), dtypes[0]), of_shape((4, 2), dtypes[1])
    with plans_for_all():
        assert contraction.contraction(np.einsum, ("ij,jk", x, y), {}) is None
    np.testing.assert_array_equal(contraction.einsum("ij,jk", x, y), np.einsum("ij,jk", x, y), strict=True)


@pytest.mark.parametrize("subscripts", ["ijk,il->k", "ijk,il,->k", "ij,jk,kl->il"])
def test_sums_are_in_the_dtype_of_the_result(subscripts):
    rng = np.random.default_rng(0)
    letters = subscripts.split("->")[0].split(",")
    arrays = [rng.normal(size=(17,) * len(word)).astype(np.float32) for word in letters]
    arrays[1] = arrays[1].astype(float)
    expected = np.einsum(subscripts, *arrays)
    np.testing.assert_allclose(contraction.einsum(subscripts, *arrays), expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("shapes", [((0, 3), (3, 2)), ((2, 0), (0, 2)), ((2, 3, 0), (0, 1)), ((4, 0, 2), (2, 3))])
def test_empty_arrays(shapes):
    pair = [of_shape(shape) for shape in shapes]
    with plans_for_all():
        compare(contraction.dot(*pair), np.dot(*pair))
        compare(contraction.einsum("...j,jk->...k", *pair), np.einsum("...j,jk->...k", *pair))


def test_small_contractions_are_numpys_to_the_last_bit():
    x, y, z = of_shape((15, 15)), of_shape((15, 15), seed=1), of_shape((15,), seed=2)
    t = mg.tensor(x, requires_grad=True)
    np.testing.assert_array_equal(np.einsum("ij,kj->ik", t, y).data, np.einsum("ij,kj->ik", x, y))
    np.testing.assert_array_equal(np.einsum("ij,kj,k->i", t, y, z).data, np.einsum("ij,kj,k->i", x, y, z))


def test_options_and_orders_are_left_to_numpy():
    pair = of_shape((40, 40)), of_shape((40, 40))
    assert contraction.contraction(np.einsum, ("ij,jk", *pair), {}) is not None
    for kwargs in ({"optimize": ["einsum_path", (0, 1)]}, {"dtype": "f"}, {"order": "F"}, {"casting": "safe"}):
        assert contraction.contraction(np.einsum, ("ij,jk", *pair), kwargs) is None


def test_arrays_of_other_libraries_are_left_to_numpy():
    class Foreign:
        dtype, shape, size = np.dtype("d"), (50, 50), 2500

    assert contraction.contraction(np.einsum, ("ij,jk", Foreign(), of_shape((50, 50))), {}) is None


@pytest.mark.parametrize(
    "call",
    [
        ("ij,jk->ik", (20, 30), (20, 30)),  # lengths that don't fit
        ("ij,jk->il", (20, 30), (30, 20)),
        ("ij,jk->ii", (20, 30), (30, 20)),
        ("ij,jk,kl", (20, 30), (30, 20)),
        ("ij", (20, 30), (30, 20)),
        ("ijk,jk", (20, 30), (30, 20)),
        ("i,jk", (20, 30), (30, 20)),
        ("...ij,jk->ik", (2, 20, 30), (30, 20)),  # dots that the result lacks
        ("..ij,jk", (20, 30), (30, 20)),
        ("i1,1k", (20, 30), (30, 20)),
        ("ij,jk- >ik", (20, 30), (30, 20)),
        ("ij,jk->i->k", (20, 30), (30, 20)),
        ("éj,jk", (20, 30), (30, 20)),
    ],
    ids=lambda call: call[0],
)
def test_errors_are_numpys(call):
    subscripts, *shapes = call
    operands = [np.ones(shape) for shape in shapes]
    with pytest.raises(Exception) as theirs:  # noqa: PT011 -- whatever NumPy raises
        np.einsum(subscripts, *operands)
    with pytest.raises(type(theirs.value)) as ours:
        contraction.einsum(subscripts, *operands)
    assert str(ours.value) == str(theirs.value)


def test_errors_of_lists_of_indices_and_of_dot_are_numpys():
    x, y = np.ones((20, 30)), np.ones((30, 20))
    for labels in ([0, 99], [0, "a"], [0], [0, -51], [0, True]):
        with pytest.raises(Exception) as theirs:  # noqa: PT011
            np.einsum(x, labels, y, [1, 2])
        with pytest.raises(type(theirs.value)) as ours:
            contraction.einsum(x, labels, y, [1, 2])
        assert str(ours.value) == str(theirs.value)
    for pair in ((np.ones((20, 30, 1)), np.ones((30, 20))), (np.ones((20, 30, 1)), np.ones((9, 30, 20)))):
        with pytest.raises(ValueError, match="not aligned"):  # 1 isn't broadcast there
            contraction.dot(*pair)
    compare(contraction.einsum(x, [0, 1], y, [1, 26], [26, 0]), np.einsum("AB,Ba->aA", x, y))


# What plans are made of


@pytest.mark.parametrize(
    ("subscripts", "shapes", "functions"),
    [
        ("ij,jk->ik", ((20, 20), (20, 20)), "dot"),
        ("ij,kj->ik", ((20, 20), (20, 20)), "transpose dot"),
        ("ij,j->i", ((90, 90), (90,)), "dot"),
        ("bij,bjk->bik", ((9, 20, 20), (9, 20, 20)), "matmul"),
        ("...ij,jk->...ik", ((9, 20, 20), (20, 20)), "reshape dot reshape"),
        ("bhid,bhjd->bhij", ((2, 4, 20, 8), (2, 4, 20, 8)), "transpose matmul"),
        ("bhwcij,ocij->bhwo", ((4, 6, 6, 3, 3, 3), (8, 3, 3, 3)), "reshape reshape transpose dot reshape"),
        (
            "bohw,bchwij->ocij",
            ((2, 4, 8, 20), (2, 3, 8, 20, 3, 3)),
            "transpose reshape transpose reshape transpose dot reshape",
        ),
        ("ij,jk->i", ((20, 20), (20, 20)), "sum dot"),
        ("bij,bj->bi", ((900, 3, 3), (900, 3)), ""),  # small matrices that would be multiplied one by one
        ("bij,bj->bi", ((9, 40, 40), (9, 40)), "reshape matmul reshape"),
        ("ijb,jkb->ikb", ((3, 3, 900), (3, 3, 900)), ""),
        ("ijb,jkb->ikb", ((20, 20, 9), (20, 20, 9)), "transpose transpose matmul transpose"),
        ("ij,jk->ik", ((90, 1), (90, 90)), ""),  # the sum over j isn't one of products
        ("ij,ij->i", ((90, 90), (90, 90)), ""),
        ("i,j->ij", ((90,), (90,)), ""),
        ("ii,ij->j", ((90, 90), (90, 90)), ""),
        ("ij,ij->", ((90, 90), (90, 90)), ""),
        ("ij,ij->", ((200, 90), (200, 90)), "reshape reshape dot"),
        ("i,ij,j", ((90,), (90, 90), (90,)), "dot einsum"),
        ("ij,jk,kl->il", ((20, 20), (20, 20), (20, 20)), "dot dot"),
        ("ij->j", ((90, 90),), ""),
    ],
)
def test_plans(subscripts, shapes, functions):
    calls = contraction.plan(subscripts, shapes)
    assert " ".join(call.function.__name__ for call in calls) == functions
    operands = [of_shape(shape) for shape in shapes]
    compare(contraction.einsum(subscripts, *operands), np.einsum(subscripts, *operands))
    values = list(operands)
    for function, args, shape in calls:
        values.append(function(*[values[a] if type(a) is contraction.Place else a for a in args]))
        assert values[-1].shape == shape


def test_no_part_of_a_product_takes_much_more_memory_than_its_operands():
    """NumPy's best order multiplies the first two of these, and the last two: to 5.4
    million elements each.
    """
    shapes = ((30, 6000),) * 4
    calls = contraction.plan("ai,bi,ci,di->abcd", shapes)
    assert max(math.prod(call.shape) for call in calls) <= contraction.LARGE
    fewer = contraction.plan("ai,bi,ci,di->abcd", ((30, 4000),) * 4)
    assert len(fewer) > len(calls)


# Derivatives and programs


@pytest.mark.parametrize(
    ("f", "plans"),
    [
        (lambda x, w: np.einsum("bti,io->bto", x, w), 6),  # twice the value, two cotangents, two tangents
        (lambda x, w: np.dot(x, w), 4),  # its cotangents are products of matrices anyway
        (lambda x, w: np.inner(x, w.T), 4),
    ],
)
def test_values_and_both_modes_go_by_plans(f, plans, monkeypatch):
    run, count = contraction.run, []
    monkeypatch.setattr(contraction, "run", lambda *args: count.append(args) or run(*args))
    x, w = of_shape((8, 20, 30)), of_shape((30, 20), seed=1)
    out, pullback = mg.vjp(f, x, w)
    pullback(np.ones_like(out))
    mg.jvp(f, (x, w), (x, w))
    assert len(count) == plans


@pytest.mark.parametrize(
    "f",
    [
        lambda x, w: np.einsum("bti,io->bto", x, w),
        lambda x, w: np.einsum("bti,io,jo->btj", x, w, w),
        lambda x, w: np.einsum("bti,bsi->bts", x, x) + w[0, 0],
        lambda x, w: np.dot(x, w),
        lambda x, w: np.tensordot(x, w, (2, 0)),
        lambda x, w: np.inner(x, w.T),
    ],
)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_compiled_programs_multiply_matrices(f, backend):
    if backend == "numba":
        pytest.importorskip("numba", reason='loops need numba: pip install "microgradnd[numba]"')

    def value_and_gradients(x, w):
        return mg.value_and_grad(lambda x, w: np.sum(f(x, w) ** 2), (0, 1))(x, w)

    compiled = mg.compile(value_and_gradients, backend=backend)
    arrays = of_shape((4, 20, 30)), of_shape((30, 20), seed=1)
    (value, gradients), (expected, wanted) = compiled(*arrays), value_and_gradients(*arrays)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for got, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10)
    assert not [name for name in ("einsum", "tensordot", "np.inner") if name in compiled.source]
