"""The W&B run of a whole run: out-of-fold scores, tables, the worst mistakes, and the OOF predictions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from comp.data.dataset import Dataset
from comp.files import file_exists
from comp.metrics import CLASS_REPORT
from comp.observers.tracked import ArtifactFiles, Cell, ConfusionChart, TableRows, TrackedRun
from comp.prediction.tables import PredictionFiles
from comp.prediction_file import find_table, read_predictions
from comp.records.base import Fold
from comp.records.metrics import RunMetrics, RunScores
from comp.records.run import FoldRecord
from comp.records.scores import ScoreReport
from comp.runs import Run
from comp.track.dataset import dataset_artifacts
from comp.track.fold import MAX_CONFUSION_CLASSES, artifact_name, run_config, weights_artifact
from comp.track.identity import is_trial, summary_identity
from comp.track.mistakes import worst_mistakes


def read_metrics(run: Run) -> RunMetrics | None:
    """Return metrics.json if it has scores that are worth a W&B run: of all folds, or of a trial's."""
    path = run.path / "metrics.json"
    metrics = RunMetrics.read(path) if file_exists(path) else None
    return metrics if metrics and metrics.scores and (metrics.complete or is_trial(run)) else None


def track_summary(run: Run, metrics: RunMetrics, dataset: Dataset | None) -> TrackedRun:
    """Return the W&B run of a run's scores, from its files."""
    scores, task = metrics.scores, run.task
    assert scores is not None, "read_metrics returns no others"
    tables: dict[str, TableRows] = {}
    confusion = None
    if scores.report:
        tables |= _score_tables(scores.report)
        if (table := _read_oof(run)) is not None:
            tables["mistakes"] = worst_mistakes(table, task, dataset)
            targets, probabilities = task.to_arrays(table)
            if len(run.classes) <= MAX_CONFUSION_CLASSES:
                confusion = ConfusionChart(targets, probabilities.argmax(1), run.classes)
    artifact = oof_artifact(run)
    weights = [weights_artifact(run, fold, record) for fold in metrics.folds_done if (record := _done(run, fold))]
    return TrackedRun(
        identity=summary_identity(run),
        config=run_config(run, "summary", {}),
        summary=_summary(run, metrics, scores),
        tables=tables,
        confusion=confusion,
        used=(*dataset_artifacts(run, dataset), *weights),
        logged=(artifact,) if artifact else (),
    )


def oof_artifact(run: Run) -> ArtifactFiles | None:
    """Return the out-of-fold predictions of a run; None where there are none."""
    file = find_table(PredictionFiles.of_run(run, "torch").oof_path("identity"))
    if file is None:
        return None
    sha256 = read_predictions(file, run.classes, run.task.find_invalid).sha256
    metadata = {"run": run.name, "kind": "oof", "sha256": sha256}
    return ArtifactFiles(artifact_name("oof", run.name), "predictions", {file.name: file}, metadata)


def _done(run: Run, fold: Fold) -> FoldRecord | None:
    return run.fold_dir(fold).read_record() if run.fold_dir(fold).is_done else None


def _read_oof(run: Run) -> pd.DataFrame | None:
    file = find_table(PredictionFiles.of_run(run, "torch").oof_path("identity"))
    return read_predictions(file, run.classes, run.task.find_invalid).table if file else None


def _summary(run: Run, metrics: RunMetrics, scores: RunScores) -> dict[str, Any]:
    """Return the summary values; what has no meaning for the run is left out."""
    kept = scores.oof.kept
    values = {
        "mean": scores.mean,
        "sd": scores.sd,
        "oof": kept.score,
        "oof_low": kept.interval[0],
        "oof_high": kept.interval[1],
        "optimistic": kept.optimistic,
        "best_minus_last": scores.best_minus_last,
        "baseline": scores.baseline,
        "metric": metrics.metric,
        "folds_done": len(metrics.folds_done),
        "parameters": run.record.parameters,
        "seconds": sum(record.seconds or 0 for fold in metrics.folds_done if (record := _done(run, fold))),
        **({name: getattr(scores.report, name) for name in CLASS_REPORT} if scores.report else {}),
    }
    return {name: value for name, value in values.items() if value is not None}


def _score_tables(report: ScoreReport) -> dict[str, TableRows]:
    """Return the scores per class, and the commonest errors where the classes are too many for a confusion matrix."""
    names = ("precision", "recall", "f1", "specificity")
    sizes: list[int | None] = [*map(sum, report.confusion)] or [None] * len(report.per_class)
    rows: list[tuple[Cell, ...]] = [
        (label, size, *(values[name] for name in names))
        for (label, values), size in zip(report.per_class.items(), sizes, strict=True)
    ]
    tables = {"per_class": TableRows(("class", "images", *names), tuple(rows))}
    if report.confused is not None:
        tables["confused"] = TableRows(("true", "answer", "images"), report.confused)
    return tables
