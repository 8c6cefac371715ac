"""Faults in networks and optimizers.

Owns: the entries for `microgradnd/nn/` and `microgradnd/optim/`.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_nn.py`.
"""

NN = "tests/test_nn.py"
FUNCTIONAL = "tests/test_functional.py"
LAYERS = "tests/test_layers.py"
LAWS = "tests/test_laws.py::test_first_and_second_derivatives[normalized-rows]"
OPTIM = "tests/test_optim.py"
SCHEDULES = "tests/test_lr_scheduler.py"
MINIMIZING = "tests/test_minimizing.py"
STEPS = "tests/test_compiled_steps.py"
CONVOLUTION = "tests/test_convolution.py"
RECURRENT, ATTENTION = "tests/test_recurrent.py", "tests/test_attention.py"
FAULTS: list[tuple[str, ...]] = [
    ("microgradnd/nn/recurrent.py", "return (n + z * (h - n),)", "return (h + z * (n - h),)", RECURRENT),
    ("microgradnd/nn/recurrent.py", "np.flip(x, 0) if direction else x", "x", RECURRENT),
    ("microgradnd/nn/recurrent.py", "of_n * hidden[..., 2, :] * r", "of_n * hidden[..., 2, :]", RECURRENT),
    ("microgradnd/nn/recurrent.py", "np.stack([through_c * f, f], -3)", "np.stack([f, f], -3)", RECURRENT),
    ("microgradnd/nn/recurrent.py", "            if layer:\n", "            if True:\n", RECURRENT),
    ("microgradnd/nn/recurrent.py", "not x.shape[is_swapped]", "not x.shape[0]", RECURRENT),
    (
        "microgradnd/nn/recurrent.py",
        "if transpose is through_time else",
        "if transpose is not through_time else",
        "tests/test_laws.py::test_first_and_second_derivatives[through_time-one-part]",
    ),
    ("microgradnd/nn/attention.py", "e /= sums + (sums == 0)", "e /= sums", ATTENTION),
    ("microgradnd/nn/attention.py", "product_total(out, g, -1)), query", "product_total(g, g, -1)), query", ATTENTION),
    (
        "microgradnd/nn/attention.py",
        "np.matmul(mT(used), g)",
        "np.matmul(mT(weights), g)",
        "tests/test_laws.py::test_first_and_second_derivatives[attention-kept]",
    ),
    ("microgradnd/nn/attention.py", "np.tri(queries, keys, dtype=bool)", "np.tri(queries, keys, -1, bool)", ATTENTION),
    ("microgradnd/nn/attention.py", "if shows else np.where(mask, infinity, zero)", "", ATTENTION),
    ("microgradnd/nn/attention.py", "self.dropout if self.training else 0.0", "self.dropout", ATTENTION),
    (
        "microgradnd/nn/arguments.py",
        "return [fit(parts[i], args[i]) for i in moving]",
        "return [parts[i] for i in moving]",
        "tests/test_laws.py",
    ),
    (
        "microgradnd/nn/activations.py",
        "return x - largest(x, axis)",
        "return x",
        FUNCTIONAL,
    ),
    (
        "microgradnd/nn/activations.py",
        "out * (g - product_total(g, out, axis))",
        "out * (g - total(g, axis))",
        FUNCTIONAL + " tests/test_laws.py::test_first_and_second_derivatives[softmax-last]",
    ),
    (
        "microgradnd/nn/activations.py",
        "axis in (-1, x.ndim - 1) and x.size >= MANY_ROWS",
        "axis in (-1, 1) and x.size >= MANY_ROWS",
        FUNCTIONAL,
    ),
    (
        "microgradnd/nn/activations.py",
        "elementwise(sigmoid, lambda g, out, x: g * (out * (1 - out)))",
        "elementwise(sigmoid, lambda g, out, x: g * (out * (1 + out)))",
        FUNCTIONAL + " tests/test_laws.py::test_first_and_second_derivatives[sigmoid]",
    ),
    ("microgradnd/nn/activations.py", "alpha * np.exp(np.minimum(x, 0))), None)", "out + alpha), None)", LAYERS),
    ("microgradnd/nn/dropout.py", 'kinds="fc")', 'kinds="biufc")', "tests/test_messages.py"),
    ("microgradnd/nn/losses.py", "(seen(y) < 0) | (seen(y) > 1)", "seen(y) > 1", "tests/test_messages.py"),
    ("microgradnd/nn/losses.py", "losses.shape[0] if losses.ndim else 1", "losses.size", LAYERS),
    ("microgradnd/nn/calls.py", "for name in self._settings} | named))", "for name in self._settings}))", LAYERS),
    ("microgradnd/nn/activations.py", "-ends <= a < ends", "-ends <= a <= ends", "tests/test_messages.py"),
    ("microgradnd/nn/activations.py", "np.minimum(np.abs(x), 100) ** 2", "x ** 2", LAYERS),
    ("microgradnd/nn/activations.py", "term * (1 - 2 * n)", "term * (1 + 2 * n)", LAYERS),
    (
        "microgradnd/settings.py",
        "0 <= x <= 1)\nprobability",
        "0 <= x)\nprobability",
        LAYERS + " tests/test_messages.py",
    ),
    ("microgradnd/settings.py", "as_integer, lambda n: n >= 1", "as_integer, lambda n: n >= 0", NN),
    ("microgradnd/settings.py", "all(n >= least for n in listed(value))", "True", "tests/test_messages.py"),
    ("microgradnd/settings.py", "if isinstance(number, int) else None", "if number is not None else None", NN),
    ("microgradnd/settings.py", "if found is None or not fits(found):", "if found is None:", LAYERS),
    ("microgradnd/nn/embedding.py", "return g if padding_idx is None else", "return g if True else", LAYERS),
    ("microgradnd/nn/losses.py", "np.abs(x) * np.where(x > 0, 1 - y, y)", "np.maximum(x, 0) - x * y", LAYERS),
    ("microgradnd/nn/losses.py", "return np.where(kept, losses, 0), ", "return losses * kept, ", LAYERS),
    ("microgradnd/nn/losses.py", "p * np.log(np.where(p == 0, 1, p))", "p * np.log(p)", "tests/test_functional.py"),
    ("microgradnd/nn/normalization.py", "(1, n / max(n - 1, 1))", "(1, 1)", LAYERS),
    ("microgradnd/nn/normalization.py", "variance = variance_along(x, mean, axes)\n    scale", "scale", LAWS),
    ("microgradnd/nn/normalization.py", "v - mean_along(v, axes, z) * z", "v - z", LAWS),
    (
        "microgradnd/nn/losses.py",
        "    if a != b:\n        advice",
        "    if math.prod(a) != math.prod(b):\n        advice",
        FUNCTIONAL + " " + NN,
    ),
    (
        "microgradnd/nn/losses.py",
        "return sse_loss(y_pred, y) / np.size(y)",
        "return sse_loss(y_pred, y) / len(y)",
        FUNCTIONAL,
    ),
    (
        "microgradnd/nn/module.py",
        "Module._changes += 1\n        self._kinds.pop(name, None)\n        object.__delattr__",
        "object.__delattr__",
        NN + " " + STEPS,
    ),
    ("microgradnd/nn/module.py", "if id(module) not in seen:", "if True:", NN),
    ("microgradnd/nn/module.py", "module.training = mode", "self.training = mode", NN),
    (
        "microgradnd/nn/module.py",
        "if array.shape != (shape := own[path][2].shape)",
        "if array.ndim != len(shape := own[path][2].shape)",
        NN,
    ),
    ("microgradnd/nn/init.py", "math.sqrt(3.0)", "math.sqrt(2.0)", NN + " tests/test_nn.py"),
    ("microgradnd/optim/adam.py", "s.exp_avg_sq = beta2 * s.exp_avg_sq", "s.exp_avg_sq = s.exp_avg_sq", OPTIM),
    ("microgradnd/optim/adam.py", "/ np.sqrt(1 - beta2**t) + s.eps", "+ s.eps", OPTIM),
    ("microgradnd/optim/sgd.py", "g + s.momentum * s.momentum_buffer if", "s.momentum_buffer if", OPTIM),
    ("microgradnd/optim/sgd.py", "s.exp_avg = beta2 * s.exp_avg", "s.exp_avg = beta1 * s.exp_avg", OPTIM),
    ("microgradnd/optim/sgd.py", "s.weight_decay * w + g if", "w + g if", OPTIM),
    ("microgradnd/optim/adagrad.py", "(1 + (t - 1) * s.lr_decay)", "(1 + t * s.lr_decay)", OPTIM),
    ("microgradnd/optim/flat.py", "return steps.count(steps[0]) == len(steps)", "return True", OPTIM + " " + STEPS),
    ("microgradnd/optim/flat.py", "self.counts[... if everyone else live] += 1", "self.counts[...] += 1", OPTIM),
    ("microgradnd/optim/flat.py", "value if is_live.all() else np.where(", "value if True else np.where(", OPTIM),
    ("microgradnd/optim/flat.py", "if self.dtype == np.float16 else", "if False else", OPTIM),
    ("microgradnd/optim/formula.py", "if wanted in free else -1", "if False else -1", OPTIM),
    ("microgradnd/optim/formula.py", "x.name in vectors else x for name", "False else x for name", OPTIM),
    (
        "microgradnd/optim/formula.py",
        "operands.append(value.astype(dtype) if is_rounded else value)",
        "operands.append(value)",
        STEPS,
    ),
    ("microgradnd/optim/groups.py", "self._varying[name].data[...] = value", "pass", OPTIM),
    ("microgradnd/optim/optimizer.py", 'entry.get("step", 0) for entry', "0 for entry", OPTIM),
    ("microgradnd/optim/optimizer.py", "part[...] = entry.get(name, part)", "pass", OPTIM),
    ("microgradnd/optim/clipping.py", "/ (norm + 1e-6), 1.0)", "/ (norm + 1e-6), 2.0)", OPTIM),
    ("microgradnd/optim/lr_scheduler.py", "if t and t % self.step_size == 0", "if t % self.step_size == 0", SCHEDULES),
    ("microgradnd/optim/lr_scheduler.py", "== self.T_max:", "== -1:", SCHEDULES),
    ("microgradnd/optim/lr_scheduler.py", "length * self.T_mult", "length", SCHEDULES),
    ("microgradnd/optim/lr_scheduler.py", "if self.last_epoch in self.milestones", "if False", SCHEDULES),
    ("microgradnd/optim/lr_scheduler.py", "self.num_bad_epochs > self.patience", "self.num_bad_epochs > 0", SCHEDULES),
    ("microgradnd/optim/minimizing.py", "vector(hvp(of)(arrays(x), arrays(v)))", "v", MINIMIZING, "scipy"),
    ("microgradnd/optim/minimizing.py", "array[...] = value", "pass", MINIMIZING, "scipy"),
    (
        "microgradnd/nn/windows.py",
        "(n + sum(pad) - d * (k - 1) - 1) // s + 1",
        "(n + sum(pad) - k) // s + 1",
        CONVOLUTION,
    ),
    (
        "microgradnd/nn/windows.py",
        "slice(i * d, i * d + (n - 1) * s + 1, s)",
        "slice(i, i + (n - 1) * s + 1, s)",
        CONVOLUTION,
    ),
    ("microgradnd/nn/convolution.py", "part = x[:, start * stride[0] :]", "part = x[:, start:]", CONVOLUTION),
    (
        "microgradnd/nn/convolution.py",
        "lambda g, out, z, weight, shape, **how: conv_weight(g, z, weight.shape[2:], **how)",
        "lambda g, out, z, weight, shape, **how: conv_weight(out, z, weight.shape[2:], **how)",
        "tests/test_laws.py::test_first_and_second_derivatives[conv_transpose-images]",
    ),
    (
        "microgradnd/nn/convolution.py",
        "return tuple((total // 2, total - total // 2)",
        "return tuple((total - total // 2, total // 2)",
        CONVOLUTION,
    ),
    ("microgradnd/nn/pooling.py", "np.min_scalar_type(len(parts))", "np.uint8", CONVOLUTION),
    ("microgradnd/nn/pooling.py", "seen(x, **how, fill=np.nan)", "seen(x, **how, fill=-np.inf)", CONVOLUTION),
    ("microgradnd/nn/pooling.py", "if nan.any():", "if False:", CONVOLUTION),
    (
        "microgradnd/nn/pooling.py",
        "any(d * (k - 1) >= s for",
        "any(d * k < s for",
        "tests/test_laws.py::test_first_and_second_derivatives[max_pool-padded]",
    ),
    (
        "microgradnd/nn/pooling.py",
        "last -= s * (last >= n + p)",
        "last -= 0",
        "tests/test_torch_convolution.py",
        "torch",
    ),
]
