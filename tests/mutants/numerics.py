"""Faults in rules and `nn.functional` for numbers that are huge, tiny, NaN or tied.

Owns: their table.
Must not own: how they are planted (`__main__.py`).
Read next: `engine.py`.
"""

from __future__ import annotations

R = "microgradnd/rules/"
ELEMENTWISE, REDUCTIONS, LINALG = f"{R}elementwise.py", f"{R}reductions.py", f"{R}linalg.py"
SPECIAL, SCIPY = "microgradnd/scipy/special.py", "tests/test_scipy.py"
CONTRACTION, PLANS = "microgradnd/contraction.py", "tests/test_contraction.py"
KINKS = "tests/test_laws.py::test_kinks_have_the_promised_value"
SIZES = "tests/test_magnitudes.py"
RULES, LINEAR_ALGEBRA, LOSSES = "tests/test_rules.py", "tests/test_linalg.py", "tests/test_functional.py"


def laws(*rows: str) -> str:
    """Return the laws of some rows."""
    return " ".join(f"tests/test_laws.py::test_laws[{row}]" for row in rows)


FAULTS: list[tuple[str, ...]] = [
    # Numbers of every size
    (ELEMENTWISE, "x, y = 0.5 * x, 0.5 * y", "x, y = 1.0 * x, 1.0 * y", SIZES),
    (ELEMENTWISE, "g * (1 / LOG10) / x", "g / (LOG10 * x)", SIZES),
    (ELEMENTWISE, "g / np.hypot(1, x) / np.hypot(1, x)", "g / (1 + x * x)", SIZES),
    (ELEMENTWISE, "lambda g, out, x: g / (1 - x) / (1 + x)", "lambda g, out, x: g / (1 - x * x)", SIZES),
    (
        ELEMENTWISE,
        "elementwise(np.expm1, lambda g, out, x: g * np.exp(x))",
        "elementwise(np.expm1, lambda g, out, x: g * (out + 1))",
        SIZES,
    ),
    (ELEMENTWISE, "length = np.hypot(0.5 * x, 0.5 * y)", "length = 0.5 * np.sqrt(x * x + y * y)", SIZES),
    (
        ELEMENTWISE,
        "d = np.where(x == y, 0, np.subtract(x, y))",
        "d = np.where(x == y, 0, np.logaddexp(x, y) - y)",
        SIZES,
    ),
    # SciPy's functions
    (SPECIAL, "2 / ROOT_2PI / erfcx(x / -ROOT_2)", "np.exp(-0.5 * x * x) / ROOT_2PI / ndtr(x)", SCIPY),
    (SPECIAL, "g * (out * expit(-x))", "g * (out * (1 - out))", SCIPY),
    (SPECIAL, "np.where((x == 0) & (y == 0), 0, g), y)", "g, y)", KINKS),
    (SPECIAL, "np.where(ties, real(whole) > 0, ", "np.where(ties, 1, ", f"{KINKS} {SCIPY}"),
    (SPECIAL, "return found / total(found if b", "return found + 0 * total(found if b", SCIPY),
    (SPECIAL, "return np.where(x > 50, series, 2 * x * out", "return np.where(x > 1e9, series, 2 * x * out", SCIPY),
    (
        REDUCTIONS,
        "spread if where is True else only(spread, mask_of(where))",
        "spread if where is True else spread * mask_of(where)",
        "tests/test_values.py::test_the_derivative_at_elements_that_a_reduction_leaves_out",
    ),
    (REDUCTIONS, "where = np.asarray(where).astype(np.intp)", "where = mask_of(where)", RULES),
    (SPECIAL, "np.where(array(b) == 0, -np.inf, a)", "a", KINKS),
    (SPECIAL, "if return_sign:", "if False:", SCIPY),
    ("microgradnd/scipy/linalg.py", "np.tril(x, -int(unit_diagonal))", "np.tril(x)", SCIPY),
    (
        "microgradnd/scipy/linalg.py",
        "return np.tril(c) if lower else adjoint(np.triu(c))",
        "return c if lower else adjoint(c)",
        SCIPY,
    ),
    ("microgradnd/scipy/linalg.py", "np.random.set_state(state)", "pass", SCIPY),
    (
        "microgradnd/scipy/linalg.py",
        "return conj(solve_triangular(a, conj(g), 0, lower",
        "return conj(solve_triangular(a, g, 0, lower",
        laws("solve_triangular-2-lower-complex"),
    ),
    (
        "microgradnd/scipy/linalg.py",
        "return triangle(of_factor if lower else adjoint(of_factor), lower)",
        "return triangle(of_factor if lower else of_factor.mT, lower)",
        laws("solve_factored-factored-upper-complex"),
    ),
    # Contractions
    (CONTRACTION, "if n != 1 or c not in y.word or y.sizes(c) == (1,)", "if n != 1 or c not in y.word", PLANS),
    (
        CONTRACTION,
        "y[along]:\n        return None\n    return of_axes(len(x)",
        "-1:\n        return None\n    return of_axes(len(x)",
        PLANS,
    ),
    (CONTRACTION, 'or (arrow and "..." in left and "..." not in result)', "", PLANS),
    (CONTRACTION, 'BLAS = "fdFD"', 'BLAS = "fdFDel"', PLANS),
    (CONTRACTION, 'optimize=("greedy", most)', 'optimize="greedy"', PLANS),
    (CONTRACTION, "[n] * bool(columns or batch)", "[n] * bool(columns)", PLANS),
    (CONTRACTION, "math.prod(sizes.values()) < SMALL", "math.prod(sizes.values()) < 1", PLANS),
    (
        f"{R}products.py",
        "np.ravel(g) if y.ndim == 1 else rows(g)",
        "rows(g)",
        LINEAR_ALGEBRA + " " + laws("matmul-stack-vector"),
    ),
    (
        "microgradnd/compiler/spelling.py",
        '("power", "contraction", "matmul",',
        '("power", "matmul",',
        PLANS,
        "numba",
    ),
    # Kinks, infinities, NaN
    (ELEMENTWISE, "np.where((x == y) & (x == -np.inf), 0,", "np.where((x == y) & (x == np.inf), 0,", KINKS),
    (ELEMENTWISE, "np.where(np.isinf(v), np.copysign(1, v), 0)", "np.where(np.isinf(v), np.copysign(1, v), v)", KINKS),
    (
        ELEMENTWISE,
        "return np.where(np.isnan(out), np.nan, np.where(tie, 0.5 * g, g * wins))",
        "return np.where(tie, 0.5 * g, g * wins)",
        f"{KINKS} {RULES}",
    ),
    (
        ELEMENTWISE,
        "share(g, out, x == y, (y > x) | np.isnan(x)),\n)\nelementwise(\n    np.fmin",
        "share(g, out, x == y, y > x),\n)\nelementwise(\n    np.fmin",
        KINKS,
    ),
    (ELEMENTWISE, "(np.sqrt(x - 1) * np.sqrt(x + 1))", "np.sqrt(x * x - 1)", laws("arccosh-complex-left")),
    (
        ELEMENTWISE,
        "in_dtype(np.where((x == 0) & (np.real(y) >= 0), 1.0, x), out.dtype)",
        "np.where((x == 0) & (np.real(y) >= 0), 1.0, x)",
        RULES,
    ),
    (
        ELEMENTWISE,
        "return np.where(length == 0, np.nan, length)",
        "return np.where(length == 0, 1, length)",
        f"{KINKS} {LINEAR_ALGEBRA}",
    ),
    (ELEMENTWISE, "(t - out * np.real(np.conj(out) * t))", "(t - out * np.real(out * t))", laws("sign-complex")),
    (f"{R}choice.py", "return np.where(np.isnan(out), np.nan, g)", "return g", f"{KINKS} {RULES}"),
    (
        f"{R}values.py",
        "lambda g, out, x, y, undefined: g / np.where(undefined, np.nan, y)",
        "lambda g, out, x, y, undefined: g / np.where(undefined, 1, y)",
        RULES,
    ),
    (f"{R}ufuncs.py", "e = np.exp(np.where(x == highest, 0, x - highest))", "e = np.exp(x - highest)", KINKS),
    (f"{R}ufuncs.py", "np.where(x == -np.inf, 0, e)", "e", KINKS),
    (f"{R}sorting.py", "np.where(np.isnan(columns[-1]), np.nan, 1)", "np.where(np.isnan(columns[-1]), 1, 1)", KINKS),
    # Ties
    (
        f"{R}sorting.py",
        'np.argsort(np.argsort(x, axis=axis, kind="stable"), axis=axis)',
        "np.argsort(np.argsort(x, axis=axis), axis=axis)",
        RULES,
    ),
    (REDUCTIONS, "chosen if where is True else chosen & mask_of(where)", "chosen", f"{KINKS} {RULES}"),
    (REDUCTIONS, "np.maximum(ties + (out == initial), 1)", "np.maximum(ties, 1)", KINKS),
    (
        REDUCTIONS,
        "np.max(a, axis=axis, keepdims=keepdims) - np.min(",
        "np.max(a, axis=axis, keepdims=True) - np.min(",
        laws("ptp-rows"),
    ),
    # Half precision
    (
        REDUCTIONS,
        "chosen & mask_of(where), np.result_type(out.dtype, np.float32))",
        "chosen & mask_of(where), out.dtype)",
        RULES,
    ),
    (f"{R}values.py", "if x.dtype == np.float16:", "if x.dtype == np.float128:", RULES),
    (
        "microgradnd/nn/arguments.py",
        'return add(x, dtype=np.float32, **axes) if x.dtype.char == "e" else add(x, **axes)',
        "return add(x, **axes)",
        LOSSES,
    ),
    ("microgradnd/nn/losses.py", "if is_half(y_pred) and is_half(y):", "if False:", LOSSES),
    # Linear algebra
    (LINALG, "& (size > float(limits.eps) ** 0.5 * bound)", "", LINEAR_ALGEBRA),
    (LINALG, "(size >= limits.tiny) & ", "", LINEAR_ALGEBRA),
    (LINALG, "- q * mT(inner)", "- q * inner", LINEAR_ALGEBRA),
    (
        LINALG,
        "np.expand_dims(np.linalg.det(u) * np.linalg.det(vh), (-2, -1))\n    return unit",
        "np.expand_dims(np.linalg.det(u), (-2, -1))\n    return unit",
        LINEAR_ALGEBRA,
    ),
    (
        LINALG,
        "return np.where(singular, np.nan, mT(np.linalg.inv",
        "return np.where(singular, 0, mT(np.linalg.inv",
        LINEAR_ALGEBRA,
    ),
    (
        LINALG,
        "inner = adjoint(v) @ hermitian_part(t) @ v\n    return Results((real",
        "inner = adjoint(v) @ t @ v\n    return Results((real",
        LINEAR_ALGEBRA,
    ),
    (
        LINALG,
        "return conj(direction(x, out, axes)) * g",
        "return direction(x, out, axes) * g",
        laws("norm-complex-axis-None"),
    ),
    (LINALG, 'if len(axes) == 2 and ord in (2, -2, "nuc"):', 'if ord in (2, -2, "nuc"):', laws("norm-vector--2")),
    (LINALG, "return ratio(s, s, s == 0)", "return np.sign(s)", LINEAR_ALGEBRA),
    (LINALG, "if ord > 2:  # smooth where an element is 0", "if ord > 4:", LINEAR_ALGEBRA),
    # Values, forms
    (f"{R}polynomials.py", "scale * remainder[k]", "remainder[k] / v[0]", laws("polydiv-both")),
    (LINALG, "return (square @ square) @ square", "return square @ (square @ square)", laws("matrix_power-3")),
    (f"{R}axes.py", "if isinstance(axis, tuple | list):", "if isinstance(axis, tuple):", "tests/test_forms.py"),
    (
        "microgradnd/contraction.py",
        "if isinstance(axes, int | np.integer):",
        "if isinstance(axes, int):",
        "tests/test_forms.py",
    ),
    (
        f"{R}fft.py",
        "axes[-2::-1], np.fft.ifft",
        "axes[:-1], np.fft.ifft",
        f"{laws('irfftn-default')} {LINEAR_ALGEBRA}",
    ),
    (f"{R}calculus.py", "t * (1 - way(out, num, endpoint))", "t * way(out, num, endpoint)", laws("linspace-numbers")),
    # Losses
    (
        "microgradnd/nn/losses.py",
        "return e / total(e, 1) - onehot",
        "return e / np.add.reduce(e, axis=None) - onehot",
        LOSSES,
    ),
    ("microgradnd/nn/activations.py", "axis in (-1, x.ndim - 1) and x.size >=", "x.size >=", LOSSES),
    (
        "microgradnd/nn/activations.py",
        "return flat[np.arange(len(flat)), where]",
        "return flat[np.arange(len(flat)), where * 0]",
        LOSSES,
    ),
]
