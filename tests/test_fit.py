"""`nn.fit`: the loop that everyone writes.

Owns: that it takes the steps of a hand-written loop, resumes to the same numbers, stops
when it should, and finds NaN.
Must not own: batches (`test_data.py`), files (`test_checkpoints.py`), optimizers
(`test_optim.py`).
Read next: `test_data.py`.
"""

import contextlib
import io
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import data, nn, optim
from microgradnd.nn import functional as F

X = np.random.default_rng(1).normal(size=(70, 2))
Y = np.sin(X[:, :1])
TRAINING, VALIDATION = data.split(X, Y, sizes=(50, 20), shuffle=False)
MAE = {"mae": lambda prediction, target: np.mean(np.abs(prediction - target))}


def network(seed=0, p=0.2, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Linear(2, 8, rng=rng, dtype=dtype), nn.Tanh(), nn.Dropout(p, rng=rng), nn.Linear(8, 1, rng=rng, dtype=dtype)
    )


class Halving:
    """A schedule that halves the learning rate at each step."""

    def __init__(self, optimizer):
        self.optimizer, self.steps = optimizer, 0

    def step(self):
        self.steps += 1
        self.optimizer.lr /= 2

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


class Plateau(Halving):
    """A schedule that gets the loss."""

    seen = ()

    def step(self, metrics):
        self.seen = (*self.seen, metrics)


def train(model=None, arrays=TRAINING, loss=F.mse_loss, make=optim.Adam, lr=0.02, seed=5, schedule=None, **options):
    """Return the history and the model."""
    model = network() if model is None else model
    optimizer = make(model.parameters(), lr=lr)
    if schedule is not None:
        options["scheduler"] = schedule(optimizer)
    options = {"epochs": 4, "batch_size": 16, "rng": np.random.default_rng(seed)} | options
    return nn.fit(model, arrays, loss, optimizer, **options), model


def equal(a, b):
    """Return whether two modules are equal to the last bit."""
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(m == n and np.array_equal(x, y) for (m, x), (n, y) in pairs)


def test_the_steps_are_those_of_a_loop_by_hand():
    history, model = train(validation=VALIDATION, metrics=MAE)
    other, rng = network(), np.random.default_rng(5)
    optimizer = optim.Adam(other.parameters(), lr=0.02)
    for epoch in range(4):
        other.train()
        losses, errors = [], []
        for x, y in data.batches(*TRAINING, size=16, shuffle=True, rng=rng):
            optimizer.zero_grad()
            prediction = other(x)
            loss = F.mse_loss(prediction, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item() * len(x) / 50)
            errors.append(np.sum(np.abs(prediction.data - y)) / 50)
        other.eval()
        assert history["loss"][epoch] == pytest.approx(sum(losses), rel=1e-12)
        assert history["mae"][epoch] == pytest.approx(sum(errors), rel=1e-12)
        with mg.no_grad():
            prediction = other(VALIDATION[0])
        assert history["validation_loss"][epoch] == pytest.approx(np.mean((prediction - VALIDATION[1]) ** 2).item())
        assert history["validation_mae"][epoch] == pytest.approx(np.mean(np.abs(prediction - VALIDATION[1])).item())
    assert equal(model, other)
    assert history.stopped_by == "epochs"
    assert not any(module.training for module in model.modules())


def test_compiled_steps_are_the_eager_ones():
    eager, first = train(validation=VALIDATION, metrics=MAE)
    compiled, second = train(validation=VALIDATION, metrics=MAE, compile=True)
    for name, values in eager.items():
        np.testing.assert_allclose(compiled[name], values, rtol=1e-10)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-8, atol=1e-12)


def test_one_program_serves_the_last_odd_batch_too(monkeypatch):
    programs = []
    compiler = mg.compile

    def noted(function):
        programs.append(compiler(function))
        return programs[-1]

    monkeypatch.setattr("microgradnd.compiler.compile", noted)
    train(compile=True, validation=VALIDATION)
    assert [program.cache_info().misses for program in programs] == [2, 2]
    assert all("n" in program.source and "is open" in program.report() for program in programs)


@given(n=st.integers(1, 40), size=st.integers(1, 9), accumulate=st.integers(1, 4), drop_last=st.booleans())
def test_accumulated_batches_are_one_large_batch(n, size, accumulate, drop_last):
    arrays = (X[:n], Y[:n])
    drop_last = drop_last and n % (size * accumulate) == 0
    few, small = train(
        network(p=0), arrays, batch_size=size, accumulate=accumulate, drop_last=drop_last, make=optim.SGD
    )
    many, large = train(network(p=0), arrays, batch_size=size * accumulate, drop_last=drop_last, make=optim.SGD)
    np.testing.assert_allclose(few["loss"][0], many["loss"][0], rtol=1, atol=1)
    for a, b in zip(small.parameters(), large.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("options", [{}, {"schedule": Halving}, {"schedule": Halving, "scheduler_step": "batch"}])
def test_a_resumed_training_has_the_same_numbers(tmp_path, compile, options):
    options = {"validation": VALIDATION, "metrics": MAE, "compile": compile, "patience": 5} | options
    expected, model = train(epochs=6, **options)
    path = tmp_path / "checkpoint"
    train(epochs=2, checkpoint=path, **options)
    train(network(8), epochs=4, checkpoint=path, resume=True, seed=9, **options)
    history, other = train(network(9), epochs=6, checkpoint=path, resume=True, seed=10, **options)
    assert history == expected
    assert history.best_epoch == expected.best_epoch
    assert equal(model, other)
    again, other = train(
        network(9), epochs=6, checkpoint=path, resume=True, seed=10, **options
    )  # nothing is left to do
    assert again == expected
    assert equal(model, other)


@pytest.mark.parametrize("compile", [False, True])
def test_parameters_that_the_optimizer_does_not_have_change_no_step(tmp_path, compile):
    def run(**options):
        model = network()
        optimizer = optim.SGD(model[0].parameters(), lr=0.1)
        rng = np.random.default_rng(0)
        nn.fit(model, TRAINING, F.mse_loss, optimizer, max_norm=0.1, compile=compile, rng=rng, **options)
        return model

    path = tmp_path / "checkpoint"
    run(epochs=2, checkpoint=path)
    assert equal(run(epochs=5, checkpoint=path, resume=True), run(epochs=5))


def test_a_checkpoint_of_other_metrics_changes_nothing(tmp_path):
    path = tmp_path / "checkpoint"
    train(checkpoint=path)
    for options in ({"validation": VALIDATION}, {"metrics": MAE}):
        model = network(3)
        with pytest.raises(ValueError, match=r"fit: checkpoint must have a history of loss, .*, got one of loss;"):
            train(model, checkpoint=path, resume=True, **options)
        assert equal(model, network(3))
    with pytest.raises(ValueError, match=r"changing\.generators must hold"):
        train(nn.Sequential(*network()[:2], nn.Identity(), network()[3]), checkpoint=path, resume=True)


def test_a_metric_may_remember_something():
    seen = [0]

    def count(prediction, target):
        seen[0] += 1
        return seen[0]

    assert train(metrics={"count": count}, compile=True, epochs=3)[0]["count"][-1] > 8


class Weighted(nn.Module):
    """A loss with a parameter and its own generator."""

    def __init__(self):
        self.weight = nn.Parameter(1.0)
        self.rng = np.random.default_rng(3)

    def forward(self, prediction, target):
        noisy = prediction + self.rng.normal(size=prediction.shape)
        return np.mean((self.weight * noisy - target) ** 2)


def test_the_state_of_a_loss_belongs_to_the_checkpoint(tmp_path):
    def run(**options):
        model, loss = network(), Weighted()
        optimizer = optim.Adam([*model.parameters(), *loss.parameters()], lr=0.05)
        nn.fit(model, TRAINING, loss, optimizer, rng=np.random.default_rng(0), **options)
        return model, loss

    path = tmp_path / "checkpoint"
    run(epochs=2, checkpoint=path)
    resumed, whole = run(epochs=5, checkpoint=path, resume=True), run(epochs=5)
    assert all(equal(a, b) for a, b in zip(resumed, whole, strict=True))


def test_resume_without_a_file_starts_from_the_beginning(tmp_path):
    history, _ = train(checkpoint=tmp_path / "checkpoint", resume=True)
    assert history == train()[0]


def test_a_checkpoint_of_another_model_changes_nothing(tmp_path):
    train(checkpoint=tmp_path / "checkpoint")
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout())
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"changing\.model doesn't fit the saved state, and nothing was changed"):
        train(model, checkpoint=tmp_path / "checkpoint", resume=True)
    assert all(np.array_equal(array, model.state_dict()[name]) for name, array in before.items())


def test_early_stopping_restores_the_best_weights():
    kept = []
    history, model = train(
        lr=0.5,
        epochs=100,
        patience=3,
        validation=VALIDATION,
        callbacks=[lambda model, _: kept.append(model.state_dict())],
    )
    losses = history["validation_loss"]
    assert history.stopped_by == "patience"
    assert history.best_epoch == np.argmin(losses) + 1 == len(losses) - 3
    assert all(np.array_equal(array, kept[history.best_epoch - 1][name]) for name, array in model.state_dict().items())


def test_callbacks_stop_the_training():
    seen = []
    history, _ = train(callbacks=[lambda model, history: seen.append(len(history["loss"])), lambda *_: len(seen) == 2])
    assert seen == [1, 2]
    assert history.stopped_by == "callback"


def test_a_schedule_is_called_by_epoch_or_by_step():
    optimizers = []

    def make(params, lr):
        optimizers.append(optim.SGD(params, lr=lr))
        return optimizers[-1]

    train(make=make, schedule=Halving, lr=1.0)
    train(make=make, schedule=Halving, lr=1.0, scheduler_step="batch")
    train(make=make, schedule=Halving, lr=1.0, scheduler_step="batch", accumulate=3)
    assert [optimizer.lr for optimizer in optimizers] == [0.5**4, 0.5**16, 0.5**8]


@pytest.mark.parametrize(("options", "name"), [({}, "loss"), ({"validation": VALIDATION}, "validation_loss")])
def test_a_schedule_that_takes_metrics_gets_the_loss(options, name):
    schedules = []

    def schedule(optimizer):
        schedules.append(Plateau(optimizer))
        return schedules[0]

    history, _ = train(schedule=schedule, **options)
    assert list(schedules[0].seen) == history[name]
    schedules.clear()
    history, _ = train(schedule=schedule, scheduler_step="batch", batch_size=25, **options)
    assert np.mean(np.reshape(schedules[0].seen, (4, 2)), axis=1) == pytest.approx(history["loss"])


@pytest.mark.parametrize("compile", [False, True])
def test_gradients_are_clipped(compile):
    def moved(**options):
        model = nn.Linear(2, 1, rng=np.random.default_rng(0))
        before = np.concatenate([p.data.ravel() for p in model.parameters()])
        train(model, lr=1.0, make=optim.SGD, epochs=1, batch_size=50, compile=compile, **options)
        return np.linalg.norm(np.concatenate([p.data.ravel() for p in model.parameters()]) - before)

    assert moved(max_norm=1e-3) == pytest.approx(1e-3, rel=1e-3)
    assert moved(max_norm=1e3) == pytest.approx(moved())


def test_ctrl_c_ends_the_training_after_a_step_and_keeps_the_weights():
    calls = []

    def interrupting(prediction, target):
        calls.append(signal.getsignal(signal.SIGINT))
        if len(calls) == 10:  # in the third epoch of four steps each
            signal.raise_signal(signal.SIGINT)
        return F.mse_loss(prediction, target)

    history, model = train(loss=interrupting)
    assert (history.stopped_by, len(history["loss"]), len(calls)) == ("interrupt", 2, 10)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler is not calls[0]
    steps = []

    def ten(prediction, target):
        steps.append(1)
        if len(steps) == 11:
            raise InterruptedError
        return F.mse_loss(prediction, target)

    other = network()
    with pytest.raises(InterruptedError):
        train(other, loss=ten)
    assert equal(model, other)


def interrupt(*_):
    signal.raise_signal(signal.SIGINT)
    return 0.0


@pytest.mark.parametrize(
    "options",
    [
        {"callbacks": [interrupt]},
        {"validation": VALIDATION, "metrics": {"a": lambda p, y: interrupt() if len(y) == 20 else 0.0}},
    ],
    ids=["callback", "validation"],
)
def test_ctrl_c_between_steps_ends_the_training_too(options):
    history, _ = train(batch_size=50, **options)
    assert (history.stopped_by, len(history["loss"])) == ("interrupt", 1)


def test_settings_are_checked_before_the_first_step():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"^fit: max_norm must be a finite number greater than 0, got -1"):
        train(model, max_norm=-1)
    assert all(np.array_equal(before[path], array) for path, array in model.state_dict().items())


def test_a_second_ctrl_c_interrupts_at_once():
    def interrupting(prediction, target):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(loss=interrupting)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_fit_works_in_other_threads():
    results = []
    thread = threading.Thread(target=lambda: results.append(train()))
    thread.start()
    thread.join()
    assert results[0][0] == train()[0]


class Root(nn.Module):
    """A layer whose derivative is infinite at 0."""

    def __init__(self):
        self.weight = nn.Parameter(np.ones(8))

    def forward(self, x):
        return np.sqrt(np.abs(x * self.weight))


def test_nan_in_the_data_is_named_by_its_row_and_layer():
    x = X.copy()
    x[17, 1] = np.nan
    model = network(p=0)
    before = model.state_dict()
    with pytest.raises(
        FloatingPointError, match=r"step 2 of epoch 1: linear was given .*, in '0'.*; array 0 .* row 17\."
    ):
        train(model, (x[:50], Y[:50]), shuffle=False, epochs=1, lr=0.0)
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    with pytest.raises(FloatingPointError, match=r"the validation after epoch 1: .*; array 0 of the data .* row 17\."):
        train(validation=(x, Y))


@pytest.mark.parametrize("compile", [False, True])
def test_nan_in_a_derivative_is_named_by_its_layer(compile):
    x = X.copy()
    x[20] = 0
    model = nn.Sequential(nn.Linear(2, 8, bias=False), nn.Sequential(nn.Tanh(), Root()), nn.Linear(8, 1))
    with pytest.raises(FloatingPointError, match=r"step 2 of epoch 1: the derivative of (sqrt|absolute) .*, in '1\.1'"):
        train(model, (x[:50], Y[:50]), shuffle=False, compile=compile, epochs=1, batch_size=16)
    assert all(np.isfinite(p.data).all() for p in model.parameters())
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_loss_that_overflows_is_named_by_its_step():
    with pytest.raises(
        FloatingPointError, match=r"fit: NaN or infinity in step \d of epoch \d+: .*lower the learning rate"
    ):
        train(network(p=0), loss=F.sse_loss, make=optim.SGD, lr=1e5, epochs=100)


@pytest.mark.parametrize("repeated", [1, 7, 1000])
@pytest.mark.parametrize("options", [{}, {"scheduler_step": "batch"}, {"validation": VALIDATION, "accumulate": 2}])
def test_repeated_steps_are_the_same(monkeypatch, repeated, options):
    monkeypatch.setattr(sys.modules["microgradnd.nn.fit"], "REPEATED", repeated)
    seen = []

    def noted(prediction, target):
        loss = F.mse_loss(prediction, target)
        if not loss.requires_grad:  # of the validation data
            return loss
        seen.append(loss.item())
        return loss * (np.nan if len(seen) >= 30 and loss.item() == seen[29] else 1.0)

    with pytest.raises(FloatingPointError, match=r"step 2 of epoch 8"):
        train(loss=noted, epochs=20, schedule=Halving, lr=0.5, **options)
    assert len(seen) > len(set(seen)) == 30


def test_nan_that_does_not_recur_is_reported_as_such():
    calls = []

    def fickle(prediction, target):
        calls.append(1)
        return F.mse_loss(prediction, target) * (np.nan if len(calls) == 2 else 1)

    with pytest.raises(FloatingPointError, match="not when the steps were repeated"):
        train(loss=fickle)


def test_the_last_step_is_checked_too():
    def late(prediction, target):
        return np.sum(np.sqrt((prediction - target) * 0))

    with pytest.raises(FloatingPointError, match="step 1 of epoch 1: the derivative of sqrt"):
        train(loss=late, epochs=1, batch_size=50)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "is_shown"),
    [(Terminal, None, True), (Terminal, False, False), (io.StringIO, None, False), (io.StringIO, True, True)],
)
def test_a_bar_is_shown_on_a_terminal_or_on_request(monkeypatch, stream, progress, is_shown):
    pytest.importorskip("tqdm", reason="tqdm isn't installed")
    errors, output = stream(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    with contextlib.redirect_stdout(output):
        train(progress=progress)
    assert not output.getvalue()
    assert ("16/16" in errors.getvalue()) == is_shown


def test_a_missing_tqdm_matters_only_if_you_ask_for_a_bar(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    train()
    with pytest.raises(ImportError, match=r'pip install "microgradnd\[examples\]"'):
        train(progress=True)


def test_a_history_plots_itself():
    history, _ = train(validation=VALIDATION, metrics=MAE)
    lines = [line.get_label() for line in history.plot(log=True, title="sine").axes[0].lines]
    assert sorted(lines) == ["loss", "validation_loss"]
    assert [line.get_label() for line in history.plot("mae").axes[0].lines] == ["mae"]


def test_a_single_array_is_its_own_target_and_inputs_may_be_several():
    class Sum(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(2, 1, rng=np.random.default_rng(0))

        def forward(self, a, b):
            return self.inner(a) + self.inner(b)

    several, _ = train(Sum(), (X, X, Y))
    single, _ = train(nn.Linear(2, 2), X)
    assert several["loss"][-1] < several["loss"][0]
    assert single["loss"][-1] < single["loss"][0]


def test_memory_mapped_parts_are_trained_on(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    first, second = (data.split(x, Y, sizes=(50, 20), rng=np.random.default_rng(0)) for x in (X, mapped))
    assert train(arrays=first[0], validation=first[1])[0] == train(arrays=second[0], validation=second[1])[0]


def test_float32_stays_float32():
    history, model = train(network(dtype=np.float32), [array.astype(np.float32) for array in TRAINING])
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
    assert type(history["loss"][0]) is float


def test_importing_networks_loads_no_bar_and_no_pictures():
    program = "import sys, microgradnd.nn; print({'tqdm', 'microgradnd.viz', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "set()"
