"""A row's runs, read from their directories: scores over seeds with an interval, and what they cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comp.data.scan import scan
from comp.metrics import METRICS, PER_CLASS, confusion, score
from comp.prediction.predictor import predict_run
from comp.prediction.test_labels import join_test_labels
from comp.runs import Run
from comp.stats import bootstrap_mean_interval
from comp.tables import read_csv, read_predictions, to_arrays

COSTS = (
    "train_seconds",
    "epoch_seconds",
    "first_epoch_seconds",
    "ms_per_image",
    "peak_memory_gb",
    "epochs",
    "best_epoch",
)


@dataclass(frozen=True)
class MeasuredRow:
    """Means over seeds; `sd` is their deviation (None for one seed)."""

    seeds: int
    scored_on: str  # validation or test
    chosen_there: bool  # the kept epoch was chosen on the images that are scored
    scores: dict[str, float]
    sd: float | None  # of the accuracy
    interval: tuple[float, float]  # of the accuracy, over images
    best_epoch_score: float  # the highest validation accuracy of any epoch: what a paper that picks it prints
    hits: pd.Series  # per image id: the share of seeds that got it right
    f1: dict[str, float]  # per class
    parameters: int  # trained
    costs: dict[str, float]
    precision: str
    machine: str  # that trained them


def measure(runs: Sequence[Run], scored_on: str, device: str) -> MeasuredRow:
    """Runs of one config that differ in their seed alone, each with fold 0 done."""
    dataset = scan(runs[0].config.data.root)
    on_test = scored_on == "test" and (dataset.root / "test_labels.csv").is_file()
    tables = [
        join_test_labels(dataset, predict_run(run, ["identity"], device=device, only=[0]).test[0][0])
        if on_test
        else _validation(run)
        for run in runs
    ]
    classes = runs[0].classes
    per_seed = [{name: score(name, *to_arrays(table, classes)) for name in METRICS} for table in tables]
    hits = pd.concat([table[list(classes)].idxmax(axis=1) == table["label"] for table in tables], axis=1).mean(axis=1)
    f1 = np.mean([PER_CLASS["f1"](confusion(*to_arrays(table, classes))) for table in tables], axis=0)
    costs = [_costs(run) for run in runs]
    return MeasuredRow(
        seeds=len(runs),
        scored_on="test" if on_test else "validation",
        chosen_there=not on_test and runs[0].config.train.keep == "best",
        scores={name: statistics.mean(each[name] for each in per_seed) for name in METRICS},
        sd=statistics.stdev(each["accuracy"] for each in per_seed) if len(runs) > 1 else None,
        interval=bootstrap_mean_interval(hits.to_numpy()),
        hits=hits,
        best_epoch_score=statistics.mean(_history(run)["val_score"].max() for run in runs),
        f1=dict(zip(classes, map(float, f1), strict=True)),
        parameters=runs[0].record.parameters,
        costs={name: statistics.mean(each[name] for each in costs) for name in COSTS},
        precision="/".join(sorted({run.record.precision for run in runs})),
        machine=_machine(runs[0]),
    )


def _validation(run: Run) -> pd.DataFrame:
    return read_predictions(run.fold_dir(0).path / f"{run.config.train.keep}.csv", run.classes)


def _history(run: Run) -> pd.DataFrame:
    return read_csv(run.fold_dir(0).path / "history.csv", ["epoch"])


def _machine(run: Run) -> str:
    record = run.fold_dir(0).read_record()
    threads = f", {record.threads} thread{'s' * (record.threads > 1)}" if record.device == "cpu" else ""
    return f"{record.device_name} {record.device}{threads}, torch {record.versions['torch'].partition('+')[0]}"


def _costs(run: Run) -> dict[str, float]:
    history, images = _history(run), len(_validation(run))
    before = run.fold_dir(0).path / "pretrain.csv"
    pretraining = read_csv(before, ["epoch"])["seconds"].sum() if before.is_file() else 0.0
    return {
        "train_seconds": float(history["seconds"].sum() + history["val_seconds"].sum() + pretraining),
        "epoch_seconds": float(history["seconds"].median()),
        "first_epoch_seconds": float(history["seconds"].iloc[0]),
        "ms_per_image": float(history["val_seconds"].median() / images * 1000),
        "peak_memory_gb": float(history["peak_memory_gb"].max()),
        "epochs": len(history),
        "best_epoch": run.fold_dir(0).read_record().best_epoch,
    }
