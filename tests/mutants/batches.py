"""Faults in calls for a whole batch: class, rows, axes, the walk of a Jacobian.

Owns: the entries for `batching.py`, `vectorizing.py`, `jacobians.py` and
`rules/batches.py`.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_vmap.py`.
"""

VMAP = "tests/test_vmap.py"
COMPOSED = f"{VMAP}::test_transforms_compose"
INDICES = f"{VMAP}::test_indices_that_are_batches"
AXES = f"{VMAP}::test_axes_may_be_trees {VMAP}::test_axes_are_counted_from_either_end"
FAULTS: list[tuple[str, ...]] = [
    (
        "microgradnd/batching.py",
        "return Batched(np.swapaxes(without(x._batch, level), 0, 1), x.level)",
        "return Batched(without(x._batch, level), x.level)",
        COMPOSED,
    ),
    ("microgradnd/batching.py", "x.level > found.level", "x.level < found.level", COMPOSED),
    (
        "microgradnd/batching.py",
        "return other if other.ndim < batch._batch.ndim else None",
        "return other",
        VMAP + "::test_a_map_equals_a_loop",
    ),
    (
        "microgradnd/batching.py",
        "for level in LEVELS.get() if level.number < batch.level",
        "for level in LEVELS.get()",
        VMAP + "::test_a_function_that_differentiates_is_called_for_each_example",
    ),
    ("microgradnd/vectorizing.py", "batched(np.moveaxis(x, axis, 0), number)", "batched(x, number)", AXES),
    (
        "microgradnd/vectorizing.py",
        "if x.base is not None or",
        "if",
        VMAP + "::test_results_are_the_callers_own",
    ),
    ("microgradnd/rules/batches.py", "(at[0] if together else 0), count", "0, count", INDICES),
    (
        "microgradnd/rules/batches.py",
        "    if together and not any(flags):",
        "    if not any(flags):",
        INDICES + " " + VMAP + "::test_a_map_equals_a_loop",
    ),
    (
        "microgradnd/jacobians.py",
        "if node.note is not None and (node.note.hooks or node.note.retain_grad):",
        "if False:",
        VMAP + "::test_hooks_see_one_cotangent_at_a_time",
    ),
    (
        "microgradnd/jacobians.py",
        "            except Exception:  # a rule",
        "            except ZeroDivisionError:  # a rule",
        VMAP + "::test_a_rule_that_needs_an_array_is_called_for_each_row",
    ),
    ("microgradnd/jacobians.py", "(*range(1, x.ndim), 0)", "(0, *range(1, x.ndim))", "tests/test_transforms.py"),
    (
        "microgradnd/batching.py",
        "x.level == level if type(x) is Batched else type(x)",
        "type(x) is Batched or type(x)",
        COMPOSED,
    ),
]
