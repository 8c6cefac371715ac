"""What the compiler knows about each function that a program may call.

Owns: `TRAITS`, the rows; `traits`, which adds what NumPy itself reveals, and safe
defaults for other functions.
Must not own: what a pass does with a trait (`passes.py`, `spelling.py`, `buffers.py`,
`ownership.py`, `source.py`, `fast.py`, `fusion.py`).
Read next: `passes.py`.

A function without a row is called unchanged: its result may share memory with its
arguments, and it has no loop form. Functions that are recorded as others, such as
`np.ravel`, need no row. `tests/test_traits.py` calls every function that has a
derivative, and compares the rows with NumPy's behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from microgradnd import powers, primitives, triangular
from microgradnd.compiler import choices
from microgradnd.rules.elementwise import share_of_maximum
from microgradnd.rules.indexing import mesh
from microgradnd.rules.linalg import ends

ATOM, CALL, UNARY, POWER, SUM, COMPARISON = 10, 9, 7, 8, 5, 1  # how strongly Python's operators bind


class Form(NamedTuple):
    """How source writes a call.

    Attributes
    ----------
    text : str
        With {0}, {1} for the arguments, whose number must match.
    rank : int
        How strongly its outermost operator binds.
    left, right : int
        The ranks up to which the first argument, or another one, needs parentheses.
    sign : str
        The operator between two arguments.
    """

    text: str
    rank: int = CALL
    left: int = 0
    right: int = 0
    sign: str = ""

    def fits(self, args: Sequence[Any]) -> bool:
        """Return whether it has a place for each of some arguments."""
        return len(args) == self.text.count("{")


class Traits(NamedTuple):
    """What the compiler knows about a function.

    Attributes
    ----------
    memory : str
        The result has memory of its own ("fresh"); the first argument's, if that is
        contiguous ("view"); the same or a single element, so that NumPy may lock it
        ("locked"); or nobody knows ("either").
    is_elementwise : bool
        Each element of the result comes from one element of each argument.
    is_equal : bool
        The result equals the first argument if it has the same shape and dtype.
    is_involution : bool
        Applied to its own result, it returns its only argument.
    is_product : bool
        A product of arrays, which can be written into another array of its dtype.
    is_reduction : bool
        It covers all axes if `axis` isn't given.
    is_step : bool
        It stays one step of a program, though the calls in its body could be
        recorded.
    takes_out : bool
        A positional argument after the others may be the array for the result.
    reducer : callable
        A ufunc's `reduce` that does the same as this reduction.
    spelling : str
        The rule of `formulas.py` or `spelling.py` that may find a faster call.
    form : Form
        How source writes it, if not as a call.
    scalar : str
        The Python expression for floats with the same result to the bit.
    lowering : str
        The method of `fusion.Lowering` that turns it into loops.
    loop : str
        The expression in a loop for one element of each argument.
    kinds : str
        The kinds of numbers for which loops use it.
    kernels : str
        Whose code loops call: "elementary" (`elementary.py`), or "C" for C's math
        functions.
    fold : str
        The helper of `elementary.py` or `machine.py` with which a reduction takes
        in an element.
    counts : bool
        The shape of its result depends on the values of its arguments.
    of_shapes : bool
        Its result depends only on shapes and dtypes.
    instead : str
        What to write instead if it can't be traced.
    """

    memory: Literal["fresh", "view", "locked", "either"] = "either"
    is_elementwise: bool = False
    is_equal: bool = False
    is_involution: bool = False
    is_product: bool = False
    is_reduction: bool = False
    is_step: bool = False
    takes_out: bool = False
    reducer: Any = None
    spelling: str = ""
    form: Form | None = None
    scalar: str = ""
    lowering: str = ""
    loop: str = ""
    kinds: str = "biuf"
    kernels: str = ""
    fold: str = ""
    counts: bool = False
    of_shapes: bool = False
    instead: str = ""

    @property
    def is_view(self) -> bool:
        """Whether a result is a view that can be written to, and costs nothing."""
        return self.memory == "view"


Row = dict[str, Any]  # the traits of a function that NumPy doesn't reveal


def fresh(**more: Any) -> Row:
    """Return the row of a function whose results have memory of their own."""
    return {"memory": "fresh", **more}


def view(**more: Any) -> Row:
    """Return the row of a function whose result is a view if possible."""
    return {"memory": "view", "lowering": "viewed", **more}


def locked(**more: Any) -> Row:
    """Return the row of a function whose result may be a locked view."""
    return {"memory": "locked", "lowering": "viewed", **more}


def operator(sign: str, rank: int, **more: Any) -> Row:
    """Return the row of a ufunc with a Python operator between two arguments."""
    left = rank if rank in (POWER, COMPARISON) else rank - 1  # the others evaluate their left operand first
    text = f"{{0}} {sign} {{1}}"
    return {"form": Form(text, rank, left, rank, sign), "loop": text, **more}


def method(text: str, **more: Any) -> Row:
    """Return the form of a call that reads better as an attribute or a method."""
    return {"form": Form(text, CALL, CALL - 1), **more}


def reduction(fold: str = "", reducer: Any = None, spelling: str = "") -> Row:
    """Return the row of a function that covers all axes, or those of `axis`."""
    loops = {"fold": fold, "lowering": "reduction"} if fold else {}
    return fresh(is_reduction=True, reducer=reducer, spelling=spelling, **loops)


def of_floats(name: str, kernels: str = "", count: int = 1) -> Row:
    """Return the row of a floating-point ufunc that loops call by a name."""
    return {"loop": f"{name}({'{0}, {1}' if count == 2 else '{0}'})", "kinds": "f", "kernels": kernels}


# Whether np.power of an array squares for 2 and takes the root for 0.5, as `**` does in
# every version: the last bit, and roots of -0.0 and -inf, differ
SQUARES, ROOTS = (np.lib.NumpyVersion(np.__version__) >= version for version in ("2.1.0", "2.3.0"))
ALL_EQUAL = "Write np.all(x == y), and np.where to choose by it"
ROWS: dict[Any, Row] = {
    # Arithmetic
    np.add: operator("+", 5, kinds="iuf", scalar="{0} + {1}", spelling="added"),
    np.subtract: operator("-", 5, kinds="iuf", scalar="{0} - {1}", spelling="subtracted"),
    np.multiply: operator("*", 6, kinds="iuf", scalar="{0} * {1}", spelling="multiplied"),
    np.divide: operator("/", 6, kinds="f", scalar="{0} / {1} if {1} else np.divide({0}, {1})", spelling="divided"),
    np.remainder: operator("%", 6, loop=""),
    np.floor_divide: operator("//", 6, loop=""),
    np.power: {**operator("**", POWER), **of_floats("np.power", "C", 2), "spelling": "power"},
    np.float_power: {
        **of_floats("np.power", "C", 2),
        "scalar": "{0} ** {1} if {1} >= 0 else np.float_power({0}, {1})",  # for a base of at most 1
    },
    np.negative: {
        "form": Form("-{0}", UNARY, UNARY),
        "scalar": "-{0}",
        "loop": "-{0}",
        "kinds": "iuf",
        "is_involution": True,
    },
    np.positive: {"is_equal": True},
    np.square: {"form": Form("{0} ** 2", POWER, POWER), "spelling": "square"},
    np.sqrt: {**of_floats("np.sqrt"), "scalar": "math.sqrt({0}) if {0} >= 0 else np.sqrt({0})"},
    np.absolute: {"loop": "abs({0})", "kinds": "iuf"},
    np.fabs: of_floats("abs"),
    np.sign: {"spelling": "compared"},
    np.maximum: {"loop": "maximum({0}, {1})", "kinds": "iuf", "takes_out": False, "spelling": "bound"},
    np.minimum: {"loop": "minimum({0}, {1})", "kinds": "iuf", "takes_out": False, "spelling": "bound"},
    np.fmax: {"spelling": "bound"},
    np.fmin: {"spelling": "bound"},
    # Comparisons, and logic
    np.less: operator("<", COMPARISON),
    np.less_equal: operator("<=", COMPARISON),
    np.greater: operator(">", COMPARISON),
    np.greater_equal: operator(">=", COMPARISON),
    np.equal: operator("==", COMPARISON),
    np.not_equal: operator("!=", COMPARISON),
    np.isnan: {"loop": "{0} != {0}", "kinds": "f"},
    np.isinf: {"loop": "(abs({0}) == np.inf)", "kinds": "f"},
    np.logical_and: {"loop": "{0} & {1}", "kinds": "b"},
    np.logical_or: {"loop": "{0} | {1}", "kinds": "b"},
    np.logical_not: {"loop": "not {0}", "kinds": "b"},
    np.bitwise_and: {"loop": "{0} & {1}", "kinds": "biu"},
    np.bitwise_or: {"loop": "{0} | {1}", "kinds": "biu"},
    np.bitwise_xor: {"loop": "{0} ^ {1}", "kinds": "biu"},
    # Other functions of one element
    **{f: of_floats(f"np.{f.__name__}") for f in (np.floor, np.ceil, np.trunc, np.rint)},
    **{f: of_floats(f.__name__, "elementary") for f in (np.exp, np.log, np.sin, np.cos, np.tanh)},
    np.exp: of_floats("exp", "elementary") | {"spelling": "exponential"},
    np.log: of_floats("log", "elementary") | {"spelling": "logarithm"},
    **{
        f: of_floats(f"np.{f.__name__}", "C", f.nin)
        for f in (
            *(np.expm1, np.log1p, np.log2, np.log10, np.tan, np.sinh, np.cosh, np.hypot, np.copysign, np.arctan2),
            *(np.arcsin, np.arccos, np.arctan, np.arcsinh, np.arccosh, np.arctanh),
        )
    },
    np.where: fresh(lowering="where", spelling="where"),
    **dict.fromkeys(
        (choices.kept, choices.larger, choices.differing, choices.flipped, choices.marked),
        fresh(is_elementwise=True),
    ),
    powers.inverse_root: fresh(is_elementwise=True, lowering="inverse_root"),
    share_of_maximum: fresh(is_step=True, lowering="share", spelling="compared"),  # it can't write into an array
    choices.weighed: fresh(lowering="share", spelling="compared"),
    np.clip: fresh(lowering="clip"),
    # Products
    np.dot: fresh(is_product=True, takes_out=True, lowering="product", spelling="contraction"),
    np.matmul: operator("@", 6, is_product=True, lowering="product", spelling="matmul", loop=""),
    np.vecdot: {"is_product": True},
    **dict.fromkeys((np.vdot, np.outer), fresh()),
    **dict.fromkeys((np.inner, np.tensordot), fresh(spelling="contraction")),
    # Linear algebra
    np.linalg.norm: fresh(spelling="norm"),
    ends: {"is_step": True},
    np.linalg.solve: fresh(spelling="solve"),
    np.linalg.cholesky: fresh(spelling="cholesky"),
    **dict.fromkeys((triangular.solve_triangular, triangular.multiply_triangular, triangular.unscale), fresh()),
    triangular.cholesky: fresh(),
    triangular.factored: {"memory": "either"},
    **dict.fromkeys((triangular.solve_factored, triangular.inverse, triangular.slogdet), fresh()),
    # Reductions
    np.sum: reduction("add", np.add.reduce, "sums"),
    np.prod: reduction("multiply", np.multiply.reduce, "reduced"),
    np.max: reduction("largest", np.maximum.reduce, "maxima"),
    np.min: reduction("smallest", np.minimum.reduce, "reduced"),
    np.mean: reduction("add", None, "mean"),
    np.var: reduction("", None, "variance"),
    np.std: reduction("", None, "deviation"),
    **dict.fromkeys((np.any, np.all, np.argmin), reduction()),
    np.argmax: reduction() | method("{0}.argmax({1})"),
    np.add.reduce: {"fold": "add", "lowering": "reduction"},
    np.multiply.reduce: {"fold": "multiply", "lowering": "reduction"},
    np.maximum.reduce: {"fold": "largest", "lowering": "reduction"},
    np.minimum.reduce: {"fold": "smallest", "lowering": "reduction"},
    # The same elements in another place
    np.transpose: view(is_involution=True, **method("{0}.T")),
    np.matrix_transpose: view(is_involution=True, **method("{0}.mT")),
    np.reshape: view(is_equal=True, **method("{0}.reshape({1})")),
    np.squeeze: view(is_equal=True),
    np.expand_dims: view(spelling="widened"),
    **dict.fromkeys((np.swapaxes, np.moveaxis, np.real, np.flip), view()),
    np.broadcast_to: locked(is_equal=True),
    np.diagonal: locked(),
    np.diag: {"memory": "locked"},
    np.lib.stride_tricks.sliding_window_view: locked(),
    np.imag: {"memory": "locked"},
    mesh: {"memory": "either"},
    np.einsum: {"memory": "either", "spelling": "contraction"},  # a view if it only names axes, or takes a diagonal
    **dict.fromkeys((np.fliplr, np.flipud, np.rot90), view()),
    **dict.fromkeys((np.zeros_like, np.ones_like), fresh()),
    np.copy: fresh(is_equal=True, lowering="converted"),  # where a result must be a copy
    np.take: fresh(**method("{0}.take({1})")),
    **dict.fromkeys((np.cumsum, np.cumprod, np.sort, np.argsort, np.tile, np.repeat), fresh()),
    **dict.fromkeys((float, complex, int, bool), fresh()),  # a result that is a Python number
    # Operations without a NumPy function
    primitives.identity: {"is_equal": True, "is_step": True},
    primitives.select: {"is_step": True},
    primitives.astype: fresh(is_elementwise=True, is_equal=True, is_step=True, **method("{0}.astype({1})"))
    | {"lowering": "converted", "spelling": "converted"},
    primitives.getitem: {"is_step": True, "lowering": "gather", "spelling": "picked"},
    primitives.scatter: fresh(is_step=True, lowering="scatter", spelling="scattered"),
    primitives.setitem: fresh(is_step=True, lowering="setitem"),
    primitives.concatenate: fresh(is_step=True, lowering="concatenate"),
    primitives.expand: locked(is_step=True, spelling="expanded"),
    # Functions that can't be traced, or needn't be
    **{f: {"counts": True} for f in (np.nonzero, np.flatnonzero, np.argwhere)},
    **{
        f: {"of_shapes": True}
        for f in (
            *(np.shape, np.ndim, np.size, np.iscomplexobj, np.isrealobj, np.isscalar, np.iterable, np.can_cast),
            *(np.common_type, np.result_type, np.isfortran),
            *(np.tril_indices_from, np.triu_indices_from, np.diag_indices_from),
        )
    },
    np.allclose: {"instead": "Write np.all(np.isclose(x, y)), and np.where to choose by it"},
    np.array_equal: {"instead": ALL_EQUAL},
    np.array_equiv: {"instead": ALL_EQUAL},
}


def told(function: Any) -> Traits:
    """Return the traits that follow for a function without a row."""
    if isinstance(function, np.ufunc):
        single = function.signature is None and function.nout == 1
        return Traits("fresh", is_elementwise=single, takes_out=True, lowering="ufunc")
    if getattr(function, "body", None) in TRAITS:  # a primitive around NumPy's function, such as np.clip's
        return TRAITS[function.body]
    computes = is_reducer(function) or getattr(function, "__module__", "") in ("numpy.linalg", "numpy.fft")
    return Traits("fresh" if computes else "either")


def is_reducer(function: Any) -> bool:
    """Return whether a function is a ufunc's `reduce`."""
    return isinstance(getattr(function, "__self__", None), np.ufunc) and function.__name__ == "reduce"


TRAITS: dict[Any, Traits] = {}
TRAITS |= {function: told(function)._replace(**row) for function, row in ROWS.items()}


def traits(function: Any) -> Traits:
    """Return the traits of a function: its row, or those that follow without one."""
    return TRAITS.get(function) or told(function)


def gives_view(function: Any, args: Sequence[Any], arrays: int) -> bool:
    """Return whether a call with some number of arrays gives a view of the first."""
    if function is primitives.getitem:
        return primitives.is_basic(args[1])
    return traits(function).memory in ("view", "locked") and arrays == 1
