"""The documents' programs, against runs of them that independent implementations
recorded.

Owns: one training loop per program, on our Tensor, nn and optim, compared epoch by
epoch.
Must not own: formulas (`test_formulas.py`).
Read next: `test_optim.py`.

The files in `data/` hold the data, the start, every epoch's loss (taken before the
epoch's update) and the end of each run. They were computed in R from the formulas, and
agree with PyTorch in float64.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn, optim

DATA = Path(__file__).parent / "data"


def recorded(folder, name):
    """Return a file with its lists of numbers as arrays (R writes zeros as
    integers).
    """

    def as_arrays(value):
        if isinstance(value, dict):
            return {key: as_arrays(v) for key, v in value.items()}
        if isinstance(value, list) and value and not isinstance(value[0], dict | str):
            return np.array(value, dtype=float)
        return [as_arrays(v) for v in value] if isinstance(value, list) else value

    return as_arrays(json.loads((DATA / folder / f"{name}.json").read_text()))


def files(folder, *but):
    return sorted(path.stem for path in (DATA / folder).glob("*.json") if path.stem not in but)


def agree(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def train(step, parameters, optimizer, epochs, seen=()):
    """Return every epoch's loss; `seen` maps an epoch to the gradients and parameters
    that it must lead to.
    """
    losses = []
    for epoch in range(1, epochs + 1):
        optimizer.zero_grad()
        loss = step()
        loss.backward()
        expected = dict(seen).get(epoch, {})
        for name, gradient in expected.get("gradients", {}).items():
            agree(parameters[name].grad, gradient)
        optimizer.step()
        for name, value in expected.get("parameters", {}).items():
            agree(parameters[name].data, value)
        losses.append(loss.item())
    return losses


def as_parameters(values):
    return {name: mg.tensor(value, requires_grad=True, name=name) for name, value in values.items()}


@pytest.mark.parametrize("name", files("net2"))
def test_two_layer_network_on_tensors(name):
    run = recorded("net2", name)
    p = as_parameters(run["init"])

    def predict():
        return nn.functional.relu(run["x"] @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    agree(predict().data, run["pred_epoch1"])
    seen = {1: {"gradients": run["grad_epoch1"], "parameters": run["params_after_epoch1"]}}
    sgd = optim.SGD(p.values(), run["learning_rate"])
    agree(train(lambda: np.sum((predict() - run["y"]) ** 2), p, sgd, run["epochs"], seen), run["loss"])
    for key, value in run["final"].items():
        agree(p[key].data, value)
    agree(predict().data, run["pred_final"])
    agree(nn.functional.sse_loss(predict(), run["y"]).item(), run["loss_after_last_update"])


def as_layers(values):
    """Return layers that hold w1, b1, w2, b2; a layer's weight is (out, in), the
    documents' are (in, out).
    """
    layers = []
    for weight, bias in (("w1", "b1"), ("w2", "b2")):
        layer = nn.Linear(*values[weight].shape)
        layer.load_state_dict({"weight": values[weight].T, "bias": values[bias][0]})
        layers.append(layer)
    return layers


def in_their_shapes(layers, what=lambda tensor: tensor.data):
    """Return the parameters of two layers, or something of each, under the documents'
    names.
    """
    first, second = layers
    return {
        "w1": what(first.weight).T,
        "b1": what(first.bias)[None, :],
        "w2": what(second.weight).T,
        "b2": what(second.bias)[None, :],
    }


@pytest.mark.parametrize("name", files("net2"))
def test_two_layer_network_of_modules(name):
    run = recorded("net2", name)
    layers = as_layers(run["init"])
    model, loss = nn.Sequential(layers[0], nn.ReLU(), layers[1]), nn.SSELoss()
    sgd = optim.SGD(model.parameters(), run["learning_rate"])
    agree(train(lambda: loss(model(run["x"]), run["y"]), {}, sgd, run["epochs"]), run["loss"])
    for key, value in in_their_shapes(layers).items():
        agree(value, run["final"][key])


@pytest.mark.parametrize("name", files("net2"))
def test_two_layer_network_by_grad_of_a_function(name):
    run = recorded("net2", name)
    weights, losses = dict(run["init"]), []
    value_and_grad = mg.value_and_grad(
        lambda w: np.sum((nn.functional.relu(run["x"] @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"] - run["y"]) ** 2)
    )
    for _ in range(run["epochs"]):
        loss, gradients = value_and_grad(weights)
        weights = {key: weights[key] - run["learning_rate"] * gradients[key] for key in weights}
        losses.append(loss)
    agree(losses, run["loss"])
    for key, value in run["final"].items():
        agree(weights[key], value)


@pytest.mark.parametrize("name", files("ols"))
def test_least_squares_by_gradient_descent(name):
    run = recorded("ols", name)
    p = as_parameters({"beta": run["beta_path"][0][:, None]})
    sgd = optim.SGD(p.values(), run["learning_rate"])
    seen = {i: {"parameters": {"beta": run["beta_path"][i][:, None]}} for i in range(1, run["iterations"] + 1)}
    seen[1]["gradients"] = {"beta": run["grad_iter1"]}
    losses = train(lambda: np.sum((run["x"] @ p["beta"] - run["y"]) ** 2), p, sgd, run["iterations"], seen)
    losses.append(nn.functional.sse_loss(run["x"] @ p["beta"], run["y"]).item())
    agree(losses, run["loss"])
    np.testing.assert_allclose(p["beta"].data, run["beta_normal_equations"], atol=1e-6)


@pytest.mark.parametrize("name", files("law_loop", "gradient_cases"))
def test_the_single_layers_training_loop(name):
    run = recorded("law_loop", name)
    x = np.stack([np.ones_like(run["x"]), run["x"]], axis=1)
    p = as_parameters({"w": run["init_w"]})
    seen = {i: {"parameters": {"w": run["weights"][i]}} for i in range(1, int(run["epochs"]) + 1)}
    seen[1]["gradients"] = {"w": run["grad_epoch1"]}
    sgd = optim.SGD(p.values(), run["learning_rate"])
    agree(train(lambda: np.sum((run["y"] - x @ p["w"]) ** 2), p, sgd, run["epochs"], seen), run["losses"])


@pytest.mark.parametrize("name", files("law_loop", "gradient_cases"))
def test_the_single_layer_as_a_module(name):
    run = recorded("law_loop", name)
    model = nn.Linear(1, 1)
    model.load_state_dict({"bias": run["init_w"][:1], "weight": run["init_w"][1:, None]})
    sgd = optim.SGD(model.parameters(), run["learning_rate"])
    x, y = run["x"][:, None], run["y"][:, None]
    agree(train(lambda: nn.functional.sse_loss(model(x), y), {}, sgd, run["epochs"]), run["losses"])
    agree([model.bias.item(), model.weight.item()], run["weights"][-1])


def test_the_single_layers_gradients():
    for case in recorded("law_loop", "gradient_cases")["cases"]:
        x, y, w = case["x"], case["y"], case["w"]
        loss, gradient = mg.value_and_grad(lambda w, x=x, y=y: np.sum((y - x @ w) ** 2))(w)
        agree(loss, case["loss"])
        agree(gradient, case["gradient"])


@pytest.mark.parametrize("name", files("adam", "scalar_trace"))
def test_the_network_of_64_with_adam(name):
    run = recorded("adam", name)
    layers = as_layers(run["init"])
    activation = {"relu": nn.ReLU(), "tanh": nn.Tanh()}[run["activation"]]
    model, loss = nn.Sequential(layers[0], activation, layers[1]), nn.MSELoss()
    adam = optim.Adam(model.parameters(), run["learning_rate"], (run["beta1"], run["beta2"]), run["eps"])
    losses = []
    for epoch in range(1, run["epochs"] + 1):
        adam.zero_grad()
        value = loss(model(run["x"]), run["y"])
        value.backward()
        losses.append(value.item())
        if epoch == 1:
            for key, gradient in in_their_shapes(layers, lambda tensor: tensor.grad).items():
                agree(gradient, run["grad_epoch1"][key])
        adam.step()
        for key, expected in run.get(f"params_after_epoch{epoch}", {}).items():
            agree(in_their_shapes(layers)[key], expected)
    agree(losses, run["loss"])
    agree(loss(model(run["x"]), run["y"]).item(), run["loss_after_last_update"])
    agree(model(run["x"]).data, run["pred_final"])
    for key, value in in_their_shapes(layers).items():
        agree(value, run["final"][key])
    state = adam.state_dict()
    for ours, theirs in (("exp_avg", "adam_m_final"), ("exp_avg_sq", "adam_v_final")):
        moments = dict(zip(("w1", "b1", "w2", "b2"), [state["state"][i][ours] for i in range(4)], strict=True))
        agree(moments["w1"].T, run[theirs]["w1"])
        agree(moments["b1"][None], run[theirs]["b1"])
        agree(moments["w2"].T, run[theirs]["w2"])
        agree(moments["b2"][None], run[theirs]["b2"])


def test_adam_on_one_number():
    for case in recorded("adam", "scalar_trace")["cases"]:
        x = mg.tensor(float(case["x0"]), requires_grad=True)
        adam, trace = optim.Adam([x], case["learning_rate"]), [x.item()]
        for _ in range(50):
            adam.zero_grad()
            ((x - 3) ** 2).backward()
            adam.step()
            trace.append(x.item())
        agree(trace, case["trace"])
