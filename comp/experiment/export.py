"""A run's folds leave torch: exported where they are missing or stale, proven on images of the run's own dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from comp.data.cache import load_cache, square_for
from comp.data.loader import EvaluationSet
from comp.data.scan import Dataset
from comp.engine.runtime import Network
from comp.experiment.setup import dataset_of, finished_folds, load_model
from comp.runs import Run
from comp.ship.files import FILES, export, open_exported, why_stale

SAMPLE = 64  # real images that parity is measured on


def export_run(run: Run, runtime: str, *, full: bool = False) -> None:
    """Every finished fold, or the model trained on everything; again, if it was exported before."""
    dataset = dataset_of(run)
    for fold in finished_folds(run, full):
        _export_fold(run, dataset, fold, runtime)


def exported_networks(run: Run, dataset: Dataset, folds: Sequence[int | str],
                      runtime: str) -> tuple[list[Network], dict[str, Any]]:
    """One network per fold, and what all of them want to be fed."""
    for fold in folds:
        if stale := why_stale(run.fold(fold), runtime):
            print(f"{run.fold(fold).path}: {runtime} model {stale}, so it is exported now")
            _export_fold(run, dataset, fold, runtime)
    opened = [open_exported(run.fold(fold), runtime) for fold in folds]
    return [network for network, _ in opened], opened[0][1]


def _export_fold(run: Run, dataset: Dataset, fold: int | str, runtime: str) -> None:
    place = run.fold(fold)
    model, recipe = load_model(place.weights, torch.device("cpu"))
    parity = export(place, runtime, model, recipe, _some_images(dataset, recipe))
    print(f"wrote {' and '.join(str(place.path / name) for name in FILES[runtime])}, 32 bits: {parity}")


def _some_images(dataset: Dataset, recipe: dict[str, Any]) -> torch.Tensor:
    """Spread over the training images, which are listed by class."""
    square = square_for(dataset.train, recipe["size"], recipe["fit"], recipe["crop"])
    rows = np.unique(np.linspace(0, len(dataset.train) - 1, SAMPLE).astype(int))
    cache = load_cache(dataset.name, dataset.train, square)
    return EvaluationSet(cache, rows, recipe["size"], len(rows))[0]
