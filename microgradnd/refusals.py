"""What the engine refuses, in words: one function for each mistake, which returns the
error to raise.

Owns: the wording of errors that say in more than a line what happened, and what to do
instead.
Must not own: when something is refused, or advice about errors that NumPy or Python
raised (`advice.py`).
Read next: `registry.py`.

The functions take names and shapes, or an array of another library, so that this file
need not know any other.
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
    """Return the error for a derivative with respect to an argument that has no
    rule.
    """
    return NotImplementedError(
        f"{function} has no derivative with respect to its argument {position}; pass that argument as a plain array "
        f"(t.data), or enter a rule with mg.{word}({function}, ...)"
    )


def fills_out(function: str) -> TypeError:
    """Return the error for a result that is to be written into an array, behind the
    tape's back.
    """
    return TypeError(f"{function}: out= can't be recorded; use the result, or `t[...] = result`")


def without_derivative(function: str, reason: str | None) -> NotImplementedError:
    """Return the error for a call of a function without rules on a Tensor."""
    if reason is not None:
        return NotImplementedError(f"{function} cannot be differentiated: {reason}; pass t.data to call it anyway")
    return NotImplementedError(
        f"{function} has no derivative rule here; pass t.data to call it without a gradient, spell it in functions "
        f"that have one, or enter its rule with mg.defvjp({function}, ...)"
    )


# Arrays of other libraries


def library_of(array: Any) -> str:
    """Return the name of an array's library, and of its class."""
    return f"{type(array).__module__.partition('.')[0]} {type(array).__name__}"


class ByBlocks(NotImplementedError):
    """An operation that can't be done with another library's array as a whole, as
    Dask's are too large to be.
    """

    def __init__(self, function: str, array: Any, reason: str) -> None:
        super().__init__(
            f"{function} of a {library_of(array)} of shape {array.shape}: {reason}; differentiate a function of one "
            f"block after the other with mg.distributed.value_and_grad, or compute the array first, if it fits into "
            f"memory"
        )


def compiled_elsewhere(array: Any) -> TypeError:
    """Return the error for a compiled function that is given another library's
    array.
    """
    return TypeError(
        f"a compiled function was given a {library_of(array)} of shape {array.shape}, and takes NumPy's arrays; call "
        f"the function itself, or compile what is done with a block: mg.distributed.value_and_grad(loss, compile=True)"
    )


def gradient_elsewhere(parameter: str, gradient: Any) -> TypeError:
    """Return the error for a step with a gradient in another library's memory, or not
    computed yet.
    """
    return TypeError(
        f"step(): the gradient of {parameter} is a {library_of(gradient)} of shape {gradient.shape}; make NumPy's "
        f"arrays of all gradients together (of Dask's by dask.compute), and assign each to its .grad"
    )


# The tape


def freed(node: str) -> RuntimeError:
    """Return the error for a second walk over an operation."""
    return RuntimeError(
        f"backward() has already run through {node}, and freed its arrays; call it the first time with "
        f"backward(retain_graph=True), or compute the value again"
    )


def changed(node: str, function: str) -> RuntimeError:
    """Return the error for an operand that is newer than its result."""
    return RuntimeError(
        f"{node} was changed (by an optimizer step, an in-place update or an assignment to .data, of "
        f"it or of a tensor that shares its memory) after {function} had used it, so this "
        f"gradient would be wrong; compute the result again before backward(), or change the tensor after it"
    )


def takes_nothing(mode: str, given: Any) -> TypeError:
    """Return the error for an argument of a mode."""
    return TypeError(
        f"mg.{mode}() takes no arguments, got {given!r}; write `with mg.{mode}():`, or @mg.{mode}() with "
        f"parentheses above a function"
    )


# Tensors


def plain_array() -> TypeError:
    """Return the error for a Tensor that NumPy wants as an array."""
    return TypeError(
        "this Tensor requires a gradient, which a plain array would lose: write np.stack([...]) for an array "
        "of Tensors, `t[i] = value` on a Tensor for assignment, x.filled(0) with a weight for a masked array, "
        "or t.data to go on without a gradient"
    )


def no_integer(shape: Shape, dtype: Any) -> TypeError:
    """Return the error for a Tensor that Python wants as an index."""
    return TypeError(
        f"a Python index or range() needs an integer, got a Tensor of shape {shape} and dtype {dtype}; write "
        f"int(t.item())"
    )


def frozen(node: str) -> RuntimeError:
    """Return the error for `requires_grad = False` on a computed value."""
    return RuntimeError(f"{node} was computed from tensors that require a gradient; detach() it instead")


def nothing_to_differentiate() -> RuntimeError:
    """Return the error for `backward()` on a value that depends on no variable."""
    return RuntimeError(
        "backward() on a tensor that requires no gradient: nothing it was computed from has "
        "requires_grad=True, or it was computed under no_grad()"
    )


def nothing_to_hook() -> RuntimeError:
    """Return the error for a hook on a value that never has a gradient."""
    return RuntimeError("register_hook() on a tensor that requires no gradient: there is nothing to call it with")


def not_a_variable() -> RuntimeError:
    """Return the error for `copy.copy` of a computed value."""
    return RuntimeError(
        "only a leaf can be copied as a variable of its own; write t.copy() to record a copy, or detach() it first"
    )


def unfit_result(function: str, result: Any, tensor: Any) -> Exception:
    """Return the error for an augmented assignment that would change the shape or the
    kind of numbers.
    """
    return (ValueError if result.shape != tensor.shape else TypeError)(
        f"{function}: the result of shape {result.shape} and dtype {result.dtype} doesn't fit in a "
        f"tensor of shape {tensor.shape} and dtype {tensor.dtype}; go on with a new value (t = t + ...)"
    )


def unfit_part(kind: type[Exception], given: Shape, picked: Shape, whole: Shape) -> Exception:
    """Return the error for an assignment to a part of another shape."""
    return kind(
        f"t[index] = value: a value of shape {given} doesn't fit in the shape {picked} that the "
        f"index picks from a tensor of shape {whole}"
    )


# Transforms


def changed_argument(function: str, shape: Shape) -> RuntimeError:
    """Return the error for an array that was changed between a call and the walk
    back.
    """
    return RuntimeError(
        f"an argument of {function}, of shape {shape}, was changed after the "
        f"function had used it, so this derivative would be wrong; pass a copy of it (x.copy())"
    )


def no_numbers(function: str, out: Any) -> TypeError:
    """Return the error for a function that returns something else than numbers."""
    asked = "; did you forget to return?" if out is None else "."
    return TypeError(
        f"{function} returned {out!r}{asked} To be differentiated it must return numbers or "
        f"arrays; pass anything else on as aux, with has_aux=True"
    )


def not_one_number(function: str, arrays: Sequence[Any]) -> TypeError:
    """Return the error for a gradient of several numbers, or of a complex one."""
    found = ", ".join(f"shape {a.shape} and dtype {a.dtype}" for a in arrays) or "nothing"
    return TypeError(
        f"a gradient needs a function that returns one real number, got {found} from {function}; "
        f"reduce the result, as with np.sum or np.abs, or use mg.jacobian, mg.vjp or mg.elementwise_grad"
    )


def no_positions(function: str, argnums: Any, count: int) -> Exception:
    """Return the error for `argnums` that no argument belongs to."""
    return (TypeError if isinstance(argnums, str | float | None) else ValueError)(
        f"argnums={argnums!r}: must be a position, or a tuple of positions, of arguments of "
        f"{function}, which was called with {count} by position"
    )


def other_structure(what: str, expected: tuple[Any, Any], given: tuple[Any, Any]) -> ValueError:
    """Return the error for a cotangent or tangent that isn't a tree like its value, by
    shapes and keys.
    """
    message = f"{what} must have the structure and shapes of its value, {expected[0]}, not {given[0]}"
    if expected[1] != given[1]:
        message += f"; dicts must have the keys {expected[1]}, in this order, not {given[1]}"
    return ValueError(message)


# Batches


class OneExampleError(TypeError):
    """A value that has one number for each example, where a single one is needed."""


def batched_value(what: str) -> OneExampleError:
    """Return the error for a value that has one number for each example, where a single
    one is needed.
    """
    return OneExampleError(
        f"{what} needs the value of one example, but inside vmap a value stands for all examples; choose between "
        f"arrays with np.where, put arrays together with np.stack, fill an array made by np.zeros_like(x), and pick "
        f"from a plain array with mg.tensor(array)[index]"
    )


def unequal_examples(function: str, shapes: Sequence[Shape]) -> ValueError:
    """Return the error for a function whose results have other shapes in other
    examples.
    """
    return ValueError(
        f"{function} gave results of shapes {', '.join(map(str, shapes))} for the examples of one batch, which must "
        f"be equal; keep all elements and choose among them with np.where"
    )


def batch_sizes(function: str, sizes: Sequence[tuple[int, Shape, int]]) -> ValueError:
    """Return the error for arguments that don't have one number of examples, which must
    be positive.
    """
    if not sizes:
        return ValueError(
            f"vmap({function}): in_axes names no axis of an array, so there are no examples; at least one argument "
            f"must be an array with an axis for them"
        )
    came = ", ".join(f"{size} along axis {axis} of shape {shape}" for size, shape, axis in sizes)
    return ValueError(
        f"vmap({function}): all arguments must have the same number of examples, at least 1, got {came}; in_axes says "
        f"along which axes they are"
    )
