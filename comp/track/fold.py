"""The W&B run of a fold: its epochs, its confusion matrix, its kept weights, and the data it was trained on."""

from __future__ import annotations

import re
from typing import Any

from comp.data.dataset import Dataset
from comp.errors import UserError
from comp.files import file_exists
from comp.observers.tracked import ArtifactFiles, ConfusionChart, TrackedRun
from comp.prediction.validation import read_validation
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow
from comp.records.run import FoldRecord
from comp.runs import Run
from comp.tables import HISTORY_COLUMNS, read_csv
from comp.track.dataset import dataset_artifacts
from comp.track.identity import fold_identity, study_values
from comp.track.private import without_paths

MAX_CONFUSION_CLASSES = 100  # its plot is a table with a row per pair of classes, of which W&B shows 10,000
PROCESS_KEYS = ("command", "device", "device_name", "threads", "processes", "workers", "versions")


def fold_config(run: Run, fold: Fold) -> dict[str, Any]:
    """Return the config of a fold's W&B run: all keys, the run's record, and the process that trained it."""
    record = run.fold_dir(fold).read_record()
    process = {key: getattr(record, key) for key in PROCESS_KEYS} if record else {}
    return run_config(run, f"fold{fold}", process)


def run_config(run: Run, label: str, process: dict[str, Any]) -> dict[str, Any]:
    """Return the config of a W&B run of this run: all keys and what run.json records, without paths of the machine."""
    content = {
        **run.config.model_dump(),
        **study_values(run),
        "label": label,
        "run": run.record.to_dict(),
        "process": process,
    }
    return without_paths(content)


def track_fold(run: Run, fold: Fold, dataset: Dataset | None) -> TrackedRun:
    """Return the W&B run of a fold that has ended, from its files."""
    record = run.fold_dir(fold).read_record()
    if record is None:
        raise UserError(f"{run.fold_dir(fold).path} has no fold.json; train the fold")
    done = run.fold_dir(fold).is_done
    return TrackedRun(
        identity=fold_identity(run, fold),
        config=fold_config(run, fold),
        history=_read_history(run, fold),
        summary={
            key: value
            for key, value in (
                ("status", record.status),
                ("epochs", record.epochs),
                ("kept", record.kept),
                ("best_epoch", record.best_epoch),
                ("seconds", record.seconds),
            )
            if value is not None
        },
        confusion=_confusion(run, fold, record) if done else None,
        used=dataset_artifacts(run, dataset),
        logged=(weights_artifact(run, fold, record),) if done else (),
        failed=record.status != "done",
    )


def weights_artifact(run: Run, fold: Fold, record: FoldRecord) -> ArtifactFiles:
    """Return the kept weights of a fold that is done."""
    metadata = {"run": run.name, "fold": fold, "kept": record.kept, "sha256": record.weights_sha256}
    return ArtifactFiles(
        artifact_name("weights", f"{run.name}-fold{fold}"),
        "model",
        {"weights.pt": run.fold_dir(fold).weights_path},
        metadata,
    )


def artifact_name(kind: str, name: str) -> str:
    """Return a name that W&B allows, of letters, digits, dashes, underscores and dots."""
    text = re.sub("[^A-Za-z0-9_.-]", "-", name)
    return f"{kind}-{text}"[:128]


def _read_history(run: Run, fold: Fold) -> tuple[HistoryRow, ...]:
    path = run.fold_dir(fold).path / "history.csv"
    if not file_exists(path):
        return ()
    table = read_csv(path, HISTORY_COLUMNS[:6], text_columns=())
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return tuple(HistoryRow.from_dict({name: row.get(name) for name in HISTORY_COLUMNS}, path) for row in rows)


def _confusion(run: Run, fold: Fold, record: FoldRecord) -> ConfusionChart | None:
    """Return the confusion of a fold's validation images by its kept weights; None where it has no meaning."""
    if fold == "full" or not run.task.has_confusion or len(run.classes) > MAX_CONFUSION_CLASSES:
        return None
    kept = "best" if record.kept == "best" else "last"
    targets, probabilities = run.task.to_arrays(read_validation(run, fold, kept))
    return ConfusionChart(targets, probabilities.argmax(1), run.classes)
