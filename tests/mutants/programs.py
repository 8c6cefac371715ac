"""Faults in the programs around the library: benchmarks and examples.

Owns: the entries for `benchmarks/` and `examples/`.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_benchmarks.py`.
"""

BENCHMARKS = "tests/test_benchmarks.py"
EXAMPLES = "tests/test_examples.py"
FAULTS: list[tuple[str, ...]] = [
    *(
        ("benchmarks/report.py", old, new, BENCHMARKS)
        for old, new in (
            ('units=row.get("seconds", 0) / unit', 'units=row.get("seconds", 0) * unit'),
            ('number(row["units"] / base)', 'number(row["units"])'),
            ('if "failed" not in row][-1]', 'if "failed" not in row][0]'),
            ("number(row[key] / first[key])", 'number(row[key] / first["seconds"])'),
            ("for row in measured.values() if key in row)", "for row in measured.values())"),
            ('row["peak"] / found["numpy out="]["peak"]', 'row["peak"] / found["numpy"]["peak"]'),
            ('results[p]["ratio"] / results["torch"]["ratio"]', 'results[p]["ratio"]'),
            ("setdefault(program, row)", "update({program: row})"),
            ("if value < 9.95 else", "if value < 1 else"),
            ("if setting(file) == setting(files[0])]", "]"),
            ("if program not in results.get(name, {}):", "if True:"),
            ("for share, line in lines[:SHOWN_LINES]", "for share, line in lines[SHOWN_LINES:]"),
            ('found = {**file["titles"], **found}', 'found = {**found, **file["titles"]}'),
        )
    ),
    *(
        ("benchmarks/run.py", old, new, BENCHMARKS)
        for old, new in (
            ("if not error <= tolerance:", "if error > tolerance:"),
            ("if a.shape != b.shape or (b.ndim and a.dtype != b.dtype):", "if a.shape != b.shape:"),
            ("ratios = [t / n for t, n in", "ratios = [n / t for t, n in"),
            ("return wall / repeats,", "return wall,"),
            ("candidates[program].restart()", "pass"),
        )
    ),
    ("benchmarks/chains.py", "grad = grad + g\n", "grad = grad - g\n", BENCHMARKS),
    ("benchmarks/chains.py", '"failed": reason[0].split(":")[0]', '"failed": ""', BENCHMARKS),
    (
        "benchmarks/chains.py",
        'result["bytes recorded"] = (held - before) / operations',
        'result["bytes recorded"] = held / operations',
        BENCHMARKS,
    ),
    (
        "benchmarks/chains.py",
        "                break\n            found[library][str(operations)] = json",
        "            found[library][str(operations)] = json",
        BENCHMARKS,
    ),
    (
        "benchmarks/memory.py",
        'return {"steady": steady - before, "peak": peak - before}',
        'return {"steady": steady, "peak": steady}',
        BENCHMARKS,
    ),
    ("benchmarks/workloads.py", "array[...] = value", "pass", BENCHMARKS),
    *(
        ("benchmarks/by_hand.py", old, new, f"{BENCHMARKS}::test_programs_by_hand_and_ours_agree")
        for old, new in (
            ("grad_h_relu = grad_y_pred @ w2.T", "grad_h_relu = -grad_y_pred @ w2.T"),
            ("v = BETA2 * v + (1 - BETA2) * g * g", "v = BETA2 * v + (1 - BETA2) * g"),
            (
                "g[n, y] -= 1\n    g /= len(y)\n    grad_w3, grad_b3 = g.T @ a2",
                "g[n, y] -= 2\n    g /= len(y)\n    grad_w3, grad_b3 = g.T @ a2",
            ),
            ("out[1:] += 200 * v[1:] - 400 * head * v[:-1]", "out[1:] += 200 * v[1:]"),
            ("grad_scores = p * (grad_p -", "grad_scores = p * (grad_p +"),
        )
    ),
    *(
        (f"examples/{example}.py", old, new, f"{EXAMPLES}::{test}")
        for example, old, new, test in (
            (
                "two_layer_by_hand",
                "np.where(h > 0, grad_h_relu, 0)",
                "np.where(h >= 0, grad_h_relu, 1)",
                "test_the_network_on_tensors_takes_the_same_steps",
            ),
            (
                "two_layer_by_hand",
                "grad_w1 = x.T @ grad_h",
                "grad_w1 = -x.T @ grad_h",
                "test_the_network_by_hand_learns",
            ),
            ("two_layer", "parameter.grad = None", "pass", "test_the_network_on_tensors_takes_the_same_steps"),
            (
                "ols_gradient_descent",
                "return 2 * X.T @ (X @ beta - y)",
                "return X.T @ (X @ beta - y)",
                "test_both_descents_arrive_at_the_normal_equations",
            ),
            (
                "single_layer",
                "return -2 * x.T @ (y - x @ weights)",
                "return -1 * x.T @ (y - x @ weights)",
                "test_the_gradient_is_checked_and_the_line_found",
            ),
            ("single_layer_nn", "        model.zero_grad()\n", "", "test_the_printed_table_is_reproduced"),
            ("sine_adam", "        optimizer.zero_grad()\n", "", "test_the_network_follows_the_sine_with_every_seed"),
            ("sine_linear", "return 4 * np.sin(x)", "return np.sin(x)", "test_a_straight_line_fails_on_the_sine"),
            (
                "compile_seed",
                "    w2 = w2 - RATE * grads[2]\n",
                "    w2 = w2 - RATE * grads[3]\n",
                "test_the_compiled_step_matches_the_derivation_by_hand",
            ),
        )
    ),
]
