"""The wording of refusals: one function per mistake, which returns the error to raise.

Owns: the wording of errors that need more than a line to say what happened and what to
do instead.
Must not own: the decision to refuse, or advice about errors that NumPy or Python raised
(`advice.py`).
Read next: `registry.py`.

The functions take names, shapes, or arrays of other libraries, so this file imports
nothing from the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Shape = tuple[int, ...]

# Rules


def not_recorded(word: str, function: str) -> TypeError:
    """Return the error for a rule of a function whose calls don't reach the tape."""
    return TypeError(
        f"mg.{word}: calls of {function} aren't recorded, so it would never use a rule; decorate it with "
        f"@mg.primitive first, or give the NumPy function itself (np.sin, not 'sin')"
    )


def constant_argument(function: str, position: int, word: str) -> NotImplementedError:
    """Return the error for a derivative by an argument that has no rule."""
    return NotImplementedError(
        f"{function} has no derivative with respect to its argument {position}; pass that argument as a plain array "
        f"(t.data), or define a rule with mg.{word}({function}, ...)"
    )


def fills_out(function: str) -> TypeError:
    """Return the error for `out=`, which would write behind the tape's back."""
    return TypeError(
        f"{function}: out= can't be recorded; use the result, or `t[...] = result`; where array += t fills a plain "
        f"array, write array = array + t, or make the array a Tensor (mg.tensor) if others need the sum"
    )


def fills_operand() -> TypeError:
    """Return the error for `np.nan_to_num(t, copy=False)`, which writes into t."""
    return TypeError("np.nan_to_num: copy=False can't be recorded; write t[...] = np.nan_to_num(t)")


def drops_imaginary(function: str, dtype: str) -> TypeError:
    """Return the error for a real `dtype=` of complex numbers."""
    return TypeError(
        f"{function}: dtype={dtype} drops the imaginary part of a complex Tensor, which its derivative "
        f"needs; pass np.real(t) if you mean that"
    )


def without_derivative(function: str, reason: str | None) -> NotImplementedError:
    """Return the error for a call of a function without rules on a Tensor."""
    if reason is not None:
        return NotImplementedError(f"{function} cannot be differentiated: {reason}; pass t.data to call it anyway")
    return NotImplementedError(
        f"{function} has no derivative rule here; pass t.data to call it without a gradient, write it with functions "
        f"that have one, or define its rule with mg.defvjp({function}, ...)"
    )


# Arrays of other libraries


def library_of(array: Any) -> str:
    """Return the names of an array's library and of its class."""
    return f"{type(array).__module__.partition('.')[0]} {type(array).__name__}"


class ByBlocks(NotImplementedError):
    """An operation that needs all of an array at once; a Dask array is too large."""

    def __init__(self, function: str, array: Any, reason: str) -> None:
        super().__init__(
            f"{function} of a {library_of(array)} of shape {array.shape}: {reason}; differentiate a function of one "
            f"block at a time with mg.distributed.value_and_grad, or compute the array first, if it fits into "
            f"memory"
        )


def compiled_elsewhere(array: Any) -> TypeError:
    """Return the error for a compiled function called with another library's array."""
    return TypeError(
        f"a compiled function takes NumPy arrays, got a {library_of(array)} of shape {array.shape}; call the function "
        f"itself, or compile the loss of one block: mg.distributed.value_and_grad(loss, compile=True)"
    )


def gradient_elsewhere(parameter: str, gradient: Any) -> TypeError:
    """Return the error for a gradient that another library holds."""
    return TypeError(
        f"step(): the gradient of {parameter} is a {library_of(gradient)} of shape {gradient.shape}; convert all "
        f"gradients to NumPy arrays together (Dask's with dask.compute), and assign each to its .grad"
    )


# The tape


def freed(node: str) -> RuntimeError:
    """Return the error for a second backward pass through an operation."""
    return RuntimeError(
        f"backward() has already run through {node}, and freed its arrays; call backward(retain_graph=True) the first "
        f"time, or compute the value again"
    )


def changed(node: str, function: str) -> RuntimeError:
    """Return the error for an operand that was changed after its use."""
    return RuntimeError(
        f"{node} was changed after {function} had used it, so this gradient would be wrong. An optimizer step, an "
        f"in-place update or an assignment to .data changed it, or a tensor that shares its memory; compute the "
        f"result again before backward(), or change the tensor after it"
    )


def takes_nothing(mode: str, given: Any) -> TypeError:
    """Return the error for an argument given to a mode."""
    return TypeError(
        f"mg.{mode}() takes no arguments, got {given!r}; write `with mg.{mode}():`, or @mg.{mode}() with "
        f"parentheses above a function"
    )


# Tensors


def plain_array() -> TypeError:
    """Return the error for a Tensor where NumPy wants an array."""
    return TypeError(
        "this Tensor requires a gradient, which a plain array would lose: write np.stack([...]) for an array "
        "of Tensors, `t[i] = value` on a Tensor for assignment, x.filled(0) and a weight for a masked array, "
        "or t.data to continue without a gradient"
    )


def no_integer(shape: Shape, dtype: Any) -> TypeError:
    """Return the error for a Tensor where Python wants an index."""
    return TypeError(
        f"a Python index or range() needs an integer, got a Tensor of shape {shape} and dtype {dtype}; write "
        f"int(t.item())"
    )


def frozen(node: str) -> RuntimeError:
    """Return the error for `requires_grad = False` on a computed value."""
    return RuntimeError(f"{node} was computed from tensors that require a gradient; detach() it instead")


def nothing_to_differentiate() -> RuntimeError:
    """Return the error for `backward()` on a value that no variable leads to."""
    return RuntimeError(
        "backward() on a tensor that requires no gradient: nothing it was computed from has "
        "requires_grad=True, or it was computed under no_grad()"
    )


def nothing_to_hook() -> RuntimeError:
    """Return the error for a hook on a value that never has a gradient."""
    return RuntimeError("register_hook() on a tensor that requires no gradient: the hook would never be called")


def not_a_variable() -> RuntimeError:
    """Return the error for `copy.copy` of a computed value."""
    return RuntimeError(
        "copy.copy(t): only a leaf can be copied as a new variable; write t.copy() to record a copy, or detach() it"
    )


def unfit_result(function: str, result: Any, tensor: Any) -> Exception:
    """Return the error for an augmented assignment that changes the shape or dtype."""
    return (ValueError if result.shape != tensor.shape else TypeError)(
        f"{function}: the result of shape {result.shape} and dtype {result.dtype} doesn't fit in a "
        f"tensor of shape {tensor.shape} and dtype {tensor.dtype}; make a new value instead (t = t + ...)"
    )


def unfit_part(kind: type[Exception], given: Shape, picked: Shape, whole: Shape) -> Exception:
    """Return the error for assigning a value of the wrong shape to a part."""
    return kind(
        f"t[index] = value: a value of shape {given} doesn't fit in the shape {picked} that the "
        f"index picks from a tensor of shape {whole}"
    )


# Transforms


def changed_argument(function: str, shape: Shape) -> RuntimeError:
    """Return the error for an array changed between a call and its backward pass."""
    return RuntimeError(
        f"an argument of {function}, of shape {shape}, was changed after the "
        f"function had used it, so this derivative would be wrong; pass a copy of it (x.copy())"
    )


def no_numbers(function: str, out: Any) -> TypeError:
    """Return the error for a function that returns something other than numbers."""
    asked = "; did you forget to return?" if out is None else "."
    return TypeError(
        f"{function} returned {out!r}{asked} A function to differentiate must return numbers or "
        f"arrays; return anything else as aux, with has_aux=True"
    )


def not_one_number(function: str, arrays: Sequence[Any]) -> TypeError:
    """Return the error for a gradient of several numbers, or of a complex number."""
    found = ", ".join(f"shape {a.shape} and dtype {a.dtype}" for a in arrays) or "nothing"
    return TypeError(
        f"a gradient needs a function that returns one real number, got {found} from {function}; "
        f"reduce the result with np.sum or np.abs, or use mg.jacobian, mg.vjp or mg.elementwise_grad"
    )


def no_positions(function: str, argnums: Any, count: int) -> Exception:
    """Return the error for `argnums` that match no argument."""
    return (TypeError if isinstance(argnums, str | float | None) else ValueError)(
        f"argnums must be a position, or a tuple of positions, of arguments of {function}, got {argnums!r}; "
        f"it was called with {count} by position"
    )


def other_structure(what: str, expected: tuple[Any, Any], given: tuple[Any, Any]) -> ValueError:
    """Return the error for a cotangent or tangent whose structure isn't its value's."""
    message = f"{what} must have the structure and shapes of its value, {expected[0]}, got {given[0]}"
    if expected[1] != given[1]:
        message += f"; dicts must have the keys {expected[1]}, in this order, got {given[1]}"
    return ValueError(message)


# Batches


class OneExampleError(TypeError):
    """A value that has one number per example, where a single number is needed."""


def batched_value(what: str) -> OneExampleError:
    """Return the error for a batch of numbers where a single number is needed."""
    return OneExampleError(
        f"{what} needs the value of one example, but inside vmap a value stands for all examples; choose between "
        f"arrays with np.where, join arrays with np.stack, fill an array made by np.zeros_like(x), and index a plain "
        f"array as mg.tensor(array)[index]"
    )


def unequal_examples(function: str, shapes: Sequence[Shape]) -> ValueError:
    """Return the error for results whose shapes differ between examples."""
    return ValueError(
        f"{function} returned results of shapes {', '.join(map(str, shapes))} for the examples of one batch; they "
        f"must be equal, so keep all elements and choose among them with np.where"
    )


def batch_sizes(where: str, sizes: Sequence[tuple[int, Shape, int]]) -> ValueError:
    """Return the error for unequal numbers of examples, or none."""
    if not sizes:
        return ValueError(
            f"{where}: in_axes names no axis of an array, so there are no examples; give an argument an axis for them"
        )
    came = ", ".join(f"{size} along axis {axis} of shape {shape}" for size, shape, axis in sizes)
    return ValueError(
        f"{where}: all arguments must have the same number of examples, at least 1, got {came}; in_axes "
        f"names their axes"
    )


def batch_axes(which: str, like: str, axes: Any) -> ValueError:
    """Return the error for axes in another form than the tree that they belong to."""
    return ValueError(f"{which} must be {like}, got {axes!r}")


def count_of_axes(where: str, count: int, axes: Any) -> ValueError:
    """Return the error for in_axes that don't match the positional arguments."""
    return ValueError(
        f"{where}: in_axes must have one entry for each of the {count} positional arguments, got {axes!r}"
    )


def no_batch_axis(where: str, shape: Shape, axis: Any) -> ValueError:
    """Return the error for an argument without the axis of its examples."""
    return ValueError(
        f"{where}: in_axes: an array of shape {shape} has no axis {axis!r} for its examples; pass None for an argument "
        f"that is the same for all examples"
    )


def shared_result(where: str, shape: Shape) -> ValueError:
    """Return the error for out_axes=None of a result that differs by example."""
    return ValueError(
        f"{where}: out_axes must name an axis for a result of shape {shape} that depends on the example, got None"
    )


def no_result_axis(where: str, shape: Shape, axis: Any) -> ValueError:
    """Return the error for results that can't have their examples along an axis."""
    return ValueError(
        f"{where}: out_axes: results of shape {shape[1:]} can't have their examples along axis {axis!r}; it must be an "
        f"integer from {-len(shape)} to {len(shape) - 1}"
    )


def no_example_attribute(name: str) -> AttributeError:
    """Return the error for an attribute that only a Tensor has."""
    return AttributeError(
        f"inside vmap a value has the attributes of an array, and no {name!r}; for derivatives of examples use "
        f"mg.vmap(mg.grad(f)), and call backward() on the result of the mapped function"
    )


def no_length() -> TypeError:
    """Return the error for len() of a number."""
    return TypeError("len() of an example that is one number: x.shape is (); in_axes names the axis of the batch")
