"""Compiled programs as files that run with NumPy alone.

Owns: that a saved program computes what the compiled function does, in a process that
can't import this library.
Must not own: what programs compute (`test_compiler.py`).
Read next: `test_compiler.py`.
"""

import functools
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.transforms import plain

F = nn.functional


def loaded(path):
    """Return the module in a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(path):
    """Run a file by itself, where importing this library is an error."""
    code = f"import runpy, sys; sys.modules['microgradnd'] = None; runpy.run_path({str(path)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def model():
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(3, 8, rng=rng), nn.ReLU(), nn.Linear(8, 4, rng=rng))


def step(model, optimizer, x, labels):
    loss = F.cross_entropy(model(x), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@pytest.mark.parametrize("optimize", [True, False])
def test_a_model_is_deployed(model, tmp_path, optimize):
    x = np.random.default_rng(1).normal(size=(7, 3))

    def predict(x):
        return model(x)

    compiled = mg.compile(predict, optimize=optimize)
    want = compiled(x).data
    compiled.save(tmp_path / "predict.py")
    module = loaded(tmp_path / "predict.py")
    np.testing.assert_array_equal(module.predict(x), want)
    with mg.no_grad():
        model[0].weight *= 2  # the file keeps the earlier values
    np.testing.assert_array_equal(module.predict(x), want)
    assert "microgradnd" not in (tmp_path / "predict.py").read_text().split('"""', 2)[2]
    assert run(tmp_path / "predict.py").count("[") == 1 + len(x)  # it shows an example


@pytest.mark.parametrize("optimize", [True, False])
def test_a_training_step_goes_on_without_the_library(model, tmp_path, optimize):
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(7, 3)), rng.integers(0, 4, 7)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    compiled = mg.compile(step, optimize=optimize)
    compiled(model, optimizer, x, labels)
    compiled.save(str(tmp_path / "step.py"))
    assert (tmp_path / "step.npz").exists()
    module = loaded(tmp_path / "step.py")
    for _ in range(3):
        loss, gradients = module.step(x, labels)
        assert loss == compiled(model, optimizer, x, labels)
        for gradient, parameter in zip(gradients, model.parameters(), strict=True):
            np.testing.assert_array_equal(gradient, parameter.grad)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_program_without_arguments_is_saved(tmp_path, optimize):
    weights = np.arange(3.0)
    compiled = mg.compile(lambda: 2 * weights, optimize=optimize)
    want = compiled()
    compiled.save(tmp_path / "doubled.py")
    np.testing.assert_array_equal(loaded(tmp_path / "doubled.py").program(), want)
    assert run(tmp_path / "doubled.py") == "[0. 2. 4.]\n"


def test_other_shapes_are_refused(tmp_path):
    compiled = mg.compile(lambda x: np.sum(x * x))
    compiled(np.ones((2, 3)))
    compiled.save(tmp_path / "square.py")
    module = loaded(tmp_path / "square.py")
    assert module.program([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]) == 14.0
    for wrong in (np.ones((1, 3)), np.ones((2, 3), np.float32)):
        with pytest.raises(ValueError, match=r"x must have shape \(2, 3\) and dtype .*float64"):
            module.program(wrong)


@mg.primitive
def cubed(x):
    """Return x cubed."""
    return x**3


mg.defvjp(cubed, lambda g, out, x: g * 3 * np.square(x))
TABLE = np.array([1.0, 2.0])


@mg.primitive
def looked_up(x):
    return x * TABLE if float(np.sum(x)) > 0 else x


mg.defvjp(looked_up, lambda g, out, x: g)


def test_functions_of_the_user(tmp_path):
    compiled = mg.compile(mg.grad(lambda x: np.sum(cubed(np.sin(x)))))
    x = np.arange(3.0)
    want = compiled(x)
    compiled.save(tmp_path / "cubed.py")
    np.testing.assert_array_equal(loaded(tmp_path / "cubed.py").program(x), want)
    compiled = mg.compile(looked_up)
    compiled(np.ones(2))
    with pytest.raises(TypeError, match=r"the program calls looked_up, which uses TABLE.*only np"):
        compiled.save(tmp_path / "looked_up.py")


def test_programs_that_cannot_be_saved(tmp_path):
    compiled = mg.compile(lambda x: x + 1)
    with pytest.raises(RuntimeError, match="call the compiled function once"):
        compiled.save(tmp_path / "a.py")
    compiled(np.ones(2))
    with pytest.raises(ValueError, match=r"'a\.txt\.py'"):
        compiled.save(tmp_path / "a.txt")


class Smoothed(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter(np.ones(3))
        self.register_buffer("mean", np.zeros(3))

    def forward(self, x):
        self.mean = 0.5 * self.mean + x.mean(axis=0)
        return np.sum(self.weight * self.mean)


def accumulating(model, x):
    loss = np.sum(model(x) ** 2)
    loss.backward()
    return loss


def stepping_first():
    model = nn.Linear(3, 1, rng=np.random.default_rng(0))
    optimizer = optim.SGD(model.parameters(), lr=0.125, momentum=0.5)

    def step(x):
        optimizer.step()
        optimizer.zero_grad()
        return accumulating(model, x)

    return step


STATES = {
    "a buffer": lambda: Smoothed(),
    "a count of batches": lambda: nn.BatchNorm1d(3, momentum=None).forward,
    "gradients that add up": lambda: functools.partial(accumulating, nn.Linear(3, 1, rng=np.random.default_rng(0))),
    "gradients for the next step": stepping_first,
}


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("state", STATES)
def test_what_a_call_leaves_is_there_in_the_next_one(tmp_path, state, optimize):
    x = np.random.default_rng(1).normal(size=(4, 3))
    compiled, function = mg.compile(STATES[state](), optimize=optimize), STATES[state]()
    for _ in range(2):  # the first has no gradients to begin with
        compiled(x)
        function(x)
    compiled.save(tmp_path / "call.py")
    saved = [*vars(loaded(tmp_path / "call.py")).values()][-1]
    for _ in range(3):
        result, want = saved(x), plain(function(x))
        result = result[0] if "gradients" in state else result
        np.testing.assert_allclose(result, want, rtol=1e-12)


def test_a_program_that_the_next_call_would_not_run_is_not_saved(model, tmp_path):
    def gradient(x):
        return accumulating(model, x)

    compiled = mg.compile(gradient)
    compiled(np.ones((2, 3)))
    with pytest.raises(RuntimeError, match=r"save: the captured 'the gradient of .* call the compiled function again"):
        compiled.save(tmp_path / "gradient.py")
    compiled(np.ones((2, 3)))
    compiled.save(tmp_path / "gradient.py")


def test_cleared_gradients_are_no_result(model, tmp_path):
    optimizer = optim.SGD(model.parameters(), lr=0.125)

    def step(x):
        optimizer.zero_grad()
        loss = accumulating(model, x)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    x, compiled = np.ones((2, 3)), mg.compile(step)
    compiled(x)
    compiled.save(tmp_path / "step.py")
    assert loaded(tmp_path / "step.py").step(x) == plain(compiled(x))
