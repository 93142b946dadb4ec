"""The out-of-fold predictions that a report is about, with everything in the order of one list of images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from comp.prediction_file import read_predictions
from comp.rows import ROW_COLUMN, Rows
from comp.tasks import Task


@dataclass(frozen=True, eq=False)
class OofPredictions:
    """Out-of-fold predictions: a row per image, or per row of a submission where several images make one."""

    task: Task
    metric: str
    images: tuple[str, ...]  # the id of each row's image; of several, the first
    labels: tuple[str, ...]
    folds: np.ndarray
    targets: np.ndarray  # see comp/tasks/base.py
    predictions: np.ndarray  # (rows, columns)
    is_decided: bool = False  # thresholds or cut points have moved them, so they are not probabilities any more

    @classmethod
    def read(cls, path: Path, task: Task, metric: str, is_decided: bool = False) -> Self:
        """Read a table of out-of-fold predictions; a broken one is a UserError."""
        table = read_predictions(path, task.columns, task.find_invalid).table
        images = table.index.to_numpy(str)
        if ROW_COLUMN in table:
            images = images[Rows.of_images(table[ROW_COLUMN].tolist()).first]
        rows = task.by_row(table)
        targets, predictions = task.to_arrays(rows)
        return cls(
            task,
            metric,
            tuple(images.tolist()),
            tuple(rows["label"]),
            rows["fold"].to_numpy(int),
            targets,
            predictions,
            is_decided,
        )

    @property
    def has_classes(self) -> bool:
        """True if each image has one class: of `single`, `binary` and `ordinal`."""
        return self.task.form == "classes"

    @cached_property
    def predicted(self) -> np.ndarray:
        """The index of the most probable column of each row."""
        return self.predictions.argmax(1)

    @cached_property
    def is_wrong(self) -> np.ndarray:
        """True for each row whose most probable class is not its label's. For classes only."""
        return self.predicted != self.targets

    @property
    def has_confidence(self) -> bool:
        """True if predictions are probabilities of classes or tags, so that calibration has a meaning."""
        return self.task.form != "numbers" and not self.is_decided
