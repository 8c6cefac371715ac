"""Every example runs alone, without display or warning, and keeps its promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

# What each example writes to out/
FIGURES = {
    "ols_gradient_descent": ["ols_paths.png"],
    "two_layer_by_hand": ["two_layer_by_hand_loss.png"],
    "two_layer": ["two_layer_graph.png", "two_layer_graph.svg", "two_layer_loss.png"],
    "compile_seed": ["seed_step.py"],
    "single_layer": ["single_layer_fit.png", "single_layer_loss.png", "single_layer_surface.png"],
    "single_layer_nn": ["single_layer_nn_fit.png", "single_layer_nn_loss.png"],
    "sine_linear": ["sine_linear_fit.png", "sine_linear_loss.png"],
    "sine_adam": ["sine_adam_fit.png", "sine_adam_loss.png"],
    "sine_compared": ["sine_compared.png"],
    "logistic_regression": ["logistic_regression.png"],
    "lotka_volterra": ["lotka_volterra.png"],
    "gaussian_process": ["gaussian_process.png"],
    "two_moons": ["two_moons.png"],
    "digits": ["digits_mistakes.png"],
    "digits_conv": ["digits_conv.png"],
    "vae_digits": ["vae_digits.png"],
    "cluster": [],
    "char_gru": ["char_gru_loss.png"],
    "char_transformer": ["char_transformer_loss.png"],
    "gallery": [
        "gallery/activations.png",
        "gallery/backprop.gif",
        "gallery/backprop.html",
        "gallery/backward.svg",
        "gallery/both.svg",
        "gallery/boundary.gif",
        "gallery/compared.svg",
        "gallery/conv.svg",
        "gallery/curve.gif",
        "gallery/explain.txt",
        "gallery/explore.html",
        "gallery/failed.svg",
        "gallery/fit.png",
        "gallery/forward.svg",
        "gallery/gone_wrong.svg",
        "gallery/gradients.png",
        "gallery/graph.dot",
        "gallery/graph.json",
        "gallery/graph.mmd",
        "gallery/history.png",
        "gallery/index.html",
        "gallery/lstm_3.svg",
        "gallery/lstm_50.svg",
        "gallery/monitor.txt",
        "gallery/names.svg",
        "gallery/network.png",
        "gallery/path.svg",
        "gallery/profile.png",
        "gallery/recurrent.svg",
        "gallery/saturated.png",
        "gallery/scalars.svg",
        "gallery/second.svg",
        "gallery/slide.png",
        "gallery/surface.png",
        "gallery/table.txt",
        "gallery/too_fast.png",
        "gallery/trained.pdf",
        "gallery/trained.png",
        "gallery/transformer.html",
        "gallery/transformer.svg",
        "gallery/transformer_depth.svg",
        "gallery/two_weights.png",
        "gallery/updates.png",
        "gallery/vanishing.png",
        "gallery/weights.png",
    ],
}
SIGNATURES = {
    ".png": b"\x89PNG\r\n",
    ".gif": b"GIF89a",
    ".svg": b"<?xml",
    ".pdf": b"%PDF",
    ".html": b"<!",
    ".json": b"{",
}

NUMBER = r"(-?\d+\.?\d*(?:e[-+]\d+)?)"


def run(example: str, folder: Path) -> str:
    """Run an example in a folder, with warnings as errors, and return its output."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # other tests need the cores, and threads that wait for one are slow
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{example}.py")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def rows(printed: str, columns: int) -> list[list[float]]:
    """Return the lines that consist of this many numbers."""
    found = re.findall(r"^\s*" + r"\s+".join([NUMBER] * columns) + r"\s*$", printed, flags=re.M)
    return [[float(number) for number in row] for row in found]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    """Run the example that a test asks for, check its figures; return its output."""
    folder = tmp_path_factory.mktemp(request.param)
    text = run(request.param, folder)
    out = folder / "out"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == FIGURES[request.param]
    for name in FIGURES[request.param]:
        path = out / name
        assert path.read_bytes().startswith(SIGNATURES.get(path.suffix, b""))
        assert path.stat().st_size > (5000 if path.suffix in SIGNATURES else 50)
        assert f"wrote {Path('out') / name}\n" in text
    return text


def of(example: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("printed", [example], indirect=True)


def test_every_example_is_tested() -> None:
    programs = {path.stem for path in EXAMPLES.glob("*.py")} - {"showing", "char_text"}
    assert programs == set(FIGURES)
    described = (EXAMPLES / "README.md").read_text()
    assert all(f"[{name}.py]({name}.py)" in described for name in programs)


@pytest.mark.parametrize("missing", ["matplotlib", "tqdm"])
def test_a_missing_package_is_named_with_its_installation(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import showing"
    done = subprocess.run([sys.executable, "-c", program], cwd=EXAMPLES, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'the examples need: pip install "microgradnd[examples]"' in done.stderr


@of("ols_gradient_descent")
def test_both_descents_arrive_at_the_normal_equations(printed: str) -> None:
    assert max(difference for _, _, difference in rows(printed, 3)) < 1e-12
    names = ("normal equations", "descent, by formula", "descent, by autodiff")
    solutions = {re.search(rf"{name}\s+(.*)$", printed, flags=re.M)[1] for name in names}  # type: ignore[index]
    assert len(solutions) == 1
    assert len(solutions.pop().split()) == 4


@of("two_layer_by_hand")
def test_the_network_by_hand_learns(printed: str) -> None:
    losses = [loss for _, loss in rows(printed, 2)]
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 60 < 160 < losses[0]


@of("two_layer")
def test_the_network_on_tensors_takes_the_same_steps(printed: str) -> None:
    table = rows(printed, 3)
    assert [epoch for epoch, _, _ in table] == list(range(10, 201, 10))
    assert all(ours == by_hand for _, ours, by_hand in table)
    difference = re.search(rf"largest relative difference .* in 200 epochs: {NUMBER}", printed)
    assert difference is not None
    assert float(difference[1]) < 1e-12


@of("compile_seed")
def test_the_compiled_step_matches_the_derivation_by_hand(printed: str) -> None:
    lines = [line for line in printed.splitlines() if " = " in line]
    pairs = [(line[:52].strip(), line[52:].strip()) for line in lines]
    assert [ours for hand, ours in pairs if not hand] == ["t = y_pred - y", "loss = np.sum(t ** 2)"]
    spelled = {
        "2 * (y_pred - y)": "2 * t",
        "np.where(h > 0, grad_h_relu, 0)": "grad_h_relu * (h_relu > 0)",
        "LEARNING_RATE": "0.0001",
    }
    assert len(pairs) == 16
    for hand, ours in pairs:
        for by_hand, compiled in spelled.items():
            hand = hand.replace(by_hand, compiled)
        assert not hand or hand == re.sub(r"np\.dot\(([\w.]+), ([\w.]+)\)", r"\1 @ \2", ours)
    difference = re.search(rf"largest relative difference .* in 200 epochs: {NUMBER}", printed)
    assert difference is not None
    assert float(difference[1]) < 1e-12


@of("single_layer")
def test_the_gradient_is_checked_and_the_line_found(printed: str) -> None:
    gradients = re.findall(r"gradient by (?:formula|autodiff): +\[(.*)\]", printed)
    assert len(gradients) == 2
    assert gradients[0] == gradients[1]
    table = rows(printed, 4)
    losses = [loss for _, loss, _, _ in table]
    assert losses == sorted(losses, reverse=True)
    _, _, intercept, slope = table[-1]
    assert abs(intercept) < 0.01  # on standardised data the line goes through the origin,
    assert 0.95 < slope < 1  # and its slope is the correlation


@of("single_layer_nn")
def test_the_printed_table_is_reproduced(printed: str) -> None:
    table = rows(printed, 4)
    assert [epoch for epoch, _, _, _ in table] == list(range(10, 201, 10))
    assert table[0][1] == 58.6479
    assert table[-1][1] == 3.245904
    assert max(abs(ours / theirs - 1) for _, theirs, ours, _ in table) < 1e-6


@of("sine_linear")
def test_a_straight_line_fails_on_the_sine(printed: str) -> None:
    errors = [float(error) for error in re.findall(rf"mean squared error .*: +{NUMBER}", printed)]
    assert len(errors) == 2
    assert all(7 < error < 9 for error in errors)


@of("sine_adam")
def test_the_network_follows_the_sine_with_every_seed(printed: str) -> None:
    table = rows(printed, 3)
    assert [seed for seed, _, _ in table] == list(range(1, 11))
    assert max(network for _, network, _ in table) < 1.5
    lines = [line for _, _, line in table]
    assert min(lines) > 5
    assert 7 < sum(lines) / len(lines) < 9


def accuracies(printed: str) -> list[float]:
    """Return the printed test accuracies, in percent."""
    return [float(share) for share in re.findall(rf"test accuracy: {NUMBER}%", printed)]


@of("sine_compared")
def test_all_activations_and_optimizers_learn_the_sine(printed: str) -> None:
    losses = dict(re.findall(rf"^(\w[\w ]*?) +{NUMBER}$", printed, flags=re.M))
    assert len(losses) == 10 + 9
    slow = {"SGD", "Adadelta"}
    assert all(float(loss) < (5 if name in slow else 1.5) for name, loss in losses.items())


@of("logistic_regression")
def test_the_coefficients_are_those_of_scikit_learn(printed: str) -> None:
    norms = [norm for _, norm in rows(printed, 2)]
    assert norms[-1] < 1e-10
    difference = re.search(rf"largest difference .*: {NUMBER}", printed)
    assert difference is not None
    assert float(difference[1]) < 1e-8


@of("lotka_volterra")
def test_the_rates_are_found(printed: str) -> None:
    errors = [error for _, error in rows(printed, 2)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01 * errors[0]
    rates = re.findall(rf"^\w+ +{NUMBER} +{NUMBER}$", printed, flags=re.M)
    assert len(rates) == 4
    assert all(abs(float(fitted) / float(true) - 1) < 0.1 for true, fitted in rates)


@of("gaussian_process")
def test_the_likelihood_grows(printed: str) -> None:
    found = re.search(rf"minus log-likelihood {NUMBER} -> {NUMBER}", printed)
    assert found is not None
    assert float(found[2]) < float(found[1]) - 20
    noise = re.search(rf"^noise +1.000 +{NUMBER}$", printed, flags=re.M)
    assert noise is not None
    assert 0.15 < float(noise[1]) < 0.3  # the errors were drawn with 0.2


@of("two_moons")
def test_the_border_bends(printed: str) -> None:
    straight, bent = (float(share) for share in re.findall(rf"{NUMBER}%$", printed, flags=re.M))
    assert straight < 90 < 97 < bent


@of("digits")
def test_the_dense_network_reads_digits(printed: str) -> None:
    assert accuracies(printed)[0] >= 97


@of("digits_conv")
def test_the_convolutional_network_reads_digits_better(printed: str) -> None:
    assert accuracies(printed)[0] >= 98.5


@of("vae_digits")
def test_the_autoencoder_restores_digits(printed: str) -> None:
    table = rows(printed, 3)
    restoring = [lost for _, lost, _ in table]
    assert restoring == sorted(restoring, reverse=True)
    assert restoring[-1] < 23
    assert all(1 < divergence < 4 for _, _, divergence in table)


@of("cluster")
def test_a_cluster_gives_the_losses_of_one_process(printed: str) -> None:
    table = rows(printed, 3)
    assert len(table) == 5
    assert all(here == there for _, here, there in table)
    assert accuracies(printed)[0] > 88
    assert "dashboard: http://" in printed
    assert "million rows: [ 2.  -1.3  0.8]" in printed


@of("char_gru")
def test_the_recurrent_network_learns_to_write(printed: str) -> None:
    losses = [loss for _, loss in rows(printed, 2)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1.6


@of("char_transformer")
def test_the_transformer_learns_to_write(printed: str) -> None:
    losses = [loss for _, loss in rows(printed, 2)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 2


@of("gallery")
def test_the_gallery_shows_every_picture(printed: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    (index,) = {path.resolve() for path in tmp_path_factory.getbasetemp().glob("gallery*/out/gallery/index.html")}
    page = index.read_text(encoding="utf-8")
    shown = re.findall(r'<figcaption><a href="(.*?)">', page)
    assert sorted(f"gallery/{name}" for name in [*shown, "index.html"]) == FIGURES["gallery"]
    assert len(re.findall(r"<(?:img|pre|iframe) ", page)) == len(shown)
    assert printed.count("wrote") == len(shown) + 1
