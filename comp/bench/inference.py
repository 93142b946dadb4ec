"""Inference as infer.py does it, by each runtime this machine has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from comp.bench.meter import Work
from comp.data.loader import EvaluationSet, stream_batches
from comp.engine.predict import predict
from comp.experiment.setup import Setup
from comp.experiment.train import Parts

Predict = Callable[[torch.Tensor, Sequence[str]], np.ndarray]   # bytes (N, size, size, 3), views -> probabilities


def runtimes(setup: Setup, parts: Parts) -> dict[str, Predict]:
    """Another one is another line."""
    model = parts.model.eval()
    return {"torch": lambda batch, views: predict(
        [model], [batch], views=views, mean=parts.about["mean"], std=parts.about["std"], device=setup.device,
        precision=setup.precision)}


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
