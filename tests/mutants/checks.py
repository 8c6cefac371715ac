"""Faults in the gradient checker, checkpoints, `explain`, scopes, the command line.

Owns: the entries for `testing.py`, `recompute.py`, `reasons.py`, `scopes.py` and
`__main__.py`.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_testing.py`.
"""

TESTING = "tests/test_testing.py"
RECOMPUTE = "tests/test_recompute.py"
REASONS = "tests/test_reasons.py"
MAIN = "tests/test_main.py"
SCOPES = "tests/test_scopes.py"
FAULTS: list[tuple[str, ...]] = [
    *(
        ("microgradnd/testing.py", old, new, TESTING)
        for old, new in (
            ("allowed = relative * (1 + np.abs(want))", "allowed = relative * (1 + np.max(np.abs(want)))"),
            ("allowed = relative * (1 + np.abs(want))", "allowed = relative * (10 + np.abs(want))"),
            ('for unit in (1.0, 1j) if array.dtype.kind == "c" else (1.0,):', "for unit in (1.0,):"),
            (
                "np.real(unit * complex(plain(gradient)[index]))",
                "np.real(np.conj(unit) * complex(plain(gradient)[index]))",
            ),
            ("            if order > 1:", '            if order > 1 and mode == "rev":'),
            (
                "self.run(derivative, order - 1, modes, (*path, mode))",
                "self.run(derivative, order - 1, (mode,), (*path, mode))",
            ),
            ("self.run(derivative, order - 1, modes, (*path, mode))", "self.run(f, order - 1, modes, (*path, mode))"),
            ("COARSE = 1e-3", "COARSE = 1e-1"),
            ("TOLERANCE.get(np.dtype(dtype), COARSE)", "COARSE"),
            ("relative = self.tolerance or COARSE", "relative = COARSE"),
            ("return float(sum(np.sum(np.real(c * s))", "return float(sum(np.sum(np.real(s))"),
            ("for i, gradient in enumerate(gradients):", "for i, gradient in enumerate(gradients[:1]):"),
            ("worst = int(np.argmax(excess))", "worst = int(np.argmin(excess))"),
            ("MOST_ELEMENTS = 64", "MOST_ELEMENTS = 10**9"),
            ("sorted(self.rng.choice(len(indices), MOST_ELEMENTS, replace=False))", "range(MOST_ELEMENTS)"),
            ("return v + 1j * self.rng.uniform(-1, 1, like.shape) if", "return v + 0j if"),
            ('"strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],', '"strided": lambda a: a,'),
            ("np.all([np.abs(v - kink) >= margin", "np.any([np.abs(v - kink) >= margin"),
            ("float(nearest) >= bound else", "True else"),
            ("grid = grid[clear(grid)]", "grid = grid"),
        )
    ),
    *(
        ("microgradnd/recompute.py", old, new, RECOMPUTE)
        for old, new in (
            ("if call.memo is None or call.memo[0] is not g:", "if call.memo is None:"),
            ("moved = tape.forward(path, moving,", "moved = tape.forward(path, dict(list(moving.items())[:1]),"),
            ("moved.get(o._node, 0 * plain(o))", "moved.get(o._node, 1 + 0 * plain(o))"),
            (
                "return 0 * inputs[position - 1] if part is None else part",
                "return inputs[position - 1] if part is None else part",
            ),
            ("return 0 * inputs[position - 1] if part is None", "return 0 * inputs[0] if part is None"),
            ("gradients.run_hooks_of_inputs(trace.nodes, ends)", "None"),
            ("if not is_same or not all(same(", "if not is_same or not any(same("),
        )
    ),
    *(
        ("microgradnd/reasons.py", old, new, REASONS)
        for old, new in (
            ("node.out.shape[-1]).any(axis=0)", "node.out.shape[-1]).all(axis=0)"),
            ("a.size and not a.any() for a in others", "a.size and not a.all() for a in others"),
            ("np.array_equal(arg, leaf.data) and np.ptp(arg) > 0", "np.array_equal(arg, leaf.data)"),
            ("lost = [node for node in self.stops if node in after]", "lost = self.stops"),
            ("reshape(-1, node.out.shape[-1]).any(axis=0)", "reshape(node.out.shape[-1], -1).any(axis=1)"),
            ("is_zero = any(isinstance(a, np.ndarray) and a.size and not a.any() for a in others)", "is_zero = True"),
            ("if p is not leaf]", "]"),
            ("at {len(lost) - 1} more", "at {len(lost)} more"),
            ("for test in (np.isnan, np.isinf))", "for test in (np.isnan, np.isnan))"),
            ("if g.size and not g.any() else", "if g.size and not g.all() else"),
            ("if any(map(_bad, node.args or ())):", "if False:"),
            ("np.may_share_memory(arg, leaf.data)", "False"),
            ("if leaf not in self.record.leaf_ids:", "if False:"),
            ("if parts and len(nothing) == len(parts):", "if parts:"),
            ("if not self.is_over and (changed := self.record.changed()):", "if changed := []:"),
            ("if note is None or not note.retain_grad:", "if note is None:"),
            ("count = node.out.size // active.size", "count = node.out.size"),
        )
    ),
    *(
        ("microgradnd/__main__.py", old, new, MAIN)
        for old, new in (
            ("if backward and format_of(output)", "if False and format_of(output)"),
            ("return computed[max(computed)]", "return computed[min(computed)]"),
            ("if isinstance(loss, Tensor):\n        return loss\n", "if False:\n        return loss\n"),
            ("if node.shape == () and note.line is not None:", "if note.line is not None:"),
            ("note.line = note.line or user_line()", "pass"),
            ("if leaving.code not in (None, 0):", "if leaving.code is not None:"),
            ("sys.argv, sys.path = before[1:]", "sys.argv, _ = before[1:]"),
            ("[str(path.resolve().parent), *sys.path]", "list(sys.path)"),
            ("shown = shown.tb_next", "break"),
            ("format_of(output)  # find a typing error", "pass  # find a typing error"),
            ('path.stem if name else "__main__"', "path.stem"),
            ("if not _takes_nothing(value):", "if False:"),
            ("p.default is not inspect.Parameter.empty or", "False or"),
            ("return 1\n    return 0", "return 0\n    return 0"),
            ('value, what = value(), f"the result of {what}"', "value = value()"),
        )
    ),
    (
        "microgradnd/scopes.py",
        "self.marks = (*record.marks, mark)",
        "self.marks = (mark,)",
        SCOPES + " tests/test_viz_fold.py",
    ),
    ("microgradnd/scopes.py", "self.lines = lines or record.lines", "self.lines = lines", SCOPES),
    (
        "microgradnd/scopes.py",
        "if mode.record is None:",
        "if False:",
        SCOPES,
    ),
]
