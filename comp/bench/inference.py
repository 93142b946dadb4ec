"""The work of inference as infer.py does it, with each runtime that is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import torch

from comp.batches.loader import EvaluationSet, iterate_batches
from comp.bench.meter import WorkIterator
from comp.engine.export import build_network
from comp.engine.predict import Network, NormalisedModel, predict_probabilities
from comp.engine.runtime import RUNTIME_LOADERS, make_torch_network
from comp.errors import UserError
from comp.prediction.load import make_model_spec
from comp.training.init_weights import new_model
from comp.training.setup import Setup

PredictFn = Callable[[torch.Tensor, Sequence[str]], np.ndarray]  # uint8 (N, size, size, 3), views -> probabilities


def build_predictors(setup: Setup) -> dict[str, PredictFn]:
    """Return a function per runtime that is installed; `eager` is the plain model, not frozen."""
    config, device = setup.config, setup.device
    model = new_model(config, setup.task.outputs, pretrained=False).to(device).eval()
    spec = make_model_spec(config, setup.task.spec, model, setup.precision)
    networks: dict[str, Network] = {
        "eager": NormalisedModel(model, spec.mean, spec.std, setup.precision),
        "torch": make_torch_network(model, spec, device),
    }
    if device.type == "cpu":
        for name in RUNTIME_LOADERS:
            with contextlib.suppress(UserError):  # not installed
                networks[name] = build_network(name, model, spec)

    def predict_with(network: Network) -> PredictFn:
        return lambda batch, views: predict_probabilities(
            [network], [batch], views=views, device=device, activate=setup.task.activate
        )

    return {name: predict_with(network) for name, network in networks.items()}


def batch_inference(
    setup: Setup, rows: np.ndarray, workers: int, predict_batch: PredictFn, views: Sequence[str]
) -> WorkIterator:
    """Predict these images in an endless loop, with the loading code of infer.py."""
    evaluation_set = EvaluationSet(setup.cache, rows, setup.config.data.size, setup.config.train.batch)
    while True:
        for batch in iterate_batches(evaluation_set, range(len(evaluation_set)), workers):
            predict_batch(batch, views)
            yield 1, len(batch)


def single_image_inference(setup: Setup, row: int, predict_batch: PredictFn) -> WorkIterator:
    """Predict one image alone, from its decoded bytes to its probabilities."""
    image = EvaluationSet(setup.cache, np.array([row]), setup.config.data.size, 1)[0]
    while True:
        predict_batch(image, ["identity"])
        yield 1, 1
