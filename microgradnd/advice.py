"""Advice for errors: the knowledge behind messages, loaded when something went wrong.

Owns: what names and keywords of other libraries are called here, and what NumPy's
messages mean for the caller.
Must not own: the decision that something is an error; each operation checks its own
arguments.
Read next: `registry.py`, `lines.py`.

NumPy's messages say what is wrong, but not with which call, nor how to fix it. This
file adds the operation, its operands, the line of the user's code and the remedy. It
rewrites messages about the inside of a function ("_sum() got an unexpected keyword
argument").
"""

from __future__ import annotations

import difflib
import dis
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from microgradnd import primitives, refusals
from microgradnd.absent import DTYPES, IN_MEMORY, OF_TENSOR
from microgradnd.forms import parameters_of
from microgradnd.lines import PACKAGE, quoted_line, user_line
from microgradnd.operands import is_foreign
from microgradnd.registry import JVPS, VJPS, name_of
from microgradnd.tape import Operation, current, describe

NUMPY = np.__file__.rpartition("__init__")[0]
# The modules of public names, apart from `mg` itself
PLACES = ("nn.functional", "nn", "optim", "optim.lr_scheduler", "viz")
NUMPY_PLACES = (("np", np), ("np.linalg", np.linalg), ("np.fft", np.fft))
parameters = parameters_of.__wrapped__  # also for callable objects, which may be unhashable

# What users of PyTorch, JAX and NumPy type, and its name here; "t" is the Tensor
OF_MODULE = {
    **dict.fromkeys(("Function", "custom_vjp"), "mg.primitive for the function, and mg.defvjp for its derivative"),
    **dict.fromkeys(("GradientTape", "autograd"), "mg.grad(f), or t.backward()"),
    **dict.fromkeys(("cuda", "device"), IN_MEMORY),
    **dict.fromkeys(("graph", "make_dot", "show"), "viz.draw(t)"),
    "Variable": "mg.tensor(data, requires_grad=True)",
    "as_tensor": "mg.tensor(data)",
    "backward": "t.backward()",
    "cat": "np.concatenate(arrays)",
    "custom_jvp": "mg.primitive for the function, and mg.defjvp for its derivative",
    "from_numpy": "mg.tensor(array)",
    "inference_mode": "mg.no_grad()",
    "jacfwd": 'mg.jacobian(f, mode="fwd")',
    "jacrev": 'mg.jacobian(f, mode="rev")',
    "jit": "mg.compile(f)",
    "linearize": "mg.jvp(f, primals, tangents)",
    "LBFGS": 'optim.minimize(loss, params, method="LBFGS")',
    "load": "mg.load(path), and module.load_state_dict() with its result",
    "make_jaxpr": "mg.compile(f), and its .source()",
    "manual_seed": "rng = np.random.default_rng(seed), and pass rng= to the layers",
    "normal": "np.random.default_rng().normal(mean, deviation, shape)",
    "numpy": "import numpy as np, whose functions work on Tensors",
    "normalize": "x / np.linalg.norm(x, axis=1, keepdims=True)",
    "one_hot": "np.eye(classes)[labels]",
    "permute": "np.transpose(t, axes)",
    "plot": "viz.draw(t), or viz.plot_history(losses)",
    "rand": "np.random.default_rng().random(shape)",
    "randint": "np.random.default_rng().integers(low, high, shape)",
    "randn": "np.random.default_rng().standard_normal(shape)",
    "random": "np.random.default_rng()",
    "remat": "mg.checkpoint(f)",
    "render": "viz.save(t, 'graph.svg')",
    "save": "mg.save(path, module)",
    "set_grad_enabled": "mg.no_grad() or mg.enable_grad()",
    "stop_gradient": "t.detach()",
    "unsqueeze": "np.expand_dims(t, axis)",
    "utils": "optim.clip_grad_norm_(params, max_norm) to clip gradients",
}
OF_NETWORK = {
    **{name: f".to(np.{dtype})" for name, dtype in DTYPES.items() if dtype.startswith("float")},
    **dict.fromkeys(("cpu", "cuda"), "leave it out: all arrays are in main memory, on the CPU"),
    "add_module": "setattr(module, name, child)",
    "get_parameter": "dict(module.named_parameters())[path]",
    "get_submodule": "dict(module.named_modules())[path]",
}
# Other libraries' names for a parameter; the first that the function has is meant
KEYWORDS = {
    **dict.fromkeys(("beta1", "beta2", "beta_1", "beta_2"), ("betas",)),
    **dict.fromkeys(("correction", "unbiased"), ("ddof",)),
    **dict.fromkeys(("keepdim", "keep_dims"), ("keepdims",)),
    **dict.fromkeys(("learning_rate", "rate"), ("lr",)),
    **dict.fromkeys(("inputs", "parameters"), ("params",)),
    "axes": ("axis",),
    "axis": ("axes",),
    "dim": ("axis", "axes"),
    "dims": ("axes", "axis"),
    "dim0": ("axis1",),
    "dim1": ("axis2",),
    "in_dims": ("in_axes",),
    "out_dims": ("out_axes",),
    "epsilon": ("eps",),
    "forward_mode": ("mode",),
    "min_": ("min",),
    "max_": ("max",),
    "p": ("ord",),
    "seed": ("rng",),
    "size": ("shape",),
    "batch_size": ("size",),
    "size_average": ("reduction",),
    "use_bias": ("bias",),
}

# What NumPy says, and the remedy
REMEDIES = (
    (
        r"not aligned|core dimension|shape-mismatch for sum|incompatible dimensions for cross",
        "the multiplied axes must have the same length; transpose (.T) or reshape an operand",
    ),
    (
        r"does not have enough dimensions",
        "the operands must be vectors or matrices; use * for multiplication by a number, or add an axis with x[None]",
    ),
    (
        r"subscripts|remapped shapes \[original->remapped\]: .*newaxis",
        "give each operand one letter per axis, and axes with the same letter the same length",
    ),
    (r"requested shape|broadcast_to", "an axis can be repeated only if its length is 1; add one with x[:, None]"),
    (
        r"boolean index did not match",
        "a boolean index must have the shape of the axes that it selects from",
    ),
    (r"indexing arrays could not be broadcast", "index arrays must broadcast; np.ix_(rows, columns) selects a block"),
    (
        r"could not be broadcast|shape mismatch",
        "lengths must be equal or 1, axis by axis from the last; reshape one operand, add an axis (x[:, None]), or "
        "transpose it (.T)",
    ),
    (
        r"must have same number of dimensions",
        "np.stack joins along a new axis; give a smaller array the missing axis with x[None], or reshape it",
    ),
    (r"concatenation axis must match", "choose another axis=, or cut or transpose the arrays to the same lengths"),
    (
        r"cannot reshape",
        "the new shape must hold equally many elements; a length of -1 is worked out from the others",
    ),
    (r"one unknown dimension", "give -1 for one length only; it is worked out from the others"),
    (r"too many indices", "give at most one index per axis (.shape shows them), or add an axis with [..., None]"),
    (r"only integers, slices", "use integers, slices, ..., None, or arrays of integers or booleans"),
    (r"index \S+ is out of bounds", "indices run from 0 to length - 1, or from -1 down to -length"),
    (
        r"[Ss]ingular matrix",
        "this matrix has no inverse; use np.linalg.lstsq or pinv, or add a small multiple of np.eye",
    ),
    (r"must be square|square matri", "pass square matrices, or use np.linalg.pinv or lstsq"),
    (r"at least two-dimensional", "pass a matrix; x[:, None] makes one of a vector"),
    (
        r"positive definite",
        "pass a symmetric matrix whose eigenvalues are positive, perhaps after adding a small multiple of np.eye",
    ),
    (r"did not converge", "look for NaN, Inf or very large numbers in the matrix"),
    (r"axis\d?:? .*out of bounds|axis \S+ is out of bounds", "axes run from 0 to ndim - 1, or from -1 down to -ndim"),
    (r"duplicate value|repeated axis|axes don't match", "name each axis of the array once"),
    (r"to squeeze", "only axes of length 1 can be removed; use indexing or reshape for the others"),
    (r"equal division", "np.array_split makes parts of nearly equal length"),
    (r"no identity|empty sequence|zero-size", "at least one element is needed; check why the array is empty"),
    (r"negative integer powers", "convert the base or the exponent to float first (2.0 ** x)"),
    (r"data type .* not understood|not a valid dtype", "pass a NumPy dtype, such as np.float32"),
)
NO_ARRAY = re.compile(
    r"NoneType|unsupported operand|bad operand|not supported for the input types|did not contain a loop|inhomogeneous"
    r"|array element with a sequence|could not convert|no callable|must be (a )?real number|can't multiply sequence"
    r"|can only concatenate|not supported between|cannot perform|object arrays|invalid literal"
)
OBSCURE = re.compile(r"has no attribute|object is not|cannot be interpreted|truth value|<lambda>|unhashable|_\w+\(\)")
KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'|'(\w+)' is an invalid keyword")
COUNT = re.compile(
    r"missing (\d+ )?required|takes .*positional argument|takes (at|no|exactly)|expected .* argument"
    r"|missing a required|too many positional|missing required|got multiple values"
)


def missing_attribute(owner: str, name: str, candidates: Iterable[str] = ()) -> str:
    """Return the message for a missing name, with the name that was meant.

    Parameters
    ----------
    owner : str
        Where the user looked: "Tensor", "microgradnd", "nn", "nn.functional", "optim",
        "viz".
    name : str
        The missing name.
    candidates : iterable of str
        The names that exist there.

    Returns
    -------
    str

    Examples
    --------
    >>> from microgradnd.advice import missing_attribute
    >>> missing_attribute("Tensor", "clone")
    "a Tensor has no 'clone': its methods are those of NumPy arrays; write t.copy()"
    >>> missing_attribute("microgradnd", "sin")
    "the module microgradnd has no 'sin'; write np.sin(...): NumPy's own functions..."
    """
    if name.startswith("__") and name not in OF_TENSOR:  # a library that asks for a protocol
        return f"{owner} has no {name}"
    known = sorted(c for c in candidates if not c.startswith("_"))
    if owner == "Tensor":
        meant = OF_TENSOR.get(name) or _elsewhere(name, "t")
        text = f"a Tensor has no {name!r}: its methods are those of NumPy arrays"
    else:
        of_class = _loosely(owner, name, known) if owner == "nn" and name[0].isupper() else None
        meant = OF_MODULE.get(name) or of_class or _elsewhere(name, "...") or _loosely(owner, name, known)
        meant = meant or OF_TENSOR.get(name)
        text = f"the module {'microgradnd' if owner == 'microgradnd' else f'microgradnd.{owner}'} has no {name!r}"
    if meant:
        return f"{text}; {meant if meant.startswith('leave it out') else 'write ' + meant}"
    if near := _near(name, known):
        return f"{text}; did you mean {_short(owner)}.{near}?"
    if owner in ("nn", "nn.functional"):
        return f"{text}; write a function, or an nn.Module with a forward(); this module has {_all(known)}"
    return f"{text}; it has {_all(known)}"


def missing_member(value: object, name: str) -> AttributeError:
    """Return the error for a missing attribute, with the attribute that was meant.

    Examples
    --------
    >>> from microgradnd import nn
    >>> from microgradnd.advice import missing_member
    >>> print(missing_member(nn.Linear(2, 1), "wieght"))
    Linear has neither attribute nor method 'wieght'; write .weight
    """
    owner, known = type(value).__name__, [c for c in dir(value) if not c.startswith("_")]
    meant = OF_NETWORK.get(name) if hasattr(type(value), "named_modules") else None
    if not meant and (near := _near(name, known)):
        meant = f".{near}"
    advice = f"it has {_all(known)}" if not meant else meant if meant.startswith("leave") else f"write {meant}"
    return AttributeError(f"{owner} has neither attribute nor method {name!r}; {advice}")


def _near(name: str, known: list[str]) -> str | None:
    """Return the name that was almost certainly meant: misspelled, or part of it."""
    near = difflib.get_close_matches(name, known, 1, 0.8)
    longer = [c for c in known if len(name) > 2 and name.lower() in c.lower()]
    return near[0] if near else longer[0] if len(longer) == 1 else None


def _short(owner: str) -> str:
    return {"microgradnd": "mg", "nn.functional": "F"}.get(owner, owner)


def _all(names: list[str]) -> str:
    return ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")


def _loosely(owner: str, name: str, known: Iterable[str]) -> str | None:
    """Return the known name that differs only in capitals and underscores."""
    wanted = name.replace("_", "").lower()
    return next((f"{_short(owner)}.{c}" for c in known if c.replace("_", "").lower() == wanted), None)


def _elsewhere(name: str, operand: str) -> str | None:
    """Return where else a name exists: elsewhere in the library, or in NumPy."""
    there = {place: getattr(sys.modules.get(f"microgradnd.{place}"), "__all__", ()) for place in PLACES}
    for place, names in there.items():
        if name in names:
            return f"{place}.{name}({operand})"
    for place, home in NUMPY_PLACES:
        value = getattr(home, name, None)
        if isinstance(value, type) or (value is not None and not callable(value)):
            return f"{place}.{name}"
        if value is not None:
            given = f"{operand}, ..." if getattr(value, "nin", 1) > 1 and operand != "..." else operand
            return f"{place}.{name}({given}): NumPy's own functions work on Tensors"
    return next((found for place, names in there.items() if (found := _loosely(place, name, names))), None)


def failed_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> Exception | None:
    """Return a better error for a failed call, or add a note to its error.

    Parameters
    ----------
    function : callable
        A NumPy function, a function of the library, or a user's primitive.
    args, kwargs
        Its arguments: Tensors, arrays, anything.
    error : Exception
        The error that it raised.

    Returns
    -------
    Exception or None
        An error of the same class, to raise `from error`. None if the error isn't about
        the call (a warning turned into an error, say), if the library raised it with a
        message of its own, or if a user's function raised it.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.advice import failed_call
    >>> error = TypeError("got an unexpected keyword argument 'dim'")
    >>> print(failed_call(np.dot, (np.ones(3), 2), {"dim": 0}, error))
    np.dot takes no keyword 'dim'... (..., line 1: print(failed_call(...
    """
    if (trace := current().trace) is not None:
        trace.failed(error)
    if isinstance(error, Warning) or not isinstance(error, TypeError | ValueError | LookupError | AttributeError):
        return None
    inner = getattr(error, "_failed_call", None)
    if _through_others(error.__traceback__):
        if inner is None:
            error.add_note(f"This was in {_called(function, args, kwargs)}{quoted_line(user_line())}.")
        return None
    if inner is None and _deliberate(error.__traceback__):
        return None
    original, name = inner or error, display(function)
    if args and next((p.name for p in parameters(function)), "") == "self":
        name = type(args[0]).__name__ if getattr(function, "__name__", "") == "__init__" else name
        args = args[1:]
    text = f"{_explained(name, function, args, kwargs, original)}{quoted_line(user_line())}"
    better = _public_class(original)(text)
    better._failed_call = original  # type: ignore[attr-defined]
    return better


def _explained(name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> str:
    """Return what went wrong with a call, and the remedy."""
    said = " ".join(str(error).split()).rstrip(".")
    call = _called(function, args, kwargs)
    if found := KEYWORD.search(said):
        return wrong_keyword(name, found[1] or found[2], parameters(function))
    if COUNT.search(said):
        return _wrong_count(name, function, args, kwargs)
    if (NO_ARRAY.search(said) or OBSCURE.search(said)) and (bad := next(_no_arrays(args), None)):
        return f"{call}: {bad}"
    if (axis := kwargs.get("axis")) is not None and not _is_axis(axis):
        return f"{call}: axis must be an integer, or a tuple of integers for several axes, got {_short_repr(axis)}"
    for pattern, remedy in REMEDIES:
        if re.search(pattern, said):
            return f"{call}: {said}; {remedy}"
    if OBSCURE.search(said) or NO_ARRAY.search(said) or len(said) < 4:
        return f"{call}: NumPy can't compute this with arguments of these types and shapes; see its documentation"
    return f"{call}: {said}"


def display(function: Any) -> str:
    """Return the name by which users call a function."""
    shown = {
        primitives.getitem: "t[index]",
        primitives.astype: "t.astype",
        primitives.concatenate: "np.concatenate",
        primitives.setitem: "t[index] = value",
        primitives.relu: "relu",
    }
    try:
        if function in shown:
            return shown[function]
    except TypeError:  # a user's callable object that can't be hashed
        pass
    name, module = name_of(function), getattr(function, "__module__", None) or ""
    if "." in (path := getattr(function, "__qualname__", name)) and "<locals>" not in path:
        name = path.removesuffix(".__init__")
    if isinstance(function, np.ufunc) or isinstance(getattr(function, "__self__", None), np.ufunc):
        return f"np.{name_of(function)}"
    if module.startswith("numpy"):
        return f"np{module[len('numpy') :]}.{name}" if module in ("numpy.linalg", "numpy.fft") else f"np.{name}"
    if module.startswith("microgradnd.nn."):
        if module == "microgradnd.nn.init":
            return f"nn.init.{name}"
        return f"nn.{name}" if module.endswith((".fit", ".summaries", ".module", ".containers")) else f"F.{name}"
    return "a function without a name" if name == "<lambda>" else name


def _called(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return a call in words: np.dot of 'w' (shape (3,), float64) and 2."""
    given = [described(arg) for arg in args[:6]]
    if len(args) > 6:
        given.append(f"{len(args) - 6} more")
    given += [f"{key}={described(value)}" for key, value in kwargs.items()]
    if not given:
        return display(function)
    return f"{display(function)} of {' and '.join([', '.join(given[:-1])] * (len(given) > 1) + given[-1:])}"


def array_of(value: Any) -> Any:
    """Return the array of a Tensor; anything else is returned unchanged."""
    return value._array if hasattr(type(value), "__primitive__") else value


def described(value: Any) -> str:
    """Return an operand in words: its name, if it has one, shape and dtype."""
    array = array_of(value)
    if array is not value or isinstance(value, np.ndarray):
        node = getattr(value, "_node", None)
        what = f"'{node.name}'" if node is not None and node.name else "a Tensor" if array is not value else "an array"
        return f"{what} (shape {np.shape(array)}, {getattr(array, 'dtype', type(array).__name__)})"
    if isinstance(value, list | tuple) and any(isinstance(array_of(v), np.ndarray) for v in value):
        parts = [described(v) for v in value[:4]] + [f"{len(value) - 4} more"] * (len(value) > 4)
        return f"[{', '.join(parts)}]"
    return _short_repr(value)


def _short_repr(value: Any) -> str:
    if callable(value):
        return name_of(value)
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _no_arrays(values: Iterable[Any]) -> Iterator[str]:
    """Yield what is wrong with each value that isn't an array of numbers."""
    for i, value in enumerate(values):
        array = array_of(value)
        place = f"operand {i}"
        if array is None:
            yield f"{place} is None; did a function forget to return, or is it a .grad before backward()?"
        elif isinstance(array, str | bytes):
            yield f"{place} is text; convert it to a number first: float({_short_repr(array)})"
        elif isinstance(array, np.ndarray) and array.dtype.kind not in "biufc":
            yield f"{place} is an array of dtype {array.dtype}; convert it to numbers first with .astype(float)"
        elif isinstance(array, list | tuple):
            try:
                inside = np.asarray([array_of(v) for v in array])
            except (TypeError, ValueError):
                yield f"{place} is a list whose parts have different lengths; make them equally long, or loop over it"
            else:
                if inside.dtype.kind not in "biufc":
                    yield f"{place} is a list that doesn't hold numbers alone ({_short_repr(array)}); convert its parts"
        elif not isinstance(array, np.ndarray | np.generic | int | float | complex):
            yield (
                f"{place} is of type {type(value).__name__}, which isn't an array of numbers; "
                f"convert it with np.asarray, or pass the array it holds"
            )


def _is_axis(axis: Any) -> bool:
    parts = axis if isinstance(axis, list | tuple) else (axis,)
    return all(isinstance(a, int | np.integer) for a in parts)


def wrong_keyword(name: str, keyword: str, known: list[inspect.Parameter]) -> str:
    """Return the message for an unknown keyword, with the keyword that was meant.

    Examples
    --------
    >>> import inspect
    >>> import numpy as np
    >>> from microgradnd.advice import wrong_keyword
    >>> known = list(inspect.signature(np.sum).parameters.values())
    >>> wrong_keyword("np.sum", "keepdim", known)
    "np.sum takes no keyword 'keepdim'; write keepdims= instead"
    """
    names = [p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
    remedy = instead_of(keyword, names)
    if not remedy:
        others = "it takes none" if known else "pass it by position, or leave it out"
        remedy = f"its parameters are {_all(names)}" if names else others
    return f"{name} takes no keyword {keyword!r}; {remedy}"


def instead_of(keyword: str, names: list[str]) -> str:
    """Return what to do instead of passing an unknown keyword, or an empty string."""
    why = {
        "assign": "arrays are copied into the parameters",
        "device": "arrays are in main memory",
        "persistent": "every buffer is saved; an array that isn't to be saved is a plain attribute",
        "prefix": "put it before the names yourself",
        "recurse": "modules inside are always included; those of one module have no dot in their names",
        "set_to_none": "gradients are always set to None",
        "requires_grad": "set it on the result; on a parameter, once it is in its module",
        "out": "use its result",
        "inplace": "it always returns a result",
        "padding_mode": "the padding is zeros; for others call np.pad(x, ..., mode=...) first",
        "proj_size": "pass the result to nn.Linear",
        "max_norm": "scale the rows yourself, under mg.no_grad()",
        **dict.fromkeys(("capturable", "differentiable", "foreach", "fused"), "there is one implementation"),
        **dict.fromkeys(("epochs", "steps_per_epoch"), "pass total_steps=epochs * steps_per_epoch"),
        "closure": "compute the loss and call backward() before step()",
        "epoch": "each call goes on by one epoch",
        "last_epoch": "call load_state_dict() of the optimizer and of the schedule to resume",
        "verbose": "print get_last_lr() yourself",
    }
    if keyword in why:
        return f"leave it out: {why[keyword]}"
    if keyword in ("input", "tensor") and names:
        return f"pass the array by position, as the first argument, or as {names[0]}="
    if keyword == "other" and len(names) > 1:
        return f"pass it by position, as the second argument, or as {names[1]}="
    meant = next((m for m in KEYWORDS.get(keyword, ()) if m in names), None) or next(
        iter(difflib.get_close_matches(keyword, names, 1)), None
    )
    return f"write {meant}= instead" if meant else ""


def _wrong_count(name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the message for a call with too few or too many arguments."""
    known = [p for p in parameters(function) if p.name != "self"]
    by_place = [p for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    others = [*by_place[len(args) :], *(p for p in known if p.kind is p.KEYWORD_ONLY)]
    needed = [p.name for p in others if p.default is p.empty and p.name not in kwargs]
    text = f"{name} was called with {len(args)} argument{'s' * (len(args) != 1)} by position"
    if isinstance(function, np.ufunc):
        return f"{text}, but it takes {function.nin}; pass the others by keyword, or leave them out"
    if not known and parameters(function):
        return f"{text}, but it takes none"
    if not known:
        return f"{text}, too many or too few; its documentation lists its parameters"
    if needed:
        return f"{text}; it also needs {', '.join(needed)} (its parameters: {_signature(known)})"
    if getattr(function, "__name__", "") == "__init__" and any(hasattr(arg, "dtype") for arg in args):
        return f"{text}, which are its settings ({_signature(known)}); make it first, then call it: {name}()(...)"
    return f"{text}; its parameters are {_signature(known)}"


def _signature(known: list[inspect.Parameter]) -> str:
    stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return ", ".join(f"{stars.get(p.kind, '')}{p.name}{'' if p.default is p.empty else '='}" for p in known)


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lasti
        traceback = traceback.tb_next


def _through_others(traceback: TracebackType | None) -> bool:
    """Return whether an error passed through a user's function, such as a callback."""
    files = [frame.f_code.co_filename for frame, _ in _frames(traceback)]
    return any(not file.startswith((PACKAGE, NUMPY, "<__array_function__")) for file in files)


def _deliberate(traceback: TracebackType | None) -> bool:
    """Return whether the library raised an error on purpose, with its own message."""
    last = list(_frames(traceback))[-1:]
    return any(
        frame.f_code.co_filename.startswith(PACKAGE) and dis.opname[frame.f_code.co_code[at]] == "RAISE_VARARGS"
        for frame, at in last
    )


def _public_class(error: Exception) -> type[Exception]:
    """Return the nearest class of an error whose constructor takes just a message."""
    public = (
        TypeError,
        ValueError,
        IndexError,
        KeyError,
        AttributeError,
        np.linalg.LinAlgError,
        np.exceptions.AxisError,
    )
    found = next(cls for cls in type(error).__mro__ if cls in public or cls is LookupError)
    return TypeError if found is AttributeError else found


def by_blocks(function: Any, args: Iterable[Any], error: Exception) -> Exception | None:
    """Return the error for an operation on another library's array, or None.

    None is for NumPy's arrays.
    """
    if type(error) is refusals.ByBlocks:
        return error
    arrays = (getattr(value, "_array", value) for value in args)
    array = next(filter(is_foreign, arrays), None)
    return (
        None if array is None else refusals.ByBlocks(display(function), array, " ".join(str(error).split()).rstrip("."))
    )


def failed_rule(node: Operation, position: int, mode: str, error: Exception) -> Exception | None:
    """Return a better error for a failed derivative rule, or add a note to its error.

    Parameters
    ----------
    node : Operation
        Where the walk over the tape was.
    position : int
        The position of the rule's argument; negative if unknown.
    mode : {"vjp", "jvp"}
        Which rule.
    error : Exception
        The error that the rule raised, or that using its result raised.

    Returns
    -------
    Exception or None
        An error to raise `from error`, if the rule returned no derivative or has the
        wrong parameters.
    """
    is_users = _through_others(error.__traceback__)
    if not is_users and isinstance(error, TypeError | AttributeError | ValueError):
        said = of_rule(node.function, position, mode, error)
        if said is not None:
            kind = next(
                k for k in (np.linalg.LinAlgError, ValueError, TypeError) if k is TypeError or isinstance(error, k)
            )
            better = kind(said)
            better.add_note(_walk(node, mode))
            return better
    error.add_note(_walk(node, mode))
    return None


def _walk(node: Operation, mode: str) -> str:
    words = "forward pass of derivatives" if mode == "jvp" else "backward pass"
    line = quoted_line(node.note.line) if node.note and node.note.line else ""
    return f"This was in the {words}, at {describe(node)}{line}."


def of_rule(function: Callable[..., Any], position: int, mode: str, error: Exception) -> str | None:
    """Return the message for a rule with a wrong result or wrong parameters.

    Parameters
    ----------
    function, position, mode, error
        As for `failed_rule`; the rule belongs to this function.

    Returns
    -------
    str or None
        None for any other error.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd.advice import of_rule
    >>> error = TypeError("'NoneType' object has no attribute 'shape'")
    >>> of_rule(np.sin, 0, "vjp", error)
    'the VJP rule of np.sin for argument 0 returned None; it must return the...'
    """
    table, word, first = (JVPS, "JVP", "t") if mode == "jvp" else (VJPS, "VJP", "g")
    what = f"the {word} rule of {display(function)}" + (f" for argument {position}" if position >= 0 else "")
    wanted = (
        "the tangent of the result, an array of its shape"
        if mode == "jvp"
        else "the cotangent of that argument, an array of its shape"
    )
    said = " ".join(str(error).split())
    if found := re.search(r"'([\w.]+)' object (has no attribute '(shape|dtype|size|ndim)'|is not subscript)", said):
        came = "None" if found[1] == "NoneType" else f"a {found[1]}"
        return (
            f"{what} returned {came}; it must return {wanted} (np.full makes one from a number); for an argument "
            f"without a derivative, pass None in place of a rule"
        )
    if isinstance(error, np.linalg.LinAlgError):
        return (
            f"{what} failed: {said}; there is no derivative where columns or eigenvectors depend on each other; add a "
            f"small multiple of np.eye to the matrix"
        )
    if COUNT.search(said):
        rules: Any = table.get(function, ())
        known = position >= 0 and isinstance(rules, tuple) and position < len(rules)
        own = f" ({_signature(parameters(rules[position]))})" if known else " other parameters"
        expected = ", ".join([first, "out", *(p.name for p in parameters(function))])
        return f"{what} takes{own}, but is called with ({expected}): {first}, the result, then every argument"
    if said.startswith("the rule gave"):
        return f"{what} gave {said[len('the rule gave ') :]}; it must return {wanted}"
    return None
