"""Faults in sums over blocks.

Owns: the entries for `microgradnd/distributed.py` and `steps.py`.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_distributed.py`.
"""

TESTS = "tests/test_distributed.py"
ORDER = f"{TESTS}::test_the_order_of_additions_depends_on_the_number_of_blocks_alone"
DRAWS = f"{TESTS}::test_what_draws_is_seeded_by_step_and_block"
FIT = f"{TESTS}::test_fit_takes_the_same_steps_on_a_cluster"
REFUSED = f"{TESTS}::test_what_cannot_be_computed_again_is_refused"
FAULTS: list[tuple[str, ...]] = [
    ("microgradnd/distributed.py", "half = 2 ** ((len(items) - 1).bit_length() - 1)", "half = 1", ORDER),
    (
        "microgradnd/distributed.py",
        "([seed, number]).state",
        "([seed, 0]).state",
        f"{TESTS}::test_blocks_draw_different_numbers",
    ),
    ("microgradnd/distributed.py", "(type(rng.bit_generator)(0))", "(rng.bit_generator)", DRAWS),
    ("microgradnd/distributed.py", "copy.deepcopy(leaf, instead) if is_module(leaf)", "leaf if is_module(leaf)", DRAWS),
    ("microgradnd/distributed.py", "job._replace(params=emptied(params)", "job._replace(params=params", DRAWS),
    ("microgradnd/distributed.py", "checks and number == 0:", "False:", REFUSED),
    ("microgradnd/distributed.py", "if not np.array_equal(old, new, equal_nan=True):", "if False:", REFUSED),
    (
        "microgradnd/distributed.py",
        "return part.result if",
        "return part if",
        f"{TESTS}::test_futures_are_taken_without_a_cluster_too",
    ),
    (
        "microgradnd/distributed.py",
        "list(map(plain, flatten(params)[0]))",
        "flatten(params)[0]",
        f"{TESTS}::test_parameters_travel_without_the_tape_that_they_were_computed_on",
    ),
    (
        "microgradnd/distributed.py",
        "collection.rechunk(dict.fromkeys(range(1, collection.ndim), -1))",
        "collection",
        f"{TESTS}::test_blocks_are_whole_rows",
    ),
    (
        "microgradnd/distributed.py",
        "list(map(own, gradient, leaves))",
        "gradient",
        f"{TESTS}::test_gradients_keep_the_form_and_dtype_of_their_parameters",
    ),
    ("microgradnd/steps.py", "value * share, prediction", "value, prediction", FIT),
    ("microgradnd/steps.py", "optim.clip_grad_norm_(self.optimizer.params, self.max_norm)", "pass", FIT),
    ("microgradnd/steps.py", "            self.optimizer.zero_grad()\n            value", "            value", FIT),
]
