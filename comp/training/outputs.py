"""What a fold leaves behind: what its model says of the images it is validated on, and the weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from comp.checkpoints import save_checkpoint
from comp.engine import distributed
from comp.engine.predict import predict_models
from comp.records.weights import ModelSpec
from comp.runs import Run
from comp.tables import write_csv
from comp.training.setup import Setup


def predict_validation(
    setup: Setup, model: torch.nn.Module, rows: np.ndarray, held_out: Iterable[torch.Tensor], spec: ModelSpec
) -> np.ndarray | None:
    """Probabilities of those images. Of several processes each predicts a share, and the first gets them all."""
    images = [setup.dataset.train[row].id for row in rows]
    mine = images[distributed.rank() :: distributed.world_size()]
    probabilities = (
        predict_models(
            [model],
            held_out,
            mean=spec.mean,
            std=spec.std,
            views=["identity"],
            device=setup.device,
            precision=setup.precision,
        )[0, 0]
        if mine
        else ()
    )
    by_image: dict[str, np.ndarray] = {}
    for share in distributed.gather((mine, probabilities)):
        by_image |= dict(zip(*share, strict=True))
    return np.stack([by_image[image] for image in images]) if by_image else None


def write_validation_csv(
    path: Path, setup: Setup, fold: int | str, rows: np.ndarray, probabilities: np.ndarray
) -> None:
    table = pd.DataFrame(probabilities, columns=list(setup.run.classes))
    images = [setup.dataset.train[row] for row in rows]
    table.insert(0, "image", [image.id for image in images])
    table.insert(1, "label", [image.label for image in images])
    table.insert(2, "fold", fold)
    write_csv(path, table)


def write_weights(
    path: Path, run: Run, fold: int | str, epoch: int, spec: ModelSpec, weights: dict[str, torch.Tensor]
) -> None:
    save_checkpoint(
        path,
        {
            "recipe": spec.to_dict(),
            "run": run.name,
            "fold": fold,
            "epoch": epoch,
            "state_dict": {key: value.detach().cpu() for key, value in weights.items()},
        },
    )
