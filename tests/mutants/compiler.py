"""Faults in the compiler: passes, spellings, buffers, blocks, printing, dispatch, guards, loops, machine code.

Owns: the entries for `microgradnd/compiler/`.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_passes.py`.
"""

HERE = "microgradnd/compiler/"
PASSES = "tests/test_passes.py"
TRAPS = "tests/test_compiler.py::test_programs_with_traps"
UPDATES = "tests/test_compiler.py::test_updates_and_what_is_read_around_them"
BLOCKS = (
    "tests/test_compiler.py::test_blocks_of_large_arrays "
    "tests/test_compiler.py::test_a_row_beside_a_square_is_not_taken_in_blocks"
)
LOOPS = "tests/test_loops.py"
NUMBA = "tests/test_numba.py"
OWNED = "tests/test_ownership.py"
GUARDS = "tests/test_guards.py"
ENTRIES: list[tuple[str, ...]] = [
    # passes.py
    (
        "passes.py",
        "if any(out in wanted for out in step.outs()):",
        "if step.out in wanted:",
        "tests/test_compiler.py tests/test_outputs.py tests/test_guards.py " + OWNED,
    ),
    (
        "passes.py",
        "key = key_of((step.function, step.args, dict(step.kwargs)))",
        "key = key_of((step.function, step.args))",
        PASSES,
    ),
    ("passes.py", "(slice, tree.start, tree.stop, tree.step)", "(slice, tree.start, tree.stop)", PASSES + " " + TRAPS),
    ("passes.py", "return type(tree), tree, repr(tree)", "return type(tree), tree", PASSES),
    ("passes.py", "if number is not None and other.dtype == step.out.dtype:", "if number is not None:", PASSES),
    (
        "passes.py",
        "if not isinstance(other, Value) or other.shape != step.out.shape:",
        "if not isinstance(other, Value):",
        PASSES,
    ),
    ("passes.py", "if source.args[0].shape == () or keepdims else arg", "if True or keepdims else arg", PASSES),
    (
        "passes.py",
        "isinstance(y, int | float) and y == 1 and alike(x, step.out)",
        "isinstance(y, int | float) and y == 1",
        PASSES,
    ),
    (
        "passes.py",
        "return isinstance(x, Value) and x.shape == out.shape and x.dtype == out.dtype",
        "return isinstance(x, Value) and x.shape == out.shape",
        PASSES,
    ),
    ("passes.py", "len(inner.args) == len(step.args) == 1", "len(step.args) == 1", PASSES + " " + TRAPS),
    ("passes.py", "(is_power_of_two(c) or is_power_of_two(y))", "True", PASSES + " " + TRAPS),
    ("passes.py", "and abs(math.frexp(c)[1]) < 64", "", PASSES),
    ("passes.py", "uses.get(arg, 0) != 1:", "False:", PASSES),
    ("passes.py", "if inner and inner[0].shape == y.shape:", "if inner and False:", PASSES),
    (
        "passes.py",
        "np.subtract if step.function is np.add else np.add, args=(x, inner[0])",
        "np.subtract, args=(x, inner[0])",
        PASSES,
    ),
    ("passes.py", "args=(y, inner[0]))", "args=(inner[0], y))", PASSES),
    ("passes.py", 'step.out.dtype.kind != "f" or step.kwargs:', "step.kwargs:", PASSES),
    (
        "passes.py",
        "if isinstance(arg, Value) and uses[arg] == 1 else None",
        "if isinstance(arg, Value) else None",
        PASSES,
    ),
    ("passes.py", "if signs == 1 and isinstance(out, Value):", "if signs and isinstance(out, Value):", PASSES),
    ("passes.py", "uses.setdefault(value, i)", "uses[value] = i", "tests/test_passes.py tests/test_compiler.py"),
    # spelling.py
    (
        "spelling.py",
        "isinstance(a, Value) and len(a.shape) == 2 for a in step.args",
        "isinstance(a, Value) for a in step.args",
        PASSES,
    ),
    (
        "spelling.py",
        "args = (flat, ones) if order else (ones, flat)",
        "args = (ones, flat) if order else (flat, ones)",
        PASSES,
    ),
    ("spelling.py", "if number != 0:", "if False:", "tests/test_compiler.py " + PASSES),
    (
        "spelling.py",
        "first.function in (primitives.scatter, added_at) and uses[base] == 1",
        "first.function in (primitives.scatter, added_at)",
        "tests/test_passes.py tests/test_compiler.py",
    ),
    (
        "spelling.py",
        "plain = primitives.is_basic(index) and not any(values_in(index))",
        "plain = not any(values_in(index))",
        "tests/test_passes.py tests/test_compiler.py",
    ),
    ("spelling.py", "out[index] += values", "out[index] = values", "tests/test_passes.py tests/test_compiler.py"),
    ("spelling.py", "if axes == (n - 1,):", "if True:", PASSES + " tests/test_compiler.py"),
    ("spelling.py", "np.max: np.maximum.reduce,", "np.max: np.minimum.reduce,", PASSES),
    ("spelling.py", "x.size < ROWS or x.shape[-1] < 8", "x.shape[-1] < 0", PASSES),
    ("spelling.py", "axes != (len(x.shape) - 1,) or not is_real(x)", "not is_real(x)", PASSES),
    # buffers.py
    (
        "buffers.py",
        "for owner in self.owners_of(value):\n                self.last[owner] = len(program.steps)",
        "pass",
        PASSES + " " + UPDATES,
    ),
    (
        "buffers.py",
        "for owner in self.owners_of(value):\n                    self.last[owner] = i",
        "self.last[value] = i",
        PASSES + " " + TRAPS,
    ),
    ("buffers.py", "or self.last.get(old, -1) > i:", "or False:", PASSES + " " + UPDATES),
    (
        "buffers.py",
        "or new in self.kept or new in self.plan.over",
        "or new in self.plan.over",
        PASSES + " " + UPDATES + " " + OWNED,
    ),
    (
        "buffers.py",
        "return not seen_otherwise and chain.last_use(old)",
        "return chain.last_use(old)",
        PASSES + " tests/test_compiler.py",
    ),
    ("buffers.py", "and chain.last_use(old) <= chain.index(new)", "", PASSES + " tests/test_compiler.py"),
    (
        "buffers.py",
        "same = [v for v in dying if (v.shape, v.dtype) == (out.shape, out.dtype)]",
        "same = [v for v in dying if v.shape == out.shape]",
        PASSES + " " + TRAPS,
    ),
    (
        "buffers.py",
        "free.setdefault((math.prod(shape), dtype), []).append(plan.buffer_of[owner])",
        "free.setdefault((math.prod(shape), None), []).append(plan.buffer_of[owner])",
        PASSES,
    ),
    ("buffers.py", "ends[i].remove(covered)", "pass", PASSES + " " + TRAPS),
    (
        "buffers.py",
        "source.dtype == out.dtype and source not in",
        "source not in",
        PASSES + " tests/test_compiler.py tests/test_compiled_steps.py",
    ),
    ("buffers.py", "start += source.size", "start += 0", PASSES + " " + TRAPS),
    (
        "buffers.py",
        "all(s.function is np.reshape for s in self.chain(part))",
        "True",
        PASSES + " tests/test_compiler.py",
    ),
    (
        "buffers.py",
        "chain.last_use(v) == i and v in self.plan.block_of",
        "v in self.plan.block_of",
        BLOCKS + " " + PASSES,
    ),
    ("buffers.py", "if self.plan.buffers[number][0] == shape:", "if True:", BLOCKS + " " + PASSES),
    ("buffers.py", "return array.size > 0 and np.may_share_memory(array, view)", "return True", TRAPS + " " + PASSES),
    (
        "buffers.py",
        "return isinstance(step.function, np.ufunc) and step.function.signature is None and not step.kwargs",
        "return True",
        TRAPS + " " + UPDATES + " " + PASSES,
    ),
    # blocks.py
    ("blocks.py", "len(value.shape) == len(self.shape) and value.shape[0]", "value.shape and value.shape[0]", BLOCKS),
    ("blocks.py", "self.shape[0] % self.rows == 0", "True", BLOCKS),
    ("blocks.py", "uses[step.out] > inner.get(step.out, 0)", "step.out not in inner", PASSES + " " + BLOCKS),
    ("blocks.py", "if group and group[0].out.shape != step.out.shape:", "if False:", PASSES + " " + BLOCKS),
    ("blocks.py", "elif any(v in inside for v in step.operands()):", "elif False:", PASSES + " " + BLOCKS),
    # ownership.py
    ("ownership.py", "borrowed: set[Value] = set(program.inputs)", "borrowed: set[Value] = set()", OWNED),
    (
        "ownership.py",
        "if step.function in REPEATING or (outside and may_share(step)):",
        "if outside and may_share(step):",
        OWNED,
    ),
    (
        "ownership.py",
        "isinstance(first, np.ndarray | Constant)\n        if step",
        "False\n        if step",
        OWNED + " " + PASSES,
    ),
    ("ownership.py", "if result.shape == ():", "if False:", OWNED + " " + PASSES),
    ("ownership.py", "if id(result) not in copies:", "if True:", PASSES),
    ("ownership.py", "WORK: Any = 10_000", "WORK: Any = 0", OWNED),
    (
        "ownership.py",
        "if i != j and isinstance(other, np.ndarray)",
        "if i < j and isinstance(other, np.ndarray)",
        OWNED,
    ),
    # fast.py
    (
        "fast.py",
        '"_buffers = _pool.pop() if _pool else _allocate()"',
        '"_buffers = _pool[-1] if _pool else _allocate()"',
        "tests/test_compiler.py " + OWNED,
    ),
    ("fast.py", "step.function not in (np.maximum, np.minimum)", "True", "tests/test_compiler.py"),
    (
        "fast.py",
        '"{x} / {y} if {y} else np.divide({x}, {y})"',
        '"{x} / {y}"',
        "tests/test_compiler.py tests/test_compiled_steps.py tests/test_outputs.py",
    ),
    ("fast.py", '"{x} - {y}"', '"{y} - {x}"', "tests/test_compiler.py tests/test_compiled_steps.py"),
    ("fast.py", "if {x} >= 0 else np.sqrt({x})", "", "tests/test_compiler.py tests/test_outputs.py"),
    (
        "fast.py",
        "and not value.shape and value not in updated:",
        "and not value.shape:",
        "tests/test_compiler.py tests/test_compiled_steps.py " + OWNED,
    ),
    ("fast.py", 'zeros += "" if chain.is_even else', 'zeros += "" if True else', BLOCKS),
    ("fast.py", "writer.inline.pop(value, None)", "None", BLOCKS + " " + PASSES),
    # dispatch.py
    (
        "dispatch.py",
        'self.checks.append(f"{node}.requires_grad is {tensor._node.requires_grad}")',
        "pass",
        "tests/test_compiler.py",
    ),
    ("dispatch.py", " and {name}.dtype is {self.name(arg.dtype)}", "", "tests/test_compiler.py"),
    ("dispatch.py", "{name}.shape == {self.name(arg.shape)} and ", "", "tests/test_compiler.py"),
    ("dispatch.py", " and {name} == {self.name(arg)}", "", "tests/test_compiler.py"),
    (
        "dispatch.py",
        'self.checks = ["mode.trace is None"]',
        'self.checks = ["True"]',
        "tests/test_compiler.py tests/test_guards.py tests/test_transforms.py",
    ),
    ("dispatch.py", 'self.checks.append("not mode.entered")', "pass", "tests/test_compiler.py tests/test_guards.py"),
    (
        "dispatch.py",
        'self.checks.append(f"type({name}) is {self.name(kind)} and {same}")',
        'self.checks.append(f"type({name}) is {self.name(kind)}")',
        "tests/test_compiler.py",
    ),
    ("dispatch.py", "if traced.surroundings.kept:", "if False:", GUARDS),
    ("dispatch.py", "self.apart(given, updated)", "pass", OWNED),
    (
        "dispatch.py",
        "for thing, form in traced.depends:",
        "for thing, form in []:",
        "tests/test_compiled_steps.py tests/test_guards.py",
    ),
    (
        "dispatch.py",
        '*(f"    if {owner}.aliases is not None: touch({owner})" for owner in newer),',
        "",
        "tests/test_compiled_steps.py",
    ),
    ("dispatch.py", "if newer else []", "if False else []", "tests/test_compiled_steps.py tests/test_guards.py"),
    ("dispatch.py", "if is_mutable(tree):", "if False:", GUARDS),
    # arguments.py
    (
        "arguments.py",
        "dtype, leaf.requires_grad",
        "dtype",
        "tests/test_compiler.py",
    ),
    ("arguments.py", "return leaf.shape, leaf.dtype\n", "return (leaf.shape,)\n", "tests/test_compiler.py"),
    (
        "arguments.py",
        "single = kinds and kinds <= {np.float32, np.complex64}",
        "single = kinds & {np.float32, np.complex64}",
        OWNED,
    ),
    (
        "arguments.py",
        'return type(tree)(*built) if hasattr(tree, "_fields") else type(tree)(built)',
        "return type(tree)(built)",
        "tests/test_compiler.py tests/test_outputs.py",
    ),
    (
        "arguments.py",
        "if isinstance(x, Tensor) else i for i, x",
        "if False else i for i, x",
        "tests/test_compiler.py tests/test_guards.py",
    ),
    (
        "arguments.py",
        "return (dict, *[(key, take_apart(part, leaves)) for key, part in tree.items()])",
        "return (dict, *[take_apart(part, leaves) for key, part in tree.items()])",
        "tests/test_compiler.py",
    ),
    (
        "arguments.py",
        "type(leaf) if is_input(leaf) else (type(leaf), leaf)",
        "type(leaf) if is_input(leaf) else leaf",
        "tests/test_compiler.py",
    ),
    # guards.py
    (
        "guards.py",
        "return isinstance(old, PLAIN) and repr(old) == repr(new)",
        "return isinstance(old, PLAIN) and old == new",
        GUARDS,
    ),
    ("guards.py", "if type(old) is not type(new):", "if False:", GUARDS),
    ("guards.py", "if pickle.dumps(read()) != state:", "if False:", GUARDS),
    ("guards.py", "(saved is not None and array.tobytes() != saved)", "False", GUARDS),
    (
        "guards.py",
        "for thing in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):",
        "for thing in ():",
        GUARDS,
    ),
    ("guards.py", "write(pickle.loads(state))", "pass", GUARDS),
    ("guards.py", "found.fget if isinstance(found, property) else found", "found", GUARDS),
    # trace.py
    (
        "trace.py",
        'differentiable = function not in PLAIN and any(part.dtype.kind in "fc" for part in parts)',
        "differentiable = True",
        "tests/test_guards.py tests/test_compiler.py",
    ),
    ("trace.py", "self.masks.append(part)", "pass", GUARDS),
    ("trace.py", "if node.position < recorder.start", "if True", GUARDS),
    (
        "trace.py",
        "leaf.grad = gradient",
        "pass",
        "tests/test_guards.py tests/test_compiler.py tests/test_compiled_steps.py",
    ),
    (
        "trace.py",
        "np.isfinite(array).all() and array.tobytes() == array.flat[0].tobytes() * array.size",
        "(array == array.flat[0]).any()",
        "tests/test_compiler.py tests/test_guards.py",
    ),
    # source.py, saving.py
    (
        "saving.py",
        "if array.shape != shape or array.dtype != dtype:",
        "if array.shape != shape:",
        "tests/test_saving.py",
    ),
    (
        "saving.py",
        "if array.shape != shape or array.dtype != dtype:",
        "if array.dtype != dtype:",
        "tests/test_saving.py",
    ),
    # __init__.py
    ("__init__.py", "if entry is None or entry.stale():", "if entry is None:", GUARDS),
    ("__init__.py", "touch(leaf)", "pass", "tests/test_compiled_steps.py tests/test_guards.py"),
    (
        "__init__.py",
        "if len(self._entries) > self.maxsize:",
        "if len(self._entries) > self.maxsize + 1:",
        "tests/test_compiler.py",
    ),
    ("__init__.py", "self._entries.popitem(last=False)", "self._entries.popitem()", "tests/test_compiler.py"),
    ("__init__.py", "if takes_numpy <= takes_loops:", "if takes_numpy >= takes_loops:", NUMBA, "numba"),
    # fusion.py
    ("fusion.py", 'self.map(step, "{0}", [arg], copy)\n        return self.viewed', "return self.viewed", LOOPS),
    (
        "fusion.py",
        "shape, k = (*out.shape, inner // unrolled, unrolled)",
        "shape, k = (*out.shape, inner // unrolled - 1, unrolled)",
        LOOPS,
    ),
    (
        "fusion.py",
        "if self.flat or len(found) != 1 or found[0][1].terms != ((dim, 1),):",
        "if self.flat or len(found) != 1:",
        LOOPS,
    ),
    ("fusion.py", "return found[0][0], found[0][1].start", "return found[0][0], 0", LOOPS),
    ("fusion.py", "op.extents[dim] == self.extent and self.is_legal(op, dim)", "op.extents[dim] == self.extent", LOOPS),
    ("fusion.py", "inside = min(lows, default=0) >= 0 and", "inside =", LOOPS),
    ("fusion.py", "all(high < n for high, n in zip(highs, shape, strict=True))", "True", LOOPS),
    ("fusion.py", "start, end = end, end + array.shape[axis]", "start, end = 0, array.shape[axis]", LOOPS),
    (
        "fusion.py",
        '"{0} / {1}", [total, math.prod(a.shape[i] for i in summed)]',
        '"{0} / {1}", [total, max(a.shape[i] for i in summed)]',
        LOOPS,
    ),
    ("fusion.py", '"minimum(maximum({0}, {1}), {2})"', '"maximum(minimum({0}, {1}), {2})"', LOOPS),
    (
        "fusion.py",
        'TEMPLATES |= {np.negative: "-{0}", np.logical_not: "not {0}", np.isnan: "{0} != {0}"',
        'TEMPLATES |= {np.negative: "-{0}", np.logical_not: "not {0}", np.isnan: "{0} == {0}"',
        LOOPS + " " + NUMBA,
        "numba",
    ),
    (
        "fusion.py",
        "return NO_LOOPS\n        if not (a.dtype == b.dtype == out.dtype",
        "pass\n        if not (a.dtype == b.dtype == out.dtype",
        LOOPS,
    ),
    # loops.py
    ("loops.py", "if self.order[reader] > self.order[writer]:", "if False:", LOOPS),
    ("loops.py", "or {old, new} & wanted or", "or", LOOPS),
    ("loops.py", "if writer.out.key(dim) is None or writer.out.key(dim) != access.key(place):", "if False:", LOOPS),
    ("loops.py", "steady = not any(", "steady = True or not any(", LOOPS),
    (
        "loops.py",
        "fits = [rank == ATOM or r > rank or (r == rank != COMPARISON and not i)",
        "fits = [rank == ATOM or r >= rank",
        LOOPS,
    ),
    ("loops.py", '"multiply": lambda dtype: 1,', '"multiply": lambda dtype: 0,', LOOPS),
    ("loops.py", '"largest": lambda dtype: -math.inf if', '"largest": lambda dtype: 0.0 if', LOOPS),
    (
        "loops.py",
        'return long and op.fold == "add" and op.dtype == np.float32',
        "return False and op.dtype == np.float32",
        NUMBA,
        "numba",
    ),
    (
        "loops.py",
        "texts.insert(0 if any(factor < 0 for factor, _ in terms) else len(texts), str(axis.start))",
        "pass",
        LOOPS,
    ),
    ("loops.py", "self.texts.pop(target, None)  # it isn't what", "# it isn't what", LOOPS),
    ("fusion.py", "        if body in RULES:", "        if False:", LOOPS),
    # driver.py
    ("driver.py", "if value in self.program.updates]", "if False]", LOOPS + " " + NUMBA, "numba"),
    ("driver.py", "np.array(x, order='C')", "x", NUMBA, "numba"),
    ("driver.py", "if array and in_loops:", "if False:", LOOPS + " " + NUMBA, "numba"),
    (
        "driver.py",
        "{held} = _pool.pop() if",
        "{held} = _pool[-1] if",
        NUMBA,
        "numba",
    ),
    # machine.py
    (
        "machine.py",
        "extent * i // count for i in range(count + 1)",
        "extent // count * i for i in range(count + 1)",
        NUMBA + "::test_threads_share_all_of_a_loop",
        "numba",
    ),
    ("machine.py", "sha256(f'{versions} {text}'.encode())", "sha256(f'{text}'.encode())", NUMBA, "numba"),
    ("machine.py", "for thread in threads:\n        thread.join()", "pass", NUMBA, "numba"),
    (
        "machine.py",
        "pairwise(bounds[1:])",
        "pairwise(bounds[2:])",
        NUMBA + "::test_threads_share_all_of_a_loop",
        "numba",
    ),
    (
        "machine.py",
        "copies = [np.array(a) if isinstance(a, np.ndarray) else a for a in arrays]",
        "copies = list(arrays)",
        NUMBA,
        "numba",
    ),
    (
        "machine.py",
        'INTRINSICS = {"largest": "maximum", "smallest": "minimum"}',
        'INTRINSICS = {"largest": "maxnum", "smallest": "minnum"}',
        NUMBA,
        "numba",
    ),
    # elementary.py
    ("elementary.py", "return x if x > y or x != x else y", "return x if x > y else y", LOOPS + " " + NUMBA, "numba"),
    (
        "elementary.py",
        "return one if x > 0 else (-one if x < 0 else x * x)",
        "return one if x > 0 else (-one if x < 0 else 0 * one)",
        LOOPS + " " + NUMBA,
        "numba",
    ),
    ("elementary.py", "if i < -n or i >= n:", "if i < -n or i > n:", NUMBA, "numba"),
    ("elementary.py", "k = np.float64(n - 54 if tiny else n)", "k = np.float64(n)", NUMBA, "numba"),
    ("elementary.py", "return math.copysign(y / (y + 2.0), x)", "return y / (y + 2.0)", LOOPS + " " + NUMBA, "numba"),
]
FAULTS = [(HERE + file, *rest) for file, *rest in ENTRIES]
