"""Finished runs of each kind of task, written as train.py does, with drawn predictions and images of one colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from comp.metrics import METRICS, score
from comp.prediction_file import prediction_table, write_oof
from comp.records.metrics import EpochOof, KeptOof, OofScores, RunMetrics, RunScores
from comp.records.run import FoldRecord, ProcessInfo, RunRecord
from comp.stats import bootstrap_interval
from comp.tables import HISTORY_COLUMNS, write_csv
from comp.tasks import TASKS, Task

IMAGES, FOLDS = 48, 3
LABELS = {
    "single": ["ig", "monocyte", "platelet"],
    "binary": ["no", "yes"],
    "multilabel": ["", "rust", "scab", "rust scab"],
    "ordinal": ["0", "1", "2", "3"],
    "regression": ["0.5", "2", "7.25", "4"],
}


def write_run(name: str, kind: str, labels: list[str] | None = None, seed: int = 0, folds: int = FOLDS) -> Path:
    """Write a run below runs/ whose labels repeat `labels`; `folds` of three are done. Return its directory."""
    names = labels or LABELS[kind]
    truth = [names[number % len(names)] for number in range(IMAGES)]
    images = [f"{number:02d}.png" for number in range(IMAGES)]
    task = TASKS[kind].from_labels(truth, name="weight")
    fold_of = np.arange(IMAGES) % FOLDS
    done = fold_of < folds
    table = prediction_table(
        pd.DataFrame({"image": images, "label": truth, "fold": fold_of}),
        draw_predictions(task, task.encode(truth), seed),
        task.columns,
    )[done]
    path = Path("runs") / name
    record = RunRecord(
        seed=42,
        metric=task.default_metric,
        higher_is_better=METRICS[task.default_metric].higher_is_better,
        classes=task.columns,
        folds=tuple(range(FOLDS)),
        folds_file="folds/cells.csv",
        folds_sha256="5" * 64,
        image_list_sha256="e" * 64,
        parameters=1000 + seed,
        task=task.spec.unless_single,
    )
    record.write(path / "run.json")
    (path / "config.yaml").write_text(f"name: {name}\ndata: {{root: input/cells, labels: labels.csv}}\n")
    if folds:
        write_oof(path / "predictions" / "identity" / "oof.npz", table, task.columns)
        _metrics(name, task, table, folds).write(path / "metrics.json")
    for fold in range(max(folds, 1)):
        process = ProcessInfo("train.py -c missing.yaml", "cpu", "a processor", 1, "here", 1, {"torch": "2"})
        status = FoldRecord(**vars(process), status="done" if folds else "running", started="", seconds=60.0 + seed)
        status.write(path / f"fold{fold}" / "fold.json")
        write_history(path / f"fold{fold}" / "history.csv", epochs=3)
    _write_images(images, truth)
    return path


def draw_predictions(task: Task, targets: np.ndarray, seed: int) -> np.ndarray:
    """Return predictions that are right for most images."""
    rng = np.random.default_rng(seed)
    if task.form == "numbers":
        return (targets + rng.normal(0, 0.5, len(targets))).astype(np.float32)[:, None]
    if task.form == "tags":
        return np.clip(0.5 + 0.3 * (2 * targets - 1) + rng.normal(0, 0.2, targets.shape), 0, 1).astype(np.float32)
    logits = rng.normal(0, 1.0, (len(targets), len(task.columns)))
    logits[np.arange(len(targets)), targets] += 2
    raised = np.exp(logits)
    return (raised / raised.sum(1, keepdims=True)).astype(np.float32)


def write_history(path: Path, epochs: int) -> None:
    rows = [[epoch, epoch * 2, 0.001, 1 / epoch, 1 / epoch, 0.5, 1.0, 40.0, 0.5, 0.1] for epoch in range(1, epochs + 1)]
    write_csv(path, pd.DataFrame(rows, columns=HISTORY_COLUMNS))


def _metrics(name: str, task: Task, table: pd.DataFrame, folds: int) -> RunMetrics:
    metric, arrays = task.default_metric, task.to_arrays(table)
    value = score(metric, *arrays)
    scores = RunScores(
        mean=value,
        sd=0.01,
        per_fold={"best": (value,) * folds, "last": (value,) * folds},
        oof=OofScores(KeptOof(value, bootstrap_interval(metric, *arrays), False), EpochOof(value), EpochOof(value)),
        best_minus_last=0.0,
        baseline=0.1,
    )
    return RunMetrics(name, metric, "last", tuple(range(folds)), folds == FOLDS, scores)


def _write_images(images: list[str], labels: list[str]) -> None:
    folder = Path("input/cells/train")
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / image), np.full((8, 8, 3), 5 * number, np.uint8))
    write_csv(Path("input/cells/labels.csv"), pd.DataFrame({"image": images, "label": labels}))
