"""Minimisation of deterministic losses by SciPy's methods, with exact derivatives.

Owns: `minimize`: nested parameters as one vector, and the derivatives that each method
takes.
Must not own: a method of minimisation.
Read next: `../trees.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from microgradnd.jacobians import hvp, jacobian
from microgradnd.matching import plain
from microgradnd.settings import one_of
from microgradnd.tape import current
from microgradnd.tensor import Tensor
from microgradnd.transforms import value_and_grad, vjp
from microgradnd.trees import flatten, is_module, paths

Array = npt.NDArray[Any]
# SciPy's methods by the derivatives that they use
GRADIENTS = ("L-BFGS-B", "LBFGS", "BFGS", "CG", "TNC", "SLSQP")  # LBFGS is PyTorch's name for L-BFGS-B
PRODUCTS = ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr")  # gradients and products with the Hessian
RESIDUALS = ("trf", "dogbox", "lm")
method_name = one_of(*GRADIENTS, *PRODUCTS, *RESIDUALS)


def minimize(
    loss: Callable[..., Any], params: Any, args: Sequence[Any] = (), method: str = "L-BFGS-B", **options: Any
) -> Any:
    """Minimise a loss by a method of SciPy, with exact gradients and Hessian products.

    Parameters
    ----------
    loss : callable
        `loss(params, *args)` returns a real number. For least squares it returns an
        array of residuals; half the sum of their squares is minimised.
    params : Module, array, or tuples, lists, dicts and other containers of them
        The starting point. Tensors and parameters of modules that require a gradient
        are set to the minimum. They don't change if the loss raises an error.
    args : tuple
        Further arguments of the loss; a single argument needs no tuple.
    method : str
        With gradients: "L-BFGS-B" (or "LBFGS", its name in PyTorch), "BFGS", "CG",
        "TNC" or "SLSQP". With Hessian products too: "Newton-CG", "trust-ncg",
        "trust-krylov" or "trust-constr". These are methods of
        `scipy.optimize.minimize`. Of `scipy.optimize.least_squares`: "trf", "dogbox" or
        "lm".
    **options
        Further arguments of SciPy's function, such as `tol` or `options`. `bounds`
        apply to one vector: all parameters, end to end.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's result; its `x` has the form of `params`.

    Raises
    ------
    ImportError
        If SciPy isn't installed.
    TypeError
        If a parameter doesn't hold real floating-point numbers.
    ValueError
        If there are no parameters, or no method of that name.

    See Also
    --------
    Adam : for losses on random batches.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import optim
    >>> def loss(p):
    ...     return (p["a"] - 1) ** 2 + 100 * (p["b"] - p["a"] ** 2) ** 2
    >>> result = optim.minimize(loss, {"a": -1.0, "b": 2.0}, method="trust-krylov")
    >>> print(f"{result.x['a']:.3f}, {result.x['b']:.3f}")
    1.000, 1.000
    """
    if (trace := current().trace) is not None:
        raise trace.refusal("minimize()", "Call it outside, with a compiled loss")
    try:
        from scipy import optimize
    except ImportError as error:
        raise ImportError('optim.minimize needs SciPy: pip install "microgradnd[scipy]"') from error
    method = {"LBFGS": "L-BFGS-B"}.get(method_name("minimize: method", method), method)
    if not callable(loss):
        raise TypeError(f"minimize: loss must be a function of the parameters, got {loss!r:.80}")
    if given := {"fun", "x0", "jac"} & options.keys():
        raise TypeError(
            f"minimize: {given.pop()} must not be passed to SciPy, got {options!r:.80}; loss and params give it"
        )
    args = args if isinstance(args, tuple | list) else (args,)
    leaves, form = flatten(params)
    tensors = [id(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
    if len(set(tensors)) < len(tensors):
        raise ValueError(
            "minimize: a Tensor is among the parameters twice; pass each once, either a module or its parameter"
        )
    starts = [real_array(leaf, name) for leaf, name in zip(leaves, paths(params, "params"), strict=True)]
    if not starts:
        raise ValueError(
            f"minimize: params must hold at least one array, got {params!r:.80}; pass a model, or arrays to start from"
        )
    ends = np.cumsum([array.size for array in starts])[:-1]

    @functools.wraps(loss)
    def of(leaves: Sequence[Any]) -> Any:
        return loss(form.rebuild(leaves), *args)

    def arrays(x: Array) -> list[Array]:
        return [v.reshape(a.shape).astype(a.dtype) for v, a in zip(np.split(x, ends), starts, strict=True)]

    def vector(arrays: Sequence[Any]) -> Array:
        return np.concatenate([np.ravel(array) for array in arrays]).astype(float)

    def product(x: Array, v: Array) -> Array:
        return vector(hvp(of)(arrays(x), arrays(v)))

    if method in RESIDUALS:

        def residuals(x: Array) -> Array:
            return vector([plain(vjp(of, arrays(x))[0])])

        def slopes(x: Array) -> Array:
            parts = jacobian(of)(arrays(x))
            return np.concatenate([np.reshape(j, (-1, a.size)) for j, a in zip(parts, starts, strict=True)], 1)

        result = optimize.least_squares(residuals, vector(starts), slopes, method=method, **options)
    else:

        def value_and_gradient(x: Array) -> tuple[float, Array]:
            value, gradient = value_and_grad(of)(arrays(x))
            return float(value), vector(gradient)

        second = {"hessp": product} if method in PRODUCTS else {}
        result = optimize.minimize(value_and_gradient, vector(starts), method=method, jac=True, **second, **options)
    result.x = left(params, arrays(result.x))
    return result


def real_array(leaf: Any, name: str) -> Array:
    """Return a parameter as an array, or raise if it isn't real and floating-point."""
    array = np.asarray(plain(leaf))
    if array.dtype.kind != "f":
        raise TypeError(
            f"minimize: {name} must hold real floating-point numbers, got {array.dtype}; pass constants by args, and "
            f"a complex number as two real ones"
        )
    return array


def left(params: Any, arrays: list[Array]) -> Any:
    """Write arrays to the variables among the parameters; return the same structure."""
    things, form = flatten(params, is_module)
    rest, new = iter(arrays), []
    for thing in things:
        own = [p for p in thing.parameters() if p.requires_grad] if is_module(thing) else [thing]
        values = [next(rest) for _ in own]
        variables = [p for p in own if isinstance(p, Tensor) and p.requires_grad and p.is_leaf]
        for variable, value in zip(variables, values, strict=False):
            with variable.updating() as array:
                array[...] = value
        new.append(thing if variables or is_module(thing) else values[0].item() if type(thing) is float else values[0])
    return form.rebuild(new)
