"""Scores over seeds and costs of a row's runs, read from their directories."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from comp.data.scan import Dataset, scan
from comp.errors import UserError
from comp.files import file_exists
from comp.metrics import CLASS_REPORT, PER_CLASS, ClassCounts, confusion, score
from comp.prediction.predictor import predict_run
from comp.prediction.test_labels import join_test_labels
from comp.prediction.validation import read_validation
from comp.records.run import FoldRecord
from comp.runs import Run
from comp.stats import bootstrap_mean_interval
from comp.tables import HISTORY_COLUMNS, read_csv

COSTS = (
    "train_seconds",
    "epoch_seconds",
    "first_epoch_seconds",
    "ms_per_image",
    "peak_memory_gb",
    "epochs",
    "best_epoch",
)


@dataclass(frozen=True, eq=False)
class MeasuredRow:
    """Scores and costs of a row's runs, as means over seeds."""

    seeds: int
    scored_on: str  # validation or test
    epoch_chosen_on_scored_images: bool
    scores: dict[str, float]  # metric -> score
    sd: float | None  # standard deviation of the accuracy over seeds; None for one seed
    interval: tuple[float, float]  # 95 % interval of the accuracy, over images
    best_epoch_score: float  # the highest validation accuracy of any epoch, which some papers print
    correct: pd.Series  # per image id: the share of seeds that predict it correctly
    f1: dict[str, float]  # class -> F1
    parameters: int  # trainable
    costs: dict[str, float]  # name in COSTS -> cost
    precision: str
    machine: str  # the machine of the first run


def measure(runs: Sequence[Run], scored_on: str, device: torch.device) -> MeasuredRow:
    """Measure runs of one config that differ in their seed alone, each with fold 0 done.

    `scored_on` is what the paper scored; the test part can be scored only if the dataset has its labels.
    """
    dataset = scan(runs[0].config.source)
    on_test = scored_on == "test" and file_exists(dataset.root / "test_labels.csv")
    tables = [_scored_predictions(run, dataset, on_test, device) for run in runs]
    task, classes = runs[0].task, runs[0].classes
    per_seed = [{name: score(name, *task.to_arrays(table)) for name in CLASS_REPORT} for table in tables]
    predicted_correctly = [table[list(classes)].idxmax(axis=1) == table["label"] for table in tables]
    correct = pd.concat(predicted_correctly, axis=1).mean(axis=1)
    counts = [ClassCounts.from_confusion(confusion(*task.to_arrays(table))) for table in tables]
    f1 = np.mean([PER_CLASS["f1"](table_counts) for table_counts in counts], axis=0)
    costs = [_costs(run) for run in runs]
    return MeasuredRow(
        seeds=len(runs),
        scored_on="test" if on_test else "validation",
        epoch_chosen_on_scored_images=not on_test and runs[0].config.train.keep == "best",
        scores={name: statistics.mean(scores[name] for scores in per_seed) for name in CLASS_REPORT},
        sd=statistics.stdev(scores["accuracy"] for scores in per_seed) if len(runs) > 1 else None,
        interval=bootstrap_mean_interval(correct.to_numpy()),
        best_epoch_score=statistics.mean(_history(run)["val_score"].max() for run in runs),
        correct=correct,
        f1=dict(zip(classes, map(float, f1), strict=True)),
        parameters=runs[0].record.parameters,
        costs={name: statistics.mean(run_costs[name] for run_costs in costs) for name in COSTS},
        precision="/".join(sorted({run.record.precision for run in runs})),
        machine=_machine(_fold_record(runs[0])),
    )


def _scored_predictions(run: Run, dataset: Dataset, on_test: bool, device: torch.device) -> pd.DataFrame:
    """Return fold 0's predictions with the label of each image."""
    labelled = None
    if on_test:
        test_predictions = predict_run(run, ["identity"], device=device, only=[0]).test[0][0]
        labelled = join_test_labels(dataset, test_predictions)
    return _validation_predictions(run) if labelled is None else labelled


def _validation_predictions(run: Run) -> pd.DataFrame:
    return read_validation(run, 0, run.config.train.keep)


def _history(run: Run) -> pd.DataFrame:
    return read_csv(run.fold_dir(0).path / "history.csv", HISTORY_COLUMNS)


def _fold_record(run: Run) -> FoldRecord:
    """Return fold.json of fold 0; refuse a fold without a validated epoch."""
    fold_dir = run.fold_dir(0)
    record = fold_dir.read_record()
    if record is None or record.best_epoch is None:
        raise UserError(f"{fold_dir.path} has no validated epoch; remove it and train the fold again")
    return record


def _machine(record: FoldRecord) -> str:
    threads = f", {record.threads} thread{'s' * (record.threads > 1)}" if record.device == "cpu" else ""
    return f"{record.device_name} {record.device}{threads}, torch {record.versions['torch'].partition('+')[0]}"


def _costs(run: Run) -> dict[str, float]:
    """Return the costs of a run, named as in COSTS, from the histories of its fold 0."""
    history, images = _history(run), len(_validation_predictions(run))
    pretrain_file = run.fold_dir(0).path / "pretrain.csv"
    pretrain_seconds = read_csv(pretrain_file, ["epoch"])["seconds"].sum() if file_exists(pretrain_file) else 0.0
    return {
        "train_seconds": float(history["seconds"].sum() + history["val_seconds"].sum() + pretrain_seconds),
        "epoch_seconds": float(history["seconds"].median()),
        "first_epoch_seconds": float(history["seconds"].iloc[0]),
        "ms_per_image": float(history["val_seconds"].median() / images * 1000),
        "peak_memory_gb": float(history["peak_memory_gb"].max()),
        "epochs": len(history),
        "best_epoch": _fold_record(run).best_epoch or 0,
    }
