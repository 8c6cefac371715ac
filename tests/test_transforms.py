"""The transforms: structures, nesting, and messages for bad input.

Owns: `grad` and its family on functions whose derivatives are known.
Must not own: derivatives of single functions (`test_laws.py`).
Read next: `test_testing.py`.
"""

import functools
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg

number = st.floats(-2, 2, allow_subnormal=False)


@given(number)
def test_derivatives_of_any_order(x):
    third = mg.grad(mg.grad(mg.grad(np.sin)))
    assert third(x) == pytest.approx(-np.cos(x), abs=1e-12)


def test_numbers_give_numbers_and_arrays_arrays():
    assert isinstance(mg.grad(np.tanh)(0.5), float)
    zero_d = mg.grad(np.tanh)(np.array(0.5))
    assert isinstance(zero_d, np.ndarray)
    assert zero_d.shape == ()
    value, gradient = mg.value_and_grad(lambda x: x.sum())(np.ones(2, np.float32))
    assert value.dtype == gradient.dtype == np.float32
    assert isinstance(gradient, np.ndarray)


@given(number, number)
def test_nested_derivatives_are_not_confused(x, y):
    # Siskind & Pearlmutter (2005), "Perturbation confusion and referential
    # transparency"
    assert mg.grad(lambda x: x * mg.grad(lambda y: x * y)(y))(x) == pytest.approx(2 * x)
    assert mg.grad(lambda x: x * mg.grad(lambda y: x + y)(y))(x) == 1.0
    assert mg.grad(lambda x: mg.grad(lambda y: x * x * y)(x) * y)(x) == pytest.approx(2 * x * y, abs=1e-12)
    assert mg.jvp(lambda x: x * mg.jvp(lambda y: x * y, (y,), (1.0,))[1], (x,), (1.0,))[1] == pytest.approx(2 * x)
    assert mg.grad(lambda x: x * mg.jvp(lambda y: x * y, (y,), (1.0,))[1])(x) == pytest.approx(2 * x)
    assert mg.jvp(lambda x: x * mg.grad(lambda y: x * y)(y), (x,), (1.0,))[1] == pytest.approx(2 * x)


def test_a_gradient_inside_a_gradient():
    assert mg.grad(lambda x: x * mg.grad(lambda y: x * y)(x))(3.0) == 6.0


NESTED = {
    "grad": lambda f, y: mg.grad(lambda y: np.sum(f(y)))(y),
    "value_and_grad": lambda f, y: mg.value_and_grad(lambda y: np.sum(f(y)))(y)[0],
    "vjp": lambda f, y: mg.vjp(f, y)[1](y)[0],
    "jvp": lambda f, y: mg.jvp(f, (y,), (y,))[1],
    "jacobian": lambda f, y: mg.jacobian(f)(y),
    "hvp": lambda f, y: mg.hvp(lambda y: np.sum(f(y)))(y, y),
    "elementwise_grad": lambda f, y: mg.elementwise_grad(f)(y),
    "vmap": lambda f, y: mg.vmap(mg.grad(f))(y),
}


@pytest.mark.parametrize("name", NESTED)
def test_a_derivative_within_gives_numbers(name):
    y = np.array([0.5, 1.5])

    def f(x):
        return np.sum(NESTED[name](lambda y: y**3 * x, y)) * x  # proportional to x**2

    value, gradient = mg.value_and_grad(f)(3.0)
    for found, want in (
        (gradient, 2 * value / 3),
        (mg.jvp(f, (3.0,), (1.0,))[1], 2 * value / 3),
        (mg.grad(mg.checkpoint(f))(3.0), 2 * value / 3),
        (mg.grad(mg.grad(f))(3.0), 2 * value / 9),
    ):
        assert isinstance(found, np.float64)
        assert found == pytest.approx(want)
    x = mg.tensor(3.0, requires_grad=True)
    f(x).backward()
    assert x.grad == pytest.approx(2 * value / 3)


def test_a_variable_made_within_stays_outside():
    made = []

    def f(x):
        made.append(mg.tensor(2.0, requires_grad=True))
        return x * made[0] ** 2

    mg.grad(f)(3.0).backward()
    assert made[0].grad == 4.0


@pytest.mark.parametrize("around", [lambda f: f, mg.checkpoint])
def test_hooks_of_an_argument(around):
    def f(x):
        x.register_hook(lambda g: 10 * g)
        return np.sum(x * x)

    x = np.array([1.0, 2.0])
    assert mg.grad(around(f))(x).tolist() == [20.0, 40.0]
    assert mg.hessian(around(f))(x).tolist() == [[20.0, 0.0], [0.0, 20.0]]
    assert mg.compile(mg.grad(around(f)))(x).tolist() == [20.0, 40.0]


def test_argnums():
    f = lambda x, y: x * y**2  # noqa: E731 -- two derivatives of one expression
    assert mg.grad(f)(2.0, 3.0) == 9.0
    assert mg.grad(f, 1)(2.0, 3.0) == 12.0
    assert mg.grad(f, -1)(2.0, 3.0) == mg.grad(f, np.int64(1))(2.0, 3.0) == mg.jacobian(f, np.int8(1))(2.0, 3.0) == 12.0
    assert mg.grad(f, (1, 0))(2.0, 3.0) == (12.0, 9.0)
    with pytest.raises(ValueError, match=r"argnums .* got 2"):
        mg.grad(f, 2)(2.0, 3.0)
    with pytest.raises(ValueError, match="argnums"):
        mg.grad(f, ())(2.0, 3.0)


def test_structures():
    params = {"w": np.array([1.0, 2.0]), "b": (3.0, [np.ones(())])}
    value, gradient = mg.value_and_grad(lambda p: np.sum(p["w"] ** 2) * p["b"][0] + p["b"][1][0])(params)
    assert value == 16.0
    np.testing.assert_array_equal(gradient["w"], [6.0, 12.0])
    assert gradient["b"][0] == 5.0
    assert gradient["b"][1][0] == 1.0
    assert list(params["w"]) == [1.0, 2.0]


def test_has_aux():
    (value, aux), gradient = mg.value_and_grad(lambda x: (x**2, {"x": x}), has_aux=True)(3.0)
    assert (value, aux["x"], gradient) == (9.0, 3.0, 6.0)
    gradient, aux = mg.grad(lambda x: (x**2, "note"), has_aux=True)(3.0)
    assert (gradient, aux) == (6.0, "note")
    with pytest.raises(TypeError, match=r"\(value, aux\)"):
        mg.grad(lambda x: x, has_aux=True)(3.0)


def test_a_constant_has_gradient_zero():
    assert mg.grad(lambda x: 3.0)(1.0) == 0.0
    np.testing.assert_array_equal(mg.hessian(lambda x: np.sum(x))(np.ones(2)), np.zeros((2, 2)))
    assert mg.jvp(lambda x: 3.0, (1.0,), (1.0,))[1] == 0.0


def test_a_gradient_is_the_callers_own():
    x = np.ones(3)
    first = mg.grad(lambda v: np.sum(v))(x)
    first += 1
    assert mg.grad(lambda v: np.sum(v))(x).tolist() == [1.0, 1.0, 1.0]
    assert not np.shares_memory(mg.grad(lambda v: np.sum(v * v))(x), x)


def test_messages():
    with pytest.raises(TypeError, match=r"one real number.*shape \(3,\).*mg\.jacobian"):
        mg.grad(lambda x: x * 2)(np.ones(3))
    with pytest.raises(TypeError, match=r"one real number.*complex128"):
        mg.grad(lambda x: x * 1j)(1.0)
    with pytest.raises(TypeError, match="floating-point") as caught:
        mg.grad(lambda x: np.sum(x))(np.arange(3))
    assert "argument 0" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match=r"cotangent must.*\(3,\).*\(2,\)"):
        mg.vjp(np.sin, np.ones(3))[1](np.ones(2))
    with pytest.raises(ValueError, match=r"tangent must.*\(3,\).*\(2,\)"):
        mg.jvp(np.sin, (np.ones(3),), (np.ones(2),))
    with pytest.raises(ValueError, match="1 primals and 2 tangents"):
        mg.jvp(np.sin, (1.0,), (1.0, 1.0))
    with pytest.raises(ValueError, match="structure"):
        mg.jvp(lambda p: p[0], ((1.0, 2.0),), (1.0,))
    with pytest.raises(ValueError, match="structure"):
        mg.vjp(lambda x: (x, x), 1.0)[1](1.0)
    with pytest.raises(ValueError, match="mode"):
        mg.jacobian(np.sin, mode="both")


def test_a_pullback_can_be_called_again():
    value, pullback = mg.vjp(lambda x, y: {"p": x * y, "s": x + y}, np.array([1.0, 2.0]), 3.0)
    assert value["p"].tolist() == [3.0, 6.0]
    for _ in range(2):
        gx, gy = pullback({"p": np.array([1.0, 0.0]), "s": np.array([0.0, 1.0])})
        assert gx.tolist() == [3.0, 1.0]
        assert gy == 2.0


@pytest.mark.parametrize("mode", [None, "rev", "fwd"])
def test_jacobian(mode):
    x = np.array([0.5, 1.5])
    found = mg.jacobian(lambda x: {"a": np.outer(x, x) if False else x[:, None] * x, "b": x.sum()}, mode=mode)(x)
    expected = np.einsum("ik,j->ijk", np.eye(2), x) + np.einsum("jk,i->ijk", np.eye(2), x)
    np.testing.assert_allclose(found["a"], expected)
    np.testing.assert_allclose(found["b"], np.ones(2))
    first, second = mg.jacobian(lambda x, y: x * y, (0, 1), mode=mode)(x, 2.0)
    np.testing.assert_allclose(first, 2 * np.eye(2))
    np.testing.assert_allclose(second, x)
    assert mg.jacobian(np.sin, mode=mode)(np.zeros(0)).shape == (0, 0)


@pytest.mark.parametrize("mode", ["rev", "fwd"])
def test_jacobians_of_complex_functions(mode):
    """Of a holomorphic function it is the derivative; of a real part, d/dx - i d/dy."""
    z = np.array([1 + 2j, 3 - 1j])
    jacobian = functools.partial(mg.jacobian, mode=mode)
    np.testing.assert_allclose(jacobian(lambda z: z**2)(z), np.diag(2 * z))
    np.testing.assert_allclose(jacobian(lambda z: np.real(z**2))(z), np.diag(2 * z))
    np.testing.assert_allclose(jacobian(lambda x: x**2 * (1 + 2j))(z.real), np.diag(2 * z.real * (1 + 2j)))
    np.testing.assert_allclose(mg.compile(jacobian(lambda z: z**2))(z), np.diag(2 * z))


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_hessian(x):
    n = len(x)
    hessian = np.diag(-400 * x[:-1], 1) + np.diag(-400 * x[:-1], -1)
    diagonal = np.full(n, 200.0)
    diagonal[0] = 0.0
    diagonal[:-1] += 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    return hessian + np.diag(diagonal)


@given(st.lists(number, min_size=2, max_size=6), st.integers(0, 100))
def test_hessian_and_hvp(values, seed):
    x = np.array(values)
    expected = rosenbrock_hessian(x)
    np.testing.assert_allclose(mg.hessian(rosenbrock)(x), expected, atol=1e-9)
    v = np.random.default_rng(seed).normal(size=x.shape)
    np.testing.assert_allclose(mg.hvp(rosenbrock)(x, v), expected @ v, atol=1e-8)


def test_elementwise_grad():
    x = np.linspace(-2, 2, 7)
    np.testing.assert_allclose(mg.elementwise_grad(np.tanh)(x), 1 - np.tanh(x) ** 2)
    np.testing.assert_allclose(mg.elementwise_grad(mg.elementwise_grad(np.sin))(x), -np.sin(x))
    np.testing.assert_allclose(mg.elementwise_grad(lambda x, y: x * y)(x, 3.0), np.full(7, 3.0))
    by_y, by_both = mg.elementwise_grad(np.multiply, 1), mg.elementwise_grad(np.multiply, argnums=(1, 0))
    np.testing.assert_array_equal(by_y(x, 2 * x), x)
    np.testing.assert_array_equal(mg.vmap(by_y)(x, 2 * x), x)
    np.testing.assert_array_equal(np.stack(by_both(x, 2 * x)), [x, 2 * x])
    np.testing.assert_array_equal(np.stack(mg.compile(by_both)(x, 2 * x)), [x, 2 * x])


def test_closures_over_variables():
    w = mg.tensor(2.0, requires_grad=True, name="w")
    slope = mg.grad(lambda x: w * x**2)(3.0)
    assert isinstance(slope, mg.Tensor)
    slope.backward()
    assert w.grad == 6.0
    with mg.no_grad():
        assert mg.grad(lambda x: w * x**2)(3.0) == 12.0
    assert w.grad == 6.0


def test_a_pullback_is_linear_in_its_cotangent():
    _, pullback = mg.vjp(np.sin, 0.5)
    assert mg.grad(lambda g: pullback(g * g)[0])(3.0) == pytest.approx(6 * np.cos(0.5))
    assert mg.grad(lambda t: mg.jvp(np.sin, (0.5,), (t,))[1])(1.0) == pytest.approx(np.cos(0.5))


def test_the_leaves_outside_get_no_gradient_from_a_transform():
    w = mg.tensor(2.0, requires_grad=True)
    mg.grad(lambda x: w * x)(3.0)
    assert w.grad is None


def test_an_input_is_a_result():
    assert mg.grad(lambda x: x * mg.grad(lambda y: y)(x))(3.0) == 1.0
    assert mg.grad(lambda x: x * mg.jvp(lambda y: y, (x,), (x,))[1])(3.0) == 6.0


def test_a_pullback_of_a_variable_is_recorded_wherever_it_is_called():
    x = mg.tensor(0.5, requires_grad=True)
    _, pullback = mg.vjp(np.sin, x)
    with mg.no_grad():
        (slope,) = pullback(1.0)
    slope.backward()
    assert x.grad == pytest.approx(-np.sin(0.5))


@pytest.mark.parametrize("both", [np.multiply, lambda x, w: np.concatenate([x, w])], ids=["rules", "a joint rule"])
def test_a_tangent_passes_no_operation_that_used_an_older_value(both):
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")

    def f(x):
        y = np.sum(both(x, w))
        with mg.no_grad():
            w[:] = 5.0
        return y

    with pytest.raises(RuntimeError, match="'w' of shape"):
        mg.jvp(f, (np.ones(2),), (np.ones(2),))


def test_transforms_record_under_no_grad():
    with mg.no_grad():
        assert mg.grad(np.sin)(0.0) == 1.0
        assert mg.grad(mg.grad(np.sin))(0.5) == pytest.approx(-np.sin(0.5))


def test_transforms_keep_the_functions_name():
    def energy(x):
        """Return the energy."""
        return x**2

    assert mg.grad(energy).__name__ == "energy"


def test_keywords_are_passed_on():
    assert mg.grad(lambda x, scale: x * scale)(1.0, scale=3.0) == 3.0


@pytest.mark.parametrize("second", [mg.hessian, lambda f: lambda x: mg.hvp(f)(x, 1.0)])
def test_second_derivatives_lose_no_number_of_a_rule(second):
    @mg.primitive
    def cube(x):
        return x**3

    mg.defvjp(cube, lambda g, out, x: g * 3 * float(x) ** 2)
    with pytest.raises(TypeError, match="leave the tape"):
        second(cube)(2.0)
    with mg.no_grad():
        assert second(lambda x: x**3)(2.0) == 12.0


def test_the_hessian_by_another_argument():
    f = lambda x, y: np.sum(x**2) * np.sum(y**3)  # noqa: E731
    x, y = np.array([1.0, 2.0]), np.array([0.5, -1.0])
    np.testing.assert_allclose(mg.hessian(f, 1)(x, y), np.diag(6 * y) * 5.0)
    np.testing.assert_allclose(mg.hessian(f, 0)(x, y), 2 * np.eye(2) * np.sum(y**3))


@given(st.lists(st.floats(-3, 3), min_size=5, max_size=5), st.booleans())
def test_equal_results_add_their_cotangents(g, outside):
    """Even if one is an argument that other results depend on."""
    w = mg.tensor(2.0, requires_grad=outside)

    def f(x):
        y = x * w
        return x, y, x, y, y * y

    _, pullback = mg.vjp(f, 3.0)
    (by_x,) = pullback(tuple(map(np.asarray, g)))
    np.testing.assert_allclose(float(mg.tensor(by_x).item()), g[0] + g[2] + 2 * (g[1] + g[3]) + 24 * g[4], atol=1e-9)


def test_a_tangent_has_the_dtype_and_shape_of_its_value():
    @mg.primitive
    def double(x, y):
        return 2 * x + 0 * y

    mg.defjvp(double, lambda t, out, x, y: t * np.float64(2.0), lambda t, out, x, y: 0 * t)
    x, y = np.ones(3, np.float32), np.ones((2, 1), np.float32)
    value, tangent = mg.jvp(double, (x, y), (x, y))
    assert (tangent.shape, tangent.dtype) == (value.shape, value.dtype) == ((2, 3), np.float32)
    np.testing.assert_array_equal(tangent, np.full((2, 3), 2.0))


def test_an_argument_is_named_once():
    for argnums in ((0, 0), (0, -2), [1, 1]):
        with pytest.raises(ValueError, match="argnums must name each argument once"):
            mg.grad(lambda x, y: x * y, argnums)(1.0, 2.0)


def test_a_small_argument_may_be_changed_after_the_call():
    x = np.array([1.0, 2.0])
    _, pullback = mg.vjp(lambda x: x * x, x)
    x[:] = 0.0
    np.testing.assert_array_equal(pullback(np.ones(2))[0], [2.0, 4.0])


def test_a_large_argument_that_has_changed_is_refused():
    x = np.ones(10_000)
    _, pullback = mg.vjp(lambda x: x * x, x)
    np.testing.assert_array_equal(pullback(x)[0], 2 * x)
    x[:] = 0.0
    with pytest.raises(RuntimeError, match=r"shape \(10000,\), was changed after"):
        pullback(np.ones(10_000))


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_gradient_is_copied_only_if_something_else_holds_it(is_kept):
    made = []

    @mg.primitive
    def doubled(x):
        return np.sum(2 * x)

    def rule(g, out, x):
        gradient = np.full(x.shape, 2.0)
        made.append(gradient if is_kept else weakref.ref(gradient))
        return gradient

    mg.defvjp(doubled, rule)
    found = mg.grad(doubled)(np.ones(3))
    assert found.tolist() == [2.0, 2.0, 2.0]
    assert found is not made[0] if is_kept else found is made[0]()
