"""Faults in data, files and the training loop.

Owns: the entries for `microgradnd/data.py`, `saving.py`, `onnx.py` and `nn/fit.py`.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_fit.py`.
"""

DATA = "tests/test_data.py"
SAVING = "tests/test_checkpoints.py"
FIT = "tests/test_fit.py"
ONNX = "tests/test_onnx.py"
FAULTS: list[tuple[str, ...]] = [
    ("microgradnd/data.py", "min(start + size, n)", "min(start + size, n - 1)", DATA),
    ("microgradnd/data.py", "self.array[self.index[rows]]", "self.array[rows]", DATA),
    (
        "microgradnd/data.py",
        "return Rows(array, rows) if isinstance(array, np.memmap) else array[rows]",
        "return array[rows]",
        DATA,
    ),
    ("microgradnd/data.py", "np.square(x[rows] - mean)", "np.square(x[rows])", DATA),
    ("microgradnd/saving.py", "else type(saved)(new.values())", "else list(new.values())", SAVING),
    ("microgradnd/saving.py", "        overwrite(value, new)\n", "        value.data = new\n", SAVING),
    ("microgradnd/saving.py", "if has_state(tree) or isinstance(tree, Tensor):", "if has_state(tree):", SAVING),
    ("microgradnd/saving.py", 'else tree, order="C")', 'else tree, order="K")', SAVING),
    (
        "microgradnd/saving.py",
        "            for other, old in before:\n                take_over(other, old)\n",
        "",
        SAVING,
    ),
    ("microgradnd/saving.py", "while name in RESERVED or name in arrays", "while name in arrays", SAVING),
    ("microgradnd/saving.py", "        written.unlink(missing_ok=True)", "        pass", SAVING),
    ("microgradnd/saving.py", "if dtype.name not in SAFE or not dtype.isnative", "if dtype.name not in SAFE", SAVING),
    ("microgradnd/nn/fit.py", "return [part for part in parts if", "return [part for part in () if", FIT),
    ("microgradnd/nn/fit.py", "[rng, *generators(with_loss)]", "[rng]", FIT),
    (
        "microgradnd/nn/fit.py",
        "self.accumulate * self.size, self.rows - group)",
        "self.accumulate * self.size, self.rows)",
        FIT,
    ),
    ("microgradnd/nn/fit.py", "max(i - 1, 0)))", "i))", FIT),
    (
        "microgradnd/nn/fit.py",
        "        while len(judged) < epochs:\n            if interrupts:\n",
        "        while len(judged) < epochs and not interrupts:\n            if interrupts:\n",
        FIT,
    ),
    ("microgradnd/nn/fit.py", "@checked\n", "", FIT),
    ("microgradnd/nn/fit.py", "np.argmin(judged) == len(judged) - 1", "judged[-1] == max(judged)", FIT),
    ("microgradnd/nn/fit.py", "        self.model.eval()\n", "", FIT),
    ("microgradnd/nn/fit.py", '                advance("epoch", judged[number - 1])', "                pass", FIT),
    ("microgradnd/nn/fit.py", "clip_grad_norm_(self.optimizer.params", "clip_grad_norm_(self.model.parameters()", FIT),
    ("microgradnd/nn/fit.py", '"loss": with_loss[1:], ', "", FIT),
    ("microgradnd/nn/fit.py", '{*saved["history"]} != {*names}', "False", FIT),
    ("microgradnd/nn/fit.py", "if self.measures else None", "if self.metrics else None", FIT),
    ("microgradnd/onnx.py", "[max(after, 0) for _, after in padding]", "[after for _, after in padding]", ONNX),
    ("microgradnd/onnx.py", "more = [max(-after, 0) for", "more = [0 for", ONNX),
    ("microgradnd/onnx.py", "        while name in self.used:\n", "        while False:\n", ONNX),
    ("microgradnd/onnx.py", 'if kind == "ReduceSum":', 'if kind == "ReduceProd":', ONNX),
    ("microgradnd/onnx.py", "a * self.rows[1] == b * self.rows[0]", "a <= b", ONNX),
    ("microgradnd/onnx.py", "        module.eval()\n", "", ONNX),
]
