"""The interface of a task.

Three arrays pass between a task and the rest of the kit, all with a row per image, or per row of a submission where
several images make one:
labels       text, as in the tables: a class name, tags joined by the separator, a grade, a number
targets      what metrics compare with: class indices (images,), 0 and 1 (images, tags), or numbers (images,)
predictions  float32 (images, columns): probabilities of the columns, or one column with the predicted number
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from comp.metrics import find_metric
from comp.records.task import TaskKind, TaskSpec
from comp.rows import ROW_COLUMN, Rows
from comp.tasks.thresholds import best_threshold

if TYPE_CHECKING:  # commands that train nothing do not wait for torch
    import pandas as pd
    import torch

    from comp.schema import Loss
    from comp.tasks.losses import LossFunction

BlendObjective = Callable[[np.ndarray], tuple[float, np.ndarray]]  # weights -> (loss of the weighted mean, gradient)


@dataclass(frozen=True)
class Task(ABC):
    """One kind of target, for the columns of one dataset."""

    kind: ClassVar[TaskKind]
    form: ClassVar[str]  # of targets and predictions; the metrics that take it are `METRICS[...].form`
    default_metric: ClassVar[str]
    loss_names: ClassVar[tuple[str, ...]] = ("cross_entropy", "focal")  # values of loss.name, the default first
    blend_methods: ClassVar[tuple[str, ...]] = ("mean", "geometric", "vote", "greedy", "weights", "stack")

    has_decision: ClassVar[bool] = False  # thresholds or cut points are fitted, where the metric needs them

    spec: TaskSpec

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table of predictions."""
        return self.spec.columns

    @property
    def outputs(self) -> int:
        """The number of the network's outputs."""
        return len(self.columns)

    @property
    def has_class_targets(self) -> bool:
        """True if targets are class indices, so that classes can be weighted, drawn equally often and oversampled."""
        return self.form == "classes"

    @property
    def has_confusion(self) -> bool:
        """True if each image has one class, so that a confusion matrix describes the predictions."""
        return self.form == "classes"

    @classmethod
    @abstractmethod
    def from_labels(cls, labels: Sequence[str], *, name: str = "label", separator: str = " ") -> Self:
        """Return the task of a dataset with these labels; `name` is that of their column.

        Labels that cannot be of this kind are a UserError.
        """

    @abstractmethod
    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Return the targets of labels; an unknown label is a UserError."""

    def to_arrays(self, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return (targets, predictions) by row of a table of predictions with labels."""
        table = self.by_row(table)
        return self.encode(table["label"].tolist()), table[list(self.columns)].to_numpy(np.float32)

    def by_row(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table of predictions, indexed by image, by row of a submission: without its column of row ids.

        A table without that column has a row per image already.
        """
        if ROW_COLUMN not in table:
            return table
        rows, columns = Rows.of_images(table[ROW_COLUMN].tolist()), list(self.columns)
        pooled = table.iloc[rows.first].drop(columns=ROW_COLUMN).set_axis(list(rows.ids)).rename_axis("image")
        pooled[columns] = self.pool(table[columns].to_numpy(np.float32), rows).astype(np.float32)
        return pooled

    def pool(self, predictions: np.ndarray, rows: Rows) -> np.ndarray:
        """Return the predictions (..., rows, columns) of rows from those of their images (..., images, columns)."""
        pooled = rows.pool(predictions, self.spec.pool)
        return pooled if rows.are_images or self.spec.pool == "mean" else self.from_maximum(pooled)

    def from_maximum(self, highest: np.ndarray) -> np.ndarray:
        """Return valid predictions from the maximum of each column over several images."""
        return self.normalise(highest)

    @abstractmethod
    def counts(self, targets: np.ndarray) -> dict[str, int]:
        """Return the number of images of each class or tag; empty for numbers."""

    @abstractmethod
    def strata(self, labels: Sequence[str]) -> np.ndarray:
        """Return what a split spreads evenly over the folds: a value per image, or 0 and 1 (images, tags)."""

    def network_targets(self, targets: np.ndarray) -> np.ndarray:
        """Return the targets as the loss takes them: integers as they are, or float32 (images, outputs)."""
        return targets

    def soft_targets(self, predictions: np.ndarray) -> np.ndarray:
        """Return predictions as the loss takes them: float32 (images, outputs)."""
        return predictions.astype(np.float32)

    @abstractmethod
    def make_loss(self, options: Loss, targets: np.ndarray, device: torch.device) -> LossFunction:
        """Return the loss `(outputs, network targets) -> (images,)` for training on `targets`."""

    @abstractmethod
    def activate(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the predictions of a network's outputs, over the last axis."""

    @abstractmethod
    def find_invalid(self, predictions: np.ndarray) -> str:
        """Return why `predictions` cannot be predictions of this task, or an empty text."""

    @abstractmethod
    def baseline(self, targets: np.ndarray) -> np.ndarray:
        """Return the row of predictions that is best without looking at an image."""

    @abstractmethod
    def losses(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Return a loss per image that is lowest for the best predictions; it breaks ties and chooses views."""

    @abstractmethod
    def errors(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Return the error of each image, whose correlation says how alike two members err."""

    @abstractmethod
    def blend_objective(self, members: np.ndarray, targets: np.ndarray) -> BlendObjective:
        """Return the mean loss of a weighted mean of `members` (members, images, columns), as a function of weights."""

    def to_exclusive(self, predictions: np.ndarray) -> np.ndarray | None:
        """Return predictions as probabilities of classes of which one is true (..., rows, classes), to calibrate them.

        None for predictions that are not probabilities.
        """
        return predictions

    def from_exclusive(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the predictions that `to_exclusive` has changed the form of."""
        return probabilities

    def exclusive_targets(self, targets: np.ndarray) -> np.ndarray:
        """Return the index of the true class of each row of `to_exclusive`."""
        return targets

    def normalise(self, predictions: np.ndarray) -> np.ndarray:
        """Return a weighted mean of predictions as valid predictions, without the rounding errors of the weights."""
        return predictions

    def fit_decision(self, targets: np.ndarray, predictions: np.ndarray, metric: str) -> tuple[float, ...]:
        """Return thresholds or cut points that give the best score; empty where the metric needs none."""
        return ()

    def decide(self, predictions: np.ndarray, decision: tuple[float, ...]) -> np.ndarray:
        """Return predictions moved so that the plain rule (the largest; 0.5 and more) takes the decision."""
        return predictions

    def fit_threshold(self, targets: np.ndarray, predictions: np.ndarray, metric: str) -> tuple[float, ...]:
        """Return the threshold of the last column's or every tag's probability with the best score, as a decision."""
        chosen = find_metric(metric)

        def score(threshold: float) -> float:
            return chosen.sign * chosen.score(targets, self.decide(predictions, (threshold,)))

        questions = predictions[:, 1:] if self.form == "classes" else predictions
        return (best_threshold(score, questions.ravel()),) if self.needs_decision(metric) else ()

    def needs_decision(self, metric: str) -> bool:
        """Return whether a score by `metric` depends on thresholds or cut points."""
        return self.has_decision and find_metric(metric).is_decided
