"""Minimisation of deterministic losses by SciPy's methods, with exact derivatives.

Owns: `minimize`: nested parameters as one vector, and the derivatives that each method
takes.
Must not own: a method.
Read next: `../trees.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from microgradnd.jacobians import jacobian
from microgradnd.matching import plain
from microgradnd.settings import one_of
from microgradnd.tape import current
from microgradnd.tensor import Tensor
from microgradnd.transforms import hvp, value_and_grad, vjp
from microgradnd.trees import flatten, is_module, paths

Array = npt.NDArray[Any]
# SciPy's methods by what they ask for
GRADIENTS = ("L-BFGS-B", "LBFGS", "BFGS", "CG", "TNC", "SLSQP")  # the second is PyTorch's name of the first
PRODUCTS = ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr")  # with the Hessian, besides gradients
RESIDUALS = ("trf", "dogbox", "lm")
method_name = one_of(*GRADIENTS, *PRODUCTS, *RESIDUALS)


def minimize(
    loss: Callable[..., Any], params: Any, args: Sequence[Any] = (), method: str = "L-BFGS-B", **options: Any
) -> Any:
    """Find the parameters at which a loss is least, by a method of SciPy's with exact
    gradients and Hessian products.

    Parameters
    ----------
    loss : callable
        `loss(params, *args)` returns a real number; for the methods of least squares an
        array of residuals, half the sum of whose squares is minimised.
    params : Module, array, or tuples, lists, dicts and other containers of them
        Where to start. Parameters of modules that require a gradient, and Tensors that
        do, end up at the minimum. They stay as they are if the loss raises.
    args : tuple
        What else the loss takes; a single argument needs no tuple.
    method : str
        Of `scipy.optimize.minimize` "L-BFGS-B" (or "LBFGS", its name in PyTorch),
        "BFGS", "CG", "TNC" or "SLSQP", which use gradients, or "Newton-CG",
        "trust-ncg", "trust-krylov" or "trust-constr", which use products with the
        Hessian too; of `scipy.optimize.least_squares` "trf", "dogbox" or "lm".
    **options
        What else SciPy's function takes, such as `tol` or `options`. `bounds` are of
        one vector: all parameters, end to end.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's result, in which `x` has the form of `params`.

    Raises
    ------
    ImportError
        If SciPy isn't installed.
    TypeError
        If a parameter doesn't hold real numbers of floating point.
    ValueError
        If there are no parameters, or no method of that name.

    See Also
    --------
    Adam : for losses of random batches.

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
    args = args if isinstance(args, tuple | list) else (args,)
    leaves, form = flatten(params)
    tensors = [id(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
    if len(set(tensors)) < len(tensors):
        raise ValueError("minimize: a Tensor is among the parameters twice; pass each once, a module or its parameter")
    starts = [real_array(leaf, name) for leaf, name in zip(leaves, paths(params, "params"), strict=True)]
    if not starts:
        raise ValueError(f"minimize was given no parameters, but {params!r:.80}; pass a model, or arrays to start from")
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
    """Return a parameter as an array, or raise if it can't be one of several real
    numbers.
    """
    array = np.asarray(plain(leaf))
    if array.dtype.kind != "f":
        raise TypeError(
            f"minimize: {name} must hold real numbers of floating point, got {array.dtype}; pass what isn't to be "
            f"found by args, and a complex number as two real ones"
        )
    return array


def left(params: Any, arrays: list[Array]) -> Any:
    """Leave arrays in the variables among the parameters, and return parameters of the
    same form.
    """
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
