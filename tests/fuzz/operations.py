"""The table of operations: how each is spelled for us and for PyTorch, and how far it
is from its kinks.

Owns: `OPERATIONS`, and the functions that choose operands and parameters of each kind.
Must not own: the state of a draw (`draw.py`), or what runs the text (`check.py`).
Read next: `draw.py`.

The spellings of PyTorch use its own functions. Where it has none of that meaning,
`torch_side.py` spells it from smaller ones, so that no derivative rule of ours has a
part in it.
"""

from __future__ import annotations

from typing import Any

from tests.fuzz.programs import Index, Operation

AXIS = "axis={axis}, keepdims={keepdims}"


# Choosing operands and parameters: each takes a `draw.Draw` and returns (operands,
# parameters), or None


def one(d: Any) -> Any:
    return [d.value()], {}


def real(d: Any) -> Any:
    return [d.value(kind="f")], {}


def complex_one(d: Any) -> Any:
    return [d.value(kind="c")], {}


def number(d: Any) -> Any:
    return [d.value()], {"k": d.number()}


def real_number(d: Any) -> Any:
    return [d.value(kind="f")], {"k": d.number()}


def two(d: Any) -> Any:
    x = d.value()
    return [x, d.value(broadcasts_with=x)], {}


def two_real(d: Any) -> Any:
    x = d.value(kind="f")
    return [x, d.value(kind="f", broadcasts_with=x)], {}


def same(d: Any) -> Any:
    x = d.value()
    return [x, d.value(shape=d.shape(x))], {}


def array_and(d: Any) -> Any:
    x = d.value()
    return [d.constant(broadcasts_with=x), x], {}


def axis_of(d: Any, kind: str = "fc") -> Any:
    x = d.value(kind=kind)
    return [x], {"axis": d.axes(x), "keepdims": d.chance(0.4)}


def real_axis(d: Any) -> Any:
    return axis_of(d, "f")


def one_axis(d: Any, kind: str = "fc") -> Any:
    x = d.value(kind=kind, min_ndim=1)
    return [x], {"axis": d.axis(x)}


def real_one_axis(d: Any) -> Any:
    return one_axis(d, "f")


def axis_or_none(d: Any) -> Any:
    x = d.value(kind="f", min_ndim=1)
    return [x], {"axis": d.axis(x), "keepdims": d.chance(0.4)}


def masked_axis(d: Any) -> Any:
    x = d.value(min_ndim=1)
    return [x], {"mask": d.mask(d.shape(x)), "axis": d.axis(x)}


def masked_pair(d: Any) -> Any:
    x = d.value()
    y = d.value(shape=d.shape(x))
    return [x, y], {"mask": d.mask(d.shape(x))}


def reshaped(d: Any) -> Any:
    x = d.value()
    return [x], {"shape": d.other_shape(d.size(x))}


def permuted(d: Any) -> Any:
    x = d.value(min_ndim=2)
    return [x], {"axes": d.permutation(len(d.shape(x)))}


def two_axes(d: Any) -> Any:
    x = d.value(min_ndim=2)
    a, b = d.permutation(len(d.shape(x)))[:2]
    return [x], {"a": a, "b": b}


def new_axis(d: Any) -> Any:
    x = d.value()
    return [x], {"axis": d.integer(-1, len(d.shape(x)))}


def spread(d: Any) -> Any:
    x = d.value()
    return [x], {"shape": (d.integer(2, 3), *d.shape(x))}


def along(d: Any) -> Any:
    x = d.value(min_ndim=1)
    return [x], {"axis": d.axis(x), "n": d.integer(1, 3)}


def joined(d: Any) -> Any:
    x = d.value(min_ndim=1)
    axis = d.axis(x)
    y = d.value(alike_but_along=(x, axis))
    return [x, y], {"axis": axis}


def stacked(d: Any) -> Any:
    x = d.value()
    return [x, d.value(shape=d.shape(x))], {"axis": d.integer(0, len(d.shape(x)))}


def split_off(d: Any) -> Any:
    x = d.value(min_ndim=1)
    axis = d.axis(x)
    n = d.shape(x)[axis]
    return ([x], {"axis": axis, "at": d.integer(1, n - 1), "which": d.integer(0, 1)}) if n > 1 else None


def indexed(d: Any) -> Any:
    x = d.value(min_ndim=1)
    return [x], {"index": d.index(d.shape(x))}


def picked(d: Any) -> Any:
    x = d.value(min_ndim=1)
    axis = d.axis(x)
    return [x], {"axis": axis, "index": d.positions(d.shape(x)[axis])}


def gathered(d: Any) -> Any:
    x = d.value(min_ndim=1)
    axis = d.axis(x)
    shape = list(d.shape(x))
    bound, shape[axis] = shape[axis], d.integer(1, 3)
    return [x], {"index": d.integers(bound, tuple(shape)), "axis": axis}


def two_matrices(d: Any) -> Any:
    x = d.value(min_ndim=1)
    shape = d.shape(x)
    y = d.value(where=lambda s: len(s) >= 1 and s[max(len(s) - 2, 0)] == shape[-1] and fits(shape[:-2], s[:-2]))
    return [x, y], {}


def fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a[::-1], b[::-1], strict=False))


def matrix(d: Any) -> Any:
    return [d.value(kind="f", ndim=2)], {}


def any_matrix(d: Any) -> Any:
    return [d.value(ndim=2)], {}


def square(d: Any) -> Any:
    return [d.value(kind="f", where=lambda s: len(s) == 2 and s[0] == s[1])], {}


def system(d: Any) -> Any:
    (x,), _ = square(d)
    n = d.shape(x)[0]
    return [x, d.value(kind="f", where=lambda s: 1 <= len(s) <= 2 and s[0] == n)], {}


def vectors(d: Any) -> Any:
    return [d.value(ndim=1), d.value(ndim=1)], {}


def threes(d: Any) -> Any:
    return [d.value(where=lambda s: s[-1:] == (3,)), d.value(where=lambda s: s == (3,))], {}


def ordered_norm(d: Any) -> Any:
    x = d.value(kind="f", min_ndim=1)
    return [x], {"axis": d.axis(x), "ord": d.choice([None, 1, 2, 3, float("inf")])}


def powered(d: Any) -> Any:
    (x,), _ = square(d)
    return [x], {"n": d.integer(0, 3)}


def offset(d: Any) -> Any:
    return [d.value(ndim=2)], {"k": d.integer(-1, 1)}


def decided(d: Any) -> Any:
    return [d.value(), d.value(kind="f")], {"k": d.number()}


def complex_pair(d: Any) -> Any:
    if not d.complex:
        return None
    x = d.value(kind="f")
    return [x, d.value(kind="f", shape=d.shape(x))], {}


def assigned(d: Any) -> Any:
    x = d.variable(min_ndim=1)
    index = d.index(d.shape(x), repeats=False)
    return [x, d.value(kind=d.kind(x), fits_at=(x, index))], {"index": index}


def assigned_number(d: Any) -> Any:
    x = d.variable(min_ndim=1)
    return [x], {"index": d.index(d.shape(x), repeats=False), "k": d.number()}


def assigned_where(d: Any) -> Any:
    return [d.variable(kind="f", min_ndim=1)], {"k": d.number()}


def augmented(d: Any) -> Any:
    x = d.variable()
    return [x, d.value(kind=d.kind(x), broadcasts_to=d.shape(x))], {}


def augmented_number(d: Any) -> Any:
    return [d.variable()], {"k": d.number()}


def array_changed(d: Any) -> Any:
    return [d.users_array()], {"k": d.number()}


def array_assigned(d: Any) -> Any:
    x = d.users_array(min_ndim=1)
    return [x], {"index": d.index(d.shape(x), repeats=False), "k": d.number()}


def tensor_changed(d: Any) -> Any:
    """Choose a leaf, or a Tensor without gradient."""
    x = d.input_tensor()
    return [x], {"k": d.number(), "new": d.fresh_for(x)}


def leaf_changed(d: Any) -> Any:
    return [d.input_tensor(leaf=True)], {"k": d.number()}


def detached(d: Any) -> Any:
    return [d.value(tracked=True)], {}


def elementwise(name: str, ours: str, torch: str = "", distance: str = "", draw: Any = one) -> Operation:
    return Operation(name, ours, torch or ours.replace("np.", "torch."), draw, distance=distance)


def assignment(name: str, ours: str, torch: str, draw: Any, **more: Any) -> Operation:
    return Operation(name, ours, torch, draw, statement=True, group="assignment", **more)


def mutation(name: str, ours: str, torch: str, draw: Any, plain: str = "", **more: Any) -> Operation:
    return Operation(name, ours, torch, draw, plain, statement=True, group="mutation", **more)


CUT = "np.where(np.real({0}) > 0, np.abs({0}), np.abs(np.imag({0})))"  # from the negative real axis
POSITIVE = "np.real({0}) - np.abs(np.imag({0}))"
OPERATIONS: list[Operation] = [
    # Elementwise, of one value
    *(elementwise(f, f"np.{f}({{0}})") for f in ("sin", "cos", "exp", "square", "negative", "sinh", "cosh")),
    elementwise("tanh", "np.tanh({0})", distance="np.abs(np.cosh({0}))"),
    *(elementwise(f, f"np.{f}({{0}})", draw=real) for f in ("arctan", "arcsinh", "expm1", "exp2")),
    *(elementwise(f, f"np.{f}({{0}})", distance=CUT) for f in ("sqrt", "log")),
    *(elementwise(f, f"np.{f}({{0}})", distance="{0}", draw=real) for f in ("log2", "log10")),
    *(elementwise(f, f"np.{f}({{0}})", distance="1 - np.abs({0})", draw=real) for f in ("arcsin", "arccos", "arctanh")),
    elementwise("arccosh", "np.arccosh({0})", distance="{0} - 1", draw=real),
    elementwise("log1p", "np.log1p({0})", distance="1 + {0}", draw=real),
    elementwise("tan", "np.tan({0})", distance="np.abs(np.cos({0})) - 0.1", draw=real),
    elementwise("cbrt", "np.cbrt({0})", "cbrt({0})", "np.abs({0})", real),
    elementwise("sinc", "np.sinc({0})", distance="np.abs({0}) - 0.1", draw=real),
    elementwise("absolute", "np.abs({0})", distance="np.abs({0})"),
    elementwise("abs()", "abs({0})", distance="np.abs({0})"),
    elementwise("reciprocal", "np.reciprocal({0})", distance="np.abs({0}) - 0.1"),
    elementwise("sign", "np.sign({0})", distance="np.abs({0})", draw=real),
    elementwise("floor", "np.floor({0})", distance="np.abs({0} - np.round({0}))", draw=real),
    elementwise("relu", "mg.nn.functional.relu({0})", "torch.relu({0})", "np.abs({0})", real),
    elementwise("sigmoid", "mg.nn.functional.sigmoid({0})", "torch.sigmoid({0})", draw=real),
    elementwise("softplus", "np.logaddexp(0, {0})", "torch.nn.functional.softplus({0})", draw=real),
    elementwise("clip", "np.clip({0}, -0.7, 0.9)", "torch.clip({0}, -0.7, 0.9)", "clear({0}, -0.7, 0.9)", real),
    elementwise("where", "np.where({0} > {k}, {0}, 0.1 * {0})", "", "clear({0}, {k})", real_number),
    elementwise("degrees", "np.radians(np.degrees({0}))", "{0} * 1", draw=real),
    elementwise("positive", "np.positive({0})", "{0} * 1"),
    elementwise("unary minus", "-{0}"),
    elementwise("copy", "{0}.copy()", "{0}.clone()"),
    elementwise("times number", "{0} * {k}", draw=number),
    elementwise("number minus", "{k} - {0}", draw=number),
    elementwise("number over", "{k} / {0}", distance="np.abs({0}) - 0.1", draw=number),
    elementwise("number plus", "{k} + {0}", draw=number),
    elementwise("over number", "{0} / (2 + abs({k}))", draw=number),
    elementwise("square by power", "{0} ** 2"),
    elementwise("cube", "{0} ** 3"),
    elementwise("negative power", "{0} ** -2", distance="np.abs({0}) - 0.2"),
    elementwise("real power", "{0} ** 1.5", distance="{0}", draw=real),
    elementwise("power of number", "1.5 ** {0}", draw=real),
    elementwise("float_power", "np.float_power({0}, 3)", "{0} ** 3", draw=real),
    elementwise("remainder by number", "{0} % 0.9", "torch.remainder({0}, 0.9)", "clear({0} % 0.9, 0.0, 0.9)", real),
    elementwise("nan_to_num", "np.nan_to_num({0})", "{0} * 1", draw=real),
    # Elementwise, of two
    *(elementwise(f, f"np.{f}({{0}}, {{1}})", draw=two) for f in ("add", "subtract", "multiply")),
    *(elementwise(f"operator {o}", f"{{0}} {o} {{1}}", draw=two) for o in "+-*"),
    *(elementwise(f"array {o}", f"{{0}} {o} {{1}}", draw=array_and) for o in "+-*"),
    elementwise("divide", "{0} / {1}", distance="np.abs({1}) - 0.1", draw=two),
    elementwise("array /", "{0} / {1}", distance="np.abs({1}) - 0.1", draw=array_and),
    elementwise("power", "{0} ** {1}", distance="{0}", draw=two_real),
    *(
        elementwise(f, f"np.{f}({{0}}, {{1}})", distance="np.abs({0} - {1})", draw=two_real)
        for f in ("maximum", "minimum", "fmax", "fmin")
    ),
    elementwise("hypot", "np.hypot({0}, {1})", distance="np.hypot({0}, {1}) - 0.1", draw=two_real),
    elementwise(
        "arctan2",
        "np.arctan2({0}, {1})",
        distance="np.where({1} > 0, np.hypot({0}, {1}), np.abs({0})) - 0.1",
        draw=two_real,
    ),
    elementwise("logaddexp", "np.logaddexp({0}, {1})", draw=two_real),
    elementwise("logaddexp2", "np.logaddexp2({0}, {1})", draw=two_real),
    elementwise("copysign", "np.copysign({0}, {1})", distance="np.minimum(np.abs({0}), np.abs({1}))", draw=two_real),
    elementwise(
        "larger", "np.where({0} > {1}, {0} * {1}, {1})", distance="np.abs({0} - {1})", draw=two_real
    ),
    Operation("where mask", "np.where({mask}, {0}, {1})", "torch.where(torch.tensor({mask}), {0}, {1})", masked_pair),
    Operation(
        "ufunc where=",
        "np.multiply({0}, {1}, where={mask})",
        "torch.where(torch.tensor({mask}), {0} * {1}, 0.0)",
        masked_pair,
        plain="np.where({mask}, {0} * {1}, 0.0)[()]",  # of no axes a number, as a ufunc gives it
    ),
    # Reductions
    *(Operation(f, f"np.{f}({{0}}, {AXIS})", f"reduced(torch.{f}, {{0}}, {AXIS})", axis_of) for f in ("sum", "mean")),
    Operation("sum method", "{0}.sum()", "{0}.sum()", one),
    Operation("mean method", "{0}.mean({axis})", "torch.mean({0}, {axis})", one_axis),
    Operation("prod", f"np.prod({{0}}, {AXIS})", f"product({{0}}, {AXIS})", axis_of),
    Operation("max", f"np.max({{0}}, {AXIS})", f"reduced(torch.amax, {{0}}, {AXIS})", real_axis, distance="gaps({0})"),
    Operation("min", f"np.min({{0}}, {AXIS})", f"reduced(torch.amin, {{0}}, {AXIS})", real_axis, distance="gaps({0})"),
    Operation("var", f"np.var({{0}}, {AXIS})", f"variance({{0}}, {AXIS})", axis_of),
    Operation(
        "std",
        f"np.std({{0}}, {AXIS})",
        f"torch.sqrt(variance({{0}}, {AXIS}))",
        real_axis,
        distance="np.std({0}, axis={axis}) - 0.1",
    ),
    Operation("sum where=", "np.sum({0}, axis={axis}, where={mask})", "torch.sum({0} * torch.tensor({mask}), {axis})",
              masked_axis),
    Operation("cumsum", "np.cumsum({0}, axis={axis})", "torch.cumsum({0}, {axis})", one_axis),
    Operation("cumprod", "np.cumprod({0}, axis={axis})", "torch.cumprod({0}, {axis})", one_axis),
    Operation("diff", "np.diff({0}, axis={axis})", "torch.diff({0}, dim={axis})", one_axis),
    Operation("trapezoid", "np.trapezoid({0}, axis={axis})", "torch.trapezoid({0}, dim={axis})", one_axis),
    Operation("ptp", "np.ptp({0}, axis={axis})", "torch.amax({0}, {axis}) - torch.amin({0}, {axis})", real_one_axis,
              distance="gaps({0})"),
    Operation("median", "np.median({0}, axis={axis})", "median({0}, {axis})", real_one_axis, distance="gaps({0})"),
    Operation("sort", "np.sort({0}, axis={axis})", "torch.sort({0}, dim={axis}).values", real_one_axis,
              distance="gaps({0})"),
    Operation("cumulative maximum", "np.maximum.accumulate({0}, axis={axis})", "torch.cummax({0}, {axis}).values",
              real_one_axis, distance="gaps({0})"),
    Operation("logsumexp", "np.logaddexp.reduce({0}, axis={axis})", "torch.logsumexp({0}, {axis})", real_one_axis),
    Operation("softmax", "mg.nn.functional.softmax({0}, axis={axis})", "torch.softmax({0}, {axis})", real_one_axis),
    Operation("largest", "{0}.reshape(-1)[np.argmax({0})]", "torch.max({0})", real, distance="gaps({0})"),
    Operation(
        "norm",
        "np.linalg.norm({0}, ord={ord}, axis={axis})",
        "torch.linalg.vector_norm({0}, 2 if {ord} is None else {ord}, {axis})",
        ordered_norm,
        distance="np.minimum(np.min(np.abs({0})), gaps(np.abs({0})))",
    ),
    Operation("average", "np.average({0}, axis={axis})", "torch.mean({0}, {axis})", one_axis),
    # Shapes
    Operation("reshape", "{0}.reshape({shape})", "{0}.reshape({shape})", reshaped),
    Operation("ravel", "np.ravel({0})", "{0}.reshape(-1)", one),
    Operation("T", "{0}.T", "{0}.permute(tuple(range({0}.ndim - 1, -1, -1)))", one),
    Operation("transpose", "np.transpose({0}, {axes})", "{0}.permute({axes})", permuted),
    Operation("swapaxes", "np.swapaxes({0}, {a}, {b})", "{0}.swapaxes({a}, {b})", two_axes),
    Operation("moveaxis", "np.moveaxis({0}, {a}, {b})", "{0}.movedim({a}, {b})", two_axes),
    Operation("expand_dims", "np.expand_dims({0}, {axis})", "{0}.unsqueeze({axis})", new_axis),
    Operation("squeeze", "np.squeeze({0})", "{0}.squeeze()", one),
    Operation("broadcast_to", "np.broadcast_to({0}, {shape})", "{0}.expand({shape})", spread),
    Operation("flip", "np.flip({0}, {axis})", "torch.flip({0}, ({axis},))", one_axis),
    Operation("roll", "np.roll({0}, {n}, axis={axis})", "torch.roll({0}, {n}, {axis})", along),
    Operation("repeat", "np.repeat({0}, {n}, axis={axis})", "torch.repeat_interleave({0}, {n}, {axis})", along),
    Operation("tril", "np.tril({0}, {k})", "torch.tril({0}, {k})", offset),
    Operation("triu", "np.triu({0}, {k})", "torch.triu({0}, {k})", offset),
    Operation("diagonal", "np.diagonal({0}, {k})", "torch.diagonal({0}, {k})", offset),
    Operation("diag", "np.diag({0})", "torch.diag({0})", any_matrix),
    Operation("trace", "np.trace({0})", "torch.trace({0})", any_matrix),
    Operation("rot90", "np.rot90({0})", "torch.rot90({0})", any_matrix),
    # Joining and splitting
    Operation("concatenate", "np.concatenate([{0}, {1}], axis={axis})", "torch.cat([{0}, {1}], {axis})", joined),
    Operation("stack", "np.stack([{0}, {1}], axis={axis})", "torch.stack([{0}, {1}], {axis})", stacked),
    Operation("split", "np.split({0}, [{at}], axis={axis})[{which}]",
              "torch.tensor_split({0}, [{at}], {axis})[{which}]", split_off),
    Operation("ravelled", "np.append({0}, {1})", "torch.cat([{0}.reshape(-1), {1}.reshape(-1)])", two),
    # Indexing
    Operation("getitem", "{0}[{index}]", "take({0}, np.s_[{index}])", indexed),
    Operation("take", "np.take({0}, {index}, axis={axis})",
              "torch.index_select({0}, {axis}, torch.tensor({index}) % {0}.shape[{axis}])", picked),
    Operation("take_along_axis", "np.take_along_axis({0}, {index}, axis={axis})",
              "torch.take_along_dim({0}, torch.tensor({index}), {axis})", gathered),
    Operation("where positive", "{0}[{0} > {k}]", "{0}[{0} > {k}]", real_number, distance="clear({0}, {k})"),
    # Linear algebra
    *(
        Operation(f, "{0} @ {1}", "torch.matmul(*alike({0}, {1}))", two_matrices)
        for f in ("matmul", "product", "matrices")
    ),
    Operation("dot", "np.dot({0}, {1})", "dot({0}, {1})", two_matrices),
    Operation("outer", "np.outer({0}, {1})", "torch.outer(*alike({0}, {1}))", vectors),
    Operation("gram", "np.einsum('ij,kj->ik', {0}, {0})", "{0} @ {0}.T", any_matrix),
    Operation("tensordot", "np.tensordot({0}, {0}, axes=([0], [0]))", "{0}.T @ {0}", any_matrix),
    Operation("kron", "np.kron({0}, {1})", "torch.kron(*alike({0}, {1}))", vectors),
    Operation("cross", "np.cross({0}, {1})", "torch.linalg.cross(*torch.broadcast_tensors(*alike({0}, {1})))", threes),
    Operation("inner", "np.inner({0}, {0})", "inner({0}, {0})", one),
    Operation("inv", "np.linalg.inv({0})", "torch.linalg.inv({0})", square, distance="conditioned({0})"),
    Operation("solve", "np.linalg.solve({0}, {1})", "torch.linalg.solve({0}, {1})", system,
              distance="conditioned({0})"),
    Operation("det", "np.linalg.det({0})", "torch.linalg.det({0})", square, distance="conditioned({0})"),
    Operation("slogdet", "np.linalg.slogdet({0})[1]", "torch.linalg.slogdet({0})[1]", square,
              distance="conditioned({0})"),
    Operation("cholesky", "np.linalg.cholesky({0} @ {0}.T + np.eye(len({0})))",
              "torch.linalg.cholesky({0} @ {0}.T + torch.eye(len({0})))", matrix),
    Operation("eigvalsh", "np.linalg.eigvalsh({0} + {0}.T)", "torch.linalg.eigvalsh({0} + {0}.T)", square,
              distance="gaps(np.linalg.eigvalsh({0} + {0}.T))"),
    Operation("svdvals", "np.linalg.svd({0}, compute_uv=False)", "torch.linalg.svdvals({0})", matrix,
              distance="np.minimum(conditioned({0}), gaps(np.linalg.svd({0}, compute_uv=False)))"),
    Operation("pinv", "np.linalg.pinv({0})", "torch.linalg.pinv({0})", matrix, distance="conditioned({0})"),
    Operation("nuclear norm", "np.linalg.norm({0}, 'nuc')", "torch.linalg.matrix_norm({0}, 'nuc')", matrix,
              distance="conditioned({0})"),
    Operation("matrix_power", "np.linalg.matrix_power({0}, {n})", "torch.linalg.matrix_power({0}, {n})", powered),
    # Complex
    Operation("real", "np.real({0})", "torch.real({0})", complex_one),
    Operation("imag", "{0}.imag", "torch.imag({0})", complex_one),
    Operation("conj", "np.conj({0})", "torch.conj({0}) * 1", one),
    Operation("angle", "np.angle({0})", "torch.angle({0})", complex_one, distance=CUT),
    Operation("to complex", "{0} + 1j * {1}", "{0} + 1j * {1}", complex_pair),
    Operation("fft", "np.fft.fft({0}, axis={axis})", "torch.fft.fft({0}, dim={axis})", lambda d: one_axis(d, "c")),
    Operation("ifft", "np.fft.ifft({0}, axis={axis})", "torch.fft.ifft({0}, dim={axis})", lambda d: one_axis(d, "c")),
    # Control
    Operation(
        "branch",
        "np.sin({0}) if np.sum({1}) > {k} else {0} * 0.5",
        "torch.sin({0}) if torch.sum({1}) > {k} else {0} * 0.5",
        decided,
        plain="np.sin({0}) if frozen(np.sum({1}) > {k}, 'choice {result}') else {0} * 0.5",
        distance="clear(np.sum({1}), {k})",
    ),
    Operation("checkpoint", "mg.checkpoint(lambda v: np.sin(v) * v)({0})", "torch.sin({0}) * {0}", one,
              plain="np.sin({0}) * {0}"),
    Operation("detach", "{0}.detach()", "{0}.detach()", detached, plain="frozen({0}, '{result}')", follows=False),
    Operation("new tensor", "mg.tensor({0}.data)", "{0}.detach().clone()", detached,
              plain="frozen(np.array({0}), '{result}')", follows=False),
    Operation("zeros_like", "np.zeros_like({0})", "torch.zeros_like({0})", one, follows=False),
    # Assignment: PyTorch's side makes a new value
    assignment("setitem", "{0}[{index}] = {1}", "{0} = put({0}, np.s_[{index}], {1})", assigned),
    assignment("setitem number", "{0}[{index}] = {k}", "{0} = put({0}, np.s_[{index}], {k})", assigned_number),
    assignment("setitem where", "{0}[{0} < {k}] = 0.25", "{0} = torch.where({0} < {k}, 0.25, {0})", assigned_where,
               distance="clear({0}, {k})"),
    assignment("setitem +=", "{0}[{index}] += {1}", "{0} = put({0}, np.s_[{index}], take({0}, np.s_[{index}]) + {1})",
               assigned),
    assignment("setitem *=", "{0}[{index}] *= {k}", "{0} = put({0}, np.s_[{index}], take({0}, np.s_[{index}]) * {k})",
               assigned_number),
    *(assignment(f"{o}=", f"{{0}} {o}= {{1}}", f"{{0}} = {{0}} {o} {{1}}", augmented) for o in "+-*"),
    assignment("*= number", "{0} *= {k}", "{0} = {0} * {k}", augmented_number),
    # Changes between use and derivative: the derivative at the values that were used,
    # or an error
    mutation("user's array *=", "{0} *= {k}", "{0} = {0} * {k}", array_changed),
    mutation("user's array []=", "{0}[{index}] = {k}", "{0} = put({0}, np.s_[{index}], {k})", array_assigned),
    mutation("-= under no_grad", "with mg.no_grad():\n    {0} -= {k}", "with torch.no_grad():\n    {0}.sub_({k})",
             tensor_changed, plain="{0} -= {k}"),
    mutation("[...] = under no_grad", "with mg.no_grad():\n    {0}[...] = {new}",
             "with torch.no_grad():\n    {0}.copy_(torch.tensor({new}))",
             tensor_changed, plain="{0}[...] = moved({0}, {new}, '{0} {result}')"),
    mutation("updating", "with {0}.updating() as array:\n    array *= {k}",
             "with torch.no_grad():\n    {0}.mul_({k})", tensor_changed,
             plain="{0}[...] = moved({0}, {0} * {k}, '{0} {result}')"),
    mutation(".data =", "{0}.data = {new}", "with torch.no_grad():\n    {0}.copy_(torch.tensor({new}))", tensor_changed,
             plain="{0} = moved({0}, {new}, '{0} {result}')"),
    mutation("load_state_dict", "holder({0}).load_state_dict({{'held': {new}}})",
             "with torch.no_grad():\n    {0}.copy_(torch.tensor({new}))",
             tensor_changed, plain="{0}[...] = moved({0}, {new}, '{0} {result}')"),
    mutation("SGD step", "step({0}, {k})", "with torch.no_grad():\n    {0}.sub_({k})", leaf_changed,
             plain="{0} -= {k}"),
]  # fmt: skip

__all__ = ["OPERATIONS", "Index"]
