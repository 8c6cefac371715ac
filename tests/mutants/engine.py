"""Faults in the engine: the tape and its walks, variables, assignment, views, modes, transforms.

Owns: the entries for the files that a recorded operation passes through.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_tape.py`.
"""

TAPE = "tests/test_tape.py"
TENSOR = "tests/test_tensor.py"
TRANSFORMS = "tests/test_transforms.py"
ASSIGNMENT = "tests/test_assignment.py"
FAULTS: list[tuple[str, ...]] = [
    ("microgradnd/tape.py", "if parent.position >= child.position:", "if False:", TAPE + " " + ASSIGNMENT),
    ("microgradnd/tape.py", "        g = changed\n    return g", "        pass\n    return g", TAPE),
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
    ("microgradnd/tape.py", "ends[parent] = ends[parent] + new if parent in ends else new", "ends[parent] = new", TAPE),
    ("microgradnd/tape.py", "total = part if total is None else total + part", "total = part", TRANSFORMS),
    (
        "microgradnd/assignment.py",
        "            node.position = tape.next_position()\n",
        "            pass\n",
        ASSIGNMENT + " " + TAPE + " tests/test_optim.py",
    ),
    ("microgradnd/assignment.py", "array.base is not None or array.size < COPIED", "array.size < COPIED", ASSIGNMENT),
    (
        "microgradnd/assignment.py",
        "if current().record is None:\n            return node",
        "if True:\n            return node",
        ASSIGNMENT,
    ),
    ("microgradnd/views.py", "if movable and not overlap(changed, other._array):", "if movable:", ASSIGNMENT),
    ("microgradnd/views.py", "or where(picked(tensor._array, index)) != where(seen)", "", ASSIGNMENT),
    ("microgradnd/anomaly.py", "            array.flags.writeable = True", "            pass", TAPE),
    ("microgradnd/anomaly.py", "if record is not None and mode.trace is None:", "if mode.trace is None:", TAPE),
    ("microgradnd/anomaly.py", "if all(map(_finite, args))", "if True", TAPE),
    (
        "microgradnd/jacobians.py",
        'jacobian(grad(f, argnums), argnums, mode="fwd")',
        'jacobian(grad(f, 0), argnums, mode="fwd")',
        TRANSFORMS,
    ),
    (
        "microgradnd/transforms.py",
        "if node in ends else np.zeros(t.shape, t.dtype)",
        "if node in ends else np.ones(t.shape, t.dtype)",
        TRANSFORMS,
    ),
    ("microgradnd/tensor.py", "if gradient.shape != self.shape:", "if False:", TAPE + " " + TENSOR),
]
