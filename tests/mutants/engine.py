"""Faults in the engine: tape, variables, assignment, views, modes, transforms.

Owns: the entries for the files that a recorded operation passes through.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_tape.py`.
"""

TAPE = "tests/test_tape.py"
TENSOR = "tests/test_tensor.py"
TRANSFORMS = "tests/test_transforms.py"
UNDER_NO_GRAD = "tests/test_compiler.py::test_a_derivative_taken_under_no_grad_is_a_constant"
ASSIGNMENT = "tests/test_assignment.py"
CHANGES = "tests/test_mutation.py"
MUTATION = " ".join(
    [
        *(f"{CHANGES}::test_every_row[{row}]" for row in ("multiply", "power", "matmul-stack-stack", "where-mask")),
        f"{CHANGES}::test_index_arrays_masks_and_the_like {CHANGES}::test_large_arrays",
    ]
)
PROMISES = "tests/test_promises.py"
INDEXING = "tests/test_indexing.py"
SUSPENDED = "tests/test_suspended.py"
FOREIGN = "tests/test_foreign.py"
STEPS = "tests/test_compiled_steps.py"
FORMS = "tests/test_forms.py"
ABSENT = "tests/test_absent.py"
FAULTS: list[tuple[str, ...]] = [
    ("microgradnd/tape.py", "node.position >= start > 0:", "False:", TRANSFORMS),
    ("microgradnd/tape.py", "type(node) is Leaf and node.is_input and node", "type(node) is Leaf and node", TRANSFORMS),
    ("microgradnd/tensor.py", "args = args or by_position(function, args, kwargs)", "pass", FORMS),
    ("microgradnd/recompute.py", "gradients.run_hooks_of_inputs(trace.nodes, ends)", "pass", TRANSFORMS),
    ("microgradnd/gradients.py", "else node.note and node.note.hooks", "else None", TRANSFORMS),
    ("microgradnd/forms.py", " if arg is not np._NoValue", "", FORMS),
    (
        "microgradnd/rules/calculus.py",
        '("valid", "same", "full")[mode]',
        '("full", "same", "valid")[mode]',
        FORMS,
    ),
    (
        "microgradnd/rules/ufuncs.py",
        "functools.partial(masked_part, JVPS)",
        "functools.partial(masked_part, VJPS)",
        FORMS,
    ),
    (
        "microgradnd/rules/elementwise.py",
        "(np.sign(x) * np.sign(y) * np.floor_divide(np.abs(x), np.abs(y)))",
        "np.trunc(x / y)",
        "tests/test_laws.py::test_kinks_have_the_promised_value",
    ),
    ("microgradnd/tensor.py", "with enable_grad() if create_graph else no_grad():", "with enable_grad():", STEPS),
    ("microgradnd/operands.py", "not (like.shape or is_foreign(like))", "not like.shape", FOREIGN),
    ("microgradnd/operands.py", "if computes and (whole :=", "if False and (whole :=", FOREIGN),
    (
        "microgradnd/operands.py",
        "return value if type(value) is ndarray or is_foreign(value) else np.asarray(value)",
        "return np.asarray(value)",
        FOREIGN,
    ),
    ("microgradnd/operators.py", " or is_foreign(other):", ":", FOREIGN),
    (
        "microgradnd/rules/matrices.py",
        'return a.mT if hasattr(a, "mT") else np.swapaxes(a, -1, -2)',
        "return a.mT",
        FOREIGN,
    ),
    (
        "microgradnd/rules/values.py",
        "return isinstance(condition, bool | np.bool_ | np.ndarray) and bool(condition)",
        "return not is_recorded(condition) and bool(condition)",
        FOREIGN,
    ),
    (
        "microgradnd/tape.py",
        "if parent is not None and parent.position >= node.position:",
        "if False:",
        TAPE + " " + ASSIGNMENT,
    ),
    ("microgradnd/gradients.py", "        g = changed\n    return g", "        pass\n    return g", TAPE),
    (
        "microgradnd/broadcasting.py",
        "if n == 1 != shape[i + extra]",
        "if False",
        TENSOR + " " + TAPE,
    ),
    (
        "microgradnd/broadcasting.py",
        'np.real(g) if g.dtype.kind == "c"',
        'g if g.dtype.kind == "c"',
        TAPE + " " + TENSOR + " tests/test_transforms.py",
    ),
    ("microgradnd/tape.py", "total = part if total is None else total + part", "total = part", TRANSFORMS),
    (
        "microgradnd/assignment.py",
        "            node.position = tape.next_position()\n",
        "            pass\n",
        ASSIGNMENT + " " + TAPE + " tests/test_optim.py",
    ),
    ("microgradnd/inplace.py", "array.base is not None or array.size < COPIED", "array.size < COPIED", ASSIGNMENT),
    (
        "microgradnd/inplace.py",
        "if current().record is None:\n            return node",
        "if True:\n            return node",
        ASSIGNMENT,
    ),
    ("microgradnd/views.py", "if movable and not overlap(changed, other._array):", "if movable:", ASSIGNMENT),
    (
        "microgradnd/outdated.py",
        "is_complete = where(picked(tensor._array, index)) == where(seen)",
        "is_complete = True",
        ASSIGNMENT,
    ),
    ("microgradnd/anomaly.py", "            array.flags.writeable = True", "            pass", TAPE),
    ("microgradnd/anomaly.py", "if record is not None and mode.trace is None:", "if mode.trace is None:", TAPE),
    ("microgradnd/anomaly.py", "if all(map(_finite, args))", "if True", TAPE),
    (
        "microgradnd/jacobians.py",
        "trace.lift, trace.is_passed = lift, True",
        "trace.lift, trace.is_passed = None, False",
        TRANSFORMS,
    ),
    ("microgradnd/jacobians.py", "    with transformed.key:\n", "    if True:\n", TRANSFORMS),
    (
        "microgradnd/transforms.py",
        "return np.zeros_like(like if self.lift",
        "return np.ones_like(like if self.lift",
        TRANSFORMS,
    ),
    ("microgradnd/gradients.py", "if gradient.shape != tensor.shape:", "if False:", TAPE + " " + TENSOR),
    ("microgradnd/tape.py", "cotangents[node] = cotangents[node] + g", "cotangents[node] = g", TRANSFORMS),
    ("microgradnd/tape.py", "cotangents[parent] = cotangents[parent] + new", "cotangents[parent] = new", TAPE),
    ("microgradnd/tape.py", "        if not retain:\n", "        if False:\n", TAPE),
    ("microgradnd/absent.py", "if name not in ABSENT]", "]", ABSENT),
    ("microgradnd/absent.py", " or name in ABSENT or hasattr(cls, name)", "", ABSENT),
    ("microgradnd/tape.py", "if parent in owned and rules.add(", "if rules.add(", INDEXING),
    (
        "microgradnd/tape.py",
        " and lift is None and done is None:",
        " and lift is None:",
        INDEXING,
    ),
    ("microgradnd/tape.py", " and lift is None and done is None:", " and done is None:", INDEXING + " " + TRANSFORMS),
    (
        "microgradnd/rules/indexing.py",
        "isinstance(g, ARRAYS) and is_basic(index)",
        "isinstance(g, ARRAYS)",
        INDEXING,
    ),
    ("microgradnd/rules/indexing.py", "        total[index] += g", "        total[index] = g", INDEXING),
    (
        "microgradnd/transforms.py",
        "path = self.path if self.outside or self.path.has_inner else None",
        "path = None",
        TRANSFORMS,
    ),
    (
        "microgradnd/transforms.py",
        "else mode.record == mode.trace.record",
        "else True",
        UNDER_NO_GRAD,
    ),
    (
        "microgradnd/transforms.py",
        " and mode.trace is None else transformed.key",
        " else transformed.key",
        UNDER_NO_GRAD,
    ),
    (
        "microgradnd/transforms.py",
        "if self.is_passed and ((mode := current()).record is None or mode.trace is not None):",
        "if False:",
        TRANSFORMS,
    ),
    ("microgradnd/tape.py", "is not Leaf and parent not in stops:", "is not Leaf:", TRANSFORMS),
    ("microgradnd/tape.py", "is not Leaf and node not in stops:", "is not Leaf:", TRANSFORMS),
    ("microgradnd/tape.py", "        if self.outside or self.has_inner:\n", "        if False:\n", TRANSFORMS),
    ("microgradnd/tape.py", "not (type(new) is float64 is type(arg))", "not type(new) is float64", TAPE + " " + TENSOR),
    (
        "microgradnd/tensor.py",
        "OUT_SLOTS.get(function) or out_slot(function)",
        "2**31",
        "tests/test_forms.py " + TENSOR,
    ),
    (
        "microgradnd/tensor.py",
        "g.data if gradient is not None and",
        "g.data if gradient is None and",
        TAPE + " " + TENSOR,
    ),
    ("microgradnd/tensor.py", "if type(out) not in ARRAYS and", "if out is None and", TENSOR + " tests/test_linalg.py"),
    (
        "microgradnd/nn/module.py",
        "note.marks += (",
        "node.annotate().marks = (",
        "tests/test_nn.py tests/test_viz.py",
    ),
    (
        "microgradnd/gradients.py",
        "given = g.copy() if isinstance(g, np.ndarray) else g",
        "given = g",
        TAPE + " " + PROMISES,
    ),
    (
        "microgradnd/gradients.py",
        "or dtype != g.dtype or is_other or is_tensor:",
        "or is_other or is_tensor:",
        TAPE + " " + PROMISES,
    ),
    (
        "microgradnd/gradients.py",
        "kept = shown.copy() if isinstance(shown, np.ndarray) else shown",
        "kept = shown",
        TAPE,
    ),
    (
        "microgradnd/gradients.py",
        "note.grad = kept if note.grad is None else note.grad + kept",
        "note.grad = kept",
        TAPE,
    ),
    ("microgradnd/gradients.py", "shown = conjugate(g)  # as", "shown = g  # as", TAPE),
    (
        "microgradnd/tape.py",
        "            node.position = next_position()\n",
        "            pass\n",
        MUTATION,
    ),
    (
        "microgradnd/tape.py",
        "check_ages(node)\n                if (t := ",
        "pass\n                if (t := ",
        TRANSFORMS + " " + MUTATION,
    ),
    (
        "microgradnd/tape.py",
        "part = fit_tangent(part, out)",
        "pass",
        TRANSFORMS + " " + TAPE,
    ),
    (
        "microgradnd/tape.py",
        "            note.check(node)\n        rules, parents = JVPS",
        "            pass\n        rules, parents = JVPS",
        MUTATION,
    ),
    ("microgradnd/tape.py", "check_ages(node)\n                given = ", "given = ", TRANSFORMS),
    ("microgradnd/tape.py", "                note.check(node)", "                pass", MUTATION),
    (
        "microgradnd/broadcasting.py",
        'g.astype(np.float32) if g.dtype.char == "e" else g',
        "g",
        TAPE + " " + TENSOR + " tests/test_rules.py",
    ),
    (
        "microgradnd/registry.py",
        "b if a is None else a if b is None else a + b",
        "b if a is None else a",
        " ".join(f"tests/test_laws.py::test_laws[{row}]" for row in ("eigh-complex", "svd-complex")),
    ),
    ("microgradnd/operands.py", "            return copied(value)\n", "            return value\n", MUTATION),
    ("microgradnd/operands.py", "if is_same is True or", "if is_same is not NotImplemented or", MUTATION),
    ("microgradnd/operands.py", "if look(array) != before:", "if False:", MUTATION),
    (
        "microgradnd/operands.py",
        "if (kind := array.dtype.kind) in KINDS:",
        "if (kind := array.dtype.kind) in ():",
        TENSOR + " " + PROMISES,
    ),
    ("microgradnd/operators.py", "pair = (x, copied(y)) if", "pair = (x, y) if", MUTATION),
    ("microgradnd/operators.py", "x, y, node, other_node = y, x, other_node, node", "x, y = y, x", TENSOR),
    ("microgradnd/operators.py", "reads = function not in (np.add, np.subtract)", "reads = False", MUTATION),
    ("microgradnd/tensor.py", "elif plain or (kwargs and", "elif (kwargs and", MUTATION),
    ("microgradnd/operators.py", "is int and self._array.ndim == 1:", "is int:", "tests/test_assignment.py"),
    ("microgradnd/tensor.py", "(kind is tuple and not primitives.is_basic(arg))", "False", MUTATION),
    ("microgradnd/tensor.py", "or (kwargs and not KEPT.isdisjoint", "or (kwargs and KEPT.isdisjoint", MUTATION),
    ("microgradnd/tensor.py", "values[place] = copied(values[place])", "pass", MUTATION),
    (
        "microgradnd/tensor.py",
        "node.data, node.position = array, tape.next_position()",
        "node.data = array",
        TENSOR + " " + TAPE,
    ),
    (
        "microgradnd/operands.py",
        "array = new_array(operand(",
        "array = as_array(operand(",
        TENSOR + " " + TAPE,
    ),
    (
        "microgradnd/operands.py",
        'if not np.can_cast(array.dtype, dtype, "same_kind"):',
        "if False:",
        TENSOR + " " + PROMISES,
    ),
    ("microgradnd/tensor.py", "views.share(result, args)", "pass", ASSIGNMENT),
    ("microgradnd/views.py", "node.aliases = self.nodes", "pass", ASSIGNMENT + " " + MUTATION),
    ("microgradnd/suspended.py", "mode = entered.within(mode)", "pass", TAPE),
    (
        "microgradnd/suspended.py",
        "for frame in reversed(running):",
        "for frame in running:",
        SUSPENDED,
    ),
    ("microgradnd/suspended.py", "if entered.around is not mode:", "if True:", SUSPENDED),
    ("microgradnd/suspended.py", " and type(mode) is Mode and frame.f_globals", " and frame.f_globals", SUSPENDED),
    ("microgradnd/suspended.py", "and frame.f_globals is not CONTEXTLIB:", "and True:", SUSPENDED),
    ("microgradnd/suspended.py", "if not OPEN and type(mode) is Mode and (entered", "if (entered", SUSPENDED),
    ("microgradnd/suspended.py", "    if not places:", "    if False:", SUSPENDED),
    ("microgradnd/suspended.py", "or (flags & COROUTINE and is_task())", "", SUSPENDED),
    ("microgradnd/suspended.py", "if frame.f_back is None or not is_manager(frame.f_back):", "if True:", SUSPENDED),
    ("microgradnd/compiler/programs.py", "mode=resolved(current())", "mode=current()", SUSPENDED),
    ("microgradnd/modes.py", "record = next(outer, Operation)", "record = Operation", TAPE),
    (
        "microgradnd/modes.py",
        "_replace(is_transformed=True)",
        "_replace(is_transformed=False)",
        PROMISES,
    ),
    ("microgradnd/conversions.py", "    if not is_over:\n", "    if False:\n", PROMISES),
    ("microgradnd/matching.py", "if len(set(which)) < len(which):", "if False:", TRANSFORMS),
    ("microgradnd/transforms.py", 'array = array.copy("K")', "pass", TRANSFORMS),
    (
        "microgradnd/matching.py",
        "return g if not isinstance(g, np.ndarray) or inplace.is_alone(g) else np.array(g)",
        "return g",
        TRANSFORMS + " " + PROMISES,
    ),
    ("microgradnd/transforms.py", "if operands.sample(array) != seen:", "if False:", TRANSFORMS + " " + MUTATION),
    ("microgradnd/anomaly.py", "        if not _finite(g):", "        if False:", TAPE),
]
