"""Training steps that are compiled whole: a module, an optimizer and a batch.

Owns: that a compiled step does to parameters and optimizer what the step itself does:
to the last bit as it is read, and up to the order of additions
(`compiler/spelling.py`) as it is optimised.
Must not own: programs of arrays alone (`test_compiler.py`).
Read next: `test_optim.py`.
"""

import copy
import pickle

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.nn import functional as F
from microgradnd.transforms import plain as array_of
from microgradnd.trees import flatten

OPTIMIZERS = {
    "sgd": lambda params: optim.SGD(params, lr=1e-3),
    "sgd, decay": lambda params: optim.SGD(params, lr=1e-3, weight_decay=0.1),
    "momentum": lambda params: optim.SGD(params, lr=1e-3, momentum=0.9),
    "nesterov": lambda params: optim.SGD(params, lr=1e-3, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda params: optim.Adam(params, lr=1e-2),
    "adamw": lambda params: optim.AdamW(params, lr=1e-2, amsgrad=True),
    "nadam": lambda params: optim.NAdam(params, lr=1e-2, weight_decay=0.1),
    "adagrad": lambda params: optim.Adagrad(params, lr=1e-2, lr_decay=0.1, initial_accumulator_value=0.1),
    "rmsprop": lambda params: optim.RMSprop(params, lr=1e-2, momentum=0.5, centered=True, weight_decay=0.1),
    "adadelta": lambda params: optim.Adadelta(params),
    "lion": lambda params: optim.Lion(params, lr=1e-3, weight_decay=0.1),
    "adam, decay": lambda params: optim.Adam(params, lr=1e-2, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
}


def made(optimizer="adam", dtype=float):
    rng = np.random.default_rng(3)
    layers = nn.Linear(2, 8, rng=rng, dtype=dtype), nn.ReLU(), nn.Linear(8, 1, rng=rng, dtype=dtype)
    model = nn.Sequential(*layers)
    return model, OPTIMIZERS[optimizer](model.parameters())


def batch(dtype=float):
    x = np.random.default_rng(0).normal(size=(10, 2)).astype(dtype)
    return x, np.sin(x[:, :1])


def train_step(model, optimizer, x, y):
    loss = F.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def close(got, want, exact):
    """Compare numbers or arrays: to the last bit, or up to rounding."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    tolerance = 0 if exact else 1e-5 if want.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def alike(first, second, exact=False):
    """Compare models and optimizers."""
    for p, q in zip(first[0].parameters(), second[0].parameters(), strict=True):
        close(q.data, p.data, exact)
    (ours, form), (theirs, other) = flatten(first[1].state_dict()), flatten(second[1].state_dict())
    assert form == other
    for u, v in zip(ours, theirs, strict=True):
        close(v, u, exact)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("dtype", [float, np.float32])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_compiled_step_is_the_step(name, dtype, optimize):
    plain, given, captured = made(name, dtype), made(name, dtype), made(name, dtype)
    x, y = batch(dtype)
    step = mg.compile(train_step, optimize=optimize)
    of_batch = mg.compile(lambda x, y: train_step(*captured, x, y), optimize=optimize)
    for i in range(6):
        if i == 3:
            for _, optimizer in (plain, given, captured):
                optimizer.lr = 5e-3  # without another program
        want = train_step(*plain, x, y).data
        close(step(*given, x, y), want, not optimize)
        close(of_batch(x, y), want, not optimize)
    alike(plain, given, not optimize)
    alike(plain, captured, not optimize)
    assert step.cache_info()[:2] == of_batch.cache_info()[:2] == (5, 1)
    for model, _ in (given, captured):
        for p, q in zip(model.parameters(), plain[0].parameters(), strict=True):
            close(p.grad, q.grad, not optimize)


def test_each_model_has_a_program_of_its_own():
    step = mg.compile(train_step, optimize=False)
    for seed in range(3):
        given, plain = made(), made()
        for model, _ in (given, plain):
            model.load_state_dict({k: v + seed for k, v in model.state_dict().items()})
        for _ in range(2):
            assert step(*given, *batch()) == train_step(*plain, *batch()).item()
        alike(given, plain)
    assert step.cache_info().misses == 3


def test_what_a_module_does_is_part_of_the_program():
    class Scaled(nn.Module):
        factor = 1.0

        def __init__(self):
            self.w = nn.Parameter([1.0, 2.0])

        def forward(self, x):
            return np.sum(self.w * x) * (self.factor if self.training else 1.0)

    model, x = Scaled(), np.ones(2)
    given, captured = mg.compile(lambda m, x: m(x)), mg.compile(lambda x: model(x))
    for change in (lambda: None, lambda: setattr(model, "factor", 3.0), model.eval, model.train):
        change()
        want = model(x).item()
        assert given(model, x) == captured(x) == want
        assert given(model, x) == captured(x) == want
    other = nn.Sequential(nn.Linear(2, 1, rng=np.random.default_rng(0)), nn.Tanh())
    relu = nn.Sequential(other[0], nn.ReLU())
    np.testing.assert_array_equal(array_of(given(other, x[None])), other(x[None]).data)
    np.testing.assert_array_equal(array_of(given(relu, x[None])), relu(x[None]).data)


def test_settings_of_the_optimizer_are_part_of_the_program():
    plain, given, captured = made(), made(), made()
    step, of_batch = (
        mg.compile(train_step, optimize=False),
        mg.compile(lambda x, y: train_step(*captured, x, y), optimize=False),
    )
    for betas in ((0.9, 0.999), (0.9, 0.999), (0.5, 0.9)):
        for _, optimizer in (plain, given, captured):
            optimizer.betas = betas
        assert train_step(*plain, *batch()).item() == step(*given, *batch()) == of_batch(*batch())
    alike(plain, given, exact=True)
    alike(plain, captured, exact=True)


def test_parameters_replaced_between_the_steps_are_seen():
    plain, given, captured = made(), made(), made()
    step, of_batch = (
        mg.compile(train_step, optimize=False),
        mg.compile(lambda x, y: train_step(*captured, x, y), optimize=False),
    )
    for _ in range(3):
        assert train_step(*plain, *batch()).item() == step(*given, *batch()) == of_batch(*batch())
        for model, _ in (plain, given, captured):
            model[0].weight.data = model[0].weight.data * 0.5
    alike(plain, given, exact=True)
    alike(plain, captured, exact=True)


def test_parameters_without_a_gradient_are_left_as_they_are():
    def step(model, optimizer, x, y, head):
        loss = F.mse_loss(model[2](x) if head else model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    plain, given = made(), made()
    compiled = mg.compile(step, optimize=False)
    x, y = batch()
    hidden = np.random.default_rng(1).normal(size=(10, 8))
    for head in (True, False, True, False, False):  # so the parameters take different numbers of steps
        assert step(*plain, hidden if head else x, y, head).item() == compiled(*given, hidden if head else x, y, head)
        alike(plain, given, exact=True)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_copy_of_model_and_optimizer_goes_on_by_itself(name, copied):
    plain = made(name)
    step = mg.compile(train_step, optimize=False)
    for _ in range(2):
        train_step(*plain, *batch())
    plain[1].zero_grad()
    eager, compiled = copied(plain), copied(plain)
    for _ in range(3):
        want = train_step(*plain, *batch()).item()
        assert train_step(*eager, *batch()).item() == want == step(*compiled, *batch())
    assert train_step(*compiled, *batch()).item() == train_step(*plain, *batch()).item()
    alike(plain, compiled, exact=True)


def test_a_frozen_parameter_stays():
    plain, given = made(), made()
    for model, _ in (plain, given):
        model[0].weight.requires_grad = False
    step = mg.compile(train_step, optimize=False)
    for _ in range(3):
        assert train_step(*plain, *batch()).item() == step(*given, *batch())
    alike(plain, given, exact=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_complex_parameters(name):
    def step(w, optimizer, z):
        error = z @ w - 1j
        loss = np.sum(np.real(error * np.conj(error)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    class Holder(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(np.array([1.0 + 2.0j, -0.5j]))

    z = np.array([[1.0 + 1j, 2.0], [0.5j, -1.0]])
    plain, given = (
        ((m := Holder()), OPTIMIZERS[name](m.parameters())),
        ((m := Holder()), OPTIMIZERS[name](m.parameters())),
    )
    compiled = mg.compile(lambda model, optimizer, z: step(model.w, optimizer, z), optimize=False)
    for _ in range(4):
        assert step(plain[0].w, plain[1], z).item() == compiled(*given, z)
    np.testing.assert_allclose(plain[0].w.data, given[0].w.data, rtol=1e-14)


def test_gradients_may_be_cleared_after_the_step_and_steps_repeated():
    def twice(model, optimizer, x, y):
        for _ in range(2):
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return loss

    plain, given = made(), made()
    compiled = mg.compile(twice, optimize=False)
    for _ in range(2):
        assert twice(*plain, *batch()).item() == compiled(*given, *batch())
    alike(plain, given, exact=True)


def test_a_compiled_step_makes_parameters_newer_than_their_uses():
    model, optimizer = made()
    step = mg.compile(train_step, optimize=False)
    for _ in range(2):
        loss = F.mse_loss(model(batch()[0]), batch()[1])
        step(model, optimizer, *batch())
        with pytest.raises(RuntimeError, match=r"weight.* was changed"):
            loss.backward()


@pytest.mark.parametrize("zero", ["never", "before", "after", "outside"])
def test_gradients_from_before_and_afterwards(zero):
    """They are added to, and left behind, as without compiling."""

    def step(model, optimizer, x, y):
        loss = F.mse_loss(model(x), y)
        if zero == "before":
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if zero == "after":
            model.zero_grad()
        return loss

    plain, given = made(), made()
    compiled = mg.compile(step, optimize=False)
    for i in range(5):
        assert step(*plain, *batch()).item() == compiled(*given, *batch())
        alike(plain, given, exact=True)
        for p, q in zip(plain[0].parameters(), given[0].parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                assert type(q.grad) is np.ndarray
                np.testing.assert_array_equal(q.grad, p.grad)
        if zero == "outside" or i == 2:
            for _, optimizer in (plain, given):
                optimizer.zero_grad()
    assert compiled.cache_info().misses <= 2  # with gradients from before, and without


def by_the_transform(model, optimizer, x, y):
    loss, gradient = mg.value_and_grad(lambda model: F.mse_loss(model(x), y))(model)
    for parameter, slope in zip(model.parameters(), gradient.parameters(), strict=True):
        parameter.grad = slope
    optimizer.step()
    return loss


def by_an_inner_gradient(model, optimizer, x, y):
    inner = mg.grad(lambda model: F.mse_loss(model(x[:5]), y[:5]))(model)
    ahead = sum(np.sum((p - 0.1 * g) ** 2) for p, g in zip(model.parameters(), inner.parameters(), strict=True))
    optimizer.zero_grad()
    ahead.backward()
    optimizer.step()
    return ahead


@pytest.mark.parametrize("step", [by_the_transform, by_an_inner_gradient])
def test_a_step_may_take_gradients_by_transforms_of_the_module(step):
    model, optimizer = made()
    other, its = copy.deepcopy((model, optimizer))
    compiled = mg.compile(lambda x, y: step(other, its, x, y))
    for _ in range(3):
        close(array_of(compiled(*batch())), array_of(step(model, optimizer, *batch())), False)
    for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
        close(mine.data, theirs.data, False)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("f", [np.sin, np.square, lambda x: x @ x.T, lambda x: F.linear(x, x)])
def test_a_gradient_is_a_constant_for_the_next_backward_unless_it_has_a_graph(f, create_graph):
    def step(x):
        np.sum(f(x)).backward(create_graph=create_graph)
        first, x.grad = x.grad, None
        np.sum(first * x**2).backward()
        second, x.grad = x.grad, None
        return first, second

    x = mg.tensor(np.linspace(-1, 1, 6).reshape(2, 3), requires_grad=True)
    compiled = mg.compile(step)
    for wanted, found in [*zip(step(x), compiled(x), strict=True), *zip(step(x), compiled(x), strict=True)]:
        assert create_graph or type(found) is np.ndarray
        np.testing.assert_allclose(array_of(found), array_of(wanted), rtol=1e-14)


def test_keywords():
    compiled = mg.compile(lambda x, *, y=1.0, flag=False: x * y if flag else x + y)
    x = np.arange(3.0)
    np.testing.assert_array_equal(compiled(x), x + 1)
    np.testing.assert_array_equal(compiled(x, y=2.0), x + 2)
    np.testing.assert_array_equal(compiled(x, y=np.array(3.0), flag=True), x * 3)


def test_methods_and_modules_are_functions_too():
    class Line(nn.Module):
        def __init__(self):
            self.slope = nn.Parameter([2.0, 3.0])

        @mg.compile
        def predict(self, x):
            return x @ self.slope

        def forward(self, x):
            return x @ self.slope + 1

    line, x = Line(), np.eye(2)
    np.testing.assert_array_equal(array_of(line.predict(x)), [2.0, 3.0])
    compiled = mg.compile(line)
    np.testing.assert_array_equal(array_of(compiled(x)), [3.0, 4.0])
    line.slope.data = np.array([0.0, 1.0])
    np.testing.assert_array_equal(array_of(line.predict(x)), [0.0, 1.0])
    np.testing.assert_array_equal(array_of(compiled(x)), [1.0, 2.0])
    assert Line.predict.cache_info().misses == 1


def test_a_compiled_update_makes_everything_newer_that_shares_memory_with_the_variable():
    """In the first call, which is traced, and in those that follow, which are told at a
    glance.
    """

    def step(w, x):
        with mg.no_grad():
            w -= x
        return np.sum(w)

    compiled = mg.compile(step)
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    for _ in range(3):
        a, same = mg.tensor([1.0, 1.0], requires_grad=True), w.detach()
        loss = np.sum(a * same)
        compiled(w, np.ones(2))
        with pytest.raises(RuntimeError, match="changed"):
            loss.backward()


@pytest.mark.parametrize("optimize", [True, False])
def test_dropout_draws_in_each_call_what_it_draws_without_compiling(optimize):
    def made_with_dropout():
        rng = np.random.default_rng(3)
        layers = nn.Linear(2, 8, rng=rng), nn.Dropout(0.4, rng=rng), nn.Tanh(), nn.Linear(8, 1, rng=rng)
        model = nn.Sequential(*layers)
        return model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    plain, given = made_with_dropout(), made_with_dropout()
    step = mg.compile(train_step, optimize=optimize)
    losses = []
    for i in range(6):
        if i == 3:
            for model, _ in (plain, given):
                model.eval()
        losses.append(train_step(*plain, *batch()).item())
        close(step(*given, *batch()), losses[-1], not optimize)
    alike(plain, given, not optimize)
    assert len(set(losses)) == 6
    assert step.cache_info().misses == 2


def test_a_schedule_inside():
    """The learning rate that is read is that of the call, and one that is set stays."""

    def step(w, optimizer):
        loss = np.sum(w * w) * optimizer.lr
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.lr = optimizer.lr * 0.5
        return loss

    (w, ours), (v, theirs) = (((p := nn.Parameter([1.0, 2.0])), optim.SGD([p], lr=0.2)) for _ in range(2))
    compiled = mg.compile(step)
    for i in range(4):
        if i == 2:
            ours.lr = theirs.lr = 0.3
        close(compiled(w, ours), step(v, theirs).data, False)
        close(w.data, v.data, False)
        assert ours.lr == theirs.lr
    assert compiled.cache_info().misses == 1


def clipped(model, optimizer, x, y):
    loss = F.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    for p in model.parameters():
        p.grad *= 0.5
    optimizer.step()
    optimizer.lr = 0.02
    return loss


def test_gradients_that_are_changed_in_place_are_left_behind():
    plain, given = made("momentum"), made("momentum")
    compiled = mg.compile(clipped, optimize=False)
    for _ in range(4):
        assert clipped(*plain, *batch()).item() == compiled(*given, *batch())
        alike(plain, given, exact=True)
        for p, q in zip(plain[0].parameters(), given[0].parameters(), strict=True):
            np.testing.assert_array_equal(q.grad, p.grad)


def test_parameters_that_were_converted_need_a_new_optimizer():
    model, optimizer = made()
    compiled = mg.compile(train_step)
    compiled(model, optimizer, *batch())
    before = model.to(np.float32).state_dict()
    for step in (train_step, compiled):
        with pytest.raises(ValueError, match=r"had dtype float64 when .*, and has dtype float32 now; make a new"):
            step(model, optimizer, *batch(np.float32))
    assert all(np.array_equal(before[path], array) for path, array in model.state_dict().items())
