"""Load what a finished run holds: its dataset, its finished folds, and the kept model of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from comp.checkpoints import load_checkpoint
from comp.data.scan import Dataset, scan
from comp.errors import UserError
from comp.records.weights import ModelSpec
from comp.runs import Run
from comp.schema import Config
from comp.zoo.build import build_model, normalisation


@dataclass(frozen=True)
class LoadedModel:
    """The kept model of a fold in evaluation mode, and the spec of its input and output."""

    model: nn.Module
    spec: ModelSpec


def make_model_spec(config: Config, classes: tuple[str, ...], model: nn.Module, precision: str) -> ModelSpec:
    """Return what rebuilds `model` from its weights file, and how its input is prepared."""
    mean, std = normalisation(model)
    data = config.data
    return ModelSpec(
        name=config.model.name,
        kwargs=config.model.kwargs,
        classes=classes,
        mean=tuple(mean),
        std=tuple(std),
        size=data.size,
        fit=data.fit,
        crop=data.crop,
        precision=precision,
    )


def load_model(weights: Path, device: torch.device) -> LoadedModel:
    """Load the model of a weights file onto `device`, ready to predict."""
    saved = load_checkpoint(weights)
    spec = ModelSpec.from_dict(saved.get("recipe"), weights)
    try:
        model = build_model(spec.name, len(spec.classes), size=spec.size, kwargs=spec.kwargs)
        model.load_state_dict(saved["state_dict"])
    except (KeyError, RuntimeError):
        raise UserError(f"{weights} does not fit the model it names; train the fold again") from None
    return LoadedModel(model.to(device).eval(), spec)


def load_run_dataset(run: Run) -> Dataset:
    dataset = scan(run.config.data.root)
    if dataset.classes != run.classes:
        raise UserError(
            f"{run.path} was trained on the classes {', '.join(run.classes)}, and {dataset.root} has "
            f"{', '.join(dataset.classes)}"
        )
    return dataset


def finished_folds(run: Run, full: bool) -> list[int | str]:
    """The models there are: one for each finished fold, or the one trained on everything."""
    folds = ["full"] if full else run.folds_done()
    if not folds or (full and not run.fold_dir("full").is_done):
        raise UserError(
            f"{run.path} has no finished fold{' full' if full else ''}; train it with: python train.py "
            f"-c {run.path}/config.yaml{' --fold full' if full else ''}"
        )
    return folds
