"""Inference as infer.py does it, by each runtime this machine has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import torch

from comp.bench.meter import Work
from comp.data.loader import EvaluationSet, stream_batches
from comp.engine.export import network_in
from comp.engine.predict import FromPixels, Network, probabilities
from comp.engine.runtime import OPEN, torch_network
from comp.errors import UserError
from comp.experiment.setup import Setup, new_model, recipe

Predict = Callable[[torch.Tensor, Sequence[str]], np.ndarray]   # bytes (N, size, size, 3), views -> probabilities


def runtimes(setup: Setup) -> dict[str, Predict]:
    """Those that are installed; `eager` is the model as it is, called as anybody would."""
    config, device = setup.config, setup.device
    model = new_model(config, len(setup.run.classes), pretrained=False).to(device).eval()
    about = recipe(config, setup.run.classes, model, setup.precision)
    networks: dict[str, Network] = {"eager": FromPixels(model, about["mean"], about["std"], setup.precision),
                                    "torch": torch_network(model, about, device)}
    if device.type == "cpu":
        for name in OPEN:
            with contextlib.suppress(UserError):  # not installed
                networks[name] = network_in(name, model, about)

    def through(network: Network) -> Predict:
        return lambda batch, views: probabilities([network], [batch], views=views, device=device)
    return {name: through(network) for name, network in networks.items()}


def predicting(setup: Setup, rows: np.ndarray, workers: int, predict_batch: Predict, views: Sequence[str]) -> Work:
    """Those images over and over, read as infer.py reads them."""
    source = EvaluationSet(setup.cache, rows, setup.config.data.size, setup.config.train.batch)
    while True:
        for batch in stream_batches(source, range(len(source)), workers):
            predict_batch(batch, views)
            yield 1, len(batch)


def answering(setup: Setup, row: int, predict_batch: Predict) -> Work:
    """One image alone, from its decoded bytes to its probabilities."""
    image = EvaluationSet(setup.cache, np.array([row]), setup.config.data.size, 1)[0]
    while True:
        predict_batch(image, ["identity"])
        yield 1, 1
