"""Load what a finished run contains: its dataset, its finished folds, and the kept model of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from comp.checkpoints import load_state_dict
from comp.data.scan import Dataset, scan
from comp.errors import UserError, shorten
from comp.records.base import Fold
from comp.records.task import TaskSpec
from comp.records.weights import ModelSpec, StoredWeights
from comp.tasks import make_task
from comp.zoo.build import build_model, normalisation

if TYPE_CHECKING:  # a bundle loads models without a run or a config
    from comp.runs import Run
    from comp.schema import Config


@dataclass(frozen=True)
class LoadedModel:
    """The kept model of a fold in evaluation mode, the spec of its input and output, and the hash of its file."""

    model: nn.Module
    spec: ModelSpec
    weights_sha256: str


def make_model_spec(config: Config, task: TaskSpec, model: nn.Module, precision: str) -> ModelSpec:
    """Return the spec that rebuilds `model` from its weights file and prepares its input."""
    mean, std = normalisation(model)
    data = config.data
    return ModelSpec(
        name=config.model.name,
        kwargs=config.model.kwargs,
        classes=task.columns,
        mean=tuple(mean),
        std=tuple(std),
        size=data.size,
        fit=data.fit,
        crop=data.crop,
        precision=precision,
        task=task.unless_single,
    )


def load_model(weights: StoredWeights, device: torch.device) -> LoadedModel:
    """Load the model of a weights file onto `device`, ready to predict."""
    file = weights.file
    try:
        outputs = make_task(file.spec.task_spec).outputs
        model = build_model(file.spec.name, outputs, size=file.spec.size, kwargs=file.spec.kwargs)
        load_state_dict(model, file.state_dict)
    except (KeyError, RuntimeError, ValueError, TypeError, AssertionError):  # a damaged spec
        raise UserError(f"{weights.path} does not fit the model it names; train the fold again") from None
    return LoadedModel(model.to(device).eval(), file.spec, weights.sha256)


def load_run_dataset(run: Run) -> Dataset:
    """Return the dataset that the run was trained on; refuse one whose classes have changed."""
    dataset = scan(run.config.source)
    if dataset.classes != run.classes:
        raise UserError(
            f"{run.path} was trained on the classes {shorten(', '.join(run.classes))}, and {dataset.root} has "
            f"{shorten(', '.join(dataset.classes))}; restore its images, or train a new run"
        )
    return dataset


def finished_folds(run: Run, full: bool) -> list[Fold]:
    """Return the folds that have a kept model: every finished fold, or "full", the model trained on all images.

    A fold that lost its record or its weights is an error, for a blend without it would be another one.
    """
    expected: list[Fold] = ["full"] if full else [*run.record.folds]
    for fold in expected:
        _check_complete(run, fold)
    folds: list[Fold] = ["full"] if full else [*run.folds_done()]
    if not folds or (full and not run.fold_dir("full").is_done):
        raise UserError(
            f"{run.path} has no finished fold{' full' if full else ''}; train it with: python train.py "
            f"-c {run.path}/config.yaml{' --fold full' if full else ''}"
        )
    return folds


def _check_complete(run: Run, fold: Fold) -> None:
    """Raise a UserError unless a fold has both weights and the record of a training, or is unfinished."""
    fold_dir = run.fold_dir(fold)
    record = fold_dir.read_record()
    if record is None and fold_dir.weights_path.exists():
        missing, present = fold_dir.path / "fold.json", fold_dir.weights_path
    elif record is not None and record.status == "done" and not fold_dir.weights_path.is_file():
        missing, present = fold_dir.weights_path, fold_dir.path / "fold.json"
    else:
        return
    raise UserError(
        f"{missing} is missing or no file, and {present} exists; restore it, or train the fold again: "
        f"python train.py -c {run.path}/config.yaml --fold {fold}"
    )
