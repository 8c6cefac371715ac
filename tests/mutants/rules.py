"""Faults in the derivative rules.

Owns: the entries for `microgradnd/rules/` and the primitives.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_laws.py`.
"""

RULES = "tests/test_rules.py"
LINALG = "tests/test_linalg.py"


def laws(*rows: str, more: str = RULES) -> str:
    """Return the laws of some rows, and other tests."""
    return " ".join([*(f"tests/test_laws.py::test_laws[{row}]" for row in rows), more])


ENTRIES: list[tuple[str, ...]] = [
    # elementwise.py
    (
        "elementwise.py",
        "elementwise(np.sin, lambda g, out, x: g * np.cos(x))",
        "elementwise(np.sin, lambda g, out, x: -g * np.cos(x))",
        laws("sin"),
    ),
    ("elementwise.py", "lambda g, out, x, y: -g * out / y)", "lambda g, out, x, y: -g * x / y)", laws("divide")),
    (
        "elementwise.py",
        "elementwise(np.cbrt, lambda g, out, x: g / (3 * out * out))",
        "elementwise(np.cbrt, lambda g, out, x: g / (3 * out))",
        laws("cbrt"),
    ),
    (
        "elementwise.py",
        "np.where((x == 0) & (np.real(y) >= 0), 1.0, x)",
        "x",
        laws("power") + " tests/test_laws.py::test_kinks_have_the_promised_value",
    ),
    (
        "elementwise.py",
        "np.where((y == 0) & (x == 0), 1.0",
        "np.where(y == 0, 1.0",
        laws("power", "power-exponents", "power-to-0"),
    ),
    ("elementwise.py", "g / (np.sqrt(x - 1) * np.sqrt(x + 1))", "g / np.sqrt(x * x - 1)", laws("arccosh-complex")),
    ("elementwise.py", "share(g, out, x == y, (x > y) | np.isnan(y)),", "share(g, out, x == y, x > y),", laws("fmax")),
    (
        "elementwise.py",
        "np.where(tie, 0.5 * g, g * wins)",
        "np.where(tie, g, g * wins)",
        laws("fmax") + " tests/test_laws.py::test_kinks_have_the_promised_value",
    ),
    ("elementwise.py", "np.conj(np.sign(x)) if x.dtype", "np.sign(x) if x.dtype", laws("absolute-complex")),
    (
        "elementwise.py",
        "linear(np.imag, lambda g, out, x: g * -1j)",
        "linear(np.imag, lambda g, out, x: g * 1j)",
        laws("imag-complex"),
    ),
    ("elementwise.py", "-g * np.floor_divide(x, y))", "-g * np.trunc(x / y))", laws("remainder")),
    (
        "elementwise.py",
        "LOG2, LOG10 = float(np.log(2.0)), float(np.log(10.0))",
        "LOG2, LOG10 = float(np.log(10.0)), float(np.log(2.0))",
        laws("log2", "log10"),
    ),
    # reductions.py, sorting.py
    (
        "reductions.py",
        "return x if where is True else np.where(where, x, 0)",
        "return x",
        laws("var-where", "std-where-axis", "max-where"),
    ),
    ("reductions.py", "n = count(x.shape, axis) - ddof", "n = count(x.shape, axis)", laws("var-ddof", "std-ddof")),
    ("reductions.py", "deviation = np.conj(deviation)", "pass", laws("var-complex")),
    (
        "sorting.py",
        'return np.take_along_axis(t, np.argsort(x, axis=axis, kind="stable"), axis)',
        'return np.take_along_axis(t, np.argsort(-x, axis=axis, kind="stable"), axis)',
        laws("sort-axis", "sort-default"),
    ),
    (
        "sorting.py",
        'places = np.argsort(np.argsort(x, axis=axis, kind="stable"), axis=axis)',
        'places = np.argsort(x, axis=axis, kind="stable")',
        laws("sort-axis", "sort-default", "sort-flat"),
    ),
    # calculus.py, linalg.py
    (
        "calculus.py",
        "np.where(has_slope, np.clip(x, xp[0], xp[-1]) - x_i, 0)",
        "np.where(has_slope, x - x_i, 0)",
        laws("interp-outside", "interp-values") + " tests/test_shape.py",
    ),
    (
        "calculus.py",
        'before = min(n, m) - 1 if mode == "valid" else (min(n, m) - 1) // 2',
        "before = min(n, m) - 1",
        laws("convolve-shorter-same", "convolve-longer-even-same"),
    ),
    (
        "linalg.py",
        "inner = adjoint(v) @ hermitian_part(t) @ v\n    return Results",
        "inner = adjoint(v) @ t @ v\n    return Results",
        laws("eigh-matrix-3x3", more=LINALG + " " + RULES),
    ),
    (
        "linalg.py",
        "conj(times_diagonal(v, g) @ adjoint(v))",
        "times_diagonal(v, g) @ adjoint(v)",
        laws("eigvalsh-complex", more=LINALG),
    ),
    (
        "linalg.py",
        "return differences(s) * (row(s) + column(s))",
        "return differences(s) * (row(s) - column(s))",
        laws("svd-matrix-3x2", more=LINALG),
    ),
    (
        "elementwise.py",
        "np.ndarray | np.bool_) and decided.all():",
        "np.ndarray | np.bool_) and decided.any():",
        "tests/test_rules.py::test_a_maximum_shares_ties_beside_other_elements",
    ),
    (
        "reductions.py",
        "np.all(out == out) & (np.count_nonzero",
        "(np.count_nonzero",
        "tests/test_rules.py::test_a_row_of_nan_and_a_tie_in_another_row",
    ),
    (
        "choice.py",
        "mask if wanted else ~mask",
        "mask",
        "tests/test_rules.py::test_where_picks_the_bits_of_the_cotangent",
    ),
    # choice.py, indexing.py, joining.py, products.py, shape.py, ufuncs.py, fft.py,
    # polynomials.py, statistics.py
    (
        "choice.py",
        "lambda g, out, c, x, y: kept(g, c, False),",
        "lambda g, out, c, x, y: kept(g, c, True),",
        laws("where-mask"),
    ),
    (
        "choice.py",
        "np.less_equal(x, high)",
        "np.less(x, high)",
        laws("clip-numbers") + " tests/test_laws.py::test_kinks_have_the_promised_value",
    ),
    (
        "indexing.py",
        "order), index) == order",
        "order), index) >= 0",
        laws("setitem-array-whole", "setitem-nested-list-whole"),
    ),
    (
        "indexing.py",
        "linear(scatter, lambda g, out, values, index, shape: picked(g, index))",
        "linear(scatter, lambda g, out, values, index, shape: -picked(g, index))",
        laws("scatter-array"),
    ),
    (
        "ufuncs.py",
        "expand(g, x.shape, axis, keepdims) * shares(x, axis)",
        "expand(g, x.shape, axis, keepdims) / x.size",
        laws("logaddexp.reduce-default") + " tests/test_functional.py",
    ),
    (
        "ufuncs.py",
        "return np.where(mask, table[ufunc][position - 2](g, safe, *safe_inputs), 0)",
        "return table[ufunc][position - 2](g, safe, *safe_inputs)",
        laws("masked-multiply", "masked-log"),
    ),
]
FAULTS: list[tuple[str, ...]] = [
    *((f"microgradnd/rules/{file}", *rest) for file, *rest in ENTRIES),
    (
        "microgradnd/primitives.py",
        "np.add.at(out, index, wide)",
        "out[index] += wide",
        laws("getitem-array", "getitem-nested-list", more="tests/test_indexing.py"),
    ),
    (
        "microgradnd/primitives.py",
        "width = math.prod(shape[1:])",
        "width = shape[1]",
        "tests/test_indexing.py " + RULES,
    ),
    (
        "microgradnd/primitives.py",
        "axes = {a % len(shape) for a in reduced if shape}",
        "axes = set(reduced)",
        laws("sum-negative-axis", "expand-axis"),
    ),
    # triangular.py and powers.py
    *(
        ("microgradnd/triangular.py", old, new, "tests/test_triangular.py")
        for old, new in (
            ("(a.T, not lower, 1) if", "(a.T, lower, 1) if"),
            ("fits = a.shape[-2:] == (n, n) and b.shape[-2:][:1] == (n,)", "fits = True"),
            ("b[..., second, :] - a[..., second, first] @ x, lower)", "b[..., second, :], lower)"),
            ("for lower, view in ((True, a), (False, a.mT)):", "for lower, view in ((True, a),):"),
            ("and not ((view != 0) & above(n)).any():", ":"),
            ("return out if lower else out[::-1, ::-1]", "return out"),
            ("if not fault:\n            return factor if", "if True:\n            return factor if"),
            ("if not fault:\n            return factors", "if True:\n            return factors"),
            ("trans=int(not transposed)", "trans=int(transposed)"),
        )
    ),
    *(
        ("microgradnd/powers.py", old, new, "tests/test_spellings.py")
        for old, new in (
            ("LARGEST = 8", "LARGEST = 9"),
            ('dtype.char in "fd" and', 'dtype.kind in "fi" and'),
            ("        if n % 2:", "        if n % 2 or n == 2:"),
            ("if not x.min() > 0:", "if x.min() < 0:"),
        )
    ),
]
