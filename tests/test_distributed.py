"""Sums over blocks, on a cluster of two processes that tests kill, slow down and take
away.

No test depends on how long anything takes: a block that must fail at some point leaves
a file the first time, and kills its own process, or waits for a file that another
process makes.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin
from hypothesis import example, given
from hypothesis import strategies as st

import microgradnd as mg
from microgradnd import nn, optim
from microgradnd.distributed import added_up
from microgradnd.nn import functional as F

value_and_grad = mg.distributed.value_and_grad
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers can't import the tests

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(90, 4)), RNG.normal(size=90)
PARAMS = {"w": RNG.normal(size=4), "b": 0.5}
BLOCKS = [(X[i : i + 5], Y[i : i + 5]) for i in range(0, 90, 5)]


def squares(params: Any, block: Any) -> Any:
    """Return the sum of squares of the errors of a linear model."""
    x, y = block
    return np.sum((x @ params["w"] + params["b"] - y) ** 2)


def same(a: Any, b: Any) -> bool:
    """Return whether two trees hold the same numbers to the bit."""
    (ours, form), (theirs, other) = mg.trees.flatten(a), mg.trees.flatten(b)
    return form == other and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(ours, theirs, strict=True))


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def are_up(cluster: LocalCluster) -> bool:
    """Return whether each worker's nanny knows that it has started: one that dies
    before isn't started again.
    """
    processes = [nanny.process for nanny in cluster.workers.values()]
    return all(process is not None and process.status.name == "running" for process in processes)


class Uninterrupted(WorkerPlugin):
    """Has a worker ignore Ctrl-C, which in a terminal reaches the workers of a
    LocalCluster too.
    """

    def setup(self, worker: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers in processes of their own, which may take any time to come back."""
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": "2 GiB"}
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        LocalCluster(n_workers=2, silence_logs=logging.CRITICAL, **options) as made,
    ):
        with Client(made) as client:
            client.register_plugin(Uninterrupted())
        yield made


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A connection to two workers that are there."""
    with Client(cluster) as made:
        made.wait_for_workers(2, timeout=60)
        wait_for(lambda: are_up(cluster))
        yield made


# Sums


def sum_in_groups(values: list[float], size: int) -> Any:
    """Return the sum of values, added up in groups of this size, and the sums of these
    again.
    """
    parts: Any = list(map(np.float64, values))
    while len(parts) > 1:
        parts = [added_up(parts[i : i + size]) for i in range(0, len(parts), size)]
    return parts[0]


@given(values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=100), size=st.sampled_from([2, 4, 8, 16]))
@example(values=[0.1] * 75, size=8)
def test_the_order_of_additions_depends_on_the_number_of_blocks_alone(values: list[float], size: int) -> None:
    total = added_up(values, np.float64)
    assert total == sum_in_groups(values, size)
    assert total == pytest.approx(np.sum(values), rel=1e-12, abs=1e-5)


def test_the_sum_over_blocks_is_that_over_all_rows() -> None:
    uneven = [(X[:1], Y[:1]), (X[1:50], Y[1:50]), (X[50:50], Y[50:50]), (X[50:], Y[50:])]
    value, gradient = mg.value_and_grad(squares)(PARAMS, (X, Y))
    for blocks in (BLOCKS, uneven, [(X, Y)]):
        total, slopes = value_and_grad(squares)(PARAMS, blocks)
        assert total == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(slopes["w"], gradient["w"], rtol=1e-12)
        assert slopes["b"] == pytest.approx(gradient["b"], rel=1e-12)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_gradients_keep_the_form_and_dtype_of_their_parameters(count: int, dtype: Any) -> None:
    params = (np.ones(2, dtype), [np.array(2.0, dtype), mg.tensor(np.ones((1, 2), dtype), requires_grad=True)])

    def loss(params: Any, block: Any) -> Any:
        a, (b, c) = params
        return np.sum(np.abs(a * block) ** 2) + np.sum(np.abs(b * c))

    value, (a, (b, c)) = value_and_grad(loss)(params, [np.ones(2, np.float32)] * count)
    assert np.isrealobj(value)
    for gradient, shape in ((a, (2,)), (b, ()), (c, (1, 2))):
        assert isinstance(gradient, np.ndarray)
        assert (gradient.shape, gradient.dtype) == (shape, dtype)


def test_parameters_travel_without_the_tape_that_they_were_computed_on(client: Client) -> None:
    w = mg.tensor([1.0, 2.0], requires_grad=True) * 2
    value, gradient = value_and_grad(lambda w, x: np.sum(w * x), client)(w, [np.ones(2)])
    assert value == 6.0
    np.testing.assert_array_equal(gradient, [1.0, 1.0])


@pytest.mark.parametrize("wrong", ["right", None])
def test_auxiliary_results_must_be_numbers(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"the sum over blocks got .* pass a number"):
        value_and_grad(lambda w, x: (np.sum(w * x), wrong), has_aux=True)(1.0, [np.ones(3)])


def test_auxiliary_numbers_are_summed_too() -> None:
    def loss(params: Any, block: Any) -> Any:
        return squares(params, block), {"rows": len(block[1]), "sum": np.sum(block[0], axis=0)}

    (_, aux), _ = value_and_grad(loss, has_aux=True)(PARAMS, BLOCKS)
    assert aux["rows"] == 90
    np.testing.assert_allclose(aux["sum"], X.sum(axis=0), rtol=1e-12)


def test_no_step_changes_a_module_or_the_arrays() -> None:
    model = network(dropout=0.5)
    before = {name: value.copy() for name, value in model.state_dict().items()}
    value_and_grad(errors)(model, PAIRS)
    assert all(np.array_equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# What a block may be


def pieces() -> tuple[Any, Any]:
    """Return the data as Dask arrays."""
    return da.from_array(X, chunks=(5, 4)), da.from_array(Y, chunks=5)


def kept(client: Client | None, data: Any) -> Any:
    """Return Dask arrays that are in memory: on the workers, if there are any."""
    return tuple(dask.persist(*data) if client is None else client.persist(list(data)))


DATA: dict[str, Callable[[Client | None], Any]] = {
    "arrays": lambda client: BLOCKS,
    "functions": lambda client: [lambda block=block: block for block in BLOCKS],
    "a function for each part": lambda client: [(lambda x=x: x, y) for x, y in BLOCKS],
    "delayed": lambda client: [dask.delayed(lambda i: BLOCKS[i])(i) for i in range(len(BLOCKS))],
    "Dask arrays": lambda client: pieces(),
    "computed Dask arrays": lambda client: tuple(2 * part / 2 for part in pieces()),
    "persisted Dask arrays": lambda client: kept(client, pieces()),
    "computed from persisted": lambda client: tuple(2 * part / 2 for part in kept(client, pieces())),
}
FUTURES: dict[str, Callable[[Client], Any]] = {
    "futures": lambda client: client.map(lambda i: BLOCKS[i], range(len(BLOCKS)), pure=False),
    "a future for each part": lambda client: [(client.submit(lambda x=x: x, pure=False), y) for x, y in BLOCKS],
}


@pytest.mark.parametrize("kind", DATA)
def test_a_block_may_be(kind: str) -> None:
    expected = value_and_grad(squares)(PARAMS, BLOCKS)
    assert same(value_and_grad(squares)(PARAMS, DATA[kind](None)), expected)


def test_a_single_collection_gives_arrays() -> None:
    value, gradient = value_and_grad(lambda w, x: np.sum(w * x))(2.0, pieces()[1])
    assert (value, gradient) == pytest.approx((2 * Y.sum(), Y.sum()))


def test_blocks_are_whole_rows() -> None:
    x, y = pieces()
    expected = value_and_grad(squares)(PARAMS, BLOCKS)
    assert same(value_and_grad(squares)(PARAMS, (x.rechunk((5, 2)), y)), expected)
    kept_rows = y < 1e9  # which makes the lengths of blocks unknown
    assert same(value_and_grad(squares)(PARAMS, (x[kept_rows], y[kept_rows])), expected)


@pytest.mark.parametrize("kind", [*DATA, *FUTURES])
def test_a_cluster_gives_the_same_to_the_bit(client: Client, kind: str) -> None:
    data = (DATA | FUTURES)[kind](client)
    for stream in (1, 3):
        expected = value_and_grad(squares, blocks_per_task=stream)(PARAMS, BLOCKS)
        assert same(value_and_grad(squares, client, blocks_per_task=stream)(PARAMS, data), expected)


def test_futures_are_taken_without_a_cluster_too(client: Client) -> None:
    expected = value_and_grad(squares)(PARAMS, BLOCKS)
    for data in (*(make(client) for make in FUTURES.values()), kept(client, pieces())):
        assert same(value_and_grad(squares)(PARAMS, data), expected)


# Networks, and what draws

PAIRS = [(x, y[:, None]) for x, y in BLOCKS]


def network(dropout: float = 0.0, seed: int = 0) -> nn.Sequential:
    """Return a small network whose dropout has a generator of its own."""
    rng = np.random.default_rng(seed)
    layers = [nn.Linear(4, 8, rng=rng), nn.Tanh(), nn.Linear(8, 1, rng=rng)]
    return nn.Sequential(*layers[:2], nn.Dropout(dropout, rng=np.random.default_rng(9)), layers[2])


def errors(model: Any, block: Any) -> Any:
    """Return the sum of squares of the errors of a network."""
    return F.mse_loss(model(block[0]), block[1]) * len(block[1])


def noisy(params: Any, block: Any, rng: np.random.Generator) -> Any:
    """Return a loss with noise on the inputs."""
    x, y = block
    return squares(params, (x + mg.anew(lambda: rng.normal(size=4), 4), y))


def steps(client: Client | None, compile: bool) -> list[Any]:
    """Return three results for a network with dropout, and two for a loss that
    draws.
    """
    model = network(0.5)
    f = value_and_grad(errors, client, compile=compile)
    found: list[Any] = []
    for _ in range(3):
        value, gradient = f(model, PAIRS)
        found.append([value, *gradient.parameters()])
        with mg.no_grad():
            model[0].weight -= 0.001 * gradient[0].weight
    g = value_and_grad(noisy, client, compile=compile, rng=np.random.default_rng(3))
    return [*found, g(PARAMS, BLOCKS), g(PARAMS, BLOCKS)]


def test_what_draws_is_seeded_by_step_and_block(client: Client) -> None:
    eager = steps(None, False)
    assert same(steps(client, False), eager)
    compiled = steps(None, True)
    assert same(steps(client, True), compiled)
    for ours, theirs in zip(mg.trees.flatten(compiled)[0], mg.trees.flatten(eager)[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert eager[0][0] != eager[1][0]
    assert eager[3][0] != eager[4][0]


def test_blocks_draw_different_numbers() -> None:
    drawn: list[float] = []

    def loss(w: Any, block: Any, rng: np.random.Generator) -> Any:
        drawn.append(rng.normal())
        return w * drawn[-1]

    value_and_grad(loss, rng=np.random.default_rng(0))(1.0, [0, 1, 2])
    assert drawn[0] == drawn[1]  # the first block of the first call is computed twice
    assert len(set(drawn)) == 3


def test_a_compiled_task_follows_the_settings_of_a_module(client: Client) -> None:
    model = network(0.5)
    plain = value_and_grad(errors)
    compiled = [value_and_grad(errors, where, compile=True) for where in (None, client)]
    for _ in range(2):
        before = model[2].rng.bit_generator.state
        expected, _ = plain(model, PAIRS)
        for f in compiled:
            model[2].rng.bit_generator.state = before
            np.testing.assert_allclose(f(model, PAIRS)[0], expected, rtol=1e-12)
        model.eval()
    other = network(0.5)  # which has its mode from its class
    expected, _ = plain(network(0.5), PAIRS)
    np.testing.assert_allclose(compiled[1](other, PAIRS)[0], expected, rtol=1e-12)


def test_a_compiled_task_follows_a_loss_that_has_changed(client: Client) -> None:
    factor = [1.0]

    def loss(w: Any, x: Any) -> Any:
        return factor[0] * np.sum(w * x)

    f = value_and_grad(loss, client, compile=True)
    assert f(1.0, [np.ones(3)])[0] == 3.0
    factor[0] = 2.0
    assert f(1.0, [np.ones(3)])[0] == 6.0


def test_a_draw_of_another_thread_is_not_taken_for_one_of_the_loss(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(random.random).result()  # as Dask's threads do, and while a function is traced

        def loss(w: Any, x: Any) -> Any:
            if first_time(tmp_path, "drawn"):
                random.random()
            return np.sum(w * x)

        assert value_and_grad(loss, compile=True)(1.0, [np.ones(3)])[0] == 3.0


@pytest.mark.parametrize("on_cluster", [False, True])
def test_what_cannot_be_computed_again_is_refused(client: Client, on_cluster: bool) -> None:
    where = client if on_cluster else None
    rng = np.random.default_rng(0)
    with pytest.raises(TypeError, match="two calls of the loss for the same block differ") as found:
        value_and_grad(lambda w, x: w * rng.normal(), where)(1.0, [0.0])
    assert "block 0" in found.value.__notes__[0]
    model = nn.Sequential(nn.Linear(4, 2, rng=rng), nn.BatchNorm1d(2), nn.Linear(2, 1, rng=rng))
    mean = model[1].running_mean.copy()
    with pytest.raises(TypeError, match=r"the loss changes the buffer '1\.running_mean'"):
        value_and_grad(errors, where)(model, PAIRS)
    assert np.array_equal(model[1].running_mean, mean)
    model.eval()
    assert np.isfinite(value_and_grad(errors, where)(model, PAIRS)[0])


# Faults


def first_time(folder: Path, name: Any) -> bool:
    """Return whether nobody has asked this before."""
    try:
        os.close(os.open(folder / str(name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def names(folder: Path) -> set[str]:
    """Return which files there are."""
    return {path.name for path in folder.iterdir()}


def pids(client: Client) -> list[int]:
    """Return the numbers of the workers' processes."""
    return list(client.run(os.getpid).values())


def deadly(folder: Path, which: list[int]) -> Callable[..., Any]:
    """Return a loss that kills each of these processes once."""

    def loss(params: Any, block: Any) -> Any:
        if os.getpid() in which and first_time(folder, os.getpid()):
            os.kill(os.getpid(), signal.SIGKILL)
        return squares(params, block)

    return loss


@pytest.mark.parametrize("deaths", [1, 2])
def test_workers_killed_in_a_step_change_nothing(client: Client, tmp_path: Path, deaths: int) -> None:
    which = pids(client)[:deaths]
    f = value_and_grad(deadly(tmp_path, which), client)
    assert same(f(PARAMS, BLOCKS), value_and_grad(squares)(PARAMS, BLOCKS))
    assert names(tmp_path) == set(map(str, which))


def test_training_ends_with_the_same_weights_whoever_dies(client: Client, tmp_path: Path) -> None:
    model, other = network(0.5), network(0.5)
    weights = []
    for net, where in ((model, client), (other, None)):
        optimizer = optim.Adam(net.parameters(), lr=0.01)
        for step in range(3):
            if where is not None and step == 1:  # between two steps
                os.kill(pids(client)[0], signal.SIGKILL)
            _, gradient = value_and_grad(errors, where)(net, PAIRS)
            for parameter, slope in zip(net.parameters(), gradient.parameters(), strict=True):
                parameter.grad = slope
            optimizer.step()
        weights.append(net.state_dict())
    assert same(*weights)


def test_workers_join_and_leave(cluster: LocalCluster, client: Client) -> None:
    f, expected = value_and_grad(squares, client), value_and_grad(squares)(PARAMS, BLOCKS)
    data = kept(client, pieces())
    cluster.scale(3)
    client.wait_for_workers(3, timeout=60)
    assert same(f(PARAMS, data), expected)
    cluster.scale(2)
    wait_for(lambda: len(client.nthreads()) == 2)
    assert same(f(PARAMS, data), expected)


def test_a_slow_worker_costs_its_task(client: Client, tmp_path: Path) -> None:
    def loss(params: Any, block: Any) -> Any:
        if first_time(tmp_path, "slow"):
            wait_for(lambda: len(names(tmp_path)) > 4)
        else:
            first_time(tmp_path, f"{block[1][0]}")
        return squares(params, block)

    f = value_and_grad(loss, client, timeout=0.01)  # which counts only while there is no worker
    assert same(f(PARAMS, BLOCKS), value_and_grad(squares)(PARAMS, BLOCKS))


@pytest.mark.parametrize("on_cluster", [False, True])
def test_an_error_names_the_block(client: Client, on_cluster: bool) -> None:
    f = value_and_grad(squares, client if on_cluster else None, blocks_per_task=3)
    wrong = [*BLOCKS[:7], (X[:5, :3], Y[:5]), *BLOCKS[8:]]
    with pytest.raises(ValueError, match="matmul") as found:
        f(PARAMS, wrong)
    assert found.value.__notes__[-1] == "This was in block 7, counted from 0."

    def missing() -> None:
        raise FileNotFoundError("part-2.npy")

    with pytest.raises(FileNotFoundError, match=r"part-2\.npy") as lost:
        f(PARAMS, [*BLOCKS[:2], missing])
    assert lost.value.__notes__[-1] == "This was in block 2, counted from 0."
    assert same(f(PARAMS, BLOCKS), value_and_grad(squares, blocks_per_task=3)(PARAMS, BLOCKS))


def test_a_block_that_always_kills_its_worker_is_named(
    cluster: LocalCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 1)  # of 3, as each takes a second or two

    def loss(params: Any, block: Any) -> Any:
        if block is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return squares(params, block)

    f = value_and_grad(loss, client)
    with pytest.raises(KilledWorker, match="block-0-"):
        f(PARAMS, [None])  # Dask may give up on a block that is on the same workers, too
    assert same(f(PARAMS, BLOCKS), value_and_grad(squares)(PARAMS, BLOCKS))


def test_nan_comes_back(client: Client) -> None:
    f = value_and_grad(lambda w, x: np.sum(w * x), client)
    value, gradient = f(np.ones(2), [np.ones(2), np.array([np.nan, 1.0])])
    assert np.isnan(value)
    assert np.array_equal(gradient, [np.nan, 2.0], equal_nan=True)


def test_a_cluster_without_workers_is_waited_for_only_so_long() -> None:
    with LocalCluster(n_workers=0, dashboard_address=":0") as cluster, Client(cluster) as client:
        f = value_and_grad(squares, client, timeout=0.1)
        with pytest.raises(TimeoutError, match=r"Only 0/1 workers arrived after 0\.1"):
            f(PARAMS, BLOCKS)


def test_a_timeout_of_the_loss_is_its_own(client: Client) -> None:
    def loss(w: Any, block: Any) -> Any:
        raise TimeoutError("the data base did not answer")

    with pytest.raises(TimeoutError, match="the data base"):
        value_and_grad(loss, client)(1.0, [1.0])


def interrupting(folder: Path, pid: int) -> Callable[..., Any]:
    """Return a loss that presses Ctrl-C in this and another process, once, and waits
    until it is noticed.
    """

    def loss(model: Any, target: Any) -> Any:
        if first_time(folder, "interrupted"):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(pid, signal.SIGINT)
            wait_for(lambda: "noticed" in names(folder))
        return F.mse_loss(model, target)

    return loss


def test_ctrl_c_ends_the_wait(client: Client, tmp_path: Path) -> None:
    f = value_and_grad(interrupting(tmp_path, os.getpid()), client)
    with pytest.raises(KeyboardInterrupt):
        f(np.ones(2), [np.ones(2)] * 6)
    first_time(tmp_path, "noticed")
    assert f(np.ones(2), [np.zeros(2)] * 6)[0] == 6


# Training


@pytest.mark.parametrize("compile", [False, True])
def test_fit_takes_the_same_steps_on_a_cluster(client: Client, compile: bool) -> None:
    histories, models = [], [network(), network()]
    for model, where in zip(models, (None, client), strict=True):
        histories.append(
            nn.fit(
                model,
                (X, Y[:, None]),
                F.mse_loss,
                optim.Adam(model.parameters(), lr=0.01),
                epochs=3,
                batch_size=8,  # 12 batches in 6 steps: pairs are added in one order only
                accumulate=2,
                validation=(X[:7], Y[:7, None]),
                metrics={"bias": lambda out, y: float(np.mean(out - y))},
                max_norm=1.0,
                compile=compile,
                rng=np.random.default_rng(1),
                client=where,
            )
        )
    ours, theirs = histories
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12)
    assert compile or same(*(model.state_dict() for model in models))


def test_fit_goes_on_from_a_checkpoint_and_stops_early(client: Client, tmp_path: Path) -> None:
    def train(epochs: int, **options: Any) -> Any:
        model = network(0.5)
        optimizer, rng = optim.Adam(model.parameters(), lr=0.01), np.random.default_rng(1)
        options |= {"rng": rng, "client": client, "epochs": epochs, "accumulate": 3, "batch_size": 16}
        return nn.fit(model, (X, Y[:, None]), F.mse_loss, optimizer, **options), model.state_dict()

    expected = train(4)
    path = tmp_path / "run.npz"
    train(2, checkpoint=path)
    assert same(train(4, checkpoint=path, resume=True), expected)
    calls: list[int] = []
    history, _ = train(9, callbacks=[lambda model, history: calls.append(1) or len(calls) == 2])
    assert history.stopped_by == "callback"
    history, _ = train(30, patience=1, validation=(X, -Y[:, None]))
    assert (history.stopped_by, len(history["loss"]) - history.best_epoch) == ("patience", 1)


def test_fit_takes_dask_arrays_block_by_block(client: Client) -> None:
    x, y = pieces()
    found = []
    for data in ((x, y[:, None]), kept(client, (x, y[:, None]))):
        model = network()
        optimizer, rng = optim.SGD(model.parameters(), lr=0.01), np.random.default_rng(1)
        history = nn.fit(
            model, data, F.mse_loss, optimizer, epochs=2, accumulate=4, validation=data, rng=rng, client=client
        )
        found.append((dict(history), model.state_dict()))
    assert same(*found)
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    history = nn.fit(model, (X, Y[:, None]), F.mse_loss, optimizer, epochs=1, batch_size=90)  # without its steps
    with mg.no_grad():
        model = network()
        model.load_state_dict(found[0][1])
        assert found[0][0]["validation_loss"][-1] == pytest.approx(F.mse_loss(model(X), Y[:, None]).item(), rel=1e-12)


def test_fit_finds_the_layer_of_a_nan(client: Client) -> None:
    model = network()
    before = {name: value.copy() for name, value in model.state_dict().items()}
    x = X.copy()
    x[13, 2] = np.nan
    data = da.from_array(x, chunks=(10, 4)), da.from_array(Y[:, None], chunks=(10, 1))
    for given_data in ((x, Y[:, None]), data):
        with pytest.raises(FloatingPointError, match=r"array 0 of the data is NaN or infinite in row 13"):
            nn.fit(
                model, given_data, F.mse_loss, optim.SGD(model.parameters(), lr=1e-3), epochs=1, batch_size=10,
                accumulate=9, shuffle=False, client=client,
            )  # fmt: skip
        assert same(model.state_dict(), before)


def test_fit_ends_after_the_step_of_a_ctrl_c(client: Client, tmp_path: Path) -> None:
    model = network()
    loss = interrupting(tmp_path, os.getpid())
    first_time(tmp_path, "noticed")
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    history = nn.fit(model, (X, Y[:, None]), loss, optimizer, epochs=50, accumulate=3, client=client)
    assert history.stopped_by == "interrupt"


def test_fit_knows_parameters_that_are_frozen_tied_or_the_losss(client: Client) -> None:
    class Tied(nn.Module):
        """A network that uses a layer twice, and whose loss has a parameter."""

        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.first, self.last = nn.Linear(4, 4, rng=rng), nn.Linear(4, 1, rng=rng)
            self.again = self.first
            self.last.bias.requires_grad = False

        def forward(self, x: Any) -> Any:
            return self.last(self.again(np.tanh(self.first(x))))

    class Scaled(nn.Module):
        """A loss with a parameter."""

        def __init__(self) -> None:
            self.scale = nn.Parameter(1.0)

        def forward(self, out: Any, y: Any) -> Any:
            return np.mean((out * self.scale - y) ** 2)

    found = []
    for where in (None, client):
        model, loss = Tied(), Scaled()
        optimizer = optim.SGD([*model.parameters(), *loss.parameters()], lr=0.05)
        nn.fit(model, (X, Y[:, None]), loss, optimizer, epochs=2, accumulate=2, shuffle=False, client=where)
        found.append((model.state_dict(), loss.state_dict()))
    for ours, theirs in zip(mg.trees.flatten(found[0])[0], mg.trees.flatten(found[1])[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert found[1][1]["scale"] != 1.0


# Memory


def test_a_task_holds_one_block_at_a_time(client: Client) -> None:
    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def block(i: int) -> Any:
        return np.full((250_000, 4), float(i))  # 8 MB

    f = value_and_grad(lambda w, x: np.sum((x @ w) ** 2), client, blocks_per_task=16)
    data = [lambda i=i: block(i) for i in range(64)]
    f(np.ones(4), data[:2])
    before = client.run(peak)
    f(np.ones(4), data)
    after = client.run(peak)
    assert max(after[worker] - before[worker] for worker in after) < 5 * block(0).nbytes
