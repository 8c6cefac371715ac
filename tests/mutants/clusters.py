"""Faults in sums over blocks.

Owns: the entries for `microgradnd/distributed.py`, `tasks.py` and `steps.py`.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_distributed.py`.
"""

TESTS = "tests/test_distributed.py"
ORDER = f"{TESTS}::test_the_order_of_additions_depends_on_the_number_of_blocks_alone"
DRAWS = f"{TESTS}::test_what_draws_is_seeded_by_step_and_block"
CHANGED = f"{TESTS}::test_a_compiled_task_follows_a_loss_that_has_changed"
SETTINGS = f"{TESTS}::test_a_compiled_task_follows_the_settings_of_a_module"
FIT = f"{TESTS}::test_fit_takes_the_same_steps_on_a_cluster"
FAULTS: list[tuple[str, ...]] = [
    ("microgradnd/tasks.py", "while waiting and waiting[-1][0] == level:", "while waiting:", ORDER),
    (
        "microgradnd/tasks.py",
        "([seed, number]).state",
        "([seed, 0]).state",
        f"{TESTS}::test_blocks_draw_different_numbers",
    ),
    ("microgradnd/tasks.py", "copy.deepcopy(params) if modules_in(params) else params", "params", DRAWS),
    ("microgradnd/tasks.py", "setattr(inner, name, value)", "given.get(name)", SETTINGS),
    ("microgradnd/tasks.py", "delattr(inner, name)", "given.get(name)", SETTINGS),
    ("microgradnd/tasks.py", "mine.load_state_dict(new.state_dict())", "mine.state_dict()", DRAWS),
    (
        "microgradnd/tasks.py",
        "if not job.is_checked and number == 0:",
        "if False:",
        f"{TESTS}::test_what_cannot_be_computed_again_is_refused",
    ),
    ("microgradnd/distributed.py", "hashlib.sha256(function).hexdigest()", '"token"', CHANGED),
    (
        "microgradnd/distributed.py",
        "            if client.nthreads():\n                since = now\n            elif",
        "            if",
        f"{TESTS}::test_a_slow_worker_costs_its_task",
    ),
    (
        "microgradnd/distributed.py",
        "list(map(plain, leaves))",
        "leaves",
        f"{TESTS}::test_parameters_travel_without_the_tape_that_they_were_computed_on",
    ),
    (
        "microgradnd/tasks.py",
        "    for _ in range(2):\n",
        "    for _ in range(0):\n",
        f"{TESTS}::test_a_trace_that_fails_is_made_twice_again",
    ),
    ("microgradnd/steps.py", "value * share, prediction", "value, prediction", FIT),
    ("microgradnd/steps.py", "optim.clip_grad_norm_(self.optimizer.params, self.max_norm)", "pass", FIT),
    ("microgradnd/steps.py", "            self.optimizer.zero_grad()\n            part", "            part", FIT),
]
