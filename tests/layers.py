"""One row for each layer, activation and loss: its settings and its inputs.

Owns: the rows.
Must not own: the checks of the rows (`test_layers.py`, `test_torch_nn.py`).
Read next: `test_layers.py`.

A row has the settings to choose from, under PyTorch's names, and a function that draws
the inputs from a generator, the length of the batch and the settings. Drawn numbers
never hit a kink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

REDUCTION = ("mean", "sum", "none")
Inputs = Callable[[np.random.Generator, int, dict[str, Any]], tuple[Any, ...]]


class Row(NamedTuple):
    """A class of `nn`, the settings to choose from, and its inputs."""

    name: str
    inputs: Inputs
    settings: Mapping[str, tuple[Any, ...]] = MappingProxyType({})

    def made(self, module: Any, settings: dict[str, Any], arrays: Callable[[Any], Any] = np.asarray) -> Any:
        """Return the layer from `nn`, or from `torch.nn`, which says dim for axis."""
        given = {k: arrays(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
        if module.__name__ == "torch.nn":
            given = {{"axis": "dim"}.get(k, k): v for k, v in given.items()}
        return getattr(module, self.name)(**given)


def of_shape(*tail: Any) -> Inputs:
    """Return a function that draws a batch of vectors or images."""
    return lambda rng, n, settings: (2 * rng.normal(size=(n, *tail)),)


def anything(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    return (2 * rng.normal(size=[(n,), (n, 3), (2, n, 3), ()][rng.integers(4)]),)


def pair(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    shape = [(n,), (n, 3), (2, n, 3)][rng.integers(3)]
    return 2 * rng.normal(size=shape), 2 * rng.normal(size=shape)


def probabilities(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    return rng.uniform(0.01, 0.99, (n, 3)), rng.uniform(0, 1, (n, 3))


def logits_and_probabilities(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    return 3 * rng.normal(size=(n, 3)), rng.uniform(0, 1, (n, 3))


def classified(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    """Draw logits and labels, some ignored, for rows, images or a single row."""
    kind = rng.integers(3)
    shape, axis = [((n, 4), 1), ((n, 4, 2), 1), ((4,), 0)][kind]
    labels = rng.integers(0, 4, [(n,), (n, 2), ()][kind])
    if labels.size > 1 and "ignore_index" in settings:
        labels.flat[0] = settings["ignore_index"]
        labels.flat[1] = 3
    x = 3 * rng.normal(size=shape)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True)), labels


def of_all_classes(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    """Draw logits and probabilities of classes."""
    shape = [(n, 4), (n, 4, 2), (4,)][rng.integers(3)]
    return 3 * rng.normal(size=shape), rng.uniform(0, 1, shape)


def divergence(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    p = rng.uniform(0.01, 1, (n, 3))
    return rng.normal(size=(n, 3)), np.log(p) if settings.get("log_target") else p


def signed(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    return rng.normal(size=n), rng.choice([-1, 1], n)


def ranked(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    return rng.normal(size=n), rng.normal(size=n), rng.choice([-1, 1], n)


def vectors(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), rng.choice([-1, 1], n)


def normals(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), rng.uniform(0.1, 2, (n, rng.choice([1, 3])))


def indices(rng: np.random.Generator, n: int, settings: dict[str, Any]) -> tuple[Any, ...]:
    return (rng.integers(0, 5, (n, 2)),)


WEIGHT = (None, np.array([0.5, 2.0, 1.0, 0.25]))
ROWS = [
    Row("ReLU", anything),
    Row("Tanh", anything),
    Row("Sigmoid", anything),
    Row("SiLU", anything),
    Row("LeakyReLU", anything, {"negative_slope": (0.01, 0.2, -0.5)}),
    Row("PReLU", of_shape(3, 2), {"num_parameters": (1, 3), "init": (0.25, 0.1)}),
    Row("ELU", anything, {"alpha": (1.0, 0.5, 2.0)}),
    Row("GELU", anything, {"approximate": ("none", "tanh")}),
    Row("Softplus", anything, {"beta": (1.0, 2.0), "threshold": (20.0, 1.5)}),
    Row("Hardtanh", anything, {"min_val": (-1.0, -0.3), "max_val": (1.0, 2.5)}),
    Row("Softmax", of_shape(3, 2), {"axis": (-1, 0, 1)}),
    Row("LogSoftmax", of_shape(3, 2), {"axis": (-1, 0, 1)}),
    Row("BatchNorm1d", of_shape(3), {"num_features": (3,), "momentum": (0.1, 0.5, None), "affine": (True, False)}),
    Row(
        "BatchNorm1d", of_shape(3, 4), {"num_features": (3,), "eps": (1e-5, 0.1), "track_running_stats": (True, False)}
    ),
    Row("BatchNorm2d", of_shape(3, 2, 4), {"num_features": (3,), "momentum": (0.1, None)}),
    Row("LayerNorm", of_shape(2, 4), {"normalized_shape": (4, (2, 4)), "bias": (True, False), "eps": (1e-5, 0.1)}),
    Row("LayerNorm", of_shape(4), {"normalized_shape": (4,), "elementwise_affine": (True, False)}),
    Row("RMSNorm", of_shape(2, 4), {"normalized_shape": (4, (2, 4)), "eps": (None, 0.1)}),
    Row("RMSNorm", of_shape(4), {"normalized_shape": (4,), "elementwise_affine": (True, False)}),
    Row("GroupNorm", of_shape(4, 3), {"num_groups": (1, 2, 4), "num_channels": (4,), "affine": (True, False)}),
    Row("Embedding", indices, {"num_embeddings": (5,), "embedding_dim": (3,), "padding_idx": (None, 1, -1)}),
    Row(
        "Bilinear",
        lambda rng, n, settings: (rng.normal(size=(n, 3)), rng.normal(size=(n, 2))),
        {"in1_features": (3,), "in2_features": (2,), "out_features": (4,), "bias": (True, False)},
    ),
    Row("MSELoss", pair, {"reduction": REDUCTION}),
    Row("L1Loss", pair, {"reduction": REDUCTION}),
    Row("SmoothL1Loss", pair, {"reduction": REDUCTION, "beta": (1.0, 0.5, 0.0)}),
    Row("HuberLoss", pair, {"reduction": REDUCTION, "delta": (1.0, 0.5)}),
    Row("BCELoss", probabilities, {"reduction": REDUCTION, "weight": (None, np.array([0.5, 2.0, 1.0]))}),
    Row(
        "BCEWithLogitsLoss",
        logits_and_probabilities,
        {
            "reduction": REDUCTION,
            "weight": (None, np.array([0.5, 2.0, 1.0])),
            "pos_weight": (None, np.array([3.0, 0.0, 1.0])),
        },
    ),
    Row(
        "CrossEntropyLoss",
        classified,
        {
            "reduction": REDUCTION,
            "weight": WEIGHT,
            "ignore_index": (-100, 2),
            "label_smoothing": (0.0, 0.1),
        },
    ),
    Row("CrossEntropyLoss", of_all_classes, {"reduction": REDUCTION, "weight": WEIGHT, "label_smoothing": (0.0, 0.1)}),
    Row("NLLLoss", classified, {"reduction": REDUCTION, "weight": WEIGHT, "ignore_index": (-100, 2)}),
    Row("KLDivLoss", divergence, {"reduction": (*REDUCTION, "batchmean"), "log_target": (False, True)}),
    Row("HingeEmbeddingLoss", signed, {"reduction": REDUCTION, "margin": (1.0, 0.5)}),
    Row("MarginRankingLoss", ranked, {"reduction": REDUCTION, "margin": (0.0, 0.5)}),
    Row("CosineEmbeddingLoss", vectors, {"reduction": REDUCTION, "margin": (0.0, 0.5)}),
    Row("GaussianNLLLoss", normals, {"reduction": REDUCTION, "full": (False, True)}),
]
