"""What a type checker knows of functions of functions: the signature stays."""

from typing import Any, reveal_type

import numpy as np
import numpy.typing as npt

import microgradnd as mg

Array = npt.NDArray[np.float64]
x = np.ones(3)


def loss(w: Array, scale: float = 1.0) -> float:
    return float(np.sum(w**2)) * scale


reveal_type(mg.grad(loss))  # -> def (w: NDArray[float64], scale: float =) -> Any
reveal_type(mg.value_and_grad(loss))  # -> def (w: NDArray[float64], scale: float =) -> tuple[float, Any]
reveal_type(mg.value_and_grad(loss)(x, scale=2.0))  # -> tuple[float, Any]
reveal_type(mg.hessian(loss))  # -> def (w: NDArray[float64], scale: float =) -> Any
reveal_type(mg.checkpoint(loss))  # -> def (w: NDArray[float64], scale: float =) -> float
reveal_type(mg.compile(loss)(x))  # -> float
reveal_type(mg.compile(loss).source)  # -> str
reveal_type(mg.compile(mg.value_and_grad(loss), backend="auto")(x))  # -> tuple[float, Any]
reveal_type(mg.vjp(loss, x)[0])  # -> float
reveal_type(mg.jvp(loss, (x,), (x,)))  # -> tuple[float, float]

mg.grad(loss)("x")  # error: arg-type
mg.grad(loss)(x, size=2.0)  # error: call-arg
mg.grad(loss)()  # error: call-arg
mg.value_and_grad(loss)(x, 1.0, 2.0)  # error: call-arg
mg.compile(loss)("x")  # error: arg-type
mg.checkpoint(loss)("x")  # error: arg-type
mg.grad(loss, argnum=1)  # error: call-arg
mg.grad("loss")  # error: arg-type
mg.compile(loss, backend="cuda")  # error: call-overload
mg.compile(loss, optimise=True)  # error: call-overload
mg.jacobian(loss, mode="forward")  # error: arg-type


@mg.primitive
def cube(x: Any, power: int = 3) -> Any:
    return x**power


mg.defvjp(cube, lambda g, out, x, power=3: g * power * x ** (power - 1))
reveal_type(cube)  # -> def (x: Any, power: int =) -> Any
cube(x, powers=2)  # error: call-arg


@mg.compile
def step(w: Array, rate: float) -> Array:
    return w - rate * w


reveal_type(step(x, 0.1))  # -> NDArray[float64]
step(x)  # error: call-arg


@mg.no_grad()
def predicted(w: Array) -> Array:
    return w


reveal_type(predicted)  # -> def (w: NDArray[float64]) -> NDArray[float64]

# lambdas and NumPy's own functions
reveal_type(mg.grad(lambda v: v * v)(1.0))  # -> Any
reveal_type(mg.grad(np.sin)(0.0))  # -> Any
reveal_type(mg.elementwise_grad(np.sin)(x))  # -> Any
reveal_type(mg.jacobian(np.square)(x))  # -> Any

# a function of an example, called for a batch
reveal_type(mg.vmap(np.sin)(x))  # -> Any
mg.vmap(np.sin, in_axes=(0,), out_axes={"a": 0})
mg.vmap(1.0)  # error: arg-type
mg.defvmap(np.sin, "elementwise")
mg.defvmap(np.sin, 1)  # error: arg-type
