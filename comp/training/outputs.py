"""Predict the validation images of a fold."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from comp.engine import distributed
from comp.engine.predict import predict_models
from comp.records.weights import ModelSpec
from comp.training.setup import Setup


def predict_validation(
    setup: Setup, model: torch.nn.Module, rows: np.ndarray, batches: Iterable[torch.Tensor], spec: ModelSpec
) -> np.ndarray | None:
    """Return the probabilities of the validation images `rows`. Every rank predicts its share and rank 0 returns all
    of them; the other ranks return None, and so does rank 0 without images."""
    images = [setup.dataset.train[row].id for row in rows]
    own_images = images[distributed.rank() :: distributed.world_size()]
    own_probabilities: np.ndarray | tuple[()] = ()
    if own_images:
        own_probabilities = predict_models(
            [model],
            batches,
            mean=spec.mean,
            std=spec.std,
            views=["identity"],
            device=setup.device,
            precision=setup.precision,
            activate=setup.task.activate,
        )[0, 0]
    by_image: dict[str, np.ndarray] = {}
    for share in distributed.gather((own_images, own_probabilities)):
        by_image |= dict(zip(*share, strict=True))
    return np.stack([by_image[image] for image in images]) if by_image else None
