"""A row's runs, read from their directories: scores over seeds with an interval, and what they cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comp.data.scan import scan
from comp.experiment import predict_run
from comp.experiment.summary import arrays
from comp.experiment.truth import with_truth
from comp.metrics import METRICS, PER_CLASS, RESAMPLES, confusion, score
from comp.runs import Run
from comp.tables import read_csv, read_predictions

COSTS = ("train_seconds", "epoch_seconds", "ms_per_image", "peak_memory_gb", "epochs", "best_epoch")


@dataclass(frozen=True)
class Measured:
    """Means over seeds; `sd` is their deviation (None for one seed)."""
    seeds: int
    images: int                        # scored by each
    scored_on: str                     # validation or test
    scores: dict[str, float]
    sd: float | None                   # of the accuracy
    interval: tuple[float, float]      # of the accuracy, over images
    best_epoch_score: float            # validation accuracy of the best epoch: what a paper that picks it would print
    hits: np.ndarray                   # per image, in the order of ids: the share of seeds that got it right
    f1: dict[str, float]               # per class
    parameters: int                    # trained
    costs: dict[str, float]
    machine: str                       # that trained them


def measure(runs: Sequence[Run], scored_on: str, device: str) -> Measured:
    """Runs of one config that differ in their seed alone, each with fold 0 done."""
    tests = [_on_test(run, device) if scored_on == "test" else None for run in runs]
    on_test = all(tests)
    tables = tests if on_test else [_on_validation(run, run.config.train.keep) for run in runs]
    per_seed = [{name: score(name, *table) for name in METRICS} for table in tables]
    hits = np.mean([probabilities.argmax(1) == truth for truth, probabilities in tables], axis=0)
    f1 = np.mean([PER_CLASS["f1"](confusion(*table)) for table in tables], axis=0)
    return Measured(
        seeds=len(runs), images=len(tables[0][0]), scored_on="test" if on_test else "validation",
        scores={name: statistics.mean(each[name] for each in per_seed) for name in METRICS},
        sd=statistics.stdev(each["accuracy"] for each in per_seed) if len(runs) > 1 else None,
        interval=mean_interval(hits), hits=hits, parameters=runs[0].about["parameters"],
        best_epoch_score=statistics.mean(score("accuracy", *_on_validation(run, "best")) for run in runs),
        f1=dict(zip(runs[0].classes, map(float, f1), strict=True)),
        costs={name: statistics.mean(_costs(run)[name] for run in runs) for name in COSTS},
        machine=_machine(runs[0]))


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Bootstrap, 95 %, over images; of differences between two models it is the paired one."""
    draws = np.random.default_rng(0).choice(values, (RESAMPLES, len(values))).mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


Table = tuple[np.ndarray, np.ndarray]  # class numbers of the truth, probabilities; images in the order of their ids


def _on_validation(run: Run, which: str) -> Table:
    table = read_predictions(run.fold(0).path / f"{which}.csv", run.classes)
    return arrays(table.sort_index(), run.classes)


def _on_test(run: Run, device: str) -> Table | None:
    """None where the dataset does not tell its test labels."""
    dataset = scan(run.config.data.root)
    if not (dataset.root / "test_labels.csv").is_file():
        return None
    table = with_truth(dataset, predict_run(run, ["identity"], device=device).test[0])
    return arrays(table.sort_index(), run.classes)


def _machine(run: Run) -> str:
    about = run.fold(0).about()
    threads = f", {about['threads']} thread{'s' * (about['threads'] > 1)}" if about["device"] == "cpu" else ""
    return f"{about['device_name']} {about['device']}{threads}, torch {about['versions']['torch'].partition('+')[0]}"


def _costs(run: Run) -> dict[str, float]:
    place = run.fold(0)
    history = read_csv(place.path / "history.csv", ["epoch"])
    before = place.path / "pretrain.csv"
    pretraining = read_csv(before, ["epoch"])["seconds"].sum() if before.is_file() else 0.0
    images = len(read_predictions(place.path / "last.csv", run.classes))
    return {"train_seconds": float(history["seconds"].sum() + pretraining),
            "epoch_seconds": float(history["seconds"].median()),
            "ms_per_image": float(history["val_seconds"].median() / images * 1000),
            "peak_memory_gb": float(history["peak_memory_gb"].max()),
            "epochs": len(history), "best_epoch": place.about()["best_epoch"]}
